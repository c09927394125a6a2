//! What follows from an event: what becomes due on a day, and reactions. Both are pure functions of the event alone.

use events::{EmployeeId, Event, LocationId, kinds};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::Command;

/// Something that takes effect on a day. Where that day had not begun yet when the event was recorded, the command is sent when it
/// begins, once.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    /// What names it among all that becomes due by one event. Part of stored ids: never rename.
    pub name: &'static str,
    /// The day.
    pub on: Date,
    /// Where it must have begun.
    pub place: DuePlace,
    /// The command that announces it: an internal one without personal data.
    pub command: Command,
}

impl Due {
    /// What announces an event's one fact.
    pub(crate) fn announcement(on: Date, place: DuePlace, command: Command) -> Self {
        Self { name: "announcement", on, place, command }
    }

    /// Its command as it is read back after it was kept.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> Command {
        let stored = self.command.to_stored().expect("it is internal").expect("it can be kept");
        Command::from_stored(&stored).expect("it is known").expect("it can be read")
    }
}

/// Whose day counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DuePlace {
    /// The tenant's.
    Tenant,
    /// That of a person's place of work, where there is one; else the tenant's.
    Person(EmployeeId),
    /// A location's own.
    Location(LocationId),
}

/// What an event leads to. Who reacts reads nothing personal in the event, because it is not opened for that.
#[derive(Debug, Clone, PartialEq)]
pub struct Reaction {
    /// Its name, as in `system:reaction:{name}`; one event leads to at most one reaction of a name. Part of stored ids: never rename.
    pub name: &'static str,
    /// What is to be done.
    pub does: Does,
}

/// What a reaction does.
#[derive(Debug, Clone, PartialEq)]
pub enum Does {
    /// Sends a command.
    Send(Box<Command>),
    /// Sends a command for each person of an audience: those who have joined it by then.
    SendToEach(Audience),
    /// Lets a person join an audience, once.
    Join(Audience, EmployeeId),
}

/// People whom an event can concern that names none of them, and the command that is sent for each.
#[derive(Debug, Clone, Copy)]
pub struct Audience {
    /// Its name. Part of stored data: never rename.
    pub name: &'static str,
    /// The command for a person.
    pub command: fn(EmployeeId) -> Command,
}

impl PartialEq for Audience {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

macro_rules! consequences {
    ($($(#[$doc:meta])* $Kind:ident = $category:literal in $($module:ident)::+;)+) => {
        /// What becomes due by an event.
        pub fn due(event: &Event) -> Vec<Due> {
            match event { $(Event::$Kind(event) => crate::$($module)::+::due(event)),+ }
        }
        /// What an event leads to, by the rules of any kind of aggregate.
        pub fn react(event: &Event) -> Vec<Reaction> {
            let mut all = Vec::new();
            $(all.extend(crate::$($module)::+::react(event));)+
            all
        }
    };
}
kinds!(consequences);

/// The `due` of a kind of aggregate by whose events nothing becomes due.
pub(crate) const fn nothing_due<E>(_: &E) -> Vec<Due> {
    Vec::new()
}

/// The `react` of a kind of aggregate that reacts to nothing.
pub(crate) const fn no_reaction<E>(_: &E) -> Vec<Reaction> {
    Vec::new()
}
