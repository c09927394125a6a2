//! Live projection: doorbells from JetStream, applied tenant by tenant; a sweep for what no doorbell announced.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::jetstream::{self as js, AckKind, Message, consumer::PullConsumer};
use events::{Position, TenantId, TenantScope};
use futures::{StreamExt as _, stream};
use platform::{
    Registry, TenantState, build, database,
    keys::KeyError,
    read_model::{Standing, standings},
    telemetry,
};
use store::{
    StoreError, TenantHead,
    backoff::Backoff,
    feed,
    partition_lease::{LeaseHolders, Leases, Outgrown, PartitionTask, PartitionTasks},
    stalled::Stalled,
};
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

use crate::{
    apply::{Applied, Applier, ApplyError, BATCH, Sequenced},
    foreign::Unknown,
    rebuilder::{FAR_BEHIND, RebuildOutcome, Rebuilder},
};

/// Tenants of a partition that are applied at the same time.
const TENANTS: usize = 4;
/// Tenants that are healed from the store at the same time.
const HEALED: usize = 4;
/// How often leases are renewed and laggards are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// Read models that one sweep asks PostgreSQL for, in turn. Each costs it about 0.1 ms.
const LOOKED_AT: usize = 50;
/// How long a tenant is left alone at most, after what passes by itself, and after what does not.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
const LONGEST_PAUSE_BROKEN: Duration = Duration::from_mins(5);

/// One projector process.
#[derive(Clone)]
pub struct Projector(Arc<Inner>);

struct Inner {
    applier: Applier,
    registry: Registry,
    jetstream: js::Context,
    /// How far each tenant was seen to be projected; only to find laggards cheaply.
    known: Mutex<HashMap<TenantId, Position>>,
    /// Tenants that stand still, from `platform.parked`, each with whether it is to be tried again.
    parked: Mutex<HashMap<TenantId, bool>>,
    /// Where each log was last seen to end.
    heads: Mutex<HashMap<TenantId, TenantHead>>,
    /// The epoch that was last seen.
    epoch: Mutex<Option<String>>,
    stalled: Mutex<Stalled>,
    /// Tenants whose events could not be applied.
    failing: Mutex<Backoff>,
    /// Tenants that the registry does not know.
    unknown: Unknown,
    /// Partitions whose fence is below that of a read model in them, and that fence.
    outgrown: Outgrown,
    /// What takes as long as it takes, beside the renewal of leases.
    healing: Healing,
}

/// Work that the sweep started.
struct Healing {
    tasks: TaskTracker,
    places: Semaphore,
    tenants: Mutex<HashMap<TenantId, JoinHandle<()>>>,
    rebuilder: Rebuilder,
}

/// What one sweep leaves to the next.
#[derive(Default)]
struct Swept {
    /// Tenants that were behind, and where they stood.
    behind: HashMap<TenantId, Position>,
    /// The last tenant whose read model was looked at.
    looked_at: Option<TenantId>,
}

/// What ends the work on a partition.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error("another projector has taken over")]
    Fenced,
    #[error("JetStream: {0}")]
    JetStream(String),
}

impl Projector {
    /// A projector; nothing runs yet.
    pub fn new(applier: Applier, registry: Registry, client: async_nats::Client) -> Self {
        Self::rebuilding(FAR_BEHIND, applier, registry, client)
    }

    /// The same, which rebuilds read models that are so many events behind.
    pub fn rebuilding(far_behind: u64, applier: Applier, registry: Registry, client: async_nats::Client) -> Self {
        let jetstream = js::new(client);
        let (places, rebuilder) = (Semaphore::new(HEALED), Rebuilder::new(applier.clone(), far_behind));
        let healing = Healing { tasks: TaskTracker::new(), places, tenants: Mutex::default(), rebuilder };
        let (known, parked, stalled, outgrown) = (Mutex::default(), Mutex::default(), Mutex::default(), Outgrown::default());
        let (heads, epoch, failing) = (Mutex::default(), Mutex::default(), Mutex::default());
        let unknown = Unknown::to(registry.clone());
        Self(Arc::new(Inner { applier, registry, jetstream, known, parked, heads, epoch, stalled, failing, unknown, outgrown, healing }))
    }

    /// Projects until told to stop; whatever fails is tried again.
    pub async fn run(self, stop: CancellationToken) {
        match tokio::task::spawn_blocking(build::id).await {
            Ok(build) => tracing::info!(build, "what other builds parked is tried again"),
            Err(error) => tracing::error!(%error, "which build this is is not known"),
        }
        // Whatever else is going on, leases are renewed.
        let mut leases = Leases::new(database::apart(&self.0.applier.pool, 1), LeaseHolders::Projectors);
        let mut partitions = PartitionTasks::default();
        let mut swept = Swept::default();
        while !stop.is_cancelled() {
            if let Err(error) = leases.renew_beyond(&self.0.outgrown).await {
                // Without the database nothing can be applied either; the fence guards what is in flight.
                tracing::warn!(%error, "leases could not be renewed");
            }
            self.adjust(&leases.held(), &mut partitions).await;
            if let Err(error) = self.sweep(&partitions, &mut swept).await {
                tracing::warn!(%error, "the sweep failed; trying again");
            }
            let _ = tokio::time::timeout(SWEEP, stop.cancelled()).await;
        }
        partitions.end().await;
        self.0.healing.tasks.close();
        self.0.healing.tasks.wait().await;
        if let Err(error) = leases.release().await {
            tracing::debug!(%error, "leases were not released; they expire");
        }
    }

    /// Starts and ends partitions' tasks so that they are those that are held.
    async fn adjust(&self, held: &BTreeMap<u16, i64>, partitions: &mut PartitionTasks<()>) {
        partitions.adjust(held, |partition, fence, cancel| (tokio::spawn(self.clone().run_partition(partition, fence, cancel)), ())).await;
    }

    async fn run_partition(self, partition: u16, fence: i64, cancel: CancellationToken) {
        while !cancel.is_cancelled() {
            match self.consume(partition, fence, &cancel).await {
                Ok(()) => return,
                Err(Interrupted::Fenced) => {
                    tracing::warn!(partition, fence, "another projector has taken over");
                    return;
                }
                Err(error) => tracing::debug!(partition, %error, "consuming stopped; trying again"),
            }
            let pause = Duration::from_millis(fastrand::u64(200..800));
            let _ = tokio::time::timeout(pause, cancel.cancelled()).await;
        }
    }

    async fn consume(&self, partition: u16, fence: i64, cancel: &CancellationToken) -> Result<(), Interrupted> {
        let name = feed::consumer(partition);
        let stream = self.0.jetstream.get_stream_no_info(feed::STREAM).await.map_err(jetstream)?;
        // The relay makes it: who may make consumers may have the broker send messages wherever they like.
        let consumer: PullConsumer = stream.get_consumer(&name).await.map_err(jetstream)?;
        let messages = consumer.stream().max_messages_per_batch(BATCH).heartbeat(Duration::from_secs(2)).expires(Duration::from_secs(10));
        let mut chunks = messages.messages().await.map_err(jetstream)?.ready_chunks(BATCH);
        loop {
            let chunk = tokio::select! {
                chunk = chunks.next() => chunk,
                () = cancel.cancelled() => return Ok(()),
            };
            let Some(chunk) = chunk else { return Err(Interrupted::JetStream("the consumer ended".into())) };
            let mut failure = None;
            let messages: Vec<Message> =
                chunk.into_iter().filter_map(|message| message.map_err(|e| failure = Some(e.to_string())).ok()).collect();
            self.apply_chunk(fence, cancel, messages).await?;
            if let Some(failure) = failure {
                return Err(Interrupted::JetStream(failure));
            }
        }
    }

    /// Applies what has arrived, each tenant in order, some tenants beside each other, and acknowledges what is committed.
    async fn apply_chunk(&self, fence: i64, cancel: &CancellationToken, messages: Vec<Message>) -> Result<(), Interrupted> {
        let mut by_tenant: HashMap<TenantId, (Vec<Sequenced>, Vec<Message>)> = HashMap::new();
        for message in messages {
            match sequenced(&message) {
                Ok(one) => {
                    let (events, sent) = by_tenant.entry(one.event.tenant).or_default();
                    events.push(one);
                    sent.push(message);
                }
                Err(reason) => {
                    // Not an event of the store as the relay sends it. It is put aside; the store has the truth.
                    quarantined(&reason);
                    acknowledge(&message, AckKind::Term).await;
                }
            }
        }
        let results: Vec<_> = stream::iter(by_tenant)
            .map(|(tenant, (events, messages))| self.clone().apply_and_acknowledge(tenant, fence, cancel, events, messages))
            .buffer_unordered(TENANTS)
            .collect()
            .await;
        results.into_iter().collect()
    }

    async fn apply_and_acknowledge(
        self,
        tenant: TenantId,
        fence: i64,
        cancel: &CancellationToken,
        events: Vec<Sequenced>,
        messages: Vec<Message>,
    ) -> Result<(), Interrupted> {
        let done = self.apply_tenant(tenant, fence, cancel, &events).await?;
        for message in &messages {
            acknowledge(message, if done { AckKind::Ack } else { AckKind::Nak(Some(SWEEP)) }).await;
        }
        Ok(())
    }

    /// Applies one tenant's events. True if the messages are done with.
    async fn apply_tenant(
        &self,
        tenant: TenantId,
        fence: i64,
        cancel: &CancellationToken,
        events: &[Sequenced],
    ) -> Result<bool, Interrupted> {
        if tenant == TenantId::PLATFORM {
            if let Err(error) = self.0.registry.refresh().await {
                tracing::warn!(%error, "the registry could not be read");
            }
            return Ok(true);
        }
        // Who is parked catches up from the store once freed, and who is not registered, or fails, when that is over.
        if self.parked().contains_key(&tenant) || self.0.unknown.has(tenant).await || !self.failing().is_due(tenant) {
            return Ok(true);
        }
        // The partition's lease is the right to its tenants.
        let scope = TenantScope::checked(tenant);
        let span = tracing::info_span!("project", events = events.len());
        if let Some(traceparent) = events.first().and_then(|one| one.event.metadata.traceparent.as_deref()) {
            telemetry::continue_from(&span, traceparent);
        }
        // In order whatever came doubled or mixed up; holes are healed.
        let mut ordered: Vec<Sequenced> = events.to_vec();
        ordered.sort_by_key(|one| one.event.position);
        ordered.dedup_by_key(|one| one.event.position);
        let whole = ordered.windows(2).all(|pair| pair[1].previous == pair[0].event.position);
        async {
            if whole {
                match self.0.applier.are_recorded(scope, &mut ordered).await {
                    Ok(true) => {}
                    Ok(false) => {
                        quarantined("it is not what the store has at its position");
                        return self.catch_up_soon(tenant, fence, cancel).await;
                    }
                    Err(error) => return self.settle(tenant, Err(error)).await,
                }
                match self.0.applier.apply(scope, fence, &ordered).await {
                    Ok(Applied::Gap(_)) => metrics::counter!("tenure_projector_gaps_total").increment(1),
                    Ok(Applied::At(position)) => return self.settle(tenant, Ok(position)).await,
                    Err(error) => return self.settle(tenant, Err(error)).await,
                }
            }
            self.catch_up_soon(tenant, fence, cancel).await
        }
        .instrument(span)
        .await
    }

    /// Catches up with what is missing, or leaves it to the sweep if that is much: nobody else in the partition waits for it.
    async fn catch_up_soon(&self, tenant: TenantId, fence: i64, cancel: &CancellationToken) -> Result<bool, Interrupted> {
        match self.0.healing.rebuilder.is_far_behind(TenantScope::checked(tenant)).await {
            Ok(true) => Ok(true),
            Ok(false) => self.catch_up(tenant, fence, cancel).await,
            Err(error) => self.settle(tenant, Err(error)).await,
        }
    }

    /// Reads from the store what is missing, which may take long: whoever loses the partition lets go of it. True if there is
    /// nothing to try again.
    async fn catch_up(&self, tenant: TenantId, fence: i64, cancel: &CancellationToken) -> Result<bool, Interrupted> {
        let caught_up = Box::pin(self.0.applier.catch_up(TenantScope::checked(tenant), fence));
        match cancel.run_until_cancelled(caught_up).await {
            Some(result) => self.settle(tenant, result).await,
            None => Ok(false),
        }
    }

    /// Takes note of a result. True if there is nothing to try again.
    async fn settle(&self, tenant: TenantId, result: Result<Position, ApplyError>) -> Result<bool, Interrupted> {
        match result {
            Ok(position) => {
                self.known().insert(tenant, position);
                self.failing().succeeded(tenant);
                self.unpark(tenant).await;
                Ok(true)
            }
            Err(ApplyError::Fenced { theirs }) => {
                self.0.outgrown.note(feed::partition(tenant), theirs);
                Err(Interrupted::Fenced)
            }
            Err(ApplyError::Unprojectable { position, reason }) => {
                self.park(tenant, position, "unprojectable", &reason).await;
                Ok(true)
            }
            Err(ApplyError::Diverged { position, reason }) => {
                metrics::counter!("tenure_history_lost_total", "what" => "read_model").increment(1);
                self.park(tenant, position, "history_diverged", &reason).await;
                Ok(true)
            }
            Err(ApplyError::Damaged { position, reason }) => {
                self.0.healing.rebuilder.damaged(tenant, position, &reason);
                Ok(true) // It is rebuilt from the store.
            }
            Err(ApplyError::NoReadModel) => Ok(true), // The sweep finds it.
            Err(error @ (ApplyError::Database(_) | ApplyError::Store(_) | ApplyError::Keys(_))) => {
                let longest = if passes(&error) { LONGEST_PAUSE } else { LONGEST_PAUSE_BROKEN };
                let again_in = self.failing().failed(tenant, longest);
                tracing::warn!(%error, ?again_in, "a tenant's events were not applied; trying again");
                Ok(false)
            }
        }
    }

    async fn park(&self, tenant: TenantId, position: Position, code: &str, reason: &str) {
        metrics::counter!("tenure_projector_parkings_total").increment(1);
        tracing::error!(%tenant, %position, reason, "ALERT: a tenant was parked: its read model stands still until its log can be projected");
        let parked = sqlx::query(
            "insert into platform.parked as p (tenant_id, position, reason, build, code) values ($1, $2, $3, $4, $5)
             on conflict (tenant_id) do update
             set position = excluded.position, reason = excluded.reason, build = excluded.build, code = excluded.code, tries = p.tries + 1,
                 tried_at = now()",
        )
        .bind(tenant.uuid())
        .bind(i64::try_from(position.0).unwrap_or(i64::MAX))
        .bind(reason)
        .bind(build::id())
        .bind(code)
        .execute(&self.0.applier.pool)
        .await;
        match parked {
            Ok(_) => drop(self.parked().insert(tenant, false)),
            Err(error) => tracing::warn!(%error, "the parking was not recorded; trying again"),
        }
    }

    /// Lets a tenant go on that was tried again and is projected.
    async fn unpark(&self, tenant: TenantId) {
        if !self.parked().contains_key(&tenant) {
            return;
        }
        let freed = sqlx::query("delete from platform.parked where tenant_id = $1").bind(tenant.uuid()).execute(&self.0.applier.pool);
        match freed.await {
            Ok(_) => {
                self.parked().remove(&tenant);
                tracing::info!(%tenant, "a tenant that was parked is projected again");
            }
            Err(error) => tracing::warn!(%error, "that a tenant is not parked any more was not recorded; trying again"),
        }
    }

    /// Who is parked. Another build may project what the last one could not, and an operator may have mended it.
    async fn read_parked(&self) -> Result<HashMap<TenantId, bool>, sqlx::Error> {
        let parked: Vec<(uuid::Uuid, bool)> =
            sqlx::query_as("select tenant_id, build <> $1 from platform.parked").bind(build::id()).fetch_all(&self.0.applier.pool).await?;
        let parked: HashMap<TenantId, bool> = parked.into_iter().map(|(id, again)| (TenantId::from_uuid(id), again)).collect();
        metrics::gauge!("tenure_projector_parked_tenants").set(parked.len() as f64);
        self.parked().clone_from(&parked);
        Ok(parked)
    }

    /// Asks PostgreSQL for some of the read models, and all of them in turn: one that was dropped or set back while nobody wrote
    /// is found, though this process remembers otherwise. Those that are not whole.
    async fn look(&self, ours: &[TenantId], looked_at: &mut Option<TenantId>) -> Result<Vec<TenantId>, sqlx::Error> {
        let from = ours.partition_point(|tenant| Some(*tenant) <= *looked_at);
        let now: Vec<TenantScope> = ours[from..].iter().chain(&ours[..from]).take(LOOKED_AT).copied().map(TenantScope::checked).collect();
        *looked_at = now.last().map(|scope| scope.tenant());
        let before = self.known().clone();
        let mut broken = Vec::new();
        for (tenant, standing) in standings(&self.0.applier.pool, &now).await? {
            match standing {
                // Not over what was learned since.
                Standing::At(at) => {
                    let mut known = self.known();
                    if known.get(&tenant) == before.get(&tenant) {
                        known.insert(tenant, at);
                    }
                }
                Standing::Missing | Standing::Damaged => broken.push(tenant),
            }
        }
        Ok(broken)
    }

    /// Looks for tenants that nobody rang for: what was lost between store and here. What that takes is started, not waited for:
    /// leases are renewed meanwhile.
    async fn sweep(&self, held: &PartitionTasks<()>, swept: &mut Swept) -> anyhow::Result<()> {
        let parked = self.read_parked().await?;
        let is_ours = |tenant: TenantId| held.contains(feed::partition(tenant)) && tenant != TenantId::PLATFORM;
        let mut ours: Vec<TenantId> = self.0.registry.all().into_iter().map(|tenant| tenant.id).collect();
        ours.retain(|tenant| is_ours(*tenant) && self.is_ready(*tenant) && !parked.contains_key(tenant));
        ours.sort_unstable();
        // Before the logs' ends, which only move on: a read model that is ahead of its log then is ahead of it.
        let mut to_heal = self.look(&ours, &mut swept.looked_at).await?;
        to_heal
            .extend(self.0.healing.rebuilder.all_damaged().into_iter().filter(|tenant| is_ours(*tenant) && !parked.contains_key(tenant)));
        to_heal.extend(parked.iter().filter(|(tenant, again)| **again && is_ours(**tenant)).map(|(tenant, _)| *tenant));
        let known = self.known().clone();
        let (mut late, mut far): (HashMap<TenantId, Position>, HashSet<TenantId>) = Default::default();
        let (heads, gone_back) = self.heads(&known).await?;
        to_heal.extend(gone_back.into_iter().filter(|tenant| ours.binary_search(tenant).is_ok()));
        self.0.unknown.among(&heads).await;
        self.failing().retain(is_ours);
        for head in &heads {
            let at = known.get(&head.tenant).copied().unwrap_or_default();
            if !is_ours(head.tenant) || parked.contains_key(&head.tenant) || !self.is_ready(head.tenant) {
                continue;
            }
            if head.position > at {
                late.insert(head.tenant, at);
                if self.0.healing.rebuilder.is_far(at, head.position) {
                    far.insert(head.tenant);
                }
            } else if head.position < at {
                to_heal.push(head.tenant);
            }
        }
        self.count_lag(&heads, &late).await?;
        // A rebuild moves, though nobody sees it yet; and so does who waits for it.
        let rebuilt = self.0.healing.rebuilder.folded();
        // One at a time; those that wait for it move with it.
        let first = rebuilt.values().max().copied();
        let folded = |tenant: &TenantId| rebuilt.get(tenant).copied().or(first.filter(|_| far.contains(tenant)));
        let moving = |(tenant, at): (&TenantId, &Position)| (*tenant, folded(tenant).map_or(*at, Position));
        let stalled = self.0.stalled.lock().unwrap_or_else(PoisonError::into_inner).longest(late.iter().map(moving));
        metrics::gauge!("tenure_projector_stalled_seconds").set(stalled.as_secs_f64());
        // Who moved since the last sweep is being served by the feed, which may have a long way to go.
        let stands = |(tenant, at): &(&TenantId, &Position)| far.contains(tenant) || swept.behind.get(tenant) == Some(at);
        to_heal.extend(late.iter().filter(stands).map(|(tenant, _)| *tenant));
        for tenant in to_heal {
            if let Some(partition) = held.get(feed::partition(tenant)) {
                self.start_healing(tenant, partition);
            }
        }
        swept.behind = late;
        Ok(())
    }

    /// Says how many events wait to be applied.
    async fn count_lag(&self, heads: &[TenantHead], late: &HashMap<TenantId, Position>) -> anyhow::Result<()> {
        let late: Vec<(&TenantHead, Position)> = heads.iter().filter_map(|head| Some((head, *late.get(&head.tenant)?))).collect();
        let logs: Vec<_> = late.iter().map(|(head, at)| (head.tenant, *at)).collect();
        let applied = self.0.applier.store.counts_at(&logs).await?;
        let lag: u64 = late.iter().zip(applied).map(|((head, _), applied)| head.events.saturating_sub(applied)).sum();
        metrics::gauge!("tenure_projector_lag_events").set(lag as f64);
        Ok(())
    }

    /// The ends of all logs, and whose went back: what was seen of those is forgotten, and the read model is to be compared with the
    /// log. `known` was taken before, so that no log may be shorter.
    async fn heads(&self, known: &HashMap<TenantId, Position>) -> anyhow::Result<(Vec<TenantHead>, HashSet<TenantId>)> {
        let epoch: String = sqlx::query_scalar("select tag from platform.epoch").fetch_one(&self.0.applier.pool).await?;
        let heads = self.0.applier.store.heads().await?;
        let last = self.0.epoch.lock().unwrap_or_else(PoisonError::into_inner).replace(epoch.clone());
        if last.is_some_and(|last| last != epoch) {
            tracing::warn!(target: "audit", epoch, "the event store was restored; read models are made anew");
            self.known().clear();
        }
        let now: HashMap<TenantId, TenantHead> = heads.iter().map(|head| (head.tenant, *head)).collect();
        let before = std::mem::replace(&mut *self.0.heads.lock().unwrap_or_else(PoisonError::into_inner), now.clone());
        let is_shorter = |tenant: &TenantId, at: Position| now.get(tenant).is_none_or(|head| head.position < at);
        let changed = before.values().filter(|before| now.get(&before.tenant).is_none_or(|head| !head.may_follow(before.point())));
        let lost: HashSet<TenantId> = known
            .iter()
            .filter(|(tenant, at)| is_shorter(tenant, **at))
            .map(|(tenant, _)| *tenant)
            .chain(changed.map(|before| before.tenant))
            .collect();
        for tenant in &lost {
            metrics::counter!("tenure_history_lost_total", "what" => "log").increment(1);
            tracing::error!(target: "audit", %tenant, "ALERT: a tenant's log ends before where it ended, or with another event: the event store was put back, or is another one; see `tenure restored --help`");
            self.known().remove(tenant);
        }
        Ok((heads, lost))
    }

    /// Heals a tenant of a partition, unless that is going on already.
    fn start_healing(&self, tenant: TenantId, partition: &PartitionTask<()>) {
        if !self.failing().is_due(tenant) {
            return;
        }
        let mut healing = self.0.healing.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        healing.retain(|_, task| !task.is_finished());
        healing.entry(tenant).or_insert_with(|| {
            let (this, fence, cancel) = (self.clone(), partition.fence, partition.cancel.clone());
            self.0.healing.tasks.spawn(async move {
                if let Some(Ok(_place)) = cancel.run_until_cancelled(this.0.healing.places.acquire()).await {
                    cancel.run_until_cancelled(Box::pin(this.heal(tenant, fence, &cancel))).await;
                }
            })
        });
    }

    /// Brings a tenant's read model to the end of its log by what is sooner done.
    async fn heal(&self, tenant: TenantId, fence: i64, cancel: &CancellationToken) {
        let (scope, rebuilder) = (TenantScope::checked(tenant), &self.0.healing.rebuilder);
        if self.parked().contains_key(&tenant) {
            rebuilder.forgive(tenant);
        }
        loop {
            match rebuilder.run(scope).await {
                RebuildOutcome::Done => {}
                RebuildOutcome::Later => return,
                RebuildOutcome::Again => {
                    self.failing().failed(tenant, LONGEST_PAUSE);
                    return;
                }
                RebuildOutcome::Park(position, reason) => return self.park(tenant, position, "unprojectable", &reason).await,
            }
            tokio::select! {
                caught_up = self.catch_up(tenant, fence, cancel) => {
                    if let Err(error) = caught_up {
                        tracing::debug!(%error, "healing stopped");
                    }
                    return;
                }
                () = rebuilder.until_far_behind(scope) => {}
            }
        }
    }

    fn is_ready(&self, tenant: TenantId) -> bool {
        self.0.registry.by_id(tenant).is_some_and(|t| t.state != TenantState::Registered)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, Position>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failing(&self) -> std::sync::MutexGuard<'_, Backoff> {
        self.0.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parked(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, bool>> {
        self.0.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a failure passes by itself: a server is away, or too slow.
fn passes(error: &ApplyError) -> bool {
    match error {
        ApplyError::Database(error) => platform::problem::database_is_away(error),
        ApplyError::Store(error) => matches!(error, StoreError::Unavailable(_)),
        ApplyError::Keys(error) => matches!(error, KeyError::Unavailable(_)),
        ApplyError::Fenced { .. }
        | ApplyError::Unprojectable { .. }
        | ApplyError::Diverged { .. }
        | ApplyError::Damaged { .. }
        | ApplyError::NoReadModel => false,
    }
}

fn jetstream(error: impl std::fmt::Display) -> Interrupted {
    Interrupted::JetStream(error.to_string())
}

/// The event of a message and its predecessor's position, if message, subject and headers agree.
fn sequenced(message: &Message) -> Result<Sequenced, String> {
    let event = feed::decode(&message.subject, &message.payload).map_err(|e| e.to_string())?;
    let previous = message.headers.as_ref().and_then(|headers| headers.get(feed::PREVIOUS)).and_then(|value| value.as_str().parse().ok());
    let previous = Position(previous.ok_or("a message without its predecessor's position")?);
    if previous >= event.position {
        Err("a message before its predecessor".into())
    } else {
        Ok(Sequenced { previous, before: None, event })
    }
}

fn quarantined(reason: &str) {
    metrics::counter!("tenure_projector_quarantined_total").increment(1);
    tracing::error!(reason, "ALERT: a message of the feed was quarantined");
}

async fn acknowledge(message: &Message, kind: AckKind) {
    if let Err(error) = message.ack_with(kind).await {
        tracing::debug!(%error, "an acknowledgement was lost; the message comes again and is skipped");
    }
}
