//! `/livez`, `/readyz`, `/metrics`, and serving HTTP until told to stop.

use std::{sync::Arc, time::Duration};

use axum::Router;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

/// Something that must work for the process to be ready: a name and a check that answers within its timeout.
#[derive(Clone)]
pub struct Check {
    /// What is checked, such as `postgres`.
    pub name: &'static str,
    /// The check.
    pub run: Arc<dyn Fn() -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>,
}

/// The routes `/livez` (the process runs), `/readyz` (every check passes; 503 with the failing names otherwise) and
/// `/metrics`.
pub fn router(_checks: Vec<Check>) -> Router {
    todo!()
}

/// Serves `app` on `listen` until `stop`, then finishes requests in flight for at most `drain`.
pub async fn serve(_listen: std::net::SocketAddr, _app: Router, _stop: CancellationToken, _drain: Duration) -> anyhow::Result<()> {
    todo!()
}

/// Cancelled on SIGTERM or SIGINT.
pub fn stop_signal() -> CancellationToken {
    todo!()
}
