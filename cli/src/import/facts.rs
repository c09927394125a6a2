//! Facts out of careers: in date order, each with an id and a key that follow from its row.

use std::collections::HashMap;

use jiff::civil::Date;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::careers::{CURRENCY, Career, History};
use crate::batch::Line;

/// How many of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    pub(super) hires: u64,
    pub(super) pay_changes: u64,
    pub(super) transfers: u64,
    pub(super) title_changes: u64,
    pub(super) terminations: u64,
    pub(super) departments: u64,
    pub(super) jobs: u64,
}

impl Counts {
    /// What happened to people.
    pub(super) fn facts(&self) -> u64 {
        self.hires + self.pay_changes + self.transfers + self.title_changes + self.terminations
    }
}

/// What happened, in the order in which it is sent where it happened to one person on one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Hire,
    Transfer,
    Title,
    Pay,
    Termination,
}

/// One fact; names its rows by their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fact {
    day: Date,
    career: u32,
    kind: Kind,
    interval: u32,
}

/// Everything to be sent.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) history: &'a History,
    pub(super) counts: Counts,
    /// Each in date order; all of a person's facts are in one.
    pub(super) lanes: Vec<Vec<Fact>>,
    tenant: Uuid,
    job_codes: HashMap<&'a str, String>,
}

impl<'a> Plan<'a> {
    /// For a tenant, on so many connections.
    pub(super) fn of(history: &'a History, tenant: Uuid, connections: usize) -> Self {
        let mut counts = Counts { departments: history.departments.len() as u64, jobs: history.titles.len() as u64, ..Counts::default() };
        let mut lanes = vec![Vec::new(); connections];
        for (n, career) in (0_u32..).zip(&history.careers) {
            let lane = &mut lanes[n as usize % connections];
            let mut put = |day, kind, interval| lane.push(Fact { day, career: n, kind, interval });
            put(career.start(), Kind::Hire, 0);
            let mut changes = |kind, days: Vec<Date>, count: &mut u64| {
                for (interval, day) in (0_u32..).zip(days).skip(1) {
                    put(day, kind, interval);
                    *count += 1;
                }
            };
            changes(Kind::Transfer, career.departments.iter().map(|i| i.from).collect(), &mut counts.transfers);
            changes(Kind::Title, career.titles.iter().map(|i| i.from).collect(), &mut counts.title_changes);
            changes(Kind::Pay, career.pay.iter().map(|i| i.from).collect(), &mut counts.pay_changes);
            counts.hires += 1;
            if let Some(end) = career.end() {
                put(end, Kind::Termination, 0);
                counts.terminations += 1;
            }
        }
        for lane in &mut lanes {
            lane.sort_unstable();
        }
        Self { history, counts, lanes, tenant, job_codes: job_codes(history) }
    }

    fn id(&self, kind: &str, name: &str) -> Uuid {
        Uuid::new_v5(&self.tenant, format!("import/{kind}/{name}").as_bytes())
    }

    /// Departments and jobs, from the day before the first employment.
    pub(super) fn organization(&self) -> Vec<Line> {
        let Some(first) = self.history.careers.iter().map(Career::start).min() else { return Vec::new() };
        let day = first.yesterday().unwrap_or(first);
        let departments = self.history.departments.iter().map(|(code, name)| {
            let data = json!({"department_id": self.id("department", code), "effective_on": day, "code": code, "name": name});
            Line::new("CreateDepartment", &format!("import/department/{code}"), &data)
        });
        let jobs = self.job_codes.iter().map(|(title, code)| {
            let data = json!({"job_id": self.id("job", title), "effective_on": day, "code": code, "title": title});
            Line::new("CreateJob", &format!("import/job/{code}"), &data)
        });
        departments.chain(jobs).collect()
    }

    /// A fact as a command.
    pub(super) fn line(&self, fact: &Fact) -> Line {
        let career = &self.history.careers[fact.career as usize];
        let (number, n) = (&career.number, fact.interval as usize);
        let employee_id = self.id("employee", number);
        // Rows of no length can share their days; their place among each other is part of the key then.
        let key = |kind: &str, from: Date, to: Date| {
            if from == to { format!("import/{kind}/{number}/{from}/{to}/{n}") } else { format!("import/{kind}/{number}/{from}/{to}") }
        };
        match fact.kind {
            Kind::Hire => Line::new("HireEmployee", &format!("import/hire/{number}"), &self.hire(career, employee_id)),
            Kind::Transfer => {
                let i = &career.departments[n];
                let changes = json!({"department_id": self.id("department", &i.value)});
                let data = json!({"employee_id": employee_id, "effective_on": i.from, "changes": changes, "reason": "transfer"});
                Line::new("ChangeAssignment", &key("transfer", i.from, i.to), &data)
            }
            Kind::Title => {
                let i = &career.titles[n];
                let changes = json!({"job_id": self.id("job", &i.value)});
                let data = json!({"employee_id": employee_id, "effective_on": i.from, "changes": changes, "reason": "title_change"});
                Line::new("ChangeAssignment", &key("title", i.from, i.to), &data)
            }
            Kind::Pay => {
                let i = &career.pay[n];
                let data = json!({"employee_id": employee_id, "effective_on": i.from, "pay": pay(i.value), "reason": "salary_review"});
                Line::new("ChangeCompensation", &key("pay", i.from, i.to), &data)
            }
            Kind::Termination => {
                let last_day = fact.day.yesterday().unwrap_or(fact.day);
                let data = json!({"employee_id": employee_id, "last_day_worked": last_day, "reason": "left"});
                Line::new("TerminateEmployee", &format!("import/termination/{number}"), &data)
            }
        }
    }

    fn hire(&self, career: &Career, employee_id: Uuid) -> Value {
        let mut person = json!({"given_name": career.given_name, "family_name": career.family_name, "birth_date": career.birth_date});
        if let Some(gender) = &career.gender {
            person["gender"] = gender.as_str().into();
        }
        let mut data = json!({
            "employee_id": employee_id,
            "hire_date": career.start(),
            "employee_number": career.number,
            "person": person,
            "assignment": {
                "department_id": self.id("department", &career.departments[0].value),
                "job_id": self.id("job", &career.titles[0].value),
            },
            "pay": pay(career.pay[0].value),
        });
        if career.hire_date < career.start() {
            data["original_hire_date"] = json!(career.hire_date);
        }
        data
    }

    /// Where a fact comes from, for people.
    pub(super) fn source(&self, fact: &Fact) -> String {
        let career = &self.history.careers[fact.career as usize];
        let n = fact.interval as usize;
        let (file, line) = match fact.kind {
            Kind::Hire => ("employee.csv", career.line),
            Kind::Transfer => ("dept_emp.csv", career.departments[n].line),
            Kind::Title => ("title.csv", career.titles[n].line),
            Kind::Pay => ("salary.csv", career.pay[n].line),
            Kind::Termination => ("salary.csv", career.pay.last().map_or(0, |last| last.line)),
        };
        format!("{file} line {line} (employee {}, {})", career.number, fact.day)
    }
}

fn pay(amount: rust_decimal::Decimal) -> Value {
    json!({"rate": {"amount": amount.to_string(), "currency": CURRENCY}, "per": "year"})
}

/// A code for each title, as `senior-engineer`; numbered where two titles would get the same.
fn job_codes(history: &History) -> HashMap<&str, String> {
    let mut taken: HashMap<String, u32> = HashMap::new();
    let mut codes = HashMap::new();
    for title in &history.titles {
        let plain: String = title.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).take(34).collect();
        let plain = plain.trim_matches('-');
        let plain = if plain.is_empty() { "job" } else { plain };
        let count = taken.entry(plain.to_owned()).or_default();
        *count += 1;
        codes.insert(title.as_str(), if *count == 1 { plain.to_owned() } else { format!("{plain}-{count}") });
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::{super::careers::tests::folder, *};

    #[test]
    fn facts_come_in_date_order_and_a_person_s_on_one_connection() {
        let history = History::read(&folder("plan", &[])).unwrap();
        let plan = Plan::of(&history, Uuid::from_u128(7), 2);
        let order: Vec<Vec<(Kind, String)>> =
            plan.lanes.iter().map(|lane| lane.iter().map(|fact| (fact.kind, fact.day.to_string())).collect()).collect();
        let fact = |kind, day: &str| (kind, day.to_owned());
        assert_eq!(order[0], [fact(Kind::Hire, "1986-01-01"), fact(Kind::Pay, "1987-01-01"), fact(Kind::Transfer, "1988-01-01")]);
        assert_eq!(
            order[1],
            [
                fact(Kind::Hire, "1990-01-01"),
                fact(Kind::Pay, "1990-01-01"),
                fact(Kind::Pay, "1991-01-01"),
                fact(Kind::Termination, "1991-01-01")
            ]
        );
        assert_eq!(plan.counts.facts(), 7);
        assert_eq!((plan.counts.hires, plan.counts.pay_changes, plan.counts.transfers, plan.counts.terminations), (2, 3, 1, 1));
    }

    #[test]
    fn the_same_rows_give_the_same_commands() {
        let history = History::read(&folder("same", &[])).unwrap();
        let lines = |connections| {
            let plan = Plan::of(&history, Uuid::from_u128(7), connections);
            let mut lines: Vec<String> = plan.lanes.iter().flatten().map(|fact| format!("{:?}", plan.line(fact))).collect();
            lines.extend(plan.organization().iter().map(|line| format!("{line:?}")));
            lines.sort();
            lines
        };
        assert_eq!(lines(1), lines(3));
        let hire = lines(1).into_iter().find(|line| line.contains("import/hire/1")).unwrap();
        assert!(hire.contains("original_hire_date") && hire.contains("1985-01-01"), "{hire}");
    }

    #[test]
    fn the_real_history_has_as_many_facts_as_it_says() {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/employees");
        if !dir.is_dir() {
            // Past the capture of the test's output.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), b"\nSKIPPED: the real history is not in ../shared/data/employees\n");
            return;
        }
        let history = History::read(&dir).unwrap();
        assert_eq!(history.bad, []);
        let counts = Plan::of(&history, Uuid::nil(), 4).counts;
        let expected = Counts {
            hires: 10_000,
            pay_changes: 84_917,
            transfers: 1_051,
            title_changes: 4_782,
            terminations: 1_936,
            departments: 9,
            jobs: 6,
        };
        assert_eq!((counts.facts(), counts), (102_686, expected));
    }
}
