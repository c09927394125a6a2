//! The catalogue of event types: one enum per capability, declared by [`events!`], and [`Event`] over all of them.

use serde_json::value::RawValue;

use crate::{
    Category, KeyState, PersonKey, RecordedEvent, SealError, StreamName, employee::EmployeeEvent, organization::OrganizationEvent,
    tenancy::TenancyEvent,
};

/// Stored data that this build can't read. The projector parks the tenant; nothing guesses.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No such type in this category: written by a newer version, or foreign.
    #[error("unknown event type {category}/{event_type}")]
    UnknownType {
        /// The stream's category.
        category: Category,
        /// The type as stored.
        event_type: String,
    },
    /// The type is known, that schema version of it is not.
    #[error("{event_type} has no schema version {version}")]
    UnknownVersion {
        /// The type.
        event_type: String,
        /// The schema version as stored.
        version: u16,
    },
    /// The data does not have the type's shape.
    #[error("{event_type} v{version} does not decode: {source}")]
    Malformed {
        /// The type.
        event_type: String,
        /// The schema version as stored.
        version: u16,
        /// What was wrong.
        source: serde_json::Error,
    },
}

/// Declares a capability's events: the enum, its stored type names (the variants' names) and their newest schema
/// versions. Each variant holds a struct of the same name. `personal` names the fields that are sealed.
macro_rules! events {
    (
        $(#[$doc:meta])*
        $vis:vis enum $enum:ident in $category:expr;
        $($variant:ident = $version:literal $(, personal: [$($field:ident),+])? ;)+
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
        #[serde(untagged)]
        $vis enum $enum {
            $(
                #[doc = concat!("See [`", stringify!($variant), "`] (the struct).")]
                $variant($variant),
            )+
        }

        impl $enum {
            /// Type names and newest schema versions, in the order of declaration.
            pub const TYPES: &'static [(&'static str, u16)] = &[$((stringify!($variant), $version)),+];

            /// The stored type name.
            pub const fn event_type(&self) -> &'static str {
                match self { $(Self::$variant(_) => stringify!($variant)),+ }
            }
            /// The schema version that this build writes.
            pub const fn schema_version(&self) -> u16 {
                match self { $(Self::$variant(_) => $version),+ }
            }
            /// Decodes stored data, upcasting older schema versions. Reads nothing but its arguments.
            pub fn decode(event_type: &str, version: u16, data: &serde_json::value::RawValue) -> Result<Self, $crate::DecodeError> {
                let malformed = |source| $crate::DecodeError::Malformed { event_type: event_type.to_owned(), version, source };
                match event_type {
                    $(stringify!($variant) => {
                        let decoded = match version {
                            $version => serde_json::from_str(data.get()),
                            older => match $crate::upcast::upcast(event_type, older, $version, data) {
                                Some(upcast) => upcast.and_then(serde_json::from_value),
                                None => return Err($crate::DecodeError::UnknownVersion { event_type: event_type.to_owned(), version }),
                            },
                        };
                        decoded.map(Self::$variant).map_err(malformed)
                    })+
                    _ => Err($crate::DecodeError::UnknownType { category: $category, event_type: event_type.to_owned() }),
                }
            }
            /// Whether any field is personal.
            pub const fn has_personal(&self) -> bool {
                match self { $(Self::$variant(_) => events!(@any $($($field)+)?)),+ }
            }
            /// Calls `f` with each personal field and its name.
            #[allow(unused_mut, unused_variables, clippy::unnecessary_wraps)]
            pub fn each_personal(
                &mut self,
                mut f: impl FnMut(&'static str, &mut dyn $crate::PersonalField) -> Result<(), $crate::SealError>,
            ) -> Result<(), $crate::SealError> {
                match self {
                    $(Self::$variant(e) => { $($(f(stringify!($field), &mut e.$field)?;)+)? })+
                }
                Ok(())
            }
        }
        $(impl From<$variant> for $enum {
            fn from(event: $variant) -> Self { Self::$variant(event) }
        })+
    };
    (@any) => { false };
    (@any $($field:ident)+) => { true };
}
pub(crate) use events;

/// Any event of any capability.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "the largest variant is also by far the most frequent; boxing it would cost an allocation per event"
)]
pub enum Event {
    /// Of a tenant, in the platform's log.
    Tenancy(TenancyEvent),
    /// Of a tenant's organization.
    Organization(OrganizationEvent),
    /// Of a person's employments.
    Employee(EmployeeEvent),
}

macro_rules! each {
    ($self:expr, $e:ident => $body:expr) => {
        match $self {
            Event::Tenancy($e) => $body,
            Event::Organization($e) => $body,
            Event::Employee($e) => $body,
        }
    };
}

impl Event {
    /// Decodes a stored event by its stream's category, type and schema version.
    pub fn decode(recorded: &RecordedEvent) -> Result<Self, DecodeError> {
        Self::decode_parts(recorded.stream.category(), &recorded.event_type, recorded.schema_version, &recorded.data)
    }
    /// Decodes from the parts of an envelope.
    pub fn decode_parts(category: Category, event_type: &str, version: u16, data: &RawValue) -> Result<Self, DecodeError> {
        match category {
            Category::Tenancy => TenancyEvent::decode(event_type, version, data).map(Self::Tenancy),
            Category::Organization => OrganizationEvent::decode(event_type, version, data).map(Self::Organization),
            Category::Employee => EmployeeEvent::decode(event_type, version, data).map(Self::Employee),
        }
    }
    /// Every type with its category and newest schema version.
    pub fn types() -> impl Iterator<Item = (Category, &'static str, u16)> {
        let of = |category, types: &'static [(&'static str, u16)]| types.iter().map(move |(name, version)| (category, *name, *version));
        of(Category::Tenancy, TenancyEvent::TYPES)
            .chain(of(Category::Organization, OrganizationEvent::TYPES))
            .chain(of(Category::Employee, EmployeeEvent::TYPES))
    }
    /// The stored type name.
    pub const fn event_type(&self) -> &'static str {
        each!(self, e => e.event_type())
    }
    /// The schema version that this build writes.
    pub const fn schema_version(&self) -> u16 {
        each!(self, e => e.schema_version())
    }
    /// Whether any field is personal, so that a key is needed.
    pub const fn has_personal(&self) -> bool {
        each!(self, e => e.has_personal())
    }
    /// Seals every personal field for this stream.
    pub fn seal(&mut self, stream: StreamName, key: &PersonKey) -> Result<(), SealError> {
        let event_type = self.event_type();
        each!(self, e => e.each_personal(|field, value| value.seal(crate::Place { stream, event_type, field }, key)))
    }
    /// Opens every personal field; they become erased where the key was destroyed.
    pub fn open(&mut self, stream: StreamName, key: &KeyState) -> Result<(), SealError> {
        let event_type = self.event_type();
        each!(self, e => e.each_personal(|field, value| value.open(crate::Place { stream, event_type, field }, key)))
    }
    /// The data as JSON, for [`crate::NewEvent`]. Fails on a personal field that is still clear.
    pub fn to_data(&self) -> Result<Box<RawValue>, serde_json::Error> {
        each!(self, e => serde_json::value::to_raw_value(e))
    }
}

impl From<TenancyEvent> for Event {
    fn from(e: TenancyEvent) -> Self {
        Self::Tenancy(e)
    }
}
impl From<OrganizationEvent> for Event {
    fn from(e: OrganizationEvent) -> Self {
        Self::Organization(e)
    }
}
impl From<EmployeeEvent> for Event {
    fn from(e: EmployeeEvent) -> Self {
        Self::Employee(e)
    }
}
