//! What everybody projects: of each stream, how many events it has, and the reason that the last one gave. It is read as
//! `read_model (stream text, changes bigint)`, a table, or a view of what the store's own machinery keeps.

use std::collections::HashMap;

use sqlx::{Connection as _, PgConnection, PgPool};

/// The table, where the projection's author makes one.
pub const TABLE: &str = "create table read_model (stream text primary key, changes bigint not null, reason text not null)";
const CHECKPOINT: &str = "create table checkpoint (position bigint not null); insert into checkpoint values (0)";
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

/// A table and a checkpoint, for who follows the events by a loop of their own.
pub async fn create_with_checkpoint(url: &str) -> anyhow::Result<PgConnection> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(TABLE).execute(&mut connection).await?;
    sqlx::raw_sql(CHECKPOINT).execute(&mut connection).await?;
    Ok(connection)
}

/// Projects many events, up to this position, in a transaction.
pub async fn project_to(connection: &mut PgConnection, position: i64, streams: &[String], reasons: &[String]) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    project(&mut transaction, streams, reasons).await?;
    sqlx::query("update checkpoint set position = $1").bind(position).execute(&mut *transaction).await?;
    transaction.commit().await
}

/// Projects for as long as the program runs. That it ended is said; a row that is missing is noticed.
pub fn in_background(work: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(error) = work.await {
            eprintln!("the projection ended: {error:#}");
        }
    });
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
