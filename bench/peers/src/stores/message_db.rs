//! Message DB: its SQL function `write_message`, which the driver has installed from the npm package, as a prepared statement.

use sqlx::PgPool;
use uuid::Uuid;

use crate::{Stream, Writer};

pub struct MessageDb {
    pool: PgPool,
    stream: Stream,
    data: String,
}

pub async fn open(url: &str, connections: u32, reason: String) -> anyhow::Result<impl Fn() -> MessageDb> {
    let options = url.parse::<sqlx::postgres::PgConnectOptions>()?.options([("search_path", "message_store,public")]);
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(connections).min_connections(connections).connect_with(options).await?;
    let data = serde_json::json!({ "reason": reason }).to_string();
    Ok(move || MessageDb { pool: pool.clone(), stream: Stream::default(), data: data.clone() })
}

impl Writer for MessageDb {
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
}
