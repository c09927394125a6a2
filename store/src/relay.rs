//! The relay: follows the store and publishes each event once, in its tenant's order, to JetStream. Of EventStoreDB it also writes
//! the index by tenant, see [`follow`].
//!
//! It keeps a cursor per tenant. A cursor moves after the acknowledgement of JetStream, in memory at once and in
//! PostgreSQL a moment later, so a relay that dies publishes a little again: `Nats-Msg-Id` drops it, and where that
//! fails, the projector does. One relay is active, by a lease; a second that slips in only publishes duplicates, and saves no
//! cursor: that is done under the lease's lock.

mod follow;
mod registered;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use async_nats::{
    HeaderMap, HeaderValue,
    jetstream::{
        self,
        consumer::{AckPolicy, DeliverPolicy, pull},
        context::PublishAckFuture,
        stream,
    },
};
use events::{LogPoint, Position, RecordedEvent, TenantId, TenantScope};
use futures::{StreamExt as _, stream as streams};
use sqlx::{
    PgPool,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use follow::Follower;
use registered::Registered;

use crate::{
    Store, StoreError, TenantHead,
    backoff::Backoff,
    eventstore::IndexWriter,
    feed,
    heartbeat::{Lease, Watched},
    postgres::mark,
    stalled::Stalled,
};

/// Events published before the first of them has to be acknowledged.
const PAGE: usize = 256;
/// Pages of one tenant before the others get their turn.
const PAGES_PER_TURN: usize = 8;
/// Tenants published at the same time.
const TENANTS: usize = 16;
/// How often what a crash left behind is looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// Consumers of each partition: the projector's and the worker's.
const CONSUMERS: usize = 2;
/// How long a projector may take over a message until it is sent again.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// How long a tenant whose events can't be relayed is left alone at most: only another build, or an operator, can help.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// How long JetStream may take to acknowledge.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// What stops a turn of the relay. It tries again after a pause.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The event store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// PostgreSQL, for cursors and lease.
    #[error("cursors are unavailable: {0}")]
    Cursors(#[from] sqlx::Error),
    /// JetStream.
    #[error("JetStream: {0}")]
    JetStream(String),
    /// Another relay has taken the lease.
    #[error("another relay has taken the lease")]
    Lost,
}

/// How long a relay may fail, one turn after the other, until it is not well.
const PATIENCE: Duration = Duration::from_mins(1);

/// Whether a relay gets on: since when it fails, and with what. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<std::sync::Mutex<Option<Failing>>>);

#[derive(Debug, Clone)]
struct Failing {
    since: Instant,
    reason: String,
}

impl Progress {
    fn note(&self, failure: Option<&RelayError>) {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *failing = failure
            .map(|error| Failing { since: failing.as_ref().map_or_else(Instant::now, |before| before.since), reason: error.to_string() });
        let seconds = failing.as_ref().map_or(0.0, |failing| failing.since.elapsed().as_secs_f64());
        metrics::gauge!("tenure_relay_failing_seconds").set(seconds);
    }
    /// Why the relay is not well; none while it gets on, or has failed for less than a minute.
    pub fn complaint(&self) -> Option<String> {
        let failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failing = failing.as_ref().filter(|failing| failing.since.elapsed() >= PATIENCE)?;
        Some(format!("nothing is relayed for {} s: {}", failing.since.elapsed().as_secs(), failing.reason))
    }
}

/// The relay of one process.
pub struct Relay {
    store: Store,
    pool: PgPool,
    jetstream: jetstream::Context,
    owner: String,
    cursors: Mutex<Cursors>,
    /// The lease that this relay waits for.
    watched: Mutex<Watched<()>>,
    stalled: Mutex<Stalled>,
    registered: Mutex<Registered>,
    /// Tenants whose events can't be relayed.
    stuck: Mutex<Backoff>,
    /// When the lag was last counted.
    counted: Mutex<Option<Instant>>,
    progress: Progress,
}

/// How far each tenant was published.
#[derive(Default)]
struct Cursors {
    at: HashMap<TenantId, LogPoint>,
    /// Moved since they were saved.
    unsaved: HashSet<TenantId>,
}

impl Cursors {
    fn advance(&mut self, tenant: TenantId, to: LogPoint) {
        self.at.insert(tenant, to);
        self.unsaved.insert(tenant);
    }
}

impl Relay {
    /// A relay from a store to a NATS server; `pool` holds cursors and lease.
    pub fn new(store: Store, pool: PgPool, client: async_nats::Client) -> Self {
        let mut jetstream = jetstream::new(client);
        jetstream.set_timeout(ACK_TIMEOUT);
        Self {
            store,
            pool,
            jetstream,
            owner: Uuid::now_v7().to_string(),
            cursors: Mutex::default(),
            watched: Mutex::default(),
            stalled: Mutex::default(),
            registered: Mutex::default(),
            stuck: Mutex::default(),
            counted: Mutex::default(),
            progress: Progress::default(),
        }
    }
    /// Whether it gets on, for who asks the process how it is.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Relays until told to stop; whatever fails is tried again.
    pub async fn run(self, stop: CancellationToken) {
        let relay = Arc::new(self);
        let woken = Arc::new(Notify::new());
        let listener = tokio::spawn(listen(relay.pool.clone(), Arc::clone(&woken), stop.clone()));
        let mut failures = 0_u32;
        while !stop.is_cancelled() {
            let led = relay.lead(&woken, &stop).await;
            relay.progress.note(led.as_ref().err());
            failures = if led.is_err() { failures.saturating_add(1) } else { 0 };
            if let Err(error) = led {
                metrics::counter!("tenure_relay_failures_total").increment(1);
                tracing::warn!(%error, "relaying stopped; trying again");
            }
            // Up to about five seconds where it fails again and again.
            let pause = Duration::from_millis(fastrand::u64(200..600)) * (1 << failures.saturating_sub(1).min(3));
            let _ = tokio::time::timeout(pause, stop.cancelled()).await;
        }
        let _ = listener.await;
    }

    /// Takes the lease if it is free, and relays for as long as it is held.
    async fn lead(&self, woken: &Notify, stop: &CancellationToken) -> Result<(), RelayError> {
        let Some(epoch) = self.take_lease().await? else { return Ok(()) };
        tracing::info!(epoch, "this relay is active");
        let mut follower = match &self.store {
            Store::EventStore(store) => Some(Follower::start(store.clone(), self.index_writer(epoch)).await?),
            Store::Postgres(_) => None,
        };
        if let Err(error) = self.ensure_stream().await {
            if let Some(follower) = &mut follower {
                follower.index_only().await?;
            }
            return Err(error);
        }
        self.load_cursors().await?;
        if let Some(follower) = &follower {
            // What is read next is published at once only of those who are known to be registered.
            self.registered.lock().await.among(self, follower.heads()).await?;
        }
        let mut renewed = Instant::now();
        while !stop.is_cancelled() {
            let busy = self.turn(epoch, follower.as_mut()).await?;
            self.progress.note(None);
            if renewed.elapsed() > SWEEP {
                self.renew_lease(epoch).await?;
                self.ensure_stream().await?;
                renewed = Instant::now();
            }
            if !busy {
                tokio::select! {
                    () = woken.notified() => {}
                    () = tokio::time::sleep(SWEEP) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
        self.release_lease(epoch).await
    }

    fn index_writer(&self, epoch: i64) -> IndexWriter {
        IndexWriter { pool: self.pool.clone(), owner: self.owner.clone(), epoch }
    }

    /// Publishes what is new, of every tenant. True if some tenant may have more.
    async fn turn(&self, epoch: i64, mut follower: Option<&mut Follower>) -> Result<bool, RelayError> {
        let (heads, more) = match &mut follower {
            Some(follower) => {
                let more = follower.step(self).await?;
                (follower.heads(), more)
            }
            None => (self.store.heads().await?, false),
        };
        let heads = self.registered.lock().await.among(self, heads).await?;
        let behind: Vec<(TenantHead, LogPoint)> = {
            let cursors = self.cursors.lock().await;
            heads
                .into_iter()
                .map(|head| (head, cursors.at.get(&head.tenant).copied().unwrap_or_default()))
                .filter(|(head, at)| head.position != at.position || !head.may_follow(*at))
                // A cursor before which the log is still being indexed.
                .filter(|(head, at)| !more || at.position <= head.position)
                .collect()
        };
        self.count_lag(&behind, follower.filter(|_| more)).await?;
        let stalled = self.stalled.lock().await.longest(behind.iter().map(|(head, at)| (head.tenant, at.position)));
        metrics::gauge!("tenure_relay_stalled_seconds").set(stalled.as_secs_f64());
        let due = {
            let mut stuck = self.stuck.lock().await;
            stuck.retain(|tenant| behind.iter().any(|(head, _)| head.tenant == tenant));
            behind.into_iter().filter(|(head, _)| stuck.is_due(head.tenant)).collect::<Vec<_>>()
        };
        let relaying = due.into_iter().map(|(head, at)| async move { (head.tenant, self.relay_tenant(head, at).await) });
        let results: Vec<_> = streams::iter(relaying).buffer_unordered(TENANTS).collect().await;
        self.save_cursors(epoch).await?;
        Ok(self.settle(results).await? || more)
    }

    /// Whether some tenant may have more. What is wrong with one tenant's log is no reason to keep the others waiting: it is tried
    /// again, later each time.
    async fn settle(&self, results: Vec<(TenantId, Result<bool, RelayError>)>) -> Result<bool, RelayError> {
        let (mut busy, mut stuck) = (false, self.stuck.lock().await);
        for (tenant, result) in results {
            match result {
                Ok(more) => {
                    stuck.succeeded(tenant);
                    busy |= more;
                }
                Err(error @ RelayError::Store(StoreError::Broken(_) | StoreError::Unreadable { .. })) => {
                    let again_in = stuck.failed(tenant, LONGEST_PAUSE);
                    tracing::error!(%error, ?again_in, "ALERT: a tenant's events can't be relayed");
                }
                Err(error) => return Err(error),
            }
        }
        metrics::gauge!("tenure_relay_stuck_tenants").set(stuck.failing() as f64);
        Ok(busy)
    }

    /// Says how many events wait, once a second. Of what was not looked at yet in EventStoreDB, this is an estimate.
    async fn count_lag(&self, behind: &[(TenantHead, LogPoint)], follower: Option<&mut Follower>) -> Result<(), RelayError> {
        let mut counted = self.counted.lock().await;
        let nothing_waits = behind.is_empty() && follower.is_none();
        if !nothing_waits && counted.is_some_and(|counted| counted.elapsed() < SWEEP) {
            return Ok(());
        }
        *counted = Some(Instant::now());
        let logs: Vec<_> = behind.iter().map(|(head, at)| (head.tenant, at.position.min(head.position))).collect();
        let relayed = self.store.counts_at(&logs).await?;
        let mut lag: u64 = behind.iter().zip(relayed).map(|((head, _), relayed)| head.events.saturating_sub(relayed)).sum();
        if let Some(follower) = follower {
            lag += follower.not_indexed().await?;
        }
        metrics::gauge!("tenure_relay_lag_events").set(lag as f64);
        Ok(())
    }

    /// What follows a point of a tenant's log, as far as this relay has followed the store. None where the log has another event there.
    async fn page(&self, scope: TenantScope, at: LogPoint) -> Result<Option<Vec<RecordedEvent>>, StoreError> {
        match &self.store {
            Store::Postgres(_) => self.store.read_log_on(scope, at, PAGE).await,
            Store::EventStore(store) => store.read_indexed_on(scope, at, PAGE).await,
        }
    }

    /// Publishes one tenant's new events, in order. True if there may be more.
    async fn relay_tenant(&self, head: TenantHead, mut at: LogPoint) -> Result<bool, RelayError> {
        // The relay reads every tenant's log; it was started to do so, with rights to nothing else.
        let scope = TenantScope::checked(head.tenant);
        if at.position > head.position {
            self.begin_again(head).await;
            return Ok(false);
        }
        for _ in 0..PAGES_PER_TURN {
            let Some(page) = self.page(scope, at).await? else {
                self.begin_again(head).await;
                return Ok(false);
            };
            let mut acks: Vec<(LogPoint, PublishAckFuture)> = Vec::with_capacity(page.len());
            let mut previous = at;
            for event in &page {
                acks.extend(self.publish(event, previous.position).await?.map(|ack| (event.log_point(), ack)));
                previous = event.log_point();
            }
            for (point, ack) in acks {
                ack.await.map_err(|e| RelayError::JetStream(e.to_string()))?;
                self.cursors.lock().await.advance(head.tenant, point);
            }
            self.cursors.lock().await.advance(head.tenant, previous);
            metrics::counter!("tenure_relay_published_total").increment(page.len() as u64);
            at = previous;
            if page.len() < PAGE {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Goes on at the end of a tenant's log, which is not the one that the cursor stood in. What lies before is not announced: who
    /// projects reads it from the store.
    async fn begin_again(&self, head: TenantHead) {
        metrics::counter!("tenure_history_lost_total", "what" => "relay_cursor").increment(1);
        tracing::error!(target: "audit", tenant = %head.tenant, position = %head.position, "ALERT: a tenant's log is not the one that was relayed: the event store was put back, or is another one; see `tenure restored --help`");
        self.cursors.lock().await.advance(head.tenant, head.point());
    }

    /// Sends an event. None where it has no subject: the projector meets it in the store, and parks its tenant.
    async fn publish(&self, event: &RecordedEvent, previous: Position) -> Result<Option<PublishAckFuture>, RelayError> {
        let subject = match feed::subject(event.tenant, event.stream.category(), &event.event_type) {
            Ok(subject) => subject,
            Err(error) => {
                tracing::error!(%error, position = %event.position, "an event has no subject");
                return Ok(None);
            }
        };
        let mut headers = HeaderMap::new();
        headers.insert(async_nats::header::NATS_MESSAGE_ID, feed::message_id(event).as_str());
        headers.insert("Content-Type", "application/cloudevents+json");
        headers.insert(feed::POSITION, event.position.0.to_string().as_str());
        headers.insert(feed::PREVIOUS, previous.0.to_string().as_str());
        if let Some(traceparent) = event.metadata.traceparent.as_deref().and_then(|t| t.parse::<HeaderValue>().ok()) {
            headers.insert(feed::TRACEPARENT, traceparent);
        }
        let sent = self.jetstream.publish_with_headers(subject, headers, feed::encode(event).into()).await;
        sent.map(Some).map_err(|e| RelayError::JetStream(e.to_string()))
    }

    /// The stream, as this build wants it. NATS may have been wiped: events before now heal from the store.
    async fn ensure_stream(&self) -> Result<(), RelayError> {
        let config = stream::Config {
            name: feed::STREAM.into(),
            subjects: vec![feed::SUBJECTS.into()],
            description: Some("Tenure's events, on their way to projectors; a cache of the event store".into()),
            storage: stream::StorageType::File,
            retention: stream::RetentionPolicy::Limits,
            discard: stream::DiscardPolicy::Old,
            max_age: Duration::from_hours(72),
            max_bytes: 1 << 30,
            duplicate_window: Duration::from_mins(2),
            ..Default::default()
        };
        let stream = self.jetstream.get_or_create_stream(config).await.map_err(|e| RelayError::JetStream(e.to_string()))?;
        if stream.cached_info().state.consumer_count != CONSUMERS * usize::from(feed::PARTITIONS) {
            ensure_consumers(&stream).await?;
        }
        Ok(())
    }

    /// Takes the lease if it is nobody's, this relay's own, or that of a dead one. Its epoch.
    async fn take_lease(&self) -> Result<Option<i64>, sqlx::Error> {
        let asked = Instant::now();
        let lease: Option<Lease> =
            sqlx::query_as("select owner, epoch, heartbeat from event_store.lease where name = 'relay'").fetch_optional(&self.pool).await?;
        let Some(lease) = lease else {
            let first = "insert into event_store.lease (name, owner, epoch) values ('relay', $1, 1) on conflict do nothing returning epoch";
            return sqlx::query_scalar(first).bind(&self.owner).fetch_optional(&self.pool).await;
        };
        let is_free = !self.watched.lock().await.free([((), lease.clone())], asked).is_empty();
        if !is_free && lease.owner.as_ref() != Some(&self.owner) {
            return Ok(None);
        }
        sqlx::query_scalar(
            "update event_store.lease set owner = $1, epoch = epoch + 1, heartbeat = heartbeat + 1
             where name = 'relay' and owner is not distinct from $2 and epoch = $3 and heartbeat = $4 returning epoch",
        )
        .bind(&self.owner)
        .bind(lease.owner)
        .bind(lease.epoch)
        .bind(lease.heartbeat)
        .fetch_optional(&self.pool)
        .await
    }

    async fn renew_lease(&self, epoch: i64) -> Result<(), RelayError> {
        let sql = "update event_store.lease set heartbeat = heartbeat + 1 where name = 'relay' and owner = $1 and epoch = $2";
        let renewed = sqlx::query(sql).bind(&self.owner).bind(epoch).execute(&self.pool).await?;
        if renewed.rows_affected() == 1 { Ok(()) } else { Err(RelayError::Lost) }
    }

    /// So that the next relay need not watch for as long as a dead one's heartbeat stands still.
    async fn release_lease(&self, epoch: i64) -> Result<(), RelayError> {
        let sql = "update event_store.lease set owner = null where name = 'relay' and owner = $1 and epoch = $2";
        sqlx::query(sql).bind(&self.owner).bind(epoch).execute(&self.pool).await?;
        Ok(())
    }

    async fn load_cursors(&self) -> Result<(), RelayError> {
        let sql = "select tenant_id, position, event_id, recorded_at from event_store.relay_cursor";
        let rows: Vec<(Uuid, i64, Option<Uuid>, Option<i64>)> = sqlx::query_as(sql).fetch_all(&self.pool).await?;
        let point = |(tenant, position, id, recorded_at): (Uuid, i64, _, _)| {
            (TenantId::from_uuid(tenant), LogPoint { position: Position(position.cast_unsigned()), mark: mark(id, recorded_at) })
        };
        let at = rows.into_iter().map(point).collect();
        *self.cursors.lock().await = Cursors { at, unsaved: HashSet::new() };
        Ok(())
    }

    /// Saves what has moved, in a statement that locks the lease: who has lost it saves nothing.
    async fn save_cursors(&self, epoch: i64) -> Result<(), RelayError> {
        let moved: Vec<(Uuid, LogPoint)> = {
            let mut cursors = self.cursors.lock().await;
            let unsaved = std::mem::take(&mut cursors.unsaved);
            unsaved.into_iter().filter_map(|tenant| Some((tenant.uuid(), *cursors.at.get(&tenant)?))).collect()
        };
        if moved.is_empty() {
            return Ok(());
        }
        // A cursor may go back, where the log has.
        let held: bool = sqlx::query_scalar(
            "with held as materialized (select from event_store.lease where name = 'relay' and owner = $5 and epoch = $6 for share),
                 saved as (insert into event_store.relay_cursor as c (tenant_id, position, event_id, recorded_at)
                     select moved.* from held, unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bigint[]) moved
                     on conflict (tenant_id) do update
                     set position = excluded.position, event_id = excluded.event_id, recorded_at = excluded.recorded_at)
             select exists (select from held)",
        )
        .bind(moved.iter().map(|(tenant, _)| *tenant).collect::<Vec<_>>())
        .bind(moved.iter().map(|(_, at)| at.position.0.cast_signed()).collect::<Vec<_>>())
        .bind(moved.iter().map(|(_, at)| at.mark.map(|mark| mark.id.uuid())).collect::<Vec<_>>())
        .bind(moved.iter().map(|(_, at)| at.mark.map(|mark| mark.recorded_at.as_microsecond())).collect::<Vec<_>>())
        .bind(&self.owner)
        .bind(epoch)
        .fetch_one(&self.pool)
        .await?;
        if held { Ok(()) } else { Err(RelayError::Lost) }
    }
}

/// Two consumers for each partition, which projector and worker may read from and can't make: whoever makes one says where the
/// broker sends its messages, and that may be any subject. The worker's is a doorbell: it hears of what is new, once, and gets no
/// events, because it reads them from the store.
pub async fn ensure_consumers(stream: &stream::Stream) -> Result<(), RelayError> {
    for partition in 0..feed::PARTITIONS {
        let projector = pull::Config {
            durable_name: Some(feed::consumer(partition)),
            filter_subject: feed::filter(partition),
            ack_wait: ACK_WAIT,
            max_ack_pending: feed::MAX_UNACKNOWLEDGED,
            ..pull::Config::default()
        };
        let worker = pull::Config {
            durable_name: Some(feed::worker_consumer(partition)),
            filter_subject: feed::filter(partition),
            ack_policy: AckPolicy::None,
            deliver_policy: DeliverPolicy::New,
            headers_only: true,
            ..pull::Config::default()
        };
        for (name, config) in [(feed::consumer(partition), projector), (feed::worker_consumer(partition), worker)] {
            stream.get_or_create_consumer(&name, config).await.map_err(|e| RelayError::JetStream(e.to_string()))?;
        }
    }
    Ok(())
}

/// Passes the store's wake-up calls on; the sweep covers the time without a connection.
async fn listen(pool: PgPool, woken: Arc<Notify>, stop: CancellationToken) {
    // The listener keeps its connection, which the pool's other users would wait for.
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(pool.connect_options().as_ref().clone());
    while !stop.is_cancelled() {
        let listening = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen("tenure_appended").await?;
            loop {
                // `None` says that the connection was lost for a moment: there may be something.
                listener.try_recv().await?;
                woken.notify_one();
            }
        };
        tokio::select! {
            result = listening => {
                let Err(error): Result<std::convert::Infallible, sqlx::Error> = result;
                tracing::debug!(%error, "not listening; the sweep goes on");
                tokio::time::sleep(Duration::from_millis(fastrand::u64(200..1_000))).await;
            }
            () = stop.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_fails_for_a_minute_says_why_until_it_gets_on() {
        let progress = Progress::default();
        assert_eq!(progress.complaint(), None);
        progress.note(Some(&RelayError::JetStream("no room".into())));
        assert_eq!(progress.complaint(), None, "it has just begun to fail");
        let since = Instant::now().checked_sub(PATIENCE + Duration::from_secs(5)).expect("the machine runs for longer than a minute");
        progress.0.lock().unwrap().as_mut().unwrap().since = since;
        assert!(progress.complaint().is_some_and(|why| why.contains("65 s") && why.contains("no room")));
        // With another reason it has failed for as long.
        progress.note(Some(&RelayError::Lost));
        assert!(progress.complaint().is_some_and(|why| why.contains("65 s") && why.contains("another relay")));
        progress.note(None);
        assert_eq!(progress.complaint(), None);
        progress.note(Some(&RelayError::Lost));
        assert_eq!(progress.complaint(), None, "a new failure has a minute of its own");
    }
}
