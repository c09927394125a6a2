//! Every token and host that must fail, and the few that must not.

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use events::tenancy::{SubscriptionChanged, TenancyEvent, TenantClosed, TenantRenamed, TenantSuspended};
use serde_json::{Value, json};

use super::{
    token::{Expected, VerificationKey},
    *,
};
use crate::{
    read_schema,
    registry::tests::{plan, provisioned, record, registered, tenant},
};

struct World {
    gate: Gate,
    ed: Ed25519KeyPair,
    stranger: Ed25519KeyPair,
    ec: EcdsaKeyPair,
}

fn world() -> World {
    let (ed, stranger) = (Ed25519KeyPair::generate().unwrap(), Ed25519KeyPair::generate().unwrap());
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let keys = [
        ("ed".to_owned(), VerificationKey::new("EdDSA", ed.public_key().as_ref().to_vec()).unwrap()),
        ("ec".to_owned(), VerificationKey::new("ES256", ec.public_key().as_ref().to_vec()).unwrap()),
    ];
    let of = |n| tenant(n);
    let events: Vec<(TenantId, TenancyEvent)> = vec![
        (of(1), registered(of(1), "acme")),
        (of(1), provisioned(of(1))),
        (of(2), registered(of(2), "acme-2")),
        (of(2), provisioned(of(2))),
        (of(3), registered(of(3), "half")),
        (of(4), registered(of(4), "gone")),
        (of(4), TenantClosed { tenant_id: of(4), reason: String::new() }.into()),
        (of(5), registered(of(5), "stopped")),
        (of(5), TenantSuspended { tenant_id: of(5), reason: String::new() }.into()),
        (of(6), registered(of(6), "late")),
        (of(6), provisioned(of(6))),
        (of(6), SubscriptionChanged { tenant_id: of(6), subscription: plan(Some("2020-01-01T00:00:00Z")) }.into()),
        (of(7), registered(of(7), "before")),
        (of(7), provisioned(of(7))),
        (of(7), TenantRenamed { tenant_id: of(7), slug: "after".into(), name: "After".into() }.into()),
    ];
    let expected = Expected { issuer: "tenure".into(), audience: "tenure".into(), max_lifetime: 600 };
    let gate = Gate {
        verifier: Verifier::fixed(expected, keys.into()),
        registry: Registry::from_events(&record(&events)),
        base_domain: "tenure.example".into(),
        proxies: Arc::default(),
        flood: Flood::new(1_000_000).into(),
        places: Shares::new(1_000),
        waiting: Shares::new(1_000),
        strangers: Shares::new(1_000),
        access: AccessBook::new(None),
        employments: Arc::default(),
    };
    World { gate, ed, stranger, ec }
}

fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap()
}
fn claims(n: u128, slug: &str) -> Value {
    json!({
        "iss": "tenure", "aud": "tenure", "sub": "s", "jti": "j", "iat": now(), "exp": now() + 600, "roles": ["hr"],
        "tenant_id": tenant(n).namespace(), "tenant_slug": slug, "schema_name": read_schema(tenant(n), 1),
    })
}
fn with(key: &str, value: impl Into<Value>) -> String {
    let mut claims = claims(1, "acme");
    claims[key] = value.into();
    claims.to_string()
}
fn without(key: &str) -> String {
    let mut claims = claims(1, "acme");
    claims.as_object_mut().unwrap().remove(key).unwrap();
    claims.to_string()
}
const HEADER: &str = r#"{"typ":"at+jwt","alg":"EdDSA","kid":"ed"}"#;

fn token(header: &str, claims: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let body = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    format!("{body}.{}", URL_SAFE_NO_PAD.encode(sign(body.as_bytes())))
}

impl World {
    fn signed(&self, header: &str, claims: &str) -> String {
        token(header, claims, |body| self.ed.sign(body).as_ref().to_vec())
    }
    async fn ask(&self, uri: &str, headers: &[(&str, &str)]) -> Result<Actor, Problem> {
        let mut request = http::Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        self.gate.admit(&request.body(()).unwrap().into_parts().0).await
    }
    async fn with_token(&self, host: &str, token: &str) -> Result<Actor, Problem> {
        self.ask("/v1/employees", &[("host", host), ("authorization", &format!("Bearer {token}"))]).await
    }
    async fn as_tenant(&self, host: &str, claims: &Value) -> Result<Actor, Problem> {
        self.with_token(host, &self.signed(HEADER, &claims.to_string())).await
    }
}

fn check(what: &str, answer: &Result<Actor, Problem>, status: u16, code: &str) {
    match answer {
        Ok(actor) => assert_eq!((200, ""), (status, code), "{what}: admitted {actor:?}"),
        Err(problem) => assert_eq!((problem.status.as_u16(), problem.code), (status, code), "{what}: {problem:?}"),
    }
}

#[tokio::test]
async fn a_good_token_is_admitted() {
    let w = world();
    let host = "acme.tenure.example";
    let actor = w.with_token(host, &w.signed(HEADER, &claims(1, "acme").to_string())).await.unwrap();
    assert_eq!((actor.scope.tenant(), actor.roles.as_slice(), actor.subject.as_str()), (tenant(1), &["hr".to_owned()][..], "s"));
    let es256 = token(r#"{"typ":"at+jwt","alg":"ES256","kid":"ec"}"#, &claims(1, "acme").to_string(), |body| {
        w.ec.sign(&SystemRandom::new(), body).unwrap().as_ref().to_vec()
    });
    check("ES256", &w.with_token(host, &es256).await, 200, "");
    check("nbf past", &w.with_token(host, &w.signed(HEADER, &with("nbf", now()))).await, 200, "");
    check("extra claim", &w.with_token(host, &w.signed(HEADER, &with("locale", "de"))).await, 200, "");
}

#[tokio::test]
async fn token_failures_share_one_body() {
    let w = world();
    let public = w.ed.public_key().as_ref().to_vec();
    let hs = |body: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &public), body).as_ref().to_vec();
    let good = claims(1, "acme").to_string();
    let mut bad: Vec<(&str, String)> = vec![
        ("empty parts", "..".into()),
        ("two parts", "a.b".into()),
        ("four parts", format!("{}.x", w.signed(HEADER, &good))),
        ("five parts, as encrypted", "a.b.c.d.e".into()),
        ("another's key", token(HEADER, &good, |body| w.stranger.sign(body).as_ref().to_vec())),
        ("no signature", token(HEADER, &good, |_| vec![])),
        ("HS256 with the public key", token(r#"{"typ":"at+jwt","alg":"HS256","kid":"ed"}"#, &good, hs)),
        ("EdDSA over the key of ES256", w.signed(r#"{"typ":"at+jwt","alg":"EdDSA","kid":"ec"}"#, &good)),
        ("ES256 with the key of EdDSA", w.signed(r#"{"typ":"at+jwt","alg":"ES256","kid":"ed"}"#, &good)),
        ("padded base64", format!("{}=.a.b", URL_SAFE_NO_PAD.encode(HEADER))),
    ];
    for alg in ["none", "None", "NONE", "nOnE", "RS256", "PS512", "HS512", "ES384"] {
        bad.push((alg, token(&json!({"typ": "at+jwt", "alg": alg, "kid": "ed"}).to_string(), &good, |_| vec![])));
    }
    for kid in ["../../etc/passwd", "' or 1=1 --", "ED", "ed ", "", "\0"] {
        bad.push((kid, w.signed(&json!({"typ": "at+jwt", "alg": "EdDSA", "kid": kid}).to_string(), &good)));
    }
    for header in [
        r#"{"alg":"EdDSA","kid":"ed"}"#,
        r#"{"typ":"JWT","alg":"EdDSA","kid":"ed"}"#,
        r#"{"typ":"id+jwt","alg":"EdDSA","kid":"ed"}"#,
        r#"{"typ":"rt+jwt","alg":"EdDSA","kid":"ed"}"#,
        r#"{"typ":"AT+JWT","alg":"EdDSA","kid":"ed"}"#,
        r#"{"typ":"at+jwt","alg":"EdDSA"}"#,
        r#"{"typ":"at+jwt","alg":"EdDSA","kid":7}"#,
        r#"{"typ":"at+jwt","alg":"EdDSA","kid":"no","kid":"ed"}"#,
        r#"{"typ":"at+jwt","alg":"EdDSA","kid":"ed","crit":["x"],"x":1}"#,
        r#"{"typ":"at+jwt","alg":"EdDSA","kid":"ed","jku":"http://127.0.0.1:1/"}"#,
        r#"{"typ":"at+jwt","alg":"EdDSA","kid":"ed","x5u":"http://127.0.0.1:1/"}"#,
        r#"{"typ":"at+jwt","alg":"EdDSA","kid":"ed","jwk":{}}"#,
        r#"{"typ":"at+jwt","alg":"EdDSA","kid":"ed","zip":"DEF"}"#,
        "[]",
        "",
    ] {
        bad.push((header, w.signed(header, &good)));
    }
    let doubled = good.replacen('{', r#"{"tenant_id":"x","#, 1);
    for (what, claims) in [
        ("expired", with("exp", now() - 10)),
        ("exp a string", with("exp", "9999999999")),
        ("exp negative", with("exp", -1)),
        ("exp a fraction", with("exp", 1e300)),
        ("no exp", without("exp")),
        ("no iat", without("iat")),
        ("iat in the future", json!({"iat": now() + 60, "exp": now() + 120}).to_string()),
        ("lives too long", with("exp", now() + 601)),
        ("lives for ever", with("exp", u64::MAX)),
        ("nbf in the future", with("nbf", now() + 60)),
        ("nbf a string", with("nbf", "1")),
        ("no aud", without("aud")),
        ("another aud", with("aud", "other")),
        ("aud as a list", with("aud", json!(["tenure", "other"]))),
        ("aud null", with("aud", Value::Null)),
        ("no iss", without("iss")),
        ("another iss", with("iss", "evil")),
        ("iss a prefix", with("iss", "tenure.")),
        ("iss a list", with("iss", json!(["tenure"]))),
        ("no sub", without("sub")),
        ("empty sub", with("sub", "")),
        ("no jti", without("jti")),
        ("no roles", without("roles")),
        ("roles a string", with("roles", "hr")),
        ("tenant_id a number", with("tenant_id", 1)),
        ("a claim twice", doubled),
        ("no object", "[]".into()),
        ("no JSON", "x".into()),
    ] {
        bad.push((what, w.signed(HEADER, &claims)));
    }
    let mut bodies = std::collections::HashSet::new();
    for (what, token) in bad {
        let answer = w.with_token("acme.tenure.example", &token).await;
        check(what, &answer, 401, "invalid_token");
        bodies.insert(answer.unwrap_err().document().to_string());
    }
    assert_eq!(bodies.len(), 1);
}

#[tokio::test]
async fn a_token_stands_in_one_bearer_header_and_nowhere_else() {
    let w = world();
    let good = w.signed(HEADER, &claims(1, "acme").to_string());
    let bearer = format!("Bearer {good}");
    let host = ("host", "acme.tenure.example");
    let long = format!("Bearer {}", "a".repeat(8 * 1024 + 1));
    let fits = format!("Bearer {}", "a".repeat(8 * 1024));
    check("none", &w.ask("/", &[host]).await, 401, "missing_token");
    check("lower-case scheme", &w.ask("/", &[host, ("authorization", &format!("bearer {good}"))]).await, 200, "");
    check("too long", &w.ask("/", &[host, ("authorization", &long)]).await, 431, "token_too_large");
    check("just fits", &w.ask("/", &[host, ("authorization", &fits)]).await, 401, "invalid_token");
    check("second too long", &w.ask("/", &[host, ("authorization", &bearer), ("authorization", &long)]).await, 431, "token_too_large");
    check("twice", &w.ask("/", &[host, ("authorization", &bearer), ("authorization", &bearer)]).await, 401, "invalid_token");
    for value in ["Basic YTpi", "Bearer", "Bearer ", &good, &format!("Bearer  {good}"), &format!("{bearer} x"), "Bearer \u{e9}"] {
        check(value, &w.ask("/", &[host, ("authorization", value)]).await, 401, "invalid_token");
    }
    check("in the query", &w.ask(&format!("/?access_token={good}"), &[host]).await, 401, "invalid_token");
    check("in both", &w.ask(&format!("/?a=b&access_token={good}"), &[host, ("authorization", &bearer)]).await, 401, "invalid_token");
    check("in a cookie", &w.ask("/", &[host, ("cookie", &bearer)]).await, 401, "missing_token");
}

#[tokio::test]
async fn token_host_and_registry_must_agree() {
    let w = world();
    let acme = claims(1, "acme");
    for host in [
        "acme.tenure.example",
        "acme.tenure.example:8080",
        "acme.TENURE.example",
        "tenure.example",
        "Tenure.Example:1",
        "127.0.0.1:7411",
        "[::1]:7411",
        "localhost:7411",
        "query-api",
    ] {
        check(host, &w.as_tenant(host, &acme).await, 200, "");
    }
    // Another tenant's host, whether or not that tenant exists.
    for host in ["acme-2.tenure.example", "nobody.tenure.example", "gone.tenure.example", "platform.tenure.example"] {
        check(host, &w.as_tenant(host, &acme).await, 403, "tenant_mismatch");
    }
    for host in [
        "ACME.tenure.example",
        "Acme.tenure.example",
        "аcme.tenure.example", // the first letter is Cyrillic
        "ac\u{200b}me.tenure.example",
        "x.acme.tenure.example",
        "acme..tenure.example",
        ".tenure.example",
        "-acme.tenure.example",
        "acme-.tenure.example",
        "acme_2.tenure.example",
        "%61cme.tenure.example",
        "%2e%2e%2f.tenure.example",
        "acme.tenure.example.",
        "acme.tenure.example:x",
        "acme.tenure.example:",
        "acme.evil.example",
        "eviltenure.example",
        "acme.tenure.example.evil.com",
        &format!("{}.tenure.example", "a".repeat(41)),
        "",
    ] {
        check(host, &w.as_tenant(host, &acme).await, 400, "invalid_tenant");
    }
    let bearer = format!("Bearer {}", w.signed(HEADER, &acme.to_string()));
    for (what, headers, status, code) in [
        ("header agrees", &[("host", "tenure.example"), ("tenure-tenant", "acme")][..], 200, ""),
        ("header of another", &[("host", "tenure.example"), ("tenure-tenant", "acme-2")], 403, "tenant_mismatch"),
        ("host and header disagree", &[("host", "acme.tenure.example"), ("tenure-tenant", "acme-2")], 403, "tenant_mismatch"),
        ("header malformed", &[("tenure-tenant", "Acme")], 400, "invalid_tenant"),
        ("two hosts", &[("host", "acme.tenure.example"), ("host", "acme-2.tenure.example")], 400, "invalid_tenant"),
    ] {
        let headers: Vec<_> = headers.iter().copied().chain([("authorization", bearer.as_str())]).collect();
        check(what, &w.ask("/", &headers).await, status, code);
    }
    let absolute = w.ask("http://acme-2.tenure.example/", &[("host", "acme.tenure.example"), ("authorization", &bearer)]).await;
    check("the request line names another host", &absolute, 403, "tenant_mismatch");
}

#[tokio::test]
async fn the_claims_of_a_token_must_name_one_tenant() {
    let w = world();
    let host = "tenure.example";
    for key in ["tenant_id", "tenant_slug", "schema_name"] {
        check(key, &w.with_token(host, &w.signed(HEADER, &without(key))).await, 403, "tenant_missing");
    }
    for (key, value) in [
        ("tenant_slug", "acme-2".to_owned()),
        ("tenant_slug", "nobody".into()),
        ("tenant_slug", "ACME".into()),
        ("tenant_id", tenant(2).namespace()),
        ("tenant_id", "x".into()),
        ("tenant_id", tenant(1).namespace().to_uppercase()),
        ("schema_name", read_schema(tenant(2), 1)),
        ("schema_name", "public".into()),
        ("schema_name", "pg_catalog".into()),
        ("schema_name", format!("{}_old", read_schema(tenant(1), 1))),
        ("schema_name", format!("{}\"; drop schema platform; --", read_schema(tenant(1), 1))),
        ("schema_name", String::new()),
    ] {
        check(&format!("{key} = {value}"), &w.with_token(host, &w.signed(HEADER, &with(key, value.clone()))).await, 403, "tenant_mismatch");
    }
}

#[tokio::test]
async fn a_tenant_must_be_in_service() {
    let w = world();
    for (n, slug, status, code) in [
        (3, "half", 503, "tenant_not_ready"),
        (4, "gone", 404, "tenant_not_found"),
        (5, "stopped", 403, "tenant_suspended"),
        (6, "late", 402, "subscription_expired"),
        (7, "after", 200, ""),
        (7, "before", 403, "tenant_mismatch"),
        (99, "nobody", 404, "tenant_not_found"),
    ] {
        let answer = w.as_tenant(&format!("{slug}.tenure.example"), &claims(n, slug)).await;
        check(slug, &answer, status, code);
        if status == 503 {
            assert!(answer.unwrap_err().retry_after.is_some());
        }
    }
}

#[tokio::test]
async fn roles_are_denied_by_default_and_operators_live_in_the_platform() {
    let w = world();
    let roles = async |n: u128, slug: &str, names: Value| {
        let mut claims = claims(n, slug);
        claims["roles"] = names;
        w.as_tenant("tenure.example", &claims).await.unwrap()
    };
    let hr = roles(1, "acme", json!(["hr", "operator", "admin", "HR"])).await;
    let may = |actor: &Actor| (actor.grants.any_of(Action::Change), actor.grants.has(Duty::ManageTenants));
    assert_eq!(may(&hr), (true, false), "no operator outside the platform's own tenant, no unknown role");
    assert!(hr.require_any(Action::Change, FieldClass::Pay).is_ok());
    check("operator", &hr.require(Duty::ManageTenants).map(|()| hr.clone()), 403, "forbidden");
    let nobody = roles(1, "acme", json!([])).await;
    check("nobody", &nobody.require_any(Action::Read, FieldClass::Directory).map(|()| nobody.clone()), 403, "forbidden");
    let operator = roles(0, "platform", json!(["operator", "hr"])).await;
    assert_eq!((may(&operator), operator.scope.tenant()), ((false, true), TenantId::PLATFORM));
}

#[test]
fn the_key_set_holds_public_parts_only() {
    let w = world();
    let set = w.gate.jwks();
    let keys = set["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    for key in keys {
        assert!(key["d"].is_null() && key["kid"].is_string() && key["x"].is_string(), "{key}");
    }
    assert_eq!(keys[1]["x"], URL_SAFE_NO_PAD.encode(w.ed.public_key().as_ref()));
}
