//! Keys, kept apart from events: per-person data keys and per-tenant claim keys, wrapped by the master key.

use std::collections::HashMap;

use events::{EmployeeId, PersonKey, TenantScope};
use sqlx::PgPool;

use crate::Config;

/// The key store could not answer, or a key did not unwrap.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The database is away.
    #[error("the key store is unavailable: {0}")]
    Unavailable(String),
    /// A wrapped key does not open: altered, or another master key.
    #[error("a key does not unwrap with this master key")]
    DoesNotUnwrap,
}

/// The key store. Cheap to clone; keys are cached for a bounded time and number.
#[derive(Clone)]
pub struct Keys;

impl Keys {
    /// Opens the key store with the master key that the config names.
    pub async fn open(_config: &Config, _pool: PgPool) -> anyhow::Result<Self> {
        todo!()
    }
    /// The key of a person; none once destroyed or where there never was one.
    pub async fn person(&self, _scope: TenantScope, _person: EmployeeId) -> Result<Option<PersonKey>, KeyError> {
        todo!()
    }
    /// The keys of many people in one round trip.
    pub async fn people(&self, _scope: TenantScope, _people: &[EmployeeId]) -> Result<HashMap<EmployeeId, PersonKey>, KeyError> {
        todo!()
    }
    /// The key of a person, made durable before it is returned if there was none. Concurrent calls are written
    /// together, and all get the same key.
    pub async fn person_or_create(&self, _scope: TenantScope, _person: EmployeeId) -> Result<PersonKey, KeyError> {
        todo!()
    }
    /// HMAC-SHA256 of `kind` and `value` under the tenant's claim key (made when the tenant is provisioned).
    pub async fn claim_digest(&self, _scope: TenantScope, _kind: &str, _value: &str) -> Result<[u8; 32], KeyError> {
        todo!()
    }
}
