//! The catalogue of event types: one enum per kind of aggregate, declared by [`events!`], and [`Event`] over all of them.

use serde_json::value::RawValue;

use crate::{Category, KeyState, PersonId, PersonKey, RecordedEvent, SealError, StreamName, kinds, personal::SealContext};

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

/// Declares the events of a kind of aggregate: the enum, its stored type names (the variants' names) and their newest schema
/// versions. Each variant holds a struct of the same name. The enum is called `Event` in its module, too, by which the list of
/// capabilities finds it.
///
/// - `personal of employee_id: [note]` names the fields that are sealed, and whose they are: the person whose id is in that
///   field, or `stream` where the stream's own id is the person's.
/// - `introduces employee_id: [person]` says the same of the event with which a person begins to be known: with it, and with
///   no other, the person's key is made.
/// - `upcast: [compensation_changed_1]` names the steps from the older versions, the first from version 1.
macro_rules! events {
    (
        $(#[$doc:meta])*
        $vis:vis enum $enum:ident in $category:expr;
        $(
            $variant:ident = $version:literal
            $(, introduces $new:ident: [$($new_field:ident),+])?
            $(, personal of $owner:ident: [$($field:ident),+])*
            $(, upcast: [$($step:ident),+])?
            ;
        )+
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
        $vis use $enum as Event;

        $(const _: () = assert!(
            $version == 1 + events!(@count $($($step)+)?),
            concat!(stringify!($variant), " needs one upcast step for each older version")
        );)+

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
                            older => match $crate::upcast::upcast(&[$($($step),+)?], older, data) {
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
                match self { $(Self::$variant(_) => events!(@any $($($new_field)+)? $($($field)+)*)),+ }
            }
            /// Calls `f` with each person who owns a personal field of this event of a stream.
            #[allow(unused_mut, unused_variables, reason = "a kind may have no personal field")]
            pub fn each_owner(&self, stream: $crate::StreamName, mut f: impl FnMut($crate::KeyOwner)) {
                match self {
                    $(Self::$variant(e) => {
                        $(f($crate::KeyOwner { person: events!(@person e stream $new), is_new: true });)?
                        $(f($crate::KeyOwner { person: events!(@person e stream $owner), is_new: false });)*
                    })+
                }
            }
            /// Calls `f` with each personal field, its owner and its name.
            #[allow(unused_mut, unused_variables, clippy::unnecessary_wraps, reason = "a kind may have no personal field")]
            pub fn each_personal(
                &mut self,
                stream: $crate::StreamName,
                mut f: impl FnMut($crate::PersonId, &'static str, &mut dyn $crate::PersonalField) -> Result<(), $crate::SealError>,
            ) -> Result<(), $crate::SealError> {
                match self {
                    $(Self::$variant(e) => {
                        $(
                            let person = events!(@person e stream $new);
                            $(f(person, stringify!($new_field), &mut e.$new_field)?;)+
                        )?
                        $(
                            let person = events!(@person e stream $owner);
                            $(f(person, stringify!($field), &mut e.$field)?;)+
                        )*
                    })+
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
    (@count $($step:ident)*) => {{
        const STEPS: &[&str] = &[$(stringify!($step)),*];
        STEPS.len()
    }};
    (@person $event:ident $stream:ident stream) => { $crate::PersonId::from_uuid($stream.id()) };
    (@person $event:ident $stream:ident $owner:ident) => { $crate::PersonId::from($event.$owner) };
}
pub(crate) use events;

macro_rules! event {
    ($($(#[$doc:meta])* $Kind:ident = $category:literal in $($module:ident)::+;)+) => {
        /// Any event of any kind of aggregate.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Event {
            $(
                #[doc = concat!("In a stream of [`Category::", stringify!($Kind), "`].")]
                $Kind(crate::$($module)::+::Event),
            )+
        }

        impl Event {
            /// Decodes from the parts of an envelope.
            pub fn decode_parts(category: Category, event_type: &str, version: u16, data: &RawValue) -> Result<Self, DecodeError> {
                match category {
                    $(Category::$Kind => crate::$($module)::+::Event::decode(event_type, version, data).map(Self::$Kind),)+
                }
            }
            /// Every type with its category and newest schema version.
            pub fn types() -> impl Iterator<Item = (Category, &'static str, u16)> {
                let of = |(category, types): (Category, &'static [(&'static str, u16)])| {
                    types.iter().map(move |(name, version)| (category, *name, *version))
                };
                [$((Category::$Kind, crate::$($module)::+::Event::TYPES)),+].into_iter().flat_map(of)
            }
            /// The kind of aggregate that it is about.
            pub const fn category(&self) -> Category {
                match self { $(Self::$Kind(_) => Category::$Kind),+ }
            }
            /// The stored type name.
            pub const fn event_type(&self) -> &'static str {
                match self { $(Self::$Kind(e) => e.event_type()),+ }
            }
            /// The schema version that this build writes.
            pub const fn schema_version(&self) -> u16 {
                match self { $(Self::$Kind(e) => e.schema_version()),+ }
            }
            /// Whether any field is personal, so that a key is needed.
            pub const fn has_personal(&self) -> bool {
                match self { $(Self::$Kind(e) => e.has_personal()),+ }
            }
            /// Calls `f` with each person whose key its personal fields need; `stream` is the one that it stands in.
            pub fn each_owner(&self, stream: StreamName, f: impl FnMut(KeyOwner)) {
                match self { $(Self::$Kind(e) => e.each_owner(stream, f)),+ }
            }
            fn each_personal(
                &mut self,
                stream: StreamName,
                f: impl FnMut(PersonId, &'static str, &mut dyn crate::PersonalField) -> Result<(), SealError>,
            ) -> Result<(), SealError> {
                match self { $(Self::$Kind(e) => e.each_personal(stream, f)),+ }
            }
            /// The data as JSON, for [`crate::NewEvent`]. Fails on a personal field that is still clear.
            pub fn to_data(&self) -> Result<Box<RawValue>, serde_json::Error> {
                match self { $(Self::$Kind(e) => serde_json::value::to_raw_value(e)),+ }
            }
        }

        $(impl From<crate::$($module)::+::Event> for Event {
            fn from(event: crate::$($module)::+::Event) -> Self { Self::$Kind(event) }
        })+
    };
}
kinds!(event);

/// A person whose key is needed for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyOwner {
    /// The person.
    pub person: PersonId,
    /// Whether the person begins to be known by the event, so that the key is made with it. Of anybody else it must be there:
    /// a new one would open nothing of what stands.
    pub is_new: bool,
}

impl Event {
    /// Decodes a stored event by its stream's category, type and schema version.
    pub fn decode(recorded: &RecordedEvent) -> Result<Self, DecodeError> {
        Self::decode_parts(recorded.stream.category(), &recorded.event_type, recorded.schema_version, &recorded.data)
    }
    /// Seals every personal field for this stream, each with its owner's key.
    pub fn seal<'k>(&mut self, stream: StreamName, key: impl Fn(PersonId) -> Option<&'k PersonKey>) -> Result<(), SealError> {
        let event_type = self.event_type();
        self.each_personal(stream, |person, field, value| {
            value.seal(SealContext { stream, event_type, field }, key(person).ok_or(SealError::KeyMissing(field))?)
        })
    }
    /// Opens every personal field, each with its owner's key; they become erased where that was destroyed.
    pub fn open<'k>(&mut self, stream: StreamName, key: impl Fn(PersonId) -> &'k KeyState) -> Result<(), SealError> {
        let event_type = self.event_type();
        self.each_personal(stream, |person, field, value| value.open(SealContext { stream, event_type, field }, key(person)))
    }
}

#[cfg(test)]
#[expect(dead_code, unreachable_pub, unused_imports, reason = "the events of the test are never stored")]
mod tests {
    use serde::{Deserialize, Serialize};
    use uuid::Uuid;

    use super::*;
    use crate::{EmployeeId, Personal, TenantId, TenantScope};

    events! {
        /// Of a stream that is nobody's, with fields of two people; and of one that is a person's.
        pub(crate) enum NoteEvent in Category::Organization;
        NoteWritten = 1, introduces about: [text], personal of by: [remark];
        NoteSigned = 1, personal of stream: [text];
    }

    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub(crate) struct NoteWritten {
        about: PersonId,
        by: EmployeeId,
        text: Personal<String>,
        remark: Personal<String>,
    }

    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    pub(crate) struct NoteSigned {
        text: Personal<String>,
    }

    #[test]
    fn a_field_is_sealed_with_its_owners_key_whosever_stream_it_stands_in() {
        let stream = StreamName::organization(TenantScope::checked(TenantId::from_uuid(Uuid::from_u128(9))));
        let (about, by) = (PersonId::from_uuid(Uuid::from_u128(1)), EmployeeId::from_uuid(Uuid::from_u128(2)));
        let clear = || Personal::Clear("secret".to_owned());
        let mut event = NoteEvent::from(NoteWritten { about, by, text: clear(), remark: clear() });
        let mut owners = Vec::new();
        event.each_owner(stream, |owner| owners.push((owner.person, owner.is_new)));
        assert_eq!(owners, [(about, true), (by.into(), false)]);

        let keys = [(about, PersonKey::generate()), (by.into(), PersonKey::generate())];
        let key = |person| keys.iter().find(|(owner, _)| *owner == person).map(|(_, key)| key).unwrap();
        let place = |field| SealContext { stream, event_type: "NoteWritten", field };
        event.each_personal(stream, |person, field, value| value.seal(place(field), key(person))).unwrap();
        // Whoever is erased takes with them what is theirs, and nothing else.
        let state = |person| if person == about { KeyState::Destroyed } else { KeyState::Held(key(person).clone()) };
        event.each_personal(stream, |person, field, value| value.open(place(field), &state(person))).unwrap();
        assert_eq!(event, NoteWritten { about, by, text: Personal::Erased, remark: clear() }.into());

        let mut owner = None;
        NoteEvent::from(NoteSigned { text: clear() }).each_owner(stream, |of| owner = Some(of.person));
        assert_eq!(owner, Some(PersonId::from_uuid(stream.id())));
    }
}
