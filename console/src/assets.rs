//! The built front end: files with their digest in their names, and the page that loads them.

use std::{borrow::Cow, sync::LazyLock};

use axum::{
    extract::Path,
    response::{Html, IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode, Uri,
    header::{self, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY},
};
use platform::Problem;
use rust_embed::RustEmbed;
use sha2::{Digest as _, Sha256};

/// `make console` writes it. A debug build reads it from the disk, a release build holds it.
#[derive(RustEmbed)]
#[folder = "dist"]
#[allow_missing = true]
struct Dist;

const INDEX: &str = "index.html";
/// What is served while the front end was not built.
const NOT_BUILT: &str = include_str!("not_built.html");

/// The one rule that React Aria puts into a `<style>` of its own, by `usePress`, so that a touch does not zoom. Anything else that is
/// inline is refused.
const PRESSABLE: &str = "@layer {\n  [data-react-aria-pressable] {\n    touch-action: pan-x pan-y pinch-zoom;\n  }\n}";

/// Nothing from elsewhere, nothing inline, in no frame.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let style = STANDARD.encode(Sha256::digest(PRESSABLE));
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'sha256-{style}'; img-src 'self'; font-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// Whether the front end is there.
pub(crate) fn is_built() -> bool {
    Dist::get(INDEX).is_some()
}

/// `/assets/{name}`: what the name says never changes.
pub(crate) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let path = format!("assets/{name}");
    let (Some(kind), false) = (media_type(&name), name.contains("..")) else { return not_found() };
    let accepted = |encoding: &str| accepts(&headers, encoding);
    for (encoding, ending) in [("br", ".br"), ("gzip", ".gz")] {
        if accepted(encoding)
            && let Some(file) = Dist::get(&format!("{path}{ending}"))
        {
            let encoded = [(CONTENT_ENCODING, HeaderValue::from_static(encoding))];
            return (encoded, for_ever(kind), body(file.data)).into_response();
        }
    }
    match Dist::get(&path) {
        Some(file) => (for_ever(kind), body(file.data)).into_response(),
        None => not_found(),
    }
}

/// Every other path is a page's: the front end knows which. It is asked for anew each time.
pub(crate) async fn page(uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    let is_file = path.rsplit('/').next().is_some_and(|last| last.contains('.'));
    if is_file || ["/v1", "/assets"].iter().any(|of| path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))) {
        return not_found();
    }
    let Some(file) = Dist::get(INDEX) else { return (StatusCode::OK, page_headers(), Html(NOT_BUILT)).into_response() };
    let tag = format!("\"{}\"", STANDARD.encode(Sha256::digest(&file.data)));
    let known = headers.get(IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == tag.as_bytes());
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { Html(body(file.data)).into_response() };
    response.headers_mut().extend(page_headers());
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

fn page_headers() -> HeaderMap {
    HeaderMap::from_iter([
        (CONTENT_SECURITY_POLICY, POLICY.clone()),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (http::HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (http::HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
        (
            http::HeaderName::from_static("permissions-policy"),
            HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
        ),
    ])
}

fn for_ever(kind: &'static str) -> [(http::HeaderName, HeaderValue); 3] {
    [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
        (VARY, HeaderValue::from_static("accept-encoding")),
    ]
}

fn body(data: Cow<'static, [u8]>) -> Bytes {
    match data {
        Cow::Borrowed(embedded) => Bytes::from_static(embedded),
        Cow::Owned(read) => read.into(),
    }
}

/// Of the files that a build of the front end makes; others are not served.
fn media_type(name: &str) -> Option<&'static str> {
    let kinds = [
        (".js", "text/javascript; charset=utf-8"),
        (".css", "text/css; charset=utf-8"),
        (".svg", "image/svg+xml"),
        (".woff2", "font/woff2"),
        (".png", "image/png"),
    ];
    kinds.iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, kind)| *kind)
}

fn accepts(headers: &HeaderMap, encoding: &str) -> bool {
    let lists = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut offers = lists.flat_map(|list| list.split(',')).map(|offer| offer.trim().split(';').map(str::trim));
    offers.any(|mut offer| {
        let named = offer.next().is_some_and(|name| name.eq_ignore_ascii_case(encoding));
        named && !offer.any(|weight| weight.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q == 0.0)))
    })
}

fn not_found() -> Response {
    Problem::new(StatusCode::NOT_FOUND, "route_not_found", "there is nothing here").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoding_is_taken_where_it_is_offered() {
        let accepted =
            |text: &'static str, encoding| accepts(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(text))]), encoding);
        assert!(accepted("gzip, deflate, br", "br"));
        assert!(accepted("BR;q=0.5", "br"));
        assert!(!accepted("gzip, br;q=0", "br"));
        assert!(!accepted("brotli", "br"));
        assert!(!accepts(&HeaderMap::new(), "gzip"));
    }

    #[tokio::test]
    async fn what_is_no_page_is_never_html() {
        for path in ["/v1", "/v1/", "/v1/nope", "/assets", "/assets/", "/robots.txt", "/people/app.js", "/.git/config.txt"] {
            let response = page(path.parse().unwrap(), HeaderMap::new()).await;
            assert_eq!(
                (response.status(), response.headers()[CONTENT_TYPE].to_str().unwrap()),
                (StatusCode::NOT_FOUND, "application/problem+json"),
                "{path}"
            );
        }
        for name in ["gone-abc.js", "../index.html", "x.html", "../Cargo.toml", "a/../../index.html"] {
            let response = asset(Path(name.into()), HeaderMap::new()).await;
            assert_eq!(
                (response.status(), response.headers()[CONTENT_TYPE].to_str().unwrap()),
                (StatusCode::NOT_FOUND, "application/problem+json"),
                "{name}"
            );
        }
    }

    #[tokio::test]
    async fn a_page_may_load_nothing_from_elsewhere_and_run_nothing_inline() {
        let response = page("/people/1".parse().unwrap(), HeaderMap::new()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[CACHE_CONTROL], "no-cache");
        let policy = response.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    }
}
