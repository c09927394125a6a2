//! Rebuilding a read model: the whole log folded in memory into a fresh schema, written by binary COPY, indexed, and put
//! in the place of the live one, which serves and is kept up to date until then.
//!
//! Reading, decoding and folding run beside each other: pages are read ahead on a few connections, decoded on the
//! runtime's threads, and folded by shards of streams, each on a thread of its own, since streams don't share rows.
//!
//! Memory: the state and the COPY data of [`EVENTS_PER_PASS`] events at most, about 1 KB each, and a few pages on their way.
//! A longer log is read in several passes, each of which keeps another part of the streams. (A store whose positions are
//! not dense does not say how long a log is; there all of it is one pass.)
//!
//! Killed at any step, the live schema is untouched, and the next rebuild drops what is left. Cutting over is one
//! transaction: readers see the old read model or the new one, never a mixture.

use std::{mem::take, sync::Arc, thread, time::Duration, time::Instant};

use events::{Event, Position, RecordedEvent, TenantId, TenantScope};
use futures::{Stream, StreamExt as _, TryStreamExt as _, future, stream};
use platform::{
    Access, TenantTx,
    job::{Kind, Refused, Ticket},
    provision::{create_read_schema, cut_over, drop_read_schema, read_model_sql},
};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use tokio::{sync::mpsc, task::spawn_blocking};

use crate::{
    apply::{Applier, ApplyError, decode, live, open, unprojectable, within},
    batch::{Checkpoint, REPLACED, lock_checkpoint},
    fold::{CannotFold, Model},
    headcount::{HeadcountStep, Steps},
    rows::{COPY_HEADER, COPY_TRAILER, TABLES, TableInfo},
    top,
};

/// Events read by one statement.
const PAGE: usize = 5_000;
/// Pages read and decoded at the same time.
const AHEAD: usize = 4;
/// Pages that may wait for one shard.
const QUEUE: usize = 2;
/// Events whose state is held in memory at the same time.
const EVENTS_PER_PASS: u64 = 1_000_000;
/// Connections that write at the same time.
const WRITERS: u32 = 4;
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
    /// Rows written.
    pub rows: u64,
    /// The position that the new read model stands at.
    pub position: u64,
    /// Seconds in all.
    pub seconds: f64,
    /// Of which reading, decoding and folding.
    pub fold_seconds: f64,
    /// Of which COPY.
    pub copy_seconds: f64,
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

impl From<sqlx::Error> for RebuildError {
    fn from(error: sqlx::Error) -> Self {
        Self::Apply(error.into())
    }
}

/// Rebuilds the read model of the ticket's tenant from its log and cuts over to it; the tenant is not parked any more.
/// `applier.pool` needs two connections or more.
pub async fn rebuild(applier: &Applier, ticket: &Ticket, progress: impl Fn(Progress) + Send) -> Result<Report, RebuildError> {
    let scope = ticket.open(&applier.keys, Kind::RebuildReadModel)?.scope();
    if scope.tenant() == TenantId::PLATFORM {
        return Err(RebuildError::NoReadModel);
    }
    let started = Instant::now();
    let lock = Lock::take(&applier.pool, scope).await?;
    let (live, next, old) = (live(scope), format!("{}_next", live(scope)), format!("{}_old", live(scope)));
    drop_read_schema(&applier.pool, scope, &old).await?;
    create_read_schema(&applier.pool, scope, &next).await?;

    let (mut report, position) = fill(applier, scope, &next, progress).await?;
    let indexing = Instant::now();
    report.rows += index(&applier.pool, scope, &next, position).await?;
    report.index_seconds = indexing.elapsed().as_secs_f64();

    report.position = replace(applier, scope, &live, &next, position).await?.0;
    drop_read_schema(&applier.pool, scope, &old).await?;
    lock.release().await?;
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
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

/// Folds the log, up to where it ends now, into the tables of `schema`. Returns the last position folded.
async fn fill(
    applier: &Applier,
    scope: TenantScope,
    schema: &str,
    progress: impl Fn(Progress) + Send,
) -> Result<(Report, Position), RebuildError> {
    let head = within(PATIENCE, async { Ok(applier.store.head(scope).await?) }).await?;
    let passes = if applier.store.is_dense() { head.0.div_ceil(EVENTS_PER_PASS).max(1) } else { 1 };
    let mut report = Report { events: 0, rows: 0, position: 0, seconds: 0.0, fold_seconds: 0.0, copy_seconds: 0.0, index_seconds: 0.0 };
    let (mut position, mut steps) = (Position::ZERO, Steps::default());
    for number in 0..passes {
        let folding = Instant::now();
        let pass = Pass { number, of: passes };
        let (read, mut shards) = fold_pass(applier, scope, head, pass, &progress).await?;
        for shard in &mut shards {
            steps.merge(take(&mut shard.steps))?;
        }
        // Each pass reads the whole log and folds a part of it.
        (report.events, position) = (read.events, read.position);
        report.rows += shards.iter().map(|shard| shard.rows).sum::<u64>();
        let copying = Instant::now();
        copy(&applier.pool, scope, schema, shards).await?;
        report.fold_seconds += (copying - folding).as_secs_f64();
        report.copy_seconds += copying.elapsed().as_secs_f64();
    }
    let copying = Instant::now();
    let (mut data, steps) = (Vec::new(), steps.rows()?);
    for step in &steps {
        step.copy(&mut data);
    }
    report.rows += steps.len() as u64;
    within(LONG_PATIENCE, async { Ok(copy_table(&applier.pool, scope, schema, &HeadcountStep::INFO, vec![data]).await?) }).await?;
    report.copy_seconds += copying.elapsed().as_secs_f64();
    Ok((report, position))
}

/// Which part of the streams is folded.
#[derive(Debug, Clone, Copy)]
struct Pass {
    number: u64,
    of: u64,
}

impl Pass {
    /// The shard of a stream, or none if its events belong to another pass.
    fn shard(self, event: &RecordedEvent, shards: usize) -> Option<usize> {
        let (high, low) = event.stream.id().as_u64_pair();
        // Ids may be random or derived; a multiplication spreads any of them over the high bits.
        let spread = (high ^ low).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        (spread % self.of == self.number).then_some(usize::try_from(spread / self.of).unwrap_or(0) % shards)
    }
}

/// How far a pass has read.
#[derive(Debug, Clone, Copy, Default)]
struct Read {
    events: u64,
    position: Position,
}

/// What a shard's streams came to: binary COPY data per table, in the order of [`TABLES`].
struct Shard {
    rows: u64,
    tables: Vec<Vec<u8>>,
    steps: Steps,
}

/// Decoded events of one shard.
type Part = Vec<(RecordedEvent, Event)>;

/// Reads the log and folds the pass's part of it.
async fn fold_pass(
    applier: &Applier,
    scope: TenantScope,
    head: Position,
    pass: Pass,
    progress: &(impl Fn(Progress) + Send),
) -> Result<(Read, Vec<Shard>), RebuildError> {
    let count = thread::available_parallelism().map_or(2, |n| n.get().clamp(1, 8));
    let (senders, workers): (Vec<_>, Vec<_>) = (0..count)
        .map(|_| {
            let (sender, receiver) = mpsc::channel(QUEUE);
            (sender, spawn_blocking(move || fold_shard(receiver)))
        })
        .unzip();
    let read = feed(applier, scope, head, pass, senders, progress).await;
    let mut shards = Vec::with_capacity(count);
    for worker in future::join_all(workers).await {
        // A shard that failed has hung up on the reader and says why here.
        shards.push(worker.map_err(anyhow::Error::from)??);
    }
    Ok((read?, shards))
}

/// Reads the log in order and hands each event to its shard.
async fn feed(
    applier: &Applier,
    scope: TenantScope,
    head: Position,
    pass: Pass,
    senders: Vec<mpsc::Sender<Part>>,
    progress: &(impl Fn(Progress) + Send),
) -> Result<Read, RebuildError> {
    let total = if applier.store.is_dense() { head.0 } else { 0 };
    let mut pages = std::pin::pin!(pages(applier, scope, head, pass, senders.len()));
    let mut read = Read::default();
    while let Some(page) = pages.try_next().await? {
        read.events += page.events;
        read.position = page.last;
        for (sender, part) in senders.iter().zip(page.parts) {
            // A shard that is behind makes the reader wait here.
            if !part.is_empty() && sender.send(part).await.is_err() {
                return Ok(read);
            }
        }
        progress(Progress { folded: pass.number * total + read.events, of: (pass.of * total).max(read.events) });
    }
    Ok(read)
}

/// A page of the log, decoded, by shard.
struct Page {
    events: u64,
    last: Position,
    parts: Vec<Part>,
}

/// The log's pages in order. In a dense log every page's start is known, so several are read at once.
fn pages(
    applier: &Applier,
    scope: TenantScope,
    head: Position,
    pass: Pass,
    shards: usize,
) -> impl Stream<Item = Result<Page, RebuildError>> + Send {
    let applier = Arc::new(applier.clone());
    let dense = applier.store.is_dense();
    let read = move |after: Position, limit: u64| {
        let applier = Arc::clone(&applier);
        // A task of its own, so that pages are decoded on several threads.
        let page = tokio::spawn(async move { read_page(&applier, scope, after, limit, pass, shards).await });
        async move { page.await.map_err(anyhow::Error::from)? }
    };
    let page = PAGE as u64;
    if dense {
        let starts = (0..head.0).step_by(PAGE);
        stream::iter(starts).map(move |start| read(Position(start), page.min(head.0 - start))).buffered(AHEAD).left_stream()
    } else {
        let sparse = stream::try_unfold((Position::ZERO, read), move |(after, read)| async move {
            if after >= head {
                return Ok(None);
            }
            let page = read(after, page).await?;
            let last = page.last;
            Ok(if page.events == 0 { None } else { Some((page, (last, read))) })
        });
        sparse.right_stream()
    }
}

async fn read_page(
    applier: &Applier,
    scope: TenantScope,
    after: Position,
    limit: u64,
    pass: Pass,
    shards: usize,
) -> Result<Page, RebuildError> {
    let limit = usize::try_from(limit).unwrap_or(PAGE);
    let events = within(PATIENCE, async { Ok(applier.store.read_log(scope, after, limit).await?) }).await?;
    let mut page = Page {
        events: events.len() as u64,
        last: events.last().map_or(after, |event| event.position),
        parts: (0..shards).map(|_| Part::with_capacity(events.len() / shards + 1)).collect(),
    };
    if applier.store.is_dense() && page.last.0 - after.0 != page.events {
        return Err(anyhow::anyhow!("the event store's log has a hole after position {after} (I2); nothing was changed").into());
    }
    for recorded in events {
        if let Some(shard) = pass.shard(&recorded, shards) {
            let event = decode(scope, &recorded).map_err(|why| unprojectable(&recorded, &why.0))?;
            page.parts[shard].push((recorded, event));
        }
    }
    let all = page.parts.iter_mut().flatten().map(|(recorded, event)| (&*recorded, event));
    if let Some((index, why)) = open(&applier.keys, scope, all).await? {
        let at_fault = page.parts.iter().flatten().nth(index);
        let position = at_fault.map_or(page.last, |(recorded, _)| recorded.position);
        return Err(ApplyError::Unprojectable { position, reason: why }.into());
    }
    Ok(page)
}

/// One shard: folds what comes, then turns its state into COPY data, letting go of the one as the other grows.
fn fold_shard(mut parts: mpsc::Receiver<Part>) -> Result<Shard, RebuildError> {
    let mut model = Model::default();
    while let Some(part) = parts.blocking_recv() {
        for (recorded, event) in &part {
            model.fold(recorded, event).map_err(|why| unprojectable(recorded, &why.0))?;
        }
    }
    let mut shard = Shard { rows: 0, tables: vec![Vec::new(); TABLES.len()], steps: Steps::default() };
    let mut counted = Ok(());
    model.into_rows(|rows| {
        shard.rows += rows.count() as u64;
        rows.copy(&mut shard.tables);
        if counted.is_ok() {
            counted = shard.steps.add(rows);
        }
    });
    counted?;
    Ok(shard)
}

/// How many connections may be used beside each other.
fn writers(pool: &PgPool) -> usize {
    pool.options().get_max_connections().clamp(1, WRITERS) as usize
}

/// Every table by COPY, a few beside each other. Nobody reads the schema yet, so each may have its own transaction.
async fn copy(pool: &PgPool, scope: TenantScope, schema: &str, shards: Vec<Shard>) -> Result<(), RebuildError> {
    let mut tables: Vec<Vec<Vec<u8>>> = TABLES.iter().map(|_| Vec::new()).collect();
    for shard in shards {
        for (table, data) in tables.iter_mut().zip(shard.tables) {
            table.push(data);
        }
    }
    stream::iter(TABLES.iter().zip(tables).map(Ok::<_, RebuildError>))
        .try_for_each_concurrent(writers(pool), |(table, data)| async move {
            within(LONG_PATIENCE, async { Ok(copy_table(pool, scope, schema, table, data).await?) }).await?;
            Ok(())
        })
        .await
}

async fn copy_table(pool: &PgPool, scope: TenantScope, schema: &str, table: &TableInfo, data: Vec<Vec<u8>>) -> Result<(), sqlx::Error> {
    if data.iter().all(Vec::is_empty) {
        return Ok(());
    }
    let mut tx = begin_unwaited(pool, scope, schema).await?;
    let sql = format!("copy {} ({}) from stdin (format binary)", table.name, table.columns.join(", "));
    let mut sink = tx.conn().copy_in_raw(&sql).await?;
    sink.send(COPY_HEADER).await?;
    for part in data {
        for chunk in part.chunks(1 << 20) {
            sink.send(chunk).await?;
        }
    }
    sink.send(COPY_TRAILER).await?;
    sink.finish().await?;
    tx.commit().await
}

/// A transaction that does not wait for the disk: that is done once, by cutting over.
async fn begin_unwaited(pool: &PgPool, scope: TenantScope, schema: &str) -> Result<TenantTx, sqlx::Error> {
    let mut tx = TenantTx::begin(pool, scope, schema, Access::Write).await?;
    tx.conn().execute("set local synchronous_commit = off; set local maintenance_work_mem = '128MB'").await?;
    Ok(tx)
}

/// Keys, indexes, what is worked out from other rows, statistics, and the checkpoint. The rows added.
async fn index(pool: &PgPool, scope: TenantScope, schema: &str, position: Position) -> Result<u64, RebuildError> {
    let run = |sql: String| async move {
        within(LONG_PATIENCE, async {
            let mut tx = begin_unwaited(pool, scope, schema).await?;
            let done = tx.conn().execute(sql.as_str()).await?;
            tx.commit().await?;
            Ok(done.rows_affected())
        })
        .await
    };
    let all = async |statements: Vec<String>| {
        let statements = stream::iter(statements.into_iter().map(run)).buffer_unordered(writers(pool));
        statements.try_fold(0, |rows, more| future::ready(Ok::<_, ApplyError>(rows + more))).await
    };
    all(read_model_sql().1.into_iter().flat_map(|file| file.split_inclusive(";\n")).map(str::to_owned).collect()).await?;
    let tables = TABLES.iter().map(|table| table.name).chain([HeadcountStep::INFO.name]).map(|table| format!("analyze {table}"));
    let added = all([top::INSERT.to_owned()].into_iter().chain(tables).collect()).await?;
    run("analyze top_span".into()).await?;
    run(format!("update checkpoint set position = {}, fence = 0", position.0)).await?;
    Ok(added)
}

/// Catches up with what was appended meanwhile, and cuts over once the new read model is not behind the live one.
async fn replace(applier: &Applier, scope: TenantScope, live: &str, next: &str, position: Position) -> Result<Position, RebuildError> {
    let position = applier.catch_up_in(next, scope, 0, position).await?;
    // The lock keeps the live projector out while the last few events are folded and the names change. When it gets on, it
    // finds its read model replaced, and meets the new checkpoint.
    let mut tx = TenantTx::begin(&applier.pool, scope, live, Access::Write).await?;
    let there: bool = sqlx::query_scalar("select to_regclass('checkpoint') is not null").fetch_one(tx.conn()).await?;
    let mut last = position;
    if there {
        let Checkpoint { position: serving, fence } = within(PATIENCE, async { Ok(lock_checkpoint(tx.conn()).await?) }).await?;
        if serving > position {
            last = applier.catch_up_in(next, scope, 0, position).await?;
        }
        // The new one goes on with the fence of the live one, so that a stalled projector stays locked out.
        sqlx::query(&format!("update \"{next}\".checkpoint set fence = $1")).bind(fence).execute(tx.conn()).await?;
        sqlx::query("update checkpoint set fence = $1").bind(REPLACED).execute(tx.conn()).await?;
    }
    tx.conn().execute("set local role none; set local search_path = pg_catalog").await?;
    sqlx::query("delete from platform.parked where tenant_id = $1").bind(scope.tenant().uuid()).execute(tx.conn()).await?;
    cut_over(tx.conn(), scope, live, next).await?;
    tx.commit().await?;
    Ok(last)
}
