//! Access tokens: issued, and made void before they expire.

use std::{sync::Arc, time::Duration};

use events::{EmployeeId, TenantScope};
use platform::{
    Problem, ScopedTx, Tenant,
    auth::{Issuer, LONGEST_FOREIGN_LIFETIME, TokenRequest, token_name},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    state::Identity,
    subjects::{user_name, user_of},
};

/// How long an access token lives.
const ACCESS: Duration = Duration::from_mins(10);
/// How long the signing key is used before it is looked up again: a rotation takes effect within this.
const SIGNER_AGE: Duration = Duration::from_secs(5);
/// Tokens and log-ins of one subject that can be void at a time. Every process keeps each of them.
const REVOCATIONS_OF_ONE: i64 = 100;

/// Whom an access token is for.
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) roles: Vec<String>,
    pub(crate) employee: Option<Uuid>,
    pub(crate) session: Option<Uuid>,
    /// By the database's clock, while the account was locked: what is revoked later is revoked after this.
    pub(crate) issued_at: i64,
}

/// Which of a subject's tokens are made void.
pub(crate) enum Void<'v> {
    All,
    Session(Uuid),
    /// By its `jti`.
    Token(&'v str),
}

impl Identity {
    /// A signed access token, and the seconds that it lives.
    pub(crate) async fn access_token(&self, tenant: &Tenant, subject: Subject) -> Result<(SecretString, u64), Problem> {
        let lifetime_s = ACCESS.as_secs().min(self.config.token_max_lifetime);
        let request = TokenRequest {
            subject: subject.name,
            tenant: tenant.id,
            slug: tenant.slug.clone(),
            roles: subject.roles,
            employee: subject.employee.map(EmployeeId::from_uuid),
            session: subject.session,
            lifetime_s,
        };
        let issued_at = u64::try_from(subject.issued_at).unwrap_or_default();
        let token = self.signer().await?.issue_at(&request, issued_at).map_err(|error| Problem::internal(&format_args!("{error:#}")))?;
        Ok((token, lifetime_s))
    }
    async fn signer(&self) -> Result<Arc<Issuer>, Problem> {
        let mut signer = self.signer.lock().await;
        if let Some((issuer, since)) = &*signer
            && since.elapsed() < SIGNER_AGE
        {
            return Ok(issuer.clone());
        }
        let issuer = Issuer::open(&self.config, &self.pool, &self.keys).await.map_err(|error| {
            tracing::error!(error = format!("{error:#}"), "the signing key can't be read");
            Problem::unavailable("login_unavailable", "nobody can be logged in at the moment; try again shortly")
        })?;
        let issuer = Arc::new(issuer);
        *signer = Some((issuer.clone(), Instant::now()));
        Ok(issuer)
    }
    /// Makes a subject's tokens void before they expire: within a second or two, everywhere.
    pub(crate) async fn revoke(&self, tx: &mut ScopedTx, scope: TenantScope, subject: &str, what: Void<'_>) -> Result<(), Problem> {
        // Beyond this no token that it concerns can live, nor one that an issuer's registration may come to allow meanwhile.
        let ours = user_of(subject).is_some() || subject.starts_with("service:");
        let until = if ours { self.config.token_max_lifetime.max(3600) } else { LONGEST_FOREIGN_LIFETIME } + 60;
        sqlx::query("delete from platform.revocation where until < now()").execute(tx.conn()).await?;
        let others = "from platform.revocation where tenant_id = $1 and subject = $2 and kind <> 'subject'";
        let standing: i64 =
            sqlx::query_scalar(&format!("select count(*) {others}")).bind(scope.tenant().uuid()).bind(subject).fetch_one(tx.conn()).await?;
        let (kind, id) = match what {
            // Who makes so many void makes all void: that is one.
            Void::Session(_) | Void::Token(_) if standing >= REVOCATIONS_OF_ONE => ("subject", subject.to_owned()),
            Void::All => ("subject", subject.to_owned()),
            Void::Session(session) => ("session", session.to_string()),
            Void::Token(id) => ("token", token_name(subject, id)),
        };
        if kind == "subject" {
            sqlx::query(&format!("delete {others}")).bind(scope.tenant().uuid()).bind(subject).execute(tx.conn()).await?;
        }
        // The instant, not that at which the transaction began: a token issued in between is meant, too.
        sqlx::query(
            "insert into platform.revocation (tenant_id, kind, id, subject, revoked_at, until)
             values ($1, $2, $3, $4, clock_timestamp(), now() + $5 * interval '1 second')
             on conflict (tenant_id, kind, id) do update set revoked_at = excluded.revoked_at, until = excluded.until, written = excluded.written",
        )
        .bind(scope.tenant().uuid())
        .bind(kind)
        .bind(id)
        .bind(subject)
        .bind(i64::try_from(until).unwrap_or(i64::MAX))
        .execute(tx.conn())
        .await?;
        Ok(())
    }
    /// Ends a user's log-ins, all or all but one.
    pub(crate) async fn end_sessions(
        &self,
        tx: &mut ScopedTx,
        scope: TenantScope,
        user: Uuid,
        but: Option<Uuid>,
        why: &str,
    ) -> Result<(), Problem> {
        let ended: Vec<Uuid> = sqlx::query_scalar(
            "update platform.session set ended_at = now(), ended_why = $4
             where tenant_id = $1 and user_id = $2 and ended_at is null and session_id is distinct from $3 returning session_id",
        )
        .bind(scope.tenant().uuid())
        .bind(user)
        .bind(but)
        .bind(why)
        .fetch_all(tx.conn())
        .await?;
        for session in ended {
            self.revoke(tx, scope, &user_name(user), Void::Session(session)).await?;
        }
        Ok(())
    }
}

/// The token answer's secret, for serialization.
pub(crate) fn exposed(secret: &SecretString) -> String {
    secret.expose_secret().to_owned()
}
