//! A semaphore among holders: a permit that gets free goes to whoever holds the fewest, and nobody holds all of them.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// A bounded number of permits. Clones share them.
#[derive(Debug)]
pub struct FairSemaphore<K: Copy + Eq + Hash> {
    /// So many one holds at most.
    each: usize,
    state: Arc<Mutex<State<K>>>,
}

#[derive(Debug)]
struct State<K: Copy + Eq + Hash> {
    free: usize,
    /// How many each holds, of those that hold any.
    held: HashMap<K, usize>,
    /// Those that wait, each with its own in the order in which they came; who was served last stands last.
    waiting: Vec<(K, VecDeque<oneshot::Sender<FairPermit<K>>>)>,
}

/// A permit, until it is dropped.
#[derive(Debug)]
pub struct FairPermit<K: Copy + Eq + Hash> {
    of: FairSemaphore<K>,
    by: K,
}

impl<K: Copy + Eq + Hash> Clone for FairSemaphore<K> {
    fn clone(&self) -> Self {
        Self { each: self.each, state: self.state.clone() }
    }
}

impl<K: Copy + Eq + Hash> FairSemaphore<K> {
    /// So many permits, of which a quarter, but one at least, is left to others; a single one is for all.
    pub fn of(permits: usize) -> Self {
        let state = State { free: permits, held: HashMap::new(), waiting: Vec::new() };
        Self { each: permits.saturating_sub((permits / 4).max(1)).max(1), state: Arc::new(Mutex::new(state)) }
    }

    /// Waits for a permit.
    pub async fn take(&self, by: K) -> FairPermit<K> {
        loop {
            let receiver = {
                let mut state = self.state();
                // Where one is free, all who wait hold as many as they may.
                if state.free > 0 && state.held(by) < self.each {
                    return self.give(&mut state, by);
                }
                let (sender, receiver) = oneshot::channel();
                match state.waiting.iter_mut().find(|(key, _)| *key == by) {
                    Some((_, own)) => own.push_back(sender),
                    None => state.waiting.push((by, VecDeque::from([sender]))),
                }
                receiver
            };
            if let Ok(permit) = receiver.await {
                return permit;
            }
        }
    }

    fn give(&self, state: &mut State<K>, by: K) -> FairPermit<K> {
        state.free -= 1;
        *state.held.entry(by).or_default() += 1;
        FairPermit { of: self.clone(), by }
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash> State<K> {
    fn held(&self, by: K) -> usize {
        self.held.get(&by).copied().unwrap_or_default()
    }

    /// Who is next: the first of whoever holds the fewest, and of several of them whoever was not served for longest.
    fn next(&mut self, each: usize) -> Option<(K, oneshot::Sender<FairPermit<K>>)> {
        self.waiting.retain_mut(|(_, own)| {
            own.retain(|one| !one.is_closed());
            !own.is_empty()
        });
        let may = self.waiting.iter().enumerate().map(|(at, (by, _))| (self.held(*by), at)).filter(|(held, _)| *held < each);
        let (_, at) = may.min()?;
        let (by, mut own) = self.waiting.remove(at);
        let next = own.pop_front()?;
        if !own.is_empty() {
            self.waiting.push((by, own));
        }
        Some((by, next))
    }
}

impl<K: Copy + Eq + Hash> Drop for FairPermit<K> {
    fn drop(&mut self) {
        let next = {
            let mut state = self.of.state();
            state.free += 1;
            if let Some(held) = state.held.get_mut(&self.by) {
                *held -= 1;
                if *held == 0 {
                    state.held.remove(&self.by);
                }
            }
            let next = state.next(self.of.each);
            next.map(|(by, sender)| (sender, self.of.give(&mut state, by)))
        };
        // A permit whose receiver is gone by now comes back here.
        if let Some((sender, permit)) = next {
            let _ = sender.send(permit);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    /// Serves all who wait, one after the other; in which order.
    fn order<const N: usize>(all: &FairSemaphore<u8>, first: FairPermit<u8>, who: [u8; N]) -> Vec<u8> {
        let mut waiting: Vec<_> = who.iter().map(|by| Box::pin(all.take(*by))).collect();
        assert!(waiting.iter_mut().all(|one| one.now_or_never().is_none()));
        let (mut served, mut held) = (Vec::new(), Some(first));
        while let Some(permit) = held.take() {
            drop(permit);
            let mut at = 0;
            while at < waiting.len() && held.is_none() {
                held = (&mut waiting[at]).now_or_never();
                at += 1;
            }
            if held.is_some() {
                let served_now = waiting.remove(at - 1);
                drop(served_now);
                served.extend(held.as_ref().map(|permit| permit.by));
            }
        }
        served
    }

    #[tokio::test]
    async fn whoever_asks_for_many_alternates_with_whoever_asks_for_few() {
        let all = FairSemaphore::of(1);
        let first = all.take(1).await;
        assert_eq!(order(&all, first, [1, 1, 1, 1, 1, 1, 2, 2, 3]), [1, 2, 3, 1, 2, 1, 1, 1, 1]);
        let state = all.state();
        assert!(state.free == 1 && state.held.is_empty() && state.waiting.is_empty(), "{state:?}");
    }

    #[tokio::test]
    async fn nobody_holds_all_and_whoever_holds_the_fewest_is_next() {
        let all = FairSemaphore::of(8);
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(all.take(1).await);
        }
        let mut more = Box::pin(all.take(1));
        assert!((&mut more).now_or_never().is_none(), "a quarter is left to others");
        let others = [all.take(2).await, all.take(2).await];
        let (mut second, mut third) = (Box::pin(all.take(2)), Box::pin(all.take(3)));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        held.pop();
        assert!((&mut third).now_or_never().is_some(), "whoever has none goes before who came earlier");
        drop(others);
        assert!((&mut second).now_or_never().is_some() && (&mut more).now_or_never().is_some());
    }

    #[tokio::test]
    async fn whoever_gives_up_loses_nobody_a_permit() {
        let all = FairSemaphore::of(1);
        let first = all.take(1).await;
        let (mut gone, mut served, mut last) = (Box::pin(all.take(2)), Box::pin(all.take(3)), Box::pin(all.take(4)));
        for waiting in [&mut gone, &mut served, &mut last] {
            assert!(waiting.now_or_never().is_none());
        }
        drop(gone);
        drop(first);
        drop(served); // it was its turn, and nobody had looked yet
        assert!((&mut last).now_or_never().is_some());
    }
}
