//! mire: `EventStore::append` with the version that the stream must have.

use mire::{Event, EventData, EventStore, ExpectedVersion};
use serde::{Deserialize, Serialize};

use crate::{Stream, Writer};

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

pub struct Mire {
    store: EventStore,
    stream: Stream,
    reason: String,
}

pub async fn open(url: &str, connections: u32, reason: String) -> anyhow::Result<impl Fn() -> Mire> {
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(connections).min_connections(connections).connect(url).await?;
    let store = EventStore::new(pool);
    store.migrate().await?;
    Ok(move || Mire { store: store.clone(), stream: Stream::default(), reason: reason.clone() })
}

impl Writer for Mire {
    async fn append(&mut self) -> anyhow::Result<()> {
        let (stream, version) = self.stream.next();
        let expected = if version == 0 { ExpectedVersion::NoStream } else { ExpectedVersion::Exact(i64::try_from(version)?) };
        let event = Event::new(CareerEvent::CompensationChanged { reason: self.reason.clone() });
        self.store.append(&stream.to_string(), "employee", expected, &[event]).await?;
        Ok(())
    }
}
