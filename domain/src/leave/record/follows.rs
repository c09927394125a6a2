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

/// What an event leads to. Each kind of aggregate that concerns leave is asked for; of others nothing is known here.
pub(crate) fn react(event: &Event) -> Vec<Reaction> {
    let other = if let Event::LeaveRecord(event) = event {
        return own(event);
    } else if let Event::Employee(event) = event {
        employment(event).map(settle)
    } else if let Event::WorkingTime(WorkingTimeEvent::WorkingTimeChanged(e)) = event {
        Some(settle(e.employee_id))
    } else if let Event::WorkCalendar(event) = event {
        concerns_all(event).then(settle_all)
    } else if let Event::LeaveTerms(LeaveTermsEvent::LeavePolicyPublished(e)) = event {
        // Nobody is enrolled in a policy before its first version.
        (e.version > 1).then(settle_all)
    } else {
        None
    };
    other.into_iter().collect()
}

/// Whether an event of schedules and calendars changes what holds for people already. Nobody can work by a schedule, or live by a
/// calendar, before anybody was told to.
const fn concerns_all(event: &WorkCalendarEvent) -> bool {
    match event {
        WorkCalendarEvent::WorkScheduleDefined(_) | WorkCalendarEvent::HolidayCalendarCreated(_) => false,
        WorkCalendarEvent::WorkScheduleChanged(_)
        | WorkCalendarEvent::HolidayYearLoaded(_)
        | WorkCalendarEvent::HolidayDeclared(_)
        | WorkCalendarEvent::HolidayRevoked(_)
        | WorkCalendarEvent::LocationCalendarSet(_) => true,
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

fn settle_all() -> Reaction {
    Reaction { name: "settle-leave", does: Does::SendToEach(ENROLLED) }
}
