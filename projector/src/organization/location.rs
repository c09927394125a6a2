//! The fold of a location.

#![deny(clippy::disallowed_methods)]

use events::{Change, Event, Span, StreamName, Timeline, Version, organization::OrganizationEvent};
use jiff::civil::Date;
use uuid::Uuid;

use super::tables::{LocationRows, LocationSpan};
use crate::{
    binary::Until,
    fold::{CannotFold, after_first, effective, end_of, is_set, misplaced, seq, sets, storable_effective, storable_text},
    projection::Fold,
};

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

impl Fold for Location {
    type Rows = LocationRows;
    type Derived = ();

    fn keys(event: &Event, touch: &mut impl FnMut(Uuid)) -> bool {
        let Event::Organization(event) = event else { return false };
        match event {
            OrganizationEvent::LocationOpened(e) => touch(e.location_id.uuid()),
            OrganizationEvent::LocationChanged(e) => touch(e.location_id.uuid()),
            OrganizationEvent::LocationClosed(e) => touch(e.location_id.uuid()),
            OrganizationEvent::DepartmentCreated(_)
            | OrganizationEvent::DepartmentRenamed(_)
            | OrganizationEvent::DepartmentMoved(_)
            | OrganizationEvent::DepartmentClosed(_)
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
            | OrganizationEvent::JobRetired(_)
            | OrganizationEvent::UnitChangeTookEffect(_) => return misplaced(event),
        }
        Ok(())
    }

    fn from_rows(rows: LocationRows) -> Result<Self, CannotFold> {
        let rows = rows.location_span;
        let mut location = Self { end: end_of(rows.iter().map(|row| (row.valid_from, row.valid_to))), ..Self::default() };
        for row in rows {
            let change = LocationChange {
                code: is_set(row.sets, 0).then_some(row.code),
                name: is_set(row.sets, 1).then_some(row.name),
                time_zone: is_set(row.sets, 2).then_some(row.time_zone),
            };
            location.changes.insert(effective(row.valid_from, row.seq), change);
        }
        Ok(location)
    }

    fn rows(&self, location_id: Uuid, to: &mut LocationRows) {
        let spans = self.changes.spans(<LocationChange as Change>::Row::default(), self.end);
        let row = |span: Span<<LocationChange as Change>::Row>| {
            let (code, name, time_zone, sets) = span.row;
            let (valid_from, seq, valid_to) = (span.from.on, seq(span.from), Until(span.to));
            LocationSpan { location_id, valid_from, seq, valid_to, code, name, time_zone, sets }
        };
        to.location_span.extend(spans.into_iter().map(row));
    }
}
