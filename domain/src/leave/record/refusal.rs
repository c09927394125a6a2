//! Why a command about a person's leave was refused, as clients see it.

use calculation::leave::costing::CostRefusal;

use super::RecordRefusal;

/// A rule about a person's leave said no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// By the rules of enrolments, requests and accounts.
    #[error(transparent)]
    Record(#[from] RecordRefusal),
    /// Nobody told the command which day it is.
    #[error("the day at the place of work is not known; try again")]
    NoDay,
}

impl From<CostRefusal> for Refusal {
    fn from(refusal: CostRefusal) -> Self {
        Self::Record(refusal.into())
    }
}

impl Refusal {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        let Self::Record(refusal) = self else { return "day_unknown" };
        match refusal {
            RecordRefusal::NotFound | RecordRefusal::UnknownPerson => "not_found",
            RecordRefusal::AlreadyExists => "already_exists",
            RecordRefusal::UnknownPolicy => "unknown_reference",
            RecordRefusal::PolicyGap(_) => "policy_gap",
            RecordRefusal::Overlaps { .. } => "enrolments_overlap",
            RecordRefusal::EndsBeforeStart(_) | RecordRefusal::EndsBeforeItCounts(_) => "ends_before_start",
            RecordRefusal::RequestStands { .. } => "request_stands",
            RecordRefusal::Days(refusal) => days_code(refusal),
            RecordRefusal::DayTaken { .. } => "day_taken",
            RecordRefusal::NotEnough { .. } => "not_enough_leave",
            RecordRefusal::WrongStatus(_) => "wrong_status",
            RecordRefusal::NotEncashable => "not_encashable",
            RecordRefusal::NotPositive | RecordRefusal::Zero => "invalid_amount",
            RecordRefusal::Plan(_) => "no_work_schedule",
        }
    }
    /// JSON Pointer to the field at fault.
    pub const fn field(&self) -> Option<&'static str> {
        let Self::Record(refusal) = self else { return None };
        match refusal {
            RecordRefusal::NotFound
            | RecordRefusal::UnknownPerson
            | RecordRefusal::AlreadyExists
            | RecordRefusal::WrongStatus(_)
            | RecordRefusal::Plan(_) => None,
            RecordRefusal::UnknownPolicy => Some("/policy_id"),
            RecordRefusal::PolicyGap(_) | RecordRefusal::Overlaps { .. } | RecordRefusal::NotEncashable => Some("/effective_on"),
            RecordRefusal::EndsBeforeStart(_) | RecordRefusal::RequestStands { .. } => Some("/until"),
            RecordRefusal::EndsBeforeItCounts(_) => Some("/ends_on"),
            RecordRefusal::Days(_) | RecordRefusal::DayTaken { .. } | RecordRefusal::NotEnough { .. } => Some("/days"),
            RecordRefusal::NotPositive | RecordRefusal::Zero => Some("/amount"),
        }
    }
}

const fn days_code(refusal: &CostRefusal) -> &'static str {
    match refusal {
        CostRefusal::NoDays | CostRefusal::TooManyDays { .. } | CostRefusal::DayTwice(_) | CostRefusal::NoHours(_) => "invalid_days",
        CostRefusal::NotEmployed(_) => "not_employed_on_date",
        CostRefusal::NoPolicy(_) => "no_policy",
        CostRefusal::NoSchedule(_) => "no_work_schedule",
        CostRefusal::NoCalendar(_) => "no_holiday_calendar",
        CostRefusal::UnknownYear { .. } => "unknown_holiday_year",
        CostRefusal::Waiting { .. } => "waiting_time",
        CostRefusal::FinerThanUnit { .. } => "finer_than_unit",
        CostRefusal::MoreThanThere { .. } => "more_than_there",
        CostRefusal::NothingToTake(_) => "nothing_to_take",
    }
}
