//! How fast a tenant's log becomes rows: healing in batches, one event at a time, and a rebuild. The log has the size and
//! shape of ten thousand careers: 102,686 events, of which 84,917 change pay.
//!
//! `cargo run --release -p bench --bin projection -- URL` with the URL of a superuser of a PostgreSQL; it makes a database of
//! its own there and drops it again.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use events::{
    CommandHash, CommandId, CorrelationId, DepartmentId, Effective, EmployeeId, EmploymentId, Event, JobId, Metadata, Money, NewEvent,
    PayPeriod, Personal, Position, StreamName, TenantId, TenantScope,
    employee::{
        Assignment, AssignmentChange, AssignmentChanged, CompensationChanged, ContactDetails, EmployeeEvent, EmployeeHired,
        EmployeeTerminated, Pay, PersonalDetails,
    },
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use hdrhistogram::Histogram;
use jiff::{ToSpan as _, civil::date};
use platform::{
    Config, Keys, Process, database,
    job::{Kind, Ticket},
    keys, provision,
};
use projector::{
    apply::{Applier, sequence},
    digest::digest,
    rebuild::rebuild,
};
use sqlx::{ConnectOptions as _, Executor as _, PgPool, postgres::PgConnectOptions};
use store::{Append, Expected, PgStore, Store};
use uuid::Uuid;

const PEOPLE: u32 = 10_000;
const EVENTS: usize = 102_686;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let server: PgConnectOptions = std::env::args().nth(1).context("usage: projection URL")?.parse()?;
    let name = format!("bench_{}", Uuid::now_v7().simple());
    let admin = PgPool::connect_with(server.clone()).await?;
    admin.execute(format!("create database {name}").as_str()).await?;
    let key_file = std::env::temp_dir().join(format!("{name}.key"));
    let measured = measure(server.database(&name), &key_file).await;
    std::fs::remove_file(&key_file)?;
    admin.execute(format!("drop database {name} with (force)").as_str()).await?;
    measured
}

async fn measure(options: PgConnectOptions, key_file: &std::path::Path) -> anyhow::Result<()> {
    let owner = database::pool_options(2).connect_with(options.clone()).await?;
    provision::bootstrap(&owner, &[]).await?;
    keys::create_master_key(key_file)?;
    let url = options.clone().username("tenure_command").to_url_lossy().to_string();
    let config = Config::from_sources(Process::CommandApi, None, |variable| match variable {
        "TENURE_DATABASE_URL" => Some(url.clone()),
        "TENURE_MASTER_KEY_FILE" => Some(key_file.display().to_string()),
        _ => None,
    })?;
    let pool = |role: &str| database::pool_options(8).connect_lazy_with(options.clone().username(role));
    let writer = Keys::open(&config, pool("tenure_command")).await?;
    let store = Store::Postgres(PgStore::open(&url, 8)?);
    let applier = || async {
        anyhow::Ok(Applier {
            pool: pool("tenure_projector"),
            store: store.clone(),
            keys: Keys::open(&config, pool("tenure_projector")).await?,
        })
    };
    let scope = TenantScope::checked(TenantId::from_uuid(Uuid::now_v7()));
    provision::provision(&applier().await?.pool, &applier().await?.keys, scope).await?;
    fill(&store, &writer, scope).await?;
    let head = store.head(scope).await?;
    println!("{head} events of {PEOPLE} people; {} cores", std::thread::available_parallelism()?);

    let live = applier().await?;
    let started = Instant::now();
    live.catch_up(scope, 1).await?;
    println!("healing, batches of {}: {:.0} events/s", projector::apply::BATCH, rate(head.0, started.elapsed()));
    let schema = platform::read_schema(scope.tenant(), platform::READ_MODEL_VERSION);
    let rows = digest(&live.pool, scope, &schema).await?;

    let mut latency = Histogram::<u64>::new(3)?;
    for n in 0..2_000 {
        append(&store, &writer, scope, vec![raise(scope, n * 5, 40)?]).await?;
        let at = Position(head.0 + u64::from(n));
        let events = sequence(at, store.read_log(scope, at, 1).await?);
        let started = Instant::now();
        live.apply(scope, 1, &events).await?;
        latency.record(u64::try_from(started.elapsed().as_micros())?)?;
    }
    println!("one event at a time: p50 {} µs, p99 {} µs", latency.value_at_quantile(0.5), latency.value_at_quantile(0.99));

    let before = digest(&live.pool, scope, &schema).await?;
    anyhow::ensure!(before != rows, "the digest does not see changes");
    for round in 1..=3 {
        // A process of its own: no key is cached.
        let applier = applier().await?;
        let ticket = Ticket::issue(&applier.keys, scope, Kind::RebuildReadModel, "bench")?;
        let report = rebuild(&applier, &ticket, |_| {}).await?;
        println!(
            "rebuild {round}: {:.0} events/s; {} events, {} rows in {:.2} s (fold {:.2}, copy {:.2}, index {:.2})",
            rate(report.events, Duration::from_secs_f64(report.seconds)),
            report.events,
            report.rows,
            report.seconds,
            report.fold_seconds,
            report.copy_seconds,
            report.index_seconds
        );
    }
    anyhow::ensure!(digest(&live.pool, scope, &schema).await? == before, "a rebuild gave other rows");
    let peak = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", peak.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    Ok(())
}

fn rate(events: u64, time: Duration) -> f64 {
    events as f64 / time.as_secs_f64()
}

/// Hires in order, then the careers' other events, spread over all people.
async fn fill(store: &Store, keys: &Keys, scope: TenantScope) -> anyhow::Result<()> {
    let events = (0..EVENTS).map(|n| {
        let (person, nth) = (u32::try_from(n)? % PEOPLE, u32::try_from(n)? / PEOPLE);
        match (nth, n % 97) {
            (0, _) => Ok(hire(scope, person)?),
            (10, _) if person < 1_936 => Ok(leave(scope, person)),
            (_, 0..5) => Ok(promote(scope, person, nth)?),
            _ => raise(scope, person, nth),
        }
    });
    // One tenant's people are independent; a person's events must come in order.
    for chunk in events.collect::<anyhow::Result<Vec<_>>>()?.chunks(PEOPLE as usize) {
        let appends = chunk.iter().cloned().map(|event| append(store, keys, scope, vec![event]));
        stream::iter(appends).buffer_unordered(256).try_collect::<Vec<_>>().await?;
    }
    Ok(())
}

type Fact = (StreamName, Event);

async fn append(store: &Store, keys: &Keys, scope: TenantScope, facts: Vec<Fact>) -> anyhow::Result<()> {
    let command_id = CommandId::from_uuid(Uuid::now_v7());
    let mut events = Vec::new();
    let mut stream = None;
    for (n, (of, mut event)) in facts.into_iter().enumerate() {
        if event.has_personal() {
            event.seal(of, &keys.person_or_create(scope, EmployeeId::from_uuid(of.id())).await?)?;
        }
        let (event_type, schema_version) = (event.event_type(), event.schema_version());
        events.push(NewEvent { id: NewEvent::id_for(command_id, n), event_type, schema_version, data: event.to_data()? });
        stream = Some(of);
    }
    let metadata = Metadata {
        actor: "bench".into(),
        command_id,
        command_hash: CommandHash(Uuid::nil()),
        correlation_id: CorrelationId::from_uuid(command_id.uuid()),
        causation_id: None,
        traceparent: None,
    };
    let stream = stream.context("no facts")?;
    store.append(Append { scope, stream, expected: Expected::Any, events, claims: Vec::new(), metadata }).await?;
    Ok(())
}

fn ids(n: u32) -> (EmployeeId, EmploymentId) {
    // Spread over all values, as real ids are.
    let person = EmployeeId::derive(Uuid::nil(), &n.to_string());
    (person, EmploymentId::derive(person.uuid(), "employment-1"))
}

fn effective(person: u32, nth: u32) -> anyhow::Result<Effective> {
    Ok(Effective { on: date(1985, 1, 1).checked_add((i64::from(person % 2_000) + i64::from(nth) * 365).days())?, seq: 0 })
}

fn fact(scope: TenantScope, person: u32, event: impl Into<EmployeeEvent>) -> Fact {
    (StreamName::employee(scope, ids(person).0), Event::Employee(event.into()))
}

fn pay(amount: u32) -> anyhow::Result<Pay> {
    Ok(Pay { rate: Money::new(amount.into(), "USD".parse()?)?, per: PayPeriod::Year })
}

fn hire(scope: TenantScope, person: u32) -> anyhow::Result<Fact> {
    let (employee_id, employment_id) = ids(person);
    let unit = |kind: u128, n: u32| Uuid::from_u128(kind << 64 | u128::from(n % 9));
    let hired = EmployeeHired {
        employee_id,
        employment_id,
        effective: effective(person, 0)?,
        original_hire_date: None,
        employee_number: Personal::Clear(format!("{}", 10_001 + person)),
        person: Personal::Clear(PersonalDetails {
            given_name: "Georgi".into(),
            family_name: format!("Facello{person}"),
            birth_date: Some(date(1953, 9, 2)),
            gender: Some("M".into()),
        }),
        contact: Personal::Clear(ContactDetails::default()),
        assignment: Assignment {
            department_id: DepartmentId::from_uuid(unit(1, person)),
            job_id: JobId::from_uuid(unit(2, person)),
            location_id: None,
            manager_id: None,
        },
        pay: Some(pay(60_117)?),
    };
    Ok(fact(scope, person, hired))
}

fn raise(scope: TenantScope, person: u32, nth: u32) -> anyhow::Result<Fact> {
    let (employee_id, employment_id) = ids(person);
    let reason = "annual_review".into();
    let changed = CompensationChanged { employee_id, employment_id, effective: effective(person, nth)?, pay: pay(60_117 + nth)?, reason };
    Ok(fact(scope, person, changed))
}

fn promote(scope: TenantScope, person: u32, nth: u32) -> anyhow::Result<Fact> {
    let (employee_id, employment_id) = ids(person);
    let changes =
        AssignmentChange { job_id: Some(JobId::from_uuid(Uuid::from_u128(2 << 64 | u128::from(nth)))), ..AssignmentChange::default() };
    let reason = "promotion".into();
    Ok(fact(scope, person, AssignmentChanged { employee_id, employment_id, effective: effective(person, nth)?, changes, reason }))
}

fn leave(scope: TenantScope, person: u32) -> Fact {
    let (employee_id, employment_id) = ids(person);
    fact(scope, person, EmployeeTerminated { employee_id, employment_id, last_day_worked: date(2000, 6, 30), reason: "resignation".into() })
}
