//! The facts: typed ids, the envelope, event enums, upcasting and sealing. No I/O, no clock, no rules.
//!
//! Where to look: an HR capability's events stand in the module of its name ([`organization`], [`employee`]); what
//! surrounds every event in [`envelope`](RecordedEvent); who may name a stream in [`TenantScope`]; what is personal
//! in [`Personal`].

#![deny(clippy::disallowed_methods)]

pub mod employee;
pub mod organization;
pub mod tenancy;

mod catalog;
mod effective;
mod envelope;
mod ids;
mod money;
mod personal;
mod stream;
mod tenant;
mod upcast;

pub use catalog::{DecodeError, Event};
pub use effective::{Change, Effective, Span, Timeline};
pub use envelope::{
    CloudEvent, CommandHash, EventMark, ForeignCloudEvent, LogPoint, Metadata, NewEvent, Position, RecordedEvent, StreamPoint, Version,
};
pub use ids::{CommandId, CorrelationId, DepartmentId, EmployeeId, EmploymentId, EventId, InvalidId, JobId, LocationId};
pub use money::{Currency, InvalidMoney, Money, PayPeriod};
pub use personal::{KeyState, PersonKey, Personal, PersonalField, Place, SealError};
pub use stream::{Category, InvalidStreamName, StreamName};
pub use tenant::{InvalidTenantId, TenantId, TenantScope};
