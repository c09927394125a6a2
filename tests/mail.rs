//! Mail, as the worker sends it: to a server that does whatever a server can do wrong, and to a real one (aiosmtpd), whose reading of
//! the messages is Python's own. The real one is skipped loudly where there is no Python.

mod scripted;

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use ::worker::mail::{MailOutcome, MailPatience, MailSettings, Mailer, NotTaken, SmtpFault, SmtpLogin, SmtpPhase, SmtpSecurity};
use platform::mail::{Language, MailOrder, MailTemplate};
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject as _};
use uuid::Uuid;

use self::scripted::{Does, Scripted, Step};
use crate::{
    servers::{System, eventually, own_system_with, skipped, tenant_of},
    tls::Authority,
};

const ADDRESS: &str = "ada.lovelace@example.com";
const TICKET: &str = "tt_0123456789_secret";

fn settings(host: &str, port: u16, security: SmtpSecurity) -> MailSettings {
    MailSettings {
        host: host.to_owned(),
        port,
        security,
        login: None,
        from: "Tenure <hr@tenure.example>".parse().unwrap(),
        console: "https://hr.example.com/activation".parse().unwrap(),
        patience: MailPatience::default(),
    }
}

fn in_clear(port: u16) -> MailSettings {
    settings("127.0.0.1", port, SmtpSecurity::Off)
}

fn order(to: &str, template: MailTemplate, language: Language) -> MailOrder {
    let fields = [("tenant", "Zürich & Söhne"), ("ticket", TICKET), ("days", "7")];
    let fields: BTreeMap<_, _> = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    MailOrder { template, language, to: to.to_owned(), fields }
}

async fn send(mailer: &Mailer, to: &str) -> MailOutcome {
    let order = order(to, MailTemplate::Invitation, Language::En);
    let mail = mailer.compose(Uuid::from_u128(7), jiff::Timestamp::now(), &order).unwrap();
    mailer.send(&mail).await
}

fn again(phase: SmtpPhase, what: SmtpFault) -> MailOutcome {
    MailOutcome::TryAgain { why: NotTaken { phase, what } }
}

fn refused(phase: SmtpPhase, code: u16) -> MailOutcome {
    MailOutcome::Refused { code: Some(code), why: NotTaken { phase, what: SmtpFault::Code(code) } }
}

fn login(password: &str) -> SmtpLogin {
    SmtpLogin { user: "tenure".to_owned(), password: password.to_owned().into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_says_decides_what_becomes_of_a_mail() {
    use Does::{Floods, Says, SaysAndEnds};
    let cases = [
        (Step::Greeting, Says("421 too busy\r\n"), again(SmtpPhase::Greeting, SmtpFault::Code(421))),
        (Step::Greeting, Says("554 not for you\r\n"), again(SmtpPhase::Greeting, SmtpFault::Code(554))),
        (Step::Greeting, Says("HTTP/1.1 400 Bad Request\r\n\r\n"), again(SmtpPhase::Greeting, SmtpFault::Garbled)),
        (Step::Greeting, Says("\u{0}\u{1}\u{2}\r\n"), again(SmtpPhase::Greeting, SmtpFault::Garbled)),
        (Step::Greeting, SaysAndEnds(""), again(SmtpPhase::Greeting, SmtpFault::Cut)),
        (Step::Greeting, SaysAndEnds("220 mail"), again(SmtpPhase::Greeting, SmtpFault::Cut)),
        (Step::Greeting, Floods, again(SmtpPhase::Greeting, SmtpFault::Cut)),
        (Step::Hello, Says("502 what?\r\n"), again(SmtpPhase::Greeting, SmtpFault::Code(502))),
        (Step::LogIn, Says("535 5.7.8 wrong\r\n"), again(SmtpPhase::LogIn, SmtpFault::Code(535))),
        (Step::LogIn, Says("454 later\r\n"), again(SmtpPhase::LogIn, SmtpFault::Code(454))),
        (Step::Sender, Says("421 closing\r\n"), again(SmtpPhase::Sender, SmtpFault::Code(421))),
        (Step::Sender, Says("530 log in first\r\n"), again(SmtpPhase::Sender, SmtpFault::Code(530))),
        (Step::Sender, Says("553 not your domain\r\n"), again(SmtpPhase::Sender, SmtpFault::Code(553))),
        (Step::Recipient, Says("421 closing\r\n"), again(SmtpPhase::Recipient, SmtpFault::Code(421))),
        (Step::Recipient, Says("450 <ada.lovelace@example.com> busy\r\n"), again(SmtpPhase::Recipient, SmtpFault::Code(450))),
        (Step::Recipient, Says("550-5.1.1 <ada.lovelace@example.com>\r\n550 unknown\r\n"), refused(SmtpPhase::Recipient, 550)),
        (Step::Recipient, Says("354 go ahead\r\n"), again(SmtpPhase::Recipient, SmtpFault::Garbled)),
        (Step::Recipient, SaysAndEnds(""), again(SmtpPhase::Recipient, SmtpFault::Cut)),
        (Step::Data, Says("552 too large\r\n"), refused(SmtpPhase::Data, 552)),
        (Step::Data, Says("451 later\r\n"), again(SmtpPhase::Data, SmtpFault::Code(451))),
        (Step::Data, Says("250 ok\r\n"), again(SmtpPhase::Data, SmtpFault::Garbled)),
        (Step::Content, Says("552 too large\r\n"), refused(SmtpPhase::Content, 552)),
        (Step::Content, Says("452 no room\r\n"), again(SmtpPhase::Content, SmtpFault::Code(452))),
        (Step::Content, Says("354 more\r\n"), again(SmtpPhase::Content, SmtpFault::Garbled)),
        (Step::Content, SaysAndEnds(""), again(SmtpPhase::Content, SmtpFault::Cut)),
        (Step::Content, SaysAndEnds("25"), again(SmtpPhase::Content, SmtpFault::Cut)),
        (Step::Content, SaysAndEnds("250 taken"), again(SmtpPhase::Content, SmtpFault::Cut)),
        (Step::Content, Floods, again(SmtpPhase::Content, SmtpFault::Cut)),
        (Step::Content, SaysAndEnds("250 taken\r\n"), MailOutcome::Sent),
        (Step::Content, Says("250-taken\r\n250 and kept\r\n"), MailOutcome::Sent),
    ];
    for (step, does, expected) in cases {
        let server = Scripted::start(Some((step, does)), None).await;
        let mailer = Mailer::believing(MailSettings { login: Some(login("x")), ..in_clear(server.port) }, &[]).unwrap();
        assert_eq!(send(&mailer, ADDRESS).await, expected, "{step:?}: {does:?}");
        // Nobody is named to a server before it is known to take mail from us.
        let named = server.heard().commands.iter().any(|command| command.contains(ADDRESS));
        let came_to_it = matches!(step, Step::Recipient | Step::Data | Step::Content);
        assert_eq!(named, came_to_it, "{step:?}: {does:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_holds_nobody() {
    let steps = [
        (Step::Greeting, "", SmtpPhase::Greeting),
        (Step::Greeting, "220 ma", SmtpPhase::Greeting),
        (Step::Hello, "250-mail.example\r\n", SmtpPhase::Greeting),
        (Step::LogIn, "", SmtpPhase::LogIn),
        (Step::Sender, "", SmtpPhase::Sender),
        (Step::Recipient, "250", SmtpPhase::Recipient),
        (Step::Data, "", SmtpPhase::Data),
        (Step::Content, "", SmtpPhase::Content),
        (Step::Content, "250 taken", SmtpPhase::Content),
    ];
    let silent = steps.map(|(step, text, phase)| async move {
        let server = Scripted::start(Some((step, Does::SaysAndHangs(text))), None).await;
        let short = Duration::from_secs(5);
        let patience = MailPatience { connect: short, answer: short, content: short };
        let settings = MailSettings { login: Some(login("x")), patience, ..in_clear(server.port) };
        let mailer = Mailer::believing(settings, &[]).unwrap();
        assert_eq!(send(&mailer, ADDRESS).await, again(phase, SmtpFault::Silent), "{step:?}: {text:?}");
    });
    futures::future::join_all(silent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listens() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mailer = Mailer::believing(in_clear(port), &[]).unwrap();
    assert_eq!(send(&mailer, ADDRESS).await, again(SmtpPhase::Connect, SmtpFault::Unreachable));
}

/// After the mail and before its answer nobody knows whether it was taken. It is sent again, and is the same to whoever keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_is_sent_again_is_the_same() {
    let server = Scripted::start(Some((Step::Content, Does::SaysAndEnds(""))), None).await;
    let order = order(ADDRESS, MailTemplate::PasswordReset, Language::Fr);
    let (job, made_at) = (Uuid::now_v7(), jiff::Timestamp::now());
    for _ in 0..2 {
        // Another process may do it.
        let mailer = Mailer::believing(in_clear(server.port), &[]).unwrap();
        let mail = mailer.compose(job, made_at, &order).unwrap();
        assert_eq!(mailer.send(&mail).await, again(SmtpPhase::Content, SmtpFault::Cut));
    }
    let mails = server.heard().mails;
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0], mails[1]);
    let text = String::from_utf8(mails[0].clone()).unwrap();
    assert!(text.contains(&format!("\r\nMessage-ID: <{job}@tenure.example>\r\n")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_the_server_can_not_take_is_refused() {
    let server = Scripted::start(None, None).await;
    let mailer = Mailer::believing(in_clear(server.port), &[]).unwrap();
    let why = NotTaken { phase: SmtpPhase::Recipient, what: SmtpFault::NotOffered };
    assert_eq!(send(&mailer, "jörg@example.com").await, MailOutcome::Refused { code: None, why });
    let commands = server.heard().commands;
    assert!(commands.iter().all(|command| !command.starts_with("MAIL")), "{commands:?}");
}

fn authorities(authority: &Authority) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(&authority.own).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Without TLS, or with another's certificate, nothing is said of anybody; and what is sent before TLS counts for nothing under it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_where_tls_is_not_what_it_should_be() {
    let (Some(authority), Some(other)) = (Authority::make("mail"), Authority::make("no-mail")) else {
        skipped("TLS to mail servers is not tested; install openssl");
        return;
    };
    let forged = "220 go ahead\r\n250-mail.example\r\n250 AUTH PLAIN LOGIN\r\n";
    type Case<'c> = (&'c str, SmtpSecurity, Option<(Step, Does)>, &'c Authority, bool, Option<&'c [SmtpFault]>);
    let cases: [Case; 8] = [
        ("localhost", SmtpSecurity::StartTls, None, &authority, true, None),
        ("localhost", SmtpSecurity::StartTls, None, &authority, false, Some(&[SmtpFault::NotOffered])),
        (
            "localhost",
            SmtpSecurity::StartTls,
            Some((Step::StartTls, Does::Says("454 not now\r\n"))),
            &authority,
            true,
            Some(&[SmtpFault::Code(454)]),
        ),
        ("localhost", SmtpSecurity::StartTls, Some((Step::StartTls, Does::SaysAndEnds(""))), &authority, true, Some(&[SmtpFault::Cut])),
        // The forged lines are no TLS, so the handshake fails on one side or on the other.
        (
            "localhost",
            SmtpSecurity::StartTls,
            Some((Step::StartTls, Does::Says(forged))),
            &authority,
            true,
            Some(&[SmtpFault::Untrusted, SmtpFault::Cut]),
        ),
        ("localhost", SmtpSecurity::StartTls, None, &other, true, Some(&[SmtpFault::Untrusted])),
        ("127.0.0.1", SmtpSecurity::StartTls, None, &authority, true, Some(&[SmtpFault::Untrusted])),
        ("localhost", SmtpSecurity::Tls, None, &authority, true, Some(&[SmtpFault::Untrusted])),
    ];
    for (host, security, script, believed, offers, expected) in cases {
        let server = Scripted::start(script, offers.then(|| authority.acceptor(&[]))).await;
        let settings = MailSettings { login: Some(login("hunter2")), ..settings(host, server.port, security) };
        let mailer = Mailer::believing(settings, &authorities(believed)).unwrap();
        let outcome = send(&mailer, ADDRESS).await;
        let heard = server.heard();
        let case = format!("{host} {security:?} {script:?}: {outcome:?}, heard {heard:?}");
        let Some(expected) = expected else {
            assert_eq!(outcome, MailOutcome::Sent, "{case}");
            assert_eq!(heard.mails.len(), 1, "{case}");
            continue;
        };
        assert!(expected.iter().any(|what| outcome == again(SmtpPhase::Tls, *what)), "{case}");
        let said_too_much = |command: &String| command.contains(ADDRESS) || command.starts_with("AUTH");
        assert!(heard.mails.is_empty() && !heard.commands.iter().any(said_too_much), "{case}");
    }
}

/// A real mail server; it ends with its standard input.
struct Aiosmtpd {
    child: Child,
    ports: Value,
    taken: Arc<Mutex<Vec<Value>>>,
}

const VERSION: &str = "1.4.6";

/// The Python that has aiosmtpd, made at the first call; why there is none.
fn python() -> Result<&'static Path, &'static str> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = PYTHON.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tenure-tools/aiosmtpd");
        let python = folder.join("bin/python");
        let run = |program: &Path, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output().map_err(|error| error.to_string())?;
            if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
        };
        let has_it = format!("import importlib.metadata as m; assert m.version('aiosmtpd') == '{VERSION}'");
        if run(&python, &["-c", &has_it]).is_err() {
            let folder = folder.to_str().ok_or("the path is no text")?;
            run(Path::new("python3"), &["-m", "venv", "--clear", folder])?;
            run(&python, &["-m", "pip", "install", "-q", "--disable-pip-version-check", &format!("aiosmtpd=={VERSION}")])?;
        }
        Ok(python)
    });
    made.as_deref().map_err(String::as_str)
}

impl Aiosmtpd {
    fn start(authority: &Authority) -> Option<Self> {
        let python = match python() {
            Ok(python) => python,
            Err(why) => {
                skipped(&format!("mail to a real server (aiosmtpd) is not tested; install python3 with its venv module: {why}"));
                return None;
            }
        };
        let mut command = Command::new(python);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("mail/server.py")).args([&authority.certificate, &authority.key]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ports = lines.next().expect("the server says where it listens").unwrap();
        let taken = Arc::<Mutex<Vec<Value>>>::default();
        let kept = Arc::clone(&taken);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push(serde_json::from_str(&line).expect("a mail as JSON"));
            }
        });
        Some(Self { child, ports: serde_json::from_str(&ports).unwrap(), taken })
    }
    fn port(&self, name: &str) -> u16 {
        self.ports[name].as_u64().and_then(|port| port.try_into().ok()).unwrap()
    }
    /// The one mail that was taken since the last call.
    async fn one(&self) -> Value {
        eventually("a mail is taken", async || !self.taken.lock().unwrap().is_empty()).await;
        let mut taken = self.taken.lock().unwrap();
        assert_eq!(taken.len(), 1, "{taken:?}");
        taken.remove(0)
    }
}

impl Drop for Aiosmtpd {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_takes_mail_and_reads_what_was_meant() {
    let Some(authority) = Authority::make("aiosmtpd") else {
        skipped("mail to a real server (aiosmtpd) is not tested; install openssl");
        return;
    };
    let Some(server) = Aiosmtpd::start(&authority) else { return };
    let believed = authorities(&authority);
    let mailer = |name: &str, security, password: Option<&str>| {
        let login = password.map(login);
        Mailer::believing(MailSettings { login, ..settings("localhost", server.port(name), security) }, &believed).unwrap()
    };
    let good = Some("päss:w/ord@#");
    let (clear, start_tls, tls) = (
        mailer("plain", SmtpSecurity::Off, None),
        mailer("starttls", SmtpSecurity::StartTls, good),
        mailer("tls", SmtpSecurity::Tls, good),
    );

    // Each template in each language, as Python reads it.
    for (template, language) in MailTemplate::ALL.into_iter().flat_map(|template| Language::ALL.map(|language| (template, language))) {
        let (job, made_at) = (Uuid::now_v7(), "2026-03-01T12:00:00Z".parse().unwrap());
        let order = order(ADDRESS, template, language);
        let mail = start_tls.compose(job, made_at, &order).unwrap();
        assert_eq!(start_tls.send(&mail).await, MailOutcome::Sent);
        let taken = server.one().await;
        let mut fields = order.fields.clone();
        fields.insert("link".to_owned(), format!("https://hr.example.com/activation#ticket={TICKET}"));
        let letter = ::worker::mail::render(template, language, &fields).unwrap();
        let headers = &taken["headers"];
        assert_eq!(taken["text"].as_str().unwrap().replace("\r\n", "\n").trim_end(), letter.body.trim_end());
        for (name, expected) in [
            ("subject", letter.subject.as_str()),
            ("from", "Tenure <hr@tenure.example>"),
            ("to", ADDRESS),
            ("message-id", &format!("<{job}@tenure.example>")),
            ("date", "Sun, 01 Mar 2026 12:00:00 +0000"),
            ("auto-submitted", "auto-generated"),
            ("mime-version", "1.0"),
        ] {
            assert_eq!(headers[name], expected, "{name}: {taken}");
        }
        assert!(headers["content-type"].as_str().unwrap().starts_with("text/plain; charset=\"utf-8\""), "{headers}");
        assert_eq!(headers.as_object().unwrap().len(), 9, "{headers}");
        let way = (&taken["from"], &taken["to"], &taken["tls"], &taken["login"], &taken["defects"]);
        let expected = [json!("hr@tenure.example"), json!([ADDRESS]), true.into(), "tenure".into(), Value::Array(vec![])];
        assert_eq!(way, (&expected[0], &expected[1], &expected[2], &expected[3], &expected[4]));
    }
    for (mailer, is_tls) in [(&tls, true), (&clear, false)] {
        assert_eq!(send(mailer, ADDRESS).await, MailOutcome::Sent);
        assert_eq!(server.one().await["tls"], is_tls);
    }
    assert_eq!(send(&clear, "jörg@example.com").await, MailOutcome::Sent);
    assert_eq!(server.one().await["to"], json!(["jörg@example.com"]));

    for mailer in [&clear, &start_tls, &tls] {
        assert_eq!(send(mailer, "nobody@example.com").await, refused(SmtpPhase::Recipient, 550));
        assert_eq!(send(mailer, "large@example.com").await, refused(SmtpPhase::Content, 552));
    }
    assert_eq!(send(&clear, "busy@example.com").await, again(SmtpPhase::Recipient, SmtpFault::Code(450)));
    assert_eq!(send(&clear, "busy@example.com").await, MailOutcome::Sent);
    server.one().await;
    let wrong = mailer("starttls", SmtpSecurity::StartTls, Some("hunter2"));
    assert_eq!(send(&wrong, ADDRESS).await, again(SmtpPhase::LogIn, SmtpFault::Code(535)));
    let nobody = mailer("tls", SmtpSecurity::Tls, None);
    assert_eq!(send(&nobody, ADDRESS).await, again(SmtpPhase::Sender, SmtpFault::Code(530)));
    let stranger = mailer("plain", SmtpSecurity::StartTls, good);
    assert_eq!(send(&stranger, ADDRESS).await, again(SmtpPhase::Tls, SmtpFault::NotOffered));
    assert!(server.taken.lock().unwrap().is_empty());
}

/// A job that sends a mail: state, code of its error, error, whether its input is kept.
type Job = (String, Option<String>, Option<String>, bool);

async fn jobs(system: &System, token: &str) -> Vec<Job> {
    let pool = system.pool().await;
    let sql =
        "select state, error_code, error, input <> ''::bytea from worker.job where tenant_id = $1 and kind = 'send-mail' order by job_id";
    let jobs = sqlx::query_as(sql).bind(tenant_of(token).uuid()).fetch_all(&pool).await.unwrap();
    pool.close().await;
    jobs
}

/// The lines of a message in quoted-printable, of ASCII.
fn lines(mail: &[u8]) -> Vec<String> {
    let text = String::from_utf8(mail.to_vec()).unwrap();
    text.replace("=\r\n", "").replace("=3D", "=").lines().map(str::to_owned).collect()
}

/// From an invitation to an account, by the mail alone; and what becomes of mails that nobody takes.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_invited_gets_in_by_the_mail() {
    let server = Scripted::start(None, None).await;
    let system = own_system_with(&[
        ("TENURE_SMTP_URL", format!("smtp://127.0.0.1:{}?tls=off", server.port)),
        ("TENURE_MAIL_FROM", "Tenure <hr@tenure.example>".to_owned()),
        ("TENURE_CONSOLE_URL", "https://hr.example.com/activation".to_owned()),
    ])
    .await;
    system.tenant("acme");
    let owner = system.token("acme", "owner");
    let post = async |path: &str, body: &Value| system.post(&owner, path, &Uuid::now_v7().to_string(), body).await;
    let invite = async |email: &str| post("/v1/users", &json!({"email": email, "roles": ["hr"]})).await;

    let (status, invited) = invite(ADDRESS).await;
    assert_eq!(status, 201, "{invited}");
    assert_eq!(invite(ADDRESS).await.0, 409, "no account, and no mail");
    eventually("the invitation is mailed", async || server.heard().mails.len() == 1).await;
    let mail = lines(&server.heard().mails[0]);
    assert!(mail.iter().any(|line| line == "Subject: Your invitation to Tenure"), "{mail:?}");
    let ticket = mail.iter().find_map(|line| line.strip_prefix("https://hr.example.com/activation#ticket=")).expect("a link");
    assert_eq!(invited["ticket"], ticket);
    let activation = json!({"ticket": ticket, "password": "correct horse battery"});
    let activated = system.client.post(format!("{}/v1/auth/activation", system.command_api)).header("host", "acme.localhost");
    assert_eq!(activated.json(&activation).send().await.unwrap().status(), 204);
    eventually("the job is done", async || jobs(&system, &owner).await == [("done".to_owned(), None, None, false)]).await;

    let user = invited["user_id"].as_str().unwrap();
    assert_eq!(post(&format!("/v1/users/{user}/invitation"), &json!({})).await.0, 201);
    eventually("the reset is mailed", async || server.heard().mails.len() == 2).await;
    let mail = lines(&server.heard().mails[1]);
    assert!(mail.iter().any(|line| line == "Subject: Choose a new password for Tenure"), "{mail:?}");

    // Refused for good, with the code; what the server says of the recipient is not kept.
    server.plays(Some((Step::Recipient, Does::Says("550 5.1.1 <grace.hopper@example.com> is unknown\r\n"))));
    assert_eq!(invite("grace.hopper@example.com").await.0, 201);
    eventually("it is refused", async || jobs(&system, &owner).await.iter().any(|job| job.0 == "refused")).await;
    let all = jobs(&system, &owner).await;
    let (_, code, error, _) = all.iter().find(|job| job.0 == "refused").unwrap();
    assert_eq!(code.as_deref(), Some("smtp_550"));
    assert!(error.as_ref().is_some_and(|error| !error.contains("grace")), "{error:?}");

    // While the server ends each connection the mail waits, and is sent once it does not.
    server.plays(Some((Step::Greeting, Does::SaysAndEnds(""))));
    assert_eq!(invite("alan.turing@example.com").await.0, 201);
    let waits = |job: &Job| job.0 == "waiting" && job.1.as_deref() == Some("smtp_cut");
    eventually("it waits for the server", async || jobs(&system, &owner).await.iter().any(waits)).await;
    server.plays(None);
    eventually("it is mailed", async || server.heard().mails.len() == 3).await;
}
