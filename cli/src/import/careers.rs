//! Careers as CSV: read, checked row by row, and put together per person.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt, fs,
    path::Path,
    str::FromStr,
};

use anyhow::Context as _;
use domain::text::{Code, EmployeeNumber, FamilyName, Gender, Name};
use events::{Currency, Money};
use jiff::civil::{Date, date};
use rust_decimal::Decimal;

use super::sheet::Table;

/// `still`, in an interval's end.
pub(super) const FOREVER: Date = date(9999, 1, 1);

/// A row that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadRow {
    pub(super) file: &'static str,
    pub(super) line: u64,
    pub(super) reason: String,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {}: {}; left out", self.file, self.line, self.reason)
    }
}

/// What held for a person from a day until another, `[from, to)`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Interval<T> {
    pub(super) from: Date,
    pub(super) to: Date,
    pub(super) value: T,
    pub(super) line: u64,
}

/// One person.
#[derive(Debug, Clone)]
pub(super) struct Career {
    pub(super) number: String,
    pub(super) line: u64,
    pub(super) given_name: String,
    pub(super) family_name: String,
    pub(super) birth_date: Date,
    pub(super) gender: Option<String>,
    /// The start of service; the employment starts with the first pay.
    pub(super) hire_date: Date,
    /// Each in order and without holes; the first is what holds on the first day of employment.
    pub(super) pay: Vec<Interval<Decimal>>,
    pub(super) departments: Vec<Interval<String>>,
    pub(super) titles: Vec<Interval<String>>,
}

impl Career {
    /// The first day of employment.
    pub(super) fn start(&self) -> Date {
        self.pay[0].from
    }
    /// The first day after it.
    pub(super) fn end(&self) -> Option<Date> {
        self.pay.last().map(|pay| pay.to).filter(|to| *to != FOREVER)
    }
}

/// All of it.
#[derive(Debug)]
pub(super) struct History {
    /// Name by code.
    pub(super) departments: BTreeMap<String, String>,
    pub(super) titles: BTreeSet<String>,
    pub(super) careers: Vec<Career>,
    pub(super) bad: Vec<BadRow>,
    /// The files' bytes, to know them again.
    pub(super) files: Vec<Vec<u8>>,
}

const DEPARTMENTS: &str = "department.csv";
const EMPLOYEES: &str = "employee.csv";
const SALARIES: &str = "salary.csv";
const IN_DEPARTMENT: &str = "dept_emp.csv";
const TITLES: &str = "title.csv";

impl History {
    /// Reads the files of a folder. Fails only where a file is missing or not of this shape.
    pub(super) fn read(dir: &Path) -> anyhow::Result<Self> {
        let mut reader = Reader { dir, bad: Vec::new(), files: Vec::new() };
        let mut departments = BTreeMap::new();
        reader.rows(DEPARTMENTS, ["dept_no", "dept_name"], |[code, name]| {
            Code::parse(code).map_err(|error| format!("dept_no {error}"))?;
            Name::parse(name).map_err(|error| format!("dept_name {error}"))?;
            match departments.insert(code.to_owned(), name.to_owned()) {
                Some(_) => Err(format!("the department {code} stands there twice")),
                None => Ok(()),
            }
        })?;
        let mut people: BTreeMap<Number, Career> = BTreeMap::new();
        let columns = ["emp_no", "birth_date", "first_name", "last_name", "gender", "hire_date"];
        reader.numbered_rows(EMPLOYEES, columns, |line, row| {
            let career = person(line, row)?;
            match people.insert(Number(career.number.clone()), career) {
                Some(_) => Err(format!("the employee {} stands there twice", row[0])),
                None => Ok(()),
            }
        })?;
        let known: BTreeSet<String> = people.keys().map(|number| number.0.clone()).collect();
        let mut pay = reader.intervals(SALARIES, ["emp_no", "amount", "from_date", "to_date"], &known, |amount| {
            let decimal = Decimal::from_str_exact(amount).map_err(|_| "the amount is no decimal number".to_owned())?;
            let dollars = Currency::from_str(CURRENCY).map_err(|error| error.to_string())?;
            Money::new(decimal, dollars).map(Money::amount).map_err(|error| error.to_string())
        })?;
        let mut in_department = reader.intervals(IN_DEPARTMENT, ["emp_no", "dept_no", "from_date", "to_date"], &known, |code| {
            if departments.contains_key(code) {
                Ok(code.to_owned())
            } else {
                Err(format!("there is no department {code} in {DEPARTMENTS}"))
            }
        })?;
        let mut titles = reader.intervals(TITLES, ["emp_no", "title", "from_date", "to_date"], &known, |title| {
            Name::parse(title).map(|_| title.to_owned()).map_err(|error| format!("title {error}"))
        })?;
        let Reader { mut bad, files, .. } = reader;
        let mut careers = Vec::with_capacity(people.len());
        for (Number(number), mut career) in people {
            career.pay = pay.remove(&number).unwrap_or_default();
            let (departments, titles) = (in_department.remove(&number).unwrap_or_default(), titles.remove(&number).unwrap_or_default());
            match assemble(career, departments, titles, &mut bad) {
                Ok(career) => careers.push(career),
                Err((line, reason)) => bad.push(BadRow { file: EMPLOYEES, line, reason }),
            }
        }
        let titles = careers.iter().flat_map(|career| career.titles.iter().map(|title| title.value.clone())).collect();
        Ok(Self { departments, titles, careers, bad, files })
    }
}

/// Amounts carry no currency.
pub(super) const CURRENCY: &str = "USD";

/// Employee numbers in their natural order.
#[derive(PartialEq, Eq)]
struct Number(String);
impl Ord for Number {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0.len(), &self.0).cmp(&(other.0.len(), &other.0))
    }
}
impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

fn person(line: u64, [number, birth_date, given_name, family_name, gender, hire_date]: [&str; 6]) -> Result<Career, String> {
    EmployeeNumber::parse(number).map_err(|error| format!("emp_no {error}"))?;
    Name::parse(given_name).map_err(|error| format!("first_name {error}"))?;
    FamilyName::parse(family_name).map_err(|error| format!("last_name {error}"))?;
    if !gender.is_empty() {
        Gender::parse(gender).map_err(|error| format!("gender {error}"))?;
    }
    Ok(Career {
        number: number.into(),
        line,
        given_name: given_name.into(),
        family_name: family_name.into(),
        birth_date: day("birth_date", birth_date)?,
        gender: (!gender.is_empty()).then(|| gender.into()),
        hire_date: day("hire_date", hire_date)?,
        pay: vec![],
        departments: vec![],
        titles: vec![],
    })
}

fn day(column: &str, text: &str) -> Result<Date, String> {
    // The parser takes more forms than the one that stands in such files.
    match text.parse::<Date>() {
        Ok(day) if day.to_string() == text => Ok(day),
        _ => Err(format!("{column} is no date that exists, such as 1986-06-26")),
    }
}

/// Puts a person together, or says why that can't be.
fn assemble(
    mut career: Career,
    departments: Vec<Interval<String>>,
    titles: Vec<Interval<String>>,
    bad: &mut Vec<BadRow>,
) -> Result<Career, (u64, String)> {
    let refuse = |what: &str| (career.line, format!("the employee {} {what}", career.number));
    let pay = in_order(SALARIES, std::mem::take(&mut career.pay), bad);
    let Some(first) = pay.first() else { return Err(refuse(&format!("has no usable row in {SALARIES}"))) };
    let (start, end) = (first.from, pay.last().map_or(FOREVER, |pay| pay.to));
    if career.birth_date >= start {
        return Err(refuse("is employed before being born"));
    }
    let departments = clip(IN_DEPARTMENT, in_order(IN_DEPARTMENT, departments, bad), start, end, bad);
    let departments = departments.ok_or_else(|| refuse("has no department on the first day of employment"))?;
    let titles = clip(TITLES, in_order(TITLES, titles, bad), start, end, bad);
    let titles = titles.ok_or_else(|| refuse("has no title on the first day of employment"))?;
    Ok(Career { pay, departments, titles, ..career })
}

/// In date order; what overlaps or leaves a gap is left out.
fn in_order<T>(file: &'static str, mut intervals: Vec<Interval<T>>, bad: &mut Vec<BadRow>) -> Vec<Interval<T>> {
    intervals.sort_by_key(|interval| (interval.from, interval.to, interval.line));
    let mut until: Option<Date> = None;
    intervals.retain(|interval| {
        let reason = match until {
            Some(until) if interval.from < until => Some("overlaps the interval before it"),
            Some(until) if interval.from > until => Some("leaves a gap after the interval before it"),
            _ => None,
        };
        // After a gap the following rows are in order again.
        until = until.max(Some(interval.to));
        if let Some(reason) = reason {
            bad.push(BadRow { file, line: interval.line, reason: format!("the interval from {} {reason}", interval.from) });
        }
        reason.is_none()
    });
    intervals
}

/// What holds from the first day of employment on, or none if nothing does. Changes on the day after the last one are
/// taken: the termination closes them.
fn clip<T>(file: &'static str, mut intervals: Vec<Interval<T>>, start: Date, end: Date, bad: &mut Vec<BadRow>) -> Option<Vec<Interval<T>>> {
    intervals.retain(|interval| {
        let late = interval.from > end;
        if late {
            bad.push(BadRow {
                file,
                line: interval.line,
                reason: format!("the interval from {} starts after the end of employment", interval.from),
            });
        }
        !late
    });
    // The last one that started before, else the first one of the day itself.
    let before = intervals.iter().rposition(|interval| interval.from < start && interval.to > start);
    let first = before.or_else(|| intervals.iter().position(|interval| interval.from == start))?;
    intervals.drain(..first);
    intervals[0].from = start;
    Some(intervals)
}

struct Reader<'a> {
    dir: &'a Path,
    bad: Vec<BadRow>,
    files: Vec<Vec<u8>>,
}

impl Reader<'_> {
    fn rows<const N: usize>(
        &mut self,
        file: &'static str,
        columns: [&str; N],
        mut row: impl FnMut([&str; N]) -> Result<(), String>,
    ) -> anyhow::Result<()> {
        self.numbered_rows(file, columns, |_, cells| row(cells))
    }

    /// Calls `row` with the named columns of each line; what it refuses is noted as bad.
    fn numbered_rows<const N: usize>(
        &mut self,
        file: &'static str,
        columns: [&str; N],
        row: impl FnMut(u64, [&str; N]) -> Result<(), String>,
    ) -> anyhow::Result<()> {
        let path = self.dir.join(file);
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let bad = Table::open(&bytes, &path.display().to_string(), b',', columns, N)?.each(row)?;
        self.bad.extend(bad.into_iter().map(|(line, reason)| BadRow { file, line, reason }));
        self.files.push(bytes);
        Ok(())
    }

    /// Rows `emp_no, value, from_date, to_date`, by employee.
    fn intervals<T>(
        &mut self,
        file: &'static str,
        columns: [&str; 4],
        known: &BTreeSet<String>,
        value: impl Fn(&str) -> Result<T, String>,
    ) -> anyhow::Result<HashMap<String, Vec<Interval<T>>>> {
        let mut all: HashMap<String, Vec<Interval<T>>> = HashMap::new();
        self.numbered_rows(file, columns, |line, [number, text, from, to]| {
            if !known.contains(number) {
                return Err(format!("there is no usable employee {number} in {EMPLOYEES}"));
            }
            let (from, to) = (day("from_date", from)?, day("to_date", to)?);
            if to < from {
                return Err("to_date is before from_date".into());
            }
            all.entry(number.to_owned()).or_default().push(Interval { from, to, value: value(text)?, line });
            Ok(())
        })?;
        Ok(all)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The files of a small history, with these rows after the good ones.
    pub(in crate::import) fn folder(name: &str, more: &[(&str, &str)]) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("tenure-import-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        for (file, rows) in [
            (DEPARTMENTS, "dept_no,dept_name\nd1,One\nd2,Two\n"),
            (
                EMPLOYEES,
                "emp_no,birth_date,first_name,last_name,gender,hire_date\n1,1960-01-01,Ada,Moss,F,1985-01-01\n2,1961-01-01,Ben,Reed,M,1990-01-01\n",
            ),
            (
                SALARIES,
                "emp_no,amount,from_date,to_date\n1,100,1986-01-01,1987-01-01\n1,120,1987-01-01,9999-01-01\n2,50,1990-01-01,1990-01-01\n2,60,1990-01-01,1991-01-01\n2,70,1991-01-01,1991-01-01\n",
            ),
            (
                IN_DEPARTMENT,
                "emp_no,dept_no,from_date,to_date\n1,d2,1988-01-01,9999-01-01\n1,d1,1985-01-01,1988-01-01\n2,d1,1990-01-01,1991-01-01\n",
            ),
            (TITLES, "emp_no,title,from_date,to_date\n1,Engineer,1986-01-01,9999-01-01\n2,Staff,1990-01-01,1991-01-01\n"),
        ] {
            let extra: Vec<&str> = more.iter().filter(|(to, _)| *to == file).map(|(_, row)| *row).collect();
            fs::write(dir.join(file), format!("{rows}{}\n", extra.join("\n"))).unwrap();
        }
        dir
    }

    #[test]
    fn intervals_are_put_in_order_and_clipped_to_the_employment() {
        let history = History::read(&folder("good", &[])).unwrap();
        assert_eq!(history.bad, []);
        let [ada, ben] = history.careers.as_slice() else { panic!("{:?}", history.careers) };
        assert_eq!((ada.start(), ada.end(), ada.hire_date), (date(1986, 1, 1), None, date(1985, 1, 1)));
        let departments: Vec<_> = ada.departments.iter().map(|d| (d.value.as_str(), d.from)).collect();
        assert_eq!(departments, [("d1", date(1986, 1, 1)), ("d2", date(1988, 1, 1))]);
        let pay: Vec<_> = ben.pay.iter().map(|p| (p.value.to_string(), p.from)).collect();
        assert_eq!(pay, [("50".into(), date(1990, 1, 1)), ("60".into(), date(1990, 1, 1)), ("70".into(), date(1991, 1, 1))]);
        assert_eq!(ben.end(), Some(date(1991, 1, 1)));
    }

    #[track_caller]
    fn check(file: &'static str, row: &str, expected: &str) {
        let dir = folder(&format!("bad-{}", expected.len()), &[(file, row)]);
        let history = History::read(&dir).unwrap();
        fs::remove_dir_all(dir).unwrap();
        assert!(history.bad.iter().any(|bad| bad.file == file && bad.reason.contains(expected)), "{:?}", history.bad);
    }

    #[test]
    fn bad_rows_are_named_and_left_out() {
        check(DEPARTMENTS, "d1,Again", "twice");
        check(DEPARTMENTS, "d 9,Nine", "dept_no must be");
        check(EMPLOYEES, "3,1960-02-30,Cy,Pike,M,1990-01-01", "birth_date is no date that exists");
        check(EMPLOYEES, "3,1960-01-01,,Pike,M,1990-01-01", "first_name");
        check(EMPLOYEES, "3,1960-01-01,Cy,Pike,M,1990-01-01", "has no usable row in salary.csv");
        check(SALARIES, "1,-5,1999-01-01,9999-01-01", "negative");
        check(SALARIES, "1,5.123,1999-01-01,9999-01-01", "more decimals");
        check(SALARIES, "1,much,1999-01-01,9999-01-01", "no decimal number");
        check(SALARIES, "1,5,1999-01-01,1998-01-01", "before from_date");
        check(SALARIES, "1,5,1986-06-01,1986-07-01", "overlaps");
        check(SALARIES, "2,5,1995-01-01,9999-01-01", "leaves a gap");
        check(SALARIES, "7,5,1995-01-01,9999-01-01", "no usable employee 7");
        check(SALARIES, "1,5,1995-01-01", "3 cells instead of 4");
        check(IN_DEPARTMENT, "1,d9,1999-01-01,9999-01-01", "no department d9");
        check(TITLES, "2,Chief,1991-01-02,9999-01-01", "leaves a gap");
    }

    #[test]
    fn the_files_must_be_of_this_shape() {
        let dir = folder("shape", &[]);
        fs::write(dir.join(TITLES), "emp_no,name\n").unwrap();
        assert!(History::read(&dir).unwrap_err().to_string().contains("has no column title"));
        fs::remove_file(dir.join(TITLES)).unwrap();
        assert!(format!("{:#}", History::read(&dir).unwrap_err()).contains("title.csv"));
    }
}
