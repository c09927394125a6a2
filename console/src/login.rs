//! `/session`: how one begins, whether there is one, and how it ends.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header::SET_COOKIE};
use platform::{Problem, request::Fields};
use serde::{Deserialize, Serialize};

use crate::{
    cookies,
    same_origin::OwnPage,
    sessions::{Granted, Sessions},
    upstream::Upstream,
};

/// Under which domain tenants have their hosts.
#[derive(Clone)]
pub(crate) struct Hosting {
    pub(crate) base_domain: Arc<str>,
}

#[derive(Serialize)]
pub(crate) struct Shown {
    signed_in: bool,
    /// A host `{slug}.{base domain}` names a tenant, the bare domain none.
    base_domain: Arc<str>,
}

/// Whether there is a session. Its tokens may have ended meanwhile; the next request tells.
pub(crate) async fn show(State(sessions): State<Sessions>, State(hosting): State<Hosting>, _: OwnPage, headers: HeaderMap) -> Json<Shown> {
    let signed_in = match cookies::read(&headers, cookies::SESSION) {
        Some(cookie) => sessions.find(cookie).await.is_some(),
        None => false,
    };
    Json(Shown { signed_in, base_domain: hosting.base_domain })
}

/// What one logs in with.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogIn {
    email: String,
    password: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    totp: Option<String>,
}

/// Logs in at the command API, as whoever the request's host is for; its refusals are passed on.
pub(crate) async fn log_in(
    State(sessions): State<Sessions>,
    State(upstream): State<Upstream>,
    OwnPage(forwarded): OwnPage,
    headers: HeaderMap,
    Fields(ask): Fields<LogIn>,
) -> Result<Response, Problem> {
    let mut body = serde_json::to_value(&ask).map_err(|error| Problem::internal(&error))?;
    if let Some(device) = cookies::read(&headers, cookies::DEVICE) {
        body["device"] = device.into();
    }
    let answer = upstream.post("/v1/auth/login", &body, &forwarded).await?;
    if answer.status != StatusCode::OK {
        return Ok(answer.into_response());
    }
    let granted: Granted = serde_json::from_slice(&answer.body).map_err(|error| Problem::internal(&error))?;
    if let Some(earlier) = cookies::read(&headers, cookies::SESSION) {
        sessions.end(earlier, &upstream).await;
    }
    let device = granted.device.as_deref().and_then(cookies::device);
    let session = sessions.begin(granted, forwarded).await.map_err(|error| Problem::internal(&error))?;
    Ok(with_cookies(StatusCode::NO_CONTENT.into_response(), [cookies::begin(&session), device]))
}

/// Ends the session and its log-in. One that is unknown is ended already.
pub(crate) async fn log_out(
    State(sessions): State<Sessions>,
    State(upstream): State<Upstream>,
    _: OwnPage,
    headers: HeaderMap,
) -> Response {
    if let Some(cookie) = cookies::read(&headers, cookies::SESSION) {
        sessions.end(cookie, &upstream).await;
    }
    with_cookies(StatusCode::NO_CONTENT.into_response(), [cookies::end()])
}

/// An answer that sets cookies, too.
pub(crate) fn with_cookies<const N: usize>(mut response: Response, cookies: [Option<HeaderValue>; N]) -> Response {
    for cookie in cookies.into_iter().flatten() {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}
