//! What a system takes of memory, processor and disk: at rest, under load, per tenant that does nothing; and how soon it is
//! ready.
//!
//! Makes systems of its own by `tenure up` in a folder for temporary files, and removes them. Linux only: everything is read
//! from `/proc` ([`bench::processes`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use bench::{
    Rounds,
    machine::Machine,
    processes::{self, POSTGRES, Snapshot, Usage},
    round,
    up::{Progress, Running, Up},
};
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    signal::unix::{SignalKind, signal},
};

#[derive(Parser)]
#[command(
    about = "What a system takes of memory, processor and disk, and how soon it is ready.",
    after_help = "Starts systems of its own with the `tenure` beside it, under TMPDIR, and removes them. TMPDIR has to be on a disk
(/tmp is memory on some machines), and PostgreSQL's user has to get there. Only Linux tells what this needs.

Memory: RSS is what of a process is present in memory. PSS is the same with what processes share divided among them, so that
only PSS may be added up. PostgreSQL is its main process with all backends: for it RSS counts the shared buffers in each.
The peak is the kernel's (VmHWM), and PostgreSQL's the highest PSS of a look every 5 seconds.
Processor: user and system time over the interval, in cores: 0.5 is half of one core.

Examples:
  resources                                      all questions, some 15 minutes
  resources --only start,binaries                two of them
  resources --only load --users 500 --seconds 120
  resources --only tenants --tenants 1000 --json"
)]
struct Options {
    /// The `tenure` to run, with the services beside it [default: the one beside this program].
    #[arg(long)]
    tenure: Option<PathBuf>,
    /// The `users` to load with [default: the one beside this program].
    #[arg(long)]
    load: Option<PathBuf>,
    /// Which questions.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Question::Binaries, Question::Start, Question::Idle, Question::Load, Question::Tenants])]
    only: Vec<Question>,
    /// How often a system is started, on new data and on old.
    #[arg(long, default_value_t = 3)]
    starts: u32,
    /// Seconds without a request before anything is measured at rest.
    #[arg(long, default_value_t = 30)]
    settle: u64,
    /// Seconds over which the processor's time at rest is taken; PostgreSQL looks for work once a minute.
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// Users of the load.
    #[arg(long, default_value_t = 500)]
    users: u32,
    /// Tenants of the load.
    #[arg(long, default_value_t = 100)]
    user_tenants: u32,
    /// People in each of them.
    #[arg(long, default_value_t = 200)]
    people: u32,
    /// Seconds of load that are measured.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seconds of load before, with the log-ins; they count for the peak of memory alone.
    #[arg(long, default_value_t = 20)]
    warm_up: u64,
    /// Tenants that do nothing.
    #[arg(long, default_value_t = 200)]
    tenants: u32,
    /// A line of JSON per row instead of tables.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Question {
    /// How large are the programs?
    Binaries,
    /// How long until it is ready?
    Start,
    /// What does it take at rest?
    Idle,
    /// What does it take while people work?
    Load,
    /// What does a tenant cost that does nothing?
    Tenants,
}

/// Between two looks at PostgreSQL's memory under load; a look takes time itself.
const LOOK: Duration = Duration::from_secs(5);
/// What setting up the load may take.
const SET_UP: Duration = Duration::from_mins(30);
/// The programs of a system.
const PROGRAMS: [&str; 6] = ["tenure", "tenure-command-api", "tenure-query-api", "tenure-projector", "tenure-relay", "tenure-worker"];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    processes::check()?;
    ensure!(options.starts > 0 && options.idle > 0 && options.seconds > 0, "--starts, --idle and --seconds are at least 1");
    ensure!(options.users > 0 && options.user_tenants > 0 && options.tenants > 0, "--users, --user-tenants and --tenants are at least 1");
    let tenure = beside(options.tenure.as_deref(), "tenure")?;
    let folder = std::env::temp_dir().join(format!("tenure-resources-{}", std::process::id()));
    let bench = Bench { up: Up::new(&tenure, &folder), tenure, options };
    if bench.options.json {
        println!("{}", json!({"bench": "resources", "question": "machine", "machine": Machine::this()}));
    } else {
        println!("{}", Machine::this());
    }
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let outcome = tokio::select! {
        outcome = bench.run() => outcome,
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
    };
    // Whatever came of it, nothing stays; what was asked for comes first in an error.
    let wiped = if folder.exists() { bench.up.wipe().await } else { Ok(()) };
    outcome.and(wiped)
}

/// A program of the same build.
fn beside(given: Option<&Path>, name: &str) -> anyhow::Result<PathBuf> {
    let path = match given {
        Some(path) => path.to_path_buf(),
        None => std::env::current_exe()?.with_file_name(name),
    };
    ensure!(path.is_file(), "{} is not there; build all with `cargo build --release --workspace`, or name it", path.display());
    Ok(path)
}

struct Bench {
    options: Options,
    tenure: PathBuf,
    up: Up,
}

impl Bench {
    async fn run(&self) -> anyhow::Result<()> {
        let asked = |question| self.options.only.contains(&question);
        if asked(Question::Binaries) {
            self.binaries().await?;
        }
        if asked(Question::Start) {
            self.starts().await?;
        }
        if asked(Question::Idle) || asked(Question::Load) {
            let running = self.up.start().await?;
            if asked(Question::Idle) {
                self.idle(&running).await?;
            }
            if asked(Question::Load) {
                self.load(&running).await?;
            }
            self.up.wipe().await?;
        }
        if asked(Question::Tenants) {
            self.tenants().await?;
            self.up.wipe().await?;
        }
        Ok(())
    }

    fn title(&self, text: &str) {
        if !self.options.json {
            println!("\n{text}");
        }
    }

    /// Prints a row for scripts.
    fn line(&self, question: &str, mut line: Value) {
        if self.options.json {
            line["bench"] = "resources".into();
            line["question"] = question.into();
            println!("{line}");
        }
    }

    async fn binaries(&self) -> anyhow::Result<()> {
        self.title("programs, MB");
        if !self.options.json {
            println!("{:<22} {:>9} {:>9}", "program", "as built", "stripped");
        }
        let (mut sum, mut sum_stripped) = (0, Some(0));
        for name in PROGRAMS {
            let path = self.tenure.with_file_name(name);
            let size = fs::metadata(&path).with_context(|| format!("{} is not there", path.display()))?.len();
            let stripped = stripped_size(&path).await?;
            self.program(name, size, stripped);
            sum += size;
            sum_stripped = sum_stripped.zip(stripped).map(|(sum, size)| sum + size);
        }
        self.program("all", sum, sum_stripped);
        if sum_stripped.is_none() {
            eprintln!("without `strip` nothing is known of stripped programs; install binutils");
        }
        Ok(())
    }
    fn program(&self, name: &str, size: u64, stripped: Option<u64>) {
        self.line("binaries", json!({"program": name, "bytes": size, "stripped_bytes": stripped}));
        if !self.options.json {
            let stripped = stripped.map_or_else(|| "-".into(), |bytes| format!("{:.1}", mb(bytes)));
            println!("{name:<22} {:>9.1} {stripped:>9}", mb(size));
        }
    }

    /// From `tenure up --detach` to its return, when all services say that they are ready.
    async fn starts(&self) -> anyhow::Result<()> {
        let (mut new, mut old) = (Rounds::default(), Rounds::default());
        for nth in 1..=self.options.starts {
            eprintln!("start {nth} of {}, on new data and on old", self.options.starts);
            new.push(self.timed_start().await?.1);
            self.up.stop().await?;
            old.push(self.timed_start().await?.1);
            self.up.wipe().await?;
        }
        self.title("from `tenure up --detach --no-demo` to all ready, seconds: median (lowest-highest)");
        for (what, seconds) in [("on new data, with initdb", &new), ("on data that is there", &old)] {
            self.line("start", json!({"what": what, "starts": self.options.starts, "seconds": seconds.json()}));
            if !self.options.json {
                println!("{what:<26} {seconds}");
            }
        }
        Ok(())
    }
    async fn timed_start(&self) -> anyhow::Result<(Running, f64)> {
        let began = Instant::now();
        let running = self.up.start().await?;
        Ok((running, began.elapsed().as_secs_f64()))
    }

    async fn idle(&self, running: &Running) -> anyhow::Result<()> {
        let (before, after) = self.at_rest(running).await?;
        let title = format!("at rest: {} s after the start, processor over {} s", self.options.settle, self.options.idle);
        self.title(&title);
        self.table("idle", &before, &after, None);
        Ok(())
    }
    /// Two moments without a request in between.
    async fn at_rest(&self, running: &Running) -> anyhow::Result<(Snapshot, Snapshot)> {
        eprintln!("at rest for {} s", self.options.settle + self.options.idle);
        tokio::time::sleep(Duration::from_secs(self.options.settle)).await;
        let before = Snapshot::take(&running.pids)?;
        tokio::time::sleep(Duration::from_secs(self.options.idle)).await;
        Ok((before, Snapshot::take(&running.pids)?))
    }

    async fn load(&self, running: &Running) -> anyhow::Result<()> {
        let mut users = self.spawn_users()?;
        let mut said = BufReader::new(users.stdout.take().context("the load has no output")?).lines();
        let begun = tokio::time::timeout(SET_UP, phase(&mut said, "begin")).await;
        begun.with_context(|| format!("the load was not set up within {} s", SET_UP.as_secs()))??;
        let mut pids = running.pids.clone();
        // What the clients take of the same machine.
        pids.insert("(the users' clients)".into(), users.id().context("the load has ended")?);
        processes::forget_peaks(&pids)?;
        let mut peak = 0;
        watch(&pids, Duration::from_secs(self.options.warm_up), &mut peak).await?;
        let before = Snapshot::take(&pids)?;
        watch(&pids, Duration::from_secs(self.options.seconds), &mut peak).await?;
        let after = Snapshot::take(&pids)?;
        peak = peak.max(after.usages.get(POSTGRES).map_or(0, |usage| usage.pss));
        let patience = Duration::from_mins(2);
        let end = tokio::time::timeout(patience, phase(&mut said, "end")).await.context("the load did not end")??;
        let status = tokio::time::timeout(patience, users.wait()).await.context("the load did not end")??;
        ensure!(status.success(), "the load failed ({status}); what it said is above");
        self.title(&format!(
            "{} users over {} tenants with {} people each: {:.0} requests/s, p50 {} ms, p99 {} ms; processor over {} s",
            self.options.users,
            self.options.user_tenants,
            self.options.people,
            end["requests_per_s"].as_f64().unwrap_or_default(),
            end["p50_ms"],
            end["p99_ms"],
            self.options.seconds
        ));
        self.table("load", &before, &after, Some(peak));
        self.line("load", json!({"process": null, "users": end}));
        Ok(())
    }
    fn spawn_users(&self) -> anyhow::Result<Child> {
        let mut command = Command::new(beside(self.options.load.as_deref(), "users")?);
        command.arg("--home").arg(self.up.home()).arg("--tenure").arg(&self.tenure).arg("--json");
        // A little longer than is looked at, so that the last look is at people who work.
        let seconds = self.options.warm_up + self.options.seconds + 3;
        let (users, tenants, people) = (self.options.users, self.options.user_tenants, self.options.people);
        command.args([format!("--users={users}"), format!("--tenants={tenants}"), format!("--people={people}")]);
        command.arg(format!("--seconds={seconds}")).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        command.spawn().context("starting the load")
    }

    /// A row per process; the peak of PostgreSQL where it was watched.
    fn table(&self, question: &str, before: &Snapshot, after: &Snapshot, postgres_peak: Option<u64>) {
        if !self.options.json {
            println!("{:<22} {:>9} {:>9} {:>9} {:>9} {:>9}", "process", "processes", "RSS MB", "PSS MB", "peak MB", "cores");
        }
        let cores = after.cores_since(before);
        let (mut pss, mut busy) = (0, 0.0);
        for (name, usage) in &after.usages {
            let cores = cores.get(name).copied().unwrap_or_default();
            let several = name == POSTGRES;
            let peak = if several { postgres_peak } else { Some(usage.peak) };
            let rss = (!several).then_some(usage.rss);
            let line = json!({"process": name, "processes": usage.processes, "rss_bytes": rss, "pss_bytes": usage.pss, "peak_bytes": peak, "cores": exact(cores)});
            self.line(question, line);
            if !self.options.json {
                let (rss, peak) = (some_mb(rss), some_mb(peak));
                println!("{name:<22} {:>9} {rss:>9} {:>9.1} {peak:>9} {cores:>9.4}", usage.processes, mb(usage.pss));
            }
            if !name.starts_with('(') {
                pss += usage.pss;
                busy += cores;
            }
        }
        self.line(question, json!({"process": "all", "pss_bytes": pss, "cores": exact(busy)}));
        if !self.options.json {
            println!("{:<22} {:>9} {:>9} {:>9.1} {:>9} {busy:>9.4}", "all", "", "", mb(pss), "");
        }
    }

    /// With no tenant, with tenants just made, and with the same after a start.
    async fn tenants(&self) -> anyhow::Result<()> {
        let running = self.up.start().await?;
        let none = self.state(&running).await?;
        let began = Instant::now();
        let count = self.options.tenants;
        let names = (0..count).map(|n| format!("idle-{n}")).collect();
        self.up.tenants(names, Progress::new("tenants", count.into())).await?;
        let took = began.elapsed().as_secs_f64();
        let made = self.state(&running).await?;
        self.up.stop().await?;
        let (running, start) = self.timed_start().await?;
        let again = self.state(&running).await?;
        self.title(&format!(
            "{count} tenants that do nothing, made in {took:.1} s ({:.1}/s); a start with them takes {start:.2} s",
            f64::from(count) / took
        ));
        self.line("tenants", json!({"what": "making", "tenants": count, "seconds": round(took), "start_seconds": round(start)}));
        if !self.options.json {
            println!("{:<34} {:>12} {:>12} {:>12} {:>16} {:>16}", "", "none", "just made", "restarted", "a tenant, made", "restarted");
        }
        for (what, bytes) in DISK {
            self.tenant_row(&format!("disk: {what}"), Unit::Bytes, [&none, &made, &again].map(|state| bytes(&state.disk) as f64));
        }
        let names: BTreeSet<&String> = none.after.usages.keys().collect();
        let of = |state: &State, name: &String| state.after.usages.get(name).copied().unwrap_or_default();
        for name in &names {
            let (what, bytes): (_, fn(Usage) -> u64) = if *name == POSTGRES { ("PSS", |u| u.pss) } else { ("RSS", |u| u.rss) };
            self.tenant_row(&format!("{what}: {name}"), Unit::Bytes, [&none, &made, &again].map(|state| bytes(of(state, name)) as f64));
        }
        let busy = [&none, &made, &again].map(|state| state.after.cores_since(&state.before));
        for name in names {
            self.tenant_row(&format!("cores: {name}"), Unit::Cores, [0, 1, 2].map(|at| busy[at].get(name).copied().unwrap_or_default()));
        }
        Ok(())
    }
    async fn state(&self, running: &Running) -> anyhow::Result<State> {
        let (before, after) = self.at_rest(running).await?;
        Ok(State { before, after, disk: Disk::of(running, self.up.home()).await? })
    }
    fn tenant_row(&self, what: &str, unit: Unit, [none, made, again]: [f64; 3]) {
        let count = f64::from(self.options.tenants);
        let (per_made, per_again) = ((made - none) / count, (again - none) / count);
        if self.options.json {
            let unit = if unit == Unit::Bytes { "bytes" } else { "cores" };
            let figures = [none, made, again, per_made, per_again].map(exact);
            let line = json!({"what": what, "unit": unit, "tenants": self.options.tenants, "none": figures[0], "made": figures[1],
                "restarted": figures[2], "per_tenant_made": figures[3], "per_tenant_restarted": figures[4]});
            self.line("tenants", line);
            return;
        }
        let show = |all: f64| match unit {
            Unit::Bytes => format!("{:.1} MB", all / 1e6),
            Unit::Cores => format!("{all:.4}"),
        };
        let per = |one: f64| match unit {
            Unit::Bytes => format!("{:+.1} kB", one / 1e3),
            Unit::Cores => format!("{:+.1} millionths", one * 1e6),
        };
        println!("{what:<34} {:>12} {:>12} {:>12} {:>16} {:>16}", show(none), show(made), show(again), per(per_made), per(per_again));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Bytes,
    Cores,
}

/// A system at rest.
struct State {
    before: Snapshot,
    after: Snapshot,
    disk: Disk,
}

/// Bytes on disk.
struct Disk {
    /// `pg_database_size`.
    database: u64,
    /// What PostgreSQL's folder takes, without the log of what was written.
    data: u64,
    /// That log; it is as long as the settings let it be, whatever is stored.
    wal: u64,
    /// NATS's folder.
    nats: u64,
}

type OnDisk = (&'static str, fn(&Disk) -> u64);
const DISK: [OnDisk; 4] = [
    ("pg_database_size", |disk| disk.database),
    ("PostgreSQL's folder without WAL", |disk| disk.data),
    ("PostgreSQL's WAL", |disk| disk.wal),
    ("NATS's folder", |disk| disk.nats),
];

impl Disk {
    async fn of(running: &Running, home: &Path) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(&running.database_url).await.context("connecting to the system's database")?;
        sqlx::query("checkpoint").execute(&mut connection).await?;
        let database: i64 = sqlx::query_scalar("select pg_database_size(current_database())").fetch_one(&mut connection).await?;
        let folder: String = sqlx::query_scalar("show data_directory").fetch_one(&mut connection).await?;
        connection.close().await?;
        let folder = PathBuf::from(folder);
        let wal = taken(&folder.join("pg_wal"))?;
        let data = taken(&folder)?.saturating_sub(wal);
        Ok(Self { database: u64::try_from(database)?, data, wal, nats: taken(&home.join("nats"))? })
    }
}

/// Bytes that a folder's files take of the disk; of files that vanish meanwhile, none.
fn taken(folder: &Path) -> anyhow::Result<u64> {
    let mut sum = 0;
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        let entries = match fs::read_dir(&next) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && next != folder => continue,
            Err(error) => return Err(error).with_context(|| format!("{} can't be read", next.display())),
        };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                sum += metadata.blocks() * 512;
            }
        }
    }
    Ok(sum)
}

/// What is left of a program without symbols and line numbers; none where there is no `strip`.
async fn stripped_size(path: &Path) -> anyhow::Result<Option<u64>> {
    let copy = std::env::temp_dir().join(format!("tenure-stripped-{}", std::process::id()));
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&copy).arg(path).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_mins(1), strip.output()).await.context("strip did not end")?;
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        output => output.context("starting strip")?,
    };
    ensure!(output.status.success(), "strip {}: {}", path.display(), String::from_utf8_lossy(&output.stderr).trim());
    let size = fs::metadata(&copy)?.len();
    fs::remove_file(&copy)?;
    Ok(Some(size))
}

/// What the load says when it has come to a phase.
async fn phase(said: &mut tokio::io::Lines<BufReader<ChildStdout>>, phase: &str) -> anyhow::Result<Value> {
    while let Some(line) = said.next_line().await? {
        let line: Value = serde_json::from_str(&line).with_context(|| format!("the load said {line}"))?;
        if line["phase"] == phase {
            return Ok(line);
        }
    }
    anyhow::bail!("the load ended before its {phase}; what it said is above")
}

/// Looks at PostgreSQL's memory for a while.
async fn watch(pids: &BTreeMap<String, u32>, length: Duration, peak: &mut u64) -> anyhow::Result<()> {
    let end = Instant::now() + length;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        tokio::time::sleep(left.min(LOOK)).await;
        if left <= LOOK {
            return Ok(());
        }
        *peak = processes::postgres_pss(pids)?.max(*peak);
    }
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn some_mb(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "-".into(), |bytes| format!("{:.1}", mb(bytes)))
}

/// To a millionth: what one idle tenant costs is small.
fn exact(figure: f64) -> f64 {
    (figure * 1e6).round() / 1e6
}
