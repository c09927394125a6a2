//! `tenure-console`: the web console and its backend. Settings: [`platform::Config`].

use platform::{Config, Process, health, telemetry};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::load(Process::Console)?;
    let _telemetry = telemetry::init(&config, Process::Console)?;
    console::run(config, health::stop_signal()).await
}
