//! No tenant can take all of a process for itself.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use events::TenantId;

/// A token bucket per tenant (as GCRA: only the instant is kept at which the bucket would be full again). Bounded by the
/// number of tenants.
pub(super) struct Flood {
    per_request: Duration,
    burst: Duration,
    full_at: Mutex<HashMap<TenantId, Instant>>,
}

impl Flood {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_request: Duration::from_secs(1) / per_second.max(1), burst: Duration::from_secs(2), full_at: Mutex::default() }
    }
    /// Takes a request's place; the error is how long to wait for one.
    pub(super) fn admit(&self, tenant: TenantId) -> Result<(), Duration> {
        let now = Instant::now();
        let mut all = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = all.entry(tenant).or_insert(now);
        let next = (*full_at).max(now) + self.per_request;
        match (next - now).checked_sub(self.burst) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                *full_at = next;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_takes_its_own_places_only() {
        let (flood, tenant) = (Flood::new(10), |n| TenantId::from_uuid(uuid::Uuid::from_u128(n)));
        let admitted = (0..100).filter(|_| flood.admit(tenant(1)).is_ok()).count();
        assert!((20..30).contains(&admitted), "{admitted}");
        assert!(flood.admit(tenant(1)).unwrap_err() <= Duration::from_secs(1));
        assert!(flood.admit(tenant(2)).is_ok());
    }
}
