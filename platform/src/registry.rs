//! The tenants, folded in memory from the platform's own log. Every service follows it; nobody keeps a copy to edit.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use backon::{ExponentialBuilder, Retryable as _};
use events::{Category, Event, LogPoint, Position, RecordedEvent, TenantId, TenantScope, tenancy::Subscription, tenancy::TenancyEvent};
use futures::future::BoxFuture;
use jiff::tz::TimeZone;
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};

use crate::{health::Check, today::time_zone};

/// Reads the platform tenant's log after a point that was read before; none where the log has another event there now, or none.
/// Handed in by the service, which has the store.
pub type LogReader = Arc<dyn Fn(LogPoint, usize) -> BoxFuture<'static, anyhow::Result<Option<Vec<RecordedEvent>>>> + Send + Sync>;

/// Where a tenant stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantState {
    /// Asked for, not yet provisioned: 503 `tenant_not_ready`.
    Registered,
    /// Usable.
    Ready,
    /// Refused by an operator: 403 `tenant_suspended`.
    Suspended,
    /// Gone for good: 404 `tenant_not_found`.
    Closed,
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its slug.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: TenantState,
    /// What it subscribed to.
    pub subscription: Subscription,
    /// By which its lists and reports say what day it is.
    pub time_zone: TimeZone,
}

/// The platform's own slug; no tenant can have it.
pub const PLATFORM_SLUG: &str = "platform";
/// How often the log is read.
const INTERVAL: Duration = Duration::from_millis(500);
/// Between the starts of two reads, whoever asks for them.
const AT_MOST_EVERY: Duration = Duration::from_millis(150);
/// How long one read may take.
const READ: Duration = Duration::from_secs(5);
/// How old the knowledge may be before the process counts as not ready.
const STALE: Duration = Duration::from_secs(10);
/// Events per read.
const PAGE: usize = 1000;

/// All tenants. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    reader: Option<LogReader>,
    tenants: watch::Sender<Arc<Tenants>>,
    /// When the newest read started; held while one is under way.
    reading: Mutex<Option<Instant>>,
    last_success: watch::Sender<Instant>,
}

impl Registry {
    /// Loads the registry and keeps following the log (twice a second, and at once on [`Registry::refresh`]). Waits up
    /// to half a minute for a store that is starting.
    pub async fn start(reader: LogReader) -> anyhow::Result<Self> {
        let registry = Self::with(Some(reader), Tenants::default());
        let retry =
            ExponentialBuilder::default().with_min_delay(Duration::from_millis(100)).with_max_delay(Duration::from_secs(2)).with_jitter();
        (|| registry.refresh())
            .retry(retry.with_max_times(18))
            .notify(|error, after| tracing::warn!(error = format!("{error:#}"), ?after, "the tenants can't be read yet"))
            .await
            .context("reading the tenants from the platform's log")?;
        // The task ends with the last registry: it holds none itself.
        let weak = Arc::downgrade(&registry.0);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                let Some(inner) = weak.upgrade() else { return };
                if let Err(error) = Self(inner).refresh().await {
                    tracing::warn!(error = format!("{error:#}"), "the tenants can't be read; going on with those known");
                }
            }
        });
        Ok(registry)
    }
    /// A registry that knows these events and follows nothing; for tests and tools.
    pub fn from_events<'e>(events: impl IntoIterator<Item = &'e RecordedEvent>) -> Self {
        let mut tenants = Tenants::default();
        events.into_iter().for_each(|event| tenants.apply(event));
        Self::with(None, tenants)
    }
    fn with(reader: Option<LogReader>, tenants: Tenants) -> Self {
        let (tenants, last_success) = (watch::Sender::new(Arc::new(tenants)), watch::Sender::new(Instant::now()));
        Self(Arc::new(Inner { reader, tenants, reading: Mutex::new(None), last_success }))
    }
    /// Reads what was recorded before the call. Callers share one read, and reads start at most a few times a second,
    /// whoever asks.
    pub async fn refresh(&self) -> anyhow::Result<()> {
        let Some(reader) = &self.0.reader else { return Ok(()) };
        let asked = Instant::now();
        let mut reading = self.0.reading.lock().await;
        if let Some(started) = *reading {
            if started > asked {
                return Ok(()); // someone read since
            }
            tokio::time::sleep_until(started + AT_MOST_EVERY).await;
        }
        let started = Instant::now();
        tokio::time::timeout(READ, self.read_on(reader)).await.context("the platform's log gave no answer in time")??;
        // Only a read that succeeded answers those who waited.
        *reading = Some(started);
        self.0.last_success.send_replace(Instant::now());
        Ok(())
    }
    async fn read_on(&self, reader: &LogReader) -> anyhow::Result<()> {
        loop {
            let mut tenants = Tenants::clone(&self.0.tenants.borrow());
            let (point, whole) = (tenants.point, tenants.point == LogPoint::START);
            let events = match reader(point, PAGE).await? {
                Some(events) => events,
                None if whole => anyhow::bail!("the platform's log has no beginning"),
                None => return self.read_anew(reader).await,
            };
            if events.is_empty() {
                return Ok(());
            }
            for event in &events {
                tenants.apply(event);
            }
            self.0.tenants.send_replace(Arc::new(tenants));
            if events.len() < PAGE {
                return Ok(());
            }
        }
    }
    /// Folds the log from its beginning: it is not the one that was followed. Those known before serve until it is read.
    async fn read_anew(&self, reader: &LogReader) -> anyhow::Result<()> {
        metrics::counter!("tenure_history_lost_total", "what" => "tenants").increment(1);
        tracing::error!(target: "audit", "ALERT: the platform's log has another history than was read before: the event store was put back, or is another one; see `tenure restored --help`");
        let mut tenants = Tenants::default();
        loop {
            let events = reader(tenants.point, PAGE).await?.context("the platform's log changes while it is read")?;
            for event in &events {
                tenants.apply(event);
            }
            if events.len() < PAGE {
                self.0.tenants.send_replace(Arc::new(tenants));
                return Ok(());
            }
        }
    }
    /// The tenant with this id, of any state. The platform itself is [`TenantId::PLATFORM`], slug `platform`.
    pub fn by_id(&self, id: TenantId) -> Option<Arc<Tenant>> {
        self.0.tenants.borrow().by_id.get(&id).map(|entry| entry.tenant.clone())
    }
    /// The tenant with this slug, of any state but closed.
    pub fn by_slug(&self, slug: &str) -> Option<Arc<Tenant>> {
        let tenants = self.0.tenants.borrow();
        tenants.by_slug.get(slug).and_then(|id| tenants.by_id.get(id)).map(|entry| entry.tenant.clone())
    }
    /// All of them but the platform itself, by slug.
    pub fn all(&self) -> Vec<Arc<Tenant>> {
        let tenants = self.0.tenants.borrow();
        let mut all: Vec<_> = tenants.by_id.values().filter(|e| e.tenant.id != TenantId::PLATFORM).map(|e| e.tenant.clone()).collect();
        all.sort_by(|a, b| (&a.slug, a.id).cmp(&(&b.slug, b.id)));
        all
    }
    /// Whether the tenant's own record holds something that this build can't read: then nobody knows what holds for it,
    /// and it is not served (I8).
    pub fn is_unreadable(&self, id: TenantId) -> bool {
        self.0.tenants.borrow().unreadable.contains(&id)
    }
    /// How far the log was read.
    pub fn position(&self) -> Position {
        self.0.tenants.borrow().point.position
    }
    /// Returns when something new was read; for workers that wait for tenants to appear or change.
    pub async fn changed_since(&self, position: Position) {
        let mut tenants = self.0.tenants.subscribe();
        // The sender lives as long as `self`.
        let _ = tenants.wait_for(|tenants| tenants.point.position > position).await;
    }
    /// Fails when the log could not be read for some seconds.
    pub fn check(&self) -> Check {
        let registry = self.clone();
        Check::new("tenants", move || {
            let age = registry.0.last_success.borrow().elapsed();
            let followed = registry.0.reader.is_some();
            async move {
                if followed && age > STALE { Err(anyhow::anyhow!("the tenants were last read {} s ago", age.as_secs())) } else { Ok(()) }
            }
        })
    }
    /// The platform's scope, for reading its log.
    pub const fn platform_scope() -> TenantScope {
        TenantScope::checked(TenantId::PLATFORM)
    }
}

#[derive(Debug, Clone)]
struct Entry {
    tenant: Arc<Tenant>,
    /// A tenant can be suspended before it is ready; resuming it must not make it so.
    provisioned: bool,
}

/// The fold of the platform's log.
#[derive(Debug, Clone)]
struct Tenants {
    by_id: HashMap<TenantId, Entry>,
    /// Of all but the closed ones.
    by_slug: HashMap<String, TenantId>,
    unreadable: HashSet<TenantId>,
    point: LogPoint,
}

impl Default for Tenants {
    fn default() -> Self {
        let platform = Tenant {
            id: TenantId::PLATFORM,
            slug: PLATFORM_SLUG.into(),
            name: "Tenure".into(),
            state: TenantState::Ready,
            subscription: Subscription { plan: PLATFORM_SLUG.into(), expires_at: None },
            time_zone: TimeZone::UTC,
        };
        Self {
            by_id: HashMap::from([(platform.id, Entry { tenant: Arc::new(platform), provisioned: true })]),
            by_slug: HashMap::from([(PLATFORM_SLUG.into(), TenantId::PLATFORM)]),
            unreadable: HashSet::new(),
            point: LogPoint::START,
        }
    }
}

impl Tenants {
    fn apply(&mut self, recorded: &RecordedEvent) {
        if recorded.position <= self.point.position {
            return; // delivered again
        }
        self.point = recorded.log_point();
        if recorded.tenant != TenantId::PLATFORM || recorded.stream.category() != Category::Tenancy {
            tracing::error!(stream = %recorded.stream, "the platform's log holds an event that is none of a tenant's record; skipped");
            return;
        }
        let id = TenantId::from_uuid(recorded.stream.id());
        match Event::decode(recorded) {
            Ok(Event::Tenancy(event)) if tenant_of(&event) == id && id != TenantId::PLATFORM => self.fold(id, event),
            Ok(_) => self.refuse(id, recorded, "its data names another tenant than its stream"),
            Err(error) => self.refuse(id, recorded, &error.to_string()),
        }
    }
    fn refuse(&mut self, id: TenantId, recorded: &RecordedEvent, reason: &str) {
        tracing::error!(tenant = %id, position = %recorded.position, reason, "a tenant's record can't be read: the tenant is not served");
        metrics::counter!("registry_unreadable_events_total").increment(1);
        self.unreadable.insert(id);
    }
    fn fold(&mut self, id: TenantId, event: TenancyEvent) {
        if let TenancyEvent::TenantRegistered(e) = event {
            let (state, subscription, time_zone) = (TenantState::Registered, e.subscription, TimeZone::UTC);
            let tenant = Tenant { id, slug: e.slug, name: e.name, state, subscription, time_zone };
            self.by_slug.insert(tenant.slug.clone(), id);
            self.by_id.insert(id, Entry { tenant: Arc::new(tenant), provisioned: false });
            return;
        }
        let Some(entry) = self.by_id.get_mut(&id) else {
            tracing::error!(tenant = %id, event_type = event.event_type(), "a tenant's record does not begin with its registration: the tenant is not served");
            self.unreadable.insert(id);
            return;
        };
        let tenant = Arc::make_mut(&mut entry.tenant);
        match event {
            TenancyEvent::TenantRegistered(_) => {}
            TenancyEvent::TenantProvisioned(_) => {
                entry.provisioned = true;
                if tenant.state == TenantState::Registered {
                    tenant.state = TenantState::Ready;
                }
            }
            TenancyEvent::TenantRenamed(e) => {
                free_slug(&mut self.by_slug, &tenant.slug, id);
                self.by_slug.insert(e.slug.clone(), id);
                (tenant.slug, tenant.name) = (e.slug, e.name);
            }
            TenancyEvent::SubscriptionChanged(e) => tenant.subscription = e.subscription,
            TenancyEvent::TenantTimeZoneChanged(e) => tenant.time_zone = zone_of(id, &e.time_zone),
            TenancyEvent::TenantSuspended(_) => tenant.state = TenantState::Suspended,
            TenancyEvent::TenantResumed(_) => tenant.state = if entry.provisioned { TenantState::Ready } else { TenantState::Registered },
            TenancyEvent::TenantClosed(_) => {
                tenant.state = TenantState::Closed;
                free_slug(&mut self.by_slug, &tenant.slug, id);
            }
        }
    }
}

/// The zone of a name that was in the database of the build that recorded it. Where this build's has it no more, the tenant goes by
/// UTC: it is served, and no day is wrong by more than one.
fn zone_of(id: TenantId, name: &str) -> TimeZone {
    time_zone(name).unwrap_or_else(|| {
        tracing::error!(tenant = %id, name, "this build does not know the tenant's time zone: its days are those of UTC");
        TimeZone::UTC
    })
}

/// Frees a slug, unless another tenant took it in between.
fn free_slug(by_slug: &mut HashMap<String, TenantId>, slug: &str, id: TenantId) {
    if by_slug.get(slug) == Some(&id) {
        by_slug.remove(slug);
    }
}

fn tenant_of(event: &TenancyEvent) -> TenantId {
    match event {
        TenancyEvent::TenantRegistered(e) => e.tenant_id,
        TenancyEvent::TenantProvisioned(e) => e.tenant_id,
        TenancyEvent::TenantRenamed(e) => e.tenant_id,
        TenancyEvent::SubscriptionChanged(e) => e.tenant_id,
        TenancyEvent::TenantTimeZoneChanged(e) => e.tenant_id,
        TenancyEvent::TenantSuspended(e) => e.tenant_id,
        TenancyEvent::TenantResumed(e) => e.tenant_id,
        TenancyEvent::TenantClosed(e) => e.tenant_id,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use events::{CommandHash, CommandId, CorrelationId, EventId, Metadata, StreamName, Version, tenancy::*};
    use uuid::Uuid;

    use super::*;

    pub(crate) fn tenant(n: u128) -> TenantId {
        TenantId::from_uuid(Uuid::from_u128(n << 64 | n))
    }
    pub(crate) fn plan(expires_at: Option<&str>) -> Subscription {
        Subscription { plan: "standard".into(), expires_at: expires_at.map(|at| at.parse().unwrap()) }
    }
    pub(crate) fn registered(id: TenantId, slug: &str) -> TenancyEvent {
        TenantRegistered { tenant_id: id, slug: slug.into(), name: slug.to_uppercase(), subscription: plan(None) }.into()
    }
    pub(crate) fn provisioned(id: TenantId) -> TenancyEvent {
        TenantProvisioned { tenant_id: id }.into()
    }
    pub(crate) fn record(events: &[(TenantId, TenancyEvent)]) -> Vec<RecordedEvent> {
        let of = |(n, (id, event)): (usize, &(TenantId, TenancyEvent))| RecordedEvent {
            id: EventId::from_uuid(Uuid::from_u128(n as u128)),
            tenant: TenantId::PLATFORM,
            stream: StreamName::tenancy(*id),
            version: Version(1),
            position: Position(n as u64 + 1),
            event_type: event.event_type().into(),
            schema_version: event.schema_version(),
            recorded_at: jiff::Timestamp::UNIX_EPOCH,
            metadata: Metadata {
                actor: "test".into(),
                command_id: CommandId::from_uuid(Uuid::nil()),
                command_hash: CommandHash(Uuid::nil()),
                correlation_id: CorrelationId::from_uuid(Uuid::nil()),
                causation_id: None,
                traceparent: None,
            },
            data: serde_json::value::to_raw_value(event).unwrap(),
        };
        events.iter().enumerate().map(of).collect()
    }

    #[test]
    fn a_tenants_life() {
        let (a, b) = (tenant(1), tenant(2));
        let life: Vec<(TenantId, TenancyEvent, TenantState)> = vec![
            (a, registered(a, "acme"), TenantState::Registered),
            (a, TenantSuspended { tenant_id: a, reason: "x".into() }.into(), TenantState::Suspended),
            (a, TenantResumed { tenant_id: a }.into(), TenantState::Registered),
            (a, provisioned(a), TenantState::Ready),
            (a, TenantSuspended { tenant_id: a, reason: "x".into() }.into(), TenantState::Suspended),
            (a, TenantResumed { tenant_id: a }.into(), TenantState::Ready),
            (a, TenantRenamed { tenant_id: a, slug: "apex".into(), name: "Apex".into() }.into(), TenantState::Ready),
            (b, registered(b, "acme"), TenantState::Registered),
            (a, SubscriptionChanged { tenant_id: a, subscription: plan(Some("2030-01-01T00:00:00Z")) }.into(), TenantState::Ready),
            (a, TenantClosed { tenant_id: a, reason: "x".into() }.into(), TenantState::Closed),
        ];
        let recorded = record(&life.iter().map(|(id, event, _)| (*id, event.clone())).collect::<Vec<_>>());
        for (n, (id, _, state)) in life.iter().enumerate() {
            let registry = Registry::from_events(&recorded[..=n]);
            assert_eq!(registry.by_id(*id).unwrap().state, *state, "after event {n}");
        }
        let registry = Registry::from_events(recorded.iter().chain(&recorded));
        assert_eq!(registry.by_slug("acme").unwrap().id, b, "a freed slug is another's");
        assert_eq!((registry.by_slug("apex"), registry.position()), (None, Position(10)));
        assert_eq!(registry.all().iter().map(|t| t.slug.as_str()).collect::<Vec<_>>(), ["acme", "apex"]);
        assert_eq!(registry.by_slug("platform").unwrap().id, TenantId::PLATFORM);
    }

    #[test]
    fn a_tenant_has_the_time_zone_that_was_said_last_and_utc_before() {
        let a = tenant(1);
        let zone = |name: &str| (a, TenantTimeZoneChanged { tenant_id: a, time_zone: name.into() }.into());
        let recorded = record(&[(a, registered(a, "a")), zone("Asia/Tokyo"), zone("America/Lima"), zone("Atlantis/Poseidonis")]);
        for (n, name) in ["UTC", "Asia/Tokyo", "America/Lima", "UTC"].into_iter().enumerate() {
            let registry = Registry::from_events(&recorded[..=n]);
            assert_eq!(registry.by_id(a).unwrap().time_zone.iana_name(), Some(name), "after event {n}");
            assert!(!registry.is_unreadable(a));
        }
    }

    #[test]
    fn a_tenant_whose_record_can_t_be_read_is_not_served_and_others_are() {
        let (a, b) = (tenant(1), tenant(2));
        let mut events = record(&[(a, registered(a, "a")), (b, registered(b, "b")), (a, provisioned(a)), (b, provisioned(b))]);
        events[2].event_type = "TenantTeleported".into();
        let registry = Registry::from_events(&events);
        assert!(registry.is_unreadable(a) && !registry.is_unreadable(b));
        assert_eq!(registry.by_id(b).unwrap().state, TenantState::Ready);
        // Data that names another tenant than its stream: neither gets it.
        let mut events = record(&[(a, registered(a, "a")), (b, registered(b, "b")), (a, provisioned(b))]);
        events[2].stream = StreamName::tenancy(a);
        let registry = Registry::from_events(&events);
        assert!(registry.is_unreadable(a));
        assert_eq!(registry.by_id(b).unwrap().state, TenantState::Registered);
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_is_followed_and_refreshes_share_reads() {
        let log = Arc::new(std::sync::Mutex::new(record(&[(tenant(1), registered(tenant(1), "a"))])));
        let (reads, broken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let reader: LogReader = {
            let (log, reads, broken) = (log.clone(), reads.clone(), broken.clone());
            Arc::new(move |seen, limit| {
                reads.fetch_add(1, Ordering::SeqCst);
                let log = log.lock().unwrap();
                let there = seen == LogPoint::START || log.iter().any(|event| event.log_point() == seen);
                let after = log.iter().filter(|event| event.position > seen.position).take(limit);
                let events = there.then(|| after.cloned().collect());
                let fails = broken.load(Ordering::SeqCst) > 0;
                Box::pin(async move { if fails { Err(anyhow::anyhow!("away")) } else { Ok(events) } })
            })
        };
        let registry = Registry::start(reader).await.unwrap();
        assert!(registry.by_slug("a").is_some());

        *log.lock().unwrap() = record(&[(tenant(1), registered(tenant(1), "a")), (tenant(2), registered(tenant(2), "b"))]);
        let before = reads.load(Ordering::SeqCst);
        let all = futures::future::join_all((0..1000).map(|_| registry.refresh())).await;
        assert!(all.iter().all(Result::is_ok) && registry.by_slug("b").is_some());
        assert!(reads.load(Ordering::SeqCst) - before <= 2, "a thousand callers, a read or two");

        broken.store(1, Ordering::SeqCst);
        tokio::time::sleep(STALE + INTERVAL * 2).await;
        assert!(registry.refresh().await.is_err() && (registry.check().run)().await.is_err());
        assert!(registry.by_slug("b").is_some(), "what was known stays known");
        broken.store(0, Ordering::SeqCst);
        tokio::time::sleep(INTERVAL * 2).await;
        assert!((registry.check().run)().await.is_ok());

        // A store that went back, and one that grew as long again with another event at its end.
        let shorter = record(&[(tenant(1), registered(tenant(1), "a"))]);
        let mut other = record(&[(tenant(1), registered(tenant(1), "a")), (tenant(3), registered(tenant(3), "c"))]);
        other[1].recorded_at = jiff::Timestamp::MAX;
        for (history, slugs) in [(shorter, [true, false, false]), (other, [true, false, true])] {
            *log.lock().unwrap() = history;
            registry.refresh().await.unwrap();
            assert_eq!(["a", "b", "c"].map(|slug| registry.by_slug(slug).is_some()), slugs);
        }

        let before = reads.load(Ordering::SeqCst);
        drop(registry);
        tokio::time::sleep(INTERVAL * 10).await;
        assert!(reads.load(Ordering::SeqCst) - before <= 1, "the follower ends with the registry");
    }
}
