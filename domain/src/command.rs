//! Commands by name: from JSON straight into validated values.

use events::{CommandId, StreamName, TenantScope, kinds};
use jiff::civil::Date;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _},
};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{ClaimUse, DuePlace, LockUse, Touches};

macro_rules! command {
    ($($(#[$doc:meta])* $Kind:ident = $category:literal in $($module:ident)::+;)+) => {
        /// Any command to any kind of aggregate.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Command {
            $(
                #[doc = concat!("To an aggregate of [`Category::", stringify!($Kind), "`](events::Category).")]
                $Kind(crate::$($module)::+::Command),
            )+
        }

        impl Command {
            /// The names of all commands that a client may send, in reading order.
            pub fn names() -> impl Iterator<Item = &'static str> {
                let all: [&[&'static str]; _] = [$(crate::$($module)::+::Command::NAMES),+];
                all.into_iter().flatten().copied()
            }
            fn parse_known(name: &str, data: &str) -> Option<Result<Self, ParseError>> {
                $(if let Some(parsed) = crate::$($module)::+::Command::parse(name, data) {
                    return Some(parsed.map(Self::$Kind));
                })+
                None
            }
            /// An internal command as it is to be kept until it is sent. None of one that a client sends.
            pub fn to_stored(&self) -> Option<Result<StoredCommand, serde_json::Error>> {
                let fields = match self { $(Self::$Kind(command) => command.internal_fields()),+ };
                fields.map(|data| Ok(StoredCommand { name: self.name().to_owned(), data: data? }))
            }
            /// An internal command that was kept. None where there is none of the name.
            pub fn from_stored(stored: &StoredCommand) -> Option<Result<Self, serde_json::Error>> {
                $(if let Some(read) = crate::$($module)::+::Command::from_internal_fields(&stored.name, &stored.data) {
                    return Some(read.map(Self::$Kind));
                })+
                None
            }
            /// The command's name.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$Kind(command) => command.name()),+ }
            }
            /// Gives what the command creates an id, derived from the command's own, unless the client chose one. A retry of
            /// the command thus names the same thing.
            pub fn fill_ids(&mut self, id: CommandId) {
                match self { $(Self::$Kind(command) => command.fill_ids(id)),+ }
            }
            /// Whose day is to be told to it, with [`Command::set_today`]; none where it asks for no day.
            pub const fn asks_today_at(&self) -> Option<DuePlace> {
                match self { $(Self::$Kind(command) => command.asks_today_at()),+ }
            }
            /// Tells it the day there.
            pub fn set_today(&mut self, today: Date) {
                match self { $(Self::$Kind(command) => command.set_today(today)),+ }
            }
            /// The stream of the aggregate that decides it. Call [`Command::fill_ids`] before.
            pub const fn stream(&self, scope: TenantScope) -> StreamName {
                match self { $(Self::$Kind(command) => command.stream(scope)),+ }
            }
            /// The id of what it creates or changes, as text.
            pub fn object_id(&self) -> String {
                match self { $(Self::$Kind(command) => command.object_id()),+ }
            }
            /// Whether it starts a stream of its own, so that there is most likely nothing to load.
            pub const fn creates(&self) -> bool {
                match self { $(Self::$Kind(command) => command.creates()),+ }
            }
            /// Whom and what it touches.
            pub const fn touches(&self) -> Touches {
                match self { $(Self::$Kind(command) => command.touches()),+ }
            }
            /// All that it may claim or give up.
            pub fn claims(&self) -> Vec<ClaimUse> {
                match self { $(Self::$Kind(command) => command.claims()),+ }
            }
            /// The lock that it needs beyond its stream, or may change things for.
            pub const fn lock(&self) -> Option<LockUse> {
                match self { $(Self::$Kind(command) => command.lock()),+ }
            }
        }

        /// A sample of every command that a client may send: its name, and its fields with `ID` and `TENANT` for ids.
        #[cfg(test)]
        fn samples() -> Vec<(&'static str, String)> {
            let mut all = Vec::new();
            $(all.extend(crate::$($module)::+::samples());)+
            all
        }
    };
}
kinds!(command);

/// An internal command as it is kept until it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredCommand {
    /// Its name.
    pub name: String,
    /// Its fields.
    pub data: serde_json::Value,
}

/// JSON that is not a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// The stable code: `malformed_json`, `unknown_command`, `unknown_field`, `missing_field` or `invalid_field`.
    pub code: &'static str,
    /// JSON Pointer to the field at fault, where one is.
    pub field: Option<String>,
    /// What to mend. Never repeats a value that was sent.
    pub message: String,
}

impl Command {
    /// Reads the command `name` from JSON. Unknown fields, unknown names and invalid values are errors.
    pub fn parse(name: &str, data: &RawValue) -> Result<Self, ParseError> {
        Self::parse_text(name, data.get())
    }
    /// As [`Command::parse`], where an id of the command (such as `employee_id`) stands in the URL instead: a body
    /// that holds it as well is an error.
    pub fn parse_with_id(name: &str, id_field: &'static str, id: &str, data: &RawValue) -> Result<Self, ParseError> {
        let body = data.get().trim();
        let Some(rest) = body.strip_prefix('{') else {
            return Err(ParseError { code: "invalid_field", field: None, message: "the body must be a JSON object".into() });
        };
        let separator = if rest.trim_start().starts_with('}') { "" } else { "," };
        let id = serde_json::Value::from(id);
        Self::parse_text(name, &format!("{{\"{id_field}\":{id}{separator}{rest}"))
    }
    fn parse_text(name: &str, data: &str) -> Result<Self, ParseError> {
        Self::parse_known(name, data).unwrap_or_else(|| {
            let names = Self::names().collect::<Vec<_>>().join(", ");
            Err(ParseError { code: "unknown_command", field: None, message: format!("unknown command; known are {names}") })
        })
    }
}

/// Reads an id that a client chose. The nil one stands for "not chosen": who sends it means something else.
pub(crate) fn chosen<'de, D: Deserializer<'de>, T: Deserialize<'de> + Copy + Into<Uuid>>(d: D) -> Result<T, D::Error> {
    let id = T::deserialize(d)?;
    if id.into().is_nil() { Err(D::Error::custom("the nil id is nobody's; choose another, or leave the field out")) } else { Ok(id) }
}

/// Reads one command's fields.
pub(crate) fn from_json<T: DeserializeOwned>(data: &str) -> Result<T, ParseError> {
    // The way that tracks paths costs more, and only an error needs the path.
    serde_json::from_str(data).or_else(|error| {
        if !error.is_data() {
            return Err(ParseError { code: "malformed_json", field: None, message: format!("the body is not valid JSON: {error}") });
        }
        let mut json = serde_json::Deserializer::from_str(data);
        serde_path_to_error::deserialize(&mut json).map_err(|error| explain(&error))
    })
}

fn explain(error: &serde_path_to_error::Error<serde_json::Error>) -> ParseError {
    let mut pointer = String::new();
    for segment in error.path() {
        let key = match segment {
            serde_path_to_error::Segment::Seq { index } => index.to_string(),
            // RFC 6901 escapes; an unknown field's name is the client's own and may be long.
            serde_path_to_error::Segment::Map { key } => key.chars().take(64).collect::<String>().replace('~', "~0").replace('/', "~1"),
            serde_path_to_error::Segment::Enum { .. } | serde_path_to_error::Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&key);
    }
    let text = error.inner().to_string();
    // serde_json appends where the text went wrong, which the pointer says better.
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    let field = |pointer: String| (!pointer.is_empty()).then_some(pointer);
    if let Some(name) = text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return ParseError {
            code: "missing_field",
            message: format!("the field {name} is missing"),
            field: Some(format!("{pointer}/{name}")),
        };
    }
    if let Some(name) = text.strip_prefix("duplicate field `").and_then(|rest| rest.strip_suffix('`')) {
        let message = format!("the field {name} is given twice, or in the URL as well; send it once");
        return ParseError { code: "invalid_field", message, field: Some(format!("{pointer}/{name}")) };
    }
    if text.starts_with("unknown field `") {
        // From the right: the unknown name comes first and is the client's own.
        let expected = text.rsplit_once("`, expected ").map_or("none", |(_, expected)| expected);
        return ParseError { code: "unknown_field", message: format!("no such field; expected {expected}"), field: field(pointer) };
    }
    let message = match text.rsplit_once(", expected ") {
        // The first half of serde's `invalid type: string "…", expected …` repeats what was sent.
        Some((_, expected)) => format!("expected {expected}"),
        None => text.to_owned(),
    };
    ParseError { code: "invalid_field", message, field: field(pointer) }
}

/// Declares a capability's commands: the enum, and each command's name as the client writes it (the variants' names).
/// Each variant holds a struct of the same name; `internal` ones can't be sent by a client, and can be kept as JSON until they are
/// sent. What is `dated` asks which day it is: it has a field `today`, which no JSON holds, and says by `day_of` whose day is meant.
macro_rules! commands {
    ($(#[$doc:meta])* pub enum $enum:ident {
        $($name:ident),+ $(; internal $($internal:ident),+)? $(; dated $($dated:ident),+)?
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        #[allow(clippy::large_enum_variant, reason = "a command is moved a few times and never stored in bulk")]
        pub enum $enum {
            $(#[doc = concat!("See [`", stringify!($name), "`] (the struct).")] $name($name),)+
            $($(#[doc = concat!("See [`", stringify!($internal), "`] (the struct).")] $internal($internal),)+)?
        }
        impl $enum {
            /// The names of the commands that a client may send.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),+];
            /// The command's name.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name),)+ $($(Self::$internal(_) => stringify!($internal),)+)? }
            }
            pub(crate) fn parse(name: &str, data: &str) -> Option<Result<Self, $crate::ParseError>> {
                match name {
                    $(stringify!($name) => Some($crate::command::from_json::<$name>(data).map(Self::$name)),)+
                    _ => None,
                }
            }
            pub(crate) const fn asks_today_at(&self) -> Option<$crate::DuePlace> {
                match self {
                    $($(Self::$dated(command) => Some(command.day_of()),)+)?
                    #[allow(unreachable_patterns, reason = "all may be dated")]
                    _ => None,
                }
            }
            #[allow(unused_variables, reason = "a kind may have no command that asks")]
            pub(crate) fn set_today(&mut self, today: jiff::civil::Date) {
                match self {
                    $($(Self::$dated(command) => command.today = Some(today),)+)?
                    #[allow(unreachable_patterns, reason = "all may be dated")]
                    _ => {}
                }
            }
            /// The fields of an internal command.
            pub(crate) fn internal_fields(&self) -> Option<Result<serde_json::Value, serde_json::Error>> {
                match self {
                    $(Self::$name(_) => None,)+
                    $($(Self::$internal(command) => Some(serde_json::to_value(command)),)+)?
                }
            }
            /// The internal command of a name with these fields.
            #[allow(unused_variables, clippy::match_single_binding, reason = "a kind may have no internal command")]
            pub(crate) fn from_internal_fields(name: &str, data: &serde_json::Value) -> Option<Result<Self, serde_json::Error>> {
                match name {
                    $($(stringify!($internal) => Some(<$internal as serde::Deserialize>::deserialize(data).map(Self::$internal)),)+)?
                    _ => None,
                }
            }
        }
        $(impl From<$name> for $enum { fn from(command: $name) -> Self { Self::$name(command) } })+
        $($(impl From<$internal> for $enum { fn from(command: $internal) -> Self { Self::$internal(command) } })+)?
    };
}
pub(crate) use commands;

#[cfg(test)]
mod tests {
    use super::*;

    use events::{EmployeeId, TenantId};

    const ID: &str = "0190a7b2-6c3e-7def-8000-0123456789ab";

    fn parse(name: &str, data: &str) -> Result<Command, ParseError> {
        Command::parse_text(name, data)
    }

    /// `expected`: the code and the pointer of the error.
    #[track_caller]
    fn check(name: &str, data: &str, expected: (&str, Option<&str>)) {
        let error = parse(name, &data.replace("ID", ID)).expect_err("is refused");
        assert_eq!((error.code, error.field.as_deref()), expected, "{error}");
        assert!(!error.message.contains("SECRET"), "an error must not repeat what was sent: {error}");
    }

    const HIRE: &str = r#"{"hire_date":"2020-01-01","employee_number":"1","person":{"given_name":"A","family_name":""},
        "assignment":{"department_id":"ID","job_id":"ID"},"pay":{"rate":{"amount":"1","currency":"USD"},"per":"year"}}"#;

    #[test]
    fn every_name_parses_to_the_command_of_that_name() {
        let tenant = "a".repeat(25) + "e";
        let samples = samples();
        let names: Vec<_> = samples.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, Command::names().collect::<Vec<_>>());
        assert_eq!(names.len(), names.iter().collect::<std::collections::BTreeSet<_>>().len(), "two commands have one name");
        for (name, data) in samples {
            let command =
                parse(name, &data.replace("ID", ID).replace("TENANT", &tenant)).unwrap_or_else(|e| panic!("{name}: {e} at {:?}", e.field));
            assert_eq!(command.name(), name);
        }
    }

    #[test]
    fn an_error_points_at_the_field_and_says_what_to_mend() {
        check("HireEmployee", "{", ("malformed_json", None));
        check("HireEmployee", "{} {}", ("missing_field", Some("/hire_date")));
        check("HireEmployee", "[]", ("invalid_field", None));
        check("Fire", "{}", ("unknown_command", None));
        check("ConfirmProvisioned", "{}", ("unknown_command", None));
        check("HireEmployee", &HIRE.replace("\"hire_date\"", "\"hired\""), ("unknown_field", Some("/hired")));
        check("HireEmployee", &HIRE.replace("2020-01-01", "2023-02-29"), ("invalid_field", Some("/hire_date")));
        check("HireEmployee", &HIRE.replace("\"given_name\":\"A\",", ""), ("missing_field", Some("/person/given_name")));
        check("HireEmployee", &HIRE.replace("\"A\"", "\"\""), ("invalid_field", Some("/person/given_name")));
        check("HireEmployee", &HIRE.replace("\"A\"", "17"), ("invalid_field", Some("/person/given_name")));
        check("HireEmployee", &HIRE.replace("\"A\"", "\"A\",\"SECRET~/\":1"), ("unknown_field", Some("/person/SECRET~0~1")));
        check("HireEmployee", &HIRE.replace("\"1\",\"currency", "\"-1\",\"currency"), ("invalid_field", Some("/pay/rate")));
        check("HireEmployee", &HIRE.replace("USD", "XXX"), ("invalid_field", Some("/pay/rate/currency")));
        check("HireEmployee", &HIRE.replace("\"year\"", "\"SECRET\""), ("invalid_field", Some("/pay/per")));
        check("HireEmployee", &HIRE.replace("\"2020-01-01\"", "[\"SECRET\"]"), ("invalid_field", Some("/hire_date")));
        check("HireEmployee", &HIRE.replace("\"1\",\"person", "{\"SECRET\":1},\"person"), ("invalid_field", Some("/employee_number")));
        check("ChangeAssignment", r#"{"employee_id":"SECRET"}"#, ("invalid_field", Some("/employee_id")));
        check("ChangeAssignment", r#"{"employee_id":"ID","employee_id":"ID"}"#, ("invalid_field", Some("/employee_id")));
        check("MoveDepartment", r#"{"department_id":"ID","effective_on":"2020-01-01"}"#, ("missing_field", Some("/parent_id")));
    }

    #[test]
    fn an_id_in_the_url_stands_in_for_the_field() {
        let with_id =
            |body: &str| Command::parse_with_id("TerminateEmployee", "employee_id", ID, &RawValue::from_string(body.to_owned()).unwrap());
        let good = with_id(r#"  {"last_day_worked":"2020-01-01","reason":"r"} "#).unwrap();
        assert_eq!(good.object_id(), ID);
        assert_eq!(with_id("{ }").unwrap_err().field.as_deref(), Some("/last_day_worked"));
        assert_eq!(with_id("17").unwrap_err().code, "invalid_field");
        let twice = with_id(&format!(r#"{{"employee_id":"{ID}","last_day_worked":"2020-01-01","reason":"r"}}"#)).unwrap_err();
        assert_eq!(twice.field.as_deref(), Some("/employee_id"));
    }

    #[test]
    fn what_a_command_creates_is_named_by_the_command() {
        let command: CommandId = ID.parse().unwrap();
        let hire = |id: &str| {
            let mut hire = parse("HireEmployee", &HIRE.replace("ID", ID).replacen('{', &format!("{{{id}"), 1)).unwrap();
            hire.fill_ids(command);
            hire.stream(TenantScope::checked(TenantId::PLATFORM))
        };
        assert_eq!(hire(""), hire(""));
        let chosen = StreamName::employee(TenantScope::checked(TenantId::PLATFORM), ID.parse::<EmployeeId>().unwrap());
        assert_ne!(hire(""), chosen);
        assert_eq!(hire(&format!(r#""employee_id":"{ID}","#)), chosen);
    }
}
