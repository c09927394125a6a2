//! A whole system in this process, on a database of its own: tenants with tokens, the two APIs over real HTTP, a projector's
//! applier.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use events::{
    EmployeeId, NewEvent, StreamName, TenantId, TenantScope,
    tenancy::{Subscription, TenancyEvent, TenantProvisioned, TenantRegistered},
};
use platform::{
    Config, Keys, Process, Registry,
    auth::{Issuer, TokenRequest},
    database,
    job::{Kind, Ticket},
    keys, provision, release,
};
use projector::{apply::Applier, rebuild::Report};
use secrecy::ExposeSecret as _;
use sqlx::{ConnectOptions as _, PgPool, postgres::PgConnectOptions};
use store::{Append, Expected, IdScope, PgStore, Store};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The system; what it serves ends with the process.
pub struct System {
    /// The superuser's connections.
    pub owner: PgPool,
    /// The store, as the command API's role.
    pub store: Store,
    /// The keys, as the command API's role.
    pub keys: Keys,
    issuer: Issuer,
    database: PgConnectOptions,
    key_file: PathBuf,
}

impl System {
    /// Sets the database up.
    pub async fn start(database: PgConnectOptions) -> anyhow::Result<Self> {
        let owner = database::pool_options(4).connect_with(database.clone()).await?;
        release::bootstrap(&owner, &[]).await?;
        let key_file = std::env::temp_dir().join(format!("bench_{}.key", Uuid::now_v7().simple()));
        keys::create_master_key(&key_file)?;
        let config = config(&database, &key_file, Process::CommandApi, "127.0.0.1:0")?;
        let keys = Keys::open(&config, pool(&database, Process::CommandApi)).await?;
        let store = Store::Postgres(PgStore::open(config.database_url.expose_secret(), config.database_connections)?);
        // Before anything is served: a server that runs learns of a new key only after a while.
        let issuer = Issuer::open(&config, &owner, &keys).await?;
        Ok(Self { owner, store, keys, issuer, database, key_file })
    }

    /// The database, as the superuser.
    pub fn database(&self) -> &PgConnectOptions {
        &self.database
    }

    /// A new tenant, ready to use.
    pub async fn tenant(&self, slug: &str) -> anyhow::Result<TenantScope> {
        let scope = TenantScope::checked(TenantId::from_uuid(Uuid::now_v7()));
        let config = config(&self.database, &self.key_file, Process::Worker, "127.0.0.1:0")?;
        let worker = pool(&self.database, Process::Worker);
        provision::provision(&worker, &Keys::open(&config, worker.clone()).await?, scope).await?;
        let (tenant_id, slug, name) = (scope.tenant(), slug.to_owned(), slug.to_owned());
        let subscription = Subscription { plan: "bench".into(), expires_at: None };
        let events: [TenancyEvent; 2] =
            [TenantRegistered { tenant_id, slug, name, subscription }.into(), TenantProvisioned { tenant_id }.into()];
        let metadata = hot::careers::metadata();
        let event = |(n, event): (usize, &TenancyEvent)| {
            let data = serde_json::value::to_raw_value(event)?;
            anyhow::Ok(NewEvent { id: NewEvent::id_for(metadata.command_id, n), event_type: event.event_type(), schema_version: 1, data })
        };
        let events = events.iter().enumerate().map(event).collect::<Result<_, _>>()?;
        let (stream, expected) = (StreamName::tenancy(tenant_id), Expected::NoStream);
        let append =
            Append { scope: Registry::platform_scope(), stream, expected, events, claims: vec![], metadata, id_scope: IdScope::Tenant };
        self.store.append(append).await.context("registering the tenant")?;
        Ok(scope)
    }

    /// A token that may do everything that HR does, for a day.
    pub fn token(&self, scope: TenantScope, slug: &str) -> anyhow::Result<String> {
        self.token_as(scope, slug, "hr", None)
    }

    /// A token of this role, for a day, of this person.
    pub fn token_as(&self, scope: TenantScope, slug: &str, role: &str, employee: Option<EmployeeId>) -> anyhow::Result<String> {
        let request = TokenRequest {
            subject: "bench".into(),
            tenant: scope.tenant(),
            slug: slug.into(),
            roles: vec![role.into()],
            employee,
            session: None,
            lifetime_s: 86_400,
        };
        Ok(self.issuer.issue(&request)?.expose_secret().to_owned())
    }

    /// What a projector has; opens its keys anew, as a process that has just started does.
    pub async fn applier(&self) -> anyhow::Result<Applier> {
        let config = config(&self.database, &self.key_file, Process::CommandApi, "127.0.0.1:0")?;
        let pool = pool(&self.database, Process::Projector);
        let url = self.database.clone().username(role(Process::Projector)).to_url_lossy();
        let store = Store::Postgres(PgStore::open(url.as_str(), config.database_connections)?);
        Ok(Applier::new(pool.clone(), 8, store, Keys::open(&config, pool).await?))
    }

    /// Serves one of the two APIs; its base URL.
    pub async fn serve(&self, process: Process) -> anyhow::Result<String> {
        self.serve_over(&self.database, process).await
    }

    /// The same, reaching the database another way.
    pub async fn serve_over(&self, database: &PgConnectOptions, process: Process) -> anyhow::Result<String> {
        let listen = free_address()?;
        let config = config(database, &self.key_file, process, &listen)?;
        let serving = if process == Process::QueryApi {
            tokio::spawn(query_api::run(config, CancellationToken::new()))
        } else {
            tokio::spawn(command_api::run(config, CancellationToken::new()))
        };
        for _ in 0..100 {
            if tokio::net::TcpStream::connect(&listen).await.is_ok() {
                return Ok(format!("http://{listen}"));
            }
            if serving.is_finished() {
                serving.await??;
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("{process:?} does not serve")
    }
}

/// Rebuilds a tenant's read model.
pub async fn rebuild(applier: &Applier, scope: TenantScope) -> anyhow::Result<Report> {
    let ticket = Ticket::issue(&applier.keys, scope, Kind::RebuildReadModel, "bench")?;
    Ok(projector::rebuild::rebuild(applier, &ticket, |_| {}).await?)
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.key_file); // It is in the directory for temporary files.
    }
}

/// An address of this machine that nobody listens on.
pub fn free_address() -> anyhow::Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// The login role of a process.
fn role(process: Process) -> &'static str {
    match process {
        Process::QueryApi => "tenure_query",
        Process::Projector => "tenure_projector",
        Process::Worker => "tenure_worker",
        Process::CommandApi | Process::Relay | Process::Console | Process::Cli => "tenure_command",
    }
}

/// Connections as the process itself makes them.
fn pool(database: &PgConnectOptions, process: Process) -> PgPool {
    database::pool_options(16).connect_lazy_with(database::connect_options(database.clone().username(role(process)), process))
}

/// The defaults, but that one tenant may take the whole machine.
fn config(database: &PgConnectOptions, key_file: &std::path::Path, process: Process, listen: &str) -> anyhow::Result<Config> {
    let url = database.clone().username(role(process)).to_url_lossy().to_string();
    Config::from_sources(process, None, |variable| match variable {
        "TENURE_DATABASE_URL" => Some(url.clone()),
        "TENURE_MASTER_KEY_FILE" => Some(key_file.display().to_string()),
        "TENURE_LISTEN" => Some(listen.to_owned()),
        "TENURE_TENANT_REQUESTS_PER_SECOND" | "TENURE_TENANT_CONCURRENT_REQUESTS" => Some("1000000".into()),
        "TENURE_TOKEN_MAX_LIFETIME" => Some("86400".into()),
        _ => None,
    })
}
