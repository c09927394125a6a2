//! Jobs that wait for a worker: rows of `worker.job`. Whoever asks for one inserts it in the transaction of what it follows from, so
//! that both are there or neither is. (Work that an operator starts goes by a [`crate::job::Ticket`] instead.)

use std::time::Duration;

use events::TenantScope;
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Keys;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind {
    /// Send the command that an event led to.
    Reaction,
    /// Send a mail.
    SendMail,
    /// Make what a registered tenant needs before it can be used.
    ProvisionTenant,
}

impl JobKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Reaction, Self::SendMail, Self::ProvisionTenant];

    /// Its name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reaction => "reaction",
            Self::SendMail => "send-mail",
            Self::ProvisionTenant => "provision-tenant",
        }
    }
    /// The kind of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
    /// How long one try may take.
    pub const fn patience(self) -> Duration {
        match self {
            Self::Reaction => Duration::from_secs(30),
            Self::ProvisionTenant => Duration::from_mins(1),
            // Each step has a bound of its own; together they are shorter.
            Self::SendMail => Duration::from_mins(6),
        }
    }
    /// How often it is tried until an operator must say so. Pauses grow to an hour: twenty tries take four to eight hours, eighty
    /// take one and a half to three days, in which a mail server is mended, and the tickets in mails are good for a week.
    pub const fn tries(self) -> u32 {
        match self {
            Self::Reaction | Self::ProvisionTenant => 20,
            Self::SendMail => 80,
        }
    }
}

/// A job to be inserted.
#[derive(Debug, Clone)]
pub struct NewJob {
    id: Uuid,
    kind: JobKind,
    input: Vec<u8>,
    asked_by: String,
    made_at: Timestamp,
}

/// A job's input that is not what [`NewJob::seal`] made for this tenant, kind and job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// It does not open.
    #[error("its input was not sealed here, or for another tenant, kind or job")]
    Foreign,
    /// It opens, and can't be read.
    #[error("its input is of another build")]
    Unreadable,
}

impl NewJob {
    /// A job for a tenant, to be run as soon as may be. The same id again is the same job.
    pub fn seal(
        keys: &Keys,
        scope: TenantScope,
        id: Uuid,
        kind: JobKind,
        input: &impl Serialize,
        asked_by: &str,
        made_at: Timestamp,
    ) -> Result<Self, serde_json::Error> {
        let input = keys.seal(&context(scope, id, kind), &serde_json::to_vec(input)?);
        Ok(Self { id, kind, input, asked_by: asked_by.to_owned(), made_at })
    }
}

/// Inserts jobs in a transaction that is the tenant's ([`crate::ScopedTx`]). Those that are there already stay as they are.
pub async fn enqueue(conn: &mut PgConnection, scope: TenantScope, jobs: &[NewJob]) -> Result<(), sqlx::Error> {
    if jobs.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.id).collect();
    let kinds: Vec<&str> = jobs.iter().map(|job| job.kind.name()).collect();
    let inputs: Vec<&[u8]> = jobs.iter().map(|job| job.input.as_slice()).collect();
    let asked_by: Vec<&str> = jobs.iter().map(|job| job.asked_by.as_str()).collect();
    let made_at: Vec<i64> = jobs.iter().map(|job| job.made_at.as_microsecond()).collect();
    // Without the columns of the key, which whoever may only insert can't name here.
    sqlx::query(
        "insert into worker.job (tenant_id, job_id, kind, input, run_at, asked_by, made_at)
         select $1, id, kind, input, made_at, asked_by, made_at
         from unnest($2::uuid[], $3::text[], $4::bytea[], $5::text[], $6::bigint[]) new (id, kind, input, asked_by, made_at)
         on conflict do nothing",
    )
    .bind(scope.tenant().uuid())
    .bind(ids)
    .bind(kinds)
    .bind(inputs)
    .bind(asked_by)
    .bind(made_at)
    .execute(conn)
    .await
    .map(drop)
}

/// The input of a job. A row that was copied to another tenant, kind or job does not open.
pub fn open<T: DeserializeOwned>(keys: &Keys, scope: TenantScope, id: Uuid, kind: JobKind, sealed: &[u8]) -> Result<T, Unopened> {
    let input = keys.open_sealed(&context(scope, id, kind), sealed).map_err(|_| Unopened::Foreign)?;
    serde_json::from_slice(&input).map_err(|_| Unopened::Unreadable)
}

fn context(scope: TenantScope, id: Uuid, kind: JobKind) -> String {
    format!("queue\n{}\n{}\n{id}", kind.name(), scope.tenant())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_one_name_that_the_table_takes() {
        for kind in JobKind::ALL {
            assert_eq!(JobKind::named(kind.name()), Some(kind));
            assert!(kind.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", kind.name());
        }
        assert_eq!(JobKind::named("no-such-kind"), None);
    }
}
