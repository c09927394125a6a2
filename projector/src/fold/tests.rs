//! The folds without a database: what rows come out, what is refused, and that it does not matter how a log is cut.

use std::collections::HashMap;

use events::{
    CommandHash, CommandId, CorrelationId, DepartmentId, EmployeeId, EmploymentId, Event, EventId, JobId, LocationId, Metadata, Money,
    PayPeriod, Personal, Position, RecordedEvent, StreamName, TenantId, TenantScope, Version, employee::*, organization::*,
};
use jiff::{Timestamp, civil::date};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    Capabilities,
    batch::{Difference, tables},
    employee::tables::PersonRows,
    organization::tables::{DepartmentRows, JobRows, LocationRows},
    projection::{self, Fold, Kinds, Part, Projection, RowKey, Rows},
    table::TableInfo,
};

type Model = <Capabilities as Projection>::Model;
type Before = <Capabilities as Projection>::Before;

fn scope() -> TenantScope {
    TenantScope::checked(TenantId::from_uuid(Uuid::from_u128(1)))
}
fn person(n: u128) -> EmployeeId {
    EmployeeId::from_uuid(Uuid::from_u128(n))
}
fn employment(n: u128) -> EmploymentId {
    EmploymentId::from_uuid(Uuid::from_u128(n))
}
fn department(n: u128) -> DepartmentId {
    DepartmentId::from_uuid(Uuid::from_u128(n))
}
/// A day of 2020, counted from 1, and its sequence.
fn on(day: i16, seq: u16) -> Effective {
    Effective { on: day_of(day), seq }
}
fn day_of(day: i16) -> Date {
    date(2019, 12, 31).saturating_add(jiff::Span::new().days(day))
}

/// The keys that an event touches.
fn touched(event: &Event) -> Before {
    let mut before = Before::default();
    Capabilities::touch(event, &mut before);
    before
}

fn recorded(event: &Event, version: u64) -> RecordedEvent {
    let (_, ((people, ..), ..)) = touched(event);
    let stream = match people.keys().next() {
        Some(id) => StreamName::employee(scope(), EmployeeId::from_uuid(*id)),
        None => StreamName::organization(scope()),
    };
    RecordedEvent {
        id: EventId::from_uuid(Uuid::nil()),
        tenant: scope().tenant(),
        stream,
        version: Version(version),
        position: Position(1),
        event_type: event.event_type().into(),
        schema_version: event.schema_version(),
        recorded_at: Timestamp::UNIX_EPOCH,
        metadata: Metadata {
            actor: "tester".into(),
            command_id: CommandId::from_uuid(Uuid::nil()),
            command_hash: CommandHash(Uuid::nil()),
            correlation_id: CorrelationId::from_uuid(Uuid::nil()),
            causation_id: None,
            traceparent: None,
        },
        data: serde_json::value::RawValue::from_string("{}".into()).unwrap(),
    }
}

fn fold(model: &mut Model, stream: StreamName, version: Version, event: &Event) -> Result<(), CannotFold> {
    projection::fold::<Capabilities>(model, stream, version, event, Kinds::All)
}

/// Folds with the versions that the events have in their streams.
#[derive(Clone, Default)]
struct Log {
    model: Model,
    versions: HashMap<Uuid, u64>,
}

/// The rows of all keys.
#[derive(Default)]
struct Found {
    departments: DepartmentRows,
    locations: LocationRows,
    jobs: JobRows,
    people: PersonRows,
}

impl Log {
    fn fold(&mut self, event: &Event) -> Result<(), CannotFold> {
        let stream = recorded(event, 1).stream;
        let version = self.versions.get(&stream.id()).copied().unwrap_or(0) + 1;
        fold(&mut self.model, stream, Version(version), event)?;
        self.versions.insert(stream.id(), version);
        Ok(())
    }
    fn rows(&self) -> Found {
        fn all<K: Fold, S>(model: &HashMap<<K::Rows as Rows>::Key, K, S>, to: &mut K::Rows)
        where
            <K::Rows as Rows>::Key: RowKey,
        {
            for (key, state) in model {
                state.rows(*key, to);
            }
            to.sort();
        }
        let mut found = Found::default();
        let ((departments, (locations, (jobs, _))), ((people, ..), ..)) = &self.model;
        all(departments, &mut found.departments);
        all(locations, &mut found.locations);
        all(jobs, &mut found.jobs);
        all(people, &mut found.people);
        found
    }
}

fn hired(n: u128, at: Effective) -> EmployeeHired {
    EmployeeHired {
        employee_id: person(n),
        employment_id: employment(100 + n),
        effective: at,
        original_hire_date: None,
        employee_number: Personal::Clear(format!("{n}")),
        person: Personal::Clear(PersonalDetails {
            given_name: "Ada".into(),
            family_name: "King".into(),
            birth_date: Some(date(1990, 1, 1)),
            gender: None,
        }),
        contact: Personal::Clear(ContactDetails { work_email: Some("ada@example.com".into()), ..ContactDetails::default() }),
        assignment: Assignment { department_id: department(1), job_id: JobId::from_uuid(Uuid::nil()), location_id: None, manager_id: None },
        pay: None,
    }
}
fn assigned(n: u128, at: Effective, changes: AssignmentChange) -> EmployeeEvent {
    AssignmentChanged { employee_id: person(n), employment_id: employment(100 + n), effective: at, changes, reason: "transfer".into() }
        .into()
}
fn to(n: u128) -> AssignmentChange {
    AssignmentChange { department_id: Some(department(n)), ..AssignmentChange::default() }
}
fn managed_by(manager: Patch<EmployeeId>) -> AssignmentChange {
    AssignmentChange { manager_id: manager, ..AssignmentChange::default() }
}
fn paid(n: u128, at: Effective, amount: &str, per: PayPeriod) -> EmployeeEvent {
    let pay = Pay { rate: Money::new(amount.parse().unwrap(), "EUR".parse().unwrap()).unwrap(), per };
    CompensationChanged { employee_id: person(n), employment_id: employment(100 + n), effective: at, pay, reason: "review".into() }.into()
}
fn left(n: u128, last: i16) -> EmployeeEvent {
    EmployeeTerminated {
        employee_id: person(n),
        employment_id: employment(100 + n),
        last_day_worked: day_of(last),
        reason: "resignation".into(),
    }
    .into()
}
fn created(n: u128, at: Effective) -> DepartmentCreated {
    DepartmentCreated { department_id: department(n), effective: at, code: "d".into(), name: "One".into(), parent_id: None }
}
fn renamed(n: u128, at: Effective, name: &str) -> OrganizationEvent {
    DepartmentRenamed { department_id: department(n), effective: at, name: name.into() }.into()
}
fn closed(n: u128, day: i16) -> OrganizationEvent {
    DepartmentClosed { department_id: department(n), effective: on(day, 0) }.into()
}

fn span(from: Date, to: Until) -> String {
    let day = |date: Date| (date - day_of(0)).get_days();
    format!("{}..{}", day(from), to.0.map_or(String::new(), |to| day(to).to_string()))
}

#[track_caller]
fn folded(events: Vec<Event>) -> Found {
    let mut log = Log::default();
    for event in &events {
        log.fold(event).unwrap();
    }
    log.rows()
}

#[track_caller]
fn check_departments(events: Vec<OrganizationEvent>, expected: &str) {
    let rows = folded(events.into_iter().map(Event::from).collect());
    let parent = |id: Option<Uuid>| id.map_or(String::new(), |id| format!("<{}", id.as_u128()));
    let text: Vec<_> = rows
        .departments
        .department_span
        .iter()
        .map(|r| format!("{} {}{} {:03b}", span(r.valid_from, r.valid_to), r.name, parent(r.parent_id), r.sets))
        .collect();
    assert_eq!(text.join(", "), expected);
}

#[test]
fn a_department_has_a_row_from_each_day_that_something_changed() {
    let moved = |day, to: Option<u128>| {
        OrganizationEvent::from(DepartmentMoved { department_id: department(1), effective: on(day, 0), parent_id: to.map(department) })
    };
    let start = || created(1, on(10, 0)).into();
    check_departments(vec![start()], "10.. One 111");
    check_departments(vec![start(), renamed(1, on(20, 0), "Two")], "10..20 One 111, 20.. Two 010");
    check_departments(vec![start(), renamed(1, on(10, 1), "Two")], "10..10 One 111, 10.. Two 010");
    check_departments(vec![start(), moved(30, Some(9)), renamed(1, on(20, 0), "Two")], "10..20 One 111, 20..30 Two 010, 30.. Two<9 100");
    check_departments(vec![start(), moved(20, Some(9)), moved(30, None)], "10..20 One 111, 20..30 One<9 100, 30.. One 100");
    let took_effect =
        |what, day| OrganizationEvent::from(UnitChangeTookEffect { unit: UnitId::Department(department(1)), what, effective: on(day, 0) });
    check_departments(vec![start(), took_effect(UnitChange::Opened, 10)], "10.. One 111");
    check_departments(vec![start(), moved(30, Some(9)), took_effect(UnitChange::Moved, 30)], "10..30 One 111, 30.. One<9 100");
    check_departments(vec![start(), closed(1, 20)], "10..20 One 111");
    check_departments(vec![start(), closed(1, 20), renamed(1, on(30, 0), "Two")], "10..20 One 111, 30..30 Two 010");
    check_departments(vec![start(), renamed(1, on(20, 0), "Two"), closed(1, 20)], "10..20 One 111, 20..20 Two 010");
}

#[test]
fn locations_and_jobs_fold_alike() {
    let location_id = LocationId::from_uuid(Uuid::nil());
    let job_id = JobId::from_uuid(Uuid::nil());
    let rows = folded(
        [
            OrganizationEvent::from(LocationOpened {
                location_id,
                effective: on(1, 0),
                code: "l".into(),
                name: "Wien".into(),
                time_zone: "Europe/Vienna".into(),
            }),
            LocationChanged { location_id, effective: on(5, 0), name: Some("Vienna".into()), time_zone: None }.into(),
            LocationClosed { location_id, effective: on(9, 0) }.into(),
            JobCreated { job_id, effective: on(1, 0), code: "j".into(), title: "Engineer".into() }.into(),
            JobRetitled { job_id, effective: on(3, 0), title: "Maker".into() }.into(),
            JobRetired { job_id, effective: on(8, 0) }.into(),
            // An announced fact went into the rows when it was recorded. The announcement changes none of them.
            UnitChangeTookEffect { unit: UnitId::Location(location_id), what: UnitChange::Changed, effective: on(5, 0) }.into(),
            UnitChangeTookEffect { unit: UnitId::Job(job_id), what: UnitChange::Closed, effective: on(8, 0) }.into(),
        ]
        .map(Event::from)
        .to_vec(),
    );
    let locations: Vec<_> = rows
        .locations
        .location_span
        .iter()
        .map(|r| format!("{} {} {} {}", span(r.valid_from, r.valid_to), r.name, r.time_zone, r.sets))
        .collect();
    assert_eq!(locations, ["1..5 Wien Europe/Vienna 7", "5..9 Vienna Europe/Vienna 2"]);
    let jobs: Vec<_> = rows.jobs.job_span.iter().map(|r| format!("{} {} {}", span(r.valid_from, r.valid_to), r.title, r.sets)).collect();
    assert_eq!(jobs, ["1..3 Engineer 3", "3..8 Maker 2"]);
}

#[track_caller]
fn check_assignments(events: Vec<EmployeeEvent>, expected: &str) {
    let rows = folded(events.into_iter().map(Event::from).collect());
    let manager = |id: Option<Uuid>| id.map_or(String::new(), |id| format!("<{}", id.as_u128()));
    let text: Vec<_> = rows
        .people
        .assignment_span
        .iter()
        .map(|r| {
            format!(
                "{} d{}{} {:04b} {}",
                span(r.valid_from, r.valid_to),
                r.department_id.as_u128(),
                manager(r.manager_id),
                r.sets,
                r.reason
            )
        })
        .collect();
    assert_eq!(text.join(", "), expected);
}

#[test]
fn an_assignment_holds_until_the_next_or_the_end() {
    let start = || EmployeeEvent::from(hired(1, on(10, 0)));
    check_assignments(vec![start()], "10.. d1 1111 hire");
    check_assignments(vec![start(), assigned(1, on(20, 0), to(2))], "10..20 d1 1111 hire, 20.. d2 0001 transfer");
    check_assignments(
        vec![start(), assigned(1, on(30, 0), to(3)), assigned(1, on(20, 0), managed_by(Patch::Set(person(9))))],
        "10..20 d1 1111 hire, 20..30 d1<9 1000 transfer, 30.. d3<9 0001 transfer",
    );
    check_assignments(
        vec![start(), assigned(1, on(20, 0), managed_by(Patch::Set(person(9)))), assigned(1, on(30, 0), managed_by(Patch::Clear))],
        "10..20 d1 1111 hire, 20..30 d1<9 1000 transfer, 30.. d1 1000 transfer",
    );
    check_assignments(vec![start(), assigned(1, on(10, 1), to(2))], "10..10 d1 1111 hire, 10.. d2 0001 transfer");
    // The last day worked is employed; what was planned after it has no length.
    check_assignments(vec![start(), assigned(1, on(30, 0), to(2)), left(1, 19)], "10..20 d1 1111 hire, 30..30 d2 0001 transfer");
    check_assignments(vec![start(), left(1, 9)], "10..10 d1 1111 hire");
}

#[test]
fn a_rehire_starts_another_employment_of_the_same_person() {
    let rehired = EmployeeRehired {
        employee_id: person(1),
        employment_id: employment(200),
        effective: on(40, 0),
        assignment: Assignment { department_id: department(5), job_id: JobId::from_uuid(Uuid::nil()), location_id: None, manager_id: None },
        pay: Some(Pay { rate: Money::new("20".parse().unwrap(), "EUR".parse().unwrap()).unwrap(), per: PayPeriod::Hour }),
    };
    let rows = folded(vec![
        EmployeeEvent::from(hired(1, on(10, 0))).into(),
        paid(1, on(10, 0), "3000.50", PayPeriod::Month).into(),
        left(1, 19).into(),
        EmployeeEvent::from(rehired).into(),
    ]);
    let employments: Vec<_> =
        rows.people.employment.iter().map(|r| format!("{} {:?}", span(r.starts_on, r.ends_on), r.termination_reason.as_deref())).collect();
    assert_eq!(employments, [r#"10..20 Some("resignation")"#, "40.. None"]);
    let pay: Vec<_> = rows
        .people
        .compensation_span
        .iter()
        .map(|r| format!("{} {} {} {} {}", span(r.valid_from, r.valid_to), r.rate, r.per, r.annual, r.reason))
        .collect();
    assert_eq!(pay, ["10..20 3000.5 month 36006 review", "40.. 20 hour 41600 rehire"]);
    assert_eq!(rows.people.employee.len(), 1);
    assert_eq!((rows.people.employee[0].stream_version, rows.people.employee[0].original_hire_date), (4, day_of(10)));
    // What a person is called does not end with an employment.
    assert_eq!(rows.people.person_span.iter().map(|r| span(r.valid_from, r.valid_to)).collect::<Vec<_>>(), ["10.."]);
}

#[test]
fn what_identifies_an_erased_person_is_null() {
    let mut erased = hired(1, on(10, 0));
    (erased.employee_number, erased.person, erased.contact) = (Personal::Erased, Personal::Erased, Personal::Erased);
    let change = PersonalDetailsChanged { employee_id: person(1), effective: on(20, 0), changes: Personal::Erased };
    let rows = folded(vec![EmployeeEvent::from(erased).into(), EmployeeEvent::from(change).into()]);
    assert_eq!(rows.people.employee[0].employee_number, None);
    assert_eq!(rows.people.person_span.len(), 2);
    for row in &rows.people.person_span {
        assert_eq!((&row.given_name, &row.family_name, row.birth_date, &row.search), (&None, &None, None, &None));
    }
    assert_eq!(rows.people.contact_span[0].work_email, None);
    assert_eq!(rows.people.assignment_span.len(), 1, "the career stays");
}

#[track_caller]
fn check_refused(before: Vec<Event>, event: impl Into<Event>, why: &str) {
    let mut log = Log::default();
    for event in &before {
        log.fold(event).unwrap();
    }
    let refused = log.fold(&event.into()).unwrap_err();
    assert!(refused.0.contains(why), "{refused} does not say {why:?}");
}

#[test]
fn what_can_mean_nothing_is_refused() {
    let hire = || EmployeeEvent::from(hired(1, on(10, 0))).into();
    let department = || OrganizationEvent::from(created(1, on(10, 0))).into();
    check_refused(vec![], renamed(1, on(1, 0), "x"), "never created");
    check_refused(vec![], closed(1, 1), "never created");
    check_refused(vec![department()], renamed(1, on(9, 0), "x"), "not after");
    check_refused(vec![department()], renamed(1, on(10, 0), "x"), "not after");
    check_refused(vec![department()], closed(1, 9), "not after");
    check_refused(vec![department()], renamed(1, on(20, 0), "x\0"), "NUL");
    check_refused(vec![department()], renamed(1, on(20, 40_000), "x"), "32,768");
    check_refused(vec![], OrganizationEvent::from(created(1, Effective { on: date(-5, 1, 1), seq: 0 })), "before the year 1");
    check_refused(vec![], left(1, 1), "did not start");
    check_refused(vec![hire()], EmployeeEvent::from(hired(1, on(30, 0))), "started before");
    check_refused(vec![hire()], assigned(1, on(9, 0), to(2)), "not after");
    let mut elsewhere = assigned(1, on(20, 0), to(2));
    if let EmployeeEvent::AssignmentChanged(e) = &mut elsewhere {
        e.employment_id = employment(7);
    }
    check_refused(vec![hire()], elsewhere, "did not start");
    let sealed = PersonalDetailsChanged { employee_id: person(1), effective: on(20, 0), changes: Personal::Sealed("xc1:".into()) };
    check_refused(vec![hire()], EmployeeEvent::from(sealed), "still sealed");
    let nul = PersonalDetailsChange { given_name: Some("a\0".into()), ..PersonalDetailsChange::default() };
    let nul = PersonalDetailsChanged { employee_id: person(1), effective: on(20, 0), changes: Personal::Clear(nul) };
    check_refused(vec![hire()], EmployeeEvent::from(nul), "NUL");
    let provisioned = events::tenancy::TenantProvisioned { tenant_id: scope().tenant() };
    check_refused(vec![], events::tenancy::TenancyEvent::from(provisioned), "no read model");
}

#[test]
fn a_hole_in_a_stream_and_a_foreign_stream_are_refused() {
    let event = Event::from(EmployeeEvent::from(hired(1, on(10, 0))));
    assert!(fold(&mut Model::default(), recorded(&event, 1).stream, Version(2), &event).unwrap_err().0.contains("version 2"));
    let foreign = StreamName::employee(scope(), person(2));
    assert!(fold(&mut Model::default(), foreign, Version(1), &event).unwrap_err().0.contains("not its own"));
}

/// One of the things that can happen to two people and two departments, on the days of two months.
fn any_event() -> impl Strategy<Value = Event> {
    let at = (1_i16..60, 0_u16..3).prop_map(|(day, seq)| on(day, seq));
    (0_u8..12, 1_u128..3, at, 0_u8..8).prop_map(|(kind, n, at, value)| {
        let text = |bit: u8| (value & bit != 0).then(|| format!("text {value}"));
        let patch = |bit: u8| if value & bit == 0 { Patch::Keep } else { text(bit >> 1).map_or(Patch::Clear, Patch::Set) };
        let day = i16::try_from((at.on - day_of(0)).get_days()).unwrap();
        let of_person: EmployeeEvent = match kind {
            0 => hired(n, at).into(),
            1 => assigned(n, at, to(u128::from(value))),
            2 => assigned(n, at, managed_by(if value < 4 { Patch::Clear } else { Patch::Set(person(u128::from(value))) })),
            3 => paid(n, at, "100.10", if value < 4 { PayPeriod::Year } else { PayPeriod::Hour }),
            4 => {
                let changes = PersonalDetailsChange { given_name: text(1), gender: patch(4), ..PersonalDetailsChange::default() };
                PersonalDetailsChanged { employee_id: person(n), effective: at, changes: Personal::Clear(changes) }.into()
            }
            5 => {
                let changes = ContactDetailsChange { phone: patch(2), private_email: patch(4), ..ContactDetailsChange::default() };
                ContactDetailsChanged { employee_id: person(n), effective: at, changes: Personal::Clear(changes) }.into()
            }
            6 => left(n, day),
            7 => {
                let EmployeeHired { assignment, .. } = hired(n, at);
                EmployeeRehired {
                    employee_id: person(n),
                    employment_id: employment(100 * (n + 1) + u128::from(value)), // Of nobody else: ids are unique in a tenant.
                    effective: at,
                    assignment,
                    pay: None,
                }
                .into()
            }
            8 => return OrganizationEvent::from(created(n, on(1 + i16::from(value), 0))).into(),
            9 => return renamed(n, at, &format!("name {value}")).into(),
            10 => {
                let parent_id = (value > 3).then(|| department(u128::from(value)));
                return OrganizationEvent::from(DepartmentMoved { department_id: department(n), effective: at, parent_id }).into();
            }
            _ => return closed(n, day).into(),
        };
        of_person.into()
    })
}

/// A read model's rows in COPY format, by the number of their table and their primary key.
type Records = HashMap<(usize, Vec<u8>), Vec<u8>>;

/// The fields of a row in COPY format, each with its length in front.
fn fields(row: &[u8]) -> Vec<&[u8]> {
    let (mut fields, mut rest) = (Vec::new(), &row[2..]);
    while !rest.is_empty() {
        let length = usize::try_from(i32::from_be_bytes(rest[..4].try_into().unwrap())).unwrap_or(0);
        let (field, after) = rest.split_at(4 + length);
        fields.push(field);
        rest = after;
    }
    fields
}

/// Writes a difference as PostgreSQL does, who has each row once.
fn write(records: &mut Records, difference: Difference<Capabilities>) {
    for (number, (table, change)) in difference.changes().enumerate() {
        let key = |row: &[u8]| {
            let fields = fields(row);
            let of = |column: &&str| fields[table.columns.iter().position(|c| c == column).unwrap()];
            (number, table.key.iter().flat_map(of).copied().collect::<Vec<u8>>())
        };
        let [added, changed, deleted] = change.copied;
        for row in deleted {
            assert!(records.remove(&key(&row)).is_some(), "only what is there is deleted");
        }
        for row in changed {
            assert!(records.insert(key(&row), row).is_some(), "only what is there is changed");
        }
        for row in added {
            assert!(records.insert(key(&row), row).is_none(), "only what is not there is added");
        }
    }
}

/// What `record_send` gives of a row.
fn record(table: &TableInfo, row: &[u8]) -> Vec<u8> {
    let mut record = i32::try_from(table.columns.len()).unwrap().to_be_bytes().to_vec();
    for (kind, field) in table.types.iter().zip(fields(row)) {
        record.extend_from_slice(&kind.to_be_bytes());
        record.extend_from_slice(field);
    }
    record
}

/// Reads the rows of the touched keys back, as the edge does.
fn read(records: &Records, before: &mut Before) {
    let (mut all, tables) = (Before::default(), tables::<Capabilities>());
    for ((number, _), row) in records {
        Capabilities::read(&mut all, *number, &record(&tables[*number], row)).unwrap();
    }
    fn only<K: Ord, R>(touched: &mut std::collections::BTreeMap<K, R>, mut all: std::collections::BTreeMap<K, R>) {
        for (key, rows) in touched {
            if let Some(there) = all.remove(key) {
                *rows = there;
            }
        }
    }
    only(&mut before.0.0, all.0.0);
    only(&mut before.0.1.0, all.0.1.0);
    only(&mut before.0.1.1.0, all.0.1.1.0);
    only(&mut before.1.0.0, all.1.0.0);
}

proptest! {
    #[test]
    fn it_does_not_matter_how_a_log_is_cut(events in prop::collection::vec(any_event(), 0..60), cuts in prop::collection::vec(1_usize..6, 1..60)) {
        // What can mean nothing is not in the log.
        let mut whole = Log::default();
        let mut log = Vec::new();
        for event in events {
            let mut next = whole.clone();
            if next.fold(&event).is_ok() {
                let version = next.versions[&recorded(&event, 1).stream.id()];
                log.push((recorded(&event, version), event));
                whole = next;
            }
        }
        let mut table = HashMap::new();
        let (mut rest, mut cuts) = (log.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (batch, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            rest = later;
            let mut before = Before::default();
            for (_, event) in batch {
                Capabilities::touch(event, &mut before);
            }
            read(&table, &mut before);
            let mut model = Capabilities::model(&mut before).unwrap();
            for (recorded, event) in batch {
                fold(&mut model, recorded.stream, recorded.version, event).unwrap();
            }
            write(&mut table, Difference::between(before, &model).unwrap());
        }
        let mut touched = Before::default();
        for (_, event) in &log {
            Capabilities::touch(event, &mut touched);
        }
        let mut at_once = HashMap::new();
        write(&mut at_once, Difference::between(touched, &whole.model).unwrap());
        prop_assert_eq!(&table, &at_once);

        let (mut part, mut noted) = (Part::of::<Capabilities>(0), Default::default());
        part.add::<Capabilities>(whole.model, &mut noted).unwrap();
        prop_assert_eq!(part.rows, table.len() as u64);
    }
}
