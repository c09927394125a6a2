//! What happened to a person's leave: enrolments, requests, and the entries that were recorded.
//!
//! Notes and reasons are sealed with the person's key. Days, amounts and ids stay, because accounts must add up for ever; of
//! which kind an absence is, is read by the right to the type's class (`personal` or `medical`).

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{AdjustmentId, Amount, DayCost, EnrolmentId, Entry, LeavePolicyId, LeaveRequestId, LeaveTypeClass, LeaveTypeId, PostingId};
use crate::{Category, EmployeeId, Personal, StreamName, TenantScope, catalog::events};

events! {
    /// What happened to a person's leave.
    pub enum LeaveRecordEvent in Category::LeaveRecord;
    PersonEnrolled = 1;
    EnrolmentEnded = 1;
    LeaveRequested = 1, personal of employee_id: [note];
    LeaveApproved = 1;
    LeaveRejected = 1, personal of employee_id: [reason];
    LeaveWithdrawn = 1;
    LeaveCancellationRequested = 1;
    LeaveCancellationRefused = 1, personal of employee_id: [reason];
    LeaveCancelled = 1;
    LeaveRecosted = 1;
    LeaveAdjusted = 1, personal of employee_id: [reason];
    LeaveEncashed = 1;
    LeaveAccrued = 1;
    LeaveCarriedOver = 1;
    LeaveLotExpired = 1;
    LeaveTaken = 1;
    LeaveAdjustmentBooked = 1;
    LeavePostingScheduled = 1;
}

impl StreamName {
    /// The stream of one person's leave.
    pub const fn leave_record(scope: TenantScope, id: EmployeeId) -> Self {
        Self::of_tenant(scope, Category::LeaveRecord, id.uuid())
    }
}

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
    /// Who may know of it.
    pub class: LeaveTypeClass,
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
    /// Who may know of it.
    pub class: LeaveTypeClass,
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

/// Something underneath a request changed, and with it what its days cost. The envelope's cause says what: a holiday, a schedule, an
/// employment, a version of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveRecosted {
    /// The person.
    pub employee_id: EmployeeId,
    /// The request.
    pub request_id: LeaveRequestId,
    /// The days and what each costs now.
    pub days: Vec<DayCost>,
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
    /// Who may know of it.
    pub class: LeaveTypeClass,
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
    /// Who may know of it.
    pub class: LeaveTypeClass,
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
            /// Names what was recorded together.
            pub posting_id: PostingId,
            /// The kind of leave.
            pub type_id: LeaveTypeId,
            /// Who may know of it.
            pub class: LeaveTypeClass,
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

/// When the next entry follows from what is known. On that day what is due by then is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeavePostingScheduled {
    /// The person.
    pub employee_id: EmployeeId,
    /// That day; none where nothing will follow.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next_on: Option<Date>,
}

/// One event of every type, for golden files and for folds.
#[cfg(test)]
pub(crate) fn samples() -> Vec<Event> {
    use jiff::civil::date;

    use super::{Cause, DayAsked, EntryBasis, EntryKind, HalfReason, LotKey, Proration};
    use crate::DayPart;

    let n = uuid::Uuid::from_u128;
    let (employee_id, enrolment_id) = (EmployeeId::from_uuid(n(1)), EnrolmentId::from_uuid(n(2)));
    let (type_id, policy_id, class) = (LeaveTypeId::from_uuid(n(3)), LeavePolicyId::from_uuid(n(4)), LeaveTypeClass::Absence);
    let (request_id, adjustment_id, posting_id) =
        (LeaveRequestId::from_uuid(n(5)), AdjustmentId::from_uuid(n(6)), PostingId::from_uuid(n(7)));
    let on = date(2025, 1, 1);
    let days = vec![DayCost {
        asked: DayAsked { on: date(2025, 5, 2), part: DayPart::Morning, hours: None },
        cost: "0.5".parse().unwrap(),
        morning: Some(HalfReason::Counted),
        afternoon: None,
        policy_version: 1,
        leave_year: on,
    }];
    let free = vec![DayCost { cost: Amount::ZERO, morning: Some(HalfReason::Holiday { name: "Bridge day".into() }), ..days[0].clone() }];
    let step = LotKey::Step { enrolment: enrolment_id, from: on };
    let entry = |kind, cause, lot, amount: &str, why| Entry { on, kind, cause, lot, amount: amount.parse().unwrap(), why };
    let accrued = entry(
        EntryKind::Accrued,
        Cause::Step { enrolment: enrolment_id, from: on },
        Some(step),
        "2.5",
        EntryBasis::Step {
            period_from: on,
            period_to: date(2025, 2, 1),
            accrued_from: on,
            accrued_to: date(2025, 2, 1),
            proration: Proration::Days,
            exact: "2.0833333333".parse().unwrap(),
            capped: Amount::ZERO,
            policy_version: 1,
        },
    );
    let plain = EntryBasis::Plain;
    let carried = entry(EntryKind::CarriedIn, Cause::YearEnd { into: on }, Some(LotKey::Carried { into: on, for_good: false }), "5", plain);
    let expired = entry(EntryKind::Expired, Cause::LotEnd { on }, Some(LotKey::Carried { into: on, for_good: true }), "-1", plain);
    let taken = entry(EntryKind::Taken, Cause::Request { id: request_id, day: date(2025, 5, 2) }, Some(step), "-0.5", plain);
    let booked =
        entry(EntryKind::Adjusted, Cause::Adjustment { id: adjustment_id }, Some(LotKey::Adjustment { id: adjustment_id }), "3", plain);
    let paid = entry(EntryKind::Encashed, Cause::Encashment { id: adjustment_id }, None, "-1", plain);
    let reason = || Personal::Clear("agreed".to_owned());
    vec![
        PersonEnrolled { employee_id, enrolment_id, type_id, class, policy_id, from: on, until: Some(date(2030, 1, 1)) }.into(),
        EnrolmentEnded { employee_id, enrolment_id, until: date(2028, 1, 1) }.into(),
        LeaveRequested { employee_id, request_id, type_id, class, days, note: Personal::Clear(Some("by the sea".into())) }.into(),
        LeaveApproved { employee_id, request_id }.into(),
        LeaveRejected { employee_id, request_id, reason: reason() }.into(),
        LeaveWithdrawn { employee_id, request_id }.into(),
        LeaveCancellationRequested { employee_id, request_id }.into(),
        LeaveCancellationRefused { employee_id, request_id, reason: reason() }.into(),
        LeaveCancelled { employee_id, request_id, on }.into(),
        LeaveRecosted { employee_id, request_id, days: free }.into(),
        LeaveAdjusted {
            employee_id,
            adjustment_id,
            type_id,
            class,
            on,
            amount: 3.into(),
            ends_on: Some(date(2025, 4, 1)),
            reason: reason(),
        }
        .into(),
        LeaveEncashed { employee_id, encashment_id: adjustment_id, type_id, class, on, amount: 1.into() }.into(),
        LeaveAccrued { employee_id, posting_id, type_id, class, entries: vec![accrued] }.into(),
        LeaveCarriedOver { employee_id, posting_id, type_id, class, entries: vec![carried] }.into(),
        LeaveLotExpired { employee_id, posting_id, type_id, class, entries: vec![expired] }.into(),
        LeaveTaken { employee_id, posting_id, type_id, class, entries: vec![taken] }.into(),
        LeaveAdjustmentBooked { employee_id, posting_id, type_id, class, entries: vec![booked, paid] }.into(),
        LeavePostingScheduled { employee_id, next_on: Some(date(2025, 2, 1)) }.into(),
    ]
}
