//! Nobody's reads keep the others waiting: of the connections one tenant holds some at once, and what it asks beyond that
//! waits behind its own, not before everybody else's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use events::TenantId;
use platform::Problem;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// How long a read waits for its turn, as long as one waits for a free connection.
const LONGEST: Duration = Duration::from_secs(5);
/// So many tenants are remembered before those without a read are forgotten.
const REMEMBERED: usize = 64;

/// The turns of every tenant that reads.
#[derive(Debug)]
pub(crate) struct Turns {
    each: usize,
    tenants: Mutex<HashMap<TenantId, Arc<Semaphore>>>,
}

/// A turn, until it is dropped.
pub(crate) struct Turn(#[expect(dead_code, reason = "held, and given back when dropped")] OwnedSemaphorePermit);

impl Turns {
    /// Of so many connections a quarter, but one at least, is left to others; a single one is for all.
    pub(crate) fn of(connections: u32) -> Self {
        let left = (connections / 4).max(1);
        let each = usize::try_from(connections.saturating_sub(left)).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        Self { each, tenants: Mutex::default() }
    }

    /// Waits for a turn of this tenant's. 503 `overloaded` if those before it take too long.
    pub(crate) async fn take(&self, tenant: TenantId) -> Result<Turn, Problem> {
        let turn = timeout(LONGEST, self.of_tenant(tenant).acquire_owned()).await;
        let too_late = || Problem::unavailable("overloaded", "your organization's reads before this one take too long; try again shortly");
        turn.ok().and_then(Result::ok).map(Turn).ok_or_else(too_late)
    }

    fn of_tenant(&self, tenant: TenantId) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if tenants.len() >= REMEMBERED && !tenants.contains_key(&tenant) {
            // A turn and whoever waits for one hold the semaphore too.
            tenants.retain(|_, turns| Arc::strong_count(turns) > 1);
        }
        tenants.entry(tenant).or_insert_with(|| Arc::new(Semaphore::new(self.each))).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(n: u128) -> TenantId {
        TenantId::from_uuid(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn some_connections_are_left_to_others() {
        let each = |connections| Turns::of(connections).each;
        assert_eq!([1, 2, 4, 8, 16, 1000].map(each), [1, 1, 3, 6, 12, 750]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_waits_for_its_own() {
        let turns = Turns::of(4);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(turns.take(tenant(1)).await.unwrap());
        }
        assert_eq!(turns.take(tenant(1)).await.err().map(|problem| problem.code), Some("overloaded"));
        assert!(turns.take(tenant(2)).await.is_ok());
        let (next, ()) = tokio::join!(turns.take(tenant(1)), async { drop(held.pop()) });
        assert!(next.is_ok());
    }

    #[tokio::test]
    async fn who_reads_nothing_is_forgotten() {
        let turns = Turns::of(4);
        let held = turns.take(tenant(0)).await.unwrap();
        for n in 1..1_000 {
            turns.take(tenant(n)).await.unwrap();
        }
        let remembered = turns.tenants.lock().unwrap().len();
        assert!(remembered <= REMEMBERED && turns.tenants.lock().unwrap().contains_key(&tenant(0)), "{remembered}");
        drop(held);
    }
}
