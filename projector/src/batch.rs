//! Rows in and out of PostgreSQL for a batch: one statement loads every touched key's rows, one writes what changed and
//! moves the checkpoint, however many keys and tables there are.

use std::{collections::BTreeSet, fmt::Write as _};

use events::Position;
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use crate::{
    fold::Key,
    headcount::HeadcountStep,
    rows::{Difference, Rows, TABLES, TableInfo},
    top,
};

/// Where a read model stands, and who wrote it last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last event folded.
    pub position: Position,
    /// The fence of its last writer.
    pub fence: i64,
}

/// The fence of a read model that a rebuilt one has replaced. Who waited for its lock meanwhile finds this, and knows that
/// the names lead to another read model by now. (Not a mark in the position: a query that began before the cut-over may
/// still read that.)
pub(crate) const REPLACED: i64 = i64::MAX;

/// Locks the checkpoint to the end of the transaction: appliers of one tenant wait for each other here.
pub(crate) async fn lock_checkpoint(conn: &mut PgConnection) -> Result<Checkpoint, sqlx::Error> {
    let (position, fence): (i64, i64) = sqlx::query_as("select position, fence from checkpoint for update").fetch_one(conn).await?;
    Ok(Checkpoint { position: Position(u64::try_from(position).map_err(|e| sqlx::Error::Decode(e.into()))?), fence })
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
        rows.push_json(row.try_get(0)?, row.try_get(1)?).map_err(|e| sqlx::Error::Decode(e.into()))?;
    }
    Ok(rows)
}

/// Rows of a table whose fold key is among the n-th argument's, as the table's name and JSON.
fn select(table: &TableInfo, n: usize) -> String {
    let column = |c: &&str| if table.as_text.contains(c) { format!("{c}::text as {c}") } else { (*c).to_owned() };
    let columns: Vec<String> = table.columns.iter().map(column).collect();
    let (name, key) = (table.name, table.fold_key);
    format!("select '{name}', row_to_json(r)::text from (select {} from {name} where {key} = any (${n})) r", columns.join(", "))
}

/// Writes what changed and moves the checkpoint.
pub(crate) async fn write(conn: &mut PgConnection, difference: &Difference, to: Position, fence: i64) -> Result<(), sqlx::Error> {
    let mut sql = String::new();
    let mut arguments = Vec::new();
    for change in difference.changes().map_err(|e| sqlx::Error::Encode(e.into()))? {
        for (rows, statement) in [(change.put, upsert as fn(&TableInfo, usize) -> String), (change.deleted, delete)] {
            let Some(rows) = rows else { continue };
            arguments.push(rows);
            // One `with` for all: tables don't meet each other, and within a table the rows put are not the rows deleted.
            let (n, start) = (arguments.len() + 2, if sql.is_empty() { "with" } else { "," });
            let _ = write!(sql, "{start} c{n} as ({}) ", statement(&change.table, n)); // a String takes all
        }
    }
    let steps = difference.steps.rows().map_err(|e| sqlx::Error::Encode(e.into()))?;
    if !steps.is_empty() {
        arguments.push(serde_json::to_string(&steps).map_err(|e| sqlx::Error::Encode(e.into()))?);
        let (n, start) = (arguments.len() + 2, if sql.is_empty() { "with" } else { "," });
        let _ = write!(sql, "{start} c{n} as ({}) ", add(n)); // a String takes all
    }
    sql.push_str("update checkpoint set position = $1, fence = $2");
    let to = i64::try_from(to.0).map_err(|e| sqlx::Error::Encode(e.into()))?;
    let mut query = sqlx::query(&sql).bind(to).bind(fence);
    for rows in &arguments {
        query = query.bind(rows);
    }
    query.execute(&mut *conn).await?;
    top::renew(conn, &difference.moved()).await
}

/// Adds to what headcount steps say.
fn add(n: usize) -> String {
    let TableInfo { name, columns, key, .. } = HeadcountStep::INFO;
    let (columns, key) = (columns.join(", "), key.join(", "));
    format!(
        "insert into {name} as s ({columns}) select {columns} from json_populate_recordset(null::{name}, ${n}::json)
         on conflict ({key}) do update set heads = s.heads + excluded.heads, annual = s.annual + excluded.annual"
    )
}

fn upsert(table: &TableInfo, n: usize) -> String {
    let (name, columns, key) = (table.name, table.columns.join(", "), table.key.join(", "));
    let set: Vec<String> = table.columns.iter().filter(|c| !table.key.contains(c)).map(|c| format!("{c} = excluded.{c}")).collect();
    format!(
        "insert into {name} ({columns}) select {columns} from json_populate_recordset(null::{name}, ${n}::json)
         on conflict ({key}) do update set {}",
        set.join(", ")
    )
}

fn delete(table: &TableInfo, n: usize) -> String {
    let same: Vec<String> = table.key.iter().map(|c| format!("t.{c} = r.{c}")).collect();
    format!("delete from {0} t using json_populate_recordset(null::{0}, ${n}::json) r where {1}", table.name, same.join(" and "))
}

/// Whether PostgreSQL refused the data itself, so that trying again can't help: a value out of range, a broken constraint,
/// a limit.
pub(crate) fn is_refusal_of_data(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| ["22", "23", "54"].iter().any(|class| code.starts_with(class)))
}

/// Whether a table is not there: the read schema was dropped.
pub(crate) fn is_missing(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "42P01")
}
