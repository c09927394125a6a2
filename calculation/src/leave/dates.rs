//! Months and years of the calendar, as laws and contracts count them.

use events::leave::{LeapDay, WaitingTime};
use jiff::{ToSpan, civil::Date};

/// The day so many months later. Where that month is too short it is the month's last day.
pub fn add_months(day: Date, months: i32) -> Date {
    day.saturating_add(months.months())
}

/// The day so many days later.
pub fn add_days(day: Date, days: i32) -> Date {
    day.saturating_add(days.days())
}

/// The day after.
pub fn next(day: Date) -> Date {
    add_days(day, 1)
}

/// How many days lie in `[from, to)`; none if `to` is not after `from`.
pub fn days_between(from: Date, to: Date) -> i32 {
    if to <= from { 0 } else { (to - from).get_days() }
}

/// The day on which so many months of service are complete. Whoever began on 29 February completes a year as `leap` says.
pub fn completes_months(from: Date, months: u16, leap: LeapDay) -> Date {
    let day = add_months(from, i32::from(months));
    let moved = (from.month(), from.day()) == (2, 29) && (day.month(), day.day()) == (2, 28);
    if moved && leap == LeapDay::March1 { next(day) } else { day }
}

/// The anniversary of a day in a year; none in the year of the day itself and before.
pub fn anniversary(of: Date, year: i16, leap: LeapDay) -> Option<Date> {
    let years = i32::from(year) - i32::from(of.year());
    let months = u16::try_from(years.checked_mul(12)?).ok().filter(|months| *months > 0)?;
    Some(completes_months(of, months, leap))
}

/// How many years of service are complete on a day.
pub fn completed_years(from: Date, on: Date, leap: LeapDay) -> u16 {
    let years = u16::try_from(i32::from(on.year()) - i32::from(from.year())).unwrap_or(0);
    match anniversary(from, on.year(), leap) {
        Some(day) if day <= on => years,
        Some(_) | None => years.saturating_sub(1),
    }
}

/// The first day after a wait that begins on a day.
pub fn after_wait(from: Date, wait: WaitingTime) -> Date {
    add_days(add_months(from, i32::from(wait.months)), i32::from(wait.days))
}
