//! `tenure-query-api`: serves every read. Settings: [`platform::Config`].

use platform::{Config, Process, health, telemetry};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::load(Process::QueryApi)?;
    let _telemetry = telemetry::init(&config, Process::QueryApi)?;
    query_api::run(config, health::stop_signal()).await
}
