//! Who asks, for which tenant, with what right. Handlers get an [`Actor`] only through the [`Gate`], which makes the
//! checks in the order of DESIGN: size, token, tenant, subscription, role.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use events::{TenantId, TenantScope};
use http::request::Parts;
use secrecy::SecretString;
use sqlx::PgPool;

use crate::{Config, Keys, Problem, Registry, Tenant};

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

/// Verifies tokens and resolves tenants.
#[derive(Clone)]
pub struct Gate;

impl Gate {
    /// A gate over the platform's verification keys (followed in the database) and tenants.
    pub async fn start(_config: &Config, _pool: PgPool, _registry: Registry) -> anyhow::Result<Self> {
        todo!()
    }
    /// All checks up to the subscription, for a request's head.
    pub async fn admit(&self, _parts: &Parts) -> Result<Actor, Problem> {
        todo!()
    }
    /// The public keys as a JSON Web Key Set (RFC 7517).
    pub fn jwks(&self) -> serde_json::Value {
        todo!()
    }
}

macro_rules! extractors {
    ($($name:ident)+) => {$(
        impl<S: Send + Sync> FromRequestParts<S> for $name where Gate: FromRef<S> {
            type Rejection = Problem;
            async fn from_request_parts(_parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
                todo!()
            }
        }
    )+};
}
extractors! { Reader Editor Operator }

/// What to put into a token.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// The subject; opaque.
    pub subject: String,
    /// The tenant.
    pub tenant: TenantId,
    /// Its slug.
    pub slug: String,
    /// What it grants.
    pub roles: Vec<Role>,
    /// How long it lives, in seconds; at most 600, or 86,400 for `tenure up`'s demo on loopback.
    pub lifetime_s: u64,
}

/// Issues tokens: the local issuer. Keys stand in `platform.signing_key`, wrapped by the master key.
pub struct Issuer;

impl Issuer {
    /// Loads the newest signing key, or makes the first one.
    pub async fn open(_config: &Config, _pool: &PgPool, _keys: &Keys) -> anyhow::Result<Self> {
        todo!()
    }
    /// A signed access token, `typ: at+jwt`.
    pub fn issue(&self, _request: &TokenRequest) -> anyhow::Result<SecretString> {
        todo!()
    }
}
