//! The contract, generated from the routes, and a page to read it on that needs nothing from elsewhere.

use std::sync::LazyLock;

use axum::{http::header, response::IntoResponse};
pub(crate) use platform::contract::ProblemDocument;
use platform::{
    FieldProblem,
    contract::{describe, shared},
    page::Page,
};
use utoipa::{
    OpenApi,
    openapi::{
        ObjectBuilder, RefOr, Required,
        path::{ParameterBuilder, ParameterIn},
        schema::Type,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tenure query API",
        description = "Every read of Tenure, as of any day.\n\nEvery answer carries `Tenure-Position`, the position of the tenant's log that it stands at: take it as an opaque text. Send it back as `Tenure-Min-Position` to read your own writes: the answer is then at least that new, or 503 `projection_behind`; `Prefer: wait=S` waits for it up to S seconds (at most 30).\n\nErrors are RFC 9457 problem documents with a stable `error` code; each route says which, and docs/http.md in which order they are looked for."
    ),
    components(schemas(ProblemDocument, FieldProblem)),
    security(("token" = []))
)]
pub(crate) struct Document;

/// Adds what holds for every route: the token, how fresh the answer must be, and the problems that it may be answered with.
pub(crate) fn everywhere(document: &mut utoipa::openapi::OpenApi) {
    let mut token = Http::new(HttpAuthScheme::Bearer);
    token.bearer_format = Some("JWT".into());
    document.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(token));
    let header = |name: &str, description: &str, schema| {
        let header = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header).required(Required::False);
        RefOr::T(header.description(Some(description)).schema(Some(schema)).build())
    };
    let position = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^([0-9]+-[0-9a-f]{8}\\.)?[0-9]{1,18}$"));
    let headers = [
        header(
            "Tenure-Min-Position",
            "The position of the tenant's log that the answer must at least stand at, as `Tenure-Position` said it.",
            position,
        ),
        header("Prefer", "`wait=S`: wait for that position up to S seconds.", ObjectBuilder::new().schema_type(Type::String)),
    ];
    for operation in document.paths.paths.values_mut().filter_map(|path| path.get.as_mut()) {
        operation.parameters.get_or_insert_default().extend(headers.clone());
    }
    let of_reads = vec![
        shared(|_| true, 400, [("invalid_header", "of `Tenure-Min-Position` or `Prefer`")]),
        shared(|takes| takes.query.iter().any(|name| name == "cursor"), 400, [("invalid_cursor", "")]),
        shared(|_| true, 503, [("projection_behind", "with the lag"), ("read_model_not_ready", "")]),
    ];
    describe(document, of_reads);
}

/// `/openapi.json`
pub(crate) fn served(json: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")], json)
}

/// `/docs`: reads `/openapi.json` and lays it out.
pub(crate) async fn docs() -> impl IntoResponse {
    static DOCS: LazyLock<Page> = LazyLock::new(|| Page::new(include_str!("docs.html")));
    DOCS.response()
}

/// `/`: headcount over time, departments, the org chart and people, as of any day, for whoever pastes a token.
pub(crate) async fn home() -> impl IntoResponse {
    static HOME: LazyLock<Page> = LazyLock::new(|| Page::new(include_str!("home.html")));
    HOME.response()
}
