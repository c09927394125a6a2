//! What is known of a person's work, from day to day: employments, full-time fraction, schedule, holidays at the place.

use std::collections::{BTreeMap, BTreeSet};

use events::leave::{DayHalf, DayPart, EnrolmentId, Grant, Holiday, PolicyVersion, WorkFraction, WorkSchedule};
use jiff::civil::Date;
use rust_decimal::Decimal;

use super::dates::{completes_months, days_between, next};

/// Values of which each holds from its day until the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromDays<T>(BTreeMap<Date, T>);

impl<T> Default for FromDays<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> FromDays<T> {
    /// A value that holds from a day on.
    pub fn since(day: Date, value: T) -> Self {
        Self(BTreeMap::from([(day, value)]))
    }
    /// The same, with another value from a day on.
    #[must_use]
    pub fn then(mut self, day: Date, value: T) -> Self {
        self.0.insert(day, value);
        self
    }
    /// Lets another value hold from a day on.
    pub fn set(&mut self, day: Date, value: T) {
        self.0.insert(day, value);
    }
    /// Timelines that hold one after the other, each from its day until the next: what holds there on that day, and its later changes.
    pub fn one_after_another<'t>(parts: impl IntoIterator<Item = (Date, &'t Self)>) -> Self
    where
        T: Clone + 't,
    {
        let mut all = BTreeMap::new();
        for (day, part) in parts {
            all.retain(|at, _| *at < day);
            all.extend(part.on(day).map(|held| (day, held.clone())));
            all.extend(part.0.range(day..).map(|(at, value)| (*at, value.clone())));
        }
        Self(all)
    }
    /// What was set from just this day on.
    pub fn exactly(&self, day: Date) -> Option<&T> {
        self.0.get(&day)
    }
    /// All values, in the order of their days.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.values()
    }
    /// The days from which values hold, with these.
    pub fn iter(&self) -> impl Iterator<Item = (Date, &T)> {
        self.0.iter().map(|(day, value)| (*day, value))
    }
    /// These values, and before the first of them the others.
    #[must_use]
    pub fn preceded_by(mut self, others: &Self) -> Self
    where
        T: Clone,
    {
        let first = self.0.keys().next().copied();
        let earlier = others.0.iter().filter(|(day, _)| first.is_none_or(|first| **day < first));
        let earlier: Vec<(Date, T)> = earlier.map(|(day, value)| (*day, value.clone())).collect();
        self.0.extend(earlier);
        self
    }
    /// What holds on a day.
    pub fn on(&self, day: Date) -> Option<&T> {
        self.0.range(..=day).next_back().map(|(_, value)| value)
    }
    /// The days in `(after, before)` on which a value begins.
    fn changes(&self, after: Date, before: Date) -> impl Iterator<Item = Date> {
        let range = if after < before { Some((std::ops::Bound::Excluded(after), std::ops::Bound::Excluded(before))) } else { None };
        range.into_iter().flat_map(|range| self.0.range(range)).map(|(day, _)| *day)
    }
}

impl<T> FromIterator<(Date, T)> for FromDays<T> {
    fn from_iter<I: IntoIterator<Item = (Date, T)>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}
impl<T> IntoIterator for FromDays<T> {
    type Item = (Date, T);
    type IntoIter = std::collections::btree_map::IntoIter<Date, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// One employment of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Employed {
    /// Its first day.
    pub from: Date,
    /// Its last day, where that is known.
    pub last_day: Option<Date>,
}

/// The holidays at a place. A year that the calendar does not know is no year without holidays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HolidayCalendar {
    name: String,
    years: BTreeSet<i16>,
    holidays: BTreeMap<(Date, DayHalf), String>,
}

impl HolidayCalendar {
    /// A calendar that knows these years.
    pub fn new(name: &str, years: impl IntoIterator<Item = i16>, holidays: impl IntoIterator<Item = Holiday>) -> Self {
        let mut calendar = Self { name: name.to_owned(), years: years.into_iter().collect(), holidays: BTreeMap::new() };
        for holiday in holidays {
            calendar.declare(holiday);
        }
        calendar
    }
    /// Adds a holiday; one that stands on the same half is replaced.
    pub fn declare(&mut self, holiday: Holiday) {
        for half in holiday.part.each() {
            self.holidays.insert((holiday.on, *half), holiday.name.clone());
        }
    }
    /// Takes a holiday, or a half of one, away.
    pub fn revoke(&mut self, on: Date, part: DayPart) {
        for half in part.each() {
            self.holidays.remove(&(on, *half));
        }
    }
    /// Lets it know a year: these holidays, and no others.
    pub fn load_year(&mut self, year: i16, holidays: impl IntoIterator<Item = Holiday>) {
        self.holidays.retain(|(day, _), _| day.year() != year);
        self.years.insert(year);
        holidays.into_iter().for_each(|holiday| self.declare(holiday));
    }
    /// The holidays of a year, half by half.
    pub fn year(&self, year: i16) -> BTreeMap<(Date, DayHalf), &str> {
        self.holidays.iter().filter(|((day, _), _)| day.year() == year).map(|(at, name)| (*at, name.as_str())).collect()
    }
    /// The calendar's name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Whether it knows the holidays of a year.
    pub fn knows(&self, year: i16) -> bool {
        self.years.contains(&year)
    }
    /// The holiday on a half of a day.
    pub fn on(&self, day: Date, half: DayHalf) -> Option<&str> {
        self.holidays.get(&(day, half)).map(String::as_str)
    }
}

/// All that leave needs to know of a person's work.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkingTime {
    /// The employments, earliest first, without overlap.
    pub employments: Vec<Employed>,
    /// From when service counts; absent, from the first day of employment.
    pub service_start: Option<Date>,
    /// How much of full time; full time where nothing is said.
    pub fraction: FromDays<WorkFraction>,
    /// On which days.
    pub schedule: FromDays<WorkSchedule>,
    /// The holidays at the place of work.
    pub holidays: FromDays<HolidayCalendar>,
}

/// Days in a row on which fraction and schedule do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// How many days.
    pub days: i32,
    /// How much of full time.
    pub fraction: Decimal,
    /// The days of a week on average; none where there is no schedule.
    pub days_per_week: Option<Decimal>,
}

impl WorkingTime {
    /// Whether the person is employed on a day.
    pub fn is_employed(&self, day: Date) -> bool {
        self.employments.iter().any(|e| e.from <= day && e.last_day.is_none_or(|last| day <= last))
    }
    /// The first day of service.
    pub fn service_start(&self) -> Option<Date> {
        self.service_start.or_else(|| self.employments.first().map(|e| e.from))
    }
    /// The days of `[from, to)` in stretches without a change.
    pub fn stretches(&self, from: Date, to: Date) -> Vec<Stretch> {
        let mut cuts: BTreeSet<Date> = self.fraction.changes(from, to).chain(self.schedule.changes(from, to)).collect();
        cuts.insert(from);
        let ends = cuts.iter().skip(1).copied().chain([to]);
        cuts.iter()
            .zip(ends)
            .map(|(from, to)| Stretch {
                days: days_between(*from, to),
                fraction: self.fraction.on(*from).map_or(Decimal::ONE, |fraction| fraction.decimal()),
                days_per_week: self.schedule.on(*from).map(WorkSchedule::days_per_week),
            })
            .collect()
    }
    /// The stretches of employment within `[from, until)`: each `[first day, first day after)`.
    pub fn employed_within(&self, from: Date, until: Option<Date>) -> Vec<(Date, Option<Date>)> {
        let both = |a: Option<Date>, b: Option<Date>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        };
        self.employments
            .iter()
            .map(|e| (e.from.max(from), both(e.last_day.map(next), until)))
            .filter(|(from, until)| until.is_none_or(|until| *from < until))
            .collect()
    }
}

/// The time for which a person's leave of one type follows a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// Its id.
    pub id: EnrolmentId,
    /// Its first day.
    pub from: Date,
    /// The first day without it.
    pub until: Option<Date>,
    /// The versions of the policy, earliest first.
    pub versions: Vec<PolicyVersion>,
}

impl Enrolment {
    /// Whether it covers a day.
    pub fn covers(&self, day: Date) -> bool {
        self.from <= day && self.until.is_none_or(|until| day < until)
    }
    /// The version in force on a day of it.
    pub fn version_on(&self, day: Date) -> Option<&PolicyVersion> {
        self.versions.iter().rev().find(|version| version.from <= day).filter(|_| self.covers(day))
    }
    /// How leave is earned on a day: the tier that the person has reached by then.
    pub fn grant_among<'a>(enrolments: &'a [Self], work: &WorkingTime, day: Date) -> Option<&'a Grant> {
        let terms = &Self::version_among(enrolments, day)?.terms;
        let service = work.service_start()?;
        let reached = |months: u16| completes_months(service, months, terms.leap_day) <= day;
        terms.tiers.iter().rev().find(|tier| reached(tier.after_months)).map(|tier| &tier.grant)
    }
    /// The version in force on a day of any of them.
    pub fn version_among(enrolments: &[Self], day: Date) -> Option<&PolicyVersion> {
        enrolments.iter().find_map(|enrolment| enrolment.version_on(day))
    }
}
