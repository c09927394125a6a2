//! The way of a command, whoever sends it: load, decide, seal, append; and what a retry gets.

mod access;
mod aggregate;
mod aggregates;
mod answers;
mod execute;
mod locks;
mod order;
mod places;
mod problems;
mod reach;
mod turns;

pub use execute::{Answer, Ask, Executor, Failure, IfMatch};
pub use order::{IN_FLIGHT, Manner, Order, Shared, shared_by};
pub use places::{Place, Places};
