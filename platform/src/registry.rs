//! The tenants, folded in memory from the platform's own log. Every service follows it; nobody keeps a copy to edit.

use std::sync::Arc;

use events::{Position, RecordedEvent, TenantId, TenantScope, tenancy::Subscription};
use futures::future::BoxFuture;

/// Reads the platform tenant's log after a position; handed in by the service, which has the store.
pub type LogReader = Arc<dyn Fn(Position, usize) -> BoxFuture<'static, anyhow::Result<Vec<RecordedEvent>>> + Send + Sync>;

/// Where a tenant stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantState {
    /// Asked for, not yet provisioned: 503 `tenant_not_ready`.
    Registered,
    /// Usable.
    Ready,
    /// Refused by an operator: 403 `tenant_suspended`.
    Suspended,
    /// Gone for good: 404 `tenant_not_found`.
    Closed,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its slug.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: TenantState,
    /// What it subscribed to.
    pub subscription: Subscription,
}

/// All tenants. Cheap to clone.
#[derive(Clone)]
pub struct Registry;

impl Registry {
    /// Loads the registry and keeps following the log (every second, and at once on [`Registry::refresh`]).
    pub async fn start(_reader: LogReader) -> anyhow::Result<Self> {
        todo!()
    }
    /// Reads what is new now; at most a few times a second, whoever asks.
    pub async fn refresh(&self) -> anyhow::Result<()> {
        todo!()
    }
    /// The tenant with this id, of any state. The platform itself is [`TenantId::PLATFORM`], slug `platform`.
    pub fn by_id(&self, _id: TenantId) -> Option<Arc<Tenant>> {
        todo!()
    }
    /// The tenant with this slug, of any state but closed.
    pub fn by_slug(&self, _slug: &str) -> Option<Arc<Tenant>> {
        todo!()
    }
    /// All of them, by slug.
    pub fn all(&self) -> Vec<Arc<Tenant>> {
        todo!()
    }
    /// How far the log was read.
    pub fn position(&self) -> Position {
        todo!()
    }
    /// The platform's scope, for reading its log.
    pub const fn platform_scope() -> TenantScope {
        TenantScope::checked(TenantId::PLATFORM)
    }
}
