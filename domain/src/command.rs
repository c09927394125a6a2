//! Commands by name: from JSON straight into validated values.

use events::{CommandId, EmployeeId, TenantId};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::{employee, organization, tenancy};

/// Any command of any capability.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// About a tenant; for the platform's own log.
    Tenancy(tenancy::Command),
    /// About departments, locations and jobs.
    Organization(organization::Command),
    /// About a person's employments.
    Employee(employee::Command),
}

/// The aggregate that decides a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A tenant, in the platform's log.
    Tenancy(TenantId),
    /// The tenant's organization.
    Organization,
    /// A person.
    Employee(EmployeeId),
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
    /// The names of all commands that a client may send, in reading order.
    pub fn names() -> impl Iterator<Item = &'static str> {
        [tenancy::Command::NAMES, organization::Command::NAMES, employee::Command::NAMES].into_iter().flatten().copied()
    }
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
        employee::Command::parse(name, data)
            .map(|parsed| parsed.map(Self::Employee))
            .or_else(|| organization::Command::parse(name, data).map(|parsed| parsed.map(Self::Organization)))
            .or_else(|| tenancy::Command::parse(name, data).map(|parsed| parsed.map(Self::Tenancy)))
            .unwrap_or_else(|| {
                let names = Self::names().collect::<Vec<_>>().join(", ");
                Err(ParseError { code: "unknown_command", field: None, message: format!("unknown command; known are {names}") })
            })
    }
    /// The command's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Tenancy(c) => c.name(),
            Self::Organization(c) => c.name(),
            Self::Employee(c) => c.name(),
        }
    }
    /// Gives what the command creates an id, derived from the command's own, unless the client chose one. A retry of
    /// the command thus names the same thing.
    pub fn fill_ids(&mut self, command: CommandId) {
        match self {
            Self::Tenancy(c) => c.fill_ids(command),
            Self::Organization(c) => c.fill_ids(command),
            Self::Employee(c) => c.fill_ids(command),
        }
    }
    /// The aggregate that decides it. Call [`Command::fill_ids`] before.
    pub const fn target(&self) -> Target {
        match self {
            Self::Tenancy(c) => Target::Tenancy(c.tenant_id()),
            Self::Organization(_) => Target::Organization,
            Self::Employee(c) => Target::Employee(c.employee_id()),
        }
    }
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
    if text.starts_with("unknown field `") {
        let known = text.rsplit_once("`, ").map_or("", |(_, expected)| expected);
        let expected = text.split_once("`, expected ").map_or(known, |(_, expected)| expected);
        return ParseError { code: "unknown_field", message: format!("no such field; expected {expected}"), field: field(pointer) };
    }
    let message = match text.split_once(", expected ") {
        // The first half of serde's `invalid type: string "…", expected …` repeats what was sent.
        Some((_, expected)) => format!("expected {expected}"),
        None => text.to_owned(),
    };
    ParseError { code: "invalid_field", message, field: field(pointer) }
}

/// Declares a capability's commands: the enum, and each command's name as the client writes it (the variants' names).
/// Each variant holds a struct of the same name; `internal` ones can't be sent by a client.
macro_rules! commands {
    ($(#[$doc:meta])* pub enum $enum:ident { $($name:ident),+ $(; internal $($internal:ident),+)? }) => {
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
        }
        $(impl From<$name> for $enum { fn from(command: $name) -> Self { Self::$name(command) } })+
        $($(impl From<$internal> for $enum { fn from(command: $internal) -> Self { Self::$internal(command) } })+)?
    };
}
pub(crate) use commands;
