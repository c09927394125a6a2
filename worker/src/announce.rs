//! Announces what is due: each row is looked at, and what has begun where it must have is sent as a command.

use std::time::Duration;

use domain::{Command, DuePlace, StoredCommand};
use events::{CommandId, CorrelationId, EventId, TenantScope};
use execution::{Failure, Pipeline, Sender, SentCommand, hash_of};
use jiff::{SignedDuration, Timestamp, civil::Date};
use platform::{Problem, ScopedTx, Tenant, TenantClock, history::Epoch, release::NOT_ACTIVATED};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    due::{Verdict, verdict},
    fold::announcing,
    turn::{TurnError, Turns, within},
};

/// Rows of one turn: no more than a pipeline may have in work.
const ROWS: usize = execution::IN_FLIGHT;
/// Bytes of the commands of one turn.
const BYTES: usize = 1 << 20;
/// How long one command may take.
const COMMAND: Duration = Duration::from_secs(30);
/// After how many seconds what could not be sent is sent again; by chance, so that a store that comes back is not run over.
const AGAIN: std::ops::Range<i64> = 5..15;

#[derive(FromRow)]
struct Row {
    due_id: Uuid,
    due_on: String,
    place: String,
    command: String,
    cause: Uuid,
    correlation_id: Uuid,
    recorded_at: i64,
    depth: i16,
}

/// Something that may be due.
struct Due {
    id: CommandId,
    on: Date,
    place: DuePlace,
    stored: StoredCommand,
    command: Command,
    cause: EventId,
    correlation: CorrelationId,
    recorded_at: Timestamp,
    depth: u16,
}

/// What becomes of the rows of a turn.
#[derive(Default)]
struct Looked {
    gone: Vec<Uuid>,
    later: Vec<(Uuid, Timestamp)>,
}

impl Turns {
    /// Announces what is due, in the order of its days. True if there is more.
    pub(crate) async fn announce(&self, scope: TenantScope, fence: i64, tenant: &Tenant, epoch: &Epoch) -> Result<bool, TurnError> {
        let now = Timestamp::now();
        let rows = self.rows(scope, now).await?;
        let full = rows.len() == ROWS;
        if rows.is_empty() {
            return Ok(false);
        }
        let (mut looked, mut sent) = (Looked::default(), Vec::new());
        let mut pipeline = Pipeline::new(self.0.executor.clone(), self.0.running.clone(), BYTES, COMMAND);
        for row in rows {
            let id = row.due_id;
            let due = match Due::try_from(row) {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!(%error, due = %id, "ALERT: what is due can't be read; another build may be able to");
                    looked.later.push((id, now.checked_add(SignedDuration::from_hours(1)).unwrap_or(Timestamp::MAX)));
                    continue;
                }
            };
            match self.look(scope, tenant, &due, now).await {
                Ok(Verdict::Past) => looked.gone.push(id),
                Ok(Verdict::LookAgain(at)) => looked.later.push((id, at)),
                Ok(Verdict::Announce) => {
                    let bytes = due.stored.data.to_string().len();
                    sent.push((id, pipeline.start(command(scope, due, epoch), bytes).await));
                }
                Err(problem) => {
                    tracing::debug!(code = problem.code, "where it is due is not known; looking again");
                    looked.later.push((id, soon(now)));
                }
            }
        }
        for (id, started) in sent {
            match started.await {
                Ok(Ok(answer)) => {
                    metrics::counter!("tenure_worker_due_total").increment(answer.events.len() as u64);
                    looked.gone.push(id);
                }
                // The rules say that what was to be announced does not hold any more.
                Ok(Err(Failure::Refused(_) | Failure::RefusedEarlier(..))) => looked.gone.push(id),
                // The types of these events are not active yet. The row waits until they are.
                Ok(Err(Failure::Broken(problem))) if problem.code == NOT_ACTIVATED => looked.later.push((id, soon(now))),
                Ok(Err(Failure::Conflict(problem) | Failure::Broken(problem))) => {
                    tracing::warn!(due = %id, code = problem.code, "what is due could not be announced; trying again");
                    looked.later.push((id, soon(now)));
                }
                Err(error) => {
                    tracing::error!(due = %id, %error, "announcing ended in the middle; trying again");
                    looked.later.push((id, soon(now)));
                }
            }
        }
        self.put_away(scope, fence, looked).await?;
        Ok(full)
    }

    async fn rows(&self, scope: TenantScope, now: Timestamp) -> Result<Vec<Row>, TurnError> {
        within(async {
            let mut tx = ScopedTx::begin(&self.0.pool, scope).await?;
            let rows = sqlx::query_as(
                "select due_id, to_char(due_on, 'YYYY-MM-DD') as due_on, place::text as place, command::text as command, cause, correlation_id, recorded_at, depth
                 from worker.due where tenant_id = $1 and look_at <= $2 order by due_on, due_id limit $3",
            )
            .bind(scope.tenant().uuid())
            .bind(now.as_microsecond())
            .bind(ROWS as i64)
            .fetch_all(tx.conn())
            .await?;
            tx.rollback().await?;
            Ok(rows)
        })
        .await
    }

    async fn look(&self, scope: TenantScope, tenant: &Tenant, due: &Due, now: Timestamp) -> Result<Verdict, Problem> {
        let zone = self.0.executor.zone_of(scope, due.place, due.on).await?;
        let starts = TenantClock::at(tenant.time_zone.clone(), now).start_of(due.on, zone.as_ref());
        let verdict = verdict(starts, due.recorded_at, now);
        if verdict == Verdict::Announce {
            metrics::histogram!("tenure_worker_due_late_seconds").record(now.duration_since(starts).as_secs_f64());
        }
        Ok(verdict)
    }

    async fn put_away(&self, scope: TenantScope, fence: i64, looked: Looked) -> Result<(), TurnError> {
        let Looked { gone, later } = looked;
        let (later, instants): (Vec<Uuid>, Vec<i64>) = later.into_iter().map(|(id, at)| (id, at.as_microsecond())).unzip();
        within(async {
            let mut tx = self.begin(scope, fence).await?;
            sqlx::query("delete from worker.due where tenant_id = $1 and due_id = any ($2)")
                .bind(scope.tenant().uuid())
                .bind(gone)
                .execute(tx.conn())
                .await?;
            sqlx::query(
                "update worker.due d set look_at = new.look_at from unnest($2::uuid[], $3::bigint[]) new (due_id, look_at)
                 where d.tenant_id = $1 and d.due_id = new.due_id",
            )
            .bind(scope.tenant().uuid())
            .bind(later)
            .bind(instants)
            .execute(tx.conn())
            .await?;
            Ok(tx.commit().await?)
        })
        .await
    }
}

impl TryFrom<Row> for Due {
    type Error = String;
    fn try_from(row: Row) -> Result<Self, String> {
        let stored: StoredCommand = serde_json::from_str(&row.command).map_err(|e| e.to_string())?;
        let command = Command::from_stored(&stored).ok_or_else(|| format!("there is no command {}", stored.name))?;
        Ok(Self {
            id: CommandId::from_uuid(row.due_id),
            on: row.due_on.parse().map_err(|e: jiff::Error| e.to_string())?,
            place: serde_json::from_str(&row.place).map_err(|e| e.to_string())?,
            command: command.map_err(|e| e.to_string())?,
            stored,
            cause: EventId::from_uuid(row.cause),
            correlation: CorrelationId::from_uuid(row.correlation_id),
            recorded_at: Timestamp::from_microsecond(row.recorded_at).map_err(|e| e.to_string())?,
            depth: row.depth.unsigned_abs(),
        })
    }
}

fn command(scope: TenantScope, due: Due, epoch: &Epoch) -> SentCommand {
    let sender = Sender::system(scope, &announcing(due.depth), epoch.clone());
    let hash = hash_of(&due.stored.name, &due.stored.data);
    SentCommand::new(sender, due.command, hash, Some(due.id), None, due.correlation).caused_by(due.cause)
}

fn soon(now: Timestamp) -> Timestamp {
    now.checked_add(SignedDuration::from_secs(fastrand::i64(AGAIN))).unwrap_or(Timestamp::MAX)
}
