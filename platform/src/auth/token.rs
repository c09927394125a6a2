//! Strict verification of access tokens (RFC 9068, RFC 8725). What a token may look like is written down here and
//! everything else is refused; the library checks the signature.

use std::{
    borrow::Cow,
    fmt,
    marker::PhantomData,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use events::EmployeeId;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeSeed, Error as _, IntoDeserializer as _, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::json;
use sqlx::PgPool;

#[cfg(any(test, fuzzing))]
use super::known::KeySet;
use super::{
    external::{Registration, UniqueMap, the_one_meant},
    known::{Following, VerificationData},
};
use crate::Config;

/// What a token says. All but the tenant's claims must be there and of the right type; others are not looked at.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) aud: String,
    pub(super) sub: String,
    pub(super) jti: String,
    /// The log-in that it came of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) sid: Option<String>,
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
    /// The person that the subject is, where they are employed by the tenant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) employee_id: Option<String>,
}

impl Claims {
    /// The person that the subject is.
    pub(super) fn employee(&self) -> Option<EmployeeId> {
        self.employee_id.as_deref().and_then(|id| id.parse().ok())
    }
}

/// What a JSON object holds in which no name stands twice, known or not.
struct Distinct<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Distinct<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = Distinct<T>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Distinct<T>, A::Error> {
                let fields = DistinctFields { fields, names: Vec::with_capacity(16) };
                T::deserialize(MapAccessDeserializer::new(fields)).map(Distinct)
            }
        }
        deserializer.deserialize_map(Object(PhantomData))
    }
}

#[derive(Deserialize, PartialEq)]
struct FieldName<'n>(#[serde(borrow)] Cow<'n, str>);

struct DistinctFields<'de, A> {
    fields: A,
    /// Those that were there.
    names: Vec<FieldName<'de>>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for DistinctFields<'de, A> {
    type Error = A::Error;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let Some(name) = self.fields.next_key::<FieldName>()? else { return Ok(None) };
        if self.names.contains(&name) {
            return Err(A::Error::custom("a name stands twice"));
        }
        let key = seed.deserialize(name.0.as_ref().into_deserializer())?;
        self.names.push(name);
        Ok(Some(key))
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.fields.next_value_seed(seed)
    }
}

/// The only header that is taken: no `crit`, no `jku`, `jwk`, `x5u` or anything else that points to a key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) typ: Option<String>,
    pub(super) alg: String,
    pub(super) kid: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// An external issuer's keys can't be had.
    IssuerAway,
}

#[derive(Clone)]
pub(super) struct VerificationKey {
    algorithm: SigningAlgorithm,
    public: Vec<u8>,
    decoding: DecodingKey,
}

impl SigningAlgorithm {
    const fn name(self) -> &'static str {
        match self {
            Self::EdDSA => "EdDSA",
            Self::ES256 => "ES256",
        }
    }
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

/// What tokens are checked against.
pub(super) struct Expected {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) max_lifetime: u64,
}

pub(super) struct Verifier {
    expected: Expected,
    known: Following,
}

/// A verified token's claims, and by which registration it was taken where another issuer made it.
pub(super) struct Verified {
    pub(super) claims: Claims,
    pub(super) external: Option<Registration>,
}

/// Between clocks, in seconds.
pub(super) const LEEWAY: u64 = 5;

impl Verifier {
    pub(super) async fn start(config: &Config, pool: PgPool) -> anyhow::Result<Arc<Self>> {
        let expected =
            Expected { issuer: config.issuer.clone(), audience: config.audience.clone(), max_lifetime: config.token_max_lifetime };
        Ok(Arc::new(Self { expected, known: Following::start(pool).await? }))
    }
    #[cfg(any(test, fuzzing))]
    pub(super) fn fixed(expected: Expected, keys: KeySet) -> Arc<Self> {
        Arc::new(Self { expected, known: Following::fixed(VerificationData { keys, ..VerificationData::default() }) })
    }
    pub(super) fn is_fresh(&self) -> bool {
        self.known.is_fresh()
    }
    pub(super) fn known(&self) -> Arc<VerificationData> {
        self.known.now()
    }
    pub(super) fn jwks(&self) -> serde_json::Value {
        let known = self.known.now();
        let mut list: Vec<_> = known.keys.iter().collect();
        list.sort_by_key(|(kid, _)| *kid);
        json!({ "keys": list.into_iter().map(|(kid, key)| key.jwk(kid)).collect::<Vec<_>>() })
    }

    /// The claims of a valid access token, of ours or of an issuer that a tenant trusts. Revocation is the caller's to
    /// check, who knows the tenant.
    pub(super) fn verify(&self, token: &str) -> Result<Verified, Refusal> {
        if !self.is_fresh() {
            return Err(Refusal::KeysUnknown);
        }
        let known = self.known.now();
        let mut parts = token.split('.');
        let (Some(head), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(Refusal::Invalid("not a signed JWT"));
        };
        let decode = |part| URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Invalid("the token is not base64url"));
        let head: Head =
            serde_json::from_slice(&decode(head)?).map_err(|_| Refusal::Invalid("the header is not that of an access token"))?;
        if let Some(key) = head.kid.as_ref().and_then(|kid| known.keys.get(kid)) {
            let claims = self.verify_own(token, &head, key).map_err(Refusal::Invalid)?;
            return Ok(Verified { claims, external: None });
        }
        let unknown = || Refusal::Invalid("the key is unknown or retired");
        if known.issuers.is_empty() {
            return Err(unknown());
        }
        // Not verified yet: says only whose keys to ask for.
        let says: UniqueMap = serde_json::from_slice(&decode(payload)?).map_err(|_| Refusal::Invalid("the claims are no object"))?;
        let issuer = says.0.get("iss").and_then(serde_json::Value::as_str).unwrap_or_default();
        let trust = known.issuers.get(issuer).and_then(|list| the_one_meant(list, &says)).ok_or_else(unknown)?;
        Ok(Verified { claims: trust.verify(token, &head)?, external: Some(trust.registration) })
    }

    fn verify_own(&self, token: &str, head: &Head, key: &VerificationKey) -> Result<Claims, &'static str> {
        if head.typ.as_deref() != Some(TYPE) {
            return Err("the type is not at+jwt");
        }
        if key.algorithm.name() != head.alg {
            return Err("the algorithm is not the key's");
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
        let Distinct(claims) =
            jsonwebtoken::decode::<Distinct<Claims>>(token, &key.decoding, &validation).map_err(|error| reason_of(&error))?.claims;
        self.check(&claims)?;
        Ok(claims)
    }

    /// What the library does not check, or only where the claim is there.
    fn check(&self, claims: &Claims) -> Result<(), &'static str> {
        let now = now();
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
        if claims.employee_id.as_ref().is_some_and(|id| id.parse::<EmployeeId>().is_err()) {
            return Err("the employee is no UUID");
        }
        Ok(())
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

pub(super) fn reason_of(error: &jsonwebtoken::errors::Error) -> &'static str {
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
