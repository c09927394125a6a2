//! New types of events are written once every process that lives can read them, and not before.
//!
//! What the build before this one did is done by the rows that it wrote: a database of before, in which a type is not active, and a
//! process that says it reads less. What a later build does is done by a type that is active and that this build does not know.

use std::{
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use events::{
    Category, EmployeeId, EmploymentId, Event, TenantId,
    employee::{EmployeeEvent, EmploymentStarted},
    tenancy::{TenancyEvent, TenantProvisioned},
};
use jiff::civil::date;
use platform::{
    Process, Release, provision,
    release::{self, NotActivated},
};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    platform::Database,
    servers::{System, eventually, own_system, program, tenant_of},
};

/// The types of people's history that the worker brought.
const WORKERS: [&str; 3] = ["employee/ChangeTookEffect v1", "employee/EmploymentEnded v1", "employee/EmploymentStarted v1"];

/// All types that are not active where the database is older than activation: of the kinds that came later, all.
fn new_types() -> Vec<String> {
    const KINDS: [Category; 4] = [Category::WorkCalendar, Category::WorkingTime, Category::LeaveTerms, Category::LeaveRecord];
    let later = Event::types().filter(|(category, ..)| KINDS.contains(category));
    let mut all: Vec<String> = later.map(|(category, name, version)| format!("{category}/{name} v{version}")).collect();
    all.extend(WORKERS.map(str::to_owned));
    all.push("organization/UnitChangeTookEffect v1".into());
    all.sort_unstable();
    all
}

/// Takes types from those that may be written, as if the database were of a build before.
async fn not_active(pool: &PgPool, types: &[&str]) {
    let taken = sqlx::query("delete from platform.active_event where event_type = any ($1)").bind(types).execute(pool).await.unwrap();
    assert_eq!(taken.rows_affected(), types.len() as u64);
}

/// As a process of another build notes itself.
async fn note(pool: &PgPool, kind: &str, reads: &Value, seen_s: i32) -> Uuid {
    let id = Uuid::now_v7();
    sqlx::query(
        "insert into platform.process (process_id, kind, build, reads, seen_at)
         values ($1, $2, '0.0.9-0123456789ab', $3, clock_timestamp() - make_interval(secs => $4))",
    )
    .bind(id)
    .bind(kind)
    .bind(reads)
    .bind(f64::from(seen_s))
    .execute(pool)
    .await
    .unwrap();
    id
}

/// Has a later build activate a type that this one does not know.
async fn activate_later(pool: &PgPool) {
    let later = "insert into platform.active_event (category, event_type, schema_version, activated_by)
                 values ('leave', 'LeaveStarted', 1, '9.9.9-feedfeedfeed')";
    pool.execute(later).await.unwrap();
}

async fn activations(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select activation from platform.release").fetch_one(pool).await.unwrap()
}

async fn inactive(pool: &PgPool) -> Vec<String> {
    let mut inactive: Vec<_> = release::status(pool).await.unwrap().inactive.iter().map(ToString::to_string).collect();
    inactive.sort();
    inactive
}

fn started() -> Event {
    let (employee_id, employment_id) = (EmployeeId::from_uuid(Uuid::from_u128(1)), EmploymentId::from_uuid(Uuid::from_u128(2)));
    EmployeeEvent::from(EmploymentStarted { employee_id, employment_id, on: date(2027, 1, 1) }).into()
}

fn provisioned() -> Event {
    TenancyEvent::from(TenantProvisioned { tenant_id: TenantId::from_uuid(Uuid::from_u128(3)) }).into()
}

/// The status and the code of a command, which is `accepted` where it was.
async fn sent(system: &System, token: &str, path: &str, key: &str, body: &Value) -> (u16, String) {
    let (status, answer) = system.post(token, path, key, body).await;
    (status, answer["error"].as_str().unwrap_or("accepted").to_owned())
}

/// Sets a database up as the build before this one left it: without the tables of releases.
async fn as_before(owner: &PgPool) {
    provision::bootstrap(owner, &[]).await.unwrap();
    owner
        .execute(
            "drop function platform.note_process, platform.forget_process; drop table platform.release, platform.active_event, platform.process;
             alter table platform.migration drop column runs_with; delete from platform.migration where name = 'platform/0025_release.sql'",
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn a_new_database_has_all_active_and_one_that_is_migrated_keeps_what_it_had() {
    let new = Database::empty().await;
    // Killed between the tables and what fills them.
    provision::bootstrap(&new.owner, &[]).await.unwrap();
    assert_eq!(inactive(&new.owner).await, new_types());
    for result in futures::future::join_all((0..3).map(|_| release::bootstrap(&new.owner, &[]))).await {
        result.unwrap();
    }
    assert_eq!(inactive(&new.owner).await, [""; 0]);
    assert_eq!(activations(&new.owner).await, 0);
    // Once it is filled, what is missing is activated by nobody but an operator.
    not_active(&new.owner, &["EmploymentStarted"]).await;
    release::bootstrap(&new.owner, &[]).await.unwrap();
    assert_eq!(inactive(&new.owner).await, ["employee/EmploymentStarted v1"]);

    let migrated = Database::empty().await;
    as_before(&migrated.owner).await;
    release::bootstrap(&migrated.owner, &[]).await.unwrap();
    assert_eq!(inactive(&migrated.owner).await, new_types());
    assert_eq!(release::activate(&migrated.owner).await.unwrap().len(), new_types().len());
    assert_eq!((inactive(&migrated.owner).await, activations(&migrated.owner).await), (vec![], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_learns_what_is_active_and_stops_when_it_can_not_know() {
    let database = Database::bootstrapped().await;
    let (owner, worker) = (&database.owner, database.pool("tenure_worker", 1));
    not_active(owner, &["EmploymentStarted"]).await;
    let stop = CancellationToken::new();
    let joined = Release::join(&worker, Process::Worker, stop.clone()).await.unwrap();
    let error = joined.admit(&[provisioned(), started()]).unwrap_err();
    assert_eq!((error.status.as_u16(), error.code, error.retry_after), (503, "not_activated", Some(30)));
    assert!(error.detail.contains("employee/EmploymentStarted v1") && error.detail.contains("tenure release activate"), "{error:?}");
    joined.admit(&[provisioned()]).unwrap();
    release::activate(owner).await.unwrap();
    eventually("it may be written", async || joined.admit(&[started()]).is_ok()).await;
    // An older state of the database counts again once it is there.
    not_active(owner, &["EmploymentStarted"]).await;
    eventually("it may not be written", async || joined.admit(&[started()]).is_err()).await;
    release::activate(owner).await.unwrap();

    // Nobody hears it: before anybody may go on without it, it does nothing any more.
    owner.execute("revoke execute on function platform.note_process from tenure_worker").await.unwrap();
    eventually("it stops", async || joined.current().is_err()).await;
    assert_eq!(joined.current().unwrap_err().code, "database_unavailable");
    let lives = async || release::status(owner).await.unwrap().processes.iter().any(|process| process.lives);
    assert!(lives().await, "it stops before it is taken for dead");
    eventually("it is taken for dead", async || !lives().await).await;
    owner.execute("grant execute on function platform.note_process to tenure_worker").await.unwrap();
    eventually("it goes on", async || joined.current().is_ok() && lives().await).await;
    assert!(!stop.is_cancelled());

    // A type that it can't read ends it, and keeps others of its build from starting.
    activate_later(owner).await;
    eventually("it is told to stop", async || stop.is_cancelled()).await;
    assert_eq!(joined.current().unwrap_err().code, "superseded");
    let reason = "can't read leave/LeaveStarted v1, which was activated by 9.9.9-feedfeedfeed";
    assert!(joined.leave().await.unwrap_err().to_string().contains(reason));
    let refused = Release::join(&worker, Process::Worker, CancellationToken::new()).await.err().unwrap();
    assert!(refused.to_string().contains(reason), "{refused:#}");
    assert!(matches!(release::activate(owner).await, Err(NotActivated::OlderThanActive(types)) if types == ["leave/LeaveStarted v1"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_is_waited_for_by_nobody() {
    let database = Database::bootstrapped().await;
    let count = async || -> i64 { sqlx::query_scalar("select count(*) from platform.process").fetch_one(&database.owner).await.unwrap() };
    let relay = database.pool("tenure_relay", 1);
    let joined = Release::join(&relay, Process::Relay, CancellationToken::new()).await.unwrap();
    assert_eq!(count().await, 1);
    joined.leave().await.unwrap();
    // More than a beat later it is not there again.
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    assert_eq!(count().await, 0);
    // What died long ago is forgotten by whoever comes next.
    note(&database.owner, "tenure-relay", &json!({}), 2 * 86_400).await;
    let again = Release::join(&relay, Process::Relay, CancellationToken::new()).await.unwrap();
    assert_eq!(count().await, 1);
    again.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activation_is_refused_while_somebody_lives_who_can_not_read_it() {
    let database = Database::bootstrapped().await;
    let owner = &database.owner;
    not_active(owner, &["EmploymentStarted", "EmploymentEnded", "ChangeTookEffect"]).await;
    let all = Release::join(&database.pool("tenure_query", 1), Process::QueryApi, CancellationToken::new()).await.unwrap();
    let obstacles = async || match release::activate(owner).await {
        Err(NotActivated::StillRead(obstacles)) => obstacles.iter().map(ToString::to_string).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    // A process of an older build, which reads one of the three types.
    let old = note(owner, "tenure-projector", &json!({"employee.EmploymentEnded": 1, "employee.EmploymentStarted": 0}), 0).await;
    let found = obstacles().await;
    assert_eq!(found.len(), 1, "{found:?}");
    for part in ["tenure-projector of build 0.0.9-0123456789ab", "employee/EmploymentStarted v1", "employee/ChangeTookEffect v1"] {
        assert!(found[0].contains(part), "{part:?} is not in {found:?}");
    }
    assert!(!found[0].contains("EmploymentEnded"), "{found:?}");
    // The process is busy, and was last heard seven seconds ago.
    sqlx::query("update platform.process set seen_at = clock_timestamp() - interval '7 s' where process_id = $1")
        .bind(old)
        .execute(owner)
        .await
        .unwrap();
    assert_eq!(obstacles().await.len(), 1);
    sqlx::query("delete from platform.process where process_id = $1").bind(old).execute(owner).await.unwrap();

    // A process of a build that does not say what it reads is seen by its sessions.
    let url = database.pool("tenure_projector", 1).connect_options().as_ref().clone();
    let silent = PgConnection::connect_with(&url.application_name("tenure-projector")).await.unwrap();
    let found = obstacles().await;
    assert_eq!(found, ["tenure-projector has 1 sessions and does not say what it reads, so it is of an older build"]);
    silent.close().await.unwrap();
    assert_eq!((inactive(owner).await, activations(owner).await), (WORKERS.map(str::to_owned).to_vec(), 0), "nothing was activated");

    // The clock was set forward: who lives looks dead until it is heard again.
    let beats = CancellationToken::new();
    let living = note(owner, "tenure-relay", &json!({}), 11).await;
    let beating = tokio::spawn({
        let (owner, beats) = (owner.clone(), beats.clone());
        async move {
            while !beats.is_cancelled() {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let beat = "update platform.process set seen_at = clock_timestamp() where process_id = $1";
                sqlx::query(beat).bind(living).execute(&owner).await.unwrap();
            }
        }
    });
    assert!(obstacles().await[0].contains("tenure-relay of build"));
    beats.cancel();
    beating.await.unwrap();
    // And then it dies.
    sqlx::query("update platform.process set seen_at = clock_timestamp() - interval '11 s' where process_id = $1")
        .bind(living)
        .execute(owner)
        .await
        .unwrap();
    assert_eq!(release::activate(owner).await.unwrap().len(), 3);
    all.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_activations_at_once_one_activates() {
    let database = Database::bootstrapped().await;
    let owner = &database.owner;
    for round in 1..=5 {
        not_active(owner, &["EmploymentStarted", "EmploymentEnded", "ChangeTookEffect"]).await;
        let mut counts: Vec<usize> = futures::future::join_all((0..4).map(|_| release::activate(owner)))
            .await
            .into_iter()
            .map(|types| types.unwrap().len())
            .collect();
        counts.sort_unstable();
        assert_eq!((counts, activations(owner).await), (vec![0, 0, 0, 3], round));
    }
    // Before its commit an activation waits for a lock of ours; meanwhile a process of a build before starts, and somebody else activates.
    slow_down(owner).await;
    let reads: Value = sqlx::query_scalar(
        "select jsonb_object_agg(category || '.' || event_type, 2) from platform.active_event where event_type <> 'EmploymentStarted'",
    )
    .fetch_one(owner)
    .await
    .unwrap();
    let relay = database.pool("tenure_relay", 2);
    let waiting = async || -> i64 {
        let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        sqlx::query_scalar(waits).fetch_one(owner).await.unwrap()
    };
    // What waits for longer than 2 s gives up, as on a machine that is busy.
    for _ in 0..20 {
        let anew = "delete from platform.process; delete from platform.active_event where event_type = 'EmploymentStarted'";
        owner.execute(anew).await.unwrap();
        let before = activations(owner).await;
        let mut holder = owner.begin().await.unwrap();
        holder.execute(HOLD).await.unwrap();
        let activate = || {
            tokio::spawn({
                let owner = owner.clone();
                async move { release::activate(&owner).await }
            })
        };
        let first = activate();
        eventually("it waits for our lock, or gave up", async || waiting().await == 1 || first.is_finished()).await;
        let second = activate();
        let start = tokio::spawn({
            let (relay, reads) = (relay.clone(), reads.clone());
            async move {
                let note = sqlx::query_scalar("select unread from platform.note_process($1, 'tenure-relay', 'old', $2)");
                note.bind(Uuid::now_v7()).bind(reads).fetch_one(&relay).await.unwrap()
            }
        });
        eventually("all wait", async || waiting().await == 3 || first.is_finished() || start.is_finished()).await;
        holder.rollback().await.unwrap();
        let (first, second, unread): (_, _, Option<String>) = (first.await.unwrap(), second.await.unwrap(), start.await.unwrap());
        let Ok(types) = first else {
            // This activation gave up, so the process may start.
            continue;
        };
        assert_eq!((types.len(), unread.as_deref()), (1, Some("employee/EmploymentStarted v1")), "it lives and can't read what is active");
        assert!(!matches!(second, Ok(types) if !types.is_empty()), "it was activated twice");
        assert_eq!(activations(owner).await, before + 1);
        return;
    }
    panic!("the activation gave up each time");
}

/// Takes the lock for which activations wait before their commit.
const HOLD: &str = "select pg_advisory_xact_lock(4711)";

/// Has activations wait for a lock before their commit.
async fn slow_down(pool: &PgPool) {
    pool.execute(
        "create function platform.slow() returns trigger language plpgsql as 'begin perform pg_advisory_xact_lock(4711); return new; end';
         create trigger slow before update on platform.release for each row execute function platform.slow()",
    )
    .await
    .unwrap();
}

/// Everything before an activation: commands of before are taken, what is new waits, and nothing is lost, failed or remembered.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_waits_for_the_activation() {
    let system = own_system().await;
    let pool = system.pool().await;
    assert_eq!(inactive(&pool).await, [""; 0], "a new system has nothing to wait for");
    let token = system.tenant("release");
    let new = ["EmploymentStarted", "EmploymentEnded", "ChangeTookEffect", "DepartmentRenamed", "EmployeeRehired", "EmployeeHired"];
    let post = async |path: &str, key: &str, body: Value| sent(&system, &token, path, key, &body).await;
    let made = |kind: &str| json!({"effective_on": "2000-01-01", "code": kind, "name": kind, "title": kind});
    let mut department = made("D");
    department.as_object_mut().unwrap().remove("title");
    let mut job = made("J");
    job.as_object_mut().unwrap().remove("name");
    let department = system.post(&token, "/v1/departments", "d", &department).await.1["id"].as_str().unwrap().to_owned();
    let job = system.post(&token, "/v1/jobs", "j", &job).await.1["id"].as_str().unwrap().to_owned();
    let hire = |number: &str| {
        json!({"hire_date": "2099-01-01", "employee_number": number, "person": {"given_name": "Ada", "family_name": "Lovelace"},
            "assignment": {"department_id": department, "job_id": job}})
    };
    assert_eq!(post("/v1/employees", "h1", hire("1")).await.0, 201);
    not_active(&pool, &new).await;
    let rename = format!("/v1/departments/{department}/name");
    let renamed = json!({"effective_on": "2001-01-01", "name": "E"});
    let waits = (503, "not_activated".to_owned());
    // A process hears it within a second.
    let department_of = |code: usize| json!({"effective_on": "2000-01-01", "code": format!("n{code}"), "name": "N"});
    let probe = async || {
        let name = Uuid::now_v7().to_string();
        post(&rename, &name, json!({"effective_on": "2001-01-01", "name": name})).await == waits
    };
    eventually("it may not be written", probe).await;
    let count = async |sql: &str| -> i64 { sqlx::query_scalar(sql).bind(tenant_of(&token).uuid()).fetch_one(&pool).await.unwrap() };
    let keys = count("select count(*) from platform.person_key where tenant_id = $1").await;
    let events = count("select count(*) from event_store.event where tenant_id = $1").await;
    for n in 0..3 {
        assert_eq!(post("/v1/employees", "h2", hire("2")).await, waits);
        assert_eq!(post(&rename, "r", renamed.clone()).await, waits);
        assert_eq!(post("/v1/departments", &format!("n{n}"), department_of(n)).await.0, 201, "what was written before is written on");
    }
    assert_eq!(count("select count(*) from platform.person_key where tenant_id = $1").await, keys, "no key is made for what does not come");
    assert_eq!(count("select count(*) from event_store.event where tenant_id = $1").await, events + 3);
    assert_eq!(count("select count(*) from platform.command_answer where tenant_id = $1").await, 0);
    what_is_due_waits(&system, &pool, &token).await;

    let status = system.tenure_fails(&["release", "status"]);
    assert!(status.contains("EmploymentStarted") && status.contains("tenure-command-api"), "{status}");
    let line = system.tenure(&["status"])["release"].clone();
    assert_eq!((line["not_active"].as_array().unwrap().len(), &line["in_the_way"]), (new.len(), &json!(0)), "{line}");
    let activated = system.tenure(&["release", "activate"])["activated"].as_array().unwrap().len();
    assert_eq!(activated, new.len());
    assert_eq!(system.tenure(&["release", "activate"]), json!({"activated": []}), "again it changes nothing");
    // The same keys succeed, and the value that was not taken is still free.
    eventually("the person is hired", async || post("/v1/employees", "h2", hire("2")).await.0 == 201).await;
    assert_eq!(post(&rename, "r", renamed.clone()).await.0, 200);
    let announced = "select count(*) from event_store.event where tenant_id = $1 and event_type = 'EmploymentStarted'";
    eventually("what waited is announced", async || count(announced).await == 1).await;
    eventually("and waits no more", async || count("select count(*) from worker.due where tenant_id = $1").await == 1).await;
    system.settled(&token).await;

    // An upgrade under `tenure up`: what is new is activated once all is ready.
    not_active(&pool, &new).await;
    pool.close().await;
    system.tenure(&["down"]);
    system.tenure(&["up", "--detach", "--no-demo"]);
    let pool = system.pool().await;
    assert_eq!((inactive(&pool).await, activations(&pool).await), (vec![], 2));
    pool.close().await;
}

/// A day begins that may not be announced: the row waits, and nothing fails.
async fn what_is_due_waits(system: &System, pool: &PgPool, token: &str) {
    let tenant = tenant_of(token).uuid();
    let due = "select count(*) from worker.due where tenant_id = $1";
    let count = async |sql: &str| -> i64 { sqlx::query_scalar(sql).bind(tenant).fetch_one(pool).await.unwrap() };
    eventually("it is due", async || count(due).await == 1).await;
    // The worker hears what is active each time it says that it lives. Its second word from now on comes after it has heard once.
    let said = "select seen_at::text from platform.process where kind = 'tenure-worker' order by seen_at desc limit 1";
    let word = async || sqlx::query_scalar::<_, String>(said).fetch_one(pool).await.unwrap();
    for _ in 0..2 {
        let before = word().await;
        eventually("the worker says that it lives", async || word().await != before).await;
    }
    for sql in [
        "update worker.due set due_on = '2020-01-01', recorded_at = 0, look_at = 0 where tenant_id = $1",
        "update worker.agenda set look_at = 0 where tenant_id = $1",
    ] {
        sqlx::query(sql).bind(tenant).execute(pool).await.unwrap();
    }
    for _ in 0..2 {
        eventually("it was looked at", async || count("select min(look_at) from worker.due where tenant_id = $1").await > 0).await;
        let again = "update worker.due set look_at = 0 where tenant_id = $1";
        sqlx::query(again).bind(tenant).execute(pool).await.unwrap();
        sqlx::query("update worker.agenda set look_at = 0 where tenant_id = $1").bind(tenant).execute(pool).await.unwrap();
    }
    assert_eq!(count(due).await, 1, "it waits");
    let log = std::fs::read_to_string(system.home.join("log/tenure-worker.log")).unwrap();
    assert!(!log.contains("could not be announced"), "it does not fail");
}

/// Processes are put in each other's place in any order, and back, before an activation: no request fails.
#[tokio::test(flavor = "multi_thread")]
async fn before_an_activation_any_order_and_any_way_back_costs_no_request() {
    let system = own_system().await;
    let pool = system.pool().await;
    let token = system.tenant("order");
    not_active(&pool, &["EmploymentStarted", "EmploymentEnded", "ChangeTookEffect"]).await;
    // The later build has added a table that this one does not know, and runs beside it.
    let later =
        "insert into platform.migration (name, checksum, runs_with) values ('platform/9999_later.sql', 'x', 'platform/0025_release.sql')";
    pool.execute(later).await.unwrap();
    note(&pool, "tenure-command-api", &json!({"leave.LeaveStarted": 1}), 0).await;
    let over = Arc::new(AtomicBool::new(false));
    let client = {
        let (over, token, client) = (over.clone(), token.clone(), system.client.clone());
        let url = format!("{}/v1/departments", system.command_api);
        tokio::spawn(async move {
            let mut taken = 0;
            while !over.load(Ordering::Relaxed) {
                let body = json!({"effective_on": "2000-01-01", "code": format!("c{taken}"), "name": "N"});
                let request = client.post(&url).bearer_auth(&token).header("idempotency-key", format!("c{taken}")).json(&body);
                match request.send().await {
                    Ok(answer) if answer.status().is_success() => taken += 1,
                    Ok(answer) => panic!("{}: {}", answer.status(), answer.text().await.unwrap()),
                    // Nobody listens while the one process that there is starts again.
                    Err(error) if error.is_connect() => tokio::time::sleep(Duration::from_millis(20)).await,
                    Err(error) => panic!("{error:?}"),
                }
            }
            taken
        })
    };
    let order = ["tenure-command-api", "tenure-query-api", "tenure-worker", "tenure-projector", "tenure-relay"];
    for name in order.into_iter().chain(order.into_iter().rev()) {
        let before = system.pid(name);
        system.signal(name, "TERM").await;
        eventually("it is started again", async || system.pid(name).is_some_and(|pid| Some(pid) != before)).await;
        system.ready().await;
    }
    over.store(true, Ordering::Relaxed);
    assert!(client.await.unwrap() > 0);
    system.settled(&token).await;

    // The older build's `tenure up` runs on the newer one's database, too, and changes nothing of it.
    pool.close().await;
    system.tenure(&["down"]);
    system.tenure(&["up", "--detach", "--no-demo"]);
    let pool = system.pool().await;
    let kept: i64 = sqlx::query_scalar("select count(*) from platform.migration where name = 'platform/9999_later.sql'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(kept, 1);
    // One that was not made for it is refused.
    pool.execute("update platform.migration set runs_with = null where name = 'platform/9999_later.sql'").await.unwrap();
    let refused = start(&system, "tenure-query-api", "tenure_query");
    assert!(refused.contains("the database is newer than this build: it has the migration platform/9999_later.sql"), "{refused}");
    pool.close().await;
}

/// Starts a process that must not start; what it said.
fn start(system: &System, name: &str, role: &str) -> String {
    let url = system.home.join(format!("secrets/url-{role}"));
    let output = program(name).env("TENURE_DATABASE_URL_FILE", url).env("TENURE_LISTEN", "127.0.0.1:0").output().unwrap();
    assert!(!output.status.success(), "{name} runs");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Afterwards there is no way back, and who slept over it ends.
#[tokio::test(flavor = "multi_thread")]
async fn after_an_activation_a_build_that_can_not_read_it_ends_and_does_not_start() {
    let system = own_system().await;
    let pool = system.pool().await;
    let token = system.tenant("way-back");
    let paused = "tenure-command-api";
    let lives = async || {
        let sql =
            "select seen_at > clock_timestamp() - interval '10 s' from platform.process where kind = $1 order by seen_at desc limit 1";
        sqlx::query_scalar::<_, bool>(sql).bind(paused).fetch_one(&pool).await.unwrap()
    };
    // A paused process of an older build keeps others from activating until it is taken for dead.
    not_active(&pool, &["EmploymentStarted"]).await;
    system.signal(paused, "STOP").await;
    let old = "update platform.process set reads = '{}', build = '0.0.9-0123456789ab', seen_at = clock_timestamp() where kind = $1";
    sqlx::query(old).bind(paused).execute(&pool).await.unwrap();
    let refused = system.tenure_fails(&["release", "activate"]);
    assert!(refused.contains("tenure-command-api of build 0.0.9-0123456789ab") && refused.contains("Nothing was activated"), "{refused}");
    eventually("it is taken for dead", async || !lives().await).await;
    assert_eq!(system.tenure(&["release", "activate"])["activated"].as_array().unwrap().len(), 1);
    // Now a type is active that it can't read, and it goes on.
    activate_later(&pool).await;
    let before = system.pid(paused).unwrap();
    let requests = (0..8).map(|n| {
        let (system, token) = (&system, &token);
        async move {
            let body = json!({"effective_on": "2000-01-01", "code": format!("p{n}"), "name": "N"});
            let request = system.client.post(format!("{}/v1/departments", system.command_api)).bearer_auth(token).json(&body);
            request.send().await.map(|answer| answer.status().as_u16())
        }
    });
    // They wait in its socket while it is paused.
    let requests = futures::future::join_all(requests);
    let (answers, ()) = tokio::join!(requests, async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        system.signal(paused, "CONT").await;
    });
    for answer in answers {
        assert!(answer.as_ref().map_or(true, |status| *status == 503), "what it can't read it decides on: {answer:?}");
    }
    eventually("it ended", async || system.pid(paused) != Some(before)).await;
    let reason = "can't read leave/LeaveStarted v1, which was activated by 9.9.9-feedfeedfeed: run that build or a newer one";
    for name in ["tenure-command-api", "tenure-query-api", "tenure-projector", "tenure-relay", "tenure-worker"] {
        let log = system.home.join(format!("log/{name}.log"));
        eventually(&format!("{name} says why it ends"), async || std::fs::read_to_string(&log).unwrap().contains(reason)).await;
    }
    let said = start(&system, "tenure-query-api", "tenure_query");
    assert!(said.contains(reason), "{said}");
    let refused = system.tenure_fails(&["release", "activate"]);
    assert!(refused.contains("this build can't read leave/LeaveStarted v1"), "{refused}");
    let status = system.tenure_fails(&["release", "status"]);
    assert!(status.contains("leave/LeaveStarted v1"), "{status}");
    // Nothing was lost: without the type, they come back by themselves.
    pool.execute("delete from platform.active_event where category = 'leave'").await.unwrap();
    system.ready().await;
    pool.close().await;
}

/// An activation that somebody has begun.
fn activation(system: &System) -> Child {
    let mut activate = program("tenure");
    activate.arg("--home").arg(&system.home).args(["release", "activate"]).stdout(Stdio::null()).stderr(Stdio::null());
    activate.spawn().unwrap()
}

/// An activation that is killed at each of its steps has activated all or nothing, and the next one finishes it.
#[tokio::test(flavor = "multi_thread")]
async fn an_activation_that_is_killed_leaves_all_or_nothing() {
    let system = own_system().await;
    let pool = system.pool().await;
    let url: PgConnectOptions = system.database_url.parse().unwrap();
    not_active(&pool, &["EmploymentStarted", "EmploymentEnded", "ChangeTookEffect"]).await;
    slow_down(&pool).await;
    // Before it has the lock; before the types are written; before the commit.
    for held in ["lock table platform.release in share mode", "lock table platform.active_event in share mode", HOLD] {
        let mut holder = PgConnection::connect_with(&url).await.unwrap();
        let mut tx = holder.begin().await.unwrap();
        tx.execute(held).await.unwrap();
        let mut activate = activation(&system);
        let waits = "select count(*) from pg_stat_activity where application_name = 'tenure' and wait_event_type = 'Lock'";
        eventually("it waits there", async || sqlx::query_scalar::<_, i64>(waits).fetch_one(&pool).await.unwrap() == 1).await;
        activate.kill().unwrap();
        activate.wait().unwrap();
        eventually("its session is gone", async || sqlx::query_scalar::<_, i64>(waits).fetch_one(&pool).await.unwrap() == 0).await;
        tx.rollback().await.unwrap();
        assert_eq!((inactive(&pool).await, activations(&pool).await), (WORKERS.map(str::to_owned).to_vec(), 0), "{held}");
        system.ready().await;
    }
    // An activator stands still while it holds the lock. The database ends its transaction before any process is taken for dead.
    let mut holder = PgConnection::connect_with(&url).await.unwrap();
    let mut tx = holder.begin().await.unwrap();
    tx.execute(HOLD).await.unwrap();
    let mut activate = activation(&system);
    let signal = |signal: &str, pid: u32| {
        assert!(Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().unwrap().success());
    };
    let waits = "select pid from pg_stat_activity where application_name = 'tenure' and wait_event_type = 'Lock'";
    let waiting = async || sqlx::query_scalar::<_, i32>(waits).fetch_all(&pool).await.unwrap();
    eventually("it waits there", async || waiting().await.len() == 1).await;
    let session = waiting().await[0];
    signal("STOP", activate.id());
    tx.rollback().await.unwrap();
    let gone = "select not exists (select from pg_stat_activity where pid = $1)";
    eventually("its session is gone", async || sqlx::query_scalar::<_, bool>(gone).bind(session).fetch_one(&pool).await.unwrap()).await;
    signal("CONT", activate.id());
    assert!(!activate.wait().unwrap().success());
    assert_eq!((inactive(&pool).await.len(), activations(&pool).await), (3, 0));
    system.ready().await;
    for _ in 0..5 {
        let mut activate = activation(&system);
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..150))).await;
        activate.kill().unwrap();
        activate.wait().unwrap();
        let left = inactive(&pool).await.len();
        assert!(left == 0 || left == 3, "{left} of three are left");
    }
    system.tenure(&["release", "activate"]);
    assert_eq!(inactive(&pool).await, [""; 0]);
    assert_eq!(activations(&pool).await, 1);
    who_is_not_heard_decides_nothing(&system, &pool).await;
    pool.close().await;
}

/// A command-api that can't say that it lives, for whatever reason, takes no command, as it may be taken for dead.
async fn who_is_not_heard_decides_nothing(system: &System, pool: &PgPool) {
    let token = system.tenant("unheard");
    let department = async |key: &str| {
        let body = json!({"effective_on": "2000-01-01", "code": key, "name": "N"});
        sent(system, &token, "/v1/departments", key, &body).await
    };
    assert_eq!(department("first").await.0, 201);
    pool.execute("revoke execute on function platform.note_process from tenure_command").await.unwrap();
    eventually("it takes no command", async || department(&Uuid::now_v7().to_string()).await == (503, "database_unavailable".into())).await;
    let ready = system.client.get(format!("{}/readyz", system.command_api)).send().await.unwrap().text().await.unwrap();
    assert!(ready.contains("\"release\":\"failing\""), "{ready}");
    pool.execute("grant execute on function platform.note_process to tenure_command").await.unwrap();
    eventually("it takes commands", async || department("again").await.0 == 201).await;
    system.ready().await;
}
