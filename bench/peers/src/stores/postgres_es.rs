//! postgres-es: `EventStore::commit` in a context that is kept, as cqrs-es does after loading.

use std::collections::HashMap;

use cqrs_es::{
    Aggregate, DomainEvent, EventStore as _,
    event_sink::EventSink,
    persist::{EventStoreAggregateContext, PersistedEventStore},
};
use postgres_es::PostgresEventRepository;
use serde::{Deserialize, Serialize};

use crate::{Stream, Writer};

/// The table that its `db/init.sql` makes.
const TABLE: &str = "create table events (
    aggregate_type text not null, aggregate_id text not null, sequence bigint check (sequence >= 0) not null,
    event_type text not null, event_version text not null, payload json not null, metadata json not null,
    primary key (aggregate_type, aggregate_id, sequence))";

#[derive(Default, Serialize, Deserialize)]
pub struct Career;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompensationChanged {
    reason: String,
}

impl DomainEvent for CompensationChanged {
    fn event_type(&self) -> String {
        "CompensationChanged".into()
    }
    fn event_version(&self) -> String {
        "1.0".into()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("never")]
pub struct Never;

impl Aggregate for Career {
    const TYPE: &'static str = "employee";
    type Command = String;
    type Event = CompensationChanged;
    type Error = Never;
    type Services = ();
    async fn handle(&mut self, reason: String, _: &(), sink: &EventSink<Self>) -> Result<(), Never> {
        sink.write(CompensationChanged { reason }, self).await;
        Ok(())
    }
    fn apply(&mut self, _: CompensationChanged) {}
}

pub struct PostgresEs {
    store: std::sync::Arc<PersistedEventStore<PostgresEventRepository, Career>>,
    stream: Stream,
    reason: String,
}

pub async fn open(url: &str, connections: u32, reason: String) -> anyhow::Result<impl Fn() -> PostgresEs> {
    let pool = sqlx_0_8::postgres::PgPoolOptions::new().max_connections(connections).min_connections(connections).connect(url).await?;
    sqlx_0_8::query(TABLE).execute(&pool).await?;
    let store = std::sync::Arc::new(PersistedEventStore::new_event_store(PostgresEventRepository::new(pool)));
    Ok(move || PostgresEs { store: store.clone(), stream: Stream::default(), reason: reason.clone() })
}

impl Writer for PostgresEs {
    async fn append(&mut self) -> anyhow::Result<()> {
        let (stream, version) = self.stream.next();
        let context = EventStoreAggregateContext {
            aggregate_id: stream.to_string(),
            aggregate: Career,
            current_sequence: usize::try_from(version)?,
            current_snapshot: None,
        };
        self.store.commit(vec![CompensationChanged { reason: self.reason.clone() }], context, HashMap::new()).await?;
        Ok(())
    }
}
