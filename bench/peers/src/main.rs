//! How fast another event store appends: writers in a closed loop, an event per append, streams of ten events of their own.
//! Prints one line of JSON.

mod stores;

use std::{
    future::Future,
    time::{Duration, Instant},
};

use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use uuid::Uuid;

#[derive(Parser)]
struct Options {
    /// Which one.
    peer: Peer,
    /// An empty database of a PostgreSQL server; of UmaDB, the server's URL.
    #[arg(long)]
    url: String,
    /// Writers.
    #[arg(long, default_value_t = 64)]
    writers: u32,
    /// Seconds.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Bytes of data in an event.
    #[arg(long, default_value_t = 300)]
    bytes: usize,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum Peer {
    Skilj,
    Mire,
    PostgresEs,
    Esrs,
    MessageDb,
    Umadb,
}

/// One that appends one event after the other.
trait Writer: Send + 'static {
    /// Appends an event to its own stream, and waits until it is durable.
    fn append(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// What a writer appends to: a stream of ten events, then the next.
#[derive(Default)]
struct Stream {
    id: Uuid,
    version: u64,
}

impl Stream {
    /// The stream's id, and how many events it has already.
    fn next(&mut self) -> (Uuid, u64) {
        if self.version % 10 == 0 {
            *self = Self { id: Uuid::now_v7(), version: 0 };
        }
        self.version += 1;
        (self.id, self.version - 1)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let (url, connections) = (&*options.url, options.writers);
    let reason = "x".repeat(options.bytes.saturating_sub(13));
    match options.peer {
        Peer::Skilj => measure(&options, stores::skilj::open(url, reason).await?).await,
        Peer::Mire => measure(&options, stores::mire::open(url, connections, reason).await?).await,
        Peer::PostgresEs => measure(&options, stores::postgres_es::open(url, connections, reason).await?).await,
        Peer::Esrs => measure(&options, stores::esrs::open(url, connections, reason).await?).await,
        Peer::MessageDb => measure(&options, stores::message_db::open(url, connections, reason).await?).await,
        Peer::Umadb => measure(&options, stores::umadb::open(url, reason).await?).await,
    }
}

async fn measure<W: Writer>(options: &Options, writer: impl Fn() -> W) -> anyhow::Result<()> {
    let (started, length) = (Instant::now(), Duration::from_secs(options.seconds));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..options.writers {
        let mut writer = writer();
        tasks.spawn(async move {
            let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
            while started.elapsed() < length {
                let sent = Instant::now();
                writer.append().await?;
                times.saturating_record(u64::try_from(sent.elapsed().as_micros())?);
            }
            anyhow::Ok(times)
        });
    }
    let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
    while let Some(writer) = tasks.join_next().await {
        times.add(writer??)?;
    }
    let rate = times.len() as f64 / started.elapsed().as_secs_f64();
    let ms = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
    let peer = options.peer.to_possible_value().map(|value| value.get_name().to_owned());
    let line = serde_json::json!({"peer": peer, "writers": options.writers, "appends_per_second": rate.round(), "p50_ms": ms(0.5), "p99_ms": ms(0.99)});
    println!("{line}");
    Ok(())
}
