//! Leave: what kinds of it a tenant has and by which policies ([`terms`]), and one person's leave of all kinds ([`record`]).
//!
//! What follows from facts by arithmetic alone, such as a balance or what a request costs, is [`calculation::leave`].

pub mod record;
pub mod terms;

#[cfg(test)]
pub(crate) use calculation::leave::{Employed, Enrolment, FromDays, HolidayCalendar, WorkingTime, costing, dates, ledger, posting};
