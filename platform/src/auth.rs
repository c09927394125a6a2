//! Who asks, for which tenant, with what right. Handlers get an [`Actor`] only through the [`Gate`], which makes the
//! checks in the order of DESIGN: size, token, tenant, subscription, role.
//!
//! Reading order: the [`Gate`] and its checks, then [`Issuer`]; how a token is verified stands in [`token`].

mod signing;
mod token;

use std::{net::IpAddr, sync::Arc};

use axum::extract::{FromRef, FromRequestParts};
use events::{TenantId, TenantScope};
use http::{HeaderMap, StatusCode, header::AUTHORIZATION, request::Parts};
use sqlx::PgPool;

pub use signing::{Issuer, TokenRequest};
use token::{Claims, Verifier};

use crate::{Config, Problem, Registry, Tenant, TenantState, health::Check, registry::PLATFORM_SLUG, tenant_tx::is_schema_of};

/// What a token lets its subject do. Deny by default: an unknown role is no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reads and changes everything of the tenant.
    Hr,
    /// Reads everything of the tenant.
    Auditor,
    /// Of the platform tenant only: registers, suspends and lists tenants.
    Operator,
}

impl Role {
    /// As it stands in a token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hr => "hr",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
        }
    }
    /// The role of this name that means something in this tenant: `operator` in the platform's own, the others elsewhere.
    fn within(tenant: TenantId, name: &str) -> Option<Self> {
        [Self::Hr, Self::Auditor, Self::Operator]
            .into_iter()
            .find(|role| role.name() == name && (*role == Self::Operator) == (tenant == TenantId::PLATFORM))
    }
}

/// A verified subject in a verified tenant.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The token's subject; opaque.
    pub subject: String,
    /// The tenant that token, host and namespace agree on.
    pub tenant: Arc<Tenant>,
    /// The right to its data.
    pub scope: TenantScope,
    /// What the token grants.
    pub roles: Vec<Role>,
}

/// An actor who may read the tenant's data. A handler that takes one can't be reached without the check.
#[derive(Debug, Clone)]
pub struct Reader(pub Actor);
/// An actor who may change the tenant's data.
#[derive(Debug, Clone)]
pub struct Editor(pub Actor);
/// An actor who may manage tenants.
#[derive(Debug, Clone)]
pub struct Operator(pub Actor);

/// Names the tenant where the host does not; must agree with the token like a host.
pub const TENANT_HEADER: &str = "tenure-tenant";
/// The longest token, in bytes.
const MAX_TOKEN: usize = 8 * 1024;

/// Verifies tokens and resolves tenants.
#[derive(Clone)]
pub struct Gate {
    verifier: Arc<Verifier>,
    registry: Registry,
    base_domain: Arc<str>,
}

impl Gate {
    /// A gate over the platform's verification keys (followed in the database) and tenants.
    pub async fn start(config: &Config, pool: PgPool, registry: Registry) -> anyhow::Result<Self> {
        let verifier = Verifier::start(config, pool).await?;
        Ok(Self { verifier, registry, base_domain: config.base_domain.as_str().into() })
    }
    /// All checks up to the subscription, for a request's head.
    pub async fn admit(&self, parts: &Parts) -> Result<Actor, Problem> {
        let token = bearer(parts).map_err(|(problem, reason)| refused(problem, reason, None))?;
        let claims = match self.verifier.verify(token) {
            Ok(claims) => claims,
            Err(token::Refusal::Invalid(reason)) => return Err(refused(invalid_token(), reason, None)),
            Err(token::Refusal::KeysUnknown) => {
                return Err(Problem::unavailable("database_unavailable", "tokens can't be verified at the moment; try again shortly"));
            }
        };
        let named = named_tenants(parts, &self.base_domain);
        let (tenant, roles) = self.resolve(&claims, named).await?;
        Ok(Actor { subject: claims.sub, scope: TenantScope::checked(tenant.id), tenant, roles })
    }
    /// The public keys as a JSON Web Key Set (RFC 7517).
    pub fn jwks(&self) -> serde_json::Value {
        self.verifier.jwks()
    }
    /// Fails when the verification keys could not be read for some seconds.
    pub fn check(&self) -> Check {
        let verifier = self.verifier.clone();
        Check::new("signing_keys", move || {
            let fresh = verifier.is_fresh();
            async move { if fresh { Ok(()) } else { Err(anyhow::anyhow!("the signing keys can't be read")) } }
        })
    }

    /// The tenant that the token, the host and the registry agree on, if it is to be served.
    async fn resolve(&self, claims: &Claims, named: Result<Vec<String>, &'static str>) -> Result<(Arc<Tenant>, Vec<Role>), Problem> {
        let mismatch = |reason, tenant| {
            let detail = "the token is not for this tenant; use the tenant's own host and a token issued for it";
            refused(Problem::new(StatusCode::FORBIDDEN, "tenant_mismatch", detail), reason, tenant)
        };
        let (Some(id), Some(slug), Some(schema)) = (&claims.tenant_id, &claims.tenant_slug, &claims.schema_name) else {
            let problem =
                Problem::new(StatusCode::FORBIDDEN, "tenant_missing", "the token names no tenant; get one that was issued for a tenant");
            return Err(refused(problem, "a tenant claim is missing", None));
        };
        let named = named.map_err(|reason| {
            let detail = "the host or the Tenure-Tenant header does not name a tenant; a slug has 1 to 40 lower-case letters, digits and inner hyphens";
            refused(Problem::new(StatusCode::BAD_REQUEST, "invalid_tenant", detail), reason, None)
        })?;
        let id: TenantId = id.parse().map_err(|_| mismatch("tenant_id is no namespace", None))?;
        if named.iter().any(|name| name != slug) {
            return Err(mismatch("the request names another tenant", Some(id)));
        }
        if !is_schema_of(id, schema) || schema.matches('_').count() != 2 {
            return Err(mismatch("schema_name is not the tenant's", Some(id)));
        }
        let agrees = |tenant: &Arc<Tenant>| tenant.slug == *slug;
        let mut tenant = self.registry.by_id(id);
        if !tenant.as_ref().is_some_and(|tenant| agrees(tenant) && tenant.state != TenantState::Registered) {
            // Registered, made ready or renamed a moment ago, perhaps.
            if let Err(error) = self.registry.refresh().await {
                tracing::warn!(error = format!("{error:#}"), "the tenants can't be read");
                return Err(Problem::unavailable("store_unavailable", "the tenants can't be looked up at the moment; try again shortly"));
            }
            tenant = self.registry.by_id(id);
        }
        let not_found = |reason| {
            refused(Problem::new(StatusCode::NOT_FOUND, "tenant_not_found", "there is no such tenant (any more)"), reason, Some(id))
        };
        let tenant = tenant.ok_or_else(|| not_found("the tenant is unknown"))?;
        if !agrees(&tenant) {
            return Err(mismatch("tenant_slug is not the tenant's", Some(id)));
        }
        if self.registry.is_unreadable(id) {
            return Err(refused(
                Problem::unavailable("tenant_not_ready", "the tenant can't be served at the moment"),
                "the tenant's record can't be read",
                Some(id),
            ));
        }
        match tenant.state {
            TenantState::Ready => {}
            TenantState::Registered => {
                return Err(Problem::unavailable("tenant_not_ready", "the tenant is being set up; try again shortly"));
            }
            TenantState::Closed => return Err(not_found("the tenant is closed")),
            TenantState::Suspended => {
                let problem = Problem::new(StatusCode::FORBIDDEN, "tenant_suspended", "the tenant is suspended; ask the operator");
                return Err(refused(problem, "the tenant is suspended", Some(id)));
            }
        }
        if tenant.subscription.expires_at.is_some_and(|end| end <= jiff::Timestamp::now()) {
            let problem = Problem::new(
                StatusCode::PAYMENT_REQUIRED,
                "subscription_expired",
                "the tenant's subscription has ended; renew it to go on",
            );
            return Err(refused(problem, "the subscription has ended", Some(id)));
        }
        let roles = claims.roles.iter().filter_map(|name| Role::within(id, name)).collect();
        Ok((tenant, roles))
    }
}

impl Actor {
    /// Refuses an actor who has none of these roles.
    pub fn require(&self, any: &[Role]) -> Result<(), Problem> {
        if any.iter().any(|role| self.roles.contains(role)) {
            return Ok(());
        }
        let names: Vec<_> = any.iter().map(|role| role.name()).collect();
        let problem = Problem::new(StatusCode::FORBIDDEN, "forbidden", format!("this needs the role {}", names.join(" or ")));
        Err(refused(problem, "the role is missing", Some(self.tenant.id)))
    }
}

macro_rules! extractors {
    ($($name:ident: $($role:ident)+;)+) => {$(
        impl<S: Send + Sync> FromRequestParts<S> for $name where Gate: FromRef<S> {
            type Rejection = Problem;
            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
                let actor = Gate::from_ref(state).admit(parts).await?;
                actor.require(&[$(Role::$role),+])?;
                Ok(Self(actor))
            }
        }
    )+};
}
extractors! {
    Reader: Hr Auditor;
    Editor: Hr;
    Operator: Operator;
}

/// Why a request was refused goes to the audit log, with the tenant's opaque namespace; the client gets the problem.
fn refused(problem: Problem, reason: &'static str, tenant: Option<TenantId>) -> Problem {
    let tenant = tenant.map(tracing::field::display);
    tracing::warn!(target: "audit", error = problem.code, status = problem.status.as_u16(), reason, tenant, "request refused");
    metrics::counter!("auth_refused_total", "error" => problem.code).increment(1);
    problem
}

/// The one body of all token failures.
fn invalid_token() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "invalid_token", "the access token is not valid; get a new one")
}

/// The token out of the one place where it may stand.
fn bearer(parts: &Parts) -> Result<&str, (Problem, &'static str)> {
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    let (first, second) = (values.next(), values.next());
    if [first, second].into_iter().flatten().any(|value| value.len() > MAX_TOKEN + "Bearer ".len()) {
        let detail = format!("the access token is longer than {MAX_TOKEN} bytes");
        return Err((Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "token_too_large", detail), "the token is too large"));
    }
    let in_query = parts.uri.query().is_some_and(|query| {
        query.split('&').any(|pair| matches!(pair.split('=').next(), Some("access_token" | "token" | "id_token" | "authorization")))
    });
    if in_query {
        return Err((invalid_token(), "a token stands in the query string"));
    }
    let Some(value) = first else {
        let detail = "send an access token: Authorization: Bearer …";
        return Err((Problem::new(StatusCode::UNAUTHORIZED, "missing_token", detail), "no token"));
    };
    if second.is_some() {
        return Err((invalid_token(), "more than one Authorization header"));
    }
    let token = value.to_str().ok().and_then(|text| text.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    token.map(|(_, token)| token).filter(|token| !token.is_empty()).ok_or_else(|| (invalid_token(), "not a bearer token"))
}

/// The tenants that host and header name; none for the bare base domain, an address, or a name without dots.
fn named_tenants(parts: &Parts, base_domain: &str) -> Result<Vec<String>, &'static str> {
    let mut named = Vec::new();
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    for host in single(&parts.headers, "host")?.into_iter().chain(authority) {
        named.extend(tenant_of_host(host, base_domain)?);
    }
    if let Some(slug) = single(&parts.headers, TENANT_HEADER)? {
        named.push(checked_slug(slug)?);
    }
    Ok(named)
}

fn single<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, &'static str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| "a host that is not ASCII"),
        (Some(_), Some(_)) => Err("more than one Host or Tenure-Tenant header"),
    }
}

fn tenant_of_host(host: &str, base_domain: &str) -> Result<Option<String>, &'static str> {
    let name = match host.rsplit_once(':') {
        // The last colon of a bare IPv6 address is no port's.
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
                return Err("a host with a port that is no number");
            }
            name
        }
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    if name.eq_ignore_ascii_case(base_domain) || address.parse::<IpAddr>().is_ok() {
        return Ok(None);
    }
    let split = name.len().checked_sub(base_domain.len() + 1).filter(|at| name.is_char_boundary(*at)).map(|at| name.split_at(at));
    if let Some((slug, rest)) = split
        && rest.strip_prefix('.').is_some_and(|rest| rest.eq_ignore_ascii_case(base_domain))
    {
        return checked_slug(slug).map(Some);
    }
    // The name of a machine or container, such as `localhost` or `query-api`, names no tenant; a foreign domain is not ours.
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if plain { Ok(None) } else { Err("a host that is not under the base domain") }
}

fn checked_slug(slug: &str) -> Result<String, &'static str> {
    if is_slug(slug) { Ok(slug.to_owned()) } else { Err("a slug that none can have") }
}

/// Whether text is a slug: 1 to 40 lower-case letters, digits and inner hyphens.
pub fn is_slug(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether a tenant may have this slug: a slug, and not the platform's own.
pub fn is_free_slug(text: &str) -> bool {
    is_slug(text) && text != PLATFORM_SLUG
}

#[cfg(test)]
mod tests;
