//! The EventStoreDB / KurrentDB engine, through the vendor's client.
//!
//! | of ours | there |
//! |---|---|
//! | stream `{namespace}.{category}-{id}` | a stream of that name; version = revision + 1 - the fences before it |
//! | position | the commit position in `$all`: grows, is not dense |
//! | a tenant's log | the events of `$all` whose streams begin with `{namespace}.` |
//! | a claim | the reservation stream `claim.{namespace}.{kind}.{digest}` |
//! | a command's id | a row in PostgreSQL, or the reservation stream `claim.{namespace}.command.{id}` |
//!
//! The server appends to one stream at a time, so claims and events can't share a transaction. The truth about a claim
//! is therefore the *holder's stream*: every append writes its claims into its events' metadata, and who holds what is
//! the fold of that. A reservation stream only says whose stream to ask: see [`reserve`].
//!
//! A filtered read of `$all` makes the server look at every event from where it starts, of whatever tenant. So nobody searches
//! it: the relay keeps an index by tenant in PostgreSQL ([ADR 0010](../../../docs/adr/0010-a-tenants-log-in-eventstoredb.md)).
//!
//! What the client does not do for us is done here: it answers `ConnectionClosed` for ever after one failed connect
//! (a new client is made), a call on a connection that hangs never ends (each has a limit), a subscription that the server
//! ends spins (the log is read in pages instead), its batch appends carry no effective deadline and end their session on
//! the first refusal (plain appends are used), and it cuts the time of an event to seconds (its own metadata has the rest).

mod append;
mod client;
mod command_ids;
mod diagnose;
mod index;
mod log;
mod reserve;
mod rights;
mod tail;
mod wire;

pub use rights::{Granted, grant};

use std::{
    collections::HashMap,
    hash::RandomState,
    sync::{Arc, Mutex, OnceLock, atomic::AtomicUsize},
    time::Instant,
};

use events::{CommandId, RecordedEvent, StreamName, Version};
use eventstore::{Client, ClientSettings};
use tokio::sync::{Notify, RwLock};
use uuid::Uuid;

use append::SharedIndex;
use command_ids::CommandIds;
use diagnose::Cause;
use index::LogIndex;
use tail::Tail;

use crate::{Appended, StoreError, postgres};

pub(crate) use index::{IndexWriter, Indexed};
pub(crate) use log::{LOOK, Looked, LookedAt};
pub(crate) use tail::{EntryStream, Progress};

/// Locks that streams share by their hash; see [`EsStore::append`].
const TURNS: u16 = 1_024;

/// An event store in EventStoreDB or KurrentDB. Cheap to clone.
#[derive(Clone)]
pub struct EsStore(Arc<Inner>);

struct Inner {
    settings: ClientSettings,
    client: RwLock<Client>,
    /// Set once a call has come through.
    opened: OnceLock<()>,
    /// Why there is no connection, and when that was found.
    diagnosis: tokio::sync::Mutex<Option<(Instant, Option<Cause>)>>,
    indexes: Mutex<HashMap<StreamName, SharedIndex>>,
    indexed_commands: AtomicUsize,
    command_ids: OnceLock<CommandIds>,
    contested: Mutex<HashMap<String, (Uuid, Instant)>>,
    /// Where there is none, all of it is kept in memory.
    index: Option<LogIndex>,
    tail: tokio::sync::Mutex<Tail>,
    /// Up to where the index was last known to be complete.
    known: Mutex<Progress>,
    /// What was known when another history was last met.
    forgotten: Mutex<Option<Progress>>,
    appended: Arc<Notify>,
    turns: Vec<tokio::sync::Mutex<()>>,
    hasher: RandomState,
}

impl std::fmt::Debug for EsStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EsStore")
    }
}

impl EsStore {
    /// Connects to the server or cluster of a connection string such as `esdb://localhost:2113?tls=false`, without a database: where
    /// tenants' events stand is kept in memory, which takes a look at all that there is. For tests and tools.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::connect_with(url, None).await
    }

    /// The same with the index of the logs and commands' ids in a database that was brought up to date before, where each append also
    /// wakes the relay.
    pub async fn open(url: &str, database_url: &str, connections: u32) -> Result<Self, StoreError> {
        let index = LogIndex::open(database_url, connections)?;
        let store = Self::connect_with(url, Some(index.clone())).await?;
        tokio::spawn(postgres::wake(index.pool().clone(), Arc::downgrade(&store.0.appended)));
        store.reserving(database_url)
    }

    async fn connect_with(url: &str, index: Option<LogIndex>) -> Result<Self, StoreError> {
        let settings: ClientSettings =
            url.parse().map_err(|_| StoreError::Broken("EventStoreDB's URL is not such as esdb://user:password@host:2113".into()))?;
        let client = Client::new(settings.clone()).map_err(|e| StoreError::Broken(format!("EventStoreDB's URL can't be used: {e}")))?;
        let store = Self(Arc::new(Inner {
            settings,
            client: RwLock::new(client),
            opened: OnceLock::new(),
            diagnosis: tokio::sync::Mutex::default(),
            indexes: Mutex::default(),
            indexed_commands: AtomicUsize::default(),
            command_ids: OnceLock::new(),
            contested: Mutex::default(),
            index,
            tail: tokio::sync::Mutex::default(),
            known: Mutex::default(),
            forgotten: Mutex::default(),
            appended: Arc::default(),
            turns: (0..TURNS).map(|_| tokio::sync::Mutex::default()).collect(),
            hasher: RandomState::new(),
        }));
        // The server's verdict now rather than on the first command: what no retry can mend is refused here.
        store.end().await?;
        let _ = store.0.opened.set(());
        Ok(store)
    }

    /// Reserves commands' ids in PostgreSQL, where this costs EventStoreDB nothing.
    pub fn reserving(self, database_url: &str) -> Result<Self, StoreError> {
        // An error says that it does so already.
        let _ = self.0.command_ids.set(CommandIds::open(database_url)?);
        Ok(self)
    }

    pub(crate) async fn read_stream(&self, stream: StreamName, after: Version, limit: usize) -> Result<Vec<RecordedEvent>, StoreError> {
        // An event's revision is not less than its version minus one: it is at `after` or, behind fences, later.
        let (name, mut from, mut events) = (stream.to_string(), after.0, Vec::new());
        while events.len() < limit {
            let wanted = limit - events.len();
            let raw = self.read_raw(&name, from, wanted).await?;
            for record in &raw {
                events.extend(self.recorded(stream, record).await?.map(|(event, _)| event).filter(|event| event.version > after));
            }
            if raw.len() < wanted {
                break;
            }
            from += raw.len() as u64;
        }
        Ok(events)
    }

    pub(crate) async fn find_command(&self, stream: StreamName, command: CommandId) -> Result<Option<Appended>, StoreError> {
        let mut found = self.command_in(stream, command).await?;
        if found.is_none()
            && let Some(holder) = self.command_holder(stream.tenant(), command).await?.filter(|holder| *holder != stream)
        {
            found = self.command_in(holder, command).await?;
        }
        Ok(found.map(|first| Appended { replayed: true, ..first }))
    }

    fn indexes(&self) -> std::sync::MutexGuard<'_, HashMap<StreamName, SharedIndex>> {
        self.0.indexes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
