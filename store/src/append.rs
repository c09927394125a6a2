//! What an append carries and what it answers.

use events::{
    CommandHash, EventId, EventMark, LogPoint, Metadata, NewEvent, Position, StreamName, StreamPoint, TenantId, TenantScope, Version,
};
use jiff::Timestamp;

/// The version that a stream must have for an append to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Whatever it has.
    Any,
    /// The stream must be empty.
    NoStream,
    /// Exactly this one.
    Exact(Version),
    /// Exactly this one, with this event there: what was decided on a history that the store has no more is not taken.
    At(StreamPoint),
}

/// What a claim is about, such as `employee_number`. Part of stored data: add, never rename.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimKind(pub &'static str);

/// HMAC-SHA256 of the claimed value under the tenant's claim key: equal for equal values of one tenant, and nothing
/// can be read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimDigest(pub [u8; 32]);

/// Take or give back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimOp {
    /// Fails the append if another stream holds it; no effect if this stream does.
    Take,
    /// Gives it back; no effect if this stream does not hold it.
    Release,
}

/// A tenant-wide unique value, taken or released by a stream together with its events. Releases come before takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// What it is about.
    pub kind: ClaimKind,
    /// Which value.
    pub digest: ClaimDigest,
    /// Take or release.
    pub op: ClaimOp,
}

/// Where a command's id may come up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdScope {
    /// In the append's own stream only, because nobody else knows the id or could use it otherwise. The caller sees to that.
    Stream,
    /// In any stream of the tenant: the id is the client's word, who may use it for another command by mistake.
    Tenant,
}

/// A command's events on their way into one stream.
#[derive(Debug, Clone)]
pub struct Append {
    /// The right to the tenant; its tenant must be the stream's.
    pub scope: TenantScope,
    /// The stream.
    pub stream: StreamName,
    /// The version it must have.
    pub expected: Expected,
    /// 1 to 100 events, sealed, at most 256 KiB of data together.
    pub events: Vec<NewEvent>,
    /// Up to 16 claims.
    pub claims: Vec<Claim>,
    /// Who and why; its `command_id` makes the append idempotent.
    pub metadata: Metadata,
    /// Within what `command_id` does so. PostgreSQL's engine takes it for [`IdScope::Tenant`] always, as that costs it nothing.
    pub id_scope: IdScope,
}

/// What an append did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The stream's version after it.
    pub version: Version,
    /// The position of its last event in the tenant's log.
    pub position: Position,
    /// Its events, in order.
    pub event_ids: Vec<EventId>,
    /// When the store took the last of them.
    pub recorded_at: Timestamp,
    /// The hash of the command that appended them.
    pub command_hash: CommandHash,
    /// The events had been there already: this was a retry. Either, where the store's acknowledgement was lost.
    pub replayed: bool,
}

impl Appended {
    /// Names the record of the last event.
    pub fn mark(&self) -> Option<EventMark> {
        self.event_ids.last().map(|id| EventMark { id: *id, recorded_at: self.recorded_at })
    }
}

/// Why an append was not taken. Only [`AppendError::Store`] leaves its outcome open: retry with the same command id.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The stream has another version than expected, or another event there.
    #[error("the stream is at version {actual}")]
    WrongVersion {
        /// The version that the stream has.
        actual: Version,
    },
    /// Another stream holds a claimed value.
    #[error("{} is taken", kind.0)]
    ClaimTaken {
        /// What it is about.
        kind: ClaimKind,
    },
    /// The command id was used with another body.
    #[error("the command id was used for another command")]
    CommandReused,
    /// The command was answered without an event, and that answer stands.
    #[error("the command was answered before, without an event")]
    CommandAnswered,
    /// The append breaks a limit or its scope is not its stream's. A bug of the caller.
    #[error("invalid append: {0}")]
    Invalid(&'static str),
    /// The store is away or broken.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The store is away or broken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Away, or too slow, or overloaded: worth a retry. The text names the engine, as [`Engine::unavailable`] does.
    #[error("{0}")]
    Unavailable(String),
    /// It answered what it never should, or refuses for good: not worth a retry. The text names the engine.
    #[error("{0}")]
    Broken(String),
    /// It has an event that this version can't read, such as one of a kind that came later. Those before it can be read.
    #[error("the event at {position} can't be read: {reason}")]
    Unreadable {
        /// The event's position.
        position: Position,
        /// Why, without what it carries.
        reason: String,
    },
}

/// What keeps the events. Messages say by this name which server is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The store in PostgreSQL.
    Postgres,
    /// EventStoreDB or KurrentDB.
    EventStore,
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Postgres => "PostgreSQL's event store",
            Self::EventStore => "EventStoreDB",
        })
    }
}

impl Engine {
    /// It is away, or too slow, or overloaded.
    pub(crate) fn unavailable(self, why: impl std::fmt::Display) -> StoreError {
        StoreError::Unavailable(format!("{self} is unavailable: {why}"))
    }
    /// It answered what it never should.
    pub(crate) fn broken(self, why: impl std::fmt::Display) -> StoreError {
        StoreError::Broken(format!("{self} is broken: {why}"))
    }
}

/// A tenant and the end of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantHead {
    /// The tenant.
    pub tenant: TenantId,
    /// Its last position.
    pub position: Position,
    /// The event there, where the engine knows it without a read.
    pub mark: Option<EventMark>,
    /// How many events there are up to it.
    pub events: u64,
}

impl TenantHead {
    /// The end of the log.
    pub const fn point(&self) -> LogPoint {
        LogPoint { position: self.position, mark: self.mark }
    }
    /// Whether a log that ends here can be one that went through `point`: it may be longer, but not shorter, and not as long with
    /// another event at its end.
    pub fn may_follow(&self, point: LogPoint) -> bool {
        let same = self.mark.zip(point.mark).is_none_or(|(ours, theirs)| ours == theirs);
        self.position > point.position || self.position == point.position && same
    }
}

/// Events in one append at most.
pub(crate) const MAX_EVENTS: usize = 100;
/// Bytes of data in one append at most.
pub(crate) const MAX_BYTES: usize = 256 * 1024;
/// Claims in one append at most.
pub(crate) const MAX_CLAIMS: usize = 16;

impl Append {
    /// What every engine relies on.
    pub(crate) fn validate(&self) -> Result<(), AppendError> {
        let mut claims: Vec<_> = self.claims.iter().map(|c| (c.kind, c.digest)).collect();
        claims.sort_unstable();
        claims.dedup();
        let broken = if self.scope.tenant() != self.stream.tenant() {
            "the stream is not in the scope"
        } else if self.events.is_empty() || self.events.len() > MAX_EVENTS {
            "an append carries 1 to 100 events"
        } else if self.events.iter().map(|e| e.data.get().len()).sum::<usize>() > MAX_BYTES {
            "an append carries at most 256 KiB of data"
        } else if self.claims.len() > MAX_CLAIMS || claims.len() != self.claims.len() {
            "an append carries at most 16 claims, each once"
        } else {
            return Ok(());
        };
        Err(AppendError::Invalid(broken))
    }
}
