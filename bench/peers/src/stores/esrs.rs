//! esrs: `PgStore::persist` on a state that is kept, as its `AggregateManager` does after loading.

use esrs::{
    Aggregate, AggregateState,
    store::{
        EventStore as _,
        postgres::{PgStore, PgStoreBuilder, UuidFormat},
    },
};
use serde::{Deserialize, Serialize};

use crate::{Stream, Writer};

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

pub struct Esrs {
    store: PgStore<Career>,
    stream: Stream,
    state: AggregateState<u64>,
    reason: String,
}

pub async fn open(url: &str, connections: u32, reason: String) -> anyhow::Result<impl Fn() -> Esrs> {
    let pool = sqlx_0_8::postgres::PgPoolOptions::new().max_connections(connections).min_connections(connections).connect(url).await?;
    let store = PgStoreBuilder::new(pool).with_event_id_format(UuidFormat::V7).try_build().await?;
    Ok(move || Esrs { store: store.clone(), stream: Stream::default(), state: AggregateState::new(), reason: reason.clone() })
}

impl Writer for Esrs {
    async fn append(&mut self) -> anyhow::Result<()> {
        let (stream, version) = self.stream.next();
        if version == 0 {
            self.state = AggregateState::with_id(stream);
        }
        self.store.persist(&mut self.state, vec![CompensationChanged { reason: self.reason.clone() }]).await?;
        Ok(())
    }
}
