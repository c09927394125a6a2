//! Pages that a process serves to browsers: they load nothing from elsewhere, and run only the scripts that they came with.

use std::fmt::Write as _;

use axum::response::{Html, IntoResponse, Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY},
};
use sha2::{Digest as _, Sha256};

/// A page, with its scripts and styles inline, and a policy that allows these by their hashes and no others.
#[derive(Debug)]
pub struct Page {
    html: &'static str,
    policy: HeaderValue,
}

impl Page {
    /// The page of this HTML. Its elements `script` and `style` have no attributes.
    pub fn new(html: &'static str) -> Self {
        let mut policy = "default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'".to_owned();
        for element in ["script", "style"] {
            let _ = write!(policy, "; {element}-src"); // a String takes all
            let all = inline(html, element);
            if all.is_empty() {
                policy.push_str(" 'none'");
            }
            for text in all {
                let _ = write!(policy, " 'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
            }
        }
        Self { html, policy: HeaderValue::from_str(&policy).expect("hashes in base64 are ASCII") }
    }
    /// The answer to a GET of it.
    pub fn response(&'static self) -> Response {
        let headers = [(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")), (CONTENT_SECURITY_POLICY, self.policy.clone())];
        (headers, Html(self.html)).into_response()
    }
}

/// The texts of every element with this name, as the browser hashes them.
fn inline<'h>(html: &'h str, element: &str) -> Vec<&'h str> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    html.split(&open).skip(1).map(|rest| rest.split(&close).next().unwrap_or(rest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_allows_what_is_inline_and_nothing_else() {
        // The hash of `alert(1)` as `openssl dgst -sha256 -binary | base64` gives it.
        let page = Page::new("<style>a{}</style><script>alert(1)</script><script>b</script>");
        let policy = page.policy.to_str().unwrap();
        assert!(policy.contains("script-src 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI=' 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe") && policy.starts_with("default-src 'none'"), "{policy}");
        let bare = Page::new("<p>x</p>");
        assert!(bare.policy.to_str().unwrap().contains("script-src 'none'; style-src 'none'"));
    }
}
