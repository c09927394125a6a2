//! Work that keeps a core busy for longer than whoever shares the thread should wait: the folds of pages of the log. What is
//! applied as it comes, leases and health checks go on beside it.

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
};

/// Events whose decoding, opening or folding takes longer than the other tasks of a thread should wait: about a millisecond.
const LONG: usize = 200;

/// Works on so many events. Where that is long, the thread's other tasks move to another one first; a runtime of one thread,
/// which only tests have, can't do that.
pub(crate) fn busy<T>(events: usize, work: impl FnOnce() -> T) -> T {
    let movable = || Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if events >= LONG && movable() { block_in_place(work) } else { work() }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn other_tasks_of_the_thread_go_on() {
        let (send, receive) = mpsc::channel();
        let long = tokio::spawn(async move {
            tokio::spawn(async move { send.send(()) });
            // The other task has only this thread, and would never come to it.
            busy(LONG, || receive.recv_timeout(Duration::from_secs(10)))
        });
        assert_eq!(long.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_runtime_of_one_thread_works_on_the_spot() {
        assert_eq!(busy(LONG, || 1), 1);
    }
}
