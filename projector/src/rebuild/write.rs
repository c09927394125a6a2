//! What a rebuild writes: COPY beside the folding, then keys, indexes, what SQL works out, and the checkpoint.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    sync::{Mutex, PoisonError},
    task::Poll,
};

use events::{LogPoint, TenantScope};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use platform::{Access, TenantTx, provision::ReadModelSql};
use sqlx::{Executor as _, PgPool};
use tokio::sync::mpsc;

use super::{CHUNK, LONG_PATIENCE, PATIENCE, RebuildError};
use crate::{
    apply::{Applier, ApplyError, within},
    batch::{move_checkpoint, tables},
    binary::{COPY_HEADER, COPY_TRAILER},
    digest::derived,
    projection::{Part, Projection},
    table::TableInfo,
};

/// Connections that write at the same time.
const WRITERS: u32 = 4;

/// Rows by table.
pub(super) type Written = BTreeMap<&'static str, u64>;

/// Writes what comes, by COPY on a few connections. Nobody reads the schema yet, so each chunk may have its own transaction.
/// None of this is a task of its own: where a rebuild ends, nothing of it goes on writing. Returns the events, and what was written.
pub(super) async fn write<P: Projection>(
    pool: &PgPool,
    scope: TenantScope,
    schema: &str,
    parts: mpsc::Receiver<Part>,
    progress: impl Fn(u64) + Send,
) -> Result<(u64, Written), RebuildError> {
    let tables = tables::<P>();
    let (mut events, written) = (0, tables.iter().map(|table| (table.name, 0)).collect::<Written>());
    let mut filling = vec![Vec::new(); tables.len()];
    let mut full = VecDeque::new();
    let mut parts = Some(parts);
    let chunks = stream::poll_fn(|context| {
        loop {
            if let Some(chunk) = full.pop_front() {
                return Poll::Ready(Some(Ok::<_, RebuildError>(chunk)));
            }
            let Some(receiver) = &mut parts else { return Poll::Ready(None) };
            let part = std::task::ready!(receiver.poll_recv(context));
            let most = if part.is_some() { CHUNK } else { 1 };
            if let Some(part) = part {
                events += part.events;
                filling.iter_mut().zip(part.tables).for_each(|(table, data)| table.extend_from_slice(&data));
                progress(events);
            } else {
                parts = None;
            }
            let ready = tables.iter().zip(&mut filling).filter(|(_, data)| data.len() >= most);
            full.extend(ready.map(|(table, data)| (table, mem::take(data))));
        }
    });
    let written = Mutex::new(written);
    chunks
        .try_for_each_concurrent(writers(pool), |(table, data)| {
            let written = &written;
            async move {
                let rows = within(LONG_PATIENCE, async { Ok(copy_table(pool, scope, schema, table, &data).await?) }).await?;
                *written.lock().unwrap_or_else(PoisonError::into_inner).entry(table.name).or_default() += rows;
                Ok(())
            }
        })
        .await?;
    Ok((events, written.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

/// How many connections may be used beside each other.
fn writers(pool: &PgPool) -> usize {
    pool.options().get_max_connections().clamp(1, WRITERS) as usize
}

pub(super) async fn copy_table(
    pool: &PgPool,
    scope: TenantScope,
    schema: &str,
    table: &TableInfo,
    data: &[u8],
) -> Result<u64, sqlx::Error> {
    let mut tx = begin_unwaited(pool, scope, schema).await?;
    let sql = format!("copy {} ({}) from stdin (format binary)", table.name, table.columns.join(", "));
    let mut sink = tx.conn().copy_in_raw(&sql).await?;
    sink.send(COPY_HEADER).await?;
    for piece in data.chunks(1 << 20) {
        sink.send(piece).await?;
    }
    sink.send(COPY_TRAILER).await?;
    let rows = sink.finish().await?;
    tx.commit().await?;
    Ok(rows)
}

/// A transaction that does not wait for the disk: that is done once, by [`index`].
async fn begin_unwaited(pool: &PgPool, scope: TenantScope, schema: &str) -> Result<TenantTx, sqlx::Error> {
    let mut tx = TenantTx::begin(pool, scope, schema, Access::Write).await?;
    tx.conn().execute("set local synchronous_commit = off; set local maintenance_work_mem = '128MB'").await?;
    Ok(tx)
}

/// Keys, indexes, what SQL works out from other rows, statistics, and the checkpoint. The rows added, by table.
pub(super) async fn index<P: Projection>(
    applier: &Applier<P>,
    scope: TenantScope,
    schema: &str,
    point: LogPoint,
) -> Result<Written, RebuildError> {
    let pool = &applier.pool;
    // A transaction per chain. A statement that fills a table from others waits until the chains of those are done.
    let run = |chain: Vec<Step>| async move {
        let mut tx = within(PATIENCE, async { Ok(begin_unwaited(pool, scope, schema).await?) }).await?;
        let mut rows = Written::new();
        for Step { sql, fills } in chain {
            let affected = within(LONG_PATIENCE, async { Ok(tx.conn().execute(sql.as_str()).await?.rows_affected()) }).await?;
            rows.extend(fills.map(|table| (table, affected)));
        }
        within(PATIENCE, async { Ok(tx.commit().await?) }).await?;
        Ok::<_, ApplyError>(rows)
    };
    let chains = stream::iter(index_chains::<P>(&applier.sql).into_iter().map(run));
    let added = chains.buffer_unordered(writers(pool)).try_concat().await?;
    // This one waits until it is on the disk, and all before it with it.
    let mut tx = TenantTx::begin(pool, scope, schema, Access::Write).await?;
    let checkpoint = move_checkpoint(point, 0);
    within(PATIENCE, async { Ok(tx.conn().execute(checkpoint.as_str()).await?) }).await?;
    within(PATIENCE, async { Ok(tx.commit().await?) }).await?;
    Ok(added)
}

/// Counts the rows that are there now that they are on the disk. A server that died and came back while it was written to has
/// lost transactions that did not wait for the disk, and nobody else would have noticed.
pub(super) async fn check_rows(pool: &PgPool, scope: TenantScope, schema: &str, written: &Written) -> Result<(), RebuildError> {
    let count = |(table, written): (&'static str, u64)| async move {
        let counting = async {
            let mut tx = TenantTx::begin(pool, scope, schema, Access::Write).await?;
            tx.conn().execute("set local enable_seqscan = on").await?;
            let rows: i64 = sqlx::query_scalar(&format!("select count(*) from {table}")).fetch_one(tx.conn()).await?;
            tx.rollback().await?;
            Ok(rows.cast_unsigned())
        };
        let rows = within(LONG_PATIENCE, counting).await?;
        if rows == written {
            Ok(())
        } else {
            Err(anyhow::anyhow!("{rows} rows are in {table}, but {written} were written; begin again").into())
        }
    };
    let counts: Vec<_> = written.iter().map(|(table, written)| count((*table, *written))).collect();
    stream::iter(counts).buffer_unordered(writers(pool)).try_collect().await
}

/// The tables that a rebuild writes, but for the checkpoint.
pub fn table_names<P: Projection>() -> Vec<&'static str> {
    let folded = tables::<P>().into_iter();
    folded.chain(derived::<P>().into_iter().map(|info| info.table)).map(|table| table.name).collect()
}

/// A statement of a rebuild, once rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// SQL for a `search_path` that is the schema alone.
    pub sql: String,
    /// The table that it fills from others, if it does.
    pub fills: Option<&'static str>,
}

/// What is to be run table by table, in order; the chains beside each other, and the longest first.
pub fn index_chains<P: Projection>(sql: &ReadModelSql) -> Vec<Vec<Step>> {
    let statements: Vec<_> = sql.indexes.iter().flat_map(|file| file.split_inclusive(";\n")).collect();
    let step = |sql: &str| Step { sql: sql.to_owned(), fills: None };
    let chain = |table: &str| {
        let own = statements.iter().filter(|statement| table_of(statement) == Some(table)).map(|statement| step(statement));
        own.chain([step(&format!("analyze {table}"))]).collect::<Vec<_>>()
    };
    let filled: Vec<_> = derived::<P>().into_iter().filter_map(|info| Some((info.table.name, info.filled?))).collect();
    let tables = table_names::<P>().into_iter().filter(|table| filled.iter().all(|(other, _)| other != table));
    let whole = tables.map(|table| {
        let mut whole = chain(table);
        for (name, filled) in filled.iter().filter(|(_, filled)| filled.after == table) {
            whole.push(Step { sql: filled.sql.to_owned(), fills: Some(*name) });
            whole.extend(chain(name));
        }
        whole
    });
    let mut chains: Vec<_> = whole.collect();
    // The large tables come last in the migrations.
    chains.reverse();
    chains
}

/// The table whose key or index a statement makes.
fn table_of(statement: &str) -> Option<&str> {
    let mut words = statement.lines().filter(|line| !line.starts_with("--")).flat_map(str::split_whitespace);
    words.find(|word| ["table", "on"].contains(word))?;
    words.next()
}

#[cfg(test)]
mod tests {
    use platform::provision::read_model_sql;

    use super::*;
    use crate::Capabilities;

    #[test]
    fn every_key_and_index_is_made_once() {
        let sql = read_model_sql();
        let count = |of: &str| of.matches(";\n").count();
        let chains = index_chains::<Capabilities>(&sql);
        let made: Vec<_> = chains.iter().flatten().map(|step| &step.sql).filter(|sql| sql.contains(";\n")).collect();
        assert_eq!(made.len(), sql.indexes.iter().map(|file| count(file)).sum::<usize>());
        assert_eq!(made.iter().collect::<std::collections::BTreeSet<_>>().len(), made.len());
        let analyzed = chains.iter().flatten().filter(|step| step.sql.starts_with("analyze ")).count();
        assert_eq!(analyzed, table_names::<Capabilities>().len());
        assert!(chains.iter().flatten().any(|step| step.fills == Some("top_span")));
    }
}
