//! Who may hand out what: nobody gives, takes or takes over more than they hold.

use events::TenantScope;
use http::StatusCode;
use platform::{
    Actor, Problem, ScopedTx,
    access::{BUILT_IN, Duty, RoleContent, TenantAccess},
};
use uuid::Uuid;

use crate::subjects::{user_name, user_of};

/// 422 unless each is the name of a role of this tenant; 403 where one holds more than who hands it out.
pub(crate) async fn check_roles(tx: &mut ScopedTx, actor: &Actor, roles: &[String]) -> Result<(), Problem> {
    let contents = known_roles(tx, actor.scope, roles).await?;
    if contents.iter().all(|content| actor.grants.cover(content)) { Ok(()) } else { Err(actor.forbidden()) }
}

/// Keeps roles from being removed or made anew until the transaction ends. Everybody locks roles first, then accounts, then
/// the version of what the tenant decided about access, then what that counts.
pub(crate) async fn hold_roles(tx: &mut ScopedTx, scope: TenantScope, roles: &[String]) -> Result<(), Problem> {
    sqlx::query("select from platform.access_role where tenant_id = $1 and name = any($2) order by name for share")
        .bind(scope.tenant().uuid())
        .bind(roles)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// What they are made of, and stay until the transaction ends; 422 unless each is the name of a role of this tenant.
pub(crate) async fn known_roles(tx: &mut ScopedTx, scope: TenantScope, roles: &[String]) -> Result<Vec<RoleContent>, Problem> {
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
pub(crate) fn held<'h>(
    access: &'h TenantAccess,
    scope: TenantScope,
    subject: &'h str,
    roles: &'h [String],
) -> impl Iterator<Item = RoleContent> + 'h {
    let tenant = scope.tenant();
    roles.iter().filter_map(move |role| access.content(tenant, role)).chain(access.delegated_to(tenant, subject))
}

/// 403 where a user with these roles may do more than the actor, who would decide what they may do, or come in as them.
pub(crate) async fn check_user_held(tx: &mut ScopedTx, actor: &Actor, user: Uuid, roles: &[String]) -> Result<(), Problem> {
    let access = TenantAccess::read(tx, actor.scope).await?;
    let covered = held(&access, actor.scope, &user_name(user), roles).all(|content| actor.grants.cover(&content));
    if covered { Ok(()) } else { Err(actor.forbidden()) }
}

/// 403 where one of these roles holds more than the actor.
pub(crate) async fn check_roles_held(tx: &mut ScopedTx, actor: &Actor, roles: &[String]) -> Result<(), Problem> {
    let access = TenantAccess::read(tx, actor.scope).await?;
    let mut contents = roles.iter().filter_map(|role| access.content(actor.tenant.id, role));
    if contents.all(|content| actor.grants.cover(&content)) { Ok(()) } else { Err(actor.forbidden()) }
}

/// 403 where somebody with these roles has a say that the actor has not.
pub(crate) async fn check_duties_held(tx: &mut ScopedTx, actor: &Actor, roles: &[String]) -> Result<(), Problem> {
    let access = TenantAccess::read(tx, actor.scope).await?;
    let mut contents = roles.iter().filter_map(|role| access.content(actor.tenant.id, role));
    if contents.all(|content| actor.grants.cover_duties(&content)) { Ok(()) } else { Err(actor.forbidden()) }
}

/// 409 where a user has just taken from themselves what they decide about others by, and no other user has it.
pub(crate) async fn check_admins_left(tx: &mut ScopedTx, actor: &Actor) -> Result<(), Problem> {
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
