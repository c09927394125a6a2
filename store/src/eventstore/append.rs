//! Appends: the version that is expected, the command's first answer, and the write.

use std::{
    collections::HashMap,
    hash::BuildHasher as _,
    time::{Duration, Instant},
};

use events::{CommandHash, CommandId, RecordedEvent, StreamName, StreamPoint, Version};
use eventstore::{Error, EventData, StreamState};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    EsStore, TURNS,
    client::{MAX_ATTEMPTS, broken_off, pause},
    reserve::{Reached, Reserved},
    wire::{ClaimName, Envelope, StoredClaim, claim_name, mark_of},
};
use crate::{Append, AppendError, Appended, ClaimOp, Expected, StoreError};

/// An append begins no write later than this after its first reservation: [`PATIENCE`] later, its outcome is open no more.
const RESERVED_FOR: Duration = Duration::from_secs(20);
/// Events read by one call when a whole stream is wanted.
const PAGE: usize = 500;
/// How often a write that lost against another of its stream is tried: each loss is another's progress.
pub(super) const MAX_LOSSES: u32 = 24;
/// Streams whose command index is remembered.
pub(super) const INDEXED_STREAMS: usize = 10_000;

/// What a stream's events say about commands and claims, up to a version.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    pub(super) last: StreamPoint,
    pub(super) commands: HashMap<CommandId, Appended>,
    pub(super) claims: HashMap<ClaimName, bool>,
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

    /// The index of a stream, read forward from where it was last read; without `fresh` a remembered one is good enough,
    /// because an append at its version can succeed only if it is the newest.
    pub(super) async fn index(&self, stream: StreamName, fresh: bool) -> Result<Index, StoreError> {
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
