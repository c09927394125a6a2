//! A tenant's log in EventStoreDB, by the stand-in: the relay follows `$all` once, publishes in order what it read, and keeps an
//! index by tenant from which everybody reads. What a read looks at is counted.

use std::{collections::BTreeMap, time::Duration};

use async_nats::jetstream;
use events::{Position, RecordedEvent, StreamName, TenantId, TenantScope};
use futures::{StreamExt as _, stream};
use platform::Registry;
use sqlx::{ConnectOptions as _, Executor as _};
use store::{
    Append, EsStore, IdScope, Store, StoreError, feed,
    nats::{NatsSettings, connect},
    relay::Relay,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    eventstoredb::{Kind, StandIn},
    feed::{PATIENCE, until},
    platform::Database,
    servers::own_nats,
    store_conformance::{employee, several, tenant},
};

/// Tenant, position, number in the log, category and id of the stream, revision, and number in `$all`.
type EntryRow = (Uuid, i64, i64, String, Option<Uuid>, i64, i64);

/// EventStoreDB, a database for the index, and NATS.
struct World {
    server: StandIn,
    database: Database,
    nats: String,
    stop: CancellationToken,
}

impl World {
    async fn new() -> Self {
        Self { server: StandIn::start(), database: Database::bootstrapped().await, nats: own_nats().await, stop: CancellationToken::new() }
    }
    /// The store as a process with a role has it.
    async fn store(&self, role: &str) -> Store {
        let url = self.database.pool(role, 1).connect_options().to_url_lossy();
        Store::EventStore(EsStore::open(&self.server.url(), url.as_str(), 4).await.unwrap())
    }
    /// The store of a process that has no index and looks at everything itself.
    async fn bare(&self) -> Store {
        Store::EventStore(EsStore::connect(&self.server.url()).await.unwrap())
    }
    async fn relay(&self) -> JoinHandle<()> {
        let client = connect(&NatsSettings { url: self.nats.clone(), credentials: None, process: "relay" }).await.unwrap();
        let relay = Relay::new(self.store("tenure_relay").await, self.database.pool("tenure_relay", 4), client);
        tokio::spawn(relay.run(self.stop.clone()))
    }
    async fn answer(&self, sql: &str) -> bool {
        sqlx::query_scalar(sql).fetch_one(&self.database.owner).await.unwrap()
    }
    /// Waits until the index has all that is in `$all`.
    async fn indexed(&self) {
        let end = self.server.records().last().unwrap().position;
        let sql = format!("select exists (select from event_store.log_progress where position >= {end})");
        until("the relay has indexed all", PATIENCE, async || self.answer(&sql).await).await;
    }
    /// Waits until a tenant's log was published to its end.
    async fn relayed(&self, scope: TenantScope) {
        let head = self.bare().await.head(scope).await.unwrap();
        let tenant = scope.tenant().uuid();
        let sql = format!("select exists (select from event_store.relay_cursor where tenant_id = '{tenant}' and position = {head})");
        until("the relay arrives at the end of the log", PATIENCE, async || self.answer(&sql).await).await;
    }
    /// The positions in JetStream, tenant by tenant, each after the one that its message names.
    async fn published(&self) -> BTreeMap<TenantId, Vec<u64>> {
        let client = connect(&NatsSettings { url: self.nats.clone(), credentials: None, process: "relay" }).await.unwrap();
        let stream = jetstream::new(client).get_stream(feed::STREAM).await.unwrap();
        let mut published: BTreeMap<TenantId, Vec<u64>> = BTreeMap::new();
        for sequence in 1..=stream.get_info().await.unwrap().state.last_sequence {
            let message = stream.get_raw_message(sequence).await.unwrap();
            let event = feed::decode(&message.subject, &message.payload).unwrap();
            let positions = published.entry(event.tenant).or_default();
            let previous: u64 = message.headers.get(feed::PREVIOUS).unwrap().as_str().parse().unwrap();
            assert_eq!(previous, positions.last().copied().unwrap_or(0), "each names the one before it");
            positions.push(event.position.0);
        }
        published
    }
    /// The index is what `$all` says.
    async fn assert_index_is_right(&self) {
        let records = self.server.records();
        let mut counts: BTreeMap<TenantId, i64> = BTreeMap::new();
        let expected: Vec<EntryRow> = (1..)
            .zip(&records)
            .filter_map(|(ordinal, record)| Some((ordinal, record, StreamName::from_written(&record.stream).ok()?)))
            .map(|(ordinal, record, stream)| {
                let n = counts.entry(stream.tenant()).or_default();
                *n += 1;
                let category = stream.category().name().to_owned();
                let (position, revision) = (record.position.cast_signed(), record.revision.cast_signed());
                (stream.tenant().uuid(), position, *n, category, Some(stream.id()), revision, ordinal)
            })
            .collect();
        let sql = "select tenant_id, position, n, category, stream_id, revision, ordinal from event_store.log_entry order by position";
        let entries: Vec<EntryRow> = sqlx::query_as(sql).fetch_all(&self.database.owner).await.unwrap();
        assert_eq!(entries, expected);
    }
    async fn end<const N: usize>(&self, relays: [JoinHandle<()>; N]) {
        self.stop.cancel();
        for relay in relays {
            relay.await.unwrap();
        }
    }
}

fn events(scope: TenantScope, stream: StreamName, event_type: &'static str, count: usize) -> Append {
    Append { id_scope: IdScope::Stream, ..several(scope, stream, event_type, count) }
}

async fn register(store: &Store, scope: TenantScope) {
    store.append(events(Registry::platform_scope(), StreamName::tenancy(scope.tenant()), "TenantRegistered", 1)).await.unwrap();
}

async fn append(store: &Store, stream: StreamName, count: usize) {
    store.append(events(TenantScope::checked(stream.tenant()), stream, "EmployeeHired", count)).await.unwrap();
}

/// So many events, over so many streams, in appends of ten.
async fn fill(store: &Store, scope: TenantScope, streams: usize, count: usize) {
    let streams: Vec<_> = (0..streams).map(|_| employee(scope)).collect();
    stream::iter(0..count / 10).for_each_concurrent(8, |n| append(store, streams[n % streams.len()], 10)).await;
}

async fn log_of(store: &Store, scope: TenantScope) -> Vec<RecordedEvent> {
    store.read_log(scope, Position::ZERO, 100_000).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_reads_all_once_and_publishes_it_in_order() {
    let world = World::new().await;
    let store = world.store("tenure_command").await;
    let (ours, also_ours, foreign) = (tenant(), tenant(), tenant());
    for scope in [ours, also_ours] {
        register(&store, scope).await;
    }
    for scope in [ours, also_ours, foreign, ours] {
        fill(&store, scope, 7, 1_500).await;
    }
    let (mark, before) = (world.server.mark(), world.server.records().len() as u64);
    let relay = world.relay().await;
    for scope in [ours, also_ours] {
        world.relayed(scope).await;
    }
    world.indexed().await;
    world.assert_index_is_right().await;
    let published = world.published().await;
    let bare = world.bare().await;
    for scope in [ours, also_ours, Registry::platform_scope()] {
        let positions: Vec<u64> = log_of(&bare, scope).await.iter().map(|event| event.position.0).collect();
        assert_eq!(published.get(&scope.tenant()), Some(&positions));
    }
    assert_eq!(published.len(), 3, "nothing of whom nobody registered is published");
    // The relay alone has asked for `$all` since, but for those who looked on here: `bare`, each time from the start.
    let work = world.server.since(mark).await;
    eprintln!("{before} records: {work:?}");
    world.end([relay]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_rest_and_after_a_restart_nothing_is_read_twice() {
    let world = World::new().await;
    let store = world.store("tenure_command").await;
    let ours = tenant();
    register(&store, ours).await;
    fill(&store, ours, 10, 2_000).await;
    let mark = world.server.mark();
    let relay = world.relay().await;
    world.indexed().await;
    until("it is published", PATIENCE, async || world.answer("select count(*) = 2 from event_store.relay_cursor").await).await;
    let work = world.server.since(mark).await;
    let (all, records) = (work.looked_at(), world.server.records().len() as u64);
    // The record before each page once more, one more than is asked for, and the sweeps since.
    assert!(all <= records + 3 * work.calls(Kind::ReadAll) as u64 + 1, "{records} records: {work:?}");
    assert_eq!(work.calls(Kind::ReadStream) + work.calls(Kind::ReadAllFiltered), 0, "{work:?}");

    let mark = world.server.mark();
    let looks = async || world.server.since(mark).await.calls(Kind::ReadAll) >= 3;
    until("it sweeps", PATIENCE, looks).await;
    let work = world.server.since(mark).await;
    assert!(work.looked_at() <= work.calls(Kind::ReadAll) as u64, "at rest: {work:?}");

    world.stop.cancel();
    relay.await.unwrap();
    append(&store, employee(ours), 5).await;
    let again = World { stop: CancellationToken::new(), ..world };
    let mark = again.server.mark();
    let relay = again.relay().await;
    again.indexed().await;
    until("it is published", PATIENCE, async || {
        again
            .answer("select exists (select from event_store.relay_cursor c join event_store.log_progress p on c.position = p.position)")
            .await
    })
    .await;
    let work = again.server.since(mark).await;
    // The platform's log, of one event, tells who is registered.
    assert!(work.looked_at() <= 1 + 5 + 3 * work.calls(Kind::ReadAll) as u64, "after a restart: {work:?}");
    again.end([relay]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_registered_later_is_published_from_the_start() {
    let world = World::new().await;
    let store = world.store("tenure_command").await;
    let (ours, later) = (tenant(), tenant());
    register(&store, ours).await;
    fill(&store, later, 3, 700).await;
    let relay = world.relay().await;
    append(&store, employee(ours), 1).await;
    world.relayed(ours).await;
    let cursors = "select not exists (select from event_store.relay_cursor where tenant_id = '";
    assert!(world.answer(&format!("{cursors}{}')", later.tenant().uuid())).await);
    register(&store, later).await;
    append(&store, employee(later), 1).await;
    world.relayed(later).await;
    let positions: Vec<u64> = log_of(&store, later).await.iter().map(|event| event.position.0).collect();
    assert_eq!(positions.len(), 701);
    assert_eq!(world.published().await.get(&later.tenant()), Some(&positions));
    world.end([relay]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_costs_what_it_is_long_itself() {
    let world = World::new().await;
    let store = world.store("tenure_command").await;
    let (ours, others) = (tenant(), tenant());
    register(&store, ours).await;
    // A thousand among a hundred thousand, in ten places.
    for _ in 0..10 {
        fill(&store, ours, 5, 100).await;
        stream::iter(0..100).for_each_concurrent(4, |_| append(&store, employee(others), 100)).await;
    }
    let relay = world.relay().await;
    world.indexed().await;
    world.end([relay]).await;
    for index in ["with the index", "beyond it"] {
        let (reader, own) = (world.store("tenure_query").await, 1_000_u64);
        let mut bounds: Vec<(&str, u64, u64)> = Vec::new();
        let mark = world.server.mark();
        let head = reader.head(ours).await.unwrap();
        bounds.push(("head", world.server.since(mark).await.looked_at(), 40));
        let mark = world.server.mark();
        let log = log_of(&reader, ours).await;
        bounds.push(("the whole log", world.server.since(mark).await.looked_at(), 2 * own + 40));
        assert_eq!((log.len() as u64, log.last().unwrap().position), (own, head));
        let mark = world.server.mark();
        let page = reader.read_log_on(ours, log[499].log_point(), 100).await.unwrap().unwrap();
        assert_eq!(page, log[500..600]);
        bounds.push(("a page", world.server.since(mark).await.looked_at(), 2 * 101 + 40));
        let mark = world.server.mark();
        assert_eq!(reader.point_at(ours, log[3].position).await.unwrap(), log[3].log_point());
        bounds.push(("an event", world.server.since(mark).await.looked_at(), 2));
        let mark = world.server.mark();
        let heads = reader.heads().await.unwrap();
        bounds.push(("heads", world.server.since(mark).await.looked_at(), 40));
        assert_eq!(
            heads.iter().map(|head| (head.tenant, head.events)).find(|(tenant, _)| *tenant == ours.tenant()),
            Some((ours.tenant(), own))
        );
        let relay = world.store("tenure_relay").await;
        assert_eq!(relay.counts_at(&[(ours.tenant(), log[41].position), (ours.tenant(), Position::ZERO)]).await.unwrap(), [42, 0]);
        assert_eq!(relay.events_between(ours, log[9].position, head).await.unwrap(), own - 10);
        for (what, looked_at, most) in &bounds {
            eprintln!("{index}, {what}: {looked_at} records looked at");
            assert!(looked_at <= most, "{index}, {what}: {looked_at} records looked at, {most} are allowed");
        }
        // What nobody has indexed yet is read by each process for itself, from where the index ends.
        append(&store, employee(others), 10).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_lost_is_made_anew() {
    let world = World::new().await;
    let store = world.store("tenure_command").await;
    let ours = tenant();
    register(&store, ours).await;
    fill(&store, ours, 4, 300).await;
    let relay = world.relay().await;
    world.relayed(ours).await;
    let reader = world.store("tenure_query").await;
    let log = log_of(&reader, ours).await;
    world.database.owner.execute("truncate event_store.log_entry, event_store.log_head, event_store.log_progress").await.unwrap();
    append(&store, employee(ours), 1).await;
    world.relayed(ours).await;
    world.indexed().await;
    world.assert_index_is_right().await;
    assert_eq!(log_of(&reader, ours).await[..log.len()], log, "who had read the old one reads the new one");
    let published = world.published().await.remove(&ours.tenant()).unwrap();
    assert_eq!(published.len(), 301, "nothing was published twice");
    world.end([relay]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_put_back_is_indexed_anew() {
    let world = World::new().await;
    let store = world.store("tenure_command").await;
    let (ours, gone) = (tenant(), tenant());
    register(&store, ours).await;
    fill(&store, ours, 4, 100).await;
    let backup = world.server.backup();
    fill(&store, ours, 4, 200).await;
    fill(&store, gone, 4, 200).await;
    let relay = world.relay().await;
    world.relayed(ours).await;
    world.indexed().await;
    let reader = world.store("tenure_query").await;
    let before = log_of(&reader, ours).await;
    world.server.put_back(backup);
    let store = world.bare().await;
    append(&store, employee(ours), 3).await;
    let generation = "select generation > 1 and position > 0 from event_store.log_progress";
    until("the relay begins anew", PATIENCE, async || world.answer(generation).await).await;
    world.indexed().await;
    world.assert_index_is_right().await;
    let read = async || match reader.read_log(ours, Position::ZERO, 1_000).await {
        Ok(log) => log.len() == 103,
        Err(StoreError::Unavailable(_)) => false,
        Err(error) => panic!("{error}"),
    };
    until("the reader sees what there is now", PATIENCE, read).await;
    assert_eq!(log_of(&reader, ours).await[..100], before[..100]);
    assert_eq!(reader.read_log_on(ours, before[250].log_point(), 10).await.unwrap(), None);
    assert_eq!(reader.head(gone).await.unwrap(), Position::ZERO);
    world.relayed(ours).await;
    world.end([relay]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_indexed_while_there_is_no_broker() {
    let world = World::new().await;
    let store = world.store("tenure_command").await;
    let ours = tenant();
    register(&store, ours).await;
    fill(&store, ours, 4, 5_000).await;
    let nowhere = async_nats::ConnectOptions::new().retry_on_initial_connect().connect("127.0.0.1:1").await.unwrap();
    let relay = Relay::new(world.store("tenure_relay").await, world.database.pool("tenure_relay", 4), nowhere);
    let relay = tokio::spawn(relay.run(world.stop.clone()));
    world.indexed().await;
    world.assert_index_is_right().await;
    world.end([relay]).await;
}

/// How fast the relay catches up, for a release build: `cargo test --release … catching_up --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn catching_up() {
    let world = World::new().await;
    let store = world.store("tenure_command").await;
    let tenants: Vec<_> = (0..20).map(|_| tenant()).collect();
    for scope in &tenants {
        register(&store, *scope).await;
    }
    stream::iter(0..2_000).for_each_concurrent(8, |n| append(&store, employee(tenants[n % tenants.len()]), 100)).await;
    let started = std::time::Instant::now();
    let relay = world.relay().await;
    world.indexed().await;
    let indexed = started.elapsed();
    for scope in &tenants {
        world.relayed(*scope).await;
    }
    let took = started.elapsed();
    eprintln!("200,000 events: indexed within {indexed:?}, published within {took:?}, {:.0} events/s", 200_000.0 / took.as_secs_f64());
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.end([relay]).await;
}
