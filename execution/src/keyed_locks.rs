//! Locks by key: at most one holder per key in this process, first come first served.
//!
//! Nothing rests on it for truth; the store's expected versions and command ids do that between processes. It keeps
//! writers of one stream from deciding against each other, and a retry from overtaking its first attempt.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OwnedMutexGuard;

type Lock = Arc<tokio::sync::Mutex<()>>;

/// The keys in use.
pub(crate) struct KeyedLocks<K: Eq + Hash>(Mutex<HashMap<K, Lock>>);

/// A key's holder, or one who waits; leaves nothing behind when dropped.
pub(crate) struct KeyedGuard<'t, K: Eq + Hash> {
    of: &'t KeyedLocks<K>,
    key: K,
    lock: Option<Lock>,
    guard: Option<OwnedMutexGuard<()>>,
}

impl<K: Eq + Hash> Default for KeyedLocks<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Copy> KeyedLocks<K> {
    /// Waits for the key.
    pub(crate) async fn lock(&self, key: K) -> KeyedGuard<'_, K> {
        let lock = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone();
        let mut held = KeyedGuard { of: self, key, lock: Some(lock.clone()), guard: None };
        held.guard = Some(lock.lock_owned().await);
        held
    }
}

impl<K: Eq + Hash> Drop for KeyedGuard<'_, K> {
    fn drop(&mut self) {
        drop(self.guard.take());
        let mut locks = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.lock.take());
        // Clones are made under the map's lock, so one that only the map holds has no waiter.
        if locks.get(&self.key).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_per_key_in_order_and_nothing_left_behind() {
        let all = Arc::new(KeyedLocks::default());
        let order = Arc::new(Mutex::new(Vec::new()));
        let held = all.lock(1).await;
        let waiting: Vec<_> = (0..5)
            .map(|n| {
                let (all, order) = (all.clone(), order.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(n)).await;
                    let _held = all.lock(1).await;
                    order.lock().unwrap().push(n);
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(all.lock(2).await); // another key is free
        waiting[2].abort(); // one who gives up
        assert!(order.lock().unwrap().is_empty());
        drop(held);
        for task in waiting {
            let _ = task.await;
        }
        assert_eq!(*order.lock().unwrap(), [0, 1, 3, 4]);
        assert!(all.0.lock().unwrap().is_empty());
    }
}
