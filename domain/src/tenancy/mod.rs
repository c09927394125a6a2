//! Tenants: registered, provisioned, suspended and resumed, closed. In the platform's own log.

mod commands;
mod refusal;
#[cfg(test)]
mod tests;

use events::{
    EmployeeId, StreamName, TenantId, TenantScope,
    tenancy::{
        Subscription, SubscriptionChanged, TenancyEvent, TenantClosed, TenantProvisioned, TenantRegistered, TenantRenamed, TenantResumed,
        TenantSuspended, TenantTimeZoneChanged,
    },
};

pub use commands::*;
pub use refusal::Refusal;

pub(crate) use crate::due::{no_reaction as react, nothing_due as due};

use crate::{Claim, Facts, Unique, facts::facts, text::TimeZoneName};

/// A tenant's name in hosts.
pub static SLUG: Unique = Unique { name: "slug", code: "slug_taken", detail: "the slug is another tenant's; choose another one" };
/// What only one tenant may hold.
pub const UNIQUES: &[&Unique] = &[&SLUG];

// Nothing may be asked of a tenant: each process knows them all.
facts! { Tenancy answers {} }

impl Question {
    /// The stream of the aggregate that answers.
    pub const fn stream(&self, _: TenantScope) -> StreamName {
        match *self {}
    }
    /// Whether an answer that is a second old would be too old.
    pub const fn must_be_newest(&self) -> bool {
        match *self {}
    }
    /// What else is to be asked because of the answer.
    pub fn leads_to(&self, _: &Fact) -> Vec<crate::Question> {
        match *self {}
    }
}

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
    /// Refused until resumed, for this reason.
    Suspended(Particulars, String),
    /// Gone for good, for this reason; what it was called is of no more use.
    Closed(String),
}

/// What a tenant is called and may use, and by which clock it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Particulars {
    slug: String,
    name: String,
    subscription: Subscription,
    time_zone: String,
}

impl State {
    /// What follows from a command: events, nothing (it is so already), or a refusal.
    #[expect(clippy::match_same_arms, reason = "one arm, one rule")]
    pub fn decide(&self, command: &Command, _: &Facts) -> Result<Vec<TenancyEvent>, Refusal> {
        use Command as C;
        use State::{Absent, Closed, Ready, Registered, Suspended};
        match (self, command) {
            (_, C::RegisterTenant(c)) if c.tenant_id == TenantId::PLATFORM => Err(Refusal::ReservedId),
            (Absent, C::RegisterTenant(c)) => {
                let mut events = one(TenantRegistered {
                    tenant_id: c.tenant_id,
                    slug: c.slug.to_text(),
                    name: c.name.to_text(),
                    subscription: subscription(c.plan.as_ref(), c.expires_at),
                });
                let time_zone = c.time_zone.as_ref().map(TimeZoneName::to_text).filter(|name| name != UTC);
                events.extend(time_zone.map(|time_zone| TenancyEvent::from(TenantTimeZoneChanged { tenant_id: c.tenant_id, time_zone })));
                Ok(events)
            }
            (Registered(p) | Ready(p) | Suspended(p, _), C::RegisterTenant(c)) => {
                let same = p.slug == c.slug.as_str()
                    && p.name == c.name.as_str()
                    && p.subscription == subscription(c.plan.as_ref(), c.expires_at)
                    && p.time_zone == c.time_zone.as_ref().map_or(UTC, TimeZoneName::as_str);
                if same { Ok(Vec::new()) } else { Err(Refusal::AlreadyRegistered) }
            }

            (Closed(reason), C::CloseTenant(c)) if reason == c.reason.as_str() => Ok(Vec::new()),
            (
                Absent,
                C::ConfirmProvisioned(_)
                | C::RenameTenant(_)
                | C::ChangeSubscription(_)
                | C::ChangeTenantTimeZone(_)
                | C::SuspendTenant(_)
                | C::ResumeTenant(_)
                | C::CloseTenant(_),
            ) => Err(Refusal::NotFound),
            (
                Closed(_),
                C::RegisterTenant(_)
                | C::ConfirmProvisioned(_)
                | C::RenameTenant(_)
                | C::ChangeSubscription(_)
                | C::ChangeTenantTimeZone(_)
                | C::SuspendTenant(_)
                | C::ResumeTenant(_)
                | C::CloseTenant(_),
            ) => Err(Refusal::Closed),

            (Registered(_), C::ConfirmProvisioned(c)) => Ok(one(TenantProvisioned { tenant_id: c.tenant_id })),
            (Ready(_) | Suspended(..), C::ConfirmProvisioned(_)) => Ok(Vec::new()),

            (Registered(p) | Ready(p) | Suspended(p, _), C::RenameTenant(c)) => {
                if p.slug == c.slug.as_str() && p.name == c.name.as_str() {
                    return Ok(Vec::new());
                }
                Ok(one(TenantRenamed { tenant_id: c.tenant_id, slug: c.slug.to_text(), name: c.name.to_text() }))
            }
            (Registered(p) | Ready(p) | Suspended(p, _), C::ChangeSubscription(c)) => {
                let subscription = subscription(Some(&c.plan), c.expires_at);
                if p.subscription == subscription {
                    return Ok(Vec::new());
                }
                Ok(one(SubscriptionChanged { tenant_id: c.tenant_id, subscription }))
            }

            (Registered(p) | Ready(p) | Suspended(p, _), C::ChangeTenantTimeZone(c)) => {
                if p.time_zone == c.time_zone.as_str() {
                    return Ok(Vec::new());
                }
                Ok(one(TenantTimeZoneChanged { tenant_id: c.tenant_id, time_zone: c.time_zone.to_text() }))
            }

            (Registered(_), C::SuspendTenant(_) | C::ResumeTenant(_)) => Err(Refusal::NotReady),
            (Suspended(_, reason), C::SuspendTenant(c)) if reason == c.reason.as_str() => Ok(Vec::new()),
            (Ready(_) | Suspended(..), C::SuspendTenant(c)) => {
                Ok(one(TenantSuspended { tenant_id: c.tenant_id, reason: c.reason.to_text() }))
            }
            (Ready(_), C::ResumeTenant(_)) => Ok(Vec::new()),
            (Suspended(..), C::ResumeTenant(c)) => Ok(one(TenantResumed { tenant_id: c.tenant_id })),

            (Registered(_) | Ready(_) | Suspended(..), C::CloseTenant(c)) => {
                Ok(one(TenantClosed { tenant_id: c.tenant_id, reason: c.reason.to_text() }))
            }
        }
    }

    /// What must be looked up for a command: nothing.
    pub const fn questions(&self, _: &Command) -> Vec<crate::Question> {
        Vec::new()
    }

    /// The answer to a question.
    pub const fn answer(&self, question: &Question) -> Fact {
        match *question {}
    }

    /// Nobody.
    pub const fn person(&self) -> Option<EmployeeId> {
        None
    }

    /// The claims that go with the events decided on this state. A slug is held from registration until the tenant is
    /// renamed or closed.
    pub fn claims(&self, events: &[TenancyEvent]) -> Vec<Claim> {
        let mut held = self.particulars().map(|p| p.slug.as_str());
        let mut claims = Vec::new();
        for event in events {
            match event {
                TenancyEvent::TenantRegistered(e) => {
                    claims.push(Claim::take(&SLUG, &e.slug));
                    held = Some(&e.slug);
                }
                TenancyEvent::TenantRenamed(e) => {
                    if held != Some(e.slug.as_str()) {
                        claims.extend(held.map(|slug| Claim::release(&SLUG, slug)));
                        claims.push(Claim::take(&SLUG, &e.slug));
                    }
                    held = Some(&e.slug);
                }
                TenancyEvent::TenantClosed(_) => claims.extend(held.take().map(|slug| Claim::release(&SLUG, slug))),
                TenancyEvent::TenantProvisioned(_)
                | TenancyEvent::SubscriptionChanged(_)
                | TenancyEvent::TenantTimeZoneChanged(_)
                | TenancyEvent::TenantSuspended(_)
                | TenancyEvent::TenantResumed(_) => {}
            }
        }
        claims
    }

    /// The state after an event.
    pub fn evolve(self, event: &TenancyEvent) -> Self {
        use State::{Absent, Closed, Ready, Registered, Suspended};
        match event {
            TenancyEvent::TenantRegistered(e) => {
                let (slug, name, subscription) = (e.slug.clone(), e.name.clone(), e.subscription.clone());
                Registered(Particulars { slug, name, subscription, time_zone: UTC.to_owned() })
            }
            TenancyEvent::TenantProvisioned(_) => match self {
                Registered(p) => Ready(p),
                other @ (Absent | Ready(_) | Suspended(..) | Closed(_)) => other,
            },
            TenancyEvent::TenantRenamed(e) => self.change(|p| {
                p.slug.clone_from(&e.slug);
                p.name.clone_from(&e.name);
            }),
            TenancyEvent::SubscriptionChanged(e) => self.change(|p| p.subscription.clone_from(&e.subscription)),
            TenancyEvent::TenantTimeZoneChanged(e) => self.change(|p| p.time_zone.clone_from(&e.time_zone)),
            TenancyEvent::TenantSuspended(e) => match self {
                Ready(p) | Suspended(p, _) => Suspended(p, e.reason.clone()),
                other @ (Absent | Registered(_) | Closed(_)) => other,
            },
            TenancyEvent::TenantResumed(_) => match self {
                Suspended(p, _) => Ready(p),
                other @ (Absent | Registered(_) | Ready(_) | Closed(_)) => other,
            },
            TenancyEvent::TenantClosed(e) => Closed(e.reason.clone()),
        }
    }

    const fn particulars(&self) -> Option<&Particulars> {
        match self {
            Self::Registered(p) | Self::Ready(p) | Self::Suspended(p, _) => Some(p),
            Self::Absent | Self::Closed(_) => None,
        }
    }

    fn change(mut self, change: impl FnOnce(&mut Particulars)) -> Self {
        match &mut self {
            Self::Registered(p) | Self::Ready(p) | Self::Suspended(p, _) => change(p),
            Self::Absent | Self::Closed(_) => {}
        }
        self
    }
}

fn one(event: impl Into<TenancyEvent>) -> Vec<TenancyEvent> {
    vec![event.into()]
}
