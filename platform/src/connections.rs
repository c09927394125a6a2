//! Connections: how many there are, how long each may keep its place, and which go where there are too many.
//!
//! A connection keeps its place while the server works for it, or while it takes what it is answered. In every other state a
//! deadline runs, which only a request or a part of an answer that was taken puts off: before the first byte, in a head, between
//! requests, while an answer is not read, and in HTTP/2 also while frames come that begin no request. Where all places are taken,
//! connections that have not asked for anything are closed first, then those that have waited for longest, so that somebody new
//! always gets in.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::{IpAddr, Ipv6Addr},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    response::Response,
};
use http::{HeaderValue, StatusCode, Version, header::CONNECTION};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use crate::{Config, Problem, config::TrustedProxies, health::Peer};

/// How many connections a server takes, and for how long it keeps those that ask for nothing.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Of all clients together.
    pub in_all: usize,
    /// Of one address (an IPv6 address counts as its /64) that is not a trusted proxy's.
    pub per_address: usize,
    /// Whose addresses speak for many.
    pub proxies: TrustedProxies,
    /// Between two requests, and while an answer is not taken.
    pub idle: Duration,
    /// Until the first request's head is complete.
    pub first_request: Duration,
}

/// Files that a process needs besides its clients' connections: those to databases, logs, the listener.
const OTHER_FILES: u64 = 256;
/// Until the first request's head is complete, where connections may be idle for longer.
const FIRST_REQUEST: Duration = Duration::from_secs(30);
/// For a connection that was told to end, to send what is on the way.
const FAREWELL: Duration = Duration::from_secs(1);

impl ConnectionLimits {
    /// The limits that the config sets; never more connections than the process may have files, as many of which it asks for as
    /// it can get.
    pub fn of(config: &Config) -> Self {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let most = rustix::process::Rlimit { current: files.maximum, maximum: files.maximum };
        let files = if rustix::process::setrlimit(rustix::process::Resource::Nofile, most).is_ok() { files.maximum } else { files.current };
        let room = files.map_or(usize::MAX, |files| usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX).max(1));
        let idle = Duration::from_secs(config.idle_timeout);
        Self {
            in_all: config.max_connections.min(room),
            per_address: config.address_connections,
            proxies: config.trusted_proxies.clone(),
            idle,
            first_request: idle.min(FIRST_REQUEST),
        }
    }
}

/// As without any setting.
impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            in_all: 8192,
            per_address: 1024,
            proxies: TrustedProxies::default(),
            idle: Duration::from_secs(75),
            first_request: FIRST_REQUEST,
        }
    }
}

/// The connections of one server.
pub(crate) struct Connections {
    limits: ConnectionLimits,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    by_address: HashMap<IpAddr, HashMap<u64, Arc<Connection>>>,
    in_all: usize,
    last: u64,
}

/// A connection's place, until this is dropped.
pub(crate) struct ConnectionSlot {
    of: Arc<Connections>,
    address: IpAddr,
    number: u64,
    connection: Arc<Connection>,
}

/// A connection as its task, its requests and the list of all see it.
struct Connection {
    since: Instant,
    idle: Duration,
    /// Milliseconds after `since`; holds while the server does not work for it.
    deadline: AtomicU64,
    /// Requests, and parts of answers, that the server works on.
    working: AtomicUsize,
    /// Answers of which the server has more to send.
    sending: AtomicUsize,
    /// Whether a request's head ever was complete.
    asked: AtomicBool,
    /// Whether the client speaks HTTP/2, in which the server also writes what answers nothing.
    framed: AtomicBool,
    evicted: Notify,
}

/// Of those that could go, as many at a time as this part of all, so that a flood does not make the server look at all of them for
/// each new one.
const PART_EVICTED: usize = 64;

impl Connections {
    pub(crate) fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self { limits, open: Mutex::default() })
    }
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.open().in_all
    }
    /// A place for a new one; others make room for it if they must. `None` where the server works for all of them.
    pub(crate) fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<ConnectionSlot> {
        let address = network(peer.to_canonical());
        let mut open = self.open();
        let own = open.by_address.get(&address).map_or(0, HashMap::len);
        let may_enter = (own < self.limits.per_address
            || self.limits.proxies.include(peer)
            || open.evict(Some(address), self.limits.per_address / PART_EVICTED))
            && (open.in_all < self.limits.in_all || open.evict(None, self.limits.in_all / PART_EVICTED));
        if !may_enter {
            metrics::counter!("http_connections_refused_total").increment(1);
            return None;
        }
        let connection = Arc::new(Connection::new(&self.limits));
        open.last += 1;
        open.in_all += 1;
        let number = open.last;
        open.by_address.entry(address).or_default().insert(number, connection.clone());
        Some(ConnectionSlot { of: self.clone(), address, number, connection })
    }
    /// Closes some that ask for nothing, where the process can't open more files.
    pub(crate) fn make_room(&self) {
        self.open().evict(None, self.limits.in_all / PART_EVICTED);
    }
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Closes those that the server does not work for, of one address or of all: those first that have asked for nothing, and then
    /// by their deadlines. Whether there were any.
    fn evict(&mut self, address: Option<IpAddr>, at_most: usize) -> bool {
        let of = |(address, connections): (&IpAddr, &HashMap<u64, Arc<Connection>>)| {
            let address = *address;
            let quiet = connections.iter().filter(|(_, connection)| connection.working.load(Relaxed) == 0);
            quiet.map(|(number, connection)| (connection.asked.load(Relaxed), connection.deadline(), address, *number)).collect::<Vec<_>>()
        };
        let mut quiet: Vec<_> = match address {
            Some(address) => self.by_address.get_key_value(&address).map(of).unwrap_or_default(),
            None => self.by_address.iter().flat_map(of).collect(),
        };
        let at_most = at_most.clamp(1, quiet.len().max(1));
        if quiet.len() > at_most {
            quiet.select_nth_unstable(at_most);
            quiet.truncate(at_most);
        }
        for (_, _, address, number) in &quiet {
            if let Some(connection) = self.remove(*address, *number) {
                connection.evicted.notify_one();
                metrics::counter!("http_connections_closed_total", "why" => "crowded").increment(1);
            }
        }
        !quiet.is_empty()
    }
    fn remove(&mut self, address: IpAddr, number: u64) -> Option<Arc<Connection>> {
        let own = self.by_address.get_mut(&address)?;
        let connection = own.remove(&number)?;
        if own.is_empty() {
            self.by_address.remove(&address);
        }
        self.in_all -= 1;
        Some(connection)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.of.open().remove(self.address, self.number);
    }
}

impl Connection {
    fn new(limits: &ConnectionLimits) -> Self {
        Self {
            since: Instant::now(),
            idle: limits.idle,
            deadline: AtomicU64::new(milliseconds(limits.first_request)),
            working: AtomicUsize::new(0),
            sending: AtomicUsize::new(0),
            asked: AtomicBool::new(false),
            framed: AtomicBool::new(false),
            evicted: Notify::new(),
        }
    }
    fn deadline(&self) -> Instant {
        self.since + Duration::from_millis(self.deadline.load(Relaxed))
    }
    /// Whether it is to be closed.
    fn is_over(&self) -> bool {
        self.working.load(Relaxed) == 0 && self.deadline() <= Instant::now()
    }
    /// From now it may be idle for as long as any.
    fn put_off(&self) {
        self.deadline.fetch_max(milliseconds(self.since.elapsed() + self.idle), Relaxed);
    }
    /// Puts the deadline off by a millisecond a byte of an answer: a client that takes less than a kilobyte a second is closed in the
    /// end.
    fn took(&self, bytes: usize) {
        let answers = if self.framed.load(Relaxed) { self.sending.load(Relaxed) > 0 } else { self.asked.load(Relaxed) };
        if answers {
            let later = self.deadline.load(Relaxed).saturating_add(bytes as u64);
            self.deadline.fetch_max(later.min(milliseconds(self.since.elapsed() + self.idle)), Relaxed);
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The server works for the connection until this is dropped.
struct WorkGuard(Arc<Connection>);

impl WorkGuard {
    fn begin(connection: &Arc<Connection>) -> Self {
        connection.working.fetch_add(1, Relaxed);
        Self(connection.clone())
    }
}

impl Drop for WorkGuard {
    fn drop(&mut self) {
        self.0.put_off();
        self.0.working.fetch_sub(1, Relaxed);
    }
}

/// An answer that is sent in parts. It is the server's turn while the next part is not there yet, and the client's while it does
/// not take the last one.
struct InParts {
    body: Body,
    turn: Option<WorkGuard>,
    connection: Arc<Connection>,
}

impl InParts {
    fn of(body: Body, connection: Arc<Connection>) -> Body {
        connection.sending.fetch_add(1, Relaxed);
        Body::new(Self { body, turn: None, connection })
    }
}

impl HttpBody for InParts {
    type Data = Bytes;
    type Error = axum::Error;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_ready() {
            self.turn = None;
        } else if self.turn.is_none() {
            self.turn = Some(WorkGuard::begin(&self.connection));
        }
        polled
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for InParts {
    fn drop(&mut self) {
        self.connection.sending.fetch_sub(1, Relaxed);
    }
}

/// A client's stream, of which the connection knows what was taken.
struct Wire {
    stream: TcpStream,
    connection: Arc<Connection>,
    document: Option<Document>,
}

/// A problem document that is sent in the place of an answer without one.
struct Document {
    bytes: Vec<u8>,
    sent: usize,
    /// Bytes of the answer that it stands for.
    instead_of: usize,
}

impl Document {
    /// For what the protocol refuses by itself: no request came of it that a handler could answer.
    fn instead_of(answer: &[u8]) -> Option<Self> {
        let status = answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
        let (code, detail) = match status {
            b"400" => ("malformed_request", "this is no HTTP request; check what stands in its path and headers"),
            b"414" => ("uri_too_long", "the path is too long"),
            b"431" => ("headers_too_large", "path and headers are longer than 64 KiB together, or there are too many of them"),
            _ => return None,
        };
        // Ours say which request they are for, and have a body.
        let text = std::str::from_utf8(answer).ok()?;
        if !text.ends_with("\r\n\r\n") || !text.contains("content-length: 0\r\n") || text.contains("x-request-id: ") {
            return None;
        }
        let status = StatusCode::from_bytes(status).ok()?;
        let body = Problem::new(status, code, detail).document().to_string();
        let head = text.trim_end().replace("content-length: 0", &format!("content-length: {}", body.len()));
        let bytes = format!("{head}\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n\r\n{body}").into_bytes();
        Some(Self { bytes, sent: 0, instead_of: answer.len() })
    }
}

impl Wire {
    /// Sends a document in the place of these bytes, if they are an answer without one. `None` where they are to be sent as they are.
    fn poll_document(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Option<std::io::Result<usize>>> {
        if self.document.is_none() {
            self.document = Document::instead_of(bytes);
        }
        let Some(document) = &mut self.document else { return Poll::Ready(None) };
        while document.sent < document.bytes.len() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &document.bytes[document.sent..])) {
                Ok(0) => return Poll::Ready(Some(Err(std::io::ErrorKind::WriteZero.into()))),
                Ok(sent) => document.sent += sent,
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        let instead_of = document.instead_of;
        self.document = None;
        Poll::Ready(Some(Ok(instead_of)))
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        if let Some(sent) = ready!(self.poll_document(cx, bytes)) {
            return Poll::Ready(sent);
        }
        let taken = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.connection.took(taken);
        Poll::Ready(Ok(taken))
    }
    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[std::io::IoSlice<'_>]) -> Poll<std::io::Result<usize>> {
        if let [only] = parts
            && let Some(sent) = ready!(self.poll_document(cx, only))
        {
            return Poll::Ready(sent);
        }
        let taken = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, parts))?;
        self.connection.took(taken);
        Poll::Ready(Ok(taken))
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How HTTP is spoken.
pub(crate) type Protocol = auto::Builder<TokioExecutor>;

/// HTTP/1.1 and HTTP/2 with heads of 64 KiB at most. How long a head may take is the connection's to say.
pub(crate) fn protocol() -> Protocol {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(64 * 1024);
    builder.http2().timer(TokioTimer::new()).max_header_list_size(64 * 1024).keep_alive_interval(Duration::from_secs(30));
    builder
}

/// What a server's connections share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) app: Router,
    pub(crate) protocol: Arc<Protocol>,
    /// No more than one request is taken of each.
    pub(crate) stopping: CancellationToken,
    /// No more requests are taken.
    pub(crate) closing: CancellationToken,
}

impl ConnectionSlot {
    /// Serves a client until it goes, nothing is heard of it for too long, or the server stops.
    pub(crate) async fn serve(self, stream: TcpStream, peer: IpAddr, Shared { app, protocol, stopping, closing }: Shared) {
        let connection = &self.connection;
        let asked = connection.clone();
        let service = hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            let framed = request.version() == Version::HTTP_2;
            asked.framed.store(framed, Relaxed);
            asked.asked.store(true, Relaxed);
            let (works, stopping) = (WorkGuard::begin(&asked), stopping.clone());
            let answering = app.clone().call(request);
            async move {
                let Ok(mut response): Result<Response, Infallible> = answering.await;
                // HTTP/2 has no such header: its clients are told otherwise.
                if stopping.is_cancelled() && !framed {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                if framed || response.body().size_hint().exact().is_none() {
                    response = response.map(|body| InParts::of(body, works.0.clone()));
                }
                drop(works);
                Ok::<_, Infallible>(response)
            }
        });
        let wire = TokioIo::new(Wire { stream, connection: connection.clone(), document: None });
        let mut served = pin!(protocol.serve_connection(wire, service));
        let mut deadline = pin!(tokio::time::sleep_until(connection.deadline()));
        let (mut told, mut evicted) = (false, pin!(connection.evicted.notified()));
        loop {
            tokio::select! {
                biased;
                ended = &mut served => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "connection ended");
                    }
                    return;
                }
                () = &mut evicted => return,
                () = closing.cancelled(), if !told => {
                    told = true;
                    served.as_mut().graceful_shutdown();
                }
                () = &mut deadline => {
                    if !connection.is_over() {
                        // While the server works there is no deadline, and who is closed is so a moment late.
                        let next = connection.deadline().max(Instant::now() + FAREWELL);
                        deadline.as_mut().reset(next);
                    } else if told {
                        metrics::counter!("http_connections_closed_total", "why" => "idle").increment(1);
                        return;
                    } else {
                        told = true;
                        served.as_mut().graceful_shutdown();
                        deadline.as_mut().reset(Instant::now() + FAREWELL);
                    }
                }
            }
        }
    }
}

/// Whoever has one address of IPv6 has its /64.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{router, serve_on};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn limits(in_all: usize, per_address: usize) -> ConnectionLimits {
        ConnectionLimits { in_all, per_address, proxies: "10.0.0.0/8".parse().unwrap(), ..ConnectionLimits::default() }
    }
    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_ask_for_nothing_go_first_and_those_in_work_stay() {
        let connections = Connections::new(limits(4, 9));
        let enter = |n: u8| connections.enter(IpAddr::from([192, 0, 2, n]));
        let is_there = |place: &Option<ConnectionSlot>| {
            let place = place.as_ref().unwrap();
            connections.open().by_address.get(&place.address).is_some_and(|own| own.contains_key(&place.number))
        };
        let [works, asked, silent, newer] = [1, 2, 3, 4].map(enter);
        let turn = WorkGuard::begin(&works.as_ref().unwrap().connection);
        for place in [&works, &asked] {
            place.as_ref().unwrap().connection.asked.store(true, Relaxed);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        let fifth = enter(5);
        assert!(fifth.is_some() && !is_there(&silent) && [&works, &asked, &newer].into_iter().all(is_there));
        let sixth = enter(6);
        assert!(!is_there(&newer), "the one of two that came first");
        for place in [&fifth, &sixth] {
            place.as_ref().unwrap().connection.asked.store(true, Relaxed);
        }
        let seventh = enter(7);
        assert!(!is_there(&asked) && is_there(&works), "of those that asked, the one that did so first");
        let turns: Vec<_> = [&fifth, &sixth, &seventh].map(|place| WorkGuard::begin(&place.as_ref().unwrap().connection)).into();
        assert!(enter(8).is_none(), "the server works for all of them");
        drop(turn);
        assert!(enter(8).is_some() && !is_there(&works));
        drop((works, asked, silent, newer, fifth, sixth, seventh, turns));
        assert_eq!((connections.count(), connections.open().by_address.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_makes_room_among_its_own_and_a_proxy_has_no_bound() {
        let connections = Connections::new(limits(100, 3));
        let other = connections.enter(address("192.0.2.1"));
        let own: Vec<_> = (1..=9).map(|n| connections.enter(address(&format!("2001:db8::{n}")))).collect();
        assert!(own.iter().all(Option::is_some) && other.is_some());
        assert_eq!(connections.count(), 4, "one /64 has three places");
        let many: Vec<_> = (0..9).map(|_| connections.enter(address("10.1.2.3"))).collect();
        assert_eq!(connections.count(), 13);
        drop((own, many, other));
        assert_eq!(connections.count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_put_off_by_work_and_by_what_is_taken() {
        let place = Connections::new(limits(9, 9)).enter(address("192.0.2.1")).unwrap();
        let connection = &place.connection;
        let left = || connection.deadline().saturating_duration_since(Instant::now());
        assert_eq!(left(), FIRST_REQUEST);
        connection.took(10_000);
        assert_eq!(left(), FIRST_REQUEST, "nothing was asked for yet");
        let turn = WorkGuard::begin(connection);
        connection.asked.store(true, Relaxed);
        tokio::time::advance(Duration::from_mins(5)).await;
        assert!(!connection.is_over());
        drop(turn);
        assert_eq!(left(), Duration::from_secs(75));
        tokio::time::advance(Duration::from_secs(50)).await;
        connection.took(20_000);
        assert_eq!(left(), Duration::from_secs(45), "a millisecond a byte");
        connection.took(10_000_000);
        assert_eq!(left(), Duration::from_secs(75), "no more than for any");
        connection.framed.store(true, Relaxed);
        tokio::time::advance(Duration::from_secs(75)).await;
        connection.took(10_000);
        assert!(connection.is_over(), "what HTTP/2 writes besides answers does not count");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_crowd_of_silent_connections_keeps_nobody_out() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (server, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving = tokio::spawn(serve_on(listener, router(vec![]), limits(50, 1000), stop.clone(), Duration::ZERO));
        let livez = async || {
            let mut client = TcpStream::connect(server).await.unwrap();
            client.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            tokio::time::timeout(Duration::from_secs(20), client.read_to_string(&mut answer)).await.expect("an answer").unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
        };
        let mut silent = Vec::new();
        for n in 0..500 {
            silent.push(TcpStream::connect(server).await.unwrap());
            if n % 50 == 49 {
                livez().await;
            }
        }
        // Those that had to go are told so, long before they would have been idle for too long.
        for client in &mut silent[..400] {
            let read = tokio::time::timeout(Duration::from_secs(20), client.read(&mut [0; 9])).await.expect("it is closed");
            assert!(matches!(read, Ok(0) | Err(_)));
        }
        stop.cancel();
        serving.await.unwrap().unwrap();
    }
}
