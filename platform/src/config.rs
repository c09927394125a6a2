//! Settings: `TENURE_*` variables over the TOML file that `TENURE_CONFIG` names over defaults. Every setting is a row of
//! [`SETTINGS`]; `docs/configuration.md` shows the same rows, and a test compares them.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use anyhow::{Context as _, anyhow, bail};
use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};

use crate::tls;

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
    /// `tenure-worker`
    Worker,
    /// `tenure-console`
    Console,
    /// `tenure`
    Cli,
}

impl Process {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::CommandApi, Self::Relay, Self::Projector, Self::QueryApi, Self::Worker, Self::Console, Self::Cli];

    /// The executable's name, also in logs and traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CommandApi => "tenure-command-api",
            Self::Relay => "tenure-relay",
            Self::Projector => "tenure-projector",
            Self::QueryApi => "tenure-query-api",
            Self::Worker => "tenure-worker",
            Self::Console => "tenure-console",
            Self::Cli => "tenure",
        }
    }
    /// What its sessions in PostgreSQL are called (`application_name`). Of a service with its version: builds that say it also say which
    /// events they read, which [`crate::release`] looks for.
    pub(crate) const fn session_name(self) -> &'static str {
        match self {
            Self::CommandApi => concat!("tenure-command-api ", env!("CARGO_PKG_VERSION")),
            Self::Relay => concat!("tenure-relay ", env!("CARGO_PKG_VERSION")),
            Self::Projector => concat!("tenure-projector ", env!("CARGO_PKG_VERSION")),
            Self::QueryApi => concat!("tenure-query-api ", env!("CARGO_PKG_VERSION")),
            Self::Worker => concat!("tenure-worker ", env!("CARGO_PKG_VERSION")),
            Self::Console | Self::Cli => self.name(),
        }
    }
    /// Whether it works with PostgreSQL. The console knows nothing but what the two APIs tell.
    pub const fn has_database(self) -> bool {
        !matches!(self, Self::Console)
    }
    /// Whether it seals or opens what is sealed. Nobody else is given the master key.
    pub const fn opens_keys(self) -> bool {
        matches!(self, Self::CommandApi | Self::Projector | Self::Worker)
    }
    const fn default_listen(self) -> &'static str {
        match self {
            Self::CommandApi => "127.0.0.1:7410",
            Self::QueryApi => "127.0.0.1:7411",
            Self::Relay => "127.0.0.1:7412",
            Self::Projector => "127.0.0.1:7413",
            Self::Worker => "127.0.0.1:7414",
            Self::Console => "127.0.0.1:7415",
            Self::Cli => "127.0.0.1:0",
        }
    }
    fn needs(self, setting: &Setting) -> bool {
        match setting.need {
            Need::Default(_) | Need::Optional => false,
            Need::Database => self.has_database(),
            Need::Apis => self == Self::Console,
            Need::Feed => matches!(self, Self::Relay | Self::Projector | Self::Worker),
            Need::Keys => self.opens_keys(),
        }
    }
}

/// How the logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("neither `text` nor `json`"),
        }
    }
}

/// Whose word about where a request came from counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Whether this address is one of theirs.
    pub fn include(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl FromStr for TrustedProxies {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self::default());
        }
        let network = |part: &str| part.parse().or_else(|_| part.parse::<IpAddr>().map(IpNet::from));
        let networks = text.split(',').map(|part| network(part.trim())).collect::<Result<_, _>>();
        networks.map(Self).map_err(|_| "neither addresses and networks nor `none`")
    }
}

/// The settings of one process. Every field's variable is `TENURE_` and its name in upper case; its key in the file
/// is its name.
#[derive(Debug, Clone)]
pub struct Config {
    /// `TENURE_LISTEN`: where the process serves HTTP (for relay, projector and worker: health and metrics only).
    pub listen: SocketAddr,
    /// `TENURE_METRICS_LISTEN`: where the APIs and the console serve `/metrics`; absent, nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// `TENURE_DATABASE_URL`: PostgreSQL, with the process's own role.
    pub database_url: SecretString,
    /// `TENURE_DATABASE_CONNECTIONS`: the pool's bound.
    pub database_connections: u32,
    /// `TENURE_ALLOW_OPEN_FUNCTIONS`: start without one layer of isolation, which only a superuser can put up.
    pub allow_open_functions: bool,
    /// `TENURE_IDENTITY_DATABASE_URL`: the same PostgreSQL with the role `tenure_identity`; command-api only. Absent, nobody
    /// can log in there.
    pub identity_database_url: Option<SecretString>,
    /// `TENURE_EVENTSTORE_URL`: EventStoreDB; absent, PostgreSQL is the event store.
    pub eventstore_url: Option<SecretString>,
    /// `TENURE_NATS_URL`; required by relay, projector and worker.
    pub nats_url: Option<String>,
    /// `TENURE_NATS_USER`
    pub nats_user: Option<String>,
    /// `TENURE_NATS_PASSWORD`
    pub nats_password: Option<SecretString>,
    /// `TENURE_MASTER_KEY_FILE`: 32 bytes as 64 hex digits; wraps every other key. Not needed by the relay.
    pub master_key_file: Option<PathBuf>,
    /// `TENURE_BASE_DOMAIN`: hosts are `{slug}.{base domain}`; default `localhost`.
    pub base_domain: String,
    /// `TENURE_TRUSTED_PROXIES`: whose `X-Forwarded-Host` and `X-Forwarded-For` are believed.
    pub trusted_proxies: TrustedProxies,
    /// `TENURE_TENANT_REQUESTS_PER_SECOND`: of one tenant in one process; more are answered 429 `rate_limited`.
    pub tenant_requests_per_second: u32,
    /// `TENURE_TENANT_CONCURRENT_REQUESTS`: of one tenant, or one address without a token, in work at once in one process; more
    /// are answered 429 `rate_limited`.
    pub tenant_concurrent_requests: usize,
    /// `TENURE_ISSUER`: `iss` of our tokens; default `tenure`.
    pub issuer: String,
    /// `TENURE_AUDIENCE`: `aud` of our tokens; default `tenure`.
    pub audience: String,
    /// `TENURE_TOKEN_MAX_LIFETIME`: seconds between `iat` and `exp` that are accepted and issued at most.
    pub token_max_lifetime: u64,
    /// `TENURE_REQUEST_TIMEOUT`: seconds that a request may take.
    pub request_timeout: u64,
    /// `TENURE_MAX_CONCURRENT_REQUESTS`: more are answered 503 `overloaded` at once.
    pub max_concurrent_requests: usize,
    /// `TENURE_MAX_CONNECTIONS`: open connections; for more, those that ask for nothing are closed.
    pub max_connections: usize,
    /// `TENURE_ADDRESS_CONNECTIONS`: open connections of one address.
    pub address_connections: usize,
    /// `TENURE_IDLE_TIMEOUT`: seconds that a connection may be open without a request.
    pub idle_timeout: u64,
    /// `TENURE_SMTP_URL`: the mail server; the worker only.
    pub smtp_url: Option<SecretString>,
    /// `TENURE_MAIL_FROM`: in whose name mails are sent; absent, none is queued.
    pub mail_from: Option<String>,
    /// `TENURE_CONSOLE_URL`: the page that mails link to; the worker only.
    pub console_url: Option<String>,
    /// `TENURE_COMMAND_API_URL`: where the console reaches the command API; required by it.
    pub command_api_url: Option<String>,
    /// `TENURE_QUERY_API_URL`: where the console reaches the query API; required by it.
    pub query_api_url: Option<String>,
    /// `TENURE_LOG`: what is logged, as `tracing` directives such as `info,store=debug`.
    pub log: String,
    /// `TENURE_LOG_FORMAT`: `text` or `json`.
    pub log_format: LogFormat,
    /// `TENURE_OTLP_URL`: where traces go (OTLP over HTTP); absent, nowhere.
    pub otlp_url: Option<String>,
}

enum Need {
    Default(&'static str),
    Optional,
    /// By all but the console.
    Database,
    /// By the console.
    Apis,
    /// By those who speak to NATS.
    Feed,
    /// By those who wrap or unwrap keys.
    Keys,
}

/// One setting, as documented.
struct Setting {
    name: &'static str,
    /// A secret can also be given as a file: `TENURE_{NAME}_FILE`.
    secret: bool,
    need: Need,
    what: &'static str,
}

const fn setting(name: &'static str, need: Need, what: &'static str) -> Setting {
    Setting { name, secret: false, need, what }
}
const fn secret(name: &'static str, need: Need, what: &'static str) -> Setting {
    Setting { name, secret: true, need, what }
}

const SETTINGS: &[Setting] = &[
    setting(
        "listen",
        Need::Default(""),
        "Address and port to serve HTTP on; relay, projector and worker serve only health and metrics there",
    ),
    setting(
        "metrics_listen",
        Need::Optional,
        "Address and port on which the two APIs and the console serve `/metrics`, apart from what they serve to others; without it nowhere",
    ),
    secret(
        "database_url",
        Need::Database,
        "PostgreSQL with the process's own login role, such as `postgres://tenure_query:…@db:5432/tenure?sslmode=verify-full`; see TLS below",
    ),
    setting(
        "database_connections",
        Need::Default("8"),
        "Connections to PostgreSQL for the process's main work at most, 1 to 1000, beside a few for tokens, users, health and the log; more of them cost more, since each learns the tables of every tenant that it serves. One tenant's reads leave a quarter of them, but one at least, to others",
    ),
    setting(
        "allow_open_functions",
        Need::Default("false"),
        "`true`: start on a database that no superuser has set up, where dangerous functions of PostgreSQL are open to injected SQL",
    ),
    secret(
        "identity_database_url",
        Need::Optional,
        "The same PostgreSQL with the role `tenure_identity`, for log-in and users (command-api only); without it nobody can log in",
    ),
    secret(
        "eventstore_url",
        Need::Optional,
        "EventStoreDB or KurrentDB, such as `esdb://es:2113?tlsCaFile=/etc/tenure/ca.pem`; without it PostgreSQL is the event store",
    ),
    setting(
        "nats_url",
        Need::Feed,
        "NATS with JetStream, 2.11 or newer, such as `tls://nats:4222`; `nats://` takes a server without TLS too",
    ),
    setting("nats_user", Need::Optional, "The process's NATS user"),
    secret("nats_password", Need::Optional, "That user's password"),
    setting("master_key_file", Need::Keys, "File with 64 hex digits that only its owner can read; wraps every other key"),
    setting("base_domain", Need::Default("localhost"), "Hosts are `{slug}.{base domain}`; the bare domain takes the tenant from the token"),
    setting(
        "trusted_proxies",
        Need::Default("none"),
        "Addresses and networks whose `X-Forwarded-Host` and `X-Forwarded-For` are believed, such as `10.0.0.0/8, ::1`; `none`: nobody's",
    ),
    setting(
        "tenant_requests_per_second",
        Need::Default("2000"),
        "Requests of one tenant that a process takes; twice as many in a burst; more are answered 429 `rate_limited`",
    ),
    setting(
        "tenant_concurrent_requests",
        Need::Default("128"),
        "Requests of one tenant that a process has in work at once, half of which may wait for a position; of one address where no token is taken; more are answered 429 `rate_limited`, unless fewer than half of `TENURE_MAX_CONCURRENT_REQUESTS` are taken by all tenants",
    ),
    setting("issuer", Need::Default("tenure"), "`iss` of access tokens"),
    setting("audience", Need::Default("tenure"), "`aud` of access tokens"),
    setting("token_max_lifetime", Need::Default("600"), "Seconds that an access token may live at most, up to 86400"),
    setting("request_timeout", Need::Default("30"), "Seconds that a request may take, 1 to 600"),
    setting("max_concurrent_requests", Need::Default("1024"), "Requests in work at most; more are answered 503 `overloaded`"),
    setting(
        "max_connections",
        Need::Default("8192"),
        "Open connections at most, and 256 fewer than the process may have files; for one more those are closed that have asked for nothing, or for nothing for longest",
    ),
    setting(
        "address_connections",
        Need::Default("1024"),
        "Open connections of one address, an IPv6 /64 counting as one; not of those in `TENURE_TRUSTED_PROXIES`",
    ),
    setting(
        "idle_timeout",
        Need::Default("75"),
        "Seconds that a connection may stay open without a request, or without taking its answer, 1 to 3600; 30 at most before the first request. Longer than a proxy keeps its own",
    ),
    secret(
        "smtp_url",
        Need::Optional,
        "Mail server, for the worker alone: `smtps://user:password@mail:465`, or `smtp://user:password@mail:587`, which must offer STARTTLS; `?tls=off` on this machine only",
    ),
    setting(
        "mail_from",
        Need::Optional,
        "In whose name mails are sent, such as `Tenure <hr@example.com>`: command-api queues a mail for each invitation and password reset, and the worker sends it, for which it needs the settings above and below too; without it nothing is mailed",
    ),
    setting(
        "console_url",
        Need::Optional,
        "Page at which people choose a password, such as `https://hr.example.com/activation`, for the worker alone: mails link to it, with `#ticket=…`",
    ),
    setting(
        "command_api_url",
        Need::Apis,
        "Where the console reaches the command API, such as `http://127.0.0.1:7410`; the console's address stands in that process's `TENURE_TRUSTED_PROXIES`",
    ),
    setting("query_api_url", Need::Apis, "Where the console reaches the query API, such as `http://127.0.0.1:7411`; as above"),
    setting("log", Need::Default("info"), "What is logged: `tracing` directives, such as `info,store=debug`"),
    setting("log_format", Need::Default("text"), "`text` or `json`"),
    setting("otlp_url", Need::Optional, "Where traces go, OTLP over HTTP, such as `https://collector:4318/v1/traces`; without it nowhere"),
];

impl Config {
    /// Reads the settings of `process`; the error names the variable and what it should hold.
    pub fn load(process: Process) -> anyhow::Result<Self> {
        let file = match std::env::var("TENURE_CONFIG") {
            Ok(path) => Some(std::fs::read_to_string(&path).with_context(|| format!("TENURE_CONFIG names {path:?}, which can't be read"))?),
            Err(_) => None,
        };
        Self::from_sources(process, file.as_deref(), |name| std::env::var(name).ok())
    }

    /// Reads the settings from the text of a TOML file and a lookup of variables.
    pub fn from_sources(process: Process, file: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        if let Some(path) = variable(tls::AUTHORITIES).filter(|path| !path.is_empty()) {
            tls::check_certificates(tls::AUTHORITIES, &path)?;
        }
        let values = Values::gather(process, file, variable)?;
        let mut config = Self {
            listen: values.parse("listen", "an address and a port, such as 127.0.0.1:8080")?,
            metrics_listen: values.optional("metrics_listen", "an address and a port, such as 127.0.0.1:8081")?,
            database_url: values.secret("database_url").unwrap_or_default(),
            database_connections: values.parse("database_connections", "a number from 1 to 1000")?,
            allow_open_functions: values.parse("allow_open_functions", "`true` or `false`")?,
            identity_database_url: values.secret("identity_database_url"),
            eventstore_url: values.secret("eventstore_url"),
            nats_url: values.text("nats_url"),
            nats_user: values.text("nats_user"),
            nats_password: values.secret("nats_password"),
            master_key_file: values.text("master_key_file").map(PathBuf::from),
            base_domain: values.parse("base_domain", "a domain name in lower case")?,
            trusted_proxies: values.parse("trusted_proxies", "addresses and networks, such as 10.0.0.0/8, or `none`")?,
            tenant_requests_per_second: values.parse("tenant_requests_per_second", "a number from 1 to 1000000")?,
            tenant_concurrent_requests: values.parse("tenant_concurrent_requests", "a number of requests, at least 1")?,
            issuer: values.parse("issuer", "a text")?,
            audience: values.parse("audience", "a text")?,
            token_max_lifetime: values.parse("token_max_lifetime", "a number of seconds from 1 to 86400")?,
            request_timeout: values.parse("request_timeout", "a number of seconds from 1 to 600")?,
            max_concurrent_requests: values.parse("max_concurrent_requests", "a number of requests, at least 1")?,
            max_connections: values.parse("max_connections", "a number of connections, at least 1")?,
            address_connections: values.parse("address_connections", "a number of connections, at least 1")?,
            idle_timeout: values.parse("idle_timeout", "a number of seconds from 1 to 3600")?,
            smtp_url: values.secret("smtp_url"),
            mail_from: values.text("mail_from"),
            console_url: values.text("console_url"),
            command_api_url: values.text("command_api_url"),
            query_api_url: values.text("query_api_url"),
            log: values.parse("log", "tracing directives")?,
            log_format: values.parse("log_format", "`text` or `json`")?,
            otlp_url: values.text("otlp_url"),
        };
        config.check()?;
        Ok(config)
    }

    fn check(&mut self) -> anyhow::Result<()> {
        let within = |name: &str, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(anyhow!("{} is {value}; put a number from {low} to {high}", variable_of(name)))
            }
        };
        within("database_connections", self.database_connections.into(), 1, 1000)?;
        within("token_max_lifetime", self.token_max_lifetime, 1, 86_400)?;
        within("tenant_requests_per_second", self.tenant_requests_per_second.into(), 1, 1_000_000)?;
        within("tenant_concurrent_requests", self.tenant_concurrent_requests as u64, 1, 1_000_000)?;
        within("request_timeout", self.request_timeout, 1, 600)?;
        within("max_concurrent_requests", self.max_concurrent_requests as u64, 1, 1_000_000)?;
        within("max_connections", self.max_connections as u64, 1, 1_000_000)?;
        within("address_connections", self.address_connections as u64, 1, 1_000_000)?;
        within("idle_timeout", self.idle_timeout, 1, 3600)?;
        let domain_ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if self.base_domain.is_empty() || !self.base_domain.chars().all(domain_ok) || self.base_domain.starts_with('.') {
            bail!("TENURE_BASE_DOMAIN is {:?}; put a domain name in lower case and without port, such as tenure.example", self.base_domain);
        }
        for (name, url) in [("command_api_url", &mut self.command_api_url), ("query_api_url", &mut self.query_api_url)] {
            let Some(url) = url else { continue };
            let origin = url.strip_suffix('/').unwrap_or(url);
            let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            if host.is_none_or(|host| host.is_empty() || host.contains(['/', '?', '#', '@'])) {
                bail!("{} is {url:?}; put scheme, host and port, such as http://127.0.0.1:7410", variable_of(name));
            }
            *url = origin.to_owned();
        }
        if let Some(url) = self.otlp_url.as_deref().filter(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
            bail!("TENURE_OTLP_URL is {url:?}; put the collector's HTTP address, such as http://collector:4318/v1/traces");
        }
        for (name, url) in [("database_url", Some(&self.database_url)), ("identity_database_url", self.identity_database_url.as_ref())] {
            if let Some(url) = url {
                tls::check_database_url(&variable_of(name), url.expose_secret())?;
            }
        }
        if let Some(url) = &self.eventstore_url {
            tls::check_eventstore_url("TENURE_EVENTSTORE_URL", url.expose_secret())?;
        }
        if let Some(url) = &self.nats_url {
            tls::check_nats_url("TENURE_NATS_URL", url)?;
        }
        if self.nats_user.is_some() != self.nats_password.is_some() {
            bail!("TENURE_NATS_USER and TENURE_NATS_PASSWORD go together; set both or neither");
        }
        Ok(())
    }

    /// The settings as the table in `docs/configuration.md`.
    pub fn reference() -> String {
        let mut table = String::from("| variable | key in the file | default | what |\n|---|---|---|---|\n");
        for setting in SETTINGS {
            let default = match setting.need {
                Need::Default("") => "per process, see below".to_owned(),
                Need::Default(value) => format!("`{value}`"),
                Need::Optional => "none".to_owned(),
                Need::Database => "required, but by console".to_owned(),
                Need::Apis => "required by console".to_owned(),
                Need::Feed => "required by relay, projector and worker".to_owned(),
                Need::Keys => "required by command-api, projector and worker".to_owned(),
            };
            let file = if setting.secret { format!(" or `{}_FILE`", variable_of(setting.name)) } else { String::new() };
            let _ = writeln!(table, "| `{}`{file} | `{}` | {default} | {} |", variable_of(setting.name), setting.name, setting.what);
        }
        table
    }
}

fn variable_of(name: &str) -> String {
    format!("TENURE_{}", name.to_ascii_uppercase())
}

/// What was found for each setting, with where it was found, for errors.
struct Values(BTreeMap<&'static str, (String, String)>);

impl Values {
    fn gather(process: Process, file: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let mut table: toml::Table = match file {
            Some(text) => toml::from_str(text).context("the file that TENURE_CONFIG names is not TOML")?,
            None => toml::Table::new(),
        };
        let mut values = BTreeMap::new();
        for setting in SETTINGS {
            let name = variable_of(setting.name);
            let from_file = table.remove(setting.name);
            let from_variable = variable(&name).filter(|value| !value.is_empty());
            let name_of_file = format!("{name}_FILE");
            let from_secret_file = if setting.secret { variable(&name_of_file).filter(|path| !path.is_empty()) } else { None };
            let found = match (from_variable, from_secret_file, from_file) {
                (Some(_), Some(_), _) => bail!("{name} and {name_of_file} are both set; keep one"),
                (Some(value), None, _) => (value, name),
                (None, Some(path), _) => {
                    let text =
                        std::fs::read_to_string(&path).with_context(|| format!("{name_of_file} names {path:?}, which can't be read"))?;
                    (text.trim_end().to_owned(), name_of_file)
                }
                (None, None, Some(toml::Value::String(text))) => (text, format!("`{}` in the file", setting.name)),
                (None, None, Some(toml::Value::Integer(number))) => (number.to_string(), format!("`{}` in the file", setting.name)),
                (None, None, Some(_)) => bail!("`{}` in the file must be a text or a whole number: {}", setting.name, setting.what),
                (None, None, None) => match setting.need {
                    Need::Default("") => (process.default_listen().to_owned(), "the default".to_owned()),
                    Need::Default(value) => (value.to_owned(), "the default".to_owned()),
                    Need::Optional | Need::Database | Need::Apis | Need::Feed | Need::Keys if process.needs(setting) => {
                        bail!("{name} is not set and {} needs it. {}", process.name(), setting.what)
                    }
                    Need::Optional | Need::Database | Need::Apis | Need::Feed | Need::Keys => continue,
                },
            };
            // Nobody writes an empty value on purpose; taken for absent it could choose another event store.
            if found.0.trim().is_empty() {
                bail!("{} is empty; put a value there, or take it away. {}", found.1, setting.what);
            }
            values.insert(setting.name, found);
        }
        match table.keys().next() {
            Some(unknown) => bail!(
                "the file has the unknown key `{unknown}`; the keys are: {}",
                SETTINGS.iter().map(|s| s.name).collect::<Vec<_>>().join(", ")
            ),
            None => Ok(Self(values)),
        }
    }
    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|(value, _)| value.clone())
    }
    fn secret(&self, name: &str) -> Option<SecretString> {
        self.text(name).map(SecretString::from)
    }
    fn optional<T: FromStr>(&self, name: &str, expected: &str) -> anyhow::Result<Option<T>> {
        if self.0.contains_key(name) { self.parse(name, expected).map(Some) } else { Ok(None) }
    }
    /// For settings that are not secret: the error quotes the value.
    fn parse<T: FromStr>(&self, name: &str, expected: &str) -> anyhow::Result<T> {
        let (value, source) = self.0.get(name).ok_or_else(|| anyhow!("{} is not set", variable_of(name)))?;
        value.parse().map_err(|_| anyhow!("{source} is {value:?}; {} must be {expected}", variable_of(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(process: Process, file: &str, variables: &[(&str, &str)]) -> anyhow::Result<Config> {
        Config::from_sources(process, Some(file), |name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }
    const DATABASE: (&str, &str) = ("TENURE_DATABASE_URL", "postgres://x");

    #[test]
    fn variables_win_over_the_file_and_the_file_over_defaults() {
        let config = load(
            Process::Cli,
            "database_url = 'postgres://file'\ndatabase_connections = 3\nissuer = 'file'\nlog_format = 'json'",
            &[("TENURE_ISSUER", "variable"), ("TENURE_NATS_URL", "")],
        )
        .unwrap();
        assert_eq!(config.database_url.expose_secret(), "postgres://file");
        assert_eq!((config.database_connections, config.issuer.as_str(), config.audience.as_str()), (3, "variable", "tenure"));
        assert_eq!((config.log_format, config.nats_url), (LogFormat::Json, None));
    }

    #[test]
    fn a_secret_comes_from_a_file_too() {
        let path = std::env::temp_dir().join(format!("tenure-config-{}", std::process::id()));
        std::fs::write(&path, "postgres://secret\n").unwrap();
        let file = ("TENURE_DATABASE_URL_FILE", path.to_str().unwrap());
        assert_eq!(load(Process::Cli, "", &[file]).unwrap().database_url.expose_secret(), "postgres://secret");
        assert!(load(Process::Cli, "", &[file, DATABASE]).unwrap_err().to_string().contains("both set"));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn errors_name_the_variable_and_what_to_put() {
        type Case<'c> = (Process, &'c str, &'c [(&'c str, &'c str)], &'c str);
        let cases: &[Case] = &[
            (Process::Cli, "", &[], "TENURE_DATABASE_URL is not set"),
            (Process::Relay, "", &[DATABASE], "TENURE_NATS_URL is not set and tenure-relay needs it"),
            (Process::CommandApi, "", &[DATABASE], "TENURE_MASTER_KEY_FILE"),
            (Process::Cli, "database_url = ''", &[], "`database_url` in the file is empty"),
            (Process::Cli, "eventstore_url = ' '", &[DATABASE], "`eventstore_url` in the file is empty"),
            (Process::Cli, "", &[DATABASE, ("TENURE_EVENTSTORE_URL_FILE", "/dev/null")], "TENURE_EVENTSTORE_URL_FILE is empty"),
            (Process::Cli, "", &[("TENURE_DATABASE_URL_FILE", "")], "TENURE_DATABASE_URL is not set"),
            (Process::Cli, "databaseurl = 'x'", &[DATABASE], "unknown key `databaseurl`"),
            (Process::Cli, "listen = true", &[DATABASE], "`listen` in the file must be"),
            (Process::Cli, "", &[DATABASE, ("TENURE_LISTEN", "8080")], "TENURE_LISTEN must be an address and a port"),
            (Process::Cli, "", &[DATABASE, ("TENURE_TOKEN_MAX_LIFETIME", "90000")], "from 1 to 86400"),
            (Process::Cli, "", &[DATABASE, ("TENURE_BASE_DOMAIN", "Example.com:80")], "without port"),
            (Process::Cli, "", &[DATABASE, ("TENURE_NATS_USER", "u")], "go together"),
            (Process::Cli, "", &[DATABASE, ("TENURE_NATS_URL", "wss://n:1")], "TENURE_NATS_URL begins with wss://"),
            (Process::Cli, "", &[("TENURE_DATABASE_URL", "postgres://h/d?sslmode=allow")], "TENURE_DATABASE_URL has sslmode=allow"),
            (
                Process::Cli,
                "",
                &[DATABASE, ("TENURE_IDENTITY_DATABASE_URL", "postgres://h/d?sslmode=verify-full&sslrootcert=/nowhere")],
                "TENURE_IDENTITY_DATABASE_URL names sslrootcert=/nowhere",
            ),
            (
                Process::Cli,
                "",
                &[DATABASE, ("TENURE_EVENTSTORE_URL", "esdb://e:1?tlsCaFile=/nowhere")],
                "tlsCaFile in TENURE_EVENTSTORE_URL",
            ),
            (Process::Cli, "", &[DATABASE, ("SSL_CERT_FILE", "/nowhere")], "SSL_CERT_FILE is \"/nowhere\""),
            (Process::Console, "", &[], "TENURE_COMMAND_API_URL is not set and tenure-console needs it"),
            (
                Process::Console,
                "",
                &[("TENURE_COMMAND_API_URL", "api:1"), ("TENURE_QUERY_API_URL", "http://q")],
                "put scheme, host and port",
            ),
            (Process::Cli, "", &[DATABASE, ("TENURE_LOG_FORMAT", "xml")], "`text` or `json`"),
            (Process::Cli, "", &[DATABASE, ("TENURE_TRUSTED_PROXIES", "10.0.0.0/40")], "addresses and networks"),
        ];
        for (process, file, variables, expected) in cases {
            let error = format!("{:#}", load(*process, file, variables).unwrap_err());
            assert!(error.contains(expected), "{expected:?} is not in {error:?}");
        }
    }

    /// By the document: no process starts without what it calls required, or with it empty, and every process starts with that alone.
    #[test]
    fn what_the_document_calls_required_is_and_nothing_else() {
        let document = include_str!("../../docs/configuration.md");
        let rows = document.lines().filter(|line| line.starts_with("| `TENURE_") && line.matches('|').count() == 5);
        let rows: Vec<_> = rows.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>()).collect();
        assert_eq!(rows.len(), SETTINGS.len());
        for process in Process::ALL {
            let short = process.name().strip_prefix("tenure-");
            let names = |default: &str| short.is_some_and(|short| default.contains(short));
            let is_needed = |default: &str| match default.strip_prefix("required") {
                Some(rest) if rest.starts_with(", but by") => !names(rest),
                Some(rest) => rest.is_empty() || names(rest),
                None => false,
            };
            let needed = rows.iter().filter(|row| is_needed(row[3]));
            let needed: Vec<_> = needed.map(|row| variable_of(row[2].trim_matches('`'))).collect();
            let with = |absent: &str, value: Option<&str>| {
                let value_of = |name: &str| if name.ends_with("API_URL") { "http://y" } else { "nats://y" }.to_owned();
                let given = |name: &str| needed.iter().any(|needed| needed == name).then(|| value_of(name));
                Config::from_sources(process, None, |name| if name == absent { value.map(str::to_owned) } else { given(name) })
            };
            with("", None).unwrap_or_else(|error| panic!("{} needs more than the document says: {error:#}", process.name()));
            for name in &needed {
                for value in [None, Some("")] {
                    let error = with(name, value).expect_err(name).to_string();
                    assert!(error.contains(name) && error.contains(process.name()), "{error}");
                }
            }
        }
    }

    #[test]
    fn only_named_proxies_are_trusted() {
        let proxies: TrustedProxies = "10.0.0.0/8, 192.0.2.7, fd00::/8".parse().unwrap();
        for (address, trusted) in
            [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("192.0.2.7", true), ("192.0.2.8", false), ("fd00::1", true), ("::1", false)]
        {
            assert_eq!(proxies.include(address.parse().unwrap()), trusted, "{address}");
        }
        let nobody: TrustedProxies = "none".parse().unwrap();
        assert!(!nobody.include("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn secrets_are_not_printed() {
        let smtp = ("TENURE_SMTP_URL", "smtps://u:hunter2@mail");
        let config = load(Process::Cli, "", &[("TENURE_DATABASE_URL", "postgres://u:hunter2@h/d"), smtp]).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn the_document_lists_every_setting() {
        let document = include_str!("../../docs/configuration.md");
        let table = Config::reference();
        assert!(document.contains(&table), "put this table into docs/configuration.md:\n{table}");
        for process in Process::ALL {
            assert!(document.contains(process.name()), "{}", process.name());
        }
    }
}
