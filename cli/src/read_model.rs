//! `tenure read-model`: what can be done to what is only derived.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use events::{TenantId, TenantScope};
use indicatif::ProgressBar;
use platform::{
    Keys, Process, database,
    job::{Kind, Ticket},
};
use projector::{apply::Applier, rebuild::Progress};

use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

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
    /// Try again what was parked: tenants whose read models stand still on an event that could not be projected
    #[command(
        after_help = "A running projector tries it within a second or two, from the event at which the tenant was parked. It is projected then,
or parked again with the reason of this time, and the status is 2. A projector of another build tries by itself.
`tenure status` shows who is parked and why.

Examples:
  tenure read-model resume --tenant acme
  tenure read-model resume --all"
    )]
    Resume {
        /// The tenant's slug
        #[arg(long, value_name = "SLUG", required_unless_present = "all")]
        tenant: Option<String>,
        /// All tenants that are parked
        #[arg(long, conflicts_with = "tenant")]
        all: bool,
    },
}

/// How long a projector may take to try again, before that is left to go on by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the command. True if all that was asked for was done.
pub async fn run(home: &Home, command: Command, json: bool) -> anyhow::Result<bool> {
    let config = system::config(home, Process::Projector)?;
    let pool = database::connect(&config, Process::Cli).await?;
    let store = system::open_store(&config).await?;
    let tenants = Reader::of(&store).await?;
    let named = |slug: &str| {
        tenants
            .by_slug(slug)
            .with_context(|| format!("there is no tenant {slug:?}; `tenure tenant list` shows all"))
            .map(|tenant| tenant.id)
    };
    match command {
        Command::Rebuild { tenant: slug } => {
            let tenant = named(&slug)?;
            let keys = Keys::open(&config, pool.clone()).await?;
            rebuild(Applier::new(pool, 1, store, keys), tenant, &slug, json).await?;
            Ok(true)
        }
        Command::Resume { tenant, .. } => {
            let tenant = tenant.as_deref().map(named).transpose()?;
            let slugs: HashMap<TenantId, String> = tenants.all().into_iter().map(|tenant| (tenant.id, tenant.slug.clone())).collect();
            resume(&pool, tenant, &slugs, json).await
        }
    }
}

async fn rebuild(applier: Applier, tenant: TenantId, slug: &str, json: bool) -> anyhow::Result<()> {
    let bar = output::bar(0, json);
    // An operator at the machine, with the projector's own secrets, asks for this tenant by name.
    let ticket = Ticket::issue(&applier.keys, TenantScope::checked(tenant), Kind::RebuildReadModel, "cli")?;
    let report = projector::rebuild::rebuild(&applier, &ticket, |progress| show(&bar, progress)).await?;
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

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.of);
    bar.set_position(progress.folded);
}

/// What became of a tenant that was to be tried again.
#[derive(Serialize)]
struct Resumed {
    tenant: String,
    outcome: Outcome,
    /// Where it stands still, and why.
    position: Option<i64>,
    reason: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Projected,
    ParkedAgain,
    /// No projector has tried yet, or it is not through.
    Waits,
}

async fn resume(pool: &PgPool, tenant: Option<TenantId>, slugs: &HashMap<TenantId, String>, json: bool) -> anyhow::Result<bool> {
    // A build of no name is another one for every projector.
    let resumed: Vec<(Uuid,)> =
        sqlx::query_as("update platform.parked set build = '' where $1::uuid is null or tenant_id = $1 returning tenant_id")
            .bind(tenant.map(TenantId::uuid))
            .fetch_all(pool)
            .await?;
    let deadline = Instant::now() + PATIENCE;
    let results = loop {
        let parked: Vec<(Uuid, String, i64, String)> =
            sqlx::query_as("select tenant_id, build, position, reason from platform.parked").fetch_all(pool).await?;
        let results: Vec<Resumed> = resumed.iter().map(|(id,)| outcome(*id, &parked, slugs)).collect();
        if results.iter().all(|one| one.outcome != Outcome::Waits) || Instant::now() > deadline {
            break results;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    if json {
        println!("{}", serde_json::json!({ "resumed": results }));
    } else if results.is_empty() {
        println!("nobody to resume: {} parked", tenant.map_or("no tenant is", |_| "the tenant is not"));
    }
    for Resumed { tenant, outcome, position, reason } in results.iter().filter(|_| !json) {
        let at = position.unwrap_or_default();
        match outcome {
            Outcome::Projected => println!("{tenant}: projected again"),
            Outcome::ParkedAgain => println!("{tenant}: parked again at {at}: {}", reason.as_deref().unwrap_or_default()),
            Outcome::Waits => println!("{tenant}: no projector is through with it yet; it goes on by itself where one runs"),
        }
    }
    Ok(results.iter().all(|one| one.outcome == Outcome::Projected))
}

fn outcome(id: Uuid, parked: &[(Uuid, String, i64, String)], slugs: &HashMap<TenantId, String>) -> Resumed {
    let tenant = slugs.get(&TenantId::from_uuid(id)).cloned().unwrap_or_else(|| id.to_string());
    match parked.iter().find(|(parked, ..)| *parked == id) {
        None => Resumed { tenant, outcome: Outcome::Projected, position: None, reason: None },
        Some((_, build, position, reason)) => {
            let outcome = if build.is_empty() { Outcome::Waits } else { Outcome::ParkedAgain };
            Resumed { tenant, outcome, position: Some(*position), reason: Some(reason.clone()) }
        }
    }
}
