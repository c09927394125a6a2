//! Log-in and what belongs to it, over HTTP, on the whole system.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::Executor as _;
use totp_rs::TOTP;
use uuid::Uuid;

use crate::{
    contract,
    servers::{System, own_static_system_with, system},
};

/// A tenant of its own, and who decides there who gets in.
pub(crate) struct Company {
    pub(crate) system: &'static System,
    pub(crate) slug: String,
    pub(crate) owner: String,
}

pub(crate) const PASSWORD: &str = "correct horse battery staple";
/// Tokens say in whole seconds when they were issued, and those of up to two seconds after a revocation are void as well.
const AFTER_REVOCATION: Duration = Duration::from_millis(2_100);

impl Company {
    pub(crate) async fn new(name: &str) -> Self {
        let system = system().await;
        let slug = format!("{name}-{}", &Uuid::now_v7().simple().to_string()[20..]);
        system.tenant(&slug);
        Self { system, owner: system.token(&slug, "owner"), slug }
    }
    pub(crate) async fn post(&self, token: &str, path: &str, body: &Value) -> (u16, Value) {
        self.system.post(token, path, &Uuid::now_v7().to_string(), body).await
    }
    /// Without a token, at the tenant's host.
    pub(crate) async fn open(&self, path: &str, body: &Value) -> (u16, Value) {
        open_at(self.system, &format!("{}.localhost", self.slug), path, body).await
    }
    pub(crate) async fn invite(&self, email: &str, role: &str) -> (String, String) {
        let (status, answer) = self.post(&self.owner, "/v1/users", &json!({"email": email, "roles": [role]})).await;
        assert_eq!(status, 201, "{answer}");
        (text(&answer, "user_id"), text(&answer, "ticket"))
    }
    /// An active user; the id.
    pub(crate) async fn user(&self, email: &str, role: &str) -> String {
        let (user, ticket) = self.invite(email, role).await;
        let (status, answer) = self.open("/v1/auth/activation", &json!({"ticket": ticket, "password": PASSWORD})).await;
        assert_eq!(status, 204, "{answer}");
        user
    }
    pub(crate) async fn log_in(&self, email: &str) -> Value {
        let (status, answer) = self.open("/v1/auth/login", &json!({"email": email, "password": PASSWORD})).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }
    /// Waits until a token is refused everywhere. After five seconds nobody takes it any more: who has not heard takes none.
    pub(crate) async fn is_void_everywhere(&self, token: &str) {
        let asked = Instant::now();
        for url in [format!("{}/v1/departments", self.system.query_api), format!("{}/v1/auth/me", self.system.command_api)] {
            loop {
                let late = asked.elapsed() > Duration::from_secs(5);
                let response = self.system.client.get(&url).bearer_auth(token).send().await.unwrap();
                if response.status() == 401 {
                    assert_eq!(response.json::<Value>().await.unwrap()["error"], "invalid_token");
                    break;
                }
                assert!(!late || response.status() == 503, "{url} still takes the token: {}", response.status());
                assert!(asked.elapsed() < Duration::from_secs(30), "{url} does not hear of it");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        eprintln!("void everywhere after {:?}", asked.elapsed());
    }
    /// Every decision about identity so far: action and outcome.
    pub(crate) async fn decisions(&self) -> Vec<String> {
        let url = format!("{}/v1/identity-audit", self.system.command_api);
        let audit: Value = self.system.client.get(url).bearer_auth(&self.owner).send().await.unwrap().json().await.unwrap();
        assert!(!audit.to_string().contains('@'), "an audit entry holds ids, not addresses: {audit}");
        audit.as_array().unwrap().iter().map(|entry| format!("{} {}", text(entry, "action"), text(entry, "outcome"))).collect()
    }
    pub(crate) async fn works(&self, token: &str) -> bool {
        let url = format!("{}/v1/departments", self.system.query_api);
        self.system.client.get(&url).bearer_auth(token).send().await.unwrap().status() == 200
    }
}

async fn open_at(system: &System, host: &str, path: &str, body: &Value) -> (u16, Value) {
    let response = system.client.post(format!("{}{path}", system.command_api)).header("host", host).json(body).send().await.unwrap();
    contract::checked(&reqwest::Method::POST, response).await
}

pub(crate) fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_an_invitation_to_the_end_of_a_log_in() {
    let company = Company::new("login").await;
    let (user, ticket) = company.invite("  Ada.Lovelace@Example.com ", "hr").await;
    // Before the account is active nobody gets in.
    let credentials = json!({"email": "ada.lovelace@example.com", "password": PASSWORD});
    assert_eq!(company.open("/v1/auth/login", &credentials).await.1["error"], "invalid_credentials");
    let weak = json!({"ticket": ticket, "password": "ada.lovelace-2026"});
    assert_eq!(company.open("/v1/auth/activation", &weak).await.1["error"], "weak_password");
    let activation = json!({"ticket": ticket, "password": PASSWORD});
    assert_eq!(company.open("/v1/auth/activation", &activation).await.0, 204);
    assert_eq!(company.open("/v1/auth/activation", &activation).await.1["error"], "invalid_ticket", "once");

    let tokens = company.log_in("ADA.LOVELACE@example.com").await;
    let access = text(&tokens, "access_token");
    assert!(company.works(&access).await);
    let me: Value = company
        .system
        .client
        .get(format!("{}/v1/auth/me", company.system.command_api))
        .bearer_auth(&access)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!((text(&me, "subject"), &me["roles"]), (format!("user:{user}"), &json!(["hr"])));
    assert_eq!(company.post(&access, "/v1/users", &json!({"email": "x@example.com", "roles": ["owner"]})).await.1["error"], "forbidden");

    // Refresh tokens rotate; the second use of one ends the whole log-in, and only that one.
    let other = text(&company.log_in("ada.lovelace@example.com").await, "access_token");
    let first = json!({"refresh_token": text(&tokens, "refresh_token")});
    let (status, second) = company.open("/v1/auth/refresh", &first).await;
    assert_eq!(status, 200, "{second}");
    assert!(company.works(&text(&second, "access_token")).await);
    assert_eq!(
        company.open("/v1/auth/refresh", &first).await,
        (400, problem(400, "invalid_grant", &company.open("/v1/auth/refresh", &first).await.1))
    );
    assert_eq!(company.open("/v1/auth/refresh", &json!({"refresh_token": second["refresh_token"]})).await.1["error"], "invalid_grant");
    company.is_void_everywhere(&access).await;
    company.is_void_everywhere(&text(&second, "access_token")).await;
    assert!(company.works(&other).await, "another log-in goes on");

    let unknown = format!("_{}_{}", crate::servers::tenant_of(&company.owner).namespace(), "A".repeat(43));
    for _ in 0..15 {
        assert_eq!(company.open("/v1/auth/refresh", &json!({"refresh_token": format!("tr{unknown}")})).await.0, 400);
    }
    let ticket = json!({"ticket": format!("tt{unknown}"), "password": PASSWORD});
    assert_eq!(company.open("/v1/auth/activation", &ticket).await.1["error"], "invalid_ticket");
    let seen = company.decisions().await;
    for decision in [
        "invite granted",
        "log_in refused",
        "activate granted",
        "activate refused",
        "log_in granted",
        "refresh granted",
        "refresh reuse_detected",
        "refresh refused",
        "refresh rate_limited",
        "request forbidden",
    ] {
        assert!(seen.iter().any(|s| s == decision), "{decision} in {seen:?}");
    }
    let refused = seen.iter().filter(|s| s.starts_with("refresh r")).count();
    assert!(refused < 16, "who shows nobody's secrets does not fill the audit: {refused}");
}

/// The same document, whatever its detail.
fn problem(status: u16, code: &str, like: &Value) -> Value {
    assert_eq!((like["status"].as_u64(), like["error"].as_str()), (Some(status.into()), Some(code)), "{like}");
    like.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_is_void_everywhere() {
    let company = Company::new("revoke").await;
    let user = company.user("grace@example.com", "hr").await;
    // One token by its id; the log-in goes on.
    let tokens = company.log_in("grace@example.com").await;
    let access = text(&tokens, "access_token");
    assert_eq!(company.post(&access, "/v1/auth/revocation", &json!({"token_id": claims(&access)["jti"]})).await.0, 204);
    company.is_void_everywhere(&access).await;
    let (status, next) = company.open("/v1/auth/refresh", &json!({"refresh_token": tokens["refresh_token"]})).await;
    assert_eq!(status, 200, "{next}");
    // A log-out ends one log-in.
    let (a, b) = (company.log_in("grace@example.com").await, company.log_in("grace@example.com").await);
    for _ in 0..2 {
        assert_eq!(company.open("/v1/auth/logout", &json!({"refresh_token": a["refresh_token"]})).await.0, 204);
    }
    company.is_void_everywhere(&text(&a, "access_token")).await;
    assert!(company.works(&text(&b, "access_token")).await);
    // Other roles, by a refresh.
    let (status, changed) =
        company.post(&company.owner, &format!("/v1/users/{user}/roles"), &json!({"roles": ["auditor"], "employee_id": null})).await;
    assert_eq!((status, &changed["roles"]), (200, &json!(["auditor"])), "{changed}");
    company.is_void_everywhere(&text(&b, "access_token")).await;
    tokio::time::sleep(AFTER_REVOCATION).await;
    let (status, auditor) = company.open("/v1/auth/refresh", &json!({"refresh_token": b["refresh_token"]})).await;
    assert_eq!(status, 200, "{auditor}");
    let auditor = text(&auditor, "access_token");
    assert!(company.works(&auditor).await);
    let department = json!({"effective_on": "2000-01-01", "code": "d", "name": "D"});
    assert_eq!(company.post(&auditor, "/v1/departments", &department).await.1["error"], "forbidden");
    // Disabled: nothing works any more, and enabled again only a new log-in does.
    let c = company.log_in("grace@example.com").await;
    assert_eq!(company.post(&company.owner, &format!("/v1/users/{user}/disabling"), &json!({})).await.1["state"], "disabled");
    assert_eq!(company.open("/v1/auth/refresh", &json!({"refresh_token": c["refresh_token"]})).await.1["error"], "invalid_grant");
    let credentials = json!({"email": "grace@example.com", "password": PASSWORD});
    assert_eq!(company.open("/v1/auth/login", &credentials).await.1["error"], "invalid_credentials");
    for token in [&auditor, &text(&c, "access_token")] {
        company.is_void_everywhere(token).await;
    }
    assert_eq!(company.post(&company.owner, &format!("/v1/users/{user}/enabling"), &json!({})).await.1["state"], "active");
    assert_eq!(company.open("/v1/auth/refresh", &json!({"refresh_token": c["refresh_token"]})).await.1["error"], "invalid_grant");
    tokio::time::sleep(AFTER_REVOCATION).await;
    assert!(company.works(&text(&company.log_in("grace@example.com").await, "access_token")).await);
    // A new password ends the other log-ins, not the one that set it.
    let (here, there) = (company.log_in("grace@example.com").await, company.log_in("grace@example.com").await);
    let (token, next) = (text(&here, "access_token"), "an entirely different sentence");
    let change = |current: &str, password: &str| json!({"current": current, "password": password});
    assert_eq!(company.post(&token, "/v1/auth/password", &change("not the right one", next)).await.1["error"], "wrong_password");
    assert_eq!(company.post(&token, "/v1/auth/password", &change(PASSWORD, "short")).await.1["error"], "weak_password");
    assert!(company.decisions().await.iter().any(|decision| decision == "change_password refused"));
    assert_eq!(company.post(&token, "/v1/auth/password", &change(PASSWORD, next)).await.0, 204);
    company.is_void_everywhere(&text(&there, "access_token")).await;
    assert!(company.works(&token).await);
    assert_eq!(company.open("/v1/auth/login", &credentials).await.1["error"], "invalid_credentials");
    // All at once, by oneself.
    assert_eq!(company.post(&token, "/v1/auth/revocation", &json!({"all": true})).await.0, 204);
    company.is_void_everywhere(&token).await;
    assert_eq!(company.open("/v1/auth/refresh", &json!({"refresh_token": here["refresh_token"]})).await.1["error"], "invalid_grant");
}

pub(crate) fn claims(token: &str) -> Value {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_anothers_tokens_void_or_floods_the_list() {
    let company = Company::new("flood").await;
    company.user("victim@example.com", "hr").await;
    company.user("colleague@example.com", "employee").await;
    let (victim, colleague) = (company.log_in("victim@example.com").await, company.log_in("colleague@example.com").await);
    let (victim, attacker) = (text(&victim, "access_token"), text(&colleague, "access_token"));
    let revoke = async |id: &Value| company.post(&attacker, "/v1/auth/revocation", &json!({"token_id": id})).await.0;
    assert_eq!(revoke(&claims(&victim)["jti"]).await, 204, "says nothing about whether it is one's own");
    let mut made = 0;
    while made < 300 && revoke(&json!(Uuid::now_v7())).await == 204 {
        made += 1;
    }
    assert!(made < 300, "who makes hundreds void makes all their own void");
    company.is_void_everywhere(&attacker).await;
    assert!(company.works(&victim).await);
    let pool = company.system.pool().await;
    let rows: i64 = sqlx::query_scalar("select count(*) from platform.revocation where tenant_id = $1")
        .bind(crate::servers::tenant_of(&victim).uuid())
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!(rows <= 101, "{rows} rows for {made} revocations");
    pool.close().await;
}

/// Sends a request that is to wait for a tenant's rows of a table, changes them, and lets it go on.
async fn while_under_way(company: &Company, path: &str, body: &Value, table: &str, change: &str) -> (u16, Value) {
    let pool = company.system.pool().await;
    let tenant = crate::servers::tenant_of(&company.owner).uuid();
    let mut held = pool.begin().await.unwrap();
    let hold = format!("select from platform.{table} where tenant_id = $1 for update");
    sqlx::query(&hold).bind(tenant).execute(&mut *held).await.unwrap();
    let holder: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut *held).await.unwrap();
    let release = async {
        let deadline = Instant::now() + Duration::from_mins(1);
        let waits = "select exists (select from pg_stat_activity where $1 = any (pg_blocking_pids(pid)))";
        while !sqlx::query_scalar::<_, bool>(waits).bind(holder).fetch_one(&pool).await.unwrap() {
            assert!(Instant::now() < deadline, "{path} does not look at the account again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let change = format!("update platform.{table} set {change} where tenant_id = $1");
        sqlx::query(&change).bind(tenant).execute(&mut *held).await.unwrap();
        held.commit().await.unwrap();
    };
    let (answer, ()) = tokio::join!(company.open(path, body), release);
    pool.close().await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_on_their_way_in_does_not_outlive_what_keeps_them_out() {
    let company = Company::new("late").await;
    company.user("late@example.com", "hr").await;
    let tokens = company.log_in("late@example.com").await;
    let (log_in, refresh) = (json!({"email": "late@example.com", "password": PASSWORD}), json!({"refresh_token": tokens["refresh_token"]}));
    for (path, body, role) in [("/v1/auth/login", &log_in, "auditor"), ("/v1/auth/refresh", &refresh, "employee")] {
        let (status, answer) = while_under_way(&company, path, body, "user_account", &format!("roles = '{{{role}}}'")).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(claims(&text(&answer, "access_token"))["roles"], json!([role]), "the roles of now");
    }
    let undone = ["state = 'active'", "password_hash = replace(password_hash, ' x', '')"];
    for (change, undone) in ["state = 'disabled'", "password_hash = password_hash || ' x'"].into_iter().zip(undone) {
        let (status, answer) = while_under_way(&company, "/v1/auth/login", &log_in, "user_account", change).await;
        assert_eq!((status, answer["error"].as_str()), (401, Some("invalid_credentials")), "{change}");
        let pool = company.system.pool().await;
        let undo = format!("update platform.user_account set {undone} where tenant_id = $1");
        sqlx::query(&undo).bind(crate::servers::tenant_of(&company.owner).uuid()).execute(&pool).await.unwrap();
        pool.close().await;
    }
    company.log_in("late@example.com").await;
    let (_, machine) = company.post(&company.owner, "/v1/service-accounts", &json!({"name": "m", "roles": ["hr"]})).await;
    let credential = json!({"credential": machine["credential"]});
    let (status, answer) = while_under_way(&company, "/v1/auth/service-token", &credential, "service_account", "disabled_at = now()").await;
    assert_eq!((status, answer["error"].as_str()), (401, Some("invalid_credentials")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_used_twice_ends_its_log_in_however_late() {
    let company = Company::new("reuse").await;
    company.user("away@example.com", "hr").await;
    let tokens = company.log_in("away@example.com").await;
    let stolen = json!({"refresh_token": tokens["refresh_token"]});
    let (status, thiefs) = company.open("/v1/auth/refresh", &stolen).await;
    assert_eq!(status, 200, "{thiefs}");
    // The victim comes back after a weekend.
    let pool = company.system.pool().await;
    let aged = "update platform.refresh_token set expires_at = now() - interval '1 day' where tenant_id = $1 and used_at is not null";
    sqlx::query(aged).bind(crate::servers::tenant_of(&company.owner).uuid()).execute(&pool).await.unwrap();
    pool.close().await;
    assert_eq!(company.open("/v1/auth/refresh", &stolen).await.1["error"], "invalid_grant");
    assert_eq!(company.open("/v1/auth/refresh", &json!({"refresh_token": thiefs["refresh_token"]})).await.1["error"], "invalid_grant");
    company.is_void_everywhere(&text(&thiefs, "access_token")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_word_about_an_issuer_counts_once_the_tenant_confirms_it() {
    let company = Company::new("issuer").await;
    let get = async |token: &str, path: &str| {
        let request = company.system.client.get(format!("{}{path}", company.system.command_api)).bearer_auth(token);
        request.send().await.unwrap().json::<Value>().await.unwrap()
    };
    let operator = company.system.token("platform", "operator");
    let id = text(&company.system.tenure(&["tenant", "show", &company.slug]), "tenant_id");
    let issuer = format!("https://{}.example", company.slug);
    let written = json!({"issuer": issuer, "audience": "hr", "jwks_uri": format!("{issuer}/jwks"), "token_type": "at+jwt",
        "roles_claim": "roles", "roles": {"x": "owner"}, "employee_claim": null});
    let path = format!("/v1/tenants/{id}/issuers");
    assert_eq!(company.post(&operator, &path, &written).await.0, 204);
    let domain = json!({"domain": format!("{}.example", company.slug)});
    assert_eq!(company.post(&operator, &format!("/v1/tenants/{id}/domains"), &domain).await.0, 204);
    assert_eq!(get(&company.owner, "/v1/domains").await, json!([domain]), "the tenant sees it");
    let confirmed = async || get(&company.owner, "/v1/issuers").await[0]["confirmed"].clone();
    assert_eq!(confirmed().await, false);
    // By nobody but the tenant, who may do as much, and as it stands.
    let narrow = json!({"name": "gate", "permissions": [], "duties": ["manage_users"]});
    assert_eq!(company.post(&company.owner, "/v1/roles", &narrow).await.0, 204);
    let narrow = company.system.token(&company.slug, "gate");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let confirm = async |token: &str, body: &Value| company.post(token, "/v1/issuers/confirmation", body).await;
    assert_eq!(confirm(&narrow, &written).await.1["error"], "forbidden");
    assert_eq!(confirm(&operator, &written).await.1["error"], "unknown_role", "an operator is nobody here");
    let mut other = written.clone();
    other["jwks_uri"] = json!(format!("{issuer}/other"));
    assert_eq!(confirm(&company.owner, &other).await.1["error"], "not_found");
    assert_eq!(confirmed().await, false);
    assert_eq!(confirm(&company.owner, &written).await.0, 204);
    assert_eq!(confirmed().await, true);
    // What is written anew is to be confirmed anew.
    assert_eq!(company.post(&operator, &path, &written).await.0, 204);
    assert_eq!(confirmed().await, true, "the same");
    assert_eq!(company.post(&operator, &path, &other).await.0, 204);
    assert_eq!(confirmed().await, false);
    let audit = get(&company.owner, "/v1/identity-audit").await.to_string();
    assert!(audit.contains(&issuer) && audit.contains("confirm_issuer") && audit.contains(domain["domain"].as_str().unwrap()), "{audit}");
    let name = json!({"issuer": issuer, "audience": "hr"});
    assert_eq!(company.post(&company.owner, "/v1/issuers/removal", &name).await.0, 204);
    assert_eq!(get(&company.owner, "/v1/issuers").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_learns_who_has_an_account() {
    let (company, elsewhere) = (Company::new("known").await, Company::new("elsewhere").await);
    company.user("known@example.com", "hr").await;
    let disabled = company.user("disabled@example.com", "hr").await;
    company.post(&company.owner, &format!("/v1/users/{disabled}/disabling"), &json!({})).await;
    company.invite("invited@example.com", "hr").await;
    let own = format!("{}.localhost", company.slug);
    let attempts = [
        (own.clone(), "known@example.com", "a wrong password, but long"),
        (own.clone(), "unknown@example.com", PASSWORD),
        (own.clone(), "disabled@example.com", PASSWORD),
        (own.clone(), "invited@example.com", PASSWORD),
        (own.clone(), "no address at all", PASSWORD),
        (format!("{}.localhost", elsewhere.slug), "known@example.com", PASSWORD),
        ("nobody-at-all.localhost".to_owned(), "known@example.com", PASSWORD),
    ];
    let mut answers = Vec::new();
    let mut times = vec![Vec::new(); attempts.len()];
    for round in 0..6 {
        for (n, (host, email, password)) in attempts.iter().enumerate() {
            let began = Instant::now();
            answers.push(open_at(company.system, host, "/v1/auth/login", &json!({"email": email, "password": password})).await);
            // The first finds nothing in the caches.
            if round > 0 {
                times[n].push(began.elapsed());
            }
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "one answer for all: {answers:?}");
    assert_eq!(answers[0].0, 401);
    // Nor which tenants there are: one that is not there counts as one that is, by itself.
    let fresh = format!("fresh-{}@example.com", Uuid::now_v7());
    for n in 0..11 {
        let host = format!("nobody-{n}-{}.localhost", &company.slug[6..]);
        let answer = open_at(company.system, &host, "/v1/auth/login", &json!({"email": fresh, "password": PASSWORD})).await;
        assert_eq!(answer, answers[0], "{host}");
    }
    // The work is the same: hashing a password outweighs the rest by far, so who skips it is at a small fraction.
    let least: Vec<_> = times.iter().map(|times| *times.iter().min().unwrap()).collect();
    let (fastest, slowest) = (least.iter().min().unwrap(), least.iter().max().unwrap());
    assert!(fastest.as_secs_f64() > slowest.as_secs_f64() * 0.4, "{attempts:?} took {least:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn six_digits_work_once() {
    let company = Company::new("totp").await;
    let user = company.user("otp@example.com", "hr").await;
    let token = text(&company.log_in("otp@example.com").await, "access_token");
    // A token alone sets up nothing: who stole one could lock its owner out.
    assert_eq!(company.post(&token, "/v1/auth/totp", &json!({})).await.1["error"], "missing_field");
    assert_eq!(company.post(&token, "/v1/auth/totp", &json!({"current": "not the right one"})).await.1["error"], "wrong_password");
    let set_up = json!({"current": PASSWORD});
    let (status, secret) = company.post(&token, "/v1/auth/totp", &set_up).await;
    assert_eq!(status, 201, "{secret}");
    let totp = TOTP::from_url(text(&secret, "url")).unwrap();
    let code = || totp.generate_current().unwrap();
    assert_eq!(company.post(&token, "/v1/auth/totp/confirmation", &json!({"code": "000000x"})).await.1["error"], "wrong_code");
    // Not asked for before it was confirmed.
    company.log_in("otp@example.com").await;
    let used = code();
    assert_eq!(company.post(&token, "/v1/auth/totp/confirmation", &json!({"code": used})).await.0, 204);
    assert_eq!(company.post(&token, "/v1/auth/totp", &set_up).await.1["error"], "totp_active");
    let with = |code: &str| json!({"email": "otp@example.com", "password": PASSWORD, "totp": code});
    let without = json!({"email": "otp@example.com", "password": PASSWORD});
    assert_eq!(company.open("/v1/auth/login", &without).await.1["error"], "totp_required");
    assert_eq!(company.open("/v1/auth/login", &with(&used)).await.1["error"], "invalid_credentials", "a code works once");
    let wrong_password = json!({"email": "otp@example.com", "password": "wrong and long enough", "totp": "123456"});
    assert_eq!(company.open("/v1/auth/login", &wrong_password).await.1["error"], "invalid_credentials");
    // The next one, which the skew allows already.
    let next = totp.generate(u64::try_from(jiff::Timestamp::now().as_second()).unwrap() + 30);
    let (status, tokens) = company.open("/v1/auth/login", &with(&next)).await;
    assert_eq!(status, 200, "{tokens}");
    assert_eq!(company.open("/v1/auth/login", &with(&next)).await.0, 401);
    // Who lost the app is invited again.
    let (status, invitation) = company.post(&company.owner, &format!("/v1/users/{user}/invitation"), &json!({})).await;
    assert_eq!(status, 201, "{invitation}");
    assert_eq!(company.open("/v1/auth/login", &without).await.1["error"], "totp_required", "until it is used");
    let activation = json!({"ticket": invitation["ticket"], "password": PASSWORD});
    assert_eq!(company.open("/v1/auth/activation", &activation).await.0, 204);
    company.log_in("otp@example.com").await;
    let decisions = company.decisions().await;
    for decision in ["set_up_totp refused", "confirm_totp refused", "log_in totp_required"] {
        assert!(decisions.iter().any(|d| d == decision), "{decision} in {decisions:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_who_decides_who_gets_in_stays() {
    let company = Company::new("last").await;
    let keeper = json!({"name": "keeper", "permissions": [], "duties": ["manage_users", "manage_roles"]});
    assert_eq!(company.post(&company.owner, "/v1/roles", &keeper).await.0, 204);
    let user = company.user("keeper@example.com", "keeper").await;
    let token = text(&company.log_in("keeper@example.com").await, "access_token");
    let deadline = Instant::now() + Duration::from_secs(20);
    let path = |what: &str| format!("/v1/users/{user}/{what}");
    let alone = json!({"roles": [], "employee_id": null});
    while company.post(&token, &path("roles"), &alone).await.1["error"] == "forbidden" {
        assert!(Instant::now() < deadline, "the role is not known");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (path, body) in [
        (path("roles"), alone),
        (path("disabling"), json!({})),
        ("/v1/roles/removal".into(), json!({"name": "keeper"})),
        ("/v1/roles".into(), json!({"name": "keeper", "permissions": [], "duties": ["manage_roles"]})),
    ] {
        let (status, answer) = company.post(&token, &path, &body).await;
        assert_eq!((status, answer["error"].as_str()), (409, Some("last_admin")), "{path}: {answer}");
    }
    company.user("another@example.com", "owner").await;
    assert_eq!(company.post(&token, &path("disabling"), &json!({})).await.1["state"], "disabled");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_out_of_service_gives_nobody_a_way_in() {
    let operator = system().await.token("platform", "operator");
    for (name, status, code) in
        [("suspended", 403, "tenant_suspended"), ("expired", 402, "subscription_expired"), ("closed", 404, "tenant_not_found")]
    {
        let company = Company::new(name).await;
        company.user("in@example.com", "hr").await;
        let tokens = company.log_in("in@example.com").await;
        let (_, ticket) = company.invite("late@example.com", "hr").await;
        let (_, machine) = company.post(&company.owner, "/v1/service-accounts", &json!({"name": "m", "roles": ["hr"]})).await;
        let id = text(&company.system.tenure(&["tenant", "show", &company.slug]), "tenant_id");
        let (what, body) = match name {
            "suspended" => ("suspension", json!({"reason": "a test"})),
            "expired" => ("subscription", json!({"plan": "standard", "expires_at": "2020-01-01T00:00:00Z"})),
            _ => ("closure", json!({"reason": "a test"})),
        };
        let (done, answer) = company.post(&operator, &format!("/v1/tenants/{id}/{what}"), &body).await;
        assert!(done < 300, "{done} {answer}");
        // At no tenant's host, where the secret says whose it is; the process hears of it in a moment.
        let ask = async |path: &str, body: &Value| open_at(company.system, "localhost", path, body).await;
        let refresh = json!({"refresh_token": tokens["refresh_token"]});
        let machine = json!({"credential": machine["credential"]});
        let deadline = Instant::now() + Duration::from_secs(20);
        while ask("/v1/auth/service-token", &machine).await.0 == 200 {
            assert!(Instant::now() < deadline, "{name} is not known");
        }
        for (path, body) in [
            ("/v1/auth/service-token", &machine),
            ("/v1/auth/activation", &json!({"ticket": ticket, "password": PASSWORD})),
            ("/v1/auth/refresh", &refresh),
        ] {
            let (got, answer) = ask(path, body).await;
            assert_eq!((got, answer["error"].as_str()), (status, Some(code)), "{path} of who is {name}: {answer}");
        }
        // A closed tenant's name is nobody's.
        let (status, code) = if name == "closed" { (401, "invalid_credentials") } else { (status, code) };
        let (got, answer) = company.open("/v1/auth/login", &json!({"email": "in@example.com", "password": PASSWORD})).await;
        assert_eq!((got, answer["error"].as_str()), (status, Some(code)), "a log-in of who is {name}: {answer}");
        assert_eq!(ask("/v1/auth/logout", &refresh).await.0, 204, "leaving is always allowed");
        let pool = company.system.pool().await;
        let seen: i64 = sqlx::query_scalar("select count(*) from platform.identity_audit where tenant_id = $1 and outcome = 'not_served'")
            .bind(crate::servers::tenant_of(&company.owner).uuid())
            .fetch_one(&pool)
            .await
            .unwrap();
        assert!(seen >= 3, "{seen} refusals are written down");
        pool.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_gets_in_by_its_credential() {
    let company = Company::new("machine").await;
    let account = json!({"name": "payroll export", "roles": ["auditor"]});
    let (status, made) = company.post(&company.owner, "/v1/service-accounts", &account).await;
    assert_eq!(status, 201, "{made}");
    let ask = json!({"credential": made["credential"]});
    let (status, answer) = company.open("/v1/auth/service-token", &ask).await;
    assert_eq!(status, 200, "{answer}");
    let token = text(&answer, "access_token");
    assert!(company.works(&token).await);
    assert_eq!(company.post(&token, "/v1/auth/totp", &json!({"current": "x"})).await.0, 404, "a machine has no app");
    // A host that names nobody leaves it to the credential; another tenant's is refused like any wrong one.
    assert_eq!(open_at(company.system, "localhost", "/v1/auth/service-token", &ask).await.0, 200);
    let other = Company::new("othermachine").await;
    for wrong in [ask.clone(), json!({"credential": "ts_x_y"}), json!({"credential": text(&made, "credential").replace("ts_", "tr_")})] {
        let (status, answer) = other.open("/v1/auth/service-token", &wrong).await;
        assert_eq!((status, answer["error"].as_str()), (401, Some("invalid_credentials")));
    }
    let path = format!("/v1/service-accounts/{}/disabling", text(&made, "account_id"));
    assert_eq!(other.post(&other.owner, &path, &json!({})).await.0, 404, "another tenant's");
    assert_eq!(company.post(&company.owner, &path, &json!({})).await.0, 204);
    assert_eq!(company.open("/v1/auth/service-token", &ask).await.0, 401);
    company.is_void_everywhere(&token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_keys_rotate_and_the_command_line_invites() {
    let (system, _stopped) = own_static_system_with(&[]).await;
    system.tenant("acme");
    let company = Company { system, slug: "acme".into(), owner: system.token("acme", "owner") };
    let invited = system.tenure(&["user", "--tenant", "acme", "invite", "cli@example.com", "--role", "hr"]);
    let activation = json!({"ticket": invited["ticket"], "password": PASSWORD});
    assert_eq!(company.open("/v1/auth/activation", &activation).await.0, 204);
    let listed = system.tenure(&["user", "--tenant", "acme", "list"]);
    assert_eq!((listed[0]["email"].as_str(), listed[0]["state"].as_str()), (Some("cli@example.com"), Some("active")));

    let old = text(&company.log_in("cli@example.com").await, "access_token");
    let kid = |token: &str| {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let head = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        text(&serde_json::from_slice(&head).unwrap(), "kid")
    };
    let keys = system.tenure(&["key", "rotate"]);
    let (first, second) = (text(&keys[0], "kid"), text(&keys[1], "kid"));
    assert_eq!(kid(&old), first);
    // The new key signs once everybody knows it; no log-in in between meets a verifier that does not.
    let deadline = Instant::now() + Duration::from_mins(1);
    let new = loop {
        let token = text(&company.log_in("cli@example.com").await, "access_token");
        assert!(company.works(&token).await, "signed by {}", kid(&token));
        if kid(&token) == second {
            break token;
        }
        assert!(Instant::now() < deadline, "the new key does not sign");
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    assert!(company.works(&old).await, "the old key still verifies");
    let jwks: Value = system.client.get(format!("{}/.well-known/jwks.json", system.query_api)).send().await.unwrap().json().await.unwrap();
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 2);
    system.tenure(&["key", "retire", &first]);
    company.is_void_everywhere(&old).await;
    assert!(company.works(&new).await);
}

/// On a system whose proxies are trusted, so that requests can come from anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn guessing_and_floods_are_slowed_and_nobody_is_locked_out_of_their_own_device() {
    let env = [("TENURE_TRUSTED_PROXIES", "127.0.0.1".to_owned()), ("TENURE_TENANT_REQUESTS_PER_SECOND", "20".to_owned())];
    let (system, _stopped) = own_static_system_with(&env).await;
    system.tenant("acme");
    system.tenant("other");
    let company = Company { system, slug: "acme".into(), owner: system.token("acme", "owner") };
    company.user("victim@example.com", "hr").await;
    let from = async |address: &str, body: &Value| {
        let request = system.client.post(format!("{}/v1/auth/login", system.command_api)).header("host", "acme.localhost");
        let response = request.header("x-forwarded-for", address).json(body).send().await.unwrap();
        let retry = response.headers().get("retry-after").is_some();
        (response.status().as_u16(), retry, response.json::<Value>().await.unwrap())
    };
    let right = json!({"email": "victim@example.com", "password": PASSWORD});
    let (status, _, tokens) = from("198.51.100.1", &right).await;
    assert_eq!(status, 200, "{tokens}");
    let device = text(&tokens, "device");

    // From one place: ten, whether the account exists or not, and also if all are sent at once.
    for (address, email) in [("203.0.113.1", "victim@example.com"), ("203.0.113.2", "nobody@example.com")] {
        let guess = json!({"email": email, "password": "a wrong password, but long"});
        let answers = futures::future::join_all((0..14).map(|_| from(address, &guess))).await;
        // On a busy machine some don't get their turn with the password; they are counted all the same.
        let refused = answers.iter().filter(|(status, _, body)| *status == 401 || body["error"] == "overloaded").count();
        let limited = answers.iter().filter(|(status, retry, body)| *status == 429 && *retry && body["error"] == "rate_limited").count();
        assert_eq!((refused, limited), (10, 4), "{answers:?}");
    }
    assert_eq!(from("203.0.113.1", &right).await.0, 429, "the right password does not help there");
    assert_eq!(from("198.51.100.7", &right).await.0, 200, "and elsewhere nothing is locked");
    // However a proxy writes an address, it is whose it is; where it can't be read, nobody is locked out for another.
    let guess = json!({"email": "victim@example.com", "password": "a wrong password, but long"});
    for (n, address) in
        ["203.0.113.40:50001", "\"203.0.113.40:50002\"", "[::ffff:203.0.113.40]:50003", "::ffff:203.0.113.40"].iter().enumerate()
    {
        for _ in 0..3 {
            let (status, ..) = from(address, &guess).await;
            assert_eq!(status, if n < 3 { 401 } else { status }, "{address}");
        }
    }
    assert_eq!(from("203.0.113.40", &right).await.0, 429, "one address, however it was written");
    for _ in 0..12 {
        assert_eq!(from("unknown", &guess).await.0, 401);
    }
    for address in ["203.0.113.41:50001", "[2001:db8:7::1]:443", "unknown", "_hidden", "nonsense"] {
        assert_eq!(from(address, &right).await.0, 200, "{address}");
    }
    // From everywhere: strangers are held up after a hundred, the victim's own device is not.
    for n in 0..11_u8 {
        let address = format!("192.0.2.{n}");
        futures::future::join_all((0..10).map(|_| from(&address, &guess))).await;
    }
    assert_eq!(from("198.51.100.8", &right).await.0, 429);
    let known = json!({"email": "victim@example.com", "password": PASSWORD, "device": device});
    assert_eq!(from("198.51.100.8", &known).await.0, 200, "a known device gets in");
    let forged = json!({"email": "victim@example.com", "password": PASSWORD, "device": format!("{}x", &device[..device.len() - 1])});
    assert_eq!(from("198.51.100.8", &forged).await.0, 429, "a forged one does not");

    // A domain of the tenant's own, and a host that a proxy forwards.
    let operator = system.token("platform", "operator");
    let ids = ["acme", "other"].map(|slug| system.tenure(&["tenant", "show", slug])["tenant_id"].as_str().unwrap().to_owned());
    let domain = json!({"domain": "hr.acme.example"});
    assert_eq!(company.post(&operator, &format!("/v1/tenants/{}/domains", ids[0]), &domain).await.0, 204);
    assert_eq!(company.post(&operator, &format!("/v1/tenants/{}/domains", ids[1]), &domain).await.1["error"], "domain_taken");
    for bad in ["acme.localhost", "localhost", "HR.acme.example", "hr.acme.example:443", "127.0.0.1", "a..b"] {
        let (status, answer) = company.post(&operator, &format!("/v1/tenants/{}/domains", ids[0]), &json!({"domain": bad})).await;
        assert_eq!((status, answer["error"].as_str()), (422, Some("invalid_field")), "{bad}");
    }
    let (acme, other) = (system.token("acme", "hr"), system.token("other", "hr"));
    let ask = async |token: &str, headers: &[(&str, &str)]| {
        tokio::time::sleep(Duration::from_millis(100)).await; // below the tenant's rate
        let mut request = system.client.get(format!("{}/v1/departments", system.query_api)).bearer_auth(token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status().as_u16()
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while ask(&acme, &[("host", "hr.acme.example")]).await != 200 {
        assert!(Instant::now() < deadline, "the domain is not known");
    }
    assert_eq!(ask(&other, &[("host", "hr.acme.example")]).await, 403);
    assert_eq!(ask(&acme, &[("host", "x"), ("x-forwarded-host", "acme.localhost")]).await, 200);
    assert_eq!(ask(&other, &[("host", "x"), ("x-forwarded-host", "acme.localhost")]).await, 403);
    assert_eq!(ask(&acme, &[("host", "x"), ("x-forwarded-host", "hr.acme.example"), ("tenure-tenant", "other")]).await, 403);
    assert_eq!(ask(&acme, &[("host", "x"), ("x-forwarded-host", "hr.acme.example, other.localhost")]).await, 400);
    assert_eq!(company.post(&operator, &format!("/v1/tenants/{}/domains/removal", ids[0]), &domain).await.0, 204);

    // A tenant's flood is answered 429, and no other tenant notices.
    let flood = futures::future::join_all((0..200).map(|_| {
        let request = system.client.get(format!("{}/v1/departments", system.query_api)).bearer_auth(&acme);
        async move {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.headers().contains_key("retry-after"))
        }
    }))
    .await;
    assert!(flood.contains(&(429, true)), "{flood:?}");
    assert!(flood.iter().all(|(status, _)| matches!(status, 200 | 429)), "{flood:?}");
    assert_eq!(ask(&other, &[]).await, 200);
}

/// On a system whose proxies are trusted, so that requests can come from anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_uses_up_anothers_attempts() {
    let (system, _stopped) = own_static_system_with(&[("TENURE_TRUSTED_PROXIES", "127.0.0.1".to_owned())]).await;
    system.tenant("acme");
    let company = Company { system, slug: "acme".into(), owner: system.token("acme", "owner") };
    for user in ["victim@example.com", "colleague@example.com"] {
        company.user(user, "hr").await;
    }
    let send = async |path: &str, address: &str, token: Option<&str>, body: &Value| {
        let request = system.client.post(format!("{}{path}", system.command_api)).header("host", "acme.localhost");
        let request = request.header("x-forwarded-for", address).json(body);
        let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap_or_default())
    };
    let from = async |address: &str, body: &Value| send("/v1/auth/login", address, None, body).await;
    let right = json!({"email": "victim@example.com", "password": PASSWORD});
    let wrong = json!({"email": "victim@example.com", "password": "a wrong password, but long"});
    let (status, tokens) = from("198.51.100.1", &right).await;
    assert_eq!(status, 200, "{tokens}");
    // Refused attempts are no attempts: one place can't use up what all strange places have.
    for n in 0..120 {
        let (status, answer) = from("203.0.113.1", &wrong).await;
        assert_eq!(status, if n < 10 { 401 } else { 429 }, "{n}: {answer}");
    }
    assert!(company.decisions().await.iter().filter(|decision| *decision == "log_in rate_limited").count() == 1);
    assert_eq!(from("198.51.100.2", &right).await.0, 200, "a new device elsewhere");
    // Nor can one customer's IPv6 network.
    for n in 0..12 {
        for _ in 0..10 {
            assert!(matches!(from(&format!("2001:db8:1:{n:x}::1"), &wrong).await.0, 401 | 429));
        }
    }
    assert_eq!(from("2001:db8:2::1", &right).await.0, 200, "a new device elsewhere");
    let pool = system.pool().await;
    let used_up = "update platform.login_attempts set attempts = 1000";
    // Who tries passwords or codes with a token does so by themselves, too.
    let (victim, colleague) =
        (text(&tokens, "access_token"), from("198.51.100.3", &json!({"email": "colleague@example.com", "password": PASSWORD})).await);
    let change = json!({"current": "not the right one", "password": "an entirely different sentence"});
    let attacker = text(&colleague.1, "access_token");
    for (path, body) in [("/v1/auth/password", &change), ("/v1/auth/totp", &json!({"current": "not the right one"}))] {
        assert_eq!(send(path, "203.0.113.2", Some(&attacker), body).await.1["error"], "wrong_password");
        sqlx::query(used_up).execute(&pool).await.unwrap();
        assert_eq!(send(path, "203.0.113.2", Some(&attacker), body).await.1["error"], "rate_limited");
        assert_eq!(send(path, "198.51.100.4", Some(&victim), body).await.1["error"], "wrong_password");
        sqlx::query("delete from platform.login_attempts").execute(&pool).await.unwrap();
    }
    devices_share_a_bound(&company).await;
    a_flood_keeps_nobody_waiting(&company).await;
    what_costs_nothing_leaves_little(&company, &pool).await;
    who_is_known_gets_in_beside_who_fails(&company).await;
    pool.close().await;
}

/// A request of the company's system from an address, at a host; by a token, where there is one.
async fn asked(company: &Company, host: &str, path: &str, address: &str, token: Option<&str>, body: &Value) -> (u16, Value) {
    let url = format!("{}{path}", company.system.command_api);
    let request = company.system.client.post(url).header("host", host).header("x-forwarded-for", address).json(body);
    let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
    contract::checked(&reqwest::Method::POST, request.send().await.unwrap()).await
}

/// Each device has ten wrong guesses, all of an account's a hundred, and a new password makes them strangers.
async fn devices_share_a_bound(company: &Company) {
    company.user("devices@example.com", "hr").await;
    let log_in = async |address: &str, password: &str, device: Option<&Value>| {
        let mut body = json!({"email": "devices@example.com", "password": password});
        if let Some(device) = device {
            body["device"] = device.clone();
        }
        asked(company, "acme.localhost", "/v1/auth/login", address, None, &body).await
    };
    let mut devices = Vec::new();
    for n in 0..12 {
        let (status, tokens) = log_in(&format!("198.51.101.{n}"), PASSWORD, None).await;
        assert_eq!(status, 200, "{tokens}");
        devices.push(tokens["device"].clone());
    }
    let mut wrong = 0;
    for (n, device) in devices.iter().enumerate() {
        for guess in 0..11 {
            let (status, answer) = log_in("198.51.102.1", "a wrong password, but long", Some(device)).await;
            assert_eq!(status, if guess < 10 && n < 10 { 401 } else { 429 }, "device {n} guess {guess}: {answer}");
            wrong += u32::from(status == 401);
        }
    }
    assert_eq!(wrong, 100, "of all devices together");
    let (status, tokens) = log_in("198.51.102.1", PASSWORD, None).await;
    assert_eq!(status, 200, "a new device is another matter: {tokens}");
    assert_eq!(log_in("198.51.102.2", "a wrong password, but long", Some(&json!("x.y.z"))).await.0, 401, "nonsense is a stranger's");
    // Another password: what the old one proved is worth nothing.
    let next = "an entirely different sentence";
    let change = json!({"current": PASSWORD, "password": next});
    let token = text(&tokens, "access_token");
    assert_eq!(asked(company, "acme.localhost", "/v1/auth/password", "198.51.102.1", Some(&token), &change).await.0, 204);
    let (status, fresh) = log_in("198.51.102.3", next, None).await;
    assert_eq!(status, 200, "{fresh}");
    for _ in 0..10 {
        assert_eq!(log_in("198.51.102.4", "a wrong password, but long", Some(&tokens["device"])).await.0, 401);
    }
    assert_eq!(log_in("198.51.102.4", next, Some(&tokens["device"])).await.0, 429);
    assert_eq!(log_in("198.51.102.4", next, Some(&fresh["device"])).await.0, 200);
}

/// Hundreds at once, at tenants that are not there, from one address and from many: a right log-in from elsewhere comes among the first.
async fn a_flood_keeps_nobody_waiting(company: &Company) {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    let done = AtomicUsize::new(0);
    let flood = futures::future::join_all((0..200).map(|n| {
        let done = &done;
        async move {
            let address = if n % 2 == 0 { "203.0.113.77".to_owned() } else { format!("203.0.114.{n}") };
            let guess = json!({"email": format!("u{n}@example.com"), "password": PASSWORD});
            let (status, answer) = asked(company, &format!("made-up-{n}.localhost"), "/v1/auth/login", &address, None, &guess).await;
            assert!(matches!(status, 401 | 503), "{answer}");
            done.fetch_add(1, Relaxed);
        }
    }));
    let right = async {
        while done.load(Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let right = json!({"email": "victim@example.com", "password": PASSWORD});
        let (status, answer) = asked(company, "acme.localhost", "/v1/auth/login", "198.51.100.77", None, &right).await;
        assert_eq!(status, 200, "{answer}");
        done.load(Relaxed)
    };
    let (_, before) = tokio::join!(flood, right);
    assert!(before < 100, "{before} of 200 wrong ones came before it");
}

/// What costs nothing to send does not leave a row each time, and what it leaves goes by itself.
async fn what_costs_nothing_leaves_little(company: &Company, pool: &sqlx::PgPool) {
    let rows = async || {
        let count = "select (select count(*) from platform.login_attempts), (select count(*) from platform.identity_audit)";
        sqlx::query_as::<_, (i64, i64)>(count).fetch_one(pool).await.unwrap()
    };
    let at = async |path: &str, body: &Value| asked(company, "acme.localhost", path, "203.0.115.1", None, body).await;
    let right = json!({"email": "victim@example.com", "password": PASSWORD});
    let (_, tokens) = asked(company, "acme.localhost", "/v1/auth/login", "198.51.100.1", None, &right).await;
    let dead = json!({"refresh_token": tokens["refresh_token"]});
    assert_eq!(at("/v1/auth/logout", &dead).await.0, 204);
    let namespace = crate::servers::tenant_of(&company.owner).namespace();
    let nobodys = |kind: &str, n: usize| format!("{kind}_{namespace}_{n:043}");
    let (_, colleague) = asked(
        company,
        "acme.localhost",
        "/v1/auth/login",
        "198.51.100.1",
        None,
        &json!({"email": "colleague@example.com", "password": PASSWORD}),
    )
    .await;
    let colleague = text(&colleague, "access_token");
    const TRIES: usize = 40;
    let invitation = json!({"email": "x@example.com", "roles": ["owner"]});
    for (what, status, most_rows, most_entries) in [
        // Of a fixed number of rows whatever the names; those of one source and name here.
        ("a made-up tenant", 401, 2 * TRIES, 0),
        ("a dead refresh token", 400, 0, 11),
        ("nobody's refresh token", 400, 0, 11),
        ("nobody's ticket", 400, 0, 11),
        ("nobody's credential", 401, 0, 11),
        ("what one may not", 403, 0, 10),
    ] {
        let before = rows().await;
        for n in 0..TRIES {
            let (answered, answer) = match what {
                "a made-up tenant" => {
                    let guess = json!({"email": format!("u{n}@example.com"), "password": PASSWORD});
                    asked(company, &format!("other-{n}.localhost"), "/v1/auth/login", "203.0.115.1", None, &guess).await
                }
                "a dead refresh token" => at("/v1/auth/refresh", &dead).await,
                "nobody's refresh token" => at("/v1/auth/refresh", &json!({"refresh_token": nobodys("tr", n)})).await,
                "nobody's ticket" => at("/v1/auth/activation", &json!({"ticket": nobodys("tt", n), "password": PASSWORD})).await,
                "nobody's credential" => at("/v1/auth/service-token", &json!({"credential": nobodys("ts", n)})).await,
                _ => asked(company, "acme.localhost", "/v1/users", "203.0.115.1", Some(&colleague), &invitation).await,
            };
            assert_eq!(answered, status, "{what}: {answer}");
        }
        let after = rows().await;
        let (counters, entries) = (after.0 - before.0, after.1 - before.1);
        assert!(counters <= i64::try_from(most_rows).unwrap() && entries <= most_entries, "{what}: {counters} counters, {entries} entries");
    }
    // Expired rows go, of every tenant, though nobody tries there again.
    sqlx::query("update platform.login_attempts set window_ends = now() - interval '1 second'").execute(pool).await.unwrap();
    sqlx::query("update platform.session set expires_at = now() - interval '2 days' where ended_at is not null")
        .execute(pool)
        .await
        .unwrap();
    let left = "select (select count(*) from platform.login_attempts) + (select count(*) from platform.session where ended_at is not null)";
    let deadline = Instant::now() + Duration::from_mins(2);
    while sqlx::query_scalar::<_, i64>(left).fetch_one(pool).await.unwrap() > 0 {
        assert!(Instant::now() < deadline, "what has expired stays");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let live: i64 = sqlx::query_scalar("select count(*) from platform.session").fetch_one(pool).await.unwrap();
    assert!(live > 0, "what has not expired stays");
}

/// Three hundred wrong log-ins from one address keep out who is new there, at any tenant, and nobody else.
async fn who_is_known_gets_in_beside_who_fails(company: &Company) {
    use futures::StreamExt as _;
    const THERE: &str = "192.0.2.1";
    let at = async |path: &str, token: Option<&str>, body: &Value| asked(company, "acme.localhost", path, THERE, token, body).await;
    let password = |email: &str| json!({"email": email, "password": PASSWORD});
    let (_, tokens) = asked(company, "acme.localhost", "/v1/auth/login", "198.51.100.1", None, &password("victim@example.com")).await;
    let (_, other) = asked(company, "acme.localhost", "/v1/auth/login", "198.51.100.1", None, &password("victim@example.com")).await;
    let (_, ticket) = company.invite("ticket@example.com", "hr").await;
    let (_, machine) = company.post(&company.owner, "/v1/service-accounts", &json!({"name": "m", "roles": ["hr"]})).await;
    let host = |n: usize| if n.is_multiple_of(2) { "acme.localhost".to_owned() } else { format!("nobody-{n}.localhost") };
    let wrong = futures::stream::iter(0..300)
        .map(|n| async move { asked(company, &host(n), "/v1/auth/login", THERE, None, &password(&format!("u{n}@example.com"))).await.0 });
    let wrong: Vec<u16> = wrong.buffer_unordered(16).collect().await;
    assert!(wrong.iter().all(|status| *status == 401), "{wrong:?}");
    let access = text(&tokens, "access_token");
    let mut known = password("victim@example.com");
    known["device"] = tokens["device"].clone();
    for (what, (status, answer), expected) in [
        ("a new device", at("/v1/auth/login", None, &password("colleague@example.com")).await, 429),
        ("no such account", at("/v1/auth/login", None, &password("nobody@example.com")).await, 429),
        ("no such tenant", asked(company, "nobody.localhost", "/v1/auth/login", THERE, None, &password("nobody@example.com")).await, 429),
        ("a known device", at("/v1/auth/login", None, &known).await, 200),
        ("a machine", at("/v1/auth/service-token", None, &json!({"credential": machine["credential"]})).await, 200),
        ("a refresh", at("/v1/auth/refresh", None, &json!({"refresh_token": other["refresh_token"]})).await, 200),
        ("a ticket", at("/v1/auth/activation", None, &json!({"ticket": ticket, "password": PASSWORD})).await, 204),
        ("a code", at("/v1/auth/totp", Some(&access), &json!({"current": PASSWORD})).await, 201),
        (
            "a change",
            at("/v1/auth/password", Some(&access), &json!({"current": PASSWORD, "password": "quite another sentence"})).await,
            204,
        ),
        (
            "elsewhere",
            asked(company, "acme.localhost", "/v1/auth/login", "198.51.100.9", None, &password("colleague@example.com")).await,
            200,
        ),
    ] {
        assert_eq!(status, expected, "{what}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn password_material_is_in_reach_of_the_log_in_only() {
    let company = Company::new("reach").await;
    company.user("reach@example.com", "hr").await;
    let pool = company.system.pool().await;
    let readable: Vec<String> = sqlx::query_scalar(
        "select r.rolname || ' ' || c.relname from pg_roles r, pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = 'platform' and r.rolname ~ '^tenure_(command|relay|projector|query)$'
           and c.relname in ('user_account', 'user_ticket', 'session', 'refresh_token', 'service_account', 'login_attempts', 'identity_audit')
           and has_any_column_privilege(r.oid, c.oid, 'select, insert, update')",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(readable, Vec::<String>::new());
    // And the log-in's role reaches nothing of the tenants' business, and sees no row without a tenant.
    let mut conn = pool.acquire().await.unwrap();
    conn.execute("set role tenure_identity").await.unwrap();
    for table in ["event_store.event", "platform.person_key", "platform.tenant_key"] {
        assert!(conn.execute(format!("select * from {table}").as_str()).await.is_err(), "{table}");
    }
    let seen: i64 = sqlx::query_scalar("select count(*) from platform.user_account").fetch_one(&mut *conn).await.unwrap();
    assert_eq!(seen, 0, "row-level security is forced");
    conn.execute("reset role").await.unwrap();
    let stored: (String, Vec<u8>) = sqlx::query_as("select password_hash, email from platform.user_account where tenant_id = $1")
        .bind(crate::servers::tenant_of(&company.owner).uuid())
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    assert!(stored.0.starts_with("$argon2id$"));
    assert!(!String::from_utf8_lossy(&stored.1).contains("reach"), "addresses are sealed");
    let events: i64 = sqlx::query_scalar("select count(*) from event_store.event where tenant_id = $1")
        .bind(crate::servers::tenant_of(&company.owner).uuid())
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    assert_eq!(events, 0, "nothing of it is an event");
    drop(conn);
    pool.close().await;
}
