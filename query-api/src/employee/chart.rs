//! Who reports to whom, as of a day.

use axum::extract::State;
use platform::{Problem, Reader};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Named, department_on, job_on};
use crate::{
    params::{Day, Fresh, IdParam, number, params},
    read::{Answer, Body, Reads},
    sight::Sight,
};

/// A piece of the org chart, breadth first: by level, then by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrgChart {
    /// The day that the answer is about.
    #[schema(format = Date)]
    pub as_of: String,
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// The people employed on that day, from the top.
    pub nodes: Vec<ChartNode>,
    /// Whether people within `depth` were left out because of `limit`; ask again with one of `nodes` as `root`.
    pub truncated: bool,
}

/// A person in the org chart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChartNode {
    /// The person.
    pub employee_id: Uuid,
    /// Given name or names.
    pub given_name: Option<String>,
    /// Family name.
    pub family_name: Option<String>,
    /// The job.
    pub job: Named,
    /// The department.
    pub department: Named,
    /// The person reported to; null also where the asker may not see them. People whose manager is not employed on that day
    /// stand at the top.
    pub manager_id: Option<Uuid>,
    /// 0 at the top.
    pub level: u32,
    /// How many people employed on that day report to this one.
    pub direct_reports: i64,
}

/// How many levels below the top.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(value_type = u16, minimum = 0, maximum = 50, default = 3)]
pub(crate) struct Depth(i32);

impl std::str::FromStr for Depth {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        number(text, 0, 50).and_then(|n| i32::try_from(n).ok()).map(Self).ok_or("must be a whole number from 0 to 50")
    }
}

/// How many people.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(value_type = u16, minimum = 1, maximum = 2000, default = 500)]
pub(crate) struct Nodes(i64);

impl std::str::FromStr for Nodes {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        number(text, 1, 2000).map(Self).ok_or("must be a whole number from 1 to 2000")
    }
}

params! {
    /// For the org chart.
    ChartParams {
        /// The day to answer for, past or future; today in UTC if absent.
        as_of: Day,
        /// The person to start from; absent, everyone at the top.
        root: IdParam,
        /// How many levels below the start.
        depth: Depth,
        /// How many people at most.
        limit: Nodes,
    }
}

/// Employed on day $1, and where in the organization: an assignment lasts no longer than its employment.
const STAFFED: &str =
    "select a.employee_id, a.manager_id, a.department_id, a.job_id from assignment_span a where a.valid_from <= $1 and $1 < a.valid_to";

/// Where a chart starts.
enum Start {
    /// From the top, for who may see everyone.
    Top,
    /// From the top of what may be seen: people whose manager may not be seen stand there as well.
    TopOfSeen,
    /// From person $2.
    Person,
}

/// The chart, $3 levels down, no deeper than $4 people take it. Whoever has one manager can be reached by one way only, so
/// going down from the top can't turn in a ring; going down from a person can only do so through that person, who is
/// left out. What many of them share is looked up once, into an object by id: the planner takes the page for a row or two, and
/// would join each to all.
fn chart(start: &Start) -> String {
    // A plan that is kept was made for any day, on which there could be many at the top; hence the look-up one by one.
    let (first, materialized) = match start {
        Start::Top => (
            format!(
                "select s.* from top_span t cross join lateral ({STAFFED} and a.employee_id = t.employee_id offset 0) s
                 where t.valid_from <= $1 and $1 < t.valid_to"
            ),
            "not materialized",
        ),
        Start::TopOfSeen => (
            "select s.* from staffed s where s.manager_id is null or not exists (select from staffed m where m.employee_id = s.manager_id)"
                .to_owned(),
            "materialized",
        ),
        Start::Person => ("select s.* from staffed s where s.employee_id = $2".to_owned(), "not materialized"),
    };
    // Everyone who may be seen is read already, or each level by a look-up per manager.
    let below = match start {
        Start::TopOfSeen => "join staffed s on s.manager_id = c.employee_id".to_owned(),
        Start::Top | Start::Person => format!("cross join lateral ({STAFFED} and a.manager_id = c.employee_id offset 0) s"),
    };
    format!(
        "with recursive staffed as {materialized} ({STAFFED}), chart as (
            select s.*, 0 as level, count(*) over () as found from ({first}) s
            union all
            select s.*, c.level + 1, c.found + count(*) over () from chart c {below}
            where c.level < $3 and c.found <= $4 and s.employee_id is distinct from $2
        ), page as (
            select c.*, p.given_name, p.family_name,
                   row_number() over (order by c.level, coalesce(p.family_name, '') collate \"C\", coalesce(p.given_name, '') collate \"C\", c.employee_id) as n
            from chart c left join lateral (
                select p.given_name, p.family_name from person_span p
                where p.employee_id = c.employee_id and p.valid_from <= $1 and $1 < p.valid_to offset 0
            ) p on true
            order by n limit $4 + 1
        ), jobs as (
            select jsonb_object_agg(job_id, {job}) as by_id from (select distinct job_id from page) j
        ), departments as (
            select jsonb_object_agg(department_id, {department}) as by_id from (select distinct department_id from page) d
        ), reports as (
            select jsonb_object_agg(manager_id, direct) as by_id from (
                select a.manager_id, count(*) as direct from assignment_span a
                where a.manager_id = any (array(select employee_id from page)) and a.valid_from <= $1 and $1 < a.valid_to
                group by a.manager_id
            ) r
        )",
        job = job_on("j.job_id", "$1"),
        department = department_on("d.department_id", "$1"),
    )
}

/// The org chart as of a day.
#[utoipa::path(get, path = "/v1/org-chart", tag = "employee", params(ChartParams),
    responses((status = 200, description = "The answer", body = OrgChart, headers(("Tenure-Position" = u64))), (status = 404, description = "There is no such object", body = crate::openapi::ProblemDocument, content_type = "application/problem+json")))]
pub(crate) async fn org_chart(State(reads): State<Reads>, reader: Reader, params: ChartParams, fresh: Fresh) -> Result<Answer, Problem> {
    let as_of = params.as_of.unwrap_or_else(Day::today);
    let root = params.root.map(|id| id.0);
    let start = match root {
        Some(_) => Start::Person,
        None if Sight::of(&reader.0).knows_everyone() => Start::Top,
        None => Start::TopOfSeen,
    };
    let sql = format!(
        "{chart} select (select position from checkpoint) as position,
            case when $2::uuid is null or exists (select from employee where employee_id = $2) then json_build_object(
                'as_of', $1, 'position', (select position from checkpoint),
                'nodes', coalesce(json_agg(json_build_object('employee_id', page.employee_id, 'given_name', given_name, 'family_name', family_name,
                    'job', (select by_id from jobs) -> page.job_id::text, 'department', (select by_id from departments) -> page.department_id::text,
                    'manager_id', {manager}, 'level', level,
                    'direct_reports', coalesce((select by_id from reports) -> page.employee_id::text, '0')) order by n) filter (where n <= $4), '[]'),
                'truncated', count(*) > $4) end::text as body
         from page",
        chart = chart(&start),
        // Whoever is not at the first level stands below somebody who is seen.
        manager = "case when level > 0 then page.manager_id else (select m.employee_id from employee m where m.employee_id = page.manager_id) end",
    );
    let query = sqlx::query_as(&sql).bind(as_of).bind(root).bind(params.depth.map_or(3, |d| d.0)).bind(params.limit.map_or(500, |n| n.0));
    let body: Body = reads.one(&reader, fresh, query).await?;
    Answer::of(body)
}
