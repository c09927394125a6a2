//! Lists of people with filters, by name, page after page.

use axum::extract::State;
use platform::{Problem, Reader};
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, QueryBuilder};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Manager, Named, Status, department_on, job_on, location_on, manager_on, status_on};
use crate::{
    cursor::{Cursor, Listing, id_key},
    params::{Day, Fresh, IdParam, Limit, params},
    read::{Answer, Reads, Rows},
};

/// A person in a list, as of its day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmployeeSummary {
    /// The person.
    pub employee_id: Uuid,
    /// The tenant's own number; null once erased.
    pub employee_number: Option<String>,
    /// Given name or names; null once erased.
    pub given_name: Option<String>,
    /// Family name; null once erased.
    pub family_name: Option<String>,
    /// Address at work.
    pub work_email: Option<String>,
    /// Where the person stands on that day.
    pub status: Status,
    /// The first day of the employment.
    #[schema(format = Date)]
    pub starts_on: String,
    /// The first day no longer employed; null while open.
    #[schema(format = Date)]
    pub ends_on: Option<String>,
    /// The department; of those who are not employed on the day the last one, else the first.
    pub department: Option<Named>,
    /// The job; see `department`.
    pub job: Option<Named>,
    /// The place of work; see `department`.
    pub location: Option<Named>,
    /// The person reported to; see `department`.
    pub manager: Option<Manager>,
}

/// One page of people, by family name, given name and id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmployeePage {
    /// The day that the answer is about.
    #[schema(format = Date)]
    pub as_of: String,
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// The people.
    pub items: Vec<EmployeeSummary>,
    /// For the next page; null on the last.
    pub next_cursor: Option<String>,
}

/// Words to look for: each must stand in the names or in the employee number.
#[derive(Debug, Clone, ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 100)]
pub(crate) struct Words(Vec<String>);

impl std::str::FromStr for Words {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.chars().count() > 100 || text.chars().any(char::is_control) {
            return Err("must be at most 100 characters without control characters");
        }
        let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
        if words.is_empty() || words.len() > 8 { Err("must hold one to eight words") } else { Ok(Self(words)) }
    }
}

params! {
    /// For a list of people.
    EmployeeListParams {
        /// The day to answer for, past or future; today in UTC if absent.
        as_of: Day,
        /// Only those of this department and of the departments below it on that day.
        department: IdParam,
        /// `false`: without the departments below.
        include_subdepartments: bool,
        /// Only those with this job.
        job: IdParam,
        /// Only those at this location.
        location: IdParam,
        /// Only those who report to this person directly.
        manager: IdParam,
        /// `active` (if absent), `not_yet_hired` or `terminated`.
        status: Status,
        /// Only those in whose given name, family name or employee number each of these words stands, in any case.
        q: Words,
        /// How many rows at most.
        limit: Limit,
        /// `next_cursor` of the page before, with the same parameters.
        cursor: Cursor,
    }
}

/// The order of the list, the same to the letter as the index `person_span_name`.
const FAMILY: &str = "coalesce(p.family_name, '') collate \"C\"";
const GIVEN: &str = "coalesce(p.given_name, '') collate \"C\"";
const ORDER: &str = "order by coalesce(p.family_name, '') collate \"C\", coalesce(p.given_name, '') collate \"C\", p.employee_id";

/// So many people are sorted as fast as some fifty of them are found on the way through the names of 300,000.
const FEW: u32 = 3_000;

/// People as of a day, by name.
#[utoipa::path(get, path = "/v1/employees", tag = "employee", params(EmployeeListParams),
    responses((status = 200, description = "The answer", body = EmployeePage, headers(("Tenure-Position" = u64)))))]
pub(crate) async fn employees(
    State(reads): State<Reads>,
    reader: Reader,
    params: EmployeeListParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    let id = |param: Option<IdParam>| param.map(|id| id.0.to_string());
    let filters = [
        ("department", id(params.department)),
        ("include_subdepartments", params.include_subdepartments.map(|on| on.to_string())),
        ("job", id(params.job)),
        ("location", id(params.location)),
        ("manager", id(params.manager)),
        ("status", params.status.map(|status| status.name().into())),
        ("q", params.q.as_ref().map(|words| words.0.join(" "))),
    ];
    let (listing, after) = Listing::open(reader.0.scope, "/v1/employees", &filters, params.as_of, params.cursor.as_ref())?;
    let mut sql = statement(&params, listing.as_of, id_key(after)?, params.limit.unwrap_or_default().0);
    let rows: Rows = reads.one(&reader, fresh, sql.build_query_as()).await?;
    let next = rows.next.and_then(|id| id.parse::<Uuid>().ok());
    Answer::page(listing.as_of, rows.position, rows.items, next.map(|id| listing.after(id.as_bytes())))
}

/// Finds the page's people first, by as few tables as the filters need, then looks up what is shown of them. $1 is the
/// day, $2 the page's length.
fn statement(params: &EmployeeListParams, as_of: Day, after: Option<Uuid>, limit: i64) -> QueryBuilder<'static, Postgres> {
    let status = params.status.unwrap_or(Status::Active);
    let mut sql = QueryBuilder::new("with recursive day as (select ");
    sql.push_bind(as_of).push(" as day, ").push_bind(limit).push("::bigint as size), ");
    if let (Some(IdParam(department)), true) = (params.department, params.include_subdepartments.unwrap_or(true)) {
        // `union` drops what was already found, so a ring of departments ends.
        sql.push("below (department_id) as (select ").push_bind(department);
        sql.push(
            "::uuid union select s.department_id from below b join department_span s on s.parent_id = b.department_id
              where s.valid_from <= $1 and $1 < s.valid_to), ",
        );
    }
    if let Some(id) = after {
        sql.push("after as (select ").push_bind(id).push("::uuid as employee_id, ");
        sql.push(format!("{FAMILY} as family, {GIVEN} as given from person_span p where p.valid_to > p.valid_from and p.employee_id = "));
        sql.push_bind(id).push(" order by p.valid_from > $1, abs(p.valid_from - $1) limit 1), ");
    }
    if status == Status::Active && params.department.is_some() {
        // The way through the names is long to the people of a small department, so they are looked up if they are few.
        sql.push("few as materialized (select a.employee_id from assignment_span a where a.valid_from <= $1 and $1 < a.valid_to ");
        in_department(&mut sql, params);
        sql.push(format!("limit {FEW} + 1), found as (select * from (("));
        people(&mut sql, params, status, "few f join person_span p on p.employee_id = f.employee_id", after.is_some());
        sql.push(format!("and (select count(*) from few) <= {FEW}) union all ("));
        people(&mut sql, params, status, "person_span p", after.is_some());
        sql.push(format!(
            "and (select count(*) from few) > {FEW} {ORDER} limit $2 + 1)) either order by family, given, employee_id limit $2 + 1)"
        ));
    } else {
        sql.push("found as (");
        people(&mut sql, params, status, "person_span p", after.is_some());
        sql.push(format!("{ORDER} limit $2 + 1)"));
    }
    sql.push(format!(
        ", page as (select *, row_number() over (order by family, given, employee_id) as n from found)
         select (select position from checkpoint) as position,
            coalesce(json_agg(json_build_object(
                'employee_id', page.employee_id, 'employee_number', employee_number, 'given_name', given_name, 'family_name', family_name,
                'work_email', (select t.work_email from contact_span t where t.employee_id = page.employee_id and t.valid_to > t.valid_from
                               order by t.valid_from > $1, abs(t.valid_from - $1) limit 1),
                'status', {status}, 'starts_on', starts_on, 'ends_on', nullif(ends_on, 'infinity'),
                'department', {department}, 'job', {job}, 'location', {location}, 'manager', {manager}) order by n) filter (where n <= $2), '[]')::text as items,
            max(page.employee_id::text) filter (where n = $2 and exists (select from page where n > $2)) as next
         from page left join assignment_span a on a.employment_id = page.employment_id and a.valid_from <= page.day and page.day < a.valid_to",
        status = status_on("page", "$1"),
        department = department_on("a.department_id", "page.day"),
        job = job_on("a.job_id", "page.day"),
        location = location_on("a.location_id", "page.day"),
        manager = manager_on("a.manager_id", "page.day"),
    ));
    sql
}

/// The people of whom a page is made, from this table on; up to the last of its conditions.
fn people(sql: &mut QueryBuilder<'static, Postgres>, params: &EmployeeListParams, status: Status, from: &str, after: bool) {
    sql.push(format!(
        "select p.employee_id, p.given_name, p.family_name, e.employee_number, m.employment_id, m.starts_on, m.ends_on,
            {FAMILY} as family, {GIVEN} as given, greatest(least($1, m.ends_on - 1), m.starts_on) as day "
    ));
    sql.push(match status {
        Status::Active => {
            format!(
                "from {from} join employment m on m.employee_id = p.employee_id and m.starts_on <= $1 and $1 < m.ends_on
                 join employee e on e.employee_id = p.employee_id "
            )
        }
        // By the employment that ended last, with no other since.
        Status::Terminated => {
            format!(
                "from {from} join employment m on m.employee_id = p.employee_id and m.ends_on <= $1 and not exists (
                     select from employment n where n.employee_id = m.employee_id and n.starts_on > m.starts_on and n.starts_on <= $1)
                 join employee e on e.employee_id = p.employee_id "
            )
        }
        // By the employment that starts first, under the names known nearest the day.
        Status::NotYetHired => "from employment m join employee e on e.employee_id = m.employee_id
             join lateral (select * from person_span p where p.employee_id = e.employee_id and p.valid_to > p.valid_from
                           order by p.valid_from > $1, abs(p.valid_from - $1) limit 1) p on true "
            .to_owned(),
    });
    if params.department.is_some() || params.job.is_some() || params.location.is_some() || params.manager.is_some() {
        sql.push(
            "join assignment_span a on a.employment_id = m.employment_id
               and a.valid_from <= greatest(least($1, m.ends_on - 1), m.starts_on)
               and greatest(least($1, m.ends_on - 1), m.starts_on) < a.valid_to ",
        );
    }
    sql.push(match status {
        Status::Active | Status::Terminated => "where p.valid_from <= $1 and $1 < p.valid_to ",
        Status::NotYetHired => {
            "where m.starts_on > $1 and not exists (
                 select from employment n where n.employee_id = m.employee_id and n.starts_on < m.starts_on) "
        }
    });
    filter(sql, params);
    if after {
        sql.push(format!(
            "and ({FAMILY}, {GIVEN}, p.employee_id) > ((select family from after), (select given from after), (select employee_id from after)) "
        ));
    }
}

fn in_department(sql: &mut QueryBuilder<'static, Postgres>, params: &EmployeeListParams) {
    let Some(IdParam(department)) = params.department else { return };
    if params.include_subdepartments.unwrap_or(true) {
        sql.push("and a.department_id in (select department_id from below) ");
    } else {
        sql.push("and a.department_id = ").push_bind(department).push(" ");
    }
}

fn filter(sql: &mut QueryBuilder<'static, Postgres>, params: &EmployeeListParams) {
    in_department(sql, params);
    for (column, id) in [("a.job_id", params.job), ("a.location_id", params.location), ("a.manager_id", params.manager)] {
        if let Some(IdParam(id)) = id {
            sql.push(format!("and {column} = ")).push_bind(id).push(" ");
        }
    }
    for word in params.q.iter().flat_map(|words| &words.0) {
        let pattern = format!("%{}%", word.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
        sql.push("and p.search like ").push_bind(pattern).push(" ");
        let grams = platform::search::grams(word);
        if !grams.is_empty() {
            sql.push("and p.grams @> ").push_bind(grams).push(" ");
        }
    }
}
