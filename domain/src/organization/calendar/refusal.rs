//! Why a command about work schedules or holiday calendars was refused.

use jiff::civil::Date;

/// A rule about schedules and calendars said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The schedule or calendar does not exist.
    #[error("there is no such work schedule or holiday calendar")]
    NotFound,
    /// The id is taken by one with other particulars.
    #[error("this id was created with other particulars; send a change instead, or choose another id")]
    AlreadyExists(&'static str),
    /// The code is another's.
    #[error("the code is in use; choose another one")]
    CodeTaken,
    /// A change before the first day.
    #[error("effective_on must not be before {0}, the first day")]
    BeforeFirstDay(Date),
    /// The calendar lacks the year.
    #[error("the calendar does not know the year {0}; load that year first")]
    UnknownYear(i16),
    /// No year that anybody plans for.
    #[error("year must be from 1900 to 2200")]
    YearOutOfRange,
    /// A holiday of another year.
    #[error("{0} is not of that year; leave it out, or load its year")]
    OtherYear(Date),
    /// The same half twice.
    #[error("{0}, or a half of it, is named twice; name each half once")]
    HolidayTwice(Date),
    /// More than a year has.
    #[error("a year has at most 366 holidays")]
    TooManyHolidays,
    /// The place does not exist.
    #[error("location_id names no location; send one that this tenant has, or leave it out")]
    UnknownLocation,
}

impl Refusal {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyExists(_) => "already_exists",
            Self::CodeTaken => "code_taken",
            Self::BeforeFirstDay(_) => "before_opening",
            Self::UnknownYear(_) => "unknown_holiday_year",
            Self::YearOutOfRange | Self::OtherYear(_) | Self::HolidayTwice(_) | Self::TooManyHolidays => "invalid_holidays",
            Self::UnknownLocation => "unknown_reference",
        }
    }
    /// JSON Pointer to the field at fault.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::NotFound => None,
            Self::AlreadyExists(pointer) => Some(pointer),
            Self::CodeTaken => Some("/code"),
            Self::BeforeFirstDay(_) => Some("/effective_on"),
            Self::UnknownYear(_) => Some("/on"),
            Self::YearOutOfRange => Some("/year"),
            Self::OtherYear(_) | Self::HolidayTwice(_) | Self::TooManyHolidays => Some("/holidays"),
            Self::UnknownLocation => Some("/location_id"),
        }
    }
}
