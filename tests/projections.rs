//! Projections of a capability that is not in the list, beside those that are: what a batch loads and writes goes by kind of key,
//! and events of several streams may make one row.

use std::collections::BTreeMap;

use events::{DepartmentId, Effective, EmployeeId, Event, StreamName, Version, employee::EmployeeEvent, organization::OrganizationEvent};
use jiff::civil::{Date, date};
use platform::{Access, TenantTx, provision::read_model_sql};
use projector::{
    Capabilities,
    apply::Applier,
    batch::load,
    digest::digest_of,
    fold::CannotFold,
    projection::{Fold, Kind, Projection},
    rebuild::rebuild,
    several,
};
use sqlx::Executor as _;
use uuid::Uuid;

use crate::projection::{World, history, ticket};

projector::tables! {
    /// What somebody worked on a day.
    pub struct Shift in shift, key [employee_id, worked_on] {
        employee_id: Uuid,
        worked_on: Date,
        changes: i64,
    }
    /// The same, found by person and day.
    pub struct Punch in punch, key [employee_id, worked_on] {
        employee_id: Uuid,
        worked_on: Date,
        changes: i64,
    }
    /// A department, and who was hired into it.
    pub struct Roster in roster, key [department_id] {
        department_id: Uuid,
        hired: i64,
        history: String,
    }
}

projector::rows! {
    pub struct ShiftRows by [employee_id: Uuid] {
        shift: Shift,
    }
    pub struct PunchRows by [employee_id: Uuid, worked_on: Date] {
        punch: Punch,
    }
    pub struct RosterRows by [department_id: Uuid] {
        roster: Roster,
    }
}

const TABLES: &str = "
    create table shift (employee_id uuid not null, worked_on date not null, changes bigint not null);
    create table punch (employee_id uuid not null, worked_on date not null, changes bigint not null);
    create table roster (department_id uuid not null, hired bigint not null, history text not null);
";
const INDEXES: &str = "alter table shift add primary key (employee_id, worked_on);
alter table punch add primary key (employee_id, worked_on);
alter table roster add primary key (department_id);
";

/// All days of a person. Each change of contact details is one of its day.
#[derive(Debug, Default, Clone, PartialEq)]
struct Shifts(BTreeMap<Date, i64>);

fn contact_changed(event: &Event) -> Option<(Uuid, Effective)> {
    if let Event::Employee(EmployeeEvent::ContactDetailsChanged(e)) = event { Some((e.employee_id.uuid(), e.effective)) } else { None }
}

impl Fold for Shifts {
    type Rows = ShiftRows;
    type Derived = ();
    fn keys(event: &Event, touch: &mut impl FnMut(Uuid)) -> bool {
        contact_changed(event).map(|(person, _)| touch(person)).is_some()
    }
    fn fold(&mut self, _: Uuid, _: StreamName, _: Version, event: &Event) -> Result<(), CannotFold> {
        let (_, effective) = contact_changed(event).ok_or_else(|| CannotFold("another event".into()))?;
        *self.0.entry(effective.on).or_default() += 1;
        Ok(())
    }
    fn from_rows(rows: ShiftRows) -> Result<Self, CannotFold> {
        Ok(Self(rows.shift.into_iter().map(|row| (row.worked_on, row.changes)).collect()))
    }
    fn rows(&self, employee_id: Uuid, to: &mut ShiftRows) {
        to.shift.extend(self.0.iter().map(|(worked_on, changes)| Shift { employee_id, worked_on: *worked_on, changes: *changes }));
    }
}

/// One day of a person.
#[derive(Debug, Default, Clone, PartialEq)]
struct Punches(i64);

impl Fold for Punches {
    type Rows = PunchRows;
    type Derived = ();
    fn keys(event: &Event, touch: &mut impl FnMut((Uuid, Date))) -> bool {
        contact_changed(event).map(|(person, effective)| touch((person, effective.on))).is_some()
    }
    fn fold(&mut self, _: (Uuid, Date), _: StreamName, _: Version, _: &Event) -> Result<(), CannotFold> {
        self.0 += 1;
        Ok(())
    }
    fn from_rows(rows: PunchRows) -> Result<Self, CannotFold> {
        Ok(Self(rows.punch.first().map_or(0, |row| row.changes)))
    }
    fn rows(&self, (employee_id, worked_on): (Uuid, Date), to: &mut PunchRows) {
        to.punch.push(Punch { employee_id, worked_on, changes: self.0 });
    }
}

/// A department: its own events stand in the organization's stream, those of who is hired into it in theirs.
#[derive(Debug, Default, Clone, PartialEq)]
struct Rosters {
    hired: i64,
    /// Depends on the order of the events.
    history: String,
}

fn on_the_roster(event: &Event) -> Option<(DepartmentId, char)> {
    if let Event::Organization(OrganizationEvent::DepartmentCreated(e)) = event {
        Some((e.department_id, 'c'))
    } else if let Event::Organization(OrganizationEvent::DepartmentRenamed(e)) = event {
        Some((e.department_id, 'r'))
    } else if let Event::Employee(EmployeeEvent::EmployeeHired(e)) = event {
        Some((e.assignment.department_id, 'h'))
    } else {
        None
    }
}

impl Fold for Rosters {
    type Rows = RosterRows;
    type Derived = ();
    const SEVERAL_STREAMS: bool = true;
    fn keys(event: &Event, touch: &mut impl FnMut(Uuid)) -> bool {
        on_the_roster(event).map(|(department, _)| touch(department.uuid())).is_some()
    }
    fn fold(&mut self, _: Uuid, _: StreamName, _: Version, event: &Event) -> Result<(), CannotFold> {
        let (_, what) = on_the_roster(event).ok_or_else(|| CannotFold("another event".into()))?;
        self.hired += i64::from(what == 'h');
        self.history.push(what);
        Ok(())
    }
    fn from_rows(rows: RosterRows) -> Result<Self, CannotFold> {
        let row = rows.roster.into_iter().next();
        Ok(row.map(|row| Self { hired: row.hired, history: row.history }).unwrap_or_default())
    }
    fn rows(&self, department_id: Uuid, to: &mut RosterRows) {
        to.roster.push(Roster { department_id, hired: self.hired, history: self.history.clone() });
    }
}

/// Behind the capabilities of the list, as one that is added to it.
type WithToys = (Capabilities, several![Kind<Shifts>, Kind<Punches>, Kind<Rosters>]);

/// A tenant whose live read model has the tables, too.
async fn world() -> (World, Applier<WithToys>) {
    let world = World::new().await;
    let mut sql = read_model_sql();
    sql.tables.push(TABLES);
    sql.indexes.push(INDEXES);
    let mut tx = TenantTx::begin(&world.applier.pool, world.scope, &world.schema(), Access::Write).await.unwrap();
    tx.conn().execute([TABLES, INDEXES].concat().as_str()).await.unwrap();
    tx.commit().await.unwrap();
    let keys = world.database.keys("tenure_projector").await;
    let applier = Applier::of(sql, world.applier.pool.clone(), 2, world.applier.store.clone(), keys);
    (world, applier)
}

/// A history with changes of pay and of contact details, and the person with most of the latter.
async fn somebody(world: &World) -> Uuid {
    let facts = history(world.scope, 5, 12);
    world.append(&facts).await;
    let mut changes: BTreeMap<Uuid, u32> = BTreeMap::new();
    for (person, _) in facts.iter().filter_map(|(_, event)| contact_changed(event)) {
        *changes.entry(person).or_default() += 1;
    }
    changes.into_iter().max_by_key(|(_, changes)| *changes).expect("somebody's contact details changed").0
}

#[tokio::test]
async fn a_batch_loads_what_is_of_the_kinds_that_it_touches() {
    let (world, applier) = world().await;
    let person = somebody(&world).await;
    applier.catch_up(world.scope, 1).await.unwrap();
    let mut tx = TenantTx::begin(&applier.pool, world.scope, &world.schema(), Access::Write).await.unwrap();
    for table in ["shift", "punch"] {
        let many = format!(
            "insert into {table} select '{person}', date '1950-01-01' + n, 1 from generate_series(1, 5000) n on conflict do nothing"
        );
        tx.conn().execute(many.as_str()).await.unwrap();
    }
    let own: i64 = sqlx::query_scalar(
        "select (select count(*) from employee where employee_id = $1) + (select count(*) from employment where employee_id = $1)
             + (select count(*) from person_span where employee_id = $1) + (select count(*) from contact_span where employee_id = $1)
             + (select count(*) from assignment_span where employee_id = $1) + (select count(*) from compensation_span where employee_id = $1)",
    )
    .bind(person)
    .fetch_one(tx.conn())
    .await
    .unwrap();
    let log = world.log().await;
    let opened: Vec<Event> = log.iter().map(|one| Event::decode(&one.event).unwrap()).collect();
    let of_person = |event: &&Event| {
        let ((_, ((people, ..), ..)), _) = touched(event);
        people.contains_key(&person)
    };
    let paid = opened.iter().filter(of_person).find(|event| event.event_type() == "CompensationChanged").expect("pay changed");
    let reached = opened.iter().find(|event| contact_changed(event).is_some_and(|(who, _)| who == person)).expect("contact changed");

    let mut before = touched(paid);
    assert_eq!(load::<WithToys>(tx.conn(), &mut before).await.unwrap() as i64, own, "nothing of another kind");
    let mut before = touched(reached);
    let shifts: i64 =
        sqlx::query_scalar("select count(*) from shift where employee_id = $1").bind(person).fetch_one(tx.conn()).await.unwrap();
    assert!(shifts >= 5_000);
    let loaded = load::<WithToys>(tx.conn(), &mut before).await.unwrap() as i64;
    assert_eq!(loaded, own + shifts + 1, "all days of the person, and one day by itself");
    tx.rollback().await.unwrap();
}

fn touched(event: &Event) -> <WithToys as Projection>::Before {
    let mut before = <WithToys as Projection>::Before::default();
    WithToys::touch(event, &mut before);
    before
}

/// Rows of a table that the last transactions wrote, told by their place: an update moves a row.
async fn places(world: &World, table: &str) -> Vec<String> {
    let mut tx = TenantTx::begin(&world.applier.pool, world.scope, &world.schema(), Access::Write).await.unwrap();
    let places =
        sqlx::query_scalar(&format!("select ctid::text || xmin::text from {table} order by 1")).fetch_all(tx.conn()).await.unwrap();
    tx.rollback().await.unwrap();
    places
}

#[tokio::test]
async fn a_batch_writes_the_rows_that_differ() {
    let (world, applier) = world().await;
    let person = somebody(&world).await;
    applier.catch_up(world.scope, 1).await.unwrap();
    let mut tx = TenantTx::begin(&applier.pool, world.scope, &world.schema(), Access::Write).await.unwrap();
    let many =
        format!("insert into shift select '{person}', date '1950-01-01' + n, 1 from generate_series(1, 5000) n on conflict do nothing");
    tx.conn().execute(many.as_str()).await.unwrap();
    tx.commit().await.unwrap();
    let before = places(&world, "shift").await;
    let stream = StreamName::employee(world.scope, EmployeeId::from_uuid(person));
    let change = events::employee::ContactDetailsChanged {
        employee_id: EmployeeId::from_uuid(person),
        effective: Effective { on: date(1950, 1, 2), seq: 0 },
        changes: events::Personal::Erased,
    };
    let event = Event::from(EmployeeEvent::from(change));
    world.append_raw(stream, vec![("ContactDetailsChanged", event.schema_version(), event.to_data().unwrap())]).await;
    applier.catch_up(world.scope, 1).await.unwrap();
    let after = places(&world, "shift").await;
    let new = after.iter().filter(|place| !before.contains(place)).count();
    assert_eq!((before.len(), after.len(), new), (before.len(), before.len(), 1));
}

/// The same rows, hash for hash, whether the log is folded in its own order or stream after stream (I3).
#[tokio::test]
async fn events_of_several_streams_make_one_row() {
    let (world, applier) = world().await;
    somebody(&world).await;
    applier.catch_up(world.scope, 1).await.unwrap();
    let digest = async || digest_of::<WithToys>(&applier.pool, world.scope, &world.schema()).await.unwrap();
    let live = digest().await;
    let mixed = world.number("select count(*) from roster where history ~ 'c.*h'").await;
    assert!(mixed > 0, "an organization's events and people's in one row");
    rebuild(&applier, &ticket(&world.applier, world.scope), |_| {}).await.unwrap();
    assert_eq!(digest().await, live);
}
