//! What came of a command: an answer, or one of three failures that call for different things.

use events::{Position, StreamName, Version};
use http::StatusCode;
use platform::Problem;
use serde::{Deserialize, Serialize};
use store::Appended;
use utoipa::ToSchema;

use crate::{aggregate::Aggregate, sent::SentCommand};

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Answer {
    /// The stream that took the events.
    pub stream: String,
    /// The id of what the command created or changed.
    pub id: String,
    /// The stream's version after it; also the `ETag`.
    pub version: Version,
    /// The position to wait for in a query, which is sent as the header `Tenure-Position` says it: with the epoch before it, where
    /// there is one, as in `2-3f9a1b2c.17`.
    pub position: Position,
    /// The epoch that position and version belong to; absent in the first one, before any restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// The events' ids; none if everything was so already.
    #[schema(value_type = Vec<uuid::Uuid>)]
    pub events: Vec<events::EventId>,
    /// Whether this is the answer to an earlier attempt of the same command.
    pub replayed: bool,
}

impl Answer {
    /// Of a command whose events are durable.
    pub(crate) fn appended(sent: &SentCommand, stream: StreamName, appended: Appended) -> Self {
        Self {
            stream: stream.to_string(),
            id: sent.command.object_id(),
            version: appended.version,
            position: appended.position,
            epoch: sent.sender.epoch().tag().map(Into::into),
            events: appended.event_ids,
            replayed: appended.replayed,
        }
    }
    /// Of a command that has nothing to change.
    pub(crate) fn nothing(sent: &SentCommand, stream: StreamName, aggregate: &Aggregate) -> Self {
        Self {
            stream: stream.to_string(),
            id: sent.command.object_id(),
            version: aggregate.version,
            position: aggregate.position,
            epoch: sent.sender.epoch().tag().map(Into::into),
            events: Vec::new(),
            replayed: false,
        }
    }
}

/// Why a command has no [`Answer`]. Each holds what a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A rule or a right said no, or somebody else holds a value that must be unique. Sent again as it is, it is refused again.
    Refused(Problem),
    /// It was refused before, when it was sent first: with this status and this problem document (I7).
    RefusedEarlier(StatusCode, serde_json::Value),
    /// Others were faster: it is to be decided anew, on what there is now.
    Conflict(Problem),
    /// Something is down or broken. Whether the command was carried out is not known: it is to be sent again under the same
    /// identity.
    Broken(Problem),
}

/// What is wrong with us is a breakage; whatever else a check says no to is a refusal.
impl<P: Into<Problem>> From<P> for Failure {
    fn from(problem: P) -> Self {
        let problem = problem.into();
        if problem.status.is_server_error() { Self::Broken(problem) } else { Self::Refused(problem) }
    }
}

impl Failure {
    /// The HTTP status that tells a client.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Refused(problem) | Self::Conflict(problem) | Self::Broken(problem) => problem.status,
            Self::RefusedEarlier(status, _) => *status,
        }
    }
    /// The problem document.
    pub fn document(&self) -> serde_json::Value {
        match self {
            Self::Refused(problem) | Self::Conflict(problem) | Self::Broken(problem) => problem.document(),
            Self::RefusedEarlier(_, document) => document.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_can_tell_a_refusal_from_a_breakage() {
        for (status, refused) in [(401, true), (403, true), (404, true), (422, true), (500, false), (503, false)] {
            let problem = Problem::new(StatusCode::from_u16(status).unwrap(), "code", "detail");
            let failure = Failure::from(problem.clone());
            assert_eq!(failure, if refused { Failure::Refused(problem) } else { Failure::Broken(problem) });
            assert_eq!(failure.status().as_u16(), status);
        }
    }
}
