//! Where mail goes and in whose name, from the process's settings. What can't work is refused at start.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use lettre::{Address, message::Mailbox};
use percent_encoding::percent_decode_str;
use platform::{Config, tls::is_this_machine};
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret as _, SecretString};
use url::{Host, Url};

/// What is to be known for sending mail.
#[derive(Debug, Clone)]
pub struct MailSettings {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub security: SmtpSecurity,
    /// With whom to log in there.
    pub login: Option<SmtpLogin>,
    /// In whose name mails are sent.
    pub from: Mailbox,
    /// The page that mails link to.
    pub console: Url,
    /// How long each step may take.
    pub patience: MailPatience,
}

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// TLS from the beginning.
    Tls,
    /// TLS by STARTTLS; without it nothing is sent.
    StartTls,
    /// None; on this machine only.
    Off,
}

/// An account at the mail server.
#[derive(Debug, Clone)]
pub struct SmtpLogin {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: SecretString,
}

/// How long each step of sending a mail may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailPatience {
    /// A connection to one of the server's addresses.
    pub connect: Duration,
    /// An answer.
    pub answer: Duration,
    /// The mail itself and the answer to it. Servers look into a mail before that answer, and whoever leaves earlier has it sent twice.
    pub content: Duration,
}

impl Default for MailPatience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), answer: Duration::from_secs(30), content: Duration::from_mins(1) }
    }
}

const SERVER: &str = "TENURE_SMTP_URL";
const FROM: &str = "TENURE_MAIL_FROM";
const CONSOLE: &str = "TENURE_CONSOLE_URL";
const EXAMPLE: &str = "put smtps://user:password@mail.example.com:465, or smtp://user:password@mail.example.com:587";

impl MailSettings {
    /// None where no mail is configured. The error names the variable.
    pub fn of(config: &Config) -> anyhow::Result<Option<Self>> {
        let (Some(server), Some(from), Some(console)) = (&config.smtp_url, &config.mail_from, &config.console_url) else {
            ensure!(
                config.smtp_url.is_none() && config.mail_from.is_none() && config.console_url.is_none(),
                "{SERVER}, {FROM} and {CONSOLE} go together; set all three, or none"
            );
            return Ok(None);
        };
        let Server { host, port, security, login } = server_of(server.expose_secret())?;
        let (from, console) = (sender_of(from)?, console_of(console)?);
        Ok(Some(Self { host, port, security, login, from, console, patience: MailPatience::default() }))
    }
    /// The page at which somebody takes up a ticket. It stands behind the `#`, so that no server on the way logs it.
    pub(crate) fn link(&self, ticket: &str) -> String {
        let mut link = self.console.clone();
        link.set_fragment(Some(&format!("ticket={ticket}")));
        link.into()
    }
}

struct Server {
    host: String,
    port: u16,
    security: SmtpSecurity,
    login: Option<SmtpLogin>,
}

/// No error quotes the URL: a password may stand anywhere in one that is mistyped.
fn server_of(text: &str) -> anyhow::Result<Server> {
    let url = Url::parse(text).map_err(|error| anyhow!("{SERVER} is no URL ({error}); {EXAMPLE}"))?;
    let (encrypted, default_port) = match url.scheme() {
        "smtps" => (SmtpSecurity::Tls, 465),
        "smtp" => (SmtpSecurity::StartTls, 587),
        _ => bail!("{SERVER} begins with neither smtp:// nor smtps://; {EXAMPLE}"),
    };
    let host = match url.host() {
        Some(Host::Domain(name)) => name.to_ascii_lowercase(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        None => bail!("{SERVER} names no server; {EXAMPLE}"),
    };
    ensure!(ServerName::try_from(host.as_str()).is_ok(), "{SERVER} names a server by what is neither a name nor an address; {EXAMPLE}");
    ensure!(
        matches!(url.path(), "" | "/") && url.fragment().is_none(),
        "{SERVER} has something behind the server; encode `/` and `#` of a password as %2F and %23"
    );
    let security = match (url.query(), encrypted) {
        (None, encrypted) => encrypted,
        (Some("tls=off"), SmtpSecurity::StartTls) if is_this_machine(&host) => SmtpSecurity::Off,
        (Some("tls=off"), SmtpSecurity::StartTls) => bail!("{SERVER} has tls=off and names another machine; leave it out"),
        (Some(_), _) => bail!("{SERVER} has parameters that mean nothing here; `?tls=off` alone does, with smtp:// to this machine"),
    };
    let login = login_of(&url)?;
    Ok(Server { host, port: url.port().unwrap_or(default_port), security, login })
}

fn login_of(url: &Url) -> anyhow::Result<Option<SmtpLogin>> {
    let decode = |text: &str| {
        let text = percent_decode_str(text).decode_utf8().map(String::from).ok();
        let text = text.filter(|text| !text.chars().any(char::is_control));
        text.with_context(|| format!("user or password in {SERVER} is no text; encode what is not a letter or digit, such as %40 for @"))
    };
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        ("", Some(_)) | (_, None) => bail!("{SERVER} has one of user and password; they go together"),
        (user, Some(password)) => Ok(Some(SmtpLogin { user: decode(user)?, password: decode(password)?.into() })),
    }
}

fn sender_of(text: &str) -> anyhow::Result<Mailbox> {
    let no_sender = || anyhow!("{FROM} is {text:?}; put an address in ASCII, such as `Tenure <hr@example.com>`");
    let text = text.trim();
    let (name, address) = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        Some((name, address)) => (Some(name.trim().trim_matches('"')).filter(|name| !name.is_empty()), address),
        None => (None, text),
    };
    let address: Address = plain_address(address).ok_or_else(no_sender)?;
    let named_well = name.is_none_or(|name| !name.chars().any(|c| c.is_control() || "<>\"".contains(c)));
    // With other letters the server would have to take SMTPUTF8 for every mail.
    if !address.to_string().is_ascii() || !named_well {
        return Err(no_sender());
    }
    Ok(Mailbox::new(name.map(str::to_owned), address))
}

/// An address without quoted names: nothing in it ends a command or a header.
pub(super) fn plain_address(text: &str) -> Option<Address> {
    let ends_something = |c: char| c.is_control() || c.is_whitespace() || "<>\"(),;:\\[]".contains(c);
    if text.chars().any(ends_something) {
        return None;
    }
    text.parse().ok()
}

fn console_of(text: &str) -> anyhow::Result<Url> {
    let example = "put the page at which people choose their password, such as https://hr.example.com/activation";
    let url = Url::parse(text).map_err(|error| anyhow!("{CONSOLE} is {text:?}, which is no URL ({error}); {example}"))?;
    let plain = url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    ensure!(plain, "{CONSOLE} has a user, a password or a part behind `#`, where the ticket stands; {example}");
    let encrypted = url.scheme() == "https" || (url.scheme() == "http" && url.host_str().is_some_and(is_this_machine));
    ensure!(encrypted, "{CONSOLE} is {text:?}; the link carries a ticket, so it must begin with https:// (http:// on this machine only)");
    Ok(url)
}

#[cfg(test)]
mod tests {
    use platform::Process;

    use super::*;

    const ALL: [(&str, &str); 3] =
        [(SERVER, "smtps://mail.example.com"), (FROM, "hr@example.com"), (CONSOLE, "https://hr.example.com/activation")];

    fn settings(changed: &[(&str, &str)]) -> anyhow::Result<Option<MailSettings>> {
        let of = |name: &str| changed.iter().chain(&ALL).find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        let database = |name: &str| (name == "TENURE_DATABASE_URL").then(|| "postgres://x".to_owned());
        MailSettings::of(&Config::from_sources(Process::Cli, None, |name| database(name).or_else(|| of(name)))?)
    }

    #[test]
    fn a_url_says_where_mail_goes_and_how() {
        for (url, host, port, security, login) in [
            ("smtps://mail.example.com", "mail.example.com", 465, SmtpSecurity::Tls, None),
            ("smtp://mail.example.com", "mail.example.com", 587, SmtpSecurity::StartTls, None),
            ("smtp://Mail:25/", "mail", 25, SmtpSecurity::StartTls, None),
            ("smtp://127.0.0.1:1025?tls=off", "127.0.0.1", 1025, SmtpSecurity::Off, None),
            ("smtp://localhost?tls=off", "localhost", 587, SmtpSecurity::Off, None),
            ("smtp://[::1]:1025?tls=off", "::1", 1025, SmtpSecurity::Off, None),
            ("smtps://u%40x:p%2F%23%3A@mail:465", "mail", 465, SmtpSecurity::Tls, Some(("u@x", "p/#:"))),
        ] {
            let found = settings(&[(SERVER, url)]).unwrap().unwrap();
            let of_login = found.login.as_ref().map(|login| (login.user.as_str(), login.password.expose_secret()));
            assert_eq!((found.host.as_str(), found.port, found.security, of_login), (host, port, security, login), "{url}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_name() {
        for (name, value, expected) in [
            (SERVER, "mail.example.com", "no URL"),
            (SERVER, "http://mail", "neither smtp:// nor smtps://"),
            (SERVER, "smtp:mail", "names no server"),
            (SERVER, "smtp://ma%20il", "neither a name nor an address"),
            (SERVER, "smtp://mail/ehlo", "behind the server"),
            (SERVER, "smtp://u:p#x@mail", "one of user and password|no URL|behind the server"),
            (SERVER, "smtp://mail?tls=off", "names another machine"),
            (SERVER, "smtps://localhost?tls=off", "mean nothing"),
            (SERVER, "smtp://localhost?tls=opportunistic", "mean nothing"),
            (SERVER, "smtp://localhost?tls=off&x=y", "mean nothing"),
            (SERVER, "smtps://user@mail", "go together"),
            (SERVER, "smtps://:hunter2@mail", "go together"),
            (SERVER, "smtps://user:%00hunter2@mail", "no text"),
            (SERVER, "smtps://user:%ffhunter2@mail", "no text"),
            (FROM, "hr", FROM),
            (FROM, "hr@example.com\r\nBcc: x@example.com", FROM),
            (FROM, "Ten\u{7}ure <hr@example.com>", FROM),
            (FROM, "hr@example.com, other@example.com", FROM),
            (FROM, "hr@example.com <other@example.com", FROM),
            (FROM, "\"h r\"@example.com", FROM),
            (FROM, "jörg@example.com", FROM),
            (CONSOLE, "hr.example.com", "no URL"),
            (CONSOLE, "http://hr.example.com", "must begin with https://"),
            (CONSOLE, "javascript:alert(1)", "must begin with https://"),
            (CONSOLE, "https://hr.example.com/#top", "behind `#`"),
            (CONSOLE, "https://u:hunter2@hr.example.com", "a user, a password"),
        ] {
            let error = format!("{:#}", settings(&[(name, value)]).expect_err(value));
            assert!(expected.split('|').any(|expected| error.contains(expected)), "{value}: {expected:?} is not in {error:?}");
            assert!(error.contains(name) && !error.contains("hunter2"), "{value}: {error}");
        }
    }

    #[test]
    fn all_three_or_none() {
        let with = |given: &[usize]| {
            let given: Vec<_> = given.iter().map(|n| ALL[*n]).collect();
            let of = |name: &str| given.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
            let database = |name: &str| (name == "TENURE_DATABASE_URL").then(|| "postgres://x".to_owned());
            MailSettings::of(&Config::from_sources(Process::Cli, None, |name| database(name).or_else(|| of(name))).unwrap())
        };
        assert!(with(&[]).unwrap().is_none());
        assert!(with(&[0, 1, 2]).unwrap().is_some());
        for some in [&[0][..], &[1], &[2], &[0, 1], &[0, 2], &[1, 2]] {
            assert!(with(some).unwrap_err().to_string().contains("go together"), "{some:?}");
        }
    }

    #[test]
    fn names_of_senders_are_taken_with_or_without_quotes() {
        for (text, name) in [
            ("hr@example.com", None),
            (" <hr@example.com> ", None),
            ("Tenure <hr@example.com>", Some("Tenure")),
            ("\"Tenure, Vienna\" <hr@example.com>", Some("Tenure, Vienna")),
            ("Überall <hr@example.com>", Some("Überall")),
        ] {
            let from = settings(&[(FROM, text)]).unwrap().unwrap().from;
            assert_eq!((from.name.as_deref(), from.email.to_string().as_str()), (name, "hr@example.com"), "{text}");
        }
    }

    #[test]
    fn a_ticket_stands_where_no_server_reads_it() {
        let settings = settings(&[(CONSOLE, "https://hr.example.com/a?tenant=acme")]).unwrap().unwrap();
        assert_eq!(settings.link("tt_x_y-z"), "https://hr.example.com/a?tenant=acme#ticket=tt_x_y-z");
    }

    #[test]
    fn a_password_is_not_printed() {
        let settings = settings(&[(SERVER, "smtps://user:hunter2@mail")]).unwrap().unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
