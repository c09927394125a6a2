//! What follows from events for people's leave. All of it is one command, [`SettleLeave`], which works out anew what has changed.

use events::{
    EmployeeId, Event,
    employee::{EmployeeEvent, Patch, working_time::WorkingTimeEvent},
    leave::{record::LeaveRecordEvent, terms::LeaveTermsEvent},
    organization::calendar::WorkCalendarEvent,
};

use super::SettleLeave;
use crate::{Audience, Does, Due, DuePlace, Reaction};

/// Everybody who was ever enrolled for a kind of leave.
const ENROLLED: Audience = Audience { name: "leave", command: SettleLeave::of };

/// What becomes due by an event: on the day of the next entry, it is recorded.
pub fn due(event: &LeaveRecordEvent) -> Vec<Due> {
    match event {
        LeaveRecordEvent::LeavePostingScheduled(e) => {
            let command = SettleLeave::of(e.employee_id);
            let due = |on| Due { name: "posting", on, place: DuePlace::Person(e.employee_id), command };
            e.next_on.map(due).into_iter().collect()
        }
        LeaveRecordEvent::PersonEnrolled(_)
        | LeaveRecordEvent::EnrolmentEnded(_)
        | LeaveRecordEvent::LeaveRequested(_)
        | LeaveRecordEvent::LeaveApproved(_)
        | LeaveRecordEvent::LeaveRejected(_)
        | LeaveRecordEvent::LeaveWithdrawn(_)
        | LeaveRecordEvent::LeaveCancellationRequested(_)
        | LeaveRecordEvent::LeaveCancellationRefused(_)
        | LeaveRecordEvent::LeaveCancelled(_)
        | LeaveRecordEvent::LeaveRecosted(_)
        | LeaveRecordEvent::LeaveAdjusted(_)
        | LeaveRecordEvent::LeaveEncashed(_)
        | LeaveRecordEvent::LeaveAccrued(_)
        | LeaveRecordEvent::LeaveCarriedOver(_)
        | LeaveRecordEvent::LeaveLotExpired(_)
        | LeaveRecordEvent::LeaveTaken(_)
        | LeaveRecordEvent::LeaveAdjustmentBooked(_) => Vec::new(),
    }
}

/// What an event leads to.
pub(crate) fn react(event: &Event) -> Vec<Reaction> {
    match event {
        Event::LeaveRecord(event) => own(event),
        Event::Employee(event) => employment(event).map(settle).into_iter().collect(),
        Event::WorkingTime(WorkingTimeEvent::WorkingTimeChanged(e)) => vec![settle(e.employee_id)],
        Event::WorkCalendar(event) => match event {
            // Nobody can work by a schedule, or live by a calendar, before anybody was told to.
            WorkCalendarEvent::WorkScheduleDefined(_) | WorkCalendarEvent::HolidayCalendarCreated(_) => Vec::new(),
            WorkCalendarEvent::WorkScheduleChanged(_)
            | WorkCalendarEvent::HolidayYearLoaded(_)
            | WorkCalendarEvent::HolidayDeclared(_)
            | WorkCalendarEvent::HolidayRevoked(_)
            | WorkCalendarEvent::LocationCalendarSet(_) => vec![settle_all()],
        },
        // Nobody is enrolled in a policy before its first version.
        Event::LeaveTerms(LeaveTermsEvent::LeavePolicyPublished(e)) if e.version > 1 => vec![settle_all()],
        Event::LeaveTerms(_) | Event::Tenancy(_) | Event::Organization(_) => Vec::new(),
    }
}

fn own(event: &LeaveRecordEvent) -> Vec<Reaction> {
    match event {
        LeaveRecordEvent::PersonEnrolled(e) => {
            vec![Reaction { name: "join-leave", does: Does::Join(ENROLLED, e.employee_id) }, settle(e.employee_id)]
        }
        LeaveRecordEvent::EnrolmentEnded(e) => vec![settle(e.employee_id)],
        // A request that was decided on what others have changed since is looked at again.
        LeaveRecordEvent::LeaveRequested(e) => vec![settle(e.employee_id)],
        LeaveRecordEvent::LeaveApproved(e) => vec![settle(e.employee_id)],
        LeaveRecordEvent::LeaveCancelled(e) => vec![settle(e.employee_id)],
        LeaveRecordEvent::LeaveAdjusted(e) => vec![settle(e.employee_id)],
        LeaveRecordEvent::LeaveEncashed(e) => vec![settle(e.employee_id)],
        LeaveRecordEvent::LeaveRejected(_)
        | LeaveRecordEvent::LeaveWithdrawn(_)
        | LeaveRecordEvent::LeaveCancellationRequested(_)
        | LeaveRecordEvent::LeaveCancellationRefused(_)
        | LeaveRecordEvent::LeaveRecosted(_)
        | LeaveRecordEvent::LeaveAccrued(_)
        | LeaveRecordEvent::LeaveCarriedOver(_)
        | LeaveRecordEvent::LeaveLotExpired(_)
        | LeaveRecordEvent::LeaveTaken(_)
        | LeaveRecordEvent::LeaveAdjustmentBooked(_)
        | LeaveRecordEvent::LeavePostingScheduled(_) => Vec::new(),
    }
}

/// Whose leave an event of an employment concerns. A first hire concerns nobody's: who is enrolled was hired before.
fn employment(event: &EmployeeEvent) -> Option<EmployeeId> {
    match event {
        EmployeeEvent::EmployeeRehired(e) => Some(e.employee_id),
        EmployeeEvent::EmployeeTerminated(e) => Some(e.employee_id),
        EmployeeEvent::AssignmentChanged(e) => match e.changes.location_id {
            Patch::Keep => None,
            Patch::Clear | Patch::Set(_) => Some(e.employee_id),
        },
        EmployeeEvent::EmployeeHired(_)
        | EmployeeEvent::CompensationChanged(_)
        | EmployeeEvent::PersonalDetailsChanged(_)
        | EmployeeEvent::ContactDetailsChanged(_)
        | EmployeeEvent::EmploymentStarted(_)
        | EmployeeEvent::EmploymentEnded(_)
        | EmployeeEvent::ChangeTookEffect(_) => None,
    }
}

fn settle(employee: EmployeeId) -> Reaction {
    Reaction { name: "settle-leave", does: Does::Send(Box::new(SettleLeave::of(employee))) }
}

const fn settle_all() -> Reaction {
    Reaction { name: "settle-leave", does: Does::SendToEach(ENROLLED) }
}
