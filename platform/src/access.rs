//! Who may do what to whom. Deny by default: what no grant allows is not allowed.
//!
//! A *role* is made of *permissions*: an action, a class of fields, and a reach. Built-in roles are data ([`BUILT_IN`]);
//! a tenant makes others of the same parts. What an actor holds are [`Grants`]: those of their roles, and those that
//! others delegated to them for a time. query-api turns the reach of reading into SQL, command-api checks that of
//! changing before it decides.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

pub use events::FieldClass;
use events::{DepartmentId, EmployeeId, TenantId, TenantScope};
use jiff::Timestamp;
use moka::future::Cache;
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, types::Json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::ScopedTx;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Look.
    Read,
    /// Send commands.
    Change,
}

/// As they stand in JSON.
macro_rules! named {
    ($($name:ident: $($text:literal $variant:ident)+;)+) => {$(
        impl FromStr for $name {
            type Err = &'static str;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(concat!("must be one of:", $(" ", $text),+)),
                }
            }
        }
    )+};
}
named! {
    Action: "read" Read "change" Change;
}

/// About whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Oneself.
    #[serde(rename = "self")]
    Oneself,
    /// Everybody whose chain of managers leads to oneself today, or will once they start.
    Line,
    /// Everybody in a department or one below it; of those who left, by the last one.
    #[schema(value_type = Uuid)]
    Department(DepartmentId),
    /// Everybody.
    All,
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Oneself => f.write_str("self"),
            Self::Line => f.write_str("line"),
            Self::Department(id) => write!(f, "department {id}"),
            Self::All => f.write_str("all"),
        }
    }
}

/// One thing that may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Permission {
    /// What is done.
    pub action: Action,
    /// To what.
    pub class: FieldClass,
    /// About whom.
    pub reach: Reach,
}

/// Something that is not about a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Duty {
    /// Decide who gets in: users, service accounts.
    ManageUsers,
    /// Make roles, and delegate for others.
    ManageRoles,
    /// Read what was decided about identity.
    ReadAudit,
    /// Register, suspend and list tenants; in the platform's own tenant only.
    ManageTenants,
}

/// What a role is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleContent {
    /// What may be done to facts about people.
    pub permissions: Vec<Permission>,
    /// What else may be done.
    #[serde(default)]
    pub duties: Vec<Duty>,
}

/// A role that every tenant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltIn {
    /// As it stands in a token.
    pub name: &'static str,
    /// What it is, for people.
    pub what: &'static str,
    permissions: &'static [(Action, &'static [FieldClass], Reach)],
    duties: &'static [Duty],
}

use Action::{Change, Read};
use FieldClass::{Absence, Directory, Medical, Pay, Personal};

/// The built-in roles. `operator` exists in the platform's own tenant only, the others everywhere else.
pub const BUILT_IN: [BuiltIn; 7] = [
    BuiltIn {
        name: "employee",
        what: "sees the directory, everything about themselves, changes how they are reached, and asks for leave",
        permissions: &[
            (Read, &[Directory], Reach::All),
            (Read, &[Personal, Pay, Absence, Medical], Reach::Oneself),
            (Change, &[Personal, Absence], Reach::Oneself),
        ],
        duties: &[],
    },
    BuiltIn {
        name: "manager",
        what: "sees the directory, the pay and the absences of their line, and decides about its leave",
        permissions: &[(Read, &[Directory], Reach::All), (Read, &[Pay, Absence], Reach::Line), (Change, &[Absence], Reach::Line)],
        duties: &[],
    },
    BuiltIn {
        name: "hr",
        what: "sees and changes everything about everybody but what is medical",
        permissions: &[
            (Read, &[Directory, Personal, Pay, Absence], Reach::All),
            (Change, &[Directory, Personal, Pay, Absence], Reach::All),
        ],
        duties: &[],
    },
    BuiltIn {
        name: "payroll",
        what: "sees the directory and everybody's pay, and changes pay",
        permissions: &[(Read, &[Directory, Pay], Reach::All), (Change, &[Pay], Reach::All)],
        duties: &[],
    },
    BuiltIn {
        name: "auditor",
        what: "sees everything about everybody but what is medical, and who was let in",
        permissions: &[(Read, &[Directory, Personal, Pay, Absence], Reach::All)],
        duties: &[Duty::ReadAudit],
    },
    BuiltIn {
        name: "owner",
        what: "sees and changes everything, and decides who gets in and as what",
        permissions: &[
            (Read, &[Directory, Personal, Pay, Absence, Medical], Reach::All),
            (Change, &[Directory, Personal, Pay, Absence, Medical], Reach::All),
        ],
        duties: &[Duty::ManageUsers, Duty::ManageRoles, Duty::ReadAudit],
    },
    BuiltIn {
        name: "operator",
        what: "registers, suspends and lists tenants, and decides who else does; sees nothing of theirs",
        permissions: &[],
        duties: &[Duty::ManageTenants, Duty::ManageUsers, Duty::ReadAudit],
    },
];

impl RoleContent {
    /// The part that a delegation passes on. Who stands in for another does their work: neither their private affairs nor
    /// their say in who may do what.
    #[must_use]
    pub fn passed_on(mut self) -> Self {
        self.permissions.retain(|permission| permission.reach != Reach::Oneself);
        self.duties.clear();
        self
    }
}

impl BuiltIn {
    /// The built-in role of this name that means something in this tenant.
    pub fn within(tenant: TenantId, name: &str) -> Option<Self> {
        BUILT_IN.into_iter().find(|role| role.name == name && role.is_for(tenant))
    }
    /// Whether the role means something in this tenant.
    pub fn is_for(self, tenant: TenantId) -> bool {
        (self.name == "operator") == (tenant == TenantId::PLATFORM)
    }
    /// What it is made of.
    pub fn content(self) -> RoleContent {
        let permissions = self
            .permissions
            .iter()
            .flat_map(|(action, classes, reach)| classes.iter().map(|class| Permission { action: *action, class: *class, reach: *reach }));
        RoleContent { permissions: permissions.collect(), duties: self.duties.to_vec() }
    }
}

/// Whether a role may have this name: a lower-case letter, then up to 39 letters, digits and hyphens.
pub fn is_role_name(name: &str) -> bool {
    (1..=40).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// A permission that somebody holds, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// What.
    pub permission: Permission,
    /// Whose self and line are meant.
    pub anchor: Option<EmployeeId>,
    /// The role, and the delegation if it came by one.
    pub rule: Rule,
}

/// What made a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Rule {
    /// The role.
    pub role: String,
    /// The delegation through which it came.
    pub delegation: Option<Uuid>,
}

/// All that somebody may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants(Arc<Inner>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Inner {
    grants: Vec<Grant>,
    duties: BTreeSet<Duty>,
}

/// About whom one class of facts may be seen or changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sight {
    /// About everybody; then the rest says nothing.
    pub all: bool,
    /// About these.
    pub people: BTreeSet<EmployeeId>,
    /// About the lines of these.
    pub lines: BTreeSet<EmployeeId>,
    /// About those in these departments and below.
    pub departments: BTreeSet<DepartmentId>,
}

impl Sight {
    /// Whether it is about nobody.
    pub fn is_empty(&self) -> bool {
        !self.all && self.people.is_empty() && self.lines.is_empty() && self.departments.is_empty()
    }
    fn add(&mut self, grant: &Grant) {
        match (grant.permission.reach, grant.anchor) {
            (Reach::All, _) => self.all = true,
            (Reach::Department(id), _) => drop(self.departments.insert(id)),
            (Reach::Oneself, Some(person)) => drop(self.people.insert(person)),
            (Reach::Line, Some(person)) => drop(self.lines.insert(person)),
            // Somebody who is nobody here has neither self nor line.
            (Reach::Oneself | Reach::Line, None) => {}
        }
    }
}

/// Somebody who holds roles, as far as their grants depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'h> {
    /// Their subject.
    pub subject: &'h str,
    /// The names of their roles.
    pub roles: &'h [String],
    /// The person that they are.
    pub employee: Option<EmployeeId>,
    /// Since when the subject names them: the confirmation of their issuer, if it is another one. A delegation that was made
    /// before was meant for whom an earlier issuer of the same name called so.
    pub named_since: Option<Timestamp>,
}

/// That somebody's employment has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// They are not employed now.
    Left,
    /// They were hired again, after a time without employment, and are employed since this instant, at which their first day began at
    /// the place of work.
    BackSince(Timestamp),
}

/// Of those who left, by person: whoever never did is not in it.
pub type Departures = BTreeMap<EmployeeId, Departure>;

impl Grants {
    /// What somebody's roles grant in a tenant, and what others delegated to them. A name that is neither a built-in nor the
    /// tenant's own grants nothing, nor does what somebody delegated who has left since, even if they were hired again.
    pub fn of(tenant: TenantId, access: &TenantAccess, holder: Holder<'_>, departures: &Departures) -> Self {
        let mut inner = Inner::default();
        inner.add(tenant, access, holder.roles, holder.employee, None);
        let stays = |d: &&Delegation| match access.ends_with(&d.from, d.anchor).and_then(|giver| departures.get(&giver)) {
            None => true,
            Some(Departure::Left) => false,
            Some(Departure::BackSince(start)) => d.made_at >= *start,
        };
        for delegation in access.in_force(holder).filter(stays) {
            inner.add(tenant, access, &delegation.roles, delegation.anchor, Some(delegation.id));
        }
        Self(Arc::new(inner))
    }
    /// Whether anything of this class may be done to anybody.
    pub fn any(&self, action: Action, class: FieldClass) -> bool {
        self.with(action, class).next().is_some()
    }
    /// Whether anything may be done at all.
    pub fn any_of(&self, action: Action) -> bool {
        self.0.grants.iter().any(|grant| grant.permission.action == action)
    }
    /// Whether this is theirs to do.
    pub fn has(&self, duty: Duty) -> bool {
        self.0.duties.contains(&duty)
    }
    /// About whom it may be done.
    pub fn sight(&self, action: Action, class: FieldClass) -> Sight {
        let mut sight = Sight::default();
        self.with(action, class).for_each(|grant| sight.add(grant));
        sight
    }
    /// The grants that allow something of this class, the widest first.
    pub fn reasons(&self, action: Action, class: FieldClass) -> Vec<(Grant, Sight)> {
        let mut reasons: Vec<_> = self.with(action, class).cloned().collect();
        reasons.sort_by_key(|grant| std::cmp::Reverse(grant.permission.reach));
        let sight = |grant: Grant| {
            let mut sight = Sight::default();
            sight.add(&grant);
            (grant, sight)
        };
        reasons.into_iter().map(sight).collect()
    }
    /// Whether whoever holds these may hand out all of that for good: nobody can give what they don't have, or have only
    /// for a time. `self` and `line` mean whoever gets it, so only who reaches everybody has them to give.
    pub fn cover(&self, content: &RoleContent) -> bool {
        let covers = |wanted: &Permission| {
            self.with(wanted.action, wanted.class).any(|grant| {
                let reach = grant.permission.reach;
                let same = matches!(reach, Reach::Department(_)) && reach == wanted.reach;
                grant.rule.delegation.is_none() && (reach == Reach::All || same)
            })
        };
        content.permissions.iter().all(covers) && self.cover_duties(content)
    }
    /// Whether all of that content's duties are theirs, too.
    pub fn cover_duties(&self, content: &RoleContent) -> bool {
        content.duties.iter().all(|duty| self.has(*duty))
    }
    /// What reaches some people only, and by where they stand rather than by who they are.
    pub fn by_place(&self) -> Vec<Sight> {
        let both = [Action::Read, Action::Change].into_iter().flat_map(|action| FieldClass::ALL.map(|class| self.sight(action, class)));
        let mut sights: Vec<Sight> = Vec::new();
        let by_place = |sight: &Sight| !(sight.lines.is_empty() && sight.departments.is_empty());
        for sight in both.filter(|sight| !sight.all).filter(by_place) {
            if !sights.contains(&sight) {
                sights.push(sight);
            }
        }
        sights
    }
    fn with(&self, action: Action, class: FieldClass) -> impl Iterator<Item = &Grant> {
        self.0.grants.iter().filter(move |grant| grant.permission.action == action && grant.permission.class == class)
    }
}

impl Inner {
    fn add(&mut self, tenant: TenantId, access: &TenantAccess, roles: &[String], anchor: Option<EmployeeId>, delegation: Option<Uuid>) {
        for name in roles {
            let Some(content) = access.content(tenant, name) else { continue };
            let content = if delegation.is_some() { content.passed_on() } else { content };
            let rule = Rule { role: name.clone(), delegation };
            self.grants.extend(content.permissions.into_iter().map(|permission| Grant { permission, anchor, rule: rule.clone() }));
            self.duties.extend(content.duties);
        }
    }
}

/// What a tenant decided about access: its own roles, and what is delegated now or later.
#[derive(Debug, Clone, Default)]
pub struct TenantAccess {
    /// By name.
    pub roles: Vec<(String, RoleContent)>,
    delegations: Vec<Delegation>,
    /// Subjects whose access does not end with their employment.
    after_leaving: BTreeSet<String>,
    /// When roles were removed, in seconds since 1970, for as long as a token may live that names one.
    removed: HashMap<String, u64>,
}

#[derive(Debug, Clone)]
struct Delegation {
    id: Uuid,
    from: String,
    to: String,
    roles: Vec<String>,
    anchor: Option<EmployeeId>,
    made_at: Timestamp,
    starts_at: Timestamp,
    ends_at: Timestamp,
}

type DelegationRow = (Uuid, String, String, Vec<String>, Option<Uuid>, i64, i64, i64);

impl TenantAccess {
    /// What a role of this name is made of here.
    pub fn content(&self, tenant: TenantId, name: &str) -> Option<RoleContent> {
        let own = || self.roles.iter().find(|(own, _)| own == name).map(|(_, content)| content.clone());
        BuiltIn::within(tenant, name).map(BuiltIn::content).or_else(own)
    }
    /// The person with whose employment a subject's access ends; none where an owner said otherwise.
    pub fn ends_with(&self, subject: &str, employee: Option<EmployeeId>) -> Option<EmployeeId> {
        employee.filter(|_| !self.after_leaving.contains(subject))
    }
    /// The people with whose employment what is delegated to somebody now ends.
    pub fn givers(&self, holder: Holder<'_>) -> BTreeSet<EmployeeId> {
        self.in_force(holder).filter_map(|delegation| self.ends_with(&delegation.from, delegation.anchor)).collect()
    }
    fn in_force<'a>(&'a self, holder: Holder<'a>) -> impl Iterator<Item = &'a Delegation> {
        let now = Timestamp::now();
        let theirs = move |d: &&Delegation| d.to == holder.subject && holder.named_since.is_none_or(|since| since < d.made_at);
        self.delegations.iter().filter(theirs).filter(move |d| d.starts_at <= now && now < d.ends_at)
    }
    /// Whether a role is still the one that a token meant, which was issued at an instant, in seconds since 1970: a role that
    /// was removed and made anew under its name is another. `leeway` are the seconds by which the issuer's clock may differ
    /// from the database's.
    pub fn is_as_issued(&self, role: &str, issued_at: u64, leeway: u64) -> bool {
        self.removed.get(role).is_none_or(|removed| issued_at > removed + leeway)
    }
    /// What others delegated to a subject, for now or for later.
    pub fn delegated_to<'a>(&'a self, tenant: TenantId, subject: &'a str) -> impl Iterator<Item = RoleContent> + 'a {
        let roles = self.delegations.iter().filter(move |delegation| delegation.to == subject).flat_map(|delegation| &delegation.roles);
        roles.filter_map(move |role| self.content(tenant, role).map(RoleContent::passed_on))
    }
    /// Reads it, within a transaction of the tenant's.
    pub async fn read(tx: &mut ScopedTx, scope: TenantScope) -> Result<Self, sqlx::Error> {
        let roles: Vec<(String, Json<RoleContent>)> =
            sqlx::query_as("select name, content from platform.access_role where tenant_id = $1 order by name")
                .bind(scope.tenant().uuid())
                .fetch_all(tx.conn())
                .await?;
        let delegations: Vec<DelegationRow> = sqlx::query_as(
            "select delegation_id, from_subject, to_subject, roles, anchor, (extract(epoch from made_at) * 1000)::bigint,
                 (extract(epoch from starts_at) * 1000)::bigint, (extract(epoch from ends_at) * 1000)::bigint
             from platform.delegation d where tenant_id = $1 and revoked_at is null and ends_at > now()
                 and (registration is null and from_subject not like 'external:%' or exists (
                     select from platform.external_issuer e
                     where e.registration_id = d.registration and e.tenant_id = d.tenant_id and e.confirmed_at is not null))",
        )
        .bind(scope.tenant().uuid())
        .fetch_all(tx.conn())
        .await?;
        // After the roles: whoever reads one that was made anew reads that it was removed.
        let removed: Vec<(String, i64)> = sqlx::query_as(
            "select name, ceil(extract(epoch from removed_at))::bigint from platform.removed_role where tenant_id = $1 and until > now()",
        )
        .bind(scope.tenant().uuid())
        .fetch_all(tx.conn())
        .await?;
        let after_leaving: Vec<String> = sqlx::query_scalar("select subject from platform.access_after_leaving where tenant_id = $1")
            .bind(scope.tenant().uuid())
            .fetch_all(tx.conn())
            .await?;
        let instant = |ms: i64| Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MIN);
        let delegation = |(id, from, to, roles, anchor, made, starts, ends): DelegationRow| Delegation {
            id,
            from,
            to,
            roles,
            anchor: anchor.map(EmployeeId::from_uuid),
            made_at: instant(made),
            starts_at: instant(starts),
            ends_at: instant(ends),
        };
        Ok(Self {
            roles: roles.into_iter().map(|(name, content)| (name, content.0)).collect(),
            delegations: delegations.into_iter().map(delegation).collect(),
            after_leaving: after_leaving.into_iter().collect(),
            removed: removed.into_iter().map(|(name, at)| (name, u64::try_from(at).unwrap_or_default())).collect(),
        })
    }
}

/// What the tenants decided, read when it is asked for and kept until its version moves.
#[derive(Clone)]
pub(crate) struct AccessBook {
    pool: Option<PgPool>,
    kept: Cache<(TenantId, i64), Arc<TenantAccess>>,
}

impl AccessBook {
    pub(crate) fn new(pool: Option<PgPool>) -> Self {
        Self { pool, kept: Cache::builder().max_capacity(10_000).time_to_idle(Duration::from_mins(10)).build() }
    }
    /// What a tenant decided, as of a version; none without one.
    pub(crate) async fn of(&self, scope: TenantScope, version: Option<i64>) -> Result<Arc<TenantAccess>, sqlx::Error> {
        let (Some(version), Some(pool)) = (version, &self.pool) else { return Ok(Arc::default()) };
        let key = (scope.tenant(), version);
        if let Some(access) = self.kept.get(&key).await {
            return Ok(access);
        }
        let read = async {
            let mut tx = ScopedTx::begin(pool, scope).await?;
            let access = TenantAccess::read(&mut tx, scope).await?;
            tx.commit().await?;
            Ok::<_, sqlx::Error>(Arc::new(access))
        };
        // Seldom, and large: every request's future would have room for it.
        Box::pin(self.kept.try_get_with(key, read)).await.map_err(|error| {
            // Shared by all who waited for it.
            if crate::problem::database_is_away(&error) { sqlx::Error::PoolTimedOut } else { sqlx::Error::Protocol(error.to_string()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> TenantId {
        TenantId::from_uuid(Uuid::from_u128(7))
    }
    fn nobody() -> Departures {
        Departures::new()
    }
    fn grants(roles: &[&str], employee: Option<u128>) -> Grants {
        let roles: Vec<_> = roles.iter().map(|role| (*role).to_owned()).collect();
        let employee = employee.map(|n| EmployeeId::from_uuid(Uuid::from_u128(n)));
        of(&TenantAccess::default(), Holder { employee, ..holder("s", &roles) })
    }
    fn of(access: &TenantAccess, holder: Holder<'_>) -> Grants {
        Grants::of(tenant(), access, holder, &nobody())
    }
    fn holder<'h>(subject: &'h str, roles: &'h [String]) -> Holder<'h> {
        Holder { subject, roles, employee: None, named_since: None }
    }

    #[test]
    fn what_no_grant_allows_is_not_allowed() {
        for roles in [&[][..], &["nobody"], &["HR"], &["operator"], &["hr "]] {
            let grants = grants(roles, Some(1));
            for class in FieldClass::ALL {
                assert!(grants.sight(Read, class).is_empty() && grants.sight(Change, class).is_empty(), "{roles:?}");
            }
            assert!(!grants.has(Duty::ManageTenants) && !grants.has(Duty::ManageUsers), "{roles:?}");
        }
        // Who is nobody here has no self.
        assert!(grants(&["employee"], None).sight(Read, Pay).is_empty());
        let nobody_but_the_owner_is_a_doctor =
            BUILT_IN.iter().filter(|role| role.content().permissions.iter().any(|p| p.class == Medical && p.reach == Reach::All));
        assert_eq!(nobody_but_the_owner_is_a_doctor.map(|role| role.name).collect::<Vec<_>>(), ["owner"]);
        let roles = ["operator".to_owned(), "hr".to_owned()];
        let platform = Grants::of(TenantId::PLATFORM, &TenantAccess::default(), holder("s", &roles), &nobody());
        assert!(platform.has(Duty::ManageTenants) && !platform.any_of(Read) && !platform.any_of(Change));
    }

    #[test]
    fn roles_add_up_and_say_why() {
        let both = grants(&["manager", "employee"], Some(3));
        let sight = both.sight(Read, Pay);
        assert_eq!((sight.all, sight.people.len(), sight.lines.len()), (false, 1, 1));
        assert!(both.sight(Read, Directory).all);
        let reasons: Vec<_> = both.reasons(Read, Pay).into_iter().map(|(g, _)| format!("{} {}", g.rule.role, g.permission.reach)).collect();
        assert_eq!(reasons, ["manager line", "employee self"]);
    }

    #[test]
    fn nobody_hands_out_what_they_do_not_have() {
        let of = |action, class, reach| RoleContent { permissions: vec![Permission { action, class, reach }], duties: vec![] };
        let owner = grants(&["owner"], None);
        let hr = grants(&["hr"], None);
        let manager = grants(&["manager"], Some(1));
        assert!(owner.cover(&of(Read, Medical, Reach::Line)) && !hr.cover(&of(Read, Medical, Reach::Oneself)));
        // Another's line is not the manager's own.
        assert!(!manager.cover(&of(Read, Pay, Reach::Line)) && !manager.cover(&of(Read, Pay, Reach::All)));
        assert!(manager.cover(&of(Read, Directory, Reach::Oneself)) && hr.cover(&of(Read, Pay, Reach::Line)));
        assert!(!hr.cover(&RoleContent { permissions: vec![], duties: vec![Duty::ManageUsers] }));
        for role in BUILT_IN.iter().filter(|role| role.is_for(tenant())) {
            assert!(owner.cover(&role.content()), "{}", role.name);
        }
    }

    #[test]
    fn a_delegation_passes_on_work_and_nothing_else() {
        let admin = RoleContent {
            permissions: vec![Permission { action: Read, class: Pay, reach: Reach::All }],
            duties: vec![Duty::ManageRoles, Duty::ManageUsers],
        };
        let day = jiff::SignedDuration::from_hours(24);
        let delegation = Delegation {
            id: Uuid::from_u128(1),
            from: "g".into(),
            to: "s".into(),
            roles: ["employee", "manager", "admin"].map(str::to_owned).to_vec(),
            anchor: Some(EmployeeId::from_uuid(Uuid::from_u128(9))),
            made_at: Timestamp::now() - day,
            starts_at: Timestamp::now() - day,
            ends_at: Timestamp::now() + day,
        };
        let mut access = TenantAccess { roles: vec![("admin".into(), admin)], delegations: vec![delegation], ..Default::default() };
        let grants = of(&access, holder("s", &[]));
        assert!(grants.sight(Read, Personal).is_empty() && grants.sight(Change, Personal).is_empty(), "another's own affairs");
        assert_eq!(grants.sight(Read, Pay).lines.len(), 1, "the manager's line");
        assert!(!grants.has(Duty::ManageRoles) && !grants.has(Duty::ManageUsers));
        let pay = RoleContent { permissions: vec![Permission { action: Read, class: Pay, reach: Reach::All }], duties: vec![] };
        assert!(grants.sight(Read, Pay).all && !grants.cover(&pay), "what one has for a time one can't give for good");
        assert!(of(&access, holder("t", &[])).sight(Read, Directory).is_empty());
        let delegated: Vec<_> = access.delegated_to(tenant(), "s").collect();
        assert!(delegated.iter().all(|content| content.duties.is_empty()) && delegated.iter().any(grants_pay));
        assert_eq!(access.delegated_to(tenant(), "t").count(), 0);
        // Whom an issuer names since later is another.
        for (named_since, theirs) in [(Timestamp::now() - day * 2, true), (Timestamp::now(), false)] {
            assert_eq!(of(&access, Holder { named_since: Some(named_since), ..holder("s", &[]) }).any_of(Read), theirs);
        }
        // A delegation ends with its giver's employment, unless an owner lets the giver keep access.
        let giver = EmployeeId::from_uuid(Uuid::from_u128(9));
        assert_eq!((access.givers(holder("s", &[])), access.givers(holder("t", &[]))), ([giver].into(), BTreeSet::new()));
        let made_at = access.delegations[0].made_at;
        let left = Departures::from([(giver, Departure::Left)]);
        // A delegation that its giver made before they left stays ended when they are hired again; one that they make afterwards counts.
        for (departure, stands) in [
            (Departure::Left, false),
            (Departure::BackSince(made_at + jiff::SignedDuration::from_nanos(1)), false),
            (Departure::BackSince(made_at), true),
            (Departure::BackSince(made_at - day), true),
        ] {
            let counted = Grants::of(tenant(), &access, holder("s", &[]), &[(giver, departure)].into());
            assert_eq!(counted, if stands { grants.clone() } else { Grants::default() }, "{departure:?}");
        }
        access.after_leaving.insert("g".into());
        assert!(access.givers(holder("s", &[])).is_empty());
        assert_eq!(Grants::of(tenant(), &access, holder("s", &[]), &left), grants);
    }
    fn grants_pay(content: &RoleContent) -> bool {
        content.permissions.iter().any(|permission| permission.class == Pay)
    }

    #[test]
    fn a_token_means_the_roles_of_its_time() {
        let access = TenantAccess { removed: HashMap::from([("clerk".to_owned(), 100)]), ..TenantAccess::default() };
        for (role, issued_at, leeway, same) in
            [("clerk", 100, 0, false), ("clerk", 101, 0, true), ("clerk", 105, 5, false), ("clerk", 106, 5, true), ("hr", 1, 5, true)]
        {
            assert_eq!(access.is_as_issued(role, issued_at, leeway), same, "{role} {issued_at} {leeway}");
        }
    }

    #[test]
    fn a_role_reads_as_it_is_written() {
        let text = r#"{"permissions":[{"action":"read","class":"pay","reach":"line"},
            {"action":"change","class":"personal","reach":{"department":"0190a7b2-6c3e-7def-8000-0123456789ab"}},
            {"action":"read","class":"directory","reach":"self"}],"duties":["manage_users"]}"#;
        let content: RoleContent = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::from_value::<RoleContent>(serde_json::to_value(&content).unwrap()).unwrap(), content);
        assert_eq!(content.permissions[2].reach, Reach::Oneself);
        assert!(serde_json::from_str::<RoleContent>(r#"{"permissions":[{"action":"read","class":"pay","reach":"everything"}]}"#).is_err());
    }
}
