//! Why a command about the organization was refused.

use jiff::civil::Date;

/// A rule about departments, locations and jobs said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The department, location or job to change does not exist.
    #[error("there is no such department, location or job")]
    NotFound,
}

impl Refusal {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
        }
    }
    /// JSON Pointer to the field at fault.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::NotFound => None,
        }
    }
}
const _: Option<Date> = None;
