//! The fold of the organization: departments, locations, jobs.

#![deny(clippy::disallowed_methods)]

use events::{Change, Span, Timeline, employee::Patch, organization::OrganizationEvent};
use jiff::civil::Date;
use uuid::Uuid;

use crate::{
    fold::{CannotFold, after_first, effective, is_set, patch, seq, sets, storable_effective, storable_text},
    rows::{DepartmentSpan, JobSpan, LocationSpan, Rows, Until},
};

fn misplaced(event: &OrganizationEvent) -> CannotFold {
    CannotFold(format!("{} does not belong to this key", event.event_type()))
}

/// A department's changes, and the first day without it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Department {
    changes: Timeline<DepartmentChange>,
    end: Option<Date>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct DepartmentChange {
    code: Option<String>,
    name: Option<String>,
    /// `Patch::Clear` makes it a root.
    parent: Patch<Uuid>,
}

impl Change for DepartmentChange {
    type Row = (String, String, Option<Uuid>, i16);
    fn apply(&self, row: &mut Self::Row) {
        if let Some(code) = &self.code {
            row.0.clone_from(code);
        }
        if let Some(name) = &self.name {
            row.1.clone_from(name);
        }
        self.parent.apply_to(&mut row.2);
        row.3 = sets([self.code.is_some(), self.name.is_some(), !self.parent.is_keep()]);
    }
}

impl Department {
    pub(crate) fn fold(&mut self, event: &OrganizationEvent) -> Result<(), CannotFold> {
        match event {
            OrganizationEvent::DepartmentCreated(e) => {
                storable_text([&e.code, &e.name])?;
                let parent = e.parent_id.map_or(Patch::Clear, |id| Patch::Set(id.uuid()));
                self.changes.insert(
                    storable_effective(e.effective)?,
                    DepartmentChange { code: Some(e.code.clone()), name: Some(e.name.clone()), parent },
                );
            }
            OrganizationEvent::DepartmentRenamed(e) => {
                let at = after_first(&self.changes, e.effective, event.event_type())?;
                storable_text([&e.name])?;
                self.changes.insert(at, DepartmentChange { name: Some(e.name.clone()), ..DepartmentChange::default() });
            }
            OrganizationEvent::DepartmentMoved(e) => {
                let at = after_first(&self.changes, e.effective, event.event_type())?;
                let parent = e.parent_id.map_or(Patch::Clear, |id| Patch::Set(id.uuid()));
                self.changes.insert(at, DepartmentChange { parent, ..DepartmentChange::default() });
            }
            OrganizationEvent::DepartmentClosed(e) => {
                self.end = Some(after_first(&self.changes, e.effective, event.event_type())?.on);
            }
            OrganizationEvent::LocationOpened(_)
            | OrganizationEvent::LocationChanged(_)
            | OrganizationEvent::LocationClosed(_)
            | OrganizationEvent::JobCreated(_)
            | OrganizationEvent::JobRetitled(_)
            | OrganizationEvent::JobRetired(_) => return Err(misplaced(event)),
        }
        Ok(())
    }

    /// From the rows of one department.
    pub(crate) fn from_rows(mut rows: Vec<DepartmentSpan>) -> Self {
        rows.sort_by_key(|row| (row.valid_from, row.seq));
        let mut department = Self { end: end_of(rows.iter().map(|row| (row.valid_from, row.valid_to))), ..Self::default() };
        for row in rows {
            let change = DepartmentChange {
                code: is_set(row.sets, 0).then_some(row.code),
                name: is_set(row.sets, 1).then_some(row.name),
                parent: patch(is_set(row.sets, 2), row.parent_id),
            };
            department.changes.insert(effective(row.valid_from, row.seq), change);
        }
        department
    }

    /// Adds the rows of one department.
    pub(crate) fn rows(&self, department_id: Uuid, to: &mut Rows) {
        let spans = self.changes.spans(<DepartmentChange as Change>::Row::default(), self.end);
        let row = |span: Span<<DepartmentChange as Change>::Row>| {
            let (code, name, parent_id, sets) = span.row;
            let (valid_from, seq, valid_to) = (span.from.on, seq(span.from), Until(span.to));
            DepartmentSpan { department_id, valid_from, seq, valid_to, code, name, parent_id, sets }
        };
        to.department_span.extend(spans.into_iter().map(row));
    }
}

/// A location's changes, and the first day without it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Location {
    changes: Timeline<LocationChange>,
    end: Option<Date>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct LocationChange {
    code: Option<String>,
    name: Option<String>,
    time_zone: Option<String>,
}

impl Change for LocationChange {
    type Row = (String, String, String, i16);
    fn apply(&self, row: &mut Self::Row) {
        if let Some(code) = &self.code {
            row.0.clone_from(code);
        }
        if let Some(name) = &self.name {
            row.1.clone_from(name);
        }
        if let Some(zone) = &self.time_zone {
            row.2.clone_from(zone);
        }
        row.3 = sets([self.code.is_some(), self.name.is_some(), self.time_zone.is_some()]);
    }
}

impl Location {
    pub(crate) fn fold(&mut self, event: &OrganizationEvent) -> Result<(), CannotFold> {
        match event {
            OrganizationEvent::LocationOpened(e) => {
                storable_text([&e.code, &e.name, &e.time_zone])?;
                let (code, name, time_zone) = (Some(e.code.clone()), Some(e.name.clone()), Some(e.time_zone.clone()));
                self.changes.insert(storable_effective(e.effective)?, LocationChange { code, name, time_zone });
            }
            OrganizationEvent::LocationChanged(e) => {
                let at = after_first(&self.changes, e.effective, event.event_type())?;
                storable_text(e.name.iter().chain(&e.time_zone))?;
                self.changes.insert(at, LocationChange { code: None, name: e.name.clone(), time_zone: e.time_zone.clone() });
            }
            OrganizationEvent::LocationClosed(e) => {
                self.end = Some(after_first(&self.changes, e.effective, event.event_type())?.on);
            }
            OrganizationEvent::DepartmentCreated(_)
            | OrganizationEvent::DepartmentRenamed(_)
            | OrganizationEvent::DepartmentMoved(_)
            | OrganizationEvent::DepartmentClosed(_)
            | OrganizationEvent::JobCreated(_)
            | OrganizationEvent::JobRetitled(_)
            | OrganizationEvent::JobRetired(_) => return Err(misplaced(event)),
        }
        Ok(())
    }

    /// From the rows of one location.
    pub(crate) fn from_rows(mut rows: Vec<LocationSpan>) -> Self {
        rows.sort_by_key(|row| (row.valid_from, row.seq));
        let mut location = Self { end: end_of(rows.iter().map(|row| (row.valid_from, row.valid_to))), ..Self::default() };
        for row in rows {
            let change = LocationChange {
                code: is_set(row.sets, 0).then_some(row.code),
                name: is_set(row.sets, 1).then_some(row.name),
                time_zone: is_set(row.sets, 2).then_some(row.time_zone),
            };
            location.changes.insert(effective(row.valid_from, row.seq), change);
        }
        location
    }

    /// Adds the rows of one location.
    pub(crate) fn rows(&self, location_id: Uuid, to: &mut Rows) {
        let spans = self.changes.spans(<LocationChange as Change>::Row::default(), self.end);
        let row = |span: Span<<LocationChange as Change>::Row>| {
            let (code, name, time_zone, sets) = span.row;
            let (valid_from, seq, valid_to) = (span.from.on, seq(span.from), Until(span.to));
            LocationSpan { location_id, valid_from, seq, valid_to, code, name, time_zone, sets }
        };
        to.location_span.extend(spans.into_iter().map(row));
    }
}

/// A job's changes, and the first day without it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Job {
    changes: Timeline<JobChange>,
    end: Option<Date>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct JobChange {
    code: Option<String>,
    title: Option<String>,
}

impl Change for JobChange {
    type Row = (String, String, i16);
    fn apply(&self, row: &mut Self::Row) {
        if let Some(code) = &self.code {
            row.0.clone_from(code);
        }
        if let Some(title) = &self.title {
            row.1.clone_from(title);
        }
        row.2 = sets([self.code.is_some(), self.title.is_some()]);
    }
}

impl Job {
    pub(crate) fn fold(&mut self, event: &OrganizationEvent) -> Result<(), CannotFold> {
        match event {
            OrganizationEvent::JobCreated(e) => {
                storable_text([&e.code, &e.title])?;
                self.changes
                    .insert(storable_effective(e.effective)?, JobChange { code: Some(e.code.clone()), title: Some(e.title.clone()) });
            }
            OrganizationEvent::JobRetitled(e) => {
                let at = after_first(&self.changes, e.effective, event.event_type())?;
                storable_text([&e.title])?;
                self.changes.insert(at, JobChange { code: None, title: Some(e.title.clone()) });
            }
            OrganizationEvent::JobRetired(e) => {
                self.end = Some(after_first(&self.changes, e.effective, event.event_type())?.on);
            }
            OrganizationEvent::DepartmentCreated(_)
            | OrganizationEvent::DepartmentRenamed(_)
            | OrganizationEvent::DepartmentMoved(_)
            | OrganizationEvent::DepartmentClosed(_)
            | OrganizationEvent::LocationOpened(_)
            | OrganizationEvent::LocationChanged(_)
            | OrganizationEvent::LocationClosed(_) => return Err(misplaced(event)),
        }
        Ok(())
    }

    /// From the rows of one job.
    pub(crate) fn from_rows(mut rows: Vec<JobSpan>) -> Self {
        rows.sort_by_key(|row| (row.valid_from, row.seq));
        let mut job = Self { end: end_of(rows.iter().map(|row| (row.valid_from, row.valid_to))), ..Self::default() };
        for row in rows {
            let change = JobChange { code: is_set(row.sets, 0).then_some(row.code), title: is_set(row.sets, 1).then_some(row.title) };
            job.changes.insert(effective(row.valid_from, row.seq), change);
        }
        job
    }

    /// Adds the rows of one job.
    pub(crate) fn rows(&self, job_id: Uuid, to: &mut Rows) {
        let spans = self.changes.spans(<JobChange as Change>::Row::default(), self.end);
        let row = |span: Span<<JobChange as Change>::Row>| {
            let (code, title, sets) = span.row;
            JobSpan { job_id, valid_from: span.from.on, seq: seq(span.from), valid_to: Until(span.to), code, title, sets }
        };
        to.job_span.extend(spans.into_iter().map(row));
    }
}

/// The end that clipped these rows, which are in effective order; none if the last is open. Rows without length took
/// effect on or after the end, or were replaced on the same day; the end is where the rows with length stop. Where there is
/// none with length, the end is not after the first row.
fn end_of(rows: impl Iterator<Item = (Date, Until)> + Clone) -> Option<Date> {
    let (_, last) = rows.clone().last()?;
    last.0?;
    let with_length = rows.clone().filter_map(|(from, to)| to.0.filter(|to| *to > from)).max();
    with_length.or_else(|| rows.map(|(from, _)| from).min())
}
