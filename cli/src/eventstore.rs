//! `tenure eventstore`: what an operator does at EventStoreDB for Tenure.

use anyhow::{Context as _, bail};
use store::Granted;

use crate::up::given;

/// What is asked for.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Let Tenure's user read and append, and nobody but admins delete events or hide them
    #[command(
        after_help = "EVENTSTORE_URL names the server and an admin of it. Sets the server's default for all streams (its stream `$settings`),
which every user without rights of its own goes by. Run again it changes nothing. The user must be there: admins make
users in the server's own web page, or by its command line.

Example:
  EVENTSTORE_URL='esdb://admin:…@es:2113?tlsCAFile=/etc/es/ca.crt' tenure eventstore grant --user tenure"
    )]
    Grant(Grant),
}

/// Whom to grant rights to.
#[derive(Debug, Clone, clap::Args)]
pub struct Grant {
    /// The user in Tenure's own EVENTSTORE_URL
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Replace a default that somebody else has set
    #[arg(long)]
    replace: bool,
}

/// Runs the command.
pub async fn run(command: Command, json: bool) -> anyhow::Result<()> {
    let Command::Grant(Grant { user, replace }) = command;
    if user.is_empty() || user.starts_with('$') {
        bail!("{user:?} is no user of EventStoreDB; names that begin with $ are its groups");
    }
    let url =
        given("EVENTSTORE_URL").context("EVENTSTORE_URL is not set; put the server's URL with an admin, such as esdb://admin:…@es:2113")?;
    let granted = store::grant(&url, &user, replace).await?;
    let (done, said) = match &granted {
        Granted::Already => ("already", format!("{user} has these rights already; nothing was changed")),
        Granted::Now => ("granted", format!("{user} may read and append; only admins may delete, or change metadata")),
        Granted::Instead(before) => (
            "replaced",
            format!("{user} may read and append; only admins may delete, or change metadata. Before, the default was {before}"),
        ),
        Granted::Refused(before) => {
            bail!("somebody else has set the server's default, {before}; add --replace to put Tenure's in its place")
        }
    };
    if json {
        println!("{}", serde_json::json!({ "user": user, "rights": done }));
    } else {
        println!("{said}");
    }
    Ok(())
}
