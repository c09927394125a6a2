//! Aggregates from the bounded cache or the store.
//!
//! A cached aggregate may be old: another process may have written. Events decided on an old one are caught by the
//! expected version; whatever is answered without an append (a refusal, nothing to do, another aggregate's standing)
//! must rest on [`Aggregates::read_since`]. That reads on from the event that the cached one ends with, so a store that was
//! put back is noticed: what was made of a history that is no more is dropped.

use std::{sync::Arc, time::Duration};

use domain::{Ask, Facts, Question};
use events::{Event, RecordedEvent, SealError, StreamName, TenantScope};
use moka::future::Cache;
use platform::{Keys, Problem, keys::KeyError};
use store::{Store, StoreError};
use tokio::time::Instant;

use crate::{aggregate::Aggregate, keyed_locks::KeyedLocks, problems::unavailable};

/// Bytes of aggregates kept in memory, roughly.
const CAPACITY: u64 = 256 << 20;
/// An aggregate that nobody wrote or read for so long leaves the memory.
const IDLE: Duration = Duration::from_mins(10);
/// Events per read.
const PAGE: usize = 500;
/// Questions that are answered for one command at most; far more than there are managers above one person in any organization.
const QUESTIONS: usize = 4_096;

/// The way to aggregates. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Aggregates(Arc<Inner>);

struct Inner {
    store: Store,
    keys: Keys,
    cache: Cache<StreamName, CachedAggregate>,
    reading: KeyedLocks<StreamName>,
}

/// An aggregate, and since when that is known to be its newest state.
#[derive(Clone)]
pub(crate) struct CachedAggregate {
    /// The aggregate.
    pub(crate) aggregate: Arc<Aggregate>,
    /// When the read or the append that told so was begun.
    pub(crate) as_of: Instant,
}

impl Aggregates {
    pub(crate) fn new(store: Store, keys: Keys) -> Self {
        let cache = Cache::builder()
            .weigher(|_, known: &CachedAggregate| known.aggregate.weight())
            .max_capacity(CAPACITY)
            .time_to_idle(IDLE)
            .build();
        Self(Arc::new(Inner { store, keys, cache, reading: KeyedLocks::default() }))
    }

    /// The aggregate as the cache has it, of any age.
    pub(crate) async fn cached(&self, stream: StreamName) -> Option<CachedAggregate> {
        self.0.cache.get(&stream).await
    }

    /// The aggregate as the store had it at `since` or later. Reads only what the cache lacks; those who ask for one
    /// stream share a read.
    pub(crate) async fn read_since(&self, scope: TenantScope, stream: StreamName, since: Instant) -> Result<CachedAggregate, Problem> {
        let fresh = |known: &CachedAggregate| known.as_of >= since;
        if let Some(known) = self.cached(stream).await.filter(fresh) {
            return Ok(known);
        }
        // Large, and a command's future has room for several reads.
        Box::pin(self.read_anew(scope, stream, since)).await
    }

    async fn read_anew(&self, scope: TenantScope, stream: StreamName, since: Instant) -> Result<CachedAggregate, Problem> {
        let fresh = |known: &CachedAggregate| known.as_of >= since;
        let _reading = self.0.reading.lock(stream).await;
        let cached = self.cached(stream).await;
        if let Some(known) = cached.clone().filter(fresh) {
            return Ok(known);
        }
        let as_of = Instant::now();
        let before = cached.map_or_else(|| Arc::new(Aggregate::empty(stream)), |known| known.aggregate);
        let mut aggregate = self.read_on(scope, stream, before).await?;
        if aggregate.is_none() {
            self.forget(stream).await;
            aggregate = self.read_on(scope, stream, Arc::new(Aggregate::empty(stream))).await?;
        }
        let changes = || unavailable(&StoreError::Unavailable("the stream changes while it is read".into()));
        let aggregate = aggregate.ok_or_else(changes)?;
        let known = CachedAggregate { aggregate, as_of };
        self.keep(stream, known.clone()).await;
        Ok(known)
    }

    /// The answer to one question, as it was at `since` or later.
    pub(crate) async fn ask<Q: Ask>(&self, scope: TenantScope, question: Q, since: Instant) -> Result<Q::Answer, Problem> {
        let question: Question = question.into();
        let known = self.read_since(scope, question.stream(scope), since).await?;
        let fact = known.aggregate.state.answer(&question).map_err(|e| Problem::internal(&e))?;
        Q::answer(fact).ok_or_else(|| Problem::internal(&domain::Mismatch("an answer")))
    }

    /// The answers to questions and to all that they lead to, as they were at `since` or later, or of this moment where an older
    /// one would not do.
    pub(crate) async fn facts(&self, scope: TenantScope, questions: Vec<Question>, since: Instant) -> Result<Facts, Problem> {
        let (mut open, mut facts, now) = (questions, Facts::none(), Instant::now());
        while let Some(question) = open.pop() {
            // A rule refuses what it was not told.
            if facts.answers(&question) || facts.len() >= QUESTIONS {
                continue;
            }
            let since = if question.must_be_newest() { now } else { since };
            let known = self.read_since(scope, question.stream(scope), since).await?;
            let fact = known.aggregate.state.answer(&question).map_err(|e| Problem::internal(&e))?;
            open.extend(question.leads_to(&fact));
            facts.insert_fact(question, fact);
        }
        Ok(facts)
    }

    /// Remembers an aggregate, unless a newer one is known.
    pub(crate) async fn keep(&self, stream: StreamName, known: CachedAggregate) {
        let newer = |cached: &CachedAggregate| cached.aggregate.version > known.aggregate.version;
        if !self.cached(stream).await.as_ref().is_some_and(newer) {
            self.0.cache.insert(stream, known).await;
        }
    }

    /// Drops an aggregate that was folded from events which the store has no more.
    pub(crate) async fn forget(&self, stream: StreamName) {
        metrics::counter!("tenure_history_lost_total", "what" => "aggregate").increment(1);
        tracing::error!(target: "audit", tenant = %stream.tenant(), "ALERT: the event store has another history than was read before: it was put back, or is another one; see `tenure restored --help`");
        self.0.cache.invalidate(&stream).await;
    }

    /// Folds what the stream holds after `aggregate`. None if the stream does not hold what that was folded from.
    async fn read_on(
        &self,
        scope: TenantScope,
        stream: StreamName,
        mut aggregate: Arc<Aggregate>,
    ) -> Result<Option<Arc<Aggregate>>, Problem> {
        loop {
            let page = self.0.store.read_stream_on(stream, aggregate.point(), PAGE).await.map_err(|e| unavailable(&e))?;
            let Some(page) = page else { return Ok(None) };
            let full = page.len() >= PAGE;
            let mut decoded = Vec::with_capacity(page.len());
            for recorded in &page {
                decoded.push((Event::decode(recorded).map_err(|e| Problem::internal(&e))?, recorded.position));
            }
            if decoded.iter().any(|(event, _)| event.has_personal()) {
                let keys = self.0.keys.to_open(scope, decoded.iter().map(|(event, _)| (stream, event))).await?;
                for (event, _) in &mut decoded {
                    event.open(stream, |person| keys.get(person)).map_err(|error| unopened(&error))?;
                }
            }
            if !decoded.is_empty() {
                let mut next = Arc::unwrap_or_clone(aggregate);
                for (event, position) in &decoded {
                    next = next.evolve(event, *position).map_err(|e| Problem::internal(&e))?;
                }
                aggregate = Arc::new(next.marked(page.last().map(RecordedEvent::mark)));
            }
            if !full {
                return Ok(Some(aggregate));
            }
        }
    }
}

/// What does not open is a breakage; of a key that is missing it is said that it is.
fn unopened(error: &SealError) -> Problem {
    match error {
        SealError::KeyMissing(_) => KeyError::Missing.into(),
        SealError::DoesNotOpen(_) => KeyError::DoesNotUnwrap.into(),
        SealError::Unreadable(_) => Problem::internal(error),
    }
}
