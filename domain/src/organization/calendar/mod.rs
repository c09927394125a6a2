//! Work schedules, holiday calendars, and which calendar holds at a place: one aggregate, so that codes need no locks.
//!
//! What is set from a day on holds until the next day from which something else is set; a day that is set again holds what was
//! said last.

mod commands;
mod refusal;

use std::collections::BTreeMap;

use calculation::leave::{FromDays, HolidayCalendar};
use events::{
    EmployeeId, Holiday, LocationId, StreamName, TenantScope, WorkSchedule,
    organization::calendar::{
        HolidayCalendarCreated, HolidayCalendarId, HolidayDeclared, HolidayRevoked, HolidayYearLoaded, LocationCalendarSet,
        WorkCalendarEvent, WorkScheduleChanged, WorkScheduleDefined, WorkScheduleId,
    },
};
use jiff::civil::Date;

pub use commands::*;
pub use refusal::Refusal;

use super::LocationOn;
pub(crate) use crate::due::{no_reaction as react, nothing_due as due};
use crate::{Claim, Facts, Standing, Unique, facts::facts};

/// Nothing is claimed: one stream holds all codes of a tenant.
pub const UNIQUES: &[&Unique] = &[];

facts! { WorkCalendar answers {
    /// The days of work of a schedule; none of one that the tenant does not have.
    ScheduleOf {
        /// The schedule.
        schedule: WorkScheduleId,
    } -> Option<FromDays<WorkSchedule>>;
    /// The holiday calendars of a place: its own, and before those, or without any, the tenant's.
    CalendarsAt {
        /// The place; none for people without one.
        location: Option<LocationId>,
    } -> FromDays<HolidayCalendar>;
} }

impl Question {
    /// The stream of the aggregate that answers.
    pub const fn stream(&self, scope: TenantScope) -> StreamName {
        StreamName::work_calendar(scope)
    }
    /// Whether an answer that is a second old would be too old. It would: what follows from a holiday is worked out as soon as it is
    /// declared, and not again.
    pub const fn must_be_newest(&self) -> bool {
        true
    }
    /// What else is to be asked because of the answer: nothing.
    pub const fn leads_to(&self, _: &Fact) -> Vec<crate::Question> {
        Vec::new()
    }
}

/// The most holidays that a calendar's year may have.
const MAX_HOLIDAYS: usize = 366;

/// A tenant's schedules and calendars. One that has nothing yet is the default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    schedules: BTreeMap<WorkScheduleId, Schedule>,
    calendars: BTreeMap<HolidayCalendarId, Calendar>,
    places: BTreeMap<Option<LocationId>, FromDays<HolidayCalendarId>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Schedule {
    code: String,
    name: String,
    from: Date,
    days: FromDays<WorkSchedule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Calendar {
    code: String,
    holidays: HolidayCalendar,
}

impl State {
    /// What follows from a command: events, nothing (it is so already), or a refusal.
    pub fn decide(&self, command: &Command, facts: &Facts) -> Result<Vec<WorkCalendarEvent>, Refusal> {
        match command {
            Command::DefineWorkSchedule(c) => self.define_schedule(c),
            Command::ChangeWorkSchedule(c) => {
                let (schedule_id, from) = (c.schedule_id, c.effective_on.date());
                let known = self.schedules.get(&schedule_id).ok_or(Refusal::NotFound)?;
                if from < known.from {
                    return Err(Refusal::BeforeFirstDay(known.from));
                }
                if known.days.on(from) == Some(&c.schedule) {
                    return Ok(Vec::new());
                }
                Ok(vec![WorkScheduleChanged { schedule_id, from, schedule: c.schedule.clone() }.into()])
            }
            Command::CreateHolidayCalendar(c) => self.create_calendar(c),
            Command::LoadHolidayYear(c) => {
                let known = &self.calendars.get(&c.calendar_id).ok_or(Refusal::NotFound)?.holidays;
                let holidays = c.holidays(MAX_HOLIDAYS)?;
                let wanted = HolidayCalendar::new(known.name(), [c.year], holidays.clone());
                if known.knows(c.year) && known.year(c.year) == wanted.year(c.year) {
                    return Ok(Vec::new());
                }
                Ok(vec![HolidayYearLoaded { calendar_id: c.calendar_id, year: c.year, holidays, source: c.source.to_text() }.into()])
            }
            Command::DeclareHoliday(c) => {
                let known = self.calendar_of(c.calendar_id, c.on.date())?;
                let holiday = Holiday { on: c.on.date(), part: c.part, name: c.name.to_text() };
                if c.part.each().iter().all(|half| known.on(holiday.on, *half) == Some(&holiday.name)) {
                    return Ok(Vec::new());
                }
                Ok(vec![HolidayDeclared { calendar_id: c.calendar_id, holiday }.into()])
            }
            Command::RevokeHoliday(c) => {
                let (on, known) = (c.on.date(), self.calendar_of(c.calendar_id, c.on.date())?);
                if c.part.each().iter().all(|half| known.on(on, *half).is_none()) {
                    return Ok(Vec::new());
                }
                Ok(vec![HolidayRevoked { calendar_id: c.calendar_id, on, part: c.part }.into()])
            }
            Command::SetLocationCalendar(c) => {
                let (calendar_id, location_id, from) = (c.calendar_id, c.location_id, c.effective_on.date());
                if !self.calendars.contains_key(&calendar_id) {
                    return Err(Refusal::NotFound);
                }
                let unknown = |location| facts.get(LocationOn { location, on: from }).is_none_or(|standing| *standing == Standing::Unknown);
                if location_id.is_some_and(unknown) {
                    return Err(Refusal::UnknownLocation);
                }
                let set = self.places.get(&location_id).and_then(|days| days.exactly(from));
                if set == Some(&calendar_id) {
                    return Ok(Vec::new());
                }
                Ok(vec![LocationCalendarSet { location_id, from, calendar_id }.into()])
            }
        }
    }

    fn define_schedule(&self, c: &DefineWorkSchedule) -> Result<Vec<WorkCalendarEvent>, Refusal> {
        let (code, name, from) = (c.code.to_text(), c.name.to_text(), c.effective_on.date());
        if let Some(known) = self.schedules.get(&c.schedule_id) {
            let first = known.days.on(known.from);
            let same = (&known.code, &known.name, known.from) == (&code, &name, from) && first == Some(&c.schedule);
            return if same { Ok(Vec::new()) } else { Err(Refusal::AlreadyExists("/schedule_id")) };
        }
        if self.schedules.values().any(|other| other.code.eq_ignore_ascii_case(&code)) {
            return Err(Refusal::CodeTaken);
        }
        Ok(vec![WorkScheduleDefined { schedule_id: c.schedule_id, from, code, name, schedule: c.schedule.clone() }.into()])
    }

    fn create_calendar(&self, c: &CreateHolidayCalendar) -> Result<Vec<WorkCalendarEvent>, Refusal> {
        let (code, name) = (c.code.to_text(), c.name.to_text());
        if let Some(known) = self.calendars.get(&c.calendar_id) {
            let same = known.code == code && known.holidays.name() == name;
            return if same { Ok(Vec::new()) } else { Err(Refusal::AlreadyExists("/calendar_id")) };
        }
        if self.calendars.values().any(|other| other.code.eq_ignore_ascii_case(&code)) {
            return Err(Refusal::CodeTaken);
        }
        Ok(vec![HolidayCalendarCreated { calendar_id: c.calendar_id, code, name }.into()])
    }

    /// A calendar, if it knows the year of a day.
    fn calendar_of(&self, id: HolidayCalendarId, day: Date) -> Result<&HolidayCalendar, Refusal> {
        let known = &self.calendars.get(&id).ok_or(Refusal::NotFound)?.holidays;
        if known.knows(day.year()) { Ok(known) } else { Err(Refusal::UnknownYear(day.year())) }
    }

    /// The claims that go with events: none. One stream holds all codes of a tenant.
    pub const fn claims(&self, _events: &[WorkCalendarEvent]) -> Vec<Claim> {
        Vec::new()
    }

    /// The state after an event.
    pub fn evolve(mut self, event: &WorkCalendarEvent) -> Self {
        match event {
            WorkCalendarEvent::WorkScheduleDefined(e) => {
                let days = FromDays::since(e.from, e.schedule.clone());
                let schedule = Schedule { code: e.code.clone(), name: e.name.clone(), from: e.from, days };
                self.schedules.insert(e.schedule_id, schedule);
            }
            WorkCalendarEvent::WorkScheduleChanged(e) => {
                if let Some(schedule) = self.schedules.get_mut(&e.schedule_id) {
                    schedule.days.set(e.from, e.schedule.clone());
                }
            }
            WorkCalendarEvent::HolidayCalendarCreated(e) => {
                let holidays = HolidayCalendar::new(&e.name, [], []);
                self.calendars.insert(e.calendar_id, Calendar { code: e.code.clone(), holidays });
            }
            WorkCalendarEvent::HolidayYearLoaded(e) => {
                self.change(e.calendar_id, |calendar| calendar.load_year(e.year, e.holidays.clone()));
            }
            WorkCalendarEvent::HolidayDeclared(e) => self.change(e.calendar_id, |calendar| calendar.declare(e.holiday.clone())),
            WorkCalendarEvent::HolidayRevoked(e) => self.change(e.calendar_id, |calendar| calendar.revoke(e.on, e.part)),
            WorkCalendarEvent::LocationCalendarSet(e) => self.places.entry(e.location_id).or_default().set(e.from, e.calendar_id),
        }
        self
    }

    fn change(&mut self, id: HolidayCalendarId, change: impl FnOnce(&mut HolidayCalendar)) {
        if let Some(calendar) = self.calendars.get_mut(&id) {
            change(&mut calendar.holidays);
        }
    }

    /// What must be looked up for a command: whether the place is there.
    pub fn questions(&self, command: &Command) -> Vec<crate::Question> {
        match command {
            Command::SetLocationCalendar(c) => {
                let on = c.effective_on.date();
                c.location_id.map(|location| LocationOn { location, on }.into()).into_iter().collect()
            }
            Command::DefineWorkSchedule(_)
            | Command::ChangeWorkSchedule(_)
            | Command::CreateHolidayCalendar(_)
            | Command::LoadHolidayYear(_)
            | Command::DeclareHoliday(_)
            | Command::RevokeHoliday(_) => Vec::new(),
        }
    }

    /// The answer to a question.
    pub fn answer(&self, question: &Question) -> Fact {
        match *question {
            Question::ScheduleOf(q) => Fact::ScheduleOf(self.schedules.get(&q.schedule).map(|schedule| schedule.days.clone())),
            Question::CalendarsAt(q) => Fact::CalendarsAt(self.calendars_at(q.location)),
        }
    }

    fn calendars_at(&self, location: Option<LocationId>) -> FromDays<HolidayCalendar> {
        let days = |place: Option<LocationId>| self.places.get(&place).cloned().unwrap_or_default();
        let ids = if location.is_some() { days(location).preceded_by(&days(None)) } else { days(None) };
        let known = |(day, id): (Date, HolidayCalendarId)| Some((day, self.calendars.get(&id)?.holidays.clone()));
        ids.into_iter().filter_map(known).collect()
    }

    /// Nobody.
    pub const fn person(&self) -> Option<EmployeeId> {
        None
    }
}
