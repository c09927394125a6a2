//! One person as of a day: one row, put together here.

use std::sync::LazyLock;

use axum::extract::State;
use events::EmployeeId;
use platform::{Problem, Reader, TenantClock, today::time_zone};
use sqlx::FromRow;
use uuid::Uuid;

use super::{AssignedTo, Assignment, Contact, Employee, Employment, Pay, Person, Status, nearest};
use crate::{
    params::{Day, Fresh, Id, params},
    read::{Answer, Positioned, Reads, amount, not_found},
    sight::Sight,
    today::zone_of_person,
};

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
        let sql = if asks_for_zone { &WITH_ZONE } else { &WITHOUT_ZONE };
        reads.one_as::<Found>(&reader, &sight, fresh, sqlx::query_as(sql).bind(id.uuid()).bind(as_of)).await
    };
    let mut as_of = params.as_of.unwrap_or(Day(clock.today()));
    let mut found = find(as_of, params.as_of.is_none()).await?;
    // The day at the place of work may differ from the tenant's.
    let there = Day(clock.today_at(found.time_zone.as_deref().and_then(time_zone).as_ref()));
    if params.as_of.is_none() && there != as_of {
        as_of = there;
        found = find(as_of, false).await?;
    }
    let employee = found.shown(id.uuid(), as_of).ok_or_else(not_found)?;
    let answer = Answer::json(employee.position, &employee)?;
    Ok(Answer { version: Some(employee.version), ..answer })
}

/// A person on a day, with the names of what they are assigned to.
#[derive(Debug, FromRow)]
struct Found {
    position: i64,
    /// Of the place of work, where it was asked for and there is one.
    time_zone: Option<String>,
    version: Option<i64>,
    employee_number: Option<String>,
    original_hire_date: Option<Day>,
    has_person: bool,
    given_name: Option<String>,
    family_name: Option<String>,
    birth_date: Option<Day>,
    gender: Option<String>,
    has_contact: bool,
    work_email: Option<String>,
    private_email: Option<String>,
    phone: Option<String>,
    employment_id: Option<Uuid>,
    starts_on: Option<Day>,
    ends_on: Option<Day>,
    termination_reason: Option<String>,
    assigned_since: Option<Day>,
    assignment_reason: Option<String>,
    #[sqlx(flatten)]
    assigned_to: AssignedTo,
    paid_since: Option<Day>,
    rate: Option<String>,
    currency: Option<String>,
    per: Option<String>,
    annual: Option<String>,
    pay_reason: Option<String>,
}

impl Positioned for Found {
    fn position(&self) -> i64 {
        self.position
    }
}

impl Found {
    /// The person as of a day; none where there is no such person.
    fn shown(self, employee_id: Uuid, as_of: Day) -> Option<Employee> {
        let text = |day: Day| day.to_string();
        let (version, original_hire_date) = (self.version?, text(self.original_hire_date?));
        let status = self.starts_on.map_or(Status::NotYetHired, |starts_on| Status::on(as_of, starts_on, self.ends_on));
        let person = Person {
            given_name: self.given_name,
            family_name: self.family_name,
            birth_date: self.birth_date.map(text),
            gender: self.gender,
        };
        let contact = Contact { work_email: self.work_email, private_email: self.private_email, phone: self.phone };
        let employment = self.employment_id.zip(self.starts_on).map(|(employment_id, starts_on)| Employment {
            employment_id,
            starts_on: text(starts_on),
            ends_on: self.ends_on.map(text),
            termination_reason: self.termination_reason,
        });
        let assignment = self.assigned_since.zip(self.assigned_to.named()).map(|(since, (department, job, location, manager))| {
            Assignment { since: text(since), department, job, location, manager, reason: self.assignment_reason }
        });
        let pay = self.paid_since.map(|since| Pay {
            since: text(since),
            rate: amount(self.rate, self.currency.as_deref()),
            annual: amount(self.annual, self.currency.as_deref()),
            currency: self.currency.unwrap_or_default(),
            per: self.per.unwrap_or_default(),
            reason: self.pay_reason.unwrap_or_default(),
        });
        Some(Employee {
            as_of: text(as_of),
            position: self.position,
            employee_id,
            employee_number: self.employee_number,
            original_hire_date,
            version,
            status,
            person: self.has_person.then_some(person),
            contact: self.has_contact.then_some(contact),
            employment,
            assignment,
            pay,
        })
    }
}

static WITH_ZONE: LazyLock<String> = LazyLock::new(|| person_on(true));
static WITHOUT_ZONE: LazyLock<String> = LazyLock::new(|| person_on(false));

/// SQL for person $1 as of day $2, and perhaps for the time zone of the place of work. In two steps: PostgreSQL would take twice as
/// long to plan all of these joins at once.
fn person_on(with_zone: bool) -> String {
    format!(
        "select w.position, w.time_zone, w.version, w.employee_number, w.original_hire_date,
            w.has_person, w.given_name, w.family_name, w.birth_date, w.gender, w.has_contact, w.work_email, w.private_email, w.phone,
            w.employment_id, w.starts_on, nullif(w.ends_on, 'infinity') as ends_on, w.termination_reason,
            a.valid_from as assigned_since, a.reason as assignment_reason,
            {assigned_to},
            y.valid_from as paid_since, trim_scale(y.rate)::text as rate, y.currency, y.per, trim_scale(y.annual)::text as annual,
            y.reason as pay_reason
        from ({who} offset 0) w
        left join assignment_span a on a.employment_id = w.employment_id and a.valid_from <= $2 and $2 < a.valid_to and $2 < w.ends_on
        left join compensation_span y on y.employment_id = w.employment_id and y.valid_from <= $2 and $2 < y.valid_to and $2 < w.ends_on
        {joins}",
        assigned_to = AssignedTo::COLUMNS.map(|(column, value)| format!("{value} as {column}")).join(", "),
        who = who_on(with_zone),
        joins = AssignedTo::joins("$2"),
    )
}

/// SQL for who person $1 is on day $2, how they are reached, and the employment of that day.
fn who_on(with_zone: bool) -> String {
    format!(
        "select c.position, {zone} as time_zone, e.stream_version as version, e.employee_number, e.original_hire_date,
            p.employee_id is not null as has_person, p.given_name, p.family_name, p.birth_date, p.gender,
            t.employee_id is not null as has_contact, t.work_email, t.private_email, t.phone,
            m.employment_id, m.starts_on, m.ends_on, m.termination_reason
        from checkpoint c left join employee e on e.employee_id = $1
        left join lateral (select p.employee_id, p.given_name, p.family_name, p.birth_date, p.gender
            from person_span p where p.employee_id = e.employee_id and {nearest_p}) p on true
        left join lateral (select t.employee_id, t.work_email, t.private_email, t.phone
            from contact_span t where t.employee_id = e.employee_id and {nearest_t}) t on true
        left join lateral (select m.employment_id, m.starts_on, m.ends_on, m.termination_reason from employment m
            where m.employee_id = e.employee_id
            order by m.ends_on <= m.starts_on, m.starts_on > $2 and m.starts_on < m.ends_on,
                case when m.starts_on < m.ends_on then abs(m.starts_on - $2) else date '2000-01-01' - m.starts_on end, m.employment_id desc
            limit 1) m on true",
        zone = if with_zone { zone_of_person("e.employee_id", "$2") } else { "null::text".to_owned() },
        nearest_p = nearest("p", "$2"),
        nearest_t = nearest("t", "$2"),
    )
}
