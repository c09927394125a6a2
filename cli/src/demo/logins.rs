//! Who can log in to the demo company, and to the platform, one for each role: with a password that this home made up.

use anyhow::Context as _;
use events::TenantId;
use platform::auth::TokenRequest;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{SLUG, company};
use crate::{
    api::{Api, Endpoints},
    home::Home,
    token,
};

/// Somebody who can log in.
#[derive(Debug, Clone)]
pub struct LogIn {
    /// At which tenant.
    pub slug: &'static str,
    /// Of a built-in role.
    pub role: &'static str,
    /// With this address.
    pub email: String,
    /// And this password.
    pub password: String,
    /// Which of the company's people they are, by number.
    person: Option<usize>,
}

/// Role, and whom of the company it is given to: its heads of People, Engineering and Quality never leave.
const OF_COMPANY: [(&str, Option<usize>); 5] =
    [("hr", Some(11)), ("manager", Some(1)), ("employee", Some(4)), ("owner", None), ("auditor", None)];

/// The file in `run/` that says that they are there, and of which tenant.
const MADE: &str = "demo-log-ins.json";

/// All of them, if they are there.
pub fn all(home: &Home) -> anyhow::Result<Vec<LogIn>> {
    if home.read_run::<TenantId>(MADE).is_none() { Ok(Vec::new()) } else { of(home) }
}

fn of(home: &Home) -> anyhow::Result<Vec<LogIn>> {
    // Long enough to be nobody's guess, and short enough to be typed.
    let password: String = home.secret("demo-password")?.chars().take(16).collect();
    let one = |slug, role, domain, person| LogIn { slug, role, email: format!("{role}@{domain}"), password: password.clone(), person };
    let company = OF_COMPANY.map(|(role, person)| one(SLUG, role, "northwind.example", person));
    Ok(company.into_iter().chain([one(token::PLATFORM, "operator", "tenure.example", None)]).collect())
}

/// Makes those that are not there yet.
pub(super) async fn make(home: &Home, endpoints: &Endpoints, demo: TenantId) -> anyhow::Result<()> {
    if home.read_run(MADE) == Some(demo) {
        return Ok(());
    }
    for log_in in of(home)? {
        let (tenant, role) = if log_in.slug == SLUG { (demo, "owner") } else { (TenantId::PLATFORM, "operator") };
        let request = TokenRequest {
            subject: "demo".into(),
            tenant,
            slug: log_in.slug.into(),
            roles: vec![role.into()],
            employee: None,
            session: None,
            lifetime_s: 600,
        };
        let api = Api::new(home, endpoints, token::issue(home, request).await?)?;
        invite(&api, demo, &log_in).await.with_context(|| format!("inviting {}", log_in.email))?;
    }
    home.write_run(MADE, &demo)
}

async fn invite(api: &Api, demo: TenantId, log_in: &LogIn) -> anyhow::Result<()> {
    let users: Value = api.get_from_commands("/v1/users").await?;
    let known = users["items"].as_array().into_iter().flatten().find(|user| user["email"] == log_in.email.as_str());
    if known.is_some_and(|user| user["state"] == "active") {
        return Ok(());
    }
    let key = Uuid::now_v7().to_string();
    let invitation = if let Some(user) = known.and_then(|user| user["user_id"].as_str()) {
        // An earlier start was cut off between the two.
        api.post(&format!("/v1/users/{user}/invitation"), &key, &json!({})).await?
    } else {
        let person = log_in.person.map(|number| company::employee(demo.uuid(), number));
        api.post("/v1/users", &key, &json!({"email": log_in.email, "roles": [log_in.role], "employee_id": person})).await?
    };
    let answer =
        api.command("/v1/auth/activation").json(&json!({"ticket": invitation["ticket"], "password": log_in.password})).send().await?;
    answer.error_for_status().context("choosing the password")?;
    Ok(())
}
