//! People: one, lists, history, recorded events and the org chart, as of any day.

mod chart;
mod events;
mod history;
mod list;
mod part;
mod person;
mod summary;
pub mod working_time;

pub use chart::{ChartNode, OrgChart};
pub use history::{AssignmentRow, CompensationRow, ContactRow, EmploymentRow, History, PersonRow};
pub use list::EmployeePage;
pub use summary::EmployeeSummary;

pub(crate) use chart::{__path_org_chart, org_chart};
pub(crate) use events::{__path_recorded_events, recorded_events};
pub(crate) use history::{__path_history, history};
#[cfg(fuzzing)]
pub(crate) use list::EmployeeListParams as ListParams;
pub(crate) use list::{__path_employees, employees};
pub(crate) use person::{__path_employee, employee};

use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{App, params::Day};

/// What the contract says of these routes.
pub(crate) const TAG: &str = "People";

/// The routes.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(employees))
        .routes(routes!(employee))
        .routes(routes!(history))
        .routes(routes!(recorded_events))
        .routes(routes!(org_chart))
        .routes(routes!(working_time::working_time))
}

/// A person as of a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Employee {
    /// The day that the answer is about.
    #[schema(format = Date)]
    pub as_of: String,
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// The person.
    pub employee_id: Uuid,
    /// The tenant's own number; null once erased.
    pub employee_number: Option<String>,
    /// The start of service for seniority.
    #[schema(format = Date)]
    pub original_hire_date: String,
    /// The version of the person's stream, for `If-Match`; also the `ETag`.
    pub version: i64,
    /// Where the person stands on that day.
    pub status: Status,
    /// Who the person is; before the first known day, what is known first.
    pub person: Option<Person>,
    /// How the person is reached.
    pub contact: Option<Contact>,
    /// The employment of that day; else the one that ended last, else the next one; of who never started, the last that was offered.
    pub employment: Option<Employment>,
    /// Where, as what and for whom the person works; null if not employed on that day.
    pub assignment: Option<Assignment>,
    /// The pay; null if not employed on that day, unknown, or not the asker's to see.
    pub pay: Option<Pay>,
}

/// Where a person stands on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Employed on that day.
    Active,
    /// The first employment starts later.
    NotYetHired,
    /// Was employed before, or never started and won't.
    Terminated,
}

impl Status {
    /// Where somebody stands on a day, by the employment nearest it. Whoever never started is gone on every day.
    pub(crate) fn on(day: Day, starts_on: Day, ends_on: Option<Day>) -> Self {
        if ends_on.is_some_and(|ends_on| ends_on <= starts_on) {
            Self::Terminated
        } else if starts_on > day {
            Self::NotYetHired
        } else if ends_on.is_none_or(|ends_on| ends_on > day) {
            Self::Active
        } else {
            Self::Terminated
        }
    }
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::NotYetHired => "not_yet_hired",
            Self::Terminated => "terminated",
        }
    }
}
impl std::str::FromStr for Status {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Active, Self::NotYetHired, Self::Terminated]
            .into_iter()
            .find(|status| status.name() == text)
            .ok_or("must be active, not_yet_hired or terminated")
    }
}

/// Who a person is. Null is unknown, erased, or not the asker's to see: the birth date and the gender are personal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// Given name or names.
    pub given_name: Option<String>,
    /// Family name.
    pub family_name: Option<String>,
    /// Day of birth.
    #[schema(format = Date)]
    pub birth_date: Option<String>,
    /// As the person states it.
    pub gender: Option<String>,
}

/// How a person is reached. Null is unknown, erased, or not the asker's to see: all but the address at work is personal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// Address at work.
    pub work_email: Option<String>,
    /// Private address.
    pub private_email: Option<String>,
    /// Telephone number, E.164.
    pub phone: Option<String>,
}

/// One period of employment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Employment {
    /// The employment.
    pub employment_id: Uuid,
    /// The first day employed.
    #[schema(format = Date)]
    pub starts_on: String,
    /// The first day no longer employed; null while open.
    #[schema(format = Date)]
    pub ends_on: Option<String>,
    /// Why it ended; null where the asker may not see personal facts of the person.
    pub termination_reason: Option<String>,
}

/// A department, location or job, as it was called on the day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// The id.
    pub id: Uuid,
    /// The tenant's own code.
    pub code: Option<String>,
    /// The name, or a job's title.
    pub name: Option<String>,
}

/// A person whom others report to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Manager {
    /// The person.
    pub id: Uuid,
    /// Given name or names.
    pub given_name: Option<String>,
    /// Family name.
    pub family_name: Option<String>,
}

/// Where, as what and for whom a person works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// Since when it has stood like this.
    #[schema(format = Date)]
    pub since: String,
    /// The department.
    pub department: Named,
    /// The job.
    pub job: Named,
    /// The place of work, where there is a fixed one.
    pub location: Option<Named>,
    /// The person reported to; null at the top, and where the asker may not see them.
    pub manager: Option<Manager>,
    /// Why it last changed; null where the asker may not see personal facts of the person.
    pub reason: Option<String>,
}

/// A rate of pay. Amounts are exact decimals as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Pay {
    /// Since when it has stood like this.
    #[schema(format = Date)]
    pub since: String,
    /// The amount for one period.
    pub rate: String,
    /// ISO 4217 code.
    pub currency: String,
    /// `year`, `month` or `hour`.
    pub per: String,
    /// The rate for a nominal full-time year.
    pub annual: String,
    /// Why it last changed.
    pub reason: String,
}

/// What an assignment refers to, as it was called on a day.
#[derive(Debug, FromRow)]
struct AssignedTo {
    department_id: Option<Uuid>,
    department_code: Option<String>,
    department_name: Option<String>,
    job_id: Option<Uuid>,
    job_code: Option<String>,
    job_title: Option<String>,
    location_id: Option<Uuid>,
    location_code: Option<String>,
    location_name: Option<String>,
    manager_id: Option<Uuid>,
    manager_given_name: Option<String>,
    manager_family_name: Option<String>,
}

impl AssignedTo {
    /// Its columns, and SQL for each: of an assignment_span `a`, and of what [`AssignedTo::joins`] adds.
    const COLUMNS: [(&str, &str); 12] = [
        ("department_id", "a.department_id"),
        ("department_code", "d.code"),
        ("department_name", "d.name"),
        ("job_id", "a.job_id"),
        ("job_code", "j.code"),
        ("job_title", "j.name"),
        ("location_id", "a.location_id"),
        ("location_code", "l.code"),
        ("location_name", "l.name"),
        ("manager_id", "g.employee_id"),
        ("manager_given_name", "g.given_name"),
        ("manager_family_name", "g.family_name"),
    ];

    /// SQL that joins what an assignment_span `a` refers to: what held on a day, else what held last. Nobody is joined as a manager
    /// whom the asker may not see.
    fn joins(day: &str) -> String {
        let named = |alias: &str, thing: &str, name: &str| {
            let held = held_on(thing, &format!("a.{thing}_id"), day);
            format!("left join lateral (select held.code, held.{name} as name {held}) {alias} on true")
        };
        format!(
            "{} {} {} left join lateral (select e.employee_id, s.given_name, s.family_name from employee e
                left join lateral (select held.given_name, held.family_name {held}) s on true where e.employee_id = a.manager_id) g on true",
            named("d", "department", "name"),
            named("j", "job", "title"),
            named("l", "location", "name"),
            held = held_on("person", "e.employee_id", day),
        )
    }

    /// Department, job, location and manager, which are named even if they had no name on the day. None where there is no assignment.
    fn named(self) -> Option<(Named, Named, Option<Named>, Option<Manager>)> {
        let named = |id, code, name| Named { id, code, name };
        Some((
            named(self.department_id?, self.department_code, self.department_name),
            named(self.job_id?, self.job_code, self.job_title),
            self.location_id.map(|id| named(id, self.location_code, self.location_name)),
            self.manager_id.map(|id| Manager { id, given_name: self.manager_given_name, family_name: self.manager_family_name }),
        ))
    }
}

/// SQL from `from` on for a span of a department, job, location or person: what held on a day, else what held last before it.
/// `id` may name any table but `held`, which is the one looked in.
fn held_on(thing: &str, id: &str, day: &str) -> String {
    let key = if thing == "person" { "employee" } else { thing };
    format!(
        "from {thing}_span held where held.{key}_id = {id} and held.valid_from <= {day} and held.valid_to > held.valid_from
            order by held.valid_from desc limit 1"
    )
}
/// SQL for the conditions and the order by which a span that holds on a day is found, else the one that begins nearest it.
fn nearest(span: &str, day: &str) -> String {
    format!("{span}.valid_to > {span}.valid_from order by {span}.valid_from > {day}, abs({span}.valid_from - {day}) limit 1")
}
