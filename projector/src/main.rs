//! `tenure-projector`: keeps every tenant's read model up to date, and makes new tenants ready.

use std::time::Duration;

use anyhow::Context as _;
use futures::FutureExt as _;
use platform::{
    Config, Keys, Process, Registry, Release, database,
    health::{self, Check},
    telemetry,
};
use projector::{apply::Applier, consume::Projector};
use secrecy::ExposeSecret as _;
use store::{
    Store,
    nats::{self, NatsSettings},
};

/// Connections for healing and sweeping.
const STORE_CONNECTIONS: u32 = 6;
/// For leases, new tenants and whether PostgreSQL is there. Those on which events are applied come to them.
const OWN_CONNECTIONS: u32 = 4;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::load(Process::Projector)?;
    let _telemetry = telemetry::init(&config, Process::Projector)?;
    let stop = health::stop_signal();
    let own = Config { database_connections: OWN_CONNECTIONS.min(config.database_connections), ..config.clone() };
    let pool = database::connect(&own, Process::Projector).await?;
    database::refuse_superuser(&pool).await?;
    let release = Release::join(&pool, Process::Projector, stop.clone()).await?;
    let eventstore_url = config.eventstore_url.as_ref().map(secrecy::ExposeSecret::expose_secret);
    let store =
        Store::open(config.database_url.expose_secret(), eventstore_url, STORE_CONNECTIONS).await.context("opening the event store")?;
    let keys = Keys::open(&config, pool.clone()).await?;
    let log = store.clone();
    let reader: platform::registry::LogReader = std::sync::Arc::new(move |seen, limit| {
        let log = log.clone();
        async move { Ok(log.read_log_on(Registry::platform_scope(), seen, limit).await?) }.boxed()
    });
    let registry = Registry::start(reader).await?;
    let settings = NatsSettings {
        url: config.nats_url.clone().context("TENURE_NATS_URL is required")?,
        credentials: config.nats_user.clone().zip(config.nats_password.as_ref().map(|password| password.expose_secret().to_owned())),
        process: "projector",
    };
    let client = nats::connect(&settings).await?;
    let broker = client.clone();
    let nats_check = Check::new("nats", move || std::future::ready(nats::check(&broker)));
    let checks = vec![Check::postgres(pool.clone()), registry.check(), nats_check, release.check()];
    let applier = Applier::new(pool, config.database_connections, store, keys);
    let projector = tokio::spawn(Projector::new(applier, registry, client).run(stop.clone()));
    tracing::info!(listen = %config.listen, "projecting");
    let app = health::router(checks).merge(health::metrics());
    health::serve_beside(projector, &config, app, stop, Duration::from_secs(5)).await?;
    release.leave().await
}
