//! Work schedules and holiday calendars, whole: a tenant has few.

use axum::extract::State;
use events::{Holiday, WorkSchedule, organization::calendar::HolidayCalendarId};
use platform::{Problem, Reader};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    params::{Day, Fresh, Id, NoParams},
    read::{Answer, Positioned, Reads, not_found, stored},
};

/// All work schedules, by code and first day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkSchedules {
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// What each says from a day on.
    pub items: Vec<WorkScheduleItem>,
}

/// What a work schedule says from a day on, until the next such day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkScheduleItem {
    /// The schedule.
    pub schedule_id: Uuid,
    /// The tenant's own code.
    pub code: String,
    /// The name.
    pub name: String,
    /// From when.
    #[schema(format = Date)]
    pub valid_from: String,
    /// The days of work.
    pub schedule: WorkSchedule,
}

/// All holiday calendars, by code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HolidayCalendars {
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// The calendars.
    pub items: Vec<HolidayCalendarItem>,
}

/// A holiday calendar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HolidayCalendarItem {
    /// The calendar.
    pub calendar_id: Uuid,
    /// The tenant's own code.
    pub code: String,
    /// The name.
    pub name: String,
    /// The years that it knows.
    pub years: Vec<i16>,
}

/// A holiday calendar with its holidays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HolidayCalendarContent {
    /// The calendar.
    pub calendar_id: Uuid,
    /// The tenant's own code.
    pub code: String,
    /// The name.
    pub name: String,
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// The years that it knows.
    pub years: Vec<HolidayYear>,
    /// Where it holds, from a day until the next.
    pub places: Vec<CalendarPlace>,
}

/// The holidays of a year.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HolidayYear {
    /// The year.
    pub year: i16,
    /// Where they come from.
    pub source: String,
    /// The holidays, by day.
    pub holidays: Vec<Holiday>,
}

/// A place at which a calendar holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CalendarPlace {
    /// The location; null for people without one, and for places without a calendar of their own.
    pub location_id: Option<Uuid>,
    /// From when.
    #[schema(format = Date)]
    pub valid_from: String,
}

/// A row of any of these: what is absent does not belong to it.
#[derive(FromRow)]
struct Row {
    position: i64,
    id: Option<Uuid>,
    code: Option<String>,
    name: Option<String>,
    day: Option<Day>,
    year: Option<i16>,
    text: Option<String>,
    source: Option<String>,
    place: Option<Uuid>,
}
impl Positioned for Row {
    fn position(&self) -> i64 {
        self.position
    }
}

/// All work schedules.
#[utoipa::path(get, path = "/v1/work-schedules", tag = "organization",
    responses((status = 200, description = "The answer", body = WorkSchedules, headers(("Tenure-Position" = String)))))]
pub(crate) async fn work_schedules(State(reads): State<Reads>, reader: Reader, _params: NoParams, fresh: Fresh) -> Result<Answer, Problem> {
    let sql = "select c.position, s.schedule_id as id, s.code, s.name, s.valid_from as day, null::smallint as year, s.days as text,
            null::text as source, null::uuid as place
         from checkpoint c left join work_schedule s on true order by s.code collate \"C\", s.valid_from";
    let (position, rows) = reads.all::<Row>(&reader, fresh, sqlx::query_as(sql)).await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        let (Some(schedule_id), Some(code), Some(name), Some(day), Some(text)) = (row.id, row.code, row.name, row.day, row.text) else {
            continue;
        };
        let schedule = stored(Some(&text))?;
        items.push(WorkScheduleItem { schedule_id, code, name, valid_from: day.to_string(), schedule });
    }
    Answer::json(position, &WorkSchedules { position, items })
}

/// All holiday calendars.
#[utoipa::path(get, path = "/v1/holiday-calendars", tag = "organization",
    responses((status = 200, description = "The answer", body = HolidayCalendars, headers(("Tenure-Position" = String)))))]
pub(crate) async fn holiday_calendars(
    State(reads): State<Reads>,
    reader: Reader,
    _params: NoParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    let sql = "select c.position, h.calendar_id as id, h.code, h.name, null::date as day, y.year, null::text as text, null::text as source,
            null::uuid as place
         from checkpoint c left join holiday_calendar h on true left join holiday_year y on y.calendar_id = h.calendar_id
         order by h.code collate \"C\", y.year";
    let (position, rows) = reads.all::<Row>(&reader, fresh, sqlx::query_as(sql)).await?;
    let mut items: Vec<HolidayCalendarItem> = Vec::new();
    for row in rows {
        let (Some(calendar_id), Some(code), Some(name)) = (row.id, row.code, row.name) else { continue };
        if items.last().is_none_or(|last| last.calendar_id != calendar_id) {
            items.push(HolidayCalendarItem { calendar_id, code, name, years: Vec::new() });
        }
        if let Some(last) = items.last_mut() {
            last.years.extend(row.year);
        }
    }
    Answer::json(position, &HolidayCalendars { position, items })
}

/// A holiday calendar: its years and where it holds.
#[utoipa::path(get, path = "/v1/holiday-calendars/{id}", tag = "organization", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The answer", body = HolidayCalendarContent, headers(("Tenure-Position" = String))), (status = 404, description = "`not_found`: there is no such object", body = crate::openapi::ProblemDocument, content_type = "application/problem+json")))]
pub(crate) async fn holiday_calendar(
    State(reads): State<Reads>,
    reader: Reader,
    Id(id): Id<HolidayCalendarId>,
    _params: NoParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    let sql = "select c.position, h.calendar_id as id, h.code, h.name, null::date as day, y.year, y.holidays as text, y.source,
            null::uuid as place
         from checkpoint c left join holiday_calendar h on h.calendar_id = $1 left join holiday_year y on y.calendar_id = $1
         union all
         select 0, p.calendar_id, null, null, p.valid_from, null, null, null, p.place_id from place_calendar p where p.calendar_id = $1
         order by year, day, place";
    let (position, rows) = reads.all::<Row>(&reader, fresh, sqlx::query_as(sql).bind(id.uuid())).await?;
    let (mut found, mut years, mut places) = (None, Vec::new(), Vec::new());
    for row in rows {
        if let (Some(code), Some(name)) = (row.code, row.name) {
            found = Some((code, name));
        }
        if let (Some(year), Some(text), Some(source)) = (row.year, row.text, row.source) {
            let holidays = stored(Some(&text))?;
            years.push(HolidayYear { year, source, holidays });
        }
        if let (Some(day), Some(place)) = (row.day, row.place) {
            places.push(CalendarPlace { location_id: Some(place).filter(|place| !place.is_nil()), valid_from: day.to_string() });
        }
    }
    let (code, name) = found.ok_or_else(not_found)?;
    Answer::json(position, &HolidayCalendarContent { calendar_id: id.uuid(), code, name, position, years, places })
}
