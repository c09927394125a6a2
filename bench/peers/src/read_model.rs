//! What everybody projects: of each stream, how many events it has, and the reason that the last one gave. It is read as
//! `read_model (stream text, changes bigint)`, a table, or a view of what the store's own machinery keeps.

use std::collections::HashMap;

use sqlx::{PgConnection, PgPool};

/// The table, where the projection's author makes one.
pub const TABLE: &str = "create table read_model (stream text primary key, changes bigint not null, reason text not null)";
/// How far its author is, where they keep count of that themselves.
pub const CHECKPOINT: &str = "create table checkpoint (position bigint not null); insert into checkpoint values (0)";
/// One event: its stream and reason.
pub const ONE: &str = "insert into read_model values ($1, 1, $2)
    on conflict (stream) do update set changes = read_model.changes + 1, reason = excluded.reason";
/// Many events in their order, their streams and reasons as arrays.
const MANY: &str = "insert into read_model
    select stream, count(*), (array_agg(reason order by at desc))[1]
    from unnest($1::text[], $2::text[]) with ordinality as event (stream, reason, at) group by stream
    on conflict (stream) do update set changes = read_model.changes + excluded.changes, reason = excluded.reason";

/// Projects many events.
pub async fn project(connection: &mut PgConnection, streams: &[String], reasons: &[String]) -> Result<(), sqlx::Error> {
    sqlx::query(MANY).bind(streams).bind(reasons).execute(connection).await.map(drop)
}

/// Notes how far the projection is.
pub async fn reached(connection: &mut PgConnection, position: i64) -> Result<(), sqlx::Error> {
    sqlx::query("update checkpoint set position = $1").bind(position).execute(connection).await.map(drop)
}

/// How many events of these streams are in it.
pub async fn changes(rows: &PgPool, streams: &[String]) -> Result<HashMap<String, i64>, sqlx::Error> {
    let query = sqlx::query_as("select stream, changes from read_model where stream = any($1)").bind(streams);
    Ok(query.fetch_all(rows).await?.into_iter().collect())
}

/// How many events are in it.
pub async fn total(rows: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select coalesce(sum(changes), 0)::bigint from read_model").fetch_one(rows).await
}
