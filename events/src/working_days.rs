//! Days and their halves, as people work and as they are free: schedules, holidays, and how much of full time.

use jiff::civil::{Date, Weekday};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::Amount;

/// A half of a civil day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DayHalf {
    /// The first half.
    Morning,
    /// The second half.
    Afternoon,
}

/// A civil day or one half of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DayPart {
    /// Both halves.
    Whole,
    /// The first half.
    Morning,
    /// The second half.
    Afternoon,
}

impl DayPart {
    /// The halves that it covers, in order.
    pub const fn each(self) -> &'static [DayHalf] {
        match self {
            Self::Whole => &[DayHalf::Morning, DayHalf::Afternoon],
            Self::Morning => &[DayHalf::Morning],
            Self::Afternoon => &[DayHalf::Afternoon],
        }
    }
    /// The halves that it covers.
    pub const fn halves(self) -> Halves {
        match self {
            Self::Whole => Halves { morning: true, afternoon: true },
            Self::Morning => Halves { morning: true, afternoon: false },
            Self::Afternoon => Halves { morning: false, afternoon: true },
        }
    }
}

/// Which halves of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Halves {
    /// The first half.
    pub morning: bool,
    /// The second half.
    pub afternoon: bool,
}

impl Halves {
    /// Whether both have a half in common.
    pub const fn meets(self, other: Self) -> bool {
        self.morning && other.morning || self.afternoon && other.afternoon
    }
}

/// A day or half day on which nobody at a place works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Holiday {
    /// The day.
    #[schema(value_type = String, format = Date)]
    pub on: Date,
    /// How much of it.
    pub part: DayPart,
    /// Its name, such as `Christmas Eve`.
    pub name: String,
}

/// What a half of a working day is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HalfOfWork {
    /// The hours of work in it.
    pub hours: Amount,
    /// What it is worth where leave is counted in days: usually `"0.5"`, or `"1"` where the half is the person's whole working day.
    pub days: Amount,
}

/// One day of a work schedule; a half without work is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DayOfWork {
    /// Work in the first half.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub morning: Option<HalfOfWork>,
    /// Work in the second half.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub afternoon: Option<HalfOfWork>,
}

impl DayOfWork {
    /// The work in a half.
    pub const fn half(&self, half: DayHalf) -> Option<HalfOfWork> {
        match half {
            DayHalf::Morning => self.morning,
            DayHalf::Afternoon => self.afternoon,
        }
    }
    /// What the day is worth in days.
    pub fn days(&self) -> Decimal {
        self.morning.map_or(Decimal::ZERO, |half| half.days.decimal()) + self.afternoon.map_or(Decimal::ZERO, |half| half.days.decimal())
    }
}

/// A schedule that can't be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchedule {
    /// Not whole weeks.
    #[error("a work schedule lists the days of 1 to 8 whole weeks, Monday first")]
    NotWholeWeeks,
    /// The cycle has to begin on a Monday.
    #[error("the week that a work schedule counts from must begin on a Monday")]
    NotAMonday,
    /// A half that is worth nothing, or too much.
    #[error("a half of a working day has more than 0 and at most 24 hours, and is worth more than 0 and at most 1 day")]
    HalfOutOfBounds,
}

/// The days on which a person works: one week or several that repeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct WorkSchedule {
    /// A Monday with which the first of the weeks begins.
    #[schema(value_type = String, format = Date)]
    counts_from: Date,
    /// The days, Monday first, seven for each week.
    days: Vec<DayOfWork>,
}

impl WorkSchedule {
    /// A schedule of whole weeks.
    pub fn new(counts_from: Date, days: Vec<DayOfWork>) -> Result<Self, InvalidSchedule> {
        if days.is_empty() || !days.len().is_multiple_of(7) || days.len() > 56 {
            return Err(InvalidSchedule::NotWholeWeeks);
        }
        if counts_from.weekday() != Weekday::Monday {
            return Err(InvalidSchedule::NotAMonday);
        }
        let sane = |half: HalfOfWork| {
            half.hours.is_positive()
                && half.hours.decimal() <= Decimal::from(24)
                && half.days.is_positive()
                && half.days.decimal() <= Decimal::ONE
        };
        if days.iter().flat_map(|day| [day.morning, day.afternoon]).flatten().all(sane) {
            Ok(Self { counts_from, days })
        } else {
            Err(InvalidSchedule::HalfOutOfBounds)
        }
    }

    /// The work of a civil day.
    pub fn on(&self, day: Date) -> DayOfWork {
        let length = i32::try_from(self.days.len()).unwrap_or(7);
        let since = (day - self.counts_from).get_days().rem_euclid(length);
        usize::try_from(since).ok().and_then(|at| self.days.get(at)).copied().unwrap_or_default()
    }
    /// How many days a week has on average.
    pub fn days_per_week(&self) -> Decimal {
        let weeks = Decimal::from(self.days.len() / 7);
        self.days.iter().map(DayOfWork::days).sum::<Decimal>() / weeks
    }
}

impl<'de> Deserialize<'de> for WorkSchedule {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            counts_from: Date,
            days: Vec<DayOfWork>,
        }
        let raw = Raw::deserialize(d)?;
        Self::new(raw.counts_from, raw.days).map_err(serde::de::Error::custom)
    }
}

/// How much of full time a person works: more than 0, at most 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(value_type = String, example = "0.8")]
pub struct WorkFraction(Decimal);

impl WorkFraction {
    /// Full time.
    pub const FULL: Self = Self(Decimal::ONE);

    /// A fraction, if it is within the bounds and has at most four decimals.
    pub fn new(fraction: Decimal) -> Option<Self> {
        let fraction = fraction.normalize();
        (fraction > Decimal::ZERO && fraction <= Decimal::TWO && fraction.scale() <= 4).then_some(Self(fraction))
    }
    /// As a number.
    pub const fn decimal(self) -> Decimal {
        self.0
    }
}
impl<'de> Deserialize<'de> for WorkFraction {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        let bad = || serde::de::Error::custom("a full-time fraction is above 0, at most 2, and has at most four decimals, such as \"0.8\"");
        Decimal::from_str_exact(&text).ok().and_then(Self::new).ok_or_else(bad)
    }
}
