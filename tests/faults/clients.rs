//! Many clients, and places for none.

use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};

use super::{Acknowledged, check, prepare, seeded};
use crate::servers::{System, own_postgres, own_system, own_system_with};

fn hire(department: &str, job: &str, number: &str) -> Value {
    serde_json::json!({"hire_date": "2001-02-03", "employee_number": number, "person": {"given_name": "A", "family_name": number},
        "assignment": {"department_id": department, "job_id": job},
        "pay": {"rate": {"amount": "1000", "currency": "EUR"}, "per": "month"}})
}

/// I6: others hold every connection that PostgreSQL has. Who asks is told when to come back, and is served then.
#[tokio::test(flavor = "multi_thread")]
async fn every_connection_is_taken() {
    let postgres = own_postgres(&["max_connections=100"]).await;
    let system = own_system_with(&[("DATABASE_URL", postgres.to_url_lossy().to_string())]).await;
    let token = system.tenant("faults");
    let (department, job) = prepare(&system, &token).await;
    system.settled(&token).await;
    let options: PgConnectOptions = system.database_url.parse().unwrap();
    let mut held = Vec::new();
    loop {
        match PgConnection::connect_with(&options).await {
            Ok(connection) => held.push(connection),
            Err(error) => {
                assert_eq!(error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref(), Some("53300"), "{error}");
                // The system's own go, and it races us for their places.
                let sql = "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename like 'tenure_%'";
                if sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut held[0]).await.unwrap() == 0 {
                    break;
                }
            }
        }
    }
    eprintln!("{} connections are held", held.len());
    let (key, body) = ("h", hire(&department, &job, "1"));
    let command = system.client.post(format!("{}/v1/employees", system.command_api)).header("idempotency-key", key).json(&body);
    let query = system.client.get(format!("{}/v1/departments", system.query_api));
    let (command, query) = tokio::join!(command.bearer_auth(&token).send(), query.bearer_auth(&token).send());
    for response in [command.unwrap(), query.unwrap()] {
        let (url, status, retry) = (response.url().clone(), response.status(), response.headers().get("retry-after").cloned());
        let answer = response.text().await.unwrap();
        assert_eq!(status, 503, "{url}: {answer}");
        assert!(retry.is_some_and(|seconds| seconds.to_str().unwrap().parse::<u32>().is_ok()), "{url} does not say when to come back");
    }
    drop(held);
    system.ready().await;
    let (status, answer) = system.post(&token, "/v1/employees", key, &body).await;
    assert_eq!(status, 201, "{answer}");
    check(&system, &token, &[Acknowledged { path: "/v1/employees".into(), key: key.into(), body, answer }]).await;
}

/// Both APIs die, and a thousand clients come back at once: all are served within 30 s. A machine that needs more than
/// ten seconds for them when nothing died (a debug build, other tests beside it) has three times of that.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_come_back() {
    const CLIENTS: usize = 1_000;
    const WITHIN: Duration = Duration::from_secs(30);
    let mut random = seeded("a thousand clients");
    let system = own_system().await;
    let token = system.tenant("faults");
    let (department, job) = prepare(&system, &token).await;
    system.settled(&token).await;
    // Each keeps its connection.
    let client = reqwest::Client::builder().timeout(WITHIN).pool_max_idle_per_host(CLIENTS).build().unwrap();
    let calm = Instant::now();
    served(&system, &client, &token, &mut random, |_| None).await;
    let calm = calm.elapsed();
    for name in ["tenure-command-api", "tenure-query-api"] {
        system.signal(name, "KILL").await;
    }
    let started = Instant::now();
    let command = |n: usize| n.is_multiple_of(20).then(|| hire(&department, &job, &n.to_string()));
    let acknowledged = served(&system, &client, &token, &mut random, command).await;
    let took = started.elapsed();
    eprintln!("{CLIENTS} clients were served after {:.1} s, and again after {:.1} s", calm.as_secs_f64(), took.as_secs_f64());
    assert!(took < WITHIN.max(calm * 3), "the last of {CLIENTS} clients was served after {took:?}");
    check(&system, &token, &acknowledged).await;

    async fn served(
        system: &System,
        client: &reqwest::Client,
        token: &str,
        random: &mut fastrand::Rng,
        command: impl Fn(usize) -> Option<Value>,
    ) -> Vec<Acknowledged> {
        let requests: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let (url, key, body) = match command(n) {
                    Some(body) => (format!("{}/v1/employees", system.command_api), format!("hire-{n}"), Some(body)),
                    None => (format!("{}/v1/departments?limit=1", system.query_api), String::new(), None),
                };
                let (client, token, seed) = (client.clone(), token.to_owned(), random.u64(..));
                tokio::spawn(async move {
                    let mut random = fastrand::Rng::with_seed(seed);
                    loop {
                        let request = match &body {
                            Some(body) => client.post(&url).header("idempotency-key", &key).json(body),
                            None => client.get(&url),
                        };
                        if let Ok(response) = request.bearer_auth(&token).send().await {
                            let (status, answer) = (response.status(), response.json::<Value>().await);
                            if let (true, Ok(answer)) = (status.is_success(), &answer) {
                                let answer = answer.clone();
                                return body.map(|body| Acknowledged { path: "/v1/employees".into(), key, body, answer });
                            }
                            assert!(status == 503 || status == 429 || status.is_success(), "{status} {answer:?}");
                        }
                        tokio::time::sleep(Duration::from_millis(random.u64(50..1_000))).await;
                    }
                })
            })
            .collect();
        let mut acknowledged = Vec::new();
        for request in requests {
            acknowledged.extend(request.await.unwrap());
        }
        acknowledged
    }
}
