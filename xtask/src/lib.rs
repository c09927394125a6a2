//! What `cargo xtask` does, for its program and for the repository's tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

/// What is left to do after [`new_capability`].
pub const NEXT: &str = "\
It compiles as it is: an aggregate about a person, with a note that only that person's key opens. Make it what it is to be; then
  GOLDEN=write cargo test -p events           writes the golden files of its events,
  UPDATE_OPENAPI=1 cargo test -p command-api  and
  UPDATE_OPENAPI=1 cargo test -p query-api    write the contracts,
and CHANGELOG.md tells users of it.";

/// Files of a capability's own: the path, and what stands in it.
const TEMPLATES: &[(&str, &str)] = &[
    ("events/src/__name__.rs", include_str!("templates/events.rs.in")),
    ("domain/src/__name__/mod.rs", include_str!("templates/domain.rs.in")),
    ("domain/src/__name__/commands.rs", include_str!("templates/domain_commands.rs.in")),
    ("domain/src/__name__/refusal.rs", include_str!("templates/domain_refusal.rs.in")),
    ("domain/src/__name__/tests.rs", include_str!("templates/domain_tests.rs.in")),
    ("command-api/src/__name__.rs", include_str!("templates/command_api.rs.in")),
    ("projector/src/__name__/mod.rs", include_str!("templates/projector.rs.in")),
    ("query-api/src/__name__.rs", include_str!("templates/query_api.rs.in")),
    ("migrations/read_model/__name__/tables.sql", include_str!("templates/read_model_tables.sql.in")),
    ("migrations/read_model/__name__/indexes.sql", include_str!("templates/read_model_indexes.sql.in")),
];

/// Where modules of capabilities are declared, and the line of one.
const MODULES: &[(&str, &str)] = &[
    ("events/src/lib.rs", "pub mod __name__;"),
    ("domain/src/lib.rs", "pub mod __name__;"),
    ("command-api/src/lib.rs", "pub mod __name__;"),
    ("projector/src/lib.rs", "pub mod __name__;"),
    ("query-api/src/lib.rs", "pub mod __name__;"),
];

/// The one list.
const LIST: &str = "events/src/capabilities.rs";
/// Its entry of a capability whose only kind of aggregate has the same name.
const ENTRY: &str = "                __name__ { __Name__ = \"__category__\" in __name__; }\n";
/// What stands before and after the entries of tenants' capabilities.
const LIST_OF_TENANTS: (&str, &str) = ("            tenants [\n", "            ]\n");

/// Writes a capability that compiles into the sources at `root`: its own files, its entry in the list, and one `mod` line per
/// crate. The paths of all files that it wrote or changed, from `root`.
pub fn new_capability(root: &Path, name: &str) -> anyhow::Result<Vec<PathBuf>> {
    let is_name = name.len() <= 30 && name.split('_').all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()));
    ensure!(is_name, "a capability's name is one or more words of lower-case letters, joined by underscores, such as `leave`");
    let fill = Fill::new(name);
    let mut written = Vec::new();
    for (path, text) in TEMPLATES {
        let path = PathBuf::from(fill.text(path));
        let whole = root.join(&path);
        ensure!(!whole.exists(), "{} is there already", path.display());
        fs::create_dir_all(whole.parent().context("a file has a folder")?)?;
        fs::write(&whole, fill.text(text)).with_context(|| format!("writing {}", path.display()))?;
        written.push(path);
    }
    for (path, line) in MODULES {
        edit(root, path, |text| with_module(text, &fill.text(line)))?;
        written.push(PathBuf::from(path));
    }
    edit(root, LIST, |text| with_entry(text, &fill.text(ENTRY)))?;
    written.push(PathBuf::from(LIST));
    Ok(written)
}

/// What stands in templates for a capability's names.
struct Fill {
    name: String,
    camel: String,
    words: String,
    category: String,
}

impl Fill {
    fn new(name: &str) -> Self {
        let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
        Self {
            name: name.to_owned(),
            camel: name.split('_').map(capital).collect(),
            words: name.replace('_', " "),
            category: name.replace('_', ""),
        }
    }
    fn text(&self, template: &str) -> String {
        template
            .replace("__category__", &self.category)
            .replace("__words__", &self.words)
            .replace("__Name__", &self.camel)
            .replace("__name__", &self.name)
    }
}

fn edit(root: &Path, path: &str, change: impl FnOnce(&str) -> Option<String>) -> anyhow::Result<()> {
    let whole = root.join(path);
    let text = fs::read_to_string(&whole).with_context(|| format!("reading {path}"))?;
    let text = change(&text).with_context(|| format!("{path} does not look as expected; add the capability by hand"))?;
    fs::write(&whole, text).with_context(|| format!("writing {path}"))
}

/// The text with a module's line, in its place among those of the other capabilities: rustfmt sorts them.
fn with_module(text: &str, line: &str) -> Option<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let organization = lines.iter().position(|line| *line == "pub mod organization;")?;
    let is_module = |line: &&&str| line.starts_with("pub mod ");
    let first = organization - lines[..organization].iter().rev().take_while(is_module).count();
    let count = lines[first..].iter().take_while(is_module).count();
    let at = lines[first..first + count].iter().position(|other| *other > line).unwrap_or(count);
    lines.insert(first + at, line);
    Some(lines.join("\n") + "\n")
}

/// The list with an entry more, the last of tenants' capabilities.
fn with_entry(text: &str, entry: &str) -> Option<String> {
    let (before, after) = text.split_once(LIST_OF_TENANTS.0)?;
    let (entries, rest) = after.split_once(LIST_OF_TENANTS.1)?;
    Some([before, LIST_OF_TENANTS.0, entries, entry, LIST_OF_TENANTS.1, rest].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_and_an_entry_come_where_they_belong() {
        let text = "pub mod z;\n\npub mod employee;\npub mod organization;\npub mod tenancy;\n\nmod a;\n";
        let with = |name: &str| with_module(text, &format!("pub mod {name};")).unwrap();
        assert_eq!(with("leave"), text.replace("pub mod organization;", "pub mod leave;\npub mod organization;"));
        assert_eq!(with("absence"), text.replace("pub mod employee;", "pub mod absence;\npub mod employee;"));
        assert_eq!(with("training"), text.replace("pub mod tenancy;", "pub mod tenancy;\npub mod training;"));
        assert_eq!(with_module("mod a;\n", "pub mod b;"), None);
        let list = "x\n            tenants [\n                a {}\n            ]\n        }\n";
        assert_eq!(with_entry(list, "                b {}\n").unwrap(), list.replace("a {}\n", "a {}\n                b {}\n"));
    }

    #[test]
    fn a_name_is_words_of_letters() {
        for bad in ["", "Leave", "leave-request", "_x", "x_", "a__b", "l3ave", "é", "a/b"] {
            assert!(new_capability(Path::new("/nowhere"), bad).unwrap_err().to_string().contains("lower-case"), "{bad:?}");
        }
    }
}
