//! What a request costs, day by day, with a reason for each half.

use std::collections::BTreeSet;

use events::leave::{Amount, Counting, DayAsked, DayCost, DayHalf, DayPart, HalfReason, LeavePolicyTerms, LeaveUnit, PolicyVersion};
use jiff::civil::Date;
use rust_decimal::Decimal;

use super::{Enrolment, WorkingTime, dates};

/// Why days can't be asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CostRefusal {
    /// No day at all.
    #[error("a request has at least one day; the last day must not be before the first")]
    NoDays,
    /// More days than anybody takes in one go.
    #[error("a request has at most {max} days; divide it")]
    TooManyDays {
        /// The limit.
        max: usize,
    },
    /// The same day twice.
    #[error("{0} is asked for twice; ask for the whole day, or for one part of it")]
    DayTwice(Date),
    /// Outside the employment.
    #[error("the person is not employed on {0}; choose days within an employment")]
    NotEmployed(Date),
    /// No policy covers the day.
    #[error("no leave policy covers {0}; enrol the person from an earlier day, or publish a version that begins earlier")]
    NoPolicy(Date),
    /// Nobody said when the person works.
    #[error("no work schedule is set for {0}; set the person's schedule from that day or earlier")]
    NoSchedule(Date),
    /// The place of work has no calendar.
    #[error("the place of work has no holiday calendar on {0}; set one")]
    NoCalendar(Date),
    /// The calendar lacks the year.
    #[error("the holiday calendar {calendar} does not know the year {year}; import that year")]
    UnknownYear {
        /// The calendar's name.
        calendar: String,
        /// The year.
        year: i16,
    },
    /// Not long enough in service.
    #[error("leave of this kind can be taken from {until} on, after the policy's waiting time")]
    Waiting {
        /// The day that was asked for.
        on: Date,
        /// The first day on which it can be taken.
        until: Date,
    },
    /// Finer than the policy's unit.
    #[error("the policy counts in steps of {step}; ask for a multiple of it on {on}")]
    FinerThanUnit {
        /// The day.
        on: Date,
        /// The smallest amount.
        step: Amount,
    },
    /// No amount, or less.
    #[error("hours must be more than 0 on {0}")]
    NoHours(Date),
    /// Hours are missing in the day.
    #[error("only {there} hours of {on} can be taken")]
    MoreThanThere {
        /// The day.
        on: Date,
        /// The hours that count.
        there: Amount,
    },
    /// The person has that time off already.
    #[error("there is nothing to take on {0}: the person does not work then; leave that day or half out")]
    NothingToTake(Date),
}

/// The days from a first to a last one, both whole unless it is said otherwise.
pub fn expand(first: Date, last: Date) -> Result<Vec<DayAsked>, CostRefusal> {
    if last < first {
        return Err(CostRefusal::NoDays);
    }
    if dates::days_between(first, last) >= i32::try_from(MAX_DAYS).unwrap_or(i32::MAX) {
        return Err(CostRefusal::TooManyDays { max: MAX_DAYS });
    }
    Ok(first
        .series(jiff::ToSpan::days(1))
        .take_while(|on| *on <= last)
        .map(|on| DayAsked { on, part: DayPart::Whole, hours: None })
        .collect())
}

/// The most days of one request: three years of parental leave.
pub const MAX_DAYS: usize = 1_100;

/// What each day of a new request costs. Days that are free cost nothing, but something must be left to take.
pub fn cost(days: &[DayAsked], enrolments: &[Enrolment], work: &WorkingTime) -> Result<Vec<DayCost>, CostRefusal> {
    let Some(first) = days.first() else { return Err(CostRefusal::NoDays) };
    if days.len() > MAX_DAYS {
        return Err(CostRefusal::TooManyDays { max: MAX_DAYS });
    }
    let mut seen = BTreeSet::new();
    let mut costs = Vec::with_capacity(days.len());
    for asked in days {
        if !seen.insert(asked.on) {
            return Err(CostRefusal::DayTwice(asked.on));
        }
        if !work.is_employed(asked.on) {
            return Err(CostRefusal::NotEmployed(asked.on));
        }
        let version = version(enrolments, asked.on)?;
        check_wait(&version.terms, work, asked.on)?;
        check_unit(&version.terms, *asked)?;
        let cost = cost_day(*asked, version, work)?;
        if cost.cost.is_zero() && (asked.part != DayPart::Whole || asked.hours.is_some()) {
            return Err(CostRefusal::NothingToTake(asked.on));
        }
        costs.push(cost);
    }
    if costs.iter().all(|day| day.cost.is_zero()) { Err(CostRefusal::NothingToTake(first.on)) } else { Ok(costs) }
}

/// What the days of a request cost now that a holiday, the schedule, the policy or the employment is another. Days on which the
/// person is not employed any more cost nothing; hours are cut to what is there.
pub fn recost(days: &[DayCost], enrolments: &[Enrolment], work: &WorkingTime) -> Result<Vec<DayCost>, CostRefusal> {
    days.iter()
        .map(|day| {
            let asked = day.asked;
            if work.is_employed(asked.on) {
                return match cost_day(asked, version(enrolments, asked.on)?, work) {
                    Err(CostRefusal::MoreThanThere { there, .. }) => {
                        let less = DayAsked { hours: Some(there), ..asked };
                        cost_day(less, version(enrolments, asked.on)?, work).map(|cost| DayCost { asked, ..cost })
                    }
                    costed => costed,
                };
            }
            let reason = |is_asked: bool| is_asked.then_some(HalfReason::NotEmployed);
            let halves = asked.part.halves();
            Ok(DayCost { cost: Amount::ZERO, morning: reason(halves.morning), afternoon: reason(halves.afternoon), ..day.clone() })
        })
        .collect()
}

/// The sum of all days.
pub fn total(days: &[DayCost]) -> Amount {
    Amount::computed(days.iter().map(|day| day.cost.decimal()).sum())
}

fn version(enrolments: &[Enrolment], on: Date) -> Result<&PolicyVersion, CostRefusal> {
    Enrolment::version_among(enrolments, on).ok_or(CostRefusal::NoPolicy(on))
}

fn check_wait(terms: &LeavePolicyTerms, work: &WorkingTime, on: Date) -> Result<(), CostRefusal> {
    let until = work.service_start().map(|start| dates::after_wait(start, terms.wait_to_take));
    match until {
        Some(until) if on < until => Err(CostRefusal::Waiting { on, until }),
        Some(_) | None => Ok(()),
    }
}

fn check_unit(terms: &LeavePolicyTerms, asked: DayAsked) -> Result<(), CostRefusal> {
    let step = terms.unit.step();
    let finer = Err(CostRefusal::FinerThanUnit { on: asked.on, step: Amount::computed(step) });
    match asked.hours {
        Some(_) if !terms.unit.is_hours() => finer,
        Some(hours) if !hours.is_positive() => Err(CostRefusal::NoHours(asked.on)),
        Some(hours) if !(hours.decimal() % step).is_zero() => finer,
        None if terms.unit == LeaveUnit::Days && asked.part != DayPart::Whole => finer,
        Some(_) | None => Ok(()),
    }
}

/// What one day costs under a version of the policy.
fn cost_day(asked: DayAsked, version: &PolicyVersion, work: &WorkingTime) -> Result<DayCost, CostRefusal> {
    let terms = &version.terms;
    let halves = asked.part.halves();
    let (mut morning, mut afternoon) = (None, None);
    let mut there = Decimal::ZERO;
    for (half, is_asked, reason) in
        [(DayHalf::Morning, halves.morning, &mut morning), (DayHalf::Afternoon, halves.afternoon, &mut afternoon)]
    {
        if is_asked {
            let (worth, why) = cost_half(asked.on, half, terms, work)?;
            there += worth;
            *reason = Some(why);
        }
    }
    let cost = match asked.hours {
        Some(hours) if hours.decimal() > there => {
            return Err(CostRefusal::MoreThanThere { on: asked.on, there: Amount::computed(there) });
        }
        Some(hours) => hours,
        None => Amount::computed(there),
    };
    let leave_year = terms.carry_over.year_starts.on_or_before(asked.on);
    Ok(DayCost { asked, cost, morning, afternoon, policy_version: version.version, leave_year })
}

/// What a half of a day is worth in the policy's unit, and why.
fn cost_half(on: Date, half: DayHalf, terms: &LeavePolicyTerms, work: &WorkingTime) -> Result<(Decimal, HalfReason), CostRefusal> {
    let free = |reason| Ok((Decimal::ZERO, reason));
    let (every_day, holidays_are_free) = match terms.counting {
        Counting::WorkingTime => (false, true),
        Counting::CalendarDays { holidays_are_free } => (true, holidays_are_free),
    };
    // Hours of a day stand in the schedule only, so they are asked of it even where every day counts.
    let by_schedule = !every_day || terms.unit.is_hours();
    let scheduled = if by_schedule {
        match work.schedule.on(on).ok_or(CostRefusal::NoSchedule(on))?.on(on).half(half) {
            Some(scheduled) => Some(scheduled),
            None => return free(HalfReason::NotWorked),
        }
    } else {
        None
    };
    if holidays_are_free {
        let calendar = work.holidays.on(on).ok_or(CostRefusal::NoCalendar(on))?;
        if !calendar.knows(on.year()) {
            return Err(CostRefusal::UnknownYear { calendar: calendar.name().to_owned(), year: on.year() });
        }
        if let Some(name) = calendar.on(on, half) {
            return free(HalfReason::Holiday { name: name.to_owned() });
        }
    }
    let worth = match scheduled {
        Some(scheduled) if terms.unit.is_hours() => scheduled.hours.decimal(),
        Some(scheduled) => scheduled.days.decimal(),
        None => Decimal::new(5, 1),
    };
    Ok((worth, HalfReason::Counted))
}
