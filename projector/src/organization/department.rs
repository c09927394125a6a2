//! The fold of a department.

#![deny(clippy::disallowed_methods)]

use events::{Change, Event, Span, StreamName, Timeline, Version, employee::Patch, organization::OrganizationEvent};
use jiff::civil::Date;
use uuid::Uuid;

use super::tables::{DepartmentRows, DepartmentSpan};
use crate::{
    binary::Until,
    fold::{CannotFold, after_first, effective, end_of, is_set, misplaced, patch, seq, sets, storable_effective, storable_text},
    projection::Fold,
};

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

impl Fold for Department {
    type Rows = DepartmentRows;
    type Derived = ();

    fn keys(event: &Event, touch: &mut impl FnMut(Uuid)) -> bool {
        let Event::Organization(event) = event else { return false };
        match event {
            OrganizationEvent::DepartmentCreated(e) => touch(e.department_id.uuid()),
            OrganizationEvent::DepartmentRenamed(e) => touch(e.department_id.uuid()),
            OrganizationEvent::DepartmentMoved(e) => touch(e.department_id.uuid()),
            OrganizationEvent::DepartmentClosed(e) => touch(e.department_id.uuid()),
            OrganizationEvent::LocationOpened(_)
            | OrganizationEvent::LocationChanged(_)
            | OrganizationEvent::LocationClosed(_)
            | OrganizationEvent::JobCreated(_)
            | OrganizationEvent::JobRetitled(_)
            | OrganizationEvent::JobRetired(_)
            | OrganizationEvent::UnitChangeTookEffect(_) => {}
        }
        true
    }

    fn fold(&mut self, _: Uuid, _: StreamName, _: Version, event: &Event) -> Result<(), CannotFold> {
        let Event::Organization(organization) = event else { return misplaced(event) };
        match organization {
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
            | OrganizationEvent::JobRetired(_)
            | OrganizationEvent::UnitChangeTookEffect(_) => return misplaced(event),
        }
        Ok(())
    }

    fn from_rows(rows: DepartmentRows) -> Result<Self, CannotFold> {
        let rows = rows.department_span;
        let mut department = Self { end: end_of(rows.iter().map(|row| (row.valid_from, row.valid_to))), ..Self::default() };
        for row in rows {
            let change = DepartmentChange {
                code: is_set(row.sets, 0).then_some(row.code),
                name: is_set(row.sets, 1).then_some(row.name),
                parent: patch(is_set(row.sets, 2), row.parent_id),
            };
            department.changes.insert(effective(row.valid_from, row.seq), change);
        }
        Ok(department)
    }

    fn rows(&self, department_id: Uuid, to: &mut DepartmentRows) {
        let spans = self.changes.spans(<DepartmentChange as Change>::Row::default(), self.end);
        let row = |span: Span<<DepartmentChange as Change>::Row>| {
            let (code, name, parent_id, sets) = span.row;
            let (valid_from, seq, valid_to) = (span.from.on, seq(span.from), Until(span.to));
            DepartmentSpan { department_id, valid_from, seq, valid_to, code, name, parent_id, sets }
        };
        to.department_span.extend(spans.into_iter().map(row));
    }
}
