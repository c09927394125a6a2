//! Commands about departments, locations and jobs, and about when people work.

use domain::organization::{
    ChangeLocation, CloseDepartment, CloseLocation, CreateDepartment, CreateJob, MoveDepartment, OpenLocation, RenameDepartment, RetireJob,
    RetitleJob,
    calendar::{
        ChangeWorkSchedule, CreateHolidayCalendar, DeclareHoliday, DefineWorkSchedule, LoadHolidayYear, RevokeHoliday, SetLocationCalendar,
    },
};
use events::{
    DepartmentId, JobId, LocationId,
    organization::calendar::{HolidayCalendarId, WorkScheduleId},
};

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app::App, route::route};

/// What the contract says of these routes.
pub(crate) const TAG: &str = "Departments, locations and jobs";

/// The table of contents.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create_department))
        .routes(routes!(rename_department))
        .routes(routes!(move_department))
        .routes(routes!(close_department))
        .routes(routes!(open_location))
        .routes(routes!(change_location))
        .routes(routes!(close_location))
        .routes(routes!(create_job))
        .routes(routes!(retitle_job))
        .routes(routes!(retire_job))
        .routes(routes!(define_work_schedule))
        .routes(routes!(change_work_schedule))
        .routes(routes!(create_holiday_calendar))
        .routes(routes!(load_holiday_year))
        .routes(routes!(declare_holiday))
        .routes(routes!(revoke_holiday))
        .routes(routes!(set_location_calendar))
}

route! {
    /// Create a department.
    create_department: CreateDepartment at "/v1/departments" for Editor in "organization"
}
route! {
    /// Give a department another name from a day on.
    rename_department: RenameDepartment on "department_id": DepartmentId at "/v1/departments/{id}/name" for Editor in "organization"
}
route! {
    /// Put a department elsewhere in the tree from a day on.
    move_department: MoveDepartment on "department_id": DepartmentId at "/v1/departments/{id}/parent" for Editor in "organization"
}
route! {
    /// Close a department.
    close_department: CloseDepartment on "department_id": DepartmentId at "/v1/departments/{id}/closure" for Editor in "organization"
}
route! {
    /// Open a place of work.
    open_location: OpenLocation at "/v1/locations" for Editor in "organization"
}
route! {
    /// Give a location another name or time zone from a day on.
    change_location: ChangeLocation on "location_id": LocationId at "/v1/locations/{id}/changes" for Editor in "organization"
}
route! {
    /// Close a location.
    close_location: CloseLocation on "location_id": LocationId at "/v1/locations/{id}/closure" for Editor in "organization"
}
route! {
    /// Create a job that people can be employed as.
    create_job: CreateJob at "/v1/jobs" for Editor in "organization"
}
route! {
    /// Give a job another title from a day on.
    retitle_job: RetitleJob on "job_id": JobId at "/v1/jobs/{id}/title" for Editor in "organization"
}
route! {
    /// Retire a job: nobody can be employed as it any more.
    retire_job: RetireJob on "job_id": JobId at "/v1/jobs/{id}/retirement" for Editor in "organization"
}
route! {
    /// Define a work schedule: the days on which people work.
    define_work_schedule: DefineWorkSchedule at "/v1/work-schedules" for Editor in "organization"
}
route! {
    /// Give a work schedule other days of work from a day on.
    change_work_schedule: ChangeWorkSchedule on "schedule_id": WorkScheduleId at "/v1/work-schedules/{id}/changes" for Editor in "organization"
}
route! {
    /// Create a holiday calendar.
    create_holiday_calendar: CreateHolidayCalendar at "/v1/holiday-calendars" for Editor in "organization"
}
route! {
    /// Load the holidays of a year. They replace what was known of it.
    load_holiday_year: LoadHolidayYear on "calendar_id": HolidayCalendarId at "/v1/holiday-calendars/{id}/years" for Editor in "organization"
}
route! {
    /// Make a day or a half of it a holiday.
    declare_holiday: DeclareHoliday on "calendar_id": HolidayCalendarId at "/v1/holiday-calendars/{id}/holidays" for Editor in "organization"
}
route! {
    /// Make a day or a half of it a holiday no more.
    revoke_holiday: RevokeHoliday on "calendar_id": HolidayCalendarId at "/v1/holiday-calendars/{id}/revocations" for Editor in "organization"
}
route! {
    /// Let a calendar hold at a place from a day on, or wherever none is set.
    set_location_calendar: SetLocationCalendar on "calendar_id": HolidayCalendarId at "/v1/holiday-calendars/{id}/places" for Editor in "organization"
}
