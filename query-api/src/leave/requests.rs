//! Requests for leave: a person's, and those of everybody whose absences the asker sees.

use std::sync::LazyLock;

use axum::extract::State;
use events::{EmployeeId, leave::DayCost};
use platform::{
    Problem, Reader,
    access::{Action, FieldClass},
};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{LeaveKind, visible};
use crate::{
    cursor::{Cursor, text_key},
    params::{Day, Fresh, Id, Limit, params},
    read::{Answer, Positioned, Reads, not_found, stored},
};

/// A request for leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveRequestItem {
    /// The request.
    pub request_id: Uuid,
    /// The person.
    pub employee_id: Uuid,
    /// Their given name today.
    pub given_name: Option<String>,
    /// Their family name today.
    pub family_name: Option<String>,
    /// The kind of leave; null where it is not the asker's to know.
    pub kind: Option<LeaveKind>,
    /// `pending`, `approved`, `rejected`, `withdrawn`, `cancellation_requested` or `cancelled`.
    pub status: String,
    /// The first day.
    #[schema(format = Date)]
    pub first_day: String,
    /// The last day.
    #[schema(format = Date)]
    pub last_day: String,
    /// What it costs, in the policy's unit, as text.
    pub cost: String,
    /// Each day, with what it costs and why.
    pub days: Vec<DayCost>,
    /// How many events it has had, from 1.
    pub sequence: i64,
    /// The day of its cancellation.
    #[schema(format = Date)]
    pub cancelled_on: Option<String>,
    /// What the person said about it; null where it is not the asker's to know.
    pub note: Option<String>,
    /// Why it was rejected, or stands although its cancellation was asked for.
    pub decision_reason: Option<String>,
}

/// A page of requests, earliest first day first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveRequestPage {
    /// The day by which people's names are shown.
    #[schema(format = Date)]
    pub as_of: String,
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// The requests.
    pub items: Vec<LeaveRequestItem>,
    /// For the next page; null on the last.
    pub next_cursor: Option<String>,
}

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum Status {
    Pending,
    Approved,
    Rejected,
    Withdrawn,
    CancellationRequested,
    Cancelled,
}
impl Status {
    const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::CancellationRequested => "cancellation_requested",
            Self::Cancelled => "cancelled",
        }
    }
}
impl std::str::FromStr for Status {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Pending, Self::Approved, Self::Rejected, Self::Withdrawn, Self::CancellationRequested, Self::Cancelled];
        let found = all.into_iter().find(|status| status.name() == text);
        found.ok_or("must be pending, approved, rejected, withdrawn, cancellation_requested or cancelled")
    }
}

params! {
    /// For requests.
    RequestParams {
        /// Only requests that stand so.
        status: Status,
        /// Only requests with a day on or after this one.
        from: Day,
        /// Only requests with a day on or before this one.
        to: Day,
        /// How many rows at most.
        limit: Limit,
        /// `next_cursor` of the page before, with the same parameters.
        cursor: Cursor,
    }
}

#[derive(Debug, FromRow)]
struct Row {
    position: i64,
    next: Option<String>,
    is_there: bool,
    request_id: Option<Uuid>,
    employee_id: Option<Uuid>,
    given_name: Option<String>,
    family_name: Option<String>,
    type_id: Option<Uuid>,
    type_code: Option<String>,
    type_name: Option<String>,
    status: Option<String>,
    first_day: Option<Day>,
    last_day: Option<Day>,
    cost: Option<String>,
    days: Option<String>,
    sequence: Option<i64>,
    cancelled_on: Option<Day>,
    note: Option<String>,
    decision_reason: Option<String>,
}
impl Positioned for Row {
    fn position(&self) -> i64 {
        self.position
    }
}

impl Row {
    fn item(self) -> Result<Option<LeaveRequestItem>, Problem> {
        let (Some(request_id), Some(employee_id)) = (self.request_id, self.employee_id) else { return Ok(None) };
        let kind = LeaveKind::named((self.type_id, self.type_code, self.type_name));
        let written = |day: Option<Day>| day.map(|day| day.to_string());
        Ok(Some(LeaveRequestItem {
            request_id,
            employee_id,
            given_name: self.given_name,
            family_name: self.family_name,
            kind,
            status: self.status.unwrap_or_default(),
            first_day: written(self.first_day).unwrap_or_default(),
            last_day: written(self.last_day).unwrap_or_default(),
            cost: self.cost.unwrap_or_default(),
            days: stored(self.days.as_deref())?,
            sequence: self.sequence.unwrap_or(0),
            cancelled_on: written(self.cancelled_on),
            note: self.note,
            decision_reason: self.decision_reason,
        }))
    }
}

/// A page of requests: on day $1, after key $2, $3 rows long, of status $4, within days $5 and $6, of person $7.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    let (type_id, note) = (visible("r.type_id"), visible("r.note"));
    let key = "(to_char(r.first_day, 'YYYY-MM-DD') || '/' || r.request_id)";
    format!(
        "with page as (
            select r.request_id, {key} as key, row_number() over (order by r.first_day, r.request_id) as n from leave_request r
            where ($2::text is null or {key} > $2) and ($4::text is null or r.status = $4) and ($5::date is null or r.last_day >= $5)
              and ($6::date is null or r.first_day <= $6) and ($7::uuid is null or r.employee_id = $7)
            order by r.first_day, r.request_id limit $3 + 1
        )
        select c.position, (select key from page where n = $3 and exists (select from page where n > $3)) as next,
            exists (select from employee e where e.employee_id = $7) as is_there,
            r.request_id, r.employee_id, s.given_name, s.family_name, {type_id} as type_id, t.code as type_code, t.name as type_name,
            r.status, r.first_day, r.last_day, trim_scale(r.cost)::text as cost, r.days, r.sequence, r.cancelled_on, {note} as note,
            r.decision_reason
        from checkpoint c
        left join leave_request r on r.request_id in (select request_id from page where n <= $3)
        left join leave_type t on t.type_id = {type_id}
        left join person_span s on s.employee_id = r.employee_id and s.valid_from <= $1 and $1 < s.valid_to
        order by r.first_day, r.request_id"
    )
});

/// A person's requests.
#[utoipa::path(get, path = "/v1/employees/{id}/leave-requests", tag = "leave", params(("id" = Uuid, Path), RequestParams),
    responses((status = 200, description = "The answer", body = LeaveRequestPage, headers(("Tenure-Position" = String))), (status = 404, description = "`not_found`: there is no such object", body = crate::openapi::ProblemDocument, content_type = "application/problem+json")))]
pub(crate) async fn leave_requests_of_person(
    State(reads): State<Reads>,
    reader: Reader,
    Id(id): Id<EmployeeId>,
    params: RequestParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    list(&reads, &reader, fresh, params, Some(id.uuid())).await
}

/// Requests of everybody whose absences the asker sees: what waits for a decision, with `status=pending`.
#[utoipa::path(get, path = "/v1/leave-requests", tag = "leave", params(RequestParams),
    responses((status = 200, description = "The answer", body = LeaveRequestPage, headers(("Tenure-Position" = String)))))]
pub(crate) async fn leave_requests(
    State(reads): State<Reads>,
    reader: Reader,
    params: RequestParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    list(&reads, &reader, fresh, params, None).await
}

async fn list(reads: &Reads, reader: &Reader, fresh: Fresh, params: RequestParams, person: Option<Uuid>) -> Result<Answer, Problem> {
    reader.0.require_any(Action::Read, FieldClass::Absence)?;
    let today = Day::today(&reader.0.tenant);
    let (status, from, to) = (params.status.map(Status::name), params.from, params.to);
    let filters = [
        ("status", status.map(str::to_owned)),
        ("from", from.map(|day| day.to_string())),
        ("to", to.map(|day| day.to_string())),
        ("person", person.map(|id| id.to_string())),
    ];
    let (listing, after) = reads.listing(&reader.0, "/v1/leave-requests", &filters, (None, today), params.cursor.as_ref())?;
    let limit = params.limit.unwrap_or_default().0;
    let query = sqlx::query_as(&PAGE).bind(listing.as_of).bind(text_key(after)?).bind(limit).bind(status).bind(from).bind(to).bind(person);
    let (position, rows) = reads.all::<Row>(reader, fresh, query).await?;
    if person.is_some() && !rows.iter().any(|row| row.is_there) {
        return Err(not_found());
    }
    let next = rows.first().and_then(|row| row.next.as_ref()).map(|key| listing.after(key.as_bytes()));
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        items.extend(row.item()?);
    }
    Answer::page(listing.as_of, position, items, next)
}
