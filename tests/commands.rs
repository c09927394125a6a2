//! The command API over real PostgreSQL and real HTTP: what a command does, once, whoever sends it how often.
//!
//! Two services run on one database, as two processes would: each has its own cache, which the other makes stale.

use std::{
    collections::{BTreeSet, HashSet},
    future::Future,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use command_api::{App, BatchLimits};
use events::{
    CommandHash, CommandId, CorrelationId, NewEvent, StreamName, TenantId, TenantScope,
    tenancy::{Subscription, TenancyEvent, TenantProvisioned, TenantRegistered, TenantSuspended},
};
use futures::{
    StreamExt as _,
    future::join_all,
    stream::{self, BoxStream},
};
use platform::{
    Config, ConnectionLimits, Gate, Keys, Process, Registry, Release,
    auth::{Issuer, TokenRequest},
    database, health,
    http::{Limits, shell},
    keys, provision, release,
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, PgPool, postgres::PgConnectOptions};
use store::{Append, Expected, IdScope, Store};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::contract;

/// Two command APIs on one database.
pub(crate) struct World {
    bases: [String; 2],
    options: PgConnectOptions,
    config: Config,
    owner: PgPool,
    worker: PgPool,
    keys: Keys,
    store: Store,
    issuer: Issuer,
    http: reqwest::Client,
}

/// A tenant of the world, and a token for it.
pub(crate) struct Tenant {
    pub(crate) scope: TenantScope,
    pub(crate) slug: String,
    pub(crate) token: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    /// Status and code of a problem document.
    #[track_caller]
    pub(crate) fn error(&self) -> (u16, &str) {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], self.status, "{self:?}");
        (self.status, self.body["error"].as_str().unwrap_or_else(|| panic!("no code in {self:?}")))
    }
    /// The answer's body, which must be a success.
    #[track_caller]
    pub(crate) fn done(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        assert_eq!(self.headers["etag"], format!("\"{}\"", self.body["version"]), "{self:?}");
        assert_eq!(self.headers["tenure-position"], self.body["position"].to_string().as_str(), "{self:?}");
        self.body
    }
}

/// Runs a test on the world's own runtime, which outlives each test.
pub(crate) fn in_world<F: Future<Output = ()>>(test: impl FnOnce(&'static World) -> F) {
    static WORLD: LazyLock<(tokio::runtime::Runtime, World)> = LazyLock::new(|| {
        let start = || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let world = runtime.block_on(World::start());
            (runtime, world)
        };
        std::thread::spawn(start).join().unwrap()
    });
    let (runtime, world) = &*WORLD;
    runtime.block_on(test(world));
}

impl World {
    async fn start() -> Self {
        let options = crate::servers::fresh_database("commands").await;
        let owner = database::pool_options(4).connect_with(options.clone()).await.unwrap();
        release::bootstrap(&owner, &[]).await.unwrap();
        let worker = database::pool_options(4).connect_lazy_with(options.clone().username("tenure_worker"));
        let key_file = std::env::temp_dir().join(format!("commands_{}.key", Uuid::now_v7().simple()));
        keys::create_master_key(&key_file).unwrap();
        let url = options.clone().username("tenure_command").to_url_lossy().to_string();
        let config = Config::from_sources(Process::CommandApi, None, |variable| match variable {
            "TENURE_DATABASE_URL" => Some(url.clone()),
            "TENURE_MASTER_KEY_FILE" => Some(key_file.display().to_string()),
            _ => None,
        })
        .unwrap();
        let keys = Keys::open(&config, worker.clone()).await.unwrap();
        let store = Store::open(&url, None, 2).await.unwrap();
        let issuer = Issuer::open(&config, &owner, &keys).await.unwrap();
        let bases = [serve(&config, &url, limits()).await, serve(&config, &url, limits()).await];
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        Self { bases, options, config, owner, worker, keys, store, issuer, http }
    }

    /// A new tenant, ready.
    pub(crate) async fn tenant(&self) -> Tenant {
        let tenant = self.tenant_with(None, |id| vec![TenantProvisioned { tenant_id: id }.into()]).await;
        provision::provision(&self.worker, &self.keys, tenant.scope).await.unwrap();
        tenant
    }
    /// A new tenant whose registration is followed by these events, not provisioned.
    pub(crate) async fn tenant_with(&self, expires_at: Option<&str>, events: impl FnOnce(TenantId) -> Vec<TenancyEvent>) -> Tenant {
        let id = TenantId::from_uuid(Uuid::now_v7());
        let slug = format!("t-{}", &id.uuid().simple().to_string()[20..]);
        let subscription = Subscription { plan: "test".into(), expires_at: expires_at.map(|at| at.parse().unwrap()) };
        let mut all: Vec<TenancyEvent> =
            vec![TenantRegistered { tenant_id: id, slug: slug.clone(), name: slug.clone(), subscription }.into()];
        all.extend(events(id));
        self.record(StreamName::tenancy(id), &all).await;
        Tenant { scope: TenantScope::checked(id), token: self.token(id, &slug, "hr"), slug }
    }
    /// Appends events about a tenant, as the platform would.
    pub(crate) async fn record(&self, stream: StreamName, events: &[TenancyEvent]) {
        let command_id = CommandId::from_uuid(Uuid::now_v7());
        let events = events.iter().enumerate().map(|(n, event)| NewEvent {
            id: NewEvent::id_for(command_id, n),
            event_type: event.event_type(),
            schema_version: event.schema_version(),
            data: serde_json::value::to_raw_value(event).unwrap(),
        });
        let metadata = events::Metadata {
            actor: "tester".into(),
            command_id,
            command_hash: CommandHash(Uuid::nil()),
            correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
            causation_id: None,
            traceparent: None,
        };
        let scope = Registry::platform_scope();
        self.store
            .append(Append {
                scope,
                stream,
                expected: Expected::Any,
                events: events.collect(),
                claims: vec![],
                metadata,
                id_scope: IdScope::Tenant,
            })
            .await
            .unwrap();
    }
    pub(crate) fn token(&self, tenant: TenantId, slug: &str, role: &str) -> String {
        self.token_of("tester", tenant, slug, role)
    }
    fn token_of(&self, subject: &str, tenant: TenantId, slug: &str, role: &str) -> String {
        let request = TokenRequest {
            subject: subject.into(),
            tenant,
            slug: slug.into(),
            roles: vec![role.to_owned()],
            employee: None,
            session: None,
            lifetime_s: 600,
        };
        self.issuer.issue(&request).unwrap().expose_secret().to_owned()
    }
    pub(crate) fn operator(&self) -> String {
        self.token(TenantId::PLATFORM, "platform", "operator")
    }
    /// The database's superuser.
    pub(crate) const fn owner(&self) -> &PgPool {
        &self.owner
    }
    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }
    /// The end of a tenant's log.
    pub(crate) async fn head(&self, scope: TenantScope) -> u64 {
        self.store.head(scope).await.unwrap().0
    }
    /// Any request to one of the services.
    pub(crate) async fn send(
        &self,
        service: usize,
        token: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Reply {
        let mut request = self.http.post(format!("{}{path}", self.bases[service]));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.body(body).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.text().await.unwrap();
        let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
        contract::check("POST", path, status, &body);
        Reply { status, headers, body }
    }
    /// A command to one of the services; no key if that is empty.
    pub(crate) async fn on(&self, service: usize, tenant: &Tenant, path: &str, key: &str, body: &Value) -> Reply {
        let mut headers = vec![("content-type", "application/json")];
        if !key.is_empty() {
            headers.push(("idempotency-key", key));
        }
        self.send(service, &tenant.token, path, &headers, body.to_string()).await
    }
    /// A command without a key, to the first service, that must succeed.
    pub(crate) async fn done(&self, tenant: &Tenant, path: &str, body: Value) -> Value {
        self.on(0, tenant, path, "", &body).await.done()
    }
    /// Lines to one of the services; the result lines.
    pub(crate) async fn batch(&self, service: usize, tenant: &Tenant, lines: &str) -> Vec<Value> {
        let reply = self.send(service, &tenant.token, "/v1/batch", &[("content-type", "application/x-ndjson")], lines.to_owned()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        match reply.body {
            Value::String(text) => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            Value::Null => vec![],
            one @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => vec![one],
        }
    }
    /// A department and a job since 2000, and the hire of somebody into them on 2010-01-01.
    pub(crate) async fn company(&self, tenant: &Tenant) -> Company {
        let id = |answer: Value| answer["id"].as_str().unwrap().to_owned();
        let department = self.done(tenant, "/v1/departments", json!({"effective_on": "2000-01-01", "code": "D", "name": "Dept"})).await;
        let job = self.done(tenant, "/v1/jobs", json!({"effective_on": "2000-01-01", "code": "J", "title": "Job"})).await;
        let company = Company { department: id(department), job: id(job), employee: String::new() };
        let employee = id(self.done(tenant, "/v1/employees", company.hire("1")).await);
        Company { employee, ..company }
    }
}

/// Something to change.
pub(crate) struct Company {
    pub(crate) department: String,
    pub(crate) job: String,
    pub(crate) employee: String,
}

impl Company {
    pub(crate) fn assignment(&self) -> Value {
        json!({"department_id": self.department, "job_id": self.job})
    }
    pub(crate) fn hire(&self, number: &str) -> Value {
        json!({"hire_date": "2010-01-01", "employee_number": number, "person": {"given_name": "Ada", "family_name": "Lovelace"},
            "assignment": self.assignment(), "pay": pay("1000")})
    }
    pub(crate) fn path(&self, what: &str) -> String {
        format!("/v1/employees/{}/{what}", self.employee)
    }
}

pub(crate) fn pay(amount: &str) -> Value {
    json!({"rate": {"amount": amount, "currency": "EUR"}, "per": "month"})
}
fn raise(day: &str, amount: &str) -> Value {
    json!({"effective_on": day, "pay": pay(amount), "reason": "review"})
}

fn limits() -> BatchLimits {
    BatchLimits { line: Duration::from_secs(5), idle: Duration::from_secs(5), lines: BatchLimits::LINES, stop: CancellationToken::new() }
}

/// A command API of its own on this database; its address.
async fn serve(config: &Config, url: &str, limits: BatchLimits) -> String {
    let pool = database::pool_options(8).connect_lazy_with(url.parse().unwrap());
    let store = Store::open(url, None, 8).await.unwrap();
    let keys = Keys::open(config, pool.clone()).await.unwrap();
    let reader = store.clone();
    let registry = Registry::start(Arc::new(move |seen, limit| {
        let store = reader.clone();
        Box::pin(async move { Ok(store.read_log_on(Registry::platform_scope(), seen, limit).await?) })
    }))
    .await
    .unwrap();
    let gate = Gate::start(config, pool.clone(), registry.clone()).await.unwrap();
    let release = Release::join(&pool, Process::CommandApi, CancellationToken::new()).await.unwrap();
    let app = command_api::router(App::new(gate, command_api::Logins::default(), store, keys, release, pool, limits));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let served = shell(app, Limits { timeout: Duration::from_secs(5), body: 1 << 20, concurrent: 500 }, None);
    tokio::spawn(health::serve_on(listener, served, ConnectionLimits::default(), CancellationToken::new(), Duration::ZERO));
    base
}

#[test]
fn every_command_has_its_route_and_a_person_lives_through_them() {
    in_world(|world| async move {
        let tenant = world.tenant().await;
        let c = world.company(&tenant).await;
        let dept = |what: &str| format!("/v1/departments/{}/{what}", c.department);
        let other = world.done(&tenant, "/v1/departments", json!({"effective_on": "2000-01-01", "code": "E", "name": "E"})).await;
        let other = other["id"].as_str().unwrap();
        let place = world
            .done(&tenant, "/v1/locations", json!({"effective_on": "2000-01-01", "code": "V", "name": "V", "time_zone": "Europe/Vienna"}))
            .await;
        let place = place["id"].as_str().unwrap();
        let boss = world.done(&tenant, "/v1/employees", c.hire("2")).await;
        for (path, body) in [
            (dept("name"), json!({"effective_on": "2001-01-01", "name": "Department"})),
            (dept("parent"), json!({"effective_on": "2001-01-01", "parent_id": other})),
            (dept("parent"), json!({"effective_on": "2002-01-01", "parent_id": null})),
            (format!("/v1/locations/{place}/changes"), json!({"effective_on": "2001-01-01", "name": "Vienna"})),
            (format!("/v1/jobs/{}/title", c.job), json!({"effective_on": "2001-01-01", "title": "Engineer"})),
            (
                c.path("assignment-changes"),
                json!({"effective_on": "2011-01-01", "reason": "transfer",
                "changes": {"department_id": other, "location_id": place, "manager_id": boss["id"]}}),
            ),
            (c.path("compensation-changes"), raise("2011-01-01", "1500.50")),
            (c.path("personal-details"), json!({"effective_on": "2012-01-01", "changes": {"family_name": "King"}})),
            (
                c.path("contact-details"),
                json!({"effective_on": "2012-01-01", "changes": {"work_email": "ada@example.com", "phone": "+4312345678"}}),
            ),
            (c.path("termination"), json!({"last_day_worked": "2015-12-31", "reason": "resignation"})),
            (c.path("rehire"), json!({"hire_date": "2017-01-01", "assignment": c.assignment()})),
            (format!("/v1/departments/{other}/closure"), json!({"effective_on": "2020-01-01"})),
            (format!("/v1/locations/{place}/closure"), json!({"effective_on": "2020-01-01"})),
            (format!("/v1/jobs/{}/retirement", c.job), json!({"effective_on": "2020-01-01"})),
        ] {
            let before = world.head(tenant.scope).await;
            let answer = world.done(&tenant, &path, body).await;
            assert_eq!(answer["events"].as_array().unwrap().len(), 1, "{path}: {answer}");
            assert_eq!(answer["position"], before + 1, "{path}: {answer}");
        }
        let stream = StreamName::employee(tenant.scope, c.employee.parse().unwrap());
        let events = world.store.read_stream(stream, events::Version::ZERO, 100).await.unwrap();
        let types: Vec<_> = events.iter().map(|e| e.event_type.as_str()).collect();
        let expected = "EmployeeHired AssignmentChanged CompensationChanged PersonalDetailsChanged ContactDetailsChanged EmployeeTerminated EmployeeRehired";
        assert_eq!(types.join(" "), expected);
        assert!(events.iter().all(|e| e.metadata.actor == "tester"));
    });
}

/// A refusal is a command's answer for 24 hours, and that it changed nothing is for ever.
#[test]
fn a_refusal_is_remembered_for_a_day_and_what_changed_nothing_for_ever() {
    in_world(|world| async move {
        let tenant = world.tenant().await;
        let c = world.company(&tenant).await;
        let ages = async |by: &str| {
            for (table, column) in [("platform.command_answer", "recorded_at"), ("event_store.answered_command", "answered_at")] {
                let id = tenant.scope.tenant().uuid();
                let sql = format!("update {table} set {column} = {column} - interval '{by}' where tenant_id = '{id}'");
                let mut tx = world.owner.begin().await.unwrap();
                sqlx::query("set local session_replication_role = replica").execute(&mut *tx).await.unwrap();
                assert!(sqlx::query(&sql).execute(&mut *tx).await.unwrap().rows_affected() > 0, "{table}");
                tx.commit().await.unwrap();
            }
        };
        let (rehire, back) = (c.path("rehire"), json!({"hire_date": "2010-09-01", "assignment": c.assignment()}));
        let (name, same) = (format!("/v1/departments/{}/name", c.department), json!({"effective_on": "2000-01-01", "name": "Dept"}));
        let mut taken = c.hire("1");
        taken["hire_date"] = json!("2011-01-01");
        assert_eq!(world.on(0, &tenant, &rehire, "back", &back).await.error(), (422, "still_employed"));
        assert_eq!(world.on(0, &tenant, &name, "same", &same).await.done()["events"], json!([]));
        assert_eq!(world.on(0, &tenant, "/v1/employees", "taken", &taken).await.error(), (409, "employee_number_taken"));
        world.done(&tenant, &c.path("termination"), json!({"last_day_worked": "2010-06-30", "reason": "left"})).await;
        world.done(&tenant, &name, json!({"effective_on": "2000-01-01", "name": "Another"})).await;
        ages("23 hours").await;
        assert_eq!(world.on(1, &tenant, &rehire, "back", &back).await.error(), (422, "still_employed"), "for a day");
        ages("2 hours").await;
        // Refused again is refused for a day again.
        assert_eq!(world.on(1, &tenant, "/v1/employees", "taken", &taken).await.headers.get("idempotency-replayed"), None);
        assert_eq!(world.on(0, &tenant, "/v1/employees", "taken", &taken).await.headers["idempotency-replayed"], "true");
        let judged = world.on(1, &tenant, &rehire, "back", &back).await.done();
        assert_eq!((judged["replayed"].as_bool(), judged["events"].as_array().unwrap().len()), (Some(false), 1), "{judged}");
        ages("400 days").await;
        for service in [0, 1] {
            let again = world.on(service, &tenant, &rehire, "back", &back).await.done();
            assert_eq!((again["replayed"].as_bool(), &again["events"]), (Some(true), &judged["events"]));
            let nothing = world.on(service, &tenant, &name, "same", &same).await.done();
            assert_eq!((nothing["replayed"].as_bool(), &nothing["events"]), (Some(true), &json!([])), "for ever");
        }
        // Another command under the key of a refusal that lapsed is a command of its own.
        let third = world.on(0, &tenant, &name, "taken", &json!({"effective_on": "2000-01-01", "name": "Third"})).await.done();
        assert_eq!(third["events"].as_array().unwrap().len(), 1, "{third}");
    });
}

/// A key of a build before, which named a command of the tenant, gives its sender the first answer for ever; to others it is nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_before_gives_its_first_answer() {
    let world = World::start().await;
    sqlx::query("insert into platform.tenant_wide_keys default values").execute(&world.owner).await.unwrap();
    let tenant = world.tenant().await;
    let c = world.company(&tenant).await;
    let id = tenant.scope.tenant().uuid();
    let (raises, body) = (c.path("compensation-changes"), raise("2011-01-01", "2000"));
    let raised = world.on(0, &tenant, &raises, "raise", &body).await.done();
    let hired = world.on(0, &tenant, "/v1/employees", "hire", &c.hire("2")).await.done();
    let (name, same) = (format!("/v1/departments/{}/name", c.department), json!({"effective_on": "2000-01-01", "name": "Dept"}));
    let nothing = world.on(0, &tenant, &name, "same", &same).await.done();
    // As if a build before had recorded them.
    let mut tx = world.owner.begin().await.unwrap();
    sqlx::query("set local session_replication_role = replica").execute(&mut *tx).await.unwrap();
    for (key, answer) in [("raise", Some(&raised)), ("hire", Some(&hired)), ("same", None)] {
        let (old, new) = (CommandId::derive(id, key).uuid(), CommandId::derive(id, &format!("{key}\ntester")).uuid());
        let mut done = 0;
        if let Some(answer) = answer {
            let stream = if key == "hire" { events::EmployeeId::derive(old, "employee").uuid() } else { c.employee.parse().unwrap() };
            let sql =
                "update event_store.event set command_id = $1, stream_id = $2 where tenant_id = $3 and command_id = $4 and event_id = $5";
            let event: Uuid = answer["events"][0].as_str().unwrap().parse().unwrap();
            done += sqlx::query(sql).bind(old).bind(stream).bind(id).bind(new).bind(event).execute(&mut *tx).await.unwrap().rows_affected();
        } else {
            for table in ["platform.command_answer", "event_store.answered_command"] {
                let sql = format!("update {table} set command_id = $1 where tenant_id = $2 and command_id = $3");
                done += sqlx::query(&sql).bind(old).bind(id).bind(new).execute(&mut *tx).await.unwrap().rows_affected();
            }
        }
        assert!(done > 0, "{key} was recorded under its sender's key");
    }
    tx.commit().await.unwrap();
    world.done(&tenant, &name, json!({"effective_on": "2000-01-01", "name": "Another"})).await;

    let again = world.on(1, &tenant, &raises, "raise", &body).await.done();
    assert_eq!((again["replayed"].as_bool(), &again["events"], &again["id"]), (Some(true), &raised["events"], &raised["id"]));
    let again = world.on(1, &tenant, "/v1/employees", "hire", &c.hire("2")).await.done();
    assert_eq!((again["replayed"].as_bool(), &again["events"]), (Some(true), &hired["events"]));
    let again = world.on(1, &tenant, &name, "same", &same).await.done();
    assert_eq!((again["replayed"].as_bool(), &again["events"]), (Some(true), &nothing["events"]));
    let reused = world.on(0, &tenant, &raises, "raise", &raise("2011-01-01", "3000")).await;
    assert_eq!(reused.error(), (422, "idempotency_key_reused"));
    // Somebody else's word is another.
    let other = Tenant { token: world.token_of("another", tenant.scope.tenant(), &tenant.slug, "hr"), slug: tenant.slug.clone(), ..tenant };
    let judged = world.on(0, &other, &raises, "raise", &raise("2012-01-01", "3000")).await.done();
    assert_eq!((judged["replayed"].as_bool(), judged["events"].as_array().unwrap().len()), (Some(false), 1));
    let twice = world.on(1, &other, &raises, "raise", &raise("2012-01-01", "3000")).await.done();
    assert_eq!((twice["replayed"].as_bool(), &twice["events"]), (Some(true), &judged["events"]));
}

#[test]
fn a_retry_gets_the_first_answer() {
    in_world(|world| async move {
        let (tenant, other) = (world.tenant().await, world.tenant().await);
        let c = world.company(&tenant).await;
        let again = async |service, path: &str, key: &str, body: &Value, first: &Reply| {
            let before = world.head(tenant.scope).await;
            let retry = world.on(service, &tenant, path, key, body).await;
            assert_eq!(retry.status, first.status, "{retry:?}");
            let (mut a, mut b) = (first.body.clone(), retry.body.clone());
            if first.status < 300 {
                assert_eq!((a["replayed"].take(), b["replayed"].take()), (json!(false), json!(true)));
                assert_eq!(retry.headers["etag"], first.headers["etag"]);
            }
            assert_eq!(a, b);
            assert_eq!(retry.headers["idempotency-replayed"], "true");
            assert_eq!(world.head(tenant.scope).await, before, "a retry appended");
        };

        // Done; then done again on a state on which it would be refused, here and in the other process.
        let (path, body) = (c.path("compensation-changes"), raise("2011-01-01", "2000"));
        let first = world.on(0, &tenant, &path, "raise", &body).await;
        assert_eq!((first.status, &first.body["replayed"]), (200, &json!(false)));
        again(0, &path, "raise", &body, &first).await;
        world.done(&tenant, &c.path("termination"), json!({"last_day_worked": "2010-06-30", "reason": "left"})).await;
        again(0, &path, "raise", &body, &first).await;
        again(1, &path, "raise", &body, &first).await;
        // A creation: the id is the same.
        let hired = world.on(0, &tenant, "/v1/employees", "hire", &c.hire("2")).await;
        assert_eq!(hired.status, 201);
        again(1, "/v1/employees", "hire", &c.hire("2"), &hired).await;
        // White space and the order of fields make no other command.
        let reordered = format!("{{\"pay\": {}, \"reason\":\"review\",\n \"effective_on\": \"2011-01-01\"}}", pay("2000"));
        let headers = [("content-type", "application/json"), ("idempotency-key", "raise")];
        assert_eq!(world.send(0, &tenant.token, &path, &headers, reordered).await.status, 200);

        // Refused; then again on a state on which it would be done.
        let (rehire, body) = (c.path("rehire"), json!({"hire_date": "2010-03-01", "assignment": c.assignment()}));
        let refused = world.on(0, &tenant, &rehire, "rehire", &body).await;
        assert_eq!(refused.error(), (422, "rehire_before_end"));
        let (name, body) = (format!("/v1/departments/{}/name", c.department), json!({"effective_on": "2000-01-01", "name": "Dept"}));
        let nothing = world.on(0, &tenant, &name, "same", &body).await;
        assert_eq!((nothing.status, nothing.body["events"].as_array().unwrap().len()), (200, 0));
        world.done(&tenant, &name, json!({"effective_on": "2000-01-01", "name": "Another"})).await;
        again(0, &name, "same", &body, &nothing).await;
        again(1, &name, "same", &body, &nothing).await;
        let late = json!({"effective_on": "1999-01-01", "parent_id": c.department});
        let id = Uuid::now_v7().to_string();
        let missing = format!("/v1/departments/{id}/parent");
        let not_found = world.on(1, &tenant, &missing, "missing", &late).await;
        assert_eq!(not_found.error(), (404, "not_found"));
        world.done(&tenant, "/v1/departments", json!({"department_id": id, "effective_on": "1990-01-01", "code": "M", "name": "M"})).await;
        again(0, &missing, "missing", &late, &not_found).await;
        // A value that was taken and is free now: still the first answer.
        let mut taken = c.hire("1");
        taken["hire_date"] = json!("2011-01-01");
        let conflict = world.on(0, &tenant, "/v1/employees", "taken", &taken).await;
        assert_eq!(conflict.error(), (409, "employee_number_taken"));
        again(1, "/v1/employees", "taken", &taken, &conflict).await;

        // Another command with the same key, here and elsewhere.
        for service in [0, 1] {
            for (path, key) in [(&path, "raise"), (&name, "same"), (&missing, "missing")] {
                let reused = world.on(service, &tenant, path, key, &json!({"effective_on": "2001-01-01", "name": "X"})).await;
                assert!(matches!(reused.error(), (422, "idempotency_key_reused" | "unknown_field")), "{reused:?}");
            }
            let reused = world.on(service, &tenant, &path, "raise", &raise("2011-01-01", "2001")).await;
            assert_eq!(reused.error(), (422, "idempotency_key_reused"));
            let reused =
                world.on(service, &tenant, "/v1/jobs", "raise", &json!({"effective_on": "2000-01-01", "code": "K", "title": "K"})).await;
            assert_eq!(reused.error(), (422, "idempotency_key_reused"));
            let reused = world.on(service, &tenant, &name, "same", &json!({"effective_on": "2001-01-01", "name": "Yet another"})).await;
            assert_eq!(reused.error(), (422, "idempotency_key_reused"));
        }
        // The same key in another tenant is another command.
        let elsewhere = world.company(&other).await;
        let independent = world.on(0, &other, &elsewhere.path("compensation-changes"), "raise", &raise("2012-01-01", "7")).await;
        assert_eq!((independent.status, &independent.body["replayed"]), (200, &json!(false)));
    });
}

/// Keys and first answers are looked up by their primary keys, also in tables of which there are no statistics yet. One that read all
/// of a tenant's rows for each look-up was slower with every person hired.
#[tokio::test(flavor = "multi_thread")]
async fn what_looks_up_one_key_or_answer_reads_one_however_young_the_table() {
    const COMMANDS: u32 = 150;
    let world = World::start().await;
    for table in ["person_key", "command_answer"] {
        sqlx::query(&format!("alter table platform.{table} set (autovacuum_enabled = off)")).execute(world.owner()).await.unwrap();
    }
    let tenant = world.tenant().await;
    let c = world.company(&tenant).await;
    let nowhere = json!({"effective_on": "2000-01-01", "code": "X", "name": "X", "parent_id": Uuid::now_v7()});
    for n in 0..COMMANDS {
        world.on(0, &tenant, "/v1/employees", &format!("hire-{n}"), &c.hire(&format!("p{n}"))).await.done();
        let refused = world.on(0, &tenant, "/v1/departments", &format!("department-{n}"), &nowhere).await;
        assert_eq!(refused.error(), (422, "unknown_reference"));
    }
    for table in ["person_key", "command_answer"] {
        let counts = async || -> (i64, i64) {
            let sql = "select sum(idx_scan)::bigint, sum(idx_tup_read)::bigint from pg_stat_user_indexes where relname = $1";
            sqlx::query_as(sql).bind(table).fetch_one(world.owner()).await.unwrap()
        };
        // What a connection reads is counted once it has been idle for a while.
        crate::servers::eventually("look-ups are counted", async || counts().await.0 >= COMMANDS.into()).await;
        let (_, read) = counts().await;
        assert!(read <= 5 * i64::from(COMMANDS), "{read} rows of {table} were read for {COMMANDS} commands");
    }
}

/// Waits until a statement of the command API's that begins so waits for a lock.
async fn blocked(world: &World, statement: &str) {
    let sql = "select exists (select from pg_stat_activity where datname = current_database() and usename = 'tenure_command'
                   and wait_event_type = 'Lock' and query like $1 || '%')";
    let deadline = Instant::now() + Duration::from_secs(20);
    while !sqlx::query_scalar::<_, bool>(sql).bind(statement).fetch_one(&world.owner).await.unwrap() {
        assert!(Instant::now() < deadline, "nobody waits with {statement:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn of_two_processes_with_one_command_the_first_answer_is_both_answers() {
    in_world(|world| async move {
        let tenant = world.tenant().await;
        let c = world.company(&tenant).await;

        // One decides to refuse, and is about to remember it; the other accepts meanwhile.
        let id = Uuid::now_v7().to_string();
        let (path, body) = (format!("/v1/departments/{id}/parent"), json!({"effective_on": "2001-01-01", "parent_id": c.department}));
        let mut holder = world.owner.begin().await.unwrap();
        sqlx::query("insert into event_store.answered_command (tenant_id, command_id, epoch) values ($1, $2, '')")
            .bind(tenant.scope.tenant().uuid())
            .bind(CommandId::derive(tenant.scope.tenant().uuid(), "race\ntester").uuid())
            .execute(&mut *holder)
            .await
            .unwrap();
        let late = async {
            blocked(world, "select event_store.answer_command").await;
            let department = json!({"department_id": id, "effective_on": "1990-01-01", "code": "M", "name": "M"});
            world.on(1, &tenant, "/v1/departments", "", &department).await.done();
            let accepted = world.on(1, &tenant, &path, "race", &body).await.done();
            holder.rollback().await.unwrap();
            accepted
        };
        let (refused, mut accepted) = tokio::join!(world.on(0, &tenant, &path, "race", &body), late);
        let head = world.head(tenant.scope).await;
        accepted["replayed"] = json!(true);
        assert_eq!(refused.done(), accepted, "it was accepted before the refusal was remembered");
        for service in [0, 1] {
            assert_eq!(world.on(service, &tenant, &path, "race", &body).await.done(), accepted);
        }
        assert_eq!(world.head(tenant.scope).await, head);

        // One is held up before it decides; the other refuses meanwhile, and says so.
        let (path, body) = (c.path("rehire"), json!({"hire_date": "2012-01-01", "assignment": c.assignment()}));
        let mut holder = world.owner.begin().await.unwrap();
        sqlx::query("lock table platform.person_key in access exclusive mode").execute(&mut *holder).await.unwrap();
        let held_up = world.on(1, &tenant, &path, "again", &body);
        let refuses = async {
            blocked(world, "select k.person_id, k.wrapped from unnest").await;
            let refused = world.on(0, &tenant, &path, "again", &body).await;
            assert_eq!(refused.error(), (422, "still_employed"));
            world.done(&tenant, &c.path("termination"), json!({"last_day_worked": "2011-12-30", "reason": "left"})).await;
            let head = world.head(tenant.scope).await;
            holder.rollback().await.unwrap();
            (refused, head)
        };
        let (held_up, (refused, head)) = tokio::join!(held_up, refuses);
        assert_eq!(
            (held_up.status, &held_up.body),
            (refused.status, &refused.body),
            "whoever was told that it is refused must not find it done"
        );
        assert_eq!(world.head(tenant.scope).await, head);
    });
}

#[test]
fn a_key_that_is_missing_or_damaged_is_a_breakage_and_no_erasure() {
    in_world(|world| async move {
        let (tenant, damaged) = (world.tenant().await, world.tenant().await);
        let c = world.company(&tenant).await;
        let (change, head) = (json!({"effective_on": "2012-01-01", "changes": {"family_name": "King"}}), world.head(tenant.scope).await);
        let lost = "delete from platform.person_key where tenant_id = $1";
        sqlx::query(lost).bind(tenant.scope.tenant().uuid()).execute(&world.owner).await.unwrap();
        // The other process has the key no longer, or never had it. A new one would be in the way of the one that is restored.
        let reply = world.on(1, &tenant, &c.path("personal-details"), "", &change).await;
        assert_eq!(reply.error(), (500, "key_missing"));
        let keys = "select count(*) from platform.person_key where tenant_id = $1";
        let keys: i64 = sqlx::query_scalar(keys).bind(tenant.scope.tenant().uuid()).fetch_one(&world.owner).await.unwrap();
        assert_eq!((keys, world.head(tenant.scope).await), (0, head));

        let altered =
            "update platform.tenant_key set claim_key = set_byte(claim_key, 30, get_byte(claim_key, 30) # 1) where tenant_id = $1";
        sqlx::query(altered).bind(damaged.scope.tenant().uuid()).execute(&world.owner).await.unwrap();
        world
            .done(
                &damaged,
                "/v1/departments",
                json!({"department_id": c.department, "effective_on": "2000-01-01", "code": "D", "name": "D"}),
            )
            .await;
        world.done(&damaged, "/v1/jobs", json!({"job_id": c.job, "effective_on": "2000-01-01", "code": "J", "title": "J"})).await;
        assert_eq!(world.on(0, &damaged, "/v1/employees", "", &c.hire("1")).await.error(), (500, "key_damaged"));
    });
}

#[test]
fn beside_eight_batches_of_one_tenant_another_gets_every_second_place() {
    in_world(|world| async move {
        let one_place = BatchLimits { lines: 1, ..limits() };
        let url = world.config.database_url.expose_secret();
        let base = serve(&world.config, url, one_place).await;
        let (greedy, other) = (world.tenant().await, world.tenant().await);
        let lines = |of: usize, lines: usize| -> String {
            let line = |n: usize| json!({"command": "CreateJob", "data": {"effective_on": "2000-01-01", "code": format!("J{of}-{n}"), "title": "J"}});
            (0..lines).map(|n| line(n).to_string() + "\n").collect()
        };
        let send = async |tenant: &Tenant, body: String| {
            let request =
                world.http.post(format!("{base}/v1/batch")).bearer_auth(&tenant.token).header("content-type", "application/x-ndjson");
            let results = request.body(body).send().await.unwrap().text().await.unwrap();
            results.lines().filter(|line| line.contains("\"status\":200")).count()
        };
        let own = 25;
        let all = join_all((0..8).map(|of| send(&greedy, lines(of, 100))));
        let beside = async {
            let deadline = Instant::now() + Duration::from_secs(20);
            while world.head(greedy.scope).await < 8 {
                assert!(Instant::now() < deadline, "the batches do not begin");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let before = world.head(greedy.scope).await;
            assert_eq!(send(&other, lines(0, own)).await, own);
            world.head(greedy.scope).await - before
        };
        let (done, meanwhile) = tokio::join!(all, beside);
        assert_eq!(done, [100; 8]);
        // One each in turn, and what went on while the batch began and ended; eight to one where batches take turns.
        assert!(meanwhile < 3 * own as u64, "{meanwhile} lines of the eight beside {own} of the other");
    });
}

#[test]
fn a_command_whose_client_went_away_is_done_once() {
    in_world(|world| async move {
        let seed = 7_u64;
        eprintln!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let tenant = world.tenant().await;
        let c = world.company(&tenant).await;
        let before = world.head(tenant.scope).await;
        for n in 0..40 {
            let (path, key, body) = (c.path("compensation-changes"), format!("raise-{n}"), raise("2011-01-01", &format!("{}", 2000 + n)));
            // Gone at any point: before, within and after the append.
            let patience = Duration::from_micros(random.u64(0..6_000));
            let _ = tokio::time::timeout(patience, world.on(n % 2, &tenant, &path, &key, &body)).await;
            let retries = join_all([0, 1].map(|service| world.on(service, &tenant, &path, &key, &body))).await;
            assert_eq!(retries[0].body["events"], retries[1].body["events"]);
            assert_eq!(retries[0].body["events"].as_array().unwrap().len(), 1, "{:?}", retries[0]);
        }
        assert_eq!(world.head(tenant.scope).await, before + 40);
    });
}

#[test]
fn if_match_lets_only_the_version_through_that_was_seen() {
    in_world(|world| async move {
        let tenant = world.tenant().await;
        let c = world.company(&tenant).await;
        let path = c.path("compensation-changes");
        let send = async |service, key: &str, if_match: &str, amount: &str| {
            let headers = [("content-type", "application/json"), ("idempotency-key", key), ("if-match", if_match)];
            world.send(service, &tenant.token, &path, &headers, raise("2011-01-01", amount).to_string()).await
        };
        let first = send(0, "a", "\"1\"", "1").await;
        assert_eq!((first.status, first.headers["etag"].to_str().unwrap()), (200, "\"2\""));
        let head = world.head(tenant.scope).await;
        for service in [0, 1] {
            for stale in ["\"1\"", "\"0\"", "\"3\"", "\"1\", \"7\""] {
                assert_eq!(send(service, "b", stale, "2").await.error(), (412, "precondition_failed"), "{stale}");
            }
            for malformed in ["2", "W/\"2\"", "\"x\"", "\"-2\"", "\"\"", "\"2\";"] {
                assert_eq!(send(service, "b", malformed, "2").await.error(), (400, "invalid_if_match"), "{malformed}");
            }
            // The first answer again, though the version is another one now.
            assert_eq!(send(service, "a", "\"1\"", "1").await.body["events"], first.body["events"]);
        }
        assert_eq!(world.head(tenant.scope).await, head);
        // A conflict is not remembered: looked at again, the same key goes through.
        assert_eq!(send(1, "b", "\"2\"", "2").await.status, 200);
        assert_eq!(send(0, "c", "*", "3").await.status, 200);
        assert_eq!(send(0, "d", "\"9\", \"4\"", "4").await.status, 200);
        let nobody = format!("/v1/employees/{}/compensation-changes", Uuid::now_v7());
        let headers = [("content-type", "application/json"), ("if-match", "*")];
        let missing = world.send(0, &tenant.token, &nobody, &headers, raise("2011-01-01", "1").to_string()).await;
        assert_eq!(missing.error(), (412, "precondition_failed"));

        // Of many who have seen the same, one gets through.
        let racing = join_all((0..16).map(|n| {
            let key = format!("race-{n}");
            let send = &send;
            async move { send(n % 2, &key, "\"5\"", &format!("{}", 100 + n)).await.status }
        }))
        .await;
        assert_eq!((racing.iter().filter(|s| **s == 200).count(), racing.iter().filter(|s| **s == 412).count()), (1, 15), "{racing:?}");
    });
}

#[test]
fn a_stale_cache_gives_no_wrong_answer() {
    in_world(|world| async move {
        let tenant = world.tenant().await;
        let c = world.company(&tenant).await;
        let pay_path = c.path("compensation-changes");
        // The second process has seen the person, and the first changes the person after that.
        world.on(1, &tenant, &pay_path, "", &raise("2011-01-01", "1")).await.done();
        world.on(0, &tenant, &pay_path, "", &raise("2011-01-01", "2")).await.done();
        let back = world.on(1, &tenant, &pay_path, "", &raise("2011-01-01", "1")).await.done();
        assert_eq!(back["events"].as_array().unwrap().len(), 1, "nothing to do only on an old state: {back}");
        world.on(0, &tenant, &c.path("termination"), "", &json!({"last_day_worked": "2012-12-31", "reason": "x"})).await.done();
        let refused = world.on(1, &tenant, &pay_path, "", &raise("2013-01-01", "3")).await;
        assert_eq!(refused.error(), (422, "not_employed_on_date"));
        world.on(0, &tenant, &c.path("rehire"), "", &json!({"hire_date": "2013-01-01", "assignment": c.assignment()})).await.done();
        world.on(1, &tenant, &pay_path, "", &raise("2013-01-01", "3")).await.done();
        // A reference that the second process has not heard of, and one that is gone there.
        let new =
            world.on(0, &tenant, "/v1/departments", "", &json!({"effective_on": "2000-01-01", "code": "N", "name": "N"})).await.done();
        let mut hire = c.hire("2");
        hire["assignment"]["department_id"] = new["id"].clone();
        let hired = world.on(1, &tenant, "/v1/employees", "", &hire).await.done();
        world
            .on(0, &tenant, &format!("/v1/departments/{}/closure", new["id"].as_str().unwrap()), "", &json!({"effective_on": "2009-01-01"}))
            .await
            .done();
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        hire["employee_number"] = json!("3");
        assert_eq!(world.on(1, &tenant, "/v1/employees", "", &hire).await.error(), (422, "reference_not_open"));
        // A manager hired a moment ago elsewhere.
        let boss = world.on(0, &tenant, "/v1/employees", "", &c.hire("4")).await.done();
        let changes = json!({"effective_on": "2013-06-01", "reason": "x", "changes": {"manager_id": boss["id"]}});
        world.on(1, &tenant, &format!("/v1/employees/{}/assignment-changes", hired["id"].as_str().unwrap()), "", &changes).await.done();
    });
}

#[test]
fn what_must_be_unique_is_unique_under_races() {
    in_world(|world| async move {
        let tenant = world.tenant().await;
        let c = world.company(&tenant).await;
        let hires = join_all((0..24).map(|n| {
            let mut hire = c.hire("same");
            hire["person"]["given_name"] = json!(format!("Person {n}"));
            let tenant = &tenant;
            async move { world.on(n % 2, tenant, "/v1/employees", &format!("k{n}"), &hire).await }
        }))
        .await;
        let (won, lost): (Vec<_>, Vec<_>) = hires.into_iter().partition(|reply| reply.status == 201);
        assert_eq!(won.len(), 1);
        for reply in lost {
            assert_eq!(reply.error(), (409, "employee_number_taken"));
            assert_eq!(reply.body["errors"][0]["pointer"], "/employee_number");
        }
        // Writers of one stream, in two processes: all get through, each exactly once.
        let before = world.head(tenant.scope).await;
        let created = join_all((0..40).map(|n| {
            let tenant = &tenant;
            let body = json!({"effective_on": "2000-01-01", "code": format!("R{n}"), "name": "R"});
            async move { world.on(n % 2, tenant, "/v1/departments", &format!("r{n}"), &body).await.done() }
        }))
        .await;
        assert_eq!(created.iter().map(|a| a["position"].as_u64().unwrap()).collect::<BTreeSet<_>>(), (before + 1..=before + 40).collect());
        assert_eq!(created.iter().map(|a| a["version"].as_u64().unwrap()).collect::<HashSet<_>>().len(), 40);
        // A mail address goes to one of many.
        let mut people = Vec::new();
        for n in 0..8 {
            people.push(world.done(&tenant, "/v1/employees", c.hire(&format!("m{n}"))).await["id"].as_str().unwrap().to_owned());
        }
        let wanted = json!({"effective_on": "2011-01-01", "changes": {"work_email": "One@Example.com"}});
        let asked = people.iter().enumerate().map(|(n, id)| {
            let (tenant, wanted, path) = (&tenant, &wanted, format!("/v1/employees/{id}/contact-details"));
            async move { world.on(n % 2, tenant, &path, "", wanted).await }
        });
        let replies = join_all(asked).await;
        assert_eq!(replies.iter().filter(|r| r.status == 200).count(), 1);
        assert_eq!(replies.iter().filter(|r| r.status == 409 && r.body["error"] == "work_email_taken").count(), 7);
    });
}

#[test]
fn nobody_stands_above_themselves_on_any_day_and_under_races() {
    in_world(|world| async move {
        let tenant = &world.tenant().await;
        let c = &world.company(tenant).await;
        let mut people = vec![c.employee.clone()];
        for n in 0..5 {
            people.push(world.done(tenant, "/v1/employees", c.hire(&format!("m{n}"))).await["id"].as_str().unwrap().to_owned());
        }
        let reports = async |service: usize, person: usize, to: usize, day: &str| {
            let body = json!({"effective_on": day, "changes": {"manager_id": people[to]}, "reason": "reorganization"});
            world.on(service, tenant, &format!("/v1/employees/{}/assignment-changes", people[person]), "", &body).await
        };
        let refused = |reply: Reply| {
            assert_eq!(reply.error(), (422, "manager_cycle"), "{}", reply.body);
            assert_eq!(reply.body["errors"][0]["pointer"], "/changes/manager_id");
        };
        reports(0, 1, 0, "2012-01-01").await.done();
        reports(0, 2, 1, "2013-01-01").await.done();
        refused(reports(1, 0, 2, "2013-01-01").await);
        refused(reports(1, 0, 1, "2012-06-01").await);
        // Open-ended, it would hold on the day from which the ring closes.
        refused(reports(1, 0, 2, "2011-01-01").await);
        // Where another manager follows before that, it does not.
        reports(0, 3, 0, "2010-06-01").await.done();
        reports(0, 0, 4, "2012-12-31").await.done();
        reports(0, 0, 2, "2011-01-01").await.done();
        // Both halves of a ring at once, in two processes: one of them.
        for round in 0..6 {
            let day = format!("20{}-01-01", 20 + round);
            let (a, b) = futures::join!(reports(0, 4, 5, &day), reports(1, 5, 4, &day));
            let statuses = [a.status, b.status];
            assert!(statuses.contains(&200), "{statuses:?}");
            let loser = if a.status == 200 { b } else { a };
            refused(loser);
            // Apart again, for the next round.
            for person in [4, 5] {
                let body = json!({"effective_on": format!("20{}-06-01", 20 + round), "changes": {"manager_id": null}, "reason": "apart"});
                world.on(0, tenant, &format!("/v1/employees/{}/assignment-changes", people[person]), "", &body).await.done();
            }
        }
    });
}

/// What two lines share beyond their streams: an address, and who works for whom. Side by side each second line would
/// now and then be refused.
#[test]
fn lines_of_a_batch_see_addresses_given_up_and_managers_taken_away_before_them() {
    in_world(|world| async move {
        let tenant = world.tenant().await;
        let c = world.company(&tenant).await;
        let line = |command: &str, data: Value| json!({"command": command, "data": data}).to_string();
        let hire = |id: &str, number: String, manager: Value, email: Value| {
            let mut hire = c.hire(&number);
            hire["employee_id"] = json!(id);
            hire["assignment"]["manager_id"] = manager;
            hire["contact"] = json!({ "work_email": email });
            line("HireEmployee", hire)
        };
        let address = |id: &str, email: Value| {
            line("ChangeContactDetails", json!({"employee_id": id, "effective_on": "2010-01-01", "changes": {"work_email": email}}))
        };
        let manager = |id: &str, manager: Value| {
            let changes = json!({ "manager_id": manager });
            line("ChangeAssignment", json!({"employee_id": id, "effective_on": "2011-01-01", "changes": changes, "reason": "moved"}))
        };
        for round in 0..12 {
            let [ada, bob, m, d, x] = [(); 5].map(|()| Uuid::now_v7().to_string());
            let email = json!(format!("round{round}@example.com"));
            let given = [
                hire(&ada, format!("a{round}"), Value::Null, email.clone()),
                hire(&m, format!("m{round}"), Value::Null, Value::Null),
                hire(&d, format!("d{round}"), json!(m), Value::Null),
                hire(&x, format!("x{round}"), json!(d), Value::Null),
            ];
            for result in world.batch(0, &tenant, &given.join("\n")).await {
                assert_eq!(result["status"], 200, "{result}");
            }
            let free = [address(&ada, Value::Null), hire(&bob, format!("b{round}"), Value::Null, email)];
            let apart = [manager(&d, Value::Null), manager(&m, json!(x))];
            let left = line("TerminateEmployee", json!({"employee_id": x, "last_day_worked": "2010-12-31", "reason": "left"}));
            let back = [left, manager(&d, json!(m))];
            for lines in [free, apart, back] {
                // The other process has read none of it yet, so the first line has more to do.
                for result in world.batch(1, &tenant, &lines.join("\n")).await {
                    assert_eq!(result["status"], 200, "round {round}: {result} of {lines:#?}");
                }
            }
        }
    });
}

#[test]
fn a_batch_runs_in_order_where_order_matters_and_goes_on_after_a_bad_line() {
    in_world(|world| async move {
        let tenant = world.tenant().await;
        let [dept, job, ada, bob] = [(); 4].map(|()| Uuid::now_v7().to_string());
        let hire = |id: &str, number: &str, manager: &Value| {
            json!({"employee_id": id, "hire_date": "2010-01-01", "employee_number": number, "person": {"given_name": "A", "family_name": "B"},
                "assignment": {"department_id": dept, "job_id": job, "manager_id": manager}})
        };
        let line = |command: &str, key: &str, data: Value| json!({"command": command, "key": key, "data": data}).to_string();
        let mut lines = vec![
            line("CreateDepartment", "1", json!({"department_id": dept, "effective_on": "2000-01-01", "code": "D", "name": "D"})),
            line("CreateJob", "2", json!({"job_id": job, "effective_on": "2000-01-01", "code": "J", "title": "J"})),
            line("HireEmployee", "3", hire(&ada, "1", &Value::Null)),
            String::new(),
            line("HireEmployee", "4", hire(&bob, "2", &json!(ada))),
            "{\"command\": \"HireEmployee\", ".into(),
            line("TerminateEmployee", "5", json!({"employee_id": ada, "last_day_worked": "2012-01-01", "reason": "x"})),
            line("HireEmployee", "6", json!({"hire_date": "2013-02-30"})),
            " \t\r".into(),
        ];
        for n in 0..50 {
            let mut data = raise(&format!("2011-01-{:02}", 1 + n % 28), &format!("{}", 1000 + n));
            data["employee_id"] = json!(bob);
            lines.push(line("ChangeCompensation", &format!("pay-{n}"), data));
        }
        lines.push(line(
            "RehireEmployee",
            "7",
            json!({"employee_id": ada, "hire_date": "2012-01-02", "assignment": {"department_id": dept, "job_id": job}}),
        ));
        lines.push(format!("{{\"command\": \"CreateJob\", \"data\": {{\"title\": \"{}\"}}}}", "x".repeat(70_000)));
        lines.push(line("CreateJob", "2", json!({"job_id": job, "effective_on": "2000-01-01", "code": "J", "title": "J"})));
        lines.push(line("CreateJob", "2", json!({"job_id": job, "effective_on": "2000-01-01", "code": "J", "title": "K"})));
        lines.push(line("SuspendTenant", "8", json!({"tenant_id": tenant.scope.tenant(), "reason": "x"})));
        lines.push(line("Dance", "9", json!({})));
        lines.push("[1]".into());
        lines.push("{\"command\": \"CreateJob\", \"data\": {}, \"extra\": 1}".into());
        lines.push(line("CreateJob", "not a key", json!({"effective_on": "2000-01-01", "code": "L", "title": "L"})));
        lines.push(
            "{\"command\": \"CloseDepartment\", \"data\": {\"department_id\": \"".to_owned()
                + &dept
                + "\", \"effective_on\": \"2030-01-01\"}}",
        );
        let text = lines.join("\n"); // the last line has no line break

        let results = world.batch(0, &tenant, &text).await;
        let numbers: Vec<_> = results.iter().map(|r| r["line"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=lines.len() as u64 - 2).collect::<Vec<_>>(), "blank lines don't count");
        let errors: Vec<_> =
            results.iter().filter(|r| r["status"] != 200).map(|r| (r["status"].as_u64().unwrap(), r["error"].as_str().unwrap())).collect();
        assert_eq!(
            errors,
            [
                (400, "malformed_json"),
                (422, "invalid_field"),
                (413, "body_too_large"),
                (422, "idempotency_key_reused"),
                (403, "forbidden"),
                (422, "unknown_command"),
                (422, "invalid_line"),
                (422, "invalid_line"),
                (400, "invalid_idempotency_key"),
            ]
        );
        assert_eq!(results[6]["errors"][0]["pointer"], "/hire_date");
        let replayed: Vec<_> = results.iter().filter(|r| r["replayed"] == true).map(|r| r["line"].as_u64().unwrap()).collect();
        assert_eq!(replayed, [60], "the same key and body twice in a batch");
        let raises: Vec<_> = results[7..57].iter().map(|r| r["version"].as_u64().unwrap()).collect();
        assert_eq!(raises, (2..=51).collect::<Vec<_>>(), "changes of one person keep their order");

        // All of it again, in the other process: nothing new, the same answers.
        let head = world.head(tenant.scope).await;
        let again = world.batch(1, &tenant, &text).await;
        for (first, second) in results.iter().zip(&again) {
            for field in ["status", "version", "position", "events", "error"] {
                // The last line has no key: the second time there is nothing to do.
                if first["line"] != 67 {
                    assert_eq!(first[field], second[field], "{first} {second}");
                }
            }
        }
        assert_eq!(world.head(tenant.scope).await, head, "a second run must change nothing");
    });
}

#[test]
fn a_batch_answers_while_lines_come_in_and_ends_with_its_client() {
    in_world(|world| async move {
        let tenant = world.tenant().await;
        let (more, mut results) = open_batch(world, &world.bases[0], &tenant).await;
        more.send(job_line(0)).await.unwrap();
        for n in 0..5 {
            let result = results.next().await.unwrap();
            assert_eq!((&result["line"], &result["status"]), (&json!(n + 1), &json!(200)), "{result}");
            // Half a line first: it waits for its other half.
            let line = job_line(n + 1);
            let (half, other_half) = line.split_at(9);
            more.send(half.into()).await.unwrap();
            assert!(tokio::time::timeout(Duration::from_millis(30), results.next()).await.is_err());
            more.send(other_half.into()).await.unwrap();
        }
        drop(results); // the client goes away; the service takes no more
        let deadline = Instant::now() + Duration::from_secs(5);
        while !more.is_closed() {
            assert!(Instant::now() < deadline, "the batch of a client that is gone goes on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn a_batch_ends_when_the_service_stops_or_nothing_comes_and_says_where() {
    in_world(|world| async move {
        let tenant = world.tenant().await;
        let url = world.options.clone().username("tenure_command").to_url_lossy().to_string();
        let stop = CancellationToken::new();
        let stopping = serve(&world.config, &url, BatchLimits { stop: stop.clone(), ..limits() }).await;
        let idle = serve(&world.config, &url, BatchLimits { idle: Duration::from_millis(300), ..limits() }).await;
        for (base, code, first) in [(stopping, "stopping", 0), (idle, "timeout", 1)] {
            let (more, mut results) = open_batch(world, &base, &tenant).await;
            more.send(job_line(first)).await.unwrap();
            assert_eq!(results.next().await.unwrap()["status"], 200);
            stop.cancel();
            let last = results.next().await.unwrap();
            assert_eq!((&last["line"], &last["status"], &last["error"]), (&json!(2), &json!(503), &json!(code)), "{last}");
            assert_eq!(results.next().await, None);
        }
    });
}

fn job_line(n: u32) -> String {
    let data = json!({"effective_on": "2000-01-01", "code": format!("C{n}"), "title": "T"});
    json!({"command": "CreateJob", "key": format!("c{n}"), "data": data}).to_string() + "\n"
}

/// A batch whose lines are sent by and by; its results.
async fn open_batch(world: &World, base: &str, tenant: &Tenant) -> (Sender<String>, BoxStream<'static, Value>) {
    let (more, lines) = tokio::sync::mpsc::channel::<String>(1);
    let body = stream::unfold(lines, |mut lines| async { lines.recv().await.map(|line| (Ok::<_, std::io::Error>(line), lines)) });
    let request = world.http.post(format!("{base}/v1/batch")).bearer_auth(&tenant.token).header("content-type", "application/x-ndjson");
    let response = request.body(reqwest::Body::wrap_stream(body)).send().await.unwrap();
    (more, response.bytes_stream().map(|line| serde_json::from_slice(&line.unwrap()).unwrap()).boxed())
}

#[test]
fn an_operator_manages_tenants() {
    in_world(|world| async move {
        let operator = Tenant { scope: Registry::platform_scope(), slug: "platform".into(), token: world.operator() };
        let slug = format!("acme-{}", &Uuid::now_v7().simple().to_string()[20..]);
        let register = json!({"slug": slug, "name": "Acme"});
        let first = world.on(0, &operator, "/v1/tenants", "", &register).await;
        assert_eq!(first.status, 201, "{first:?}");
        let id = first.body["id"].as_str().unwrap().to_owned();
        assert_eq!(world.on(1, &operator, "/v1/tenants", "", &register).await.error(), (409, "slug_taken"));
        let path = |what: &str| format!("/v1/tenants/{id}/{what}");
        let suspended = world.on(0, &operator, &path("suspension"), "", &json!({"reason": "unpaid"})).await;
        assert_eq!(suspended.error(), (422, "tenant_not_ready"));
        let tenant: TenantId = id.parse().unwrap();
        let hr = Tenant { scope: TenantScope::checked(tenant), token: world.token(tenant, &slug, "hr"), slug: slug.clone() };
        let job = json!({"effective_on": "2000-01-01", "code": "J", "title": "J"});
        assert_eq!(world.on(0, &hr, "/v1/jobs", "", &job).await.error(), (503, "tenant_not_ready"));
        // As the worker does.
        provision::provision(&world.worker, &world.keys, hr.scope).await.unwrap();
        world.record(StreamName::tenancy(tenant), &[TenantProvisioned { tenant_id: tenant }.into()]).await;
        let deadline = Instant::now() + Duration::from_secs(5);
        while world.on(0, &hr, "/v1/jobs", "job", &job).await.status == 503 {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        world.on(1, &operator, &path("suspension"), "", &json!({"reason": "unpaid"})).await.done();
        assert_eq!(world.on(1, &hr, "/v1/jobs", "job", &job).await.error(), (403, "tenant_suspended"), "at once where it was said");
        world.on(1, &operator, &path("resumption"), "", &json!({})).await.done();
        world.on(1, &hr, "/v1/jobs", "job", &job).await.done();
        world.on(0, &operator, &path("subscription"), "", &json!({"plan": "gold", "expires_at": "2001-01-01T00:00:00Z"})).await.done();
        assert_eq!(world.on(0, &hr, "/v1/jobs", "job", &job).await.error(), (402, "subscription_expired"));
        let renamed = format!("{slug}-x");
        world.on(0, &operator, &path("name"), "", &json!({"slug": renamed, "name": "Acme X"})).await.done();
        assert_eq!(world.on(1, &operator, "/v1/tenants", "", &register).await.status, 201, "the slug is free again");
        world.on(0, &operator, &path("closure"), "", &json!({"reason": "gone"})).await.done();
        let hr = Tenant { token: world.token(tenant, &renamed, "hr"), ..hr };
        assert_eq!(world.on(0, &hr, "/v1/jobs", "job", &job).await.error(), (404, "tenant_not_found"));
        // Each to their own.
        assert_eq!(world.on(0, &operator, "/v1/jobs", "", &job).await.error(), (403, "forbidden"));
        let tenant = world.tenant().await;
        assert_eq!(world.on(0, &tenant, "/v1/tenants", "", &register).await.error(), (403, "forbidden"));
        let auditor = Tenant { token: world.token(tenant.scope.tenant(), &tenant.slug, "auditor"), ..tenant };
        assert_eq!(world.on(0, &auditor, "/v1/jobs", "", &job).await.error(), (403, "forbidden"));
    });
}

#[test]
fn no_personal_data_is_stored_in_clear() {
    in_world(|world| async move {
        let tenant = world.tenant().await;
        let c = world.company(&tenant).await;
        let canary = "Canary-Zwetschkenroester";
        let mut hire = c.hire("canary-number");
        hire["person"] = json!({"given_name": canary, "family_name": canary, "gender": canary});
        hire["contact"] = json!({"work_email": "canary-zwetschkenroester@example.com"});
        let id = world.on(0, &tenant, "/v1/employees", "a", &hire).await.done()["id"].as_str().unwrap().to_owned();
        let details = json!({"effective_on": "2011-01-01", "changes": {"family_name": canary.repeat(2)}});
        world.on(0, &tenant, &format!("/v1/employees/{id}/personal-details"), "b", &details).await.done();
        // Refusals are remembered, and may not hold what was sent either.
        assert_eq!(world.on(0, &tenant, "/v1/employees", "c", &hire).await.error(), (409, "employee_number_taken"));
        let bad = json!({"effective_on": "2011-01-01", "changes": {"birth_date": canary}});
        let refused = world.on(0, &tenant, &format!("/v1/employees/{id}/personal-details"), "d", &bad).await;
        assert_eq!(refused.error(), (422, "invalid_field"));
        assert!(!refused.body.to_string().to_lowercase().contains("zwetschke"), "{refused:?}");
        for table in ["event_store.event", "event_store.claim", "platform.command_answer", "platform.person_key"] {
            let sql = format!("select count(*) from {table} t where t::text ~* 'zwetschke|canary'");
            let found: i64 = sqlx::query_scalar(&sql).fetch_one(&world.owner).await.unwrap();
            assert_eq!(found, 0, "{table} holds personal data in clear");
        }
    });
}

#[test]
fn a_database_that_is_away_is_503_and_everything_heals() {
    in_world(|world| async move {
        let tenant = world.tenant().await;
        let c = world.company(&tenant).await;
        // A service that reaches the server through a line that can be cut.
        let line = Line::open(&world.options).await;
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(line.port).username("tenure_command");
        let url = options.database(world.options.get_database().unwrap()).to_url_lossy().to_string();
        let base = serve(&world.config, &url, limits()).await;
        let send = async |key: &str, amount: &str| {
            let request = world.http.post(format!("{base}{}", c.path("compensation-changes"))).bearer_auth(&tenant.token);
            let response = request.header("idempotency-key", key).json(&raise("2011-01-01", amount)).send().await.unwrap();
            let retry_after = response.headers().contains_key("retry-after");
            (response.status().as_u16(), retry_after, response.json::<Value>().await.unwrap())
        };
        assert_eq!(send("a", "1").await.0, 200);
        let head = world.head(tenant.scope).await;
        line.cut();
        for key in ["b", "c"] {
            let asked = Instant::now();
            let (status, retry_after, body) = send(key, "2").await;
            assert_eq!((status, retry_after), (503, true), "{body}");
            assert!(asked.elapsed() < Duration::from_secs(7), "no request hangs");
        }
        line.mend();
        let deadline = Instant::now() + Duration::from_secs(20);
        while send("b", "2").await.0 != 200 {
            assert!(Instant::now() < deadline, "the service does not heal");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(world.head(tenant.scope).await, head + 1, "done once, however often it was sent");
    });
}

/// A TCP port that leads to the database's socket, and can be cut.
struct Line {
    port: u16,
    cut: Arc<tokio::sync::watch::Sender<bool>>,
}

impl Line {
    async fn open(options: &PgConnectOptions) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = Arc::new(tokio::sync::watch::Sender::new(false));
        let socket = options.get_socket().cloned();
        let (host, to_port) = (options.get_host().to_owned(), options.get_port());
        let state = cut.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (mut state, socket, host) = (state.subscribe(), socket.clone(), host.clone());
                tokio::spawn(async move {
                    if *state.borrow_and_update() {
                        return;
                    }
                    let dir = socket.map_or(host, |socket| socket.display().to_string());
                    let relay = async {
                        if dir.starts_with('/') {
                            let mut server = tokio::net::UnixStream::connect(format!("{dir}/.s.PGSQL.{to_port}")).await?;
                            tokio::io::copy_bidirectional(&mut client, &mut server).await
                        } else {
                            let mut server = tokio::net::TcpStream::connect((dir.as_str(), to_port)).await?;
                            tokio::io::copy_bidirectional(&mut client, &mut server).await
                        }
                    };
                    tokio::select! { _ = relay => {}, _ = state.wait_for(|cut| *cut) => {} }
                });
            }
        });
        Self { port, cut }
    }
    fn cut(&self) {
        self.cut.send_replace(true);
    }
    fn mend(&self) {
        self.cut.send_replace(false);
    }
}

/// A tenant that is suspended.
pub(crate) fn suspended(id: TenantId) -> Vec<TenancyEvent> {
    vec![TenantProvisioned { tenant_id: id }.into(), TenantSuspended { tenant_id: id, reason: "x".into() }.into()]
}
