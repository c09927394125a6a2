//! The event store: one enum, two engines, one conformance suite; and the relay that feeds NATS JetStream from it.
//!
//! Verbs: [`Store::append`], [`Store::read_stream`], [`Store::read_log`], [`Store::find_command`], [`Store::head`],
//! [`Store::heads`]. What an engine must do is written as tests in [`conformance`].

pub mod feed;

mod append;
mod eventstore;

pub use append::{Append, AppendError, Appended, Claim, ClaimDigest, ClaimKind, ClaimOp, Expected, StoreError, TenantHead};

use events::{CommandId, Position, RecordedEvent, StreamName, TenantScope, Version};

/// An event store.
#[derive(Clone, Debug)]
pub enum Store {}

impl Store {
    /// Appends a command's events and claims, all or nothing. Answers only after they are durable (I1). The same
    /// command id again gives the first answer with `replayed` set (I5, I7).
    pub async fn append(&self, _append: Append) -> Result<Appended, AppendError> {
        match *self {}
    }
    /// Events of one stream after `after`, in version order, at most `limit`.
    pub async fn read_stream(&self, _stream: StreamName, _after: Version, _limit: usize) -> Result<Vec<RecordedEvent>, StoreError> {
        match *self {}
    }
    /// Events of a tenant's log after `after`, in position order, at most `limit`.
    pub async fn read_log(&self, _scope: TenantScope, _after: Position, _limit: usize) -> Result<Vec<RecordedEvent>, StoreError> {
        match *self {}
    }
    /// What a command appended, if it did. `stream` is the one it was aimed at; an engine may look only there.
    pub async fn find_command(&self, _stream: StreamName, _command: CommandId) -> Result<Option<Appended>, StoreError> {
        match *self {}
    }
    /// The last position of a tenant's log; zero for an empty one.
    pub async fn head(&self, _scope: TenantScope) -> Result<Position, StoreError> {
        match *self {}
    }
    /// Every tenant with events, and its last position. For the relay and operators.
    pub async fn heads(&self) -> Result<Vec<TenantHead>, StoreError> {
        match *self {}
    }
}
