//! `tenure-relay`: publishes what the store holds. A crate of its own because `store` must not depend on `platform`.

use std::time::Duration;

use anyhow::Context as _;
use platform::{
    Config, Process, database,
    health::{self, Check},
    telemetry,
};
use secrecy::ExposeSecret as _;
use store::{
    Store,
    nats::{self, NatsSettings},
    relay::Relay,
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
    let eventstore_url = config.eventstore_url.as_ref().map(secrecy::ExposeSecret::expose_secret);
    let store =
        Store::open(config.database_url.expose_secret(), eventstore_url, STORE_CONNECTIONS).await.context("opening the event store")?;
    let settings = NatsSettings {
        url: config.nats_url.clone().context("TENURE_NATS_URL is required")?,
        credentials: config.nats_user.clone().zip(config.nats_password.as_ref().map(|password| password.expose_secret().to_owned())),
        process: "relay",
    };
    let client = nats::connect(&settings).await?;
    let checks = vec![Check::postgres(pool.clone()), nats_check(client.clone())];
    let relay = tokio::spawn(Relay::new(store, pool, client).run(stop.clone()));
    tracing::info!(listen = %config.listen, "relaying");
    let app = health::router(checks).merge(health::metrics());
    health::serve_beside(relay, config.listen, app, stop, Duration::from_secs(5)).await
}

fn nats_check(client: async_nats::Client) -> Check {
    Check::new("nats", move || {
        let client = client.clone();
        async move {
            anyhow::ensure!(client.connection_state() == async_nats::connection::State::Connected, "not connected");
            Ok(())
        }
    })
}
