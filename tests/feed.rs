//! From the store through a real JetStream into the read model: whatever happens to messages, relays and projectors on the
//! way, each event is applied once and in order (I2, I3, I5), and what can't be applied stops its own tenant only.

use std::{collections::BTreeMap, time::Duration};

use async_nats::{HeaderMap, jetstream};
use events::{
    CommandHash, CommandId, CorrelationId, DepartmentId, Effective, Metadata, NewEvent, Position, RecordedEvent, StreamName, TenantId,
    TenantScope,
    organization::{DepartmentCreated, OrganizationEvent},
    tenancy::{Subscription, TenancyEvent, TenantProvisioned, TenantRegistered},
};
use futures::FutureExt as _;
use jiff::civil::date;
use platform::{Registry, provision::provision};
use projector::{
    apply::{Applier, Sequenced, sequence},
    consume::Projector,
    rebuild::rebuild,
    rebuilder::FAR_BEHIND,
};
use serde_json::value::RawValue;
use sqlx::{ConnectOptions as _, Executor as _};
use store::{
    Append, Expected, IdScope, PgStore, Store, feed,
    nats::{NatsSettings, connect},
    relay::{Relay, ensure_consumers},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    projection::{World, history, ticket},
    servers::own_nats,
};

/// A world with a NATS server. Relays and projectors run inside this process, as the programs run them.
pub(crate) struct Feed {
    pub(crate) world: World,
    nats: String,
    pub(crate) stop: CancellationToken,
}

impl Feed {
    pub(crate) async fn new() -> Self {
        let feed = Self { world: World::new().await, nats: own_nats().await, stop: CancellationToken::new() };
        feed.register(feed.world.scope.tenant()).await;
        feed
    }
    /// Tells the registry that a tenant is ready.
    pub(crate) async fn register(&self, tenant_id: TenantId) {
        let subscription = Subscription { plan: "test".into(), expires_at: None };
        let name = format!("t-{}", &tenant_id.uuid().simple().to_string()[20..]);
        let events: [TenancyEvent; 2] =
            [TenantRegistered { tenant_id, slug: name.clone(), name, subscription }.into(), TenantProvisioned { tenant_id }.into()];
        let events = events.map(events::Event::from);
        self.append(Registry::platform_scope(), StreamName::tenancy(tenant_id), &events).await;
    }
    async fn append(&self, scope: TenantScope, stream: StreamName, events: &[events::Event]) {
        let command_id = CommandId::from_uuid(Uuid::now_v7());
        let new = (0..).zip(events).map(|(n, event)| NewEvent {
            id: NewEvent::id_for(command_id, n),
            event_type: event.event_type(),
            schema_version: event.schema_version(),
            data: event.to_data().unwrap(),
        });
        let metadata = Metadata {
            actor: "tester".into(),
            command_id,
            command_hash: CommandHash(Uuid::nil()),
            correlation_id: CorrelationId::from_uuid(Uuid::now_v7()),
            causation_id: None,
            traceparent: None,
        };
        let append =
            Append { scope, stream, expected: Expected::Any, events: new.collect(), claims: vec![], metadata, id_scope: IdScope::Stream };
        self.world.store.append(append).await.unwrap();
    }
    /// One more department.
    pub(crate) async fn append_department(&self, scope: TenantScope) {
        let id = DepartmentId::from_uuid(Uuid::now_v7());
        let effective = Effective { on: date(2000, 1, 1), seq: 0 };
        let code = id.uuid().simple().to_string();
        let created = DepartmentCreated { department_id: id, effective, code, name: "Another".into(), parent_id: None };
        self.append(scope, StreamName::organization(scope), &[OrganizationEvent::from(created).into()]).await;
    }
    async fn connect(&self, process: &'static str) -> async_nats::Client {
        connect(&NatsSettings { url: self.nats.clone(), credentials: None, process }).await.unwrap()
    }
    pub(crate) async fn relay(&self) -> JoinHandle<()> {
        let url = self.world.database.pool("tenure_relay", 1).connect_options().to_url_lossy();
        let store = Store::Postgres(PgStore::open(url.as_str(), 4).unwrap());
        let relay = Relay::new(store, self.world.database.pool("tenure_relay", 4), self.connect("relay").await);
        tokio::spawn(relay.run(self.stop.clone()))
    }
    pub(crate) async fn projector(&self) -> JoinHandle<()> {
        self.projector_rebuilding(FAR_BEHIND).await
    }
    /// A projector that rebuilds read models that are so many events behind.
    pub(crate) async fn projector_rebuilding(&self, far_behind: u64) -> JoinHandle<()> {
        let Applier { pool, store, keys, .. } = self.world.applier.clone();
        let log = store.clone();
        let reader: platform::registry::LogReader = std::sync::Arc::new(move |seen, limit| {
            let log = log.clone();
            async move { Ok(log.read_log_on(Registry::platform_scope(), seen, limit).await?) }.boxed()
        });
        let registry = Registry::start(reader).await.unwrap();
        let applier = Applier::new(pool, 8, store, keys);
        let client = self.connect("projector").await;
        tokio::spawn(Projector::rebuilding(far_behind, applier, registry, client).run(self.stop.clone()))
    }
    /// Waits until the tenant's read model stands at the end of its log.
    pub(crate) async fn settled(&self, scope: TenantScope) {
        let head = self.world.store.head(scope).await.unwrap();
        let arrived = async || self.world.applier.checkpoint(scope).await.unwrap() >= head;
        until("the projector arrives at the end of the log", PATIENCE, arrived).await;
    }
    /// The rows are those that a rebuild makes.
    async fn assert_derived(&self) {
        let live = self.world.digest().await;
        rebuild(&self.world.applier, &ticket(&self.world.applier, self.world.scope), |_| {}).await.unwrap();
        assert_eq!(self.world.digest().await, live, "a rebuild gives the same rows (I3)");
    }
    /// Stops these relays and projectors; the rows that they leave are those that a rebuild makes.
    pub(crate) async fn end_derived<const N: usize>(&self, tasks: [JoinHandle<()>; N]) {
        self.stop.cancel();
        for task in tasks {
            task.await.unwrap();
        }
        self.assert_derived().await;
    }
    /// How often each position of the world's tenant stands in JetStream.
    async fn published(&self) -> BTreeMap<u64, u32> {
        let stream = jetstream::new(self.connect("relay").await).get_stream(feed::STREAM).await.unwrap();
        let mut counts = BTreeMap::new();
        let last = stream.get_info().await.unwrap().state.last_sequence;
        for sequence in 1..=last {
            let message = stream.get_raw_message(sequence).await.unwrap();
            let event = feed::decode(&message.subject, &message.payload).unwrap();
            if event.tenant == self.world.scope.tenant() {
                *counts.entry(event.position.0).or_default() += 1;
            }
        }
        counts
    }
    pub(crate) async fn until_published(&self, head: u64) {
        let tenant = self.world.scope.tenant().uuid();
        let arrived = format!("select exists (select from event_store.relay_cursor where tenant_id = '{tenant}' and position >= {head})");
        self.until_answered_with_yes("the relay arrives at the end of the log", &arrived).await;
    }
    /// Waits until all messages are done with: none comes again for ever.
    async fn all_done_with(&self, context: &jetstream::Context) {
        self.done_with(context, self.world.scope).await;
    }
    /// The same for the messages of a tenant's partition.
    async fn done_with(&self, context: &jetstream::Context, scope: TenantScope) {
        let consumer = feed::consumer(feed::partition(scope.tenant()));
        let stream = context.get_stream(feed::STREAM).await.unwrap();
        let done = async || {
            let mut consumer: jetstream::consumer::PullConsumer = stream.get_consumer(&consumer).await.unwrap();
            let info = consumer.info().await.unwrap();
            info.num_pending == 0 && info.num_ack_pending == 0
        };
        until("every message is acknowledged or put aside", PATIENCE / 2, done).await;
    }
    /// The tenant, and no other, is parked with the event after position `before`, for a reason that names `what`.
    pub(crate) async fn assert_parked(&self, before: u64, what: &str) {
        let parked = async {
            loop {
                let sql = "select tenant_id, position, reason from platform.parked";
                let rows: Vec<(Uuid, i64, String)> = sqlx::query_as(sql).fetch_all(&self.world.applier.pool).await.unwrap();
                if !rows.is_empty() {
                    return rows;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let parked = tokio::time::timeout(Duration::from_mins(1), parked).await.expect("the tenant is parked");
        assert_eq!(parked.len(), 1, "{parked:?}");
        let (tenant, position, reason) = &parked[0];
        assert_eq!((*tenant, position.unsigned_abs()), (self.world.scope.tenant().uuid(), before + 1));
        assert!(reason.contains(what), "{reason}");
        assert_eq!(self.world.applier.checkpoint(self.world.scope).await.unwrap(), Position(before), "what comes before it is applied");
    }
    /// The tenants whose read models somebody began to rebuild.
    pub(crate) async fn rebuilt(&self) -> Vec<Uuid> {
        let sql = "select tenant_id from platform.job";
        sqlx::query_scalar(sql).fetch_all(&self.world.database.owner).await.unwrap()
    }
    pub(crate) async fn until_answered_with_yes(&self, what: &str, sql: &str) {
        until(what, PATIENCE, async || sqlx::query_scalar(sql).fetch_one(&self.world.database.owner).await.unwrap()).await;
    }
    pub(crate) async fn execute(&self, sql: &str) {
        self.world.database.owner.execute(sql).await.unwrap();
    }
}

fn seed(name: &str) -> fastrand::Rng {
    let seed = std::env::var("TENURE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("{name}: seed {seed} (TENURE_TEST_SEED={seed} runs it again)");
    fastrand::Rng::with_seed(seed)
}

/// How long something that is to come about may take.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until something is so.
pub(crate) async fn until(what: &str, patience: Duration, mut is_so: impl AsyncFnMut() -> bool) {
    let so = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(patience, so).await.expect(what);
}

/// What a relay sends for an event.
fn message(one: &Sequenced) -> (String, HeaderMap, Vec<u8>) {
    let event = &one.event;
    let mut headers = HeaderMap::new();
    headers.insert(feed::POSITION, event.position.0.to_string().as_str());
    headers.insert(feed::PREVIOUS, one.previous.0.to_string().as_str());
    (feed::subject(event.tenant, event.stream.category(), &event.event_type).unwrap(), headers, feed::encode(event))
}

/// A stream such as the relay makes, without its protection against duplicates.
async fn bare_stream(client: &async_nats::Client) -> jetstream::Context {
    let context = jetstream::new(client.clone());
    let config = jetstream::stream::Config { name: feed::STREAM.into(), subjects: vec![feed::SUBJECTS.into()], ..Default::default() };
    ensure_consumers(&context.create_stream(config).await.unwrap()).await.unwrap();
    context
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_dropped_doubled_and_mixed_up_change_nothing() {
    let mut random = seed("messages");
    let feed = Feed::new().await;
    feed.world.append(&history(feed.world.scope, random.u64(..), 60)).await;
    let context = bare_stream(&feed.connect("relay").await).await;
    let projector = feed.projector().await;
    // One message in ten is lost, one comes twice, one comes later than those after it.
    let mut late: Vec<(usize, Sequenced)> = Vec::new();
    for (n, one) in feed.world.log().await.into_iter().enumerate() {
        let due: Vec<_> = late.extract_if(.., |(at, _)| *at <= n).map(|(_, one)| one).collect();
        let fate = random.u8(0..10);
        let times = match fate {
            0 => 0,
            1 => 2,
            2 => {
                late.push((n + random.usize(1..20), one.clone()));
                0
            }
            3..=u8::MAX => 1,
        };
        for one in std::iter::repeat_n(one, times).chain(due) {
            let (subject, headers, payload) = message(&one);
            context.publish_with_headers(subject, headers, payload.into()).await.unwrap().await.unwrap();
        }
    }
    feed.settled(feed.world.scope).await;
    feed.end_derived([projector]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_relays_at_once_publish_each_event_once() {
    let mut random = seed("two relays");
    let feed = Feed::new().await;
    let (one, other, projector) = (feed.relay().await, feed.relay().await, feed.projector().await);
    let all = history(feed.world.scope, random.u64(..), 40);
    for part in all.chunks(all.len() / 10) {
        feed.world.append(part).await;
        // The lease is taken from whoever holds it, while it goes on for a while: both are active.
        feed.execute("update event_store.lease set owner = null").await;
        tokio::time::sleep(Duration::from_millis(random.u64(100..700))).await;
    }
    let head = all.len() as u64;
    feed.until_published(head).await;
    feed.settled(feed.world.scope).await;
    feed.stop.cancel();
    for task in [one, other, projector] {
        task.await.unwrap();
    }
    let epoch: i64 =
        sqlx::query_scalar("select epoch from event_store.lease where name = 'relay'").fetch_one(&feed.world.database.owner).await.unwrap();
    assert!(epoch > 2, "the lease changed hands: {epoch}");
    assert_eq!(feed.published().await, (1..=head).map(|position| (position, 1)).collect());
    feed.assert_derived().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_dies_before_it_saves_its_cursor_doubles_nothing() {
    let mut random = seed("dying relay");
    let feed = Feed::new().await;
    let all = history(feed.world.scope, random.u64(..), 40);
    let head = all.len() as u64;
    for part in all.chunks(all.len() / 5) {
        feed.world.append(part).await;
        let relay = feed.relay().await;
        tokio::time::sleep(Duration::from_millis(random.u64(0..300))).await;
        relay.abort();
        let _ = relay.await;
        // As if it had died right after the first acknowledgement of JetStream.
        feed.execute(
            "update event_store.relay_cursor set position = greatest(position - 20, 0), event_id = null, recorded_at = null; update event_store.lease set owner = null",
        )
        .await;
    }
    let (relay, projector) = (feed.relay().await, feed.projector().await);
    feed.until_published(head).await;
    feed.settled(feed.world.scope).await;
    feed.stop.cancel();
    relay.await.unwrap();
    projector.await.unwrap();
    assert_eq!(feed.published().await, (1..=head).map(|position| (position, 1)).collect());
    feed.assert_derived().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_registered_is_left_alone_until_that_is_done() {
    let feed = Feed::new().await;
    let foreign = TenantScope::checked(TenantId::from_uuid(Uuid::now_v7()));
    for _ in 0..3 {
        feed.append_department(foreign).await;
    }
    // The relay of an earlier build published such events, too.
    let context = bare_stream(&feed.connect("relay").await).await;
    for one in sequence(Position::ZERO, feed.world.store.read_log(foreign, Position::ZERO, 10).await.unwrap()) {
        let (subject, headers, payload) = message(&one);
        context.publish_with_headers(subject, headers, payload.into()).await.unwrap().await.unwrap();
    }
    let projector = feed.projector().await;
    feed.done_with(&context, foreign).await;
    let relay = feed.relay().await;
    feed.append_department(feed.world.scope).await;
    feed.until_published(1).await;
    feed.settled(feed.world.scope).await;
    let cursor = format!("event_store.relay_cursor where tenant_id = '{}'", foreign.tenant().uuid());
    let relayed: i64 = sqlx::query_scalar(&format!("select count(*) from {cursor}")).fetch_one(&feed.world.database.owner).await.unwrap();
    assert_eq!(relayed, 0, "nothing of it was relayed");
    let database = &feed.world.database;
    provision(&database.pool("tenure_worker", 2), &database.keys("tenure_worker").await, foreign).await.unwrap();
    feed.register(foreign.tenant()).await;
    feed.until_answered_with_yes("it is relayed from its start", &format!("select exists (select from {cursor} and position = 3)")).await;
    feed.settled(foreign).await;
    feed.end_derived([relay, projector]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_jetstream_lost_is_healed_from_the_store() {
    let feed = Feed::new().await;
    feed.world.append(&history(feed.world.scope, 7, 20)).await;
    let relay = feed.relay().await;
    feed.until_published(feed.world.log().await.len() as u64).await;
    // Everything that was published is gone, and the cursor says that it was published.
    let context = jetstream::new(feed.connect("relay").await);
    context.delete_stream(feed::STREAM).await.unwrap();
    let projector = feed.projector().await;
    feed.settled(feed.world.scope).await;
    // The relay makes the stream anew, and what comes next rings again.
    feed.append_department(feed.world.scope).await;
    feed.settled(feed.world.scope).await;
    feed.end_derived([relay, projector]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_far_behind_is_rebuilt_and_who_is_not_is_caught_up_with() {
    let feed = Feed::new().await;
    let near = feed.world.database.tenant().await;
    feed.register(near.tenant()).await;
    feed.world.append(&history(feed.world.scope, 3, 30)).await;
    for _ in 0..5 {
        feed.append_department(near).await;
    }
    let projector = feed.projector_rebuilding(100).await;
    feed.settled(feed.world.scope).await;
    feed.settled(near).await;
    assert_eq!(feed.rebuilt().await, [feed.world.scope.tenant().uuid()]);
    // What comes now rings, and is applied.
    let relay = feed.relay().await;
    feed.append_department(feed.world.scope).await;
    feed.settled(feed.world.scope).await;
    // Somebody drops the read model; the next event's message finds out.
    feed.execute(&format!("drop schema {} cascade", feed.world.schema())).await;
    feed.append_department(feed.world.scope).await;
    let again = async || feed.rebuilt().await.len() >= 2 && feed.world.applier.checkpoint(feed.world.scope).await.is_ok();
    until("it is rebuilt again", PATIENCE, again).await;
    feed.settled(feed.world.scope).await;
    feed.end_derived([relay, projector]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_far_behind_and_cannot_be_rebuilt_is_parked_where_it_must_be() {
    let feed = Feed::new().await;
    feed.world.append(&history(feed.world.scope, 4, 30)).await;
    let head = feed.world.log().await.len() as u64;
    let stream = StreamName::organization(feed.world.scope);
    feed.world.append_raw(stream, vec![("DepartmentPainted", 1, RawValue::from_string("{}".into()).unwrap())]).await;
    let projector = feed.projector_rebuilding(100).await;
    feed.assert_parked(head, "DepartmentPainted").await;
    assert_eq!(feed.rebuilt().await, [feed.world.scope.tenant().uuid()], "it was tried once");
    let left = "select count(*) from information_schema.schemata where schema_name ~ '_n[0-9]+$'";
    let left: i64 = sqlx::query_scalar(left).fetch_one(&feed.world.database.owner).await.unwrap();
    assert_eq!(left, 0, "nothing is left of it");
    feed.stop.cancel();
    projector.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_far_behind_catches_up_while_somebody_else_holds_the_rebuild() {
    let feed = Feed::new().await;
    feed.world.append(&history(feed.world.scope, 5, 30)).await;
    // Whoever began one stands still, with its lock.
    let mut other = feed.world.database.owner.acquire().await.unwrap();
    let lock = format!("select pg_advisory_lock(hashtextextended('tenure.rebuild.{}', 0))", feed.world.scope.tenant());
    other.execute(lock.as_str()).await.unwrap();
    let projector = feed.projector_rebuilding(100).await;
    feed.settled(feed.world.scope).await;
    assert_eq!(feed.rebuilt().await, [] as [Uuid; 0]);
    other.execute("select pg_advisory_unlock_all()").await.unwrap();
    feed.end_derived([projector]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuilds_that_begin_again_and_again_give_way_to_catching_up() {
    let feed = Feed::new().await;
    feed.world.append(&history(feed.world.scope, 6, 30)).await;
    let begun = "insert into platform.job (job_id, tenant_id) select gen_random_uuid(), $1 from generate_series(1, 20)";
    sqlx::query(begun).bind(feed.world.scope.tenant().uuid()).execute(&feed.world.database.owner).await.unwrap();
    let projector = feed.projector_rebuilding(100).await;
    feed.settled(feed.world.scope).await;
    assert_eq!(feed.rebuilt().await.len(), 20);
    feed.end_derived([projector]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_whose_partition_is_lost_ends_and_begins_anew_where_it_is_found() {
    let feed = Feed::new().await;
    let owner = &feed.world.database.owner;
    feed.world.append(&history(feed.world.scope, 7, 30)).await;
    // All of it can be done but the cut-over.
    let mut reader = owner.begin().await.unwrap();
    reader.execute(format!("select from {}.checkpoint for update", feed.world.schema()).as_str()).await.unwrap();
    let projector = feed.projector_rebuilding(100).await;
    let waits = "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())";
    feed.until_answered_with_yes("it waits to cut over", waits).await;
    feed.execute("update platform.partition_lease set owner = 'another', epoch = epoch + 1 where partition >= 0").await;
    let ended = "select not exists (select from pg_locks l join pg_database d on d.oid = l.database
                                    where locktype = 'advisory' and datname = current_database())";
    feed.until_answered_with_yes("it ends", ended).await;
    reader.rollback().await.unwrap();
    assert_eq!(feed.world.applier.checkpoint(feed.world.scope).await.unwrap(), Position::ZERO, "it has not cut over");
    // It finds the partition again when the other one's heartbeat has stood still.
    feed.settled(feed.world.scope).await;
    assert_eq!(feed.rebuilt().await.len(), 2);
    feed.end_derived([projector]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_cannot_be_relayed_keeps_no_other_waiting() {
    let feed = Feed::new().await;
    let broken = feed.world.database.tenant().await;
    feed.register(broken.tenant()).await;
    feed.append_department(broken).await;
    // Its cursor stands after the end of its log.
    let cursor = format!("insert into event_store.relay_cursor values ('{}', 1000)", broken.tenant().uuid());
    feed.execute(&cursor).await;
    let relay = feed.relay().await;
    for events in [1, 2, 3] {
        feed.append_department(feed.world.scope).await;
        feed.until_published(events).await;
    }
    let epochs: i64 =
        sqlx::query_scalar("select epoch from event_store.lease where name = 'relay'").fetch_one(&feed.world.database.owner).await.unwrap();
    assert_eq!(epochs, 1, "the relay never started over");
    feed.stop.cancel();
    relay.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_failed_takes_its_own_lease_again() {
    let feed = Feed::new().await;
    let relay = feed.relay().await;
    feed.append_department(feed.world.scope).await;
    feed.until_published(1).await;
    // One turn fails, with the lease held.
    feed.execute("revoke update on event_store.relay_cursor from tenure_relay").await;
    feed.append_department(feed.world.scope).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    feed.execute("grant update on event_store.relay_cursor to tenure_relay").await;
    feed.until_published(2).await;
    feed.stop.cancel();
    relay.await.unwrap();
}

/// As an event that a later version wrote looks to this one, after a roll-back.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_an_unknown_category_parks_its_tenant_and_no_other() {
    let feed = Feed::new().await;
    let healthy = feed.world.database.tenant().await;
    feed.register(healthy.tenant()).await;
    feed.world.append(&history(feed.world.scope, 1, 5)).await;
    let before = feed.world.log().await.len() as u64;
    feed.execute(&format!(
        "insert into event_store.event select (jsonb_populate_record(e, jsonb_build_object('position', e.position + 1, 'version', 1,
             'category', 'payroll', 'event_id', gen_random_uuid(), 'command_id', gen_random_uuid()))).*
         from event_store.event e where e.tenant_id = '{tenant}' order by e.position desc limit 1;
         update event_store.tenant_head set position = position + 1 where tenant_id = '{tenant}'",
        tenant = feed.world.scope.tenant().uuid()
    ))
    .await;
    let (relay, projector) = (feed.relay().await, feed.projector().await);
    feed.append_department(healthy).await;
    feed.settled(healthy).await;
    feed.assert_parked(before, "payroll").await;
    feed.stop.cancel();
    relay.await.unwrap();
    projector.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_event_parks_its_tenant_and_no_other() {
    let feed = Feed::new().await;
    let healthy = feed.world.database.tenant().await;
    feed.register(healthy.tenant()).await;
    let (relay, projector) = (feed.relay().await, feed.projector().await);
    let poison = RawValue::from_string("{}".into()).unwrap();
    feed.world.append(&history(feed.world.scope, 1, 5)).await;
    let before = feed.world.log().await.len() as u64;
    feed.world.append_raw(StreamName::organization(feed.world.scope), vec![("DepartmentPainted", 1, poison)]).await;
    feed.append_department(healthy).await;
    feed.settled(healthy).await;
    feed.assert_parked(before, "DepartmentPainted").await;
    feed.stop.cancel();
    relay.await.unwrap();
    projector.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_event_of_the_store_is_put_aside() {
    let feed = Feed::new().await;
    let context = bare_stream(&feed.connect("relay").await).await;
    feed.world.append(&history(feed.world.scope, 3, 5)).await;
    let other = feed.world.database.tenant().await;
    let log = feed.world.log().await;
    let (subject, headers, payload) = message(&log[0]);
    let under_another = subject.replace(&feed.world.scope.tenant().to_string(), &other.tenant().to_string());
    let without_previous = HeaderMap::new();
    for (subject, headers, payload) in [
        (subject.clone(), headers.clone(), b"{}".to_vec()),
        (subject.clone(), headers.clone(), vec![0xff; 100]),
        (under_another, headers, payload.clone()),
        (subject, without_previous, payload),
    ] {
        context.publish_with_headers(subject, headers, payload.into()).await.unwrap().await.unwrap();
    }
    let projector = feed.projector().await;
    for one in &log {
        let (subject, headers, payload) = message(one);
        context.publish_with_headers(subject, headers, payload.into()).await.unwrap().await.unwrap();
    }
    feed.settled(feed.world.scope).await;
    feed.all_done_with(&context).await;
    assert_eq!(feed.world.applier.checkpoint(other).await.unwrap(), Position::ZERO, "nothing reached the other tenant");
    feed.end_derived([projector]).await;
}

/// A forged event that is well formed, in its place in the log, and comes alone: the projector folds what the store has.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_never_took_is_not_folded() {
    let feed = Feed::new().await;
    let context = bare_stream(&feed.connect("relay").await).await;
    let scope = feed.world.scope;
    feed.world.append(&history(scope, 3, 5)).await;
    let log = feed.world.log().await;
    let head = log.last().unwrap().event.position;
    let projector = feed.projector().await;
    feed.settled(scope).await;
    let forge = |previous: Position, position: u64| Sequenced { previous, before: None, event: forged(&log[0].event, Position(position)) };
    for one in [forge(head, head.0 + 1), forge(head, i64::MAX.unsigned_abs()), forge(Position::ZERO, 1), forge(head, head.0 + 1)] {
        let (subject, headers, payload) = message(&one);
        context.publish_with_headers(subject, headers, payload.into()).await.unwrap().await.unwrap();
        feed.all_done_with(&context).await;
        assert_eq!(feed.world.number("select count(*) from department_span where name = 'Forged'").await, 0, "{one:?}");
        assert_eq!(feed.world.applier.checkpoint(scope).await.unwrap(), head, "{one:?}");
    }
    let parked: i64 = sqlx::query_scalar("select count(*) from platform.parked").fetch_one(&feed.world.database.owner).await.unwrap();
    assert_eq!(parked, 0, "nobody stops a tenant by a forged position");
    // What then has that position is folded, and not taken for what was.
    feed.append_department(scope).await;
    let (subject, headers, payload) = message(feed.world.log().await.last().unwrap());
    context.publish_with_headers(subject, headers, payload.into()).await.unwrap().await.unwrap();
    feed.settled(scope).await;
    feed.end_derived([projector]).await;
}

/// A department that nobody made, as an event that could stand at this position.
pub(crate) fn forged(like: &RecordedEvent, position: Position) -> RecordedEvent {
    let scope = TenantScope::checked(like.tenant);
    let id = DepartmentId::from_uuid(Uuid::now_v7());
    let effective = Effective { on: date(2000, 1, 1), seq: 0 };
    let event = OrganizationEvent::from(DepartmentCreated {
        department_id: id,
        effective,
        code: id.uuid().simple().to_string(),
        name: "Forged".into(),
        parent_id: None,
    });
    let event = events::Event::from(event);
    RecordedEvent {
        id: NewEvent::id_for(CommandId::from_uuid(Uuid::now_v7()), 0),
        stream: StreamName::organization(scope),
        position,
        event_type: event.event_type().to_owned(),
        schema_version: event.schema_version(),
        data: event.to_data().unwrap(),
        ..like.clone()
    }
}
