//! Commands about people's employments and their working time.

use domain::employee::{
    ChangeAssignment, ChangeCompensation, ChangeContactDetails, ChangePersonalDetails, HireEmployee, RehireEmployee, TerminateEmployee,
    working_time::ChangeWorkingTime,
};
use events::EmployeeId;

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app::App, route::route};

/// What the contract says of these routes.
pub(crate) const TAG: &str = "People";

/// The table of contents.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(hire_employee))
        .routes(routes!(rehire_employee))
        .routes(routes!(change_assignment))
        .routes(routes!(change_compensation))
        .routes(routes!(change_personal_details))
        .routes(routes!(change_contact_details))
        .routes(routes!(terminate_employee))
        .routes(routes!(change_working_time))
}

route! {
    /// Employ a person for the first time.
    hire_employee: HireEmployee at "/v1/employees" for Editor in "employee"
}
route! {
    /// Employ a person who left again.
    rehire_employee: RehireEmployee on "employee_id": EmployeeId at "/v1/employees/{id}/rehire" for Editor in "employee"
}
route! {
    /// Change department, job, place or manager from a day on, past or future.
    change_assignment: ChangeAssignment on "employee_id": EmployeeId at "/v1/employees/{id}/assignment-changes" for Editor in "employee"
}
route! {
    /// Pay a person differently from a day on, past or future.
    change_compensation: ChangeCompensation on "employee_id": EmployeeId at "/v1/employees/{id}/compensation-changes" for Editor in "employee"
}
route! {
    /// Change a person's name or other personal details from a day on.
    change_personal_details: ChangePersonalDetails on "employee_id": EmployeeId at "/v1/employees/{id}/personal-details" for Editor in "employee"
}
route! {
    /// Change how a person is reached from a day on.
    change_contact_details: ChangeContactDetails on "employee_id": EmployeeId at "/v1/employees/{id}/contact-details" for Editor in "employee"
}
route! {
    /// End a person's employment.
    terminate_employee: TerminateEmployee on "employee_id": EmployeeId at "/v1/employees/{id}/termination" for Editor in "employee"
}
route! {
    /// Let a person work so much, by a schedule, from a day on.
    change_working_time: ChangeWorkingTime on "employee_id": EmployeeId at "/v1/employees/{id}/working-time" for Editor in "employee"
}
