//! Who is away, and who of a team would be away together. Whoever sees a person in the directory sees that they are away; of which
//! kind, who may know it.

use std::sync::LazyLock;

use axum::extract::State;
use events::leave::LeaveRequestId;
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
    params::{Day, Fresh, Id, IdParam, Limit, NoParams, invalid, params},
    read::{Answer, Positioned, Reads, not_found},
};

/// The most days that one question may be about.
const MAX_DAYS: i32 = 400;

/// A day, or a half of one, on which somebody is away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Absence {
    /// The day.
    #[schema(format = Date)]
    pub day: String,
    /// `whole`, `morning` or `afternoon`.
    pub part: String,
    /// The person.
    pub employee_id: Uuid,
    /// Their given name on that day.
    pub given_name: Option<String>,
    /// Their family name on that day.
    pub family_name: Option<String>,
    /// The kind of leave; null where it is not the asker's to know.
    pub kind: Option<LeaveKind>,
}

/// A page of absences, by day and person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AbsencePage {
    /// Today in the tenant's time zone.
    #[schema(format = Date)]
    pub as_of: String,
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// The absences.
    pub items: Vec<Absence>,
    /// For the next page; null on the last.
    pub next_cursor: Option<String>,
}

params! {
    /// For who is away.
    AbsenceParams {
        /// The first day; today in the tenant's time zone if absent.
        from: Day,
        /// The last day; the first if absent. At most 400 days.
        to: Day,
        /// Only people in this department on that day.
        department: IdParam,
        /// Only people at this location on that day.
        location: IdParam,
        /// Only people who report to this person on that day.
        manager: IdParam,
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
    day: Option<Day>,
    part: Option<String>,
    employee_id: Option<Uuid>,
    given_name: Option<String>,
    family_name: Option<String>,
    type_id: Option<Uuid>,
    type_code: Option<String>,
    type_name: Option<String>,
}
impl Positioned for Row {
    fn position(&self) -> i64 {
        self.position
    }
}

impl Row {
    fn absence(self) -> Option<Absence> {
        let kind = LeaveKind::named((self.type_id, self.type_code, self.type_name));
        Some(Absence {
            day: self.day?.to_string(),
            part: self.part?,
            employee_id: self.employee_id?,
            given_name: self.given_name,
            family_name: self.family_name,
            kind,
        })
    }
}

/// A page of absences from day $1 to $2, after key $3, $4 rows long, in department $5, at location $6, under manager $7.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    let type_id = visible("r.type_id");
    format!(
        "with page as (
            select d.day, d.part, d.employee_id, d.request_id,
                to_char(d.day, 'YYYY-MM-DD') || '/' || d.employee_id || '/' || d.request_id || '/' || d.part as key,
                row_number() over (order by d.day, d.employee_id, d.request_id, d.part) as n
            from leave_day d
            where d.day between $1 and $2
              and ($3::text is null or to_char(d.day, 'YYYY-MM-DD') || '/' || d.employee_id || '/' || d.request_id || '/' || d.part > $3)
              and (($5::uuid is null and $6::uuid is null and $7::uuid is null) or exists (
                select from assignment_span a where a.employee_id = d.employee_id and a.valid_from <= d.day and d.day < a.valid_to
                  and ($5::uuid is null or a.department_id = $5) and ($6::uuid is null or a.location_id = $6)
                  and ($7::uuid is null or a.manager_id = $7)))
            order by d.day, d.employee_id, d.request_id, d.part limit $4 + 1
        )
        select c.position, (select key from page where n = $4 and exists (select from page where n > $4)) as next,
            p.day, p.part, p.employee_id, s.given_name, s.family_name, {type_id} as type_id, t.code as type_code, t.name as type_name
        from checkpoint c
        left join page p on p.n <= $4
        left join leave_request r on r.request_id = p.request_id
        left join leave_type t on t.type_id = {type_id}
        left join person_span s on s.employee_id = p.employee_id and s.valid_from <= p.day and p.day < s.valid_to
        order by p.n"
    )
});

/// Who is away on the days from one to another.
#[utoipa::path(get, path = "/v1/absences", tag = "leave", params(AbsenceParams),
    responses((status = 200, description = "The answer", body = AbsencePage, headers(("Tenure-Position" = String)))))]
pub(crate) async fn absences(State(reads): State<Reads>, reader: Reader, params: AbsenceParams, fresh: Fresh) -> Result<Answer, Problem> {
    let today = Day::today(&reader.0.tenant);
    let from = params.from.unwrap_or(today);
    let to = params.to.unwrap_or(from);
    if to < from {
        return Err(invalid("to", "must not be before from"));
    }
    if calculation::leave::dates::days_between(from.0, to.0) >= MAX_DAYS {
        return Err(invalid("to", "must be less than 400 days after from; ask in parts"));
    }
    let [department, location, manager] = [params.department, params.location, params.manager].map(|id| id.map(|id| id.0));
    let text = |id: Option<Uuid>| id.map(|id| id.to_string());
    let filters = [
        ("from", Some(from.to_string())),
        ("to", Some(to.to_string())),
        ("department", text(department)),
        ("location", text(location)),
        ("manager", text(manager)),
    ];
    let (listing, after) = reads.listing(&reader.0, "/v1/absences", &filters, (None, today), params.cursor.as_ref())?;
    let limit = params.limit.unwrap_or_default().0;
    let query = sqlx::query_as(&PAGE).bind(from).bind(to).bind(text_key(after)?).bind(limit).bind(department).bind(location).bind(manager);
    let (position, rows) = reads.all::<Row>(&reader, fresh, query).await?;
    let next = rows.first().and_then(|row| row.next.as_ref()).map(|key| listing.after(key.as_bytes()));
    let items: Vec<Absence> = rows.into_iter().filter_map(Row::absence).collect();
    Answer::page(listing.as_of, position, items, next)
}

/// Who of a team is away, or asks to be, on days of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveConflicts {
    /// The request.
    pub request_id: Uuid,
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// Others with the same manager or department on the request's first day, by day and name; at most 1,000.
    pub items: Vec<LeaveConflict>,
}

/// Somebody who is away, or asks to be, at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveConflict {
    /// The person.
    pub employee_id: Uuid,
    /// Their given name today.
    pub given_name: Option<String>,
    /// Their family name today.
    pub family_name: Option<String>,
    /// The first day of theirs.
    #[schema(format = Date)]
    pub first_day: String,
    /// The last day of theirs.
    #[schema(format = Date)]
    pub last_day: String,
    /// `pending`, `approved` or `cancellation_requested`.
    pub status: String,
}

#[derive(Debug, FromRow)]
struct ConflictRow {
    position: i64,
    request_id: Option<Uuid>,
    employee_id: Option<Uuid>,
    given_name: Option<String>,
    family_name: Option<String>,
    first_day: Option<Day>,
    last_day: Option<Day>,
    status: Option<String>,
}
impl Positioned for ConflictRow {
    fn position(&self) -> i64 {
        self.position
    }
}

/// Requests of others in the team that meet request $1, with names on day $2.
const CONFLICTS: &str = "
    with asked as (
        select r.request_id, r.employee_id, r.first_day, r.last_day, a.department_id, a.manager_id
        from leave_request r left join assignment_span a
            on a.employee_id = r.employee_id and a.valid_from <= r.first_day and r.first_day < a.valid_to
        where r.request_id = $1
    ), others as (
        select o.employee_id, o.first_day, o.last_day, o.status from asked q
        join leave_request o on o.first_day <= q.last_day and o.last_day >= q.first_day and o.employee_id <> q.employee_id
        join assignment_span a on a.employee_id = o.employee_id and a.valid_from <= q.first_day and q.first_day < a.valid_to
            and (a.department_id = q.department_id or a.manager_id = q.manager_id)
        where o.status in ('pending', 'approved', 'cancellation_requested')
        order by o.first_day, o.employee_id limit 1000
    )
    select c.position, q.request_id, o.employee_id, s.given_name, s.family_name, o.first_day, o.last_day, o.status
    from checkpoint c left join asked q on true left join others o on true
    left join person_span s on s.employee_id = o.employee_id and s.valid_from <= $2 and $2 < s.valid_to
    order by o.first_day, s.family_name, s.given_name, o.employee_id";

/// Who of the person's team is away, or asks to be, on days of a request, as far as the asker sees their absences.
#[utoipa::path(get, path = "/v1/leave-requests/{id}/conflicts", tag = "leave", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The answer", body = LeaveConflicts, headers(("Tenure-Position" = String))), (status = 404, description = "`not_found`: there is no such object", body = crate::openapi::ProblemDocument, content_type = "application/problem+json")))]
pub(crate) async fn leave_conflicts(
    State(reads): State<Reads>,
    reader: Reader,
    Id(id): Id<LeaveRequestId>,
    _params: NoParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    reader.0.require_any(Action::Read, FieldClass::Absence)?;
    let query = sqlx::query_as(CONFLICTS).bind(id.uuid()).bind(Day::today(&reader.0.tenant));
    let (position, rows) = reads.all::<ConflictRow>(&reader, fresh, query).await?;
    if rows.iter().all(|row| row.request_id.is_none()) {
        return Err(not_found());
    }
    let item = |row: ConflictRow| {
        Some(LeaveConflict {
            employee_id: row.employee_id?,
            given_name: row.given_name,
            family_name: row.family_name,
            first_day: row.first_day?.to_string(),
            last_day: row.last_day?.to_string(),
            status: row.status?,
        })
    };
    let items = rows.into_iter().filter_map(item).collect();
    Answer::json(position, &LeaveConflicts { request_id: id.uuid(), position, items })
}
