//! `tenure bootstrap`: what `tenure up` does to the servers that it starts, for servers that somebody else runs, such as
//! those of `compose.yaml`. Idempotent; each process is handed its own secrets and no others.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use platform::Process;

use crate::{
    home::{Home, write_private},
    nats::{self, Users},
    system::{self, SERVICES},
    token,
};

/// What is asked for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Only make the secrets that the servers need to start
    #[arg(long)]
    secrets_only: bool,
    /// Where each process gets a folder with its own secrets; the home keeps all of them
    #[arg(long, value_name = "DIR")]
    hand_out: PathBuf,
}

/// Where the NATS server of the handed-out configuration listens and keeps its files.
const NATS_PORT: u16 = 4222;
const NATS_STORE: &str = "/data/nats";

/// Runs the command.
pub async fn run(home: &Home, options: &Options, json: bool) -> anyhow::Result<()> {
    home.create()?;
    let Some(_lock) = home.lock()? else {
        bail!("`tenure up`, or another bootstrap, works on {} at this moment", home.root().display());
    };
    let superuser = home.secret("postgres-superuser")?;
    hand_out_to_servers(home, &options.hand_out, &superuser)?;
    if !options.secrets_only {
        let url = std::env::var("DATABASE_URL").unwrap_or_default();
        if url.is_empty() {
            bail!(
                "DATABASE_URL is not set; put the superuser's URL of the PostgreSQL to set up, such as postgres://postgres@db:5432/tenure"
            );
        }
        system::bootstrap(home, &with_password(&url, &superuser)).await?;
        let eventstore_url = std::env::var("EVENTSTORE_URL").ok().filter(|url| !url.is_empty());
        system::keep_eventstore_url(home, eventstore_url.as_deref())?;
        // The first signing key, before a service looks for it.
        token::operator(home).await?;
        for process in SERVICES.into_iter().filter(|process| process.has_database()) {
            hand_out_to_service(home, &options.hand_out, process)?;
        }
    }
    let done = if options.secrets_only { "the servers can start" } else { "the services can start" };
    if json {
        println!("{}", serde_json::json!({"home": home.root(), "handed_out": options.hand_out}));
    } else {
        println!("{done}; their secrets are in {}", options.hand_out.display());
    }
    Ok(())
}

/// The URL as it is if it has a password, else with ours.
fn with_password(url: &str, password: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    match rest.split_once('@') {
        Some((user, rest)) if !user.contains([':', '/']) => format!("{scheme}://{user}:{password}@{rest}"),
        Some(_) | None => url.to_owned(),
    }
}

fn hand_out_to_servers(home: &Home, to: &Path, superuser: &str) -> anyhow::Result<()> {
    let password = file(to, "postgres", "password")?;
    write_private(&password, superuser.as_bytes())?;
    // PostgreSQL's image runs as a user of its own, which is put into our group.
    fs::set_permissions(&password, Permissions::from_mode(0o640))
        .with_context(|| format!("opening {} to the group", password.display()))?;
    let users = Users { relay: home.secret("nats-relay")?, projector: home.secret("nats-projector")?, worker: home.secret("nats-worker")? };
    let configuration = nats::configuration("0.0.0.0", NATS_PORT, Path::new(NATS_STORE), "2m", Some(&users));
    write_private(&file(to, "nats", "server.conf")?, configuration.as_bytes())
}

fn hand_out_to_service(home: &Home, to: &Path, process: Process) -> anyhow::Result<()> {
    let name = process.name();
    let role = system::role_of(process).with_context(|| format!("{name} has no secrets"))?;
    write_private(&file(to, name, "database_url")?, system::database_url(home, role)?.as_bytes())?;
    if process == Process::CommandApi {
        write_private(&file(to, name, "identity_database_url")?, system::database_url(home, system::IDENTITY)?.as_bytes())?;
    }
    let own_key = file(to, name, "master.key")?;
    if process.opens_keys() {
        let master_key = fs::read(system::master_key(home)).context("reading the master key")?;
        write_private(&own_key, &master_key)?;
    } else if own_key.exists() {
        // Builds before this one gave it to the query API too.
        fs::remove_file(&own_key).with_context(|| format!("removing {}", own_key.display()))?;
    }
    if let Some(user) = nats::user_of(process) {
        write_private(&file(to, name, "nats_password")?, home.secret(&format!("nats-{user}"))?.as_bytes())?;
    }
    Ok(())
}

/// A file in a folder that is there afterwards.
fn file(to: &Path, folder: &str, name: &str) -> anyhow::Result<PathBuf> {
    let folder = to.join(folder);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_added_where_there_is_none() {
        let cases = [
            ("postgres://postgres@db:5432/tenure", "postgres://postgres:p@db:5432/tenure"),
            ("postgres://admin:own@db/tenure", "postgres://admin:own@db/tenure"),
            ("postgres://db/tenure?user=x@y", "postgres://db/tenure?user=x@y"),
            ("nonsense", "nonsense"),
        ];
        for (given, expected) in cases {
            assert_eq!(with_password(given, "p"), expected);
        }
    }

    #[test]
    fn the_secrets_stay_the_same_and_only_their_readers_can_read_them() {
        let root = std::env::temp_dir().join(format!("tenure-bootstrap-{}", std::process::id()));
        let home = Home::at(&root).unwrap();
        home.create().unwrap();
        let to = root.join("out");
        let servers = || {
            hand_out_to_servers(&home, &to, "p").unwrap();
            (fs::read_to_string(to.join("postgres/password")).unwrap(), fs::read_to_string(to.join("nats/server.conf")).unwrap())
        };
        assert_eq!(servers(), servers());
        let mode = |name: &str| fs::metadata(to.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("postgres/password"), mode("nats/server.conf")), (0o640, 0o600));
        fs::remove_dir_all(root).unwrap();
    }
}
