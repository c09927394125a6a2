//! One mail's way to the server, step by step. Each step has its time, and the first that fails says how far it came. The
//! library's own transport knows a time for the connection only, and does not say at which command a refusal came.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use lettre::{
    Address,
    transport::smtp::{
        Error,
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, AsyncTokioStream, Certificate, CertificateStore, TlsParameters},
        commands,
        extension::{ClientId, Extension, MailBodyParameter, MailParameter},
        response::{Response, Severity},
    },
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use secrecy::ExposeSecret as _;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    outcome::{NotTaken, SmtpFault, SmtpPhase},
    settings::{MailPatience, MailSettings, SmtpSecurity},
    wire::{Ended, Wire},
};

/// Addresses of the server that are tried.
const ADDRESSES: usize = 4;
/// For the farewell, which changes nothing.
const FAREWELL: Duration = Duration::from_secs(2);

/// How TLS is begun, with the authorities that are believed.
pub(super) enum SmtpTls {
    AtOnce(ServerName<'static>, Arc<ClientConfig>),
    ByCommand(TlsParameters),
    Off,
}

impl SmtpTls {
    /// An error where no authority is usable, or the server has no name that a certificate can hold.
    pub(super) fn of(settings: &MailSettings, authorities: &[CertificateDer<'static>]) -> anyhow::Result<Self> {
        // The library would panic without one.
        platform::tls::use_one_provider();
        let mut roots = RootCertStore::empty();
        let usable: Vec<_> = authorities.iter().filter(|authority| roots.add((*authority).clone()).is_ok()).collect();
        anyhow::ensure!(
            settings.security == SmtpSecurity::Off || !usable.is_empty(),
            "no certificate authority is known here to check the mail server with; install ca-certificates, or set {}",
            platform::tls::AUTHORITIES
        );
        Ok(match settings.security {
            SmtpSecurity::Off => Self::Off,
            SmtpSecurity::Tls => {
                let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
                Self::AtOnce(ServerName::try_from(settings.host.clone())?, Arc::new(config))
            }
            SmtpSecurity::StartTls => {
                let mut parameters = TlsParameters::builder(settings.host.clone()).certificate_store(CertificateStore::None);
                for authority in usable {
                    parameters = parameters.add_root_certificate(Certificate::from_der(authority.to_vec())?);
                }
                Self::ByCommand(parameters.build_rustls()?)
            }
        })
    }
}

/// A connection that is ready for mail.
pub(super) struct SmtpSession {
    connection: AsyncSmtpConnection,
    ended: Ended,
    patience: MailPatience,
}

impl SmtpSession {
    /// Connects, protects the connection and logs in. No mail is lost to what fails here.
    pub(super) async fn open(settings: &MailSettings, tls: &SmtpTls) -> Result<Self, NotTaken> {
        let MailSettings { patience, .. } = *settings;
        let (stream, peer) = within(SmtpPhase::Connect, patience.answer, connect(&settings.host, settings.port, patience.connect)).await?;
        let ended = Ended::default();
        let wire: Box<dyn AsyncTokioStream> = match tls {
            SmtpTls::AtOnce(name, config) => {
                let connector = TlsConnector::from(Arc::clone(config));
                let under_tls = async { connector.connect(name.clone(), stream).await.map_err(|error| of_handshake(&error)) };
                Box::new(Wire::over(within(SmtpPhase::Tls, patience.answer, under_tls).await?, peer, &ended))
            }
            SmtpTls::ByCommand(_) | SmtpTls::Off => Box::new(Wire::over(stream, peer, &ended)),
        };
        let hello = ClientId::Domain(settings.from.email.domain().to_owned());
        let greeted = async { AsyncSmtpConnection::connect_with_transport(wire, &hello).await.map_err(|error| what_of(&error, &ended)) };
        let connection = within(SmtpPhase::Greeting, patience.answer, greeted).await?;
        let mut session = Self { connection, ended, patience };
        if let SmtpTls::ByCommand(parameters) = tls {
            session.start_tls(parameters.clone(), &hello).await?;
        }
        if let Some(login) = &settings.login {
            let credentials = Credentials::new(login.user.clone(), login.password.expose_secret().to_owned());
            let (connection, ended) = (&mut session.connection, &session.ended);
            let logged_in = async { connection.auth(DEFAULT_MECHANISMS, &credentials).await.map_err(|error| what_of(&error, ended)) };
            is_of(Severity::PositiveCompletion, SmtpPhase::LogIn, &within(SmtpPhase::LogIn, patience.answer, logged_in).await?)?;
        }
        Ok(session)
    }
    async fn start_tls(&mut self, parameters: TlsParameters, hello: &ClientId) -> Result<(), NotTaken> {
        if !self.connection.can_starttls() {
            return Err(NotTaken { phase: SmtpPhase::Tls, what: SmtpFault::NotOffered });
        }
        let (connection, ended) = (&mut self.connection, &self.ended);
        let begun = async {
            connection.starttls(parameters, hello).await.map_err(|error| {
                let what = what_of(&error, ended);
                if what == SmtpFault::Cut && !ended.is_so() { SmtpFault::Untrusted } else { what }
            })
        };
        within(SmtpPhase::Tls, self.patience.answer, begun).await
    }
    /// Hands a mail over. After `Ok` the server answers for it.
    pub(super) async fn send(&mut self, from: &Address, to: &Address, content: &[u8]) -> Result<(), NotTaken> {
        let parameters = self.parameters(to, content)?;
        self.command(SmtpPhase::Sender, commands::Mail::new(Some(from.clone()), parameters), Severity::PositiveCompletion).await?;
        self.command(SmtpPhase::Recipient, commands::Rcpt::new(to.clone(), Vec::new()), Severity::PositiveCompletion).await?;
        self.command(SmtpPhase::Data, commands::Data, Severity::PositiveIntermediate).await?;
        let (connection, ended) = (&mut self.connection, &self.ended);
        let taken = async { connection.message(content).await.map_err(|error| what_of(&error, ended)) };
        is_of(Severity::PositiveCompletion, SmtpPhase::Content, &within(SmtpPhase::Content, self.patience.content, taken).await?)
    }
    /// What the server has to know beforehand; an error where it can't do that.
    fn parameters(&self, to: &Address, content: &[u8]) -> Result<Vec<MailParameter>, NotTaken> {
        let recipient: &str = to.as_ref();
        let needed = [
            (!recipient.is_ascii(), Extension::SmtpUtfEight, MailParameter::SmtpUtfEight),
            (!content.is_ascii(), Extension::EightBitMime, MailParameter::Body(MailBodyParameter::EightBitMime)),
        ];
        let mut parameters = Vec::new();
        for (_, extension, parameter) in needed.into_iter().filter(|(is_needed, _, _)| *is_needed) {
            if !self.connection.server_info().supports_feature(extension) {
                return Err(NotTaken { phase: SmtpPhase::Recipient, what: SmtpFault::NotOffered });
            }
            parameters.push(parameter);
        }
        Ok(parameters)
    }
    async fn command(&mut self, phase: SmtpPhase, command: impl std::fmt::Display, expected: Severity) -> Result<(), NotTaken> {
        let (connection, ended) = (&mut self.connection, &self.ended);
        let answered = async { connection.command(command).await.map_err(|error| what_of(&error, ended)) };
        is_of(expected, phase, &within(phase, self.patience.answer, answered).await?)
    }
    /// Says goodbye; whether that is heard changes nothing.
    pub(super) async fn end(mut self) {
        let _ = timeout(FAREWELL, self.connection.abort()).await;
    }
}

/// The first of the server's addresses that answers.
async fn connect(host: &str, port: u16, patience: Duration) -> Result<(TcpStream, SocketAddr), SmtpFault> {
    let addresses = lookup_host((host, port)).await.map_err(|_| SmtpFault::Unreachable)?;
    for address in addresses.take(ADDRESSES) {
        if let Ok(Ok(stream)) = timeout(patience, TcpStream::connect(address)).await {
            return Ok((stream, address));
        }
    }
    Err(SmtpFault::Unreachable)
}

async fn within<T>(phase: SmtpPhase, patience: Duration, step: impl Future<Output = Result<T, SmtpFault>>) -> Result<T, NotTaken> {
    let done = timeout(patience, step).await.unwrap_or(Err(SmtpFault::Silent));
    done.map_err(|what| NotTaken { phase, what })
}

/// The library takes every code of 200 to 399 for good, whatever was asked.
fn is_of(expected: Severity, phase: SmtpPhase, response: &Response) -> Result<(), NotTaken> {
    if response.code().severity == expected { Ok(()) } else { Err(NotTaken { phase, what: SmtpFault::Garbled }) }
}

/// The text of the error is left: it may be the server's.
fn what_of(error: &Error, ended: &Ended) -> SmtpFault {
    if let Some(code) = error.status() {
        SmtpFault::Code(code.into())
    } else if ended.is_so() {
        SmtpFault::Cut
    } else if error.is_client() {
        SmtpFault::NotOffered
    } else if error.is_response() {
        SmtpFault::Garbled
    } else {
        SmtpFault::Cut
    }
}

fn of_handshake(error: &std::io::Error) -> SmtpFault {
    let is_of_tls = error.get_ref().is_some_and(|inner| inner.downcast_ref::<rustls::Error>().is_some());
    if is_of_tls { SmtpFault::Untrusted } else { SmtpFault::Cut }
}
