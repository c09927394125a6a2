//! Tenant-wide unique values, taken and released together with events.

use events::capabilities;

/// What a value is about that one aggregate at a time may hold.
#[derive(Debug, PartialEq, Eq)]
pub struct Unique {
    /// Its name, such as `work_email`. Part of stored data: add, never rename.
    pub name: &'static str,
    /// The code of the refusal where another holds the value.
    pub code: &'static str,
    /// What to do then.
    pub detail: &'static str,
}

/// Take or give back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClaimOp {
    /// Give it back.
    Release,
    /// Take it; the append fails if another stream holds it.
    Take,
}

/// A value that one aggregate at a time may hold. The value is clear and normalised here; it leaves the process only
/// as a keyed digest.
#[derive(Clone, PartialEq, Eq)]
pub struct Claim {
    /// What it is about.
    pub of: &'static Unique,
    /// The value, so written that equal things are equal text.
    pub value: String,
    /// Take or release.
    pub op: ClaimOp,
}

impl Claim {
    pub(crate) fn take(of: &'static Unique, value: &str) -> Self {
        Self { of, value: value.to_lowercase(), op: ClaimOp::Take }
    }
    pub(crate) fn release(of: &'static Unique, value: &str) -> Self {
        Self { of, value: value.to_lowercase(), op: ClaimOp::Release }
    }
}

/// Prints without the value, which may be personal.
impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Claim({:?} {})", self.op, self.of.name)
    }
}

/// What can be said of a command's claims before it is decided.
#[derive(Clone, PartialEq, Eq)]
pub enum ClaimUse {
    /// It may take this value.
    Takes {
        /// What the value is about.
        of: &'static Unique,
        /// The value, so written that equal things are equal text.
        value: String,
        /// JSON Pointer to the command's field that holds it.
        pointer: &'static str,
    },
    /// It may give up a value, which only the state knows.
    GivesUp(&'static Unique),
    /// It gives up or takes a value which only the state knows, in a rare case that can't be told from the command: nobody waits for it.
    Rarely(&'static Unique, ClaimOp),
}

impl ClaimUse {
    pub(crate) fn takes(of: &'static Unique, value: &str, pointer: &'static str) -> Self {
        Self::Takes { of, value: value.to_lowercase(), pointer }
    }
    /// Whether it announces a claim that was decided.
    pub fn covers(&self, claim: &Claim) -> bool {
        match self {
            Self::Takes { of, value, .. } => claim.op == ClaimOp::Take && claim.of == *of && claim.value == *value,
            Self::GivesUp(of) => claim.op == ClaimOp::Release && claim.of == *of,
            Self::Rarely(of, op) => claim.op == *op && claim.of == *of,
        }
    }
}

/// Prints without the value, which may be personal.
impl std::fmt::Debug for ClaimUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Takes { of, .. } => write!(f, "Takes({})", of.name),
            Self::GivesUp(of) => write!(f, "GivesUp({})", of.name),
            Self::Rarely(of, op) => write!(f, "Rarely({op:?} {})", of.name),
        }
    }
}

macro_rules! uniques {
    (
        platform [$($platform:ident { $($(#[$pdoc:meta])* $PKind:ident = $pcategory:literal in $($pmodule:ident)::+;)+ })*]
        tenants [$($tenants:ident { $($(#[$tdoc:meta])* $TKind:ident = $tcategory:literal in $($tmodule:ident)::+;)+ })*]
    ) => {
        /// All that is unique: in a tenant, then among tenants.
        pub fn uniques() -> impl Iterator<Item = &'static Unique> {
            let all: [&[&'static Unique]; _] =
                [$($(crate::$($tmodule)::+::UNIQUES,)+)* $($(crate::$($pmodule)::+::UNIQUES,)+)*];
            all.into_iter().flatten().copied()
        }
    };
}
capabilities!(uniques);
