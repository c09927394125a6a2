//! Leases on partitions: each has one owner, processes of one kind share them fairly, and a dead one's are taken over.
//!
//! An owner changes its leases' heartbeat each second; who watches takes those whose heartbeat stands still ([`crate::heartbeat`]).
//! A lease's epoch grows with every change of owner and is the fence of what the owner writes, so an owner that was stalled past
//! its lease can't write over its successor.

use std::{
    collections::{BTreeMap, HashSet},
    io, mem,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{FromRow, PgPool};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    feed::PARTITIONS,
    heartbeat::{LEASE, Lease, Watched},
};

/// How long a lease is held that can't be renewed: an owner lets go before another one takes over.
const HELD_FOR: Duration = LEASE.saturating_sub(Duration::from_secs(1));

/// Whose leases: each kind of process has a table `partition_lease` in a schema of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseHolders {
    /// Those that project.
    Projectors,
    /// Those that react to events and announce what is due.
    Workers,
}

impl LeaseHolders {
    const fn schema(self) -> &'static str {
        match self {
            Self::Projectors => "platform",
            Self::Workers => "worker",
        }
    }
}

/// The leases of one process.
pub struct Leases {
    pool: PgPool,
    schema: &'static str,
    owner: String,
    /// Where this process's presence stands: a row below the partitions, so that others count it before it owns any.
    presence: i32,
    held: BTreeMap<u16, i64>,
    /// When the renewal of what is held was asked for.
    renewed: Instant,
    watched: Watched<i32>,
}

#[derive(FromRow)]
struct Row {
    partition: i32,
    #[sqlx(flatten)]
    lease: Lease,
}

impl Leases {
    /// No leases yet.
    pub fn new(pool: PgPool, holders: LeaseHolders) -> Self {
        let id = Uuid::now_v7();
        // 2^30 places for a handful of processes; a clash only makes two of them count as one for a moment.
        let presence = -1 - i32::try_from(id.as_u128() & 0x3fff_ffff).unwrap_or(0);
        let (held, renewed, watched) = (BTreeMap::new(), Instant::now(), Watched::default());
        Self { pool, schema: holders.schema(), owner: id.to_string(), presence, held, renewed, watched }
    }

    /// What is held, partition and fence: nothing once it could not be renewed for so long that another may have taken it.
    pub fn held(&self) -> BTreeMap<u16, i64> {
        if self.renewed.elapsed() < HELD_FOR { self.held.clone() } else { BTreeMap::new() }
    }

    /// Renews as [`Self::renew`] does, after raising the fences that were found to be too low.
    pub async fn renew_beyond(&mut self, outgrown: &Outgrown) -> Result<(), sqlx::Error> {
        for (partition, fence) in outgrown.take() {
            self.outgrow(partition, fence).await?;
        }
        self.renew().await
    }

    /// Renews what is held, takes up to a fair share of what is free, gives back what is beyond it.
    pub async fn renew(&mut self) -> Result<(), sqlx::Error> {
        let renew = tokio::time::timeout(HELD_FOR, self.renew_patiently());
        let no_answer = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {HELD_FOR:?}"));
        renew.await.unwrap_or_else(|_| Err(no_answer().into()))
    }

    async fn renew_patiently(&mut self) -> Result<(), sqlx::Error> {
        let schema = self.schema;
        let asked = Instant::now();
        sqlx::query(&format!(
            "insert into {schema}.partition_lease as l (partition, owner, epoch) values ($1, $2, 0)
             on conflict (partition) do update set owner = excluded.owner, heartbeat = l.heartbeat + 1"
        ))
        .bind(self.presence)
        .bind(&self.owner)
        .execute(&self.pool)
        .await?;
        let renewed: Vec<(i32, i64)> = sqlx::query_as(&format!(
            "update {schema}.partition_lease set heartbeat = heartbeat + 1 where owner = $1 and partition >= 0 returning partition, epoch"
        ))
        .bind(&self.owner)
        .fetch_all(&self.pool)
        .await?;
        self.held = renewed.into_iter().filter_map(|(partition, epoch)| Some((u16::try_from(partition).ok()?, epoch))).collect();
        self.renewed = asked;

        let asked = Instant::now();
        let rows: Vec<Row> = sqlx::query_as(&format!("select partition, owner, epoch, heartbeat from {schema}.partition_lease"))
            .fetch_all(&self.pool)
            .await?;
        let free = self.watched.free(rows.iter().map(|row| (row.partition, row.lease.clone())), asked);
        let not_free = |row: &&Row| free.iter().all(|(partition, _)| *partition != row.partition);
        let alive: HashSet<&str> = rows.iter().filter(not_free).filter_map(|row| row.lease.owner.as_deref()).collect();
        let others = alive.into_iter().filter(|owner| *owner != self.owner).count();
        let share = usize::from(PARTITIONS).div_ceil(others + 1);
        if self.held.len() > share {
            let surplus: Vec<u16> = self.held.keys().copied().skip(share).collect();
            self.give_back(&surplus).await?;
        } else if self.held.len() < share {
            self.take(share - self.held.len(), &rows, free).await?;
        }
        Ok(())
    }

    /// Takes partitions that have no lease yet or a free one, and removes what is left of dead processes.
    async fn take(&mut self, wanted: usize, rows: &[Row], free: Vec<(i32, Lease)>) -> Result<(), sqlx::Error> {
        let new = (0..i32::from(PARTITIONS)).filter(|partition| rows.iter().all(|row| row.partition != *partition));
        let new = new.map(|partition| (partition, Lease { owner: None, epoch: 0, heartbeat: 0 }));
        let (mut free, dead): (Vec<_>, Vec<_>) = free.into_iter().chain(new).partition(|(partition, _)| *partition >= 0);
        free.sort_by_key(|(partition, _)| *partition);
        free.truncate(wanted);
        if free.is_empty() && dead.is_empty() {
            return Ok(());
        }
        let (mut partitions, mut owners, mut epochs, mut heartbeats) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (partition, Lease { owner, epoch, heartbeat }) in free.into_iter().chain(dead) {
            partitions.push(partition);
            owners.push(owner);
            epochs.push(epoch);
            heartbeats.push(heartbeat);
        }
        let schema = self.schema;
        let taken: Vec<(i32, i64)> = sqlx::query_as(&format!(
            "with seen as (select * from unnest($2::int[], $3::text[], $4::bigint[], $5::bigint[]) seen (partition, owner, epoch, heartbeat)),
                 gone as (delete from {schema}.partition_lease l using seen
                     where l.partition < 0 and l.partition = seen.partition and l.owner = seen.owner and l.heartbeat = seen.heartbeat)
             insert into {schema}.partition_lease as l (partition, owner, epoch) select partition, $1, 1 from seen where partition >= 0
             on conflict (partition) do update set owner = excluded.owner, epoch = l.epoch + 1, heartbeat = l.heartbeat + 1
             where exists (select from unnest($2::int[], $3::text[], $4::bigint[], $5::bigint[]) seen (partition, owner, epoch, heartbeat)
                 where seen.partition = l.partition and seen.owner is not distinct from l.owner
                     and seen.epoch = l.epoch and seen.heartbeat = l.heartbeat)
             returning partition, epoch"
        ))
        .bind(&self.owner)
        .bind(partitions)
        .bind(owners)
        .bind(epochs)
        .bind(heartbeats)
        .fetch_all(&self.pool)
        .await?;
        self.held.extend(taken.into_iter().filter_map(|(partition, epoch)| Some((u16::try_from(partition).ok()?, epoch))));
        Ok(())
    }

    /// Raises the fence of a partition above one that a tenant's rows were last written with. Whoever holds the lease is its owner;
    /// a higher fence is that of a lease that was lost, or of a successor, and then this changes nothing.
    async fn outgrow(&self, partition: u16, fence: i64) -> Result<(), sqlx::Error> {
        let schema = self.schema;
        sqlx::query(&format!("update {schema}.partition_lease set epoch = $3 + 1 where partition = $2 and owner = $1 and epoch <= $3"))
            .bind(&self.owner)
            .bind(i32::from(partition))
            .bind(fence)
            .execute(&self.pool)
            .await
            .map(|_| ())
    }

    async fn give_back(&mut self, partitions: &[u16]) -> Result<(), sqlx::Error> {
        let schema = self.schema;
        let numbers: Vec<i32> = partitions.iter().map(|p| i32::from(*p)).collect();
        sqlx::query(&format!("update {schema}.partition_lease set owner = null where owner = $1 and partition = any ($2)"))
            .bind(&self.owner)
            .bind(&numbers)
            .execute(&self.pool)
            .await?;
        self.held.retain(|partition, _| !partitions.contains(partition));
        Ok(())
    }

    /// Gives everything back, so that another process need not wait.
    pub async fn release(&mut self) -> Result<(), sqlx::Error> {
        let all: Vec<u16> = self.held.keys().copied().collect();
        self.give_back(&all).await?;
        let schema = self.schema;
        sqlx::query(&format!("delete from {schema}.partition_lease where partition = $1 and owner = $2"))
            .bind(self.presence)
            .bind(&self.owner)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

/// Fences that were found to be too low, by partition: that a row was written with a higher one says that its lease was lost since,
/// or has a new owner, and only the lease's row tells which.
#[derive(Debug, Default)]
pub struct Outgrown(Mutex<BTreeMap<u16, i64>>);

impl Outgrown {
    /// Takes note of a fence that something of a partition was written with.
    pub fn note(&self, partition: u16, theirs: i64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fence = all.entry(partition).or_default();
        *fence = theirs.max(*fence);
    }

    fn take(&self) -> BTreeMap<u16, i64> {
        mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The work on a partition that this process holds.
#[derive(Debug)]
pub struct PartitionTask<H> {
    /// The fence of its lease.
    pub fence: i64,
    /// Ends it.
    pub cancel: CancellationToken,
    /// By what it is reached.
    pub handle: H,
    task: JoinHandle<()>,
}

/// The work on all partitions that this process holds: a task for each.
#[derive(Debug)]
pub struct PartitionTasks<H>(BTreeMap<u16, PartitionTask<H>>);

impl<H> Default for PartitionTasks<H> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<H> PartitionTasks<H> {
    /// Starts and ends tasks so that they are those of what is held, by partition and fence. Waits for those that it ends.
    pub async fn adjust(&mut self, held: &BTreeMap<u16, i64>, start: impl Fn(u16, i64, CancellationToken) -> (JoinHandle<()>, H)) {
        let is_held = |partition: &u16, one: &PartitionTask<H>| held.get(partition) == Some(&one.fence) && !one.task.is_finished();
        let gone: Vec<u16> = self.0.iter().filter(|(partition, one)| !is_held(partition, one)).map(|(partition, _)| *partition).collect();
        end(gone.into_iter().filter_map(|partition| self.0.remove(&partition)).collect()).await;
        for (partition, fence) in held {
            self.0.entry(*partition).or_insert_with(|| {
                let cancel = CancellationToken::new();
                let (task, handle) = start(*partition, *fence, cancel.clone());
                PartitionTask { fence: *fence, cancel, handle, task }
            });
        }
    }

    /// Ends all of them.
    pub async fn end(&mut self) {
        end(mem::take(&mut self.0).into_values().collect()).await;
    }

    /// The work on a partition, if it is held.
    pub fn get(&self, partition: u16) -> Option<&PartitionTask<H>> {
        self.0.get(&partition)
    }

    /// Whether a partition is held.
    pub fn contains(&self, partition: u16) -> bool {
        self.0.contains_key(&partition)
    }
}

async fn end<H>(tasks: Vec<PartitionTask<H>>) {
    for one in &tasks {
        one.cancel.cancel();
    }
    for one in tasks {
        let _ = one.task.await; // A panic was logged by the runtime; the partition starts anew.
    }
}
