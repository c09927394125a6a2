//! TLS to the servers that a process speaks to: one provider of cryptography for all of its clients, and settings that can't
//! work are refused before anything is started (I8).

use std::{net::IpAddr, path::Path};

use anyhow::{Context as _, bail};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use sqlx::{
    ConnectOptions as _,
    postgres::{PgConnectOptions, PgSslMode},
};

/// The variable that names further authorities for every client but PostgreSQL's; `rustls-native-certs` reads it.
pub const AUTHORITIES: &str = "SSL_CERT_FILE";

/// Makes aws-lc-rs the provider of every client in this process. A dependency builds ring in too, and with two of them rustls
/// panics rather than choose.
pub fn use_one_provider() {
    // An error says that it was chosen before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Refuses a PostgreSQL URL whose demands on TLS the client would not meet. `name` is the URL's variable.
pub fn check_database_url(name: &str, url: &str) -> anyhow::Result<()> {
    let Ok(options) = url.parse::<PgConnectOptions>() else { return Ok(()) }; // Refused where it is used, with an example.
    if let Some((unknown, _)) = url.split_once('?').and_then(|(_, query)| {
        let keys = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        keys.into_iter().find(|(key, _)| is_unknown_demand(key))
    }) {
        bail!("{name} demands `{unknown}`, which this client would ignore; leave it out");
    }
    let mode = options.get_ssl_mode();
    let files = certificate_files(&options);
    if matches!(mode, PgSslMode::VerifyCa) {
        // sqlx means to pass over a wrong name there, but knows one of the two errors by which rustls tells of it.
        bail!("{name} has sslmode=verify-ca, with which this client may check the server's name or not; put sslmode=verify-full");
    }
    if matches!(mode, PgSslMode::Allow) {
        bail!("{name} has sslmode=allow, with which the client never encrypts; put sslmode=verify-full, or disable");
    }
    if options.get_socket().is_some() && !matches!(mode, PgSslMode::Prefer | PgSslMode::Disable) {
        bail!("{name} names a Unix socket, over which there is no TLS; leave sslmode out");
    }
    if files.iter().any(|(key, _)| *key == ROOT) && !matches!(mode, PgSslMode::VerifyFull) {
        bail!("{name} has sslrootcert, which is looked at with sslmode=verify-full only; put that too");
    }
    for (key, path) in &files {
        let text = read_pem(path).with_context(|| format!("{name} names {key}={path}"))?;
        if *key == KEY {
            PrivateKeyDer::from_pem_slice(&text).map_err(|error| anyhow::anyhow!("{name} names {key}={path}: no private key: {error}"))?;
        } else {
            count_certificates(&text).with_context(|| format!("{name} names {key}={path}"))?;
        }
    }
    if files.iter().any(|(key, _)| *key == CERTIFICATE) != files.iter().any(|(key, _)| *key == KEY) {
        bail!("{name} has one of sslcert and sslkey; they go together");
    }
    Ok(())
}

const ROOT: &str = "sslrootcert";
const CERTIFICATE: &str = "sslcert";
const KEY: &str = "sslkey";

/// Whether a parameter asks for a check or a protection that sqlx passes over with a line in the log.
fn is_unknown_demand(key: &str) -> bool {
    const KNOWN: [&str; 9] = ["sslmode", "ssl-mode", ROOT, "ssl-root-cert", "ssl-ca", CERTIFICATE, "ssl-cert", KEY, "ssl-key"];
    let demands = ["ssl", "gss", "channel_binding", "require", "krb"];
    demands.iter().any(|demand| key.starts_with(demand)) && !KNOWN.contains(&key)
}

/// The files that a URL, or `PGSSLROOTCERT` and its kin, name: parameter and path.
fn certificate_files(options: &PgConnectOptions) -> Vec<(&'static str, String)> {
    let url = options.to_url_lossy();
    let of = |key: &'static str| {
        let (_, value) = url.query_pairs().find(|(name, _)| name == key)?;
        value.strip_prefix(SQLX_FILE).map(|path| (key, path.to_owned()))
    };
    [ROOT, CERTIFICATE, KEY].into_iter().filter_map(of).collect()
}

/// Before each path in what sqlx writes; it does not take that back.
const SQLX_FILE: &str = "file: ";

/// The URL of these options, for others to read: certificates by absolute paths, nothing that only sqlx knows.
pub fn database_url(options: &PgConnectOptions) -> anyhow::Result<String> {
    let mut url = options.to_url_lossy();
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (key, value) in url.query_pairs().filter(|(key, _)| key != "statement-cache-capacity") {
        let value = match value.strip_prefix(SQLX_FILE) {
            Some(path) => std::path::absolute(path).with_context(|| format!("{key}={path}"))?.display().to_string(),
            None => value.into_owned(),
        };
        pairs.push((key.into_owned(), value));
    }
    url.query_pairs_mut().clear().extend_pairs(pairs);
    Ok(url.to_string())
}

fn read_pem(path: &str) -> anyhow::Result<Vec<u8>> {
    std::fs::read(Path::new(path)).context("the file can't be read")
}

fn count_certificates(pem: &[u8]) -> anyhow::Result<usize> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(all) if !all.is_empty() => Ok(all.len()),
        Ok(_) => bail!("the file holds no certificate in PEM"),
        Err(error) => bail!("the file is not PEM: {error}"),
    }
}

/// Refuses a file of certificates that can't be read or holds none. `name` is the setting that names it.
pub fn check_certificates(name: &str, path: &str) -> anyhow::Result<()> {
    read_pem(path).and_then(|pem| count_certificates(&pem)).map(drop).with_context(|| format!("{name} is {path:?}"))
}

/// Refuses a NATS URL with a scheme that the client has not.
pub fn check_nats_url(name: &str, url: &str) -> anyhow::Result<()> {
    match url.split_once("://") {
        None | Some(("nats" | "tls", _)) => Ok(()),
        Some((scheme, _)) => bail!("{name} begins with {scheme}://; put nats://, or tls:// to refuse a server without TLS"),
    }
}

/// Refuses an EventStoreDB URL that names certificates which can't be read. Its client would panic, or ask for ever.
pub fn check_eventstore_url(name: &str, url: &str) -> anyhow::Result<()> {
    let parameters = url.split_once('?').map_or("", |(_, query)| query).split('&');
    for (key, path) in parameters.filter_map(|pair| pair.split_once('=')) {
        if ["tlscafile", "usercertfile"].contains(&key.to_ascii_lowercase().as_str()) {
            check_certificates(&format!("{key} in {name}"), path)?;
        }
    }
    Ok(())
}

/// Whether an EventStoreDB URL leaves the connection in clear, or the server unchecked.
pub fn is_weak_eventstore_url(url: &str) -> bool {
    let query = url.split_once('?').map_or("", |(_, query)| query).to_ascii_lowercase();
    let host = url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', '?', ',']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    !is_this_machine(host.rsplit_once(':').map_or(host, |(host, _)| host))
        && query.split('&').any(|pair| pair == "tls=false" || pair == "tlsverifycert=false")
}

/// Whether a host's name or address can only mean this machine.
pub fn is_this_machine(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether a connection failed on what TLS demands, which waiting does not mend.
pub fn is_refusal(error: &sqlx::Error) -> bool {
    if let sqlx::Error::Io(error) = error {
        return error.get_ref().is_some_and(|inner| inner.downcast_ref::<rustls::Error>().is_some());
    }
    matches!(error, sqlx::Error::Tls(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_demands_what_the_client_ignores_is_refused() {
        let dir = std::env::temp_dir().join(format!("tenure-tls-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let empty = dir.join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let empty = empty.display();
        for (query, refused) in [
            ("", None),
            ("?sslmode=verify-full", None),
            ("?sslmode=require&application_name=x", None),
            ("?sslmode=allow", Some("never encrypts")),
            ("?sslmode=verify-full&sslcrl=x", Some("sslcrl")),
            ("?channel_binding=require", Some("channel_binding")),
            ("?sslmode=verify-full&ssl_min_protocol_version=TLSv1.3", Some("ssl_min_protocol_version")),
            ("?gssencmode=require", Some("gssencmode")),
            ("?sslmode=verify-ca", Some("sslmode=verify-full")),
            ("?sslmode=verify-ca&sslrootcert=/nowhere/ca.pem", Some("sslmode=verify-full")),
            ("?sslrootcert=/x", Some("verify-full only")),
            ("?sslmode=require&sslrootcert=/x", Some("verify-full only")),
            ("?sslmode=verify-full&sslrootcert=/nowhere/ca.pem", Some("can't be read")),
            (&format!("?sslmode=verify-full&sslrootcert={empty}"), Some("no certificate")),
            (&format!("?sslmode=verify-full&sslkey={empty}"), Some("no private key")),
        ] {
            let outcome = check_database_url("TENURE_DATABASE_URL", &format!("postgres://u@h:5432/d{query}"));
            match (outcome, refused) {
                (Ok(()), None) => {}
                (Err(error), Some(why)) => {
                    let error = format!("{error:#}");
                    assert!(error.contains(why) && error.contains("TENURE_DATABASE_URL"), "{query}: {error}");
                }
                (outcome, _) => panic!("{query}: {outcome:?}"),
            }
        }
        let socket = check_database_url("X", "postgres://u@%2Ftmp:5432/d?sslmode=require").unwrap_err();
        assert!(socket.to_string().contains("Unix socket"), "{socket}");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_url_keeps_its_certificates_when_it_is_written_again() {
        let options: PgConnectOptions = "postgres://u:p%40@h:5433/d?sslmode=verify-full&sslrootcert=/a%20b/ca.pem".parse().unwrap();
        let url = database_url(&options).unwrap();
        let again: PgConnectOptions = url.parse().unwrap();
        assert_eq!(certificate_files(&again), [(ROOT, "/a b/ca.pem".to_owned())], "{url}");
        assert!(matches!(again.get_ssl_mode(), PgSslMode::VerifyFull) && !url.contains("statement"), "{url}");
        let relative: PgConnectOptions = "postgres://u@h/d?sslmode=verify-full&sslrootcert=ca.pem".parse().unwrap();
        let again: PgConnectOptions = database_url(&relative).unwrap().parse().unwrap();
        assert!(Path::new(&certificate_files(&again)[0].1).is_absolute());
    }

    #[test]
    fn only_this_machine_needs_no_tls() {
        for (host, own) in
            [("localhost", true), ("127.0.0.1", true), ("[::1]", true), ("::ffff:127.0.0.2", true), ("db", false), ("10.0.0.1", false)]
        {
            assert_eq!(is_this_machine(host), own, "{host}");
        }
        for (url, weak) in [
            ("esdb://es:2113?tls=false", true),
            ("esdb://admin:x@es:2113?tls=true&tlsVerifyCert=false", true),
            ("esdb://es:2113", false),
            ("esdb://localhost:2113?tls=false", false),
        ] {
            assert_eq!(is_weak_eventstore_url(url), weak, "{url}");
        }
        assert!(check_nats_url("X", "tls://n:4222").is_ok() && check_nats_url("X", "n:4222").is_ok());
        assert!(check_nats_url("X", "wss://n:4222").is_err());
        assert!(check_eventstore_url("X", "esdb://es:2113?tls=true&tlsCaFile=/nowhere").is_err());
    }
}
