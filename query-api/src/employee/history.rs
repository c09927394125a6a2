//! Everything that was ever effective about a person, row by row.

use axum::extract::State;
use events::EmployeeId;
use platform::{Problem, Reader};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Employment, Manager, Named, department_on, job_on, location_on, manager_on};
use crate::{
    params::{Fresh, Id, NoParams},
    read::{Answer, Body, Reads},
    sight::Sight,
};

/// A person's whole effective-dated history, each part earliest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// The person.
    pub employee_id: Uuid,
    /// The tenant's own number; null once erased.
    pub employee_number: Option<String>,
    /// The position of the tenant's log that the answer stands at.
    pub position: i64,
    /// The version of the person's stream.
    pub version: i64,
    /// Employments.
    pub employments: Vec<EmploymentRow>,
    /// Where, as what and for whom the person works.
    pub assignments: Vec<AssignmentRow>,
    /// Pay; none where it is not the asker's to see.
    pub compensations: Vec<CompensationRow>,
    /// Names and other personal details. Where the latter are not the asker's to see, they are null, and changes that
    /// set nothing else are left out.
    pub personal: Vec<PersonRow>,
    /// How the person is reached; see `personal`.
    pub contact: Vec<ContactRow>,
}

/// One employment.
pub type EmploymentRow = Employment;

/// Where, as what and for whom, from a day on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssignmentRow {
    /// The employment.
    pub employment_id: Uuid,
    /// From when.
    #[schema(format = Date)]
    pub valid_from: String,
    /// The same-day sequence.
    pub seq: u16,
    /// The first day on which it no longer held; null while it does.
    #[schema(format = Date)]
    pub valid_to: Option<String>,
    /// It never held for a day: a later change of the same day stands in its place, or the employment had ended.
    pub superseded: bool,
    /// The fields that this change set; the others were carried forward.
    pub sets: Vec<String>,
    /// The department, as it was called at the start.
    pub department: Named,
    /// The job.
    pub job: Named,
    /// The place of work.
    pub location: Option<Named>,
    /// The person reported to.
    pub manager: Option<Manager>,
    /// Why; null where the asker may not see personal facts of the person.
    pub reason: Option<String>,
}

/// Pay from a day on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompensationRow {
    /// The employment.
    pub employment_id: Uuid,
    /// From when.
    #[schema(format = Date)]
    pub valid_from: String,
    /// The same-day sequence.
    pub seq: u16,
    /// The first day on which it no longer held; null while it does.
    #[schema(format = Date)]
    pub valid_to: Option<String>,
    /// See [`AssignmentRow::superseded`].
    pub superseded: bool,
    /// The amount for one period.
    pub rate: String,
    /// ISO 4217 code.
    pub currency: String,
    /// `year`, `month` or `hour`.
    pub per: String,
    /// The rate for a nominal full-time year.
    pub annual: String,
    /// Why.
    pub reason: String,
}

/// Personal details from a day on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonRow {
    /// From when.
    #[schema(format = Date)]
    pub valid_from: String,
    /// The same-day sequence.
    pub seq: u16,
    /// The first day on which it no longer held; null while it does.
    #[schema(format = Date)]
    pub valid_to: Option<String>,
    /// See [`AssignmentRow::superseded`].
    pub superseded: bool,
    /// The fields that this change set; the others were carried forward.
    pub sets: Vec<String>,
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

/// Contact details from a day on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContactRow {
    /// From when.
    #[schema(format = Date)]
    pub valid_from: String,
    /// The same-day sequence.
    pub seq: u16,
    /// The first day on which it no longer held; null while it does.
    #[schema(format = Date)]
    pub valid_to: Option<String>,
    /// See [`AssignmentRow::superseded`].
    pub superseded: bool,
    /// The fields that this change set; the others were carried forward.
    pub sets: Vec<String>,
    /// Address at work.
    pub work_email: Option<String>,
    /// Private address.
    pub private_email: Option<String>,
    /// Telephone number.
    pub phone: Option<String>,
}

/// SQL for the names of the fields that a span's change set: a bit per field, in column order.
fn sets(span: &str, fields: &[&str]) -> String {
    let names: Vec<_> =
        fields.iter().enumerate().map(|(bit, field)| format!("case when {span}.sets & {} <> 0 then '{field}' end", 1 << bit)).collect();
    format!("'sets', array_remove(array[{}], null)", names.join(", "))
}

/// SQL for the rows of the person `e` in a table of spans that never ends, without those that set nothing that the reader
/// sees: the row before such a one holds on.
fn without_gaps(table: &str) -> String {
    let next = "lead(s.valid_from) over (order by s.valid_from, s.seq)";
    format!(
        "(select s.*, coalesce({next}, 'infinity') as held_to from {table} s where s.employee_id = e.employee_id and s.sets is not null)"
    )
}

/// SQL for when a span held.
fn when(span: &str, to: &str) -> String {
    format!(
        "'valid_from', {span}.valid_from, 'seq', {span}.seq, 'valid_to', nullif({span}.{to}, 'infinity'), 'superseded', {span}.{to} <= {span}.valid_from"
    )
}

/// A person's whole effective-dated history.
#[utoipa::path(get, path = "/v1/employees/{id}/history", tag = "employee", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The answer", body = History, headers(("Tenure-Position" = String), ("ETag" = String))), (status = 404, description = "`not_found`: there is no such object", body = crate::openapi::ProblemDocument, content_type = "application/problem+json")))]
pub(crate) async fn history(
    State(reads): State<Reads>,
    reader: Reader,
    Id(id): Id<EmployeeId>,
    _params: NoParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    let sql = format!(
        "select c.position, (select json_build_object(
            'employee_id', e.employee_id, 'employee_number', e.employee_number, 'position', c.position, 'version', e.stream_version,
            'employments', coalesce((select json_agg(json_build_object('employment_id', m.employment_id, 'starts_on', m.starts_on,
                    'ends_on', nullif(m.ends_on, 'infinity'), 'termination_reason', m.termination_reason) order by m.starts_on, m.ends_on)
                from employment m where m.employee_id = e.employee_id), '[]'),
            'assignments', coalesce((select json_agg(json_build_object('employment_id', a.employment_id, {when_a}, {sets_a},
                    'department', {department}, 'job', {job}, 'location', {location}, 'manager', {manager}, 'reason', a.reason) order by a.valid_from, a.seq)
                from assignment_span a where a.employee_id = e.employee_id), '[]'),
            'compensations', coalesce((select json_agg(json_build_object('employment_id', y.employment_id, {when_y},
                    'rate', trim_scale(y.rate)::text, 'currency', y.currency, 'per', y.per, 'annual', trim_scale(y.annual)::text, 'reason', y.reason)
                    order by y.valid_from, y.seq)
                from compensation_span y where y.employee_id = e.employee_id), '[]'),
            'personal', coalesce((select json_agg(json_build_object({when_p}, {sets_p}, 'given_name', p.given_name, 'family_name', p.family_name,
                    'birth_date', p.birth_date, 'gender', p.gender) order by p.valid_from, p.seq)
                from {person} p), '[]'),
            'contact', coalesce((select json_agg(json_build_object({when_t}, {sets_t}, 'work_email', t.work_email,
                    'private_email', t.private_email, 'phone', t.phone) order by t.valid_from, t.seq)
                from {contact} t), '[]')
        )::text from employee e where e.employee_id = $1) as body from checkpoint c",
        person = without_gaps("person_span"),
        contact = without_gaps("contact_span"),
        when_a = when("a", "valid_to"),
        when_y = when("y", "valid_to"),
        when_p = when("p", "held_to"),
        when_t = when("t", "held_to"),
        sets_a = sets("a", &["department_id", "job_id", "location_id", "manager_id"]),
        sets_p = sets("p", &["given_name", "family_name", "birth_date", "gender"]),
        sets_t = sets("t", &["work_email", "private_email", "phone"]),
        department = department_on("a.department_id", "a.valid_from"),
        job = job_on("a.job_id", "a.valid_from"),
        location = location_on("a.location_id", "a.valid_from"),
        manager = manager_on("a.manager_id", "a.valid_from"),
    );
    let sight = Sight::of(&reader.0).facts_of(id.uuid());
    let body: Body = reads.one_as(&reader, &sight, fresh, sqlx::query_as(&sql).bind(id.uuid())).await?;
    Answer::of(body)
}
