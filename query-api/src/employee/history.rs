//! Everything that was ever effective about a person, row by row.

use std::sync::LazyLock;

use axum::extract::State;
use events::EmployeeId;
use platform::{Problem, Reader};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{AssignedTo, Employment, Manager, Named};
use crate::{
    params::{Day, Fresh, Id, NoParams},
    read::{Answer, Positioned, Reads, amount, not_found},
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

/// What a row is.
mod kind {
    /// The person: there is one such row, whoever they are.
    pub(super) const PERSON: i16 = 0;
    pub(super) const EMPLOYMENT: i16 = 1;
    pub(super) const ASSIGNMENT: i16 = 2;
    pub(super) const COMPENSATION: i16 = 3;
    pub(super) const PERSONAL: i16 = 4;
    pub(super) const CONTACT: i16 = 5;
}

/// The columns of a row beside its kind, each with its type. A kind of row has some of them.
const COLUMNS: [(&str, &str); 32] = [
    ("position", "bigint"),
    ("version", "bigint"),
    ("employee_number", "text"),
    ("employment_id", "uuid"),
    ("valid_from", "date"),
    ("seq", "smallint"),
    ("valid_to", "date"),
    ("sets", "smallint"),
    ("reason", "text"),
    ("department_id", "uuid"),
    ("department_code", "text"),
    ("department_name", "text"),
    ("job_id", "uuid"),
    ("job_code", "text"),
    ("job_title", "text"),
    ("location_id", "uuid"),
    ("location_code", "text"),
    ("location_name", "text"),
    ("manager_id", "uuid"),
    ("manager_given_name", "text"),
    ("manager_family_name", "text"),
    ("given_name", "text"),
    ("family_name", "text"),
    ("birth_date", "date"),
    ("gender", "text"),
    ("rate", "text"),
    ("currency", "text"),
    ("per", "text"),
    ("annual", "text"),
    ("work_email", "text"),
    ("private_email", "text"),
    ("phone", "text"),
];

/// A row of any kind.
#[derive(Debug, FromRow)]
struct Line {
    kind: i16,
    position: Option<i64>,
    version: Option<i64>,
    employee_number: Option<String>,
    employment_id: Option<Uuid>,
    valid_from: Option<Day>,
    seq: Option<i16>,
    valid_to: Option<Day>,
    sets: Option<i16>,
    reason: Option<String>,
    #[sqlx(flatten)]
    assigned_to: AssignedTo,
    given_name: Option<String>,
    family_name: Option<String>,
    birth_date: Option<Day>,
    gender: Option<String>,
    rate: Option<String>,
    currency: Option<String>,
    per: Option<String>,
    annual: Option<String>,
    work_email: Option<String>,
    private_email: Option<String>,
    phone: Option<String>,
}

impl Positioned for Line {
    fn position(&self) -> i64 {
        self.position.unwrap_or(0)
    }
}

/// When a row held.
struct When {
    valid_from: String,
    seq: u16,
    valid_to: Option<String>,
    superseded: bool,
}

impl Line {
    fn when(&self) -> When {
        When {
            valid_from: self.valid_from.map(|day| day.to_string()).unwrap_or_default(),
            seq: self.seq.map_or(0, i16::cast_unsigned),
            valid_to: self.valid_to.map(|day| day.to_string()),
            superseded: self.valid_to.is_some() && self.valid_to <= self.valid_from,
        }
    }
    /// The names of the fields that a change set: a bit per field, in column order.
    fn sets(&self, fields: &[&str]) -> Vec<String> {
        let bits = self.sets.unwrap_or(0);
        fields.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, field)| (*field).to_owned()).collect()
    }
    fn employment(self) -> EmploymentRow {
        let When { valid_from: starts_on, valid_to: ends_on, .. } = self.when();
        Employment { employment_id: self.employment_id.unwrap_or_default(), starts_on, ends_on, termination_reason: self.reason }
    }
    fn assignment(self) -> Option<AssignmentRow> {
        let When { valid_from, seq, valid_to, superseded } = self.when();
        let sets = self.sets(&["department_id", "job_id", "location_id", "manager_id"]);
        let (department, job, location, manager) = self.assigned_to.named()?;
        Some(AssignmentRow {
            employment_id: self.employment_id?,
            valid_from,
            seq,
            valid_to,
            superseded,
            sets,
            department,
            job,
            location,
            manager,
            reason: self.reason,
        })
    }
    fn compensation(self) -> CompensationRow {
        let When { valid_from, seq, valid_to, superseded } = self.when();
        CompensationRow {
            employment_id: self.employment_id.unwrap_or_default(),
            valid_from,
            seq,
            valid_to,
            superseded,
            rate: amount(self.rate, self.currency.as_deref()),
            annual: amount(self.annual, self.currency.as_deref()),
            currency: self.currency.unwrap_or_default(),
            per: self.per.unwrap_or_default(),
            reason: self.reason.unwrap_or_default(),
        }
    }
    fn personal(self) -> PersonRow {
        let When { valid_from, seq, valid_to, superseded } = self.when();
        let sets = self.sets(&["given_name", "family_name", "birth_date", "gender"]);
        let (given_name, family_name, birth_date) = (self.given_name, self.family_name, self.birth_date.map(|day| day.to_string()));
        PersonRow { valid_from, seq, valid_to, superseded, sets, given_name, family_name, birth_date, gender: self.gender }
    }
    fn contact(self) -> ContactRow {
        let When { valid_from, seq, valid_to, superseded } = self.when();
        let sets = self.sets(&["work_email", "private_email", "phone"]);
        let (work_email, private_email, phone) = (self.work_email, self.private_email, self.phone);
        ContactRow { valid_from, seq, valid_to, superseded, sets, work_email, private_email, phone }
    }
}

/// SQL for rows of a kind: the columns that they have as they stand, those that have SQL of their own, and what follows `from`.
fn rows(kind: i16, plain: &[&str], others: &[(&str, &str)], from: &str) -> String {
    let shown = COLUMNS.iter().map(|(name, sql_type)| {
        let other = others.iter().find(|(column, _)| column == name).map(|(_, sql)| *sql);
        let value = other.unwrap_or(if plain.contains(name) { name } else { "null" });
        format!("({value})::{sql_type} as {name}")
    });
    format!("select {kind}::smallint as kind, {} from {from}", shown.collect::<Vec<_>>().join(", "))
}

/// SQL for the rows of person $1 in a table of spans that never ends, without those that set nothing that the reader sees: the row
/// before such a one holds on.
fn without_gaps(table: &str) -> String {
    let next = "lead(s.valid_from) over (order by s.valid_from, s.seq)";
    format!("(select s.*, coalesce({next}, 'infinity') as held_to from {table} s where s.employee_id = $1 and s.sets is not null) held")
}

/// The first day on which a span no longer held.
const UNTIL: (&str, &str) = ("valid_to", "nullif(valid_to, 'infinity')");
/// The same where [`without_gaps`] has moved it.
const HELD_UNTIL: (&str, &str) = ("valid_to", "nullif(held_to, 'infinity')");

static HISTORY: LazyLock<String> = LazyLock::new(history_of_person);

/// SQL for all that is known of person $1: a [`Line`] for the person, and one per row of their history.
fn history_of_person() -> String {
    [
        rows(
            kind::PERSON,
            &["position", "employee_number"],
            &[("version", "stream_version")],
            "checkpoint left join employee on employee_id = $1",
        ),
        rows(
            kind::EMPLOYMENT,
            &["employment_id"],
            &[("valid_from", "starts_on"), ("valid_to", "nullif(ends_on, 'infinity')"), ("reason", "termination_reason")],
            "employment where employee_id = $1",
        ),
        rows(
            kind::ASSIGNMENT,
            &["employment_id", "valid_from", "seq", "sets", "reason"],
            &[&[UNTIL][..], &AssignedTo::COLUMNS].concat(),
            &format!("assignment_span a {} where a.employee_id = $1", AssignedTo::joins("a.valid_from")),
        ),
        rows(
            kind::COMPENSATION,
            &["employment_id", "valid_from", "seq", "currency", "per", "reason"],
            &[UNTIL, ("rate", "trim_scale(rate)"), ("annual", "trim_scale(annual)")],
            "compensation_span where employee_id = $1",
        ),
        rows(
            kind::PERSONAL,
            &["valid_from", "seq", "sets", "given_name", "family_name", "birth_date", "gender"],
            &[HELD_UNTIL],
            &without_gaps("person_span"),
        ),
        rows(
            kind::CONTACT,
            &["valid_from", "seq", "sets", "work_email", "private_email", "phone"],
            &[HELD_UNTIL],
            &without_gaps("contact_span"),
        ),
    ]
    .join(" union all ")
}

/// The history that rows are; none where there is no such person.
fn shown(employee_id: Uuid, position: i64, mut lines: Vec<Line>) -> Option<History> {
    // A row without an end comes after those of the same day that have one.
    lines.sort_by_key(|line| (line.kind, line.valid_from, line.seq, line.valid_to.is_none(), line.valid_to));
    let mut history = History {
        employee_id,
        employee_number: None,
        position,
        version: 0,
        employments: Vec::new(),
        assignments: Vec::new(),
        compensations: Vec::new(),
        personal: Vec::new(),
        contact: Vec::new(),
    };
    for line in lines {
        match line.kind {
            kind::EMPLOYMENT => history.employments.push(line.employment()),
            kind::ASSIGNMENT => history.assignments.extend(line.assignment()),
            kind::COMPENSATION => history.compensations.push(line.compensation()),
            kind::PERSONAL => history.personal.push(line.personal()),
            kind::CONTACT => history.contact.push(line.contact()),
            _ => (history.version, history.employee_number) = (line.version?, line.employee_number),
        }
    }
    Some(history)
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
    let sight = Sight::of(&reader.0).facts_of(id.uuid());
    let (position, lines) = reads.all_as::<Line>(&reader, &sight, fresh, sqlx::query_as(&HISTORY).bind(id.uuid())).await?;
    Answer::json(position, &shown(id.uuid(), position, lines).ok_or_else(not_found)?)
}
