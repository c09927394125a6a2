//! `tenure restored`: the event store was put back, and is to be believed from now on.

use std::{
    io::{BufRead as _, IsTerminal as _, Write as _},
    time::Duration,
};

use anyhow::{Context as _, bail};
use platform::{Process, database};
use serde::Serialize;
use sqlx::PgPool;

use crate::{home::Home, output::Steps, system};

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

/// Until every process has heard that a new epoch is being drawn: each asks once a second, and serves nobody once it could not ask
/// for five.
const HEARD: Duration = Duration::from_secs(6);

/// What was done.
#[derive(Debug, Serialize)]
struct Report {
    /// The number of the new epoch.
    epoch: i64,
    /// What positions, versions and cursors carry from now on.
    tag: String,
    /// Read schemas that were dropped; the projector makes them anew.
    read_schemas: usize,
    /// Tenants that were parked, and are projected again.
    parked: u64,
}

/// Runs the command.
pub async fn run(home: &Home, options: &Options, json: bool) -> anyhow::Result<()> {
    let config = system::config(home, Process::Cli)?;
    let pool = database::connect(&config, Process::Cli).await?;
    if !options.yes {
        confirm()?;
    }
    let mut steps = Steps::new(json);
    steps.begin("no request is served from now on, until this is done");
    sqlx::query("update platform.epoch set changing = true").execute(&pool).await.context("closing the epoch as the owner")?;
    tokio::time::sleep(HEARD).await;
    steps.begin("dropping the read models");
    let read_schemas = drop_read_schemas(&pool).await?;
    steps.begin("drawing a new epoch");
    let (epoch, tag, parked) = draw(&pool).await?;
    steps.end();
    let report = Report { epoch, tag, read_schemas, parked };
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!(
            "epoch {} is drawn: positions now look like {}.17. {} read models are being made anew from the events; `tenure status` shows how far",
            report.epoch, report.tag, report.read_schemas
        );
    }
    Ok(())
}

fn confirm() -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        bail!("this voids every position, version and cursor that clients hold, and rebuilds every read model; add --yes if that is meant");
    }
    eprint!("Every position, version and cursor that clients hold becomes void, and every read model is rebuilt. Go on? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if answer.trim().eq_ignore_ascii_case("y") { Ok(()) } else { bail!("nothing was changed") }
}

/// Drops every read schema, of whatever version, in a transaction of its own. Returns how many there were.
async fn drop_read_schemas(pool: &PgPool) -> anyhow::Result<usize> {
    let sql = "select substring(nspname from 3 for 26)::text, nspname::text from pg_namespace
               where nspname ~ '^t_[a-z2-7]{26}_r[1-9][0-9]{0,5}(_[a-z0-9]{1,12})?$' order by 2";
    let schemas: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(pool).await?;
    for (namespace, schema) in &schemas {
        let dropped = sqlx::query("select platform.drop_read_schema($1, $2)").bind(namespace).bind(schema).execute(pool).await;
        dropped.with_context(|| format!("dropping {schema}; run the command again"))?;
    }
    Ok(schemas.len())
}

/// Begins the next epoch. Its number, its tag, and how many tenants are parked no longer.
async fn draw(pool: &PgPool) -> anyhow::Result<(i64, String, u64)> {
    let mut tx = pool.begin().await?;
    let parked = sqlx::query("delete from platform.parked").execute(&mut *tx).await?.rows_affected();
    let sql =
        "update platform.epoch set number = number + 1, id = gen_random_uuid(), changing = false, drawn_at = now() returning number, tag";
    let (number, tag): (i64, String) = sqlx::query_as(sql).fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok((number, tag, parked))
}
