//! How much the engine makes the server look at, counted: a tenant's log costs what that tenant's log is long, and not
//! everybody's. The records are written past the protocol, made after one that the engine wrote.

use events::{Position, StreamName, TenantScope, Version};
use platform::database;
use store::{Append, Claim, ClaimDigest, ClaimKind, ClaimOp, IdScope, Store, nats, relay::Relay};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Kind, StandIn,
    log::{Proposed, Record},
};
use crate::{
    servers::{eventually, own_nats},
    store_conformance::{Database, employee, one, tenant},
};

/// Events of the tenant that is asked for, and how many stand in each of its streams.
const OWN: u64 = 1_000;
const IN_STREAM: u64 = 5;
/// Events of others around them, and how many tenants have them.
const OTHERS: u64 = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };
const OTHER_TENANTS: u64 = 100;

/// A tenant among many, and a relay that has seen everything.
struct Crowd {
    server: StandIn,
    database: Database,
    scope: TenantScope,
    streams: Vec<StreamName>,
    stop: CancellationToken,
}

impl Crowd {
    async fn gathered() -> Self {
        let (server, database, scope) = (StandIn::start(), Database::bootstrapped().await, tenant());
        let crowd = Self { server, database, scope, streams: Vec::new(), stop: CancellationToken::new() };
        let template = crowd.template().await;
        let others: Vec<_> = (0..OTHER_TENANTS).map(|_| tenant()).collect();
        let streams: Vec<_> = (0..OWN / IN_STREAM).map(|_| employee(scope)).collect();
        let every = OTHERS / OWN;
        let events = (0..OTHERS + OWN).map(|n| {
            if n % (every + 1) == every {
                let n = n / (every + 1);
                (streams[usize::try_from(n / IN_STREAM).unwrap()], n % IN_STREAM)
            } else {
                (employee(others[usize::try_from(n % OTHER_TENANTS).unwrap()]), 0)
            }
        });
        crowd.server.preload(events.map(|(stream, revision)| (stream.to_string(), like(&template, revision))));
        let crowd = Self { streams, ..crowd };
        crowd.relay().await;
        crowd
    }

    /// A record as the engine writes it.
    async fn template(&self) -> std::sync::Arc<Record> {
        let scope = tenant();
        let stream = employee(scope);
        self.store("tenure_command").await.append(one(scope, stream)).await.unwrap();
        self.server.records().into_iter().rfind(|record| *record.stream == *stream.to_string()).unwrap()
    }

    /// As a process opens it that has just started.
    async fn store(&self, role: &str) -> Store {
        Store::open(&self.database.url_of(role), Some(&self.server.url()), 4).await.unwrap()
    }

    /// Runs a relay until it has indexed everything and has nothing more to look at.
    async fn relay(&self) {
        let nats = nats::NatsSettings { url: own_nats().await, credentials: None, process: "relay" };
        let pool = database::pool_options(4).connect_lazy_with(self.database.url_of("tenure_relay").parse().unwrap());
        let relay = Relay::new(self.store("tenure_relay").await, pool, nats::connect(&nats).await.unwrap());
        tokio::spawn(relay.run(self.stop.clone()));
        let owner = self.database.superuser().await;
        let indexed = async || -> i64 {
            sqlx::query_scalar("select coalesce(sum(n), 0)::bigint from event_store.log_head").fetch_one(&owner).await.unwrap()
        };
        eventually("everything is indexed", async || indexed().await.cast_unsigned() >= OTHERS + OWN).await;
        for round in 0.. {
            assert!(round < 60, "the relay finds no rest");
            let mark = self.server.mark();
            tokio::time::sleep(std::time::Duration::from_secs(3)).await;
            let work = self.server.since(mark).await;
            eprintln!("relay: {work:?}");
            if work.looked_at() < 100 && work.calls(Kind::ServerFeatures) == 0 {
                break;
            }
        }
    }
}

/// An event such as another one that the engine wrote, of another command, at a revision of its stream.
pub(crate) fn like(template: &Record, revision: u64) -> Proposed {
    let mut envelope: serde_json::Value = serde_json::from_slice(&template.metadata).unwrap();
    let id = Uuid::now_v7().to_string();
    for field in ["event_id", "command_id", "correlation_id"] {
        assert!(envelope[field].is_string(), "no {field} in {envelope}");
        envelope[field] = id.clone().into();
    }
    if envelope.get("version").is_some() {
        envelope["version"] = (revision + 1).into();
    }
    Proposed {
        id: Uuid::now_v7(),
        event_type: template.event_type.clone(),
        json: template.json,
        data: template.data.clone(),
        metadata: serde_json::to_vec(&envelope).unwrap().into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_among_many_costs_what_it_has() {
    let crowd = Crowd::gathered().await;
    let scope = crowd.scope;
    let mut told = Vec::new();
    let mut too_much = Vec::new();
    let mut measured = async |what: &str, bound: u64, mark: usize| {
        let work = crowd.server.since(mark).await;
        told.push(format!("{what}: {} looked at, of {bound} at most; {work:?}", work.looked_at()));
        if work.looked_at() > bound {
            too_much.push(what.to_owned());
        }
    };
    // Each by a process that has just started, and again.
    let whole = 2 * OWN + 200;
    macro_rules! row {
        ($what:literal, $bound:expr, $store:ident => $work:expr) => {{
            let $store = crowd.store("tenure_query").await;
            for again in ["", ", again"] {
                let mark = crowd.server.mark();
                $work;
                measured(&format!("{}{again}", $what), $bound, mark).await;
            }
        }};
    }
    let log = crowd.store("tenure_query").await.read_log(scope, Position::ZERO, 10_000).await.unwrap();
    assert_eq!(log.len() as u64, OWN);
    let (middle, last) = (log[log.len() / 2].clone(), log[log.len() - 1].clone());
    row!("the head", 64, store => assert_eq!(store.head(scope).await.unwrap(), last.position));
    row!("the heads", 64, store => assert!(store.heads().await.unwrap().iter().any(|head| head.tenant == scope.tenant())));
    row!("a page of 100", 2 * 100 + 200, store => {
        let page = store.read_log(scope, middle.position, 100).await.unwrap();
        assert_eq!(page.len(), 100);
    });
    row!("all of the log in pages of 250", whole, store => {
        let mut after = Position::ZERO;
        let mut read = 0;
        loop {
            let page = store.read_log(scope, after, 250).await.unwrap();
            let Some(last) = page.last() else { break };
            (after, read) = (last.position, read + page.len() as u64);
        }
        assert_eq!(read, OWN);
    });
    row!("reading on from the end", 64, store => {
        assert_eq!(store.read_log_on(scope, last.log_point(), 100).await.unwrap(), Some(Vec::new()));
    });
    row!("the event at a position", 4, store => {
        assert_eq!(store.point_at(scope, middle.position).await.unwrap(), middle.log_point());
    });
    row!("a stream", IN_STREAM, store => {
        assert_eq!(store.read_stream(crowd.streams[0], Version::ZERO, 100).await.unwrap().len() as u64, IN_STREAM);
    });
    eprintln!("{}", told.join("\n"));
    assert!(too_much.is_empty(), "looked at too much: {too_much:?}");
    crowd.stop.cancel();
}

/// A thousand events before it cost an append nothing, once its process has read them.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_costs_the_same_over_a_long_stream() {
    let (server, database, scope) = (StandIn::start(), Database::bootstrapped().await, tenant());
    let store = Store::open(&database.url_of("tenure_command"), Some(&server.url()), 4).await.unwrap();
    let (short, long) = (employee(scope), employee(scope));
    store.append(one(scope, short)).await.unwrap();
    let template = server.records().into_iter().rfind(|record| *record.stream == *short.to_string()).unwrap();
    server.preload((0..1_000).map(|revision| (long.to_string(), like(&template, revision))));
    let mark = server.mark();
    store.append(one(scope, long)).await.unwrap();
    let first = server.since(mark).await;
    assert!(first.looked_at() <= 1_100, "the stream is read more than once: {first:?}");
    for (what, stream, id_scope) in [
        ("the second event", short, IdScope::Stream),
        ("the 1,002nd event", long, IdScope::Stream),
        ("an event under an id of the client's", long, IdScope::Tenant),
    ] {
        let mark = server.mark();
        store.append(Append { id_scope, ..one(scope, stream) }).await.unwrap();
        let work = server.since(mark).await;
        eprintln!("{what}: {work:?}");
        assert!(work.calls(Kind::Append) <= 1 && work.count() <= 1, "{what}: {work:?}");
    }
    // With one value claimed: one round trip more.
    let mut append = one(scope, employee(scope));
    append.claims.push(Claim { kind: ClaimKind("work_email"), digest: ClaimDigest([7; 32]), op: ClaimOp::Take });
    let mark = server.mark();
    store.append(append).await.unwrap();
    let work = server.since(mark).await;
    eprintln!("the first event, with a claim: {work:?}");
    assert!(work.count() <= 3 && work.calls(Kind::Append) == 2, "the first event, with a claim: {work:?}");
}
