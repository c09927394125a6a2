//! The company's history, out of a seed.

use fastrand::Rng;
use jiff::{
    ToSpan as _,
    civil::{Date, date},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::batch::Line;

/// The company's first day, and the last on which something happens.
const FOUNDED: Date = date(2015, 1, 5);
const TODAY: Date = date(2025, 6, 30);

/// Code, name, code of the department above, weight (how many of the people).
const DEPARTMENTS: [(&str, &str, &str, u32); 12] = [
    ("ceo", "Executive Office", "", 2),
    ("eng", "Engineering", "ceo", 2),
    ("eng-plat", "Platform", "eng", 14),
    ("eng-prod", "Product Engineering", "eng", 22),
    ("eng-qa", "Quality", "eng", 8),
    ("ops", "Operations", "ceo", 2),
    ("ops-mfg", "Manufacturing", "ops", 30),
    ("ops-log", "Logistics", "ops", 12),
    ("sal", "Sales", "ceo", 14),
    ("mkt", "Marketing", "ceo", 6),
    ("fin", "Finance", "ceo", 5),
    ("hr", "People", "ceo", 4),
];

/// Code, name, time zone, currency, pay level in percent.
const LOCATIONS: [(&str, &str, &str, &str, u32); 4] = [
    ("vie", "Vienna", "Europe/Vienna", "EUR", 100),
    ("lis", "Lisbon", "Europe/Lisbon", "EUR", 70),
    ("bos", "Boston", "America/New_York", "USD", 150),
    ("sin", "Singapore", "Asia/Singapore", "SGD", 130),
];

/// A ladder of jobs: code, title, first pay a year.
type Ladder = &'static [(&'static str, &'static str, u32)];
const ENGINEERS: Ladder = &[
    ("swe-1", "Engineer", 52_000),
    ("swe-2", "Senior Engineer", 68_000),
    ("swe-3", "Staff Engineer", 88_000),
    ("eng-mgr", "Engineering Manager", 95_000),
];
const MAKERS: Ladder =
    &[("tech-1", "Technician", 36_000), ("tech-2", "Senior Technician", 44_000), ("ops-mgr", "Plant Supervisor", 58_000)];
const SELLERS: Ladder =
    &[("ae-1", "Account Executive", 46_000), ("ae-2", "Senior Account Executive", 60_000), ("sal-mgr", "Sales Manager", 78_000)];
const STAFF: Ladder = &[("spec-1", "Specialist", 42_000), ("spec-2", "Senior Specialist", 54_000), ("lead", "Team Lead", 66_000)];
const CHIEF: (&str, &str, u32) = ("ceo", "Chief Executive", 160_000);

const GIVEN: [&str; 40] = [
    "Ada", "Amir", "Anna", "Beatriz", "Carlos", "Chen", "Clara", "Daniel", "Elif", "Emma", "Farid", "Felix", "Grace", "Hana", "Hugo",
    "Ines", "Ivan", "Jana", "Jonas", "Julia", "Kofi", "Lena", "Liam", "Lucia", "Maja", "Marco", "Mei", "Mia", "Nadia", "Noah", "Olga",
    "Omar", "Paula", "Rafael", "Rosa", "Samir", "Sofia", "Tomas", "Yara", "Zoe",
];
const FAMILY: [&str; 40] = [
    "Almeida", "Bauer", "Becker", "Berg", "Brandt", "Carvalho", "Chan", "Costa", "Cruz", "Dubois", "Eriksen", "Fischer", "Gruber",
    "Haddad", "Hofer", "Ito", "Jansen", "Kaya", "Kim", "Kovac", "Lang", "Lim", "Lopes", "Maier", "Mensah", "Moreau", "Moser", "Novak",
    "Okafor", "Pichler", "Reis", "Rossi", "Santos", "Silva", "Steiner", "Tan", "Vogel", "Weber", "Wong", "Yilmaz",
];

/// How many people are hired over the years.
const PEOPLE: usize = 120;

/// The id of the company's person with this number.
pub(super) fn employee(tenant: Uuid, n: usize) -> Uuid {
    id(tenant, "employee", &n.to_string())
}

fn id(tenant: Uuid, kind: &str, name: &str) -> Uuid {
    Uuid::new_v5(&tenant, format!("demo/{kind}/{name}").as_bytes())
}

/// All commands, in the order in which they happened.
pub(super) fn history(seed: u64, tenant: Uuid) -> Vec<Line> {
    let mut company = Company { tenant, seed, random: Rng::with_seed(seed), happened: Vec::new() };
    company.organize();
    let mut people: Vec<Person> = Vec::with_capacity(PEOPLE);
    for n in 0..PEOPLE {
        let person = company.hire(n, &people);
        people.push(person);
    }
    for n in 0..PEOPLE {
        company.career(n, &mut people);
    }
    // Stable: what happens to one person on one day keeps its order.
    company.happened.sort_by_key(|(day, _)| *day);
    company.happened.into_iter().map(|(_, line)| line).collect()
}

struct Company {
    tenant: Uuid,
    seed: u64,
    random: Rng,
    happened: Vec<(Date, Line)>,
}

#[derive(Debug, Clone)]
struct Person {
    department: usize,
    location: usize,
    rung: usize,
    pay: u32,
    hired: Date,
    /// The first day after the employment.
    until: Option<Date>,
}

fn ladder(department: usize) -> Ladder {
    match DEPARTMENTS[department].0 {
        code if code.starts_with("eng") => ENGINEERS,
        code if code.starts_with("ops") => MAKERS,
        "sal" | "mkt" => SELLERS,
        _ => STAFF,
    }
}

/// A day some days later; the calendar does not end before 2026.
fn later(day: Date, days: i64) -> Date {
    day.saturating_add(days.days())
}

impl Company {
    fn id(&self, kind: &str, name: &str) -> Uuid {
        id(self.tenant, kind, name)
    }
    fn employee(&self, n: usize) -> Uuid {
        employee(self.tenant, n)
    }
    fn happens(&mut self, day: Date, command: &str, key: &str, data: &Value) {
        self.happened.push((day, Line::new(command, &format!("demo/{}/{key}", self.seed), data)));
    }

    fn organize(&mut self) {
        let day = later(FOUNDED, -1);
        for (code, name, parent, _) in DEPARTMENTS {
            let mut data = json!({"department_id": self.id("department", code), "effective_on": day, "code": code, "name": name});
            if !parent.is_empty() {
                data["parent_id"] = json!(self.id("department", parent));
            }
            self.happens(day, "CreateDepartment", &format!("department/{code}"), &data);
        }
        for (code, name, time_zone, ..) in LOCATIONS {
            let data =
                json!({"location_id": self.id("location", code), "effective_on": day, "code": code, "name": name, "time_zone": time_zone});
            self.happens(day, "OpenLocation", &format!("location/{code}"), &data);
        }
        for (code, title, _) in [ENGINEERS, MAKERS, SELLERS, STAFF, &[CHIEF]].concat() {
            let data = json!({"job_id": self.id("job", code), "effective_on": day, "code": code, "title": title});
            self.happens(day, "CreateJob", &format!("job/{code}"), &data);
        }
        // The tree and the names changed over the years, too.
        let data =
            json!({"department_id": self.id("department", "mkt"), "effective_on": "2019-04-01", "parent_id": self.id("department", "sal")});
        self.happens(date(2019, 4, 1), "MoveDepartment", "move/mkt", &data);
        let data =
            json!({"department_id": self.id("department", "eng-qa"), "effective_on": "2021-01-01", "name": "Quality and Reliability"});
        self.happens(date(2021, 1, 1), "RenameDepartment", "rename/eng-qa", &data);
        let data = json!({"job_id": self.id("job", "tech-1"), "effective_on": "2022-07-01", "title": "Production Technician"});
        self.happens(date(2022, 7, 1), "RetitleJob", "retitle/tech-1", &data);
    }

    fn pay(person: &Person) -> Value {
        json!({"rate": {"amount": person.pay.to_string(), "currency": LOCATIONS[person.location].3}, "per": "year"})
    }
    fn job(&self, n: usize, person: &Person) -> Uuid {
        self.id("job", if n == 0 { CHIEF.0 } else { ladder(person.department)[person.rung].0 })
    }

    /// The person who leads a department's people on a day: its first one, else the one above, who is there.
    fn manager(&self, n: usize, department: usize, day: Date, people: &[Person]) -> Option<Uuid> {
        if n == 0 {
            return None;
        }
        let led = |department: usize| {
            people
                .iter()
                .enumerate()
                .take(n)
                .find(|(_, p)| p.department == department && p.hired < day && p.until.is_none())
                .map(|(m, _)| m)
        };
        let above = DEPARTMENTS.iter().position(|(code, ..)| *code == DEPARTMENTS[department].2);
        Some(self.employee(led(department).or_else(|| above.and_then(led)).unwrap_or(0)))
    }

    fn hire(&mut self, n: usize, before: &[Person]) -> Person {
        // The founders come first, one for each department; then the company grows.
        let founder = n < DEPARTMENTS.len();
        let department = if founder { n } else { self.weighted_department() };
        let location = if founder { 0 } else { [0, 0, 0, 1, 1, 2, 2, 3][self.random.usize(..8)] };
        let hired = if n == 0 {
            FOUNDED
        } else if founder {
            later(FOUNDED, 1 + self.random.i64(0..60))
        } else {
            later(FOUNDED, 90 + self.random.i64(0..3_600))
        };
        let rungs = ladder(department);
        let rung = if founder { rungs.len() - 1 } else { usize::from(self.random.u8(..5) == 0) };
        let base = if n == 0 { CHIEF.2 } else { rungs[rung].2 };
        let pay = base * LOCATIONS[location].4 / 100 / 100 * (90 + self.random.u32(0..25));
        let mut person = Person { department, location, rung, pay, hired, until: None };
        if !founder && self.random.u8(..4) == 0 {
            let left = later(hired, self.random.i64(200..2_000));
            person.until = (left < TODAY).then_some(left);
        }
        let (given, family) = (GIVEN[self.random.usize(..GIVEN.len())], FAMILY[self.random.usize(..FAMILY.len())]);
        let birth = date(self.random.i16(1962..1998), self.random.i8(1..13), self.random.i8(1..29));
        let gender = if self.random.bool() { "female" } else { "male" };
        let mut assignment = json!({"department_id": self.id("department", DEPARTMENTS[department].0), "job_id": self.job(n, &person), "location_id": self.id("location", LOCATIONS[location].0)});
        if let Some(manager) = self.manager(n, department, hired, before) {
            assignment["manager_id"] = json!(manager);
        }
        let data = json!({
            "employee_id": self.employee(n), "hire_date": hired, "employee_number": format!("N{:04}", n + 1),
            "person": {"given_name": given, "family_name": family, "birth_date": birth, "gender": gender},
            "contact": {"work_email": format!("{}.{}{}@northwind.example", given.to_lowercase(), family.to_lowercase(), n + 1)},
            "assignment": assignment, "pay": Self::pay(&person),
        });
        self.happens(hired, "HireEmployee", &format!("hire/{n}"), &data);
        person
    }

    fn weighted_department(&mut self) -> usize {
        let mut pick = self.random.u32(0..DEPARTMENTS.iter().map(|d| d.3).sum());
        DEPARTMENTS
            .iter()
            .position(|d| {
                let here = pick < d.3;
                pick = pick.saturating_sub(d.3);
                here
            })
            .unwrap_or(0)
    }

    /// What happens to a person after the hire: a review a year, promotions, transfers, other names, the end, a return.
    fn career(&mut self, n: usize, people: &mut [Person]) {
        let mut person = people[n].clone();
        let end = person.until.unwrap_or(TODAY);
        for year in person.hired.year() + 1..=end.year() {
            let review = date(year, 4, 1);
            if review <= later(person.hired, 90) || review >= end {
                continue;
            }
            self.year(n, year, review, &mut person, people);
        }
        if let Some(until) = person.until {
            let reason = ["resignation", "retirement", "end_of_contract", "redundancy"][self.random.usize(..4)];
            let data = json!({"employee_id": self.employee(n), "last_day_worked": later(until, -1), "reason": reason});
            self.happens(until, "TerminateEmployee", &format!("terminate/{n}"), &data);
            if self.random.u8(..3) == 0 && later(until, 400) < TODAY {
                let back = later(until, self.random.i64(120..400));
                self.rehire(n, back, &mut person);
            }
        }
        people[n] = person;
    }

    fn year(&mut self, n: usize, year: i16, review: Date, person: &mut Person, people: &[Person]) {
        let employee_id = self.employee(n);
        let promoted = n >= DEPARTMENTS.len() && person.rung + 1 < ladder(person.department).len() && self.random.u8(..6) == 0;
        person.pay += person.pay * self.random.u32(1..5) / 100;
        if promoted {
            person.rung += 1;
            person.pay += person.pay / 10;
            let changes = json!({"job_id": self.job(n, person)});
            let data = json!({"employee_id": employee_id, "effective_on": review, "changes": changes, "reason": "promotion"});
            self.happens(review, "ChangeAssignment", &format!("promotion/{n}/{year}"), &data);
        }
        let reason = if promoted { "promotion" } else { "annual_review" };
        let data = json!({"employee_id": employee_id, "effective_on": review, "pay": Self::pay(person), "reason": reason});
        self.happens(review, "ChangeCompensation", &format!("pay/{n}/{year}"), &data);
        let moves = later(review, self.random.i64(20..200));
        if n >= DEPARTMENTS.len() && person.until.is_none_or(|until| moves < until) && moves < TODAY && self.random.u8(..9) == 0 {
            self.transfer(n, moves, person, people);
        }
        if self.random.u8(..60) == 0 {
            let family = FAMILY[self.random.usize(..FAMILY.len())];
            let data = json!({"employee_id": employee_id, "effective_on": review, "changes": {"family_name": family}});
            self.happens(review, "ChangePersonalDetails", &format!("name/{n}/{year}"), &data);
        }
        if self.random.u8(..20) == 0 {
            let phone = format!("+431{:07}", self.random.u32(1_000_000..9_999_999));
            let data = json!({"employee_id": employee_id, "effective_on": review, "changes": {"phone": phone}});
            self.happens(review, "ChangeContactDetails", &format!("contact/{n}/{year}"), &data);
        }
    }

    fn transfer(&mut self, n: usize, day: Date, person: &mut Person, people: &[Person]) {
        let department = self.weighted_department();
        if department == person.department {
            return;
        }
        person.department = department;
        person.rung = person.rung.min(ladder(department).len() - 1);
        let mut changes = json!({"department_id": self.id("department", DEPARTMENTS[department].0), "job_id": self.job(n, person)});
        if let Some(manager) = self.manager(n, department, day, people) {
            changes["manager_id"] = json!(manager);
        }
        let data = json!({"employee_id": self.employee(n), "effective_on": day, "changes": changes, "reason": "transfer"});
        self.happens(day, "ChangeAssignment", &format!("transfer/{n}/{day}"), &data);
    }

    fn rehire(&mut self, n: usize, day: Date, person: &mut Person) {
        person.pay += person.pay / 12;
        let assignment = json!({
            "department_id": self.id("department", DEPARTMENTS[person.department].0), "job_id": self.job(n, person),
            "location_id": self.id("location", LOCATIONS[person.location].0), "manager_id": self.employee(0),
        });
        let data = json!({"employee_id": self.employee(n), "hire_date": day, "assignment": assignment, "pay": Self::pay(person)});
        self.happens(day, "RehireEmployee", &format!("rehire/{n}"), &data);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_company_and_another_one_another() {
        let text = |seed| history(seed, Uuid::nil()).iter().map(|line| format!("{line:?}\n")).collect::<Vec<_>>();
        assert_eq!(text(7), text(7));
        assert_ne!(text(7), text(8));
    }

    #[test]
    fn every_kind_of_fact_is_there_to_be_read() {
        for seed in 0..20 {
            let mut counts: BTreeMap<String, u32> = BTreeMap::new();
            for line in history(seed, Uuid::nil()) {
                let line: Value = serde_json::from_str(line.as_str()).unwrap();
                let name = line["command"].as_str().unwrap();
                let data = serde_json::value::to_raw_value(&line["data"]).unwrap();
                let parsed = domain::Command::parse(name, &data);
                assert!(parsed.is_ok(), "{line}: {parsed:?}");
                *counts.entry(name.to_owned()).or_default() += 1;
            }
            let at_least = [
                ("HireEmployee", 120),
                ("ChangeCompensation", 300),
                ("ChangeAssignment", 50),
                ("TerminateEmployee", 10),
                ("RehireEmployee", 1),
                ("ChangePersonalDetails", 1),
                ("ChangeContactDetails", 5),
            ];
            for (name, count) in at_least {
                assert!(counts.get(name).copied().unwrap_or_default() >= count, "seed {seed}: {counts:?}");
            }
        }
    }
}
