//! esrs: `PgStore::persist` on a state that is kept, as its `AggregateManager` does after loading, with a handler in the same
//! transaction. What is there already is handled by its `PgRebuilder`, one aggregate after the other.

use esrs::{
    Aggregate, AggregateState,
    handler::TransactionalEventHandler,
    rebuilder::{PgRebuilder, Rebuilder as _},
    store::{
        EventStore as _, StoreEvent,
        postgres::{PgStore, PgStoreBuilder, PgStoreError, UuidFormat},
    },
};
use serde::{Deserialize, Serialize};
use sqlx_0_8::{PgConnection, PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

use crate::{Place, Stream, read_model};

pub struct Career;

#[derive(Serialize, Deserialize)]
pub struct CompensationChanged {
    reason: String,
}

#[derive(Debug, thiserror::Error)]
#[error("never")]
pub struct Never;

impl Aggregate for Career {
    const NAME: &'static str = "employee";
    type State = u64;
    type Command = String;
    type Event = CompensationChanged;
    type Error = Never;
    fn handle_command(_: &u64, reason: String) -> Result<Vec<CompensationChanged>, Never> {
        Ok(vec![CompensationChanged { reason }])
    }
    fn apply_event(state: u64, _: CompensationChanged) -> u64 {
        state + 1
    }
}

struct Project;

#[async_trait::async_trait]
impl TransactionalEventHandler<Career, PgStoreError, PgConnection> for Project {
    async fn handle(&self, event: &StoreEvent<CompensationChanged>, connection: &mut PgConnection) -> Result<(), PgStoreError> {
        let query = sqlx_0_8::query(read_model::ONE).bind(event.aggregate_id.to_string()).bind(&event.payload.reason);
        query.execute(connection).await?;
        Ok(())
    }
    async fn delete(&self, aggregate_id: Uuid, connection: &mut PgConnection) -> Result<(), PgStoreError> {
        sqlx_0_8::query("delete from read_model where stream = $1").bind(aggregate_id.to_string()).execute(connection).await?;
        Ok(())
    }
}

pub struct Store {
    pool: PgPool,
    store: PgStore<Career>,
    reason: String,
}

impl crate::Store for Store {
    type Writer = Writer;
    async fn open(place: &Place) -> anyhow::Result<Self> {
        let pool = PgPoolOptions::new().max_connections(place.connections).min_connections(place.connections).connect(&place.url).await?;
        let store = PgStoreBuilder::new(pool.clone()).with_event_id_format(UuidFormat::V7).try_build().await?;
        Ok(Self { pool, store, reason: place.reason.clone() })
    }
    fn writer(&self) -> Writer {
        Writer { store: self.store.clone(), stream: Stream::default(), state: AggregateState::new(), reason: self.reason.clone() }
    }
    async fn project(&mut self, _: &Place) -> anyhow::Result<()> {
        sqlx_0_8::raw_sql(read_model::TABLE).execute(&self.pool).await?;
        let rebuilder = PgRebuilder::<Career>::new().with_transactional_event_handlers(vec![Box::new(Project)]);
        rebuilder.by_aggregate_id(self.pool.clone()).await?;
        let builder = PgStoreBuilder::new(self.pool.clone()).with_event_id_format(UuidFormat::V7);
        self.store = builder.add_transactional_event_handler(Project).try_build().await?;
        Ok(())
    }
}

pub struct Writer {
    store: PgStore<Career>,
    stream: Stream,
    state: AggregateState<u64>,
    reason: String,
}

impl crate::Writer for Writer {
    async fn append(&mut self) -> anyhow::Result<()> {
        let (stream, version) = self.stream.next();
        if version == 0 {
            self.state = AggregateState::with_id(stream);
        }
        self.store.persist(&mut self.state, vec![CompensationChanged { reason: self.reason.clone() }]).await?;
        Ok(())
    }
    fn stream(&self) -> &Stream {
        &self.stream
    }
}
