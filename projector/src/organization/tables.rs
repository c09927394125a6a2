//! The rows of departments, locations and jobs.

use jiff::civil::Date;
use uuid::Uuid;

use crate::binary::Until;

crate::tables! {
    /// A department from a day on.
    pub struct DepartmentSpan in department_span, key [department_id, valid_from, seq] {
        department_id: Uuid,
        valid_from: Date,
        seq: i16,
        valid_to: Until,
        code: String,
        name: String,
        parent_id: Option<Uuid>,
        sets: i16,
    }
    /// A location from a day on.
    pub struct LocationSpan in location_span, key [location_id, valid_from, seq] {
        location_id: Uuid,
        valid_from: Date,
        seq: i16,
        valid_to: Until,
        code: String,
        name: String,
        time_zone: String,
        sets: i16,
    }
    /// A job from a day on.
    pub struct JobSpan in job_span, key [job_id, valid_from, seq] {
        job_id: Uuid,
        valid_from: Date,
        seq: i16,
        valid_to: Until,
        code: String,
        title: String,
        sets: i16,
    }
    /// The days of work of a schedule from a day on.
    pub struct WorkSchedule in work_schedule, key [schedule_id, valid_from] {
        schedule_id: Uuid,
        valid_from: Date,
        code: String,
        name: String,
        days: String,
    }
    /// A holiday calendar.
    pub struct HolidayCalendar in holiday_calendar, key [calendar_id] {
        calendar_id: Uuid,
        code: String,
        name: String,
    }
    /// A year that a calendar knows.
    pub struct HolidayYear in holiday_year, key [calendar_id, year] {
        calendar_id: Uuid,
        year: i16,
        holidays: String,
        source: String,
    }
    /// Which calendar holds at a place from a day on.
    pub struct PlaceCalendar in place_calendar, key [place_id, valid_from] {
        place_id: Uuid,
        valid_from: Date,
        calendar_id: Uuid,
    }
}

crate::rows! {
    /// The rows of a department.
    pub struct DepartmentRows by [department_id: Uuid] {
        department_span: DepartmentSpan,
    }
    /// The rows of a location.
    pub struct LocationRows by [location_id: Uuid] {
        location_span: LocationSpan,
    }
    /// The rows of a job.
    pub struct JobRows by [job_id: Uuid] {
        job_span: JobSpan,
    }
    /// The rows of a schedule.
    pub struct ScheduleRows by [schedule_id: Uuid] {
        work_schedule: WorkSchedule,
    }
    /// The rows of a holiday calendar.
    pub struct CalendarRows by [calendar_id: Uuid] {
        holiday_calendar: HolidayCalendar,
        holiday_year: HolidayYear,
    }
    /// The rows of a place.
    pub struct PlaceRows by [place_id: Uuid] {
        place_calendar: PlaceCalendar,
    }
}
