//! Background work for a tenant: it carries its tenant in a ticket that only this system can have written, and does not
//! run without one. [`Ticket::issue`] is the one way to start a job, [`Ticket::open`] the one way to its tenant, and
//! [`Job::begin`] uses a ticket up.
//!
//! (An import is no job of this kind: it sends commands with an access token, which names its tenant and is signed.)

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use events::{TenantId, TenantScope};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{Keys, ScopedTx};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Fold a tenant's log into a new read model and cut over to it.
    RebuildReadModel,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::RebuildReadModel => "rebuild-read-model",
        }
    }
    /// How long a ticket may wait until it is begun. A job that runs is not interrupted.
    const fn lifetime(self) -> Duration {
        match self {
            Self::RebuildReadModel => Duration::from_hours(1),
        }
    }
}

/// The right to do one kind of work for one tenant, as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket(String);

/// Work that may be done: what a ticket says, once it was checked.
#[derive(Debug, Clone)]
pub struct Job {
    /// Names this job, in logs and among those that were begun.
    pub id: Uuid,
    /// Who asked for it; opaque.
    pub asked_by: String,
    scope: TenantScope,
}

/// A ticket that is none: forged, for other work, too old, or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the job is refused: {0}")]
pub struct Refused(&'static str);

/// Why a job did not begin.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// Its ticket is good for nothing any more.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// PostgreSQL is away.
    #[error("the job can't be recorded: {0}")]
    Database(#[from] sqlx::Error),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    id: Uuid,
    tenant: TenantId,
    asked_by: String,
    /// Seconds since 1970.
    good_until: i64,
}

impl Ticket {
    /// A ticket for one job. Whoever asks has been shown to have the right to.
    pub fn issue(keys: &Keys, scope: TenantScope, kind: Kind, asked_by: &str) -> anyhow::Result<Self> {
        let good_until = Timestamp::now().as_second() + i64::try_from(kind.lifetime().as_secs())?;
        let content = Content { id: Uuid::now_v7(), tenant: scope.tenant(), asked_by: asked_by.to_owned(), good_until };
        tracing::info!(target: "audit", job = %content.id, kind = kind.name(), tenant = %content.tenant, asked_by, "job asked for");
        Ok(Self(URL_SAFE_NO_PAD.encode(keys.seal(&context(kind), &serde_json::to_vec(&content)?))))
    }
    /// The job, if the ticket is one of ours for such work and not too old.
    pub fn open(&self, keys: &Keys, kind: Kind) -> Result<Job, Refused> {
        let refused = |why| {
            tracing::warn!(target: "audit", kind = kind.name(), why, "job refused");
            Refused(why)
        };
        let sealed = URL_SAFE_NO_PAD.decode(&self.0).map_err(|_| refused("the ticket is not base64url"))?;
        // Sealed under the master key and bound to the kind: nobody else can have written it, and for nothing else.
        let content =
            keys.open_sealed(&context(kind), &sealed).map_err(|_| refused("the ticket was not issued here, or for other work"))?;
        let content: Content = serde_json::from_slice(&content).map_err(|_| refused("the ticket is of another build"))?;
        if content.good_until < Timestamp::now().as_second() {
            return Err(refused("the ticket is too old; ask for another"));
        }
        tracing::info!(target: "audit", job = %content.id, kind = kind.name(), tenant = %content.tenant, "job begins");
        Ok(Job { id: content.id, asked_by: content.asked_by, scope: TenantScope::checked(content.tenant) })
    }
    /// As text, for a queue or a command line.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// A ticket from text; whether it is one, [`Ticket::open`] tells.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl Job {
    /// Uses the ticket up, as the projector: it begins one job, of a tenant that was made ready.
    pub async fn begin(&self, projector: &PgPool) -> Result<(), BeginError> {
        let mut tx = ScopedTx::begin(projector, self.scope).await?;
        let tenant = self.scope.tenant().uuid();
        let ready = "select exists (select from platform.tenant_key where tenant_id = $1)";
        let ready: bool = sqlx::query_scalar(ready).bind(tenant).fetch_one(tx.conn()).await?;
        let old = "delete from platform.job where tenant_id = $1 and begun_at < now() - interval '1 day'";
        sqlx::query(old).bind(tenant).execute(tx.conn()).await?;
        let used = "insert into platform.job (job_id, tenant_id) values ($1, $2) on conflict do nothing";
        let is_first = sqlx::query(used).bind(self.id).bind(tenant).execute(tx.conn()).await?.rows_affected() == 1;
        tx.commit().await?;
        let why = match (ready, is_first) {
            (true, true) => return Ok(()),
            (true, false) => "the ticket was used before; ask for another",
            (false, _) => "its tenant was never made ready",
        };
        tracing::warn!(target: "audit", job = %self.id, tenant = %self.scope.tenant(), why, "job refused");
        Err(Refused(why).into())
    }
    /// The right to its tenant's data.
    pub const fn scope(&self) -> TenantScope {
        self.scope
    }
}

fn context(kind: Kind) -> String {
    format!("job\n{}", kind.name())
}
