//! Commands that are sent one after the other without waiting for their answers.
//!
//! They run side by side, so that the store's group commit fills up; a command waits for those before it that share something with
//! it ([`Order`]). Once these are done it takes one of the permits that all pipelines share, and holds it while it runs. A command
//! that fails does not stop the others.

use std::{sync::Arc, time::Duration};

use events::TenantId;
use platform::Problem;
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::{
    execute::Executor,
    fair_semaphore::FairSemaphore,
    order::{Order, shared_by},
    outcome::{Answer, Failure},
    sent::SentCommand,
};

/// What a command that was started comes to. Dropped, it gives the command up.
pub type Started = AbortOnDropHandle<Result<Answer, Failure>>;

/// One sender's commands. Who sends them keeps at most [`crate::IN_FLIGHT`] in work.
pub struct Pipeline {
    executor: Executor,
    running: FairSemaphore<TenantId>,
    /// Bytes that commands which wait or run may still hold.
    room: Arc<Semaphore>,
    bytes: usize,
    limit: Duration,
    order: Order,
}

impl Pipeline {
    /// A pipeline without commands. `running` bounds how many run of all pipelines together, `bytes` what this one's take that wait
    /// or run, `limit` how long each may run.
    pub fn new(executor: Executor, running: FairSemaphore<TenantId>, bytes: usize, limit: Duration) -> Self {
        Self { executor, running, room: Arc::new(Semaphore::new(bytes)), bytes, limit, order: Order::default() }
    }

    /// Starts a command of so many bytes as soon as the pipeline has room for it. It takes a permit when it runs: whoever waited
    /// with one would keep it from other tenants for as long as those before it take.
    pub async fn start(&mut self, sent: SentCommand, bytes: usize) -> Started {
        let (before, done) = self.order.admit(shared_by(&sent.command, sent.scope(), sent.keyed.then_some(sent.command_id)));
        let room = self.room.clone().acquire_many_owned(u32::try_from(bytes.min(self.bytes)).unwrap_or(u32::MAX)).await.ok();
        let (executor, limit, running) = (self.executor.clone(), self.limit, self.running.clone());
        let work = async move {
            for command in before {
                command.cancelled().await;
            }
            let permit = running.take(sent.scope().tenant()).await;
            let outcome = timeout(limit, executor.execute(sent)).await.unwrap_or_else(|_| {
                let detail = "the command took too long and was given up; send it again with the same key";
                Err(Failure::Broken(Problem::unavailable("timeout", detail)))
            });
            drop((permit, room, done));
            outcome
        };
        AbortOnDropHandle::new(tokio::spawn(work.in_current_span()))
    }
}
