//! Why a command about a person's employments was refused.

use jiff::civil::Date;

/// A rule about employments said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such person.
    #[error("there is no such employee")]
    NotFound,
    /// The id is taken by a person who was hired with other particulars.
    #[error("an employee with this id was hired with other particulars; send a rehire or a change instead, or choose another id")]
    AlreadyHired,
    /// The tenant has nothing with this id.
    #[error("{0} names nothing that exists; send an id that this tenant has")]
    UnknownReference(&'static str),
    /// It exists, but not on the day.
    #[error("what {pointer} names is not there on {on}; choose another one or another day")]
    ReferenceNotOpen {
        /// The field.
        pointer: &'static str,
        /// The day.
        on: Date,
    },
    /// A person reports to somebody else, or to nobody.
    #[error("a person can't be their own manager; send another manager_id, or null")]
    OwnManager(&'static str),
    /// Nobody stands above themselves.
    #[error("{0} names somebody who reports to this person, directly or through others; move one of them first, or choose another day")]
    ManagerCycle(&'static str),
    /// Service can't start after the employment.
    #[error("original_hire_date must not be after hire_date")]
    OriginalHireDateAfterHire,
    /// Nobody is employed before being born.
    #[error("birth_date must be before the first day of employment and of service")]
    BirthDateNotBeforeHire(&'static str),
    /// The last employment is open.
    #[error("the person is still employed; terminate the employment first")]
    StillEmployed,
    /// The new employment would overlap the last one.
    #[error("hire_date must be after {0}, the last day of the employment before")]
    RehireBeforeEnd(Date),
    /// No employment covers the day.
    #[error("the person is not employed on {0}; choose a day within an employment")]
    NotEmployedOnDate(Date),
    /// Before there was anything to change.
    #[error("effective_on must not be before {0}, the first day of employment")]
    BeforeHire(Date),
    /// The employment had not begun.
    #[error(
        "last_day_worked must not be before {0}, the first day of the employment; for a person who never started, send the day before it"
    )]
    TerminationBeforeHire(Date),
    /// The employment has ended otherwise.
    #[error("the employment has already ended: its last day is {0}")]
    AlreadyTerminated(Date),
    /// A limit against runaway clients.
    #[error("there are too many changes on this day already; choose another day")]
    TooManyChangesOnDay,
}

impl Refusal {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyHired => "already_hired",
            Self::UnknownReference(_) => "unknown_reference",
            Self::ReferenceNotOpen { .. } => "reference_not_open",
            Self::OwnManager(_) => "own_manager",
            Self::ManagerCycle(_) => "manager_cycle",
            Self::OriginalHireDateAfterHire => "original_hire_date_after_hire",
            Self::BirthDateNotBeforeHire(_) => "birth_date_not_before_hire",
            Self::StillEmployed => "still_employed",
            Self::RehireBeforeEnd(_) => "rehire_before_end",
            Self::NotEmployedOnDate(_) => "not_employed_on_date",
            Self::BeforeHire(_) => "before_hire",
            Self::TerminationBeforeHire(_) => "termination_before_hire",
            Self::AlreadyTerminated(_) => "already_terminated",
            Self::TooManyChangesOnDay => "too_many_changes_on_day",
        }
    }
    /// JSON Pointer to the field at fault.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::NotFound | Self::StillEmployed => None,
            Self::AlreadyHired => Some("/employee_id"),
            Self::UnknownReference(pointer)
            | Self::ReferenceNotOpen { pointer, .. }
            | Self::OwnManager(pointer)
            | Self::ManagerCycle(pointer)
            | Self::BirthDateNotBeforeHire(pointer) => Some(pointer),
            Self::OriginalHireDateAfterHire => Some("/original_hire_date"),
            Self::RehireBeforeEnd(_) => Some("/hire_date"),
            Self::NotEmployedOnDate(_) | Self::BeforeHire(_) | Self::TooManyChangesOnDay => Some("/effective_on"),
            Self::TerminationBeforeHire(_) | Self::AlreadyTerminated(_) => Some("/last_day_worked"),
        }
    }
}
