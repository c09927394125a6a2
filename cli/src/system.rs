//! What belongs to a running system: servers, services, their addresses and rights. [`crate::up`] runs it.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr as _, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use events::{Position, RecordedEvent};
use platform::{Config, Process, Registry, Tenant, provision, release};
use rustix::process::Signal;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool, postgres::PgConnectOptions};
use store::Store;

use crate::{
    home::{Home, Ports},
    nats,
    process::Identity,
    supervisor::{Program, Run},
};

/// The services in the order in which they are stopped.
pub const SERVICES: [Process; 6] =
    [Process::Console, Process::CommandApi, Process::QueryApi, Process::Worker, Process::Projector, Process::Relay];
/// The database that `tenure up` makes where none is named.
const DATABASE: &str = "tenure";

/// What runs now: `run/state.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// How far it is.
    pub phase: Phase,
    /// The supervisor.
    pub supervisor: Identity,
    /// Base URLs by service.
    pub addresses: Addresses,
    /// The processes by name.
    pub processes: BTreeMap<String, ProcessState>,
}

/// How far a start is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// On the way; says with what.
    Starting(String),
    /// All of it answers.
    Ready,
    /// It can't; says why.
    Failed(String),
    /// It was stopped.
    Stopped,
}

/// Base URLs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is named for what answers there")]
pub struct Addresses {
    pub command_api: String,
    pub query_api: String,
    pub relay: String,
    pub projector: String,
    #[serde(default)]
    pub worker: String,
    #[serde(default)]
    pub console: String,
    #[serde(default)]
    pub command_metrics: String,
    #[serde(default)]
    pub query_metrics: String,
    pub nats_url: String,
}

/// One process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProcessState {
    /// The process, while there is one.
    pub identity: Option<Identity>,
    /// How often it was started again.
    pub restarts: u32,
    /// How it ended last.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_exit: Option<String>,
    /// Why it is not started yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub waits: Option<String>,
}

impl From<&Run> for ProcessState {
    fn from(run: &Run) -> Self {
        Self { identity: run.identity.clone(), restarts: run.deaths, last_exit: run.last_exit.clone(), waits: run.waits.clone() }
    }
}

/// The file of a [`State`] in `run/`.
pub const STATE: &str = "state.json";

impl Addresses {
    /// On these ports of this machine.
    pub fn local(ports: &Ports, nats_url: Option<String>) -> Self {
        let http = |port: u16| format!("http://127.0.0.1:{port}");
        Self {
            command_api: http(ports.command_api),
            query_api: http(ports.query_api),
            relay: http(ports.relay),
            projector: http(ports.projector),
            worker: http(ports.worker),
            console: http(ports.console),
            command_metrics: http(ports.command_metrics),
            query_metrics: http(ports.query_metrics),
            nats_url: nats_url.unwrap_or_else(|| format!("nats://127.0.0.1:{}", ports.nats)),
        }
    }
    /// Of a service.
    pub fn of(&self, service: Process) -> Option<&str> {
        match service {
            Process::CommandApi => Some(&self.command_api),
            Process::QueryApi => Some(&self.query_api),
            Process::Relay => Some(&self.relay),
            Process::Projector => Some(&self.projector),
            Process::Worker => Some(&self.worker),
            Process::Console => Some(&self.console),
            Process::Cli => None,
        }
    }
}

impl State {
    /// What runs in a home, or ran there last.
    pub fn read(home: &Home) -> Option<Self> {
        home.read_run(STATE)
    }
    /// Process ids by name, with that of the supervisor.
    pub fn pids(&self) -> BTreeMap<&str, u32> {
        let running = self.processes.iter().filter_map(|(name, process)| Some((name.as_str(), process.identity.as_ref()?.pid)));
        running.chain([("supervisor", self.supervisor.pid)]).collect()
    }
}

/// The PostgreSQL login role of a process; the console has none.
pub const fn role_of(process: Process) -> Option<&'static str> {
    match process {
        Process::CommandApi => Some("tenure_command"),
        Process::Relay => Some("tenure_relay"),
        Process::Projector => Some("tenure_projector"),
        Process::QueryApi => Some("tenure_query"),
        Process::Worker => Some("tenure_worker"),
        Process::Cli => Some(provision::OWNER),
        Process::Console => None,
    }
}

/// The role with which command-api logs people in.
pub const IDENTITY: &str = "tenure_identity";

/// The name of the secret that holds a role's database URL.
fn url_secret(role: &str) -> String {
    format!("url-{role}")
}

/// The file in which `tenure up` keeps the database URL of a role; only its owner reads it.
pub fn url_file(home: &Home, role: &str) -> PathBuf {
    home.path("secrets").join(url_secret(role))
}

/// The database URL that `tenure up` keeps for a role.
pub fn database_url(home: &Home, role: &str) -> anyhow::Result<String> {
    let path = url_file(home, role);
    std::fs::read_to_string(&path).with_context(|| format!("{} can't be read; start the system with `tenure up` first", path.display()))
}

/// Whether a database was set up from this home.
pub fn is_bootstrapped(home: &Home) -> bool {
    url_file(home, provision::OWNER).is_file()
}

/// The secret that holds the URL of whoever set the database up.
pub const ADMIN: &str = "admin";

/// Makes database, roles and tables, and keeps a URL per role. `admin_url` is of a superuser, or of a role that may create
/// roles and databases.
pub async fn bootstrap(home: &Home, admin_url: &str) -> anyhow::Result<()> {
    platform::tls::check_database_url("DATABASE_URL", admin_url)?;
    let options = PgConnectOptions::from_str(admin_url)
        .context("DATABASE_URL is not a PostgreSQL URL; put one such as postgres://admin:…@db:5432/tenure")?;
    let name = match options.get_database() {
        None | Some("" | "postgres") => DATABASE,
        Some(name) => name,
    };
    create_database(&options, name).await?;
    let options = options.clone().database(name);
    let roles: Vec<&str> = [provision::OWNER].into_iter().chain(provision::LOGINS).collect();
    let passwords = roles.iter().map(|role| Ok((*role, home.secret(&format!("role-{role}"))?))).collect::<anyhow::Result<Vec<_>>>()?;
    for (role, password) in &passwords {
        home.keep_secret(&url_secret(role), &platform::tls::database_url(&options.clone().username(role).password(password))?)?;
    }
    home.keep_secret(&url_secret(ADMIN), &platform::tls::database_url(&options)?)?;
    platform::keys::create_master_key(&master_key(home))?;
    let pool = PgPool::connect_with(options).await?;
    let given: Vec<(&str, &str)> = passwords.iter().map(|(role, password)| (*role, password.as_str())).collect();
    release::bootstrap(&pool, &given).await.context("setting up the database")?;
    pool.close().await;
    Ok(())
}

async fn create_database(options: &PgConnectOptions, name: &str) -> anyhow::Result<()> {
    // The named database may be the only one that the role can enter.
    let connection = match PgConnection::connect_with(&options.clone().database(name)).await {
        Ok(connection) => Ok(connection),
        Err(_) => PgConnection::connect_with(&options.clone().database("postgres")).await,
    };
    let mut connection = connection.context("PostgreSQL can't be reached with DATABASE_URL")?;
    let (may, exists): (bool, bool) = sqlx::query_as(
        "select rolsuper or rolcreaterole, exists (select from pg_database where datname = $1) from pg_roles where rolname = current_user",
    )
    .bind(name)
    .fetch_one(&mut connection)
    .await?;
    if !may {
        bail!("the role in DATABASE_URL may not create roles; use a superuser, or one with CREATEROLE and CREATEDB");
    }
    if !exists {
        let quoted = name.replace('"', "\"\"");
        let created = connection.execute(format!("create database \"{quoted}\"").as_str()).await;
        // Another may have made it at the same moment.
        if !matches!(&created, Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P04")) {
            created.with_context(|| format!("creating the database {name:?}; the role in DATABASE_URL needs CREATEDB"))?;
        }
    }
    connection.close().await?;
    Ok(())
}

/// Where the master key is.
pub fn master_key(home: &Home) -> PathBuf {
    home.path("secrets/master.key")
}

/// Tokens of a private system may live a day, so that what `up` prints works for as long as one plays with it.
pub const TOKEN_LIFETIME: u64 = 86_400;

/// The settings with which this command does a process's work on the system in a home. Where `TENURE_DATABASE_URL` is
/// set, it and its kin are taken instead.
pub fn config(home: &Home, process: Process) -> anyhow::Result<Config> {
    if std::env::var_os("TENURE_DATABASE_URL").is_some() || std::env::var_os("TENURE_DATABASE_URL_FILE").is_some() {
        return Config::load(Process::Cli);
    }
    let url = database_url(home, role_of(process).context("the console works with no database")?)?;
    let eventstore_url = std::fs::read_to_string(home.path("secrets").join(EVENTSTORE_URL)).ok();
    Config::from_sources(Process::Cli, None, |variable| match variable {
        "TENURE_DATABASE_URL" => Some(url.clone()),
        "TENURE_EVENTSTORE_URL" => eventstore_url.clone(),
        "TENURE_MASTER_KEY_FILE" => Some(master_key(home).display().to_string()),
        "TENURE_TOKEN_MAX_LIFETIME" => Some(TOKEN_LIFETIME.to_string()),
        "TENURE_DATABASE_CONNECTIONS" => Some("8".into()),
        _ => None,
    })
}

/// The event store of these settings.
pub async fn open_store(config: &Config) -> anyhow::Result<Store> {
    let eventstore_url = config.eventstore_url.as_ref().map(ExposeSecret::expose_secret);
    Store::open(config.database_url.expose_secret(), eventstore_url, 4).await.context("opening the event store")
}

/// The tenants, read once from the platform's log.
pub struct Reader(Registry);

impl Reader {
    /// Reads them.
    pub async fn of(store: &Store) -> anyhow::Result<Self> {
        const PAGE: usize = 1_000;
        let mut events = Vec::new();
        loop {
            let after = events.last().map_or(Position::ZERO, |event: &RecordedEvent| event.position);
            let page = store.read_log(Registry::platform_scope(), after, PAGE).await.context("reading the platform's log")?;
            let last = page.len() < PAGE;
            events.extend(page);
            if last {
                return Ok(Self(Registry::from_events(&events)));
            }
        }
    }
    /// The tenant with a slug.
    pub fn by_slug(&self, slug: &str) -> Option<Arc<Tenant>> {
        self.0.by_slug(slug)
    }
    /// All of them, by slug.
    pub fn all(&self) -> Vec<Arc<Tenant>> {
        self.0.all()
    }
}

const EVENTSTORE_URL: &str = "url-eventstore";

/// Keeps the address of EventStoreDB, or forgets it.
pub fn keep_eventstore_url(home: &Home, url: Option<&str>) -> anyhow::Result<()> {
    match url {
        Some(url) => home.keep_secret(EVENTSTORE_URL, url).map(drop),
        None => match std::fs::remove_file(home.path("secrets").join(EVENTSTORE_URL)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        },
    }
}

/// How a service is started.
pub fn service(home: &Home, process: Process, ports: &Ports, addresses: &Addresses) -> anyhow::Result<Program> {
    let port = match process {
        Process::CommandApi => ports.command_api,
        Process::QueryApi => ports.query_api,
        Process::Relay => ports.relay,
        Process::Projector => ports.projector,
        Process::Worker => ports.worker,
        Process::Console => ports.console,
        Process::Cli => bail!("`tenure` is no service"),
    };
    let mut env: Vec<(String, std::ffi::OsString)> = vec![("TENURE_LISTEN".into(), format!("127.0.0.1:{port}").into())];
    if let Some(role) = role_of(process) {
        env.push(("TENURE_DATABASE_URL_FILE".into(), url_file(home, role).into()));
        env.push(("TENURE_TOKEN_MAX_LIFETIME".into(), TOKEN_LIFETIME.to_string().into()));
    } else {
        env.push(("TENURE_COMMAND_API_URL".into(), addresses.command_api.clone().into()));
        env.push(("TENURE_QUERY_API_URL".into(), addresses.query_api.clone().into()));
    }
    if let Some(port) = match process {
        Process::CommandApi => Some(ports.command_metrics),
        Process::QueryApi => Some(ports.query_metrics),
        Process::Relay | Process::Projector | Process::Worker | Process::Console | Process::Cli => None,
    } {
        env.push(("TENURE_METRICS_LISTEN".into(), format!("127.0.0.1:{port}").into()));
    }
    if process == Process::CommandApi {
        env.push(("TENURE_IDENTITY_DATABASE_URL_FILE".into(), url_file(home, IDENTITY).into()));
    }
    if process.opens_keys() {
        env.push(("TENURE_MASTER_KEY_FILE".into(), master_key(home).into()));
    }
    if let Some(user) = nats::user_of(process) {
        env.push(("TENURE_NATS_URL".into(), addresses.nats_url.clone().into()));
        if crate::up::given("NATS_URL").is_none() {
            env.push(("TENURE_NATS_USER".into(), user.into()));
            home.secret(&format!("nats-{user}"))?;
            env.push(("TENURE_NATS_PASSWORD_FILE".into(), home.path("secrets").join(format!("nats-{user}")).into()));
        }
    }
    let eventstore_url = home.path("secrets").join(EVENTSTORE_URL);
    if eventstore_url.is_file() && process.has_database() {
        env.push(("TENURE_EVENTSTORE_URL_FILE".into(), eventstore_url.into()));
    }
    Ok(Program {
        name: process.name(),
        path: sibling(process.name())?,
        args: vec![],
        env,
        user: None,
        log: home.path(&format!("log/{}.log", process.name())),
        stop: Signal::TERM,
        grace: Duration::from_secs(15),
        cure: None,
        room: None,
    })
}

/// An executable beside this one.
fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.with_file_name(name);
    if !path.is_file() {
        bail!("{} is not there; build all of it with `cargo build`, or `make up`", path.display());
    }
    Ok(path)
}
