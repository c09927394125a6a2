//! Whether the owner of a lease is alive. An owner changes its heartbeat now and then, and is dead once a watcher has seen none
//! change for [`LEASE`] by its own monotonic clock. Nobody believes a time that another machine wrote, or the wall clock, which
//! can be set back.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// How long a heartbeat stands still until its owner is dead. An owner changes it each second.
pub const LEASE: Duration = Duration::from_secs(5);

/// A lease as its row says it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Lease {
    /// Who holds it; nobody once it was given back.
    pub owner: Option<String>,
    /// Grows with every change of owner.
    pub epoch: i64,
    /// Changes for as long as the owner is alive.
    pub heartbeat: i64,
}

/// What a watcher knows of some leases.
#[derive(Debug)]
pub struct Watched<K>(HashMap<K, (Lease, Instant)>);

impl<K> Default for Watched<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash + Copy> Watched<K> {
    /// Takes note of all leases, which were read after `asked`. Those that may be taken: each only as long as its row still says
    /// the same, because the watcher itself may have stood still since it looked.
    pub fn free(&mut self, leases: impl IntoIterator<Item = (K, Lease)>, asked: Instant) -> Vec<(K, Lease)> {
        let now = Instant::now();
        let seen = |(key, lease): (K, Lease)| {
            let since = self.0.get(&key).filter(|(before, _)| *before == lease).map_or(now, |(_, since)| *since);
            (key, (lease, since))
        };
        self.0 = leases.into_iter().map(seen).collect();
        let is_free = |lease: &Lease, since: Instant| lease.owner.is_none() || asked.saturating_duration_since(since) >= LEASE;
        self.0.iter().filter(|(_, (lease, since))| is_free(lease, *since)).map(|(key, (lease, _))| (*key, lease.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_moves_is_alive_and_who_stands_still_is_not() {
        let lease = |owner: &str, heartbeat| Lease { owner: Some(owner.into()), epoch: 1, heartbeat };
        let mut watched = Watched::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(watched.free([(1, lease("a", 1)), (2, lease("b", 1))], start).is_empty(), "nobody is dead at first sight");
        assert!(watched.free([(1, lease("a", 1)), (2, lease("b", 2))], after(4)).is_empty());
        assert_eq!(watched.free([(1, lease("a", 1)), (2, lease("b", 2))], after(6)).len(), 2);
        assert!(watched.free([(1, lease("c", 1)), (2, lease("b", 3))], after(4)).is_empty(), "another owner is new");
        let given_back = Lease { owner: None, epoch: 1, heartbeat: 4 };
        assert_eq!(watched.free([(1, lease("c", 2)), (2, given_back.clone())], after(4)), [(2, given_back)]);
    }
}
