//! People: one, lists, history, recorded events and the org chart, as of any day.

mod chart;
mod events;
mod history;
mod list;
mod part;
mod summary;

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

use ::events::EmployeeId;
use axum::extract::State;
use platform::{Problem, Reader, TenantClock, today::time_zone};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    App,
    params::{Day, Fresh, Id, params},
    read::{Answer, Positioned, Reads, compact, not_found},
    sight::Sight,
    today::zone_of_person,
};

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
    /// The employment of that day; else the one that ended last, else the next one.
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
    /// Was employed before.
    Terminated,
}

impl Status {
    /// Where somebody stands on a day, by the employment nearest it.
    pub(crate) fn on(day: Day, starts_on: Day, ends_on: Option<Day>) -> Self {
        if starts_on > day {
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

/// SQL for a department's code and name on a day: what held then, else what held last.
pub(crate) fn department_on(id: &str, day: &str) -> String {
    named_on("department", "name", id, day)
}
/// SQL for a job's code and title on a day.
pub(crate) fn job_on(id: &str, day: &str) -> String {
    named_on("job", "title", id, day)
}
/// SQL for a location's code and name on a day.
pub(crate) fn location_on(id: &str, day: &str) -> String {
    named_on("location", "name", id, day)
}
fn named_on(thing: &str, name: &str, id: &str, day: &str) -> String {
    format!(
        "case when {id} is not null then coalesce((select json_build_object('id', held.{thing}_id, 'code', held.code, 'name', held.{name})
            {held}), json_build_object('id', {id}, 'code', null, 'name', null)) end",
        held = held_on(thing, id, day),
    )
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
/// SQL for a manager's name on a day; null where there is none, or none that the asker may see.
pub(crate) fn manager_on(id: &str, day: &str) -> String {
    format!(
        "(select json_build_object('id', e.employee_id, 'given_name', s.given_name, 'family_name', s.family_name)
            from employee e left join lateral (select held.given_name, held.family_name {held}) s on true
            where e.employee_id = {id})",
        held = held_on("person", "e.employee_id", day),
    )
}

/// SQL for the status of an employment on a day, as [`Status::on`] has it; without one, not yet hired.
fn status_on(employment: &str, day: &str) -> String {
    format!(
        "case when {employment}.starts_on is null or {employment}.starts_on > {day} then 'not_yet_hired'
              when {employment}.ends_on > {day} then 'active' else 'terminated' end"
    )
}

#[derive(FromRow)]
struct Found {
    position: i64,
    version: Option<i64>,
    body: Option<String>,
    /// Of the place of work, where it was asked for and there is one.
    time_zone: Option<String>,
}
impl Positioned for Found {
    fn position(&self) -> i64 {
        self.position
    }
}

params! {
    /// For one person.
    PersonParams {
        /// The day to answer for, past or future; today at the person's place of work if absent, or in the tenant's time zone where
        /// there is no fixed place.
        as_of: Day,
    }
}

/// One person as of a day.
#[utoipa::path(get, path = "/v1/employees/{id}", tag = "employee", params(("id" = Uuid, Path), PersonParams),
    responses((status = 200, description = "The answer", body = Employee, headers(("Tenure-Position" = String), ("ETag" = String))), (status = 404, description = "`not_found`: there is no such object", body = crate::openapi::ProblemDocument, content_type = "application/problem+json")))]
pub(crate) async fn employee(
    State(reads): State<Reads>,
    reader: Reader,
    Id(id): Id<EmployeeId>,
    params: PersonParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    let sight = Sight::of(&reader.0).facts_of(id.uuid());
    let clock = TenantClock::read(&reader.0.tenant);
    let find = async |as_of: Day, asks_for_zone: bool| {
        let sql = person_on(asks_for_zone);
        reads.one_as::<Found>(&reader, &sight, fresh, sqlx::query_as(&sql).bind(id.uuid()).bind(as_of)).await
    };
    let mut found = find(params.as_of.unwrap_or(Day(clock.today())), params.as_of.is_none()).await?;
    // The day at the place of work may differ from the tenant's.
    let there = Day(clock.today_at(found.time_zone.as_deref().and_then(time_zone).as_ref()));
    if params.as_of.is_none() && there.0 != clock.today() {
        found = find(there, false).await?;
    }
    match (found.version, found.body) {
        (Some(version), Some(json)) => Ok(Answer { position: found.position, version: Some(version), json: compact(json) }),
        _ => Err(not_found()),
    }
}

/// SQL for person $1 as of day $2, and perhaps for the time zone of the place of work.
fn person_on(with_zone: bool) -> String {
    format!(
        "select c.position, e.stream_version as version, {zone} as time_zone, json_build_object(
            'as_of', $2, 'position', c.position,
            'employee_id', e.employee_id, 'employee_number', e.employee_number, 'original_hire_date', e.original_hire_date,
            'version', e.stream_version, 'status', {status},
            'person', (select json_build_object('given_name', p.given_name, 'family_name', p.family_name, 'birth_date', p.birth_date, 'gender', p.gender)
                from person_span p where p.employee_id = e.employee_id and {nearest_p}),
            'contact', (select json_build_object('work_email', t.work_email, 'private_email', t.private_email, 'phone', t.phone)
                from contact_span t where t.employee_id = e.employee_id and {nearest_t}),
            'employment', case when m.employment_id is not null then json_build_object('employment_id', m.employment_id,
                'starts_on', m.starts_on, 'ends_on', nullif(m.ends_on, 'infinity'), 'termination_reason', m.termination_reason) end,
            'assignment', (select json_build_object('since', a.valid_from, 'department', {department}, 'job', {job},
                    'location', {location}, 'manager', {manager}, 'reason', a.reason)
                from assignment_span a where a.employment_id = m.employment_id and a.valid_from <= $2 and $2 < a.valid_to and $2 < m.ends_on),
            'pay', (select json_build_object('since', y.valid_from, 'rate', trim_scale(y.rate)::text, 'currency', y.currency, 'per', y.per,
                    'annual', trim_scale(y.annual)::text, 'reason', y.reason)
                from compensation_span y where y.employment_id = m.employment_id and y.valid_from <= $2 and $2 < y.valid_to and $2 < m.ends_on)
        )::text as body
        from checkpoint c left join employee e on e.employee_id = $1 left join lateral (
            select * from employment m where m.employee_id = e.employee_id
            order by m.starts_on > $2, abs(m.starts_on - $2), m.ends_on desc, m.employment_id desc limit 1
        ) m on true",
        zone = if with_zone { zone_of_person("e.employee_id", "$2") } else { "null::text".to_owned() },
        status = status_on("m", "$2"),
        nearest_p = nearest("p", "$2"),
        nearest_t = nearest("t", "$2"),
        department = department_on("a.department_id", "$2"),
        job = job_on("a.job_id", "$2"),
        location = location_on("a.location_id", "$2"),
        manager = manager_on("a.manager_id", "$2"),
    )
}
