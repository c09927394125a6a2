//! What nobody waits for: what took effect is announced, reactions are sent, jobs are run.
//!
//! A worker holds leases on partitions ([`process`]). Each of its tenants gets a turn when something rang for it ([`rota`]): in it the
//! tenant's log is followed ([`follow`]), which is folded into due dates and reactions ([`fold`]), then what is due is announced
//! ([`due`]), then jobs are run ([`jobs`]): reactions ([`reactions`]) and mails ([`mails`], by [`mail`]). Who is not ready yet is made so
//! ([`provisioning`]). What a turn does stands in the worker's tables before it has an effect, and whatever it sends has an id that is
//! derived from its cause: a worker that is killed anywhere is followed by one that does the rest, and twice is once.

mod announce;
pub mod due;
pub mod fold;
pub mod follow;
pub mod jobs;
pub mod mail;
pub mod mails;
pub mod process;
mod provisioning;
mod reactions;
pub mod rota;
mod turn;

pub use turn::{TurnError, Turns};
