//! The worker: what lay ahead is announced when its day begins, once, whatever is killed meanwhile.
//!
//! Days don't begin because a test wants them to. So what is due on a far day is put back, in the worker's table alone, to a day that
//! has begun: the worker finds it there as it would on that day.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};
use sqlx::{Executor as _, PgPool};
use uuid::Uuid;

use crate::{
    servers::{System, eventually, own_system, run, system, tenant_of},
    today::{EAST, WEST},
};

/// What is recorded of a person: the event's type, its data, its actor and the event that caused it.
type Recorded = (String, Value, String, Option<Uuid>);

/// A tenant with a department and a job.
struct Company<'s> {
    system: &'s System,
    pool: PgPool,
    token: String,
    assignment: Value,
}

impl<'s> Company<'s> {
    async fn new(system: &'s System, slug: &str) -> Self {
        Self::of(system, system.tenant(slug)).await
    }

    /// Of a tenant that is there and has nothing yet.
    async fn of(system: &'s System, token: String) -> Self {
        let mut company = Self { system, pool: system.pool().await, token, assignment: Value::Null };
        let department = company.post("/v1/departments", &json!({"effective_on": "2000-01-01", "code": "D", "name": "Dept"})).await;
        let job = company.post("/v1/jobs", &json!({"effective_on": "2000-01-01", "code": "J", "title": "Job"})).await;
        company.assignment = json!({"department_id": department, "job_id": job});
        company
    }

    /// The id of what it made.
    async fn post(&self, path: &str, body: &Value) -> String {
        let (status, answer) = self.system.post(&self.token, path, &Uuid::now_v7().to_string(), body).await;
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer["id"].as_str().unwrap().to_owned()
    }

    async fn hire(&self, number: &str, on: &str) -> String {
        let body = json!({"hire_date": on, "employee_number": number, "person": {"given_name": "Ada", "family_name": "Lovelace"},
            "assignment": self.assignment});
        self.post("/v1/employees", &body).await
    }

    /// Waits until so many things are due in the tenant.
    async fn due(&self, expected: i64) {
        let count = "select count(*) from worker.due where tenant_id = $1";
        let due = async || self.number(count).await == expected;
        eventually(&format!("{expected} things are due"), due).await;
    }

    async fn number(&self, sql: &str) -> i64 {
        sqlx::query_scalar(sql).bind(tenant_of(&self.token).uuid()).fetch_one(&self.pool).await.unwrap()
    }

    /// Puts what is due back to a day that has begun, and was recorded before it.
    async fn let_days_begin(&self) {
        let begun = "update worker.due set due_on = '2020-01-01' where tenant_id = $1";
        sqlx::query(begun).bind(tenant_of(&self.token).uuid()).execute(&self.pool).await.unwrap();
        self.look_now().await;
    }

    /// Has the worker look at what is due, as if it had been recorded long ago.
    async fn look_now(&self) {
        for sql in [
            "update worker.due set recorded_at = 0, look_at = 0 where tenant_id = $1",
            "update worker.agenda set look_at = 0 where tenant_id = $1",
        ] {
            sqlx::query(sql).bind(tenant_of(&self.token).uuid()).execute(&self.pool).await.unwrap();
        }
    }

    /// What is recorded of a person, in order.
    async fn recorded(&self, person: &str) -> Vec<Recorded> {
        let rows: Vec<(String, String, String, Option<Uuid>)> = sqlx::query_as(
            "select event_type, data, actor, causation_id from event_store.event where tenant_id = $1 and stream_id = $2 order by version",
        )
        .bind(tenant_of(&self.token).uuid())
        .bind(person.parse::<Uuid>().unwrap())
        .fetch_all(&self.pool)
        .await
        .unwrap();
        rows.into_iter().map(|(event_type, data, actor, cause)| (event_type, serde_json::from_str(&data).unwrap(), actor, cause)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lay_ahead_is_announced_when_its_day_begins() {
    let company = Company::new(system().await, "lies-ahead").await;
    let person = company.hire("1", "2099-01-01").await;
    let (path, changes) = (format!("/v1/employees/{person}/compensation-changes"), "2099-06-01");
    let pay = json!({"rate": {"amount": "1", "currency": "EUR"}, "per": "month"});
    company.post(&path, &json!({"effective_on": changes, "pay": pay, "reason": "r"})).await;
    // Somebody who was hired long ago, and one who will not come.
    company.hire("2", "2010-01-01").await;
    let stays_away = company.hire("3", "2099-01-01").await;
    let end = json!({"last_day_worked": "2098-12-31", "reason": "r"});
    company.post(&format!("/v1/employees/{stays_away}/termination"), &end).await;
    company.due(4).await;
    company.let_days_begin().await;
    company.due(0).await;

    let recorded = company.recorded(&person).await;
    let announced: Vec<_> = recorded.iter().filter(|(_, _, actor, _)| actor == "system:due").collect();
    let types: Vec<&str> = announced.iter().map(|(event_type, ..)| event_type.as_str()).collect();
    assert_eq!(types.len(), 2, "{recorded:?}");
    assert!(types.contains(&"EmploymentStarted") && types.contains(&"ChangeTookEffect"), "{types:?}");
    assert!(announced.iter().all(|(_, _, _, cause)| cause.is_some()), "each names its cause");
    let started = announced.iter().find(|(event_type, ..)| event_type == "EmploymentStarted").unwrap();
    assert_eq!((&started.1["employee_id"], &started.1["on"]), (&json!(person), &json!("2099-01-01")));
    assert_eq!(company.recorded(&stays_away).await.len(), 2, "who never started is announced neither to come nor to go");
    // The read model has followed.
    company.system.settled(&company.token).await;
    company.pool.close().await;
}

/// What happens to departments, locations and jobs is announced in their one stream, each by the day of its own place.
#[tokio::test(flavor = "multi_thread")]
async fn what_lay_ahead_of_the_organization_is_announced_when_its_day_begins() {
    let company = Company::new(system().await, "units-ahead").await;
    let (department, job) = (company.assignment["department_id"].clone(), company.assignment["job_id"].clone());
    let at = |on: &str, mut body: Value| {
        body["effective_on"] = json!(on);
        body
    };
    let unit = |path: &str, id: &Value, change: &str| format!("/v1/{path}/{}/{change}", id.as_str().unwrap());
    let vienna = json!({"code": "V", "name": "Vienna", "time_zone": "Europe/Vienna"});
    let vienna = json!(company.post("/v1/locations", &at("2099-01-01", vienna)).await);
    // One that was opened long ago is not announced.
    let lima = json!({"code": "L", "name": "Lima", "time_zone": "America/Lima"});
    company.post("/v1/locations", &at("2010-01-01", lima)).await;
    company.post(&unit("departments", &department, "name"), &at("2099-02-01", json!({"name": "Later"}))).await;
    company.post(&unit("jobs", &job, "retirement"), &at("2099-03-01", json!({}))).await;
    // A change that the closing overtakes is not so any more.
    let gone = json!(company.post("/v1/departments", &at("2000-01-01", json!({"code": "G", "name": "Gone"}))).await);
    company.post(&unit("departments", &gone, "name"), &at("2099-06-01", json!({"name": "Never"}))).await;
    company.post(&unit("departments", &gone, "closure"), &at("2099-05-01", json!({}))).await;
    company.due(5).await;
    let places = "select count(*) from worker.due where tenant_id = $1 and place = jsonb_build_object('location', '";
    let at_vienna = format!("{places}{}'::text)", vienna.as_str().unwrap());
    assert_eq!(company.number(&at_vienna).await, 1, "a location's day is its own");
    assert_eq!(company.number("select count(*) from worker.due where tenant_id = $1 and place = '\"tenant\"'").await, 4);
    company.let_days_begin().await;
    company.due(0).await;

    let recorded = company.recorded(&tenant_of(&company.token).uuid().to_string()).await;
    let announced: Vec<_> = recorded.iter().filter(|(event_type, ..)| event_type == "UnitChangeTookEffect").collect();
    assert!(announced.iter().all(|(_, _, actor, cause)| actor == "system:due" && cause.is_some()), "{announced:?}");
    let mut told: Vec<&Value> = announced.iter().map(|(_, data, ..)| data).collect();
    told.sort_by_key(|data| data["effective"]["on"].to_string());
    let fact = |unit: Value, what: &str, on: &str| json!({"unit": unit, "what": what, "effective": {"on": on, "seq": 0}});
    let expected = [
        fact(json!({"location": vienna}), "opened", "2099-01-01"),
        fact(json!({"department": department}), "changed", "2099-02-01"),
        fact(json!({"job": job}), "closed", "2099-03-01"),
        fact(json!({"department": gone}), "closed", "2099-05-01"),
    ];
    assert_eq!(told, expected.iter().collect::<Vec<_>>());
    // The read model has followed, and says of the organization what it said before.
    company.system.settled(&company.token).await;
    let departments = company.system.get(&company.token, "/v1/departments?as_of=2099-02-01").await;
    let mut names: Vec<_> = departments["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["Gone", "Later"]);
    company.pool.close().await;
}

/// A day has begun at one place and not at another, where it is 25 hours earlier.
#[tokio::test(flavor = "multi_thread")]
async fn a_location_has_its_own_day_and_a_department_the_tenants() {
    let system = system().await;
    system.tenure(&["tenant", "create", "--slug", "units-west", "--name", "West", "--time-zone", WEST]);
    let company = Company::of(system, system.token("units-west", "hr")).await;
    let east = json!({"effective_on": "2099-01-01", "code": "E", "name": "East", "time_zone": EAST});
    let east = company.post("/v1/locations", &east).await;
    company.post("/v1/departments", &json!({"effective_on": "2099-01-01", "code": "W", "name": "West"})).await;
    company.due(2).await;
    let today_in_the_east = format!("update worker.due set due_on = (now() at time zone '{EAST}')::date where tenant_id = $1");
    sqlx::query(&today_in_the_east).bind(tenant_of(&company.token).uuid()).execute(&company.pool).await.unwrap();
    company.look_now().await;
    company.due(1).await;
    let waits = "select count(*) from worker.due where tenant_id = $1 and place = '\"tenant\"' and look_at > 0";
    eventually("the department's day has not begun", async || company.number(waits).await == 1).await;
    let recorded = company.recorded(&tenant_of(&company.token).uuid().to_string()).await;
    let units: Vec<_> =
        recorded.iter().filter(|(event_type, ..)| event_type == "UnitChangeTookEffect").map(|(_, data, ..)| &data["unit"]).collect();
    assert_eq!(units, [&json!({"location": east})]);
    company.pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_announces_nothing_twice_and_forgets_nothing() {
    const PEOPLE: i64 = 40;
    let system = own_system().await;
    let company = Company::new(&system, "killed").await;
    let mut people = Vec::new();
    for n in 0..PEOPLE {
        people.push(company.hire(&n.to_string(), "2099-01-01").await);
        if n % 10 == 0 {
            system.signal("tenure-worker", "KILL").await;
        }
    }
    company.due(PEOPLE).await;
    company.let_days_begin().await;
    for _ in 0..3 {
        system.signal("tenure-worker", "KILL").await;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(50..1_500))).await;
    }
    company.due(0).await;
    // As if what was announced had not been put away before the last one was killed.
    system.signal("tenure-worker", "STOP").await;
    let again = "update worker.cursor set position = 0, event_id = null, recorded_at = null where tenant_id = $1";
    sqlx::query(again).bind(tenant_of(&company.token).uuid()).execute(&company.pool).await.unwrap();
    system.signal("tenure-worker", "KILL").await;
    company.due(PEOPLE).await;
    company.let_days_begin().await;
    company.due(0).await;
    for person in &people {
        let types: Vec<String> = company.recorded(person).await.into_iter().map(|(event_type, ..)| event_type).collect();
        assert_eq!(types, ["EmployeeHired", "EmploymentStarted"], "{person}");
    }
    system.ready().await;
    company.pool.close().await;
}

/// Two at once share the partitions; one that is paused for longer than its leases is followed by the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_paused_writes_nothing_over_its_successor() {
    let system = own_system().await;
    let company = Company::new(&system, "paused").await;
    let person = company.hire("1", "2099-01-01").await;
    company.due(1).await;
    system.signal("tenure-worker", "STOP").await;
    // Another owner takes its partitions meanwhile, with a higher fence.
    let taken = "update worker.partition_lease set owner = 'another', epoch = epoch + 1, heartbeat = 0 where partition >= 0";
    sqlx::query(taken).execute(&company.pool).await.unwrap();
    company.let_days_begin().await;
    system.signal("tenure-worker", "CONT").await;
    // The other one never moves, so it is dead, and its leases come back.
    company.due(0).await;
    let types: Vec<String> = company.recorded(&person).await.into_iter().map(|(event_type, ..)| event_type).collect();
    assert_eq!(types, ["EmployeeHired", "EmploymentStarted"]);
    company.pool.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_none_is_refused_and_nobody_waits_for_it() {
    let company = Company::new(system().await, "no-such-job").await;
    company.hire("1", "2010-01-01").await;
    for kind in ["no-such-kind", "reaction"] {
        sqlx::query(
            "insert into worker.job (tenant_id, job_id, kind, input, run_at, asked_by, made_at) values ($1, $2, $3, $4, 0, 'test', 0)",
        )
        .bind(tenant_of(&company.token).uuid())
        .bind(Uuid::now_v7())
        .bind(kind)
        .bind(b"of nobody's".as_slice())
        .execute(&company.pool)
        .await
        .unwrap();
    }
    let refused =
        "select count(*) from worker.job where tenant_id = $1 and state = 'refused' and error_code in ('unknown_kind', 'unreadable_input')";
    eventually("both are refused", async || company.number(refused).await == 2).await;
    let list = |state: &str| company.system.tenure(&["job", "list", "--tenant", "no-such-job", "--state", state]);
    let jobs = list("refused")["jobs"].as_array().unwrap().clone();
    assert_eq!(jobs.len(), 2, "{jobs:?}");
    assert_eq!(list("waiting"), json!({"jobs": []}));
    let status = company.system.tenure(&["status"]);
    let line = status["tenants"].as_array().unwrap().iter().find(|line| line["slug"] == "no-such-job").unwrap();
    assert_eq!(line["worker"], json!({"due": 0, "jobs": 0, "jobs_failed": 2}));
    let shown = company.system.tenure(&["job", "show", jobs[0]["job_id"].as_str().unwrap()]);
    assert_eq!((&shown["error_code"], &shown["tenant"]), (&jobs[0]["error_code"], &json!("no-such-job")));
    // Tried again it is refused again.
    let retried = company.system.tenure(&["job", "retry", jobs[0]["job_id"].as_str().unwrap()]);
    assert_eq!(retried, json!({"retried": [jobs[0]["job_id"]]}));
    eventually("it is refused again", async || company.number(refused).await == 2).await;
    assert!(company.system.tenure_fails(&["job", "retry", &Uuid::now_v7().to_string()]).contains("is no job"));
    let person = company.hire("2", "2099-01-01").await;
    company.due(1).await;
    company.let_days_begin().await;
    company.due(0).await;
    assert_eq!(company.recorded(&person).await.len(), 2);
    company.pool.close().await;
}

/// Each tenant is provisioned once, and the worker keeps no right to any tenant's rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_gets_ready_once_whatever_is_killed() {
    const TENANTS: usize = 6;
    let system = own_system().await;
    let slugs: Vec<String> = (0..TENANTS).map(|n| format!("made-{n}")).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| slugs.iter().for_each(|slug| drop(system.tenant(slug))));
        for _ in 0..6 {
            std::thread::sleep(Duration::from_millis(fastrand::u64(200..2_000)));
            if let Some(pid) = system.pid("tenure-worker") {
                Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
            }
        }
    });
    let pool = system.pool().await;
    let provisioned = "select count(*), count(distinct stream_id) from event_store.event where event_type = 'TenantProvisioned' and actor = 'system:provision'";
    let (events, tenants): (i64, i64) = sqlx::query_as(provisioned).fetch_one(&pool).await.unwrap();
    assert_eq!((events, tenants), (TENANTS as i64, TENANTS as i64));
    let done = "select count(*) from worker.job where kind = 'provision-tenant' and state = 'done'";
    eventually("all jobs are done", async || sqlx::query_scalar::<_, i64>(done).fetch_one(&pool).await.unwrap() == TENANTS as i64).await;
    let writers = "select count(*) from pg_auth_members where member = 'tenure_worker'::regrole";
    assert_eq!(sqlx::query_scalar::<_, i64>(writers).fetch_one(&pool).await.unwrap(), 0);
    let department = json!({"effective_on": "2000-01-01", "code": "D", "name": "Dept"});
    for slug in &slugs {
        let token = system.token(slug, "hr");
        assert_eq!(system.post(&token, "/v1/departments", "department", &department).await.0, 201);
        system.settled(&token).await;
    }
    pool.close().await;
}

/// What keeps a tenant from being provisioned stands in the list of jobs, no other tenant waits, and it goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn why_a_tenant_does_not_get_ready_is_said() {
    let system = own_system().await;
    let (before, pool) = (Company::new(&system, "before").await, system.pool().await);
    let function = "function platform.begin_provisioning";
    pool.execute(format!("revoke execute on {function} from tenure_worker").as_str()).await.unwrap();
    let home = system.home.clone();
    let create = move || run(&home, &["tenant", "create", "--slug", "hindered", "--name", "H"]);
    let creating = std::thread::Builder::new().name("creating".into()).spawn(create).unwrap();
    let waits = || {
        let jobs = system.tenure(&["job", "list", "--kind", "provision-tenant", "--state", "waiting"]);
        let mut jobs = jobs["jobs"].as_array().unwrap().iter();
        jobs.any(|job| job["error_code"] == "sqlstate_42501" && job["error"].as_str().unwrap().contains("the tenant's roles"))
    };
    eventually("the job says why it waits", async || waits()).await;
    assert!(!creating.is_finished(), "it can't be ready");
    before.hire("1", "2099-01-01").await;
    before.due(1).await;
    pool.execute(format!("grant execute on {function} to tenure_worker").as_str()).await.unwrap();
    eventually("it is ready", async || creating.is_finished()).await;
    creating.join().unwrap().unwrap();
    assert_eq!(system.get(&system.token("hindered", "hr"), "/v1/departments").await["items"], json!([]));
    before.pool.close().await;
    pool.close().await;
}
