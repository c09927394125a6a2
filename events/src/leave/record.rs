//! What happened to a person's leave: enrolments, requests, and the entries that were recorded.
//!
//! Notes and reasons are sealed with the person's key. Days, amounts and ids stay, because accounts must add up for ever; of
//! which kind an absence is, is read by the right to the type's class (`personal` or `medical`).

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{AdjustmentId, Amount, DayCost, EnrolmentId, Entry, LeavePolicyId, LeaveRequestId, LeaveTypeId};
use crate::{EmployeeId, EventId, Personal};

/// From a day on a person's leave of a type follows a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonEnrolled {
    /// The person.
    pub employee_id: EmployeeId,
    /// The enrolment.
    pub enrolment_id: EnrolmentId,
    /// The kind of leave.
    pub type_id: LeaveTypeId,
    /// The policy.
    pub policy_id: LeavePolicyId,
    /// The first day.
    pub from: Date,
    /// The first day without it, where that is known already.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub until: Option<Date>,
}

/// An enrolment ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolmentEnded {
    /// The person.
    pub employee_id: EmployeeId,
    /// The enrolment.
    pub enrolment_id: EnrolmentId,
    /// The first day without it.
    pub until: Date,
}

/// Leave was asked for. Each day names the version of the policy under which it was costed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveRequested {
    /// The person.
    pub employee_id: EmployeeId,
    /// The request.
    pub request_id: LeaveRequestId,
    /// The kind of leave.
    pub type_id: LeaveTypeId,
    /// The days and what each costs.
    pub days: Vec<DayCost>,
    /// What the person said about it.
    pub note: Personal<Option<String>>,
}

/// A request was approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveApproved {
    /// The person.
    pub employee_id: EmployeeId,
    /// The request.
    pub request_id: LeaveRequestId,
}

/// A request was rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveRejected {
    /// The person.
    pub employee_id: EmployeeId,
    /// The request.
    pub request_id: LeaveRequestId,
    /// Why.
    pub reason: Personal<String>,
}

/// The person took a request back before it was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveWithdrawn {
    /// The person.
    pub employee_id: EmployeeId,
    /// The request.
    pub request_id: LeaveRequestId,
}

/// The person asked to cancel leave that was approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveCancellationRequested {
    /// The person.
    pub employee_id: EmployeeId,
    /// The request.
    pub request_id: LeaveRequestId,
}

/// The leave stays approved although its cancellation was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveCancellationRefused {
    /// The person.
    pub employee_id: EmployeeId,
    /// The request.
    pub request_id: LeaveRequestId,
    /// Why.
    pub reason: Personal<String>,
}

/// Leave was cancelled. Days that were past by then come back on that day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveCancelled {
    /// The person.
    pub employee_id: EmployeeId,
    /// The request.
    pub request_id: LeaveRequestId,
    /// The day of cancelling at the place of work.
    pub on: Date,
}

/// Something underneath a request changed, and with it what its days cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveRecosted {
    /// The person.
    pub employee_id: EmployeeId,
    /// The request.
    pub request_id: LeaveRequestId,
    /// The days and what each costs now.
    pub days: Vec<DayCost>,
    /// The event that changed it: a holiday declared, a schedule, an employment, a version of the policy.
    pub because: EventId,
}

/// Somebody added leave or took some away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveAdjusted {
    /// The person.
    pub employee_id: EmployeeId,
    /// The adjustment.
    pub adjustment_id: AdjustmentId,
    /// The kind of leave.
    pub type_id: LeaveTypeId,
    /// From when it counts.
    pub on: Date,
    /// How much, negative where it takes away.
    pub amount: Amount,
    /// The first day on which what is left of it is gone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ends_on: Option<Date>,
    /// Why.
    pub reason: Personal<String>,
}

/// Leave was paid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveEncashed {
    /// The person.
    pub employee_id: EmployeeId,
    /// The payment.
    pub encashment_id: AdjustmentId,
    /// The kind of leave.
    pub type_id: LeaveTypeId,
    /// The day.
    pub on: Date,
    /// How much, above nothing.
    pub amount: Amount,
}

/// Declares events that record entries of an account.
macro_rules! posted {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The person.
            pub employee_id: EmployeeId,
            /// The kind of leave.
            pub type_id: LeaveTypeId,
            /// The entries. A correction is the opposite of what was recorded, and what is right.
            pub entries: Vec<Entry>,
        }
    )+};
}
posted! {
    /// Steps of accrual were credited.
    LeaveAccrued;
    /// What was left of a leave year went into the next, or was forfeited.
    LeaveCarriedOver;
    /// What was left in lots ended with them.
    LeaveLotExpired;
    /// Days of approved requests were taken from lots, or came back.
    LeaveTaken;
    /// Adjustments and payments were booked to lots.
    LeaveAdjustmentBooked;
}

/// Declares the enum over all events of a record.
macro_rules! record_events {
    ($($name:ident)+) => {
        /// What happened to a person's leave.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
        #[serde(untagged)]
        pub enum LeaveRecordEvent {
            $(#[doc = concat!("See [`", stringify!($name), "`] (the struct).")] $name($name),)+
        }
        $(impl From<$name> for LeaveRecordEvent {
            fn from(event: $name) -> Self { Self::$name(event) }
        })+
        impl LeaveRecordEvent {
            /// The type's name.
            pub const fn event_type(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name)),+ }
            }
        }
    };
}
record_events! {
    PersonEnrolled EnrolmentEnded LeaveRequested LeaveApproved LeaveRejected LeaveWithdrawn LeaveCancellationRequested
    LeaveCancellationRefused LeaveCancelled LeaveRecosted LeaveAdjusted LeaveEncashed LeaveAccrued LeaveCarriedOver LeaveLotExpired LeaveTaken
    LeaveAdjustmentBooked
}
