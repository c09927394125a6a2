//! TLS to PostgreSQL, NATS and the collector of traces: real servers with certificates, and all that must be refused.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use events::Position;
use serde_json::json;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use crate::{
    eventstoredb::StandIn,
    servers::{System, eventually, own_nats, own_system_with, own_tls_servers, program, run_dir, skipped},
    store_conformance::{employee, one, tenant},
};

/// An authority, and a server's certificate of it for `localhost` alone.
pub(crate) struct Authority {
    pub(crate) own: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    /// None where `openssl` is missing.
    pub(crate) fn make(name: &str) -> Option<Self> {
        let dir = run_dir().join(format!("authority-{name}"));
        std::fs::create_dir_all(&dir).unwrap();
        let run = |arguments: &str| {
            let output = Command::new("openssl").args(arguments.split(' ')).current_dir(&dir).output().ok()?;
            assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
            Some(())
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
        run(&format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN={name} -addext keyUsage=critical,keyCertSign,cRLSign"))?;
        run(&format!("req -new {key} -keyout server.key -out server.csr -subj /CN=localhost"))?;
        std::fs::write(dir.join("ext"), "subjectAltName=DNS:localhost\nbasicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n")
            .unwrap();
        run("x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out server.pem")?;
        for file in ["server.pem", "ca.pem"] {
            std::fs::set_permissions(dir.join(file), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        }
        Some(Self { own: dir.join("ca.pem"), certificate: dir.join("server.pem"), key: dir.join("server.key") })
    }
    /// Answers TLS with the server's certificate; with these protocols, if a client must name one.
    pub(crate) fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        let chain = CertificateDer::pem_file_iter(&self.certificate).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(&self.key).unwrap();
        platform::tls::use_one_provider();
        let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| (*protocol).into()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A collector of traces with TLS: answers 200 to all, and keeps what it was sent.
struct Collector {
    url: String,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    async fn start(authority: &Authority) -> Self {
        let acceptor = authority.acceptor(&[]);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/v1/traces", listener.local_addr().unwrap().port());
        let received = Arc::<Mutex<Vec<u8>>>::default();
        let kept = Arc::clone(&received);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, kept) = (acceptor.clone(), Arc::clone(&kept));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let (mut request, mut piece) = (Vec::new(), vec![0; 65_536]);
                    loop {
                        match stream.read(&mut piece).await {
                            Ok(read @ 1..) => request.extend_from_slice(&piece[..read]),
                            Ok(0) | Err(_) => return,
                        }
                        if is_whole(&request) {
                            kept.lock().unwrap().append(&mut request);
                            let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
                            if stream.write_all(answer).await.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
        Self { url, received }
    }
    fn knows(&self, text: &str) -> bool {
        self.received.lock().unwrap().windows(text.len()).any(|window| window == text.as_bytes())
    }
}

/// Whether a request's body has come in full.
fn is_whole(request: &[u8]) -> bool {
    let Some(head) = request.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    request.len() >= head + 4 + length.unwrap_or_default()
}

/// Every process and every pool speaks TLS where all that it needs is reached so and nothing else is let in; and whatever is
/// demanded and can't be had ends the start with its reason.
#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_a_server_is_encrypted_and_checked() {
    let (Some(ours), Some(theirs)) = (Authority::make("ours"), Authority::make("theirs")) else {
        skipped("TLS is not tested: there is no `openssl` to make certificates with");
        return;
    };
    let (postgres, nats, password) = own_tls_servers(&ours.certificate, &ours.key).await;
    let collector = Collector::start(&ours).await;
    let ca = ours.own.display().to_string();
    let system = own_system_with(&[
        ("DATABASE_URL", format!("postgres://postgres:{password}@localhost:{postgres}/tls?sslmode=verify-full&sslrootcert={ca}")),
        ("NATS_URL", format!("tls://localhost:{nats}")),
        ("SSL_CERT_FILE", ca),
        ("TENURE_OTLP_URL", collector.url.clone()),
    ])
    .await;
    let token = system.tenant("tls");
    let department = json!({"effective_on": "2000-01-01", "code": "lab", "name": "lab"});
    assert_eq!(system.post(&token, "/v1/departments", "lab", &department).await.0, 201);
    system.settled(&token).await;
    for process in ["tenure-command-api", "tenure-query-api", "tenure-projector"] {
        eventually("the collector has its spans", async || collector.knows(process)).await;
    }
    // The server lets nobody in without TLS, so whoever is there came by it: each process, and the store's own pools.
    let pool = system.pool().await;
    let there: Vec<(String, bool)> = sqlx::query_as(
        "select distinct application_name, ssl from pg_stat_activity join pg_stat_ssl using (pid) where usename like 'tenure\\_%' order by 1",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let names: Vec<&str> = there.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["tenure-command-api", "tenure-projector", "tenure-query-api", "tenure-relay", "tenure-store"] {
        assert!(names.iter().any(|there| there.starts_with(name)), "{names:?}");
    }
    assert!(there.iter().all(|(_, ssl)| *ssl));
    pool.close().await;
    what_can_not_work_is_refused(&system, &ours, &theirs, [postgres, nats]).await;
    a_collector_of_strangers_gets_nothing_and_the_log_says_so(&system, &ours, &theirs, &token).await;
}

async fn what_can_not_work_is_refused(system: &System, ours: &Authority, theirs: &Authority, [postgres, nats]: [u16; 2]) {
    // The private server of any system listens on 127.0.0.1 without TLS.
    let plain = crate::servers::system().await.database_url.parse::<PgConnectOptions>().unwrap().get_port();
    let plain_nats = own_nats().await.rsplit_once(':').unwrap().1.to_owned();
    let url = std::fs::read_to_string(system.home.join("secrets/url-tenure_relay")).unwrap();
    let (base, _) = url.split_once('?').unwrap();
    let (ca, strange) = (ours.own.display(), theirs.own.display());
    let database = |host: &str, query: &str| format!("{}?{query}", base.replace("@localhost:", &format!("@{host}:")));
    let good = database("localhost", &format!("sslmode=verify-full&sslrootcert={ca}"));
    let broker = format!("tls://localhost:{nats}");
    for (what, database_url, nats_url, authorities, reason) in [
        (
            "an authority of strangers",
            database("localhost", &format!("sslmode=verify-full&sslrootcert={strange}")),
            &*broker,
            &ours.own,
            "UnknownIssuer",
        ),
        (
            "a mode of half a check",
            database("localhost", &format!("sslmode=verify-ca&sslrootcert={ca}")),
            &broker,
            &ours.own,
            "verify-full",
        ),
        ("public authorities only", database("localhost", "sslmode=verify-full"), &broker, &ours.own, "UnknownIssuer"),
        ("another name", database("127.0.0.1", &format!("sslmode=verify-full&sslrootcert={ca}")), &broker, &ours.own, "not valid for name"),
        ("no file", database("localhost", "sslmode=verify-full&sslrootcert=/nowhere/ca.pem"), &broker, &ours.own, "/nowhere/ca.pem"),
        (
            "a server without TLS",
            base.replace(&format!("@localhost:{postgres}"), &format!("@127.0.0.1:{plain}")) + "?sslmode=require",
            &broker,
            &ours.own,
            "does not support TLS",
        ),
        ("no TLS where it is demanded", database("localhost", "sslmode=disable"), &broker, &ours.own, "no encryption"),
        ("a broker of strangers", good.clone(), &broker, &theirs.own, "UnknownIssuer"),
        ("a broker by another name", good.clone(), &format!("tls://127.0.0.1:{nats}"), &ours.own, "not valid for name"),
        ("a broker without TLS", good.clone(), &format!("tls://127.0.0.1:{plain_nats}"), &ours.own, "NATS at tls://"),
        ("a broker by web sockets", good.clone(), &format!("wss://localhost:{nats}"), &ours.own, "wss://"),
        ("authorities that are not there", good.clone(), &broker, &PathBuf::from("/nowhere/ca.pem"), "SSL_CERT_FILE"),
    ] {
        let started = Instant::now();
        let output = relay(&database_url, nats_url, authorities).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{what} is taken: {said}");
        assert!(said.contains(reason), "{what}: {reason:?} is not in: {said}");
        assert!(!said.contains("does not answer yet"), "{what} is waited for: {said}");
        eprintln!("{what}: refused after {} ms", started.elapsed().as_millis());
    }
}

/// Runs the relay with these, for as long as it does not end by itself.
async fn relay(database_url: &str, nats_url: &str, authorities: &Path) -> Output {
    let mut command = program("tenure-relay");
    command.envs([
        ("TENURE_LISTEN", "127.0.0.1:0"),
        ("TENURE_DATABASE_URL", database_url),
        ("TENURE_NATS_URL", nats_url),
        ("SSL_CERT_FILE", authorities.to_str().unwrap()),
    ]);
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    tokio::time::timeout(Duration::from_mins(1), command.output()).await.expect("it runs, and should have refused to").unwrap()
}

/// The process serves on; its log and a counter say that traces are lost, and why.
async fn a_collector_of_strangers_gets_nothing_and_the_log_says_so(system: &System, ours: &Authority, theirs: &Authority, token: &str) {
    let collector = Collector::start(theirs).await;
    let log = run_dir().join("lost-traces.log");
    let [port, metrics] =
        [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).map(|free| free.local_addr().unwrap().port());
    let mut command = program("tenure-query-api");
    command
        .envs([
            ("TENURE_LISTEN", format!("127.0.0.1:{port}")),
            ("TENURE_METRICS_LISTEN", format!("127.0.0.1:{metrics}")),
            ("TENURE_DATABASE_URL_FILE", system.home.join("secrets/url-tenure_query").display().to_string()),
            ("TENURE_TOKEN_MAX_LIFETIME", "86400".into()),
            ("SSL_CERT_FILE", ours.own.display().to_string()),
            ("TENURE_OTLP_URL", collector.url.clone()),
        ])
        .stderr(std::fs::File::create(&log).unwrap());
    let mut command = tokio::process::Command::from(command);
    let _child = command.kill_on_drop(true).spawn().unwrap();
    eventually("it answers, says that traces are lost, and counts it", async || {
        let read = system.client.get(format!("http://127.0.0.1:{port}/v1/departments")).bearer_auth(token).send().await;
        let counted = system.client.get(format!("http://127.0.0.1:{metrics}/metrics")).send().await;
        let Ok(counted) = counted else { return false };
        let said = std::fs::read_to_string(&log).unwrap();
        read.is_ok_and(|read| read.status().is_success())
            && said.contains("traces are lost")
            && said.contains("UnknownIssuer")
            && counted.text().await.unwrap().contains("tenure_trace_exports_failed_total")
    })
    .await;
    assert!(collector.received.lock().unwrap().is_empty());
}

/// A server that speaks TLS with a certificate of this authority; its URL. The stand-in itself speaks none.
async fn eventstoredb_behind(authority: &Authority) -> String {
    let (server, acceptor) = (Arc::new(StandIn::start()), authority.acceptor(&["h2"]));
    let address = server.url().trim_start_matches("esdb://").split('?').next().unwrap().to_owned();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, address, server) = (acceptor.clone(), address.clone(), Arc::clone(&server));
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(stream).await else { return };
                let mut behind = tokio::net::TcpStream::connect(&address).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut behind).await;
                drop(server); // It runs for as long as somebody is connected.
            });
        }
    });
    format!("esdb://localhost:{port}?tlsCAFile={}", authority.own.display())
}

/// EventStoreDB's client says of each of these only that it could not connect.
#[tokio::test(flavor = "multi_thread")]
async fn why_eventstoredb_can_not_be_reached_is_told_with_the_remedy() {
    let (Some(ours), Some(theirs)) = (Authority::make("eventstore-ours"), Authority::make("eventstore-theirs")) else {
        skipped("EventStoreDB's certificates are not tested: there is no `openssl` to make them with");
        return;
    };
    let store = store::EsStore::connect(&eventstoredb_behind(&ours).await).await.unwrap();
    let (store, scope) = (store::Store::EventStore(store), tenant());
    let written = store.append(one(scope, employee(scope))).await.unwrap();
    let read = store.read_log(scope, Position::ZERO, 10).await.unwrap();
    assert_eq!(read.iter().map(|event| event.id).collect::<Vec<_>>(), written.event_ids, "over TLS, with an authority of one's own");
    let server = Collector::start(&theirs).await; // Whatever it answers, the certificate comes first.
    let port = server.url.rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
    let (ours, theirs) = (ours.own.display(), theirs.own.display());
    for (url, cause, remedy) in [
        (format!("esdb://localhost:{port}?tlsCAFile={ours}"), "not trusted", "tlsCAFile"),
        (format!("esdb://127.0.0.1:{port}?tlsCAFile={theirs}"), "for another name", "URL"),
        (format!("esdb://localhost:{port}?tls=false"), "speaks TLS", "tls=false"),
    ] {
        match store::EsStore::connect(&url).await {
            Err(store::StoreError::Broken(why)) => {
                assert!(why.contains("EventStoreDB") && why.contains(cause) && why.contains(remedy), "{url}: {why}");
            }
            other => panic!("{url}: {other:?}"),
        }
    }
}
