//! Starts processes, keeps them running and stops them in order.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::process::Identity;

/// What to run.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its name for people.
    pub name: &'static str,
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// What is set in its environment.
    pub env: Vec<(String, OsString)>,
    /// User and group, where they are not ours.
    pub user: Option<(u32, u32)>,
    /// Where its output goes.
    pub log: PathBuf,
    /// The signal that asks it to stop in good order.
    pub stop: Signal,
    /// How long it may take for that.
    pub grace: Duration,
    /// What it says of itself when only a new start mends it.
    pub cure: Option<Cure>,
    /// Room on the disk without which it is not started.
    pub room: Option<Room>,
}

/// Free bytes that a folder's file system must have before a program is started. For those that look at the disk once, when they
/// start, and keep to what they saw.
#[derive(Debug, Clone)]
pub struct Room {
    /// The folder, which is there.
    pub dir: PathBuf,
    /// Bytes that a user without privileges may take.
    pub bytes: u64,
}

impl Room {
    /// Why the program has to wait; none if there is room, or where nobody can tell.
    fn lacks(&self) -> Option<String> {
        let disk = rustix::fs::statvfs(&self.dir).ok()?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let megabytes = |bytes: u64| bytes >> 20;
        (free < self.bytes).then(|| {
            format!(
                "waits for room: the disk under {} has {} MB free of the {} MB needed",
                self.dir.display(),
                megabytes(free),
                megabytes(self.bytes)
            )
        })
    }
}

/// Where a program says how it is, and what it says there, with status 503, when it has to be started again.
#[derive(Debug, Clone)]
pub struct Cure {
    /// The URL.
    pub url: String,
    /// A part of the answer.
    pub says: &'static str,
}

/// How often a program is asked how it is.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// How often in a row it has to say that it is not well.
const ASK_TIMES: u32 = 3;

/// How often it is looked whether the disk has room again.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(500);

impl Program {
    /// Starts it: in a process group of its own (Ctrl-C is for the supervisor), and to be stopped by the kernel if the
    /// supervisor is killed, where the system can do that.
    ///
    /// The kernel watches the thread that calls this: it has to live as long as the program should.
    pub fn spawn(&self) -> anyhow::Result<Child> {
        let mut command = match die_with_parent(self.stop) {
            Some(mut wrapper) => {
                wrapper.arg(&self.path);
                wrapper
            }
            None => Command::new(&self.path),
        };
        let log = open_log(&self.log)?;
        command.args(&self.args).envs(self.env.iter().map(|(k, v)| (k, v))).stdin(Stdio::null()).process_group(0);
        command.stdout(log.try_clone()?).stderr(log);
        if let Some((uid, gid)) = self.user {
            // Its working directory must be one that the other user may enter.
            command.uid(uid).gid(gid).current_dir("/");
        }
        command.spawn().with_context(|| format!("starting {} ({})", self.name, self.path.display()))
    }
    /// The last lines that it wrote.
    pub fn last_words(&self) -> String {
        tail(&self.log, 12)
    }
}

/// `setpriv` (util-linux) asks the kernel to signal the program when its parent dies; then it becomes the program.
fn die_with_parent(signal: Signal) -> Option<Command> {
    let path = ["/usr/bin/setpriv", "/bin/setpriv"].into_iter().map(Path::new).find(|path| path.is_file())?;
    let name = if signal == Signal::INT { "INT" } else { "TERM" };
    let mut command = Command::new(path);
    command.args(["--pdeathsig", name, "--"]);
    Some(command)
}

/// The longest a log grows before it is set aside, once, as `.1`.
const LOG_LIMIT: u64 = 32 << 20;

fn open_log(path: &Path) -> anyhow::Result<File> {
    rotate(path);
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).with_context(|| format!("opening the log {}", path.display()))
}

/// Writers append, so they go on at the start of a file that was cut.
fn rotate(path: &Path) {
    if fs::metadata(path).is_ok_and(|meta| meta.len() > LOG_LIMIT)
        && fs::copy(path, path.with_extension("log.1")).is_ok()
        && let Ok(file) = OpenOptions::new().write(true).open(path)
    {
        let _ = file.set_len(0); // Tried again at the next look.
    }
}

/// The last lines of a file.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(16 << 10)..]);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A program that is kept running.
pub struct Kept {
    /// What runs.
    pub program: Program,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Who runs now, how often each one had to be started again, and what to do when that changes.
#[derive(Clone)]
pub struct Roster {
    runs: Arc<Mutex<Runs>>,
    changed: Arc<dyn Fn(&Runs) + Send + Sync>,
}

/// How each program fares, by name.
pub type Runs = BTreeMap<&'static str, Run>;

/// How a program fares.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// The process, while there is one.
    pub identity: Option<Identity>,
    /// How often it ended without being asked to.
    pub deaths: u32,
    /// How it ended last.
    pub last_exit: Option<String>,
    /// Why it is not started yet.
    pub waits: Option<String>,
}

impl Roster {
    /// A roster that tells `changed` about every start and end.
    pub fn new(changed: impl Fn(&Runs) + Send + Sync + 'static) -> Self {
        Self { runs: Arc::default(), changed: Arc::new(changed) }
    }
    /// How a program fares.
    pub fn run(&self, name: &str) -> Run {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }
    fn update(&self, name: &'static str, change: impl FnOnce(&mut Run)) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        change(runs.entry(name).or_default());
        (self.changed)(&runs);
    }
    /// Keeps a program running until [`Kept::stop`]. Call it from the thread that lives longest.
    pub fn keep(&self, program: Program) -> Kept {
        let stop = CancellationToken::new();
        let task = tokio::spawn(keep(program.clone(), self.clone(), stop.clone()));
        Kept { program, stop, task }
    }
}

impl Kept {
    /// Stops it in good order, then by force.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await; // A panic there was reported there.
    }
}

async fn keep(program: Program, roster: Roster, stop: CancellationToken) {
    let mut backoff = Backoff::default();
    while !stop.is_cancelled() {
        tokio::select! { () = wait_for_room(&program, &roster) => {}, () = stop.cancelled() => return }
        let started = Instant::now();
        let end = match program.spawn() {
            Ok(mut child) => {
                roster.update(program.name, |run| run.identity = child.id().and_then(Identity::of));
                tokio::select! {
                    status = child.wait() => status.map_or_else(|error| error.to_string(), describe),
                    complaint = needs_cure(program.cure.as_ref()) => {
                        stop_child(&program, &mut child).await;
                        complaint
                    }
                    () = stop.cancelled() => {
                        stop_child(&program, &mut child).await;
                        roster.update(program.name, |run| run.identity = None);
                        return;
                    }
                }
            }
            Err(error) => format!("{error:#}"),
        };
        let wait = backoff.next(started.elapsed());
        tracing::warn!(program = program.name, end, ?wait, "ended; starting it again");
        roster.update(program.name, |run| {
            (run.identity, run.last_exit) = (None, Some(end));
            run.deaths += 1;
        });
        tokio::select! { () = tokio::time::sleep(wait) => {}, () = stop.cancelled() => {} }
    }
}

/// Returns once the disk has the room that a program needs; says so while it has not.
async fn wait_for_room(program: &Program, roster: &Roster) {
    let lacks = || program.room.as_ref().and_then(Room::lacks);
    let Some(lack) = lacks() else { return };
    tracing::error!(program = program.name, "{lack}");
    roster.update(program.name, |run| run.waits = Some(lack));
    while lacks().is_some() {
        tokio::time::sleep(LOOK_FOR_ROOM).await;
    }
    tracing::info!(program = program.name, "there is room again");
    roster.update(program.name, |run| run.waits = None);
}

/// What a program has said again and again that a new start mends. One that does not answer may only be busy.
async fn needs_cure(cure: Option<&Cure>) -> String {
    let Some(cure) = cure else { return std::future::pending().await };
    let Ok(client) = reqwest::Client::builder().timeout(ASK_EVERY).no_proxy().build() else { return std::future::pending().await };
    let mut times = 0;
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        let said = match client.get(&cure.url).send().await {
            Ok(answer) if answer.status() == reqwest::StatusCode::SERVICE_UNAVAILABLE => answer.text().await.unwrap_or_default(),
            Ok(_) | Err(_) => String::new(),
        };
        times = if said.contains(cure.says) { times + 1 } else { 0 };
        if times == ASK_TIMES {
            return format!("says that it is not well, and was stopped: {}", said.trim());
        }
    }
}

async fn stop_child(program: &Program, child: &mut Child) {
    if let Some(identity) = child.id().and_then(Identity::of) {
        identity.signal(program.stop);
    }
    if tokio::time::timeout(program.grace, child.wait()).await.is_err() {
        tracing::warn!(program = program.name, "did not stop in time and was killed");
        let _ = child.kill().await; // Only fails if it has gone.
    }
}

fn describe(status: ExitStatus) -> String {
    status.to_string()
}

/// Exponential, with jitter, and forgotten after a good while of running.
#[derive(Default)]
struct Backoff(u32);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LAST: Duration = Duration::from_secs(10);
    const GOOD: Duration = Duration::from_secs(15);

    fn next(&mut self, lived: Duration) -> Duration {
        if lived > Self::GOOD {
            self.0 = 0;
        }
        let full = (Self::FIRST * 2_u32.pow(self.0.min(10))).min(Self::LAST);
        self.0 += 1;
        full.mul_f64(0.5 + 0.5 * fastrand::f64())
    }
}

/// Cuts logs that grew too long, for as long as it is polled.
pub async fn watch_logs(dir: PathBuf) {
    loop {
        tokio::time::sleep(Duration::from_mins(1)).await;
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|extension| extension == "log") {
                rotate(&entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(script: &str, log: &Path) -> Program {
        Program {
            name: "test",
            path: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: vec![],
            user: None,
            log: log.into(),
            stop: Signal::TERM,
            grace: Duration::from_secs(5),
            cure: None,
            room: None,
        }
    }

    #[tokio::test]
    async fn who_lacks_room_is_not_started_and_says_so() {
        let log = std::env::temp_dir().join(format!("tenure-room-{}.log", std::process::id()));
        let roster = Roster::new(|_| {});
        let room = Some(Room { dir: std::env::temp_dir(), bytes: u64::MAX });
        let kept = roster.keep(Program { room, ..program("echo born", &log) });
        while roster.run("test").waits.is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        kept.stop().await;
        assert!(roster.run("test").waits.is_some_and(|why| why.contains("waits for room")) && tail(&log, 9).is_empty());
        assert_eq!(roster.run("test").deaths, 0);
    }

    #[tokio::test]
    async fn what_dies_is_started_again_and_what_is_stopped_stays_down() {
        let log = std::env::temp_dir().join(format!("tenure-supervisor-{}.log", std::process::id()));
        let roster = Roster::new(|_| {});
        let kept = roster.keep(program("echo born; exec sleep 60", &log));
        let alive = async |births: usize| loop {
            let spoken = tail(&log, 9).lines().count();
            if let Some(identity) = roster.run("test").identity.filter(|_| spoken == births) {
                return identity;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let first = alive(1).await;
        first.signal(Signal::KILL);
        let second = alive(2).await;
        assert_eq!(roster.run("test").deaths, 1);
        kept.stop().await;
        assert!(!second.is_alive() && roster.run("test").identity.is_none());
        assert_eq!(tail(&log, 9), "born\nborn");
        fs::remove_file(log).unwrap();
    }

    #[test]
    fn restarts_come_slower_until_one_lasts() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..12).map(|_| backoff.next(Duration::ZERO)).collect();
        assert!(waits[0] <= Backoff::FIRST && waits[11] >= Backoff::LAST / 2 && waits.iter().all(|wait| *wait <= Backoff::LAST));
        assert!(backoff.next(Duration::from_mins(1)) <= Backoff::FIRST);
    }
}
