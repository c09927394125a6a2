//! Which day it is where people work, as statements are told. Today of a person is the day at the place of work: at the location of
//! their assignment of the tenant's today, or of the last one; without a location it is the tenant's today.
//!
//! PostgreSQL is told days and never asked for one: it may not know a time zone that this build knows, and would then fail. Which
//! zones a tenant's locations are in stands in the read model only. So a statement that judges by the day says beside its rows which
//! zones it was not told the day of, and runs once more with those.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use events::TenantId;
use jiff::{ToSpan as _, tz::TimeZone};
use platform::{TenantClock, today::time_zone};
use sqlx::{Arguments as _, error::BoxDynError, postgres::PgArguments};

use crate::{
    params::Day,
    sight::{Bound, Slots},
};

/// The time zones of tenants' locations, as far as statements have said them: of each tenant at most as many as the database of time
/// zones has. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownZones(Arc<Mutex<HashMap<TenantId, Zones>>>);

/// By name; none for a name that this build does not know.
type Zones = Arc<BTreeMap<String, Option<TimeZone>>>;

impl KnownZones {
    /// Today of a tenant and at its places of work.
    pub(crate) fn todays(&self, tenant: TenantId, clock: &TenantClock) -> Todays {
        let zones = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&tenant).cloned().unwrap_or_default();
        let zones = zones.iter().map(|(name, zone)| (name.clone(), Day(clock.today_at(zone.as_ref())))).collect();
        Todays { tenant: Day(clock.today()), zones }
    }
    /// Takes in what a statement said.
    pub(crate) fn learn(&self, tenant: TenantId, names: Vec<String>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let zones = Arc::make_mut(all.entry(tenant).or_default());
        zones.extend(names.into_iter().map(|name| {
            let zone = time_zone(&name);
            (name, zone)
        }));
    }
}

/// Today of one tenant and at its places of work, at one instant.
#[derive(Debug, Clone)]
pub(crate) struct Todays {
    tenant: Day,
    /// By the names of the known zones.
    zones: Vec<(String, Day)>,
}

/// The days that stand in SQL: the tenant's today and, where it is another day elsewhere, the first and the last one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DaysForm {
    tenant: Day,
    several: Option<(Day, Day)>,
}

/// The column beside a statement's rows that names the zones which it was not told the day of.
pub(crate) const UNKNOWN_ZONES: &str = "unknown_zones";

impl Todays {
    /// SQL for the tenant's today. A constant, because plans are made for any parameters, and then take a day for any day.
    pub(crate) fn of_tenant(&self) -> String {
        sql(self.tenant)
    }

    /// The first and the last day that it is anywhere.
    fn range(&self) -> (Day, Day) {
        let days = || self.zones.iter().map(|(_, day)| *day).chain([self.tenant]);
        (days().min().unwrap_or(self.tenant), days().max().unwrap_or(self.tenant))
    }

    /// Whether it is the same day everywhere, as it is for most tenants most of the time.
    fn is_one_day(&self) -> bool {
        self.zones.iter().all(|(_, day)| *day == self.tenant)
    }

    /// All that the pieces of SQL depend on, but what is bound.
    pub(crate) fn form(&self) -> DaysForm {
        DaysForm { tenant: self.tenant, several: (!self.is_one_day()).then(|| self.range()) }
    }

    /// Binds the zones, or the days there.
    pub(crate) fn bind(&self, what: Bound, arguments: &mut PgArguments) -> Result<(), BoxDynError> {
        if matches!(what, Bound::ZoneDays) {
            arguments.add(self.zones.iter().map(|(_, day)| day.to_string()).collect::<Vec<_>>())
        } else {
            arguments.add(self.zones.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>())
        }
    }

    /// Common table expressions that the other pieces of SQL refer to, and the column [`UNKNOWN_ZONES`].
    pub(crate) fn expressions(&self, slots: &mut Slots) -> (Vec<String>, String) {
        let names = slots.add(Bound::ZoneNames);
        // Not `distinct`: there are none but once, and a tenth of a list's time goes into making sure that none comes twice.
        let unknown = format!("array(select l.time_zone from location_span l where l.time_zone <> all ({names})) as {UNKNOWN_ZONES}");
        if self.is_one_day() {
            return (Vec::new(), unknown);
        }
        let days = slots.add(Bound::ZoneDays);
        let today = self.of_tenant();
        let places = format!(
            "place_day (location_id, day) as materialized (
                select l.location_id, z.day from (
                    select distinct on (l.location_id) l.location_id, l.time_zone from location_span l where {}
                ) l join unnest({names}, {days}::date[]) as z (time_zone, day) using (time_zone) where z.day <> {today})",
            zone_of_location(&today)
        );
        (vec![places], unknown)
    }

    /// SQL for a person's today.
    fn of(&self, person: &str) -> String {
        let today = self.of_tenant();
        if self.is_one_day() {
            return today;
        }
        format!(
            "coalesce((select d.day from assignment_span h join employment w on w.employment_id = h.employment_id and {}
                join place_day d on d.location_id = h.location_id where h.employee_id = {person} limit 1), {today})",
            holds("h", "w", &today, &today)
        )
    }

    /// SQL that gives true where somebody is employed whatever day it is at their place of work, else nothing.
    pub(crate) fn is_surely_there(&self, person: &str) -> String {
        // Clocks of the world are at most 26 hours apart.
        let around = |days: i64| sql(Day(self.tenant.0.saturating_add(days.days())));
        let (first, last) = (around(-2), around(2));
        format!("select true from employment m where m.employee_id = {person} and m.starts_on <= {first} and {last} < m.ends_on limit 1")
    }

    /// SQL for whether somebody has not left: is employed today, or starts later, or is not known. The same as
    /// `domain::employee::Place::left`.
    pub(crate) fn is_there(&self, person: &str) -> String {
        self.judged(person, |day| {
            format!(
                "coalesce((select max(m.ends_on) > {day} from employment m
                     where m.employee_id = {person} and m.starts_on <= {day} and m.starts_on < m.ends_on), true)"
            )
        })
    }

    /// SQL for the first day after the last time without employment, of whoever was hired again after one; else null. The same as
    /// `domain::employee::Place::back_since`.
    pub(crate) fn back_since(&self, person: &str) -> String {
        self.judged(person, |day| {
            format!(
                "(select max(m.starts_on) from employment m
                     where m.employee_id = {person} and m.starts_on <= {day} and m.starts_on < m.ends_on
                         and (select max(n.ends_on) from employment n
                              where n.employee_id = m.employee_id and n.starts_on < m.starts_on and n.starts_on < n.ends_on) < m.starts_on)"
            )
        })
    }

    /// SQL for what is judged by a person's today.
    fn judged(&self, person: &str, by: impl Fn(&str) -> String) -> String {
        if self.is_one_day() {
            return by(&self.of_tenant());
        }
        format!("(select {} from (select {} as day offset 0) own)", by("own.day"), self.of(person))
    }

    /// SQL that joins to an assignment `a` its employment `m`, where the person works by it today: in the employment of today; else
    /// by the last assignment of the employment that ended last, else by the first one of the next; who never started, by what they
    /// were offered last. The same as `domain::employee::State::place`. For lines of managers it is only who has not left, and started
    /// or will.
    pub(crate) fn place(&self, only_who_is_there: bool) -> String {
        let there = |day: &str| if only_who_is_there { format!(" and {day} < m.ends_on") } else { String::new() };
        let or_offered = if only_who_is_there { String::new() } else { format!(" or {} and {}", last_offer("m"), offered("a", "m")) };
        let of_assignment = "m.employment_id = a.employment_id and ";
        if self.is_one_day() {
            let today = self.of_tenant();
            return format!("join employment m on {of_assignment}({}{}{or_offered})", holds("a", "m", &today, &today), there(&today));
        }
        let (first, last) = self.range();
        let (first, last) = (sql(first), sql(last));
        let perhaps = format!(
            "{of_assignment}(m.starts_on < m.ends_on and a.valid_from <= {} and {} < a.valid_to{}{or_offered})",
            nearest_employed("m", &last),
            nearest_employed("m", &first),
            there(&first),
        );
        // For nearly everybody the answer is the same on each of the days that it now is somewhere. Only for the others the day at their
        // own place of work is looked up.
        let certainly = format!(
            "case when m.ends_on <= m.starts_on or {}{} then true else (select {}{} from (select {} as day offset 0) own) end",
            holds("a", "m", &first, &last),
            there(&last),
            holds("a", "m", "own.day", "own.day"),
            there("own.day"),
            self.of("a.employee_id"),
        );
        // PostgreSQL takes that for so dear that it would read all employments for a line of a few. A department's people are many:
        // one by one they would take three times as long.
        if only_who_is_there {
            format!("join lateral (select * from employment m where {perhaps} offset 0) m on {certainly}")
        } else {
            format!("join employment m on {perhaps} and {certainly}")
        }
    }
}

fn sql(day: Day) -> String {
    format!("date '{day}'")
}

/// SQL for the conditions and the order by which a location's time zone of a day is found: what holds on it, else what held last,
/// else the first. The same as `domain::organization::TimeZoneOn`.
fn zone_of_location(day: &str) -> String {
    format!("l.valid_from < l.valid_to order by l.location_id, l.valid_from > {day}, abs(l.valid_from - {day})")
}

/// SQL for the time zone of a person's place of work on a day; null where there is none.
pub(crate) fn zone_of_person(person: &str, day: &str) -> String {
    format!(
        "(select (select l.time_zone from location_span l where l.location_id = h.location_id and {} limit 1)
            from assignment_span h join employment w on w.employment_id = h.employment_id and {} where h.employee_id = {person} limit 1)",
        zone_of_location(day),
        holds("h", "w", day, day),
    )
}

/// SQL for the day of an employment that is nearest to a day.
fn nearest_employed(employment: &str, day: &str) -> String {
    format!("greatest(least({day}, {employment}.ends_on - 1), {employment}.starts_on)")
}

/// SQL for whether a person works by an assignment in an employment on each of the days from one to another.
fn holds(assignment: &str, m: &str, first: &str, last: &str) -> String {
    // Over several days the answer is certain only where the employment covers all of them or none.
    let one_or_none = if first == last { String::new() } else { format!("({m}.ends_on <= {first} or {last} < {m}.starts_on) and ") };
    format!(
        "{assignment}.valid_from <= {} and {} < {assignment}.valid_to
             and {m}.starts_on < {m}.ends_on
             and ({m}.starts_on <= {first} and {last} < {m}.ends_on or {one_or_none}not exists (
                 select from employment n where n.employee_id = {m}.employee_id and n.starts_on < n.ends_on
                 and case when {m}.starts_on <= {first} then {m}.starts_on < n.starts_on and n.starts_on <= {last}
                          else n.starts_on < {m}.starts_on end))",
        nearest_employed(m, first),
        nearest_employed(m, last),
    )
}

/// SQL for whether an employment never started: it ended on the eve of its first day.
fn never_started(m: &str) -> String {
    format!("{m}.ends_on <= {m}.starts_on")
}

/// SQL for whether an assignment_span is the one that an employment which never started was offered with: the last of its first day.
pub(crate) fn offered(a: &str, m: &str) -> String {
    format!(
        "{} and {a}.valid_from = {m}.starts_on and not exists (select from assignment_span other
             where other.employment_id = {a}.employment_id and other.valid_from = {a}.valid_from and other.seq > {a}.seq)",
        never_started(m)
    )
}

/// SQL for whether an employment that never started is the one that its person is known by: there is none that has days, and no other
/// was offered for a later day. The same as `domain::employee::State::place`.
pub(crate) fn last_offer(m: &str) -> String {
    format!(
        "{} and not exists (select from employment other where other.employee_id = {m}.employee_id
             and (other.starts_on < other.ends_on or (other.starts_on, other.employment_id) > ({m}.starts_on, {m}.employment_id)))",
        never_started(m)
    )
}

#[cfg(test)]
impl Todays {
    /// The same day everywhere.
    pub(crate) fn one(day: &str) -> Self {
        Self { tenant: day.parse().unwrap(), zones: Vec::new() }
    }
    /// The tenant's today, and those of zones.
    pub(crate) fn several(tenant: &str, zones: &[(&str, &str)]) -> Self {
        let zones = zones.iter().map(|(name, day)| ((*name).to_owned(), day.parse().unwrap())).collect();
        Self { tenant: tenant.parse().unwrap(), zones }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId::PLATFORM;

    #[test]
    fn days_are_those_of_the_zones_that_statements_named() {
        let (known, now) = (KnownZones::default(), "2026-11-30T10:30:00Z".parse().unwrap());
        let todays = |zone: &str| known.todays(TENANT, &TenantClock::at(time_zone(zone).unwrap(), now));
        let shown = |zone: &str| {
            let todays = todays(zone);
            let (first, last) = todays.range();
            (todays.of_tenant(), format!("{first} {last}"), todays.is_one_day())
        };
        assert_eq!(shown("UTC"), ("date '2026-11-30'".into(), "2026-11-30 2026-11-30".into(), true));
        known.learn(TENANT, vec!["Europe/Vienna".into(), "Atlantis/Poseidonis".into()]);
        assert_eq!(shown("UTC"), ("date '2026-11-30'".into(), "2026-11-30 2026-11-30".into(), true));
        known.learn(TENANT, vec!["Pacific/Kiritimati".into()]);
        assert_eq!(shown("UTC"), ("date '2026-11-30'".into(), "2026-11-30 2026-12-01".into(), false));
        assert_eq!(shown("Pacific/Pago_Pago"), ("date '2026-11-29'".into(), "2026-11-29 2026-12-01".into(), false));
        // A name that no zone has goes by the tenant's clock.
        assert_eq!(shown("Pacific/Kiritimati"), ("date '2026-12-01'".into(), "2026-11-30 2026-12-01".into(), false));
        let days: BTreeMap<_, _> = todays("Pacific/Pago_Pago").zones.into_iter().map(|(name, day)| (name, day.to_string())).collect();
        assert_eq!(days["Atlantis/Poseidonis"], "2026-11-29");
        assert_eq!(known.todays(TenantId::from_uuid(uuid::Uuid::max()), &TenantClock::at(TimeZone::UTC, now)).zones, []);
    }

    #[test]
    fn where_it_is_the_same_day_everywhere_nobodys_own_day_is_looked_up() {
        let (one, several) = (Todays::one("2026-11-30"), Todays::several("2026-11-30", &[("A/B", "2026-11-30"), ("C/D", "2026-12-01")]));
        for (todays, looked_up) in [(one, false), (several, true)] {
            let (expressions, unknown) = todays.expressions(&mut Slots::behind(0));
            assert_eq!(expressions.len(), usize::from(looked_up));
            assert!(unknown.ends_with("as unknown_zones"));
            for sql in [todays.place(true), todays.place(false), todays.is_there("$1")] {
                assert_eq!(sql.contains("place_day"), looked_up, "{sql}");
            }
        }
    }
}
