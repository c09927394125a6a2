//! Which day it is. Today is a civil day in a time zone: that of the place of work for a person, the tenant's for lists and reports.
//! Never the server's.

use std::sync::LazyLock;

use jiff::{
    Timestamp,
    civil::Date,
    tz::{TimeZone, TimeZoneDatabase},
};

use crate::Tenant;

/// The time zone of an IANA name, from the database that is compiled in: all processes of a build know the same zones and the same
/// rules, whatever the machine and PostgreSQL know. None where there is no such name.
pub fn time_zone(name: &str) -> Option<TimeZone> {
    static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
    ZONES.get(name).ok()
}

/// Today in a time zone at an instant: the last day that has begun there.
///
/// A day begins at its first instant. That is not midnight where the clock is put forward over midnight. Where the clock is put
/// back over midnight, it shows the day before again; the new day has begun all the same, and goes on.
pub fn today(zone: &TimeZone, now: Timestamp) -> Date {
    let shown = now.to_zoned(zone.clone()).date();
    let Ok(next) = shown.tomorrow() else { return shown };
    // Where the clock shows midnight twice, this is the first of the two.
    let has_begun = next.to_zoned(zone.clone()).is_ok_and(|start| start.timestamp() <= now);
    if has_begun { next } else { shown }
}

/// What day it is for a tenant, and where its people work, at one instant.
#[derive(Debug, Clone)]
pub struct TenantClock {
    zone: TimeZone,
    now: Timestamp,
}

impl TenantClock {
    /// The clock of a tenant, now.
    pub fn read(tenant: &Tenant) -> Self {
        Self::at(tenant.time_zone.clone(), Timestamp::now())
    }
    /// The clock of a tenant with this time zone, at this instant.
    pub const fn at(zone: TimeZone, now: Timestamp) -> Self {
        Self { zone, now }
    }
    /// Today for the tenant's lists and reports, and for whoever has no fixed place of work.
    pub fn today(&self) -> Date {
        today(&self.zone, self.now)
    }
    /// The first instant of a day at a place of work in this time zone; in the tenant's where there is no such place, or no such zone.
    pub fn start_of(&self, day: Date, place: Option<&TimeZone>) -> Timestamp {
        // A day that no instant is of has not begun.
        day.to_zoned(place.unwrap_or(&self.zone).clone()).map_or(Timestamp::MAX, |start| start.timestamp())
    }
    /// Today at a place of work in this time zone; the tenant's today where there is no such place, or no such zone.
    pub fn today_at(&self, place: Option<&TimeZone>) -> Date {
        today(place.unwrap_or(&self.zone), self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(zone: &str, at: &str, expected: &str) {
        let day = today(&time_zone(zone).unwrap(), at.parse().unwrap());
        assert_eq!(day.to_string(), expected, "{zone} at {at}");
    }

    #[test]
    fn today_is_the_day_of_the_zone() {
        for (zone, at, expected) in [
            ("UTC", "2026-11-30T23:59:59.999999999Z", "2026-11-30"),
            ("UTC", "2026-12-01T00:00:00Z", "2026-12-01"),
            ("Europe/Vienna", "2026-11-30T22:59:59Z", "2026-11-30"),
            ("Europe/Vienna", "2026-11-30T23:00:00Z", "2026-12-01"),
            ("America/New_York", "2026-12-01T04:59:59Z", "2026-11-30"),
            ("America/New_York", "2026-12-01T05:00:00Z", "2026-12-01"),
            // The first and the last place of the world to begin a day, and the three days that there are at once.
            ("Pacific/Kiritimati", "2026-11-30T09:59:59Z", "2026-11-30"),
            ("Pacific/Kiritimati", "2026-11-30T10:30:00Z", "2026-12-01"),
            ("UTC", "2026-11-30T10:30:00Z", "2026-11-30"),
            ("Pacific/Pago_Pago", "2026-11-30T10:30:00Z", "2026-11-29"),
            ("Pacific/Pago_Pago", "2026-11-30T11:00:00Z", "2026-11-30"),
            ("Asia/Kathmandu", "2026-11-30T18:14:59Z", "2026-11-30"),
            ("Asia/Kathmandu", "2026-11-30T18:15:00Z", "2026-12-01"),
            // Before 1970, too.
            ("Europe/Vienna", "1950-06-30T22:59:59Z", "1950-06-30"),
            ("Europe/Vienna", "1950-06-30T23:00:00Z", "1950-07-01"),
        ] {
            check(zone, at, expected);
        }
    }

    #[test]
    fn a_day_begins_at_its_first_instant() {
        for (zone, at, expected) in [
            // The clock was put forward at midnight: the day began at one o'clock.
            ("America/Sao_Paulo", "2018-11-04T02:59:59Z", "2018-11-03"),
            ("America/Sao_Paulo", "2018-11-04T03:00:00Z", "2018-11-04"),
            ("Asia/Beirut", "2026-03-28T21:59:59Z", "2026-03-28"),
            ("Asia/Beirut", "2026-03-28T22:00:00Z", "2026-03-29"),
            // At half past eleven to half past twelve.
            ("America/Toronto", "1919-03-31T04:29:59Z", "1919-03-30"),
            ("America/Toronto", "1919-03-31T04:30:00Z", "1919-03-31"),
            // The clock was put back from midnight to eleven, so the day before had 25 hours.
            ("America/Sao_Paulo", "2018-02-18T02:30:00Z", "2018-02-17"),
            ("America/Sao_Paulo", "2018-02-18T03:00:00Z", "2018-02-18"),
            ("Asia/Beirut", "2026-10-24T21:30:00Z", "2026-10-24"),
            ("Asia/Beirut", "2026-10-24T22:00:00Z", "2026-10-25"),
            // The clock was put back one minute after midnight. The new day had begun by then, and goes on.
            ("America/St_Johns", "2010-11-07T02:29:59Z", "2010-11-06"),
            ("America/St_Johns", "2010-11-07T02:30:00Z", "2010-11-07"),
            ("America/St_Johns", "2010-11-07T03:00:00Z", "2010-11-07"),
            ("America/St_Johns", "2010-11-07T03:31:00Z", "2010-11-07"),
            // Samoa had no 30 December 2011.
            ("Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29"),
            ("Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-31"),
        ] {
            check(zone, at, expected);
        }
    }

    /// Minute by minute over days on which clocks are changed: no day comes back.
    #[test]
    fn days_only_go_forward() {
        for (zone, around) in [
            ("America/Sao_Paulo", "2018-02-18T00:00:00Z"),
            ("America/Sao_Paulo", "2018-11-04T00:00:00Z"),
            ("America/St_Johns", "2010-11-07T00:00:00Z"),
            ("Asia/Beirut", "2026-03-29T00:00:00Z"),
            ("Asia/Beirut", "2026-10-25T00:00:00Z"),
            ("Pacific/Apia", "2011-12-30T00:00:00Z"),
        ] {
            let (zone, start): (_, Timestamp) = (time_zone(zone).unwrap(), around.parse().unwrap());
            let mut before = None;
            for minute in -2 * 1440..2 * 1440_i64 {
                let day = today(&zone, start + jiff::SignedDuration::from_mins(minute));
                assert!(before.is_none_or(|before| before <= day), "{zone:?}: {day} after {before:?}");
                before = Some(day);
            }
        }
    }

    #[test]
    fn a_place_of_work_has_its_own_day_and_an_unknown_one_the_tenants() {
        let clock = TenantClock::at(time_zone("Pacific/Kiritimati").unwrap(), "2026-11-30T10:30:00Z".parse().unwrap());
        let at = |name: &str| clock.today_at(time_zone(name).as_ref()).to_string();
        assert_eq!((clock.today().to_string(), clock.today_at(None).to_string()), ("2026-12-01".to_owned(), "2026-12-01".to_owned()));
        assert_eq!((at("UTC"), at("Pacific/Pago_Pago")), ("2026-11-30".to_owned(), "2026-11-29".to_owned()));
        assert_eq!(at("Atlantis/Poseidonis"), "2026-12-01");
        let start = |name: &str| clock.start_of("2018-11-04".parse().unwrap(), time_zone(name).as_ref()).to_string();
        assert_eq!(start("America/Sao_Paulo"), "2018-11-04T03:00:00Z");
        assert_eq!((start("UTC"), start("Atlantis/Poseidonis")), ("2018-11-04T00:00:00Z".to_owned(), "2018-11-03T10:00:00Z".to_owned()));
    }
}
