//! `tenure import`: plays a history in as commands, in date order. Ids and keys follow from the rows, so what is stopped
//! and started again, or run twice, doubles nothing.
//!
//! Of careers, [`careers`] reads and checks the files, [`facts`] makes commands of them, and this sends them. Leave comes from
//! spreadsheets ([`sheet`]) with a row per command, by [`leave`].

mod careers;
mod facts;
mod leave;
mod sheet;

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use platform::auth::TokenRequest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    api::{Api, Endpoints, Tenant},
    batch::{self, Line, Outcome},
    home::Home,
    output,
    system::TOKEN_LIFETIME,
    token,
};
use careers::History;
use facts::{Counts, Plan};

/// What is imported.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Careers: who was hired when, and every change of pay, department and title until they left
    #[command(
        after_help = "DIR holds department.csv, employee.csv, salary.csv, dept_emp.csv and title.csv; intervals are half-open, and the date
9999-01-01 means `still`. Rows that can't be used are named and left out. Stopped and started again it goes on where
it was; run twice it changes nothing.

Example:
  tenure tenant create --slug acme --name Acme
  tenure import employees --tenant acme ./history"
    )]
    Employees(Options),
    /// Balances of leave from an earlier system, as CSV
    #[command(
        after_help = "FILE has the columns employee_number, leave_type (its code), effective_on, amount, and perhaps ends_on and reason. Rows that
can't be used are named by their line and left out. Run twice it changes nothing; a row that was changed since is refused,
because what was recorded is not edited: adjust the account instead.

Example:
  tenure import leave-balances --tenant acme --dry-run balances.csv"
    )]
    LeaveBalances(leave::SheetOptions),
    /// Requests for leave from an earlier system, as CSV
    #[command(
        after_help = "FILE has the columns employee_number, leave_type (its code), first_day, last_day, status (pending or approved), and perhaps
part (whole, morning or afternoon) and note. Load the balances first: a request that the balance does not cover is refused.

Example:
  tenure import leave-requests --tenant acme requests.csv"
    )]
    LeaveRequests(leave::SheetOptions),
    /// The holidays of a country, or of a file
    #[command(
        after_help = "Holidays of many countries and of some of their parts come with this program; a year that is loaded replaces what the
calendar knew of it. Requests that touch a day that changes are costed anew.

Examples:
  tenure import holidays --tenant acme --calendar AT --place AT --years 2026-2028
  tenure import holidays --tenant acme --calendar HQ --file holidays.csv
  tenure import holidays --tenant acme --calendar x --list"
    )]
    Holidays(leave::HolidayOptions),
}

/// From where, for whom.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The tenant's slug
    #[arg(long, value_name = "SLUG")]
    tenant: String,
    /// How many connections to send on; each person's history stays on one
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=8), value_name = "NUMBER")]
    connections: u16,
    /// The folder with the CSV files
    dir: PathBuf,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    tenant: String,
    facts: u64,
    #[serde(flatten)]
    counts: Counts,
    /// Recorded now.
    applied: u64,
    /// Recorded by an earlier run.
    replayed: u64,
    /// Refused by a rule.
    failed: u64,
    /// Rows left out before sending.
    skipped: u64,
    problems: Vec<String>,
    /// Where all of them stand, of this run and of those that it goes on from.
    problems_file: Option<PathBuf>,
    seconds: f64,
    per_second: f64,
}

/// How many problems a report lists, and a screen shows. A file has all of them.
const LISTED: usize = 1_000;
const SHOWN: usize = 20;

/// Runs the command. True if nothing had to be left out.
pub async fn run(home: &Home, endpoints: &Endpoints, command: Command, json: bool) -> anyhow::Result<bool> {
    match command {
        Command::Employees(options) => employees(home, endpoints, options, json).await,
        Command::LeaveBalances(options) => leave::balances(home, endpoints, options, json).await,
        Command::LeaveRequests(options) => leave::requests(home, endpoints, options, json).await,
        Command::Holidays(options) => leave::holidays(home, endpoints, options, json).await,
    }
}

/// The APIs, with a token for a tenant that is ready.
async fn connect(home: &Home, endpoints: &Endpoints, slug: &str) -> anyhow::Result<(Api, Tenant)> {
    let tenant = Api::operator(home, endpoints).await?.tenant(slug).await?;
    if tenant.state != "ready" {
        bail!("the tenant {} is {}; only a ready one takes commands", tenant.slug, tenant.state);
    }
    let token = TokenRequest {
        subject: "import".into(),
        tenant: tenant.tenant_id,
        slug: tenant.slug.clone(),
        roles: vec!["hr".into()],
        employee: None,
        session: None,
        lifetime_s: TOKEN_LIFETIME,
    };
    Ok((Api::for_long(home, endpoints, token::issue(home, token).await?)?, tenant))
}

async fn employees(home: &Home, endpoints: &Endpoints, options: Options, json: bool) -> anyhow::Result<bool> {
    let history = History::read(&options.dir)?;
    let (api, tenant) = connect(home, endpoints, &options.tenant).await?;
    let plan = Plan::of(&history, tenant.tenant_id.uuid(), usize::from(options.connections));
    let import = Import::new(home, api, tenant, &options, &plan, json)?;
    for bad in &history.bad {
        import.problem(bad.to_string());
    }
    let report = import.run(&plan, history.bad.len() as u64).await?;
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    Ok(report.failed + report.skipped == 0)
}

fn print(report: &Report) {
    let Counts { hires, pay_changes, transfers, title_changes, terminations, .. } = report.counts;
    println!(
        "{} facts in {:.1} s ({:.0}/s): {hires} hires, {pay_changes} pay changes, {transfers} transfers, {title_changes} title changes, {terminations} terminations",
        report.facts, report.seconds, report.per_second
    );
    println!("{} recorded now, {} before, {} refused, {} rows left out", report.applied, report.replayed, report.failed, report.skipped);
    if let Some(file) = &report.problems_file {
        println!("what was refused or left out, by file and line: {}", file.display());
    }
}

/// An import under way.
struct Import {
    home: Home,
    api: Api,
    tenant: Tenant,
    bar: ProgressBar,
    json: bool,
    applied: AtomicU64,
    replayed: AtomicU64,
    failed: AtomicU64,
    problems: Mutex<Vec<String>>,
    problems_file: PathBuf,
    progress_file: String,
    progress: Mutex<Progress>,
}

/// How many facts of each lane have their answers; kept so that a second start need not send them again.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Progress {
    lanes: Vec<usize>,
}

impl Import {
    fn new(home: &Home, api: Api, tenant: Tenant, options: &Options, plan: &Plan<'_>, json: bool) -> anyhow::Result<Self> {
        // Another file, tenant or number of lanes starts from the beginning.
        let mut hash = Sha256::new();
        hash.update(format!("{}/{}/", tenant.tenant_id, options.connections));
        plan.history.files.iter().for_each(|file| hash.update(file));
        let name = format!("import-{}", data_encoding::HEXLOWER.encode(&hash.finalize()[..8]));
        let (progress_file, problems_file) = (format!("{name}.json"), home.path("log").join(format!("{name}.problems")));
        let progress = home.read_run(&progress_file).filter(|p: &Progress| p.lanes.len() == plan.lanes.len());
        let progress = progress.unwrap_or_else(|| Progress { lanes: vec![0; plan.lanes.len()] });
        if !home.path("run").is_dir() || !home.path("log").is_dir() {
            home.create()?;
        }
        if progress.lanes.iter().all(|done| *done == 0) {
            let _ = std::fs::remove_file(&problems_file); // Of an earlier import.
        }
        Ok(Self {
            home: home.clone(),
            api,
            tenant,
            bar: output::bar(plan.counts.facts(), json),
            json,
            applied: AtomicU64::new(0),
            replayed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            problems: Mutex::default(),
            problems_file,
            progress_file,
            progress: Mutex::new(progress),
        })
    }

    async fn run(self, plan: &Plan<'_>, skipped: u64) -> anyhow::Result<Report> {
        let started = Instant::now();
        let organization = plan.organization();
        batch::send(&self.api, &organization, |_, outcome| {
            if let Outcome::Refused(reason) = outcome {
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.problem(format!("departments and jobs: {reason}"));
            }
        })
        .await?;
        let lanes = (0..plan.lanes.len()).map(|lane| self.lane(plan, lane));
        futures::future::try_join_all(lanes).await?;
        self.bar.finish_and_clear();
        // The next run is to look at everything again.
        let _ = std::fs::remove_file(self.home.path("run").join(&self.progress_file));
        let (seconds, facts) = (started.elapsed().as_secs_f64(), plan.counts.facts());
        Ok(Report {
            tenant: self.tenant.slug,
            facts,
            counts: plan.counts.clone(),
            applied: self.applied.into_inner(),
            replayed: self.replayed.into_inner(),
            failed: self.failed.into_inner(),
            skipped,
            problems: self.problems.into_inner().unwrap_or_else(PoisonError::into_inner),
            problems_file: Some(self.problems_file).filter(|file| file.exists()),
            seconds,
            per_second: f64::from(u32::try_from(facts).unwrap_or(u32::MAX)) / seconds,
        })
    }

    /// Some of the people, each with the whole of their history, in date order.
    async fn lane(&self, plan: &Plan<'_>, lane: usize) -> anyhow::Result<()> {
        let facts = &plan.lanes[lane];
        let mut done = self.progress.lock().unwrap_or_else(PoisonError::into_inner).lanes[lane].min(facts.len());
        self.replayed.fetch_add(done as u64, Ordering::Relaxed);
        self.bar.inc(done as u64);
        while done < facts.len() {
            let some = &facts[done..facts.len().min(done + batch::REQUEST_LINES)];
            let lines: Vec<Line> = some.iter().map(|fact| plan.line(fact)).collect();
            batch::send(&self.api, &lines, |n, outcome| {
                match outcome {
                    Outcome::Applied => drop(self.applied.fetch_add(1, Ordering::Relaxed)),
                    Outcome::Replayed => drop(self.replayed.fetch_add(1, Ordering::Relaxed)),
                    Outcome::Refused(reason) => {
                        self.failed.fetch_add(1, Ordering::Relaxed);
                        self.problem(format!("{}: {reason}", plan.source(&some[n])));
                    }
                }
                self.bar.inc(1);
            })
            .await?;
            done += some.len();
            let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            progress.lanes[lane] = done;
            self.home.write_run(&self.progress_file, &*progress).context("keeping the import's progress")?;
        }
        Ok(())
    }

    fn problem(&self, text: String) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        let file = OpenOptions::new().create(true).append(true).open(&self.problems_file);
        let kept = file.and_then(|mut file| writeln!(file, "{text}"));
        if !self.json && (problems.len() < SHOWN || kept.is_err()) {
            self.bar.suspend(|| eprintln!("{text}"));
        } else if !self.json && problems.len() == SHOWN {
            self.bar.suspend(|| eprintln!("more problems follow; all of them are in {}", self.problems_file.display()));
        }
        if problems.len() < LISTED {
            problems.push(text);
        }
    }
}
