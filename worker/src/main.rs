//! `tenure-worker`: announces what took effect, sends reactions, runs jobs.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream;
use execution::Executor;
use futures::FutureExt as _;
use jiff::Timestamp;
use platform::{
    Config, Keys, Process, Registry, Release, database,
    health::{self, Check},
    telemetry,
};
use secrecy::ExposeSecret as _;
use store::{
    Store,
    nats::{self, NatsSettings},
};
use worker::{
    Turns,
    mail::{MailSettings, Mailer},
    mails::Mails,
    process::Worker,
};

/// Connections to the event store.
const STORE_CONNECTIONS: u32 = 6;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::load(Process::Worker)?;
    let _telemetry = telemetry::init(&config, Process::Worker)?;
    let mailer = MailSettings::of(&config)?.map(Mailer::new).transpose()?;
    let stop = health::stop_signal();
    let pool = database::connect(&config, Process::Worker).await?;
    database::refuse_superuser(&pool).await?;
    let release = Release::join(&pool, Process::Worker, stop.clone()).await?;
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
        process: "worker",
    };
    let client = nats::connect(&settings).await?;
    let executor = Executor::new(store.clone(), keys.clone(), registry.clone(), release.clone(), pool.clone());
    let react_from = tables_made_at(&pool).await.context("reading when the worker's tables were made")?;
    let turns = Turns::new(
        pool.clone(),
        store.clone(),
        keys,
        registry.clone(),
        executor,
        jetstream::new(client.clone()),
        Mails::new(mailer),
        react_from,
    );
    let worker = Worker::new(turns);
    let checks = vec![
        Check::postgres(pool),
        event_store_check(&store),
        registry.check(),
        Check::new("nats", move || std::future::ready(nats::check(&client))),
        worker.check(),
        release.check(),
    ];
    let working = tokio::spawn(worker.run(stop.clone()));
    tracing::info!(listen = %config.listen, "working");
    let app = health::router(checks).merge(health::metrics());
    health::serve_beside(working, &config, app, stop, Duration::from_secs(10)).await?;
    release.leave().await
}

/// When the worker's tables were made: what was recorded before is not reacted to.
async fn tables_made_at(pool: &sqlx::PgPool) -> anyhow::Result<Timestamp> {
    let made_at: i64 = sqlx::query_scalar(
        "select (extract(epoch from applied_at) * 1000000)::bigint from platform.migration where name = 'platform/0024_worker.sql'",
    )
    .fetch_one(pool)
    .await?;
    Ok(Timestamp::from_microsecond(made_at)?)
}

fn event_store_check(store: &Store) -> Check {
    let probe = store.probe();
    Check::new("event_store", move || {
        let probe = probe.clone();
        async move { Ok(probe.head(Registry::platform_scope()).await.map(drop)?) }
    })
}
