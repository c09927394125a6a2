//! Headcount and annual pay as sums: a row of `headcount_step` says by how much both change on a day, in a month or in a year,
//! for everyone or for one department, job or location. What holds as of any day is the sum of the years before its own, of
//! the months before its own in that year, and of the days of that month: some thousand rows, however many people there are.
//!
//! People's spans stay the truth. A step is worked out from them alone, so a changed span takes its old step back and adds
//! its new one, and nothing is carried forward.

#![deny(clippy::disallowed_methods)]

use std::collections::HashMap;

use events::Currency;
use foldhash::fast::RandomState;
use jiff::civil::Date;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::tables::{AssignmentSpan, CompensationSpan, Employment, HeadcountStep, PersonRows};
use crate::{
    derived::{Derived, Renewal},
    fold::CannotFold,
    table::{Table as _, TableInfo},
};

/// By what steps are added up; the numbers stand in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Dimension {
    Everyone = 0,
    Department = 1,
    Job = 2,
    Location = 3,
}

/// The time that a row's steps lie in; the numbers stand in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Period {
    Day = 0,
    Month = 1,
    Year = 2,
}

impl Period {
    const ALL: [Self; 3] = [Self::Day, Self::Month, Self::Year];

    fn start(self, day: Date) -> Date {
        match self {
            Self::Day => day,
            Self::Month => day.first_of_month(),
            Self::Year => day.first_of_year(),
        }
    }
}

/// Who takes a step, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Cell {
    dimension: Dimension,
    day: Date,
    /// Nil: everyone, or people without a location.
    unit: Uuid,
    /// None: people without pay.
    currency: Option<Currency>,
}

/// Where somebody is counted and what they earn, for some days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    units: [(Dimension, Uuid); 4],
    currency: Option<Currency>,
    annual: Decimal,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Step {
    heads: i64,
    annual: Decimal,
}

impl Step {
    fn add(&mut self, heads: i64, annual: Decimal) -> Result<(), CannotFold> {
        self.heads = self.heads.checked_add(heads).ok_or_else(too_large)?;
        self.annual = self.annual.checked_add(annual).ok_or_else(too_large)?;
        Ok(())
    }
}

fn too_large() -> CannotFold {
    CannotFold("headcount or pay of all together is beyond what can be counted".into())
}

/// Steps of some people, day by day.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Steps(HashMap<Cell, Step, RandomState>);

impl Derived for Steps {
    type Source = PersonRows;
    const TABLE: TableInfo = HeadcountStep::INFO;
    // A step that was taken back may stand there as zero, and a sum keeps the decimals of what it was added up from.
    const COMPARED: &'static str = "select dimension, period, starts_on, unit_id, currency, heads, trim_scale(annual) from headcount_step where heads <> 0 or annual <> 0";

    fn note(&mut self, before: &PersonRows, after: &PersonRows) -> Result<(), CannotFold> {
        self.count(before, -1)?;
        self.count(after, 1)
    }
    fn merge(&mut self, other: Self) -> Result<(), CannotFold> {
        for (cell, step) in other.0 {
            self.0.entry(cell).or_default().add(step.heads, step.annual)?;
        }
        Ok(())
    }
    fn renewal(&self) -> Result<Renewal, CannotFold> {
        let mut rows = Vec::new();
        for row in self.rows()? {
            row.put(&mut rows);
        }
        Ok(Renewal::Add { rows, sums: &["heads", "annual"] })
    }
    fn copy(&self, out: &mut Vec<u8>) -> Result<u64, CannotFold> {
        let rows = self.rows()?;
        for row in &rows {
            row.copy(out);
        }
        Ok(rows.len() as u64)
    }
}

impl Steps {
    /// The table's rows, in the order of its key, without those that change nothing.
    fn rows(&self) -> Result<Vec<HeadcountStep>, CannotFold> {
        let mut sums: HashMap<(Period, Cell), Step, RandomState> = HashMap::default();
        for (cell, step) in self.0.iter().filter(|(_, step)| **step != Step::default()) {
            for period in Period::ALL {
                let cell = Cell { day: period.start(cell.day), ..*cell };
                sums.entry((period, cell)).or_default().add(step.heads, step.annual)?;
            }
        }
        sums.retain(|_, step| *step != Step::default());
        let row = |((period, cell), step): ((Period, Cell), Step)| HeadcountStep {
            dimension: cell.dimension as i16,
            period: period as i16,
            starts_on: cell.day,
            unit_id: cell.unit,
            currency: cell.currency.map_or("", Currency::code).to_owned(),
            heads: step.heads,
            annual: step.annual.normalize(),
        };
        let mut rows: Vec<_> = sums.into_iter().map(row).collect();
        rows.sort_unstable_by(HeadcountStep::compare_keys);
        Ok(rows)
    }

    fn count(&mut self, rows: &PersonRows, sign: i64) -> Result<(), CannotFold> {
        for employment in &rows.employment {
            let of = employment.employment_id;
            let assignments = rows.assignment_span.iter().filter(|span| span.employment_id == of);
            let pay = rows.compensation_span.iter().filter(|span| span.employment_id == of);
            self.count_employment(employment, assignments, pay, sign)?;
        }
        Ok(())
    }

    /// Cuts the employment where an assignment or pay begins or ends; each piece begins with a step up and ends with one down.
    fn count_employment<'r>(
        &mut self,
        employment: &Employment,
        assignments: impl Iterator<Item = &'r AssignmentSpan> + Clone,
        pay: impl Iterator<Item = &'r CompensationSpan> + Clone,
        sign: i64,
    ) -> Result<(), CannotFold> {
        let (start, end) = (employment.starts_on, employment.ends_on.0);
        let inside = |day: &Date| *day > start && end.is_none_or(|end| *day < end);
        let cuts = assignments.clone().flat_map(|span| [Some(span.valid_from), span.valid_to.0]);
        let cuts = cuts.chain(pay.clone().flat_map(|span| [Some(span.valid_from), span.valid_to.0])).flatten().filter(inside);
        let mut days: Vec<Date> = cuts.collect();
        if end.is_none_or(|end| start < end) {
            days.push(start);
        }
        days.sort_unstable();
        days.dedup();
        let mut held: Option<Held> = None;
        for day in days {
            let holds = |from: Date, to: Option<Date>| from <= day && to.is_none_or(|to| day < to);
            let assigned = assignments.clone().find(|span| holds(span.valid_from, span.valid_to.0));
            let paid = pay.clone().find(|span| holds(span.valid_from, span.valid_to.0));
            let units = [
                (Dimension::Everyone, Uuid::nil()),
                (Dimension::Department, assigned.map_or(Uuid::nil(), |span| span.department_id)),
                (Dimension::Job, assigned.map_or(Uuid::nil(), |span| span.job_id)),
                (Dimension::Location, assigned.and_then(|span| span.location_id).unwrap_or_default()),
            ];
            let currency = paid.map(|span| span.currency.parse()).transpose();
            let currency = currency.map_err(|_| CannotFold("pay is in a currency that does not exist".into()))?;
            let now = Held { units, currency, annual: paid.map_or(Decimal::ZERO, |span| span.annual) };
            if held == Some(now) {
                continue;
            }
            self.change(day, held.replace(now), now, sign)?;
        }
        if let (Some(held), Some(end)) = (held, end) {
            self.step(end, held, -sign)?;
        }
        Ok(())
    }

    /// A step down from what was held and one up to what is: of most changes nothing but pay is left, and that is one visit.
    fn change(&mut self, day: Date, held: Option<Held>, now: Held, sign: i64) -> Result<(), CannotFold> {
        let Some(held) = held else { return self.step(day, now, sign) };
        if held.units != now.units || held.currency != now.currency {
            self.step(day, held, -sign)?;
            return self.step(day, now, sign);
        }
        let (from, to) = if sign < 0 { (now.annual, held.annual) } else { (held.annual, now.annual) };
        self.visit(day, now, 0, to.checked_sub(from).ok_or_else(too_large)?)
    }

    fn step(&mut self, day: Date, held: Held, sign: i64) -> Result<(), CannotFold> {
        self.visit(day, held, sign, if sign < 0 { -held.annual } else { held.annual })
    }

    fn visit(&mut self, day: Date, held: Held, heads: i64, annual: Decimal) -> Result<(), CannotFold> {
        for (dimension, unit) in held.units {
            self.0.entry(Cell { dimension, day, unit, currency: held.currency }).or_default().add(heads, annual)?;
        }
        Ok(())
    }
}
