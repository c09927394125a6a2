//! Why a command about the organization was refused.

use jiff::civil::Date;

/// A rule about departments, locations and jobs said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The department, location or job to change does not exist.
    #[error("there is no such department, location or job")]
    NotFound,
    /// The id is taken by one with other particulars.
    #[error("this id was created with other particulars; send a change instead, or choose another id")]
    AlreadyExists(&'static str),
    /// The code is or was another's.
    #[error("the code is or was in use; codes are never reused, so choose another one")]
    CodeTaken,
    /// The department above does not exist.
    #[error("parent_id names no department; send one that this tenant has")]
    UnknownParent,
    /// The department above is not there throughout.
    #[error("the department above must be open for as long as this one is below it; choose another parent_id or another day")]
    ParentNotOpen,
    /// A department would be above itself.
    #[error("on {0} the department would be its own parent, directly or further up; choose another parent_id or another day")]
    Cycle(Date),
    /// A change before the first day.
    #[error("effective_on must not be before {0}, the first day")]
    BeforeOpening(Date),
    /// A change after the last day.
    #[error("it is closed from {0}; choose a day before")]
    AfterClosing(Date),
    /// Closing without a day open.
    #[error("effective_on is the first day without it and must be after {0}, its first day")]
    ClosesBeforeOpening(Date),
    /// It was closed on another day.
    #[error("it is closed from {0} already")]
    AlreadyClosed(Date),
    /// Departments below it would hang in the air.
    #[error("departments are below it on that day or later; move or close them first")]
    HasSubDepartments,
    /// A limit against runaway clients.
    #[error("there are too many changes on this day already; choose another day")]
    TooManyChangesOnDay,
}

impl Refusal {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyExists(_) => "already_exists",
            Self::CodeTaken => "code_taken",
            Self::UnknownParent => "unknown_reference",
            Self::ParentNotOpen => "reference_not_open",
            Self::Cycle(_) => "department_cycle",
            Self::BeforeOpening(_) => "before_opening",
            Self::AfterClosing(_) => "after_closing",
            Self::ClosesBeforeOpening(_) => "closes_before_opening",
            Self::AlreadyClosed(_) => "already_closed",
            Self::HasSubDepartments => "has_sub_departments",
            Self::TooManyChangesOnDay => "too_many_changes_on_day",
        }
    }
    /// JSON Pointer to the field at fault.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::NotFound | Self::HasSubDepartments => None,
            Self::AlreadyExists(pointer) => Some(pointer),
            Self::CodeTaken => Some("/code"),
            Self::UnknownParent | Self::ParentNotOpen | Self::Cycle(_) => Some("/parent_id"),
            Self::BeforeOpening(_)
            | Self::AfterClosing(_)
            | Self::ClosesBeforeOpening(_)
            | Self::AlreadyClosed(_)
            | Self::TooManyChangesOnDay => Some("/effective_on"),
        }
    }
}
