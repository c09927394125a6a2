//! The network between processes is cut, in every way that a network can be, and comes back.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, PgPool, postgres::PgConnectOptions};

use super::{
    check, prepare,
    proxy::{Cut, Of, Proxy, Upstream},
    seeded, survive_in,
};
use crate::servers::{System, eventually, own_nats, own_postgres, own_system_with, tenant_of};

/// A system whose processes reach PostgreSQL and NATS through proxies.
struct Cuttable {
    system: Arc<System>,
    postgres: Proxy,
    nats: Proxy,
    /// Past the proxy.
    direct: PgConnectOptions,
}

impl Cuttable {
    async fn start() -> Self {
        let direct = own_postgres(&[]).await;
        let socket = direct.get_socket().unwrap().join(format!(".s.PGSQL.{}", direct.get_port()));
        let nats_url = own_nats().await;
        let (postgres, nats) = (Proxy::to(Upstream::Unix(socket)).await, Proxy::to(Upstream::Tcp(nats_url.replace("nats://", ""))).await);
        let mut url = direct.to_url_lossy();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(postgres.address.port())).unwrap();
        url.set_query(Some("sslmode=disable"));
        let given = [("DATABASE_URL", url.to_string()), ("NATS_URL", format!("nats://{}", nats.address))];
        Self { system: Arc::new(own_system_with(&given).await), postgres, nats, direct }
    }
}

/// Every way between two processes, and who uses it.
const TO_POSTGRES: [Of; 5] = [&["tenure_command"], &["tenure_relay"], &["tenure_projector"], &["tenure_query"], &["tenure_worker"]];
const TO_NATS: [Of; 3] = [&["tenure-relay"], &["tenure-projector"], &["tenure-worker"]];

/// I1, I6: each way is cut, in a random way.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_cut_between_any_two() {
    let name = "cut";
    let mut random = seeded(name);
    let cuttable = Cuttable::start().await;
    let mut ways: Vec<(&Proxy, Of)> = TO_POSTGRES.map(|of| (&cuttable.postgres, of)).into();
    ways.extend(TO_NATS.map(|of| (&cuttable.nats, of)));
    random.shuffle(&mut ways);
    let strikes = u32::try_from(ways.len()).unwrap();
    let cut = async |_: &System, random: &mut fastrand::Rng| {
        let (proxy, of) = ways.pop().unwrap();
        let how = [Cut::Frozen, Cut::Unanswered, Cut::Closed, Cut::Lost][random.usize(..4)];
        eprintln!("{name}: {of:?} {how:?}");
        proxy.cut(of, how);
        tokio::time::sleep(Duration::from_millis(random.u64(200..1_000))).await;
        proxy.mend();
    };
    survive_in(Arc::clone(&cuttable.system), name, &mut random, strikes, cut).await;
}

/// The connection on which command-api appends.
const APPENDS: Of = &["tenure_command", "tenure-store"];

/// I1, I7: command-api dies before its append has reached PostgreSQL, after it was committed and before anybody there knows,
/// and after that and before the client knows.
#[tokio::test(flavor = "multi_thread")]
async fn command_api_killed_around_the_append() {
    let mut random = seeded("around the append");
    let cuttable = Cuttable::start().await;
    let system = &cuttable.system;
    let token = system.tenant("faults");
    prepare(system, &token).await;
    let direct = PgPool::connect_with(cuttable.direct.clone()).await.unwrap();
    let api = Proxy::to(Upstream::Tcp(system.command_api.replace("http://", ""))).await;
    let mut moments = vec!["before-append", "after-append", "before-reply"];
    random.shuffle(&mut moments);
    let mut acknowledged = Vec::new();
    while let Some(moment) = moments.pop() {
        // So that the organization is known, and the next command's first word to the store is its append.
        let key = format!("{moment}-{}", acknowledged.len());
        acknowledged.push(sent(system, &token, &format!("warm-{key}")).await);
        let before = events(&direct, &token).await;
        match moment {
            "before-append" => cuttable.postgres.cut(APPENDS, Cut::Frozen),
            "after-append" => cuttable.postgres.cut(APPENDS, Cut::Unanswered),
            _ => api.cut(&[], Cut::Unanswered),
        }
        let url = format!("http://{}/v1/locations", api.address);
        let request = system.client.post(url).bearer_auth(&token).header("idempotency-key", &key).json(&location(&key));
        let asked = tokio::spawn(request.send());
        let appended = async {
            while events(&direct, &token).await == before {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let appended = tokio::time::timeout(Duration::from_millis(700), appended).await.is_ok();
        if !appended && moment != "before-append" {
            // It went to a connection that was yet to be opened, for which the store has to answer. Then it is open next time.
            cuttable.postgres.mend();
            api.mend();
            acknowledged.push(sent(system, &token, &key).await);
            assert!(acknowledged.len() < 40, "{moment} never came");
            moments.push(moment);
            continue;
        }
        assert_eq!(appended, moment != "before-append", "{moment}");
        let killed = system.pid("tenure-command-api");
        system.signal("tenure-command-api", "KILL").await;
        eventually("it is started again", async || system.pid("tenure-command-api").is_some_and(|pid| Some(pid) != killed)).await;
        // What was on the way is gone with the process that sent it.
        cuttable.postgres.cut(APPENDS, Cut::Closed);
        api.cut(&[], Cut::Closed);
        assert!(asked.await.unwrap().is_err(), "{moment}: somebody answered");
        cuttable.postgres.mend();
        api.mend();
        let survived = i64::from(moment != "before-append");
        assert_eq!(events(&direct, &token).await, before + survived, "{moment}");
        let one = sent(system, &token, &key).await;
        // What was not there can be its own replay: an attempt of `sent` that was told to come back later.
        assert!(survived == 0 || one.answer["replayed"] == true, "{moment}: {}", one.answer);
        assert_eq!(events(&direct, &token).await, before + 1, "{moment}");
        acknowledged.push(one);
    }
    system.ready().await;
    check(system, &token, &acknowledged).await;
    direct.close().await;
}

/// What is in flight when a service is told to stop is answered, however long PostgreSQL takes over it.
#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_when_told_to_stop() {
    const REQUESTS: usize = 24;
    let mut random = seeded("in flight");
    let cuttable = Cuttable::start().await;
    let system = &cuttable.system;
    let token = system.tenant("faults");
    prepare(system, &token).await;
    let mut acknowledged = vec![sent(system, &token, "first").await];
    system.settled(&token).await;
    for (service, of) in [("tenure-command-api", APPENDS), ("tenure-query-api", TO_POSTGRES[3])] {
        cuttable.postgres.cut(of, Cut::Unanswered);
        let commands = service == "tenure-command-api";
        let requests: Vec<_> = (0..REQUESTS)
            .map(|n| {
                let key = format!("in-flight-{n}");
                let request = if commands {
                    let request = system.client.post(format!("{}/v1/locations", system.command_api));
                    request.header("idempotency-key", &key).json(&location(&key))
                } else {
                    system.client.get(format!("{}/v1/locations", system.query_api))
                };
                (key, tokio::spawn(request.bearer_auth(&token).send()))
            })
            .collect();
        // All have arrived, and wait.
        tokio::time::sleep(Duration::from_millis(500)).await;
        system.signal(service, "TERM").await;
        tokio::time::sleep(Duration::from_millis(random.u64(100..2_000))).await;
        assert!(requests.iter().all(|(_, request)| !request.is_finished()), "{service}: a request was answered without PostgreSQL");
        cuttable.postgres.mend();
        for (key, request) in requests {
            let response = request.await.unwrap().unwrap_or_else(|error| panic!("{service}: a request in flight failed: {error:?}"));
            let (status, answer) = (response.status(), response.json::<Value>().await.unwrap());
            assert!(status.is_success(), "{service}: {status} {answer}");
            if commands {
                acknowledged.push(super::Acknowledged { path: "/v1/locations".into(), body: location(&key), key, answer });
            }
        }
    }
    system.ready().await;
    check(system, &token, &acknowledged).await;
}

fn location(code: &str) -> Value {
    json!({"code": code, "name": code, "time_zone": "Europe/Berlin", "effective_on": "2000-01-01"})
}

/// Opens a location; tries until it is answered.
async fn sent(system: &System, token: &str, key: &str) -> super::Acknowledged {
    let (path, body) = ("/v1/locations".to_owned(), location(key));
    for _ in 0..600 {
        let request = system.client.post(format!("{}{path}", system.command_api)).bearer_auth(token).header("idempotency-key", key);
        if let Ok(response) = request.json(&body).send().await {
            let (status, answer) = (response.status(), response.json::<Value>().await.unwrap());
            if status.is_success() {
                return super::Acknowledged { path, key: key.into(), body, answer };
            }
            assert_eq!(status, 503, "{key}: {answer}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no answer for {key} in half a minute")
}

async fn events(direct: &PgPool, token: &str) -> i64 {
    sqlx::query_scalar("select count(*) from event_store.event where tenant_id = $1")
        .bind(tenant_of(token).uuid())
        .fetch_one(direct)
        .await
        .unwrap()
}
