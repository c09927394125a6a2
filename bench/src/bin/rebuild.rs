//! How fast large logs become rows, in one tenant and spread over many, next to COPY of the same rows, and in how much memory.
//!
//! Makes a database of its own on the server of `--database-url` (a superuser's), and drops it afterwards. What a rebuild
//! wrote is copied out once; then rebuilds and COPY of those rows (into fresh tables, with keys, indexes and statistics made
//! afterwards, as a rebuild does) take turns, with as many connections. So does reading and folding the log by itself, which
//! COPY is spared: where both keep all cores busy, no rebuild is faster than the two one after the other, and that ratio to
//! COPY stands as the limit.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context as _;
use bench::{
    Rounds,
    careers::fill_tenants,
    cores, forget_peak_memory, in_database, peak_memory_mb, round,
    system::{System, rebuild},
};
use clap::Parser;
use events::TenantScope;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use platform::{READ_MODEL_VERSION, provision::read_model_sql, read_schema};
use projector::{
    Capabilities,
    rebuild::{Step, fold_only, index_chains, table_names},
};
use serde_json::json;
use sqlx::{Connection as _, Executor as _, PgConnection, postgres::PgConnectOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Connections that write at the same time, in a rebuild and in COPY.
const WRITERS: usize = 4;

#[derive(Parser)]
struct Options {
    /// A superuser's URL of a PostgreSQL server.
    #[arg(long)]
    database_url: String,
    /// People in all; some ten events each.
    #[arg(long, default_value_t = 300_000)]
    employees: u32,
    /// Over how many tenants.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 200])]
    tenants: Vec<u32>,
    /// Measurements of each, in turns.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// A line of JSON per row instead of a table.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if !options.json {
        println!("medians of {} rounds, {} cores", options.rounds, cores());
        println!(
            "{:>7} {:>9} {:>9} {:>9} {:>9}   {:<18} {:<18} {:<18} {:>9}   busy: rebuild, folding, COPY",
            "tenants", "events", "rows", "seconds", "events/s", "/ COPY", "/ COPY and indexes", "limit of that", "memory MB"
        );
    }
    for &tenants in &options.tenants {
        in_database(&options.database_url, "rebuild", |database| measure(&options, database, tenants)).await?;
    }
    Ok(())
}

async fn measure(options: &Options, database: PgConnectOptions, tenants: u32) -> anyhow::Result<()> {
    let system = System::start(database).await?;
    let mut scopes = Vec::new();
    for n in 0..tenants {
        scopes.push(system.tenant(&format!("bench-{n}")).await?);
    }
    let events = fill_tenants(&system, &scopes, options.employees / tenants).await?;
    forget_peak_memory();
    let rows = rebuild_all(&system, &scopes).await?;
    let memory = peak_memory_mb();

    let folder = std::env::temp_dir().join(format!("tenure-rebuild-{}", std::process::id()));
    tokio::fs::create_dir_all(&folder).await?;
    let figures = rounds(options, &system, &scopes, &folder).await;
    tokio::fs::remove_dir_all(&folder).await?;
    let Figures { rebuild, fold, copy, to_copy, to_both, limit, busy } = figures?;

    let (seconds, rate) = (round(rebuild.median()), round(events as f64 / rebuild.median()));
    if options.json {
        let line = json!({"bench": "rebuild", "tenants": tenants, "events": events, "rows": rows, "cores": cores(), "events_per_second": rate,
            "seconds": rebuild.json(), "fold_seconds": fold.json(), "copy_seconds": copy.json(), "ratio_copy": to_copy.json(),
            "ratio_copy_and_indexes": to_both.json(), "limit": limit.json(), "cores_busy": busy.each_ref().map(Rounds::json),
            "peak_memory_mb": memory});
        println!("{line}");
    } else {
        let memory = memory.map_or("?".into(), |mb| mb.to_string());
        let [a, b, c] = busy.each_ref().map(|share| format!("{:.0} %", share.median() * 100.0));
        println!(
            "{tenants:>7} {events:>9} {rows:>9} {seconds:>9.2} {rate:>9.0}   {to_copy:<18} {to_both:<18} {limit:<18} {memory:>9}   {a}, {b}, {c}"
        );
    }
    Ok(())
}

/// Seconds, and how much of COPY's speed a rebuild has.
#[derive(Default)]
struct Figures {
    rebuild: Rounds,
    /// Reading and folding by itself.
    fold: Rounds,
    copy: Rounds,
    to_copy: Rounds,
    to_both: Rounds,
    /// Of `to_both`, where folding and writing share the cores.
    limit: Rounds,
    /// Which share of the machine's cores was at work: in rebuilds, in folding, in COPY with indexes.
    busy: [Rounds; 3],
}

async fn rounds(options: &Options, system: &System, scopes: &[TenantScope], folder: &Path) -> anyhow::Result<Figures> {
    let parts = copy_out(system, scopes, folder).await?;
    let mut figures = Figures::default();
    for nth in 0..options.rounds {
        let (mut own, mut folded, mut copied) = ((0.0, 0.0), (0.0, 0.0), ((0.0, 0.0), (0.0, 0.0)));
        for turn in 0..3 {
            match (nth + turn) % 3 {
                0 => own = timed(rebuild_all(system, scopes)).await?.1,
                1 => folded = timed(fold_all(system, scopes)).await?.1,
                _ => copied = timed(copy_in(system, scopes, &parts)).await?,
            }
        }
        let ((copy, indexed), (_, copy_busy)) = copied;
        figures.rebuild.push(own.0);
        figures.fold.push(folded.0);
        figures.copy.push(copy);
        figures.to_copy.push(copy / own.0);
        figures.to_both.push((copy + indexed) / own.0);
        figures.limit.push((copy + indexed) / (copy + indexed + folded.0));
        for (rounds, share) in figures.busy.iter_mut().zip([own.1, folded.1, copy_busy]) {
            rounds.push(share);
        }
    }
    Ok(figures)
}

/// What it gives; its seconds, and the share of the machine's cores that was at work meanwhile.
async fn timed<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<(T, (f64, f64))> {
    let (started, before) = (Instant::now(), processor_time());
    let done = work.await?;
    let busy = processor_time().zip(before).map_or(f64::NAN, |((busy, all), (busy0, all0))| (busy - busy0) / (all - all0));
    Ok((done, (started.elapsed().as_secs_f64(), busy)))
}

/// The cores' time at work and in all, since the machine started; Linux only.
fn processor_time() -> Option<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let times: Vec<f64> = stat.lines().next()?.split_whitespace().skip(1).take(8).map_while(|time| time.parse().ok()).collect();
    let all: f64 = times.iter().sum();
    // The fourth is idle, the fifth waits for the disk.
    Some((all - times.get(3)? - times.get(4)?, all))
}

/// As [`rebuild_all`], writing nothing.
async fn fold_all(system: &System, scopes: &[TenantScope]) -> anyhow::Result<u64> {
    let applier = &system.applier().await?;
    let rows = stream::iter(scopes).map(|scope| async move { anyhow::Ok(fold_only(applier, *scope).await?.1) });
    rows.buffer_unordered(WRITERS).try_fold(0, |sum, rows| async move { Ok(sum + rows) }).await
}

/// One tenant after the other where there is one, else a few at a time. Rows written.
async fn rebuild_all(system: &System, scopes: &[TenantScope]) -> anyhow::Result<u64> {
    // As a process of its own: no key is cached.
    let applier = &system.applier().await?;
    let rows = stream::iter(scopes).map(|scope| async move { anyhow::Ok(rebuild(applier, *scope).await?.rows) });
    rows.buffer_unordered(WRITERS).try_fold(0, |sum, rows| async move { Ok(sum + rows) }).await
}

/// A part of a table's rows, in a file.
struct Part {
    scope: TenantScope,
    table: &'static str,
    file: PathBuf,
}

fn rebuilt(scope: TenantScope) -> String {
    read_schema(scope.tenant(), READ_MODEL_VERSION)
}

fn copied(scope: TenantScope) -> String {
    format!("copied_{}", scope.tenant())
}

/// Writes the rows of all tables to files, large tenants' in as many parts as there are connections.
async fn copy_out(system: &System, scopes: &[TenantScope], folder: &Path) -> anyhow::Result<Vec<Part>> {
    let mut parts = Vec::new();
    let mut connection = PgConnection::connect_with(system.database()).await?;
    let of = if scopes.len() == 1 { WRITERS } else { 1 };
    for &scope in scopes {
        for table in table_names::<Capabilities>() {
            for nth in 0..of {
                let file = folder.join(format!("{}-{table}-{nth}", scope.tenant()));
                let select = format!("select * from {}.{table} where mod(hashtext(ctid::text) & 65535, {of}) = {nth}", rebuilt(scope));
                let mut rows = connection.copy_out_raw(&format!("copy ({select}) to stdout (format binary)")).await?;
                let mut out = tokio::io::BufWriter::new(tokio::fs::File::create(&file).await?);
                while let Some(chunk) = rows.try_next().await? {
                    out.write_all(&chunk).await?;
                }
                out.flush().await?;
                parts.push(Part { scope, table, file });
            }
        }
    }
    connection.close().await?;
    Ok(parts)
}

/// Copies them into fresh tables, and makes keys, indexes and statistics; how long either took.
async fn copy_in(system: &System, scopes: &[TenantScope], parts: &[Part]) -> anyhow::Result<(f64, f64)> {
    let started = Instant::now();
    let tables = format!("set local search_path = SCHEMA; create schema SCHEMA; {}", read_model_sql().tables.join("\n"));
    in_parallel(system, scopes.iter().map(|scope| tables.replace("SCHEMA", &copied(*scope)))).await?;
    stream::iter(parts.iter().map(anyhow::Ok))
        .try_for_each_concurrent(WRITERS, |part| async move {
            let mut connection = system.owner.acquire().await?;
            let sql = format!("copy {}.{} from stdin (format binary)", copied(part.scope), part.table);
            let mut copy = connection.copy_in_raw(&sql).await?;
            let mut file = tokio::fs::File::open(&part.file).await?;
            let mut chunk = vec![0; 1 << 20];
            loop {
                let length = file.read(&mut chunk).await?;
                if length == 0 {
                    break;
                }
                copy.send(chunk.get(..length).context("a file gave more than was asked for")?).await?;
            }
            copy.finish().await?;
            anyhow::Ok(())
        })
        .await?;
    let copied_in = started.elapsed().as_secs_f64();

    let started = Instant::now();
    // As a rebuild makes them, in as many transactions.
    let without_filling = |chain: Vec<Step>| chain.into_iter().filter(|step| step.fills.is_none()).map(|step| step.sql).collect::<Vec<_>>();
    let chains = index_chains::<Capabilities>(&read_model_sql());
    let chains: Vec<String> = chains.into_iter().map(|chain| without_filling(chain).join(";")).collect();
    let each = |scope: &TenantScope| {
        let schema = copied(*scope);
        chains.iter().map(|chain| format!("set local search_path = {schema}; {chain}")).collect::<Vec<_>>()
    };
    in_parallel(system, scopes.iter().flat_map(each)).await?;
    let indexed = started.elapsed().as_secs_f64();
    in_parallel(system, scopes.iter().map(|scope| format!("set client_min_messages = warning; drop schema {} cascade", copied(*scope))))
        .await?;
    Ok((copied_in, indexed))
}

/// Each in a transaction of its own.
async fn in_parallel(system: &System, statements: impl Iterator<Item = String>) -> anyhow::Result<()> {
    stream::iter(statements.map(anyhow::Ok))
        .try_for_each_concurrent(WRITERS, |sql| async move {
            system.owner.execute(sql.as_str()).await.with_context(|| sql.lines().next().unwrap_or_default().to_owned())?;
            anyhow::Ok(())
        })
        .await
}
