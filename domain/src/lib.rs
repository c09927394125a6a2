//! The rules: for each HR capability its commands, its refusals, and two pure functions, `decide` and `evolve`.
//!
//! Nothing here reads a clock, draws a random number or does I/O: time and ids arrive in the command, other
//! aggregates' answers in [`Facts`]. Where to look: a capability's rules stand in the module of its name; each reads
//! top-down: commands, refusals, state, decide, evolve.
//!
//! The module of a kind of aggregate exports the same names as that of any other, from which the enums over all kinds are
//! made ([`events::capabilities!`]): `Command` and what it says of itself (`fill_ids`, `stream`, `object_id`, `creates`,
//! `touches`, `claims`, `lock`), `Refusal` (`code`, `field`), `State` (`questions`, `decide`, `claims`, `evolve`, `answer`,
//! `person`), `Question` and `Fact` (what others may ask), `UNIQUES` (what only one aggregate may hold), and two functions of its
//! events, `due` (what takes effect on a day) and `react` (what else they lead to).
//!
//! A caller's way through: [`Command::parse`], [`Command::fill_ids`], [`Command::stream`], load that aggregate's [`State`],
//! look up [`State::questions`], [`State::decide`], append, [`State::evolve`].

#![deny(clippy::disallowed_methods)]

pub mod employee;
pub mod leave;
pub mod organization;
pub mod tenancy;

mod claim;
mod command;
mod due;
mod facts;
mod faults;
mod restated;
mod state;
pub mod text;
mod touches;

pub use claim::{Claim, ClaimOp, ClaimUse, Unique, uniques};
pub use command::{Command, ParseError, StoredCommand};
pub use due::{Audience, Does, Due, DuePlace, Reaction, due, react};
pub use facts::{Ask, Fact, Facts, Question, Standing};
pub use state::{Decided, Mismatch, State};
pub use touches::{Lock, LockUse, PersonTouched, Touches, Whose};

macro_rules! refusal {
    ($($(#[$doc:meta])* $Kind:ident = $category:literal in $($module:ident)::+;)+) => {
        /// A rule said no. Neither a conflict nor a breakage: the same command against the same facts is refused again.
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        pub enum Refusal {
            $(
                #[doc = concat!("By the rules of [`Category::", stringify!($Kind), "`](events::Category).")]
                #[error(transparent)]
                $Kind(crate::$($module)::+::Refusal),
            )+
        }

        impl Refusal {
            /// The stable code, snake case. `not_found` says that the object itself is absent (404), all others that a rule
            /// was broken (422).
            pub const fn code(&self) -> &'static str {
                match self { $(Self::$Kind(refusal) => refusal.code()),+ }
            }
            /// JSON Pointer to the command's field at fault, where there is one.
            pub const fn field(&self) -> Option<&'static str> {
                match self { $(Self::$Kind(refusal) => refusal.field()),+ }
            }
        }
    };
}
events::kinds!(refusal);
