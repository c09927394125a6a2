//! A read model that is far behind its log is rebuilt instead of caught up with: the whole log is folded, but several times
//! as fast as batch after batch. So it is after a restore without read models, an import, or a long time away.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use events::{Position, TenantId, TenantScope};
use platform::{
    database,
    job::{Kind, Ticket},
};

use crate::{
    apply::{Applier, ApplyError},
    batch::is_missing,
    rebuild::{RebuildError, Report, rebuild},
};

/// Events that a read model is behind by at least when it is rebuilt. With fewer, a rebuild's own steps take longest.
pub const FAR_BEHIND: u64 = 20_000;
/// And at least this part of its log: a rebuild folds all of it, some eight times as fast.
const ONE_IN: u64 = 4;
/// Connections of a rebuild's own: it keeps leases and live events from none of theirs.
const CONNECTIONS: u32 = 4;

/// Rebuilds one tenant after the other.
pub struct Rebuilder {
    applier: Applier,
    far_behind: u64,
    one_at_a_time: tokio::sync::Mutex<()>,
    /// What is being rebuilt, and how many events it has folded.
    running: Mutex<Option<(TenantId, u64)>>,
    /// Whose rebuild failed: they are caught up with, which says what is wrong.
    failed: Mutex<HashSet<TenantId>>,
}

impl Rebuilder {
    /// For read models that are so many events behind.
    pub fn new(applier: Applier, far_behind: u64) -> Self {
        Self { applier, far_behind, one_at_a_time: tokio::sync::Mutex::default(), running: Mutex::default(), failed: Mutex::default() }
    }

    /// Whether a tenant's read model is to be rebuilt.
    pub async fn is_far_behind(&self, scope: TenantScope) -> bool {
        if lock(&self.failed).contains(&scope.tenant()) {
            return false;
        }
        self.measure(scope).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "how far behind a tenant is is not known");
            false
        })
    }

    async fn measure(&self, scope: TenantScope) -> Result<bool, ApplyError> {
        let at = match self.applier.checkpoint(scope).await {
            Err(ApplyError::Database(error)) if is_missing(&error) => Position::ZERO,
            at => at?,
        };
        Ok(self.is_far(at, self.applier.store.head(scope).await?))
    }

    /// Whether it is far from one position to the end of a log.
    pub fn is_far(&self, at: Position, head: Position) -> bool {
        let behind = head.0.saturating_sub(at.0);
        // With EventStoreDB a rebuild holds all of its state in memory (see `rebuild`): nobody starts that unasked.
        self.applier.store.is_dense() && behind >= self.far_behind && behind >= head.0 / ONE_IN
    }

    /// Rebuilds a tenant's read model if it is far behind. False if somebody else's, or by somebody else, is being rebuilt: it
    /// is soon to be asked for again. What fails is logged, and does not keep from catching up.
    pub async fn run(&self, scope: TenantScope) -> bool {
        if !self.is_far_behind(scope).await {
            return true;
        }
        let Ok(_one) = self.one_at_a_time.try_lock() else { return false };
        let tenant = scope.tenant();
        tracing::info!(%tenant, "a read model is far behind its log; it is rebuilt");
        let pool = database::apart(&self.applier.pool, CONNECTIONS);
        let rebuilt = self.rebuild(self.applier.over(pool.clone()), scope).await;
        *lock(&self.running) = None;
        pool.close().await;
        match rebuilt {
            Ok(Report { events, seconds, .. }) => {
                metrics::counter!("tenure_projector_rebuilds_total").increment(1);
                tracing::info!(%tenant, events, seconds, "the read model is rebuilt");
                true
            }
            Err(RebuildError::Running) => false,
            Err(error) => {
                tracing::warn!(%tenant, %error, "the read model can't be rebuilt; it catches up batch by batch");
                lock(&self.failed).insert(tenant);
                true
            }
        }
    }

    async fn rebuild(&self, applier: Applier, scope: TenantScope) -> Result<Report, RebuildError> {
        // Whoever calls holds the tenant's partition, which is the right to its read model.
        let ticket = Ticket::issue(&applier.keys, scope, Kind::RebuildReadModel, "system:projector")?;
        rebuild(&applier, &ticket, |progress| *lock(&self.running) = Some((scope.tenant(), progress.folded))).await
    }

    /// How many events a rebuild of the tenant has folded, if one is running.
    pub fn folded(&self, tenant: TenantId) -> Option<u64> {
        lock(&self.running).and_then(|(running, folded)| (running == tenant).then_some(folded))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
