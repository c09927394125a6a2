//! `tenure status`: one screen that says what runs, how far everything is, and what is wrong. Asks the processes and the
//! database directly, so that it also works where a service does not.

use std::{
    collections::HashMap,
    fmt::Write as _,
    time::{Duration, Instant},
};

use events::{Position, TenantId, TenantScope};
use platform::{Access, Process, READ_MODEL_VERSION, TenantState, TenantTx, database, read_schema};
use serde::Serialize;
use sqlx::PgPool;
use store::{Store, heartbeat::Lease};

use crate::{
    home::Home,
    system::{self, Phase, Reader, SERVICES, State},
};

/// How long the relay's heartbeat is watched. A relay that is busy may change it only after two seconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Show it again every second, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

/// All of it.
#[derive(Debug, Serialize)]
struct Status {
    home: String,
    running: bool,
    phase: Option<Phase>,
    processes: Vec<ProcessLine>,
    relay: Option<RelayLine>,
    tenants: Vec<TenantLine>,
    /// Why the database did not tell.
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct ProcessLine {
    name: String,
    pid: Option<u32>,
    restarts: u32,
    last_exit: Option<String>,
    /// Why it is not started yet.
    waits: Option<String>,
    /// What `/readyz` says; none for servers.
    ready: Option<bool>,
    address: Option<String>,
}

#[derive(Debug, Serialize)]
struct RelayLine {
    /// Whether one holds the lease and is alive.
    active: bool,
    /// Events that are not published yet, of all tenants; with EventStoreDB the tenants that have any.
    behind: u64,
}

#[derive(Debug, Serialize)]
struct TenantLine {
    slug: String,
    tenant_id: TenantId,
    state: &'static str,
    /// The end of its log.
    head: u64,
    /// How far it was published.
    relayed: u64,
    /// How far the read model is; none while there is none.
    projected: Option<u64>,
    /// Events between the log's end and the read model; with EventStoreDB 1 if there are any.
    lag: u64,
    parked: Option<Parked>,
}

#[derive(Debug, Clone, Serialize, sqlx::FromRow)]
struct Parked {
    position: i64,
    reason: String,
    since: String,
    /// How often it was tried to project it, and by which build last; empty once it is to be tried again.
    tries: i32,
    build: String,
}

/// Runs the command.
pub async fn run(home: &Home, options: &Options, json: bool) -> anyhow::Result<()> {
    loop {
        let status = gather(home).await?;
        if json {
            println!("{}", serde_json::to_string(&status)?);
        } else {
            let clear = if options.watch { "\x1b[2J\x1b[H" } else { "" };
            print!("{clear}{}", screen(&status));
        }
        if !options.watch {
            return Ok(());
        }
        tokio::select! { () = tokio::time::sleep(Duration::from_secs(1)) => {}, _ = tokio::signal::ctrl_c() => return Ok(()) }
    }
}

async fn gather(home: &Home) -> anyhow::Result<Status> {
    let running = home.is_running()?;
    let state = State::read(home);
    let processes = match &state {
        Some(state) if running => processes(state).await?,
        Some(_) | None => Vec::new(),
    };
    let mut status = Status {
        home: home.root().display().to_string(),
        running,
        phase: state.map(|state| state.phase),
        processes,
        relay: None,
        tenants: vec![],
        problem: None,
    };
    // Where servers and services are run by others, there is no state of ours, and the database tells all the same.
    let elsewhere = status.phase.is_none() && system::is_bootstrapped(home);
    if running || elsewhere || std::env::var_os("TENURE_DATABASE_URL").is_some() {
        // A database that is away must not make this wait for half a minute.
        match tokio::time::timeout(Duration::from_secs(5), database_view(home)).await {
            Ok(Ok((relay, tenants))) => (status.relay, status.tenants) = (Some(relay), tenants),
            Ok(Err(error)) => status.problem = Some(format!("{error:#}")),
            Err(_) => status.problem = Some("the database does not answer".into()),
        }
    }
    Ok(status)
}

async fn processes(state: &State) -> anyhow::Result<Vec<ProcessLine>> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
    let lines = state.processes.iter().map(|(name, process)| {
        let service = SERVICES.into_iter().find(|service| service.name() == name);
        let address = service.and_then(|service| state.addresses.of(service)).map(ToOwned::to_owned);
        let client = &client;
        async move {
            let ready = match &address {
                Some(address) => {
                    Some(client.get(format!("{address}/readyz")).send().await.is_ok_and(|answer| answer.status().is_success()))
                }
                None => None,
            };
            let pid = process.identity.as_ref().filter(|identity| identity.is_alive()).map(|identity| identity.pid);
            let (last_exit, waits) = (process.last_exit.clone(), process.waits.clone());
            ProcessLine { name: name.clone(), pid, restarts: process.restarts, last_exit, waits, ready, address }
        }
    });
    Ok(futures::future::join_all(lines).await)
}

async fn database_view(home: &Home) -> anyhow::Result<(RelayLine, Vec<TenantLine>)> {
    let relay_config = system::config(home, Process::Relay)?;
    let relay = database::connect(&relay_config, Process::Cli).await?;
    let query = database::connect(&system::config(home, Process::QueryApi)?, Process::Cli).await?;
    let store = system::open_store(&relay_config).await?;
    let (active, view) = tokio::join!(is_relay_active(&relay), tenants_view(&relay, &query, &store));
    let (behind, lines) = view?;
    Ok((RelayLine { active: active?, behind }, lines))
}

/// Whether the relay's lease has an owner who is alive: its heartbeat changes each second, whatever the clocks say.
async fn is_relay_active(relay: &PgPool) -> Result<bool, sqlx::Error> {
    let lease = || async {
        let sql = "select owner, epoch, heartbeat from event_store.lease where name = 'relay'";
        sqlx::query_as::<_, Lease>(sql).fetch_optional(relay).await
    };
    let first = lease().await?;
    let deadline = Instant::now() + PATIENCE;
    while first.as_ref().is_some_and(|lease| lease.owner.is_some()) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if lease().await? != first {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How many events wait to be published, and all tenants.
async fn tenants_view(relay: &PgPool, query: &PgPool, store: &Store) -> anyhow::Result<(u64, Vec<TenantLine>)> {
    let tenants = Reader::of(store).await?.all();
    let heads: HashMap<TenantId, Position> = store.heads().await?.into_iter().map(|head| (head.tenant, head.position)).collect();
    let cursors: Vec<(uuid::Uuid, i64)> =
        sqlx::query_as("select tenant_id, position from event_store.relay_cursor").fetch_all(relay).await?;
    let cursors: HashMap<TenantId, u64> = cursors.into_iter().map(|(id, at)| (TenantId::from_uuid(id), at.cast_unsigned())).collect();
    let parked: Vec<(uuid::Uuid, i64, String, String, i32, String)> = sqlx::query_as(
        "select tenant_id, position, reason, to_char(since at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), tries, build
         from platform.parked",
    )
    .fetch_all(query)
    .await?;
    let parked: HashMap<TenantId, Parked> = parked
        .into_iter()
        .map(|(id, position, reason, since, tries, build)| (TenantId::from_uuid(id), Parked { position, reason, since, tries, build }))
        .collect();
    let behind = heads.iter().map(|(id, head)| store.events_between(Position(cursors.get(id).copied().unwrap_or_default()), *head)).sum();
    let mut lines = Vec::with_capacity(tenants.len());
    for tenant in tenants {
        let head = heads.get(&tenant.id).map_or(0, |head| head.0);
        let projected = checkpoint(query, tenant.id).await;
        lines.push(TenantLine {
            slug: tenant.slug.clone(),
            tenant_id: tenant.id,
            state: match tenant.state {
                TenantState::Registered => "registered",
                TenantState::Ready => "ready",
                TenantState::Suspended => "suspended",
                TenantState::Closed => "closed",
            },
            head,
            relayed: cursors.get(&tenant.id).copied().unwrap_or_default(),
            projected,
            lag: store.events_between(Position(projected.unwrap_or_default()), Position(head)),
            parked: parked.get(&tenant.id).cloned(),
        });
    }
    Ok((behind, lines))
}

/// How far the read model is; none where there is none.
async fn checkpoint(query: &PgPool, tenant: TenantId) -> Option<u64> {
    // An operator at the machine, who has the query API's own secrets, looks at a number that says nothing of people.
    let scope = TenantScope::checked(tenant);
    let mut tx = TenantTx::begin(query, scope, &read_schema(tenant, READ_MODEL_VERSION), Access::Read).await.ok()?;
    let position: Option<i64> = sqlx::query_scalar("select position from checkpoint").fetch_optional(tx.conn()).await.ok()?;
    tx.rollback().await.ok()?;
    position.map(i64::cast_unsigned)
}

fn screen(status: &Status) -> String {
    let mut text = String::new();
    let phase = match &status.phase {
        None if status.relay.is_some() && !status.running => "set up here, run elsewhere".to_owned(),
        _ if !status.running => "not running; start it with `tenure up`".to_owned(),
        Some(Phase::Starting(what)) => format!("starting: {what}"),
        Some(Phase::Failed(why)) => format!("failed: {why}"),
        Some(Phase::Ready | Phase::Stopped) | None => "running".to_owned(),
    };
    let _ = writeln!(text, "{}: {phase}\n", status.home);
    if !status.processes.is_empty() {
        let _ = writeln!(text, "{:<20} {:>8} {:>9}  {:<10} address", "process", "pid", "restarts", "state");
    }
    for process in &status.processes {
        let state = match (process.pid, process.ready) {
            (None, _) => "DOWN",
            (Some(_), Some(false)) => "NOT READY",
            (Some(_), Some(true)) => "ready",
            (Some(_), None) => "running",
        };
        let pid = process.pid.map_or_else(|| "-".into(), |pid| pid.to_string());
        let _ = writeln!(
            text,
            "{:<20} {pid:>8} {:>9}  {state:<10} {}",
            process.name,
            process.restarts,
            process.address.as_deref().unwrap_or("-")
        );
        if let Some(why) = &process.waits {
            let _ = writeln!(text, "    {why}");
        }
    }
    if let Some(relay) = &status.relay {
        let active = if relay.active { "active" } else { "NOT ACTIVE: nobody who is alive holds the lease" };
        let _ = writeln!(text, "\nrelay: {active}, {} events behind", relay.behind);
    }
    if !status.tenants.is_empty() {
        let _ = writeln!(text, "\n{:<24} {:<11} {:>10} {:>10} {:>10} {:>8}", "tenant", "state", "head", "relayed", "projected", "lag");
    }
    for tenant in &status.tenants {
        let projected = tenant.projected.map_or_else(|| "-".into(), |position| position.to_string());
        let _ = writeln!(
            text,
            "{:<24} {:<11} {:>10} {:>10} {projected:>10} {:>8}",
            tenant.slug, tenant.state, tenant.head, tenant.relayed, tenant.lag
        );
        if let Some(parked) = &tenant.parked {
            let _ = writeln!(text, "    PARKED at {} since {}: {}", parked.position, parked.since, parked.reason);
            let _ = writeln!(
                text,
                "    tried {} times; once the cause is mended: tenure read-model resume --tenant {}",
                parked.tries, tenant.slug
            );
        }
    }
    if let Some(problem) = &status.problem {
        let _ = writeln!(text, "\ndatabase: {problem}");
    }
    text
}
