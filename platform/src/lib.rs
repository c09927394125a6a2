//! What every service shares: config, tenants, tokens, the tenant transaction, keys, problems, telemetry, health.

pub mod access;
pub mod auth;
pub mod build;
pub mod config;
mod connection_queue;
mod connections;
pub mod contract;
pub mod cursor_key;
pub mod database;
pub mod declared;
pub mod health;
pub mod history;
pub mod http;
pub mod job;
pub mod keys;
pub mod mail;
pub mod page;
pub mod problem;
pub mod provision;
pub mod queue;
pub mod read_model;
pub mod registry;
pub mod release;
pub mod request;
pub mod search;
mod strangers;
pub mod telemetry;
pub mod tenant_pool;
pub mod tenant_tx;
pub mod tls;
pub mod today;

pub use auth::{Actor, Anyone, AuditReader, Editor, Gate, Operator, Reader, RoleAdmin, UserAdmin};
pub use config::{Config, Process};
pub use connections::ConnectionLimits;
pub use keys::Keys;
pub use problem::{FieldProblem, Problem};
pub use registry::{Registry, Tenant, TenantState};
pub use release::Release;
pub use strangers::Strangers;
pub use tenant_pool::{NotBegun, TenantPool, TurnTx};
pub use tenant_tx::{Access, ScopedTx, TenantTx};
pub use today::TenantClock;

/// The version of the read models that this build writes and reads: the `r` in `t_{namespace}_r{version}`.
pub const READ_MODEL_VERSION: u32 = 4;

/// The schema that holds a tenant's read model of a version.
pub fn read_schema(tenant: events::TenantId, version: u32) -> String {
    format!("t_{tenant}_r{version}")
}
