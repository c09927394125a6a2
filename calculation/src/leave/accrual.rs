//! What is credited, when, and how the amount comes about. A plan reads the policy, the person's work and the hours worked;
//! it does not read what was taken.

use std::collections::{BTreeMap, BTreeSet};

use events::leave::{
    AccrualSteps, Allowance, AllowancePeriod, Amount, ChangeOver, CreditTime, EnrolmentId, Grant, LeavePolicyTerms, MonthDay,
    PolicyVersion, Proration, StepInterval,
};
use jiff::civil::Date;
use rust_decimal::Decimal;

use super::{
    Enrolment, WorkingTime,
    dates::{add_days, add_months, after_wait, completes_months, days_between, next},
};

/// A credit that follows from the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedCredit {
    /// The day from which it counts.
    pub on: Date,
    /// The enrolment.
    pub enrolment: EnrolmentId,
    /// The whole step: its first day, and the first day after it.
    pub period: (Date, Date),
    /// The days of it on which the person accrued, likewise.
    pub accrued: (Date, Date),
    /// What was earned before the year's sum was rounded.
    pub exact: Amount,
    /// What is credited, but for the cap on the balance.
    pub amount: Amount,
    /// What the cap on the year held back.
    pub capped: Amount,
    /// How a part of a step counts.
    pub proration: Proration,
    /// The version of the policy.
    pub version: u32,
}

/// Hours that were worked, as attendance or an import recorded them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoursWorked {
    /// The day on which they count.
    pub on: Date,
    /// How many.
    pub hours: Amount,
}

/// A plan that can't be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlanFault {
    /// Weeks of leave without a week of work.
    #[error("the policy grants weeks, but no work schedule is set for {0}; set the person's schedule from that day or earlier")]
    NoSchedule(Date),
}

/// What a policy says of the days of `[from, until)`: one tier of one version.
struct Regime<'a> {
    from: Date,
    until: Option<Date>,
    version: &'a PolicyVersion,
    grant: &'a Grant,
}

/// All credits up to and including a day, earliest first.
pub fn plan(enrolments: &[Enrolment], work: &WorkingTime, hours: &[HoursWorked], until: Date) -> Result<Vec<PlannedCredit>, PlanFault> {
    let mut raw = Vec::new();
    for enrolment in enrolments {
        for (from, to) in work.employed_within(enrolment.from, enrolment.until) {
            for regime in regimes(enrolment, work, from, to) {
                match regime.grant {
                    Grant::Steps(steps) => steps_of(&regime, steps, to, enrolment.id, work, until, &mut raw)?,
                    Grant::PerHourWorked { per_hour } => raw.extend(hours_of(&regime, *per_hour, enrolment.id, hours, until)),
                    Grant::Nothing | Grant::Rolling { .. } => {}
                }
            }
        }
    }
    raw.sort_by_key(|(credit, _)| (credit.accrued.0, credit.enrolment));
    let mut raw = without_doubles(raw);
    round(&mut raw);
    let mut credits: Vec<PlannedCredit> = raw.into_iter().map(|(credit, _)| credit).collect();
    credits.retain(|credit| !credit.exact.is_zero());
    credits.sort_by_key(|credit| (credit.on, credit.accrued.0, credit.enrolment));
    Ok(credits)
}

/// Where a part of a step counts as the whole, a step that is whole already is not credited again to whoever changes the policy,
/// or leaves and comes back, within it.
fn without_doubles(credits: Vec<Raw<'_>>) -> Vec<Raw<'_>> {
    let mut kept: Vec<Raw<'_>> = Vec::with_capacity(credits.len());
    // The steps that count as whole follow each other, so only the one that ends last can hold the day.
    let mut whole_until: Option<Date> = None;
    for (credit, terms) in credits {
        let begins_within = credit.accrued.0 > credit.period.0;
        if credit.proration == Proration::None && begins_within && whole_until.is_some_and(|end| credit.accrued.0 < end) {
            continue;
        }
        if credit.proration == Proration::None {
            whole_until = Some(whole_until.map_or(credit.period.1, |end| end.max(credit.period.1)));
        }
        kept.push((credit, terms));
    }
    kept
}

/// The tiers and versions that hold one after the other on the days of `[from, until)`.
fn regimes<'a>(enrolment: &'a Enrolment, work: &WorkingTime, from: Date, until: Option<Date>) -> Vec<Regime<'a>> {
    let Some(service) = work.service_start() else { return Vec::new() };
    let within = |day: &Date| *day > from && until.is_none_or(|until| *day < until);
    let tier_starts = |terms: &LeavePolicyTerms| -> Vec<Date> {
        terms.tiers.iter().map(|tier| completes_months(service, tier.after_months, terms.leap_day)).collect()
    };
    let mut starts: BTreeSet<Date> = BTreeSet::from([from]);
    for version in &enrolment.versions {
        starts.insert(version.from);
        starts.extend(tier_starts(&version.terms));
        starts.insert(after_wait(service, version.terms.wait_to_accrue));
    }
    starts.retain(|day| *day == from || within(day));

    let mut found: Vec<Regime<'a>> = Vec::new();
    for nominal in starts {
        let Some(version) = enrolment.version_on(nominal) else { continue };
        let terms = &version.terms;
        if nominal < after_wait(service, terms.wait_to_accrue) {
            continue;
        }
        let held = tier_starts(terms).iter().rposition(|start| *start <= nominal).unwrap_or(0);
        let Some(tier) = terms.tiers.get(held) else { continue };
        let same = |last: &Regime<'a>| last.version.version == version.version && std::ptr::eq(last.grant, &raw const tier.grant);
        if found.last().is_some_and(same) {
            continue;
        }
        let begins = match (&tier.grant, found.is_empty(), terms.change_over) {
            (Grant::Steps(steps), false, ChangeOver::NextStep) => first_step_from(steps, service, nominal),
            (Grant::Steps(_) | Grant::Nothing | Grant::PerHourWorked { .. } | Grant::Rolling { .. }, _, _) => nominal,
        };
        // A regime that would begin no earlier than this one never holds.
        while found.last().is_some_and(|last| last.from >= begins) {
            found.pop();
        }
        if let Some(last) = found.last_mut() {
            last.until = Some(begins);
        }
        found.push(Regime { from: begins, until, version, grant: &tier.grant });
    }
    found.retain(|regime| regime.until.is_none_or(|until| regime.from < until));
    found
}

/// Steps that follow each other without a gap, numbered from that which begins on the anchor.
enum StepCalendar {
    Months { anchor: Date, count: i32 },
    Weeks { anchor: Date, count: i32 },
}

impl StepCalendar {
    fn new(every: StepInterval, service: Date) -> Self {
        match every {
            // A leap year has every day of the year.
            StepInterval::Months { count, from } => Self::Months { anchor: MonthDay::in_year(from, 2000), count: i32::from(count.max(1)) },
            StepInterval::ServiceMonths { count } => Self::Months { anchor: service, count: i32::from(count.max(1)) },
            StepInterval::Weeks { count, from } => Self::Weeks { anchor: from, count: i32::from(count.max(1)) },
        }
    }
    fn start(&self, number: i32) -> Date {
        match self {
            Self::Months { anchor, count } => add_months(*anchor, number.saturating_mul(*count)),
            Self::Weeks { anchor, count } => add_days(*anchor, number.saturating_mul(7 * *count)),
        }
    }
    /// The number of the step that holds a day.
    fn number_of(&self, day: Date) -> i32 {
        match self {
            Self::Months { anchor, count } => {
                let months = (i32::from(day.year()) - i32::from(anchor.year())) * 12 + i32::from(day.month()) - i32::from(anchor.month());
                let number = months.div_euclid(*count);
                if self.start(number) > day { number - 1 } else { number }
            }
            Self::Weeks { anchor, count } => (day - *anchor).get_days().div_euclid(7 * *count),
        }
    }
    /// How many months a step has.
    const fn months(&self) -> i32 {
        match self {
            Self::Months { count, .. } => *count,
            Self::Weeks { .. } => 0,
        }
    }
}

fn first_step_from(steps: &AccrualSteps, service: Date, day: Date) -> Date {
    let calendar = StepCalendar::new(steps.every, service);
    let number = calendar.number_of(day);
    if calendar.start(number) == day { day } else { calendar.start(number + 1) }
}

/// A credit that is still to be rounded, and the terms that it follows from.
type Raw<'a> = (PlannedCredit, &'a LeavePolicyTerms);

/// The credits of a regime's steps. `leaves` is the first day after the person's employment or enrolment.
fn steps_of<'a>(
    regime: &Regime<'a>,
    steps: &AccrualSteps,
    leaves: Option<Date>,
    enrolment: EnrolmentId,
    work: &WorkingTime,
    until: Date,
    credits: &mut Vec<Raw<'a>>,
) -> Result<(), PlanFault> {
    let Some(service) = work.service_start() else { return Ok(()) };
    let terms = &regime.version.terms;
    let calendar = StepCalendar::new(steps.every, service);
    for number in calendar.number_of(regime.from).. {
        let period = (calendar.start(number), calendar.start(number + 1));
        let to = regime.until.map_or(period.1, |end| end.min(period.1));
        let accrued = (period.0.max(regime.from), to);
        // A step without length would come only at the end of all calendars.
        if accrued.0 >= to || accrued.0 > until || period.1 <= period.0 {
            break;
        }
        let on = match steps.credit {
            CreditTime::AtStart => accrued.0,
            // Whoever leaves gets what the last step earned on the last day.
            CreditTime::AtEnd if leaves == Some(to) => add_days(to, -1),
            CreditTime::AtEnd => to,
        };
        if on > until {
            continue;
        }
        let exact = Amount::computed(earned(steps, terms, &calendar, period, accrued, work)?);
        let (amount, capped, proration, version) = (exact, Amount::ZERO, terms.proration, regime.version.version);
        credits.push((PlannedCredit { on, enrolment, period, accrued, exact, amount, capped, proration, version }, terms));
    }
    Ok(())
}

fn hours_of<'a>(regime: &Regime<'a>, per_hour: Amount, enrolment: EnrolmentId, hours: &[HoursWorked], until: Date) -> Vec<Raw<'a>> {
    // All hours of a day make one credit, so that its key is the day.
    let mut by_day: BTreeMap<Date, Decimal> = BTreeMap::new();
    for worked in hours.iter().filter(|worked| worked.on >= regime.from && worked.on <= until) {
        if regime.until.is_none_or(|end| worked.on < end) {
            *by_day.entry(worked.on).or_default() += worked.hours.decimal();
        }
    }
    let terms = &regime.version.terms;
    let credit = |(on, hours): (Date, Decimal)| {
        let exact = Amount::computed(hours * per_hour.decimal());
        let period = (on, next(on));
        let (proration, version) = (terms.proration, regime.version.version);
        (PlannedCredit { on, enrolment, period, accrued: period, exact, amount: exact, capped: Amount::ZERO, proration, version }, terms)
    };
    by_day.into_iter().map(credit).collect()
}

/// What a step earns for the days on which the person accrued.
fn earned(
    steps: &AccrualSteps,
    terms: &LeavePolicyTerms,
    calendar: &StepCalendar,
    (from, to): (Date, Date),
    accrued: (Date, Date),
    work: &WorkingTime,
) -> Result<Decimal, PlanFault> {
    // A yearly allowance is divided by twelve last, so that nothing is lost before.
    let (times, parts) = match steps.per {
        AllowancePeriod::Step => (Decimal::ONE, Decimal::ONE),
        AllowancePeriod::Year => (Decimal::from(calendar.months()), Decimal::from(12)),
    };
    let weighted = |from: Date, to: Date| weighted_days(steps.allowance, terms.by_fraction, from, to, work);
    let mean = |from: Date, to: Date| Ok::<_, PlanFault>(weighted(from, to)? / Decimal::from(days_between(from, to).max(1)));
    match terms.proration {
        Proration::None => Ok(mean(accrued.0, accrued.1)? * times / parts),
        Proration::Days => Ok(weighted(accrued.0, accrued.1)? * times / (parts * Decimal::from(days_between(from, to).max(1)))),
        Proration::MonthsBegun | Proration::MonthsCompleted => {
            let months = calendar.months().max(1);
            let mut sum = Decimal::ZERO;
            for month in 0..months {
                let (first, end) = (add_months(from, month), if month + 1 == months { to } else { add_months(from, month + 1) });
                let (covered, covered_to) = (first.max(accrued.0), end.min(accrued.1));
                let counts = match terms.proration {
                    Proration::MonthsCompleted => covered == first && covered_to == end,
                    Proration::None | Proration::Days | Proration::MonthsBegun => covered < covered_to,
                };
                if counts {
                    sum += mean(covered, covered_to)?;
                }
            }
            Ok(sum * times / (parts * Decimal::from(months)))
        }
    }
}

/// The allowance of each day of `[from, to)`, summed.
fn weighted_days(allowance: Allowance, by_fraction: bool, from: Date, to: Date, work: &WorkingTime) -> Result<Decimal, PlanFault> {
    let mut sum = Decimal::ZERO;
    for stretch in work.stretches(from, to) {
        let whole = match allowance {
            Allowance::Fixed { amount } => amount.decimal(),
            Allowance::Weeks { weeks, at_most } => {
                let days = weeks.decimal() * stretch.days_per_week.ok_or(PlanFault::NoSchedule(from))?;
                at_most.map_or(days, |most| days.min(most.decimal()))
            }
        };
        let fraction = if by_fraction { stretch.fraction } else { Decimal::ONE };
        sum += whole * fraction * Decimal::from(stretch.days);
    }
    Ok(sum)
}

/// Rounds what was earned in each leave year so far and caps it; a credit is the difference to the credits before it.
fn round(credits: &mut [Raw<'_>]) {
    let mut years: BTreeMap<Date, (Decimal, Decimal)> = BTreeMap::new();
    for (credit, terms) in credits {
        let year = terms.carry_over.year_starts.on_or_before(credit.accrued.0);
        let (earned, given) = years.entry(year).or_default();
        *earned += credit.exact.decimal();
        let rounded = terms.rounding.map_or(Amount::computed(*earned), |rounding| rounding.apply(Amount::computed(*earned)));
        let due = (rounded.decimal() - *given).max(Decimal::ZERO);
        let room = terms.year_cap.map_or(due, |cap| (cap.decimal() - *given).max(Decimal::ZERO));
        let amount = due.min(room);
        *given += amount;
        credit.amount = Amount::computed(amount);
        credit.capped = Amount::computed(due - amount);
    }
}
