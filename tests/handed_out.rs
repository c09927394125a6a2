//! Rights that were handed out: tickets, delegations, tokens, registrations. Each is looked at again when it is used, and ends
//! with what it was handed out for.

use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::{Json, Router, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use totp_rs::TOTP;
use uuid::Uuid;

use crate::{
    identity::{Company, PASSWORD, text},
    servers::{eventually, tenant_of},
};

/// Another issuer, on this machine: it publishes one key and signs what it is told.
struct Issuer {
    key: Ed25519KeyPair,
    url: String,
}

impl Issuer {
    async fn start() -> Self {
        let key = Ed25519KeyPair::generate().unwrap();
        let jwk = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "one",
            "x": URL_SAFE_NO_PAD.encode(key.public_key().as_ref())}]});
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, Router::new().route("/jwks", get(async move || Json(jwk)))).into_future());
        Self { key, url }
    }
    /// A token of half an hour that says that somebody has these roles. `issuer` is who it says made it.
    fn token(&self, issuer: &str, subject: &str, roles: &[&str]) -> String {
        let now = jiff::Timestamp::now().as_second();
        let head = json!({"typ": "at+jwt", "alg": "EdDSA", "kid": "one"});
        let claims = json!({"iss": issuer, "aud": "hr", "sub": subject, "iat": now, "exp": now + 1800, "roles": roles,
            "jti": Uuid::now_v7().to_string()});
        let signed = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes())))
    }
    /// As an operator writes it down.
    fn written(&self, issuer: &str, roles: &Value) -> Value {
        json!({"issuer": issuer, "audience": "hr", "jwks_uri": format!("{}/jwks", self.url), "roles": roles})
    }
}

impl Company {
    async fn must(&self, token: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.post(token, path, body).await;
        assert!(status < 300, "{path} {body}: {status} {answer}");
        answer
    }
    async fn role(&self, name: &str, classes: &[&str], duties: &[&str]) {
        let permissions: Vec<_> = classes.iter().map(|class| json!({"action": "read", "class": class, "reach": "all"})).collect();
        self.must(&self.owner, "/v1/roles", &json!({"name": name, "permissions": permissions, "duties": duties})).await;
    }
    /// An active user; id and access token.
    async fn active(&self, name: &str, role: &str) -> (String, String) {
        let email = format!("{name}@example.com");
        let user = self.user(&email, role).await;
        (user, text(&self.log_in(&email).await, "access_token"))
    }
    async fn activate(&self, ticket: &str) -> (u16, Value) {
        self.open("/v1/auth/activation", &json!({"ticket": ticket, "password": "an entirely different sentence"})).await
    }
    async fn me(&self, token: &str) -> Value {
        let url = format!("{}/v1/auth/me", self.system.command_api);
        self.system.client.get(url).bearer_auth(token).send().await.unwrap().json().await.unwrap()
    }
    /// Whether pay may be read, and whether the query API takes the token for anything at all.
    async fn pay(&self, token: &str) -> Option<bool> {
        let url = format!("{}/v1/access/explain?class=pay", self.system.query_api);
        let answer: Value = self.system.client.get(url).bearer_auth(token).send().await.unwrap().json().await.unwrap();
        answer["allowed"].as_bool()
    }
    /// Has an issuer trusted, and waits until both APIs know it: each learns it by itself.
    async fn trusted(&self, written: &Value) {
        let operator = self.system.token("platform", "operator");
        let path = format!("/v1/tenants/{}/issuers", tenant_of(&self.owner).namespace());
        self.must(&operator, &path, written).await;
        self.must(&self.owner, "/v1/issuers/confirmation", written).await;
        self.heard().await;
    }
    async fn sql(&self, sql: &str) {
        let pool = self.system.pool().await;
        sqlx::query(sql).bind(tenant_of(&self.owner).uuid()).execute(&pool).await.unwrap();
        pool.close().await;
    }
    /// Waits until both APIs know what was decided so far: a role that is made now comes after it.
    async fn heard(&self) {
        let name = format!("heard-{}", &Uuid::now_v7().simple().to_string()[20..]);
        self.role(&name, &["directory"], &["manage_users"]).await;
        let token = self.system.token(&self.slug, &name);
        eventually("both APIs have heard", async || {
            let url = format!("{}/v1/users", self.system.command_api);
            let heard = self.system.client.get(url).bearer_auth(&token).send().await.unwrap().status() == 200;
            heard && self.works(&token).await
        })
        .await;
    }
}

fn in_hours(hours: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours)).to_string()
}

/// What happens between the issue of a ticket and its use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Nothing,
    OtherRoles,
    AnotherPerson,
    DisabledAndEnabled,
    NewPassword,
    SixDigits,
    AnotherTicket,
    WiderRole,
    Delegated,
    IssuerDisabled,
    IssuerHasOtherRoles,
    MachineDisabled,
    IssuersTokensVoid,
    IssuersRoleMadeAnew,
    IssuerDistrusted,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_ends_with_what_it_was_issued_for() {
    use Between::{
        AnotherPerson, AnotherTicket, Delegated, DisabledAndEnabled, IssuerDisabled, IssuerDistrusted, IssuerHasOtherRoles,
        IssuersRoleMadeAnew, IssuersTokensVoid, MachineDisabled, NewPassword, Nothing, OtherRoles, SixDigits, WiderRole,
    };
    let company = Company::new("ticket").await;
    for desk in ["desk", "lost-desk", "void-desk"] {
        company.role(desk, &["directory"], &["manage_users"]).await;
    }
    company.role("purse", &["directory", "pay"], &[]).await;
    let issuer = Issuer::start().await;
    company.trusted(&issuer.written(&issuer.url, &json!({"desk": "desk"}))).await;
    let (_, steady) = company.active("steady", "desk").await;
    let (leaver, leaving) = company.active("leaver", "desk").await;
    let (mover, moving) = company.active("mover", "desk").await;
    let account = json!({"name": "m", "roles": ["desk"]});
    let machine = company.must(&company.owner, "/v1/service-accounts", &account).await;
    let (_, answer) = company.open("/v1/auth/service-token", &json!({"credential": machine["credential"]})).await;
    let machine_token = text(&answer, "access_token");
    let [lost, void] = ["lost-desk", "void-desk"]
        .map(|role| text(&company.system.tenure(&["token", "--tenant", &company.slug, "--subject", role, "--role", role]), "token"));
    let foreign = issuer.token(&issuer.url, "somebody", &["desk"]);
    company.heard().await;
    let mut kept = Vec::new();
    let ways = [
        (Nothing, &steady),
        (OtherRoles, &steady),
        (AnotherPerson, &steady),
        (DisabledAndEnabled, &steady),
        (NewPassword, &steady),
        (SixDigits, &steady),
        (AnotherTicket, &steady),
        (WiderRole, &steady),
        (Delegated, &steady),
        (IssuerDisabled, &leaving),
        (IssuerHasOtherRoles, &moving),
        (MachineDisabled, &machine_token),
        (IssuersTokensVoid, &void),
        (IssuersRoleMadeAnew, &lost),
        (IssuerDistrusted, &foreign),
    ];
    for (between, token) in ways {
        let (role, email) = (format!("clerk-{}", kept.len()), format!("{}-{}@example.com", kept.len(), company.slug));
        company.role(&role, &["directory"], &[]).await;
        let answer = company.must(token, "/v1/users", &json!({"email": email, "roles": [role]})).await;
        let (user, mut ticket) = (text(&answer, "user_id"), text(&answer, "ticket"));
        let path = |what: &str| format!("/v1/users/{user}/{what}");
        let roles = |roles: &[&str], person: Option<Uuid>| json!({"roles": roles, "employee_id": person});
        if matches!(between, NewPassword | SixDigits) {
            assert_eq!(company.open("/v1/auth/activation", &json!({"ticket": ticket, "password": PASSWORD})).await.0, 204);
            ticket = text(&company.must(token, &path("invitation"), &json!({})).await, "ticket");
        }
        let owner = &company.owner;
        match between {
            Nothing => {}
            OtherRoles => drop(company.must(owner, &path("roles"), &roles(&["owner"], None)).await),
            AnotherPerson => drop(company.must(owner, &path("roles"), &roles(&[&role], Some(Uuid::now_v7()))).await),
            DisabledAndEnabled => {
                // By other code than ours, too.
                let disable = format!("update platform.user_account set state = 'disabled' where tenant_id = $1 and user_id = '{user}'");
                company.sql(&disable).await;
                company.must(owner, &path("enabling"), &json!({})).await;
            }
            NewPassword => {
                let own = text(&company.log_in(&email).await, "access_token");
                let change = json!({"current": PASSWORD, "password": "a password of one's own choice"});
                company.must(&own, "/v1/auth/password", &change).await;
            }
            SixDigits => {
                let own = text(&company.log_in(&email).await, "access_token");
                let secret = company.must(&own, "/v1/auth/totp", &json!({"current": PASSWORD})).await;
                let code = TOTP::from_url(text(&secret, "url")).unwrap().generate_current().unwrap();
                company.must(&own, "/v1/auth/totp/confirmation", &json!({"code": code})).await;
            }
            AnotherTicket => drop(company.must(owner, &path("invitation"), &json!({})).await),
            WiderRole => company.role(&role, &["directory", "pay"], &[]).await,
            Delegated => {
                let (_, payer) = company.active("payer", "purse").await;
                let body = json!({"to": format!("user:{user}"), "roles": ["purse"], "starts_at": in_hours(24), "ends_at": in_hours(48)});
                company.must(&payer, "/v1/delegations", &body).await;
            }
            IssuerDisabled => drop(company.must(owner, &format!("/v1/users/{leaver}/disabling"), &json!({})).await),
            IssuerHasOtherRoles => drop(company.must(owner, &format!("/v1/users/{mover}/roles"), &roles(&["purse"], None)).await),
            MachineDisabled => {
                let path = format!("/v1/service-accounts/{}/disabling", text(&machine, "account_id"));
                company.must(owner, &path, &json!({})).await;
            }
            IssuersTokensVoid => drop(company.must(token, "/v1/auth/revocation", &json!({"all": true})).await),
            IssuersRoleMadeAnew => {
                company.must(owner, "/v1/roles/removal", &json!({"name": "lost-desk"})).await;
                company.role("lost-desk", &["directory"], &["manage_users"]).await;
            }
            IssuerDistrusted => {
                company.must(owner, "/v1/issuers/removal", &json!({"issuer": issuer.url, "audience": "hr"})).await;
            }
        }
        kept.push((between, user, ticket));
    }
    for (between, user, ticket) in kept {
        let (status, answer) = company.activate(&ticket).await;
        if between == Nothing {
            assert_eq!(status, 204, "{answer}");
            continue;
        }
        assert_eq!((status, answer["error"].as_str()), (400, Some("invalid_ticket")), "{between:?}");
        if between != SixDigits {
            // Another one that somebody may issue opens the account as it is now.
            let again = company.must(&company.owner, &format!("/v1/users/{user}/invitation"), &json!({})).await;
            assert_eq!(company.activate(&text(&again, "ticket")).await.0, 204, "{between:?}");
        }
    }
    assert!(company.decisions().await.iter().any(|decision| decision == "activate refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_log_in_it_is_decides_who_holds_what_was_delegated_to_it() {
    let company = Company::new("stand-ins").await;
    company.role("desk", &["directory"], &["manage_users"]).await;
    company.role("purse", &["directory", "pay"], &[]).await;
    company.role("clerk", &["directory"], &[]).await;
    let (_, payer) = company.active("payer", "purse").await;
    let (clerk, _) = company.active("clerk", "clerk").await;
    let desk = company.system.token(&company.slug, "desk");
    company.heard().await;
    let ways =
        [("invitation", json!({}), 201), ("roles", json!({"roles": ["clerk"], "employee_id": null}), 200), ("enabling", json!({}), 200)];
    // For now, and for later.
    for starts_at in [0, 24] {
        let body = json!({"to": format!("user:{clerk}"), "roles": ["purse"], "starts_at": in_hours(starts_at), "ends_at": in_hours(48)});
        let made = company.must(&payer, "/v1/delegations", &body).await;
        for (what, body, _) in &ways {
            let (status, answer) = company.post(&desk, &format!("/v1/users/{clerk}/{what}"), body).await;
            assert_eq!((status, answer["error"].as_str()), (403, Some("forbidden")), "{what} {starts_at}: {answer}");
        }
        let path = format!("/v1/delegations/{}/revocation", text(&made, "delegation_id"));
        company.must(&payer, &path, &json!({})).await;
        for (what, body, status) in &ways {
            assert_eq!(company.post(&desk, &format!("/v1/users/{clerk}/{what}"), body).await.0, *status, "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn delegations_end_with_the_trust_in_their_issuer() {
    let company = Company::new("foreign").await;
    company.role("purse", &["directory", "pay"], &[]).await;
    company.role("clerk", &["directory"], &[]).await;
    let (first, second) = (Issuer::start().await, Issuer::start().await);
    let name = first.url.clone();
    let mapping = json!({"purse": "purse", "clerk": "clerk"});
    let written = first.written(&name, &mapping);
    let (stand_in, payer) = (company.system.token(&company.slug, "clerk"), company.active("payer", "purse").await.1);
    let stand_in_subject = text(&company.me(&stand_in).await, "subject");
    let delegate = async |token: &str, to: &str| {
        company.must(token, "/v1/delegations", &json!({"to": to, "roles": ["purse"], "ends_at": in_hours(24)})).await;
    };
    let removal = json!({"issuer": name, "audience": "hr"});
    let tenant = tenant_of(&company.owner).namespace();
    let operator = company.system.token("platform", "operator");
    for way in
        ["removed by the tenant", "removed by the operator", "written down otherwise", "another issuer under its name", "past our code"]
    {
        company.trusted(&written).await;
        let (giver, taker) = (first.token(&name, "giver", &["purse"]), first.token(&name, "taker", &["clerk"]));
        eventually("the issuer is trusted", async || {
            company.pay(&giver).await == Some(true) && company.me(&taker).await["subject"].is_string()
        })
        .await;
        delegate(&giver, &stand_in_subject).await;
        delegate(&payer, &text(&company.me(&taker).await, "subject")).await;
        for token in [&stand_in, &taker] {
            eventually("the delegation is known", async || company.pay(token).await == Some(true)).await;
        }
        match way {
            "removed by the tenant" => drop(company.must(&company.owner, "/v1/issuers/removal", &removal).await),
            "removed by the operator" => drop(company.must(&operator, &format!("/v1/tenants/{tenant}/issuers/removal"), &removal).await),
            "written down otherwise" => {
                let other = first.written(&name, &json!({"purse": "clerk"}));
                company.must(&operator, &format!("/v1/tenants/{tenant}/issuers"), &other).await;
            }
            "another issuer under its name" => company.trusted(&second.written(&name, &mapping)).await,
            _ => {
                company.sql("update platform.external_issuer set confirmed_at = null where tenant_id = $1").await;
                company.sql("update platform.access_version set version = version + 1 where tenant_id = $1").await;
            }
        }
        eventually("the delegation grants no more", async || company.pay(&stand_in).await == Some(false)).await;
        // Whoever has the name next is somebody else: with what was delegated to the name before they have nothing.
        company.trusted(&second.written(&name, &mapping)).await;
        let namesake = second.token(&name, "taker", &["clerk"]);
        eventually("the other issuer is trusted", async || company.pay(&namesake).await.is_some()).await;
        company.heard().await;
        assert_eq!(company.pay(&namesake).await, Some(false), "{way}");
        assert_eq!(company.pay(&stand_in).await, Some(false), "{way}");
        company.must(&company.owner, "/v1/issuers/removal", &removal).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_made_anew_under_its_name_is_another() {
    let company = Company::new("anew").await;
    company.role("clerk", &["directory"], &[]).await;
    let issuer = Issuer::start().await;
    company.trusted(&issuer.written(&issuer.url, &json!({"clerk": "clerk"}))).await;
    let user = company.user("clerk@example.com", "clerk").await;
    let log_in = company.log_in("clerk@example.com").await;
    let machine = company.must(&company.owner, "/v1/service-accounts", &json!({"name": "m", "roles": ["clerk"]})).await;
    let credential = json!({"credential": machine["credential"]});
    let (_, machine_answer) = company.open("/v1/auth/service-token", &credential).await;
    // Of somebody who sees nothing but by the delegation.
    let stand_in = text(&company.log_in_of("stand-in@example.com", "clerk", &[]).await, "access_token");
    let (_, ticket) = company.invite("ticket@example.com", "clerk").await;
    let body = json!({"to": company.me(&stand_in).await["subject"], "roles": ["clerk"], "ends_at": in_hours(24)});
    company.must(&text(&log_in, "access_token"), "/v1/delegations", &body).await;
    let tokens = [
        ("a token", company.system.token(&company.slug, "clerk")),
        ("a user's token", text(&log_in, "access_token")),
        ("a machine's token", text(&machine_answer, "access_token")),
        ("another issuer's token", issuer.token(&issuer.url, "somebody", &["clerk"])),
        ("a stand-in's token", stand_in),
    ];
    for (whose, token) in &tokens {
        eventually(whose, async || company.works(token).await).await;
    }
    // Removed and made anew at once, so that no process sees one without the other.
    company.must(&company.owner, "/v1/roles/removal", &json!({"name": "clerk"})).await;
    company.role("clerk", &["directory", "pay"], &["manage_users"]).await;
    company.heard().await;
    for (whose, token) in &tokens {
        assert!(!company.works(token).await, "{whose} sees by the role of now");
        assert_eq!(
            company.post(token, "/v1/users", &json!({"email": "x@example.com", "roles": []})).await.1["error"],
            "forbidden",
            "{whose}"
        );
        let delegation = json!({"to": "anybody", "roles": ["clerk"], "ends_at": in_hours(1)});
        assert_eq!(company.post(token, "/v1/delegations", &delegation).await.1["error"], "unknown_role", "{whose}");
        assert_eq!(company.me(token).await["roles"], json!([]), "{whose}");
    }
    // Nor for what gets tokens, once they are sure to be younger than the removal.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let (status, refreshed) = company.open("/v1/auth/refresh", &json!({"refresh_token": log_in["refresh_token"]})).await;
    assert_eq!(status, 200, "{refreshed}");
    let (_, machine_answer) = company.open("/v1/auth/service-token", &credential).await;
    assert_eq!(company.activate(&ticket).await.1["error"], "invalid_ticket");
    for answer in [&refreshed, &machine_answer] {
        assert!(!company.works(&text(answer, "access_token")).await, "an account has the role of now");
    }
    // Who is given the new one has it.
    company.must(&company.owner, &format!("/v1/users/{user}/roles"), &json!({"roles": ["clerk"], "employee_id": null})).await;
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    let now = text(&company.log_in("clerk@example.com").await, "access_token");
    eventually("the new role grants", async || company.pay(&now).await == Some(true)).await;
}

impl Company {
    /// A log-in of somebody who is active with a role, and then has others.
    async fn log_in_of(&self, email: &str, role: &str, then: &[&str]) -> Value {
        let user = self.user(email, role).await;
        self.must(&self.owner, &format!("/v1/users/{user}/roles"), &json!({"roles": then, "employee_id": null})).await;
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        self.log_in(email).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delegation_ends_in_sight() {
    const DAY: i64 = 24;
    let company = Company::new("period").await;
    company.role("clerk", &["directory"], &[]).await;
    let issuer = Issuer::start().await;
    company.trusted(&issuer.written(&issuer.url, &json!({"clerk": "clerk"}))).await;
    let (_, user) = company.active("local", "clerk").await;
    let foreign = issuer.token(&issuer.url, "somebody", &["clerk"]);
    eventually("the issuer is trusted", async || company.works(&foreign).await).await;
    for (starts_at, ends_at, local, elsewhere) in [
        (None, DAY, true, true),
        (Some(0), 30 * DAY, true, true),
        (Some(-DAY), 30 * DAY, true, true),
        (Some(20 * DAY), 30 * DAY, true, true),
        (Some(20 * DAY), 40 * DAY, true, false),
        (Some(32 * DAY), 33 * DAY, true, false),
        (Some(60 * DAY), 80 * DAY, true, false),
        (Some(360 * DAY), 720 * DAY, true, false),
        (Some(368 * DAY), 369 * DAY, false, false),
        (Some(3_650 * DAY), 3_651 * DAY, false, false),
        (Some(0), 368 * DAY, false, false),
        (Some(2 * DAY), DAY, false, false),
        (None, -DAY, false, false),
    ] {
        let mut body = json!({"to": "anybody", "roles": ["clerk"], "ends_at": in_hours(ends_at)});
        if let Some(starts_at) = starts_at {
            body["starts_at"] = in_hours(starts_at).into();
        }
        for (token, good) in [(&user, local), (&foreign, elsewhere)] {
            let (status, answer) = company.post(token, "/v1/delegations", &body).await;
            let expected = if good { (201, None) } else { (422, Some("invalid_field")) };
            assert_eq!((status, answer["error"].as_str()), expected, "{starts_at:?} {ends_at}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_one_account_however_it_is_typed() {
    let company = Company::new("addresses").await;
    for (form, others) in [
        ("josé@example.com", &["JOSÉ@example.com", "jose\u{301}@example.com", " JOSE\u{301}@EXAMPLE.COM "][..]),
        ("ada@example.com", &["ａｄａ@example.com", "ada＠ｅｘａｍｐｌｅ．com"]),
        ("eva@bücher.example", &["eva@xn--bcher-kva.example", "EVA@BU\u{308}CHER.example"]),
    ] {
        company.user(form, "hr").await;
        for other in others {
            let (status, answer) = company.post(&company.owner, "/v1/users", &json!({"email": other, "roles": ["hr"]})).await;
            assert_eq!((status, answer["error"].as_str()), (409, Some("user_exists")), "{other:?}: {answer}");
            company.log_in(other).await;
        }
    }
    for unseen in ["a\u{200d}da@example.com", "a\u{ad}da@example.com", "ada@exam\u{200b}ple.com", "oﬃce@example.com", "a..b@example.com"]
    {
        let (status, answer) = company.post(&company.owner, "/v1/users", &json!({"email": unseen, "roles": ["hr"]})).await;
        assert_eq!((status, answer["error"].as_str()), (422, Some("invalid_field")), "{unseen:?}: {answer}");
    }
}
