//! Bootstrap and provisioning: roles, schemas, keys. Absent or ready, never half; safe when two run at once.

use events::TenantScope;
use sqlx::PgPool;

use crate::Keys;

/// Brings the database up to this build: login roles (with these passwords), schemas `platform` and `event_store`,
/// grants. Runs as the owner; idempotent; takes an advisory lock.
pub async fn bootstrap(_owner: &PgPool, _passwords: &[(&str, &str)]) -> anyhow::Result<()> {
    todo!()
}

/// Makes a tenant usable: its roles `t_{namespace}` and `w_{namespace}`, its read schema with tables and indexes, its
/// claim key. One transaction; doing it again changes nothing. Called by the projector on `TenantRegistered`.
pub async fn provision(_projector: &PgPool, _keys: &Keys, _scope: TenantScope) -> anyhow::Result<()> {
    todo!()
}

/// Makes an empty read schema (tables, no indexes) under this name beside the live one, dropping a left-over of the
/// same name first. For rebuilds.
pub async fn create_read_schema(_projector: &PgPool, _scope: TenantScope, _schema: &str) -> anyhow::Result<()> {
    todo!()
}

/// The SQL of every read-model table, and of every key and index, in order: `migrations/read_model`.
pub fn read_model_sql() -> (Vec<&'static str>, Vec<&'static str>) {
    todo!()
}
