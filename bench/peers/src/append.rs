//! Writers in a closed loop.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{Options, Place, Store, Writer as _};

pub async fn measure<S: Store>(options: &Options, place: &Place) -> anyhow::Result<Value> {
    let store = S::open(place).await?;
    let (started, length) = (Instant::now(), Duration::from_secs(options.seconds));
    let mut tasks = JoinSet::new();
    for _ in 0..options.writers {
        let mut writer = store.writer();
        tasks.spawn(async move {
            let mut times = histogram()?;
            while started.elapsed() < length {
                let sent = Instant::now();
                writer.append().await?;
                record(&mut times, sent.elapsed());
            }
            anyhow::Ok(times)
        });
    }
    let mut times = histogram()?;
    while let Some(writer) = tasks.join_next().await {
        times.add(writer??)?;
    }
    let rate = times.len() as f64 / started.elapsed().as_secs_f64();
    Ok(json!({"writers": options.writers, "appends_per_second": rate.round(), "p50_ms": ms(&times, 0.5), "p99_ms": ms(&times, 0.99)}))
}

/// Of microseconds, up to a minute.
pub fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

pub fn record(times: &mut Histogram<u64>, time: Duration) {
    times.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
}

pub fn ms(times: &Histogram<u64>, quantile: f64) -> f64 {
    times.value_at_quantile(quantile) as f64 / 1000.0
}
