//! What `tenure up` says once all is ready.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::{
    demo::{self, LogIn},
    home::Home,
    system::{self, State},
    token,
};

/// Prints addresses, something to try, and how to stop.
pub async fn running(home: &Home, state: &State, json: bool, headline: &str) -> anyhow::Result<()> {
    let demo = demo::token(home, &state.addresses).await;
    if json {
        let mut tokens = Map::new();
        tokens.extend(demo.map(|token| (demo::SLUG.to_owned(), Value::from(token))));
        let running = state.processes.contains_key(platform::Process::CommandApi.name());
        if running {
            tokens.insert("operator".into(), token::operator(home).await?.into());
        }
        println!("{}", serde_json::to_string(&report(home, state, tokens)?)?);
    } else {
        let log_ins = demo::logins(home)?;
        print!("{}", text(home, state, headline, demo.as_deref(), &log_ins));
    }
    Ok(())
}

/// Where the superuser's URL is, rather than the URL: output ends in logs, and the file is its owner's alone.
fn report(home: &Home, state: &State, tokens: Map<String, Value>) -> anyhow::Result<Value> {
    let log_ins: Vec<_> =
        demo::logins(home)?.into_iter().map(|one| json!({"slug": one.slug, "role": one.role, "email": one.email})).collect();
    let addresses = &state.addresses;
    Ok(json!({
        "home": home.root(),
        "command_api": addresses.command_api,
        "query_api": addresses.query_api,
        "relay": addresses.relay,
        "projector": addresses.projector,
        "worker": addresses.worker,
        "console": addresses.console,
        "nats_url": addresses.nats_url,
        "database_url_file": system::url_file(home, system::ADMIN),
        "supervisor": state.supervisor.pid,
        "pids": state.pids(),
        "tokens": tokens,
        "log_ins": log_ins,
        "demo_password_file": home.path("secrets").join("demo-password"),
    }))
}

fn text(home: &Home, state: &State, headline: &str, token: Option<&str>, log_ins: &[LogIn]) -> String {
    let addresses = &state.addresses;
    let home_flag = if home.root() == std::env::current_dir().unwrap_or_default().join(".tenure") {
        String::new()
    } else {
        format!(" --home {}", home.root().display())
    };
    let mut text = format!(
        "\n{headline}\n\n  command API  {}  (its commands: /docs)\n  query API    {}  (its reads: /docs)\n  home         {}  (logs in log/)\n",
        addresses.command_api,
        addresses.query_api,
        home.root().display()
    );
    if !addresses.console.is_empty() {
        let _ = write!(text, "\nThe console, in a browser:\n\n");
        let at = |slug: &str| addresses.console.replace("127.0.0.1", &format!("{slug}.localhost"));
        for LogIn { slug, role, email, password, .. } in log_ins {
            let _ = writeln!(text, "  {role:<9} {}/#email={email}&password={password}", at(slug));
        }
        if log_ins.is_empty() {
            let _ = writeln!(text, "  {}  (at your tenant's host: {})", addresses.console, at("SLUG"));
        }
    }
    if let Some(token) = token {
        let command = addresses.command_api.replace("127.0.0.1", "demo.localhost");
        let query = addresses.query_api.replace("127.0.0.1", "demo.localhost");
        let _ = write!(
            text,
            "\nTry the demo company. A token that is good for a day (another: tenure token{home_flag} --tenant demo):\n\n  \
             export TOKEN={token}\n\n\
             Who works there, and what did they earn in 2020?\n\n  \
             curl -s \"{query}/v1/employees?limit=3\" -H \"Authorization: Bearer $TOKEN\"\n  \
             curl -s \"{query}/v1/reports/headcount?as_of=2020-01-01&group_by=department\" -H \"Authorization: Bearer $TOKEN\"\n\n\
             A command:\n\n  \
             curl -s -X POST \"{command}/v1/departments\" -H \"Authorization: Bearer $TOKEN\" -H \"Idempotency-Key: try-1\" \\\n    \
             -H 'Content-Type: application/json' -d '{{\"effective_on\": \"2026-01-01\", \"code\": \"lab\", \"name\": \"Laboratory\"}}'\n"
        );
    }
    let _ = write!(
        text,
        "\nStop it: Ctrl-C where it runs, or `tenure down{home_flag}`; `tenure down{home_flag} --wipe` removes all data too.\n"
    );
    text
}
