//! One person's leave of all kinds: the commands to it, what they need to be told, and what follows from events of others.
//!
//! The rules themselves are [`rules`]. What rests on facts of others (employments, working time, holidays, policies) is worked out
//! anew by [`SettleLeave`] as soon as one of them changes: no lock holds them still meanwhile, and whichever of two came first, the
//! end is the same.

mod commands;
mod follows;
mod refusal;
pub mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use calculation::leave::{FromDays, WorkingTime};
use events::{
    EmployeeId, StreamName, TenantScope,
    leave::{LeavePolicyId, PostingId, record::LeaveRecordEvent},
};
use uuid::Uuid;

pub use commands::*;
pub use follows::due;
pub(crate) use follows::react;
pub use refusal::Refusal;
pub use rules::{LeaveRecord, RecordCommand, RecordFacts, RecordRefusal, RequestStatus};

use super::terms::PolicyOf;
use crate::{
    Claim, Facts, Unique,
    employee::{WorkOf, working_time::WorkingTimeOf},
    organization::calendar::{CalendarsAt, ScheduleOf},
};

/// Nothing is claimed: one stream holds all that a person's leave rests on.
pub const UNIQUES: &[&Unique] = &[];

/// What others may ask: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {}
/// The answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {}

impl Question {
    /// The stream of the aggregate that answers.
    pub const fn stream(&self, _: TenantScope) -> StreamName {
        match *self {}
    }
    /// Whether an answer that is a second old would be too old.
    pub const fn must_be_newest(&self) -> bool {
        match *self {}
    }
    /// What else is to be asked because of the answer.
    pub const fn leads_to(&self, _: &Fact) -> Vec<crate::Question> {
        match *self {}
    }
}

/// A person's leave, as far as the rules read it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State(LeaveRecord);

impl State {
    /// What must be looked up for a command: the person's work and the policies. Of the empty state they are those that the command
    /// names itself.
    pub fn questions(&self, command: &Command) -> Vec<crate::Question> {
        if !command.needs_facts() || (self.0.is_empty() && matches!(command, Command::SettleLeave(_))) {
            return Vec::new();
        }
        let employee = command.employee_id();
        let policies = self.policies(command).into_iter().map(|policy| PolicyOf { policy }.into());
        [WorkOf { employee }.into(), WorkingTimeOf { employee }.into()].into_iter().chain(policies).collect()
    }

    /// The policies that a command's decision rests on.
    fn policies(&self, command: &Command) -> BTreeSet<LeavePolicyId> {
        let mut policies = self.0.policies();
        if let Command::EnrolPerson(c) = command {
            policies.insert(c.policy_id);
        }
        policies
    }

    /// What follows from a command: events, nothing (it is so already), or a refusal.
    pub fn decide(&self, command: &Command, facts: &Facts) -> Result<Vec<LeaveRecordEvent>, Refusal> {
        let employee = command.employee_id();
        if self.0.is_empty() && matches!(command, Command::SettleLeave(_)) {
            return Ok(Vec::new());
        }
        let record_facts = if command.needs_facts() { self.facts(command, facts)? } else { RecordFacts::default() };
        let command = in_the_rules_words(command, facts)?;
        Ok(self.0.decide(employee, &command, &record_facts)?)
    }

    /// What was looked up, as the rules read it.
    fn facts(&self, command: &Command, facts: &Facts) -> Result<RecordFacts, Refusal> {
        let employee = command.employee_id();
        let work = facts.get(WorkOf { employee }).and_then(Option::as_ref).ok_or(RecordRefusal::UnknownPerson)?;
        let mut versions = BTreeMap::new();
        for policy in self.policies(command) {
            if let Some(Some(known)) = facts.get(PolicyOf { policy }) {
                versions.insert(policy, known.versions.clone());
            }
        }
        let places = work.places.iter();
        let holidays = places.filter_map(|(day, location)| Some((day, facts.get(CalendarsAt { location: *location })?)));
        let working_time = || facts.get(WorkingTimeOf { employee }).into_iter().flat_map(FromDays::iter);
        let schedules = working_time()
            .filter_map(|(day, (_, schedule))| Some((day, facts.get(ScheduleOf { schedule: *schedule }).and_then(Option::as_ref)?)));
        let work = WorkingTime {
            employments: work.employments.clone(),
            service_start: work.service_start,
            fraction: working_time().map(|(day, (fraction, _))| (day, *fraction)).collect(),
            schedule: FromDays::one_after_another(schedules),
            holidays: FromDays::one_after_another(holidays),
        };
        Ok(RecordFacts { work, versions, hours: BTreeMap::new() })
    }

    /// The claims that go with events: none.
    pub const fn claims(&self, _events: &[LeaveRecordEvent]) -> Vec<Claim> {
        Vec::new()
    }

    /// The state after an event.
    pub fn evolve(self, event: &LeaveRecordEvent) -> Self {
        Self(self.0.evolve(event))
    }

    /// Nobody asks.
    pub const fn answer(&self, question: &Question) -> Fact {
        match *question {}
    }

    /// None: each command names the person.
    pub const fn person(&self) -> Option<EmployeeId> {
        None
    }
}

/// The command in the rules' words.
fn in_the_rules_words(command: &Command, facts: &Facts) -> Result<RecordCommand, Refusal> {
    Ok(match command {
        Command::EnrolPerson(c) => {
            let policy = facts.get(PolicyOf { policy: c.policy_id }).and_then(Option::as_ref).ok_or(RecordRefusal::UnknownPolicy)?;
            RecordCommand::Enrol {
                enrolment_id: c.enrolment_id,
                type_id: policy.type_id,
                class: policy.class,
                policy_id: c.policy_id,
                from: c.effective_on.date(),
                until: c.until.map(crate::text::Day::date),
            }
        }
        Command::EndEnrolment(c) => RecordCommand::EndEnrolment { enrolment_id: c.enrolment_id, until: c.until.date() },
        Command::RequestLeave(c) => {
            let note = c.note.as_ref().map(crate::text::Reason::to_text);
            RecordCommand::Request { request_id: c.request_id, type_id: c.type_id, days: c.days_asked()?, note }
        }
        Command::WithdrawLeave(c) => RecordCommand::Withdraw(c.request_id),
        Command::ApproveLeave(c) => RecordCommand::Approve(c.request_id),
        Command::RejectLeave(c) => RecordCommand::Reject(c.request_id, c.reason.to_text()),
        Command::AskToCancelLeave(c) => RecordCommand::AskToCancel(c.request_id),
        Command::RefuseToCancelLeave(c) => RecordCommand::RefuseToCancel(c.request_id, c.reason.to_text()),
        Command::CancelLeave(c) => RecordCommand::Cancel { request_id: c.request_id, today: c.today.ok_or(Refusal::NoDay)? },
        Command::AdjustLeave(c) => RecordCommand::Adjust {
            adjustment_id: c.adjustment_id,
            type_id: c.type_id,
            on: c.effective_on.date(),
            amount: c.amount,
            ends_on: c.ends_on.map(crate::text::Day::date),
            reason: c.reason.to_text(),
        },
        Command::EncashLeave(c) => {
            RecordCommand::Encash { encashment_id: c.encashment_id, type_id: c.type_id, on: c.effective_on.date(), amount: c.amount }
        }
        Command::SettleLeave(c) => {
            let today = c.today.ok_or(Refusal::NoDay)?;
            // The command is sent anew for each cause, and what is recorded on it needs a name of its own.
            RecordCommand::Settle { today, posting_id: c.posting_id.unwrap_or(PostingId::from_uuid(Uuid::nil())) }
        }
    })
}
