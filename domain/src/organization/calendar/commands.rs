//! What can be asked of a tenant's work schedules and holiday calendars.

use std::collections::BTreeSet;

use events::{
    CommandId, DayHalf, DayPart, FieldClass, Holiday, LocationId, StreamName, TenantScope, WorkSchedule,
    organization::calendar::{HolidayCalendarId, WorkScheduleId},
};
use jiff::civil::Date;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Refusal;
use crate::{
    ClaimUse, LockUse, Touches,
    command::{chosen, commands},
    text::{Code, Day, Name},
};

commands! {
    /// A command about work schedules or holiday calendars.
    pub enum Command {
        DefineWorkSchedule, ChangeWorkSchedule, CreateHolidayCalendar, LoadHolidayYear, DeclareHoliday, RevokeHoliday, SetLocationCalendar
    }
}

/// Define a work schedule: the days on which people work.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DefineWorkSchedule {
    /// Its id; chosen by the system if absent.
    #[serde(default = "unset_schedule", deserialize_with = "chosen")]
    pub schedule_id: WorkScheduleId,
    /// Its first day.
    pub effective_on: Day,
    /// A short code, unique among the tenant's schedules, never reused.
    pub code: Code,
    /// The name.
    pub name: Name,
    /// The days of work, in whole weeks that repeat.
    pub schedule: WorkSchedule,
}

/// Give a work schedule other days of work from a day on.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeWorkSchedule {
    /// The schedule.
    pub schedule_id: WorkScheduleId,
    /// From when.
    pub effective_on: Day,
    /// The days of work from then on.
    pub schedule: WorkSchedule,
}

/// Create a holiday calendar. It knows no year yet: load those that people may ask about.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateHolidayCalendar {
    /// Its id; chosen by the system if absent.
    #[serde(default = "unset_calendar", deserialize_with = "chosen")]
    pub calendar_id: HolidayCalendarId,
    /// A short code, unique among the tenant's calendars, never reused.
    pub code: Code,
    /// The name.
    pub name: Name,
}

/// A day or half day on which nobody works.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HolidayInput {
    /// The day.
    pub on: Day,
    /// How much of it; the whole day if absent.
    #[serde(default = "whole")]
    pub part: DayPart,
    /// Its name.
    pub name: Name,
}

/// Load the holidays of a year. They replace what was known of it.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadHolidayYear {
    /// The calendar.
    pub calendar_id: HolidayCalendarId,
    /// The year.
    pub year: i16,
    /// All its holidays, in any order.
    pub holidays: Vec<HolidayInput>,
    /// Where they come from, for whoever asks.
    pub source: Name,
}

/// Make a day or a half of it a holiday. Requests that touch it are costed anew.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclareHoliday {
    /// The calendar.
    pub calendar_id: HolidayCalendarId,
    /// The day.
    pub on: Day,
    /// How much of it; the whole day if absent.
    #[serde(default = "whole")]
    pub part: DayPart,
    /// Its name.
    pub name: Name,
}

/// Make a day or a half of it a holiday no more.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeHoliday {
    /// The calendar.
    pub calendar_id: HolidayCalendarId,
    /// The day.
    pub on: Day,
    /// How much of it; the whole day if absent.
    #[serde(default = "whole")]
    pub part: DayPart,
}

/// Let a calendar hold at a place from a day on, or, without a place, wherever none is set.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetLocationCalendar {
    /// The calendar.
    pub calendar_id: HolidayCalendarId,
    /// The place; absent for people without a place of work, and for places without a calendar of their own.
    #[serde(default)]
    pub location_id: Option<LocationId>,
    /// From when.
    pub effective_on: Day,
}

// The nil id stands for "not chosen" until `Command::fill_ids`.
const fn unset_schedule() -> WorkScheduleId {
    WorkScheduleId::from_uuid(Uuid::nil())
}
const fn unset_calendar() -> HolidayCalendarId {
    HolidayCalendarId::from_uuid(Uuid::nil())
}
const fn whole() -> DayPart {
    DayPart::Whole
}

impl LoadHolidayYear {
    /// The holidays by day, if each half of a day of the year is named at most once.
    pub(super) fn holidays(&self, most: usize) -> Result<Vec<Holiday>, Refusal> {
        if !(1900..=2200).contains(&self.year) {
            return Err(Refusal::YearOutOfRange);
        }
        if self.holidays.len() > most {
            return Err(Refusal::TooManyHolidays);
        }
        let mut taken: BTreeSet<(Date, DayHalf)> = BTreeSet::new();
        let mut holidays = Vec::with_capacity(self.holidays.len());
        for holiday in &self.holidays {
            let on = holiday.on.date();
            if on.year() != self.year {
                return Err(Refusal::OtherYear(on));
            }
            if !holiday.part.each().iter().all(|half| taken.insert((on, *half))) {
                return Err(Refusal::HolidayTwice(on));
            }
            holidays.push(Holiday { on, part: holiday.part, name: holiday.name.to_text() });
        }
        holidays.sort_by_key(|holiday| (holiday.on, holiday.part));
        Ok(holidays)
    }
}

impl Command {
    /// Gives what is created an id derived from the command's, unless one was chosen.
    pub fn fill_ids(&mut self, command: CommandId) {
        let parent = command.uuid();
        match self {
            Self::DefineWorkSchedule(c) if c.schedule_id == unset_schedule() => c.schedule_id = WorkScheduleId::derive(parent, "schedule"),
            Self::CreateHolidayCalendar(c) if c.calendar_id == unset_calendar() => {
                c.calendar_id = HolidayCalendarId::derive(parent, "calendar");
            }
            Self::DefineWorkSchedule(_)
            | Self::ChangeWorkSchedule(_)
            | Self::CreateHolidayCalendar(_)
            | Self::LoadHolidayYear(_)
            | Self::DeclareHoliday(_)
            | Self::RevokeHoliday(_)
            | Self::SetLocationCalendar(_) => {}
        }
    }
    /// The stream of the tenant's schedules and calendars.
    pub const fn stream(&self, scope: TenantScope) -> StreamName {
        StreamName::work_calendar(scope)
    }
    /// The id of the schedule or calendar.
    pub fn object_id(&self) -> String {
        match self {
            Self::DefineWorkSchedule(c) => c.schedule_id.to_string(),
            Self::ChangeWorkSchedule(c) => c.schedule_id.to_string(),
            Self::CreateHolidayCalendar(c) => c.calendar_id.to_string(),
            Self::LoadHolidayYear(c) => c.calendar_id.to_string(),
            Self::DeclareHoliday(c) => c.calendar_id.to_string(),
            Self::RevokeHoliday(c) => c.calendar_id.to_string(),
            Self::SetLocationCalendar(c) => c.calendar_id.to_string(),
        }
    }
    /// Whether it starts a stream: none does, the tenant has one.
    pub const fn creates(&self) -> bool {
        false
    }
    /// Whom it touches.
    pub const fn touches(&self) -> Touches {
        Touches::Everybody(FieldClass::Directory)
    }
    /// None: one stream holds all codes of a tenant.
    pub const fn claims(&self) -> Vec<ClaimUse> {
        Vec::new()
    }
    /// None: one stream decides.
    pub const fn lock(&self) -> Option<LockUse> {
        None
    }
}

/// A sample of each, for tests of all commands.
#[cfg(test)]
pub(crate) fn samples() -> Vec<(&'static str, String)> {
    let day = r#""effective_on":"2020-01-01""#;
    let work = r#"{"morning":{"hours":"4","days":"0.5"},"afternoon":{"hours":"4","days":"0.5"}}"#;
    let week = format!(r#""schedule":{{"counts_from":"2024-01-01","days":[{work},{work},{work},{work},{work},{{}},{{}}]}}"#);
    vec![
        ("DefineWorkSchedule", format!(r#"{{{day},"code":"full","name":"Full time",{week}}}"#)),
        ("ChangeWorkSchedule", format!(r#"{{"schedule_id":"ID",{day},{week}}}"#)),
        ("CreateHolidayCalendar", r#"{"code":"AT","name":"Austria"}"#.into()),
        (
            "LoadHolidayYear",
            r#"{"calendar_id":"ID","year":2025,"holidays":[{"on":"2025-01-01","name":"New Year"},{"on":"2025-12-24","part":"afternoon","name":"Eve"}],"source":"AT"}"#.into(),
        ),
        ("DeclareHoliday", r#"{"calendar_id":"ID","on":"2025-05-02","name":"Bridge day"}"#.into()),
        ("RevokeHoliday", r#"{"calendar_id":"ID","on":"2025-05-02"}"#.into()),
        ("SetLocationCalendar", format!(r#"{{"calendar_id":"ID","location_id":"ID",{day}}}"#)),
    ]
}
