//! The home of a private system, `.tenure/`: what runs where, secrets, logs, and what is running now.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

/// A home directory.
#[derive(Debug, Clone)]
pub struct Home {
    root: PathBuf,
}

/// What `tenure up` decided once and keeps: `config.toml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where each server listens on 127.0.0.1.
    pub ports: Ports,
    /// Where PostgreSQL's files are; not under the home where its user could not get at them.
    pub postgres_dir: PathBuf,
    /// The seed of the demo company.
    pub demo_seed: u64,
    /// NATS: how often it syncs its files, such as `2m` or `always`. The event store heals what a crash takes.
    pub nats_sync_interval: String,
    /// Where the data are; absent in homes of older builds.
    #[serde(default)]
    pub given: Option<Given>,
}

/// Servers that hold the data and are not this home's own: they were given by their URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// `DATABASE_URL`.
    pub database: bool,
    /// `EVENTSTORE_URL`.
    pub eventstore: bool,
}

/// TCP ports on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each is named for what listens there")]
pub struct Ports {
    pub postgres: u16,
    pub nats: u16,
    pub command_api: u16,
    pub query_api: u16,
    pub relay: u16,
    pub projector: u16,
    // Of a home that was made before: none yet.
    #[serde(default)]
    pub worker: u16,
    // As above.
    #[serde(default)]
    pub console: u16,
    // Of a home that was made before: any.
    #[serde(default)]
    pub command_metrics: u16,
    #[serde(default)]
    pub query_metrics: u16,
    // Of a home that was made before: none.
    #[serde(default)]
    pub nats_health: u16,
}

impl Home {
    /// The home at `root`; relative paths count from the working directory.
    pub fn at(root: &Path) -> anyhow::Result<Self> {
        Ok(Self { root: std::path::absolute(root).with_context(|| format!("{} is not a usable path", root.display()))? })
    }
    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// A path within.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
    /// Makes the directories.
    pub fn create(&self) -> anyhow::Result<()> {
        fs::create_dir_all(&self.root).with_context(|| format!("making {}", self.root.display()))?;
        for (name, mode) in [("secrets", 0o700), ("run", 0o700), ("log", 0o700), ("nats", 0o700)] {
            private_dir(&self.path(name), mode)?;
        }
        // Keeps a home inside a repository out of it.
        fs::write(self.path(".gitignore"), "*\n")?;
        Ok(())
    }
    /// A short name of this home, for what must stand elsewhere.
    pub fn short_name(&self) -> String {
        let hash = Sha256::digest(self.root.as_os_str().as_encoded_bytes());
        data_encoding::HEXLOWER.encode(&hash[..5])
    }
    /// Takes the lock that the supervisor holds as long as it runs; `None` if another one has it.
    pub fn lock(&self) -> anyhow::Result<Option<File>> {
        let path = self.path("run/lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
        }
    }
    /// Whether a supervisor runs.
    pub fn is_running(&self) -> anyhow::Result<bool> {
        Ok(self.path("run").is_dir() && self.lock()?.is_none())
    }
    /// The settings, if `tenure up` was here before.
    pub fn settings(&self) -> anyhow::Result<Option<Settings>> {
        let path = self.path("config.toml");
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text)
                .map(Some)
                .with_context(|| format!("{} is not what `tenure up` wrote; mend or remove it", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }
    /// Keeps the settings.
    pub fn keep_settings(&self, settings: &Settings) -> anyhow::Result<()> {
        let text = format!("# Written by `tenure up`, which keeps to it.\n{}", toml::to_string(settings)?);
        write_private(&self.path("config.toml"), text.as_bytes())
    }
    /// A secret by name; made at first use.
    pub fn secret(&self, name: &str) -> anyhow::Result<String> {
        let path = self.path("secrets").join(name);
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        }
        let mut random = [0; 24];
        File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut random))
            .context("the operating system gives no random bytes")?;
        let secret = data_encoding::HEXLOWER.encode(&random);
        write_private(&path, secret.as_bytes())?;
        Ok(secret)
    }
    /// Keeps a secret that was given or composed, and says where.
    pub fn keep_secret(&self, name: &str, value: &str) -> anyhow::Result<PathBuf> {
        let path = self.path("secrets").join(name);
        write_private(&path, value.as_bytes())?;
        Ok(path)
    }
    /// Reads a JSON file of `run/`; none if it is not there.
    pub fn read_run<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.path("run").join(name)).ok()?).ok()
    }
    /// Writes a JSON file of `run/`, whole or not at all.
    pub fn write_run(&self, name: &str, value: &impl Serialize) -> anyhow::Result<()> {
        write_private(&self.path("run").join(name), &serde_json::to_vec_pretty(value)?)
    }
}

/// A directory that is there afterwards with this mode, and is no link.
pub fn private_dir(path: &Path, mode: u32) -> anyhow::Result<()> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            if !fs::symlink_metadata(path)?.is_dir() {
                bail!("{} is in the way: it is not a directory; remove it", path.display());
            }
            Ok(())
        }
        Err(error) => Err(error).with_context(|| format!("making {}", path.display())),
    }
}

/// Writes a file that only its owner reads, whole or not at all.
pub fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let beside = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

impl Ports {
    /// Free ports, below those that the system gives to outgoing connections.
    pub fn pick() -> anyhow::Result<Self> {
        // All stay bound until every one is chosen, so that they differ.
        let mut bound = Vec::new();
        let mut next = || -> anyhow::Result<u16> {
            for _ in 0..200 {
                if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, fastrand::u16(17_000..32_000))) {
                    let port = listener.local_addr()?.port();
                    bound.push(listener);
                    return Ok(port);
                }
            }
            bail!("no free TCP port was found on 127.0.0.1 between 17000 and 32000")
        };
        Ok(Self {
            postgres: next()?,
            nats: next()?,
            command_api: next()?,
            query_api: next()?,
            relay: next()?,
            projector: next()?,
            worker: next()?,
            console: next()?,
            command_metrics: next()?,
            query_metrics: next()?,
            nats_health: next()?,
        })
    }
    /// Those that somebody else has taken meanwhile.
    pub fn taken(&self) -> Vec<u16> {
        let taken = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err();
        self.all().into_iter().filter(taken).collect()
    }
    /// Chooses what a home of an older build has not.
    pub fn complete(&mut self) -> anyhow::Result<()> {
        while self.worker == 0 || self.console == 0 {
            let port = Self::pick()?.worker;
            if !self.all().contains(&port) {
                *(if self.worker == 0 { &mut self.worker } else { &mut self.console }) = port;
            }
        }
        Ok(())
    }
    fn all(&self) -> [u16; 11] {
        let Self { postgres, nats, command_api, query_api, relay, projector, worker, console, command_metrics, query_metrics, nats_health } =
            *self;
        [postgres, nats, command_api, query_api, relay, projector, worker, console, command_metrics, query_metrics, nats_health]
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn home(name: &str) -> Home {
        let root = std::env::temp_dir().join(format!("tenure-home-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let home = Home::at(&root).unwrap();
        home.create().unwrap();
        home
    }

    #[test]
    fn secrets_are_made_once_and_for_the_owner_only() {
        let home = home("secrets");
        let secret = home.secret("role-x").unwrap();
        assert_eq!((secret.len(), home.secret("role-x").unwrap() == secret, home.secret("role-y").unwrap() == secret), (48, true, false));
        let mode = |name: &str| fs::metadata(home.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("secrets"), mode("secrets/role-x")), (0o700, 0o600));
        fs::remove_dir_all(home.root()).unwrap();
    }

    #[test]
    fn one_supervisor_per_home() {
        let home = home("lock");
        let lock = home.lock().unwrap();
        assert!(lock.is_some() && home.is_running().unwrap());
        drop(lock);
        assert!(!home.is_running().unwrap());
        fs::remove_dir_all(home.root()).unwrap();
    }

    #[test]
    fn settings_survive_and_foreign_ones_are_named() {
        let home = home("settings");
        assert!(home.settings().unwrap().is_none());
        let settings = Settings {
            ports: Ports::pick().unwrap(),
            postgres_dir: "/x".into(),
            demo_seed: 7,
            nats_sync_interval: "2m".into(),
            given: None,
        };
        home.keep_settings(&settings).unwrap();
        assert_eq!(home.settings().unwrap().unwrap().ports, settings.ports);
        assert!(settings.ports.taken().is_empty());
        // As an older build kept it.
        let text = fs::read_to_string(home.path("config.toml")).unwrap();
        let older: Vec<&str> = text.lines().filter(|line| !line.starts_with("worker") && !line.starts_with("console")).collect();
        fs::write(home.path("config.toml"), older.join("\n")).unwrap();
        let mut ports = home.settings().unwrap().unwrap().ports;
        assert_eq!((ports.worker, ports.console), (0, 0));
        ports.complete().unwrap();
        assert!(ports.worker != 0 && ports.console != 0 && ports.worker != ports.console);
        let Ports { worker, console, .. } = settings.ports;
        assert_eq!(Ports { worker, console, ..ports }, settings.ports, "the others stay");
        fs::write(home.path("config.toml"), "ports = 1").unwrap();
        assert!(home.settings().unwrap_err().to_string().contains("config.toml"));
        fs::remove_dir_all(home.root()).unwrap();
    }
}
