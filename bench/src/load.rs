//! Clients over HTTP in a closed loop: each waits for its answer before it asks again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use hdrhistogram::Histogram;

use crate::histogram;

/// What a load came to.
pub struct Load {
    /// Answers per second.
    pub rate: f64,
    /// How long each took, in microseconds.
    pub times: Histogram<u64>,
}

/// A client for so many connections.
pub fn client(clients: u32) -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().timeout(Duration::from_secs(30)).pool_max_idle_per_host(clients as usize).build()?)
}

/// Sends what `request` makes of the numbers from `next` on. Every answer must be a success.
pub async fn load(
    clients: u32,
    length: Duration,
    next: &Arc<AtomicU64>,
    request: impl Fn(u64) -> reqwest::RequestBuilder + Send + Sync + 'static,
) -> anyhow::Result<Load> {
    let (request, started) = (Arc::new(request), Instant::now());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let (request, next) = (request.clone(), next.clone());
        tasks.spawn(async move {
            let mut times = histogram();
            while started.elapsed() < length {
                let request = request(next.fetch_add(1, Ordering::Relaxed));
                let sent = Instant::now();
                let response = request.send().await?;
                let status = response.status();
                let body = response.bytes().await?;
                times.saturating_record(u64::try_from(sent.elapsed().as_micros())?);
                ensure!(status.is_success(), "{status} {}", String::from_utf8_lossy(&body));
            }
            anyhow::Ok(times)
        });
    }
    let mut times = histogram();
    while let Some(task) = tasks.join_next().await {
        times.add(task??)?;
    }
    Ok(Load { rate: times.len() as f64 / started.elapsed().as_secs_f64(), times })
}
