//! A private PostgreSQL: found, initialized once, run as an unprivileged user, listening on a Unix socket and on 127.0.0.1.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use sqlx::{Connection as _, PgConnection};
use tokio::process::Command;

use crate::{
    home::{private_dir, write_private},
    process::Identity,
    supervisor::{Program, tail},
};

/// To the GNU C library: keep what a statement's plan took for the next one. It would give everything over 128 KiB back to the
/// kernel when a statement ends, and nearly half of the time that a plan takes went to getting it again, page by page.
const KEPT_MEMORY: [(&str, &str); 3] =
    [("MALLOC_TRIM_THRESHOLD_", "8388608"), ("MALLOC_MMAP_THRESHOLD_", "4194304"), ("MALLOC_TOP_PAD_", "1048576")];

/// What a connection may have open of all tenants' tables, if the system lets it.
const FILES: u32 = 10_000;

/// The superuser of a private server.
pub const SUPERUSER: &str = "postgres";
/// The oldest major version that is known to do.
const MIN_MAJOR: u32 = 15;
/// A Unix socket's path ends at 107 bytes, and `/.s.PGSQL.12345` follows the directory.
const SOCKET_DIR_LIMIT: usize = 107 - 16;
/// Setting up and recovering from a crash take this long at most.
const START: Duration = Duration::from_mins(2);

/// PostgreSQL's own cache, in MiB: an eighth of the memory that there is, of the machine or for this container. What is not used
/// of it is not taken.
fn shared_buffers() -> u64 {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let machine = read("/proc/meminfo");
    let machine = machine.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    let container = read("/sys/fs/cgroup/memory.max").trim().parse::<u64>().ok().map(|bytes| bytes / 1024); // or "max"
    let least = machine.into_iter().chain(container).min();
    least.map_or(256, |kib| (kib / 1024 / 8).clamp(256, 4096))
}

/// A private server, running or not.
#[derive(Debug, Clone)]
pub struct Postgres {
    bin: PathBuf,
    dir: PathBuf,
    socket: PathBuf,
    port: u16,
    user: Option<(u32, u32)>,
    access: Access,
    log: PathBuf,
}

/// Who gets in.
#[derive(Debug, Clone)]
pub enum Access {
    /// Who knows a role's password, over the socket or 127.0.0.1. Holds the superuser's.
    Passwords(String),
    /// Who may enter the socket's directory, as any role; nobody over TCP. For tests of what lies behind the log-in.
    Socket,
}

impl Postgres {
    /// A server with its files in `dir`, which is made; `user` as whom it runs when we are root.
    pub fn new(dir: &Path, port: u16, user: Option<(u32, u32)>, access: Access, log: &Path) -> anyhow::Result<Self> {
        private_dir(dir, 0o700)?;
        let dir = dir.canonicalize()?;
        let bin = find_binaries(version_of_data(&dir))?;
        let mut socket = dir.join("socket");
        if socket.as_os_str().len() > SOCKET_DIR_LIMIT {
            socket = PathBuf::from(format!(
                "/tmp/tenure-pg-{port}-{}",
                user.map_or_else(|| rustix::process::geteuid().as_raw(), |(uid, _)| uid)
            ));
        }
        private_dir(&socket, 0o700)?;
        if let Some((uid, gid)) = user {
            for path in [&dir, &socket] {
                chown(path, Some(uid), Some(gid)).with_context(|| format!("giving {} to user {uid}", path.display()))?;
            }
        } else if fs::metadata(&socket)?.uid() != rustix::process::geteuid().as_raw() {
            bail!("{} belongs to another user; remove it", socket.display());
        }
        Ok(Self { bin, dir, socket, port, user, access, log: log.to_path_buf() })
    }
    /// Whether its files have been made.
    pub fn is_initialized(&self) -> bool {
        self.data().join("PG_VERSION").is_file()
    }
    /// Makes its files; whole or not at all.
    pub async fn initialize(&self) -> anyhow::Result<()> {
        let fresh = self.dir.join("data.new");
        if fresh.exists() {
            fs::remove_dir_all(&fresh)?;
        }
        let mut command = self.command("initdb");
        let locale = if cfg!(target_os = "macos") { "C" } else { "C.UTF-8" };
        command.arg("-D").arg(&fresh).args(["-U", SUPERUSER, "-E", "UTF8", "--locale", locale]);
        let password_file = self.dir.join("password");
        match &self.access {
            Access::Socket => drop(command.args(["-A", "trust"])),
            Access::Passwords(superuser) => {
                write_private(&password_file, superuser.as_bytes())?;
                if let Some((uid, gid)) = self.user {
                    chown(&password_file, Some(uid), Some(gid))?;
                }
                command.args(["-A", "scram-sha-256", "--pwfile"]).arg(&password_file);
            }
        }
        let output = tokio::time::timeout(START, command.output()).await;
        let _ = fs::remove_file(&password_file); // Not there with `Access::Socket`.
        let output = output.context("initdb did not end within two minutes")?.context("starting initdb")?;
        if !output.status.success() {
            bail!("initdb failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        fs::rename(&fresh, self.data())?;
        Ok(())
    }
    /// What to run.
    pub fn program(&self) -> Program {
        let (socket, port) = (self.socket.display(), self.port);
        let listen = if matches!(self.access, Access::Socket) { "" } else { "127.0.0.1" };
        let settings = [
            format!("listen_addresses={listen}"),
            format!("port={port}"),
            format!("unix_socket_directories={socket}"),
            "cluster_name=tenure".into(),
            "max_connections=300".into(),
            format!("shared_buffers={}MB", shared_buffers()),
            // A tenant has some 40 tables and indexes, each a file; with 1,000, the default, they are opened and closed all the time.
            format!("max_files_per_process={FILES}"),
            "max_wal_size=4GB".into(),
            "checkpoint_timeout=15min".into(),
            // A tenant's rebuild and a backup touch many schemas in one transaction.
            "max_locks_per_transaction=256".into(),
            "jit=off".into(),
            // The detail of an error repeats the row, which may be personal.
            "log_error_verbosity=terse".into(),
            "log_line_prefix=%m [%p] %u@%d ".into(),
        ];
        let mut args: Vec<OsString> = vec!["-D".into(), self.data().into()];
        args.extend(settings.into_iter().flat_map(|setting| ["-c".into(), OsString::from(setting)]));
        Program {
            name: "postgres",
            path: self.bin.join("postgres"),
            args,
            env: KEPT_MEMORY.map(|(name, value)| (name.to_owned(), value.into())).into(),
            user: self.user,
            log: self.log.clone(),
            stop: Signal::INT, // "fast": ends sessions, writes a checkpoint
            grace: Duration::from_mins(1),
            cure: None,
            room: None,
        }
    }
    /// Stops a server that an earlier run left on these files, and removes a mark of one that has gone, so that a stranger
    /// with the same process id does not keep ours from starting.
    pub async fn clear_leftover(&self) -> anyhow::Result<()> {
        let mark = self.data().join("postmaster.pid");
        let Ok(text) = fs::read_to_string(&mark) else { return Ok(()) };
        let leftover =
            text.lines().next().and_then(|line| line.trim().parse().ok()).filter(|pid| works_in(*pid, &self.data())).and_then(Identity::of);
        match leftover {
            Some(postmaster) => postmaster.stop(Signal::INT, Duration::from_mins(1)).await,
            None => fs::remove_file(&mark)?,
        }
        Ok(())
    }
    /// Returns once it takes connections.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let url = self.url(SUPERUSER, "postgres");
        let deadline = tokio::time::Instant::now() + START;
        loop {
            let error = match tokio::time::timeout(Duration::from_secs(5), PgConnection::connect(&url)).await {
                Ok(Ok(connection)) => return Ok(connection.close().await?),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".into(),
            };
            if tokio::time::Instant::now() > deadline {
                bail!("PostgreSQL does not take connections ({error}); its log {} ends with\n{}", self.log.display(), tail(&self.log, 12));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    /// The superuser's or another role's URL over the Unix socket, without a password for roles.
    pub fn url(&self, role: &str, database: &str) -> String {
        let password = match &self.access {
            Access::Passwords(superuser) if role == SUPERUSER => Some(superuser.as_str()),
            Access::Passwords(_) | Access::Socket => None,
        };
        self.url_with(role, password, database)
    }
    /// A role's URL over the Unix socket.
    pub fn url_with(&self, role: &str, password: Option<&str>, database: &str) -> String {
        let password = password.map(|password| format!(":{password}")).unwrap_or_default();
        format!("postgres://{role}{password}@{}:{}/{database}", encode(self.socket.as_os_str().as_encoded_bytes()), self.port)
    }
    /// Where the Unix socket is; outside of the files where their path is too long.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.stdin(Stdio::null()).kill_on_drop(true);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid).current_dir("/");
        }
        command
    }
}

/// Percent-encodes what may not stand in a URL's host.
fn encode(bytes: &[u8]) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._~".contains(b);
    bytes.iter().map(|b| if plain(b) { char::from(*b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Where a home's PostgreSQL keeps its files: in the home, unless the user that it runs as can't get there.
pub fn place(root: &Path, short_name: &str, user: Option<(u32, u32)>) -> anyhow::Result<PathBuf> {
    let may_enter = |dir: &Path, (uid, gid): (u32, u32)| {
        fs::metadata(dir).is_ok_and(|meta| {
            let bit = if meta.uid() == uid {
                0o100
            } else if meta.gid() == gid {
                0o010
            } else {
                0o001
            };
            meta.mode() & bit != 0
        })
    };
    let real = root.canonicalize()?;
    match user {
        Some(user) if !real.ancestors().all(|dir| may_enter(dir, user)) => Ok(PathBuf::from(format!("/var/lib/tenure-{short_name}"))),
        Some(_) | None => Ok(real.join("pg")),
    }
}

fn version_of_data(dir: &Path) -> Option<u32> {
    fs::read_to_string(dir.join("data/PG_VERSION")).ok()?.trim().parse().ok()
}

/// The folder with `initdb` and `postgres`: of the version that made the data, else the newest.
fn find_binaries(wanted: Option<u32>) -> anyhow::Result<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
    for (parent, below) in [
        ("/usr/lib/postgresql", "bin"),
        ("/opt/homebrew/opt", "bin"),
        ("/usr/local/opt", "bin"),
        ("/usr", "bin"),
        ("/Applications/Postgres.app/Contents/Versions", "bin"),
    ] {
        let children = fs::read_dir(parent).into_iter().flatten().flatten();
        let named = children.filter(|entry| parent != "/usr" || entry.file_name().to_string_lossy().starts_with("pgsql-"));
        folders.extend(named.map(|entry| entry.path().join(below)));
    }
    let found: Vec<(u32, PathBuf)> = folders
        .into_iter()
        .filter(|dir| dir.join("initdb").is_file() && dir.join("postgres").is_file())
        .filter_map(|dir| major_version(&dir).map(|major| (major, dir)))
        .collect();
    let best = match wanted {
        Some(wanted) => found.iter().find(|(major, _)| *major == wanted),
        None => found.iter().max_by_key(|(major, _)| *major).filter(|(major, _)| *major >= MIN_MAJOR),
    };
    match (best, wanted) {
        (Some((_, dir)), _) => Ok(dir.clone()),
        (None, Some(wanted)) => {
            bail!("the data was made by PostgreSQL {wanted}, which is not installed (any more); install postgresql-{wanted}")
        }
        (None, None) => {
            bail!(
                "PostgreSQL {MIN_MAJOR} or newer was not found; install it (Debian, Ubuntu: apt-get install postgresql; macOS: brew install postgresql@16), or set DATABASE_URL to use a server that runs elsewhere"
            )
        }
    }
}

fn major_version(dir: &Path) -> Option<u32> {
    let output = std::process::Command::new(dir.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    // postgres (PostgreSQL) 15.18 (Debian …)
    text.split_whitespace().nth(2)?.split(['.', 'b', 'r']).next()?.parse().ok()
}

#[cfg(target_os = "linux")]
fn works_in(pid: u32, dir: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == dir)
}
#[cfg(not(target_os = "linux"))]
fn works_in(pid: u32, dir: &Path) -> bool {
    let output = std::process::Command::new("ps").args(["-o", "command=", "-p", &pid.to_string()]).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(&*dir.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_s_path_becomes_a_host() {
        assert_eq!(encode(b"/tmp/a b"), "%2Ftmp%2Fa%20b");
    }
}
