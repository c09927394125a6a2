//! The calls to the server, each with a limit to its time, and what their errors mean.

use std::time::{Duration, Instant};

use eventstore::{
    AppendToStreamOptions, Client, Error, EventData, ReadAllOptions, ReadStreamOptions, StreamPosition, StreamState, WriteResult,
};
use tokio::task::JoinError;

use super::{EsStore, diagnose};
use crate::{Engine, StoreError};

/// How long the server may take over one call; it is told, and drops the call when it is over.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long one call may take for us, with the way there and back.
pub(super) const PATIENCE: Duration = Duration::from_secs(6);
/// How long the cause that was found for a lost connection is believed.
const DIAGNOSIS: Duration = Duration::from_secs(5);
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

    pub(super) async fn read_with(&self, stream: &str, options: ReadStreamOptions) -> Result<Vec<eventstore::RecordedEvent>, StoreError> {
        self.read(Read::Stream(stream, options.requires_leader(true)), PATIENCE).await
    }

    /// Nothing where no record begins at the position: it was another server's, or that of a history that is gone.
    pub(super) async fn read_all(&self, options: ReadAllOptions, patience: Duration) -> Result<Vec<eventstore::RecordedEvent>, StoreError> {
        self.read(Read::All(options.requires_leader(true)), patience).await
    }

    async fn read(&self, read: Read<'_>, patience: Duration) -> Result<Vec<eventstore::RecordedEvent>, StoreError> {
        for attempt in 0..MAX_ATTEMPTS {
            let client = self.client().await;
            let records = tokio::time::timeout(patience, async { collect(read.begin(&client).await?).await }).await;
            match (records.unwrap_or(Err(Error::DeadlineExceeded)), &read) {
                (Ok(records), _) => return Ok(records),
                (Err(Error::ResourceNotFound), Read::Stream(..)) => return Ok(Vec::new()),
                (Err(Error::ServerError(cause)), Read::All(_)) if cause.contains("InvalidPosition") => return Ok(Vec::new()),
                (Err(error), _) => self.failed_or_last(error, attempt).await?,
            }
        }
        Err(unavailable("it could not be read, though that was tried repeatedly"))
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

    /// Says what an error of the client is to us, and replaces a client whose connection is gone for good.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is foreign and may grow; what is not listed may pass")]
    pub(super) async fn failed(&self, error: Error) -> StoreError {
        if matches!(error, Error::ConnectionClosed | Error::GrpcConnectionError(_) | Error::InitializationError(_))
            && let Ok(fresh) = Client::new(self.0.settings.clone())
        {
            *self.0.client.write().await = fresh;
            // A server that was away may have been put back: what decides without a read is not believed.
            self.indexes().clear();
        }
        match error {
            Error::AccessDenied => self.denied(),
            Error::UnsupportedFeature => broken("it does not support a call that is needed; it must be 22.10 or later"),
            Error::InternalParsingError(_) | Error::ResourceDeleted => broken(error),
            Error::DeadlineExceeded => unavailable("it did not answer in time"),
            Error::ConnectionClosed | Error::GrpcConnectionError(_) => self.unconnected(&error).await,
            // The client's words for a connection that could not be made.
            Error::ServerError(ref text) if text.contains("(Connect)") => self.unconnected(&error).await,
            other => unavailable(other),
        }
    }

    fn denied(&self) -> StoreError {
        let user = self.0.settings.default_authenticated_user().is_some();
        StoreError::Broken(if user {
            "EventStoreDB refuses the user in its URL: name or password is wrong, or the user lacks a right; `tenure eventstore grant` \
             grants what is needed (docs/eventstoredb.md)"
                .into()
        } else {
            "EventStoreDB demands a user: put one into its URL, as in esdb://user:password@host:2113".into()
        })
    }

    /// Why there is no connection. The client says only that there is none, so the way is walked again step by step; what is found
    /// is believed for some seconds. Once the store was open, whatever it is may be mended at the server.
    async fn unconnected(&self, error: &Error) -> StoreError {
        let mut found = self.0.diagnosis.lock().await;
        if found.as_ref().is_none_or(|(at, _)| at.elapsed() > DIAGNOSIS) {
            *found = Some((Instant::now(), diagnose::find_cause(&self.0.settings).await));
        }
        match found.as_ref().and_then(|(_, cause)| cause.as_ref()) {
            Some(cause) if cause.is_final && self.0.opened.get().is_none() => StoreError::Broken(format!("EventStoreDB: {cause}")),
            Some(cause) => unavailable(cause),
            None => unavailable(error),
        }
    }
}

/// A read, from the leader: what another node has not got yet would be taken for not being there.
enum Read<'r> {
    Stream(&'r str, ReadStreamOptions),
    All(ReadAllOptions),
}

impl Read<'_> {
    async fn begin(&self, client: &Client) -> Result<eventstore::ReadStream, Error> {
        match self {
            Self::Stream(name, options) => client.read_stream(*name, options).await,
            Self::All(options) => client.read_all(options).await,
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
    if error.is_panic() { broken(what) } else { unavailable(what) }
}

pub(super) fn unavailable(why: impl std::fmt::Display) -> StoreError {
    Engine::EventStore.unavailable(why)
}

pub(super) fn broken(why: impl std::fmt::Display) -> StoreError {
    Engine::EventStore.broken(why)
}
