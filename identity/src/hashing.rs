//! Who hashes a password next. Hashing takes tens of milliseconds of a core, so those who ask wait; but nobody waits for the many
//! that another sends.
//!
//! First come those whom a token, a ticket or a device shows to be known. Then strangers, who take turns by the network that they
//! come from. Those who name a tenant that is not there take every second turn at most, and at most half of the places.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use platform::auth::Origin;
use tokio::{sync::oneshot, time::timeout};

/// How long anybody waits for their turn, within what a request may take: on two cores until some thousand others of their kind had
/// theirs.
const LONGEST: Duration = Duration::from_secs(25);

/// Who wants a password hashed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Asker {
    /// Somebody who has shown who they are: whose account it is.
    Known(String),
    /// Somebody from there.
    Stranger(Option<Origin>),
    /// Somebody from there who names a tenant that is not there.
    Nowhere(Option<Origin>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Known,
    Stranger,
    Nowhere,
}

impl Asker {
    const fn class(&self) -> Class {
        match self {
            Self::Known(_) => Class::Known,
            Self::Stranger(_) => Class::Stranger,
            Self::Nowhere(_) => Class::Nowhere,
        }
    }
    /// Whose turns are the same: an IPv6 network such as one customer gets is one.
    fn shared(self) -> Self {
        match self {
            Self::Known(_) => self,
            Self::Stranger(origin) => Self::Stranger(origin.map(|origin| origin.network(48))),
            Self::Nowhere(origin) => Self::Nowhere(origin.map(|origin| origin.network(48))),
        }
    }
}

/// Those who wait for one of some places. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct HashQueue(Arc<Mutex<State>>);

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct HashPermit {
    queue: HashQueue,
    class: Class,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Places that are held by those who ask for no tenant, and how many may be.
    nowhere: usize,
    nowhere_most: usize,
    /// Whether the last turn was one of theirs.
    nowhere_last: bool,
    waiting: [Waiting; 3],
}

/// Those of one class, in the order of their turns.
#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<Asker>,
    by: HashMap<Asker, VecDeque<oneshot::Sender<HashPermit>>>,
}

impl HashQueue {
    pub(crate) fn of(places: usize) -> Self {
        let state = State { free: places, nowhere: 0, nowhere_most: (places / 2).max(1), nowhere_last: false, waiting: Default::default() };
        Self(Arc::new(Mutex::new(state)))
    }
    /// Waits for a place. None if those before it take too long.
    pub(crate) async fn take(&self, asker: Asker) -> Option<HashPermit> {
        let (turn, place) = oneshot::channel();
        let class = asker.class();
        self.state().waiting[class as usize].push(asker.shared(), turn);
        self.give();
        timeout(LONGEST, place).await.ok().and_then(Result::ok)
    }
    /// Gives free places to those whose turn it is.
    fn give(&self) {
        loop {
            let next = self.state().next();
            let Some((turn, class)) = next else { return };
            // Of who has gone away the place comes back.
            let _ = turn.send(HashPermit { queue: self.clone(), class });
        }
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HashPermit {
    fn drop(&mut self) {
        {
            let mut state = self.queue.state();
            state.free += 1;
            if self.class == Class::Nowhere {
                state.nowhere -= 1;
            }
        }
        self.queue.give();
    }
}

impl State {
    fn next(&mut self) -> Option<(oneshot::Sender<HashPermit>, Class)> {
        if self.free == 0 {
            return None;
        }
        let others = if self.nowhere_last { [Class::Stranger, Class::Nowhere] } else { [Class::Nowhere, Class::Stranger] };
        for class in [Class::Known].into_iter().chain(others) {
            if class == Class::Nowhere && self.nowhere >= self.nowhere_most {
                continue;
            }
            if let Some(turn) = self.waiting[class as usize].pop() {
                self.free -= 1;
                if class != Class::Known {
                    self.nowhere_last = class == Class::Nowhere;
                }
                self.nowhere += usize::from(class == Class::Nowhere);
                return Some((turn, class));
            }
        }
        None
    }
}

impl Waiting {
    fn push(&mut self, asker: Asker, turn: oneshot::Sender<HashPermit>) {
        let turns = self.by.entry(asker.clone()).or_default();
        if turns.is_empty() {
            self.order.push_back(asker);
        }
        turns.push_back(turn);
    }
    /// The next of the first one's, who then is the last one.
    fn pop(&mut self) -> Option<oneshot::Sender<HashPermit>> {
        while let Some(asker) = self.order.pop_front() {
            let Some(turns) = self.by.get_mut(&asker) else { continue };
            let mut next = None;
            while next.is_none() && !turns.is_empty() {
                // Who has gone away has no turn.
                next = turns.pop_front().filter(|turn| !turn.is_closed());
            }
            if turns.is_empty() {
                self.by.remove(&asker);
            } else {
                self.order.push_back(asker);
            }
            if next.is_some() {
                return next;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    fn origin(n: u8) -> Origin {
        Origin::Address([203, 0, 113, n].into())
    }

    /// Who asks, in this order, behind one who is at work; who is served, in which order.
    async fn served(places: usize, asks: &[(&'static str, Asker)]) -> Vec<&'static str> {
        let queue = HashQueue::of(places);
        let mut held: VecDeque<HashPermit> = VecDeque::new();
        for _ in 0..places {
            held.push_back(queue.take(Asker::Known("at work".into())).await.unwrap());
        }
        let mut waiting: Vec<_> = asks.iter().map(|(name, asker)| (*name, Box::pin(queue.take(asker.clone())))).collect();
        for (_, take) in &mut waiting {
            assert!(take.now_or_never_ref().is_none());
        }
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(held.pop_front());
            let mut still = Vec::new();
            for (name, mut take) in waiting {
                match take.now_or_never_ref() {
                    Some(place) => {
                        order.push(name);
                        held.push_back(place.unwrap());
                    }
                    None => still.push((name, take)),
                }
            }
            waiting = still;
        }
        drop(held);
        let state = queue.state();
        assert_eq!((state.free, state.nowhere), (places, 0));
        assert!(state.waiting.iter().all(|class| class.order.is_empty() && class.by.is_empty()), "nobody is remembered");
        order
    }
    trait NowOrNever: std::future::Future + Unpin {
        fn now_or_never_ref(&mut self) -> Option<Self::Output> {
            self.now_or_never()
        }
    }
    impl<F: std::future::Future + Unpin> NowOrNever for F {}

    #[tokio::test]
    async fn nobody_waits_for_the_many_that_another_sends() {
        let stranger = |n| Asker::Stranger(Some(origin(n)));
        let nowhere = |n| Asker::Nowhere(Some(origin(n)));
        let many = |name, asker: Asker, times| vec![(name, asker); times];
        let cases = [
            // One place that many want at once.
            ([many("a", stranger(1), 4), vec![("b", stranger(2))]].concat(), vec!["a", "b", "a", "a", "a"]),
            ([many("a", stranger(1), 3), vec![("known", Asker::Known("x".into()))]].concat(), vec!["known", "a", "a", "a"]),
            ([many("gone", nowhere(1), 4), many("b", stranger(2), 2)].concat(), vec!["gone", "b", "gone", "b", "gone", "gone"]),
            (
                [vec![("n1", nowhere(1)), ("n2", nowhere(2)), ("n3", nowhere(3))], many("b", stranger(4), 3)].concat(),
                vec!["n1", "b", "n2", "b", "n3", "b"],
            ),
            // One customer's IPv6 addresses are one; who can't be told apart are, too.
            (
                ["2001:db8:1:1::1", "2001:db8:1:2::1", "2001:db8:1:3::1"]
                    .map(|address| ("six", Asker::Stranger(Some(Origin::Address(address.parse().unwrap())))))
                    .into_iter()
                    .chain([("b", stranger(1))])
                    .collect(),
                vec!["six", "b", "six", "six"],
            ),
        ];
        for (asks, expected) in cases {
            assert_eq!(served(1, &asks).await, expected);
        }
        // Of two places one at most is for those who ask for no tenant.
        let queue = HashQueue::of(2);
        let first = queue.take(nowhere(1)).await.unwrap();
        let mut second = Box::pin(queue.take(nowhere(2)));
        assert!(second.now_or_never_ref().is_none());
        let third = queue.take(stranger(3)).await.unwrap();
        drop(first);
        assert!(second.now_or_never_ref().is_some());
        drop(third);
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_or_waits_too_long_holds_no_place() {
        let queue = HashQueue::of(1);
        let held = queue.take(Asker::Stranger(None)).await.unwrap();
        {
            let mut gone = Box::pin(queue.take(Asker::Stranger(Some(origin(1)))));
            assert!(gone.now_or_never_ref().is_none());
        }
        assert!(queue.take(Asker::Stranger(Some(origin(2)))).await.is_none(), "not within the time");
        let mut waits = Box::pin(queue.take(Asker::Stranger(Some(origin(3)))));
        assert!(waits.now_or_never_ref().is_none());
        drop(held);
        assert!(waits.now_or_never_ref().is_some());
    }
}
