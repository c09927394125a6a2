//! Strict verification of access tokens (RFC 9068, RFC 8725). What a token may look like is written down here and
//! everything else is refused; the library checks the signature.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgPool;
use tokio::{sync::watch, time::Instant};

use crate::Config;

/// What a token says. All but the tenant's claims must be there and of the right type; a claim that stands twice does
/// not parse.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) aud: String,
    pub(super) sub: String,
    pub(super) jti: String,
    pub(super) iat: u64,
    pub(super) exp: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) nbf: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) tenant_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) tenant_slug: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) schema_name: Option<String>,
    pub(super) roles: Vec<String>,
}

/// The only header that is taken: no `crit`, no `jku`, `jwk`, `x5u` or anything else that points to a key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    typ: String,
    alg: SigningAlgorithm,
    kid: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum SigningAlgorithm {
    EdDSA,
    ES256,
}

/// The media type of an access token; an ID token or a refresh token has another.
pub(super) const TYPE: &str = "at+jwt";

pub(super) enum Refusal {
    /// For the audit log only.
    Invalid(&'static str),
    /// The keys could not be read for too long; what can't be checked is refused (I8).
    KeysUnknown,
}

#[derive(Clone)]
pub(super) struct VerificationKey {
    algorithm: SigningAlgorithm,
    public: Vec<u8>,
    decoding: DecodingKey,
}

impl VerificationKey {
    pub(super) fn new(algorithm: &str, public: Vec<u8>) -> anyhow::Result<Self> {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (algorithm, decoding) = match (algorithm, public.len()) {
            ("EdDSA", 32) => (SigningAlgorithm::EdDSA, DecodingKey::from_ed_components(&encode(&public))?),
            ("ES256", 65) => (SigningAlgorithm::ES256, DecodingKey::from_ec_components(&encode(&public[1..33]), &encode(&public[33..]))?),
            _ => anyhow::bail!("not a public key of {algorithm}"),
        };
        Ok(Self { algorithm, public, decoding })
    }
    fn jwk(&self, kid: &str) -> serde_json::Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self.algorithm {
            SigningAlgorithm::EdDSA => {
                json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": encode(&self.public)})
            }
            SigningAlgorithm::ES256 => {
                json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid, "x": encode(&self.public[1..33]), "y": encode(&self.public[33..])})
            }
        }
    }
}

type KeySet = HashMap<String, VerificationKey>;

/// What tokens are checked against.
pub(super) struct Expected {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) max_lifetime: u64,
}

pub(super) struct Verifier {
    expected: Expected,
    keys: watch::Receiver<(Arc<KeySet>, Instant)>,
}

/// How often the keys are read: a retired key is refused within five seconds.
const INTERVAL: Duration = Duration::from_secs(1);
const READ: Duration = Duration::from_secs(2);
/// How old the keys may be while the database is away.
const STALE: Duration = Duration::from_secs(15);
/// Between clocks, in seconds.
const LEEWAY: u64 = 5;

impl Verifier {
    pub(super) async fn start(config: &Config, pool: PgPool) -> anyhow::Result<Arc<Self>> {
        let expected =
            Expected { issuer: config.issuer.clone(), audience: config.audience.clone(), max_lifetime: config.token_max_lifetime };
        let keys = read_keys(&pool).await.context("reading the signing keys")?;
        let (sender, receiver) = watch::channel((Arc::new(keys), Instant::now()));
        tokio::spawn(async move {
            while !sender.is_closed() {
                tokio::time::sleep(INTERVAL).await;
                match tokio::time::timeout(READ, read_keys(&pool)).await {
                    Ok(Ok(keys)) => drop(sender.send((Arc::new(keys), Instant::now()))),
                    Ok(Err(error)) => tracing::warn!(error = format!("{error:#}"), "the signing keys can't be read"),
                    Err(_) => tracing::warn!("the signing keys can't be read in time"),
                }
            }
        });
        Ok(Arc::new(Self { expected, keys: receiver }))
    }
    #[cfg(test)]
    pub(super) fn fixed(expected: Expected, keys: KeySet) -> Arc<Self> {
        Arc::new(Self { expected, keys: watch::channel((Arc::new(keys), Instant::now())).1 })
    }
    pub(super) fn is_fresh(&self) -> bool {
        self.keys.borrow().1.elapsed() < STALE
    }
    pub(super) fn jwks(&self) -> serde_json::Value {
        let keys = self.keys.borrow().0.clone();
        let mut list: Vec<_> = keys.iter().collect();
        list.sort_by_key(|(kid, _)| *kid);
        json!({ "keys": list.into_iter().map(|(kid, key)| key.jwk(kid)).collect::<Vec<_>>() })
    }

    /// The claims of a valid access token.
    pub(super) fn verify(&self, token: &str) -> Result<Claims, Refusal> {
        if !self.is_fresh() {
            return Err(Refusal::KeysUnknown);
        }
        let invalid = |reason| Refusal::Invalid(reason);
        let mut parts = token.split('.');
        let (Some(head), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(invalid("not a signed JWT"));
        };
        let head = URL_SAFE_NO_PAD.decode(head).map_err(|_| invalid("the header is not base64url"))?;
        let header: Header = serde_json::from_slice(&head).map_err(|_| invalid("the header is not that of an access token"))?;
        if header.typ != TYPE {
            return Err(invalid("the type is not at+jwt"));
        }
        let key = self.keys.borrow().0.get(&header.kid).cloned().ok_or_else(|| invalid("the key is unknown or retired"))?;
        if key.algorithm != header.alg {
            return Err(invalid("the algorithm is not the key's"));
        }
        let algorithm = match key.algorithm {
            SigningAlgorithm::EdDSA => Algorithm::EdDSA,
            SigningAlgorithm::ES256 => Algorithm::ES256,
        };
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["iss", "aud", "exp", "sub"]);
        validation.set_issuer(&[&self.expected.issuer]);
        validation.set_audience(&[&self.expected.audience]);
        let claims = jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation).map_err(|error| invalid(reason_of(&error)))?.claims;
        self.check(&claims).map_err(invalid)?;
        Ok(claims)
    }

    /// What the library does not check, or only where the claim is there.
    fn check(&self, claims: &Claims) -> Result<(), &'static str> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if claims.iss != self.expected.issuer || claims.aud != self.expected.audience {
            return Err("another issuer or audience");
        }
        if claims.iat > now + LEEWAY {
            return Err("issued in the future");
        }
        if claims.exp <= claims.iat || claims.exp - claims.iat > self.expected.max_lifetime {
            return Err("lives too long");
        }
        if claims.exp + LEEWAY <= now {
            return Err("expired");
        }
        if claims.nbf.is_some_and(|nbf| nbf > now + LEEWAY) {
            return Err("not valid yet");
        }
        if claims.sub.is_empty() || claims.sub.len() > 255 || claims.jti.is_empty() || claims.jti.len() > 255 {
            return Err("no subject or id");
        }
        Ok(())
    }
}

fn reason_of(error: &jsonwebtoken::errors::Error) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    #[allow(clippy::wildcard_enum_match_arm)] // for the audit log; the rest needs no distinction
    match error.kind() {
        ErrorKind::InvalidSignature => "the signature does not verify",
        ErrorKind::ExpiredSignature => "expired",
        ErrorKind::ImmatureSignature => "not valid yet",
        ErrorKind::InvalidIssuer => "another issuer",
        ErrorKind::InvalidAudience => "another audience",
        ErrorKind::MissingRequiredClaim(_) => "a claim is missing",
        ErrorKind::Json(_) => "a claim is missing, doubled or of the wrong type",
        _ => "not a valid JWT",
    }
}

async fn read_keys(pool: &PgPool) -> anyhow::Result<KeySet> {
    let rows: Vec<(String, String, Vec<u8>)> =
        sqlx::query_as("select kid, algorithm, public_key from platform.signing_key where retired_at is null").fetch_all(pool).await?;
    let mut keys = KeySet::new();
    for (kid, algorithm, public) in rows {
        match VerificationKey::new(&algorithm, public) {
            Ok(key) => drop(keys.insert(kid, key)),
            Err(error) => tracing::error!(kid, %error, "a signing key can't be read; its tokens are refused"),
        }
    }
    Ok(keys)
}
