//! `cargo xtask`: chores of developers.

use std::{path::Path, process::Command};

use anyhow::{bail, ensure};

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["new-capability", name] => {
            for path in xtask::new_capability(root, name)? {
                println!("{}", path.display());
            }
            let formatted = Command::new(env!("CARGO")).args(["fmt", "--all"]).current_dir(root).status()?;
            ensure!(formatted.success(), "cargo fmt failed on what was written");
            println!("{}", xtask::NEXT);
            Ok(())
        }
        _ => bail!("usage: cargo xtask new-capability NAME"),
    }
}
