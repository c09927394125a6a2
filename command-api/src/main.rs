//! `tenure-command-api`: takes every command. Settings: [`platform::Config`].

use platform::{Config, Process, health, telemetry};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::load(Process::CommandApi)?;
    let _telemetry = telemetry::init(&config, Process::CommandApi)?;
    command_api::run(config, health::stop_signal()).await
}
