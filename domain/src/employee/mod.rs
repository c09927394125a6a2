//! A person's employments: hire, rehire, changes of assignment, pay and details, termination.

mod commands;
mod refusal;

use events::employee::*;
use jiff::civil::Date;

pub use commands::*;
pub use refusal::Refusal;

use crate::{Claim, Facts, Standing};

/// The claim on a person's number.
pub const EMPLOYEE_NUMBER: &str = "employee_number";
/// The claim on an address at work.
pub const WORK_EMAIL: &str = "work_email";

/// A person, as far as the rules read it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {}

impl State {
    /// What follows from a command: events, nothing (it is so already), or a refusal. `facts` answer the command's
    /// [`Command::references`].
    pub fn decide(&self, command: &Command, facts: &Facts) -> Result<Vec<EmployeeEvent>, Refusal> {
        let _ = (command, facts);
        todo!()
    }

    /// The claims that go with the events decided on this state.
    pub fn claims(&self, events: &[EmployeeEvent]) -> Vec<Claim> {
        let _ = events;
        todo!()
    }

    /// The state after an event. Personal fields must have been opened; what is erased counts as unknown.
    pub fn evolve(self, event: &EmployeeEvent) -> Self {
        let _ = event;
        todo!()
    }

    /// How the person stands on a day: employed, not then, or unknown.
    pub fn standing(&self, on: Date) -> Standing {
        let _ = on;
        todo!()
    }
}
