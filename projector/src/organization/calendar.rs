//! The folds of work schedules, holiday calendars, and of which calendar holds at a place.

#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;

use events::{DayHalf, DayPart, Event, Holiday, StreamName, Version, organization::calendar::WorkCalendarEvent};
use jiff::civil::Date;
use uuid::Uuid;

use super::tables::{CalendarRows, HolidayCalendar, HolidayYear, PlaceCalendar, PlaceRows, ScheduleRows, WorkSchedule};
use crate::{
    fold::{CannotFold, from_json, misplaced, storable_day, storable_text, to_json},
    projection::Fold,
};

/// A schedule: its days of work, from a day until the next.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schedule(BTreeMap<Date, WorkSchedule>);

impl Fold for Schedule {
    type Rows = ScheduleRows;
    type Derived = ();

    fn keys(event: &Event, touch: &mut impl FnMut(Uuid)) -> bool {
        let Event::WorkCalendar(event) = event else { return false };
        match event {
            WorkCalendarEvent::WorkScheduleDefined(e) => touch(e.schedule_id.uuid()),
            WorkCalendarEvent::WorkScheduleChanged(e) => touch(e.schedule_id.uuid()),
            WorkCalendarEvent::HolidayCalendarCreated(_)
            | WorkCalendarEvent::HolidayYearLoaded(_)
            | WorkCalendarEvent::HolidayDeclared(_)
            | WorkCalendarEvent::HolidayRevoked(_)
            | WorkCalendarEvent::LocationCalendarSet(_) => {}
        }
        true
    }
    fn fold(&mut self, key: Uuid, _: StreamName, _: Version, event: &Event) -> Result<(), CannotFold> {
        let Event::WorkCalendar(calendar) = event else { return misplaced(event) };
        let row = match calendar {
            WorkCalendarEvent::WorkScheduleDefined(e) => {
                storable_text([&e.code, &e.name])?;
                let (code, name, days) = (e.code.clone(), e.name.clone(), to_json(&e.schedule)?);
                WorkSchedule { schedule_id: key, valid_from: storable_day(e.from)?, code, name, days }
            }
            WorkCalendarEvent::WorkScheduleChanged(e) => {
                let never = || CannotFold(format!("{} changes what was never defined", event.event_type()));
                let first = self.0.values().next().ok_or_else(never)?;
                WorkSchedule { valid_from: storable_day(e.from)?, days: to_json(&e.schedule)?, ..first.clone() }
            }
            WorkCalendarEvent::HolidayCalendarCreated(_)
            | WorkCalendarEvent::HolidayYearLoaded(_)
            | WorkCalendarEvent::HolidayDeclared(_)
            | WorkCalendarEvent::HolidayRevoked(_)
            | WorkCalendarEvent::LocationCalendarSet(_) => return misplaced(event),
        };
        self.0.insert(row.valid_from, row);
        Ok(())
    }
    fn from_rows(rows: ScheduleRows) -> Result<Self, CannotFold> {
        Ok(Self(rows.work_schedule.into_iter().map(|row| (row.valid_from, row)).collect()))
    }
    fn rows(&self, _: Uuid, to: &mut ScheduleRows) {
        to.work_schedule.extend(self.0.values().cloned());
    }
}

/// The names of holidays by the halves of days that they free.
type Halves = BTreeMap<(Date, DayHalf), String>;

/// A holiday calendar, and the years that it knows, with the source of each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Calendar {
    row: Option<HolidayCalendar>,
    years: BTreeMap<i16, (Halves, String)>,
}

impl Calendar {
    fn year(&mut self, day: Date, event: &Event) -> Result<&mut Halves, CannotFold> {
        let unknown = || CannotFold(format!("{} is about a year that its calendar does not know", event.event_type()));
        self.years.get_mut(&day.year()).map(|(holidays, _)| holidays).ok_or_else(unknown)
    }
}

fn halves(holiday: &Holiday) -> impl Iterator<Item = ((Date, DayHalf), String)> {
    holiday.part.each().iter().map(|half| ((holiday.on, *half), holiday.name.clone()))
}

/// Halves of one day with one name are a whole holiday.
fn holidays(halves: &Halves) -> Vec<Holiday> {
    let mut all: Vec<Holiday> = Vec::new();
    for ((on, half), name) in halves {
        let part = match half {
            DayHalf::Morning => DayPart::Morning,
            DayHalf::Afternoon => DayPart::Afternoon,
        };
        match all.last_mut() {
            Some(last) if last.on == *on && last.name == *name && last.part == DayPart::Morning => last.part = DayPart::Whole,
            Some(_) | None => all.push(Holiday { on: *on, part, name: name.clone() }),
        }
    }
    all
}

impl Fold for Calendar {
    type Rows = CalendarRows;
    type Derived = ();

    fn keys(event: &Event, touch: &mut impl FnMut(Uuid)) -> bool {
        let Event::WorkCalendar(event) = event else { return false };
        match event {
            WorkCalendarEvent::HolidayCalendarCreated(e) => touch(e.calendar_id.uuid()),
            WorkCalendarEvent::HolidayYearLoaded(e) => touch(e.calendar_id.uuid()),
            WorkCalendarEvent::HolidayDeclared(e) => touch(e.calendar_id.uuid()),
            WorkCalendarEvent::HolidayRevoked(e) => touch(e.calendar_id.uuid()),
            WorkCalendarEvent::WorkScheduleDefined(_)
            | WorkCalendarEvent::WorkScheduleChanged(_)
            | WorkCalendarEvent::LocationCalendarSet(_) => {}
        }
        true
    }
    fn fold(&mut self, key: Uuid, _: StreamName, _: Version, event: &Event) -> Result<(), CannotFold> {
        let Event::WorkCalendar(calendar) = event else { return misplaced(event) };
        match calendar {
            WorkCalendarEvent::HolidayCalendarCreated(e) => {
                storable_text([&e.code, &e.name])?;
                self.row = Some(HolidayCalendar { calendar_id: key, code: e.code.clone(), name: e.name.clone() });
            }
            WorkCalendarEvent::HolidayYearLoaded(e) => {
                storable_text(e.holidays.iter().map(|holiday| &holiday.name).chain([&e.source]))?;
                self.years.insert(e.year, (e.holidays.iter().flat_map(halves).collect(), e.source.clone()));
            }
            WorkCalendarEvent::HolidayDeclared(e) => {
                storable_text([&e.holiday.name])?;
                self.year(e.holiday.on, event)?.extend(halves(&e.holiday));
            }
            WorkCalendarEvent::HolidayRevoked(e) => {
                let year = self.year(e.on, event)?;
                e.part.each().iter().for_each(|half| drop(year.remove(&(e.on, *half))));
            }
            WorkCalendarEvent::WorkScheduleDefined(_)
            | WorkCalendarEvent::WorkScheduleChanged(_)
            | WorkCalendarEvent::LocationCalendarSet(_) => return misplaced(event),
        }
        Ok(())
    }
    fn from_rows(rows: CalendarRows) -> Result<Self, CannotFold> {
        let mut calendar = Self { row: rows.holiday_calendar.into_iter().next(), ..Self::default() };
        for row in rows.holiday_year {
            let read: Vec<Holiday> = from_json(&row.holidays)?;
            calendar.years.insert(row.year, (read.iter().flat_map(halves).collect(), row.source));
        }
        Ok(calendar)
    }
    fn rows(&self, calendar_id: Uuid, to: &mut CalendarRows) {
        to.holiday_calendar.extend(self.row.clone());
        for (year, (halves, source)) in &self.years {
            // A list of days, parts and names always has JSON.
            let holidays = to_json(&holidays(halves)).unwrap_or_default();
            to.holiday_year.push(HolidayYear { calendar_id, year: *year, holidays, source: source.clone() });
        }
    }
}

/// Which calendars hold at a place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Place(BTreeMap<Date, Uuid>);

impl Fold for Place {
    type Rows = PlaceRows;
    type Derived = ();

    fn keys(event: &Event, touch: &mut impl FnMut(Uuid)) -> bool {
        let Event::WorkCalendar(event) = event else { return false };
        if let WorkCalendarEvent::LocationCalendarSet(e) = event {
            touch(e.location_id.map_or(Uuid::nil(), events::LocationId::uuid));
        }
        true
    }
    fn fold(&mut self, _: Uuid, _: StreamName, _: Version, event: &Event) -> Result<(), CannotFold> {
        let Event::WorkCalendar(WorkCalendarEvent::LocationCalendarSet(e)) = event else { return misplaced(event) };
        self.0.insert(storable_day(e.from)?, e.calendar_id.uuid());
        Ok(())
    }
    fn from_rows(rows: PlaceRows) -> Result<Self, CannotFold> {
        Ok(Self(rows.place_calendar.into_iter().map(|row| (row.valid_from, row.calendar_id)).collect()))
    }
    fn rows(&self, place_id: Uuid, to: &mut PlaceRows) {
        let row =
            |(valid_from, calendar_id): (&Date, &Uuid)| PlaceCalendar { place_id, valid_from: *valid_from, calendar_id: *calendar_id };
        to.place_calendar.extend(self.0.iter().map(row));
    }
}
