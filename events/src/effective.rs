//! Effective dating: the day a fact takes effect, and how a list of sparse changes becomes rows.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// When a fact takes effect: a civil day, and its place among the facts of that day (0 is the first; the last stands).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Effective {
    /// The first day on which the fact holds. May be past or future.
    #[schema(value_type = String, format = Date)]
    pub on: Date,
    /// The same-day sequence.
    pub seq: u16,
}

/// A sparse change to a row: sets some fields, leaves the others as they were.
pub trait Change {
    /// The row that changes build up.
    type Row: Clone;
    /// Sets this change's fields in `row`.
    fn apply(&self, row: &mut Self::Row);
}

/// One row of a timeline: what held from a day until the next row, `[from, to)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span<R> {
    /// When the row took effect.
    pub from: Effective,
    /// The first day on which it no longer held; none if it still does. Equal to `from.on` where a later change
    /// of the same day took its place.
    pub to: Option<Date>,
    /// What held.
    pub row: R,
}

/// Sparse changes in effective order.
///
/// A change inserted in the past carries forward: later rows show it unless a later change sets that field itself.
/// That follows from keeping changes, not rows, and folding them on reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline<C> {
    changes: Vec<(Effective, C)>,
}

impl<C> Default for Timeline<C> {
    fn default() -> Self {
        Self { changes: Vec::new() }
    }
}

impl<C: Change> Timeline<C> {
    /// Inserts a change at its place; one with the same effective date and sequence is replaced, so that applying
    /// the same event twice changes nothing.
    pub fn insert(&mut self, at: Effective, change: C) {
        match self.changes.binary_search_by_key(&at, |(e, _)| *e) {
            Ok(i) => self.changes[i].1 = change,
            Err(i) => self.changes.insert(i, (at, change)),
        }
    }

    /// Lets the first change take effect on an earlier day, as the first of it.
    pub fn start_by(&mut self, on: Date) {
        if let Some((first, _)) = self.changes.first_mut()
            && on < first.on
        {
            *first = Effective { on, seq: 0 };
        }
    }

    /// The changes, earliest first.
    pub fn changes(&self) -> &[(Effective, C)] {
        &self.changes
    }

    /// Whether there is a change of this day and sequence.
    pub fn has(&self, at: Effective) -> bool {
        self.changes.binary_search_by_key(&at, |(e, _)| *e).is_ok()
    }

    /// The sequence that the next change on this day gets.
    pub fn next_seq(&self, on: Date) -> u16 {
        self.changes.iter().rev().find(|(e, _)| e.on == on).map_or(0, |(e, _)| e.seq + 1)
    }

    /// Folds the changes into rows. `start` is what holds before the first change; `end` (exclusive) closes the last
    /// row, and rows at or after it get no length.
    pub fn spans(&self, start: C::Row, end: Option<Date>) -> Vec<Span<C::Row>> {
        let mut row = start;
        let mut spans: Vec<Span<C::Row>> = Vec::with_capacity(self.changes.len());
        for (i, (from, change)) in self.changes.iter().enumerate() {
            change.apply(&mut row);
            let next = self.changes.get(i + 1).map(|(e, _)| e.on);
            let to = match (next, end) {
                (Some(n), Some(e)) => Some(n.min(e).max(from.on)),
                (Some(n), None) => Some(n),
                (None, Some(e)) => Some(e.max(from.on)),
                (None, None) => None,
            };
            spans.push(Span { from: *from, to, row: row.clone() });
        }
        spans
    }

    /// The row that holds on a day, or none before the first change.
    pub fn on(&self, start: C::Row, day: Date) -> Option<C::Row> {
        let mut row = start;
        let mut any = false;
        for (from, change) in &self.changes {
            if from.on > day {
                break;
            }
            change.apply(&mut row);
            any = true;
        }
        any.then_some(row)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[derive(Clone)]
    struct Set(Option<u8>, Option<char>);
    impl Change for Set {
        type Row = (u8, char);
        fn apply(&self, row: &mut (u8, char)) {
            if let Some(n) = self.0 {
                row.0 = n;
            }
            if let Some(c) = self.1 {
                row.1 = c;
            }
        }
    }
    fn at(day: i8, seq: u16) -> Effective {
        Effective { on: date(2020, 1, day), seq }
    }

    #[test]
    fn a_change_in_the_past_carries_forward_until_a_later_one_sets_the_field() {
        let mut t = Timeline::default();
        t.insert(at(1, 0), Set(Some(1), Some('a')));
        t.insert(at(10, 0), Set(None, Some('b')));
        t.insert(at(20, 0), Set(Some(3), None));
        t.insert(at(5, 0), Set(Some(2), Some('z')));
        let rows: Vec<_> =
            t.spans((0, ' '), None).into_iter().map(|s| (s.from.on.day(), s.to.map(jiff::civil::Date::day), s.row)).collect();
        assert_eq!(rows, [(1, Some(5), (1, 'a')), (5, Some(10), (2, 'z')), (10, Some(20), (2, 'b')), (20, None, (3, 'b'))]);
        assert_eq!(t.on((0, ' '), date(2020, 1, 12)), Some((2, 'b')));
        assert_eq!(t.on((0, ' '), date(2019, 12, 31)), None);
    }

    #[test]
    fn the_later_change_of_a_day_stands_and_an_end_closes_what_is_open() {
        let mut t = Timeline::default();
        t.insert(at(1, 0), Set(Some(1), Some('a')));
        assert_eq!(t.next_seq(date(2020, 1, 1)), 1);
        t.insert(at(1, 1), Set(Some(2), None));
        t.insert(at(30, 0), Set(Some(9), None));
        let rows: Vec<_> = t.spans((0, ' '), Some(date(2020, 1, 20))).into_iter().map(|s| (s.from, s.to, s.row.0)).collect();
        assert_eq!(
            rows,
            [(at(1, 0), Some(date(2020, 1, 1)), 1), (at(1, 1), Some(date(2020, 1, 20)), 2), (at(30, 0), Some(date(2020, 1, 30)), 9)]
        );
    }
}
