//! A hash per table of a read model: two read models are equal exactly when their digests are (I3).

use std::collections::BTreeMap;

use events::TenantScope;
use platform::{Access, TenantTx};
use sqlx::{Executor as _, PgPool};

use crate::rows::TABLES;

/// Per table, the number of its rows and a hash over all of them in the order of their keys. The checkpoint is not in it.
pub async fn digest(pool: &PgPool, scope: TenantScope, schema: &str) -> Result<BTreeMap<String, String>, sqlx::Error> {
    let mut tx = TenantTx::begin(pool, scope, schema, Access::Write).await?;
    // All tables as of one instant, and written the same way whatever the server's settings are.
    tx.conn().execute("set transaction isolation level repeatable read, read only; set local datestyle = 'ISO, YMD'").await?;
    let mut digests = BTreeMap::new();
    for table in TABLES {
        let row = table.columns.iter().map(|c| format!("t.{c}")).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "select count(*) || ' ' || encode(sha256(coalesce(string_agg(sha256(convert_to(row({row})::text, 'UTF8')), ''::bytea order by {}), ''::bytea)), 'hex') from {} t",
            table.key.join(", "),
            table.name
        );
        digests.insert(table.name.to_owned(), sqlx::query_scalar(&sql).fetch_one(tx.conn()).await?);
    }
    for (name, rows, key) in [
        ("top_span", "select * from top_span", "employee_id, valid_from"),
        // A step that was taken back may stand there as zero, and a sum keeps the decimals of what it was added up from.
        (
            "headcount_step",
            "select dimension, period, starts_on, unit_id, currency, heads, trim_scale(annual) from headcount_step where heads <> 0 or annual <> 0",
            "dimension, period, starts_on, unit_id, currency",
        ),
    ] {
        let sql = format!(
            "select count(*) || ' ' || encode(sha256(coalesce(string_agg(sha256(convert_to(t::text, 'UTF8')), ''::bytea order by {key}), ''::bytea)), 'hex')
             from ({rows}) t"
        );
        digests.insert(name.to_owned(), sqlx::query_scalar(&sql).fetch_one(tx.conn()).await?);
    }
    tx.rollback().await?;
    Ok(digests)
}
