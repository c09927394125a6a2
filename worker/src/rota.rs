//! Whose turn it is. Tenants take turns in the order in which they were rung for, one turn at a time each, so that one with much to
//! do keeps nobody waiting for longer than a turn.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
};

/// Who waits for a turn, and whose turn it is.
#[derive(Debug)]
pub struct Rota<K> {
    waiting: VecDeque<K>,
    listed: HashSet<K>,
    /// Those at work, each with whether somebody rang meanwhile.
    working: HashMap<K, bool>,
}

impl<K> Default for Rota<K> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), listed: HashSet::new(), working: HashMap::new() }
    }
}

impl<K: Copy + Eq + Hash> Rota<K> {
    /// There may be something to do for a tenant: after its present turn, if it has one.
    pub fn ring(&mut self, tenant: K) {
        if let Some(again) = self.working.get_mut(&tenant) {
            *again = true;
        } else if self.listed.insert(tenant) {
            self.waiting.push_back(tenant);
        }
    }
    /// Begins the next turn, if fewer than `most` are under way.
    pub fn begin(&mut self, most: usize) -> Option<K> {
        if self.working.len() >= most {
            return None;
        }
        let tenant = self.waiting.pop_front()?;
        self.listed.remove(&tenant);
        self.working.insert(tenant, false);
        Some(tenant)
    }
    /// Ends a turn. A tenant with more to do, or for whom somebody rang meanwhile, waits behind all others.
    pub fn end(&mut self, tenant: K, more: bool) {
        let rung = self.working.remove(&tenant).unwrap_or(false);
        if more || rung {
            self.ring(tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_with_much_to_do_keeps_nobody_waiting() {
        let mut rota = Rota::default();
        for tenant in [1, 2, 1, 3] {
            rota.ring(tenant);
        }
        let mut turns = Vec::new();
        for _ in 0..6 {
            let tenant = rota.begin(1).unwrap();
            turns.push(tenant);
            assert_eq!(rota.begin(1), None, "as many as may are at work");
            rota.end(tenant, tenant == 1);
        }
        assert_eq!(turns, [1, 2, 3, 1, 1, 1]);
    }

    #[test]
    fn a_tenant_has_one_turn_at_a_time_and_no_ring_is_lost() {
        let mut rota = Rota::default();
        rota.ring(1);
        assert_eq!(rota.begin(4), Some(1));
        rota.ring(1);
        rota.ring(1);
        assert_eq!(rota.begin(4), None, "it has its turn");
        rota.end(1, false);
        assert_eq!((rota.begin(4), rota.begin(4)), (Some(1), None), "two rings are one");
        rota.end(1, false);
        assert_eq!(rota.begin(4), None);
    }
}
