//! The platform against a real PostgreSQL: bootstrap, provisioning, the tenant transaction, keys.

use std::{
    collections::HashSet,
    future::Future,
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};

use events::{EmployeeId, KeyState, PersonId, Position, TenantId, TenantScope};
use futures::{StreamExt as _, stream};
use platform::{
    Access, Config, Gate, Keys, Problem, Process, READ_MODEL_VERSION, Registry, ScopedTx, TenantTx,
    auth::{Issuer, TokenRequest},
    database, keys,
    keys::KeyError,
    provision::{self, provision},
    read_model::{Rebuild, standings},
    read_schema,
    release::{self, bootstrap},
};
use secrecy::ExposeSecret as _;
use sqlx::{ConnectOptions as _, Executor as _, PgPool, postgres::PgConnectOptions};
use uuid::Uuid;

/// A database of its own on the test server, bootstrapped, with a pool per role.
pub(crate) struct Database {
    pub(crate) owner: PgPool,
    pub(crate) config: Config,
    options: PgConnectOptions,
}

impl Database {
    pub(crate) async fn empty() -> Self {
        let url = crate::servers::database_url().await;
        let server: PgConnectOptions = url.parse().unwrap();
        let name = format!("platform_{}", Uuid::now_v7().simple());
        let admin = PgPool::connect_with(server.clone()).await.unwrap();
        admin.execute(format!("create database {name}").as_str()).await.unwrap();
        admin.close().await;
        let options = server.database(&name);
        let owner = database::pool_options(4).connect_with(options.clone()).await.unwrap();
        let key = std::env::temp_dir().join(format!("{name}.key"));
        keys::create_master_key(&key).unwrap();
        let config = Config::from_sources(Process::CommandApi, None, |variable| match variable {
            "TENURE_DATABASE_URL" => Some(url.clone()),
            "TENURE_MASTER_KEY_FILE" => Some(key.display().to_string()),
            _ => None,
        })
        .unwrap();
        Self { owner, config, options }
    }
    pub(crate) async fn bootstrapped() -> Self {
        let database = Self::empty().await;
        bootstrap(&database.owner, &[]).await.unwrap();
        database
    }
    /// The settings of a process on this very database.
    pub(crate) fn config(&self) -> Config {
        Config { database_url: self.options.to_url_lossy().to_string().into(), ..self.config.clone() }
    }
    pub(crate) fn pool(&self, role: &str, connections: u32) -> PgPool {
        database::pool_options(connections).connect_lazy_with(self.options.clone().username(role))
    }
    pub(crate) async fn keys(&self, role: &str) -> Keys {
        Keys::open(&self.config, self.pool(role, 4)).await.unwrap()
    }
    pub(crate) async fn tenant(&self) -> TenantScope {
        let scope = TenantScope::checked(TenantId::from_uuid(Uuid::now_v7()));
        provision(&self.pool("tenure_worker", 2), &self.keys("tenure_worker").await, scope).await.unwrap();
        scope
    }
}

fn schema(scope: TenantScope) -> String {
    read_schema(scope.tenant(), READ_MODEL_VERSION)
}

/// Puts a row that only this tenant may ever see into its read model.
pub(crate) async fn put_canary(projector: &PgPool, scope: TenantScope) {
    let mut tx = TenantTx::begin(projector, scope, &schema(scope), Access::Write).await.unwrap();
    sqlx::query(
        "insert into job_span (job_id, valid_from, seq, valid_to, code, title, sets) values ($1, '2000-01-01', 0, 'infinity', 'C', $2, 0)",
    )
    .bind(Uuid::now_v7())
    .bind(format!("canary of {}", scope.tenant()))
    .execute(tx.conn())
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

async fn canaries(query: &PgPool, scope: TenantScope) -> Vec<String> {
    let mut tx = TenantTx::begin(query, scope, &schema(scope), Access::Read).await.unwrap();
    let user: String = sqlx::query_scalar("select current_user::text").fetch_one(tx.conn()).await.unwrap();
    assert_eq!(user, format!("t_{}", scope.tenant()));
    let titles = sqlx::query_scalar("select title from job_span").fetch_all(tx.conn()).await.unwrap();
    tx.commit().await.unwrap();
    titles
}

fn code(error: &sqlx::Error) -> String {
    error.as_database_error().and_then(|e| e.code().map(std::borrow::Cow::into_owned)).unwrap_or_else(|| format!("{error:?}"))
}

#[tokio::test]
async fn bootstrap_is_idempotent_and_safe_when_two_run_at_once() {
    let database = Database::empty().await;
    let passwords = [("tenure_command", "one"), ("tenure_query", "two")];
    let (a, b, c) = tokio::join!(
        bootstrap(&database.owner, &passwords),
        bootstrap(&database.owner, &passwords),
        bootstrap(&database.owner, &passwords)
    );
    a.unwrap();
    b.unwrap();
    c.unwrap();
    bootstrap(&database.owner, &passwords).await.unwrap();
    release::check_schema(&database.pool("tenure_query", 1)).await.unwrap();
    database::refuse_superuser(&database.pool("tenure_query", 1)).await.unwrap();
    assert!(database::refuse_superuser(&database.owner).await.is_err());
    let owners: Vec<String> =
        sqlx::query_scalar("select distinct tableowner::text from pg_tables where schemaname in ('platform', 'event_store', 'worker')")
            .fetch_all(&database.owner)
            .await
            .unwrap();
    assert_eq!(owners, ["tenure_owner"]);
}

#[tokio::test]
async fn bootstrap_needs_no_superuser_and_a_tenant_is_provisioned_all_the_same() {
    let database = Database::empty().await;
    let name: String = sqlx::query_scalar("select current_database()::text").fetch_one(&database.owner).await.unwrap();
    let role = format!("boot_{name}");
    bootstrap(&Database::empty().await.owner, &[]).await.unwrap(); // the server's roles are there, made by somebody else
    database.owner.execute(format!("create role {role} login createrole; alter database {name} owner to {role}").as_str()).await.unwrap();
    let owner = database.pool(&role, 2);
    bootstrap(&owner, &[]).await.unwrap();
    bootstrap(&owner, &[]).await.unwrap();
    release::check_schema(&database.pool("tenure_relay", 1)).await.unwrap();
    let scope = database.tenant().await;
    put_canary(&database.pool("tenure_projector", 1), scope).await;
    assert_eq!(canaries(&database.pool("tenure_query", 1), scope).await.len(), 1);
    let refused = bootstrap(&database.pool("tenure_query", 1), &[]).await.unwrap_err();
    assert!(format!("{refused:#}").contains("must have admin option"), "{refused:#}");
    // One layer is missing then, so no process starts but on purpose.
    let config = database.config();
    let refused = database::connect(&config, Process::QueryApi).await.err().unwrap();
    assert!(format!("{refused:#}").contains("TENURE_ALLOW_OPEN_FUNCTIONS"), "{refused:#}");
    database::connect(&Config { allow_open_functions: true, ..config }, Process::QueryApi).await.unwrap();
}

#[tokio::test]
async fn a_database_newer_than_the_build_is_refused() {
    let database = Database::empty().await;
    let missing = release::check_schema(&database.owner).await.unwrap_err();
    assert!(format!("{missing:#}").contains("not set up"), "{missing:#}");
    bootstrap(&database.owner, &[]).await.unwrap();
    database.owner.execute("insert into platform.migration (name, checksum) values ('platform/9999_later.sql', 'x')").await.unwrap();
    for error in [bootstrap(&database.owner, &[]).await.unwrap_err(), release::check_schema(&database.owner).await.unwrap_err()] {
        assert!(format!("{error:#}").contains("newer than this build"), "{error:#}");
    }
    database
        .owner
        .execute("delete from platform.migration where name like '%later%'; update platform.migration set checksum = 'x'")
        .await
        .unwrap();
    let changed = bootstrap(&database.owner, &[]).await.unwrap_err();
    assert!(format!("{changed:#}").contains("was changed after"), "{changed:#}");
}

#[tokio::test]
async fn nobody_but_the_services_gets_in_and_public_gets_nothing() {
    let database = Database::bootstrapped().await;
    database.tenant().await;
    let open: Vec<String> = sqlx::query_scalar(
        "select 'schema ' || nspname from pg_namespace where nspname !~ '^(pg_|information_schema)' and has_schema_privilege('public', oid, 'usage')
         union all select 'table ' || c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = relnamespace
             where nspname !~ '^(pg_|information_schema)' and relkind in ('r', 'v', 'p') and has_table_privilege('public', c.oid, 'select')
         union all select 'function ' || p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = pronamespace
             where (nspname !~ '^(pg_|information_schema)' or proname in ('set_config', 'query_to_xml', 'ts_stat')) and has_function_privilege('public', p.oid, 'execute')
         union all select 'database' where has_database_privilege('public', current_database(), 'connect')
             or has_database_privilege('public', current_database(), 'temp')",
    )
    .fetch_all(&database.owner)
    .await
    .unwrap();
    assert_eq!(open, Vec::<String>::new());
}

#[tokio::test]
async fn a_tenant_is_provisioned_once_whoever_tries() {
    let database = Database::bootstrapped().await;
    let worker = database.pool("tenure_worker", 4);
    let keys = database.keys("tenure_worker").await;
    let scope = TenantScope::checked(TenantId::from_uuid(Uuid::now_v7()));
    assert!(!provision::is_provisioned(&database.pool("tenure_query", 1), scope).await.unwrap_or(false));
    let (a, b) = tokio::join!(provision(&worker, &keys, scope), provision(&worker, &keys, scope));
    a.unwrap();
    b.unwrap();
    put_canary(&database.pool("tenure_projector", 1), scope).await;
    let digest = keys.claim_digest(scope, "employee_number", "1").await.unwrap();
    provision(&worker, &keys, scope).await.unwrap();
    assert_eq!(canaries(&database.pool("tenure_query", 1), scope).await.len(), 1, "provisioning again keeps the rows");
    let command = database.keys("tenure_command").await;
    assert_eq!(command.claim_digest(scope, "employee_number", "1").await.unwrap(), digest, "and the claim key");
    assert!(provision::is_provisioned(&database.pool("tenure_query", 1), scope).await.unwrap());
}

#[tokio::test]
async fn provisioning_given_up_anywhere_is_absent_or_ready() {
    let database = Database::bootstrapped().await;
    let worker = database.pool("tenure_worker", 2);
    let keys = database.keys("tenure_worker").await;
    let query = database.pool("tenure_query", 1);
    // How many polls it takes depends on the machine's load: one that finished starts the count again.
    let (mut absent, mut finished, mut polls) = (0, 0, 0);
    for _ in 0..2000 {
        let scope = TenantScope::checked(TenantId::from_uuid(Uuid::now_v7()));
        let done = cancelled_after(polls, provision(&worker, &keys, scope)).await;
        let ready = provision::is_provisioned(&query, scope).await.unwrap_or(false);
        assert!(ready || done.is_none(), "it said it was done");
        absent += u32::from(!ready);
        provision(&worker, &keys, scope).await.unwrap();
        assert!(provision::is_provisioned(&query, scope).await.unwrap());
        (finished, polls) = if done.is_some() { (finished + 1, 0) } else { (finished, polls + 1) };
        if finished > 0 && absent > 5 {
            return;
        }
    }
    panic!("given up {absent} times before anything was there, finished {finished} times");
}

#[tokio::test]
async fn a_tenant_transaction_sees_its_tenant_and_nothing_else() {
    let database = Database::bootstrapped().await;
    let (a, b) = (database.tenant().await, database.tenant().await);
    let projector = database.pool("tenure_projector", 1);
    put_canary(&projector, a).await;
    put_canary(&projector, b).await;
    let query = database.pool("tenure_query", 1);
    assert_eq!(canaries(&query, a).await, [format!("canary of {}", a.tenant())]);
    assert_eq!(canaries(&query, b).await, [format!("canary of {}", b.tenant())]);
    assert!(TenantTx::begin(&query, a, &schema(b), Access::Read).await.is_err(), "another tenant's schema");
    assert!(TenantTx::begin(&query, a, "public", Access::Read).await.is_err());
    assert_eq!(code(&TenantTx::begin(&query, a, &schema(a), Access::Write).await.err().unwrap()), "42501", "query-api can't write");

    let denied = [
        format!("select * from {}.job_span", schema(b)),
        "select set_config('role', 'tenure_query', true)".into(),
        format!("select set_config('search_path', '{}', true)", schema(b)),
        format!("select query_to_xml('select * from {}.job_span', true, true, '')", schema(b)),
        "select * from ts_stat('select 1')".into(),
        "select * from platform.parked".into(),
        "select * from platform.person_key".into(),
        "select pg_read_file('/etc/passwd')".into(),
        "select pg_advisory_lock(hashtextextended('tenure.bootstrap', 0))".into(),
        "select pg_try_advisory_xact_lock_shared(1)".into(),
        format!("select platform.create_tenant_roles('{}')", a.tenant()),
        "select rolpassword from pg_authid".into(),
    ];
    for sql in denied {
        let mut tx = TenantTx::begin(&query, a, &schema(a), Access::Read).await.unwrap();
        let error = sqlx::query(&sql).fetch_all(tx.conn()).await.err().unwrap_or_else(|| panic!("{sql} was allowed"));
        assert_eq!(code(&error), "42501", "{sql}: {error}");
        tx.rollback().await.unwrap();
    }
    for sql in ["create table x ()", "create temporary table x ()", "insert into job_span select * from job_span", "create schema x"] {
        let mut tx = TenantTx::begin(&query, a, &schema(a), Access::Read).await.unwrap();
        let error = sqlx::query(sql).execute(tx.conn()).await.unwrap_err();
        assert!(["42501", "25006"].contains(&code(&error).as_str()), "{sql}: {error}");
        tx.rollback().await.unwrap();
    }
    // A value with a statement in it is one statement too many for the extended protocol.
    let mut tx = TenantTx::begin(&query, a, &schema(a), Access::Read).await.unwrap();
    let error =
        sqlx::query("select title from job_span where code = $1; set role tenure_query").bind("C").fetch_all(tx.conn()).await.unwrap_err();
    assert_eq!(code(&error), "42601");
    drop(tx);
    // Outside a tenant transaction the service's role sees no tenant at all.
    let error = sqlx::query(&format!("select * from {}.job_span", schema(a))).fetch_all(&query).await.unwrap_err();
    assert_eq!(code(&error), "42501");
}

/// Polls a future `polls` times, then drops it where it stands.
pub(crate) async fn cancelled_after<T>(polls: u32, future: impl Future<Output = T>) -> Option<T> {
    let mut left = polls;
    let mut future = pin!(future);
    std::future::poll_fn(move |cx: &mut Context<'_>| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn a_request_cancelled_at_any_await_leaks_nothing_to_the_next_tenant() {
    let database = Database::bootstrapped().await;
    let (a, b) = (database.tenant().await, database.tenant().await);
    let projector = database.pool("tenure_projector", 1);
    put_canary(&projector, a).await;
    put_canary(&projector, b).await;
    let query = database.pool("tenure_query", 1);
    // How many polls a request takes depends on the machine's load: enough rounds for a hundred cancellations.
    let mut interrupted = 0;
    for round in 0..500 {
        if round >= 10 && interrupted >= 100 {
            eprintln!("cancelled at {interrupted} points in {round} rounds");
            return;
        }
        for polls in 0..100 {
            let request = async {
                let mut tx = TenantTx::begin(&query, a, &schema(a), Access::Read).await.unwrap();
                let titles: Vec<String> =
                    sqlx::query_scalar("select title from job_span, pg_sleep(0.0005)").fetch_all(tx.conn()).await.unwrap();
                assert_eq!(titles, [format!("canary of {}", a.tenant())]);
                if round % 2 == 0 { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
            };
            let done = cancelled_after(polls, request).await;
            // The pool has one connection: whatever the cancelled request left behind is what comes next.
            if polls % 2 == 0 {
                assert_eq!(canaries(&query, b).await, [format!("canary of {}", b.tenant())]);
            } else {
                let (user, path): (String, String) =
                    sqlx::query_as("select current_user::text, current_setting('search_path')").fetch_one(&query).await.unwrap();
                assert_eq!((user.as_str(), path.contains("t_")), ("tenure_query", false));
                assert!(sqlx::query(&format!("select * from {}.job_span", schema(a))).fetch_all(&query).await.is_err());
            }
            if done.is_some() {
                break;
            }
            interrupted += 1;
        }
    }
    panic!("only {interrupted} cancellations");
}

#[tokio::test]
async fn a_connection_that_comes_back_dirty_is_closed() {
    let database = Database::bootstrapped().await;
    let scope = database.tenant().await;
    let query = database.pool("tenure_query", 1);
    let pid = async || sqlx::query_scalar::<_, i32>("select pg_backend_pid()").fetch_one(&query).await.unwrap();
    let before = pid().await;
    canaries(&query, scope).await;
    assert_eq!(pid().await, before, "a clean one stays");
    for dirt in [format!("begin; set local role \"t_{}\"", scope.tenant()), format!("set role \"t_{}\"", scope.tenant()), "begin".into()] {
        let mut conn = query.acquire().await.unwrap();
        let before: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *conn).await.unwrap();
        conn.execute(dirt.as_str()).await.unwrap();
        drop(conn);
        let (after, user): (i32, String) = sqlx::query_as("select pg_backend_pid(), current_user::text").fetch_one(&query).await.unwrap();
        assert_eq!((after != before, user.as_str()), (true, "tenure_query"), "{dirt}");
    }
    // A lock that a session holds would outlive every transaction.
    let projector = database.pool("tenure_projector", 1);
    let held = "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())";
    sqlx::query("select pg_try_advisory_lock(7)").execute(&projector).await.unwrap();
    assert_eq!(sqlx::query_scalar::<_, i64>(held).fetch_one(&projector).await.unwrap(), 0);
}

#[tokio::test]
async fn a_database_that_went_away_is_503_and_then_served_again() {
    let database = Database::bootstrapped().await;
    let scope = database.tenant().await;
    let query = database::pool_options(1)
        .acquire_timeout(Duration::from_millis(200))
        .connect_lazy_with(database.options.clone().username("tenure_query"));
    let held = query.acquire().await.unwrap();
    let exhausted = Problem::from(TenantTx::begin(&query, scope, &schema(scope), Access::Read).await.err().unwrap());
    assert_eq!((exhausted.status.as_u16(), exhausted.code, exhausted.retry_after), (503, "database_unavailable", Some(1)));
    drop(held);
    canaries(&query, scope).await;
    database
        .owner
        .execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'tenure_query' and datname = current_database()")
        .await
        .unwrap();
    let mut failures = 0;
    while let Err(error) = TenantTx::begin(&query, scope, &schema(scope), Access::Read).await {
        assert_eq!(Problem::from(error).status, 503);
        failures += 1;
        assert!(failures < 3, "a lost connection is not handed out again");
    }
    canaries(&query, scope).await;
}

#[tokio::test]
async fn a_process_opens_its_pool_only_on_a_database_of_its_build() {
    let database = Database::empty().await;
    let error = database::connect(&database.config(), Process::QueryApi).await.err().unwrap();
    assert!(format!("{error:#}").contains("not set up"), "{error:#}");
    bootstrap(&database.owner, &[]).await.unwrap();
    let pool = database::connect(&database.config(), Process::QueryApi).await.unwrap();
    let (name, timeout): (String, String) =
        sqlx::query_as("select current_setting('application_name'), current_setting('statement_timeout')").fetch_one(&pool).await.unwrap();
    assert!(name.starts_with("tenure-query-api "), "{name}: whose build does not say what it reads is called by its name alone");
    assert_eq!(timeout, "30s");
}

#[tokio::test]
async fn a_commit_of_a_failed_transaction_is_an_error() {
    let database = Database::bootstrapped().await;
    let scope = database.tenant().await;
    let projector = database.pool("tenure_projector", 1);
    let mut tx = TenantTx::begin(&projector, scope, &schema(scope), Access::Write).await.unwrap();
    assert!(sqlx::query("select 1/0").execute(tx.conn()).await.is_err());
    assert_eq!(code(&tx.commit().await.unwrap_err()), "25P02");
}

#[tokio::test]
async fn a_rebuilt_schema_takes_the_place_of_the_live_one() {
    let database = Database::bootstrapped().await;
    let (scope, other) = (database.tenant().await, database.tenant().await);
    let projector = database.pool("tenure_projector", 2);
    put_canary(&projector, scope).await;
    let live = schema(scope);
    let begin = async || {
        let rebuild = Rebuild::begin(&mut projector.acquire().await.unwrap(), scope).await.unwrap();
        for _ in 0..2 {
            rebuild.create_schema(&projector, &provision::read_model_sql()).await.unwrap();
        }
        rebuild
    };
    let index = async |rebuild: &Rebuild, statements: Vec<&str>| {
        let mut tx = TenantTx::begin(&projector, scope, &rebuild.next(), Access::Write).await.unwrap();
        for sql in statements {
            tx.conn().execute(sql).await.unwrap();
        }
        tx.commit().await.unwrap();
    };
    let cut_over = async |rebuild: &Rebuild, position: u64| -> Result<(), String> {
        let mut tx = projector.begin().await.unwrap();
        rebuild.cut_over(&mut tx, Position(position)).await.map_err(|error| error.to_string())?;
        tx.commit().await.map_err(|error| error.to_string())
    };
    let query = database.pool("tenure_query", 1);
    let refused = async |result: Result<(), String>, why: &str| {
        assert!(result.as_ref().is_err_and(|error| error.contains(why)), "{result:?} does not say {why:?}");
        assert_eq!(canaries(&query, scope).await.len(), 1, "{why}: still the old one");
    };
    // PostgreSQL itself looks at what is to serve, and whose it is.
    let keys = provision::read_model_sql().indexes;
    let first = begin().await;
    refused(cut_over(&first, 0).await, "working indexes").await;
    index(&first, keys.clone()).await;
    refused(cut_over(&first, 7).await, "stands at 0, not at 7").await;
    index(&first, vec!["drop table job_span"]).await;
    refused(cut_over(&first, 0).await, "tables").await;
    first.give_up(&projector).await.unwrap();
    refused(cut_over(&first, 0).await, "no schema to cut over to").await;
    let (first, second) = (begin().await, begin().await);
    index(&first, keys.clone()).await;
    refused(cut_over(&first, 0).await, "a later rebuild").await;
    let old = "select platform.cut_over($1, $2, $3)";
    let old = sqlx::query(old).bind(scope.tenant().namespace()).bind(&live).bind(first.next()).execute(&projector).await;
    refused(old.map(|_| ()).map_err(|error| error.to_string()), "does not exist").await;
    // One that is not the last leaves what the last one makes alone.
    first.drop_left_over(&projector).await.unwrap();
    index(&second, keys).await;
    cut_over(&second, 0).await.unwrap();
    assert_eq!(canaries(&query, scope).await.len(), 0, "the new one, readable by the tenant's reader");
    assert_eq!(standings(&projector, &[other, scope]).await.unwrap().len(), 2);
    second.drop_left_over(&projector).await.unwrap();
    let schemas = format!("select array_agg(nspname::text) from pg_namespace where nspname like 't\\_{}\\_r%'", scope.tenant());
    let schemas: Vec<String> = sqlx::query_scalar(&schemas).fetch_one(&database.owner).await.unwrap();
    assert_eq!(schemas, [live]);
    for sql in ["drop_read_schema($1, $2)", "create_read_schema($1, $2)", "drop_left_over($1, $2, 1)"] {
        let sql = format!("select platform.{sql}");
        let foreign = sqlx::query(&sql).bind(scope.tenant().namespace()).bind(schema(other));
        assert_eq!(code(&foreign.execute(&projector).await.unwrap_err()), "22023", "{sql}");
    }
    for role in ["tenure_query", "tenure_command", "tenure_relay"] {
        for sql in ["begin_rebuild('x')", "read_models('{}', 2)", "cut_over('x', 'x', 1, 1, 1, 1)", "drop_left_over('x', 'x', 1)"] {
            let denied = sqlx::query(&format!("select platform.{sql}")).execute(&database.pool(role, 1)).await.unwrap_err();
            assert_eq!(code(&denied), "42501", "{role} {sql}");
        }
    }
    for (role, sql) in [
        ("tenure_projector", "lock_tenant($1)"),
        ("tenure_worker", "create_tenant_roles($1)"),
        ("tenure_worker", "begin_provisioning($1, 'x')"),
        ("tenure_worker", "end_provisioning($1)"),
    ] {
        let sql = format!("select platform.{sql}");
        let injected = sqlx::query(&sql).bind("x\"; drop schema platform; --").execute(&database.pool(role, 1)).await;
        assert_eq!(code(&injected.unwrap_err()), "22023", "{sql}");
    }
}

#[tokio::test]
async fn ten_thousand_people_get_one_durable_key_each() {
    let database = Database::bootstrapped().await;
    let scope = database.tenant().await;
    let (a, b) = (database.keys("tenure_command").await, database.keys("tenure_command").await);
    let people: Vec<_> = (0..10_000).map(|_| PersonId::from_uuid(Uuid::now_v7())).collect();
    // As many at once as a batch has in flight.
    let make = |keys: &Keys| {
        let calls: Vec<_> = people.iter().map(|person| (keys.clone(), *person)).collect();
        let calls = calls.into_iter().map(|(keys, person)| async move { keys.person_or_create(scope, person).await.unwrap() });
        stream::iter(calls).buffered(512).collect::<Vec<_>>()
    };
    let (from_a, from_b) = tokio::join!(make(&a), make(&b));
    assert!(from_a == from_b, "two processes, the same keys");
    assert_eq!(from_a.iter().map(|key| *key.bytes()).collect::<HashSet<_>>().len(), people.len());
    let reader = database.keys("tenure_projector").await;
    let read = reader.people(scope, &people).await.unwrap();
    assert!(people.iter().zip(&from_a).all(|(person, key)| read[person] == KeyState::Held(key.clone())));
}

#[tokio::test]
async fn a_destroyed_key_is_gone_and_never_made_anew() {
    let database = Database::bootstrapped().await;
    let (scope, other) = (database.tenant().await, database.tenant().await);
    let keys = database.keys("tenure_command").await;
    let person = EmployeeId::from_uuid(Uuid::now_v7());
    assert_eq!(keys.person(scope, person).await.unwrap(), KeyState::Missing);
    assert!(matches!(keys.person_known(scope, person).await, Err(KeyError::Missing)), "none is made for who should have one");
    let key = keys.person_or_create(scope, person).await.unwrap();
    assert!(keys.person_or_create(other, person).await.unwrap() != key, "the same id elsewhere is another person");
    keys.destroy_person(scope, person).await.unwrap();
    keys.destroy_person(scope, person).await.unwrap();
    assert_eq!(keys.person(scope, person).await.unwrap(), KeyState::Destroyed);
    for known in [keys.person_or_create(scope, person).await, keys.person_known(scope, person).await] {
        assert!(matches!(known, Err(KeyError::Destroyed)));
    }
    assert!(matches!(keys.person(other, person).await.unwrap(), KeyState::Held(_)));
}

#[tokio::test]
async fn claim_digests_differ_by_tenant_kind_and_value() {
    let database = Database::bootstrapped().await;
    let (scope, other) = (database.tenant().await, database.tenant().await);
    let keys = database.keys("tenure_command").await;
    let platform = TenantScope::checked(TenantId::PLATFORM);
    let mut digests = HashSet::new();
    for (scope, kind, value) in [
        (scope, "number", "1"),
        (scope, "number", "2"),
        (scope, "email", "1"),
        (other, "number", "1"),
        (platform, "number", "1"),
        (scope, "numbe", "r1"),
    ] {
        let digest = keys.claim_digest(scope, kind, value).await.unwrap();
        assert_eq!(digest, database.keys("tenure_command").await.claim_digest(scope, kind, value).await.unwrap(), "durable");
        assert!(digests.insert(digest));
    }
    let absent = TenantScope::checked(TenantId::from_uuid(Uuid::now_v7()));
    assert!(matches!(keys.claim_digest(absent, "number", "1").await, Err(KeyError::NotProvisioned)));
}

#[tokio::test]
async fn another_master_key_is_refused_at_the_start() {
    let database = Database::bootstrapped().await;
    database.keys("tenure_command").await;
    let path = std::env::temp_dir().join(format!("other-{}.key", Uuid::now_v7()));
    keys::create_master_key(&path).unwrap();
    let config = Config { master_key_file: Some(path), ..database.config.clone() };
    let error = Keys::open(&config, database.pool("tenure_command", 1)).await.err().unwrap();
    assert!(error.to_string().contains("another master key"), "{error}");
}

#[tokio::test]
async fn shared_tables_show_one_tenants_rows() {
    let database = Database::bootstrapped().await;
    let (a, b) = (database.tenant().await, database.tenant().await);
    let command = database.pool("tenure_command", 1);
    let insert = "insert into platform.command_answer (tenant_id, command_id, command_hash, status, body) values ($1, $1, $1, 422, '{}')";
    for scope in [a, b] {
        let mut tx = ScopedTx::begin(&command, scope).await.unwrap();
        sqlx::query(insert).bind(scope.tenant().uuid()).execute(tx.conn()).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = ScopedTx::begin(&command, scope).await.unwrap();
        let tenants: Vec<Uuid> = sqlx::query_scalar("select tenant_id from platform.command_answer").fetch_all(tx.conn()).await.unwrap();
        assert_eq!(tenants, [scope.tenant().uuid()]);
        tx.commit().await.unwrap();
    }
    let mut tx = ScopedTx::begin(&command, a).await.unwrap();
    let foreign = sqlx::query(insert).bind(Uuid::now_v7()).execute(tx.conn()).await.unwrap_err();
    assert_eq!(code(&foreign), "42501");
    drop(tx);
    for table in ["command_answer", "person_key", "tenant_key"] {
        let rows: i64 = sqlx::query_scalar(&format!("select count(*) from platform.{table}")).fetch_one(&command).await.unwrap();
        assert_eq!(rows, 0, "{table} without a tenant");
    }
    for (role, sql) in [
        ("tenure_command", "select private_key from platform.signing_key"),
        ("tenure_query", "select private_key from platform.signing_key"),
        ("tenure_query", "insert into platform.person_key (tenant_id, person_id) values (gen_random_uuid(), gen_random_uuid())"),
        ("tenure_query", "select claim_key from platform.tenant_key"),
        ("tenure_relay", "select wrapped from platform.person_key"),
        ("tenure_command", "select platform.create_tenant_roles('aaaaaaaaaaaaaaaaaaaaaaaaaa')"),
        ("tenure_command", "delete from platform.person_key"),
        ("tenure_projector", "create schema x"),
        ("tenure_projector", "create role x"),
        ("tenure_projector", "select platform.create_tenant_roles('aaaaaaaaaaaaaaaaaaaaaaaaaa')"),
        ("tenure_projector", "select platform.begin_provisioning('aaaaaaaaaaaaaaaaaaaaaaaaaa', 't_aaaaaaaaaaaaaaaaaaaaaaaaaa_r1')"),
        ("tenure_projector", "insert into platform.tenant_key (tenant_id, claim_key) values (gen_random_uuid(), '')"),
        ("tenure_worker", "create role x"),
        ("tenure_worker", "create schema x"),
    ] {
        let error = sqlx::query(sql).execute(&database.pool(role, 1)).await.err().unwrap_or_else(|| panic!("{role}: {sql} was allowed"));
        assert_eq!(code(&error), "42501", "{role}: {sql}");
    }
}

async fn verdict(gate: &Gate, token: &str) -> Option<&'static str> {
    let head = http::Request::get("/").header("host", "localhost").header("authorization", format!("Bearer {token}")).body(()).unwrap();
    gate.admit(&head.into_parts().0).await.err().map(|problem| problem.code)
}

#[tokio::test]
async fn an_issued_token_is_admitted_until_its_key_retires() {
    let database = Database::bootstrapped().await;
    let keys = database.keys("tenure_projector").await;
    let registry = Registry::from_events([]);
    let gate = Gate::start(&database.config, database.pool("tenure_query", 1), registry).await.unwrap();
    let issuer = Issuer::open(&database.config, &database.owner, &keys).await.unwrap();
    let request = |lifetime_s| TokenRequest {
        subject: "operator-1".into(),
        tenant: TenantId::PLATFORM,
        slug: "platform".into(),
        roles: vec!["operator".into()],
        employee: None,
        session: None,
        lifetime_s,
    };
    assert!(issuer.issue(&request(601)).is_err() && issuer.issue(&request(0)).is_err());
    let token = issuer.issue(&request(600)).unwrap();
    let token = token.expose_secret();
    let within = |seconds, wanted: Option<&'static str>| {
        let gate = gate.clone();
        async move {
            let end = std::time::Instant::now() + Duration::from_secs(seconds);
            while verdict(&gate, token).await != wanted {
                assert!(std::time::Instant::now() < end, "not {wanted:?} within {seconds} s");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    within(5, None).await;
    // A second process opens the same key; a rotation leaves the old one valid.
    assert_eq!(Issuer::open(&database.config, &database.owner, &keys).await.unwrap().kid(), issuer.kid());
    Issuer::rotate(&database.owner, &keys).await.unwrap();
    let newer = Issuer::open(&database.config, &database.owner, &keys).await.unwrap();
    assert_ne!(newer.kid(), issuer.kid());
    assert_eq!(verdict(&gate, token).await, None);
    Issuer::retire(&database.owner, issuer.kid()).await.unwrap();
    within(5, Some("invalid_token")).await;
    let fresh = newer.issue(&request(600)).unwrap();
    assert_eq!(verdict(&gate, fresh.expose_secret()).await, None);
    assert!(Issuer::retire(&database.owner, "none").await.is_err());
    assert!(Issuer::open(&database.config, &database.pool("tenure_command", 1), &keys).await.is_err(), "a service can't issue");
}

/// By the SQLSTATE, as a real server raises it: what may pass is 503 everywhere, and what never does is 500.
#[tokio::test]
async fn what_a_database_says_is_judged_alike_everywhere() {
    let database = Database::bootstrapped().await;
    let raised = async |code: &str| {
        let raise = format!("do $$ begin raise exception using errcode = '{code}', message = 'a secret'; end $$");
        sqlx::raw_sql(&raise).execute(&database.owner).await.unwrap_err()
    };
    for (code, passes) in [
        ("08006", true),
        ("40001", true),
        ("40P01", true),
        ("53100", true),
        ("53200", true),
        ("53300", true),
        ("57014", true),
        ("57P01", true),
        ("57P03", true),
        ("58000", true),
        ("58030", true),
        ("58P01", true),
        ("25006", true),
        ("25P03", true),
        ("55P03", true),
        ("22P02", false),
        ("23505", false),
        ("25P02", false),
        ("28000", false),
        ("42501", false),
        ("42P01", false),
        ("54000", false),
        ("XX000", false),
        ("XX001", false),
    ] {
        let (problem, key) = (Problem::from(raised(code).await), KeyError::from(raised(code).await));
        let store = store::StoreError::from(raised(code).await);
        assert_eq!(matches!(store, store::StoreError::Unavailable(_)), passes, "{code}: {store}");
        assert_eq!(matches!(key, KeyError::Unavailable(_)), passes, "{code}: {key}");
        let expected = if passes { (503, "database_unavailable", Some(1)) } else { (500, "internal", None) };
        for problem in [problem, key.into()] {
            assert_eq!((problem.status.as_u16(), problem.code, problem.retry_after), expected, "{code}");
            assert!(!problem.detail.contains("secret"), "{problem:?}");
        }
    }
}
