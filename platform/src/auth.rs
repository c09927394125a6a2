//! Who asks, for which tenant, with what right. Handlers get an [`Actor`] only through the [`Gate`], which makes the
//! checks in the order of DESIGN: size, token, tenant, subscription, role.
//!
//! Reading order: the [`Gate`] and its checks, then [`Issuer`]; how a token is verified stands in [`token`].

mod external;
mod flood;
mod known;
mod origin;
mod shares;
mod signing;
mod token;

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use axum::extract::{FromRef, FromRequestParts, MatchedPath, Query};
use events::{EmployeeId, TenantId, TenantScope};
use futures::future::BoxFuture;
use http::{StatusCode, header::AUTHORIZATION, request::Parts};
use sqlx::PgPool;
use tokio::time::Instant;

pub use external::{LONGEST_FOREIGN_LIFETIME, Registration};
use flood::Flood;
pub use known::token_name;
pub use origin::Origin;
use origin::{Hosts, Name};
pub use shares::{Share, Shares};
pub use signing::{Issuer, TokenRequest};
use token::{Claims, LEEWAY, Verified, Verifier};

use crate::{
    Config, Problem, Registry, Tenant, TenantClock, TenantState,
    access::{AccessBook, Action, Departure, Departures, Duty, FieldClass, Grants, Holder},
    config::TrustedProxies,
    database,
    health::Check,
    history::Epoch,
    registry::PLATFORM_SLUG,
    tenant_tx::is_schema_of,
};

/// A verified subject in a verified tenant.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The token's subject; opaque.
    pub subject: String,
    /// The tenant that token, host and namespace agree on.
    pub tenant: Arc<Tenant>,
    /// The right to its data.
    pub scope: TenantScope,
    /// The names of the roles that the token carries; what they mean is in `grants`.
    pub roles: Vec<String>,
    /// What they may do.
    pub grants: Grants,
    /// The person that the subject is, where they are employed by the tenant.
    pub employee: Option<EmployeeId>,
    /// The person with whose employment the subject's access ends.
    pub ends_with: Option<EmployeeId>,
    /// The log-in that the token came of.
    pub session: Option<uuid::Uuid>,
    /// The registration by which their token was taken, where another issuer made it.
    pub registration: Option<Registration>,
    /// When token, tenant and rights were looked at.
    looked: Instant,
    /// Of the history that the request was let into.
    pub epoch: Epoch,
    pass: Arc<Pass>,
}

/// What an actor was let in by, to look at again after a wait.
struct Pass {
    gate: Gate,
    token: String,
    named: Vec<Name>,
    looked: Mutex<Instant>,
    /// What was found when somebody with this pass looked last, after the admission.
    found: Mutex<Option<Found>>,
    /// Of the tenant's share, for as long as somebody works for the actor.
    _place: Share<TenantId>,
}
impl Pass {
    fn looked(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pass")
    }
}

/// Who an actor is at an instant, as far as that may change.
#[derive(Clone)]
struct Found {
    tenant: Arc<Tenant>,
    roles: Vec<String>,
    grants: Grants,
    ends_with: Option<EmployeeId>,
    registration: Option<Registration>,
    looked: Instant,
}

/// How long a request may wait before it is looked at again who sent it: what is revoked bites within five seconds.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Who was let in by which right, for whoever reads the request's body: that may come much later than its head.
#[derive(Debug, Clone)]
pub struct Admitted {
    actor: Actor,
    allowed: fn(&Actor) -> bool,
}

impl Admitted {
    /// Takes it out of a request, where a body is about to be read. `None` where no token was asked for.
    pub fn of(request: &mut axum::extract::Request) -> Option<Self> {
        request.extensions_mut().remove()
    }
    /// Looks again, once the body is whole. Fails where the actor would not be let in any more, or with other rights.
    pub async fn still(&self) -> Result<(), Problem> {
        match self.actor.renewed_if_old().await? {
            Some(now) if !(self.allowed)(&now) => Err(now.forbidden()),
            Some(now) if now.grants != self.actor.grants => Err(now.rights_changed()),
            None | Some(_) => Ok(()),
        }
    }
}

/// An actor who may read something of the tenant's; whose facts, `grants` say. A handler that takes one can't be reached
/// without the check.
#[derive(Debug, Clone)]
pub struct Reader(pub Actor);
/// An actor who may change something of the tenant's; what of whom, `grants` say.
#[derive(Debug, Clone)]
pub struct Editor(pub Actor);
/// An actor who may decide who else gets in.
#[derive(Debug, Clone)]
pub struct UserAdmin(pub Actor);
/// An actor who may make roles.
#[derive(Debug, Clone)]
pub struct RoleAdmin(pub Actor);
/// An actor who may read what was decided about identity.
#[derive(Debug, Clone)]
pub struct AuditReader(pub Actor);
/// An actor who may manage tenants.
#[derive(Debug, Clone)]
pub struct Operator(pub Actor);
/// Anybody whom a tenant lets in; for what concerns only themselves.
#[derive(Debug, Clone)]
pub struct Anyone(pub Actor);

/// Names the tenant where the host does not; must agree with the token like a host.
pub const TENANT_HEADER: &str = "tenure-tenant";
/// The longest token, in bytes.
const MAX_TOKEN: usize = 8 * 1024;

/// Knows whose employment has ended; each API asks what it works with.
pub trait Employments: Send + Sync {
    /// Those of these people whose last day of work is over at their place of work, and whether they were hired again after it. Whoever
    /// is not known, starts later, or was never without employment since the first, has not left.
    fn departures(
        &self,
        scope: TenantScope,
        clock: TenantClock,
        people: BTreeSet<EmployeeId>,
    ) -> BoxFuture<'_, Result<Departures, Problem>>;
    /// Whether those who ask are looked at when they are let in. Else whoever answers them looks along with what is read, by
    /// [`Actor::ends_with`], and says [`Actor::has_left`].
    fn at_admission(&self) -> bool;
}

/// Verifies tokens and resolves tenants.
#[derive(Clone)]
pub struct Gate {
    verifier: Arc<Verifier>,
    registry: Registry,
    base_domain: Arc<str>,
    proxies: Arc<TrustedProxies>,
    flood: Arc<Flood>,
    places: Shares<TenantId>,
    waiting: Shares<TenantId>,
    strangers: Shares<Option<Origin>>,
    access: AccessBook,
    employments: Arc<OnceLock<Arc<dyn Employments>>>,
}

impl Gate {
    /// A gate over the platform's verification keys (followed in the database) and tenants.
    pub async fn start(config: &Config, pool: PgPool, registry: Registry) -> anyhow::Result<Self> {
        // A connection of its own: requests that fill the pool must not keep what is revoked from being heard of.
        let verifier = Verifier::start(config, database::apart(&pool, 1)).await?;
        Ok(Self {
            verifier,
            registry,
            base_domain: config.base_domain.as_str().into(),
            proxies: config.trusted_proxies.clone().into(),
            flood: Flood::new(config.tenant_requests_per_second).into(),
            places: Shares::lent(config.tenant_concurrent_requests, config.max_concurrent_requests / 2),
            waiting: Shares::lent(config.tenant_concurrent_requests / 2, config.max_concurrent_requests / 4),
            // An office behind one address logs in at nine o'clock.
            strangers: Shares::lent(config.tenant_concurrent_requests, config.max_concurrent_requests / 4)
                .bounded(config.max_concurrent_requests / 2),
            access: AccessBook::new(Some(pool)),
            employments: Arc::default(),
        })
    }
    /// Says who knows whose employment has ended, once. Before, whom that is about is not let in (I8).
    pub fn ask_about_leavers(&self, employments: Arc<dyn Employments>) {
        let _ = self.employments.set(employments);
    }
    /// Whether this person has left, and is not employed now.
    pub async fn has_left(&self, scope: TenantScope, person: EmployeeId) -> Result<bool, Problem> {
        Ok(self.departures(scope, [person].into()).await?.get(&person) == Some(&Departure::Left))
    }
    /// Those of these people who left, also if they were hired again.
    async fn departures(&self, scope: TenantScope, people: BTreeSet<EmployeeId>) -> Result<Departures, Problem> {
        if people.is_empty() {
            return Ok(Departures::new());
        }
        match self.employments.get() {
            Some(employments) => {
                let tenant = self.registry.by_id(scope.tenant()).ok_or_else(tenant_not_found)?;
                employments.departures(scope, TenantClock::read(&tenant), people).await
            }
            None => Err(Problem::unavailable("store_unavailable", "employments can't be looked up at the moment; try again shortly")),
        }
    }
    /// All checks up to the subscription, for a request's head.
    pub async fn admit(&self, parts: &Parts) -> Result<Actor, Problem> {
        let token = bearer(parts).map_err(|(problem, reason)| refused(problem, reason, None))?;
        let mut verified = self.verify(token)?;
        let named = self.named(parts);
        // Counted before anything is waited for: looking for a tenant that is not known yet takes a while.
        let (id, slug) = self.claimed(&verified)?;
        self.flood.admit(id).map_err(|wait| {
            let detail = "your organization sends more requests than it may; try again after Retry-After seconds";
            let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail);
            problem.retry_after = u32::try_from(wait.as_secs() + 1).ok();
            refused(problem, "the tenant sends too much", Some(id))
        })?;
        let place = self.places.take(id).ok_or_else(|| too_many(Some(id)))?;
        let tenant = self.resolve(id, slug, named.clone()).await?;
        let epoch = {
            let known = self.verifier.known();
            known.history.serves(tenant.id)?;
            known.history.epoch.clone()
        };
        let scope = TenantScope::checked(tenant.id);
        let (grants, ends_with) = self.grants(scope, &mut verified).await?;
        let Verified { claims, external: registration } = verified;
        let employee = claims.employee();
        let session = claims.sid.as_deref().and_then(|id| id.parse().ok());
        let (token, named, looked) = (token.to_owned(), named.unwrap_or_default(), Instant::now());
        let pass = Arc::new(Pass { gate: self.clone(), token, named, looked: Mutex::new(looked), found: Mutex::default(), _place: place });
        let Claims { sub: subject, roles, .. } = claims;
        Ok(Actor { subject, tenant, scope, roles, grants, employee, ends_with, session, registration, looked, epoch, pass })
    }
    /// A place for a request that takes no token, of the share of the address that it came from. These places come to those of
    /// requests with tokens, and are half as many in all.
    pub(crate) fn admit_stranger(&self, parts: &Parts) -> Result<Share<Option<Origin>>, Problem> {
        self.strangers
            .take(self.origin(parts).map(|origin| origin.network(64)))
            .ok_or_else(|| if self.strangers.are_taken() { overloaded() } else { too_many(None) })
    }
    fn verify(&self, token: &str) -> Result<Verified, Problem> {
        self.verifier.verify(token).map_err(|refusal| match refusal {
            token::Refusal::Invalid(reason) => refused(invalid_token(), reason, None),
            token::Refusal::KeysUnknown => {
                Problem::unavailable("database_unavailable", "tokens can't be verified at the moment; try again shortly")
            }
            token::Refusal::IssuerAway => {
                let detail = "the issuer of the token does not give its keys at the moment; try again shortly";
                Problem::unavailable("issuer_unavailable", detail)
            }
        })
    }
    /// What the tenant lets the token's subject do now, and with whose employment that ends. Roles that are no longer what the
    /// token meant are taken out of it.
    async fn grants(
        &self,
        scope: TenantScope,
        Verified { claims, external }: &mut Verified,
    ) -> Result<(Grants, Option<EmployeeId>), Problem> {
        let tenant = scope.tenant();
        let version = self.verifier.known().access.get(&tenant).copied();
        let access = self.access.of(scope, version).await?;
        let (issued_at, leeway) = (claims.iat, leeway(*external));
        claims.roles.retain(|role| access.is_as_issued(role, issued_at, leeway));
        let named_since = external.map(|registration| registration.confirmed_at);
        let holder = Holder { subject: &claims.sub, roles: &claims.roles, employee: claims.employee(), named_since };
        let ends_with = access.ends_with(holder.subject, holder.employee);
        let mut people = access.givers(holder);
        if self.employments.get().is_none_or(|employments| employments.at_admission()) {
            people.extend(ends_with);
        }
        let departures = self.departures(scope, people).await?;
        if ends_with.and_then(|person| departures.get(&person)) == Some(&Departure::Left) {
            return Err(has_left(tenant));
        }
        Ok((Grants::of(tenant, &access, holder, &departures), ends_with))
    }
    /// The tenant that a request without a token names by its host or header. `None` where there is no such tenant: the
    /// answer must then be that of a wrong password, after as long: it is not looked for again.
    pub fn tenant_named(&self, parts: &Parts) -> Result<Option<Arc<Tenant>>, Problem> {
        let named = self.agreeing_names(parts)?;
        let Some(first) = named.first() else { return Err(refused(invalid_tenant(), "no tenant is named", None)) };
        Ok(match first {
            Name::Slug(slug) => self.registry.by_slug(slug),
            Name::Id(id) => self.registry.by_id(*id),
        })
    }
    /// Refuses a request whose host and header name no tenant that could be, or two.
    pub(crate) fn check_names(&self, parts: &Parts) -> Result<(), Problem> {
        self.agreeing_names(parts).map(drop)
    }
    /// The names that host and header give a tenant. Whether there is one is not looked for: that two of them differ must not tell
    /// which of them is somebody's. Whose a domain is, is no secret.
    fn agreeing_names(&self, parts: &Parts) -> Result<Vec<Name>, Problem> {
        let named = self.named(parts).map_err(|reason| refused(invalid_tenant(), reason, None))?;
        let agree = |pair: &[Name]| match pair {
            [Name::Slug(slug), Name::Id(id)] | [Name::Id(id), Name::Slug(slug)] => {
                self.registry.by_slug(slug).is_some_and(|tenant| tenant.id == *id)
            }
            [one, other] => one == other,
            _ => true,
        };
        if named.windows(2).all(agree) { Ok(named) } else { Err(mismatch("the request names two tenants", None)) }
    }
    /// The name by which a request asks for a tenant, whether or not there is one.
    pub fn name_of_tenant(&self, parts: &Parts) -> Option<String> {
        self.named(parts).ok()?.into_iter().next().map(|name| match name {
            Name::Slug(slug) => slug,
            Name::Id(id) => id.namespace(),
        })
    }
    /// Whether neither host nor header name a tenant.
    pub fn names_no_tenant(&self, parts: &Parts) -> bool {
        self.named(parts).is_ok_and(|names| names.is_empty())
    }
    /// Whether a tenant's requests are served: the checks after the token's.
    pub fn serves(&self, tenant: &Tenant) -> Result<(), Problem> {
        self.check_state(tenant)
    }
    /// Where a request came from, as far as it can be believed.
    pub fn origin(&self, parts: &Parts) -> Option<Origin> {
        origin::origin(parts, &self.proxies)
    }
    /// The tenants, as this process knows them.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
    /// Whether a name may be a tenant's own domain: not one of ours, and not a bare name.
    pub fn is_foreign_domain(&self, domain: &str) -> bool {
        let under_ours = domain == &*self.base_domain || domain.strip_suffix(&*self.base_domain).is_some_and(|rest| rest.ends_with('.'));
        domain.contains('.') && !under_ours && domain.parse::<IpAddr>().is_err()
    }
    fn named(&self, parts: &Parts) -> Result<Vec<Name>, &'static str> {
        let known = self.verifier.known();
        Hosts { base_domain: &self.base_domain, proxies: &self.proxies, domains: &known.domains }.named(parts)
    }
    /// The public keys as a JSON Web Key Set (RFC 7517).
    pub fn jwks(&self) -> serde_json::Value {
        self.verifier.jwks()
    }
    /// The epoch that is served.
    pub fn epoch(&self) -> Epoch {
        self.verifier.known().history.epoch.clone()
    }
    /// Fails while a new epoch is being drawn: nobody is served.
    pub fn history_check(&self) -> Check {
        let verifier = self.verifier.clone();
        Check::new("history", move || {
            let changing = verifier.known().history.is_changing();
            async move { if changing { Err(anyhow::anyhow!("a new epoch is being drawn (tenure restored)")) } else { Ok(()) } }
        })
    }
    /// Fails when the verification keys could not be read for some seconds.
    pub fn check(&self) -> Check {
        let verifier = self.verifier.clone();
        Check::new("signing_keys", move || {
            let fresh = verifier.is_fresh();
            async move { if fresh { Ok(()) } else { Err(anyhow::anyhow!("the signing keys can't be read")) } }
        })
    }

    /// The tenant that a token is for, and the slug under which our own tokens name it. Not of a token that is revoked.
    fn claimed<'v>(&self, Verified { claims, external }: &'v Verified) -> Result<(TenantId, Option<&'v str>), Problem> {
        // An external issuer is registered for one tenant; our own tokens say three times whose they are.
        let (id, slug) = if let Some(registration) = external {
            (registration.tenant, None)
        } else {
            let (Some(id), Some(slug), Some(schema)) = (&claims.tenant_id, &claims.tenant_slug, &claims.schema_name) else {
                let detail = "the token names no tenant; get one that was issued for a tenant";
                return Err(refused(Problem::new(StatusCode::FORBIDDEN, "tenant_missing", detail), "a tenant claim is missing", None));
            };
            let id: TenantId = id.parse().map_err(|_| mismatch("tenant_id is no namespace", None))?;
            if !is_schema_of(id, schema) || schema.matches('_').count() != 2 {
                return Err(mismatch("schema_name is not the tenant's", Some(id)));
            }
            (id, Some(slug.as_str()))
        };
        if self.verifier.known().revoked.include(id, claims, leeway(*external)) {
            return Err(refused(invalid_token(), "the token, its log-in or its subject is revoked", Some(id)));
        }
        Ok((id, slug))
    }
    /// The tenant that the token, the host and the registry agree on, if it is to be served.
    async fn resolve(&self, id: TenantId, slug: Option<&str>, named: Result<Vec<Name>, &'static str>) -> Result<Arc<Tenant>, Problem> {
        let named = named.map_err(|reason| refused(invalid_tenant(), reason, None))?;
        let names_another =
            |slug: &str| named.iter().any(|name| !matches!(name, Name::Slug(name) if name == slug) && *name != Name::Id(id));
        if slug.is_some_and(names_another) {
            return Err(mismatch("the request names another tenant", Some(id)));
        }
        let agrees = |tenant: &Arc<Tenant>| slug.is_none_or(|slug| tenant.slug == slug);
        let mut tenant = self.registry.by_id(id);
        if !tenant.as_ref().is_some_and(|tenant| agrees(tenant) && tenant.state != TenantState::Registered) {
            // Registered, made ready or renamed a moment ago, perhaps.
            Box::pin(self.registry.refresh()).await.map_err(|error| lookup_failed(&error))?;
            tenant = self.registry.by_id(id);
        }
        let tenant = tenant.ok_or_else(|| refused(tenant_not_found(), "the tenant is unknown", Some(id)))?;
        if !agrees(&tenant) {
            return Err(mismatch("tenant_slug is not the tenant's", Some(id)));
        }
        if names_another(&tenant.slug) {
            return Err(mismatch("the request names another tenant", Some(id)));
        }
        self.check_state(&tenant)?;
        Ok(tenant)
    }
    fn check_state(&self, tenant: &Tenant) -> Result<(), Problem> {
        let id = tenant.id;
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
            TenantState::Closed => return Err(refused(tenant_not_found(), "the tenant is closed", Some(id))),
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
        Ok(())
    }
}

/// Seconds by which the clock of a token's issuer may differ from the database's, whose time our own tokens bear.
fn leeway(external: Option<Registration>) -> u64 {
    if external.is_some() { LEEWAY } else { 0 }
}

/// 403 `tenant_mismatch`, whether or not the other tenant exists.
fn mismatch(reason: &'static str, tenant: Option<TenantId>) -> Problem {
    let detail = "host, Tenure-Tenant and token are not of one tenant; use the tenant's own host and a token issued for it";
    refused(Problem::new(StatusCode::FORBIDDEN, "tenant_mismatch", detail), reason, tenant)
}

/// 503 `overloaded`: whoever asks.
pub(crate) fn overloaded() -> Problem {
    Problem::unavailable("overloaded", "too many requests are in work; try again shortly")
}

/// 429 `rate_limited`: whoever it is has all their places taken.
fn too_many(tenant: Option<TenantId>) -> Problem {
    let detail = "too many of your requests are in work at once; wait for some of them to be answered";
    let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail);
    problem.retry_after = Some(1);
    refused(problem, "too many at once", tenant)
}

fn lookup_failed(error: &anyhow::Error) -> Problem {
    tracing::warn!(error = format!("{error:#}"), "the tenants can't be read");
    Problem::unavailable("store_unavailable", "the tenants can't be looked up at the moment; try again shortly")
}

fn invalid_tenant() -> Problem {
    let detail =
        "the host or the Tenure-Tenant header does not name a tenant; a slug has 1 to 40 lower-case letters, digits and inner hyphens";
    Problem::new(StatusCode::BAD_REQUEST, "invalid_tenant", detail)
}

fn tenant_not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "tenant_not_found", "there is no such tenant (any more)")
}

impl Actor {
    /// Refuses an actor who may not do this.
    pub fn require(&self, duty: Duty) -> Result<(), Problem> {
        if self.grants.has(duty) { Ok(()) } else { Err(self.forbidden()) }
    }
    /// Refuses an actor who may not do this to anybody.
    pub fn require_any(&self, action: Action, class: FieldClass) -> Result<(), Problem> {
        if self.grants.any(action, class) { Ok(()) } else { Err(self.forbidden()) }
    }
    /// A place among the tenant's requests that wait, which are half of its share at most.
    pub fn take_waiting_place(&self) -> Result<Share<TenantId>, Problem> {
        self.pass.gate.waiting.take(self.tenant.id).ok_or_else(|| too_many(Some(self.tenant.id)))
    }
    /// Looks again at who sent a request that has waited: whether the token and the tenant are still good, and the rights
    /// the same. Call it before an answer that follows a wait.
    pub async fn after_waiting(&self) -> Result<(), Problem> {
        if self.pass.looked().elapsed() < LOOK_AGAIN || Box::pin(self.renewed()).await?.grants == self.grants {
            return Ok(());
        }
        Err(self.rights_changed())
    }
    /// 503 `rights_changed`, written down.
    fn rights_changed(&self) -> Problem {
        let problem = Problem::unavailable("rights_changed", "what you may do has changed while the request waited; send it again");
        refused(problem, "the rights changed during a wait", Some(self.tenant.id))
    }
    /// The actor as it is now, where it was looked at a while ago; `None` where that was just done, which costs nothing. Call it
    /// before whatever can't be undone. The lines of a batch share what one of them finds: a signature takes longer to verify than
    /// most commands take to decide.
    pub async fn renewed_if_old(&self) -> Result<Option<Self>, Problem> {
        if self.looked.elapsed() < LOOK_AGAIN {
            return Ok(None);
        }
        let found = self.pass.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match found.filter(|found| found.looked.elapsed() < LOOK_AGAIN) {
            Some(found) => Ok(Some(self.found(found))),
            // Seldom, and large: every command's future would have room for it.
            None => Box::pin(self.renewed()).await.map(Some),
        }
    }
    /// The actor by the same token, with what it may do now; in the same place. Fails where it would not be let in any more.
    pub async fn renewed(&self) -> Result<Self, Problem> {
        let Pass { gate, token, named, .. } = &*self.pass;
        let mut verified = gate.verify(token)?;
        let (id, slug) = gate.claimed(&verified)?;
        let tenant = gate.resolve(id, slug, Ok(named.clone())).await?;
        let (grants, ends_with) = gate.grants(self.scope, &mut verified).await?;
        let (roles, registration, looked) = (verified.claims.roles, verified.external, Instant::now());
        *self.pass.looked() = looked;
        let found = Found { tenant, roles, grants, ends_with, registration, looked };
        *self.pass.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
        Ok(self.found(found))
    }
    fn found(&self, Found { tenant, roles, grants, ends_with, registration, looked }: Found) -> Self {
        Self { tenant, roles, grants, ends_with, registration, looked, ..self.clone() }
    }
    /// 401 `invalid_token`: the employment with which the access ends is over.
    pub fn has_left(&self) -> Problem {
        has_left(self.tenant.id)
    }
    /// 403 `forbidden`, written down.
    pub fn forbidden(&self) -> Problem {
        let detail = "your roles don't allow this; `tenure access explain` and GET /v1/access/explain show what they do";
        refused(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail), "no grant allows it", Some(self.tenant.id))
    }
}

macro_rules! extractors {
    ($($name:ident: |$actor:ident| $allowed:expr;)+) => {$(
        impl<S: Send + Sync> FromRequestParts<S> for $name where Gate: FromRef<S> {
            type Rejection = Problem;
            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
                let actor = Gate::from_ref(state).admit(parts).await?;
                let allowed: fn(&Actor) -> bool = |$actor| $allowed;
                if !allowed(&actor) {
                    return Err(actor.forbidden());
                }
                check_parameters(parts)?;
                actor.epoch.admit_headers(&parts.headers)?;
                if parts.method != http::Method::GET {
                    parts.extensions.insert(Admitted { actor: actor.clone(), allowed });
                }
                Ok(Self(actor))
            }
        }
    )+};
}
extractors! {
    Reader: |actor| actor.grants.any(Action::Read, FieldClass::Directory);
    Editor: |actor| actor.grants.any_of(Action::Change);
    UserAdmin: |actor| actor.grants.has(Duty::ManageUsers);
    RoleAdmin: |actor| actor.grants.has(Duty::ManageRoles);
    AuditReader: |actor| actor.grants.has(Duty::ReadAudit);
    Operator: |actor| actor.grants.has(Duty::ManageTenants);
    Anyone: |_actor| true;
}

/// Why a request was refused goes to the audit log, with the tenant's opaque namespace; the client gets the problem.
fn refused(problem: Problem, reason: &'static str, tenant: Option<TenantId>) -> Problem {
    let tenant = tenant.map(tracing::field::display);
    tracing::warn!(target: "audit", error = problem.code, status = problem.status.as_u16(), reason, tenant, "request refused");
    metrics::counter!("auth_refused_total", "error" => problem.code).increment(1);
    problem
}

fn has_left(tenant: TenantId) -> Problem {
    refused(invalid_token(), "the employment has ended", Some(tenant))
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
    if parts.uri.query().is_some_and(holds_token) {
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

/// Whether a query string has a parameter in which clients have put tokens: it would stand in logs, however good the header is.
fn holds_token(query: &str) -> bool {
    const NAMES: [&str; 4] = ["access_token", "token", "id_token", "authorization"];
    let names_one = |name: &str| NAMES.iter().any(|token| name.eq_ignore_ascii_case(token));
    query.split('&').map(|pair| pair.split('=').next().unwrap_or_default()).any(|name| {
        if name.contains('%') {
            // Decoded as handlers do it.
            let decoded = format!("/?{name}=").parse().ok().and_then(|uri| Query::<Vec<(String, String)>>::try_from_uri(&uri).ok());
            decoded.is_some_and(|Query(pairs)| pairs.iter().any(|(name, _)| names_one(name)))
        } else {
            names_one(name)
        }
    })
}

/// The query parameters that routes take, by their paths, where handlers don't look for others themselves. In the extensions of
/// every request.
#[derive(Debug, Clone)]
pub struct QueryParameters(pub Arc<HashMap<String, Vec<String>>>);

/// 400 `unknown_parameter` where the query string names one that the route does not take.
pub fn check_parameters(parts: &Parts) -> Result<(), Problem> {
    if parts.uri.query().is_none_or(str::is_empty) {
        return Ok(());
    }
    let Some(QueryParameters(by_path)) = parts.extensions.get() else { return Ok(()) };
    let known = parts.extensions.get::<MatchedPath>().and_then(|path| by_path.get(path.as_str()));
    check_known(parts, known.map_or(&[][..], Vec::as_slice))
}

/// As [`check_parameters`], for a route that takes these.
pub(crate) fn check_known(parts: &Parts, known: &[String]) -> Result<(), Problem> {
    let Some(query) = parts.uri.query().filter(|query| !query.is_empty()) else { return Ok(()) };
    let is_unknown = |name: &str| !known.iter().any(|known| known == name);
    if query.split('&').any(|pair| is_unknown(pair.split('=').next().unwrap_or_default())) {
        let known = if known.is_empty() { "none".into() } else { known.join(", ") };
        let detail = format!("there is no such parameter; this route takes {known}");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "unknown_parameter", detail));
    }
    Ok(())
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

#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(test)]
mod tests;
