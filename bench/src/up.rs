//! A whole system as people run it: what `tenure up` starts, told what to do by `tenure`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, stream};
use serde_json::Value;

/// How long a command of `tenure` may take; a start has three minutes of its own.
const PATIENCE: Duration = Duration::from_mins(4);
/// Invocations of `tenure` at once.
const AT_ONCE: usize = 8;

/// A system in a home, running or not.
#[derive(Debug, Clone)]
pub struct Up {
    tenure: PathBuf,
    home: PathBuf,
}

/// One that runs.
#[derive(Debug, Clone)]
pub struct Running {
    /// Process ids by name; `supervisor` is `tenure up` itself.
    pub pids: BTreeMap<String, u32>,
    /// A superuser's URL of the database.
    pub database_url: String,
}

impl Up {
    /// By this program, in this home.
    pub fn new(tenure: &Path, home: &Path) -> Self {
        Self { tenure: tenure.to_path_buf(), home: home.to_path_buf() }
    }
    /// Where it keeps everything.
    pub fn home(&self) -> &Path {
        &self.home
    }
    /// Starts it without a demo company, with servers of its own; returns once all is ready. It ends with this process.
    pub async fn start(&self) -> anyhow::Result<Running> {
        let own = std::process::id().to_string();
        let said = self.run(&["up", "--detach", "--no-demo", "--until-exit-of", &own]).await?;
        let pids = said["pids"].as_object().with_context(|| format!("tenure up names no processes: {said}"))?;
        let pids = pids.iter().filter_map(|(name, pid)| Some((name.clone(), u32::try_from(pid.as_u64()?).ok()?))).collect();
        let database_url = said["database_url_file"].as_str().context("tenure up names no database")?;
        let database_url = std::fs::read_to_string(database_url).context("the file with the database's URL can't be read")?;
        Ok(Running { pids, database_url })
    }
    /// Stops it.
    pub async fn stop(&self) -> anyhow::Result<()> {
        self.run(&["down"]).await.map(drop)
    }
    /// Stops it and removes its data.
    pub async fn wipe(&self) -> anyhow::Result<()> {
        self.run(&["down", "--wipe"]).await.map(drop)
    }
    /// The base URL of a service.
    pub async fn address(&self, name: &str) -> anyhow::Result<String> {
        let status = self.run(&["status"]).await?;
        let process = status["processes"].as_array().into_iter().flatten().find(|process| process["name"] == name);
        let address = process.and_then(|process| process["address"].as_str());
        Ok(address.with_context(|| format!("{name} does not run; start the system with `tenure up`"))?.to_owned())
    }
    /// Makes tenants with these names; `each` is called with what came of one.
    pub async fn tenants(&self, names: Vec<String>, mut progress: Progress) -> anyhow::Result<()> {
        let create = |name: String| async move { self.tenant(&name).await };
        let mut made = stream::iter(names).map(create).buffer_unordered(AT_ONCE);
        while let Some(outcome) = made.next().await {
            outcome?;
            progress.one_more();
        }
        Ok(())
    }
    /// Makes one.
    pub async fn tenant(&self, name: &str) -> anyhow::Result<()> {
        self.run(&["tenant", "create", "--slug", name, "--name", name]).await.map(drop)
    }
    /// A token for a tenant.
    pub async fn token(&self, tenant: &str, role: &str) -> anyhow::Result<String> {
        let said = self.run(&["token", "--tenant", tenant, "--role", role]).await?;
        Ok(said["token"].as_str().context("no token")?.to_owned())
    }
    /// Runs `tenure` with `--json`; what it printed.
    async fn run(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut command = tokio::process::Command::new(&self.tenure);
        command.arg("--home").arg(&self.home).arg("--json").args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        // Its own servers, whatever the caller's shell has in mind.
        for variable in ["DATABASE_URL", "NATS_URL", "EVENTSTORE_URL"] {
            command.env_remove(variable);
        }
        let output = tokio::time::timeout(PATIENCE, command.output()).await.context("tenure did not end")?;
        let output = output.with_context(|| format!("starting {}; name it with --tenure", self.tenure.display()))?;
        ensure!(output.status.success(), "tenure {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        serde_json::from_slice(&output.stdout).with_context(|| format!("tenure {} printed no JSON", arguments.join(" ")))
    }
}

/// Says on standard error how far something countable is, at most every five seconds.
#[derive(Debug)]
pub struct Progress {
    what: String,
    of: u64,
    done: u64,
    began: Instant,
    said: Instant,
}

impl Progress {
    /// So many of what the words say.
    pub fn new(what: &str, of: u64) -> Self {
        Self { what: what.into(), of, done: 0, began: Instant::now(), said: Instant::now() }
    }
    /// One of them is done.
    pub fn one_more(&mut self) {
        self.more(1);
    }
    /// Some of them are done.
    pub fn more(&mut self, count: u64) {
        self.done += count;
        if self.said.elapsed() > Duration::from_secs(5) || (self.done >= self.of && self.began.elapsed() > Duration::from_secs(5)) {
            self.said = Instant::now();
            let rate = self.done as f64 / self.began.elapsed().as_secs_f64();
            let left = self.of.saturating_sub(self.done) as f64 / rate;
            eprintln!("{}: {} of {}, {rate:.0}/s, {left:.0} s left", self.what, self.done, self.of);
        }
    }
}
