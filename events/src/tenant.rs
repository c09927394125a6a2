//! Which tenant: the immutable [`TenantId`], its written form (the *namespace*), and the [`TenantScope`] that proves
//! somebody checked.

use std::{fmt, str::FromStr};

use data_encoding::{Encoding, Specification};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A tenant's immutable, opaque identity: a UUIDv7, written as 26 lower-case base32 characters (RFC 4648 alphabet,
/// no padding). That spelling is the tenant's *namespace*: it starts its stream names, subjects, schemas and roles.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, utoipa::ToSchema)]
#[schema(value_type = String, min_length = 26, max_length = 26, pattern = "^[a-z2-7]{26}$")]
pub struct TenantId(Uuid);

/// Text that is not a tenant's namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a tenant id is 26 characters out of a-z and 2-7")]
pub struct InvalidTenantId;

fn base32() -> &'static Encoding {
    static ENCODING: std::sync::LazyLock<Encoding> = std::sync::LazyLock::new(|| {
        let mut spec = Specification::new();
        spec.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
        spec.encoding().expect("32 distinct symbols make an encoding")
    });
    &ENCODING
}

impl TenantId {
    /// The platform's own tenant, which records all others. Its namespace is 26 times `a`: the nil UUID.
    pub const PLATFORM: Self = Self(Uuid::nil());

    /// The tenant with this value; use where it was already a tenant id (a column, a key).
    pub const fn from_uuid(value: Uuid) -> Self {
        Self(value)
    }
    /// The id as a UUID, for binary columns.
    pub const fn uuid(self) -> Uuid {
        self.0
    }
    /// The 26-character namespace.
    pub fn namespace(self) -> String {
        base32().encode(self.0.as_bytes())
    }
}

impl From<TenantId> for Uuid {
    fn from(id: TenantId) -> Self {
        id.0
    }
}
impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.namespace())
    }
}
impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({})", self.namespace())
    }
}
impl FromStr for TenantId {
    type Err = InvalidTenantId;
    fn from_str(text: &str) -> Result<Self, InvalidTenantId> {
        if text.len() != 26 {
            return Err(InvalidTenantId);
        }
        // The encoding refuses foreign symbols, upper case and non-zero trailing bits: one spelling per tenant.
        let bytes = base32().decode(text.as_bytes()).map_err(|_| InvalidTenantId)?;
        Uuid::from_slice(&bytes).map(Self).map_err(|_| InvalidTenantId)
    }
}
impl Serialize for TenantId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.namespace())
    }
}
impl<'de> Deserialize<'de> for TenantId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The right to touch one tenant's data, held as a value.
///
/// Streams, logs and tenant transactions can be named only with one of these, so a function without a scope in its
/// arguments can't reach tenant data. [`TenantScope::checked`] is called where a check was made and nowhere else;
/// a repository rule lists those places.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TenantScope(TenantId);

impl TenantScope {
    /// Vouches that the caller checked the right to this tenant (a verified token, a job's signed context, the
    /// relay's or projector's own partition).
    pub const fn checked(tenant: TenantId) -> Self {
        Self(tenant)
    }
    /// The tenant in scope.
    pub const fn tenant(self) -> TenantId {
        self.0
    }
}
impl fmt::Debug for TenantScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantScope({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_names_exactly_one_tenant() {
        let id = TenantId::from_uuid("0190a7b2-6c3e-7def-8000-0123456789ab".parse().unwrap());
        let ns = id.namespace();
        assert_eq!(ns.len(), 26);
        assert_eq!(ns.parse::<TenantId>().unwrap(), id);
        assert_eq!(TenantId::PLATFORM.namespace(), "a".repeat(26));
        // The last character carries 3 bits only; another spelling of the same bytes must not pass.
        assert!(format!("{}b", "a".repeat(25)).parse::<TenantId>().is_err());
        for bad in ["", &ns.to_uppercase(), &ns[..25], &format!("{ns}a"), "public", &ns.replace(&ns[0..1], "*")] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad:?}");
        }
    }
}
