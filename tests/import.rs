//! Real history goes in, the right answers come out: live, and again after a rebuild.
//!
//! What is right is computed here from the CSV files alone, by the half-open rule, without any of the product's code.
//! Where the real data is not at hand (it is not part of the project) its test says so loudly, and a generated history
//! of the same shape stands in.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use jiff::civil::{Date, date};
use serde_json::{Value, json};

use crate::servers::{System, system};

/// Rows `(emp_no, value, from, to)` of one file.
type Spans = Vec<(u32, String, Date, Date)>;

struct History {
    departments: Vec<(String, String)>,
    in_department: Spans,
    titles: Spans,
    salaries: Spans,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Figures {
    headcount: u64,
    pay: u64,
    by_department: BTreeMap<String, u64>,
    by_title: BTreeMap<String, u64>,
}

impl History {
    fn read(dir: &Path) -> Self {
        let spans = |file: &str| {
            let text = fs::read_to_string(dir.join(file)).unwrap();
            let row = |line: &str| {
                let cells: Vec<&str> = line.split(',').collect();
                (cells[0].parse().unwrap(), cells[1].to_owned(), cells[2].parse().unwrap(), cells[3].parse().unwrap())
            };
            text.lines().skip(1).map(row).collect()
        };
        let departments = fs::read_to_string(dir.join("department.csv")).unwrap();
        let pair = |line: &str| line.split_once(',').map(|(code, name)| (code.to_owned(), name.to_owned())).unwrap();
        Self {
            departments: departments.lines().skip(1).map(pair).collect(),
            in_department: spans("dept_emp.csv"),
            titles: spans("title.csv"),
            salaries: spans("salary.csv"),
        }
    }

    fn as_of(&self, day: Date) -> Figures {
        let holds = |from: Date, to: Date| from <= day && day < to;
        let employed: HashMap<u32, u64> =
            self.salaries.iter().filter(|(_, _, from, to)| holds(*from, *to)).map(|(n, pay, ..)| (*n, pay.parse().unwrap())).collect();
        let count = |spans: &Spans| {
            let mut counts = BTreeMap::new();
            for (_, value, from, to) in spans.iter().filter(|(n, ..)| employed.contains_key(n)) {
                if holds(*from, *to) {
                    *counts.entry(value.clone()).or_insert(0) += 1;
                }
            }
            counts
        };
        Figures {
            headcount: employed.len() as u64,
            pay: employed.values().sum(),
            by_department: count(&self.in_department),
            by_title: count(&self.titles),
        }
    }
}

/// What the query API answers, in the same shape.
async fn answered(system: &System, token: &str, day: Date) -> Figures {
    let by = async |group: &str| system.get(token, &format!("/v1/reports/headcount?as_of={day}&group_by={group}")).await;
    let counts = |report: &Value, key: &str| {
        let group = |g: &Value| (g[key].as_str().unwrap().to_owned(), g["headcount"].as_u64().unwrap());
        report["groups"].as_array().unwrap().iter().map(group).filter(|(_, n)| *n > 0).collect()
    };
    let (departments, jobs) = (by("department").await, by("job").await);
    let pay = &departments["total"]["annual_pay"];
    assert_eq!(pay.as_array().unwrap().len(), 1, "one currency: {pay}");
    Figures {
        headcount: departments["total"]["headcount"].as_u64().unwrap(),
        // Amounts have the currency's digits, and the history whole units.
        pay: pay[0]["amount"].as_str().unwrap().strip_suffix(".00").unwrap().parse().unwrap(),
        by_department: counts(&departments, "code"),
        by_title: counts(&jobs, "name"),
    }
}

/// Imports a folder twice into a new tenant, and compares every day's figures live and after a rebuild.
async fn check(slug: &str, dir: &Path, days: &[Date], facts: Option<u64>) {
    let system = system().await;
    let history = History::read(dir);
    system.tenure(&["tenant", "create", "--slug", slug, "--name", slug]);
    let token = system.token(slug, "hr");
    let folder = dir.to_str().unwrap();

    let first = system.tenure(&["import", "employees", "--tenant", slug, folder]);
    if let Some(facts) = facts {
        assert_eq!(first["facts"].as_u64(), Some(facts), "{first}");
    }
    assert_eq!(first["failed"].as_u64(), Some(0), "{first}");
    let head = system.settled(&token).await;
    system.tenure(&["import", "employees", "--tenant", slug, folder]);
    assert_eq!(system.settled(&token).await, head, "a second import must change nothing");

    let compare = async |when: &str| {
        for day in days {
            assert_eq!(answered(system, &token, *day).await, history.as_of(*day), "{when}, as of {day}");
        }
    };
    compare("live").await;
    let report = system.tenure(&["read-model", "rebuild", "--tenant", slug]);
    assert_eq!(report["events"].as_u64(), Some(head), "{report}");
    compare("after a rebuild").await;
    assert_eq!(history.departments.len(), system.get(&token, "/v1/departments").await["items"].as_array().unwrap().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_history_answers_right() {
    let dir = std::env::temp_dir().join(format!("tenure-history-{}", std::process::id()));
    generate(&dir, 42, 200);
    check("generated-history", &dir, &[date(1990, 1, 1), date(1995, 6, 30), date(2000, 1, 1), date(2010, 1, 1)], None).await;
    fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_are_named_by_file_line_and_reason_and_left_out() {
    let system = system().await;
    let dir = std::env::temp_dir().join(format!("tenure-bad-rows-{}", std::process::id()));
    generate(&dir, 7, 60);
    let mut salaries = fs::read_to_string(dir.join("salary.csv")).unwrap();
    let good = salaries.lines().count();
    for n in 0..25 {
        writeln!(salaries, "1,much,2001-02-{:02},9999-01-01", 29 + n).unwrap();
    }
    fs::write(dir.join("salary.csv"), salaries).unwrap();
    system.tenure(&["tenant", "create", "--slug", "bad-rows", "--name", "Bad rows"]);
    let printed = system.tenure_fails(&["import", "employees", "--tenant", "bad-rows", dir.to_str().unwrap()]);
    let report: Value = serde_json::from_str(printed.split_once('{').map(|(_, json)| format!("{{{json}")).unwrap().trim()).unwrap();
    assert_eq!((&report["skipped"], &report["failed"]), (&json!(25), &json!(0)), "{report}");
    let all = fs::read_to_string(report["problems_file"].as_str().unwrap()).unwrap();
    for line in good + 1..=good + 25 {
        assert!(all.contains(&format!("salary.csv line {line}: ")), "line {line} in {all}");
    }
    assert!(report["applied"].as_u64().unwrap() > 100, "{report}");
    fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_careers_answer_right() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/employees");
    if !dir.is_dir() {
        crate::servers::skipped("ten_thousand_careers_answer_right needs the real history in ../shared/data/employees, which is not there");
        return;
    }
    // The answers that the data's own description gives.
    let history = History::read(&dir);
    for (day, headcount, pay, departments, titles) in [
        (date(1990, 1, 1), 3_111, 178_083_167, [157, 733, 846], [318, 1_084]),
        (date(2000, 1, 1), 8_615, 574_260_528, [476, 1_940, 2_249], [2_456, 1_546]),
    ] {
        let figures = history.as_of(day);
        assert_eq!((figures.headcount, figures.pay), (headcount, pay));
        assert_eq!(["d001", "d004", "d005"].map(|d| figures.by_department[d]), departments);
        assert_eq!(["Senior Engineer", "Staff"].map(|t| figures.by_title[t]), titles);
    }
    assert_eq!(history.as_of(date(2020, 1, 1)).headcount, 8_064);
    check("ten-thousand-careers", &dir, &[date(1990, 1, 1), date(2000, 1, 1), date(2020, 1, 1)], Some(102_686)).await;
}

/// A history of the same shape, from a seed: gapless intervals per person, some people gone, some changes on one day.
fn generate(dir: &Path, seed: u64, people: u32) {
    let mut random = fastrand::Rng::with_seed(seed);
    let forever = date(9999, 1, 1);
    let titles = ["Engineer", "Senior Engineer", "Staff", "Manager"];
    let mut files = [
        String::from("dept_no,dept_name\n"),
        String::from("emp_no,birth_date,first_name,last_name,gender,hire_date\n"),
        String::from("emp_no,amount,from_date,to_date\n"),
        String::from("emp_no,dept_no,from_date,to_date\n"),
        String::from("emp_no,title,from_date,to_date\n"),
    ];
    for d in 1..=4 {
        writeln!(files[0], "d{d:03},Department {d}").unwrap();
    }
    for n in 1..=people {
        let start = date(1985, 1, 1).saturating_add(jiff::Span::new().days(random.i64(0..5_000)));
        let end = if random.u8(0..5) == 0 { start.saturating_add(jiff::Span::new().days(random.i64(1..4_000))) } else { forever };
        writeln!(files[1], "{n},1960-01-01,Given{n},Family{},F,{start}", n % 50).unwrap();
        let mut intervals = |file: &mut String, step: i64, value: &mut dyn FnMut(&mut fastrand::Rng) -> String| {
            let mut from = start;
            loop {
                let days = if random.u8(0..20) == 0 { 0 } else { random.i64(1..step) };
                let next = from.saturating_add(jiff::Span::new().days(days));
                let to = if random.u8(0..6) == 0 || next >= end.min(date(2005, 1, 1)) { end } else { next };
                writeln!(file, "{n},{},{from},{to}", value(&mut random)).unwrap();
                if to == end {
                    break;
                }
                from = to;
            }
        };
        let mut pay = 40_000;
        intervals(&mut files[2], 800, &mut |r| {
            pay += r.i32(-500..3_000);
            pay.to_string()
        });
        let mut department = 0;
        intervals(&mut files[3], 4_000, &mut |r| {
            department = (department + r.u32(1..4)) % 4;
            format!("d{:03}", department + 1)
        });
        let mut title = 0;
        intervals(&mut files[4], 3_000, &mut |r| {
            title = (title + r.usize(1..4)) % 4;
            titles[title].into()
        });
    }
    fs::create_dir_all(dir).unwrap();
    for (name, text) in ["department", "employee", "salary", "dept_emp", "title"].into_iter().zip(files) {
        fs::write(dir.join(format!("{name}.csv")), text).unwrap();
    }
}
