//! Tenants' logs. Where a tenant's events stand is known from the index (see [`super::index`]) up to where that is complete, and
//! beyond it from `$all`, which a process reads on from there, once for all who ask. So a log costs what it is long itself.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use events::{EventMark, LogPoint, Position, RecordedEvent, StreamName, TenantId, TenantScope};
use eventstore::{ReadAllOptions, StreamPosition, SubscriptionFilter};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::MutexGuard;

use super::{
    EsStore,
    client::{PATIENCE, broken, unavailable},
    index::record_mark,
    tail::{Entry, EntryStream, MOST_ENTRIES, Progress, Tail},
    wire::{created, is_fence, is_position, mark_of},
};
use crate::{StoreError, TenantHead};

/// How long a search through `$all` may take, which a server needs that leaves positions out.
pub(super) const SEARCH: Duration = Duration::from_mins(2);
/// Records that the server looks at in one go when it filters; of itself it takes 32.
pub(super) const WINDOW: u32 = 4_096;
/// Records of `$all` that one call looks at.
pub(crate) const LOOK: usize = 2_000;
/// Calls that one caller makes to get to the end of `$all` where there is an index: the relay is faster.
const LOOKS: usize = 100;
/// Events that one call, or some calls beside each other, fetch.
const FETCH: usize = 1_000;
/// Streams that are read at the same time.
const STREAMS: usize = 16;

/// What was looked at of `$all`.
#[derive(Debug)]
pub(crate) struct Looked {
    /// The tenants' events among it, in order.
    pub(crate) events: Vec<LookedAt>,
    /// How far it goes.
    pub(crate) to: Progress,
    /// Whether there may be more.
    pub(crate) full: bool,
}

/// A tenant's event.
#[derive(Debug)]
pub(crate) struct LookedAt {
    pub(crate) tenant: TenantId,
    pub(crate) entry: Entry,
    /// None where the record can't be read.
    pub(crate) mark: Option<EventMark>,
    pub(crate) raw: eventstore::RecordedEvent,
}

/// How far a log is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// As far as it was indexed when the relay last said so.
    Index,
    End,
}

/// Events, and what stopped before the end of what was asked for.
type Fetched = (Vec<RecordedEvent>, Option<StoreError>);

impl EsStore {
    pub(crate) async fn read_log(&self, scope: TenantScope, after: Position, limit: usize) -> Result<Vec<RecordedEvent>, StoreError> {
        let entries = self.entries(scope.tenant(), Position(after.0.saturating_add(1)), limit, Reach::End).await?;
        readable(self.fetch(scope.tenant(), &entries).await?)
    }

    /// The page begins with the event that was seen: one read for both.
    pub(crate) async fn read_log_on(
        &self,
        scope: TenantScope,
        seen: LogPoint,
        limit: usize,
    ) -> Result<Option<Vec<RecordedEvent>>, StoreError> {
        self.read_on(scope, seen, limit, Reach::End).await
    }

    /// [`EsStore::read_log_on`] as far as the relay has indexed the log, without a look at `$all`.
    pub(crate) async fn read_indexed_on(
        &self,
        scope: TenantScope,
        seen: LogPoint,
        limit: usize,
    ) -> Result<Option<Vec<RecordedEvent>>, StoreError> {
        if seen.mark.is_none() {
            let entries = self.entries(scope.tenant(), Position(seen.position.0.saturating_add(1)), limit, Reach::Index).await?;
            return readable(self.fetch(scope.tenant(), &entries).await?).map(Some);
        }
        self.read_on(scope, seen, limit, Reach::Index).await
    }

    async fn read_on(
        &self,
        scope: TenantScope,
        seen: LogPoint,
        limit: usize,
        reach: Reach,
    ) -> Result<Option<Vec<RecordedEvent>>, StoreError> {
        let tenant = scope.tenant();
        if limit > 0 {
            let entries = self.entries(tenant, seen.position, limit.saturating_add(1), reach).await?;
            if entries.first().is_some_and(|first| first.position == seen.position) {
                match self.fetch(tenant, &entries).await {
                    Ok((mut events, stopped)) if events.first().map(RecordedEvent::mark) == seen.mark => {
                        events.remove(0);
                        return readable((events, stopped)).map(Some);
                    }
                    Ok(_) | Err(StoreError::Unreadable { .. }) => {}
                    Err(error) => {
                        if self.is_at(scope, seen).await? {
                            return Err(error);
                        }
                    }
                }
            }
        }
        let there = self.is_at(scope, seen).await?;
        match (there, limit) {
            (true, 0) => Ok(Some(Vec::new())),
            (true, _) => Err(unavailable("the index of its logs lacks an event that is there; the relay mends it")),
            (false, _) => {
                // The remembered streams may be of the history that is gone, so they are read again. The tail compares itself.
                self.indexes().clear();
                Ok(None)
            }
        }
    }

    /// Whether the event that was seen is there, whatever the index says.
    async fn is_at(&self, scope: TenantScope, seen: LogPoint) -> Result<bool, StoreError> {
        Ok(self.event_at(scope, seen.position).await?.map(|event| event.mark()) == seen.mark)
    }

    pub(crate) async fn event_at(&self, scope: TenantScope, position: Position) -> Result<Option<RecordedEvent>, StoreError> {
        let Some(raw) = self.record_at(position).await? else { return Ok(None) };
        if tenant_of(&raw) != Some(scope.tenant()) {
            return Ok(None);
        }
        match stream_of(&raw) {
            EntryStream::Known(stream) => Ok(self.recorded(stream, &raw).await?.map(|(event, _)| event)),
            EntryStream::Unknown(_) => Err(unknown_stream(position)),
        }
    }

    /// The event of what was looked at.
    pub(crate) async fn event_of(&self, looked: &LookedAt, stream: StreamName) -> Result<Option<RecordedEvent>, StoreError> {
        Ok(self.recorded(stream, &looked.raw).await?.map(|(event, _)| event))
    }

    async fn record_at(&self, position: Position) -> Result<Option<eventstore::RecordedEvent>, StoreError> {
        let records = self.read_all(forwards(position).max_count(1), PATIENCE).await?;
        Ok(records.into_iter().next().filter(|raw| raw.position.commit == position.0))
    }

    pub(crate) async fn head(&self, scope: TenantScope) -> Result<Position, StoreError> {
        let tail = self.caught_up().await?;
        match (tail.head(scope.tenant()), &self.0.index) {
            (Some(head), _) => Ok(head.position),
            (None, Some(index)) => index.head(scope.tenant(), tail.base.generation).await,
            (None, None) => Ok(Position::ZERO),
        }
    }

    pub(crate) async fn heads(&self) -> Result<Vec<TenantHead>, StoreError> {
        let tail = self.caught_up().await?;
        let indexed = match &self.0.index {
            Some(index) => index.heads(tail.base.generation).await?,
            None => Vec::new(),
        };
        let mut heads: HashMap<TenantId, TenantHead> = indexed.into_iter().map(|head| (head.tenant, head)).collect();
        let beyond: Vec<_> = tail.heads(|tenant| heads.get(&tenant).map_or(Position::ZERO, |head| head.position)).collect();
        for (tenant, head) in beyond {
            let events = heads.get(&tenant).map_or(0, |before| before.events) + head.beyond;
            heads.insert(tenant, TenantHead { tenant, position: head.point.position, mark: head.point.mark, events });
        }
        Ok(heads.into_values().collect())
    }

    /// How many events each of these logs has up to a position.
    pub(crate) async fn counts_at(&self, logs: &[(TenantId, Position)]) -> Result<Vec<u64>, StoreError> {
        let logs_end = logs.iter().map(|(_, position)| *position).max().unwrap_or_default();
        let known = *self.known();
        if let Some(index) = self.0.index.as_ref().filter(|_| known.record.position >= logs_end) {
            return index.counts(known, logs).await;
        }
        let tail = self.0.tail.lock().await;
        let tail = if tail.read_to.record.position >= logs_end {
            tail
        } else {
            drop(tail);
            self.caught_up().await?
        };
        let (base, beyond) = (tail.base, logs.iter().map(|(tenant, position)| tail.count(*tenant, *position)).collect::<Vec<u64>>());
        drop(tail);
        let Some(index) = &self.0.index else { return Ok(beyond) };
        let within: Vec<_> = logs.iter().map(|(tenant, position)| (*tenant, (*position).min(base.record.position))).collect();
        let indexed = index.counts(base, &within).await?;
        Ok(indexed.into_iter().zip(beyond).map(|(indexed, beyond)| indexed + beyond).collect())
    }

    /// Takes note of how far the relay of this process has indexed.
    pub(crate) fn indexed(&self, to: Progress) {
        *self.known() = to;
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.0.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What is beyond the index, up to where `$all` ends. Whoever asks while others look waits for the next look, which serves all
    /// that have come until it begins.
    async fn caught_up(&self) -> Result<MutexGuard<'_, Tail>, StoreError> {
        let asked = Instant::now();
        let mut tail = self.0.tail.lock().await;
        if tail.began.is_some_and(|began| began >= asked) {
            return Ok(tail);
        }
        let began = Instant::now();
        let (mut looks, mut most) = (usize::MAX, usize::MAX);
        if let Some(index) = &self.0.index {
            let indexed = index.progress().await?.unwrap_or_default();
            tail.rest_on(indexed);
            *self.known() = indexed;
            (looks, most) = (LOOKS, MOST_ENTRIES);
        }
        for _ in 0..looks {
            let Some(looked) = self.look_on(tail.read_to, LOOK).await? else {
                *tail = Tail::default();
                drop(tail);
                self.forget().await;
                let what = "it has another history than was read before, which is being indexed anew";
                return Err(unavailable(what));
            };
            let full = looked.full;
            tail.add(looked.events.into_iter().map(|one| (one.tenant, one.entry, one.mark)), looked.to, most);
            if !full {
                tail.began = Some(began);
                return Ok(tail);
            }
        }
        Err(not_indexed())
    }

    /// Records of `$all` after what was looked at. None where the server has another history by now.
    pub(crate) async fn look_on(&self, from: Progress, limit: usize) -> Result<Option<Looked>, StoreError> {
        // Reading starts *at* a position, where the record must be that was seen there.
        let (options, known) = match from.record.mark {
            None => (ReadAllOptions::default().forwards().position(StreamPosition::Start), 0),
            Some(_) => (forwards(from.record.position), 1),
        };
        let mut records = self.read_all(options.max_count(limit + known), PATIENCE).await?;
        let full = records.len() == limit + known;
        if from.record.mark.is_some() {
            match records.first() {
                Some(first) if point_of(first) == from.record => drop(records.remove(0)),
                // The server may have removed a record that was no event.
                _ if self.has(from.event).await? => records = self.read_past(from, limit).await?,
                _ => return Ok(None),
            }
        }
        let (mut to, mut events) = (from, Vec::with_capacity(records.len()));
        for raw in records {
            to.record = point_of(&raw);
            to.ordinal += 1;
            let Some(tenant) = tenant_of(&raw) else { continue };
            let mark = mark_of(&raw);
            let (position, stream) = (to.record.position, stream_of(&raw));
            if mark.is_some() {
                to.event = LogPoint { position, mark };
            }
            events.push(LookedAt { tenant, entry: Entry { position, stream, revision: raw.revision, ordinal: to.ordinal }, mark, raw });
        }
        Ok(Some(Looked { events, to, full }))
    }

    /// Records after what was looked at, by way of the last event before that.
    async fn read_past(&self, from: Progress, limit: usize) -> Result<Vec<eventstore::RecordedEvent>, StoreError> {
        let mut at = from.event.position;
        loop {
            let mut records = self.read_all(forwards(at).max_count(limit + 1), PATIENCE).await?;
            let last = records.last().map(|raw| Position(raw.position.commit)).filter(|last| records.len() > limit && *last > at);
            match last {
                Some(last) if last <= from.record.position => at = last,
                Some(_) | None => {
                    records.retain(|raw| raw.position.commit > from.record.position.0);
                    return Ok(records);
                }
            }
        }
    }

    /// Whether `$all` still has an event.
    async fn has(&self, event: LogPoint) -> Result<bool, StoreError> {
        if event.mark.is_none() {
            return Ok(true); // There was none: nothing that was seen can be wrong.
        }
        Ok(self.record_at(event.position).await?.as_ref().and_then(mark_of) == event.mark)
    }

    /// Forgets all that was seen of a server that has been put back, or is another one.
    async fn forget(&self) {
        let known = std::mem::take(&mut *self.known());
        let before = self.0.forgotten.lock().unwrap_or_else(std::sync::PoisonError::into_inner).replace(known);
        if before != Some(known) {
            tracing::error!(target: "audit", "ALERT: EventStoreDB has another history than was read before; what was seen of it is forgotten");
        }
        *self.0.tail.lock().await = Tail::default();
        self.indexes().clear();
    }

    /// Where a log's events stand, from a position on.
    async fn entries(&self, tenant: TenantId, from: Position, limit: usize, reach: Reach) -> Result<Vec<Entry>, StoreError> {
        let (mut found, mut from) = (Vec::new(), from);
        if let Some(index) = &self.0.index {
            let known = *self.known();
            let until = known.record.position;
            if from <= until {
                match index.entries(tenant, known.generation, from, until, limit).await {
                    Ok(entries) => (found, from) = (entries, Position(until.0 + 1)),
                    // The relay has begun the index anew since; the look at the tail below finds the new one.
                    Err(StoreError::Unavailable(_)) if reach == Reach::End => {}
                    Err(error) => return Err(error),
                }
            }
            if reach == Reach::Index || found.len() == limit {
                return Ok(found);
            }
        }
        let tail = self.caught_up().await?;
        let base = tail.base;
        let beyond = tail.entries(tenant, from.max(Position(base.record.position.0 + 1)), limit - found.len());
        drop(tail);
        if let Some(index) = &self.0.index
            && from <= base.record.position
        {
            found.extend(index.entries(tenant, base.generation, from, base.record.position, limit - found.len()).await?);
        }
        if found.len() < limit {
            let missing = limit - found.len();
            found.extend(beyond.map_err(|_| not_indexed())?.into_iter().take(missing));
        }
        Ok(found)
    }

    /// The events of entries that follow each other in a log, up to the first that can't be read.
    async fn fetch(&self, tenant: TenantId, entries: &[Entry]) -> Result<Fetched, StoreError> {
        let mut events = Vec::with_capacity(entries.len());
        for chunk in entries.chunks(FETCH) {
            let known = |entry: &&Entry| matches!(entry.stream, EntryStream::Known(_));
            let readable = &chunk[..chunk.iter().take_while(known).count()];
            let mut records = self.records(tenant, readable).await?;
            for entry in readable {
                let EntryStream::Known(stream) = entry.stream else { continue };
                let Some(raw) = records.remove(&(stream, entry.revision)).and_then(|raw| placed(raw, entry.position)) else {
                    let what = format!("the index of its logs says that {stream} has an event at {}, and it has not", entry.position);
                    return Err(unavailable(what));
                };
                match self.recorded(stream, &raw).await {
                    Ok(event) => events.extend(event.map(|(event, _)| event)),
                    Err(error @ StoreError::Unreadable { .. }) => return Ok((events, Some(error))),
                    Err(error) => return Err(error),
                }
            }
            if let Some(entry) = chunk.get(readable.len()) {
                return Ok((events, Some(unknown_stream(entry.position))));
            }
        }
        Ok((events, None))
    }

    /// The records of entries, in whatever order: by one look at that part of `$all`, where half of it is the tenant's, and otherwise
    /// stream by stream. So no more than about twice as many are looked at.
    async fn records(
        &self,
        tenant: TenantId,
        entries: &[Entry],
    ) -> Result<HashMap<(StreamName, u64), eventstore::RecordedEvent>, StoreError> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(HashMap::new()) };
        let mut records = HashMap::with_capacity(entries.len());
        let span = last.ordinal.saturating_sub(first.ordinal) + 1;
        if entries.len() > 2 && span <= 2 * entries.len() as u64 {
            // The server looks on until it meets one more than it is asked for, which is the last entry.
            let filter = SubscriptionFilter::on_stream_name().add_prefix(format!("{tenant}.")).max(WINDOW);
            let options = forwards(first.position).filter(filter).max_count(entries.len() - 1);
            add(&mut records, tenant, self.read_all(options, PATIENCE).await?)?;
        }
        let mut missing: BTreeMap<StreamName, (u64, u64)> = BTreeMap::new();
        for entry in entries {
            let EntryStream::Known(stream) = entry.stream else { continue };
            if !records.contains_key(&(stream, entry.revision)) {
                let range = missing.entry(stream).or_insert((entry.revision, entry.revision));
                *range = (range.0.min(entry.revision), range.1.max(entry.revision));
            }
        }
        let read = |(stream, (from, to)): (StreamName, (u64, u64))| async move {
            let length = usize::try_from(to - from + 1).unwrap_or(usize::MAX);
            self.read_raw(&stream.to_string(), from, length).await
        };
        let mut reads = stream::iter(missing).map(read).buffer_unordered(STREAMS);
        while let Some(read) = reads.try_next().await? {
            add(&mut records, tenant, read)?;
        }
        Ok(records)
    }

    /// Where `$all` ends.
    pub(crate) async fn end(&self) -> Result<Position, StoreError> {
        let last = ReadAllOptions::default().position(StreamPosition::End).max_count(1);
        Ok(self.read_all(last, PATIENCE).await?.first().map_or(Position::ZERO, |event| Position(event.position.commit)))
    }
}

/// What can be read, or why the first event of it can't: whoever reads on meets it again.
fn readable((events, stopped): Fetched) -> Result<Vec<RecordedEvent>, StoreError> {
    match stopped {
        Some(error) if events.is_empty() => Err(error),
        Some(_) | None => Ok(events),
    }
}

/// Takes a tenant's records. What is no event of it that this build knows is passed over; what is another's is a breakage.
fn add(
    records: &mut HashMap<(StreamName, u64), eventstore::RecordedEvent>,
    tenant: TenantId,
    raw: Vec<eventstore::RecordedEvent>,
) -> Result<(), StoreError> {
    for raw in raw.into_iter().filter(|raw| !is_fence(raw)) {
        if tenant_of(&raw) != Some(tenant) {
            return Err(broken(format!("{} was answered to another tenant", raw.stream_id())));
        }
        if let EntryStream::Known(stream) = stream_of(&raw) {
            records.insert((stream, raw.revision), raw);
        }
    }
    Ok(())
}

/// A record with its position, which some servers leave out of streams. None if it stands elsewhere.
fn placed(mut raw: eventstore::RecordedEvent, position: Position) -> Option<eventstore::RecordedEvent> {
    if !is_position(raw.position.commit) {
        raw.position = eventstore::Position { commit: position.0, prepare: position.0 };
    }
    (raw.position.commit == position.0).then_some(raw)
}

/// The place of a record, whoever wrote it.
fn point_of(raw: &eventstore::RecordedEvent) -> LogPoint {
    LogPoint { position: Position(raw.position.commit), mark: Some(record_mark(raw, created(raw))) }
}

/// Whose event a record is; nobody's if it is none.
fn tenant_of(raw: &eventstore::RecordedEvent) -> Option<TenantId> {
    if is_fence(raw) {
        return None;
    }
    raw.stream_id().split_once('.')?.0.parse().ok()
}

fn stream_of(raw: &eventstore::RecordedEvent) -> EntryStream {
    let name = raw.stream_id();
    let within = || name.split_once('.').map_or(name, |(_, rest)| rest).into();
    StreamName::from_written(name).map_or_else(|_| EntryStream::Unknown(within()), EntryStream::Known)
}

fn unknown_stream(position: Position) -> StoreError {
    StoreError::Unreadable { position, reason: "it is of a stream that this build does not know".into() }
}

fn not_indexed() -> StoreError {
    unavailable("the relay has not indexed so much of it yet; see `tenure status`")
}

fn forwards(from: Position) -> ReadAllOptions {
    let options = ReadAllOptions::default().forwards();
    if from == Position::ZERO {
        return options.position(StreamPosition::Start);
    }
    options.position(StreamPosition::Position(eventstore::Position { commit: from.0, prepare: from.0 }))
}
