//! Nobody takes all of a process's places: each tenant, and each address of a stranger, has a share of them; and all strangers
//! together have no more than their part.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many places each of many may hold at once. Cheap to clone; holds only those who have a place.
#[derive(Debug, Clone)]
pub struct Shares<K> {
    each: usize,
    freely: usize,
    at_most: usize,
    held: Arc<Mutex<Held<K>>>,
}

#[derive(Debug)]
struct Held<K> {
    by: HashMap<K, usize>,
    in_all: usize,
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
        Self::lent(each, 0)
    }
    /// So many places for each, at least one; and beyond them as many as are asked for, while fewer than `freely` are held by all
    /// together: what nobody else wants need not stand empty.
    pub fn lent(each: usize, freely: usize) -> Self {
        let held = Arc::new(Mutex::new(Held { by: HashMap::new(), in_all: 0 }));
        Self { each: each.max(1), freely, at_most: usize::MAX, held }
    }
    /// With so many places for all together, at least one.
    #[must_use]
    pub fn bounded(self, at_most: usize) -> Self {
        Self { at_most: at_most.max(1), ..self }
    }
    /// Whether all together hold as many as they may.
    pub fn are_taken(&self) -> bool {
        self.held().in_all >= self.at_most
    }
    /// A place, if one of theirs is free.
    pub fn take(&self, by: K) -> Option<Share<K>> {
        let mut all = self.held();
        if all.in_all >= self.at_most {
            return None;
        }
        let lent = all.in_all < self.freely;
        let held = all.by.entry(by).or_default();
        if *held >= self.each && !lent {
            return None;
        }
        *held += 1;
        all.in_all += 1;
        Some(Share { of: self.clone(), by })
    }
    fn held(&self) -> MutexGuard<'_, Held<K>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut all = self.of.held();
        all.in_all -= 1;
        if let Some(held) = all.by.get_mut(&self.by) {
            *held -= 1;
            if *held == 0 {
                all.by.remove(&self.by);
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
        assert!(shares.held().by.is_empty() && shares.held().in_all == 0, "who holds none is forgotten");
    }

    #[test]
    fn what_nobody_wants_is_lent_until_half_is_taken() {
        let shares = Shares::lent(2, 5);
        let many: Vec<_> = (0..6).map_while(|_| shares.take(1)).collect();
        assert_eq!(many.len(), 5);
        let others: Vec<_> = (0..6).map_while(|_| shares.take(2)).collect();
        assert_eq!(others.len(), 2, "each has its own, whatever others were lent");
        drop(many);
        assert!(shares.take(2).is_some());
    }

    #[test]
    fn all_together_hold_no_more_than_their_part() {
        let shares = Shares::lent(2, 3).bounded(5);
        let held: Vec<_> = (0..9).filter_map(|by| shares.take(by / 2)).collect();
        assert_eq!(held.len(), 5);
        assert!(shares.are_taken() && shares.take(99).is_none(), "nobody has a place of their own beyond it");
        drop(held);
        assert!(shares.take(99).is_some() && !shares.are_taken());
    }
}
