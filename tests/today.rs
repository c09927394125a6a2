//! Today is a day in a time zone: at the place of work for a person, in the tenant's zone for lists and reports.
//!
//! Two zones that are 25 hours apart never have the same date. So where the day of UTC, or that of the server, were taken instead, the
//! rows of one of the two would be wrong, whenever the test runs.

use std::{collections::BTreeMap, time::Duration};

use jiff::{
    Timestamp, ToSpan as _,
    civil::Date,
    tz::{TimeZone, offset},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    access::Company,
    servers::{System, eventually, system},
};

/// UTC+14 and UTC−11, all year.
pub(crate) const EAST: &str = "Pacific/Kiritimati";
pub(crate) const WEST: &str = "Pacific/Pago_Pago";

/// The days that it is in both zones and in UTC while a test runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Days {
    pub(crate) east: Date,
    pub(crate) utc: Date,
    pub(crate) west: Date,
}

impl Days {
    pub(crate) fn now() -> Self {
        let [east, utc, west] = [14, 0, -11].map(|hours| Timestamp::now().to_zoned(TimeZone::fixed(offset(hours))).date());
        Self { east, utc, west }
    }
    /// The tenant's today by the name of its zone.
    fn of(self, zone: &str) -> Date {
        match zone {
            EAST => self.east,
            WEST => self.west,
            _ => self.utc,
        }
    }
    /// Fails unless both are the same, or another day has begun somewhere: then something else is true.
    #[track_caller]
    pub(crate) fn check<T: PartialEq + std::fmt::Debug>(self, actual: &T, expected: &T, what: &str) {
        assert!(actual == expected || Self::now() != self, "{what}: {actual:?}, not {expected:?}, with {self:?}");
    }
}

/// A company with places of work in both zones.
struct Offices {
    company: Company,
    days: Days,
    places: BTreeMap<&'static str, String>,
}

impl Offices {
    async fn new(name: &str) -> Self {
        let (company, days) = (Company::new(name).await, Days::now());
        let mut places = BTreeMap::new();
        for (code, zone) in [("east", EAST), ("west", WEST), ("moves", EAST)] {
            let body = json!({"effective_on": "2000-01-01", "code": code, "name": code, "time_zone": zone});
            places.insert(code, company.must(&company.hr, "/v1/locations", &body).await);
        }
        // A location that is in the west from the east's today on.
        let moves = json!({"effective_on": days.east, "time_zone": WEST});
        company.must(&company.hr, &format!("/v1/locations/{}/changes", places["moves"]), &moves).await;
        Self { company, days, places }
    }
    async fn hire(&mut self, name: &'static str, on: Date, place: &str, manager: &str) {
        let location = self.places.get(place);
        let manager = self.company.people.get(manager);
        let body = json!({"hire_date": on, "employee_number": name, "person": {"given_name": name, "family_name": "Away"},
            "contact": {"work_email": format!("{name}@work.example")},
            "assignment": {"department_id": self.company.departments["sales"], "job_id": self.company.job,
                "location_id": location, "manager_id": manager},
            "pay": {"rate": {"amount": "1000", "currency": "EUR"}, "per": "month"}});
        let id = self.company.must(&self.company.hr, "/v1/employees", &body).await;
        self.company.people.insert(name, id);
    }
    async fn change(&self, name: &str, on: Date, changes: Value) {
        let body = json!({"effective_on": on, "changes": changes, "reason": "transfer"});
        self.company.must(&self.company.hr, &format!("/v1/employees/{}/assignment-changes", self.company.people[name]), &body).await;
    }
    async fn rehire(&self, name: &str, on: Date, place: &str, manager: &str) {
        let assignment = json!({"department_id": self.company.departments["sales"], "job_id": self.company.job,
            "location_id": self.places[place], "manager_id": self.company.people[manager]});
        let body = json!({"hire_date": on, "assignment": assignment});
        self.company.must(&self.company.hr, &format!("/v1/employees/{}/rehire", self.company.people[name]), &body).await;
    }
    /// The tenant's time zone from now on, at both APIs.
    async fn goes_by(&self, zone: &str) {
        let shown = self.company.system.tenure(&["tenant", "time-zone", &self.company.slug, zone]);
        assert_eq!(shown["time_zone"], zone);
        tokio::time::sleep(Duration::from_secs(1)).await; // Twice as long as a process reads the tenants' log for no reason.
    }
}

fn long_ago() -> Date {
    "2010-01-01".parse().unwrap()
}

async fn as_of(system: &System, token: &str, path: &str) -> (String, Value) {
    let answer = system.get(token, path).await;
    (answer["as_of"].as_str().unwrap_or_default().to_owned(), answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_reports_are_of_the_tenants_today() {
    let (system, days) = (system().await, Days::now());
    for (name, said) in [("today-east", Some(EAST)), ("today-west", Some(WEST)), ("today-utc", None)] {
        let slug = format!("{name}-{}", &Uuid::now_v7().simple().to_string()[20..]);
        let mut arguments = vec!["tenant", "create", "--slug", &slug, "--name", &slug];
        if let Some(zone) = said {
            arguments.extend(["--time-zone", zone]);
        }
        let zone = said.unwrap_or("UTC");
        assert_eq!(system.tenure(&arguments)["time_zone"], zone);
        assert_eq!(system.tenure(&["tenant", "show", &slug])["time_zone"], zone);
        let (token, today) = (system.token(&slug, "hr"), days.of(zone));
        let mut departments = Vec::new();
        for day in [today.yesterday().unwrap(), today, today.tomorrow().unwrap()] {
            let body = json!({"effective_on": day, "code": format!("d{}", departments.len()), "name": "D"});
            let (status, answer) = system.post(&token, "/v1/departments", &Uuid::now_v7().to_string(), &body).await;
            assert_eq!(status, 201, "{answer}");
            departments.push(answer["id"].as_str().unwrap().to_owned());
        }
        system.settled(&token).await;
        for path in
            ["/v1/employees", "/v1/departments", "/v1/locations", "/v1/jobs", "/v1/org-chart", "/v1/reports/headcount?group_by=department"]
        {
            days.check(&as_of(system, &token, path).await.0, &today.to_string(), &format!("{zone} {path}"));
        }
        let (month, _) = as_of(system, &token, "/v1/reports/headcount?group_by=month").await;
        days.check(&month, &today.last_of_month().to_string(), zone);
        let (_, listed) = as_of(system, &token, "/v1/departments").await;
        days.check(&listed["items"].as_array().unwrap().len(), &2, "departments that are there today");
        for (department, status) in departments.iter().zip([200, 200, 404]) {
            let request = system.client.get(format!("{}/v1/departments/{department}", system.query_api)).bearer_auth(&token);
            days.check(&request.send().await.unwrap().status().as_u16(), &status, &format!("{zone} {department}"));
        }
        // A list goes on with its day, whatever is said meanwhile.
        let (_, page) = as_of(system, &token, "/v1/departments?limit=1").await;
        let other = if zone == EAST { WEST } else { EAST };
        system.tenure(&["tenant", "time-zone", &slug, other]);
        let next = format!("/v1/departments?limit=1&cursor={}", page["next_cursor"].as_str().unwrap());
        days.check(&as_of(system, &token, &next).await.0, &today.to_string(), "the second page");
        days.check(&as_of(system, &token, "/v1/employees").await.0, &days.of(other).to_string(), other);
    }
    let slug = format!("today-none-{}", &Uuid::now_v7().simple().to_string()[20..]);
    system.tenant(&slug);
    let refused = system.tenure_fails(&["tenant", "time-zone", &slug, "Atlantis/Poseidonis"]);
    assert!(refused.contains("/time_zone") && refused.contains("IANA"), "{refused}");
}

/// Where a person stands on the day that it is at their place of work.
#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_shown_as_of_the_day_at_the_place_of_work() {
    let mut offices = Offices::new("here").await;
    let Days { east, west, .. } = offices.days;
    for place in ["east", "west", "moves", "nowhere"] {
        let [starts, leaves] = match place {
            "east" => ["starts-east", "leaves-east"],
            "west" => ["starts-west", "leaves-west"],
            "moves" => ["starts-moves", "leaves-moves"],
            _ => ["starts-nowhere", "leaves-nowhere"],
        };
        offices.hire(starts, east, place, "").await;
        offices.hire(leaves, long_ago(), place, "").await;
        offices.company.leaves(leaves, east - 1.day()).await;
    }
    // From the east to the west on the east's today.
    offices.hire("mover", long_ago(), "east", "").await;
    offices.change("mover", east, json!({"location_id": offices.places["west"]})).await;
    let company = &offices.company;
    company.system.settled(&company.hr).await;
    let reader = company.token(&["employee"], Some("smith"));
    for zone in ["UTC", EAST, WEST] {
        offices.goes_by(zone).await;
        let tenant = offices.days.of(zone);
        // By the tenant's today, whoever moves is there already or not yet.
        let moved = if tenant >= east { west } else { east };
        for (place, today) in [("east", east), ("west", west), ("moves", moved), ("nowhere", tenant)] {
            let [begun, ended] = if today >= east { ["active", "terminated"] } else { ["not_yet_hired", "active"] };
            for (name, status) in [("starts", begun), ("leaves", ended)] {
                for token in [&company.hr, &reader] {
                    let name = format!("{name}-{place}");
                    let (day, person) = as_of(company.system, token, &format!("/v1/employees/{}", company.people[name.as_str()])).await;
                    let seen = (day, person["status"].as_str().unwrap().to_owned(), person["assignment"].is_null());
                    let expected = (today.to_string(), status.to_owned(), status != "active");
                    offices.days.check(&seen, &expected, &format!("{name}, tenant in {zone}"));
                }
            }
        }
        let (day, _) = as_of(company.system, &company.hr, &format!("/v1/employees/{}", company.people["mover"])).await;
        offices.days.check(&day, &moved.to_string(), &format!("mover, tenant in {zone}"));
        // A day that is named counts, and in a list the tenant's.
        let path = format!("/v1/employees/{}?as_of={west}", company.people["starts-east"]);
        assert_eq!(as_of(company.system, &company.hr, &path).await.1["status"], "not_yet_hired");
        let (_, page) = as_of(company.system, &company.hr, "/v1/employees?q=starts").await;
        let there = if tenant >= east { 4 } else { 0 };
        offices.days.check(&page["items"].as_array().unwrap().len(), &there, &format!("active in a list, tenant in {zone}"));
    }
}

/// A place whose zone no process knows goes by the tenant's clock; no read fails for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_nobody_knows_breaks_no_read() {
    let mut offices = Offices::new("lost").await;
    offices.hire("lost", long_ago(), "east", "head").await;
    let company = &offices.company;
    company.system.settled(&company.hr).await;
    let pool = company.system.pool().await;
    let schema = platform::read_schema(crate::servers::tenant_of(&company.hr), platform::READ_MODEL_VERSION);
    let update = format!("update \"{schema}\".location_span set time_zone = 'Atlantis/Poseidonis' where code = 'east'");
    assert_eq!(sqlx::query(&update).execute(&pool).await.unwrap().rows_affected(), 1);
    pool.close().await;
    let lead = company.token(&["manager"], Some("head"));
    for token in [&company.hr, &lead] {
        let (day, person) = as_of(company.system, token, &format!("/v1/employees/{}", company.people["lost"])).await;
        offices.days.check(&day, &offices.days.utc.to_string(), "the tenant's day");
        assert!(!person["pay"].is_null(), "{person}");
    }
}

/// Whether somebody's pay may be read, whether the reason says so, and whether a command about them is let through to the rules.
async fn reaches(company: &Company, token: &str, name: &str) -> (bool, bool, bool) {
    let id = &company.people[name];
    let (status, history) = company.get(token, &format!("/v1/employees/{id}/history")).await;
    assert_eq!(status, 200, "{history}");
    let (_, why) = company.get(token, &format!("/v1/access/explain?class=pay&employee={id}")).await;
    let change = json!({"effective_on": "1999-01-01", "changes": {"location_id": null}, "reason": "transfer"});
    let (status, answer) = company.post(token, &format!("/v1/employees/{id}/assignment-changes"), &change).await;
    assert!(matches!(status, 403 | 404 | 422), "{status} {answer}");
    (history["compensations"] != json!([]), why["allowed"] == true, status == 422)
}

/// On the first day of a transfer, of another employment, and after the last one: whom somebody reaches is decided by the clock of
/// each person's place of work, and whether a manager leads by the manager's own.
#[tokio::test(flavor = "multi_thread")]
async fn whom_somebody_reaches_goes_by_the_clock_where_each_person_works() {
    let mut offices = Offices::new("reach").await;
    let (east, eve) = (offices.days.east, offices.days.east - 1.day());
    let works = offices.company.departments["works"].clone();
    offices.hire("boss", long_ago(), "west", "ceo").await;
    offices.hire("next", long_ago(), "east", "ceo").await;
    for (place, [moved, back, gone, joins, chief, under]) in [
        ("east", ["moved-east", "back-east", "gone-east", "joins-east", "chief-east", "under-east"]),
        ("west", ["moved-west", "back-west", "gone-west", "joins-west", "chief-west", "under-west"]),
    ] {
        for name in [moved, back, gone, joins] {
            offices.hire(name, long_ago(), place, "boss").await;
        }
        let next = offices.company.people["next"].clone();
        offices.change(moved, east, json!({"manager_id": next})).await;
        offices.company.leaves(back, long_ago() + 1.year()).await;
        offices.rehire(back, east, place, "boss").await;
        offices.company.leaves(gone, eve).await;
        offices.change(joins, east, json!({"department_id": works})).await;
        // A manager who leaves, above somebody in the other place.
        offices.hire(chief, long_ago(), place, "ceo").await;
        offices.hire(under, long_ago(), if place == "east" { "west" } else { "east" }, chief).await;
        offices.company.leaves(chief, eve).await;
    }
    let company = &offices.company;
    let owner = company.token(&["owner"], None);
    let of = |action: &str, class: &str, reach: Value| json!({"action": action, "class": class, "reach": reach});
    for (name, reach) in [("lead", json!("line")), ("partner", json!({"department": works}))] {
        let permissions = [of("read", "directory", json!("all")), of("read", "pay", reach.clone()), of("change", "directory", reach)];
        assert_eq!(company.post(&owner, "/v1/roles", &json!({"name": name, "permissions": permissions})).await.0, 204);
    }
    company.system.settled(&company.hr).await;
    let lead = |name: &str| company.token(&["lead"], Some(name));
    let (boss, next, ceo, partner) = (lead("boss"), lead("next"), lead("ceo"), company.token(&["partner"], None));
    tokio::time::sleep(Duration::from_secs(3)).await; // The roles are known everywhere.
    for zone in ["UTC", EAST, WEST] {
        offices.goes_by(zone).await;
        for (who, token, name, is_reached) in [
            ("boss", &boss, "moved-east", false),
            ("boss", &boss, "moved-west", true),
            ("next", &next, "moved-east", true),
            ("next", &next, "moved-west", false),
            ("boss", &boss, "back-east", true),
            ("boss", &boss, "back-west", false),
            ("boss", &boss, "gone-east", false),
            ("boss", &boss, "gone-west", true),
            ("partner", &partner, "joins-east", true),
            ("partner", &partner, "joins-west", false),
            ("ceo", &ceo, "under-east", false),
            ("ceo", &ceo, "under-west", true),
        ] {
            let reached = reaches(company, token, name).await;
            offices.days.check(&reached, &(is_reached, is_reached, is_reached), &format!("{who} and {name}, tenant in {zone}"));
        }
    }
}

/// The last hours: whoever leaves gets in until the last day is over at the place of work, and what they passed on counts as long.
#[tokio::test(flavor = "multi_thread")]
async fn access_ends_when_the_last_day_is_over_where_somebody_works() {
    let mut offices = Offices::new("last").await;
    let owner = offices.company.system.token(&offices.company.slug, "owner");
    let class = |action: &str, class: &str, reach: &str| json!({"action": action, "class": class, "reach": reach});
    let lead = json!({"name": "lead", "permissions":
        [class("read", "directory", "all"), class("read", "pay", "line"), class("change", "directory", "line")]});
    assert_eq!(offices.company.post(&owner, "/v1/roles", &lead).await.0, 204);
    for (name, report, place) in [("east", "below-east", "east"), ("west", "below-west", "west"), ("nowhere", "below-nowhere", "nowhere")] {
        offices.hire(name, long_ago(), place, "").await;
        offices.hire(report, long_ago(), "east", name).await;
    }
    let company = &offices.company;
    company.system.settled(&company.hr).await;
    tokio::time::sleep(Duration::from_secs(3)).await; // The role is known everywhere.
    let (names, until) = (["east", "west", "nowhere"], (Timestamp::now() + 10.hours()).to_string());
    let mut tokens = BTreeMap::new();
    for (name, stand_in) in names.into_iter().zip(["ceo", "smith", "rep"]) {
        company.user(&owner, name, &["lead"]).await;
        let (status, answer) = company.log_in(name).await;
        assert_eq!(status, 200, "{answer}");
        let own = answer["access_token"].as_str().unwrap().to_owned();
        let delegation = json!({"to": format!("test-{stand_in}"), "roles": ["lead"], "ends_at": until});
        assert_eq!(company.post(&own, "/v1/delegations", &delegation).await.0, 201);
        // Whoever sees all by the rules, too; and whoever acts for them.
        tokens.insert(name, [own, company.token(&["hr"], Some(name)), company.token(&["employee"], Some(stand_in))]);
    }
    let below = |name: &str| format!("below-{name}");
    for name in names {
        let stand_in = &tokens[name][2];
        eventually("the delegation is known", async || reaches(company, stand_in, &below(name)).await == (true, true, true)).await;
    }
    for name in names {
        company.leaves(name, offices.days.east - 1.day()).await;
    }
    company.system.settled(&company.hr).await;
    tokio::time::sleep(Duration::from_secs(2)).await; // How old what command-api knows of an employment may be.
    for zone in ["UTC", EAST, WEST] {
        offices.goes_by(zone).await;
        for (name, today) in [("east", offices.days.east), ("west", offices.days.west), ("nowhere", offices.days.of(zone))] {
            let [own, whole, stand_in] = &tokens[name];
            let is_there = today < offices.days.east;
            let let_in = if is_there { 200 } else { 401 };
            for token in [own, whole] {
                for path in ["/v1/departments", "/v1/employees", "/v1/reports/headcount?group_by=department"] {
                    let (status, _) = company.get(token, path).await;
                    offices.days.check(&status, &let_in, &format!("{name} at {path}, tenant in {zone}"));
                }
                offices.days.check(&company.me(token).await.0, &let_in, &format!("{name} at /v1/auth/me, tenant in {zone}"));
            }
            offices.days.check(&company.log_in(name).await.0, &let_in, &format!("{name} logs in, tenant in {zone}"));
            let acts = reaches(company, stand_in, &below(name)).await;
            offices.days.check(&acts, &(is_there, is_there, is_there), &format!("who acts for {name}, tenant in {zone}"));
        }
    }
}
