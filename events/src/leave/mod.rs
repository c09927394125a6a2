//! The vocabulary of leave: amounts, policies as data, work schedules, holidays, the days of a request, lots and entries.
//!
//! These types stand in events and in the read models. The arithmetic over them is the crate `calculation`.

mod days;
mod entry;
mod policy;
pub mod record;
pub mod terms;

use crate::ids::typed_ids;
// What leave counts with; it is organization's and employee's, too.
pub use crate::{Amount, DayHalf, DayOfWork, DayPart, HalfOfWork, Halves, Holiday, InvalidSchedule, WorkFraction, WorkSchedule};

pub use days::{DayAsked, DayCost, HalfReason};
pub use entry::{Cause, Entry, EntryBasis, EntryKind, LotKey};
pub use policy::{
    AccrualSteps, Allowance, AllowancePeriod, Carried, CarryOver, ChangeOver, Counting, CreditTime, Grant, InvalidMonthDay, LeapDay,
    LeavePolicyTerms, LeaveUnit, LotEnd, MonthDay, PolicyFault, PolicyVersion, Proration, Rounding, RoundingMode, ServiceTier,
    StepInterval, WaitingTime,
};
pub use terms::LeaveTypeClass;

typed_ids! {
    /// A kind of leave, such as annual leave.
    LeaveTypeId = "leave type id";
    /// A leave policy in all its versions.
    LeavePolicyId = "leave policy id";
    /// The time for which one person's leave of a type follows a policy.
    EnrolmentId = "enrolment id";
    /// A request for leave.
    LeaveRequestId = "leave request id";
    /// What was recorded of accounts at one time.
    PostingId = "leave posting id";
    /// An amount that somebody added or took away by hand.
    AdjustmentId = "leave adjustment id";
}
