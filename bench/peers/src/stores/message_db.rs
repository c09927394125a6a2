//! Message DB: its SQL function `write_message`, which the driver has installed from the npm package, as a prepared statement;
//! and `get_category_messages` a thousand at a time, with a tenth of a second's pause where there are none, as consumers of
//! Eventide, whose store it is, have by default.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgPool, postgres::PgConnectOptions};
use uuid::Uuid;

use crate::{Place, Stream, read_model};

const BATCH: i64 = 1_000;
const PAUSE: Duration = Duration::from_millis(100);

pub struct Store {
    pool: PgPool,
    data: String,
}

fn options(url: &str) -> anyhow::Result<PgConnectOptions> {
    Ok(url.parse::<PgConnectOptions>()?.options([("search_path", "message_store,public")]))
}

impl crate::Store for Store {
    type Writer = Writer;
    async fn open(place: &Place) -> anyhow::Result<Self> {
        let pool = sqlx::postgres::PgPoolOptions::new().max_connections(place.connections).min_connections(place.connections);
        let data = serde_json::json!({ "reason": place.reason }).to_string();
        Ok(Self { pool: pool.connect_with(options(&place.url)?).await?, data })
    }
    fn writer(&self) -> Writer {
        Writer { pool: self.pool.clone(), stream: Stream::default(), data: self.data.clone() }
    }
    async fn project(&mut self, place: &Place) -> anyhow::Result<()> {
        // In `public`, where the read model's reader looks.
        read_model::create_with_checkpoint(&place.rows).await?;
        read_model::in_background(follow(PgConnection::connect_with(&options(&place.url)?).await?));
        Ok(())
    }
}

async fn follow(mut connection: PgConnection) -> anyhow::Result<()> {
    let mut position = 0;
    loop {
        let events: Vec<(i64, String, String)> = sqlx::query_as(
            "select global_position, substr(stream_name, length('employee-') + 1), data::jsonb->>'reason'
             from get_category_messages('employee', $1, $2)",
        )
        .bind(position + 1)
        .bind(BATCH)
        .fetch_all(&mut connection)
        .await?;
        let Some((last, _, _)) = events.last() else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        position = *last;
        let (streams, reasons): (Vec<_>, Vec<_>) = events.into_iter().map(|(_, stream, reason)| (stream, reason)).unzip();
        read_model::project_to(&mut connection, position, &streams, &reasons).await?;
    }
}

pub struct Writer {
    pool: PgPool,
    stream: Stream,
    data: String,
}

impl crate::Writer for Writer {
    async fn append(&mut self) -> anyhow::Result<()> {
        let (stream, version) = self.stream.next();
        sqlx::query("select write_message($1, $2, 'CompensationChanged', $3::jsonb, null, $4)")
            .bind(Uuid::now_v7().to_string())
            .bind(format!("employee-{stream}"))
            .bind(&self.data)
            .bind(i64::try_from(version)? - 1) // A stream without events has version -1.
            .execute(&self.pool)
            .await?;
        Ok(())
    }
    fn stream(&self) -> &Stream {
        &self.stream
    }
}
