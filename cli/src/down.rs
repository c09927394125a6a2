//! `tenure down`: stops what `tenure up` started, and removes it if asked to.

use std::{fs, io::ErrorKind, path::Path, time::Duration};

use anyhow::{Context as _, bail};
use rustix::process::Signal;

use crate::{home::Home, system::State};

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Remove all data, keys and settings as well
    #[arg(long)]
    wipe: bool,
}

/// Services get 15 s, PostgreSQL a minute for its last checkpoint.
const STOP: Duration = Duration::from_secs(100);

/// Runs the command.
pub async fn run(home: &Home, options: &Options, json: bool) -> anyhow::Result<()> {
    let mut was_running = false;
    if home.is_running()? {
        let state = State::read(home).context("the supervisor has not written its state yet; try again shortly")?;
        state.supervisor.signal(Signal::TERM);
        if tokio::time::timeout(STOP, state.supervisor.gone()).await.is_err() {
            bail!("the supervisor (process {}) does not stop; see {}", state.supervisor.pid, home.path("log").display());
        }
        was_running = true;
    }
    // A supervisor that was killed leaves processes behind that did not hear of it.
    crate::up::stop_leftovers(home).await;
    if options.wipe {
        wipe(home)?;
    }
    let said = match (was_running, options.wipe) {
        (true, true) => "stopped, and all data removed",
        (false, true) => "all data removed",
        (true, false) => "stopped; the data stays",
        (false, false) => "nothing was running",
    };
    if json {
        println!("{}", serde_json::json!({"stopped": was_running, "wiped": options.wipe}));
    } else {
        println!("{said}");
    }
    Ok(())
}

fn wipe(home: &Home) -> anyhow::Result<()> {
    if !home.root().exists() {
        return Ok(());
    }
    let Some(settings) = home.settings()? else {
        bail!("{} does not look like a home of `tenure up` (it has no config.toml), so it stays", home.root().display());
    };
    remove(&settings.postgres_dir)?;
    remove(home.root())
}

fn remove(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(|| format!("removing {}", dir.display())),
        _ => Ok(()),
    }
}
