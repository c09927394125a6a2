//! How fast another event store appends, how soon what was appended is in a read model, and how fast it makes one from all
//! that there is. An event per append, streams of ten events. Prints one line of JSON.

mod append;
mod catch_up;
mod read_model;
mod stores;
mod visible;

use std::future::Future;

use clap::{Parser, ValueEnum};
use uuid::Uuid;

#[derive(Parser)]
struct Options {
    /// Which one.
    peer: Peer,
    /// What of it.
    #[arg(long, value_enum, default_value_t = Measure::Append)]
    measure: Measure,
    /// An empty database of a PostgreSQL server; of UmaDB, the server's URL.
    #[arg(long)]
    url: String,
    /// The database of the read model, where that is another one.
    #[arg(long)]
    rows: Option<String>,
    /// Writers.
    #[arg(long, default_value_t = 64)]
    writers: u32,
    /// Seconds.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Bytes of data in an event.
    #[arg(long, default_value_t = 300)]
    bytes: usize,
    /// Appends per second, for `visible`.
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Events that are there, for `catch-up`.
    #[arg(long, default_value_t = 20_000)]
    events: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Measure {
    /// Writers in a closed loop.
    Append,
    /// From an append to its row, at a rate.
    Visible,
    /// The read model, from all events.
    CatchUp,
}

#[derive(Clone, Copy, ValueEnum)]
enum Peer {
    Skilj,
    /// With a projection that is made in the command's transaction.
    SkiljSync,
    Mire,
    PostgresEs,
    Esrs,
    MessageDb,
    Umadb,
}

/// Where, and with what.
struct Place {
    /// Where the events are.
    url: String,
    /// Where the read model is.
    rows: String,
    connections: u32,
    /// What makes an event as long as it should be.
    reason: String,
}

/// An event store.
trait Store: Sized {
    /// Who appends to it.
    type Writer: Writer;
    /// Sets it up in an empty database.
    fn open(place: &Place) -> impl Future<Output = anyhow::Result<Self>>;
    /// One more who appends.
    fn writer(&self) -> Self::Writer;
    /// Makes [`read_model`] by the store's own machinery, of the events that are there, at the latest soon after this returns;
    /// and then keeps it, of what writers append that are made from then on.
    fn project(&mut self, place: &Place) -> impl Future<Output = anyhow::Result<()>>;
}

/// One that appends one event after the other.
trait Writer: Send + 'static {
    /// Appends an event to its own stream, and waits until it is durable.
    fn append(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
    /// That stream.
    fn stream(&self) -> &Stream;
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
    match options.peer {
        Peer::Skilj => measure::<stores::skilj::Store<false>>(&options).await,
        Peer::SkiljSync => measure::<stores::skilj::Store<true>>(&options).await,
        Peer::Mire => measure::<stores::mire::Store>(&options).await,
        Peer::PostgresEs => measure::<stores::postgres_es::Store>(&options).await,
        Peer::Esrs => measure::<stores::esrs::Store>(&options).await,
        Peer::MessageDb => measure::<stores::message_db::Store>(&options).await,
        Peer::Umadb => measure::<stores::umadb::Store>(&options).await,
    }
}

async fn measure<S: Store>(options: &Options) -> anyhow::Result<()> {
    let place = Place {
        url: options.url.clone(),
        rows: options.rows.clone().unwrap_or_else(|| options.url.clone()),
        connections: options.writers,
        reason: "x".repeat(options.bytes.saturating_sub(13)),
    };
    let line = match options.measure {
        Measure::Append => append::measure::<S>(options, &place).await?,
        Measure::Visible => visible::measure::<S>(options, &place).await?,
        Measure::CatchUp => catch_up::measure::<S>(options, &place).await?,
    };
    println!("{line}");
    Ok(())
}
