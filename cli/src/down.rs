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
    /// With --wipe, where the data are on servers that were given by DATABASE_URL or EVENTSTORE_URL: give them up. They stay
    /// there, but the only key that opens them is removed with the home
    #[arg(long, requires = "wipe")]
    give_up: bool,
}

/// Services get 15 s, PostgreSQL a minute for its last checkpoint.
const STOP: Duration = Duration::from_secs(100);

/// Runs the command.
pub async fn run(home: &Home, options: &Options, json: bool) -> anyhow::Result<()> {
    if options.wipe && !options.give_up {
        refuse_to_lose_the_key(home)?;
    }
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

/// What is on servers of somebody else's can't be removed here, and would be unreadable for ever.
fn refuse_to_lose_the_key(home: &Home) -> anyhow::Result<()> {
    if let Some(given) = home.settings()?.and_then(|settings| settings.given)
        && (given.database || given.eventstore)
    {
        bail!(
            "the data are on servers that were given by {}, and only {} opens them; keep a copy of it, or add --give-up if those data \
             are not needed any more (they are not removed there)",
            if given.database { "DATABASE_URL" } else { "EVENTSTORE_URL" },
            crate::system::master_key(home).display(),
        );
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::{Given, Ports, Settings};

    #[tokio::test]
    async fn the_only_key_of_data_elsewhere_is_not_removed_in_passing() {
        let root = std::env::temp_dir().join(format!("tenure-down-{}", std::process::id()));
        let home = Home::at(&root).unwrap();
        home.create().unwrap();
        let given = Some(Given { database: true, eventstore: false });
        let ports = Ports::pick().unwrap();
        let settings = Settings { ports, postgres_dir: root.join("pg"), demo_seed: 7, nats_sync_interval: "2m".into(), given };
        home.keep_settings(&settings).unwrap();
        let refused = run(&home, &Options { wipe: true, give_up: false }, true).await.unwrap_err();
        assert!(refused.to_string().contains("DATABASE_URL"), "{refused}");
        assert!(home.root().exists());
        run(&home, &Options { wipe: true, give_up: true }, true).await.unwrap();
        assert!(!home.root().exists());
    }
}
