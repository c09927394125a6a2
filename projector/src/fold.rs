//! Folding: a pure function from a key's rows and an event to the key's rows after it.
//!
//! The same fold serves live batches (rows loaded from PostgreSQL and written back), rebuilds and replays (rows in
//! memory). A capability's fold is one `match` with an arm per event, in the module of its name. What an event can't mean
//! is refused here, and its tenant is parked: nothing guesses (I8).

#![deny(clippy::disallowed_methods)]

use std::collections::HashMap;

use events::{
    Change, Effective, Event, StreamName, Timeline, Version,
    employee::{EmployeeEvent, Patch},
    organization::OrganizationEvent,
};
use jiff::civil::Date;
use uuid::Uuid;

use crate::{
    employee::Person,
    organization::{Department, Job, Location},
    rows::Rows,
};

/// The key of an aggregate's rows: what an event touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A department's spans.
    Department(Uuid),
    /// A location's spans.
    Location(Uuid),
    /// A job's spans.
    Job(Uuid),
    /// Everything of a person.
    Person(Uuid),
}

/// Why an event can't be folded. The tenant is parked with it; it holds no personal data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CannotFold(pub String);

/// The key that an event touches.
pub fn key(event: &Event) -> Result<Key, CannotFold> {
    match event {
        Event::Tenancy(_) => Err(CannotFold("an event of the platform's log stands in a tenant's".into())),
        Event::Organization(event) => Ok(organization_key(event)),
        Event::Employee(event) => Ok(Key::Person(person(event))),
    }
}

fn organization_key(event: &OrganizationEvent) -> Key {
    match event {
        OrganizationEvent::DepartmentCreated(e) => Key::Department(e.department_id.uuid()),
        OrganizationEvent::DepartmentRenamed(e) => Key::Department(e.department_id.uuid()),
        OrganizationEvent::DepartmentMoved(e) => Key::Department(e.department_id.uuid()),
        OrganizationEvent::DepartmentClosed(e) => Key::Department(e.department_id.uuid()),
        OrganizationEvent::LocationOpened(e) => Key::Location(e.location_id.uuid()),
        OrganizationEvent::LocationChanged(e) => Key::Location(e.location_id.uuid()),
        OrganizationEvent::LocationClosed(e) => Key::Location(e.location_id.uuid()),
        OrganizationEvent::JobCreated(e) => Key::Job(e.job_id.uuid()),
        OrganizationEvent::JobRetitled(e) => Key::Job(e.job_id.uuid()),
        OrganizationEvent::JobRetired(e) => Key::Job(e.job_id.uuid()),
    }
}

fn person(event: &EmployeeEvent) -> Uuid {
    match event {
        EmployeeEvent::EmployeeHired(e) => e.employee_id.uuid(),
        EmployeeEvent::EmployeeRehired(e) => e.employee_id.uuid(),
        EmployeeEvent::AssignmentChanged(e) => e.employee_id.uuid(),
        EmployeeEvent::CompensationChanged(e) => e.employee_id.uuid(),
        EmployeeEvent::PersonalDetailsChanged(e) => e.employee_id.uuid(),
        EmployeeEvent::ContactDetailsChanged(e) => e.employee_id.uuid(),
        EmployeeEvent::EmployeeTerminated(e) => e.employee_id.uuid(),
    }
}

/// The keys that are in hand, each as the changes that its rows stand for.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Model {
    departments: HashMap<Uuid, Department>,
    locations: HashMap<Uuid, Location>,
    jobs: HashMap<Uuid, Job>,
    people: HashMap<Uuid, Person>,
}

impl Model {
    /// Folds one event of a stream, whose personal fields are open or erased, into its key.
    pub fn fold(&mut self, stream: StreamName, version: Version, event: &Event) -> Result<(), CannotFold> {
        let key = key(event)?;
        match (key, event) {
            (Key::Department(id), Event::Organization(event)) => self.departments.entry(id).or_default().fold(event),
            (Key::Location(id), Event::Organization(event)) => self.locations.entry(id).or_default().fold(event),
            (Key::Job(id), Event::Organization(event)) => self.jobs.entry(id).or_default().fold(event),
            (Key::Person(id), Event::Employee(event)) if stream.id() == id => self.people.entry(id).or_default().fold(version, event),
            (..) => Err(CannotFold(format!("{} stands in a stream that is not its own", event.event_type()))),
        }
    }

    /// The keys' state, from their rows as [`Model::rows`] made them.
    pub fn from_rows(rows: Rows) -> Result<Self, CannotFold> {
        let departments = grouped(rows.department_span, |row| row.department_id);
        let locations = grouped(rows.location_span, |row| row.location_id);
        let jobs = grouped(rows.job_span, |row| row.job_id);
        Ok(Self {
            departments: departments.into_iter().map(|(id, rows)| (id, Department::from_rows(rows))).collect(),
            locations: locations.into_iter().map(|(id, rows)| (id, Location::from_rows(rows))).collect(),
            jobs: jobs.into_iter().map(|(id, rows)| (id, Job::from_rows(rows))).collect(),
            people: Person::all_from_rows(
                rows.employee,
                rows.employment,
                rows.person_span,
                rows.contact_span,
                rows.assignment_span,
                rows.compensation_span,
            )?,
        })
    }

    /// Adds the rows of one key.
    pub fn rows(&self, key: Key, to: &mut Rows) {
        match key {
            Key::Department(id) => self.departments.get(&id).into_iter().for_each(|state| state.rows(id, to)),
            Key::Location(id) => self.locations.get(&id).into_iter().for_each(|state| state.rows(id, to)),
            Key::Job(id) => self.jobs.get(&id).into_iter().for_each(|state| state.rows(id, to)),
            Key::Person(id) => self.people.get(&id).into_iter().for_each(|state| state.rows(id, to)),
        }
    }

    /// Hands out the rows of every key, key after key in their order, and lets go of each state after it.
    pub fn into_rows(self, mut each: impl FnMut(&Rows)) {
        fn drain<S>(states: HashMap<Uuid, S>, mut each: impl FnMut(Uuid, S)) {
            let mut states: Vec<_> = states.into_iter().collect();
            states.sort_unstable_by_key(|(id, _)| *id);
            for (id, state) in states {
                each(id, state);
            }
        }
        let mut rows = Rows::default();
        let mut emit = |fill: &dyn Fn(&mut Rows)| {
            rows.clear();
            fill(&mut rows);
            each(&rows);
        };
        drain(self.departments, |id, state| emit(&|rows| state.rows(id, rows)));
        drain(self.locations, |id, state| emit(&|rows| state.rows(id, rows)));
        drain(self.jobs, |id, state| emit(&|rows| state.rows(id, rows)));
        drain(self.people, |id, state| emit(&|rows| state.rows(id, rows)));
    }
}

fn grouped<T>(rows: Vec<T>, id: impl Fn(&T) -> Uuid) -> HashMap<Uuid, Vec<T>> {
    let mut groups: HashMap<Uuid, Vec<T>> = HashMap::new();
    for row in rows {
        groups.entry(id(&row)).or_default().push(row);
    }
    groups
}

/// Refuses a day that no column can hold.
pub(crate) fn storable_day(day: Date) -> Result<Date, CannotFold> {
    if day.year() >= 1 { Ok(day) } else { Err(CannotFold(format!("the day {day} lies before the year 1"))) }
}

/// Refuses an effective date that no row can hold.
pub(crate) fn storable_effective(at: Effective) -> Result<Effective, CannotFold> {
    storable_day(at.on)?;
    if i16::try_from(at.seq).is_ok() { Ok(at) } else { Err(CannotFold(format!("{} has more than 32,768 changes", at.on))) }
}

/// Refuses a change that does not come after the first, which creates and sets every field: there would be a row without
/// them.
pub(crate) fn after_first<C: Change>(changes: &Timeline<C>, at: Effective, event_type: &str) -> Result<Effective, CannotFold> {
    match changes.changes().first() {
        Some((first, _)) if at > *first => storable_effective(at),
        Some((first, _)) => Err(CannotFold(format!("{event_type} on {} is not after what it changes, of {}", at.on, first.on))),
        None => Err(CannotFold(format!("{event_type} changes what was never created"))),
    }
}

/// Refuses a text that no column can hold. The reason names no text: it may be personal.
pub(crate) fn storable_text<'t>(texts: impl IntoIterator<Item = &'t String>) -> Result<(), CannotFold> {
    let nul = texts.into_iter().any(|text| text.contains('\0'));
    if nul { Err(CannotFold("a text holds the character NUL".into())) } else { Ok(()) }
}

/// The sequence as its column holds it; [`storable_effective`] was asked before.
pub(crate) fn seq(at: Effective) -> i16 {
    i16::try_from(at.seq).unwrap_or(i16::MAX)
}

/// The effective date of a row.
pub(crate) fn effective(on: Date, seq: i16) -> Effective {
    Effective { on, seq: seq.unsigned_abs() }
}

/// The column `sets`: a bit per field that a change sets, the first field's lowest.
pub(crate) fn sets<const N: usize>(fields: [bool; N]) -> i16 {
    fields.iter().rev().fold(0, |bits, set| bits << 1 | i16::from(*set))
}

/// Whether a row's own change set its n-th field.
pub(crate) fn is_set(sets: i16, n: u32) -> bool {
    sets >> n & 1 == 1
}

/// The change that a row's own change made to an optional field.
pub(crate) fn patch<T>(set: bool, value: Option<T>) -> Patch<T> {
    if set { value.map_or(Patch::Clear, Patch::Set) } else { Patch::Keep }
}

#[cfg(test)]
mod tests;
