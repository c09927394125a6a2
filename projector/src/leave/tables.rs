//! The rows of kinds of leave, policies, enrolments, requests, adjustments and entries.

use jiff::civil::Date;
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::binary::Until;

crate::tables! {
    /// A kind of leave.
    pub struct LeaveType in leave_type, key [type_id] {
        type_id: Uuid,
        code: String,
        name: String,
        class: String,
    }
    /// A version of a policy.
    pub struct LeavePolicy in leave_policy, key [policy_id, version] {
        policy_id: Uuid,
        version: i16,
        code: String,
        type_id: Uuid,
        valid_from: Date,
        terms: String,
    }
    /// An enrolment.
    pub struct LeaveEnrolment in leave_enrolment, key [enrolment_id] {
        enrolment_id: Uuid,
        employee_id: Uuid,
        policy_id: Option<Uuid>,
        personal_policy_id: Option<Uuid>,
        medical_policy_id: Option<Uuid>,
        valid_from: Date,
        valid_to: Until,
    }
    /// A request.
    pub struct LeaveRequest in leave_request, key [request_id] {
        request_id: Uuid,
        employee_id: Uuid,
        type_id: Option<Uuid>,
        personal_type_id: Option<Uuid>,
        medical_type_id: Option<Uuid>,
        status: String,
        cancelled_on: Option<Date>,
        first_day: Date,
        last_day: Date,
        cost: Decimal,
        days: String,
        sequence: i64,
        note: Option<String>,
        personal_note: Option<String>,
        medical_note: Option<String>,
        decision_reason: Option<String>,
    }
    /// A day on which somebody is away.
    pub struct LeaveDay in leave_day, key [request_id, day, part] {
        request_id: Uuid,
        employee_id: Uuid,
        day: Date,
        part: String,
    }
    /// An adjustment or a payment.
    pub struct LeaveAdjustment in leave_adjustment, key [adjustment_id] {
        adjustment_id: Uuid,
        employee_id: Uuid,
        type_id: Option<Uuid>,
        personal_type_id: Option<Uuid>,
        medical_type_id: Option<Uuid>,
        day: Date,
        amount: Decimal,
        ends_on: Option<Date>,
        is_encashment: i16,
        reason: Option<String>,
    }
    /// An entry that was recorded.
    pub struct LeaveEntry in leave_entry, key [posting_id, seq] {
        posting_id: Uuid,
        seq: i16,
        employee_id: Uuid,
        type_id: Option<Uuid>,
        personal_type_id: Option<Uuid>,
        medical_type_id: Option<Uuid>,
        day: Date,
        kind: String,
        amount: Decimal,
        entry: String,
    }
}

crate::rows! {
    /// The row of a kind of leave.
    pub struct TypeRows by [type_id: Uuid] {
        leave_type: LeaveType,
    }
    /// The rows of a policy.
    pub struct PolicyRows by [policy_id: Uuid] {
        leave_policy: LeavePolicy,
    }
    /// The row of an enrolment.
    pub struct EnrolmentRows by [enrolment_id: Uuid] {
        leave_enrolment: LeaveEnrolment,
    }
    /// The rows of a request.
    pub struct RequestRows by [request_id: Uuid] {
        leave_request: LeaveRequest,
        leave_day: LeaveDay,
    }
    /// The row of an adjustment or payment.
    pub struct AdjustmentRows by [adjustment_id: Uuid] {
        leave_adjustment: LeaveAdjustment,
    }
    /// The rows of what was recorded together.
    pub struct PostingRows by [posting_id: Uuid] {
        leave_entry: LeaveEntry,
    }
}
