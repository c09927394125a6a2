//! Rebuilding a read model: the whole log folded into a fresh schema, written by binary COPY, indexed, and put in the place
//! of the live one, which serves and is kept up to date until then.
//!
//! Streams share few rows, so they are read one after another, in ranges of their ids: a stream is folded from its first
//! event to its last, its rows are on their way at once, and its state is let go of. Workers read, decode and fold; a few
//! connections write what they make; neither waits for the other until a queue is full.
//!
//! Memory, however long the log is: a page, a part and a stream's state per worker, the parts that wait, and a chunk per
//! table and writer ([`fold`], [`PAGE`], [`QUEUE`], [`CHUNK`], [`write`]); with events of half a kilobyte about 100 MB.
//! Beside them what derived tables note, such as headcounts, of which there are as many as days on which something changed in a
//! department; and the events that touch keys of several streams ([`Fold::SEVERAL_STREAMS`](crate::projection::Fold)), which wait
//! until all streams are read, about 1 KB each. EventStoreDB has no such order. There the log is read in its own, and all of its state is held until the end: about 1 KB
//! an event.
//!
//! Killed at any step, the live schema is untouched, and the next rebuild drops what is left. Cutting over is one
//! transaction: readers see the old read model or the new one, never a mixture.
//!
//! A lock keeps two rebuilds of a tenant apart for as long as its session lasts. Where that is lost (a fail-over, a network, an
//! administrator), the first one goes on while a second begins. Neither meets the other's rows, because each builds in a schema
//! that carries the epoch that it drew; and PostgreSQL lets only the last epoch cut over ([`Rebuild`]).

mod fold;
mod write;

pub use write::{Step, index_chains, table_names};

use std::time::{Duration, Instant};

use events::{LogPoint, Position, TenantId, TenantScope};
use platform::{
    Access, TenantTx,
    job::{BeginError, Job, Kind, Refused, Ticket},
    read_model::{Rebuild, Standing},
};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use tokio::sync::mpsc;

use self::{
    fold::fold,
    write::{Written, check_rows, copy_table, index, write},
};
use crate::{
    apply::{Applier, ApplyError, HEALING_BATCH, no_answer, within},
    batch::{Checkpoint, REPLACED, lock_checkpoint},
    busy::busy,
    derived::DerivedTables as _,
    fold::CannotFold,
    projection::{Part, Projection},
};

/// Events read by one statement at most.
const PAGE: usize = 5_000;
/// Parts that wait to be written.
const QUEUE: usize = 4;
/// Bytes of a table that are written at once.
const CHUNK: usize = 4 << 20;
/// How long a step that moves a bounded amount of data may take.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long one COPY or one index may take.
const LONG_PATIENCE: Duration = Duration::from_mins(10);

/// How far a rebuild is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Events read.
    pub folded: u64,
    /// Events to be read in all, as far as that is known.
    pub of: u64,
}

/// What a rebuild did.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Report {
    /// Events folded.
    pub events: u64,
    /// Rows written at once; those of batches are not counted.
    pub rows: u64,
    /// The position that the new read model stands at.
    pub position: u64,
    /// Seconds in all.
    pub seconds: f64,
    /// Of which reading, decoding, folding, and COPY beside them.
    pub fill_seconds: f64,
    /// Of which keys, indexes and statistics.
    pub index_seconds: f64,
}

/// Why a rebuild did not happen. The live read model is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Somebody else is at it.
    #[error("a rebuild of this tenant is running already; wait for it, or end its process")]
    Running,
    /// The ticket is no ticket for this.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The platform's own log is followed in memory.
    #[error("the platform tenant has no read model")]
    NoReadModel,
    /// An event can't be projected, or something is away.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Making or dropping a schema failed.
    #[error("{0:#}")]
    Schema(#[from] anyhow::Error),
    /// All together can't be counted.
    #[error(transparent)]
    CannotCount(#[from] CannotFold),
}

impl From<BeginError> for RebuildError {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Refused(refused) => refused.into(),
            BeginError::Database(error) => error.into(),
        }
    }
}

impl From<sqlx::Error> for RebuildError {
    fn from(error: sqlx::Error) -> Self {
        Self::Apply(error.into())
    }
}

/// How a rebuild folds the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Stream after stream, by several workers, with keys and indexes at the end: several times as fast. With EventStoreDB all of the
    /// read model's state is in memory until then.
    AtOnce,
    /// Batch after batch, in the order of the log, as the live projection does: a short log is done before the other way has begun.
    InBatches,
}

/// Rebuilds the read model of the ticket's tenant from its log and cuts over to it; the tenant is not parked any more.
/// `applier.pool` needs two connections or more.
pub async fn rebuild<P: Projection>(
    applier: &Applier<P>,
    ticket: &Ticket,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Report, RebuildError> {
    rebuild_by(Way::AtOnce, applier, ticket, progress).await
}

/// [`rebuild`] by either way.
pub async fn rebuild_by<P: Projection>(
    way: Way,
    applier: &Applier<P>,
    ticket: &Ticket,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Report, RebuildError> {
    let job = ticket.open(&applier.keys, Kind::RebuildReadModel)?;
    let scope = job.scope();
    if scope.tenant() == TenantId::PLATFORM {
        return Err(RebuildError::NoReadModel);
    }
    let started = Instant::now();
    let mut lock = bounded(PATIENCE, Lock::take(&applier.pool, scope)).await?;
    let rebuilt = Box::pin(rebuild_locked(way, applier, &job, &mut lock, progress)).await;
    let released = bounded(PATIENCE, async { Ok(lock.release().await?) }).await;
    let report = rebuilt?;
    if let Err(error) = released {
        // The rebuild had cut over, whatever became of its lock.
        tracing::debug!(%error, "the lock of a rebuild was lost");
    }
    Ok(Report { seconds: started.elapsed().as_secs_f64(), ..report })
}

/// The same, once nobody else can be at it for as long as the lock is held.
async fn rebuild_locked<P: Projection>(
    way: Way,
    applier: &Applier<P>,
    job: &Job,
    lock: &mut Lock,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Report, RebuildError> {
    bounded(PATIENCE, async { Ok(job.begin(&applier.pool).await?) }).await?;
    let rebuild = bounded(PATIENCE, async { Ok(Rebuild::begin(&mut lock.0, job.scope()).await?) }).await?;
    drop_left_over(applier, &rebuild).await;
    let built = match way {
        Way::AtOnce => Box::pin(build(applier, job.scope(), &rebuild, progress)).await,
        Way::InBatches => Box::pin(build_in_batches(applier, job.scope(), &rebuild, progress)).await,
    };
    if built.is_ok() {
        drop_left_over(applier, &rebuild).await;
    } else if let Err(error) = bounded(LONG_PATIENCE, async { Ok(rebuild.give_up(&applier.pool).await?) }).await {
        // It may be as large as the live one, and the next rebuild may never come.
        tracing::debug!(%error, "what a rebuild left is still there");
    }
    built
}

async fn drop_left_over<P: Projection>(applier: &Applier<P>, rebuild: &Rebuild) {
    if let Err(error) = bounded(LONG_PATIENCE, async { Ok(rebuild.drop_left_over(&applier.pool).await?) }).await {
        tracing::warn!(%error, "what rebuilds left is still there; the next one drops it");
    }
}

/// Makes the new read model and cuts over to it.
async fn build<P: Projection>(
    applier: &Applier<P>,
    scope: TenantScope,
    rebuild: &Rebuild,
    progress: impl Fn(Progress) + Send,
) -> Result<Report, RebuildError> {
    let (pool, next) = (&applier.pool, rebuild.next());
    bounded(LONG_PATIENCE, async { Ok(rebuild.create_schema(pool, &applier.sql).await?) }).await?;
    let (mut report, position, mut written) = fill(applier, scope, &next, progress).await?;
    let indexing = Instant::now();
    let point = within(PATIENCE, async { Ok(applier.store.point_at(scope, position).await?) }).await?;
    let added = index(applier, scope, &next, point).await?;
    report.rows += added.values().sum::<u64>();
    written.extend(added);
    check_rows(pool, scope, &next, &written).await?;
    report.index_seconds = indexing.elapsed().as_secs_f64();
    report.position = replace(applier, scope, rebuild, point).await?.0;
    Ok(report)
}

/// The same batch after batch: keys and indexes first, then the log from its beginning.
async fn build_in_batches<P: Projection>(
    applier: &Applier<P>,
    scope: TenantScope,
    rebuild: &Rebuild,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Report, RebuildError> {
    let (started, next) = (Instant::now(), rebuild.next());
    bounded(LONG_PATIENCE, async { Ok(rebuild.create_schema(&applier.pool, &applier.sql).await?) }).await?;
    index(applier, scope, &next, LogPoint::START).await?;
    let index_seconds = started.elapsed().as_secs_f64();
    let head = within(PATIENCE, async { Ok(applier.store.head(scope).await?) }).await?;
    let events = within(PATIENCE, async { Ok(applier.store.events_between(scope, Position::ZERO, head).await?) }).await?;
    let mut folded = 0;
    let tell = |events_of_batch: usize| {
        folded += events_of_batch as u64;
        progress(Progress { folded, of: events.max(folded) });
    };
    applier.catch_up_telling(&next, scope, 0, LogPoint::START, tell).await?;
    let fill_seconds = started.elapsed().as_secs_f64() - index_seconds;
    let point = applier.point_in(&next, scope).await?;
    let position = replace(applier, scope, rebuild, point).await?.0;
    Ok(Report { events: folded, rows: 0, position, seconds: 0.0, fill_seconds, index_seconds })
}

/// Gives up after a time; what was begun ends with its connection.
async fn bounded<T>(patience: Duration, work: impl Future<Output = Result<T, RebuildError>>) -> Result<T, RebuildError> {
    tokio::time::timeout(patience, work).await.unwrap_or_else(|_| Err(no_answer(patience).into()))
}

/// A session's advisory lock; it goes with its connection, so a killed rebuild leaves none behind.
struct Lock(PgConnection);

impl Lock {
    async fn take(pool: &PgPool, scope: TenantScope) -> Result<Self, RebuildError> {
        let mut connection = pool.acquire().await?.detach();
        let name = format!("tenure.rebuild.{}", scope.tenant());
        let taken: bool =
            sqlx::query_scalar("select pg_try_advisory_lock(hashtextextended($1, 0))").bind(name).fetch_one(&mut connection).await?;
        if taken { Ok(Self(connection)) } else { Err(RebuildError::Running) }
    }
    async fn release(mut self) -> Result<(), sqlx::Error> {
        // Not left to the end of the connection, which the server notices a moment later.
        self.0.execute("select pg_advisory_unlock_all()").await?;
        self.0.close().await
    }
}

/// Folds the log, up to where it ends now, into the tables of `schema`. Returns the last position folded, and what was written.
async fn fill<P: Projection>(
    applier: &Applier<P>,
    scope: TenantScope,
    schema: &str,
    progress: impl Fn(Progress) + Send,
) -> Result<(Report, Position, Written), RebuildError> {
    let started = Instant::now();
    let head = within(PATIENCE, async { Ok(applier.store.head(scope).await?) }).await?;
    let (parts, received) = mpsc::channel(QUEUE);
    let folding = fold(applier, scope, head, parts);
    let of = if applier.store.is_dense() { head.0 } else { 0 };
    let writing = write::<P>(&applier.pool, scope, schema, received, move |folded| progress(Progress { folded, of: of.max(folded) }));
    let ((position, noted), (events, mut written)) = tokio::try_join!(folding, writing)?;
    if applier.store.is_dense() && events != head.0 {
        let hole = anyhow::anyhow!("the event store's log ends at {head}, but {events} events are in it (I2); nothing was changed");
        return Err(hole.into());
    }
    // Of all pages together.
    let copies = busy(PAGE, || {
        let mut copies = Vec::new();
        noted.copies(&mut copies)?;
        Ok::<_, CannotFold>(copies)
    })?;
    for (table, _, data) in copies {
        let copied = within(LONG_PATIENCE, async { Ok(copy_table(&applier.pool, scope, schema, &table, &data).await?) }).await?;
        written.insert(table.name, copied);
    }
    let (rows, fill_seconds) = (written.values().sum(), started.elapsed().as_secs_f64());
    Ok((Report { events, rows, position: 0, seconds: 0.0, fill_seconds, index_seconds: 0.0 }, position, written))
}

/// Reads and folds the log as [`rebuild`] does, and writes nothing: what that costs by itself. Events, and rows that they make.
pub async fn fold_only<P: Projection>(applier: &Applier<P>, scope: TenantScope) -> Result<(u64, u64), RebuildError> {
    let head = within(PATIENCE, async { Ok(applier.store.head(scope).await?) }).await?;
    let (parts, mut received) = mpsc::channel::<Part>(QUEUE);
    let counting = async {
        let (mut events, mut rows) = (0, 0);
        while let Some(part) = received.recv().await {
            (events, rows) = (events + part.events, rows + part.rows);
        }
        Ok((events, rows))
    };
    let ((_, noted), (events, rows)) = tokio::try_join!(fold(applier, scope, head, parts), counting)?;
    let mut copies = Vec::new();
    noted.copies(&mut copies)?;
    Ok((events, rows + copies.iter().map(|(_, rows, _)| rows).sum::<u64>()))
}

/// Cuts over once the new read model is not behind the live one. It catches up with what was appended meanwhile, unless that
/// is much, as during an import: then it serves at once, and is caught up with as the live one. Where there is none that serves, it
/// first has all that the log has.
async fn replace<P: Projection>(
    applier: &Applier<P>,
    scope: TenantScope,
    rebuild: &Rebuild,
    point: LogPoint,
) -> Result<Position, RebuildError> {
    let head = within(PATIENCE, async { Ok(applier.store.head(scope).await?) }).await?;
    let ahead = match applier.standing(scope).await? {
        Standing::At(serving) => serving <= point.position,
        Standing::Damaged => true,
        Standing::Missing => false,
    };
    let between = within(PATIENCE, async { Ok(applier.store.events_between(scope, point.position, head).await?) }).await?;
    let much = between > HEALING_BATCH as u64;
    let position = if much && ahead { point.position } else { applier.catch_up_in(&rebuild.next(), scope, 0, point).await? };
    bounded(LONG_PATIENCE, Box::pin(replace_live(applier, scope, rebuild, position))).await
}

/// Cuts over from the live read model, which stands still until then.
async fn replace_live<P: Projection>(
    applier: &Applier<P>,
    scope: TenantScope,
    rebuild: &Rebuild,
    position: Position,
) -> Result<Position, RebuildError> {
    let (live, next) = (rebuild.live(), rebuild.next());
    // The lock keeps the live projector out while the last few events are folded and the names change. When it gets on, it
    // finds its read model replaced, and meets the new checkpoint.
    let mut tx = TenantTx::begin(&applier.pool, scope, live, Access::Write).await?;
    let mut last = position;
    if is_readable(&mut tx).await? {
        let Checkpoint { point: LogPoint { position: serving, .. }, fence } =
            within(PATIENCE, async { Ok(lock_checkpoint(tx.conn()).await?) }).await?;
        if serving > position {
            last = applier.catch_up_in(&next, scope, 0, applier.point_in(&next, scope).await?).await?;
        }
        // The new one goes on with the fence of the live one, so that a stalled projector stays locked out.
        sqlx::query(&format!("update \"{next}\".checkpoint set fence = $1")).bind(fence).execute(tx.conn()).await?;
        sqlx::query("update checkpoint set fence = $1").bind(REPLACED).execute(tx.conn()).await?;
    }
    tx.conn().execute("set local role none; set local search_path = pg_catalog").await?;
    sqlx::query("delete from platform.parked where tenant_id = $1").bind(scope.tenant().uuid()).execute(tx.conn()).await?;
    rebuild.cut_over(tx.conn(), last).await?;
    tx.commit().await?;
    Ok(last)
}

/// Whether the live read model has a checkpoint: nobody else writes one that has none.
async fn is_readable(tx: &mut TenantTx) -> Result<bool, sqlx::Error> {
    let there: bool = sqlx::query_scalar("select to_regclass('checkpoint') is not null").fetch_one(tx.conn()).await?;
    Ok(there && sqlx::query_scalar("select exists (select from checkpoint)").fetch_one(tx.conn()).await?)
}
