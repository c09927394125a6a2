//! `tenure status`: one screen that says what runs, how far everything is, and what is wrong. Asks the processes, PostgreSQL and
//! the event store directly, so that it also works where a service does not; and where one of them does not, it shows the rest.

use std::{
    collections::HashMap,
    fmt::{Display, Write as _},
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use events::{Position, TenantId, TenantScope};
use platform::{
    Access, Config, Process, READ_MODEL_VERSION, Registry, ScopedTx, Tenant, TenantState, TenantTx, database, read_schema, release,
};
use serde::Serialize;
use sqlx::PgPool;
use store::{Engine, Store, TenantHead, heartbeat::Lease};

use crate::{
    home::Home,
    system::{self, Phase, Reader, SERVICES, State},
};

/// How long the relay's heartbeat is watched. A relay that is busy may change it only after two seconds.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// How long each server may take to tell its part; what is late is left out.
const PATIENCE: Duration = Duration::from_secs(5);

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
    /// None where PostgreSQL did not tell.
    release: Option<ReleaseLine>,
    tenants: Vec<TenantLine>,
    /// Tenants in the event store that nobody registered here; none where it is not known. They are left alone.
    foreign_tenants: Option<usize>,
    /// Which parts are missing, and why: each names the server that did not tell.
    problems: Vec<String>,
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
    /// Events that are not published yet, of all tenants. None where the event store did not tell.
    behind: Option<u64>,
}

#[derive(Debug, Serialize)]
struct ReleaseLine {
    /// How often types of events were activated.
    activation: i64,
    /// Types that this build knows and that may not be written yet.
    not_active: Vec<String>,
    /// Who lives and can't read them.
    in_the_way: usize,
}

#[derive(Debug, Serialize)]
struct TenantLine {
    /// None where the event store did not tell.
    slug: Option<String>,
    tenant_id: TenantId,
    /// None where the event store did not tell.
    state: Option<&'static str>,
    /// The end of its log; none where the event store did not tell.
    head: Option<u64>,
    /// How far it was published.
    relayed: u64,
    /// How far the read model is; none while there is none.
    projected: Option<u64>,
    /// Events between the log's end and the read model. None where the event store did not tell.
    lag: Option<u64>,
    parked: Option<Parked>,
    /// What the worker has of it; none where PostgreSQL did not tell.
    worker: Option<WorkerLine>,
}

#[derive(Debug, Serialize, sqlx::FromRow)]
struct WorkerLine {
    /// What takes effect on a day that has not begun, or has just begun.
    due: i64,
    /// Jobs that wait or run.
    jobs: i64,
    /// Jobs that failed, or were refused.
    jobs_failed: i64,
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
        let status = Box::pin(gather(home)).await?;
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
        release: None,
        tenants: vec![],
        foreign_tenants: None,
        problems: vec![],
    };
    // Where servers and services are run by others, there is no state of ours, and the servers tell all the same.
    let elsewhere = status.phase.is_none() && system::is_bootstrapped(home);
    if running || elsewhere || std::env::var_os("TENURE_DATABASE_URL").is_some() {
        Box::pin(ask_servers(home, &mut status)).await?;
    }
    Ok(status)
}

/// Asks PostgreSQL and the event store at once: that one is slow or away is no reason not to show what the other tells.
async fn ask_servers(home: &Home, status: &mut Status) -> anyhow::Result<()> {
    let config = system::config(home, Process::Relay)?;
    let query_config = system::config(home, Process::QueryApi)?;
    // A home that was made before there was a worker has no settings for one.
    let worker_config = system::config(home, Process::Worker).ok();
    let owner_config = system::config(home, Process::Cli)?;
    let view = postgres_view(&config, &query_config, worker_config.as_ref());
    let release = within("PostgreSQL", Box::pin(release_line(&owner_config)));
    let (postgres, release, log) = tokio::join!(within("PostgreSQL", Box::pin(view)), release, Box::pin(log_view(&config)));
    let LogView { store, tenants, heads, problems } = log;
    status.problems = problems;
    let postgres = match postgres {
        Ok(view) => Some(view),
        Err(error) => {
            status.problems.push(format!("the relay, and how far events were published and projected, is missing: {error}"));
            None
        }
    };
    match release {
        Ok(line) => status.release = Some(line),
        Err(error) => status.problems.push(format!("which types of events may be written is missing: {error}")),
    }
    let cursor = |id: &TenantId| postgres.as_ref().and_then(|view| view.cursors.get(id)).copied().unwrap_or_default();
    let is_ours =
        |id: &TenantId| *id == Registry::platform_scope().tenant() || tenants.iter().flatten().any(|tenant: &Arc<Tenant>| tenant.id == *id);
    if let (Some(heads), Some(_)) = (&heads, &tenants) {
        status.foreign_tenants = Some(heads.keys().filter(|id| !is_ours(id)).count());
    }
    if let Some(view) = &postgres {
        let ours = heads.iter().flat_map(HashMap::values).filter(|head| tenants.is_none() || is_ours(&head.tenant));
        let behind = match heads {
            Some(_) => events_after(store.as_ref(), ours.map(|head| (*head, cursor(&head.tenant))).collect(), &mut status.problems).await,
            None => None,
        };
        let behind = behind.map(|behind| behind.into_values().sum());
        status.relay = Some(RelayLine { active: view.active, behind });
    }
    let registered = tenants.as_ref().map(|tenants| tenants.iter().map(|tenant| (tenant.id, Some(tenant.clone()))).collect::<Vec<_>>());
    let known = || postgres.iter().flat_map(|view| view.cursors.keys()).map(|id| (*id, None)).collect();
    let asked = Instant::now();
    for (id, tenant) in registered.unwrap_or_else(known) {
        let late = asked.elapsed() > PATIENCE;
        let projected = match &postgres {
            Some(view) if !late => checkpoint(&view.query, id).await,
            Some(_) | None => None,
        };
        let worker = match postgres.as_ref().and_then(|view| view.worker.as_ref()) {
            Some(worker) if !late => work(worker, id).await,
            Some(_) | None => None,
        };
        let head = heads.as_ref().map(|heads| heads.get(&id).map_or(0, |head| head.position.0));
        status.tenants.push(TenantLine {
            slug: tenant.as_ref().map(|tenant| tenant.slug.clone()),
            tenant_id: id,
            state: tenant.map(|tenant| match tenant.state {
                TenantState::Registered => "registered",
                TenantState::Ready => "ready",
                TenantState::Suspended => "suspended",
                TenantState::Closed => "closed",
            }),
            head,
            relayed: cursor(&id),
            projected,
            lag: heads.as_ref().filter(|heads| !heads.contains_key(&id)).map(|_| 0),
            parked: postgres.as_ref().and_then(|view| view.parked.get(&id)).cloned(),
            worker,
        });
    }
    let log = |line: &TenantLine| Some((*heads.as_ref()?.get(&line.tenant_id)?, line.projected.unwrap_or_default()));
    let logs = status.tenants.iter().filter_map(log).collect();
    if let Some(lags) = events_after(store.as_ref(), logs, &mut status.problems).await {
        for line in &mut status.tenants {
            line.lag = lags.get(&line.tenant_id).copied().or(line.lag);
        }
    }
    if asked.elapsed() > PATIENCE {
        status.problems.push("how far some tenants were projected is missing: PostgreSQL took too long".into());
    }
    Ok(())
}

/// How many events each of these logs has after a position; none where it does not tell.
async fn events_after(store: Option<&Store>, logs: Vec<(TenantHead, u64)>, problems: &mut Vec<String>) -> Option<HashMap<TenantId, u64>> {
    let store = store?;
    let places: Vec<_> = logs.iter().map(|(head, at)| (head.tenant, Position(*at).min(head.position))).collect();
    match within(store.engine(), store.counts_at(&places)).await {
        Ok(counts) => Some(logs.iter().zip(counts).map(|((head, _), count)| (head.tenant, head.events.saturating_sub(count))).collect()),
        Err(error) => {
            problems.push(format!("how many events wait is missing: {error}"));
            None
        }
    }
}

/// What a server tells, if it tells in time.
async fn within<T, E: Display>(server: impl Display, asked: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(told) => told.map_err(|error| format!("{error:#}")),
        Err(_) => Err(format!("{server} did not answer within {} s", PATIENCE.as_secs())),
    }
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

/// What PostgreSQL tells, whatever the event store.
struct PostgresView {
    active: bool,
    cursors: HashMap<TenantId, u64>,
    parked: HashMap<TenantId, Parked>,
    query: PgPool,
    worker: Option<PgPool>,
}

async fn postgres_view(relay: &Config, query: &Config, worker: Option<&Config>) -> anyhow::Result<PostgresView> {
    let relay = database::connect(relay, Process::Cli).await?;
    let query = database::connect(query, Process::Cli).await?;
    let worker = match worker {
        Some(worker) => Some(database::connect(worker, Process::Cli).await?),
        None => None,
    };
    let cursors = sqlx::query_as::<_, (uuid::Uuid, i64)>("select tenant_id, position from event_store.relay_cursor").fetch_all(&relay);
    let parked = sqlx::query_as::<_, (uuid::Uuid, i64, String, String, i32, String)>(
        "select tenant_id, position, reason, to_char(since at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), tries, build
         from platform.parked",
    )
    .fetch_all(&query);
    let (active, cursors, parked) = tokio::try_join!(is_relay_active(&relay), cursors, parked)?;
    Ok(PostgresView {
        active,
        cursors: cursors.into_iter().map(|(id, at)| (TenantId::from_uuid(id), at.cast_unsigned())).collect(),
        parked: parked
            .into_iter()
            .map(|(id, position, reason, since, tries, build)| (TenantId::from_uuid(id), Parked { position, reason, since, tries, build }))
            .collect(),
        query,
        worker,
    })
}

/// What the event store tells.
#[derive(Default)]
struct LogView {
    store: Option<Store>,
    tenants: Option<Vec<Arc<Tenant>>>,
    heads: Option<HashMap<TenantId, TenantHead>>,
    problems: Vec<String>,
}

async fn log_view(config: &Config) -> LogView {
    let engine = if config.eventstore_url.is_some() { Engine::EventStore } else { Engine::Postgres };
    let mut view = LogView::default();
    let store = match within(engine, system::open_store(config)).await {
        Ok(store) => store,
        Err(error) => {
            view.problems.push(format!("the tenants' names and the ends of their logs are missing: {error}"));
            return view;
        }
    };
    let (tenants, heads) = tokio::join!(within(engine, Reader::of(&store)), within(engine, store.heads()));
    match tenants {
        Ok(reader) => view.tenants = Some(reader.all()),
        Err(error) => view.problems.push(format!("the tenants' names are missing: {error}")),
    }
    match heads {
        Ok(heads) => view.heads = Some(heads.into_iter().map(|head| (head.tenant, head)).collect()),
        Err(error) => view.problems.push(format!("the ends of the tenants' logs are missing: {error}")),
    }
    view.store = Some(store);
    view
}

async fn release_line(owner: &Config) -> anyhow::Result<ReleaseLine> {
    let owner = database::connect(owner, Process::Cli).await?;
    let status = release::status(&owner).await?;
    owner.close().await;
    let in_the_way = status.obstacles().len();
    let not_active = status.inactive.iter().map(ToString::to_string).collect();
    Ok(ReleaseLine { activation: status.activation, not_active, in_the_way })
}

/// Whether the relay's lease has an owner who is alive: its heartbeat changes each second, whatever the clocks say.
async fn is_relay_active(relay: &PgPool) -> Result<bool, sqlx::Error> {
    let lease = || async {
        let sql = "select owner, epoch, heartbeat from event_store.lease where name = 'relay'";
        sqlx::query_as::<_, Lease>(sql).fetch_optional(relay).await
    };
    let first = lease().await?;
    let deadline = Instant::now() + HEARTBEAT;
    while first.as_ref().is_some_and(|lease| lease.owner.is_some()) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if lease().await? != first {
            return Ok(true);
        }
    }
    Ok(false)
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

/// What the worker has of a tenant; none where it can't be read.
async fn work(worker: &PgPool, tenant: TenantId) -> Option<WorkerLine> {
    let mut tx = ScopedTx::begin(worker, TenantScope::checked(tenant)).await.ok()?;
    let line = sqlx::query_as(
        "select (select count(*) from worker.due where tenant_id = $1) as due,
             count(*) filter (where state in ('waiting', 'running')) as jobs, count(*) filter (where state in ('failed', 'refused')) as jobs_failed
         from worker.job where tenant_id = $1",
    )
    .bind(tenant.uuid())
    .fetch_one(tx.conn())
    .await
    .ok()?;
    tx.rollback().await.ok()?;
    Some(line)
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
        let _ = writeln!(text, "\nrelay: {active}, {} events behind", or_unknown(relay.behind));
    }
    if let Some(release) = status.release.as_ref().filter(|release| !release.not_active.is_empty()) {
        let types = release.not_active.join(", ");
        let _ = writeln!(text, "\nrelease: not written yet: {types}; `tenure release status` says why");
    }
    if !status.tenants.is_empty() {
        let _ = writeln!(text, "\n{:<24} {:<11} {:>10} {:>10} {:>10} {:>8}", "tenant", "state", "head", "relayed", "projected", "lag");
    }
    for tenant in &status.tenants {
        let projected = tenant.projected.map_or_else(|| "-".into(), |position| position.to_string());
        let name = tenant.slug.clone().unwrap_or_else(|| tenant.tenant_id.to_string());
        let (head, lag) = (or_unknown(tenant.head), or_unknown(tenant.lag));
        let state = tenant.state.unwrap_or("?");
        let _ = writeln!(text, "{name:<24} {state:<11} {head:>10} {:>10} {projected:>10} {lag:>8}", tenant.relayed);
        if let Some(parked) = &tenant.parked {
            let _ = writeln!(text, "    PARKED at {} since {}: {}", parked.position, parked.since, parked.reason);
            let _ =
                writeln!(text, "    tried {} times; once the cause is mended: tenure read-model resume --tenant {}", parked.tries, name);
        }
        if let Some(worker) = tenant.worker.as_ref().filter(|worker| worker.jobs_failed > 0) {
            let _ = writeln!(text, "    {} jobs were not done: tenure job list --tenant {name}", worker.jobs_failed);
        }
    }
    if let Some(foreign) = status.foreign_tenants.filter(|foreign| *foreign > 0) {
        let _ = writeln!(text, "\n{foreign} tenants in the event store are not registered here, and are left alone");
    }
    for problem in &status.problems {
        let _ = writeln!(text, "\n{problem}");
    }
    text
}

fn or_unknown(number: Option<u64>) -> String {
    number.map_or_else(|| "?".into(), |number| number.to_string())
}
