//! Mail about a ticket: who is invited, or is to choose another password, gets the ticket by mail too where mail is configured.
//! The job for it is written in the transaction that makes the ticket, so that both are there or neither is; the worker sends it.

use std::{collections::BTreeMap, convert::Infallible};

use axum::extract::FromRequestParts;
use http::request::Parts;
use jiff::Timestamp;
use platform::{
    Actor, Problem, ScopedTx,
    mail::{Language, MailOrder, MailTemplate},
    queue::{self, JobKind, NewJob},
};
use uuid::Uuid;

use crate::{state::Identity, tickets::TICKET};

/// The language of the mail that a request causes: that of whoever sends the request, because nothing is known of the recipient.
pub(crate) struct AskedLanguage(pub(crate) Language);

impl<S: Send + Sync> FromRequestParts<S> for AskedLanguage {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self(Language::asked_for(&parts.headers)))
    }
}

impl Identity {
    /// Queues the mail with a ticket. Does nothing, and does not ask for the address, where no mail is configured.
    pub(crate) async fn queue_mail(
        &self,
        tx: &mut ScopedTx,
        actor: &Actor,
        (template, language): (MailTemplate, Language),
        to: impl FnOnce() -> Result<String, Problem>,
        ticket: &str,
    ) -> Result<(), Problem> {
        if self.config.mail_from.is_none() {
            return Ok(());
        }
        let order = MailOrder { template, language, to: to()?, fields: fields(&actor.tenant.name, ticket) };
        let (scope, id, now) = (actor.scope, Uuid::now_v7(), Timestamp::now());
        let job = NewJob::seal(&self.keys, scope, id, JobKind::SendMail, &order, &actor.subject, now);
        let job = job.map_err(|error| Problem::internal(&error))?;
        queue::enqueue(tx.conn(), scope, &[job]).await?;
        Ok(())
    }
}

/// What both templates tell, beside the link that the worker puts in.
fn fields(company: &str, ticket: &str) -> BTreeMap<String, String> {
    let days = TICKET.as_secs() / (24 * 3600);
    [("tenant", company.to_owned()), ("ticket", ticket.to_owned()), ("days", days.to_string())]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_says_for_how_many_days_its_ticket_is_good() {
        assert_eq!(fields("Acme", "tt_x").get("days").map(String::as_str), Some("7"));
        assert_eq!(TICKET.as_secs() % (24 * 3600), 0, "whole days");
    }
}
