//! Nobody takes a process's places from the others: a tenant, a stranger's address and a batch have shares, and what holds
//! a place without need loses it.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, future::join_all, stream};
use reqwest::Response;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::servers::{System, own_system_with, tenant_of};

/// Of one tenant or address; half may wait.
const PLACES: usize = 8;

async fn code(response: Response) -> (u16, Option<String>, Value) {
    let retry = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let status = response.status().as_u16();
    (status, retry, response.json::<Value>().await.unwrap()["error"].clone())
}

async fn is_served(system: &System, token: &str) -> bool {
    system.client.get(format!("{}/v1/departments", system.query_api)).bearer_auth(token).send().await.unwrap().status() == 200
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_the_places_of_others() {
    let system = own_system_with(&[
        ("TENURE_TENANT_CONCURRENT_REQUESTS", PLACES.to_string()),
        // Half of all places are lent to whoever asks: as many as a tenant has of its own.
        ("TENURE_MAX_CONCURRENT_REQUESTS", (2 * PLACES).to_string()),
        // Fewer than a tenant's places.
        ("TENURE_DATABASE_CONNECTIONS", (PLACES / 2).to_string()),
    ])
    .await;
    let (greedy, other) = (system.tenant("greedy"), system.tenant("other"));
    system.settled(&greedy).await;
    system.settled(&other).await;
    waiters(&system, &greedy, &other).await;
    slow_reads(&system, &greedy, &other).await;
    strangers(&system, &greedy).await;
    batches(&system, &greedy, &other).await;
}

/// Requests for a position that never comes.
async fn waiters(system: &System, greedy: &str, other: &str) {
    let wait = || {
        let request = system.client.get(format!("{}/v1/departments", system.query_api)).bearer_auth(greedy);
        let request = request.header("tenure-min-position", "9000000000000000000").header("prefer", "wait=4");
        async move { code(request.send().await.unwrap()).await }
    };
    let asked = Instant::now();
    let all = join_all((0..PLACES - 1).map(|_| wait()));
    let others = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(is_served(system, greedy).await && is_served(system, other).await, "whoever waits leaves room");
    };
    let (answers, ()) = tokio::join!(all, others);
    assert!(asked.elapsed() < Duration::from_secs(15));
    let refused = answers.iter().filter(|answer| **answer == (429, Some("1".into()), json!("rate_limited"))).count();
    let waited = answers.iter().filter(|answer| (answer.0, &answer.2) == (503, &json!("projection_behind"))).count();
    assert_eq!((refused, waited), (PLACES - 1 - PLACES / 2, PLACES / 2), "{answers:?}");
}

/// Reads that take long: more of them than there are connections.
async fn slow_reads(system: &System, greedy: &str, other: &str) {
    let tenant = tenant_of(greedy);
    let mut holder = system.pool().await.begin().await.unwrap();
    let lock = format!("lock table {}.checkpoint in access exclusive mode", platform::read_schema(tenant, platform::READ_MODEL_VERSION));
    sqlx::raw_sql(&lock).execute(&mut *holder).await.unwrap();
    let asked = Instant::now();
    let all = join_all((0..PLACES - 1).map(|_| is_served(system, greedy)));
    let others = async {
        let blocked = "select count(*) from pg_stat_activity where usename = 'tenure_query' and wait_event_type = 'Lock'";
        while sqlx::query_scalar::<_, i64>(blocked).fetch_one(&mut *holder).await.unwrap() < 3 {
            assert!(asked.elapsed() < Duration::from_secs(4), "the reads wait for the lock");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let served = is_served(system, other).await;
        holder.rollback().await.unwrap();
        assert!(served, "whoever reads slowly leaves connections to others");
    };
    let (answers, ()) = tokio::join!(all, others);
    assert!(answers.iter().all(|served| *served), "each in its turn, {:?}", asked.elapsed());
}

/// Log-ins whose body does not come.
async fn strangers(system: &System, token: &str) {
    let address = system.command_api.strip_prefix("http://").unwrap();
    let begin = || async {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let head =
            "POST /v1/auth/login HTTP/1.1\r\nhost: greedy.localhost\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{";
        connection.write_all(head.as_bytes()).await.unwrap();
        connection
    };
    let started = Instant::now();
    let holding = join_all((0..PLACES).map(|_| begin())).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let log_in = || system.client.post(format!("{}/v1/auth/login", system.command_api)).header("host", "greedy.localhost").json(&json!({}));
    assert_eq!(code(log_in().send().await.unwrap()).await, (429, Some("1".into()), json!("rate_limited")));
    let me = system.client.get(format!("{}/v1/auth/me", system.command_api)).bearer_auth(token).send().await.unwrap();
    assert_eq!(me.status(), 200, "whoever has a token has places of their tenant's");
    for mut connection in holding {
        let mut answer = [0; 12];
        tokio::time::timeout(Duration::from_secs(20), connection.read_exact(&mut answer)).await.expect("an answer").unwrap();
        assert_eq!(std::str::from_utf8(&answer).unwrap(), "HTTP/1.1 408");
    }
    assert!(started.elapsed() > Duration::from_secs(4));
    assert_eq!(code(log_in().send().await.unwrap()).await.0, 422, "the places are free again");
}

/// Batches without a line in them.
async fn batches(system: &System, greedy: &str, other: &str) {
    let begin = |token: &str| {
        // A line's end now and then, and nothing else.
        let body = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            Some((Ok::<_, std::io::Error>("\n"), ()))
        });
        let request = system.client.post(format!("{}/v1/batch", system.command_api)).bearer_auth(token);
        request.header("content-type", "application/x-ndjson").body(reqwest::Body::wrap_stream(body)).send()
    };
    let mut open = Vec::new();
    for _ in 0..8 {
        let response = begin(greedy).await.unwrap();
        assert_eq!(response.status(), 200);
        open.push(response);
    }
    assert_eq!(code(begin(greedy).await.unwrap()).await, (429, Some("1".into()), json!("rate_limited")));
    assert_eq!(begin(other).await.unwrap().status(), 200);
    system.tenure(&["tenant", "suspend", "--reason", "a test", "greedy"]);
    let suspended = Instant::now();
    for response in open {
        let end = response.bytes_stream().map(|piece| String::from_utf8(piece.unwrap().to_vec()).unwrap()).collect::<String>();
        let end = tokio::time::timeout(Duration::from_secs(30), end).await.expect("who is not served any more keeps no place");
        assert!(end.contains("tenant_suspended"), "{end}");
    }
    eprintln!("batches without a line ended {:?} after their tenant was suspended", suspended.elapsed());
}
