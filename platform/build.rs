//! Lists `migrations/` for the binary, so that a new file needs no registration.

use std::{env, fmt::Write as _, fs, path::Path};

fn main() {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../migrations");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut code = String::new();
    for area in ["event_store", "platform", "read_model"] {
        let mut files: Vec<_> = fs::read_dir(root.join(area))
            .map(|entries| {
                entries
                    .filter_map(Result::ok)
                    .map(|entry| entry.path())
                    .filter(|path| path.extension().is_some_and(|e| e == "sql"))
                    .collect()
            })
            .unwrap_or_default();
        files.sort();
        writeln!(code, "/// The files of `migrations/{area}`, in order: name and text.").expect("a String takes all");
        writeln!(code, "pub(crate) const {}: &[(&str, &str)] = &[", area.to_uppercase()).expect("a String takes all");
        for file in files {
            let name = file.file_name().expect("a file has a name").to_string_lossy().into_owned();
            let path = file.canonicalize().expect("it was just listed").display().to_string();
            writeln!(code, "    ({:?}, include_str!({:?})),", format!("{area}/{name}"), path).expect("a String takes all");
        }
        code.push_str("];\n");
    }
    fs::write(Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("migrations.rs"), code).expect("OUT_DIR is writable");
}
