//! Bootstrap and provisioning: roles, schemas, keys. Absent or ready, never half; safe when two run at once.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use backon::{ExponentialBuilder, Retryable as _};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use events::TenantScope;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};

use crate::{Access, Keys, READ_MODEL_VERSION, ScopedTx, TenantTx, declared::Declared, read_schema, tenant_tx::is_schema_of};

include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

/// Owns schemas, tables and functions; may create roles.
pub const OWNER: &str = "tenure_owner";
/// The login roles of the services; `tenure_identity` is the second one of command-api, for log-in and users.
pub const LOGINS: [&str; 6] = ["tenure_command", "tenure_relay", "tenure_projector", "tenure_query", "tenure_identity", "tenure_worker"];

/// Brings the database up to this build: login roles (with these passwords), schemas `platform`, `event_store` and `worker`,
/// grants. Runs as the owner (`tenure_owner` itself, or better a superuser, who can also take dangerous functions away
/// from everybody); idempotent; takes an advisory lock.
pub async fn bootstrap(owner: &PgPool, passwords: &[(&str, &str)]) -> anyhow::Result<()> {
    // Roles belong to the whole server: two databases that bootstrap at once step on each other's rows, and the one that
    // lost tries again.
    let retry =
        ExponentialBuilder::default().with_min_delay(Duration::from_millis(20)).with_max_delay(Duration::from_millis(500)).with_jitter();
    (|| async { create_login_roles(owner, passwords).await })
        .retry(retry.with_max_times(12))
        .when(|error| {
            let code = error
                .downcast_ref::<sqlx::Error>()
                .and_then(sqlx::Error::as_database_error)
                .and_then(|e| e.code().map(std::borrow::Cow::into_owned));
            // "tuple concurrently updated", and a role that appeared between look and creation.
            matches!(code.as_deref(), Some("XX000" | "42710" | "23505" | "40P01"))
        })
        .await
        .context("creating the login roles")?;
    let mut conn = owner.acquire().await?;
    let mut tx = conn.begin().await?;
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('tenure.bootstrap', 0))").execute(&mut *tx).await?;
    harden(&mut tx).await.context("hardening the database")?;
    migrate(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

async fn create_login_roles(owner: &PgPool, passwords: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut conn = owner.acquire().await?;
    let mut tx = conn.begin().await?;
    let superuser: bool = sqlx::query_scalar("select rolsuper from pg_roles where rolname = current_user").fetch_one(&mut *tx).await?;
    for (role, _) in passwords {
        if *role != OWNER && !LOGINS.contains(role) {
            bail!("a password was given for {role:?}; the roles are {OWNER}, {}", LOGINS.join(", "));
        }
    }
    for role in [OWNER].iter().chain(&LOGINS) {
        let exists: bool =
            sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)").bind(role).fetch_one(&mut *tx).await?;
        if !exists {
            let attributes = if *role == OWNER { "nologin createrole inherit" } else { "login noinherit" };
            tx.execute(format!("create role {role} {attributes}").as_str()).await?;
        }
        let Some((_, password)) = passwords.iter().find(|(name, _)| name == role) else { continue };
        let stored: Option<String> = if superuser {
            sqlx::query_scalar("select rolpassword from pg_authid where rolname = $1 and rolcanlogin")
                .bind(role)
                .fetch_one(&mut *tx)
                .await
                .ok()
                .flatten()
        } else {
            None
        };
        if stored.is_none_or(|verifier| !scram_matches(&verifier, password)) {
            // Only the SCRAM verifier travels, so the password can't end in the server's log.
            let mut salt = [0; 16];
            aws_lc_rs::rand::fill(&mut salt).context("the operating system gives no random bytes")?;
            tx.execute(format!("alter role {role} login password '{}'", scram_verifier(password, &salt, 4096)).as_str()).await?;
        }
    }
    let member: bool = sqlx::query_scalar("select pg_has_role(current_user, 'tenure_owner', 'member')").fetch_one(&mut *tx).await?;
    if !member {
        tx.execute("grant tenure_owner to current_user").await?;
    }
    tx.commit().await?;
    Ok(())
}

/// RFC 5803: what PostgreSQL stores for a password.
fn scram_verifier(password: &str, salt: &[u8], iterations: u32) -> String {
    let hmac = |key: &[u8], data: &[u8]| -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        mac.update(data);
        mac.finalize().into_bytes().into()
    };
    let mut block = hmac(password.as_bytes(), &[salt, &1_u32.to_be_bytes()].concat());
    let mut salted = block;
    for _ in 1..iterations {
        block = hmac(password.as_bytes(), &block);
        salted.iter_mut().zip(block).for_each(|(a, b)| *a ^= b);
    }
    let stored_key: [u8; 32] = Sha256::digest(hmac(&salted, b"Client Key")).into();
    let server_key = hmac(&salted, b"Server Key");
    format!("SCRAM-SHA-256${iterations}:{}${}:{}", STANDARD.encode(salt), STANDARD.encode(stored_key), STANDARD.encode(server_key))
}

fn scram_matches(verifier: &str, password: &str) -> bool {
    let parts = verifier.strip_prefix("SCRAM-SHA-256$").and_then(|rest| rest.split_once('$')).and_then(|(head, _)| head.split_once(':'));
    let Some((iterations, salt)) = parts.and_then(|(iterations, salt)| Some((iterations.parse().ok()?, STANDARD.decode(salt).ok()?)))
    else {
        return false;
    };
    scram_verifier(password, &salt, iterations) == verifier
}

/// Functions that would let SQL injected into a tenant transaction change its role, run text as SQL, leave something outside
/// the tenant's schema, or keep a lock that others wait for.
const DANGEROUS: &str = "
    select format('revoke execute on function %s from public', p.oid::regprocedure)
    from pg_proc p
    where p.pronamespace = 'pg_catalog'::regnamespace
      and (p.proname in ('set_config', 'ts_stat', 'lo_creat', 'lo_create', 'lo_from_bytea', 'lo_import', 'lo_put', 'lo_open', 'lowrite',
                         'pg_notify', 'pg_logical_emit_message')
           or p.proname ~ '^pg_(try_)?advisory_(xact_)?lock'
           or p.proname ~ '^(query|cursor|table|schema|database)_to_xml'
           or (p.proname = 'ts_rewrite' and p.pronargs = 2))
      and has_function_privilege('public', p.oid, 'execute')";

/// Who needs which of them all the same.
const NEEDED: [(&str, &str); 2] =
    [("pg_catalog.pg_advisory_xact_lock(bigint)", OWNER), ("pg_catalog.pg_try_advisory_lock(bigint)", "tenure_projector")];

async fn harden(conn: &mut PgConnection) -> anyhow::Result<()> {
    let database: String = sqlx::query_scalar("select quote_ident(current_database())").fetch_one(&mut *conn).await?;
    let roles = LOGINS.join(", ");
    let current: bool = sqlx::query_scalar(
        "select has_database_privilege('public', current_database(), 'connect') or has_database_privilege('public', current_database(), 'temp')
             or has_schema_privilege('public', 'public', 'usage') or not has_database_privilege('tenure_owner', current_database(), 'create')
             or not (select bool_and(has_database_privilege(role, current_database(), 'connect')) from unnest($1::text[]) role)",
    )
    .bind(LOGINS.as_slice())
    .fetch_one(&mut *conn)
    .await?;
    if current {
        conn.execute(
            format!(
                "revoke connect, temporary on database {database} from public;
             grant connect, create on database {database} to {OWNER};
             grant connect on database {database} to {roles};
             revoke all on schema public from public;"
            )
            .as_str(),
        )
        .await?;
    }
    for statement in open_functions(&mut *conn).await? {
        conn.execute(statement.as_str()).await?;
    }
    // Without the right to, PostgreSQL only warns; so look at what came of it.
    let left = open_functions(conn).await?;
    if !left.is_empty() {
        tracing::warn!(
            target: "audit",
            statements = left.join("; "),
            "one layer of tenant isolation is missing: these functions stay open to everybody because the bootstrap does not run as a superuser; \
             let one run the statements in this database"
        );
    }
    Ok(())
}

/// What would take the dangerous functions away that are still open to everybody, but from who needs them; nothing if none is.
async fn open_functions(conn: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let mut statements: Vec<String> = sqlx::query_scalar(DANGEROUS).fetch_all(conn).await?;
    if !statements.is_empty() {
        statements.extend(NEEDED.map(|(function, role)| format!("grant execute on function {function} to {role}")));
    }
    Ok(statements)
}

/// Refuses a database in which a layer of isolation is missing (I8), because no superuser has set it up.
pub async fn check_hardened(pool: &PgPool) -> anyhow::Result<()> {
    let mut conn = pool.acquire().await?;
    let left = open_functions(&mut conn).await?;
    if !left.is_empty() {
        bail!(
            "one layer of tenant isolation is missing: dangerous functions of PostgreSQL are open to everybody. Let a superuser run, in \
             this database: {}; or set TENURE_ALLOW_OPEN_FUNCTIONS=true to go without",
            left.join("; ")
        );
    }
    Ok(())
}

async fn migrate(conn: &mut PgConnection) -> anyhow::Result<()> {
    let roles = LOGINS.join(", ");
    conn.execute(
        format!(
            "set local role tenure_owner; set local search_path = pg_catalog, pg_temp;
             create schema if not exists platform;
             grant usage on schema platform to {roles};
             create table if not exists platform.migration (
                 name text primary key, checksum text not null, applied_at timestamptz not null default now());
             grant select on platform.migration to {roles};"
        )
        .as_str(),
    )
    .await
    .context("making the list of migrations")?;
    for (name, sql) in pending(applied(&mut *conn).await?)? {
        conn.execute(sql).await.with_context(|| format!("migrations/{name}"))?;
        sqlx::query("insert into platform.migration (name, checksum) values ($1, $2)")
            .bind(name)
            .bind(checksum(sql))
            .execute(&mut *conn)
            .await?;
        tracing::info!(name, "migration applied");
    }
    conn.execute("reset role").await?;
    Ok(())
}

async fn applied(conn: &mut PgConnection) -> anyhow::Result<HashMap<String, String>> {
    Ok(sqlx::query_as::<_, (String, String)>("select name, checksum from platform.migration").fetch_all(conn).await?.into_iter().collect())
}

/// What this build has and the database has not. Refuses a database that this build does not know (I8).
fn pending(mut applied: HashMap<String, String>) -> anyhow::Result<Vec<(&'static str, &'static str)>> {
    let mut pending = Vec::new();
    for (name, sql) in migrations() {
        match applied.remove(name) {
            None => pending.push((name, sql)),
            Some(before) if before == checksum(sql) => {}
            Some(_) => return Err(changed(name)),
        }
    }
    match applied.keys().min() {
        Some(unknown) => bail!("the database is newer than this build: it has the migration {unknown}; run a build that knows it"),
        None => Ok(pending),
    }
}

/// This build's migrations, each a file's name and its SQL, in the order in which they are applied.
pub(crate) fn migrations() -> impl Iterator<Item = (&'static str, &'static str)> {
    EVENT_STORE.iter().chain(PLATFORM).copied()
}

/// What is said of a migration that is not the one that the database took.
pub(crate) fn changed(name: &str) -> anyhow::Error {
    anyhow!("migrations/{name} was changed after this database took it; restore the file and put the change into a new one")
}

/// What a database keeps of a migration's SQL.
pub(crate) fn checksum(sql: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(sql.as_bytes()))
}

/// Makes a tenant usable: its roles `t_{namespace}` and `w_{namespace}`, its read schema with tables and indexes, its
/// claim key. One transaction; doing it again changes nothing. Called by the worker for a tenant that was registered.
pub async fn provision(worker: &PgPool, keys: &Keys, scope: TenantScope) -> anyhow::Result<()> {
    let schema = read_schema(scope.tenant(), READ_MODEL_VERSION);
    let mut tx = ScopedTx::begin(worker, scope).await?;
    let namespace = scope.tenant().namespace();
    let begun: bool = sqlx::query_scalar("select platform.begin_provisioning($1, $2)")
        .bind(&namespace)
        .bind(&schema)
        .fetch_one(tx.conn())
        .await
        .context("creating the tenant's roles and its read schema")?;
    keys.create_claim_key(tx.conn(), scope).await.context("making the tenant's claim key")?;
    if begun {
        let sql = read_model_sql();
        fill_schema(tx.conn(), scope, &schema, &[sql.tables, sql.indexes].concat()).await?;
        sqlx::query("select platform.end_provisioning($1)")
            .bind(&namespace)
            .execute(tx.conn())
            .await
            .context("giving the writer's rights back")?;
    }
    tx.commit().await?;
    Ok(())
}

/// Makes the tenant's read schema anew where somebody dropped it. One transaction; where there is one it stays as it is. Called by
/// the projector for a tenant that was provisioned before.
pub async fn make_read_schema(projector: &PgPool, scope: TenantScope) -> anyhow::Result<()> {
    let mut tx = ScopedTx::begin(projector, scope).await?;
    let sql = read_model_sql();
    create_tables(tx.conn(), scope, &read_schema(scope.tenant(), READ_MODEL_VERSION), &[sql.tables, sql.indexes].concat()).await?;
    tx.commit().await?;
    Ok(())
}

/// Creates the schema if it is not there and runs `sql` in it as the tenant's writer; an existing one stays as it is.
pub(crate) async fn create_tables(conn: &mut PgConnection, scope: TenantScope, schema: &str, sql: &[&'static str]) -> anyhow::Result<()> {
    let tenant = scope.tenant();
    if !is_schema_of(tenant, schema) {
        bail!("{schema:?} is not a read schema of this tenant");
    }
    // Under the tenant's lock the look below and the creation are one step.
    sqlx::query("select platform.lock_tenant($1)").bind(tenant.namespace()).execute(&mut *conn).await?;
    let exists: bool =
        sqlx::query_scalar("select exists (select from pg_namespace where nspname = $1)").bind(schema).fetch_one(&mut *conn).await?;
    if exists {
        return Ok(());
    }
    sqlx::query("select platform.create_read_schema($1, $2)").bind(tenant.namespace()).bind(schema).execute(&mut *conn).await?;
    fill_schema(conn, scope, schema, sql).await
}

/// Runs `sql` in an empty read schema as the tenant's writer, and grants what it declares.
async fn fill_schema(conn: &mut PgConnection, scope: TenantScope, schema: &str, sql: &[&'static str]) -> anyhow::Result<()> {
    let tenant = scope.tenant();
    conn.execute(format!("set local role \"w_{tenant}\"; set local search_path = \"{schema}\"").as_str()).await?;
    for statements in sql {
        conn.execute(*statements).await.context("creating the read model's tables")?;
    }
    for grant in Declared::of(sql).tables.iter().filter_map(|table| table.grant(&format!("t_{tenant}"))) {
        conn.execute(grant.as_str()).await.context("granting what the read model declares")?;
    }
    conn.execute("set local role none; set local search_path = pg_catalog").await?;
    Ok(())
}

pub(crate) async fn drop_in(conn: &mut PgConnection, scope: TenantScope, schema: &str) -> anyhow::Result<()> {
    sqlx::query("select platform.drop_read_schema($1, $2)")
        .bind(scope.tenant().namespace())
        .bind(schema)
        .execute(conn)
        .await
        .with_context(|| format!("dropping {schema}"))?;
    Ok(())
}

/// Whether the tenant's read schema of this build is there: asked under its reader's role, as every query will be.
pub async fn is_provisioned(query: &PgPool, scope: TenantScope) -> Result<bool, sqlx::Error> {
    let schema = read_schema(scope.tenant(), READ_MODEL_VERSION);
    let mut tx = TenantTx::begin(query, scope, &schema, Access::Read).await?;
    let there = sqlx::query_scalar("select to_regclass('checkpoint') is not null").fetch_one(tx.conn()).await?;
    tx.rollback().await?;
    Ok(there)
}

/// What makes a tenant's read model, file by file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadModelSql {
    /// Makes the tables.
    pub tables: Vec<&'static str>,
    /// Makes their keys and indexes.
    pub indexes: Vec<&'static str>,
}

/// The SQL of every read-model table, and of every key and index: `migrations/read_model`, with a folder per capability.
pub fn read_model_sql() -> ReadModelSql {
    let of =
        |index: bool| READ_MODEL.iter().filter(move |(name, _)| name.ends_with("/indexes.sql") == index).map(|(_, sql)| *sql).collect();
    ReadModelSql { tables: of(false), indexes: of(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_applied() -> HashMap<String, String> {
        EVENT_STORE.iter().chain(PLATFORM).map(|(name, sql)| ((*name).to_owned(), checksum(sql))).collect()
    }

    #[test]
    fn a_database_that_this_build_does_not_know_is_refused() {
        assert_eq!(pending(HashMap::new()).unwrap().len(), EVENT_STORE.len() + PLATFORM.len());
        assert!(pending(all_applied()).unwrap().is_empty());
        let mut newer = all_applied();
        newer.insert("platform/9999_later.sql".into(), "x".into());
        assert!(pending(newer).unwrap_err().to_string().contains("newer than this build"));
        let mut changed = all_applied();
        changed.insert(PLATFORM[0].0.into(), "x".into());
        assert!(pending(changed).unwrap_err().to_string().contains("was changed after"));
    }

    #[test]
    fn tables_come_apart_from_indexes() {
        let ReadModelSql { tables, indexes } = read_model_sql();
        assert!(tables.len() >= 3 && tables[0].contains("create table checkpoint"));
        assert!(!indexes.is_empty() && tables.iter().all(|sql| !sql.contains("create index")));
    }

    #[test]
    fn a_scram_verifier_is_that_of_rfc_7677() {
        // The exchange in RFC 7677, section 3: user "user", password "pencil".
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = scram_verifier("pencil", &salt, 4096);
        assert_eq!(
            verifier,
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
        assert!(scram_matches(&verifier, "pencil") && !scram_matches(&verifier, "Pencil") && !scram_matches("md5x", "pencil"));
    }
}
