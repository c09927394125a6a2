//! First answers that no event can give again: refusals, and commands that changed nothing. A retry gets them from
//! `platform.command_answer`, a refusal for 24 hours and that nothing changed for ever (I7); what a command appended is remembered by the store itself. An answer of another epoch is none:
//! it was given about a history that the store has no more.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use events::{CommandHash, CommandId, TenantId, TenantScope};
use platform::{Problem, Registry, ScopedTx};
use sqlx::PgPool;
use tokio::{
    sync::{OnceCell, mpsc, oneshot},
    task::JoinSet,
};
use uuid::Uuid;

/// Questions that wait at most; more wait for a place.
const QUEUE: usize = 4096;
/// Questions in one statement at most.
const PER_STATEMENT: usize = 1024;
/// Tenants that are asked about at the same time at most.
const READERS: usize = 4;
/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Days after which refusals are removed. They count for 24 hours (I7). That nothing changed is remembered for ever, and so is what was
/// appended, by its events.
const REFUSALS_KEPT_DAYS: i32 = 2;
/// How often old answers are looked for.
const FORGET_EVERY: Duration = Duration::from_hours(1);

/// A command's first answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FirstAnswer {
    /// Of the command's body.
    pub(crate) hash: CommandHash,
    /// The HTTP status.
    pub(crate) status: u16,
    /// The JSON body.
    pub(crate) body: String,
    /// Whether it was a refusal and is more than 24 hours old: the command is judged anew.
    pub(crate) lapsed: bool,
}

/// The remembered answers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct FirstAnswers {
    pool: PgPool,
    /// Whether the event store is in the same database, so that remembering an answer closes its command there.
    closes: bool,
    tenant_wide_keys: Arc<OnceCell<bool>>,
    questions: mpsc::Sender<Question>,
}

struct Question {
    scope: TenantScope,
    command: CommandId,
    answer: oneshot::Sender<Result<Option<FirstAnswer>, Problem>>,
}

type Row = (Uuid, Uuid, i16, String, bool);

impl FirstAnswers {
    pub(crate) fn new(pool: PgPool, registry: Registry, closes: bool) -> Self {
        let (questions, asked) = mpsc::channel(QUEUE);
        tokio::spawn(answer_questions(pool.clone(), asked));
        tokio::spawn(forget_old(pool.clone(), registry, questions.downgrade()));
        Self { pool, closes, tenant_wide_keys: Arc::default(), questions }
    }

    /// Whether an append of a command is refused by the event store once its answer is remembered.
    pub(crate) const fn closes(&self) -> bool {
        self.closes
    }

    /// The first answer to a command, where one is remembered. Concurrent calls share a statement.
    pub(crate) async fn find(&self, scope: TenantScope, command: CommandId) -> Result<Option<FirstAnswer>, Problem> {
        let (answer, answered) = oneshot::channel();
        if self.questions.send(Question { scope, command, answer }).await.is_err() {
            return Err(stopped());
        }
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Whether there may be commands of builds before, whose keys were the tenant's. Asked once.
    pub(crate) async fn knows_tenant_wide_keys(&self) -> Result<bool, Problem> {
        let ask = || {
            within_patience(async {
                sqlx::query_scalar("select exists (select from platform.tenant_wide_keys)").fetch_one(&self.pool).await
            })
        };
        self.tenant_wide_keys.get_or_try_init(ask).await.copied()
    }

    /// Forgets a refusal that has lapsed.
    pub(crate) async fn reopen(&self, scope: TenantScope, command: CommandId) -> Result<(), Problem> {
        within_patience(async {
            let mut tx = ScopedTx::begin(&self.pool, scope).await?;
            let sql = format!("delete from platform.command_answer a where a.tenant_id = $1 and a.command_id = $2 and {LAPSED}");
            sqlx::query(&sql).bind(scope.tenant().uuid()).bind(command.uuid()).execute(tx.conn()).await?;
            if self.closes {
                let reopen = sqlx::query("select event_store.reopen_command($1, $2)");
                reopen.bind(scope.tenant().uuid()).bind(command.uuid()).execute(tx.conn()).await?;
            }
            tx.commit().await
        })
        .await
    }

    /// Remembers the first answer to a command and gives back what is remembered now: this one, or the one of an
    /// attempt that was faster. None if the command was found to have events, which are its answer.
    pub(crate) async fn remember(
        &self,
        scope: TenantScope,
        command: CommandId,
        first: FirstAnswer,
    ) -> Result<Option<FirstAnswer>, Problem> {
        within_patience(async {
            let mut tx = ScopedTx::begin(&self.pool, scope).await?;
            if self.closes {
                let close = sqlx::query_scalar("select event_store.answer_command($1, $2)");
                if !close.bind(scope.tenant().uuid()).bind(command.uuid()).fetch_one(tx.conn()).await? {
                    tx.rollback().await?;
                    return Ok(None);
                }
            }
            sqlx::query(
                "insert into platform.command_answer as a (tenant_id, command_id, command_hash, status, body, epoch)
                 values ($1, $2, $3, $4, $5, (select tag from platform.epoch)) on conflict (tenant_id, command_id) do update
                 set command_hash = excluded.command_hash, status = excluded.status, body = excluded.body, epoch = excluded.epoch,
                     recorded_at = excluded.recorded_at where a.epoch <> excluded.epoch",
            )
            .bind(scope.tenant().uuid())
            .bind(command.uuid())
            .bind(first.hash.0)
            .bind(first.status as i16)
            .bind(&first.body)
            .execute(tx.conn())
            .await?;
            let rows = select(&mut tx, scope.tenant(), &[command.uuid()]).await?;
            tx.commit().await?;
            Ok(Some(rows.into_iter().next().map_or(first, FirstAnswer::from)))
        })
        .await
    }
}

impl From<Row> for FirstAnswer {
    fn from((_, hash, status, body, lapsed): Row) -> Self {
        Self { hash: CommandHash(hash), status: status as u16, body, lapsed }
    }
}

fn stopped() -> Problem {
    Problem::unavailable("database_unavailable", "the service is stopping; try again")
}

async fn within_patience<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Problem> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(Problem::from)
}

/// Answers what was asked while the round before was under way, each tenant's questions in one statement.
async fn answer_questions(pool: PgPool, mut asked: mpsc::Receiver<Question>) {
    let mut round = Vec::with_capacity(PER_STATEMENT);
    while asked.recv_many(&mut round, PER_STATEMENT).await > 0 {
        let mut tenants: BTreeMap<TenantId, Vec<Question>> = BTreeMap::new();
        for question in round.drain(..) {
            tenants.entry(question.scope.tenant()).or_default().push(question);
        }
        let mut reads = JoinSet::new();
        for questions in tenants.into_values() {
            if reads.len() >= READERS {
                reads.join_next().await;
            }
            reads.spawn(answer_tenant(pool.clone(), questions));
        }
        reads.join_all().await;
    }
}

async fn answer_tenant(pool: PgPool, questions: Vec<Question>) {
    let Some(scope) = questions.first().map(|q| q.scope) else { return };
    let ids: Vec<_> = questions.iter().map(|q| q.command.uuid()).collect();
    let found = within_patience(async {
        let mut tx = ScopedTx::begin(&pool, scope).await?;
        let rows = select(&mut tx, scope.tenant(), &ids).await?;
        tx.end();
        Ok(rows.into_iter().map(|row| (row.0, FirstAnswer::from(row))).collect::<BTreeMap<_, _>>())
    })
    .await;
    for Question { command, answer, .. } in questions {
        // Who asked may have gone.
        let _ = answer.send(found.as_ref().map(|found| found.get(&command.uuid()).cloned()).map_err(Clone::clone));
    }
}

/// Forgets answers that are too old, tenant by tenant, for as long as somebody asks questions.
async fn forget_old(pool: PgPool, registry: Registry, asking: mpsc::WeakSender<Question>) {
    loop {
        // Not all processes at the same time.
        tokio::time::sleep(FORGET_EVERY.mul_f64(0.5 + fastrand::f64())).await;
        if asking.upgrade().is_none() {
            return;
        }
        for tenant in registry.all() {
            let forgotten = within_patience(forget(&pool, TenantScope::checked(tenant.id), REFUSALS_KEPT_DAYS)).await;
            if let Err(problem) = forgotten {
                tracing::warn!(tenant = %tenant.id, error = problem.code, "old answers could not be removed; trying again later");
                break;
            }
        }
    }
}

async fn forget(pool: &PgPool, scope: TenantScope, days: i32) -> Result<u64, sqlx::Error> {
    let mut tx = ScopedTx::begin(pool, scope).await?;
    let sql = "delete from platform.command_answer
               where tenant_id = $1 and status >= 400 and recorded_at < now() - make_interval(days => $2)";
    let deleted = sqlx::query(sql).bind(scope.tenant().uuid()).bind(days).execute(tx.conn()).await?;
    let reopen = "select event_store.forget_answered($1, $2)";
    sqlx::query(reopen).bind(scope.tenant().uuid()).bind(days).execute(tx.conn()).await?;
    tx.commit().await?;
    Ok(deleted.rows_affected())
}

/// SQL for whether an answer `a` is a refusal that counts no more.
const LAPSED: &str = "a.status >= 400 and a.recorded_at < now() - interval '24 hours'";

async fn select(tx: &mut ScopedTx, tenant: TenantId, commands: &[Uuid]) -> Result<Vec<Row>, sqlx::Error> {
    // Command by command, by the primary key, as keys are looked up (`platform::keys`).
    let sql = format!(
        "select a.command_id, a.command_hash, a.status, a.body, {LAPSED} as lapsed
         from unnest($2::uuid[]) as asked (command_id) cross join lateral (
             select * from platform.command_answer where tenant_id = $1 and command_id = asked.command_id
                 and epoch = (select tag from platform.epoch) offset 0) a"
    );
    sqlx::query_as(&sql).bind(tenant.uuid()).bind(commands).fetch_all(tx.conn()).await
}
