//! Following EventStoreDB: the relay is the one reader of `$all`. It takes what it reads into the index by tenant, and publishes it
//! from memory. Tenants that stand behind it, after a restart or because they were registered later, are published by way of the index.

use std::collections::HashMap;

use async_nats::jetstream::context::PublishAckFuture;
use events::{Category, LogPoint, TenantId};

use super::{Relay, RelayError};
use crate::{
    EsStore, TenantHead,
    eventstore::{EntryStream, IndexWriter, Indexed, LOOK, Looked, LookedAt, Progress},
};

/// Pages that are indexed in one go while nothing can be published.
const UNPUBLISHED_PAGES: usize = 50;

/// Reads on in `$all` from where the index ends.
pub(super) struct Follower {
    store: EsStore,
    index: IndexWriter,
    progress: Progress,
    heads: HashMap<TenantId, TenantHead>,
    /// What was looked at already, while what comes before it was indexed and published.
    next: Option<Looked>,
}

impl Follower {
    /// From where the index ends, which is at the beginning if it is lost.
    pub(super) async fn start(store: EsStore, index: IndexWriter) -> Result<Self, RelayError> {
        let loaded = index.load().await?;
        let is_lost = loaded.is_none();
        let (progress, heads) = loaded.unwrap_or_default();
        let heads = heads.into_iter().map(|head| (head.tenant, head)).collect();
        let mut follower = Self { store, index, progress, heads, next: None };
        if is_lost {
            follower.begin_anew("it is lost").await?;
        }
        follower.store.indexed(follower.progress);
        Ok(follower)
    }

    /// The ends of all logs, as far as they are indexed.
    pub(super) fn heads(&self) -> Vec<TenantHead> {
        self.heads.values().copied().collect()
    }

    /// About how many events are not indexed yet: what is left of `$all` by what an event took so far.
    pub(super) async fn not_indexed(&self) -> Result<u64, RelayError> {
        let events: u64 = self.heads.values().map(|head| head.events).sum();
        let bytes = self.store.end().await?.0.saturating_sub(self.progress.record.position.0);
        let each = self.progress.record.position.0.checked_div(events).unwrap_or(TYPICAL).max(1);
        Ok(if bytes == 0 { 0 } else { (bytes / each).max(1) })
    }

    /// Indexes and publishes a page. True if there may be more.
    pub(super) async fn step(&mut self, relay: &Relay) -> Result<bool, RelayError> {
        let Some(looked) = self.look().await? else { return Ok(false) };
        let (from, to, full) = (self.progress, looked.to, looked.full);
        let (entries, heads) = self.entries(&looked.events);
        let next = async { if full { self.store.look_on(to, LOOK).await } else { Ok(None) } };
        let written = self.index.write(from, to, &entries, &heads);
        let published = relay.publish_followed(&self.store, &self.heads, &looked.events);
        let (written, published, next) = Box::pin(async { tokio::join!(written, published, next) }).await;
        self.take(written?, to, heads)?;
        published?;
        // Where it is another history the next look finds that again.
        self.next = next?;
        Ok(full)
    }

    /// Indexes what is there, and publishes nothing: whoever reads logs needs no broker.
    pub(super) async fn index_only(&mut self) -> Result<(), RelayError> {
        for _ in 0..UNPUBLISHED_PAGES {
            let Some(looked) = self.look().await? else { return Ok(()) };
            let (entries, heads) = self.entries(&looked.events);
            let written = self.index.write(self.progress, looked.to, &entries, &heads).await?;
            self.take(written, looked.to, heads)?;
        }
        Ok(())
    }

    /// What comes next in `$all`; nothing at its end. Begins anew where it is not the one that was followed.
    async fn look(&mut self) -> Result<Option<Looked>, RelayError> {
        let looked = match self.next.take() {
            Some(next) => Some(next),
            None => self.store.look_on(self.progress, LOOK).await?,
        };
        let looked = if looked.is_some() {
            looked
        } else {
            self.begin_anew("EventStoreDB has another history: it was put back, or is another one; see `tenure restored --help`").await?;
            self.store.look_on(self.progress, LOOK).await?
        };
        Ok(looked.filter(|looked| looked.to != self.progress))
    }

    fn take(&mut self, written: bool, to: Progress, heads: Vec<TenantHead>) -> Result<(), RelayError> {
        if !written {
            return Err(RelayError::Lost);
        }
        self.progress = to;
        self.heads.extend(heads.into_iter().map(|head| (head.tenant, head)));
        self.store.indexed(to);
        Ok(())
    }

    async fn begin_anew(&mut self, why: &'static str) -> Result<(), RelayError> {
        metrics::counter!("tenure_history_lost_total", "what" => "log_index").increment(1);
        tracing::error!(target: "audit", why, "ALERT: the index of the tenants' logs is made anew; until then long logs are not read");
        self.progress = self.index.begin().await?.ok_or(RelayError::Lost)?;
        self.heads.clear();
        self.store.indexed(self.progress);
        Ok(())
    }

    /// The index's rows for events, and what they make of the heads.
    fn entries(&self, events: &[LookedAt]) -> (Vec<Indexed>, Vec<TenantHead>) {
        let mut heads: HashMap<TenantId, TenantHead> = HashMap::new();
        let mut entries = Vec::with_capacity(events.len());
        for one in events {
            let before = heads.get(&one.tenant).or_else(|| self.heads.get(&one.tenant)).map_or(0, |head| head.events);
            let head = TenantHead { tenant: one.tenant, position: one.entry.position, mark: one.mark, events: before + 1 };
            entries.push(Indexed { tenant: one.tenant, n: head.events, entry: one.entry.clone() });
            heads.insert(one.tenant, head);
        }
        (entries, heads.into_values().collect())
    }
}

/// What an event takes in `$all`, in bytes, as long as there is none.
const TYPICAL: u64 = 1_000;

impl Relay {
    /// Publishes the events that were read, each whose tenant was published up to the event before it, in the order of `$all`.
    async fn publish_followed(
        &self,
        store: &EsStore,
        heads: &HashMap<TenantId, TenantHead>,
        events: &[LookedAt],
    ) -> Result<(), RelayError> {
        let (mut registered, mut cursors) = (self.registered.lock().await, self.cursors.lock().await);
        let (mut last, mut sent): (HashMap<TenantId, LogPoint>, HashMap<TenantId, LogPoint>) = Default::default();
        let mut acks: Vec<(TenantId, LogPoint, PublishAckFuture)> = Vec::with_capacity(events.len());
        for one in events {
            let tenant = one.tenant;
            let point = LogPoint { position: one.entry.position, mark: one.mark };
            let previous = last.insert(tenant, point).or_else(|| heads.get(&tenant).map(TenantHead::point)).unwrap_or_default();
            let EntryStream::Known(stream) = one.entry.stream else { continue };
            if tenant == TenantId::PLATFORM && stream.category() == Category::Tenancy {
                registered.add(TenantId::from_uuid(stream.id()), previous, point);
            }
            let at = sent.get(&tenant).or_else(|| cursors.at.get(&tenant)).copied().unwrap_or_default();
            if !registered.has(tenant) || !is_same(at, previous) {
                continue;
            }
            let event = match store.event_of(one, stream).await {
                Ok(Some(event)) => event,
                Ok(None) => continue,
                // Whoever reads its log meets it, and says so.
                Err(error) => {
                    tracing::debug!(%error, "an event that was followed can't be read");
                    continue;
                }
            };
            acks.extend(self.publish(&event, previous.position).await?.map(|ack| (tenant, point, ack)));
            sent.insert(tenant, point);
            metrics::counter!("tenure_relay_published_total").increment(1);
        }
        for (tenant, point, ack) in acks {
            ack.await.map_err(|e| RelayError::JetStream(e.to_string()))?;
            cursors.advance(tenant, point);
        }
        for (tenant, point) in sent {
            cursors.advance(tenant, point);
        }
        Ok(())
    }
}

/// Whether two points are one, as far as their events are known.
fn is_same(one: LogPoint, other: LogPoint) -> bool {
    one.position == other.position && one.mark.zip(other.mark).is_none_or(|(one, other)| one == other)
}
