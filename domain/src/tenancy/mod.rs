//! Tenants: registered, provisioned, suspended and resumed, closed. In the platform's own log.

mod commands;
mod refusal;

use events::{TenantId, tenancy::*};

pub use commands::*;
pub use refusal::Refusal;

use crate::Claim;

/// The claim on a tenant's name in hosts.
pub const SLUG: &str = "slug";

/// A tenant, as far as the rules read it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum State {
    /// Never asked for.
    #[default]
    Absent,
    /// Asked for.
    Registered(Particulars),
    /// Usable.
    Ready(Particulars),
    /// Refused until resumed; the reason given.
    Suspended(Particulars, String),
    /// Gone for good; what it was registered with is of no more use.
    Closed,
}

/// What a tenant is called and may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Particulars {
    slug: String,
    name: String,
    subscription: Subscription,
}

impl State {
    /// What follows from a command: events, nothing (it is so already), or a refusal.
    pub fn decide(&self, command: &Command) -> Result<Vec<TenancyEvent>, Refusal> {
        let _: Option<TenantId> = None;
        let _ = command;
        todo!()
    }

    /// The claims that go with the events decided on this state.
    pub fn claims(&self, events: &[TenancyEvent]) -> Vec<Claim> {
        let _ = events;
        todo!()
    }

    /// The state after an event.
    pub fn evolve(self, event: &TenancyEvent) -> Self {
        let _ = event;
        todo!()
    }
}
