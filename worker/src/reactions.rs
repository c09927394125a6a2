//! Reactions: the command that an event led to, worked out from the event again and sent; or one for each person of an audience.

use std::time::Duration;

use domain::{Audience, Does, Reaction};
use events::{CommandId, EmployeeId, Event, Position, RecordedEvent, TenantScope};
use execution::{Failure, Pipeline, Sender, SentCommand, hash_of};
use platform::{
    ScopedTx,
    history::Epoch,
    queue::{self, JobKind},
    release::NOT_ACTIVATED,
};

use crate::{
    fold::{ReactionInput, depth, reacting},
    jobs::{Claimed, Outcome, Trouble},
    turn::{TurnError, Turns, within},
};
use uuid::Uuid;

/// People of one part of a job: no more than a pipeline may have in work.
const PEOPLE: usize = execution::IN_FLIGHT;
/// Bytes of the commands of one part; each is small.
const BYTES: usize = 1 << 20;
/// How long one command of a part may take. A part is shorter than a try may be.
const COMMAND: Duration = Duration::from_secs(20);

impl Turns {
    /// Sends a reaction.
    pub(crate) async fn react(&self, scope: TenantScope, fence: i64, epoch: &Epoch, job: &Claimed) -> Outcome {
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
        let sent = |command, id| {
            SentCommand::new(sender.clone(), command, hash, Some(id), None, cause.metadata.correlation_id).caused_by(cause.id)
        };
        match reaction.does {
            Does::Send(command) => self.send(sent(*command, CommandId::from_uuid(job.job_id))).await,
            Does::SendToEach(audience) => self.send_to_each(scope, fence, job, audience, sent).await,
            // Who joins is put down with the page of the log that says so.
            Does::Join(..) => Outcome::Done,
        }
    }

    /// Sends a command to the next people of an audience, in the order of their ids. Whose command is refused, or changes nothing, is
    /// done; who could not be told is told again with the others of the part, under the same ids.
    async fn send_to_each(
        &self,
        scope: TenantScope,
        fence: i64,
        job: &Claimed,
        audience: Audience,
        sent: impl Fn(domain::Command, CommandId) -> SentCommand,
    ) -> Outcome {
        let after = job.progress.as_deref().and_then(|text| text.parse().ok()).unwrap_or(Uuid::nil());
        let people = match self.people_of(scope, audience, after).await {
            Ok(people) => people,
            Err(error) => return Outcome::Again(Trouble::new("database_unavailable", error.to_string())),
        };
        let mut pipeline = Pipeline::new(self.0.executor.clone(), self.0.running.clone(), BYTES, COMMAND);
        let mut started = Vec::with_capacity(people.len());
        for person in &people {
            let command = (audience.command)(EmployeeId::from_uuid(*person));
            let id = CommandId::derive(job.job_id, &format!("for:{person}"));
            started.push(pipeline.start(sent(command, id), 1).await);
        }
        let mut failed = None;
        for one in started {
            let outcome = match one.await {
                Ok(result) => outcome(result.map(drop)),
                Err(error) => Outcome::Again(Trouble::new("ended", error.to_string())),
            };
            if matches!(outcome, Outcome::Again(_) | Outcome::NotYet(_)) {
                failed = Some(outcome);
            }
        }
        if let Some(failed) = failed {
            return failed;
        }
        let Some(last) = people.last().filter(|_| people.len() == PEOPLE) else { return Outcome::Done };
        match self.note_progress(scope, fence, job.job_id, *last).await {
            Ok(()) => Outcome::GoesOn,
            Err(error) => Outcome::Again(Trouble::new("database_unavailable", error.to_string())),
        }
    }

    async fn people_of(&self, scope: TenantScope, audience: Audience, after: Uuid) -> Result<Vec<Uuid>, TurnError> {
        within(async {
            let mut tx = ScopedTx::begin(&self.0.pool, scope).await?;
            let people = sqlx::query_scalar(
                "select person_id from worker.audience where tenant_id = $1 and audience = $2 and person_id > $3 order by person_id limit $4",
            )
            .bind(scope.tenant().uuid())
            .bind(audience.name)
            .bind(after)
            .bind(PEOPLE as i64)
            .fetch_all(tx.conn())
            .await?;
            tx.rollback().await?;
            Ok(people)
        })
        .await
    }

    async fn note_progress(&self, scope: TenantScope, fence: i64, job: Uuid, last: Uuid) -> Result<(), TurnError> {
        within(async {
            let mut tx = self.begin(scope, fence).await?;
            sqlx::query("update worker.job set progress = $3 where tenant_id = $1 and job_id = $2")
                .bind(scope.tenant().uuid())
                .bind(job)
                .bind(last.to_string())
                .execute(tx.conn())
                .await?;
            Ok(tx.commit().await?)
        })
        .await
    }

    /// Sends a job's command.
    pub(crate) async fn send(&self, sent: SentCommand) -> Outcome {
        outcome(self.0.executor.execute(sent).await.map(drop))
    }
}

/// What a command's end means for the job that sent it.
fn outcome(result: Result<(), Failure>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(Failure::Refused(problem)) => Outcome::Refused(Trouble::new(problem.code, problem.detail)),
        Err(Failure::RefusedEarlier(status, document)) => {
            let code = document["error"].as_str().unwrap_or("refused");
            Outcome::Refused(Trouble::new(code, format!("it was refused before, with status {status}")))
        }
        Err(Failure::Broken(problem)) if problem.code == NOT_ACTIVATED => Outcome::NotYet(Trouble::new(problem.code, problem.detail)),
        Err(Failure::Conflict(problem) | Failure::Broken(problem)) => Outcome::Again(Trouble::new(problem.code, problem.detail)),
    }
}

/// The reaction of a name to an event.
fn reaction_to(cause: &RecordedEvent, name: &str) -> Result<Reaction, Trouble> {
    let event = Event::decode(cause).map_err(|error| Trouble::new("unreadable_cause", error.to_string()))?;
    let reaction = domain::react(&event).into_iter().find(|reaction| reaction.name == name);
    reaction.ok_or_else(|| Trouble::new("unknown_reaction", "this build does not react like this to such an event"))
}
