//! The tenant transaction: the only way to a tenant's read model.

use events::TenantScope;
use sqlx::{PgConnection, PgPool};

/// What the transaction may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Under role `t_{namespace}`, read only.
    Read,
    /// Under role `w_{namespace}`; the projector only.
    Write,
}

/// A transaction under one tenant's own role, with `search_path` set to one of its schemas.
///
/// Cancellation-safe: a connection whose transaction did not end in [`TenantTx::commit`] or [`TenantTx::rollback`]
/// is closed, never handed back to the pool, because sqlx would hand it on in the tenant's role.
pub struct TenantTx;

impl TenantTx {
    /// Begins; `schema` must be one of the tenant's ([`crate::read_schema`]).
    pub async fn begin(_pool: &PgPool, _scope: TenantScope, _schema: &str, _access: Access) -> Result<Self, sqlx::Error> {
        todo!()
    }
    /// The connection, for queries.
    pub fn conn(&mut self) -> &mut PgConnection {
        todo!()
    }
    /// Ends the transaction and hands the connection back.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        todo!()
    }
    /// Undoes the transaction and hands the connection back.
    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        todo!()
    }
}
