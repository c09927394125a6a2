//! Rebuilding a read model: the whole log folded in memory into a fresh schema, written by binary COPY, indexed, and put
//! in the place of the live one, which serves until then.
//!
//! Reading, decoding and folding run beside each other: pages are read ahead on a few connections, decoded on the
//! runtime's threads, and folded by shards of people, each on a thread of its own, since people don't share rows.
//! Memory holds the rows of one tenant once as state and once, table by table, as COPY data: about 2 KB per person with
//! ten years of history.
//!
//! Killed at any step, the live schema is untouched; the next rebuild drops what is left. Cutting over is one transaction.

use std::{collections::BTreeMap, sync::mpsc, thread, time::Instant};

use events::{Event, Position, RecordedEvent, TenantId, TenantScope};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use platform::{
    Access, READ_MODEL_VERSION, TenantTx,
    provision::{create_read_schema, cut_over, drop_read_schema, read_model_sql},
    read_schema,
};
use sqlx::{Executor as _, PgConnection, PgPool};

use crate::{
    apply::{Applier, ApplyError, decode, lock_checkpoint, move_checkpoint, open, shard, unprojectable},
    fold::Model,
    rows::{
        AssignmentSpan, COPY_HEADER, COPY_TRAILER, CompensationSpan, ContactSpan, DepartmentSpan, Employee, Employment, JobSpan,
        LocationSpan, PersonSpan, Table,
    },
};

/// Events read by one statement.
const PAGE: usize = 5_000;
/// Pages read and decoded at the same time.
const AHEAD: usize = 3;
/// Pages that may wait for one shard.
const QUEUE: usize = 4;

/// How far a rebuild is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Events folded.
    pub folded: u64,
    /// Events that the log held when the rebuild began.
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
    /// The platform's own log is followed in memory.
    #[error("the platform tenant has no read model")]
    NoReadModel,
    /// An event can't be projected, or something is away.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Making or dropping a schema failed.
    #[error("{0:#}")]
    Schema(#[from] anyhow::Error),
}

impl From<sqlx::Error> for RebuildError {
    fn from(error: sqlx::Error) -> Self {
        Self::Apply(error.into())
    }
}

/// Rebuilds a tenant's read model and cuts over to it.
pub async fn rebuild(applier: &Applier, scope: TenantScope, progress: impl Fn(Progress) + Send) -> Result<Report, RebuildError> {
    if scope.tenant() == TenantId::PLATFORM {
        return Err(RebuildError::NoReadModel);
    }
    let lock = Lock::take(&applier.pool, scope).await?;
    let started = Instant::now();
    let live = read_schema(scope.tenant(), READ_MODEL_VERSION);
    let next = format!("{live}_next");
    create_read_schema(&applier.pool, scope, &next).await?;

    let (events, position, tables) = fold_log(applier, scope, progress).await?;
    let folded = Instant::now();
    let rows = tables.values().map(|table| table.rows).sum();
    copy(&applier.pool, scope, &next, tables).await?;
    let copied = Instant::now();
    index(&applier.pool, scope, &next, position).await?;
    let indexed = Instant::now();
    let position = replace(applier, scope, &live, &next, position).await?;
    drop_read_schema(&applier.pool, scope, &format!("{live}_old")).await?;
    sqlx::query("delete from platform.parked where tenant_id = $1").bind(scope.tenant().uuid()).execute(&applier.pool).await?;
    lock.release().await?;
    Ok(Report {
        events,
        rows,
        position: position.0,
        seconds: started.elapsed().as_secs_f64(),
        fold_seconds: (folded - started).as_secs_f64(),
        copy_seconds: (copied - folded).as_secs_f64(),
        index_seconds: (indexed - copied).as_secs_f64(),
    })
}

/// A session's advisory lock; it goes with its connection, so a killed rebuild leaves none behind.
struct Lock {
    connection: sqlx::PgConnection,
}

impl Lock {
    async fn take(pool: &PgPool, scope: TenantScope) -> Result<Self, RebuildError> {
        let mut connection = pool.acquire().await?.detach();
        let name = format!("tenure.rebuild.{}", scope.tenant());
        let taken: bool =
            sqlx::query_scalar("select pg_try_advisory_lock(hashtextextended($1, 0))").bind(name).fetch_one(&mut connection).await?;
        if taken { Ok(Self { connection }) } else { Err(RebuildError::Running) }
    }
    async fn release(self) -> Result<(), sqlx::Error> {
        sqlx::Connection::close(self.connection).await
    }
}

/// A table's rows in binary COPY format.
#[derive(Default)]
struct Copied {
    rows: u64,
    data: Vec<u8>,
}

type Tables = BTreeMap<&'static str, Copied>;
type Page = Vec<(RecordedEvent, Event)>;

/// Folds the log up to where it ends now. The number of events, the last position, and the rows.
async fn fold_log(
    applier: &Applier,
    scope: TenantScope,
    progress: impl Fn(Progress) + Send,
) -> Result<(u64, Position, Tables), RebuildError> {
    let head = applier.store.head(scope).await.map_err(ApplyError::from)?;
    let shards = thread::available_parallelism().map_or(2, |n| n.get().clamp(1, 8));
    let (senders, workers): (Vec<_>, Vec<_>) = (0..shards)
        .map(|_| {
            let (sender, receiver) = mpsc::sync_channel::<Page>(QUEUE);
            (sender, thread::spawn(move || fold_shard(&receiver)))
        })
        .unzip();
    let fed = feed(applier, scope, head, &senders, progress).await;
    drop(senders);
    // Threads are waited for off the runtime, also where feeding failed.
    let folded = tokio::task::spawn_blocking(move || workers.into_iter().map(thread::JoinHandle::join).collect::<Vec<_>>()).await;
    let (events, position) = fed?;
    let mut tables = Tables::new();
    for shard in folded.map_err(anyhow::Error::from)? {
        let shard = shard.map_err(|_| anyhow::anyhow!("a folding thread panicked"))??;
        for (table, copied) in shard {
            let all = tables.entry(table).or_default();
            all.rows += copied.rows;
            all.data.extend_from_slice(&copied.data);
        }
    }
    Ok((events, position, tables))
}

/// Reads the log in order and hands each event to its shard.
async fn feed(
    applier: &Applier,
    scope: TenantScope,
    head: Position,
    senders: &[mpsc::SyncSender<Page>],
    progress: impl Fn(Progress) + Send,
) -> Result<(u64, Position), RebuildError> {
    let mut pages = std::pin::pin!(pages(applier, scope, head));
    let (mut events, mut position) = (0, Position::ZERO);
    while let Some(page) = pages.try_next().await? {
        events += page.len() as u64;
        position = page.last().map_or(position, |(recorded, _)| recorded.position);
        progress(Progress { folded: events, of: head.0.max(events) });
        let mut parts: Vec<Page> = (0..senders.len()).map(|_| Page::new()).collect();
        for (recorded, event) in page {
            parts[shard(&event, senders.len())].push((recorded, event));
        }
        for (sender, part) in senders.iter().zip(parts) {
            if !part.is_empty() {
                // A shard that is behind makes the reader wait here; one that failed has hung up, and says why when joined.
                let sender = sender.clone();
                let sent = tokio::task::spawn_blocking(move || sender.send(part)).await.map_err(anyhow::Error::from)?;
                if sent.is_err() {
                    return Ok((events, position));
                }
            }
        }
    }
    Ok((events, position))
}

/// The log's pages, decoded and opened, in order. In a dense log every page's start is known, so several are read at once.
fn pages(applier: &Applier, scope: TenantScope, head: Position) -> impl futures::Stream<Item = Result<Page, ApplyError>> + Send {
    let ahead = if applier.store.is_dense() { AHEAD } else { 1 };
    let read = move |after: Position, limit: usize| {
        let applier = applier.clone();
        async move {
            let events = applier.store.read_log(scope, after, limit).await?;
            tokio::spawn(async move { decode_page(&applier, scope, events).await })
                .await
                .map_err(|e| sqlx::Error::Protocol(e.to_string()))?
        }
    };
    let dense = stream::iter((0..head.0).step_by(PAGE))
        .map(move |start| read(Position(start), PAGE.min((head.0 - start) as usize)))
        .buffered(ahead);
    let sparse = stream::try_unfold(Position::ZERO, move |after| async move {
        if after >= head {
            return Ok(None);
        }
        let page = read(after, PAGE).await?;
        Ok(page.last().map(|(recorded, _)| recorded.position).map(|last| (page, last)))
    });
    if applier.store.is_dense() { dense.left_stream() } else { sparse.right_stream() }
}

async fn decode_page(applier: &Applier, scope: TenantScope, events: Vec<RecordedEvent>) -> Result<Page, ApplyError> {
    let mut page = Page::with_capacity(events.len());
    for recorded in events {
        let event = decode(&recorded)?;
        page.push((recorded, event));
    }
    open(&applier.keys, scope, page.iter_mut().map(|(recorded, event)| (&*recorded, event)).collect()).await?;
    Ok(page)
}

/// One shard: folds what comes, then turns its state into COPY data.
fn fold_shard(pages: &mpsc::Receiver<Page>) -> Result<Tables, ApplyError> {
    let mut model = Model::default();
    for page in pages {
        for (recorded, event) in &page {
            model.fold(recorded, event).map_err(|e| unprojectable(recorded, &e.0))?;
        }
    }
    let mut tables = Tables::new();
    // In the order of their keys, so that equal logs give equal files.
    for (id, department) in sorted(&model.departments) {
        add(&mut tables, &department.rows(id));
    }
    for (id, location) in sorted(&model.locations) {
        add(&mut tables, &location.rows(id));
    }
    for (id, job) in sorted(&model.jobs) {
        add(&mut tables, &job.rows(id));
    }
    for (id, person) in sorted(&model.people) {
        let rows = person.rows(id);
        add(&mut tables, &rows.employee);
        add(&mut tables, &rows.employment);
        add(&mut tables, &rows.details);
        add(&mut tables, &rows.contact);
        add(&mut tables, &rows.assignments);
        add(&mut tables, &rows.pay);
    }
    Ok(tables)
}

fn sorted<S>(states: &std::collections::HashMap<uuid::Uuid, S>) -> Vec<(uuid::Uuid, &S)> {
    let mut all: Vec<_> = states.iter().map(|(id, state)| (*id, state)).collect();
    all.sort_unstable_by_key(|(id, _)| *id);
    all
}

fn add<T: Table>(tables: &mut Tables, rows: &[T]) {
    let table = tables.entry(T::NAME).or_default();
    table.rows += rows.len() as u64;
    for row in rows {
        row.copy(&mut table.data);
    }
}

/// Every table by COPY, a few beside each other. Nobody reads the schema yet, so each may have its own transaction.
async fn copy(pool: &PgPool, scope: TenantScope, schema: &str, tables: Tables) -> Result<(), RebuildError> {
    stream::iter(tables.into_iter().map(Ok::<_, RebuildError>))
        .try_for_each_concurrent(AHEAD, |(table, copied)| async move {
            let columns = columns(table).join(", ");
            let mut tx = TenantTx::begin(pool, scope, schema, Access::Write).await?;
            let mut sink = tx.conn().copy_in_raw(&format!("copy {table} ({columns}) from stdin (format binary)")).await?;
            sink.send(COPY_HEADER).await?;
            for chunk in copied.data.chunks(1 << 20) {
                sink.send(chunk).await?;
            }
            sink.send(COPY_TRAILER).await?;
            sink.finish().await?;
            tx.commit().await?;
            Ok(())
        })
        .await
}

/// Every table and its columns: the order of [`Table::copy`].
fn columns(table: &str) -> &'static [&'static str] {
    let all: [(&str, &[&str]); 9] = [
        (DepartmentSpan::NAME, DepartmentSpan::COLUMNS),
        (LocationSpan::NAME, LocationSpan::COLUMNS),
        (JobSpan::NAME, JobSpan::COLUMNS),
        (Employee::NAME, Employee::COLUMNS),
        (Employment::NAME, Employment::COLUMNS),
        (PersonSpan::NAME, PersonSpan::COLUMNS),
        (ContactSpan::NAME, ContactSpan::COLUMNS),
        (AssignmentSpan::NAME, AssignmentSpan::COLUMNS),
        (CompensationSpan::NAME, CompensationSpan::COLUMNS),
    ];
    all.into_iter().find(|(name, _)| *name == table).map_or(&[], |(_, columns)| columns)
}

/// Keys, indexes, statistics, and the checkpoint. A file of indexes per connection.
async fn index(pool: &PgPool, scope: TenantScope, schema: &str, position: Position) -> Result<(), RebuildError> {
    let statements = read_model_sql().1.into_iter().flat_map(|file| file.split_inclusive(";\n"));
    stream::iter(statements.map(Ok::<_, RebuildError>))
        .try_for_each_concurrent(1, |sql| async move {
            let mut tx = TenantTx::begin(pool, scope, schema, Access::Write).await?;
            tx.conn().execute(sql).await?;
            tx.commit().await?;
            Ok(())
        })
        .await?;
    let mut tx = TenantTx::begin(pool, scope, schema, Access::Write).await?;
    tx.conn().execute("analyze department_span, location_span, job_span, employee, employment, person_span, contact_span, assignment_span, compensation_span").await?;
    move_checkpoint(tx.conn(), position, 0).await?;
    tx.commit().await?;
    Ok(())
}

/// Catches up with what was appended meanwhile, and cuts over as soon as the new read model is not behind the live one.
async fn replace(applier: &Applier, scope: TenantScope, live: &str, next: &str, mut position: Position) -> Result<Position, RebuildError> {
    loop {
        position = applier.catch_up_in(next, scope, 0, position).await?;
        // The lock keeps the live projector out for the moment of cutting over. Its next batch meets the new checkpoint.
        let mut tx = TenantTx::begin(&applier.pool, scope, live, Access::Write).await?;
        let (serving, fence) = lock_checkpoint(tx.conn()).await?;
        if serving > position {
            tx.rollback().await?;
            continue;
        }
        move_fence(tx.conn(), next, fence).await?;
        tx.conn().execute("set local role none; set local search_path = pg_catalog").await?;
        cut_over(tx.conn(), scope, live, next).await?;
        tx.commit().await?;
        return Ok(position);
    }
}

/// The new checkpoint goes on with the live one's fence, so that a stalled projector stays locked out.
async fn move_fence(conn: &mut PgConnection, schema: &str, fence: i64) -> Result<(), sqlx::Error> {
    sqlx::query(&format!("update \"{schema}\".checkpoint set fence = $1")).bind(fence).execute(conn).await.map(|_| ())
}

/// A hash per table over all its rows in the order of their keys: equal read models have equal digests (I3).
pub async fn digest(pool: &PgPool, scope: TenantScope, schema: &str) -> Result<BTreeMap<String, String>, sqlx::Error> {
    let mut tx = TenantTx::begin(pool, scope, schema, Access::Write).await?;
    let mut digests = BTreeMap::new();
    for (table, key) in [
        (DepartmentSpan::NAME, DepartmentSpan::KEY),
        (LocationSpan::NAME, LocationSpan::KEY),
        (JobSpan::NAME, JobSpan::KEY),
        (Employee::NAME, Employee::KEY),
        (Employment::NAME, Employment::KEY),
        (PersonSpan::NAME, PersonSpan::KEY),
        (ContactSpan::NAME, ContactSpan::KEY),
        (AssignmentSpan::NAME, AssignmentSpan::KEY),
        (CompensationSpan::NAME, CompensationSpan::KEY),
    ] {
        let sql = format!(
            "select count(*) || ' ' || coalesce(encode(sha256(convert_to(string_agg(t::text, E'\\n' order by {}), 'UTF8')), 'hex'), '') from {table} t",
            key.join(", ")
        );
        digests.insert(table.to_owned(), sqlx::query_scalar(&sql).fetch_one(tx.conn()).await?);
    }
    tx.rollback().await?;
    Ok(digests)
}
