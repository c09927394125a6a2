//! A stand-in for EventStoreDB: a gRPC server that speaks the calls that the engine uses, for tests where there is no real one.
//! `eventstoredb/README.md` says what of it was seen on a real server, and what follows the server's sources.
//!
//! It keeps what it is told in memory, counts the records that it looks at for each call ([`StandIn::since`]), and can go wrong on
//! purpose ([`StandIn::fault`], [`StandIn::kill`], [`StandIn::away`], [`StandIn::put_back`]).

use std::{
    collections::HashMap,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use events::TenantId;
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

mod behaviour;
pub(crate) mod bounds;
mod calls;
mod faults;
mod log;
mod messages;
mod protocol;
mod rights;
mod service;

pub(crate) use calls::{Kind, Work};
pub(crate) use faults::{Effect, Fault};
pub(crate) use rights::User;

use self::{
    calls::Call,
    faults::Injected,
    log::{Log, Proposed, Record, Written},
    messages::ExpectedRevision,
    rights::Rights,
};

use crate::servers::Stored;

/// Streams of one connection at once, as the server's HTTP has it.
const STREAMS: u32 = 100;

/// A running stand-in. Has threads of its own, so that a test may block. Gone when it is dropped.
pub(crate) struct StandIn {
    server: Arc<Server>,
    runtime: Option<tokio::runtime::Runtime>,
    /// Keeps the port while nobody listens there.
    _reserved: Socket,
    address: SocketAddr,
}

struct Server {
    log: Mutex<Log>,
    /// Grows with each kill: what began in an earlier life writes no more.
    life: AtomicU64,
    calls: Mutex<Vec<Arc<Call>>>,
    faults: Mutex<Vec<Arc<Injected>>>,
    rights: Rights,
    /// Of all connections there are.
    cut: Mutex<CancellationToken>,
    /// Of the listener.
    away: Mutex<Option<CancellationToken>>,
}

/// One client's connection.
struct Connection {
    server: Arc<Server>,
    life: u64,
    cut: CancellationToken,
}

impl StandIn {
    /// Without users: everybody may do everything.
    pub(crate) fn start() -> Self {
        Self::with_users(&[])
    }

    /// With users. A real server has them only over TLS; this one takes them without.
    pub(crate) fn with_users(users: &[User]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("eventstoredb").enable_all().build();
        let reserved = socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let address = reserved.local_addr().unwrap().as_socket().unwrap();
        let server = Arc::new(Server {
            log: Mutex::default(),
            life: AtomicU64::new(0),
            calls: Mutex::default(),
            faults: Mutex::default(),
            rights: Rights { users: users.to_vec() },
            cut: Mutex::default(),
            away: Mutex::new(None),
        });
        let stand_in = Self { server, runtime: Some(runtime.unwrap()), _reserved: reserved, address };
        stand_in.server.write_of_its_own();
        stand_in.back();
        stand_in
    }

    /// The connection string.
    pub(crate) fn url(&self) -> String {
        format!("esdb://{}?tls=false", self.address)
    }

    /// The connection string of a user.
    pub(crate) fn url_of(&self, user: &str, password: &str) -> String {
        format!("esdb://{user}:{password}@{}?tls=false", self.address)
    }

    /// Every record of `$all`.
    pub(crate) fn records(&self) -> Vec<Arc<Record>> {
        self.server.log.lock().unwrap().all().to_vec()
    }

    /// Writes events past the protocol, for tests that need many.
    pub(crate) fn preload(&self, events: impl IntoIterator<Item = (String, Proposed)>) {
        for (stream, event) in events {
            self.server.log.lock().unwrap().append(&stream, ExpectedRevision::Any(()), vec![event], ticks());
        }
    }

    /// The events of a tenant, as the engine writes them, in the order of `$all`.
    pub(crate) fn events_of(&self, tenant: TenantId) -> Vec<Stored> {
        let mut versions: HashMap<String, u64> = HashMap::new();
        let of_tenant = format!("{tenant}.");
        let records = self.records().into_iter().filter(|record| record.stream.starts_with(&of_tenant));
        let event = |record: Arc<Record>| {
            // A mark of the engine's own, which is no event of a command.
            if record.event_type == "ClaimFenced" {
                return None;
            }
            let envelope: serde_json::Value = serde_json::from_slice(&record.metadata).unwrap();
            let id = envelope["event_id"].as_str().unwrap().parse().unwrap();
            let version = versions.entry(record.stream.to_string()).or_default();
            *version += 1;
            Some(Stored { id, position: record.position, stream: record.stream.to_string(), version: *version })
        };
        records.filter_map(event).collect()
    }

    /// Cuts all connections. What is under way is carried out; new connections can be made.
    pub(crate) fn cut(&self) {
        std::mem::take(&mut *self.server.cut.lock().unwrap()).cancel();
    }

    /// Kills the server (`kill -9`) and starts it again with what it has: what was written is there, what was under way is not
    /// carried out.
    pub(crate) fn kill(&self) {
        {
            let mut log = self.server.log.lock().unwrap();
            self.server.life.fetch_add(1, Ordering::Relaxed);
            log.restart();
        }
        self.cut();
    }

    /// Kills the server and does not start it: connections are refused.
    pub(crate) fn away(&self) {
        if let Some(listening) = self.server.away.lock().unwrap().take() {
            listening.cancel();
        }
        self.kill();
    }

    /// Starts the server that was away.
    pub(crate) fn back(&self) {
        let (server, listening) = (Arc::clone(&self.server), CancellationToken::new());
        let runtime = self.runtime.as_ref().unwrap();
        let _within = runtime.enter();
        let listener = socket(self.address);
        listener.listen(1_024).unwrap();
        let listener = TcpListener::from_std(listener.into()).unwrap();
        *self.server.away.lock().unwrap() = Some(listening.clone());
        runtime.spawn(listening.run_until_cancelled_owned(serve(server, listener)));
    }

    /// How much the server has now, for [`Self::put_back`].
    pub(crate) fn backup(&self) -> usize {
        self.server.log.lock().unwrap().len()
    }

    /// Stops the server, puts a backup in place of what it has, and starts it.
    pub(crate) fn put_back(&self, backup: usize) {
        {
            let mut log = self.server.log.lock().unwrap();
            self.server.life.fetch_add(1, Ordering::Relaxed);
            log.put_back(backup);
        }
        self.cut();
    }
}

impl fmt::Debug for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StandIn({})", self.address)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.cut();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A socket on an address that others of this process may have, too.
fn socket(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

async fn serve(server: Arc<Server>, listener: TcpListener) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let cut = server.cut.lock().unwrap().child_token();
        let connection = Connection { life: server.life.load(Ordering::Relaxed), server: Arc::clone(&server), cut };
        tokio::spawn(connect(Arc::new(connection), stream));
    }
}

async fn connect(connection: Arc<Connection>, stream: TcpStream) {
    let _ = stream.set_nodelay(true); // Slower without, and no worse.
    let cut = connection.cut.clone();
    let service = hyper::service::service_fn(move |request| {
        let connection = Arc::clone(&connection);
        async move { Ok::<_, std::convert::Infallible>(service::answer(connection, request).await) }
    });
    let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let serving = http.max_concurrent_streams(STREAMS).serve_connection(TokioIo::new(stream), service);
    cut.run_until_cancelled(serving).await; // However it ends: the client sees it, too.
}

impl Connection {
    fn begin(&self, kind: Kind, stream: &str, asked: String) -> Arc<Call> {
        let call = Arc::new(Call::new(kind, stream, asked));
        self.server.calls.lock().unwrap().push(Arc::clone(&call));
        call
    }

    /// None if the server was killed since the connection was made.
    fn with_log<T>(&self, f: impl FnOnce(&Log) -> T) -> Option<T> {
        let log = self.server.log.lock().unwrap();
        (self.server.life.load(Ordering::Relaxed) == self.life).then(|| f(&log))
    }

    /// None if the server was killed since the connection was made: then nothing is written.
    fn write(&self, stream: &str, expected: ExpectedRevision, events: Vec<Proposed>) -> Option<Written> {
        let mut log = self.server.log.lock().unwrap();
        (self.server.life.load(Ordering::Relaxed) == self.life).then(|| log.append(stream, expected, events, ticks()))
    }
}

impl Server {
    /// Records of the kinds that a server writes before anybody calls.
    fn write_of_its_own(&self) {
        let mut log = self.log.lock().unwrap();
        for (stream, event_type, json, data) in [
            ("$$$projections-master", "$metadata", true, r#"{"$maxCount":1}"#),
            ("$user-admin", "$UserCreated", true, r#"{"loginName":"admin","groups":["$admins"]}"#),
            ("$users", "$User", false, "admin"),
        ] {
            let (id, event_type) = (Uuid::new_v4(), event_type.to_owned());
            let event = Proposed { id, event_type, json, data: data.into(), metadata: Bytes::new() };
            log.append(stream, ExpectedRevision::Any(()), vec![event], ticks());
        }
    }
}

/// The time as the server writes it: units of 100 ns since 1970.
fn ticks() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos() / 100).unwrap_or(i64::MAX)
}
