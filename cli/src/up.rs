//! `tenure up`: everything, private, kept running until it is told to stop.

use std::{
    collections::BTreeMap,
    fs::File,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, bail};
use platform::Process;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    demo,
    home::{Given, Home, Ports, Settings},
    nats::{Nats, Users},
    output::Steps,
    postgres::{self, Access, Postgres, SUPERUSER},
    process::{self, Identity},
    release, show,
    supervisor::{Kept, Roster, tail, watch_logs},
    system::{self, Addresses, Phase, ProcessState, SERVICES, STATE, State},
};

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Return when all is ready, and leave it running
    #[arg(long)]
    detach: bool,
    /// Don't make the demo company
    #[arg(long)]
    no_demo: bool,
    /// Make the demo company from this number; the same number gives the same company [default: 7]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Start only PostgreSQL and NATS, for running the services by hand
    #[arg(long)]
    servers_only: bool,
    /// Stop when the process with this id ends
    #[arg(long, value_name = "PID")]
    until_exit_of: Option<u32>,
    /// How often NATS syncs to disk: a duration such as 2m, or always. The event store heals what NATS loses [default: 2m]
    #[arg(long, value_name = "INTERVAL")]
    nats_sync_interval: Option<String>,
    /// We are the supervisor that `--detach` started.
    #[arg(long, hide = true)]
    supervised: bool,
}

/// How long a start may take: a first one initializes PostgreSQL, one after a crash recovers it.
const START: Duration = Duration::from_mins(3);

/// Runs the command.
pub async fn run(home: Home, options: Options, json: bool) -> anyhow::Result<()> {
    home.create()?;
    let Some(lock) = home.lock()? else {
        if options.supervised {
            bail!("another supervisor took {} at the same moment", home.root().display());
        }
        let state = wait_until_ready(&home, None, json).await?;
        return show::running(&home, &state, json, "Tenure is already running.").await;
    };
    if options.detach && !options.supervised {
        drop(lock);
        return detach(&home, &options, json).await;
    }
    supervise(&home, &options, json, lock).await
}

/// Starts the supervisor in the background and waits for it.
async fn detach(home: &Home, options: &Options, json: bool) -> anyhow::Result<()> {
    let log = home.path("log/supervisor.log");
    let output = File::options().create(true).append(true).open(&log).with_context(|| format!("opening {}", log.display()))?;
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.arg("--home").arg(home.root()).args(["up", "--supervised", "--detach"]);
    if options.no_demo {
        command.arg("--no-demo");
    }
    if options.servers_only {
        command.arg("--servers-only");
    }
    if let Some(seed) = options.seed {
        command.arg(format!("--seed={seed}"));
    }
    if let Some(pid) = options.until_exit_of {
        command.arg(format!("--until-exit-of={pid}"));
    }
    if let Some(interval) = &options.nats_sync_interval {
        command.arg(format!("--nats-sync-interval={interval}"));
    }
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
    let child = command.spawn().context("starting the supervisor")?;
    let state = wait_until_ready(home, Some(child), json).await?;
    show::running(home, &state, json, "Tenure is running.").await
}

/// Follows a supervisor's start.
async fn wait_until_ready(home: &Home, mut child: Option<tokio::process::Child>, json: bool) -> anyhow::Result<State> {
    let mut steps = Steps::new(json);
    let deadline = tokio::time::Instant::now() + START;
    let expected = child.as_ref().and_then(tokio::process::Child::id);
    while tokio::time::Instant::now() < deadline {
        // Until the new supervisor has written its own, the file is of an earlier one.
        let state = State::read(home).filter(|state| expected.is_none_or(|pid| pid == state.supervisor.pid));
        match state.map(|state| (state.phase.clone(), state)) {
            Some((Phase::Ready, state)) => {
                steps.end();
                return Ok(state);
            }
            Some((Phase::Failed(reason), _)) => bail!("{reason}"),
            Some((Phase::Starting(what), _)) => steps.begin(&what),
            Some((Phase::Stopped, _)) | None => {}
        }
        if let Some(status) = child.as_mut().map(tokio::process::Child::try_wait).transpose()?.flatten() {
            let log = home.path("log/supervisor.log");
            bail!("the supervisor ended ({status}); its log {} ends with\n{}", log.display(), tail(&log, 15));
        }
        if child.is_none() && !home.is_running()? {
            bail!("the supervisor that was starting has gone; run `tenure up` again");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("it was not ready within {} s; see the logs in {}", START.as_secs(), home.path("log").display())
}

/// Is the supervisor, until something asks it to stop.
async fn supervise(home: &Home, options: &Options, json: bool, lock: File) -> anyhow::Result<()> {
    process::raise_open_files();
    let mut steps = Steps::new(json);
    steps.begin("stopping what an earlier run left");
    stop_leftovers(home).await;
    let mut system = System::prepare(home, options, steps)?;
    let stop = stop_asked(options.until_exit_of, options.detach);
    tokio::pin!(stop);
    let started = tokio::select! {
        started = tokio::time::timeout(START, system.start()) => started.unwrap_or_else(|_| Err(anyhow::anyhow!("it was not ready within {} s", START.as_secs()))),
        () = &mut stop => {
            system.stop(Phase::Stopped).await;
            return Ok(());
        }
    };
    if let Err(error) = started {
        system.stop(Phase::Failed(format!("{error:#}"))).await;
        return Err(error);
    }
    system.publish(Phase::Ready);
    system.steps.end();
    if !options.detach {
        show::running(home, &system.state(), json, "Tenure is running; Ctrl-C stops it.").await?;
    }
    tokio::select! { () = &mut stop => {}, () = watch_logs(home.path("log")) => {} }
    if !json {
        eprintln!("stopping; the data stays in {}", home.root().display());
    }
    system.stop(Phase::Stopped).await;
    drop(lock);
    Ok(())
}

/// Returns on SIGINT, SIGTERM, the end of the terminal, or the end of the process that it is bound to.
async fn stop_asked(until_exit_of: Option<u32>, detached: bool) {
    let bound_to_gone = async {
        match until_exit_of {
            Some(pid) => {
                if let Some(identity) = Identity::of(pid) {
                    identity.gone().await;
                }
            }
            None => std::future::pending().await,
        }
    };
    let one = |kind: SignalKind| async move {
        match signal(kind) {
            Ok(mut signals) => drop(signals.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    let hangup = async {
        one(SignalKind::hangup()).await;
        if detached {
            std::future::pending::<()>().await; // the terminal that started us is no business of ours
        }
    };
    tokio::select! {
        () = one(SignalKind::interrupt()) => {}
        () = one(SignalKind::terminate()) => {}
        () = hangup => {}
        () = bound_to_gone => {}
    }
}

/// The supervisor's own view.
struct System {
    home: Home,
    options: Options,
    settings: Settings,
    addresses: Addresses,
    database_url: Option<String>,
    eventstore_url: Option<String>,
    nats_given: bool,
    shared: Arc<Mutex<State>>,
    roster: Roster,
    /// In the order in which they were started.
    kept: Vec<Kept>,
    steps: Steps,
}

impl System {
    fn prepare(home: &Home, options: &Options, steps: Steps) -> anyhow::Result<Self> {
        let nats_url = given("NATS_URL");
        let settings = settings(home, options, &steps)?;
        let addresses = Addresses::local(&settings.ports, nats_url.clone());
        let supervisor = Identity::own()?;
        let phase = Phase::Starting("starting".into());
        let state = State { phase, supervisor, addresses: addresses.clone(), processes: BTreeMap::new() };
        let shared = Arc::new(Mutex::new(state));
        let roster = {
            let (home, shared) = (home.clone(), Arc::clone(&shared));
            Roster::new(move |runs| {
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                for (name, run) in runs {
                    state.processes.insert((*name).into(), ProcessState::from(run));
                }
                keep(&home, &state);
            })
        };
        Ok(Self {
            home: home.clone(),
            options: options.clone(),
            settings,
            addresses,
            database_url: given("DATABASE_URL"),
            eventstore_url: given("EVENTSTORE_URL"),
            nats_given: nats_url.is_some(),
            shared,
            roster,
            kept: Vec::new(),
            steps,
        })
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        let nats = if self.nats_given { None } else { Some(self.start_nats()?) };
        let admin_url = match self.database_url.clone() {
            Some(url) => url,
            None => self.start_postgres().await?,
        };
        self.step("setting up the database");
        system::bootstrap(&self.home, &admin_url).await?;
        // The first signing key, before a service looks for it: a token is good from its first moment on.
        crate::token::operator(&self.home).await?;
        if let Some(nats) = nats {
            self.step("waiting for NATS");
            self.unless_it_dies("nats-server", nats.ready()).await?;
        }
        if self.options.servers_only {
            return Ok(());
        }
        if let Some(url) = self.eventstore_url.clone() {
            // What is wrong there is told once, and at once.
            self.step("asking EventStoreDB");
            store::EsStore::connect(&url).await.context("EVENTSTORE_URL")?;
        }
        self.step("starting the services");
        system::keep_eventstore_url(&self.home, self.eventstore_url.as_deref())?;
        for process in SERVICES.into_iter().rev() {
            let program = system::service(&self.home, process, &self.settings.ports, &self.addresses)?;
            self.kept.push(self.roster.keep(program));
        }
        for process in SERVICES {
            self.step(&format!("waiting for {}", process.name()));
            let url = self.addresses.of(process).context("every service has an address")?;
            self.unless_it_dies(process.name(), answers(&format!("{url}/readyz"))).await?;
        }
        self.step("activating what this build brings");
        if let Some(why) = release::activate_after_start(&self.home).await {
            self.steps.note(&why);
        }
        if !self.options.no_demo {
            self.step("making the demo company");
            demo::seed(&self.home, &self.addresses, self.settings.demo_seed, &mut self.steps).await.context("making the demo company")?;
        }
        Ok(())
    }

    async fn start_postgres(&mut self) -> anyhow::Result<String> {
        let user = process::unprivileged()?;
        let access = Access::Passwords(self.home.secret("postgres-superuser")?);
        let dir = self.settings.postgres_dir.clone();
        let server = Postgres::new(&dir, self.settings.ports.postgres, user, access, &self.home.path("log/postgres.log"))?;
        server.clear_leftover().await?;
        if !server.is_initialized() {
            self.step("initializing PostgreSQL");
            if !dir.starts_with(self.home.root().canonicalize()?) {
                self.steps.note(&format!(
                    "PostgreSQL's user can't enter {}, so its files are in {}; `tenure down --wipe` removes them too",
                    self.home.root().display(),
                    dir.display()
                ));
            }
            server.initialize().await?;
        }
        self.step("waiting for PostgreSQL");
        self.kept.push(self.roster.keep(server.program()));
        self.unless_it_dies("postgres", server.ready()).await?;
        Ok(server.url(SUPERUSER, "postgres"))
    }

    fn start_nats(&mut self) -> anyhow::Result<Nats> {
        let secret = |name| self.home.secret(name);
        let users = Users { relay: secret("nats-relay")?, projector: secret("nats-projector")?, worker: secret("nats-worker")? };
        let settings = &self.settings;
        let nats = Nats::new(
            &self.home.path("nats"),
            settings.ports.nats,
            Some(users),
            &settings.nats_sync_interval,
            &self.home.path("log/nats-server.log"),
        )?
        .watched(settings.ports.nats_health, self.home.secret("nats-health")?);
        self.kept.push(self.roster.keep(nats.program()?));
        Ok(nats)
    }

    /// Gives up on a program that dies again and again before it was ready once.
    async fn unless_it_dies(&self, name: &'static str, ready: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
        const PATIENCE: u32 = 6;
        let dies = async {
            while self.roster.run(name).deaths < PATIENCE {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            ready = ready => ready,
            () = dies => {
                let end = self.roster.run(name).last_exit.unwrap_or_default();
                let words = self.kept.iter().find(|kept| kept.program.name == name).map(|kept| kept.program.last_words()).unwrap_or_default();
                bail!("{name} does not stay up ({end}); its log in {} ends with\n{words}", self.home.path("log").display())
            }
        }
    }

    /// Stops everything: who takes requests first, who keeps data last.
    async fn stop(mut self, phase: Phase) {
        self.steps.end();
        let order: [&[&str]; 5] = [
            &[Process::Console.name()],
            &[Process::CommandApi.name(), Process::QueryApi.name()],
            &[Process::Worker.name(), Process::Projector.name(), Process::Relay.name()],
            &["nats-server"],
            &["postgres"],
        ];
        for names in order {
            let (these, rest): (Vec<_>, Vec<_>) = self.kept.drain(..).partition(|kept| names.contains(&kept.program.name));
            self.kept = rest;
            futures::future::join_all(these.into_iter().map(Kept::stop)).await;
        }
        self.publish(phase);
    }

    fn step(&mut self, what: &str) {
        self.steps.begin(what);
        self.publish(Phase::Starting(what.into()));
    }
    fn publish(&self, phase: Phase) {
        let mut state = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        state.phase = phase;
        keep(&self.home, &state);
    }
    fn state(&self) -> State {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the last run did not stop because it was killed: services first, then servers. Those who start next find the
/// record still there, should this be killed too.
pub async fn stop_leftovers(home: &Home) {
    let earlier = State::read(home).map(|state| state.processes).unwrap_or_default();
    let services = SERVICES.map(Process::name);
    for servers in [false, true] {
        let these = earlier.iter().filter(|(name, _)| services.contains(&name.as_str()) != servers);
        let stops = these.filter_map(|(name, process)| {
            let signal = if name == "postgres" { Signal::INT } else { Signal::TERM };
            process.identity.as_ref().map(|identity| identity.stop(signal, Duration::from_secs(30)))
        });
        futures::future::join_all(stops).await;
    }
}

fn keep(home: &Home, state: &State) {
    if let Err(error) = home.write_run(STATE, state) {
        tracing::warn!(error = format!("{error:#}"), "the state can't be written");
    }
}

/// What was decided at the first start, with what this start asks to change.
fn settings(home: &Home, options: &Options, steps: &Steps) -> anyhow::Result<Settings> {
    let mut settings = match home.settings()? {
        Some(settings) => settings,
        None => Settings {
            ports: Ports::pick()?,
            postgres_dir: postgres::place(home.root(), &home.short_name(), process::unprivileged()?)?,
            demo_seed: 7,
            nats_sync_interval: "2m".into(),
            given: None,
        },
    };
    let given = Given { database: given("DATABASE_URL").is_some(), eventstore: given("EVENTSTORE_URL").is_some() };
    for (name, was, is) in [
        ("DATABASE_URL", settings.given.map(|was| was.database), given.database),
        ("EVENTSTORE_URL", settings.given.map(|was| was.eventstore), given.eventstore),
    ] {
        // Another place would be empty, and look as if all data were gone.
        match was {
            Some(true) if !is => {
                bail!("the data of {} are on the server that {name} named; set {name} again, or take another --home", home.root().display())
            }
            Some(false) if is => {
                bail!("the data of {} are on its own servers; unset {name}, or take another --home", home.root().display())
            }
            Some(_) | None => {}
        }
    }
    settings.given = Some(given);
    settings.ports.complete()?;
    let taken = settings.ports.taken();
    if !taken.is_empty() {
        settings.ports = Ports::pick()?;
        steps.note(&format!("port {} is taken by another program now, so new ports were chosen", taken[0]));
    }
    if let Some(seed) = options.seed {
        settings.demo_seed = seed;
    }
    if let Some(interval) = &options.nats_sync_interval {
        settings.nats_sync_interval.clone_from(interval);
    }
    home.keep_settings(&settings)?;
    Ok(settings)
}

/// A server's URL in the environment; an empty one is none.
pub(crate) fn given(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns once a GET is answered with 200.
async fn answers(url: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(3)).build()?;
    loop {
        if client.get(url).send().await.is_ok_and(|response| response.status().is_success()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Where the home is if nothing else is said.
pub fn default_home() -> PathBuf {
    PathBuf::from(".tenure")
}
