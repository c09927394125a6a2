//! Nobody takes all of a process's places: each tenant, and each address of a stranger, has a share of them.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many places each of many may hold at once. Cheap to clone; holds only those who have a place.
#[derive(Debug, Clone)]
pub struct Shares<K> {
    each: usize,
    held: Arc<Mutex<HashMap<K, usize>>>,
}

/// A place that is held until this is dropped.
#[derive(Debug)]
pub struct Share<K: Copy + Eq + Hash> {
    of: Shares<K>,
    by: K,
}

impl<K: Copy + Eq + Hash> Shares<K> {
    /// So many places for each, at least one.
    pub fn new(each: usize) -> Self {
        Self { each: each.max(1), held: Arc::default() }
    }
    /// A place, if one of theirs is free.
    pub fn take(&self, by: K) -> Option<Share<K>> {
        let mut all = self.held();
        let held = all.entry(by).or_default();
        if *held >= self.each {
            return None;
        }
        *held += 1;
        Some(Share { of: self.clone(), by })
    }
    fn held(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut all = self.of.held();
        if let Some(held) = all.get_mut(&self.by) {
            *held -= 1;
            if *held == 0 {
                all.remove(&self.by);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_each_ones_own_and_comes_back() {
        let shares = Shares::new(2);
        let (first, second) = (shares.take(1), shares.take(1));
        assert!(first.is_some() && second.is_some() && shares.take(1).is_none());
        assert!(shares.take(2).is_some(), "another has places of its own");
        drop(first);
        assert!(shares.take(1).is_some());
        drop(second);
        assert!(shares.held().is_empty(), "who holds none is forgotten");
    }
}
