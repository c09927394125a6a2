//! What one does with one's own account.

use axum::{Json, extract::State};
use events::TenantId;
use http::StatusCode;
use platform::{Actor, Anyone, Problem, request::Fields};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    attempts::{Attempt, Trier},
    audit::audit,
    hashing::Asker,
    passwords,
    state::{Identity, Logins, not_found},
    subjects::{user_name, user_of},
    tokens::Void,
    totp,
};

/// Whom a token is for.
#[derive(Serialize, ToSchema)]
pub(crate) struct Me {
    /// The token's subject.
    subject: String,
    /// The tenant's namespace.
    #[schema(value_type = String)]
    tenant_id: TenantId,
    /// The tenant's slug.
    tenant_slug: String,
    /// What it grants.
    roles: Vec<String>,
    /// Which person it is.
    employee_id: Option<Uuid>,
}

/// Who you are to this tenant.
#[utoipa::path(get, path = "/v1/auth/me", tag = "identity", responses(
    (status = 200, description = "You", body = Me),
))]
pub(crate) async fn who_am_i(Anyone(actor): Anyone) -> Json<Me> {
    Json(Me {
        subject: actor.subject,
        tenant_id: actor.tenant.id,
        tenant_slug: actor.tenant.slug.clone(),
        roles: actor.roles,
        employee_id: actor.employee.map(events::EmployeeId::uuid),
    })
}

/// From one password to another.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangePassword {
    /// The password until now.
    #[schema(format = Password)]
    current: String,
    /// The password from now on.
    #[schema(format = Password)]
    password: String,
}

/// Change your password. Your other log-ins end.
#[utoipa::path(post, path = "/v1/auth/password", tag = "identity", request_body = ChangePassword, responses(
    (status = 204, description = "Changed"),
    (status = 404, description = "`not_found`: the token is not a user's"),
    (status = 409, description = "`conflict`: the account was changed meanwhile"),
    (status = 422, description = "`weak_password`, `wrong_password`"),
))]
pub(crate) async fn change_password(
    State(logins): State<Logins>,
    Anyone(actor): Anyone,
    Fields(ask): Fields<ChangePassword>,
) -> Result<StatusCode, Problem> {
    let (identity, user) = (logins.get()?, user_of(&actor.subject).ok_or_else(not_found)?);
    let subject = user_name(user);
    let Verified { attempt, email, hash } = identity.verify_own(&actor, user, "change_password", ask.current).await?;
    passwords::check(&ask.password, &identity.open_email(actor.scope, user, &email)?)?;
    let next = identity.passwords.hash(Asker::Known(subject.clone()), ask.password).await?;
    let mut tx = identity.begin(actor.scope).await?;
    // Only in the place of the one that was verified.
    let changed = sqlx::query(
        "update platform.user_account set password_hash = $3, totp_secret = case when totp_confirmed then totp_secret end, changed_at = now()
         where tenant_id = $1 and user_id = $2 and state = 'active' and password_hash = $4",
    )
    .bind(actor.tenant.id.uuid())
    .bind(user)
    .bind(next)
    .bind(hash)
    .execute(tx.conn())
    .await?;
    if changed.rows_affected() == 0 {
        tx.rollback().await?;
        return Err(changed_meanwhile());
    }
    identity.succeeded(&mut tx, attempt).await?;
    identity.end_sessions(&mut tx, actor.scope, user, actor.session, "new password").await?;
    audit(&mut tx, actor.scope, "change_password", "granted", Some(&subject), None).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

fn changed_meanwhile() -> Problem {
    Problem::new(StatusCode::CONFLICT, "conflict", "the account was changed meanwhile; try again")
}

/// A password that was the account's.
struct Verified {
    attempt: Attempt,
    /// Sealed.
    email: Vec<u8>,
    hash: String,
}

impl Identity {
    /// Verifies one's current password: a token alone does not change how one logs in.
    async fn verify_own(&self, actor: &Actor, user: Uuid, action: &'static str, current: String) -> Result<Verified, Problem> {
        let subject = user_name(user);
        // Whoever has a token is counted by that, wherever they are: neither others' failures there nor theirs concern each other.
        let attempt = self.count(actor.scope, action, subject.as_bytes(), Trier::Token(actor.session)).await?;
        let mut tx = self.begin(actor.scope).await?;
        let found: Option<(Vec<u8>, String)> = sqlx::query_as(
            "select email, password_hash from platform.user_account where tenant_id = $1 and user_id = $2 and state = 'active'",
        )
        .bind(actor.tenant.id.uuid())
        .bind(user)
        .fetch_optional(tx.conn())
        .await?;
        tx.commit().await?;
        let (email, hash) = found.ok_or_else(not_found)?;
        let good = self.passwords.verify(Asker::Known(subject.clone()), current, Some(hash.clone())).await?;
        actor.after_waiting().await?;
        if good {
            return Ok(Verified { attempt, email, hash });
        }
        self.write_down(actor.scope, action, "refused", Some(&subject)).await?;
        let detail = "the current password is another one";
        Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong_password", detail).field("/current", "wrong_password", detail))
    }
}

/// One's password, once more.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CurrentPassword {
    /// The password.
    #[schema(format = Password)]
    current: String,
}

/// What an authenticator app needs.
#[derive(Serialize, ToSchema)]
pub(crate) struct TotpSecret {
    /// `otpauth://…`, for a QR code. It is shown only here.
    url: String,
}

/// Ask for a secret for an authenticator app. Log-in asks for its digits once they were confirmed.
#[utoipa::path(post, path = "/v1/auth/totp", tag = "identity", request_body = CurrentPassword, responses(
    (status = 201, description = "The secret", body = TotpSecret),
    (status = 404, description = "`not_found`: the token is not a user's"),
    (status = 409, description = "`totp_active`: remove it first; `conflict`: the account was changed meanwhile"),
    (status = 422, description = "`wrong_password`"),
))]
pub(crate) async fn set_up_totp(
    State(logins): State<Logins>,
    Anyone(actor): Anyone,
    Fields(ask): Fields<CurrentPassword>,
) -> Result<(StatusCode, Json<TotpSecret>), Problem> {
    let (identity, user) = (logins.get()?, user_of(&actor.subject).ok_or_else(not_found)?);
    let Verified { attempt, hash, .. } = identity.verify_own(&actor, user, "set_up_totp", ask.current).await?;
    let fresh = totp::fresh(&identity.keys, actor.scope, user, &actor.tenant.slug)?;
    let mut tx = identity.begin(actor.scope).await?;
    let set = sqlx::query(
        "update platform.user_account set totp_secret = $3, totp_step = 0, changed_at = now()
         where tenant_id = $1 and user_id = $2 and state = 'active' and not totp_confirmed and password_hash = $4",
    )
    .bind(actor.tenant.id.uuid())
    .bind(user)
    .bind(fresh.sealed)
    .bind(hash)
    .execute(tx.conn())
    .await?;
    if set.rows_affected() == 0 {
        let known: Option<bool> =
            sqlx::query_scalar("select totp_confirmed from platform.user_account where tenant_id = $1 and user_id = $2")
                .bind(actor.tenant.id.uuid())
                .bind(user)
                .fetch_optional(tx.conn())
                .await?;
        tx.rollback().await?;
        if !known.ok_or_else(not_found)? {
            return Err(changed_meanwhile());
        }
        return Err(Problem::new(StatusCode::CONFLICT, "totp_active", "the account asks for six digits already; remove that first"));
    }
    identity.succeeded(&mut tx, attempt).await?;
    audit(&mut tx, actor.scope, "set_up_totp", "granted", Some(&user_name(user)), None).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(TotpSecret { url: fresh.url })))
}

/// Six digits.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SixDigits {
    /// As the app shows them now.
    code: String,
}

/// Show that the app has the secret: from now on log-in asks for its digits.
#[utoipa::path(post, path = "/v1/auth/totp/confirmation", tag = "identity", request_body = SixDigits, responses(
    (status = 204, description = "Confirmed"),
    (status = 404, description = "`not_found`: there is nothing to confirm"),
    (status = 422, description = "`wrong_code`"),
))]
pub(crate) async fn confirm_totp(
    State(logins): State<Logins>,
    Anyone(actor): Anyone,
    Fields(ask): Fields<SixDigits>,
) -> Result<StatusCode, Problem> {
    use_code(logins, actor, &ask.code, "totp_confirmed = true", "confirm_totp").await
}

/// Stop asking for six digits.
#[utoipa::path(post, path = "/v1/auth/totp/removal", tag = "identity", request_body = SixDigits, responses(
    (status = 204, description = "Removed"),
    (status = 404, description = "`not_found`: there is none"),
    (status = 422, description = "`wrong_code`"),
))]
pub(crate) async fn remove_totp(
    State(logins): State<Logins>,
    Anyone(actor): Anyone,
    Fields(ask): Fields<SixDigits>,
) -> Result<StatusCode, Problem> {
    use_code(logins, actor, &ask.code, "totp_confirmed = false, totp_secret = null", "remove_totp").await
}

async fn use_code(logins: Logins, actor: Actor, code: &str, change: &'static str, action: &'static str) -> Result<StatusCode, Problem> {
    let (identity, user) = (logins.get()?, user_of(&actor.subject).ok_or_else(not_found)?);
    let account = format!("totp {}", user_name(user));
    let attempt = identity.count(actor.scope, action, account.as_bytes(), Trier::Token(actor.session)).await?;
    let mut tx = identity.begin(actor.scope).await?;
    let secret: Option<Vec<u8>> = sqlx::query_scalar(
        "select totp_secret from platform.user_account where tenant_id = $1 and user_id = $2 and totp_secret is not null and state = 'active'",
    )
    .bind(actor.tenant.id.uuid())
    .bind(user)
    .fetch_optional(tx.conn())
    .await?;
    let Some(secret) = secret else {
        tx.rollback().await?;
        return Err(not_found());
    };
    if !totp::take(&identity.keys, &mut tx, actor.scope, user, &secret, code).await? {
        audit(&mut tx, actor.scope, action, "refused", Some(&user_name(user)), None).await?;
        tx.commit().await?;
        return Err(totp::wrong_code());
    }
    let sql = format!("update platform.user_account set {change}, changed_at = now() where tenant_id = $1 and user_id = $2");
    sqlx::query(&sql).bind(actor.tenant.id.uuid()).bind(user).execute(tx.conn()).await?;
    identity.succeeded(&mut tx, attempt).await?;
    audit(&mut tx, actor.scope, action, "granted", Some(&user_name(user)), None).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which tokens are to be made void: one by its id, or all.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeToken {
    /// The token's `jti`.
    #[serde(default)]
    token_id: Option<String>,
    /// All tokens that you have, and all your log-ins.
    #[serde(default)]
    all: bool,
}

/// Make your tokens void before they expire: one by its id, or all. It bites within seconds. Beyond 100 single ones within
/// an hour all are made void.
#[utoipa::path(post, path = "/v1/auth/revocation", tag = "identity", request_body = RevokeToken, responses(
    (status = 204, description = "Void"),
))]
pub(crate) async fn revoke_token(
    State(logins): State<Logins>,
    Anyone(actor): Anyone,
    Fields(ask): Fields<RevokeToken>,
) -> Result<StatusCode, Problem> {
    let identity = logins.get()?;
    let mut tx = identity.begin(actor.scope).await?;
    match (&ask.token_id, ask.all) {
        (Some(id), false) if (1..=255).contains(&id.len()) && !id.contains('\0') => {
            identity.revoke(&mut tx, actor.scope, &actor.subject, Void::Token(id)).await?;
        }
        (None, true) => {
            if let Some(user) = user_of(&actor.subject) {
                // A log-in that is under way comes before this, or after it.
                sqlx::query("select from platform.user_account where tenant_id = $1 and user_id = $2 for no key update")
                    .bind(actor.tenant.id.uuid())
                    .bind(user)
                    .execute(tx.conn())
                    .await?;
                identity.end_sessions(&mut tx, actor.scope, user, None, "revoked").await?;
            }
            identity.revoke(&mut tx, actor.scope, &actor.subject, Void::All).await?;
        }
        (Some(_) | None, _) => {
            tx.rollback().await?;
            let detail = "send either token_id, a token's jti of 1 to 255 characters, or all: true";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", detail).field("/token_id", "invalid_id", detail));
        }
    }
    audit(&mut tx, actor.scope, "revoke", "granted", Some(&actor.subject), None).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
