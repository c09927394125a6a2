//! Which announcements become due by an event of the organization: one for each fact about a department, location or job.

use events::organization::{OrganizationEvent, UnitChange, UnitId};

use super::AnnounceUnitChange;
use crate::{Due, DuePlace};

/// What becomes due by an event. A location's day begins where it is; that of departments and jobs, which are at no place, where the
/// tenant is.
pub fn due(event: &OrganizationEvent) -> Vec<Due> {
    let (unit, what, effective) = match event {
        OrganizationEvent::DepartmentCreated(e) => (UnitId::Department(e.department_id), UnitChange::Opened, e.effective),
        OrganizationEvent::DepartmentRenamed(e) => (UnitId::Department(e.department_id), UnitChange::Changed, e.effective),
        OrganizationEvent::DepartmentMoved(e) => (UnitId::Department(e.department_id), UnitChange::Moved, e.effective),
        OrganizationEvent::DepartmentClosed(e) => (UnitId::Department(e.department_id), UnitChange::Closed, e.effective),
        OrganizationEvent::LocationOpened(e) => (UnitId::Location(e.location_id), UnitChange::Opened, e.effective),
        OrganizationEvent::LocationChanged(e) => (UnitId::Location(e.location_id), UnitChange::Changed, e.effective),
        OrganizationEvent::LocationClosed(e) => (UnitId::Location(e.location_id), UnitChange::Closed, e.effective),
        OrganizationEvent::JobCreated(e) => (UnitId::Job(e.job_id), UnitChange::Opened, e.effective),
        OrganizationEvent::JobRetitled(e) => (UnitId::Job(e.job_id), UnitChange::Changed, e.effective),
        OrganizationEvent::JobRetired(e) => (UnitId::Job(e.job_id), UnitChange::Closed, e.effective),
        OrganizationEvent::UnitChangeTookEffect(_) => return Vec::new(),
    };
    let place = match unit {
        UnitId::Location(location) => DuePlace::Location(location),
        UnitId::Department(_) | UnitId::Job(_) => DuePlace::Tenant,
    };
    let command = crate::Command::Organization(AnnounceUnitChange { unit, what, effective }.into());
    vec![Due::announcement(effective.on, place, command)]
}
