//! `tenure token`: access tokens of the local issuer.

use anyhow::{Context as _, bail};
use events::TenantId;
use platform::{
    Keys, Process, Role,
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
    /// What the token lets its holder do: owner, hr, auditor or operator
    #[arg(long, default_value = "hr", value_parser = role)]
    role: Role,
    /// How long it lives, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    ttl: u64,
    /// Who the token is for; stands in the history of what they do
    #[arg(long, default_value = "cli", value_name = "SUBJECT")]
    subject: String,
}

fn role(name: &str) -> Result<Role, String> {
    Role::ALL.into_iter().find(|role| role.name() == name).ok_or_else(|| "the roles are owner, hr, auditor and operator".into())
}

/// The slug of the platform's own tenant.
pub const PLATFORM: &str = "platform";

/// Runs the command.
pub async fn run(home: &Home, endpoints: &Endpoints, options: Options, json: bool) -> anyhow::Result<()> {
    let tenant = if options.tenant == PLATFORM {
        if options.role != Role::Operator {
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
            roles: vec![options.role],
            employee: None,
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
            roles: vec![Role::Operator],
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
