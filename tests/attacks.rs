//! Every attack on every route of both APIs. The routes come from the OpenAPI documents, so a new one can't escape; the
//! attacks are a table. Every byte of every answer is scanned for what belongs to another tenant (I4).

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::StreamExt as _;
use hmac::{Hmac, Mac as _};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::OnceCell,
};
use uuid::Uuid;

use crate::servers::{System, system};

/// A tenant full of canaries.
struct Victim {
    slug: String,
    token: String,
    /// Of who decides who gets in.
    owner: String,
    /// Stands in every text of the tenant's, and nowhere else.
    canary: String,
    /// By the part of the path that names the kind, such as `employees`.
    ids: BTreeMap<&'static str, String>,
}

/// A tenant that is not served, and what a token of its own gets.
struct OutOfService {
    slug: String,
    token: String,
    status: u16,
    code: &'static str,
}

pub(crate) struct Battlefield {
    system: &'static System,
    /// The attacker's own tenant.
    own: Victim,
    other: Victim,
    /// One of each kind: suspended, expired, closed, and registered but not set up.
    out_of_service: Vec<OutOfService>,
    auditor: String,
    routes: Vec<Route>,
    /// Routes that take no token.
    open: Vec<Route>,
    /// The issuer's public key, for who would sign with it.
    public_key: Vec<u8>,
    signer: Signer,
}

/// A signing key that every process knows, in the hands of whoever writes claims that no issuer of ours would.
struct Signer {
    kid: String,
    pair: EcdsaKeyPair,
}

impl Signer {
    async fn known_to(system: &System) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let kid = format!("attack-{}", Uuid::now_v7().simple());
        // Of the algorithm that our own issuer does not sign with, so that it never takes this key for its own.
        let insert = "insert into platform.signing_key (kid, algorithm, public_key, private_key) values ($1, 'ES256', $2, '')";
        let pool = system.pool().await;
        sqlx::query(insert).bind(&kid).bind(pair.public_key().as_ref()).execute(&pool).await.unwrap();
        pool.close().await;
        Self { kid, pair }
    }
    fn sign(&self, typ: &str, claims: &Value) -> String {
        let text = format!("{}.{}", encode(&json!({"alg": "ES256", "typ": typ, "kid": self.kid})), encode(claims));
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[derive(Debug, Clone)]
struct Route {
    base: String,
    method: Method,
    path: String,
    /// Whether its document says that it takes JSON.
    takes_json: bool,
}

impl Route {
    /// The path parts' kind, such as `employees`.
    fn kind(&self) -> &str {
        self.path.split('/').nth(2).unwrap_or_default()
    }
    fn has_id(&self) -> bool {
        self.path.contains("{id}")
    }
    fn is_for_operators(&self) -> bool {
        self.kind() == "tenants"
    }
    fn is_for_owners(&self) -> bool {
        matches!(self.kind(), "users" | "service-accounts" | "identity-audit" | "issuers" | "domains")
            || (self.kind() == "roles" && self.method != Method::GET)
    }
    /// About oneself: everybody may.
    fn is_own(&self) -> bool {
        matches!(self.kind(), "auth" | "delegations")
    }
    fn request(&self, id: &str) -> RequestBuilder {
        let url = format!("{}{}", self.base, self.path.replace("{id}", id));
        let request = field_client().request(self.method.clone(), url);
        if self.method == Method::GET { request } else { request.header("idempotency-key", Uuid::now_v7().to_string()).json(&json!({})) }
    }
    /// A request as the attacker would send it about something of their own tenant.
    fn about(&self, victim: &Victim) -> RequestBuilder {
        self.request(victim.ids.get(self.kind()).map_or("0190a7b2-6c3e-7def-8000-0123456789ab", String::as_str))
    }
}

fn field_client() -> reqwest::Client {
    static CLIENT: std::sync::OnceLock<reqwest::Client> = std::sync::OnceLock::new();
    // A runtime per test: no connection may outlive its own.
    CLIENT
        .get_or_init(|| {
            let timeout = std::time::Duration::from_mins(1);
            reqwest::Client::builder().timeout(timeout).pool_max_idle_per_host(0).build().unwrap()
        })
        .clone()
}

/// The routes that take no token, and have attacks of their own.
const OPEN: &[&str] = &["/v1/auth/activation", "/v1/auth/login", "/v1/auth/logout", "/v1/auth/refresh", "/v1/auth/service-token"];

static SENT: AtomicU32 = AtomicU32::new(0);

impl Battlefield {
    async fn get() -> &'static Self {
        static FIELD: OnceCell<Battlefield> = OnceCell::const_new();
        FIELD.get_or_init(Self::prepare).await
    }
    async fn prepare() -> Self {
        Self::over(system().await).await
    }
    /// Two tenants full of canaries, and others out of service, in a system.
    pub(crate) async fn over(system: &'static System) -> Self {
        let unique = &Uuid::now_v7().simple().to_string()[20..];
        let (own, other) =
            (Victim::new(system, &format!("attack-{unique}")).await, Victim::new(system, &format!("attack-{unique}-b")).await);
        let signer = Signer::known_to(system).await;
        let out_of_service = OutOfService::of_each_kind(system, unique, &signer, &part(&own.token, 1)).await;
        let (mut routes, mut open) = (Vec::new(), Vec::new());
        for base in [&system.command_api, &system.query_api] {
            let document: Value = field_client().get(format!("{base}/openapi.json")).send().await.unwrap().json().await.unwrap();
            for (path, methods) in document["paths"].as_object().unwrap() {
                for (method, operation) in methods.as_object().unwrap() {
                    let method = method.to_uppercase().parse().unwrap();
                    let takes_json = !operation["requestBody"]["content"]["application/json"].is_null();
                    let route = Route { base: base.clone(), method, path: path.clone(), takes_json };
                    if operation.get("security").is_none() { routes.push(route) } else { open.push(route) }
                }
            }
        }
        assert!(routes.len() > 50, "{routes:?}");
        let paths: Vec<_> = open.iter().map(|route| route.path.as_str()).collect();
        assert_eq!(paths, OPEN, "a route that takes no token is open to everybody: attack it on purpose");
        let jwks: Value =
            field_client().get(format!("{}/.well-known/jwks.json", system.query_api)).send().await.unwrap().json().await.unwrap();
        let public_key = URL_SAFE_NO_PAD.decode(jwks["keys"][0]["x"].as_str().unwrap()).unwrap();
        let auditor = system.token(&own.slug, "auditor");
        let field = Self { system, own, other, out_of_service, auditor, routes, open, public_key, signer };
        // Every process must know the key by now: its own claims are good.
        let good = field.signer.sign("at+jwt", &part(&field.own.token, 1));
        for route in [&field.routes[0], &field.routes[field.routes.len() - 1]] {
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
            while field.send(route.about(&field.own).bearer_auth(&good)).await.0 == 401 {
                assert!(std::time::Instant::now() < deadline, "the key is not known to {}", route.base);
            }
        }
        // Every process must know who is out of service by now.
        for tenant in &field.out_of_service {
            for route in [&field.routes[0], &field.routes[field.routes.len() - 1]] {
                let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
                while field.send(route.about(&field.own).bearer_auth(&tenant.token)).await.1["error"] != tenant.code {
                    assert!(std::time::Instant::now() < deadline, "{} is not known to {}", tenant.code, route.base);
                }
            }
        }
        field
    }
    /// Sends, and looks for what belongs to the other tenant in every byte that comes back.
    async fn send(&self, request: RequestBuilder) -> (u16, Value) {
        SENT.fetch_add(1, Ordering::Relaxed);
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = client.execute(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), format!("{:?}", response.headers()));
        let body = response.text().await.unwrap();
        for bytes in [&headers, &body] {
            assert!(!bytes.contains(&self.other.canary), "a canary of the other tenant: {status} {headers} {body}");
        }
        let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
        crate::contract::check(method.as_str(), &path, status, &body);
        (status, body)
    }
    /// Sends bytes as they are, and takes what comes back before the server closes the connection.
    async fn send_raw(&self, base: &str, bytes: &str) -> (u16, Value) {
        SENT.fetch_add(1, Ordering::Relaxed);
        let mut connection = TcpStream::connect(base.strip_prefix("http://").unwrap()).await.unwrap();
        // The request may be refused before all of it is sent.
        let _ = connection.write_all(bytes.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = connection.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(!answer.contains(&self.other.canary), "a canary of the other tenant: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {bytes:.200}: {answer:?}"));
        assert!(head.contains("content-type: application/problem+json"), "{answer}");
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}")))
    }
    async fn expect(&self, attack: &str, route: &Route, request: RequestBuilder, status: u16, code: &str) -> Value {
        let (got, body) = self.send(request).await;
        assert_eq!((got, body["error"].as_str()), (status, Some(code)), "{attack} on {} {}: {body}", route.method, route.path);
        body
    }
    /// Reads and sends to every route as the attacker, about their own things and the other tenant's, at their own host,
    /// at none and at the other's; how many requests that were. Panics on the first byte of the other tenant's.
    pub(crate) async fn scan(&self) -> u32 {
        let before = SENT.load(Ordering::Relaxed);
        let mut own_seen = 0;
        for route in &self.routes {
            if route.is_for_operators() {
                let tenant = self.tenants()[1].uuid().to_string();
                for token in [&self.own.token, &self.own.owner] {
                    self.expect("as operator", route, route.request(&tenant).bearer_auth(token), 403, "forbidden").await;
                }
                continue;
            }
            let token = if route.is_for_owners() { &self.own.owner } else { &self.own.token };
            let foreign = self.other.ids.get(route.kind()).map_or("", String::as_str);
            let (_, body) = self.send(route.about(&self.own).bearer_auth(token)).await;
            own_seen += u32::from(body.to_string().contains(&self.own.canary));
            let (status, body) = self.send(route.request(foreign).bearer_auth(token)).await;
            assert!(!route.has_id() || (400..500).contains(&status), "{} {}: {status} {body}", route.method, route.path);
            self.send(route.about(&self.own).bearer_auth(token).query(&[("q", &self.other.canary)])).await;
            let at_the_other = route.about(&self.own).bearer_auth(token).header("host", format!("{}.localhost", self.other.slug));
            self.expect("at the other's host", route, at_the_other, 403, "tenant_mismatch").await;
        }
        assert!(own_seen > 5, "the attacker's own canary was seen {own_seen} times only: the scan sees nothing");
        SENT.load(Ordering::Relaxed) - before
    }
    /// The tenants' namespaces: the attacker's, the other's.
    pub(crate) fn tenants(&self) -> [events::TenantId; 2] {
        [&self.own.token, &self.other.token].map(|token| crate::servers::tenant_of(token))
    }
    /// Tokens of theirs that may change everything about people.
    pub(crate) fn tokens(&self) -> [&str; 2] {
        [&self.own.token, &self.other.token]
    }
    /// Where it is.
    pub(crate) fn system(&self) -> &'static System {
        self.system
    }
    /// What stands in every text of the other tenant's.
    pub(crate) fn canary(&self) -> &str {
        &self.other.canary
    }
    fn signed(&self, header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", encode(header), encode(claims));
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.public_key).unwrap();
        mac.update(text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }
}

impl OutOfService {
    async fn of_each_kind(system: &System, unique: &str, signer: &Signer, claims: &Value) -> Vec<Self> {
        let made = |name: &str, status, code| {
            let slug = format!("{name}-{unique}");
            Self { token: system.tenant(&slug), slug, status, code }
        };
        let operator = system.token("platform", "operator");
        let tell = async |path: &str, body: Value| {
            let (status, answer) = system.post(&operator, path, &Uuid::now_v7().to_string(), &body).await;
            assert!(status < 300, "{status} {answer}");
        };
        let id = |tenant: &Self| crate::servers::tenant_of(&tenant.token).namespace();
        let suspended = made("suspended", 403, "tenant_suspended");
        tell(&format!("/v1/tenants/{}/suspension", id(&suspended)), json!({"reason": "a test"})).await;
        let expired = made("expired", 402, "subscription_expired");
        let past = json!({"plan": "standard", "expires_at": "2020-01-01T00:00:00Z"});
        tell(&format!("/v1/tenants/{}/subscription", id(&expired)), past).await;
        let closed = made("closed", 404, "tenant_not_found");
        tell(&format!("/v1/tenants/{}/closure", id(&closed)), json!({"reason": "a test"})).await;
        // The projector sets up every tenant that is registered, and goes on trying. This one it can't: the database takes no
        // key for it, and without its key nothing of it is kept.
        let (half, slug) = (events::TenantId::from_uuid(Uuid::now_v7()), format!("half-{unique}"));
        let pool = system.pool().await;
        let no_key = format!("alter table platform.tenant_key add check (tenant_id <> '{}')", half.uuid());
        sqlx::query(&no_key).execute(&pool).await.unwrap();
        pool.close().await;
        tell("/v1/tenants", json!({"tenant_id": half, "slug": slug, "name": slug})).await;
        let schema = platform::read_schema(half, platform::READ_MODEL_VERSION);
        let claims = with(claims, &[("tenant_id", json!(half.namespace())), ("tenant_slug", json!(slug)), ("schema_name", json!(schema))]);
        let half = Self { token: signer.sign("at+jwt", &claims), slug, status: 503, code: "tenant_not_ready" };
        vec![suspended, expired, closed, half]
    }
}

impl Victim {
    async fn new(system: &System, slug: &str) -> Self {
        let token = system.tenant(slug);
        let canary = format!("canary{}", Uuid::new_v4().simple());
        let post = async |path: &str, body: Value| {
            let (status, answer) = system.post(&token, path, &format!("{path}-{canary}"), &body).await;
            assert!(status < 300, "{status} {answer}");
            answer["id"].as_str().unwrap().to_owned()
        };
        let on = "2000-01-01";
        let department = post("/v1/departments", json!({"effective_on": on, "code": "d", "name": canary})).await;
        let job = post("/v1/jobs", json!({"effective_on": on, "code": "j", "title": canary})).await;
        let location = json!({"effective_on": on, "code": "l", "name": canary, "time_zone": "Europe/Vienna"});
        let location = post("/v1/locations", location).await;
        let hire = json!({"hire_date": "2010-01-01", "employee_number": "1",
            "person": {"given_name": canary, "family_name": canary}, "contact": {"work_email": format!("{canary}@example.com")},
            "assignment": {"department_id": department, "job_id": job, "location_id": location},
            "pay": {"rate": {"amount": "1000", "currency": "EUR"}, "per": "month"}});
        let employee = post("/v1/employees", hire).await;
        system.settled(&token).await;
        let owner = system.token(slug, "owner");
        let made = async |path: &str, body: Value, id: &str| {
            let (status, answer) = system.post(&owner, path, &format!("{path}-{canary}"), &body).await;
            assert!(status < 300, "{status} {answer}");
            answer[id].as_str().unwrap().to_owned()
        };
        let user = made("/v1/users", json!({"email": format!("{canary}@example.com"), "roles": ["hr"]}), "user_id").await;
        let machine = made("/v1/service-accounts", json!({"name": canary, "roles": ["hr"]}), "account_id").await;
        let in_days = |days: i64| (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days)).to_string();
        let delegation = json!({"to": "nobody", "roles": ["hr"], "starts_at": in_days(29), "ends_at": in_days(30)});
        let (status, delegated) = system.post(&token, "/v1/delegations", &canary, &delegation).await;
        assert_eq!(status, 201, "{delegated}");
        let ids = BTreeMap::from([
            ("delegations", delegated["delegation_id"].as_str().unwrap().to_owned()),
            ("departments", department),
            ("jobs", job),
            ("locations", location),
            ("employees", employee),
            ("users", user),
            ("service-accounts", machine),
        ]);
        Self { slug: slug.into(), token, owner, canary, ids }
    }
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn part(token: &str, n: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(n).unwrap()).unwrap()).unwrap()
}

/// The header of a token with some fields set.
fn with(header: &Value, fields: &[(&str, Value)]) -> Value {
    let mut header = header.clone();
    for (name, value) in fields {
        header[*name] = value.clone();
    }
    header
}

#[tokio::test(flavor = "multi_thread")]
async fn every_forged_token_on_every_route() {
    let field = Battlefield::get().await;
    let (header, claims) = (part(&field.own.token, 0), part(&field.own.token, 1));
    let (payload, signature) = (field.own.token.split('.').nth(1).unwrap(), field.own.token.split('.').nth(2).unwrap());
    let unsigned = |alg: &str| format!("{}.{payload}.", encode(&with(&header, &[("alg", json!(alg))])));
    let other_header = |fields: &[(&str, Value)]| format!("{}.{payload}.{signature}", encode(&with(&header, fields)));
    let mut forged: Vec<(String, String)> =
        ["none", "None", "NONE", "nOnE"].iter().map(|alg| (format!("alg {alg}"), unsigned(alg))).collect();
    for alg in ["HS256", "HS384"] {
        forged.push((format!("{alg} by the public key"), field.signed(&with(&header, &[("alg", json!(alg))]), &claims)));
    }
    for (name, fields) in [
        ("kid with a path", vec![("kid", json!("../../../../dev/null"))]),
        ("kid with SQL", vec![("kid", json!("' or '1'='1"))]),
        ("kid that is no text", vec![("kid", json!(["x"]))]),
        ("jku", vec![("jku", json!("http://127.0.0.1:1/keys"))]),
        ("x5u", vec![("x5u", json!("http://127.0.0.1:1/keys"))]),
        ("unknown crit", vec![("crit", json!(["exp"]))]),
        ("an ID token", vec![("typ", json!("JWT"))]),
        ("alg of another family", vec![("alg", json!("ES256"))]),
    ] {
        forged.push((name.into(), other_header(&fields)));
    }
    let foreign = part(&field.other.token, 1);
    forged.push(("the other tenant's claims".into(), format!("{}.{}.{signature}", encode(&header), encode(&foreign))));
    for (claim, value) in
        [("exp", json!(4_102_444_800_u64)), ("roles", json!(["hr", "operator"])), ("tenant_slug", json!(field.other.slug))]
    {
        forged.push((format!("{claim} changed"), format!("{}.{}.{signature}", encode(&header), encode(&with(&claims, &[(claim, value)])))));
    }
    forged.push(("no signature".into(), format!("{}.{payload}", encode(&header))));
    forged.push(("half a signature".into(), field.own.token[..field.own.token.len() - 40].into()));
    forged.push(("a fourth part".into(), format!("{}.x", field.own.token)));
    forged.push(("no token".into(), "x".into()));
    let mut bodies = std::collections::BTreeSet::new();
    for route in &field.routes {
        for (name, token) in &forged {
            let body = field.expect(name, route, route.about(&field.own).bearer_auth(token), 401, "invalid_token").await;
            bodies.insert(body.to_string());
        }
        field.expect("no header", route, route.about(&field.own), 401, "missing_token").await;
        let in_url = route.about(&field.own).query(&[("access_token", &field.own.token), ("token", &field.own.token)]);
        field.expect("a token in the URL", route, in_url, 401, "invalid_token").await;
        let long = route.about(&field.own).bearer_auth("x".repeat(9 * 1024));
        field.expect("a token of 9 KiB", route, long, 431, "token_too_large").await;
    }
    assert_eq!(bodies.len(), 1, "all refused tokens get the same body: {bodies:?}");
    eprintln!("{} attacks by token on {} routes", forged.len() + 3, field.routes.len());
}

/// Claims that no issuer of ours writes, under a signature that verifies.
#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_claim_on_every_route() {
    let field = Battlefield::get().await;
    let (own, foreign) = (part(&field.own.token, 1), part(&field.other.token, 1));
    let now = jiff::Timestamp::now().as_second();
    let set = |fields: &[(&str, Value)]| with(&own, fields);
    let without = |name: &str| {
        let mut claims = own.clone();
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    let nobody = events::TenantId::from_uuid(Uuid::now_v7());
    let schema = |tenant: events::TenantId| platform::read_schema(tenant, platform::READ_MODEL_VERSION);
    let access = "at+jwt";
    let (void, mismatch) = ((401, "invalid_token"), (403, "tenant_mismatch"));
    let attacks = [
        ("expired", access, set(&[("iat", json!(now - 300)), ("exp", json!(now - 60))]), void),
        ("exp that is text", access, set(&[("exp", json!((now + 60).to_string()))]), void),
        ("exp missing", access, without("exp"), void),
        ("a life too long", access, set(&[("exp", json!(now + 1_000_000))]), void),
        ("exp before iat", access, set(&[("iat", json!(now)), ("exp", json!(now))]), void),
        ("not valid yet", access, set(&[("nbf", json!(now + 60))]), void),
        ("nbf that is text", access, set(&[("nbf", json!("0"))]), void),
        ("issued in the future", access, set(&[("iat", json!(now + 60))]), void),
        ("iat missing", access, without("iat"), void),
        ("another audience", access, set(&[("aud", json!("another"))]), void),
        ("audiences", access, set(&[("aud", json!(["another", own["aud"]]))]), void),
        ("aud missing", access, without("aud"), void),
        ("another issuer", access, set(&[("iss", json!("another"))]), void),
        ("iss missing", access, without("iss"), void),
        ("nobody", access, set(&[("sub", json!(""))]), void),
        ("sub missing", access, without("sub"), void),
        ("jti missing", access, without("jti"), void),
        ("roles that are text", access, set(&[("roles", json!("owner"))]), void),
        ("an employee that is none", access, set(&[("employee_id", json!("*"))]), void),
        ("an ID token", "JWT", own.clone(), void),
        ("a refresh token", "rt+jwt", own.clone(), void),
        ("tenant_id missing", access, without("tenant_id"), (403, "tenant_missing")),
        ("tenant_slug missing", access, without("tenant_slug"), (403, "tenant_missing")),
        ("schema_name missing", access, without("schema_name"), (403, "tenant_missing")),
        ("the other's schema", access, set(&[("schema_name", foreign["schema_name"].clone())]), mismatch),
        ("the schema public", access, set(&[("schema_name", json!("public"))]), mismatch),
        ("the schema pg_catalog", access, set(&[("schema_name", json!("pg_catalog"))]), mismatch),
        ("a schema with SQL", access, set(&[("schema_name", json!(format!("{}\"; set role x; --", own["schema_name"])))]), mismatch),
        ("a tenant that is none", access, set(&[("tenant_id", json!("*"))]), mismatch),
        ("the other's slug", access, set(&[("tenant_slug", foreign["tenant_slug"].clone())]), mismatch),
        ("the other's id", access, set(&[("tenant_id", foreign["tenant_id"].clone())]), mismatch),
        (
            "the other's id and schema",
            access,
            set(&[("tenant_id", foreign["tenant_id"].clone()), ("schema_name", foreign["schema_name"].clone())]),
            mismatch,
        ),
        (
            "a tenant that never was",
            access,
            set(&[("tenant_id", json!(nobody.namespace())), ("schema_name", json!(schema(nobody)))]),
            (404, "tenant_not_found"),
        ),
    ];
    let all = attacks.iter().flat_map(|attack| field.routes.iter().map(move |route| (attack, route)));
    let tried = futures::stream::iter(all).map(|((name, typ, claims, (status, code)), route)| {
        let token = field.signer.sign(typ, claims);
        async move { field.expect(name, route, route.about(&field.own).bearer_auth(token), *status, code).await }
    });
    // Some wait for a look at the newest tenants, all for the same.
    let tried = tried.buffer_unordered(16).count().await;
    eprintln!("{} attacks by claim on {} routes: {tried} requests", attacks.len(), field.routes.len());
}

/// A token that its owner revoked, and the token of a user who was disabled.
#[tokio::test(flavor = "multi_thread")]
async fn every_void_token_on_every_route() {
    let field = Battlefield::get().await;
    let system = field.system;
    let revoked = system.token(&field.own.slug, "hr");
    let post = async |token: &str, path: &str, body: Value| system.post(token, path, &Uuid::now_v7().to_string(), &body).await;
    let (status, answer) = post(&revoked, "/v1/auth/revocation", json!({"token_id": part(&revoked, 1)["jti"]})).await;
    assert_eq!(status, 204, "{answer}");
    let (email, password) = (format!("{}@example.org", Uuid::now_v7().simple()), "correct horse battery staple");
    let (status, invited) = post(&field.own.owner, "/v1/users", json!({"email": email, "roles": ["hr"]})).await;
    assert_eq!(status, 201, "{invited}");
    let open = async |path: &str, body: Value| {
        let request = system.client.post(format!("{}{path}", system.command_api)).header("host", format!("{}.localhost", field.own.slug));
        let response = request.json(&body).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap_or_default())
    };
    assert_eq!(open("/v1/auth/activation", json!({"ticket": invited["ticket"], "password": password})).await.0, 204);
    let (status, tokens) = open("/v1/auth/login", json!({"email": email, "password": password})).await;
    assert_eq!(status, 200, "{tokens}");
    let disabled = tokens["access_token"].as_str().unwrap().to_owned();
    let user = invited["user_id"].as_str().unwrap();
    let (status, answer) = post(&field.own.owner, &format!("/v1/users/{user}/disabling"), json!({})).await;
    assert!(status < 300, "{status} {answer}");
    for token in [&revoked, &disabled] {
        let since = std::time::Instant::now();
        for route in [&field.routes[0], &field.routes[field.routes.len() - 1]] {
            while field.send(route.about(&field.own).bearer_auth(token)).await.0 != 401 {
                assert!(since.elapsed() < std::time::Duration::from_secs(20), "{} still takes it", route.base);
            }
        }
        for route in &field.routes {
            field.expect("a void token", route, route.about(&field.own).bearer_auth(token), 401, "invalid_token").await;
        }
    }
    eprintln!("2 void tokens on {} routes", field.routes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_tenant_on_every_route() {
    let field = Battlefield::get().await;
    let own = &field.own.token;
    for route in &field.routes {
        let mut mismatches = std::collections::BTreeSet::new();
        let out_of_service = field.out_of_service.iter().map(|tenant| tenant.slug.as_str());
        for slug in [field.other.slug.as_str(), "nobody", "platform"].into_iter().chain(out_of_service) {
            let by_host = route.about(&field.own).bearer_auth(own).header("host", format!("{slug}.localhost"));
            let by_header = route.about(&field.own).bearer_auth(own).header("tenure-tenant", slug);
            let both = route
                .about(&field.own)
                .bearer_auth(own)
                .header("host", format!("{}.localhost", field.own.slug))
                .header("tenure-tenant", slug);
            for request in [by_host, by_header, both] {
                mismatches.insert(field.expect(slug, route, request, 403, "tenant_mismatch").await.to_string());
            }
        }
        assert_eq!(mismatches.len(), 1, "whether or not the other tenant exists, and is served: {mismatches:?}");
        for slug in
            ["ACME", "a_b", "a..b", "-a", "a-", "%2e%2e%2f", "a b", "a\tb", "x".repeat(41).as_str(), "'; drop schema x; --", "a*", "a>"]
        {
            let by_header = route.about(&field.own).bearer_auth(own).header("tenure-tenant", slug);
            field.expect(slug, route, by_header, 400, "invalid_tenant").await;
        }
        for bytes in [&b"\xd0\xb0cme"[..], b"a\xe2\x80\x8bcme"] {
            let look_alike = reqwest::header::HeaderValue::from_bytes(bytes).unwrap();
            field
                .expect(
                    "look-alike",
                    route,
                    route.about(&field.own).bearer_auth(own).header("tenure-tenant", look_alike),
                    400,
                    "invalid_tenant",
                )
                .await;
        }
        for OutOfService { token, status, code, .. } in &field.out_of_service {
            field.expect(code, route, route.about(&field.own).bearer_auth(token), *status, code).await;
            let elsewhere = route.about(&field.own).bearer_auth(token).header("host", format!("{}.localhost", field.own.slug));
            field.expect(code, route, elsewhere, 403, "tenant_mismatch").await;
        }
        if route.is_for_operators() {
            field.expect("an HR person as operator", route, route.about(&field.own).bearer_auth(own), 403, "forbidden").await;
        }
        if route.is_for_owners() {
            field.expect("an HR person as owner", route, route.about(&field.own).bearer_auth(own), 403, "forbidden").await;
        }
        if route.method != Method::GET && !route.is_own() {
            field.expect("an auditor writes", route, route.about(&field.own).bearer_auth(&field.auditor), 403, "forbidden").await;
        }
    }
    eprintln!("43 attacks by tenant on {} routes, and roles that don't suffice", field.routes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_foreign_or_hostile_id_on_every_route() {
    let field = Battlefield::get().await;
    let hostile = [
        "*",
        "%3E",
        "a.b",
        "%20",
        "%0D%0A",
        "$JS",
        "%00",
        "..%2f..%2fetc",
        "%27%20or%20%271%27=%271",
        "null",
        "-1",
        "1e9",
        "%F0%9F%98%80",
        "00000000-0000-0000-0000-00000000000g",
        &"9".repeat(300),
    ];
    let operator = field.system.token("platform", "operator");
    for route in field.routes.iter().filter(|route| route.has_id()) {
        let own = match (route.is_for_operators(), route.is_for_owners()) {
            (true, _) => &operator,
            (_, true) => &field.own.owner,
            _ => &field.own.token,
        };
        // Another tenant's is like nobody's, byte for byte, but for what names the request.
        let mut answers = Vec::new();
        let foreign = field.other.ids.get(route.kind()).filter(|_| !route.is_for_operators());
        for id in [foreign.cloned().unwrap_or_else(|| Uuid::now_v7().to_string()), Uuid::now_v7().to_string()] {
            answers.push(field.send(route.request(&id).bearer_auth(own)).await);
        }
        assert_eq!(answers[0], answers[1], "{} {}", route.method, route.path);
        assert!((400..500).contains(&answers[0].0), "{} {}: {answers:?}", route.method, route.path);
        for id in hostile {
            let (status, body) = field.send(route.request(id).bearer_auth(own)).await;
            assert!((400..500).contains(&status), "{id} on {} {}: {status} {body}", route.method, route.path);
            assert!(body["error"].is_string(), "{id} on {} {}: {status} {body}", route.method, route.path);
        }
    }
}

/// What the page about HTTP decides (`docs/http.md`), the same on every route, with a token and without.
#[tokio::test(flavor = "multi_thread")]
async fn every_odd_request_on_every_route() {
    let field = Battlefield::get().await;
    let operator = field.system.token("platform", "operator");
    let routes = field.routes.iter().map(|route| (route, true)).chain(field.open.iter().map(|route| (route, false)));
    let tried = futures::stream::iter(routes).map(|(route, with_token)| {
        let token = match (route.is_for_operators(), route.is_for_owners()) {
            _ if !with_token => None,
            (true, _) => Some(&operator),
            (_, true) => Some(&field.own.owner),
            _ => Some(&field.own.token),
        };
        odd_requests(field, route, token)
    });
    let tried = tried.buffer_unordered(8).collect::<Vec<_>>().await.into_iter().sum::<usize>();
    eprintln!("{tried} odd requests");
}

/// All of them on one route; how many.
async fn odd_requests(field: &Battlefield, route: &Route, token: Option<&String>) -> usize {
    let mut tried = 0;
    let nobody = events::TenantId::from_uuid(Uuid::now_v7()).namespace();
    let ask = || {
        let request = if route.is_for_operators() { route.request(&nobody) } else { route.about(&field.own) };
        token.iter().fold(request, RequestBuilder::bearer_auth)
    };
    let own = if route.is_for_operators() { "platform" } else { &field.own.slug };
    let (own_host, other_host) = (format!("{own}.localhost"), format!("{}.localhost", field.other.slug));
    let token_of = |claims: &str| {
        let text =
            format!("{}.{}", encode(&json!({"alg": "ES256", "typ": "at+jwt", "kid": field.signer.kid})), URL_SAFE_NO_PAD.encode(claims));
        let signature = field.signer.pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let claims = part(&field.own.token, 1).to_string();
    let with_claim = |claim: &str| token_of(&format!("{},{claim}}}", claims.trim_end_matches('}')));
    // What is sent, with a token, and without at the routes that take none.
    let void = (401, "invalid_token");
    let (unknown, mismatch) = ((400, "unknown_parameter"), (403, "tenant_mismatch"));
    let mut cases: Vec<(&str, RequestBuilder, (u16, &str))> = vec![
        ("an unknown parameter", ask().query(&[("colour", "red")]), unknown),
        ("a token in the URL", ask().query(&[("Access_Token", "x")]), if token.is_some() { void } else { unknown }),
        ("two tenants", ask().header("host", &own_host).header("tenure-tenant", &field.other.slug), mismatch),
        ("two tenants, the other way round", ask().header("host", &other_host).header("tenure-tenant", &field.own.slug), mismatch),
        ("nobody at a tenant's host", ask().header("host", &own_host).header("tenure-tenant", "nobody-at-all"), mismatch),
        ("a tenant at nobody's host", ask().header("host", "nobody-at-all.localhost").header("tenure-tenant", &field.own.slug), mismatch),
        (
            "one tenant twice",
            ask().header("tenure-tenant", &field.own.slug).header("tenure-tenant", &field.own.slug),
            (400, "invalid_tenant"),
        ),
        ("a host that is none of ours", ask().header("host", "elsewhere.example"), (400, "invalid_tenant")),
    ];
    if let Some(token) = token {
        cases.extend([
            ("two tokens", ask().header("authorization", format!("Bearer {token}")), void),
            ("a token that is no text", route.about(&field.own).header("authorization", &b"Bearer \xff"[..]), void),
            (
                "a token in the URL, in disguise",
                field_client()
                    .request(route.method.clone(), format!("{}{}?acc%65ss_Token=x", route.base, route.path.replace("{id}", "x")))
                    .bearer_auth(token),
                void,
            ),
            ("a claim twice", route.about(&field.own).bearer_auth(with_claim("\"sub\":\"user:x\"")), void),
            ("roles twice", route.about(&field.own).bearer_auth(with_claim("\"roles\":[\"owner\"]")), void),
            ("a claim that nobody knows, twice", route.about(&field.own).bearer_auth(with_claim("\"admin\":true,\"admin\":true")), void),
        ]);
    }
    if route.has_id() {
        let nil = |id: &str| token.iter().fold(route.request(id), RequestBuilder::bearer_auth);
        cases.push(("the nil id", nil("00000000-0000-0000-0000-000000000000"), (400, "invalid_id")));
        cases.push(("an id without hyphens", nil("0190a7b26c3e7def80000123456789ab"), (400, "invalid_id")));
        cases.push(("a slash in an id", nil("a%2Fb"), (400, "invalid_id")));
    }
    if route.takes_json {
        let unsupported = (415, "unsupported_media_type");
        cases.extend([
            ("an unknown field", ask().json(&json!({"no_such_field": 1})), (422, "unknown_field")),
            ("compressed", ask().header("content-encoding", "gzip"), unsupported),
            (
                "compressed in the second place",
                ask().header("content-encoding", "identity").header("content-encoding", "gzip"),
                unsupported,
            ),
            ("two types", ask().header("content-type", "application/json"), unsupported),
        ]);
    }
    for (name, request, (status, code)) in cases {
        field.expect(name, route, request, status, code).await;
        tried += 1;
    }
    for method in [Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE] {
        let url = format!("{}{}", route.base, route.path.replace("{id}", "x"));
        let answer = field_client().request(method.clone(), url).send().await.unwrap();
        let allow = answer.headers().get("allow").map(|allow| allow.to_str().unwrap().to_owned());
        assert!(allow.is_some_and(|allow| allow.contains(route.method.as_str())), "{method} {}", route.path);
        assert_eq!((answer.status().as_u16(), answer.json::<Value>().await.unwrap()["error"].clone()), (405, json!("method_not_allowed")));
        tried += 1;
    }
    tried + odd_bytes(field, route, token).await
}

/// Those that a client library does not send; how many.
async fn odd_bytes(field: &Battlefield, route: &Route, token: Option<&String>) -> usize {
    let (method, path) = (&route.method, route.path.replace("{id}", "x"));
    let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let own = if route.is_for_operators() { "platform" } else { &field.own.slug };
    let host = format!("host: {own}.localhost\r\n");
    let others = format!("http://{}.localhost{path}", field.other.slug);
    let malformed = (400, "malformed_request");
    // Each: the target, the headers, what follows them, and what is answered.
    let mut cases = vec![
        ("a > in the path", format!("{path}>"), host.clone(), "", malformed),
        ("a < in the query", format!("{path}?a=<"), host.clone(), "", malformed),
        ("a space in a header's name", path.clone(), format!("{host}a b: c\r\n"), "", malformed),
        ("two lengths", path.clone(), format!("{host}content-length: 1\r\ncontent-length: 2\r\n"), "", malformed),
        ("a head too large", path.clone(), format!("{host}x: {}\r\n", "y".repeat(100_000)), "", (431, "headers_too_large")),
        ("no host", path.clone(), String::new(), "", (400, "invalid_host")),
        ("two hosts", path.clone(), host.repeat(2), "", (400, "invalid_host")),
        ("another host in the target", others, host.clone(), "", (403, "tenant_mismatch")),
        ("a slash too many", format!("{path}/"), host.clone(), "", (404, "route_not_found")),
    ];
    if route.takes_json && !route.has_id() {
        // The chunks count: an empty body.
        let both = format!("{host}content-type: application/json\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n");
        cases.push(("a length and chunks", path.clone(), both, "0\r\n\r\n", (400, "malformed_json")));
    }
    let tried = cases.len();
    for (name, target, headers, rest, (status, code)) in cases {
        let request = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n{authorization}{headers}\r\n{rest}");
        let (got, body) = field.send_raw(&route.base, &request).await;
        assert_eq!((got, body["error"].as_str()), (status, Some(code)), "{name} on {method} {path}: {body}");
        assert_eq!((&body["status"], body["type"].as_str()), (&json!(status), Some(&*format!("https://tenure.dev/problems/{code}"))));
    }
    tried
}

#[tokio::test(flavor = "multi_thread")]
async fn every_read_gives_its_own_canary_and_no_other() {
    let field = Battlefield::get().await;
    let mut seen = 0;
    for route in field.routes.iter().filter(|route| route.method == Method::GET && !route.is_for_operators()) {
        for query in [
            "",
            "as_of=2015-06-01",
            &format!("q={}", field.other.canary),
            &format!("q={}", field.own.canary),
            "limit=1000",
            "group_by=department&as_of=2015-06-01",
        ] {
            let url =
                format!("{}{}?{query}", route.base, route.path.replace("{id}", field.own.ids.get(route.kind()).map_or("", String::as_str)));
            let own = if route.is_for_owners() { &field.own.owner } else { &field.own.token };
            let (status, body) = field.send(field_client().get(&url).bearer_auth(own)).await;
            assert!(status < 500, "{url}: {status} {body}");
            seen += u32::from(body.to_string().contains(&field.own.canary));
        }
    }
    assert!(seen > 20, "the attacker's own canary was seen in {seen} answers only: the scan sees nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_open_route_gives_nothing_away() {
    let field = Battlefield::get().await;
    let other = field.system.tenure(&["tenant", "show", &field.other.slug])["tenant_id"].as_str().unwrap().to_owned();
    let secret = |kind: &str, tenant: &str| format!("{kind}_{tenant}_{}", "A".repeat(43));
    let email = format!("{}@example.com", field.other.canary);
    let bodies = [
        json!({}),
        json!([]),
        json!("text"),
        json!({"email": email, "password": "x", "totp": null, "device": "x.y"}),
        json!({"email": email, "password": "x", "device": secret("x", "y")}),
        json!({"email": "'; drop table platform.user_account; --", "password": "\u{0}"}),
        json!({"email": "a\u{0}@example.com", "password": "x".repeat(5000)}),
        json!({"refresh_token": secret("tr", &other)}),
        json!({"refresh_token": "tr__"}),
        json!({"refresh_token": format!("tr_{other}_' or '1'='1")}),
        json!({"credential": secret("ts", &other)}),
        json!({"credential": secret("ts", "aaaaaaaaaaaaaaaaaaaaaaaaaa")}),
        json!({"ticket": secret("tt", &other), "password": "a long enough password"}),
        json!({"ticket": secret("tt", &other), "password": 7}),
    ];
    let hosts = [
        format!("{}.localhost", field.own.slug),
        format!("{}.localhost", field.other.slug),
        "nobody.localhost".into(),
        "localhost".into(),
        "platform.localhost".into(),
        "ACME.localhost".into(),
        "elsewhere.example".into(),
        "a..localhost".into(),
    ];
    let at = |route: &Route, host: &str| {
        field_client().request(route.method.clone(), format!("{}{}", route.base, route.path)).header("host", host)
    };
    let out_of_service = field.out_of_service.iter().map(|tenant| format!("{}.localhost", tenant.slug));
    let hosts: Vec<String> = hosts.into_iter().chain(out_of_service).collect();
    for route in &field.open {
        for host in &hosts {
            for body in &bodies {
                let (status, answer) = field.send(at(route, host).json(body)).await;
                // A log-out of what is no log-in is done already.
                let refused = (400..500).contains(&status) && answer["error"].is_string();
                assert!(
                    refused || (status == 204 && route.path.ends_with("/logout")),
                    "{} at {host} with {body}: {status} {answer}",
                    route.path
                );
            }
            for (content_type, body) in [("text/plain", "{}"), ("application/json", "{"), ("application/json", "\u{feff}{}")] {
                let (status, answer) = field.send(at(route, host).header("content-type", content_type).body(body)).await;
                assert!(matches!(status, 400 | 415 | 422), "{} at {host} with {body:?}: {status} {answer}", route.path);
            }
        }
    }
    // A tenant that is not set up yet is like none, byte for byte: by its host, and by a secret that says it is the tenant's.
    let half = field.out_of_service.iter().find(|tenant| tenant.code == "tenant_not_ready").unwrap();
    let bodies_of = |tenant: events::TenantId| {
        let secret = |kind| secret(kind, &tenant.namespace());
        let ticket = json!({"ticket": secret("tt"), "password": "a long enough password"});
        [json!({"email": email, "password": "x"}), json!({"refresh_token": secret("tr")}), json!({"credential": secret("ts")}), ticket]
    };
    let (own, nobodys) = (bodies_of(crate::servers::tenant_of(&half.token)), bodies_of(events::TenantId::from_uuid(Uuid::now_v7())));
    let (there, nowhere) = (format!("{}.localhost", half.slug), format!("not-{}.localhost", half.slug));
    for route in &field.open {
        for (own, nobodys) in own.iter().zip(&nobodys) {
            for (host, nobodys_host, nobodys) in [(&*there, &*nowhere, own), ("localhost", "localhost", nobodys)] {
                let answers = [field.send(at(route, host).json(own)).await, field.send(at(route, nobodys_host).json(nobodys)).await];
                assert_eq!(answers[0], answers[1], "{} at {host} with {own}", route.path);
            }
        }
    }
}

/// Runs after a load of attacks: what is logged and measured names no tenant and no person.
#[tokio::test(flavor = "multi_thread")]
async fn logs_and_metrics_name_no_tenant_and_no_person() {
    let field = Battlefield::get().await;
    for route in &field.routes {
        field.send(route.about(&field.own).bearer_auth(&field.own.token).header("tenure-tenant", &field.other.slug)).await;
        field.send(route.about(&field.own).bearer_auth(&field.own.token)).await;
    }
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(field.system.home.join("log")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("tenure-")) {
            texts.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
    assert!(texts.iter().any(|(_, text)| !text.is_empty()), "there are logs");
    for base in [&field.system.command_api, &field.system.query_api] {
        let answer = field_client().get(format!("{base}/metrics")).send().await.unwrap();
        assert_eq!(answer.status(), 404, "what an API counts is not for those who use it");
    }
    let state: Value = serde_json::from_slice(&std::fs::read(field.system.home.join("run/state.json")).unwrap()).unwrap();
    for base in ["command_metrics", "query_metrics"].map(|name| state["addresses"][name].as_str().unwrap()) {
        let text = field_client().get(format!("{base}/metrics")).send().await.unwrap().text().await.unwrap();
        assert!(text.contains("http_requests_total"), "{text}");
        texts.push((format!("{base}/metrics"), text));
    }
    for (place, text) in &texts {
        for secret in [&field.own.canary, &field.other.canary, &field.own.slug, &field.own.token] {
            let line = text.lines().find(|line| line.contains(secret.as_str()));
            assert!(line.is_none(), "{place}: {line:?}");
        }
    }
    eprintln!("{} requests sent by the suite so far", SENT.load(Ordering::Relaxed));
}
