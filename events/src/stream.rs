//! Stream names: `{namespace}.{category}-{id}`. Built only from a [`TenantScope`] and a typed id.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{TenantId, TenantScope, kinds};

macro_rules! category {
    ($($(#[$doc:meta])* $Kind:ident = $name:literal in $($module:ident)::+;)+) => {
        /// The kinds of stream, one per kind of aggregate.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Category {
            $($(#[$doc])* $Kind,)+
        }

        impl Category {
            /// All of them, in reading order.
            pub const ALL: [Self; [$(stringify!($Kind)),+].len()] = [$(Self::$Kind),+];

            /// The written form: lower-case letters only, so it is safe in a stream name and in a subject.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$Kind => $name),+ }
            }
            /// The path of the kind's module in every crate.
            pub const fn module(self) -> &'static str {
                match self { $(Self::$Kind => stringify!($($module)::+)),+ }
            }
        }
    };
}
kinds!(category);

impl Category {
    /// The name of the capability that the kind belongs to.
    pub fn capability(self) -> &'static str {
        self.module().split_once("::").map_or(self.module(), |(capability, _)| capability.trim_end())
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
    /// The stream of an aggregate of the tenant's; each kind has a constructor of its own, typed by its id, which calls this.
    pub(crate) const fn of_tenant(scope: TenantScope, category: Category, id: Uuid) -> Self {
        Self { tenant: scope.tenant(), category, id }
    }
    /// The same in the platform's own log.
    pub(crate) const fn of_platform(category: Category, id: Uuid) -> Self {
        Self { tenant: TenantId::PLATFORM, category, id }
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
            // A name is stored as it is written, so it has one spelling.
            id: crate::ids::parse_uuid("stream id", id)
                .ok()
                .filter(|_| !id.bytes().any(|b| b.is_ascii_uppercase()))
                .ok_or(InvalidStreamName)?,
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
    use crate::EmployeeId;

    #[test]
    fn categories_are_lower_case_letters_and_differ() {
        for category in Category::ALL {
            assert!(!category.name().is_empty() && category.name().bytes().all(|b| b.is_ascii_lowercase()), "{category}");
            assert_eq!(category.name().parse(), Ok(category), "two kinds have the category {category}");
            assert!(crate::CAPABILITIES.contains(&category.capability()), "{category}");
        }
    }

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
