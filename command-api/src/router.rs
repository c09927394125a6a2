//! The routes.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::header::CONTENT_LENGTH;
use platform::{
    Gate, Strangers,
    auth::QueryParameters,
    history,
    http::Limits,
    request::{MAX_BODY, too_large},
};
use utoipa::{
    Modify as _, OpenApi as _,
    openapi::{
        PathItem, RefOr,
        path::{Parameter, ParameterIn},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app::App, batch, contract, openapi};

/// Every route. `platform::http::shell` goes around it.
pub fn router(app: App) -> Router {
    let written_down = middleware::from_fn_with_state(app.logins.clone(), identity::write_down_forbidden);
    let (commands, document) = commands().merge(identity::routes().route_layer(written_down)).split_for_parts();
    let (batches, _) = batches().split_for_parts();
    let parameters = QueryParameters(query_parameters(&document).into());
    commands
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(announced_size))
        .merge(batches)
        .layer(Extension(parameters))
        .route("/openapi.json", get(|| async { openapi::served(&OPENAPI) }))
        .route("/docs", get(openapi::docs))
        .layer(middleware::from_fn_with_state(app.gate.clone(), history::stamp))
        .with_state(app)
}

macro_rules! commands {
    (platform [$($platform:ident { $($platform_kinds:tt)* })*] tenants [$($tenants:ident { $($tenants_kinds:tt)* })*]) => {
        /// The commands of all capabilities; each module's `routes` is its table of contents.
        fn commands() -> OpenApiRouter<App> {
            OpenApiRouter::new()
                $(.merge(crate::$tenants::routes()))*
                $(.merge(crate::$platform::routes()))*
        }
    };
}
events::capabilities!(commands);

fn batches() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(batch::execute_batch))
}

/// Size comes before the token: a body that says it is too large is refused before anything else is looked at.
async fn announced_size(request: Request, next: Next) -> Response {
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > MAX_BODY as u64) {
        return too_large("the body").into_response();
    }
    next.run(request).await
}

/// How requests are admitted to the routes that take no token; as many bodies of theirs may be on their way as requests be in work.
pub fn strangers(gate: Gate, limits: &Limits) -> Strangers {
    let (_, document) = commands().merge(identity::routes()).split_for_parts();
    Strangers::new(gate, open_paths(&document), MAX_BODY, limits.concurrent)
}

/// What may stand in a query string, by the route's path.
fn query_parameters(document: &utoipa::openapi::OpenApi) -> HashMap<String, Vec<String>> {
    let name = |parameter: &RefOr<Parameter>| match parameter {
        RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query => Some(parameter.name.clone()),
        RefOr::T(_) | RefOr::Ref(_) => None,
    };
    let names = |item: &PathItem| {
        let operations = item.get.iter().chain(&item.post);
        operations.flat_map(|operation| operation.parameters.iter().flatten()).filter_map(name).collect()
    };
    document.paths.paths.iter().map(|(path, item)| (path.clone(), names(item))).collect()
}

/// Those that say of themselves that they need no token.
fn open_paths(document: &utoipa::openapi::OpenApi) -> HashSet<String> {
    let is_open = |item: &PathItem| item.post.as_ref().is_some_and(|operation| operation.security.is_some());
    document.paths.paths.iter().filter(|(_, item)| is_open(item)).map(|(path, _)| path.clone()).collect()
}

static OPENAPI: LazyLock<String> = LazyLock::new(openapi_json);

/// The OpenAPI 3.1 document, pretty-printed as it stands in `openapi.json`.
pub fn openapi_json() -> String {
    let (_, mut document) = OpenApiRouter::with_openapi(openapi::Document::openapi())
        .merge(commands())
        .merge(identity::routes())
        .merge(batches())
        .split_for_parts();
    openapi::IdsInPaths.modify(&mut document);
    contract::describe(&mut document);
    let mut json = document.to_pretty_json().expect("the document holds only text, numbers and lists");
    json.push('\n');
    json
}

#[cfg(test)]
mod tests {
    /// The contract changes only on purpose: `UPDATE_OPENAPI=1 cargo test -p command-api` writes the new one.
    #[test]
    fn the_contract_is_the_one_on_file() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let now = super::openapi_json();
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        let filed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(now == filed, "openapi.json differs from the routes; if that is meant, run UPDATE_OPENAPI=1 cargo test -p command-api");
    }

    #[test]
    fn every_command_has_a_route_and_an_id_in_a_path_is_not_in_the_body() {
        let document: serde_json::Value = serde_json::from_str(&super::openapi_json()).unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for name in domain::Command::names() {
            assert!(schemas.contains_key(name), "{name} has no route");
        }
        let body = |path: &str| &document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"];
        let on_path = body("/v1/employees/{id}/termination");
        assert!(on_path["properties"]["employee_id"].is_null() && !on_path["properties"]["last_day_worked"].is_null(), "{on_path}");
        assert_eq!(on_path["required"], serde_json::json!(["last_day_worked", "reason"]));
        assert_eq!(body("/v1/employees")["$ref"], "#/components/schemas/HireEmployee");
    }
}
