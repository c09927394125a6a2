//! From an append to its row: appends at a rate (an open loop: a late answer delays no later append but the same writer's),
//! and one who looks, with a millisecond between two looks, for the rows of all that were acknowledged.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::{sync::mpsc, task::JoinSet, time::sleep};

use crate::{
    Options, Place, Store, Writer as _,
    append::{histogram, ms, record},
    read_model,
};

/// Longer than this, and the rate is not sustained.
const HOPELESS: Duration = Duration::from_secs(20);
/// Before times are taken, so that nobody pays for connections and plans.
const WARM_UP: Duration = Duration::from_secs(1);

struct Append {
    stream: String,
    version: i64,
    /// When it was to be sent.
    due: Instant,
    acknowledged: Instant,
}

pub async fn measure<S: Store>(options: &Options, place: &Place) -> anyhow::Result<Value> {
    let mut store = S::open(place).await?;
    store.project(place).await?;
    let rows = PgPoolOptions::new().max_connections(1).connect(&place.rows).await?;

    let (appended, appends) = mpsc::unbounded_channel();
    let began = Instant::now();
    let length = WARM_UP + Duration::from_secs(options.seconds);
    let mut writers = JoinSet::new();
    for nth in 0..options.writers {
        let (mut writer, appended) = (store.writer(), appended.clone());
        let (rate, step) = (f64::from(options.rate), options.writers);
        writers.spawn(async move {
            for at in (nth..).step_by(step as usize).map(|n| Duration::from_secs_f64(f64::from(n) / rate)) {
                if at >= length {
                    break;
                }
                let due = began + at;
                tokio::time::sleep_until(due.into()).await;
                writer.append().await?;
                let (stream, version) = (writer.stream().id.to_string(), i64::try_from(writer.stream().version)?);
                appended.send(Append { stream, version, due, acknowledged: Instant::now() })?;
            }
            anyhow::Ok(())
        });
    }
    drop(appended);
    let looked = tokio::spawn(look(rows, appends, began + WARM_UP));
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    let mut line = looked.await??;
    line["rate"] = json!(options.rate);
    Ok(line)
}

/// Takes the times until there are no more appends.
async fn look(rows: PgPool, mut appends: mpsc::UnboundedReceiver<Append>, from: Instant) -> anyhow::Result<Value> {
    let (mut acknowledged, mut after, mut visible) = (histogram()?, histogram()?, histogram()?);
    let mut pending = Vec::new();
    loop {
        if pending.is_empty() {
            let Some(append) = appends.recv().await else { break };
            pending.push(append);
        }
        while let Ok(append) = appends.try_recv() {
            pending.push(append);
        }
        let streams: Vec<_> = pending.iter().map(|append: &Append| append.stream.clone()).collect();
        let there = read_model::changes(&rows, &streams).await?;
        let now = Instant::now();
        pending.retain(|append| {
            let seen = there.get(&append.stream).is_some_and(|changes| *changes >= append.version);
            if seen && append.due >= from {
                record(&mut acknowledged, append.acknowledged.duration_since(append.due));
                record(&mut after, now.duration_since(append.acknowledged));
                record(&mut visible, now.duration_since(append.due));
            }
            !seen
        });
        let late = pending.iter().any(|append| append.due.elapsed() > HOPELESS);
        anyhow::ensure!(!late, "that rate is not sustained: an event was not visible after {} s", HOPELESS.as_secs());
        sleep(Duration::from_millis(1)).await;
    }
    let times = |times| json!({"p50": ms(times, 0.5), "p99": ms(times, 0.99), "max": ms(times, 1.0)});
    Ok(
        json!({"appends": visible.len(), "acknowledged_ms": times(&acknowledged), "visible_ms": times(&after), "sent_to_visible_ms": times(&visible)}),
    )
}
