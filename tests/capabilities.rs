//! What a capability costs: its own files, an entry in the one list, and a `mod` line per crate. A toy proves it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use events::{CAPABILITIES, Category};

/// Code that serves all capabilities, and so names none.
const SERVE_ALL: &[&str] = &[
    "command-api/src/app.rs",
    "command-api/src/batch.rs",
    "command-api/src/contract.rs",
    "command-api/src/openapi.rs",
    "command-api/src/request.rs",
    "command-api/src/respond.rs",
    "command-api/src/route.rs",
    "command-api/src/router.rs",
    "domain/src/claim.rs",
    "domain/src/command.rs",
    "domain/src/facts.rs",
    "domain/src/lib.rs",
    "domain/src/state.rs",
    "domain/src/touches.rs",
    "events/src/catalog.rs",
    "events/src/stream.rs",
    "events/src/upcast.rs",
    "execution/src/access.rs",
    "execution/src/aggregate.rs",
    "execution/src/aggregates.rs",
    "execution/src/answers.rs",
    "execution/src/execute.rs",
    "execution/src/locks.rs",
    "execution/src/order.rs",
    "execution/src/outcome.rs",
    "execution/src/pipeline.rs",
    "execution/src/problems.rs",
    "execution/src/sent.rs",
];

/// Files that may gain a line, the module's.
const MODULES: &[&str] =
    &["command-api/src/lib.rs", "domain/src/lib.rs", "events/src/lib.rs", "projector/src/lib.rs", "query-api/src/lib.rs"];
/// The list, and how many lines an entry takes at most.
const LIST: (&str, usize) = ("events/src/capabilities.rs", 4);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace holds this crate")
}

#[test]
fn code_that_serves_all_capabilities_names_none() {
    let mut problems = Vec::new();
    let modules = CAPABILITIES.iter().map(|name| format!("{name}::"));
    let variants = Category::ALL.iter().map(|kind| format!("::{kind:?}("));
    let names: Vec<String> = modules.chain(variants).collect();
    for path in SERVE_ALL {
        let text = fs::read_to_string(root().join(path)).expect("it is there");
        let production = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for (n, line) in production.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            problems.extend(names.iter().filter(|name| code.contains(name.as_str())).map(|name| format!("{path}:{}: {name}", n + 1)));
        }
    }
    // What re-exports a capability's own names says whose they are.
    problems.retain(|problem| !problem.contains("lib.rs"));
    assert!(problems.is_empty(), "let the capability say it in its own module:\n  {}", problems.join("\n  "));
}

/// The sources, without what is built from them.
fn sources(from: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![from.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if name == ".cargo" || (!name.starts_with('.') && name != "target" && name != "node_modules") {
                    open.push(path);
                }
            } else if path.is_file() && !name.starts_with('.') || name == "config.toml" {
                let below = path.strip_prefix(from).expect("below it").to_owned();
                found.insert(below, fs::read(&path).expect("a readable file"));
            }
        }
    }
    found
}

fn target() -> PathBuf {
    // This test stands in the target's folder of dependencies.
    let program = std::env::current_exe().expect("a test has a path");
    program.ancestors().nth(3).expect("target/debug/deps").to_owned()
}

/// Writes a toy capability into a copy of the sources, which must then compile, tests included. What others' crates are built to is
/// shared with the workspace; ours get another version in the copy, because cargo would take what it built of one for the other.
#[test]
fn a_new_capability_costs_an_entry_in_the_list_and_a_line_per_crate() {
    let copy = target().join("with-a-toy");
    if copy.exists() {
        fs::remove_dir_all(&copy).expect("an old copy goes");
    }
    let before = sources(root());
    for (path, text) in &before {
        let to = copy.join(path);
        fs::create_dir_all(to.parent().expect("a file has a folder")).expect("a folder");
        fs::write(to, text).expect("a copy");
    }
    let written = xtask::new_capability(&copy, "toy_box").expect("the toy is written");
    let cargo = |arguments: &[&str]| {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        // Nobody builds the copy a second time.
        let once = [("CARGO_INCREMENTAL", OsString::from("0")), ("CARGO_TARGET_DIR", target().into())];
        let run = Command::new(cargo).args(arguments).current_dir(&copy).envs(once).output().expect("cargo runs");
        assert!(
            run.status.success(),
            "cargo {} fails with a toy capability:\n{}",
            arguments.join(" "),
            String::from_utf8_lossy(&run.stderr)
        );
    };
    // rustfmt reaches the new modules, and orders the new lines among the others.
    cargo(&["fmt", "--all"]);

    let mut after = sources(&copy);
    after.remove(Path::new("Cargo.lock"));
    let (mut own, mut cost) = (Vec::new(), BTreeMap::new());
    for (path, text) in &after {
        let Some(old) = before.get(path) else {
            own.push(path.clone());
            continue;
        };
        if old != text {
            let (old, new) = (String::from_utf8_lossy(old), String::from_utf8_lossy(text));
            let gone: Vec<_> = old.lines().filter(|line| !new.lines().any(|other| other == *line)).collect();
            assert!(gone.is_empty(), "{} loses {gone:#?}", path.display());
            cost.insert(path.display().to_string(), new.lines().count() - old.lines().count());
        }
    }
    let shared: BTreeMap<String, usize> = MODULES.iter().map(|path| ((*path).to_owned(), 1)).collect();
    let entry = cost.remove(LIST.0).unwrap_or_default();
    assert!((1..=LIST.1).contains(&entry), "the entry in the list takes {entry} lines");
    assert_eq!(cost, shared, "a capability changes one line in each of these, and no other shared file");
    assert!(own.iter().all(|path| written.contains(path)), "what else was written? {own:#?}");

    let manifest = copy.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).expect("a workspace");
    let toy = text.replacen(concat!("version = \"", env!("CARGO_PKG_VERSION"), "\""), "version = \"0.0.0-toy\"", 1);
    assert_ne!(toy, text, "the workspace has a version");
    fs::write(&manifest, toy).expect("another version");
    cargo(&["check", "--workspace", "--all-targets", "--offline", "--quiet"]);
}
