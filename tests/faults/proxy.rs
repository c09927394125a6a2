//! A network that can be cut: a TCP proxy between the system's processes and a server.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
};

/// Where the proxy leads.
#[derive(Debug, Clone)]
pub(crate) enum Upstream {
    Tcp(String),
    Unix(PathBuf),
}

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing gets through; later it goes on where it stood.
    Frozen,
    /// What the client sends gets through, answers don't; later they do.
    Unanswered,
    /// They are closed, and no new ones can be made.
    Closed,
    /// Those of the moment never carry a byte again, and nobody is told until the end of the cut: then they are reset, as by
    /// a host that was replaced. New ones wait for that, too.
    Lost,
}

/// Connections by what their client says of itself in its first words: a PostgreSQL role, the name of a NATS client. Those
/// that say all of these words.
pub(crate) type Of = &'static [&'static str];

/// Lives as long as its test's runtime.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    cuts: watch::Sender<Cuts>,
}

#[derive(Default)]
struct Cuts {
    now: Option<(Of, Cut)>,
    /// Whose connections were ever closed: who looks only after the cut was mended must not take its connection for a whole one.
    closed: Vec<Of>,
}

impl Proxy {
    pub(crate) async fn to(upstream: Upstream) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (cuts, watched) = watch::channel(Cuts::default());
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, upstream.clone(), watched.clone()));
            }
        });
        Self { address, cuts }
    }
    pub(crate) fn cut(&self, of: Of, how: Cut) {
        self.cuts.send_modify(|cuts| {
            cuts.now = Some((of, how));
            if how == Cut::Closed {
                cuts.closed.push(of);
            }
        });
    }
    pub(crate) fn mend(&self) {
        self.cuts.send_modify(|cuts| cuts.now = None);
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn carry(client: TcpStream, upstream: Upstream, watched: watch::Receiver<Cuts>) {
    let older = watched.borrow().closed.len();
    let _ = client.set_nodelay(true);
    let server: Box<dyn Stream> = match upstream {
        Upstream::Tcp(address) => match TcpStream::connect(address).await {
            Ok(server) => {
                let _ = server.set_nodelay(true);
                Box::new(server)
            }
            Err(_) => return,
        },
        Upstream::Unix(path) => match UnixStream::connect(path).await {
            Ok(server) => Box::new(server),
            Err(_) => return,
        },
    };
    let (from_client, to_client) = tokio::io::split(Box::new(client) as Box<dyn Stream>);
    let (from_server, to_server) = tokio::io::split(server);
    let line = Line { watched, older, hello: Arc::default(), lost: Arc::default() };
    // Whoever ends, ends all of it.
    tokio::select! {
        () = line.clone().pump(from_client, to_server, false) => {}
        () = line.clone().pump(from_server, to_client, true) => {}
        () = line.watch() => {}
    }
}

#[derive(Clone)]
struct Line {
    watched: watch::Receiver<Cuts>,
    /// How often connections were closed before this one was made.
    older: usize,
    hello: Arc<Mutex<String>>,
    lost: Arc<AtomicBool>,
}

impl Line {
    /// What holds for this connection now.
    fn fate(&mut self) -> Option<Cut> {
        let cuts = self.watched.borrow_and_update();
        let hello = self.hello.lock().unwrap();
        let me = |of: Of| of.iter().all(|word| hello.contains(word));
        if cuts.closed[self.older..].iter().any(|of| me(of)) {
            return Some(Cut::Closed);
        }
        let (of, how) = cuts.now?;
        me(of).then_some(how)
    }

    /// Returns when the connection is to be closed.
    async fn watch(mut self) {
        loop {
            match self.fate() {
                Some(Cut::Closed) => return,
                Some(Cut::Lost) => self.lost.store(true, Ordering::Relaxed),
                None if self.lost.load(Ordering::Relaxed) => return,
                Some(Cut::Frozen | Cut::Unanswered) | None => {}
            }
            if self.watched.changed().await.is_err() {
                return;
            }
        }
    }

    async fn pump(mut self, mut from: ReadHalf<Box<dyn Stream>>, mut to: WriteHalf<Box<dyn Stream>>, answers: bool) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from.read(&mut buffer).await.unwrap_or(0);
            if !answers && self.hello.lock().unwrap().len() < 1024 {
                self.hello.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read.min(1024)]));
            }
            // An end, too, gets through only when bytes do.
            loop {
                match self.fate() {
                    None => break,
                    Some(Cut::Unanswered) if !answers => break,
                    Some(_) if self.watched.changed().await.is_err() => return,
                    Some(_) => {}
                }
            }
            if read == 0 {
                return;
            }
            if !self.lost.load(Ordering::Relaxed) && to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }
}
