//! Typed identifiers. Each is a UUID on the wire (`"0190…"`, 36 characters) and never carries meaning.
//!
//! Ids that a person could choose (slugs, codes, employee numbers) are data, not ids, and stand in events.

use uuid::Uuid;

/// An identifier that is not a UUID in its canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be a UUID in its canonical 36-character form")]
pub struct InvalidId {
    /// The kind of id that was expected, for the error message.
    pub what: &'static str,
}

pub(crate) fn parse_uuid(what: &'static str, text: &str) -> Result<Uuid, InvalidId> {
    // `Uuid::parse_str` also takes braces, URNs and the undashed form. Capitals are the same id (RFC 9562, section 4).
    if text.len() != 36 {
        return Err(InvalidId { what });
    }
    Uuid::try_parse(text).map_err(|_| InvalidId { what })
}

/// Declares ids. Those of one capability may stand in its module.
macro_rules! typed_ids {
    ($($(#[$doc:meta])* $name:ident = $what:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, utoipa::ToSchema)]
        #[schema(value_type = String, format = Uuid)]
        #[serde(transparent)]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// The id as a UUID, for binary columns and keys.
            pub const fn uuid(self) -> uuid::Uuid { self.0 }
            /// The id with this value; use where the value was already an id of this kind (a column, a key).
            pub const fn from_uuid(value: uuid::Uuid) -> Self { Self(value) }
            /// An id computed from a parent id and a name (UUIDv5): the same inputs give the same id for ever.
            pub fn derive(parent: uuid::Uuid, name: &str) -> Self { Self(uuid::Uuid::new_v5(&parent, name.as_bytes())) }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { self.0.fmt(f) }
        }
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, concat!(stringify!($name), "({})"), self.0) }
        }
        impl From<$name> for uuid::Uuid {
            fn from(id: $name) -> Self { id.0 }
        }
        impl std::str::FromStr for $name {
            type Err = $crate::InvalidId;
            fn from_str(text: &str) -> Result<Self, $crate::InvalidId> { $crate::ids::parse_uuid($what, text).map(Self) }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize<'de>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}
pub(crate) use typed_ids;

typed_ids! {
    /// One event. Derived from its command and its place among that command's events.
    EventId = "event id";
    /// One command; the tenant's `Idempotency-Key` maps to exactly one.
    CommandId = "command id";
    /// Everything that one request from outside caused.
    CorrelationId = "correlation id";
    /// A person, as the owner of a key: an employee, a candidate, a dependant. Whoever is several of them has an id for each.
    PersonId = "person id";
}

#[cfg(test)]
mod tests {
    use crate::EmployeeId;

    #[test]
    fn an_id_is_written_in_one_way_and_read_in_capitals_too() {
        let good = "0190a7b2-6c3e-7def-8000-0123456789ab";
        assert_eq!(good.parse::<EmployeeId>().unwrap().to_string(), good);
        assert_eq!(good.to_uppercase().parse::<EmployeeId>().unwrap().to_string(), good);
        for bad in [
            "",
            "0190a7b26c3e7def80000123456789ab",
            "{0190a7b2-6c3e-7def-8000-0123456789ab}",
            "hr.*.>",
            "0190a7b2-6c3e-7def-8000-0123456789a\0",
        ] {
            assert!(bad.parse::<EmployeeId>().is_err(), "{bad:?}");
        }
    }
}
