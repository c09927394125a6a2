//! `tenure key`: the keys that sign access tokens. Run by whoever holds the owner's secrets.

use anyhow::{Context as _, bail};
use platform::{Keys, Process, auth::Issuer, database};
use serde::Serialize;
use sqlx::{FromRow, PgPool};

use crate::{home::Home, system};

/// What is asked for.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Make a new signing key; tokens of the older ones stay good until they are retired
    #[command(after_help = "The new key signs after five seconds, when every process knows it. Example of a rotation:
  tenure key rotate
  sleep 660                                  # longer than a token lives
  tenure key retire 0198f2c4…                # the old one")]
    Rotate,
    /// List the signing keys
    List,
    /// Retire a signing key: its tokens are refused everywhere within five seconds
    Retire {
        /// The key's id, as `tenure key list` shows it
        kid: String,
        /// Also the newest one: everybody must log in again
        #[arg(long)]
        even_the_newest: bool,
    },
}

#[derive(Serialize, FromRow)]
struct SigningKey {
    kid: String,
    algorithm: String,
    created_at: String,
    retired_at: Option<String>,
}

/// Runs the command.
pub async fn run(home: &Home, command: Command, json: bool) -> anyhow::Result<()> {
    let config = system::config(home, Process::Cli)?;
    let pool = database::connect(&config, Process::Cli).await?;
    match command {
        Command::List => {}
        Command::Rotate => {
            let keys = Keys::open(&config, pool.clone()).await.context("opening the key store")?;
            Issuer::rotate(&pool, &keys).await?;
        }
        Command::Retire { kid, even_the_newest } => {
            let newest = list(&pool).await?.into_iter().rfind(|key| key.retired_at.is_none());
            if !even_the_newest && newest.is_some_and(|key| key.kid == kid) {
                bail!("{kid} is the key that signs; make another first with `tenure key rotate`, or add --even-the-newest");
            }
            Issuer::retire(&pool, &kid).await?;
        }
    }
    let keys = list(&pool).await?;
    if json {
        println!("{}", serde_json::to_string(&keys)?);
    } else {
        for SigningKey { kid, algorithm, created_at, retired_at } in keys {
            println!("{kid}  {algorithm}  made {created_at}  {}", retired_at.map_or("in use".into(), |at| format!("retired {at}")));
        }
    }
    Ok(())
}

/// All keys, oldest first.
async fn list(pool: &PgPool) -> anyhow::Result<Vec<SigningKey>> {
    let sql = "select kid, algorithm, to_char(created_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as created_at,
                   to_char(retired_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as retired_at
               from platform.signing_key order by platform.signing_key.created_at, kid";
    sqlx::query_as(sql).fetch_all(pool).await.context("reading the signing keys as the owner")
}
