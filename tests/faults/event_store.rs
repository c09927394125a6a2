//! The event store fails: EventStoreDB, as the stand-in plays it.

use std::{sync::Arc, time::Duration};

use super::{seeded, survive_in};
use crate::{
    eventstoredb::{Effect, Kind, StandIn},
    servers::{System, own_system_on},
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
