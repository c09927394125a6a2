//! Whom and what a command touches: what rights are looked up for it, and what it shares with other commands.

use events::{DepartmentId, EmployeeId, FieldClass};

/// What a command changes, by which it is decided who may send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touches {
    /// Tenants. For operators of the platform.
    Tenants,
    /// What is nobody's in particular: for whoever may change facts of this class about everybody.
    Everybody(FieldClass),
    /// A person.
    Person(PersonTouched),
}

/// What a command changes about a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PersonTouched {
    /// The person.
    pub person: Whose,
    /// Whether the person begins to be known by it, so that nothing of them can be out of reach.
    pub is_new: bool,
    /// Facts of which classes.
    pub classes: &'static [FieldClass],
    /// The department that it puts the person into.
    pub department: Option<DepartmentId>,
    /// Whom it puts the person under.
    pub manager: Option<EmployeeId>,
    /// Whether it takes somebody else than the person, however far their reach is.
    pub by_another: bool,
}

impl PersonTouched {
    /// Facts of these classes about this person, who stays where they are.
    pub const fn facts(person: Whose, classes: &'static [FieldClass]) -> Self {
        Self { person, is_new: false, classes, department: None, manager: None, by_another: false }
    }
    /// The same, which nobody decides about themselves.
    pub const fn decided_by_another(person: Whose, classes: &'static [FieldClass]) -> Self {
        Self { by_another: true, ..Self::facts(person, classes) }
    }
}

/// How a command says whom it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// It names the person.
    Named(EmployeeId),
    /// It names an aggregate that is about a person: [`crate::State::person`].
    OfAggregate,
}

/// What one command of a tenant at a time may hold while it is decided, because its rule reads other aggregates and what it
/// found must still hold when the events are stored. The name is a row of `platform.turn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lock(pub &'static str);

/// What a command has to do with a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockUse {
    /// It is decided while it holds the lock.
    Holds(Lock),
    /// It changes what holders of the lock read, but can make nothing wrong that they found right, so it needs not hold it. A
    /// holder that comes after it sees what it did.
    Affects(Lock),
}
