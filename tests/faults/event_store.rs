//! The event store fails: EventStoreDB, as the stand-in plays it.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use store::{EsStore, Store};

use super::{prepare, seeded, survive_in};
use crate::{
    eventstoredb::{Effect, Kind, StandIn, bounds::like},
    servers::{System, eventually, own_system_on, tenant_of},
    store_conformance::{employee, one, tenant},
};

/// Runs load on a system whose event store is struck.
async fn survive_on(name: &str, times: u32, strike: impl AsyncFn(&StandIn, &mut fastrand::Rng)) -> Arc<System> {
    let server = Arc::new(StandIn::start());
    let system = Arc::new(own_system_on(&server).await);
    let strike = async |_: &System, random: &mut fastrand::Rng| strike(&server, random).await;
    survive_in(Arc::clone(&system), name, &mut seeded(name), times, strike).await;
    system
}

/// `kill -9`: what was acknowledged is there, what was under way is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_event_store() {
    survive_on("event store killed", 3, async |server, _| server.kill()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_store_that_is_away() {
    let away = async |server: &StandIn, random: &mut fastrand::Rng| {
        server.away();
        tokio::time::sleep(Duration::from_millis(random.u64(1_000..8_000))).await;
        server.back();
    };
    survive_on("event store away", 2, away).await;
}

/// Every call takes longer, some longer than anybody waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_event_store() {
    let slow = async |server: &StandIn, _: &mut fastrand::Rng| {
        let slow = server.fault(Effect::Slow(Duration::from_millis(300)), u32::MAX, |_| true);
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(slow);
        let slower = server.fault(Effect::Slow(Duration::from_secs(8)), u32::MAX, |_| true);
        tokio::time::sleep(Duration::from_secs(2)).await;
        drop(slower);
    };
    survive_on("event store slow", 1, slow).await;
}

/// Writes whose outcome nobody hears of: they may have been carried out, and are tried again.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_store_that_writes_and_does_not_answer() {
    let silent = async |server: &StandIn, random: &mut fastrand::Rng| {
        for effect in [Effect::Mute, Effect::Cut, Effect::Late(Duration::from_secs(7))] {
            let times = random.u32(1..8);
            let fault = server.fault(effect, times, |call| call.kind == Kind::Append);
            while fault.met() < times {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    survive_on("event store silent", 2, silent).await;
}

/// Requests that a network holds for a while arrive late, when their clients have given up and tried again.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_holds_requests_to_the_event_store() {
    let held = async |server: &StandIn, random: &mut fastrand::Rng| {
        let held = server.fault(Effect::Hold, 16, |call| call.kind == Kind::Append);
        tokio::time::sleep(Duration::from_millis(random.u64(1_000..9_000))).await;
        drop(held);
    };
    survive_on("requests held", 3, held).await;
}

/// Tenants of somebody else's in the same store, as the conformance suite leaves them: they cost nothing, are told of, and stand in
/// nobody's way, nor in that of a projector that is started beside them.
#[tokio::test(flavor = "multi_thread")]
async fn tenants_of_somebody_else_in_the_event_store() {
    const TENANTS: usize = 75;
    let server = Arc::new(StandIn::start());
    let theirs: Vec<_> = (0..TENANTS).map(|_| tenant()).collect();
    let store = Store::EventStore(EsStore::connect(&server.url()).await.unwrap());
    store.append(one(theirs[0], employee(theirs[0]))).await.unwrap();
    let first = theirs[0].tenant().to_string();
    let template = server.records().into_iter().rfind(|record| record.stream.starts_with(&first)).unwrap();
    server.preload((0..30 * TENANTS).map(|n| (employee(theirs[n % TENANTS]).to_string(), like(&template, 0))));
    let system = own_system_on(&server).await;
    let token = system.tenant("ours");
    let (department, job) = prepare(&system, &token).await;
    let hire = |number: &str| {
        json!({"hire_date": "2001-02-03", "employee_number": number, "person": {"given_name": "A", "family_name": "B"},
            "assignment": {"department_id": department, "job_id": job},
            "pay": {"rate": {"amount": "1000", "currency": "EUR"}, "per": "month"}})
    };
    assert_eq!(system.post(&token, "/v1/employees", "hire", &hire("1")).await.0, 201);
    system.settled(&token).await;
    system.tenure(&["read-model", "rebuild", "--tenant", "ours"]);
    rests(&server).await;
    let told = || system.tenure(&["status"]);
    let state = told();
    assert_eq!((&state["foreign_tenants"], &state["problems"]), (&json!(TENANTS), &json!([])), "{state}");
    assert_eq!(state["tenants"].as_array().unwrap().iter().filter(|tenant| tenant["slug"] == "ours").count(), 1, "{state}");
    let [of_relay, of_projector] = ["relay", "projector"].map(|process| metric(&system, process, "tenure_foreign_tenants"));
    assert_eq!((of_relay.await, of_projector.await), (Some(75), Some(75)));
    let ours = system.stored(tenant_of(&token)).await.len();
    assert_eq!(metric(&system, "projector", "tenure_projector_applied_total").await, Some(ours), "each event is counted once");

    // A projector that finds them there when it starts. It is caught up with once its lease is its own.
    system.signal("tenure-projector", "KILL").await;
    assert_eq!(system.post(&token, "/v1/employees", "another", &hire("2")).await.0, 201);
    system.settled(&token).await;
    rests(&server).await;
    let counted = async || metric(&system, "projector", "tenure_foreign_tenants").await == Some(75);
    eventually("the new projector has counted them", counted).await;
    assert_eq!(told()["foreign_tenants"], json!(TENANTS));
    let log = |process: &str| std::fs::read_to_string(system.home.join(format!("log/{process}.log"))).unwrap();
    assert!(!log("postgres").contains("role \"w_"), "a role of somebody else's tenant was asked for");
    for process in ["tenure-relay", "tenure-projector"] {
        // Two projectors have said so, and each again while the number still grew.
        let warnings = log(process).matches("tenants that are not registered here").count();
        assert!((1..=8).contains(&warnings), "{process} warned {warnings} times");
        for foreign in &theirs {
            assert!(!log(process).contains(&foreign.tenant().to_string()), "{process} tries {}", foreign.tenant());
        }
    }
}

/// Waits until nobody reads more than the end.
async fn rests(server: &StandIn) {
    for _ in 0..20 {
        let mark = server.mark();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let work = server.since(mark).await;
        if work.looked_at() <= 2 * work.count() as u64 {
            return;
        }
        eprintln!("not at rest: {work:?}");
    }
    panic!("the system never rests");
}

/// What a process counts, all labels together; none while it does not answer.
async fn metric(system: &System, process: &str, name: &str) -> Option<usize> {
    let state: Value = serde_json::from_slice(&std::fs::read(system.home.join("run/state.json")).unwrap()).unwrap();
    let url = format!("{}/metrics", state["addresses"][process].as_str().unwrap());
    let text = system.client.get(url).send().await.ok()?.text().await.ok()?;
    let lines = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
    Some(lines.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum())
}
