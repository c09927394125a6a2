//! The query API over real PostgreSQL and real HTTP: what each read answers as of a day, page after page, and what it
//! refuses.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
    time::{Duration, Instant},
};

use axum::extract::{Query, State};
use events::{
    CommandHash, CommandId, CorrelationId, Effective, EmployeeId, EmploymentId, Money, NewEvent, Personal, StreamName, TenantId,
    TenantScope,
    employee::{CompensationChanged, ContactDetailsChanged, Pay},
    tenancy::{Subscription, TenantProvisioned, TenantRegistered},
};
use platform::{
    Access, Config, Gate, Keys, Process, READ_MODEL_VERSION, Registry, TenantPool, TenantTx,
    auth::{Issuer, TokenRequest},
    cursor_key::CursorKey,
    database,
    http::{Limits, shell},
    keys, provision, read_schema, release,
};
use projector::{
    binary::{COPY_HEADER, COPY_TRAILER},
    derived::Derived as _,
    employee::{headcount::Steps, tables::PersonRows, top},
    projection::Rows as _,
};
use query_api::{
    Answer, App, Fresh, Positioned, Reads,
    employee::{Employee, EmployeePage, EmployeeSummary, History, OrgChart, Status},
    organization::{Department, DepartmentPage, JobPage, LocationPage},
    reports::{Figures, Group, Headcount},
    tenancy::TenantPage,
};
use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Executor as _, PgPool};
use store::{Append, Expected, IdScope, PgStore, Store};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A served query API with three tenants, `acme`, `other` and `crowd`, and the platform.
struct World {
    base: String,
    acme: TenantScope,
    projector: PgPool,
    store: Store,
    tokens: BTreeMap<&'static str, String>,
    http: reqwest::Client,
    runtime: tokio::runtime::Handle,
}

/// One world for all tests, on a runtime of its own that outlives each test's.
static WORLD: LazyLock<World> = LazyLock::new(|| {
    let start = || {
        let runtime = Box::leak(Box::new(tokio::runtime::Runtime::new().unwrap()));
        runtime.block_on(start())
    };
    std::thread::spawn(start).join().unwrap()
});

async fn start() -> World {
    let options = crate::servers::fresh_database("queries").await;
    let owner = database::pool_options(2).connect_with(options.clone()).await.unwrap();
    release::bootstrap(&owner, &[]).await.unwrap();
    let url = |role: &str| options.clone().username(role).to_url_lossy().to_string();
    let pool = |role: &str| database::pool_options(8).connect_lazy_with(options.clone().username(role));
    let key_file = std::env::temp_dir().join(format!("queries_{}.key", Uuid::now_v7().simple()));
    keys::create_master_key(&key_file).unwrap();
    let config = Config::from_sources(Process::QueryApi, None, |variable| match variable {
        "TENURE_DATABASE_URL" => Some(url("tenure_query")),
        "TENURE_MASTER_KEY_FILE" => Some(key_file.display().to_string()),
        _ => None,
    })
    .unwrap();

    let keys = Keys::open(&config, pool("tenure_worker")).await.unwrap();
    let store = Store::Postgres(PgStore::open(&url("tenure_command"), 2).unwrap());
    let mut scopes = Vec::new();
    for slug in ["acme", "other", "crowd", "again"] {
        let scope = TenantScope::checked(TenantId::from_uuid(Uuid::now_v7()));
        register(&store, scope.tenant(), slug).await;
        provision::provision(&pool("tenure_worker"), &keys, scope).await.unwrap();
        scopes.push(scope);
    }
    fill(&pool("tenure_projector"), scopes[0], ACME).await;
    let undeclared = "create table note (employee_id uuid, text text); insert into note values (u('ann'), 'undeclared');";
    fill(&pool("tenure_projector"), scopes[0], undeclared).await;
    fill(&pool("tenure_projector"), scopes[1], "insert into employee values (u('stranger'), '1', '2000-01-01', 1);").await;
    fill(&pool("tenure_projector"), scopes[2], CROWD).await;
    fill(&pool("tenure_projector"), scopes[3], AGAIN).await;
    // A department's list takes another way where a page is small beside it, and people are counted by the statistics.
    let people = format!("analyze \"{}\".person_span", read_schema(scopes[2].tenant(), READ_MODEL_VERSION));
    owner.execute(people.as_str()).await.unwrap();

    let issuer = Issuer::open(&config, &owner, &keys).await.unwrap();
    let token = |tenant, slug: &str, role: &str| {
        let request = TokenRequest {
            subject: "tester".into(),
            tenant,
            slug: slug.into(),
            roles: vec![role.to_owned()],
            employee: None,
            session: None,
            lifetime_s: 600,
        };
        issuer.issue(&request).unwrap().expose_secret().to_owned()
    };
    let tokens = BTreeMap::from([
        ("hr", token(scopes[0].tenant(), "acme", "hr")),
        ("auditor", token(scopes[0].tenant(), "acme", "auditor")),
        ("manager", token(scopes[0].tenant(), "acme", "manager")),
        ("other", token(scopes[1].tenant(), "other", "hr")),
        ("crowd", token(scopes[2].tenant(), "crowd", "hr")),
        ("again", token(scopes[3].tenant(), "again", "hr")),
        ("operator", token(TenantId::PLATFORM, "platform", "operator")),
    ]);

    let reader = store.clone();
    let registry = Registry::start(std::sync::Arc::new(move |seen, limit| {
        let store = reader.clone();
        Box::pin(async move { Ok(store.read_log_on(Registry::platform_scope(), seen, limit).await?) })
    }))
    .await
    .unwrap();
    let gate = Gate::start(&config, pool("tenure_query"), registry.clone()).await.unwrap();
    let reads =
        Reads::new(TenantPool::apart(&pool("tenure_query"), 4), store.clone(), CursorKey::load(&pool("tenure_query")).await.unwrap());
    let app = App { gate, registry, reads, store: store.clone() };
    let by_hand = axum::Router::new().route("/by-hand", axum::routing::get(by_hand)).with_state(app.clone());
    let app = query_api::router(app).merge(by_hand);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let served = shell(app, Limits { timeout: Duration::from_mins(1), body: 1024, concurrent: 100 }, None);
    tokio::spawn(platform::health::serve_on(
        listener,
        served,
        platform::ConnectionLimits::default(),
        CancellationToken::new(),
        Duration::ZERO,
    ));
    // A kept connection would belong to the runtime of the test that opened it.
    let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
    World { base, acme: scopes[0], projector: pool("tenure_projector"), store, tokens, http, runtime: tokio::runtime::Handle::current() }
}

async fn append(store: &Store, scope: TenantScope, stream: StreamName, events: Vec<(&'static str, u16, Value)>) {
    let command_id = CommandId::from_uuid(Uuid::now_v7());
    let events = events.into_iter().enumerate().map(|(n, (event_type, schema_version, data))| NewEvent {
        id: NewEvent::id_for(command_id, n),
        event_type,
        schema_version,
        data: serde_json::value::to_raw_value(&data).unwrap(),
    });
    let metadata = events::Metadata {
        actor: "tester".into(),
        command_id,
        command_hash: CommandHash(Uuid::nil()),
        correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
        causation_id: None,
        traceparent: None,
    };
    let append =
        Append { scope, stream, expected: Expected::Any, events: events.collect(), claims: vec![], metadata, id_scope: IdScope::Tenant };
    store.append(append).await.unwrap();
}

async fn register(store: &Store, tenant_id: TenantId, slug: &str) {
    let subscription = Subscription { plan: "test".into(), expires_at: None };
    let registered = TenantRegistered { tenant_id, slug: slug.into(), name: slug.to_uppercase(), subscription };
    let events = vec![
        ("TenantRegistered", 1, serde_json::to_value(registered).unwrap()),
        ("TenantProvisioned", 1, serde_json::to_value(TenantProvisioned { tenant_id }).unwrap()),
    ];
    append(store, Registry::platform_scope(), StreamName::tenancy(tenant_id), events).await;
}

/// Writes rows as the projector would. `u('x')` is the id that [`id`] gives, and `s('x')` are the columns that `x` is searched by.
async fn fill(projector: &PgPool, scope: TenantScope, sql: &str) {
    let mut named = String::new();
    let mut rest = sql;
    while let Some((before, after)) = rest.split_once("u('") {
        let (name, after) = after.split_once("')").unwrap();
        named.extend([before, "'", &id(name).to_string(), "'"]);
        rest = after;
    }
    named += rest;
    while let Some((before, (text, after))) = named.split_once("s('").and_then(|(before, rest)| Some((before, rest.split_once("')")?))) {
        let folded = platform::search::fold(text);
        let grams = platform::search::grams(&folded).iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        named = format!("{before}'{folded}', '{{{grams}}}'{after}");
    }
    let mut tx = TenantTx::begin(projector, scope, &read_schema(scope.tenant(), READ_MODEL_VERSION), Access::Write).await.unwrap();
    tx.conn().execute(named.as_str()).await.unwrap();
    if named.contains("assignment_span") {
        derive(&mut tx).await;
    }
    tx.commit().await.unwrap();
}

/// Fills the tables that are worked out from others.
async fn derive(tx: &mut TenantTx) {
    tx.conn().execute(top::INSERT).await.unwrap();
    let mut people = BTreeMap::new();
    for (number, table) in PersonRows::TABLES.iter().enumerate() {
        let all = format!("select record_send(t) from (select {} from {}) t", table.columns.join(", "), table.name);
        let all: Vec<Vec<u8>> = sqlx::query_scalar(&all).fetch_all(tx.conn()).await.unwrap();
        for row in &all {
            PersonRows::read(&mut people, number, row).unwrap();
        }
    }
    let mut steps = Steps::default();
    for rows in people.values() {
        steps.note(&PersonRows::default(), rows).unwrap();
    }
    let mut data = COPY_HEADER.to_vec();
    steps.copy(&mut data).unwrap();
    data.extend_from_slice(COPY_TRAILER);
    let mut sink = tx.conn().copy_in_raw("copy headcount_step from stdin (format binary)").await.unwrap();
    sink.send(data).await.unwrap();
    sink.finish().await.unwrap();
}

fn id(name: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
}

/// What a statement by hand gives.
#[derive(sqlx::FromRow)]
struct ByHand {
    position: i64,
    body: sqlx::types::Json<Value>,
}
impl Positioned for ByHand {
    fn position(&self) -> i64 {
        self.position
    }
}

/// A handler that forgets all about who may see what, and runs whatever statement it is sent.
async fn by_hand(
    State(reads): State<Reads>,
    reader: platform::Reader,
    Query(parameters): Query<BTreeMap<String, String>>,
    fresh: Fresh,
) -> Result<Answer, platform::Problem> {
    let statement = &parameters["sql"];
    let sql =
        format!("select (select position from checkpoint) as position, (select coalesce(json_agg(t), '[]') from ({statement}) t) as body");
    let answer: ByHand = reads.one(&reader, fresh, sqlx::query_as(&sql)).await?;
    Answer::json(answer.position, &answer.body)
}

/// `ann` leads `bob` and `cat`, `cat` leads `dan`; `eve` and `eva` lead each other. `bob` left and came back. Everybody
/// is hired on 2000-01-01 unless it matters.
const ACME: &str = "
    update checkpoint set position = 100;
    insert into department_span values
        (u('hq'),  '2000-01-01', 0, 'infinity',   'HQ',  'Head office', null, 7),
        (u('eng'), '2000-01-01', 0, 'infinity',   'ENG', 'Engineering', u('hq'), 7),
        (u('web'), '2000-01-01', 0, '2010-01-01', 'WEB', 'Web', u('eng'), 7),
        (u('web'), '2010-01-01', 0, 'infinity',   'WEB', 'Online', u('eng'), 2),
        (u('ops'), '2000-01-01', 0, '2010-01-01', 'OPS', 'Operations', u('hq'), 7),
        (u('ops'), '2010-01-01', 0, '2010-01-01', 'OPS', 'Never shown', u('web'), 4),
        (u('ops'), '2010-01-01', 1, 'infinity',   'OPS', 'Operations', u('eng'), 4),
        (u('lab'), '2000-01-01', 0, '2005-01-01', 'LAB', 'Laboratory', u('hq'), 7),
        (u('one'), '2015-01-01', 0, 'infinity',   'ONE', 'Ring one', u('two'), 7),
        (u('two'), '2015-01-01', 0, 'infinity',   'TWO', 'Ring two', u('one'), 7);
    insert into job_span values
        (u('dev'), '2000-01-01', 0, '2010-01-01', 'DEV', 'Developer', 3), (u('dev'), '2010-01-01', 0, 'infinity', 'DEV', 'Engineer', 2),
        (u('mgr'), '2000-01-01', 0, 'infinity', 'MGR', 'Manager', 3);
    insert into location_span values (u('vie'), '2000-01-01', 0, 'infinity', 'VIE', 'Vienna', 'Europe/Vienna', 7);
    insert into employee values (u('ann'), 'A1', '2000-01-01', 4), (u('bob'), 'A2', '1999-06-01', 9), (u('cat'), 'A3', '2000-01-01', 1),
        (u('dan'), 'A4', '2000-01-01', 1), (u('eve'), 'A5', '2016-01-01', 1), (u('eva'), 'A6', '2016-01-01', 1);
    insert into employment values (u('ann1'), u('ann'), '2000-01-01', 'infinity', null),
        (u('bob1'), u('bob'), '2000-01-01', '2005-01-01', 'resignation'), (u('bob2'), u('bob'), '2007-03-01', 'infinity', null),
        (u('cat1'), u('cat'), '2000-01-01', '2020-01-01', 'retirement'), (u('dan1'), u('dan'), '2000-01-01', 'infinity', null),
        (u('eve1'), u('eve'), '2016-01-01', '2018-01-01', 'resignation'), (u('eva1'), u('eva'), '2016-01-01', '2018-01-01', 'resignation');
    insert into person_span values
        (u('ann'), '2000-01-01', 0, '2003-05-05', 'Ann', 'Müller', '1970-02-03', 'F', 15, s('ann müller a1')),
        (u('ann'), '2003-05-05', 0, 'infinity', 'Ann', 'Özil', '1970-02-03', 'F', 2, s('ann özil a1')),
        (u('bob'), '2000-01-01', 0, 'infinity', 'Bob', '100% Sure', null, null, 15, s('bob 100% sure a2')),
        (u('cat'), '2000-01-01', 0, 'infinity', 'Cat', 'Under_score', null, null, 15, s('cat under_score a3')),
        (u('dan'), '2000-01-01', 0, 'infinity', null, null, null, null, 15, s('a4')),
        (u('eve'), '2016-01-01', 0, 'infinity', 'Eve', 'Ring', null, null, 15, s('eve ring a5')),
        (u('eva'), '2016-01-01', 0, 'infinity', 'Eva', 'Ring', null, null, 15, s('eva ring a6'));
    insert into contact_span values (u('ann'), '2000-01-01', 0, 'infinity', 'ann@acme.example', null, '+431234', 7);
    insert into assignment_span values
        (u('ann1'), u('ann'), '2000-01-01', 0, 'infinity', u('hq'), u('mgr'), u('vie'), null, 'hire', 15),
        (u('bob1'), u('bob'), '2000-01-01', 0, '2002-01-01', u('eng'), u('dev'), u('vie'), u('ann'), 'hire', 15),
        (u('bob1'), u('bob'), '2002-01-01', 0, '2002-01-01', u('lab'), u('dev'), u('vie'), u('ann'), 'mistake', 1),
        (u('bob1'), u('bob'), '2002-01-01', 1, '2005-01-01', u('web'), u('dev'), u('vie'), u('ann'), 'transfer', 1),
        (u('bob2'), u('bob'), '2007-03-01', 0, 'infinity', u('ops'), u('dev'), null, u('cat'), 'rehire', 15),
        (u('cat1'), u('cat'), '2000-01-01', 0, '2020-01-01', u('ops'), u('mgr'), null, u('ann'), 'hire', 15),
        (u('dan1'), u('dan'), '2000-01-01', 0, 'infinity', u('ops'), u('dev'), null, u('cat'), 'hire', 15),
        (u('eve1'), u('eve'), '2016-01-01', 0, '2018-01-01', u('one'), u('dev'), null, u('eva'), 'hire', 15),
        (u('eva1'), u('eva'), '2016-01-01', 0, '2018-01-01', u('two'), u('dev'), null, u('eve'), 'hire', 15);
    insert into compensation_span values
        (u('ann1'), u('ann'), '2000-01-01', 0, '2001-01-01', 1000.10, 'EUR', 'month', 12001.20, 'hire'),
        (u('ann1'), u('ann'), '2001-01-01', 0, '2001-01-01', 9, 'EUR', 'hour', 18720, 'mistake'),
        (u('ann1'), u('ann'), '2001-01-01', 1, 'infinity', 2000.00, 'EUR', 'month', 24000.00, 'annual_review'),
        (u('bob1'), u('bob'), '2000-01-01', 0, '2005-01-01', 50000, 'USD', 'year', 50000, 'hire'),
        (u('bob2'), u('bob'), '2007-03-01', 0, 'infinity', 60000, 'USD', 'year', 60000, 'rehire'),
        (u('cat1'), u('cat'), '2000-01-01', 0, '2020-01-01', 0.05, 'EUR', 'year', 0.05, 'hire');";

/// 137 people who share few names or have none, half of them in one department.
const CROWD: &str = "
    insert into employee select md5(i::text)::uuid, i::text, '2000-01-01', 1 from generate_series(1, 137) i;
    insert into employment select md5('m' || i)::uuid, md5(i::text)::uuid, '2000-01-01', 'infinity', null from generate_series(1, 137) i;
    insert into person_span select md5(i::text)::uuid, '2000-01-01', 0, 'infinity', (array['Ann', 'Bob', null])[1 + i % 3],
        (array['Ng', 'ng', 'Ñg', null, 'O''Hara'])[1 + i % 5], null, null, 15, 'ng ' || i, '{}' from generate_series(1, 137) i;
    insert into assignment_span select md5('m' || i)::uuid, md5(i::text)::uuid, '2000-01-01', 0, 'infinity',
        (array[u('left'), u('right')])[1 + i % 2]::uuid, u('dev'), null, null, 'hire', 15 from generate_series(1, 137) i;";

/// Somebody never started, twice, and did on the same day in the end; the ids are in no order.
const AGAIN: &str = "
    insert into department_span values (u('hq'), '2000-01-01', 0, 'infinity', 'HQ', 'Head office', null, 7);
    insert into job_span values (u('dev'), '2000-01-01', 0, 'infinity', 'DEV', 'Developer', 3);
    insert into employee values (u('ida'), '1', '2001-01-10', 5);
    insert into employment values (u('ida1'), u('ida'), '2001-01-10', '2001-01-10', 'withdrew'),
        (u('ida2'), u('ida'), '2001-01-10', '2001-01-10', 'withdrew'), (u('ida3'), u('ida'), '2001-01-10', '2002-01-01', 'resignation');
    insert into person_span values (u('ida'), '2001-01-10', 0, 'infinity', 'Ida', 'Again', null, null, 15, s('ida again 1'));
    insert into assignment_span select m, u('ida'), '2001-01-10', 0, case when m = u('ida3') then '2002-01-01' else '2001-01-10' end::date,
        u('hq'), u('dev'), null, null, 'hire', 15 from unnest(array[u('ida1'), u('ida2'), u('ida3')]::uuid[]) m;";

struct Reply {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }
    fn error(&self) -> (u16, String) {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.body);
        (self.status, self.json()["error"].as_str().unwrap().to_owned())
    }
}

async fn ask(token: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    let world = &*WORLD;
    let mut request = world.http.get(format!("{}{path}", world.base));
    if let Some(token) = world.tokens.get(token) {
        request = request.bearer_auth(token);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let (status, headers, body) = (response.status().as_u16(), response.headers().clone(), response.text().await.unwrap());
    crate::contract::check("GET", path, status, &serde_json::from_str(&body).unwrap_or_default());
    Reply { status, headers, body }
}

/// What a path answers, strictly in the documented shape.
async fn get<T: DeserializeOwned>(path: &str) -> T {
    let reply = ask("auditor", path, &[]).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    assert!(reply.headers.contains_key("tenure-position"), "{path}");
    assert_eq!(reply.headers["cache-control"], "no-store", "{path}");
    serde_json::from_str(&reply.body).unwrap_or_else(|error| panic!("{path}: {error}: {}", reply.body))
}

#[tokio::test]
async fn a_person_as_of_a_day() {
    use Status::{Active, NotYetHired, Terminated};
    // The day, then status, department, job title, manager's family name and annual pay on it.
    for (name, day, status, expected) in [
        ("bob", "0001-01-01", NotYetHired, None),
        ("bob", "1999-12-31", NotYetHired, None),
        ("bob", "2000-01-01", Active, Some("Engineering Developer Müller 50000.00")),
        ("bob", "2001-12-31", Active, Some("Engineering Developer Müller 50000.00")),
        // Two changes on one day: the later one stands, and the earlier never held.
        ("bob", "2002-01-01", Active, Some("Web Developer Müller 50000.00")),
        ("bob", "2003-05-05", Active, Some("Web Developer Özil 50000.00")),
        // The last day worked, and the day after.
        ("bob", "2004-12-31", Active, Some("Web Developer Özil 50000.00")),
        ("bob", "2005-01-01", Terminated, None),
        ("bob", "2007-02-28", Terminated, None),
        ("bob", "2007-03-01", Active, Some("Operations Developer Under_score 60000.00")),
        ("bob", "2010-01-01", Active, Some("Operations Engineer Under_score 60000.00")),
        ("bob", "9999-12-31", Active, Some("Operations Engineer Under_score 60000.00")),
        ("ann", "2000-12-31", Active, Some("Head office Manager - 12001.20")),
        ("ann", "2001-01-01", Active, Some("Head office Manager - 24000.00")),
        ("dan", "2030-01-01", Active, Some("Operations Engineer Under_score -")),
    ] {
        let found: Employee = get(&format!("/v1/employees/{}?as_of={day}", id(name))).await;
        let shown = found.assignment.map(|a| {
            let manager = a.manager.map_or("-".into(), |m| m.family_name.unwrap());
            let pay = found.pay.map_or("-".into(), |pay| pay.annual);
            format!("{} {} {manager} {pay}", a.department.name.unwrap(), a.job.name.unwrap())
        });
        assert_eq!((found.status, shown.as_deref()), (status, expected), "{name} on {day}");
        assert_eq!((found.as_of.as_str(), found.employee_id), (day, id(name)));
    }
}

#[tokio::test]
async fn who_never_started_and_came_on_the_same_day_is_one_person() {
    let listed = async |query: &str| ask("again", &format!("/v1/employees?{query}"), &[]).await.json()["items"].as_array().unwrap().len();
    for (day, status) in [("2001-01-09", "not_yet_hired"), ("2001-01-10", "active"), ("2001-12-31", "active"), ("2003-01-01", "terminated")]
    {
        let found = ask("again", &format!("/v1/employees/{}?as_of={day}", id("ida")), &[]).await.json();
        assert_eq!((found["status"].as_str(), &found["employment"]["employment_id"]), (Some(status), &json!(id("ida3"))), "{day}");
        assert_eq!(found["assignment"].is_object(), status == "active", "{day}");
        for other in ["not_yet_hired", "active", "terminated"] {
            assert_eq!(listed(&format!("as_of={day}&status={other}")).await, usize::from(other == status), "{other} on {day}");
        }
    }
}

#[tokio::test]
async fn a_person_shows_names_contact_employment_and_version() {
    let path = format!("/v1/employees/{}?as_of=2001-06-01", id("ann"));
    let reply = ask("hr", &path, &[]).await;
    assert_eq!(
        (reply.status, &reply.headers["etag"], &reply.headers["content-type"]),
        (200, &"\"4\"".parse().unwrap(), &"application/json".parse().unwrap())
    );
    let position = reply.headers["tenure-position"].to_str().unwrap().parse::<i64>().unwrap();
    assert!(position >= 100);
    let vienna = json!({"id": id("vie"), "code": "VIE", "name": "Vienna"});
    assert_eq!(
        reply.json(),
        json!({
            "as_of": "2001-06-01", "position": position, "employee_id": id("ann"), "employee_number": "A1", "original_hire_date": "2000-01-01", "version": 4,
            "status": "active",
            "person": {"given_name": "Ann", "family_name": "Müller", "birth_date": "1970-02-03", "gender": "F"},
            "contact": {"work_email": "ann@acme.example", "private_email": null, "phone": "+431234"},
            "employment": {"employment_id": id("ann1"), "starts_on": "2000-01-01", "ends_on": null, "termination_reason": null},
            "assignment": {"since": "2000-01-01", "department": {"id": id("hq"), "code": "HQ", "name": "Head office"},
                "job": {"id": id("mgr"), "code": "MGR", "name": "Manager"}, "location": vienna, "manager": null, "reason": "hire"},
            "pay": {"since": "2001-01-01", "rate": "2000.00", "currency": "EUR", "per": "month", "annual": "24000.00", "reason": "annual_review"},
        })
    );
    // Between two employments: the one that ended; the person as known.
    let bob: Employee = get(&format!("/v1/employees/{}?as_of=2006-01-01", id("bob"))).await;
    let employment = bob.employment.unwrap();
    assert_eq!((employment.ends_on.as_deref(), employment.termination_reason.as_deref()), (Some("2005-01-01"), Some("resignation")));
    // Before anything is known, what will be known first; an erased person has no name.
    let early: Employee = get(&format!("/v1/employees/{}?as_of=1990-01-01", id("bob"))).await;
    assert_eq!(early.person.unwrap().given_name.as_deref(), Some("Bob"));
    let erased: Employee = get(&format!("/v1/employees/{}", id("dan"))).await;
    assert_eq!(erased.person.unwrap().given_name, None);
}

#[tokio::test]
async fn what_is_not_there_and_what_is_anothers_can_not_be_told_apart() {
    let stranger = id("stranger");
    assert_eq!(ask("other", &format!("/v1/employees/{stranger}"), &[]).await.status, 200);
    for path in ["/v1/employees/{}", "/v1/employees/{}/history", "/v1/employees/{}/events", "/v1/org-chart?root={}"] {
        let (foreign, absent) = (
            ask("hr", &path.replace("{}", &stranger.to_string()), &[]).await,
            ask("hr", &path.replace("{}", &id("nobody").to_string()), &[]).await,
        );
        assert_eq!((absent.error(), &foreign.body), ((404, "not_found".into()), &absent.body), "{path}");
    }
    for thing in ["departments", "locations", "jobs"] {
        assert_eq!(ask("hr", &format!("/v1/{thing}/{}", id("nobody")), &[]).await.error(), (404, "not_found".into()));
    }
    let others: EmployeePage = serde_json::from_str(&ask("other", "/v1/employees?status=not_yet_hired", &[]).await.body).unwrap();
    assert_eq!(others.items, [], "the other tenant sees none of ours");
}

#[tokio::test]
async fn departments_stand_in_a_tree_as_of_a_day() {
    let shown = |d: &Department| format!("{} {}", d.name, d.path.as_ref().map_or("-".into(), |path| path.join("/")));
    for (day, expected) in [
        ("1999-12-31", vec![]),
        ("2004-12-31", vec!["Engineering HQ/ENG", "Head office HQ", "Laboratory HQ/LAB", "Operations HQ/OPS", "Web HQ/ENG/WEB"]),
        ("2005-01-01", vec!["Engineering HQ/ENG", "Head office HQ", "Operations HQ/OPS", "Web HQ/ENG/WEB"]),
        ("2010-01-01", vec!["Engineering HQ/ENG", "Head office HQ", "Operations HQ/ENG/OPS", "Online HQ/ENG/WEB"]),
        (
            "2015-01-01",
            vec!["Engineering HQ/ENG", "Head office HQ", "Ring one -", "Operations HQ/ENG/OPS", "Ring two -", "Online HQ/ENG/WEB"],
        ),
    ] {
        let page: DepartmentPage = get(&format!("/v1/departments?as_of={day}")).await;
        assert_eq!(page.items.iter().map(shown).collect::<Vec<_>>(), expected, "{day}");
        for department in &page.items {
            let one: Department = get(&format!("/v1/departments/{}?as_of={day}", department.department_id)).await;
            assert_eq!(&one, department);
        }
    }
    let below: DepartmentPage = get(&format!("/v1/departments?as_of=2010-01-01&parent={}", id("eng"))).await;
    assert_eq!(below.items.iter().map(|d| d.code.as_str()).collect::<Vec<_>>(), ["OPS", "WEB"]);
    assert_eq!(ask("hr", &format!("/v1/departments/{}?as_of=2005-01-01", id("lab")), &[]).await.error().0, 404);

    let jobs: JobPage = get("/v1/jobs?as_of=2009-12-31&limit=1").await;
    assert_eq!((jobs.items[0].title.as_str(), jobs.items[0].valid_to.as_deref()), ("Developer", Some("2010-01-01")));
    let rest: JobPage = get(&format!("/v1/jobs?limit=1&cursor={}", jobs.next_cursor.unwrap())).await;
    assert_eq!((rest.items[0].code.as_str(), rest.as_of.as_str(), rest.next_cursor), ("MGR", "2009-12-31", None));
    let locations: LocationPage = get("/v1/locations").await;
    assert_eq!((locations.items.len(), locations.items[0].time_zone.as_str()), (1, "Europe/Vienna"));
}

#[tokio::test]
async fn people_are_listed_by_department_job_manager_status_and_name() {
    let [hq, eng, web, ops, lab, one, dev, mgr, vie, ann, cat] =
        ["hq", "eng", "web", "ops", "lab", "one", "dev", "mgr", "vie", "ann", "cat"].map(id);
    for (query, expected) in [
        ("as_of=1999-12-31".into(), ""),
        ("as_of=2000-01-01".into(), "dan bob ann cat"),
        ("as_of=2006-01-01".into(), "dan ann cat"),
        ("as_of=2019-12-31".into(), "dan bob ann cat"),
        ("as_of=2020-01-01".into(), "dan bob ann"),
        // A department with those below it on that day: Operations moved below Engineering in 2010.
        (format!("as_of=2009-12-31&department={hq}"), "dan bob ann cat"),
        (format!("as_of=2009-12-31&department={hq}&include_subdepartments=false"), "ann"),
        (format!("as_of=2009-12-31&department={eng}"), ""),
        (format!("as_of=2010-01-01&department={eng}"), "dan bob cat"),
        (format!("as_of=2010-01-01&department={eng}&include_subdepartments=false"), ""),
        (format!("as_of=2003-01-01&department={eng}"), "bob"),
        (format!("as_of=2003-01-01&department={eng}&include_subdepartments=true&job={mgr}"), ""),
        (format!("as_of=2003-01-01&department={web}&job={dev}&location={vie}&manager={ann}&q=bob"), "bob"),
        (format!("as_of=2002-01-01&department={lab}"), ""),
        (format!("as_of=2016-06-01&department={one}"), "eva eve"),
        (format!("as_of=2016-06-01&department={}", id("nobody")), ""),
        (format!("as_of=2010-01-01&manager={cat}"), "dan bob"),
        (format!("as_of=2001-01-01&job={mgr}"), "ann cat"),
        (format!("as_of=2001-01-01&location={vie}"), "bob ann"),
        // Who is not employed on the day is found by the last assignment, or the first one to come.
        ("as_of=2006-01-01&status=terminated".into(), "bob"),
        (format!("as_of=2006-01-01&status=terminated&department={web}"), "bob"),
        (format!("as_of=2006-01-01&status=terminated&department={ops}"), ""),
        ("as_of=1999-12-31&status=not_yet_hired".into(), "dan bob ann eva eve cat"),
        (format!("as_of=1999-12-31&status=not_yet_hired&department={ops}"), "dan cat"),
        ("as_of=2008-01-01&status=terminated".into(), ""),
        ("as_of=2018-01-01&status=terminated".into(), "eva eve"),
        ("as_of=2006-01-01&status=not_yet_hired".into(), "eva eve"),
        // Names: any case, any part, every word; what LIKE takes for wildcards is text.
        ("as_of=2001-01-01&q=M%C3%9C".into(), "ann"),
        ("as_of=2010-01-01&q=muller".into(), ""),
        ("as_of=2010-01-01&q=ozil".into(), "ann"),
        ("as_of=2010-01-01&q=%C3%96zil+ANN".into(), "ann"),
        ("as_of=2010-01-01&q=%25".into(), "bob"),
        ("as_of=2010-01-01&q=_".into(), "cat"),
        ("as_of=2010-01-01&q=%5C".into(), ""),
        ("as_of=2010-01-01&q=a4".into(), "dan"),
        ("as_of=2010-01-01&q=bob+zzz".into(), ""),
    ] {
        let page: EmployeePage = get(&format!("/v1/employees?{query}")).await;
        let names: BTreeMap<_, _> = ["ann", "bob", "cat", "dan", "eve", "eva"].into_iter().map(|name| (id(name), name)).collect();
        let found: Vec<_> = page.items.iter().map(|e| names[&e.employee_id]).collect();
        assert_eq!(found.join(" "), expected, "{query}");
        assert_eq!(page.next_cursor, None);
    }
    let page: EmployeePage = get("/v1/employees?as_of=2003-01-01&q=bob").await;
    let bob = &page.items[0];
    assert_eq!(
        (bob.status, bob.starts_on.as_str(), bob.ends_on.as_deref(), bob.department.as_ref().unwrap().name.as_deref()),
        (Status::Active, "2000-01-01", Some("2005-01-01"), Some("Web"))
    );
    assert_eq!(bob.manager.as_ref().unwrap().family_name.as_deref(), Some("Müller"));
}

#[tokio::test]
async fn pages_hold_every_row_once_and_in_order() {
    for (list, limit, key) in [
        ("/v1/employees?as_of=2019-01-01", 1, "employee_id"),
        ("/v1/employees?as_of=2016-06-01", 2, "employee_id"),
        ("/v1/employees?as_of=1999-01-01&status=not_yet_hired", 1, "employee_id"),
        ("/v1/employees?as_of=2018-01-01&status=terminated", 1, "employee_id"),
        ("/v1/departments?as_of=2015-01-01", 1, "department_id"),
        ("/v1/departments?as_of=2015-01-01", 4, "department_id"),
        ("/v1/jobs?as_of=2015-01-01", 2, "job_id"),
    ] {
        let keys = |page: &Value| page["items"].as_array().unwrap().iter().map(|row| row[key].clone()).collect::<Vec<_>>();
        let whole: Value = get(list).await;
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        for round in 0.. {
            assert!(round < 20, "{list} never ends");
            let page: Value = get(&format!("{list}&limit={limit}{cursor}")).await;
            assert!(keys(&page).len() <= limit);
            seen.extend(keys(&page));
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(seen, keys(&whole), "{list} by {limit}");
    }
}

#[tokio::test]
async fn a_crowd_of_namesakes_is_paged_through_without_loss() {
    let (left, right, job) = (id("left"), id("right"), id("dev"));
    for (filter, count) in [
        (String::new(), 137),
        (format!("&department={left}"), 68),
        (format!("&department={right}&include_subdepartments=false&job={job}"), 69),
        (format!("&department={left}&q=7"), 5),
        (format!("&department={left}&q=7+ng&job={left}"), 0),
        ("&q=7".into(), 23),
        ("&q=ng".into(), 137),
    ] {
        for limit in [3, 50, 136, 137, 200] {
            let (mut seen, mut cursor) = (Vec::new(), String::new());
            loop {
                let reply = ask("crowd", &format!("/v1/employees?as_of=2001-01-01&limit={limit}{filter}{cursor}"), &[]).await;
                assert_eq!(reply.status, 200, "{}", reply.body);
                let page: EmployeePage = serde_json::from_str(&reply.body).unwrap();
                assert!(page.next_cursor.is_none() || page.items.len() == limit);
                // In the order of the root collation.
                let rank = |family: &str| ["", "ng", "Ng", "Ñg", "O'Hara"].iter().position(|name| *name == family).unwrap();
                let key = |e: EmployeeSummary| (rank(&e.family_name.unwrap_or_default()), e.given_name.unwrap_or_default(), e.employee_id);
                seen.extend(page.items.into_iter().map(key));
                let Some(next) = page.next_cursor else { break };
                cursor = format!("&cursor={next}");
            }
            assert!(seen.is_sorted_by(|a, b| a < b), "{filter} by {limit}: in order and nobody twice");
            assert_eq!(seen.len(), count, "{filter} by {limit}");
        }
    }
}

#[tokio::test]
async fn a_cursor_goes_with_its_list_only() {
    let page: EmployeePage = get("/v1/employees?as_of=2019-01-01&limit=1&q=a").await;
    let cursor = page.next_cursor.unwrap();
    let next: EmployeePage = get(&format!("/v1/employees?limit=200&q=a&cursor={cursor}")).await;
    assert_eq!(next.as_of, "2019-01-01", "a list goes on with its cursor's day");
    for path in [
        format!("/v1/employees?as_of=2019-01-02&limit=1&q=a&cursor={cursor}"),
        format!("/v1/employees?as_of=2019-01-01&limit=1&q=b&cursor={cursor}"),
        format!("/v1/employees?as_of=2019-01-01&limit=1&cursor={cursor}"),
        format!("/v1/employees?q=a&job={}&cursor={cursor}", id("dev")),
        format!("/v1/employees?q=a&cursor={}", cursor.to_lowercase()),
        format!("/v1/employees?q=a&cursor={cursor}A"),
        "/v1/employees?q=a&cursor=".into(),
        format!("/v1/departments?cursor={cursor}"),
    ] {
        assert_eq!(ask("hr", &path, &[]).await.error(), (400, "invalid_cursor".into()), "{path}");
    }
    assert_eq!(ask("other", &format!("/v1/employees?q=a&cursor={cursor}"), &[]).await.error(), (400, "invalid_cursor".into()));
}

#[tokio::test]
async fn a_history_shows_every_row_and_what_each_change_set() {
    let history: History = get(&format!("/v1/employees/{}/history", id("bob"))).await;
    let assignments: Vec<_> = history
        .assignments
        .iter()
        .map(|a| {
            format!(
                "{} {} {} {} {:?} {}",
                a.valid_from,
                a.seq,
                a.department.code.as_deref().unwrap(),
                a.superseded,
                a.sets,
                a.reason.as_deref().unwrap()
            )
        })
        .collect();
    assert_eq!(
        assignments,
        [
            r#"2000-01-01 0 ENG false ["department_id", "job_id", "location_id", "manager_id"] hire"#,
            r#"2002-01-01 0 LAB true ["department_id"] mistake"#,
            r#"2002-01-01 1 WEB false ["department_id"] transfer"#,
            r#"2007-03-01 0 OPS false ["department_id", "job_id", "location_id", "manager_id"] rehire"#,
        ]
    );
    assert_eq!(history.employments.iter().map(|e| e.ends_on.as_deref()).collect::<Vec<_>>(), [Some("2005-01-01"), None]);
    assert_eq!((history.version, history.compensations.len(), history.contact.len()), (9, 2, 0));
    let ann: History = get(&format!("/v1/employees/{}/history", id("ann"))).await;
    assert_eq!(
        ann.compensations.iter().map(|c| (c.rate.as_str(), c.per.as_str(), c.superseded)).collect::<Vec<_>>(),
        [("1000.10", "month", false), ("9.00", "hour", true), ("2000.00", "month", false)]
    );
    assert_eq!(ann.personal[1].sets, ["family_name"]);
    assert_eq!(ann.contact[0].sets, ["work_email", "private_email", "phone"]);
}

#[tokio::test]
async fn the_org_chart_goes_down_from_the_top_or_from_a_person() {
    let names: BTreeMap<_, _> = ["ann", "bob", "cat", "dan", "eve", "eva"].into_iter().map(|name| (id(name), name)).collect();
    for (query, truncated, expected) in [
        ("as_of=1999-01-01".into(), false, ""),
        ("as_of=2001-01-01".into(), false, "ann0/2 bob1/0 cat1/1 dan2/0"),
        ("as_of=2001-01-01&depth=0".into(), false, "ann0/2"),
        ("as_of=2001-01-01&depth=1".into(), false, "ann0/2 bob1/0 cat1/1"),
        ("as_of=2001-01-01&limit=2".into(), true, "ann0/2 bob1/0"),
        ("as_of=2001-01-01&limit=4".into(), false, "ann0/2 bob1/0 cat1/1 dan2/0"),
        (format!("as_of=2010-01-01&root={}", id("cat")), false, "cat0/2 dan1/0 bob1/0"),
        // A manager who has left leaves the reports at the top.
        ("as_of=2020-01-01".into(), false, "dan0/0 bob0/0 ann0/0"),
        (format!("as_of=2020-01-01&root={}", id("cat")), false, ""),
        // Two who lead each other are on no way down from the top, and from one of them the other is reached once.
        ("as_of=2016-06-01".into(), false, "ann0/1 cat1/2 dan2/0 bob2/0"),
        (format!("as_of=2016-06-01&depth=50&root={}", id("eve")), false, "eve0/1 eva1/1"),
    ] {
        let chart: OrgChart = get(&format!("/v1/org-chart?{query}")).await;
        let shown: Vec<_> = chart.nodes.iter().map(|n| format!("{}{}/{}", names[&n.employee_id], n.level, n.direct_reports)).collect();
        assert_eq!((shown.join(" ").as_str(), chart.truncated), (expected, truncated), "{query}");
        for node in chart.nodes {
            let person: Employee = get(&format!("/v1/employees/{}?as_of={}", node.employee_id, chart.as_of)).await;
            let (name, place) = (person.person.unwrap(), person.assignment.unwrap());
            assert_eq!((node.given_name, node.family_name), (name.given_name, name.family_name), "{query}");
            assert_eq!((node.department, node.job), (place.department, place.job), "{query}");
        }
    }
}

fn shown(figures: &Figures) -> String {
    let pay: Vec<_> = figures.annual_pay.iter().map(|a| format!("{} {}", a.amount, a.currency)).collect();
    format!("{}: {}", figures.headcount, pay.join(", "))
}

#[tokio::test]
async fn headcount_and_pay_add_up_by_group_as_of_a_day() {
    let figures = |headcount: i64, annual_pay: &[_]| shown(&Figures { headcount, annual_pay: annual_pay.to_vec() });
    for (query, total, groups) in [
        ("group_by=department&as_of=1999-12-31", "0: ", vec![]),
        (
            "group_by=department&as_of=2001-01-01",
            "4: 24000.05 EUR, 50000.00 USD",
            vec!["ENG Engineering 1: 50000.00 USD", "HQ Head office 1: 24000.00 EUR", "OPS Operations 2: 0.05 EUR"],
        ),
        (
            "group_by=department&as_of=2001-01-01&include_subdepartments=true",
            "4: 24000.05 EUR, 50000.00 USD",
            vec!["ENG Engineering 1: 50000.00 USD", "HQ Head office 4: 24000.05 EUR, 50000.00 USD", "OPS Operations 2: 0.05 EUR"],
        ),
        (
            "group_by=job&as_of=2010-01-01",
            "4: 24000.05 EUR, 60000.00 USD",
            vec!["DEV Engineer 2: 60000.00 USD", "MGR Manager 2: 24000.05 EUR"],
        ),
        (
            "group_by=location&as_of=2010-01-01",
            "4: 24000.05 EUR, 60000.00 USD",
            vec!["VIE Vienna 1: 24000.00 EUR", "- - 3: 0.05 EUR, 60000.00 USD"],
        ),
        (
            "group_by=department&as_of=2016-06-01&include_subdepartments=true",
            "6: 24000.05 EUR, 60000.00 USD",
            vec![
                "ENG Engineering 3: 0.05 EUR, 60000.00 USD",
                "HQ Head office 4: 24000.05 EUR, 60000.00 USD",
                "ONE Ring one 2: ",
                "OPS Operations 3: 0.05 EUR, 60000.00 USD",
                "TWO Ring two 2: ",
            ],
        ),
    ] {
        let report: Headcount = get(&format!("/v1/reports/headcount?{query}")).await;
        let found: Vec<_> = report
            .groups
            .iter()
            .map(|group| match group {
                Group::Unit { code, name, headcount, annual_pay, .. } => {
                    format!("{} {} {}", code.as_deref().unwrap_or("-"), name.as_deref().unwrap_or("-"), figures(*headcount, annual_pay))
                }
                Group::Month { .. } => panic!("a month in {query}"),
            })
            .collect();
        assert_eq!((shown(&report.total).as_str(), found), (total, groups.into_iter().map(String::from).collect()), "{query}");
    }
}

#[tokio::test]
async fn months_say_what_their_last_days_say() {
    let report: Headcount = get("/v1/reports/headcount?group_by=month&from=1999-11&to=2021-02-15").await;
    assert_eq!((report.groups.len(), report.as_of.as_str()), (256, "2021-02-28"));
    let mut months = BTreeSet::new();
    for group in &report.groups {
        let Group::Month { month, as_of, headcount, annual_pay } = group else { panic!("no month: {group:?}") };
        assert!(months.insert(month.clone()));
        let of_day: Headcount = get(&format!("/v1/reports/headcount?group_by=job&as_of={as_of}")).await;
        assert_eq!(of_day.total, Figures { headcount: *headcount, annual_pay: annual_pay.clone() }, "{month}");
    }
    let whole: Headcount = get("/v1/reports/headcount?group_by=month&from=2004-12&to=2004-12").await;
    assert_eq!((whole.groups.len(), shown(&whole.total).as_str()), (1, "4: 24000.05 EUR, 50000.00 USD"));
    let year: Headcount = get("/v1/reports/headcount?group_by=month").await;
    assert_eq!(year.groups.len(), 12);
}

#[tokio::test]
async fn what_can_not_be_understood_is_refused_and_named() {
    let ann = id("ann");
    for (path, error, field) in [
        ("/v1/employees?foo=1".into(), "unknown_parameter", "/foo"),
        ("/v1/employees?As_of=2000-01-01".into(), "unknown_parameter", "/As_of"),
        ("/v1/employees?as_of=2000-02-30".into(), "invalid_parameter", "/as_of"),
        ("/v1/employees?as_of=".into(), "invalid_parameter", "/as_of"),
        ("/v1/employees?as_of=2000-01-01&as_of=2000-01-01".into(), "invalid_parameter", "/as_of"),
        ("/v1/employees?limit=0".into(), "invalid_parameter", "/limit"),
        ("/v1/employees?limit=201".into(), "invalid_parameter", "/limit"),
        ("/v1/employees?limit=1e2".into(), "invalid_parameter", "/limit"),
        ("/v1/employees?status=gone".into(), "invalid_parameter", "/status"),
        ("/v1/employees?department=hr.*.%3E".into(), "invalid_parameter", "/department"),
        ("/v1/employees?manager=%7B0190a7b2-6c3e-7def-8000-0123456789ab%7D".into(), "invalid_parameter", "/manager"),
        ("/v1/employees?include_subdepartments=yes".into(), "invalid_parameter", "/include_subdepartments"),
        ("/v1/employees?q=".into(), "invalid_parameter", "/q"),
        ("/v1/employees?q=a%00b".into(), "invalid_parameter", "/q"),
        (format!("/v1/employees?q={}", "x".repeat(101)), "invalid_parameter", "/q"),
        (format!("/v1/employees/{ann}?limit=1"), "unknown_parameter", "/limit"),
        (format!("/v1/employees/{ann}/history?as_of=2000-01-01"), "unknown_parameter", "/as_of"),
        (format!("/v1/employees/{ann}/events?as_of=2000-01-01"), "unknown_parameter", "/as_of"),
        ("/v1/org-chart?depth=51".into(), "invalid_parameter", "/depth"),
        ("/v1/org-chart?limit=2001".into(), "invalid_parameter", "/limit"),
        ("/v1/org-chart?root=x".into(), "invalid_parameter", "/root"),
        ("/v1/reports/headcount".into(), "invalid_parameter", "/group_by"),
        ("/v1/reports/headcount?group_by=shoe_size".into(), "invalid_parameter", "/group_by"),
        ("/v1/reports/headcount?group_by=month&as_of=2000-01-01".into(), "invalid_parameter", "/as_of"),
        ("/v1/reports/headcount?group_by=job&from=2000-01".into(), "invalid_parameter", "/from"),
        ("/v1/reports/headcount?group_by=month&from=2000-02&to=2000-01".into(), "invalid_parameter", "/from"),
        ("/v1/reports/headcount?group_by=month&from=1950-01&to=2000-01".into(), "invalid_parameter", "/from"),
        ("/v1/reports/headcount?group_by=month&from=2000-13".into(), "invalid_parameter", "/from"),
        ("/v1/reports/headcount?group_by=job&include_subdepartments=true".into(), "invalid_parameter", "/include_subdepartments"),
        ("/v1/departments?parent=1".into(), "invalid_parameter", "/parent"),
        ("/v1/locations?parent=1".into(), "unknown_parameter", "/parent"),
    ] {
        let reply = ask("hr", &path, &[]).await;
        assert_eq!(reply.error(), (400, error.into()), "{path}: {}", reply.body);
        assert_eq!(reply.json()["errors"][0]["pointer"], field, "{path}");
    }
    for bad in ["1", "*", "%3E", "a%20b", "a%0d%0ab", "%24JS", "a%00", "%ff", &format!("%7B{ann}%7D"), &ann.simple().to_string()] {
        for path in ["/v1/employees/{}", "/v1/employees/{}/history", "/v1/employees/{}/events", "/v1/departments/{}", "/v1/jobs/{}"] {
            let reply = ask("hr", &path.replace("{}", bad), &[]).await;
            assert_eq!(reply.error(), (400, "invalid_id".into()), "{path} with {bad}");
        }
    }
    for (header, value) in [("tenure-min-position", "x"), ("tenure-min-position", "-1"), ("prefer", "wait=x")] {
        assert_eq!(ask("hr", "/v1/jobs", &[(header, value)]).await.error(), (400, "invalid_header".into()));
    }
}

#[tokio::test]
async fn a_query_waits_for_its_position_or_says_how_far_behind_it_is() {
    let world = &*WORLD;
    let reply = ask("hr", "/v1/jobs", &[("tenure-min-position", "100")]).await;
    assert_eq!(reply.status, 200, "{}", reply.body);

    let started = Instant::now();
    let reply = ask("hr", "/v1/jobs", &[("tenure-min-position", "1000000")]).await;
    assert_eq!((reply.error(), &reply.headers["retry-after"]), ((503, "projection_behind".into()), &"1".parse().unwrap()));
    assert!(reply.json()["detail"].as_str().unwrap().contains("behind the position 1000000"), "{}", reply.body);
    assert!(started.elapsed() < Duration::from_secs(2), "no wait was asked for");

    let started = Instant::now();
    assert_eq!(ask("hr", "/v1/jobs", &[("tenure-min-position", "1000000"), ("prefer", "wait=1")]).await.status, 503);
    assert!(started.elapsed() >= Duration::from_secs(1));

    // Beside one that waits for long, what is there is there, and who does not wait is told at once.
    let (far, there, beyond) = (
        [("tenure-min-position", "1000000"), ("prefer", "wait=2")],
        [("tenure-min-position", "100")],
        [("tenure-min-position", "1000000")],
    );
    let (waited, ()) = tokio::join!(ask("hr", "/v1/jobs", &far), async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(ask("hr", "/v1/jobs", &there).await.status, 200);
        assert_eq!(ask("hr", "/v1/jobs", &beyond).await.error(), (503, "projection_behind".into()));
    });
    assert_eq!(waited.status, 503);

    let behind = [("tenure-min-position", "150"), ("prefer", "wait=20")];
    let (reply, ()) = tokio::join!(ask("hr", "/v1/jobs", &behind), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let filling = fill(&world.projector, world.acme, "update checkpoint set position = 150;");
        world.runtime.spawn(filling).await.unwrap();
    });
    assert_eq!((reply.status, &reply.headers["tenure-position"]), (200, &"150".parse().unwrap()));
}

#[tokio::test]
async fn auditors_read_recorded_events_with_personal_data_sealed() {
    let world = &*WORLD;
    let (person, employment) = (EmployeeId::from_uuid(id("audited")), EmploymentId::from_uuid(id("audited1")));
    let effective = Effective { on: "2020-01-01".parse().unwrap(), seq: 0 };
    let pay = |amount: &str| CompensationChanged {
        employee_id: person,
        employment_id: employment,
        effective,
        pay: Pay { rate: Money::new(amount.parse().unwrap(), "EUR".parse().unwrap()).unwrap(), per: events::PayPeriod::Year },
        reason: "annual_review".into(),
    };
    let contact = ContactDetailsChanged { employee_id: person, effective, changes: Personal::Sealed("xc1:c2VhbGVk".into()) };
    let events = vec![
        ("CompensationChanged", 2, serde_json::to_value(pay("10")).unwrap()),
        ("ContactDetailsChanged", 1, serde_json::to_value(contact).unwrap()),
        ("CompensationChanged", 2, serde_json::to_value(pay("20")).unwrap()),
    ];
    world.runtime.spawn(append(&world.store, world.acme, StreamName::employee(world.acme, person), events)).await.unwrap();
    let list = format!("/v1/employees/{person}/events?limit=2");
    let first: Value = get(&list).await;
    let types = |page: &Value| page["items"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(types(&first), ["tenure.employee.CompensationChanged.v2", "tenure.employee.ContactDetailsChanged.v1"]);
    assert_eq!(first["items"][1]["data"]["changes"], "xc1:c2VhbGVk");
    assert_eq!((&first["items"][1]["streamversion"], &first["items"][1]["actor"]), (&json!("2"), &json!("tester")));
    let second: Value = get(&format!("{list}&cursor={}", first["next_cursor"].as_str().unwrap())).await;
    assert_eq!((types(&second).len(), &second["items"][0]["streamversion"], &second["next_cursor"]), (1, &json!("3"), &Value::Null));
    assert_eq!(ask("other", &list, &[]).await.error(), (404, "not_found".into()));
}

#[tokio::test]
async fn a_query_written_by_hand_shows_what_its_reader_may_see() {
    let ask = async |token: &str, sql: &str| {
        let mut path = reqwest::Url::parse("http://x/by-hand").unwrap();
        path.query_pairs_mut().append_pair("sql", sql);
        ask(token, &path.as_str()["http://x".len()..], &[]).await
    };
    let rows = async |token, sql| {
        let reply = ask(token, sql).await;
        assert_eq!(reply.status, 200, "{sql}: {}", reply.body);
        reply.json().as_array().unwrap().len()
    };
    for sql in
        ["select * from employee", "select given_name from person_span", "select * from department_span", "select position from checkpoint"]
    {
        assert!(rows("auditor", sql).await > 0, "{sql}");
        assert_eq!(rows("auditor", sql).await, rows("manager", sql).await, "{sql}");
    }
    // Somebody who may see nobody's pay and personal facts.
    for sql in [
        "select * from compensation_span",
        "select * from headcount_step",
        "select p.* from person_span p where p.birth_date is not null or gender is not null",
        "select PHONE from Contact_Span where phone is not null",
        "with a as (select * from assignment_span) select * from a where reason is not null",
        "select * from employment where termination_reason is not null",
    ] {
        assert!(rows("auditor", sql).await > 0, "{sql}");
        assert_eq!(rows("manager", sql).await, 0, "{sql}");
    }
    // What says nothing is for nobody.
    for sql in ["select * from note", "select text from note", "select fence from checkpoint", "select * from checkpoint"] {
        for token in ["auditor", "manager"] {
            let reply = ask(token, sql).await;
            assert_eq!((reply.status, reply.body.contains("undeclared")), (500, false), "{token} {sql}: {}", reply.body);
        }
    }
    // Nor is there a way around.
    let schema = read_schema(WORLD.acme.tenant(), READ_MODEL_VERSION);
    for sql in [
        format!("select * from {schema}.compensation_span"),
        format!("select * from \"{schema}\".\"compensation_span\""),
        "select * from U&\"compensation\\005fspan\"".to_owned(),
        "select most_common_vals::text from pg_stats where tablename = 'compensation_span'".to_owned(),
    ] {
        let reply = ask("manager", &sql).await;
        assert_eq!(reply.status, 500, "{sql}: {}", reply.body);
    }
}

#[tokio::test]
async fn operators_see_tenants_and_nothing_else() {
    let page = ask("operator", "/v1/tenants?limit=1", &[]).await;
    assert_eq!(page.status, 200, "{}", page.body);
    let mut slugs = Vec::new();
    let mut page: TenantPage = serde_json::from_str(&page.body).unwrap();
    loop {
        slugs.extend(page.items.iter().map(|tenant| tenant.slug.clone()));
        let Some(cursor) = page.next_cursor else { break };
        page = serde_json::from_str(&ask("operator", &format!("/v1/tenants?limit=1&cursor={cursor}"), &[]).await.body).unwrap();
    }
    slugs.retain(|slug| slug != "platform");
    assert_eq!(slugs, ["acme", "again", "crowd", "other"]);
    let acme = WORLD.acme.tenant();
    let one = ask("operator", &format!("/v1/tenants/{acme}"), &[]).await.json();
    assert_eq!((&one["slug"], &one["state"], &one["name"]), (&json!("acme"), &json!("ready"), &json!("ACME")));
    assert_eq!(
        ask("operator", &format!("/v1/tenants/{}", TenantId::from_uuid(Uuid::now_v7())), &[]).await.error(),
        (404, "not_found".into())
    );
    let named = ask("operator", "/v1/tenants?slug=acme", &[]).await.json();
    assert_eq!((&named["items"], &named["next_cursor"]), (&json!([one]), &Value::Null));
    assert_eq!(ask("operator", "/v1/tenants?slug=nobody", &[]).await.json()["items"], json!([]));
    assert_eq!(ask("operator", "/v1/tenants?slug=platform", &[]).await.json()["items"], json!([]));
    assert_eq!(ask("operator", "/v1/tenants?slug=Acme%20", &[]).await.error(), (400, "invalid_parameter".into()));
    assert_eq!(ask("operator", "/v1/tenants/acme", &[]).await.error(), (400, "invalid_id".into()));
    assert_eq!(ask("hr", "/v1/tenants", &[]).await.error(), (403, "forbidden".into()));
    assert_eq!(ask("hr", &format!("/v1/tenants/{acme}"), &[]).await.error(), (403, "forbidden".into()));
    assert_eq!(ask("operator", "/v1/employees", &[]).await.error(), (403, "forbidden".into()));
}

#[tokio::test]
async fn every_documented_route_wants_a_token_and_takes_no_other_method() {
    let contract: Value = serde_json::from_str(&query_api::openapi_json()).unwrap();
    assert_eq!(ask("", "/openapi.json", &[]).await.json(), contract);
    let paths = contract["paths"].as_object().unwrap();
    assert!(paths.len() >= 14);
    for path in paths.keys() {
        let path = path.replace("{id}", &id("ann").to_string());
        assert_eq!(ask("", &path, &[]).await.error(), (401, "missing_token".into()), "{path}");
        let posted = WORLD.http.post(format!("{}{path}", WORLD.base)).send().await.unwrap();
        assert_eq!(posted.status(), 405, "{path}");
    }
    for page in ["/", "/docs"] {
        let page = ask("", page, &[]).await;
        assert!(
            page.status == 200 && !page.body.contains("https://") && !page.body.contains("src="),
            "a page needs nothing from elsewhere"
        );
    }
    assert!(ask("", "/.well-known/jwks.json", &[]).await.json()["keys"].as_array().is_some_and(|keys| !keys.is_empty()));
    assert_eq!(ask("hr", "/v1/nothing", &[]).await.error().0, 404);
}
