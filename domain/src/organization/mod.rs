//! Departments (a tree), locations and jobs of a tenant: one aggregate, so that codes and the tree need no locks.
//!
//! On every day the open departments form a forest: who is above is open, and nobody is above themselves.

pub mod calendar;

mod commands;
mod due;
mod refusal;
#[cfg(test)]
mod tests;
mod units;

use std::collections::BTreeSet;

use events::{
    Change, DepartmentId, EmployeeId, JobId, LocationId, StreamName, TenantScope,
    employee::Patch,
    organization::{
        DepartmentClosed, DepartmentCreated, DepartmentMoved, DepartmentRenamed, JobCreated, JobRetired, JobRetitled, LocationChanged,
        LocationClosed, LocationOpened, OrganizationEvent, UnitChangeTookEffect, UnitId,
    },
};
use jiff::civil::Date;

pub use commands::*;
pub use due::due;
pub use refusal::Refusal;

pub(crate) use crate::due::no_reaction as react;
use units::{Unit, Units};

use crate::{
    Claim, Facts, Standing, Unique,
    facts::facts,
    restated::Sparse,
    text::{Name, TimeZoneName},
};

/// Nothing is claimed: one stream holds all codes of a tenant.
pub const UNIQUES: &[&Unique] = &[];

facts! { Organization answers {
    /// How a department stands on a day.
    DepartmentOn {
        /// The department.
        department: DepartmentId,
        /// The day.
        on: Date,
    } -> Standing;
    /// How a location stands on a day.
    LocationOn {
        /// The location.
        location: LocationId,
        /// The day.
        on: Date,
    } -> Standing;
    /// The IANA name of a location's time zone on a day. Before the location opens it is the first one, after it was closed the last
    /// one; none of a location that the tenant does not have.
    TimeZoneOn {
        /// The location.
        location: LocationId,
        /// The day.
        on: Date,
    } -> Option<String>;
    /// How a job stands on a day.
    JobOn {
        /// The job.
        job: JobId,
        /// The day.
        on: Date,
    } -> Standing;
    /// A department and those above it on a day, from below.
    DepartmentsAbove {
        /// The department.
        department: DepartmentId,
        /// The day.
        on: Date,
    } -> Vec<DepartmentId>;
} }

impl Question {
    /// The stream of the aggregate that answers.
    pub const fn stream(&self, scope: TenantScope) -> StreamName {
        StreamName::organization(scope)
    }
    /// Whether an answer that is a second old would be too old.
    pub const fn must_be_newest(&self) -> bool {
        false
    }
    /// What else is to be asked because of the answer: nothing.
    pub const fn leads_to(&self, _: &Fact) -> Vec<crate::Question> {
        Vec::new()
    }
}

/// A tenant's organization, as far as the rules read it. One that has nothing yet is the default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    departments: Units<DepartmentId, DepartmentChange>,
    locations: Units<LocationId, LocationChange>,
    jobs: Units<JobId, JobChange>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct DepartmentChange {
    name: Option<String>,
    parent: Patch<DepartmentId>,
}
impl Change for DepartmentChange {
    type Row = (String, Option<DepartmentId>);
    fn apply(&self, (name, parent): &mut Self::Row) {
        if let Some(new) = &self.name {
            name.clone_from(new);
        }
        self.parent.apply_to(parent);
    }
}
impl Sparse for DepartmentChange {
    fn over(&self, earlier: &Self) -> Self {
        Self { name: self.name.clone().or_else(|| earlier.name.clone()), parent: self.parent.or(earlier.parent) }
    }
    fn is_void(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct LocationChange {
    name: Option<String>,
    time_zone: Option<String>,
}
impl Change for LocationChange {
    type Row = (String, String);
    fn apply(&self, (name, time_zone): &mut Self::Row) {
        if let Some(new) = &self.name {
            name.clone_from(new);
        }
        if let Some(new) = &self.time_zone {
            time_zone.clone_from(new);
        }
    }
}
impl Sparse for LocationChange {
    fn over(&self, earlier: &Self) -> Self {
        Self {
            name: self.name.clone().or_else(|| earlier.name.clone()),
            time_zone: self.time_zone.clone().or_else(|| earlier.time_zone.clone()),
        }
    }
    fn is_void(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct JobChange {
    title: String,
}
impl Change for JobChange {
    type Row = String;
    fn apply(&self, title: &mut String) {
        title.clone_from(&self.title);
    }
}
impl Sparse for JobChange {
    fn over(&self, _: &Self) -> Self {
        self.clone()
    }
    fn is_void(&self) -> bool {
        false
    }
}

impl State {
    /// What follows from a command: events, nothing (it is so already), or a refusal.
    pub fn decide(&self, command: &Command, _: &Facts) -> Result<Vec<OrganizationEvent>, Refusal> {
        match command {
            Command::CreateDepartment(c) => {
                let (id, on) = (c.department_id, c.effective_on.date());
                let first = created_department(c.name.to_text(), c.parent_id);
                let Some(effective) = self.departments.create(id, &c.code, on, &first).map_err(|r| r.at("/department_id"))? else {
                    return Ok(Vec::new());
                };
                if let Some(parent) = c.parent_id {
                    self.check_parent(id, parent, on, None)?;
                }
                let (code, name, parent_id) = (c.code.to_text(), c.name.to_text(), c.parent_id);
                Ok(vec![DepartmentCreated { department_id: id, effective, code, name, parent_id }.into()])
            }
            Command::RenameDepartment(c) => {
                let change = DepartmentChange { name: Some(c.name.to_text()), parent: Patch::Keep };
                let effective = self.departments.change(c.department_id, c.effective_on.date(), &change)?;
                let renamed = |effective| DepartmentRenamed { department_id: c.department_id, effective, name: c.name.to_text() };
                Ok(effective.map(|e| renamed(e).into()).into_iter().collect())
            }
            Command::MoveDepartment(c) => {
                let (id, on) = (c.department_id, c.effective_on.date());
                let change = DepartmentChange { name: None, parent: c.parent_id.map_or(Patch::Clear, Patch::Set) };
                let Some(effective) = self.departments.change(id, on, &change)? else { return Ok(Vec::new()) };
                if let Some(parent) = c.parent_id {
                    let department = self.departments.get(id).ok_or(Refusal::NotFound)?;
                    self.check_parent(id, parent, on, department.stays_until(on))?;
                }
                Ok(vec![DepartmentMoved { department_id: id, effective, parent_id: c.parent_id }.into()])
            }
            Command::CloseDepartment(c) => {
                let (id, on) = (c.department_id, c.effective_on.date());
                let Some(effective) = self.departments.close(id, on)? else { return Ok(Vec::new()) };
                if self.departments.iter().any(|(_, other)| other.is_below(id, on)) {
                    return Err(Refusal::HasSubDepartments);
                }
                Ok(vec![DepartmentClosed { department_id: id, effective }.into()])
            }

            Command::OpenLocation(c) => {
                let (id, on) = (c.location_id, c.effective_on.date());
                let (name, time_zone) = (c.name.to_text(), c.time_zone.to_text());
                let first = LocationChange { name: Some(name.clone()), time_zone: Some(time_zone.clone()) };
                let effective = self.locations.create(id, &c.code, on, &first).map_err(|r| r.at("/location_id"))?;
                let opened = |effective| LocationOpened { location_id: id, effective, code: c.code.to_text(), name, time_zone };
                Ok(effective.map(|e| opened(e).into()).into_iter().collect())
            }
            Command::ChangeLocation(c) => {
                let (name, time_zone) = (c.name.as_ref().map(Name::to_text), c.time_zone.as_ref().map(TimeZoneName::to_text));
                let change = LocationChange { name, time_zone };
                let effective = self.locations.change(c.location_id, c.effective_on.date(), &change)?;
                let LocationChange { name, time_zone } = change;
                let changed = |effective| LocationChanged { location_id: c.location_id, effective, name, time_zone };
                Ok(effective.map(|e| changed(e).into()).into_iter().collect())
            }
            Command::CloseLocation(c) => {
                let effective = self.locations.close(c.location_id, c.effective_on.date())?;
                let closed = |effective| LocationClosed { location_id: c.location_id, effective };
                Ok(effective.map(|e| closed(e).into()).into_iter().collect())
            }

            Command::CreateJob(c) => {
                let (id, on) = (c.job_id, c.effective_on.date());
                let first = JobChange { title: c.title.to_text() };
                let effective = self.jobs.create(id, &c.code, on, &first).map_err(|r| r.at("/job_id"))?;
                let created = |effective| JobCreated { job_id: id, effective, code: c.code.to_text(), title: first.title };
                Ok(effective.map(|e| created(e).into()).into_iter().collect())
            }
            Command::RetitleJob(c) => {
                let change = JobChange { title: c.title.to_text() };
                let effective = self.jobs.change(c.job_id, c.effective_on.date(), &change)?;
                let retitled = |effective| JobRetitled { job_id: c.job_id, effective, title: change.title };
                Ok(effective.map(|e| retitled(e).into()).into_iter().collect())
            }
            Command::RetireJob(c) => {
                let effective = self.jobs.close(c.job_id, c.effective_on.date())?;
                let retired = |effective| JobRetired { job_id: c.job_id, effective };
                Ok(effective.map(|e| retired(e).into()).into_iter().collect())
            }

            // The state does not remember announcements. The store accepts a command's id once, and this one is derived from the fact's event.
            Command::AnnounceUnitChange(AnnounceUnitChange { unit, what, effective }) => {
                let (unit, what, effective) = (*unit, *what, *effective);
                let holds = match unit {
                    UnitId::Department(id) => self.departments.holds(id, what, effective),
                    UnitId::Location(id) => self.locations.holds(id, what, effective),
                    UnitId::Job(id) => self.jobs.holds(id, what, effective),
                };
                Ok(holds.then(|| UnitChangeTookEffect { unit, what, effective }.into()).into_iter().collect())
            }
        }
    }

    /// The claims that go with events: none. One stream holds all codes of a tenant.
    pub const fn claims(&self, _events: &[OrganizationEvent]) -> Vec<Claim> {
        Vec::new()
    }

    /// The state after an event.
    pub fn evolve(mut self, event: &OrganizationEvent) -> Self {
        match event {
            OrganizationEvent::DepartmentCreated(e) => {
                self.departments.created(e.department_id, &e.code, e.effective, created_department(e.name.clone(), e.parent_id));
            }
            OrganizationEvent::DepartmentRenamed(e) => {
                self.departments.changed(
                    e.department_id,
                    e.effective,
                    DepartmentChange { name: Some(e.name.clone()), parent: Patch::Keep },
                );
            }
            OrganizationEvent::DepartmentMoved(e) => {
                let change = DepartmentChange { name: None, parent: e.parent_id.map_or(Patch::Clear, Patch::Set) };
                self.departments.changed(e.department_id, e.effective, change);
            }
            OrganizationEvent::DepartmentClosed(e) => self.departments.closed(e.department_id, e.effective.on),
            OrganizationEvent::LocationOpened(e) => {
                let first = LocationChange { name: Some(e.name.clone()), time_zone: Some(e.time_zone.clone()) };
                self.locations.created(e.location_id, &e.code, e.effective, first);
            }
            OrganizationEvent::LocationChanged(e) => {
                let change = LocationChange { name: e.name.clone(), time_zone: e.time_zone.clone() };
                self.locations.changed(e.location_id, e.effective, change);
            }
            OrganizationEvent::LocationClosed(e) => self.locations.closed(e.location_id, e.effective.on),
            OrganizationEvent::JobCreated(e) => {
                self.jobs.created(e.job_id, &e.code, e.effective, JobChange { title: e.title.clone() });
            }
            OrganizationEvent::JobRetitled(e) => self.jobs.changed(e.job_id, e.effective, JobChange { title: e.title.clone() }),
            OrganizationEvent::JobRetired(e) => self.jobs.closed(e.job_id, e.effective.on),
            // The announcement changes nothing: its fact is in the state already.
            OrganizationEvent::UnitChangeTookEffect(_) => {}
        }
        self
    }

    /// What must be looked up for a command: nothing.
    pub const fn questions(&self, _: &Command) -> Vec<crate::Question> {
        Vec::new()
    }

    /// The answer to a question.
    pub fn answer(&self, question: &Question) -> Fact {
        match *question {
            Question::DepartmentOn(q) => Fact::DepartmentOn(self.departments.standing(q.department, q.on)),
            Question::LocationOn(q) => Fact::LocationOn(self.locations.standing(q.location, q.on)),
            Question::TimeZoneOn(q) => {
                Fact::TimeZoneOn(self.locations.get(q.location).and_then(|location| location.time_zone_on(q.on)).map(str::to_owned))
            }
            Question::JobOn(q) => Fact::JobOn(self.jobs.standing(q.job, q.on)),
            Question::DepartmentsAbove(q) => Fact::DepartmentsAbove(self.chain_of(q.department, q.on)),
        }
    }

    /// Nobody.
    pub const fn person(&self) -> Option<EmployeeId> {
        None
    }

    /// A department and those above it on a day, from below.
    fn chain_of(&self, id: DepartmentId, on: Date) -> Vec<DepartmentId> {
        let mut chain = vec![id];
        // As many steps as there are departments lead to a root, unless history is broken; then stop all the same.
        while let Some(above) = chain.last().and_then(|id| self.departments.get(*id)).and_then(|d| d.parent_on(on)) {
            if chain.len() > self.departments.len() {
                break;
            }
            chain.push(above);
        }
        chain
    }

    /// Whether `parent` may stand above `id` on every day of `[on, until)`.
    fn check_parent(&self, id: DepartmentId, parent: DepartmentId, on: Date, until: Option<Date>) -> Result<(), Refusal> {
        if parent == id {
            return Err(Refusal::Cycle(on));
        }
        let above = self.departments.get(parent).ok_or(Refusal::UnknownParent)?;
        if !above.is_open_throughout(on, until) {
            return Err(Refusal::ParentNotOpen);
        }
        // The tree changes only on days on which some department moves; between two of them it is the same.
        let moves = self.departments.iter().flat_map(|(_, d)| d.move_days());
        let days: BTreeSet<Date> = moves.filter(|day| *day > on && until.is_none_or(|end| *day < end)).chain([on]).collect();
        for day in days {
            let mut above = Some(parent);
            // As many steps as there are departments lead to a root, unless history is broken; then stop all the same.
            for _ in 0..self.departments.len() {
                let Some(current) = above else { break };
                if current == id {
                    return Err(Refusal::Cycle(day));
                }
                above = self.departments.get(current).and_then(|d| d.parent_on(day));
            }
        }
        Ok(())
    }
}

fn created_department(name: String, parent: Option<DepartmentId>) -> DepartmentChange {
    DepartmentChange { name: Some(name), parent: parent.map_or(Patch::Clear, Patch::Set) }
}

impl Unit<LocationChange> {
    fn time_zone_on(&self, day: Date) -> Option<&str> {
        let last = self.closed_from().map_or(Date::MAX, |end| end.yesterday().unwrap_or(Date::MIN));
        let day = day.min(last).max(self.opened_on());
        let mut held = self.changes().iter().rev().filter(|(at, _)| at.on <= day);
        held.find_map(|(_, change)| change.time_zone.as_deref())
    }
}

impl Unit<DepartmentChange> {
    /// The days on which the department is put somewhere, earliest first.
    fn move_days(&self) -> impl Iterator<Item = Date> {
        self.changes().iter().filter(|(_, change)| !change.parent.is_keep()).map(|(at, _)| at.on)
    }

    /// The department above on a day.
    fn parent_on(&self, day: Date) -> Option<DepartmentId> {
        let latest = self.changes().iter().rev().find(|(at, change)| at.on <= day && !change.parent.is_keep());
        match latest.map(|(_, change)| change.parent) {
            Some(Patch::Set(parent)) => Some(parent),
            Some(Patch::Clear | Patch::Keep) | None => None,
        }
    }

    /// Until when a move on a day counts: the next move, or the closing.
    fn stays_until(&self, on: Date) -> Option<Date> {
        let next = self.move_days().find(|day| *day > on);
        match (next, self.closed_from()) {
            (Some(next), Some(end)) => Some(next.min(end)),
            (next, end) => next.or(end),
        }
    }

    /// Whether it is open below `parent` on any day from `on`.
    fn is_below(&self, parent: DepartmentId, on: Date) -> bool {
        let opens = self.opened_on().max(on);
        if self.closed_from().is_some_and(|end| end <= opens) {
            return false;
        }
        let last = |day: &Date| self.closed_from().is_none_or(|end| *day < end);
        self.parent_on(opens) == Some(parent)
            || self.move_days().filter(|day| *day > opens).filter(last).any(|day| self.parent_on(day) == Some(parent))
    }
}
