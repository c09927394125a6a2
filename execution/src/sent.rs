//! A command that is sent: by whom, under which identity, and on which versions it was decided.

use domain::Command;
use events::{CommandHash, CommandId, CorrelationId, StreamName, TenantScope, Version};
use platform::Actor;
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

/// A command with who sends it and how.
#[derive(Debug, Clone)]
pub struct SentCommand {
    /// Who.
    pub(crate) actor: Actor,
    /// What; its ids are filled in.
    pub(crate) command: Command,
    /// The command's identity.
    pub(crate) command_id: CommandId,
    /// Whether the sender chose that identity and so may send the command again.
    pub(crate) keyed: bool,
    /// Of what the command was read from.
    pub(crate) hash: CommandHash,
    /// The versions that the sender has seen, where it says so.
    pub(crate) precondition: Option<Precondition>,
    /// Ties together what has one cause.
    pub(crate) correlation: CorrelationId,
}

impl SentCommand {
    /// A command under the identity `id`, or under a new one: then it can't be sent again. Sent again under one identity it must
    /// have the same `hash`, by which another command is told from it. Ids that the command lacks are derived from its identity.
    pub fn new(
        actor: Actor,
        mut command: Command,
        hash: CommandHash,
        id: Option<CommandId>,
        precondition: Option<Precondition>,
        correlation: CorrelationId,
    ) -> Self {
        let command_id = id.unwrap_or_else(|| CommandId::from_uuid(Uuid::now_v7()));
        command.fill_ids(command_id);
        Self { actor, command, command_id, keyed: id.is_some(), hash, precondition, correlation }
    }
    pub(crate) const fn scope(&self) -> TenantScope {
        self.actor.scope
    }
    /// The stream that the command writes to.
    pub(crate) const fn stream(&self) -> StreamName {
        self.command.stream(self.actor.scope)
    }
}
