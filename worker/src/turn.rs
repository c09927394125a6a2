//! A tenant's turn: its log is followed, then what is due is announced, then jobs are run; a bounded part of each.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream as js;
use events::{LogPoint, TenantId, TenantScope};
use execution::{Executor, FairSemaphore};
use jiff::Timestamp;
use platform::{Keys, Registry, ScopedTx, TenantState, history::Epoch};
use sqlx::PgPool;
use store::{Store, StoreError, backoff::Backoff};

use crate::{fold::Unreadable, mails::Mails};

/// Commands of one worker that run at the same time.
const COMMANDS: usize = 32;
/// How long PostgreSQL may take over one transaction.
const PATIENCE: Duration = Duration::from_secs(10);
/// When nothing is to be looked at: the largest instant that the agenda takes.
const NEVER: i64 = i64::MAX;

/// What the turns of one worker share. Cheap to clone.
#[derive(Clone)]
pub struct Turns(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) pool: PgPool,
    pub(crate) store: Store,
    pub(crate) keys: Keys,
    pub(crate) registry: Registry,
    pub(crate) executor: Executor,
    pub(crate) jetstream: js::Context,
    pub(crate) mails: Mails,
    /// Shared by the commands of all turns.
    pub(crate) running: FairSemaphore<TenantId>,
    /// When the worker's tables were made. Nothing that was recorded before is reacted to.
    pub(crate) react_from: Timestamp,
    /// How far each tenant was followed, under which fence.
    known: Mutex<HashMap<TenantId, (i64, LogPoint)>>,
    /// The epoch that was seen last.
    epoch: Mutex<Option<Epoch>>,
    /// Another one is being drawn: nobody has a turn.
    changing: AtomicBool,
    /// Tenants whose turns failed.
    failing: Mutex<Backoff>,
}

/// Why a turn ended before its end. What it did stands.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// Another worker has the partition.
    #[error("a worker with fence {theirs} has taken over")]
    Fenced {
        /// Its fence.
        theirs: i64,
    },
    /// The cursor was moved by somebody else: the next turn reads it anew.
    #[error("the cursor is not where this worker left it")]
    Moved,
    /// The log holds an event that this build can't read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// PostgreSQL is away or refused.
    #[error("the worker's tables are unavailable: {0}")]
    Database(#[from] sqlx::Error),
    /// The event store is away.
    #[error(transparent)]
    Store(StoreError),
    /// What is kept can't be read or written as JSON.
    #[error("what the worker keeps can't be read: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<StoreError> for TurnError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unreadable { position, reason } => Self::Unreadable(Unreadable { position, reason }),
            error @ (StoreError::Unavailable(_) | StoreError::Broken(_)) => Self::Store(error),
        }
    }
}

impl Turns {
    /// Turns over this store; nothing runs yet.
    #[expect(clippy::too_many_arguments, reason = "each is opened by who starts the process, and used as it is")]
    pub fn new(
        pool: PgPool,
        store: Store,
        keys: Keys,
        registry: Registry,
        executor: Executor,
        jetstream: js::Context,
        mails: Mails,
        react_from: Timestamp,
    ) -> Self {
        let running = FairSemaphore::of(COMMANDS);
        let (known, epoch, failing) = (Mutex::default(), Mutex::default(), Mutex::default());
        let changing = AtomicBool::new(false);
        Self(Arc::new(Inner {
            pool,
            store,
            keys,
            registry,
            executor,
            jetstream,
            mails,
            running,
            react_from,
            known,
            epoch,
            changing,
            failing,
        }))
    }

    /// Gives a tenant its turn, under the fence of its partition's lease. True if there is more to do.
    pub(crate) async fn turn(&self, tenant: TenantId, fence: i64) -> Result<bool, TurnError> {
        let (Some(registered), Some(epoch)) = (self.0.registry.by_id(tenant), self.epoch()) else { return Ok(false) };
        // What others write this process may not be able to read.
        if !self.0.executor.is_current() {
            return Ok(false);
        }
        // The partition's lease is the right to its tenants.
        let scope = TenantScope::checked(tenant);
        match registered.state {
            TenantState::Ready => {}
            TenantState::Registered => return self.get_ready(scope, fence, &epoch).await,
            // Who was suspended has to wait, and whoever was closed waits for ever.
            TenantState::Suspended | TenantState::Closed => return Ok(false),
        }
        let (followed, unreadable) = match self.follow(scope, fence).await {
            // What stands before it is done all the same.
            Err(TurnError::Unreadable(error)) => (false, Some(error)),
            followed => (followed?, None),
        };
        let announced = self.announce(scope, fence, &registered, &epoch).await?;
        let worked = Box::pin(self.work(scope, fence, &epoch)).await?;
        self.settle_agenda(scope, fence).await?;
        unreadable.map_or(Ok(followed || announced || worked), |error| Err(error.into()))
    }

    /// Begins a transaction of a tenant's, and holds its cursor's row to the end, so that nobody with a higher fence writes meanwhile.
    pub(crate) async fn begin(&self, scope: TenantScope, fence: i64) -> Result<ScopedTx, TurnError> {
        let mut tx = ScopedTx::begin(&self.0.pool, scope).await?;
        let theirs: i64 = sqlx::query_scalar("select fence from worker.cursor where tenant_id = $1 for update")
            .bind(scope.tenant().uuid())
            .fetch_one(tx.conn())
            .await?;
        if theirs > fence {
            tx.rollback().await?;
            return Err(TurnError::Fenced { theirs });
        }
        Ok(tx)
    }

    /// Puts down when the tenant is to be looked at next. The row is held while it is looked for, so that a job that somebody
    /// inserts meanwhile is counted here or notes itself afterwards.
    pub(crate) async fn settle_agenda(&self, scope: TenantScope, fence: i64) -> Result<(), TurnError> {
        let tenant = scope.tenant().uuid();
        within(async {
            let mut tx = self.begin(scope, fence).await?;
            sqlx::query("insert into worker.agenda (tenant_id, look_at) values ($1, $2) on conflict (tenant_id) do update set look_at = excluded.look_at")
                .bind(tenant)
                .bind(NEVER)
                .execute(tx.conn())
                .await?;
            sqlx::query(
                "update worker.agenda set look_at = least(
                     coalesce((select min(look_at) from worker.due where tenant_id = $1), $2),
                     coalesce((select min(run_at) from worker.job where tenant_id = $1 and state = 'waiting'), $2))
                 where tenant_id = $1",
            )
            .bind(tenant)
            .bind(NEVER)
            .execute(tx.conn())
            .await?;
            Ok(tx.commit().await?)
        })
        .await
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, HashMap<TenantId, (i64, LogPoint)>> {
        lock(&self.0.known)
    }

    pub(crate) fn failing(&self) -> MutexGuard<'_, Backoff> {
        lock(&self.0.failing)
    }

    /// The epoch that is served; none while another one is being drawn.
    fn epoch(&self) -> Option<Epoch> {
        let epoch = lock(&self.0.epoch).clone();
        epoch.filter(|_| !self.0.changing.load(Ordering::Relaxed))
    }

    /// Takes note of the epoch, none while another one is being drawn. True if it is another one than before.
    pub(crate) fn note_epoch(&self, epoch: Option<Epoch>) -> bool {
        self.0.changing.store(epoch.is_none(), Ordering::Relaxed);
        let Some(epoch) = epoch else { return false };
        let last = lock(&self.0.epoch).replace(epoch.clone());
        last.is_some_and(|last| last != epoch)
    }
}

/// Gives up after a time. What is given up in the middle of a transaction is undone with its connection.
pub(crate) async fn within<T>(work: impl Future<Output = Result<T, TurnError>>) -> Result<T, TurnError> {
    let no_answer = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {PATIENCE:?}"));
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(sqlx::Error::from(no_answer()).into()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
