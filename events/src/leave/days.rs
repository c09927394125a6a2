//! The days of a request: what was asked for, and what each costs.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::{Amount, DayPart};

/// One day of a request, as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DayAsked {
    /// The day.
    #[schema(value_type = String, format = Date)]
    pub on: Date,
    /// How much of it; with `hours`, the part in which the hours lie.
    pub part: DayPart,
    /// Only so many hours of that part, where the policy counts hours.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hours: Option<Amount>,
}

/// Why a half of a day counts or does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum HalfReason {
    /// The person would work in it, or the policy counts every day of the calendar.
    Counted,
    /// The schedule has no work in it.
    NotWorked,
    /// It is a holiday at the place of work.
    Holiday {
        /// Which.
        name: String,
    },
    /// The person is not employed on that day.
    NotEmployed,
}

/// What one day of a request costs, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DayCost {
    /// The day and what was asked for.
    pub asked: DayAsked,
    /// What it costs, in the policy's unit.
    pub cost: Amount,
    /// Why the first half counts or not; absent where it was not asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub morning: Option<HalfReason>,
    /// The same of the second half.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub afternoon: Option<HalfReason>,
    /// The version of the policy under which it was costed.
    pub policy_version: u32,
    /// The first day of the leave year that it is booked in.
    #[schema(value_type = String, format = Date)]
    pub leave_year: Date,
}
