//! `tenure release`: which types of events may be written, and who keeps new ones from being written.

use std::time::Duration;

use anyhow::Context as _;
use platform::{
    Process, database,
    release::{self, NotActivated, Obstacle, Status, TypeVersion},
};
use serde_json::json;
use sqlx::PgPool;
use tokio::time::Instant;

use crate::{home::Home, system};

/// What is asked for.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Show what this build would activate, and which processes run and can read it
    #[command(after_help = "The exit status is 2 while something is not active.\n\nExample:\n  tenure release status --json")]
    Status,
    /// Let the new types of events of this build be written
    #[command(after_help = "A build that brings new types of events first only reads them, and answers commands that need them with 503
not_activated. So its processes can be put beside those of the build before, in any order, and taken back, and no request
fails. Once all run that build, this command has the new types written. It refuses, names who, and changes nothing, while
a process lives that can't read them; one that was killed is taken for dead after 10 s.

From then on the build before does not start any more: it could not read what is there. Run it with the `tenure` of the
new build. Run again it changes nothing. `tenure up` does it by itself once all is ready.

Examples:
  tenure release status
  tenure release activate
  tenure release activate --json")]
    Activate,
}

/// How long `tenure up` waits for processes that an earlier run left, and that are taken for dead after 10 s.
const LEFT_OVER: Duration = Duration::from_secs(15);
/// How often it tries meanwhile.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs the command. True if all is active.
pub async fn run(home: &Home, command: &Command, json: bool) -> anyhow::Result<bool> {
    let owner = owner(home).await?;
    match command {
        Command::Status => {
            let status = release::status(&owner).await.context("reading what is active, as the owner")?;
            if json {
                println!("{}", serde_json::to_string(&status)?);
            } else {
                print!("{}", screen(&status));
            }
            Ok(status.inactive.is_empty() && status.unread.is_empty())
        }
        Command::Activate => {
            let activated = release::activate(&owner).await?;
            if json {
                println!("{}", json!({ "activated": activated }));
            } else if activated.is_empty() {
                println!("all that this build writes was active before");
            } else {
                println!("activated: {}. Builds that can't read this do not start any more", names(&activated));
            }
            Ok(true)
        }
    }
}

/// Activates what this build brings once its processes run. What keeps it from that, if anything does: the system runs all the same.
pub(crate) async fn activate_after_start(home: &Home) -> Option<String> {
    let owner = match owner(home).await {
        Ok(owner) => owner,
        Err(error) => return Some(format!("new types of events were not activated: {error:#}")),
    };
    let deadline = Instant::now() + LEFT_OVER;
    let why = loop {
        match release::activate(&owner).await {
            Ok(_) => break None,
            Err(NotActivated::StillRead(_)) if Instant::now() < deadline => tokio::time::sleep(AGAIN).await,
            Err(error) => break Some(format!("new types of events are not written yet: {error} (`tenure release activate`)")),
        }
    };
    owner.close().await;
    why
}

async fn owner(home: &Home) -> anyhow::Result<PgPool> {
    let owner = database::connect(&system::config(home, Process::Cli)?, Process::Cli).await?;
    release::check_schema(&owner).await?;
    Ok(owner)
}

fn names(types: &[TypeVersion]) -> String {
    types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn screen(status: &Status) -> String {
    let mut lines =
        vec![format!("build {}; {} types of events are active, after {} activations", status.build, status.active, status.activation)];
    if status.inactive.is_empty() {
        lines.push("all that this build writes is active".into());
    } else {
        lines.push(format!("not active yet: {}", names(&status.inactive)));
    }
    if !status.unread.is_empty() {
        lines.push(format!("active, and of a newer build than this: {}", status.unread.join(", ")));
    }
    for process in &status.processes {
        let state = match (process.lives, process.can_not_read.is_empty()) {
            (false, _) => "dead".to_owned(),
            (true, true) => "reads all of it".to_owned(),
            (true, false) => format!("CAN'T READ {}", process.can_not_read.join(", ")),
        };
        lines.push(format!("  {:<20} {:<28} seen {:>4} s ago  {state}", process.kind, process.build, process.seen_s));
    }
    lines.extend(status.silent.iter().map(|obstacle: &Obstacle| format!("  {obstacle}")));
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use platform::release::ProcessLine;

    use super::*;

    #[test]
    fn the_screen_says_what_is_missing_and_who_is_in_the_way() {
        let one = TypeVersion { category: "employee", event_type: "EmploymentStarted", schema_version: 1 };
        let process = |build: &str, lives, can_not_read: &[&str]| ProcessLine {
            kind: "tenure-projector".into(),
            build: build.into(),
            seen_s: 1,
            lives,
            can_not_read: can_not_read.iter().map(|name| (*name).to_owned()).collect(),
        };
        let old = process("old", true, &["employee/EmploymentStarted v1"]);
        let status = Status {
            build: "new".into(),
            activation: 2,
            active: 25,
            inactive: vec![one],
            unread: vec![],
            processes: vec![process("new", true, &[]), old, process("gone", false, &["employee/EmploymentStarted v1"])],
            silent: vec![Obstacle::Silent { kind: "tenure-relay".into(), sessions: 3 }],
        };
        let text = screen(&status);
        for expected in
            ["not active yet: employee/EmploymentStarted v1", "reads all of it", "CAN'T READ employee/EmploymentStarted v1", "dead"]
        {
            assert_eq!(text.matches(expected).count(), 1, "{expected:?} in {text}");
        }
        assert!(text.contains("tenure-relay has 3 sessions"), "{text}");
    }
}
