//! How much and when a person works: the full-time fraction and the work schedule, from a day on.

use calculation::leave::FromDays;
use events::{
    CommandId, EmployeeId, FieldClass, StreamName, TenantScope, WorkFraction,
    employee::working_time::{WorkingTimeChanged, WorkingTimeEvent},
    organization::calendar::WorkScheduleId,
};
use jiff::civil::Date;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Employed;
pub(crate) use crate::due::{no_reaction as react, nothing_due as due};
use crate::{
    Claim, ClaimUse, Facts, LockUse, PersonTouched, Standing, Touches, Unique, Whose, command::commands, facts::facts,
    organization::calendar::ScheduleOf, text::Day,
};

/// Nothing is claimed.
pub const UNIQUES: &[&Unique] = &[];

commands! {
    /// A command about a person's working time.
    pub enum Command { ChangeWorkingTime }
}

/// Let a person work so much, by a schedule, from a day on.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeWorkingTime {
    /// The person.
    pub employee_id: EmployeeId,
    /// From when.
    pub effective_on: Day,
    /// How much of full time.
    pub fraction: WorkFraction,
    /// On which days.
    pub schedule_id: WorkScheduleId,
}

facts! { WorkingTime answers {
    /// How much and by which schedule a person works, from day to day.
    WorkingTimeOf {
        /// The person.
        employee: EmployeeId,
    } -> FromDays<(WorkFraction, WorkScheduleId)>;
} }

impl Question {
    /// The stream of the aggregate that answers.
    pub const fn stream(&self, scope: TenantScope) -> StreamName {
        let Self::WorkingTimeOf(q) = self;
        StreamName::working_time(scope, q.employee)
    }
    /// Whether an answer that is a second old would be too old. It would: what follows from a change is worked out as soon as it is
    /// recorded, and not again.
    pub const fn must_be_newest(&self) -> bool {
        true
    }
    /// What else is to be asked because of the answer: what the schedules say.
    pub fn leads_to(&self, fact: &Fact) -> Vec<crate::Question> {
        let Fact::WorkingTimeOf(days) = fact;
        days.values().map(|(_, schedule)| ScheduleOf { schedule: *schedule }.into()).collect()
    }
}

/// A rule about working time said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such person.
    #[error("there is no such person")]
    NotFound,
    /// Not an employed day.
    #[error("the person is not employed on {0}; choose a day within an employment")]
    NotEmployedOnDate(Date),
    /// There is no such schedule.
    #[error("schedule_id names no work schedule; send one that this tenant has")]
    UnknownSchedule,
    /// The schedule begins later.
    #[error("the work schedule has no days of work on {0}; choose a later day, or another schedule")]
    ScheduleNotThen(Date),
}

impl Refusal {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::NotEmployedOnDate(_) => "not_employed_on_date",
            Self::UnknownSchedule => "unknown_reference",
            Self::ScheduleNotThen(_) => "reference_not_open",
        }
    }
    /// JSON Pointer to the field at fault.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::NotFound => None,
            Self::NotEmployedOnDate(_) => Some("/effective_on"),
            Self::UnknownSchedule | Self::ScheduleNotThen(_) => Some("/schedule_id"),
        }
    }
}

/// A person's working time, as far as the rules read it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State(FromDays<(WorkFraction, WorkScheduleId)>);

impl State {
    /// What must be looked up for a command: whether the person is employed, and what the schedule says.
    pub fn questions(&self, command: &Command) -> Vec<crate::Question> {
        let Command::ChangeWorkingTime(c) = command;
        let (employee, on, schedule) = (c.employee_id, c.effective_on.date(), c.schedule_id);
        vec![Employed { employee, on }.into(), ScheduleOf { schedule }.into()]
    }

    /// What follows from a command: events, nothing (it is so already), or a refusal.
    pub fn decide(&self, command: &Command, facts: &Facts) -> Result<Vec<WorkingTimeEvent>, Refusal> {
        let Command::ChangeWorkingTime(ChangeWorkingTime { employee_id, effective_on, fraction, schedule_id }) = command;
        let (employee_id, from, fraction, schedule_id) = (*employee_id, effective_on.date(), *fraction, *schedule_id);
        match facts.get(Employed { employee: employee_id, on: from }) {
            Some(Standing::Open) => {}
            Some(Standing::NotThen) => return Err(Refusal::NotEmployedOnDate(from)),
            Some(Standing::Unknown) | None => return Err(Refusal::NotFound),
        }
        let schedule = facts.get(ScheduleOf { schedule: schedule_id }).and_then(Option::as_ref).ok_or(Refusal::UnknownSchedule)?;
        if schedule.on(from).is_none() {
            return Err(Refusal::ScheduleNotThen(from));
        }
        if self.0.on(from) == Some(&(fraction, schedule_id)) {
            return Ok(Vec::new());
        }
        Ok(vec![WorkingTimeChanged { employee_id, from, fraction, schedule_id }.into()])
    }

    /// The claims that go with events: none.
    pub const fn claims(&self, _events: &[WorkingTimeEvent]) -> Vec<Claim> {
        Vec::new()
    }

    /// The state after an event.
    pub fn evolve(mut self, event: &WorkingTimeEvent) -> Self {
        let WorkingTimeEvent::WorkingTimeChanged(e) = event;
        self.0.set(e.from, (e.fraction, e.schedule_id));
        self
    }

    /// The answer to a question.
    pub fn answer(&self, question: &Question) -> Fact {
        let Question::WorkingTimeOf(_) = question;
        Fact::WorkingTimeOf(self.0.clone())
    }

    /// None: each command names the person.
    pub const fn person(&self) -> Option<EmployeeId> {
        None
    }
}

impl Command {
    /// Nothing: the command creates nothing.
    pub const fn fill_ids(&mut self, _: CommandId) {}
    /// The stream of the person's working time.
    pub const fn stream(&self, scope: TenantScope) -> StreamName {
        let Self::ChangeWorkingTime(c) = self;
        StreamName::working_time(scope, c.employee_id)
    }
    /// The person.
    pub fn object_id(&self) -> String {
        let Self::ChangeWorkingTime(c) = self;
        c.employee_id.to_string()
    }
    /// Whether it starts a stream of its own: the first of a person does, and nobody knows which that is.
    pub const fn creates(&self) -> bool {
        false
    }
    /// Whom it touches.
    pub const fn touches(&self) -> Touches {
        let Self::ChangeWorkingTime(c) = self;
        Touches::Person(PersonTouched::decided_by_another(Whose::Named(c.employee_id), &[FieldClass::Directory]))
    }
    /// None.
    pub const fn claims(&self) -> Vec<ClaimUse> {
        Vec::new()
    }
    /// None: what rests on it is worked out anew.
    pub const fn lock(&self) -> Option<LockUse> {
        None
    }
}

/// A sample of each, for tests of all commands.
#[cfg(test)]
pub(crate) fn samples() -> Vec<(&'static str, String)> {
    vec![("ChangeWorkingTime", r#"{"employee_id":"ID","effective_on":"2020-01-01","fraction":"0.8","schedule_id":"ID"}"#.into())]
}
