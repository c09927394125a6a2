//! Tenants in the store that the registry does not know. What comes of theirs is left alone until they are registered: no role, no
//! key and no schema is asked for.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use events::TenantId;
use platform::Registry;
use store::{TenantHead, foreign::Foreign};

/// How often it is looked whether tenants were registered meanwhile, which the registry notices by itself, too.
const LOOK: Duration = Duration::from_secs(10);

/// Who is not known.
pub(crate) struct Unknown {
    registry: Registry,
    looked: Mutex<Option<Instant>>,
    known_to_be: Mutex<(HashSet<TenantId>, Foreign)>,
}

impl Unknown {
    pub(crate) fn to(registry: Registry) -> Self {
        Self { registry, looked: Mutex::default(), known_to_be: Mutex::default() }
    }

    /// Whether the registry does not know a tenant, also after a look at the platform's log.
    pub(crate) async fn has(&self, tenant: TenantId) -> bool {
        if self.registry.by_id(tenant).is_some() {
            return false;
        }
        let known_to_be = lock(&self.known_to_be).0.contains(&tenant);
        if !known_to_be {
            self.look().await;
        }
        self.registry.by_id(tenant).is_none()
    }

    /// Says how many of these logs' tenants the registry does not know.
    pub(crate) async fn among(&self, heads: &[TenantHead]) {
        let unknown = || heads.iter().map(|head| head.tenant).filter(|tenant| self.registry.by_id(*tenant).is_none());
        let is_new = {
            let known_to_be = lock(&self.known_to_be);
            unknown().any(|tenant| !known_to_be.0.contains(&tenant))
        };
        // Who is new and can't be looked up now is said of at the next look.
        if is_new && !self.look().await {
            return;
        }
        let unknown: HashSet<TenantId> = unknown().collect();
        let mut known_to_be = lock(&self.known_to_be);
        known_to_be.1.note(unknown.len());
        known_to_be.0 = unknown;
    }

    /// Reads what is new in the platform's log, unless that was done just now.
    async fn look(&self) -> bool {
        {
            let mut looked = lock(&self.looked);
            if looked.is_some_and(|looked| looked.elapsed() < LOOK) {
                return false;
            }
            *looked = Some(Instant::now());
        }
        match self.registry.refresh().await {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(error = format!("{error:#}"), "whether tenants were registered meanwhile is not known");
                false
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
