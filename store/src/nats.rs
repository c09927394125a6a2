//! Connecting to NATS: for ever, with jitter, as this process's own user.

use std::{net::IpAddr, time::Duration};

use async_nats::{Client, ConnectOptions, ServerAddr};

/// The oldest server that does what it is told: older ones take partitions, limits and batches and ignore them.
pub const MIN_SERVER: (u32, u32) = (2, 11);

/// Where and as whom to connect.
#[derive(Debug, Clone)]
pub struct NatsSettings {
    /// Such as `nats://127.0.0.1:4222`.
    pub url: String,
    /// User and password, where the server asks for them.
    pub credentials: Option<(String, String)>,
    /// The process: `relay`, `projector` or `worker`. Names the connection and its inboxes (`_INBOX_{process}`).
    pub process: &'static str,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// The server can't be reached or refused the user.
    #[error("NATS at {url} can't be reached: {reason}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// The server is too old.
    #[error("NATS server {version} is too old: it takes settings that it ignores. Install {}.{} or newer", MIN_SERVER.0, MIN_SERVER.1)]
    TooOld {
        /// What it said it is.
        version: String,
    },
}

/// Connects, and keeps reconnecting with jitter for as long as the client lives.
pub async fn connect(settings: &NatsSettings) -> Result<Client, NatsError> {
    // With two providers built in, the client would panic at a server with TLS. An error says that one was chosen before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut options = ConnectOptions::new()
        .name(format!("tenure-{}", settings.process))
        .custom_inbox_prefix(format!("_INBOX_{}", settings.process))
        .connection_timeout(Duration::from_secs(3))
        .request_timeout(Some(Duration::from_secs(5)))
        .reconnect_delay_callback(|attempt| {
            let ceiling = 50_u64 << attempt.min(6);
            Duration::from_millis(fastrand::u64(ceiling / 2..=ceiling.min(2_000)))
        });
    if let Some((user, password)) = &settings.credentials {
        options = options.user_and_password(user.clone(), password.clone());
    }
    let unreachable = |reason: String| NatsError::Unreachable { url: settings.url.clone(), reason };
    let client = options.connect(&settings.url).await.map_err(|e| unreachable(e.to_string()))?;
    let info = client.server_info();
    let elsewhere = settings.url.parse::<ServerAddr>().is_ok_and(|address| {
        let host = address.host().trim_matches(['[', ']']);
        !address.tls_required() && host != "localhost" && !host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
    });
    if elsewhere && !info.tls_required {
        tracing::warn!(target: "audit", "the connection to NATS is NOT ENCRYPTED; give the server certificates, and put tls:// into TENURE_NATS_URL");
    }
    let version = info.version;
    if is_too_old(&version) { Err(NatsError::TooOld { version }) } else { Ok(client) }
}

/// Fails where there is no connection at the moment.
pub fn check(client: &Client) -> anyhow::Result<()> {
    anyhow::ensure!(client.connection_state() == async_nats::connection::State::Connected, "not connected");
    Ok(())
}

fn is_too_old(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < MIN_SERVER
}

#[cfg(test)]
mod tests {
    #[test]
    fn old_servers_are_refused() {
        for (version, old) in [("2.9.25", true), ("2.10.1", true), ("2.11.0", false), ("2.15.1", false), ("3.0.0-beta", false), ("", true)]
        {
            assert_eq!(super::is_too_old(version), old, "{version}");
        }
    }
}
