//! Whose requests are taken: the console's own pages at the host that they are for.
//!
//! A browser sends the cookie with every request to the host, whichever page makes it. A page of another origin can't set the
//! header [`OWN_PAGE`] without a preflight, which nothing here answers, so a request that has it comes from a page of ours.

use axum::extract::FromRequestParts;
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use platform::Problem;

use crate::upstream::{Forwarded, Upstream};

/// Stands in every request of the console's pages, with the value `1`.
pub(crate) const OWN_PAGE: &str = "tenure-console";

/// A request of one of our own pages: for whom it is, and whom the proxies say they speak for.
pub(crate) struct OwnPage(pub(crate) Forwarded);

impl<S: Send + Sync> FromRequestParts<S> for OwnPage
where
    Upstream: axum::extract::FromRef<S>,
{
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let upstream = <Upstream as axum::extract::FromRef<S>>::from_ref(state);
        let forwarded = upstream.forwarded(parts)?;
        check(&parts.headers, &forwarded.host).map(|()| Self(forwarded))
    }
}

fn check(headers: &HeaderMap, host: &HeaderValue) -> Result<(), Problem> {
    let refused = |detail: &str| Err(Problem::new(StatusCode::FORBIDDEN, "cross_site_request", detail));
    if headers.get(OWN_PAGE).is_none_or(|value| value != "1") {
        return refused("only the console's own pages are answered here; a program uses the two APIs with a token of its own");
    }
    if headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin") {
        return refused("the request was made by a page of another site");
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let authority = origin.to_str().ok().and_then(|text| text.split_once("://")).map(|(_, authority)| authority);
        let same = authority.is_some_and(|authority| authority.as_bytes().eq_ignore_ascii_case(host.as_bytes()));
        if !same {
            return refused("the request was made by a page of another origin");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
        check(&headers, &HeaderValue::from_static("acme.tenure.example:8080")).is_ok()
    }

    #[test]
    fn only_pages_of_the_same_origin_are_answered() {
        let own = ("tenure-console", "1");
        assert!(taken(&[own]));
        assert!(taken(&[own, ("origin", "https://ACME.tenure.example:8080"), ("sec-fetch-site", "same-origin")]));
        assert!(!taken(&[]), "without the header");
        assert!(!taken(&[("tenure-console", "2")]));
        assert!(!taken(&[own, ("sec-fetch-site", "same-site")]), "a sibling's host is another origin");
        assert!(!taken(&[own, ("sec-fetch-site", "cross-site")]));
        for origin in ["null", "https://evil.example", "https://beta.tenure.example:8080", "https://acme.tenure.example"] {
            assert!(!taken(&[own, ("origin", origin)]), "{origin}");
        }
    }
}
