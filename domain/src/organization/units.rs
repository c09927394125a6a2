//! What departments, locations and jobs have in common: a code of their own, a first day, perhaps a last one, and
//! changes in between.

use std::collections::{BTreeMap, BTreeSet};

use events::{Change, Effective, Timeline, organization::UnitChange};
use jiff::civil::Date;

use super::Refusal;
use crate::{
    Standing,
    restated::{Sparse, restates},
    text::Code,
};

/// Changes of one thing on one day; far above what happens, far below what the sequence can count.
const MAX_SEQ: u16 = 1_000;

/// All departments, all locations or all jobs of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Units<I, C> {
    by_id: BTreeMap<I, Unit<C>>,
    /// All codes ever used, in lower case.
    codes: BTreeSet<String>,
}

impl<I, C> Default for Units<I, C> {
    fn default() -> Self {
        Self { by_id: BTreeMap::new(), codes: BTreeSet::new() }
    }
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit<C> {
    code: String,
    opened_on: Date,
    /// The first day without it.
    closed_from: Option<Date>,
    timeline: Timeline<C>,
}

/// The id is taken by something else.
pub(super) enum CreateRefusal {
    AlreadyExists,
    Other(Refusal),
}

impl CreateRefusal {
    /// With the pointer to the field that holds the id.
    pub(super) const fn at(self, pointer: &'static str) -> Refusal {
        match self {
            Self::AlreadyExists => Refusal::AlreadyExists(pointer),
            Self::Other(refusal) => refusal,
        }
    }
}

impl<I: Ord + Copy, C: Sparse> Units<I, C> {
    pub(super) fn get(&self, id: I) -> Option<&Unit<C>> {
        self.by_id.get(&id)
    }
    pub(super) fn iter(&self) -> impl Iterator<Item = (&I, &Unit<C>)> {
        self.by_id.iter()
    }
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
    pub(super) fn standing(&self, id: I, on: Date) -> Standing {
        match self.get(id) {
            None => Standing::Unknown,
            Some(unit) if unit.is_open_on(on) => Standing::Open,
            Some(_) => Standing::NotThen,
        }
    }

    /// Whether something can be created: when, or none if it is there just so: open from that day without an end, which says the same of it.
    pub(super) fn create(&self, id: I, code: &Code, on: Date, first: &C) -> Result<Option<Effective>, CreateRefusal> {
        if let Some(unit) = self.get(id) {
            let stands = unit.code == code.as_str() && unit.opened_on == on && unit.closed_from.is_none();
            let same = stands && restates(&unit.timeline, on, first);
            return if same { Ok(None) } else { Err(CreateRefusal::AlreadyExists) };
        }
        if self.codes.contains(&code.as_str().to_lowercase()) {
            return Err(CreateRefusal::Other(Refusal::CodeTaken));
        }
        Ok(Some(Effective { on, seq: 0 }))
    }

    /// Whether something can be changed: when, or none if that day says so already.
    pub(super) fn change(&self, id: I, on: Date, change: &C) -> Result<Option<Effective>, Refusal> {
        let unit = self.get(id).ok_or(Refusal::NotFound)?;
        if on < unit.opened_on {
            return Err(Refusal::BeforeOpening(unit.opened_on));
        }
        if let Some(end) = unit.closed_from.filter(|end| on >= *end) {
            return Err(Refusal::AfterClosing(end));
        }
        if restates(&unit.timeline, on, change) { Ok(None) } else { unit.next(on).map(Some) }
    }

    /// Whether something can be closed: when, or none if it is so already.
    pub(super) fn close(&self, id: I, on: Date) -> Result<Option<Effective>, Refusal> {
        let unit = self.get(id).ok_or(Refusal::NotFound)?;
        match unit.closed_from {
            Some(end) if end == on => Ok(None),
            Some(end) => Err(Refusal::AlreadyClosed(end)),
            None if on <= unit.opened_on => Err(Refusal::ClosesBeforeOpening(unit.opened_on)),
            None => unit.next(on).map(Some),
        }
    }

    /// Whether what was recorded of something is still so on its day: a change after the closing is not.
    pub(super) fn holds(&self, id: I, what: UnitChange, effective: Effective) -> bool {
        self.get(id).is_some_and(|unit| match what {
            UnitChange::Opened => unit.opened_on == effective.on,
            UnitChange::Changed | UnitChange::Moved => unit.is_open_on(effective.on) && unit.timeline.has(effective),
            UnitChange::Closed => unit.closed_from == Some(effective.on),
        })
    }

    pub(super) fn created(&mut self, id: I, code: &str, effective: Effective, first: C) {
        let mut timeline = Timeline::default();
        timeline.insert(effective, first);
        self.codes.insert(code.to_lowercase());
        self.by_id.insert(id, Unit { code: code.to_owned(), opened_on: effective.on, closed_from: None, timeline });
    }
    pub(super) fn changed(&mut self, id: I, effective: Effective, change: C) {
        if let Some(unit) = self.by_id.get_mut(&id) {
            unit.timeline.insert(effective, change);
        }
    }
    pub(super) fn closed(&mut self, id: I, on: Date) {
        if let Some(unit) = self.by_id.get_mut(&id) {
            unit.closed_from = Some(on);
        }
    }
}

impl<C: Change> Unit<C> {
    pub(super) fn changes(&self) -> &[(Effective, C)] {
        self.timeline.changes()
    }
    pub(super) const fn opened_on(&self) -> Date {
        self.opened_on
    }
    pub(super) const fn closed_from(&self) -> Option<Date> {
        self.closed_from
    }
    pub(super) fn is_open_on(&self, day: Date) -> bool {
        self.opened_on <= day && self.closed_from.is_none_or(|end| day < end)
    }
    /// Whether it is open on every day of `[from, to)`.
    pub(super) fn is_open_throughout(&self, from: Date, to: Option<Date>) -> bool {
        let outlasts = match (self.closed_from, to) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(end), Some(to)) => end >= to,
        };
        self.opened_on <= from && outlasts
    }
    fn next(&self, on: Date) -> Result<Effective, Refusal> {
        let seq = self.timeline.next_seq(on);
        if seq < MAX_SEQ { Ok(Effective { on, seq }) } else { Err(Refusal::TooManyChangesOnDay) }
    }
}
