//! What stands in the server's records, and our events from them.

use events::{CommandId, EventId, EventMark, Metadata, Position, RecordedEvent, StreamName, TenantId, Version};
use eventstore::{ReadAllOptions, StreamPosition, SubscriptionFilter};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    EsStore,
    client::broken,
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
    /// The event's version, where that is not its revision plus one because fences stand before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<u64>,
    /// When it was recorded, in microseconds since 1970, by the writer's clock: an append knows it without a read. In events of
    /// earlier builds it is missing, and the server's time holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) recorded_at: Option<i64>,
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

/// What a fence says to whoever looks at it.
#[derive(Debug, Serialize)]
pub(super) struct Fence {
    /// What was taken over: the stream of the reservation, and the attempt that had reserved.
    pub(super) reservation: String,
    pub(super) attempt: Uuid,
}

impl Envelope {
    pub(super) fn recorded_at(&self, raw: &eventstore::RecordedEvent) -> Option<Timestamp> {
        self.recorded_at.map_or_else(|| created(raw), |micros| Timestamp::from_microsecond(micros).ok())
    }
}

impl EsStore {
    /// Our event from the server's, with the claims it carries; none where the record is a fence.
    pub(super) async fn recorded(
        &self,
        stream: StreamName,
        raw: &eventstore::RecordedEvent,
    ) -> Result<Option<(RecordedEvent, Vec<StoredClaim>)>, StoreError> {
        if is_fence(raw) {
            return Ok(None);
        }
        let place = || format!("{stream} revision {}", raw.revision);
        let envelope: Envelope = serde_json::from_slice(&raw.custom_metadata).map_err(|e| unreadable(raw, format!("{}: {e}", place())))?;
        let data: Box<RawValue> =
            serde_json::from_slice(&raw.data).map_err(|_| unreadable(raw, format!("{}: its data is not JSON", place())))?;
        let recorded_at = envelope.recorded_at(raw).ok_or_else(|| unreadable(raw, format!("{}: no time", place())))?;
        let event = RecordedEvent {
            id: envelope.event_id,
            tenant: stream.tenant(),
            stream,
            version: Version(envelope.version.unwrap_or(raw.revision + 1)),
            position: self.position(stream, raw).await?,
            event_type: raw.event_type.clone(),
            schema_version: envelope.schema_version,
            recorded_at,
            metadata: envelope.metadata,
            data,
        };
        Ok(Some((event, envelope.claims)))
    }

    /// An event's position. Servers that leave it out of stream reads have it in `$all`.
    async fn position(&self, stream: StreamName, raw: &eventstore::RecordedEvent) -> Result<Position, StoreError> {
        if is_position(raw.position.commit) {
            return Ok(Position(raw.position.commit));
        }
        let filter = SubscriptionFilter::on_stream_name().add_prefix(stream.to_string()).max(WINDOW);
        let all = self.read_all(ReadAllOptions::default().position(StreamPosition::Start).filter(filter), SEARCH).await?;
        let found = all.iter().find(|e| e.revision == raw.revision && e.stream_id() == raw.stream_id());
        found.map(|e| Position(e.position.commit)).ok_or_else(|| broken(format!("{stream} revision {} has no position", raw.revision)))
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

/// The type of a record that is no event: it makes an append that expected the stream to end before it fail, however late that
/// arrives. Streams and logs are read without fences, and versions don't count them.
pub(super) const FENCE: &str = "ClaimFenced";

pub(super) fn is_fence(raw: &eventstore::RecordedEvent) -> bool {
    raw.event_type == FENCE
}

/// Whether the server has told a position.
pub(super) const fn is_position(commit: u64) -> bool {
    commit != u64::MAX && commit != 0
}

/// When the server took an event, which it says in ticks of 100 ns since 1970.
pub(super) fn created(raw: &eventstore::RecordedEvent) -> Option<Timestamp> {
    let ticks: i64 = raw.metadata.get("created")?.parse().ok()?;
    Timestamp::from_microsecond(ticks / 10).ok()
}

/// Names the record; none where it is a fence, or can't be read.
pub(super) fn mark_of(raw: &eventstore::RecordedEvent) -> Option<EventMark> {
    let envelope: Envelope = serde_json::from_slice(&raw.custom_metadata).ok()?;
    Some(EventMark { id: envelope.event_id, recorded_at: envelope.recorded_at(raw)? })
}

pub(super) fn unreadable(raw: &eventstore::RecordedEvent, reason: String) -> StoreError {
    StoreError::Unreadable { position: Position(raw.position.commit), reason }
}
