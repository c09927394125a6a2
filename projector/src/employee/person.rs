//! The fold of a person: employments, assignments, pay, personal and contact details.

#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;

use events::{
    Change, Effective, Event, Personal, Span, StreamName, Timeline, Version,
    employee::{
        Assignment, AssignmentChange, ContactDetails, ContactDetailsChange, EmployeeEvent, Patch, Pay, PersonalDetails,
        PersonalDetailsChange,
    },
};
use jiff::civil::Date;
use uuid::Uuid;

use super::{
    headcount::Steps,
    spans::{FoundBy, assigned, assignment_row, contact_change, contact_row, details_change, details_row, paid, pay_row},
    tables::{Employee, Employment, PersonRows},
    top::Top,
};
use crate::{
    binary::Until,
    derived::WorkedOut,
    fold::{CannotFold, after_first, effective, misplaced, sets, storable_day, storable_effective, storable_text},
    projection::Fold,
    several,
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
pub(super) struct Assigned {
    pub(super) change: AssignmentChange,
    pub(super) reason: String,
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
pub(super) struct Paid {
    pub(super) pay: Pay,
    pub(super) reason: String,
}

impl Change for Paid {
    type Row = Option<Self>;
    fn apply(&self, row: &mut Self::Row) {
        *row = Some(self.clone());
    }
}

/// A change to personal details; none once the person was erased.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Details(pub(super) Option<PersonalDetailsChange>);

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
pub(super) struct Contact(pub(super) Option<ContactDetailsChange>);

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

impl Fold for Person {
    type Rows = PersonRows;
    type Derived = several![WorkedOut<Steps>, WorkedOut<Top>];

    fn keys(event: &Event, touch: &mut impl FnMut(Uuid)) -> bool {
        let Event::Employee(event) = event else { return false };
        touch(match event {
            EmployeeEvent::EmployeeHired(e) => e.employee_id.uuid(),
            EmployeeEvent::EmployeeRehired(e) => e.employee_id.uuid(),
            EmployeeEvent::AssignmentChanged(e) => e.employee_id.uuid(),
            EmployeeEvent::CompensationChanged(e) => e.employee_id.uuid(),
            EmployeeEvent::PersonalDetailsChanged(e) => e.employee_id.uuid(),
            EmployeeEvent::ContactDetailsChanged(e) => e.employee_id.uuid(),
            EmployeeEvent::EmployeeTerminated(e) => e.employee_id.uuid(),
            EmployeeEvent::EmploymentStarted(e) => e.employee_id.uuid(),
            EmployeeEvent::EmploymentEnded(e) => e.employee_id.uuid(),
            EmployeeEvent::ChangeTookEffect(e) => e.employee_id.uuid(),
        });
        true
    }

    fn fold(&mut self, employee_id: Uuid, stream: StreamName, version: Version, event: &Event) -> Result<(), CannotFold> {
        let Event::Employee(event) = event else { return misplaced(event) };
        if stream.id() != employee_id {
            return Err(CannotFold(format!("{} stands in a stream that is not its own", event.event_type())));
        }
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
                let effective = storable_effective(e.effective)?;
                // What the hire said of the person holds from the first day that they are there.
                self.details.start_by(effective.on);
                self.contact.start_by(effective.on);
                // Service starts with the first employment that has days, unless the hire says an earlier day.
                if let Some(first) = self.original_hire_date
                    && self.employments.values().all(|period| period.ends_on.is_some_and(|ends_on| ends_on <= period.starts_on))
                {
                    let was_implied = self.employments.values().any(|period| period.starts_on == first);
                    self.original_hire_date = Some(if was_implied { effective.on } else { first.min(effective.on) });
                }
                self.start(e.employment_id.uuid(), effective, e.assignment, e.pay, "rehire")?;
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
            // What they announce is in the rows since it was recorded.
            EmployeeEvent::EmploymentStarted(_) | EmployeeEvent::EmploymentEnded(_) | EmployeeEvent::ChangeTookEffect(_) => {}
        }
        // A person who was never hired has no row, so nothing but a hire can come first.
        if self.original_hire_date.is_none() {
            return Err(CannotFold(format!("{} comes before the person was hired", event.event_type())));
        }
        self.version = version;
        Ok(())
    }

    fn from_rows(rows: PersonRows) -> Result<Self, CannotFold> {
        if rows == PersonRows::default() {
            return Ok(Self::default());
        }
        let damaged = |what: &str| CannotFold(format!("the read model is damaged: {what}"));
        let row = rows.employee.into_iter().next().ok_or_else(|| damaged("a row of a person who has no row in employee"))?;
        let (version, original_hire_date) = (Version(row.stream_version.unsigned_abs()), Some(row.original_hire_date));
        let mut person = Self { version, number: row.employee_number, original_hire_date, ..Self::default() };
        for row in rows.employment {
            let (assignments, pay) = (Timeline::default(), Timeline::default());
            let period = Period { starts_on: row.starts_on, ends_on: row.ends_on.0, reason: row.termination_reason, assignments, pay };
            person.employments.insert(row.employment_id, period);
        }
        for row in rows.person_span {
            person.details.insert(effective(row.valid_from, row.seq), details_change(row));
        }
        for row in rows.contact_span {
            person.contact.insert(effective(row.valid_from, row.seq), contact_change(row));
        }
        let without = || damaged("a span of an employment that has no row");
        for row in rows.assignment_span {
            let (at, period) = (effective(row.valid_from, row.seq), person.employments.get_mut(&row.employment_id));
            period.ok_or_else(without)?.assignments.insert(at, assigned(row));
        }
        for row in rows.compensation_span {
            let (at, period) = (effective(row.valid_from, row.seq), person.employments.get_mut(&row.employment_id));
            period.ok_or_else(without)?.pay.insert(at, paid(row)?);
        }
        Ok(person)
    }

    fn rows(&self, employee_id: Uuid, to: &mut PersonRows) {
        let Some(original_hire_date) = self.original_hire_date else { return };
        let stream_version = i64::try_from(self.version.0).unwrap_or(i64::MAX);
        to.employee.push(Employee { employee_id, employee_number: self.number.clone(), original_hire_date, stream_version });
        let contact = self.contact.spans((None, 0), None);
        let mut by = FoundBy::number(self.number.as_deref());
        let mut addresses = work_addresses(&contact).peekable();
        for span in self.details.spans((None, 0), None) {
            // Whom an address of later is, nobody needs to find yet.
            while let Some((_, address)) = addresses.next_if(|(from, _)| span.to.is_none_or(|to| *from < to)) {
                if !by.others.contains(&address) {
                    by.others.push(address);
                }
            }
            to.person_span.push(details_row(employee_id, &mut by, span));
        }
        drop(addresses);
        to.contact_span.extend(contact.into_iter().map(|span| contact_row(employee_id, span)));
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
}

/// The addresses at work that hold on some day, each from its first one, in order.
fn work_addresses(contact: &[Span<(Option<ContactDetails>, i16)>]) -> impl Iterator<Item = (Date, &str)> {
    let has_days = |span: &&Span<(Option<ContactDetails>, i16)>| span.to.is_none_or(|to| span.from.on < to);
    contact.iter().filter(has_days).filter_map(|span| Some((span.from.on, span.row.0.as_ref()?.work_email.as_deref()?)))
}

impl Person {
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
}
