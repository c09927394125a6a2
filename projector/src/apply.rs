//! The edge of the live projection: load the touched keys' rows, fold, write back what changed, move the checkpoint; all
//! in one transaction under the tenant's own role, in five round trips however large the batch is.
//!
//! What keeps a read model right, whoever sends what how often: the checkpoint row is locked first, so appliers of one
//! tenant wait for each other; an event is folded only right after its predecessor; and a fence older than the last
//! writer's is refused.

use std::{io, marker::PhantomData, time::Duration};

use events::{Event, EventMark, LogPoint, Position, RecordedEvent, StreamName, TenantScope};
use platform::{
    Access, Keys, READ_MODEL_VERSION, TenantPool,
    keys::KeyError,
    provision::{ReadModelSql, make_read_schema, read_model_sql},
    read_model::{Standing, standings},
    read_schema,
};
use sqlx::PgPool;
use store::{Store, StoreError};

use crate::{
    Capabilities,
    batch::{Checkpoint, Difference, REPLACED, is_damage, is_missing, is_refusal_of_data, load, lock_checkpoint, read_checkpoint, write},
    busy::busy,
    fold::CannotFold,
    projection::{Kinds, Projection, fold},
};

/// Events of the feed folded in one transaction at most.
pub const BATCH: usize = 500;
/// Events folded in one transaction at most, when healing.
pub const HEALING_BATCH: usize = 2_000;
/// How long one application may take, waiting for another's lock included.
const PATIENCE: Duration = Duration::from_secs(30);
/// And one of [`HEALING_BATCH`] events.
const HEALING_PATIENCE: Duration = Duration::from_mins(2);
/// How often a read model may be replaced by rebuilds during one application.
const MAX_REPLACED: usize = 5;

/// An event with the position of the one before it in its tenant's log.
#[derive(Debug, Clone)]
pub struct Sequenced {
    /// The position before; zero for the first.
    pub previous: Position,
    /// The event there, where it is known.
    pub before: Option<EventMark>,
    /// The event.
    pub event: RecordedEvent,
}

/// Gives a page of a log, read after a position, its previous positions.
pub fn sequence(after: Position, events: Vec<RecordedEvent>) -> Vec<Sequenced> {
    sequence_on(LogPoint { position: after, mark: None }, events)
}

/// [`sequence`] after a point, whose event is known.
fn sequence_on(after: LogPoint, events: Vec<RecordedEvent>) -> Vec<Sequenced> {
    let mut previous = after;
    let sequenced = |event: RecordedEvent| {
        let one = Sequenced { previous: previous.position, before: previous.mark, event };
        previous = one.event.log_point();
        one
    };
    events.into_iter().map(sequenced).collect()
}

/// What an application did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The read model stands here now; everything sent is in it.
    At(Position),
    /// The read model stands here now, and the event after this one is missing: heal from the store
    /// ([`Applier::catch_up`]).
    Gap(Position),
}

/// Why events were not applied. Those before the one at fault are in the read model.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A newer owner has written: this one must stop.
    #[error("a projector with fence {theirs} has taken over")]
    Fenced {
        /// The newer fence.
        theirs: i64,
    },
    /// The event can't be projected: the tenant is to be parked.
    #[error("the event at {position} can't be projected: {reason}")]
    Unprojectable {
        /// The event's position.
        position: Position,
        /// Why, without personal data.
        reason: String,
    },
    /// The read model can't take the event: it is damaged, or the event is at fault. A rebuild tells, which folds the log alone.
    #[error("the read model does not take the event at {position}: {reason}")]
    Damaged {
        /// The event's position, or that of the last one in the read model.
        position: Position,
        /// Why, without personal data.
        reason: String,
    },
    /// The store does not hold the event that the read model was folded up to: the tenant is to be parked until somebody says what
    /// holds (I8).
    #[error("the read model was folded from another history up to {position}: {reason}")]
    Diverged {
        /// Where the read model stands.
        position: Position,
        /// What to do.
        reason: String,
    },
    /// The log has events, and there is no read model: one is built beside, and serves once it is whole.
    #[error("there is no read model; it is being built")]
    NoReadModel,
    /// PostgreSQL is away or refused.
    #[error("the read model is unavailable: {0}")]
    Database(#[from] sqlx::Error),
    /// The event store is away.
    #[error(transparent)]
    Store(StoreError),
    /// The key store is away.
    #[error(transparent)]
    Keys(#[from] KeyError),
}

impl From<StoreError> for ApplyError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unreadable { position, reason } => Self::Unprojectable { position, reason },
            error @ (StoreError::Unavailable(_) | StoreError::Broken(_)) => Self::Store(error),
        }
    }
}

/// Applies events to tenants' read models. Cheap to clone.
pub struct Applier<P: Projection = Capabilities> {
    /// PostgreSQL, as the projector's role.
    pub pool: PgPool,
    /// The event store, to heal from.
    pub store: Store,
    /// Opens personal fields.
    pub keys: Keys,
    /// For events as they come.
    tenants: TenantPool,
    /// What makes the tables that the projection fills.
    pub(crate) sql: ReadModelSql,
    projection: PhantomData<fn() -> P>,
}

impl<P: Projection> Clone for Applier<P> {
    fn clone(&self) -> Self {
        let (pool, store, keys, tenants) = (self.pool.clone(), self.store.clone(), self.keys.clone(), self.tenants.clone());
        Self { pool, store, keys, tenants, sql: self.sql.clone(), projection: PhantomData }
    }
}

impl Applier {
    /// Which opens so many connections more than the pool does, for events as they come.
    pub fn new(pool: PgPool, connections: u32, store: Store, keys: Keys) -> Self {
        Self::of(read_model_sql(), pool, connections, store, keys)
    }
}

impl<P: Projection> Applier<P> {
    /// The same for another projection, whose tables this SQL makes.
    pub fn of(sql: ReadModelSql, pool: PgPool, connections: u32, store: Store, keys: Keys) -> Self {
        Self { tenants: TenantPool::apart(&pool, connections), pool, store, keys, sql, projection: PhantomData }
    }

    /// The same with other connections for what is long.
    pub(crate) fn over(&self, pool: PgPool) -> Self {
        Self { pool, ..self.clone() }
    }

    /// Folds events into the tenant's live read model. `events` are in the order of their positions; those that are in
    /// the read model already are skipped. On any error the caller may send the same events again.
    pub async fn apply(&self, scope: TenantScope, fence: i64, events: &[Sequenced]) -> Result<Applied, ApplyError> {
        let schema = live(scope);
        let applying = async {
            let prepared = self.prepare(scope, events).await?;
            self.apply_prepared(&schema, scope, fence, events, prepared).await
        };
        match within(PATIENCE, Box::pin(applying)).await {
            Err(ApplyError::Database(error)) if is_missing(&error) => Ok(Applied::Gap(Position::ZERO)),
            applied => applied,
        }
    }

    /// Whether these events, in the order of their positions, stand in the store just like this, with nothing between them.
    /// The feed only announces: whoever got hold of the broker, or of the relay, could send what never happened.
    /// If so, they know the events before them.
    pub async fn are_recorded(&self, scope: TenantScope, events: &mut [Sequenced]) -> Result<bool, ApplyError> {
        let Some(previous) = events.first().map(|first| first.previous) else { return Ok(true) };
        let recorded = within(PATIENCE, self.read_around(scope, previous, events.len())).await?;
        let same = |ours: &Sequenced, sent: &Sequenced| ours.previous == sent.previous && ours.event == sent.event;
        let all = recorded.len() == events.len() && recorded.iter().zip(&*events).all(|(ours, sent)| same(ours, sent));
        for (sent, ours) in events.iter_mut().zip(recorded) {
            sent.before = ours.before;
        }
        Ok(all)
    }

    /// Events of the log after a position, who know the event there: where positions have no holes, by the same read.
    async fn read_around(&self, scope: TenantScope, after: Position, limit: usize) -> Result<Vec<Sequenced>, ApplyError> {
        if !self.store.is_dense() || after == Position::ZERO {
            let point = self.store.point_at(scope, after).await?;
            return Ok(sequence_on(point, self.store.read_log(scope, after, limit).await?));
        }
        let mut events = self.store.read_log(scope, Position(after.0 - 1), limit + 1).await?;
        if events.first().is_none_or(|first| first.position != after) {
            return Ok(Vec::new());
        }
        let point = events.remove(0).log_point();
        if events.is_empty() {
            // What can't be read is said, which a page that begins with another event does not.
            events = self.store.read_log(scope, after, limit).await?;
        }
        Ok(sequence_on(point, events))
    }

    /// Applies what the store has and the read model has not. Returns where it stands then. A read schema that is missing is made
    /// where the log is empty; else it has to be built beside first ([`crate::rebuild`]), because it would be served before it is whole.
    pub async fn catch_up(&self, scope: TenantScope, fence: i64) -> Result<Position, ApplyError> {
        let at = match self.point(scope).await {
            Err(ApplyError::Database(error)) if is_missing(&error) => {
                let head = within(PATIENCE, async { Ok(self.store.head(scope).await?) }).await?;
                if head > Position::ZERO && self.standing(scope).await? == Standing::Missing {
                    return Err(ApplyError::NoReadModel);
                }
                make_read_schema(&self.pool, scope).await.map_err(|e| sqlx::Error::Protocol(format!("{e:#}")))?;
                // Where there is a schema it stays as it is.
                self.point(scope).await.map_err(|error| if_damaged(error, Position::ZERO))?
            }
            at => at?,
        };
        self.catch_up_in(&live(scope), scope, fence, at).await
    }

    /// Where the tenant's live read model stands.
    pub async fn checkpoint(&self, scope: TenantScope) -> Result<Position, ApplyError> {
        Ok(self.point(scope).await?.position)
    }

    /// Where the tenant's live read model stands, and the event there.
    pub async fn point(&self, scope: TenantScope) -> Result<LogPoint, ApplyError> {
        self.point_in(&live(scope), scope).await
    }

    pub(crate) async fn point_in(&self, schema: &str, scope: TenantScope) -> Result<LogPoint, ApplyError> {
        within(PATIENCE, async {
            let mut tx = self.tenants.begin(scope, schema, Access::Write).await.map_err(sqlx::Error::from)?;
            let checkpoint = read_checkpoint(tx.conn()).await?;
            tx.rollback().await?;
            Ok(checkpoint.point)
        })
        .await
    }

    /// Fails where the store does not hold the event that the live read model was folded up to.
    pub(crate) async fn verify(&self, scope: TenantScope) -> Result<(), ApplyError> {
        let point = match self.point(scope).await {
            Err(ApplyError::Database(error)) if is_missing(&error) => return Ok(()),
            point => point?,
        };
        let there = within(PATIENCE, async { Ok(self.store.read_log_on(scope, point, 0).await?) }).await?;
        there.map(drop).ok_or_else(|| diverged(point.position))
    }

    /// Where the tenant's live read model stands, and whether it is whole.
    pub(crate) async fn standing(&self, scope: TenantScope) -> Result<Standing, ApplyError> {
        let standings = within(PATIENCE, async { Ok(standings(&self.pool, &[scope]).await?) }).await?;
        Ok(standings.first().map_or(Standing::Missing, |(_, standing)| *standing))
    }

    /// [`Applier::catch_up`] for any read schema, which stands at `at`.
    pub(crate) async fn catch_up_in(&self, schema: &str, scope: TenantScope, fence: i64, at: LogPoint) -> Result<Position, ApplyError> {
        self.catch_up_telling(schema, scope, fence, at, |_| ()).await
    }

    /// The same, which tells of each batch how many events it had.
    pub(crate) async fn catch_up_telling(
        &self,
        schema: &str,
        scope: TenantScope,
        fence: i64,
        at: LogPoint,
        mut tell: impl FnMut(usize),
    ) -> Result<Position, ApplyError> {
        let mut at = at;
        let (mut events, mut prepared) = self.page(scope, at).await?;
        while let Some(last) = events.last().map(|one| one.event.log_point()) {
            let applying = within(HEALING_PATIENCE, Box::pin(self.apply_prepared(schema, scope, fence, &events, prepared)));
            // The next page is read, decoded and opened while this one is written.
            let full = events.len() == HEALING_BATCH;
            let next = async { if full { self.page(scope, last).await } else { Ok(Default::default()) } };
            let (applied, next) = tokio::join!(applying, next);
            (at, (events, prepared)) = match applied? {
                Applied::At(position) if position == last.position => {
                    tell(events.len());
                    (last, next?)
                }
                // Somebody else has written meanwhile.
                Applied::At(_) | Applied::Gap(_) => {
                    let point = self.point_in(schema, scope).await?;
                    (point, self.page(scope, point).await?)
                }
            };
        }
        Ok(at.position)
    }

    /// What the store has after the event that a read model was folded up to, ready to be folded.
    async fn page(&self, scope: TenantScope, after: LogPoint) -> Result<(Vec<Sequenced>, Prepared), ApplyError> {
        within(PATIENCE, async {
            let page = self.store.read_log_on(scope, after, HEALING_BATCH).await?;
            let events = sequence_on(after, page.ok_or_else(|| diverged(after.position))?);
            let prepared = self.prepare(scope, &events).await?;
            Ok((events, prepared))
        })
        .await
    }

    /// Applies as much as can be: what comes before an event that can't be projected is committed before that is said, and
    /// a batch that PostgreSQL refuses is halved until the event at fault stands alone.
    async fn apply_prepared(
        &self,
        schema: &str,
        scope: TenantScope,
        fence: i64,
        events: &[Sequenced],
        prepared: Prepared,
    ) -> Result<Applied, ApplyError> {
        let Prepared { mut opened, mut refusal } = prepared;
        let (mut most, mut replaced) = (events.len(), 0);
        loop {
            match self.attempt(schema, scope, fence, events, &opened, most).await? {
                Attempt::Committed { at, next } if next == events.len() => return Ok(Applied::At(at)),
                // Also where an event that can't be read (any more) lies behind the checkpoint: the store's pages begin after it.
                Attempt::Committed { at, next } if events[next].previous != at || next > opened.len() => return Ok(Applied::Gap(at)),
                Attempt::Committed { next, .. } => {
                    if let Some(refusal) = refusal.take_if(|_| next == opened.len()) {
                        return Err(refusal);
                    }
                }
                Attempt::Gap(at) => return Ok(Applied::Gap(at)),
                Attempt::Refused { index, why } => {
                    opened.truncate(index);
                    refusal = Some(ApplyError::Damaged { position: events[index].event.position, reason: why });
                }
                Attempt::Halve { count } => most = count.div_ceil(2),
                Attempt::Replaced => {
                    replaced += 1;
                    if replaced > MAX_REPLACED {
                        let reason = "its checkpoint says again and again that it was replaced".into();
                        return Err(ApplyError::Damaged { position: Position::ZERO, reason });
                    }
                }
            }
        }
    }

    /// Decodes events and opens their personal fields, up to the first with which that can't be done.
    async fn prepare(&self, scope: TenantScope, events: &[Sequenced]) -> Result<Prepared, ApplyError> {
        let mut prepared = busy(events.len(), || decode_all(scope, events));
        let pairs = events.iter().map(|one| one.event.stream).zip(&mut prepared.opened);
        if let Some((index, why)) = open(&self.keys, scope, pairs).await? {
            prepared.opened.truncate(index);
            prepared.refusal = Some(unprojectable(events[index].event.position, &why));
        }
        Ok(prepared)
    }

    /// One transaction: folds the new events among the first `opened.len()`, at most `most` of them.
    async fn attempt(
        &self,
        schema: &str,
        scope: TenantScope,
        fence: i64,
        events: &[Sequenced],
        opened: &[Event],
        most: usize,
    ) -> Result<Attempt, ApplyError> {
        let mut tx = self.tenants.begin(scope, schema, Access::Write).await.map_err(sqlx::Error::from)?;
        let locked = lock_checkpoint(tx.conn()).await;
        let Checkpoint { point, fence: theirs } = locked.map_err(|error| match error {
            error if is_missing(&error) => error.into(),
            error => if_damaged(error.into(), Position::ZERO),
        })?;
        let checkpoint = point.position;
        if theirs == REPLACED {
            tx.rollback().await?;
            return Ok(Attempt::Replaced);
        }
        if theirs > fence {
            tx.rollback().await?;
            return Err(ApplyError::Fenced { theirs });
        }
        let start = events.partition_point(|one| one.event.position <= checkpoint);
        if is_another_history(point, start, events) {
            tx.rollback().await?;
            return Err(diverged(checkpoint));
        }
        let end = start + run(checkpoint, &events[start..]).min(most).min(opened.len().saturating_sub(start));
        if start == end {
            tx.rollback().await?;
            let gap = events.get(start).is_some_and(|first| first.previous != checkpoint);
            return Ok(if gap { Attempt::Gap(checkpoint) } else { Attempt::Committed { at: checkpoint, next: start } });
        }
        let last = events[end - 1].event.log_point();
        let at = last.position;

        let mut before = P::Before::default();
        for event in &opened[start..end] {
            P::touch(event, &mut before);
        }
        load::<P>(tx.conn(), &mut before).await.map_err(|error| if_damaged(error.into(), at))?;
        let new = events[start..end].iter().zip(&opened[start..end]);
        let difference = match busy(end - start, || fold_batch::<P>(before, new)) {
            Ok(difference) => difference,
            Err((offset, why)) => {
                tx.rollback().await?;
                return Ok(Attempt::Refused { index: start + offset, why: why.0 });
            }
        };
        match write(tx.conn(), difference, last, fence).await {
            Ok(()) => {}
            Err(error) if is_refusal_of_data(&error) => {
                tx.rollback().await?;
                let count = end - start;
                // The message may quote personal data, so only the code goes into the reason.
                let code = error.as_database_error().and_then(|e| e.code().map(std::borrow::Cow::into_owned)).unwrap_or_default();
                let why = format!("PostgreSQL refuses its rows (SQLSTATE {code})");
                return Ok(if count == 1 { Attempt::Refused { index: start, why } } else { Attempt::Halve { count } });
            }
            Err(error) => return Err(if_damaged(error.into(), at)),
        }
        tx.commit().await?;
        metrics::counter!("tenure_projector_events_total").increment((end - start) as u64);
        if schema == live(scope) {
            metrics::counter!("tenure_projector_applied_total").increment((end - start) as u64);
        }
        Ok(Attempt::Committed { at, next: events.partition_point(|one| one.event.position <= at) })
    }
}

/// Events ready to be folded, and why the one after them is not.
#[derive(Default)]
struct Prepared {
    opened: Vec<Event>,
    refusal: Option<ApplyError>,
}

/// Decodes events up to the first that can't be decoded.
fn decode_all(scope: TenantScope, events: &[Sequenced]) -> Prepared {
    let mut prepared = Prepared { opened: Vec::with_capacity(events.len()), refusal: None };
    for one in events {
        match decode(scope, &one.event) {
            Ok(event) => prepared.opened.push(event),
            Err(why) => {
                prepared.refusal = Some(unprojectable(one.event.position, &why.0));
                break;
            }
        }
    }
    prepared
}

/// What one transaction came to.
enum Attempt {
    /// The read model stands at `at`; `next` is the index of the first event that is not in it.
    Committed { at: Position, next: usize },
    /// Nothing was written: the first new event does not follow this checkpoint.
    Gap(Position),
    /// Nothing was written: this event can't be projected.
    Refused { index: usize, why: String },
    /// Nothing was written: PostgreSQL refused the rows of these many events together.
    Halve { count: usize },
    /// Nothing was written: a rebuild cut over meanwhile.
    Replaced,
}

/// Whether the events say that another one stands where the read model was folded up to. `start` of them come before what follows.
fn is_another_history(at: LogPoint, start: usize, events: &[Sequenced]) -> bool {
    let last = start.checked_sub(1).map(|last| events[last].event.log_point());
    let next = events.get(start).map(|first| LogPoint { position: first.previous, mark: first.before });
    let differs = |there: LogPoint| there.position == at.position && there.mark.zip(at.mark).is_some_and(|(theirs, ours)| theirs != ours);
    last.is_some_and(differs) || next.is_some_and(differs)
}

/// How many of the events follow each other without a hole, right after the checkpoint.
fn run(checkpoint: Position, events: &[Sequenced]) -> usize {
    let mut at = checkpoint;
    let follows = |one: &&Sequenced| {
        let follows = one.previous == at;
        at = one.event.position;
        follows
    };
    events.iter().take_while(follows).count()
}

/// Folds events into their keys' rows. What the rows became, or which event can't be folded.
fn fold_batch<'e, P: Projection>(
    mut before: P::Before,
    events: impl Iterator<Item = (&'e Sequenced, &'e Event)>,
) -> Result<Difference<P>, (usize, CannotFold)> {
    let mut model = P::model(&mut before).map_err(|why| (0, why))?;
    for (offset, (one, event)) in events.enumerate() {
        fold::<P>(&mut model, one.event.stream, one.event.version, event, Kinds::All).map_err(|why| (offset, why))?;
    }
    Difference::between(before, &model).map_err(|why| (0, why))
}

/// The schema that is served.
pub(crate) fn live(scope: TenantScope) -> String {
    read_schema(scope.tenant(), READ_MODEL_VERSION)
}

/// Decodes an event after the projector's own look at whose it is, by whatever subject or log it came (I4).
pub(crate) fn decode(scope: TenantScope, event: &RecordedEvent) -> Result<Event, CannotFold> {
    if event.tenant != scope.tenant() || event.stream.tenant() != scope.tenant() {
        return Err(CannotFold("it belongs to another tenant".into()));
    }
    Event::decode(event).map_err(|e| CannotFold(e.to_string()))
}

pub(crate) fn diverged(position: Position) -> ApplyError {
    let reason = "the event store does not hold the event that the read model was folded up to: it was put back, or is another one; \
                  restore the right store, or rebuild everything from this one (tenure restored)";
    ApplyError::Diverged { position, reason: reason.to_owned() }
}

/// Says of what PostgreSQL answered that the read model is damaged, if that is what it means.
fn if_damaged(error: ApplyError, position: Position) -> ApplyError {
    if let ApplyError::Database(answer) = &error
        && is_damage(answer)
    {
        // The message names tables and columns; a row's values stand in its details.
        return ApplyError::Damaged { position, reason: format!("a part of the read model is missing or broken: {answer}") };
    }
    error
}

pub(crate) fn unprojectable(position: Position, reason: &str) -> ApplyError {
    ApplyError::Unprojectable { position, reason: reason.to_owned() }
}

/// Opens the personal fields of events with all their people's keys at once; those of people whose key was destroyed
/// become erased, and those of people whose key is missing do not open. Answers with the index of the first event that does not open, and why.
pub(crate) async fn open<'e>(
    keys: &Keys,
    scope: TenantScope,
    events: impl Iterator<Item = (StreamName, &'e mut Event)>,
) -> Result<Option<(usize, String)>, ApplyError> {
    let sealed: Vec<_> = events.enumerate().filter(|(_, (_, event))| event.has_personal()).collect();
    let Some(first) = sealed.first().map(|(index, _)| *index) else { return Ok(None) };
    let known = match keys.to_open(scope, sealed.iter().map(|(_, (stream, event))| (*stream, &**event))).await {
        Ok(known) => known,
        // Not the wrong master key, which no process starts with: one of these was altered, and stays so.
        Err(error @ KeyError::DoesNotUnwrap) => return Ok(Some((first, error.to_string()))),
        Err(error) => return Err(error.into()),
    };
    let count = sealed.len();
    let open_all = || {
        sealed.into_iter().find_map(|(index, (stream, event))| {
            event.open(stream, |person| known.get(person)).err().map(|error| (index, error.to_string()))
        })
    };
    Ok(busy(count, open_all))
}

/// Gives up after a time. What is given up in the middle of a transaction is undone with its connection.
pub(crate) async fn within<T>(patience: Duration, work: impl Future<Output = Result<T, ApplyError>>) -> Result<T, ApplyError> {
    tokio::time::timeout(patience, work).await.unwrap_or_else(|_| Err(no_answer(patience).into()))
}

pub(crate) fn no_answer(patience: Duration) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {patience:?}")))
}
