//! What a request carries besides its token: an id in the path, a JSON body.
//!
//! Everything is strict: what is malformed is refused and named; nothing is guessed.

use std::str::FromStr;

use axum::extract::{
    FromRequest, FromRequestParts, Path, Request,
    rejection::{BytesRejection, FailedToBufferBody},
};
use bytes::Bytes;
use events::CorrelationId;
use http::{HeaderMap, StatusCode, header, request::Parts};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{Problem, auth::Admitted, http::RequestId};

/// Bytes of a JSON body at most, and so of one command.
pub const MAX_BODY: usize = 64 * 1024;

/// Ties together what the request causes.
pub fn correlation(parts: &Parts) -> CorrelationId {
    CorrelationId::from_uuid(parts.extensions.get::<RequestId>().map_or_else(Uuid::now_v7, |id| id.0))
}

/// An id in the path.
#[derive(Debug)]
pub struct PathId<T>(pub T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for PathId<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await.map(|Path(text)| text).unwrap_or_default();
        // Capitals are the same id; the library takes yet other spellings of a UUID. The nil one is nobody's.
        let is_plain = Uuid::try_parse(&text).ok().is_none_or(|id| !id.is_nil() && id.to_string().eq_ignore_ascii_case(&text));
        let id = if is_plain { text.parse().ok() } else { None };
        id.map(Self).ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "invalid_id", "the path holds no id where one must stand"))
    }
}

/// A body of one JSON value. Where it took its time to come, who sends it is looked at again.
#[derive(Debug)]
pub struct JsonBody(Box<RawValue>);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
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

impl JsonBody {
    /// The value as it was written.
    pub fn json(&self) -> &RawValue {
        &self.0
    }
}

/// A body of one JSON object that is no command, read into its type.
#[derive(Debug)]
pub struct Fields<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Fields<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = JsonBody::from_request(request, state).await?;
        serde_json::from_str(body.json().get()).map(Self).map_err(|error| {
            // serde's message may quote a value, which may be a password. Only the kind of the error is told.
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

/// 415 unless the body is of one of these types, uncompressed.
pub fn require_media_type(headers: &HeaderMap, accepted: &[&str]) -> Result<(), Problem> {
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
pub fn too_large(what: &str) -> Problem {
    let detail = format!("{what} is longer than {MAX_BODY} bytes; send less, or several commands through /v1/batch");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}

fn unreadable(rejection: BytesRejection) -> Problem {
    if let BytesRejection::FailedToBufferBody(FailedToBufferBody::LengthLimitError(_)) = rejection {
        return too_large("the body");
    }
    Problem::new(StatusCode::BAD_REQUEST, "incomplete_body", "the body broke off; send it again")
}

/// 400 with line and column.
pub fn malformed(error: &serde_json::Error) -> Problem {
    let what = if error.is_eof() { "ends too early" } else { "goes wrong" };
    let detail = format!("the body is not valid JSON; it {what} at line {} column {}", error.line(), error.column());
    Problem::new(StatusCode::BAD_REQUEST, "malformed_json", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

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
