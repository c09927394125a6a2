//! `tenure user`: who can log in to a tenant. Goes through the API, as an owner of the tenant.

use anyhow::Context as _;
use events::TenantId;
use platform::auth::TokenRequest;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    api::{Api, Endpoints},
    home::Home,
    token,
};

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The tenant's slug; `platform` for operators
    #[arg(long, value_name = "SLUG")]
    tenant: String,
    #[command(subcommand)]
    command: Command,
}

/// What is to be done.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Invite somebody; prints the ticket that is to be sent to them
    #[command(after_help = "The ticket makes the account active, once, with a password of their choice:
  curl -X POST http://SLUG.localhost:PORT/v1/auth/activation -H 'content-type: application/json' \\
       -d '{\"ticket\": \"tt_…\", \"password\": \"…\"}'

Example:
  tenure user --tenant acme invite ada@example.com --role owner")]
    Invite {
        /// The address with which they will log in
        email: String,
        /// What they may do; may be given several times
        #[arg(long, required = true)]
        role: Vec<String>,
        /// Which person they are, where they are employed by the tenant
        #[arg(long, value_name = "ID")]
        employee: Option<Uuid>,
    },
    /// List users
    List,
    /// Keep a user out: log-ins end at once, access tokens within seconds
    Disable {
        /// The user's id
        id: Uuid,
    },
    /// Let a user in again
    Enable {
        /// The user's id
        id: Uuid,
    },
}

/// Runs the command.
pub async fn run(home: &Home, endpoints: &Endpoints, Options { tenant: slug, command }: Options, json: bool) -> anyhow::Result<()> {
    let (tenant, role) = if slug == token::PLATFORM {
        (TenantId::PLATFORM, "operator")
    } else {
        (Api::operator(home, endpoints).await?.tenant(&slug).await?.tenant_id, "owner")
    };
    let request =
        TokenRequest { subject: "cli".into(), tenant, slug, roles: vec![role.into()], employee: None, session: None, lifetime_s: 600 };
    let api = Api::new(home, endpoints, token::issue(home, request).await?)?;
    let key = Uuid::now_v7().to_string();
    let shown = match command {
        Command::Invite { email, role, employee } => {
            let body = json!({"email": email, "roles": role, "employee_id": employee});
            let invited = api.post("/v1/users", &key, &body).await?;
            if !json {
                println!("{}", invited["ticket"].as_str().context("the API answered without a ticket")?);
                return Ok(());
            }
            invited
        }
        Command::List => {
            let mut all = Vec::new();
            let mut path = "/v1/users".to_owned();
            loop {
                let mut page: Value = api.get_from_commands(&path).await?;
                all.extend(page["items"].as_array_mut().map(std::mem::take).unwrap_or_default());
                match page["next_after"].as_str() {
                    Some(after) => path = format!("/v1/users?after={after}"),
                    None => break,
                }
            }
            if !json {
                all.iter().for_each(print);
                return Ok(());
            }
            all.into()
        }
        Command::Disable { id } => api.post(&format!("/v1/users/{id}/disabling"), &key, &json!({})).await?,
        Command::Enable { id } => api.post(&format!("/v1/users/{id}/enabling"), &key, &json!({})).await?,
    };
    if json {
        println!("{shown}");
    } else {
        print(&shown);
    }
    Ok(())
}

fn print(user: &Value) {
    let text = |field: &str| user[field].as_str().unwrap_or_default().to_owned();
    let roles: Vec<_> = user["roles"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    println!("{}  {:<9} {:<24} {}", text("user_id"), text("state"), roles.join(","), text("email"));
}
