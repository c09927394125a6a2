//! Real requests, given up at every await they have: by the routers of both APIs, on one connection, on which the next tenant's
//! request runs right afterwards (I4).

use std::time::Duration;

use axum::{
    Router,
    body::{Body, to_bytes},
};
use command_api::BatchLimits;
use events::{
    CommandHash, CommandId, CorrelationId, EventId, Metadata, Position, RecordedEvent, StreamName, TenantScope, Version,
    tenancy::{Subscription, TenancyEvent, TenantProvisioned, TenantRegistered},
};
use http::Request;
use jiff::Timestamp;
use platform::{
    Config, Gate, Process, Registry, Release, TenantPool,
    auth::{Issuer, TokenRequest},
    cursor_key::CursorKey,
};
use query_api::Reads;
use secrecy::ExposeSecret as _;
use serde_json::json;
use sqlx::{ConnectOptions as _, PgPool};
use store::{PgStore, Store};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::platform::{Database, cancelled_after, put_canary};

/// Requests given up of each kind, at least.
const ENOUGH: u32 = 60;

/// Two tenants on one database, each with texts of its own.
struct Field {
    database: Database,
    scopes: [TenantScope; 2],
    registry: Registry,
    issuer: Issuer,
    release: Release,
}

impl Field {
    async fn new() -> Self {
        let database = Database::bootstrapped().await;
        let scopes = [database.tenant().await, database.tenant().await];
        for scope in scopes {
            put_canary(&database.pool("tenure_projector", 1), scope).await;
        }
        let events = scopes.map(registered).into_iter().flatten().zip(1..);
        let events: Vec<_> = events.map(|(event, n)| RecordedEvent { position: Position(n), ..event }).collect();
        let issuer = Issuer::open(&database.config, &database.owner, &database.keys("tenure_projector").await).await.unwrap();
        let commands = database.pool("tenure_command", 1);
        let release = Release::join(&commands, Process::CommandApi, CancellationToken::new()).await.unwrap();
        Self { registry: Registry::from_events(&events), database, scopes, issuer, release }
    }
    fn token(&self, scope: TenantScope, role: &str) -> String {
        let request = TokenRequest {
            subject: format!("subject of {}", scope.tenant()),
            tenant: scope.tenant(),
            slug: slug(scope),
            roles: vec![role.into()],
            employee: None,
            session: None,
            lifetime_s: 600,
        };
        self.issuer.issue(&request).unwrap().expose_secret().to_owned()
    }
    async fn gate(&self, pool: &PgPool) -> Gate {
        Gate::start(&self.database.config(), pool.clone(), self.registry.clone()).await.unwrap()
    }
    /// The query API, with one connection for all it does.
    async fn queries(&self, pool: &PgPool) -> Router {
        let store = Store::Postgres(PgStore::open(&self.url("tenure_query"), 4).unwrap());
        let (gate, registry) = (self.gate(pool).await, self.registry.clone());
        let reads = Reads::new(TenantPool::of([pool.clone()]), store.clone(), CursorKey::load(pool).await.unwrap());
        query_api::router(query_api::App { gate, registry, reads, store })
    }
    /// The command API, with the log-in.
    async fn commands(&self, pool: &PgPool) -> Router {
        let store = Store::Postgres(PgStore::open(&self.url("tenure_command"), 4).unwrap());
        let (gate, keys) = (self.gate(pool).await, self.database.keys("tenure_command").await);
        let config = Config { identity_database_url: Some(self.url("tenure_identity").into()), ..self.database.config() };
        let logins = command_api::logins(&config, keys.clone(), gate.clone()).await.unwrap();
        let limits = BatchLimits {
            line: Duration::from_secs(9),
            idle: Duration::from_secs(9),
            lines: BatchLimits::LINES,
            stop: CancellationToken::new(),
        };
        command_api::router(command_api::App::new(gate, logins, store, keys, self.release.clone(), pool.clone(), limits))
    }
    fn url(&self, role: &str) -> String {
        self.database.pool(role, 1).connect_options().to_url_lossy().to_string()
    }
}

fn slug(scope: TenantScope) -> String {
    format!("t-{}", &scope.tenant().uuid().simple().to_string()[20..])
}

fn registered(scope: TenantScope) -> [RecordedEvent; 2] {
    let tenant_id = scope.tenant();
    let subscription = Subscription { plan: "test".into(), expires_at: None };
    let events: [TenancyEvent; 2] =
        [TenantRegistered { tenant_id, slug: slug(scope), name: slug(scope), subscription }.into(), TenantProvisioned { tenant_id }.into()];
    let mut version = 0;
    events.map(|event| {
        version += 1;
        let event = events::Event::from(event);
        RecordedEvent {
            id: EventId::from_uuid(Uuid::now_v7()),
            tenant: events::TenantId::PLATFORM,
            stream: StreamName::tenancy(tenant_id),
            version: Version(version),
            position: Position(version),
            event_type: event.event_type().into(),
            schema_version: event.schema_version(),
            recorded_at: Timestamp::UNIX_EPOCH,
            metadata: Metadata {
                actor: "tester".into(),
                command_id: CommandId::from_uuid(Uuid::now_v7()),
                command_hash: CommandHash(Uuid::nil()),
                correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
                causation_id: None,
                traceparent: None,
            },
            data: event.to_data().unwrap(),
        }
    })
}

/// A request, ready to be sent; a POST where it has a body.
fn request(path: &str, token: &str, headers: &[(&str, &str)], body: Option<String>) -> Request<Body> {
    let method = if body.is_some() { "POST" } else { "GET" };
    let mut request =
        Request::builder().method(method).uri(path).header("host", "localhost").header("authorization", format!("Bearer {token}"));
    for (name, value) in headers.iter().copied().chain(body.is_some().then_some(("content-type", "application/json"))) {
        request = request.header(name, value);
    }
    request.body(body.map_or_else(Body::empty, Body::from)).unwrap()
}

/// Sends a request to the end; status and body.
async fn send(app: &Router, request: Request<Body>) -> (u16, String) {
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// Gives up the attacker's request at each await in turn, round after round with a new router, so that nothing is remembered;
/// after each the other's is sent, which must see its own and nothing of the attacker's. How often it was given up.
async fn give_up_everywhere(
    router: impl AsyncFn() -> Router,
    attack: impl Fn() -> Request<Body>,
    next: impl Fn() -> Request<Body>,
    [own, foreign]: [&str; 2],
) -> u32 {
    let mut given_up = 0;
    for _ in 0..100 {
        let app = router().await;
        for polls in 0..500 {
            let done = cancelled_after(polls, app.clone().oneshot(attack())).await;
            let (status, body) = send(&app, next()).await;
            assert_eq!(status, 200, "{body}");
            assert!(body.contains(own) && !body.contains(foreign), "after {polls} polls: {body}");
            if done.is_some() {
                break;
            }
            given_up += 1;
        }
        if given_up >= ENOUGH {
            return given_up;
        }
    }
    panic!("only {given_up} requests were given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_given_up_at_any_await_leaks_nothing_to_the_next_tenant() {
    let field = Field::new().await;
    let [a, b] = field.scopes;
    let canaries = field.scopes.map(|scope| format!("canary of {}", scope.tenant()));
    // Decisions of the tenants' own about access are read in a transaction of their own.
    for scope in field.scopes {
        let decided = "insert into platform.access_version (tenant_id, version) values ($1, 1)";
        sqlx::query(decided).bind(scope.tenant().uuid()).execute(&field.database.owner).await.unwrap();
    }
    let query = field.database.pool("tenure_query", 1);
    let mut total = 0;
    let waits = [("tenure-min-position", "5"), ("prefer", "wait=1")];
    // Whole sight, a sight that hides, and a wait for a position.
    for (role, headers) in [("hr", &[][..]), ("manager", &[]), ("hr", &waits)] {
        let (attacker, victim) = (field.token(a, role), field.token(b, role));
        let given_up = give_up_everywhere(
            async || field.queries(&query).await,
            || request("/v1/jobs", &attacker, headers, None),
            || request("/v1/jobs", &victim, &[], None),
            [&canaries[1], &canaries[0]],
        )
        .await;
        let (user, path): (String, String) =
            sqlx::query_as("select current_user::text, current_setting('search_path')").fetch_one(&query).await.unwrap();
        assert_eq!((user.as_str(), path.contains("t_")), ("tenure_query", false));
        total += given_up;
    }
    eprintln!("queries given up at {total} points");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_or_a_decision_given_up_at_any_await_leaks_nothing_to_the_next_tenant() {
    let field = Field::new().await;
    let pool = field.database.pool("tenure_command", 1);
    let [attacker, victim] = field.scopes.map(|scope| field.token(scope, "owner"));
    let app = field.commands(&pool).await;
    for (token, name) in [(&attacker, "foreign-role"), (&victim, "own-role")] {
        let body = json!({"name": name, "permissions": [], "duties": ["read_audit"]}).to_string();
        let (status, answer) = send(&app, request("/v1/roles", token, &[], Some(body))).await;
        assert_eq!(status, 204, "{answer}");
    }
    let names = ["own-role", "foreign-role"];
    let decisions = give_up_everywhere(
        async || field.commands(&pool).await,
        || request("/v1/roles", &attacker, &[], None),
        || request("/v1/roles", &victim, &[], None),
        names,
    )
    .await;
    // Refused: the answer is kept under the tenant's key, by the connection that the next decision is looked up on.
    let refused = json!({"effective_on": "2000-01-01", "code": "C", "name": "N", "parent_id": Uuid::now_v7()}).to_string();
    let commands = give_up_everywhere(
        async || field.commands(&pool).await,
        || request("/v1/departments", &attacker, &[("idempotency-key", &Uuid::now_v7().to_string())], Some(refused.clone())),
        || request("/v1/roles", &victim, &[], None),
        names,
    )
    .await;
    eprintln!("decisions given up at {decisions} points, commands at {commands}");
}
