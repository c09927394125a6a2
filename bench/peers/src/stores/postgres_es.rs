//! postgres-es: `EventStore::commit` in a context that is kept, and then its `GenericQuery`, as cqrs-es does after loading. What
//! is there already is replayed by its `QueryReplay`.

use std::{collections::HashMap, sync::Arc};

use cqrs_es::{
    Aggregate, DomainEvent, EventEnvelope, EventStore as _, Query as _, View,
    event_sink::EventSink,
    persist::{EventStoreAggregateContext, GenericQuery, PersistedEventStore, PersistenceError, QueryReplay},
};
use postgres_es::{PostgresEventRepository, PostgresViewRepository};
use serde::{Deserialize, Serialize};
use sqlx_0_8::{PgPool, postgres::PgPoolOptions};

use crate::{Place, Stream};

/// The tables that its `db/init.sql` makes, with a view's own name.
const TABLES: &str = "create table events (
    aggregate_type text not null, aggregate_id text not null, sequence bigint check (sequence >= 0) not null,
    event_type text not null, event_version text not null, payload json not null, metadata json not null,
    primary key (aggregate_type, aggregate_id, sequence));
    create table pay (view_id text not null, version bigint check (version >= 0) not null, payload json not null, primary key (view_id));
    create view read_model as select view_id as stream, (payload->>'changes')::bigint as changes from pay";

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

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Pay {
    changes: u64,
    reason: String,
}

impl View<Career> for Pay {
    fn update(&mut self, event: &EventEnvelope<Career>) {
        self.changes += 1;
        self.reason.clone_from(&event.payload.reason);
    }
}

type PayQuery = GenericQuery<PostgresViewRepository<Pay, Career>, Pay, Career>;

fn query(pool: &PgPool) -> PayQuery {
    let mut query = GenericQuery::new(Arc::new(PostgresViewRepository::new("pay", pool.clone())));
    query.use_error_handler(Box::new(complain));
    query
}

/// Its queries return no errors; a row that is missing is noticed.
fn complain(error: PersistenceError) {
    eprintln!("the projection: {error}");
}

pub struct Store {
    pool: PgPool,
    store: Arc<PersistedEventStore<PostgresEventRepository, Career>>,
    query: Option<Arc<PayQuery>>,
    reason: String,
}

impl crate::Store for Store {
    type Writer = Writer;
    async fn open(place: &Place) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new().max_connections(place.connections).min_connections(place.connections).connect(&place.url).await?;
        sqlx_0_8::raw_sql(TABLES).execute(&pool).await?;
        let store = Arc::new(PersistedEventStore::new_event_store(PostgresEventRepository::new(pool.clone())));
        Ok(Self { pool, store, query: None, reason: place.reason.clone() })
    }
    fn writer(&self) -> Writer {
        Writer { store: self.store.clone(), query: self.query.clone(), stream: Stream::default(), reason: self.reason.clone() }
    }
    async fn project(&mut self, _: &Place) -> anyhow::Result<()> {
        let mut replay = QueryReplay::new(PostgresEventRepository::new(self.pool.clone()), query(&self.pool));
        replay.use_error_handler(Box::new(complain));
        replay.replay_all().await?;
        self.query = Some(Arc::new(query(&self.pool)));
        Ok(())
    }
}

pub struct Writer {
    store: Arc<PersistedEventStore<PostgresEventRepository, Career>>,
    query: Option<Arc<PayQuery>>,
    stream: Stream,
    reason: String,
}

impl crate::Writer for Writer {
    async fn append(&mut self) -> anyhow::Result<()> {
        let (stream, version) = self.stream.next();
        let aggregate_id = stream.to_string();
        let context = EventStoreAggregateContext {
            aggregate_id: aggregate_id.clone(),
            aggregate: Career,
            current_sequence: usize::try_from(version)?,
            current_snapshot: None,
        };
        let committed = self.store.commit(vec![CompensationChanged { reason: self.reason.clone() }], context, HashMap::new()).await?;
        if let Some(query) = &self.query {
            query.dispatch(&aggregate_id, &committed).await;
        }
        Ok(())
    }
    fn stream(&self) -> &Stream {
        &self.stream
    }
}
