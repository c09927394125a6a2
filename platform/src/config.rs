//! Settings: `TENURE_*` variables over the TOML file that `TENURE_CONFIG` names over defaults.

use std::{net::SocketAddr, path::PathBuf};

use secrecy::SecretString;

/// Which process this is; decides the PostgreSQL and NATS user, the service name in traces, and what is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// `tenure-command-api`
    CommandApi,
    /// `tenure-relay`
    Relay,
    /// `tenure-projector`
    Projector,
    /// `tenure-query-api`
    QueryApi,
    /// `tenure`
    Cli,
}

/// The settings of one process. Every field's variable is `TENURE_` and its name in upper case; its key in the file
/// is its name.
#[derive(Debug, Clone)]
pub struct Config {
    /// `TENURE_LISTEN`: where the process serves HTTP (for relay and projector: health and metrics only).
    pub listen: SocketAddr,
    /// `TENURE_DATABASE_URL`: PostgreSQL, with the process's own role.
    pub database_url: SecretString,
    /// `TENURE_DATABASE_CONNECTIONS`: the pool's bound.
    pub database_connections: u32,
    /// `TENURE_EVENTSTORE_URL`: EventStoreDB; absent, PostgreSQL is the event store.
    pub eventstore_url: Option<SecretString>,
    /// `TENURE_NATS_URL`; required by relay and projector.
    pub nats_url: Option<String>,
    /// `TENURE_NATS_USER`
    pub nats_user: Option<String>,
    /// `TENURE_NATS_PASSWORD`
    pub nats_password: Option<SecretString>,
    /// `TENURE_MASTER_KEY_FILE`: 32 bytes as 64 hex digits; wraps every other key. Not needed by the relay.
    pub master_key_file: Option<PathBuf>,
    /// `TENURE_BASE_DOMAIN`: hosts are `{slug}.{base domain}`; default `localhost`.
    pub base_domain: String,
    /// `TENURE_ISSUER`: `iss` of our tokens; default `tenure`.
    pub issuer: String,
    /// `TENURE_AUDIENCE`: `aud` of our tokens; default `tenure`.
    pub audience: String,
    /// `TENURE_OTLP_URL`: where traces go (OTLP over HTTP); absent, nowhere.
    pub otlp_url: Option<String>,
}

impl Config {
    /// Reads the settings of `process`; the error names the variable and what it should hold.
    pub fn load(_process: Process) -> anyhow::Result<Self> {
        todo!()
    }
}
