//! What a day says already.
//!
//! A change that says what that day says already is a retry, and nothing follows from it. One that says what merely holds
//! on that day, because an earlier day said it, is a fact of its own: without it a change that is inserted between the two
//! would carry forward over it.

use events::{Change, Timeline};
use jiff::civil::Date;

/// A change that tells what it says from what it leaves alone.
pub(crate) trait Sparse: Change + Clone + PartialEq {
    /// What an earlier change of the day and this one say together.
    fn over(&self, earlier: &Self) -> Self;
    /// Whether it says nothing at all.
    fn is_void(&self) -> bool;
}

/// Whether the changes of that day say all that this one says.
pub(crate) fn restates<C: Sparse>(timeline: &Timeline<C>, on: Date, change: &C) -> bool {
    let of_day = timeline.changes().iter().filter(|(at, _)| at.on == on).map(|(_, change)| change.clone());
    match of_day.reduce(|earlier, later| later.over(&earlier)) {
        Some(said) => change.over(&said) == said,
        None => change.is_void(),
    }
}
