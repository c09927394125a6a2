//! Leave: how much of it a person has on any day, and what a request costs.
//!
//! Read in this order: the calendar arithmetic ([`dates`]), what is known of a person's work ([`WorkingTime`]), what a day
//! costs ([`costing`]), what is credited ([`accrual`]), the account that follows ([`ledger`]) and its balance ([`balance`]),
//! what is still to be recorded ([`posting`]), and entitlements that look back ([`rolling`]).
//!
//! A balance is never stored: it is the sum of entries, and entries follow from the policy's versions, the person's work and
//! the requests. The same facts give the same entries for ever.

pub mod accrual;
pub mod balance;
pub mod costing;
pub mod dates;
pub mod ledger;
pub mod posting;
pub mod rolling;
mod working_time;

#[cfg(test)]
mod tests;

pub use working_time::{Employed, Enrolment, FromDays, HolidayCalendar, Stretch, WorkingTime};
