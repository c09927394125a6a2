//! Rules about the repository itself, so that the architecture can't rot in silence. Each failure says what to do.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use events::CAPABILITIES;

/// Which of our crates each crate may depend on, tests and build included. A new crate needs a line, and so a decision.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("events", &[]),
    ("calculation", &["events"]),
    ("domain", &["events", "calculation"]),
    ("store", &["events"]),
    ("platform", &["events"]),
    ("relay", &["events", "store", "platform"]),
    ("identity", &["events", "platform"]),
    ("execution", &["events", "domain", "store", "platform"]),
    ("command-api", &["events", "domain", "store", "platform", "identity", "execution"]),
    ("projector", &["events", "store", "platform"]),
    ("query-api", &["events", "calculation", "store", "platform"]),
    ("worker", &["events", "domain", "store", "platform", "execution"]),
    ("console", &["platform"]),
    ("tenure", &["events", "domain", "store", "platform", "command-api", "projector", "query-api", "relay"]),
    ("tests", &["events", "domain", "store", "platform", "command-api", "projector", "query-api", "relay", "worker", "tenure", "xtask"]),
    ("xtask", &[]),
    ("bench", &["events", "domain", "store", "platform", "command-api", "projector", "query-api", "hot"]),
    ("hot", &["events", "domain", "projector"]),
];

/// Where a capability has a place of its own: `*` stands for its name, alternatives are separated by a bar.
const ROOMS: &[&str] = &[
    "events/src/*.rs|events/src/*/mod.rs",
    "domain/src/*.rs|domain/src/*/mod.rs",
    "command-api/src/*.rs|command-api/src/*/mod.rs",
    "projector/src/*/mod.rs",
    "query-api/src/*.rs|query-api/src/*/mod.rs",
    "migrations/read_model/*/tables.sql",
];

/// Capabilities without a place in a room, and why.
const NOT_IN: &[(&str, &str, &str)] = &[
    ("tenancy", "projector/src/*/mod.rs", "every service folds the registry in memory (platform::Registry)"),
    ("tenancy", "migrations/read_model/*/tables.sql", "tenants stand in the platform's log, which has no tenant schema"),
];

/// The code that may vouch for a tenant, and on what ground.
const MAY_CHECK_TENANTS: &[(&str, &str)] = &[
    ("cli/src/job.rs", "an operator at the machine looks at jobs, with the worker's own secrets"),
    ("cli/src/read_model.rs", "an operator at the machine names the tenant, with the projector's own secrets"),
    ("cli/src/status.rs", "an operator at the machine looks at positions, with the query API's own secrets"),
    ("execution/src/answers.rs", "old answers are removed, tenant by tenant, under row-level security"),
    ("identity/src/state.rs", "the tenant that a log-in names, before there is a token; a password or secret decides the rest"),
    ("platform/src/auth.rs", "after the token was verified against the registry"),
    ("platform/src/job.rs", "after the job's ticket was opened"),
    ("platform/src/registry.rs", "the platform's own tenant"),
    ("projector/src/consume.rs", "the projector holds the lease on the tenant's partition"),
    ("query-api/src/fuzzing.rs", "no tenant's data is there"),
    ("store/src/conformance.rs", "the suite makes up its tenants"),
    ("store/src/relay.rs", "the relay carries every tenant's events, each to its own subject"),
    ("store/src/relay/registered.rs", "the platform's own tenant"),
    ("worker/src/turn.rs", "the worker holds the lease on the tenant's partition"),
];

/// The code that may put a read schema beside the live one or in its place, and on what ground.
const MAY_MAKE_READ_SCHEMAS: &[(&str, &str)] = &[
    ("platform/src/provision.rs", "where it is written"),
    ("platform/src/read_model.rs", "where it is written"),
    ("projector/src/rebuild.rs", "after a job's ticket was used"),
];

/// The code that may name a stream without a right to its tenant, and how it finds out whose it is.
const MAY_NAME_STREAMS: &[(&str, &str)] = &[
    ("events/src/envelope.rs", "the subject's tenant must be the source's; the projector compares both with the tenant it works for"),
    ("events/src/stream.rs", "names that stand in answers, as text"),
    ("store/src/eventstore/command_ids.rs", "the row says whose it is"),
    ("store/src/eventstore/index.rs", "the row says whose it is"),
    ("store/src/eventstore/log.rs", "the tenant is compared with whom was asked for"),
    ("store/src/postgres.rs", "the row says whose it is"),
    ("store/src/streams.rs", "the row says whose it is"),
];

/// Routes that stand in no OpenAPI document, so that no attack of `tests/attacks.rs` is tried on them, and what they give.
const UNDOCUMENTED_ROUTES: &[(&str, &str)] = &[
    ("/", "a page of links; the console's page"),
    ("/.well-known/jwks.json", "public keys"),
    ("/assets/{*path}", "the console's files, the same for everybody"),
    ("/docs", "a page that reads the contract"),
    ("/livez", "that the process runs"),
    ("/metrics", "counters and gauges, scanned by tests/attacks.rs"),
    ("/openapi.json", "the contract"),
    ("/readyz", "which check fails"),
    ("/session", "the console's log-in, tried by tests/console.rs"),
    ("/v1/{*path}", "what the console passes on to routes of the documents, tried by tests/console.rs"),
    ("/{*path}", "the console's page"),
];

/// Where a tenant is still text, and why.
const MAY_HOLD_TENANT_TEXT: &[(&str, &str)] = &[
    ("cli/src/access.rs", "the slug that an operator types"),
    ("cli/src/import.rs", "the slug that an operator types, and that the report repeats"),
    ("cli/src/job.rs", "the slug that an operator types, and that is shown"),
    ("cli/src/read_model.rs", "the slug that an operator types"),
    ("cli/src/token.rs", "the slug that an operator types"),
    ("cli/src/user.rs", "the slug that an operator types"),
    ("platform/src/auth/token.rs", "claims as received, before they are checked"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace holds this crate")
}

/// Every file of ours with this extension, by its path from the root.
pub(crate) fn files(extension: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![root().to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("a readable directory") {
            let path = entry.expect("a readable entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "node_modules" {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|e| e == extension) {
                let relative = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
                found.push((relative, fs::read_to_string(&path).expect("UTF-8 text")));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no .{extension} file below {}", root().display());
    found
}

/// The lines that run in production, with their numbers: no comments, no unit tests (which stand last in a file).
fn production_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]" || !text.contains("mod tests {"));
    lines.enumerate().map(|(n, line)| (n + 1, line.split("//").next().unwrap_or_default()))
}

fn production_files() -> impl Iterator<Item = (String, String)> {
    let is_production =
        |path: &str| path.contains("/src/") && !path.starts_with("tests/") && !path.starts_with("bench/") && !path.ends_with("/tests.rs");
    files("rs").into_iter().filter(move |(path, _)| is_production(path))
}

#[track_caller]
fn none_of(problems: &[String], what_to_do: &str) {
    assert!(problems.is_empty(), "{what_to_do}\n  {}", problems.join("\n  "));
}

#[test]
fn crates_depend_in_one_direction() {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let ours: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let table: BTreeMap<&str, &[&str]> = MAY_DEPEND_ON.iter().copied().collect();
    assert_eq!(ours, table.keys().copied().collect(), "every crate has its line in MAY_DEPEND_ON");

    let mut problems = Vec::new();
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        for dependency in dependencies.iter().filter_map(|d| d["name"].as_str()).filter(|d| ours.contains(d)) {
            if !table[name].contains(&dependency) {
                problems.push(format!("{name} depends on {dependency}"));
            }
        }
    }
    none_of(&problems, "these directions are not allowed; move the code, or change MAY_DEPEND_ON on purpose:");
}

/// Crates whose modules use each other in one direction, so that each can be read, and moved, with what it uses alone.
const WITHOUT_CIRCLES: &[&str] = &["command-api", "execution", "identity"];

/// What a source names right after `crate::`, in a `use` with braces too; `$name` is a macro's variable.
fn named_in_crate(text: &str) -> BTreeSet<String> {
    let code = production_lines(text).fold(String::new(), |code, (_, line)| code + line + "\n");
    let name = |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '$')).collect::<String>();
    let mut names = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            names.insert(name(rest));
            continue;
        };
        let mut depth = 0;
        let ends = list.char_indices().find(|(_, c)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth < 0
        });
        let mut outer = 0;
        let items = list[..ends.map_or(list.len(), |(at, _)| at)].split(|c| {
            outer += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && outer == 0
        });
        names.extend(items.map(name).filter(|name| !name.is_empty()));
    }
    names
}

#[test]
fn what_a_file_names_in_its_crate_is_found() {
    let text = "use crate::{\n    a,\n    b::{self, C, d::{E}},\n    f::G,\n};\nfn x() { crate::h::i(); $crate::j!(); crate::$k::L }\n// crate::m\n";
    assert_eq!(named_in_crate(text), ["$k", "a", "b", "f", "h", "j"].map(str::to_owned).into());
}

#[test]
fn modules_of_a_crate_use_each_other_in_one_direction() {
    let mut problems = Vec::new();
    for name in WITHOUT_CIRCLES {
        let folder = format!("{name}/src/");
        let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (path, text) in production_files() {
            let Some(module) = path.strip_prefix(&folder).and_then(|path| path.split(['/', '.']).next()) else { continue };
            if !["lib", "main"].contains(&module) {
                uses.entry(module.to_owned()).or_default().extend(named_in_crate(&text));
            }
        }
        let modules: BTreeSet<String> = uses.keys().cloned().collect();
        for (module, used) in &mut uses {
            // A macro over all capabilities names each of them.
            if used.iter().any(|name| name.starts_with('$')) {
                used.retain(|name| !name.starts_with('$'));
                used.extend(CAPABILITIES.iter().map(|name| (*name).to_owned()));
            }
            used.remove(module);
            let elsewhere = used.iter().filter(|name| !modules.contains(*name));
            problems.extend(
                elsewhere.map(|what| format!("{folder}{module} names crate::{what}, which is no module: name the one that has it")),
            );
        }
        // Whatever uses only what is gone already goes; what is left then uses each other in circles.
        while let Some(free) = uses.iter().find(|(_, used)| used.iter().all(|name| !uses.contains_key(name))).map(|(name, _)| name.clone())
        {
            uses.remove(&free);
        }
        problems.extend(uses.iter().map(|(module, used)| format!("{folder}{module} is in a circle, or uses one: {used:?}")));
    }
    none_of(&problems, "move what both need to a module of its own:");
}

#[test]
fn every_crate_takes_the_workspaces_lints() {
    let manifests = files("toml").into_iter().filter(|(path, _)| path.matches('/').count() == 1 && path.ends_with("/Cargo.toml"));
    // The fuzz targets are a workspace of their own.
    let without: Vec<_> = manifests
        .filter(|(_, text)| !text.contains("[lints]\nworkspace = true") && !text.contains("\n[workspace]\n"))
        .map(|(path, _)| path)
        .collect();
    none_of(&without, "add `[lints] workspace = true` to:");
    let workspace = fs::read_to_string(root().join("Cargo.toml")).expect("a workspace");
    for line in ["unsafe_code = \"forbid\"", "wildcard_enum_match_arm = \"deny\"", "all = { level = \"deny\""] {
        assert!(workspace.contains(line), "the workspace's lints must hold {line}");
    }
}

#[test]
fn a_capability_has_one_name_in_every_room() {
    let paths: Vec<String> = files("rs").into_iter().chain(files("sql")).map(|(path, _)| path).collect();
    let mut problems = Vec::new();
    for capability in CAPABILITIES {
        for room in ROOMS.iter().copied() {
            let exempt = NOT_IN.iter().any(|(name, of, _)| name == capability && *of == room);
            let named = room.replace('*', capability);
            let found = named.split('|').any(|path| paths.iter().any(|other| other == path));
            match (found, exempt) {
                (false, false) => problems.push(format!("{capability} has no {named}")),
                (true, true) => problems.push(format!("{capability} has {named}, but NOT_IN says that it has none")),
                (true, false) | (false, true) => {}
            }
        }
    }
    none_of(&problems, "give each capability its file, or say in NOT_IN why it has none:");
}

#[test]
fn rules_and_folds_deny_clock_and_chance() {
    let mut pure = vec!["events/src/lib.rs".to_owned(), "domain/src/lib.rs".to_owned()];
    pure.push("projector/src/fold.rs".to_owned());
    // What stands in a capability's folder, but for its list of tables and of its own files.
    pure.extend(projections().filter(|(path, _)| !path.ends_with("/mod.rs") && !path.ends_with("/tables.rs")).map(|(path, _)| path));
    let sources: BTreeMap<String, String> = files("rs").into_iter().collect();
    let without: Vec<_> = pure
        .into_iter()
        .filter(|path| !sources.get(path).is_some_and(|text| text.contains("#![deny(clippy::disallowed_methods)]")))
        .collect();
    none_of(&without, "add `#![deny(clippy::disallowed_methods)]` below the module's documentation in:");
    let mut problems = Vec::new();
    for (path, text) in production_files().filter(|(path, _)| path.starts_with("events/") || path.starts_with("domain/")) {
        for word in ["async fn", ".await", "std::fs", "std::net", "std::process", "tokio", "allow(clippy::disallowed_methods"] {
            problems.extend(production_lines(&text).filter(|(_, line)| line.contains(word)).map(|(n, _)| format!("{path}:{n}: {word}")));
        }
    }
    none_of(&problems, "facts and rules do no I/O; take what is needed as an argument:");
}

/// The files of capabilities' projections.
fn projections() -> impl Iterator<Item = (String, String)> {
    let of = |path: &str| CAPABILITIES.iter().any(|capability| path.starts_with(&format!("projector/src/{capability}/")));
    files("rs").into_iter().filter(move |(path, _)| of(path))
}

#[test]
fn a_projection_names_every_event() {
    let mut problems = Vec::new();
    for capability in CAPABILITIES {
        let folder = format!("projector/src/{capability}/");
        let files: Vec<_> = projections().filter(|(path, _)| path.starts_with(&folder)).collect();
        // A wildcard may refuse what it does not know (text in a column, say); it may not go on.
        let goes_on = |line: &str| line.trim_start().starts_with("_ =>") && !line.contains("Err(");
        for (path, text) in &files {
            problems.extend(production_lines(text).filter(|(_, line)| goes_on(line)).map(|(n, _)| format!("{path}:{n}")));
        }
        let events =
            events::Event::types().filter(|(kind, _, _)| kind.capability() == *capability && !files.is_empty()).map(|(_, name, _)| name);
        let unnamed = events.filter(|name| files.iter().all(|(_, text)| !text.contains(name)));
        problems.extend(unnamed.map(|name| format!("{folder} does not name {name}")));
    }
    none_of(&problems, "a projection has an arm per event and no wildcard, so that a new event can't be swallowed:");
}

#[test]
fn a_tenant_is_never_text() {
    let mut problems = Vec::new();
    for (path, text) in production_files() {
        for (n, line) in production_lines(&text) {
            for name in ["tenant", "tenant_id", "namespace"] {
                for (start, _) in line.match_indices(&format!("{name}: ")) {
                    let is_word = line[..start].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '"');
                    let after = &line[start + name.len() + 2..];
                    let ty = after.split([',', ')', '=', '{', ';']).next().unwrap_or_default();
                    let is_text = ["String", "&str", "&'static str", "&'a str", "Option<String>", "Option<&str>", "Box<str>", "Arc<str>"];
                    if is_word && is_text.contains(&ty.trim()) {
                        problems.push((path.clone(), format!("{path}:{n}: {}", line.trim())));
                    }
                }
            }
        }
    }
    listed(&problems, MAY_HOLD_TENANT_TEXT, "take a TenantId (or a TenantScope) instead:");
}

#[test]
fn tenants_are_checked_where_a_check_was_made() {
    let mut problems = Vec::new();
    for (path, text) in production_files() {
        let calls = production_lines(&text).filter(|(_, line)| line.contains("TenantScope::checked("));
        problems.extend(calls.map(|(n, line)| (path.clone(), format!("{path}:{n}: {}", line.trim()))));
    }
    listed(&problems, MAY_CHECK_TENANTS, "take the TenantScope as an argument; or list the file in MAY_CHECK_TENANTS with its ground:");
}

#[test]
fn streams_are_named_by_who_has_a_right_to_their_tenant() {
    let mut problems = Vec::new();
    for (path, text) in production_files() {
        let unproved = |line: &str| ["StreamName::from_parts(", "::from_written("].iter().any(|call| line.contains(call));
        let calls = production_lines(&text).filter(|(_, line)| unproved(line));
        problems.extend(calls.map(|(n, line)| (path.clone(), format!("{path}:{n}: {}", line.trim()))));
    }
    listed(&problems, MAY_NAME_STREAMS, "name the stream by a TenantScope; or list the file in MAY_NAME_STREAMS with its ground:");
}

#[test]
fn read_schemas_are_replaced_by_jobs_only() {
    let mut problems = Vec::new();
    for (path, text) in production_files() {
        let makes = |line: &str| ["create_read_schema(", "create_schema(", "cut_over("].iter().any(|call| line.contains(call));
        let calls = production_lines(&text).filter(|(_, line)| makes(line));
        problems.extend(calls.map(|(n, line)| (path.clone(), format!("{path}:{n}: {}", line.trim()))));
    }
    listed(&problems, MAY_MAKE_READ_SCHEMAS, "let a job do it (projector::rebuild); or list the file with its ground:");
}

#[test]
fn every_route_is_in_the_contract_and_so_under_attack() {
    let mut problems = Vec::new();
    for (path, text) in production_files() {
        let code: Vec<&str> = production_lines(&text).map(|(_, line)| line).collect();
        let code = code.join("\n");
        let routers = [".route(", ".route_service(", ".nest(", ".nest_service(", ".fallback_service("];
        for call in routers.iter().flat_map(|router| code.split(router).skip(1).map(move |rest| (router, rest))) {
            let route = call.1.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()).unwrap_or("(no literal)");
            problems.push((route.to_owned(), format!("{path}: {}{route:?}", call.0)));
        }
    }
    listed(&problems, UNDOCUMENTED_ROUTES, "register it with routes!(…); or list it in UNDOCUMENTED_ROUTES with what it gives:");
}

/// Every finding's file is on the list, and every file on the list still has a finding.
#[track_caller]
fn listed(findings: &[(String, String)], list: &[(&str, &str)], what_to_do: &str) {
    let off: Vec<_> = findings.iter().filter(|(path, _)| !list.iter().any(|(l, _)| l == path)).map(|(_, shown)| shown.clone()).collect();
    none_of(&off, what_to_do);
    let stale: Vec<_> = list.iter().filter(|(l, _)| !findings.iter().any(|(path, _)| path == l)).map(|(l, _)| (*l).to_owned()).collect();
    none_of(&stale, "no longer needed, take it off the list:");
}

/// `platform::today` alone says which day it is. An instant may be written in UTC.
#[test]
fn nobody_takes_the_day_of_the_server_or_of_utc() {
    const TAKEN: [&str; 7] =
        ["current_date", "localtimestamp", "now()::date", "'utc')::date", "timezone::system", "zoned::now", "to_zoned(timezone::utc)"];
    let mut problems = Vec::new();
    for (path, text) in production_files().chain(files("sql")) {
        for (n, line) in production_lines(&text) {
            let code = line.to_lowercase().replace("at time zone 'utc', '", "");
            if code.contains("at time zone") || TAKEN.iter().any(|taken| code.contains(taken)) {
                problems.push(format!("{path}:{n}: {}", line.trim()));
            }
        }
    }
    none_of(&problems, "ask platform::TenantClock for the day, and give it to PostgreSQL, which may not know the zone:");
}

#[test]
fn nothing_is_left_half_done() {
    let mut problems = Vec::new();
    for (path, text) in files("rs").into_iter().filter(|(path, _)| path != "tests/repository.rs") {
        let code = text.lines().enumerate().map(|(n, line)| (n + 1, line.split("//").next().unwrap_or_default()));
        let left = code.filter(|(_, line)| ["todo!(", "unimplemented!(", "dbg!("].iter().any(|word| line.contains(word)));
        problems.extend(left.map(|(n, line)| format!("{path}:{n}: {}", line.trim())));
    }
    none_of(&problems, "finish these:");
}

#[test]
fn what_documents_name_exists() {
    let mut problems = String::new();
    let top: BTreeSet<String> =
        fs::read_dir(root()).expect("a readable root").map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    for (path, text) in files("md") {
        let here = root().join(&path).parent().expect("a directory").to_owned();
        let mut fenced = false;
        for (n, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            }
            if fenced {
                continue;
            }
            for link in line.split("](").skip(1).filter_map(|rest| rest.split([')', '#', ' ']).next()) {
                if !link.is_empty() && !link.contains(':') && !here.join(link).exists() {
                    let _ = writeln!(problems, "  {path}:{}: the link {link}", n + 1);
                }
            }
            // `events/src/leave.rs`: a path below one of our directories. `platform::Gate` and `a/{b}` are none.
            for named in line.split('`').skip(1).step_by(2) {
                let is_path = named.split_once('/').is_some_and(|(first, rest)| top.contains(first) && !rest.is_empty());
                let literal = !named.contains(['{', '*', '…', ' ', '<', '?']);
                if is_path && literal && !root().join(named.split(':').next().unwrap_or(named)).exists() {
                    let _ = writeln!(problems, "  {path}:{}: the file {named}", n + 1);
                }
            }
        }
    }
    assert!(problems.is_empty(), "documents name what does not exist:\n{problems}");
}

#[test]
fn what_dashboards_and_alerts_ask_for_is_measured() {
    let code: String = files("rs").into_iter().map(|(_, text)| text).collect();
    let measured = |name: &str| code.contains(&format!("!(\"{}\"", name.trim_end_matches("_bucket")));
    let mut problems = Vec::new();
    for path in ["deploy/alerts.yml", "deploy/grafana.json"] {
        let text = fs::read_to_string(root().join(path)).expect("it is there");
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let metrics = words.filter(|word| ["_total", "_bucket", "_events", "_tenants"].iter().any(|end| word.ends_with(end)));
        problems.extend(metrics.filter(|name| !measured(name)).map(|name| format!("{path}: {name}")));
    }
    none_of(&problems, "no code measures these; name what it measures:");
}

/// What stands under each key of this indentation in YAML as we write it: two spaces a level, lists and short maps on one line.
fn yaml_blocks(text: &str, indent: usize) -> BTreeMap<String, String> {
    let mut blocks = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty()) {
        let depth = line.len() - line.trim_start().len();
        if depth == indent {
            line.trim().split(':').next().unwrap_or_default().clone_into(&mut name);
        }
        let block: &mut String = blocks.entry(name.clone()).or_default();
        let _ = writeln!(block, "{line}");
    }
    blocks
}

/// A service with what it takes over from the blocks at the top, whatever those take over included.
fn with_merged(block: &str, top: &BTreeMap<String, String>) -> String {
    let mut whole = block.to_owned();
    for line in block.lines() {
        if let Some((_, anchor)) = line.split_once("<<: *") {
            let anchor = anchor.split([',', ' ', '}']).next().unwrap_or_default();
            let merged = top
                .values()
                .find(|block| block.split_whitespace().any(|word| word == format!("&{anchor}")))
                .expect("an anchor that is there");
            whole.push_str(&with_merged(merged, top));
        }
    }
    whole
}

/// `compose.yaml`: nothing of it can fill the disk with logs, gain rights, take all memory, run an image that changes under its tag's
/// name, or show metrics to the network that reaches out of the machine.
#[test]
fn containers_are_contained() {
    let text = fs::read_to_string(root().join("compose.yaml")).unwrap();
    let top = yaml_blocks(&text, 0);
    let services = yaml_blocks(top["services"].split_once('\n').unwrap().1, 2);
    let mut problems = Vec::new();
    for (name, block) in &services {
        let whole = with_merged(block, &top);
        for needed in ["logging: *logging", "cap_drop: [ALL]", "no-new-privileges:true", "mem_limit: ", "pids_limit: "] {
            if !whole.contains(needed) {
                problems.push(format!("{name} lacks `{needed}`"));
            }
        }
        // Its makers promise nothing for a read-only root.
        if name != "eventstore" && !whole.contains("read_only: true") {
            problems.push(format!("{name} can write to its own files"));
        }
        let image = whole.lines().find_map(|line| line.trim().strip_prefix("image: ")).unwrap_or_default();
        let tag = image.split('@').next().unwrap().rsplit_once(':').map_or("", |(_, tag)| tag);
        let version = tag.split('-').next().unwrap();
        // PostgreSQL's patch releases have two numbers, those of others three.
        let parts = if name == "postgres" { 2 } else { 3 };
        let is_patch = version.split('.').count() == parts && version.split('.').all(|part| part.parse::<u32>().is_ok());
        if image != "tenure" && !is_patch {
            problems.push(format!("{name} runs {image:?}, which is no patch release"));
        }
        for line in block.lines().filter(|line| line.trim_start().starts_with("ports:")) {
            if line.matches(':').count() != 1 + 2 * line.matches("127.0.0.1:").count() {
                problems.push(format!("{name} listens beyond this machine: {}", line.trim()));
            }
        }
        // Who is in `front` names the one address at which metrics are served; it is in `metrics`.
        let in_front = block.lines().any(|line| line.trim_start().starts_with("networks:") && line.contains("front"));
        if let Some(listen) = whole.lines().find_map(|line| line.trim().strip_prefix("TENURE_METRICS_LISTEN: "))
            && in_front
        {
            let address = listen.split(':').next().unwrap();
            if !block.contains(&format!("metrics: {{ ipv4_address: {address} }}")) {
                problems.push(format!("{name} serves metrics at {listen}, to the network `front` too"));
            }
        }
    }
    for line in fs::read_to_string(root().join("deploy/Containerfile")).unwrap().lines().filter(|line| line.starts_with("FROM ")) {
        let image = line.split_whitespace().nth(1).unwrap_or_default();
        let version =
            image.split('@').next().unwrap_or_default().rsplit_once(':').map_or("", |(_, tag)| tag.split('-').next().unwrap_or_default());
        // Debian's point releases have two numbers.
        let parts = if image.starts_with("debian:") { 2 } else { 3 };
        if version.split('.').count() != parts || version.split('.').any(|part| part.parse::<u32>().is_err()) {
            problems.push(format!("deploy/Containerfile builds on {image:?}, which is no patch release"));
        }
    }
    if top.get("x-logging").is_none_or(|logging| !(logging.contains("max-size") && logging.contains("max-file"))) {
        problems.push("logs grow without a bound".into());
    }
    for network in ["database", "events", "feed", "metrics"] {
        if !top["networks"].lines().any(|line| line.trim_start().starts_with(&format!("{network}:")) && line.contains("internal: true")) {
            problems.push(format!("the network {network} reaches out of this machine"));
        }
    }
    assert!(services.len() >= 9, "{:?}", services.keys());
    none_of(&problems, "mend compose.yaml:");
}
