//! The kinds of leave that a tenant has, and its policies in versions: one aggregate, so that codes need no locks.

use std::collections::BTreeMap;

use events::{
    CommandId, EmployeeId, FieldClass, StreamName, TenantScope,
    leave::{
        LeavePolicyId, LeavePolicyTerms, LeaveTypeClass, LeaveTypeId, PolicyFault, PolicyVersion,
        terms::{LeavePolicyPublished, LeaveTermsEvent, LeaveTypeDefined, LeaveTypeRenamed},
    },
};
use jiff::civil::Date;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

pub(crate) use crate::due::{no_reaction as react, nothing_due as due};
use crate::{
    Claim, ClaimUse, Facts, LockUse, Touches, Unique,
    command::{chosen, commands},
    facts::facts,
    text::{Code, Day, Name},
};

/// Nothing is claimed: one stream holds all codes of a tenant.
pub const UNIQUES: &[&Unique] = &[];

/// The most versions of a policy.
const MAX_VERSIONS: usize = 200;

commands! {
    /// A command about kinds of leave or policies.
    pub enum Command { DefineLeaveType, RenameLeaveType, PublishLeavePolicy, ReviseLeavePolicy }
}

/// Define a kind of leave.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DefineLeaveType {
    /// Its id; chosen by the system if absent.
    #[serde(default = "unset_type", deserialize_with = "chosen")]
    pub type_id: LeaveTypeId,
    /// A short code, unique among the tenant's kinds of leave, never reused.
    pub code: Code,
    /// The name.
    pub name: Name,
    /// Who may know that an absence is of this kind. It can't be changed: people were promised it.
    pub class: LeaveTypeClass,
}

/// Give a kind of leave another name.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameLeaveType {
    /// The kind of leave.
    pub type_id: LeaveTypeId,
    /// The name from now on.
    pub name: Name,
}

/// Publish a policy for a kind of leave.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishLeavePolicy {
    /// Its id; chosen by the system if absent.
    #[serde(default = "unset_policy", deserialize_with = "chosen")]
    pub policy_id: LeavePolicyId,
    /// The kind of leave that it is about.
    pub type_id: LeaveTypeId,
    /// A short code, unique among the tenant's policies, never reused.
    pub code: Code,
    /// The first day of its first version.
    pub effective_on: Day,
    /// What it says.
    pub terms: LeavePolicyTerms,
}

/// Publish another version of a policy. What was earned and decided before its first day stays.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviseLeavePolicy {
    /// The policy.
    pub policy_id: LeavePolicyId,
    /// The first day of the version; after the first day of the one before.
    pub effective_on: Day,
    /// What it says from then on.
    pub terms: LeavePolicyTerms,
}

// The nil id stands for "not chosen" until `Command::fill_ids`.
const fn unset_type() -> LeaveTypeId {
    LeaveTypeId::from_uuid(Uuid::nil())
}
const fn unset_policy() -> LeavePolicyId {
    LeavePolicyId::from_uuid(Uuid::nil())
}

/// A policy, as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The tenant's own code.
    pub code: String,
    /// The kind of leave that it is about.
    pub type_id: LeaveTypeId,
    /// Who may know of that.
    pub class: LeaveTypeClass,
    /// The versions, earliest first.
    pub versions: Vec<PolicyVersion>,
}

facts! { LeaveTerms answers {
    /// A policy with all its versions; none where the tenant has no such policy.
    PolicyOf {
        /// The policy.
        policy: LeavePolicyId,
    } -> Option<Policy>;
} }

impl Question {
    /// The stream of the aggregate that answers.
    pub const fn stream(&self, scope: TenantScope) -> StreamName {
        StreamName::leave_terms(scope)
    }
    /// Whether an answer that is a second old would be too old. It would: what follows from a version is worked out as soon as it is
    /// published, and not again.
    pub const fn must_be_newest(&self) -> bool {
        true
    }
    /// What else is to be asked because of the answer: nothing.
    pub const fn leads_to(&self, _: &Fact) -> Vec<crate::Question> {
        Vec::new()
    }
}

/// A rule about kinds of leave and policies said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The kind of leave or policy does not exist.
    #[error("there is no such kind of leave or leave policy")]
    NotFound,
    /// The id is taken by one with other particulars.
    #[error("this id was created with other particulars; send a change instead, or choose another id")]
    AlreadyExists(&'static str),
    /// The code is another's.
    #[error("the code is in use; choose another one")]
    CodeTaken,
    /// There is no such kind of leave.
    #[error("type_id names no kind of leave; send one that this tenant has")]
    UnknownType,
    /// The terms can't be followed.
    #[error(transparent)]
    Terms(#[from] PolicyFault),
    /// A version before the one before.
    #[error("effective_on must be after {0}, the first day of the version before")]
    NotLater(Date),
    /// A limit against runaway clients.
    #[error("a policy has at most 200 versions; publish another policy")]
    TooManyVersions,
}

impl Refusal {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyExists(_) => "already_exists",
            Self::CodeTaken => "code_taken",
            Self::UnknownType => "unknown_reference",
            Self::Terms(_) => "invalid_policy",
            Self::NotLater(_) => "version_not_later",
            Self::TooManyVersions => "too_many_versions",
        }
    }
    /// JSON Pointer to the field at fault.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::NotFound => None,
            Self::AlreadyExists(pointer) => Some(pointer),
            Self::CodeTaken => Some("/code"),
            Self::UnknownType => Some("/type_id"),
            Self::Terms(fault) => Some(fault.field()),
            Self::NotLater(_) | Self::TooManyVersions => Some("/effective_on"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct LeaveType {
    code: String,
    name: String,
    class: LeaveTypeClass,
}

/// A tenant's kinds of leave and policies. One that has nothing yet is the default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    types: BTreeMap<LeaveTypeId, LeaveType>,
    policies: BTreeMap<LeavePolicyId, Policy>,
}

impl State {
    /// What follows from a command: events, nothing (it is so already), or a refusal.
    pub fn decide(&self, command: &Command, _: &Facts) -> Result<Vec<LeaveTermsEvent>, Refusal> {
        match command {
            Command::DefineLeaveType(c) => {
                let (type_id, wanted) = (c.type_id, LeaveType { code: c.code.to_text(), name: c.name.to_text(), class: c.class });
                if let Some(known) = self.types.get(&type_id) {
                    return if *known == wanted { Ok(Vec::new()) } else { Err(Refusal::AlreadyExists("/type_id")) };
                }
                if self.types.values().any(|other| other.code.eq_ignore_ascii_case(&wanted.code)) {
                    return Err(Refusal::CodeTaken);
                }
                let LeaveType { code, name, class } = wanted;
                Ok(vec![LeaveTypeDefined { type_id, code, name, class }.into()])
            }
            Command::RenameLeaveType(c) => {
                let known = self.types.get(&c.type_id).ok_or(Refusal::NotFound)?;
                if known.name == c.name.as_str() {
                    return Ok(Vec::new());
                }
                Ok(vec![LeaveTypeRenamed { type_id: c.type_id, name: c.name.to_text() }.into()])
            }
            Command::PublishLeavePolicy(c) => self.publish(c),
            Command::ReviseLeavePolicy(c) => {
                let (policy_id, from) = (c.policy_id, c.effective_on.date());
                let known = self.policies.get(&policy_id).ok_or(Refusal::NotFound)?;
                if known.versions.iter().any(|version| version.from == from && version.terms == c.terms) {
                    return Ok(Vec::new());
                }
                c.terms.check()?;
                let last = known.versions.last().ok_or(Refusal::NotFound)?;
                if from <= last.from {
                    return Err(Refusal::NotLater(last.from));
                }
                if known.versions.len() >= MAX_VERSIONS {
                    return Err(Refusal::TooManyVersions);
                }
                let (type_id, code, version) = (known.type_id, known.code.clone(), last.version + 1);
                Ok(vec![LeavePolicyPublished { policy_id, type_id, code, version, from, terms: c.terms.clone() }.into()])
            }
        }
    }

    fn publish(&self, c: &PublishLeavePolicy) -> Result<Vec<LeaveTermsEvent>, Refusal> {
        let (policy_id, type_id, code, from) = (c.policy_id, c.type_id, c.code.to_text(), c.effective_on.date());
        if let Some(known) = self.policies.get(&policy_id) {
            let first = known.versions.first().map(|version| (version.from, &version.terms));
            let same = (known.type_id, &known.code) == (type_id, &code) && first == Some((from, &c.terms));
            return if same { Ok(Vec::new()) } else { Err(Refusal::AlreadyExists("/policy_id")) };
        }
        if !self.types.contains_key(&type_id) {
            return Err(Refusal::UnknownType);
        }
        if self.policies.values().any(|other| other.code.eq_ignore_ascii_case(&code)) {
            return Err(Refusal::CodeTaken);
        }
        c.terms.check()?;
        Ok(vec![LeavePolicyPublished { policy_id, type_id, code, version: 1, from, terms: c.terms.clone() }.into()])
    }

    /// The claims that go with events: none. One stream holds all codes of a tenant.
    pub const fn claims(&self, _events: &[LeaveTermsEvent]) -> Vec<Claim> {
        Vec::new()
    }

    /// The state after an event.
    pub fn evolve(mut self, event: &LeaveTermsEvent) -> Self {
        match event {
            LeaveTermsEvent::LeaveTypeDefined(e) => {
                self.types.insert(e.type_id, LeaveType { code: e.code.clone(), name: e.name.clone(), class: e.class });
            }
            LeaveTermsEvent::LeaveTypeRenamed(e) => {
                if let Some(known) = self.types.get_mut(&e.type_id) {
                    known.name.clone_from(&e.name);
                }
            }
            LeaveTermsEvent::LeavePolicyPublished(e) => {
                let class = self.types.get(&e.type_id).map_or(LeaveTypeClass::Medical, |known| known.class);
                let policy = Policy { code: e.code.clone(), type_id: e.type_id, class, versions: Vec::new() };
                let version = PolicyVersion { version: e.version, from: e.from, terms: e.terms.clone() };
                self.policies.entry(e.policy_id).or_insert(policy).versions.push(version);
            }
        }
        self
    }

    /// What must be looked up for a command: nothing.
    pub const fn questions(&self, _: &Command) -> Vec<crate::Question> {
        Vec::new()
    }

    /// The answer to a question.
    pub fn answer(&self, question: &Question) -> Fact {
        let Question::PolicyOf(q) = question;
        Fact::PolicyOf(self.policies.get(&q.policy).cloned())
    }

    /// Nobody.
    pub const fn person(&self) -> Option<EmployeeId> {
        None
    }
}

impl Command {
    /// Gives what is created an id derived from the command's, unless one was chosen.
    pub fn fill_ids(&mut self, command: CommandId) {
        let parent = command.uuid();
        match self {
            Self::DefineLeaveType(c) if c.type_id == unset_type() => c.type_id = LeaveTypeId::derive(parent, "leave type"),
            Self::PublishLeavePolicy(c) if c.policy_id == unset_policy() => c.policy_id = LeavePolicyId::derive(parent, "leave policy"),
            Self::DefineLeaveType(_) | Self::RenameLeaveType(_) | Self::PublishLeavePolicy(_) | Self::ReviseLeavePolicy(_) => {}
        }
    }
    /// The stream of the tenant's kinds of leave and policies.
    pub const fn stream(&self, scope: TenantScope) -> StreamName {
        StreamName::leave_terms(scope)
    }
    /// The id of the kind of leave or policy.
    pub fn object_id(&self) -> String {
        match self {
            Self::DefineLeaveType(c) => c.type_id.to_string(),
            Self::RenameLeaveType(c) => c.type_id.to_string(),
            Self::PublishLeavePolicy(c) => c.policy_id.to_string(),
            Self::ReviseLeavePolicy(c) => c.policy_id.to_string(),
        }
    }
    /// Whether it starts a stream: none does, the tenant has one.
    pub const fn creates(&self) -> bool {
        false
    }
    /// Whom it touches.
    pub const fn touches(&self) -> Touches {
        Touches::Everybody(FieldClass::Directory)
    }
    /// None: one stream holds all codes of a tenant.
    pub const fn claims(&self) -> Vec<ClaimUse> {
        Vec::new()
    }
    /// None: one stream decides.
    pub const fn lock(&self) -> Option<LockUse> {
        None
    }
}

/// A sample of each, for tests of all commands.
#[cfg(test)]
pub(crate) fn samples() -> Vec<(&'static str, String)> {
    let day = r#""effective_on":"2020-01-01""#;
    let terms = r#""terms":{"unit":"half_days","counting":{"count":"working_time"},
        "tiers":[{"after_months":0,"grant":{"kind":"steps","allowance":{"kind":"fixed","amount":"25"},"per":"year","every":{"kind":"months","count":12,"from":"01-01"},"credit":"at_start"}}],
        "change_over":"next_step","proration":"days","by_fraction":false,
        "carry_over":{"year_starts":"01-01","carried":{"carry":"nothing"}},"encashable":false,"leap_day":"february28"}"#;
    vec![
        ("DefineLeaveType", r#"{"code":"annual","name":"Annual leave","class":"absence"}"#.into()),
        ("RenameLeaveType", r#"{"type_id":"ID","name":"Vacation"}"#.into()),
        ("PublishLeavePolicy", format!(r#"{{"type_id":"ID","code":"standard",{day},{terms}}}"#)),
        ("ReviseLeavePolicy", format!(r#"{{"policy_id":"ID",{day},{terms}}}"#)),
    ]
}
