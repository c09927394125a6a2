//! The EventStoreDB / KurrentDB engine, through the vendor's client.
//!
//! | of ours | there |
//! |---|---|
//! | stream `{namespace}.{category}-{id}` | a stream of that name; version = revision + 1 |
//! | position | the commit position in `$all`: grows, is not dense |
//! | a tenant's log | `$all`, filtered by the server on the prefix `{namespace}.` |
//! | a claim | the reservation stream `claim.{namespace}.{kind}.{digest}` |
//!
//! The server appends to one stream at a time, so claims and events can't share a transaction. The truth about a claim
//! is therefore the *holder's stream*: every append writes its claims into its events' metadata, and who holds what is
//! the fold of that. A reservation stream only says whose stream to ask. See [`EsStore::reserve`].
//!
//! What the client does not do for us is done here: it answers `ConnectionClosed` for ever after one failed connect
//! (a new client is made), a subscription that the server ends spins (the log is read in pages instead), and its batch
//! appends carry no effective deadline and end their session on the first refusal (plain appends are used).

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use events::{CommandHash, CommandId, EventId, Metadata, Position, RecordedEvent, StreamName, TenantId, TenantScope, Version};
use eventstore::{
    AppendToStreamOptions, Client, ClientSettings, Error, EventData, ReadAllOptions, ReadStreamOptions, StreamPosition, StreamState,
    SubscriptionFilter,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::RwLock;
use uuid::Uuid;

use crate::{Append, AppendError, Appended, Claim, ClaimOp, Expected, StoreError, TenantHead};

/// How long the server may take over one call; it is told, and drops the call when it is over.
const DEADLINE: Duration = Duration::from_secs(5);
/// A reservation without events is an orphan once it was seen for this long: far beyond any append's [`DEADLINE`].
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
    turns: Vec<tokio::sync::Mutex<()>>,
    hasher: RandomState,
}

/// What the heads of all tenants were when `$all` was last read to its end.
#[derive(Default)]
struct Heads {
    read_to: Position,
    of: BTreeMap<TenantId, Position>,
}

/// What a stream's events say about commands and claims, up to a version.
#[derive(Debug, Clone, Default)]
struct Index {
    version: Version,
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

/// What a reservation by another stream means.
enum Standing {
    /// Its stream's events hold the claim.
    Held,
    /// No append is behind it any more.
    Free,
    /// Its append may still be on the way.
    Pending,
}

/// A reservation of ours, and where it stands.
struct Reserved {
    stream: String,
    revision: u64,
    reservation: Reservation,
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
            turns: (0..TURNS).map(|_| tokio::sync::Mutex::default()).collect(),
            hasher: RandomState::new(),
        }));
        // The server's verdict now rather than on the first command.
        store.read_all(ReadAllOptions::default().position(StreamPosition::End).max_count(1)).await?;
        Ok(store)
    }

    pub(crate) async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        append.validate()?;
        // Appends of this process to one stream take turns: racing each other on the server, all but one would lose.
        let turn = self.0.hasher.hash_one(append.stream) % u64::from(TURNS);
        let _turn = self.0.turns[usize::try_from(turn).unwrap_or_default()].lock().await;
        let mut reserved = Vec::new();
        let result = self.append_reserving(&append, &mut reserved).await;
        match result {
            Ok(_) | Err(AppendError::Store(_) | AppendError::Invalid(_)) => {}
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
        let (mut losses, mut failures) = (0, 0);
        while losses < MAX_LOSSES {
            if let Some(first) = index.commands.get(&command) {
                // After a write of unknown outcome it is most likely that write's.
                return replay(first, append.metadata.command_hash).map(|known| Appended { replayed: failures == 0, ..known });
            }
            let expected = match append.expected {
                Expected::Any => index.version,
                Expected::NoStream => Version::ZERO,
                Expected::Exact(version) => version,
            };
            if expected != index.version {
                // A remembered index may be behind; only the stream itself can refuse.
                index = self.index(stream, true).await?;
                if index.commands.contains_key(&command) || expected == index.version {
                    continue;
                }
                return Err(AppendError::WrongVersion { actual: index.version });
            }
            if reserved.is_empty() && !self.reserve(append, reserved).await? {
                index = self.index(stream, true).await?;
                continue;
            }
            match self.write(append, index.version).await {
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
        let filter = SubscriptionFilter::on_stream_name().add_prefix(format!("{}.", scope.tenant()));
        let mut events = Vec::with_capacity(limit.min(PAGE));
        // Reading starts *at* a position, so the one before is asked for again and skipped.
        for raw in self.read_all(forwards(after).filter(filter).max_count(limit.saturating_add(1))).await? {
            let stream = own_stream(&raw)?;
            if stream.tenant() != scope.tenant() {
                return Err(StoreError::Broken(format!("{} answered the filter of another tenant", raw.stream_id())));
            }
            if raw.position.commit > after.0 && events.len() < limit {
                events.push(self.recorded(stream, &raw).await?.0);
            }
        }
        Ok(events)
    }

    pub(crate) async fn find_command(&self, stream: StreamName, command: CommandId) -> Result<Option<Appended>, StoreError> {
        let index = self.index(stream, true).await?;
        Ok(index.commands.get(&command).map(|first| Appended { replayed: true, ..first.clone() }))
    }

    pub(crate) async fn head(&self, scope: TenantScope) -> Result<Position, StoreError> {
        let filter = SubscriptionFilter::on_stream_name().add_prefix(format!("{}.", scope.tenant()));
        let options = ReadAllOptions::default().position(StreamPosition::End).filter(filter).max_count(1);
        Ok(self.read_all(options).await?.first().map_or(Position::ZERO, |e| Position(e.position.commit)))
    }

    /// Reads `$all` from where it was last read to; the first call of a process reads all of it.
    pub(crate) async fn heads(&self) -> Result<Vec<TenantHead>, StoreError> {
        let mut heads = self.0.heads.lock().await;
        loop {
            let filter = SubscriptionFilter::on_stream_name().regex(r"^[a-z2-7]{26}\.");
            let page = self.read_all(forwards(heads.read_to).filter(filter).max_count(PAGE)).await?;
            let before = heads.read_to;
            for raw in &page {
                let position = Position(raw.position.commit);
                heads.of.insert(own_stream(raw)?.tenant(), position);
                heads.read_to = heads.read_to.max(position);
            }
            if page.len() < PAGE || heads.read_to == before {
                return Ok(heads.of.iter().map(|(tenant, position)| TenantHead { tenant: *tenant, position: *position }).collect());
            }
        }
    }

    /// Reserves what the append takes, in the order of the claims' names, so that two appends can't wait for each other.
    ///
    /// A reservation by another stream stands if that stream's events hold the claim. If they don't, its append is
    /// still on its way, or died, or gave the claim back since: the first is waited for, the second is an orphan that
    /// is taken over once it was seen for [`ORPHAN_AFTER`], the third is free.
    ///
    /// False if meanwhile another try of the same command has written its events.
    async fn reserve(&self, append: &Append, reserved: &mut Vec<Reserved>) -> Result<bool, AppendError> {
        let mut takes: Vec<&Claim> = append.claims.iter().filter(|c| c.op == ClaimOp::Take).collect();
        takes.sort_by_key(|c| (c.kind, c.digest));
        for claim in takes {
            let Some(one) = self.reserve_one(append, claim).await? else { return Ok(false) };
            reserved.push(one);
        }
        Ok(true)
    }

    async fn reserve_one(&self, append: &Append, claim: &Claim) -> Result<Option<Reserved>, AppendError> {
        let name = claim_name(claim);
        let stream = format!("claim.{}.{name}", append.scope.tenant());
        let reservation =
            Reservation { holder: append.stream, command_id: append.metadata.command_id, attempt: Uuid::now_v7(), withdrawn: false };
        let (mut waits, mut losses, mut failures) = (0, 0, 0);
        while losses < MAX_LOSSES && failures < MAX_ATTEMPTS {
            let expected = match self.last_reservation(&stream).await? {
                None => StreamState::NoStream,
                Some((revision, theirs)) if theirs.holder == append.stream => StreamState::StreamRevision(revision),
                Some((revision, theirs)) => match self.standing(&stream, &name, &theirs).await? {
                    Standing::Free => StreamState::StreamRevision(revision),
                    Standing::Held => return Err(AppendError::ClaimTaken { kind: claim.kind }),
                    Standing::Pending if waits + 1 == MAX_ATTEMPTS => return Err(AppendError::ClaimTaken { kind: claim.kind }),
                    Standing::Pending => {
                        pause(waits).await;
                        waits += 1;
                        continue;
                    }
                },
            };
            match self.write_reservation(&stream, expected, &reservation).await {
                Ok(revision) => return Ok(Some(Reserved { stream, revision, reservation })),
                Err(Error::WrongExpectedVersion { .. }) => {
                    pause(losses).await;
                    losses += 1;
                    if self.index(append.stream, true).await?.commands.contains_key(&append.metadata.command_id) {
                        return Ok(None);
                    }
                }
                Err(error) => {
                    self.failed(error).await;
                    pause(failures).await;
                    failures += 1;
                }
            }
        }
        Err(StoreError::Unavailable(format!("a claim on {} is contested by too many at once", claim.kind.0)).into())
    }

    async fn write_reservation(&self, stream: &str, expected: StreamState, reservation: &Reservation) -> Result<u64, Error> {
        let event = EventData::json("ClaimReserved", reservation).map_err(|e| Error::InternalParsingError(e.to_string()))?;
        let options = AppendToStreamOptions::default().stream_state(expected).deadline(DEADLINE);
        Ok(self.client().await.append_to_stream(stream.to_owned(), &options, event).await?.next_expected_version)
    }

    /// Takes back reservations whose append was refused, unless somebody reserved on top of them. If this fails they
    /// become orphans, which heal by time.
    async fn withdraw(&self, reserved: Vec<Reserved>) {
        for ours in reserved {
            let withdrawn = Reservation { withdrawn: true, ..ours.reservation };
            if let Err(error) = self.write_reservation(&ours.stream, StreamState::StreamRevision(ours.revision), &withdrawn).await {
                tracing::debug!(%error, "a reservation could not be withdrawn");
            }
        }
    }

    async fn last_reservation(&self, stream: &str) -> Result<Option<(u64, Reservation)>, StoreError> {
        let options = ReadStreamOptions::default().position(StreamPosition::End).max_count(1);
        let last = self.read_with(stream, &options).await?.pop();
        last.map(|event| Ok((event.revision, event.as_json::<Reservation>().map_err(broken)?))).transpose()
    }

    /// What is behind another stream's reservation.
    async fn standing(&self, stream: &str, name: &ClaimName, theirs: &Reservation) -> Result<Standing, StoreError> {
        let index = self.index(theirs.holder, true).await?;
        if index.claims.get(name).copied().unwrap_or(false) {
            return Ok(Standing::Held);
        }
        if theirs.withdrawn || index.commands.contains_key(&theirs.command_id) {
            return Ok(Standing::Free); // Refused, or taken and given back since.
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
        let options = AppendToStreamOptions::default().stream_state(state).deadline(DEADLINE);
        self.client().await.append_to_stream(append.stream.to_string(), &options, events).await.map(|_| ())
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
            let page = self.read_raw(&stream.to_string(), index.version.0, PAGE).await?;
            let full = page.len() == PAGE;
            for raw in page {
                let (event, claims) = self.recorded(stream, &raw).await?;
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

    fn indexes(&self) -> std::sync::MutexGuard<'_, HashMap<StreamName, Index>> {
        self.0.indexes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn read_raw(&self, stream: &str, from_revision: u64, limit: usize) -> Result<Vec<eventstore::RecordedEvent>, StoreError> {
        let options = ReadStreamOptions::default().position(StreamPosition::Position(from_revision)).max_count(limit);
        self.read_with(stream, &options).await
    }

    async fn read_with(&self, stream: &str, options: &ReadStreamOptions) -> Result<Vec<eventstore::RecordedEvent>, StoreError> {
        for attempt in 0..MAX_ATTEMPTS {
            let client = self.client().await;
            let read = tokio::time::timeout(DEADLINE, async { collect(client.read_stream(stream, options).await?).await }).await;
            match read.unwrap_or(Err(Error::DeadlineExceeded)) {
                Ok(events) => return Ok(events),
                Err(Error::ResourceNotFound) => return Ok(Vec::new()),
                Err(error) => self.failed_or_last(error, attempt).await?,
            }
        }
        Err(StoreError::Unavailable("reading a stream failed repeatedly".into()))
    }

    async fn read_all(&self, options: ReadAllOptions) -> Result<Vec<eventstore::RecordedEvent>, StoreError> {
        for attempt in 0..MAX_ATTEMPTS {
            let client = self.client().await;
            let read = tokio::time::timeout(2 * DEADLINE, async { collect(client.read_all(&options).await?).await }).await;
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
        let envelope: Envelope =
            serde_json::from_slice(&raw.custom_metadata).map_err(|e| StoreError::Broken(format!("{}: {e}", place())))?;
        let data: Box<RawValue> = serde_json::from_slice(&raw.data).map_err(|e| StoreError::Broken(format!("{}: {e}", place())))?;
        let created = raw.created.timestamp_micros();
        Ok((
            RecordedEvent {
                id: envelope.event_id,
                tenant: stream.tenant(),
                stream,
                version: Version(raw.revision + 1),
                position: self.position(stream, raw).await?,
                event_type: raw.event_type.clone(),
                schema_version: envelope.schema_version,
                recorded_at: Timestamp::from_microsecond(created).map_err(broken)?,
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
        let filter = SubscriptionFilter::on_stream_name().add_prefix(stream.to_string());
        let all = self.read_all(ReadAllOptions::default().position(StreamPosition::Start).filter(filter)).await?;
        let found = all.iter().find(|e| e.revision == raw.revision && e.stream_id() == raw.stream_id());
        found
            .map(|e| Position(e.position.commit))
            .ok_or_else(|| StoreError::Broken(format!("{stream} revision {} has no position", raw.revision)))
    }
}

impl Index {
    fn add(&mut self, event: &RecordedEvent, claims: &[StoredClaim]) {
        self.version = event.version;
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

fn own_stream(raw: &eventstore::RecordedEvent) -> Result<StreamName, StoreError> {
    StreamName::from_written(raw.stream_id()).map_err(|_| StoreError::Broken(format!("{} is no stream of ours", raw.stream_id())))
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

fn broken(error: impl std::fmt::Display) -> StoreError {
    StoreError::Broken(error.to_string())
}
