//! The read model, from all events that there are.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use tokio::{task::JoinSet, time::sleep};

use crate::{Options, Place, Store, Writer as _, read_model};

/// However many there are.
const PATIENCE: Duration = Duration::from_secs(100);

pub async fn measure<S: Store>(options: &Options, place: &Place) -> anyhow::Result<Value> {
    let mut store = S::open(place).await?;
    let mut writers = JoinSet::new();
    let each = options.events / options.writers;
    for _ in 0..options.writers {
        let mut writer = store.writer();
        writers.spawn(async move {
            for _ in 0..each {
                writer.append().await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer??;
    }
    let rows = PgPoolOptions::new().max_connections(1).connect(&place.rows).await?;
    let events = i64::from(each * options.writers);
    let began = Instant::now();
    store.project(place).await?;
    loop {
        let there = read_model::total(&rows).await?;
        if there == events {
            break;
        }
        anyhow::ensure!(there < events, "{there} events in the read model of {events}");
        anyhow::ensure!(began.elapsed() < PATIENCE, "only {there} events of {events} after {} s", PATIENCE.as_secs());
        sleep(Duration::from_millis(5)).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    Ok(json!({"events": events, "seconds": seconds, "events_per_second": (events as f64 / seconds).round()}))
}
