//! Tenant-wide unique values, taken and released together with events.

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
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// What it is about, such as `work_email`. Part of stored data: add, never rename.
    pub kind: &'static str,
    /// The value, so written that equal things are equal text.
    pub value: String,
    /// Take or release.
    pub op: ClaimOp,
}

impl Claim {
    pub(crate) fn take(kind: &'static str, value: &str) -> Self {
        Self { kind, value: value.to_lowercase(), op: ClaimOp::Take }
    }
    pub(crate) fn release(kind: &'static str, value: &str) -> Self {
        Self { kind, value: value.to_lowercase(), op: ClaimOp::Release }
    }
}

/// Prints without the value, which may be personal.
impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Claim({:?} {})", self.op, self.kind)
    }
}
