//! A tenant's other ways in: domains of its own, and other issuers whose tokens are taken. Operators write them down, because
//! a domain must be shown to be the tenant's, and an issuer's keys are fetched by us. Who gets in with what rights is the
//! tenant's to say: an issuer counts once somebody there confirms it who may hand out all of that.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use events::{TenantId, TenantScope};
use http::StatusCode;
use platform::{
    Actor, Operator, Problem, UserAdmin,
    auth::LONGEST_FOREIGN_LIFETIME,
    request::{Fields, PathId},
};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, Postgres, postgres::PgArguments, query::Query};
use utoipa::ToSchema;

use crate::{
    audit::audit,
    rights::{check_roles, known_roles},
    state::{Identity, Logins, not_found, scope_of},
};

/// A domain of a tenant's own.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Domain {
    /// In lower case and without port, such as `hr.acme.example`.
    domain: String,
}

/// Let a tenant be reached under a domain of its own. That it is the tenant's must have been shown before.
#[utoipa::path(post, path = "/v1/tenants/{id}/domains", tag = "tenancy", params(("id" = TenantId, Path, description = "The tenant")),
    request_body = Domain, responses(
    (status = 204, description = "It is, or was already"),
    (status = 404, description = "`not_found`"),
    (status = 409, description = "`domain_taken`"),
))]
pub(crate) async fn add_domain(
    State(logins): State<Logins>,
    Operator(actor): Operator,
    PathId(tenant): PathId<TenantId>,
    Fields(ask): Fields<Domain>,
) -> Result<StatusCode, Problem> {
    let identity = logins.get()?;
    let scope = identity.known(tenant)?;
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if ask.domain.len() > 253 || !ask.domain.split('.').all(label) || !identity.gate.is_foreign_domain(&ask.domain) {
        let detail = "must be a domain name in lower case and without port, and not one under ours";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", detail).field("/domain", "invalid_domain", detail));
    }
    let mut tx = identity.begin(scope).await?;
    sqlx::query("insert into platform.tenant_domain (domain, tenant_id) values ($1, $2) on conflict do nothing")
        .bind(&ask.domain)
        .bind(tenant.uuid())
        .execute(tx.conn())
        .await?;
    let whose: uuid::Uuid =
        sqlx::query_scalar("select tenant_id from platform.tenant_domain where domain = $1").bind(&ask.domain).fetch_one(tx.conn()).await?;
    if whose != tenant.uuid() {
        tx.rollback().await?;
        return Err(Problem::new(StatusCode::CONFLICT, "domain_taken", "the domain is another tenant's"));
    }
    audit(&mut tx, scope, "add_domain", "granted", Some(&ask.domain), Some(&actor)).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A tenant is no longer reached under a domain.
#[utoipa::path(post, path = "/v1/tenants/{id}/domains/removal", tag = "tenancy", params(("id" = TenantId, Path, description = "The tenant")),
    request_body = Domain, responses(
    (status = 204, description = "It is not, or was not before"),
    (status = 404, description = "`not_found`"),
))]
pub(crate) async fn remove_domain(
    State(logins): State<Logins>,
    Operator(actor): Operator,
    PathId(tenant): PathId<TenantId>,
    Fields(ask): Fields<Domain>,
) -> Result<StatusCode, Problem> {
    let identity = logins.get()?;
    let scope = identity.known(tenant)?;
    let mut tx = identity.begin(scope).await?;
    sqlx::query("delete from platform.tenant_domain where domain = $1 and tenant_id = $2")
        .bind(&ask.domain)
        .bind(tenant.uuid())
        .execute(tx.conn())
        .await?;
    audit(&mut tx, scope, "remove_domain", "granted", Some(&ask.domain), Some(&actor)).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List a tenant's own domains.
#[utoipa::path(get, path = "/v1/tenants/{id}/domains", tag = "tenancy", params(("id" = TenantId, Path, description = "The tenant")), responses(
    (status = 200, description = "Its domains", body = Vec<Domain>),
    (status = 404, description = "`not_found`"),
))]
pub(crate) async fn domains(
    State(logins): State<Logins>,
    _: Operator,
    PathId(tenant): PathId<TenantId>,
) -> Result<Json<Vec<Domain>>, Problem> {
    let identity = logins.get()?;
    identity.domains(identity.known(tenant)?).await.map(Json)
}

/// List the domains under which your tenant is reached.
#[utoipa::path(get, path = "/v1/domains", tag = "identity", responses(
    (status = 200, description = "Its domains", body = Vec<Domain>),
))]
pub(crate) async fn own_domains(State(logins): State<Logins>, UserAdmin(actor): UserAdmin) -> Result<Json<Vec<Domain>>, Problem> {
    logins.get()?.domains(actor.scope).await.map(Json)
}

/// An issuer whose access tokens are taken for one tenant.
#[derive(Serialize, Deserialize, ToSchema, FromRow)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExternalIssuer {
    /// `iss` of its tokens.
    issuer: String,
    /// `aud` of its tokens; issuer and audience together name the tenant.
    audience: String,
    /// Where its keys are published: https, or http on this machine.
    jwks_uri: String,
    /// `typ` of its access tokens: `at+jwt` (RFC 9068) or `JWT`.
    #[serde(default = "at_jwt")]
    token_type: String,
    /// The claim with the roles, or the path to one, such as `realm_access.roles`.
    #[serde(default = "roles")]
    roles_claim: String,
    /// What stands there, to a role of ours. What is not listed means nothing.
    #[sqlx(json)]
    roles: BTreeMap<String, String>,
    /// The claim with the person's id, where there is one.
    #[serde(default)]
    employee_claim: Option<String>,
    /// Seconds that a token may live at most, 60 to 86,400: what a role there grants may be good for so long after it is lost.
    #[serde(default = "an_hour")]
    #[schema(default = 3600, minimum = 60, maximum = 86_400)]
    max_lifetime_s: i64,
}

/// An issuer, and whether its tokens are taken.
#[derive(Serialize, ToSchema, FromRow)]
pub(crate) struct RegisteredIssuer {
    /// What was written down.
    #[serde(flatten)]
    #[sqlx(flatten)]
    issuer: ExternalIssuer,
    /// Whether the tenant confirmed it: no token is taken before.
    confirmed: bool,
}

fn at_jwt() -> String {
    "at+jwt".into()
}
fn roles() -> String {
    "roles".into()
}
const fn an_hour() -> i64 {
    3600
}

/// Write down an issuer whose access tokens are to be taken for a tenant. They are once the tenant confirms it, and no
/// longer when it is written down otherwise; then what its users delegated ends, too.
#[utoipa::path(post, path = "/v1/tenants/{id}/issuers", tag = "tenancy", params(("id" = TenantId, Path, description = "The tenant")),
    request_body = ExternalIssuer, responses(
    (status = 204, description = "Written down"),
    (status = 404, description = "`not_found`"),
    (status = 409, description = "`issuer_taken`: another tenant has this issuer with this audience"),
    (status = 422, description = "`unknown_role`"),
))]
pub(crate) async fn trust_issuer(
    State(logins): State<Logins>,
    Operator(actor): Operator,
    PathId(tenant): PathId<TenantId>,
    Fields(ask): Fields<ExternalIssuer>,
) -> Result<StatusCode, Problem> {
    let identity = logins.get()?;
    let scope = identity.known(tenant)?;
    ask.check(&identity.config.issuer)?;
    let mut tx = identity.begin(scope).await?;
    let roles: Vec<_> = ask.roles.values().cloned().collect();
    known_roles(&mut tx, scope, &roles).await?;
    identity.access_changed(&mut tx, scope).await?;
    let insert = "insert into platform.external_issuer as e (tenant_id, issuer, audience, jwks_uri, token_type, roles_claim, roles, employee_claim, max_lifetime_s)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict (issuer, audience) do update set jwks_uri = excluded.jwks_uri, token_type = excluded.token_type,
             roles_claim = excluded.roles_claim, roles = excluded.roles, employee_claim = excluded.employee_claim,
             max_lifetime_s = excluded.max_lifetime_s,
             (confirmed_at, registration_id) = (
                 select case when same then e.confirmed_at end, case when same then e.registration_id else excluded.registration_id end
                 from (select (e.jwks_uri, e.token_type, e.roles_claim, e.roles, e.employee_claim, e.max_lifetime_s) is not distinct from
                     (excluded.jwks_uri, excluded.token_type, excluded.roles_claim, excluded.roles, excluded.employee_claim, excluded.max_lifetime_s) as same) as compared)
         where e.tenant_id = excluded.tenant_id";
    let taken = ask.query(insert, scope).execute(tx.conn()).await?;
    if taken.rows_affected() == 0 {
        tx.rollback().await?;
        let detail = "another tenant has this issuer with this audience; ask the issuer for another audience";
        return Err(Problem::new(StatusCode::CONFLICT, "issuer_taken", detail));
    }
    identity.end_unfounded_delegations(&mut tx, scope).await?;
    audit(&mut tx, scope, "trust_issuer", "granted", Some(&named(&ask.issuer, &ask.audience)), Some(&actor)).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the issuers that are written down for a tenant.
#[utoipa::path(get, path = "/v1/tenants/{id}/issuers", tag = "tenancy", params(("id" = TenantId, Path, description = "The tenant")), responses(
    (status = 200, description = "Its issuers", body = Vec<RegisteredIssuer>),
    (status = 404, description = "`not_found`"),
))]
pub(crate) async fn issuers(
    State(logins): State<Logins>,
    _: Operator,
    PathId(tenant): PathId<TenantId>,
) -> Result<Json<Vec<RegisteredIssuer>>, Problem> {
    let identity = logins.get()?;
    identity.issuers(identity.known(tenant)?).await.map(Json)
}

/// List the issuers that are written down for your tenant. Tokens of those that are confirmed are taken.
#[utoipa::path(get, path = "/v1/issuers", tag = "identity", responses(
    (status = 200, description = "Its issuers", body = Vec<RegisteredIssuer>),
))]
pub(crate) async fn own_issuers(State(logins): State<Logins>, UserAdmin(actor): UserAdmin) -> Result<Json<Vec<RegisteredIssuer>>, Problem> {
    logins.get()?.issuers(actor.scope).await.map(Json)
}

/// Confirm an issuer, word for word as it is written down: its tokens are taken from a second or two on. It may give nobody
/// more than you could.
#[utoipa::path(post, path = "/v1/issuers/confirmation", tag = "identity", request_body = ExternalIssuer, responses(
    (status = 204, description = "Confirmed, or so already"),
    (status = 404, description = "`not_found`: it is not written down, or otherwise"),
    (status = 422, description = "`unknown_role`"),
))]
pub(crate) async fn confirm_issuer(
    State(logins): State<Logins>,
    UserAdmin(actor): UserAdmin,
    Fields(ask): Fields<ExternalIssuer>,
) -> Result<StatusCode, Problem> {
    let identity = logins.get()?;
    ask.check(&identity.config.issuer)?;
    let mut tx = identity.begin(actor.scope).await?;
    let roles: Vec<_> = ask.roles.values().cloned().collect();
    check_roles(&mut tx, &actor, &roles).await?;
    let update = "update platform.external_issuer set confirmed_at = coalesce(confirmed_at, now())
         where tenant_id = $1 and issuer = $2 and audience = $3 and jwks_uri = $4 and token_type = $5 and roles_claim = $6 and roles = $7
             and employee_claim is not distinct from $8 and max_lifetime_s = $9";
    let confirmed = ask.query(update, actor.scope).execute(tx.conn()).await?;
    if confirmed.rows_affected() == 0 {
        tx.rollback().await?;
        return Err(not_found());
    }
    audit(&mut tx, actor.scope, "confirm_issuer", "granted", Some(&named(&ask.issuer, &ask.audience)), Some(&actor)).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An issuer, to be forgotten.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssuerName {
    /// `iss` of its tokens.
    issuer: String,
    /// `aud` of its tokens.
    audience: String,
}

/// Take an issuer's tokens no longer, from a second or two on.
#[utoipa::path(post, path = "/v1/tenants/{id}/issuers/removal", tag = "tenancy", params(("id" = TenantId, Path, description = "The tenant")),
    request_body = IssuerName, responses(
    (status = 204, description = "Not taken, or not before"),
    (status = 404, description = "`not_found`"),
))]
pub(crate) async fn distrust_issuer(
    State(logins): State<Logins>,
    Operator(actor): Operator,
    PathId(tenant): PathId<TenantId>,
    Fields(ask): Fields<IssuerName>,
) -> Result<StatusCode, Problem> {
    let identity = logins.get()?;
    identity.forget(identity.known(tenant)?, &ask, &actor).await
}

/// Have an issuer's tokens taken no longer for your tenant, from a second or two on. What its users delegated ends.
#[utoipa::path(post, path = "/v1/issuers/removal", tag = "identity", request_body = IssuerName, responses(
    (status = 204, description = "Not taken, or not before"),
))]
pub(crate) async fn distrust_own_issuer(
    State(logins): State<Logins>,
    UserAdmin(actor): UserAdmin,
    Fields(ask): Fields<IssuerName>,
) -> Result<StatusCode, Problem> {
    logins.get()?.forget(actor.scope, &ask, &actor).await
}

/// An issuer, for the audit.
fn named(issuer: &str, audience: &str) -> String {
    format!("{issuer} {audience}")
}

impl ExternalIssuer {
    /// A statement about it: `$1` is the tenant, `$2` to `$9` are its fields.
    fn query<'q>(&'q self, sql: &'q str, scope: TenantScope) -> Query<'q, Postgres, PgArguments> {
        sqlx::query(sql)
            .bind(scope.tenant().uuid())
            .bind(&self.issuer)
            .bind(&self.audience)
            .bind(&self.jwks_uri)
            .bind(&self.token_type)
            .bind(&self.roles_claim)
            .bind(sqlx::types::Json(&self.roles))
            .bind(&self.employee_claim)
            .bind(self.max_lifetime_s)
    }
    fn check(&self, own: &str) -> Result<(), Problem> {
        let invalid = |field: &str, detail: &str| {
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", format!("{field} {detail}"));
            Err(problem.field(format!("/{field}"), "invalid_field", detail))
        };
        for (field, text, most) in [
            ("issuer", &self.issuer, 255),
            ("audience", &self.audience, 255),
            ("jwks_uri", &self.jwks_uri, 1024),
            ("roles_claim", &self.roles_claim, 100),
        ] {
            if !(1..=most).contains(&text.len()) || text.chars().any(char::is_control) {
                return invalid(field, "is empty, too long, or holds control characters");
            }
        }
        if self.issuer == own {
            return invalid("issuer", "is our own");
        }
        if !is_key_address(&self.jwks_uri) {
            return invalid("jwks_uri", "must be an https URL without user and password, or one of http on this machine");
        }
        if !matches!(self.token_type.as_str(), "at+jwt" | "JWT") {
            return invalid("token_type", "must be at+jwt or JWT");
        }
        if !(60..=LONGEST_FOREIGN_LIFETIME).contains(&u64::try_from(self.max_lifetime_s).unwrap_or_default()) {
            return invalid("max_lifetime_s", "must be a number of seconds from 60 to 86400");
        }
        if self.roles.len() > 100 || self.roles.iter().any(|(name, _)| name.len() > 255) {
            return invalid("roles", "has more than 100 entries, or one that is too long");
        }
        Ok(())
    }
}

/// Whether keys may be fetched from there: by https, or by http from this machine.
fn is_key_address(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
    let local = ["127.0.0.1", "localhost", "[::1]"].contains(&authority.host());
    !authority.as_str().contains('@') && (scheme == "https" && !authority.host().is_empty() || scheme == "http" && local)
}

impl Identity {
    async fn domains(&self, scope: TenantScope) -> Result<Vec<Domain>, Problem> {
        let mut tx = self.begin(scope).await?;
        let names: Vec<String> =
            sqlx::query_scalar("select domain from platform.tenant_domain where tenant_id = $1 order by domain limit 1000")
                .bind(scope.tenant().uuid())
                .fetch_all(tx.conn())
                .await?;
        tx.commit().await?;
        Ok(names.into_iter().map(|domain| Domain { domain }).collect())
    }
    async fn issuers(&self, scope: TenantScope) -> Result<Vec<RegisteredIssuer>, Problem> {
        let mut tx = self.begin(scope).await?;
        let issuers = sqlx::query_as(
            "select *, confirmed_at is not null as confirmed from platform.external_issuer
             where tenant_id = $1 order by issuer, audience limit 1000",
        )
        .bind(scope.tenant().uuid())
        .fetch_all(tx.conn())
        .await?;
        tx.commit().await?;
        Ok(issuers)
    }
    async fn forget(&self, scope: TenantScope, name: &IssuerName, actor: &Actor) -> Result<StatusCode, Problem> {
        let mut tx = self.begin(scope).await?;
        self.access_changed(&mut tx, scope).await?;
        sqlx::query("delete from platform.external_issuer where tenant_id = $1 and issuer = $2 and audience = $3")
            .bind(scope.tenant().uuid())
            .bind(&name.issuer)
            .bind(&name.audience)
            .execute(tx.conn())
            .await?;
        self.end_unfounded_delegations(&mut tx, scope).await?;
        audit(&mut tx, scope, "distrust_issuer", "granted", Some(&named(&name.issuer, &name.audience)), Some(actor)).await?;
        tx.commit().await?;
        Ok(StatusCode::NO_CONTENT)
    }
    fn known(&self, tenant: TenantId) -> Result<TenantScope, Problem> {
        self.gate.registry().by_id(tenant).map(|tenant| scope_of(&tenant)).ok_or_else(not_found)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn keys_come_by_https_or_from_this_machine() {
        for (uri, good) in [
            ("https://id.example/jwks", true),
            ("https://id.example:8443/a?b=c", true),
            ("http://127.0.0.1:9000/jwks", true),
            ("http://localhost/jwks", true),
            ("http://[::1]:1/", true),
            ("http://id.example/jwks", false),
            ("http://10.0.0.1/jwks", false),
            ("http://localhost:x@169.254.169.254/", false),
            ("http://127.0.0.1:80@evil.example/", false),
            ("http://127.0.0.1.evil.example/", false),
            ("http://localhost:80\\@evil.example/", false),
            ("https://user:password@id.example/", false),
            ("https://", false),
            ("//id.example/jwks", false),
            ("file:///etc/passwd", false),
            ("jwks", false),
        ] {
            assert_eq!(super::is_key_address(uri), good, "{uri}");
        }
    }
}
