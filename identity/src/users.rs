//! Users of a tenant, by those who decide who gets in.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use events::TenantScope;
use http::StatusCode;
use platform::{
    AuditReader, Problem, ScopedTx, UserAdmin,
    access::BuiltIn,
    mail::MailTemplate,
    request::{Fields, PathId},
};
use serde::{Deserialize, Deserializer, Serialize};
use sqlx::FromRow;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    audit::audit,
    mail::AskedLanguage,
    rights::{check_admins_left, check_duties_held, check_roles, check_user_held},
    state::{Identity, Logins, not_found},
    subjects::user_name,
    tickets::TICKET,
    tokens::Void,
};

/// Who is to get in, and as what.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InviteUser {
    /// The address with which they will log in.
    email: String,
    /// What they may do.
    roles: Vec<String>,
    /// Which person they are, where they are employed here.
    #[serde(default)]
    employee_id: Option<Uuid>,
}

/// What is to be sent to somebody who is invited.
#[derive(Serialize, ToSchema)]
pub(crate) struct Invitation {
    /// The user.
    user_id: Uuid,
    /// Makes the account active, once, with `POST /v1/auth/activation`. It is shown only here.
    ticket: String,
    /// Seconds for which it is good.
    expires_in: u64,
}

/// Somebody who can log in, or could.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the contract's name")]
pub(crate) struct User {
    /// The user.
    user_id: Uuid,
    /// The address with which they log in.
    email: String,
    /// `invited`, `active` or `disabled`.
    state: String,
    /// What they may do.
    roles: Vec<String>,
    /// Which person they are.
    employee_id: Option<Uuid>,
    /// Whether log-in asks for six digits too.
    totp: bool,
    /// Whether access goes on after the last day of the person's employment.
    keeps_access_after_leaving: bool,
}

/// A page of users.
#[derive(Serialize, ToSchema)]
pub(crate) struct Users {
    /// In the order in which they were invited.
    items: Vec<User>,
    /// `after` of the next page; null on the last.
    next_after: Option<Uuid>,
}

#[derive(FromRow)]
struct Row {
    user_id: Uuid,
    email: Vec<u8>,
    state: String,
    roles: Vec<String>,
    employee_id: Option<Uuid>,
    totp_confirmed: bool,
    keeps_access_after_leaving: bool,
}

const COLUMNS: &str = "user_id, email, state, roles, employee_id, totp_confirmed, exists (
    select from platform.access_after_leaving l where l.tenant_id = user_account.tenant_id and l.subject = 'user:' || user_id
) as keeps_access_after_leaving";
const PAGE: usize = 200;

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct After {
    /// The last user of the page before.
    after: Option<Uuid>,
}

/// Invite somebody. The answer holds the ticket that is to be sent to them.
#[utoipa::path(post, path = "/v1/users", tag = "identity", request_body = InviteUser, responses(
    (status = 201, description = "Invited", body = Invitation),
    (status = 409, description = "`user_exists`"),
    (status = 422, description = "`unknown_role`"),
))]
pub(crate) async fn invite_user(
    State(logins): State<Logins>,
    UserAdmin(actor): UserAdmin,
    AskedLanguage(language): AskedLanguage,
    Fields(ask): Fields<InviteUser>,
) -> Result<(StatusCode, Json<Invitation>), Problem> {
    let identity = logins.get()?;
    let email = identity.normalized_email(&ask.email)?;
    let (user, digests) = (Uuid::now_v7(), identity.email_digests(actor.scope, &ask.email, &email).await?);
    let mut tx = identity.begin(actor.scope).await?;
    check_roles(&mut tx, &actor, &ask.roles).await?;
    let invited = sqlx::query(
        "insert into platform.user_account (tenant_id, user_id, email_digest, email, state, roles, employee_id)
         select $1, $2, $3, $4, 'invited', $5, $6
         where not exists (select from platform.user_account where tenant_id = $1 and email_digest = any ($7))
         on conflict (tenant_id, email_digest) do nothing",
    )
    .bind(actor.tenant.id.uuid())
    .bind(user)
    .bind(&digests[0])
    .bind(identity.seal_email(actor.scope, user, &email))
    .bind(&ask.roles)
    .bind(ask.employee_id)
    .bind(&digests)
    .execute(tx.conn())
    .await?;
    if invited.rows_affected() == 0 {
        tx.rollback().await?;
        let detail = "somebody with this address is here already; invite them again by their id, or enable them";
        return Err(Problem::new(StatusCode::CONFLICT, "user_exists", detail).field("/email", "user_exists", detail));
    }
    let ticket = identity.ticket(&mut tx, &actor, user).await?;
    identity.queue_mail(&mut tx, &actor, (MailTemplate::Invitation, language), || Ok(email), &ticket).await?;
    audit(&mut tx, actor.scope, "invite", "granted", Some(&user_name(user)), Some(&actor)).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(Invitation { user_id: user, ticket, expires_in: TICKET.as_secs() })))
}

/// List users.
#[utoipa::path(get, path = "/v1/users", tag = "identity", params(After), responses(
    (status = 200, description = "A page of users", body = Users),
))]
pub(crate) async fn users(
    State(logins): State<Logins>,
    UserAdmin(actor): UserAdmin,
    page: Result<Query<After>, QueryRejection>,
) -> Result<Json<Users>, Problem> {
    let Query(page) = page.map_err(|_| invalid_query())?;
    let identity = logins.get()?;
    let mut tx = identity.begin(actor.scope).await?;
    let sql = format!(
        "select {COLUMNS} from platform.user_account where tenant_id = $1 and ($2::uuid is null or user_id > $2) order by user_id limit {}",
        PAGE + 1
    );
    let mut rows: Vec<Row> = sqlx::query_as(&sql).bind(actor.tenant.id.uuid()).bind(page.after).fetch_all(tx.conn()).await?;
    tx.commit().await?;
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    let next_after = rows.last().filter(|_| more).map(|row| row.user_id);
    let items = rows.into_iter().map(|row| identity.shown(actor.scope, row)).collect::<Result<_, _>>()?;
    Ok(Json(Users { items, next_after }))
}

/// Show a user.
#[utoipa::path(get, path = "/v1/users/{id}", tag = "identity", params(("id" = Uuid, Path, description = "The user")), responses(
    (status = 200, description = "The user", body = User),
    (status = 404, description = "`not_found`"),
))]
pub(crate) async fn user(
    State(logins): State<Logins>,
    UserAdmin(actor): UserAdmin,
    PathId(user): PathId<Uuid>,
) -> Result<Json<User>, Problem> {
    let identity = logins.get()?;
    let mut tx = identity.begin(actor.scope).await?;
    let row = find(&mut tx, actor.scope, user).await?;
    tx.commit().await?;
    Ok(Json(identity.shown(actor.scope, row)?))
}

/// What a user may do from now on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeUser {
    /// All their roles.
    roles: Vec<String>,
    /// Which person they are; null for nobody here. Without it this stays as it is.
    #[serde(default)]
    #[schema(value_type = Option<Uuid>)]
    employee_id: Person,
}

/// Which person a user is from now on: absent and null differ.
#[derive(Default)]
enum Person {
    #[default]
    AsBefore,
    Is(Option<Uuid>),
}

impl<'de> Deserialize<'de> for Person {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::Is)
    }
}

/// Change what a user may do. Their access tokens end within seconds; a refresh brings new ones with the new roles. An
/// invitation that was not taken up yet is void: invite them again.
#[utoipa::path(post, path = "/v1/users/{id}/roles", tag = "identity", params(("id" = Uuid, Path, description = "The user")),
    request_body = ChangeUser, responses(
    (status = 200, description = "Changed", body = User),
    (status = 404, description = "`not_found`"),
    (status = 409, description = "`last_admin`: nobody would be left who decides who gets in"),
    (status = 422, description = "`unknown_role`"),
))]
pub(crate) async fn change_user(
    State(logins): State<Logins>,
    UserAdmin(actor): UserAdmin,
    PathId(user): PathId<Uuid>,
    Fields(ask): Fields<ChangeUser>,
) -> Result<Json<User>, Problem> {
    let identity = logins.get()?;
    let mut tx = identity.begin(actor.scope).await?;
    check_roles(&mut tx, &actor, &ask.roles).await?;
    let before = hold(&mut tx, actor.scope, user).await?;
    check_user_held(&mut tx, &actor, user, &before.roles).await?;
    identity.end_delegations(&mut tx, actor.scope, &user_name(user)).await?;
    let employee_id = match ask.employee_id {
        Person::AsBefore => before.employee_id,
        Person::Is(person) => person,
    };
    if before.employee_id != employee_id {
        // What an owner said was about another person.
        sqlx::query("delete from platform.access_after_leaving where tenant_id = $1 and subject = $2")
            .bind(actor.tenant.id.uuid())
            .bind(user_name(user))
            .execute(tx.conn())
            .await?;
    }
    sqlx::query("update platform.user_account set roles = $3, employee_id = $4, changed_at = now() where tenant_id = $1 and user_id = $2")
        .bind(actor.tenant.id.uuid())
        .bind(user)
        .bind(&ask.roles)
        .bind(employee_id)
        .execute(tx.conn())
        .await?;
    identity.revoke(&mut tx, actor.scope, &user_name(user), Void::All).await?;
    audit(&mut tx, actor.scope, "change_roles", "granted", Some(&user_name(user)), Some(&actor)).await?;
    check_admins_left(&mut tx, &actor).await?;
    let row = find(&mut tx, actor.scope, user).await?;
    tx.commit().await?;
    Ok(Json(identity.shown(actor.scope, row)?))
}

/// What becomes of a user's access when they leave.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessAfterLeaving {
    /// Whether it goes on after the last day of the person's employment.
    keeps_access: bool,
}

/// Say whether a user's access goes on after the last day of their employment. It ends with that day at the place of work, unless somebody who
/// holds all that `owner` grants says otherwise; of oneself nobody says it. For another person in the user's place it is to be said anew.
#[utoipa::path(post, path = "/v1/users/{id}/access-after-leaving", tag = "identity", params(("id" = Uuid, Path, description = "The user")),
    request_body = AccessAfterLeaving, responses(
    (status = 200, description = "So it is", body = User),
    (status = 404, description = "`not_found`"),
))]
pub(crate) async fn access_after_leaving(
    State(logins): State<Logins>,
    UserAdmin(actor): UserAdmin,
    PathId(user): PathId<Uuid>,
    Fields(ask): Fields<AccessAfterLeaving>,
) -> Result<Json<User>, Problem> {
    let identity = logins.get()?;
    let subject = user_name(user);
    let owner = BuiltIn::within(actor.tenant.id, "owner").map(BuiltIn::content);
    if actor.subject == subject || !owner.is_some_and(|owner| actor.grants.cover(&owner)) {
        return Err(actor.forbidden());
    }
    let mut tx = identity.begin(actor.scope).await?;
    hold(&mut tx, actor.scope, user).await?;
    let sql = if ask.keeps_access {
        "insert into platform.access_after_leaving (tenant_id, subject) values ($1, $2) on conflict do nothing"
    } else {
        "delete from platform.access_after_leaving where tenant_id = $1 and subject = $2"
    };
    sqlx::query(sql).bind(actor.tenant.id.uuid()).bind(&subject).execute(tx.conn()).await?;
    identity.access_changed(&mut tx, actor.scope).await?;
    let action = if ask.keeps_access { "keep_access_after_leaving" } else { "end_access_with_employment" };
    audit(&mut tx, actor.scope, action, "granted", Some(&subject), Some(&actor)).await?;
    let row = find(&mut tx, actor.scope, user).await?;
    tx.commit().await?;
    Ok(Json(identity.shown(actor.scope, row)?))
}

/// Give a user another ticket: because the first one was lost, or to set a new password. Who uses it is no longer asked for
/// six digits.
#[utoipa::path(post, path = "/v1/users/{id}/invitation", tag = "identity", params(("id" = Uuid, Path, description = "The user")), responses(
    (status = 201, description = "Invited again", body = Invitation),
    (status = 404, description = "`not_found`"),
    (status = 409, description = "`user_disabled`: enable them first"),
))]
pub(crate) async fn invite_again(
    State(logins): State<Logins>,
    UserAdmin(actor): UserAdmin,
    AskedLanguage(language): AskedLanguage,
    PathId(user): PathId<Uuid>,
) -> Result<(StatusCode, Json<Invitation>), Problem> {
    let identity = logins.get()?;
    let mut tx = identity.begin(actor.scope).await?;
    let found = hold(&mut tx, actor.scope, user).await?;
    // A ticket opens the account.
    check_user_held(&mut tx, &actor, user, &found.roles).await?;
    if found.state == "disabled" {
        tx.rollback().await?;
        return Err(Problem::new(StatusCode::CONFLICT, "user_disabled", "the user is disabled; enable them first"));
    }
    let ticket = identity.ticket(&mut tx, &actor, user).await?;
    let template = if found.state == "invited" { MailTemplate::Invitation } else { MailTemplate::PasswordReset };
    let to = || identity.open_email(actor.scope, user, &found.email);
    identity.queue_mail(&mut tx, &actor, (template, language), to, &ticket).await?;
    audit(&mut tx, actor.scope, "invite_again", "granted", Some(&user_name(user)), Some(&actor)).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(Invitation { user_id: user, ticket, expires_in: TICKET.as_secs() })))
}

/// Keep a user out: their log-ins end at once, their access tokens within seconds.
#[utoipa::path(post, path = "/v1/users/{id}/disabling", tag = "identity", params(("id" = Uuid, Path, description = "The user")), responses(
    (status = 200, description = "Disabled, or so already", body = User),
    (status = 404, description = "`not_found`"),
    (status = 409, description = "`last_admin`: nobody would be left who decides who gets in"),
))]
pub(crate) async fn disable_user(
    State(logins): State<Logins>,
    UserAdmin(actor): UserAdmin,
    PathId(user): PathId<Uuid>,
) -> Result<Json<User>, Problem> {
    let identity = logins.get()?;
    let mut tx = identity.begin(actor.scope).await?;
    let roles = hold(&mut tx, actor.scope, user).await?.roles;
    // Keeping somebody out gives nothing away; but those who decide about others stay.
    check_duties_held(&mut tx, &actor, &roles).await?;
    set_state(&mut tx, actor.scope, user, "'disabled'").await?;
    identity.end_delegations(&mut tx, actor.scope, &user_name(user)).await?;
    identity.end_sessions(&mut tx, actor.scope, user, None, "user disabled").await?;
    identity.revoke(&mut tx, actor.scope, &user_name(user), Void::All).await?;
    audit(&mut tx, actor.scope, "disable", "granted", Some(&user_name(user)), Some(&actor)).await?;
    check_admins_left(&mut tx, &actor).await?;
    let row = find(&mut tx, actor.scope, user).await?;
    tx.commit().await?;
    Ok(Json(identity.shown(actor.scope, row)?))
}

/// Let a user in again.
#[utoipa::path(post, path = "/v1/users/{id}/enabling", tag = "identity", params(("id" = Uuid, Path, description = "The user")), responses(
    (status = 200, description = "Enabled, or so already", body = User),
    (status = 404, description = "`not_found`"),
))]
pub(crate) async fn enable_user(
    State(logins): State<Logins>,
    UserAdmin(actor): UserAdmin,
    PathId(user): PathId<Uuid>,
) -> Result<Json<User>, Problem> {
    let identity = logins.get()?;
    let mut tx = identity.begin(actor.scope).await?;
    let roles = hold(&mut tx, actor.scope, user).await?.roles;
    check_user_held(&mut tx, &actor, user, &roles).await?;
    set_state(&mut tx, actor.scope, user, "case when password_hash is null then 'invited' else 'active' end").await?;
    audit(&mut tx, actor.scope, "enable", "granted", Some(&user_name(user)), Some(&actor)).await?;
    let row = find(&mut tx, actor.scope, user).await?;
    tx.commit().await?;
    Ok(Json(identity.shown(actor.scope, row)?))
}

/// A decision about identity.
#[derive(Serialize, FromRow, ToSchema)]
pub(crate) struct Decision {
    /// Counts up.
    entry: i64,
    /// When, UTC.
    at: String,
    /// What was asked for, such as `log_in`.
    action: String,
    /// `granted`, `refused` or `reuse_detected`.
    outcome: String,
    /// Whom it is about.
    subject: Option<String>,
    /// Who decided, where that is another.
    actor: Option<String>,
}

/// Which decisions.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Since {
    /// The last entry seen.
    #[serde(default)]
    after: i64,
}

/// Read what was decided about identity: at most 1,000 entries, oldest first.
#[utoipa::path(get, path = "/v1/identity-audit", tag = "identity", params(Since), responses(
    (status = 200, description = "Decisions", body = Vec<Decision>),
))]
pub(crate) async fn identity_audit(
    State(logins): State<Logins>,
    AuditReader(actor): AuditReader,
    since: Result<Query<Since>, QueryRejection>,
) -> Result<Json<Vec<Decision>>, Problem> {
    let Query(since) = since.map_err(|_| invalid_query())?;
    let mut tx = logins.get()?.begin(actor.scope).await?;
    let entries = sqlx::query_as(
        "select entry, to_char(at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') as at, action, outcome, subject, actor
         from platform.identity_audit where tenant_id = $1 and entry > $2 order by entry limit 1000",
    )
    .bind(actor.tenant.id.uuid())
    .bind(since.after)
    .fetch_all(tx.conn())
    .await?;
    tx.commit().await?;
    Ok(Json(entries))
}

impl Identity {
    fn shown(&self, scope: TenantScope, row: Row) -> Result<User, Problem> {
        let email = self.open_email(scope, row.user_id, &row.email)?;
        let Row { user_id, state, roles, employee_id, totp_confirmed: totp, keeps_access_after_leaving, .. } = row;
        Ok(User { user_id, email, state, roles, employee_id, totp, keeps_access_after_leaving })
    }
}

async fn find(tx: &mut ScopedTx, scope: TenantScope, user: Uuid) -> Result<Row, Problem> {
    let sql = format!("select {COLUMNS} from platform.user_account where tenant_id = $1 and user_id = $2");
    sqlx::query_as(&sql).bind(scope.tenant().uuid()).bind(user).fetch_optional(tx.conn()).await?.ok_or_else(not_found)
}

/// As [`find`], for who decides by what is found: it stays so until the transaction ends.
async fn hold(tx: &mut ScopedTx, scope: TenantScope, user: Uuid) -> Result<Row, Problem> {
    let sql = format!("select {COLUMNS} from platform.user_account where tenant_id = $1 and user_id = $2 for no key update");
    sqlx::query_as(&sql).bind(scope.tenant().uuid()).bind(user).fetch_optional(tx.conn()).await?.ok_or_else(not_found)
}

async fn set_state(tx: &mut ScopedTx, scope: TenantScope, user: Uuid, state: &'static str) -> Result<(), Problem> {
    let sql = format!("update platform.user_account set state = {state}, changed_at = now() where tenant_id = $1 and user_id = $2");
    match sqlx::query(&sql).bind(scope.tenant().uuid()).bind(user).execute(tx.conn()).await?.rows_affected() {
        0 => Err(not_found()),
        _ => Ok(()),
    }
}

fn invalid_query() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", "a query parameter is unknown or malformed; see /openapi.json")
}
