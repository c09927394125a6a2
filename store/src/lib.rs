//! The event store: one enum, two engines, one conformance suite; and the relay that feeds NATS JetStream from it.
//!
//! Verbs: [`Store::append`], [`Store::read_stream`], [`Store::read_log`], [`Store::find_command`], [`Store::head`],
//! [`Store::heads`]. What an engine must do is written as tests in `conformance`, behind the cargo feature of that name.

pub mod feed;
pub mod nats;
pub mod relay;
pub mod stalled;
pub mod streams;

#[cfg(feature = "conformance")]
pub mod conformance;

mod append;
mod eventstore;
mod postgres;

pub use eventstore::EsStore;
pub use postgres::PgStore;

pub use append::{Append, AppendError, Appended, Claim, ClaimDigest, ClaimKind, ClaimOp, Expected, StoreError, TenantHead};

use events::{CommandId, Position, RecordedEvent, StreamName, TenantScope, Version};

/// An event store.
#[derive(Clone, Debug)]
pub enum Store {
    /// Embedded in PostgreSQL: the default, and enough for one machine.
    Postgres(PgStore),
    /// EventStoreDB or KurrentDB.
    EventStore(EsStore),
}

macro_rules! engine {
    ($self:expr, $store:ident => $call:expr) => {
        match $self {
            Self::Postgres($store) => $call,
            Self::EventStore($store) => $call,
        }
    };
}

impl Store {
    /// Opens EventStoreDB where its URL is given, and otherwise the store in PostgreSQL; that wakes the relay in either case.
    pub async fn open(database_url: &str, eventstore_url: Option<&str>, connections: u32) -> Result<Self, StoreError> {
        match eventstore_url {
            Some(url) => EsStore::connect(url).await?.waking(database_url).map(Self::EventStore),
            None => PgStore::open(database_url, connections).map(Self::Postgres),
        }
    }
    /// Appends a command's events and claims, all or nothing. Answers only after they are durable (I1). The same
    /// command id again gives the first answer with `replayed` set (I5, I7).
    pub async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        engine!(self, store => store.append(append).await)
    }
    /// Events of one stream after `after`, in version order, at most `limit`.
    pub async fn read_stream(&self, stream: StreamName, after: Version, limit: usize) -> Result<Vec<RecordedEvent>, StoreError> {
        engine!(self, store => store.read_stream(stream, after, limit).await)
    }
    /// Events of a tenant's log after `after`, in position order, at most `limit`.
    pub async fn read_log(&self, scope: TenantScope, after: Position, limit: usize) -> Result<Vec<RecordedEvent>, StoreError> {
        engine!(self, store => store.read_log(scope, after, limit).await)
    }
    /// What a command appended, if it did, to whatever stream. `stream` is the one that it is most likely in.
    pub async fn find_command(&self, stream: StreamName, command: CommandId) -> Result<Option<Appended>, StoreError> {
        engine!(self, store => store.find_command(stream, command).await)
    }
    /// The last position of a tenant's log; zero for an empty one.
    pub async fn head(&self, scope: TenantScope) -> Result<Position, StoreError> {
        engine!(self, store => store.head(scope).await)
    }
    /// Every tenant with events, and its last position. For the relay and operators.
    pub async fn heads(&self) -> Result<Vec<TenantHead>, StoreError> {
        engine!(self, store => store.heads().await)
    }
    /// How many events of a tenant's log stand after `at`, up to its head. Where positions don't count events this is 1 as
    /// soon as there are any: so many at least.
    pub const fn events_between(&self, at: Position, head: Position) -> u64 {
        let positions = head.0.saturating_sub(at.0);
        if self.is_dense() || positions == 0 { positions } else { 1 }
    }
    /// Whether positions are 1, 2, 3, … with no hole.
    pub const fn is_dense(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}
