//! One worker process: it holds leases on partitions, hears doorbells, sweeps, and gives tenants their turns.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_nats::jetstream::consumer::PullConsumer;
use events::{Position, TenantId};
use futures::StreamExt as _;
use jiff::Timestamp;
use platform::{TenantState, database, health::Check, history::Epoch};
use store::{
    TenantHead, feed,
    partition_lease::{LeaseHolders, Leases, Outgrown, PartitionTasks},
    stalled::Stalled,
};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    rota::Rota,
    turn::{TurnError, Turns},
};

/// Turns of one partition at the same time.
const TURNS: usize = 4;
/// Tenants that are rung for and not taken note of yet, at most; a ring that finds no room comes again with the next sweep.
const RINGS: usize = 1_024;
/// Messages of one request.
const BELLS: usize = 200;
/// How often leases are renewed, and what no doorbell announced is looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// How long a sweep may take: leases are renewed between two.
const SWEEP_PATIENCE: Duration = Duration::from_secs(2);
/// How long a tenant is left alone at most, after what passes by itself, and after what does not.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
const LONGEST_PAUSE_BROKEN: Duration = Duration::from_mins(5);
/// How long a worker may be behind, without moving, until it is not well.
const BEHIND: Duration = Duration::from_mins(1);

/// One worker process. Cheap to clone.
#[derive(Clone)]
pub struct Worker {
    turns: Turns,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Fences that were found to be too low, by partition.
    outgrown: Outgrown,
    stalled: Mutex<Stalled>,
    /// Since when sweeps fail, or some tenant has not moved.
    unwell: Mutex<Option<Instant>>,
    /// Rung where tenants were registered: the next sweep does not wait.
    registered: Notify,
}

impl Worker {
    /// A worker; nothing runs yet.
    pub fn new(turns: Turns) -> Self {
        Self { turns, state: Arc::default() }
    }

    /// Fails once it has been behind for a minute, or could not look whether it is.
    pub fn check(&self) -> Check {
        let state = self.state.clone();
        Check::new("worker", move || {
            let since = *lock(&state.unwell);
            async move {
                let behind = since.is_some_and(|since| since.elapsed() >= BEHIND);
                anyhow::ensure!(!behind, "events or due dates wait for longer than {} s", BEHIND.as_secs());
                Ok(())
            }
        })
    }

    /// Works until told to stop; whatever fails is tried again.
    pub async fn run(self, stop: CancellationToken) {
        // Whatever else is going on, leases are renewed.
        let mut leases = Leases::new(database::apart(&self.turns.0.pool, 1), LeaseHolders::Workers);
        let mut partitions = PartitionTasks::default();
        while !stop.is_cancelled() {
            if let Err(error) = leases.renew_beyond(&self.state.outgrown).await {
                // Without the database nothing can be put down either; the fence guards what is in flight.
                tracing::warn!(%error, "leases could not be renewed");
            }
            self.adjust(&leases.held(), &mut partitions).await;
            let sweep = tokio::time::timeout(SWEEP_PATIENCE, self.sweep(&partitions));
            let swept = sweep.await.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {SWEEP_PATIENCE:?}")));
            if let Err(error) = &swept {
                tracing::warn!(error = format!("{error:#}"), "the sweep failed; trying again");
            }
            self.note(swept.unwrap_or(true));
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(SWEEP) => {}
                () = self.state.registered.notified() => {}
            }
        }
        partitions.end().await;
        self.turns.0.mails.drain().await;
        if let Err(error) = leases.release().await {
            tracing::debug!(%error, "leases were not released; they expire");
        }
    }

    /// Takes note of whether all is well.
    fn note(&self, unwell: bool) {
        let mut since = lock(&self.state.unwell);
        *since = if unwell { since.or_else(|| Some(Instant::now())) } else { None };
    }

    /// Starts and ends partitions' tasks so that they are those that are held.
    async fn adjust(&self, held: &BTreeMap<u16, i64>, partitions: &mut PartitionTasks<mpsc::Sender<TenantId>>) {
        let start = |partition, fence, cancel| {
            // Another process may have moved these tenants on since. Their cursors are read from the database again.
            self.turns.known().retain(|tenant, _| feed::partition(*tenant) != partition);
            let (rings, rung) = mpsc::channel(RINGS);
            (tokio::spawn(self.clone().serve(partition, fence, cancel, rings.clone(), rung)), rings)
        };
        partitions.adjust(held, start).await;
    }

    /// Gives a partition's tenants their turns, as they are rung for.
    async fn serve(
        self,
        partition: u16,
        fence: i64,
        cancel: CancellationToken,
        rings: mpsc::Sender<TenantId>,
        mut rung: mpsc::Receiver<TenantId>,
    ) {
        let listening = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(self.clone().listen(partition, rings)));
        let (mut rota, mut turns) = (Rota::default(), JoinSet::new());
        loop {
            while let Some(tenant) = rota.begin(TURNS) {
                let (this, cancel) = (self.clone(), cancel.clone());
                turns.spawn(async move {
                    let turn = cancel.run_until_cancelled(Box::pin(this.turns.turn(tenant, fence))).await;
                    (tenant, turn)
                });
            }
            tokio::select! {
                () = cancel.cancelled() => break,
                tenant = rung.recv() => match tenant {
                    Some(tenant) => rota.ring(tenant),
                    None => break,
                },
                Some(ended) = turns.join_next() => match ended {
                    Ok((tenant, Some(result))) => {
                        let more = self.settle(tenant, result);
                        rota.end(tenant, more);
                    }
                    Ok((_, None)) => break,
                    Err(error) => {
                        tracing::error!(partition, %error, "a turn ended in the middle; the partition starts anew");
                        break;
                    }
                },
            }
        }
        drop(listening);
        // What is on its way ends at its next step.
        cancel.cancel();
        while turns.join_next().await.is_some() {}
    }

    /// Takes note of a turn's end. True if there is more to do.
    fn settle(&self, tenant: TenantId, result: Result<bool, TurnError>) -> bool {
        let error = match result {
            Ok(more) => {
                self.turns.failing().succeeded(tenant);
                return more;
            }
            Err(error) => error,
        };
        self.turns.known().remove(&tenant);
        let longest = match &error {
            TurnError::Fenced { theirs } => {
                self.state.outgrown.note(feed::partition(tenant), *theirs);
                LONGEST_PAUSE
            }
            TurnError::Moved | TurnError::Database(_) | TurnError::Store(_) => LONGEST_PAUSE,
            TurnError::Unreadable(_) | TurnError::Json(_) => LONGEST_PAUSE_BROKEN,
        };
        let again_in = self.turns.failing().failed(tenant, longest);
        tracing::warn!(%error, %tenant, ?again_in, "a tenant's turn ended early; trying again");
        false
    }

    /// Hears the doorbells of a partition: each rings for the tenant that its subject names. Nothing is believed but that.
    async fn listen(self, partition: u16, rings: mpsc::Sender<TenantId>) {
        loop {
            if let Err(reason) = self.hear(partition, &rings).await {
                tracing::debug!(partition, reason, "the doorbells are silent; listening again");
            }
            if rings.is_closed() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(200..800))).await;
        }
    }

    async fn hear(&self, partition: u16, rings: &mpsc::Sender<TenantId>) -> Result<(), String> {
        let stream = self.turns.0.jetstream.get_stream_no_info(feed::STREAM).await.map_err(|e| e.to_string())?;
        // The relay makes it: who may make consumers may have the broker send messages wherever they like.
        let consumer: PullConsumer = stream.get_consumer(&feed::worker_consumer(partition)).await.map_err(|e| e.to_string())?;
        let bells = consumer.stream().max_messages_per_batch(BELLS).heartbeat(Duration::from_secs(2)).expires(Duration::from_secs(10));
        let mut bells = bells.messages().await.map_err(|e| e.to_string())?;
        while let Some(bell) = bells.next().await {
            let bell = bell.map_err(|e| e.to_string())?;
            match feed::tenant_of(&bell.subject) {
                Some(TenantId::PLATFORM) => match self.turns.0.registry.refresh().await {
                    Ok(()) => self.state.registered.notify_one(),
                    Err(error) => tracing::debug!(%error, "the registry could not be read; the sweep looks again"),
                },
                // Where there is no room, the sweep rings.
                Some(tenant) => drop(rings.try_send(tenant)),
                None => {}
            }
        }
        Err("the consumer ended".into())
    }

    /// Rings for whom nobody rang: whose log is longer than it was followed, and who has something on the agenda. True if one of
    /// them has not moved for a minute.
    async fn sweep(&self, held: &PartitionTasks<mpsc::Sender<TenantId>>) -> anyhow::Result<bool> {
        let epoch = Epoch::current(&self.turns.0.pool).await?;
        if self.turns.note_epoch(epoch) {
            tracing::warn!(target: "audit", "the event store was restored; every log is compared with what was followed");
            self.turns.known().clear();
        }
        let heads = self.turns.0.store.heads().await?;
        let all = self.turns.0.registry.all();
        let in_state = |state| all.iter().filter(move |tenant| tenant.state == state).map(|tenant| tenant.id);
        let ready: HashSet<TenantId> = in_state(TenantState::Ready).collect();
        let is_ours = |tenant: TenantId| held.contains(feed::partition(tenant)) && ready.contains(&tenant);
        // Also those whose logs are empty: there may be a job for them.
        let tenants: Vec<Uuid> = ready.iter().filter(|tenant| is_ours(**tenant)).map(|tenant| tenant.uuid()).collect();
        let known = self.turns.known().clone();
        let at = |head: &TenantHead| known.get(&head.tenant).map(|(_, at)| *at);
        let ours: Vec<&TenantHead> = heads.iter().filter(|head| is_ours(head.tenant)).collect();
        // Whose log went back is behind, too: its turn compares it with what was followed.
        let is_behind = |head: &&&TenantHead| at(head).is_none_or(|at| at.position != head.position);
        let behind: Vec<&TenantHead> = ours.iter().filter(is_behind).copied().collect();
        let mut to_ring: HashSet<TenantId> = behind.iter().map(|head| head.tenant).collect();
        to_ring.extend(self.agenda(tenants).await?);
        to_ring.extend(in_state(TenantState::Registered));
        self.turns.failing().retain(|tenant| held.contains(feed::partition(tenant)));
        for tenant in to_ring {
            if self.turns.failing().is_due(tenant)
                && let Some(partition) = held.get(feed::partition(tenant))
            {
                let _ = partition.handle.try_send(tenant);
            }
        }
        let places: Vec<(TenantId, Position)> =
            behind.iter().map(|head| (head.tenant, at(head).map_or(Position::ZERO, |at| at.position))).collect();
        let followed = self.turns.0.store.counts_at(&places).await?;
        let lag: u64 = behind.iter().zip(followed).map(|(head, followed)| head.events.saturating_sub(followed)).sum();
        metrics::gauge!("tenure_worker_lag_events").set(lag as f64);
        // Who fails and is left alone for a while is told of by itself, and keeps nobody else from being served.
        let waits: Vec<_> = places.into_iter().filter(|(tenant, _)| self.turns.failing().is_due(*tenant)).collect();
        let stalled = lock(&self.state.stalled).longest(waits);
        metrics::gauge!("tenure_worker_failing_tenants").set(self.turns.failing().failing() as f64);
        metrics::gauge!("tenure_worker_stalled_seconds").set(stalled.as_secs_f64());
        Ok(stalled >= SWEEP * 5)
    }

    /// Of these tenants, those that have something to do by now.
    async fn agenda(&self, ours: Vec<Uuid>) -> Result<Vec<TenantId>, sqlx::Error> {
        let due: Vec<Uuid> = sqlx::query_scalar("select tenant_id from worker.agenda where look_at <= $1 and tenant_id = any ($2)")
            .bind(Timestamp::now().as_microsecond())
            .bind(ours)
            .fetch_all(&self.turns.0.pool)
            .await?;
        Ok(due.into_iter().map(TenantId::from_uuid).collect())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
