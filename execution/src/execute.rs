//! The way of a command: load, decide, seal, append; and what a retry gets.

use std::{sync::Arc, time::Duration};

use domain::{Command, Decided, Facts, Lock, LockUse, Refusal};
use events::{CommandHash, CommandId, CorrelationId, Event, Metadata, NewEvent, Position, StreamName, TenantId, TenantScope, Version};
use http::StatusCode;
use platform::{Actor, Keys, Problem, Registry, auth::Employments, telemetry};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use store::{Append, AppendError, Appended, ClaimDigest, ClaimKind, ClaimOp, Expected, IdScope, Store};
use tokio::time::Instant;
use tracing::Instrument as _;
use utoipa::ToSchema;

use crate::{
    access,
    aggregate::Aggregate,
    aggregates::{Aggregates, Known, unavailable},
    answers::{Answers, FirstAnswer},
    locks::Locks,
    problems::{key_reused, precondition_failed, refused, taken},
    turns::Turns,
};

/// How often a command is decided again because another process wrote to its stream meanwhile.
const ATTEMPTS: u32 = 10;
/// After how long it is asked again, before an append, whether another process has refused the command meanwhile.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How old another aggregate's state may be on which a command is accepted. A refusal rests on the newest.
const REFERENCE_AGE: Duration = Duration::from_secs(1);

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Answer {
    /// The stream that took the events.
    pub stream: String,
    /// The id of what the command created or changed.
    pub id: String,
    /// The stream's version after it; also the `ETag`.
    pub version: Version,
    /// The position to wait for in a query, which is sent as the header `Tenure-Position` says it: with the epoch before it, where
    /// there is one, as in `2-3f9a1b2c.17`.
    pub position: Position,
    /// The epoch that position and version belong to; absent in the first one, before any restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// The events' ids; none if everything was so already.
    #[schema(value_type = Vec<uuid::Uuid>)]
    pub events: Vec<events::EventId>,
    /// Whether this is the answer to an earlier attempt of the same command.
    pub replayed: bool,
}

/// Why a command has no [`Answer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Refused, in conflict, or something is down.
    Problem(Problem),
    /// Refused earlier, with this problem document.
    Earlier(StatusCode, serde_json::Value),
}

impl<P: Into<Problem>> From<P> for Failure {
    fn from(problem: P) -> Self {
        Self::Problem(problem.into())
    }
}

impl Failure {
    /// The HTTP status.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Problem(problem) => problem.status,
            Self::Earlier(status, _) => *status,
        }
    }
    /// The problem document.
    pub fn document(&self) -> serde_json::Value {
        match self {
            Self::Problem(problem) => problem.document(),
            Self::Earlier(_, document) => document.clone(),
        }
    }
}

/// The versions on which a client has decided (RFC 9110, section 13.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMatch {
    /// `*`: it exists.
    Any,
    /// One of these.
    OneOf(Vec<Version>),
}

impl IfMatch {
    /// Whether a stream at this version is what the client has seen.
    pub fn admit(&self, version: Version) -> bool {
        match self {
            Self::Any => version > Version::ZERO,
            Self::OneOf(versions) => versions.contains(&version),
        }
    }
}

/// A command with who sends it and how.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Who.
    pub actor: Actor,
    /// What; its ids are filled in.
    pub command: Command,
    /// The command's identity.
    pub command_id: CommandId,
    /// Whether the client chose that identity and so may send the command again.
    pub keyed: bool,
    /// Of the body.
    pub hash: CommandHash,
    /// The versions that the client has seen, where it says so.
    pub if_match: Option<IfMatch>,
    /// The request.
    pub correlation: CorrelationId,
}

impl Ask {
    const fn scope(&self) -> TenantScope {
        self.actor.scope
    }
    /// The stream that the command writes to.
    pub(crate) const fn stream(&self) -> StreamName {
        self.command.stream(self.actor.scope)
    }
    fn answer(&self, stream: StreamName, appended: Appended) -> Answer {
        Answer {
            stream: stream.to_string(),
            id: self.command.object_id(),
            version: appended.version,
            position: appended.position,
            epoch: self.actor.epoch.tag().map(Into::into),
            events: appended.event_ids,
            replayed: appended.replayed,
        }
    }
}

/// What an attempt came to.
enum Verdict {
    /// The events are durable.
    Appended(Appended),
    /// Everything is so already.
    Nothing(Arc<Aggregate>),
    /// A rule said no, or somebody else holds a unique value.
    Refused(Problem),
    /// The stream is not at the version that the client has seen, or others were always faster.
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
    aggregates: Aggregates,
    answers: Answers,
    locks: Locks,
    /// Writers of one stream don't decide against each other.
    writers: Turns<StreamName>,
    /// A retry waits for the attempt before it.
    attempts: Turns<CommandId>,
}

impl Executor {
    /// Executes commands on this store; `pool` keeps the answers that no event can give again, and the locks of tenants.
    pub fn new(store: Store, keys: Keys, registry: Registry, pool: PgPool) -> Self {
        let locks = Locks::new(&pool);
        let answers = Answers::new(pool, registry.clone(), store.closes_answered_commands());
        let aggregates = Aggregates::new(store.clone(), keys.clone());
        let (writers, attempts) = (Turns::default(), Turns::default());
        Self(Arc::new(Inner { store, keys, registry, aggregates, answers, locks, writers, attempts }))
    }
    /// Who has left, by what commands are decided on.
    pub fn employments(&self) -> Arc<dyn Employments> {
        Arc::new(self.0.aggregates.clone())
    }

    /// Executes a command, once: sent again with its key it gets the first answer (I7).
    pub async fn execute(&self, mut ask: Ask) -> Result<Answer, Failure> {
        let started = Instant::now();
        let name = ask.command.name();
        let span = tracing::info_span!("command", otel.name = name, command = name, command_id = %ask.command_id, stream = %ask.stream());
        let result = async {
            // A line of a batch may have waited for its turn.
            if let Some(actor) = ask.actor.renewed_if_old().await? {
                ask.actor = actor;
            }
            match access::check(&self.0.aggregates, &ask.actor, &ask.command).await {
                Ok(()) => self.0.once(&ask).await,
                Err(refused) => self.0.accepted_earlier(&ask).await?.ok_or(refused.into()),
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
    async fn once(&self, ask: &Ask) -> Result<Answer, Failure> {
        let stream = ask.stream();
        if !ask.keyed {
            let _turn = self.writers.take(stream).await;
            return match self.attempt(ask, stream, Instant::now()).await? {
                Verdict::Appended(appended) => Ok(ask.answer(stream, appended)),
                Verdict::Nothing(aggregate) => Ok(nothing(ask, stream, &aggregate)),
                Verdict::Refused(problem) | Verdict::Conflict(problem) => Err(problem.into()),
                Verdict::Remembered(first) => replay(ask, &first),
            };
        }
        let _attempt = self.attempts.take(ask.command_id).await;
        let asked = Instant::now();
        if let Some(first) = self.answers.find(ask.scope(), ask.command_id).await? {
            return self.remembered(ask, stream, &first).await;
        }
        let _turn = self.writers.take(stream).await;
        let verdict = self.attempt(ask, stream, asked).await?;
        if let Verdict::Appended(appended) = verdict {
            return Ok(ask.answer(stream, appended));
        }
        // The first attempt may have changed what this one was decided on.
        if let Some(first) = self.appended_earlier(ask, stream).await? {
            return Ok(ask.answer(stream, first));
        }
        let (status, body, answer) = match verdict {
            Verdict::Appended(appended) => return Ok(ask.answer(stream, appended)),
            Verdict::Remembered(first) => return self.remembered(ask, stream, &first).await,
            // Whoever sends it again has looked again, so it is not remembered.
            Verdict::Conflict(problem) => return Err(problem.into()),
            Verdict::Nothing(aggregate) => {
                let answer = nothing(ask, stream, &aggregate);
                (StatusCode::OK, serde_json::to_string(&answer).map_err(|e| Problem::internal(&e))?, Ok(answer))
            }
            Verdict::Refused(problem) => (problem.status, problem.document().to_string(), Err(problem.into())),
        };
        let first = FirstAnswer { hash: ask.hash, status: status.as_u16(), body };
        let stands = self.answers.remember(ask.scope(), ask.command_id, first.clone()).await?;
        // Another process may have appended it since that look.
        if (stands.is_none() || !self.answers.closes())
            && let Some(appended) = self.appended_earlier(ask, stream).await?
        {
            return Ok(ask.answer(stream, appended));
        }
        match stands {
            None => Err(Problem::internal(&"a command that had events has none").into()),
            Some(stands) if stands == first => answer,
            Some(stands) => replay(ask, &stands),
        }
    }

    /// The first answer again. An event goes before what is remembered: while one process decided to refuse, another may have
    /// accepted, and what was accepted stays so for ever.
    async fn remembered(&self, ask: &Ask, stream: StreamName, first: &FirstAnswer) -> Result<Answer, Failure> {
        match self.appended_earlier(ask, stream).await? {
            Some(appended) => Ok(ask.answer(stream, appended)),
            None => replay(ask, first),
        }
    }

    /// What the command appended when it was sent before.
    async fn appended_earlier(&self, ask: &Ask, stream: StreamName) -> Result<Option<Appended>, Problem> {
        if !ask.keyed {
            return Ok(None);
        }
        match self.store.find_command(stream, ask.command_id).await.map_err(|e| unavailable(&e))? {
            Some(first) if first.command_hash != ask.hash => Err(key_reused()),
            first => Ok(first),
        }
    }

    /// The first answer to a command that its actor may not send any more: it may itself have put the person out of reach.
    async fn accepted_earlier(&self, ask: &Ask) -> Result<Option<Answer>, Failure> {
        if !ask.keyed {
            return Ok(None);
        }
        let stream = ask.stream();
        let first = self.store.find_command(stream, ask.command_id).await.map_err(|e| unavailable(&e))?;
        let Some(first) = first.filter(|first| first.command_hash == ask.hash) else { return Ok(None) };
        let before = Version(first.version.0.saturating_sub(1));
        let event = self.store.read_stream(stream, before, 1).await.map_err(|e| unavailable(&e))?.pop();
        // Others get their own answer: none.
        let theirs = event.is_some_and(|event| event.metadata.command_id == ask.command_id && event.metadata.actor == ask.actor.subject);
        Ok(theirs.then(|| ask.answer(stream, first)))
    }

    /// `asked` is when no first answer was remembered.
    async fn attempt(&self, ask: &Ask, stream: StreamName, asked: Instant) -> Result<Verdict, Problem> {
        let Some(lock) = needed(ask.command.lock()) else {
            return self.decide(ask, stream, asked).await;
        };
        let held = self.locks.hold(ask.scope(), lock).await?;
        let verdict = self.decide(ask, stream, asked).await;
        held.release().await;
        verdict
    }

    /// Decides until the store takes it, or until nothing is to be appended on the newest state.
    async fn decide(&self, ask: &Ask, stream: StreamName, asked: Instant) -> Result<Verdict, Problem> {
        let (mut since, mut asked) = (Instant::now(), asked);
        // What is to be created is most likely not there: no need to look, the store will tell.
        let mut known = match self.aggregates.cached(stream).await {
            Some(known) => Some(known),
            None if ask.command.creates() => None,
            None => Some(self.aggregates.read_since(ask.scope(), stream, since).await?),
        };
        for attempt in 0..ATTEMPTS {
            let newest = known.as_ref().is_some_and(|known| known.as_of >= since);
            let aggregate = known.take().map_or_else(|| Arc::new(Aggregate::empty(stream)), |known| known.aggregate);
            let seen = ask.if_match.as_ref().is_none_or(|versions| versions.admit(aggregate.version));
            if !seen && newest {
                return Ok(Verdict::Conflict(precondition_failed(aggregate.version)));
            }
            if seen {
                match self.decide_once(ask, &aggregate).await? {
                    Ok(decided) if !decided.events.is_empty() => {
                        let append = self.seal(ask, stream, &aggregate, &decided).await?;
                        if let Some(first) = self.refused_meanwhile(ask, &mut asked, attempt).await? {
                            return Ok(Verdict::Remembered(first));
                        }
                        match self.append(ask, append, &aggregate, &decided.events).await? {
                            Ok(appended) => return Ok(Verdict::Appended(appended)),
                            Err(AppendError::WrongVersion { actual }) => {
                                metrics::counter!("command_wrong_versions_total").increment(1);
                                // The stream is shorter than what was decided on, or as long with another event at its end.
                                let lost = actual <= aggregate.version && aggregate.version > Version::ZERO;
                                if lost {
                                    self.aggregates.forget(stream).await;
                                } else if ask.if_match.is_some() && newest {
                                    return Ok(Verdict::Conflict(precondition_failed(actual)));
                                }
                                since = Instant::now();
                                if attempt > 0 {
                                    tokio::time::sleep(Duration::from_millis(fastrand::u64(0..=(2 << attempt.min(7))))).await;
                                }
                            }
                            Err(AppendError::ClaimTaken { kind }) => return Ok(Verdict::Refused(taken(kind, &ask.command))),
                            Err(AppendError::CommandReused) => return Err(key_reused()),
                            Err(AppendError::CommandAnswered) => {
                                let first = self.answers.find(ask.scope(), ask.command_id).await?;
                                return first.map(Verdict::Remembered).ok_or_else(answer_forgotten);
                            }
                            Err(error @ AppendError::Invalid(_)) => return Err(Problem::internal(&error)),
                            Err(AppendError::Store(error)) => return Err(unavailable(&error)),
                        }
                    }
                    Ok(_) if newest => return Ok(Verdict::Nothing(aggregate)),
                    Err(refusal) if newest => return Ok(Verdict::Refused(refused(&refusal))),
                    // Decided on a state that may be old, or that the command itself made: look again.
                    Ok(_) | Err(_) => {
                        if let Some(first) = self.appended_earlier(ask, stream).await? {
                            return Ok(Verdict::Appended(first));
                        }
                    }
                }
            }
            known = Some(self.aggregates.read_since(ask.scope(), stream, since).await?);
        }
        let detail = "others kept changing this while the command was decided; try again";
        Ok(Verdict::Conflict(Problem { retry_after: Some(1), ..Problem::new(StatusCode::CONFLICT, "conflict", detail) }))
    }

    /// What follows from the command on this state. A refusal rests on what other aggregates are now.
    async fn decide_once(&self, ask: &Ask, aggregate: &Aggregate) -> Result<Result<Decided, Refusal>, Problem> {
        let decide = |facts: &Facts| aggregate.state.decide(&ask.command, facts).map_err(|e| Problem::internal(&e));
        let questions = aggregate.state.questions(&ask.command).map_err(|e| Problem::internal(&e))?;
        if questions.is_empty() {
            return decide(&Facts::none());
        }
        let now = Instant::now();
        let recently = now.checked_sub(REFERENCE_AGE).unwrap_or(now);
        match decide(&self.aggregates.facts(ask.scope(), questions.clone(), recently).await?)? {
            Ok(decided) => Ok(Ok(decided)),
            Err(_) => decide(&self.aggregates.facts(ask.scope(), questions, now).await?),
        }
    }

    /// What another process answered since it was `asked`, unless that was just now: whoever was told that the command is refused
    /// must not find it done. Where the store itself refuses to append an answered command, nobody needs to ask.
    async fn refused_meanwhile(&self, ask: &Ask, asked: &mut Instant, attempt: u32) -> Result<Option<FirstAnswer>, Problem> {
        let store_tells = self.answers.closes();
        if store_tells || !ask.keyed || (attempt == 0 && asked.elapsed() < ASK_AGAIN) {
            return Ok(None);
        }
        *asked = Instant::now();
        self.answers.find(ask.scope(), ask.command_id).await
    }

    /// Seals what was decided on `base`.
    async fn seal(&self, ask: &Ask, stream: StreamName, base: &Aggregate, decided: &Decided) -> Result<Append, Problem> {
        let (scope, events) = (ask.scope(), &decided.events);
        let announced = ask.command.claims();
        let mut claims = Vec::with_capacity(decided.claims.len());
        for claim in &decided.claims {
            debug_assert!(announced.iter().any(|known| known.covers(claim)), "{claim:?} is not among {announced:?}");
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
            let id = NewEvent::id_for(ask.command_id, n);
            new.push(NewEvent { id, event_type: event.event_type(), schema_version: event.schema_version(), data });
        }
        let metadata = Metadata {
            actor: ask.actor.subject.clone(),
            command_id: ask.command_id,
            command_hash: ask.hash,
            correlation_id: ask.correlation,
            causation_id: None,
            traceparent: telemetry::traceparent(),
        };
        let expected = if base.version == Version::ZERO { Expected::NoStream } else { Expected::At(base.point()) };
        // Nobody but this command has an id that was drawn for it; a client may use its key for another command, too.
        let id_scope = if ask.keyed { IdScope::Tenant } else { IdScope::Stream };
        Ok(Append { scope, stream, expected, events: new, claims, metadata, id_scope })
    }

    /// Appends what was decided on `base`. The cache gets the state after it.
    async fn append(
        &self,
        ask: &Ask,
        append: Append,
        base: &Aggregate,
        events: &[Event],
    ) -> Result<Result<Appended, AppendError>, Problem> {
        let stream = append.stream;
        // Whoever waited for long must still be who may do this.
        if let Some(actor) = ask.actor.renewed_if_old().await? {
            access::check(&self.aggregates, &actor, &ask.command).await?;
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
                self.aggregates.keep(stream, Known { aggregate, as_of }).await;
            }
            if stream.tenant() == TenantId::PLATFORM {
                // The platform's log registers tenants. This process reads it at once; the others do within half a second.
                let _ = self.registry.refresh().await;
            }
        }
        Ok(appended)
    }
}

/// The event store still refuses the command, and its answer was removed meanwhile, as both are after 30 days.
fn answer_forgotten() -> Problem {
    let detail = "the first answer to this command is being forgotten; send it again with another Idempotency-Key";
    Problem { retry_after: Some(1), ..Problem::new(StatusCode::CONFLICT, "conflict", detail) }
}

fn nothing(ask: &Ask, stream: StreamName, aggregate: &Aggregate) -> Answer {
    Answer {
        stream: stream.to_string(),
        id: ask.command.object_id(),
        version: aggregate.version,
        position: aggregate.position,
        epoch: ask.actor.epoch.tag().map(Into::into),
        events: Vec::new(),
        replayed: false,
    }
}

/// The first answer again, if it is the same command.
fn replay(ask: &Ask, first: &FirstAnswer) -> Result<Answer, Failure> {
    if first.hash != ask.hash {
        return Err(key_reused().into());
    }
    let status = StatusCode::from_u16(first.status).map_err(|e| Problem::internal(&e))?;
    if status.is_success() {
        let answer: Answer = serde_json::from_str(&first.body).map_err(|e| Problem::internal(&e))?;
        return Ok(Answer { replayed: true, ..answer });
    }
    Err(Failure::Earlier(status, serde_json::from_str(&first.body).map_err(|e| Problem::internal(&e))?))
}

/// The lock that a command must hold.
const fn needed(lock: Option<LockUse>) -> Option<Lock> {
    match lock {
        Some(LockUse::Holds(lock)) => Some(lock),
        Some(LockUse::Affects(_)) | None => None,
    }
}
