//! Serves the web console at the tenants' hosts, and is its backend: it keeps the tokens of those who are logged in, gives the
//! browser a cookie instead, and passes requests on to the two APIs ([ADR 0016](../../docs/adr/0016-tokens-stay-in-the-console.md)).
//!
//! Reading order: [`pass`] (a request to an API), [`login`] (how a session begins and ends), [`sessions`] (what is kept of one);
//! below them [`same_origin`] (whose requests are taken), [`cookies`], [`upstream`] (how the APIs are asked), [`contracts`] (which
//! API has a route), [`assets`] (the built front end).

mod assets;
mod contracts;
mod cookies;
mod login;
mod pass;
mod same_origin;
mod sessions;
mod upstream;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::FromRef,
    routing::{any, get},
};
use platform::{
    Config, health,
    http::{Limits, shell},
};
use tokio_util::sync::CancellationToken;

use crate::{contracts::Contracts, login::Hosting, sessions::Sessions, upstream::Upstream};

/// What handlers need; each takes only its part.
#[derive(Clone, FromRef)]
struct App {
    upstream: Upstream,
    sessions: Sessions,
    contracts: Arc<Contracts>,
    hosting: Hosting,
}

/// Requests in flight get this long once the process is told to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// The query API may wait this long for a position before its work begins.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Serves until told to stop. It is ready as soon as it serves: where an API is away it says so to whoever asks.
pub async fn run(config: Config, stop: CancellationToken) -> anyhow::Result<()> {
    let mut limits = Limits::of(&config);
    limits.timeout += LONGEST_WAIT;
    let app = router(&config)?;
    tracing::info!(listen = %config.listen, built = assets::is_built(), "serving the console");
    health::serve_metrics(&config, stop.clone()).await?;
    health::serve(&config, shell(app.merge(health::router(vec![])), limits, None), stop, DRAIN).await
}

/// Every route. `platform::http::shell` goes around it.
fn router(config: &Config) -> anyhow::Result<Router> {
    let app = App {
        upstream: Upstream::of(config)?,
        sessions: Sessions::new(),
        contracts: Arc::new(Contracts::of_both_apis()?),
        hosting: Hosting { base_domain: config.base_domain.as_str().into() },
    };
    let routes = Router::new()
        .route("/session", get(login::show).post(login::log_in).delete(login::log_out))
        .route("/v1/{*path}", any(pass::pass))
        .route("/assets/{*path}", get(assets::asset))
        .route("/", get(assets::page))
        .route("/{*path}", get(assets::page));
    Ok(routes.with_state(app))
}
