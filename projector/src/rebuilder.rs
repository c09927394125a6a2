//! A read model that is far behind its log is rebuilt instead of caught up with: the whole log is folded, but several times
//! as fast as batch after batch. So it is after a restore without read models, an import, or a long time away.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use events::{Position, TenantId, TenantScope};
use platform::{
    ScopedTx, database,
    job::{Kind, Ticket},
};

use crate::{
    apply::{Applier, ApplyError, within},
    rebuild::{RebuildError, Report, rebuild},
};

/// Events that a read model is behind by at least when it is rebuilt. With fewer, a rebuild's own steps take longest.
pub const FAR_BEHIND: u64 = 20_000;
/// And at least this part of its log: a rebuild folds all of it.
const ONE_IN: u64 = 4;
/// A rebuild's own connections for writing; its readers have theirs, too.
const CONNECTIONS: u32 = 4;
/// Rebuilds of a tenant that may begin within an hour, whoever began them: who loses its partition again and again starts
/// over each time, and batches keep what they have done.
const MOST_BEGUN: i64 = 20;
/// How long a tenant is only caught up with after a rebuild of it failed, or was somebody else's.
const AFTER_FAILURE: Duration = Duration::from_mins(5);
/// How often it is asked whether batches are fast enough.
const LOOK_AGAIN: Duration = Duration::from_secs(3);
/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Rebuilds one tenant after the other.
pub struct Rebuilder {
    applier: Applier,
    far_behind: u64,
    one_at_a_time: tokio::sync::Mutex<()>,
    /// Events that the rebuild which is running has folded.
    folded: Mutex<Option<u64>>,
    failed: Mutex<HashMap<TenantId, Instant>>,
}

/// What [`Rebuilder::run`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Whatever is still missing is to be caught up with.
    Done,
    /// Another tenant of this process is being rebuilt.
    Later,
}

impl Rebuilder {
    /// For read models that are so many events behind.
    pub fn new(applier: Applier, far_behind: u64) -> Self {
        Self { applier, far_behind, one_at_a_time: tokio::sync::Mutex::default(), folded: Mutex::default(), failed: Mutex::default() }
    }

    /// Whether a tenant's read model is far behind its log.
    pub async fn is_far_behind(&self, scope: TenantScope) -> Result<bool, ApplyError> {
        let at = self.applier.standing(scope).await?;
        let head = within(PATIENCE, async { Ok(self.applier.store.head(scope).await?) }).await?;
        Ok(self.is_far(at, head))
    }

    /// Whether it is far from one position to the end of a log.
    pub fn is_far(&self, at: Position, head: Position) -> bool {
        let behind = head.0.saturating_sub(at.0);
        // With EventStoreDB a rebuild holds all of its state in memory (see `rebuild`): nobody starts that unasked.
        self.applier.store.is_dense() && behind >= self.far_behind && behind >= head.0 / ONE_IN
    }

    /// Rebuilds a tenant's read model if it is far behind. What fails is logged, and does not keep from catching up.
    pub async fn run(&self, scope: TenantScope) -> Turn {
        match self.is_to_be_rebuilt(scope).await {
            Ok(true) => {}
            Ok(false) => return Turn::Done,
            Err(error) => {
                tracing::debug!(%error, "how far behind a tenant is is not known");
                return Turn::Done;
            }
        }
        let Ok(_one) = self.one_at_a_time.try_lock() else { return Turn::Later };
        let tenant = scope.tenant();
        tracing::info!(%tenant, "a read model is far behind its log; it is rebuilt");
        let pool = database::apart(&self.applier.pool, CONNECTIONS);
        let rebuilt = self.rebuild(self.applier.over(pool.clone()), scope).await;
        let _ = tokio::time::timeout(PATIENCE, pool.close()).await; // They end by themselves, a little later.
        match rebuilt {
            Ok(Report { events, seconds, .. }) => {
                metrics::counter!("tenure_projector_rebuilds_total").increment(1);
                tracing::info!(%tenant, events, seconds, "the read model is rebuilt");
            }
            Err(error) => {
                // Somebody else's rebuild is among these, too.
                tracing::warn!(%tenant, %error, "the read model is not rebuilt; it catches up batch by batch");
                lock(&self.failed).insert(tenant, Instant::now());
            }
        }
        Turn::Done
    }

    /// Waits until a read model that is being caught up with is to be rebuilt after all: an import may be faster than batches.
    pub async fn until_far_behind(&self, scope: TenantScope) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            if matches!(self.is_to_be_rebuilt(scope).await, Ok(true)) {
                return;
            }
        }
    }

    async fn is_to_be_rebuilt(&self, scope: TenantScope) -> Result<bool, ApplyError> {
        let failed = {
            let mut failed = lock(&self.failed);
            failed.retain(|_, at| at.elapsed() < AFTER_FAILURE);
            failed.contains_key(&scope.tenant())
        };
        Ok(!failed && self.is_far_behind(scope).await? && self.begun(scope).await? < MOST_BEGUN)
    }

    async fn begun(&self, scope: TenantScope) -> Result<i64, ApplyError> {
        within(PATIENCE, async {
            let mut tx = ScopedTx::begin(&self.applier.pool, scope).await?;
            let sql = "select count(*) from platform.job where tenant_id = $1 and begun_at > now() - interval '1 hour'";
            let begun = sqlx::query_scalar(sql).bind(scope.tenant().uuid()).fetch_one(tx.conn()).await?;
            tx.commit().await?;
            Ok(begun)
        })
        .await
    }

    async fn rebuild(&self, applier: Applier, scope: TenantScope) -> Result<Report, RebuildError> {
        // Whoever calls holds the tenant's partition, which is the right to its read model.
        let ticket = Ticket::issue(&applier.keys, scope, Kind::RebuildReadModel, "system:projector")?;
        let _running = Running::start(&self.folded);
        rebuild(&applier, &ticket, |progress| *lock(&self.folded) = Some(progress.folded)).await
    }

    /// How many events the rebuild that is running has folded.
    pub fn folded(&self) -> Option<u64> {
        *lock(&self.folded)
    }
}

/// A rebuild that runs until this is dropped, also where it is given up.
struct Running<'f>(&'f Mutex<Option<u64>>);

impl<'f> Running<'f> {
    fn start(folded: &'f Mutex<Option<u64>>) -> Self {
        *lock(folded) = Some(0);
        Self(folded)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        *lock(self.0) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
