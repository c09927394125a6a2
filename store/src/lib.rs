//! The event store: one enum, two engines, one conformance suite; and the relay that feeds NATS JetStream from it.
//!
//! Verbs: [`Store::append`], [`Store::read_stream`], [`Store::read_log`], both also from where the caller has been
//! ([`Store::read_stream_on`], [`Store::read_log_on`]), [`Store::find_command`], [`Store::head`], [`Store::heads`]. What an engine must do is written as tests in `conformance`, behind the cargo feature of that name.

pub mod backoff;
pub mod feed;
pub mod foreign;
pub mod heartbeat;
pub mod nats;
pub mod partition_lease;
pub mod relay;
pub mod stalled;
pub mod streams;

#[cfg(feature = "conformance")]
pub mod conformance;

mod append;
mod eventstore;
mod postgres;

pub use eventstore::{EsStore, Granted, grant};
pub use postgres::PgStore;

pub use append::{
    Append, AppendError, Appended, Claim, ClaimDigest, ClaimKind, ClaimOp, Engine, Expected, IdScope, StoreError, TenantHead,
};

use events::{CommandId, LogPoint, Position, RecordedEvent, StreamName, StreamPoint, TenantId, TenantScope, Version};

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

/// Asks whether a store answers.
#[derive(Clone)]
pub enum Probe {
    /// On a connection of its own.
    Postgres(sqlx::PgPool),
    /// On the one that all share.
    EventStore(EsStore),
}

impl Probe {
    /// Asks for the end of a log.
    pub async fn head(&self, scope: TenantScope) -> Result<Position, StoreError> {
        match self {
            Self::Postgres(pool) => postgres::head(pool, scope).await,
            Self::EventStore(store) => store.head(scope).await,
        }
    }
}

impl Store {
    /// Opens EventStoreDB where its URL is given, and otherwise the store in PostgreSQL; that wakes the relay in either case.
    pub async fn open(database_url: &str, eventstore_url: Option<&str>, connections: u32) -> Result<Self, StoreError> {
        match eventstore_url {
            Some(url) => EsStore::open(url, database_url, connections).await.map(Self::EventStore),
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
    /// Events of a tenant's log after a point that was seen in it, in position order, at most `limit`. None where the store has
    /// another event there now, or none: it was put back, or is another store, and nothing that was seen of it holds.
    pub async fn read_log_on(&self, scope: TenantScope, seen: LogPoint, limit: usize) -> Result<Option<Vec<RecordedEvent>>, StoreError> {
        if seen.mark.is_none() {
            return self.read_log(scope, seen.position, limit).await.map(Some);
        }
        engine!(self, store => store.read_log_on(scope, seen, limit).await)
    }
    /// [`Store::read_log_on`] for a stream.
    pub async fn read_stream_on(
        &self,
        stream: StreamName,
        seen: StreamPoint,
        limit: usize,
    ) -> Result<Option<Vec<RecordedEvent>>, StoreError> {
        if seen.mark.is_none() {
            return self.read_stream(stream, seen.version, limit).await.map(Some);
        }
        let Some(before) = seen.version.0.checked_sub(1) else { return Ok(None) };
        let mut events = self.read_stream(stream, Version(before), limit.saturating_add(1)).await?.into_iter();
        let there = events.next().is_some_and(|event| (event.version, Some(event.mark())) == (seen.version, seen.mark));
        Ok(there.then(|| events.collect()))
    }
    /// The event at a position of a tenant's log, as a point; the position alone if there is none.
    pub async fn point_at(&self, scope: TenantScope, position: Position) -> Result<LogPoint, StoreError> {
        if position == Position::ZERO {
            return Ok(LogPoint::START);
        }
        let mark = engine!(self, store => store.event_at(scope, position).await)?.map(|event| event.mark());
        Ok(LogPoint { position, mark })
    }
    /// What a command appended, if it did, to whatever stream. `stream` is the one that it is most likely in.
    pub async fn find_command(&self, stream: StreamName, command: CommandId) -> Result<Option<Appended>, StoreError> {
        engine!(self, store => store.find_command(stream, command).await)
    }
    /// The last position of a tenant's log; zero for an empty one.
    pub async fn head(&self, scope: TenantScope) -> Result<Position, StoreError> {
        engine!(self, store => store.head(scope).await)
    }
    /// Which server it is.
    pub const fn engine(&self) -> Engine {
        match self {
            Self::Postgres(_) => Engine::Postgres,
            Self::EventStore(_) => Engine::EventStore,
        }
    }
    /// How to ask whether the store answers, whoever works with its connections.
    pub fn probe(&self) -> Probe {
        match self {
            Self::Postgres(store) => Probe::Postgres(store.apart()),
            Self::EventStore(store) => Probe::EventStore(store.clone()),
        }
    }
    /// Whether [`AppendError::CommandAnswered`] keeps a command from being appended once its answer without an event is remembered
    /// in the database: only where events and answers stand in one.
    pub const fn closes_answered_commands(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
    /// Every tenant with events, and its last position. For the relay and operators.
    pub async fn heads(&self) -> Result<Vec<TenantHead>, StoreError> {
        engine!(self, store => store.heads().await)
    }
    /// How many events each of these logs has up to a position, in their order.
    pub async fn counts_at(&self, logs: &[(TenantId, Position)]) -> Result<Vec<u64>, StoreError> {
        match self {
            Self::Postgres(_) => Ok(logs.iter().map(|(_, position)| position.0).collect()),
            Self::EventStore(_) if logs.iter().all(|(_, position)| *position == Position::ZERO) => Ok(vec![0; logs.len()]),
            Self::EventStore(store) => store.counts_at(logs).await,
        }
    }
    /// How many events of a log stand after `at`, up to `head`.
    pub async fn events_between(&self, scope: TenantScope, at: Position, head: Position) -> Result<u64, StoreError> {
        if at >= head {
            return Ok(0);
        }
        let counts = self.counts_at(&[(scope.tenant(), at), (scope.tenant(), head)]).await?;
        Ok(counts.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).sum())
    }
    /// Whether positions are 1, 2, 3, … with no hole.
    pub const fn is_dense(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}
