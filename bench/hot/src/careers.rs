//! Histories of the size and shape of the imported one: of ten thousand people 101,936 events, of which most change pay; as
//! many people as wanted.

use events::{
    CommandHash, CommandId, CorrelationId, DepartmentId, Effective, EmployeeId, EmploymentId, Event, JobId, Metadata, Money, PayPeriod,
    Personal, StreamName, TenantScope,
    employee::{
        Assignment, AssignmentChange, AssignmentChanged, CompensationChanged, ContactDetails, EmployeeEvent, EmployeeHired,
        EmployeeTerminated, Pay, PersonalDetails,
    },
    organization::{DepartmentCreated, JobCreated, OrganizationEvent},
};
use jiff::{ToSpan as _, civil::date};
use uuid::Uuid;

const JOBS: u32 = 7;

/// A stream, the event's version in it, and the event.
pub type Fact = (StreamName, u64, Event);

/// Events of a tenant: organization, ten per person, and that a fifth has left.
pub fn events(people: u32) -> u64 {
    u64::from(departments(people) + JOBS) + u64::from(people) * 10 + u64::from(leavers(people))
}

fn departments(people: u32) -> u32 {
    (people / 1_000).max(9)
}

fn leavers(people: u32) -> u32 {
    people / 10_000 * 1_936 + people % 10_000 * 1_936 / 10_000
}

/// One person's events in order.
pub fn career(scope: TenantScope, people: u32, person: u32) -> anyhow::Result<Vec<Fact>> {
    let first = u64::from(departments(people) + JOBS + person);
    (0..10).map(|nth| fact(scope, people, first + nth * u64::from(people))).collect()
}

/// The event at an index of a tenant's log: the organization, then the hires in order, then the careers' other events, spread
/// over all people.
pub fn fact(scope: TenantScope, people: u32, n: u64) -> anyhow::Result<Fact> {
    let (departments, n) = (departments(people), u32::try_from(n)?);
    if n < departments + JOBS {
        let event = if n < departments { department_created(n) } else { job_created(n - departments) };
        return Ok((StreamName::organization(scope), u64::from(n) + 1, Event::Organization(event)));
    }
    let n = n - departments - JOBS;
    let (person, nth) = (n % people, n / people);
    let event: EmployeeEvent = match (nth, n % 97) {
        (0, _) => hire(people, person)?.into(),
        (10, _) => leave(person)?.into(),
        (_, 0..5) => promote(person, nth)?.into(),
        _ => raise(person, nth)?.into(),
    };
    Ok((StreamName::employee(scope, employee(person)), u64::from(nth) + 1, Event::Employee(event)))
}

/// The id of the nth person; spread over all values, as real ids are.
pub fn employee(n: u32) -> EmployeeId {
    EmployeeId::derive(Uuid::nil(), &n.to_string())
}

fn employment(n: u32) -> EmploymentId {
    EmploymentId::derive(employee(n).uuid(), "employment-1")
}

/// The nth person's given and family name.
pub fn names(n: u32) -> (String, String) {
    const A: [&str; 16] = ["Al", "Be", "Ca", "Du", "El", "Fa", "Ge", "Ho", "Is", "Ja", "Ka", "Lu", "Ma", "No", "Pe", "Sa"];
    const B: [&str; 16] =
        ["bert", "dora", "fina", "gor", "hild", "kim", "lin", "mar", "nuel", "phie", "ra", "seba", "to", "van", "win", "zia"];
    const C: [&str; 16] =
        ["berg", "cello", "dahl", "feld", "grove", "holm", "kov", "lund", "mann", "nen", "quist", "rich", "sen", "strom", "vic", "wood"];
    // A multiplication with an odd number spreads neighbours.
    let spread = (n.wrapping_mul(2_654_435_761) >> 4) as usize;
    let pick = |shift: usize| (spread >> shift) % 16;
    (format!("{}{}", A[pick(0)], B[pick(4)]), format!("{}{}{}", A[pick(8)], B[pick(12)], C[pick(16)]))
}

/// The nth department.
pub fn department(n: u32) -> DepartmentId {
    DepartmentId::from_uuid(Uuid::from_u128(1 << 64 | u128::from(n)))
}

fn job(n: u32) -> JobId {
    JobId::from_uuid(Uuid::from_u128(2 << 64 | u128::from(n % JOBS)))
}

fn founded() -> Effective {
    Effective { on: date(1984, 1, 1), seq: 0 }
}

fn effective(person: u32, nth: u32) -> anyhow::Result<Effective> {
    Ok(Effective { on: date(1985, 1, 1).checked_add((i64::from(person % 2_000) + i64::from(nth) * 365).days())?, seq: 0 })
}

fn department_created(n: u32) -> OrganizationEvent {
    let parent_id = n.checked_sub(1).map(|n| department(n / 8));
    let (department_id, effective) = (department(n), founded());
    DepartmentCreated { department_id, effective, code: format!("d{n}"), name: format!("Department {n}"), parent_id }.into()
}

fn job_created(n: u32) -> OrganizationEvent {
    JobCreated { job_id: job(n), effective: founded(), code: format!("j{n}"), title: format!("Job {n}") }.into()
}

fn hire(people: u32, person: u32) -> anyhow::Result<EmployeeHired> {
    let (given_name, family_name) = names(person);
    Ok(EmployeeHired {
        employee_id: employee(person),
        employment_id: employment(person),
        effective: effective(person, 0)?,
        original_hire_date: None,
        employee_number: Personal::Clear((10_001 + person).to_string()),
        person: Personal::Clear(PersonalDetails { given_name, family_name, birth_date: Some(date(1953, 9, 2)), gender: Some("M".into()) }),
        contact: Personal::Clear(ContactDetails::default()),
        assignment: Assignment {
            department_id: department(person % departments(people)),
            job_id: job(person),
            location_id: None,
            manager_id: manager(people, person),
        },
        pay: Some(pay(60_117)?),
    })
}

/// Eight report to each, from the first of those who stay on down; those who have left managed nobody.
fn manager(people: u32, person: u32) -> Option<EmployeeId> {
    let gone = leavers(people);
    let nth = match person.checked_sub(gone) {
        Some(nth) => nth.checked_sub(1)? / 8,
        None => person % ((people - gone) / 8 + 1),
    };
    Some(employee(gone + nth))
}

fn pay(amount: u32) -> anyhow::Result<Pay> {
    Ok(Pay { rate: Money::new(amount.into(), "USD".parse()?)?, per: PayPeriod::Year })
}

/// A person's nth change of pay.
pub fn raise(person: u32, nth: u32) -> anyhow::Result<CompensationChanged> {
    let (employee_id, employment_id, reason) = (employee(person), employment(person), "annual_review".into());
    Ok(CompensationChanged { employee_id, employment_id, effective: effective(person, nth)?, pay: pay(60_117 + nth)?, reason })
}

fn promote(person: u32, nth: u32) -> anyhow::Result<AssignmentChanged> {
    let changes = AssignmentChange { job_id: Some(job(person + nth)), ..AssignmentChange::default() };
    let (employee_id, employment_id, reason) = (employee(person), employment(person), "promotion".into());
    Ok(AssignmentChanged { employee_id, employment_id, effective: effective(person, nth)?, changes, reason })
}

fn leave(person: u32) -> anyhow::Result<EmployeeTerminated> {
    let last_day_worked = effective(person, 10)?.on;
    Ok(EmployeeTerminated {
        employee_id: employee(person),
        employment_id: employment(person),
        last_day_worked,
        reason: "resignation".into(),
    })
}

/// Metadata as a command's events have it, with ids of its own.
pub fn metadata() -> Metadata {
    let id = Uuid::now_v7();
    Metadata {
        actor: "bench".into(),
        command_id: CommandId::from_uuid(id),
        command_hash: CommandHash(id),
        correlation_id: CorrelationId::from_uuid(id),
        causation_id: None,
        traceparent: None,
    }
}
