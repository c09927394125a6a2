//! Follows a tenant's log: page by page, each folded and put down with the cursor in one transaction.

use events::{EmployeeId, EventId, EventMark, LogPoint, Position, TenantScope};
use jiff::Timestamp;
use platform::{
    ScopedTx,
    queue::{self, JobKind, NewJob},
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    due::earliest_start,
    fold::{Caused, DueRow, Folded, fold},
    turn::{TurnError, Turns, within},
};

/// Events of one read.
const PAGE: usize = 500;
/// Pages of one turn.
const PAGES: usize = 8;

#[derive(FromRow)]
struct Cursor {
    position: i64,
    event_id: Option<Uuid>,
    recorded_at: Option<i64>,
}

impl From<Cursor> for LogPoint {
    fn from(row: Cursor) -> Self {
        let mark = row.event_id.zip(row.recorded_at.and_then(|at| Timestamp::from_microsecond(at).ok()));
        let mark = mark.map(|(id, recorded_at)| EventMark { id: EventId::from_uuid(id), recorded_at });
        Self { position: Position(row.position.unsigned_abs()), mark }
    }
}

impl Turns {
    /// Folds what is new in the log. True if there is more.
    pub(crate) async fn follow(&self, scope: TenantScope, fence: i64) -> Result<bool, TurnError> {
        let mut at = self.cursor(scope, fence).await?;
        for _ in 0..PAGES {
            let Some(page) = within(async { Ok(self.0.store.read_log_on(scope, at, PAGE).await?) }).await? else {
                // The store was put back. All of the log is folded again: what was announced or sent before, and still stands there,
                // is sent under the same ids, which changes nothing, and the rest was lost with the store's other history.
                metrics::counter!("tenure_history_lost_total", "what" => "worker").increment(1);
                tracing::error!(target: "audit", tenant = %scope.tenant(), "ALERT: the event store has another history than the worker followed; it follows it from the beginning");
                self.put_down(scope, fence, at, LogPoint::START, &Folded::default()).await?;
                at = LogPoint::START;
                continue;
            };
            let folded = fold(&page, self.0.react_from);
            if let Some(to) = folded.to {
                self.put_down(scope, fence, at, to, &folded).await?;
                at = to;
            }
            if let Some(refused) = folded.refused {
                return Err(refused.into());
            }
            if page.len() < PAGE {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How far the log was followed, which is put down under this fence if it was not yet: whoever has a smaller one writes nothing
    /// any more. What was left running waits again, but for mails that are on their way beside the turns.
    pub(crate) async fn cursor(&self, scope: TenantScope, fence: i64) -> Result<LogPoint, TurnError> {
        let known = self.known().get(&scope.tenant()).copied();
        if let Some((_, at)) = known.filter(|(under, _)| *under == fence) {
            return Ok(at);
        }
        let tenant = scope.tenant().uuid();
        let at = within(async {
            let mut tx = ScopedTx::begin(&self.0.pool, scope).await?;
            let cursor: Option<Cursor> = sqlx::query_as(
                "insert into worker.cursor as c (tenant_id, position, fence) values ($1, 0, $2)
                 on conflict (tenant_id) do update set fence = excluded.fence where c.fence <= excluded.fence
                 returning position, event_id, recorded_at",
            )
            .bind(tenant)
            .bind(fence)
            .fetch_optional(tx.conn())
            .await?;
            let Some(cursor) = cursor else {
                let theirs =
                    sqlx::query_scalar("select fence from worker.cursor where tenant_id = $1").bind(tenant).fetch_one(tx.conn()).await?;
                tx.rollback().await?;
                return Err(TurnError::Fenced { theirs });
            };
            // Roles belong to the server: a database that was put back on another one comes without.
            sqlx::query(
                "select platform.create_tenant_roles($1)
                 where (select count(*) from pg_roles where rolname in ('t_' || $1, 'w_' || $1)) < 2",
            )
            .bind(scope.tenant().namespace())
            .execute(tx.conn())
            .await?;
            sqlx::query(
                "update worker.job set state = 'waiting'
                 where tenant_id = $1 and state = 'running' and (fence < $2 or not job_id = any ($3))",
            )
            .bind(tenant)
            .bind(fence)
            .bind(self.0.mails.on_their_way())
            .execute(tx.conn())
            .await?;
            tx.commit().await?;
            Ok(LogPoint::from(cursor))
        })
        .await?;
        self.known().insert(scope.tenant(), (fence, at));
        Ok(at)
    }

    /// Puts down what follows from a page, and the cursor, in one transaction.
    async fn put_down(&self, scope: TenantScope, fence: i64, from: LogPoint, to: LogPoint, folded: &Folded) -> Result<(), TurnError> {
        let tenant = scope.tenant().uuid();
        let jobs = folded.reactions.iter().map(|caused| self.job(scope, caused)).collect::<Result<Vec<_>, _>>()?;
        let put = within(async {
            let mut tx = self.begin(scope, fence).await?;
            insert_due(&mut tx, scope, &folded.due).await?;
            insert_joined(&mut tx, scope, &folded.joined).await?;
            queue::enqueue(tx.conn(), scope, &jobs).await?;
            let moved = sqlx::query(
                "update worker.cursor set position = $2, event_id = $3, recorded_at = $4, fence = $5 where tenant_id = $1 and position = $6",
            )
            .bind(tenant)
            .bind(to.position.0.cast_signed())
            .bind(to.mark.map(|mark| mark.id.uuid()))
            .bind(to.mark.map(|mark| mark.recorded_at.as_microsecond()))
            .bind(fence)
            .bind(from.position.0.cast_signed())
            .execute(tx.conn())
            .await?;
            if moved.rows_affected() != 1 {
                tx.rollback().await?;
                return Err(TurnError::Moved);
            }
            Ok(tx.commit().await?)
        });
        match put.await {
            Ok(()) => {
                self.known().insert(scope.tenant(), (fence, to));
            }
            // Whether it was committed is not known: the cursor tells.
            Err(error) => {
                self.known().remove(&scope.tenant());
                return Err(error);
            }
        }
        metrics::counter!("tenure_worker_reactions_total").increment(jobs.len() as u64);
        Ok(())
    }

    fn job(&self, scope: TenantScope, caused: &Caused) -> Result<NewJob, serde_json::Error> {
        let asked_by = format!("system:reaction:{}", caused.input.name);
        NewJob::seal(&self.0.keys, scope, caused.id, JobKind::Reaction, &caused.input, &asked_by, Timestamp::now())
    }
}

async fn insert_joined(tx: &mut ScopedTx, scope: TenantScope, joined: &[(&'static str, EmployeeId)]) -> Result<(), TurnError> {
    if joined.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into worker.audience (tenant_id, audience, person_id)
         select $1, audience, person_id from unnest($2::text[], $3::uuid[]) new (audience, person_id) on conflict do nothing",
    )
    .bind(scope.tenant().uuid())
    .bind(joined.iter().map(|(audience, _)| *audience).collect::<Vec<_>>())
    .bind(joined.iter().map(|(_, person)| person.uuid()).collect::<Vec<_>>())
    .execute(tx.conn())
    .await?;
    Ok(())
}

async fn insert_due(tx: &mut ScopedTx, scope: TenantScope, due: &[DueRow]) -> Result<(), TurnError> {
    if due.is_empty() {
        return Ok(());
    }
    let places = due.iter().map(|row| serde_json::to_string(&row.place)).collect::<Result<Vec<_>, _>>()?;
    let commands = due.iter().map(|row| serde_json::to_string(&row.command)).collect::<Result<Vec<_>, _>>()?;
    sqlx::query(
        "insert into worker.due (tenant_id, due_id, due_on, place, command, cause, correlation_id, recorded_at, depth, look_at)
         select $1, id, due_on::date, place::jsonb, command::jsonb, cause, correlation, recorded_at, depth, look_at
         from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::uuid[], $8::bigint[], $9::smallint[], $10::bigint[])
             new (id, due_on, place, command, cause, correlation, recorded_at, depth, look_at)
         on conflict (tenant_id, due_id) do nothing",
    )
    .bind(scope.tenant().uuid())
    .bind(due.iter().map(|row| row.id.uuid()).collect::<Vec<_>>())
    .bind(due.iter().map(|row| row.on.to_string()).collect::<Vec<_>>())
    .bind(places)
    .bind(commands)
    .bind(due.iter().map(|row| row.cause.uuid()).collect::<Vec<_>>())
    .bind(due.iter().map(|row| row.correlation.uuid()).collect::<Vec<_>>())
    .bind(due.iter().map(|row| row.recorded_at.as_microsecond()).collect::<Vec<_>>())
    .bind(due.iter().map(|row| i16::try_from(row.depth).unwrap_or(i16::MAX)).collect::<Vec<_>>())
    .bind(due.iter().map(|row| earliest_start(row.on).as_microsecond()).collect::<Vec<_>>())
    .execute(tx.conn())
    .await?;
    Ok(())
}
