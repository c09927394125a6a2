//! What stands in the server's records, and our events from them.

use events::{CommandId, EventId, EventMark, Metadata, Position, RecordedEvent, StreamName, TenantId, Version};
use eventstore::{ReadAllOptions, StreamPosition, SubscriptionFilter};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    EsStore,
    log::{SEARCH, WINDOW},
};
use crate::{Claim, StoreError};

/// The claim's stream name without the tenant: `{kind}.{digest in hex}`.
pub(super) type ClaimName = String;

/// What stands in an event's metadata.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Envelope {
    pub(super) event_id: EventId,
    pub(super) schema_version: u16,
    #[serde(flatten)]
    pub(super) metadata: Metadata,
    /// On the first event of a command: its claims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) claims: Vec<StoredClaim>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredClaim {
    pub(super) name: ClaimName,
    pub(super) take: bool,
}

/// An event of a reservation stream: who last reached for the claim.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Reservation {
    pub(super) holder: StreamName,
    pub(super) command_id: CommandId,
    /// The try of the command; two tries of one command never share a reservation.
    pub(super) attempt: Uuid,
    /// The append behind it was refused: nothing will come.
    #[serde(default)]
    pub(super) withdrawn: bool,
}

impl EsStore {
    /// Our event from the server's, with the claims it carries.
    pub(super) async fn recorded(
        &self,
        stream: StreamName,
        raw: &eventstore::RecordedEvent,
    ) -> Result<(RecordedEvent, Vec<StoredClaim>), StoreError> {
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

pub(super) fn claim_name(claim: &Claim) -> ClaimName {
    use std::fmt::Write as _;
    let mut name = format!("{}.", claim.kind.0);
    for byte in claim.digest.0 {
        let _ = write!(name, "{byte:02x}"); // Writing to a String can't fail.
    }
    name
}

pub(super) fn command_name(command: CommandId) -> ClaimName {
    format!("command.{command}")
}

pub(super) fn reservation_stream(tenant: TenantId, name: &ClaimName) -> String {
    format!("claim.{tenant}.{name}")
}

/// When the server took an event, which it says in ticks of 100 ns since 1970.
pub(super) fn created(raw: &eventstore::RecordedEvent) -> Option<Timestamp> {
    let ticks: i64 = raw.metadata.get("created")?.parse().ok()?;
    Timestamp::from_microsecond(ticks / 10).ok()
}

/// Names the record; none where it can't be read.
pub(super) fn mark_of(raw: &eventstore::RecordedEvent) -> Option<EventMark> {
    let envelope: Envelope = serde_json::from_slice(&raw.custom_metadata).ok()?;
    Some(EventMark { id: envelope.event_id, recorded_at: created(raw)? })
}

pub(super) fn unreadable(raw: &eventstore::RecordedEvent, reason: String) -> StoreError {
    StoreError::Unreadable { position: Position(raw.position.commit), reason }
}

pub(super) fn own_stream(raw: &eventstore::RecordedEvent) -> Result<StreamName, StoreError> {
    StreamName::from_written(raw.stream_id()).map_err(|_| unreadable(raw, format!("{} is no stream of ours", raw.stream_id())))
}
