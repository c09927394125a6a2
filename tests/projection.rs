//! Live projection against a real PostgreSQL: batches of any cut, holes, fences, poison, cancellation; and that a rebuild
//! gives the same rows (I3).

use std::{collections::BTreeMap, time::Duration};

use events::{
    Category, CommandHash, CommandId, CorrelationId, DepartmentId, Effective, EmployeeId, EmploymentId, Event, JobId, LocationId, Metadata,
    Money, NewEvent, PayPeriod, Personal, Position, RecordedEvent, StreamName, TenantScope, Version, employee::*, organization::*,
};
use jiff::civil::{Date, date};
use platform::{
    Access, READ_MODEL_VERSION, TenantTx,
    job::{Kind, Ticket},
    read_schema,
};
use projector::{
    apply::{Applied, Applier, ApplyError, Sequenced, sequence},
    digest::digest,
    rebuild::{Way, rebuild, rebuild_by},
};
use serde_json::value::RawValue;
use sqlx::{ConnectOptions as _, Executor as _, PgPool};
use store::{Append, Expected, IdScope, PgStore, Store};
use uuid::Uuid;

use crate::{history::go_back, platform::Database};

/// A database with one tenant, its event store and its projector.
pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) scope: TenantScope,
    pub(crate) store: Store,
    pub(crate) applier: Applier,
    pub(crate) keys: platform::Keys,
}

/// The right to rebuild a tenant's read model.
pub(crate) fn ticket(applier: &Applier, scope: TenantScope) -> Ticket {
    Ticket::issue(&applier.keys, scope, Kind::RebuildReadModel, "test").unwrap()
}

impl World {
    pub(crate) async fn new() -> Self {
        let database = Database::bootstrapped().await;
        let scope = database.tenant().await;
        let url = database.pool("tenure_command", 1).connect_options().to_url_lossy();
        let store = Store::Postgres(PgStore::open(url.as_str(), 6).unwrap());
        let keys = database.keys("tenure_command").await;
        let own = database.pool("tenure_projector", 1).connect_options().to_url_lossy();
        let own = Store::Postgres(PgStore::open(own.as_str(), 6).unwrap());
        let applier = Applier::new(database.pool("tenure_projector", 8), 4, own, database.keys("tenure_projector").await);
        Self { database, scope, store, applier, keys }
    }
    pub(crate) fn schema(&self) -> String {
        read_schema(self.scope.tenant(), READ_MODEL_VERSION)
    }
    pub(crate) async fn digest(&self) -> BTreeMap<String, String> {
        digest(&self.applier.pool, self.scope, &self.schema()).await.unwrap()
    }
    /// One number that a statement gives in the live read model.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        number(&self.applier.pool, self.scope, &self.schema(), sql).await
    }
    /// Appends events in order, consecutive ones of a stream together.
    pub(crate) async fn append(&self, events: &[(StreamName, Event)]) {
        let mut rest = events;
        while let Some((stream, _)) = rest.first() {
            let run = rest.iter().take_while(|(other, _)| other == stream).count().min(100);
            let (now, later) = rest.split_at(run);
            self.append_run(*stream, now).await;
            rest = later;
        }
    }
    async fn append_run(&self, stream: StreamName, events: &[(StreamName, Event)]) {
        let mut new = Vec::new();
        for (_, event) in events {
            let mut event = event.clone();
            if event.has_personal() {
                let key = self.keys.person_or_create(self.scope, EmployeeId::from_uuid(stream.id())).await.unwrap();
                event.seal(stream, |_| Some(&key)).unwrap();
            }
            new.push((event.event_type(), event.schema_version(), event.to_data().unwrap()));
        }
        self.append_raw(stream, new).await;
    }
    pub(crate) async fn append_raw(&self, stream: StreamName, events: Vec<(&'static str, u16, Box<RawValue>)>) {
        let metadata = metadata();
        let event = |(n, (event_type, schema_version, data))| NewEvent {
            id: NewEvent::id_for(metadata.command_id, n),
            event_type,
            schema_version,
            data,
        };
        let events = events.into_iter().enumerate().map(event).collect();
        let scope = self.scope;
        self.store
            .append(Append { scope, stream, expected: Expected::Any, events, claims: vec![], metadata, id_scope: IdScope::Stream })
            .await
            .unwrap();
    }
    /// The whole log.
    pub(crate) async fn log(&self) -> Vec<Sequenced> {
        sequence(Position::ZERO, self.store.read_log(self.scope, Position::ZERO, 100_000).await.unwrap())
    }
    /// Rebuilds, and says what the live rows' digest was before.
    async fn assert_rebuild_gives_the_same(&self) {
        assert_eq!(self.number(STEPS_AND_SPANS_DIFFER).await, 0, "steps add up to what the spans say");
        let live = self.digest().await;
        rebuild(&self.applier, &ticket(&self.applier, self.scope), |_| {}).await.unwrap();
        assert_eq!(self.digest().await, live, "a rebuild gives the same rows (I3)");
    }
}

/// Headcount and pay of many days, added up from steps and counted in spans: rows that only one of them has.
const STEPS_AND_SPANS_DIFFER: &str = "
    with day as (select d::date as day from generate_series('1900-01-01'::timestamp, '2100-01-01', '13 days 7 hours') d
                 union select starts_on from employment union select ends_on from employment where ends_on < 'infinity'),
    added as (
        select d.day, s.dimension, s.unit_id, s.currency, sum(heads)::bigint as heads, trim_scale(sum(annual)) as annual
        from day d join headcount_step s on case s.period
            when 2 then s.starts_on < date_trunc('year', d.day::timestamp)
            when 1 then s.starts_on >= date_trunc('year', d.day::timestamp) and s.starts_on < date_trunc('month', d.day::timestamp)
            else s.starts_on >= date_trunc('month', d.day::timestamp) and s.starts_on <= d.day end
        group by 1, 2, 3, 4 having sum(heads) <> 0 or sum(annual) <> 0
    ), person as (
        select d.day, a.department_id, a.job_id, a.location_id, coalesce(y.currency, '') as currency, coalesce(y.annual, 0) as annual
        from day d join employment m on m.starts_on <= d.day and d.day < m.ends_on
        left join assignment_span a on a.employment_id = m.employment_id and a.valid_from <= d.day and d.day < a.valid_to
        left join compensation_span y on y.employment_id = m.employment_id and y.valid_from <= d.day and d.day < y.valid_to
    ), counted as (
        select day, dimension::smallint, coalesce(unit_id, '00000000-0000-0000-0000-000000000000') as unit_id, currency, count(*) as heads,
            trim_scale(sum(annual)) as annual
        from person cross join lateral (values (0, null), (1, department_id), (2, job_id), (3, location_id)) unit (dimension, unit_id)
        group by 1, 2, 3, 4
    )
    select count(*) from ((table added except table counted) union all (table counted except table added)) different";

pub(crate) async fn number(pool: &PgPool, scope: TenantScope, schema: &str, sql: &str) -> i64 {
    let mut tx = TenantTx::begin(pool, scope, schema, Access::Write).await.unwrap();
    let number = sqlx::query_scalar(sql).fetch_one(tx.conn()).await.unwrap();
    tx.rollback().await.unwrap();
    number
}

fn metadata() -> Metadata {
    let command_id = CommandId::from_uuid(Uuid::now_v7());
    let correlation_id = CorrelationId::from_uuid(Uuid::now_v7());
    let actor = "tester".into();
    Metadata { actor, command_id, command_hash: CommandHash(Uuid::nil()), correlation_id, causation_id: None, traceparent: None }
}

/// People with careers and an organization that changes around them: past and future changes, same-day changes, leavers,
/// returners. The same seed gives the same facts.
pub(crate) fn history(scope: TenantScope, seed: u64, people: u32) -> Vec<(StreamName, Event)> {
    let mut random = fastrand::Rng::with_seed(seed);
    let id = |kind: u128, n: u32| Uuid::from_u128(kind << 64 | u128::from(n));
    let organization = StreamName::organization(scope);
    let at = |on: Date| Effective { on, seq: 0 };
    let mut events: Vec<(StreamName, Event)> = Vec::new();
    for n in 0..5 {
        let (department_id, job_id, location_id) =
            (DepartmentId::from_uuid(id(1, n)), JobId::from_uuid(id(2, n)), LocationId::from_uuid(id(3, n)));
        let parent_id = (n > 0).then(|| DepartmentId::from_uuid(id(1, 0)));
        let effective = at(date(1980, 1, 1));
        let all: [OrganizationEvent; 6] = [
            DepartmentCreated { department_id, effective, code: format!("d{n}"), name: format!("Department {n}"), parent_id }.into(),
            JobCreated { job_id, effective, code: format!("j{n}"), title: format!("Job {n}") }.into(),
            LocationOpened { location_id, effective, code: format!("l{n}"), name: format!("Place {n}"), time_zone: "Europe/Vienna".into() }
                .into(),
            DepartmentRenamed { department_id, effective: at(date(2001, 1, 1)), name: format!("Department {n}, renamed") }.into(),
            DepartmentMoved { department_id, effective: at(date(1999, 1, 1)), parent_id: None }.into(),
            JobRetitled { job_id, effective: at(date(2030, 1, 1)), title: format!("Job {n} to come") }.into(),
        ];
        events.extend(all.into_iter().map(|event| (organization, event.into())));
    }
    let closed = LocationClosed { location_id: LocationId::from_uuid(id(3, 4)), effective: at(date(2010, 1, 1)) };
    events.push((organization, OrganizationEvent::from(closed).into()));

    let mut careers: Vec<Vec<(StreamName, Event)>> = (0..people).map(|n| career(&mut random, scope, id(4, n), n, id(4, n / 7))).collect();
    for career in &mut careers {
        career.reverse();
    }
    // The careers interleave; each stays in its own order.
    while !careers.is_empty() {
        let n = random.usize(..careers.len());
        match careers[n].pop() {
            Some(event) => events.push(event),
            None => drop(careers.swap_remove(n)),
        }
    }
    events
}

fn career(random: &mut fastrand::Rng, scope: TenantScope, person: Uuid, n: u32, manager: Uuid) -> Vec<(StreamName, Event)> {
    let employee_id = EmployeeId::from_uuid(person);
    let any = |random: &mut fastrand::Rng, kind: u128| Uuid::from_u128(kind << 64 | random.u128(0..5));
    let pay = |random: &mut fastrand::Rng| {
        let per = *random.choice(&[PayPeriod::Year, PayPeriod::Month, PayPeriod::Hour]).unwrap();
        Pay {
            rate: Money::new(format!("{}.{:02}", random.u32(10..90_000), random.u32(0..100)).parse().unwrap(), "EUR".parse().unwrap())
                .unwrap(),
            per,
        }
    };
    let assignment = |random: &mut fastrand::Rng| Assignment {
        department_id: DepartmentId::from_uuid(any(random, 1)),
        job_id: JobId::from_uuid(any(random, 2)),
        location_id: random.bool().then(|| LocationId::from_uuid(any(random, 3))),
        manager_id: (n > 0).then(|| EmployeeId::from_uuid(manager)),
    };
    let mut seq = 0;
    let mut effective = |on: Date| {
        seq += 1; // unique in the career, so no two changes of a day clash
        Effective { on, seq }
    };
    let mut events: Vec<EmployeeEvent> = Vec::new();
    let mut start = date(1985, 1, 1).saturating_add(jiff::Span::new().days(random.i64(0..9_000)));
    for employment in 0..random.u32(1..=2) {
        let employment_id = EmploymentId::derive(person, &employment.to_string());
        let (assigned, paid) = (assignment(random), random.bool().then(|| pay(random)));
        if employment == 0 {
            let person = PersonalDetails {
                given_name: format!("Given{n} \u{e9}"),
                family_name: format!("Family \"{n}\""),
                birth_date: random.bool().then(|| date(1960, 2, 29)),
                gender: None,
            };
            let contact = ContactDetails {
                work_email: Some(format!("p{n}@example.com")),
                private_email: None,
                phone: random.bool().then(|| "+431".into()),
            };
            let hired = EmployeeHired {
                employee_id,
                employment_id,
                effective: effective(start),
                original_hire_date: random.bool().then(|| date(1979, 5, 5)),
                employee_number: Personal::Clear(format!("{}", 10_000 + n)),
                person: Personal::Clear(person),
                contact: Personal::Clear(contact),
                assignment: assigned,
                pay: paid,
            };
            events.push(hired.into());
        } else {
            events
                .push(EmployeeRehired { employee_id, employment_id, effective: effective(start), assignment: assigned, pay: paid }.into());
        }
        for _ in 0..random.u32(0..8) {
            // In the order of recording, not of effect: some are dated back, some lie ahead.
            let at = effective(start.saturating_add(jiff::Span::new().days(random.i64(0..40) * 90)));
            let reason = "review".to_owned();
            events.push(match random.u32(0..5) {
                0 => {
                    let changes = AssignmentChange {
                        department_id: random.bool().then(|| DepartmentId::from_uuid(any(random, 1))),
                        job_id: random.bool().then(|| JobId::from_uuid(any(random, 2))),
                        location_id: [Patch::Keep, Patch::Clear, Patch::Set(LocationId::from_uuid(any(random, 3)))][random.usize(..3)],
                        manager_id: Patch::Keep,
                    };
                    AssignmentChanged { employee_id, employment_id, effective: at, changes, reason }.into()
                }
                1 => {
                    let changes = PersonalDetailsChange { family_name: Some(format!("Married{n}")), ..PersonalDetailsChange::default() };
                    PersonalDetailsChanged { employee_id, effective: at, changes: Personal::Clear(changes) }.into()
                }
                2 => {
                    let changes = ContactDetailsChange { phone: Patch::Clear, ..ContactDetailsChange::default() };
                    ContactDetailsChanged { employee_id, effective: at, changes: Personal::Clear(changes) }.into()
                }
                _ => CompensationChanged { employee_id, employment_id, effective: at, pay: pay(random), reason }.into(),
            });
        }
        let last_day_worked = start.saturating_add(jiff::Span::new().days(random.i64(0..3_000)));
        if employment == 0 || random.bool() {
            events.push(EmployeeTerminated { employee_id, employment_id, last_day_worked, reason: "resignation".into() }.into());
        }
        start = last_day_worked.saturating_add(jiff::Span::new().days(random.i64(1..500)));
    }
    let stream = StreamName::employee(scope, employee_id);
    events.into_iter().map(|event| (stream, event.into())).collect()
}

#[tokio::test]
async fn any_cut_into_batches_gives_the_rows_of_a_rebuild() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let world = World::new().await;
    world.append(&history(world.scope, seed, 60)).await;
    let log = world.log().await;
    let (mut done, mut at) = (0, Position::ZERO);
    while done < log.len() {
        // Batches overlap what is done: messages come twice.
        let from = done.saturating_sub(random.usize(..20));
        let to = (done + random.usize(1..40)).min(log.len());
        let applied = world.applier.apply(world.scope, 1, &log[from..to]).await.unwrap();
        (done, at) = (to, log[to - 1].event.position);
        assert_eq!(applied, Applied::At(at));
    }
    assert_eq!(world.applier.checkpoint(world.scope).await.unwrap(), at);
    assert_eq!(world.number("select count(*) from employee").await, 60);
    assert_eq!(world.applier.catch_up(world.scope, 1).await.unwrap(), at);
    world.assert_rebuild_gives_the_same().await;
}

#[tokio::test]
async fn a_hole_is_found_and_healed_from_the_store() {
    let world = World::new().await;
    world.append(&history(world.scope, 1, 20)).await;
    let log = world.log().await;
    let (applier, scope) = (&world.applier, world.scope);
    assert_eq!(applier.apply(scope, 1, &log[5..9]).await.unwrap(), Applied::Gap(Position::ZERO), "nothing before it is there");
    let holed: Vec<Sequenced> = [&log[..4], &log[6..9]].concat();
    assert_eq!(applier.apply(scope, 1, &holed).await.unwrap(), Applied::Gap(Position(4)), "what came before the hole is applied");
    assert_eq!(applier.catch_up(scope, 1).await.unwrap(), log.last().unwrap().event.position);
    assert_eq!(
        applier.apply(scope, 1, &log[5..9]).await.unwrap(),
        Applied::At(log.last().unwrap().event.position),
        "older ones are skipped"
    );
    world.assert_rebuild_gives_the_same().await;
}

#[tokio::test]
async fn an_older_fence_is_refused() {
    let world = World::new().await;
    world.append(&history(world.scope, 2, 5)).await;
    let log = world.log().await;
    world.applier.apply(world.scope, 7, &log[..3]).await.unwrap();
    let late = world.applier.apply(world.scope, 6, &log[3..]).await;
    assert!(matches!(late, Err(ApplyError::Fenced { theirs: 7 })), "{late:?}");
    assert_eq!(world.applier.checkpoint(world.scope).await.unwrap(), Position(3));
    world.applier.apply(world.scope, 8, &log[3..5]).await.unwrap();
    // A rebuild keeps the fence: who was locked out stays out.
    rebuild(&world.applier, &ticket(&world.applier, world.scope), |_| {}).await.unwrap();
    assert!(matches!(world.applier.apply(world.scope, 7, &log).await, Err(ApplyError::Fenced { theirs: 8 })));
}

#[tokio::test]
async fn appliers_at_once_apply_each_event_once() {
    let world = World::new().await;
    world.append(&history(world.scope, 3, 60)).await;
    let log = world.log().await;
    let one = async |cut: usize| {
        let mut from = 0;
        while from < log.len() {
            let to = (from + cut).min(log.len());
            match world.applier.apply(world.scope, 1, &log[from..to]).await.unwrap() {
                Applied::At(at) => from = log.partition_point(|one| one.event.position <= at),
                Applied::Gap(at) => from = log.partition_point(|one| one.event.position <= at),
            }
        }
    };
    tokio::join!(one(3), one(7), one(50), one(11));
    world.assert_rebuild_gives_the_same().await;
}

/// What an event that can't be projected does: those before it are applied, it is named, nothing after it is applied.
#[track_caller]
fn assert_parks(result: Result<Applied, ApplyError>, at: u64, why: &str) {
    match result {
        Err(ApplyError::Unprojectable { position, reason } | ApplyError::Damaged { position, reason }) => {
            assert_eq!(position, Position(at));
            assert!(reason.contains(why), "{reason:?} does not say {why:?}");
        }
        other => panic!("not parked: {other:?}"),
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_projected_is_named_after_those_before_it() {
    let world = World::new().await;
    let facts = history(world.scope, 4, 8);
    world.append(&facts).await;
    let log = world.log().await;
    let other = world.database.tenant().await;
    let person = log.iter().position(|one| one.event.event_type == "EmployeeHired").unwrap();
    let changed = |n: usize, change: &dyn Fn(&mut RecordedEvent)| {
        let mut log = log.clone();
        change(&mut log[n].event);
        log
    };
    let json = |text: &str| RawValue::from_string(text.into()).unwrap();
    let nul = r#"{"department_id":"00000000-0000-0001-0000-000000000000","effective":{"on":"2020-01-01","seq":0},"name":"a\u0000b"}"#;
    let huge = nul.replace("\\u0000", "").replace("-0001-0000-000000000000", "-0001-0000-0000000000ff").replace(r"ab", &"x".repeat(10));
    let cases: Vec<(usize, Vec<Sequenced>, &str)> = vec![
        (3, changed(3, &|e| e.event_type = "DepartmentPainted".into()), "unknown event type"),
        (3, changed(3, &|e| e.schema_version = 9), "schema version 9"),
        (4, changed(4, &|e| e.data = json("{}")), "does not decode"),
        (5, changed(5, &|e| e.tenant = other.tenant()), "another tenant"),
        (5, changed(5, &|e| e.stream = StreamName::organization(other)), "another tenant"),
        (5, changed(5, &|e| (e.event_type, e.schema_version, e.data) = ("DepartmentRenamed".into(), 1, json(nul))), "NUL"),
        (6, changed(6, &|e| (e.event_type, e.schema_version, e.data) = ("DepartmentRenamed".into(), 1, json(&huge))), "never created"),
        (person, changed(person, &|e| e.stream = StreamName::from_parts(e.tenant, Category::Employee, Uuid::nil())), ""),
        (person, changed(person, &|e| e.version = Version(7)), "version 7"),
    ];
    let mut done = 0;
    for (n, log, why) in cases {
        assert_parks(world.applier.apply(world.scope, 1, &log).await, n as u64 + 1, why);
        done = done.max(n as u64);
        assert_eq!(world.applier.checkpoint(world.scope).await.unwrap(), Position(done));
        // Alone, with nothing before it.
        assert_parks(world.applier.apply(world.scope, 1, &log[n..]).await, n as u64 + 1, why);
    }
    // The true log goes on.
    let end = log.last().unwrap().event.position;
    assert_eq!(world.applier.apply(world.scope, 1, &log).await.unwrap(), Applied::At(end));
    world.assert_rebuild_gives_the_same().await;
    assert_eq!(
        number(&world.applier.pool, other, &read_schema(other.tenant(), READ_MODEL_VERSION), "select count(*) from department_span").await,
        0
    );
}

#[tokio::test]
async fn rows_that_postgresql_refuses_park_too() {
    let world = World::new().await;
    let stream = StreamName::organization(world.scope);
    let job = |n: u32, title: String| {
        let (job_id, effective) = (JobId::from_uuid(Uuid::from_u128(u128::from(n))), Effective { on: date(2000, 1, 1), seq: 0 });
        (stream, Event::from(OrganizationEvent::from(JobCreated { job_id, effective, code: format!("{n}"), title })))
    };
    world.append(&(0..20).map(|n| job(n, format!("Job {n}"))).collect::<Vec<_>>()).await;
    // A constraint stands for whatever the database may not take.
    let schema = world.schema();
    world.database.owner.execute(format!("alter table {schema}.job_span add check (title <> 'Job 13')").as_str()).await.unwrap();
    let log = world.log().await;
    assert_parks(world.applier.apply(world.scope, 1, &log).await, 14, "SQLSTATE 23514");
    assert_eq!(world.number("select count(*) from job_span").await, 13);
    assert_eq!(world.applier.checkpoint(world.scope).await.unwrap(), Position(13));
}

#[tokio::test]
async fn an_application_given_up_anywhere_leaves_all_or_nothing() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let world = World::new().await;
    world.append(&history(world.scope, 5, 60)).await;
    let log = world.log().await;
    let (mut from, mut given_up) = (0, 0);
    // More patience each time, so that it is enough in the end on any machine.
    let mut most = 4_000;
    while from < log.len() {
        let to = (from + 10).min(log.len());
        let patience = Duration::from_micros(random.u64(1..most));
        if tokio::time::timeout(patience, world.applier.apply(world.scope, 1, &log[from..to])).await.is_err() {
            given_up += 1;
            most += 500;
        }
        let at = world.applier.checkpoint(world.scope).await.unwrap();
        from = log.partition_point(|one| one.event.position <= at);
        assert!(from == to || from + 10 >= to, "batches are whole");
    }
    assert!(given_up > 0, "the test must give up now and then");
    world.assert_rebuild_gives_the_same().await;
}

#[tokio::test]
async fn a_dropped_schema_comes_back_from_the_log() {
    let world = World::new().await;
    world.append(&history(world.scope, 6, 20)).await;
    let head = world.applier.catch_up(world.scope, 1).await.unwrap();
    let before = world.digest().await;
    world.database.owner.execute(format!("drop schema {} cascade", world.schema()).as_str()).await.unwrap();
    let log = world.log().await;
    assert_eq!(world.applier.apply(world.scope, 1, &log[3..]).await.unwrap(), Applied::Gap(Position::ZERO));
    for way in [Way::InBatches, Way::AtOnce] {
        // The live schema does not exist before the rebuild cuts over to it.
        let refused = world.applier.catch_up(world.scope, 1).await;
        assert!(matches!(refused, Err(ApplyError::NoReadModel)), "{refused:?}");
        let there = format!("select count(*) from pg_namespace where nspname = '{}'", world.schema());
        assert_eq!(world.number(&there).await, 0);
        let report = rebuild_by(way, &world.applier, &ticket(&world.applier, world.scope), |_| {}).await.unwrap();
        assert_eq!((Position(report.position), report.events), (head, log.len() as u64), "{way:?}");
        assert_eq!(world.applier.catch_up(world.scope, 1).await.unwrap(), head);
        assert_eq!(world.digest().await, before, "{way:?}");
        world.database.owner.execute(format!("drop schema {} cascade", world.schema()).as_str()).await.unwrap();
    }
}

/// A read model is folded on only in the log that it was folded from, whatever stands at its position by now, and says so where it
/// is not. What it has is left as it was until somebody rebuilds it.
#[tokio::test]
async fn a_read_model_of_another_history_is_refused() {
    let world = World::new().await;
    world.append(&history(world.scope, 7, 3)).await;
    world.applier.catch_up(world.scope, 1).await.unwrap();
    let back = async |by: u64| {
        let head = world.store.head(world.scope).await.unwrap();
        go_back(&world.database.owner, world.scope, head.0 - by).await;
    };
    let another = async || {
        let id = DepartmentId::from_uuid(Uuid::now_v7());
        let (effective, code) = (Effective { on: date(2000, 1, 1), seq: 0 }, id.uuid().simple().to_string());
        let created = DepartmentCreated { department_id: id, effective, code, name: "Another".into(), parent_id: None };
        world.append(&[(StreamName::organization(world.scope), OrganizationEvent::from(created).into())]).await;
    };
    let again = async || {
        rebuild(&world.applier, &ticket(&world.applier, world.scope), |_| {}).await.unwrap();
        assert_eq!(world.applier.catch_up(world.scope, 1).await.unwrap(), world.store.head(world.scope).await.unwrap());
    };
    for case in ["ahead", "shorter", "as long", "longer", "recorded again"] {
        let before = world.log().await;
        match case {
            "ahead" => {
                let moved = format!("update {}.checkpoint set position = position + 5", world.schema());
                world.database.owner.execute(moved.as_str()).await.unwrap();
            }
            "shorter" => back(2).await,
            "as long" => {
                back(1).await;
                another().await;
            }
            "longer" => {
                back(2).await;
                for _ in 0..4 {
                    another().await;
                }
            }
            // As a command does that was lost and is sent again: the same ids at the same positions.
            _ => {
                let later = "update event_store.event set recorded_at = recorded_at + interval '1 second' where position = $1";
                let mut tx = world.database.owner.begin().await.unwrap();
                tx.execute("set local session_replication_role = replica").await.unwrap();
                sqlx::query(later).bind(i64::try_from(before.len()).unwrap()).execute(&mut *tx).await.unwrap();
                tx.commit().await.unwrap();
            }
        }
        let at = world.applier.checkpoint(world.scope).await.unwrap();
        let digest = world.digest().await;
        for refused in
            [world.applier.catch_up(world.scope, 1).await.map(Applied::At), world.applier.apply(world.scope, 1, &world.log().await).await]
        {
            match refused {
                Err(ApplyError::Diverged { position, reason }) => {
                    assert_eq!(position, at, "{case}");
                    assert!(reason.contains("tenure restored"), "{case}: {reason:?}");
                }
                // The feed does not reach the checkpoint.
                Ok(Applied::At(position)) if ["ahead", "shorter"].contains(&case) => assert_eq!(position, at),
                other => panic!("{case}: {other:?}"),
            }
        }
        assert_eq!((world.applier.checkpoint(world.scope).await.unwrap(), world.digest().await), (at, digest), "{case}");
        again().await;
    }
}

#[tokio::test]
async fn an_erased_person_has_rows_without_what_identifies_them() {
    let world = World::new().await;
    world.append(&history(world.scope, 8, 2)).await;
    let person = EmployeeId::from_uuid(Uuid::from_u128(4 << 64));
    world.database.keys("tenure_command").await.destroy_person(world.scope, person).await.unwrap();
    world.applier.catch_up(world.scope, 1).await.unwrap();
    let known = "select count(*) from person_span where coalesce(given_name, family_name, search, birth_date::text) is not null";
    let all = world.number(&format!("{known} and employee_id = '{}'", person.uuid())).await;
    assert_eq!(all, 0);
    assert!(world.number(known).await > 0, "the other one is still known");
    assert_eq!(world.number("select count(*) from employee where employee_number is null").await, 1);
    assert_eq!(
        world.number("select count(*) from contact_span where work_email is not null").await,
        world.number("select count(*) from contact_span").await
            - world.number(&format!("select count(*) from contact_span where employee_id = '{}'", person.uuid())).await
    );
    world.assert_rebuild_gives_the_same().await;
}

#[tokio::test]
async fn a_missing_key_parks_and_is_no_erasure() {
    let world = World::new().await;
    world.append(&history(world.scope, 8, 2)).await;
    let lost = "with gone as (delete from platform.person_key where person_id = $1 returning *) select wrapped from gone";
    let person = Uuid::from_u128(4 << 64);
    let wrapped: Vec<u8> = sqlx::query_scalar(lost).bind(person).fetch_one(&world.database.owner).await.unwrap();
    let log = world.log().await;
    let hired = log.iter().find(|one| one.event.stream.id() == person).unwrap().event.position;
    // Another process, which remembers no key.
    let keys = world.database.keys("tenure_projector").await;
    let applier = Applier::new(world.database.pool("tenure_projector", 4), 2, world.applier.store.clone(), keys);
    assert_parks(applier.catch_up(world.scope, 1).await.map(Applied::At), hired.0, "missing");
    assert_eq!(applier.checkpoint(world.scope).await.unwrap().0, hired.0 - 1);
    let rebuilt = rebuild(&applier, &ticket(&applier, world.scope), |_| {}).await;
    assert!(rebuilt.as_ref().is_err_and(|error| error.to_string().contains("missing")), "{rebuilt:?}");
    // Restored, it goes on.
    sqlx::query("insert into platform.person_key (tenant_id, person_id, wrapped) values ($1, $2, $3)")
        .bind(world.scope.tenant().uuid())
        .bind(person)
        .bind(wrapped)
        .execute(&world.database.owner)
        .await
        .unwrap();
    assert_eq!(applier.catch_up(world.scope, 1).await.unwrap(), log.last().unwrap().event.position);
    world.assert_rebuild_gives_the_same().await;
}
