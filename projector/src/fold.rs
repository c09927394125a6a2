//! Folding: a pure function from a key's rows and an event to the key's rows after it.
//!
//! The same fold serves live batches (rows loaded from PostgreSQL and written back), rebuilds and replays (rows in
//! memory). What an event can't mean is refused, and its tenant is parked: nothing guesses (I8). What folds of any capability
//! need to refuse or to write stands here.

#![deny(clippy::disallowed_methods)]

use events::{Change, Effective, Event, Timeline, employee::Patch};
use jiff::civil::Date;
use serde::{Serialize, de::DeserializeOwned};

use crate::binary::Until;

/// Why an event can't be folded. The tenant is parked with it; it holds no personal data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CannotFold(pub String);

/// Refuses a day that no column can hold.
pub(crate) fn storable_day(day: Date) -> Result<Date, CannotFold> {
    if day.year() >= 1 { Ok(day) } else { Err(CannotFold(format!("the day {day} lies before the year 1"))) }
}

/// Refuses an effective date that no row can hold.
pub(crate) fn storable_effective(at: Effective) -> Result<Effective, CannotFold> {
    storable_day(at.on)?;
    if i16::try_from(at.seq).is_ok() { Ok(at) } else { Err(CannotFold(format!("{} has more than 32,768 changes", at.on))) }
}

/// Refuses a change that does not come after the first, which creates and sets every field: there would be a row without
/// them.
pub(crate) fn after_first<C: Change>(changes: &Timeline<C>, at: Effective, event_type: &str) -> Result<Effective, CannotFold> {
    match changes.changes().first() {
        Some((first, _)) if at > *first => storable_effective(at),
        Some((first, _)) => Err(CannotFold(format!("{event_type} on {} is not after what it changes, of {}", at.on, first.on))),
        None => Err(CannotFold(format!("{event_type} changes what was never created"))),
    }
}

/// Refuses an event that came to a key which it does not touch.
pub(crate) fn misplaced<T>(event: &Event) -> Result<T, CannotFold> {
    Err(CannotFold(format!("{} does not belong to this key", event.event_type())))
}

/// The end that clipped these spans, which are in effective order; none if the last is open. Spans without length took
/// effect on or after the end, or were replaced on the same day; the end is where the spans with length stop. Where there is
/// none with length, the end is not after the first span.
pub(crate) fn end_of(spans: impl Iterator<Item = (Date, Until)> + Clone) -> Option<Date> {
    let (_, last) = spans.clone().last()?;
    last.0?;
    let with_length = spans.clone().filter_map(|(from, to)| to.0.filter(|to| *to > from)).max();
    with_length.or_else(|| spans.map(|(from, _)| from).min())
}

/// Refuses a text that no column can hold. The reason names no text: it may be personal.
pub(crate) fn storable_text<'t>(texts: impl IntoIterator<Item = &'t String>) -> Result<(), CannotFold> {
    let nul = texts.into_iter().any(|text| text.contains('\0'));
    if nul { Err(CannotFold("a text holds the character NUL".into())) } else { Ok(()) }
}

/// A part of an event as JSON, for a column of text.
pub(crate) fn to_json(value: &impl Serialize) -> Result<String, CannotFold> {
    serde_json::to_string(value).map_err(|error| CannotFold(error.to_string()))
}

/// The part of an event that such a column holds.
pub(crate) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, CannotFold> {
    serde_json::from_str(text).map_err(|error| CannotFold(format!("a row holds no such value: {error}")))
}

/// The sequence as its column holds it; [`storable_effective`] was asked before.
pub(crate) fn seq(at: Effective) -> i16 {
    i16::try_from(at.seq).unwrap_or(i16::MAX)
}

/// The effective date of a row.
pub(crate) fn effective(on: Date, seq: i16) -> Effective {
    Effective { on, seq: seq.unsigned_abs() }
}

/// The column `sets`: a bit per field that a change sets, the first field's lowest.
pub(crate) fn sets<const N: usize>(fields: [bool; N]) -> i16 {
    fields.iter().rev().fold(0, |bits, set| bits << 1 | i16::from(*set))
}

/// Whether a row's own change set its n-th field.
pub(crate) fn is_set(sets: i16, n: u32) -> bool {
    sets >> n & 1 == 1
}

/// The change that a row's own change made to an optional field.
pub(crate) fn patch<T>(set: bool, value: Option<T>) -> Patch<T> {
    if set { value.map_or(Patch::Clear, Patch::Set) } else { Patch::Keep }
}

#[cfg(test)]
mod tests;
