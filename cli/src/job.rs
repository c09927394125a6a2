//! `tenure job`: what the worker has to do, does, and could not do.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use events::TenantScope;
use jiff::Timestamp;
use platform::{Process, ScopedTx, Tenant, database};
use serde::Serialize;
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

use crate::{
    home::Home,
    system::{self, Reader},
};

/// Jobs of one tenant that are listed at most, the newest first.
const LISTED: i64 = 100;

/// What is asked for.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// List jobs, the newest of each tenant first
    #[command(after_help = "Examples:\n  tenure job list --state failed\n  tenure job list --tenant acme --kind reaction --json")]
    List {
        /// Only those of the tenant with this slug
        #[arg(long, value_name = "SLUG")]
        tenant: Option<String>,
        /// Only those that stand here
        #[arg(long)]
        state: Option<State>,
        /// Only those of this kind
        #[arg(long)]
        kind: Option<String>,
    },
    /// Show one job
    Show {
        /// Its id
        id: Uuid,
    },
    /// Have what failed, or was refused, tried again as if it were new
    #[command(after_help = "Examples:\n  tenure job retry 0190a7b2-6c3e-7def-8000-0123456789ab\n  tenure job retry --all-failed")]
    Retry {
        /// Its id
        #[arg(required_unless_present = "all_failed")]
        id: Option<Uuid>,
        /// All that failed, of all tenants
        #[arg(long, conflicts_with = "id")]
        all_failed: bool,
    },
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// It is to be done.
    Waiting,
    /// It is being done.
    Running,
    /// It is done.
    Done,
    /// It was tried as often as may be.
    Failed,
    /// It never succeeds as it is.
    Refused,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

#[derive(FromRow)]
struct Row {
    job_id: Uuid,
    kind: String,
    state: String,
    tries: i32,
    asked_by: String,
    error_code: Option<String>,
    error: Option<String>,
    progress: Option<String>,
    made_at: i64,
    run_at: i64,
    ended_at: Option<i64>,
}

/// A job as it is shown.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the name that scripts read")]
struct Job {
    tenant: String,
    job_id: Uuid,
    kind: String,
    state: String,
    tries: i32,
    asked_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<String>,
    made_at: String,
    /// Not before then.
    run_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
}

/// Runs the command.
pub async fn run(home: &Home, command: Command, json: bool) -> anyhow::Result<()> {
    // An operator at the machine looks at every tenant's jobs, with the worker's own secrets.
    let config = system::config(home, Process::Worker)?;
    let pool = database::connect(&config, Process::Cli).await?;
    let tenants = Reader::of(&system::open_store(&config).await?).await?;
    match command {
        Command::List { tenant, state, kind } => {
            let asked = match tenant {
                Some(slug) => {
                    vec![tenants.by_slug(&slug).with_context(|| format!("there is no tenant {slug:?}; `tenure tenant list` shows all"))?]
                }
                None => tenants.all(),
            };
            let jobs = jobs(&pool, &asked, None, state.map(State::name), kind.as_deref()).await?;
            if json {
                println!("{}", serde_json::json!({ "jobs": jobs }));
            } else {
                jobs.iter().for_each(print);
            }
        }
        Command::Show { id } => match jobs(&pool, &tenants.all(), Some(id), None, None).await?.first() {
            Some(job) if json => println!("{}", serde_json::to_string(job)?),
            Some(job) => print(job),
            None => bail!("there is no job {id}; `tenure job list` shows all, and what was done 30 days ago is forgotten"),
        },
        Command::Retry { id, .. } => {
            let mut retried = Vec::new();
            for tenant in tenants.all() {
                retried.extend(retry(&pool, TenantScope::checked(tenant.id), id).await?);
            }
            if let Some(id) = id.filter(|_| retried.is_empty()) {
                bail!("{id} is no job that failed or was refused; `tenure job list` shows all");
            }
            if json {
                println!("{}", serde_json::json!({ "retried": retried }));
            } else {
                println!("{} to be tried again", retried.len());
            }
        }
    }
    Ok(())
}

fn print(job: &Job) {
    let Job { tenant, job_id, kind, state, tries, made_at, .. } = job;
    println!("{job_id}  {tenant:<24} {kind:<18} {state:<8} {tries:>3} tries  {made_at}");
    if let (Some(code), Some(error)) = (&job.error_code, &job.error) {
        println!("    {code}: {error}");
    }
}

async fn jobs(
    pool: &PgPool,
    tenants: &[Arc<Tenant>],
    id: Option<Uuid>,
    state: Option<&str>,
    kind: Option<&str>,
) -> anyhow::Result<Vec<Job>> {
    let mut all = Vec::new();
    for tenant in tenants {
        let mut tx = ScopedTx::begin(pool, TenantScope::checked(tenant.id)).await?;
        let rows: Vec<Row> = sqlx::query_as(
            "select job_id, kind, state, tries, asked_by, error_code, error, progress, made_at, run_at, ended_at from worker.job
             where tenant_id = $1 and ($2::uuid is null or job_id = $2) and ($3::text is null or state = $3)
                 and ($4::text is null or kind = $4)
             order by made_at desc, job_id limit $5",
        )
        .bind(tenant.id.uuid())
        .bind(id)
        .bind(state)
        .bind(kind)
        .bind(LISTED)
        .fetch_all(tx.conn())
        .await?;
        tx.rollback().await?;
        all.extend(rows.into_iter().map(|row| shown(row, &tenant.slug)));
    }
    Ok(all)
}

fn shown(row: Row, slug: &str) -> Job {
    let instant = |micros: i64| Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |at| at.to_string());
    Job {
        tenant: slug.to_owned(),
        job_id: row.job_id,
        kind: row.kind,
        state: row.state,
        tries: row.tries,
        asked_by: row.asked_by,
        error_code: row.error_code,
        error: row.error,
        progress: row.progress,
        made_at: instant(row.made_at),
        run_at: instant(row.run_at),
        ended_at: row.ended_at.map(instant),
    }
}

/// Lets one job of a tenant wait again that failed or was refused, or all that failed.
async fn retry(pool: &PgPool, scope: TenantScope, id: Option<Uuid>) -> anyhow::Result<Vec<Uuid>> {
    let (tenant, now) = (scope.tenant().uuid(), Timestamp::now().as_microsecond());
    let mut tx = ScopedTx::begin(pool, scope).await?;
    let retried: Vec<Uuid> = sqlx::query_scalar(
        "update worker.job set state = 'waiting', tries = 0, run_at = $3, ended_at = null
         where tenant_id = $1 and (job_id = $2 and state in ('failed', 'refused') or $2::uuid is null and state = 'failed')
         returning job_id",
    )
    .bind(tenant)
    .bind(id)
    .bind(now)
    .fetch_all(tx.conn())
    .await?;
    if !retried.is_empty() {
        sqlx::query(
            "insert into worker.agenda as a (tenant_id, look_at) values ($1, $2)
             on conflict (tenant_id) do update set look_at = least(a.look_at, excluded.look_at)",
        )
        .bind(tenant)
        .bind(now)
        .execute(tx.conn())
        .await?;
    }
    tx.commit().await?;
    Ok(retried)
}
