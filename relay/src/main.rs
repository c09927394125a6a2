//! `tenure-relay`: publishes what the store holds. A crate of its own because `store` must not depend on `platform`.

use std::time::Duration;

use anyhow::Context as _;
use platform::{
    Config, Process, Release, database,
    health::{self, Check},
    telemetry,
};
use secrecy::ExposeSecret as _;
use store::{
    Store,
    nats::{self, NatsSettings},
    relay::{Progress, Relay},
};

/// Connections for reading logs; many tenants are relayed at the same time.
const STORE_CONNECTIONS: u32 = 8;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::load(Process::Relay)?;
    let _telemetry = telemetry::init(&config, Process::Relay)?;
    let stop = health::stop_signal();
    let pool = database::connect(&config, Process::Relay).await?;
    database::refuse_superuser(&pool).await?;
    let release = Release::join(&pool, Process::Relay, stop.clone()).await?;
    let eventstore_url = config.eventstore_url.as_ref().map(secrecy::ExposeSecret::expose_secret);
    let store =
        Store::open(config.database_url.expose_secret(), eventstore_url, STORE_CONNECTIONS).await.context("opening the event store")?;
    let settings = NatsSettings {
        url: config.nats_url.clone().context("TENURE_NATS_URL is required")?,
        credentials: config.nats_user.clone().zip(config.nats_password.as_ref().map(|password| password.expose_secret().to_owned())),
        process: "relay",
    };
    let client = nats::connect(&settings).await?;
    let relay = Relay::new(store, pool.clone(), client.clone());
    let checks = vec![
        Check::postgres(pool),
        Check::new("nats", move || std::future::ready(nats::check(&client))),
        relay_check(relay.progress()),
        release.check(),
    ];
    let relay = tokio::spawn(relay.run(stop.clone()));
    tracing::info!(listen = %config.listen, "relaying");
    let app = health::router(checks).merge(health::metrics());
    health::serve_beside(relay, &config, app, stop, Duration::from_secs(5)).await?;
    release.leave().await
}

/// A relay that has failed for a minute is not well, though its servers answer: NATS may have no room for the stream.
fn relay_check(progress: Progress) -> Check {
    Check::new("relay", move || {
        let complaint = progress.complaint();
        async move { complaint.map_or(Ok(()), |why| Err(anyhow::anyhow!(why))) }
    })
}
