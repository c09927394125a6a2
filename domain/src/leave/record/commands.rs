//! What can be asked of a person's leave.

use calculation::leave::costing::{self, CostRefusal};
use events::{
    CommandId, DayPart, EmployeeId, FieldClass, StreamName, TenantScope,
    leave::{AdjustmentId, Amount, DayAsked, EnrolmentId, LeavePolicyId, LeaveRequestId, LeaveTypeId, PostingId},
};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    ClaimUse, DuePlace, LockUse, PersonTouched, Touches, Whose,
    command::{chosen, commands},
    text::{Day, Reason},
};

commands! {
    /// A command about a person's leave.
    pub enum Command {
        EnrolPerson, EndEnrolment, RequestLeave, WithdrawLeave, ApproveLeave, RejectLeave, AskToCancelLeave, RefuseToCancelLeave,
        CancelLeave, AdjustLeave, EncashLeave; internal SettleLeave; dated CancelLeave, SettleLeave
    }
}

/// Let a person's leave of a kind follow a policy.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolPerson {
    /// The person.
    pub employee_id: EmployeeId,
    /// The enrolment's id; chosen by the system if absent.
    #[serde(default = "unset_enrolment", deserialize_with = "chosen")]
    pub enrolment_id: EnrolmentId,
    /// The policy, which says the kind of leave.
    pub policy_id: LeavePolicyId,
    /// The first day.
    pub effective_on: Day,
    /// The first day without it; for good if absent.
    #[serde(default)]
    pub until: Option<Day>,
}

/// End an enrolment.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndEnrolment {
    /// The person.
    pub employee_id: EmployeeId,
    /// The enrolment.
    pub enrolment_id: EnrolmentId,
    /// The first day without it.
    pub until: Day,
}

/// Days in a row that are asked for in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DaysAsked {
    /// The first day.
    pub on: Day,
    /// The last day; the first if absent.
    #[serde(default)]
    pub to: Option<Day>,
    /// How much of each; the whole day if absent. With `hours`, the part in which the hours lie.
    #[serde(default = "whole")]
    pub part: DayPart,
    /// Only so many hours of it, where the policy counts hours.
    #[serde(default)]
    pub hours: Option<Amount>,
}

/// Ask for leave.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestLeave {
    /// The person.
    pub employee_id: EmployeeId,
    /// The request's id; chosen by the system if absent.
    #[serde(default = "unset_request", deserialize_with = "chosen")]
    pub request_id: LeaveRequestId,
    /// The kind of leave.
    pub type_id: LeaveTypeId,
    /// The days. Those that are free cost nothing.
    pub days: Vec<DaysAsked>,
    /// What the person says about it.
    #[serde(default)]
    pub note: Option<Reason>,
}

/// Declares commands that say a request, and perhaps why.
macro_rules! about_requests {
    ($($(#[$doc:meta])* $name:ident $({ $(#[$why_doc:meta])* $why:ident: $type:ty })?;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The person.
            pub employee_id: EmployeeId,
            /// The request.
            pub request_id: LeaveRequestId,
            $($(#[$why_doc])* pub $why: $type,)?
        }
    )+};
}
about_requests! {
    /// Take a request back that nobody has decided.
    WithdrawLeave;
    /// Approve a request. Never one's own.
    ApproveLeave;
    /// Reject a request. Never one's own.
    RejectLeave {
        /// Why.
        reason: Reason
    };
    /// Ask for leave to be cancelled that is approved.
    AskToCancelLeave;
    /// Let leave stand although its cancellation was asked for. Never one's own.
    RefuseToCancelLeave {
        /// Why.
        reason: Reason
    };
}

/// Cancel leave that was approved. Days that are past come back today. Never one's own.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelLeave {
    /// The person.
    pub employee_id: EmployeeId,
    /// The request.
    pub request_id: LeaveRequestId,
    /// The day at the place of work.
    #[serde(skip)]
    #[schema(ignore)]
    pub today: Option<Date>,
}

/// Add leave to an account, or take some away. Never one's own.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdjustLeave {
    /// The person.
    pub employee_id: EmployeeId,
    /// The adjustment's id; chosen by the system if absent.
    #[serde(default = "unset_adjustment", deserialize_with = "chosen")]
    pub adjustment_id: AdjustmentId,
    /// The kind of leave.
    pub type_id: LeaveTypeId,
    /// From when it counts.
    pub effective_on: Day,
    /// How much, negative where it takes away.
    pub amount: Amount,
    /// The first day on which what is left of it is gone; it stays as other leave does if absent.
    #[serde(default)]
    pub ends_on: Option<Day>,
    /// Why.
    pub reason: Reason,
}

/// Pay leave out. Never one's own.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EncashLeave {
    /// The person.
    pub employee_id: EmployeeId,
    /// The payment's id; chosen by the system if absent.
    #[serde(default = "unset_adjustment", deserialize_with = "chosen")]
    pub encashment_id: AdjustmentId,
    /// The kind of leave.
    pub type_id: LeaveTypeId,
    /// The day.
    pub effective_on: Day,
    /// How much, above nothing.
    pub amount: Amount,
}

/// Work out anew what rests on facts of others and on the day. Sent by the worker, never by a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettleLeave {
    /// The person.
    pub employee_id: EmployeeId,
    /// Names what is recorded; derived from the command's id.
    #[serde(skip)]
    pub posting_id: Option<PostingId>,
    /// The day at the place of work.
    #[serde(skip)]
    pub today: Option<Date>,
}

impl SettleLeave {
    /// The command for a person.
    pub fn of(employee_id: EmployeeId) -> crate::Command {
        crate::Command::LeaveRecord(Self { employee_id, posting_id: None, today: None }.into())
    }
    pub(crate) const fn day_of(&self) -> DuePlace {
        DuePlace::Person(self.employee_id)
    }
}
impl CancelLeave {
    pub(crate) const fn day_of(&self) -> DuePlace {
        DuePlace::Person(self.employee_id)
    }
}

impl RequestLeave {
    /// Each day that is asked for.
    pub(super) fn days_asked(&self) -> Result<Vec<DayAsked>, CostRefusal> {
        let mut all = Vec::new();
        for days in &self.days {
            let DaysAsked { on, to, part, hours } = *days;
            all.extend(costing::expand(on.date(), to.unwrap_or(on).date())?.into_iter().map(|day| DayAsked { part, hours, ..day }));
            if all.len() > costing::MAX_DAYS {
                return Err(CostRefusal::TooManyDays { max: costing::MAX_DAYS });
            }
        }
        all.sort_by_key(|day| (day.on, day.part));
        Ok(all)
    }
}

// The nil id stands for "not chosen" until `Command::fill_ids`.
const fn unset_enrolment() -> EnrolmentId {
    EnrolmentId::from_uuid(Uuid::nil())
}
const fn unset_request() -> LeaveRequestId {
    LeaveRequestId::from_uuid(Uuid::nil())
}
const fn unset_adjustment() -> AdjustmentId {
    AdjustmentId::from_uuid(Uuid::nil())
}
const fn whole() -> DayPart {
    DayPart::Whole
}

impl Command {
    /// Gives what is created an id derived from the command's, unless one was chosen.
    pub fn fill_ids(&mut self, command: CommandId) {
        let parent = command.uuid();
        match self {
            Self::EnrolPerson(c) if c.enrolment_id == unset_enrolment() => c.enrolment_id = EnrolmentId::derive(parent, "enrolment"),
            Self::RequestLeave(c) if c.request_id == unset_request() => c.request_id = LeaveRequestId::derive(parent, "leave request"),
            Self::AdjustLeave(c) if c.adjustment_id == unset_adjustment() => {
                c.adjustment_id = AdjustmentId::derive(parent, "leave adjustment");
            }
            Self::EncashLeave(c) if c.encashment_id == unset_adjustment() => {
                c.encashment_id = AdjustmentId::derive(parent, "leave encashment");
            }
            Self::SettleLeave(c) => c.posting_id = Some(PostingId::derive(parent, "leave posting")),
            Self::EnrolPerson(_)
            | Self::EndEnrolment(_)
            | Self::RequestLeave(_)
            | Self::WithdrawLeave(_)
            | Self::ApproveLeave(_)
            | Self::RejectLeave(_)
            | Self::AskToCancelLeave(_)
            | Self::RefuseToCancelLeave(_)
            | Self::CancelLeave(_)
            | Self::AdjustLeave(_)
            | Self::EncashLeave(_) => {}
        }
    }
    /// The person.
    pub const fn employee_id(&self) -> EmployeeId {
        match self {
            Self::EnrolPerson(c) => c.employee_id,
            Self::EndEnrolment(c) => c.employee_id,
            Self::RequestLeave(c) => c.employee_id,
            Self::WithdrawLeave(c) => c.employee_id,
            Self::ApproveLeave(c) => c.employee_id,
            Self::RejectLeave(c) => c.employee_id,
            Self::AskToCancelLeave(c) => c.employee_id,
            Self::RefuseToCancelLeave(c) => c.employee_id,
            Self::CancelLeave(c) => c.employee_id,
            Self::AdjustLeave(c) => c.employee_id,
            Self::EncashLeave(c) => c.employee_id,
            Self::SettleLeave(c) => c.employee_id,
        }
    }
    /// Whether its rules read facts of others.
    pub(super) const fn needs_facts(&self) -> bool {
        match self {
            Self::EnrolPerson(_)
            | Self::RequestLeave(_)
            | Self::ApproveLeave(_)
            | Self::AdjustLeave(_)
            | Self::EncashLeave(_)
            | Self::SettleLeave(_) => true,
            Self::EndEnrolment(_)
            | Self::WithdrawLeave(_)
            | Self::RejectLeave(_)
            | Self::AskToCancelLeave(_)
            | Self::RefuseToCancelLeave(_)
            | Self::CancelLeave(_) => false,
        }
    }
    /// The stream of the person's leave.
    pub const fn stream(&self, scope: TenantScope) -> StreamName {
        StreamName::leave_record(scope, self.employee_id())
    }
    /// The id of the enrolment, request, adjustment or payment.
    pub fn object_id(&self) -> String {
        match self {
            Self::EnrolPerson(c) => c.enrolment_id.to_string(),
            Self::EndEnrolment(c) => c.enrolment_id.to_string(),
            Self::RequestLeave(c) => c.request_id.to_string(),
            Self::WithdrawLeave(c) => c.request_id.to_string(),
            Self::ApproveLeave(c) => c.request_id.to_string(),
            Self::RejectLeave(c) => c.request_id.to_string(),
            Self::AskToCancelLeave(c) => c.request_id.to_string(),
            Self::RefuseToCancelLeave(c) => c.request_id.to_string(),
            Self::CancelLeave(c) => c.request_id.to_string(),
            Self::AdjustLeave(c) => c.adjustment_id.to_string(),
            Self::EncashLeave(c) => c.encashment_id.to_string(),
            Self::SettleLeave(c) => c.employee_id.to_string(),
        }
    }
    /// Whether it starts a stream of its own: the first enrolment of a person does, and nobody knows which that is.
    pub const fn creates(&self) -> bool {
        false
    }
    /// Whom and what it touches. A person asks for themselves; what is decided, and what changes an account, another decides.
    pub const fn touches(&self) -> Touches {
        let person = Whose::Named(self.employee_id());
        Touches::Person(match self {
            Self::RequestLeave(_) | Self::WithdrawLeave(_) | Self::AskToCancelLeave(_) => {
                PersonTouched::facts(person, &[FieldClass::Absence])
            }
            Self::ApproveLeave(_) | Self::RejectLeave(_) | Self::RefuseToCancelLeave(_) | Self::CancelLeave(_) => {
                PersonTouched::decided_by_another(person, &[FieldClass::Absence])
            }
            Self::EnrolPerson(_) | Self::EndEnrolment(_) | Self::AdjustLeave(_) | Self::EncashLeave(_) | Self::SettleLeave(_) => {
                PersonTouched::decided_by_another(person, &[FieldClass::Absence, FieldClass::Personal])
            }
        })
    }
    /// None: one stream holds all that a person's leave rests on.
    pub const fn claims(&self) -> Vec<ClaimUse> {
        Vec::new()
    }
    /// None: what rests on facts of others is worked out anew.
    pub const fn lock(&self) -> Option<LockUse> {
        None
    }
}

/// A sample of each, for tests of all commands.
#[cfg(test)]
pub(crate) fn samples() -> Vec<(&'static str, String)> {
    let (person, request) = (r#""employee_id":"ID""#, r#""employee_id":"ID","request_id":"ID""#);
    let day = r#""effective_on":"2020-01-01""#;
    vec![
        ("EnrolPerson", format!(r#"{{{person},"policy_id":"ID",{day}}}"#)),
        ("EndEnrolment", format!(r#"{{{person},"enrolment_id":"ID","until":"2020-02-01"}}"#)),
        ("RequestLeave", format!(r#"{{{person},"type_id":"ID","days":[{{"on":"2020-01-01","to":"2020-01-05"}}],"note":"n"}}"#)),
        ("WithdrawLeave", format!("{{{request}}}")),
        ("ApproveLeave", format!("{{{request}}}")),
        ("RejectLeave", format!(r#"{{{request},"reason":"r"}}"#)),
        ("AskToCancelLeave", format!("{{{request}}}")),
        ("RefuseToCancelLeave", format!(r#"{{{request},"reason":"r"}}"#)),
        ("CancelLeave", format!("{{{request}}}")),
        ("AdjustLeave", format!(r#"{{{person},"type_id":"ID",{day},"amount":"-1.5","reason":"r"}}"#)),
        ("EncashLeave", format!(r#"{{{person},"type_id":"ID",{day},"amount":"2"}}"#)),
    ]
}
