//! Tenants' logs: their heads, and what comes after a position.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use events::{LogPoint, Position, RecordedEvent, TenantId, TenantScope};
use eventstore::{ReadAllOptions, StreamPosition, SubscriptionFilter};
use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};

use super::{
    EsStore,
    client::{PATIENCE, broken, broken_off, unavailable},
    wire::{is_fence, mark_of, own_stream},
};
use crate::{StoreError, TenantHead};

/// How long a caller waits for a search through `$all`, and how long the search may go on without it.
const SEARCH_PATIENCE: Duration = Duration::from_secs(10);
pub(super) const SEARCH: Duration = Duration::from_mins(2);
/// Events that the server looks at in one go when it filters; of itself it takes 32.
pub(super) const WINDOW: u32 = 4_096;
/// Records among which the last event is looked for.
const LAST: usize = 16;
/// Events read by one call when a whole stream is wanted.
const PAGE: usize = 500;

/// What the heads of all tenants were when `$all` was last read to its end.
#[derive(Default)]
pub(super) struct Heads {
    read_to: Position,
    of: BTreeMap<TenantId, LogPoint>,
    /// As [`Tail::end`].
    end: Position,
}

/// What is known of the end of a tenant's log: nothing of it lies between `head` and `quiet_to`. As `$all` only grows, this
/// stays true, until the server is put back: see [`EsStore::forget`].
#[derive(Clone, Copy, Default)]
pub(super) struct Tail {
    head: Position,
    quiet_to: Position,
    /// Where `$all` ended before the next read: as far as that has looked, if it finds nothing.
    end: Position,
}

/// A search through `$all` for events of one tenant.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Search {
    /// Those after a position, at most so many.
    After(TenantId, Position, usize),
    /// The last one.
    Last(TenantId),
}

/// What a search under way will find, for everybody who waits for it.
pub(super) type Found = Shared<BoxFuture<'static, Result<Vec<RecordedEvent>, StoreError>>>;

/// Ends a search's entry, however the search ends.
struct Searching(EsStore, Search);

impl Drop for Searching {
    fn drop(&mut self) {
        self.0.searches().remove(&self.1);
    }
}

impl EsStore {
    pub(crate) async fn read_log(&self, scope: TenantScope, after: Position, limit: usize) -> Result<Vec<RecordedEvent>, StoreError> {
        let (mut events, begun_before) = self.search(Search::After(scope.tenant(), after, limit)).await?;
        if begun_before && events.len() < limit {
            // Somebody else's search had passed by what was appended since; now it is a short way.
            let after = events.last().map_or(after, |event| event.position);
            events.extend(self.events_after(scope.tenant(), after, limit - events.len()).await?);
        }
        Ok(events)
    }

    /// In two reads: of a quiet log the engine knows where it need not look, so that a page does not begin where it was asked to.
    pub(crate) async fn read_log_on(
        &self,
        scope: TenantScope,
        seen: LogPoint,
        limit: usize,
    ) -> Result<Option<Vec<RecordedEvent>>, StoreError> {
        if self.event_at(scope, seen.position).await?.map(|event| event.mark()) != seen.mark {
            self.forget().await;
            return Ok(None);
        }
        if limit == 0 {
            return Ok(Some(Vec::new()));
        }
        self.read_log(scope, seen.position, limit).await.map(Some)
    }

    pub(crate) async fn event_at(&self, scope: TenantScope, position: Position) -> Result<Option<RecordedEvent>, StoreError> {
        let there = forwards(position).filter(of_tenant(scope.tenant())).max_count(1);
        for raw in self.read_all(there, SEARCH_PATIENCE).await? {
            if raw.position.commit == position.0 {
                return Ok(self.recorded(own_stream(&raw)?, &raw).await?.map(|(event, _)| event));
            }
        }
        Ok(None)
    }

    /// Forgets all that was seen of a server that has been put back, or is another one.
    async fn forget(&self) {
        tracing::error!(target: "audit", "ALERT: EventStoreDB has another history than was read before; what was seen of it is forgotten");
        *self.0.heads.lock().await = Heads::default();
        self.tails().clear();
        self.indexes().clear();
    }

    pub(crate) async fn head(&self, scope: TenantScope) -> Result<Position, StoreError> {
        loop {
            let known = self.tails().get(&scope.tenant()).map(|tail| tail.head);
            if let Some(head) = known {
                let page = self.read_log(scope, head, PAGE).await?;
                if page.len() < PAGE {
                    return Ok(page.last().map_or(head, |event| event.position));
                }
            }
            // Of what nothing is known, or much is new: then the way back from the end is short.
            let (last, begun_before) = self.search(Search::Last(scope.tenant())).await?;
            if !begun_before {
                return Ok(last.last().map_or(Position::ZERO, |event| event.position));
            }
        }
    }

    /// Reads `$all` from where it was last read to; the first call of a process reads all of it.
    pub(crate) async fn heads(&self) -> Result<Vec<TenantHead>, StoreError> {
        let mut heads = self.0.heads.lock().await;
        loop {
            let filter = SubscriptionFilter::on_stream_name().regex(r"^[a-z2-7]{26}\.").max(WINDOW);
            let page = self.read_all(forwards(heads.read_to).filter(filter).max_count(PAGE), PATIENCE).await?;
            let before = heads.read_to;
            for raw in &page {
                let position = Position(raw.position.commit);
                if position > before && !is_fence(raw) {
                    match own_stream(raw) {
                        Ok(stream) => drop(heads.of.insert(stream.tenant(), LogPoint { position, mark: mark_of(raw) })),
                        // Whose it is can't be known; the log of a tenant that it is in is refused by who reads it.
                        Err(error) => {
                            tracing::error!(%error, %position, "ALERT: an event is of a stream that this build does not know");
                        }
                    }
                }
                heads.read_to = heads.read_to.max(position);
            }
            if heads.read_to == before {
                let end = self.end().await?;
                if end < heads.end {
                    drop(heads);
                    self.forget().await;
                    return Err(unavailable("it ends before where it was read to, and is read anew"));
                }
                heads.read_to = before.max(heads.end);
                heads.end = end;
            }
            if page.len() < PAGE || heads.read_to == before {
                let head =
                    |(tenant, point): (&TenantId, &LogPoint)| TenantHead { tenant: *tenant, position: point.position, mark: point.mark };
                return Ok(heads.of.iter().map(head).collect());
            }
        }
    }

    /// What a search finds, and whether it was begun for another caller. It goes on when callers lose their patience, and
    /// who asks again meets it: the first search through a long log takes longer than anybody waits.
    async fn search(&self, search: Search) -> Result<(Vec<RecordedEvent>, bool), StoreError> {
        let (found, begun_before) = {
            let mut searches = self.searches();
            match searches.get(&search) {
                Some(found) => (found.clone(), true),
                None => (searches.entry(search).or_insert(self.begin(search)).clone(), false),
            }
        };
        let slow = || unavailable("the log is still being searched");
        Ok((tokio::time::timeout(SEARCH_PATIENCE, found).await.map_err(|_| slow())??, begun_before))
    }

    fn begin(&self, search: Search) -> Found {
        let searching = Searching(self.clone(), search);
        let found = tokio::spawn(async move {
            match search {
                Search::After(tenant, after, limit) => searching.0.events_after(tenant, after, limit).await,
                Search::Last(tenant) => searching.0.last_event(tenant).await,
            }
        });
        found.map(|ended| ended.unwrap_or_else(|error| Err(broken_off(&error)))).boxed().shared()
    }

    async fn events_after(&self, tenant: TenantId, after: Position, limit: usize) -> Result<Vec<RecordedEvent>, StoreError> {
        let tail = self.tails().get(&tenant).copied().filter(|tail| tail.head <= after);
        let from = tail.map_or(after, |tail| tail.quiet_to.max(after));
        // Reading starts *at* a position, so the one before is asked for again and skipped.
        let page = self.read_all(forwards(from).filter(of_tenant(tenant)).max_count(limit.saturating_add(1)), SEARCH).await?;
        let mut events = Vec::with_capacity(page.len());
        for raw in &page {
            let asked_for = raw.position.commit > after.0 && events.len() < limit;
            let event = async {
                let stream = own_stream(raw)?;
                if stream.tenant() != tenant {
                    return Err(broken(format!("{} answered the filter of another tenant", raw.stream_id())));
                }
                Ok(if asked_for { self.recorded(stream, raw).await?.map(|(event, _)| event) } else { None })
            };
            match event.await {
                Ok(event) => events.extend(event),
                // Whoever reads on meets it again.
                Err(StoreError::Unreadable { .. }) if !events.is_empty() => return Ok(events),
                Err(error) => return Err(error),
            }
        }
        if page.len() <= limit {
            self.learn(tenant, tail, after, events.last().map(|event| event.position)).await?;
        }
        Ok(events)
    }

    /// Takes note of what a read to the end of `$all` has shown: the last event after `after`, or that there is none.
    async fn learn(&self, tenant: TenantId, tail: Option<Tail>, after: Position, last: Option<Position>) -> Result<(), StoreError> {
        let learned = match (last, tail) {
            (Some(head), _) => Tail { head, quiet_to: head, end: head },
            (None, Some(tail)) if after <= tail.quiet_to => Tail { quiet_to: tail.quiet_to.max(tail.end), end: self.end().await?, ..tail },
            (None, None) if after == Position::ZERO => Tail { end: self.end().await?, ..Tail::default() },
            // Nothing is known of what lies before `after`.
            (None, Some(_) | None) => return Ok(()),
        };
        self.tails().insert(tenant, learned);
        Ok(())
    }

    async fn last_event(&self, tenant: TenantId) -> Result<Vec<RecordedEvent>, StoreError> {
        let end = self.end().await?;
        // The last records may be fences.
        let backwards = ReadAllOptions::default().position(StreamPosition::End).filter(of_tenant(tenant)).max_count(LAST);
        let mut events = Vec::new();
        for raw in self.read_all(backwards, SEARCH).await? {
            if !events.is_empty() {
                break;
            }
            events.extend(self.recorded(own_stream(&raw)?, &raw).await?.map(|(event, _)| event));
        }
        let head = events.last().map_or(Position::ZERO, |event| event.position);
        self.tails().insert(tenant, Tail { head, quiet_to: head.max(end), end });
        Ok(events)
    }

    /// Where `$all` ends.
    pub(super) async fn end(&self) -> Result<Position, StoreError> {
        let last = ReadAllOptions::default().position(StreamPosition::End).max_count(1);
        Ok(self.read_all(last, PATIENCE).await?.first().map_or(Position::ZERO, |event| Position(event.position.commit)))
    }

    fn tails(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, Tail>> {
        self.0.tails.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn searches(&self) -> std::sync::MutexGuard<'_, HashMap<Search, Found>> {
        self.0.searches.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn of_tenant(tenant: TenantId) -> SubscriptionFilter {
    SubscriptionFilter::on_stream_name().add_prefix(format!("{tenant}.")).max(WINDOW)
}

fn forwards(from: Position) -> ReadAllOptions {
    let options = ReadAllOptions::default().forwards();
    if from == Position::ZERO {
        return options.position(StreamPosition::Start);
    }
    options.position(StreamPosition::Position(eventstore::Position { commit: from.0, prepare: from.0 }))
}
