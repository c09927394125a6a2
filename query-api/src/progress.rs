//! How far the read models are, for those who wait: of one tenant's waiting requests one looks, and all learn of it.
//!
//! Nothing rests on it for truth. The statement that answers reads the position again, in its own snapshot.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use events::TenantId;
use tokio::{sync::watch, time::Instant};

/// What one tenant's waiting requests find is taken for new for so long.
const NEW: Duration = Duration::from_millis(3);
/// Nobody looks more rarely.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The tenants that are waited for.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<HashMap<TenantId, Arc<Seen>>>);

/// What was seen of a tenant's read model since the first of those who wait came.
#[derive(Debug)]
struct Seen {
    position: watch::Sender<i64>,
    /// When the last look began; taken for as long as a look lasts.
    looked: tokio::sync::Mutex<Option<Instant>>,
}

/// One who waits; leaves nothing behind when dropped.
pub(crate) struct Waiting<'p> {
    progress: &'p Progress,
    tenant: TenantId,
    seen: Arc<Seen>,
    position: watch::Receiver<i64>,
    since: Instant,
}

impl Progress {
    /// Whether somebody waits for this tenant.
    pub(crate) fn is_watched(&self, tenant: TenantId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&tenant)
    }

    /// Joins those who wait for this tenant.
    pub(crate) fn wait(&self, tenant: TenantId) -> Waiting<'_> {
        let new = || Arc::new(Seen { position: watch::Sender::new(0), looked: tokio::sync::Mutex::default() });
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(tenant).or_insert_with(new).clone();
        let position = seen.position.subscribe();
        Waiting { progress: self, tenant, seen, position, since: Instant::now() }
    }
}

impl Waiting<'_> {
    /// The position that somebody saw last; 0 if nobody has looked yet.
    pub(crate) fn seen(&mut self) -> i64 {
        *self.position.borrow_and_update()
    }

    /// Until somebody saw another position, it is time to look oneself, or `deadline` has come. Whoever has waited long looks
    /// rarely: nobody's wait may be work for the database.
    pub(crate) async fn pause(&mut self, deadline: Instant) {
        let longest = (self.since.elapsed() / 4).clamp(NEW, LONGEST_PAUSE);
        let until = deadline.min(Instant::now() + longest);
        let _ = tokio::time::timeout_at(until, self.position.changed()).await;
    }

    /// Looks, unless somebody does so now or has just done so.
    pub(crate) async fn look<E>(&self, look: impl AsyncFnOnce() -> Result<i64, E>) -> Result<(), E> {
        let Ok(mut looked) = self.seen.looked.try_lock() else { return Ok(()) };
        if looked.is_some_and(|at| at.elapsed() < NEW) {
            return Ok(());
        }
        *looked = Some(Instant::now());
        let position = look().await?;
        self.seen.position.send_if_modified(|seen| std::mem::replace(seen, position) != position);
        Ok(())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut tenants = self.progress.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Clones are made under the map's lock; the map's own and this one are left when the last one leaves.
        if Arc::strong_count(&self.seen) == 2 {
            tenants.remove(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicI64, AtomicUsize, Ordering::SeqCst},
    };

    #[tokio::test(start_paused = true)]
    async fn of_many_who_wait_one_looks_and_all_learn_of_it() {
        let (progress, looks, position) = (Arc::new(Progress::default()), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicI64::new(0)));
        let tenant = TenantId::from_uuid(uuid::Uuid::from_u128(1));
        let waiting: Vec<_> = (0..100)
            .map(|n| {
                let (progress, looks, position) = (progress.clone(), looks.clone(), position.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(n)).await;
                    let mut waiting = progress.wait(tenant);
                    while waiting.seen() < 7 {
                        waiting.pause(Instant::now() + Duration::from_mins(1)).await;
                        let look = async || {
                            tokio::time::sleep(Duration::from_millis(1)).await;
                            looks.fetch_add(1, SeqCst);
                            Ok::<_, Infallible>(position.load(SeqCst))
                        };
                        let Ok(()) = waiting.look(look).await;
                    }
                    Instant::now()
                })
            })
            .collect();
        waiting[3].abort(); // one who gives up
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(progress.is_watched(tenant) && !progress.is_watched(TenantId::from_uuid(uuid::Uuid::from_u128(2))));
        position.store(7, SeqCst);
        let reached = Instant::now();
        for task in waiting {
            if let Ok(at) = task.await {
                assert!(at - reached < Duration::from_millis(60), "{:?}", at - reached);
            }
        }
        // One of them in a look's time and what it is new for, not a hundred.
        assert!(looks.load(SeqCst) < 100, "{looks:?} looks in 200 ms");
        assert!(!progress.is_watched(tenant), "nobody waits any more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_given_up_is_taken_over() {
        let (progress, tenant) = (Progress::default(), TenantId::from_uuid(uuid::Uuid::from_u128(1)));
        let (mut first, mut second) = (progress.wait(tenant), progress.wait(tenant));
        let never = first.look(async || std::future::pending::<Result<i64, Infallible>>().await);
        assert!(tokio::time::timeout(Duration::from_millis(5), never).await.is_err());
        let Ok(()) = second.look(async || Ok::<_, Infallible>(9)).await;
        assert_eq!((first.seen(), second.seen()), (9, 9));
        drop(first);
        assert!(progress.is_watched(tenant));
        drop(second);
        assert!(!progress.is_watched(tenant));
    }
}
