//! The event store's engines: the suite that both must pass, and what is PostgreSQL's own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use events::{
    CommandHash, CommandId, CorrelationId, EmployeeId, Metadata, NewEvent, Position, RecordedEvent, StreamName, TenantId, TenantScope,
    Version,
};
use eventstore::{AppendToStreamOptions, Client, DeleteStreamOptions, StreamMetadataBuilder, TombstoneStreamOptions};
use futures::FutureExt as _;
use platform::{database, release::bootstrap};
use sqlx::{ConnectOptions as _, Executor as _, PgPool, postgres::PgConnectOptions};
use store::{Append, Appended, EsStore, Expected, IdScope, PgStore, Store, conformance, streams::StreamPlace};
use uuid::Uuid;

use crate::eventstoredb::StandIn;

#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    let database = Database::bootstrapped().await;
    conformance::all(&database.store(), &database.store()).await;
}

/// The server to test against; an empty name is none.
fn eventstore_url() -> Option<String> {
    std::env::var("EVENTSTORE_URL").ok().filter(|url| !url.is_empty())
}

/// Needs nothing but the server: the binary may be copied to where that is.
#[tokio::test(flavor = "multi_thread")]
async fn eventstore() {
    let Some(url) = eventstore_url() else {
        crate::servers::skipped("the EventStoreDB engine is not tested; set EVENTSTORE_URL=esdb://host:2113?tls=false");
        return;
    };
    let connect = async || Store::EventStore(EsStore::connect(&url).await.unwrap());
    conformance::all(&connect().await, &connect().await).await;
}

/// The same engine where there is no server.
#[tokio::test(flavor = "multi_thread")]
async fn eventstore_stand_in() {
    let server = StandIn::start();
    let connect = async || Store::EventStore(EsStore::connect(&server.url()).await.unwrap());
    conformance::all(&connect().await, &connect().await).await;
}

/// The same engine with commands' ids in PostgreSQL, as services open it.
#[tokio::test(flavor = "multi_thread")]
async fn eventstore_stand_in_with_ids_in_postgres() {
    let (server, database) = (StandIn::start(), Database::bootstrapped().await);
    let url = database.url_of("tenure_command");
    let connect = async || Store::EventStore(EsStore::connect(&server.url()).await.unwrap().reserving(&url).unwrap());
    conformance::all(&connect().await, &connect().await).await;
    assert!(server.records().iter().all(|record| !record.stream.contains(".command.")), "an id was reserved in a stream");
}

/// As the user in `EVENTSTORE_URL`, which is Tenure's and no admin's.
#[tokio::test(flavor = "multi_thread")]
async fn eventstore_keeps_what_it_has() {
    let Some(url) = eventstore_url() else {
        crate::servers::skipped("whether EventStoreDB lets events be removed is not tested; set EVENTSTORE_URL");
        return;
    };
    let client = Client::new(url.parse().unwrap()).unwrap();
    if !url.contains('@') {
        crate::servers::skipped("EVENTSTORE_URL names no user, so EventStoreDB lets events be removed: docs/eventstoredb.md, rights");
        return;
    }
    let store = Store::EventStore(EsStore::connect(&url).await.unwrap());
    let scope = tenant();
    let stream = employee(scope);
    let first = store.append(one(scope, stream)).await.unwrap();
    let hidden = StreamMetadataBuilder::new().truncate_before(u64::MAX).build();
    let refused = [
        client.delete_stream(stream.to_string(), &DeleteStreamOptions::default()).await.map(drop),
        client.tombstone_stream(stream.to_string(), &TombstoneStreamOptions::default()).await.map(drop),
        client.set_stream_metadata(stream.to_string(), &AppendToStreamOptions::default(), &hidden).await.map(drop),
    ];
    for result in refused {
        assert!(matches!(result, Err(eventstore::Error::AccessDenied)), "{result:?}");
    }
    let left = store.read_log(scope, Position::ZERO, 10).await.unwrap();
    assert_eq!(left.iter().map(|e| e.id).collect::<Vec<_>>(), first.event_ids);
}

#[tokio::test]
async fn an_event_is_never_changed_or_removed() {
    let database = Database::bootstrapped().await;
    let scope = tenant();
    let first = database.store().append(one(scope, employee(scope))).await.unwrap();
    let statements = ["update event_store.event set actor = 'x'", "delete from event_store.event", "truncate event_store.event"];
    for role in ["tenure_command", "tenure_projector", "tenure_owner"] {
        let pool = database.pool(role);
        for statement in statements {
            let mut tx = pool.begin().await.unwrap();
            tx.execute(format!("set local tenure.tenants = '{}'", scope.tenant().uuid()).as_str()).await.unwrap();
            let error = tx.execute(statement).await.expect_err(&format!("{role} may {statement}"));
            assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("42501"), "{role}: {statement}: {error}");
        }
    }
    let log = database.store().read_log(scope, Position::ZERO, 10).await.unwrap();
    assert_eq!(log.iter().map(|e| e.id).collect::<Vec<_>>(), first.event_ids);
}

#[tokio::test]
async fn rows_are_visible_only_to_who_names_their_tenant() {
    let database = Database::bootstrapped().await;
    let (a, b) = (tenant(), tenant());
    for scope in [a, b, b] {
        let mut append = one(scope, employee(scope));
        let digest = store::ClaimDigest(*[*Uuid::now_v7().as_bytes(); 2].as_flattened().first_chunk().unwrap());
        append.claims.push(store::Claim { kind: store::ClaimKind("work_email"), digest, op: store::ClaimOp::Take });
        database.store().append(append).await.unwrap();
    }
    let count = async |pool: &PgPool, table: &str, tenants: Option<&[TenantScope]>| -> i64 {
        let mut tx = pool.begin().await.unwrap();
        if let Some(tenants) = tenants {
            let list = tenants.iter().map(|scope| scope.tenant().uuid().to_string()).collect::<Vec<_>>().join(",");
            tx.execute(format!("set local tenure.tenants = '{list}'").as_str()).await.unwrap();
        }
        sqlx::query_scalar(&format!("select count(*) from event_store.{table}")).fetch_one(&mut *tx).await.unwrap()
    };
    for (role, table) in [
        ("tenure_command", "event"),
        ("tenure_command", "claim"),
        ("tenure_relay", "event"),
        ("tenure_projector", "event"),
        ("tenure_query", "event"),
        ("tenure_owner", "event"),
        ("tenure_owner", "claim"),
    ] {
        let pool = database.pool(role);
        assert_eq!(count(&pool, table, None).await, 0, "{role} sees {table} of whom it has not named");
        assert_eq!(count(&pool, table, Some(&[])).await, 0);
        assert_eq!(count(&pool, table, Some(&[a])).await, 1);
        assert_eq!(count(&pool, table, Some(&[b])).await, 2);
        assert_eq!(count(&pool, table, Some(&[a, b])).await, 3);
        assert_eq!(count(&pool, table, None).await, 0, "a connection that is handed on still names tenants");
    }
    // Nor does the engine leave anything behind on its connections.
    let pool = database.pool("tenure_command");
    let mut conn = pool.acquire().await.unwrap();
    let read = format!("select count(*) from event_store.read_log('{}', 0, 10)", a.tenant().uuid());
    assert_eq!(sqlx::query_scalar::<_, i64>(&read).fetch_one(&mut *conn).await.unwrap(), 1);
    let left: Option<String> = sqlx::query_scalar("select current_setting('tenure.tenants', true)").fetch_one(&mut *conn).await.unwrap();
    assert_eq!(left.unwrap_or_default(), "");
}

/// The engine's own look at whose a row is, with everything before it gone: no row-level security, and functions that forgot
/// their condition.
#[tokio::test]
async fn a_row_of_another_tenant_is_refused_whatever_let_it_through() {
    let database = Database::bootstrapped().await;
    let (a, b) = (tenant(), tenant());
    let (store, of_a, of_b) = (database.store(), employee(a), employee(b));
    for (scope, stream) in [(a, of_a), (b, of_b)] {
        store.append(one(scope, stream)).await.unwrap();
    }
    let postgres = database.store_of("tenure_projector");
    let command = one(a, of_a).metadata.command_id;
    let streams = async || {
        let range = Uuid::nil()..=Uuid::max();
        let mut reader = postgres.stream_reader().await.unwrap();
        let page = reader.read(a, &range, StreamPlace::before(&range), Position(10), 10).await.unwrap();
        page.events().map(|events| events.len())
    };
    assert_eq!(streams().await.unwrap(), 1);
    let forget = "do $$ declare f regprocedure; begin
        alter table event_store.event no force row level security;
        alter table event_store.event disable row level security;
        for f in select oid::regprocedure from pg_proc where pronamespace = 'event_store'::regnamespace and proname ~ '^read_' loop
            execute regexp_replace(pg_get_functiondef(f), 'e\\.tenant_id = p_tenant and .*?(order by|;)', 'true \\1');
        end loop; end $$";
    database.superuser().await.execute(forget).await.unwrap();
    let refused = |what: &str, error: Option<String>| {
        let error = error.unwrap_or_else(|| panic!("{what} gives another tenant's events"));
        assert!(error.contains("another tenant"), "{what}: {error}");
    };
    refused("a log", store.read_log(a, Position::ZERO, 10).await.err().map(|e| e.to_string()));
    refused("a stream", store.read_stream(of_a, Version::ZERO, 10).await.err().map(|e| e.to_string()));
    refused("a command", store.find_command(of_a, command).await.err().map(|e| e.to_string()));
    refused("whole streams", streams().await.err().map(|e| e.to_string()));
}

/// Plans are made once per connection. One that came to a young log, of a page or three, took reading the whole log for as good
/// as looking something up, and did so for each append until the table was analyzed.
#[tokio::test(flavor = "multi_thread")]
async fn what_looks_up_one_reads_one_however_young_the_log() {
    const LATER: i64 = 200;
    let database = Database::bootstrapped().await;
    let superuser = database.superuser().await;
    superuser.execute("alter table event_store.event set (autovacuum_enabled = off)").await.unwrap();
    let scope = tenant();
    let append = async |store: &Store| {
        let mut append = one(scope, employee(scope));
        append.events[0].data = serde_json::value::to_raw_value(&"x".repeat(300)).unwrap();
        let (stream, command) = (append.stream, append.metadata.command_id);
        store.append(append).await.unwrap();
        (stream, command)
    };
    let young = database.store();
    for _ in 0..25 {
        append(&young).await;
    }
    drop(young);
    let counts = async || -> (i64, i64) {
        let sql = "select sum(idx_scan)::bigint, sum(idx_tup_read)::bigint from pg_stat_user_indexes where relname = 'event'";
        sqlx::query_as(sql).fetch_one(&superuser).await.unwrap()
    };
    // What a store's connections read is counted once they are gone.
    let counted = async |scans: i64| {
        crate::servers::eventually(&format!("{scans} lookups are counted"), async || counts().await.0 >= scans).await;
        counts().await
    };
    let (scanned, read) = counted(2 * 25).await;
    let store = database.store();
    for _ in 0..LATER {
        let (stream, command) = append(&store).await;
        assert_eq!(store.read_stream(stream, Version::ZERO, 10).await.unwrap().len(), 1);
        assert!(store.find_command(stream, command).await.unwrap().is_some());
    }
    drop(store);
    let (_, now) = counted(scanned + 4 * LATER).await;
    assert!(now - read <= 3 * LATER, "{} events were read for {LATER} that were looked for twice", now - read);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_read_whole_in_ranges_and_pages() {
    let database = Database::bootstrapped().await;
    let store = database.store();
    let postgres = database.store_of("tenure_projector");
    let (scope, other) = (tenant(), tenant());
    store.append(one(other, employee(other))).await.unwrap();
    let streams: Vec<_> =
        (0..20).map(|_| StreamName::employee(scope, EmployeeId::from_uuid(Uuid::from_u128(fastrand::u128(..))))).collect();
    for n in 0..90 {
        store.append(Append { expected: Expected::Any, ..one(scope, streams[n * n % 20]) }).await.unwrap();
    }
    let head = Position(80);
    let mut expected: Vec<_> = store.read_log(scope, Position::ZERO, 80).await.unwrap();
    expected.sort_by_key(|e| (e.stream.id(), e.version));
    let expected: Vec<_> = expected.iter().map(|e| (e.stream, e.version, e.position, e.data.get().to_owned())).collect();
    let mut reader = postgres.stream_reader().await.unwrap();
    for (events, limit) in [(1, 1), (32, 7), (80, 1), (1_000, 1_000)] {
        let mut read = Vec::new();
        for range in postgres.stream_ranges(scope, head, events).await.unwrap() {
            let mut after = StreamPlace::before(&range);
            loop {
                let page = reader.read(scope, &range, after, head, limit).await.unwrap();
                let page = page.events().unwrap();
                read.extend(page.iter().map(|e| (e.stream, e.version, e.position, e.data.get().to_owned())));
                match page.last() {
                    Some(last) if page.len() == limit => after = StreamPlace::after(last),
                    _ => break,
                }
            }
        }
        assert_eq!(read, expected, "in ranges of {events} and pages of {limit}");
    }
    reader.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stores_race_on_one_tenant() {
    let database = Database::bootstrapped().await;
    let stores = [database.store(), database.store()];
    let scope = tenant();
    let shared = employee(scope);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..32 {
        let store = stores[n % 2].clone();
        tasks.spawn(async move {
            let stream = employee(scope);
            for version in 0..20 {
                let own = Append { expected: Expected::Exact(Version(version)), ..one(scope, stream) };
                store.append(own).await.unwrap();
                // Both stores write this stream.
                store.append(one(scope, shared)).await.unwrap();
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let log = dense_log(&stores[0], scope).await;
    assert_eq!(log.len(), 32 * 20 * 2);
    let versions: Vec<_> = log.iter().filter(|e| e.stream == shared).map(|e| e.version.0).collect();
    assert_eq!(versions, (1..=32 * 20).collect::<Vec<_>>());
}

/// Of an append and an answer without an event, in two processes, the one that the store takes first stands.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_has_events_or_an_answer_without() {
    let database = Database::bootstrapped().await;
    let (store, pool) = (database.store(), database.pool("tenure_command"));
    let scope = tenant();
    let answer = async |command: CommandId| -> bool {
        let mut tx = pool.begin().await.unwrap();
        let sql = "select event_store.answer_command($1, $2)";
        let stands = sqlx::query_scalar(sql).bind(scope.tenant().uuid()).bind(command.uuid()).fetch_one(&mut *tx).await.unwrap();
        if stands {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
        stands
    };
    let mut won = [0, 0];
    for n in 0..60 {
        let append = one(scope, employee(scope));
        let command = append.metadata.command_id;
        let (appending, answering) = (store.append(append.clone()), answer(command));
        let (appended, answered) = match n % 4 {
            0 => (appending.await, answering.await),
            1 => {
                let answered = answering.await;
                (appending.await, answered)
            }
            2 => tokio::join!(appending, answering),
            _ => {
                let later = tokio::time::sleep(Duration::from_micros(fastrand::u64(..20_000)));
                tokio::join!(later.then(|()| appending), answering)
            }
        };
        match (appended, answered) {
            (Ok(_), false) => won[0] += 1,
            (Err(store::AppendError::CommandAnswered), true) => won[1] += 1,
            other => panic!("{other:?}"),
        }
        // However often either is tried again.
        let again = store.append(append).await;
        assert_eq!(again.is_ok(), !answered, "{again:?}");
        assert_eq!(answer(command).await, answered);
        assert_eq!(store.find_command(employee(scope), command).await.unwrap().is_some(), !answered);
    }
    assert!(won[0] > 0 && won[1] > 0, "{won:?}");
    // What was answered about a history that was put back since closes nothing.
    let append = one(scope, employee(scope));
    assert!(answer(append.metadata.command_id).await);
    database.superuser().await.execute("update platform.epoch set number = number + 1").await.unwrap();
    store.append(append).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_connections_lose_and_double_nothing() {
    let database = Database::bootstrapped().await;
    let store = database.store();
    let scope = tenant();
    let (stop, appends) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (store, stop, appends) = (store.clone(), stop.clone(), appends.clone());
        writers.spawn(async move {
            let (stream, mut answers) = (employee(scope), Vec::new());
            while !stop.load(Ordering::Relaxed) {
                let append = one(scope, stream);
                answers.push((append.metadata.command_id, until_known(&store, append).await));
                appends.fetch_add(1, Ordering::Relaxed);
            }
            answers
        });
    }
    let admin = database.superuser().await;
    // On a slow machine nothing gets through between two kills: then the next comes later.
    let (mut killed, mut seen, mut pause, started) = (0, 0, 60, Instant::now());
    while started.elapsed() < Duration::from_secs(4) || (killed <= 20 || seen <= 100) && started.elapsed() < Duration::from_mins(2) {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(1..pause))).await;
        let now = appends.load(Ordering::Relaxed);
        pause = if now > seen { 60 } else { (pause * 2).min(4_000) };
        seen = now;
        let sql = "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and usename = 'tenure_command'";
        killed += sqlx::query_scalar::<_, i64>(sql).fetch_one(&admin).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    while let Some(writer) = writers.join_next().await {
        acknowledged.extend(writer.unwrap());
    }
    assert!(killed > 20 && acknowledged.len() > 100, "{killed} connections killed, {} appends", acknowledged.len());
    let log = dense_log(&store, scope).await;
    assert_eq!(log.len(), acknowledged.len(), "{killed} connections killed");
    acknowledged.sort_unstable_by_key(|(_, appended)| appended.position);
    for (event, (command, appended)) in log.iter().zip(&acknowledged) {
        assert_eq!((event.metadata.command_id, event.position, event.version), (*command, appended.position, appended.version));
        assert_eq!(vec![event.id], appended.event_ids);
    }
}

/// Tries until the outcome is known, as a caller does.
async fn until_known(store: &Store, append: Append) -> Appended {
    let started = Instant::now();
    loop {
        match store.append(append.clone()).await {
            Ok(appended) => return appended,
            Err(store::AppendError::Store(store::StoreError::Unavailable(_))) if started.elapsed() < Duration::from_secs(30) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn dense_log(store: &Store, scope: TenantScope) -> Vec<RecordedEvent> {
    let log = store.read_log(scope, Position::ZERO, 1_000_000).await.unwrap();
    assert!(log.iter().zip(1..).all(|(event, n)| event.position == Position(n)), "the log has holes");
    assert_eq!(store.head(scope).await.unwrap().0, log.len() as u64);
    log
}

pub(crate) fn tenant() -> TenantScope {
    TenantScope::checked(TenantId::from_uuid(Uuid::now_v7()))
}

pub(crate) fn employee(scope: TenantScope) -> StreamName {
    StreamName::employee(scope, EmployeeId::from_uuid(Uuid::now_v7()))
}

/// An append of one event, under an id of its own.
pub(crate) fn one(scope: TenantScope, stream: StreamName) -> Append {
    several(scope, stream, "EmployeeHired", 1)
}

/// The same of several events of one type.
pub(crate) fn several(scope: TenantScope, stream: StreamName, event_type: &'static str, count: usize) -> Append {
    let command_id = CommandId::from_uuid(Uuid::now_v7());
    let metadata = Metadata {
        actor: "user:test".into(),
        command_id,
        command_hash: CommandHash(command_id.uuid()),
        correlation_id: CorrelationId::from_uuid(command_id.uuid()),
        causation_id: None,
        traceparent: None,
    };
    let data = || serde_json::value::RawValue::from_string("{}".into()).unwrap();
    let event = |n| NewEvent { id: NewEvent::id_for(command_id, n), event_type, schema_version: 1, data: data() };
    let events = (0..count).map(event).collect();
    Append { scope, stream, expected: Expected::Any, events, claims: Vec::new(), metadata, id_scope: IdScope::Tenant }
}

/// A database that was set up for this test.
pub(crate) struct Database(PgConnectOptions);

impl Database {
    pub(crate) async fn bootstrapped() -> Self {
        let database = Self(crate::servers::fresh_database("conformance").await);
        let owner = database.superuser().await;
        bootstrap(&owner, &[]).await.unwrap();
        owner.close().await;
        database
    }
    pub(crate) async fn superuser(&self) -> PgPool {
        database::pool_options(2).connect_with(self.0.clone()).await.unwrap()
    }
    /// Acts as a role, which need not be allowed to log in.
    pub(crate) fn pool(&self, role: &str) -> PgPool {
        database::pool_options(1).connect_lazy_with(self.0.clone().options([("role", role)]))
    }
    pub(crate) fn url_of(&self, role: &str) -> String {
        self.0.clone().username(role).to_url_lossy().into()
    }
    fn store(&self) -> Store {
        Store::Postgres(self.store_of("tenure_command"))
    }
    fn store_of(&self, role: &str) -> PgStore {
        PgStore::open(&self.url_of(role), 8).unwrap()
    }
}
