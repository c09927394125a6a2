//! Nobody takes a process's places from the others: a tenant, a stranger's address and a batch have shares, and what holds
//! a place without need loses it.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, future::join_all, stream};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::servers::{System, eventually, own_system_with, tenant_of};

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

/// A route of one of the APIs, as its document says.
struct Route {
    base: String,
    method: Method,
    path: String,
    /// `application/json` or another type, where it takes a body.
    media_type: Option<String>,
}

impl Route {
    /// Those that take a token.
    async fn all(system: &System) -> Vec<Self> {
        let mut routes = Vec::new();
        for base in [&system.command_api, &system.query_api] {
            let document: Value = system.client.get(format!("{base}/openapi.json")).send().await.unwrap().json().await.unwrap();
            for (path, methods) in document["paths"].as_object().unwrap() {
                for (method, operation) in methods.as_object().unwrap().iter().filter(|(_, operation)| operation.get("security").is_none())
                {
                    let media_type = operation["requestBody"]["content"].as_object().and_then(|content| content.keys().next().cloned());
                    let method = method.to_uppercase().parse().unwrap();
                    routes.push(Self { base: base.clone(), method, path: path.clone(), media_type });
                }
            }
        }
        assert!(routes.len() > 50, "{}", routes.len());
        routes
    }
    /// Of the tokens of somebody in human resources, an owner and an operator the one that may come here.
    fn token_of<'t>(&self, [hr, owner, operator]: [&'t str; 3]) -> &'t str {
        match self.path.split('/').nth(2).unwrap_or_default() {
            "tenants" => operator,
            "users" | "service-accounts" | "identity-audit" | "issuers" | "domains" | "roles" => owner,
            _ => hr,
        }
    }
    fn path_with_id(&self) -> String {
        self.path.replace("{id}", "0190a7b2-6c3e-7def-8000-0123456789ab")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_for_each_purpose_is_enough_and_late_bodies_are_looked_at_again() {
    let system = own_system_with(&[("TENURE_DATABASE_CONNECTIONS", "1".into())]).await;
    let operator = system.token("platform", "operator");
    let tenants: Vec<_> = (0..12)
        .map(|n| {
            let slug = format!("one-{n}");
            (system.tenant(&slug), system.token(&slug, "owner"))
        })
        .collect();
    let routes = Route::all(&system).await;
    let lives = tenants.iter().map(|(hr, owner)| live(&system, [hr.as_str(), owner, &operator], &routes));
    tokio::time::timeout(Duration::from_mins(2), join_all(lives)).await.expect("whoever holds a connection waits for no other");
    late_bodies(&system, &tenants[0].0, &tenants[0].1, &routes).await;
}

/// A company whose people get managers, several at a time, and then every route.
async fn live(system: &System, tokens: [&str; 3], routes: &[Route]) {
    let hr = tokens[0];
    let post = async |path: String, body: Value| {
        let (status, answer) = system.post(hr, &path, &uuid::Uuid::now_v7().to_string(), &body).await;
        assert!(status < 300, "POST {path}: {status} {answer}");
        answer["id"].as_str().unwrap().to_owned()
    };
    let on = "2000-01-01";
    let department = post("/v1/departments".into(), json!({"effective_on": on, "code": "d", "name": "D"})).await;
    let job = post("/v1/jobs".into(), json!({"effective_on": on, "code": "j", "title": "J"})).await;
    let hire = |n: usize| {
        json!({"hire_date": "2010-01-01", "employee_number": n.to_string(), "person": {"given_name": "A", "family_name": "B"},
            "assignment": {"department_id": department, "job_id": job}, "pay": {"rate": {"amount": "1", "currency": "EUR"}, "per": "month"}})
    };
    let people = join_all((0..4).map(|n| post("/v1/employees".into(), hire(n)))).await;
    let under = |n: usize| json!({"effective_on": "2011-01-01", "reason": "x", "changes": {"manager_id": people[n - 1]}});
    join_all((1..4).map(|n| post(format!("/v1/employees/{}/assignment-changes", people[n]), under(n)))).await;
    // Refused, which is remembered.
    let (status, answer) = system.post(hr, &format!("/v1/employees/{}/assignment-changes", people[0]), "ring", &under(4)).await;
    assert_eq!((status, &answer["error"]), (422, &json!("manager_cycle")), "{answer}");
    system.settled(hr).await;
    for route in routes {
        let request = system.client.request(route.method.clone(), format!("{}{}", route.base, route.path_with_id()));
        let mut request = request.bearer_auth(route.token_of(tokens)).header("idempotency-key", uuid::Uuid::now_v7().to_string());
        if let Some(media_type) = &route.media_type {
            request = request.header("content-type", media_type).body("{}");
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        assert!(!status.is_server_error(), "{} {}: {status} {}", route.method, route.path, response.text().await.unwrap());
    }
}

/// A request whose body begins, and ends when it is told to.
struct Late {
    path: String,
    connection: TcpStream,
}

impl Late {
    async fn begin(route: &Route, token: &str) -> Self {
        let mut connection = TcpStream::connect(route.base.strip_prefix("http://").unwrap()).await.unwrap();
        let (method, path, media_type) = (&route.method, route.path_with_id(), route.media_type.as_deref().unwrap());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-type: {media_type}\r\n\
             connection: close\r\ncontent-length: 3\r\n\r\n{{"
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        Self { path, connection }
    }
    /// The answer to it.
    async fn end(mut self) -> (String, String) {
        // Where the answer came before the end of the body, nobody reads on.
        let _ = self.connection.write_all(b"}\n").await;
        let mut answer = Vec::new();
        let reading = self.connection.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(30), reading).await.expect("an answer");
        (self.path, String::from_utf8(answer).unwrap())
    }
}

/// Whoever may no longer do it when the body is whole has done nothing.
async fn late_bodies(system: &System, hr: &str, owner: &str, routes: &[Route]) {
    // A role of the tenant's own, which is taken away; and tokens, which are revoked. Operators' routes go the same way.
    let (status, answer) = system
        .post(
            owner,
            "/v1/roles",
            "",
            &json!({"name": "clerk", "permissions": [{"action": "change", "class": "directory", "reach": "all"}], "duties": []}),
        )
        .await;
    assert_eq!(status, 204, "{answer}");
    let clerk =
        system.tenure(&["token", "--tenant", "one-0", "--role", "clerk", "--subject", "clerk"])["token"].as_str().unwrap().to_owned();
    let with_body = || routes.iter().filter(|route| route.media_type.is_some() && !route.path.starts_with("/v1/tenants"));
    let jobs = with_body().find(|route| route.path == "/v1/jobs").unwrap();
    let may_write = async || system.post(&clerk, "/v1/jobs", "any", &json!({})).await.0 == 422;
    eventually("the new role is known", may_write).await;
    let by_the_clerk = Late::begin(jobs, &clerk).await;
    let late = join_all(with_body().map(|route| Late::begin(route, route.token_of([hr, owner, ""])))).await;
    assert!(late.len() > 30, "{}", late.len());
    // All are let in before anybody is kept out.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(system.post(owner, "/v1/roles/removal", "", &json!({"name": "clerk"})).await.0, 204);
    assert_eq!(system.post(owner, "/v1/auth/revocation", "", &json!({"all": true})).await.0, 204);
    let status = async |token: &str| system.post(token, "/v1/jobs", "any", &json!({})).await.0;
    let out = async || (status(hr).await, status(owner).await, status(&clerk).await) == (401, 401, 403);
    eventually("the tokens are void, and the role is gone", out).await;
    // Longer than what was looked at is taken for new.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    for (path, answer) in join_all(late.into_iter().map(Late::end)).await {
        let refused = answer.starts_with("HTTP/1.1 401") || (path == "/v1/batch" && answer.contains("\"status\":401"));
        assert!(refused, "{path}: {answer}");
    }
    let (_, answer) = by_the_clerk.end().await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}
