//! Makes what a registered tenant needs before it can be used, and confirms that by a command: a job of that tenant's.

use domain::tenancy::ConfirmProvisioned;
use events::{CommandId, CorrelationId, TenantScope};
use execution::{Sender, SentCommand, hash_of};
use jiff::Timestamp;
use platform::{
    Registry,
    history::Epoch,
    provision,
    queue::{self, JobKind, NewJob},
};
use serde_json::json;
use sqlx::error::DatabaseError;

use crate::{
    jobs::{Claimed, Outcome, Trouble},
    turn::{TurnError, Turns, within},
};

/// The name of what is done, in ids and as the sender.
const PROVISION: &str = "provision";

impl Turns {
    /// Gives its turn to a tenant that was registered and is not ready yet. True if there is more to do.
    pub(crate) async fn get_ready(&self, scope: TenantScope, fence: i64, epoch: &Epoch) -> Result<bool, TurnError> {
        self.cursor(scope, fence).await?;
        // The same each time, so it is there once.
        let id = CommandId::derive(scope.tenant().uuid(), PROVISION).uuid();
        let job = NewJob::seal(&self.0.keys, scope, id, JobKind::ProvisionTenant, &json!({}), "system:worker", Timestamp::now())?;
        within(async {
            let mut tx = self.begin(scope, fence).await?;
            queue::enqueue(tx.conn(), scope, &[job]).await?;
            Ok(tx.commit().await?)
        })
        .await?;
        let worked = Box::pin(self.work(scope, fence, epoch)).await?;
        self.settle_agenda(scope, fence).await?;
        Ok(worked)
    }

    /// Makes roles, claim key and read schema in one transaction, and then confirms it. Each is done once, however often this is
    /// tried.
    pub(crate) async fn provision(&self, scope: TenantScope, epoch: &Epoch, job: &Claimed) -> Outcome {
        let input: Result<serde_json::Value, _> = queue::open(&self.0.keys, scope, job.job_id, JobKind::ProvisionTenant, &job.input);
        if let Err(error) = input {
            return Outcome::Refused(Trouble::new("unreadable_input", error.to_string()));
        }
        if let Err(error) = provision::provision(&self.0.pool, &self.0.keys, scope).await {
            tracing::warn!(error = format!("{error:#}"), tenant = %scope.tenant(), "provisioning failed");
            return Outcome::Again(Trouble::new(code_of(&error), format!("{error:#}")));
        }
        let platform = Registry::platform_scope();
        let tenant_id = scope.tenant();
        let command = domain::Command::Tenancy(ConfirmProvisioned { tenant_id }.into());
        let sender = Sender::system(platform, PROVISION, epoch.clone());
        let id = CommandId::derive(tenant_id.uuid(), PROVISION);
        let hash = hash_of(command.name(), &json!({ "tenant_id": tenant_id }));
        let outcome = self.send(SentCommand::new(sender, command, hash, Some(id), None, CorrelationId::from_uuid(id.uuid()))).await;
        if outcome == Outcome::Done {
            tracing::info!(tenant = %tenant_id, "a tenant is ready");
            // Whether it can be read does not change what was done.
            if let Err(error) = self.0.registry.refresh().await {
                tracing::debug!(%error, "the registry could not be read");
            }
        }
        outcome
    }
}

/// A stable code for what PostgreSQL said: its own, which people look up.
fn code_of(error: &anyhow::Error) -> String {
    let said = error.chain().filter_map(|cause| cause.downcast_ref::<sqlx::Error>()).find_map(sqlx::Error::as_database_error);
    said.and_then(DatabaseError::code).map_or_else(|| "provisioning_failed".to_owned(), |code| format!("sqlstate_{code}"))
}
