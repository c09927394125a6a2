//! Lists `migrations/` for the binary, so that a new file needs no registration.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

fn main() {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../migrations");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut code = String::new();
    for area in ["event_store", "platform", "read_model"] {
        let mut files = Vec::new();
        add_sql(&root.join(area), &mut files);
        writeln!(code, "/// The files of `migrations/{area}`, in order: name and text.").expect("a String takes all");
        writeln!(code, "pub(crate) const {}: &[(&str, &str)] = &[", area.to_uppercase()).expect("a String takes all");
        for file in files {
            let name = file.strip_prefix(&root).expect("it was found there").to_string_lossy().into_owned();
            let path = file.canonicalize().expect("it was just listed").display().to_string();
            writeln!(code, "    ({name:?}, include_str!({path:?})),").expect("a String takes all");
        }
        code.push_str("];\n");
    }
    fs::write(Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("migrations.rs"), code).expect("OUT_DIR is writable");
}

/// Adds a folder's SQL files by name, then those of its folders.
fn add_sql(folder: &Path, to: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path()).collect();
    entries.sort();
    let (folders, files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|path| path.is_dir());
    to.extend(files.into_iter().filter(|path| path.extension().is_some_and(|e| e == "sql")));
    for folder in folders {
        add_sql(&folder, to);
    }
}
