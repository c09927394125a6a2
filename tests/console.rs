//! `tenure-console`: whose requests it takes, what it passes on, and what it keeps to itself.

use http::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    identity::{Company, PASSWORD},
    servers::{System, eventually, system},
};

/// A browser at one tenant's host: it has the session's cookie and sends what the console's own pages send.
#[derive(Clone)]
struct Browser {
    system: &'static System,
    host: String,
    cookie: String,
}

/// Status, headers and text of an answer.
type Answer = (StatusCode, HeaderMap, String);

impl Browser {
    fn at(system: &'static System, slug: &str) -> Self {
        let port = system.console.rsplit(':').next().unwrap();
        Self { system, host: format!("{slug}.localhost:{port}"), cookie: String::new() }
    }
    async fn logged_in(company: &Company, email: &str) -> Self {
        let mut browser = Self::at(company.system, &company.slug);
        let (status, headers, text) = browser.send(Method::POST, "/session", &[], Some(&credentials(email))).await;
        assert_eq!(status, 204, "{text}");
        browser.cookie = session_of(&headers).expect("a session's cookie");
        browser
    }
    /// With what every page of ours sends, unless a header of the same name is given.
    async fn send(&self, method: Method, path: &str, headers: &[(&'static str, &str)], body: Option<&Value>) -> Answer {
        let own = [("host", self.host.as_str()), ("tenure-console", "1"), ("cookie", self.cookie.as_str())];
        let own = own.into_iter().filter(|(name, value)| !value.is_empty() && !headers.iter().any(|(given, _)| given == name));
        let mut request = self.system.client.request(method, format!("{}{path}", self.system.console));
        for (name, value) in own.chain(headers.iter().copied()).filter(|(_, value)| !value.is_empty()) {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        (response.status(), response.headers().clone(), response.text().await.unwrap())
    }
    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }
}

fn credentials(email: &str) -> Value {
    json!({"email": email, "password": PASSWORD})
}

/// `name=value` of the session's cookie, if the answer sets one.
fn session_of(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    let pair = cookies.filter_map(|cookie| cookie.split(';').next()).find(|pair| pair.starts_with("__Host-tenure-session="))?;
    Some(pair.to_owned())
}

#[track_caller]
fn is_problem(answer: &Answer, status: u16, code: &str) {
    let (got, headers, text) = answer;
    let document: Value = serde_json::from_str(text).unwrap_or_default();
    assert_eq!((got.as_u16(), document["error"].as_str().unwrap_or_default()), (status, code), "{text}");
    assert_eq!(headers["content-type"], "application/problem+json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_gives_the_browser_a_cookie_and_never_a_token() {
    let company = Company::new("console").await;
    company.user("ada@example.com", "hr").await;
    let stranger = Browser::at(company.system, &company.slug);
    is_problem(&stranger.get("/v1/departments").await, 401, "no_session");
    let wrong = json!({"email": "ada@example.com", "password": "something else entirely"});
    is_problem(&stranger.send(Method::POST, "/session", &[], Some(&wrong)).await, 401, "invalid_credentials");

    let (status, headers, text) = stranger.send(Method::POST, "/session", &[], Some(&credentials("ada@example.com"))).await;
    assert_eq!((status.as_u16(), text.as_str()), (204, ""));
    let cookies: Vec<&str> = headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(cookies.len(), 2, "a session and a device: {cookies:?}");
    for cookie in &cookies {
        for attribute in ["__Host-tenure-", "; Path=/", "; Secure", "; HttpOnly", "; SameSite=Strict"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
    }
    let browser = Browser { cookie: session_of(&headers).unwrap(), ..stranger };
    assert!(browser.cookie.len() < 100, "it holds no token");

    // A command, and a read of it, each by the API that has it.
    let department = json!({"effective_on": "2020-01-01", "code": "lab", "name": "Laboratory"});
    let (status, headers, text) = browser.send(Method::POST, "/v1/departments", &[("idempotency-key", "lab")], Some(&department)).await;
    assert_eq!(status, 201, "{text}");
    let position = headers["tenure-position"].to_str().unwrap();
    let read = [("tenure-min-position", position), ("prefer", "wait=10")];
    let (status, headers, text) = browser.send(Method::GET, "/v1/departments?limit=5", &read, None).await;
    assert_eq!((status.as_u16(), text.contains("Laboratory")), (200, true), "{text}");
    assert_eq!(headers["cache-control"], "no-store");
    let (status, _, me) = browser.get("/v1/auth/me").await;
    assert_eq!((status.as_u16(), me.contains(&company.slug)), (200, true), "{me}");

    // What hands tokens out is not there, with or without a session.
    for path in ["/v1/auth/login", "/v1/auth/refresh", "/v1/auth/logout", "/v1/auth/service-token", "/v1/auth/%2e%2e/auth/login"] {
        is_problem(&browser.send(Method::POST, path, &[], Some(&credentials("ada@example.com"))).await, 404, "route_not_found");
    }
    // The cookie is nothing to the APIs.
    for url in [format!("{}/v1/auth/me", company.system.command_api), format!("{}/v1/departments", company.system.query_api)] {
        let response =
            company.system.client.get(&url).header("host", &browser.host).header("cookie", &browser.cookie).send().await.unwrap();
        assert_eq!(response.status(), 401);
    }
    // A log-out ends the log-in, not the cookie alone.
    let (status, headers, _) = browser.send(Method::DELETE, "/session", &[], None).await;
    assert_eq!((status.as_u16(), session_of(&headers).as_deref()), (204, Some("__Host-tenure-session=")));
    is_problem(&browser.get("/v1/departments").await, 401, "session_ended");
    assert!(company.decisions().await.iter().any(|decision| decision == "log_out granted"));
    assert_eq!(browser.send(Method::DELETE, "/session", &[], None).await.0, 204, "once more is harmless");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_gets_nothing_done() {
    let company = Company::new("csrf").await;
    company.user("ada@example.com", "owner").await;
    let browser = Browser::logged_in(&company, "ada@example.com").await;
    let department = json!({"effective_on": "2020-01-01", "code": "evil", "name": "Evil"});
    let attacks: [&[(&'static str, &str)]; 6] = [
        &[("tenure-console", "")],
        &[("tenure-console", "0")],
        &[("origin", "https://evil.example")],
        &[("origin", "http://other.localhost:1")],
        &[("origin", "null")],
        &[("sec-fetch-site", "same-site")],
    ];
    for attack in attacks {
        is_problem(&browser.send(Method::POST, "/v1/departments", attack, Some(&department)).await, 403, "cross_site_request");
        is_problem(&browser.send(Method::GET, "/v1/departments", attack, None).await, 403, "cross_site_request");
        is_problem(&browser.send(Method::DELETE, "/session", attack, None).await, 403, "cross_site_request");
        is_problem(&browser.send(Method::POST, "/session", attack, Some(&credentials("ada@example.com"))).await, 403, "cross_site_request");
    }
    // Nobody is told that another origin may ask.
    let preflight = [("origin", "https://evil.example"), ("access-control-request-headers", "tenure-console")];
    let (_, headers, _) = browser.send(Method::OPTIONS, "/v1/departments", &preflight, None).await;
    assert!(!headers.keys().any(|name| name.as_str().starts_with("access-control-")), "{headers:?}");
    let (status, _, text) = browser.get("/v1/departments").await;
    assert_eq!((status.as_u16(), text.contains("Evil")), (200, false), "the session goes on, and nothing was done");
    // A cookie given twice is nobody's.
    let twice = format!("{}; {}", browser.cookie, browser.cookie);
    is_problem(&browser.send(Method::GET, "/v1/departments", &[("cookie", &twice)], None).await, 401, "no_session");
    // What a client says of itself does not go on: the host alone names the tenant.
    let lies = [("x-forwarded-host", "platform.localhost"), ("tenure-tenant", "platform"), ("authorization", "Bearer x")];
    assert_eq!(browser.send(Method::GET, "/v1/departments", &lies, None).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_at_another_tenants_host_ends_and_says_why() {
    let (one, other) = (Company::new("mine").await, Company::new("yours").await);
    one.user("ada@example.com", "hr").await;
    other.user("ada@example.com", "hr").await;
    let (mine, yours) = (Browser::logged_in(&one, "ada@example.com").await, Browser::logged_in(&other, "ada@example.com").await);
    let strayed = Browser { cookie: mine.cookie.clone(), ..yours.clone() };
    for path in ["/v1/departments", "/v1/auth/me"] {
        let fresh = Browser { cookie: Browser::logged_in(&one, "ada@example.com").await.cookie, ..strayed.clone() };
        let answer = fresh.get(path).await;
        is_problem(&answer, 403, "tenant_mismatch");
        assert_eq!(session_of(&answer.1).as_deref(), Some("__Host-tenure-session="), "the cookie goes");
        is_problem(&Browser { cookie: fresh.cookie.clone(), ..mine.clone() }.get(path).await, 401, "session_ended");
    }
    // The same whether or not there is such a tenant.
    let nowhere = Browser { host: "no-such-tenant.localhost".into(), ..mine.clone() };
    is_problem(&nowhere.get("/v1/departments").await, 403, "tenant_mismatch");
    assert_eq!(yours.get("/v1/departments").await.0, 200, "the other tenant's own session goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_outlives_a_change_of_roles_however_many_pages_ask_at_once() {
    let company = Company::new("renewed").await;
    let user = company.user("ada@example.com", "hr").await;
    let browser = Browser::logged_in(&company, "ada@example.com").await;
    assert_eq!(browser.get("/v1/identity-audit").await.0, 403, "hr does not read the audit");
    let (status, _) =
        company.post(&company.owner, &format!("/v1/users/{user}/roles"), &json!({"roles": ["owner"], "employee_id": null})).await;
    assert_eq!(status, 200);
    // Of twenty at once each gets an answer or is told to come again; a refresh token that is used twice would end the log-in.
    eventually("the new role holds", async || {
        let at_once = futures::future::join_all((0..20).map(|_| browser.get("/v1/identity-audit"))).await;
        for (status, _, text) in &at_once {
            assert!([200, 403, 503].contains(&status.as_u16()), "{status}: {text}");
        }
        at_once.iter().all(|(status, _, _)| *status == 200)
    })
    .await;
    assert!(!company.decisions().await.iter().any(|decision| decision == "refresh reuse_detected"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenant_is_said_to_be_and_its_sessions_go_on_after_it() {
    let company = Company::new("paused").await;
    company.user("ada@example.com", "hr").await;
    let browser = Browser::logged_in(&company, "ada@example.com").await;
    company.system.tenure(&["tenant", "suspend", &company.slug, "--reason", "unpaid"]);
    eventually("it is suspended", async || browser.get("/v1/departments").await.0 == 403).await;
    is_problem(&browser.get("/v1/departments").await, 403, "tenant_suspended");
    is_problem(&browser.send(Method::POST, "/session", &[], Some(&credentials("ada@example.com"))).await, 403, "tenant_suspended");
    company.system.tenure(&["tenant", "resume", &company.slug]);
    eventually("it is served again", async || browser.get("/v1/departments").await.0 == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_page_is_never_html_and_pages_run_nothing_of_others() {
    let browser = Browser::at(system().await, "anywhere");
    for path in ["/", "/people", "/people/01890000-0000-7000-8000-000000000000?as_of=2020-01-01"] {
        let (status, headers, text) = browser.send(Method::GET, path, &[("tenure-console", "")], None).await;
        assert_eq!(status, 200, "{path}");
        assert!(text.starts_with("<!doctype html>"), "{path}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
        for (name, expected) in [
            ("cache-control", "no-cache"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(headers[name], expected, "{path}: {name}");
        }
        assert!(headers.get("set-cookie").is_none(), "{path}");
    }
    for path in
        ["/v1", "/v1/", "/v1/nope", "/v1/employees/", "/assets/gone-00000000.js", "/assets/", "/favicon.ico", "/assets/../index.html"]
    {
        is_problem(&browser.get(path).await, 404, "route_not_found");
    }
    is_problem(&browser.send(Method::POST, "/people", &[], None).await, 405, "method_not_allowed");
    let large = json!({"email": "x".repeat(2 << 20), "password": PASSWORD});
    let (status, _, _) = browser.send(Method::POST, "/session", &[], Some(&large)).await;
    assert_eq!(status, 413);
}
