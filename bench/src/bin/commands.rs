//! How many commands a second one command API takes: through the batch endpoint, and one by one from many clients.
//!
//! Makes a database of its own on the server of `--database-url` (a superuser), with one tenant, serves the API in this
//! process, and drops the database at the end. Every command has a key.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Parser;
use command_api::{App, batch};
use events::{
    CommandHash, CommandId, CorrelationId, NewEvent, StreamName, TenantId, TenantScope,
    tenancy::{Subscription, TenancyEvent, TenantProvisioned, TenantRegistered},
};
use hdrhistogram::Histogram;
use platform::{
    Config, Gate, Keys, Process, Registry,
    auth::{Issuer, TokenRequest},
    database, health,
    http::{Limits, shell},
    keys, provision,
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Executor as _, PgPool, postgres::PgConnectOptions};
use store::{Append, Expected, Store};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[derive(Parser)]
struct Arguments {
    /// A superuser's URL.
    #[arg(long, env = "TENURE_TEST_DATABASE_URL")]
    database_url: String,
    /// People to hire.
    #[arg(long, default_value_t = 10_000)]
    people: u32,
    /// Pay changes of each.
    #[arg(long, default_value_t = 5)]
    changes: u32,
    /// Clients that send one by one.
    #[arg(long, default_value_t = 64)]
    clients: u32,
    /// Commands sent one by one.
    #[arg(long, default_value_t = 20_000)]
    singles: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let server: PgConnectOptions = arguments.database_url.parse()?;
    let name = format!("bench_commands_{}", Uuid::now_v7().simple());
    let admin = PgPool::connect_with(server.clone()).await?;
    admin.execute(format!("create database {name}").as_str()).await?;
    let outcome = measure(&arguments, server.database(&name)).await;
    admin.execute(format!("drop database {name} with (force)").as_str()).await?;
    outcome
}

async fn measure(arguments: &Arguments, options: PgConnectOptions) -> anyhow::Result<()> {
    let (base, token) = serve(options).await?;
    let client = reqwest::Client::builder().pool_max_idle_per_host(arguments.clients as usize).build()?;
    let line = |command: &str, key: String, data: Value| json!({"command": command, "key": key, "data": data}).to_string() + "\n";
    let id = |kind: &str, n: u32| Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{kind}{n}").as_bytes()).to_string();
    let pay = |amount: u32| json!({"rate": {"amount": amount.to_string(), "currency": "USD"}, "per": "year"});
    let day = |n: u32| format!("{}-{:02}-{:02}", 2001 + n / 336, 1 + n / 28 % 12, 1 + n % 28);

    let mut setup =
        line("CreateJob", "job".into(), json!({"job_id": id("job", 0), "effective_on": "2000-01-01", "code": "J", "title": "J"}));
    for n in 0..9 {
        let data = json!({"department_id": id("department", n), "effective_on": "2000-01-01", "code": format!("d{n}"), "name": "D"});
        setup += &line("CreateDepartment", format!("d{n}"), data);
    }
    send(&client, &base, &token, "organization", 10, setup).await?;

    let hires: String = (0..arguments.people)
        .map(|n| {
            let data = json!({"employee_id": id("person", n), "hire_date": "2000-01-01", "employee_number": n.to_string(),
                "person": {"given_name": "Georgi", "family_name": "Facello", "birth_date": "1953-09-02", "gender": "M"},
                "assignment": {"department_id": id("department", n % 9), "job_id": id("job", 0)}, "pay": pay(60_000)});
            line("HireEmployee", format!("hire-{n}"), data)
        })
        .collect();
    send(&client, &base, &token, "hires", arguments.people, hires.clone()).await?;
    let changes: String = (0..arguments.changes)
        .flat_map(|c| (0..arguments.people).map(move |n| (c, n)))
        .map(|(c, n)| {
            let data = json!({"employee_id": id("person", n), "effective_on": day(c), "pay": pay(60_001 + c), "reason": "annual_review"});
            line("ChangeCompensation", format!("pay-{c}-{n}"), data)
        })
        .collect();
    send(&client, &base, &token, "pay changes", arguments.people * arguments.changes, changes.clone()).await?;
    send(&client, &base, &token, "hires again", arguments.people, hires).await?;
    send(&client, &base, &token, "pay changes again", arguments.people * arguments.changes, changes).await?;

    let next = Arc::new(AtomicU32::new(0));
    let started = Instant::now();
    let tasks: Vec<_> = (0..arguments.clients)
        .map(|_| {
            let (client, base, token, next, singles, people) =
                (client.clone(), base.clone(), token.clone(), next.clone(), arguments.singles, arguments.people);
            tokio::spawn(async move {
                let mut times = Histogram::<u64>::new_with_max(60_000_000, 3)?;
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= singles {
                        return anyhow::Ok(times);
                    }
                    let path = format!("{base}/v1/employees/{}/compensation-changes", id("person", n % people));
                    let body = json!({"effective_on": day(400 + n / people), "pay": pay(70_000 + n), "reason": "raise"});
                    let sent = Instant::now();
                    let request = client.post(path).bearer_auth(&token).header("idempotency-key", format!("single-{n}"));
                    let response = request.json(&body).send().await?;
                    ensure!(response.status().is_success(), "{}", response.text().await?);
                    response.bytes().await?;
                    times.record(u64::try_from(sent.elapsed().as_micros())?)?;
                }
            })
        })
        .collect();
    let mut times = Histogram::<u64>::new_with_max(60_000_000, 3)?;
    for task in tasks {
        times.add(task.await??)?;
    }
    let rate = f64::from(arguments.singles) / started.elapsed().as_secs_f64();
    println!(
        "one by one, {} clients: {rate:.0} commands/s, p50 {} us, p99 {} us",
        arguments.clients,
        times.value_at_quantile(0.5),
        times.value_at_quantile(0.99)
    );
    Ok(())
}

/// One batch; every line must succeed.
async fn send(client: &reqwest::Client, base: &str, token: &str, what: &str, lines: u32, body: String) -> anyhow::Result<()> {
    let started = Instant::now();
    let chunks: Vec<_> = body.as_bytes().chunks(64 * 1024).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
    let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    let request = client.post(format!("{base}/v1/batch")).bearer_auth(token).header("content-type", "application/x-ndjson");
    let results = request.body(body).send().await?.error_for_status()?.text().await?;
    let seconds = started.elapsed().as_secs_f64();
    let good = results.lines().filter(|line| line.contains("\"status\":200")).count();
    let bad = results.lines().find(|line| !line.contains("\"status\":200")).unwrap_or_default();
    ensure!(u32::try_from(good)? == lines, "{good} of {lines} {what} succeeded; {bad}");
    println!("{what}: {lines} commands in one batch, {:.0} commands/s", f64::from(lines) / seconds);
    Ok(())
}

/// A command API in this process, and a token for its one tenant.
async fn serve(options: PgConnectOptions) -> anyhow::Result<(String, String)> {
    let owner = database::pool_options(2).connect_with(options.clone()).await?;
    provision::bootstrap(&owner, &[]).await?;
    let url = options.clone().username("tenure_command").to_url_lossy().to_string();
    let key_file = std::env::temp_dir().join(format!("bench_{}.key", Uuid::now_v7().simple()));
    keys::create_master_key(&key_file)?;
    let config = Config::from_sources(Process::CommandApi, None, |variable| match variable {
        "TENURE_DATABASE_URL" => Some(url.clone()),
        "TENURE_MASTER_KEY_FILE" => Some(key_file.display().to_string()),
        _ => None,
    })?;
    let pool = database::connect(&config, Process::CommandApi).await?;
    let store = Store::open(&url, None, config.database_connections).await?;
    let keys = Keys::open(&config, pool.clone()).await?;
    let projector = database::pool_options(2).connect_lazy_with(options.username("tenure_projector"));
    let tenant = TenantScope::checked(TenantId::from_uuid(Uuid::now_v7()));
    provision::provision(&projector, &Keys::open(&config, projector.clone()).await?, tenant).await?;
    register(&store, tenant.tenant()).await?;
    let issuer = Issuer::open(&config, &owner, &keys).await?;
    let request = TokenRequest {
        subject: "bench".into(),
        tenant: tenant.tenant(),
        slug: "bench".into(),
        roles: vec!["hr".into()],
        employee: None,
        session: None,
        lifetime_s: 600,
    };
    let token = issuer.issue(&request)?.expose_secret().to_owned();
    let reader = store.clone();
    let registry = Registry::start(Arc::new(move |after, limit| {
        let store = reader.clone();
        Box::pin(async move { Ok(store.read_log(Registry::platform_scope(), after, limit).await?) })
    }))
    .await?;
    let gate = Gate::start(&config, pool.clone(), registry.clone()).await?;
    let limits = batch::Limits { line: Duration::from_secs(30), idle: Duration::from_secs(30), stop: CancellationToken::new() };
    let app = shell(
        command_api::router(App::new(gate, command_api::identity::Logins::default(), store, keys, pool, limits)),
        Limits::of(&config),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}", listener.local_addr()?);
    tokio::spawn(health::serve_on(listener, app, CancellationToken::new(), Duration::ZERO));
    Ok((base, token))
}

async fn register(store: &Store, tenant_id: TenantId) -> anyhow::Result<()> {
    let subscription = Subscription { plan: "bench".into(), expires_at: None };
    let events: [TenancyEvent; 2] = [
        TenantRegistered { tenant_id, slug: "bench".into(), name: "Bench".into(), subscription }.into(),
        TenantProvisioned { tenant_id }.into(),
    ];
    let command_id = CommandId::from_uuid(Uuid::now_v7());
    let event = |(n, event): (usize, &TenancyEvent)| {
        let data = serde_json::value::to_raw_value(event)?;
        anyhow::Ok(NewEvent { id: NewEvent::id_for(command_id, n), event_type: event.event_type(), schema_version: 1, data })
    };
    let append = Append {
        scope: Registry::platform_scope(),
        stream: StreamName::tenancy(tenant_id),
        expected: Expected::NoStream,
        events: events.iter().enumerate().map(event).collect::<Result<_, _>>()?,
        claims: vec![],
        metadata: events::Metadata {
            actor: "bench".into(),
            command_id,
            command_hash: CommandHash(Uuid::nil()),
            correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
            causation_id: None,
            traceparent: None,
        },
    };
    store.append(append).await.map(drop).context("registering the tenant")
}
