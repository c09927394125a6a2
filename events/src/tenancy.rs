//! Facts about tenants, in the platform's own log.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Category, StreamName, TenantId, catalog::events};

events! {
    /// What happened to a tenant.
    pub enum TenancyEvent in Category::Tenancy;
    TenantRegistered = 1;
    TenantProvisioned = 1;
    TenantRenamed = 1;
    SubscriptionChanged = 1;
    TenantSuspended = 1;
    TenantResumed = 1;
    TenantClosed = 1;
    TenantTimeZoneChanged = 1;
}

impl StreamName {
    /// The stream that records one tenant, in the platform's own log.
    pub const fn tenancy(tenant: TenantId) -> Self {
        Self::of_platform(Category::Tenancy, tenant.uuid())
    }
}

/// A tenant was asked for. It can't be used before [`TenantProvisioned`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantRegistered {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The name for people and hosts; lower-case letters, digits and inner hyphens, 1 to 40 characters.
    pub slug: String,
    /// The organization's name.
    pub name: String,
    /// What was subscribed to.
    pub subscription: Subscription,
}

/// What a tenant may use, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// The plan's name.
    pub plan: String,
    /// The instant after which commands and queries answer 402; none is open-ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

/// Role, schema and keys exist; the tenant is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantProvisioned {
    /// The tenant.
    pub tenant_id: TenantId,
}

/// The slug or the name changed. The id, and all that is named by it, never does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantRenamed {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The slug from now on.
    pub slug: String,
    /// The name from now on.
    pub name: String,
}

/// Another plan or another end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionChanged {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The subscription from now on.
    pub subscription: Subscription,
}

/// The tenant is refused until it is resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantSuspended {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Why, in the operator's words.
    pub reason: String,
}

/// A suspension ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantResumed {
    /// The tenant.
    pub tenant_id: TenantId,
}

/// The tenant is gone for good; its slug may be taken again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantClosed {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Why, in the operator's words.
    pub reason: String,
}

/// Another time zone for what the tenant's lists and reports call today. Before the first of these it is UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantTimeZoneChanged {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The IANA name of the time zone from now on.
    pub time_zone: String,
}

/// One event of every type, for golden files and for folds.
#[cfg(test)]
pub(crate) fn samples() -> Vec<Event> {
    let tenant_id = TenantId::from_uuid(uuid::Uuid::from_u128(1));
    let subscription = Subscription { plan: "standard".into(), expires_at: Some("2030-01-01T00:00:00Z".parse().unwrap()) };
    vec![
        TenantRegistered { tenant_id, slug: "acme".into(), name: "Acme".into(), subscription: subscription.clone() }.into(),
        TenantProvisioned { tenant_id }.into(),
        TenantRenamed { tenant_id, slug: "acme-group".into(), name: "Acme Group".into() }.into(),
        SubscriptionChanged { tenant_id, subscription }.into(),
        TenantSuspended { tenant_id, reason: "payment overdue".into() }.into(),
        TenantResumed { tenant_id }.into(),
        TenantClosed { tenant_id, reason: "contract ended".into() }.into(),
        TenantTimeZoneChanged { tenant_id, time_zone: "Europe/Vienna".into() }.into(),
    ]
}
