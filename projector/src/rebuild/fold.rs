//! The log of a rebuild, read and folded in the order that its engine can give it in: stream after stream, or as it is.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use events::{Event, Position, RecordedEvent, StreamName, TenantScope, Version};
use platform::keys::KeyError;
use store::{
    PgStore, Store,
    streams::{StreamEvent, StreamPage, StreamPlace, StreamRange},
};
use tokio::{
    sync::mpsc,
    task::{JoinSet, spawn_blocking},
};

use super::{CHUNK, PAGE, PATIENCE, RebuildError};
use crate::{
    apply::{Applier, ApplyError, decode, open, unprojectable, within},
    busy::busy,
    derived::DerivedTables as _,
    fold::CannotFold,
    projection::{self, Kinds, Part, Projection},
};

/// Events of a range of streams, about.
const RANGE: u64 = 4_000;
/// Ranges read and folded at the same time, at most.
const WORKERS: usize = 8;
/// How often keys are asked for again, and after which time.
const MAX_TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Folds the log up to a position: what comes to be is sent on, and what derived tables noted is returned with the position
/// that was reached.
pub(super) async fn fold<P: Projection>(
    applier: &Applier<P>,
    scope: TenantScope,
    head: Position,
    parts: mpsc::Sender<Part>,
) -> Result<(Position, P::Derived), RebuildError> {
    match &applier.store {
        Store::Postgres(store) => fold_streams(applier, store, scope, head, parts).await,
        Store::EventStore(_) => fold_log(applier, scope, head, parts).await,
    }
}

/// What the workers of a rebuild share.
struct Shared<P: Projection> {
    ranges: Mutex<std::vec::IntoIter<StreamRange>>,
    /// There is one sum of all, not one per worker: it is as large as the company is old.
    derived: Mutex<P::Derived>,
    /// Events that touch keys of several streams, to be folded in the order of the log once all are there.
    aside: Mutex<Vec<Aside>>,
}

/// An event that is folded once all streams are read.
struct Aside {
    position: Position,
    stream: StreamName,
    version: Version,
    event: Event,
}

/// Folds stream after stream, some ranges of them beside each other.
async fn fold_streams<P: Projection>(
    applier: &Applier<P>,
    store: &PgStore,
    scope: TenantScope,
    head: Position,
    parts: mpsc::Sender<Part>,
) -> Result<(Position, P::Derived), RebuildError> {
    let ranges = within(PATIENCE, async { Ok(store.stream_ranges(scope, head, RANGE).await?) }).await?;
    // While one decodes, another waits for PostgreSQL.
    let count = thread::available_parallelism().map_or(2, |n| n.get() * 2).clamp(2, WORKERS).min(ranges.len());
    let shared = Shared::<P> { ranges: Mutex::new(ranges.into_iter()), derived: Mutex::default(), aside: Mutex::default() };
    let shared = Arc::new(shared);
    // The set ends its tasks when it is dropped.
    let mut workers = JoinSet::new();
    for _ in 0..count {
        let (applier, store, shared, parts) = (applier.clone(), store.clone(), Arc::clone(&shared), parts.clone());
        workers.spawn(async move { fold_ranges(&applier, &store, scope, head, &shared, parts).await });
    }
    while let Some(worker) = workers.join_next().await {
        worker.map_err(anyhow::Error::from)??;
    }
    let mut derived = mem::take(&mut *lock(&shared.derived));
    let aside = mem::take(&mut *lock(&shared.aside));
    if !aside.is_empty() {
        derived = spawn_blocking(move || fold_aside::<P>(aside, derived, &parts)).await.map_err(anyhow::Error::from)??;
    }
    Ok((head, derived))
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Folds the events that touch keys of several streams, in the order of the log.
fn fold_aside<P: Projection>(
    mut aside: Vec<Aside>,
    mut derived: P::Derived,
    parts: &mpsc::Sender<Part>,
) -> Result<P::Derived, RebuildError> {
    aside.sort_unstable_by_key(|one| one.position);
    let mut model = P::Model::default();
    for one in aside {
        let folded = projection::fold::<P>(&mut model, one.stream, one.version, &one.event, Kinds::SeveralStreams);
        folded.map_err(|why| unprojectable(one.position, &why.0))?;
    }
    send_all::<P>(model, &mut derived, parts)?;
    Ok(derived)
}

/// Folds ranges for as long as there are any and somebody wants what they come to.
async fn fold_ranges<P: Projection>(
    applier: &Applier<P>,
    store: &PgStore,
    scope: TenantScope,
    head: Position,
    shared: &Shared<P>,
    parts: mpsc::Sender<Part>,
) -> Result<(), RebuildError> {
    let mut reader = within(PATIENCE, async { Ok(store.stream_reader().await?) }).await?;
    let next = || lock(&shared.ranges).next();
    while let Some(range) = next() {
        let mut after = StreamPlace::before(&range);
        let mut unfinished = Unfinished::<P>::default();
        loop {
            let page = within(PATIENCE, async { Ok(reader.read(scope, &range, after, head, PAGE).await?) }).await?;
            let (recorded, mut events) = busy(PAGE, || decode_page(&page))?;
            let streams = recorded.iter().map(|one| one.stream);
            if let Some((index, why)) = open_patiently(applier, scope, streams, &mut events).await? {
                return Err(unprojectable(recorded.get(index).map_or(head, |one| one.position), &why).into());
            }
            let last = recorded.last().filter(|_| recorded.len() == PAGE).map(StreamPlace::after);
            let (part, noted) = busy(events.len(), || unfinished.fold(recorded.iter().zip(&events), last.is_none()))?;
            lock(&shared.derived).merge(noted)?;
            if P::SEVERAL_STREAMS {
                let of_several = recorded.iter().zip(events).filter(|(_, event)| P::touches_several_streams(event));
                let aside = |(one, event): (&StreamEvent<'_>, Event)| Aside {
                    position: one.position,
                    stream: one.stream,
                    version: one.version,
                    event,
                };
                lock(&shared.aside).extend(of_several.map(aside));
            }
            if parts.send(part).await.is_err() {
                // The writer has failed, and says why.
                return Ok(());
            }
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
    }
    within(PATIENCE, async { Ok(reader.close().await?) }).await?;
    Ok(())
}

/// The events of a page, as they were recorded and what they say.
fn decode_page(page: &StreamPage) -> Result<(Vec<StreamEvent<'_>>, Vec<Event>), ApplyError> {
    let recorded = page.events()?;
    let decode = |one: &StreamEvent<'_>| {
        let event = Event::decode_parts(one.stream.category(), one.event_type, one.schema_version, one.data);
        event.map_err(|e| unprojectable(one.position, &e.to_string()))
    };
    let events = recorded.iter().map(decode).collect::<Result<_, _>>()?;
    Ok((recorded, events))
}

/// Opens personal fields. The key store may keep one waiting while the disk takes what the rebuild writes, and what was
/// folded until then would be lost.
async fn open_patiently<P: Projection>(
    applier: &Applier<P>,
    scope: TenantScope,
    streams: impl Iterator<Item = StreamName> + Clone,
    events: &mut [Event],
) -> Result<Option<(usize, String)>, ApplyError> {
    let mut tries = 0;
    loop {
        // Nothing was opened where no keys came.
        match open(&applier.keys, scope, streams.clone().zip(events.iter_mut())).await {
            Err(ApplyError::Keys(KeyError::Unavailable(_))) if tries < MAX_TRIES => tries += 1,
            opened => return opened,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The stream that is being folded: the next page may go on with it.
struct Unfinished<P: Projection> {
    stream: Option<StreamName>,
    model: P::Model,
}

impl<P: Projection> Default for Unfinished<P> {
    fn default() -> Self {
        Self { stream: None, model: P::Model::default() }
    }
}

impl<P: Projection> Unfinished<P> {
    /// Folds a page, which the range ends with or not. What it came to, and what derived tables noted of it.
    fn fold<'p>(
        &mut self,
        page: impl ExactSizeIterator<Item = (&'p StreamEvent<'p>, &'p Event)>,
        ends: bool,
    ) -> Result<(Part, P::Derived), RebuildError> {
        let (mut part, mut noted) = (Part::of::<P>(page.len()), P::Derived::default());
        for (one, event) in page {
            self.next(one.stream, &mut part, &mut noted)?;
            let folded = projection::fold::<P>(&mut self.model, one.stream, one.version, event, Kinds::OneStream);
            folded.map_err(|why| unprojectable(one.position, &why.0))?;
        }
        if ends {
            part.add::<P>(mem::take(self).model, &mut noted)?;
        }
        Ok((part, noted))
    }
    /// Hands out the rows of the last stream where another one begins.
    fn next(&mut self, stream: StreamName, part: &mut Part, noted: &mut P::Derived) -> Result<(), CannotFold> {
        let ended = self.stream.replace(stream).is_some_and(|last| last != stream);
        if ended { part.add::<P>(mem::take(&mut self.model), noted) } else { Ok(()) }
    }
}

/// Folds the log in its own order.
async fn fold_log<P: Projection>(
    applier: &Applier<P>,
    scope: TenantScope,
    head: Position,
    parts: mpsc::Sender<Part>,
) -> Result<(Position, P::Derived), RebuildError> {
    let mut model = P::Model::default();
    let mut at = Position::ZERO;
    let mut page = read_page(applier, scope, at).await?;
    while let Some(last) = page.last().map(|(recorded, _)| recorded.position) {
        let count = page.len();
        // The next page is read while this one is folded.
        let fold = move || {
            for (recorded, event) in &page {
                let folded = projection::fold::<P>(&mut model, recorded.stream, recorded.version, event, Kinds::All);
                folded.map_err(|CannotFold(why)| unprojectable(recorded.position, &why))?;
            }
            Ok::<_, ApplyError>(model)
        };
        let next = async { if last < head { read_page(applier, scope, last).await } else { Ok(Vec::new()) } };
        let (folded, next) = tokio::join!(spawn_blocking(fold), next);
        model = folded.map_err(anyhow::Error::from)??;
        (at, page) = (last, next?);
        if parts.send(Part::of::<P>(count)).await.is_err() {
            return Ok((at, P::Derived::default()));
        }
    }
    let drain = move || {
        let mut derived = P::Derived::default();
        send_all::<P>(model, &mut derived, &parts).map(|()| derived)
    };
    let derived = spawn_blocking(drain).await.map_err(anyhow::Error::from)??;
    Ok((at, derived))
}

/// Sends the rows of all keys on, a chunk at a time.
fn send_all<P: Projection>(model: P::Model, derived: &mut P::Derived, parts: &mpsc::Sender<Part>) -> Result<(), CannotFold> {
    let mut part = Part::of::<P>(0);
    P::drain(model, 0, &mut part, derived, &mut |part| {
        if part.tables.iter().map(Vec::len).sum::<usize>() > CHUNK {
            // A writer that has failed says why.
            let _ = parts.blocking_send(mem::replace(part, Part::of::<P>(0)));
        }
    })?;
    let _ = parts.blocking_send(part);
    Ok(())
}

/// A page of the log after a position, ready to be folded.
async fn read_page<P: Projection>(
    applier: &Applier<P>,
    scope: TenantScope,
    after: Position,
) -> Result<Vec<(RecordedEvent, Event)>, RebuildError> {
    let recorded = within(PATIENCE, async { Ok(applier.store.read_log(scope, after, PAGE).await?) }).await?;
    let decode = |one| decode(scope, one).map_err(|why| unprojectable(one.position, &why.0));
    let mut events = busy(recorded.len(), || recorded.iter().map(decode).collect::<Result<Vec<_>, _>>())?;
    if let Some((index, why)) = open_patiently(applier, scope, recorded.iter().map(|one| one.stream), &mut events).await? {
        return Err(unprojectable(recorded.get(index).map_or(after, |one| one.position), &why).into());
    }
    Ok(recorded.into_iter().zip(events).collect())
}
