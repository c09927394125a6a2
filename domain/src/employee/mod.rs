//! A person's employments: hire, rehire, changes of assignment, pay and details, termination.
//!
//! Everything is effective-dated. A change belongs to the employment that covers its day; it may lie in the past, and
//! then later rows show it unless they set that field themselves ([`Timeline`]). An employment's end clips its
//! timelines, so an employed day has exactly one assignment and any other day none.

pub mod working_time;

mod commands;
mod due;
mod refusal;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use calculation::leave::FromDays;
use events::{
    Change, DepartmentId, Effective, EmployeeId, EmploymentId, LocationId, Personal, StreamName, TenantScope, Timeline,
    employee::{
        Assignment, AssignmentChange, AssignmentChanged, ChangeTookEffect, ChangedFacts, CompensationChanged, ContactDetails,
        ContactDetailsChange, ContactDetailsChanged, EmployeeEvent, EmployeeHired, EmployeeRehired, EmployeeTerminated, EmploymentEnded,
        EmploymentStarted, Patch, Pay, PersonalDetails, PersonalDetailsChange, PersonalDetailsChanged,
    },
};
use jiff::civil::Date;

pub use commands::*;
pub use due::due;
pub use refusal::Refusal;

pub(crate) use crate::due::no_reaction as react;

use crate::{
    Claim, Facts, Lock, Standing, Unique,
    facts::facts,
    organization::calendar::CalendarsAt,
    restated::{Reasoned, Sparse, restates, said_on},
    text::{Day, EmailAddress, Gender, Phone},
};

/// A person's number. Held for ever by who was employed: a number never names two people. Whoever never started gives it up.
pub static EMPLOYEE_NUMBER: Unique = Unique {
    name: "employee_number",
    code: "employee_number_taken",
    detail: "the employee number is or was another person's; choose another one",
};
/// An address at work.
pub static WORK_EMAIL: Unique = Unique {
    name: "work_email",
    code: "work_email_taken",
    detail: "the work e-mail address is or was another person's; choose another one",
};
/// What only one person may hold.
pub const UNIQUES: &[&Unique] = &[&EMPLOYEE_NUMBER, &WORK_EMAIL];

/// Held by whoever says who works for whom.
pub const MANAGERS: Lock = Lock("managers");

facts! { Employee answers {
    /// How a person stands on a day: employed, not then, or unknown.
    Employed {
        /// The person.
        employee: EmployeeId,
        /// The day.
        on: Date,
    } -> Standing;
    /// Whom a person reports to on the days of `[from, until)`: from a day, up to another, to whom.
    ManagersOf {
        /// The person.
        employee: EmployeeId,
        /// The first day.
        from: Date,
        /// The first day after, if there is one.
        until: Option<Date>,
    } -> Vec<(Date, Option<Date>, EmployeeId)>;
    /// Where and for whom a person works on a day; see [`State::place`].
    PlaceOn {
        /// The person.
        employee: EmployeeId,
        /// The day.
        on: Date,
    } -> Option<Place>;
    /// When and where a person was, is and will be employed; see [`State::work`].
    WorkOf {
        /// The person.
        employee: EmployeeId,
    } -> Option<Work>;
} }

impl Question {
    /// The stream of the aggregate that answers.
    pub const fn stream(&self, scope: TenantScope) -> StreamName {
        let employee = match self {
            Self::Employed(q) => q.employee,
            Self::ManagersOf(q) => q.employee,
            Self::PlaceOn(q) => q.employee,
            Self::WorkOf(q) => q.employee,
        };
        StreamName::employee(scope, employee)
    }
    /// Whether an answer that is a second old would be too old: of what [`MANAGERS`] guards, and of what is worked out anew as soon as
    /// it changes, and not again.
    pub const fn must_be_newest(&self) -> bool {
        matches!(self, Self::ManagersOf(_) | Self::WorkOf(_))
    }
    /// What else is to be asked because of the answer: whom the managers report to in turn; which holidays there are at the places.
    pub fn leads_to(&self, fact: &Fact) -> Vec<crate::Question> {
        match fact {
            Fact::ManagersOf(above) => above.iter().map(|stretch| managers_of(*stretch).into()).collect(),
            Fact::WorkOf(work) => work.iter().flat_map(Work::calendars).map(Into::into).collect(),
            Fact::Employed(_) | Fact::PlaceOn(_) => Vec::new(),
        }
    }
}

const fn managers_of((from, until, employee): (Date, Option<Date>, EmployeeId)) -> ManagersOf {
    ManagersOf { employee, from, until }
}

/// Changes of one kind on one day; far above what happens, far below what the sequence can count.
const MAX_SEQ: u16 = 1_000;

/// A person, as far as the rules read it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum State {
    /// Never hired.
    #[default]
    Absent,
    /// Hired at least once.
    Known(Box<Person>),
}

/// A person who was hired.
#[derive(Clone, PartialEq, Eq)]
pub struct Person {
    /// None once erased.
    number: Option<String>,
    original_hire_date: Option<Date>,
    details: Timeline<PersonalDetailsChange>,
    contact: Timeline<ContactDetailsChange>,
    /// In the order of recording, which is that of time among those that have days; without overlap; never empty.
    employments: Vec<Employment>,
}

/// Prints nothing of the person.
impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Person").field("employments", &self.employments).finish_non_exhaustive()
    }
}

/// One period of employment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Employment {
    id: EmploymentId,
    from: Date,
    /// The last day worked and the reason, once it is known that it ends.
    end: Option<(Date, String)>,
    assignments: Timeline<Reasoned<AssignmentChange>>,
    pay: Timeline<Reasoned<Pay>>,
}

impl State {
    /// What must be looked up for a command: how that stands which it refers to, and who stands above the manager that it
    /// sets, for as long as it would hold.
    pub fn questions(&self, command: &Command) -> Vec<crate::Question> {
        let others = |reference: &Reference| reference.to != Referent::Manager(command.employee_id());
        let references: Vec<_> = command.references().into_iter().filter(others).collect();
        let above = references.iter().filter_map(|reference| self.above(command, *reference)).map(Into::into);
        references.iter().map(|reference| reference.question()).chain(above).collect()
    }

    /// The question that tells whether a manager whom a command sets closes a ring. A hire sets one of whoever nobody can
    /// report to yet.
    fn above(&self, command: &Command, reference: Reference) -> Option<ManagersOf> {
        let Referent::Manager(employee) = reference.to else { return None };
        let until = self.manager_until(reference.on);
        (!command.creates()).then_some(ManagersOf { employee, from: reference.on, until })
    }

    /// What follows from a command: events, nothing (it is so already), or a refusal. `facts` answer
    /// [`State::questions`].
    pub fn decide(&self, command: &Command, facts: &Facts) -> Result<Vec<EmployeeEvent>, Refusal> {
        match (self, command) {
            (Self::Absent, Command::HireEmployee(c)) => {
                check_hire_dates(c)?;
                self.check_references(command, facts)?;
                Ok(vec![hired(c).into()])
            }
            (Self::Known(person), Command::HireEmployee(c)) => {
                if person.is_hired_as(c) {
                    Ok(Vec::new())
                } else {
                    Err(Refusal::AlreadyHired)
                }
            }
            (
                Self::Absent,
                Command::RehireEmployee(_)
                | Command::ChangeAssignment(_)
                | Command::ChangeCompensation(_)
                | Command::ChangePersonalDetails(_)
                | Command::ChangeContactDetails(_)
                | Command::TerminateEmployee(_)
                | Command::AnnounceDue(_),
            ) => Err(Refusal::NotFound),

            (Self::Known(person), Command::RehireEmployee(c)) => {
                let on = c.hire_date.date();
                let Some(last) = person.employments.last() else { return Err(Refusal::NotFound) };
                if person.employments.len() > 1 && last.stands_as(on, &c.assignment, c.pay) {
                    return Ok(Vec::new());
                }
                if last.end.is_none() {
                    return Err(Refusal::StillEmployed);
                }
                // One that never started stands in nobody's way.
                if let Some((last_day, _)) = person.last_begun().and_then(|e| e.end.as_ref()).filter(|(last_day, _)| on <= *last_day) {
                    return Err(Refusal::RehireBeforeEnd(*last_day));
                }
                self.check_references(command, facts)?;
                let employee_id = c.employee_id;
                Ok(vec![
                    EmployeeRehired {
                        employee_id,
                        employment_id: employment_id(employee_id, person.employments.len()),
                        effective: Effective { on, seq: 0 },
                        assignment: c.assignment,
                        pay: c.pay,
                    }
                    .into(),
                ])
            }

            (Self::Known(person), Command::ChangeAssignment(c)) => {
                let on = c.effective_on.date();
                let employment = person.employed_on(on).ok_or(Refusal::NotEmployedOnDate(on))?;
                let AssignmentChanges { department_id, job_id, location_id, manager_id } = c.changes;
                let changes = AssignmentChange { department_id, job_id, location_id, manager_id };
                if restates(&employment.assignments, on, &reasoned(changes, c.reason.as_str())) {
                    return Ok(Vec::new());
                }
                self.check_references(command, facts)?;
                let effective = next(&employment.assignments, on)?;
                let (employee_id, employment_id) = (c.employee_id, employment.id);
                Ok(vec![AssignmentChanged { employee_id, employment_id, effective, changes, reason: c.reason.to_text() }.into()])
            }

            (Self::Known(person), Command::ChangeCompensation(c)) => {
                let on = c.effective_on.date();
                let employment = person.employed_on(on).ok_or(Refusal::NotEmployedOnDate(on))?;
                if restates(&employment.pay, on, &reasoned(c.pay, c.reason.as_str())) {
                    return Ok(Vec::new());
                }
                let effective = next(&employment.pay, on)?;
                let (employee_id, employment_id) = (c.employee_id, employment.id);
                Ok(vec![CompensationChanged { employee_id, employment_id, effective, pay: c.pay, reason: c.reason.to_text() }.into()])
            }

            (Self::Known(person), Command::ChangePersonalDetails(c)) => {
                let on = person.not_before_hire(c.effective_on)?;
                if let Patch::Set(birth_date) = &c.changes.birth_date
                    && birth_date.date() >= person.service_start()
                {
                    return Err(Refusal::BirthDateNotBeforeHire("/changes/birth_date"));
                }
                let changes = details_change(&c.changes);
                if restates(&person.details, on, &changes) {
                    return Ok(Vec::new());
                }
                let effective = next(&person.details, on)?;
                Ok(vec![PersonalDetailsChanged { employee_id: c.employee_id, effective, changes: Personal::Clear(changes) }.into()])
            }

            (Self::Known(person), Command::ChangeContactDetails(c)) => {
                let on = person.not_before_hire(c.effective_on)?;
                let changes = contact_change(&c.changes);
                if restates(&person.contact, on, &changes) {
                    return Ok(Vec::new());
                }
                let effective = next(&person.contact, on)?;
                Ok(vec![ContactDetailsChanged { employee_id: c.employee_id, effective, changes: Personal::Clear(changes) }.into()])
            }

            (Self::Known(person), Command::TerminateEmployee(c)) => {
                let day = c.last_day_worked.date();
                let Some(last) = person.employments.last() else { return Err(Refusal::NotFound) };
                match &last.end {
                    Some((end, reason)) if *end == day && reason == c.reason.as_str() => Ok(Vec::new()),
                    Some((end, _)) => Err(Refusal::AlreadyTerminated(*end)),
                    // The eve of the first day is the last day worked of a person who never started.
                    None if day.tomorrow().is_ok_and(|next| next < last.from) => Err(Refusal::TerminationBeforeHire(last.from)),
                    None => Ok(vec![
                        EmployeeTerminated {
                            employee_id: c.employee_id,
                            employment_id: last.id,
                            last_day_worked: day,
                            reason: c.reason.to_text(),
                        }
                        .into(),
                    ]),
                }
            }

            // The state does not remember announcements. The store accepts a command's id once, and this one is derived from the fact's event.
            (Self::Known(person), Command::AnnounceDue(c)) => Ok(person.announcement(c).into_iter().collect()),
        }
    }

    /// The claims that go with the events decided on this state.
    ///
    /// A number stays its person's for ever. So does an address at work that the person has, had or will have on any
    /// day: mail meant for one person must never reach another. Only an address that a later change of the same day
    /// replaced, or a future one that was changed before it began, goes back. Whoever never started holds neither, until they are
    /// hired again.
    pub fn claims(&self, events: &[EmployeeEvent]) -> Vec<Claim> {
        let mut claims = Vec::new();
        for event in events {
            match event {
                EmployeeEvent::EmployeeHired(e) => {
                    claims.extend(e.employee_number.clear().map(|number| Claim::take(&EMPLOYEE_NUMBER, number)));
                    let email = e.contact.clear().and_then(|contact| contact.work_email.as_ref());
                    claims.extend(email.map(|email| Claim::take(&WORK_EMAIL, email)));
                }
                EmployeeEvent::EmployeeTerminated(e) => {
                    let Self::Known(person) = self else { continue };
                    if person.would_never_start(e) {
                        claims.extend(person.number.iter().map(|number| Claim::release(&EMPLOYEE_NUMBER, number)));
                        claims.extend(emails(&person.contact).into_iter().map(|email| Claim::release(&WORK_EMAIL, email)));
                    }
                }
                EmployeeEvent::EmployeeRehired(_) => {
                    let Self::Known(person) = self else { continue };
                    if person.last_begun().is_none() {
                        claims.extend(person.number.iter().map(|number| Claim::take(&EMPLOYEE_NUMBER, number)));
                        claims.extend(emails(&person.contact).into_iter().map(|email| Claim::take(&WORK_EMAIL, email)));
                    }
                }
                EmployeeEvent::ContactDetailsChanged(e) => {
                    let Self::Known(person) = self else { continue };
                    if person.last_begun().is_none() {
                        continue;
                    }
                    let mut after = person.contact.clone();
                    after.insert(e.effective, e.changes.clear().cloned().unwrap_or_default());
                    let (before, after) = (emails(&person.contact), emails(&after));
                    claims.extend(before.iter().filter(|a| !after.contains(a)).map(|a| Claim::release(&WORK_EMAIL, a)));
                    claims.extend(after.iter().filter(|a| !before.contains(a)).map(|a| Claim::take(&WORK_EMAIL, a)));
                }
                EmployeeEvent::AssignmentChanged(_)
                | EmployeeEvent::CompensationChanged(_)
                | EmployeeEvent::PersonalDetailsChanged(_)
                | EmployeeEvent::EmploymentStarted(_)
                | EmployeeEvent::EmploymentEnded(_)
                | EmployeeEvent::ChangeTookEffect(_) => {}
            }
        }
        claims
    }

    /// The state after an event. Personal fields must have been opened; what is erased counts as unknown.
    pub fn evolve(self, event: &EmployeeEvent) -> Self {
        let mut person = match (self, event) {
            (_, EmployeeEvent::EmployeeHired(e)) => return Self::Known(Box::new(Person::from(e))),
            // A stream starts with a hire; nothing else makes a person.
            (Self::Absent, _) => return Self::Absent,
            (Self::Known(person), _) => person,
        };
        match event {
            // What announces states only what stands already.
            EmployeeEvent::EmployeeHired(_)
            | EmployeeEvent::EmploymentStarted(_)
            | EmployeeEvent::EmploymentEnded(_)
            | EmployeeEvent::ChangeTookEffect(_) => {}
            EmployeeEvent::EmployeeRehired(e) => {
                // What the hire said of the person holds from the first day that they are there.
                person.details.start_by(e.effective.on);
                person.contact.start_by(e.effective.on);
                person.employments.push(Employment::new(e.employment_id, e.effective, e.assignment, e.pay));
            }
            EmployeeEvent::AssignmentChanged(e) => {
                person.change(e.employment_id, |employment| employment.assignments.insert(e.effective, reasoned(e.changes, &e.reason)));
            }
            EmployeeEvent::CompensationChanged(e) => {
                person.change(e.employment_id, |employment| employment.pay.insert(e.effective, reasoned(e.pay, &e.reason)));
            }
            EmployeeEvent::PersonalDetailsChanged(e) => {
                person.details.insert(e.effective, e.changes.clear().cloned().unwrap_or_default());
            }
            EmployeeEvent::ContactDetailsChanged(e) => {
                person.contact.insert(e.effective, e.changes.clear().cloned().unwrap_or_default());
            }
            EmployeeEvent::EmployeeTerminated(e) => {
                person.change(e.employment_id, |employment| employment.end = Some((e.last_day_worked, e.reason.clone())));
            }
        }
        Self::Known(person)
    }

    fn check_references(&self, command: &Command, facts: &Facts) -> Result<(), Refusal> {
        for reference in command.references() {
            let pointer = reference.pointer;
            if reference.to == Referent::Manager(command.employee_id()) {
                return Err(Refusal::OwnManager(pointer));
            }
            match reference.standing(facts) {
                Standing::Open => {}
                Standing::NotThen => return Err(Refusal::ReferenceNotOpen { pointer, on: reference.on }),
                Standing::Unknown => return Err(Refusal::UnknownReference(pointer)),
            }
            if self.above(command, reference).is_some_and(|above| stands_above(command.employee_id(), above, facts)) {
                return Err(Refusal::ManagerCycle(pointer));
            }
        }
        Ok(())
    }

    /// The answer to a question.
    pub fn answer(&self, question: &Question) -> Fact {
        match *question {
            Question::Employed(q) => Fact::Employed(self.standing(q.on)),
            Question::ManagersOf(q) => Fact::ManagersOf(self.managers(q.from, q.until)),
            Question::PlaceOn(q) => Fact::PlaceOn(self.place(q.on)),
            Question::WorkOf(_) => Fact::WorkOf(self.work()),
        }
    }

    /// None: each command names the person.
    pub const fn person(&self) -> Option<EmployeeId> {
        None
    }

    fn standing(&self, on: Date) -> Standing {
        match self {
            Self::Absent => Standing::Unknown,
            Self::Known(person) if person.employed_on(on).is_some() => Standing::Open,
            Self::Known(_) => Standing::NotThen,
        }
    }

    /// Whom the person reports to on the days of `[from, until)`.
    fn managers(&self, from: Date, until: Option<Date>) -> Vec<(Date, Option<Date>, EmployeeId)> {
        let Self::Known(person) = self else { return Vec::new() };
        let spans = person.employments.iter().flat_map(|e| e.assignments.spans(None, e.end_exclusive()));
        let clipped = spans.filter_map(|span| {
            let (start, end) = (span.from.on.max(from), [span.to, until].into_iter().flatten().min());
            Some((start, end, span.row?.manager_id?))
        });
        clipped.filter(|(start, end, _)| end.is_none_or(|end| *start < end)).collect()
    }

    /// Until when a manager who is set on a day stays so: until a later change sets another, or the employment ends.
    fn manager_until(&self, on: Date) -> Option<Date> {
        let Self::Known(person) = self else { return None };
        let employment = person.employed_on(on)?;
        let later = employment.assignments.changes().iter().find(|(at, set)| at.on > on && !set.change.manager_id.is_keep());
        [later.map(|(at, _)| at.on), employment.end_exclusive()].into_iter().flatten().min()
    }

    /// When and where the person was, is and will be employed.
    fn work(&self) -> Option<Work> {
        let Self::Known(person) = self else { return None };
        let (mut employments, mut places) = (Vec::new(), FromDays::default());
        for employment in person.employments.iter().filter(|e| e.has_days()) {
            employments
                .push(calculation::leave::Employed { from: employment.from, last_day: employment.end.as_ref().map(|(day, _)| *day) });
            for span in employment.assignments.spans(None, employment.end_exclusive()) {
                if span.to.is_none_or(|to| span.from.on < to) {
                    places.set(span.from.on, span.row.and_then(|assignment| assignment.location_id));
                }
            }
        }
        Some(Work { employments, service_start: person.original_hire_date, places })
    }

    /// Where and for whom the person works on a day; of who does not, by the employment that ended last, else the next; of who never
    /// started, where they were to start by the offer of the latest day.
    pub fn place(&self, on: Date) -> Option<Place> {
        let Self::Known(person) = self else { return None };
        let mut started = person.employments.iter().filter(|e| e.has_days());
        let started = started.clone().rev().find(|e| e.from <= on).or_else(|| started.next());
        let offered = || person.employments.iter().max_by_key(|e| (e.from, e.id));
        let (employment, never_started) = started.map(|e| (e, false)).or_else(|| offered().map(|e| (e, true)))?;
        let last_day = employment.end.as_ref().map_or(Date::MAX, |(day, _)| *day);
        let day = on.min(last_day).max(employment.from);
        let changes = employment.assignments.changes().iter().rev();
        let held = changes.filter(|(at, _)| at.on <= day).map(|(_, set)| set.change);
        let department_id = held.clone().find_map(|change| change.department_id)?;
        let location_id = last_set(held.clone().map(|change| change.location_id));
        let manager_id = last_set(held.map(|change| change.manager_id));
        let left = last_day < on && !never_started;
        Some(Place { department_id, location_id, manager_id, never_started, left, back_since: person.back_since(on) })
    }
}

/// When and where somebody was, is and will be employed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The employments that have days, earliest first.
    pub employments: Vec<calculation::leave::Employed>,
    /// From when service counts, where that is earlier than the first employment.
    pub service_start: Option<Date>,
    /// The places of work.
    pub places: FromDays<Option<LocationId>>,
}

impl Work {
    /// The questions for the holidays at the places.
    fn calendars(&self) -> impl Iterator<Item = CalendarsAt> {
        let places: BTreeSet<_> = self.places.values().copied().collect();
        places.into_iter().map(|location| CalendarsAt { location })
    }
}

/// Where and for whom somebody works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The department.
    pub department_id: DepartmentId,
    /// The place of work, where there is a fixed one.
    pub location_id: Option<LocationId>,
    /// The person reported to.
    pub manager_id: Option<EmployeeId>,
    /// Whether nobody works there: the person never started anywhere, and was to start here.
    pub never_started: bool,
    /// Whether the employment has ended before the day.
    pub left: bool,
    /// The first day after the last time without employment, of whoever was hired again after one.
    pub back_since: Option<Date>,
}

impl Person {
    fn employed_on(&self, day: Date) -> Option<&Employment> {
        self.employments.iter().rev().find(|e| e.covers(day))
    }

    /// The last employment that has days, or will have; none of who never started.
    fn last_begun(&self) -> Option<&Employment> {
        self.employments.iter().rev().find(|e| e.has_days())
    }

    /// Whether an end leaves the person no employment that has days.
    fn would_never_start(&self, end: &EmployeeTerminated) -> bool {
        self.employments.iter().all(|e| if e.id == end.employment_id { end.last_day_worked < e.from } else { !e.has_days() })
    }

    /// The first day after the last time without employment that was over on a day; none where there was no such time.
    fn back_since(&self, on: Date) -> Option<Date> {
        let mut started = self.employments.iter().filter(|e| e.from <= on && e.has_days());
        let mut last_day = started.next()?.end.as_ref().map(|(last, _)| *last);
        let mut back = None;
        for employment in started {
            if last_day.and_then(|last| last.tomorrow().ok()).is_some_and(|next| next < employment.from) {
                back = Some(employment.from);
            }
            last_day = employment.end.as_ref().map(|(last, _)| *last);
        }
        back
    }

    /// The first day of an employment, also of one that never started.
    fn first_day(&self) -> Date {
        self.employments.iter().map(|e| e.from).min().unwrap_or(Date::MIN)
    }

    /// The first day of employment or of service, whichever is earlier.
    fn service_start(&self) -> Date {
        let hired = self.first_day();
        self.original_hire_date.map_or(hired, |original| original.min(hired))
    }

    fn not_before_hire(&self, day: Day) -> Result<Date, Refusal> {
        let hired = self.first_day();
        if day.date() < hired { Err(Refusal::BeforeHire(hired)) } else { Ok(day.date()) }
    }

    /// Whether all that a hire says is so now: the person's only employment is that one, goes on, and its first day says the same.
    fn is_hired_as(&self, c: &HireEmployee) -> bool {
        let (on, hired) = (c.hire_date.date(), hired(c));
        let [employment] = self.employments.as_slice() else { return false };
        employment.stands_as(on, &c.assignment, c.pay)
            && self.original_hire_date == hired.original_hire_date
            && self.number.as_deref() == Some(c.employee_number.as_str())
            && hired.person.into_clear().is_some_and(|p| restates(&self.details, on, &p.into()))
            && hired.contact.into_clear().is_some_and(|p| restates(&self.contact, on, &p.into()))
    }

    /// What is to be said of a fact whose day has begun: nothing where it is not so any more, as of an employment that was ended
    /// before it started.
    fn announcement(&self, c: &AnnounceDue) -> Option<EmployeeEvent> {
        let employee_id = c.employee_id;
        let worked = |id: EmploymentId| self.employments.iter().find(|e| e.id == id).filter(|e| e.has_days());
        match c.fact {
            DueFact::Start { employment_id, on } => {
                let starts = worked(employment_id).is_some_and(|e| e.from == on);
                starts.then(|| EmploymentStarted { employee_id, employment_id, on }.into())
            }
            DueFact::End { employment_id, last_day_worked } => {
                let end = worked(employment_id).and_then(|e| e.end.as_ref());
                let ends = end.is_some_and(|(last, _)| *last == last_day_worked);
                ends.then(|| EmploymentEnded { employee_id, employment_id, last_day_worked }.into())
            }
            DueFact::Change { what, effective } => {
                let employed = self.employed_on(effective.on);
                let holds = match what {
                    ChangedFacts::Assignment => employed.is_some_and(|e| e.assignments.has(effective)),
                    ChangedFacts::Compensation => employed.is_some_and(|e| e.pay.has(effective)),
                    ChangedFacts::Personal => self.details.has(effective),
                    ChangedFacts::Contact => self.contact.has(effective),
                };
                holds.then(|| ChangeTookEffect { employee_id, what, effective }.into())
            }
        }
    }

    fn change(&mut self, id: EmploymentId, change: impl FnOnce(&mut Employment)) {
        if let Some(employment) = self.employments.iter_mut().rev().find(|e| e.id == id) {
            change(employment);
        }
    }
}

impl From<&EmployeeHired> for Person {
    fn from(e: &EmployeeHired) -> Self {
        let (mut details, mut contact) = (Timeline::default(), Timeline::default());
        details.insert(e.effective, e.person.clear().cloned().map(Into::into).unwrap_or_default());
        contact.insert(e.effective, e.contact.clear().cloned().map(Into::into).unwrap_or_default());
        Self {
            number: e.employee_number.clear().cloned(),
            original_hire_date: e.original_hire_date,
            details,
            contact,
            employments: vec![Employment::new(e.employment_id, e.effective, e.assignment, e.pay)],
        }
    }
}

impl Employment {
    fn new(id: EmploymentId, effective: Effective, assignment: Assignment, first_pay: Option<Pay>) -> Self {
        let (mut assignments, mut pay) = (Timeline::default(), Timeline::default());
        assignments.insert(effective, Reasoned { change: assignment.into(), reason: None });
        if let Some(change) = first_pay {
            pay.insert(effective, Reasoned { change, reason: None });
        }
        Self { id, from: effective.on, end: None, assignments, pay }
    }

    /// The first day without it.
    fn end_exclusive(&self) -> Option<Date> {
        self.end.as_ref().map(|(last, _)| last.tomorrow().unwrap_or(Date::MAX))
    }

    /// Whether it started at all: the last day worked of who never started is the eve of the first.
    fn has_days(&self) -> bool {
        self.end.as_ref().is_none_or(|(last, _)| self.from <= *last)
    }

    fn covers(&self, day: Date) -> bool {
        self.from <= day && self.end.as_ref().is_none_or(|(last, _)| day <= *last)
    }

    /// Whether it goes on, and its first day says this of it. A hire gives no reasons, so reasons are not compared.
    fn stands_as(&self, on: Date, assignment: &Assignment, pay: Option<Pay>) -> bool {
        self.from == on
            && self.end.is_none()
            && said_on(&self.pay, on).map(|said| said.change) == pay
            && said_on(&self.assignments, on).is_some_and(|said| said.change == AssignmentChange::from(*assignment))
    }
}

/// The value that the newest of these changes left, newest first; none where it was cleared or never set.
fn last_set<T>(mut newest_first: impl Iterator<Item = Patch<T>>) -> Option<T> {
    match newest_first.find(|change| !change.is_keep()) {
        Some(Patch::Set(value)) => Some(value),
        Some(Patch::Keep | Patch::Clear) | None => None,
    }
}

fn reasoned<C>(change: C, reason: &str) -> Reasoned<C> {
    Reasoned { change, reason: Some(reason.into()) }
}

/// The place of the next change on a day.
fn next<C: Change>(timeline: &Timeline<C>, on: Date) -> Result<Effective, Refusal> {
    let seq = timeline.next_seq(on);
    if seq < MAX_SEQ { Ok(Effective { on, seq }) } else { Err(Refusal::TooManyChangesOnDay) }
}

impl Sparse for AssignmentChange {
    fn over(&self, earlier: &Self) -> Self {
        Self {
            department_id: self.department_id.or(earlier.department_id),
            job_id: self.job_id.or(earlier.job_id),
            location_id: self.location_id.or(earlier.location_id),
            manager_id: self.manager_id.or(earlier.manager_id),
        }
    }
    fn is_void(&self) -> bool {
        *self == Self::default()
    }
}

impl Sparse for Pay {
    fn over(&self, _: &Self) -> Self {
        *self
    }
    fn is_void(&self) -> bool {
        false
    }
}

impl Sparse for PersonalDetailsChange {
    fn over(&self, earlier: &Self) -> Self {
        let (new, old) = (self.clone(), earlier.clone());
        Self {
            given_name: new.given_name.or(old.given_name),
            family_name: new.family_name.or(old.family_name),
            birth_date: new.birth_date.or(old.birth_date),
            gender: new.gender.or(old.gender),
        }
    }
    fn is_void(&self) -> bool {
        *self == Self::default()
    }
}

impl Sparse for ContactDetailsChange {
    fn over(&self, earlier: &Self) -> Self {
        let (new, old) = (self.clone(), earlier.clone());
        Self {
            work_email: new.work_email.or(old.work_email),
            private_email: new.private_email.or(old.private_email),
            phone: new.phone.or(old.phone),
        }
    }
    fn is_void(&self) -> bool {
        *self == Self::default()
    }
}

/// The addresses at work that hold on some day.
fn emails(contact: &Timeline<ContactDetailsChange>) -> Vec<&str> {
    let mut current = None;
    let mut held = Vec::new();
    let changes = contact.changes();
    for (i, (at, change)) in changes.iter().enumerate() {
        match &change.work_email {
            Patch::Keep => {}
            Patch::Clear => current = None,
            Patch::Set(email) => current = Some(email.as_str()),
        }
        let replaced_that_day = changes.get(i + 1).is_some_and(|(later, _)| later.on == at.on);
        if let Some(email) = current
            && !replaced_that_day
            && !held.contains(&email)
        {
            held.push(email);
        }
    }
    held
}

fn check_hire_dates(c: &HireEmployee) -> Result<(), Refusal> {
    let original = c.original_hire_date.unwrap_or(c.hire_date);
    if original > c.hire_date {
        return Err(Refusal::OriginalHireDateAfterHire);
    }
    if c.person.birth_date.is_some_and(|born| born >= original) {
        return Err(Refusal::BirthDateNotBeforeHire("/person/birth_date"));
    }
    Ok(())
}

/// Whether a person stands above a manager on one of the days asked about. What was not looked up counts as such a day: what
/// can't be checked is refused.
fn stands_above(person: EmployeeId, manager: ManagersOf, facts: &Facts) -> bool {
    let (mut open, mut seen) = (vec![manager], BTreeSet::new());
    while let Some(stretch) = open.pop() {
        if !seen.insert(stretch) {
            continue;
        }
        let Some(above) = facts.get(stretch) else { return true };
        if above.iter().any(|(_, _, manager)| *manager == person) {
            return true;
        }
        open.extend(above.iter().copied().map(managers_of));
    }
    false
}

/// A person's employments are numbered, so that a retry names the same one.
fn employment_id(employee: EmployeeId, before: usize) -> EmploymentId {
    EmploymentId::derive(employee.uuid(), &format!("employment-{}", before + 1))
}

fn hired(c: &HireEmployee) -> EmployeeHired {
    EmployeeHired {
        employee_id: c.employee_id,
        employment_id: employment_id(c.employee_id, 0),
        effective: Effective { on: c.hire_date.date(), seq: 0 },
        original_hire_date: c.original_hire_date.filter(|original| *original != c.hire_date).map(Day::date),
        employee_number: Personal::Clear(c.employee_number.to_text()),
        person: Personal::Clear(PersonalDetails {
            given_name: c.person.given_name.to_text(),
            family_name: c.person.family_name.to_text(),
            birth_date: c.person.birth_date.map(Day::date),
            gender: c.person.gender.as_ref().map(Gender::to_text),
        }),
        contact: Personal::Clear(ContactDetails {
            work_email: c.contact.work_email.as_ref().map(EmailAddress::to_text),
            private_email: c.contact.private_email.as_ref().map(EmailAddress::to_text),
            phone: c.contact.phone.as_ref().map(Phone::to_text),
        }),
        assignment: c.assignment,
        pay: c.pay,
    }
}

fn details_change(c: &PersonalDetailsChanges) -> PersonalDetailsChange {
    PersonalDetailsChange {
        given_name: c.given_name.as_ref().map(super::text::Name::to_text),
        family_name: c.family_name.as_ref().map(super::text::FamilyName::to_text),
        birth_date: patch(&c.birth_date, |day| day.date()),
        gender: patch(&c.gender, Gender::to_text),
    }
}

fn contact_change(c: &ContactDetailsChanges) -> ContactDetailsChange {
    ContactDetailsChange {
        work_email: patch(&c.work_email, EmailAddress::to_text),
        private_email: patch(&c.private_email, EmailAddress::to_text),
        phone: patch(&c.phone, Phone::to_text),
    }
}

fn patch<T, U>(patch: &Patch<T>, to: impl FnOnce(&T) -> U) -> Patch<U> {
    match patch {
        Patch::Keep => Patch::Keep,
        Patch::Clear => Patch::Clear,
        Patch::Set(value) => Patch::Set(to(value)),
    }
}
