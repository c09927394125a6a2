//! One trace from the command's request through the feed to the projection, as a collector receives it.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;

use crate::servers::own_system_with;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A collector: takes OTLP over HTTP, and keeps the bodies.
struct Collector {
    url: String,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bodies);
        let collect = move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || {
                    while let Some(body) = receive(&stream) {
                        kept.lock().unwrap().push(body);
                    }
                });
            }
        };
        std::thread::Builder::new().name("collector".into()).spawn(collect).unwrap();
        Self { url, bodies }
    }
    /// Whether some text stands in anything that was sent.
    fn knows(&self, text: &str) -> bool {
        self.bodies.lock().unwrap().iter().any(|body| body.windows(text.len()).any(|window| window == text.as_bytes()))
    }
    /// The services that have sent spans of a trace. A message holds one service's spans, ids and names as they are.
    fn services(&self, trace: u128) -> BTreeSet<&'static str> {
        let has = |body: &[u8], what: &[u8]| body.windows(what.len()).any(|window| window == what);
        let bodies = self.bodies.lock().unwrap();
        let of_trace: Vec<_> = bodies.iter().filter(|body| has(body, &trace.to_be_bytes())).collect();
        let names = ["tenure-command-api", "tenure-projector", "tenure-query-api"];
        names.into_iter().filter(|name| of_trace.iter().any(|body| has(body, name.as_bytes()))).collect()
    }
}

/// One request's body; none once the client is gone.
fn receive(mut stream: &TcpStream) -> Option<Vec<u8>> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n").ok()?;
    Some(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_goes_from_the_command_to_the_projection() {
    let collector = Collector::start();
    let system = own_system_with(&[("TENURE_OTLP_URL", collector.url.clone())]).await;
    let token = system.tenant("canary-slug");
    let body = json!({"code": "d", "name": "CanaryName", "effective_on": "2000-01-01"});
    let request = system.client.post(format!("{}/v1/departments", system.command_api)).bearer_auth(&token).json(&body);
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let response = request.header("idempotency-key", "one").header("traceparent", traceparent).send().await.unwrap();
    assert!(response.status().is_success(), "{}", response.text().await.unwrap());
    system.settled(&token).await;
    let pool = system.pool().await;
    let recorded: Vec<String> = sqlx::query_scalar("select traceparent from event_store.event where event_type = 'DepartmentCreated'")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(recorded.iter().map(|traceparent| &traceparent[3..35]).collect::<Vec<_>>(), [TRACE]);
    let trace = u128::from_str_radix(TRACE, 16).unwrap();
    let expected = BTreeSet::from(["tenure-command-api", "tenure-projector"]);
    let arrival = async {
        while collector.services(trace) != expected {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let arrived = tokio::time::timeout(Duration::from_mins(1), arrival).await;
    assert!(arrived.is_ok(), "spans of the trace came from {:?}", collector.services(trace));
    // Spans name no tenant, no person and no token, also not of requests that are refused.
    let refused = system.client.get(format!("{}/v1/employees?q=CanaryName", system.query_api)).bearer_auth(&token);
    assert_eq!(refused.header("tenure-tenant", "another-canary").send().await.unwrap().status(), 403);
    let later = system.client.get(format!("{}/v1/departments", system.query_api)).bearer_auth(&token);
    let later = later.header("traceparent", "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_eq!(later.send().await.unwrap().status(), 200);
    let sent = async {
        while !collector.services(0x5bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736).contains("tenure-query-api") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), sent).await.expect("what came before it was sent, too");
    let signature = token.rsplit('.').next().unwrap();
    for secret in ["canary-slug", "CanaryName", "another-canary", signature] {
        assert!(!collector.knows(secret), "{secret} stands in a trace");
    }
}
