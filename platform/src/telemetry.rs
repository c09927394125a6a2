//! Logs, traces (OpenTelemetry) and metrics (Prometheus). No personal data, no slugs, no tenant labels.

use crate::{Config, Process};

/// Flushes what is buffered when dropped.
pub struct Guard;

/// Starts logging (`TENURE_LOG`, `TENURE_LOG_FORMAT=json|text`), tracing and the metrics recorder. Once per process.
pub fn init(_config: &Config, _process: Process) -> anyhow::Result<Guard> {
    todo!()
}

/// The current span's W3C `traceparent`, for an event's metadata or a message's header.
pub fn traceparent() -> Option<String> {
    todo!()
}

/// Makes the trace that a `traceparent` names the parent of a span.
pub fn continue_from(_span: &tracing::Span, _traceparent: &str) {
    todo!()
}
