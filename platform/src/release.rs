//! Which types of events may be written: those that every process which lives can read.
//!
//! A build that brings a new type, or a new schema version of one, first only reads it. It writes it once an operator has activated it
//! (`tenure release activate`, by itself under `tenure up`), which is refused while a process lives that can't read it. A process says
//! each second that it lives and what it reads ([`Release`]); one that can't say so for 8 s does nothing any more, and for 10 s is
//! taken for dead. Once a type is active, a build that can't read it does not start.
//!
//! This also says which builds may run on a database whose tables a newer one has made ([`check_schema`]), and sets databases up
//! ([`bootstrap`]). The table `platform.release` is the lock: whoever says that it lives waits for whoever activates.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use anyhow::{Context as _, bail};
use events::{Category, Event};
use serde::Serialize;
use sqlx::{Executor as _, FromRow, PgConnection, PgPool, types::Json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Problem, Process, build, database, health::Check, provision};

/// How often a process says that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// How long the database may take to hear it.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it may take when the process starts.
const JOIN: Duration = Duration::from_secs(10);
/// How long a process goes on that was not heard. Less than [`DEAD`], so that it stops before anybody may go on without it.
const CURRENT: Duration = Duration::from_secs(8);
/// After how many seconds a process that was not heard is taken for dead, by the database's clock.
const DEAD: i32 = 10;
/// How long whoever activates waits for those who look dead: who lives is heard meanwhile, even if the clock was set forward.
const LOOK_AGAIN: Duration = Duration::from_millis(2_500);
/// The code of the problem that a command gets whose events may not be written yet.
pub const NOT_ACTIVATED: &str = "not_activated";

/// Types of events by name, such as `employee.EmployeeHired`, each with its newest schema version.
type Types = BTreeMap<String, u16>;

/// All types that this build reads, and writes once they are active.
fn known() -> Types {
    Event::types().map(|(category, event_type, version)| (format!("{category}.{event_type}"), version)).collect()
}

/// A type of event up to a schema version. Shown as `employee/EmployeeHired v1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TypeVersion {
    /// The kind of aggregate.
    pub category: &'static str,
    /// The type.
    pub event_type: &'static str,
    /// The schema version.
    pub schema_version: u16,
}

impl fmt::Display for TypeVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} v{}", self.category, self.event_type, self.schema_version)
    }
}

/// The types of this build that are not among the active ones in their newest version.
fn not_among(active: &Types) -> Vec<(Category, TypeVersion)> {
    let is_active = |category: Category, event_type: &str, version: u16| {
        active.get(&format!("{category}.{event_type}")).is_some_and(|newest| *newest >= version)
    };
    Event::types()
        .filter(|(category, event_type, version)| !is_active(*category, event_type, *version))
        .map(|(category, event_type, schema_version)| (category, TypeVersion { category: category.name(), event_type, schema_version }))
        .collect()
}

/// That this process lives, what it reads, and which types it may write. Cheap to clone; once the last one is dropped, nobody says
/// any more that the process lives.
#[derive(Clone)]
pub struct Release(Arc<Inner>);

struct Inner {
    pool: PgPool,
    id: Uuid,
    process: Process,
    build: &'static str,
    /// Held while it is said that the process lives; true once it has left.
    left: tokio::sync::Mutex<bool>,
    heard: Mutex<Heard>,
}

/// What the database said last.
#[derive(Clone)]
struct Heard {
    /// When it was asked.
    at: Instant,
    /// The types that this build knows and may not write.
    inactive: Arc<[(Category, TypeVersion)]>,
    /// Why this process can't go on: a type was activated that it can't read.
    superseded: Option<Arc<str>>,
}

#[derive(FromRow)]
struct Answer {
    unread: Option<String>,
    activated_by: Option<String>,
    active: Option<Json<Types>>,
}

impl Release {
    /// Says that this process lives and what it reads, and goes on saying so. Refused where a type is active that this build can't
    /// read; `stop` is cancelled where one is activated later.
    pub async fn join(pool: &PgPool, process: Process, stop: CancellationToken) -> anyhow::Result<Self> {
        let build = tokio::task::spawn_blocking(build::id).await.context("reading which build this is")?;
        let at = Instant::now();
        let heard = Mutex::new(Heard { at, inactive: Arc::default(), superseded: None });
        let (id, left) = (Uuid::now_v7(), tokio::sync::Mutex::default());
        let inner = Arc::new(Inner { pool: database::apart(pool, 1), id, process, build, left, heard });
        let noting = tokio::time::timeout(JOIN, inner.note()).await.context("PostgreSQL does not answer")?;
        let answer = noting.context("saying which events this process reads")?;
        inner.hear(answer, at);
        if let Some(reason) = &inner.heard().superseded {
            bail!("{reason}");
        }
        tokio::spawn(beat(Arc::downgrade(&inner), stop));
        Ok(Self(inner))
    }

    /// Says that this process ends, so that nobody waits for it. Fails with the reason where it had to end because it can't read what
    /// was activated.
    pub async fn leave(&self) -> anyhow::Result<()> {
        let mut left = self.0.left.lock().await;
        *left = true;
        let forget = sqlx::query("select platform.forget_process($1)").bind(self.0.id).execute(&self.0.pool);
        if !matches!(tokio::time::timeout(PATIENCE, forget).await, Ok(Ok(_))) {
            tracing::debug!("that this process ends could not be said; it is taken for dead in {DEAD} s");
        }
        match &self.0.heard().superseded {
            Some(reason) => bail!("{reason}"),
            None => Ok(()),
        }
    }

    /// Refuses to go on where this process may have been taken for dead meanwhile, or can't read what was activated: others may
    /// write what it does not know.
    pub fn current(&self) -> Result<(), Problem> {
        let heard = self.0.heard();
        if heard.superseded.is_some() {
            let detail =
                "this process is of a build that can't read what is written now, and ends; try again with the same Idempotency-Key";
            return Err(Problem::unavailable("superseded", detail));
        }
        if heard.at.elapsed() >= CURRENT {
            let detail = "the database does not answer at the moment; try again shortly";
            return Err(Problem::unavailable("database_unavailable", detail));
        }
        Ok(())
    }

    /// Refuses events whose types may not be written yet. Nothing may have come of them before that.
    pub fn admit(&self, events: &[Event]) -> Result<(), Problem> {
        let inactive = self.0.heard().inactive.clone();
        // Mostly nothing is inactive.
        let is = |event: &Event, (category, one): &(Category, TypeVersion)| {
            *category == event.category() && one.event_type == event.event_type()
        };
        let found = inactive.iter().find(|one| events.iter().any(|event| is(event, one)));
        let Some((_, found)) = found else { return Ok(()) };
        metrics::counter!("tenure_release_refused_total", "type" => found.event_type).increment(1);
        let detail = format!(
            "this needs events of a type that not every running process is known to read ({found}): once all processes are of a build \
             that reads it, an operator runs `tenure release activate`; then try again with the same Idempotency-Key"
        );
        Err(Problem { retry_after: Some(30), ..Problem::unavailable(NOT_ACTIVATED, detail) })
    }

    /// Fails where [`Self::current`] does.
    pub fn check(&self) -> Check {
        let this = self.clone();
        Check::new("release", move || {
            let current = this.current();
            async move { current.map_err(|problem| anyhow::anyhow!("{}: {}", problem.code, problem.detail)) }
        })
    }
}

impl Inner {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn note(&self) -> Result<Answer, sqlx::Error> {
        sqlx::query_as("select unread, activated_by, active from platform.note_process($1, $2, $3, $4)")
            .bind(self.id)
            .bind(self.process.name())
            .bind(self.build)
            .bind(Json(known()))
            .fetch_one(&self.pool)
            .await
    }

    /// Takes note of an answer to what was asked at an instant.
    fn hear(&self, answer: Answer, at: Instant) {
        let mut heard = self.heard();
        if let Some(unread) = answer.unread {
            let by = answer.activated_by.unwrap_or_default();
            let reason =
                format!("this build ({}) can't read {unread}, which was activated by {by}: run that build or a newer one", self.build);
            heard.superseded = Some(reason.into());
            return;
        }
        let active = answer.active.map(|Json(active)| active).unwrap_or_default();
        let inactive: Arc<[_]> = not_among(&active).into();
        metrics::gauge!("tenure_release_inactive_types").set(f64::from(u32::try_from(inactive.len()).unwrap_or(u32::MAX)));
        *heard = Heard { at, inactive, superseded: None };
    }
}

/// Says each second that the process lives, until nobody holds its [`Release`] any more, or it can't go on.
async fn beat(inner: Weak<Inner>, stop: CancellationToken) {
    loop {
        tokio::time::sleep(BEAT).await;
        let Some(inner) = inner.upgrade() else { return };
        let left = inner.left.lock().await;
        if *left {
            return;
        }
        let at = Instant::now();
        match tokio::time::timeout(PATIENCE, inner.note()).await {
            Ok(Ok(answer)) => inner.hear(answer, at),
            Ok(Err(error)) => tracing::warn!(%error, "that this process lives could not be said; trying again"),
            Err(_) => tracing::warn!("that this process lives could not be said in time; trying again"),
        }
        drop(left);
        let superseded = inner.heard().superseded.clone();
        if let Some(reason) = superseded {
            tracing::error!(target: "audit", reason = &*reason, "ALERT: this process ends");
            stop.cancel();
            return;
        }
    }
}

/// What stands in the way of an activation.
#[derive(Debug, thiserror::Error)]
pub enum NotActivated {
    /// This build is the older one.
    #[error("this build can't read {}, which was activated by another: run that build or a newer one", .0.join(", "))]
    OlderThanActive(Vec<String>),
    /// Somebody lives who can't read it.
    #[error(
        "{}. Nothing was activated: replace them by this build, or stop them, and run it again; one that was killed is taken for dead after {DEAD} s",
        .0.iter().map(Obstacle::to_string).collect::<Vec<_>>().join("; ")
    )]
    StillRead(Vec<Obstacle>),
    /// The database is away, or refused.
    #[error("the database refused, and nothing was activated: {0}")]
    Database(#[from] sqlx::Error),
}

/// A process that can't read what is to be activated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// It says so.
    Process(ProcessLine),
    /// It does not say what it reads, as no build did before this was asked. Its sessions in the database show that it is there.
    Silent {
        /// What it calls itself.
        kind: String,
        /// Its sessions.
        sessions: i64,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(process) => {
                let ProcessLine { kind, build, seen_s, can_not_read, .. } = process;
                write!(f, "{kind} of build {build}, seen {seen_s} s ago, can't read {}", can_not_read.join(", "))
            }
            Self::Silent { kind, sessions } => {
                write!(f, "{kind} has {sessions} sessions and does not say what it reads, so it is of an older build")
            }
        }
    }
}

/// A process that says what it reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProcessLine {
    /// Such as `tenure-projector`.
    pub kind: String,
    /// Its build.
    pub build: String,
    /// Seconds since it was last heard.
    pub seen_s: i64,
    /// Whether it was heard lately.
    pub lives: bool,
    /// What this build knows and it does not.
    pub can_not_read: Vec<String>,
}

/// What is active, and who lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The build that was asked.
    pub build: String,
    /// How often types were activated since the database was made.
    pub activation: i64,
    /// How many types are active.
    pub active: usize,
    /// What this build knows and may not write yet.
    pub inactive: Vec<TypeVersion>,
    /// What is active and this build can't read.
    pub unread: Vec<String>,
    /// Who says what it reads.
    pub processes: Vec<ProcessLine>,
    /// Who does not, and may not be able to read what is new.
    pub silent: Vec<Obstacle>,
}

impl Status {
    /// Who keeps what is not active from being activated.
    pub fn obstacles(&self) -> Vec<Obstacle> {
        let cannot = self.processes.iter().filter(|process| process.lives && !process.can_not_read.is_empty());
        cannot.cloned().map(Obstacle::Process).chain(self.silent.iter().cloned()).collect()
    }
    /// Whether somebody who looks dead could not read what is not active.
    fn has_doubtful(&self) -> bool {
        self.processes.iter().any(|process| !process.lives && !process.can_not_read.is_empty())
    }
}

/// What is active, and who lives. As the owner.
pub async fn status(owner: &PgPool) -> Result<Status, sqlx::Error> {
    look(&mut *owner.acquire().await?).await
}

#[derive(FromRow)]
struct ProcessRow {
    kind: String,
    build: String,
    reads: Json<HashMap<String, u16>>,
    seen_s: i64,
    lives: bool,
}

async fn look(conn: &mut PgConnection) -> Result<Status, sqlx::Error> {
    let active: Json<Types> = sqlx::query_scalar(
        "select coalesce(jsonb_object_agg(name, newest), '{}')
         from (select category || '.' || event_type as name, max(schema_version) as newest from platform.active_event group by 1) types",
    )
    .fetch_one(&mut *conn)
    .await?;
    let active = active.0;
    let inactive: Vec<TypeVersion> = not_among(&active).into_iter().map(|(_, one)| one).collect();
    let ours = known();
    let unread = active.iter().filter(|(name, newest)| ours.get(*name).is_none_or(|known| known < *newest));
    let unread = unread.map(|(name, newest)| format!("{} v{newest}", name.replacen('.', "/", 1))).collect();
    let rows: Vec<ProcessRow> = sqlx::query_as(
        "select kind, build, reads, greatest(extract(epoch from clock_timestamp() - seen_at), 0)::bigint as seen_s,
             seen_at > clock_timestamp() - make_interval(secs => $1) as lives
         from platform.process order by kind, started_at",
    )
    .bind(f64::from(DEAD))
    .fetch_all(&mut *conn)
    .await?;
    let process = |ProcessRow { kind, build, reads, seen_s, lives }| {
        let reads = |one: &TypeVersion| reads.get(&format!("{}.{}", one.category, one.event_type)).copied().unwrap_or_default();
        let can_not_read = inactive.iter().filter(|one| reads(one) < one.schema_version).map(ToString::to_string).collect();
        ProcessLine { kind, build, seen_s, lives, can_not_read }
    };
    let processes = rows.into_iter().map(process).collect();
    let services: Vec<&str> =
        Process::ALL.into_iter().filter(|process| process.has_database() && *process != Process::Cli).map(Process::name).collect();
    let silent: Vec<(String, i64)> = sqlx::query_as(
        "select application_name, count(*) from pg_stat_activity
         where datname = current_database() and application_name = any ($1) group by 1 order by 1",
    )
    .bind(services)
    .fetch_all(&mut *conn)
    .await?;
    let silent = silent.into_iter().map(|(kind, sessions)| Obstacle::Silent { kind, sessions }).collect();
    let activation = sqlx::query_scalar("select activation from platform.release").fetch_one(conn).await?;
    Ok(Status { build: build::id().into(), activation, active: active.len(), inactive, unread, processes, silent })
}

/// Activates all that this build knows, unless somebody lives who can't read it. Returns what it activated; nothing where all was
/// active. As the owner; in one transaction, which whoever starts meanwhile waits for.
pub async fn activate(owner: &PgPool) -> Result<Vec<TypeVersion>, NotActivated> {
    let before = status(owner).await?;
    if before.has_doubtful() && before.obstacles().is_empty() {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let mut tx = owner.begin().await?;
    lock(&mut tx).await?;
    let status = look(&mut tx).await?;
    if !status.unread.is_empty() {
        return Err(NotActivated::OlderThanActive(status.unread));
    }
    if status.inactive.is_empty() {
        return Ok(Vec::new());
    }
    let obstacles = status.obstacles();
    if !obstacles.is_empty() {
        return Err(NotActivated::StillRead(obstacles));
    }
    insert_active(&mut tx).await?;
    sqlx::query("update platform.release set activation = activation + 1").execute(&mut *tx).await?;
    tx.commit().await?;
    let types = status.inactive.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    tracing::info!(target: "audit", build = status.build, types, "types of events were activated");
    Ok(status.inactive)
}

/// Keeps everybody from saying that they live until the transaction ends. Whoever waits for it, and whoever has it and stands still, gives
/// up after 2 s: a process that is not heard for 8 s does nothing any more.
async fn lock(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    conn.execute(
        "set local lock_timeout = '2s'; set local statement_timeout = '2s'; set local idle_in_transaction_session_timeout = '2s';
         lock table platform.release in exclusive mode",
    )
    .await?;
    Ok(())
}

/// Activates all that this build knows, with the versions before.
async fn insert_active(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let all =
        Event::types().flat_map(|(category, event_type, newest)| (1..=newest).map(move |version| (category.name(), event_type, version)));
    let (mut categories, mut types, mut versions) = (Vec::new(), Vec::new(), Vec::new());
    for (category, event_type, version) in all {
        categories.push(category);
        types.push(event_type);
        versions.push(i32::from(version));
    }
    sqlx::query(
        "insert into platform.active_event (category, event_type, schema_version, activated_by)
         select category, event_type, schema_version, $4
         from unnest($1::text[], $2::text[], $3::integer[]) new (category, event_type, schema_version)
         on conflict do nothing",
    )
    .bind(categories)
    .bind(types)
    .bind(versions)
    .bind(build::id())
    .execute(conn)
    .await?;
    Ok(())
}

/// Brings the database up to this build, as [`provision::bootstrap`] does, and activates what the build knows where the database is
/// new. A database of a newer build on which this one may run stays as it is.
pub async fn bootstrap(owner: &PgPool, passwords: &[(&str, &str)]) -> anyhow::Result<()> {
    let is_set_up: bool = sqlx::query_scalar("select to_regclass('platform.migration') is not null").fetch_one(owner).await?;
    if is_set_up && let Ok(Fits::Newer(newest)) = fit(applied(owner).await?) {
        tracing::warn!(newest, "the database was set up by a newer build, and stays as it is");
        return Ok(());
    }
    provision::bootstrap(owner, passwords).await?;
    tokio::task::spawn_blocking(build::id).await.context("reading which build this is")?;
    let mut tx = owner.begin().await?;
    tx.execute("set local role tenure_owner; set local search_path = pg_catalog, pg_temp").await?;
    lock(&mut tx).await?;
    for (name, sql) in provision::migrations() {
        sqlx::query("update platform.migration set runs_with = $2 where name = $1 and runs_with is distinct from $2")
            .bind(name)
            .bind(runs_with(sql))
            .execute(&mut *tx)
            .await?;
    }
    // Killed before this, the next one does it.
    let new: Option<bool> =
        sqlx::query_scalar("update platform.release set is_new = false where is_new returning true").fetch_optional(&mut *tx).await?;
    if new.is_some() {
        insert_active(&mut tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// The oldest migration that a build must know to run on a database with this one; none if it must know this one.
fn runs_with(sql: &str) -> Option<&str> {
    sql.lines().find_map(|line| line.strip_prefix("-- runs-with: ")).map(str::trim)
}

/// A migration that a database has.
#[derive(Debug, Clone, FromRow)]
struct Applied {
    name: String,
    checksum: String,
    runs_with: Option<String>,
}

async fn applied(pool: &PgPool) -> Result<Vec<Applied>, sqlx::Error> {
    // A database of before has no such column.
    sqlx::query_as("select name, checksum, to_jsonb(m) ->> 'runs_with' as runs_with from platform.migration m order by name")
        .fetch_all(pool)
        .await
}

/// How a database's tables fit a build that may run on it.
#[derive(Debug, PartialEq, Eq)]
enum Fits {
    /// They are those of the build.
    Exactly,
    /// They are of a newer one, whose newest migration is this.
    Newer(String),
}

/// Refuses a database on which this build may not run (I8).
fn fit(applied: Vec<Applied>) -> anyhow::Result<Fits> {
    let ours: HashMap<&str, &str> = provision::migrations().collect();
    let mut there: HashMap<&str, &Applied> = HashMap::new();
    let mut newest = None;
    for migration in &applied {
        let Some(sql) = ours.get(&*migration.name) else {
            let name = &migration.name;
            match migration.runs_with.as_deref() {
                Some(oldest) if ours.contains_key(oldest) => newest = newest.max(Some(name.clone())),
                Some(oldest) => {
                    bail!("the database is newer than this build: it has the migration {name}, on which only builds run that know {oldest}")
                }
                None => bail!("the database is newer than this build: it has the migration {name}; run a build that knows it"),
            }
            continue;
        };
        if migration.checksum != provision::checksum(sql) {
            return Err(provision::changed(&migration.name));
        }
        there.insert(&migration.name, migration);
    }
    let missing = provision::migrations().find(|(name, _)| !there.contains_key(name));
    if let Some((missing, _)) = missing {
        bail!("the database is older than this build: it lacks migrations/{missing}; run the bootstrap first");
    }
    Ok(newest.map_or(Fits::Exactly, Fits::Newer))
}

/// Refuses a database on which this build may not run: its tables are older (run the bootstrap), or of a newer build and made so that
/// this one can't use them (I8).
pub async fn check_schema(pool: &PgPool) -> anyhow::Result<()> {
    let applied = applied(pool).await.context("the database is not set up; run `tenure up` or the bootstrap first")?;
    fit(applied).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Applied> {
        let all = provision::migrations();
        all.map(|(name, sql)| Applied { name: name.into(), checksum: provision::checksum(sql), runs_with: None }).collect()
    }

    fn later(runs_with: Option<&str>) -> Vec<Applied> {
        let later = Applied { name: "platform/9999_later.sql".into(), checksum: "x".into(), runs_with: runs_with.map(Into::into) };
        all().into_iter().chain([later]).collect()
    }

    #[test]
    fn a_build_runs_on_what_a_newer_one_made_for_it_and_on_nothing_else() {
        let refused = |applied: Vec<Applied>| fit(applied).unwrap_err().to_string();
        assert_eq!(fit(all()).unwrap(), Fits::Exactly);
        assert_eq!(fit(later(Some("platform/0025_release.sql"))).unwrap(), Fits::Newer("platform/9999_later.sql".into()));
        assert!(refused(later(None)).contains("newer than this build: it has the migration platform/9999_later.sql"));
        assert!(refused(later(Some("platform/9998_unknown.sql"))).contains("only builds run that know platform/9998_unknown.sql"));
        assert!(refused(later(Some("platform/0025_release.sql")).into_iter().skip(1).collect()).contains("older than this build"));
        let mut changed = all();
        changed[0].checksum = "x".into();
        assert!(refused(changed).contains("was changed after"));
    }

    #[test]
    fn a_migration_says_with_whom_it_runs_by_a_file_that_is_there() {
        assert_eq!(runs_with("-- What it does.\n-- runs-with: platform/0025_release.sql\ncreate …"), Some("platform/0025_release.sql"));
        assert_eq!(runs_with("create …"), None);
        let all: Vec<_> = provision::migrations().collect();
        for (name, oldest) in all.iter().filter_map(|(name, sql)| Some((name, runs_with(sql)?))) {
            assert!(all.iter().any(|(other, _)| *other == oldest), "{name} names {oldest}, which is not there");
        }
    }

    #[test]
    fn what_is_not_active_in_its_newest_version_is_inactive() {
        assert!(not_among(&known()).is_empty());
        let names = |active: &Types| not_among(active).iter().map(|(_, one)| one.to_string()).collect::<Vec<_>>();
        let mut active = known();
        active.insert("employee.CompensationChanged".into(), 1);
        active.remove("employee.EmploymentEnded");
        active.insert("leave.LeaveStarted".into(), 1);
        assert_eq!(names(&active), ["employee/CompensationChanged v2", "employee/EmploymentEnded v1"]);
        assert_eq!(names(&Types::new()).len(), known().len());
    }
}
