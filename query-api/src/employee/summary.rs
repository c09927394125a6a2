//! What a list shows of its people.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Manager, Named, Status, held_on, nearest,
    part::{Page, Part, kind, referred},
};
use crate::{
    params::{Day, Limit},
    today::offered,
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

/// SQL after a common table expression `found`, for [`Part`]s: a row for each of the people, one if there are none, and what they
/// refer to, each as it was called on their day or last before it.
pub(super) fn shown(status: Status) -> String {
    use kind::{DEPARTMENT, JOB, LOCATION, MANAGER, PERSON};
    // Of who never started, what they were offered.
    let or_offered = if status == Status::Terminated { format!("or {}", offered("a", "found")) } else { String::new() };
    format!(
        ", page as (
            select found.*, row_number() over (order by found.family, found.given, found.employee_id) as nth,
                a.department_id, a.job_id, a.location_id, a.manager_id from found
            left join assignment_span a on a.employment_id = found.employment_id
                and (a.valid_from <= found.day and found.day < a.valid_to {or_offered})
        )
        select {PERSON}::smallint as kind, c.position, page.employee_id as id, page.day, page.employee_number as code, page.family_name as name,
            page.given_name, department_id, job_id, manager_id, location_id, t.work_email, page.starts_on, nullif(page.ends_on, 'infinity') as ends_on, page.nth
        from checkpoint c left join page on true left join lateral (
            select t.work_email from contact_span t where t.employee_id = page.employee_id and {nearest}) t on true
        {departments}{jobs}{locations}union all select {MANAGER}::smallint, null, e.employee_id, asked.day, null, s.family_name, s.given_name, null, null, null, null, null, null, null, null
        from (select distinct manager_id as id, day from page) asked join employee e on e.employee_id = asked.id left join lateral (
            select held.given_name, held.family_name {held}) s on true",
        nearest = nearest("t", "$1"),
        held = held_on("person", "e.employee_id", "asked.day"),
        departments = referred(DEPARTMENT, "department", "name", 9),
        jobs = referred(JOB, "job", "title", 9),
        locations = referred(LOCATION, "location", "name", 9),
    )
}

/// The page, in the order of the list, and whether more follow.
pub(super) fn summaries(rows: Vec<Part>, as_of: Day, limit: Limit) -> (Vec<EmployeeSummary>, bool) {
    let Page { people, more, referred } = Page::of(rows, limit.0);
    let summary = |(employee_id, day, person): (Uuid, Day, Part)| {
        // Who is found is by an employment.
        let starts_on = person.starts_on.unwrap_or(day);
        EmployeeSummary {
            employee_id,
            status: Status::on(as_of, starts_on, person.ends_on),
            starts_on: starts_on.to_string(),
            ends_on: person.ends_on.map(|day| day.to_string()),
            department: person.department_id.map(|id| referred.named(kind::DEPARTMENT, id, day)),
            job: person.job_id.map(|id| referred.named(kind::JOB, id, day)),
            location: person.location_id.map(|id| referred.named(kind::LOCATION, id, day)),
            manager: person.manager_id.and_then(|id| referred.manager(id, day)),
            employee_number: person.code,
            given_name: person.given_name,
            family_name: person.name,
            work_email: person.work_email,
        }
    };
    (people.into_iter().map(summary).collect(), more)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: Limit = Limit(50);

    fn id(n: u128) -> Uuid {
        Uuid::from_u128(n)
    }
    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }
    fn part(kind: i16, n: u128, on: &str, name: Option<&str>) -> Part {
        Part {
            kind,
            position: (kind == kind::PERSON).then_some(7),
            id: Some(id(n)),
            day: Some(day(on)),
            name: name.map(Into::into),
            ..Part::default()
        }
    }
    fn person(n: u128, name: Option<&str>) -> Part {
        part(kind::PERSON, n, "2020-01-01", name)
    }

    #[test]
    fn people_come_in_their_order_however_the_rows_come() {
        // The place of each says the statement.
        let parts = || [(3, 3), (4, 4), (2, 2), (1, 1), (5, 5)].map(|(n, nth)| Part { nth: Some(nth), ..person(n, None) }).to_vec();
        let order = |limit| {
            let (people, more) = summaries(parts(), day("2020-01-01"), Limit(limit));
            (people.iter().map(|one| one.employee_id.as_u128()).collect::<Vec<_>>(), more)
        };
        assert_eq!(order(5), (vec![1, 2, 3, 4, 5], false));
        assert_eq!(order(4), (vec![1, 2, 3, 4], true));
    }

    #[test]
    fn nobody_is_one_row_with_the_position() {
        let nobody = Part { id: None, day: None, ..person(1, None) };
        assert_eq!(nobody.position, Some(7));
        assert_eq!(summaries(vec![nobody], day("2020-01-01"), MANY), (vec![], false));
    }

    #[test]
    fn what_people_refer_to_is_as_of_their_own_day() {
        let left = Part { department_id: Some(id(10)), manager_id: Some(id(1)), ..part(kind::PERSON, 2, "2019-12-31", None) };
        let there = Part { department_id: Some(id(10)), job_id: Some(id(11)), manager_id: Some(id(3)), ..person(3, Some("x")) };
        let parts = vec![
            part(kind::DEPARTMENT, 10, "2020-01-01", Some("new")),
            part(kind::DEPARTMENT, 10, "2019-12-31", Some("old")),
            part(kind::MANAGER, 3, "2020-01-01", Some("x")),
            // The same id as a department's, and another thing.
            part(kind::JOB, 10, "2020-01-01", Some("no")),
            left,
            there,
        ];
        let (people, _) = summaries(parts, day("2020-01-01"), MANY);
        let seen: Vec<_> = people
            .iter()
            .map(|one| {
                let name = |named: &Option<Named>| named.as_ref().map(|named| named.name.clone());
                (name(&one.department), name(&one.job), one.manager.as_ref().map(|manager| manager.family_name.clone()))
            })
            .collect();
        let text = |text: &str| Some(text.to_owned());
        // Of a manager who may not be seen nothing is said; a job that had no title yet is there without one.
        assert_eq!(seen, [(Some(text("old")), None, None), (Some(text("new")), Some(None), Some(text("x")))]);
    }
}
