//! An aggregate of any capability: what decides a command, and what remembers it.

use domain::{Command, Facts, Reference, Refusal, Standing, employee, organization, tenancy};
use events::{Category, DepartmentId, EmployeeId, Event, EventMark, Position, StreamName, StreamPoint, Version};
use jiff::civil::Date;

/// The state that an aggregate's rules read, with the place in the log that it was folded up to.
#[derive(Debug, Clone)]
pub(crate) struct Aggregate {
    /// The version of its stream.
    pub(crate) version: Version,
    /// The position of its newest event in the tenant's log.
    pub(crate) position: Position,
    /// That event, where it is known: a version alone does not say that the stream still is the one that was folded.
    mark: Option<EventMark>,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Tenancy(tenancy::State),
    Organization(organization::State),
    Employee(employee::State),
}

/// A command or an event met the state of another capability: a bug of ours, never the client's.
#[derive(Debug, thiserror::Error)]
#[error("a {0} met the state of another capability")]
pub(crate) struct Mismatch(&'static str);

/// What a command leads to.
pub(crate) type Decision = Result<Vec<Event>, Refusal>;

impl Aggregate {
    /// The aggregate of a stream without events.
    pub(crate) fn empty(stream: StreamName) -> Self {
        let state = match stream.category() {
            Category::Tenancy => State::Tenancy(tenancy::State::default()),
            Category::Organization => State::Organization(organization::State::default()),
            Category::Employee => State::Employee(employee::State::default()),
        };
        Self { version: Version::ZERO, position: Position::ZERO, mark: None, state }
    }

    /// The place in the stream that it was folded up to.
    pub(crate) const fn point(&self) -> StreamPoint {
        StreamPoint { version: self.version, mark: self.mark }
    }

    /// Says which event it was folded up to.
    pub(crate) fn marked(self, mark: Option<EventMark>) -> Self {
        Self { mark, ..self }
    }

    /// What follows from a command.
    pub(crate) fn decide(&self, command: &Command, facts: &Facts) -> Result<Decision, Mismatch> {
        fn events<E: Into<Event>, R: Into<Refusal>>(decided: Result<Vec<E>, R>) -> Decision {
            decided.map(|events| events.into_iter().map(Into::into).collect()).map_err(Into::into)
        }
        Ok(match (&self.state, command) {
            (State::Tenancy(state), Command::Tenancy(command)) => events(state.decide(command)),
            (State::Organization(state), Command::Organization(command)) => events(state.decide(command)),
            (State::Employee(state), Command::Employee(command)) => events(state.decide(command, facts)),
            (State::Tenancy(_) | State::Organization(_) | State::Employee(_), _) => return Err(Mismatch(command.name())),
        })
    }

    /// The claims that go with events decided on this state; their personal fields are clear.
    pub(crate) fn claims(&self, events: &[Event]) -> Vec<domain::Claim> {
        match &self.state {
            State::Tenancy(state) => state.claims(&of(events, |e| if let Event::Tenancy(e) = e { Some(e) } else { None })),
            State::Organization(state) => state.claims(&of(events, |e| if let Event::Organization(e) = e { Some(e) } else { None })),
            State::Employee(state) => state.claims(&of(events, |e| if let Event::Employee(e) = e { Some(e) } else { None })),
        }
    }

    /// The aggregate after one more event, whose personal fields are clear or erased.
    pub(crate) fn evolve(self, event: &Event, position: Position) -> Result<Self, Mismatch> {
        let state = match (self.state, event) {
            (State::Tenancy(state), Event::Tenancy(event)) => State::Tenancy(state.evolve(event)),
            (State::Organization(state), Event::Organization(event)) => State::Organization(state.evolve(event)),
            (State::Employee(state), Event::Employee(event)) => State::Employee(state.evolve(event)),
            (State::Tenancy(_) | State::Organization(_) | State::Employee(_), _) => return Err(Mismatch(event.event_type())),
        };
        Ok(Self { version: self.version.next(), position, mark: None, state })
    }

    /// How what a command refers to stands on its day.
    pub(crate) fn standing(&self, Reference { to, on, .. }: Reference) -> Standing {
        match &self.state {
            State::Tenancy(_) => Standing::Unknown,
            State::Organization(state) => state.standing(to, on),
            State::Employee(state) => state.standing(on),
        }
    }

    /// Where and for whom the person works on a day.
    pub(crate) fn place(&self, on: Date) -> Option<employee::Place> {
        match &self.state {
            State::Employee(state) => state.place(on),
            State::Tenancy(_) | State::Organization(_) => None,
        }
    }

    /// Whom the person reports to, and when.
    pub(crate) fn managers(&self) -> Vec<(Date, Option<Date>, EmployeeId)> {
        match &self.state {
            State::Employee(state) => state.managers(),
            State::Tenancy(_) | State::Organization(_) => Vec::new(),
        }
    }

    /// Until when a manager who is set on a day stays so.
    pub(crate) fn manager_until(&self, on: Date) -> Option<Date> {
        match &self.state {
            State::Employee(state) => state.manager_until(on),
            State::Tenancy(_) | State::Organization(_) => None,
        }
    }

    /// A department and those above it on a day.
    pub(crate) fn departments_above(&self, id: DepartmentId, on: Date) -> Vec<DepartmentId> {
        match &self.state {
            State::Organization(state) => state.chain_of(id, on),
            State::Tenancy(_) | State::Employee(_) => vec![id],
        }
    }

    /// Roughly the bytes that it takes in memory.
    pub(crate) fn weight(&self) -> u32 {
        u32::try_from(1024 + 256 * self.version.0).unwrap_or(u32::MAX)
    }
}

fn of<E: Clone>(events: &[Event], pick: impl Fn(&Event) -> Option<&E>) -> Vec<E> {
    events.iter().filter_map(|event| pick(event).cloned()).collect()
}
