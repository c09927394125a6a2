//! What tokens and hosts are checked against: signing keys, revocations, external issuers, tenants' own domains. All of
//! it is read each second, so that what is revoked or retired bites within five.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use events::TenantId;
use sqlx::PgPool;
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

use super::{
    external::Trust,
    token::{Claims, VerificationKey},
};

/// Signing keys by `kid`.
pub(super) type KeySet = HashMap<String, VerificationKey>;

#[derive(Clone, Default)]
pub(super) struct Known {
    pub(super) keys: KeySet,
    pub(super) revoked: Revoked,
    /// By issuer; one issuer may serve several tenants, each by an audience of its own.
    pub(super) issuers: HashMap<String, Vec<Arc<Trust>>>,
    pub(super) domains: HashMap<String, TenantId>,
    /// The version of what a tenant decided about access, where it decided anything.
    pub(super) access: HashMap<TenantId, i64>,
}

/// Tokens that are void before they expire.
#[derive(Clone, Default)]
pub(super) struct Revoked {
    /// Those of a subject issued up to this second.
    subjects: HashMap<(TenantId, String), u64>,
    sessions: HashSet<(TenantId, String)>,
    tokens: HashSet<(TenantId, String)>,
}

impl Revoked {
    pub(super) fn include(&self, tenant: TenantId, claims: &Claims) -> bool {
        let names = |id: &str| (tenant, id.to_owned());
        self.subjects.get(&names(&claims.sub)).is_some_and(|until| claims.iat <= *until)
            || claims.sid.as_deref().is_some_and(|session| self.sessions.contains(&names(session)))
            || self.tokens.contains(&names(&claims.jti))
    }
}

/// What is known, and since when.
#[derive(Clone)]
pub(super) struct Following(watch::Receiver<(Arc<Known>, Instant)>);

/// How often it is read.
const INTERVAL: Duration = Duration::from_secs(1);
const READ: Duration = Duration::from_secs(2);
/// How old it may be while the database is away: what can't be checked is refused (I8).
const STALE: Duration = Duration::from_secs(5);

impl Following {
    pub(super) async fn start(pool: PgPool) -> anyhow::Result<Self> {
        let known = read(&pool, &Known::default()).await.context("reading the signing keys")?;
        let (sender, receiver) = watch::channel((Arc::new(known), Instant::now()));
        tokio::spawn(async move {
            while !sender.is_closed() {
                tokio::time::sleep(INTERVAL).await;
                let (before, began) = (sender.borrow().0.clone(), Instant::now());
                match tokio::time::timeout(READ, read(&pool, &before)).await {
                    Ok(Ok(known)) => drop(sender.send((Arc::new(known), began))),
                    Ok(Err(error)) => tracing::warn!(error = format!("{error:#}"), "the signing keys can't be read"),
                    Err(_) => tracing::warn!("the signing keys can't be read in time"),
                }
            }
        });
        Ok(Self(receiver))
    }
    #[cfg(any(test, fuzzing))]
    pub(super) fn fixed(known: Known) -> Self {
        Self(watch::channel((Arc::new(known), Instant::now())).1)
    }
    pub(super) fn is_fresh(&self) -> bool {
        self.0.borrow().1.elapsed() < STALE
    }
    pub(super) fn now(&self) -> Arc<Known> {
        self.0.borrow().0.clone()
    }
}

async fn read(pool: &PgPool, before: &Known) -> anyhow::Result<Known> {
    let mut conn = pool.acquire().await?;
    let mut known = Known::default();
    let keys: Vec<(String, String, Vec<u8>)> =
        sqlx::query_as("select kid, algorithm, public_key from platform.signing_key where retired_at is null")
            .fetch_all(&mut *conn)
            .await?;
    for (kid, algorithm, public) in keys {
        match VerificationKey::new(&algorithm, public) {
            Ok(key) => drop(known.keys.insert(kid, key)),
            Err(error) => tracing::error!(kid, %error, "a signing key can't be read; its tokens are refused"),
        }
    }
    let revocations =
        "select tenant_id, kind, id, ceil(extract(epoch from revoked_at))::bigint from platform.revocation where until > now()";
    for (tenant, kind, id, second) in sqlx::query_as::<_, (Uuid, String, String, i64)>(revocations).fetch_all(&mut *conn).await? {
        let name = (TenantId::from_uuid(tenant), id);
        match kind.as_str() {
            "subject" => drop(known.revoked.subjects.insert(name, u64::try_from(second).unwrap_or(u64::MAX))),
            "session" => drop(known.revoked.sessions.insert(name)),
            _ => drop(known.revoked.tokens.insert(name)),
        }
    }
    let issuers =
        "select tenant_id, issuer, audience, jwks_uri, token_type, roles_claim, roles, employee_claim from platform.external_issuer";
    for row in sqlx::query_as::<_, Trust>(issuers).fetch_all(&mut *conn).await? {
        // One that did not change keeps its keys.
        let same = before.issuers.get(&row.issuer).and_then(|list| list.iter().find(|trust| trust.is_same(&row))).cloned();
        known.issuers.entry(row.issuer.clone()).or_default().push(same.unwrap_or_else(|| Arc::new(row)));
    }
    let domains: Vec<(String, Uuid)> = sqlx::query_as("select domain, tenant_id from platform.tenant_domain").fetch_all(&mut *conn).await?;
    known.domains = domains.into_iter().map(|(domain, tenant)| (domain, TenantId::from_uuid(tenant))).collect();
    let versions: Vec<(Uuid, i64)> = sqlx::query_as("select tenant_id, version from platform.access_version").fetch_all(&mut *conn).await?;
    known.access = versions.into_iter().map(|(tenant, version)| (TenantId::from_uuid(tenant), version)).collect();
    Ok(known)
}
