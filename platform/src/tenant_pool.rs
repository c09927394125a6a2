//! Connections for tenant transactions, each given to who knows it.

use std::sync::Arc;

use events::TenantScope;
use sqlx::{PgConnection, PgPool};

use crate::{
    Access, TenantTx,
    connection_queue::{ConnectionQueue, ConnectionTurn},
    database,
};

/// A bounded number of connections that tenants' transactions take turns on. Clones share them.
#[derive(Debug, Clone)]
pub struct TenantPool {
    /// Each of one connection, by the number that a turn says.
    connections: Arc<[PgPool]>,
    queue: ConnectionQueue,
}

impl TenantPool {
    /// So many connections, at least one, to another pool's database, whose users they are not taken from. Each connects when it
    /// is first needed.
    pub fn apart(pool: &PgPool, connections: u32) -> Self {
        Self::of((0..connections.max(1)).map(|_| database::apart(pool, 1)))
    }
    /// Of these pools, each of which should be of one connection: which tenant has which is decided here.
    pub fn of(connections: impl IntoIterator<Item = PgPool>) -> Self {
        let connections: Arc<[_]> = connections.into_iter().collect();
        let queue = ConnectionQueue::of(connections.len());
        Self { connections, queue }
    }
    /// So many connections to the same database, which are not taken from these.
    #[must_use]
    pub fn beside(&self, connections: u32) -> Self {
        Self::apart(&self.connections[0], connections)
    }
    /// Begins a transaction, as [`TenantTx::begin`] does, once it is the tenant's turn.
    pub async fn begin(&self, scope: TenantScope, schema: &str, access: Access) -> Result<TurnTx, NotBegun> {
        let turn = self.queue.take(scope.tenant()).await.ok_or(NotBegun::NoTurn)?;
        let tx = TenantTx::begin(&self.connections[turn.connection()], scope, schema, access).await?;
        Ok(TurnTx { tx, turn })
    }
}

/// Why there is no transaction.
#[derive(Debug, thiserror::Error)]
pub enum NotBegun {
    /// The tenant's turn did not come in time.
    #[error("the transactions before this one take too long")]
    NoTurn,
    /// It could not be begun.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// To who waits for a connection it is all the same why there is none.
impl From<NotBegun> for sqlx::Error {
    fn from(error: NotBegun) -> Self {
        match error {
            NotBegun::NoTurn => Self::PoolTimedOut,
            NotBegun::Database(error) => error,
        }
    }
}

/// A [`TenantTx`] in one of the tenant's turns, which is over when the connection is given back, not before.
pub struct TurnTx {
    tx: TenantTx,
    turn: ConnectionTurn,
}

impl TurnTx {
    /// The connection, for queries.
    pub fn conn(&mut self) -> &mut PgConnection {
        self.tx.conn()
    }
    /// Whether the tenant comes to this connection so often that what its statements need is worth keeping.
    pub fn is_well_known(&self) -> bool {
        self.turn.is_well_known()
    }
    /// See [`TenantTx::commit`].
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.tx.commit().await
    }
    /// See [`TenantTx::rollback`].
    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        self.tx.rollback().await
    }
    /// Ends a transaction that only read, while the caller goes on with what it read. If that fails, the connection is closed.
    pub fn end(self) {
        tokio::spawn(self.rollback());
    }
}
