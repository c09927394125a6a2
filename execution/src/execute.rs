//! The way of a command: load, decide, seal, append; and what a retry gets.

use std::{sync::Arc, time::Duration};

use domain::{Decided, DuePlace, Facts, Lock, LockUse, Refusal};
use events::{CommandId, Event, Metadata, NewEvent, StreamName, TenantId, TenantScope, Version};
use http::StatusCode;
use jiff::{civil::Date, tz::TimeZone};
use platform::{Keys, Problem, Registry, Release, TenantClock, auth::Employments, telemetry};
use sqlx::PgPool;
use store::{Append, AppendError, Appended, ClaimDigest, ClaimKind, ClaimOp, Expected, IdScope, Store};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::{
    access,
    aggregate::Aggregate,
    aggregates::{Aggregates, CachedAggregate},
    answers::{FirstAnswer, FirstAnswers},
    keyed_locks::KeyedLocks,
    locks::TenantLocks,
    outcome::{Answer, Failure},
    problems::{key_reused, precondition_failed, refused, taken, unavailable},
    reach::zone_of,
    sent::{Sender, SentCommand},
};

/// How often a command is decided again because another process wrote to its stream meanwhile.
const ATTEMPTS: u32 = 10;
/// After how long it is asked again, before an append, whether another process has refused the command meanwhile.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How old another aggregate's state may be on which a command is accepted. A refusal rests on the newest.
const REFERENCE_AGE: Duration = Duration::from_secs(1);

/// What an attempt came to.
enum Verdict {
    /// The events are durable.
    Appended(Appended),
    /// Everything is so already.
    Nothing(Arc<Aggregate>),
    /// A rule said no, or somebody else holds a unique value.
    Refused(Problem),
    /// The stream is not at the version that the sender has seen, or others were always faster.
    Conflict(Problem),
    /// Another process has given the command this answer meanwhile.
    Remembered(FirstAnswer),
}

/// Executes commands. Cheap to clone.
#[derive(Clone)]
pub struct Executor(Arc<Inner>);

struct Inner {
    store: Store,
    keys: Keys,
    registry: Registry,
    release: Release,
    aggregates: Aggregates,
    answers: FirstAnswers,
    locks: TenantLocks,
    /// Writers of one stream don't decide against each other.
    writers: KeyedLocks<StreamName>,
    /// A retry waits for the attempt before it.
    attempts: KeyedLocks<CommandId>,
}

impl Executor {
    /// Executes commands on this store; `release` says which events may be written, and `pool` keeps the answers that no event can give
    /// again, and the locks of tenants.
    pub fn new(store: Store, keys: Keys, registry: Registry, release: Release, pool: PgPool) -> Self {
        let locks = TenantLocks::new(&pool);
        let answers = FirstAnswers::new(pool, registry.clone(), store.closes_answered_commands());
        let aggregates = Aggregates::new(store.clone(), keys.clone());
        let (writers, attempts) = (KeyedLocks::default(), KeyedLocks::default());
        Self(Arc::new(Inner { store, keys, registry, release, aggregates, answers, locks, writers, attempts }))
    }
    /// Who has left, by what commands are decided on.
    pub fn employments(&self) -> Arc<dyn Employments> {
        Arc::new(self.0.aggregates.clone())
    }

    /// The time zone of a place on a day; none where it is the tenant's.
    pub async fn zone_of(&self, scope: TenantScope, place: DuePlace, on: Date) -> Result<Option<TimeZone>, Problem> {
        zone_of(&self.0.aggregates, scope, place, on).await
    }

    /// Whether this process may go on: nobody takes it for dead, and it can read what others write.
    pub fn is_current(&self) -> bool {
        self.0.release.current().is_ok()
    }

    /// Executes a command, once: sent again under its identity it gets the first answer (I7).
    pub async fn execute(&self, sent: SentCommand) -> Result<Answer, Failure> {
        // This future has 5 KB. Tasks and handlers move what they await several times, and move a pointer instead.
        Box::pin(self.execute_sent(sent)).await
    }

    async fn execute_sent(&self, mut sent: SentCommand) -> Result<Answer, Failure> {
        let started = Instant::now();
        let name = sent.command.name();
        let span = tracing::info_span!("command", otel.name = name, command = name, command_id = %sent.command_id, stream = %sent.stream());
        let result = async {
            // What this process can't read it must not decide on.
            self.0.release.current()?;
            // The command may have waited for those before it, and the actor's rights may have changed meanwhile.
            sent.sender.renew_if_old().await?;
            match self.0.admit(&sent).await {
                Ok(()) => {
                    self.0.tell_today(&mut sent).await?;
                    self.0.once(&sent).await
                }
                Err(refused) => Box::pin(self.0.accepted_earlier(&sent)).await?.ok_or(refused.into()),
            }
        };
        let result = result.instrument(span).await;
        let outcome = match &result {
            Ok(answer) if answer.replayed => "replayed",
            Ok(answer) if answer.events.is_empty() => "nothing",
            Ok(_) => "accepted",
            Err(failure) if failure.status().is_server_error() => "failed",
            Err(failure) if failure.status() == StatusCode::PRECONDITION_FAILED || failure.status() == StatusCode::CONFLICT => "conflict",
            Err(_) => "refused",
        };
        metrics::counter!("commands_total", "command" => name, "outcome" => outcome).increment(1);
        metrics::histogram!("command_duration_seconds", "command" => name).record(started.elapsed().as_secs_f64());
        result
    }
}

impl Inner {
    /// Tells a command that asks for it which day it is.
    async fn tell_today(&self, sent: &mut SentCommand) -> Result<(), Problem> {
        let Some(place) = sent.command.asks_today_at() else { return Ok(()) };
        let scope = sent.scope();
        let clock = match &sent.sender {
            Sender::Actor(actor) => TenantClock::read(&actor.tenant),
            Sender::System { .. } => {
                let unknown = || Problem::unavailable("tenant_not_ready", "the tenant is not known here yet; try again shortly");
                TenantClock::read(&*self.registry.by_id(scope.tenant()).ok_or_else(unknown)?)
            }
        };
        let zone = Box::pin(zone_of(&self.aggregates, scope, place, clock.today())).await?;
        sent.command.set_today(clock.today_at(zone.as_ref()));
        Ok(())
    }

    /// Refuses what an actor may not send.
    async fn admit(&self, sent: &SentCommand) -> Result<(), Problem> {
        match &sent.sender {
            Sender::Actor(actor) => access::check(&self.aggregates, actor, &sent.command).await,
            Sender::System { .. } => Ok(()),
        }
    }

    async fn once(&self, sent: &SentCommand) -> Result<Answer, Failure> {
        let stream = sent.stream();
        if !sent.keyed {
            let _writer = self.writers.lock(stream).await;
            return match self.attempt(sent, stream, Instant::now()).await? {
                Verdict::Appended(appended) => Ok(Answer::appended(sent, stream, appended)),
                Verdict::Nothing(aggregate) => Ok(Answer::nothing(sent, stream, &aggregate)),
                Verdict::Refused(problem) => Err(Failure::Refused(problem)),
                Verdict::Conflict(problem) => Err(Failure::Conflict(problem)),
                Verdict::Remembered(first) => replay(sent, &first),
            };
        }
        let _attempt = self.attempts.lock(sent.command_id).await;
        let asked = Instant::now();
        let (first, earlier) = tokio::join!(self.answers.find(sent.scope(), sent.command_id), self.answered_by_tenant(sent));
        match (first?, earlier?) {
            (Some(first), _) if !first.lapsed => return self.remembered(sent, stream, &first).await,
            (_, Some(answer)) => return answer,
            // It was refused long ago, so it is judged anew.
            (Some(_), None) => Box::pin(self.answers.reopen(sent.scope(), sent.command_id)).await?,
            (None, None) => {}
        }
        let _writer = self.writers.lock(stream).await;
        let verdict = self.attempt(sent, stream, asked).await?;
        if let Verdict::Appended(appended) = verdict {
            return Ok(Answer::appended(sent, stream, appended));
        }
        // The first attempt may have changed what this one was decided on.
        if let Some(first) = self.appended_earlier(sent, stream).await? {
            return Ok(Answer::appended(sent, stream, first));
        }
        let (status, body, answer) = match verdict {
            Verdict::Appended(appended) => return Ok(Answer::appended(sent, stream, appended)),
            Verdict::Remembered(first) => return self.remembered(sent, stream, &first).await,
            // Whoever sends it again has looked again, so it is not remembered.
            Verdict::Conflict(problem) => return Err(Failure::Conflict(problem)),
            // What Tenure sends itself is decided anew when it is sent again; a holiday alone would leave an answer for each person.
            Verdict::Nothing(aggregate) if matches!(sent.sender, Sender::System { .. }) => {
                return Ok(Answer::nothing(sent, stream, &aggregate));
            }
            Verdict::Nothing(aggregate) => {
                let answer = Answer::nothing(sent, stream, &aggregate);
                (StatusCode::OK, serde_json::to_string(&answer).map_err(|e| Problem::internal(&e))?, Ok(answer))
            }
            Verdict::Refused(problem) => (problem.status, problem.document().to_string(), Err(Failure::Refused(problem))),
        };
        let first = FirstAnswer { hash: sent.hash, status: status.as_u16(), body, lapsed: false };
        let stands = Box::pin(self.answers.remember(sent.scope(), sent.command_id, first.clone())).await?;
        // Another process may have appended it since that look.
        if (stands.is_none() || !self.answers.closes())
            && let Some(appended) = self.appended_earlier(sent, stream).await?
        {
            return Ok(Answer::appended(sent, stream, appended));
        }
        match stands {
            None => Err(Problem::internal(&"a command that had events has none").into()),
            Some(stands) if stands == first => answer,
            Some(stands) => replay(sent, &stands),
        }
    }

    /// The first answer again. An event goes before what is remembered: while one process decided to refuse, another may have
    /// accepted, and what was accepted stays so for ever.
    async fn remembered(&self, sent: &SentCommand, stream: StreamName, first: &FirstAnswer) -> Result<Answer, Failure> {
        match self.appended_earlier(sent, stream).await? {
            Some(appended) => Ok(Answer::appended(sent, stream, appended)),
            None => replay(sent, first),
        }
    }

    /// What the command appended when it was sent before.
    async fn appended_earlier(&self, sent: &SentCommand, stream: StreamName) -> Result<Option<Appended>, Problem> {
        if !sent.keyed {
            return Ok(None);
        }
        match Box::pin(self.store.find_command(stream, sent.command_id)).await.map_err(|e| unavailable(&e))? {
            Some(first) if first.command_hash != sent.hash => Err(key_reused()),
            first => Ok(first),
        }
    }

    /// The first answer to a command that its actor may not send any more: it may itself have put the person out of reach.
    async fn accepted_earlier(&self, sent: &SentCommand) -> Result<Option<Answer>, Failure> {
        if !sent.keyed {
            return Ok(None);
        }
        if let Some(first) = self.appended_by_sender(sent).await?
            && first.command_hash == sent.hash
        {
            return Ok(Some(Answer::appended(sent, sent.stream(), first)));
        }
        self.answered_by_tenant(sent).await?.and_then(Result::ok).map_or(Ok(None), |answer| Ok(Some(answer)))
    }

    /// What this sender's command appended; nothing where another's did.
    async fn appended_by_sender(&self, sent: &SentCommand) -> Result<Option<Appended>, Problem> {
        let stream = sent.stream();
        let first = Box::pin(self.store.find_command(stream, sent.command_id)).await.map_err(|e| unavailable(&e))?;
        let Some(first) = first else { return Ok(None) };
        let before = Version(first.version.0.saturating_sub(1));
        let event = Box::pin(self.store.read_stream(stream, before, 1)).await.map_err(|e| unavailable(&e))?.pop();
        let theirs =
            event.is_some_and(|event| event.metadata.command_id == sent.command_id && event.metadata.actor == sent.sender.subject());
        Ok(theirs.then_some(first))
    }

    /// The first answer that a build before gave, whose keys were the tenant's: of what it appended, where this sender sent it. Who was
    /// told that nothing changed, or was refused within 24 hours, is not known; the same command is taken for the sender's.
    async fn answered_by_tenant(&self, sent: &SentCommand) -> Result<Option<Result<Answer, Failure>>, Problem> {
        if sent.earlier.is_none() || !self.answers.knows_tenant_wide_keys().await? {
            return Ok(None);
        }
        let Some(earlier) = sent.as_earlier() else { return Ok(None) };
        Box::pin(async {
            if let Some(first) = self.appended_by_sender(&earlier).await? {
                let same = first.command_hash == earlier.hash;
                return Ok(Some(if same { Ok(Answer::appended(&earlier, earlier.stream(), first)) } else { Err(key_reused().into()) }));
            }
            let first = self.answers.find(earlier.scope(), earlier.command_id).await?;
            Ok(first.filter(|first| !first.lapsed && first.hash == earlier.hash).map(|first| replay(&earlier, &first)))
        })
        .await
    }

    /// `asked` is when no first answer was remembered.
    async fn attempt(&self, sent: &SentCommand, stream: StreamName, asked: Instant) -> Result<Verdict, Failure> {
        let Some(lock) = needed(sent.command.lock()) else {
            return self.decide(sent, stream, asked).await;
        };
        let held = Box::pin(self.locks.hold(sent.scope(), lock)).await?;
        let verdict = self.decide(sent, stream, asked).await;
        Box::pin(held.release()).await;
        verdict
    }

    /// Decides until the store takes it, or until nothing is to be appended on the newest state.
    async fn decide(&self, sent: &SentCommand, stream: StreamName, asked: Instant) -> Result<Verdict, Failure> {
        let (mut since, mut asked) = (Instant::now(), asked);
        // A stream that the command creates most likely does not exist, so it is not read first: the store tells if it does.
        let mut known = match self.aggregates.cached(stream).await {
            Some(known) => Some(known),
            None if sent.command.creates() => None,
            None => Some(self.aggregates.read_since(sent.scope(), stream, since).await?),
        };
        for attempt in 0..ATTEMPTS {
            let newest = known.as_ref().is_some_and(|known| known.as_of >= since);
            let aggregate = known.take().map_or_else(|| Arc::new(Aggregate::empty(stream)), |known| known.aggregate);
            let seen = sent.precondition.as_ref().is_none_or(|versions| versions.admit(aggregate.version));
            if !seen && newest {
                return Ok(Verdict::Conflict(precondition_failed(aggregate.version)));
            }
            if seen {
                match self.decide_once(sent, &aggregate).await? {
                    Ok(decided) if !decided.events.is_empty() => {
                        // Before keys are made, values claimed, or anything is remembered.
                        self.release.admit(&decided.events)?;
                        let append = self.seal(sent, stream, &aggregate, &decided).await?;
                        if let Some(first) = self.refused_meanwhile(sent, &mut asked, attempt).await? {
                            return Ok(Verdict::Remembered(first));
                        }
                        match self.append(sent, append, &aggregate, &decided.events).await? {
                            Ok(appended) => return Ok(Verdict::Appended(appended)),
                            Err(AppendError::WrongVersion { actual }) => {
                                metrics::counter!("command_wrong_versions_total").increment(1);
                                // The stream is shorter than what was decided on, or as long with another event at its end.
                                let lost = actual <= aggregate.version && aggregate.version > Version::ZERO;
                                if lost {
                                    self.aggregates.forget(stream).await;
                                } else if sent.precondition.is_some() && newest {
                                    return Ok(Verdict::Conflict(precondition_failed(actual)));
                                }
                                since = Instant::now();
                                if attempt > 0 {
                                    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..=(2 << attempt.min(7))))).await;
                                }
                            }
                            Err(AppendError::ClaimTaken { kind }) => return Ok(Verdict::Refused(taken(kind, &sent.command))),
                            Err(AppendError::CommandReused) => return Err(key_reused().into()),
                            Err(AppendError::CommandAnswered) => {
                                let first = self.answers.find(sent.scope(), sent.command_id).await?;
                                let first = first.filter(|first| !first.lapsed);
                                return first.map(Verdict::Remembered).ok_or_else(|| Failure::Conflict(answer_forgotten()));
                            }
                            Err(error @ AppendError::Invalid(_)) => return Err(Problem::internal(&error).into()),
                            Err(AppendError::Store(error)) => return Err(unavailable(&error).into()),
                        }
                    }
                    Ok(_) if newest => return Ok(Verdict::Nothing(aggregate)),
                    Err(refusal) if newest => return Ok(Verdict::Refused(refused(&refusal))),
                    // Decided on a state that may be old, or that the command itself made: look again.
                    Ok(_) | Err(_) => {
                        if let Some(first) = self.appended_earlier(sent, stream).await? {
                            return Ok(Verdict::Appended(first));
                        }
                    }
                }
            }
            known = Some(self.aggregates.read_since(sent.scope(), stream, since).await?);
        }
        let detail = "others kept changing this while the command was decided; try again";
        Ok(Verdict::Conflict(Problem { retry_after: Some(1), ..Problem::new(StatusCode::CONFLICT, "conflict", detail) }))
    }

    /// What follows from the command on this state. A refusal rests on what other aggregates are now.
    async fn decide_once(&self, sent: &SentCommand, aggregate: &Aggregate) -> Result<Result<Decided, Refusal>, Problem> {
        let decide = |facts: &Facts| aggregate.state.decide(&sent.command, facts).map_err(|e| Problem::internal(&e));
        let questions = aggregate.state.questions(&sent.command).map_err(|e| Problem::internal(&e))?;
        if questions.is_empty() {
            return decide(&Facts::none());
        }
        let now = Instant::now();
        let recently = now.checked_sub(REFERENCE_AGE).unwrap_or(now);
        match decide(&self.aggregates.facts(sent.scope(), questions.clone(), recently).await?)? {
            Ok(decided) => Ok(Ok(decided)),
            Err(_) => decide(&self.aggregates.facts(sent.scope(), questions, now).await?),
        }
    }

    /// What another process answered since it was `asked`, unless that was just now: whoever was told that the command is refused
    /// must not find it done. Where the store itself refuses to append an answered command, nobody needs to ask.
    async fn refused_meanwhile(&self, sent: &SentCommand, asked: &mut Instant, attempt: u32) -> Result<Option<FirstAnswer>, Problem> {
        let store_tells = self.answers.closes();
        if store_tells || !sent.keyed || (attempt == 0 && asked.elapsed() < ASK_AGAIN) {
            return Ok(None);
        }
        *asked = Instant::now();
        self.answers.find(sent.scope(), sent.command_id).await
    }

    /// Seals what was decided on `base`.
    async fn seal(&self, sent: &SentCommand, stream: StreamName, base: &Aggregate, decided: &Decided) -> Result<Append, Problem> {
        let (scope, events) = (sent.scope(), &decided.events);
        let mut claims = Vec::with_capacity(decided.claims.len());
        for claim in &decided.claims {
            debug_assert!(sent.command.claims().iter().any(|known| known.covers(claim)), "{claim:?} is not among those announced");
            let digest = ClaimDigest(self.keys.claim_digest(scope, claim.of.name, &claim.value).await?);
            let op = match claim.op {
                domain::ClaimOp::Take => ClaimOp::Take,
                domain::ClaimOp::Release => ClaimOp::Release,
            };
            claims.push(store::Claim { kind: ClaimKind(claim.of.name), digest, op });
        }
        let keys = self.keys.to_seal(scope, stream, events).await?;
        let mut new = Vec::with_capacity(events.len());
        for (n, event) in events.iter().enumerate() {
            let mut sealed = event.clone();
            sealed.seal(stream, |person| keys.get(person)).map_err(|e| Problem::internal(&e))?;
            let data = sealed.to_data().map_err(|e| Problem::internal(&e))?;
            let id = NewEvent::id_for(sent.command_id, n);
            new.push(NewEvent { id, event_type: event.event_type(), schema_version: event.schema_version(), data });
        }
        let metadata = Metadata {
            actor: sent.sender.subject().to_owned(),
            command_id: sent.command_id,
            command_hash: sent.hash,
            correlation_id: sent.correlation,
            causation_id: sent.causation,
            traceparent: telemetry::traceparent(),
        };
        let expected = if base.version == Version::ZERO { Expected::NoStream } else { Expected::At(base.point()) };
        // Nobody but this command has an id that was drawn for it; a client may use its key for another command, too.
        let id_scope = if sent.keyed { IdScope::Tenant } else { IdScope::Stream };
        Ok(Append { scope, stream, expected, events: new, claims, metadata, id_scope })
    }

    /// Appends what was decided on `base`. The cache gets the state after it.
    async fn append(
        &self,
        sent: &SentCommand,
        append: Append,
        base: &Aggregate,
        events: &[Event],
    ) -> Result<Result<Appended, AppendError>, Problem> {
        let stream = append.stream;
        // Whoever waited for long must still be who may do this.
        if let Sender::Actor(actor) = &sent.sender
            && let Some(actor) = actor.renewed_if_old().await?
        {
            access::check(&self.aggregates, &actor, &sent.command).await?;
        }
        let as_of = Instant::now();
        let appended = self.store.append(append).await;
        if let Ok(appended) = &appended
            && !appended.replayed
        {
            let mut after = base.clone();
            for event in events {
                after = after.evolve(event, appended.position).map_err(|e| Problem::internal(&e))?;
            }
            if after.version == appended.version {
                let aggregate = Arc::new(after.marked(appended.mark()));
                self.aggregates.keep(stream, CachedAggregate { aggregate, as_of }).await;
            }
            if stream.tenant() == TenantId::PLATFORM {
                // The platform's log registers tenants. This process reads it at once; the others do within half a second.
                let _ = Box::pin(self.registry.refresh()).await;
            }
        }
        Ok(appended)
    }
}

/// The event store still refuses the command, whose refusal lapsed just now.
fn answer_forgotten() -> Problem {
    let detail = "the first answer to this command is being forgotten; send it again";
    Problem { retry_after: Some(1), ..Problem::new(StatusCode::CONFLICT, "conflict", detail) }
}

/// The lock that a command must hold.
const fn needed(lock: Option<LockUse>) -> Option<Lock> {
    match lock {
        Some(LockUse::Holds(lock)) => Some(lock),
        Some(LockUse::Affects(_)) | None => None,
    }
}

/// The first answer again, if it is the same command.
fn replay(sent: &SentCommand, first: &FirstAnswer) -> Result<Answer, Failure> {
    if first.hash != sent.hash {
        return Err(key_reused().into());
    }
    let status = StatusCode::from_u16(first.status).map_err(|e| Problem::internal(&e))?;
    if status.is_success() {
        let answer: Answer = serde_json::from_str(&first.body).map_err(|e| Problem::internal(&e))?;
        return Ok(Answer { replayed: true, ..answer });
    }
    Err(Failure::RefusedEarlier(status, serde_json::from_str(&first.body).map_err(|e| Problem::internal(&e))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a batch 256 wait side by side, and each is moved several times before its task runs.
    #[test]
    fn the_future_of_a_command_is_small() {
        fn size<A, B, F>(_: impl FnOnce(A, B) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(|executor: &'static Executor, sent| executor.execute(sent));
        assert!(size <= 1024 + size_of::<SentCommand>(), "{size} bytes");
    }
}
