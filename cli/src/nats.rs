//! A private NATS server with JetStream on disk, and a user with the least rights for each process that speaks to it.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use platform::Process;
use rustix::process::Signal;
use store::feed::{self, STREAM, SUBJECTS};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpStream,
};

use crate::{
    home::write_private,
    supervisor::{Cure, Program, Room},
};

/// Older servers take settings that matter and ignore them.
const OLDEST: (u32, u32) = (2, 11);

/// Bytes that the disk must have free when the server is started: enough to open the stream and take some minutes of events.
const ROOM: u64 = 64 << 20;
/// What JetStream may take of the disk: twice the stream's own limit. Left to itself, the server takes three quarters of what is
/// free when it starts, which may be nothing, and keeps to that for as long as it runs.
const MAX_STORE: &str = "2GB";

/// A private server, running or not.
#[derive(Debug, Clone)]
pub struct Nats {
    server: PathBuf,
    dir: PathBuf,
    port: u16,
    users: Option<Users>,
    sync_interval: String,
    log: PathBuf,
    /// The port and the path at which it says how it is.
    health: Option<(u16, String)>,
}

/// The passwords of the users.
#[derive(Debug, Clone)]
pub struct Users {
    /// Of `relay`.
    pub relay: String,
    /// Of `projector`.
    pub projector: String,
    /// Of `worker`.
    pub worker: String,
}

impl Nats {
    /// A server with its files in `dir`; without users it lets everybody on this machine in.
    pub fn new(dir: &Path, port: u16, users: Option<Users>, sync_interval: &str, log: &Path) -> anyhow::Result<Self> {
        let server = find_server()?;
        Ok(Self { server, dir: dir.to_path_buf(), port, users, sync_interval: sync_interval.into(), log: log.to_path_buf(), health: None })
    }
    /// Has it say on this port how it is, so that whoever keeps it running can start it again where that mends it: it keeps a
    /// stream closed that it could not write to, however much room the disk has then. Under a path that is a secret,
    /// because it tells more there. Port 0 is none.
    #[must_use]
    pub fn watched(self, port: u16, path: String) -> Self {
        Self { health: (port > 0).then_some((port, path)), ..self }
    }
    /// What to run; writes its configuration.
    pub fn program(&self) -> anyhow::Result<Program> {
        let file = self.dir.join("server.conf");
        write_private(&file, self.configuration().as_bytes())?;
        Ok(Program {
            name: "nats-server",
            path: self.server.clone(),
            args: vec!["-c".into(), file.into()],
            env: vec![],
            user: None,
            log: self.log.clone(),
            stop: Signal::TERM,
            grace: Duration::from_secs(10),
            cure: self
                .health
                .as_ref()
                .map(|(port, path)| Cure { url: format!("http://127.0.0.1:{port}/{path}/healthz"), says: "write error" }),
            room: Some(Room { dir: self.dir.clone(), bytes: ROOM }),
        })
    }
    /// Where it listens.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
    /// Returns once it takes connections.
    pub async fn ready(&self) -> anyhow::Result<()> {
        ready(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).await
    }
    fn configuration(&self) -> String {
        let mut text = configuration("127.0.0.1", self.port, &self.dir.join("jetstream"), &self.sync_interval, self.users.as_ref());
        if let Some((port, path)) = &self.health {
            let _ = write!(text, "http: \"127.0.0.1:{port}\"\nhttp_base_path: \"/{path}\"\n"); // a String takes all
        }
        text
    }
}

/// A server's configuration: where it listens, where its files are, and what each user may do; without users it lets
/// everybody in who reaches it.
pub fn configuration(host: &str, port: u16, store: &Path, sync_interval: &str, users: Option<&Users>) -> String {
    let mut text = format!(
        "# Written by `tenure`.\nhost: {host}\nport: {port}\nserver_name: \"tenure-{port}\"\nmax_payload: 1MB\nwrite_deadline: \"10s\"\n\
         jetstream {{\n  store_dir: {}\n  sync_interval: {}\n  max_memory_store: 64MB\n  max_file_store: {MAX_STORE}\n}}\n",
        quoted(&store.to_string_lossy()),
        quoted(sync_interval)
    );
    if let Some(users) = users {
        text.push_str("authorization {\n  timeout: 5\n  users: [\n");
        user(&mut text, "relay", &users.relay, &relay_subjects());
        user(&mut text, "projector", &users.projector, &projector_subjects());
        user(&mut text, "worker", &users.worker, &worker_subjects());
        text.push_str("  ]\n}\n");
    }
    text
}

/// What the relay may publish to: events, and the calls that make the stream and the consumers of projector and worker, these by
/// name.
fn relay_subjects() -> Vec<String> {
    let stream = [SUBJECTS.to_owned(), format!("$JS.API.STREAM.INFO.{STREAM}"), format!("$JS.API.STREAM.CREATE.{STREAM}")];
    let consumers = (0..feed::PARTITIONS).flat_map(|partition| {
        [feed::consumer(partition), feed::worker_consumer(partition)].map(|name| {
            let made = format!("$JS.API.CONSUMER.CREATE.{STREAM}.{name}.{}", feed::filter(partition));
            [format!("$JS.API.CONSUMER.INFO.{STREAM}.{name}"), made]
        })
    });
    stream.into_iter().chain(consumers.flatten()).collect()
}

/// What the projector may publish to: the calls that read by the consumers that are there, and acknowledgements.
fn projector_subjects() -> Vec<String> {
    vec![format!("$JS.API.CONSUMER.INFO.{STREAM}.*"), format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.*"), format!("$JS.ACK.{STREAM}.>")]
}

/// What the worker may publish to: the calls that read by its own consumers. It acknowledges nothing.
fn worker_subjects() -> Vec<String> {
    let own = (0..feed::PARTITIONS).flat_map(|partition| {
        let name = feed::worker_consumer(partition);
        [format!("$JS.API.CONSUMER.INFO.{STREAM}.{name}"), format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{name}")]
    });
    own.collect()
}

/// The user as whom a process speaks to NATS; none for those that do not.
pub const fn user_of(process: Process) -> Option<&'static str> {
    match process {
        Process::Relay => Some("relay"),
        Process::Projector => Some("projector"),
        Process::Worker => Some("worker"),
        Process::CommandApi | Process::QueryApi | Process::Console | Process::Cli => None,
    }
}

/// A user who may publish to these subjects and hear only what is sent to its own inboxes.
fn user(text: &mut String, name: &str, password: &str, publish: &[String]) {
    let publish: Vec<_> = publish.iter().map(|subject| quoted(subject)).collect();
    let _ = writeln!(
        text,
        "    {{ user: {name}, password: {}, permissions: {{\n        publish: {{ allow: [{}] }}\n        subscribe: {{ allow: [\"_INBOX_{name}.>\"] }} }} }}",
        quoted(password),
        publish.join(", ")
    );
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Returns once the NATS server at an address takes connections; refuses one that is too old or has no JetStream.
async fn ready(address: SocketAddr) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let error = match tokio::time::timeout(Duration::from_secs(2), hello(address)).await {
            Ok(Ok(info)) if info["jetstream"] == true => return Ok(()),
            Ok(Ok(_)) => "JetStream is not up".into(),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "no answer".into(),
        };
        if tokio::time::Instant::now() > deadline {
            bail!("NATS at {address} is not ready: {error}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The server greets with `INFO {…}`.
async fn hello(address: SocketAddr) -> anyhow::Result<serde_json::Value> {
    let mut line = String::new();
    BufReader::new(TcpStream::connect(address).await?).read_line(&mut line).await?;
    Ok(serde_json::from_str(line.strip_prefix("INFO ").context("it is no NATS server")?)?)
}

/// The server's executable: `TENURE_NATS_SERVER`, what `deploy/install-tools.sh` installed, or the one in `PATH`.
fn find_server() -> anyhow::Result<PathBuf> {
    let mut candidates: Vec<PathBuf> = std::env::var_os("TENURE_NATS_SERVER").map(PathBuf::from).into_iter().collect();
    let starts = [std::env::current_dir().ok(), std::env::current_exe().ok()];
    for start in starts.iter().flatten() {
        candidates.extend(start.ancestors().map(|dir| dir.join(".tenure-tools/bin/nats-server")));
    }
    candidates.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths).map(|dir| dir.join("nats-server")));
    candidates.extend(["/opt/homebrew/bin/nats-server", "/usr/local/bin/nats-server", "/usr/sbin/nats-server"].map(PathBuf::from));
    let mut too_old = None;
    for path in candidates.into_iter().filter(|path| path.is_file()) {
        match version(&path) {
            Some(found) if found >= OLDEST => return Ok(path),
            Some(found) => too_old = Some((path, found)),
            None => {}
        }
    }
    let how = "run `make tools`, or set TENURE_NATS_SERVER to the executable, or NATS_URL to a server that runs elsewhere";
    match too_old {
        Some((path, (major, minor))) => bail!(
            "{} is NATS {major}.{minor}, which takes settings that it ignores; {}.{} or newer is needed: {how}",
            path.display(),
            OLDEST.0,
            OLDEST.1
        ),
        None => bail!("the NATS server was not found: {how}"),
    }
}

fn version(path: &Path) -> Option<(u32, u32)> {
    let output = std::process::Command::new(path).arg("--version").output().ok()?;
    parse_version(&String::from_utf8(output.stdout).ok()?)
}

/// `nats-server: v2.15.1`
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.rsplit_once('v')?.1.trim().split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(parse_version("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(parse_version("nats-server: v2.9.0-beta"), Some((2, 9)));
        assert_eq!(parse_version("something else"), None);
    }

    #[test]
    fn no_user_hears_or_says_more_than_its_part() {
        let nats = Nats {
            server: "nats-server".into(),
            dir: "/x".into(),
            port: 1,
            users: Some(Users { relay: "r".into(), projector: "p".into(), worker: "w".into() }),
            sync_interval: "2m".into(),
            log: "/x/log".into(),
            health: None,
        };
        let text = nats.configuration();
        let (relay, others) = text.split_once("user: projector").unwrap();
        let (projector, worker) = others.split_once("user: worker").unwrap();
        assert!(relay.contains("\"hr.>\"") && !others.contains("\"hr.>\""));
        assert!(!worker.contains("CREATE") && !worker.contains("STREAM.") && !worker.contains("$JS.ACK") && !worker.contains("HR.*"));
        assert!(!projector.contains("CREATE") && !projector.contains("STREAM.") && !relay.contains("$JS.ACK"));
        assert!(!text.contains("\">\"") && !text.contains("$JS.API.>"));
    }
}
