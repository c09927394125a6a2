//! Jobs: claimed, run, and put down with what came of them.
//!
//! A job is claimed by a row that says so, not by a transaction that stays open. The lease on the tenant's partition is also the
//! heartbeat of the jobs that run under it: whoever takes the partition over has a higher fence, and lets what was left running wait
//! again before it does anything else for the tenant. A tenant has at most one job at a time, and mails beside it ([`crate::mails`]).

use std::time::Duration;

use events::TenantScope;
use jiff::{SignedDuration, Timestamp};
use platform::{history::Epoch, queue::JobKind};
use sqlx::FromRow;
use uuid::Uuid;

use crate::turn::{TurnError, Turns, within};

/// Jobs of one turn.
const JOBS: usize = 32;
/// The first pause after a try that failed; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// How often, on the average, it is looked whether a job's events may be written by now.
const ACTIVATION: Duration = Duration::from_secs(10);
/// How long a job that is done is kept, so that it can be looked at.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Characters of an error that are kept.
const ERROR: usize = 500;

/// What a try came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It may go better later.
    Again(Trouble),
    /// A part of it is done, and the rest goes on at once. No try is counted.
    GoesOn,
    /// It must wait for an operator, who activates a release. No try is counted.
    NotYet(Trouble),
    /// It never will.
    Refused(Trouble),
}

/// What went wrong, without personal data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// A stable code.
    pub code: String,
    /// A sentence.
    pub detail: String,
}

impl Trouble {
    /// Trouble with this code, and this sentence.
    pub fn new(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { code: code.into(), detail: detail.into() }
    }
}

/// Where a job stands after a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobState {
    /// It is tried then.
    Waiting(Timestamp),
    /// It is over.
    Done,
    /// It was tried as often as may be; an operator may have it tried again.
    Failed,
    /// It never begins, or never succeeds.
    Refused,
}

impl JobState {
    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting(_) => "waiting",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// Where a job stands after its try number `tries`, from 1. `chance` is between 0 and 1.
pub fn after(outcome: &Outcome, kind: JobKind, tries: u32, now: Timestamp, chance: f64) -> JobState {
    match outcome {
        Outcome::Done => JobState::Done,
        Outcome::Refused(_) => JobState::Refused,
        Outcome::GoesOn => JobState::Waiting(now),
        Outcome::NotYet(_) => {
            JobState::Waiting(now.checked_add(ACTIVATION.mul_f64(0.5 + chance.clamp(0.0, 1.0))).unwrap_or(Timestamp::MAX))
        }
        Outcome::Again(_) if tries >= kind.tries() => JobState::Failed,
        Outcome::Again(_) => JobState::Waiting(now.checked_add(pause(tries, chance)).unwrap_or(Timestamp::MAX)),
    }
}

/// How long a job waits after its try number `tries`, from 1: half of the pause at least, the rest by chance.
fn pause(tries: u32, chance: f64) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1))).min(LONGEST_PAUSE);
    whole.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

/// A job that was claimed.
#[derive(FromRow)]
pub(crate) struct Claimed {
    pub(crate) job_id: Uuid,
    kind: String,
    pub(crate) input: Vec<u8>,
    /// Microseconds since 1970.
    pub(crate) made_at: i64,
    pub(crate) tries: i32,
    /// How far it is, where it is done in parts.
    pub(crate) progress: Option<String>,
}

impl Turns {
    /// Runs jobs whose time has come, one after the other. True if there is more.
    pub(crate) async fn work(&self, scope: TenantScope, fence: i64, epoch: &Epoch) -> Result<bool, TurnError> {
        for _ in 0..JOBS {
            let place = self.0.mails.place();
            let Some(job) = self.claim(scope, fence, place.is_some()).await? else { return Ok(false) };
            let Some(kind) = JobKind::named(&job.kind) else {
                let trouble = Trouble::new("unknown_kind", "this build knows no such job");
                self.settle(scope, fence, &job, JobState::Refused, Some(&trouble), true).await?;
                continue;
            };
            // Each try ended with the worker that ran it.
            if job.tries.unsigned_abs() > kind.tries() {
                let trouble = Trouble::new("never_ended", "no try of it came to an end");
                self.settle(scope, fence, &job, JobState::Failed, Some(&trouble), true).await?;
                continue;
            }
            match kind {
                JobKind::Reaction => {
                    let outcome = in_time(kind, Box::pin(self.react(scope, fence, epoch, &job))).await;
                    self.conclude(scope, fence, &job, kind, &outcome).await?;
                }
                JobKind::ProvisionTenant => {
                    let outcome = in_time(kind, Box::pin(self.provision(scope, epoch, &job))).await;
                    self.conclude(scope, fence, &job, kind, &outcome).await?;
                }
                JobKind::SendMail => self.send_beside(scope, fence, job, place),
            }
        }
        Ok(true)
    }

    /// Puts down what a try came to.
    pub(crate) async fn conclude(
        &self,
        scope: TenantScope,
        fence: i64,
        job: &Claimed,
        kind: JobKind,
        outcome: &Outcome,
    ) -> Result<(), TurnError> {
        let state = after(outcome, kind, job.tries.unsigned_abs(), Timestamp::now(), fastrand::f64());
        let trouble = match outcome {
            Outcome::Done | Outcome::GoesOn => None,
            Outcome::Again(trouble) | Outcome::NotYet(trouble) | Outcome::Refused(trouble) => Some(trouble),
        };
        let is_counted = !matches!(outcome, Outcome::NotYet(_) | Outcome::GoesOn);
        if let Some(trouble) = trouble.filter(|_| is_counted) {
            let code = &trouble.code;
            tracing::warn!(job = %job.job_id, kind = kind.name(), state = state.name(), code, "a job was not done");
        }
        metrics::counter!("tenure_worker_jobs_total", "kind" => kind.name(), "state" => state.name()).increment(1);
        self.settle(scope, fence, job, state, trouble, is_counted).await
    }

    async fn claim(&self, scope: TenantScope, fence: i64, with_mail: bool) -> Result<Option<Claimed>, TurnError> {
        within(async {
            let mut tx = self.begin(scope, fence).await?;
            let claimed = sqlx::query_as(
                "update worker.job set state = 'running', tries = tries + 1, fence = $2
                 where tenant_id = $1 and job_id = (
                     select job_id from worker.job where tenant_id = $1 and state = 'waiting' and run_at <= $3 and ($4 or kind <> $5)
                     order by run_at, job_id limit 1 for update skip locked)
                 returning job_id, kind, input, made_at, tries, progress",
            )
            .bind(scope.tenant().uuid())
            .bind(fence)
            .bind(Timestamp::now().as_microsecond())
            .bind(with_mail)
            .bind(JobKind::SendMail.name())
            .fetch_optional(tx.conn())
            .await?;
            tx.commit().await?;
            Ok(claimed)
        })
        .await
    }

    /// Puts down what came of a job, and whether its try counts, and forgets what was done long ago.
    async fn settle(
        &self,
        scope: TenantScope,
        fence: i64,
        job: &Claimed,
        state: JobState,
        trouble: Option<&Trouble>,
        is_counted: bool,
    ) -> Result<(), TurnError> {
        let (tenant, now) = (scope.tenant().uuid(), Timestamp::now());
        let (run_at, ended_at) = match state {
            JobState::Waiting(at) => (Some(at.as_microsecond()), None),
            JobState::Done | JobState::Failed | JobState::Refused => (None, Some(now.as_microsecond())),
        };
        within(async {
            let mut tx = self.begin(scope, fence).await?;
            sqlx::query(
                // Nobody needs the address and the ticket of a mail that was sent.
                "update worker.job set state = $3, run_at = coalesce($4, run_at), ended_at = $5, error_code = $6, error = $7,
                     input = case when $3 = 'done' and kind = $8 then ''::bytea else input end, tries = tries - $9
                 where tenant_id = $1 and job_id = $2",
            )
            .bind(tenant)
            .bind(job.job_id)
            .bind(state.name())
            .bind(run_at)
            .bind(ended_at)
            .bind(trouble.map(|trouble| trouble.code.as_str()))
            .bind(trouble.map(|trouble| trouble.detail.chars().take(ERROR).collect::<String>()))
            .bind(JobKind::SendMail.name())
            .bind(i32::from(!is_counted))
            .execute(tx.conn())
            .await?;
            if state == JobState::Done {
                sqlx::query("delete from worker.job where tenant_id = $1 and state = 'done' and ended_at < $2")
                    .bind(tenant)
                    .bind(now.checked_sub(KEPT).unwrap_or(Timestamp::MIN).as_microsecond())
                    .execute(tx.conn())
                    .await?;
            }
            Ok(tx.commit().await?)
        })
        .await
    }
}

/// A try, within the time that its kind has.
pub(crate) async fn in_time(kind: JobKind, running: impl Future<Output = Outcome>) -> Outcome {
    let late = || Outcome::Again(Trouble::new("timeout", format!("it took longer than {} s", kind.patience().as_secs())));
    tokio::time::timeout(kind.patience(), running).await.unwrap_or_else(|_| late())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again() -> Outcome {
        Outcome::Again(Trouble::new("away", "it is away"))
    }

    #[test]
    fn pauses_grow_to_an_hour_and_end() {
        let (kind, now) = (JobKind::Reaction, "2026-11-30T12:00:00Z".parse::<Timestamp>().unwrap());
        let mut waited = Duration::ZERO;
        for tries in 1..kind.tries() {
            let [least, most] = [0.0, 1.0].map(|chance| match after(&again(), kind, tries, now, chance) {
                JobState::Waiting(at) => Duration::try_from(at.duration_since(now)).unwrap(),
                other @ (JobState::Done | JobState::Failed | JobState::Refused) => panic!("{other:?} after {tries}"),
            });
            assert!(most <= LONGEST_PAUSE && least == most / 2, "{least:?} to {most:?} after {tries}");
            assert_eq!(most, FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(tries - 1)).min(LONGEST_PAUSE));
            waited += least;
        }
        assert!(waited > Duration::from_hours(3), "a server that is away for a night is waited for: {waited:?}");
        for tries in [kind.tries(), kind.tries() + 1, u32::MAX] {
            assert_eq!(after(&again(), kind, tries, now, 0.5), JobState::Failed);
        }
    }

    #[test]
    fn what_is_done_or_refused_is_not_tried_again() {
        let refused = Outcome::Refused(Trouble::new("c", "d"));
        for tries in [1, 20] {
            assert_eq!(after(&Outcome::Done, JobKind::Reaction, tries, Timestamp::MAX, 0.0), JobState::Done);
            assert_eq!(after(&refused, JobKind::Reaction, tries, Timestamp::MAX, 0.0), JobState::Refused);
        }
        assert_eq!(after(&again(), JobKind::Reaction, 1, Timestamp::MAX, 0.0), JobState::Waiting(Timestamp::MAX));
    }

    #[test]
    fn what_may_not_be_written_yet_is_waited_for_without_an_end() {
        let not_yet = Outcome::NotYet(Trouble::new("not_activated", "d"));
        for tries in [1, u32::MAX] {
            let [least, most] = [0.0, 1.0].map(|chance| after(&not_yet, JobKind::Reaction, tries, Timestamp::UNIX_EPOCH, chance));
            let in_seconds = |seconds| JobState::Waiting(Timestamp::from_second(seconds).unwrap());
            assert_eq!((least, most), (in_seconds(5), in_seconds(15)));
        }
    }
}
