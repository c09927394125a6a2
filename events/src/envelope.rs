//! The envelope around every event, before ([`NewEvent`]) and after ([`RecordedEvent`]) it is stored, and its mapping
//! to CloudEvents 1.0 (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>).

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{CommandId, CorrelationId, EventId, StreamName, TenantId};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Before the first.
            pub const ZERO: Self = Self(0);
            /// The one that follows.
            pub const fn next(self) -> Self { Self(self.0 + 1) }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }
    )+};
}

counters! {
    /// An event's place in its stream: 1, 2, 3, … with no hole. 0 is the empty stream.
    Version;
    /// An event's place in its tenant's log. Only grows; in the PostgreSQL store it is 1, 2, 3, … with no hole.
    Position;
}

/// Who acted, on what request, because of what. Holds no personal data: the actor is an opaque subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The token's subject, or `system:{process}` for what Tenure does by itself.
    pub actor: String,
    /// The command that produced the event. One command appends to one stream, once.
    pub command_id: CommandId,
    /// Hash of the command's body; the same `command_id` with another hash is a mistake, not a retry.
    pub command_hash: CommandHash,
    /// Ties together everything that one request from outside caused.
    pub correlation_id: CorrelationId,
    /// The event that caused the command, where one did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub causation_id: Option<EventId>,
    /// W3C trace context of the request, so that one trace runs from command to projection.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traceparent: Option<String>,
}

/// First 16 bytes of the SHA-256 of a command's canonical body, as a UUID-shaped value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandHash(pub uuid::Uuid);

/// An event on its way to the store. Its data is final: sealed, in the newest schema version.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Derived from the command's id and the event's place among its events ([`NewEvent::id_for`]).
    pub id: EventId,
    /// The event's type, such as `EmployeeHired`.
    pub event_type: &'static str,
    /// The version of `data`'s schema.
    pub schema_version: u16,
    /// The event's data as JSON.
    pub data: Box<RawValue>,
}

impl NewEvent {
    /// The id of a command's n-th event (from 0): the same on every retry.
    pub fn id_for(command: CommandId, n: usize) -> EventId {
        EventId::derive(command.uuid(), &n.to_string())
    }
}

/// An event as it stands in the store: durable, ordered, unalterable. On a wire it travels as a [`CloudEvent`].
#[derive(Debug, Clone)]
pub struct RecordedEvent {
    /// Unique over all tenants.
    pub id: EventId,
    /// Whose log it stands in; always the tenant of `stream`.
    pub tenant: TenantId,
    /// The aggregate's stream.
    pub stream: StreamName,
    /// Place in the stream.
    pub version: Version,
    /// Place in the tenant's log.
    pub position: Position,
    /// The event's type as stored; may be one that this build does not know.
    pub event_type: String,
    /// The schema version as stored; older ones are upcast on decoding.
    pub schema_version: u16,
    /// When the store took it; never used for order.
    pub recorded_at: Timestamp,
    /// Who, why.
    pub metadata: Metadata,
    /// The event's data as stored.
    pub data: Box<RawValue>,
}

/// Names one record of an event, which a position or version alone does not: a store that was put back gives its places to
/// others. The event's id is not enough either, because a command that was lost and is sent again makes the same ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventMark {
    /// The event's id.
    pub id: EventId,
    /// When the store took it, to the microsecond.
    pub recorded_at: Timestamp,
}

/// A place in a tenant's log, and the event that was seen there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LogPoint {
    /// The place.
    pub position: Position,
    /// The event. None before the first event, and where it is not known.
    pub mark: Option<EventMark>,
}

impl LogPoint {
    /// Before the first event.
    pub const START: Self = Self { position: Position::ZERO, mark: None };
}

/// A place in a stream, and the event that was seen there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct StreamPoint {
    /// The place.
    pub version: Version,
    /// The event. None before the first event, and where it is not known.
    pub mark: Option<EventMark>,
}

impl RecordedEvent {
    /// Names this record of the event.
    pub const fn mark(&self) -> EventMark {
        EventMark { id: self.id, recorded_at: self.recorded_at }
    }
    /// Its place in the log.
    pub const fn log_point(&self) -> LogPoint {
        LogPoint { position: self.position, mark: Some(self.mark()) }
    }
}

impl PartialEq for RecordedEvent {
    fn eq(&self, other: &Self) -> bool {
        let Self { id, tenant, stream, version, position, event_type, schema_version, recorded_at, metadata, data } = self;
        (*id, *tenant, *stream, *version, *position) == (other.id, other.tenant, other.stream, other.version, other.position)
            && (event_type, *schema_version, *recorded_at) == (&other.event_type, other.schema_version, other.recorded_at)
            && *metadata == other.metadata
            && data.get() == other.data.get()
    }
}

/// A CloudEvents 1.0 event in its JSON format; extension attributes are lower-case letters and digits, as required.
#[derive(Debug, Serialize, Deserialize)]
pub struct CloudEvent {
    /// Always `1.0`.
    pub specversion: String,
    /// The event's id.
    pub id: String,
    /// `/tenants/{namespace}`.
    pub source: String,
    /// `tenure.{category}.{EventType}.v{schema version}`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The stream's name.
    pub subject: String,
    /// When the store took it, RFC 3339.
    pub time: String,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// The version in the stream, as text: CloudEvents integers have 32 bits.
    pub streamversion: String,
    /// The position in the tenant's log; `sequence` is CloudEvents' own extension for this.
    pub sequence: String,
    /// Who acted.
    pub actor: String,
    /// The command.
    pub commandid: String,
    /// The command's hash.
    pub commandhash: String,
    /// The correlation.
    pub correlationid: String,
    /// The causing event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causationid: Option<String>,
    /// CloudEvents' distributed tracing extension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The data.
    pub data: Box<RawValue>,
}

/// A CloudEvent that is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an event of Tenure: attribute {0:?} is wrong")]
pub struct ForeignCloudEvent(pub &'static str);

impl From<&RecordedEvent> for CloudEvent {
    fn from(e: &RecordedEvent) -> Self {
        Self {
            specversion: "1.0".into(),
            id: e.id.to_string(),
            source: format!("/tenants/{}", e.tenant),
            kind: format!("tenure.{}.{}.v{}", e.stream.category(), e.event_type, e.schema_version),
            subject: e.stream.to_string(),
            time: e.recorded_at.to_string(),
            datacontenttype: "application/json".into(),
            streamversion: e.version.to_string(),
            sequence: e.position.to_string(),
            actor: e.metadata.actor.clone(),
            commandid: e.metadata.command_id.to_string(),
            commandhash: e.metadata.command_hash.0.to_string(),
            correlationid: e.metadata.correlation_id.to_string(),
            causationid: e.metadata.causation_id.map(|id| id.to_string()),
            traceparent: e.metadata.traceparent.clone(),
            data: e.data.clone(),
        }
    }
}

impl TryFrom<CloudEvent> for RecordedEvent {
    type Error = ForeignCloudEvent;
    fn try_from(c: CloudEvent) -> Result<Self, ForeignCloudEvent> {
        fn field<T: std::str::FromStr>(name: &'static str, text: &str) -> Result<T, ForeignCloudEvent> {
            text.parse().map_err(|_| ForeignCloudEvent(name))
        }
        if c.specversion != "1.0" {
            return Err(ForeignCloudEvent("specversion"));
        }
        let stream = StreamName::from_written(&c.subject).map_err(|_| ForeignCloudEvent("subject"))?;
        let tenant: TenantId = field("source", c.source.strip_prefix("/tenants/").ok_or(ForeignCloudEvent("source"))?)?;
        if stream.tenant() != tenant {
            return Err(ForeignCloudEvent("source"));
        }
        let kind = c.kind.strip_prefix("tenure.").and_then(|k| k.strip_prefix(stream.category().name())).and_then(|k| k.strip_prefix('.'));
        let (event_type, schema_version) = kind.and_then(|k| k.rsplit_once(".v")).ok_or(ForeignCloudEvent("type"))?;
        Ok(Self {
            id: field("id", &c.id)?,
            tenant,
            stream,
            version: Version(field("streamversion", &c.streamversion)?),
            position: Position(field("sequence", &c.sequence)?),
            event_type: event_type.into(),
            schema_version: field("type", schema_version)?,
            recorded_at: field("time", &c.time)?,
            metadata: Metadata {
                actor: c.actor,
                command_id: field("commandid", &c.commandid)?,
                command_hash: CommandHash(field("commandhash", &c.commandhash)?),
                correlation_id: field("correlationid", &c.correlationid)?,
                causation_id: c.causationid.as_deref().map(|id| field("causationid", id)).transpose()?,
                traceparent: c.traceparent,
            },
            data: c.data,
        })
    }
}
