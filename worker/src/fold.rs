//! Events to what follows from them: what becomes due, and reactions. Pure.

use domain::{Does, DuePlace, StoredCommand};
use events::{CommandId, CorrelationId, EmployeeId, Event, EventId, LogPoint, Metadata, Position, RecordedEvent};
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::due::latest_start;

/// How many reactions may follow from each other. A chain that is longer is a ring.
pub const MAX_DEPTH: u16 = 8;

/// What follows from a page of events.
#[derive(Debug, Default)]
pub struct Folded {
    /// What becomes due.
    pub due: Vec<DueRow>,
    /// The reactions.
    pub reactions: Vec<Caused>,
    /// Who joins which audience.
    pub joined: Vec<(&'static str, EmployeeId)>,
    /// The last event that was folded; none if the first could not be.
    pub to: Option<LogPoint>,
    /// The event after it that can't be folded.
    pub refused: Option<Unreadable>,
}

/// What becomes due, as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct DueRow {
    /// Names it, and the command.
    pub id: CommandId,
    /// The day.
    pub on: Date,
    /// Where the day must have begun.
    pub place: DuePlace,
    /// The command that announces it.
    pub command: StoredCommand,
    /// The event that says so.
    pub cause: EventId,
    /// That event's.
    pub correlation: CorrelationId,
    /// When the store took it.
    pub recorded_at: Timestamp,
    /// How many reactions led to it.
    pub depth: u16,
}

/// A reaction that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caused {
    /// Names its job, and the command.
    pub id: Uuid,
    /// What the job needs to know.
    pub input: ReactionInput,
}

/// Which reaction to which event: the command is worked out anew from the event, so that nothing of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReactionInput {
    /// The event's position.
    pub position: Position,
    /// Its id, because a store that was put back has another event there.
    pub event: EventId,
    /// The reaction's name.
    pub name: String,
}

/// An event that this build can't read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the event at {position} can't be read: {reason}")]
pub struct Unreadable {
    /// Where it stands.
    pub position: Position,
    /// Why.
    pub reason: String,
}

/// Folds events up to one that can't be read. Those that the store took before `react_from` lead to nothing but audiences.
pub fn fold(events: &[RecordedEvent], react_from: Timestamp) -> Folded {
    let mut folded = Folded::default();
    for recorded in events {
        if let Err(reason) = fold_one(recorded, react_from, &mut folded) {
            folded.refused = Some(Unreadable { position: recorded.position, reason });
            break;
        }
        folded.to = Some(recorded.log_point());
    }
    folded
}

fn fold_one(recorded: &RecordedEvent, react_from: Timestamp, folded: &mut Folded) -> Result<(), String> {
    let event = Event::decode(recorded).map_err(|error| error.to_string())?;
    let depth = depth(&recorded.metadata);
    for due in domain::due(&event) {
        // Of what was recorded after its day had begun everywhere, nothing is kept: an import tells of years.
        if recorded.recorded_at >= latest_start(due.on) {
            continue;
        }
        let command = due.command.to_stored().ok_or("what is due is announced by an internal command")?.map_err(|e| e.to_string())?;
        folded.due.push(DueRow {
            id: CommandId::derive(recorded.id.uuid(), &format!("due:{}", due.name)),
            on: due.on,
            place: due.place,
            command,
            cause: recorded.id,
            correlation: recorded.metadata.correlation_id,
            recorded_at: recorded.recorded_at,
            depth,
        });
    }
    for reaction in domain::react(&event) {
        if let Does::Join(audience, person) = reaction.does {
            folded.joined.push((audience.name, person));
            continue;
        }
        if recorded.recorded_at < react_from {
            continue;
        }
        if depth >= MAX_DEPTH {
            metrics::counter!("tenure_worker_chains_cut_total").increment(1);
            tracing::error!(position = %recorded.position, reaction = reaction.name, "ALERT: reactions follow from each other without end; this one is not sent");
            continue;
        }
        let id = CommandId::derive(recorded.id.uuid(), &format!("reaction:{}", reaction.name)).uuid();
        let input = ReactionInput { position: recorded.position, event: recorded.id, name: reaction.name.to_owned() };
        folded.reactions.push(Caused { id, input });
    }
    Ok(())
}

/// What the sender of a reaction calls itself. From the second link of a chain on it says which one it is.
pub fn reacting(name: &str, depth: u16) -> String {
    if depth <= 1 { format!("reaction:{name}") } else { format!("reaction:{name}:{depth}") }
}

/// What the sender of an announcement calls itself, which is as deep in a chain as what it announces.
pub fn announcing(depth: u16) -> String {
    if depth == 0 { "due".into() } else { format!("due:{depth}") }
}

/// How many reactions led to an event, one to the next, by what its sender called itself. Only the system has a cause.
pub fn depth(metadata: &Metadata) -> u16 {
    let Some(what) = metadata.actor.strip_prefix("system:").filter(|_| metadata.causation_id.is_some()) else { return 0 };
    let number = what.rsplit_once(':').and_then(|(_, number)| number.parse().ok());
    number.unwrap_or_else(|| u16::from(what.starts_with("reaction:")))
}

#[cfg(test)]
mod tests {
    use domain::employee::{AnnounceDue, DueFact};
    use events::{
        CommandHash, DepartmentId, Effective, EmployeeId, EmploymentId, JobId, NewEvent, Personal, StreamName, TenantId, TenantScope,
        Version,
        employee::{Assignment, EmployeeEvent, EmployeeHired, EmployeeTerminated, EmploymentStarted, PersonalDetails},
    };
    use jiff::civil::date;

    use super::*;

    const RECORDED: &str = "2026-11-30T12:00:00Z";

    fn n(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn recorded(position: u64, event: EmployeeEvent) -> RecordedEvent {
        let tenant = TenantId::from_uuid(n(1));
        let event = Event::from(event);
        let command_id = CommandId::from_uuid(n(100 + u128::from(position)));
        RecordedEvent {
            id: NewEvent::id_for(command_id, 0),
            tenant,
            stream: StreamName::employee(TenantScope::checked(tenant), EmployeeId::from_uuid(n(2))),
            version: Version(position),
            position: Position(position),
            event_type: event.event_type().into(),
            schema_version: event.schema_version(),
            recorded_at: RECORDED.parse().unwrap(),
            metadata: metadata("somebody", None),
            data: event.to_data().unwrap(),
        }
    }

    fn metadata(actor: &str, causation_id: Option<EventId>) -> Metadata {
        Metadata {
            actor: actor.into(),
            command_id: CommandId::from_uuid(n(3)),
            command_hash: CommandHash(n(4)),
            correlation_id: CorrelationId::from_uuid(n(5)),
            causation_id,
            traceparent: None,
        }
    }

    fn ends(last_day_worked: Date) -> EmployeeEvent {
        let (employee_id, employment_id) = (EmployeeId::from_uuid(n(2)), EmploymentId::from_uuid(n(6)));
        EmployeeTerminated { employee_id, employment_id, last_day_worked, reason: "r".into() }.into()
    }

    #[test]
    fn what_lies_ahead_becomes_due_and_what_is_past_does_not() {
        let (employee_id, employment_id) = (EmployeeId::from_uuid(n(2)), EmploymentId::from_uuid(n(6)));
        // The day of the record may not have begun yet at the place of work.
        for (last_day_worked, kept) in
            [(date(2020, 1, 1), false), (date(2026, 11, 28), false), (date(2026, 11, 29), true), (date(2026, 12, 31), true)]
        {
            let one = recorded(7, ends(last_day_worked));
            let folded = fold(std::slice::from_ref(&one), Timestamp::MIN);
            assert_eq!((folded.to, folded.refused), (Some(one.log_point()), None));
            let on = last_day_worked.tomorrow().unwrap();
            let command = AnnounceDue { employee_id, fact: DueFact::End { employment_id, last_day_worked } };
            let command = domain::Command::Employee(command.into());
            let expected = kept.then(|| DueRow {
                id: CommandId::derive(one.id.uuid(), "due:announcement"),
                on,
                place: DuePlace::Person(employee_id),
                command: command.to_stored().unwrap().unwrap(),
                cause: one.id,
                correlation: one.metadata.correlation_id,
                recorded_at: one.recorded_at,
                depth: 0,
            });
            assert_eq!(folded.due, expected.into_iter().collect::<Vec<_>>(), "{last_day_worked}");
        }
    }

    #[test]
    fn what_can_not_be_read_stops_the_page_before_it() {
        let (first, mut second) = (recorded(1, ends(date(2027, 1, 1))), recorded(2, ends(date(2027, 1, 1))));
        second.event_type = "SomethingNew".into();
        let folded = fold(&[first.clone(), second, recorded(3, ends(date(2027, 1, 1)))], Timestamp::MIN);
        assert_eq!((folded.to, folded.due.len()), (Some(first.log_point()), 1));
        assert_eq!(folded.refused.map(|refused| refused.position), Some(Position(2)));
    }

    #[test]
    fn nothing_sealed_is_needed() {
        let (department_id, job_id) = (DepartmentId::from_uuid(n(8)), JobId::from_uuid(n(9)));
        let hired = EmployeeHired {
            employee_id: EmployeeId::from_uuid(n(2)),
            employment_id: EmploymentId::from_uuid(n(6)),
            effective: Effective { on: date(2027, 1, 1), seq: 0 },
            original_hire_date: None,
            employee_number: Personal::Erased,
            person: Personal::<PersonalDetails>::Erased,
            contact: Personal::Erased,
            assignment: Assignment { department_id, job_id, location_id: None, manager_id: None },
            pay: None,
        };
        assert_eq!(domain::due(&Event::from(EmployeeEvent::from(hired))).len(), 1);
    }

    #[test]
    fn an_announcement_leads_to_nothing_by_itself() {
        let (employee_id, employment_id) = (EmployeeId::from_uuid(n(2)), EmploymentId::from_uuid(n(6)));
        let started = EmploymentStarted { employee_id, employment_id, on: date(2027, 1, 1) };
        let folded = fold(&[recorded(1, started.into())], Timestamp::MIN);
        assert!(folded.due.is_empty() && folded.reactions.is_empty() && folded.refused.is_none());
    }

    #[test]
    fn a_chain_is_counted_by_its_senders() {
        let cause = Some(EventId::from_uuid(n(1)));
        for depth_before in 0..MAX_DEPTH {
            let actor = format!("system:{}", reacting("CloseLeave", depth_before + 1));
            assert_eq!(depth(&metadata(&actor, cause)), depth_before + 1, "{actor}");
            let actor = format!("system:{}", announcing(depth_before));
            assert_eq!(depth(&metadata(&actor, cause)), depth_before, "{actor}");
        }
        // Nobody else's name counts, whatever their issuer calls them.
        assert_eq!(depth(&metadata("system:reaction:CloseLeave:8", None)), 0);
        assert_eq!(depth(&metadata("somebody", cause)), 0);
    }
}
