//! A command that is sent: by whom, under which identity, and on which versions it was decided.

use domain::Command;
use events::{CommandHash, CommandId, CorrelationId, EventId, StreamName, TenantScope, Version};
use platform::{Actor, Problem, history::Epoch};
use uuid::Uuid;

/// The versions on which the sender has decided (of a client: `If-Match`, RFC 9110, section 13.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// `*`: it exists.
    Any,
    /// One of these.
    OneOf(Vec<Version>),
}

impl Precondition {
    /// Whether a stream at this version is what the sender has seen.
    pub(crate) fn admit(&self, version: Version) -> bool {
        match self {
            Self::Any => version > Version::ZERO,
            Self::OneOf(versions) => versions.contains(&version),
        }
    }
}

/// Who sends a command.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "a sender is moved a few times and never stored in bulk")]
pub enum Sender {
    /// Somebody whom the gate let in. Whether they may send the command is checked before it is decided.
    Actor(Actor),
    /// Tenure itself, for what follows from recorded events. Its rights are not checked: what it may do, the rules of domain say.
    System {
        /// The tenant.
        scope: TenantScope,
        /// What it says of itself in the events' metadata: `system:` and what it acts upon.
        subject: String,
        /// Of the history that its cause was read from.
        epoch: Epoch,
    },
}

impl Sender {
    /// Tenure itself, upon what `what` names, such as `due`.
    pub fn system(scope: TenantScope, what: &str, epoch: Epoch) -> Self {
        Self::System { scope, subject: format!("system:{what}"), epoch }
    }
    pub(crate) const fn scope(&self) -> TenantScope {
        match self {
            Self::Actor(actor) => actor.scope,
            Self::System { scope, .. } => *scope,
        }
    }
    /// The subject that the events' metadata name.
    pub(crate) fn subject(&self) -> &str {
        match self {
            Self::Actor(actor) => &actor.subject,
            Self::System { subject, .. } => subject,
        }
    }
    pub(crate) const fn epoch(&self) -> &Epoch {
        match self {
            Self::Actor(actor) => &actor.epoch,
            Self::System { epoch, .. } => epoch,
        }
    }
    /// Looks again at an actor whom nobody looked at for a while. Fails where they would not be let in any more.
    pub(crate) async fn renew_if_old(&mut self) -> Result<(), Problem> {
        if let Self::Actor(actor) = self
            && let Some(renewed) = actor.renewed_if_old().await?
        {
            *actor = renewed;
        }
        Ok(())
    }
}

/// A command with who sends it and how.
#[derive(Debug, Clone)]
pub struct SentCommand {
    /// Who.
    pub(crate) sender: Sender,
    /// What; its ids are filled in.
    pub(crate) command: Command,
    /// The command's identity.
    pub(crate) command_id: CommandId,
    /// Whether the sender chose that identity and so may send the command again.
    pub(crate) keyed: bool,
    /// The identity that builds before gave the command, with the ids that followed from it.
    pub(crate) earlier: Option<Box<(CommandId, Command)>>,
    /// Of what the command was read from.
    pub(crate) hash: CommandHash,
    /// The versions that the sender has seen, where it says so.
    pub(crate) precondition: Option<Precondition>,
    /// Ties together what has one cause.
    pub(crate) correlation: CorrelationId,
    /// The event that caused the command, where one did.
    pub(crate) causation: Option<EventId>,
}

impl SentCommand {
    /// A command under the identity `id`, or under a new one: then it can't be sent again. Sent again under one identity it must
    /// have the same `hash`, by which another command is told from it. Ids that the command lacks are derived from its identity.
    pub fn new(
        sender: Sender,
        mut command: Command,
        hash: CommandHash,
        id: Option<CommandId>,
        precondition: Option<Precondition>,
        correlation: CorrelationId,
    ) -> Self {
        let command_id = id.unwrap_or_else(|| CommandId::from_uuid(Uuid::now_v7()));
        command.fill_ids(command_id);
        Self { sender, command, command_id, keyed: id.is_some(), earlier: None, hash, precondition, correlation, causation: None }
    }
    /// The same command, which builds before knew under this identity; `command` as it was before it got ids.
    pub fn known_before_as(self, id: CommandId, mut command: Command) -> Self {
        command.fill_ids(id);
        Self { earlier: Some(Box::new((id, command))), ..self }
    }
    /// The command as builds before would have sent it.
    pub(crate) fn as_earlier(&self) -> Option<Self> {
        let (command_id, command) = *self.earlier.clone()?;
        Some(Self { command_id, command, earlier: None, ..self.clone() })
    }
    /// The same command, as one that an event caused.
    pub fn caused_by(self, cause: EventId) -> Self {
        Self { causation: Some(cause), ..self }
    }
    pub(crate) const fn scope(&self) -> TenantScope {
        self.sender.scope()
    }
    /// The stream that the command writes to.
    pub(crate) const fn stream(&self) -> StreamName {
        self.command.stream(self.sender.scope())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use domain::tenancy::ConfirmProvisioned;
    use events::TenantId;

    #[test]
    fn what_the_system_sends_names_its_cause_and_can_be_sent_again() {
        let scope = TenantScope::checked(TenantId::PLATFORM);
        let sender = Sender::system(scope, "due", Epoch::default());
        assert_eq!((sender.subject(), sender.scope(), sender.epoch().tag()), ("system:due", scope, None));
        let command = domain::tenancy::Command::from(ConfirmProvisioned { tenant_id: TenantId::PLATFORM });
        let (id, cause) = (CommandId::derive(Uuid::nil(), "due"), EventId::derive(Uuid::nil(), "cause"));
        let (hash, correlation) = (CommandHash(Uuid::nil()), CorrelationId::from_uuid(Uuid::nil()));
        let sent = SentCommand::new(sender, Command::Tenancy(command), hash, Some(id), None, correlation);
        assert_eq!((sent.command_id, sent.keyed, sent.causation), (id, true, None));
        assert_eq!(sent.caused_by(cause).causation, Some(cause));
    }
}
