//! The way of a command, whoever sends it: load, decide, seal, append; and what a retry gets.
//!
//! A [`SentCommand`] goes to an [`Executor`], which answers what it did or why it did nothing: it was refused, others were faster, or
//! something is down ([`Failure`]). Who sends many at once uses a [`Pipeline`]. Reading order: [`sent`], [`outcome`], [`execute`],
//! [`access`] and [`reach`] (who may), [`aggregates`] and [`aggregate`] (on what it is decided), [`answers`] and [`command_hash`]
//! (what a retry gets), [`locks`], [`pipeline`] and [`order`] (which commands wait for which); below them [`keyed_locks`],
//! [`fair_semaphore`], [`problems`].

mod access;
mod aggregate;
mod aggregates;
mod answers;
mod command_hash;
mod execute;
mod fair_semaphore;
mod keyed_locks;
mod locks;
mod order;
mod outcome;
mod pipeline;
mod problems;
mod reach;
mod sent;

pub use command_hash::hash_of;
pub use execute::Executor;
pub use fair_semaphore::{FairPermit, FairSemaphore};
pub use order::IN_FLIGHT;
pub use outcome::{Answer, Failure};
pub use pipeline::{Pipeline, Started};
pub use sent::{Precondition, Sender, SentCommand};
