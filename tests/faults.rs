//! Processes and servers die under load, and nothing is lost, doubled, reordered or answered twice differently.
//!
//! Clients send commands all the while and try again with the same key, as a good client does. Afterwards:
//! - I1, I5: every acknowledged event stands in the store exactly once, and no command has more events than it was told;
//! - I2: positions and versions have no hole;
//! - I3: the read model equals, hash for hash, one that is rebuilt from the log;
//! - I6: the system got there with no one's help;
//! - I7: every command, sent once more with its key, gets its first answer again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use events::TenantScope;
use platform::{READ_MODEL_VERSION, read_schema};
use projector::digest::digest;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::servers::{System, eventually, own_system, tenant_of};

mod clients;
mod disk;
mod event_store;
mod network;
mod proxy;

const CLIENTS: u32 = 8;

/// One acknowledged command: where it went, its key and body, and the answer.
struct Acknowledged {
    path: String,
    key: String,
    body: Value,
    answer: Value,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_command_api() {
    survive("command-api", 3, async |system| system.signal("tenure-command-api", "KILL").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_told_to_stop() {
    let stop = async |system: &System| {
        for name in ["tenure-command-api", "tenure-relay", "tenure-projector", "tenure-worker", "tenure-query-api"] {
            system.signal(name, "TERM").await;
        }
    };
    let failed = survive("terminated", 2, stop).await;
    assert!(failed.is_empty(), "requests in flight failed: {failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_projector() {
    survive("projector", 3, async |system| system.signal("tenure-projector", "KILL").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker() {
    survive("worker", 3, async |system| system.signal("tenure-worker", "KILL").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_relay() {
    survive("relay", 3, async |system| system.signal("tenure-relay", "KILL").await).await;
}

/// For longer than their leases last: when they go on, they must not do so where they stood.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_relay_and_projector() {
    let pause = async |system: &System| {
        for signal in ["STOP", "CONT"] {
            for name in ["tenure-relay", "tenure-projector"] {
                system.signal(name, signal).await;
            }
            // Whatever their leases' rows say.
            let is_active = || system.tenure(&["status"])["relay"]["active"] == true;
            if signal == "STOP" {
                tokio::time::sleep(Duration::from_secs(6)).await;
                assert!(!is_active(), "a relay that stands still");
            } else {
                eventually("the relay is active again", async || is_active()).await;
            }
        }
    };
    survive("paused", 1, pause).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_nats() {
    survive("nats", 3, async |system| system.signal("nats-server", "KILL").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_nats() {
    let wipe = async |system: &System| {
        // After the last time it takes a moment until it is started and has some again.
        let store = system.home.join("nats/jetstream");
        eventually("NATS keeps streams", async || store.is_dir()).await;
        // Stopped, so that it can't write again what is removed under it.
        system.signal("nats-server", "STOP").await;
        std::fs::remove_dir_all(store).unwrap();
        system.signal("nats-server", "KILL").await;
    };
    survive("nats-wiped", 2, wipe).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_postgres() {
    survive("postgres", 2, async |system| system.signal("postgres", "KILL").await).await;
}

/// Random numbers that come again with the seed that is printed.
fn seeded(name: &str) -> fastrand::Rng {
    let seed = std::env::var("TENURE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("{name}: seed {seed} (TENURE_TEST_SEED={seed} runs it again)");
    fastrand::Rng::with_seed(seed)
}

/// Runs load, strikes `times` with a pause between, lets the load go on for a moment, and checks. What clients met that was
/// neither an answer nor a refused connection.
async fn survive(name: &str, times: u32, strike: impl AsyncFn(&System)) -> Vec<String> {
    survive_in(Arc::new(own_system().await), name, &mut seeded(name), times, async |system, _| strike(system).await).await
}

/// As [`survive`], in this system.
async fn survive_in(
    system: Arc<System>,
    name: &str,
    random: &mut fastrand::Rng,
    times: u32,
    mut strike: impl AsyncFnMut(&System, &mut fastrand::Rng),
) -> Vec<String> {
    let token = system.tenant("faults");
    let (department, job) = prepare(&system, &token).await;
    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU32::new(0));
    let failed = Arc::<Mutex<Vec<String>>>::default();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let (system, failed) = (Arc::clone(&system), Arc::clone(&failed));
            let client = Client { system, token: token.clone(), department: department.clone(), job: job.clone(), n, failed };
            tokio::spawn(client.run(Arc::clone(&stop), Arc::clone(&sent)))
        })
        .collect();
    // A client that ended has failed, and says why when it is joined below. What waits for the load would wait for ever.
    let failure = async || {
        while !clients.iter().any(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let struck = async {
        for _ in 0..times {
            tokio::time::sleep(Duration::from_millis(random.u64(200..3_000 / u64::from(times)))).await;
            strike(&system, random).await;
        }
        // The load goes on until enough was acknowledged after the last strike.
        let before = sent.load(Ordering::Relaxed);
        while sent.load(Ordering::Relaxed) < before + 10 * CLIENTS {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! { () = struck => {}, () = failure() => {} }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for client in clients {
        acknowledged.extend(client.await.unwrap());
    }
    system.ready().await;
    let failed = std::mem::take(&mut *failed.lock().unwrap());
    eprintln!("{name}: {} commands acknowledged, {} tries failed", acknowledged.len(), failed.len());
    check(&system, &token, &acknowledged).await;
    failed
}

async fn prepare(system: &System, token: &str) -> (String, String) {
    let department = json!({"code": "d", "name": "Department", "effective_on": "2000-01-01"});
    let job = json!({"code": "j", "title": "Job", "effective_on": "2000-01-01"});
    let (status, department) = system.post(token, "/v1/departments", "department", &department).await;
    assert!(status < 300, "{status} {department}");
    let (status, job) = system.post(token, "/v1/jobs", "job", &job).await;
    assert!(status < 300, "{status} {job}");
    (department["id"].as_str().unwrap().to_owned(), job["id"].as_str().unwrap().to_owned())
}

struct Client {
    system: Arc<System>,
    token: String,
    department: String,
    job: String,
    n: u32,
    /// Tries that were neither answered nor refused a connection.
    failed: Arc<Mutex<Vec<String>>>,
}

impl Client {
    /// Hires people and raises their pay, one command after the other.
    async fn run(self, stop: Arc<AtomicBool>, sent: Arc<AtomicU32>) -> Vec<Acknowledged> {
        let mut acknowledged = Vec::new();
        for round in 0.. {
            let number = format!("{}-{round}", self.n);
            let hire = json!({"hire_date": "2001-02-03", "employee_number": number, "person": {"given_name": "A", "family_name": number},
                "assignment": {"department_id": self.department, "job_id": self.job},
                "pay": {"rate": {"amount": "1000", "currency": "EUR"}, "per": "month"}});
            let hired = self.until_answered("/v1/employees".into(), format!("hire-{number}"), hire).await;
            let raises = format!("/v1/employees/{}/compensation-changes", hired.answer["id"].as_str().unwrap());
            acknowledged.push(hired);
            for year in 2002..2005 {
                let pay = json!({"effective_on": format!("{year}-01-01"), "reason": "review",
                    "pay": {"rate": {"amount": format!("{}", year * 2), "currency": "EUR"}, "per": "month"}});
                acknowledged.push(self.until_answered(raises.clone(), format!("raise-{number}-{year}"), pay).await);
            }
            sent.fetch_add(4, Ordering::Relaxed);
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        acknowledged
    }

    /// Sends a command, again and again with the same key, until there is an answer that is not "try later".
    async fn until_answered(&self, path: String, key: String, body: Value) -> Acknowledged {
        let url = format!("{}{path}", self.system.command_api);
        for _ in 0..1_200 {
            let request = self.system.client.post(&url).bearer_auth(&self.token).header("idempotency-key", &key).json(&body);
            match request.timeout(Duration::from_secs(15)).send().await {
                Ok(response) => {
                    let status = response.status();
                    let answer = response.json::<Value>().await;
                    if let (true, Ok(answer)) = (status.is_success(), answer.as_ref()) {
                        return Acknowledged { path, key, body, answer: answer.clone() };
                    }
                    assert!(status == 503 || (status.is_success() && answer.is_err()), "{path}: {status} {answer:?}");
                    self.failed.lock().unwrap().push(format!("{key}: {status} {answer:?}"));
                }
                Err(error) if error.is_connect() => {}
                Err(error) => self.failed.lock().unwrap().push(format!("{key}: {error:?}")),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no answer for {key} in a minute")
    }
}

async fn check(system: &System, token: &str, acknowledged: &[Acknowledged]) {
    let tenant = tenant_of(token);
    let pool = system.pool().await;

    // I1, I5: what was acknowledged is there, once, and nothing else is.
    let stored = system.stored(tenant).await;
    let mut seen = BTreeMap::new();
    for event in &stored {
        assert!(seen.insert(event.id.to_string(), event.position).is_none(), "event {} stands twice", event.id);
    }
    let mut told = 2; // The department and the job.
    for one in acknowledged {
        for id in one.answer["events"].as_array().unwrap() {
            assert!(seen.contains_key(id.as_str().unwrap()), "an acknowledged event of {} is gone", one.key);
            told += 1;
        }
    }
    assert_eq!(stored.len(), told, "events that nobody was told of");

    // I2: no hole in positions, where the engine has dense ones, or versions.
    let mut versions: BTreeMap<&str, u64> = BTreeMap::new();
    for (n, event) in (1..).zip(&stored) {
        assert!(system.stand_in.is_some() || event.position == n, "positions are dense");
        let last = versions.insert(&event.stream, event.version).unwrap_or(0);
        assert_eq!(event.version, last + 1, "versions of {} are dense", event.stream);
    }

    // I7: the first answer again.
    for one in acknowledged {
        let (status, answer) = system.post(token, &one.path, &one.key, &one.body).await;
        assert!(status < 300, "{}: {status} {answer}", one.key);
        for same in ["id", "version", "position", "events"] {
            assert_eq!(answer[same], one.answer[same], "{same} of {}", one.key);
        }
    }

    // I6, I3: the read model got to the end by itself, and a rebuild gives the same.
    assert_eq!(system.settled(token).await, stored.last().map_or(0, |event| event.position));
    let scope = TenantScope::checked(tenant);
    let schema = read_schema(tenant, READ_MODEL_VERSION);
    let live = digest(&pool, scope, &schema).await.unwrap();
    system.tenure(&["read-model", "rebuild", "--tenant", "faults"]);
    assert_eq!(digest(&pool, scope, &schema).await.unwrap(), live, "a rebuild gives the same rows");
    pool.close().await;
}
