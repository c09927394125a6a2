//! `tenure tenant`: registering, listing, suspending and resuming tenants, through the APIs.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;
use uuid::Uuid;

use crate::{
    api::{Api, Endpoints, Tenant},
    home::Home,
};

/// What is asked for.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Register a tenant and wait until it can be used
    #[command(after_help = "Example:\n  tenure tenant create --slug acme --name 'Acme Corporation'")]
    Create {
        /// Its name in hosts and commands: lower-case letters, digits and hyphens
        #[arg(long)]
        slug: String,
        /// The organization's name
        #[arg(long)]
        name: String,
        /// What it subscribes to
        #[arg(long)]
        plan: Option<String>,
        /// The instant at which the subscription ends, such as 2030-01-01T00:00:00Z
        #[arg(long, value_name = "INSTANT")]
        expires_at: Option<String>,
    },
    /// List all tenants
    List,
    /// Show one tenant
    Show {
        /// Its slug
        slug: String,
    },
    /// Refuse a tenant's requests until it is resumed
    #[command(after_help = "Example:\n  tenure tenant suspend acme --reason 'unpaid since March'")]
    Suspend {
        /// Its slug
        slug: String,
        /// Why; stands in the platform's history
        #[arg(long)]
        reason: String,
    },
    /// End a suspension
    Resume {
        /// Its slug
        slug: String,
    },
}

/// How long provisioning and its way into the registry may take.
const READY: Duration = Duration::from_mins(1);

/// Runs the command.
pub async fn run(home: &Home, endpoints: &Endpoints, command: Command, json: bool) -> anyhow::Result<()> {
    let api = Api::operator(home, endpoints).await?;
    let shown = match command {
        Command::Create { slug, name, plan, expires_at } => create(&api, &slug, &name, plan, expires_at).await?,
        Command::List => {
            let tenants = api.tenants().await?;
            if json {
                println!("{}", serde_json::to_string(&tenants)?);
            } else {
                tenants.iter().for_each(print);
            }
            return Ok(());
        }
        Command::Show { slug } => api.tenant(&slug).await?,
        Command::Suspend { slug, reason } => change(&api, &slug, "suspension", &json!({ "reason": reason }), "suspended").await?,
        Command::Resume { slug } => change(&api, &slug, "resumption", &json!({}), "ready").await?,
    };
    if json {
        println!("{}", serde_json::to_string(&shown)?);
    } else {
        print(&shown);
    }
    Ok(())
}

fn print(tenant: &Tenant) {
    println!("{:<24} {:<11} {}  {}", tenant.slug, tenant.state, tenant.tenant_id, tenant.name);
}

/// Registers a tenant, or finds it, and waits until it is ready.
pub async fn create(api: &Api, slug: &str, name: &str, plan: Option<String>, expires_at: Option<String>) -> anyhow::Result<Tenant> {
    let mut body = json!({ "slug": slug, "name": name });
    if let Some(plan) = plan {
        body["plan"] = plan.into();
    }
    if let Some(instant) = expires_at {
        body["expires_at"] = instant.into();
    }
    api.post("/v1/tenants", &Uuid::now_v7().to_string(), &body).await?;
    wait_for(api, slug, "ready").await
}

async fn change(api: &Api, slug: &str, what: &str, body: &serde_json::Value, becomes: &str) -> anyhow::Result<Tenant> {
    let tenant = api.tenant(slug).await?;
    api.post(&format!("/v1/tenants/{}/{what}", tenant.tenant_id), &Uuid::now_v7().to_string(), body).await?;
    wait_for(api, slug, becomes).await
}

/// Waits until a tenant is in a state.
pub async fn wait_for(api: &Api, slug: &str, state: &str) -> anyhow::Result<Tenant> {
    let deadline = tokio::time::Instant::now() + READY;
    loop {
        let found = api.tenant(slug).await;
        if let Ok(tenant) = &found
            && tenant.state == state
        {
            return found;
        }
        if tokio::time::Instant::now() > deadline {
            let now = found.context("the registration was taken, but the tenant does not appear")?.state;
            bail!("the tenant is {now}, not {state}, after {} s; `tenure status` shows what is wrong", READY.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
