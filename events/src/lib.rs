//! The facts: typed ids, the envelope, event enums, upcasting and sealing. No I/O, no clock, no rules.
//!
//! Where to look: what there is in [`capabilities!`]; an HR capability's events stand in the module of its name ([`organization`], [`employee`]); what
//! surrounds every event in [`envelope`](RecordedEvent); who may name a stream in [`TenantScope`]; what is personal
//! in [`Personal`].

#![deny(clippy::disallowed_methods)]

pub mod employee;
pub mod leave;
pub mod organization;
pub mod tenancy;

mod amount;
mod capabilities;
mod catalog;
mod class;
mod effective;
mod envelope;
mod ids;
mod money;
mod personal;
mod stream;
mod tenant;
#[cfg(test)]
mod tests;
mod upcast;
mod working_days;

pub use amount::{Amount, InvalidAmount};
pub use capabilities::CAPABILITIES;
pub use catalog::{DecodeError, Event, KeyOwner};
pub use class::FieldClass;
pub use effective::{Change, Effective, Span, Timeline};
pub use employee::{EmployeeId, EmploymentId};
pub use envelope::{
    CloudEvent, CommandHash, EventMark, ForeignCloudEvent, LogPoint, Metadata, NewEvent, Position, RecordedEvent, StreamPoint, Version,
};
pub use ids::{CommandId, CorrelationId, EventId, InvalidId, PersonId};
pub use money::{Currency, InvalidMoney, Money, PayPeriod};
pub use organization::{DepartmentId, JobId, LocationId};
pub use personal::{KeyState, PersonKey, Personal, PersonalField, SealContext, SealError};
pub use stream::{Category, InvalidStreamName, StreamName};
pub use tenant::{InvalidTenantId, TenantId, TenantScope};
pub use working_days::{DayHalf, DayOfWork, DayPart, HalfOfWork, Halves, Holiday, InvalidSchedule, WorkFraction, WorkSchedule};
