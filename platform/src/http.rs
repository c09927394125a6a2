//! The shell around every service's routes: what holds for each request whatever its route.
//!
//! `shell(router, Limits::of(&config), strangers)` once, outermost; merge [`crate::health::router`] before it. A request then has
//! an id (`X-Request-Id`), a span that continues its `traceparent`, a metric, a timeout, a body limit and a place among
//! a bounded number of others; a panic, an unknown route and a wrong method answer with problem documents.

use std::{any::Any, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, MatchedPath, Request},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, Version, header};
use tokio::{sync::Semaphore, time::Instant};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument as _;

use crate::{Config, Problem, Strangers, auth::overloaded, telemetry};

/// What one request, and all of them together, may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until the answer's head; the body may stream on. Past it: 503 `timeout`.
    pub timeout: Duration,
    /// Bytes of a request's body that an extractor takes; a route may set its own `DefaultBodyLimit`.
    pub body: usize,
    /// Requests in work; more are answered 503 `overloaded` at once. Health is not counted, nor are strangers.
    pub concurrent: usize,
}

impl Limits {
    /// The limits that the config sets, with 1 MiB of body.
    pub const fn of(config: &Config) -> Self {
        Self { timeout: Duration::from_secs(config.request_timeout), body: 1 << 20, concurrent: config.max_concurrent_requests }
    }
}

/// The request's id, from `X-Request-Id` if that is a UUID, else new. In the request's extensions and the answer.
#[derive(Debug, Clone, Copy)]
pub struct RequestId(pub uuid::Uuid);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Puts the shell around a service's routes; `strangers` are admitted to those that take no token, if there are any.
pub fn shell(router: Router, limits: Limits, strangers: Option<Strangers>) -> Router {
    let places = Arc::new(Semaphore::new(limits.concurrent));
    router
        .fallback(|| async {
            Problem::new(StatusCode::NOT_FOUND, "route_not_found", "there is no such route; see /openapi.json for those there are")
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "the route does not take this method; the Allow header lists those it does",
            )
        })
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(DefaultBodyLimit::max(limits.body))
        .layer(middleware::from_fn(move |request: Request, next: Next| bounded(places.clone(), limits, strangers.clone(), request, next)))
        .layer(middleware::from_fn(observed))
}

/// Sheds load beyond the bound and ends what takes too long.
async fn bounded(places: Arc<Semaphore>, limits: Limits, strangers: Option<Strangers>, request: Request, next: Next) -> Response {
    // RFC 9112, section 3.2: whom a request without one, or with several, is for, nobody can say.
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Problem::new(StatusCode::BAD_REQUEST, "invalid_host", "send one Host header").into_response();
    }
    if matches!(request.uri().path(), "/livez" | "/readyz") {
        return next.run(request).await;
    }
    if let Some(strangers) = strangers.filter(|strangers| strangers.include(&request)) {
        return strangers.serve(request, next, limits.timeout).await;
    }
    let Ok(_place) = places.try_acquire() else { return overloaded().into_response() };
    match tokio::time::timeout(limits.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::unavailable("timeout", "the request took too long and was given up; retry it with the same Idempotency-Key")
            .into_response(),
    }
}

/// Gives the request its id, span, metric and the headers of every answer. Paths and query strings are not logged: they
/// may hold what a client should not have put there.
async fn observed(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = text_of(request.headers(), &REQUEST_ID)
        .and_then(|text| uuid::Uuid::try_parse(text).ok())
        .filter(|id| !id.is_nil())
        .unwrap_or_else(uuid::Uuid::now_v7);
    let route: Arc<str> = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).into();
    let method = match *request.method() {
        http::Method::GET => "GET",
        http::Method::POST => "POST",
        http::Method::PUT => "PUT",
        http::Method::PATCH => "PATCH",
        http::Method::DELETE => "DELETE",
        http::Method::HEAD => "HEAD",
        http::Method::OPTIONS => "OPTIONS",
        _ => "other",
    };
    let span = tracing::info_span!("request", otel.name = %format_args!("{method} {route}"), otel.kind = "server", method, %route, request_id = %id);
    if let Some(parent) = text_of(request.headers(), &HeaderName::from_static("traceparent")) {
        telemetry::continue_from(&span, parent);
    }
    request.extensions_mut().insert(RequestId(id));
    let mut response = next.run(request).instrument(span.clone()).await;

    let status = response.status();
    let elapsed = started.elapsed();
    let labels = [("method", method.to_owned()), ("route", route.to_string()), ("status", status.as_str().to_owned())];
    metrics::counter!("http_requests_total", &labels).increment(1);
    metrics::histogram!("http_request_duration_seconds", "method" => method, "route" => route.to_string()).record(elapsed.as_secs_f64());
    let _in_span = span.enter();
    if status.is_server_error() {
        tracing::warn!(status = status.as_u16(), method, %route, request_id = %id, elapsed_ms = elapsed.as_millis(), "request failed");
    } else {
        tracing::debug!(status = status.as_u16(), method, %route, request_id = %id, elapsed_ms = elapsed.as_millis(), "request");
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    headers.entry(header::X_FRAME_OPTIONS).or_insert(HeaderValue::from_static("DENY"));
    response
}

fn text_of<'h>(headers: &'h http::HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn answer_panic(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    metrics::counter!("panics_total").increment(1);
    Problem::internal(&format_args!("a handler panicked: {text}")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, routing::get};
    use tower::ServiceExt as _;

    async fn ask(app: &Router, method: &str, path: &str) -> (http::response::Parts, serde_json::Value) {
        let request = http::Request::builder().method(method).uri(path).header("host", "x").body(Body::empty()).unwrap();
        let (parts, body) = app.clone().oneshot(request).await.unwrap().into_parts();
        let body = axum::body::to_bytes(body, 65_536).await.unwrap();
        (parts, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn panicking() -> &'static str {
        panic!("secret detail")
    }

    fn app(concurrent: usize) -> Router {
        let routes = Router::new()
            .route("/fine", get(|| async { "fine" }))
            .route("/panic", get(panicking))
            .route("/hang", get(std::future::pending::<&'static str>));
        shell(routes.merge(crate::health::router(vec![])), Limits { timeout: Duration::from_secs(5), body: 100, concurrent }, None)
    }

    #[tokio::test(start_paused = true)]
    async fn every_answer_is_a_problem_or_fine_and_carries_the_headers() {
        for (method, path, status, code) in [
            ("GET", "/fine", 200, ""),
            ("GET", "/none", 404, "route_not_found"),
            ("POST", "/fine", 405, "method_not_allowed"),
            ("GET", "/panic", 500, "internal"),
            ("GET", "/hang", 503, "timeout"),
        ] {
            let (parts, body) = ask(&app(9), method, path).await;
            assert_eq!(parts.status, status, "{path}");
            assert_eq!(body["error"].as_str().unwrap_or_default(), code, "{path}");
            assert!(!body.to_string().contains("secret detail"));
            assert_eq!(parts.headers["cache-control"], "no-store");
            assert_eq!(parts.headers["x-content-type-options"], "nosniff");
            assert!(parts.headers.contains_key("x-request-id"));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn load_beyond_the_bound_is_shed_and_health_still_answers() {
        let app = app(1);
        let hanging = tokio::spawn({
            let app = app.clone();
            async move { ask(&app, "GET", "/hang").await.0.status }
        });
        tokio::task::yield_now().await;
        let (parts, body) = ask(&app, "GET", "/fine").await;
        assert_eq!((parts.status.as_u16(), &body["error"]), (503, &"overloaded".into()));
        assert!(parts.headers.contains_key("retry-after"));
        assert_eq!(ask(&app, "GET", "/livez").await.0.status, 200);
        assert_eq!(hanging.await.unwrap(), 503);
        assert_eq!(ask(&app, "GET", "/fine").await.0.status, 200, "the place is free again");
    }
}
