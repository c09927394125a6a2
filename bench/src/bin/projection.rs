//! How fast one tenant's log becomes rows: healing in batches, one event at a time, and a rebuild. The log has the size and
//! shape of ten thousand careers, or of as many as `--people` says.
//!
//! Makes a database of its own on the server of `--database-url` (a superuser's), and drops it afterwards.

use std::time::{Duration, Instant};

use bench::{
    careers::{employee, fill_tenants, raise},
    cores, histogram, in_database, ms, peak_memory_mb, round,
    system::{System, rebuild},
};
use clap::Parser;
use events::{Event, NewEvent, Position, StreamName, TenantScope};
use projector::{apply::sequence, digest::digest};
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use store::{Append, Expected, IdScope};

/// Events that are appended and projected one after the other.
const ONE_BY_ONE: u32 = 2_000;

#[derive(Parser)]
#[command(about = "How fast one tenant's log becomes rows: in batches, one event at a time, and by a rebuild")]
struct Options {
    /// A superuser's URL of a PostgreSQL server.
    #[arg(long)]
    database_url: String,
    /// People; some ten events each.
    #[arg(long, default_value_t = 10_000)]
    people: u32,
    /// Rebuilds.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// One line of JSON instead of text.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    in_database(&options.database_url, "projection", |database| measure(&options, database)).await
}

async fn measure(options: &Options, database: PgConnectOptions) -> anyhow::Result<()> {
    let say = |line: String| {
        if !options.json {
            println!("{line}");
        }
    };
    let system = System::start(database).await?;
    let scope = system.tenant("bench").await?;
    let head = fill_tenants(&system, &[scope], options.people).await?;
    say(format!("{head} events of {} people; {} cores", options.people, cores()));

    let live = system.applier().await?;
    let started = Instant::now();
    live.catch_up(scope, 1).await?;
    let healing = rate(head, started.elapsed());
    say(format!("healing, batches of {}: {healing:.0} events/s", projector::apply::HEALING_BATCH));
    let schema = platform::read_schema(scope.tenant(), platform::READ_MODEL_VERSION);
    let rows = digest(&live.pool, scope, &schema).await?;

    let mut latency = histogram();
    for n in 0..ONE_BY_ONE {
        append(&system, scope, n * 5 % options.people).await?;
        let at = Position(head + u64::from(n));
        let events = sequence(at, system.store.read_log(scope, at, 1).await?);
        let started = Instant::now();
        live.apply(scope, 1, &events).await?;
        latency.saturating_record(u64::try_from(started.elapsed().as_micros())?);
    }
    let (p50, p99) = (ms(&latency, 0.5), ms(&latency, 0.99));
    say(format!("one event at a time: p50 {p50} ms, p99 {p99} ms"));

    let before = digest(&live.pool, scope, &schema).await?;
    anyhow::ensure!(before != rows, "the digest does not see changes");
    let mut rates = Vec::new();
    for nth in 1..=options.rounds {
        // A process of its own: no key is cached.
        let report = rebuild(&system.applier().await?, scope).await?;
        let rate = rate(report.events, Duration::from_secs_f64(report.seconds));
        say(format!(
            "rebuild {nth}: {rate:.0} events/s; {} events, {} rows in {:.2} s (fold and copy {:.2}, index {:.2})",
            report.events, report.rows, report.seconds, report.fill_seconds, report.index_seconds
        ));
        rates.push(round(rate));
    }
    anyhow::ensure!(digest(&live.pool, scope, &schema).await? == before, "a rebuild gave other rows");
    say(format!("peak memory: {} MB", peak_memory_mb().unwrap_or_default()));
    if options.json {
        let line = json!({"bench": "projection", "people": options.people, "events": head, "cores": cores(),
            "healing_events_per_second": round(healing), "one_by_one_ms": {"p50": p50, "p99": p99}, "rebuild_events_per_second": rates});
        println!("{line}");
    }
    Ok(())
}

fn rate(events: u64, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}

/// One more pay change of a person.
async fn append(system: &System, scope: TenantScope, person: u32) -> anyhow::Result<()> {
    let (metadata, event) = (hot::careers::metadata(), Event::Employee(raise(person, 40)?.into()));
    let id = NewEvent::id_for(metadata.command_id, 0);
    let event = NewEvent { id, event_type: event.event_type(), schema_version: event.schema_version(), data: event.to_data()? };
    let (stream, expected) = (StreamName::employee(scope, employee(person)), Expected::Any);
    system
        .store
        .append(Append { scope, stream, expected, events: vec![event], claims: Vec::new(), metadata, id_scope: IdScope::Tenant })
        .await?;
    Ok(())
}
