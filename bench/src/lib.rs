//! Benchmarks against peers and limits, measured in the same run.

pub mod careers;
pub mod copy;
pub mod crud;
pub mod load;
pub mod machine;
pub mod processes;
pub mod record;
pub mod system;
pub mod up;

use std::{fmt, future::Future};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use sqlx::{Connection as _, Executor as _, PgConnection, postgres::PgConnectOptions};
use uuid::Uuid;

/// Runs `work` in a database of its own on the server of `url` (a superuser's), and drops it afterwards. A server that does
/// not wait for the disk is refused: a comparison of what is not durable says nothing.
pub async fn in_database<W: Future<Output = anyhow::Result<()>>>(
    url: &str,
    what: &str,
    work: impl FnOnce(PgConnectOptions) -> W,
) -> anyhow::Result<()> {
    let server: PgConnectOptions = url.parse().context("the URL is no PostgreSQL URL")?;
    let mut admin = PgConnection::connect_with(&server).await.context("connecting to the server")?;
    for setting in ["fsync", "synchronous_commit"] {
        let value: String = sqlx::query_scalar(&format!("show {setting}")).fetch_one(&mut admin).await?;
        ensure!(value == "on", "{setting} is {value}; start PostgreSQL with {setting}=on");
    }
    let name = format!("bench_{what}_{}", Uuid::now_v7().simple());
    admin.execute(format!("create database {name}").as_str()).await?;
    let outcome = work(server.clone().database(&name)).await;
    admin.close().await?;
    let mut admin = PgConnection::connect_with(&server).await?;
    admin.execute(format!("drop database {name} with (force)").as_str()).await?;
    // The roles of its tenants outlive a database; those of other databases can't be dropped, and stay.
    let roles: Vec<String> =
        sqlx::query_scalar("select rolname::text from pg_roles where rolname ~ '^[tw]_[a-z0-9]{10,}$'").fetch_all(&mut admin).await?;
    for role in roles {
        let _ = admin.execute(format!("drop role \"{role}\"").as_str()).await;
    }
    outcome
}

/// What several rounds came to.
#[derive(Debug, Clone, Default)]
pub struct Rounds(Vec<f64>);

impl Rounds {
    /// Adds a round.
    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
        self.0.sort_unstable_by(f64::total_cmp);
    }
    /// The one in the middle; NaN where there is none.
    pub fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or(f64::NAN)
    }
    /// As JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({"median": round(self.median()), "low": self.0.first().copied().map(round), "high": self.0.last().copied().map(round)})
    }
}

/// Median, lowest and highest, for a ratio.
impl fmt::Display for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.first(), self.0.last()) {
            (Some(low), Some(high)) => f.pad(&format!("{:.2} ({low:.2}-{high:.2})", self.median())),
            _ => f.pad("-"),
        }
    }
}

/// To three digits after the point: nothing here is more exact.
pub fn round(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// Times in microseconds, up to a minute.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are valid")
}

/// A quantile of such times in milliseconds.
pub fn ms(times: &Histogram<u64>, quantile: f64) -> f64 {
    round(times.value_at_quantile(quantile) as f64 / 1000.0)
}

/// Cores of this machine.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Forgets the peak so far; Linux only.
pub fn forget_peak_memory() {
    let _ = std::fs::write("/proc/self/clear_refs", "5"); // Elsewhere the peak is of the whole run, or not known.
}

/// The most memory that this process has had, in MB; Linux only.
pub fn peak_memory_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? / 1024)
}
