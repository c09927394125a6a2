//! The fold of a job.

#![deny(clippy::disallowed_methods)]

use events::{Change, Event, Span, StreamName, Timeline, Version, organization::OrganizationEvent};
use jiff::civil::Date;
use uuid::Uuid;

use super::tables::{JobRows, JobSpan};
use crate::{
    binary::Until,
    fold::{CannotFold, after_first, effective, end_of, is_set, misplaced, seq, sets, storable_effective, storable_text},
    projection::Fold,
};

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

impl Fold for Job {
    type Rows = JobRows;
    type Derived = ();

    fn keys(event: &Event, touch: &mut impl FnMut(Uuid)) -> bool {
        let Event::Organization(event) = event else { return false };
        match event {
            OrganizationEvent::JobCreated(e) => touch(e.job_id.uuid()),
            OrganizationEvent::JobRetitled(e) => touch(e.job_id.uuid()),
            OrganizationEvent::JobRetired(e) => touch(e.job_id.uuid()),
            OrganizationEvent::DepartmentCreated(_)
            | OrganizationEvent::DepartmentRenamed(_)
            | OrganizationEvent::DepartmentMoved(_)
            | OrganizationEvent::DepartmentClosed(_)
            | OrganizationEvent::LocationOpened(_)
            | OrganizationEvent::LocationChanged(_)
            | OrganizationEvent::LocationClosed(_)
            | OrganizationEvent::UnitChangeTookEffect(_) => {}
        }
        true
    }

    fn fold(&mut self, _: Uuid, _: StreamName, _: Version, event: &Event) -> Result<(), CannotFold> {
        let Event::Organization(organization) = event else { return misplaced(event) };
        match organization {
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
            | OrganizationEvent::LocationClosed(_)
            | OrganizationEvent::UnitChangeTookEffect(_) => return misplaced(event),
        }
        Ok(())
    }

    fn from_rows(rows: JobRows) -> Result<Self, CannotFold> {
        let rows = rows.job_span;
        let mut job = Self { end: end_of(rows.iter().map(|row| (row.valid_from, row.valid_to))), ..Self::default() };
        for row in rows {
            let change = JobChange { code: is_set(row.sets, 0).then_some(row.code), title: is_set(row.sets, 1).then_some(row.title) };
            job.changes.insert(effective(row.valid_from, row.seq), change);
        }
        Ok(job)
    }

    fn rows(&self, job_id: Uuid, to: &mut JobRows) {
        let spans = self.changes.spans(<JobChange as Change>::Row::default(), self.end);
        let row = |span: Span<<JobChange as Change>::Row>| {
            let (code, title, sets) = span.row;
            JobSpan { job_id, valid_from: span.from.on, seq: seq(span.from), valid_to: Until(span.to), code, title, sets }
        };
        to.job_span.extend(spans.into_iter().map(row));
    }
}
