//! Departments (a tree), locations and jobs of a tenant: one aggregate, so that codes and the tree need no locks.

mod commands;
mod refusal;

use events::organization::*;
use jiff::civil::Date;

pub use commands::*;
pub use refusal::Refusal;

use crate::{Claim, Referent, Standing};

/// A tenant's organization, as far as the rules read it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {}

impl State {
    /// What follows from a command: events, nothing (it is so already), or a refusal.
    pub fn decide(&self, command: &Command) -> Result<Vec<OrganizationEvent>, Refusal> {
        let _ = command;
        todo!()
    }

    /// The claims that go with events: none. One stream holds all codes of a tenant.
    pub fn claims(&self, _events: &[OrganizationEvent]) -> Vec<Claim> {
        Vec::new()
    }

    /// The state after an event.
    pub fn evolve(self, event: &OrganizationEvent) -> Self {
        let _ = event;
        todo!()
    }

    /// How a department, location or job stands on a day. A person is unknown here.
    pub fn standing(&self, to: Referent, on: Date) -> Standing {
        let _ = (to, on);
        todo!()
    }
}
