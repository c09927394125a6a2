//! Rows in and out of PostgreSQL for a batch: one statement loads every touched key's rows, one writes what changed and
//! moves the checkpoint, however many keys and tables there are.

use events::{EventId, EventMark, LogPoint, Position};
use jiff::Timestamp;
use sqlx::{Arguments as _, Executor as _, PgConnection, Row as _, postgres::PgArguments};
use uuid::Uuid;

use crate::{
    binary::Column,
    derived::{DerivedTables as _, Renewal},
    fold::CannotFold,
    projection::{Projection, Selection},
    table::{TableChange, TableInfo},
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

/// What turns the rows of some keys into others.
pub struct Difference<P: Projection> {
    changes: Vec<TableChange>,
    derived: P::Derived,
}

impl<P: Projection> Difference<P> {
    /// From rows to those that the model makes of their keys.
    pub fn between(before: P::Before, model: &P::Model) -> Result<Self, CannotFold> {
        let mut changes = Vec::new();
        changes.resize_with(P::TABLES, TableChange::default);
        let mut derived = P::Derived::default();
        P::difference(before, model, &mut changes, &mut derived)?;
        Ok(Self { changes, derived })
    }

    /// With their tables.
    pub(crate) fn changes(self) -> impl Iterator<Item = (TableInfo, TableChange)> {
        tables::<P>().into_iter().zip(self.changes)
    }
}

/// The tables that a projection folds.
pub fn tables<P: Projection>() -> Vec<TableInfo> {
    let mut tables = Vec::with_capacity(P::TABLES);
    P::tables(&mut tables);
    tables
}

/// Loads the rows of the keys that are touched. How many there are.
pub async fn load<P: Projection>(conn: &mut PgConnection, before: &mut P::Before) -> Result<usize, sqlx::Error> {
    let mut selection = Selection::default();
    P::select(before, 0, &mut selection);
    if selection.arms.is_empty() {
        return Ok(0);
    }
    let sql = selection.arms.join(" union all ");
    let mut query = sqlx::query(&sql);
    for parameter in selection.parameters {
        query = query.bind(parameter);
    }
    let rows = query.fetch_all(conn).await?;
    for row in &rows {
        let table = usize::try_from(row.try_get::<i32, _>(0)?).map_err(|e| sqlx::Error::Decode(e.into()))?;
        P::read(before, table, row.try_get(1)?).map_err(|e| sqlx::Error::Decode(e.into()))?;
    }
    Ok(rows.len())
}

/// Writes what changed and moves the checkpoint.
pub(crate) async fn write<P: Projection>(
    conn: &mut PgConnection,
    difference: Difference<P>,
    to: LogPoint,
    fence: i64,
) -> Result<(), sqlx::Error> {
    let mut renewals = Vec::new();
    difference.derived.renewals(&mut renewals).map_err(|e| sqlx::Error::Encode(e.into()))?;
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
    for (table, change) in difference.changes() {
        part(change.added, &|columns| insert(&table, columns)).map_err(sqlx::Error::Encode)?;
        part(change.changed, &|columns| update(&table, columns)).map_err(sqlx::Error::Encode)?;
        part(change.deleted, &|columns| delete(&table, columns)).map_err(sqlx::Error::Encode)?;
    }
    let mut afterwards = Vec::new();
    for (table, renewal) in renewals {
        match renewal {
            Renewal::Add { rows, sums } => part(rows, &|columns| add(&table, sums, columns)).map_err(sqlx::Error::Encode)?,
            Renewal::Run(sql) => afterwards.push(sql),
        }
    }
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
    for sql in afterwards.into_iter().filter(|sql| !sql.is_empty()) {
        conn.execute(sql.as_str()).await?;
    }
    Ok(())
}

/// Inserts rows of a table from arguments, one per column.
fn insert(table: &TableInfo, arguments: &str) -> String {
    let (name, columns) = (table.name, table.columns.join(", "));
    let values: Vec<_> = table.columns.iter().zip(table.casts).map(|(column, cast)| format!("r.{column}{cast}")).collect();
    format!("insert into {name} as t ({columns}) select {} from unnest({arguments}) r ({columns})", values.join(", "))
}

/// Adds to the sums of rows that are there, and inserts those that are not.
fn add(table: &TableInfo, sums: &[&str], arguments: &str) -> String {
    let (rows, key) = (insert(table, arguments), table.key.join(", "));
    let sums: Vec<_> = sums.iter().map(|sum| format!("{sum} = t.{sum} + excluded.{sum}")).collect();
    format!("{rows} on conflict ({key}) do update set {}", sums.join(", "))
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
