//! The process: connections, routes, shell.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::FutureExt as _;
use platform::{
    Config, Gate, Process, Registry, Release, TenantPool,
    cursor_key::CursorKey,
    database,
    health::{self, Check},
    http::{Limits, shell},
    registry::LogReader,
};
use secrecy::ExposeSecret as _;
use store::{Probe, Store};
use tokio_util::sync::CancellationToken;

use crate::{App, Fresh, Reads, router};

/// The event store is read for audits and for the registry only.
const STORE_CONNECTIONS: u32 = 4;
/// For what is looked up about a reader, and whether PostgreSQL is there. Those of [`Reads`] come to them.
const OWN_CONNECTIONS: u32 = 2;
/// Requests in flight get this long once the process is told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves until told to stop.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let own = Config { database_connections: OWN_CONNECTIONS.min(config.database_connections), ..config.clone() };
    let pool = database::connect(&own, Process::QueryApi).await?;
    database::refuse_superuser(&pool).await?;
    let release = Release::join(&pool, Process::QueryApi, stop.clone()).await?;
    let store = open_store(&config).await?;
    let registry = Registry::start(log_reader(store.clone())).await.context("reading the platform's log")?;
    let gate = Gate::start(&config, pool.clone(), registry.clone()).await.context("loading the verification keys")?;
    let checks = vec![
        Check::postgres(pool.clone()),
        store_check(store.probe()),
        gate.check(),
        gate.history_check(),
        registry.check(),
        release.check(),
    ];
    let cursors = CursorKey::load(&pool).await.context("reading the cursor key")?;
    let reads = Reads::new(TenantPool::apart(&pool, config.database_connections), store.clone(), cursors);
    let app = router(App { gate, registry, reads, store });
    // A request may wait for its position before its work begins.
    let mut limits = Limits::of(&config);
    limits.timeout += Fresh::MAX_WAIT;
    tracing::info!(listen = %config.listen, "serving queries");
    health::serve_metrics(&config, stop.clone()).await?;
    health::serve(&config, shell(app.merge(health::router(checks)), limits, None), stop, DRAIN).await?;
    release.leave().await
}

async fn open_store(config: &Config) -> anyhow::Result<Store> {
    let eventstore_url = config.eventstore_url.as_ref().map(secrecy::ExposeSecret::expose_secret);
    Store::open(config.database_url.expose_secret(), eventstore_url, STORE_CONNECTIONS).await.context("opening the event store")
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
