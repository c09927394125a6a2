//! The EventStoreDB / KurrentDB engine, through the vendor's client.
//!
//! | of ours | there |
//! |---|---|
//! | stream `{namespace}.{category}-{id}` | a stream of that name; version = revision + 1 |
//! | position | the commit position in `$all`: grows, is not dense |
//! | a tenant's log | `$all`, filtered by the server on the prefix `{namespace}.` |
//! | a claim | the reservation stream `claim.{namespace}.{kind}.{digest}` |
//! | a command's id | the reservation stream `claim.{namespace}.command.{id}` |
//!
//! The server appends to one stream at a time, so claims and events can't share a transaction. The truth about a claim
//! is therefore the *holder's stream*: every append writes its claims into its events' metadata, and who holds what is
//! the fold of that. A reservation stream only says whose stream to ask. See [`EsStore::reserve`]. A command's id is
//! reserved in the same way, because it stands for one command in the whole tenant.
//!
//! A filtered read of `$all` makes the server look at every event from where it starts, of whatever tenant, and it says
//! nothing of those that it passed over. What was looked through once is remembered: see [`Tail`].
//!
//! What the client does not do for us is done here: it answers `ConnectionClosed` for ever after one failed connect
//! (a new client is made), a call on a connection that hangs never ends (each has a limit), a subscription that the server
//! ends spins (the log is read in pages instead), its batch appends carry no effective deadline and end their session on
//! the first refusal (plain appends are used), and it cuts the time of an event to seconds (its own metadata has the rest).

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use events::{
    CommandHash, CommandId, EventId, EventMark, LogPoint, Metadata, Position, RecordedEvent, StreamName, StreamPoint, TenantId,
    TenantScope, Version,
};
use eventstore::{
    AppendToStreamOptions, Client, ClientSettings, Error, EventData, ReadAllOptions, ReadStreamOptions, StreamPosition, StreamState,
    SubscriptionFilter, WriteResult,
};
use futures::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::{
    sync::{Notify, RwLock},
    task::JoinError,
};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::{Append, AppendError, Appended, Claim, ClaimOp, Expected, StoreError, TenantHead, postgres};

/// How long the server may take over one call; it is told, and drops the call when it is over.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long one call may take for us, with the way there and back.
const PATIENCE: Duration = Duration::from_secs(6);
/// How long a caller waits for a search through `$all`, and how long the search may go on without it.
const SEARCH_PATIENCE: Duration = Duration::from_secs(10);
const SEARCH: Duration = Duration::from_mins(2);
/// Events that the server looks at in one go when it filters; of itself it takes 32.
const WINDOW: u32 = 4_096;
/// An append begins no write later than this after its first reservation: [`PATIENCE`] later, its outcome is open no more.
const RESERVED_FOR: Duration = Duration::from_secs(20);
/// A reservation without events is an orphan once it was seen for this long: its append has long given up.
const ORPHAN_AFTER: Duration = Duration::from_secs(30);
/// How often a call is tried: with the pauses between, about two seconds.
const MAX_ATTEMPTS: u32 = 8;
/// Events read by one call when a whole stream is wanted.
const PAGE: usize = 500;
/// How often a write that lost against another of its stream is tried: each loss is another's progress.
const MAX_LOSSES: u32 = 24;
/// Locks that streams share by their hash; see [`EsStore::append`].
const TURNS: u16 = 1_024;
/// Streams whose command index is remembered.
const INDEXED_STREAMS: usize = 10_000;

/// An event store in EventStoreDB or KurrentDB. Cheap to clone.
#[derive(Clone)]
pub struct EsStore(Arc<Inner>);

struct Inner {
    settings: ClientSettings,
    client: RwLock<Client>,
    indexes: Mutex<HashMap<StreamName, Index>>,
    contested: Mutex<HashMap<String, (Uuid, Instant)>>,
    heads: tokio::sync::Mutex<Heads>,
    tails: Mutex<HashMap<TenantId, Tail>>,
    searches: Mutex<HashMap<Search, Found>>,
    appended: Arc<Notify>,
    turns: Vec<tokio::sync::Mutex<()>>,
    hasher: RandomState,
}

/// What the heads of all tenants were when `$all` was last read to its end.
#[derive(Default)]
struct Heads {
    read_to: Position,
    of: BTreeMap<TenantId, LogPoint>,
    /// As [`Tail::end`].
    end: Position,
}

/// What is known of the end of a tenant's log: nothing of it lies between `head` and `quiet_to`. As `$all` only grows, this
/// stays true, until the server is put back: see [`EsStore::forget`].
#[derive(Clone, Copy, Default)]
struct Tail {
    head: Position,
    quiet_to: Position,
    /// Where `$all` ended before the next read: as far as that has looked, if it finds nothing.
    end: Position,
}

/// A search through `$all` for events of one tenant.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Search {
    /// Those after a position, at most so many.
    After(TenantId, Position, usize),
    /// The last one.
    Last(TenantId),
}

/// What a search under way will find, for everybody who waits for it.
type Found = Shared<BoxFuture<'static, Result<Vec<RecordedEvent>, StoreError>>>;

/// Ends a search's entry, however the search ends.
struct Searching(EsStore, Search);

impl Drop for Searching {
    fn drop(&mut self) {
        self.0.searches().remove(&self.1);
    }
}

/// What a stream's events say about commands and claims, up to a version.
#[derive(Debug, Clone, Default)]
struct Index {
    last: StreamPoint,
    commands: HashMap<CommandId, Appended>,
    claims: HashMap<ClaimName, bool>,
}

/// The claim's stream name without the tenant: `{kind}.{digest in hex}`.
type ClaimName = String;

/// What stands in an event's metadata.
#[derive(Debug, Serialize, Deserialize)]
struct Envelope {
    event_id: EventId,
    schema_version: u16,
    #[serde(flatten)]
    metadata: Metadata,
    /// On the first event of a command: its claims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    claims: Vec<StoredClaim>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredClaim {
    name: ClaimName,
    take: bool,
}

/// An event of a reservation stream: who last reached for the claim.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Reservation {
    holder: StreamName,
    command_id: CommandId,
    /// The try of the command; two tries of one command never share a reservation.
    attempt: Uuid,
    /// The append behind it was refused: nothing will come.
    #[serde(default)]
    withdrawn: bool,
}

/// What a reservation that stands means to who comes next.
enum Standing {
    /// The command that comes next has been written, to the reservation's stream.
    Written,
    /// Its stream's events hold the claim.
    Held,
    /// No append is behind it any more, or the claim is the stream's own.
    Free,
    /// Another try of the same command is behind it.
    Shared,
    /// Its append may still be on the way.
    Pending,
}

/// A reservation of ours, and where it stands.
struct Reserved {
    stream: String,
    revision: u64,
    reservation: Reservation,
    /// It stands on that of another try, which may still be on the way: withdrawing it would free the other's.
    shared: bool,
}

/// What came of reserving.
enum Reached<T> {
    Reserved(T),
    /// The command has been written, to this stream.
    Written(StreamName),
}

impl std::fmt::Debug for EsStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EsStore")
    }
}

impl EsStore {
    /// Connects to the server or cluster of a connection string such as `esdb://localhost:2113?tls=false`.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let settings: ClientSettings = url
            .parse()
            .map_err(|_| StoreError::Broken("EVENTSTORE_URL is not a connection string such as esdb://host:2113?tls=false".into()))?;
        let client = Client::new(settings.clone()).map_err(|e| StoreError::Broken(e.to_string()))?;
        let store = Self(Arc::new(Inner {
            settings,
            client: RwLock::new(client),
            indexes: Mutex::default(),
            contested: Mutex::default(),
            heads: tokio::sync::Mutex::default(),
            tails: Mutex::default(),
            searches: Mutex::default(),
            appended: Arc::default(),
            turns: (0..TURNS).map(|_| tokio::sync::Mutex::default()).collect(),
            hasher: RandomState::new(),
        }));
        // The server's verdict now rather than on the first command.
        store.end().await?;
        Ok(store)
    }

    /// Has each append wake the relay, through PostgreSQL.
    pub fn waking(self, database_url: &str) -> Result<Self, StoreError> {
        let pool = postgres::waking_pool(database_url)?;
        tokio::spawn(postgres::wake(pool, Arc::downgrade(&self.0.appended)));
        Ok(self)
    }

    /// A task of its own: a caller that goes away must leave no reservation behind that nothing follows.
    pub(crate) async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        append.validate()?;
        let store = self.clone();
        let appending = async move { store.append_in_turn(&append).await };
        tokio::spawn(appending.in_current_span()).await.unwrap_or_else(|error| Err(broken_off(&error).into()))
    }

    async fn append_in_turn(&self, append: &Append) -> Result<Appended, AppendError> {
        // Appends of this process to one stream take turns: racing each other on the server, all but one would lose.
        let turn = self.0.hasher.hash_one(append.stream) % u64::from(TURNS);
        let _turn = self.0.turns[usize::try_from(turn).unwrap_or_default()].lock().await;
        let mut reserved = Vec::new();
        let result = self.append_reserving(append, &mut reserved).await;
        match result {
            Ok(_) => self.0.appended.notify_one(),
            Err(AppendError::Store(_) | AppendError::Invalid(_)) => {}
            Err(AppendError::WrongVersion { .. } | AppendError::ClaimTaken { .. } | AppendError::CommandReused) => {
                self.withdraw(reserved).await;
            }
        }
        result
    }

    async fn append_reserving(&self, append: &Append, reserved: &mut Vec<Reserved>) -> Result<Appended, AppendError> {
        let stream = append.stream;
        let command = append.metadata.command_id;
        let mut index = self.index(stream, false).await?;
        let (mut losses, mut failures, mut reserved_at) = (0, 0, None);
        while losses < MAX_LOSSES {
            if let Some(first) = index.commands.get(&command) {
                // After a write of unknown outcome it is most likely that write's.
                return replay(first, append.metadata.command_hash).map(|known| Appended { replayed: failures == 0, ..known });
            }
            let expected = match append.expected {
                Expected::Any => index.last.version,
                Expected::NoStream => Version::ZERO,
                Expected::Exact(version) | Expected::At(StreamPoint { version, .. }) => version,
            };
            let seen = if let Expected::At(point) = append.expected { point.mark } else { None };
            let fits = |index: &Index| expected == index.last.version && (seen.is_none() || seen == index.last.mark);
            if !fits(&index) {
                // A remembered index may be behind; only the stream itself can refuse.
                index = self.index(stream, true).await?;
                if index.commands.contains_key(&command) || fits(&index) {
                    continue;
                }
                return Err(AppendError::WrongVersion { actual: index.last.version });
            }
            if reserved.is_empty() {
                reserved_at = Some(Instant::now());
                let reached = self.reserve(append, reserved).await;
                if !matches!(reached, Ok(Reached::Reserved(()))) {
                    self.withdraw(std::mem::take(reserved)).await; // Nothing will be sent.
                }
                if let Reached::Written(to) = reached? {
                    let known = self.index(to, true).await?.commands.get(&command).map(|first| replay(first, append.metadata.command_hash));
                    return known.unwrap_or_else(|| Err(StoreError::Broken(format!("{to} has lost a command")).into()));
                }
            }
            if reserved_at.is_some_and(|at| at.elapsed() > RESERVED_FOR) {
                return Err(StoreError::Unavailable("writing took so long that others may take it for given up".into()).into());
            }
            match self.write(append, index.last.version).await {
                Ok(()) => {
                    index = self.index(stream, true).await?;
                    let appended = index.commands.get(&command).cloned();
                    return appended.ok_or_else(|| StoreError::Broken(format!("{stream} does not hold what it acknowledged")).into());
                }
                Err(Error::WrongExpectedVersion { .. }) => {
                    pause(losses).await;
                    losses += 1;
                    index = self.index(stream, true).await?;
                }
                Err(error) => {
                    // The outcome is open: the stream says whether the events arrived.
                    let failure = self.failed(error).await;
                    failures += 1;
                    if failures == MAX_ATTEMPTS {
                        return Err(failure.into());
                    }
                    pause(failures).await;
                    index = self.index(stream, true).await.map_err(|_| failure)?;
                }
            }
        }
        Err(StoreError::Unavailable(format!("{stream} is written by too many at once")).into())
    }

    pub(crate) async fn read_stream(&self, stream: StreamName, after: Version, limit: usize) -> Result<Vec<RecordedEvent>, StoreError> {
        let raw = self.read_raw(&stream.to_string(), after.0, limit).await?;
        let mut events = Vec::with_capacity(raw.len());
        for event in &raw {
            events.push(self.recorded(stream, event).await?.0);
        }
        Ok(events)
    }

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
                return Ok(Some(self.recorded(own_stream(&raw)?, &raw).await?.0));
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

    pub(crate) async fn find_command(&self, stream: StreamName, command: CommandId) -> Result<Option<Appended>, StoreError> {
        let mut index = self.index(stream, true).await?;
        if !index.commands.contains_key(&command)
            && let Some((_, last)) = self.last_reservation(&reservation_stream(stream.tenant(), &command_name(command))).await?
        {
            index = self.index(last.holder, true).await?;
        }
        Ok(index.commands.get(&command).map(|first| Appended { replayed: true, ..first.clone() }))
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
                if position > before {
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
                    return Err(StoreError::Unavailable("EventStoreDB ends before where it was read to; it is read anew".into()));
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
        let slow = || StoreError::Unavailable("the log is still being searched".into());
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
                    return Err(StoreError::Broken(format!("{} answered the filter of another tenant", raw.stream_id())));
                }
                Ok(if asked_for { Some(self.recorded(stream, raw).await?.0) } else { None })
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
        let backwards = ReadAllOptions::default().position(StreamPosition::End).filter(of_tenant(tenant)).max_count(1);
        let mut events = Vec::new();
        for raw in self.read_all(backwards, SEARCH).await? {
            events.push(self.recorded(own_stream(&raw)?, &raw).await?.0);
        }
        let head = events.last().map_or(Position::ZERO, |event| event.position);
        self.tails().insert(tenant, Tail { head, quiet_to: head.max(end), end });
        Ok(events)
    }

    /// Where `$all` ends.
    async fn end(&self) -> Result<Position, StoreError> {
        let last = ReadAllOptions::default().position(StreamPosition::End).max_count(1);
        Ok(self.read_all(last, PATIENCE).await?.first().map_or(Position::ZERO, |event| Position(event.position.commit)))
    }

    /// Reserves the command's id, and then what the append takes, in the order of the claims' names, so that two appends
    /// can't wait for each other.
    ///
    /// A reservation by another stream stands if that stream's events hold the claim. If they don't, its append is
    /// still on its way, or died, or gave the claim back since: the first is waited for, the second is an orphan that
    /// is taken over once it was seen for [`ORPHAN_AFTER`], the third is free. One by another command of the same stream is
    /// waited for, too: who is refused after that withdraws, and must not free what the other is about to write.
    async fn reserve(&self, append: &Append, reserved: &mut Vec<Reserved>) -> Result<Reached<()>, AppendError> {
        let mut takes: Vec<&Claim> = append.claims.iter().filter(|c| c.op == ClaimOp::Take).collect();
        takes.sort_by_key(|c| (c.kind, c.digest));
        for what in std::iter::once(None).chain(takes.into_iter().map(Some)) {
            match self.reserve_one(append, what).await? {
                Reached::Reserved(one) => reserved.push(one),
                Reached::Written(to) => return Ok(Reached::Written(to)),
            }
        }
        Ok(Reached::Reserved(()))
    }

    /// Reserves one claim, or the command's id.
    async fn reserve_one(&self, append: &Append, claim: Option<&Claim>) -> Result<Reached<Reserved>, AppendError> {
        let command_id = append.metadata.command_id;
        let name = claim.map_or_else(|| command_name(command_id), claim_name);
        let stream = reservation_stream(append.scope.tenant(), &name);
        let reservation = Reservation { holder: append.stream, command_id, attempt: Uuid::now_v7(), withdrawn: false };
        let event = || EventData::json("ClaimReserved", &reservation).map_err(broken);
        let what = claim.map_or("a command id", |claim| claim.kind.0);
        let (mut waits, mut losses, mut failures, mut shared) = (0, 0, 0, false);
        // Nearly every command is new: no need to look, the server will tell.
        let mut last = if claim.is_some() { self.last_reservation(&stream).await? } else { None };
        while losses < MAX_LOSSES && failures < MAX_ATTEMPTS {
            let expected = match &last {
                None => StreamState::NoStream,
                Some((revision, theirs)) if theirs.attempt == reservation.attempt => {
                    return Ok(Reached::Reserved(Reserved { stream, revision: *revision, reservation, shared }));
                }
                Some((revision, theirs)) => {
                    match (self.standing(append, claim.map(|_| &name), &stream, theirs).await?, claim) {
                        (Standing::Written, _) => return Ok(Reached::Written(theirs.holder)),
                        (Standing::Held, Some(claim)) => return Err(AppendError::ClaimTaken { kind: claim.kind }),
                        (Standing::Held, None) | (Standing::Pending, _) if waits < MAX_ATTEMPTS => {
                            pause(waits).await;
                            waits += 1;
                            last = self.last_reservation(&stream).await?;
                            continue;
                        }
                        (Standing::Held, None) | (Standing::Pending, _) => {
                            return Err(StoreError::Unavailable(format!("{what} is about to be taken by another command")).into());
                        }
                        (standing @ (Standing::Free | Standing::Shared), _) => shared = matches!(standing, Standing::Shared),
                    }
                    StreamState::StreamRevision(*revision)
                }
            };
            match self.append_to(stream.clone(), expected, vec![event()?]).await {
                Ok(written) => {
                    return Ok(Reached::Reserved(Reserved { stream, revision: written.next_expected_version, reservation, shared }));
                }
                Err(Error::WrongExpectedVersion { .. }) => {
                    pause(losses).await;
                    losses += 1;
                }
                Err(error) => {
                    self.failed(error).await;
                    pause(failures).await;
                    failures += 1;
                }
            }
            last = self.last_reservation(&stream).await?;
        }
        Err(StoreError::Unavailable(format!("{what} is contested by too many at once")).into())
    }

    /// Takes back reservations whose append was refused, unless somebody reserved on top of them, or they stand on another
    /// try's. If this fails they become orphans, which heal by time.
    async fn withdraw(&self, reserved: Vec<Reserved>) {
        for ours in reserved.into_iter().filter(|ours| !ours.shared) {
            let withdrawn = EventData::json("ClaimReserved", &Reservation { withdrawn: true, ..ours.reservation });
            let Ok(withdrawn) = withdrawn else { continue };
            if let Err(error) = self.append_to(ours.stream, StreamState::StreamRevision(ours.revision), vec![withdrawn]).await {
                tracing::debug!(%error, "a reservation could not be withdrawn");
            }
        }
    }

    async fn last_reservation(&self, stream: &str) -> Result<Option<(u64, Reservation)>, StoreError> {
        let options = ReadStreamOptions::default().position(StreamPosition::End).max_count(1);
        let last = self.read_with(stream, options).await?.pop();
        last.map(|event| Ok((event.revision, event.as_json::<Reservation>().map_err(broken)?))).transpose()
    }

    /// What is behind a reservation of `claim`, or of the command's id.
    async fn standing(
        &self,
        append: &Append,
        claim: Option<&ClaimName>,
        stream: &str,
        theirs: &Reservation,
    ) -> Result<Standing, StoreError> {
        let index = self.index(theirs.holder, true).await?;
        let own = theirs.holder == append.stream;
        if (own || claim.is_none()) && index.commands.contains_key(&append.metadata.command_id) {
            return Ok(Standing::Written);
        }
        if claim.is_some_and(|name| index.claims.get(name).copied().unwrap_or(false)) {
            return Ok(if own { Standing::Free } else { Standing::Held });
        }
        if theirs.withdrawn || index.commands.contains_key(&theirs.command_id) {
            return Ok(Standing::Free); // Refused, or taken and given back since.
        }
        if own && theirs.command_id == append.metadata.command_id {
            return Ok(Standing::Shared);
        }
        // Waiting by our own clock from the first sight on needs no agreement between clocks.
        let mut contested = self.0.contested.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if contested.len() > INDEXED_STREAMS {
            contested.retain(|_, (_, since)| since.elapsed() < ORPHAN_AFTER);
        }
        let seen = contested.entry(stream.to_owned()).or_insert_with(|| (theirs.attempt, Instant::now()));
        if seen.0 != theirs.attempt {
            *seen = (theirs.attempt, Instant::now());
        }
        Ok(if seen.1.elapsed() >= ORPHAN_AFTER { Standing::Free } else { Standing::Pending })
    }

    async fn write(&self, append: &Append, at: Version) -> Result<(), Error> {
        let state = if at == Version::ZERO { StreamState::NoStream } else { StreamState::StreamRevision(at.0 - 1) };
        let claims: Vec<_> = append.claims.iter().map(|c| StoredClaim { name: claim_name(c), take: c.op == ClaimOp::Take }).collect();
        let mut events = Vec::with_capacity(append.events.len());
        for (n, event) in append.events.iter().enumerate() {
            let envelope = Envelope {
                event_id: event.id,
                schema_version: event.schema_version,
                metadata: append.metadata.clone(),
                claims: if n == 0 { claims.clone() } else { Vec::new() },
            };
            // The server takes equal event ids at one place for a retry. Ours are equal for every body of a command,
            // so its own are made from body and id: the same command with another body must not pass as a retry.
            let id = Uuid::new_v5(&append.metadata.command_hash.0, event.id.uuid().as_bytes());
            let data = EventData::json(event.event_type, &event.data).and_then(|data| data.metadata_as_json(&envelope));
            events.push(data.map_err(|e| Error::InternalParsingError(e.to_string()))?.id(id));
        }
        self.append_to(append.stream.to_string(), state, events).await.map(|_| ())
    }

    /// One try. Of itself the client waits for ever where a connection hangs.
    async fn append_to(&self, stream: String, expected: StreamState, events: Vec<EventData>) -> Result<WriteResult, Error> {
        let options = AppendToStreamOptions::default().stream_state(expected).deadline(DEADLINE);
        let client = self.client().await;
        let written = tokio::time::timeout(PATIENCE, client.append_to_stream(stream, &options, events)).await;
        written.unwrap_or(Err(Error::DeadlineExceeded))
    }

    /// The index of a stream, read forward from where it was last read; without `fresh` a remembered one is good enough,
    /// because an append at its version can succeed only if it is the newest.
    async fn index(&self, stream: StreamName, fresh: bool) -> Result<Index, StoreError> {
        let known = self.indexes().get(&stream).cloned();
        let mut index = match known {
            Some(index) if !fresh => return Ok(index),
            known => known.unwrap_or_default(),
        };
        loop {
            // From its last event on, which must be the one that was read before.
            let (from, whole) = (index.last.version.0.saturating_sub(1), index.last == StreamPoint::default());
            let page = self.read_raw(&stream.to_string(), from, PAGE).await?;
            let full = page.len() == PAGE;
            let mut page = page.iter();
            if !whole {
                let first = page.next().filter(|raw| raw.revision == from);
                if first.and_then(mark_of) != index.last.mark {
                    self.indexes().remove(&stream);
                    index = Index::default();
                    continue;
                }
            }
            for raw in page {
                let (event, claims) = self.recorded(stream, raw).await?;
                index.add(&event, &claims);
            }
            if !full {
                break;
            }
        }
        let mut indexes = self.indexes();
        if indexes.len() >= INDEXED_STREAMS && !indexes.contains_key(&stream) {
            indexes.clear(); // Bounded, and rebuilt by reading; recency is not worth a structure here.
        }
        indexes.insert(stream, index.clone());
        Ok(index)
    }

    fn tails(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, Tail>> {
        self.0.tails.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn searches(&self) -> std::sync::MutexGuard<'_, HashMap<Search, Found>> {
        self.0.searches.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn indexes(&self) -> std::sync::MutexGuard<'_, HashMap<StreamName, Index>> {
        self.0.indexes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn read_raw(&self, stream: &str, from_revision: u64, limit: usize) -> Result<Vec<eventstore::RecordedEvent>, StoreError> {
        let options = ReadStreamOptions::default().position(StreamPosition::Position(from_revision)).max_count(limit);
        self.read_with(stream, options).await
    }

    /// From the leader, as all that is read: what another node has not got yet would be taken for not being there.
    async fn read_with(&self, stream: &str, options: ReadStreamOptions) -> Result<Vec<eventstore::RecordedEvent>, StoreError> {
        let options = options.requires_leader(true);
        for attempt in 0..MAX_ATTEMPTS {
            let client = self.client().await;
            let read = tokio::time::timeout(PATIENCE, async { collect(client.read_stream(stream, &options).await?).await }).await;
            match read.unwrap_or(Err(Error::DeadlineExceeded)) {
                Ok(events) => return Ok(events),
                Err(Error::ResourceNotFound) => return Ok(Vec::new()),
                Err(error) => self.failed_or_last(error, attempt).await?,
            }
        }
        Err(StoreError::Unavailable("reading a stream failed repeatedly".into()))
    }

    async fn read_all(&self, options: ReadAllOptions, patience: Duration) -> Result<Vec<eventstore::RecordedEvent>, StoreError> {
        let options = options.requires_leader(true);
        for attempt in 0..MAX_ATTEMPTS {
            let client = self.client().await;
            let read = tokio::time::timeout(patience, async { collect(client.read_all(&options).await?).await }).await;
            match read.unwrap_or(Err(Error::DeadlineExceeded)) {
                Ok(events) => return Ok(events),
                Err(error) => self.failed_or_last(error, attempt).await?,
            }
        }
        Err(StoreError::Unavailable("reading $all failed repeatedly".into()))
    }

    async fn failed_or_last(&self, error: Error, attempt: u32) -> Result<(), StoreError> {
        let failure = self.failed(error).await;
        if matches!(failure, StoreError::Broken(_)) || attempt + 1 == MAX_ATTEMPTS {
            return Err(failure);
        }
        pause(attempt).await;
        Ok(())
    }

    async fn client(&self) -> Client {
        self.0.client.read().await.clone()
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is foreign and may grow; what is not listed may pass")]
    /// Says what an error of the client is to us, and replaces a client whose connection is gone for good.
    async fn failed(&self, error: Error) -> StoreError {
        if matches!(error, Error::ConnectionClosed | Error::GrpcConnectionError(_) | Error::InitializationError(_))
            && let Ok(fresh) = Client::new(self.0.settings.clone())
        {
            *self.0.client.write().await = fresh;
            // A server that was away may have been put back: what decides without a read is not believed.
            self.indexes().clear();
        }
        match error {
            Error::AccessDenied | Error::UnsupportedFeature | Error::InternalParsingError(_) | Error::ResourceDeleted => {
                StoreError::Broken(error.to_string())
            }
            other => StoreError::Unavailable(other.to_string()),
        }
    }

    /// Our event from the server's, with the claims it carries.
    async fn recorded(&self, stream: StreamName, raw: &eventstore::RecordedEvent) -> Result<(RecordedEvent, Vec<StoredClaim>), StoreError> {
        let place = || format!("{stream} revision {}", raw.revision);
        let envelope: Envelope = serde_json::from_slice(&raw.custom_metadata).map_err(|e| unreadable(raw, format!("{}: {e}", place())))?;
        let data: Box<RawValue> =
            serde_json::from_slice(&raw.data).map_err(|_| unreadable(raw, format!("{}: its data is not JSON", place())))?;
        let recorded_at = created(raw).ok_or_else(|| unreadable(raw, format!("{}: no time", place())))?;
        Ok((
            RecordedEvent {
                id: envelope.event_id,
                tenant: stream.tenant(),
                stream,
                version: Version(raw.revision + 1),
                position: self.position(stream, raw).await?,
                event_type: raw.event_type.clone(),
                schema_version: envelope.schema_version,
                recorded_at,
                metadata: envelope.metadata,
                data,
            },
            envelope.claims,
        ))
    }

    /// An event's position. Servers that leave it out of stream reads have it in `$all`.
    async fn position(&self, stream: StreamName, raw: &eventstore::RecordedEvent) -> Result<Position, StoreError> {
        if raw.position.commit != u64::MAX && raw.position.commit != 0 {
            return Ok(Position(raw.position.commit));
        }
        let filter = SubscriptionFilter::on_stream_name().add_prefix(stream.to_string()).max(WINDOW);
        let all = self.read_all(ReadAllOptions::default().position(StreamPosition::Start).filter(filter), SEARCH).await?;
        let found = all.iter().find(|e| e.revision == raw.revision && e.stream_id() == raw.stream_id());
        found
            .map(|e| Position(e.position.commit))
            .ok_or_else(|| StoreError::Broken(format!("{stream} revision {} has no position", raw.revision)))
    }
}

impl Index {
    fn add(&mut self, event: &RecordedEvent, claims: &[StoredClaim]) {
        self.last = StreamPoint { version: event.version, mark: Some(event.mark()) };
        for claim in claims {
            self.claims.insert(claim.name.clone(), claim.take);
        }
        let command = self.commands.entry(event.metadata.command_id).or_insert_with(|| Appended {
            version: event.version,
            position: event.position,
            event_ids: Vec::new(),
            recorded_at: event.recorded_at,
            command_hash: event.metadata.command_hash,
            replayed: false,
        });
        command.version = event.version;
        command.position = event.position;
        command.recorded_at = event.recorded_at;
        command.event_ids.push(event.id);
    }
}

fn replay(first: &Appended, hash: CommandHash) -> Result<Appended, AppendError> {
    if first.command_hash == hash { Ok(Appended { replayed: true, ..first.clone() }) } else { Err(AppendError::CommandReused) }
}

fn claim_name(claim: &Claim) -> ClaimName {
    use std::fmt::Write as _;
    let mut name = format!("{}.", claim.kind.0);
    for byte in claim.digest.0 {
        let _ = write!(name, "{byte:02x}"); // Writing to a String can't fail.
    }
    name
}

fn command_name(command: CommandId) -> ClaimName {
    format!("command.{command}")
}

fn reservation_stream(tenant: TenantId, name: &ClaimName) -> String {
    format!("claim.{tenant}.{name}")
}

fn of_tenant(tenant: TenantId) -> SubscriptionFilter {
    SubscriptionFilter::on_stream_name().add_prefix(format!("{tenant}.")).max(WINDOW)
}

/// When the server took an event, which it says in ticks of 100 ns since 1970.
fn created(raw: &eventstore::RecordedEvent) -> Option<Timestamp> {
    let ticks: i64 = raw.metadata.get("created")?.parse().ok()?;
    Timestamp::from_microsecond(ticks / 10).ok()
}

/// Names the record; none where it can't be read.
fn mark_of(raw: &eventstore::RecordedEvent) -> Option<EventMark> {
    let envelope: Envelope = serde_json::from_slice(&raw.custom_metadata).ok()?;
    Some(EventMark { id: envelope.event_id, recorded_at: created(raw)? })
}

fn unreadable(raw: &eventstore::RecordedEvent, reason: String) -> StoreError {
    StoreError::Unreadable { position: Position(raw.position.commit), reason }
}

fn own_stream(raw: &eventstore::RecordedEvent) -> Result<StreamName, StoreError> {
    StreamName::from_written(raw.stream_id()).map_err(|_| unreadable(raw, format!("{} is no stream of ours", raw.stream_id())))
}

fn forwards(from: Position) -> ReadAllOptions {
    let options = ReadAllOptions::default().forwards();
    if from == Position::ZERO {
        return options.position(StreamPosition::Start);
    }
    options.position(StreamPosition::Position(eventstore::Position { commit: from.0, prepare: from.0 }))
}

async fn collect(mut stream: eventstore::ReadStream) -> Result<Vec<eventstore::RecordedEvent>, Error> {
    let mut events = Vec::new();
    while let Some(mut resolved) = stream.next().await? {
        if let Some(event) = resolved.event.take() {
            events.push(event);
        }
    }
    Ok(events)
}

/// Exponential with full jitter: 10, 20, 40, … ms.
async fn pause(attempt: u32) {
    let ceiling = 10_u64 << attempt.min(6);
    tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=ceiling))).await;
}

fn broken_off(error: &JoinError) -> StoreError {
    let what = format!("a call was broken off: {error}");
    if error.is_panic() { StoreError::Broken(what) } else { StoreError::Unavailable(what) }
}

fn broken(error: impl std::fmt::Display) -> StoreError {
    StoreError::Broken(error.to_string())
}
