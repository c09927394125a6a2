//! What a request may be answered with instead of what it asks for, as the OpenAPI documents of both APIs say it.
//!
//! A route declares the problems that are its own. Problems that many routes share (of the token, of a body, of a command) stand in
//! lists of [`Shared`], and [`describe`] adds them to each route that they are for. `tests/contract.rs` looks up in the documents
//! whatever problem any test is answered with, and every code that the sources name.

use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{
        OpenApi, Ref, RefOr, Response,
        content::ContentBuilder,
        path::{Operation, Parameter, ParameterIn},
    },
};

use crate::FieldProblem;

/// An RFC 9457 problem document.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemDocument {
    /// `https://tenure.dev/problems/{code}`
    r#type: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What happened and what to do about it.
    detail: String,
    /// The stable code.
    error: String,
    /// The fields at fault, where there are any.
    #[schema(required = false)]
    errors: Vec<FieldProblem>,
}

/// What a route takes: the problems that it shares with others depend on it.
#[derive(Debug)]
pub struct Takes {
    /// The route's path, such as `/v1/employees/{id}`.
    pub path: String,
    /// An access token.
    pub token: bool,
    /// One JSON value as its body.
    pub json: bool,
    /// The names of the parameters in its query string.
    pub query: Vec<String>,
    /// The names of the headers that it documents.
    pub headers: Vec<String>,
}

impl Takes {
    fn of(path: &str, operation: &Operation) -> Self {
        let names = |place: &ParameterIn| {
            let parameter = |parameter: &RefOr<Parameter>| match parameter {
                RefOr::T(parameter) if parameter.parameter_in == *place => Some(parameter.name.clone()),
                RefOr::T(_) | RefOr::Ref(_) => None,
            };
            operation.parameters.iter().flatten().filter_map(parameter).collect()
        };
        let json = matches!(&operation.request_body, Some(RefOr::T(body)) if body.content.contains_key("application/json"));
        let (query, headers) = (names(&ParameterIn::Query), names(&ParameterIn::Header));
        Self { path: path.into(), token: operation.security.is_none(), json, query, headers }
    }
    /// Whether an id stands in the path.
    pub fn id(&self) -> bool {
        self.path.contains("{id}")
    }
    /// Whether it is a command: it takes an `Idempotency-Key`.
    pub fn is_command(&self) -> bool {
        self.headers.iter().any(|name| name == "Idempotency-Key")
    }
}

/// Problems of one status that several routes may answer with.
pub struct Shared {
    /// Which routes.
    pub of: fn(&Takes) -> bool,
    /// The HTTP status.
    pub status: u16,
    /// Each code, and what it means or what to do where the code does not say it.
    pub codes: Vec<(&'static str, &'static str)>,
}

/// Short for a list of [`Shared`].
pub fn shared<const N: usize>(of: fn(&Takes) -> bool, status: u16, codes: [(&'static str, &'static str); N]) -> Shared {
    Shared { of, status, codes: codes.into() }
}

/// The problems that come of what both APIs do alike, in the order of [the checks](crate::auth).
fn of_both() -> Vec<Shared> {
    const RETRY: &str = "with `Retry-After`";
    vec![
        shared(|_| true, 400, [("unknown_parameter", ""), ("invalid_tenant", "host or `Tenure-Tenant` name none that could be")]),
        shared(Takes::id, 400, [("invalid_id", "")]),
        shared(|takes| !takes.query.is_empty(), 400, [("invalid_parameter", "")]),
        shared(|takes| takes.json, 400, [("malformed_json", ""), ("incomplete_body", "send it again")]),
        shared(|takes| takes.token, 401, [("missing_token", ""), ("invalid_token", "")]),
        shared(|takes| takes.token, 402, [("subscription_expired", "")]),
        shared(|_| true, 403, [("tenant_mismatch", "")]),
        shared(|takes| takes.token, 403, [("tenant_missing", ""), ("tenant_suspended", ""), ("forbidden", "")]),
        shared(|takes| takes.token, 404, [("tenant_not_found", "")]),
        shared(|takes| !takes.token, 408, [("body_timeout", "the body did not come within five seconds")]),
        shared(|takes| takes.token, 409, [("history_restored", "what the request carries is of before a restore")]),
        shared(|takes| takes.json, 413, [("body_too_large", "")]),
        shared(|takes| takes.json, 415, [("unsupported_media_type", "")]),
        shared(|takes| takes.json, 422, [("missing_field", ""), ("unknown_field", ""), ("invalid_field", "")]),
        shared(|_| true, 429, [("rate_limited", RETRY)]),
        shared(|takes| takes.token, 431, [("token_too_large", "")]),
        shared(|_| true, 500, [("internal", "quote its incident when you report it")]),
        shared(|_| true, 503, [("overloaded", ""), ("timeout", ""), ("database_unavailable", ""), ("tenant_not_ready", "")]),
        shared(|takes| takes.token, 503, [("issuer_unavailable", ""), ("store_unavailable", ""), ("rights_changed", "")]),
        shared(|takes| takes.token, 503, [("history_changing", ""), ("history_diverged", "")]),
    ]
}

/// Adds to every route of a document what it may be answered with instead: the problems of both APIs and those that this API's routes
/// share. What a route says itself of a status or a code stays.
pub fn describe(document: &mut OpenApi, of_this_one: Vec<Shared>) {
    let all: Vec<Shared> = of_both().into_iter().chain(of_this_one).collect();
    for (path, item) in &mut document.paths.paths {
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            let takes = Takes::of(path, operation);
            for Shared { status, codes, .. } in all.iter().filter(|shared| (shared.of)(&takes)) {
                let response = operation.responses.responses.entry(status.to_string()).or_insert_with(|| RefOr::T(Response::default()));
                let RefOr::T(response) = response else { continue };
                for (code, says) in codes {
                    add(response, code, says);
                }
            }
            for (_, response) in operation.responses.responses.iter_mut().filter(|(status, _)| status.as_str() >= "400") {
                as_problem(response);
            }
        }
    }
}

/// Names a code in the description of a status, if that does not name it already.
fn add(response: &mut Response, code: &str, says: &str) {
    let named = format!("`{code}`");
    if response.description.contains(&named) {
        return;
    }
    let sentence = if says.is_empty() { named } else { format!("{named}: {says}") };
    // A semicolon ends an explanation, so that the next code does not read as part of it.
    let separator = match response.description.rsplit("; ").next() {
        None | Some("") => "",
        Some(last) if last.contains(": ") || !says.is_empty() => "; ",
        Some(_) => ", ",
    };
    response.description += separator;
    response.description += &sentence;
}

/// Says that the answer is a problem document, where nothing else is said.
fn as_problem(response: &mut RefOr<Response>) {
    if let RefOr::T(response) = response
        && response.content.is_empty()
    {
        let content = ContentBuilder::new().schema(Some(RefOr::Ref(Ref::from_schema_name("ProblemDocument")))).build();
        response.content.insert("application/problem+json".into(), RefOr::T(content));
    }
}
