//! Locks of a tenant's that a command holds while it is decided, in this process and among all.
//!
//! Where a rule reads other aggregates, two commands may each be right alone and wrong together. The rule says which lock its
//! command needs ([`domain::Command::lock`]); whoever holds it is the only one in the tenant.

use std::time::Duration;

use domain::Lock;
use events::{TenantId, TenantScope};
use platform::{Problem, ScopedTx, database};
use sqlx::PgPool;

use crate::keyed_locks::{KeyedGuard, KeyedLocks};

/// Connections on which locks are held, at most. They are apart from those that the holder of a lock asks for meanwhile: on one
/// pool the holders would wait for each other.
const CONNECTIONS: u32 = 4;
/// How long the database may take, waiting for another process included.
const PATIENCE: Duration = Duration::from_secs(5);

/// The locks of all tenants.
pub(crate) struct TenantLocks {
    pool: PgPool,
    here: KeyedLocks<(TenantId, Lock)>,
}

/// A lock that is held.
pub(crate) struct HeldLock<'t> {
    tx: ScopedTx,
    /// At most one connection of this process waits for a row.
    _here: KeyedGuard<'t, (TenantId, Lock)>,
}

impl HeldLock<'_> {
    /// Lets the next one. Dropped instead, the connection is closed, which does the same later.
    pub(crate) async fn release(self) {
        let _ = tokio::time::timeout(PATIENCE, self.tx.rollback()).await;
    }
}

impl TenantLocks {
    /// On connections of their own to this pool's database.
    pub(crate) fn new(pool: &PgPool) -> Self {
        let pool = database::apart(pool, CONNECTIONS.min(pool.options().get_max_connections()));
        Self { pool, here: KeyedLocks::default() }
    }

    /// Waits for the tenant's lock.
    pub(crate) async fn hold(&self, scope: TenantScope, lock: Lock) -> Result<HeldLock<'_>, Problem> {
        let here = self.here.lock((scope.tenant(), lock)).await;
        let locked = tokio::time::timeout(PATIENCE, async {
            let mut tx = ScopedTx::begin(&self.pool, scope).await?;
            let sql = "insert into platform.turn values ($1, $2) on conflict (tenant_id, what) do update set what = excluded.what";
            sqlx::query(sql).bind(scope.tenant().uuid()).bind(lock.0).execute(tx.conn()).await?;
            Ok(tx)
        });
        let tx = locked.await.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(Problem::from)?;
        Ok(HeldLock { tx, _here: here })
    }
}
