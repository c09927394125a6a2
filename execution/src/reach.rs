//! Whom an actor reaches, by where people work today: the departments and the lines of managers that grants speak of. Today is the
//! day at a person's place of work; the tree of departments is that of the tenant's today.

use std::{collections::BTreeSet, time::Duration};

use domain::{
    DuePlace,
    employee::{Place, PlaceOn},
    organization::{DepartmentsAbove, TimeZoneOn},
};
use events::{DepartmentId, EmployeeId, LocationId, TenantScope};
use futures::{FutureExt as _, future::BoxFuture};
use jiff::{civil::Date, tz::TimeZone};
use platform::{
    Actor, Problem, TenantClock,
    access::{Departure, Departures, Sight},
    auth::Employments,
    today::time_zone,
};
use tokio::time::Instant;

use crate::aggregates::Aggregates;

/// Managers above one person that are looked at; no organization has as many levels.
const LEVELS: usize = 64;
/// How old what is known of where somebody stands, and whether they are still there, may be.
const PLACE_AGE: Duration = Duration::from_secs(1);

/// Recently enough to know where somebody stands.
pub(crate) fn recently() -> Instant {
    let now = Instant::now();
    now.checked_sub(PLACE_AGE).unwrap_or(now)
}

/// Where a person works today, by the clock of their place of work, and its time zone. The place of work is that of the tenant's today,
/// or the last one.
async fn place_today(
    aggregates: &Aggregates,
    scope: TenantScope,
    clock: &TenantClock,
    person: EmployeeId,
) -> Result<(Option<Place>, Option<TimeZone>), Problem> {
    let on = clock.today();
    let place = aggregates.ask(scope, PlaceOn { employee: person, on }, recently()).await?;
    let Some(location) = works_at(place) else { return Ok((place, None)) };
    let zone = aggregates.ask(scope, TimeZoneOn { location, on }, recently()).await?;
    let zone = zone.as_deref().and_then(time_zone);
    let there = clock.today_at(zone.as_ref());
    let place = if there == on { place } else { aggregates.ask(scope, PlaceOn { employee: person, on: there }, recently()).await? };
    Ok((place, zone))
}

/// The location where somebody works; none of who never started.
fn works_at(place: Option<Place>) -> Option<LocationId> {
    place.filter(|place| !place.never_started).and_then(|place| place.location_id)
}

/// The time zone of a place on a day; none where it is the tenant's.
pub(crate) async fn zone_of(aggregates: &Aggregates, scope: TenantScope, place: DuePlace, on: Date) -> Result<Option<TimeZone>, Problem> {
    let location = match place {
        DuePlace::Tenant => None,
        DuePlace::Location(location) => Some(location),
        DuePlace::Person(employee) => {
            let place = aggregates.ask(scope, PlaceOn { employee, on }, recently()).await?;
            works_at(place)
        }
    };
    let Some(location) = location else { return Ok(None) };
    let zone = aggregates.ask(scope, TimeZoneOn { location, on }, recently()).await?;
    Ok(zone.as_deref().and_then(time_zone))
}

impl Employments for Aggregates {
    fn departures(
        &self,
        scope: TenantScope,
        clock: TenantClock,
        people: BTreeSet<EmployeeId>,
    ) -> BoxFuture<'_, Result<Departures, Problem>> {
        async move {
            let mut departures = Departures::new();
            for person in people {
                let (place, zone) = place_today(self, scope, &clock, person).await?;
                match place {
                    Some(Place { left: true, .. }) => drop(departures.insert(person, Departure::Left)),
                    Some(Place { back_since: Some(day), .. }) => {
                        departures.insert(person, Departure::BackSince(clock.start_of(day, zone.as_ref())));
                    }
                    Some(Place { left: false, back_since: None, .. }) | None => {}
                }
            }
            Ok(departures)
        }
        .boxed()
    }
    fn at_admission(&self) -> bool {
        true
    }
}

/// Looks up whom an actor reaches today.
pub(crate) struct Looker<'l> {
    aggregates: &'l Aggregates,
    actor: &'l Actor,
    clock: TenantClock,
}

impl<'l> Looker<'l> {
    pub(crate) fn new(aggregates: &'l Aggregates, actor: &'l Actor) -> Self {
        Self { aggregates, actor, clock: TenantClock::read(&actor.tenant) }
    }
    /// Whether the person's facts are within the reach.
    pub(crate) async fn reaches(&self, sight: &Sight, person: EmployeeId) -> Result<bool, Problem> {
        if sight.people.contains(&person) {
            return Ok(true);
        }
        // What is one's own, nobody decides by standing above or beside oneself.
        if self.actor.employee == Some(person) {
            return Ok(false);
        }
        let Some(place) = self.place(person).await? else { return Ok(false) };
        Ok(self.is_within(sight, place.department_id).await? || self.is_below(sight, person).await?)
    }
    /// Whether one of the lines is this manager's. Who has left leads nobody any more.
    pub(crate) async fn leads(&self, sight: &Sight, manager: EmployeeId) -> Result<bool, Problem> {
        Ok(sight.lines.contains(&manager) && !self.place(manager).await?.is_some_and(|place| place.left))
    }
    /// Whether the chain of managers, of people who have not left, leads to one of the lines'.
    pub(crate) async fn is_below(&self, sight: &Sight, person: EmployeeId) -> Result<bool, Problem> {
        if sight.lines.is_empty() {
            return Ok(false);
        }
        let mut at = person;
        for _ in 0..LEVELS {
            match self.place(at).await? {
                Some(Place { left: false, never_started: false, manager_id: Some(manager), .. }) if self.leads(sight, manager).await? => {
                    return Ok(true);
                }
                Some(Place { left: false, never_started: false, manager_id: Some(manager), .. }) => at = manager,
                Some(_) | None => return Ok(false),
            }
        }
        Ok(false)
    }
    /// Whether a department is one of the reach's, or below one.
    pub(crate) async fn is_within(&self, sight: &Sight, department: DepartmentId) -> Result<bool, Problem> {
        if sight.departments.is_empty() {
            return Ok(false);
        }
        let chain = self.aggregates.ask(self.actor.scope, DepartmentsAbove { department, on: self.clock.today() }, recently()).await?;
        Ok(chain.iter().any(|department| sight.departments.contains(department)))
    }
    async fn place(&self, person: EmployeeId) -> Result<Option<Place>, Problem> {
        Ok(place_today(self.aggregates, self.actor.scope, &self.clock, person).await?.0)
    }
}
