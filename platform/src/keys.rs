//! Keys, kept apart from events: per-person data keys and per-tenant claim keys, wrapped by the master key.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use chacha20poly1305::{
    AeadCore as _, KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, OsRng, Payload},
};
use events::{Event, KeyState, PersonId, PersonKey, StreamName, TenantId, TenantScope};
use hmac::{Hmac, Mac as _};
use moka::future::Cache;
use sha2::Sha256;
use sqlx::{PgConnection, PgPool};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use zeroize::{Zeroize as _, Zeroizing};

use crate::{Config, ScopedTx, database, problem::database_is_away};

/// The key store could not answer, or a key did not unwrap.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyError {
    /// The database is away.
    #[error("the key store is unavailable: {0}")]
    Unavailable(String),
    /// The database did not do what this build asks of it.
    #[error("the key store is broken: {0}")]
    Broken(String),
    /// A wrapped key does not open: altered, or another master key.
    #[error("a key does not unwrap with this master key")]
    DoesNotUnwrap,
    /// The person was erased: there is no key, and there won't be one again.
    #[error("the person was erased")]
    Destroyed,
    /// There is no key for a person who has had one, and nobody destroyed it.
    #[error("a person's key is missing, though it was not destroyed")]
    Missing,
    /// The tenant has no claim key: it is not provisioned.
    #[error("the tenant is not provisioned")]
    NotProvisioned,
}

impl From<sqlx::Error> for KeyError {
    fn from(error: sqlx::Error) -> Self {
        if database_is_away(&error) { Self::Unavailable(error.to_string()) } else { Self::Broken(error.to_string()) }
    }
}

impl From<KeyError> for crate::Problem {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Unavailable(reason) => {
                tracing::warn!(reason, "the key store is unavailable");
                Self::unavailable("database_unavailable", "the database does not answer at the moment; try again shortly")
            }
            KeyError::Broken(_) => Self::internal(&error),
            KeyError::DoesNotUnwrap => Self::damaged("key_damaged", &error),
            KeyError::Missing => Self::damaged("key_missing", &error),
            KeyError::Destroyed => Self::new(http::StatusCode::GONE, "person_erased", "this person was erased"),
            KeyError::NotProvisioned => Self::unavailable("tenant_not_ready", "the tenant is being set up; try again shortly"),
        }
    }
}

/// How long a process may go on with a key that was destroyed elsewhere. Erasure must bite, so it is short.
const KEY_AGE: Duration = Duration::from_mins(1);
/// A claim key never changes.
const CLAIM_KEY_AGE: Duration = Duration::from_mins(5);
/// Connections of the key store's own, at most. Holders of any other connection may ask for a key, and who holds one of these asks
/// for no other connection, so that nobody waits for themselves.
const CONNECTIONS: u32 = 4;
/// How long a call waits for the database.
const PATIENCE: Duration = Duration::from_secs(10);
/// New keys written in one statement, at most.
const BATCH: usize = 512;
/// Tenants whose new keys are written at the same time, at most.
const WRITERS: usize = 4;

/// The key store. Cheap to clone; keys are cached for a bounded time and number.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    pool: PgPool,
    master: Wrapping,
    people: Cache<(TenantId, PersonId), PersonKey>,
    claims: Cache<TenantId, Arc<Zeroizing<[u8; 32]>>>,
    creations: mpsc::Sender<Creation>,
}

/// Keys of people, to seal with.
#[derive(Debug)]
pub struct SealKeys(Vec<(PersonId, PersonKey)>);

impl SealKeys {
    /// A person's key, if it was asked for.
    pub fn get(&self, person: PersonId) -> Option<&PersonKey> {
        self.0.iter().find(|(owner, _)| *owner == person).map(|(_, key)| key)
    }
}

/// What is known of people's keys, to open with.
#[derive(Debug)]
pub struct OpenKeys(HashMap<PersonId, KeyState>);

impl OpenKeys {
    /// What is known of a person's key.
    pub fn get(&self, person: PersonId) -> &KeyState {
        static MISSING: KeyState = KeyState::Missing;
        self.0.get(&person).unwrap_or(&MISSING)
    }
}

struct Creation {
    scope: TenantScope,
    person: PersonId,
    /// Whether a key is made where there is none.
    create: bool,
    answer: oneshot::Sender<Result<PersonKey, KeyError>>,
}

impl Keys {
    /// Opens the key store with the master key that the config names, which must be the one that the database's keys
    /// were wrapped with. It connects like `pool`, and never more often, but takes none of that pool's connections.
    pub async fn open(config: &Config, pool: PgPool) -> anyhow::Result<Self> {
        let pool = database::apart(&pool, CONNECTIONS.min(pool.options().get_max_connections()));
        let path =
            config.master_key_file.as_deref().ok_or_else(|| anyhow!("TENURE_MASTER_KEY_FILE is not set; put a file with 64 hex digits"))?;
        let master = Wrapping::from_file(path)?;
        master.probe(&pool).await?;
        let (creations, requests) = mpsc::channel(4096);
        tokio::spawn(write_creations(pool.clone(), master.clone(), requests));
        Ok(Self(Arc::new(Inner {
            pool,
            master,
            people: Cache::builder().max_capacity(100_000).time_to_live(KEY_AGE).build(),
            claims: Cache::builder().max_capacity(10_000).time_to_live(CLAIM_KEY_AGE).build(),
            creations,
        })))
    }
    /// The key of a person, and whether one that is not there was destroyed.
    pub async fn person(&self, scope: TenantScope, person: impl Into<PersonId>) -> Result<KeyState, KeyError> {
        let person = person.into();
        if let Some(key) = self.0.people.get(&(scope.tenant(), person)).await {
            return Ok(KeyState::Held(key));
        }
        Ok(self.people(scope, &[person]).await?.remove(&person).unwrap_or(KeyState::Missing))
    }
    /// The keys of many people in one round trip; of whoever is not among them the key is missing.
    pub async fn people(&self, scope: TenantScope, people: &[PersonId]) -> Result<HashMap<PersonId, KeyState>, KeyError> {
        let mut keys = HashMap::with_capacity(people.len());
        let mut unknown = Vec::new();
        for person in people {
            match self.0.people.get(&(scope.tenant(), *person)).await {
                Some(key) => drop(keys.insert(*person, KeyState::Held(key))),
                None => unknown.push(person.uuid()),
            }
        }
        if unknown.is_empty() {
            return Ok(keys);
        }
        let rows = Box::pin(within_patience(async {
            let mut tx = ScopedTx::begin(&self.0.pool, scope).await?;
            let rows = select_keys(tx.conn(), scope.tenant(), &unknown).await?;
            tx.commit().await?;
            Ok(rows)
        }))
        .await?;
        for (person, wrapped) in rows {
            let person = PersonId::from_uuid(person);
            let Some(wrapped) = wrapped else {
                keys.insert(person, KeyState::Destroyed);
                continue;
            };
            let key = self.0.master.unwrap_person(scope.tenant(), person, &wrapped)?;
            self.0.people.insert((scope.tenant(), person), key.clone()).await;
            keys.insert(person, KeyState::Held(key));
        }
        Ok(keys)
    }
    /// The key of a person, made durable before it is returned if there was none. Concurrent calls are written
    /// together, and all get the same key. [`KeyError::Destroyed`] if the person was erased.
    pub async fn person_or_create(&self, scope: TenantScope, person: impl Into<PersonId>) -> Result<PersonKey, KeyError> {
        self.to_seal_with(scope, person.into(), true).await
    }
    /// The key of a person of whom something was sealed before: [`KeyError::Missing`] where there is none, because a new one would
    /// open nothing of what stands, and be in the way of the one that is to be restored.
    pub async fn person_known(&self, scope: TenantScope, person: impl Into<PersonId>) -> Result<PersonKey, KeyError> {
        self.to_seal_with(scope, person.into(), false).await
    }
    async fn to_seal_with(&self, scope: TenantScope, person: PersonId, create: bool) -> Result<PersonKey, KeyError> {
        if let Some(key) = self.0.people.get(&(scope.tenant(), person)).await {
            return Ok(key);
        }
        let closed = |_| KeyError::Unavailable("the key writer has stopped".into());
        let key = Box::pin(within_patience(async {
            let (answer, answered) = oneshot::channel();
            self.0
                .creations
                .send(Creation { scope, person, create, answer })
                .await
                .map_err(|_| KeyError::Unavailable("the key writer has stopped".into()))?;
            answered.await.map_err(closed)?
        }))
        .await?;
        self.0.people.insert((scope.tenant(), person), key.clone()).await;
        Ok(key)
    }
    /// The keys with which the personal fields of these events, all for one stream, are to be sealed. A key is made for whoever
    /// begins to be known by one of them.
    pub async fn to_seal(&self, scope: TenantScope, stream: StreamName, events: &[Event]) -> Result<SealKeys, KeyError> {
        let mut owners: Vec<events::KeyOwner> = Vec::new();
        for event in events {
            event.each_owner(stream, |owner| match owners.iter_mut().find(|known| known.person == owner.person) {
                Some(known) => known.is_new |= owner.is_new,
                None => owners.push(owner),
            });
        }
        let mut keys = Vec::with_capacity(owners.len());
        for owner in owners {
            keys.push((owner.person, self.to_seal_with(scope, owner.person, owner.is_new).await?));
        }
        Ok(SealKeys(keys))
    }
    /// The keys with which the personal fields of these events can be opened.
    pub async fn to_open<'e>(
        &self,
        scope: TenantScope,
        events: impl IntoIterator<Item = (StreamName, &'e Event)>,
    ) -> Result<OpenKeys, KeyError> {
        let mut people = BTreeSet::new();
        for (stream, event) in events {
            event.each_owner(stream, |owner| {
                people.insert(owner.person);
            });
        }
        let people: Vec<_> = people.into_iter().collect();
        Ok(OpenKeys(if people.is_empty() { HashMap::new() } else { self.people(scope, &people).await? }))
    }
    /// Destroys a person's key: every sealed field of theirs is unreadable for ever, here at once and in other processes
    /// within a minute. Doing it again changes nothing.
    pub async fn destroy_person(&self, scope: TenantScope, person: impl Into<PersonId>) -> Result<(), KeyError> {
        let person = person.into();
        within_patience(async {
            let mut tx = ScopedTx::begin(&self.0.pool, scope).await?;
            sqlx::query(
                "insert into platform.person_key (tenant_id, person_id, wrapped, destroyed_at) values ($1, $2, null, now())
                 on conflict (tenant_id, person_id) do update set wrapped = null, destroyed_at = now() where person_key.wrapped is not null",
            )
            .bind(scope.tenant().uuid())
            .bind(person.uuid())
            .execute(tx.conn())
            .await?;
            tx.commit().await?;
            Ok(())
        })
        .await?;
        self.0.people.invalidate(&(scope.tenant(), person)).await;
        Ok(())
    }
    /// HMAC-SHA256 of `kind` and `value` under the tenant's claim key (made when the tenant is provisioned; the
    /// platform's own on first use).
    pub async fn claim_digest(&self, scope: TenantScope, kind: &str, value: &str) -> Result<[u8; 32], KeyError> {
        let key = if let Some(key) = self.0.claims.get(&scope.tenant()).await {
            key
        } else {
            let key = Arc::new(Box::pin(within_patience(self.load_claim_key(scope))).await?);
            self.0.claims.insert(scope.tenant(), key.clone()).await;
            key
        };
        let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(key.as_slice()).expect("HMAC takes keys of any length");
        mac.update(kind.as_bytes());
        mac.update(&[0]); // no kind holds a NUL: kind and value can't run into each other
        mac.update(value.as_bytes());
        Ok(mac.finalize().into_bytes().into())
    }

    async fn load_claim_key(&self, scope: TenantScope) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        let mut tx = ScopedTx::begin(&self.0.pool, scope).await?;
        let select = "select claim_key from platform.tenant_key where tenant_id = $1";
        let mut wrapped: Option<Vec<u8>> = sqlx::query_scalar(select).bind(scope.tenant().uuid()).fetch_optional(tx.conn()).await?;
        if wrapped.is_none() && scope.tenant() == TenantId::PLATFORM {
            self.create_claim_key(tx.conn(), scope).await?;
            wrapped = sqlx::query_scalar(select).bind(scope.tenant().uuid()).fetch_optional(tx.conn()).await?;
        }
        tx.commit().await?;
        self.0.master.unwrap(&claim_context(scope.tenant()), &wrapped.ok_or(KeyError::NotProvisioned)?)
    }
    /// Makes the tenant's claim key if there is none, in the caller's transaction, which must be scoped to the tenant.
    pub(crate) async fn create_claim_key(&self, conn: &mut PgConnection, scope: TenantScope) -> Result<(), KeyError> {
        let fresh = PersonKey::generate();
        sqlx::query("insert into platform.tenant_key (tenant_id, claim_key) values ($1, $2) on conflict do nothing")
            .bind(scope.tenant().uuid())
            .bind(self.0.master.wrap(&claim_context(scope.tenant()), fresh.bytes()))
            .execute(conn)
            .await?;
        Ok(())
    }
    /// Seals a small secret under the master key; it opens only in the same context, which should name tenant and place.
    pub fn seal(&self, context: &str, secret: &[u8]) -> Vec<u8> {
        self.0.master.wrap(context, secret)
    }
    /// Opens what [`Keys::seal`] sealed.
    pub fn open_sealed(&self, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.0.master.unwrap_bytes(context, sealed)
    }
    pub(crate) fn master(&self) -> &Wrapping {
        &self.0.master
    }
}

async fn within_patience<T>(work: impl Future<Output = Result<T, KeyError>>) -> Result<T, KeyError> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(KeyError::Unavailable("no answer in time".into())))
}

type WrappedKeys = Vec<(uuid::Uuid, Option<Vec<u8>>)>;

async fn select_keys(conn: &mut PgConnection, tenant: TenantId, people: &[uuid::Uuid]) -> Result<WrappedKeys, sqlx::Error> {
    // Person by person, by the primary key. Asked for all of them at once, the planner reads all keys of a tenant of which it has no
    // statistics yet, and takes those that are meant.
    let sql = "select k.person_id, k.wrapped from unnest($2::uuid[]) as asked (person_id) cross join lateral (
                   select * from platform.person_key where tenant_id = $1 and person_id = asked.person_id offset 0) k";
    sqlx::query_as(sql).bind(tenant.uuid()).bind(people).fetch_all(conn).await
}

/// Writes new keys, as many in one transaction as were asked for while the one before was under way.
async fn write_creations(pool: PgPool, master: Wrapping, mut requests: mpsc::Receiver<Creation>) {
    let mut batch = Vec::with_capacity(BATCH);
    while requests.recv_many(&mut batch, BATCH).await > 0 {
        let mut tenants: BTreeMap<TenantId, Vec<Creation>> = BTreeMap::new();
        for creation in batch.drain(..) {
            tenants.entry(creation.scope.tenant()).or_default().push(creation);
        }
        let mut writes = JoinSet::new();
        for creations in tenants.into_values() {
            if writes.len() >= WRITERS {
                writes.join_next().await;
            }
            writes.spawn(answer_creations(pool.clone(), master.clone(), creations));
        }
        writes.join_all().await;
    }
}

async fn answer_creations(pool: PgPool, master: Wrapping, creations: Vec<Creation>) {
    let keys = within_patience(create_keys(&pool, &master, &creations)).await;
    for Creation { person, answer, .. } in creations {
        let key = match &keys {
            Ok(keys) => keys.get(&person).cloned().unwrap_or(Err(KeyError::Missing)),
            Err(error) => Err(error.clone()),
        };
        let _ = answer.send(key); // who asked may have gone
    }
}

/// The keys of these people, all of one tenant. Those that had none get one, if they are to.
async fn create_keys(
    pool: &PgPool,
    master: &Wrapping,
    creations: &[Creation],
) -> Result<HashMap<PersonId, Result<PersonKey, KeyError>>, KeyError> {
    let Some(scope) = creations.first().map(|creation| creation.scope) else { return Ok(HashMap::new()) };
    let tenant = scope.tenant();
    // Sorted, so that two processes that create the same keys don't deadlock.
    let sorted = |all: bool| {
        let asked = creations.iter().filter(|creation| all || creation.create);
        let mut people: Vec<_> = asked.map(|creation| creation.person).collect();
        people.sort_unstable();
        people.dedup();
        let ids: Vec<_> = people.iter().map(|person| person.uuid()).collect();
        (people, ids)
    };
    let ((people, new), (_, ids)) = (sorted(false), sorted(true));
    let fresh: Vec<_> = people.iter().map(|_| PersonKey::generate()).collect();
    let wrap = |(person, key): (&PersonId, &PersonKey)| master.wrap(&person_context(tenant, *person), key.bytes());
    let wrapped: Vec<_> = people.iter().zip(&fresh).map(wrap).collect();

    let mut tx = ScopedTx::begin(pool, scope).await?;
    if !new.is_empty() {
        sqlx::query("insert into platform.person_key (tenant_id, person_id, wrapped) select $1, * from unnest($2::uuid[], $3::bytea[]) on conflict do nothing")
            .bind(tenant.uuid())
            .bind(&new)
            .bind(&wrapped)
            .execute(tx.conn())
            .await?;
    }
    // What stands there now: ours, or what another process was quicker to write.
    let rows = select_keys(tx.conn(), tenant, &ids).await?;
    tx.commit().await?;
    let ours: HashMap<_, _> = people.into_iter().zip(wrapped.into_iter().zip(fresh)).collect();
    let unwrap = |(person, stored): (uuid::Uuid, Option<Vec<u8>>)| {
        let person = PersonId::from_uuid(person);
        let key = match (stored, ours.get(&person)) {
            (None, _) => Err(KeyError::Destroyed),
            (Some(stored), Some((wrapped, key))) if stored == *wrapped => Ok(key.clone()),
            (Some(stored), _) => master.unwrap_person(tenant, person, &stored),
        };
        (person, key)
    };
    Ok(rows.into_iter().map(unwrap).collect())
}

fn person_context(tenant: TenantId, person: PersonId) -> String {
    format!("person\n{tenant}\n{person}")
}
fn claim_context(tenant: TenantId) -> String {
    format!("claim\n{tenant}")
}

/// The master key. What it wraps opens only in the context it was wrapped for.
#[derive(Clone)]
pub(crate) struct Wrapping(XChaCha20Poly1305);

impl Wrapping {
    fn from_file(path: &Path) -> anyhow::Result<Self> {
        let what = "TENURE_MASTER_KEY_FILE";
        let mode =
            std::fs::metadata(path).with_context(|| format!("{what} names {}, which can't be read", path.display()))?.permissions().mode();
        if mode & 0o077 != 0 {
            bail!("{} ({what}) can be read by others (mode {:o}); run: chmod 600 {}", path.display(), mode & 0o777, path.display());
        }
        let text = Zeroizing::new(std::fs::read(path).with_context(|| format!("{what} names {}, which can't be read", path.display()))?);
        let mut key = [0; 32];
        let hex = text.trim_ascii();
        if hex.len() != 64 || data_encoding::HEXLOWER_PERMISSIVE.decode_mut(hex, &mut key).is_err() {
            bail!("{} ({what}) must hold 64 hex digits and nothing else; make one with: openssl rand -hex 32", path.display());
        }
        let wrapping = Self(XChaCha20Poly1305::new((&key).into()));
        key.zeroize();
        Ok(wrapping)
    }

    async fn probe(&self, pool: &PgPool) -> anyhow::Result<()> {
        sqlx::query("insert into platform.master_key_probe (wrapped) values ($1) on conflict do nothing")
            .bind(self.wrap("probe", &[0; 32]))
            .execute(pool)
            .await
            .context("looking for the key store's tables; is the bootstrap done?")?;
        let wrapped: Vec<u8> = sqlx::query_scalar("select wrapped from platform.master_key_probe").fetch_one(pool).await?;
        self.unwrap("probe", &wrapped).map(drop).map_err(|_| {
            anyhow!("TENURE_MASTER_KEY_FILE holds another master key than the one that this database's keys are wrapped with; put that one there")
        })
    }

    /// Nonce and ciphertext.
    pub(crate) fn wrap(&self, context: &str, key: &[u8]) -> Vec<u8> {
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let sealed =
            self.0.encrypt(&nonce, Payload { msg: key, aad: context.as_bytes() }).expect("a few bytes are below the cipher's limit");
        [nonce.as_slice(), &sealed].concat()
    }
    pub(crate) fn unwrap_bytes(&self, context: &str, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let (nonce, sealed) = wrapped.split_at_checked(24).ok_or(KeyError::DoesNotUnwrap)?;
        let plain = self.0.decrypt(XNonce::from_slice(nonce), Payload { msg: sealed, aad: context.as_bytes() });
        plain.map(Zeroizing::new).map_err(|_| KeyError::DoesNotUnwrap)
    }
    fn unwrap(&self, context: &str, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        let plain = self.unwrap_bytes(context, wrapped)?;
        <[u8; 32]>::try_from(plain.as_slice()).map(Zeroizing::new).map_err(|_| KeyError::DoesNotUnwrap)
    }
    fn unwrap_person(&self, tenant: TenantId, person: PersonId, wrapped: &[u8]) -> Result<PersonKey, KeyError> {
        self.unwrap(&person_context(tenant, person), wrapped).map(|bytes| PersonKey::from_bytes(*bytes))
    }
}

/// Makes a new master key in a file that only its owner can read. An existing file stays as it is.
pub fn create_master_key(path: &Path) -> anyhow::Result<()> {
    let mut file = match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        opened => opened.with_context(|| format!("making {}", path.display()))?,
    };
    let hex = Zeroizing::new(data_encoding::HEXLOWER.encode(PersonKey::generate().bytes()));
    writeln!(file, "{}", *hex)?;
    file.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str, mode: u32) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("tenure-key-{name}-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_wrapped_key_opens_only_in_its_context_and_with_its_master_key() {
        let path = file("good", &format!("{}\n", "0a".repeat(32)), 0o600);
        let master = Wrapping::from_file(&path).unwrap();
        let other = Wrapping::from_file(&file("other", &"0b".repeat(32), 0o400)).unwrap();
        let wrapped = master.wrap("person\na\nb", &[7; 32]);
        assert_eq!(*master.unwrap("person\na\nb", &wrapped).unwrap(), [7; 32]);
        assert!(master.unwrap("person\na\nc", &wrapped).is_err());
        assert!(other.unwrap("person\na\nb", &wrapped).is_err());
        let mut altered = wrapped.clone();
        *altered.last_mut().unwrap() ^= 1;
        assert!(master.unwrap("person\na\nb", &altered).is_err());
        assert!(master.unwrap("person\na\nb", &wrapped[..20]).is_err());
    }

    #[test]
    fn a_master_key_file_must_be_private_and_whole() {
        let hex = "0a".repeat(32);
        for (name, text, mode, expected) in [
            ("group", hex.as_str(), 0o640, "chmod 600"),
            ("world", &hex, 0o604, "chmod 600"),
            ("short", &hex[..62], 0o600, "64 hex digits"),
            ("long", &format!("{hex}00"), 0o600, "64 hex digits"),
            ("text", &"zz".repeat(32), 0o600, "64 hex digits"),
            ("empty", "", 0o600, "64 hex digits"),
        ] {
            let error = Wrapping::from_file(&file(name, text, mode)).map(drop).unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
        let made = std::env::temp_dir().join(format!("tenure-key-made-{}", std::process::id()));
        create_master_key(&made).unwrap();
        let before = std::fs::read(&made).unwrap();
        create_master_key(&made).unwrap();
        assert_eq!(std::fs::read(&made).unwrap(), before, "an existing key is never replaced");
        Wrapping::from_file(&made).map(drop).unwrap();
    }
}
