//! Leave policies as data. A policy is published in versions, each from a day on; a version is never edited.

use std::{fmt, str::FromStr};

use jiff::civil::Date;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};

use super::Amount;

/// What leave is counted in, and the smallest amount that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeaveUnit {
    /// Whole days only.
    Days,
    /// Days, down to a half.
    HalfDays,
    /// Whole hours.
    Hours,
    /// Hours, down to a quarter.
    QuarterHours,
}

impl LeaveUnit {
    /// Whether amounts are hours.
    pub const fn is_hours(self) -> bool {
        match self {
            Self::Days | Self::HalfDays => false,
            Self::Hours | Self::QuarterHours => true,
        }
    }
    /// The smallest amount that can be asked for.
    pub fn step(self) -> Decimal {
        match self {
            Self::Days | Self::Hours => Decimal::ONE,
            Self::HalfDays => Decimal::new(5, 1),
            Self::QuarterHours => Decimal::new(25, 2),
        }
    }
}

/// Which days of a request cost anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "count")]
pub enum Counting {
    /// The halves in which the person would work, without holidays.
    WorkingTime,
    /// Every day of the calendar.
    CalendarDays {
        /// Whether holidays are free all the same.
        holidays_are_free: bool,
    },
}

/// A day of every year, written `MM-DD`. 29 February is the 28th where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, utoipa::ToSchema)]
#[schema(value_type = String, example = "04-01")]
pub struct MonthDay(
    /// The day in the year 2000, which has all of them.
    Date,
);

/// Text that names no day of a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a day of the year is written MM-DD, such as \"04-01\"")]
pub struct InvalidMonthDay;

impl MonthDay {
    /// The first of January.
    pub const NEW_YEAR: Self = Self(Date::constant(2000, 1, 1));

    /// A day that at least leap years have.
    pub fn new(month: i8, day: i8) -> Result<Self, InvalidMonthDay> {
        Date::new(2000, month, day).map(Self).map_err(|_| InvalidMonthDay)
    }
    /// Its date in a year.
    pub fn in_year(self, year: i16) -> Date {
        let first = Date::new(year, self.0.month(), 1).unwrap_or(Date::MAX);
        Date::new(first.year(), first.month(), self.0.day().min(first.days_in_month())).unwrap_or(first)
    }
    /// The last one on or before a day.
    pub fn on_or_before(self, day: Date) -> Date {
        let this_year = self.in_year(day.year());
        if this_year <= day { this_year } else { self.in_year(day.year() - 1) }
    }
    /// The first one after a day.
    pub fn after(self, day: Date) -> Date {
        let this_year = self.in_year(day.year());
        if this_year > day { this_year } else { self.in_year(day.year() + 1) }
    }
}

impl fmt::Display for MonthDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}-{:02}", self.0.month(), self.0.day())
    }
}
impl FromStr for MonthDay {
    type Err = InvalidMonthDay;
    fn from_str(text: &str) -> Result<Self, InvalidMonthDay> {
        let bytes = text.as_bytes();
        let digit = |at: usize| bytes.get(at).filter(|b| b.is_ascii_digit()).and_then(|b| i8::try_from(b - b'0').ok());
        match (bytes.len(), bytes.get(2), digit(0), digit(1), digit(3), digit(4)) {
            (5, Some(b'-'), Some(m1), Some(m0), Some(d1), Some(d0)) => Self::new(m1 * 10 + m0, d1 * 10 + d0),
            _ => Err(InvalidMonthDay),
        }
    }
}
impl Serialize for MonthDay {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for MonthDay {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// On which day somebody who was born or hired on 29 February has an anniversary in a year without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeapDay {
    /// On 28 February.
    February28,
    /// On 1 March.
    March1,
}

/// How much a person is entitled to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Allowance {
    /// So much.
    Fixed {
        /// The amount.
        amount: Amount,
    },
    /// So many of the person's weeks: a week has as many days as the schedule in force.
    Weeks {
        /// How many.
        weeks: Amount,
        /// At most so many days.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        at_most: Option<Amount>,
    },
}

/// What an allowance is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AllowancePeriod {
    /// A year; a step gets the part of it that it is long.
    Year,
    /// A step.
    Step,
}

/// When steps begin. They follow each other without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum StepInterval {
    /// Each so many months, counted from a day of the year.
    Months {
        /// 1 to 12, a divisor of 12.
        count: u8,
        /// A day on which one begins.
        from: MonthDay,
    },
    /// Each so many months, counted from the start of service.
    ServiceMonths {
        /// 1 to 12, a divisor of 12.
        count: u8,
    },
    /// Each so many weeks, counted from a day.
    Weeks {
        /// 1 to 52.
        count: u8,
        /// A day on which one begins.
        #[schema(value_type = String, format = Date)]
        from: Date,
    },
}

/// When a step is credited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CreditTime {
    /// On its first day.
    AtStart,
    /// On the day after its last.
    AtEnd,
}

/// Accrual by steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccrualSteps {
    /// How much.
    pub allowance: Allowance,
    /// For what.
    pub per: AllowancePeriod,
    /// When steps begin.
    pub every: StepInterval,
    /// When a step is credited.
    pub credit: CreditTime,
}

/// How leave is earned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Grant {
    /// Not by itself: only what is added by hand.
    Nothing,
    /// By steps.
    Steps(AccrualSteps),
    /// By hours worked, as they are recorded.
    PerHourWorked {
        /// So much for an hour.
        per_hour: Amount,
    },
    /// So much in any stretch of so many months, looking back from each day.
    Rolling {
        /// How much.
        amount: Amount,
        /// The length of the stretch.
        months: u8,
    },
}

/// What is earned from a length of service on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceTier {
    /// Completed months of service.
    pub after_months: u16,
    /// How leave is earned then.
    pub grant: Grant,
}

/// From when another tier or version counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeOver {
    /// From the first step that begins under it.
    NextStep,
    /// From its day: the step that it falls into is divided by the proration.
    AtOnce,
}

/// How a part of a step counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Proration {
    /// As the whole.
    None,
    /// By its days.
    Days,
    /// By the months of the step that it touches.
    MonthsBegun,
    /// By the months of the step that it covers.
    MonthsCompleted,
}

/// In which direction a sum is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoundingMode {
    /// Up.
    Up,
    /// Down.
    Down,
    /// To the nearest, the middle up.
    HalfUp,
}

/// To what the sum of a leave year's steps is rounded, so that the steps add up to the year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rounding {
    /// Multiples of this.
    pub to: Amount,
    /// The direction.
    pub mode: RoundingMode,
}

impl Rounding {
    /// The sum, rounded.
    pub fn apply(&self, sum: Amount) -> Amount {
        let step = self.to.decimal();
        if step.is_zero() {
            return sum;
        }
        let strategy = match self.mode {
            RoundingMode::Up => RoundingStrategy::ToPositiveInfinity,
            RoundingMode::Down => RoundingStrategy::ToNegativeInfinity,
            RoundingMode::HalfUp => RoundingStrategy::MidpointAwayFromZero,
        };
        // What was divided before is cut to the decimals of an amount first, so that 28.0000000001 thirds are not rounded up.
        Amount::computed((sum.decimal() / step).round_dp(Amount::DECIMALS - 2).round_dp_with_strategy(0, strategy) * step)
    }
}

/// A time of service before something begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitingTime {
    /// Months.
    #[serde(default)]
    pub months: u16,
    /// Days after those.
    #[serde(default)]
    pub days: u16,
}

/// How much of what is left goes into the next leave year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "carry")]
pub enum Carried {
    /// Nothing.
    Nothing,
    /// Everything.
    All,
    /// Up to so much.
    UpTo {
        /// How much.
        amount: Amount,
    },
}

/// When carried leave ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum LotEnd {
    /// With the day before this day of the new year.
    On {
        /// The first day without it.
        day: MonthDay,
    },
    /// After so many months.
    AfterMonths {
        /// How many.
        months: u8,
    },
}

/// What happens at the end of a leave year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CarryOver {
    /// The first day of a leave year.
    pub year_starts: MonthDay,
    /// How much is carried.
    pub carried: Carried,
    /// When that ends; absent, it stays.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ends: Option<LotEnd>,
    /// So much of it stays all the same.
    #[serde(default)]
    pub for_good: Amount,
}

/// What a version of a policy says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeavePolicyTerms {
    /// What leave is counted in.
    pub unit: LeaveUnit,
    /// Which days cost anything.
    pub counting: Counting,
    /// How leave is earned, by length of service; the first from the first day.
    pub tiers: Vec<ServiceTier>,
    /// From when a tier counts, and this version.
    pub change_over: ChangeOver,
    /// How a part of a step counts.
    pub proration: Proration,
    /// Whether a full-time fraction lessens what is earned.
    pub by_fraction: bool,
    /// To what the year's sum is rounded; absent, not at all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rounding: Option<Rounding>,
    /// The balance that no step goes beyond.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub balance_cap: Option<Amount>,
    /// What is earned in a leave year at most.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub year_cap: Option<Amount>,
    /// What happens at the end of a leave year.
    pub carry_over: CarryOver,
    /// The service before leave is earned.
    #[serde(default)]
    pub wait_to_accrue: WaitingTime,
    /// The service before leave is taken.
    #[serde(default)]
    pub wait_to_take: WaitingTime,
    /// How far below nothing the balance may go.
    #[serde(default)]
    pub negative_limit: Amount,
    /// Whether leave can be paid out.
    #[serde(default)]
    pub encashable: bool,
    /// When somebody who was hired on 29 February completes a year.
    pub leap_day: LeapDay,
}

/// A version of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyVersion {
    /// 1, 2, 3, …
    pub version: u32,
    /// The first day of it.
    pub from: Date,
    /// What it says.
    pub terms: LeavePolicyTerms,
}

/// What is wrong with a policy's terms. Each names the field and the remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    /// No tier, or none for the first months.
    #[error("tiers must begin with one after 0 months, or people with less service earn nothing; add it")]
    GapBeforeFirstTier,
    /// Tiers out of order.
    #[error("tiers must be in order of after_months, each once; sort them")]
    TiersOutOfOrder,
    /// More tiers than anybody has.
    #[error("a policy has at most 40 tiers; merge some")]
    TooManyTiers,
    /// An amount that must not be negative.
    #[error("the amount must not be negative")]
    Negative(&'static str),
    /// Rounding to nothing.
    #[error("rounding.to must be above 0, such as \"0.5\"; leave rounding out to keep all decimals")]
    RoundingToNothing,
    /// Steps that do not fill a year.
    #[error("every.count must be 1, 2, 3, 4, 6 or 12 months, or 1 to 52 weeks")]
    StepLength,
    /// A yearly amount in steps of weeks.
    #[error("weeks do not divide a year; use steps of months, or per step")]
    YearInWeeks,
    /// Months of a step that has none.
    #[error("steps of weeks have no months; use proration by days or none")]
    MonthsOfWeeks,
    /// Division of a step without a rule.
    #[error("change_over at_once divides a step; choose a proration by days or months, or next_step")]
    AtOnceWithoutProration,
    /// A stretch of no length.
    #[error("a rolling entitlement looks back 1 to 120 months")]
    RollingMonths,
    /// For good without an end.
    #[error("for_good says what is exempt from ends; set ends, or leave for_good out")]
    ForGoodWithoutEnd,
}

impl PolicyFault {
    /// JSON Pointer to the field at fault, in a command that holds the terms as `terms`.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::GapBeforeFirstTier
            | Self::TiersOutOfOrder
            | Self::TooManyTiers
            | Self::StepLength
            | Self::YearInWeeks
            | Self::RollingMonths => "/terms/tiers",
            Self::Negative(field) => field,
            Self::RoundingToNothing => "/terms/rounding/to",
            Self::MonthsOfWeeks => "/terms/proration",
            Self::AtOnceWithoutProration => "/terms/change_over",
            Self::ForGoodWithoutEnd => "/terms/carry_over/for_good",
        }
    }
}

impl LeavePolicyTerms {
    /// The most tiers of a policy: one for each year of a long working life.
    const MAX_TIERS: usize = 40;

    /// Whether the terms can be followed.
    pub fn check(&self) -> Result<(), PolicyFault> {
        if self.tiers.first().is_none_or(|tier| tier.after_months != 0) {
            return Err(PolicyFault::GapBeforeFirstTier);
        }
        if self.tiers.len() > Self::MAX_TIERS {
            return Err(PolicyFault::TooManyTiers);
        }
        if self.tiers.windows(2).any(|pair| pair[0].after_months >= pair[1].after_months) {
            return Err(PolicyFault::TiersOutOfOrder);
        }
        if self.rounding.is_some_and(|rounding| !rounding.to.is_positive()) {
            return Err(PolicyFault::RoundingToNothing);
        }
        let carried = match self.carry_over.carried {
            Carried::Nothing | Carried::All => Amount::ZERO,
            Carried::UpTo { amount } => amount,
        };
        for (field, amount) in [
            ("/terms/balance_cap", self.balance_cap.unwrap_or_default()),
            ("/terms/year_cap", self.year_cap.unwrap_or_default()),
            ("/terms/negative_limit", self.negative_limit),
            ("/terms/carry_over/for_good", self.carry_over.for_good),
            ("/terms/carry_over/carried/amount", carried),
        ] {
            if amount.is_negative() {
                return Err(PolicyFault::Negative(field));
            }
        }
        if self.carry_over.for_good.is_positive() && self.carry_over.ends.is_none() {
            return Err(PolicyFault::ForGoodWithoutEnd);
        }
        if self.change_over == ChangeOver::AtOnce && self.proration == Proration::None {
            return Err(PolicyFault::AtOnceWithoutProration);
        }
        self.tiers.iter().try_for_each(|tier| self.check_grant(&tier.grant))
    }

    fn check_grant(&self, grant: &Grant) -> Result<(), PolicyFault> {
        let not_negative = |amount: Amount| if amount.is_negative() { Err(PolicyFault::Negative("/terms/tiers")) } else { Ok(()) };
        match grant {
            Grant::Nothing => Ok(()),
            Grant::PerHourWorked { per_hour } => not_negative(*per_hour),
            Grant::Rolling { amount, months } => {
                if (1..=120).contains(months) {
                    not_negative(*amount)
                } else {
                    Err(PolicyFault::RollingMonths)
                }
            }
            Grant::Steps(steps) => {
                match steps.every {
                    StepInterval::Months { count, .. } | StepInterval::ServiceMonths { count } => {
                        if !matches!(count, 1 | 2 | 3 | 4 | 6 | 12) {
                            return Err(PolicyFault::StepLength);
                        }
                    }
                    StepInterval::Weeks { count, .. } => {
                        if !(1..=52).contains(&count) {
                            return Err(PolicyFault::StepLength);
                        }
                        if steps.per == AllowancePeriod::Year {
                            return Err(PolicyFault::YearInWeeks);
                        }
                        if matches!(self.proration, Proration::MonthsBegun | Proration::MonthsCompleted) {
                            return Err(PolicyFault::MonthsOfWeeks);
                        }
                    }
                }
                match steps.allowance {
                    Allowance::Fixed { amount } => not_negative(amount),
                    Allowance::Weeks { weeks, at_most } => not_negative(weeks).and(not_negative(at_most.unwrap_or_default())),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_day_of_the_year_stands_in_every_year() {
        let leap: MonthDay = "02-29".parse().unwrap();
        assert_eq!((leap.in_year(2023), leap.in_year(2024)), (date(2023, 2, 28), date(2024, 2, 29)));
        let april: MonthDay = "04-01".parse().unwrap();
        assert_eq!((april.on_or_before(date(2024, 4, 1)), april.after(date(2024, 4, 1))), (date(2024, 4, 1), date(2025, 4, 1)));
        assert_eq!((april.on_or_before(date(2024, 3, 31)), april.after(date(2024, 3, 31))), (date(2023, 4, 1), date(2024, 4, 1)));
        for bad in ["", "4-1", "02-30", "13-01", "00-10", "04-00", "04/01", "٠٤-٠١"] {
            assert!(bad.parse::<MonthDay>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rounding_is_to_multiples() {
        let amount = |text: &str| text.parse::<Amount>().unwrap();
        let round = |to: &str, mode, sum: &str| Rounding { to: amount(to), mode }.apply(amount(sum)).to_string();
        assert_eq!(round("1", RoundingMode::Up, "27.5"), "28");
        assert_eq!(round("1", RoundingMode::Up, "28.0000000001"), "28", "a division's last digit is no day");
        assert_eq!(round("0.5", RoundingMode::Up, "2.3333333333"), "2.5");
        assert_eq!(round("0.5", RoundingMode::Down, "2.9"), "2.5");
        assert_eq!(round("0.25", RoundingMode::HalfUp, "1.125"), "1.25");
    }
}
