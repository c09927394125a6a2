//! A tenant's live read model as PostgreSQL has it: where it stands, whether it is whole, and how a rebuilt one takes its place.

use std::sync::LazyLock;

use events::{Position, TenantId, TenantScope};
use sqlx::{PgConnection, PgPool};

use crate::{
    READ_MODEL_VERSION, ScopedTx,
    provision::{ReadModelSql, create_tables, drop_in, read_model_sql},
    read_schema,
};

/// A rebuild of a tenant's read model that was begun. It builds in a schema of its own, and may cut over until a later one begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuild {
    scope: TenantScope,
    live: String,
    epoch: i64,
}

impl Rebuild {
    /// Begins one, on the session that holds the lock against others: a session that was lost draws no epoch.
    pub async fn begin(session: &mut PgConnection, scope: TenantScope) -> Result<Self, sqlx::Error> {
        let begin = sqlx::query_scalar("select platform.begin_rebuild($1)").bind(scope.tenant().namespace());
        Ok(Self { scope, live: read_schema(scope.tenant(), READ_MODEL_VERSION), epoch: begin.fetch_one(session).await? })
    }
    /// The schema that is served, and is to be replaced.
    pub fn live(&self) -> &str {
        &self.live
    }
    /// The schema that this rebuild makes.
    pub fn next(&self) -> String {
        format!("{}_n{}", self.live, self.epoch)
    }
    /// Makes the empty tables, without keys and indexes.
    pub async fn create_schema(&self, projector: &PgPool, sql: &ReadModelSql) -> anyhow::Result<()> {
        let mut tx = ScopedTx::begin(projector, self.scope).await?;
        drop_in(tx.conn(), self.scope, &self.next()).await?;
        create_tables(tx.conn(), self.scope, &self.next(), &sql.tables).await?;
        tx.commit().await?;
        Ok(())
    }
    /// Puts what was made in the place of the live read model, in the caller's transaction; the old one becomes `{live}_old`.
    /// Queries in flight finish on it. PostgreSQL refuses if a later rebuild has begun, or if what was made does not stand at
    /// `position` or lacks a table, a key or an index. Under the projector's own role: before `set local role`, or after
    /// `set local role none`.
    pub async fn cut_over(&self, conn: &mut PgConnection, position: Position) -> Result<(), sqlx::Error> {
        let (tables, indexes) = relations();
        sqlx::query("select platform.cut_over($1, $2, $3, $4, $5, $6)")
            .bind(self.scope.tenant().namespace())
            .bind(&self.live)
            .bind(self.epoch)
            .bind(i64::try_from(position.0).map_err(|e| sqlx::Error::Encode(e.into()))?)
            .bind(tables)
            .bind(indexes)
            .execute(conn)
            .await
            .map(|_| ())
    }
    /// Drops what rebuilds have left beside the live read model: the one that was replaced, and those that were given up. What
    /// somebody still uses, or all if a later rebuild has begun, is left to the next.
    pub async fn drop_left_over(&self, projector: &PgPool) -> Result<(), sqlx::Error> {
        sqlx::query("select platform.drop_left_over($1, $2, $3)")
            .bind(self.scope.tenant().namespace())
            .bind(&self.live)
            .bind(self.epoch)
            .execute(projector)
            .await
            .map(|_| ())
    }
    /// Drops what this one has made, where it ends without having cut over.
    pub async fn give_up(&self, projector: &PgPool) -> anyhow::Result<()> {
        drop_in(&mut *projector.acquire().await?, self.scope, &self.next()).await
    }
}

/// Where a tenant's read model stands, and whether it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is whole, and this is the last event in it.
    At(Position),
    /// There is none.
    Missing,
    /// It lacks its checkpoint, a table, a key or an index.
    Damaged,
}

/// Where the live read models of these tenants stand. One statement, which reads a few rows of PostgreSQL's own tables for each.
pub async fn standings(projector: &PgPool, tenants: &[TenantScope]) -> Result<Vec<(TenantId, Standing)>, sqlx::Error> {
    let namespaces: Vec<String> = tenants.iter().map(|scope| scope.tenant().namespace()).collect();
    let rows: Vec<(Option<i64>, i64, i64)> = sqlx::query_as("select stands_at, tables, indexes from platform.read_models($1, $2)")
        .bind(namespaces)
        .bind(READ_MODEL_VERSION.cast_signed())
        .fetch_all(projector)
        .await?;
    let standing = |(stands_at, tables, indexes): (Option<i64>, i64, i64)| match stands_at.map(u64::try_from) {
        None if tables == 0 => Standing::Missing,
        Some(Ok(position)) if tables >= relations().0 && indexes >= relations().1 => Standing::At(Position(position)),
        None | Some(_) => Standing::Damaged,
    };
    Ok(tenants.iter().zip(rows).map(|(scope, row)| (scope.tenant(), standing(row))).collect())
}

/// How many tables a whole read model of this build has, and how many keys and indexes.
fn relations() -> (i64, i64) {
    static RELATIONS: LazyLock<(i64, i64)> = LazyLock::new(|| {
        let ReadModelSql { tables, indexes } = read_model_sql();
        let count = |sql: &[&str], what: &str| sql.iter().map(|sql| sql.matches(what).count() as i64).sum::<i64>();
        (count(&tables, "create table "), count(&tables, " primary key") + count(&indexes, ";\n"))
    });
    *RELATIONS
}
