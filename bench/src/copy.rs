//! Rows of `event_store.event` by binary COPY: as a limit to compare with, and to fill a store faster than through its door.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use sqlx::{Connection as _, PgConnection, PgPool, postgres::PgConnectOptions};
use uuid::Uuid;

/// What differs from row to row; the other columns have one value for all.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// The tenant.
    pub tenant: Uuid,
    /// Its position in the tenant's log.
    pub position: u64,
    /// The stream's category.
    pub category: &'a str,
    /// The stream.
    pub stream: Uuid,
    /// The version in it.
    pub version: u64,
    /// The event's id.
    pub id: Uuid,
    /// Its type.
    pub event_type: &'a str,
    /// Its type's version.
    pub schema_version: u16,
    /// Its data.
    pub data: &'a str,
    /// The command it came from.
    pub command: Uuid,
}

/// A user's id, as `actor` has it.
pub const ACTOR: &str = "0190a7b2-6c3e-7def-8000-0123456789ab";
/// A trace.
pub const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Bytes of one message.
const MESSAGE: usize = 64 * 1024;

/// Rows in PostgreSQL's binary COPY format.
#[derive(Debug)]
pub struct CopyRows(Vec<u8>);

impl Default for CopyRows {
    fn default() -> Self {
        Self(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec())
    }
}

impl CopyRows {
    /// Adds one.
    pub fn push(&mut self, row: &Row) {
        let micros = jiff::Timestamp::now().as_microsecond() - 946_684_800_000_000; // since 2000
        let id = |id: Uuid| id.into_bytes();
        self.0.extend_from_slice(&16_i16.to_be_bytes());
        for field in [
            Some(&id(row.tenant)[..]),
            Some(&row.position.to_be_bytes()),
            Some(row.category.as_bytes()),
            Some(&id(row.stream)),
            Some(&row.version.to_be_bytes()),
            Some(&id(row.id)),
            Some(row.event_type.as_bytes()),
            Some(&row.schema_version.to_be_bytes()),
            Some(row.data.as_bytes()),
            Some(ACTOR.as_bytes()),
            Some(&id(row.command)),
            Some(&id(row.command)),
            Some(&id(row.command)),
            None,
            Some(TRACEPARENT.as_bytes()),
            Some(&micros.to_be_bytes()),
        ] {
            let length = field.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap_or(i32::MAX));
            self.0.extend_from_slice(&length.to_be_bytes());
            self.0.extend_from_slice(field.unwrap_or_default());
        }
    }
    /// Writes them in one transaction.
    pub async fn copy(mut self, connection: &mut PgConnection, table: &str) -> anyhow::Result<()> {
        self.0.extend_from_slice(&(-1_i16).to_be_bytes());
        let mut copy = connection.copy_in_raw(&format!("copy {table} from stdin (format binary)")).await?;
        for message in self.0.chunks(MESSAGE) {
            copy.send(message).await?;
        }
        copy.finish().await?;
        Ok(())
    }
}

/// Fills the store behind its back: what `rows` makes of each part, on a few connections of the superuser, and then the heads.
pub async fn fill<P>(database: &PgConnectOptions, parts: Vec<P>, rows: impl AsyncFn(P) -> anyhow::Result<CopyRows>) -> anyhow::Result<()> {
    copy(database, parts, rows).await?;
    settle(database).await
}

/// The rows of a fill, without what follows them.
pub async fn copy<P>(database: &PgConnectOptions, parts: Vec<P>, rows: impl AsyncFn(P) -> anyhow::Result<CopyRows>) -> anyhow::Result<()> {
    let rows = &rows;
    stream::iter(parts)
        .map(|part| async move {
            let mut connection = PgConnection::connect_with(database).await?;
            rows(part).await?.copy(&mut connection, "event_store.event").await?;
            connection.close().await?;
            anyhow::Ok(())
        })
        .buffer_unordered(crate::cores())
        .try_collect::<Vec<()>>()
        .await?;
    Ok(())
}

/// The heads of what was copied, and what autovacuum would have done by then.
pub async fn settle(database: &PgConnectOptions) -> anyhow::Result<()> {
    let owner = PgPool::connect_with(database.clone()).await?;
    sqlx::query(
        "insert into event_store.tenant_head select tenant_id, max(position) from event_store.event group by tenant_id
         on conflict (tenant_id) do update set position = excluded.position",
    )
    .execute(&owner)
    .await?;
    sqlx::query("vacuum analyze event_store.event").execute(&owner).await?;
    owner.close().await;
    Ok(())
}
