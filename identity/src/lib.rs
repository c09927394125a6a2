//! Who gets in: users, log-ins, machines, and other issuers whose tokens are taken.
//!
//! Everything here works on tables that only the role `tenure_identity` reaches, through a pool of its own. Passwords and
//! tokens never come near the event store. Reading order: [`login`], then [`users`], [`tickets`], [`machines`], [`roles`],
//! [`own`] (what one does with one's own account), [`trust`] (operators, and what the tenant says to it); below them
//! [`passwords`], [`hashing`] (who hashes next), [`attempts`], [`totp`].

mod attempts;
mod hashing;
mod login;
mod machines;
mod openapi;
mod own;
mod passwords;
mod roles;
mod tickets;
mod totp;
mod trust;
mod users;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{
    extract::{FromRef, Request, State},
    middleware::Next,
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use events::{EmployeeId, TenantId, TenantScope};
use http::StatusCode;
use platform::{
    Actor, Config, Gate, Keys, Problem, Process, ScopedTx, Tenant,
    access::{BUILT_IN, Duty, RoleContent, TenantAccess},
    auth::{Issuer, LONGEST_FOREIGN_LIFETIME, TokenRequest, token_name},
    database,
};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tokio::{sync::Mutex, time::Instant};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use self::{attempts::Recent, passwords::Passwords};

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

/// How long an access token lives.
const ACCESS: Duration = Duration::from_mins(10);
/// How long a log-in lasts at most, and without being used.
const SESSION: Duration = Duration::from_hours(30 * 24);
const IDLE: Duration = Duration::from_hours(24);
/// How long an invitation is good.
const TICKET: Duration = Duration::from_hours(7 * 24);
/// How long the signing key is used before it is looked up again: a rotation takes effect within this.
const SIGNER_AGE: Duration = Duration::from_secs(5);
const CONNECTIONS: u32 = 8;
/// Tokens and log-ins of one subject that can be void at a time. Every process keeps each of them.
const REVOCATIONS_OF_ONE: i64 = 100;

/// What the routes work with; empty where the process has no way to the identity tables.
#[derive(Clone, Default)]
pub struct Logins(Option<Arc<Identity>>);

/// Log-in and all that belongs to it.
pub(crate) struct Identity {
    pool: PgPool,
    keys: Keys,
    gate: Gate,
    config: Config,
    passwords: Passwords,
    recent: Recent,
    signer: Mutex<Option<(Arc<Issuer>, Instant)>>,
    email_rule: EmailRule,
}

/// An address in the one form in which addresses are compared, or why the text is none.
pub type EmailRule = fn(&str) -> Result<String, String>;

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
    fn get(&self) -> Result<&Identity, Problem> {
        let detail = "this server logs nobody in; use another one, or a token of another issuer";
        self.0.as_deref().ok_or_else(|| Problem::unavailable("login_unavailable", detail))
    }
}

/// Whom an access token is for.
struct Subject {
    name: String,
    roles: Vec<String>,
    employee: Option<Uuid>,
    session: Option<Uuid>,
    /// By the database's clock, while the account was locked: what is revoked later is revoked after this.
    issued_at: i64,
}

/// Which of a subject's tokens are made void.
enum Void<'v> {
    All,
    Session(Uuid),
    /// By its `jti`.
    Token(&'v str),
}

impl Identity {
    /// A signed access token, and the seconds that it lives.
    async fn access_token(&self, tenant: &Tenant, subject: Subject) -> Result<(SecretString, u64), Problem> {
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
    /// The address in the one form in which addresses are compared.
    fn normalized_email(&self, text: &str) -> Result<String, Problem> {
        (self.email_rule)(text.trim()).map_err(|why| {
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", format!("email {why}"));
            problem.field("/email", "invalid_email", why)
        })
    }
    /// What an e-mail address is found by.
    async fn email_digest(&self, scope: TenantScope, email: &str) -> Result<[u8; 32], Problem> {
        Ok(self.keys.claim_digest(scope, "login_email", email).await?)
    }
    /// What an account may be found by whose address is typed so: its digest, and that of the form of earlier builds where that
    /// is another.
    async fn email_digests(&self, scope: TenantScope, typed: &str, email: &str) -> Result<Vec<Vec<u8>>, Problem> {
        let mut digests = vec![self.email_digest(scope, email).await?.to_vec()];
        if let Some(earlier) = earlier_email(typed).filter(|earlier| earlier != email) {
            digests.push(self.email_digest(scope, &earlier).await?.to_vec());
        }
        Ok(digests)
    }
    fn seal_email(&self, scope: TenantScope, user: Uuid, email: &str) -> Vec<u8> {
        self.keys.seal(&email_context(scope, user), email.as_bytes())
    }
    fn open_email(&self, scope: TenantScope, user: Uuid, sealed: &[u8]) -> Result<String, Problem> {
        let bytes = self.keys.open_sealed(&email_context(scope, user), sealed)?;
        String::from_utf8(bytes.to_vec()).map_err(|error| Problem::internal(&error))
    }
    async fn begin(&self, scope: TenantScope) -> Result<ScopedTx, Problem> {
        Ok(ScopedTx::begin(&self.pool, scope).await?)
    }
    /// Makes a subject's tokens void before they expire: within a second or two, everywhere.
    async fn revoke(&self, tx: &mut ScopedTx, scope: TenantScope, subject: &str, what: Void<'_>) -> Result<(), Problem> {
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
    async fn end_sessions(&self, tx: &mut ScopedTx, scope: TenantScope, user: Uuid, but: Option<Uuid>, why: &str) -> Result<(), Problem> {
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

/// Writes down a decision, if who made it still may. `subject` is whom it is about, `actor` who made it.
async fn audit(
    tx: &mut ScopedTx,
    scope: TenantScope,
    action: &'static str,
    outcome: &'static str,
    subject: Option<&str>,
    actor: Option<&Actor>,
) -> Result<(), Problem> {
    if let Some(actor) = actor {
        actor.after_waiting().await?;
    }
    let (tenant, actor) = (scope.tenant(), actor.map(|actor| actor.subject.as_str()));
    // A role's name, or the subject that a client wrote, may be anything; the log gets what is ours and says nothing.
    let logged = subject.filter(|text| is_opaque(text));
    tracing::info!(target: "audit", %tenant, action, outcome, subject = logged, actor, "identity");
    metrics::counter!("identity_decisions_total", "action" => action, "outcome" => outcome).increment(1);
    sqlx::query("insert into platform.identity_audit (tenant_id, action, outcome, subject, actor) values ($1, $2, $3, $4, $5)")
        .bind(tenant.uuid())
        .bind(action)
        .bind(outcome)
        .bind(subject)
        .bind(actor)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// An id, or the subject of a token that we issued or took.
fn is_opaque(text: &str) -> bool {
    let rest = ["user:", "service:", "external:"].iter().find_map(|kind| text.strip_prefix(kind)).unwrap_or(text);
    Uuid::try_parse(rest).is_ok()
}

/// A secret that stands for itself: `{kind}_{namespace}_{256 random bits}`. Only its digest is kept.
struct Bearer(String);

impl Bearer {
    fn fresh(kind: &str, tenant: TenantId) -> Result<Self, Problem> {
        let secret = secret().map_err(|error| Problem::internal(&error))?;
        Ok(Self(format!("{kind}_{}_{secret}", tenant.namespace())))
    }
    /// The tenant that it names, if it has the shape of this kind.
    fn read(kind: &str, text: &str) -> Option<(Self, TenantId)> {
        let (namespace, secret) = text.strip_prefix(kind)?.strip_prefix('_')?.split_once('_')?;
        let tenant = namespace.parse().ok()?;
        (secret.len() == 43).then(|| (Self(text.to_owned()), tenant))
    }
    fn digest(&self) -> Vec<u8> {
        Sha256::digest(self.0.as_bytes()).to_vec()
    }
}

/// 256 random bits as text.
fn secret() -> anyhow::Result<String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).context("the operating system gives no random bytes")?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The form in which earlier builds compared addresses: accounts that were made under it, and have another one now or none,
/// are still found by it.
fn earlier_email(text: &str) -> Option<String> {
    let email = text.trim().to_lowercase();
    let good = email.len() <= 254
        && email.split_once('@').is_some_and(|(local, domain)| !local.is_empty() && domain.contains('.') && !domain.contains('@'))
        && !email.chars().any(|c| c.is_whitespace() || c.is_control());
    good.then_some(email)
}

/// 422 unless each is the name of a role of this tenant; 403 where one holds more than who hands it out.
async fn check_roles(tx: &mut ScopedTx, actor: &Actor, roles: &[String]) -> Result<(), Problem> {
    let contents = known_roles(tx, actor.scope, roles).await?;
    if contents.iter().all(|content| actor.grants.cover(content)) { Ok(()) } else { Err(actor.forbidden()) }
}

/// Keeps roles from being removed or made anew until the transaction ends. Everybody locks roles first, then accounts, then
/// the version of what the tenant decided about access, then what that counts.
async fn hold_roles(tx: &mut ScopedTx, scope: TenantScope, roles: &[String]) -> Result<(), Problem> {
    sqlx::query("select from platform.access_role where tenant_id = $1 and name = any($2) order by name for share")
        .bind(scope.tenant().uuid())
        .bind(roles)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// What they are made of, and stay until the transaction ends; 422 unless each is the name of a role of this tenant.
async fn known_roles(tx: &mut ScopedTx, scope: TenantScope, roles: &[String]) -> Result<Vec<RoleContent>, Problem> {
    hold_roles(tx, scope, roles).await?;
    let (tenant, access) = (scope.tenant(), TenantAccess::read(tx, scope).await?);
    let contents: Vec<_> = roles.iter().map_while(|role| access.content(tenant, role)).collect();
    let place = if contents.len() < roles.len() { Some(contents.len()) } else { (roles.len() > 32).then_some(32) };
    if let Some(place) = place {
        let built_in = BUILT_IN.into_iter().filter(|role| role.is_for(tenant)).map(|role| role.name);
        let names: Vec<_> = built_in.chain(access.roles.iter().map(|(name, _)| name.as_str())).collect();
        let detail = format!("the roles here are {}, at most 32 of them", names.join(", "));
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_role", detail.clone());
        return Err(problem.field(format!("/roles/{place}"), "unknown_role", detail));
    }
    Ok(contents)
}

/// All that a subject with these roles holds, what others delegated to it for now or later among it.
fn held<'h>(access: &'h TenantAccess, scope: TenantScope, subject: &'h str, roles: &'h [String]) -> impl Iterator<Item = RoleContent> + 'h {
    let tenant = scope.tenant();
    roles.iter().filter_map(move |role| access.content(tenant, role)).chain(access.delegated_to(tenant, subject))
}

/// 403 where a user with these roles may do more than the actor, who would decide what they may do, or come in as them.
async fn check_user_held(tx: &mut ScopedTx, actor: &Actor, user: Uuid, roles: &[String]) -> Result<(), Problem> {
    let access = TenantAccess::read(tx, actor.scope).await?;
    let covered = held(&access, actor.scope, &user_name(user), roles).all(|content| actor.grants.cover(&content));
    if covered { Ok(()) } else { Err(actor.forbidden()) }
}

/// 403 where one of these roles holds more than the actor.
async fn check_roles_held(tx: &mut ScopedTx, actor: &Actor, roles: &[String]) -> Result<(), Problem> {
    let access = TenantAccess::read(tx, actor.scope).await?;
    let mut contents = roles.iter().filter_map(|role| access.content(actor.tenant.id, role));
    if contents.all(|content| actor.grants.cover(&content)) { Ok(()) } else { Err(actor.forbidden()) }
}

/// 403 where somebody with these roles has a say that the actor has not.
async fn check_duties_held(tx: &mut ScopedTx, actor: &Actor, roles: &[String]) -> Result<(), Problem> {
    let access = TenantAccess::read(tx, actor.scope).await?;
    let mut contents = roles.iter().filter_map(|role| access.content(actor.tenant.id, role));
    if contents.all(|content| actor.grants.cover_duties(&content)) { Ok(()) } else { Err(actor.forbidden()) }
}

/// 409 where a user has just taken from themselves what they decide about others by, and no other user has it.
async fn check_admins_left(tx: &mut ScopedTx, actor: &Actor) -> Result<(), Problem> {
    // A machine, or who logs in elsewhere, is still there.
    if user_of(&actor.subject).is_none() || !actor.grants.has(Duty::ManageUsers) {
        return Ok(());
    }
    let access = TenantAccess::read(tx, actor.scope).await?;
    let decides = |role: &str| access.content(actor.tenant.id, role).is_some_and(|content| content.duties.contains(&Duty::ManageUsers));
    let own = access.roles.iter().map(|(name, _)| name.as_str());
    let roles: Vec<&str> = BUILT_IN.iter().map(|role| role.name).chain(own).filter(|role| decides(role)).collect();
    let left: bool =
        sqlx::query_scalar("select exists (select from platform.user_account where tenant_id = $1 and state = 'active' and roles && $2)")
            .bind(actor.tenant.id.uuid())
            .bind(&roles)
            .fetch_one(tx.conn())
            .await?;
    if left {
        return Ok(());
    }
    let detail = "nobody would be left who decides who gets in; let somebody else do so first";
    Err(Problem::new(StatusCode::CONFLICT, "last_admin", detail))
}

/// The right to a tenant's identity tables. What may be done there, a password, a secret or an operator's token decides.
fn scope_of(tenant: &Tenant) -> TenantScope {
    TenantScope::checked(tenant.id)
}

fn user_name(user: Uuid) -> String {
    format!("user:{user}")
}
fn user_of(subject: &str) -> Option<Uuid> {
    subject.strip_prefix("user:")?.parse().ok()
}
fn email_context(scope: TenantScope, user: Uuid) -> String {
    format!("login email\n{}\n{user}", scope.tenant())
}

/// 404 `not_found`: as for what never was.
fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such object")
}

/// The token answer's secret, for serialization.
fn exposed(secret: &SecretString) -> String {
    secret.expose_secret().to_owned()
}
