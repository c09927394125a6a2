//! The tenants, for operators of the platform's own tenant. Read from the registry in memory, which every service
//! folds from the platform's log.

use std::{str::FromStr, time::Duration};

use axum::extract::State;
use events::{TenantId, tenancy::Subscription};
use platform::{Operator, Problem, Registry, TenantState, auth::is_slug, registry};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    App,
    cursor::{Cursor, text_key},
    params::{Day, Fresh, Id, Limit, NoParams, invalid, params},
    read::{Answer, Reads, behind, not_found},
};

/// What the contract says of these routes.
pub(crate) const TAG: &str = "Tenants, for operators";

/// The routes.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(tenants)).routes(routes!(tenant))
}

/// A tenant as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// The tenant's id, its namespace.
    pub tenant_id: TenantId,
    /// The name for people and hosts.
    pub slug: String,
    /// The organization's name.
    pub name: String,
    /// Where it stands: `registered`, `ready`, `suspended` or `closed`.
    pub state: TenantStanding,
    /// What it subscribed to.
    pub subscription: Subscription,
    /// The IANA name of the time zone by which its lists and reports say what day it is.
    pub time_zone: String,
}

/// Where a tenant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TenantStanding {
    /// Not yet provisioned.
    Registered,
    /// Usable.
    Ready,
    /// Refused by an operator.
    Suspended,
    /// Gone for good.
    Closed,
}

impl From<&registry::Tenant> for Tenant {
    fn from(tenant: &registry::Tenant) -> Self {
        Self {
            tenant_id: tenant.id,
            slug: tenant.slug.clone(),
            name: tenant.name.clone(),
            state: match tenant.state {
                TenantState::Registered => TenantStanding::Registered,
                TenantState::Ready => TenantStanding::Ready,
                TenantState::Suspended => TenantStanding::Suspended,
                TenantState::Closed => TenantStanding::Closed,
            },
            subscription: tenant.subscription.clone(),
            time_zone: tenant.time_zone.iana_name().unwrap_or("UTC").to_owned(),
        }
    }
}

/// One page of tenants, by slug.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantPage {
    /// The position of the platform's log that the answer stands at.
    pub position: i64,
    /// The tenants.
    pub items: Vec<Tenant>,
    /// For the next page; null on the last.
    pub next_cursor: Option<String>,
}

/// A tenant's name in hosts.
#[derive(Debug, Clone, ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 40, pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
pub(crate) struct Slug(String);

impl FromStr for Slug {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let must = "must be 1 to 40 lower-case letters, digits and inner hyphens";
        if is_slug(text) { Ok(Self(text.to_owned())) } else { Err(must) }
    }
}

params! {
    /// For a list of tenants.
    TenantListParams {
        /// Only the tenants with this slug: one at most, beside those that are closed.
        slug: Slug,
        /// How many rows at most.
        limit: Limit,
        /// `next_cursor` of the page before.
        cursor: Cursor,
    }
}

/// All tenants, by slug.
#[utoipa::path(get, path = "/v1/tenants", tag = "tenancy", params(TenantListParams),
    responses((status = 200, description = "The answer", body = TenantPage, headers(("Tenure-Position" = String)))))]
pub(crate) async fn tenants(
    State(registry): State<Registry>,
    State(reads): State<Reads>,
    operator: Operator,
    params: TenantListParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    let slug = params.slug.map(|slug| slug.0);
    // Tenants are not dated; every cursor carries the same day.
    let (filters, day) = ([("slug", slug.clone())], Day::NONE);
    let (listing, after) = reads.listing(&operator.0, "/v1/tenants", &filters, (Some(day), day), params.cursor.as_ref())?;
    let after = text_key(after)?.map(key_of).transpose()?;
    let limit = usize::try_from(params.limit.unwrap_or_default().0).unwrap_or(usize::MAX);
    let position = reach(&registry, &operator, fresh).await?;
    // A closed tenant's slug may be taken again, so the id decides among equals.
    let mut rest = registry.all().into_iter().filter(|tenant| {
        slug.as_ref().is_none_or(|slug| *slug == tenant.slug)
            && after.as_ref().is_none_or(|after| (&tenant.slug, tenant.id) > (&after.0, after.1))
    });
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let next_cursor = match (rest.next(), page.last()) {
        (Some(_), Some(last)) => Some(listing.after(format!("{}/{}", last.slug, last.id).as_bytes())),
        _ => None,
    };
    json(position, &TenantPage { position, items: page.iter().map(|tenant| Tenant::from(&**tenant)).collect(), next_cursor })
}

fn key_of(key: String) -> Result<(String, TenantId), Problem> {
    let parts = key.split_once('/').and_then(|(slug, id)| Some((slug.to_owned(), id.parse().ok()?)));
    parts.ok_or_else(|| invalid("cursor", "names no tenant"))
}

/// One tenant.
#[utoipa::path(get, path = "/v1/tenants/{id}", tag = "tenancy", params(("id" = TenantId, Path)),
    responses((status = 200, description = "The answer", body = Tenant, headers(("Tenure-Position" = String))), (status = 404, description = "`not_found`: there is no such object", body = crate::openapi::ProblemDocument, content_type = "application/problem+json")))]
pub(crate) async fn tenant(
    State(registry): State<Registry>,
    operator: Operator,
    Id(id): Id<TenantId>,
    _params: NoParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    let position = reach(&registry, &operator, fresh).await?;
    let tenant = registry.by_id(id).ok_or_else(not_found)?;
    json(position, &Tenant::from(&*tenant))
}

fn json(position: i64, value: &impl Serialize) -> Result<Answer, Problem> {
    let json = serde_json::to_string(value)
        .map_err(|_| Problem::new(http::StatusCode::INTERNAL_SERVER_ERROR, "internal", "something broke on our side"))?;
    Ok(Answer { position, version: None, json })
}

/// Waits until the registry has read the platform's log as far as was asked for.
async fn reach(registry: &Registry, operator: &Operator, fresh: Fresh) -> Result<i64, Problem> {
    let deadline = Instant::now() + fresh.wait;
    loop {
        let reached = i64::try_from(registry.position().0).unwrap_or(i64::MAX);
        if reached >= fresh.position {
            return Ok(reached);
        }
        if Instant::now() >= deadline {
            return Err(behind(reached, fresh.position));
        }
        registry
            .refresh()
            .await
            .map_err(|_| Problem::unavailable("store_unavailable", "the platform's log can't be read just now; try again"))?;
        tokio::time::sleep(Duration::from_millis(50).min(deadline.saturating_duration_since(Instant::now()))).await;
        operator.0.after_waiting().await?;
    }
}
