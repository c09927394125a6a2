//! Who gets in: users, log-ins, machines, and other issuers whose tokens are taken.
//!
//! Everything here works on tables that only the role `tenure_identity` reaches, through a pool of its own. Passwords and
//! tokens never come near the event store. Reading order: [`login`], then [`users`], [`tickets`], [`mail`], [`machines`], [`roles`],
//! [`own`] (what one does with one's own account), [`trust`] (operators, and what the tenant says to it); below them
//! [`state`] (what all of them work with), [`tokens`], [`rights`] (who may hand out what), [`audit`], [`emails`], [`bearer`],
//! [`passwords`], [`hashing`] (who hashes next), [`attempts`], [`counters`], [`totp`].

mod attempts;
mod audit;
mod bearer;
mod counters;
mod emails;
mod hashing;
mod login;
mod machines;
mod mail;
mod own;
mod passwords;
mod random;
mod rights;
mod roles;
mod state;
mod subjects;
mod tickets;
mod tokens;
mod totp;
mod trust;
mod users;

use std::sync::Arc;

use anyhow::Context as _;
use axum::{
    extract::{FromRef, Request, State},
    middleware::Next,
    response::Response,
};
use http::StatusCode;
use platform::{Actor, Config, Gate, Keys, Problem, Process, database};
use tokio::sync::Mutex;
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::state::{EmailRule, Logins};
use self::{audit::audit, counters::Recent, passwords::Passwords, state::Identity};

/// The routes, for a service whose state holds the gate and the log-in.
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Logins: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(login::log_in))
        .routes(routes!(login::refresh))
        .routes(routes!(login::log_out))
        .routes(routes!(login::activate))
        .routes(routes!(machines::service_token))
        .routes(routes!(own::who_am_i))
        .routes(routes!(own::change_password))
        .routes(routes!(own::set_up_totp))
        .routes(routes!(own::remove_totp))
        .routes(routes!(own::confirm_totp))
        .routes(routes!(own::revoke_token))
        .routes(routes!(users::invite_user, users::users))
        .routes(routes!(users::user))
        .routes(routes!(users::change_user))
        .routes(routes!(users::invite_again))
        .routes(routes!(users::access_after_leaving))
        .routes(routes!(users::disable_user))
        .routes(routes!(users::enable_user))
        .routes(routes!(users::identity_audit))
        .routes(routes!(machines::create_service_account, machines::service_accounts))
        .routes(routes!(machines::disable_service_account))
        .routes(routes!(roles::make_role, roles::roles))
        .routes(routes!(roles::remove_role))
        .routes(routes!(roles::delegate, roles::delegations))
        .routes(routes!(roles::revoke_delegation))
        .routes(routes!(trust::add_domain, trust::domains))
        .routes(routes!(trust::remove_domain))
        .routes(routes!(trust::trust_issuer, trust::issuers))
        .routes(routes!(trust::distrust_issuer))
        .routes(routes!(trust::own_domains))
        .routes(routes!(trust::own_issuers))
        .routes(routes!(trust::confirm_issuer))
        .routes(routes!(trust::distrust_own_issuer))
}

/// Connections to the identity tables.
const CONNECTIONS: u32 = 8;

impl Logins {
    /// Opens the way to the identity tables, if the settings name one. What an e-mail address is, `email_rule` says.
    pub async fn open(config: &Config, keys: Keys, gate: Gate, email_rule: EmailRule) -> anyhow::Result<Self> {
        let Some(url) = &config.identity_database_url else {
            tracing::warn!("TENURE_IDENTITY_DATABASE_URL is not set: nobody can log in here");
            return Ok(Self(None));
        };
        let mut config = config.clone();
        config.database_url = url.clone();
        config.database_connections = CONNECTIONS.min(config.database_connections);
        let pool = database::connect(&config, Process::CommandApi).await.context("TENURE_IDENTITY_DATABASE_URL")?;
        database::refuse_superuser(&pool).await?;
        let (passwords, recent) = (Passwords::new()?, Recent::new());
        tokio::spawn(attempts::clean(pool.clone()));
        Ok(Self(Some(Arc::new(Identity { pool, keys, gate, config, passwords, recent, signer: Mutex::new(None), email_rule }))))
    }
}

impl Identity {
    async fn forbidden(&self, actor: &Actor) -> Result<(), Problem> {
        if !self.is_written_down(actor.scope, "request", &actor.subject) {
            return Ok(());
        }
        let mut tx = self.begin(actor.scope).await?;
        audit(&mut tx, actor.scope, "request", "forbidden", None, Some(actor)).await?;
        Ok(tx.commit().await?)
    }
}

/// Writes down who asks these routes for what they may not; not each time.
pub async fn write_down_forbidden(State(logins): State<Logins>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let asked = parts.clone();
    let response = next.run(Request::from_parts(parts, body)).await;
    if let (StatusCode::FORBIDDEN, Some(identity)) = (response.status(), &logins.0) {
        // Who is not let in at all stands in the log.
        let Ok(actor) = identity.gate.admit(&asked).await else { return response };
        if let Err(problem) = identity.forbidden(&actor).await {
            tracing::error!(error = problem.code, "a refusal can't be written down");
        }
    }
    response
}
