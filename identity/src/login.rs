//! Logging in, staying in, getting out.

use std::time::Duration;

use axum::{Json, extract::State};
use events::{EmployeeId, TenantScope};
use http::{StatusCode, request::Parts};
use platform::{Problem, Registry, ScopedTx, Tenant, TenantState, request::Fields};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    attempts::{By, Trier},
    audit::audit,
    bearer::Bearer,
    emails::earlier_email,
    hashing::Asker,
    passwords,
    random::secret,
    state::{Identity, Logins, scope_of},
    subjects::user_name,
    tokens::{Subject, Void, exposed},
    totp,
};

/// How long a log-in lasts at most, and without being used.
const SESSION: Duration = Duration::from_hours(30 * 24);
const IDLE: Duration = Duration::from_hours(24);

/// What one logs in with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogIn {
    /// The address to which the account belongs.
    email: String,
    /// The password.
    #[schema(format = Password)]
    password: String,
    /// Six digits, where the account asks for them.
    #[serde(default)]
    totp: Option<String>,
    /// `device` of an earlier log-in: with it nobody else's failures count against you.
    #[serde(default)]
    device: Option<String>,
}

/// What a log-in gives.
#[derive(Serialize, ToSchema)]
pub(crate) struct Tokens {
    /// For `Authorization: Bearer …`.
    access_token: String,
    /// `Bearer`
    token_type: &'static str,
    /// Seconds until the access token ends.
    expires_in: u64,
    /// Gets the next access token, once, and the next refresh token with it.
    refresh_token: String,
    /// Seconds until the refresh token ends if it is not used.
    refresh_expires_in: u64,
    /// To be kept on this device in the place of an earlier one, and sent with the next log-in. It is good for 90 days, and until the
    /// password is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
}

#[derive(FromRow)]
struct Account {
    user_id: Uuid,
    state: String,
    roles: Vec<String>,
    employee_id: Option<Uuid>,
    password_hash: Option<String>,
    totp_secret: Option<Vec<u8>>,
    totp_confirmed: bool,
    /// The database's time.
    now: i64,
}
const ACCOUNT: &str = "a.user_id, a.state, a.roles, a.employee_id, a.password_hash, a.totp_secret, a.totp_confirmed,
     floor(extract(epoch from clock_timestamp()))::bigint as now";

/// Log in with e-mail address and password, at the tenant's host or with `Tenure-Tenant`.
///
/// Whoever is not let in gets the same answer after the same time, whether or not account or tenant exist.
#[utoipa::path(post, path = "/v1/auth/login", tag = "identity", security(()), request_body = LogIn, responses(
    (status = 200, description = "Logged in", body = Tokens),
    (status = 400, description = "`invalid_tenant`: neither host nor header name a tenant"),
    (status = 401, description = "`invalid_credentials`; `totp_required`: the password was right, now the six digits"),
    (status = 402, description = "`subscription_expired`"),
    (status = 403, description = "`tenant_suspended`"),
    (status = 503, description = "`store_unavailable`"),
))]
pub(crate) async fn log_in(State(logins): State<Logins>, parts: Parts, Fields(ask): Fields<LogIn>) -> Result<Json<Tokens>, Problem> {
    let identity = logins.get()?;
    let found = identity.gate.tenant_named(&parts)?;
    // A tenant that can't have log-ins is treated as one without accounts, in the platform's own scope.
    let tenant = found.filter(|tenant| matches!(tenant.state, TenantState::Ready | TenantState::Suspended));
    let scope = tenant.as_deref().map_or(Registry::platform_scope(), scope_of);
    let email = identity.normalized_email(&ask.email).ok().or_else(|| earlier_email(&ask.email)).unwrap_or_default();
    let nowhere = if tenant.is_some() { None } else { identity.gate.name_of_tenant(&parts) };
    let name = nowhere.as_ref().map_or_else(|| email.clone(), |nowhere| format!("nowhere\n{nowhere}\n{email}"));
    let account = identity.email_digest(scope, &name).await?;
    let mut tx = identity.begin(scope).await?;
    // The form that was typed comes first where an account was made under it.
    let sql = format!(
        "select {ACCOUNT} from platform.user_account a where tenant_id = $1 and email_digest = any ($2) and state = 'active'
         order by email_digest <> $2[cardinality($2)] limit 1"
    );
    let digests = identity.email_digests(scope, &ask.email, &email).await?;
    let active: Option<Account> = sqlx::query_as(&sql).bind(scope.tenant().uuid()).bind(&digests).fetch_optional(tx.conn()).await?;
    tx.commit().await?;
    let device = match (&ask.device, &active) {
        (Some(device), Some(active)) => identity.known_device(scope, &account, active, device).await?,
        _ => None,
    };
    let source = identity.gate.origin(&parts);
    let (trier, asker) = match &device {
        Some(device) => {
            (Trier::Device { name: &device.name, password: &device.password }, Asker::Known(data_encoding::HEXLOWER.encode(&account)))
        }
        None if tenant.is_some() => (Trier::Stranger(source), Asker::Stranger(source)),
        None => (Trier::Nowhere(source), Asker::Nowhere(source)),
    };
    let attempt = identity.count(scope, "log_in", &account, trier).await?;
    let good = identity.passwords.verify(asker, ask.password, active.as_ref().and_then(|row| row.password_hash.clone())).await?;
    if tenant.is_none() {
        identity.write_nothing_down(&attempt).await?;
        return Err(invalid_credentials("there is no such tenant"));
    }
    let (Some(tenant), Some(verified), true) = (tenant, active.as_ref(), good) else {
        return Err(identity.refuse(scope, active.map(|row| row.user_id), "wrong credentials").await);
    };
    if identity.has_left(scope, verified).await? {
        return Err(identity.refuse(scope, Some(verified.user_id), "the employment has ended").await);
    }
    let mut tx = identity.begin(scope).await?;
    // Verifying takes its time: whoever was disabled or got another password meanwhile is not let in. Held until the
    // log-in stands, so that what ends log-ins ends this one, too.
    let sql = format!(
        "select {ACCOUNT} from platform.user_account a
         where tenant_id = $1 and user_id = $2 and state = 'active' and password_hash = $3 and employee_id is not distinct from $4
         for no key update"
    );
    let user: Option<Account> = sqlx::query_as(&sql)
        .bind(scope.tenant().uuid())
        .bind(verified.user_id)
        .bind(&verified.password_hash)
        .bind(verified.employee_id)
        .fetch_optional(tx.conn())
        .await?;
    let Some(user) = user else {
        tx.rollback().await?;
        return Err(identity.refuse(scope, Some(verified.user_id), "the account changed while its password was verified").await);
    };
    let subject = user_name(user.user_id);
    if let Err(problem) = identity.gate.serves(&tenant) {
        audit(&mut tx, scope, "log_in", "not_served", Some(&subject), None).await?;
        tx.commit().await?;
        return Err(problem);
    }
    if let (true, Some(secret)) = (user.totp_confirmed, &user.totp_secret) {
        let Some(code) = &ask.totp else {
            audit(&mut tx, scope, "log_in", "totp_required", Some(&subject), None).await?;
            tx.commit().await?;
            let detail = "this account asks for the six digits that its app shows; send them as totp";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "totp_required", detail));
        };
        if !totp::take(&identity.keys, &mut tx, scope, user.user_id, secret, code).await? {
            tx.rollback().await?;
            return Err(identity.refuse(scope, Some(user.user_id), "wrong code").await);
        }
    }
    identity.succeeded(&mut tx, attempt).await?;
    let session = Uuid::now_v7();
    sqlx::query(
        "insert into platform.session (tenant_id, session_id, user_id, expires_at) values ($1, $2, $3, now() + $4 * interval '1 second')",
    )
    .bind(scope.tenant().uuid())
    .bind(session)
    .bind(user.user_id)
    .bind(SESSION.as_secs_f64())
    .execute(tx.conn())
    .await?;
    let refresh = identity.refresh_token(&mut tx, scope, session).await?;
    audit(&mut tx, scope, "log_in", "granted", Some(&subject), None).await?;
    tx.commit().await?;
    let device = match device {
        Some(device) if user.now - device.issued_at < DEVICE_RENEWED => None,
        _ => Some(identity.new_device(scope, &account, &user).await?),
    };
    identity.tokens(&tenant, &user, session, refresh, device).await.map(Json)
}

/// A refresh token, or the end of one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refresh {
    /// As the log-in, or the last refresh, gave it.
    refresh_token: String,
}

#[derive(FromRow)]
struct Family {
    session_id: Uuid,
    /// The log-in has not ended.
    alive: bool,
    /// The token was used before.
    used: bool,
    /// The token was not used for too long.
    idle: bool,
}

/// Get the next access token. A refresh token works once: its second use ends the log-in, for whoever holds it.
#[utoipa::path(post, path = "/v1/auth/refresh", tag = "identity", security(()), request_body = Refresh, responses(
    (status = 200, description = "The next tokens", body = Tokens),
    (status = 400, description = "`invalid_grant`: log in again"),
    (status = 401, description = "`access_ended`: with the last day of the employment"),
    (status = 402, description = "`subscription_expired`"),
    (status = 403, description = "`tenant_suspended`"),
    (status = 404, description = "`tenant_not_found`"),
    (status = 503, description = "`store_unavailable`"),
))]
pub(crate) async fn refresh(State(logins): State<Logins>, parts: Parts, Fields(ask): Fields<Refresh>) -> Result<Json<Tokens>, Problem> {
    let identity = logins.get()?;
    let (token, tenant) = identity.bearer("tr", &ask.refresh_token, &parts)?.ok_or_else(invalid_grant)?;
    let scope = scope_of(&tenant);
    let mut tx = identity.begin(scope).await?;
    let sql = format!(
        "select {ACCOUNT} from platform.user_account a join platform.session s using (tenant_id, user_id)
             join platform.refresh_token t using (tenant_id, session_id)
         where tenant_id = $1 and t.digest = $2 and a.employee_id is not null"
    );
    let employed: Option<Account> = sqlx::query_as(&sql).bind(scope.tenant().uuid()).bind(token.digest()).fetch_optional(tx.conn()).await?;
    // No connection is held while the employment is looked up.
    if let Some(user) = employed {
        tx.commit().await?;
        if identity.has_left(scope, &user).await? {
            identity.write_down_seldom(scope, "refresh", "refused", By::Subject(&user_name(user.user_id))).await?;
            let detail = "your access ended with the last day of your employment";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "access_ended", detail));
        }
        tx = identity.begin(scope).await?;
    }
    // Held, so that the roles are still the user's when the token stands.
    let sql = format!(
        "select {ACCOUNT} from platform.user_account a join platform.session s using (tenant_id, user_id)
             join platform.refresh_token t using (tenant_id, session_id)
         where tenant_id = $1 and t.digest = $2 for share of a"
    );
    let user: Option<Account> = sqlx::query_as(&sql).bind(scope.tenant().uuid()).bind(token.digest()).fetch_optional(tx.conn()).await?;
    // Locked: of two uses at once one comes second.
    let family: Option<Family> = sqlx::query_as(
        "select t.session_id, s.ended_at is null and s.expires_at > now() as alive, t.used_at is not null as used, t.expires_at <= now() as idle
         from platform.refresh_token t join platform.session s using (tenant_id, session_id)
         where t.tenant_id = $1 and t.digest = $2 for update",
    )
    .bind(scope.tenant().uuid())
    .bind(token.digest())
    .fetch_optional(tx.conn())
    .await?;
    let (Some(user), Some(family)) = (user, family) else {
        tx.rollback().await?;
        identity.write_down_seldom(scope, "refresh", "refused", By::Place(identity.gate.origin(&parts))).await?;
        return Err(invalid_grant());
    };
    let subject = user_name(user.user_id);
    // However long ago: whoever took it has gone on with what it gave.
    if family.used && family.alive {
        sqlx::query(
            "update platform.session set ended_at = now(), ended_why = 'refresh token used twice' where tenant_id = $1 and session_id = $2",
        )
        .bind(scope.tenant().uuid())
        .bind(family.session_id)
        .execute(tx.conn())
        .await?;
        identity.revoke(&mut tx, scope, &subject, Void::Session(family.session_id)).await?;
        audit(&mut tx, scope, "refresh", "reuse_detected", Some(&subject), None).await?;
        tx.commit().await?;
        return Err(invalid_grant());
    }
    if family.used || family.idle || !family.alive || user.state != "active" {
        tx.rollback().await?;
        identity.write_down_seldom(scope, "refresh", "refused", By::Subject(&subject)).await?;
        return Err(invalid_grant());
    }
    if let Err(problem) = identity.gate.serves(&tenant) {
        tx.rollback().await?;
        identity.write_down_seldom(scope, "refresh", "not_served", By::Subject(&subject)).await?;
        return Err(problem);
    }
    sqlx::query("update platform.refresh_token set used_at = now() where tenant_id = $1 and digest = $2")
        .bind(scope.tenant().uuid())
        .bind(token.digest())
        .execute(tx.conn())
        .await?;
    let next = identity.refresh_token(&mut tx, scope, family.session_id).await?;
    audit(&mut tx, scope, "refresh", "granted", Some(&subject), None).await?;
    tx.commit().await?;
    identity.tokens(&tenant, &user, family.session_id, next, None).await.map(Json)
}

/// End a log-in: its refresh tokens at once, its access tokens within seconds. An unknown one is ended already.
#[utoipa::path(post, path = "/v1/auth/logout", tag = "identity", security(()), request_body = Refresh, responses(
    (status = 204, description = "Logged out"),
))]
pub(crate) async fn log_out(State(logins): State<Logins>, parts: Parts, Fields(ask): Fields<Refresh>) -> Result<StatusCode, Problem> {
    let identity = logins.get()?;
    let Some((token, tenant)) = identity.bearer("tr", &ask.refresh_token, &parts)? else { return Ok(StatusCode::NO_CONTENT) };
    let scope = scope_of(&tenant);
    let mut tx = identity.begin(scope).await?;
    let ended: Option<(Uuid, Uuid)> = sqlx::query_as(
        "update platform.session set ended_at = now(), ended_why = 'logged out'
         where tenant_id = $1 and ended_at is null
           and session_id = (select session_id from platform.refresh_token where tenant_id = $1 and digest = $2)
         returning session_id, user_id",
    )
    .bind(scope.tenant().uuid())
    .bind(token.digest())
    .fetch_optional(tx.conn())
    .await?;
    if let Some((session, user)) = ended {
        let subject = user_name(user);
        identity.revoke(&mut tx, scope, &subject, Void::Session(session)).await?;
        audit(&mut tx, scope, "log_out", "granted", Some(&subject), None).await?;
    }
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What an invitation becomes an account with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Activation {
    /// As the invitation says.
    ticket: String,
    /// The password from now on.
    #[schema(format = Password)]
    password: String,
}

/// Take up an invitation, or set a new password with one. All earlier log-ins end.
#[utoipa::path(post, path = "/v1/auth/activation", tag = "identity", security(()), request_body = Activation, responses(
    (status = 204, description = "The account is active; log in"),
    (status = 400, description = "`invalid_ticket`: unknown, used, too old, or for an account that has changed since; ask for another"),
    (status = 402, description = "`subscription_expired`"),
    (status = 403, description = "`tenant_suspended`"),
    (status = 404, description = "`tenant_not_found`"),
    (status = 422, description = "`weak_password`"),
))]
pub(crate) async fn activate(State(logins): State<Logins>, parts: Parts, Fields(ask): Fields<Activation>) -> Result<StatusCode, Problem> {
    let invalid = || {
        let detail = "the invitation is unknown, used, too old, or for what is not so any more; ask for another";
        Problem::new(StatusCode::BAD_REQUEST, "invalid_ticket", detail)
    };
    let identity = logins.get()?;
    let (ticket, tenant) = identity.bearer("tt", &ask.ticket, &parts)?.ok_or_else(invalid)?;
    let scope = scope_of(&tenant);
    let mut tx = identity.begin(scope).await?;
    let found: Option<(Uuid, Vec<u8>)> = sqlx::query_as(
        "select user_id, email from platform.user_ticket join platform.user_account using (tenant_id, user_id)
         where tenant_id = $1 and digest = $2 and expires_at > now() and state <> 'disabled'",
    )
    .bind(scope.tenant().uuid())
    .bind(ticket.digest())
    .fetch_optional(tx.conn())
    .await?;
    tx.commit().await?;
    let Some((user, email)) = found else {
        identity.write_down_seldom(scope, "activate", "refused", By::Place(identity.gate.origin(&parts))).await?;
        return Err(invalid());
    };
    if let Err(problem) = identity.gate.serves(&tenant) {
        identity.write_down_seldom(scope, "activate", "not_served", By::Subject(&user_name(user))).await?;
        return Err(problem);
    }
    passwords::check(&ask.password, &identity.open_email(scope, user, &email)?)?;
    let hash = identity.passwords.hash(Asker::Known(user_name(user)), ask.password).await?;
    let mut tx = identity.begin(scope).await?;
    if !identity.take_ticket(&mut tx, scope, user, &ticket).await? {
        audit(&mut tx, scope, "activate", "refused", Some(&user_name(user)), None).await?;
        tx.commit().await?;
        return Err(invalid());
    }
    sqlx::query(
        "update platform.user_account set password_hash = $3, state = 'active', totp_secret = null, totp_confirmed = false, changed_at = now()
         where tenant_id = $1 and user_id = $2",
    )
    .bind(scope.tenant().uuid())
    .bind(user)
    .bind(hash)
    .execute(tx.conn())
    .await?;
    identity.end_sessions(&mut tx, scope, user, None, "new password").await?;
    audit(&mut tx, scope, "activate", "granted", Some(&user_name(user)), None).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Identity {
    /// Writes down that somebody was not let in, and answers as always.
    async fn refuse(&self, scope: TenantScope, user: Option<Uuid>, reason: &'static str) -> Problem {
        match self.write_down(scope, "log_in", "refused", user.map(user_name).as_deref()).await {
            Ok(()) => invalid_credentials(reason),
            // What can't be written down is not decided (I8).
            Err(problem) => problem,
        }
    }
    /// Whether the access of an account has ended with the employment of its person.
    async fn has_left(&self, scope: TenantScope, account: &Account) -> Result<bool, Problem> {
        let Some(employee) = account.employee_id.map(EmployeeId::from_uuid) else { return Ok(false) };
        if !self.gate.has_left(scope, employee).await? {
            return Ok(false);
        }
        let mut tx = self.begin(scope).await?;
        let goes_on: bool =
            sqlx::query_scalar("select exists (select from platform.access_after_leaving where tenant_id = $1 and subject = $2)")
                .bind(scope.tenant().uuid())
                .bind(user_name(account.user_id))
                .fetch_one(tx.conn())
                .await?;
        tx.commit().await?;
        Ok(!goes_on)
    }
    async fn refresh_token(&self, tx: &mut ScopedTx, scope: TenantScope, session: Uuid) -> Result<Bearer, Problem> {
        let token = Bearer::fresh("tr", scope.tenant())?;
        sqlx::query(
            "insert into platform.refresh_token (tenant_id, digest, session_id, expires_at) values ($1, $2, $3, now() + $4 * interval '1 second')",
        )
        .bind(scope.tenant().uuid())
        .bind(token.digest())
        .bind(session)
        .bind(IDLE.as_secs_f64())
        .execute(tx.conn())
        .await?;
        Ok(token)
    }
    async fn tokens(
        &self,
        tenant: &Tenant,
        user: &Account,
        session: Uuid,
        refresh: Bearer,
        device: Option<String>,
    ) -> Result<Tokens, Problem> {
        let subject = Subject {
            name: user_name(user.user_id),
            roles: user.roles.clone(),
            employee: user.employee_id,
            session: Some(session),
            issued_at: user.now,
        };
        let (token, expires_in) = self.access_token(tenant, subject).await?;
        Ok(Tokens {
            access_token: exposed(&token),
            token_type: "Bearer",
            expires_in,
            refresh_token: refresh.0,
            refresh_expires_in: IDLE.as_secs(),
            device,
        })
    }
    /// A proof that an account was logged in to from here with its present password: `{name}.{issued at}.{digest}`, the digest being
    /// one under the tenant's key.
    async fn new_device(&self, scope: TenantScope, account: &[u8], row: &Account) -> Result<String, Problem> {
        let device = Device::of(row, secret().map_err(|error| Problem::internal(&error))?, row.now);
        let proof = self.device_proof(scope, account, row, &device).await?;
        Ok(format!("{}.{}.{proof}", device.name, device.issued_at))
    }
    /// The device, if its proof is good: it ends with the password that it came of, and by itself.
    async fn known_device(&self, scope: TenantScope, account: &[u8], row: &Account, text: &str) -> Result<Option<Device>, Problem> {
        let mut parts = text.splitn(3, '.');
        let (Some(name), Some(issued_at), Some(proof)) = (parts.next(), parts.next(), parts.next()) else { return Ok(None) };
        let Ok(issued_at) = issued_at.parse::<i64>() else { return Ok(None) };
        if name.len() != 43 || row.now.saturating_sub(issued_at) > DEVICE {
            return Ok(None);
        }
        let device = Device::of(row, name.to_owned(), issued_at);
        let good = self.device_proof(scope, account, row, &device).await?;
        let equal = aws_lc_rs::constant_time::verify_slices_are_equal(good.as_bytes(), proof.as_bytes()).is_ok();
        Ok(equal.then_some(device))
    }
    async fn device_proof(&self, scope: TenantScope, account: &[u8], row: &Account, device: &Device) -> Result<String, Problem> {
        let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
        let Device { name, issued_at, password } = device;
        let content = format!("{}\n{}\n{password}\n{name}\n{issued_at}", hex(account), row.user_id);
        Ok(hex(&self.keys.claim_digest(scope, "login_device", &content).await?))
    }
}

/// A device that an account was logged in to from.
struct Device {
    name: String,
    /// Seconds since 1970.
    issued_at: i64,
    /// Digest of the password's hash.
    password: String,
}
impl Device {
    fn of(row: &Account, name: String, issued_at: i64) -> Self {
        let password = Sha256::digest(row.password_hash.as_deref().unwrap_or_default());
        Self { name, issued_at, password: data_encoding::HEXLOWER.encode(&password) }
    }
}
/// Seconds for which a device is known after the log-in that gave it its proof, and after which a log-in gives it another.
const DEVICE: i64 = 90 * 86_400;
const DEVICE_RENEWED: i64 = 30 * 86_400;

fn invalid_credentials(reason: &'static str) -> Problem {
    tracing::info!(target: "audit", reason, "log-in refused");
    Problem::new(StatusCode::UNAUTHORIZED, "invalid_credentials", "e-mail address, password or code are not right")
}

fn invalid_grant() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_grant", "the refresh token is not good (any more); log in again")
}
