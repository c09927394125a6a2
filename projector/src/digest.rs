//! A hash per table of a read model: two read models are equal exactly when their digests are (I3).

use std::collections::BTreeMap;

use events::TenantScope;
use platform::{Access, TenantTx};
use sqlx::{Executor as _, PgPool};

use crate::{
    Capabilities,
    batch::tables,
    derived::{DerivedInfo, DerivedTables as _},
    projection::Projection,
};

/// Per table, the number of its rows and a hash over all of them in the order of their keys. The checkpoint is not in it.
pub async fn digest(pool: &PgPool, scope: TenantScope, schema: &str) -> Result<BTreeMap<String, String>, sqlx::Error> {
    digest_of::<Capabilities>(pool, scope, schema).await
}

/// The same for the tables of a projection.
pub async fn digest_of<P: Projection>(pool: &PgPool, scope: TenantScope, schema: &str) -> Result<BTreeMap<String, String>, sqlx::Error> {
    let mut tx = TenantTx::begin(pool, scope, schema, Access::Write).await?;
    // All tables as of one instant, and written the same way whatever the server's settings are.
    tx.conn().execute("set transaction isolation level repeatable read, read only; set local datestyle = 'ISO, YMD'").await?;
    let folded = tables::<P>().into_iter().map(|table| (table, format!("select {} from {}", table.columns.join(", "), table.name)));
    let derived = derived::<P>().into_iter().map(|info| (info.table, info.compared.to_owned()));
    let mut digests = BTreeMap::new();
    for (table, rows) in folded.chain(derived) {
        let sql = format!(
            "select count(*) || ' ' || encode(sha256(coalesce(string_agg(sha256(convert_to(t::text, 'UTF8')), ''::bytea order by {}), ''::bytea)), 'hex')
             from ({rows}) t",
            table.key.join(", "),
        );
        digests.insert(table.name.to_owned(), sqlx::query_scalar(&sql).fetch_one(tx.conn()).await?);
    }
    tx.rollback().await?;
    Ok(digests)
}

/// The tables that are worked out from others.
pub(crate) fn derived<P: Projection>() -> Vec<DerivedInfo> {
    let mut infos = Vec::new();
    P::Derived::infos(&mut infos);
    infos
}
