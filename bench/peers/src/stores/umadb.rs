//! UmaDB: `append` under the condition that nobody else has appended an event with the stream's tag since our last one.

use std::sync::Arc;

use umadb_client::{AsyncUmaDbClient, UmaDbClient};
use umadb_dcb::{DcbAppendCondition, DcbEvent, DcbEventStoreAsync as _, DcbQuery, DcbQueryItem};
use uuid::Uuid;

use crate::{Stream, Writer};

pub struct Umadb {
    client: Arc<AsyncUmaDbClient>,
    stream: Stream,
    position: Option<u64>,
    data: Vec<u8>,
}

pub async fn open(url: &str, reason: String) -> anyhow::Result<impl Fn() -> Umadb> {
    let client = Arc::new(UmaDbClient::new(url.to_owned()).connect_async().await?);
    let data = serde_json::json!({ "reason": reason }).to_string().into_bytes();
    Ok(move || Umadb { client: client.clone(), stream: Stream::default(), position: None, data: data.clone() })
}

impl Writer for Umadb {
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
}
