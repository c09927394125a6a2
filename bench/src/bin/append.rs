//! How fast does the PostgreSQL engine append, next to `pgbench` inserting the same rows one by one?
//!
//! Makes a database of its own in the server given, and drops it afterwards. Every round measures both, one after the
//! other and in turns first, so that whatever else the machine does weighs on both. The peer inserts a row with the same
//! columns and the same three indexes per transaction, by prepared statements, with as many clients, and checks nothing:
//! no version, no idempotency, no row-level security, no order. Both are durable (`fsync` and `synchronous_commit` on).

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Parser;
use events::{CommandHash, CommandId, CorrelationId, EmployeeId, Metadata, NewEvent, Position, StreamName, TenantId, TenantScope, Version};
use serde_json::value::RawValue;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection, PgPool, postgres::PgConnectOptions};
use store::{Append, Expected, PgStore, Store};
use tokio::process::Command;
use uuid::Uuid;

/// Events per stream: what a person's career has.
const PER_STREAM: u64 = 10;

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
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    writers: Vec<u32>,
    /// How many tenants they write for.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 50])]
    tenants: Vec<u32>,
    /// Bytes of data in an event.
    #[arg(long, default_value_t = 300)]
    bytes: usize,
    /// Where pgbench is; absent, the newest of Debian's.
    #[arg(long)]
    pgbench: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let server: PgConnectOptions = options.database_url.parse().context("--database-url is no PostgreSQL URL")?;
    let name = format!("bench_append_{}", Uuid::now_v7().simple());
    let mut admin = PgConnection::connect_with(&server).await.context("connecting to --database-url")?;
    for setting in ["fsync", "synchronous_commit"] {
        let value: String = sqlx::query_scalar(&format!("show {setting}")).fetch_one(&mut admin).await?;
        ensure!(value == "on", "{setting} is {value}: a comparison of what is not durable says nothing");
    }
    admin.execute(format!("create database {name}").as_str()).await?;
    let outcome = run(&options, server.database(&name)).await;
    admin.execute(format!("drop database {name} with (force)").as_str()).await?;
    outcome
}

async fn run(options: &Options, database: PgConnectOptions) -> anyhow::Result<()> {
    let owner = PgPool::connect_with(database.clone()).await?;
    platform::provision::bootstrap(&owner, &[]).await?;
    // The same columns and indexes, and nothing else.
    owner.execute("create schema bench; create table bench.peer (like event_store.event including indexes)").await?;
    // The store as its own role, whom row-level security binds, without a change to that role's password.
    let url = database.clone().options([("role", "tenure_command")]).to_url_lossy();
    let store = Store::Postgres(PgStore::open(url.as_str(), 16)?);
    let data: Arc<str> = format!("{{\"reason\":\"{}\"}}", "x".repeat(options.bytes.saturating_sub(13))).into();
    let peer = Peer::new(options, database, &data)?;

    println!("appends/s, median of {} rounds of {} s, {} cores", options.rounds, options.seconds, std::thread::available_parallelism()?);
    println!("{:>7} {:>7} {:>10} {:>10}   {:>6}  (lowest to highest)", "tenants", "writers", "tenure", "pgbench", "ratio");
    let mut measurement = 0;
    for &tenants in &options.tenants {
        for &writers in &options.writers {
            let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            let scopes: Arc<[TenantScope]> = (0..tenants).map(|_| TenantScope::checked(TenantId::from_uuid(Uuid::now_v7()))).collect();
            for round in 0..options.rounds {
                measurement += 1;
                let (own, other);
                if round % 2 == 0 {
                    own = append(&store, &scopes, writers, options.seconds, &data).await?;
                    other = peer.insert(tenants, writers, options.seconds, measurement).await?;
                } else {
                    other = peer.insert(tenants, writers, options.seconds, measurement).await?;
                    own = append(&store, &scopes, writers, options.seconds, &data).await?;
                }
                ours.push(own);
                theirs.push(other);
                ratios.push(own / other);
            }
            let [own, other, ratio] = [&mut ours, &mut theirs, &mut ratios].map(|figures| {
                figures.sort_unstable_by(f64::total_cmp);
                figures[figures.len() / 2]
            });
            let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
            println!("{tenants:>7} {writers:>7} {own:>10.0} {other:>10.0}   {ratio:>6.2}  ({least:.2} to {most:.2})");
        }
    }
    read(&store).await
}

/// Writers in a closed loop: each waits for its answer before it appends again. Appends per second.
async fn append(store: &Store, scopes: &Arc<[TenantScope]>, writers: u32, seconds: u32, data: &Arc<str>) -> anyhow::Result<f64> {
    let (started, length) = (Instant::now(), Duration::from_secs(seconds.into()));
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let (store, scopes, data) = (store.clone(), scopes.clone(), data.clone());
        tasks.spawn(async move {
            let mut streams = vec![(EmployeeId::from_uuid(Uuid::nil()), PER_STREAM); scopes.len()];
            let mut count = 0_u64;
            while started.elapsed() < length {
                let tenant = (writer as usize + usize::try_from(count)?) % scopes.len();
                let (employee, version) = &mut streams[tenant];
                if *version == PER_STREAM {
                    (*employee, *version) = (EmployeeId::from_uuid(Uuid::now_v7()), 0);
                }
                let stream = StreamName::employee(scopes[tenant], *employee);
                store.append(one(scopes[tenant], stream, Version(*version), &data)?).await?;
                *version += 1;
                count += 1;
            }
            anyhow::Ok(count)
        });
    }
    let mut count = 0;
    while let Some(task) = tasks.join_next().await {
        count += task??;
    }
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

fn one(scope: TenantScope, stream: StreamName, version: Version, data: &str) -> anyhow::Result<Append> {
    let command_id = CommandId::from_uuid(Uuid::now_v7());
    let metadata = Metadata {
        actor: "0190a7b2-6c3e-7def-8000-0123456789ab".into(),
        command_id,
        command_hash: CommandHash(command_id.uuid()),
        correlation_id: CorrelationId::from_uuid(command_id.uuid()),
        causation_id: None,
        traceparent: Some(TRACEPARENT.into()),
    };
    let data = RawValue::from_string(data.to_owned())?;
    let event = NewEvent { id: NewEvent::id_for(command_id, 0), event_type: "CompensationChanged", schema_version: 2, data };
    Ok(Append { scope, stream, expected: Expected::Exact(version), events: vec![event], claims: Vec::new(), metadata })
}

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// How fast the longest log is read, as a rebuild does.
async fn read(store: &Store) -> anyhow::Result<()> {
    let heads = store.heads().await?;
    let longest = heads.iter().max_by_key(|head| head.position.0).context("nothing was appended")?;
    let scope = TenantScope::checked(longest.tenant);
    let (started, mut after, mut count) = (Instant::now(), Position::ZERO, 0);
    loop {
        let page = store.read_log(scope, after, 2_000).await?;
        let Some(last) = page.last() else { break };
        after = last.position;
        count += page.len();
    }
    println!("reading a log of {count} events in pages of 2000: {:.0} events/s", count as f64 / started.elapsed().as_secs_f64());
    Ok(())
}

/// `pgbench`, and the script that it runs.
struct Peer {
    program: PathBuf,
    script: PathBuf,
    database: PgConnectOptions,
    data: Arc<str>,
}

impl Peer {
    fn new(options: &Options, database: PgConnectOptions, data: &Arc<str>) -> anyhow::Result<Self> {
        let program = match &options.pgbench {
            Some(program) => program.clone(),
            None => newest_pgbench()?,
        };
        let script = std::env::temp_dir().join(format!("tenure-append-{}.sql", std::process::id()));
        std::fs::write(&script, SCRIPT)?;
        Ok(Self { program, script, database, data: data.clone() })
    }

    /// Inserts per second.
    async fn insert(&self, tenants: u32, clients: u32, seconds: u32, measurement: u64) -> anyhow::Result<f64> {
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
        ensure!(output.status.success(), "pgbench failed: {err}");
        let rate = out.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        rate.with_context(|| format!("pgbench printed no rate: {out}"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.script); // It is in the directory for temporary files.
    }
}

/// Ids grow as UUIDv7 do, and a stream gets as many events, so that the indexes are written in the same places.
const SCRIPT: &str = r"\set n :n + 1
\set tenant (:client_id + :n) % :tenants
\set id :n * 64 + :client_id
\set stream :id / 640 * 64 + :client_id
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
