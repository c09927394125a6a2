//! The contract, generated from the routes, and a page to read it on that needs nothing from elsewhere.

use std::sync::LazyLock;

use axum::{http::header, response::IntoResponse};
use platform::{contract::ProblemDocument, page::Page};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Components, RefOr,
        path::Operation,
        schema::Schema,
        security::{Http, HttpAuthScheme, SecurityScheme},
        tag::TagBuilder,
    },
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tenure command API",
        description = "Every change to an organization and its people, each a command of its own.\n\nA command is answered once its events are durable. The answer carries the stream's version (also as `ETag`) and the position to send to the query API as `Tenure-Min-Position` (also as the header `Tenure-Position`).\n\nSend every command with an `Idempotency-Key`: then it can be sent again after a timeout or a lost connection and gets its first answer: for ever where it was accepted, for 24 hours where it was refused. A key is yours: others may use the same one. Send `If-Match` with the `ETag` that you have seen to be sure that nobody changed it meanwhile.\n\nErrors are RFC 9457 problem documents with a stable `error` code, which each route lists, and `errors` that point at the fields at fault. A refusal changes nothing."
    ),
    components(schemas(ProblemDocument)),
    modifiers(&Token, &Tags, &IdsInPaths),
    security(("token" = []))
)]
pub(crate) struct Document;

macro_rules! tags {
    (platform [$($platform:ident { $($platform_kinds:tt)* })*] tenants [$($tenants:ident { $($tenants_kinds:tt)* })*]) => {
        /// What the routes are about: each capability, what operators do last.
        const TAGS: &[(&str, &str)] = &[
            $((stringify!($tenants), crate::$tenants::TAG),)*
            ("identity", "Users, log-in, machines"),
            $((stringify!($platform), crate::$platform::TAG),)*
            ("batch", "Many commands at once"),
        ];
    };
}
events::capabilities!(tags);

struct Tags;
impl Modify for Tags {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let tag = |(name, about): &(&str, &str)| TagBuilder::new().name(*name).description(Some(*about)).build();
        openapi.tags = Some(TAGS.iter().map(tag).collect());
    }
}

struct Token;
impl Modify for Token {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let mut http = Http::new(HttpAuthScheme::Bearer);
        http.bearer_format = Some("JWT".into());
        openapi.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(http));
    }
}

/// An id that stands in the path must not stand in the body: takes it out of the body's schema.
pub(crate) struct IdsInPaths;
impl Modify for IdsInPaths {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let Some(components) = &openapi.components else { return };
        for (path, item) in &mut openapi.paths.paths {
            if let Some(operation) = item.post.as_mut().filter(|_| path.contains("{id}")) {
                take_out_id(operation, components);
            }
        }
    }
}

fn take_out_id(operation: &mut Operation, components: &Components) {
    let Some(RefOr::T(body)) = operation.request_body.as_mut() else { return };
    let Some(RefOr::T(content)) = body.content.get_mut("application/json") else { return };
    let Some(RefOr::Ref(reference)) = &content.schema else { return };
    let name = reference.ref_location.rsplit('/').next().unwrap_or_default();
    let Some(RefOr::T(Schema::Object(full))) = components.schemas.get(name) else { return };
    let mut body = full.clone();
    // The id is a command's first field.
    if let Some(id) = body.properties.keys().next().filter(|field| field.ends_with("_id")).cloned() {
        body.properties.shift_remove(&id);
        body.required.retain(|field| *field != id);
    }
    content.schema = Some(RefOr::T(Schema::Object(body)));
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
