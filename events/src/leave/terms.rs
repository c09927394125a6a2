//! Facts about the kinds of leave that a tenant has, and its policies in all their versions.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{LeavePolicyId, LeavePolicyTerms, LeaveTypeId};
use crate::{Category, FieldClass, StreamName, TenantScope, catalog::events};

events! {
    /// What happened to a tenant's kinds of leave and its policies.
    pub enum LeaveTermsEvent in Category::LeaveTerms;
    LeaveTypeDefined = 1;
    LeaveTypeRenamed = 1;
    LeavePolicyPublished = 1;
}

impl StreamName {
    /// The stream of the tenant's kinds of leave and policies.
    pub const fn leave_terms(scope: TenantScope) -> Self {
        Self::of_tenant(scope, Category::LeaveTerms, scope.tenant().uuid())
    }
}

/// Who may know that an absence is of a kind. Whoever may not is told that somebody is away, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeaveTypeClass {
    /// Who may see the person's absences, such as annual leave.
    Absence,
    /// Who may see personal facts, too, such as bereavement.
    Personal,
    /// Who may see medical facts, too, such as sickness.
    Medical,
}

impl LeaveTypeClass {
    /// The class of facts that the kind belongs to.
    pub const fn field_class(self) -> FieldClass {
        match self {
            Self::Absence => FieldClass::Absence,
            Self::Personal => FieldClass::Personal,
            Self::Medical => FieldClass::Medical,
        }
    }
}

/// A kind of leave exists. Its class stays, because it says who was promised what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveTypeDefined {
    /// The kind of leave.
    pub type_id: LeaveTypeId,
    /// The tenant's own short code, unique among its kinds, never reused.
    pub code: String,
    /// The name.
    pub name: String,
    /// Who may know of it.
    pub class: LeaveTypeClass,
}

/// A kind of leave has another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveTypeRenamed {
    /// The kind of leave.
    pub type_id: LeaveTypeId,
    /// The name from now on.
    pub name: String,
}

/// A version of a policy holds from a day on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeavePolicyPublished {
    /// The policy.
    pub policy_id: LeavePolicyId,
    /// The kind of leave that it is about; the same in all versions.
    pub type_id: LeaveTypeId,
    /// The tenant's own short code, unique among its policies, never reused; the same in all versions.
    pub code: String,
    /// 1, 2, 3, …
    pub version: u32,
    /// The first day of the version.
    pub from: Date,
    /// What it says.
    pub terms: LeavePolicyTerms,
}

/// One event of every type, for golden files and for folds.
#[cfg(test)]
pub(crate) fn samples() -> Vec<Event> {
    use super::{
        AccrualSteps, Allowance, AllowancePeriod, Carried, CarryOver, ChangeOver, Counting, CreditTime, Grant, LeapDay, LeaveUnit, LotEnd,
        MonthDay, Proration, Rounding, RoundingMode, ServiceTier, StepInterval, WaitingTime,
    };
    use crate::Amount;

    let n = uuid::Uuid::from_u128;
    let (type_id, policy_id) = (LeaveTypeId::from_uuid(n(1)), LeavePolicyId::from_uuid(n(2)));
    let steps = AccrualSteps {
        allowance: Allowance::Fixed { amount: 25.into() },
        per: AllowancePeriod::Year,
        every: StepInterval::Months { count: 1, from: MonthDay::NEW_YEAR },
        credit: CreditTime::AtStart,
    };
    let terms = LeavePolicyTerms {
        unit: LeaveUnit::HalfDays,
        counting: Counting::WorkingTime,
        tiers: vec![ServiceTier { after_months: 0, grant: Grant::Steps(steps) }],
        change_over: ChangeOver::NextStep,
        proration: Proration::Days,
        by_fraction: true,
        rounding: Some(Rounding { to: "0.5".parse().unwrap(), mode: RoundingMode::Up }),
        balance_cap: None,
        year_cap: None,
        carry_over: CarryOver {
            year_starts: MonthDay::NEW_YEAR,
            carried: Carried::UpTo { amount: 5.into() },
            ends: Some(LotEnd::On { day: "04-01".parse().unwrap() }),
            for_good: Amount::ZERO,
        },
        wait_to_accrue: WaitingTime::default(),
        wait_to_take: WaitingTime { months: 6, days: 0 },
        negative_limit: Amount::ZERO,
        encashable: false,
        leap_day: LeapDay::February28,
    };
    vec![
        LeaveTypeDefined { type_id, code: "annual".into(), name: "Annual leave".into(), class: LeaveTypeClass::Absence }.into(),
        LeaveTypeRenamed { type_id, name: "Vacation".into() }.into(),
        LeavePolicyPublished { policy_id, type_id, code: "standard".into(), version: 1, from: jiff::civil::date(2024, 1, 1), terms }.into(),
    ]
}
