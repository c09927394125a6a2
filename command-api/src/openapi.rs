//! The contract, generated from the routes, and a page to read it on that needs nothing from elsewhere.

use std::{collections::BTreeMap, sync::LazyLock};

use axum::{http::header, response::IntoResponse};
use platform::{
    openapi::{ProblemDocument, problems},
    page::Page,
};
use utoipa::{
    IntoParams, IntoResponses, Modify, OpenApi,
    openapi::{
        Components, RefOr, Response, ResponseBuilder,
        path::{Operation, PathItem},
        schema::Schema,
        security::{Http, HttpAuthScheme, SecurityScheme},
        tag::TagBuilder,
    },
};

/// The headers that every command takes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "documentation; `request::Head` reads them")]
pub(crate) struct CommandHeaders {
    /// Your name for this command, 1 to 200 visible ASCII characters. Sent again with the same key, the command gets its
    /// first answer; another command with the same key is refused.
    #[param(rename = "Idempotency-Key", required = false, max_length = 200)]
    idempotency_key: Option<String>,
    /// The `ETag` of the last answer about the same thing: if it has changed since, the command is refused with 412.
    #[param(rename = "If-Match", required = false, example = "\"7\"")]
    if_match: Option<String>,
}

/// The codes of 409.
static CONFLICTS: LazyLock<String> = LazyLock::new(|| {
    let taken: Vec<_> = domain::uniques().map(|unique| format!("`{}`", unique.code)).collect();
    format!(
        "{}; `conflict`: others were faster, try again; `history_restored`: what `If-Match` holds is of before a restore",
        taken.join(", ")
    )
});

/// What every command may be answered with instead.
pub(crate) struct CommandProblems;

impl IntoResponses for CommandProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems([
            ("400", "`malformed_json`, `invalid_id`, `invalid_idempotency_key`, `invalid_if_match`"),
            ("401", "`missing_token`, `invalid_token`"),
            ("402", "`subscription_expired`"),
            ("403", "`tenant_mismatch`, `tenant_suspended`, `forbidden`"),
            ("404", "`tenant_not_found`; `not_found`: there is no such thing in this tenant"),
            ("409", CONFLICTS.as_str()),
            ("412", "`precondition_failed`: not at the version in `If-Match`"),
            ("413", "`body_too_large`"),
            ("415", "`unsupported_media_type`"),
            ("429", "`rate_limited`: the tenant sends too much; with `Retry-After`"),
            (
                "422",
                "`unknown_field`, `missing_field`, `invalid_field`, `unknown_reference`, `idempotency_key_reused`, or a rule's own code",
            ),
            (
                "503",
                "`overloaded`, `timeout`, `store_unavailable`, `database_unavailable`, `tenant_not_ready`, `rights_changed`, `history_changing`, `history_diverged`: try again with the same key",
            ),
        ])
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tenure command API",
        description = "Every change to an organization and its people, each a command of its own.\n\nA command is answered once its events are durable. The answer carries the stream's version (also as `ETag`) and the position to send to the query API as `Tenure-Min-Position` (also as the header `Tenure-Position`).\n\nSend every command with an `Idempotency-Key`: then it can be sent again after a timeout or a lost connection and gets its first answer. Send `If-Match` with the `ETag` that you have seen to be sure that nobody changed it meanwhile.\n\nErrors are RFC 9457 problem documents with a stable `error` code, and `errors` that point at the fields at fault. A refusal changes nothing."
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

/// What takes no token waits for its body only so long.
pub(crate) fn may_be_too_slow(item: &mut PathItem) {
    let response = ResponseBuilder::new().description("`body_timeout`: the body did not come within five seconds").build();
    if let Some(operation) = &mut item.post {
        operation.responses.responses.insert("408".into(), response.into());
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
