//! mire: `EventStore::append` with the version that the stream must have, and a `ProjectionRunner` with a handler of batches,
//! which is woken by appends of this process.

use mire::{Aggregate, Event, EventData, EventStore, ExpectedVersion, HandledEvent, ProjectionRunner, TransactionalBatchEventHandler};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use crate::{Place, Stream, read_model};

/// Events in a batch.
const BATCH: i64 = 1_000;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type")]
enum CareerEvent {
    CompensationChanged { reason: String },
}

impl EventData for CareerEvent {
    fn event_type(&self) -> &'static str {
        "employee.compensation_changed"
    }
}

#[derive(Default)]
struct Career;

impl Aggregate for Career {
    type Event = CareerEvent;
    fn stream_category() -> &'static str {
        "employee"
    }
    fn apply(&mut self, _: &CareerEvent) {}
}

struct Project;

impl TransactionalBatchEventHandler for Project {
    type Aggregate = Career;
    async fn handle_batch(&self, events: Vec<HandledEvent<CareerEvent>>, connection: &mut PgConnection) -> anyhow::Result<()> {
        let (streams, reasons): (Vec<_>, Vec<_>) = events
            .into_iter()
            .map(|handled| {
                let CareerEvent::CompensationChanged { reason } = handled.event;
                (handled.recorded.stream_id.clone(), reason)
            })
            .unzip();
        Ok(read_model::project(connection, &streams, &reasons).await?)
    }
}

pub struct Store {
    store: EventStore,
    reason: String,
}

impl crate::Store for Store {
    type Writer = Writer;
    async fn open(place: &Place) -> anyhow::Result<Self> {
        let pool = sqlx::postgres::PgPoolOptions::new().max_connections(place.connections).min_connections(place.connections);
        let store = EventStore::new(pool.connect(&place.url).await?);
        store.migrate().await?;
        Ok(Self { store, reason: place.reason.clone() })
    }
    fn writer(&self) -> Writer {
        Writer { store: self.store.clone(), stream: Stream::default(), reason: self.reason.clone() }
    }
    async fn project(&mut self, place: &Place) -> anyhow::Result<()> {
        sqlx::raw_sql(read_model::TABLE).execute(&sqlx::PgPool::connect(&place.rows).await?).await?;
        let runner = ProjectionRunner::builder(self.store.clone()).batch_size(BATCH);
        let runner = runner.subscribe_transactional_batch("read-model", Project).build();
        read_model::in_background(runner.run(CancellationToken::new()));
        Ok(())
    }
}

pub struct Writer {
    store: EventStore,
    stream: Stream,
    reason: String,
}

impl crate::Writer for Writer {
    async fn append(&mut self) -> anyhow::Result<()> {
        let (stream, version) = self.stream.next();
        let expected = if version == 0 { ExpectedVersion::NoStream } else { ExpectedVersion::Exact(i64::try_from(version)?) };
        let event = Event::new(CareerEvent::CompensationChanged { reason: self.reason.clone() });
        self.store.append(&stream.to_string(), "employee", expected, &[event]).await?;
        Ok(())
    }
    fn stream(&self) -> &Stream {
        &self.stream
    }
}
