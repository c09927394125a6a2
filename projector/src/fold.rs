//! Folding: a pure function from a key's rows and an event to the key's rows after it.
//!
//! The same fold serves live batches (rows loaded from and written back to PostgreSQL) and rebuilds (rows in memory).
//! A capability's fold is one `match` with an arm per event, in the module of its name.

#![deny(clippy::disallowed_methods)]

use std::collections::HashMap;

use events::{Event, RecordedEvent, employee::EmployeeEvent, organization::OrganizationEvent};
use uuid::Uuid;

use crate::{
    employee::Person,
    organization::{Department, Job, Location},
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

/// The keys that an event touches.
pub fn key(event: &Event) -> Option<Key> {
    match event {
        // The platform's log has no read model; its events are for the registry.
        Event::Tenancy(_) => None,
        Event::Organization(event) => Some(organization_key(event)),
        Event::Employee(event) => Some(Key::Person(employee_key(event))),
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

/// The person of an employee event.
pub fn employee_key(event: &EmployeeEvent) -> Uuid {
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

/// The state of the keys that are in hand.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Model {
    /// Departments.
    pub departments: HashMap<Uuid, Department>,
    /// Locations.
    pub locations: HashMap<Uuid, Location>,
    /// Jobs.
    pub jobs: HashMap<Uuid, Job>,
    /// People.
    pub people: HashMap<Uuid, Person>,
}

impl Model {
    /// Folds one event, whose personal fields are open (or erased), into its key's state.
    pub fn fold(&mut self, recorded: &RecordedEvent, event: &Event) -> Result<(), CannotFold> {
        match event {
            Event::Tenancy(_) => Err(CannotFold("an event of the platform's log in a tenant's".into())),
            Event::Organization(event) => match organization_key(event) {
                Key::Department(id) => self.departments.entry(id).or_default().fold(event),
                Key::Location(id) => self.locations.entry(id).or_default().fold(event),
                Key::Job(id) => self.jobs.entry(id).or_default().fold(event),
                Key::Person(_) => Err(CannotFold("an organization event names a person".into())),
            },
            Event::Employee(event) => {
                let id = employee_key(event);
                if recorded.stream.id() != id {
                    return Err(CannotFold(format!("{} stands in another person's stream", recorded.event_type)));
                }
                self.people.entry(id).or_default().fold(recorded.version, event)
            }
        }
    }
}
