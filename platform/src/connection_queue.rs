//! Which tenant's turn it is, and on which connection.
//!
//! The first time that a connection meets a tenant, PostgreSQL reads the catalog for their tables, which costs more than most
//! reads do, and keeps that as long as the connection lasts. So a connection that gets free takes, of those who wait, a tenant
//! that it knows, unless somebody has waited long: most tenants come to one connection or two. And nobody's work keeps the
//! others waiting: one tenant holds only some of the connections, and what it wants beyond that waits behind its own.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use events::TenantId;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

/// How long anybody waits for their turn.
const LONGEST: Duration = crate::database::ACQUIRE;
/// So much later somebody whom the connection knows may have come, to be served before the first.
const HEAD_START: Duration = Duration::from_millis(500);
/// So many tenants a connection is taken to know; at one more it is taken to know nobody.
const KNOWN: usize = 10_000;
/// So many of those that it served last may come often: what the statements of so many need is kept.
const LAST: usize = 16;
/// So often among the last it has served a tenant that it knows well, and that will come again soon.
const WELL: u32 = 8;

/// Those who wait for a connection, and who holds which. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionQueue {
    /// So many connections one tenant holds at most.
    each: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    connections: Vec<Connection>,
    /// How many each tenant holds, of those that hold any.
    held: HashMap<TenantId, usize>,
    /// In the order in which they came.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug, Default)]
struct Connection {
    taken: bool,
    /// The tenants that it served.
    known: HashSet<TenantId>,
    /// Those that it served last, and how often since they are among them, the very last one first.
    last: VecDeque<(TenantId, u32)>,
}

#[derive(Debug)]
struct Waiting {
    tenant: TenantId,
    since: Instant,
    turn: oneshot::Sender<ConnectionTurn>,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionTurn {
    queue: ConnectionQueue,
    tenant: TenantId,
    connection: usize,
    well: bool,
}

impl ConnectionTurn {
    /// Whether the connection knows the tenant well.
    pub(crate) fn is_well_known(&self) -> bool {
        self.well
    }
    /// The number of the connection, from zero.
    pub(crate) fn connection(&self) -> usize {
        self.connection
    }
}

impl Drop for ConnectionTurn {
    fn drop(&mut self) {
        // A turn whose receiver is gone by now comes back here.
        if let Some((next, turn)) = self.queue.pass_on(self.tenant, self.connection) {
            let _ = next.send(turn);
        }
    }
}

impl ConnectionQueue {
    /// Of so many connections a quarter, but one at least, is left to others; a single one is for all.
    pub(crate) fn of(connections: usize) -> Self {
        let left = (connections / 4).max(1);
        let state = State {
            connections: (0..connections).map(|_| Connection::default()).collect(),
            held: HashMap::new(),
            waiting: VecDeque::new(),
        };
        Self { each: connections.saturating_sub(left).max(1), state: Arc::new(Mutex::new(state)) }
    }

    /// Waits for a turn of this tenant's. None if those before it take too long.
    pub(crate) async fn take(&self, tenant: TenantId) -> Option<ConnectionTurn> {
        let turn = {
            let mut state = self.state();
            if state.may_hold(tenant, self.each)
                && let Some(connection) = state.free_for(tenant)
            {
                return Some(self.give(&mut state, tenant, connection));
            }
            let (turn, receiver) = oneshot::channel();
            state.waiting.push_back(Waiting { tenant, since: Instant::now(), turn });
            receiver
        };
        timeout(LONGEST, turn).await.ok().and_then(Result::ok)
    }

    fn give(&self, state: &mut State, tenant: TenantId, connection: usize) -> ConnectionTurn {
        let well = state.hold(tenant, connection) > WELL;
        ConnectionTurn { queue: self.clone(), tenant, connection, well }
    }

    /// Takes a connection back, and gives it to the next one.
    fn pass_on(&self, tenant: TenantId, connection: usize) -> Option<(oneshot::Sender<ConnectionTurn>, ConnectionTurn)> {
        let mut state = self.state();
        state.let_go(tenant, connection);
        let next = state.next_for(connection, self.each)?;
        Some((next.turn, self.give(&mut state, next.tenant, connection)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn knows(&self, tenant: TenantId) -> bool {
        self.known.contains(&tenant)
    }
    fn served_lately(&self, tenant: TenantId) -> bool {
        self.last.iter().any(|(last, _)| *last == tenant)
    }
    /// How often it has served the tenant, now included, since they are among the last.
    fn meet(&mut self, tenant: TenantId) -> u32 {
        if self.known.len() >= KNOWN && !self.knows(tenant) {
            self.known.clear();
        }
        self.known.insert(tenant);
        let before = self.last.iter().position(|(last, _)| *last == tenant);
        let before = before.and_then(|at| self.last.remove(at)).map_or(0, |(_, times)| times);
        let times = before.saturating_add(1);
        self.last.push_front((tenant, times));
        self.last.truncate(LAST);
        times
    }
}

impl State {
    fn may_hold(&self, tenant: TenantId, each: usize) -> bool {
        self.held.get(&tenant).is_none_or(|held| *held < each)
    }

    /// A free connection: one that served the tenant lately, else one that knows them, else the one that knows the fewest.
    fn free_for(&self, tenant: TenantId) -> Option<usize> {
        let free = self.connections.iter().enumerate().filter(|(_, connection)| !connection.taken);
        let dear = |connection: &Connection| (!connection.served_lately(tenant), !connection.knows(tenant), connection.known.len());
        free.min_by_key(|(_, connection)| dear(connection)).map(|(number, _)| number)
    }

    /// Who is next at this connection: whoever has waited long; else the first of those whom it served lately; else of those whom
    /// it knows; else of those whom no other knows either; else the first.
    fn next_for(&mut self, connection: usize, each: usize) -> Option<Waiting> {
        self.waiting.retain(|waiting| !waiting.turn.is_closed());
        let connection = &self.connections[connection];
        let may = || self.waiting.iter().enumerate().filter(|(_, waiting)| self.may_hold(waiting.tenant, each));
        let (first, longest) = may().next()?;
        let next = may()
            .find(|(_, waiting)| connection.served_lately(waiting.tenant))
            .or_else(|| may().find(|(_, waiting)| connection.knows(waiting.tenant)))
            .or_else(|| may().find(|(_, waiting)| !self.connections.iter().any(|other| other.knows(waiting.tenant))));
        let next = next.filter(|(_, waiting)| waiting.since < longest.since + HEAD_START).map_or(first, |(next, _)| next);
        self.waiting.remove(next)
    }

    /// How often the connection has served the tenant, as [`Connection::meet`] counts.
    fn hold(&mut self, tenant: TenantId, connection: usize) -> u32 {
        *self.held.entry(tenant).or_default() += 1;
        let connection = &mut self.connections[connection];
        connection.taken = true;
        connection.meet(tenant)
    }

    fn let_go(&mut self, tenant: TenantId, connection: usize) {
        if let Some(held) = self.held.get_mut(&tenant) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&tenant);
            }
        }
        self.connections[connection].taken = false;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn tenant(n: u128) -> TenantId {
        TenantId::from_uuid(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn some_connections_are_left_to_others() {
        let each = |connections| ConnectionQueue::of(connections).each;
        assert_eq!([1, 2, 4, 8, 16, 1000].map(each), [1, 1, 3, 6, 12, 750]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_waits_for_its_own() {
        let queue = ConnectionQueue::of(4);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(queue.take(tenant(1)).await.unwrap());
        }
        assert!(queue.take(tenant(1)).await.is_none());
        assert!(queue.take(tenant(2)).await.is_some());
        let (next, ()) = tokio::join!(queue.take(tenant(1)), async { drop(held.pop()) });
        assert!(next.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_comes_back_to_a_connection_that_knows_it() {
        let queue = ConnectionQueue::of(3);
        let (one, two) = (queue.take(tenant(1)).await.unwrap(), queue.take(tenant(2)).await.unwrap());
        let (at, other) = (one.connection(), two.connection());
        assert!(at != other);
        drop((one, two));
        for (n, connection) in [(2, other), (1, at), (1, at), (2, other)] {
            assert_eq!(queue.take(tenant(n)).await.unwrap().connection(), connection);
        }
        let stranger = queue.take(tenant(3)).await.unwrap();
        assert!(stranger.connection() != at && stranger.connection() != other, "it goes to the connection that knows the fewest");
        let mut well = Vec::new();
        for _ in 0..WELL {
            well.push(queue.take(tenant(2)).await.unwrap().is_well_known());
        }
        // It had been there three times.
        assert_eq!(well.iter().position(|well| *well), Some(WELL as usize - 3));
    }

    #[tokio::test(start_paused = true)]
    async fn whom_a_connection_knows_has_a_head_start_and_no_more() {
        for (later, expected) in [(HEAD_START / 2, [1, 2]), (HEAD_START * 2, [2, 1])] {
            let queue = ConnectionQueue::of(1);
            let held = queue.take(tenant(1)).await.unwrap();
            let wait = async |n: u128| queue.take(tenant(n)).await.map(|turn| (n, turn));
            let mut stranger = Box::pin(wait(2));
            assert!((&mut stranger).now_or_never().is_none());
            tokio::time::advance(later).await;
            let mut known = Box::pin(wait(1));
            assert!((&mut known).now_or_never().is_none());
            drop(held);
            let mut order = Vec::new();
            while order.len() < 2 {
                let (n, turn) = tokio::select! {
                    served = &mut stranger, if !order.contains(&2) => served.unwrap(),
                    served = &mut known, if !order.contains(&1) => served.unwrap(),
                };
                order.push(n);
                drop(turn);
            }
            assert_eq!(order, expected, "after {later:?}");
        }
    }

    /// Two connections that both serve more tenants than `LAST`, each its own.
    async fn two_with_their_own(queue: &ConnectionQueue) -> [ConnectionTurn; 2] {
        for n in 0..2 * LAST as u128 {
            let (one, other) = (queue.take(tenant(n)).await.unwrap(), queue.take(tenant(1_000 + n)).await.unwrap());
            assert!(one.connection() == 0 && other.connection() == 1);
        }
        [queue.take(tenant(0)).await.unwrap(), queue.take(tenant(1_000)).await.unwrap()]
    }

    #[tokio::test(start_paused = true)]
    async fn tenants_come_back_to_where_they_were_met_however_many_they_are() {
        let queue = ConnectionQueue::of(2);
        let [one, other] = two_with_their_own(&queue).await;
        assert_eq!([one.connection(), other.connection()], [0, 1]);
        // The first serves, in this order: whom it served lately, whom it met, whom nobody met, whom the other met.
        let who = [1_001, 9_999, 1, 2 * LAST as u128 - 1];
        let mut waiting = who.map(|n| Box::pin(queue.take(tenant(n))));
        assert!(waiting.iter_mut().all(|one| one.now_or_never().is_none()));
        let (mut order, mut held) = (Vec::new(), Some(one));
        while let Some(turn) = held.take() {
            assert_eq!(turn.connection(), 0);
            drop(turn);
            for (n, wait) in who.iter().zip(&mut waiting).filter(|(n, _)| !order.contains(*n)).collect::<Vec<_>>() {
                if let Some(turn) = wait.now_or_never() {
                    order.push(*n);
                    held = turn;
                    break;
                }
            }
        }
        assert_eq!(order, [2 * LAST as u128 - 1, 1, 9_999, 1_001]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_loses_nobody_a_turn() {
        let queue = ConnectionQueue::of(1);
        let held = queue.take(tenant(1)).await.unwrap();
        let mut before = Box::pin(queue.take(tenant(2)));
        let mut served = Box::pin(queue.take(tenant(3)));
        let mut last = Box::pin(queue.take(tenant(4)));
        for waiting in [&mut before, &mut served, &mut last] {
            assert!(waiting.now_or_never().is_none());
        }
        drop(before);
        drop(held);
        drop(served); // it was its turn, and nobody had looked yet
        assert!((&mut last).now_or_never().is_some_and(|turn| turn.is_some()));
        let state = queue.state();
        assert!(state.held.is_empty() && state.waiting.is_empty() && !state.connections[0].taken, "{state:?}");
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let queue = ConnectionQueue::of(4);
        for n in 0..1_000 {
            queue.take(tenant(n)).await.unwrap();
        }
        let state = queue.state();
        assert!(state.held.is_empty() && state.connections.iter().all(|connection| connection.last.len() == LAST));
        assert!(state.connections.iter().any(|connection| connection.last[0].0 == tenant(999)));
        drop(state);
        let mut connection = Connection::default();
        for n in 0..2 * KNOWN as u128 {
            connection.meet(tenant(n));
            assert!(connection.known.len() <= KNOWN && connection.knows(tenant(n)));
        }
    }
}
