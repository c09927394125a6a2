//! Users, and what they may do: the default access lists, and those of `$settings`.

use serde_json::Value;

use super::log::Log;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Read,
    Write,
    Delete,
}

/// A user of the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    pub(crate) name: &'static str,
    pub(crate) password: &'static str,
    /// Whether it is in `$admins`.
    pub(crate) admin: bool,
}

/// Everybody may do everything where there are no users, as with `--insecure`.
#[derive(Default)]
pub(super) struct Rights {
    pub(super) users: Vec<User>,
}

impl Rights {
    pub(super) fn knows(&self, name: &str, password: &str) -> bool {
        self.users.is_empty() || self.users.iter().any(|user| (user.name, user.password) == (name, password))
    }

    pub(super) fn allow(&self, log: &Log, user: Option<&str>, operation: Operation, stream: &str) -> bool {
        if self.users.is_empty() {
            return true;
        }
        let Some(user) = self.users.iter().find(|known| Some(known.name) == user) else { return false };
        if stream == "$all" && operation != Operation::Read {
            return false;
        }
        let (of, action) = match (stream.strip_prefix("$$"), operation) {
            (Some(_), Operation::Delete) => return false,
            (Some(of), Operation::Read) => (of, "$mr"),
            (Some(of), Operation::Write) => (of, "$mw"),
            (None, Operation::Read) => (stream, "$r"),
            (None, Operation::Write) => (stream, "$w"),
            (None, Operation::Delete) => (stream, "$d"),
        };
        let system = of.starts_with('$');
        let settings = log.stream("$settings").last().and_then(|record| serde_json::from_slice::<Value>(&record.data).ok());
        let set = settings.as_ref().map(|settings| &settings[if system { "$systemStreamAcl" } else { "$userStreamAcl" }][action]);
        let roles: Vec<&str> = match set {
            Some(Value::String(role)) => vec![role],
            Some(Value::Array(roles)) => roles.iter().filter_map(Value::as_str).collect(),
            _ if system => vec!["$admins"],
            _ => vec!["$all"],
        };
        user.admin || roles.iter().any(|role| *role == "$all" || *role == user.name)
    }
}
