//! What a person's accounts follow from, in one statement: employments, working time, enrolments, policies, requests, adjustments; and
//! where what days cost is asked for, the holidays at the places of work.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use calculation::leave::{
    Employed, Enrolment, FromDays, HolidayCalendar, WorkingTime,
    ledger::{Account, Adjustment, Taking},
};
use events::{
    Holiday, WorkFraction, WorkSchedule,
    leave::{AdjustmentId, Amount, DayCost, EnrolmentId, LeavePolicyTerms, LeaveRequestId, LeaveTypeId, PolicyVersion},
};
use jiff::civil::Date;
use platform::{
    Problem, Reader,
    access::{Action, FieldClass},
};
use rust_decimal::Decimal;
use sqlx::FromRow;
use uuid::Uuid;

use super::{LeaveKind, visible};
use crate::{
    params::{Day, Fresh},
    read::{Positioned, Reads, not_found, stored},
    sight::Sight,
};

/// What a row is.
mod kind {
    pub(super) const PERSON: i16 = 0;
    pub(super) const EMPLOYMENT: i16 = 1;
    pub(super) const WORKING_TIME: i16 = 2;
    pub(super) const SCHEDULE: i16 = 3;
    pub(super) const TYPE: i16 = 4;
    pub(super) const POLICY: i16 = 5;
    pub(super) const ENROLMENT: i16 = 6;
    pub(super) const REQUEST: i16 = 7;
    pub(super) const ADJUSTMENT: i16 = 8;
    pub(super) const PLACE: i16 = 9;
    pub(super) const PLACE_CALENDAR: i16 = 10;
    pub(super) const HOLIDAYS: i16 = 11;
}

/// A row of any kind. What a column holds depends on the kind.
#[derive(Debug, FromRow)]
struct Line {
    kind: i16,
    position: Option<i64>,
    id: Option<Uuid>,
    of: Option<Uuid>,
    day: Option<Day>,
    until: Option<Day>,
    number: Option<i64>,
    amount: Option<String>,
    word: Option<String>,
    text: Option<String>,
}

impl Positioned for Line {
    fn position(&self) -> i64 {
        self.position.unwrap_or(0)
    }
}

const COLUMNS: [(&str, &str); 9] = [
    ("position", "bigint"),
    ("id", "uuid"),
    ("of", "uuid"),
    ("day", "date"),
    ("until", "date"),
    ("number", "bigint"),
    ("amount", "text"),
    ("word", "text"),
    ("text", "text"),
];

/// SQL for rows of a kind: the columns that they have, and what follows `from`.
fn rows(kind: i16, columns: &[(&str, &str)], from: &str) -> String {
    let shown = COLUMNS.iter().map(|(name, sql_type)| {
        let value = columns.iter().find(|(column, _)| column == name).map_or("null", |(_, sql)| sql);
        format!("({value})::{sql_type} as \"{name}\"")
    });
    format!("select {kind}::smallint as kind, {} from {from}", shown.collect::<Vec<_>>().join(", "))
}

/// SQL for what the accounts of person $1 follow from.
static ACCOUNTS: LazyLock<String> = LazyLock::new(|| accounts().join(" union all "));

/// The same, and the holidays at their places of work.
static WITH_HOLIDAYS: LazyLock<String> = LazyLock::new(|| {
    let places = "select location_id from assignment_span where employee_id = $1";
    let calendars = format!("select calendar_id from place_calendar where place_id = '{}' or place_id in ({places})", Uuid::nil());
    let mut all = accounts();
    all.push(rows(
        kind::PLACE,
        &[("id", "location_id"), ("day", "valid_from")],
        "assignment_span where employee_id = $1 and valid_from < valid_to",
    ));
    let here = format!("place_calendar where place_id = '{}' or place_id in ({places})", Uuid::nil());
    all.push(rows(kind::PLACE_CALENDAR, &[("id", "place_id"), ("of", "calendar_id"), ("day", "valid_from")], &here));
    let known = format!("holiday_year y join holiday_calendar c using (calendar_id) where y.calendar_id in ({calendars})");
    let columns = [("id", "y.calendar_id"), ("number", "y.year"), ("word", "c.name"), ("text", "y.holidays")];
    all.push(rows(kind::HOLIDAYS, &columns, &known));
    all.join(" union all ")
});

fn accounts() -> Vec<String> {
    let (type_id, policy_id) = (visible("type_id"), visible("policy_id"));
    let policies = format!("select {policy_id} from leave_enrolment where employee_id = $1");
    vec![
        rows(
            kind::PERSON,
            &[("position", "c.position"), ("id", "e.employee_id"), ("day", "e.original_hire_date")],
            "checkpoint c left join employee e on e.employee_id = $1",
        ),
        rows(
            kind::EMPLOYMENT,
            &[("day", "starts_on"), ("until", "nullif(ends_on, 'infinity')")],
            "employment where employee_id = $1 and starts_on < ends_on",
        ),
        rows(
            kind::WORKING_TIME,
            &[("of", "schedule_id"), ("day", "valid_from"), ("amount", "fraction")],
            "working_time where employee_id = $1",
        ),
        rows(
            kind::SCHEDULE,
            &[("id", "schedule_id"), ("day", "valid_from"), ("text", "days")],
            "work_schedule where schedule_id in (select schedule_id from working_time where employee_id = $1)",
        ),
        rows(kind::TYPE, &[("id", "type_id"), ("word", "code"), ("text", "name")], "leave_type"),
        rows(
            kind::POLICY,
            &[("id", "policy_id"), ("of", "type_id"), ("day", "valid_from"), ("number", "version"), ("text", "terms")],
            &format!("leave_policy where policy_id in ({policies})"),
        ),
        rows(
            kind::ENROLMENT,
            &[("id", "enrolment_id"), ("of", &policy_id), ("day", "valid_from"), ("until", "nullif(valid_to, 'infinity')")],
            "leave_enrolment where employee_id = $1",
        ),
        rows(
            kind::REQUEST,
            &[("id", "request_id"), ("of", &type_id), ("until", "cancelled_on"), ("word", "status"), ("text", "days")],
            "leave_request where employee_id = $1 and status in ('pending', 'approved', 'cancellation_requested', 'cancelled')",
        ),
        rows(
            kind::ADJUSTMENT,
            &[
                ("id", "adjustment_id"),
                ("of", &type_id),
                ("day", "day"),
                ("until", "ends_on"),
                ("number", "is_encashment"),
                ("amount", "amount"),
            ],
            "leave_adjustment where employee_id = $1",
        ),
    ]
}

/// A request, as far as accounts count it.
#[derive(Debug)]
struct Asked {
    id: LeaveRequestId,
    type_id: LeaveTypeId,
    is_pending: bool,
    cancelled_on: Option<Date>,
    days: Vec<DayCost>,
}

/// What the accounts of one person follow from, as far as the asker sees it.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) work: WorkingTime,
    pub(super) kinds: BTreeMap<LeaveTypeId, LeaveKind>,
    enrolments: BTreeMap<LeaveTypeId, Vec<Enrolment>>,
    requests: Vec<Asked>,
    adjustments: Vec<(LeaveTypeId, Adjustment)>,
}

/// What one account follows from.
pub(super) struct AccountFacts<'f> {
    pub(super) enrolments: &'f [Enrolment],
    work: &'f WorkingTime,
    approved: Vec<Taking>,
    pub(super) pending: Vec<Taking>,
    adjustments: Vec<Adjustment>,
}

impl AccountFacts<'_> {
    /// The account with what is approved.
    pub(super) fn account(&self) -> Account<'_> {
        let Self { enrolments, work, approved, adjustments, .. } = self;
        Account { enrolments, work, hours: &[], takings: approved, adjustments }
    }
}

impl Facts {
    /// The kinds of leave that the person was ever enrolled for.
    pub(super) fn types(&self) -> impl Iterator<Item = LeaveTypeId> {
        self.enrolments.keys().copied()
    }
    /// The enrolments for a kind of leave.
    pub(super) fn enrolments(&self, type_id: LeaveTypeId) -> &[Enrolment] {
        self.enrolments.get(&type_id).map_or(&[], Vec::as_slice)
    }
    /// What the account of a kind of leave follows from.
    pub(super) fn of(&self, type_id: LeaveTypeId) -> AccountFacts<'_> {
        let takings = |is_pending: bool| {
            let of_type = self.requests.iter().filter(move |request| request.type_id == type_id && request.is_pending == is_pending);
            let days = of_type.flat_map(|request| {
                let (id, cancelled_on) = (request.id, request.cancelled_on);
                request.days.iter().map(move |day| Taking { request: id, on: day.asked.on, amount: day.cost, cancelled_on })
            });
            days.collect::<Vec<_>>()
        };
        let adjustments = self.adjustments.iter().filter(|(of, _)| *of == type_id).map(|(_, adjustment)| *adjustment).collect();
        let enrolments = self.enrolments(type_id);
        AccountFacts { enrolments, work: &self.work, approved: takings(false), pending: takings(true), adjustments }
    }
}

/// Reads what a person's accounts follow from, with holidays where they are asked for. 404 where the asker sees no such person.
pub(super) async fn read(reads: &Reads, reader: &Reader, fresh: Fresh, person: Uuid, holidays: bool) -> Result<(i64, Facts), Problem> {
    reader.0.require_any(Action::Read, FieldClass::Absence)?;
    let sight = Sight::of(&reader.0).facts_of(person);
    let sql: &str = if holidays { &WITH_HOLIDAYS } else { &ACCOUNTS };
    let (position, lines) = reads.all_as::<Line>(reader, &sight, fresh, sqlx::query_as(sql).bind(person)).await?;
    let is_there = lines.iter().any(|line| line.kind == kind::PERSON && line.id.is_some());
    if !is_there {
        return Err(not_found());
    }
    Ok((position, assemble(lines)?))
}

/// A row whose columns hold nothing that this build can read: a breakage, never the asker's fault.
fn unreadable(what: &dyn std::fmt::Display) -> Problem {
    Problem::internal(&format!("a row about leave can't be read: {what}"))
}

fn amount(text: Option<&String>) -> Result<Decimal, Problem> {
    text.map_or("", String::as_str).parse().map_err(|error| unreadable(&error))
}

fn assemble(mut lines: Vec<Line>) -> Result<Facts, Problem> {
    lines.sort_by_key(|line| (line.kind, line.day, line.number, line.id));
    let mut facts = Facts::default();
    let (mut schedules, mut policies) = (BTreeMap::<Uuid, FromDays<WorkSchedule>>::new(), BTreeMap::new());
    let (mut places, mut calendars) = (Vec::new(), BTreeMap::<Uuid, FromDays<Uuid>>::new());
    let mut holidays: BTreeMap<Uuid, HolidayCalendar> = BTreeMap::new();
    let (mut worked, mut enrolled) = (Vec::new(), Vec::new());
    for line in lines {
        let (id, day, until) = (line.id.unwrap_or_default(), line.day.map_or(Date::MIN, |day| day.0), line.until.map(|day| day.0));
        match line.kind {
            kind::PERSON => facts.work.service_start = line.day.map(|day| day.0),
            kind::EMPLOYMENT => {
                let last_day = until.map(|end| end.yesterday().unwrap_or(Date::MIN));
                facts.work.employments.push(Employed { from: day, last_day });
            }
            kind::WORKING_TIME => worked.push((day, amount(line.amount.as_ref())?, line.of.unwrap_or_default())),
            kind::SCHEDULE => schedules.entry(id).or_default().set(day, stored(line.text.as_deref())?),
            kind::TYPE => {
                let kind = LeaveKind { type_id: id, code: line.word.unwrap_or_default(), name: line.text.unwrap_or_default() };
                facts.kinds.insert(LeaveTypeId::from_uuid(id), kind);
            }
            kind::POLICY => {
                let terms: LeavePolicyTerms = stored(line.text.as_deref())?;
                let version = u32::try_from(line.number.unwrap_or(0)).unwrap_or(0);
                let (_, versions) = policies.entry(id).or_insert((LeaveTypeId::from_uuid(line.of.unwrap_or_default()), Vec::new()));
                versions.push(PolicyVersion { version, from: day, terms });
            }
            kind::ENROLMENT => enrolled.extend(line.of.map(|policy| (id, policy, day, until))),
            kind::REQUEST => {
                // A request of a kind that the asker may not know is of no account that they see.
                let Some(type_id) = line.of.map(LeaveTypeId::from_uuid) else { continue };
                let is_pending = line.word.as_deref() == Some("pending");
                let days = stored(line.text.as_deref())?;
                facts.requests.push(Asked { id: LeaveRequestId::from_uuid(id), type_id, is_pending, cancelled_on: until, days });
            }
            kind::ADJUSTMENT => {
                let Some(type_id) = line.of.map(LeaveTypeId::from_uuid) else { continue };
                let amount = Amount::computed(amount(line.amount.as_ref())?);
                let is_encashment = line.number == Some(1);
                let id = AdjustmentId::from_uuid(id);
                facts.adjustments.push((type_id, Adjustment { id, on: day, amount, ends_on: until, is_encashment }));
            }
            kind::PLACE => places.push((day, line.id)),
            kind::PLACE_CALENDAR => calendars.entry(id).or_default().set(day, line.of.unwrap_or_default()),
            kind::HOLIDAYS => {
                let known: Vec<Holiday> = stored(line.text.as_deref())?;
                let year = i16::try_from(line.number.unwrap_or(0)).unwrap_or(0);
                let name = line.word.unwrap_or_default();
                holidays.entry(id).or_insert_with(|| HolidayCalendar::new(&name, [], [])).load_year(year, known);
            }
            _ => {}
        }
    }
    for (day, fraction, _) in &worked {
        let fraction = WorkFraction::new(*fraction).ok_or_else(|| unreadable(&"a full-time fraction out of bounds"))?;
        facts.work.fraction.set(*day, fraction);
    }
    let schedule = worked.iter().filter_map(|(day, _, schedule)| Some((*day, schedules.get(schedule)?)));
    facts.work.schedule = FromDays::one_after_another(schedule);
    for (id, policy, from, until) in enrolled {
        let Some((type_id, versions)) = policies.get(&policy) else { continue };
        let enrolment = Enrolment { id: EnrolmentId::from_uuid(id), from, until, versions: versions.clone() };
        facts.enrolments.entry(*type_id).or_default().push(enrolment);
    }
    facts.work.holidays = at_places(&places, &calendars, &holidays);
    Ok(facts)
}

/// The holiday calendars that hold one after the other at places: each place's own, and before those, or without any, the tenant's.
fn at_places(
    places: &[(Date, Option<Uuid>)],
    calendars: &BTreeMap<Uuid, FromDays<Uuid>>,
    holidays: &BTreeMap<Uuid, HolidayCalendar>,
) -> FromDays<HolidayCalendar> {
    let of = |place: Uuid| calendars.get(&place).cloned().unwrap_or_default();
    let mut at: BTreeMap<Option<Uuid>, FromDays<HolidayCalendar>> = BTreeMap::new();
    for place in places.iter().map(|(_, place)| *place).collect::<BTreeSet<_>>() {
        let ids = place.map_or_else(|| of(Uuid::nil()), |place| of(place).preceded_by(&of(Uuid::nil())));
        let known = |(day, id): (Date, Uuid)| Some((day, holidays.get(&id)?.clone()));
        at.insert(place, ids.into_iter().filter_map(known).collect());
    }
    FromDays::one_after_another(places.iter().filter_map(|(day, place)| Some((*day, at.get(place)?))))
}
