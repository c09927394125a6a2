//! A mail server that does as the test says: at one step it answers otherwise, falls silent, or ends the connection.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

/// What the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Greeting,
    Hello,
    StartTls,
    LogIn,
    Sender,
    Recipient,
    Data,
    Content,
}

/// What it does there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Does {
    /// Sends these bytes.
    Says(&'static str),
    /// Sends these bytes and ends the connection.
    SaysAndEnds(&'static str),
    /// Sends these bytes and nothing more, and keeps the connection.
    SaysAndHangs(&'static str),
    /// Sends a line without end.
    Floods,
}

/// The server; it ends when it is dropped.
pub(super) struct Scripted {
    pub(super) port: u16,
    heard: Arc<Mutex<Heard>>,
    script: Arc<Mutex<Script>>,
    serving: JoinHandle<()>,
}

/// At which step the server does otherwise.
type Script = Option<(Step, Does)>;

/// What clients sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    /// Lines outside of mails.
    pub(super) commands: Vec<String>,
    /// Mails, whether or not they were taken.
    pub(super) mails: Vec<Vec<u8>>,
}

/// How the server behaves.
#[derive(Clone)]
struct Play {
    script: Arc<Mutex<Script>>,
    tls: Option<TlsAcceptor>,
    heard: Arc<Mutex<Heard>>,
}

impl Scripted {
    /// Offers STARTTLS where it is given TLS.
    pub(super) async fn start(script: Script, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::<Mutex<Heard>>::default();
        let script = Arc::new(Mutex::new(script));
        let play = Play { script: Arc::clone(&script), tls, heard: Arc::clone(&heard) };
        let serving = tokio::spawn(async move {
            let mut clients = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let play = play.clone();
                // Clients leave when they like; that is no failure.
                clients.spawn(async move { drop(play.serve(stream).await) });
            }
        });
        Self { port, heard, script, serving }
    }
    /// Does otherwise from now on.
    pub(super) fn plays(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }
    pub(super) fn heard(&self) -> Heard {
        self.heard.lock().unwrap().clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Play {
    async fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        self.act(&mut stream, Step::Greeting, "220 mail.example ESMTP\r\n").await?;
        let wants_tls = self.converse(&mut stream, self.tls.is_some()).await?;
        if let (true, Some(tls)) = (wants_tls, &self.tls) {
            let mut stream = BufReader::new(tls.accept(stream).await?);
            self.converse(&mut stream, false).await?;
        }
        Ok(())
    }
    /// Answers commands until the client leaves, or begins with TLS: then true.
    async fn converse<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut BufReader<S>, offers_tls: bool) -> io::Result<bool> {
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(false);
            }
            self.heard.lock().unwrap().commands.push(line.trim_end().to_owned());
            let (step, answer) = match line.split([' ', '\r']).next().unwrap_or_default() {
                "EHLO" if offers_tls => (Step::Hello, "250-mail.example\r\n250 STARTTLS\r\n"),
                "EHLO" => (Step::Hello, "250-mail.example\r\n250 AUTH PLAIN LOGIN\r\n"),
                "STARTTLS" => (Step::StartTls, "220 go ahead\r\n"),
                "AUTH" => (Step::LogIn, "235 welcome\r\n"),
                "MAIL" => (Step::Sender, "250 ok\r\n"),
                "RCPT" => (Step::Recipient, "250 ok\r\n"),
                "DATA" => (Step::Data, "354 go ahead\r\n"),
                _ => {
                    stream.write_all(b"221 bye\r\n").await?;
                    return Ok(false);
                }
            };
            let said = self.act(stream, step, answer).await?;
            if step == Step::StartTls && said.starts_with("220") {
                return Ok(true);
            }
            if step == Step::Data && said.starts_with("354") {
                let mail = read_mail(stream).await?;
                self.heard.lock().unwrap().mails.push(mail);
                self.act(stream, Step::Content, "250 taken\r\n").await?;
            }
        }
    }
    /// Gives this answer, unless the script says otherwise; what was said.
    async fn act<S: AsyncWrite + Unpin>(&self, stream: &mut S, step: Step, answer: &'static str) -> io::Result<&'static str> {
        let script = *self.script.lock().unwrap();
        let does = script.filter(|(at, _)| *at == step).map_or(Does::Says(answer), |(_, does)| does);
        let (said, then) = match does {
            Does::Says(text) => (text, Then::GoesOn),
            Does::SaysAndEnds(text) => (text, Then::Ends),
            Does::SaysAndHangs(text) => (text, Then::Hangs),
            Does::Floods => loop {
                stream.write_all(&[b'2'; 4096]).await?;
            },
        };
        stream.write_all(said.as_bytes()).await?;
        stream.flush().await?;
        match then {
            Then::GoesOn => Ok(said),
            Then::Ends => Err(io::ErrorKind::ConnectionAborted.into()),
            Then::Hangs => std::future::pending().await,
        }
    }
}

enum Then {
    GoesOn,
    Ends,
    Hangs,
}

/// Up to the line that is a dot.
async fn read_mail<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> io::Result<Vec<u8>> {
    let mut mail = Vec::new();
    loop {
        let from = mail.len();
        if stream.read_until(b'\n', &mut mail).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if &mail[from..] == b".\r\n" {
            return Ok(mail);
        }
    }
}
