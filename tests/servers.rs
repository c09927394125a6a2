//! Real servers for the tests, private to one run of this binary and gone after it.
//!
//! - [`database_url`]: a PostgreSQL, for tests that make their own database in it; [`fresh_database`] does that.
//! - [`own_nats`]: a NATS server for one test, which lets everybody in.
//! - [`system`]: the whole system, shared by all tests that don't hurt it. Each takes a tenant of its own.
//! - [`own_system`]: one for a test that kills parts of it.
//!
//! `TENURE_TEST_DATABASE_URL` (a superuser) is used instead of a private PostgreSQL.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    future::Future,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use events::TenantId;
use serde_json::Value;
use sqlx::{Executor as _, PgPool, postgres::PgConnectOptions};
use tenure::{
    nats::Nats,
    postgres::{Access, Postgres, SUPERUSER},
    process::unprivileged,
    supervisor::Program,
};
use tokio::sync::OnceCell;

use crate::{contract, eventstoredb::StandIn};

/// The URL of a superuser of this run's PostgreSQL.
pub(crate) async fn database_url() -> String {
    if let Ok(url) = std::env::var("TENURE_TEST_DATABASE_URL") {
        return url;
    }
    static SERVER: OnceCell<String> = OnceCell::const_new();
    let start = || async {
        let dir = run_dir().join("pg");
        let server = Postgres::new(&dir, 5432, unprivileged().unwrap(), Access::Socket, &run_dir().join("postgres.log")).unwrap();
        server.initialize().await.unwrap();
        let url = server.url(SUPERUSER, "postgres");
        start(server.program(), "INT", async move { server.ready().await }).await;
        url
    };
    SERVER.get_or_init(start).await.clone()
}

/// A new, empty database in this run's PostgreSQL, as its superuser.
pub(crate) async fn fresh_database(name: &str) -> PgConnectOptions {
    let server: PgConnectOptions = database_url().await.parse().unwrap();
    let name = format!("{name}_{}", uuid::Uuid::now_v7().simple());
    let admin = PgPool::connect_with(server.clone()).await.unwrap();
    admin.execute(format!("create database {name}").as_str()).await.unwrap();
    admin.close().await;
    server.database(&name)
}

/// The URL of a NATS server for one test, which lets everybody in.
pub(crate) async fn own_nats() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let dir = run_dir().join(format!("nats-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir_all(&dir).unwrap();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let server = Nats::new(&dir, port, None, "2m", &dir.join("log")).unwrap();
    let url = server.url();
    start(server.program().unwrap(), "TERM", async move { server.ready().await }).await;
    url
}

/// A PostgreSQL and a NATS server for one test that speak TLS with these files, certificate and key. PostgreSQL lets nobody in over
/// TCP without it; NATS lets everybody in. The ports are those of 127.0.0.1, PostgreSQL's first; the text is its superuser's
/// password.
pub(crate) async fn own_tls_servers(certificate: &Path, key: &Path) -> (u16, u16, &'static str) {
    const PASSWORD: &str = "only-for-this-test";
    let ports = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).map(|free| free.local_addr().unwrap().port());
    let dir = run_dir().join("tls-pg");
    let user = unprivileged().unwrap();
    let server = Postgres::new(&dir, ports[0], user, Access::Passwords(PASSWORD.into()), &run_dir().join("tls-pg.log")).unwrap();
    server.initialize().await.unwrap();
    let own_key = dir.join("server.key");
    std::fs::copy(key, &own_key).unwrap();
    std::fs::write(dir.join("hba"), "local all all scram-sha-256\nhostssl all all all scram-sha-256\n").unwrap();
    std::fs::set_permissions(&own_key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    if let Some((uid, gid)) = user {
        for file in [&own_key, &dir.join("hba")] {
            std::os::unix::fs::chown(file, Some(uid), Some(gid)).unwrap();
        }
    }
    let mut program = server.program();
    for setting in [
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", certificate.display()),
        format!("ssl_key_file={}", own_key.display()),
        format!("hba_file={}", dir.join("hba").display()),
    ] {
        program.args.extend(["-c".into(), setting.into()]);
    }
    start(program, "INT", async move { server.ready().await }).await;
    let dir = run_dir().join("tls-nats");
    std::fs::create_dir_all(&dir).unwrap();
    let nats = Nats::new(&dir, ports[1], None, "2m", &dir.join("log")).unwrap();
    let program = nats.program().unwrap();
    let file = dir.join("server.conf");
    let plain = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{plain}tls {{ cert_file: \"{}\", key_file: \"{}\" }}\n", certificate.display(), key.display())).unwrap();
    start(program, "TERM", async move { nats.ready().await }).await;
    (ports[0], ports[1], PASSWORD)
}

/// A PostgreSQL for one test, with these settings beside the usual ones. Lets everybody in who may enter its socket's
/// directory; as its superuser.
pub(crate) async fn own_postgres(settings: &[&str]) -> PgConnectOptions {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("pg-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let log = run_dir().join(format!("{name}.log"));
    let server = Postgres::new(&run_dir().join(name), 5432, unprivileged().unwrap(), Access::Socket, &log).unwrap();
    server.initialize().await.unwrap();
    let options = server.url(SUPERUSER, "tenure").parse().unwrap();
    let mut program = server.program();
    program.args.extend(settings.iter().flat_map(|setting| ["-c".into(), setting.into()]));
    start(program, "INT", async move { server.ready().await }).await;
    options
}

/// The whole system, shared. Without a demo company.
pub(crate) async fn system() -> &'static System {
    static SYSTEM: OnceCell<System> = OnceCell::const_new();
    SYSTEM.get_or_init(|| async { System::start("shared", &[]).await }).await
}

/// A whole system for one test, stopped and removed when it is dropped.
pub(crate) async fn own_system() -> System {
    own_system_with(&[]).await
}

/// As [`own_system`], with variables in its environment.
pub(crate) async fn own_system_with(env: &[(&'static str, String)]) -> System {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    System::start(&format!("own-{}", COUNT.fetch_add(1, Ordering::Relaxed)), env).await
}

/// As [`own_system`], with EventStoreDB for its event store.
pub(crate) async fn own_system_on(server: &Arc<StandIn>) -> System {
    let mut system = own_system_with(&[("EVENTSTORE_URL", server.url())]).await;
    system.stand_in = Some(Arc::clone(server));
    system
}

/// As [`own_system_with`], for who borrows it without a limit. It stops when the guard goes.
pub(crate) async fn own_static_system_with(env: &[(&'static str, String)]) -> (&'static System, Stopped) {
    let system: &'static System = Box::leak(Box::new(own_system_with(env).await));
    (system, Stopped(system))
}

/// Stops a system that is never dropped.
#[must_use = "the system stops when this goes"]
pub(crate) struct Stopped(&'static System);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// As [`own_system`], in a home where something was prepared.
pub(crate) async fn own_system_prepared(prepare: impl FnOnce(&Path)) -> System {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("prepared-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let home = run_dir().join(&name);
    std::fs::create_dir_all(&home).unwrap();
    prepare(&home);
    System::start(&name, &[]).await
}

/// Where an event stands.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) id: uuid::Uuid,
    pub(crate) position: u64,
    pub(crate) stream: String,
    pub(crate) version: u64,
}

/// A running system.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) home: PathBuf,
    pub(crate) command_api: String,
    pub(crate) query_api: String,
    pub(crate) console: String,
    /// Of the superuser.
    pub(crate) database_url: String,
    /// A client with a timeout.
    pub(crate) client: reqwest::Client,
    /// Its event store, where that is not PostgreSQL.
    pub(crate) stand_in: Option<Arc<StandIn>>,
}

impl System {
    async fn start(name: &str, env: &[(&'static str, String)]) -> Self {
        // A blocking wait of half a minute has no place on the test's own thread.
        let (name, env) = (name.to_owned(), env.to_vec());
        tokio::task::spawn_blocking(move || Self::start_blocking(&name, &env)).await.unwrap()
    }
    fn start_blocking(name: &str, env: &[(&'static str, String)]) -> Self {
        let home = run_dir().join(name);
        let pid = std::process::id().to_string();
        let up = ["up", "--detach", "--no-demo", "--until-exit-of", &pid];
        let info = run_with(&home, &up, env).unwrap_or_else(|error| panic!("the system does not start: {error}"));
        let text = |key: &str| info[key].as_str().unwrap_or_else(|| panic!("no {key} in {info}")).to_owned();
        remove_after(info["supervisor"].as_u64().unwrap(), "TERM", &home);
        Self {
            command_api: text("command_api"),
            query_api: text("query_api"),
            console: text("console"),
            database_url: std::fs::read_to_string(text("database_url_file")).unwrap(),
            // A runtime per test: no connection may outlive its own.
            client: reqwest::Client::builder().timeout(Duration::from_mins(1)).pool_max_idle_per_host(0).build().unwrap(),
            home,
            stand_in: None,
        }
    }
    fn stop(&self) {
        let _ = run(&self.home, &["down", "--wipe", "--give-up"]); // What is left, the watcher stops and removes.
    }
    /// Runs `tenure` with these arguments and `--json`; what it printed.
    #[track_caller]
    pub(crate) fn tenure(&self, arguments: &[&str]) -> Value {
        run(&self.home, arguments).unwrap_or_else(|error| panic!("tenure {}: {error}", arguments.join(" ")))
    }
    /// The same, for what must fail: all that it printed.
    #[track_caller]
    pub(crate) fn tenure_fails(&self, arguments: &[&str]) -> String {
        run(&self.home, arguments).expect_err("it should fail")
    }
    /// Makes a tenant, and a token for it with role `hr`.
    pub(crate) fn tenant(&self, slug: &str) -> String {
        self.tenure(&["tenant", "create", "--slug", slug, "--name", slug]);
        self.token(slug, "hr")
    }
    /// A token.
    #[track_caller]
    pub(crate) fn token(&self, slug: &str, role: &str) -> String {
        self.tenure(&["token", "--tenant", slug, "--role", role])["token"].as_str().unwrap().to_owned()
    }
    /// A query that must succeed; what it answered.
    pub(crate) async fn get(&self, token: &str, path: &str) -> Value {
        let response = self.client.get(format!("{}{path}", self.query_api)).bearer_auth(token).send().await.unwrap();
        let (status, body) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "GET {path}: {status} {body}");
        serde_json::from_str(&body).unwrap()
    }
    /// A command: status and body. `key` is its `Idempotency-Key`.
    pub(crate) async fn post(&self, token: &str, path: &str, key: &str, body: &Value) -> (u16, Value) {
        let request = self.client.post(format!("{}{path}", self.command_api)).bearer_auth(token).header("idempotency-key", key);
        contract::checked(&reqwest::Method::POST, request.json(body).send().await.unwrap()).await
    }
    /// The events of a tenant, straight from the event store, in the order of its log.
    pub(crate) async fn stored(&self, tenant: TenantId) -> Vec<Stored> {
        if let Some(server) = &self.stand_in {
            return server.events_of(tenant);
        }
        let pool = self.pool().await;
        let sql = "select event_id, position, stream_id, version from event_store.event where tenant_id = $1 order by position";
        let rows: Vec<(uuid::Uuid, i64, uuid::Uuid, i64)> = sqlx::query_as(sql).bind(tenant.uuid()).fetch_all(&pool).await.unwrap();
        pool.close().await;
        let stored = |(id, position, stream, version): (_, i64, uuid::Uuid, i64)| Stored {
            id,
            position: position.cast_unsigned(),
            stream: stream.to_string(),
            version: version.cast_unsigned(),
        };
        rows.into_iter().map(stored).collect()
    }
    /// The end of the log of the token's tenant.
    pub(crate) async fn head(&self, token: &str) -> u64 {
        if let Some(server) = &self.stand_in {
            return server.events_of(tenant_of(token)).last().map_or(0, |event| event.position);
        }
        let pool = self.pool().await;
        let head: Option<i64> = sqlx::query_scalar("select position from event_store.tenant_head where tenant_id = $1")
            .bind(tenant_of(token).uuid())
            .fetch_optional(&pool)
            .await
            .unwrap();
        pool.close().await;
        head.unwrap_or_default().cast_unsigned()
    }
    /// Waits until the read model of the token's tenant has reached the end of its log; that position.
    pub(crate) async fn settled(&self, token: &str) -> u64 {
        let head = self.head(token).await;
        let deadline = Instant::now() + Duration::from_mins(5);
        loop {
            let request = self.client.get(format!("{}/v1/departments?limit=1", self.query_api)).bearer_auth(token);
            let answer = request.header("tenure-min-position", head).header("prefer", "wait=10").send().await;
            match answer {
                Ok(response) if response.status().is_success() => return head,
                Ok(response) if response.status() != 503 => panic!("{}: {}", response.status(), response.text().await.unwrap()),
                other => assert!(Instant::now() < deadline, "the read model does not reach {head}: {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    /// A pool of the superuser, whom no row-level security binds.
    pub(crate) async fn pool(&self) -> PgPool {
        PgPool::connect(&self.database_url).await.unwrap()
    }
    /// The process id of `tenure-relay`, `postgres` and so on, now; none while it is down.
    pub(crate) fn pid(&self, name: &str) -> Option<u32> {
        let state: Value = serde_json::from_slice(&std::fs::read(self.home.join("run/state.json")).ok()?).ok()?;
        u32::try_from(state["processes"][name]["identity"]["pid"].as_u64()?).ok()
    }
    /// The process id of the supervisor.
    pub(crate) fn supervisor(&self) -> u32 {
        let state: Value = serde_json::from_slice(&std::fs::read(self.home.join("run/state.json")).unwrap()).unwrap();
        u32::try_from(state["supervisor"]["pid"].as_u64().unwrap()).unwrap()
    }
    /// Sends a signal, such as `KILL` or `STOP`, to a process by name, as soon as it runs: it may just be starting again.
    pub(crate) async fn signal(&self, name: &str, signal: &str) {
        let deadline = Instant::now() + Duration::from_mins(1);
        let kill = |pid: u32| Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().unwrap().success();
        while !self.pid(name).is_some_and(kill) {
            assert!(Instant::now() < deadline, "{name} does not run; logs are in {}", self.home.join("log").display());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    /// Waits until every service says that it is ready.
    pub(crate) async fn ready(&self) {
        let state: Value = serde_json::from_slice(&std::fs::read(self.home.join("run/state.json")).unwrap()).unwrap();
        let deadline = Instant::now() + Duration::from_mins(1);
        for service in ["command_api", "query_api", "relay", "projector", "worker", "console"] {
            let url = format!("{}/readyz", state["addresses"][service].as_str().unwrap());
            while !self.client.get(&url).send().await.is_ok_and(|response| response.status().is_success()) {
                assert!(
                    Instant::now() < deadline,
                    "{service} is not ready after a minute; logs are in {}",
                    self.home.join("log").display()
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits until something has come about that takes a moment to get around.
pub(crate) async fn eventually(what: &str, done: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !done().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Says that something was not tested: nobody must think that it was.
pub(crate) fn skipped(what: &str) {
    say(&format!("\nSKIPPED: {what}"));
}

/// Past the capture of a test's output.
fn say(text: &str) {
    use std::io::Write as _;
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).unwrap();
}

/// The tenant that a token names, unverified.
pub(crate) fn tenant_of(token: &str) -> TenantId {
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
    claims["tenant_id"].as_str().unwrap().parse().unwrap()
}

/// Runs the `tenure` that was built beside this test binary.
pub(crate) fn run(home: &Path, arguments: &[&str]) -> Result<Value, String> {
    run_with(home, arguments, &[])
}
fn run_with(home: &Path, arguments: &[&str], env: &[(&'static str, String)]) -> Result<Value, String> {
    let mut command = Command::new(binaries().join("tenure"));
    command.arg("--home").arg(home).arg("--json").args(arguments).stdin(Stdio::null());
    for given in ["DATABASE_URL", "NATS_URL", "EVENTSTORE_URL"] {
        command.env_remove(given);
    }
    command.envs(env.iter().map(|(name, value)| (name, value)));
    let output = command.output().map_err(|error| error.to_string())?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        return Err(format!("{}: {stderr}{stdout}", output.status));
    }
    serde_json::from_str(&stdout).map_err(|error| format!("{error} in {stdout:?}; {stderr}"))
}

/// A program that was built beside this test binary, to be started with nothing in its environment but what it is given.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(binaries().join(name));
    command.env_clear().stdin(Stdio::null());
    command
}

/// The folder with the binaries, built with this test binary's profile.
fn binaries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // target/debug/deps/tenure-0123456789abcdef
        let folder = std::env::current_exe().unwrap().parent().and_then(Path::parent).unwrap().to_owned();
        // `make test` has built them; `cargo test -p tests` builds only libraries.
        if std::env::var_os("TENURE_TEST_BUILT").is_none() {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            build.args(["build", "--bins", "--quiet", "--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")]);
            if folder.ends_with("release") {
                build.arg("--release");
            }
            assert!(build.status().unwrap().success(), "the binaries don't build");
        }
        folder
    })
}

/// What the servers of a run take at most, with some to spare.
const ROOM: u64 = 6 << 30;

/// A folder in memory if there is room, as hundreds of thousands of flushes by dozens of servers choke a slow disk: no test
/// here takes the power away, and what a killed process has written is kept by the kernel in either place.
/// `TENURE_TEST_DIR` names another.
fn parent_dir() -> PathBuf {
    if let Some(given) = std::env::var_os("TENURE_TEST_DIR") {
        return given.into();
    }
    let in_memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(in_memory).map_or(0, |fs| fs.f_bavail * fs.f_frsize);
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default(); // Linux only.
    let available = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    // As much again is for the processes themselves.
    let room = free.min(available.unwrap_or(0) * 1024 / 2);
    // Sockets have short paths, and PostgreSQL's user must get there.
    if room >= ROOM { in_memory.into() } else { "/tmp".into() }
}

/// Where this run keeps its files. What killed runs left behind goes first.
pub(crate) fn run_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    const PREFIX: &str = "tenure-tests-";
    DIR.get_or_init(|| {
        let parent = parent_dir();
        for entry in std::fs::read_dir(&parent).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix(PREFIX).and_then(|pid| pid.parse::<u32>().ok());
            if owner.is_some_and(|pid| tenure::process::Identity::of(pid).is_none()) {
                let _ = std::fs::remove_dir_all(entry.path()); // Another run may be doing the same.
            }
        }
        let dir = parent.join(format!("{PREFIX}{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::thread::Builder::new().name("watchdog".into()).spawn(end_what_hangs).unwrap();
        dir
    })
}

/// Ends the run once a test has taken longer than half an hour (`TENURE_TEST_PATIENCE` seconds), and names it: libtest would wait
/// for ever. The longest takes two minutes on two quiet cores. A test's thread has the test's name, of which the kernel keeps
/// fifteen letters; so has a thread without a name of its own that a test began, so those that outlive their test have one.
fn end_what_hangs() {
    let patience = std::env::var("TENURE_TEST_PATIENCE").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(1_800);
    let patience = Duration::from_secs(patience);
    let mut since: HashMap<OsString, (String, Instant)> = HashMap::new();
    loop {
        std::thread::sleep(Duration::from_secs(5));
        let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let tests: HashMap<_, _> = threads
            .filter_map(|thread| Some((thread.file_name(), std::fs::read_to_string(thread.path().join("comm")).ok()?)))
            .filter(|(_, name)| name.contains("::"))
            .collect();
        since.retain(|id, (name, _)| tests.get(id) == Some(name));
        for (id, name) in tests {
            since.entry(id).or_insert_with(|| (name, Instant::now()));
        }
        let hung: Vec<&str> = since.values().filter(|(_, since)| since.elapsed() > patience).map(|(name, _)| name.trim()).collect();
        if !hung.is_empty() {
            say(&format!("\nHUNG: these tests do not end within {patience:?} (their names' first letters): {}\n", hung.join(", ")));
            std::process::exit(101);
        }
    }
}

/// Starts a server that lives as long as this process.
async fn start(program: Program, signal: &'static str, ready: impl Future<Output = anyhow::Result<()>>) {
    let (started, pid) = tokio::sync::oneshot::channel();
    // A thread that never ends: where the kernel stops a server with its parent, it means the thread.
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut child = program.spawn().unwrap();
            started.send(child.id().unwrap()).unwrap();
            let status = child.wait().await;
            panic!("{} ended: {status:?}\n{}", program.name, program.last_words());
        });
    };
    std::thread::Builder::new().name("server".into()).spawn(serve).unwrap();
    remove_after(pid.await.unwrap().into(), signal, run_dir());
    ready.await.unwrap();
}

/// Has a process stopped, and its files removed, once this process has ended, in whatever way.
fn remove_after(pid: u64, signal: &str, dir: &Path) {
    let script = r#"kill -"$2" "$1" 2>/dev/null; while kill -0 "$1" 2>/dev/null; do sleep 0.2; done
        rm -rf "$3"; rmdir "$(dirname "$3")" 2>/dev/null"#;
    after_this_process(script, &[pid.to_string().as_ref(), signal.as_ref(), dir.as_ref()]);
}

/// Has the shell run a script with these arguments once this process has ended, in whatever way.
pub(crate) fn after_this_process(script: &str, arguments: &[&OsStr]) {
    use std::os::unix::process::CommandExt as _;
    let mut watcher = Command::new("sh");
    // It waits for the end of its input: the other end is this process's alone, and closes with it.
    watcher.args(["-c", &format!("read -r _; {script}"), "sh"]).args(arguments);
    watcher.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    #[allow(clippy::zombie_processes)] // It outlives this process, which is what it waits for.
    let watcher = watcher.spawn().unwrap();
    std::mem::forget(watcher.stdin);
}
