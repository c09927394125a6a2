//! Leases on partitions: each has one owner, projectors share them fairly, and a dead one's are taken over.
//!
//! A lease's epoch grows with every change of owner and is the fence of what the owner writes, so an owner that was
//! stalled past its lease can't write over its successor.

use std::collections::BTreeMap;

use sqlx::PgPool;
use store::feed::PARTITIONS;
use uuid::Uuid;

/// How long a lease lasts without renewal.
const SECONDS: f64 = 5.0;

/// The leases of one projector.
pub struct Leases {
    pool: PgPool,
    owner: String,
    /// Where this projector's presence stands: a row below the partitions, so that others count it before it owns any.
    presence: i32,
    held: BTreeMap<u16, i64>,
}

impl Leases {
    /// No leases yet.
    pub fn new(pool: PgPool) -> Self {
        let id = Uuid::now_v7();
        // 2^30 places for a handful of projectors; a clash only makes two of them count as one for a moment.
        let presence = -1 - i32::try_from(id.as_u128() & 0x3fff_ffff).unwrap_or(0);
        Self { pool, owner: id.to_string(), presence, held: BTreeMap::new() }
    }

    /// Renews what is held, takes up to a fair share of what is free, gives back what is beyond it. What is held then:
    /// partition and fence.
    pub async fn renew(&mut self) -> Result<BTreeMap<u16, i64>, sqlx::Error> {
        sqlx::query(
            "insert into platform.partition_lease (partition, owner, epoch, expires_at) values ($1, $2, 0, now() + make_interval(secs => $3))
             on conflict (partition) do update set owner = excluded.owner, expires_at = excluded.expires_at",
        )
        .bind(self.presence)
        .bind(&self.owner)
        .bind(SECONDS)
        .execute(&self.pool)
        .await?;
        let renewed: Vec<(i32, i64)> = sqlx::query_as(
            "update platform.partition_lease set expires_at = now() + make_interval(secs => $2)
             where owner = $1 and partition >= 0 and expires_at > now() returning partition, epoch",
        )
        .bind(&self.owner)
        .bind(SECONDS)
        .fetch_all(&self.pool)
        .await?;
        self.held = renewed.into_iter().filter_map(|(partition, epoch)| Some((u16::try_from(partition).ok()?, epoch))).collect();

        let others: i64 =
            sqlx::query_scalar("select count(distinct owner) from platform.partition_lease where expires_at > now() and owner <> $1")
                .bind(&self.owner)
                .fetch_one(&self.pool)
                .await?;
        let share = usize::from(PARTITIONS).div_ceil(usize::try_from(others).unwrap_or(0) + 1);
        if self.held.len() > share {
            let surplus: Vec<u16> = self.held.keys().copied().skip(share).collect();
            self.give_back(&surplus).await?;
        } else if self.held.len() < share {
            self.take(share - self.held.len()).await?;
        }
        Ok(self.held.clone())
    }

    async fn take(&mut self, wanted: usize) -> Result<(), sqlx::Error> {
        let taken: Vec<(i32, i64)> = sqlx::query_as(
            "insert into platform.partition_lease as l (partition, owner, epoch, expires_at)
             select p, $1, 1, now() + make_interval(secs => $2) from generate_series(0, $3 - 1) p
             where not exists (select from platform.partition_lease o where o.partition = p and o.expires_at > now()) order by p limit $4
             on conflict (partition) do update set owner = excluded.owner, epoch = l.epoch + 1, expires_at = excluded.expires_at
             where l.expires_at <= now() returning partition, epoch",
        )
        .bind(&self.owner)
        .bind(SECONDS)
        .bind(i32::from(PARTITIONS))
        .bind(i64::try_from(wanted).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?;
        self.held.extend(taken.into_iter().filter_map(|(partition, epoch)| Some((u16::try_from(partition).ok()?, epoch))));
        Ok(())
    }

    async fn give_back(&mut self, partitions: &[u16]) -> Result<(), sqlx::Error> {
        let numbers: Vec<i32> = partitions.iter().map(|p| i32::from(*p)).collect();
        sqlx::query("update platform.partition_lease set expires_at = now() where owner = $1 and partition = any ($2)")
            .bind(&self.owner)
            .bind(&numbers)
            .execute(&self.pool)
            .await?;
        self.held.retain(|partition, _| !partitions.contains(partition));
        Ok(())
    }

    /// Gives everything back, so that another projector need not wait.
    pub async fn release(&mut self) -> Result<(), sqlx::Error> {
        let all: Vec<u16> = self.held.keys().copied().collect();
        self.give_back(&all).await?;
        sqlx::query("delete from platform.partition_lease where partition = $1 and owner = $2")
            .bind(self.presence)
            .bind(&self.owner)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
