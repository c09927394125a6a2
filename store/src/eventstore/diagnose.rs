//! Why there is no connection to EventStoreDB. The client keeps no error's cause, so the steps of a connection are taken one by
//! one: the name, the port, the certificate.

use std::{fmt::Display, io, sync::Arc, time::Duration};

use eventstore::{ClientSettings, Endpoint};
use rustls::{
    CertificateError, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

/// How long one step may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a server can't be reached, and what to do about it.
#[derive(Debug, Clone)]
pub(super) struct Cause {
    text: String,
    /// Trying again does not help: somebody has to change a setting, or a certificate.
    pub(super) is_final: bool,
}

impl Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// The first cause found, if no host of the settings can be reached. None where one can, so that something else is wrong.
pub(super) async fn find_cause(settings: &ClientSettings) -> Option<Cause> {
    let mut first = None;
    for host in settings.hosts() {
        match reach(settings, host).await {
            Ok(()) => return None,
            // What may pass at one host is reason enough to try again.
            Err(cause) if first.as_ref().is_none_or(|first: &Cause| first.is_final && !cause.is_final) => first = Some(cause),
            Err(_) => {}
        }
    }
    first
}

async fn reach(settings: &ClientSettings, Endpoint { host, port }: &Endpoint) -> Result<(), Cause> {
    let port = u16::try_from(*port).unwrap_or_default();
    let addresses: Vec<_> = match within(lookup_host((host.as_str(), port))).await {
        Ok(addresses) => addresses.collect(),
        Err(error) => return Err(passing(format!("the name {host} does not resolve: {error}"))),
    };
    if settings.is_dns_discovery_enabled() {
        return Ok(()); // The servers are named by records of their own.
    }
    let connected = within(TcpStream::connect(addresses.as_slice())).await;
    let stream = connected.map_err(|error| passing(format!("nobody answers at {host}:{port}: {error}")))?;
    let roots = if settings.is_secure_mode_enabled() { roots(settings)? } else { RootCertStore::empty() };
    let error = match within(shake_hands(stream, host, roots)).await {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (refused, settings.is_secure_mode_enabled()) {
        (Some(rustls::Error::InvalidCertificate(_)), false) => {
            Err(lasting(format!("{host}:{port} speaks TLS, and its URL says tls=false; take that out")))
        }
        (_, false) => Ok(()), // It speaks in clear, as it should.
        (Some(rustls::Error::InvalidCertificate(_)), true) if !settings.is_tls_certificate_verification_enabled() => Ok(()),
        (Some(rustls::Error::InvalidCertificate(why)), true) => Err(lasting(of_certificate(host, port, why))),
        (Some(rustls::Error::InvalidMessage(_)), true) => {
            Err(lasting(format!("{host}:{port} does not speak TLS; if that is meant, put tls=false into its URL")))
        }
        (Some(_) | None, true) => Err(passing(format!("{host}:{port} breaks off when TLS begins: {error}"))),
    }
}

fn of_certificate(host: &str, port: u16, why: &CertificateError) -> String {
    let at = format!("the certificate of {host}:{port}");
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is foreign and may grow; the others say themselves what is wrong")]
    match why {
        CertificateError::UnknownIssuer => {
            format!("{at} is signed by an authority that is not trusted here; name the authority's file as tlsCAFile=… in the URL")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("{at} is for another name; put a name that stands in it into the URL")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!("{at} has expired; put a new one on the server"),
        other => format!("{at} is not trusted: {other}"),
    }
}

/// What the client trusts: the authorities of the file that the URL names, or else this machine's.
fn roots(settings: &ClientSettings) -> Result<RootCertStore, Cause> {
    let mut roots = RootCertStore::empty();
    let Some(file) = settings.tls_ca_file() else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let certificates = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = certificates.map_err(|error| lasting(format!("tlsCAFile={file} can't be read: {error}")))?;
    roots.add_parsable_certificates(certificates);
    Ok(roots)
}

async fn shake_hands(stream: TcpStream, host: &str, roots: RootCertStore) -> io::Result<()> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = versions.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map(drop)
}

async fn within<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(PATIENCE, step).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

const fn passing(text: String) -> Cause {
    Cause { text, is_final: false }
}

const fn lasting(text: String) -> Cause {
    Cause { text, is_final: true }
}
