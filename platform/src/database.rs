//! The pool to PostgreSQL that every process uses, and whether the database fits this build.

use std::{
    io::ErrorKind::TimedOut,
    str::FromStr as _,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow, bail};
use backon::{ExponentialBuilder, Retryable as _};
use secrecy::ExposeSecret as _;
use sqlx::{
    ConnectOptions as _, Connection as _, Executor as _, PgPool, Postgres, Row as _,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions, PgRow, PgSslMode},
};

use crate::{Config, Process, problem::database_is_away, provision, release, tls};

/// Statements that a connection keeps prepared; of the largest, those of the query API, each takes a third of a megabyte there.
const STATEMENTS: usize = 160;
/// How long a caller waits for a free connection before the answer is 503.
pub(crate) const ACQUIRE: Duration = Duration::from_secs(5);
/// How long a connection that is looked at between two users may take to answer. One that was lost without a word never does,
/// and would keep its place in the pool for as long as the kernel waits.
pub(crate) const LOOK_FOR: Duration = Duration::from_secs(2);

/// Whether a connection is as it was given out, once a lock that its session holds is let go. By the simple protocol, for which
/// both instants are those of the message, unless a transaction began earlier. (By the extended one they differ always: each of
/// its messages has an instant.)
pub(crate) const LOOK: &str = "select current_user = session_user and now() = statement_timestamp() from pg_advisory_unlock_all()";

/// What [`LOOK`] found.
pub(crate) fn is_clean(row: &PgRow) -> Result<bool, sqlx::Error> {
    row.try_get(0)
}

/// A connection that was used this recently is taken to be well.
const STEADY: Duration = Duration::from_secs(1);

/// When this process last found a connection to PostgreSQL lost. Whatever took it (a fail-over, a restart, an administrator) most likely
/// took all others too, in every pool of the process: each would cost a request its answer.
static LAST_LOST: Mutex<Option<Instant>> = Mutex::new(None);

/// Has every connection that rests now looked at before it is used again.
pub(crate) fn note_lost_connection() {
    *LAST_LOST.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
}

/// Whether a connection was found lost within so long.
fn a_connection_was_lost(within: Duration) -> bool {
    LAST_LOST.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|lost| lost.elapsed() <= within)
}

tokio::task_local! {
    /// Of whoever gives a connection back: that they have just looked at it themselves.
    static LOOKED_AT: ();
}

/// Gives a connection back to its pool, which looks at it unless the caller just found it clean: a round trip less, for reads
/// one of four.
pub(crate) async fn give_back(mut connection: PoolConnection<Postgres>, clean: bool) {
    if clean {
        // What dropping it would do in a task of its own, which would know of nothing.
        LOOKED_AT.scope((), connection.return_to_pool()).await;
    }
}

/// Opens the process's pool. Waits up to half a minute for a server that is starting, and refuses a database that an
/// older or newer build has left behind (I8).
pub async fn connect(config: &Config, process: Process) -> anyhow::Result<PgPool> {
    let options = PgConnectOptions::from_str(config.database_url.expose_secret())
        .context("TENURE_DATABASE_URL is not a PostgreSQL URL; put one such as postgres://tenure_query:…@db:5432/tenure")?;
    let pool = pool_options(config.database_connections).connect_lazy_with(connect_options(options, process));
    let retry =
        ExponentialBuilder::default().with_min_delay(Duration::from_millis(100)).with_max_delay(Duration::from_secs(2)).with_jitter();
    (|| async { sqlx::raw_sql("select 1").execute(&pool).await })
        .retry(retry.with_max_times(20))
        .when(|error| database_is_away(error) && !tls::is_refusal(error))
        .notify(|error, after| tracing::warn!(%error, ?after, "PostgreSQL does not answer yet"))
        .await
        .map_err(|error| {
            let why = if tls::is_refusal(&error) {
                "TLS was demanded and did not come about; check sslmode, sslrootcert and the host in"
            } else {
                "check that the server runs, and"
            };
            anyhow!(error).context(format!("PostgreSQL can't be reached; {why} TENURE_DATABASE_URL"))
        })?;
    warn_of_clear_text(&pool).await?;
    if process != Process::Cli {
        release::check_schema(&pool).await?;
        if !config.allow_open_functions {
            provision::check_hardened(&pool).await?;
        }
    }
    Ok(pool)
}

/// Says so where nobody checks which server answers, or who reads along: `prefer`, the default, takes either in silence.
async fn warn_of_clear_text(pool: &PgPool) -> anyhow::Result<()> {
    let options = pool.connect_options();
    let mode = options.get_ssl_mode();
    if options.get_socket().is_some() || tls::is_this_machine(options.get_host()) || matches!(mode, PgSslMode::VerifyFull) {
        return Ok(());
    }
    let encrypted: bool =
        sqlx::query_scalar("select coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false)").fetch_one(pool).await?;
    let what = if encrypted { "encrypted, but with whom is not checked" } else { "NOT ENCRYPTED" };
    tracing::warn!(target: "audit", host = options.get_host(), ?mode, "the connection to PostgreSQL is {what}; put sslmode=verify-full into TENURE_DATABASE_URL");
    Ok(())
}

/// Another pool to the same database, which the first one's users can't fill. It connects when it is first asked.
pub fn apart(pool: &PgPool, connections: u32) -> PgPool {
    pool_options(connections).connect_lazy_with(pool.connect_options().as_ref().clone())
}

/// How a process connects: its name, and settings of its own for timeouts and plans.
pub fn connect_options(options: PgConnectOptions, process: Process) -> PgConnectOptions {
    // Requests are bounded on the server too, for the case that the process dies with a statement running.
    let statement_timeout = match process {
        Process::CommandApi | Process::QueryApi | Process::Worker => "30s",
        Process::Relay | Process::Projector | Process::Console | Process::Cli => "10min",
    };
    // The projector reads and writes by key. In a new read model, which has no statistics yet, the planner would read whole
    // tables for that: with every thousand people more slowly, until the first analysis.
    let scans = if process == Process::Projector { "off" } else { "on" };
    let plans = match process {
        Process::QueryApi => "force_generic_plan",
        Process::CommandApi | Process::Relay | Process::Projector | Process::Worker | Process::Console | Process::Cli => "auto",
    };
    options
        .application_name(process.session_name())
        .statement_cache_capacity(STATEMENTS)
        .options([
            ("statement_timeout", statement_timeout),
            ("idle_in_transaction_session_timeout", "10min"),
            ("client_connection_check_interval", "2s"),
            // Compiling a plan takes longer than running any of ours: an org chart of 6,000 people took 889 ms with it.
            ("jit", "off"),
            // A connection that served another tenant plans anew: left to itself, for any parameters, and where that seems dear then
            // for these once more.
            ("plan_cache_mode", plans),
            ("enable_seqscan", scans),
            // What is read often is in memory, where an index costs no more than the next page. Taken for a disk, tables of a few
            // pages are read whole for every row of a page: two fifths of a list's time, half of an org chart's.
            ("random_page_cost", "1.1"),
        ])
        .disable_statement_logging()
}

/// A bounded pool, with a second layer behind [`crate::TenantTx`]'s guard: a connection that comes back under another
/// role or inside a transaction is closed, and no lock of a session outlives who took it.
pub fn pool_options(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE)
        .idle_timeout(Duration::from_mins(5))
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            // A connection in steady use proves itself; one that rested may have lost its server, and so may have all where one did.
            Box::pin(async move {
                if meta.idle_for < STEADY && !a_connection_was_lost(meta.idle_for) {
                    return Ok(true);
                }
                let alive = matches!(tokio::time::timeout(LOOK_FOR, connection.ping()).await, Ok(Ok(())));
                if !alive {
                    note_lost_connection();
                }
                Ok(alive)
            })
        })
        .after_release(|connection, _| {
            Box::pin(async move {
                if LOOKED_AT.try_with(|()| ()).is_ok() {
                    return Ok(true);
                }
                let look = connection.fetch_one(LOOK);
                let looked = tokio::time::timeout(LOOK_FOR, look).await.unwrap_or_else(|_| Err(std::io::Error::from(TimedOut).into()));
                let clean = is_clean(&looked.inspect_err(|_| note_lost_connection())?)?;
                if !clean {
                    tracing::error!(target: "audit", "a connection came back to the pool inside a transaction or a tenant's role, and was closed");
                }
                Ok(clean)
            })
        })
}

/// The name in the URL must be the process's own role; a superuser would make every check below it void.
pub async fn refuse_superuser(pool: &PgPool) -> anyhow::Result<()> {
    let superuser: bool =
        sqlx::query_scalar("select rolsuper or rolbypassrls from pg_roles where rolname = session_user").fetch_one(pool).await?;
    if superuser {
        bail!(
            "the service is connected to PostgreSQL as a role that no row-level security binds; use its own login role in TENURE_DATABASE_URL"
        );
    }
    Ok(())
}
