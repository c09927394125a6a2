//! What tokens and hosts are checked against: signing keys, revocations, external issuers, tenants' own domains. All of
//! it is read each second, so that what is revoked or retired bites within five.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use data_encoding::HEXLOWER;
use events::TenantId;
use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, PgPool};
use tokio::{sync::watch, time::Instant};
use uuid::Uuid;

use super::{
    external::Trust,
    token::{Claims, VerificationKey, now},
};
use crate::history::History;

/// Signing keys by `kid`.
pub(super) type KeySet = HashMap<String, VerificationKey>;

/// What tokens are verified against.
#[derive(Clone, Default)]
pub(super) struct VerificationData {
    pub(super) keys: KeySet,
    pub(super) revoked: Revoked,
    /// By issuer; one issuer may serve several tenants, each by an audience of its own.
    pub(super) issuers: HashMap<String, Vec<Arc<Trust>>>,
    pub(super) domains: HashMap<String, TenantId>,
    /// The version of what a tenant decided about access, where it decided anything.
    pub(super) access: HashMap<TenantId, i64>,
    pub(super) history: History,
}

/// What makes tokens void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Subject,
    Session,
    Token,
}

/// Seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct When {
    /// Something was made void.
    revoked: u64,
    /// No token can live any more that it concerns.
    until: u64,
}

/// Tokens that are void before they expire. Each second only what came since is read, so that many don't hold up the
/// next.
#[derive(Clone, Default)]
pub(super) struct Revoked {
    all: Arc<HashMap<(TenantId, Kind, String), When>>,
    /// What transactions before this one wrote is in.
    complete_before: u64,
}

impl Revoked {
    /// Whether a token is void. `leeway` are the seconds by which its issuer's clock may differ from the database's.
    pub(super) fn include(&self, tenant: TenantId, claims: &Claims, leeway: u64) -> bool {
        let find = |kind, id: &str| self.all.get(&(tenant, kind, id.to_owned()));
        !self.all.is_empty()
            && (find(Kind::Subject, &claims.sub).is_some_and(|when| claims.iat <= when.revoked + leeway)
                || claims.sid.as_deref().is_some_and(|session| find(Kind::Session, session).is_some())
                || find(Kind::Token, &token_name(&claims.sub, &claims.jti)).is_some())
    }
    /// With what was written since.
    async fn followed(&self, conn: &mut PgConnection) -> anyhow::Result<Self> {
        // Whatever ended before this is seen by the next statement.
        let oldest: String = sqlx::query_scalar("select pg_snapshot_xmin(pg_current_snapshot())::text").fetch_one(&mut *conn).await?;
        let oldest = oldest.parse()?;
        // A smaller one is another database's.
        let mut known = if oldest < self.complete_before { Self::default() } else { self.clone() };
        let rows: Vec<(Uuid, String, String, i64, i64)> = sqlx::query_as(
            "select tenant_id, kind, id, ceil(extract(epoch from revoked_at))::bigint, ceil(extract(epoch from until))::bigint
             from platform.revocation where written >= $1::text::xid8 and until > now()",
        )
        .bind(known.complete_before.to_string())
        .fetch_all(conn)
        .await?;
        let row = |(tenant, kind, id, revoked, until): (Uuid, String, String, i64, i64)| {
            let kind = match kind.as_str() {
                "subject" => Kind::Subject,
                "session" => Kind::Session,
                _ => Kind::Token,
            };
            let seconds = |n: i64| u64::try_from(n).unwrap_or_default();
            ((TenantId::from_uuid(tenant), kind, id), When { revoked: seconds(revoked), until: seconds(until) })
        };
        let news: Vec<_> = rows.into_iter().map(row).filter(|(name, when)| known.all.get(name) != Some(when)).collect();
        if !news.is_empty() {
            let (all, now) = (Arc::make_mut(&mut known.all), now());
            all.retain(|_, when| when.until > now);
            all.extend(news);
        }
        known.complete_before = oldest;
        Ok(known)
    }
}

/// What a token is revoked by: its id, and whose it is, so that nobody can revoke another's.
pub fn token_name(subject: &str, token_id: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(format!("{subject}\n{token_id}")))
}

/// What is known, and since when.
#[derive(Clone)]
pub(super) struct Following(watch::Receiver<(Arc<VerificationData>, Instant)>);

/// How often it is read.
const INTERVAL: Duration = Duration::from_secs(1);
const READ: Duration = Duration::from_secs(2);
/// How old it may be while the database is away: what can't be checked is refused (I8).
const STALE: Duration = Duration::from_secs(5);

impl Following {
    pub(super) async fn start(pool: PgPool) -> anyhow::Result<Self> {
        let known = read(&pool, &VerificationData::default()).await.context("reading the signing keys")?;
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
    pub(super) fn fixed(known: VerificationData) -> Self {
        Self(watch::channel((Arc::new(known), Instant::now())).1)
    }
    pub(super) fn is_fresh(&self) -> bool {
        self.0.borrow().1.elapsed() < STALE
    }
    pub(super) fn now(&self) -> Arc<VerificationData> {
        self.0.borrow().0.clone()
    }
}

async fn read(pool: &PgPool, before: &VerificationData) -> anyhow::Result<VerificationData> {
    let mut conn = pool.acquire().await?;
    let mut known = VerificationData::default();
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
    known.revoked = before.revoked.followed(&mut conn).await?;
    let issuers =
        "select tenant_id, issuer, audience, jwks_uri, token_type, roles_claim, roles, employee_claim, max_lifetime_s, registration_id,
                       (extract(epoch from confirmed_at) * 1000)::bigint as confirmed_ms
                   from platform.external_issuer where confirmed_at is not null";
    for row in sqlx::query_as::<_, Trust>(issuers).fetch_all(&mut *conn).await? {
        // One that did not change keeps its keys.
        let same = before.issuers.get(&row.issuer).and_then(|list| list.iter().find(|trust| trust.is_same(&row))).cloned();
        let trust = same.unwrap_or_else(|| Arc::new(row));
        trust.keep_keys();
        known.issuers.entry(trust.issuer.clone()).or_default().push(trust);
    }
    let domains: Vec<(String, Uuid)> = sqlx::query_as("select domain, tenant_id from platform.tenant_domain").fetch_all(&mut *conn).await?;
    known.domains = domains.into_iter().map(|(domain, tenant)| (domain, TenantId::from_uuid(tenant))).collect();
    let versions: Vec<(Uuid, i64)> = sqlx::query_as("select tenant_id, version from platform.access_version").fetch_all(&mut *conn).await?;
    known.access = versions.into_iter().map(|(tenant, version)| (TenantId::from_uuid(tenant), version)).collect();
    known.history = History::read(&mut conn).await?;
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_names_one_subject_and_an_instant() {
        let tenant = TenantId::from_uuid(Uuid::from_u128(7));
        let claims = |sub: &str, jti: &str, iat: u64| {
            let claims =
                serde_json::json!({"iss": "i", "aud": "a", "sub": sub, "jti": jti, "sid": "s", "iat": iat, "exp": iat + 1, "roles": []});
            serde_json::from_value::<Claims>(claims).unwrap()
        };
        let with = |kind, id: String| {
            let all = HashMap::from([((tenant, kind, id), When { revoked: 100, until: 200 })]);
            Revoked { all: Arc::new(all), complete_before: 0 }
        };
        let token = with(Kind::Token, token_name("user:1", "j"));
        assert!(token.include(tenant, &claims("user:1", "j", 50), 0));
        assert!(!token.include(tenant, &claims("user:2", "j", 50), 0), "another's token with the same id");
        assert!(!token.include(TenantId::from_uuid(Uuid::from_u128(8)), &claims("user:1", "j", 50), 0), "another tenant's");
        let subject = with(Kind::Subject, "user:1".into());
        for (iat, leeway, void) in [(100, 0, true), (101, 0, false), (105, 5, true), (106, 5, false)] {
            assert_eq!(subject.include(tenant, &claims("user:1", "k", iat), leeway), void, "{iat} {leeway}");
        }
        assert!(with(Kind::Session, "s".into()).include(tenant, &claims("user:1", "k", 300), 0));
        assert!(!Revoked::default().include(tenant, &claims("user:1", "j", 50), 0));
    }
}
