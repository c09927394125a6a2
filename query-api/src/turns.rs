//! Whose turn it is to read, and on which connection.
//!
//! PostgreSQL plans a statement anew on a connection that served another tenant in between, and the first time it meets a
//! tenant it reads the catalog for their tables: both cost more than most reads do. So of the reads that wait, a connection
//! that gets free takes one of a tenant that it knows, unless somebody has waited long. And nobody's reads keep the others
//! waiting: one tenant holds only some of the connections, and what it asks beyond that waits behind its own.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use events::TenantId;
use platform::Problem;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

/// How long a read waits for its turn, as long as one waits for a free connection.
const LONGEST: Duration = Duration::from_secs(5);
/// So much later somebody whom the connection knows may have come, to be served before the first.
const HEAD_START: Duration = Duration::from_millis(500);
/// So many tenants a connection is taken to know: those that it served last.
const KNOWN: usize = 16;
/// So often it has served a tenant that it knows well, and that will come again soon.
const WELL: u32 = 8;

/// The turns of all who read. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
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
    /// The tenants that it served, and how often, the last one first.
    known: VecDeque<(TenantId, u32)>,
}

#[derive(Debug)]
struct Waiting {
    tenant: TenantId,
    since: Instant,
    turn: oneshot::Sender<Turn>,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    tenant: TenantId,
    connection: usize,
    well: bool,
}

impl Turn {
    /// Whether the connection knows the tenant well.
    pub(crate) fn is_well_known(&self) -> bool {
        self.well
    }
    /// The number of the connection, from zero.
    pub(crate) fn connection(&self) -> usize {
        self.connection
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // A turn whose receiver is gone by now comes back here.
        if let Some((next, turn)) = self.turns.pass_on(self.tenant, self.connection) {
            let _ = next.send(turn);
        }
    }
}

impl Turns {
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

    /// Waits for a turn of this tenant's. 503 `overloaded` if those before it take too long.
    pub(crate) async fn take(&self, tenant: TenantId) -> Result<Turn, Problem> {
        let turn = {
            let mut state = self.state();
            if state.may_hold(tenant, self.each)
                && let Some(connection) = state.free_for(tenant)
            {
                return Ok(self.give(&mut state, tenant, connection));
            }
            let (turn, receiver) = oneshot::channel();
            state.waiting.push_back(Waiting { tenant, since: Instant::now(), turn });
            receiver
        };
        let too_late = || Problem::unavailable("overloaded", "your organization's reads before this one take too long; try again shortly");
        timeout(LONGEST, turn).await.ok().and_then(Result::ok).ok_or_else(too_late)
    }

    fn give(&self, state: &mut State, tenant: TenantId, connection: usize) -> Turn {
        let well = state.hold(tenant, connection) > WELL;
        Turn { turns: self.clone(), tenant, connection, well }
    }

    /// Takes a connection back, and gives it to the next one.
    fn pass_on(&self, tenant: TenantId, connection: usize) -> Option<(oneshot::Sender<Turn>, Turn)> {
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
        self.known.iter().any(|(known, _)| *known == tenant)
    }
}

impl State {
    fn may_hold(&self, tenant: TenantId, each: usize) -> bool {
        self.held.get(&tenant).is_none_or(|held| *held < each)
    }

    /// A free connection: one that knows the tenant, else the one that knows the fewest.
    fn free_for(&self, tenant: TenantId) -> Option<usize> {
        let free = self.connections.iter().enumerate().filter(|(_, connection)| !connection.taken);
        free.min_by_key(|(_, connection)| (!connection.knows(tenant), connection.known.len())).map(|(number, _)| number)
    }

    /// Who is next at this connection: whoever has waited long; else the first of those whom it knows; else the first.
    fn next_for(&mut self, connection: usize, each: usize) -> Option<Waiting> {
        self.waiting.retain(|waiting| !waiting.turn.is_closed());
        let connection = &self.connections[connection];
        let may = || self.waiting.iter().enumerate().filter(|(_, waiting)| self.may_hold(waiting.tenant, each));
        let (first, longest) = may().next()?;
        let next = may().find(|(_, waiting)| connection.knows(waiting.tenant));
        let next = next.filter(|(_, waiting)| waiting.since < longest.since + HEAD_START).map_or(first, |(next, _)| next);
        self.waiting.remove(next)
    }

    /// How often the connection has served the tenant, now included.
    fn hold(&mut self, tenant: TenantId, connection: usize) -> u32 {
        *self.held.entry(tenant).or_default() += 1;
        let connection = &mut self.connections[connection];
        connection.taken = true;
        let before = connection.known.iter().position(|(known, _)| *known == tenant);
        let before = before.and_then(|at| connection.known.remove(at)).map_or(0, |(_, times)| times);
        let times = before.saturating_add(1);
        connection.known.push_front((tenant, times));
        connection.known.truncate(KNOWN);
        times
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
        let each = |connections| Turns::of(connections).each;
        assert_eq!([1, 2, 4, 8, 16, 1000].map(each), [1, 1, 3, 6, 12, 750]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_waits_for_its_own() {
        let turns = Turns::of(4);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(turns.take(tenant(1)).await.unwrap());
        }
        assert_eq!(turns.take(tenant(1)).await.err().map(|problem| problem.code), Some("overloaded"));
        assert!(turns.take(tenant(2)).await.is_ok());
        let (next, ()) = tokio::join!(turns.take(tenant(1)), async { drop(held.pop()) });
        assert!(next.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_comes_back_to_a_connection_that_knows_it() {
        let turns = Turns::of(3);
        let (one, two) = (turns.take(tenant(1)).await.unwrap(), turns.take(tenant(2)).await.unwrap());
        let (at, other) = (one.connection(), two.connection());
        assert!(at != other);
        drop((one, two));
        for (n, connection) in [(2, other), (1, at), (1, at), (2, other)] {
            assert_eq!(turns.take(tenant(n)).await.unwrap().connection(), connection);
        }
        let stranger = turns.take(tenant(3)).await.unwrap();
        assert!(stranger.connection() != at && stranger.connection() != other, "it goes to the connection that knows the fewest");
        let mut well = Vec::new();
        for _ in 0..WELL {
            well.push(turns.take(tenant(2)).await.unwrap().is_well_known());
        }
        // It had been there three times.
        assert_eq!(well.iter().position(|well| *well), Some(WELL as usize - 3));
    }

    #[tokio::test(start_paused = true)]
    async fn whom_a_connection_knows_has_a_head_start_and_no_more() {
        for (later, expected) in [(HEAD_START / 2, [1, 2]), (HEAD_START * 2, [2, 1])] {
            let turns = Turns::of(1);
            let held = turns.take(tenant(1)).await.unwrap();
            let wait = async |n: u128| turns.take(tenant(n)).await.map(|turn| (n, turn));
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

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_loses_nobody_a_turn() {
        let turns = Turns::of(1);
        let held = turns.take(tenant(1)).await.unwrap();
        let mut before = Box::pin(turns.take(tenant(2)));
        let mut served = Box::pin(turns.take(tenant(3)));
        let mut last = Box::pin(turns.take(tenant(4)));
        for waiting in [&mut before, &mut served, &mut last] {
            assert!(waiting.now_or_never().is_none());
        }
        drop(before);
        drop(held);
        drop(served); // it was its turn, and nobody had looked yet
        assert!((&mut last).now_or_never().is_some_and(|turn| turn.is_ok()));
        let state = turns.state();
        assert!(state.held.is_empty() && state.waiting.is_empty() && !state.connections[0].taken, "{state:?}");
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let turns = Turns::of(4);
        for n in 0..1_000 {
            turns.take(tenant(n)).await.unwrap();
        }
        let state = turns.state();
        assert!(state.held.is_empty() && state.connections.iter().all(|connection| connection.known.len() == KNOWN));
        assert!(state.connections[..].iter().any(|connection| connection.known[0].0 == tenant(999)));
    }
}
