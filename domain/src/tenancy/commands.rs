//! What can be asked of a tenant.

use events::{CommandId, StreamName, TenantId, TenantScope, tenancy::Subscription};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::SLUG;
use crate::{
    ClaimUse, LockUse, Touches,
    command::{chosen, commands},
    text::{Code, Name, Reason, Slug, TimeZoneName},
};

commands! {
    /// A command about a tenant.
    pub enum Command {
        RegisterTenant, RenameTenant, ChangeSubscription, ChangeTenantTimeZone, SuspendTenant, ResumeTenant, CloseTenant; internal ConfirmProvisioned
    }
}

/// Ask for a tenant. It can be used once it is provisioned.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterTenant {
    /// Its id; chosen by the system if absent.
    #[serde(default = "unset", deserialize_with = "chosen")]
    pub tenant_id: TenantId,
    /// Its name in hosts, unique among tenants that are not closed.
    pub slug: Slug,
    /// The organization's name.
    pub name: Name,
    /// What is subscribed to; `standard` if absent.
    #[serde(default)]
    pub plan: Option<Code>,
    /// The instant after which it answers 402; open-ended if absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// The IANA name of the time zone by which its lists and reports say what day it is, such as `Europe/Vienna`; UTC if absent.
    #[serde(default)]
    pub time_zone: Option<TimeZoneName>,
}

/// Give a tenant another slug or name.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameTenant {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The slug from now on; the old one becomes free.
    pub slug: Slug,
    /// The name from now on.
    pub name: Name,
}

/// Change what a tenant subscribed to, or until when.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeSubscription {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The plan from now on.
    pub plan: Code,
    /// The instant after which it answers 402; open-ended if absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

/// Change the time zone by which a tenant's lists and reports say what day it is.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeTenantTimeZone {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The IANA name of the time zone from now on, such as `Europe/Vienna`.
    pub time_zone: TimeZoneName,
}

/// Refuse a tenant until it is resumed.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SuspendTenant {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Why.
    pub reason: Reason,
}

/// End a suspension.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeTenant {
    /// The tenant.
    pub tenant_id: TenantId,
}

/// Close a tenant for good. Its slug becomes free.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseTenant {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Why.
    pub reason: Reason,
}

/// Role, schema and keys exist. Sent by provisioning, never by a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmProvisioned {
    /// The tenant.
    pub tenant_id: TenantId,
}

/// Stands for "not chosen" until [`Command::fill_ids`]; it is the platform's own id, which nobody may register.
const fn unset() -> TenantId {
    TenantId::from_uuid(Uuid::nil())
}

impl Command {
    /// Gives a tenant to be registered an id derived from the command's, unless one was chosen.
    pub fn fill_ids(&mut self, command: CommandId) {
        if let Self::RegisterTenant(c) = self
            && c.tenant_id == unset()
        {
            c.tenant_id = TenantId::from_uuid(Uuid::new_v5(&command.uuid(), b"tenant"));
        }
    }
    /// The stream of the tenant, in the platform's log.
    pub const fn stream(&self, _: TenantScope) -> StreamName {
        StreamName::tenancy(self.tenant_id())
    }
    /// The tenant's id.
    pub fn object_id(&self) -> String {
        self.tenant_id().to_string()
    }
    /// Whether it starts a stream.
    pub const fn creates(&self) -> bool {
        matches!(self, Self::RegisterTenant(_))
    }
    /// Whom it touches.
    pub const fn touches(&self) -> Touches {
        Touches::Tenants
    }
    /// The slug that it takes, and whether one becomes free.
    pub fn claims(&self) -> Vec<ClaimUse> {
        match self {
            Self::RegisterTenant(c) => vec![ClaimUse::takes(&SLUG, c.slug.as_str(), "/slug")],
            Self::RenameTenant(c) => vec![ClaimUse::GivesUp(&SLUG), ClaimUse::takes(&SLUG, c.slug.as_str(), "/slug")],
            Self::CloseTenant(_) => vec![ClaimUse::GivesUp(&SLUG)],
            Self::ChangeSubscription(_)
            | Self::ChangeTenantTimeZone(_)
            | Self::SuspendTenant(_)
            | Self::ResumeTenant(_)
            | Self::ConfirmProvisioned(_) => Vec::new(),
        }
    }
    /// None: one stream decides.
    pub const fn lock(&self) -> Option<LockUse> {
        None
    }
    /// The tenant.
    pub const fn tenant_id(&self) -> TenantId {
        match self {
            Self::RegisterTenant(c) => c.tenant_id,
            Self::RenameTenant(c) => c.tenant_id,
            Self::ChangeSubscription(c) => c.tenant_id,
            Self::ChangeTenantTimeZone(c) => c.tenant_id,
            Self::SuspendTenant(c) => c.tenant_id,
            Self::ResumeTenant(c) => c.tenant_id,
            Self::CloseTenant(c) => c.tenant_id,
            Self::ConfirmProvisioned(c) => c.tenant_id,
        }
    }
}

/// The time zone of a tenant of which nothing is said.
pub(super) const UTC: &str = "UTC";

pub(super) fn subscription(plan: Option<&Code>, expires_at: Option<Timestamp>) -> Subscription {
    Subscription { plan: plan.map_or_else(|| "standard".to_owned(), Code::to_text), expires_at }
}

/// A sample of each, for tests of all commands.
#[cfg(test)]
pub(crate) fn samples() -> Vec<(&'static str, String)> {
    vec![
        ("RegisterTenant", r#"{"slug":"acme","name":"Acme","expires_at":"2030-01-01T00:00:00Z"}"#.into()),
        ("RenameTenant", r#"{"tenant_id":"TENANT","slug":"acme","name":"Acme"}"#.into()),
        ("ChangeSubscription", r#"{"tenant_id":"TENANT","plan":"standard"}"#.into()),
        ("ChangeTenantTimeZone", r#"{"tenant_id":"TENANT","time_zone":"Europe/Vienna"}"#.into()),
        ("SuspendTenant", r#"{"tenant_id":"TENANT","reason":"overdue"}"#.into()),
        ("ResumeTenant", r#"{"tenant_id":"TENANT"}"#.into()),
        ("CloseTenant", r#"{"tenant_id":"TENANT","reason":"ended"}"#.into()),
    ]
}
