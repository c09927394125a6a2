//! What a rule needs to know about other aggregates. The caller looks it up and hands it in.

use events::{DepartmentId, EmployeeId, JobId, LocationId};
use jiff::civil::Date;

/// Something that a command refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Referent {
    /// Ask [`crate::organization::State::standing`].
    Department(DepartmentId),
    /// Ask [`crate::organization::State::standing`].
    Job(JobId),
    /// Ask [`crate::organization::State::standing`].
    Location(LocationId),
    /// Ask the person's own [`crate::employee::State::standing`].
    Manager(EmployeeId),
}

/// A question to look up: how does this stand on that day? `pointer` is the command's field that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    /// JSON Pointer to the field.
    pub pointer: &'static str,
    /// What is referred to.
    pub to: Referent,
    /// The day on which it must be there.
    pub on: Date,
}

/// How a referent stands on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Open, or employed.
    Open,
    /// It exists, but not on that day.
    NotThen,
    /// The tenant has no such thing.
    Unknown,
    /// A manager who reports to the person themselves, directly or not, on a day on which the command would hold.
    Below,
}

/// The answers. What was not looked up counts as unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts(Vec<(Referent, Date, Standing)>);

impl Facts {
    /// No answers: right for commands without references.
    pub const fn none() -> Self {
        Self(Vec::new())
    }
    /// Adds the answer to a reference.
    pub fn insert(&mut self, reference: Reference, standing: Standing) {
        self.0.push((reference.to, reference.on, standing));
    }
    /// The answer to a reference.
    pub fn standing(&self, reference: &Reference) -> Standing {
        // At most four answers: a scan beats a map.
        self.0.iter().find(|(to, on, _)| *to == reference.to && *on == reference.on).map_or(Standing::Unknown, |(_, _, s)| *s)
    }
}

impl FromIterator<(Reference, Standing)> for Facts {
    fn from_iter<I: IntoIterator<Item = (Reference, Standing)>>(answers: I) -> Self {
        Self(answers.into_iter().map(|(r, s)| (r.to, r.on, s)).collect())
    }
}
