//! `/livez`, `/readyz`, `/metrics`, and serving HTTP until told to stop.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    Router,
    body::Bytes,
    response::{IntoResponse as _, Response},
    routing::get,
};
use futures::{FutureExt as _, future::BoxFuture};
use http::{StatusCode, header::CONTENT_TYPE};
use serde_json::json;
use tokio::{net::TcpListener, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Config, Problem,
    connections::{ConnectionLimits, Connections, Shared, protocol},
    database,
};

/// Something that must work for the process to be ready: a name and a check that answers within its timeout.
#[derive(Clone)]
pub struct Check {
    /// What is checked, such as `postgres`.
    pub name: &'static str,
    /// The check.
    pub run: Arc<dyn Fn() -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>,
}

impl Check {
    /// A check from a name and an async function.
    pub fn new<F: Future<Output = anyhow::Result<()>> + Send + 'static>(
        name: &'static str,
        run: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self {
        Self { name, run: Arc::new(move || run().boxed()) }
    }
    /// PostgreSQL answers, on a connection of its own: whoever works with the others can't keep it from being asked.
    pub fn postgres(pool: sqlx::PgPool) -> Self {
        let pool = database::apart(&pool, 1);
        Self::new("postgres", move || {
            let pool = pool.clone();
            async move {
                sqlx::raw_sql("select 1").execute(&pool).await?;
                Ok(())
            }
        })
    }
}

const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// For how long a look at the process is good, whoever asks and however often: both routes are open to everybody.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// The routes `/livez` (the process runs) and `/readyz` (every check passes; 503 with the failing names otherwise).
pub fn router(checks: Vec<Check>) -> Router {
    let readiness = Arc::new(Readiness { checks, found: tokio::sync::Mutex::default() });
    Router::new()
        .route("/livez", get(|| async { ([(CONTENT_TYPE, "application/json")], r#"{"status":"alive"}"#) }))
        .route("/readyz", get(move || readiness.clone().answer()))
}

/// The route `/metrics`. What a process counts is not for those who use its API: an API serves it by
/// [`serve_metrics`].
pub fn metrics() -> Router {
    let last: Arc<Mutex<Option<(Instant, Bytes)>>> = Arc::default();
    let text = move || {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let text = match &*last {
            Some((at, text)) if at.elapsed() < GOOD_FOR => text.clone(),
            _ => last.insert((Instant::now(), crate::telemetry::render_metrics().into())).1.clone(),
        };
        std::future::ready(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
    };
    Router::new().route("/metrics", get(text))
}

/// Serves `/metrics` at an address of its own until `stop`, if the settings name one.
pub async fn serve_metrics(config: &Config, stop: CancellationToken) -> anyhow::Result<()> {
    let Some(listen) = config.metrics_listen else { return Ok(()) };
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("can't listen on {listen}; is the port taken? (TENURE_METRICS_LISTEN)"))?;
    tokio::spawn(serve_on(listener, metrics(), ConnectionLimits::of(config), stop, Duration::ZERO));
    Ok(())
}

/// What the checks found last. They run once at a time, and at most once in [`GOOD_FOR`].
struct Readiness {
    checks: Vec<Check>,
    found: tokio::sync::Mutex<Option<(Instant, StatusCode, Bytes)>>,
}

impl Readiness {
    async fn answer(self: Arc<Self>) -> Response {
        // By a task: whoever asks may go away meanwhile, and the next one would begin anew.
        let look = tokio::spawn(async move {
            let mut found = self.found.lock().await;
            match &*found {
                Some((at, status, body)) if at.elapsed() < GOOD_FOR => (*status, body.clone()),
                _ => {
                    let (status, body) = self.look().await;
                    *found = Some((Instant::now(), status, body.clone()));
                    (status, body)
                }
            }
        });
        match look.await {
            Ok((status, body)) => (status, [(CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => Problem::internal(&error).into_response(),
        }
    }
    async fn look(&self) -> (StatusCode, Bytes) {
        let results = futures::future::join_all(self.checks.iter().map(|check| async {
            let failure = match tokio::time::timeout(CHECK_TIMEOUT, (check.run)()).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{error:#}")),
                Err(_) => Some("no answer within a second".to_owned()),
            };
            if let Some(failure) = &failure {
                // The reason may name hosts, so it goes to the log; the answer says only which check failed.
                tracing::warn!(check = check.name, failure, "not ready");
            }
            (check.name, failure.is_none())
        }))
        .await;
        let ready = results.iter().all(|(_, ok)| *ok);
        let checks: serde_json::Map<_, _> =
            results.into_iter().map(|(name, ok)| (name.into(), if ok { "ok" } else { "failing" }.into())).collect();
        let body = json!({ "status": if ready { "ready" } else { "not ready" }, "checks": checks }).to_string();
        (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body.into())
    }
}

/// Serves `app` at the process's address until `stop`, then finishes requests in flight for at most `drain`.
pub async fn serve(config: &Config, app: Router, stop: CancellationToken, drain: Duration) -> anyhow::Result<()> {
    let listen = config.listen;
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("can't listen on {listen}; is the port taken? (TENURE_LISTEN)"))?;
    serve_on(listener, app, ConnectionLimits::of(config), stop, drain).await
}

/// As [`serve`], for a process whose work is a task beside the server: whichever ends first ends the other, so that no process
/// answers that it is well when nothing works any more.
pub async fn serve_beside(
    work: tokio::task::JoinHandle<()>,
    config: &Config,
    app: Router,
    stop: CancellationToken,
    drain: Duration,
) -> anyhow::Result<()> {
    let working = async {
        let ended = work.await;
        stop.cancel();
        ended
    };
    let serving = async {
        let served = serve(config, app, stop.clone(), drain).await;
        stop.cancel();
        served
    };
    let (ended, served) = tokio::join!(working, serving);
    ended.context("the work of this process panicked")?;
    served
}

/// Who sits at the other end of the connection; in the extensions of every request that came over one.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// How long a server that is to stop goes on taking requests, each of which is told to be its connection's last. Who keeps a
/// connection open would otherwise send the next request just when it is closed.
const LINGER: Duration = Duration::from_millis(400);
/// How long the last connections that were taken have for their first request to arrive.
const ARRIVAL: Duration = Duration::from_millis(300);

/// How long a client that had begun to connect has to finish, once nobody else may begin.
const HANDSHAKE: Duration = Duration::from_millis(50);

/// Lets nobody begin to connect any more: the kernel drops the first packet (SYN), which a client sends again after a second, to
/// whoever listens then. A listener that is just closed cuts off those who are connected and wait to be accepted, and there may
/// always be one more.
#[cfg(target_os = "linux")]
fn turn_away(listener: &TcpListener) -> std::io::Result<()> {
    use socket2::SockFilter;
    // Classic BPF over the TCP header: load the byte with the flags; if SYN is set take 0 bytes of the packet, else all.
    const NO_SYN: [SockFilter; 4] = [
        SockFilter::new(0x30, 0, 0, 13),       // ldb [13]
        SockFilter::new(0x45, 0, 1, 0x02),     // jset #SYN
        SockFilter::new(0x06, 0, 0, 0),        // ret #0
        SockFilter::new(0x06, 0, 0, u32::MAX), // ret #-1
    ];
    socket2::SockRef::from(listener).attach_filter(&NO_SYN)
}

/// Only Linux can.
#[cfg(not(target_os = "linux"))]
fn turn_away(_: &TcpListener) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// As [`serve`], on a listener that is bound already.
pub async fn serve_on(
    listener: TcpListener,
    app: Router,
    limits: ConnectionLimits,
    stop: CancellationToken,
    drain: Duration,
) -> anyhow::Result<()> {
    tracing::info!(address = %listener.local_addr()?, connections = limits.in_all, "listening");
    let (connections, tasks, closing) = (Connections::new(limits), TaskTracker::new(), CancellationToken::new());
    let shared = Shared { app, protocol: protocol().into(), stopping: stop.clone(), closing: closing.clone() };
    let mut lingered = Box::pin(async {
        stop.cancelled().await;
        tokio::time::sleep(LINGER).await;
        if let Err(error) = turn_away(&listener) {
            tracing::debug!(%error, "clients that connect in the last moment may be cut off");
        }
        tokio::time::sleep(HANDSHAKE).await;
    });
    let over = async {
        stop.cancelled().await;
        tokio::time::sleep(LINGER * 2).await;
    };
    tokio::pin!(over);
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            () = &mut over => break,
            // Whoever is in the backlog is taken first.
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => (stream, peer.ip()),
                Err(error) => {
                    // Out of file descriptors, or the peer has gone: neither ends the server.
                    tracing::warn!(%error, "accept failed");
                    connections.make_room();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = &mut lingered => break,
        };
        let Some(place) = connections.enter(peer) else { continue };
        let _ = stream.set_nodelay(true);
        tasks.spawn(place.serve(stream, peer, shared.clone()));
    }
    drop(lingered); // It looks at the listener.
    drop(listener);
    tokio::time::sleep(ARRIVAL).await;
    tracing::info!(connections = connections.count(), "stopping");
    closing.cancel();
    tasks.close();
    if tokio::time::timeout(drain, tasks.wait()).await.is_err() {
        tracing::warn!(seconds = drain.as_secs(), "requests were still in flight after the drain time");
    }
    Ok(())
}

/// Cancelled on SIGTERM or SIGINT.
pub fn stop_signal() -> CancellationToken {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            let stop = stop.clone();
            tokio::spawn(async move {
                tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
                stop.cancel();
            });
        }
        (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "can't listen for SIGTERM and SIGINT"),
    }
    stop
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use tower::ServiceExt as _;

    async fn ready(checks: Vec<Check>) -> (StatusCode, serde_json::Value) {
        let response = router(checks).oneshot(http::Request::get("/readyz").body(axum::body::Body::empty()).unwrap()).await.unwrap();
        let status = response.status();
        (status, serde_json::from_slice(&axum::body::to_bytes(response.into_body(), 4096).await.unwrap()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_names_what_fails_or_hangs_and_says_no_more() {
        let fine = Check::new("fine", || async { Ok(()) });
        assert_eq!(ready(vec![fine.clone()]).await.0, 200);
        let broken = Check::new("broken", || async { anyhow::bail!("host db.internal refused") });
        let hanging = Check::new("hanging", std::future::pending);
        let (status, body) = ready(vec![fine, broken, hanging]).await;
        assert_eq!(status, 503);
        assert_eq!(body, json!({"status": "not ready", "checks": {"fine": "ok", "broken": "failing", "hanging": "failing"}}));
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_ask_a_check_runs_once_a_second() {
        static RUNS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let count = || RUNS.load(std::sync::atomic::Ordering::Relaxed);
        let check = Check::new("slow", || async {
            RUNS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok(())
        });
        let app = router(vec![check]);
        let ask = || app.clone().oneshot(http::Request::get("/readyz").body(axum::body::Body::empty()).unwrap());
        let impatient = (0..100).map(|_| tokio::time::timeout(Duration::from_millis(10), ask()));
        assert!(futures::future::join_all(impatient).await.iter().all(Result::is_err));
        let patient = futures::future::join_all((0..100).map(|_| ask())).await;
        assert!(patient.into_iter().all(|answer| answer.unwrap().status() == 200));
        assert_eq!(count(), 1, "who goes away does not begin it anew");
        tokio::time::sleep(GOOD_FOR).await;
        assert_eq!(ask().await.unwrap().status(), 200);
        assert_eq!(count(), 2);
    }

    #[tokio::test]
    async fn only_the_metrics_own_listener_tells_what_is_counted() {
        let status = async |app: Router| {
            app.oneshot(http::Request::get("/metrics").body(axum::body::Body::empty()).unwrap()).await.unwrap().status()
        };
        assert_eq!((status(router(vec![])).await.as_u16(), status(metrics()).await.as_u16()), (404, 200));
    }

    #[tokio::test]
    async fn a_request_in_flight_survives_the_stop_and_a_new_one_is_refused() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let app = Router::new().route(
            "/slow",
            get(|| async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                "done"
            }),
        );
        let server = tokio::spawn(serve_on(listener, app, ConnectionLimits::default(), stop.clone(), Duration::from_secs(5)));
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop.cancel();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
        server.await.unwrap().unwrap();
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    }

    /// Clients that open a connection for each request, all the while: none may have been let in and then be cut off.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_connects_while_it_stops_is_answered_or_refused() {
        use std::{
            io::{Read as _, Write as _},
            net::TcpStream,
        };
        let ask = |mut server: TcpStream| {
            server.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
            let mut answer = String::new();
            server.read_to_string(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        let asked_until_refused = move |address: SocketAddr| {
            while let Ok(server) = TcpStream::connect(address) {
                let answer = ask(server).unwrap();
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
            }
        };
        for _ in 0..3 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let stop = CancellationToken::new();
            // Threads, not tasks: they connect while the server is about to close its listener.
            let clients: Vec<_> = (0..16).map(|_| tokio::task::spawn_blocking(move || asked_until_refused(address))).collect();
            let server =
                tokio::spawn(serve_on(listener, router(vec![]), ConnectionLimits::default(), stop.clone(), Duration::from_secs(5)));
            tokio::time::sleep(Duration::from_millis(50)).await;
            stop.cancel();
            server.await.unwrap().unwrap();
            for client in clients {
                client.await.unwrap();
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn who_is_turned_away_is_not_let_in_and_who_was_let_in_is_served() {
        use tokio::{
            io::{AsyncReadExt as _, AsyncWriteExt as _},
            net::TcpStream,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut before = TcpStream::connect(address).await.unwrap();
        turn_away(&listener).unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await.is_err());
        let (mut accepted, _) = listener.accept().await.unwrap();
        drop(listener);
        before.write_all(b"ask").await.unwrap();
        accepted.read_exact(&mut [0; 3]).await.unwrap();
        accepted.write_all(b"answer").await.unwrap();
        before.read_exact(&mut [0; 6]).await.unwrap();
    }

    #[tokio::test]
    async fn an_endless_head_is_cut_off() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve_on(listener, Router::new(), ConnectionLimits::default(), stop.clone(), Duration::from_secs(5)));
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(70_000));
        let _ = client.write_all(head.as_bytes()).await;
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 431");
        drop(client);
        stop.cancel();
        server.await.unwrap().unwrap();
    }
}
