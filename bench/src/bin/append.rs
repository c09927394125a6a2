//! How fast does the PostgreSQL engine append, next to what the same PostgreSQL can do at best?
//!
//! Makes a database of its own in the server given, and drops it afterwards. Every round measures all of it, one after the
//! other and in turns first, so that whatever else the machine does weighs on all. All are durable (`fsync` and
//! `synchronous_commit` on), and write rows with the same columns into tables with the same three indexes:
//!
//! - Tenure's store: writers in a closed loop, each of which waits for its answer;
//! - `pgbench`: as many clients, a row per transaction by prepared statements;
//! - multi-row inserts: as many clients, the events of one command per transaction, by a prepared statement over arrays;
//! - binary COPY, [`COPIED`] rows per transaction, on one connection and on one per core.
//!
//! None but the first checks anything: no version, no idempotency, no row-level security, no order.
//!
//! `--prefill` asks another question: is the store as fast when it is full? Two databases in the same server, one that is
//! emptied before each measurement and one that was filled, take turns, each after a checkpoint.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use bench::{
    Rounds,
    copy::{self, ACTOR, CopyRows, Row, TRACEPARENT},
    cores, histogram, in_database,
    machine::Machine,
    ms, round,
    up::Progress,
};
use clap::Parser;
use events::{CommandHash, CommandId, CorrelationId, EmployeeId, Metadata, NewEvent, Position, StreamName, TenantId, TenantScope, Version};
use hdrhistogram::Histogram;
use serde_json::{json, value::RawValue};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection, PgPool, postgres::PgConnectOptions};
use store::{Append, Expected, IdScope, PgStore, Store};
use tokio::{process::Command, task::JoinSet};
use uuid::Uuid;

/// Events per stream: what a person's career has.
const PER_STREAM: u64 = 10;
/// Rows of one COPY.
const COPIED: u64 = 10_000;

#[derive(Parser)]
struct Options {
    /// A superuser's URL of a PostgreSQL server.
    #[arg(long)]
    database_url: String,
    /// Seconds per measurement.
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Measurements of each, in turns.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// How many writers, or clients.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    writers: Vec<u32>,
    /// How many tenants they write for.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 50, 1000])]
    tenants: Vec<u32>,
    /// How many events an append carries.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10])]
    events_per_command: Vec<u32>,
    /// Bytes of data in an event.
    #[arg(long, default_value_t = 300)]
    bytes: usize,
    /// Compare an empty store with one of so many events, instead of with peers. Says what disk that takes, and stops at once
    /// where there is too little.
    #[arg(long, value_name = "EVENTS", default_value_t = 0)]
    prefill: u64,
    /// Tenure's store only: no pgbench, no limits.
    #[arg(long)]
    alone: bool,
    /// A line of JSON per row instead of a table.
    #[arg(long)]
    json: bool,
    /// Where pgbench is; absent, the newest of Debian's.
    #[arg(long)]
    pgbench: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    ensure!(options.rounds > 0 && options.seconds > 0, "--rounds and --seconds are at least 1");
    let options = &options;
    if options.prefill == 0 {
        return in_database(&options.database_url, "append", |database| run(options, database)).await;
    }
    in_database(&options.database_url, "full", |full| {
        in_database(&options.database_url, "empty", move |empty| flatness(options, full, empty))
    })
    .await
}

async fn run(options: &Options, database: PgConnectOptions) -> anyhow::Result<()> {
    let owner = PgPool::connect_with(database.clone()).await?;
    platform::release::bootstrap(&owner, &[]).await?;
    // The same columns and indexes, and nothing else.
    for table in ["peer", "multi_row", "copied"] {
        owner
            .execute(
                format!("create schema if not exists bench; create table bench.{table} (like event_store.event including indexes)")
                    .as_str(),
            )
            .await?;
    }
    let writers = Writers::new(options, &database)?;
    let pgbench = Pgbench::new(options, database.clone(), &writers.data)?;
    let bench = Bench { pgbench, owner, writers, database, seconds: options.seconds, alone: options.alone };

    if !options.json {
        println!("events/s, medians of {} rounds of {} s, {} cores", options.rounds, options.seconds, cores());
        println!(
            "{:>7} {:>7} {:>6} {:>9} {:>8} {:>8}   {:<18} {:<18} {:<18} {:<18}",
            "tenants",
            "writers",
            "events",
            "tenure",
            "p50 ms",
            "p99 ms",
            "/ pgbench",
            "/ multi-row",
            "/ COPY",
            format!("/ COPY x{}", cores())
        );
    }
    for &tenants in &options.tenants {
        let scopes = new_scopes(tenants);
        let mut cases: Vec<Case> = options.cases().map(|(writers, events)| Case::new(writers, events)).collect();
        let mut limits = [Rounds::default(), Rounds::default()];
        for nth in 0..options.rounds {
            bench.round(nth, &scopes, &mut cases, &mut limits).await?;
        }
        for case in &cases {
            case.print(tenants, &limits, options);
        }
        if !options.json {
            println!("{tenants:>7} tenants: COPY {:.0} rows/s, on {} connections {:.0}", limits[0].median(), cores(), limits[1].median());
        }
    }
    if options.json { Ok(()) } else { bench.writers.read().await }
}

fn new_scopes(tenants: u32) -> Arc<[TenantScope]> {
    (0..tenants).map(|_| TenantScope::checked(TenantId::from_uuid(Uuid::now_v7()))).collect()
}

impl Options {
    fn cases(&self) -> impl Iterator<Item = (u32, u32)> {
        self.events_per_command.iter().flat_map(|&events| self.writers.iter().map(move |&writers| (writers, events)))
    }
}

/// So many writers, so many events per append.
struct Case {
    writers: u32,
    events: u32,
    tenure: Rounds,
    times: Histogram<u64>,
    pgbench: Rounds,
    multi_row: Rounds,
    /// Tenure over pgbench, multi-row, COPY, COPY on several connections; of the same round.
    ratios: [Rounds; 4],
}

impl Case {
    fn new(writers: u32, events: u32) -> Self {
        let rounds = Rounds::default;
        let ratios = [rounds(), rounds(), rounds(), rounds()];
        Self { writers, events, tenure: rounds(), times: histogram(), pgbench: rounds(), multi_row: rounds(), ratios }
    }
    fn print(&self, tenants: u32, limits: &[Rounds; 2], options: &Options) {
        let Self { writers, events, tenure, times, ratios: [pgbench, multi_row, copy, copies], .. } = self;
        if options.json {
            let line = json!({
                "bench": "append", "tenants": tenants, "writers": writers, "events_per_command": events,
                "cores": cores(), "tenure": tenure.json(), "p50_ms": ms(times, 0.5), "p99_ms": ms(times, 0.99),
                "pgbench": self.pgbench.json(), "multi_row": self.multi_row.json(), "copy": limits[0].json(), "copy_parallel": limits[1].json(),
                "ratio_pgbench": pgbench.json(), "ratio_multi_row": multi_row.json(), "ratio_copy": copy.json(), "ratio_copy_parallel": copies.json(),
            });
            println!("{line}");
        } else {
            let (rate, p50, p99) = (round(tenure.median()), ms(times, 0.5), ms(times, 0.99));
            println!(
                "{tenants:>7} {writers:>7} {events:>6} {rate:>9.0} {p50:>8.2} {p99:>8.2}   {pgbench:<18} {multi_row:<18} {copy:<18} {copies:<18}"
            );
        }
    }
}

/// Who appends, as the store's own role.
struct Writers {
    store: Store,
    data: Arc<str>,
    seconds: u32,
}

impl Writers {
    fn new(options: &Options, database: &PgConnectOptions) -> anyhow::Result<Self> {
        // Row-level security binds that role; its password stays what it is.
        let url = database.clone().options([("role", "tenure_command")]).to_url_lossy();
        let store = Store::Postgres(PgStore::open(url.as_str(), 16)?);
        let data = format!("{{\"reason\":\"{}\"}}", "x".repeat(options.bytes.saturating_sub(13))).into();
        Ok(Self { store, data, seconds: options.seconds })
    }

    /// Events per second of writers in a closed loop: each waits for its answer before it appends again.
    async fn append(&self, scopes: &Arc<[TenantScope]>, (writers, events): (u32, u32), all: &mut Histogram<u64>) -> anyhow::Result<f64> {
        let (started, length, events) = (Instant::now(), Duration::from_secs(self.seconds.into()), u64::from(events));
        let mut tasks = JoinSet::new();
        for writer in 0..writers as usize {
            let (store, scopes, data) = (self.store.clone(), scopes.clone(), self.data.clone());
            tasks.spawn(async move {
                let mut streams = vec![(EmployeeId::from_uuid(Uuid::nil()), PER_STREAM); scopes.len()];
                let mut times = histogram();
                // Writers start at different tenants, and each goes through all.
                let mut tenant = writer * scopes.len() / 256;
                while started.elapsed() < length {
                    tenant = (tenant + 1) % scopes.len();
                    let (employee, version) = &mut streams[tenant];
                    if *version >= PER_STREAM {
                        (*employee, *version) = (EmployeeId::from_uuid(Uuid::now_v7()), 0);
                    }
                    let stream = StreamName::employee(scopes[tenant], *employee);
                    let append = command(scopes[tenant], stream, Version(*version), events, &data)?;
                    let sent = Instant::now();
                    store.append(append).await?;
                    times.saturating_record(u64::try_from(sent.elapsed().as_micros())?);
                    *version += events;
                }
                anyhow::Ok(times)
            });
        }
        let mut count = 0;
        while let Some(times) = tasks.join_next().await {
            let times = times??;
            count += times.len();
            all.add(times)?;
        }
        Ok((count * events) as f64 / started.elapsed().as_secs_f64())
    }

    /// How fast the longest log is read, as a rebuild does.
    async fn read(&self) -> anyhow::Result<()> {
        let heads = self.store.heads().await?;
        let longest = heads.iter().max_by_key(|head| head.position.0).context("nothing was appended")?;
        let scope = TenantScope::checked(longest.tenant);
        let (started, mut after, mut count) = (Instant::now(), Position::ZERO, 0);
        loop {
            let page = self.store.read_log(scope, after, 2_000).await?;
            let Some(last) = page.last() else { break };
            after = last.position;
            count += page.len();
        }
        println!("reading a log of {count} events in pages of 2000: {:.0} events/s", count as f64 / started.elapsed().as_secs_f64());
        Ok(())
    }
}

/// What all measurements share.
struct Bench {
    writers: Writers,
    owner: PgPool,
    database: PgConnectOptions,
    pgbench: Pgbench,
    seconds: u32,
    alone: bool,
}

impl Bench {
    /// Everything once, in one order or the other.
    async fn round(&self, nth: u32, scopes: &Arc<[TenantScope]>, cases: &mut [Case], limits: &mut [Rounds; 2]) -> anyhow::Result<()> {
        if self.alone {
            for case in cases {
                let rate = self.writers.append(scopes, (case.writers, case.events), &mut case.times).await?;
                case.tenure.push(rate);
            }
            return Ok(());
        }
        let copies = [self.copy(scopes, 1).await?, self.copy(scopes, cores()).await?];
        for (limit, rate) in limits.iter_mut().zip(copies) {
            limit.push(rate);
        }
        for case in cases {
            let (own, single, multi);
            if nth.is_multiple_of(2) {
                own = self.writers.append(scopes, (case.writers, case.events), &mut case.times).await?;
                single = self.pgbench.insert(scopes, case.writers, self.seconds).await?;
                multi = self.insert(scopes, case).await?;
            } else {
                multi = self.insert(scopes, case).await?;
                single = self.pgbench.insert(scopes, case.writers, self.seconds).await?;
                own = self.writers.append(scopes, (case.writers, case.events), &mut case.times).await?;
            }
            case.tenure.push(own);
            case.pgbench.push(single);
            case.multi_row.push(multi);
            for (ratio, peer) in case.ratios.iter_mut().zip([single, multi, copies[0], copies[1]]) {
                ratio.push(own / peer);
            }
        }
        Ok(())
    }

    /// Rows per second of as many clients that insert as many rows by one statement, and wait for their answer.
    async fn insert(&self, scopes: &Arc<[TenantScope]>, case: &Case) -> anyhow::Result<f64> {
        self.owner.execute("truncate bench.multi_row").await?;
        let mut connections = Vec::new();
        for _ in 0..case.writers {
            connections.push(PgConnection::connect_with(&self.database).await?);
        }
        let (started, length, events) = (Instant::now(), Duration::from_secs(self.seconds.into()), u64::from(case.events));
        let mut tasks = JoinSet::new();
        for (client, mut connection) in (0_u64..).zip(connections) {
            let (scopes, data, clients) = (scopes.clone(), self.writers.data.to_string(), u64::from(case.writers));
            tasks.spawn(async move {
                let (mut rows, mut stream) = (0, Uuid::nil());
                while started.elapsed() < length {
                    let tenant = scopes[usize::try_from(client + rows / events)? % scopes.len()].tenant().uuid();
                    if rows % PER_STREAM == 0 {
                        stream = Uuid::now_v7();
                    }
                    let command = Uuid::now_v7();
                    // Positions of different clients are different ones.
                    let positions: Vec<i64> =
                        (rows..rows + events).map(|row| i64::try_from(row * clients + client)).collect::<Result<_, _>>()?;
                    let versions: Vec<i64> =
                        (rows..rows + events).map(|row| i64::try_from(row % PER_STREAM.max(events))).collect::<Result<_, _>>()?;
                    let ids: Vec<Uuid> = (0..events).map(|_| Uuid::now_v7()).collect();
                    let datas = vec![&*data; usize::try_from(events)?];
                    sqlx::query(MULTI_ROW)
                        .bind(tenant)
                        .bind(positions)
                        .bind(stream)
                        .bind(versions)
                        .bind(ids)
                        .bind(datas)
                        .bind(ACTOR)
                        .bind(command)
                        .bind(TRACEPARENT)
                        .execute(&mut connection)
                        .await?;
                    rows += events;
                }
                anyhow::Ok((rows, connection))
            });
        }
        let (mut count, mut done) = (0, Vec::new());
        while let Some(task) = tasks.join_next().await {
            let (rows, connection) = task??;
            count += rows;
            done.push(connection);
        }
        let rate = count as f64 / started.elapsed().as_secs_f64();
        for connection in done {
            connection.close().await?;
        }
        Ok(rate)
    }

    /// Rows per second by COPY.
    async fn copy(&self, scopes: &Arc<[TenantScope]>, connections: usize) -> anyhow::Result<f64> {
        self.owner.execute("truncate bench.copied").await?;
        let (started, length) = (Instant::now(), Duration::from_secs(self.seconds.into()));
        let mut tasks = JoinSet::new();
        for copier in 0..connections as u64 {
            let (database, scopes, data) = (self.database.clone(), scopes.clone(), self.writers.data.clone());
            tasks.spawn(async move {
                let mut connection = PgConnection::connect_with(&database).await?;
                let mut count = 0;
                while started.elapsed() < length {
                    careers(&scopes, copier << 40 | count, COPIED, &data).copy(&mut connection, "bench.copied").await?;
                    count += COPIED;
                }
                connection.close().await?;
                anyhow::Ok(count)
            });
        }
        let mut count = 0;
        while let Some(copied) = tasks.join_next().await {
            count += copied??;
        }
        Ok(count as f64 / started.elapsed().as_secs_f64())
    }
}

const MULTI_ROW: &str = "insert into bench.multi_row
    select $1, position, 'employee', $3, version, id, 'CompensationChanged', 2, data, $7, $8, $8, $8, null, $9, clock_timestamp()
    from unnest($2::bigint[], $4::bigint[], $5::uuid[], $6::text[]) as e(position, version, id, data)";

/// Streams of [`PER_STREAM`] events, tenant after tenant.
fn careers(scopes: &[TenantScope], from: u64, count: u64, data: &str) -> CopyRows {
    let mut rows = CopyRows::default();
    let tenants = scopes.len() as u64;
    for career in 0..count / PER_STREAM {
        let (stream, nth) = (Uuid::now_v7(), from / PER_STREAM + career);
        let tenant = scopes[usize::try_from(nth % tenants).unwrap_or(0)].tenant().uuid();
        for version in 1..=PER_STREAM {
            let (position, id) = (nth / tenants * PER_STREAM + version, Uuid::now_v7());
            let (category, event_type) = ("employee", "CompensationChanged");
            rows.push(&Row {
                tenant,
                position,
                category,
                stream,
                version,
                id,
                event_type,
                schema_version: 2,
                data,
                command: Uuid::now_v7(),
            });
        }
    }
    rows
}

fn command(scope: TenantScope, stream: StreamName, version: Version, events: u64, data: &str) -> anyhow::Result<Append> {
    let command_id = CommandId::from_uuid(Uuid::now_v7());
    let metadata = Metadata {
        actor: ACTOR.into(),
        command_id,
        command_hash: CommandHash(command_id.uuid()),
        correlation_id: CorrelationId::from_uuid(command_id.uuid()),
        causation_id: None,
        traceparent: Some(TRACEPARENT.into()),
    };
    let event = |n| {
        let data = RawValue::from_string(data.to_owned())?;
        anyhow::Ok(NewEvent { id: NewEvent::id_for(command_id, n), event_type: "CompensationChanged", schema_version: 2, data })
    };
    let events = (0..usize::try_from(events)?).map(event).collect::<Result<_, _>>()?;
    Ok(Append { scope, stream, expected: Expected::Exact(version), events, claims: Vec::new(), metadata, id_scope: IdScope::Tenant })
}

/// Events per COPY and connection while a store is filled, and events between two checkpoints, so that the WAL stays short.
const FILLED_AT_ONCE: u64 = 100_000;
const FILLED_PER_CHECKPOINT: u64 = 500_000;
/// What the WAL takes of the disk beside what is stored, with a checkpoint before each measurement.
const WAL: u64 = 2_000_000_000;
/// Appends a second that the disk has to have space for while it is measured.
const ASSUMED_RATE: u64 = 40_000;
/// The size of store that everybody asks about.
const MANY: u64 = 20_000_000;

/// An empty store next to a full one.
async fn flatness(options: &Options, full: PgConnectOptions, empty: PgConnectOptions) -> anyhow::Result<()> {
    let (full, empty) = (Side::open(options, full).await?, Side::open(options, empty).await?);
    let prefill = options.prefill / PER_STREAM * PER_STREAM;
    ensure!(prefill > 0, "--prefill is at least {PER_STREAM}");
    full.check_space(options, prefill).await?;
    if !options.json {
        println!("{}", Machine::this());
        println!(
            "events/s on an empty store and on one of {prefill} events, medians of {} rounds of {} s in turns",
            options.rounds, options.seconds
        );
        println!(
            "{:>7} {:>7} {:>6} {:>9} {:>8} {:>8} {:>9} {:>8} {:>8}   {:<18}",
            "tenants", "writers", "events", "empty", "p50 ms", "p99 ms", "full", "p50 ms", "p99 ms", "full / empty"
        );
    }
    for &tenants in &options.tenants {
        full.clear().await?;
        let scopes = new_scopes(tenants);
        let (bytes, seconds) = full.fill(&scopes, prefill).await?;
        let mut cases: Vec<Flatness> = options.cases().map(|(writers, events)| Flatness::new(writers, events)).collect();
        // The first meets connections, plans and caches that are cold.
        for nth in 0..=options.rounds {
            for case in &mut cases {
                case.round(nth, &full, &empty, &scopes).await?;
            }
        }
        for case in &cases {
            case.print(tenants, prefill, options);
        }
        full.print_disk(options, tenants, prefill, bytes, seconds).await?;
    }
    if options.json { Ok(()) } else { full.writers.read().await }
}

/// So many writers, so many events per append, on both stores.
struct Flatness {
    writers: u32,
    events: u32,
    empty: Rounds,
    full: Rounds,
    ratio: Rounds,
    empty_times: Histogram<u64>,
    full_times: Histogram<u64>,
}

impl Flatness {
    fn new(writers: u32, events: u32) -> Self {
        let rounds = Rounds::default;
        Self { writers, events, empty: rounds(), full: rounds(), ratio: rounds(), empty_times: histogram(), full_times: histogram() }
    }
    /// Both once; the first round does not count.
    async fn round(&mut self, nth: u32, full: &Side, empty: &Side, scopes: &Arc<[TenantScope]>) -> anyhow::Result<()> {
        let case = (self.writers, self.events);
        let (mut empty_times, mut full_times) = (histogram(), histogram());
        let new = new_scopes(u32::try_from(scopes.len())?);
        empty.clear().await?;
        let (of_empty, of_full);
        if nth.is_multiple_of(2) {
            of_empty = empty.append(&new, case, &mut empty_times).await?;
            of_full = full.append(scopes, case, &mut full_times).await?;
        } else {
            of_full = full.append(scopes, case, &mut full_times).await?;
            of_empty = empty.append(&new, case, &mut empty_times).await?;
        }
        if nth > 0 {
            self.empty.push(of_empty);
            self.full.push(of_full);
            self.ratio.push(of_full / of_empty);
            self.empty_times.add(empty_times)?;
            self.full_times.add(full_times)?;
        }
        Ok(())
    }
    fn print(&self, tenants: u32, prefill: u64, options: &Options) {
        let Self { writers, events, empty, full, ratio, empty_times, full_times } = self;
        let [p50, p99, full_p50, full_p99] =
            [(empty_times, 0.5), (empty_times, 0.99), (full_times, 0.5), (full_times, 0.99)].map(|(times, at)| ms(times, at));
        if options.json {
            let line = json!({
                "bench": "append", "tenants": tenants, "writers": writers, "events_per_command": events, "prefill": prefill, "cores": cores(),
                "empty": empty.json(), "empty_p50_ms": p50, "empty_p99_ms": p99, "full": full.json(), "full_p50_ms": full_p50,
                "full_p99_ms": full_p99, "ratio": ratio.json(),
            });
            println!("{line}");
        } else {
            let (empty, full) = (empty.median(), full.median());
            println!(
                "{tenants:>7} {writers:>7} {events:>6} {empty:>9.0} {p50:>8.2} {p99:>8.2} {full:>9.0} {full_p50:>8.2} {full_p99:>8.2}   {ratio:<18}"
            );
        }
    }
}

/// One of the two stores.
struct Side {
    owner: PgPool,
    database: PgConnectOptions,
    writers: Writers,
}

impl Side {
    async fn open(options: &Options, database: PgConnectOptions) -> anyhow::Result<Self> {
        let owner = PgPool::connect_with(database.clone()).await?;
        platform::release::bootstrap(&owner, &[]).await?;
        Ok(Self { owner, writers: Writers::new(options, &database)?, database })
    }
    /// Nothing is stored any more.
    async fn clear(&self) -> anyhow::Result<()> {
        // A superuser's way around the trigger that forbids it.
        let clear = "begin; set local session_replication_role = replica;
            truncate event_store.event, event_store.tenant_head, event_store.claim; commit";
        self.owner.execute(clear).await?;
        Ok(())
    }
    /// Right after a checkpoint, so that neither side pays for what the other wrote.
    async fn append(&self, scopes: &Arc<[TenantScope]>, case: (u32, u32), times: &mut Histogram<u64>) -> anyhow::Result<f64> {
        self.owner.execute("checkpoint").await?;
        self.writers.append(scopes, case, times).await
    }
    /// Streams of events for all tenants, by COPY with all indexes in place, as they would have grown. Bytes of the table with
    /// its indexes, and seconds.
    async fn fill(&self, scopes: &[TenantScope], events: u64) -> anyhow::Result<(u64, f64)> {
        let (began, mut progress) = (Instant::now(), Progress::new("filling, events", events));
        for from in (0..events).step_by(usize::try_from(FILLED_PER_CHECKPOINT)?) {
            let until = events.min(from + FILLED_PER_CHECKPOINT);
            let parts = (from..until).step_by(usize::try_from(FILLED_AT_ONCE)?);
            let parts = parts.map(|part| (part, FILLED_AT_ONCE.min(until - part))).collect();
            copy::copy(&self.database, parts, async |(from, count)| Ok(careers(scopes, from, count, &self.writers.data))).await?;
            self.owner.execute("checkpoint").await?;
            progress.more(until - from);
            let free = self.free().await?;
            ensure!(free.is_none_or(|free| free > WAL / 2), "the disk is nearly full after {until} events; ask for fewer with --prefill");
        }
        copy::settle(&self.database).await?;
        let bytes: i64 = sqlx::query_scalar("select pg_total_relation_size('event_store.event')").fetch_one(&self.owner).await?;
        Ok((u64::try_from(bytes)?, began.elapsed().as_secs_f64()))
    }
    /// Bytes that are free where PostgreSQL keeps its files; not known of a server elsewhere.
    async fn free(&self) -> anyhow::Result<Option<u64>> {
        let folder: String = sqlx::query_scalar("show data_directory").fetch_one(&self.owner).await?;
        Ok(rustix::fs::statvfs(folder.as_str()).ok().map(|disk| disk.f_bavail * disk.f_frsize))
    }
    /// Refuses at once what would fill the disk.
    async fn check_space(&self, options: &Options, prefill: u64) -> anyhow::Result<()> {
        let (event, measurements) = (event_bytes(options), u64::from((options.rounds + 1) * options.seconds));
        let measured: u64 = options.cases().map(|(_, events)| u64::from(events) * ASSUMED_RATE * measurements).sum();
        let need = (prefill + measured) * event + WAL;
        let gb = |bytes: u64| bytes as f64 / 1e9;
        let text = format!(
            "{prefill} events take about {:.1} GB, what is measured up to {:.1} GB, WAL {:.1} GB",
            gb(prefill * event),
            gb(measured * event),
            gb(WAL)
        );
        match self.free().await? {
            Some(free) if free < need => {
                anyhow::bail!(
                    "{text}, and {:.1} GB are free; ask for fewer --prefill, --writers, --events-per-command or --rounds",
                    gb(free)
                )
            }
            Some(free) => eprintln!("{text}; {:.1} GB are free", gb(free)),
            None => eprintln!("{text}; what the server has is not known here"),
        }
        Ok(())
    }
    async fn print_disk(&self, options: &Options, tenants: u32, prefill: u64, bytes: u64, seconds: f64) -> anyhow::Result<()> {
        let wal: i64 = sqlx::query_scalar("select sum(size)::bigint from pg_ls_waldir()").fetch_one(&self.owner).await?;
        let after: i64 = sqlx::query_scalar("select pg_database_size(current_database())").fetch_one(&self.owner).await?;
        let (each, rate) = (bytes as f64 / prefill as f64, prefill as f64 / seconds);
        let many = each * MANY as f64;
        if options.json {
            let line = json!({"bench": "append", "phase": "disk", "tenants": tenants, "prefill": prefill, "filled_bytes": bytes,
                "bytes_per_event": round(each), "fill_events_per_s": round(rate), "database_bytes_after": after, "wal_bytes": wal,
                "bytes_of_20000000": many.round()});
            println!("{line}");
            return Ok(());
        }
        println!(
            "{tenants:>7} tenants: {prefill} events were copied at {rate:.0}/s and take {:.2} GB with indexes, {each:.0} bytes each; with what was measured {:.2} GB, and {:.2} GB of WAL",
            bytes as f64 / 1e9,
            after as f64 / 1e9,
            wal as f64 / 1e9
        );
        println!("{:>7} {MANY} events would take {:.1} GB, and {:.1} GB for the WAL", "", many / 1e9, WAL as f64 / 1e9);
        Ok(())
    }
}

/// About what an event takes with its entries in three indexes.
fn event_bytes(options: &Options) -> u64 {
    OVERHEAD + options.bytes as u64
}
/// What an event takes beside its data.
const OVERHEAD: u64 = 700;

/// `pgbench`, and the script that it runs.
struct Pgbench {
    program: PathBuf,
    script: PathBuf,
    database: PgConnectOptions,
    data: Arc<str>,
    measurement: AtomicU64,
}

impl Pgbench {
    fn new(options: &Options, database: PgConnectOptions, data: &Arc<str>) -> anyhow::Result<Self> {
        let program = match &options.pgbench {
            Some(program) => program.clone(),
            None => newest_pgbench()?,
        };
        let script = std::env::temp_dir().join(format!("tenure-append-{}.sql", std::process::id()));
        std::fs::write(&script, SCRIPT)?;
        Ok(Self { program, script, database, data: data.clone(), measurement: AtomicU64::new(0) })
    }

    /// Inserts per second.
    async fn insert(&self, scopes: &[TenantScope], clients: u32, seconds: u32) -> anyhow::Result<f64> {
        let (tenants, measurement) = (scopes.len(), self.measurement.fetch_add(1, Ordering::Relaxed) + 1);
        let threads = clients.min(u32::try_from(std::thread::available_parallelism()?.get())?);
        let defined = [
            format!("n={}", measurement * 1_000_000_000),
            format!("measurement={measurement}"),
            format!("tenants={tenants}"),
            format!("data={}", self.data),
            format!("traceparent={TRACEPARENT}"),
        ];
        let mut pgbench = Command::new(&self.program);
        pgbench.args(["--no-vacuum", "--protocol=prepared", "--file"]).arg(&self.script);
        pgbench.args([format!("--client={clients}"), format!("--jobs={threads}"), format!("--time={seconds}")]);
        pgbench.args(defined.iter().flat_map(|variable| ["--define", variable]));
        // Not as a URL: libpq knows other parameters than sqlx.
        match self.database.get_socket() {
            Some(socket) => pgbench.arg("--host").arg(socket),
            None => pgbench.arg("--host").arg(self.database.get_host()),
        };
        pgbench.args([format!("--port={}", self.database.get_port()), format!("--username={}", self.database.get_username())]);
        pgbench.arg(self.database.get_database().unwrap_or("postgres"));
        let output = tokio::time::timeout(Duration::from_secs(u64::from(seconds) + 30), pgbench.kill_on_drop(true).output()).await;
        let output = output.context("pgbench did not end")??;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "pgbench failed: {}", err.lines().next().unwrap_or_default());
        let rate = out.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        rate.with_context(|| format!("pgbench printed no rate: {out}"))
    }
}

impl Drop for Pgbench {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.script); // It is in the directory for temporary files.
    }
}

/// Ids grow as UUIDv7 do, and a stream gets as many events, so that the indexes are written in the same places.
const SCRIPT: &str = r"\set n :n + 1
\set tenant (:client_id + :n) % :tenants
\set id :n * 256 + :client_id
\set stream :id / 2560 * 256 + :client_id
\set version :n % 10
insert into bench.peer values (lpad(to_hex(:measurement * 1000 + :tenant), 32, '0')::uuid, :id, 'employee', lpad(to_hex(:stream::bigint), 32, '0')::uuid, :version, lpad(to_hex(:id::bigint), 32, '0')::uuid, 'CompensationChanged', 2::smallint, :data, '0190a7b2-6c3e-7def-8000-0123456789ab', lpad(to_hex(:id::bigint), 32, '0')::uuid, lpad(to_hex(:id::bigint), 32, '0')::uuid, lpad(to_hex(:id::bigint), 32, '0')::uuid, null, :traceparent, clock_timestamp());
";

fn newest_pgbench() -> anyhow::Result<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .context("looking for pgbench; name it with --pgbench")?
        .filter_map(|entry| {
            let dir = entry.ok()?.path();
            let version = dir.file_name()?.to_str()?.parse().ok()?;
            Some((version, dir.join("bin/pgbench")))
        })
        .filter(|(_, program)| program.exists())
        .collect();
    versions.sort();
    versions.pop().map(|(_, program)| program).context("there is no pgbench; name it with --pgbench")
}
