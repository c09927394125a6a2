//! RFC 9457 problem documents. Nothing internal is ever in one.

use ::http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use axum::response::{IntoResponse, Response};
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
    /// The document as JSON (RFC 9457, with `error` and, where fields are at fault, `errors`).
    pub fn document(&self) -> serde_json::Value {
        let mut document = serde_json::json!({
            "type": format!("https://tenure.dev/problems/{}", self.code),
            "title": self.title(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "error": self.code,
        });
        if !self.errors.is_empty() {
            document["errors"] = serde_json::json!(self.errors);
        }
        document
    }
    /// The code as a sentence: `tenant_mismatch` is "Tenant mismatch".
    fn title(&self) -> String {
        let mut title = self.code.replace('_', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        title
    }
    /// What only an operator can mend: 500 with a code of its own. No retry helps, and nothing of it goes on (I8).
    pub(crate) fn damaged(code: &'static str, cause: &dyn std::fmt::Display) -> Self {
        let problem = Self::internal(cause);
        tracing::error!(target: "audit", error = code, %cause, "ALERT: the key store is damaged");
        Self {
            code,
            detail: format!("keys of your organization's can't be read, which an operator has to mend: {}", problem.detail),
            ..problem
        }
    }
    /// Something of ours broke: 500 `internal`. The client gets an id to quote; only the log says what happened.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        let incident = uuid::Uuid::now_v7();
        tracing::error!(%incident, %cause, "internal error");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            format!("something went wrong on our side; quote incident {incident} when you report it"),
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.document().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A database that is away is 503 with `Retry-After`; anything else is 500 and only the log says what.
impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        if database_is_away(&error) {
            tracing::warn!(%error, "the database is unavailable");
            Self::unavailable("database_unavailable", "the database does not answer at the moment; try again shortly")
        } else {
            Self::internal(&error)
        }
    }
}

/// Whether the same statement may succeed later: the server is away, starting, stopping, full or overloaded.
#[expect(clippy::wildcard_enum_match_arm, reason = "the enum is foreign and may grow; what is not listed is a bug of ours")]
pub fn database_is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        // sqlx takes a connection that is closed before the server has answered its request for TLS for an answer of zero.
        sqlx::Error::Protocol(what) => what.contains("SSLRequest: 0x00"),
        // 08 connection, 40 serialization and deadlocks, 53 resources (too many connections, disk full), 57 operator intervention
        // (shutdown, cancelled by statement_timeout), 58 system error (the disk fails), 25006 a server that only reads, as after a
        // fail-over, 25P03 idle-in-transaction timeout, 55P03 lock timeout. `store` has the same list; a test compares them.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)) || ["25006", "25P03", "55P03"].contains(&&*code)
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_problem_is_an_rfc_9457_document() {
        let problem = Problem::unavailable("database_unavailable", "try again").field("/rate", "negative", "must be positive");
        let response = problem.into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["retry-after"], "1");
        let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            document,
            serde_json::json!({
                "type": "https://tenure.dev/problems/database_unavailable", "title": "Database unavailable", "status": 503,
                "detail": "try again", "error": "database_unavailable",
                "errors": [{"pointer": "/rate", "code": "negative", "detail": "must be positive"}],
            })
        );
    }

    /// A server that stops, or a network that is cut, ends a connection anywhere in its beginnings.
    #[tokio::test]
    async fn a_connection_that_is_closed_while_it_is_made_is_an_absent_database() {
        use sqlx::ConnectOptions as _;
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        crate::tls::use_one_provider();
        for answered in [&b""[..], b"S", b"N", b"NR", b"NR\0\0\0\x08", b"NR\0\0\0\x08\0\0\0\0", b"NR\0\0\0\x08\0\0\0\0Z\0\0"] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let port = listener.local_addr().expect("its address").port();
            let server = tokio::spawn(async move {
                let (mut socket, _) = listener.accept().await.expect("a client");
                let mut request = [0; 8];
                socket.read_exact(&mut request).await.expect("the request for TLS");
                socket.write_all(answered).await.expect("a client that listens");
            });
            let options = sqlx::postgres::PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port).username("nobody");
            let error = options.connect().await.expect_err("there is no server");
            assert!(database_is_away(&error), "{answered:?}: {error:?}");
            server.await.expect("the server");
        }
    }

    #[test]
    fn an_absent_database_is_503_and_a_bug_500_without_its_text() {
        assert_eq!(Problem::from(sqlx::Error::PoolTimedOut).status, 503);
        let bug = Problem::from(sqlx::Error::ColumnNotFound("secret_column".into()));
        assert_eq!(bug.status, 500);
        assert!(!bug.document().to_string().contains("secret_column"));
    }
}
