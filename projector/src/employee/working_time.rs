//! The fold of a person's working time.

#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;

use events::{Event, StreamName, Version, employee::working_time::WorkingTimeEvent};
use jiff::civil::Date;
use uuid::Uuid;

use super::tables::{WorkingTimeRow, WorkingTimeRows};
use crate::{
    fold::{CannotFold, misplaced, storable_day},
    projection::Fold,
};

/// How much and by which schedule a person works, from a day until the next.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WorkingTime(BTreeMap<Date, WorkingTimeRow>);

impl Fold for WorkingTime {
    type Rows = WorkingTimeRows;
    type Derived = ();

    fn keys(event: &Event, touch: &mut impl FnMut(Uuid)) -> bool {
        let Event::WorkingTime(WorkingTimeEvent::WorkingTimeChanged(e)) = event else { return false };
        touch(e.employee_id.uuid());
        true
    }
    fn fold(&mut self, employee_id: Uuid, _: StreamName, _: Version, event: &Event) -> Result<(), CannotFold> {
        let Event::WorkingTime(WorkingTimeEvent::WorkingTimeChanged(e)) = event else { return misplaced(event) };
        let (valid_from, fraction, schedule_id) = (storable_day(e.from)?, e.fraction.decimal(), e.schedule_id.uuid());
        self.0.insert(valid_from, WorkingTimeRow { employee_id, valid_from, fraction, schedule_id });
        Ok(())
    }
    fn from_rows(rows: WorkingTimeRows) -> Result<Self, CannotFold> {
        Ok(Self(rows.working_time.into_iter().map(|row| (row.valid_from, row)).collect()))
    }
    fn rows(&self, _: Uuid, to: &mut WorkingTimeRows) {
        to.working_time.extend(self.0.values().cloned());
    }
}
