//! Access tokens of other issuers, such as a tenant's own OpenID Connect provider. An operator says whose may be taken, and
//! for which tenant, and the tenant confirms it: issuer and audience name the tenant, a claim's values are mapped to our
//! roles.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use anyhow::{Context as _, bail};
use data_encoding::HEXLOWER;
use events::TenantId;
use jiff::Timestamp;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk},
};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use sqlx::{FromRow, Row as _, postgres::PgRow};
use tokio::time::Instant;
use uuid::Uuid;

use super::token::{Claims, Head, LEEWAY, Refusal, now, reason_of};

/// A registration of another issuer as a tenant confirmed it. Written down otherwise, or anew, it is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registration {
    /// The tenant.
    pub tenant: TenantId,
    /// Its id.
    pub id: Uuid,
    /// When it was confirmed.
    pub confirmed_at: Timestamp,
}

/// An issuer whose tokens are taken for one tenant.
pub(super) struct Trust {
    pub(super) registration: Registration,
    pub(super) issuer: String,
    audience: String,
    jwks_uri: String,
    token_type: String,
    /// Where the roles stand: a claim, or a path into one such as `realm_access.roles`.
    roles_claim: String,
    /// What stands there, to our role.
    roles: BTreeMap<String, String>,
    /// Where the person's id stands.
    employee_claim: Option<String>,
    /// Seconds that a token may live at most.
    max_lifetime: u64,
    keys: Arc<IssuerKeys>,
}

impl<'r> FromRow<'r, PgRow> for Trust {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            registration: Registration {
                tenant: TenantId::from_uuid(row.try_get("tenant_id")?),
                id: row.try_get("registration_id")?,
                confirmed_at: Timestamp::from_millisecond(row.try_get("confirmed_ms")?).unwrap_or(Timestamp::MAX),
            },
            issuer: row.try_get("issuer")?,
            audience: row.try_get("audience")?,
            jwks_uri: row.try_get("jwks_uri")?,
            token_type: row.try_get("token_type")?,
            roles_claim: row.try_get("roles_claim")?,
            roles: row.try_get::<sqlx::types::Json<_>, _>("roles")?.0,
            employee_claim: row.try_get("employee_claim")?,
            max_lifetime: u64::try_from(row.try_get::<i64, _>("max_lifetime_s")?).unwrap_or_default().min(LONGEST_FOREIGN_LIFETIME),
            keys: Arc::default(),
        })
    }
}

type KeySet = HashMap<String, IssuerKey>;

/// The issuer's keys by `kid`, as it publishes them. A task fetches them; requests only look at what it brought.
#[derive(Default)]
struct IssuerKeys {
    known: RwLock<(Arc<KeySet>, Option<Instant>)>,
    fetches: Mutex<Fetches>,
}

/// When keys are fetched.
#[derive(Default)]
struct Fetches {
    under_way: bool,
    /// The next one for its own sake; `None` before the first.
    due: Option<Instant>,
    /// The next one because a token names a key that is not there.
    on_demand: Option<Instant>,
    failed_in_a_row: u32,
}

struct IssuerKey {
    algorithms: &'static [Algorithm],
    decoding: DecodingKey,
}

/// Between two fetches, whatever keys tokens name, and however often fetches fail.
const AT_MOST_EVERY: Duration = Duration::from_mins(1);
/// After the first fetch that failed; twice as long after each further one, up to [`AT_MOST_EVERY`].
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// After which keys are fetched again, so that a withdrawn one is forgotten; up to a fifth sooner, so that the issuers of many
/// tenants are not asked all at once.
const REFRESH: Duration = Duration::from_mins(10);
/// How old keys may be while the issuer is away.
const STALE: Duration = Duration::from_hours(1);
/// For one fetch. No request waits for it.
const FETCH: Duration = Duration::from_secs(5);
const MAX_JWKS: usize = 256 * 1024;
const MAX_KEYS: usize = 100;
/// Seconds that a foreign token may live at most, whatever its registration says: what is revoked stays void for longer.
pub const LONGEST_FOREIGN_LIFETIME: u64 = 86_400;
/// The shortest RSA modulus, in bytes: 2048 bits.
const MIN_RSA: usize = 256;

impl Trust {
    /// Whether the registration is the same; keys don't count.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let all = |t: &Self| {
            let texts = [&t.issuer, &t.audience, &t.jwks_uri, &t.token_type, &t.roles_claim].map(Clone::clone);
            (t.registration, texts, t.roles.clone(), t.employee_claim.clone(), t.max_lifetime)
        };
        all(self) == all(other)
    }
    /// Whether the token says that it is for this registration. Nothing is verified yet.
    fn is_meant(&self, claims: &UniqueMap) -> bool {
        match claims.0.get("aud") {
            Some(Value::String(audience)) => *audience == self.audience,
            Some(Value::Array(list)) => list.iter().any(|audience| audience == &self.audience),
            _ => false,
        }
    }
    /// Fetches the keys where that is due; to be called now and then.
    pub(super) fn keep_keys(&self) {
        self.keys.fetch_if_due(&self.jwks_uri, false);
    }
    /// The token's claims in our terms, if it is good. Waits for nobody: the issuer may be slow, and whoever sends the token may be
    /// anybody.
    pub(super) fn verify(&self, token: &str, head: &Head) -> Result<Claims, Refusal> {
        if head.typ.as_deref().unwrap_or("JWT") != self.token_type {
            return Err(Refusal::Invalid("a foreign token of another type"));
        }
        let kid = head.kid.as_deref().ok_or(Refusal::Invalid("a foreign token names no key"))?;
        let keys = self.keys.with(kid, &self.jwks_uri)?;
        let key = keys.get(kid).ok_or(Refusal::Invalid("the foreign key is unknown"))?;
        let algorithm: Algorithm = head.alg.parse().map_err(|_| Refusal::Invalid("a foreign token's algorithm is unknown"))?;
        if !key.algorithms.contains(&algorithm) {
            return Err(Refusal::Invalid("the algorithm is not the foreign key's"));
        }
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        let UniqueMap(claims) =
            jsonwebtoken::decode(token, &key.decoding, &validation).map_err(|error| Refusal::Invalid(reason_of(&error)))?.claims;
        self.check(token, &claims).map_err(Refusal::Invalid)
    }
    fn check(&self, token: &str, claims: &Map<String, Value>) -> Result<Claims, &'static str> {
        // Where all of an issuer's tokens are of one type, their claims tell what they are.
        if ["nonce", "at_hash", "c_hash", "s_hash", "events"].iter().any(|name| claims.contains_key(*name))
            || claims.get("typ").is_some_and(|typ| typ != "Bearer" && typ != "at+jwt")
            || claims.get("token_use").is_some_and(|usage| usage != "access")
        {
            return Err("a foreign token that is no access token");
        }
        if claims.contains_key("cnf") {
            return Err("a foreign token that is good only with a proof, which we don't check");
        }
        let text = |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| (1..=255).contains(&text.len()));
        let second = |name: &str| claims.get(name).and_then(Value::as_u64);
        let (Some(sub), Some(iat), Some(exp)) = (text("sub"), second("iat"), second("exp")) else {
            return Err("a foreign token lacks a claim, or it has another type");
        };
        let now = now();
        if text("iss") != Some(&self.issuer) || iat > now + LEEWAY || exp <= iat || exp - iat > self.max_lifetime || exp + LEEWAY <= now {
            return Err("a foreign token's issuer, or the time that it is good for");
        }
        match claims.get("nbf") {
            None => {}
            Some(Value::Number(nbf)) if nbf.as_u64().is_some_and(|nbf| nbf <= now + LEEWAY) => {}
            Some(_) => return Err("a foreign token is not valid yet"),
        }
        let employee_id = match self.employee_claim.as_deref().and_then(|path| at(claims, path)) {
            None => None,
            Some(Value::String(id)) if id.parse::<Uuid>().is_ok() => Some(id.clone()),
            Some(_) => return Err("a foreign token's employee is no UUID"),
        };
        let granted: Vec<&str> = match at(claims, &self.roles_claim) {
            Some(Value::String(role)) => role.split(' ').collect(),
            Some(Value::Array(roles)) => roles.iter().filter_map(Value::as_str).collect(),
            _ => vec![],
        };
        let mut roles: Vec<String> = granted.into_iter().filter_map(|role| self.roles.get(role).cloned()).collect();
        roles.sort_unstable();
        roles.dedup();
        // A foreign subject may be an e-mail address; events and logs get a digest.
        let digest = Sha256::digest(format!("{}\n{sub}", self.issuer));
        Ok(Claims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: format!("external:{}", HEXLOWER.encode(&digest[..16])),
            jti: text("jti").map_or_else(|| HEXLOWER.encode(&Sha256::digest(token)), str::to_owned),
            sid: None,
            iat,
            exp,
            nbf: None,
            tenant_id: None,
            tenant_slug: None,
            schema_name: None,
            roles,
            employee_id,
        })
    }
}

/// The registration that a token is for; none where it is for several, which may be different tenants'.
pub(super) fn the_one_meant<'t>(known: &'t [Arc<Trust>], claims: &UniqueMap) -> Option<&'t Arc<Trust>> {
    let mut meant = known.iter().filter(|trust| trust.is_meant(claims));
    meant.next().filter(|_| meant.next().is_none())
}

/// What stands at a path such as `realm_access.roles`; a claim whose own name has dots comes first.
fn at<'c>(claims: &'c Map<String, Value>, path: &str) -> Option<&'c Value> {
    claims.get(path).or_else(|| {
        let mut parts = path.split('.');
        let first = claims.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    })
}

impl IssuerKeys {
    /// The keys as they were fetched last. Where this one is not among them they are fetched again, at most once a minute; until
    /// they are there the issuer counts as away.
    fn with(self: &Arc<Self>, kid: &str, uri: &str) -> Result<Arc<KeySet>, Refusal> {
        let (keys, age) = self.current();
        let usable = age.is_some_and(|age| age < STALE);
        if usable && keys.contains_key(kid) {
            return Ok(keys);
        }
        let under_way = self.fetch_if_due(uri, true);
        if usable && !under_way { Ok(keys) } else { Err(Refusal::IssuerAway) }
    }
    fn current(&self) -> (Arc<KeySet>, Option<Duration>) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        (known.0.clone(), known.1.map(|at| at.elapsed()))
    }
    /// Starts a fetch by a task of its own if it is time for one; whether one is under way now. One at a time.
    fn fetch_if_due(self: &Arc<Self>, uri: &str, on_demand: bool) -> bool {
        let now = Instant::now();
        let mut fetches = self.fetches();
        let due = |at: Option<Instant>| at.is_none_or(|at| at <= now);
        if !fetches.under_way && (due(fetches.due) || (on_demand && due(fetches.on_demand))) {
            fetches.under_way = true;
            let (keys, uri) = (self.clone(), uri.to_owned());
            tokio::spawn(async move {
                let fetched = tokio::spawn(async move { fetch(&uri).await }).await;
                keys.take(fetched.unwrap_or_else(|panicked| Err(panicked.into())));
            });
        }
        fetches.under_way
    }
    fn take(&self, fetched: anyhow::Result<KeySet>) {
        let now = Instant::now();
        let failed = match fetched {
            Ok(keys) => {
                *self.known.write().unwrap_or_else(PoisonError::into_inner) = (Arc::new(keys), Some(now));
                false
            }
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "an external issuer's keys can't be fetched");
                true
            }
        };
        let mut fetches = self.fetches();
        fetches.under_way = false;
        if failed {
            let wait = (TRY_AGAIN * 2_u32.saturating_pow(fetches.failed_in_a_row)).min(AT_MOST_EVERY);
            fetches.failed_in_a_row += 1;
            (fetches.due, fetches.on_demand) = (Some(now + a_bit_less(wait)), Some(now + a_bit_less(wait)));
        } else {
            fetches.failed_in_a_row = 0;
            (fetches.due, fetches.on_demand) = (Some(now + a_bit_less(REFRESH)), Some(now + AT_MOST_EVERY));
        }
    }
    fn fetches(&self) -> std::sync::MutexGuard<'_, Fetches> {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Four fifths of a time to all of it.
fn a_bit_less(time: Duration) -> Duration {
    time.mul_f64(1.0 - 0.2 * fastrand::f64())
}

async fn fetch(uri: &str) -> anyhow::Result<KeySet> {
    // No redirects: where keys come from is what the operator wrote down.
    let client = reqwest::Client::builder().timeout(FETCH).redirect(reqwest::redirect::Policy::none()).build()?;
    let mut response = client.get(uri).header("accept", "application/json").send().await?.error_for_status()?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_JWKS {
            bail!("the key set is longer than {MAX_JWKS} bytes");
        }
    }
    parse(&body)
}

/// What fuzzing drives.
#[cfg(fuzzing)]
pub(super) fn read(set: &[u8]) -> bool {
    parse(set).is_ok()
}

fn parse(body: &[u8]) -> anyhow::Result<KeySet> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(body).context("not a JSON Web Key Set")?;
    let mut keys = HashMap::new();
    // A key that is not for signatures, or of a kind that we don't know, is not there.
    for key in set.keys.into_iter().take(MAX_KEYS) {
        if key.get("use").is_some_and(|usage| usage != "sig") {
            continue;
        }
        let Ok(jwk) = serde_json::from_value::<Jwk>(key) else { continue };
        if let (Some(kid), Some(algorithms), Ok(decoding)) = (jwk.common.key_id.clone(), algorithms_of(&jwk), DecodingKey::from_jwk(&jwk)) {
            keys.insert(kid, IssuerKey { algorithms, decoding });
        }
    }
    Ok(keys)
}

/// The asymmetric algorithms that a key may be used with.
fn algorithms_of(jwk: &Jwk) -> Option<&'static [Algorithm]> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    #[expect(clippy::wildcard_enum_match_arm, reason = "foreign enums; what is not listed is refused")]
    match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) if URL_SAFE_NO_PAD.decode(&rsa.n).is_ok_and(|n| n.len() >= MIN_RSA) => {
            Some(&[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512])
        }
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => Some(&[Algorithm::ES256]),
            EllipticCurve::P384 => Some(&[Algorithm::ES384]),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(pair) if matches!(pair.curve, EllipticCurve::Ed25519) => Some(&[Algorithm::EdDSA]),
        _ => None,
    }
}

/// A JSON object in which no name stands twice.
pub(super) struct UniqueMap(pub(super) Map<String, Value>);

impl<'de> Deserialize<'de> for UniqueMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = UniqueMap;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<UniqueMap, A::Error> {
                let mut map = Map::new();
                while let Some((name, value)) = fields.next_entry::<String, Value>()? {
                    if map.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name stands twice"));
                    }
                }
                Ok(UniqueMap(map))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_claim_that_stands_twice_is_refused() {
        assert!(serde_json::from_str::<UniqueMap>(r#"{"a":1,"b":2}"#).is_ok());
        assert!(serde_json::from_str::<UniqueMap>(r#"{"a":1,"a":1}"#).is_err());
    }

    #[test]
    fn only_keys_that_can_sign_for_others_to_verify_are_taken() {
        let rsa = |bytes: usize| {
            use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
            json!({"kty": "RSA", "kid": format!("rsa{bytes}"), "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(vec![255; bytes])})
        };
        let okp = json!({"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        let mut encrypting = okp.clone();
        encrypting["use"] = "enc".into();
        encrypting["kid"] = "enc".into();
        let set =
            json!({"keys": [rsa(256), rsa(128), okp, encrypting, {"kty": "oct", "kid": "secret", "k": "c2VjcmV0"}, {"kty": "new"}, 7]});
        let mut kids: Vec<_> = parse(set.to_string().as_bytes()).unwrap().into_keys().collect();
        kids.sort_unstable();
        assert_eq!(kids, ["ed", "rsa256"]);
        assert!(parse(b"{}").is_err());
    }

    #[tokio::test]
    async fn keys_come_once_and_nobody_waits_for_them() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/jwks", listener.local_addr().unwrap());
        let (asked, mut heard) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let _ = client.read(&mut [0; 1024]).await;
                asked.send(()).unwrap();
                tokio::time::sleep(Duration::from_millis(200)).await;
                let body = r#"{"keys":[{"kty":"OKP","kid":"ed","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
                let _ = client.write_all(answer.as_bytes()).await;
            }
        });
        let keys = Arc::<IssuerKeys>::default();
        for kid in ["unknown", "ed", "unknown"] {
            assert!(matches!(keys.with(kid, &uri), Err(Refusal::IssuerAway)), "they are on their way");
        }
        heard.recv().await.unwrap();
        while keys.with("ed", &uri).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(keys.with("unknown", &uri).is_ok_and(|keys| !keys.contains_key("unknown")), "it has just been asked");
        assert!(heard.try_recv().is_err(), "asked once");
    }

    #[tokio::test(start_paused = true)]
    async fn an_issuer_that_fails_is_asked_more_and_more_rarely() {
        let keys = IssuerKeys::default();
        let mut last = Duration::ZERO;
        for _ in 0..40 {
            keys.take(Err(anyhow::anyhow!("away")));
            let wait = keys.fetches().on_demand.unwrap() - Instant::now();
            assert!(wait >= last.mul_f64(0.8) && (TRY_AGAIN.mul_f64(0.8)..=AT_MOST_EVERY).contains(&wait), "{wait:?}");
            last = wait;
        }
        assert!(last >= AT_MOST_EVERY.mul_f64(0.8));
        keys.take(Ok(KeySet::new()));
        assert_eq!(keys.fetches().on_demand.unwrap() - Instant::now(), AT_MOST_EVERY);
        assert_eq!(keys.fetches().failed_in_a_row, 0);
    }

    fn trust(audience: &str) -> Trust {
        Trust {
            registration: Registration {
                tenant: TenantId::from_uuid(Uuid::from_u128(7)),
                id: Uuid::from_u128(8),
                confirmed_at: Timestamp::UNIX_EPOCH,
            },
            issuer: "https://id.example".into(),
            audience: audience.into(),
            jwks_uri: String::new(),
            token_type: "JWT".into(),
            roles_claim: "roles".into(),
            roles: BTreeMap::from([("x".to_owned(), "hr".to_owned())]),
            employee_claim: None,
            max_lifetime: 3600,
            keys: Arc::default(),
        }
    }

    #[test]
    fn only_access_tokens_are_taken() {
        let claims = |extra: Value| {
            let mut claims = json!({"iss": "https://id.example", "aud": "hr", "sub": "s", "iat": now(), "exp": now() + 60, "roles": ["x"]});
            claims.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            trust("hr").check("t", claims.as_object().unwrap())
        };
        for good in [json!({}), json!({"typ": "Bearer"}), json!({"token_use": "access"}), json!({"azp": "console"})] {
            assert_eq!(claims(good).unwrap().roles, ["hr"]);
        }
        for bad in [
            json!({"nonce": "n"}),
            json!({"at_hash": "h"}),
            json!({"c_hash": "h"}),
            json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}),
            json!({"typ": "ID"}),
            json!({"typ": "Refresh"}),
            json!({"typ": "DPoP"}),
            json!({"token_use": "id"}),
            json!({"cnf": {"jkt": "k"}}),
        ] {
            assert!(claims(bad.clone()).is_err(), "{bad}");
        }
        let [one, other] = ["1", "2"].map(|token| trust("hr").check(token, claims_of()).unwrap().jti);
        assert_ne!(one, other, "a token without an id has one of its own");
    }
    fn claims_of() -> &'static Map<String, Value> {
        static CLAIMS: std::sync::LazyLock<Value> =
            std::sync::LazyLock::new(|| json!({"iss": "https://id.example", "sub": "s", "iat": now(), "exp": now() + 60}));
        CLAIMS.as_object().unwrap()
    }

    #[test]
    fn a_token_lives_as_long_as_its_registration_says() {
        for (allowed, lives, good) in [
            (3600, 3600, true),
            (3600, 3601, false),
            (5400, 5400, true),
            (5400, 5401, false),
            (60, 60, true),
            (60, 61, false),
            (86_400, 86_400, true),
            (86_400, 86_401, false),
        ] {
            let trust = Trust { max_lifetime: allowed, ..trust("hr") };
            // Whether it is young or about to end.
            for age in [0, lives - 30] {
                let iat = now() - age;
                let claims = json!({"iss": "https://id.example", "sub": "s", "iat": iat, "exp": iat + lives});
                assert_eq!(trust.check("t", claims.as_object().unwrap()).is_ok(), good, "{lives} of {allowed} s, {age} s old");
            }
        }
    }

    #[test]
    fn a_token_for_two_tenants_is_for_none() {
        let known = [trust("a"), trust("b")].map(Arc::new);
        let meant = |audience: Value| {
            let Value::Object(claims) = json!({ "aud": audience }) else { panic!() };
            the_one_meant(&known, &UniqueMap(claims)).map(|trust| trust.audience.clone())
        };
        assert_eq!(meant(json!("a")), Some("a".into()));
        assert_eq!(meant(json!(["x", "b"])), Some("b".into()));
        assert_eq!(meant(json!(["a", "b"])), None);
        assert_eq!(meant(json!(["x"])), None);
    }

    #[test]
    fn a_path_leads_into_a_claim() {
        let Value::Object(claims) = json!({"a": {"b": [1]}, "x.y": 2}) else { panic!() };
        assert_eq!(at(&claims, "a.b"), Some(&json!([1])));
        assert_eq!(at(&claims, "x.y"), Some(&json!(2)));
        assert_eq!(at(&claims, "a.c"), None);
    }
}
