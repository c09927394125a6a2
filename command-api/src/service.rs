//! The process: connections, routes, shell.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use domain::text::EmailAddress;
use futures::FutureExt as _;
use identity::Logins;
use platform::{
    Config, Gate, Keys, Process, Registry, Release, database,
    health::{self, Check},
    http::{Limits, shell},
    registry::LogReader,
};
use secrecy::ExposeSecret;
use store::{Probe, Store};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    batch::BatchLimits,
    router::{router, strangers},
};

/// A batch in which nothing moves for so long ends.
const IDLE: Duration = Duration::from_mins(1);
/// Requests in flight get this long once the process is told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves until told to stop.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let pool = database::connect(&config, Process::CommandApi).await?;
    database::refuse_superuser(&pool).await?;
    let release = Release::join(&pool, Process::CommandApi, stop.clone()).await?;
    let eventstore = config.eventstore_url.as_ref().map(ExposeSecret::expose_secret);
    let store = Store::open(config.database_url.expose_secret(), eventstore, config.database_connections)
        .await
        .context("opening the event store")?;
    let keys = Keys::open(&config, pool.clone()).await.context("opening the key store")?;
    let registry = Registry::start(log_reader(store.clone())).await.context("reading the platform's log")?;
    let gate = Gate::start(&config, pool.clone(), registry.clone()).await.context("loading the verification keys")?;
    let logins = logins(&config, keys.clone(), gate.clone()).await.context("opening the log-in")?;
    let checks = vec![
        Check::postgres(pool.clone()),
        store_check(store.probe()),
        registry.check(),
        gate.check(),
        gate.history_check(),
        release.check(),
    ];
    let limits = Limits::of(&config);
    let batches = BatchLimits { line: limits.timeout, idle: IDLE, lines: BatchLimits::LINES, stop: stop.clone() };
    let strangers = strangers(gate.clone(), &limits);
    let app = router(App::new(gate, logins, store, keys, release.clone(), pool, batches));
    tracing::info!(listen = %config.listen, "serving commands");
    health::serve_metrics(&config, stop.clone()).await?;
    health::serve(&config, shell(app.merge(health::router(checks)), limits, Some(strangers)), stop, DRAIN).await?;
    release.leave().await
}

/// The log-in, to which addresses are what they are to the domain.
pub async fn logins(config: &Config, keys: Keys, gate: Gate) -> anyhow::Result<Logins> {
    Logins::open(config, keys, gate, |text| EmailAddress::parse(text).map(String::from).map_err(|error| error.to_string())).await
}

fn log_reader(store: Store) -> LogReader {
    Arc::new(move |seen, limit| {
        let store = store.clone();
        async move { Ok(store.read_log_on(Registry::platform_scope(), seen, limit).await?) }.boxed()
    })
}

fn store_check(probe: Probe) -> Check {
    Check::new("event_store", move || {
        let probe = probe.clone();
        async move { Ok(probe.head(Registry::platform_scope()).await.map(drop)?) }
    })
}
