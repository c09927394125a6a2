//! What a request says of a command: its fields, its key, the version it was decided on.
//!
//! Everything is strict: what is malformed is refused and named; nothing is guessed.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use domain::{Command, ParseError};
use events::{CommandHash, CommandId, CorrelationId, TenantId, Version};
use execution::{Precondition, Sender, SentCommand, hash_of};
use http::{HeaderMap, StatusCode, header, request::Parts};
use platform::{
    Actor, Problem, history,
    request::{correlation, malformed},
};
use serde_json::value::RawValue;

/// Characters of an `Idempotency-Key` at most.
const MAX_KEY: usize = 200;

/// The headers of a command.
#[derive(Debug)]
pub(crate) struct Head {
    key: Option<IdempotencyKey>,
    if_match: Option<Precondition>,
    correlation: CorrelationId,
}

impl<S: Send + Sync> FromRequestParts<S> for Head {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self {
            key: IdempotencyKey::from_headers(&parts.headers)?,
            if_match: if_match(&parts.headers)?,
            correlation: correlation(parts),
        })
    }
}

impl Head {
    /// The command, ready to be executed.
    pub(crate) fn sent(self, actor: Actor, parsed: Parsed) -> SentCommand {
        sent(actor, parsed, self.key.as_ref(), self.if_match, self.correlation)
    }
}

/// The command with its identity: what this sender's key names in this tenant, or a new one.
pub(crate) fn sent(
    actor: Actor,
    parsed: Parsed,
    key: Option<&IdempotencyKey>,
    if_match: Option<Precondition>,
    correlation: CorrelationId,
) -> SentCommand {
    let ids = key.map(|key| (key.command(actor.tenant.id, &actor.subject), key.command_of_tenant(actor.tenant.id)));
    let sent = |command, id| SentCommand::new(Sender::Actor(actor), command, parsed.hash, id, if_match, correlation);
    match ids {
        Some((id, earlier)) => {
            let command = parsed.command.clone();
            sent(parsed.command, Some(id)).known_before_as(earlier, command)
        }
        None => sent(parsed.command, None),
    }
}

/// A client's name for a command: 1 to 200 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdempotencyKey(String);

impl FromStr for IdempotencyKey {
    type Err = Problem;
    fn from_str(text: &str) -> Result<Self, Problem> {
        if (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(invalid_key("must be 1 to 200 visible ASCII characters"))
        }
    }
}

impl IdempotencyKey {
    /// The same key names another command of another sender, and in another tenant.
    fn command(&self, tenant: TenantId, subject: &str) -> CommandId {
        // No key holds a line break, so what comes behind one is no part of it.
        CommandId::derive(tenant.uuid(), &format!("{}\n{subject}", self.0))
    }
    /// What the key named in builds before, whoever sent it.
    fn command_of_tenant(&self, tenant: TenantId) -> CommandId {
        CommandId::derive(tenant.uuid(), &self.0)
    }
    fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut values = headers.get_all("idempotency-key").iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().unwrap_or_default().parse().map(Some),
            (Some(_), Some(_)) => Err(invalid_key("must be sent once")),
        }
    }
}

fn invalid_key(why: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_idempotency_key", format!("Idempotency-Key {why}"))
}

/// The versions that the client has seen, from `If-Match`.
fn if_match(headers: &HeaderMap) -> Result<Option<Precondition>, Problem> {
    let mut versions = Vec::new();
    for value in headers.get_all(header::IF_MATCH) {
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Some(Precondition::Any));
        }
        for tag in text.split(',') {
            // The gate has seen to it that the epoch is this one.
            let tag = tag.trim().strip_prefix('"').and_then(|t| t.strip_suffix('"')).map(|t| history::split(t).1);
            let version = tag.filter(|t| t.bytes().all(|b| b.is_ascii_digit()));
            let Some(version) = version.and_then(|v| v.parse().ok()) else {
                let detail = "If-Match must hold the ETag of an answer, such as \"7\" with its quotes, or *";
                return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_if_match", detail));
            };
            versions.push(Version(version));
        }
    }
    Ok((!versions.is_empty()).then_some(Precondition::OneOf(versions)))
}

/// A command and the hash of what it was read from.
#[derive(Debug)]
pub(crate) struct Parsed {
    command: Command,
    hash: CommandHash,
}

impl Parsed {
    /// The command `name` with these fields.
    pub(crate) fn new(name: &str, fields: &RawValue) -> Result<Self, Problem> {
        Ok(Self { command: Command::parse(name, fields).map_err(unparsable)?, hash: hash(name, None, fields)? })
    }
    /// The command `name` with these fields and an id, which stood in the path.
    pub(crate) fn with_id(name: &str, id_field: &'static str, id: &str, fields: &RawValue) -> Result<Self, Problem> {
        let command = Command::parse_with_id(name, id_field, id, fields).map_err(unparsable)?;
        Ok(Self { hash: hash(name, Some((id_field, id)), fields)?, command })
    }
}

/// The hash of a command with these fields. An id counts the same in the path and in the body.
fn hash(name: &str, id: Option<(&str, &str)>, fields: &RawValue) -> Result<CommandHash, Problem> {
    let mut fields: serde_json::Value = serde_json::from_str(fields.get()).map_err(|e| malformed(&e))?;
    if let (Some((field, id)), Some(object)) = (id, fields.as_object_mut()) {
        object.insert(field.into(), id.into());
    }
    Ok(hash_of(name, &fields))
}

fn unparsable(error: ParseError) -> Problem {
    let status = if error.code == "malformed_json" { StatusCode::BAD_REQUEST } else { StatusCode::UNPROCESSABLE_ENTITY };
    let ParseError { others, .. } = &error;
    let mut problem = Problem::new(status, error.code, error.message.clone());
    for ParseError { code, field, message, .. } in std::iter::once(&error).chain(others) {
        if let Some(pointer) = field {
            problem = problem.field(pointer, *code, message);
        }
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashed(name: &str, id: Option<(&str, &str)>, json: &str) -> CommandHash {
        hash(name, id, serde_json::from_str(json).unwrap()).unwrap()
    }

    #[test]
    fn an_id_counts_the_same_in_the_path_and_in_the_body() {
        let in_body = hashed("X", None, r#"{"id":"7","a":[1,{"c":null,"b":"é\n"}]}"#);
        assert_eq!(in_body, hashed("X", Some(("id", "7")), r#"{"a":[1,{"c":null,"b":"é\n"}]}"#));
        assert_ne!(in_body, hashed("X", Some(("id", "8")), r#"{"a":[1,{"c":null,"b":"é\n"}]}"#));
    }
}
