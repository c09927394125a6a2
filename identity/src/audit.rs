//! What was decided about identity is written down.

use events::TenantScope;
use platform::{Actor, Problem, ScopedTx};

use crate::{state::Identity, subjects::is_opaque};

/// Writes down a decision, if who made it still may. `subject` is whom it is about, `actor` who made it.
pub(crate) async fn audit(
    tx: &mut ScopedTx,
    scope: TenantScope,
    action: &'static str,
    outcome: &'static str,
    subject: Option<&str>,
    actor: Option<&Actor>,
) -> Result<(), Problem> {
    if let Some(actor) = actor {
        actor.after_waiting().await?;
    }
    let (tenant, actor) = (scope.tenant(), actor.map(|actor| actor.subject.as_str()));
    // A role's name, or the subject that a client wrote, may be anything; the log gets what is ours and says nothing.
    let logged = subject.filter(|text| is_opaque(text));
    tracing::info!(target: "audit", %tenant, action, outcome, subject = logged, actor, "identity");
    metrics::counter!("identity_decisions_total", "action" => action, "outcome" => outcome).increment(1);
    sqlx::query("insert into platform.identity_audit (tenant_id, action, outcome, subject, actor) values ($1, $2, $3, $4, $5)")
        .bind(tenant.uuid())
        .bind(action)
        .bind(outcome)
        .bind(subject)
        .bind(actor)
        .execute(tx.conn())
        .await?;
    Ok(())
}

impl Identity {
    /// Writes down a decision that changed nothing.
    pub(crate) async fn write_down(
        &self,
        scope: TenantScope,
        action: &'static str,
        outcome: &'static str,
        subject: Option<&str>,
    ) -> Result<(), Problem> {
        let mut tx = self.begin(scope).await?;
        audit(&mut tx, scope, action, outcome, subject, None).await?;
        Ok(tx.commit().await?)
    }
}
