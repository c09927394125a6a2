//! Rows in and out of PostgreSQL for a batch: one statement loads every touched key's rows, one writes what changed and
//! moves the checkpoint, however many keys and tables there are.

use std::collections::BTreeSet;

use events::{EventId, EventMark, LogPoint, Position};
use jiff::Timestamp;
use sqlx::{Arguments as _, PgConnection, Row as _, postgres::PgArguments};
use uuid::Uuid;

use crate::{
    binary::Column,
    fold::Key,
    headcount::HeadcountStep,
    rows::{Difference, Rows, TABLES, TableChange, TableInfo},
    top,
};

/// Where a read model stands, and who wrote it last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last event folded.
    pub point: LogPoint,
    /// The fence of its last writer.
    pub fence: i64,
}

/// The fence of a read model that a rebuilt one has replaced. Who waited for its lock meanwhile finds this, and knows that
/// the names lead to another read model by now. (Not a mark in the position: a query that began before the cut-over may
/// still read that.)
pub(crate) const REPLACED: i64 = i64::MAX;

/// Locks the checkpoint to the end of the transaction: appliers of one tenant wait for each other here.
pub(crate) async fn lock_checkpoint(conn: &mut PgConnection) -> Result<Checkpoint, sqlx::Error> {
    checkpoint(conn, "select position, event_id, recorded_at, fence from checkpoint for update").await
}

/// The checkpoint as it stands.
pub(crate) async fn read_checkpoint(conn: &mut PgConnection) -> Result<Checkpoint, sqlx::Error> {
    checkpoint(conn, "select position, event_id, recorded_at, fence from checkpoint").await
}

async fn checkpoint(conn: &mut PgConnection, sql: &str) -> Result<Checkpoint, sqlx::Error> {
    let (position, id, recorded_at, fence): (i64, Option<Uuid>, Option<i64>, i64) = sqlx::query_as(sql).fetch_one(conn).await?;
    let position = Position(u64::try_from(position).map_err(|e| sqlx::Error::Decode(e.into()))?);
    let recorded_at = recorded_at.map(Timestamp::from_microsecond).transpose().map_err(|e| sqlx::Error::Decode(e.into()))?;
    let mark = id.zip(recorded_at).map(|(id, recorded_at)| EventMark { id: EventId::from_uuid(id), recorded_at });
    Ok(Checkpoint { point: LogPoint { position, mark }, fence })
}

/// The statement that moves the checkpoint.
pub(crate) fn move_checkpoint(to: LogPoint, fence: i64) -> String {
    let mark = to
        .mark
        .map_or_else(|| "null, null".to_owned(), |mark| format!("'{}'::uuid, {}", mark.id.uuid(), mark.recorded_at.as_microsecond()));
    format!("update checkpoint set (event_id, recorded_at) = row({mark}), position = {}, fence = {fence}", to.position.0)
}

/// The rows of these keys.
pub(crate) async fn load(conn: &mut PgConnection, keys: &BTreeSet<Key>) -> Result<Rows, sqlx::Error> {
    let mut kinds: [(&str, Vec<Uuid>); 4] = ["department_id", "location_id", "job_id", "employee_id"].map(|kind| (kind, Vec::new()));
    for key in keys {
        let (kind, id) = match key {
            Key::Department(id) => (0, id),
            Key::Location(id) => (1, id),
            Key::Job(id) => (2, id),
            Key::Person(id) => (3, id),
        };
        kinds[kind].1.push(*id);
    }
    let mut arms = Vec::new();
    let touched: Vec<_> = kinds.into_iter().filter(|(_, ids)| !ids.is_empty()).collect();
    for (n, (kind, _)) in (1..).zip(&touched) {
        arms.extend(TABLES.iter().filter(|table| table.fold_key == *kind).map(|table| select(table, n)));
    }
    let mut rows = Rows::default();
    if arms.is_empty() {
        return Ok(rows);
    }
    let sql = arms.join(" union all ");
    let mut query = sqlx::query(&sql);
    for (_, ids) in touched {
        query = query.bind(ids);
    }
    for row in query.fetch_all(conn).await? {
        rows.push(row.try_get(0)?, row.try_get(1)?).map_err(|e| sqlx::Error::Decode(e.into()))?;
    }
    Ok(rows)
}

/// Rows of a table whose fold key is among the n-th argument's, as the table's name and the row in binary.
fn select(table: &TableInfo, n: usize) -> String {
    let (name, columns, key) = (table.name, table.columns.join(", "), table.fold_key);
    format!("select '{name}', record_send(r) from (select {columns} from {name} where {key} = any (${n})) r")
}

/// Writes what changed and moves the checkpoint.
pub(crate) async fn write(conn: &mut PgConnection, difference: &Difference, to: LogPoint, fence: i64) -> Result<(), sqlx::Error> {
    let mut parts = Vec::new();
    let mut arguments = PgArguments::default();
    let mut part = |columns: Vec<Column>, statement: &dyn Fn(&str) -> String| {
        if columns.is_empty() {
            return Ok(());
        }
        let mut numbers = Vec::new();
        for column in columns {
            arguments.add(column)?;
            numbers.push(format!("${}", arguments.len()));
        }
        // One `with` for all: tables don't meet each other, and within a table no row is in two parts.
        parts.push(format!("c{} as ({})", parts.len(), statement(&numbers.join(", "))));
        Ok(())
    };
    for TableChange { table, added, changed, deleted } in difference.changes() {
        part(added, &|columns| insert(&table, columns)).map_err(sqlx::Error::Encode)?;
        part(changed, &|columns| update(&table, columns)).map_err(sqlx::Error::Encode)?;
        part(deleted, &|columns| delete(&table, columns)).map_err(sqlx::Error::Encode)?;
    }
    let steps = difference.steps.rows().map_err(|e| sqlx::Error::Encode(e.into()))?;
    part(HeadcountStep::columns(&steps), &add).map_err(sqlx::Error::Encode)?;
    let position = i64::try_from(to.position.0).map_err(|e| sqlx::Error::Encode(e.into()))?;
    let recorded_at = to.mark.map(|mark| mark.recorded_at.as_microsecond());
    let mut add = |value| arguments.add(value);
    add(Some(position)).and_then(|()| add(recorded_at)).and_then(|()| add(Some(fence))).map_err(sqlx::Error::Encode)?;
    arguments.add(to.mark.map(|mark| mark.id.uuid())).map_err(sqlx::Error::Encode)?;
    let (with, last) = (if parts.is_empty() { "" } else { "with " }, arguments.len());
    let [position, recorded_at, fence] = [3, 2, 1].map(|n| last - n);
    let checkpoint =
        format!("update checkpoint set position = ${position}, recorded_at = ${recorded_at}, fence = ${fence}, event_id = ${last}");
    let sql = format!("{with}{} {checkpoint}", parts.join(", "));
    sqlx::query_with(&sql, arguments).execute(&mut *conn).await?;
    top::renew(conn, &difference.moved()).await
}

/// Inserts rows of a table from arguments, one per column.
fn insert(table: &TableInfo, arguments: &str) -> String {
    let (name, columns) = (table.name, table.columns.join(", "));
    let values: Vec<_> = table.columns.iter().zip(table.casts).map(|(column, cast)| format!("r.{column}{cast}")).collect();
    format!("insert into {name} as t ({columns}) select {} from unnest({arguments}) r ({columns})", values.join(", "))
}

/// Adds to what headcount steps say.
fn add(arguments: &str) -> String {
    let (rows, key) = (insert(&HeadcountStep::INFO, arguments), HeadcountStep::INFO.key.join(", "));
    format!("{rows} on conflict ({key}) do update set heads = t.heads + excluded.heads, annual = t.annual + excluded.annual")
}

fn update(table: &TableInfo, arguments: &str) -> String {
    let (name, columns) = (table.name, table.columns.join(", "));
    let set = table.columns.iter().zip(table.casts).filter(|(column, _)| !table.key.contains(column));
    let set: Vec<String> = set.map(|(column, cast)| format!("{column} = r.{column}{cast}")).collect();
    format!("update {name} t set {} from unnest({arguments}) r ({columns}) where {}", set.join(", "), same_key(table))
}

fn delete(table: &TableInfo, arguments: &str) -> String {
    format!("delete from {} t using unnest({arguments}) r ({}) where {}", table.name, table.key.join(", "), same_key(table))
}

fn same_key(table: &TableInfo) -> String {
    let same: Vec<String> = table.key.iter().map(|c| format!("t.{c} = r.{c}")).collect();
    same.join(" and ")
}

/// Whether PostgreSQL refused the data itself, so that trying again can't help: a value out of range, a broken constraint,
/// a limit.
pub(crate) fn is_refusal_of_data(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
}

/// Whether the checkpoint's table is not there: the read schema was dropped.
pub(crate) fn is_missing(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "42P01")
}

/// Whether a table, a column, a key or an index of the read model is not there or does not work.
pub(crate) fn is_damage(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    // Rights (42501) are the role's, and a rebuilt read model would have the same.
    let is_damage = |code: &str| code.starts_with("42") && code != "42501" || ["XX001", "XX002"].contains(&code);
    matches!(error, sqlx::Error::RowNotFound) || code.is_some_and(|code| is_damage(&code))
}
