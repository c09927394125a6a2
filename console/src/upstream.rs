//! How the two APIs are asked: which headers go there and come back, for whom, and for how long.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use platform::{Config, Problem, config::TrustedProxies, health::Peer, http::RequestId, telemetry};
use secrecy::{ExposeSecret as _, SecretString};

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    Commands,
    Queries,
}

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(2);
/// Bytes of a problem, or of tokens, at most.
const SMALL: usize = 64 * 1024;
/// Of an API's answer, between two of its parts.
const PAUSE: Duration = Duration::from_secs(75);

/// What of a request's headers an API is given. No cookie, no token, nothing that says where it comes from.
const TO_API: [HeaderName; 8] = [
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("prefer"),
    HeaderName::from_static("tenure-min-position"),
];
/// What of an answer's headers the browser is given.
const TO_BROWSER: [HeaderName; 8] = [
    header::ALLOW,
    header::CONTENT_DISPOSITION,
    header::CONTENT_TYPE,
    header::ETAG,
    header::LOCATION,
    header::RETRY_AFTER,
    HeaderName::from_static("preference-applied"),
    HeaderName::from_static("tenure-position"),
];

/// The two APIs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Upstream(Arc<Inner>);

struct Inner {
    client: reqwest::Client,
    commands: String,
    queries: String,
    proxies: TrustedProxies,
}

/// For whom a request is, and whom those before us say that they speak for.
#[derive(Debug, Clone)]
pub(crate) struct Forwarded {
    /// The host that the browser asked for; it names the tenant.
    pub(crate) host: HeaderValue,
    /// `X-Forwarded-For`.
    client: Option<HeaderValue>,
    request: Option<RequestId>,
}

/// A request to an API.
pub(crate) struct Ask<'a> {
    pub(crate) api: Api,
    pub(crate) method: Method,
    /// With its query string.
    pub(crate) path: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An answer that is small: whole, and read.
pub(crate) struct Small {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Upstream {
    pub(crate) fn of(config: &Config) -> anyhow::Result<Self> {
        let url = |name: &str, url: &Option<String>| url.clone().with_context(|| format!("{name} is not set"));
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(PAUSE)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self(Arc::new(Inner {
            client,
            commands: url("TENURE_COMMAND_API_URL", &config.command_api_url)?,
            queries: url("TENURE_QUERY_API_URL", &config.query_api_url)?,
            proxies: config.trusted_proxies.clone(),
        })))
    }

    /// What the APIs are told of where a request comes from. What a client says of itself counts only behind a trusted proxy.
    pub(crate) fn forwarded(&self, parts: &Parts) -> Result<Forwarded, Problem> {
        let peer = parts.extensions.get::<Peer>().map(|Peer(address)| *address);
        let trusted = peer.is_some_and(|peer| self.0.proxies.include(peer));
        let told = |name: &str| if trusted { parts.headers.get(name) } else { None };
        let authority = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        let host = told("x-forwarded-host").or_else(|| parts.headers.get(header::HOST)).cloned().or(authority);
        let host = host.ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "invalid_host", "send one Host header"))?;
        let before = told("x-forwarded-for").and_then(|value| value.to_str().ok()).map(|before| format!("{before}, ")).unwrap_or_default();
        let client = peer.and_then(|peer| HeaderValue::from_str(&format!("{before}{peer}")).ok());
        Ok(Forwarded { host, client, request: parts.extensions.get::<RequestId>().copied() })
    }

    /// What of a request's headers goes on.
    pub(crate) fn headers_of(request: &HeaderMap) -> HeaderMap {
        only(request, &TO_API)
    }

    /// Sends a request; the head of its answer.
    pub(crate) async fn send(
        &self,
        ask: &Ask<'_>,
        forwarded: &Forwarded,
        token: Option<&SecretString>,
    ) -> Result<reqwest::Response, Problem> {
        let base = match ask.api {
            Api::Commands => &self.0.commands,
            Api::Queries => &self.0.queries,
        };
        let mut headers = ask.headers.clone();
        headers.insert(header::HOST, forwarded.host.clone());
        if let Some(client) = &forwarded.client {
            headers.insert("x-forwarded-for", client.clone());
        }
        if let Some(id) = forwarded.request.and_then(|RequestId(id)| HeaderValue::from_str(&id.to_string()).ok()) {
            headers.insert("x-request-id", id);
        }
        if let Some(trace) = telemetry::traceparent().and_then(|trace| HeaderValue::from_str(&trace).ok()) {
            headers.insert("traceparent", trace);
        }
        let mut request = self.0.client.request(ask.method.clone(), format!("{base}{}", ask.path)).headers(headers).body(ask.body.clone());
        if let Some(token) = token {
            request = request.bearer_auth(token.expose_secret());
        }
        request.send().await.map_err(|error| {
            tracing::warn!(api = ?ask.api, error = format!("{:#}", anyhow::Error::new(error.without_url())), "an API does not answer");
            Problem::unavailable("api_unavailable", "Tenure does not answer at the moment; try again shortly")
        })
    }

    /// Sends JSON to a route of the command API that takes no token; the whole answer.
    pub(crate) async fn post(&self, path: &str, body: &serde_json::Value, forwarded: &Forwarded) -> Result<Small, Problem> {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let ask = Ask { api: Api::Commands, method: Method::POST, path, headers, body: body.to_string().into() };
        Small::read(self.send(&ask, forwarded, None).await?).await
    }
}

fn only(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    headers.iter().filter(|(name, _)| names.contains(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

impl Small {
    /// Reads an answer to its end.
    pub(crate) async fn read(mut response: reqwest::Response) -> Result<Self, Problem> {
        let (status, headers) = (response.status(), only(response.headers(), &TO_BROWSER));
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(part)) if body.len() + part.len() <= SMALL => body.extend_from_slice(&part),
                Ok(None) => return Ok(Self { status, headers, body: body.into() }),
                Ok(Some(_)) | Err(_) => {
                    return Err(Problem::unavailable("api_unavailable", "Tenure's answer broke off; try again shortly"));
                }
            }
        }
    }
    /// The stable code of a problem; empty where it is none.
    pub(crate) fn code(&self) -> String {
        let document: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        document["error"].as_str().unwrap_or_default().to_owned()
    }
    /// As the browser gets it.
    pub(crate) fn into_response(self) -> Response {
        (self.status, self.headers, self.body).into_response()
    }
}

/// An answer as the browser gets it, part by part.
pub(crate) fn streamed(response: reqwest::Response) -> Response {
    let (status, headers) = (response.status(), only(response.headers(), &TO_BROWSER));
    (status, headers, Body::from_stream(response.bytes_stream())).into_response()
}
