//! Commands about leave: kinds and policies, and people's enrolments, requests and accounts.

use domain::leave::{
    record::{
        AdjustLeave, ApproveLeave, AskToCancelLeave, CancelLeave, EncashLeave, EndEnrolment, EnrolPerson, RefuseToCancelLeave, RejectLeave,
        RequestLeave, WithdrawLeave,
    },
    terms::{DefineLeaveType, PublishLeavePolicy, RenameLeaveType, ReviseLeavePolicy},
};
use events::{
    EmployeeId,
    leave::{LeavePolicyId, LeaveTypeId},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{app::App, route::route};

/// What the contract says of these routes.
pub(crate) const TAG: &str = "Leave";

/// The table of contents.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(define_leave_type))
        .routes(routes!(rename_leave_type))
        .routes(routes!(publish_leave_policy))
        .routes(routes!(revise_leave_policy))
        .routes(routes!(enrol_person))
        .routes(routes!(end_enrolment))
        .routes(routes!(request_leave))
        .routes(routes!(withdraw_leave))
        .routes(routes!(approve_leave))
        .routes(routes!(reject_leave))
        .routes(routes!(ask_to_cancel_leave))
        .routes(routes!(refuse_to_cancel_leave))
        .routes(routes!(cancel_leave))
        .routes(routes!(adjust_leave))
        .routes(routes!(encash_leave))
}

route! {
    /// Define a kind of leave.
    define_leave_type: DefineLeaveType at "/v1/leave-types" for Editor in "leave"
}
route! {
    /// Give a kind of leave another name.
    rename_leave_type: RenameLeaveType on "type_id": LeaveTypeId at "/v1/leave-types/{id}/name" for Editor in "leave"
}
route! {
    /// Publish a policy for a kind of leave.
    publish_leave_policy: PublishLeavePolicy at "/v1/leave-policies" for Editor in "leave"
}
route! {
    /// Publish another version of a policy.
    revise_leave_policy: ReviseLeavePolicy on "policy_id": LeavePolicyId at "/v1/leave-policies/{id}/versions" for Editor in "leave"
}
route! {
    /// Let a person's leave of a kind follow a policy.
    enrol_person: EnrolPerson on "employee_id": EmployeeId at "/v1/employees/{id}/leave-enrolments" for Editor in "leave"
}
route! {
    /// End an enrolment.
    end_enrolment: EndEnrolment on "employee_id": EmployeeId at "/v1/employees/{id}/leave-enrolments/end" for Editor in "leave"
}
route! {
    /// Ask for leave.
    request_leave: RequestLeave on "employee_id": EmployeeId at "/v1/employees/{id}/leave-requests" for Editor in "leave"
}
route! {
    /// Take a request back that nobody has decided.
    withdraw_leave: WithdrawLeave on "employee_id": EmployeeId at "/v1/employees/{id}/leave-requests/withdrawal" for Editor in "leave"
}
route! {
    /// Approve a request. Never one's own.
    approve_leave: ApproveLeave on "employee_id": EmployeeId at "/v1/employees/{id}/leave-requests/approval" for Editor in "leave"
}
route! {
    /// Reject a request. Never one's own.
    reject_leave: RejectLeave on "employee_id": EmployeeId at "/v1/employees/{id}/leave-requests/rejection" for Editor in "leave"
}
route! {
    /// Ask for leave to be cancelled that is approved.
    ask_to_cancel_leave: AskToCancelLeave on "employee_id": EmployeeId at "/v1/employees/{id}/leave-requests/cancellation-request" for Editor in "leave"
}
route! {
    /// Let leave stand although its cancellation was asked for. Never one's own.
    refuse_to_cancel_leave: RefuseToCancelLeave on "employee_id": EmployeeId at "/v1/employees/{id}/leave-requests/cancellation-refusal" for Editor in "leave"
}
route! {
    /// Cancel leave that was approved. Days that are past come back today. Never one's own.
    cancel_leave: CancelLeave on "employee_id": EmployeeId at "/v1/employees/{id}/leave-requests/cancellation" for Editor in "leave"
}
route! {
    /// Add leave to an account, or take some away. Never one's own.
    adjust_leave: AdjustLeave on "employee_id": EmployeeId at "/v1/employees/{id}/leave-adjustments" for Editor in "leave"
}
route! {
    /// Pay leave out. Never one's own.
    encash_leave: EncashLeave on "employee_id": EmployeeId at "/v1/employees/{id}/leave-encashments" for Editor in "leave"
}
