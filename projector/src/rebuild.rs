//! Rebuilding a read model: the whole log folded into a fresh schema, written by binary COPY, indexed, and put in the place
//! of the live one, which serves and is kept up to date until then.
//!
//! Streams don't share rows, so they are read one after another, in ranges of their ids: a stream is folded from its first
//! event to its last, its rows are on their way at once, and its state is let go of. Workers read, decode and fold; a few
//! connections write what they make; neither waits for the other until a queue is full.
//!
//! Memory, however long the log is: a page, a part and a stream's state per worker, the parts that wait, and a chunk per
//! table and writer ([`WORKERS`], [`PAGE`], [`QUEUE`], [`CHUNK`], [`WRITERS`]); with events of half a kilobyte about 100 MB.
//! Beside them the counts of [`Steps`], of which there are as many as days on which something changed in a department.
//! EventStoreDB has no such order. There the log is read in its own, and all of its state is held until the end: about 1 KB
//! an event.
//!
//! Killed at any step, the live schema is untouched, and the next rebuild drops what is left. Cutting over is one
//! transaction: readers see the old read model or the new one, never a mixture.
//!
//! A lock keeps two rebuilds of a tenant apart for as long as its session lasts. Where that is lost (a fail-over, a network, an
//! administrator), the first one goes on while a second begins. Neither meets the other's rows, because each builds in a schema
//! that carries the epoch that it drew; and PostgreSQL lets only the last epoch cut over ([`Rebuild`]).

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use events::{Event, LogPoint, Position, RecordedEvent, StreamName, TenantId, TenantScope};
use futures::{StreamExt as _, TryStreamExt as _, future, stream};
use platform::{
    Access, TenantTx,
    job::{BeginError, Job, Kind, Refused, Ticket},
    keys::KeyError,
    provision::read_model_sql,
    read_model::{Rebuild, Standing},
};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use store::{
    PgStore, Store,
    streams::{StreamEvent, StreamPage, StreamPlace, StreamRange},
};
use tokio::{
    sync::mpsc,
    task::{JoinSet, spawn_blocking},
};

use crate::{
    apply::{Applier, ApplyError, HEALING_BATCH, decode, no_answer, open, unprojectable, within},
    batch::{Checkpoint, REPLACED, lock_checkpoint, move_checkpoint},
    binary::{COPY_HEADER, COPY_TRAILER},
    busy::busy,
    fold::{CannotFold, Model},
    headcount::{HeadcountStep, Steps},
    rows::{TABLES, TableInfo},
    top,
};

/// Events of a range of streams, about.
const RANGE: u64 = 4_000;
/// Events read by one statement at most.
const PAGE: usize = 5_000;
/// Ranges read and folded at the same time, at most.
const WORKERS: usize = 8;
/// Parts that wait to be written.
const QUEUE: usize = 4;
/// Bytes of a table that are written at once.
const CHUNK: usize = 4 << 20;
/// Connections that write at the same time.
const WRITERS: u32 = 4;
/// How often keys are asked for again, and after which time.
const MAX_TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
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

/// Rebuilds the read model of the ticket's tenant from its log and cuts over to it; the tenant is not parked any more.
/// `applier.pool` needs two connections or more.
pub async fn rebuild(applier: &Applier, ticket: &Ticket, progress: impl Fn(Progress) + Send) -> Result<Report, RebuildError> {
    let job = ticket.open(&applier.keys, Kind::RebuildReadModel)?;
    let scope = job.scope();
    if scope.tenant() == TenantId::PLATFORM {
        return Err(RebuildError::NoReadModel);
    }
    let started = Instant::now();
    let mut lock = bounded(PATIENCE, Lock::take(&applier.pool, scope)).await?;
    let rebuilt = Box::pin(rebuild_locked(applier, &job, &mut lock, progress)).await;
    let released = bounded(PATIENCE, async { Ok(lock.release().await?) }).await;
    let report = rebuilt?;
    if let Err(error) = released {
        // The rebuild had cut over, whatever became of its lock.
        tracing::debug!(%error, "the lock of a rebuild was lost");
    }
    Ok(Report { seconds: started.elapsed().as_secs_f64(), ..report })
}

/// The same, once nobody else can be at it for as long as the lock is held.
async fn rebuild_locked(applier: &Applier, job: &Job, lock: &mut Lock, progress: impl Fn(Progress) + Send) -> Result<Report, RebuildError> {
    bounded(PATIENCE, async { Ok(job.begin(&applier.pool).await?) }).await?;
    let rebuild = bounded(PATIENCE, async { Ok(Rebuild::begin(&mut lock.0, job.scope()).await?) }).await?;
    drop_left_over(applier, &rebuild).await;
    let built = Box::pin(build(applier, job.scope(), &rebuild, progress)).await;
    if built.is_ok() {
        drop_left_over(applier, &rebuild).await;
    } else if let Err(error) = bounded(LONG_PATIENCE, async { Ok(rebuild.give_up(&applier.pool).await?) }).await {
        // It may be as large as the live one, and the next rebuild may never come.
        tracing::debug!(%error, "what a rebuild left is still there");
    }
    built
}

async fn drop_left_over(applier: &Applier, rebuild: &Rebuild) {
    if let Err(error) = bounded(LONG_PATIENCE, async { Ok(rebuild.drop_left_over(&applier.pool).await?) }).await {
        tracing::warn!(%error, "what rebuilds left is still there; the next one drops it");
    }
}

/// Makes the new read model and cuts over to it.
async fn build(
    applier: &Applier,
    scope: TenantScope,
    rebuild: &Rebuild,
    progress: impl Fn(Progress) + Send,
) -> Result<Report, RebuildError> {
    let (pool, next) = (&applier.pool, rebuild.next());
    bounded(LONG_PATIENCE, async { Ok(rebuild.create_schema(pool).await?) }).await?;
    let (mut report, position, mut written) = fill(applier, scope, &next, progress).await?;
    let indexing = Instant::now();
    let point = within(PATIENCE, async { Ok(applier.store.point_at(scope, position).await?) }).await?;
    let added = index(pool, scope, &next, point).await?;
    written.insert(top::TABLE, added);
    check_rows(pool, scope, &next, &written).await?;
    report.rows += added;
    report.index_seconds = indexing.elapsed().as_secs_f64();
    report.position = replace(applier, scope, rebuild, point).await?.0;
    Ok(report)
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

/// Rows by table.
type Written = BTreeMap<&'static str, u64>;

/// Folds the log, up to where it ends now, into the tables of `schema`. Returns the last position folded, and what was written.
async fn fill(
    applier: &Applier,
    scope: TenantScope,
    schema: &str,
    progress: impl Fn(Progress) + Send,
) -> Result<(Report, Position, Written), RebuildError> {
    let started = Instant::now();
    let head = within(PATIENCE, async { Ok(applier.store.head(scope).await?) }).await?;
    let (parts, received) = mpsc::channel(QUEUE);
    let folding = fold(applier, scope, head, parts);
    let of = if applier.store.is_dense() { head.0 } else { 0 };
    let writing = write(&applier.pool, scope, schema, received, move |folded| progress(Progress { folded, of: of.max(folded) }));
    let ((position, steps), (events, mut written)) = tokio::try_join!(folding, writing)?;
    if applier.store.is_dense() && events != head.0 {
        let hole = anyhow::anyhow!("the event store's log ends at {head}, but {events} events are in it (I2); nothing was changed");
        return Err(hole.into());
    }
    // Of all pages together.
    let data = busy(PAGE, || {
        let mut data = Vec::new();
        for step in &steps.rows()? {
            step.copy(&mut data);
        }
        Ok::<_, CannotFold>(data)
    })?;
    let steps = &HeadcountStep::INFO;
    let copied = within(LONG_PATIENCE, async { Ok(copy_table(&applier.pool, scope, schema, steps, &data).await?) }).await?;
    written.insert(steps.name, copied);
    let (rows, fill_seconds) = (written.values().sum(), started.elapsed().as_secs_f64());
    Ok((Report { events, rows, position: 0, seconds: 0.0, fill_seconds, index_seconds: 0.0 }, position, written))
}

/// Reads and folds the log as [`rebuild`] does, and writes nothing: what that costs by itself. Events, and rows that they make.
pub async fn fold_only(applier: &Applier, scope: TenantScope) -> Result<(u64, u64), RebuildError> {
    let head = within(PATIENCE, async { Ok(applier.store.head(scope).await?) }).await?;
    let (parts, mut received) = mpsc::channel::<Part>(QUEUE);
    let counting = async {
        let (mut events, mut rows) = (0, 0);
        while let Some(part) = received.recv().await {
            (events, rows) = (events + part.events, rows + part.rows);
        }
        Ok((events, rows))
    };
    let ((_, steps), (events, rows)) = tokio::try_join!(fold(applier, scope, head, parts), counting)?;
    Ok((events, rows + steps.rows()?.len() as u64))
}

/// Folds the log in the order that its engine can give it in.
async fn fold(applier: &Applier, scope: TenantScope, head: Position, parts: mpsc::Sender<Part>) -> Result<(Position, Steps), RebuildError> {
    match &applier.store {
        Store::Postgres(store) => fold_streams(applier, store, scope, head, parts).await,
        Store::EventStore(_) => fold_log(applier, scope, head, parts).await,
    }
}

/// What some events came to: binary COPY data per table, in the order of [`TABLES`].
struct Part {
    events: u64,
    rows: u64,
    tables: Vec<Vec<u8>>,
}

impl Part {
    fn of(events: usize) -> Self {
        Self { events: events as u64, rows: 0, tables: vec![Vec::new(); TABLES.len()] }
    }
    /// Adds what these keys came to, and counts it.
    fn add(&mut self, model: Model, steps: &mut Steps) -> Result<(), CannotFold> {
        let mut counted = Ok(());
        model.into_rows(|rows| {
            self.rows += rows.count() as u64;
            rows.copy(&mut self.tables);
            if counted.is_ok() {
                counted = steps.add(rows);
            }
        });
        counted
    }
}

/// Folds stream after stream, some ranges of them beside each other.
async fn fold_streams(
    applier: &Applier,
    store: &PgStore,
    scope: TenantScope,
    head: Position,
    parts: mpsc::Sender<Part>,
) -> Result<(Position, Steps), RebuildError> {
    let ranges = within(PATIENCE, async { Ok(store.stream_ranges(scope, head, RANGE).await?) }).await?;
    // While one decodes, another waits for PostgreSQL.
    let count = thread::available_parallelism().map_or(2, |n| n.get() * 2).clamp(2, WORKERS).min(ranges.len());
    let ranges = Arc::new(Mutex::new(ranges.into_iter()));
    let steps = Arc::new(Mutex::new(Steps::default()));
    // The set ends its tasks when it is dropped.
    let mut workers = JoinSet::new();
    for _ in 0..count {
        let (applier, store, parts) = (applier.clone(), store.clone(), parts.clone());
        let (ranges, steps) = (Arc::clone(&ranges), Arc::clone(&steps));
        workers.spawn(async move { fold_ranges(&applier, &store, scope, head, &ranges, &steps, parts).await });
    }
    drop(parts);
    while let Some(worker) = workers.join_next().await {
        worker.map_err(anyhow::Error::from)??;
    }
    let steps = mem::take(&mut *steps.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((head, steps))
}

/// Folds ranges for as long as there are any and somebody wants what they come to.
async fn fold_ranges(
    applier: &Applier,
    store: &PgStore,
    scope: TenantScope,
    head: Position,
    ranges: &Mutex<std::vec::IntoIter<StreamRange>>,
    steps: &Mutex<Steps>,
    parts: mpsc::Sender<Part>,
) -> Result<(), RebuildError> {
    let mut reader = within(PATIENCE, async { Ok(store.stream_reader().await?) }).await?;
    let next = || ranges.lock().unwrap_or_else(PoisonError::into_inner).next();
    while let Some(range) = next() {
        let mut after = StreamPlace::before(&range);
        let mut unfinished = Unfinished::default();
        loop {
            let page = within(PATIENCE, async { Ok(reader.read(scope, &range, after, head, PAGE).await?) }).await?;
            let (recorded, mut events) = busy(PAGE, || decode_page(&page))?;
            let streams = recorded.iter().map(|one| one.stream);
            if let Some((index, why)) = open_patiently(applier, scope, streams, &mut events).await? {
                return Err(unprojectable(recorded.get(index).map_or(head, |one| one.position), &why).into());
            }
            let last = recorded.last().filter(|_| recorded.len() == PAGE).map(StreamPlace::after);
            let (part, counted) = busy(events.len(), || unfinished.fold(recorded.iter().zip(&events), last.is_none()))?;
            // There is one sum of all, not one per worker: it is as large as the company is old.
            steps.lock().unwrap_or_else(PoisonError::into_inner).merge(counted)?;
            if parts.send(part).await.is_err() {
                // The writer has failed, and says why.
                return Ok(());
            }
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
    }
    within(PATIENCE, async { Ok(reader.close().await?) }).await?;
    Ok(())
}

/// The events of a page, as they were recorded and what they say.
fn decode_page(page: &StreamPage) -> Result<(Vec<StreamEvent<'_>>, Vec<Event>), ApplyError> {
    let recorded = page.events()?;
    let decode = |one: &StreamEvent<'_>| {
        let event = Event::decode_parts(one.stream.category(), one.event_type, one.schema_version, one.data);
        event.map_err(|e| unprojectable(one.position, &e.to_string()))
    };
    let events = recorded.iter().map(decode).collect::<Result<_, _>>()?;
    Ok((recorded, events))
}

/// Opens personal fields. The key store may keep one waiting while the disk takes what the rebuild writes, and what was
/// folded until then would be lost.
async fn open_patiently(
    applier: &Applier,
    scope: TenantScope,
    streams: impl Iterator<Item = StreamName> + Clone,
    events: &mut [Event],
) -> Result<Option<(usize, String)>, ApplyError> {
    let mut tries = 0;
    loop {
        // Nothing was opened where no keys came.
        match open(&applier.keys, scope, streams.clone().zip(events.iter_mut())).await {
            Err(ApplyError::Keys(KeyError::Unavailable(_))) if tries < MAX_TRIES => tries += 1,
            opened => return opened,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The stream that is being folded: the next page may go on with it.
#[derive(Default)]
struct Unfinished {
    stream: Option<StreamName>,
    model: Model,
}

impl Unfinished {
    /// Folds a page, which the range ends with or not. What it came to, and what is to be counted of it.
    fn fold<'p>(
        &mut self,
        page: impl ExactSizeIterator<Item = (&'p StreamEvent<'p>, &'p Event)>,
        ends: bool,
    ) -> Result<(Part, Steps), RebuildError> {
        let (mut part, mut counted) = (Part::of(page.len()), Steps::default());
        for (one, event) in page {
            self.next(one.stream, &mut part, &mut counted)?;
            self.model.fold(one.stream, one.version, event).map_err(|why| unprojectable(one.position, &why.0))?;
        }
        if ends {
            part.add(mem::take(self).model, &mut counted)?;
        }
        Ok((part, counted))
    }
    /// Hands out the rows of the last stream where another one begins.
    fn next(&mut self, stream: StreamName, part: &mut Part, steps: &mut Steps) -> Result<(), CannotFold> {
        let ended = self.stream.replace(stream).is_some_and(|last| last != stream);
        if ended { part.add(mem::take(&mut self.model), steps) } else { Ok(()) }
    }
}

/// Folds the log in its own order.
async fn fold_log(
    applier: &Applier,
    scope: TenantScope,
    head: Position,
    parts: mpsc::Sender<Part>,
) -> Result<(Position, Steps), RebuildError> {
    let mut model = Model::default();
    let mut at = Position::ZERO;
    let mut page = read_page(applier, scope, at).await?;
    while let Some(last) = page.last().map(|(recorded, _)| recorded.position) {
        let count = page.len();
        // The next page is read while this one is folded.
        let fold = move || {
            for (recorded, event) in &page {
                let folded = model.fold(recorded.stream, recorded.version, event);
                folded.map_err(|CannotFold(why)| unprojectable(recorded.position, &why))?;
            }
            Ok::<_, ApplyError>(model)
        };
        let next = async { if last < head { read_page(applier, scope, last).await } else { Ok(Vec::new()) } };
        let (folded, next) = tokio::join!(spawn_blocking(fold), next);
        model = folded.map_err(anyhow::Error::from)??;
        (at, page) = (last, next?);
        if parts.send(Part::of(count)).await.is_err() {
            return Ok((at, Steps::default()));
        }
    }
    let drain = move || {
        let (mut part, mut steps, mut counted) = (Part::of(0), Steps::default(), Ok(()));
        model.into_rows(|rows| {
            part.rows += rows.count() as u64;
            rows.copy(&mut part.tables);
            if counted.is_ok() {
                counted = steps.add(rows);
            }
            if part.tables.iter().map(Vec::len).sum::<usize>() > CHUNK {
                // A writer that has failed says why.
                let _ = parts.blocking_send(mem::replace(&mut part, Part::of(0)));
            }
        });
        let _ = parts.blocking_send(part);
        counted.map(|()| steps)
    };
    let steps = spawn_blocking(drain).await.map_err(anyhow::Error::from)??;
    Ok((at, steps))
}

/// A page of the log after a position, ready to be folded.
async fn read_page(applier: &Applier, scope: TenantScope, after: Position) -> Result<Vec<(RecordedEvent, Event)>, RebuildError> {
    let recorded = within(PATIENCE, async { Ok(applier.store.read_log(scope, after, PAGE).await?) }).await?;
    let decode = |one| decode(scope, one).map_err(|why| unprojectable(one.position, &why.0));
    let mut events = busy(recorded.len(), || recorded.iter().map(decode).collect::<Result<Vec<_>, _>>())?;
    if let Some((index, why)) = open_patiently(applier, scope, recorded.iter().map(|one| one.stream), &mut events).await? {
        return Err(unprojectable(recorded.get(index).map_or(after, |one| one.position), &why).into());
    }
    Ok(recorded.into_iter().zip(events).collect())
}

/// Writes what comes, by COPY on a few connections. Nobody reads the schema yet, so each chunk may have its own transaction.
/// None of this is a task of its own: where a rebuild ends, nothing of it goes on writing. Returns the events, and what was written.
async fn write(
    pool: &PgPool,
    scope: TenantScope,
    schema: &str,
    parts: mpsc::Receiver<Part>,
    progress: impl Fn(u64) + Send,
) -> Result<(u64, Written), RebuildError> {
    let (mut events, written) = (0, TABLES.iter().map(|table| (table.name, 0)).collect::<Written>());
    let mut filling = vec![Vec::new(); TABLES.len()];
    let mut full = VecDeque::new();
    let mut parts = Some(parts);
    let chunks = stream::poll_fn(|context| {
        loop {
            if let Some(chunk) = full.pop_front() {
                return Poll::Ready(Some(Ok::<_, RebuildError>(chunk)));
            }
            let Some(receiver) = &mut parts else { return Poll::Ready(None) };
            let part = std::task::ready!(receiver.poll_recv(context));
            let most = if part.is_some() { CHUNK } else { 1 };
            if let Some(part) = part {
                events += part.events;
                filling.iter_mut().zip(part.tables).for_each(|(table, data)| table.extend_from_slice(&data));
                progress(events);
            } else {
                parts = None;
            }
            let ready = TABLES.iter().zip(&mut filling).filter(|(_, data)| data.len() >= most);
            full.extend(ready.map(|(table, data)| (table, mem::take(data))));
        }
    });
    let written = Mutex::new(written);
    chunks
        .try_for_each_concurrent(writers(pool), |(table, data)| {
            let written = &written;
            async move {
                let rows = within(LONG_PATIENCE, async { Ok(copy_table(pool, scope, schema, table, &data).await?) }).await?;
                *written.lock().unwrap_or_else(PoisonError::into_inner).entry(table.name).or_default() += rows;
                Ok(())
            }
        })
        .await?;
    Ok((events, written.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

/// How many connections may be used beside each other.
fn writers(pool: &PgPool) -> usize {
    pool.options().get_max_connections().clamp(1, WRITERS) as usize
}

async fn copy_table(pool: &PgPool, scope: TenantScope, schema: &str, table: &TableInfo, data: &[u8]) -> Result<u64, sqlx::Error> {
    let mut tx = begin_unwaited(pool, scope, schema).await?;
    let sql = format!("copy {} ({}) from stdin (format binary)", table.name, table.columns.join(", "));
    let mut sink = tx.conn().copy_in_raw(&sql).await?;
    sink.send(COPY_HEADER).await?;
    for piece in data.chunks(1 << 20) {
        sink.send(piece).await?;
    }
    sink.send(COPY_TRAILER).await?;
    let rows = sink.finish().await?;
    tx.commit().await?;
    Ok(rows)
}

/// A transaction that does not wait for the disk: that is done once, by [`index`].
async fn begin_unwaited(pool: &PgPool, scope: TenantScope, schema: &str) -> Result<TenantTx, sqlx::Error> {
    let mut tx = TenantTx::begin(pool, scope, schema, Access::Write).await?;
    tx.conn().execute("set local synchronous_commit = off; set local maintenance_work_mem = '128MB'").await?;
    Ok(tx)
}

/// Keys, indexes, what is worked out from other rows, statistics, and the checkpoint. The rows added.
async fn index(pool: &PgPool, scope: TenantScope, schema: &str, point: LogPoint) -> Result<u64, RebuildError> {
    // A transaction per chain. The one that works out the top reads assignments, and waits until their chain is done.
    let run = |chain: Vec<String>| async move {
        let mut tx = within(PATIENCE, async { Ok(begin_unwaited(pool, scope, schema).await?) }).await?;
        let mut rows = 0;
        for statement in chain {
            rows += within(LONG_PATIENCE, async { Ok(tx.conn().execute(statement.as_str()).await?.rows_affected()) }).await?;
        }
        within(PATIENCE, async { Ok(tx.commit().await?) }).await?;
        Ok::<_, ApplyError>(rows)
    };
    let chains = stream::iter(index_chains().into_iter().map(run));
    let added = chains.buffer_unordered(writers(pool)).try_fold(0, |rows, more| future::ready(Ok(rows + more))).await?;
    // This one waits until it is on the disk, and all before it with it.
    let mut tx = TenantTx::begin(pool, scope, schema, Access::Write).await?;
    let checkpoint = move_checkpoint(point, 0);
    within(PATIENCE, async { Ok(tx.conn().execute(checkpoint.as_str()).await?) }).await?;
    within(PATIENCE, async { Ok(tx.commit().await?) }).await?;
    Ok(added)
}

/// Counts the rows that are there now that they are on the disk. A server that died and came back while it was written to has
/// lost transactions that did not wait for the disk, and nobody else would have noticed.
async fn check_rows(pool: &PgPool, scope: TenantScope, schema: &str, written: &Written) -> Result<(), RebuildError> {
    let count = |(table, written): (&'static str, u64)| async move {
        let counting = async {
            let mut tx = TenantTx::begin(pool, scope, schema, Access::Write).await?;
            tx.conn().execute("set local enable_seqscan = on").await?;
            let rows: i64 = sqlx::query_scalar(&format!("select count(*) from {table}")).fetch_one(tx.conn()).await?;
            tx.rollback().await?;
            Ok(rows.cast_unsigned())
        };
        let rows = within(LONG_PATIENCE, counting).await?;
        if rows == written {
            Ok(())
        } else {
            Err(anyhow::anyhow!("{rows} rows are in {table}, but {written} were written; begin again").into())
        }
    };
    let counts: Vec<_> = written.iter().map(|(table, written)| count((*table, *written))).collect();
    stream::iter(counts).buffer_unordered(writers(pool)).try_collect().await
}

/// The tables that a rebuild writes, but for the checkpoint.
pub fn table_names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|table| table.name).chain([HeadcountStep::INFO.name, top::TABLE])
}

/// What is to be run table by table, in order; the chains beside each other, and the longest first. SQL for a `search_path` that is
/// the schema alone; one of the statements is [`top::INSERT`].
pub fn index_chains() -> Vec<Vec<String>> {
    let (_, files) = read_model_sql();
    let statements: Vec<_> = files.iter().flat_map(|file| file.split_inclusive(";\n")).collect();
    let chain = |table: &str| {
        let own = statements.iter().filter(|statement| table_of(statement) == Some(table)).map(|&statement| statement.to_owned());
        own.chain([format!("analyze {table}")]).collect::<Vec<_>>()
    };
    let tables = table_names().filter(|table| *table != top::TABLE);
    // Who is at the top is looked up by the index of the managers' employments. The large tables come last in both lists.
    let whole = tables.map(|table| {
        if table == "employment" { [chain(table), vec![top::INSERT.to_owned()], chain(top::TABLE)].concat() } else { chain(table) }
    });
    let mut chains: Vec<_> = whole.collect();
    chains.reverse();
    chains
}

/// The table whose key or index a statement makes.
fn table_of(statement: &str) -> Option<&str> {
    let mut words = statement.lines().filter(|line| !line.starts_with("--")).flat_map(str::split_whitespace);
    words.find(|word| ["table", "on"].contains(word))?;
    words.next()
}

/// Cuts over once the new read model is not behind the live one. It catches up with what was appended meanwhile, unless that
/// is much, as during an import: then it serves at once, and is caught up with as the live one.
async fn replace(applier: &Applier, scope: TenantScope, rebuild: &Rebuild, point: LogPoint) -> Result<Position, RebuildError> {
    let head = within(PATIENCE, async { Ok(applier.store.head(scope).await?) }).await?;
    let ahead = match applier.standing(scope).await? {
        Standing::At(serving) => serving <= point.position,
        Standing::Missing | Standing::Damaged => true,
    };
    let much = applier.store.events_between(point.position, head) > HEALING_BATCH as u64;
    let position = if much && ahead { point.position } else { applier.catch_up_in(&rebuild.next(), scope, 0, point).await? };
    bounded(LONG_PATIENCE, Box::pin(replace_live(applier, scope, rebuild, position))).await
}

/// Cuts over from the live read model, which stands still until then.
async fn replace_live(applier: &Applier, scope: TenantScope, rebuild: &Rebuild, position: Position) -> Result<Position, RebuildError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_index_is_made_once() {
        let (_, files) = read_model_sql();
        let count = |of: &str| of.matches(";\n").count();
        let chains = index_chains();
        let made: Vec<_> = chains.iter().flatten().filter(|statement| statement.contains(";\n")).collect();
        assert_eq!(made.len(), files.iter().map(|file| count(file)).sum::<usize>());
        assert_eq!(made.iter().collect::<std::collections::BTreeSet<_>>().len(), made.len());
        assert_eq!(chains.iter().flatten().filter(|statement| statement.starts_with("analyze ")).count(), TABLES.len() + 2);
    }
}
