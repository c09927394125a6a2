//! What a day says already.
//!
//! A change that says what that day says already, its reason included, changes nothing, and nothing follows from it. One that
//! says what merely holds on that day, because an earlier day said it, is a fact of its own: without it a change that is
//! inserted between the two would carry forward over it.

use events::{Change, Timeline};
use jiff::civil::Date;

/// A change that tells what it says from what it leaves alone.
pub(crate) trait Sparse: Change + Clone + PartialEq {
    /// What an earlier change of the day and this one say together.
    fn over(&self, earlier: &Self) -> Self;
    /// Whether it says nothing at all.
    fn is_void(&self) -> bool;
}

/// A change and why. The reason is the change's own: a later change of the same day replaces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reasoned<C> {
    pub(crate) change: C,
    /// None of what a hire itself sets.
    pub(crate) reason: Option<Box<str>>,
}

impl<C: Change> Change for Reasoned<C> {
    type Row = C::Row;
    fn apply(&self, row: &mut Self::Row) {
        self.change.apply(row);
    }
}

impl<C: Sparse> Sparse for Reasoned<C> {
    fn over(&self, earlier: &Self) -> Self {
        Self { change: self.change.over(&earlier.change), reason: self.reason.clone() }
    }
    fn is_void(&self) -> bool {
        self.change.is_void()
    }
}

/// What the changes of a day say together; nothing where there are none.
pub(crate) fn said_on<C: Sparse>(timeline: &Timeline<C>, on: Date) -> Option<C> {
    let of_day = timeline.changes().iter().filter(|(at, _)| at.on == on).map(|(_, change)| change.clone());
    of_day.reduce(|earlier, later| later.over(&earlier))
}

/// Whether the changes of that day say all that this one says.
pub(crate) fn restates<C: Sparse>(timeline: &Timeline<C>, on: Date, change: &C) -> bool {
    change.is_void() || said_on(timeline, on).is_some_and(|said| change.over(&said) == said)
}
