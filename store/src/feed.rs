//! The feed's contract between relay, projector and worker: stream, subjects, headers, partitions. No I/O here.

use events::{Category, CloudEvent, ForeignCloudEvent, RecordedEvent, TenantId};

/// The JetStream stream that carries all tenants.
pub const STREAM: &str = "HR";
/// What [`STREAM`] listens on.
pub const SUBJECTS: &str = "hr.>";
/// How many partitions tenants are spread over. Changing it means draining the feed; the store heals the rest.
pub const PARTITIONS: u16 = 16;
/// Messages of a partition that a projector has and has not acknowledged, at most: four of its batches.
pub const MAX_UNACKNOWLEDGED: i64 = 2_000;
/// Header: the event's position.
pub const POSITION: &str = "Tenure-Position";
/// Header: the position of the tenant's event before this one; `0` for the first.
pub const PREVIOUS: &str = "Tenure-Previous-Position";
/// Header: W3C trace context of the command.
pub const TRACEPARENT: &str = "traceparent";

/// The partition of a tenant: the low bits of its UUID, which are random in version 7.
pub fn partition(tenant: TenantId) -> u16 {
    let low = u16::from_be_bytes([tenant.uuid().as_bytes()[14], tenant.uuid().as_bytes()[15]]);
    low % PARTITIONS
}

/// The durable consumer of a partition, by which its projector reads.
pub fn consumer(partition: u16) -> String {
    format!("projector-{partition}")
}

/// The durable consumer of a partition, by which its worker hears that there are events.
pub fn worker_consumer(partition: u16) -> String {
    format!("worker-{partition}")
}

/// The tenant that a subject names, if it is one of ours.
pub fn tenant_of(subject: &str) -> Option<TenantId> {
    let mut tokens = subject.split('.');
    let (hr, number, namespace) = (tokens.next()?, tokens.next()?, tokens.next()?);
    let tenant: TenantId = namespace.parse().ok()?;
    (hr == "hr" && number == partition(tenant).to_string()).then_some(tenant)
}

/// What a partition's consumer listens on.
pub fn filter(partition: u16) -> String {
    format!("hr.{partition}.>")
}

/// A token that may not stand in a subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} may not stand in a subject")]
pub struct InvalidToken(pub String);

/// `hr.{partition}.{namespace}.{category}.{EventType}`. The broker validates no token, so this does: namespace and
/// category can't be wrong by type, and the event type must be ASCII letters and digits.
pub fn subject(tenant: TenantId, category: Category, event_type: &str) -> Result<String, InvalidToken> {
    if event_type.is_empty() || event_type.len() > 64 || !event_type.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(InvalidToken(event_type.chars().take(64).collect()));
    }
    Ok(format!("hr.{}.{}.{}.{}", partition(tenant), tenant, category, event_type))
}

/// `Nats-Msg-Id`: one per record of an event, for JetStream's duplicate window. The position alone may be another event's, in a store
/// that was put back.
pub fn message_id(event: &RecordedEvent) -> String {
    format!("{}-{}-{}", event.tenant, event.position, event.recorded_at.as_microsecond())
}

/// The message's payload: the event as a CloudEvent in JSON.
pub fn encode(event: &RecordedEvent) -> Vec<u8> {
    serde_json::to_vec(&CloudEvent::from(event)).expect("a CloudEvent holds only text and valid JSON")
}

/// A payload that is no event of ours.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// Not a CloudEvent in JSON.
    #[error("not a CloudEvent: {0}")]
    Json(#[from] serde_json::Error),
    /// A CloudEvent, but not one of ours.
    #[error(transparent)]
    Foreign(#[from] ForeignCloudEvent),
    /// The subject names another tenant, category or type than the event.
    #[error("the subject {0:?} does not belong to its event")]
    WrongSubject(String),
}

/// Reads a message's payload and checks that its subject names the same tenant, category and type.
pub fn decode(message_subject: &str, payload: &[u8]) -> Result<RecordedEvent, FeedError> {
    let cloud: CloudEvent = serde_json::from_slice(payload)?;
    let event = RecordedEvent::try_from(cloud)?;
    match subject(event.tenant, event.stream.category(), &event.event_type) {
        Ok(own) if own == message_subject => Ok(event),
        _ => Err(FeedError::WrongSubject(message_subject.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_names_its_tenant() {
        let tenant = TenantId::from_uuid(uuid::Uuid::from_u128(7));
        let own = subject(tenant, Category::Employee, "EmployeeHired").unwrap();
        assert_eq!(tenant_of(&own), Some(tenant));
        let elsewhere = own.replacen(&format!("hr.{}", partition(tenant)), &format!("hr.{}", (partition(tenant) + 1) % PARTITIONS), 1);
        for bad in ["", "hr", "hr.7", "hr.7.x", &elsewhere, &own.replacen("hr", "xx", 1), &own.to_uppercase()] {
            assert_eq!(tenant_of(bad), None, "{bad}");
        }
    }
}
