//! Mail: what a job asks for is rendered, made a message and handed to one mail server (SMTP, RFC 5321), which answers for the
//! rest of the way. [`settings`] says where that is, [`templates`] what is written, [`outcome`] what became of it; [`session`] speaks
//! with the server over a bounded [`wire`].
//!
//! A message has its id and its date from the job, so that each attempt sends the same bytes: where the connection ends between the mail
//! and the answer to it nobody knows whether it was taken, it is sent again, and whoever keeps it can tell that it is the same.

mod outcome;
mod session;
mod settings;
mod templates;
mod wire;

use std::{fmt, time::SystemTime};

use jiff::Timestamp;
use lettre::{
    Address, Message,
    message::{
        Mailbox, SinglePart,
        header::{HeaderName, HeaderValue},
    },
};
use platform::mail::MailOrder;
use rustls::pki_types::CertificateDer;
use uuid::Uuid;

use self::session::{SmtpSession, SmtpTls};
pub use self::{
    outcome::{MailOutcome, NotTaken, SmtpFault, SmtpPhase},
    settings::{MailPatience, MailSettings, SmtpLogin, SmtpSecurity},
    templates::{Letter, NotRendered, render},
};

/// Sends mails to one server, a connection each: they are few, and a connection that is kept can have ended without a word.
pub struct Mailer {
    settings: MailSettings,
    tls: SmtpTls,
}

/// A message that is ready to be sent, as often as it needs.
pub struct Mail {
    from: Address,
    to: Address,
    content: Vec<u8>,
}

/// Why an order is no message. Another attempt does not mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// There is no text.
    #[error(transparent)]
    NotRendered(#[from] NotRendered),
    /// The recipient's address is none.
    #[error("the recipient's address is none that mail can be sent to")]
    Address,
    /// The library refuses to make the message.
    #[error("the message can't be made")]
    Message,
}

impl Unsendable {
    /// For lists of jobs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotRendered(_) => "template",
            Self::Address => "address",
            Self::Message => "message",
        }
    }
}

impl Mailer {
    /// Believes the authorities of this machine, or of `SSL_CERT_FILE`.
    pub fn new(settings: MailSettings) -> anyhow::Result<Self> {
        Self::believing(settings, &rustls_native_certs::load_native_certs().certs)
    }
    /// Believes these authorities and no others.
    pub fn believing(settings: MailSettings, authorities: &[CertificateDer<'static>]) -> anyhow::Result<Self> {
        let tls = SmtpTls::of(&settings, authorities)?;
        Ok(Self { settings, tls })
    }
    /// Makes the message that a job asks for. `made_at` is when somebody asked.
    pub fn compose(&self, job: Uuid, made_at: Timestamp, order: &MailOrder) -> Result<Mail, Unsendable> {
        let mut fields = order.fields.clone();
        let ticket = fields.get("ticket").ok_or_else(|| NotRendered::MissingField("ticket".to_owned()))?;
        let link = self.settings.link(ticket);
        if fields.insert("link".to_owned(), link).is_some() {
            // Where a link leads is said here alone.
            return Err(NotRendered::UnknownField("link".to_owned()).into());
        }
        let letter = render(order.template, order.language, &fields)?;
        let to = settings::plain_address(&order.to).ok_or(Unsendable::Address)?;
        self.message(job, made_at, to, letter)
    }
    fn message(&self, job: Uuid, made_at: Timestamp, to: Address, letter: Letter) -> Result<Mail, Unsendable> {
        let from = &self.settings.from;
        // The library panics over a date before 1970.
        let made_at = SystemTime::from(made_at.max(Timestamp::UNIX_EPOCH));
        let by_a_machine = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
        let message = Message::builder()
            .from(from.clone())
            .to(Mailbox::new(None, to.clone()))
            .subject(letter.subject)
            .date(made_at)
            .message_id(Some(format!("<{job}@{}>", from.email.domain())))
            .raw_header(by_a_machine)
            .singlepart(SinglePart::plain(letter.body));
        let content = message.map_err(|_| Unsendable::Message)?.formatted();
        Ok(Mail { from: from.email.clone(), to, content })
    }
    /// Sends a message once. Nothing that it gives back names anybody.
    pub async fn send(&self, mail: &Mail) -> MailOutcome {
        match self.hand_over(mail).await {
            Ok(()) => MailOutcome::Sent,
            Err(why) => why.into(),
        }
    }
    async fn hand_over(&self, mail: &Mail) -> Result<(), NotTaken> {
        let mut session = SmtpSession::open(&self.settings, &self.tls).await?;
        let sent = session.send(&mail.from, &mail.to, &mail.content).await;
        // Who was not answered says nothing more: it could become a line of the mail.
        if matches!(sent, Ok(()) | Err(NotTaken { what: SmtpFault::Code(_), .. })) {
            session.end().await;
        }
        sent
    }
}

impl Mail {
    /// The message as it is sent.
    pub fn content(&self) -> &[u8] {
        &self.content
    }
}

/// It holds an address and a ticket.
impl fmt::Debug for Mail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use platform::mail::{Language, MailTemplate};

    use super::*;

    fn mailer() -> Mailer {
        let settings = MailSettings {
            host: "127.0.0.1".to_owned(),
            port: 1,
            security: SmtpSecurity::Off,
            login: None,
            from: "Tenure <hr@example.com>".parse().unwrap(),
            console: "https://hr.example.com/activation".parse().unwrap(),
            patience: MailPatience::default(),
        };
        Mailer::believing(settings, &[]).unwrap()
    }

    fn order(to: &str, pairs: &[(&str, &str)]) -> MailOrder {
        let fields: BTreeMap<_, _> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        MailOrder { template: MailTemplate::Invitation, language: Language::De, to: to.to_owned(), fields }
    }

    const FIELDS: [(&str, &str); 3] = [("tenant", "Acme"), ("ticket", "tt_1_2"), ("days", "7")];

    fn compose(order: &MailOrder) -> Result<Mail, Unsendable> {
        mailer().compose(Uuid::from_u128(7), Timestamp::from_second(1_700_000_000).unwrap(), order)
    }

    #[test]
    fn a_message_says_what_it_is_and_is_the_same_each_time() {
        let order = order("ada@example.com", &FIELDS);
        let mail = compose(&order).unwrap();
        let text = String::from_utf8(mail.content.clone()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut headers: Vec<&str> = head.split("\r\n").collect();
        headers.sort_unstable();
        let expected = [
            "Auto-Submitted: auto-generated",
            "Content-Transfer-Encoding: quoted-printable",
            "Content-Type: text/plain; charset=utf-8",
            "Date: Tue, 14 Nov 2023 22:13:20 +0000",
            "From: Tenure <hr@example.com>",
            "MIME-Version: 1.0",
            "Message-ID: <00000000-0000-0000-0000-000000000007@example.com>",
            "Subject: Ihre Einladung zu Tenure",
            "To: ada@example.com",
        ];
        assert_eq!(headers, expected);
        assert!(text.is_ascii() && body.contains("https://hr.example.com/activation#ticket"), "{body}");
        assert_eq!(compose(&order).unwrap().content, mail.content, "another attempt is the same message");
        assert!(!format!("{mail:?}").contains("ada"));
    }

    #[test]
    fn nobody_writes_a_header() {
        for to in [
            "ada@example.com\r\nBcc: eve@example.com",
            "ada@example.com\nBcc: eve@example.com",
            "ada@example.com> SIZE=1\r\nRCPT TO:<eve@example.com",
            "ada@example.com, eve@example.com",
            "Ada <ada@example.com>",
            "\"ada\r\n\"@example.com",
            "\"ada eve\"@example.com",
            "ada@[127.0.0.1]",
            "ada",
            "@example.com",
            "",
        ] {
            assert_eq!(compose(&order(to, &FIELDS)).unwrap_err(), Unsendable::Address, "{to:?}");
        }
        let name = "Acme\r\nBcc: eve@example.com";
        let error = compose(&order("ada@example.com", &[("tenant", name), FIELDS[1], FIELDS[2]])).unwrap_err();
        assert_eq!(error, Unsendable::from(NotRendered::BadField("tenant".to_owned())));
    }

    #[test]
    fn an_order_that_lacks_something_or_says_too_much_is_no_message() {
        for (fields, expected) in [
            (&FIELDS[1..], NotRendered::MissingField("tenant".to_owned())),
            (&FIELDS[..1], NotRendered::MissingField("ticket".to_owned())),
            (&[FIELDS[0], FIELDS[1], FIELDS[2], ("salary", "1")][..], NotRendered::UnknownField("salary".to_owned())),
            (&[FIELDS[0], FIELDS[1], FIELDS[2], ("link", "https://evil.example")][..], NotRendered::UnknownField("link".to_owned())),
        ] {
            let error = compose(&order("ada@example.com", fields)).unwrap_err();
            assert_eq!((error.code(), &error), ("template", &Unsendable::from(expected)));
        }
    }

    #[test]
    fn a_date_before_mail_was_invented_is_no_panic() {
        for made_at in [Timestamp::MIN, Timestamp::MAX] {
            assert!(mailer().compose(Uuid::from_u128(7), made_at, &order("ada@example.com", &FIELDS)).is_ok());
        }
    }
}
