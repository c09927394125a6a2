//! Facts about when people of a tenant work: work schedules, holiday calendars, and which calendar holds at a place.
//!
//! A schedule, and a place's calendar, hold from a day until the next one that is set; a day that is set again holds what was
//! said last.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::{Category, DayPart, Holiday, LocationId, StreamName, TenantScope, WorkSchedule, catalog::events, ids::typed_ids};

typed_ids! {
    /// A work schedule: the days on which people work.
    WorkScheduleId = "work schedule id";
    /// A holiday calendar.
    HolidayCalendarId = "holiday calendar id";
}

events! {
    /// What happened to a tenant's work schedules and holiday calendars.
    pub enum WorkCalendarEvent in Category::WorkCalendar;
    WorkScheduleDefined = 1;
    WorkScheduleChanged = 1;
    HolidayCalendarCreated = 1;
    HolidayYearLoaded = 1;
    HolidayDeclared = 1;
    HolidayRevoked = 1;
    LocationCalendarSet = 1;
}

impl StreamName {
    /// The stream of the tenant's work schedules and holiday calendars.
    pub const fn work_calendar(scope: TenantScope) -> Self {
        Self::of_tenant(scope, Category::WorkCalendar, scope.tenant().uuid())
    }
}

/// A work schedule exists from a day on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkScheduleDefined {
    /// The schedule.
    pub schedule_id: WorkScheduleId,
    /// Its first day.
    pub from: Date,
    /// The tenant's own short code, unique among its schedules, never reused.
    pub code: String,
    /// The name.
    pub name: String,
    /// The days of work.
    pub schedule: WorkSchedule,
}

/// A work schedule has other days of work from a day on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkScheduleChanged {
    /// The schedule.
    pub schedule_id: WorkScheduleId,
    /// From when.
    pub from: Date,
    /// The days of work from then on.
    pub schedule: WorkSchedule,
}

/// A holiday calendar exists. It knows no year yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HolidayCalendarCreated {
    /// The calendar.
    pub calendar_id: HolidayCalendarId,
    /// The tenant's own short code, unique among its calendars, never reused.
    pub code: String,
    /// The name.
    pub name: String,
}

/// The holidays of a year are known. They replace what was known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HolidayYearLoaded {
    /// The calendar.
    pub calendar_id: HolidayCalendarId,
    /// The year.
    pub year: i16,
    /// Its holidays, by day.
    pub holidays: Vec<Holiday>,
    /// Where they come from, such as `AT, holidays 0.62`.
    pub source: String,
}

/// A day or a half of it became a holiday.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HolidayDeclared {
    /// The calendar.
    pub calendar_id: HolidayCalendarId,
    /// The holiday.
    pub holiday: Holiday,
}

/// A day or a half of it is a holiday no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HolidayRevoked {
    /// The calendar.
    pub calendar_id: HolidayCalendarId,
    /// The day.
    pub on: Date,
    /// How much of it.
    pub part: DayPart,
}

/// From a day on a calendar holds at a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocationCalendarSet {
    /// The place; none for people without a place of work, and for places without a calendar of their own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub location_id: Option<LocationId>,
    /// From when.
    pub from: Date,
    /// The calendar.
    pub calendar_id: HolidayCalendarId,
}

/// One event of every type, for golden files and for folds.
#[cfg(test)]
pub(crate) fn samples() -> Vec<Event> {
    use jiff::civil::date;

    use crate::{DayOfWork, HalfOfWork};

    let n = uuid::Uuid::from_u128;
    let (schedule_id, calendar_id) = (WorkScheduleId::from_uuid(n(1)), HolidayCalendarId::from_uuid(n(2)));
    let half = Some(HalfOfWork { hours: 4.into(), days: "0.5".parse().unwrap() });
    let working = DayOfWork { morning: half, afternoon: half };
    let week = |days: usize| {
        let day = |at| if at < days { working } else { DayOfWork::default() };
        WorkSchedule::new(date(2024, 1, 1), (0..7).map(day).collect()).unwrap()
    };
    let holiday = |on, part, name: &str| Holiday { on, part, name: name.into() };
    let (code, name) = ("full".into(), "Full time".into());
    vec![
        WorkScheduleDefined { schedule_id, from: date(2024, 1, 1), code, name, schedule: week(5) }.into(),
        WorkScheduleChanged { schedule_id, from: date(2025, 1, 1), schedule: week(4) }.into(),
        HolidayCalendarCreated { calendar_id, code: "AT".into(), name: "Austria".into() }.into(),
        HolidayYearLoaded {
            calendar_id,
            year: 2025,
            holidays: vec![
                holiday(date(2025, 1, 1), DayPart::Whole, "Neujahr"),
                holiday(date(2025, 12, 24), DayPart::Afternoon, "Heiliger Abend"),
            ],
            source: "AT".into(),
        }
        .into(),
        HolidayDeclared { calendar_id, holiday: holiday(date(2025, 5, 2), DayPart::Whole, "Bridge day") }.into(),
        HolidayRevoked { calendar_id, on: date(2025, 5, 2), part: DayPart::Whole }.into(),
        LocationCalendarSet { location_id: Some(LocationId::from_uuid(n(3))), from: date(2024, 1, 1), calendar_id }.into(),
    ]
}
