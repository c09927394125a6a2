//! `tenure token`: access tokens of the local issuer.

use anyhow::{Context as _, bail};
use events::{EmployeeId, TenantId};
use platform::{
    Keys, Process,
    access::is_role_name,
    auth::{Issuer, TokenRequest},
    database,
};
use secrecy::ExposeSecret as _;

use crate::{
    api::{Api, Endpoints},
    home::Home,
    system,
};

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The tenant's slug; `platform` for operators
    #[arg(long, value_name = "SLUG")]
    tenant: String,
    /// What the token lets its holder do: employee, manager, hr, payroll, auditor, owner, a role of the tenant's own, or in
    /// the platform's tenant operator; may be given several times
    #[arg(long, default_value = "hr", value_parser = role)]
    role: Vec<String>,
    /// Which person its holder is; `self` and `line` of their roles are theirs
    #[arg(long, value_name = "ID")]
    employee: Option<EmployeeId>,
    /// How long it lives, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    ttl: u64,
    /// Who the token is for; stands in the history of what they do
    #[arg(long, default_value = "cli", value_name = "SUBJECT")]
    subject: String,
}

fn role(name: &str) -> Result<String, String> {
    if is_role_name(name) { Ok(name.into()) } else { Err("a role is a name of lower-case letters, digits and hyphens, such as hr".into()) }
}

/// The slug of the platform's own tenant.
pub const PLATFORM: &str = "platform";

/// Runs the command.
pub async fn run(home: &Home, endpoints: &Endpoints, options: Options, json: bool) -> anyhow::Result<()> {
    let tenant = if options.tenant == PLATFORM {
        if options.role != ["operator"] {
            bail!("the platform's own tenant knows only the role operator; add --role operator");
        }
        TenantId::PLATFORM
    } else {
        Api::operator(home, endpoints).await?.tenant(&options.tenant).await?.tenant_id
    };
    let token = issue(
        home,
        TokenRequest {
            subject: options.subject,
            tenant,
            slug: options.tenant,
            roles: options.role,
            employee: options.employee,
            session: None,
            lifetime_s: options.ttl,
        },
    )
    .await?;
    if json {
        println!("{}", serde_json::json!({"token": token, "tenant_id": tenant, "expires_in": options.ttl}));
    } else {
        println!("{token}");
    }
    Ok(())
}

/// A token for managing tenants.
pub async fn operator(home: &Home) -> anyhow::Result<String> {
    issue(
        home,
        TokenRequest {
            subject: "cli".into(),
            tenant: TenantId::PLATFORM,
            slug: PLATFORM.into(),
            roles: vec!["operator".into()],
            employee: None,
            session: None,
            lifetime_s: 600,
        },
    )
    .await
}

/// Signs a token as the owner of the signing keys.
pub async fn issue(home: &Home, request: TokenRequest) -> anyhow::Result<String> {
    let config = system::config(home, Process::Cli)?;
    let pool = database::connect(&config, Process::Cli).await?;
    let keys = Keys::open(&config, pool.clone()).await.context("opening the key store")?;
    let token = Issuer::open(&config, &pool, &keys).await?.issue(&request)?;
    Ok(token.expose_secret().to_owned())
}
