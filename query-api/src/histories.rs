//! Whether a tenant's read model was derived from the log that the event store has (I8).
//!
//! A read model that is ahead of its store, or stands where another event is by now, shows what never happened. So before a tenant's
//! first read, and again whenever there is reason to, the event at its checkpoint is looked up in the log. There is reason where a
//! log's end went back or became another event, which is looked for each second, and where the store was away: it may have come
//! back as another one.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use events::{LogPoint, TenantId, TenantScope};
use platform::{Problem, history::diverged};
use store::{Store, StoreError, TenantHead};

/// How often the ends of the logs are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The tenants whose read models are certain. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Histories(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    certain: Mutex<Certain>,
}

#[derive(Debug, Default)]
struct Certain {
    tenants: HashSet<TenantId>,
    /// How often there was reason to doubt: what was read before the last one says nothing.
    doubts: u64,
}

impl Inner {
    fn certain(&self) -> MutexGuard<'_, Certain> {
        self.certain.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Histories {
    /// Of the logs of this store.
    pub(crate) fn of(store: Store) -> Self {
        let inner = Arc::new(Inner { store, certain: Mutex::default() });
        tokio::spawn(follow(Arc::downgrade(&inner)));
        Self(inner)
    }

    /// Whether a tenant's read model need not be looked at.
    pub(crate) fn is_certain(&self, tenant: TenantId) -> bool {
        self.0.certain().tenants.contains(&tenant)
    }

    /// Looks whether the log has the event that a read model was folded up to. What is certain stays so until there is a reason.
    pub(crate) async fn verify(&self, scope: TenantScope, checkpoint: LogPoint) -> Result<(), Problem> {
        let doubts = self.0.certain().doubts;
        let there = self.0.store.read_log_on(scope, checkpoint, 0).await.map_err(|error| unreadable(&error))?;
        if there.is_none() {
            tracing::error!(target: "audit", tenant = %scope.tenant(), position = %checkpoint.position, "ALERT: the event store does not hold what a read model was folded from; the tenant is refused; see `tenure restored --help`");
            return Err(diverged());
        }
        let mut certain = self.0.certain();
        if certain.doubts == doubts {
            certain.tenants.insert(scope.tenant());
        }
        Ok(())
    }
}

fn unreadable(error: &StoreError) -> Problem {
    tracing::warn!(%error, "the event store can't be asked whether a read model is its own");
    Problem::unavailable("store_unavailable", "the event store is not available just now; try again")
}

/// Looks at the ends of all logs for as long as somebody reads.
async fn follow(histories: Weak<Inner>) {
    let mut before: Option<HashMap<TenantId, TenantHead>> = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(histories) = histories.upgrade() else { return };
        let heads = tokio::time::timeout(PATIENCE, histories.store.heads()).await;
        let Ok(Ok(heads)) = heads else {
            before = None;
            continue;
        };
        let heads: HashMap<TenantId, TenantHead> = heads.into_iter().map(|head| (head.tenant, head)).collect();
        match &before {
            // What came of its absence is not known.
            None => {
                let mut certain = histories.certain();
                certain.doubts += 1;
                certain.tenants.clear();
            }
            Some(before) => {
                let differs = |before: &&TenantHead| heads.get(&before.tenant).is_none_or(|head| !head.may_follow(before.point()));
                for gone in before.values().filter(differs) {
                    let mut certain = histories.certain();
                    certain.doubts += 1;
                    certain.tenants.remove(&gone.tenant);
                }
            }
        }
        before = Some(heads);
    }
}
