//! What becomes due of a person: the start and the end of an employment, and changes that lie ahead.

use events::{
    Effective,
    employee::{ChangedFacts, EmployeeEvent},
};

use super::{AnnounceDue, DueFact};
use crate::{Due, DuePlace};

/// What becomes due by an event.
pub fn due(event: &EmployeeEvent) -> Vec<Due> {
    let start = |employment_id, on| (on, DueFact::Start { employment_id, on });
    let change = |what, effective: Effective| (effective.on, DueFact::Change { what, effective });
    let (employee_id, (on, fact)) = match event {
        EmployeeEvent::EmployeeHired(e) => (e.employee_id, start(e.employment_id, e.effective.on)),
        EmployeeEvent::EmployeeRehired(e) => (e.employee_id, start(e.employment_id, e.effective.on)),
        EmployeeEvent::AssignmentChanged(e) => (e.employee_id, change(ChangedFacts::Assignment, e.effective)),
        EmployeeEvent::CompensationChanged(e) => (e.employee_id, change(ChangedFacts::Compensation, e.effective)),
        EmployeeEvent::PersonalDetailsChanged(e) => (e.employee_id, change(ChangedFacts::Personal, e.effective)),
        EmployeeEvent::ContactDetailsChanged(e) => (e.employee_id, change(ChangedFacts::Contact, e.effective)),
        EmployeeEvent::EmployeeTerminated(e) => {
            // After the last day of the calendar nothing is due.
            let Ok(after) = e.last_day_worked.tomorrow() else { return Vec::new() };
            (e.employee_id, (after, DueFact::End { employment_id: e.employment_id, last_day_worked: e.last_day_worked }))
        }
        EmployeeEvent::EmploymentStarted(_) | EmployeeEvent::EmploymentEnded(_) | EmployeeEvent::ChangeTookEffect(_) => return Vec::new(),
    };
    let command = crate::Command::Employee(AnnounceDue { employee_id, fact }.into());
    vec![Due::announcement(on, DuePlace::Person(employee_id), command)]
}
