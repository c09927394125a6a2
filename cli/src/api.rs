//! The two HTTP APIs, as this command uses them.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context as _, bail};
use events::TenantId;
use platform::auth::is_slug;
use reqwest::{RequestBuilder, StatusCode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    home::Home,
    system::{Addresses, State},
    token,
};

/// Where the APIs are; what is not given is taken from the home.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Endpoints {
    /// Base URL of the command API [default: that of the running system]
    #[arg(long, global = true, env = "TENURE_COMMAND_API", value_name = "URL")]
    command_api: Option<String>,
    /// Base URL of the query API [default: that of the running system]
    #[arg(long, global = true, env = "TENURE_QUERY_API", value_name = "URL")]
    query_api: Option<String>,
}

impl Endpoints {
    /// The base URLs of command API and query API.
    pub fn resolve(&self, home: &Home) -> anyhow::Result<(String, String)> {
        if let (Some(command), Some(query)) = (&self.command_api, &self.query_api) {
            return Ok((command.clone(), query.clone()));
        }
        if !home.is_running()? {
            bail!("nothing runs in {}; start it with `tenure up`, or give --command-api and --query-api", home.root().display());
        }
        let addresses = State::read(home).context("the supervisor has not said yet where it listens; try again shortly")?.addresses;
        Ok((self.command_api.clone().unwrap_or(addresses.command_api), self.query_api.clone().unwrap_or(addresses.query_api)))
    }
}

impl From<&Addresses> for Endpoints {
    fn from(addresses: &Addresses) -> Self {
        Self { command_api: Some(addresses.command_api.clone()), query_api: Some(addresses.query_api.clone()) }
    }
}

/// Both APIs with a token.
#[derive(Debug, Clone)]
pub struct Api {
    client: reqwest::Client,
    commands: String,
    queries: String,
    token: String,
}

/// A tenant, as the query API shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id.
    pub tenant_id: TenantId,
    /// Its name in hosts.
    pub slug: String,
    /// The organization's name.
    pub name: String,
    /// `registered`, `ready`, `suspended` or `closed`.
    pub state: String,
    /// What it subscribed to.
    pub subscription: Value,
    /// The IANA name of the time zone of its lists and reports.
    pub time_zone: String,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Tenant>,
    next_cursor: Option<String>,
}

impl Api {
    /// With this token.
    pub fn new(home: &Home, endpoints: &Endpoints, token: String) -> anyhow::Result<Self> {
        let (commands, queries) = endpoints.resolve(home)?;
        let client = reqwest::Client::builder().connect_timeout(Duration::from_secs(3)).timeout(Duration::from_mins(1)).build()?;
        Ok(Self { client, commands, queries, token })
    }
    /// With this token, for answers that take as long as they take; the caller watches them.
    pub fn for_long(home: &Home, endpoints: &Endpoints, token: String) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().connect_timeout(Duration::from_secs(3)).build()?;
        Ok(Self { client, ..Self::new(home, endpoints, token)? })
    }
    /// As an operator of the platform.
    pub async fn operator(home: &Home, endpoints: &Endpoints) -> anyhow::Result<Self> {
        // Whether anything runs is the better first answer.
        endpoints.resolve(home)?;
        Self::new(home, endpoints, token::operator(home).await?)
    }
    /// A read.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.send(self.client.get(format!("{}{path}", self.queries))).await
    }
    /// A command. `key` makes a retry harmless.
    pub async fn post(&self, path: &str, key: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(self.client.post(format!("{}{path}", self.commands)).header("idempotency-key", key).json(body)).await
    }
    /// A read of what only the command API knows, such as users.
    pub async fn get_from_commands<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.send(self.client.get(format!("{}{path}", self.commands))).await
    }
    /// A request to the command API, to be filled and sent by the caller.
    pub fn command(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.commands)).bearer_auth(&self.token)
    }
    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        let response = request.bearer_auth(&self.token).send().await.context("the API does not answer; `tenure status` shows what runs")?;
        let status = response.status();
        let body = response.bytes().await?;
        if status.is_success() {
            return serde_json::from_slice(&body).with_context(|| format!("the API answered {status} with something unexpected"));
        }
        bail!("{}", refusal(status, &body))
    }
    /// All tenants.
    pub async fn tenants(&self) -> anyhow::Result<Vec<Tenant>> {
        self.pages("limit=200").await
    }
    async fn pages(&self, filter: &str) -> anyhow::Result<Vec<Tenant>> {
        let mut all = Vec::new();
        let mut path = format!("/v1/tenants?{filter}");
        loop {
            let page: Page = self.get(&path).await?;
            all.extend(page.items);
            match page.next_cursor {
                Some(cursor) => path = format!("/v1/tenants?{filter}&cursor={cursor}"),
                None => return Ok(all),
            }
        }
    }
    /// The tenant with a slug.
    pub async fn tenant(&self, slug: &str) -> anyhow::Result<Tenant> {
        // What can't be a slug names no tenant, and would not be safe in a URL.
        let found = if is_slug(slug) { self.pages(&format!("slug={slug}")).await? } else { Vec::new() };
        let found = found.into_iter().find(|tenant| tenant.state != "closed");
        found.with_context(|| {
            format!("there is no tenant {slug:?}; `tenure tenant list` shows all, `tenure tenant create --slug {slug} --name …` makes it")
        })
    }
}

/// What a problem document says, in one line.
pub fn refusal(status: StatusCode, body: &[u8]) -> String {
    let Ok(problem) = serde_json::from_slice::<Value>(body) else { return format!("the API answered {status}") };
    let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    let mut line = format!("{} ({}): {}", text("error"), status.as_u16(), text("detail"));
    for error in problem["errors"].as_array().into_iter().flatten() {
        let _ = write!(line, "; {error}");
    }
    line
}
