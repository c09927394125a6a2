//! What the routes work with: the way to the identity tables, and to keys and tenants.

use std::sync::Arc;

use events::TenantScope;
use http::StatusCode;
use platform::{Config, Gate, Keys, Problem, ScopedTx, Tenant, auth::Issuer};
use sqlx::PgPool;
use tokio::{sync::Mutex, time::Instant};

use crate::{counters::Recent, passwords::Passwords};

/// What the routes work with; empty where the process has no way to the identity tables.
#[derive(Clone, Default)]
pub struct Logins(pub(crate) Option<Arc<Identity>>);

/// An address in the one form in which addresses are compared, or why the text is none.
pub type EmailRule = fn(&str) -> Result<String, String>;

/// Log-in and all that belongs to it.
pub(crate) struct Identity {
    pub(crate) pool: PgPool,
    pub(crate) keys: Keys,
    pub(crate) gate: Gate,
    pub(crate) config: Config,
    pub(crate) passwords: Passwords,
    pub(crate) recent: Recent,
    /// The signing key, and since when it is known.
    pub(crate) signer: Mutex<Option<(Arc<Issuer>, Instant)>>,
    pub(crate) email_rule: EmailRule,
}

impl Logins {
    pub(crate) fn get(&self) -> Result<&Identity, Problem> {
        let detail = "this server logs nobody in; use another one, or a token of another issuer";
        self.0.as_deref().ok_or_else(|| Problem::unavailable("login_unavailable", detail))
    }
}

impl Identity {
    /// A transaction on a tenant's identity tables.
    pub(crate) async fn begin(&self, scope: TenantScope) -> Result<ScopedTx, Problem> {
        Ok(ScopedTx::begin(&self.pool, scope).await?)
    }
}

/// The right to a tenant's identity tables. What may be done there, a password, a secret or an operator's token decides.
pub(crate) fn scope_of(tenant: &Tenant) -> TenantScope {
    TenantScope::checked(tenant.id)
}

/// 404 `not_found`: as for what never was.
pub(crate) fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such object")
}
