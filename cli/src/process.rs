//! Processes by identity: a process id together with the time it started, so that no stranger who got the same number
//! is ever taken for ours.

use std::{process::Command, time::Duration};

use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};
use serde::{Deserialize, Serialize};

/// One process, for as long as it lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The process id.
    pub pid: u32,
    /// When it started, as the kernel writes it.
    pub started: String,
}

impl Identity {
    /// The running process with this id.
    pub fn of(pid: u32) -> Option<Self> {
        start_time(pid).map(|started| Self { pid, started })
    }
    /// This process.
    pub fn own() -> anyhow::Result<Self> {
        Self::of(std::process::id()).ok_or_else(|| anyhow::anyhow!("can't read when this process started"))
    }
    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        start_time(self.pid).is_some_and(|started| started == self.started)
    }
    /// Sends a signal, unless it has gone.
    pub fn signal(&self, signal: Signal) {
        if self.is_alive()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, signal); // It may have gone since.
        }
    }
    /// Asks it to stop, and kills it after `grace`.
    pub async fn stop(&self, signal: Signal, grace: Duration) {
        self.signal(signal);
        if tokio::time::timeout(grace, self.gone()).await.is_err() {
            self.signal(Signal::KILL);
            let _ = tokio::time::timeout(Duration::from_secs(5), self.gone()).await;
        }
    }
    /// Returns once it has gone.
    pub async fn gone(&self) {
        while self.is_alive() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Lets this process, and all that it starts from now on, open as many files as the system lets it. Each connection is one, and
/// so is each table that PostgreSQL has open; what a shell gives is often 1,024.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}

/// When a living process started; zombies count as gone.
#[cfg(target_os = "linux")]
fn start_time(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields after it are state (3rd) and, as 22nd, the start.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    match fields.first() {
        Some(&"Z" | &"X") | None => None,
        Some(_) => fields.get(19).map(|start| (*start).to_owned()),
    }
}
#[cfg(not(target_os = "linux"))]
fn start_time(pid: u32) -> Option<String> {
    let output = Command::new("ps").args(["-o", "stat=,lstart=", "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (state, start) = text.trim().split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| start.trim().to_owned())
}

/// The user and group to run as when we are root: `postgres` where there is one, else `nobody`. `None` when we are not root.
pub fn unprivileged() -> anyhow::Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    for user in ["postgres", "nobody"] {
        let id = |flag: &str| -> Option<u32> {
            let output = Command::new("id").args([flag, user]).output().ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        if let (Some(uid), Some(gid)) = (id("-u"), id("-g"))
            && uid != 0
        {
            return Ok(Some((uid, gid)));
        }
    }
    anyhow::bail!(
        "PostgreSQL never runs as root, and there is neither a user `postgres` nor `nobody`; add one, or run this as another user"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_known_by_number_and_start() {
        let mut child = tokio::process::Command::new("sleep").arg("60").spawn().unwrap();
        let identity = Identity::of(child.id().unwrap()).unwrap();
        assert!(identity.is_alive() && Identity::own().unwrap().is_alive());
        let stranger = Identity { started: "1".into(), ..identity.clone() };
        assert!(!stranger.is_alive());
        stranger.signal(Signal::KILL);
        assert!(child.try_wait().unwrap().is_none(), "a stranger with the same number is left alone");
        let (waited, ()) = tokio::join!(child.wait(), identity.stop(Signal::TERM, Duration::from_secs(5)));
        assert!(!waited.unwrap().success() && !identity.is_alive());
    }
}
