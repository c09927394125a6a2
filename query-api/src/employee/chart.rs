//! Who reports to whom, as of a day.

use axum::extract::State;
use platform::{Problem, Reader};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Named,
    part::{FAMILY, GIVEN, Page, Part, Referred, kind, referred},
};
use crate::{
    params::{Day, Fresh, IdParam, number, params},
    read::{Answer, Reads, not_found},
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
        /// The day to answer for, past or future; today in the tenant's time zone if absent.
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

/// The chart, $3 levels down, no deeper than $4 people take it, and whether there is a person $2. Whoever has one manager can be
/// reached by one way only, so going down from the top can't turn in a ring; going down from a person can only do so through that
/// person, who is left out.
fn chart(start: &Start) -> String {
    use kind::{DEPARTMENT, JOB, PERSON, REPORTS, ROOT};
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
            select c.*, $1 as day, p.given_name, p.family_name, row_number() over (order by c.level, {FAMILY}, {GIVEN}, c.employee_id) as nth
            from chart c left join lateral (
                select p.given_name, p.family_name from person_span p
                where p.employee_id = c.employee_id and p.valid_from <= $1 and $1 < p.valid_to offset 0
            ) p on true
            order by nth limit $4 + 1
        )
        select {PERSON}::smallint as kind, c.position, page.employee_id as id, page.day, null as code, page.family_name as name, page.given_name,
            department_id, job_id, {manager} as manager_id, page.nth, level, null::bigint as direct_reports from checkpoint c left join page on true
        {departments}{jobs}union all select {REPORTS}::smallint, null, a.manager_id, $1, null, null, null, null, null, null, null, null, count(*) from assignment_span a
            where a.manager_id = any (array(select employee_id from page)) and a.valid_from <= $1 and $1 < a.valid_to group by a.manager_id
        union all select {ROOT}::smallint, null, employee_id, $1, null, null, null, null, null, null, null, null, null from employee where employee_id = $2",
        // Whoever is not at the first level stands below somebody who is seen.
        manager = "case when level > 0 then page.manager_id else (select m.employee_id from employee m where m.employee_id = page.manager_id) end",
        departments = referred(DEPARTMENT, "department", "name", 7),
        jobs = referred(JOB, "job", "title", 7),
    )
}

fn nodes(people: Vec<(Uuid, Day, Part)>, referred: &Referred) -> Vec<ChartNode> {
    let node = |(employee_id, day, person): (Uuid, Day, Part)| ChartNode {
        employee_id,
        given_name: person.given_name,
        family_name: person.name,
        // Whoever stands in a chart has an assignment, and no assignment is without the two.
        job: referred.named(kind::JOB, person.job_id.unwrap_or_default(), day),
        department: referred.named(kind::DEPARTMENT, person.department_id.unwrap_or_default(), day),
        manager_id: person.manager_id,
        level: person.level.and_then(|level| u32::try_from(level).ok()).unwrap_or(0),
        direct_reports: referred.get(kind::REPORTS, employee_id, day).and_then(|reports| reports.direct_reports).unwrap_or(0),
    };
    people.into_iter().map(node).collect()
}

/// The org chart as of a day.
#[utoipa::path(get, path = "/v1/org-chart", tag = "employee", params(ChartParams),
    responses((status = 200, description = "The answer", body = OrgChart, headers(("Tenure-Position" = String))), (status = 404, description = "`not_found`: there is no such object", body = crate::openapi::ProblemDocument, content_type = "application/problem+json")))]
pub(crate) async fn org_chart(State(reads): State<Reads>, reader: Reader, params: ChartParams, fresh: Fresh) -> Result<Answer, Problem> {
    let as_of = params.as_of.unwrap_or_else(|| Day::today(&reader.0.tenant));
    let root = params.root.map(|id| id.0);
    let start = match root {
        Some(_) => Start::Person,
        None if Sight::of(&reader.0).knows_everyone() => Start::Top,
        None => Start::TopOfSeen,
    };
    let limit = params.limit.unwrap_or(Nodes(500));
    let sql = chart(&start);
    let query = sqlx::query_as(&sql).bind(as_of).bind(root).bind(params.depth.map_or(3, |d| d.0)).bind(limit.0);
    let (position, rows) = reads.all(&reader, fresh, query).await?;
    let Page { people, more, referred } = Page::of(rows, limit.0);
    if root.is_some_and(|root| referred.get(kind::ROOT, root, as_of).is_none()) {
        return Err(not_found());
    }
    let nodes = nodes(people, &referred);
    Answer::json(position, &OrgChart { as_of: as_of.to_string(), position, nodes, truncated: more })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }
    fn day() -> Day {
        "2020-01-01".parse().unwrap()
    }
    fn part(kind: i16, n: u128, name: Option<&str>) -> Part {
        Part { kind, id: Some(id(n)), day: Some(day()), name: name.map(Into::into), ..Part::default() }
    }
    fn person(n: u128, level: i32, name: Option<&str>) -> Part {
        Part {
            nth: i64::try_from(n).ok(),
            level: Some(level),
            department_id: Some(id(100)),
            job_id: Some(id(101)),
            ..part(kind::PERSON, n, name)
        }
    }

    #[test]
    fn a_chart_is_in_its_order_however_the_rows_come() {
        let rows = || {
            vec![
                person(4, 1, Some("b")),
                part(kind::DEPARTMENT, 100, Some("Sales")),
                Part { direct_reports: Some(3), ..part(kind::REPORTS, 1, None) },
                person(3, 1, Some("B")),
                person(1, 0, Some("z")),
                person(2, 1, None),
                part(kind::ROOT, 1, None),
            ]
        };
        let charted = |limit| {
            let Page { people, more, referred } = Page::of(rows(), limit);
            (nodes(people, &referred), more)
        };
        let (all, truncated) = charted(4);
        assert_eq!(all.iter().map(|one| (one.employee_id.as_u128(), one.level)).collect::<Vec<_>>(), [(1, 0), (2, 1), (3, 1), (4, 1)]);
        assert_eq!(all.iter().map(|one| one.direct_reports).collect::<Vec<_>>(), [3, 0, 0, 0]);
        assert!(!truncated);
        let named = |id: u128, name: Option<&str>| Named { id: Uuid::from_u128(id), code: None, name: name.map(Into::into) };
        // A job that had no title yet is there without one.
        assert_eq!((&all[0].department, &all[0].job), (&named(100, Some("Sales")), &named(101, None)));
        let (some, truncated) = charted(2);
        assert_eq!(some.iter().map(|one| one.employee_id.as_u128()).collect::<Vec<_>>(), [1, 2]);
        assert!(truncated);
    }
}
