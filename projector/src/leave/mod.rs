//! Kinds of leave, policies, enrolments, requests, adjustments, and the entries that were recorded.

mod record;
mod terms;

pub mod tables;

pub use record::{Adjustment, Enrolment, Posting, Request};
pub use terms::{Policy, Type};

use events::leave::LeaveTypeClass;
use serde::Serialize;
use uuid::Uuid;

use crate::{fold::CannotFold, projection::Kind, several};

/// All of it.
pub type Projection = several![Kind<Type>, Kind<Policy>, Kind<Enrolment>, Kind<Request>, Kind<Adjustment>, Kind<Posting>];

/// A value that names a kind of leave, in the column of its class: of absences, personal, medical.
fn by_class<T>(class: LeaveTypeClass, value: T) -> [Option<T>; 3] {
    match class {
        LeaveTypeClass::Absence => [Some(value), None, None],
        LeaveTypeClass::Personal => [None, Some(value), None],
        LeaveTypeClass::Medical => [None, None, Some(value)],
    }
}

/// The word that stands for a value in JSON, such as `pending`.
fn word(value: &impl Serialize) -> Result<String, CannotFold> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        Ok(_) => Err(CannotFold("a value has no word for it".into())),
        Err(error) => Err(CannotFold(error.to_string())),
    }
}

/// Refuses a change to what was never created.
fn known<'k, T>(of: &'k mut Option<T>, event_type: &str, key: Uuid) -> Result<&'k mut T, CannotFold> {
    of.as_mut().ok_or_else(|| CannotFold(format!("{event_type} changes {key}, which was never created")))
}
