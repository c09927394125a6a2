//! The tenants that were registered: those whose record the platform's log holds. A store may hold others', who are left alone until
//! they are registered.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use events::{Category, LogPoint, Position, TenantId, TenantScope};

use super::{Relay, RelayError};
use crate::{StoreError, TenantHead, foreign::Foreign};

/// How long a platform's log that can't be read is left alone.
const PAUSE: Duration = Duration::from_secs(10);

/// What is known of the platform's log.
#[derive(Debug, Default)]
pub(super) struct Registered {
    tenants: HashSet<TenantId>,
    read_to: LogPoint,
    failed: Option<Instant>,
    foreign: Foreign,
}

impl Registered {
    pub(super) fn has(&self, tenant: TenantId) -> bool {
        tenant == TenantId::PLATFORM || self.tenants.contains(&tenant)
    }

    /// Takes note of an event of the platform's log, that a tenant was registered or what became of it, and of the event before it.
    pub(super) fn add(&mut self, tenant: TenantId, previous: LogPoint, point: LogPoint) {
        self.tenants.insert(tenant);
        if previous == self.read_to {
            self.read_to = point;
        }
    }

    /// Reads what is new in the platform's log, which is all after it was put back. The logs of the tenants that were registered;
    /// of the others their number is said.
    pub(super) async fn among(&mut self, relay: &Relay, heads: Vec<TenantHead>) -> Result<Vec<TenantHead>, RelayError> {
        let platform = heads.iter().find(|head| head.tenant == TenantId::PLATFORM).map_or(LogPoint::START, TenantHead::point);
        let is_paused = self.failed.is_some_and(|failed| failed.elapsed() < PAUSE);
        if platform != self.read_to && !is_paused {
            self.failed = None;
            match self.read_on(relay, platform).await {
                Err(error @ (StoreError::Broken(_) | StoreError::Unreadable { .. })) => {
                    tracing::error!(%error, "ALERT: the platform's log can't be read; tenants that were registered lately are not relayed");
                    self.failed = Some(Instant::now());
                }
                read => read?,
            }
        }
        let (ours, others): (Vec<_>, Vec<_>) = heads.into_iter().partition(|head| self.has(head.tenant));
        self.foreign.note(others.len());
        Ok(ours)
    }

    async fn read_on(&mut self, relay: &Relay, platform: LogPoint) -> Result<(), StoreError> {
        if platform.position < self.read_to.position {
            (self.read_to, self.tenants) = (LogPoint::START, HashSet::new());
        }
        while self.read_to.position < platform.position {
            let Some(page) = relay.page(TenantScope::checked(TenantId::PLATFORM), self.read_to).await? else {
                (self.read_to, self.tenants) = (LogPoint::START, HashSet::new());
                continue;
            };
            for event in page.iter().filter(|event| event.stream.category() == Category::Tenancy) {
                self.tenants.insert(TenantId::from_uuid(event.stream.id()));
            }
            let Some(last) = page.last() else { break };
            self.read_to = last.log_point();
        }
        if platform.position != Position::ZERO && self.read_to.position >= platform.position {
            self.read_to = LogPoint { mark: self.read_to.mark.or(platform.mark), ..self.read_to };
        }
        Ok(())
    }
}
