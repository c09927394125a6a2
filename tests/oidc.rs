//! Tokens of another issuer, from a certified OpenID Connect server (`oidc-provider`, in `tests/oidc`), on the whole
//! system. Skipped loudly where there is no Node.js to run it.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::servers::{eventually, skipped, system};

/// The server; it ends with its standard input.
struct Issuer {
    child: Child,
    url: String,
}

impl Issuer {
    fn start() -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("oidc");
        if !Command::new("node").arg("--version").output().is_ok_and(|output| output.status.success()) {
            skipped("tokens of an OpenID Connect server are not tested; install Node.js 22 or newer with npm");
            return None;
        }
        if !folder.join("node_modules/oidc-provider").is_dir() {
            let mut install = Command::new("npm");
            install
                .args(["ci", "--omit=dev", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=30000"])
                .current_dir(&folder);
            let installed = ends_within(install, Duration::from_mins(3));
            if !matches!(installed, Ok(Some(status)) if status.success()) {
                skipped(&format!("tokens of an OpenID Connect server are not tested; `npm ci` failed in tests/oidc: {installed:?}"));
                return None;
            }
        }
        let mut command = Command::new("node");
        let mut child = command
            .arg("server.mjs")
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).expect("the server says where it listens");
        Some(Self { child, url: said["issuer"].as_str().unwrap().to_owned() })
    }
    async fn token(&self, resource: &str) -> String {
        let body = format!("grant_type=client_credentials&scope=hr&resource={resource}");
        let request = reqwest::Client::new().post(format!("{}/token", self.url)).basic_auth("console", Some("console-secret"));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }
    async fn keys_asked(&self) -> u32 {
        reqwest::get(format!("{}/jwks-count", self.url)).await.unwrap().text().await.unwrap().parse().unwrap()
    }
}

/// Runs a program to its end; none if it took longer, and was killed.
fn ends_within(mut command: Command, patience: Duration) -> std::io::Result<Option<ExitStatus>> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    child.kill()?;
    child.wait().map(|_| None)
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn jti_of(token: &str) -> Value {
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
    claims["jti"].clone()
}

/// A token with its header or its claims changed, and the signature of what it was.
fn changed(token: &str, part: usize, field: &str, value: &Value) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let mut json: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&parts[part]).unwrap()).unwrap();
    json[field] = value.clone();
    parts[part] = URL_SAFE_NO_PAD.encode(json.to_string());
    parts.join(".")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_own_issuer_lets_people_into_that_tenant_only() {
    let Some(issuer) = Issuer::start() else { return };
    let system = system().await;
    let unique = &Uuid::now_v7().simple().to_string()[20..];
    let slugs = [format!("oidc-{unique}"), format!("oidc-{unique}-b")];
    let own = slugs.each_ref().map(|slug| system.tenant(slug));
    let operator = system.token("platform", "operator");
    let paths = slugs.each_ref().map(|slug| {
        let id = system.tenure(&["tenant", "show", slug])["tenant_id"].as_str().unwrap().to_owned();
        format!("/v1/tenants/{id}/issuers")
    });
    let trust = |audience: &str| {
        json!({"issuer": issuer.url, "audience": audience, "jwks_uri": format!("{}/jwks", issuer.url),
            "roles_claim": "realm_access.roles", "roles": {"people-admin": "hr"}})
    };
    let post = async |token: &str, path: &str, body: &Value| system.post(token, path, &Uuid::now_v7().to_string(), body).await;
    let ask = async |token: &str, host: &str| {
        let request = system.client.get(format!("{}/v1/departments", system.query_api)).bearer_auth(token).header("host", host);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap()["error"].as_str().unwrap_or_default().to_owned())
    };
    let refused = |status: u16, code: &str| (status, code.to_owned());
    let host = |n: usize| format!("{}.localhost", slugs[n]);

    let (rsa, ec, powerless) = (issuer.token("urn:rs").await, issuer.token("urn:es").await, issuer.token("urn:none").await);
    assert_eq!(ask(&rsa, &host(0)).await, refused(401, "invalid_token"), "nobody trusts it yet");
    for audience in ["urn:rs", "urn:es", "urn:none"] {
        let (status, answer) = post(&operator, &paths[0], &trust(audience)).await;
        assert_eq!(status, 204, "{answer}");
    }
    assert_eq!(post(&operator, &paths[1], &trust("urn:rs")).await.1["error"], "issuer_taken");
    assert_eq!(post(&own[0], &paths[0], &trust("urn:rs")).await.1["error"], "forbidden", "not the tenant's to decide");
    for (field, value) in [
        ("jwks_uri", json!("http://10.0.0.1/jwks")),
        ("jwks_uri", json!("file:///etc/passwd")),
        ("token_type", json!("id+jwt")),
        ("issuer", json!("tenure")),
        ("roles", json!({"x": "operator"})),
        ("max_lifetime_s", json!(59)),
        ("max_lifetime_s", json!(86_401)),
    ] {
        let mut bad = trust("urn:bad");
        bad[field] = value;
        assert_eq!(post(&operator, &paths[0], &bad).await.0, 422, "{bad}");
    }
    // An operator's word is not enough: the tenant confirms what it was shown, if they may hand that out.
    let owner = system.token(&slugs[0], "owner");
    let list = async |token: &str| {
        let request = system.client.get(format!("{}/v1/issuers", system.command_api)).bearer_auth(token);
        request.send().await.unwrap().json::<Value>().await.unwrap()
    };
    assert_eq!(list(&own[0]).await["error"], "forbidden");
    let listed = list(&owner).await;
    assert_eq!(listed.as_array().unwrap().len(), 3, "{listed}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    for (token, entry) in [&rsa, &ec, &powerless].into_iter().zip(listed.as_array().unwrap()) {
        assert_eq!(ask(token, &host(0)).await, refused(401, "invalid_token"), "{entry}");
        assert_eq!(entry["confirmed"], false, "{entry}");
    }
    for audience in ["urn:rs", "urn:es", "urn:none"] {
        let mut otherwise = trust(audience);
        otherwise["roles"]["people-admin"] = "owner".into();
        assert_eq!(post(&owner, "/v1/issuers/confirmation", &otherwise).await.1["error"], "not_found");
        assert_eq!(post(&own[0], "/v1/issuers/confirmation", &trust(audience)).await.1["error"], "forbidden");
        let (status, answer) = post(&owner, "/v1/issuers/confirmation", &trust(audience)).await;
        assert_eq!(status, 204, "{answer}");
    }
    // Processes hear of it within a second or two, of each registration by itself.
    let deadline = Instant::now() + Duration::from_mins(2);
    for token in [&rsa, &ec, &powerless] {
        for (base, path) in [(&system.query_api, "/v1/departments"), (&system.command_api, "/v1/auth/me")] {
            let request = system.client.get(format!("{base}{path}")).bearer_auth(token);
            while [401, 503].contains(&request.try_clone().unwrap().send().await.unwrap().status().as_u16()) {
                assert!(Instant::now() < deadline, "{path} does not trust the issuer");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    // Into its tenant, by host or by the token alone; into no other.
    for token in [&rsa, &ec] {
        assert_eq!(ask(token, &host(0)).await.0, 200);
        assert_eq!(ask(token, "localhost").await.0, 200);
        assert_eq!(ask(token, &host(1)).await, refused(403, "tenant_mismatch"));
        assert_eq!(ask(token, "nobody-at-all.localhost").await, refused(403, "tenant_mismatch"));
    }
    assert_eq!(ask(&powerless, &host(0)).await, refused(403, "forbidden"), "a role that is not listed means nothing");
    let (status, done) = post(&rsa, "/v1/departments", &json!({"effective_on": "2000-01-01", "code": "d", "name": "D"})).await;
    assert_eq!(status, 201, "{done}");
    assert_eq!(post(&rsa, &paths[0], &trust("urn:x")).await.0, 403);
    // Its subject, which may be an address, stands in events as a digest.
    let pool = system.pool().await;
    let actor: String = sqlx::query_scalar("select actor from event_store.event where tenant_id = $1")
        .bind(crate::servers::tenant_of(&own[0]).uuid())
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!(actor.starts_with("external:") && !actor.contains("console"), "{actor}");
    pool.close().await;

    // A token that lives for a day is taken where operator and tenant say so, and what is revoked is void as long.
    let long = issuer.token("urn:long").await;
    let mut words = trust("urn:long");
    let confirmed = async |words: &Value| {
        assert_eq!(post(&operator, &paths[0], words).await.0, 204);
        assert_eq!(ask(&long, &host(0)).await, refused(401, "invalid_token"), "not before the tenant confirms it");
        assert_eq!(post(&owner, "/v1/issuers/confirmation", words).await.0, 204);
        tokio::time::sleep(Duration::from_secs(3)).await;
    };
    confirmed(&words).await;
    assert_eq!(ask(&long, &host(0)).await, refused(401, "invalid_token"), "an hour, unless something else is said");
    words["max_lifetime_s"] = json!(86_400);
    assert_eq!(post(&owner, "/v1/issuers/confirmation", &words).await.1["error"], "not_found", "the tenant does not say it alone");
    confirmed(&words).await;
    let registered = list(&owner).await;
    let registered = registered.as_array().unwrap().iter().find(|entry| entry["audience"] == "urn:long").unwrap();
    assert_eq!((&registered["max_lifetime_s"], &registered["confirmed"]), (&json!(86_400), &json!(true)));
    let deadline = Instant::now() + Duration::from_mins(1);
    for (base, path) in [(&system.query_api, "/v1/departments"), (&system.command_api, "/v1/auth/me")] {
        let request = system.client.get(format!("{base}{path}")).bearer_auth(&long);
        while request.try_clone().unwrap().send().await.unwrap().status() != 200 {
            assert!(Instant::now() < deadline, "{path} does not take the token");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert_eq!(post(&long, "/v1/auth/revocation", &json!({"token_id": jti_of(&long)})).await.0, 204);
    while ask(&long, &host(0)).await.0 != 401 {
        assert!(Instant::now() < deadline, "a revoked token is still taken");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let pool = system.pool().await;
    let void_for: i64 = sqlx::query_scalar(
        "select extract(epoch from min(until - revoked_at))::bigint from platform.revocation where tenant_id = $1 and subject like 'external:%'",
    )
    .bind(crate::servers::tenant_of(&own[0]).uuid())
    .fetch_one(&pool)
    .await
    .unwrap();
    assert!(void_for > 86_400, "void for {void_for} s, and then good again");
    pool.close().await;

    // What is not just as the issuer signed it is no token; keys that nobody has are not asked for again and again.
    // One that it may have by now is asked for once more; nobody waits for it.
    let unknown = changed(&rsa, 0, "kid", &json!("unknown"));
    eventually("the keys are new", async || ask(&unknown, &host(0)).await == refused(401, "invalid_token")).await;
    let (asked, since) = (issuer.keys_asked().await, Instant::now());
    let mut forged = vec![
        changed(&rsa, 1, "aud", &json!("urn:es")),
        changed(&rsa, 1, "realm_access", &json!({"roles": ["people-admin", "owner"]})),
        changed(&rsa, 1, "exp", &json!(4_102_444_800_u64)),
        changed(&rsa, 0, "alg", &json!("none")),
        changed(&rsa, 0, "alg", &json!("HS256")),
        changed(&rsa, 0, "alg", &json!("ES256")),
        changed(&rsa, 0, "typ", &json!("JWT")),
        changed(&rsa, 0, "jku", &json!("http://127.0.0.1:1/jwks")),
        changed(&rsa, 0, "crit", &json!(["exp"])),
        changed(&ec, 0, "kid", &json!(URL_SAFE_NO_PAD.encode("x"))),
        changed(&rsa, 1, "iss", &json!("tenure")),
        changed(&rsa, 1, "iss", &json!("http://127.0.0.1:1")),
    ];
    forged.extend((0..20).map(|n| changed(&rsa, 0, "kid", &json!(format!("unknown-{n}")))));
    for token in &forged {
        assert_eq!(ask(token, &host(0)).await, refused(401, "invalid_token"), "{token}");
    }
    let (after, minutes) = (issuer.keys_asked().await, since.elapsed().as_secs() / 60);
    assert!(u64::from(after - asked) <= 2 * (1 + minutes), "asked {} times for two registrations in {minutes} minutes", after - asked);

    // Nobody's word counts for longer than it is trusted.
    let name = json!({"issuer": issuer.url, "audience": "urn:rs"});
    assert_eq!(post(&operator, &format!("{}/removal", paths[0]), &name).await.0, 204);
    let deadline = Instant::now() + Duration::from_mins(1);
    while ask(&rsa, &host(0)).await.0 != 401 {
        assert!(Instant::now() < deadline, "the issuer is still trusted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ask(&ec, &host(0)).await.0, 200, "the other registration stands");
    // Nor for anything else than what was confirmed.
    let mut otherwise = trust("urn:es");
    assert_eq!(post(&operator, &paths[0], &otherwise).await.0, 204, "the same again changes nothing");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(ask(&ec, &host(0)).await.0, 200);
    otherwise["roles"]["people-admin"] = "owner".into();
    assert_eq!(post(&operator, &paths[0], &otherwise).await.0, 204);
    while ask(&ec, &host(0)).await.0 != 401 {
        assert!(Instant::now() < deadline, "what the operator changed is taken without the tenant");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eprintln!("{} forged tokens of another issuer refused", forged.len());
}
