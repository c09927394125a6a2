//! Rights that were handed out: tickets, delegations, tokens, registrations. Each is looked at again when it is used, and ends
//! with what it was handed out for.

use std::{collections::BTreeSet, time::Duration};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::{Json, Router, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use regex::Regex;
use serde_json::{Value, json};
use totp_rs::TOTP;
use uuid::Uuid;

use crate::{
    identity::{Company, PASSWORD, claims, text},
    repository::files,
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

/// What an account of an earlier build, whose address is kept in a form that the rule makes no more, is found by: the text that it was
/// invited with, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_an_earlier_form_is_found_by_the_text_that_it_was_invited_with() {
    let company = Company::new("earlier").await;
    let subject = async |email: &str| claim(&company.log_in(email).await, "sub");
    // The text of the invitation, another that the rule takes for the same, and whether the rule takes the first one at all.
    for (n, (text, same, is_address)) in
        [("jose\u{301}@old.example", "josé@old.example", true), ("a\u{200d}da@old.example", "ada@old.example", false)]
            .into_iter()
            .enumerate()
    {
        let user = company.user(&format!("earlier-{n}@example.com"), "hr").await;
        company.keep_under(&user, text).await;
        assert_eq!(subject(text).await, format!("user:{user}"));
        assert_eq!(subject(&text.to_uppercase()).await, format!("user:{user}"));
        let wrong = company.open("/v1/auth/login", &json!({"email": same, "password": PASSWORD})).await;
        assert_eq!((wrong.0, &wrong.1["error"]), (401, &json!("invalid_credentials")), "{same:?} is another address");
        let again = company.post(&company.owner, "/v1/users", &json!({"email": text, "roles": ["hr"]})).await;
        let refused = if is_address { (409, "user_exists") } else { (422, "invalid_field") };
        assert_eq!((again.0, again.1["error"].as_str().unwrap()), refused, "{text:?}: {}", again.1);
        // A second account under the form of now is another one, and each text goes to its own.
        let second = company.user(same, "hr").await;
        assert_eq!((subject(same).await, subject(text).await), (format!("user:{second}"), format!("user:{user}")));
    }
}

impl Company {
    /// Has a user's address kept under the digest of a text as it stands, as builds before the rule kept it.
    async fn keep_under(&self, user: &str, text: &str) {
        let pool = self.system.pool().await;
        let config = platform::Config::from_sources(platform::Process::CommandApi, None, |variable| match variable {
            "TENURE_DATABASE_URL" => Some(self.system.database_url.clone()),
            "TENURE_MASTER_KEY_FILE" => Some(self.system.home.join("secrets/master.key").display().to_string()),
            _ => None,
        })
        .unwrap();
        let (keys, tenant) = (platform::Keys::open(&config, pool.clone()).await.unwrap(), tenant_of(&self.owner));
        let digest = keys.claim_digest(events::TenantScope::checked(tenant), "login_email", text).await.unwrap();
        let moved = sqlx::query("update platform.user_account set email_digest = $3 where tenant_id = $1 and user_id = $2")
            .bind(tenant.uuid())
            .bind(user.parse::<Uuid>().unwrap())
            .bind(&digest[..])
            .execute(&pool)
            .await
            .unwrap();
        assert_eq!(moved.rows_affected(), 1);
        pool.close().await;
    }
}

/// A claim of the access token in the answer to a log-in.
fn claim(log_in: &Value, name: &str) -> String {
    text(&claims(&text(log_in, "access_token")), name)
}

/// A slug is a name: a token of the tenant that had it is no token of the one that has it now.
#[tokio::test(flavor = "multi_thread")]
async fn a_freed_slug_is_another_tenants() {
    let company = Company::new("freed").await;
    let operator = company.system.token("platform", "operator");
    let before = company.system.token(&company.slug, "hr");
    assert!(company.works(&before).await);
    let (tenant, renamed) = (tenant_of(&before), format!("{}-moved", company.slug));
    company.must(&operator, &format!("/v1/tenants/{}/name", tenant.namespace()), &json!({"slug": renamed, "name": "Moved"})).await;
    let other = company.system.tenant(&company.slug);
    assert_ne!(tenant_of(&other), tenant);
    let answers = async |token: &str, host: &str| {
        let mut codes = Vec::new();
        for url in [format!("{}/v1/departments", company.system.query_api), format!("{}/v1/auth/me", company.system.command_api)] {
            let request = company.system.client.get(url).bearer_auth(token).header("host", format!("{host}.localhost"));
            let answer: Value = request.send().await.unwrap().json().await.unwrap();
            codes.push(answer["error"].as_str().unwrap_or("none").to_owned());
        }
        codes
    };
    let now = company.system.token(&renamed, "hr");
    for (token, host, code) in [
        (&before, company.slug.as_str(), "tenant_mismatch"),
        (&before, &renamed, "tenant_mismatch"),
        (&now, &company.slug, "tenant_mismatch"),
        (&now, &renamed, "none"),
        (&other, &company.slug, "none"),
    ] {
        eventually(&format!("{code} at {host}"), async || answers(token, host).await == [code, code]).await;
    }
}

/// The claims of our access tokens, and how each is kept from meaning something else later: what never does, and the test of what could.
const CLAIMS: &[(&str, &str)] = &[
    ("aud", "this installation, by its settings"),
    ("employee_id", "an id, which is nobody else's"),
    ("exp", "an instant"),
    ("iat", "an instant"),
    ("iss", "this installation, by its settings"),
    ("jti", "an id, which is no other token's"),
    ("roles", "names: a_role_made_anew_under_its_name_is_another"),
    ("schema_name", "made of the tenant's id"),
    ("sid", "an id, which is no other log-in's"),
    ("sub", "a kind and an id"),
    ("tenant_id", "an id, which is no other tenant's"),
    ("tenant_slug", "a name: a_freed_slug_is_another_tenants"),
];

/// What processes keep by text: the file, the field or type, and what keeps it from serving something else under the same text.
const KEPT_BY_TEXT: &[(&str, &str, &str)] = &[
    ("auth.rs", "QueryParameters", "routes of this build"),
    (
        "auth/external.rs",
        "roles",
        "words of another issuer for roles: those are looked up each time, and a_role_made_anew_under_its_name_is_another",
    ),
    ("auth/external.rs", "KeySet", "keys of one registration, with which they go: delegations_end_with_the_trust_in_their_issuer"),
    ("auth/known.rs", "KeySet", "our own signing keys by ids that are drawn for each"),
    ("auth/known.rs", "issuers", "registrations, each with an id, read every second: delegations_end_with_the_trust_in_their_issuer"),
    ("auth/known.rs", "domains", "read every second; whose token it is decides"),
    ("auth/known.rs", "all", "what is void: a name too many there refuses, and lets nobody in"),
    ("auth/origin.rs", "domains", "the domains of known.rs"),
    ("access.rs", "after_leaving", "subjects of users, which are ids"),
    ("access.rs", "removed", "names of roles that are gone: a_role_made_anew_under_its_name_is_another"),
    ("auth/external.rs", "UniqueMap", "one token's claims"),
    ("contracts.rs", "open", "routes of this build's documents"),
    ("contracts.rs", "paths", "the same, as they are read"),
    ("mail.rs", "fields", "the places of a template, which are of this build"),
    ("organization/units.rs", "codes", "codes that are never reused"),
    ("registry.rs", "by_slug", "folded anew from the log: a_freed_slug_is_another_tenants"),
    ("spans.rs", "former", "names that one person had, in the fold of that person alone"),
    ("release.rs", "Types", "types of events, which keep their meaning for ever, as the golden files hold"),
    ("release.rs", "reads", "the same, as a process said it"),
    ("restrictions.rs", "texts", "statements of this build: a_kept_statement_that_names_the_tenants_schema_is_refused"),
    ("strangers.rs", "paths", "routes of this build"),
    ("today.rs", "Zones", "time zones of this build, by the names of their rules"),
    ("trust.rs", "roles", "a request's own body"),
    ("eventstore/mod.rs", "contested", "streams of reservations, each of one value of one tenant, for seconds"),
];

/// Whatever a token or a process keeps by a name is in one of the two tables, with what holds it.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_kept_by_a_name_is_held_to_the_thing() {
    let company = Company::new("names").await;
    company.user("a@example.com", "hr").await;
    let log_in = company.log_in("a@example.com").await;
    let person = Uuid::now_v7().to_string();
    let of_person = company.system.tenure(&["token", "--tenant", &company.slug, "--role", "hr", "--employee", &person]);
    let mut found = BTreeSet::new();
    for token in [text(&log_in, "access_token"), text(&of_person, "token")] {
        found.extend(claims(&token).as_object().unwrap().keys().cloned());
    }
    let listed = CLAIMS.iter().map(|(claim, _)| (*claim).to_owned()).collect();
    assert_eq!(found, listed, "say in CLAIMS what keeps a claim from meaning something else later");

    let sources = files("rs");
    let kept = r"(?m)^ *(?:pub(?:\([a-z]+\))? )?(?:type |struct )?(\w+)(?:: | = |\().*(?:Map|Set|Cache|Shares)<(?:\([^)]*\b(?:String|str)\b[^)]*\)|String|Arc<str>|Box<str>)[,>]";
    let kept = Regex::new(kept).unwrap();
    let mut fields = BTreeSet::new();
    for (path, source) in
        sources.iter().filter(|(path, _)| path.contains("/src/") && !path.starts_with("cli/") && !path.starts_with("bench/"))
    {
        let source = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for field in kept.captures_iter(source).map(|captures| captures[1].to_owned()).filter(|field| field != "let" && field != "fn") {
            let place = KEPT_BY_TEXT.iter().find(|(file, name, _)| path.ends_with(&format!("/{file}")) && *name == field);
            let (file, name, _) =
                place.unwrap_or_else(|| panic!("{path} keeps `{field}` by text: say in KEPT_BY_TEXT what keeps that to one thing"));
            fields.insert((*file, *name));
        }
    }
    let listed: BTreeSet<_> = KEPT_BY_TEXT.iter().map(|(file, name, _)| (*file, *name)).collect();
    assert_eq!(fields, listed, "KEPT_BY_TEXT names what is not there");
    let grounds = CLAIMS.iter().map(|(_, ground)| *ground).chain(KEPT_BY_TEXT.iter().map(|(_, _, ground)| *ground));
    let test = Regex::new(r"\b[a-z]+(?:_[a-z]+){3,}\b").unwrap();
    for name in grounds.flat_map(|ground| test.find_iter(ground)).map(|found| found.as_str()) {
        assert!(sources.iter().any(|(_, source)| source.contains(&format!("fn {name}("))), "there is no test {name}");
    }
}
