//! Reactions: the command that an event led to, worked out from the event again and sent.

use domain::Reaction;
use events::{CommandId, Event, Position, RecordedEvent, TenantScope};
use execution::{Failure, Sender, SentCommand, hash_of};
use platform::{
    history::Epoch,
    queue::{self, JobKind},
    release::NOT_ACTIVATED,
};

use crate::{
    fold::{ReactionInput, depth, reacting},
    jobs::{Claimed, Outcome, Trouble},
    turn::Turns,
};

impl Turns {
    /// Sends a reaction.
    pub(crate) async fn react(&self, scope: TenantScope, epoch: &Epoch, job: &Claimed) -> Outcome {
        let input: ReactionInput = match queue::open(&self.0.keys, scope, job.job_id, JobKind::Reaction, &job.input) {
            Ok(input) => input,
            Err(error) => return Outcome::Refused(Trouble::new("unreadable_input", error.to_string())),
        };
        let before = Position(input.position.0.saturating_sub(1));
        let cause = match self.0.store.read_log(scope, before, 1).await {
            Ok(events) => events.into_iter().find(|event| event.id == input.event),
            Err(error) => return Outcome::Again(Trouble::new("store_unavailable", error.to_string())),
        };
        let Some(cause) = cause else {
            return Outcome::Refused(Trouble::new("cause_gone", "the event that it reacts to is not in the store any more"));
        };
        let reaction = match reaction_to(&cause, &input.name) {
            Ok(reaction) => reaction,
            Err(trouble) => return Outcome::Refused(trouble),
        };
        let what = reacting(reaction.name, depth(&cause.metadata).saturating_add(1));
        let sender = Sender::system(scope, &what, epoch.clone());
        // By its cause it is the same command, even if another build made it a little different.
        let hash = hash_of(reaction.name, &serde_json::json!({ "cause": input.event }));
        let id = CommandId::from_uuid(job.job_id);
        let sent = SentCommand::new(sender, reaction.command, hash, Some(id), None, cause.metadata.correlation_id).caused_by(cause.id);
        self.send(sent).await
    }

    /// Sends a job's command.
    pub(crate) async fn send(&self, sent: SentCommand) -> Outcome {
        match self.0.executor.execute(sent).await {
            Ok(_) => Outcome::Done,
            Err(Failure::Refused(problem)) => Outcome::Refused(Trouble::new(problem.code, problem.detail)),
            Err(Failure::RefusedEarlier(status, document)) => {
                let code = document["error"].as_str().unwrap_or("refused");
                Outcome::Refused(Trouble::new(code, format!("it was refused before, with status {status}")))
            }
            Err(Failure::Broken(problem)) if problem.code == NOT_ACTIVATED => Outcome::NotYet(Trouble::new(problem.code, problem.detail)),
            Err(Failure::Conflict(problem) | Failure::Broken(problem)) => Outcome::Again(Trouble::new(problem.code, problem.detail)),
        }
    }
}

/// The reaction of a name to an event.
fn reaction_to(cause: &RecordedEvent, name: &str) -> Result<Reaction, Trouble> {
    let event = Event::decode(cause).map_err(|error| Trouble::new("unreadable_cause", error.to_string()))?;
    let reaction = domain::react(&event).into_iter().find(|reaction| reaction.name == name);
    reaction.ok_or_else(|| Trouble::new("unknown_reaction", "this build does not react like this to such an event"))
}
