//! A person's recorded events, for auditors: who changed what, when it was recorded, why. Straight from the event
//! store; what is personal in them stays sealed.

use axum::extract::State;
use events::{CloudEvent, EmployeeId, StreamName, Version};
use platform::{Problem, Reader, access::FieldClass};
use serde::Serialize;
use store::{Store, StoreError};

use crate::{
    cursor::Cursor,
    params::{Day, Fresh, Id, Limit, invalid, params},
    read::{Answer, Reads, Seen, behind, not_found},
    sight::Sight,
};

params! {
    /// For a list of events.
    EventListParams {
        /// How many events at most.
        limit: Limit,
        /// `next_cursor` of the page before.
        cursor: Cursor,
    }
}

/// One page of a person's events, as CloudEvents 1.0.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct EventPage {
    /// The position of the tenant's log up to which all of the person's events are counted in.
    position: u64,
    /// The events in stream order, each a CloudEvents 1.0 document in JSON.
    #[schema(value_type = Vec<serde_json::Map<String, serde_json::Value>>)]
    items: Vec<CloudEvent>,
    /// For the next page; null on the last.
    next_cursor: Option<String>,
}

/// The classes of facts that the events of a person's stream hold.
const IN_EVENTS: [FieldClass; 3] = [FieldClass::Directory, FieldClass::Personal, FieldClass::Pay];

/// A person's recorded events, first to last; for those who may see directory, personal facts and pay of the person.
#[utoipa::path(get, path = "/v1/employees/{id}/events", tag = "employee", params(("id" = uuid::Uuid, Path), EventListParams),
    responses((status = 200, description = "The answer", body = EventPage, headers(("Tenure-Position" = String))), (status = 404, description = "`not_found`: there is no such object", body = crate::openapi::ProblemDocument, content_type = "application/problem+json")))]
pub(crate) async fn recorded_events(
    State(store): State<Store>,
    State(reads): State<Reads>,
    reader: Reader,
    Id(id): Id<EmployeeId>,
    params: EventListParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    let scope = reader.0.scope;
    // Events have no day; every cursor carries the same one.
    let (filters, day) = ([("employee", Some(id.to_string()))], Day::NONE);
    let (listing, after) = reads.listing(&reader.0, "/v1/employees/{id}/events", &filters, (Some(day), day), params.cursor.as_ref())?;
    let after = match after.map(|key| <[u8; 8]>::try_from(key.as_slice())) {
        None => Version::ZERO,
        Some(Ok(bytes)) => Version(u64::from_be_bytes(bytes)),
        Some(Err(_)) => return Err(invalid("cursor", "holds no version")),
    };
    // An event holds facts of several classes: it is for those who may see all of them.
    let sight = Sight::of(&reader.0).only_of(id.uuid());
    if !sight.is_whole_of(&IN_EVENTS) {
        let sql = format!(
            "select (select position from checkpoint) as position, exists (select from employee e where e.employee_id = $1 and {}) as seen",
            Sight::sees(&IN_EVENTS)
        );
        if !reads.one_as::<Seen>(&reader, &sight, fresh, sqlx::query_as(&sql).bind(id.uuid())).await?.seen {
            return Err(not_found());
        }
    }
    let limit = usize::try_from(params.limit.unwrap_or_default().0).unwrap_or(1);
    // The head first: what the stream then holds is at least that new.
    let head = store.head(scope).await.map_err(unreadable)?;
    let position = i64::try_from(head.0).unwrap_or(i64::MAX);
    if position < fresh.position {
        return Err(behind(position, fresh.position));
    }
    let mut events = store.read_stream(StreamName::employee(scope, id), after, limit + 1).await.map_err(unreadable)?;
    if events.is_empty() && after == Version::ZERO {
        return Err(not_found());
    }
    let more = events.len() > limit;
    events.truncate(limit);
    let next_cursor = events.last().filter(|_| more).map(|last| listing.after(&last.version.0.to_be_bytes()));
    let page = EventPage { position: head.0, items: events.iter().map(CloudEvent::from).collect(), next_cursor };
    let json = serde_json::to_string(&page).map_err(|_| unreadable(StoreError::Broken("an event is not JSON".into())))?;
    Ok(Answer { position, version: None, json })
}

fn unreadable(error: StoreError) -> Problem {
    match &error {
        StoreError::Unavailable(why) => {
            tracing::warn!(why, "the event store is unavailable");
            Problem::unavailable("store_unavailable", "the event store is not available just now; try again")
        }
        StoreError::Broken(_) | StoreError::Unreadable { .. } => {
            tracing::error!(%error, "the event store is broken");
            Problem::new(http::StatusCode::INTERNAL_SERVER_ERROR, "internal", "something broke on our side")
        }
    }
}
