//! `tenure tenant`: registering, listing, suspending and resuming tenants, and their time zones, through the APIs.

use std::time::Duration;

use anyhow::{Context as _, bail};
use domain::text::TimeZoneName;
use events::TenantId;
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
        /// The IANA name of the time zone by which its lists and reports say what day it is, such as Europe/Vienna [default: UTC]
        #[arg(long, value_name = "NAME")]
        time_zone: Option<String>,
    },
    /// List all tenants
    List,
    /// Show one tenant
    Show {
        /// Its slug
        slug: String,
    },
    /// Change the time zone by which a tenant's lists and reports say what day it is
    #[command(after_help = "Example:\n  tenure tenant time-zone acme Europe/Vienna")]
    TimeZone {
        /// Its slug
        slug: String,
        /// The IANA name of the time zone
        time_zone: String,
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
        Command::Create { slug, name, plan, expires_at, time_zone } => {
            let optional = [("plan", plan), ("expires_at", expires_at), ("time_zone", time_zone)];
            create(&api, &slug, &name, optional).await?
        }
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
        Command::TimeZone { slug, time_zone } => {
            // In the database's own spelling, in which it is shown; what is no name is refused by the API, with the reason.
            let shown = TimeZoneName::parse(&time_zone).map_or_else(|_| time_zone.clone(), |name| name.to_text());
            change(&api, &slug, "time-zone", &json!({ "time_zone": time_zone }), |tenant| tenant.time_zone == shown).await?
        }
        Command::Suspend { slug, reason } => {
            change(&api, &slug, "suspension", &json!({ "reason": reason }), |tenant| tenant.state == "suspended").await?
        }
        Command::Resume { slug } => change(&api, &slug, "resumption", &json!({}), |tenant| tenant.state == "ready").await?,
    };
    if json {
        println!("{}", serde_json::to_string(&shown)?);
    } else {
        print(&shown);
    }
    Ok(())
}

fn print(tenant: &Tenant) {
    println!("{:<24} {:<11} {}  {:<20} {}", tenant.slug, tenant.state, tenant.tenant_id, tenant.time_zone, tenant.name);
}

/// Registers a tenant, or finds it, and waits until it is ready. `optional` are further fields of the command, where they are given.
pub async fn create(
    api: &Api,
    slug: &str,
    name: &str,
    optional: impl IntoIterator<Item = (&'static str, Option<String>)>,
) -> anyhow::Result<Tenant> {
    let mut body = json!({ "slug": slug, "name": name });
    for (field, value) in optional {
        if let Some(value) = value {
            body[field] = value.into();
        }
    }
    let answer = api.post("/v1/tenants", &Uuid::now_v7().to_string(), &body).await?;
    let id: TenantId = answer["id"].as_str().and_then(|id| id.parse().ok()).context("the API's answer names no tenant")?;
    // The query API may still know the slug as that of the tenant which had it before.
    wait_until(api, slug, "ready", |tenant| tenant.tenant_id == id && tenant.state == "ready").await
}

async fn change(api: &Api, slug: &str, what: &str, body: &serde_json::Value, is_done: impl Fn(&Tenant) -> bool) -> anyhow::Result<Tenant> {
    let id = api.tenant(slug).await?.tenant_id;
    api.post(&format!("/v1/tenants/{id}/{what}"), &Uuid::now_v7().to_string(), body).await?;
    wait_until(api, slug, what, |tenant| tenant.tenant_id == id && is_done(tenant)).await
}

/// Waits until a tenant is in a state.
pub async fn wait_for(api: &Api, slug: &str, state: &str) -> anyhow::Result<Tenant> {
    wait_until(api, slug, state, |tenant| tenant.state == state).await
}

/// Waits until something has come true of a tenant; `what` names it.
async fn wait_until(api: &Api, slug: &str, what: &str, is_done: impl Fn(&Tenant) -> bool) -> anyhow::Result<Tenant> {
    let deadline = tokio::time::Instant::now() + READY;
    loop {
        let found = api.tenant(slug).await;
        if let Ok(tenant) = &found
            && is_done(tenant)
        {
            return found;
        }
        if tokio::time::Instant::now() > deadline {
            let now = found.context("the registration was taken, but the tenant does not appear")?.state;
            bail!("waited {} s for {what}, and the tenant is {now}; `tenure status` shows what is wrong", READY.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
