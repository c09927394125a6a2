//! What an append to EventStoreDB costs in calls, and that a value has one holder however late an append arrives. Against the
//! stand-in, which counts the calls and can hold them back.

use std::time::Duration;

use events::{CommandId, NewEvent, Position, StreamName, TenantId, TenantScope, Version};
use store::{Append, AppendError, Claim, ClaimDigest, ClaimKind, ClaimOp, EsStore, Expected, Granted, IdScope, Store, StoreError};
use uuid::Uuid;

use crate::{
    eventstoredb::{Effect, Fault, Kind, StandIn, User, Work},
    servers::eventually,
    store_conformance::{Database, one, tenant},
};

fn employee() -> StreamName {
    crate::store_conformance::employee(tenant())
}

/// Another employee of the same tenant.
fn colleague(of: StreamName) -> StreamName {
    crate::store_conformance::employee(TenantScope::checked(of.tenant()))
}

/// One event, under an id that nobody else knows.
fn change(stream: StreamName) -> Append {
    Append { id_scope: IdScope::Stream, ..one(TenantScope::checked(stream.tenant()), stream) }
}

/// The first event of a stream, with claims.
fn hire(stream: StreamName, kinds: &[&'static str]) -> Append {
    let claim = |kind: &&'static str| Claim { kind: ClaimKind(kind), digest: ClaimDigest([7; 32]), op: ClaimOp::Take };
    Append { expected: Expected::NoStream, claims: kinds.iter().map(claim).collect(), ..change(stream) }
}

fn keyed(append: Append) -> Append {
    Append { id_scope: IdScope::Tenant, ..append }
}

async fn connect(server: &StandIn) -> Store {
    Store::EventStore(EsStore::connect(&server.url()).await.unwrap())
}

/// Appends, and other calls, that one append cost.
async fn cost(server: &StandIn, store: &Store, append: Append) -> (usize, usize, Work) {
    let mark = server.mark();
    store.append(append).await.unwrap();
    let work = server.since(mark).await;
    let reads = [Kind::ReadStream, Kind::ReadAll, Kind::ReadAllFiltered].map(|kind| work.calls(kind)).iter().sum();
    (work.calls(Kind::Append), reads, work)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_one_append() {
    let (server, database) = (StandIn::start(), Database::bootstrapped().await);
    let url = database.url_of("tenure_command");
    let store = Store::EventStore(EsStore::connect(&server.url()).await.unwrap().reserving(&url).unwrap());
    let stream = employee();
    for (what, append, appends) in [
        ("a hire without claims", hire(stream, &[]), 1),
        ("a pay change without key", change(stream), 1),
        ("a pay change with a key", keyed(change(stream)), 1),
        ("a hire with one claim", keyed(hire(colleague(stream), &["employee_number"])), 2),
        ("a hire with two claims", keyed(hire(colleague(stream), &["work_email", "badge"])), 3),
    ] {
        let (written, read, work) = cost(&server, &store, append).await;
        assert_eq!((written, read), (appends, 0), "{what}: {work:?}");
    }
    // A process reads a stream that it does not know once, before its first append there.
    let other = Store::EventStore(EsStore::connect(&server.url()).await.unwrap().reserving(&url).unwrap());
    let (written, read, work) = cost(&server, &other, keyed(change(stream))).await;
    assert_eq!((written, read), (1, 1), "{work:?}");
    let (written, read, work) = cost(&server, &other, keyed(change(stream))).await;
    assert_eq!((written, read), (1, 0), "{work:?}");
}

/// Two claims are reserved at once: while one is held back, the other's append arrives.
#[tokio::test(flavor = "multi_thread")]
async fn claims_are_reserved_at_once() {
    let server = StandIn::start();
    let store = connect(&server).await;
    let first = server.fault(Effect::Hold, 1, |call| call.kind == Kind::Append && call.stream.contains(".badge."));
    let appending = {
        let store = store.clone();
        tokio::spawn(async move { store.append(hire(employee(), &["badge", "work_email"])).await })
    };
    let reserved = async || server.records().iter().any(|record| record.stream.contains(".work_email."));
    eventually("the second claim is reserved", reserved).await;
    assert_eq!(first.met(), 1);
    drop(first);
    appending.await.unwrap().unwrap();
}

/// Each of two has one of two values that both want: who waits gives back what comes later, so that the other gets both, and
/// nobody is told to try again.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_hold_what_the_other_wants_one_gets_both() {
    let server = StandIn::start();
    let (one, other) = (connect(&server).await, connect(&server).await);
    let company = employee();
    let hold = |kind: &'static str| server.fault(Effect::Hold, 1, move |call| call.kind == Kind::Append && call.stream.contains(kind));
    let reserved = async |kind: &str| server.records().iter().any(|record| record.stream.contains(kind));
    let start = |store: &Store| {
        let (store, append) = (store.clone(), hire(colleague(company), &["badge", "work_email"]));
        tokio::spawn(async move { store.append(append).await })
    };
    let second = hold(".work_email.");
    let has_badge = start(&one);
    eventually("one has the badge", async || second.met() > 0 && reserved(".badge.").await).await;
    let first = hold(".badge.");
    let has_email = start(&other);
    eventually("the other has the address", async || first.met() > 0 && reserved(".work_email.").await).await;
    drop((first, second));
    let (badge, email) = (has_badge.await.unwrap(), has_email.await.unwrap());
    assert!(badge.is_ok(), "{badge:?}");
    assert!(matches!(email, Err(AppendError::ClaimTaken { .. })), "{email:?}");
}

async fn until_known(store: &Store, append: Append) -> Result<store::Appended, AppendError> {
    for _ in 0..60 {
        match store.append(append.clone()).await {
            Err(AppendError::Store(StoreError::Unavailable(_))) => tokio::time::sleep(Duration::from_millis(fastrand::u64(1..500))).await,
            known => return known,
        }
    }
    panic!("a claim was never decided");
}

/// The first event of a stream and its thousandth cost the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_costs_the_same_however_long_its_stream() {
    let server = StandIn::start();
    let store = connect(&server).await;
    let stream = employee();
    store.append(change(stream)).await.unwrap();
    let (_, _, young) = cost(&server, &store, change(stream)).await;
    for _ in 0..99 {
        let events =
            (0..10).map(|n| NewEvent { id: NewEvent::id_for(CommandId::from_uuid(Uuid::now_v7()), n), ..change(stream).events.remove(0) });
        store.append(Append { events: events.collect(), ..change(stream) }).await.unwrap();
    }
    let (written, read, old) = cost(&server, &store, change(stream)).await;
    assert_eq!((written, read, old.looked_at()), (1, 0, young.looked_at()), "{young:?}, then {old:?}");
}

/// The network stands still while somebody takes a value, who is gone when it goes on; meanwhile another takes it, and then the
/// first one's append arrives. Without the fence both would hold it.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_in_a_stalled_network_has_one_holder() {
    let server = StandIn::start();
    let store = connect(&server).await;
    let first = employee();
    let (scope, second) = (TenantScope::checked(first.tenant()), colleague(first));
    store.append(change(first)).await.unwrap();
    let held = hold_writes_to(&server, first);
    let (url, gone) = (server.url(), tokio::runtime::Runtime::new().unwrap());
    gone.spawn(async move {
        let store = Store::EventStore(EsStore::connect(&url).await.unwrap());
        store.append(Append { expected: Expected::Any, ..hire(first, &["employee_number"]) }).await
    });
    eventually("the first one's append is on its way", async || held.met() > 0).await;
    gone.shutdown_background();
    let taken = until_known(&store, hire(second, &["employee_number"])).await.unwrap();
    assert_eq!(taken.version, Version(1));
    drop(held);
    let late = async || server.since(0).await.calls(Kind::Append) > 0; // Waits until all have ended.
    eventually("the late append has arrived", late).await;
    assert_eq!(holders(&server), [second.to_string()].into());
    assert_eq!(server.records().iter().filter(|record| record.event_type == "ClaimFenced").count(), 1);
    // A fence is no event: neither versions nor logs know it.
    for version in 2..4 {
        assert_eq!(store.append(change(first)).await.unwrap().version, Version(version));
    }
    let other = connect(&server).await;
    for limit in [1, 2, 100] {
        let mut versions = Vec::new();
        while let Some(event) = other.read_stream(first, Version(versions.len() as u64), limit).await.unwrap().first() {
            versions.push(event.version.0);
        }
        assert_eq!(versions, [1, 2, 3], "in pages of {limit}");
    }
    assert_eq!(other.append(Append { expected: Expected::Exact(Version(3)), ..change(first) }).await.unwrap().version, Version(4));
    let log = other.read_log(scope, Position::ZERO, 100).await.unwrap();
    assert_eq!(log.iter().map(|event| event.version.0).collect::<Vec<_>>(), [1, 1, 2, 3, 4]);
    assert_eq!(other.head(scope).await.unwrap(), log[4].position);
}

/// Whoever writes again, because the first write did not arrive in time, has written once when that arrives after all.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_was_given_up_for_lost_arrives_and_is_no_second_one() {
    let server = StandIn::start();
    let store = connect(&server).await;
    let stream = employee();
    let held = hold_writes_to(&server, stream);
    let appended = store.append(hire(stream, &["employee_number"])).await.unwrap();
    assert_eq!(held.met(), 1);
    drop(held);
    server.since(0).await;
    let events = store.read_stream(stream, Version::ZERO, 10).await.unwrap();
    assert_eq!(events.iter().map(|event| event.id).collect::<Vec<_>>(), appended.event_ids);
    assert_eq!((appended.position, appended.mark()), (events[0].position, Some(events[0].mark())));
    let taken = store.append(hire(colleague(stream), &["employee_number"])).await;
    assert!(matches!(taken, Err(AppendError::ClaimTaken { .. })), "{taken:?}");
}

/// Holds back the next append to a stream until this is dropped.
fn hold_writes_to(server: &StandIn, stream: StreamName) -> Fault {
    let stream = stream.to_string();
    server.fault(Effect::Hold, 1, move |call| call.kind == Kind::Append && call.stream == stream)
}

/// The streams of which some event takes a claim.
fn holders(server: &StandIn) -> std::collections::BTreeSet<String> {
    let takes = |metadata: &[u8]| serde_json::from_slice::<serde_json::Value>(metadata).is_ok_and(|m| !m["claims"].is_null());
    let records = server.records();
    let holding = records.iter().filter(|record| record.event_type == "EmployeeHired" && takes(&record.metadata));
    holding.map(|record| record.stream.to_string()).collect()
}

/// The recipe of docs/eventstoredb.md.
#[tokio::test(flavor = "multi_thread")]
async fn rights_are_granted_once_and_a_default_of_somebody_elses_is_left() {
    let users = [User { name: "admin", password: "secret", admin: true }, User { name: "tenure", password: "secret", admin: false }];
    let server = StandIn::with_users(&users);
    let (admin, own) = (server.url_of("admin", "secret"), server.url_of("tenure", "secret"));
    let refused = |url: String| async move { EsStore::connect(&url).await.map(drop).unwrap_err().to_string() };
    assert!(refused(own.clone()).await.contains("tenure eventstore grant"), "before it has rights");
    assert!(refused(server.url_of("tenure", "wrong")).await.contains("password is wrong"));
    assert!(refused(server.url()).await.contains("demands a user"));
    assert_eq!(store::grant(&admin, "tenure", false).await.unwrap(), Granted::Now);
    assert_eq!(store::grant(&admin, "tenure", false).await.unwrap(), Granted::Already);
    let store = Store::EventStore(EsStore::connect(&own).await.unwrap());
    store.append(hire(employee(), &["work_email"])).await.unwrap();
    assert!(matches!(store::grant(&admin, "other", false).await.unwrap(), Granted::Refused(_)));
    assert!(matches!(store::grant(&admin, "other", true).await.unwrap(), Granted::Instead(_)));
    assert!(store::grant(&own, "tenure", true).await.is_err(), "who is no admin gives nobody rights");
}

/// Each cause has its own words, and what no retry mends is told from what one may.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_named() {
    let server = StandIn::start();
    let url = server.url();
    let store = connect(&server).await;
    server.away();
    let nobody = EsStore::connect(&url).await.map(drop).unwrap_err();
    assert!(
        matches!(&nobody, StoreError::Unavailable(why) if why.contains("EventStoreDB") && why.contains("nobody answers at")),
        "{nobody:?}"
    );
    let lost = store.read_stream(employee(), Version::ZERO, 1).await.unwrap_err();
    assert!(matches!(&lost, StoreError::Unavailable(why) if why.contains("EventStoreDB")), "{lost:?}");
    server.back();
    store.append(change(employee())).await.unwrap();
    let clear = EsStore::connect(&url.replace("?tls=false", "")).await.map(drop).unwrap_err();
    assert!(matches!(&clear, StoreError::Broken(why) if why.contains("does not speak TLS")), "{clear:?}");
}

/// A slow event store costs `tenure status` the part that it would have told, and is named.
#[tokio::test(flavor = "multi_thread")]
async fn status_shows_what_it_can_where_the_event_store_is_slow() {
    let (server, database) = (StandIn::start(), Database::bootstrapped().await);
    let tenant = TenantId::from_uuid(Uuid::now_v7());
    let superuser = database.superuser().await;
    let cursor = "insert into event_store.relay_cursor (tenant_id, position) values ($1, 17)";
    sqlx::query(cursor).bind(tenant.uuid()).execute(&superuser).await.unwrap();
    let status = async || {
        let mut command = tokio::process::Command::from(crate::servers::program("tenure"));
        command.args(["--json", "--home", "/nowhere/tenure", "status"]);
        command.env("TENURE_DATABASE_URL", database.url_of("postgres")).env("TENURE_EVENTSTORE_URL", server.url());
        let output = command.output().await.unwrap();
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{error}: {text} {output:?}"))
    };
    let slow = server.fault(Effect::Hold, u32::MAX, |call| matches!(call.kind, Kind::ReadAll | Kind::ReadAllFiltered | Kind::ReadStream));
    let said = status().await;
    drop(slow);
    let problems = said["problems"].to_string();
    assert!(problems.contains("EventStoreDB") && !problems.contains("the database") && !problems.contains("PostgreSQL"), "{said}");
    let line = &said["tenants"][0];
    assert_eq!((&line["relayed"], &line["head"], &line["lag"]), (&17.into(), &().into(), &().into()), "{said}");
    assert_eq!((&said["relay"]["active"], &said["relay"]["behind"]), (&false.into(), &().into()), "{said}");
    // Whose log is there and who is registered nowhere is counted, and left alone.
    connect(&server).await.append(change(employee())).await.unwrap();
    let said = status().await;
    assert_eq!((&said["problems"], &said["foreign_tenants"]), (&serde_json::json!([]), &1.into()), "{said}");
}
