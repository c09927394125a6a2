//! Connections that tenants come back to.
//!
//! PostgreSQL keeps for each connection what it knows of a table and how it would run a statement, and a tenant's tables are its
//! own: a connection that serves another tenant each time knows nothing, and with a thousand tenants that is most of a read.

use std::sync::Arc;

use events::TenantId;
use sqlx::{PgPool, Postgres, pool::PoolConnection};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{error::Elapsed, timeout},
};

use crate::database::{ACQUIRE, apart};

/// A bounded number of connections. A tenant gets the same one if it is free, else the next that is: none rests while somebody
/// waits, and who waits is served in order.
#[derive(Debug, Clone)]
pub struct TenantPool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// As many as there are connections.
    turns: Arc<Semaphore>,
    homes: Vec<Home>,
}

#[derive(Debug)]
struct Home {
    pool: PgPool,
    /// As many as the pool has connections.
    places: Arc<Semaphore>,
}

/// The right to a connection, for as long as it is held. The place is free before the turn: whoever has a turn finds a place.
#[derive(Debug)]
pub(crate) struct Place(
    #[expect(dead_code, reason = "held")] OwnedSemaphorePermit,
    #[expect(dead_code, reason = "held")] OwnedSemaphorePermit,
);

impl TenantPool {
    /// So many connections of its own to the pool's database.
    pub fn beside(pool: &PgPool, connections: u32) -> Self {
        Self::new((0..connections.max(1)).map(|_| apart(pool, 1)).collect())
    }
    /// The pool's connections, of which none is anybody's.
    pub fn shared(pool: PgPool) -> Self {
        Self::new(vec![pool])
    }
    fn new(pools: Vec<PgPool>) -> Self {
        let home = |pool: PgPool| {
            let connections = pool.options().get_max_connections();
            Home { pool, places: Arc::new(Semaphore::new(connections as usize)) }
        };
        let homes: Vec<Home> = pools.into_iter().map(home).collect();
        let all = homes.iter().map(|home| home.places.available_permits()).sum();
        Self(Arc::new(Inner { turns: Arc::new(Semaphore::new(all)), homes }))
    }

    /// The tenant's connection, or another; waits for one as long as a pool does.
    pub(crate) async fn acquire(&self, tenant: TenantId) -> Result<(PoolConnection<Postgres>, Place), sqlx::Error> {
        let (home, place) = timeout(ACQUIRE, self.place(tenant)).await.map_err(|_: Elapsed| sqlx::Error::PoolTimedOut)??;
        Ok((home.pool.acquire().await?, place))
    }

    async fn place(&self, tenant: TenantId) -> Result<(&Home, Place), sqlx::Error> {
        let turn = Arc::clone(&self.0.turns).acquire_owned().await.map_err(|_| sqlx::Error::PoolClosed)?;
        // Its last bits are random.
        let (first, homes) = (tenant.uuid().as_u64_pair().1 as usize, &self.0.homes);
        loop {
            for n in 0..homes.len() {
                let home = &homes[first.wrapping_add(n) % homes.len()];
                if let Ok(place) = Arc::clone(&home.places).try_acquire_owned() {
                    return Ok((home, Place(place, turn)));
                }
            }
            // One was free all the time, but not the same.
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(connections: u32) -> PgPool {
        crate::database::pool_options(connections).connect_lazy("postgres://nobody@127.0.0.1:1/nothing").unwrap()
    }
    fn tenant(n: u128) -> TenantId {
        TenantId::from_uuid(uuid::Uuid::from_u128(n))
    }
    fn index(tenants: &TenantPool, home: &Home) -> usize {
        tenants.0.homes.iter().position(|one| std::ptr::eq(one, home)).unwrap()
    }

    #[tokio::test]
    async fn a_tenant_comes_back_and_goes_elsewhere_only_while_its_place_is_taken() {
        let tenants = TenantPool::new(vec![pool(1), pool(1), pool(1)]);
        for n in 0..9 {
            let (home, _place) = tenants.place(tenant(n)).await.unwrap();
            assert_eq!(index(&tenants, home), usize::try_from(n).unwrap() % 3);
        }
        let (first, held) = tenants.place(tenant(4)).await.unwrap();
        let (second, _also) = tenants.place(tenant(4)).await.unwrap();
        assert_eq!((index(&tenants, first), index(&tenants, second)), (1, 2));
        drop(held);
        assert_eq!(index(&tenants, tenants.place(tenant(4)).await.unwrap().0), 1);
    }

    /// However many tenants want the same one, each place is used, and whoever waits gets the first that is free.
    #[tokio::test(flavor = "multi_thread")]
    async fn no_place_rests_while_somebody_waits() {
        let tenants = TenantPool::new(vec![pool(1), pool(2), pool(1)]);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(tenants.place(tenant(0)).await.unwrap());
        }
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(20), tenants.place(tenant(0))).await;
        assert!(waiting.is_err(), "a fifth of four");
        let (home, place) = held.pop().unwrap();
        let freed = index(&tenants, home);
        drop(place);
        assert_eq!(index(&tenants, tenants.place(tenant(0)).await.unwrap().0), freed);
        drop(held);
        let everybody = (0..64).map(|n| {
            let tenants = tenants.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    let _place = tenants.place(tenant(n)).await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        });
        for one in everybody.collect::<Vec<_>>() {
            one.await.unwrap();
        }
        assert_eq!(tenants.0.turns.available_permits(), 4);
    }
}
