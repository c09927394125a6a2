//! Stream names: `{namespace}.{category}-{id}`. Built only from a [`TenantScope`] and a typed id.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{EmployeeId, TenantId, TenantScope};

/// The kinds of stream, one per kind of aggregate. The name is part of stored data: add, never rename.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// A tenant in the platform's own log; the id is the tenant's.
    Tenancy,
    /// A tenant's departments, locations and jobs; one stream, its id is the tenant's.
    Organization,
    /// One person's employments; the id is the [`EmployeeId`].
    Employee,
}

impl Category {
    /// All of them, in reading order.
    pub const ALL: [Self; 3] = [Self::Tenancy, Self::Organization, Self::Employee];

    /// The written form: lower-case letters only, so it is safe in a stream name and in a subject.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tenancy => "tenancy",
            Self::Organization => "organization",
            Self::Employee => "employee",
        }
    }
}
impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
impl FromStr for Category {
    type Err = InvalidStreamName;
    fn from_str(text: &str) -> Result<Self, InvalidStreamName> {
        Self::ALL.into_iter().find(|c| c.name() == text).ok_or(InvalidStreamName)
    }
}

/// Text that is not a stream name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a stream name is {{namespace}}.{{category}}-{{uuid}}")]
pub struct InvalidStreamName;

/// The name of one aggregate's stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName {
    tenant: TenantId,
    category: Category,
    id: Uuid,
}

impl StreamName {
    /// The stream of one person.
    pub const fn employee(scope: TenantScope, id: EmployeeId) -> Self {
        Self { tenant: scope.tenant(), category: Category::Employee, id: id.uuid() }
    }
    /// The stream of the tenant's organization.
    pub const fn organization(scope: TenantScope) -> Self {
        Self { tenant: scope.tenant(), category: Category::Organization, id: scope.tenant().uuid() }
    }
    /// The stream that records one tenant, in the platform's own log.
    pub const fn tenancy(tenant: TenantId) -> Self {
        Self { tenant: TenantId::PLATFORM, category: Category::Tenancy, id: tenant.uuid() }
    }
    /// Reassembles a name from stored parts; for the store's adapters only, which have compared whose they are.
    pub const fn from_parts(tenant: TenantId, category: Category, id: Uuid) -> Self {
        Self { tenant, category, id }
    }
    /// Reads a name as it was written. It proves no right to the tenant it names: for what compares that with whom it asked
    /// for, the store's adapters and the feed.
    pub fn from_written(text: &str) -> Result<Self, InvalidStreamName> {
        let (tenant, rest) = text.split_once('.').ok_or(InvalidStreamName)?;
        let (category, id) = rest.split_once('-').ok_or(InvalidStreamName)?;
        Ok(Self {
            tenant: tenant.parse().map_err(|_| InvalidStreamName)?,
            category: category.parse()?,
            id: crate::ids::parse_uuid("stream id", id).map_err(|_| InvalidStreamName)?,
        })
    }
    /// The tenant whose log holds the stream.
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }
    /// The kind of aggregate.
    pub const fn category(&self) -> Category {
        self.category
    }
    /// The aggregate's id.
    pub const fn id(&self) -> Uuid {
        self.id
    }
}
impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}-{}", self.tenant, self.category, self.id)
    }
}
impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamName({self})")
    }
}
impl Serialize for StreamName {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for StreamName {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::from_written(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_the_round_trip_and_nothing_else_parses() {
        let scope = TenantScope::checked(TenantId::PLATFORM);
        let name = StreamName::employee(scope, EmployeeId::from_uuid(Uuid::max()));
        assert_eq!(StreamName::from_written(&name.to_string()).unwrap(), name);
        let text = name.to_string();
        for bad in [text.replace("employee", "Employee"), text.replace('.', ".."), format!("{text} "), text.replace("employee", "hr.*")] {
            assert!(StreamName::from_written(&bad).is_err(), "{bad}");
        }
    }
}
