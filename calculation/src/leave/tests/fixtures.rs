//! What the tests of this module share: policies, schedules and calendars in short.

use events::leave::{
    AccrualSteps, Allowance, AllowancePeriod, Amount, Carried, CarryOver, ChangeOver, Counting, CreditTime, DayOfWork, DayPart, Grant,
    HalfOfWork, Holiday, LeapDay, LeavePolicyTerms, LeaveRequestId, LeaveUnit, LotEnd, MonthDay, PolicyVersion, Proration, Rounding,
    RoundingMode, ServiceTier, StepInterval, WaitingTime, WorkSchedule,
};
use jiff::civil::Date;
use uuid::Uuid;

use crate::leave::{Employed, Enrolment, FromDays, HolidayCalendar, WorkingTime, ledger::Taking};

pub(super) fn amount(text: &str) -> Amount {
    text.parse().expect("an amount")
}
pub(super) fn day(text: &str) -> Date {
    text.parse().expect("a day")
}
pub(super) fn month_day(text: &str) -> MonthDay {
    text.parse().expect("a day of the year")
}
pub(super) fn request(n: u128) -> LeaveRequestId {
    LeaveRequestId::from_uuid(Uuid::from_u128(n))
}

/// Half days of working time; 30 a year on 1 January, nothing prorated, nothing carried.
pub(super) fn terms() -> LeavePolicyTerms {
    LeavePolicyTerms {
        unit: LeaveUnit::HalfDays,
        counting: Counting::WorkingTime,
        tiers: vec![ServiceTier { after_months: 0, grant: yearly("30") }],
        change_over: ChangeOver::NextStep,
        proration: Proration::None,
        by_fraction: false,
        rounding: None,
        balance_cap: None,
        year_cap: None,
        carry_over: carry("01-01", Carried::Nothing, None),
        wait_to_accrue: WaitingTime::default(),
        wait_to_take: WaitingTime::default(),
        negative_limit: Amount::ZERO,
        encashable: false,
        leap_day: LeapDay::February28,
    }
}

/// So much on each 1 January.
pub(super) fn yearly(text: &str) -> Grant {
    steps(text, AllowancePeriod::Year, StepInterval::Months { count: 12, from: MonthDay::NEW_YEAR }, CreditTime::AtStart)
}
pub(super) fn steps(text: &str, per: AllowancePeriod, every: StepInterval, credit: CreditTime) -> Grant {
    Grant::Steps(AccrualSteps { allowance: Allowance::Fixed { amount: amount(text) }, per, every, credit })
}
pub(super) const fn monthly() -> StepInterval {
    StepInterval::Months { count: 1, from: MonthDay::NEW_YEAR }
}
pub(super) fn carry(year_starts: &str, carried: Carried, ends: Option<LotEnd>) -> CarryOver {
    CarryOver { year_starts: month_day(year_starts), carried, ends, for_good: Amount::ZERO }
}
pub(super) fn rounding(to: &str, mode: RoundingMode) -> Rounding {
    Rounding { to: amount(to), mode }
}
pub(super) fn granting(grant: Grant) -> LeavePolicyTerms {
    LeavePolicyTerms { tiers: vec![ServiceTier { after_months: 0, grant }], ..terms() }
}

/// An enrolment from a day on, in a policy of one version.
pub(super) fn enrolled(from: &str, terms: LeavePolicyTerms) -> Vec<Enrolment> {
    terms.check().unwrap_or_else(|fault| panic!("{fault}"));
    let versions = vec![PolicyVersion { version: 1, from: day("1990-01-01"), terms }];
    vec![Enrolment { id: events::leave::EnrolmentId::from_uuid(Uuid::from_u128(9)), from: day(from), until: None, versions }]
}

/// A week: of each day from Monday on the hours of morning and afternoon, such as `"44 44 44 44 4. .. .."`.
pub(super) fn week(text: &str) -> WorkSchedule {
    let half =
        |c: char| c.to_digit(10).map(|hours| HalfOfWork { hours: Amount::from(u16::try_from(hours).unwrap_or(0)), days: amount("0.5") });
    let days = text.split(' ').map(|halves| {
        let mut halves = halves.chars();
        DayOfWork { morning: halves.next().and_then(half), afternoon: halves.next().and_then(half) }
    });
    WorkSchedule::new(day("2024-01-01"), days.collect()).unwrap_or_else(|e| panic!("{e}"))
}
pub(super) const MON_TO_FRI: &str = "44 44 44 44 44 .. ..";

pub(super) fn holiday(on: &str, part: DayPart) -> Holiday {
    Holiday { on: day(on), part, name: format!("holiday of {on}") }
}

/// Somebody employed from a day on, from Monday to Friday, at a place whose calendar has these holidays and knows 1990 to 2100.
pub(super) fn working(from: &str, holidays: Vec<Holiday>) -> WorkingTime {
    WorkingTime {
        employments: vec![Employed { from: day(from), last_day: None }],
        service_start: None,
        fraction: FromDays::default(),
        schedule: FromDays::since(day("1900-01-01"), week(MON_TO_FRI)),
        holidays: FromDays::since(day("1900-01-01"), HolidayCalendar::new("place", 1990..=2100, holidays)),
    }
}

/// One taking, of a whole day unless it is said otherwise.
pub(super) fn taking(n: u128, on: &str, text: &str) -> Taking {
    Taking { request: request(n), on: day(on), amount: amount(text), cancelled_on: None }
}
