//! Rows to JSON: every read, as of any day.
//!
//! A handler takes a [`platform::Reader`], so it can't be reached without the checks; it runs one SQL statement in the
//! tenant's transaction, and what the statement answers is the body. One module per capability: [`tenancy`],
//! [`organization`], [`employee`]; [`reports`] over them; [`icalendar`], which writes calendars for other programs; and [`access`], which
//! says what one may see and why.

pub mod access;
pub mod employee;
pub mod icalendar;
pub mod leave;
pub mod organization;
pub mod reports;
pub mod tenancy;

mod cursor;
mod histories;
mod openapi;
mod params;
mod progress;
mod read;
mod restrictions;
mod service;
mod sight;
mod today;

#[cfg(fuzzing)]
pub mod fuzzing;

pub use params::{Day, Fresh, Limit};
pub use read::{Answer, Positioned, Reads};
pub use service::run;

use std::sync::{Arc, LazyLock};

use axum::{Router, extract::FromRef, middleware::from_fn_with_state, routing::get};
use platform::{Gate, Registry, history};
use store::Store;
use utoipa::{OpenApi as _, openapi::tag::TagBuilder};
use utoipa_axum::{router::OpenApiRouter, routes};

/// What handlers need; each takes only its part.
#[derive(Clone, FromRef)]
pub struct App {
    /// Checks every request.
    pub gate: Gate,
    /// The tenants.
    pub registry: Registry,
    /// The read models.
    pub reads: Reads,
    /// The facts, for audit reads.
    pub store: Store,
}

/// Every route. `platform::http::shell` goes around it.
pub fn router(app: App) -> Router {
    let (gate, stamped) = (app.gate.clone(), app.gate.clone());
    gate.ask_about_leavers(Arc::new(app.reads.beside()));
    let (routes, _) = documented().split_for_parts();
    routes
        .route("/openapi.json", get(|| async { openapi::served(&OPENAPI) }))
        .route("/docs", get(openapi::docs))
        .route("/", get(openapi::home))
        .route("/.well-known/jwks.json", get(move || async move { axum::Json(gate.jwks()) }))
        .layer(from_fn_with_state(stamped, history::stamp))
        .with_state(app)
}

macro_rules! routes_of_capabilities {
    (platform [$($platform:ident { $($platform_kinds:tt)* })*] tenants [$($tenants:ident { $($tenants_kinds:tt)* })*]) => {
        /// Every capability's routes, and what their tag says.
        fn capabilities() -> Vec<(OpenApiRouter<App>, &'static str, &'static str)> {
            vec![
                $(($platform::routes(), stringify!($platform), $platform::TAG),)*
                $(($tenants::routes(), stringify!($tenants), $tenants::TAG),)*
            ]
        }
    };
}
events::capabilities!(routes_of_capabilities);

/// All routes, with the contract.
fn documented() -> OpenApiRouter<App> {
    let mut documented =
        OpenApiRouter::with_openapi(openapi::Document::openapi()).routes(routes!(reports::headcount)).routes(routes!(access::explain));
    let mut tags = vec![("reports", "Headcount and pay")];
    for (routes, name, says) in capabilities() {
        documented = documented.merge(routes);
        tags.push((name, says));
    }
    tags.sort_unstable();
    let tag = |(name, says): (&str, &str)| TagBuilder::new().name(name).description(Some(says)).build();
    documented.get_openapi_mut().tags = Some(tags.into_iter().map(tag).collect());
    documented
}

static OPENAPI: LazyLock<String> = LazyLock::new(openapi_json);

/// The OpenAPI 3.1 document, pretty-printed as it stands in `openapi.json`.
pub fn openapi_json() -> String {
    let (_, mut document) = documented().split_for_parts();
    openapi::everywhere(&mut document);
    let mut json = document.to_pretty_json().expect("the document holds only text, numbers and lists");
    json.push('\n');
    json
}

#[cfg(test)]
mod tests {
    /// The contract changes only on purpose: `UPDATE_OPENAPI=1 cargo test -p query-api` writes the new one.
    #[test]
    fn the_contract_is_the_one_on_file() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let now = super::openapi_json();
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        let filed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(now == filed, "openapi.json differs from the routes; if that is meant, run UPDATE_OPENAPI=1 cargo test -p query-api");
    }
}
