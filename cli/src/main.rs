//! `tenure`: see `tenure --help`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use tenure::{
    access, api::Endpoints, bootstrap, down, eventstore, home::Home, import, job, key, read_model, release, restored, status, tenant,
    token, up, user,
};

#[derive(Parser)]
#[command(
    name = "tenure",
    version,
    about = "Tenure: an event-sourced HR system. This command runs it and looks after it.",
    after_help = "Examples:
  tenure up                                        start everything privately, with a demo company; Ctrl-C stops it
  tenure tenant create --slug acme --name Acme     a tenant of your own
  tenure import employees --tenant acme ./history  its people's careers, from CSV
  tenure token --tenant acme                       a token for curl
  tenure user --tenant acme invite ada@example.com --role owner
                                                   somebody who can log in
  tenure status                                    what runs, and how far everything is
  tenure down --wipe                               stop, and remove all data"
)]
struct Arguments {
    /// Where the private system lives
    #[arg(long, global = true, env = "TENURE_HOME", default_value = ".tenure", value_name = "DIR")]
    home: PathBuf,
    /// Print JSON, for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    endpoints: Endpoints,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start PostgreSQL, NATS and the services as private processes, and keep them running
    #[command(after_help = "Nothing is on a standard port and nothing outside the home is touched. Running it twice is harmless.
DATABASE_URL, NATS_URL and EVENTSTORE_URL name servers to use instead of private ones.

Examples:
  tenure up                    until Ctrl-C
  tenure up --detach --json    return when all is ready; base URLs and process ids as JSON
  DATABASE_URL=postgres://admin:secret@db:5432/tenure tenure up")]
    Up(up::Options),
    /// Stop what `tenure up` started
    Down(down::Options),
    /// Set up servers that somebody else runs, such as those of compose.yaml
    #[command(
        after_help = "Makes passwords, keys, roles, database and tables where they are missing, and gives each process a folder with its own
secrets. Run again it changes nothing. DATABASE_URL names PostgreSQL as a superuser; without a password in it, the one
that this made is taken. EVENTSTORE_URL names EventStoreDB, if that is the event store.

Example:
  tenure --home keys bootstrap --hand-out secrets --secrets-only     then start PostgreSQL and NATS with what is there
  DATABASE_URL=postgres://postgres@db:5432/tenure tenure --home keys bootstrap --hand-out secrets"
    )]
    Bootstrap(bootstrap::Options),
    /// Create, list, suspend and resume tenants, and set their time zones
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Print an access token
    #[command(after_help = "Examples:
  curl -H \"Authorization: Bearer $(tenure token --tenant acme)\" …
  tenure token --tenant acme --role auditor --ttl 600
  tenure token --tenant platform --role operator")]
    Token(token::Options),
    /// Invite, list, disable and enable the users of a tenant
    User(user::Options),
    /// Say what a role lets its holder see and change, and which rule says so
    #[command(subcommand)]
    Access(access::Command),
    /// Rotate, list and retire the keys that sign access tokens
    #[command(subcommand)]
    Key(key::Command),
    /// Play a history in
    #[command(subcommand)]
    Import(import::Command),
    /// Rebuild what is derived from the events
    #[command(subcommand)]
    ReadModel(read_model::Command),
    /// List what the worker has to do, does, and could not do, and have it tried again
    #[command(subcommand)]
    Job(job::Command),
    /// Let new types of events be written, once every process that runs can read them
    #[command(subcommand)]
    Release(release::Command),
    /// Set up EventStoreDB, where that is the event store
    #[command(subcommand)]
    Eventstore(eventstore::Command),
    /// Say that the event store was put back to an earlier state, and is to be believed from now on
    #[command(
        after_help = "Tenure knows every place in a log by the event there. Where another one stands, or none, the store was put back, or is
another one: nothing of it is guessed away. Tenants whose read models hold events that are gone are refused (503
history_diverged) until the right store is back, or until this command says that the restored one is right.

It draws a new epoch: every read model is dropped and made anew from the events; remembered answers are forgotten;
positions, versions (ETag) and cursors that clients hold are refused with 409 history_restored, and clients read again.
Commands that were lost can be sent again with their Idempotency-Key. For about six seconds, and until the read models are
dropped, nothing is served. Interrupted, run it again; each run draws another epoch. Run it also where nothing is refused:
a whole PostgreSQL that was put back agrees with itself, and only the positions that clients hold are of another history.

Example:
  tenure restored --yes"
    )]
    Restored(restored::Options),
    /// Show what runs, how far everything is, and what is wrong
    Status(status::Options),
}

/// The exit status of a command that did what it could and left something out.
const PARTLY: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter()).without_time().with_target(false).init();
    let json = arguments.json;
    match run(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(PARTLY),
        Err(error) => {
            if json {
                println!("{}", serde_json::json!({ "error": format!("{error:#}") }));
            }
            eprintln!("tenure: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn filter() -> tracing_subscriber::EnvFilter {
    tracing_subscriber::EnvFilter::try_from_env("TENURE_LOG").unwrap_or_else(|_| "warn".into())
}

fn run(arguments: Arguments) -> anyhow::Result<bool> {
    // What the supervisor starts dies with the thread that started it, so that must be the first one.
    let mut runtime = match arguments.command {
        Command::Up(_) => tokio::runtime::Builder::new_current_thread(),
        Command::Bootstrap(_)
        | Command::Down(_)
        | Command::Tenant(_)
        | Command::Token(_)
        | Command::User(_)
        | Command::Key(_)
        | Command::Access(_)
        | Command::Import(_)
        | Command::ReadModel(_)
        | Command::Job(_)
        | Command::Release(_)
        | Command::Eventstore(_)
        | Command::Restored(_)
        | Command::Status(_) => tokio::runtime::Builder::new_multi_thread(),
    };
    runtime.enable_all().build()?.block_on(dispatch(arguments))
}

/// True if all that was asked for was done.
async fn dispatch(Arguments { home, json, endpoints, command }: Arguments) -> anyhow::Result<bool> {
    let home = Home::at(&home)?;
    match command {
        Command::Up(options) => up::run(home, options, json).await?,
        Command::Down(options) => down::run(&home, &options, json).await?,
        Command::Bootstrap(options) => bootstrap::run(&home, &options, json).await?,
        Command::Tenant(command) => tenant::run(&home, &endpoints, command, json).await?,
        Command::Token(options) => token::run(&home, &endpoints, options, json).await?,
        Command::User(options) => user::run(&home, &endpoints, options, json).await?,
        Command::Access(command) => access::run(&home, &endpoints, command, json).await?,
        Command::Key(command) => key::run(&home, command, json).await?,
        Command::Import(command) => return import::run(&home, &endpoints, command, json).await,
        Command::ReadModel(command) => return read_model::run(&home, command, json).await,
        Command::Job(command) => job::run(&home, command, json).await?,
        Command::Release(command) => return release::run(&home, &command, json).await,
        Command::Eventstore(command) => eventstore::run(command, json).await?,
        Command::Restored(options) => restored::run(&home, &options, json).await?,
        Command::Status(options) => status::run(&home, &options, json).await?,
    }
    Ok(true)
}
