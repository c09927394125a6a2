//! Why a command about a tenant was refused.

/// A rule about tenants said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such tenant.
    #[error("there is no such tenant")]
    NotFound,
    /// The id is taken by a tenant with other particulars.
    #[error("a tenant with this id is registered with other particulars; choose another id or change that tenant")]
    AlreadyRegistered,
    /// The platform's own id.
    #[error("this id is the platform's own; leave tenant_id out")]
    ReservedId,
    /// Closed for good.
    #[error("the tenant is closed for good; register a new one")]
    Closed,
    /// Not provisioned yet.
    #[error("the tenant is not provisioned yet; try again when it is ready, or close it")]
    NotReady,
}

impl Refusal {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyRegistered => "already_registered",
            Self::ReservedId => "reserved_id",
            Self::Closed => "tenant_closed",
            Self::NotReady => "tenant_not_ready",
        }
    }
    /// JSON Pointer to the field at fault.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::AlreadyRegistered | Self::ReservedId => Some("/tenant_id"),
            Self::NotFound | Self::Closed | Self::NotReady => None,
        }
    }
}
