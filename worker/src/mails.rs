//! Mails that wait: sent beside the turns, so that a mail server that hangs keeps no tenant waiting for anything but mail.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use events::TenantScope;
use jiff::Timestamp;
use platform::{
    mail::MailOrder,
    queue::{self, JobKind},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::{
    jobs::{Claimed, Outcome, Trouble, in_time},
    mail::{MailOutcome, Mailer},
    turn::{TurnError, Turns},
};

/// Mails of one worker that are on their way at the same time; servers take a few connections of one client.
const AT_ONCE: usize = 8;
/// How long a worker that ends waits for what is on its way. What is not through by then is sent again, with the same message id.
const DRAIN: Duration = Duration::from_secs(5);
/// How often it is tried to put down what became of a mail, with pauses of up to a minute.
const TRIES: u32 = 60;

/// The way to the mail server, shared by the turns of one worker.
pub struct Mails {
    /// None where no mail is configured: what somebody asked for all the same waits, and fails in the end.
    mailer: Option<Mailer>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    /// The jobs of the mails that are on their way, each with the number of its try: the next try may begin before this one is forgotten.
    sending: Mutex<HashMap<Uuid, i32>>,
}

impl Mails {
    /// None are on their way.
    pub fn new(mailer: Option<Mailer>) -> Self {
        Self { mailer, places: Arc::new(Semaphore::new(AT_ONCE)), tasks: TaskTracker::new(), sending: Mutex::default() }
    }
    /// A place for one more, if there is one.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }
    /// Waits a moment for those that are on their way.
    pub(crate) async fn drain(&self) {
        self.tasks.close();
        let _ = tokio::time::timeout(DRAIN, self.tasks.wait()).await;
    }
    /// The jobs of the mails that are on their way.
    pub(crate) fn on_their_way(&self) -> Vec<Uuid> {
        self.sending().keys().copied().collect()
    }
    fn sending(&self) -> MutexGuard<'_, HashMap<Uuid, i32>> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turns {
    /// Sends a mail that was claimed, and puts down what became of it; the turn goes on meanwhile.
    pub(crate) fn send_beside(&self, scope: TenantScope, fence: i64, job: Claimed, place: Option<OwnedSemaphorePermit>) {
        let this = self.clone();
        self.0.mails.sending().insert(job.job_id, job.tries);
        self.0.mails.tasks.spawn(async move {
            let outcome = in_time(JobKind::SendMail, Box::pin(this.mail(scope, &job))).await;
            this.put_mail_down(scope, fence, &job, &outcome).await;
            this.0.mails.sending().retain(|id, tries| (*id, *tries) != (job.job_id, job.tries));
            drop(place);
        });
    }

    async fn mail(&self, scope: TenantScope, job: &Claimed) -> Outcome {
        let Some(mailer) = &self.0.mails.mailer else {
            return Outcome::Again(Trouble::new("mail_not_configured", "this worker knows no mail server; set TENURE_SMTP_URL"));
        };
        let order: MailOrder = match queue::open(&self.0.keys, scope, job.job_id, JobKind::SendMail, &job.input) {
            Ok(order) => order,
            Err(error) => return Outcome::Refused(Trouble::new("unreadable_input", error.to_string())),
        };
        let made_at = Timestamp::from_microsecond(job.made_at).unwrap_or(Timestamp::UNIX_EPOCH);
        let mail = match mailer.compose(job.job_id, made_at, &order) {
            Ok(mail) => mail,
            Err(error) => return Outcome::Refused(Trouble::new(error.code(), error.to_string())),
        };
        match mailer.send(&mail).await {
            MailOutcome::Sent => Outcome::Done,
            MailOutcome::TryAgain { why } => Outcome::Again(Trouble::new(why.code(), why.to_string())),
            MailOutcome::Refused { why, .. } => Outcome::Refused(Trouble::new(why.code(), why.to_string())),
        }
    }

    /// Tries until it is put down, or another worker has the partition: that one finds the mail running and sends it again.
    async fn put_mail_down(&self, scope: TenantScope, fence: i64, job: &Claimed, outcome: &Outcome) {
        for tries in 0..TRIES {
            let put = async {
                self.conclude(scope, fence, job, JobKind::SendMail, outcome).await?;
                self.settle_agenda(scope, fence).await
            };
            let error = match put.await {
                Ok(()) => return,
                Err(error) => error,
            };
            tracing::warn!(job = %job.job_id, %error, "what became of a mail can't be put down");
            if matches!(error, TurnError::Fenced { .. }) {
                return;
            }
            let pause = Duration::from_secs(1).saturating_mul(2_u32.saturating_pow(tries)).min(Duration::from_mins(1));
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::MailPatience;

    #[test]
    fn a_try_is_given_up_by_its_steps_first() {
        let MailPatience { connect: _, answer, content } = MailPatience::default();
        // Connection, TLS, greeting, STARTTLS, log-in, sender, recipient, DATA; the mail; the farewell.
        let all = answer * 8 + content + Duration::from_secs(5);
        assert!(all < JobKind::SendMail.patience(), "{all:?}");
    }

    #[test]
    fn there_are_so_many_places_and_they_come_back() {
        let mails = Mails::new(None);
        let places: Vec<_> = (0..AT_ONCE).map(|_| mails.place().expect("a place")).collect();
        assert!(mails.place().is_none());
        drop(places);
        assert!(mails.place().is_some());
    }
}
