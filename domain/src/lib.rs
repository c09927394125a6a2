//! The rules: for each HR capability its commands, its refusals, and two pure functions, `decide` and `evolve`.
//!
//! Nothing here reads a clock, draws a random number or does I/O: time and ids arrive in the command, other
//! aggregates' answers in [`Facts`]. Where to look: a capability's rules stand in the module of its name; each reads
//! top-down: commands, refusals, state, decide, evolve.
//!
//! A caller's way through: [`Command::parse`], [`Command::fill_ids`], [`Command::target`], load that aggregate's
//! state, look up [`employee::Command::references`], `State::decide`, `State::claims`, append, `State::evolve`.

#![deny(clippy::disallowed_methods)]

pub mod employee;
pub mod organization;
pub mod tenancy;

mod claim;
mod command;
mod facts;
mod restated;
pub mod text;

pub use claim::{Claim, ClaimOp};
pub use command::{Command, ParseError, Target};
pub use facts::{Facts, Reference, Referent, Standing};

/// A rule said no. Neither a conflict nor a breakage: the same command against the same facts is refused again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// By the rules about tenants.
    #[error(transparent)]
    Tenancy(#[from] tenancy::Refusal),
    /// By the rules about departments, locations and jobs.
    #[error(transparent)]
    Organization(#[from] organization::Refusal),
    /// By the rules about employments.
    #[error(transparent)]
    Employee(#[from] employee::Refusal),
}

impl Refusal {
    /// The stable code, snake case. `not_found` says that the object itself is absent (404), all others that a rule
    /// was broken (422).
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Tenancy(r) => r.code(),
            Self::Organization(r) => r.code(),
            Self::Employee(r) => r.code(),
        }
    }
    /// JSON Pointer to the command's field at fault, where there is one.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::Tenancy(r) => r.field(),
            Self::Organization(r) => r.field(),
            Self::Employee(r) => r.field(),
        }
    }
}
