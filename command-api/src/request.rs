//! What a request carries besides its token: the command's body, its key, the version it was decided on.
//!
//! Everything is strict: what is malformed is refused and named; nothing is guessed.

use std::str::FromStr;

use axum::extract::{
    FromRequest, FromRequestParts, Path, Request,
    rejection::{BytesRejection, FailedToBufferBody},
};
use bytes::Bytes;
use domain::{Command, ParseError};
use events::{CommandHash, CommandId, CorrelationId, TenantId, Version};
use http::{HeaderMap, StatusCode, header, request::Parts};
use platform::{Actor, Problem, auth::Admitted, history, http::RequestId};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::execute::Ask;

/// Bytes of one command at most.
pub(crate) const MAX_COMMAND: usize = 64 * 1024;
/// Characters of an `Idempotency-Key` at most.
const MAX_KEY: usize = 200;

/// The headers of a command.
#[derive(Debug)]
pub(crate) struct Head {
    key: Option<Key>,
    if_match: Option<IfMatch>,
    correlation: CorrelationId,
}

impl<S: Send + Sync> FromRequestParts<S> for Head {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self {
            key: Key::from_headers(&parts.headers)?,
            if_match: IfMatch::from_headers(&parts.headers)?,
            correlation: correlation(parts),
        })
    }
}

/// Ties together what the request causes.
pub(crate) fn correlation(parts: &Parts) -> CorrelationId {
    CorrelationId::from_uuid(parts.extensions.get::<RequestId>().map_or_else(Uuid::now_v7, |id| id.0))
}

impl Head {
    /// The command, ready to be executed.
    pub(crate) fn ask(self, actor: Actor, parsed: Parsed) -> Ask {
        Ask::new(actor, parsed, self.key.as_ref(), self.if_match, self.correlation)
    }
}

impl Ask {
    /// The command with its identity: the key's in this tenant, or a new one.
    pub(crate) fn new(actor: Actor, parsed: Parsed, key: Option<&Key>, if_match: Option<IfMatch>, correlation: CorrelationId) -> Self {
        let command_id = key.map_or_else(|| CommandId::from_uuid(Uuid::now_v7()), |key| key.command(actor.tenant.id));
        let Parsed { mut command, hash } = parsed;
        command.fill_ids(command_id);
        Self { actor, command, command_id, keyed: key.is_some(), hash, if_match, correlation }
    }
}

/// A client's name for a command: 1 to 200 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key(String);

impl FromStr for Key {
    type Err = Problem;
    fn from_str(text: &str) -> Result<Self, Problem> {
        if (1..=MAX_KEY).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(invalid_key("must be 1 to 200 visible ASCII characters"))
        }
    }
}

impl Key {
    /// The same key names another command in another tenant.
    fn command(&self, tenant: TenantId) -> CommandId {
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

/// The versions on which a client has decided (RFC 9110, section 13.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IfMatch {
    /// `*`: it exists.
    Any,
    /// One of these.
    OneOf(Vec<Version>),
}

impl IfMatch {
    /// Whether a stream at this version is what the client has seen.
    pub(crate) fn admit(&self, version: Version) -> bool {
        match self {
            Self::Any => version > Version::ZERO,
            Self::OneOf(versions) => versions.contains(&version),
        }
    }
    fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut versions = Vec::new();
        for value in headers.get_all(header::IF_MATCH) {
            let text = value.to_str().unwrap_or_default().trim();
            if text == "*" {
                return Ok(Some(Self::Any));
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
        Ok((!versions.is_empty()).then_some(Self::OneOf(versions)))
    }
}

/// An id in the path.
#[derive(Debug)]
pub(crate) struct Id<T>(pub(crate) T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await.map(|Path(text)| text).unwrap_or_default();
        // One spelling per id: the library takes others of a UUID as well. The nil one is nobody's.
        let is_plain = Uuid::try_parse(&text).ok().is_none_or(|id| !id.is_nil() && id.to_string() == text);
        let id = if is_plain { text.parse().ok() } else { None };
        id.map(Self).ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "invalid_id", "the path holds no id where one must stand"))
    }
}

/// A command's body: one JSON value. Where it took its time to come, who sends it is looked at again.
#[derive(Debug)]
pub(crate) struct Body(Box<RawValue>);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;
    async fn from_request(mut request: Request, state: &S) -> Result<Self, Problem> {
        require_media_type(request.headers(), &["application/json"])?;
        let admitted = Admitted::of(&mut request);
        let bytes = Bytes::from_request(request, state).await.map_err(unreadable)?;
        if let Some(admitted) = admitted {
            admitted.still().await?;
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|e| malformed(&e))
    }
}

impl Body {
    /// The command `name` that the body holds.
    pub(crate) fn command(&self, name: &str) -> Result<Parsed, Problem> {
        Parsed::new(name, &self.0)
    }
    /// The command `name` that the body holds all of but the id, which stood in the path.
    pub(crate) fn command_on(&self, name: &str, id_field: &'static str, id: &str) -> Result<Parsed, Problem> {
        let command = Command::parse_with_id(name, id_field, id, &self.0).map_err(unparsable)?;
        Ok(Parsed { hash: hash(name, Some((id_field, id)), &self.0)?, command })
    }
}

/// A body that is no command: one JSON object, into its type.
#[derive(Debug)]
pub(crate) struct Fields<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Fields<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Body(json) = Body::from_request(request, state).await?;
        serde_json::from_str(json.get()).map(Self).map_err(|error| {
            // What serde says may quote a value, and a value may be a password.
            let text = error.to_string();
            let (code, detail) = if text.starts_with("missing field") {
                ("missing_field", "a field is missing; see /openapi.json")
            } else if text.starts_with("unknown field") {
                ("unknown_field", "there is a field too many; see /openapi.json")
            } else {
                ("invalid_field", "a field has another type than it should, or stands twice; see /openapi.json")
            };
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
        })
    }
}

/// A command and the hash of what it was read from.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) command: Command,
    pub(crate) hash: CommandHash,
}

impl Parsed {
    /// The command `name` with these fields.
    pub(crate) fn new(name: &str, fields: &RawValue) -> Result<Self, Problem> {
        Ok(Self { command: Command::parse(name, fields).map_err(unparsable)?, hash: hash(name, None, fields)? })
    }
}

/// Hash of a command's name and its fields in canonical form: without white space, keys in order. An id counts the same
/// in the path and in the body.
fn hash(name: &str, id: Option<(&str, &str)>, fields: &RawValue) -> Result<CommandHash, Problem> {
    let mut fields: serde_json::Value = serde_json::from_str(fields.get()).map_err(|e| malformed(&e))?;
    if let (Some((field, id)), Some(object)) = (id, fields.as_object_mut()) {
        object.insert(field.into(), id.into());
    }
    let mut text = name.as_bytes().to_vec();
    text.push(0);
    canonical(&fields, &mut text);
    let digest = Sha256::digest(&text);
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    Ok(CommandHash(Uuid::from_bytes(first)))
}

fn canonical(value: &serde_json::Value, out: &mut Vec<u8>) {
    match value {
        serde_json::Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            out.push(b'{');
            for (name, value) in fields {
                out.extend_from_slice(serde_json::Value::from(name.as_str()).to_string().as_bytes());
                out.push(b':');
                canonical(value, out);
                out.push(b',');
            }
            out.push(b'}');
        }
        serde_json::Value::Array(items) => {
            out.push(b'[');
            for item in items {
                canonical(item, out);
                out.push(b',');
            }
            out.push(b']');
        }
        plain @ (serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) | serde_json::Value::String(_)) => {
            out.extend_from_slice(plain.to_string().as_bytes());
        }
    }
}

/// 415 unless the body is of one of these types, uncompressed.
pub(crate) fn require_media_type(headers: &HeaderMap, accepted: &[&str]) -> Result<(), Problem> {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let text = types.next().filter(|_| types.next().is_none()).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let utf8 = parts.all(|parameter| {
        !parameter.to_ascii_lowercase().starts_with("charset=") || parameter[8..].trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    let plain = headers.get_all(header::CONTENT_ENCODING).iter().all(|encoding| encoding == "identity");
    if plain && utf8 && accepted.iter().any(|accepted| essence.eq_ignore_ascii_case(accepted)) {
        return Ok(());
    }
    let detail = format!("send the body as {}, in UTF-8 and uncompressed", accepted.join(" or "));
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
}

/// 413.
pub(crate) fn too_large(what: &str) -> Problem {
    let detail = format!("{what} is longer than {MAX_COMMAND} bytes; send less, or several commands through /v1/batch");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}

fn unreadable(rejection: BytesRejection) -> Problem {
    if let BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) = rejection {
        return too_large("the body");
    }
    Problem::new(StatusCode::BAD_REQUEST, "incomplete_body", "the body broke off; send it again")
}

/// 400 with line and column.
pub(crate) fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed_json", format!("not valid JSON: {error}"))
}

fn unparsable(error: ParseError) -> Problem {
    let status = if error.code == "malformed_json" { StatusCode::BAD_REQUEST } else { StatusCode::UNPROCESSABLE_ENTITY };
    let problem = Problem::new(status, error.code, error.message.clone());
    match error.field {
        Some(pointer) => problem.field(pointer, error.code, error.message),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(name: &str, id: Option<(&str, &str)>, json: &str) -> CommandHash {
        hash(name, id, serde_json::from_str(json).unwrap()).unwrap()
    }

    #[test]
    fn a_hash_knows_a_command_however_it_is_written() {
        let a = hash_of("X", None, r#"{"id":"7","a":[1,{"c":null,"b":"é\n"}]}"#);
        assert_eq!(a, hash_of("X", None, "{ \"a\": [1, {\"b\":\"\\u00e9\\u000a\", \"c\":null}],\n\"id\":\"7\"}"));
        assert_eq!(a, hash_of("X", Some(("id", "7")), r#"{"a":[1,{"c":null,"b":"é\n"}]}"#));
        for (name, other) in [
            ("Y", r#"{"id":"7","a":[1,{"c":null,"b":"é\n"}]}"#),
            ("X", r#"{"id":"7","a":[1,{"c":"null","b":"é\n"}]}"#),
            ("X", r#"{"id":"7","a":[{"c":null,"b":"é\n"},1]}"#),
            ("X", r#"{"id":"7","a":["1",{"c":null,"b":"é\n"}]}"#),
            ("X", r#"{"id":"7"}"#),
        ] {
            assert_ne!(a, hash_of(name, None, other), "{name} {other}");
        }
    }

    #[test]
    fn media_types_are_strict() {
        for (content_type, good) in [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json;charset=\"utf-8\"", true),
            ("application/json; charset=latin1", false),
            ("application/json; charset=ä", false),
            ("text/json", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_bytes(content_type.as_bytes()).unwrap());
            assert_eq!(require_media_type(&headers, &["application/json"]).is_ok(), good, "{content_type}");
        }
        assert!(require_media_type(&HeaderMap::new(), &["application/json"]).is_err());
    }
}
