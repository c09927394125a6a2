//! The fold of a person: employments, assignments, pay, personal and contact details.

#![deny(clippy::disallowed_methods)]

use std::collections::{BTreeMap, HashMap};

use events::{
    Change, Effective, Money, PayPeriod, Personal, Span, Timeline, Version,
    employee::{
        Assignment, AssignmentChange, ContactDetails, ContactDetailsChange, EmployeeEvent, Patch, Pay, PersonalDetails,
        PersonalDetailsChange,
    },
};
use jiff::civil::Date;
use uuid::Uuid;

use crate::{
    fold::{CannotFold, after_first, effective, is_set, patch, seq, sets, storable_day, storable_effective, storable_text},
    rows::{AssignmentSpan, CompensationSpan, ContactSpan, Employee, Employment, PersonSpan, Rows, Until},
};

/// Everything of a person.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Person {
    version: Version,
    number: Option<String>,
    original_hire_date: Option<Date>,
    details: Timeline<Details>,
    contact: Timeline<Contact>,
    employments: BTreeMap<Uuid, Period>,
}

/// One period of employment.
#[derive(Debug, Clone, PartialEq)]
struct Period {
    starts_on: Date,
    ends_on: Option<Date>,
    reason: Option<String>,
    assignments: Timeline<Assigned>,
    pay: Timeline<Paid>,
}

/// An assignment's change and why. `reason` belongs to the change, so it does not carry forward.
#[derive(Debug, Clone, PartialEq)]
struct Assigned {
    change: AssignmentChange,
    reason: String,
}

impl Change for Assigned {
    type Row = (Option<Assignment>, String, i16);
    fn apply(&self, row: &mut Self::Row) {
        self.change.apply(&mut row.0);
        row.1.clone_from(&self.reason);
        let c = &self.change;
        row.2 = sets([c.department_id.is_some(), c.job_id.is_some(), !c.location_id.is_keep(), !c.manager_id.is_keep()]);
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Paid {
    pay: Pay,
    reason: String,
}

impl Change for Paid {
    type Row = Option<Self>;
    fn apply(&self, row: &mut Self::Row) {
        *row = Some(self.clone());
    }
}

/// A change to personal details; none once the person was erased.
#[derive(Debug, Clone, PartialEq)]
struct Details(Option<PersonalDetailsChange>);

impl Change for Details {
    type Row = (Option<PersonalDetails>, i16);
    fn apply(&self, row: &mut Self::Row) {
        let Some(change) = &self.0 else {
            row.1 = 0;
            return;
        };
        change.apply(&mut row.0);
        let set = [change.given_name.is_some(), change.family_name.is_some(), !change.birth_date.is_keep(), !change.gender.is_keep()];
        row.1 = sets(set);
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Contact(Option<ContactDetailsChange>);

impl Change for Contact {
    type Row = (Option<ContactDetails>, i16);
    fn apply(&self, row: &mut Self::Row) {
        let Some(change) = &self.0 else {
            row.1 = 0;
            return;
        };
        change.apply(&mut row.0);
        row.1 = sets([!change.work_email.is_keep(), !change.private_email.is_keep(), !change.phone.is_keep()]);
    }
}

/// A personal field's value; none once erased. Folding a sealed one would lose it.
fn opened<T: Clone>(field: &Personal<T>) -> Result<Option<T>, CannotFold> {
    match field {
        Personal::Clear(value) => Ok(Some(value.clone())),
        Personal::Erased => Ok(None),
        Personal::Sealed(_) => Err(CannotFold("a personal field is still sealed".into())),
    }
}

/// A change that sets nothing reads like an erased one, and is kept as one: rows can't tell them apart.
fn details(change: Option<PersonalDetailsChange>) -> Result<Details, CannotFold> {
    let change = change.filter(|c| *c != PersonalDetailsChange::default());
    if let Some(c) = &change {
        storable_text(c.given_name.iter().chain(&c.family_name).chain(set(&c.gender)))?;
        set(&c.birth_date).copied().map(storable_day).transpose()?;
    }
    Ok(Details(change))
}

fn contact(change: Option<ContactDetailsChange>) -> Result<Contact, CannotFold> {
    let change = change.filter(|c| *c != ContactDetailsChange::default());
    if let Some(c) = &change {
        storable_text(set(&c.work_email).into_iter().chain(set(&c.private_email)).chain(set(&c.phone)))?;
    }
    Ok(Contact(change))
}

fn set<T>(patch: &Patch<T>) -> Option<&T> {
    match patch {
        Patch::Set(value) => Some(value),
        Patch::Keep | Patch::Clear => None,
    }
}

impl Person {
    pub(crate) fn fold(&mut self, version: Version, event: &EmployeeEvent) -> Result<(), CannotFold> {
        if version != self.version.next() {
            return Err(CannotFold(format!("{} is version {version} of its stream, after version {}", event.event_type(), self.version)));
        }
        match event {
            EmployeeEvent::EmployeeHired(e) => {
                let effective = storable_effective(e.effective)?;
                self.number = opened(&e.employee_number)?;
                storable_text(&self.number)?;
                self.original_hire_date = Some(storable_day(e.original_hire_date.unwrap_or(effective.on))?);
                self.details.insert(effective, details(opened(&e.person)?.map(Into::into))?);
                self.contact.insert(effective, contact(opened(&e.contact)?.map(Into::into))?);
                self.start(e.employment_id.uuid(), effective, e.assignment, e.pay, "hire")?;
            }
            EmployeeEvent::EmployeeRehired(e) => {
                self.start(e.employment_id.uuid(), storable_effective(e.effective)?, e.assignment, e.pay, "rehire")?;
            }
            EmployeeEvent::AssignmentChanged(e) => {
                storable_text([&e.reason])?;
                let change = Assigned { change: e.changes, reason: e.reason.clone() };
                let assignments = &mut self.period(e.employment_id.uuid(), event)?.assignments;
                assignments.insert(after_first(assignments, e.effective, event.event_type())?, change);
            }
            EmployeeEvent::CompensationChanged(e) => {
                storable_text([&e.reason])?;
                let paid = Paid { pay: e.pay, reason: e.reason.clone() };
                self.period(e.employment_id.uuid(), event)?.pay.insert(storable_effective(e.effective)?, paid);
            }
            EmployeeEvent::PersonalDetailsChanged(e) => {
                self.details.insert(storable_effective(e.effective)?, details(opened(&e.changes)?)?);
            }
            EmployeeEvent::ContactDetailsChanged(e) => {
                self.contact.insert(storable_effective(e.effective)?, contact(opened(&e.changes)?)?);
            }
            EmployeeEvent::EmployeeTerminated(e) => {
                storable_text([&e.reason])?;
                let last = storable_day(e.last_day_worked)?;
                let after = last.tomorrow().map_err(|_| CannotFold("the last day worked is the end of time".into()))?;
                let period = self.period(e.employment_id.uuid(), event)?;
                period.ends_on = Some(after);
                period.reason = Some(e.reason.clone());
            }
        }
        // A person who was never hired has no row, so nothing but a hire can come first.
        if self.original_hire_date.is_none() {
            return Err(CannotFold(format!("{} comes before the person was hired", event.event_type())));
        }
        self.version = version;
        Ok(())
    }

    fn start(&mut self, id: Uuid, at: Effective, assignment: Assignment, pay: Option<Pay>, reason: &str) -> Result<(), CannotFold> {
        let mut period =
            Period { starts_on: at.on, ends_on: None, reason: None, assignments: Timeline::default(), pay: Timeline::default() };
        period.assignments.insert(at, Assigned { change: assignment.into(), reason: reason.into() });
        if let Some(pay) = pay {
            period.pay.insert(at, Paid { pay, reason: reason.into() });
        }
        match self.employments.insert(id, period) {
            None => Ok(()),
            Some(_) => Err(CannotFold("an employment starts that had started before".into())),
        }
    }

    fn period(&mut self, id: Uuid, event: &EmployeeEvent) -> Result<&mut Period, CannotFold> {
        self.employments.get_mut(&id).ok_or_else(|| CannotFold(format!("{} names an employment that did not start", event.event_type())))
    }

    /// Adds the rows of this person.
    pub(crate) fn rows(&self, employee_id: Uuid, to: &mut Rows) {
        let Some(original_hire_date) = self.original_hire_date else { return };
        let stream_version = i64::try_from(self.version.0).unwrap_or(i64::MAX);
        to.employee.push(Employee { employee_id, employee_number: self.number.clone(), original_hire_date, stream_version });
        let details = self.details.spans((None, 0), None).into_iter();
        to.person_span.extend(details.map(|span| details_row(employee_id, self.number.as_deref(), span)));
        to.contact_span.extend(self.contact.spans((None, 0), None).into_iter().map(|span| contact_row(employee_id, span)));
        for (employment_id, period) in &self.employments {
            let (employment_id, ends_on) = (*employment_id, Until(period.ends_on));
            let (starts_on, termination_reason) = (period.starts_on, period.reason.clone());
            to.employment.push(Employment { employment_id, employee_id, starts_on, ends_on, termination_reason });
            let assigned = period.assignments.spans((None, String::new(), 0), period.ends_on);
            to.assignment_span.extend(assigned.into_iter().filter_map(|span| assignment_row(employee_id, employment_id, span)));
            let paid = period.pay.spans(None, period.ends_on);
            to.compensation_span.extend(paid.into_iter().filter_map(|span| pay_row(employee_id, employment_id, span)));
        }
    }

    /// The people whose rows these are.
    pub(crate) fn all_from_rows(
        employees: Vec<Employee>,
        employments: Vec<Employment>,
        details: Vec<PersonSpan>,
        contacts: Vec<ContactSpan>,
        assignments: Vec<AssignmentSpan>,
        pay: Vec<CompensationSpan>,
    ) -> Result<HashMap<Uuid, Self>, CannotFold> {
        fn of(people: &mut HashMap<Uuid, Person>, id: Uuid) -> Result<&mut Person, CannotFold> {
            people.get_mut(&id).ok_or_else(|| CannotFold("the read model is damaged: a row of a person who has no row in employee".into()))
        }
        fn period(people: &mut HashMap<Uuid, Person>, person: Uuid, id: Uuid) -> Result<&mut Period, CannotFold> {
            let damaged = || CannotFold("the read model is damaged: a span of an employment that has no row".into());
            of(people, person)?.employments.get_mut(&id).ok_or_else(damaged)
        }
        let mut people = HashMap::with_capacity(employees.len());
        for row in employees {
            let (version, original_hire_date) = (Version(row.stream_version.unsigned_abs()), Some(row.original_hire_date));
            people.insert(row.employee_id, Self { version, number: row.employee_number, original_hire_date, ..Self::default() });
        }
        for row in employments {
            let (assignments, pay) = (Timeline::default(), Timeline::default());
            let period = Period { starts_on: row.starts_on, ends_on: row.ends_on.0, reason: row.termination_reason, assignments, pay };
            of(&mut people, row.employee_id)?.employments.insert(row.employment_id, period);
        }
        for row in details {
            of(&mut people, row.employee_id)?.details.insert(effective(row.valid_from, row.seq), details_change(row));
        }
        for row in contacts {
            of(&mut people, row.employee_id)?.contact.insert(effective(row.valid_from, row.seq), contact_change(row));
        }
        for row in assignments {
            let at = effective(row.valid_from, row.seq);
            period(&mut people, row.employee_id, row.employment_id)?.assignments.insert(at, assigned(row));
        }
        for row in pay {
            let at = effective(row.valid_from, row.seq);
            period(&mut people, row.employee_id, row.employment_id)?.pay.insert(at, paid(row)?);
        }
        Ok(people)
    }
}

fn details_row(employee_id: Uuid, number: Option<&str>, span: Span<(Option<PersonalDetails>, i16)>) -> PersonSpan {
    let (details, sets) = span.row;
    let names = details.iter().flat_map(|d| [d.given_name.as_str(), &d.family_name]);
    let known: Vec<&str> = names.chain(number).collect();
    let search = Some(known.join(" ").to_lowercase()).filter(|known| !known.is_empty());
    let grams = platform::search::grams(search.as_deref().unwrap_or_default());
    let (given_name, family_name, birth_date, gender) = match details {
        Some(d) => (Some(d.given_name), Some(d.family_name), d.birth_date, d.gender),
        None => (None, None, None, None),
    };
    let (valid_from, seq, valid_to) = (span.from.on, seq(span.from), Until(span.to));
    PersonSpan { employee_id, valid_from, seq, valid_to, given_name, family_name, birth_date, gender, sets, search, grams }
}

fn details_change(row: PersonSpan) -> Details {
    if row.sets == 0 {
        return Details(None);
    }
    let own = |n| is_set(row.sets, n);
    let (birth_date, gender) = (patch(own(2), row.birth_date), patch(own(3), row.gender));
    Details(Some(PersonalDetailsChange {
        given_name: row.given_name.filter(|_| own(0)),
        family_name: row.family_name.filter(|_| own(1)),
        birth_date,
        gender,
    }))
}

fn contact_row(employee_id: Uuid, span: Span<(Option<ContactDetails>, i16)>) -> ContactSpan {
    let (contact, sets) = span.row;
    let ContactDetails { work_email, private_email, phone } = contact.unwrap_or_default();
    let (valid_from, seq, valid_to) = (span.from.on, seq(span.from), Until(span.to));
    ContactSpan { employee_id, valid_from, seq, valid_to, work_email, private_email, phone, sets }
}

fn contact_change(row: ContactSpan) -> Contact {
    if row.sets == 0 {
        return Contact(None);
    }
    let own = |n| is_set(row.sets, n);
    let (work_email, private_email, phone) = (patch(own(0), row.work_email), patch(own(1), row.private_email), patch(own(2), row.phone));
    Contact(Some(ContactDetailsChange { work_email, private_email, phone }))
}

fn assignment_row(employee_id: Uuid, employment_id: Uuid, span: Span<(Option<Assignment>, String, i16)>) -> Option<AssignmentSpan> {
    let (assignment, reason, sets) = span.row;
    let a = assignment?;
    Some(AssignmentSpan {
        employment_id,
        employee_id,
        valid_from: span.from.on,
        seq: seq(span.from),
        valid_to: Until(span.to),
        department_id: a.department_id.uuid(),
        job_id: a.job_id.uuid(),
        location_id: a.location_id.map(events::LocationId::uuid),
        manager_id: a.manager_id.map(events::EmployeeId::uuid),
        reason,
        sets,
    })
}

fn assigned(row: AssignmentSpan) -> Assigned {
    let own = |n| is_set(row.sets, n);
    let change = AssignmentChange {
        department_id: own(0).then_some(events::DepartmentId::from_uuid(row.department_id)),
        job_id: own(1).then_some(events::JobId::from_uuid(row.job_id)),
        location_id: patch(own(2), row.location_id.map(events::LocationId::from_uuid)),
        manager_id: patch(own(3), row.manager_id.map(events::EmployeeId::from_uuid)),
    };
    Assigned { change, reason: row.reason }
}

fn pay_row(employee_id: Uuid, employment_id: Uuid, span: Span<Option<Paid>>) -> Option<CompensationSpan> {
    let Paid { pay, reason } = span.row?;
    Some(CompensationSpan {
        employment_id,
        employee_id,
        valid_from: span.from.on,
        seq: seq(span.from),
        valid_to: Until(span.to),
        rate: pay.rate.amount(),
        currency: pay.rate.currency().code().into(),
        per: pay.per.name().into(),
        annual: pay.annual().normalize(),
        reason,
    })
}

fn paid(row: CompensationSpan) -> Result<Paid, CannotFold> {
    let unreadable = |what: &str| CannotFold(format!("a row of compensation_span has an unreadable {what}"));
    let per = match row.per.as_str() {
        "year" => PayPeriod::Year,
        "month" => PayPeriod::Month,
        "hour" => PayPeriod::Hour,
        _ => return Err(unreadable("period")),
    };
    let currency = row.currency.parse().map_err(|_| unreadable("currency"))?;
    let rate = Money::new(row.rate, currency).map_err(|_| unreadable("rate"))?;
    Ok(Paid { pay: Pay { rate, per }, reason: row.reason })
}
