//! `tenure read-model`: what can be done to what is only derived.

use anyhow::Context as _;
use events::TenantScope;
use indicatif::ProgressBar;
use platform::{
    Keys, Process, database,
    job::{Kind, Ticket},
};
use projector::{apply::Applier, rebuild};

use crate::{
    home::Home,
    output,
    system::{self, Reader},
};

/// What is asked for.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Fold a tenant's whole log into a fresh schema and cut over to it; the old one serves until then
    #[command(after_help = "Needs no service to run, only the database. Killed at any point, the old read model stays.

Example:
  tenure read-model rebuild --tenant acme")]
    Rebuild {
        /// The tenant's slug
        #[arg(long, value_name = "SLUG")]
        tenant: String,
    },
}

/// Runs the command.
pub async fn run(home: &Home, command: Command, json: bool) -> anyhow::Result<()> {
    let Command::Rebuild { tenant: slug } = command;
    let config = system::config(home, Process::Projector)?;
    let pool = database::connect(&config, Process::Cli).await?;
    let store = system::open_store(&config).await?;
    let tenant =
        Reader::of(&store).await?.by_slug(&slug).with_context(|| format!("there is no tenant {slug:?}; `tenure tenant list` shows all"))?;
    let keys = Keys::open(&config, pool.clone()).await?;
    let bar = output::bar(0, json);
    let applier = Applier::new(pool, 1, store, keys);
    // An operator at the machine, with the projector's own secrets, asks for this tenant by name.
    let ticket = Ticket::issue(&applier.keys, TenantScope::checked(tenant.id), Kind::RebuildReadModel, "cli")?;
    let report = rebuild::rebuild(&applier, &ticket, |progress| show(&bar, progress)).await?;
    bar.finish_and_clear();
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!(
            "{slug}: {} events folded into {} rows in {:.1} s ({:.0}/s); the read model stands at {}",
            report.events,
            report.rows,
            report.seconds,
            f64::from(u32::try_from(report.events).unwrap_or(u32::MAX)) / report.seconds,
            report.position
        );
    }
    Ok(())
}

fn show(bar: &ProgressBar, progress: rebuild::Progress) {
    bar.set_length(progress.of);
    bar.set_position(progress.folded);
}
