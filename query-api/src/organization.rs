//! Departments as a tree, locations and jobs, as of a day. One that does not exist on that day is not found.

use axum::extract::State;
use events::{DepartmentId, JobId, LocationId};
use platform::{Problem, Reader};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    cursor::{Cursor, Listing, text_key},
    params::{Day, Fresh, Id, IdParam, Limit, params},
    read::{Answer, Reads, Rows},
};

/// A department as of a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Department {
    /// The department.
    pub department_id: Uuid,
    /// The tenant's own code.
    pub code: String,
    /// The name on that day.
    pub name: String,
    /// The department above it; null for a root.
    pub parent_id: Option<Uuid>,
    /// 0 for a root; null where its chain of parents leads to no root.
    pub depth: Option<u32>,
    /// Codes from the root down to the department itself; null as `depth`.
    pub path: Option<Vec<String>>,
    /// Since when it has stood like this.
    #[schema(format = Date)]
    pub valid_from: String,
    /// The first day on which it no longer does; null for none.
    #[schema(format = Date)]
    pub valid_to: Option<String>,
}

/// A location as of a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Location {
    /// The location.
    pub location_id: Uuid,
    /// The tenant's own code.
    pub code: String,
    /// The name on that day.
    pub name: String,
    /// IANA time zone name.
    pub time_zone: String,
    /// Since when it has stood like this.
    #[schema(format = Date)]
    pub valid_from: String,
    /// The first day on which it no longer does; null for none.
    #[schema(format = Date)]
    pub valid_to: Option<String>,
}

/// A job as of a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The job.
    pub job_id: Uuid,
    /// The tenant's own code.
    pub code: String,
    /// The title on that day.
    pub title: String,
    /// Since when it has stood like this.
    #[schema(format = Date)]
    pub valid_from: String,
    /// The first day on which it no longer does; null for none.
    #[schema(format = Date)]
    pub valid_to: Option<String>,
}

/// One page of departments, by code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DepartmentPage {
    /// The day that the answer is about.
    #[schema(format = Date)]
    pub as_of: String,
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// The departments.
    pub items: Vec<Department>,
    /// For the next page; null on the last.
    pub next_cursor: Option<String>,
}

/// One page of locations, by code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LocationPage {
    /// The day that the answer is about.
    #[schema(format = Date)]
    pub as_of: String,
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// The locations.
    pub items: Vec<Location>,
    /// For the next page; null on the last.
    pub next_cursor: Option<String>,
}

/// One page of jobs, by code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobPage {
    /// The day that the answer is about.
    #[schema(format = Date)]
    pub as_of: String,
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// The jobs.
    pub items: Vec<Job>,
    /// For the next page; null on the last.
    pub next_cursor: Option<String>,
}

params! {
    /// For one object.
    OneParams {
        /// The day to answer for, past or future; today in UTC if absent.
        as_of: Day,
    }
}

params! {
    /// For a list of locations or jobs.
    ListParams {
        /// The day to answer for, past or future; today in UTC if absent.
        as_of: Day,
        /// How many rows at most.
        limit: Limit,
        /// `next_cursor` of the page before, with the same parameters.
        cursor: Cursor,
    }
}

params! {
    /// For a list of departments.
    DepartmentListParams {
        /// The day to answer for, past or future; today in UTC if absent.
        as_of: Day,
        /// Only the departments directly below this one.
        parent: IdParam,
        /// How many rows at most.
        limit: Limit,
        /// `next_cursor` of the page before, with the same parameters.
        cursor: Cursor,
    }
}

/// Departments on day $1 with their place in the tree. Built from the roots down, so a ring of parents, which no root
/// leads to, ends the recursion rather than running for ever.
const TREE: &str = "
    with recursive live as materialized (
        select department_id, code, name, parent_id, valid_from, valid_to
        from department_span where valid_from <= $1 and $1 < valid_to
    ), tree as (
        select department_id, 0 as depth, array[code] as path
        from live l where not exists (select from live p where p.department_id = l.parent_id)
        union all
        select l.department_id, t.depth + 1, t.path || l.code
        from tree t join live l on l.parent_id = t.department_id
    ), thing as (
        select department_id, code, name, parent_id, depth, path, valid_from, nullif(valid_to, 'infinity') as valid_to
        from live left join tree using (department_id)
    )";

const LOCATIONS: &str = "
    with thing as (
        select location_id, code, name, time_zone, valid_from, nullif(valid_to, 'infinity') as valid_to
        from location_span where valid_from <= $1 and $1 < valid_to
    )";

const JOBS: &str = "
    with thing as (
        select job_id, code, title, valid_from, nullif(valid_to, 'infinity') as valid_to
        from job_span where valid_from <= $1 and $1 < valid_to
    )";

/// The object with id $2 out of `thing`.
fn one(things: &str, id: &str) -> String {
    format!(
        "{things} select (select position from checkpoint) as position, (select row_to_json(thing)::text from thing where {id} = $2) as body"
    )
}

/// A page of `thing` by code after $2, $3 rows long.
fn page(things: &str, filter: &str) -> String {
    format!(
        "{things}, page as (
            select *, row_number() over (order by code collate \"C\") as n from thing
            where ($2::text is null or code collate \"C\" > $2) and {filter} order by code collate \"C\" limit $3 + 1
        )
        select (select position from checkpoint) as position,
               coalesce((select json_agg(thing order by code collate \"C\") from thing where code in (select code from page where n <= $3)), '[]')::text as items,
               (select code from page where n = $3 and exists (select from page where n > $3)) as next"
    )
}

/// One department as of a day.
#[utoipa::path(get, path = "/v1/departments/{id}", tag = "organization", params(("id" = Uuid, Path), OneParams),
    responses((status = 200, description = "The answer", body = Department, headers(("Tenure-Position" = String))), (status = 404, description = "There is no such object", body = crate::openapi::ProblemDocument, content_type = "application/problem+json")))]
pub(crate) async fn department(
    State(reads): State<Reads>,
    reader: Reader,
    Id(id): Id<DepartmentId>,
    params: OneParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    find(&reads, &reader, fresh, &one(TREE, "department_id"), id.uuid(), params).await
}

/// Departments as of a day, by code.
#[utoipa::path(get, path = "/v1/departments", tag = "organization", params(DepartmentListParams),
    responses((status = 200, description = "The answer", body = DepartmentPage, headers(("Tenure-Position" = String)))))]
pub(crate) async fn departments(
    State(reads): State<Reads>,
    reader: Reader,
    params: DepartmentListParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    let parent = params.parent.map(|id| id.0);
    let filters = [("parent", parent.map(|id| id.to_string()))];
    let (listing, after) =
        Listing::open(reader.0.scope, &reader.0.epoch, "/v1/departments", &filters, params.as_of, params.cursor.as_ref())?;
    let limit = params.limit.unwrap_or_default().0;
    let sql = page(TREE, "($4::uuid is null or parent_id = $4)");
    let query = sqlx::query_as(&sql).bind(listing.as_of).bind(text_key(after)?).bind(limit).bind(parent);
    let rows: Rows = reads.one(&reader, fresh, query).await?;
    let next = rows.next.as_ref().map(|code| listing.after(code.as_bytes()));
    Answer::page(listing.as_of, rows.position, rows.items()?, next)
}

/// One location as of a day.
#[utoipa::path(get, path = "/v1/locations/{id}", tag = "organization", params(("id" = Uuid, Path), OneParams),
    responses((status = 200, description = "The answer", body = Location, headers(("Tenure-Position" = String))), (status = 404, description = "There is no such object", body = crate::openapi::ProblemDocument, content_type = "application/problem+json")))]
pub(crate) async fn location(
    State(reads): State<Reads>,
    reader: Reader,
    Id(id): Id<LocationId>,
    params: OneParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    find(&reads, &reader, fresh, &one(LOCATIONS, "location_id"), id.uuid(), params).await
}

/// Locations as of a day, by code.
#[utoipa::path(get, path = "/v1/locations", tag = "organization", params(ListParams),
    responses((status = 200, description = "The answer", body = LocationPage, headers(("Tenure-Position" = String)))))]
pub(crate) async fn locations(State(reads): State<Reads>, reader: Reader, params: ListParams, fresh: Fresh) -> Result<Answer, Problem> {
    list(&reads, &reader, fresh, "/v1/locations", LOCATIONS, params).await
}

/// One job as of a day.
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "organization", params(("id" = Uuid, Path), OneParams),
    responses((status = 200, description = "The answer", body = Job, headers(("Tenure-Position" = String))), (status = 404, description = "There is no such object", body = crate::openapi::ProblemDocument, content_type = "application/problem+json")))]
pub(crate) async fn job(
    State(reads): State<Reads>,
    reader: Reader,
    Id(id): Id<JobId>,
    params: OneParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    find(&reads, &reader, fresh, &one(JOBS, "job_id"), id.uuid(), params).await
}

/// Jobs as of a day, by code.
#[utoipa::path(get, path = "/v1/jobs", tag = "organization", params(ListParams),
    responses((status = 200, description = "The answer", body = JobPage, headers(("Tenure-Position" = String)))))]
pub(crate) async fn jobs(State(reads): State<Reads>, reader: Reader, params: ListParams, fresh: Fresh) -> Result<Answer, Problem> {
    list(&reads, &reader, fresh, "/v1/jobs", JOBS, params).await
}

async fn find(reads: &Reads, reader: &Reader, fresh: Fresh, sql: &str, id: Uuid, params: OneParams) -> Result<Answer, Problem> {
    let as_of = params.as_of.unwrap_or_else(Day::today);
    Answer::of(reads.one(reader, fresh, sqlx::query_as(sql).bind(as_of).bind(id)).await?)
}

async fn list(reads: &Reads, reader: &Reader, fresh: Fresh, route: &str, things: &str, params: ListParams) -> Result<Answer, Problem> {
    let (listing, after) = Listing::open(reader.0.scope, &reader.0.epoch, route, &[], params.as_of, params.cursor.as_ref())?;
    let limit = params.limit.unwrap_or_default().0;
    let sql = page(things, "true");
    let query = sqlx::query_as(&sql).bind(listing.as_of).bind(text_key(after)?).bind(limit);
    let rows: Rows = reads.one(reader, fresh, query).await?;
    let next = rows.next.as_ref().map(|code| listing.after(code.as_bytes()));
    Answer::page(listing.as_of, rows.position, rows.items()?, next)
}
