//! What came of a command, as HTTP.

use axum::response::{IntoResponse, Response};
use execution::{Answer, Failure};
use http::{HeaderName, HeaderValue, StatusCode, header};
use platform::Problem;

const POSITION: HeaderName = HeaderName::from_static("tenure-position");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The response to a command that was carried out; `creates` says whether the command makes something new.
pub(crate) fn respond(answer: &Answer, creates: bool) -> Response {
    let status = if creates && !answer.events.is_empty() { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = (status, axum::Json(answer)).into_response();
    let headers = response.headers_mut();
    headers.insert(POSITION, answer.position.0.into());
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", answer.version)) {
        headers.insert(header::ETAG, etag);
    }
    if answer.replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// The response to a command that was not.
pub(crate) struct Failed(Failure);

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        match self.0 {
            Failure::Refused(problem) | Failure::Conflict(problem) | Failure::Broken(problem) => problem.into_response(),
            Failure::RefusedEarlier(status, document) => {
                let replayed = [(REPLAYED, HeaderValue::from_static("true"))];
                let mut response = (status, replayed, document.to_string()).into_response();
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
                response
            }
        }
    }
}
