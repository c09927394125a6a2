//! When what failed for a tenant is tried again: later each time, so that what can't succeed costs nothing that anybody notices.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use events::TenantId;

/// The first pause; each is twice the one before.
const FIRST: Duration = Duration::from_secs(1);

/// Tenants for whom something failed.
#[derive(Debug, Default)]
pub struct Backoff(HashMap<TenantId, (u32, Instant)>);

impl Backoff {
    /// Whether a tenant is to be tried.
    pub fn is_due(&self, tenant: TenantId) -> bool {
        self.0.get(&tenant).is_none_or(|(_, due)| Instant::now() >= *due)
    }

    /// Takes note of a failure. How long the tenant is left alone, `longest` at most: half of the pause at least, the rest by chance.
    pub fn failed(&mut self, tenant: TenantId, longest: Duration) -> Duration {
        let (failures, due) = self.0.entry(tenant).or_insert((0, Instant::now()));
        let pause = FIRST.saturating_mul(2_u32.saturating_pow(*failures)).min(longest);
        let pause = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        (*failures, *due) = (failures.saturating_add(1), Instant::now() + pause);
        pause
    }

    /// Takes note that it succeeded.
    pub fn succeeded(&mut self, tenant: TenantId) {
        self.0.remove(&tenant);
    }

    /// How many fail.
    pub fn failing(&self) -> usize {
        self.0.len()
    }

    /// Forgets those that need not be tried any more.
    pub fn retain(&mut self, is_to_be_tried: impl Fn(TenantId) -> bool) {
        self.0.retain(|tenant, _| is_to_be_tried(*tenant));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_end_with_a_success() {
        let tenant = TenantId::from_uuid(uuid::Uuid::now_v7());
        let longest = Duration::from_secs(5);
        let mut backoff = Backoff::default();
        assert!(backoff.is_due(tenant));
        for pause in [1, 2, 4, 5, 5, 5].map(Duration::from_secs) {
            let drawn = backoff.failed(tenant, longest);
            assert!(pause / 2 <= drawn && drawn <= pause, "{drawn:?} of {pause:?}");
            assert!(!backoff.is_due(tenant));
        }
        for _ in 0..100 {
            backoff.failed(tenant, longest);
        }
        assert_eq!(backoff.failing(), 1);
        backoff.succeeded(tenant);
        assert!(backoff.is_due(tenant) && backoff.failing() == 0);
        assert!(backoff.failed(tenant, longest) <= FIRST);
        backoff.retain(|_| false);
        assert!(backoff.is_due(tenant));
    }
}
