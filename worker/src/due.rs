//! When what is due is looked at, and what is done then. Pure.
//!
//! A day begins at different instants in different places, and people move, and places change their time zone. So what is due is
//! looked at from the instant on at which its day may have begun somewhere, and every quarter of an hour until it has begun where it
//! must have.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use platform::TenantClock;

/// No place of the world begins a day earlier than this before UTC does, or later than this after it.
const SPREAD: SignedDuration = SignedDuration::from_hours(14);
/// How long after a look the next one is, at the latest.
const AGAIN: SignedDuration = SignedDuration::from_mins(15);

/// What is to be done with something that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is announced: its day has begun, and had not when it was recorded.
    Announce,
    /// Nothing: its day had begun when it was recorded.
    Past,
    /// It is looked at again then.
    LookAgain(Timestamp),
}

/// What is to be done now with what was recorded at an instant and whose day begins at `starts` where it must have begun.
pub fn verdict(starts: Timestamp, recorded_at: Timestamp, now: Timestamp) -> Verdict {
    if recorded_at >= starts {
        Verdict::Past
    } else if now >= starts {
        Verdict::Announce
    } else {
        Verdict::LookAgain(starts.min(now.checked_add(AGAIN).unwrap_or(Timestamp::MAX)))
    }
}

/// The first instant at which a day may have begun somewhere.
pub fn earliest_start(day: Date) -> Timestamp {
    utc(day).checked_sub(SPREAD).unwrap_or(Timestamp::MIN)
}

/// The first instant at which a day has begun everywhere.
pub fn latest_start(day: Date) -> Timestamp {
    utc(day).checked_add(SPREAD).unwrap_or(Timestamp::MAX)
}

fn utc(day: Date) -> Timestamp {
    TenantClock::at(TimeZone::UTC, Timestamp::UNIX_EPOCH).start_of(day, None)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use platform::today::time_zone;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_is_looked_at_from_where_it_begins_first_to_where_it_begins_last() {
        let day = date(2026, 12, 1);
        let clock = TenantClock::at(TimeZone::UTC, at("2026-12-01T00:00:00Z"));
        for zone in ["Pacific/Kiritimati", "Pacific/Auckland", "UTC", "America/St_Johns", "Pacific/Pago_Pago", "Etc/GMT+12"] {
            let starts = clock.start_of(day, time_zone(zone).as_ref());
            assert!(earliest_start(day) <= starts && starts <= latest_start(day), "{zone} begins it at {starts}");
        }
        assert_eq!(earliest_start(day), at("2026-11-30T10:00:00Z"), "Kiritimati's own");
    }

    #[test]
    fn it_is_announced_once_its_day_has_begun_if_it_lay_ahead() {
        let (starts, before) = (at("2026-11-30T23:00:00Z"), at("2026-11-01T00:00:00Z"));
        for (recorded, now, expected) in [
            (before, starts, Verdict::Announce),
            // Down for a year.
            (before, at("2027-12-01T00:00:00Z"), Verdict::Announce),
            (starts, starts, Verdict::Past),
            (at("2027-01-01T00:00:00Z"), at("2027-01-02T00:00:00Z"), Verdict::Past),
            (before, at("2026-11-30T22:59:59Z"), Verdict::LookAgain(starts)),
            (before, at("2026-11-30T10:00:00Z"), Verdict::LookAgain(at("2026-11-30T10:15:00Z"))),
            // The clock went back since: it waits.
            (before, at("2026-11-30T09:00:00Z"), Verdict::LookAgain(at("2026-11-30T09:15:00Z"))),
        ] {
            assert_eq!(verdict(starts, recorded, now), expected, "recorded {recorded}, now {now}");
        }
    }

    #[test]
    fn the_ends_of_the_calendar_are_no_panic() {
        for day in [Date::MIN, Date::MAX] {
            assert!(earliest_start(day) <= latest_start(day));
        }
        assert_eq!(verdict(Timestamp::MAX, Timestamp::MIN, Timestamp::MAX), Verdict::Announce);
    }
}
