//! First answers that no event can give again: refusals, and commands that changed nothing. A retry gets them from
//! `platform.command_answer` (I7); what a command appended is remembered by the store itself.

use std::{collections::BTreeMap, time::Duration};

use events::{CommandHash, CommandId, TenantId, TenantScope};
use platform::{Problem, ScopedTx};
use sqlx::PgPool;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use uuid::Uuid;

/// Questions that wait at most; more wait for a place.
const QUEUE: usize = 4096;
/// Questions in one statement at most.
const BATCH: usize = 1024;
/// Tenants that are asked about at the same time at most.
const READERS: usize = 4;
/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A command's first answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FirstAnswer {
    /// Of the command's body.
    pub(crate) hash: CommandHash,
    /// The HTTP status.
    pub(crate) status: u16,
    /// The JSON body.
    pub(crate) body: String,
}

/// The remembered answers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Answers {
    pool: PgPool,
    questions: mpsc::Sender<Question>,
}

struct Question {
    scope: TenantScope,
    command: CommandId,
    answer: oneshot::Sender<Result<Option<FirstAnswer>, Problem>>,
}

type Row = (Uuid, Uuid, i16, String);

impl Answers {
    pub(crate) fn new(pool: PgPool) -> Self {
        let (questions, asked) = mpsc::channel(QUEUE);
        tokio::spawn(answer_questions(pool.clone(), asked));
        Self { pool, questions }
    }

    /// The first answer to a command, where one is remembered. Concurrent calls share a statement.
    pub(crate) async fn find(&self, scope: TenantScope, command: CommandId) -> Result<Option<FirstAnswer>, Problem> {
        let (answer, answered) = oneshot::channel();
        if self.questions.send(Question { scope, command, answer }).await.is_err() {
            return Err(stopped());
        }
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Remembers the first answer to a command and gives back what is remembered now: this one, or the one of an
    /// attempt that was faster.
    pub(crate) async fn remember(&self, scope: TenantScope, command: CommandId, first: FirstAnswer) -> Result<FirstAnswer, Problem> {
        within_patience(async {
            let mut tx = ScopedTx::begin(&self.pool, scope).await?;
            sqlx::query(
                "insert into platform.command_answer (tenant_id, command_id, command_hash, status, body) values ($1, $2, $3, $4, $5) on conflict do nothing",
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
            Ok(rows.into_iter().next().map_or(first, |row| FirstAnswer::from(row)))
        })
        .await
    }
}

impl From<Row> for FirstAnswer {
    fn from((_, hash, status, body): Row) -> Self {
        Self { hash: CommandHash(hash), status: status as u16, body }
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
    let mut batch = Vec::with_capacity(BATCH);
    while asked.recv_many(&mut batch, BATCH).await > 0 {
        let mut tenants: BTreeMap<TenantId, Vec<Question>> = BTreeMap::new();
        for question in batch.drain(..) {
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
        tx.commit().await?;
        Ok(rows.into_iter().map(|row| (row.0, FirstAnswer::from(row))).collect::<BTreeMap<_, _>>())
    })
    .await;
    for Question { command, answer, .. } in questions {
        // Who asked may have gone.
        let _ = answer.send(found.as_ref().map(|found| found.get(&command.uuid()).cloned()).map_err(Clone::clone));
    }
}

async fn select(tx: &mut ScopedTx, tenant: TenantId, commands: &[Uuid]) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(
        "select command_id, command_hash, status, body from platform.command_answer where tenant_id = $1 and command_id = any($2)",
    )
    .bind(tenant.uuid())
    .bind(commands)
    .fetch_all(tx.conn())
    .await
}
