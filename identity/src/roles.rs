//! A tenant's own roles, and what one delegates to another for a time.

use axum::{Json, extract::State};
use events::TenantScope;
use http::StatusCode;
use jiff::Timestamp;
use platform::{
    Anyone, Problem, RoleAdmin, ScopedTx,
    access::{BUILT_IN, Duty, RoleContent, TenantAccess, is_role_name},
    auth::LONGEST_FOREIGN_LIFETIME,
    request::{Fields, PathId},
};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, types::Json as Column};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    audit::audit,
    rights::{check_admins_left, check_roles_held, hold_roles},
    state::{Identity, Logins, not_found},
    tickets::TICKET,
};

/// Roles of a tenant's own at most.
const ROLES: i64 = 200;
/// Delegations that stand at a time at most, in a tenant and of one subject.
const DELEGATIONS: i64 = 5_000;
const DELEGATIONS_OF_ONE: i64 = 20;
/// How long a delegation lasts at most whose maker may lose their roles without our knowing.
const UNFOLLOWED_DAYS: i64 = 31;
/// How far ahead a delegation begins at most, and how long it lasts at most.
const YEAR_DAYS: i64 = 366;
/// Names of removed roles that are remembered at most, of one tenant.
const REMOVED: i64 = 1_000;

/// A role.
#[derive(Serialize, ToSchema)]
pub(crate) struct Role {
    /// Its name.
    name: String,
    /// Whether every tenant has it; then it can't be changed.
    built_in: bool,
    /// What it is made of.
    #[serde(flatten)]
    content: RoleContent,
}

/// A role of the tenant's own.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MakeRole {
    /// A lower-case letter, then up to 39 letters, digits and hyphens; not that of a built-in role.
    name: String,
    /// What may be done to facts about people; at most 64.
    permissions: Vec<platform::access::Permission>,
    /// What else may be done.
    #[serde(default)]
    duties: Vec<Duty>,
}

/// A role's name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleName {
    /// The name.
    name: String,
}

/// List the roles: the built-in ones and the tenant's own.
#[utoipa::path(get, path = "/v1/roles", tag = "identity", responses(
    (status = 200, description = "The roles", body = Vec<Role>),
))]
pub(crate) async fn roles(State(logins): State<Logins>, Anyone(actor): Anyone) -> Result<Json<Vec<Role>>, Problem> {
    let mut tx = logins.get()?.begin(actor.scope).await?;
    let access = TenantAccess::read(&mut tx, actor.scope).await?;
    tx.commit().await?;
    let built_in = BUILT_IN.into_iter().filter(|role| role.is_for(actor.tenant.id));
    let built_in = built_in.map(|role| Role { name: role.name.into(), built_in: true, content: role.content() });
    let own = access.roles.into_iter().map(|(name, content)| Role { name, built_in: false, content });
    Ok(Json(built_in.chain(own).collect()))
}

/// Make a role, or make one anew. Nobody can put into it what they don't hold themselves, or take out of it what they
/// don't. It takes effect within seconds.
#[utoipa::path(post, path = "/v1/roles", tag = "identity", request_body = MakeRole, responses(
    (status = 204, description = "Made"),
    (status = 409, description = "`too_many_roles`; `last_admin`: nobody would be left who decides who gets in"),
))]
pub(crate) async fn make_role(
    State(logins): State<Logins>,
    RoleAdmin(actor): RoleAdmin,
    Fields(ask): Fields<MakeRole>,
) -> Result<StatusCode, Problem> {
    let content = RoleContent { permissions: ask.permissions, duties: ask.duties };
    if !is_role_name(&ask.name) || BUILT_IN.iter().any(|role| role.name == ask.name) {
        return Err(invalid("/name", "must be a lower-case letter and up to 39 letters, digits and hyphens, and no built-in role's"));
    }
    if content.permissions.len() > 64 || content.duties.len() > 16 {
        return Err(invalid("/permissions", "must be at most 64, and duties at most 16"));
    }
    if content.duties.contains(&Duty::ManageTenants) {
        return Err(invalid("/duties", "must not hold manage_tenants, which is the operators'"));
    }
    if !actor.grants.cover(&content) {
        return Err(actor.forbidden());
    }
    let identity = logins.get()?;
    let mut tx = identity.begin(actor.scope).await?;
    lock_role(&mut tx, actor.scope, &ask.name).await?;
    identity.access_changed(&mut tx, actor.scope).await?;
    check_roles_held(&mut tx, &actor, std::slice::from_ref(&ask.name)).await?;
    let (others, removed): (i64, i64) = sqlx::query_as(
        "select (select count(*) from platform.access_role where tenant_id = $1 and name <> $2),
             (select count(*) from platform.removed_role where tenant_id = $1 and until > now())",
    )
    .bind(actor.tenant.id.uuid())
    .bind(&ask.name)
    .fetch_one(tx.conn())
    .await?;
    if others >= ROLES || removed >= REMOVED {
        tx.rollback().await?;
        let detail = format!("a tenant has at most {ROLES} roles of its own, and removes at most {REMOVED} within a week");
        return Err(Problem::new(StatusCode::CONFLICT, "too_many_roles", detail));
    }
    sqlx::query(
        "insert into platform.access_role (tenant_id, name, content) values ($1, $2, $3)
         on conflict (tenant_id, name) do update set content = excluded.content, changed_at = now()",
    )
    .bind(actor.tenant.id.uuid())
    .bind(&ask.name)
    .bind(Column(&content))
    .execute(tx.conn())
    .await?;
    check_admins_left(&mut tx, &actor).await?;
    audit(&mut tx, actor.scope, "make_role", "granted", Some(&ask.name), Some(&actor)).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove a role of the tenant's own: from all who have it, too, and from tokens that are out, so that one made later under
/// its name is another. It grants nothing any more within seconds. Nobody can remove one that holds more than they do.
#[utoipa::path(post, path = "/v1/roles/removal", tag = "identity", request_body = RoleName, responses(
    (status = 204, description = "Removed, or never there"),
    (status = 409, description = "`last_admin`: nobody would be left who decides who gets in"),
))]
pub(crate) async fn remove_role(
    State(logins): State<Logins>,
    RoleAdmin(actor): RoleAdmin,
    Fields(ask): Fields<RoleName>,
) -> Result<StatusCode, Problem> {
    let identity = logins.get()?;
    let mut tx = identity.begin(actor.scope).await?;
    if !lock_role(&mut tx, actor.scope, &ask.name).await? {
        tx.rollback().await?;
        return Ok(StatusCode::NO_CONTENT);
    }
    check_roles_held(&mut tx, &actor, std::slice::from_ref(&ask.name)).await?;
    for table in ["user_account", "service_account"] {
        let sql = format!("update platform.{table} set roles = array_remove(roles, $2) where tenant_id = $1 and $2 = any (roles)");
        sqlx::query(&sql).bind(actor.tenant.id.uuid()).bind(&ask.name).execute(tx.conn()).await?;
    }
    identity.access_changed(&mut tx, actor.scope).await?;
    for sql in [
        "delete from platform.access_role where tenant_id = $1 and name = $2",
        "update platform.delegation set roles = array_remove(roles, $2) where tenant_id = $1 and $2 = any (roles)",
        "update platform.external_issuer set roles = (
             select coalesce(jsonb_object_agg(key, value), '{}') from jsonb_each(roles) where value <> to_jsonb($2::text))
         where tenant_id = $1 and exists (select from jsonb_each(roles) where value = to_jsonb($2::text))",
    ] {
        sqlx::query(sql).bind(actor.tenant.id.uuid()).bind(&ask.name).execute(tx.conn()).await?;
    }
    identity.remember_removal(&mut tx, actor.scope, &ask.name).await?;
    check_admins_left(&mut tx, &actor).await?;
    audit(&mut tx, actor.scope, "remove_role", "granted", Some(&ask.name), Some(&actor)).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is delegated, to whom and for how long.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Delegate {
    /// The subject who gets it, such as `user:…`.
    to: String,
    /// Which of your roles. Their `line` stays yours: who stands in for a manager sees the manager's line. What they let
    /// you do about yourself is not passed on.
    roles: Vec<String>,
    /// From when, such as 2026-12-01T00:00:00Z, at most a year ahead; now if absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    starts_at: Option<Timestamp>,
    /// Until when; at most a year after the start, or 31 days from now where you log in elsewhere.
    #[schema(value_type = String, format = DateTime)]
    ends_at: Timestamp,
}

/// A delegation.
#[derive(Serialize, FromRow, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the contract's name")]
pub(crate) struct Delegation {
    /// The delegation.
    delegation_id: Uuid,
    /// Who delegated.
    from_subject: String,
    /// Who acts in their place.
    to_subject: String,
    /// With which roles.
    roles: Vec<String>,
    /// From when, UTC.
    starts_at: String,
    /// Until when, UTC.
    ends_at: String,
    /// Whether it was ended before.
    revoked: bool,
}

/// A delegation that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct Delegated {
    /// The delegation.
    delegation_id: Uuid,
}

/// Let somebody act with some of your roles for a time. What was delegated to you, you can't delegate on.
#[utoipa::path(post, path = "/v1/delegations", tag = "identity", request_body = Delegate, responses(
    (status = 201, description = "Delegated", body = Delegated),
    (status = 409, description = "`too_many_delegations`"),
    (status = 422, description = "`unknown_role`: not one of yours"),
))]
pub(crate) async fn delegate(
    State(logins): State<Logins>,
    Anyone(actor): Anyone,
    Fields(ask): Fields<Delegate>,
) -> Result<(StatusCode, Json<Delegated>), Problem> {
    if !(1..=255).contains(&ask.to.len()) || ask.to.chars().any(char::is_control) || ask.to == actor.subject {
        return Err(invalid("/to", "must be another subject, 1 to 255 characters"));
    }
    let starts_at = ask.starts_at.unwrap_or_else(Timestamp::now);
    check_period(&actor.subject, starts_at, ask.ends_at)?;
    // Of one's own roles: those in the token, which a delegation does not add to.
    let foreign = ask.roles.iter().position(|role| !actor.roles.contains(role));
    if let Some(place) = foreign.or(ask.roles.is_empty().then_some(0)) {
        let detail = format!("must be roles of yours: {}", actor.roles.join(", "));
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_role", detail.clone());
        return Err(problem.field(format!("/roles/{place}"), "unknown_role", detail));
    }
    let mut roles = ask.roles;
    roles.sort_unstable();
    roles.dedup();
    let identity = logins.get()?;
    let id = Uuid::now_v7();
    let mut tx = identity.begin(actor.scope).await?;
    hold_roles(&mut tx, actor.scope, &roles).await?;
    if !identity.still_has(&mut tx, actor.scope, &actor.subject, &roles).await? {
        tx.rollback().await?;
        return Err(actor.forbidden());
    }
    let access = TenantAccess::read(&mut tx, actor.scope).await?;
    let with_duties = |role: &String| access.content(actor.tenant.id, role).is_some_and(|content| !content.duties.is_empty());
    if roles.iter().any(with_duties) {
        tx.rollback().await?;
        return Err(invalid("/roles", "must not hold a role with duties, such as owner: invite another one instead"));
    }
    // Holds the tenant's row, so that two can't count at the same time.
    identity.access_changed(&mut tx, actor.scope).await?;
    let (own, all): (i64, i64) = sqlx::query_as(
        "select count(*) filter (where from_subject = $2), count(*) from platform.delegation
         where tenant_id = $1 and revoked_at is null and ends_at > now()",
    )
    .bind(actor.tenant.id.uuid())
    .bind(&actor.subject)
    .fetch_one(tx.conn())
    .await?;
    if own >= DELEGATIONS_OF_ONE || all >= DELEGATIONS {
        tx.rollback().await?;
        let detail =
            format!("{DELEGATIONS_OF_ONE} delegations of one and {DELEGATIONS} of all can stand at a time; end one that is not needed");
        return Err(Problem::new(StatusCode::CONFLICT, "too_many_delegations", detail));
    }
    sqlx::query(
        "insert into platform.delegation (tenant_id, delegation_id, from_subject, to_subject, roles, anchor, starts_at, ends_at, registration)
         values ($1, $2, $3, $4, $5, $6, to_timestamp($7::float8 / 1000), to_timestamp($8::float8 / 1000), $9)",
    )
    .bind(actor.tenant.id.uuid())
    .bind(id)
    .bind(&actor.subject)
    .bind(&ask.to)
    .bind(&roles)
    .bind(actor.employee.map(events::EmployeeId::uuid))
    .bind(starts_at.as_millisecond())
    .bind(ask.ends_at.as_millisecond())
    .bind(actor.registration.map(|registration| registration.id))
    .execute(tx.conn())
    .await?;
    audit(&mut tx, actor.scope, "delegate", "granted", Some(&ask.to), Some(&actor)).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(Delegated { delegation_id: id })))
}

/// List the delegations from you and to you; who makes roles sees all. At most 1,000, newest first.
#[utoipa::path(get, path = "/v1/delegations", tag = "identity", responses(
    (status = 200, description = "The delegations", body = Vec<Delegation>),
))]
pub(crate) async fn delegations(State(logins): State<Logins>, Anyone(actor): Anyone) -> Result<Json<Vec<Delegation>>, Problem> {
    let mut tx = logins.get()?.begin(actor.scope).await?;
    let found = sqlx::query_as(
        "select delegation_id, from_subject, to_subject, roles, revoked_at is not null as revoked,
             to_char(starts_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as starts_at,
             to_char(ends_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as ends_at
         from platform.delegation where tenant_id = $1 and ($2 or from_subject = $3 or to_subject = $3) order by delegation_id desc limit 1000",
    )
    .bind(actor.tenant.id.uuid())
    .bind(actor.grants.has(Duty::ManageRoles))
    .bind(&actor.subject)
    .fetch_all(tx.conn())
    .await?;
    tx.commit().await?;
    Ok(Json(found))
}

/// End a delegation of yours before its time; who makes roles can end every one.
#[utoipa::path(post, path = "/v1/delegations/{id}/revocation", tag = "identity", params(("id" = Uuid, Path, description = "The delegation")), responses(
    (status = 204, description = "Ended, or so already"),
    (status = 404, description = "`not_found`"),
))]
pub(crate) async fn revoke_delegation(
    State(logins): State<Logins>,
    Anyone(actor): Anyone,
    PathId(id): PathId<Uuid>,
) -> Result<StatusCode, Problem> {
    let identity = logins.get()?;
    let mut tx = identity.begin(actor.scope).await?;
    identity.access_changed(&mut tx, actor.scope).await?;
    let ended = sqlx::query(
        "update platform.delegation set revoked_at = coalesce(revoked_at, now())
         where tenant_id = $1 and delegation_id = $2 and ($3 or from_subject = $4)",
    )
    .bind(actor.tenant.id.uuid())
    .bind(id)
    .bind(actor.grants.has(Duty::ManageRoles))
    .bind(&actor.subject)
    .execute(tx.conn())
    .await?;
    if ended.rows_affected() == 0 {
        tx.rollback().await?;
        return Err(not_found());
    }
    audit(&mut tx, actor.scope, "revoke_delegation", "granted", Some(&id.to_string()), Some(&actor)).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Identity {
    /// Has every service read the tenant's decisions about access again.
    pub(crate) async fn access_changed(&self, tx: &mut ScopedTx, scope: TenantScope) -> Result<(), Problem> {
        sqlx::query(
            "insert into platform.access_version as v (tenant_id, version) values ($1, 1)
             on conflict (tenant_id) do update set version = v.version + 1",
        )
        .bind(scope.tenant().uuid())
        .execute(tx.conn())
        .await?;
        Ok(())
    }
    /// What somebody delegated ends when their own rights change.
    pub(crate) async fn end_delegations(&self, tx: &mut ScopedTx, scope: TenantScope, subject: &str) -> Result<(), Problem> {
        self.access_changed(tx, scope).await?;
        sqlx::query("update platform.delegation set revoked_at = now() where tenant_id = $1 and from_subject = $2 and revoked_at is null")
            .bind(scope.tenant().uuid())
            .bind(subject)
            .execute(tx.conn())
            .await?;
        Ok(())
    }
    /// Ends what was delegated by people whose issuer is no longer trusted, or otherwise than it was then.
    pub(crate) async fn end_unfounded_delegations(&self, tx: &mut ScopedTx, scope: TenantScope) -> Result<(), Problem> {
        sqlx::query(
            "update platform.delegation d set revoked_at = now()
             where tenant_id = $1 and revoked_at is null and registration is not null and not exists (
                 select from platform.external_issuer e
                 where e.registration_id = d.registration and e.tenant_id = d.tenant_id and e.confirmed_at is not null)",
        )
        .bind(scope.tenant().uuid())
        .execute(tx.conn())
        .await?;
        Ok(())
    }
    /// Remembers that a role was removed, for as long as a token or a ticket may live that counts on it.
    async fn remember_removal(&self, tx: &mut ScopedTx, scope: TenantScope, name: &str) -> Result<(), Problem> {
        sqlx::query("delete from platform.removed_role where tenant_id = $1 and until < now()")
            .bind(scope.tenant().uuid())
            .execute(tx.conn())
            .await?;
        // The instant, not that at which the transaction began: a token issued in between is meant, too.
        sqlx::query(
            "insert into platform.removed_role (tenant_id, name, removed_at, until)
             values ($1, $2, clock_timestamp(), now() + $3 * interval '1 second')
             on conflict (tenant_id, name) do update set removed_at = excluded.removed_at, until = excluded.until",
        )
        .bind(scope.tenant().uuid())
        .bind(name)
        .bind(i64::try_from(TICKET.as_secs().max(LONGEST_FOREIGN_LIFETIME).max(self.config.token_max_lifetime) + 60).unwrap_or(i64::MAX))
        .execute(tx.conn())
        .await?;
        Ok(())
    }
    /// Whether a user or machine of ours is still in and has these roles. A token tells what was so when it was issued;
    /// what it passes on would outlive it. The lock keeps them from being taken away until the end of the transaction.
    async fn still_has(&self, tx: &mut ScopedTx, scope: TenantScope, subject: &str, roles: &[String]) -> Result<bool, Problem> {
        let (table, column, state, id) = match subject.split_once(':') {
            Some(("user", id)) => ("user_account", "user_id", "state = 'active'", id),
            Some(("service", id)) => ("service_account", "account_id", "disabled_at is null", id),
            _ => return Ok(true),
        };
        let Ok(id) = id.parse::<Uuid>() else { return Ok(false) };
        let sql = format!("select true from platform.{table} where tenant_id = $1 and {column} = $2 and {state} and roles @> $3 for share");
        let has: Option<bool> = sqlx::query_scalar(&sql).bind(scope.tenant().uuid()).bind(id).bind(roles).fetch_optional(tx.conn()).await?;
        Ok(has.is_some())
    }
}

/// Locks a role of the tenant's own; whether there is one.
async fn lock_role(tx: &mut ScopedTx, scope: TenantScope, name: &str) -> Result<bool, Problem> {
    let locked = sqlx::query("select from platform.access_role where tenant_id = $1 and name = $2 for update")
        .bind(scope.tenant().uuid())
        .bind(name)
        .execute(tx.conn())
        .await?;
    Ok(locked.rows_affected() == 1)
}

/// 422 unless a delegation of a subject may last from one instant to the other.
fn check_period(subject: &str, starts_at: Timestamp, ends_at: Timestamp) -> Result<(), Problem> {
    const DAY_S: i64 = 86_400;
    let now = Timestamp::now();
    let after_start = ends_at.as_second() - starts_at.as_second();
    if !(1..=YEAR_DAYS * DAY_S).contains(&after_start) || ends_at <= now {
        return Err(invalid("/ends_at", "must be in the future, after the start, and at most a year after it"));
    }
    if starts_at.as_second() - now.as_second() > YEAR_DAYS * DAY_S {
        return Err(invalid("/starts_at", "must be at most a year ahead"));
    }
    // Another issuer does not tell us when its users lose a role.
    let ours = ["user:", "service:"].iter().any(|kind| subject.starts_with(kind));
    if !ours && ends_at.as_second() - now.as_second() > UNFOLLOWED_DAYS * DAY_S {
        return Err(invalid("/ends_at", &format!("must be at most {UNFOLLOWED_DAYS} days from now for who logs in elsewhere")));
    }
    Ok(())
}

fn invalid(pointer: &str, detail: &str) -> Problem {
    let field = pointer.trim_start_matches('/');
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", format!("{field} {detail}")).field(pointer, "invalid_field", detail)
}
