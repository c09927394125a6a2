//! Facts about how much and when a person works.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::EmployeeId;
use crate::{Category, StreamName, TenantScope, WorkFraction, catalog::events, organization::calendar::WorkScheduleId};

events! {
    /// What happened to a person's working time.
    pub enum WorkingTimeEvent in Category::WorkingTime;
    WorkingTimeChanged = 1;
}

impl StreamName {
    /// The stream of one person's working time.
    pub const fn working_time(scope: TenantScope, id: EmployeeId) -> Self {
        Self::of_tenant(scope, Category::WorkingTime, id.uuid())
    }
}

/// From a day on a person works so much, by a schedule. It holds until the next such change; a day that is set again holds what
/// was said last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkingTimeChanged {
    /// The person.
    pub employee_id: EmployeeId,
    /// From when.
    pub from: Date,
    /// How much of full time.
    pub fraction: WorkFraction,
    /// On which days.
    pub schedule_id: WorkScheduleId,
}

/// One event of every type, for golden files and for folds.
#[cfg(test)]
pub(crate) fn samples() -> Vec<Event> {
    let n = uuid::Uuid::from_u128;
    let (employee_id, schedule_id) = (EmployeeId::from_uuid(n(2)), WorkScheduleId::from_uuid(n(1)));
    let fraction = WorkFraction::new("0.8".parse().unwrap()).unwrap();
    vec![WorkingTimeChanged { employee_id, from: jiff::civil::date(2025, 1, 1), fraction, schedule_id }.into()]
}
