//! UmaDB: `append` under the condition that nobody else has appended an event with the stream's tag since our last one; and a
//! subscription, each of whose batches is a transaction in PostgreSQL.

use std::sync::Arc;

use sqlx::PgConnection;
use umadb_client::{AsyncUmaDbClient, UmaDbClient};
use umadb_dcb::{DcbAppendCondition, DcbEvent, DcbEventStoreAsync as _, DcbQuery, DcbQueryItem, DcbSubscriptionAsync};
use uuid::Uuid;

use crate::{Place, Stream, read_model};

#[derive(serde::Serialize, serde::Deserialize)]
struct Data {
    reason: String,
}

pub struct Store {
    client: Arc<AsyncUmaDbClient>,
    data: Vec<u8>,
}

impl crate::Store for Store {
    type Writer = Writer;
    async fn open(place: &Place) -> anyhow::Result<Self> {
        let client = Arc::new(UmaDbClient::new(place.url.clone()).connect_async().await?);
        Ok(Self { client, data: serde_json::to_vec(&Data { reason: place.reason.clone() })? })
    }
    fn writer(&self) -> Writer {
        Writer { client: self.client.clone(), stream: Stream::default(), position: None, data: self.data.clone() }
    }
    async fn project(&mut self, place: &Place) -> anyhow::Result<()> {
        let connection = read_model::create_with_checkpoint(&place.rows).await?;
        let subscription = self.client.subscribe(None, None).await?;
        read_model::in_background(follow(connection, subscription));
        Ok(())
    }
}

async fn follow(mut connection: PgConnection, mut subscription: Box<dyn DcbSubscriptionAsync + Send>) -> anyhow::Result<()> {
    loop {
        let events = subscription.next_batch().await?;
        let Some(last) = events.last() else { continue };
        let position = i64::try_from(last.position)?;
        let (mut streams, mut reasons) = (Vec::new(), Vec::new());
        for event in events {
            let tag = event.event.tags.first().map(String::as_str).unwrap_or_default();
            streams.push(tag.trim_start_matches("employee:").to_owned());
            reasons.push(serde_json::from_slice::<Data>(&event.event.data)?.reason);
        }
        read_model::project_to(&mut connection, position, &streams, &reasons).await?;
    }
}

pub struct Writer {
    client: Arc<AsyncUmaDbClient>,
    stream: Stream,
    position: Option<u64>,
    data: Vec<u8>,
}

impl crate::Writer for Writer {
    async fn append(&mut self) -> anyhow::Result<()> {
        let (stream, _) = self.stream.next();
        let tag = format!("employee:{stream}");
        let mut condition = DcbAppendCondition::new(DcbQuery::new().item(DcbQueryItem::new().tags([tag.as_str()])));
        if let Some(position) = self.position {
            condition = condition.after(Some(position));
        }
        let event = DcbEvent::default().event_type("CompensationChanged").tags([tag.as_str()]).data(self.data.clone()).uuid(Uuid::now_v7());
        self.position = Some(self.client.append(vec![event], Some(condition), None).await?);
        Ok(())
    }
    fn stream(&self) -> &Stream {
        &self.stream
    }
}
