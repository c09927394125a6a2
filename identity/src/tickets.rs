//! Tickets: what an invitation, or a new password for somebody who lost theirs, is taken up with. A ticket works once, and only
//! while what it was handed out for still holds: the account is as it was then (a trigger on `platform.user_account` deletes
//! the tickets of one that changes), and who asked for it could ask for it again.

use std::time::Duration;

use events::{EmployeeId, TenantScope};
use platform::{
    Actor, Problem, ScopedTx,
    access::{Departures, Duty, Grants, Holder, TenantAccess},
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{bearer::Bearer, rights::held, state::Identity, subjects::user_name};

/// How long an invitation is good.
pub(crate) const TICKET: Duration = Duration::from_hours(7 * 24);

/// Whoever asked for a ticket, as they were then.
#[derive(FromRow)]
struct Issuer {
    /// None where the ticket is of an earlier build.
    issued_by: Option<String>,
    roles: Option<Vec<String>>,
    /// Seconds since 1970.
    issued_at: i64,
    /// Their tokens were not made void since, and the registration by which they were taken stands.
    stands: bool,
}

impl Identity {
    /// A ticket that activates an account once.
    pub(crate) async fn ticket(&self, tx: &mut ScopedTx, actor: &Actor, user: Uuid) -> Result<String, Problem> {
        let tenant = actor.scope.tenant();
        let ticket = Bearer::fresh("tt", tenant)?;
        sqlx::query("delete from platform.user_ticket where tenant_id = $1 and (user_id = $2 or expires_at < now())")
            .bind(tenant.uuid())
            .bind(user)
            .execute(tx.conn())
            .await?;
        sqlx::query(
            "insert into platform.user_ticket (tenant_id, digest, user_id, expires_at, issued_by, issuer_roles, issuer_registration)
             values ($1, $2, $3, now() + $4 * interval '1 second', $5, $6, $7)",
        )
        .bind(tenant.uuid())
        .bind(ticket.digest())
        .bind(user)
        .bind(TICKET.as_secs_f64())
        .bind(&actor.subject)
        .bind(&actor.roles)
        .bind(actor.registration.map(|registration| registration.id))
        .execute(tx.conn())
        .await?;
        Ok(ticket.0)
    }
    /// Uses a ticket up. Whether it opens the account, which is held from then on.
    pub(crate) async fn take_ticket(&self, tx: &mut ScopedTx, scope: TenantScope, user: Uuid, ticket: &Bearer) -> Result<bool, Problem> {
        let tenant = scope.tenant().uuid();
        // Before the ticket, as everybody who changes the account: either they void the ticket, or they come after it.
        let roles =
            "select roles from platform.user_account where tenant_id = $1 and user_id = $2 and state <> 'disabled' for no key update";
        let roles: Option<Vec<String>> = sqlx::query_scalar(roles).bind(tenant).bind(user).fetch_optional(tx.conn()).await?;
        let issuer: Option<Issuer> = sqlx::query_as(
            "delete from platform.user_ticket t where tenant_id = $1 and digest = $2 and user_id = $3 and expires_at > now()
             returning issued_by, issuer_roles as roles, floor(extract(epoch from issued_at))::bigint as issued_at,
                 not exists (select from platform.revocation r where r.tenant_id = t.tenant_id and r.kind = 'subject' and r.id = t.issued_by
                     and r.revoked_at >= t.issued_at)
                 and case when issued_by like 'external:%' or issuer_registration is not null then exists (
                     select from platform.external_issuer e
                     where e.registration_id = t.issuer_registration and e.tenant_id = t.tenant_id and e.confirmed_at is not null)
                 else true end as stands",
        )
        .bind(tenant)
        .bind(ticket.digest())
        .bind(user)
        .fetch_optional(tx.conn())
        .await?;
        let (Some(roles), Some(issuer)) = (roles, issuer) else { return Ok(false) };
        let Some(subject) = &issuer.issued_by else { return Ok(false) };
        let access = TenantAccess::read(tx, scope).await?;
        let Some((issuer_roles, employee)) = self.roles_of_issuer(tx, scope, &access, subject, &issuer).await? else { return Ok(false) };
        // Who has left can't ask for one either.
        if let Some(person) = access.ends_with(subject, employee)
            && self.gate.has_left(scope, person).await?
        {
            return Ok(false);
        }
        let holder = Holder { subject, roles: &issuer_roles, employee, named_since: None };
        // Delegated rights can't be handed on, so it need not be asked whether those who delegated them have left.
        let grants = Grants::of(scope.tenant(), &access, holder, &Departures::new());
        let may_issue = held(&access, scope, &user_name(user), &roles).all(|content| grants.cover(&content));
        Ok(grants.has(Duty::ManageUsers) && may_issue)
    }
    /// The roles that whoever asked for a ticket has now; none where they are kept out. Of somebody without an account here
    /// it is known only what their token said, and whether it was made void.
    async fn roles_of_issuer(
        &self,
        tx: &mut ScopedTx,
        scope: TenantScope,
        access: &TenantAccess,
        subject: &str,
        issuer: &Issuer,
    ) -> Result<Option<(Vec<String>, Option<EmployeeId>)>, Problem> {
        let account = match subject.split_once(':') {
            Some(("user", id)) => Some((
                "select roles, employee_id from platform.user_account where tenant_id = $1 and user_id = $2 and state = 'active'",
                id,
            )),
            Some(("service", id)) => Some((
                "select roles, null::uuid from platform.service_account where tenant_id = $1 and account_id = $2 and disabled_at is null",
                id,
            )),
            _ => None,
        };
        if let Some((sql, id)) = account {
            let Ok(id) = id.parse::<Uuid>() else { return Ok(None) };
            let found: Option<(Vec<String>, Option<Uuid>)> =
                sqlx::query_as(sql).bind(scope.tenant().uuid()).bind(id).fetch_optional(tx.conn()).await?;
            return Ok(found.map(|(roles, employee)| (roles, employee.map(EmployeeId::from_uuid))));
        }
        let issued_at = u64::try_from(issuer.issued_at).unwrap_or_default();
        let said = issuer.roles.iter().flatten();
        let roles = said.filter(|role| access.is_as_issued(role, issued_at, 0)).cloned().collect();
        Ok(issuer.stands.then_some((roles, None)))
    }
}
