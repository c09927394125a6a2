//! Nobody takes a process's places from the others: a tenant, a stranger's address and a batch have shares, and what holds
//! a place without need loses it.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use events::TenantId;
use futures::{StreamExt as _, future::join_all, stream};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Barrier,
};
use uuid::Uuid;

use crate::{
    contract::checked,
    servers::{System, eventually, own_system_with, tenant_of},
};

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
        // Shorter than requests that are in work last here.
        ("TENURE_IDLE_TIMEOUT", "2".to_owned()),
        ("TENURE_ADDRESS_CONNECTIONS", "500".to_owned()),
    ])
    .await;
    let (greedy, other) = (system.tenant("greedy"), system.tenant("other"));
    system.settled(&greedy).await;
    system.settled(&other).await;
    silent_connections(&system).await;
    waiters(&system, &greedy, &other).await;
    slow_reads(&system, &greedy, &other).await;
    strangers(&system, &greedy).await;
    hanging_issuer(&system, &other).await;
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

/// A connection from an address of this machine.
async fn connect_from(address: [u8; 4], to: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((address, 0))).unwrap();
    socket.connect(to.strip_prefix("http://").unwrap().parse().unwrap()).await.unwrap()
}

/// Log-ins whose bodies do not come, and log-ins that take long, from more addresses than there are shares of all places.
async fn strangers(system: &System, token: &str) {
    let log_in = |from: u8, body: &'static str, length: usize| async move {
        let mut connection = connect_from([127, 0, 0, from], &system.command_api).await;
        let head = format!(
            "POST /v1/auth/login HTTP/1.1\r\nhost: greedy.localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        connection
    };
    let status = |mut connection: TcpStream| async move {
        let mut answer = [0; 12];
        tokio::time::timeout(Duration::from_secs(30), connection.read_exact(&mut answer)).await.expect("an answer").unwrap();
        std::str::from_utf8(&answer).unwrap()[9..].parse::<u16>().unwrap()
    };
    let me = || async {
        system.client.get(format!("{}/v1/auth/me", system.command_api)).bearer_auth(token).send().await.unwrap().status().as_u16()
    };
    let slow = join_all((0..9 * PLACES).map(|n| log_in(2 + u8::try_from(n % 9).unwrap(), "{", 50))).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    for _ in 0..2 * PLACES {
        assert_eq!(me().await, 200, "strangers' bodies take no place of those with tokens");
        assert_eq!(status(log_in(99, "{}", 2).await).await, 422, "nor of strangers whose body is there");
    }
    for status in join_all(slow.into_iter().map(status)).await {
        assert_eq!(status, 408);
    }
    // Now they are in work, and stay there.
    let mut holder = system.pool().await.begin().await.unwrap();
    sqlx::raw_sql("lock table platform.user_account in access exclusive mode").execute(&mut *holder).await.unwrap();
    let body = r#"{"email": "a@example.org", "password": "x"}"#;
    let long = join_all((0..9 * PLACES).map(|n| log_in(2 + u8::try_from(n % 9).unwrap(), body, body.len()))).await;
    let mut answers = stream::iter(long).map(status).buffer_unordered(9 * PLACES);
    for _ in 0..8 * PLACES {
        assert!(matches!(answers.next().await, Some(429 | 503)), "in all strangers have as many places as one tenant here");
        assert_eq!(me().await, 200, "strangers in work take no place of those with tokens");
    }
    holder.rollback().await.unwrap();
    for status in answers.collect::<Vec<_>>().await {
        assert!(matches!(status, 401 | 429 | 503), "{status}");
    }
    assert_eq!(status(log_in(2, "{}", 2).await).await, 422, "the places are free again");
}

/// What HTTP/2 begins with, and an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

/// Every state in which a connection may be left, at both APIs: the server closes it.
async fn silent_connections(system: &System) {
    let get = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let ask_in_frames = b"\0\0\x1c\x01\x05\0\0\0\x01\x82\x86\x04\x0d/openapi.json\x01\x09localhost".to_vec();
    let no_window = b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0".to_vec();
    let slow_body = "POST /v1/auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{";
    // Each: what is sent at once, what is sent again and again after it, and whether the answers are read.
    let states: Vec<(&str, Vec<u8>, Vec<u8>, bool)> = vec![
        ("before the first byte", vec![], vec![], true),
        ("a byte of either protocol", b"P".to_vec(), vec![], true),
        ("the preface only", PREFACE.to_vec(), vec![], true),
        ("the preface and settings", [PREFACE, SETTINGS].concat(), vec![], true),
        ("pings", [PREFACE, SETTINGS].concat(), b"\0\0\x08\x06\0\0\0\0\0ping-num".to_vec(), true),
        ("settings again and again", [PREFACE, SETTINGS].concat(), SETTINGS.to_vec(), true),
        ("in a head", b"GET /livez HTTP/1.1\r\nhost: localhost\r\n".to_vec(), vec![], true),
        ("in a head that goes on", b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx: ".to_vec(), b"x".to_vec(), true),
        ("between requests", get.into(), vec![], true),
        ("in the second head", format!("{get}GET /livez HTTP/1.1\r\nx: ").into(), b"x".to_vec(), true),
        ("in a body", slow_body.into(), vec![], true),
        ("while the answers are not read", get.repeat(400).into(), b" ".to_vec(), false),
        ("while no window is given", [PREFACE, &no_window, &ask_in_frames].concat(), vec![], true),
        (
            "pings while no window is given",
            [PREFACE, &no_window, &ask_in_frames].concat(),
            b"\0\0\x08\x06\0\0\0\0\0ping-num".to_vec(),
            true,
        ),
    ];
    let all = [&system.command_api, &system.query_api].into_iter().flat_map(|api| states.iter().map(move |state| (api, state)));
    let closed = join_all(all.map(|(api, (name, first, then, read))| async move {
        let (mut from, mut to) = connect_from([127, 0, 0, 1], api).await.into_split();
        let sending = async {
            let mut sent = to.write_all(first).await;
            while sent.is_ok() && !(then.is_empty() && *read) {
                tokio::time::sleep(Duration::from_millis(20)).await;
                sent = to.write_all(then).await;
            }
            if *read {
                std::future::pending::<()>().await;
            }
        };
        let reading = async {
            let mut bytes = vec![0; 65_536];
            while *read && from.read(&mut bytes).await.is_ok_and(|n| n > 0) {}
            if !*read {
                std::future::pending::<()>().await;
            }
        };
        let end = async {
            tokio::select! { () = sending => {} () = reading => {} }
        };
        let closed = tokio::time::timeout(Duration::from_secs(25), end).await.is_ok();
        (api, name, closed)
    }))
    .await;
    let open: Vec<_> = closed.iter().filter(|(.., closed)| !closed).collect();
    assert!(open.is_empty(), "the server keeps {open:?}");
    // More of them than one address may have; somebody new gets in and is answered all the same.
    for api in [&system.command_api, &system.query_api] {
        let silent = stream::iter(0..1000).map(|_| connect_from([127, 0, 0, 1], api)).buffered(50).collect::<Vec<_>>().await;
        assert_eq!(system.client.get(format!("{api}/livez")).send().await.unwrap().status(), 200);
        drop(silent);
    }
}

/// Tokens that nobody signed, of an issuer that takes connections and never answers.
async fn hanging_issuer(system: &System, other: &str) {
    let issuer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", issuer.local_addr().unwrap());
    let silent = tokio::spawn(async move {
        let mut taken = Vec::new();
        while let Ok((connection, _)) = issuer.accept().await {
            taken.push(connection);
        }
    });
    let post = async |token: &str, path: &str, body: &Value| {
        let (status, answer) = system.post(token, path, &Uuid::now_v7().to_string(), body).await;
        assert_eq!(status, 204, "{answer}");
    };
    system.tenant("trusting");
    let id = system.tenure(&["tenant", "show", "trusting"])["tenant_id"].as_str().unwrap().to_owned();
    let trust =
        json!({"issuer": url, "audience": "urn:hr", "jwks_uri": format!("{url}/jwks"), "roles_claim": "roles", "roles": {"a": "hr"}});
    post(&system.token("platform", "operator"), &format!("/v1/tenants/{id}/issuers"), &trust).await;
    post(&system.token("trusting", "owner"), "/v1/issuers/confirmation", &trust).await;
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let head = json!({"alg": "RS256", "typ": "at+jwt", "kid": "any"});
    let forged = &format!("{}.{}.AAAA", part(head), part(json!({"iss": url, "aud": "urn:hr"})));
    let apis = [(&system.query_api, "/v1/departments"), (&system.command_api, "/v1/auth/me")];
    let ask = |(base, path): (&String, &str), token: &str| {
        let request = system.client.get(format!("{base}{path}")).bearer_auth(token);
        async move { code(request.send().await.unwrap()).await }
    };
    for api in apis {
        eventually("the issuer is known", async || ask(api, forged).await == (503, Some("1".into()), json!("issuer_unavailable"))).await;
        let forgeries = join_all((0..200).map(|_| ask(api, forged)));
        let reads = stream::iter(0..100).map(|_| ask(api, other)).buffered(4).collect::<Vec<_>>();
        let (forgeries, reads) = tokio::join!(forgeries, reads);
        assert!(reads.iter().all(|(status, ..)| *status == 200), "{}: {reads:?}", api.1);
        let told = |answer: &(u16, _, Value)| answer.2 == "issuer_unavailable" || answer.2 == "overloaded";
        assert!(forgeries.iter().all(told), "{}: {forgeries:?}", api.1);
    }
    silent.abort();
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
        let id = uuid::Uuid::from_u128(0x0190_a7b2_6c3e_7def_8000_0123_4567_89ab);
        let is_tenant = self.path.starts_with("/v1/tenants");
        self.path.replace("{id}", &if is_tenant { TenantId::from_uuid(id).namespace() } else { id.to_string() })
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
    let hired = Barrier::new(tenants.len());
    let lives = tenants.iter().map(|(hr, owner)| live(&system, [hr.as_str(), owner, &operator], &routes, &hired));
    tokio::time::timeout(Duration::from_mins(2), join_all(lives)).await.expect("whoever holds a connection waits for no other");
    late_bodies(&system, &tenants[0].0, &tenants[0].1, &routes).await;
}

/// A company whose people get managers, several at a time, and then every route.
async fn live(system: &System, tokens: [&str; 3], routes: &[Route], hired: &Barrier) {
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
    // Nobody's key is in memory then: whoever holds a lock asks for the keys of those whom its command touches.
    if hired.wait().await.is_leader() {
        system.signal("tenure-command-api", "KILL").await;
        system.ready().await;
    }
    hired.wait().await;
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
        let (status, answer) = checked(&route.method, request.send().await.unwrap()).await;
        assert!(status < 500, "{} {}: {status} {answer}", route.method, route.path);
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
    // A role of the tenant's own, which is taken away; and tokens, which are revoked.
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
    let operator = ["token", "--tenant", "platform", "--role", "operator", "--subject", "late"];
    let operator = system.tenure(&operator)["token"].as_str().unwrap().to_owned();
    let with_body = || routes.iter().filter(|route| route.media_type.is_some());
    let jobs = with_body().find(|route| route.path == "/v1/jobs").unwrap();
    let may_write = async || system.post(&clerk, "/v1/jobs", "any", &json!({})).await.0 == 422;
    eventually("the new role is known", may_write).await;
    let by_the_clerk = Late::begin(jobs, &clerk).await;
    let late = join_all(with_body().map(|route| Late::begin(route, route.token_of([hr, owner, &operator])))).await;
    let of_operators = late.iter().filter(|late| late.path.starts_with("/v1/tenants")).count();
    assert!(late.len() > 30 && of_operators > 5, "{} routes, {of_operators} of operators", late.len());
    // All are let in before anybody is kept out.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(system.post(owner, "/v1/roles/removal", "", &json!({"name": "clerk"})).await.0, 204);
    assert_eq!(system.post(owner, "/v1/auth/revocation", "", &json!({"all": true})).await.0, 204);
    assert_eq!(system.post(&operator, "/v1/auth/revocation", "", &json!({"all": true})).await.0, 204);
    let status = async |token: &str| system.post(token, "/v1/jobs", "any", &json!({})).await.0;
    let out = async || (status(hr).await, status(owner).await, status(&operator).await, status(&clerk).await) == (401, 401, 401, 403);
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
