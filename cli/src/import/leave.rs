//! Leave from spreadsheets: balances and requests of an earlier system, and the holidays of a country.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{connect, sheet::Sheet};
use crate::{
    api::{Api, Endpoints, Tenant},
    batch::{self, Line, Outcome},
    home::Home,
    output,
};

/// The holidays of countries and of some of their parts, by the package `holidays` from PyPI; `make_holidays.py` beside it writes them.
const HOLIDAYS: &str = include_str!("../../data/holidays.csv");
/// Where they come from, as the calendar's years say it.
const SOURCE: &str = "holidays 0.109";

/// A sheet with a row per command.
#[derive(Debug, Clone, clap::Args)]
pub struct SheetOptions {
    /// The tenant's slug
    #[arg(long = "tenant", value_name = "SLUG")]
    slug: String,
    /// Read and check the file, and say what would be sent
    #[arg(long)]
    dry_run: bool,
    /// The CSV file
    file: PathBuf,
}

/// Which holidays, into which calendar.
#[derive(Debug, Clone, clap::Args)]
pub struct HolidayOptions {
    /// The tenant's slug
    #[arg(long = "tenant", value_name = "SLUG")]
    slug: String,
    /// The calendar's code; a calendar of that code is created where there is none
    #[arg(long, value_name = "CODE")]
    calendar: String,
    /// A country, such as AT, or a part of one, such as DE-BY; --list says which there are
    #[arg(long, required_unless_present_any = ["file", "list"], conflicts_with = "file", value_name = "PLACE")]
    place: Option<String>,
    /// A CSV file with the columns date, part and name instead; part is whole, morning or afternoon
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only these years, such as 2027 or 2026-2028; all that are known if absent
    #[arg(long, value_parser = years, value_name = "YEARS")]
    years: Option<(i16, i16)>,
    /// List the places whose holidays come with this program
    #[arg(long)]
    list: bool,
}

fn years(text: &str) -> Result<(i16, i16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let year = |text: &str| text.parse::<i16>().ok().filter(|year| (1900..=2200).contains(year));
    match (year(first), year(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err("must be a year, or a first and a last one such as 2026-2028".into()),
    }
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(rename = "tenant")]
    slug: String,
    rows: u64,
    applied: u64,
    replayed: u64,
    refused: u64,
    /// Rows left out before sending.
    skipped: u64,
    problems: Vec<String>,
}

/// A command, and the line of the file that it comes from.
struct Row {
    line: u64,
    commands: Vec<Line>,
}

/// People by number, and kinds of leave by code.
struct Known {
    people: HashMap<String, Uuid>,
    kinds: HashMap<String, Uuid>,
}

#[derive(Deserialize)]
struct PeoplePage {
    items: Vec<Person>,
    next_cursor: Option<String>,
}
#[derive(Deserialize)]
struct Person {
    employee_id: Uuid,
    employee_number: Option<String>,
}
#[derive(Deserialize)]
struct Kinds {
    items: Vec<Kind>,
}
#[derive(Deserialize)]
struct Kind {
    type_id: Uuid,
    code: String,
}

impl Known {
    async fn read(api: &Api) -> anyhow::Result<Self> {
        let mut people = HashMap::new();
        for status in ["active", "terminated", "not_yet_hired"] {
            let mut cursor: Option<String> = None;
            loop {
                let after = cursor.as_ref().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
                let page: PeoplePage = api.get(&format!("/v1/employees?status={status}&limit=200{after}")).await?;
                people.extend(page.items.into_iter().filter_map(|person| Some((person.employee_number?, person.employee_id))));
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
        }
        let kinds: Kinds = api.get("/v1/leave-types").await?;
        Ok(Self { people, kinds: kinds.items.into_iter().map(|kind| (kind.code, kind.type_id)).collect() })
    }
    fn person(&self, number: &str) -> Result<Uuid, String> {
        self.people.get(number).copied().ok_or_else(|| format!("employee_number: nobody has the number {number:?}"))
    }
    fn kind(&self, code: &str) -> Result<Uuid, String> {
        self.kinds.get(code).copied().ok_or_else(|| format!("leave_type: there is no kind of leave with the code {code:?}"))
    }
}

/// An id that follows from what a row is about, so that the same row is the same thing, and a mended one is refused instead of doubled.
fn id(tenant: &Tenant, of: &[&str]) -> Uuid {
    Uuid::new_v5(&tenant.tenant_id.uuid(), of.join("\n").as_bytes())
}

/// A key that follows from all of a row: what is sent again is the same command, and another one is judged anew.
fn key(id: Uuid, data: &Value) -> String {
    Uuid::new_v5(&id, data.to_string().as_bytes()).to_string()
}

/// Plays balances in. True if nothing had to be left out.
pub(super) async fn balances(home: &Home, endpoints: &Endpoints, options: SheetOptions, json: bool) -> anyhow::Result<bool> {
    let columns = ["employee_number", "leave_type", "effective_on", "amount", "ends_on", "reason"];
    let sheet = Sheet::read(&options.file, columns, 4)?;
    let (api, tenant) = connect(home, endpoints, &options.slug).await?;
    let known = Known::read(&api).await?;
    let row = |[number, kind, on, amount, ends_on, reason]: &[String; 6]| {
        let (person, type_id) = (known.person(number)?, known.kind(kind)?);
        let adjustment = id(&tenant, &["leave balance", number, kind, on, ends_on]);
        let mut data = json!({"employee_id": person, "adjustment_id": adjustment, "type_id": type_id, "effective_on": on, "amount": amount,
            "reason": if reason.is_empty() { "balance of an earlier system" } else { reason.as_str() }});
        if !ends_on.is_empty() {
            data["ends_on"] = json!(ends_on);
        }
        Ok(vec![Line::new("AdjustLeave", &key(adjustment, &data), &data)])
    };
    send(&api, &tenant, sheet, row, &options, json).await
}

/// Plays requests in. True if nothing had to be left out.
pub(super) async fn requests(home: &Home, endpoints: &Endpoints, options: SheetOptions, json: bool) -> anyhow::Result<bool> {
    let columns = ["employee_number", "leave_type", "first_day", "last_day", "status", "part", "note"];
    let sheet = Sheet::read(&options.file, columns, 5)?;
    let (api, tenant) = connect(home, endpoints, &options.slug).await?;
    let known = Known::read(&api).await?;
    let row = |[number, kind, first, last, status, part, note]: &[String; 7]| {
        let (person, type_id) = (known.person(number)?, known.kind(kind)?);
        let approved = match status.as_str() {
            "approved" => true,
            "pending" => false,
            other => return Err(format!("status: must be pending or approved, not {other:?}")),
        };
        let part = if part.is_empty() { "whole" } else { part.as_str() };
        let request = id(&tenant, &["leave request", number, kind, first, last, part]);
        let mut data = json!({"employee_id": person, "request_id": request, "type_id": type_id,
            "days": [{"on": first, "to": last, "part": part}]});
        if !note.is_empty() {
            data["note"] = json!(note);
        }
        let mut commands = vec![Line::new("RequestLeave", &key(request, &data), &data)];
        if approved {
            let data = json!({"employee_id": person, "request_id": request});
            commands.push(Line::new("ApproveLeave", &key(request, &data), &data));
        }
        Ok(commands)
    };
    send(&api, &tenant, sheet, row, &options, json).await
}

async fn send<const N: usize>(
    api: &Api,
    tenant: &Tenant,
    sheet: Sheet<N>,
    row: impl Fn(&[String; N]) -> Result<Vec<Line>, String>,
    options: &SheetOptions,
    json: bool,
) -> anyhow::Result<bool> {
    let total = (sheet.rows.len() + sheet.bad.len()) as u64;
    let mut problems: Vec<(u64, String)> = sheet.bad;
    let mut rows = Vec::with_capacity(sheet.rows.len());
    for (line, cells) in &sheet.rows {
        match row(cells) {
            Ok(commands) => rows.push(Row { line: *line, commands }),
            Err(reason) => problems.push((*line, reason)),
        }
    }
    let skipped = problems.len() as u64;
    let bar = output::bar(rows.len() as u64, json);
    let (mut applied, mut replayed, mut refused) = (0, 0, 0);
    if !options.dry_run {
        let lines: Vec<Line> = rows.iter().flat_map(|row| row.commands.iter().cloned()).collect();
        let of: Vec<(usize, u64)> = rows.iter().enumerate().flat_map(|(n, row)| row.commands.iter().map(move |_| (n, row.line))).collect();
        let mut last = usize::MAX;
        batch::send(api, &lines, |n, outcome| {
            let (row, line) = of[n];
            match outcome {
                Outcome::Applied => applied += 1,
                Outcome::Replayed => replayed += 1,
                Outcome::Refused(reason) => {
                    refused += 1;
                    problems.push((line, reason));
                }
            }
            if row != last {
                bar.inc(1);
                last = row;
            }
        })
        .await?;
    }
    bar.finish_and_clear();
    problems.sort();
    let problems: Vec<String> = problems.into_iter().map(|(line, reason)| format!("line {line}: {reason}")).collect();
    let report = Report { slug: tenant.slug.clone(), rows: total, applied, replayed, refused, skipped, problems };
    if json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        for problem in &report.problems {
            eprintln!("{problem}");
        }
        let what = if options.dry_run { "nothing was sent" } else { "sent" };
        println!(
            "{} rows, {what}: {applied} commands done now, {replayed} before, {refused} refused, {skipped} rows left out",
            report.rows
        );
    }
    Ok(report.refused + report.skipped == 0)
}

#[derive(Deserialize)]
struct Calendars {
    items: Vec<Calendar>,
}
#[derive(Deserialize)]
struct Calendar {
    calendar_id: Uuid,
    code: String,
}

/// The holidays by year: each with its day, part and name.
type Years = BTreeMap<i16, Vec<Value>>;

/// Plays holidays in. True if nothing had to be left out.
pub(super) async fn holidays(home: &Home, endpoints: &Endpoints, options: HolidayOptions, json: bool) -> anyhow::Result<bool> {
    let packaged = Sheet::parse(HOLIDAYS.as_bytes(), "the holidays", ["place", "date", "part", "name"], 4)?;
    if options.list {
        let mut places: Vec<&str> = packaged.rows.iter().map(|(_, [place, ..])| place.as_str()).collect();
        places.dedup();
        if json {
            println!("{}", serde_json::to_string(&places)?);
        } else {
            println!("{}", places.join("\n"));
        }
        return Ok(true);
    }
    let (rows, bad, source) = match (&options.place, &options.file) {
        (Some(place), _) => {
            let of_place = packaged.rows.into_iter().filter(|(_, [of, ..])| of == place);
            let rows: Vec<_> = of_place.map(|(line, [_, date, part, name])| (line, [date, part, name])).collect();
            if rows.is_empty() {
                bail!("the holidays of {place} do not come with this program; --list says which do, and --file takes others");
            }
            (rows, Vec::new(), format!("{place}, {SOURCE}"))
        }
        (None, Some(file)) => {
            let sheet = Sheet::read(file, ["date", "part", "name"], 3)?;
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
            (sheet.rows, sheet.bad, name.unwrap_or_else(|| "a file".into()))
        }
        (None, None) => bail!("give --place or --file"),
    };
    let years = by_year(&rows, options.years)?;
    let (api, tenant) = connect(home, endpoints, &options.slug).await?;
    let calendars: Calendars = api.get("/v1/holiday-calendars").await?;
    let found = calendars.items.into_iter().find(|calendar| calendar.code == options.calendar).map(|calendar| calendar.calendar_id);
    let calendar_id = found.unwrap_or_else(|| id(&tenant, &["holiday calendar", &options.calendar]));
    let mut lines = Vec::new();
    if found.is_none() {
        let data = json!({"calendar_id": calendar_id, "code": options.calendar, "name": options.calendar});
        lines.push(Line::new("CreateHolidayCalendar", &key(calendar_id, &data), &data));
    }
    for (year, holidays) in &years {
        let data = json!({"calendar_id": calendar_id, "year": year, "holidays": holidays, "source": source});
        lines.push(Line::new("LoadHolidayYear", &key(calendar_id, &data), &data));
    }
    let mut refused = Vec::new();
    batch::send(&api, &lines, |_, outcome| {
        if let Outcome::Refused(reason) = outcome {
            refused.push(reason);
        }
    })
    .await?;
    let bad: Vec<String> = bad.into_iter().map(|(line, reason)| format!("line {line}: {reason}")).chain(refused).collect();
    let count: usize = years.values().map(Vec::len).sum();
    if json {
        println!("{}", json!({"calendar_id": calendar_id, "years": years.keys().collect::<Vec<_>>(), "holidays": count, "problems": bad}));
    } else {
        for problem in &bad {
            eprintln!("{problem}");
        }
        println!("{count} holidays of {} years in the calendar {} ({calendar_id})", years.len(), options.calendar);
    }
    Ok(bad.is_empty())
}

fn by_year(rows: &[(u64, [String; 3])], only: Option<(i16, i16)>) -> anyhow::Result<Years> {
    let mut years = Years::new();
    for (line, [date, part, name]) in rows {
        let day: jiff::civil::Date = date.parse().with_context(|| format!("line {line}: date must be a day, as YYYY-MM-DD"))?;
        if only.is_none_or(|(first, last)| (first..=last).contains(&day.year())) {
            let part = if part.is_empty() { "whole" } else { part.as_str() };
            years.entry(day.year()).or_default().push(json!({"on": date, "part": part, "name": name}));
        }
    }
    if years.is_empty() {
        bail!("there is no holiday in these years");
    }
    Ok(years)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holidays_that_come_along_can_be_loaded() {
        let packaged = Sheet::parse(HOLIDAYS.as_bytes(), "the holidays", ["place", "date", "part", "name"], 4).unwrap();
        assert!(packaged.bad.is_empty() && packaged.rows.len() > 6_000);
        let austria: Vec<_> = packaged
            .rows
            .iter()
            .filter(|(_, [place, ..])| place == "AT")
            .map(|(line, [_, date, part, name])| (*line, [date, part, name].map(Clone::clone)))
            .collect();
        let years = by_year(&austria, Some((2027, 2027))).unwrap();
        assert_eq!(years.keys().collect::<Vec<_>>(), [&2027]);
        assert!(years[&2027].contains(&json!({"on": "2027-03-29", "part": "whole", "name": "Easter Monday"})));
        assert!(packaged.rows.iter().any(|(_, [_, _, part, _])| part == "afternoon"), "halves come along, too");
    }
}
