//! The demo company: about 120 people and ten years of their history, so that every read has something to show. What it
//! is follows from a seed alone, and every command has a key, so that making it again changes nothing.

mod company;
mod logins;

use anyhow::{Context as _, bail};
use platform::auth::TokenRequest;

use crate::{
    api::{Api, Endpoints, Tenant},
    batch::{self, Outcome},
    home::Home,
    output::Steps,
    system::{Addresses, TOKEN_LIFETIME},
    tenant, token,
};

pub use logins::{LogIn, all as logins};

/// Its slug.
pub const SLUG: &str = "demo";
const NAME: &str = "Northwind Instruments";

/// Makes it, or as much of it as is not there yet.
pub async fn seed(home: &Home, addresses: &Addresses, seed: u64, steps: &mut Steps) -> anyhow::Result<()> {
    let endpoints = Endpoints::from(addresses);
    let operator = Api::operator(home, &endpoints).await?;
    let existing = operator.tenants().await?.into_iter().find(|tenant| tenant.slug == SLUG);
    let demo = match existing {
        Some(tenant) if tenant.state == "ready" => tenant,
        Some(tenant) if tenant.state == "registered" => tenant::wait_for(&operator, SLUG, "ready").await?,
        Some(_) => return Ok(()), // suspended by whoever plays with it
        None => tenant::create(&operator, SLUG, NAME, []).await?,
    };
    history(home, &endpoints, &demo, seed, steps).await?;
    logins::make(home, &endpoints, demo.tenant_id).await.context("making its log-ins")
}

/// What happened in the company, unless it is there.
async fn history(home: &Home, endpoints: &Endpoints, demo: &Tenant, seed: u64, steps: &mut Steps) -> anyhow::Result<()> {
    // Another seed would be another company in the same place.
    let done = format!("demo-{}-{seed}.json", demo.tenant_id);
    if home.read_run::<bool>(&done) == Some(true) {
        return Ok(());
    }
    if std::fs::read_dir(home.path("run"))?
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with(&format!("demo-{}-", demo.tenant_id)))
    {
        steps.note(&format!(
            "the demo company was made from another seed and stays as it is; `tenure down --wipe` makes room for that of seed {seed}"
        ));
        return Ok(());
    }
    let lines = company::history(seed, demo.tenant_id.uuid());
    let api = Api::for_long(home, endpoints, hr(home, demo.tenant_id, "demo").await?)?;
    let mut refused = None;
    let (mut answered, all) = (0, lines.len());
    batch::send(&api, &lines, |n, outcome| {
        answered += 1;
        if answered % 100 == 0 {
            steps.begin(&format!("making the demo company: {answered} of {all} facts"));
        }
        if let Outcome::Refused(reason) = outcome {
            refused.get_or_insert((n, reason));
        }
    })
    .await?;
    if let Some((n, reason)) = refused {
        bail!("its fact {n} of seed {seed} was refused: {reason}; {:?}", lines[n]);
    }
    home.write_run(&done, &true)
}

/// A token for it that is good for a day, if it is there.
pub async fn token(home: &Home, addresses: &Addresses) -> Option<String> {
    let operator = Api::operator(home, &Endpoints::from(addresses)).await.ok()?;
    let demo = operator.tenants().await.ok()?.into_iter().find(|tenant| tenant.slug == SLUG && tenant.state == "ready")?;
    hr(home, demo.tenant_id, "newcomer").await.ok()
}

async fn hr(home: &Home, demo: events::TenantId, subject: &str) -> anyhow::Result<String> {
    let request = TokenRequest {
        subject: subject.into(),
        tenant: demo,
        slug: SLUG.into(),
        roles: vec!["hr".into()],
        employee: None,
        session: None,
        lifetime_s: TOKEN_LIFETIME,
    };
    token::issue(home, request).await.context("a token for the demo company")
}
