//! Commands by name: from JSON straight into validated values.

use events::{CommandId, StreamName, TenantScope, kinds};
use jiff::civil::Date;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _},
};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{ClaimUse, DuePlace, LockUse, Touches, faults};

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
    /// What else is wrong, each with nothing more.
    pub others: Vec<ParseError>,
}

impl ParseError {
    pub(crate) fn new(code: &'static str, field: Option<String>, message: impl Into<String>) -> Self {
        Self { code, field, message: message.into(), others: Vec::new() }
    }
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
            return Err(ParseError::new("invalid_field", None, "the body must be a JSON object"));
        };
        let separator = if rest.trim_start().starts_with('}') { "" } else { "," };
        let id = serde_json::Value::from(id);
        Self::parse_text(name, &format!("{{\"{id_field}\":{id}{separator}{rest}"))
    }
    fn parse_text(name: &str, data: &str) -> Result<Self, ParseError> {
        Self::parse_known(name, data).unwrap_or_else(|| {
            let names = Self::names().collect::<Vec<_>>().join(", ");
            Err(ParseError::new("unknown_command", None, format!("unknown command; known are {names}")))
        })
    }
}

/// Reads an id that a client chose. The nil one stands for "not chosen": who sends it means something else.
pub(crate) fn chosen<'de, D: Deserializer<'de>, T: Deserialize<'de> + Copy + Into<Uuid>>(d: D) -> Result<T, D::Error> {
    let id = T::deserialize(d)?;
    if id.into().is_nil() { Err(D::Error::custom("the nil id is nobody's; choose another, or leave the field out")) } else { Ok(id) }
}

/// Reads a field of a change that may be left out but not cleared: null would say neither.
pub(crate) fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<T>, D::Error> {
    let value = Option::<T>::deserialize(d)?;
    value.map(Some).ok_or_else(|| D::Error::custom("can't be cleared; send a value, or leave the field out to keep what there is"))
}

/// Reads one command's fields.
pub(crate) fn from_json<T: DeserializeOwned + ToSchema>(data: &str) -> Result<T, ParseError> {
    // The way that tracks paths costs more, and only an error needs the path.
    serde_json::from_str(data).or_else(|error| {
        // Where one of several words is to stand, anything that is no text counts as bad syntax to the reader.
        if !error.is_data() && serde_json::from_str::<serde::de::IgnoredAny>(data).is_err() {
            return Err(ParseError::new("malformed_json", None, where_it_ends(&error)));
        }
        let mut json = serde_json::Deserializer::from_str(data);
        serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let first = explain(&error);
            ParseError { others: faults::others::<T>(data, &first), ..first }
        })
    })
}

/// Where text stops to be JSON.
fn where_it_ends(error: &serde_json::Error) -> String {
    let what = if error.is_eof() { "ends too early" } else { "goes wrong" };
    format!("the body is not valid JSON; it {what} at line {} column {}", error.line(), error.column())
}

/// JSON Pointer (RFC 6901) of a path. An unknown field's name is the client's own and may be long.
pub(crate) fn pointer_to<'a>(path: impl Iterator<Item = &'a str>) -> String {
    let escaped = |key: &str| key.chars().take(64).collect::<String>().replace('~', "~0").replace('/', "~1");
    path.flat_map(|key| ["/".to_owned(), escaped(key)]).collect()
}

pub(crate) fn explain(error: &serde_path_to_error::Error<serde_json::Error>) -> ParseError {
    let keys: Vec<String> = error
        .path()
        .iter()
        .filter_map(|segment| match segment {
            serde_path_to_error::Segment::Seq { index } => Some(index.to_string()),
            serde_path_to_error::Segment::Map { key } => Some(key.clone()),
            serde_path_to_error::Segment::Enum { .. } | serde_path_to_error::Segment::Unknown => None,
        })
        .collect();
    let pointer = pointer_to(keys.iter().map(String::as_str));
    let text = error.inner().to_string();
    // serde_json appends where the text went wrong, which the pointer says better.
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    let field = |pointer: String| (!pointer.is_empty()).then_some(pointer);
    if let Some(name) = text.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return ParseError::new("missing_field", Some(format!("{pointer}/{name}")), format!("the field {name} is missing"));
    }
    if let Some(name) = text.strip_prefix("duplicate field `").and_then(|rest| rest.strip_suffix('`')) {
        let message = format!("the field {name} is given twice, or in the URL as well; send it once");
        return ParseError::new("invalid_field", Some(format!("{pointer}/{name}")), message);
    }
    if text.starts_with("unknown field `") {
        // From the right: the unknown name comes first and is the client's own.
        let known = text.rsplit_once("`, expected ").map_or("none", |(_, known)| known);
        return ParseError::new("unknown_field", field(pointer), format!("no such field; known are {}", named(known)));
    }
    if error.inner().is_syntax() {
        return ParseError::new("invalid_field", field(pointer), "must be one of the words that the contract names for it");
    }
    let message = match text.rsplit_once(", expected ") {
        // The first half of serde's `invalid type: string "…", expected …` repeats what was sent.
        Some((_, expected)) => format!("must be {}", in_our_words(expected)),
        None => text.to_owned(),
    };
    ParseError::new("invalid_field", field(pointer), message)
}

/// The names in a list of serde's, such as ``one of `a`, `b` ``.
fn named(list: &str) -> String {
    list.trim_start_matches("one of ").replace('`', "").replace(" or ", ", ")
}

/// What a reader of JSON expected, as clients know it.
fn in_our_words(expected: &str) -> String {
    match expected {
        "a string" | "a borrowed string" | "string" => "text".into(),
        "a boolean" => "true or false".into(),
        "a sequence" => "a list".into(),
        "null" | "unit" => "null".into(),
        "a map" => "an object".into(),
        "u8" | "u16" | "u32" | "u64" | "i8" | "i16" | "i32" | "i64" | "usize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        other if other.contains('`') => format!("one of {}", named(other)),
        other if other.starts_with("struct ") || other.starts_with("internally tagged enum") => "an object".into(),
        other if other.contains("enum ") => "one of the values that the contract names".into(),
        other => other.to_owned(),
    }
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

    /// All that is told to be wrong: codes and pointers, in any order.
    #[track_caller]
    fn check_all(name: &str, data: &str, expected: &[(&str, &str)]) {
        let error = parse(name, &data.replace("ID", ID)).expect_err("is refused");
        let all = std::iter::once(&error).chain(&error.others);
        let mut told: Vec<_> = all.map(|fault| (fault.code, fault.field.as_deref().unwrap_or_default())).collect();
        told.sort_unstable();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(told, expected);
    }

    #[test]
    fn all_that_is_wrong_is_told() {
        check_all(
            "HireEmployee",
            r#"{"hire_date":"2020-13-01","employee_number":"a b","person":{"given_name":"","birth_date":7,"x/y":1},"nick":"N",
                "contact":{"work_email":"nobody","phone":"1"},"assignment":{"department_id":"D","manager_id":"M"},
                "pay":{"rate":{"amount":"1_000","currency":"eur"},"per":"day"}}"#,
            &[
                ("invalid_field", "/hire_date"),
                ("invalid_field", "/employee_number"),
                ("invalid_field", "/person/given_name"),
                ("invalid_field", "/person/birth_date"),
                ("missing_field", "/person/family_name"),
                ("unknown_field", "/person/x~1y"),
                ("unknown_field", "/nick"),
                ("invalid_field", "/contact/work_email"),
                ("invalid_field", "/contact/phone"),
                ("invalid_field", "/assignment/department_id"),
                ("invalid_field", "/assignment/manager_id"),
                ("missing_field", "/assignment/job_id"),
                ("invalid_field", "/pay/rate/amount"),
                ("invalid_field", "/pay/rate/currency"),
                ("invalid_field", "/pay/per"),
            ],
        );
        check_all("HireEmployee", &HIRE.replace("\"1\",\"currency", "\"1.005\",\"currency"), &[("invalid_field", "/pay/rate")]);
        check_all(
            "TerminateEmployee",
            "{}",
            &[("missing_field", "/employee_id"), ("missing_field", "/last_day_worked"), ("missing_field", "/reason")],
        );
        // Of a field that stands twice nobody can say which one was meant.
        check_all(
            "TerminateEmployee",
            r#"{"employee_id":"ID","reason":"r","reason":"s","last_day_worked":"x"}"#,
            &[("invalid_field", "/reason"), ("invalid_field", "/last_day_worked")],
        );
    }

    #[test]
    fn what_cant_be_cleared_is_not_null() {
        let change = |name: &str, id: &str, changes: &str| {
            (name.to_owned(), format!(r#"{{"{id}":"ID","effective_on":"2020-01-01","changes":{changes},"reason":"r"}}"#))
        };
        for (name, data, pointers) in [
            change("ChangeAssignment", "employee_id", r#"{"department_id":null,"job_id":null,"location_id":null,"manager_id":null}"#),
            change("ChangePersonalDetails", "employee_id", r#"{"given_name":null,"family_name":null,"gender":null,"birth_date":null}"#),
        ]
        .into_iter()
        .zip([["/changes/department_id", "/changes/job_id"], ["/changes/given_name", "/changes/family_name"]])
        .map(|((name, data), pointers)| (name, data, pointers))
        {
            let data = if name == "ChangePersonalDetails" { data.replace(r#","reason":"r""#, "") } else { data };
            check_all(&name, &data, &pointers.map(|pointer| ("invalid_field", pointer)));
        }
        let location = r#"{"location_id":"ID","effective_on":"2020-01-01","name":null,"time_zone":null}"#;
        check_all("ChangeLocation", location, &[("invalid_field", "/name"), ("invalid_field", "/time_zone")]);
    }

    /// Whatever a field holds that it must not, what is told of it names the field, in words that no library chose.
    #[test]
    fn every_fault_of_every_command_is_told_in_our_words() {
        let tenant = "a".repeat(25) + "e";
        for (name, data) in samples() {
            let data = data.replace("ID", ID).replace("TENANT", &tenant);
            let serde_json::Value::Object(fields) = serde_json::from_str(&data).unwrap() else { panic!("{data}") };
            for bad in ["null", "true", "7", "-1.5", "\"SECRET\"", "[[\"SECRET\"]]", r#"{"SECRET":"SECRET"}"#] {
                for field in fields.keys() {
                    let mut changed = fields.clone();
                    changed[field] = serde_json::from_str(bad).unwrap();
                    let Err(error) = parse(name, &serde_json::Value::Object(changed).to_string()) else { continue };
                    for fault in std::iter::once(&error).chain(&error.others) {
                        let at = fault.field.as_deref().unwrap_or_default();
                        assert!(at == format!("/{field}") || at.starts_with(&format!("/{field}/")), "{name} {field} {bad}: {fault:?}");
                        for foreign in
                            ["`", "SECRET", "struct", "expected", "invalid type", "enum", "variant", "borrowed", "line ", "serde"]
                        {
                            assert!(!fault.message.contains(foreign), "{name} {field} {bad}: {fault:?}");
                        }
                    }
                }
            }
        }
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
