//! Commands about tenants, for operators of the platform's own tenant.

use domain::tenancy::{ChangeSubscription, ChangeTenantTimeZone, CloseTenant, RegisterTenant, RenameTenant, ResumeTenant, SuspendTenant};
use events::TenantId;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app::App, route::route};

/// What the contract says of these routes.
pub(crate) const TAG: &str = "Tenants, for operators";

/// The table of contents.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(register_tenant))
        .routes(routes!(rename_tenant))
        .routes(routes!(change_subscription))
        .routes(routes!(change_time_zone))
        .routes(routes!(suspend_tenant))
        .routes(routes!(resume_tenant))
        .routes(routes!(close_tenant))
}

route! {
    /// Ask for a tenant. It can be used as soon as it is provisioned.
    register_tenant: RegisterTenant at "/v1/tenants" for Operator in "tenancy"
}
route! {
    /// Give a tenant another slug or name.
    rename_tenant: RenameTenant on "tenant_id": TenantId at "/v1/tenants/{id}/name" for Operator in "tenancy"
}
route! {
    /// Change what a tenant subscribed to, or until when.
    change_subscription: ChangeSubscription on "tenant_id": TenantId at "/v1/tenants/{id}/subscription" for Operator in "tenancy"
}
route! {
    /// Change the time zone by which a tenant's lists and reports say what day it is.
    change_time_zone: ChangeTenantTimeZone on "tenant_id": TenantId at "/v1/tenants/{id}/time-zone" for Operator in "tenancy"
}
route! {
    /// Refuse a tenant until it is resumed.
    suspend_tenant: SuspendTenant on "tenant_id": TenantId at "/v1/tenants/{id}/suspension" for Operator in "tenancy"
}
route! {
    /// End a suspension.
    resume_tenant: ResumeTenant on "tenant_id": TenantId at "/v1/tenants/{id}/resumption" for Operator in "tenancy"
}
route! {
    /// Close a tenant for good. Its slug becomes free.
    close_tenant: CloseTenant on "tenant_id": TenantId at "/v1/tenants/{id}/closure" for Operator in "tenancy"
}
