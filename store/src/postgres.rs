//! The PostgreSQL engine.
//!
//! Writers group-commit: an append joins a queue; a few *lanes*, one connection each, take what is waiting and commit it
//! in one transaction with one statement, `event_store.append_batch`, which judges every append on its own. Under load
//! a batch holds what came in while the one before was fsynced, so the cost of an fsync is shared by all of them.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use events::{
    Category, CommandHash, CommandId, CorrelationId, EventId, EventMark, LogPoint, Metadata, Position, RecordedEvent, StreamName,
    StreamPoint, TenantId, TenantScope, Version,
};
use jiff::Timestamp;
use sqlx::{
    Connection as _, PgPool, Postgres, Row as _,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions, PgRow},
};
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use crate::{Append, AppendError, Appended, ClaimKind, ClaimOp, Engine, Expected, StoreError, TenantHead};

/// Names this engine in messages.
const ENGINE: Engine = Engine::Postgres;

/// Appends waiting beyond this are refused at once: the store is overloaded, and a longer queue only makes it slower.
const QUEUE: usize = 4_096;
/// Appends in one transaction at most.
const BATCH: usize = 256;
/// Appends that are passed over, while a batch is put together, at most.
const LOOK_AHEAD: usize = 1_024;
/// Connections that write. While one batch is made durable the next is on its way; more lanes only split batches (measured:
/// with 64 writers three are slower than two on one tenant, and not faster on fifty).
const LANES: u32 = 2;
/// A batch that takes longer than this, and this much more for each event, waits for the disk more than for PostgreSQL.
const SLOW: Duration = Duration::from_micros(1_300);
const SLOW_PER_EVENT: Duration = Duration::from_micros(25);
/// So much shorter than a slow batch is the time in which the next may gather; and no longer than that.
const PATIENCE: u32 = 8;
const MOST_PATIENCE: Duration = Duration::from_millis(2);
/// How often a batch whose outcome is unknown is tried again.
const MAX_ATTEMPTS: u32 = 6;
/// Between two calls that wake the relay.
const WAKE_PAUSE: Duration = Duration::from_millis(1);
/// How long the answer to a statement that the server has ended may take. On a connection that a firewall has forgotten it never
/// comes, and it is a quarter of an hour until the kernel says so.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one statement may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// An event store in PostgreSQL. Cheap to clone.
#[derive(Clone)]
pub struct PgStore(Arc<Inner>);

struct Inner {
    pool: PgPool,
    queue: Mutex<Queue>,
    arrived: Notify,
    appended: Arc<Notify>,
}

/// Appends that wait, and what the lanes are at.
#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// How many lanes are writing for each tenant.
    writing: HashMap<TenantId, u32>,
    /// Whether the last batch waited for the disk, mostly.
    slow: bool,
}

struct Job {
    append: Append,
    answer: oneshot::Sender<Result<Appended, AppendError>>,
}

impl std::fmt::Debug for PgStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PgStore")
    }
}

impl PgStore {
    /// Opens the store in a database that was brought up to date before. Connections are made when they are needed.
    pub fn open(url: &str, connections: u32) -> Result<Self, StoreError> {
        let options = options_of(url)?.options([
            ("statement_timeout", STATEMENT_TIMEOUT.as_millis().to_string()),
            // One plan for every batch, made once: planning takes longer than running.
            ("plan_cache_mode", "force_generic_plan".into()),
            ("jit", "off".into()),
            // Every lookup has an index of its own that gives the order asked for, and takes it whatever the table's statistics
            // say, or where it has none (migrations/event_store/0007).
            ("enable_seqscan", "off".into()),
            ("enable_bitmapscan", "off".into()),
            ("enable_sort", "off".into()),
            ("application_name", "tenure-store".into()),
        ]);
        let pool = pool_options(connections.max(LANES + 2)).connect_lazy_with(options);
        let store = Self(Arc::new(Inner { pool, queue: Mutex::default(), arrived: Notify::new(), appended: Arc::default() }));
        for _ in 0..LANES {
            tokio::spawn(lane(Arc::downgrade(&store.0)));
        }
        tokio::spawn(wake(store.0.pool.clone(), Arc::downgrade(&store.0.appended)));
        Ok(store)
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.0.pool
    }

    pub(crate) async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        append.validate()?;
        let (answer, answered) = oneshot::channel();
        {
            let mut queue = self.0.queue();
            if queue.jobs.len() >= QUEUE {
                return Err(ENGINE.unavailable("too many appends are waiting").into());
            }
            queue.jobs.push_back(Job { append, answer });
        }
        self.0.arrived.notify_one();
        answered.await.unwrap_or_else(|_| Err(ENGINE.unavailable("it is shutting down").into()))
    }
}

/// Takes waiting appends and commits them together, for as long as somebody holds the store. A lane keeps its connection:
/// PostgreSQL's plans for the statement live there.
async fn lane(inner: std::sync::Weak<Inner>) {
    let mut conn = None;
    loop {
        let Some(store) = inner.upgrade() else { return };
        let batch = store.queue().take_batch();
        if batch.is_empty() {
            // Wakes up now and then to see whether the store is still held.
            let _ = tokio::time::timeout(Duration::from_secs(1), store.arrived.notified()).await;
            continue;
        }
        if !store.queue().jobs.is_empty() {
            store.arrived.notify_one();
        }
        let tenants: HashSet<TenantId> = batch.iter().map(|job| job.append.stream.tenant()).collect();
        let (jobs, events) = (batch.len(), batch.iter().map(|job| job.append.events.len()).sum::<usize>());
        let took = commit(&store, &mut conn, batch).await;
        let slow = took > SLOW + SLOW_PER_EVENT.saturating_mul(u32::try_from(events).unwrap_or(u32::MAX));
        if slow {
            gather(&store, jobs, (took / PATIENCE).min(MOST_PATIENCE)).await;
        }
        store.queue().done(&tenants, slow);
        // Whoever was answered and appends again does so before the next batch is taken.
        tokio::task::yield_now().await;
    }
}

/// Waits until as many appends are there as were answered, or for a moment: where the disk is slow, whoever just misses a
/// batch waits for two. The lane counts as writing meanwhile, so no other takes the first that arrives.
async fn gather(store: &Inner, jobs: usize, moment: Duration) {
    let started = Instant::now();
    // Shorter than what a timer can tell.
    while store.queue().jobs.len() < jobs && started.elapsed() < moment {
        tokio::task::yield_now().await;
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// The next batch, of tenants that no other lane is writing for: those would wait for each other in PostgreSQL. If
    /// there are none, one tenant gets a second lane, whose batch is on its way while the first is made durable. Where that
    /// takes long, one lane writes for all: the disk is what everybody waits for, and one large batch waits for it once.
    fn take_batch(&mut self) -> Vec<Job> {
        if self.slow && !self.writing.is_empty() {
            return Vec::new();
        }
        let mut batch = self.take(|writing, tenant| !writing.contains_key(&tenant));
        if batch.is_empty() {
            let second = self.jobs.iter().map(|job| job.append.stream.tenant()).find(|tenant| self.writing.get(tenant) == Some(&1));
            batch = self.take(|_, tenant| Some(tenant) == second);
        }
        for tenant in batch.iter().map(|job| job.append.stream.tenant()).collect::<HashSet<_>>() {
            *self.writing.entry(tenant).or_default() += 1;
        }
        batch
    }

    fn done(&mut self, tenants: &HashSet<TenantId>, slow: bool) {
        self.slow = slow;
        for tenant in tenants {
            if let Some(lanes) = self.writing.get_mut(tenant) {
                *lanes -= 1;
                if *lanes == 0 {
                    self.writing.remove(tenant);
                }
            }
        }
    }

    /// The longest run of waiting appends, of tenants that may be written for, that can share a transaction: no two of one
    /// stream, one command or one claim, because the statement judges all of them by what stood before it. The others
    /// keep their order.
    fn take(&mut self, may: impl Fn(&HashMap<TenantId, u32>, TenantId) -> bool) -> Vec<Job> {
        let mut batch: Vec<Job> = Vec::new();
        let mut kept = VecDeque::new();
        let (mut streams, mut commands, mut claims) = (HashSet::new(), HashSet::new(), HashSet::new());
        while batch.len() < BATCH && kept.len() < LOOK_AHEAD {
            let Some(job) = self.jobs.pop_front() else { break };
            let a = &job.append;
            let tenant = a.stream.tenant();
            let free = may(&self.writing, tenant)
                && !streams.contains(&a.stream)
                && !commands.contains(&(tenant, a.metadata.command_id))
                && !a.claims.iter().any(|c| claims.contains(&(tenant, c.kind, c.digest)));
            // A stream that has to wait makes its later appends wait too.
            streams.insert(a.stream);
            if free {
                commands.insert((tenant, a.metadata.command_id));
                claims.extend(a.claims.iter().map(|c| (tenant, c.kind, c.digest)));
                batch.push(job);
            } else {
                kept.push_back(job);
            }
        }
        kept.append(&mut self.jobs);
        self.jobs = kept;
        batch
    }
}

/// Commits a batch and gives everyone their own answer. An outcome that is unknown (the connection broke) is tried
/// again: commands that had been committed are found to be replays. Says how long it took, without waiting for locks.
async fn commit(store: &Inner, conn: &mut Option<PoolConnection<Postgres>>, batch: Vec<Job>) -> Duration {
    let mut attempt = 0;
    let mut took = Duration::ZERO;
    let outcome = loop {
        let started = Instant::now();
        // The server ends what takes long; where even its answer does not come, the connection is gone without a word.
        let written = tokio::time::timeout(STATEMENT_TIMEOUT + ANSWER_TIMEOUT, append_batch(&store.pool, conn, &batch)).await;
        match written.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))) {
            Ok((rows, waited)) => {
                took = started.elapsed().saturating_sub(waited);
                break Ok(rows);
            }
            Err(error) => {
                if let Some(doubtful) = conn.take() {
                    drop(doubtful.detach());
                }
                attempt += 1;
                if attempt >= MAX_ATTEMPTS || !is_passing(&error) {
                    break Err(error);
                }
                tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=(10 << attempt)))).await;
            }
        }
    };
    match outcome {
        Ok(rows) => {
            store.appended.notify_one();
            for (job, row) in batch.into_iter().zip(rows) {
                let answer = judge(&store.pool, &job.append, row).await;
                let _ = job.answer.send(answer); // The caller may have gone; the events stay.
            }
        }
        Err(error) => {
            let failure = StoreError::from(error);
            for job in batch {
                let _ = job.answer.send(Err(failure.clone().into()));
            }
        }
    }
    took
}

/// One row of `append_batch`.
struct Outcome {
    verdict: i16,
    version: Version,
    position: Position,
    recorded_at: Timestamp,
    taken: Option<String>,
}

// The verdicts of `append_batch`.
const OK: i16 = 0;
const REPLAYED: i16 = 1;
const WRONG_VERSION: i16 = 2;
const CLAIM_TAKEN: i16 = 3;
const COMMAND_REUSED: i16 = 4;
const COMMAND_ANSWERED: i16 = 5;

async fn append_batch(
    pool: &PgPool,
    conn: &mut Option<PoolConnection<Postgres>>,
    batch: &[Job],
) -> Result<(Vec<Outcome>, Duration), sqlx::Error> {
    let conn = match conn {
        Some(conn) => conn,
        None => conn.insert(pool.acquire().await?),
    };
    let appends: Vec<&Append> = batch.iter().map(|job| &job.append).collect();
    let events = || appends.iter().zip(1_i32..).flat_map(|(a, i)| a.events.iter().zip(1_i32..).map(move |(e, n)| (i, n, e)));
    let claims = || appends.iter().zip(1_i32..).flat_map(|(a, i)| a.claims.iter().map(move |c| (i, c)));
    let of = |f: fn(&Append) -> Uuid| appends.iter().map(|a| f(a)).collect::<Vec<Uuid>>();
    let expected = |a: &&Append| match a.expected {
        Expected::Any => -1,
        Expected::NoStream => 0,
        Expected::Exact(version) | Expected::At(StreamPoint { version, .. }) => version.0 as i64,
    };
    let seen = |a: &&Append| if let Expected::At(point) = a.expected { point.mark } else { None };
    let row = sqlx::query("select verdicts, versions, positions, taken, recorded_at, waited from event_store.append_batch($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23)")
        .bind(of(|a| a.stream.tenant().uuid()))
        .bind(appends.iter().map(|a| a.stream.category().name()).collect::<Vec<_>>())
        .bind(of(|a| a.stream.id()))
        .bind(appends.iter().map(expected).collect::<Vec<i64>>())
        .bind(appends.iter().map(|a| seen(a).map(|mark| mark.id.uuid())).collect::<Vec<_>>())
        .bind(appends.iter().map(|a| seen(a).map(|mark| mark.recorded_at.as_microsecond())).collect::<Vec<_>>())
        .bind(appends.iter().map(|a| i32::try_from(a.events.len()).unwrap_or(i32::MAX)).collect::<Vec<_>>())
        .bind(of(|a| a.metadata.command_id.uuid()))
        .bind(of(|a| a.metadata.command_hash.0))
        .bind(appends.iter().map(|a| a.metadata.actor.as_str()).collect::<Vec<_>>())
        .bind(of(|a| a.metadata.correlation_id.uuid()))
        .bind(appends.iter().map(|a| a.metadata.causation_id.map(EventId::uuid)).collect::<Vec<_>>())
        .bind(appends.iter().map(|a| a.metadata.traceparent.as_deref()).collect::<Vec<_>>())
        .bind(events().map(|(i, ..)| i).collect::<Vec<_>>())
        .bind(events().map(|(_, n, _)| n).collect::<Vec<_>>())
        .bind(events().map(|(.., e)| e.id.uuid()).collect::<Vec<_>>())
        .bind(events().map(|(.., e)| e.event_type).collect::<Vec<_>>())
        .bind(events().map(|(.., e)| e.schema_version as i16).collect::<Vec<_>>())
        .bind(events().map(|(.., e)| e.data.get()).collect::<Vec<_>>())
        .bind(claims().map(|(i, _)| i).collect::<Vec<_>>())
        .bind(claims().map(|(_, c)| c.kind.0).collect::<Vec<_>>())
        .bind(claims().map(|(_, c)| c.digest.0.as_slice()).collect::<Vec<_>>())
        .bind(claims().map(|(_, c)| c.op == ClaimOp::Take).collect::<Vec<_>>())
        .fetch_one(&mut **conn)
        .await?;
    let (verdicts, versions): (Vec<i16>, Vec<i64>) = (row.try_get(0)?, row.try_get(1)?);
    let (positions, mut taken): (Vec<Option<i64>>, Option<Vec<Option<String>>>) = (row.try_get(2)?, row.try_get(3)?);
    let recorded_at = row.try_get(4).map(Timestamp::from_microsecond)?.map_err(|e| sqlx::Error::Decode(e.into()))?;
    let outcome = |(n, ((verdict, version), position)): (usize, ((i16, i64), Option<i64>))| Outcome {
        verdict,
        version: Version(version as u64),
        position: Position(position.unwrap_or(0) as u64),
        recorded_at,
        taken: taken.as_mut().and_then(|taken| taken.get_mut(n)?.take()),
    };
    let waited = Duration::from_micros(row.try_get::<i64, _>(5)?.max(0).unsigned_abs());
    Ok((verdicts.into_iter().zip(versions).zip(positions).enumerate().map(outcome).collect(), waited))
}

/// A member's own answer.
async fn judge(pool: &PgPool, append: &Append, outcome: Outcome) -> Result<Appended, AppendError> {
    match outcome.verdict {
        OK => Ok(Appended {
            version: outcome.version,
            position: outcome.position,
            event_ids: append.events.iter().map(|e| e.id).collect(),
            recorded_at: outcome.recorded_at,
            command_hash: append.metadata.command_hash,
            replayed: false,
        }),
        REPLAYED => {
            let first = find_command(pool, append.stream.tenant(), append.metadata.command_id).await?;
            first.ok_or_else(|| ENGINE.broken("a command that was there is gone").into())
        }
        WRONG_VERSION => Err(AppendError::WrongVersion { actual: outcome.version }),
        CLAIM_TAKEN => {
            let kind = append.claims.iter().map(|c| c.kind).find(|kind| Some(kind.0) == outcome.taken.as_deref());
            Err(AppendError::ClaimTaken { kind: kind.unwrap_or(ClaimKind("claim")) })
        }
        COMMAND_REUSED => Err(AppendError::CommandReused),
        COMMAND_ANSWERED => Err(AppendError::CommandAnswered),
        other => Err(ENGINE.broken(format!("append_batch answered {other}")).into()),
    }
}

const COLUMNS: &str = "position, category, stream_id, version, event_id, event_type, schema_version, data, actor, command_id, command_hash, correlation_id, causation_id, traceparent, recorded_at, tenant_id";

impl PgStore {
    pub(crate) async fn read_stream(&self, stream: StreamName, after: Version, limit: usize) -> Result<Vec<RecordedEvent>, StoreError> {
        let sql = format!("select {COLUMNS} from event_store.read_stream($1, $2, $3, $4, $5)");
        let query = sqlx::query(&sql).bind(stream.tenant().uuid()).bind(stream.category().name()).bind(stream.id());
        self.read(stream.tenant(), query.bind(after.0 as i64).bind(page(limit))).await
    }

    pub(crate) async fn read_log(&self, scope: TenantScope, after: Position, limit: usize) -> Result<Vec<RecordedEvent>, StoreError> {
        let sql = format!("select {COLUMNS} from event_store.read_log($1, $2, $3)");
        let query = sqlx::query(&sql).bind(scope.tenant().uuid()).bind(after.0 as i64).bind(page(limit));
        readable(scope.tenant(), &query.fetch_all(&self.0.pool).await?)
    }

    pub(crate) async fn read_log_on(
        &self,
        scope: TenantScope,
        seen: LogPoint,
        limit: usize,
    ) -> Result<Option<Vec<RecordedEvent>>, StoreError> {
        let Some(before) = seen.position.0.checked_sub(1) else { return Ok(None) };
        let sql = format!("select {COLUMNS} from event_store.read_log($1, $2, $3)");
        let query = sqlx::query(&sql).bind(scope.tenant().uuid()).bind(before as i64).bind(page(limit.saturating_add(1)));
        let rows = query.fetch_all(&self.0.pool).await?;
        let Some((first, rest)) = rows.split_first() else { return Ok(None) };
        let there = (Position(first.try_get::<i64, _>(0)? as u64), mark_of(first)?) == (seen.position, seen.mark);
        if there { readable(scope.tenant(), rest).map(Some) } else { Ok(None) }
    }

    pub(crate) async fn event_at(&self, scope: TenantScope, position: Position) -> Result<Option<RecordedEvent>, StoreError> {
        let page = self.read_log(scope, Position(position.0.saturating_sub(1)), 1).await?;
        Ok(page.into_iter().next().filter(|event| event.position == position))
    }

    async fn read(
        &self,
        tenant: TenantId,
        query: sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments>,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let rows = query.fetch_all(&self.0.pool).await?;
        rows.iter().map(|row| recorded(tenant, row)).collect()
    }

    pub(crate) async fn find_command(&self, stream: StreamName, command: CommandId) -> Result<Option<Appended>, StoreError> {
        find_command(&self.0.pool, stream.tenant(), command).await
    }

    pub(crate) async fn head(&self, scope: TenantScope) -> Result<Position, StoreError> {
        head(&self.0.pool, scope).await
    }

    /// Another pool to the same database, of one connection, which the first one's users can't fill.
    pub(crate) fn apart(&self) -> PgPool {
        let options = PgPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_secs(3));
        options.connect_lazy_with(self.0.pool.connect_options().as_ref().clone())
    }

    pub(crate) async fn heads(&self) -> Result<Vec<TenantHead>, StoreError> {
        let sql = "select tenant_id, position, event_id, recorded_at from event_store.tenant_head where position > 0";
        let rows: Vec<(Uuid, i64, Option<Uuid>, Option<i64>)> = sqlx::query_as(sql).fetch_all(&self.0.pool).await?;
        let head = |(tenant, position, id, recorded_at)| {
            let (tenant, position) = (TenantId::from_uuid(tenant), Position(i64::cast_unsigned(position)));
            TenantHead { tenant, position, mark: mark(id, recorded_at), events: position.0 }
        };
        Ok(rows.into_iter().map(head).collect())
    }
}

/// A mark from its two columns.
pub(crate) fn mark(id: Option<Uuid>, recorded_at: Option<i64>) -> Option<EventMark> {
    let recorded_at = recorded_at.and_then(|micros| Timestamp::from_microsecond(micros).ok())?;
    Some(EventMark { id: EventId::from_uuid(id?), recorded_at })
}

/// The mark of a row of [`COLUMNS`].
fn mark_of(row: &PgRow) -> Result<Option<EventMark>, sqlx::Error> {
    Ok(mark(row.try_get(4)?, row.try_get(14)?))
}

/// The events of a page up to the first that can't be read: whoever reads on meets it again.
fn readable(tenant: TenantId, rows: &[PgRow]) -> Result<Vec<RecordedEvent>, StoreError> {
    let mut events = Vec::with_capacity(rows.len());
    for row in rows {
        match recorded(tenant, row) {
            Ok(event) => events.push(event),
            Err(StoreError::Unreadable { .. }) if !events.is_empty() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(events)
}

pub(crate) async fn head(pool: &PgPool, scope: TenantScope) -> Result<Position, StoreError> {
    let head: Option<i64> = sqlx::query_scalar("select event_store.head($1)").bind(scope.tenant().uuid()).fetch_one(pool).await?;
    Ok(Position(head.unwrap_or(0) as u64))
}

fn page(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

async fn find_command(pool: &PgPool, tenant: TenantId, command: CommandId) -> Result<Option<Appended>, StoreError> {
    let sql = "select version, position, event_id, recorded_at, command_hash, tenant_id from event_store.read_command($1, $2)";
    let rows: Vec<(i64, i64, Uuid, i64, Uuid, Uuid)> = sqlx::query_as(sql).bind(tenant.uuid()).bind(command.uuid()).fetch_all(pool).await?;
    if rows.iter().any(|row| row.5 != tenant.uuid()) {
        return Err(foreign());
    }
    let Some((version, position, _, micros, hash, _)) = rows.last().copied() else { return Ok(None) };
    Ok(Some(Appended {
        version: Version(version as u64),
        position: Position(position as u64),
        event_ids: rows.iter().map(|row| EventId::from_uuid(row.2)).collect(),
        recorded_at: Timestamp::from_microsecond(micros).map_err(|e| ENGINE.broken(e))?,
        command_hash: CommandHash(hash),
        replayed: true,
    }))
}

/// What was read is another tenant's than was asked for (I4): nothing of it goes on.
pub(crate) fn foreign() -> StoreError {
    tracing::error!(target: "audit", "ALERT: the event store gave an event of another tenant than was asked for");
    ENGINE.broken("it gave an event of another tenant")
}

fn recorded(tenant: TenantId, row: &PgRow) -> Result<RecordedEvent, StoreError> {
    if row.try_get::<Uuid, _>(15)? != tenant.uuid() {
        return Err(foreign());
    }
    let position = Position(row.try_get::<i64, _>(0)? as u64);
    let unreadable = |reason: String| StoreError::Unreadable { position, reason };
    let written: &str = row.try_get(1)?;
    let category: Category = written.parse().map_err(|_| unreadable(format!("there is no category {written:?}")))?;
    let recorded_at = Timestamp::from_microsecond(row.try_get(14)?).map_err(|e| unreadable(e.to_string()))?;
    let data = serde_json::value::RawValue::from_string(row.try_get(7)?).map_err(|_| unreadable("its data is not JSON".into()))?;
    Ok(RecordedEvent {
        id: EventId::from_uuid(row.try_get(4)?),
        tenant,
        stream: StreamName::from_parts(tenant, category, row.try_get(2)?),
        version: Version(row.try_get::<i64, _>(3)? as u64),
        position,
        event_type: row.try_get(5)?,
        schema_version: row.try_get::<i16, _>(6)? as u16,
        recorded_at,
        metadata: Metadata {
            actor: row.try_get(8)?,
            command_id: CommandId::from_uuid(row.try_get(9)?),
            command_hash: CommandHash(row.try_get(10)?),
            correlation_id: CorrelationId::from_uuid(row.try_get(11)?),
            causation_id: row.try_get::<Option<Uuid>, _>(12)?.map(EventId::from_uuid),
            traceparent: row.try_get(13)?,
        },
        data,
    })
}

/// Whether trying again may help: the connection is gone, the server is starting or stopping, or somebody was faster.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is foreign and may grow; what is not listed is no passing fault")]
fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => true,
        // The list of `platform::problem::database_is_away`; a test compares them.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)) || ["25006", "25P03", "55P03"].contains(&&*code)
        }),
        _ => false,
    }
}

/// A bounded pool. A connection in steady use proves itself; one that rested may have lost its server, and is asked first.
pub(crate) fn pool_options(connections: u32) -> PgPoolOptions {
    const STEADY: Duration = Duration::from_secs(1);
    PgPoolOptions::new().max_connections(connections).acquire_timeout(Duration::from_secs(3)).test_before_acquire(false).before_acquire(
        |connection, meta| {
            Box::pin(async move {
                Ok(meta.idle_for < STEADY || matches!(tokio::time::timeout(ANSWER_TIMEOUT, connection.ping()).await, Ok(Ok(()))))
            })
        },
    )
}

/// How to connect to the database of a URL.
pub(crate) fn options_of(url: &str) -> Result<PgConnectOptions, StoreError> {
    url.parse().map_err(|_| StoreError::Broken("the database URL does not parse".into()))
}

/// What PostgreSQL's error means where it keeps something beside the events; `what` says what.
pub(crate) fn beside(what: &str, error: &sqlx::Error) -> StoreError {
    let text = format!("PostgreSQL, which keeps {what}: {error}");
    if is_passing(error) { StoreError::Unavailable(text) } else { StoreError::Broken(text) }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if is_passing(&error) { ENGINE.unavailable(error) } else { ENGINE.broken(error) }
    }
}

/// Tells the relay that something was appended: at once, on a connection of its own, and once for all that came in
/// meanwhile. Inside the append's transaction a NOTIFY would make commits wait for each other.
pub(crate) async fn wake(pool: PgPool, appended: std::sync::Weak<Notify>) {
    loop {
        let Some(appended) = appended.upgrade() else { return };
        if tokio::time::timeout(Duration::from_secs(1), appended.notified()).await.is_ok()
            && let Err(error) = sqlx::query("notify tenure_appended").execute(&pool).await
        {
            tracing::debug!(%error, "the relay was not woken; its sweep will find the events");
        }
        tokio::time::sleep(WAKE_PAUSE).await;
    }
}
