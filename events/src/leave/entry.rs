//! Lots and entries of an account: what was credited, what was taken, each explained by its cause.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{AdjustmentId, Amount, EnrolmentId, LeaveRequestId, Proration};

/// The name of a lot: the same cause gives the same name for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "of")]
pub enum LotKey {
    /// What a step of accrual credited.
    Step {
        /// The enrolment.
        enrolment: EnrolmentId,
        /// The first day of the step on which the person accrued.
        from: Date,
    },
    /// What was carried over into a leave year.
    Carried {
        /// The first day of that year.
        into: Date,
        /// Whether it stays for good, or ends as the policy says.
        for_good: bool,
    },
    /// What was added by hand.
    Adjustment {
        /// The adjustment.
        id: AdjustmentId,
    },
}

/// What an entry does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A step of accrual was credited.
    Accrued,
    /// Moved out of a lot into the next year.
    CarriedOut,
    /// Moved into a lot of the new year.
    CarriedIn,
    /// Left over at the end of a year beyond what the policy carries.
    Forfeited,
    /// Left over in a lot when it ended.
    Expired,
    /// Used for a day of a request.
    Taken,
    /// Given back because a day was cancelled after it had been taken.
    Returned,
    /// Added or taken away by hand.
    Adjusted,
    /// Paid out.
    Encashed,
    /// Used to pay back what had been taken in advance.
    Repaid,
}

/// Why an entry is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum Cause {
    /// A step of accrual: the enrolment, and the first day of the step on which the person accrued.
    Step {
        /// The enrolment.
        enrolment: EnrolmentId,
        /// That day.
        from: Date,
    },
    /// A leave year began.
    YearEnd {
        /// Its first day.
        into: Date,
    },
    /// A lot ended: the first day without it.
    LotEnd {
        /// That day.
        on: Date,
    },
    /// A day of a request.
    Request {
        /// The request.
        id: LeaveRequestId,
        /// The day.
        day: Date,
    },
    /// Somebody's adjustment.
    Adjustment {
        /// The adjustment.
        id: AdjustmentId,
    },
    /// A payment of leave.
    Encashment {
        /// Which.
        id: AdjustmentId,
    },
}

/// How the amount of an entry came about, where its kind and cause do not say it all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "as")]
pub enum EntryBasis {
    /// By kind and cause.
    Plain,
    /// A step of accrual.
    Step {
        /// The first day of the whole period.
        period_from: Date,
        /// The first day after the whole period.
        period_to: Date,
        /// The first day on which the person accrued.
        accrued_from: Date,
        /// The first day after those.
        accrued_to: Date,
        /// How a part of a period counts.
        proration: Proration,
        /// What was earned, before the year's sum was rounded.
        exact: Amount,
        /// What the caps held back.
        capped: Amount,
        /// The version of the policy.
        policy_version: u32,
    },
}

/// An entry of an account. It is never changed; a correction is another entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The day from which it counts.
    pub on: Date,
    /// What it does.
    pub kind: EntryKind,
    /// Why.
    pub cause: Cause,
    /// The lot that it adds to or takes from; none for what is taken in advance, beyond all lots.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lot: Option<LotKey>,
    /// How much, negative where it takes away.
    pub amount: Amount,
    /// How the amount came about.
    pub why: EntryBasis,
}
