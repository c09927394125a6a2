//! The tenant transaction: the only way to a tenant's read model. And [`ScopedTx`], the way to the tenant's rows in
//! shared tables under row-level security.

use std::io::ErrorKind::TimedOut;

use events::{TenantId, TenantScope};
use sqlx::{Executor as _, PgConnection, PgPool, Postgres, pool::PoolConnection};

use crate::database::{LOOK, LOOK_FOR, give_back, is_clean};

/// What the transaction may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Under role `t_{namespace}`, read only.
    Read,
    /// Under role `w_{namespace}`; the projector only.
    Write,
}

/// A transaction under one tenant's own role, with `search_path` set to one of its schemas.
///
/// Cancellation-safe: a connection whose transaction did not end in [`TenantTx::commit`] or [`TenantTx::rollback`]
/// is closed, never handed back to the pool, because sqlx would hand it on in the tenant's role.
///
/// Don't `begin` on [`TenantTx::conn`]: sqlx does not know of this transaction, so its commit would end it.
pub struct TenantTx(Guarded);

impl TenantTx {
    /// Begins; `schema` must be one of the tenant's ([`crate::read_schema`]).
    pub async fn begin(pool: &PgPool, scope: TenantScope, schema: &str, access: Access) -> Result<Self, sqlx::Error> {
        if !is_schema_of(scope.tenant(), schema) {
            return Err(sqlx::Error::Configuration("the schema is not one of this tenant's".into()));
        }
        // Role and schema can hold only letters, digits and underscores here, so they need no escaping. Everything is
        // local to the transaction and reaches the server in one message: there is no moment between.
        let tenant = scope.tenant();
        let sql = match access {
            Access::Read => format!(
                "begin read only; set local role \"t_{tenant}\"; set local search_path = \"{schema}\"; \
                 set local statement_timeout = '15s'; set local idle_in_transaction_session_timeout = '30s'"
            ),
            Access::Write => format!(
                "begin; set local role \"w_{tenant}\"; set local search_path = \"{schema}\"; \
                 set local statement_timeout = '10min'; set local idle_in_transaction_session_timeout = '10min'"
            ),
        };
        Guarded::begin(pool, &sql).await.map(Self)
    }
    /// The connection, for queries.
    pub fn conn(&mut self) -> &mut PgConnection {
        self.0.conn()
    }
    /// Ends the transaction and hands the connection back. An error means that nothing was committed, or that the
    /// connection broke and nobody can know.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.0.commit().await
    }
    /// Undoes the transaction and hands the connection back.
    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        self.0.rollback().await
    }
    /// Ends a transaction that only read, while the caller goes on with what it read. If that fails, the connection is
    /// closed.
    pub fn end(self) {
        tokio::spawn(self.0.rollback());
    }
}

/// A transaction under the process's own role, that sees only one tenant's rows of the shared tables that have
/// row-level security: `tenure.tenant` is the tenant's UUID. As safe under cancellation as [`TenantTx`].
pub struct ScopedTx(Guarded);

impl ScopedTx {
    /// Begins.
    pub async fn begin(pool: &PgPool, scope: TenantScope) -> Result<Self, sqlx::Error> {
        Guarded::begin(pool, &format!("begin; set local tenure.tenant = '{}'", scope.tenant().uuid())).await.map(Self)
    }
    /// The connection, for queries.
    pub fn conn(&mut self) -> &mut PgConnection {
        self.0.conn()
    }
    /// Ends the transaction and hands the connection back.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.0.commit().await
    }
    /// Undoes the transaction and hands the connection back.
    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        self.0.rollback().await
    }
    /// Ends a transaction that only read, as [`TenantTx::end`] does.
    pub fn end(self) {
        tokio::spawn(self.0.rollback());
    }
}

/// Whether `schema` is `t_{namespace}_r{version}` of this tenant, or one beside it such as `…_r1_next`.
pub(crate) fn is_schema_of(tenant: TenantId, schema: &str) -> bool {
    let Some(rest) = schema.strip_prefix("t_").and_then(|s| s.strip_prefix(&tenant.namespace())).and_then(|s| s.strip_prefix("_r")) else {
        return false;
    };
    let (version, suffix) = rest.split_once('_').map_or((rest, None), |(version, suffix)| (version, Some(suffix)));
    let version_ok = (1..=6).contains(&version.len()) && version.bytes().all(|b| b.is_ascii_digit()) && !version.starts_with('0');
    let suffix_ok = suffix.is_none_or(|s| (1..=12).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    version_ok && suffix_ok
}

/// A connection inside a transaction that some raw SQL began. Whoever drops it before its end closes the connection.
struct Guarded(Option<PoolConnection<Postgres>>);

const HELD: &str = "the connection is taken out only by the methods that consume the guard";

impl Guarded {
    async fn begin(pool: &PgPool, sql: &str) -> Result<Self, sqlx::Error> {
        // A bare `&str` goes out by the simple query protocol, all statements in one message.
        // Guarded before the first byte is sent: a future dropped while `begin` is on its way closes the connection too.
        let mut guarded = Self(Some(pool.acquire().await?));
        guarded.conn().execute(sql).await?;
        Ok(guarded)
    }
    fn conn(&mut self) -> &mut PgConnection {
        self.0.as_mut().expect(HELD)
    }
    async fn commit(self) -> Result<(), sqlx::Error> {
        // PostgreSQL answers a COMMIT of a failed transaction with a ROLLBACK and no error; the SELECT makes it one.
        self.end("select 1; commit").await
    }
    async fn rollback(self) -> Result<(), sqlx::Error> {
        // It takes no time, unless the connection was lost without a word.
        tokio::time::timeout(LOOK_FOR, self.end("rollback")).await.unwrap_or_else(|_| Err(std::io::Error::from(TimedOut).into()))
    }
    async fn end(mut self, sql: &str) -> Result<(), sqlx::Error> {
        // One message, and one answer, for the end and for the look at what is left.
        let rows = self.conn().fetch_all(format!("{sql}; {LOOK}").as_str()).await?;
        let looked = rows.last().map(is_clean).transpose()?.unwrap_or(false);
        if let Some(connection) = self.0.take() {
            give_back(connection, looked).await;
        }
        Ok(())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            // Off the pool, and the socket closes: the server rolls back.
            drop(connection.detach());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prelude::*, sample::Index};

    #[test]
    fn only_a_tenants_own_schemas_pass() {
        let tenant = TenantId::from_uuid(uuid::Uuid::from_u128(7));
        let other = TenantId::from_uuid(uuid::Uuid::from_u128(8));
        let own = crate::read_schema(tenant, 1);
        for good in [own.clone(), crate::read_schema(tenant, 12), format!("{own}_next"), format!("{own}_old")] {
            assert!(is_schema_of(tenant, &good), "{good}");
        }
        for bad in [
            "public".to_owned(),
            "pg_catalog".to_owned(),
            String::new(),
            crate::read_schema(other, 1),
            own.to_uppercase(),
            format!("{own}\""),
            format!("{own}, public"),
            format!("{own}_"),
            format!("{own}_next; drop"),
            format!("t_{tenant}_r"),
            format!("t_{tenant}_r0"),
            format!("t_{tenant}_r01"),
            format!("w_{tenant}_r1"),
        ] {
            assert!(!is_schema_of(tenant, &bad), "{bad}");
        }
    }

    proptest! {
        /// It stands in SQL as it is.
        #[test]
        fn what_passes_for_a_schema_needs_no_quotes(
            own in any::<u128>(), at in any::<Index>(), cut in 0..3_usize,
            put in prop_oneof!["[\"'; \\x00_.$a-zA-Z0-9]{0,3}", any::<String>()],
        ) {
            let tenant = TenantId::from_uuid(uuid::Uuid::from_u128(own));
            let schema = crate::read_schema(tenant, 1);
            let (before, after) = schema.split_at(at.index(schema.len() + 1));
            let text = format!("{before}{put}{}", after.get(cut..).unwrap_or_default());
            if is_schema_of(tenant, &text) {
                let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
                let own = format!("t_{tenant}_r");
                prop_assert!(plain && text.starts_with(&own), "{}", text);
            }
        }
    }
}
