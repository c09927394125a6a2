//! The calls to the server, each with a limit to its time, and what their errors mean.

use std::time::Duration;

use eventstore::{
    AppendToStreamOptions, Client, Error, EventData, ReadAllOptions, ReadStreamOptions, StreamPosition, StreamState, WriteResult,
};
use tokio::task::JoinError;

use super::EsStore;
use crate::StoreError;

/// How long the server may take over one call; it is told, and drops the call when it is over.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long one call may take for us, with the way there and back.
pub(super) const PATIENCE: Duration = Duration::from_secs(6);
/// How often a call is tried: with the pauses between, about two seconds.
pub(super) const MAX_ATTEMPTS: u32 = 8;

impl EsStore {
    /// One try. Of itself the client waits for ever where a connection hangs.
    pub(super) async fn append_to(&self, stream: String, expected: StreamState, events: Vec<EventData>) -> Result<WriteResult, Error> {
        let options = AppendToStreamOptions::default().stream_state(expected).deadline(DEADLINE);
        let client = self.client().await;
        let written = tokio::time::timeout(PATIENCE, client.append_to_stream(stream, &options, events)).await;
        written.unwrap_or(Err(Error::DeadlineExceeded))
    }

    pub(super) async fn read_raw(
        &self,
        stream: &str,
        from_revision: u64,
        limit: usize,
    ) -> Result<Vec<eventstore::RecordedEvent>, StoreError> {
        let options = ReadStreamOptions::default().position(StreamPosition::Position(from_revision)).max_count(limit);
        self.read_with(stream, options).await
    }

    /// From the leader, as all that is read: what another node has not got yet would be taken for not being there.
    pub(super) async fn read_with(&self, stream: &str, options: ReadStreamOptions) -> Result<Vec<eventstore::RecordedEvent>, StoreError> {
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

    pub(super) async fn read_all(&self, options: ReadAllOptions, patience: Duration) -> Result<Vec<eventstore::RecordedEvent>, StoreError> {
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
    pub(super) async fn failed(&self, error: Error) -> StoreError {
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
pub(super) async fn pause(attempt: u32) {
    let ceiling = 10_u64 << attempt.min(6);
    tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=ceiling))).await;
}

pub(super) fn broken_off(error: &JoinError) -> StoreError {
    let what = format!("a call was broken off: {error}");
    if error.is_panic() { StoreError::Broken(what) } else { StoreError::Unavailable(what) }
}

pub(super) fn unavailable(what: impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("EventStoreDB: {what}"))
}

pub(super) fn broken(error: impl std::fmt::Display) -> StoreError {
    StoreError::Broken(error.to_string())
}
