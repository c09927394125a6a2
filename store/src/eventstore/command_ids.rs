//! Commands' ids, reserved in PostgreSQL: one statement for all that come at once, and no append at EventStoreDB.
//!
//! A retry finds what its first try has appended in the stream itself, for ever. A row here only keeps a client from using one
//! `Idempotency-Key` for two commands to two streams, and is removed after thirty days. Therefore the statement does not wait for
//! the disk: in a crash, PostgreSQL may forget what was reserved in the last half second.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use events::{CommandId, StreamName, TenantId};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use uuid::Uuid;

use super::{client::pause, wire::Reservation};
use crate::{StoreError, postgres};

/// Reservations that wait at most; beyond this they are refused at once.
const QUEUE: usize = 4_096;
/// Reservations in one statement at most.
const BATCH: usize = 256;
/// How long one statement may take, with the way there and back.
const PATIENCE: Duration = Duration::from_secs(6);
/// What PostgreSQL keeps here, for messages.
const KEPT: &str = "commands' ids";
/// How often a statement is tried.
const MAX_ATTEMPTS: u32 = 5;
/// How often old reservations are forgotten, and how many by one statement.
const FORGET_EVERY: Duration = Duration::from_hours(1);
const FORGET: i64 = 10_000;

/// The ids that are reserved in a database. Connections are made when they are needed.
pub(super) struct CommandIds {
    pool: PgPool,
    jobs: mpsc::Sender<Job>,
}

struct Job {
    reservation: Reservation,
    over: Option<Uuid>,
    answer: oneshot::Sender<Result<Reservation, StoreError>>,
}

/// A reservation that stands: tenant, category and id of the stream, attempt.
type Row = (Uuid, String, Uuid, Uuid);

impl CommandIds {
    pub(super) fn open(database_url: &str) -> Result<Self, StoreError> {
        let options = postgres::options_of(database_url)?.options([("statement_timeout", "5000"), ("application_name", "tenure-store")]);
        // One for the batches, one for everything else.
        let pool = PgPoolOptions::new().max_connections(2).acquire_timeout(Duration::from_secs(3)).connect_lazy_with(options);
        let (jobs, queue) = mpsc::channel(QUEUE);
        tokio::spawn(serve(pool.clone(), queue));
        Ok(Self { pool, jobs })
    }

    /// Reserves an id for a stream, over the attempt that has reserved it for another. Says whose reservation stands now.
    pub(super) async fn reserve(&self, reservation: &Reservation, over: Option<Uuid>) -> Result<Reservation, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job = Job { reservation: reservation.clone(), over, answer };
        self.jobs.try_send(job).map_err(|_| StoreError::Unavailable("too many commands' ids wait to be reserved in PostgreSQL".into()))?;
        answered.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the store is shutting down".into())))
    }

    /// The reservation of an id that stands.
    pub(super) async fn reserved(&self, tenant: TenantId, command: CommandId) -> Result<Option<Reservation>, StoreError> {
        let sql = "select tenant_id, category, stream_id, attempt from event_store.reserved_command($1, $2)";
        let row: Option<Row> = sqlx::query_as(sql)
            .bind(tenant.uuid())
            .bind(command.uuid())
            .fetch_optional(&self.pool)
            .await
            .map_err(|e| postgres::beside(KEPT, &e))?;
        row.map(|row| standing(tenant, command, row)).transpose()
    }

    /// Frees an id whose command was refused, unless another attempt stands by now.
    pub(super) async fn withdraw(&self, reservation: &Reservation) {
        let sql = "select event_store.withdraw_command($1, $2, $3)";
        let query = sqlx::query(sql).bind(reservation.holder.tenant().uuid()).bind(reservation.command_id.uuid());
        if let Err(error) = query.bind(reservation.attempt).execute(&self.pool).await {
            tracing::debug!(%error, "a command's id could not be given back");
        }
    }
}

/// Reserves what waits, a batch at a time, for as long as the store is held.
async fn serve(pool: PgPool, mut queue: mpsc::Receiver<Job>) {
    let (mut waiting, mut forgotten) = (VecDeque::new(), Instant::now());
    loop {
        if waiting.is_empty() {
            let Some(job) = queue.recv().await else { return };
            waiting.push_back(job);
        }
        while waiting.len() < BATCH
            && let Ok(job) = queue.try_recv()
        {
            waiting.push_back(job);
        }
        let batch = take_batch(&mut waiting);
        match reserve(&pool, &batch).await {
            Ok(rows) => {
                for (job, row) in batch.into_iter().zip(rows) {
                    let (tenant, command) = (job.reservation.holder.tenant(), job.reservation.command_id);
                    let _ = job.answer.send(standing(tenant, command, row)); // The caller may have gone.
                }
            }
            Err(error) => batch.into_iter().for_each(|job| drop(job.answer.send(Err(error.clone())))),
        }
        if forgotten.elapsed() > FORGET_EVERY {
            forgotten = Instant::now();
            tokio::spawn(forget(pool.clone()));
        }
    }
}

/// The first that wait, each id once: one statement can't change a row twice.
fn take_batch(waiting: &mut VecDeque<Job>) -> Vec<Job> {
    let (mut batch, mut later, mut ids) = (Vec::new(), VecDeque::new(), HashSet::new());
    for job in waiting.drain(..) {
        let first = batch.len() < BATCH && ids.insert((job.reservation.holder.tenant(), job.reservation.command_id));
        if first { batch.push(job) } else { later.push_back(job) }
    }
    *waiting = later;
    batch
}

/// The reservations that stand after a batch, in its order. Tried again it gives the same.
async fn reserve(pool: &PgPool, batch: &[Job]) -> Result<Vec<Row>, StoreError> {
    let of = |f: fn(&Job) -> Uuid| batch.iter().map(f).collect::<Vec<Uuid>>();
    let (tenants, commands) = (of(|job| job.reservation.holder.tenant().uuid()), of(|job| job.reservation.command_id.uuid()));
    let categories: Vec<_> = batch.iter().map(|job| job.reservation.holder.category().name()).collect();
    let (streams, attempts) = (of(|job| job.reservation.holder.id()), of(|job| job.reservation.attempt));
    let over: Vec<_> = batch.iter().map(|job| job.over).collect();
    let mut attempt = 0;
    loop {
        let sql = "select tenant_id, category, stream_id, attempt from event_store.reserve_commands($1, $2, $3, $4, $5, $6)";
        let query = sqlx::query_as(sql).bind(&tenants).bind(&commands).bind(&categories).bind(&streams).bind(&attempts).bind(&over);
        let failure = match tokio::time::timeout(PATIENCE, query.fetch_all(pool)).await {
            Ok(Ok(rows)) if rows.len() == batch.len() => return Ok(rows),
            Ok(Ok(_)) => return Err(StoreError::Broken("PostgreSQL lost a reservation that it has just made".into())),
            Ok(Err(error)) => postgres::beside(KEPT, &error),
            Err(_) => StoreError::Unavailable("PostgreSQL did not reserve commands' ids in time".into()),
        };
        attempt += 1;
        if attempt == MAX_ATTEMPTS || !matches!(failure, StoreError::Unavailable(_)) {
            return Err(failure);
        }
        pause(attempt).await;
    }
}

fn standing(tenant: TenantId, command: CommandId, (of, category, stream, attempt): Row) -> Result<Reservation, StoreError> {
    if of != tenant.uuid() {
        return Err(StoreError::Broken("PostgreSQL gave a command of another tenant than was asked for".into()));
    }
    let category = category.parse().map_err(|_| StoreError::Broken(format!("PostgreSQL has a command of category {category:?}")))?;
    let holder = StreamName::from_parts(tenant, category, stream);
    Ok(Reservation { holder, command_id: command, attempt, withdrawn: false })
}

/// Forgets reservations that are old.
async fn forget(pool: PgPool) {
    loop {
        let forgotten = sqlx::query_scalar("select event_store.forget_commands($1)").bind(FORGET).fetch_one(&pool).await;
        match forgotten {
            Ok(FORGET..) => tokio::time::sleep(Duration::from_millis(fastrand::u64(50..500))).await,
            Ok(_) => return,
            Err(error) => return tracing::debug!(%error, "old command ids were not forgotten; it is tried again in an hour"),
        }
    }
}
