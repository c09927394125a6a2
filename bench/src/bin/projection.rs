//! How fast one tenant's log becomes rows: healing in batches, one event at a time, and a rebuild. The log has the size and
//! shape of ten thousand careers.
//!
//! `cargo run --release -p bench --bin projection -- URL` with the URL of a superuser of a PostgreSQL; it makes a database of
//! its own there and drops it again.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use bench::{
    careers::{employee, fill_tenants, raise},
    cores, histogram, in_database, peak_memory_mb,
    system::{System, metadata, rebuild},
};
use events::{Event, NewEvent, Position, StreamName, TenantScope};
use projector::{apply::sequence, digest::digest};
use sqlx::postgres::PgConnectOptions;
use store::{Append, Expected};

const PEOPLE: u32 = 10_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).context("usage: projection URL")?;
    in_database(&url, "projection", measure).await
}

async fn measure(database: PgConnectOptions) -> anyhow::Result<()> {
    let system = System::start(database).await?;
    let scope = system.tenant("bench").await?;
    let head = fill_tenants(&system, &[scope], PEOPLE).await?;
    println!("{head} events of {PEOPLE} people; {} cores", cores());

    let live = system.applier().await?;
    let started = Instant::now();
    live.catch_up(scope, 1).await?;
    println!("healing, batches of {}: {:.0} events/s", projector::apply::BATCH, rate(head, started.elapsed()));
    let schema = platform::read_schema(scope.tenant(), platform::READ_MODEL_VERSION);
    let rows = digest(&live.pool, scope, &schema).await?;

    let mut latency = histogram();
    for n in 0..2_000 {
        append(&system, scope, n * 5).await?;
        let at = Position(head + u64::from(n));
        let events = sequence(at, system.store.read_log(scope, at, 1).await?);
        let started = Instant::now();
        live.apply(scope, 1, &events).await?;
        latency.saturating_record(u64::try_from(started.elapsed().as_micros())?);
    }
    println!("one event at a time: p50 {} µs, p99 {} µs", latency.value_at_quantile(0.5), latency.value_at_quantile(0.99));

    let before = digest(&live.pool, scope, &schema).await?;
    anyhow::ensure!(before != rows, "the digest does not see changes");
    for round in 1..=3 {
        // A process of its own: no key is cached.
        let report = rebuild(&system.applier().await?, scope).await?;
        println!(
            "rebuild {round}: {:.0} events/s; {} events, {} rows in {:.2} s (fold and copy {:.2}, index {:.2})",
            rate(report.events, Duration::from_secs_f64(report.seconds)),
            report.events,
            report.rows,
            report.seconds,
            report.fill_seconds,
            report.index_seconds
        );
    }
    anyhow::ensure!(digest(&live.pool, scope, &schema).await? == before, "a rebuild gave other rows");
    println!("peak memory: {} MB", peak_memory_mb().unwrap_or_default());
    Ok(())
}

fn rate(events: u64, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}

/// One more pay change of a person.
async fn append(system: &System, scope: TenantScope, person: u32) -> anyhow::Result<()> {
    let (metadata, event) = (metadata(), Event::Employee(raise(person, 40)?.into()));
    let id = NewEvent::id_for(metadata.command_id, 0);
    let event = NewEvent { id, event_type: event.event_type(), schema_version: event.schema_version(), data: event.to_data()? };
    let (stream, expected) = (StreamName::employee(scope, employee(person)), Expected::Any);
    system.store.append(Append { scope, stream, expected, events: vec![event], claims: Vec::new(), metadata }).await?;
    Ok(())
}
