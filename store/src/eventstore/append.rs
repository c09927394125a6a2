//! Appends: the version that is expected, the command's first answer, and the write.

use std::{
    collections::HashMap,
    hash::BuildHasher as _,
    sync::{Arc, atomic::Ordering},
};

use events::{CommandHash, CommandId, Position, RecordedEvent, StreamName, StreamPoint, Version};
use eventstore::{Error, EventData, StreamState, WriteResult};
use jiff::Timestamp;
use tokio::sync::Mutex;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    EsStore, TURNS,
    client::{MAX_ATTEMPTS, broken, broken_off, pause, unavailable},
    reserve::{Reached, Reservations},
    wire::{ClaimName, Envelope, StoredClaim, claim_name, is_fence, is_position},
};
use crate::{Append, AppendError, Appended, ClaimOp, Expected, StoreError};

/// Records read by one call when a whole stream is wanted.
const PAGE: usize = 500;
/// How often a write that lost against another of its stream is tried: each loss is another's progress.
pub(super) const MAX_LOSSES: u32 = 24;
/// Streams whose index is remembered at most, and commands in all of them together, of about 150 bytes each.
pub(super) const INDEXED_STREAMS: usize = 10_000;
const INDEXED_COMMANDS: usize = 500_000;

/// What a stream's records say about commands and claims, up to where it was read.
#[derive(Debug, Default)]
pub(super) struct Index {
    end: End,
    /// The server's id of the last record. Another one there is another history.
    last_id: Uuid,
    /// Whether the stream was looked at. An index that was not is empty.
    read: bool,
    pub(super) commands: HashMap<CommandId, Appended>,
    pub(super) claims: HashMap<ClaimName, bool>,
}

/// Where a stream ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct End {
    /// Its records: events and fences.
    records: u64,
    /// Its last event.
    last: StreamPoint,
}

/// One index, for all who need it.
pub(super) type SharedIndex = Arc<Mutex<Index>>;

/// What a stream says to an append.
enum Look {
    /// The command is there already.
    Known(Appended),
    /// It may be written at this end.
    At(End),
}

/// One call of [`EsStore::append`]. However often it writes, the server knows its records by the same ids.
struct Attempt {
    id: Uuid,
    begun: Timestamp,
}

impl EsStore {
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
        let (mut reserved, mut in_doubt) = (Reservations::of(append), false);
        let result = self.append_reserving(append, &mut reserved, &mut in_doubt).await;
        match result {
            Ok(_) => self.0.appended.notify_one(),
            // A write that may still arrive keeps its reservations: whoever wants them fences it off.
            Err(_) if in_doubt => {}
            Err(_) => self.withdraw(&mut reserved, 0).await,
        }
        result
    }

    /// A reservation protects a write at the end that was seen before the reservation was made (see [`super::reserve`]), so a
    /// write that lost its race reserves anew. `in_doubt` says whether a write may still arrive.
    async fn append_reserving(&self, append: &Append, reserved: &mut Reservations, in_doubt: &mut bool) -> Result<Appended, AppendError> {
        let attempt = Attempt { id: Uuid::now_v7(), begun: Timestamp::now() };
        let (mut losses, mut failures, mut fresh, mut protected, mut open) = (0, 0, false, None, None);
        while losses < MAX_LOSSES {
            let end = match self.look(append, fresh).await {
                // After a write of unknown outcome it is most likely that write's.
                Ok(Look::Known(first)) => {
                    return replay(&first, append.metadata.command_hash).map(|known| Appended { replayed: failures == 0, ..known });
                }
                Ok(Look::At(end)) => end,
                Err(AppendError::Store(error)) => return Err(open.unwrap_or(error).into()),
                Err(refused) => return Err(refused),
            };
            if protected != Some(end) {
                *in_doubt = false; // What was written at another end is refused by now.
                if let Reached::Written(to) = self.reserve(append, reserved).await? {
                    let known = self.command_in(to, append.metadata.command_id).await?;
                    let lost = || broken(format!("{to} has lost a command"));
                    return replay(&known.ok_or_else(lost)?, append.metadata.command_hash);
                }
                protected = Some(end);
            }
            match self.write(append, end, &attempt).await {
                // After a failure, an earlier write may have done it: then the stream is read, below.
                Ok(written) if failures == 0 && is_position(written.position.commit) => {
                    return Ok(self.learn_written(append, end, &attempt, &written).await);
                }
                Ok(_) => {
                    let known = self.command_in(append.stream, append.metadata.command_id).await?;
                    let lost = || broken(format!("{} does not hold what it acknowledged", append.stream));
                    return Ok(Appended { replayed: false, ..known.ok_or_else(lost)? });
                }
                Err(Error::WrongExpectedVersion { .. }) => {
                    pause(losses).await;
                    losses += 1;
                }
                Err(error) => {
                    // The outcome is open: the stream says whether the events arrived.
                    let failure = self.failed(error).await;
                    *in_doubt = true;
                    failures += 1;
                    if failures == MAX_ATTEMPTS || matches!(failure, StoreError::Broken(_)) {
                        return Err(failure.into());
                    }
                    open = Some(failure);
                    pause(failures).await;
                }
            }
            fresh = true;
        }
        Err(unavailable(format!("{} is written by too many at once", append.stream)).into())
    }

    /// What the append's stream says to it. Without `fresh` what is remembered is good enough, because a write at its end
    /// succeeds only if it is the newest; and a stream that must be empty is taken to be so, because the server will tell.
    async fn look(&self, append: &Append, fresh: bool) -> Result<Look, AppendError> {
        let index = self.index_of(append.stream);
        let mut index = index.lock().await;
        let empty = matches!(append.expected, Expected::NoStream | Expected::Exact(Version::ZERO));
        let mut fresh = fresh || !index.read && !empty;
        if fresh {
            self.refresh(append.stream, &mut index).await?;
        }
        loop {
            if let Some(first) = index.commands.get(&append.metadata.command_id) {
                return Ok(Look::Known(first.clone()));
            }
            if index.end.fits(append.expected) {
                return Ok(Look::At(index.end));
            }
            if fresh {
                return Err(AppendError::WrongVersion { actual: index.end.last.version });
            }
            // What is remembered may be behind; only the stream itself can refuse.
            self.refresh(append.stream, &mut index).await?;
            fresh = true;
        }
    }

    async fn write(&self, append: &Append, end: End, attempt: &Attempt) -> Result<WriteResult, Error> {
        let claims: Vec<_> = append.claims.iter().map(|c| StoredClaim { name: claim_name(c), take: c.op == ClaimOp::Take }).collect();
        let mut events = Vec::with_capacity(append.events.len());
        for (n, (event, nth)) in append.events.iter().zip(1_u64..).enumerate() {
            let version = end.last.version.0 + nth;
            let envelope = Envelope {
                event_id: event.id,
                schema_version: event.schema_version,
                version: (version != end.records + nth).then_some(version),
                recorded_at: Some(end.recorded_at(attempt).as_microsecond()),
                metadata: append.metadata.clone(),
                claims: if n == 0 { claims.clone() } else { Vec::new() },
            };
            let data = EventData::json(event.event_type, &event.data).and_then(|data| data.metadata_as_json(&envelope));
            events.push(data.map_err(|e| Error::InternalParsingError(e.to_string()))?.id(attempt.record_id(nth)));
        }
        self.append_to(append.stream.to_string(), end.state(), events).await
    }

    /// Takes note of a write, for the next one to this stream, and says what it did.
    async fn learn_written(&self, append: &Append, end: End, attempt: &Attempt, written: &WriteResult) -> Appended {
        let count = append.events.len() as u64;
        let appended = Appended {
            version: Version(end.last.version.0 + count),
            position: Position(written.position.commit),
            event_ids: append.events.iter().map(|event| event.id).collect(),
            recorded_at: end.recorded_at(attempt),
            command_hash: append.metadata.command_hash,
            replayed: false,
        };
        let index = self.index_of(append.stream);
        let mut index = index.lock().await;
        // Another reader may have been here before.
        if index.end == end {
            index.end = End { records: end.records + count, last: StreamPoint { version: appended.version, mark: appended.mark() } };
            index.last_id = attempt.record_id(count);
            index.read = true;
            let claims = append.claims.iter().map(|claim| (claim_name(claim), claim.op == ClaimOp::Take));
            index.claims.extend(claims);
            index.commands.insert(append.metadata.command_id, appended.clone());
            self.0.indexed_commands.fetch_add(1, Ordering::Relaxed);
        }
        appended
    }

    /// What a command has done in a stream, by the stream as it is now.
    pub(super) async fn command_in(&self, stream: StreamName, command: CommandId) -> Result<Option<Appended>, StoreError> {
        let index = self.index_of(stream);
        let mut index = index.lock().await;
        self.refresh(stream, &mut index).await?;
        Ok(index.commands.get(&command).cloned())
    }

    /// The index of a stream, as far as it was read. It is locked for no longer than one look at its own stream takes.
    pub(super) fn index_of(&self, stream: StreamName) -> SharedIndex {
        let mut indexes = self.indexes();
        let full = indexes.len() >= INDEXED_STREAMS && !indexes.contains_key(&stream);
        if full || self.0.indexed_commands.load(Ordering::Relaxed) > INDEXED_COMMANDS {
            indexes.clear(); // Bounded, and rebuilt by reading; recency is not worth a structure here.
            self.0.indexed_commands.store(0, Ordering::Relaxed);
        }
        indexes.entry(stream).or_default().clone()
    }

    /// Reads a stream on from its last known record, which must still be there.
    pub(super) async fn refresh(&self, stream: StreamName, index: &mut Index) -> Result<(), StoreError> {
        let name = stream.to_string();
        loop {
            let page = self.read_raw(&name, index.end.records.saturating_sub(1), PAGE).await?;
            let full = page.len() == PAGE;
            let mut page = page.iter();
            if index.end.records > 0 && page.next().is_none_or(|raw| raw.id != index.last_id) {
                *index = Index::default();
                continue;
            }
            for raw in page {
                if !is_fence(raw)
                    && let Some((event, claims)) = self.recorded(stream, raw).await?
                {
                    self.0.indexed_commands.fetch_add(usize::from(index.add(&event, &claims)), Ordering::Relaxed);
                }
                index.end.records = raw.revision + 1;
                index.last_id = raw.id;
            }
            if !full {
                index.read = true;
                return Ok(());
            }
        }
    }
}

impl End {
    fn fits(&self, expected: Expected) -> bool {
        match expected {
            Expected::Any => true,
            Expected::NoStream => self.last.version == Version::ZERO,
            Expected::Exact(version) => self.last.version == version,
            Expected::At(seen) => self.last.version == seen.version && (seen.mark.is_none() || seen.mark == self.last.mark),
        }
    }

    /// As the server is told what the stream must be.
    pub(super) fn state(&self) -> StreamState {
        self.records.checked_sub(1).map_or(StreamState::NoStream, StreamState::StreamRevision)
    }

    /// When a write at this end is recorded: not before the event that it follows, whatever the clocks of their writers say.
    fn recorded_at(&self, attempt: &Attempt) -> Timestamp {
        let now = Timestamp::from_microsecond(attempt.begun.as_microsecond()).unwrap_or(attempt.begun);
        self.last.mark.map_or(now, |mark| now.max(mark.recorded_at))
    }
}

impl Attempt {
    /// The server takes equal ids at one place for a retry. Another attempt must not pass for this one, even of the same
    /// command: it has recorded another time, and would answer with what is not stored.
    fn record_id(&self, nth: u64) -> Uuid {
        Uuid::new_v5(&self.id, &nth.to_be_bytes())
    }
}

impl Index {
    pub(super) const fn end(&self) -> End {
        self.end
    }

    /// Adds an event; true if it is the first of its command.
    fn add(&mut self, event: &RecordedEvent, claims: &[StoredClaim]) -> bool {
        self.end.last = StreamPoint { version: event.version, mark: Some(event.mark()) };
        for claim in claims {
            self.claims.insert(claim.name.clone(), claim.take);
        }
        let before = self.commands.len();
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
        self.commands.len() > before
    }
}

fn replay(first: &Appended, hash: CommandHash) -> Result<Appended, AppendError> {
    if first.command_hash == hash { Ok(Appended { replayed: true, ..first.clone() }) } else { Err(AppendError::CommandReused) }
}
