//! Which commands of a pipeline wait for which: a command sees the effects of all before it that share something with it.
//!
//! Commands share streams that they write or look at, values that only one aggregate may have, and locks. Most of it they use side
//! by side, if they use it alike: many may look at one stream, or hire people with numbers of their own. Which value a command
//! gives up only the state knows, so whoever takes one of the kind waits for it, and it for them.

use std::collections::{BTreeMap, HashMap};

use domain::{ClaimUse, Command, Lock, LockUse, State};
use events::{CommandId, StreamName, TenantScope};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Commands of one pipeline in work at most.
pub const IN_FLIGHT: usize = 256;
/// Entries after which those are looked for that no command in work shares any more. A command has about six.
const ENTRIES: usize = 16 * IN_FLIGHT;

/// What commands may share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Shared {
    /// A stream that it writes to, or looks at.
    Stream(StreamName),
    /// The identity that its sender chose.
    Command(CommandId),
    /// A value that only one aggregate may have.
    Value(&'static str, String),
    /// All values of this name.
    Values(&'static str),
    /// A lock.
    Lock(Lock),
}

/// How a command uses it. Those that do so alike run side by side, but for [`Manner::Alone`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Looks at a stream.
    Looks,
    /// Takes one of the values.
    Takes,
    /// Gives up one of the values.
    GivesUp,
    /// Changes what holders of the lock look at.
    Affects,
    /// Writes a stream, takes this very value, holds the lock.
    Alone,
}

/// All that a command shares with others of its tenant. `key` is its id where the sender chose it.
pub(crate) fn shared_by(command: &Command, scope: TenantScope, key: Option<CommandId>) -> BTreeMap<Shared, Manner> {
    let mut all = BTreeMap::new();
    let mut add = |shared: Shared, manner: Manner| {
        // Whoever uses it in two ways uses it alone.
        all.entry(shared)
            .and_modify(|other| {
                if *other != manner {
                    *other = Manner::Alone;
                }
            })
            .or_insert(manner);
    };
    let stream = command.stream(scope);
    add(Shared::Stream(stream), Manner::Alone);
    if let Some(id) = key {
        add(Shared::Command(id), Manner::Alone);
    }
    for question in State::empty(stream.category()).questions(command).unwrap_or_default() {
        add(Shared::Stream(question.stream(scope)), Manner::Looks);
    }
    for claim in command.claims() {
        match claim {
            ClaimUse::Takes { of, value, .. } => {
                add(Shared::Values(of.name), Manner::Takes);
                add(Shared::Value(of.name, value), Manner::Alone);
            }
            ClaimUse::GivesUp(of) => add(Shared::Values(of.name), Manner::GivesUp),
            ClaimUse::Rarely(..) => {}
        }
    }
    match command.lock() {
        Some(LockUse::Holds(lock)) => add(Shared::Lock(lock), Manner::Alone),
        Some(LockUse::Affects(lock)) => add(Shared::Lock(lock), Manner::Affects),
        None => {}
    }
    all
}

/// The commands in work, by what they share. One waits only for those before it, so no two wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Order(HashMap<Shared, Last>);

/// The last commands that use something in the same manner, and those that they wait for.
#[derive(Debug)]
struct Last {
    manner: Manner,
    lines: Vec<CancellationToken>,
    before: Vec<CancellationToken>,
}

impl Last {
    fn forget_done(&mut self) {
        self.lines.retain(|line| !line.is_cancelled());
        self.before.retain(|line| !line.is_cancelled());
    }
}

impl Order {
    /// What to wait for, and the guard whose drop says that the command is done.
    pub(crate) fn admit(&mut self, shared: BTreeMap<Shared, Manner>) -> (Vec<CancellationToken>, DropGuard) {
        if self.0.len() > ENTRIES {
            self.0.retain(|_, last| {
                last.forget_done();
                !last.lines.is_empty()
            });
        }
        let done = CancellationToken::new();
        let mut wait_for = Vec::new();
        for (shared, manner) in shared {
            let last = self.0.entry(shared).or_insert_with(|| Last { manner, lines: Vec::new(), before: Vec::new() });
            if manner == Manner::Alone || last.manner != manner {
                last.manner = manner;
                last.before = std::mem::take(&mut last.lines);
                last.before.retain(|line| !line.is_cancelled());
            } else if last.lines.len() > 2 * IN_FLIGHT {
                last.forget_done();
            }
            wait_for.extend(last.before.iter().cloned());
            last.lines.push(done.clone());
        }
        wait_for.retain(|line| !line.is_cancelled());
        (wait_for, done.drop_guard())
    }
}

#[cfg(test)]
mod tests {
    use events::{EmployeeId, TenantId};
    use serde_json::{Value, json, value::to_raw_value};
    use uuid::Uuid;

    use super::*;

    fn scope() -> TenantScope {
        TenantScope::checked(TenantId::from_uuid(Uuid::from_u128(1)))
    }

    fn stream(n: u128) -> Shared {
        Shared::Stream(StreamName::employee(scope(), EmployeeId::from_uuid(Uuid::from_u128(n))))
    }

    fn uses(writes: u128, looks_at: &[u128]) -> BTreeMap<Shared, Manner> {
        let looks = looks_at.iter().map(|n| (stream(*n), Manner::Looks));
        looks.chain([(stream(writes), Manner::Alone)]).collect()
    }

    /// Admits lines as (writes, looks at), finishes those in `done` right away, and says for each how many it waits for.
    fn waits(lines: &[(u128, &[u128])], done: &[usize]) -> Vec<usize> {
        let mut order = Order::default();
        let mut guards = Vec::new();
        let admit = |(n, (writes, looks_at)): (usize, &(u128, &[u128]))| {
            let (before, guard) = order.admit(uses(*writes, looks_at));
            if !done.contains(&n) {
                guards.push(guard);
            }
            before.len()
        };
        lines.iter().enumerate().map(admit).collect()
    }

    #[test]
    fn a_line_waits_for_those_before_it_that_touch_the_same() {
        assert_eq!(waits(&[(1, &[]), (2, &[]), (3, &[])], &[]), [0, 0, 0]);
        assert_eq!(waits(&[(1, &[]), (1, &[]), (1, &[])], &[]), [0, 1, 1], "writers one after the other");
        assert_eq!(waits(&[(9, &[]), (1, &[9]), (2, &[9]), (9, &[]), (3, &[9])], &[]), [0, 1, 1, 2, 1], "readers side by side");
        assert_eq!(waits(&[(9, &[]), (1, &[9]), (2, &[9]), (9, &[])], &[0, 2]), [0, 0, 0, 1], "what is done holds up nobody");
    }

    #[test]
    fn the_order_forgets_what_is_done() {
        let mut order = Order::default();
        let (_, held) = order.admit(uses(1, &[0]));
        for n in 2..100_000 {
            drop(order.admit(uses(n, &[0])).1);
        }
        assert!(order.0.len() <= ENTRIES + 2, "{}", order.0.len());
        assert!(order.0[&stream(0)].lines.len() <= 2 * IN_FLIGHT + 2);
        assert_eq!(order.admit(uses(1, &[0])).0.len(), 1, "what is in work is not forgotten");
        drop(held);
    }

    fn id(n: u128) -> String {
        Uuid::from_u128(n).to_string()
    }

    fn hire(person: u128, number: &str, email: &str, manager: Option<u128>) -> (&'static str, Value) {
        let assignment = json!({"department_id": id(100), "job_id": id(101), "manager_id": manager.map(id)});
        let fields = json!({"employee_id": id(person), "hire_date": "2010-01-01", "employee_number": number, "assignment": assignment,
            "person": {"given_name": "A", "family_name": "B"}, "contact": {"work_email": email}});
        ("HireEmployee", fields)
    }

    fn address(person: u128, changes: &Value) -> (&'static str, Value) {
        ("ChangeContactDetails", json!({"employee_id": id(person), "effective_on": "2011-01-01", "changes": changes}))
    }

    fn assignment(person: u128, changes: &Value) -> (&'static str, Value) {
        ("ChangeAssignment", json!({"employee_id": id(person), "effective_on": "2011-01-01", "changes": changes, "reason": "r"}))
    }

    fn leaves(person: u128) -> (&'static str, Value) {
        ("TerminateEmployee", json!({"employee_id": id(person), "last_day_worked": "2011-01-01", "reason": "r"}))
    }

    /// Whether each of two lines waits for the other, if that comes first.
    #[track_caller]
    fn check(one: &(&'static str, Value), other: &(&'static str, Value), expected: bool) {
        let shared = |(name, fields): &(&'static str, Value)| {
            shared_by(&Command::parse(name, &to_raw_value(fields).unwrap()).unwrap(), scope(), None)
        };
        for (first, second) in [(one, other), (other, one)] {
            let mut order = Order::default();
            let (_, _first) = order.admit(shared(first));
            assert_eq!(order.admit(shared(second)).0.len() == 1, expected, "{second:?} after {first:?}");
        }
    }

    #[test]
    fn lines_wait_for_values_that_others_take_or_give_up() {
        let (mail, none, phone) = (json!({"work_email": "a@example.com"}), json!({"work_email": null}), json!({"phone": "+4312345678"}));
        check(&hire(1, "1", "a@example.com", None), &hire(2, "2", "b@example.com", None), false);
        check(&hire(1, "1", "a@example.com", None), &hire(2, "2", "A@Example.com", None), true);
        check(&hire(1, "x1", "a@example.com", None), &hire(2, "X1", "b@example.com", None), true);
        // Which address becomes free nobody can say yet.
        check(&address(1, &none), &hire(2, "2", "b@example.com", None), true);
        check(&address(1, &none), &address(2, &mail), true);
        check(&address(1, &none), &address(2, &none), false);
        check(&address(1, &phone), &address(2, &mail), false);
        check(&address(1, &phone), &hire(2, "2", "a@example.com", None), false);
    }

    #[test]
    fn lines_wait_for_what_a_lock_guards() {
        let (under, nobody) = (json!({"manager_id": id(9)}), json!({"manager_id": null}));
        // D is taken from under M, then M put under X, whom D stands above.
        check(&assignment(1, &nobody), &assignment(2, &under), true);
        check(&leaves(1), &assignment(2, &under), true);
        check(&assignment(1, &under), &assignment(2, &under), true);
        // Whoever is only taken away holds up nobody who is.
        check(&assignment(1, &nobody), &leaves(2), false);
        check(&assignment(1, &json!({"job_id": id(5)})), &assignment(2, &under), false);
        check(&hire(1, "1", "a@example.com", Some(9)), &assignment(2, &under), false);
        check(&leaves(9), &hire(1, "1", "a@example.com", Some(9)), true);
    }
}
