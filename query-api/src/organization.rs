//! Departments as a tree, locations and jobs, as of a day. One that does not exist on that day is not found.

pub mod calendar;

use axum::extract::State;
use events::{DepartmentId, JobId, LocationId};
use platform::{Problem, Reader};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, Row as _, postgres::PgRow};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    App,
    cursor::{Cursor, Listing, text_key},
    params::{Day, Fresh, Id, IdParam, Limit, params},
    read::{Answer, Positioned, Reads, not_found},
};

/// What the contract says of these routes.
pub(crate) const TAG: &str = "Departments, locations and jobs";

/// The routes.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(departments))
        .routes(routes!(department))
        .routes(routes!(locations))
        .routes(routes!(location))
        .routes(routes!(jobs))
        .routes(routes!(job))
        .routes(routes!(calendar::work_schedules))
        .routes(routes!(calendar::holiday_calendars))
        .routes(routes!(calendar::holiday_calendar))
}

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
        /// The day to answer for, past or future; today in the tenant's time zone if absent.
        as_of: Day,
    }
}

params! {
    /// For a list of locations or jobs.
    ListParams {
        /// The day to answer for, past or future; today in the tenant's time zone if absent.
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
        /// The day to answer for, past or future; today in the tenant's time zone if absent.
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

/// A row of `thing` beside the position; no thing where there is none.
struct Found<T> {
    position: i64,
    /// The key of the page's last row, if more follow.
    next: Option<String>,
    thing: Option<T>,
}

impl<'r, T: FromRow<'r, PgRow>> FromRow<'r, PgRow> for Found<T> {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        let is_there = row.try_get::<Option<String>, _>("code")?.is_some();
        let thing = if is_there { Some(T::from_row(row)?) } else { None };
        Ok(Self { position: row.try_get("position")?, next: row.try_get("next")?, thing })
    }
}

impl<T: for<'r> FromRow<'r, PgRow> + Send + Unpin> Positioned for Found<T> {
    fn position(&self) -> i64 {
        self.position
    }
}

/// A day as it is written, where there is one.
fn written(row: &PgRow, column: &str) -> Result<Option<String>, sqlx::Error> {
    Ok(row.try_get::<Option<Day>, _>(column)?.map(|day| day.to_string()))
}

/// Since when it has stood like this.
fn since(row: &PgRow) -> Result<String, sqlx::Error> {
    Ok(row.try_get::<Day, _>("valid_from")?.to_string())
}

impl FromRow<'_, PgRow> for Department {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            department_id: row.try_get("department_id")?,
            code: row.try_get("code")?,
            name: row.try_get("name")?,
            parent_id: row.try_get("parent_id")?,
            depth: row.try_get::<Option<i32>, _>("depth")?.and_then(|depth| u32::try_from(depth).ok()),
            path: row.try_get("path")?,
            valid_from: since(row)?,
            valid_to: written(row, "valid_to")?,
        })
    }
}

impl FromRow<'_, PgRow> for Location {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            location_id: row.try_get("location_id")?,
            code: row.try_get("code")?,
            name: row.try_get("name")?,
            time_zone: row.try_get("time_zone")?,
            valid_from: since(row)?,
            valid_to: written(row, "valid_to")?,
        })
    }
}

impl FromRow<'_, PgRow> for Job {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            job_id: row.try_get("job_id")?,
            code: row.try_get("code")?,
            title: row.try_get("title")?,
            valid_from: since(row)?,
            valid_to: written(row, "valid_to")?,
        })
    }
}

/// The object with id $2 out of `thing`.
fn one(things: &str, id: &str) -> String {
    format!("{things} select c.position, null::text as next, thing.* from checkpoint c left join thing on thing.{id} = $2")
}

/// A page of `thing` by code after $2, $3 rows long.
fn page(things: &str, filter: &str) -> String {
    format!(
        "{things}, page as (
            select code, row_number() over (order by code collate \"C\") as n from thing
            where ($2::text is null or code collate \"C\" > $2) and {filter} order by code collate \"C\" limit $3 + 1
        )
        select c.position, (select code from page where n = $3 and exists (select from page where n > $3)) as next, thing.*
        from checkpoint c left join thing on thing.code in (select code from page where n <= $3) order by thing.code collate \"C\""
    )
}

/// One department as of a day.
#[utoipa::path(get, path = "/v1/departments/{id}", tag = "organization", params(("id" = Uuid, Path), OneParams),
    responses((status = 200, description = "The answer", body = Department, headers(("Tenure-Position" = String))), (status = 404, description = "`not_found`: there is no such object", body = crate::openapi::ProblemDocument, content_type = "application/problem+json")))]
pub(crate) async fn department(
    State(reads): State<Reads>,
    reader: Reader,
    Id(id): Id<DepartmentId>,
    params: OneParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    find::<Department>(&reads, &reader, fresh, &one(TREE, "department_id"), id.uuid(), params).await
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
    let today = Day::today(&reader.0.tenant);
    let (listing, after) = reads.listing(&reader.0, "/v1/departments", &filters, (params.as_of, today), params.cursor.as_ref())?;
    let limit = params.limit.unwrap_or_default().0;
    let sql = page(TREE, "($4::uuid is null or parent_id = $4)");
    let query = sqlx::query_as(&sql).bind(listing.as_of).bind(text_key(after)?).bind(limit).bind(parent);
    let (position, rows) = reads.all::<Found<Department>>(&reader, fresh, query).await?;
    listed(&listing, position, rows)
}

/// One location as of a day.
#[utoipa::path(get, path = "/v1/locations/{id}", tag = "organization", params(("id" = Uuid, Path), OneParams),
    responses((status = 200, description = "The answer", body = Location, headers(("Tenure-Position" = String))), (status = 404, description = "`not_found`: there is no such object", body = crate::openapi::ProblemDocument, content_type = "application/problem+json")))]
pub(crate) async fn location(
    State(reads): State<Reads>,
    reader: Reader,
    Id(id): Id<LocationId>,
    params: OneParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    find::<Location>(&reads, &reader, fresh, &one(LOCATIONS, "location_id"), id.uuid(), params).await
}

/// Locations as of a day, by code.
#[utoipa::path(get, path = "/v1/locations", tag = "organization", params(ListParams),
    responses((status = 200, description = "The answer", body = LocationPage, headers(("Tenure-Position" = String)))))]
pub(crate) async fn locations(State(reads): State<Reads>, reader: Reader, params: ListParams, fresh: Fresh) -> Result<Answer, Problem> {
    list::<Location>(&reads, &reader, fresh, "/v1/locations", LOCATIONS, params).await
}

/// One job as of a day.
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "organization", params(("id" = Uuid, Path), OneParams),
    responses((status = 200, description = "The answer", body = Job, headers(("Tenure-Position" = String))), (status = 404, description = "`not_found`: there is no such object", body = crate::openapi::ProblemDocument, content_type = "application/problem+json")))]
pub(crate) async fn job(
    State(reads): State<Reads>,
    reader: Reader,
    Id(id): Id<JobId>,
    params: OneParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    find::<Job>(&reads, &reader, fresh, &one(JOBS, "job_id"), id.uuid(), params).await
}

/// Jobs as of a day, by code.
#[utoipa::path(get, path = "/v1/jobs", tag = "organization", params(ListParams),
    responses((status = 200, description = "The answer", body = JobPage, headers(("Tenure-Position" = String)))))]
pub(crate) async fn jobs(State(reads): State<Reads>, reader: Reader, params: ListParams, fresh: Fresh) -> Result<Answer, Problem> {
    list::<Job>(&reads, &reader, fresh, "/v1/jobs", JOBS, params).await
}

async fn find<T: for<'r> FromRow<'r, PgRow> + Serialize + Send + Unpin>(
    reads: &Reads,
    reader: &Reader,
    fresh: Fresh,
    sql: &str,
    id: Uuid,
    params: OneParams,
) -> Result<Answer, Problem> {
    let as_of = params.as_of.unwrap_or_else(|| Day::today(&reader.0.tenant));
    let found: Found<T> = reads.one(reader, fresh, sqlx::query_as(sql).bind(as_of).bind(id)).await?;
    Answer::json(found.position, &found.thing.ok_or_else(not_found)?)
}

async fn list<T: for<'r> FromRow<'r, PgRow> + Serialize + Send + Unpin>(
    reads: &Reads,
    reader: &Reader,
    fresh: Fresh,
    route: &str,
    things: &str,
    params: ListParams,
) -> Result<Answer, Problem> {
    let today = Day::today(&reader.0.tenant);
    let (listing, after) = reads.listing(&reader.0, route, &[], (params.as_of, today), params.cursor.as_ref())?;
    let limit = params.limit.unwrap_or_default().0;
    let sql = page(things, "true");
    let query = sqlx::query_as(&sql).bind(listing.as_of).bind(text_key(after)?).bind(limit);
    let (position, rows) = reads.all::<Found<T>>(reader, fresh, query).await?;
    listed(&listing, position, rows)
}

/// The page that rows are.
fn listed<T: Serialize>(listing: &Listing, position: i64, rows: Vec<Found<T>>) -> Result<Answer, Problem> {
    let next = rows.first().and_then(|row| row.next.as_ref()).map(|code| listing.after(code.as_bytes()));
    let items: Vec<T> = rows.into_iter().filter_map(|row| row.thing).collect();
    Answer::page(listing.as_of, position, items, next)
}
