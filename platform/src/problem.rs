//! RFC 9457 problem documents. Nothing internal is ever in one.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldProblem {
    /// JSON Pointer (RFC 6901) to the field.
    pub pointer: String,
    /// A stable code.
    pub code: String,
    /// What to mend, for people.
    pub detail: String,
}

/// An error as a client sees it. `type` is `https://tenure.dev/problems/{code}` and `error` is the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// The stable code, snake case.
    pub code: &'static str,
    /// What happened and what to do about it, for people.
    pub detail: String,
    /// The fields at fault.
    pub errors: Vec<FieldProblem>,
    /// Seconds, for `Retry-After`.
    pub retry_after: Option<u32>,
}

impl Problem {
    /// A problem with a status and a code.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }
    /// Names a field at fault.
    pub fn field(mut self, pointer: impl Into<String>, code: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(FieldProblem { pointer: pointer.into(), code: code.into(), detail: detail.into() });
        self
    }
    /// Something is away: 503 with `Retry-After`.
    pub fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        problem.retry_after = Some(1);
        problem
    }
    /// The document as JSON, for bulk answers.
    pub fn document(&self) -> serde_json::Value {
        todo!()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        todo!()
    }
}
