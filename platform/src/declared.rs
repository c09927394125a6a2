//! Who may read what of a read model, as its migrations declare it beside each table and column.
//!
//! A table's comment says by which column its rows are whose, and of which class they are: `-- of employee_id: directory`; or
//! `-- of everyone: directory, pay`, where rows are sums over all people; or `-- open`, where they are about nobody. A column's
//! comment begins with its class, or with `open`. What says nothing is granted to nobody but the projector.

use std::sync::LazyLock;

use crate::{access::FieldClass, provision::read_model_sql};

/// A table, as its migration declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredTable {
    /// Its name.
    pub name: &'static str,
    /// About whom its rows are; nothing where it does not say.
    pub rows: Option<DeclaredRows>,
    /// Its columns in order, each with who may read it; nothing where it does not say.
    pub columns: Vec<(&'static str, Option<DeclaredColumn>)>,
}

/// About whom the rows of a table are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeclaredRows {
    /// About nobody: for whoever sees anybody.
    Open,
    /// Each about the person in a column: for who may see this class of that person, and the person at all.
    Of(&'static str, FieldClass),
    /// About all people together: for who may see these classes of everyone.
    OfEveryone(Vec<FieldClass>),
}

/// Who may read a column of a row that they may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeclaredColumn {
    /// Everybody.
    Open,
    /// Who may see this class of the row's person.
    Class(FieldClass),
}

impl DeclaredTable {
    /// The columns that say who may read them.
    pub fn readable(&self) -> impl Iterator<Item = (&'static str, DeclaredColumn)> {
        self.columns.iter().filter_map(|(name, column)| Some((*name, (*column)?)))
    }
    /// The classes that hide something of it.
    fn classes(&self) -> Vec<FieldClass> {
        let of_rows = match &self.rows {
            None | Some(DeclaredRows::Open) => Vec::new(),
            Some(DeclaredRows::Of(_, class)) => vec![FieldClass::Directory, *class],
            Some(DeclaredRows::OfEveryone(classes)) => classes.clone(),
        };
        let of_columns = self.readable().filter_map(|(_, column)| match column {
            DeclaredColumn::Class(class) => Some(class),
            DeclaredColumn::Open => None,
        });
        of_rows.into_iter().chain(of_columns).collect()
    }
    /// What gives a role the right to read what is declared of it.
    pub(crate) fn grant(&self, role: &str) -> Option<String> {
        self.rows.as_ref()?;
        let readable: Vec<_> = self.readable().map(|(name, _)| name).collect();
        let columns = match readable.len() {
            0 => return None,
            // One right in PostgreSQL's catalogue rather than one for each column.
            all if all == self.columns.len() => String::new(),
            _ => format!(" ({})", readable.join(", ")),
        };
        Some(format!("grant select{columns} on {} to \"{role}\"", self.name))
    }
}

/// What the migrations of this build declare.
#[derive(Debug)]
pub struct Declared {
    /// The tables.
    pub tables: Vec<DeclaredTable>,
    /// The classes that hide something.
    pub classes: Vec<FieldClass>,
}

impl Declared {
    /// Of SQL that makes tables.
    pub fn of(sql: &[&'static str]) -> Self {
        let tables: Vec<_> = sql.iter().flat_map(|sql| tables(sql)).collect();
        let holds = |class: &FieldClass| tables.iter().any(|table| table.classes().contains(class));
        let classes = FieldClass::ALL.into_iter().filter(holds).collect();
        Self { tables, classes }
    }
    /// Of this build's read model.
    pub fn read_model() -> &'static Self {
        static DECLARED: LazyLock<Declared> = LazyLock::new(|| Declared::of(&read_model_sql().tables));
        &DECLARED
    }
}

/// The tables that SQL makes. A table begins with a line `create table NAME (`, has a line for each column, and ends with a
/// line that begins with `)`.
fn tables(sql: &'static str) -> Vec<DeclaredTable> {
    let mut tables: Vec<DeclaredTable> = Vec::new();
    let mut open = false;
    for line in sql.lines().map(str::trim) {
        let (code, comment) = line.split_once("--").unwrap_or((line, ""));
        if let Some(rest) = code.strip_prefix("create table ") {
            let name = rest.split([' ', '(']).next().unwrap_or_default();
            tables.push(DeclaredTable { name, rows: rows(comment), columns: Vec::new() });
            open = true;
        } else if code.starts_with(')') {
            open = false;
        } else if let Some(table) = tables.last_mut().filter(|_| open)
            && let Some(name) = code.split_whitespace().next()
        {
            table.columns.push((name, column(comment)));
        }
    }
    tables
}

fn rows(comment: &'static str) -> Option<DeclaredRows> {
    let comment = comment.trim();
    if comment == "open" {
        return Some(DeclaredRows::Open);
    }
    let (whose, classes) = comment.strip_prefix("of ")?.split_once(": ")?;
    let classes = classes.split(", ").map(str::parse).collect::<Result<Vec<FieldClass>, _>>().ok()?;
    match (whose, classes.as_slice()) {
        ("everyone", _) => Some(DeclaredRows::OfEveryone(classes)),
        (column, [class]) => Some(DeclaredRows::Of(column, *class)),
        (_, _) => None,
    }
}

fn column(comment: &'static str) -> Option<DeclaredColumn> {
    let word = comment.trim().split([':', ' ']).next()?;
    if word == "open" { Some(DeclaredColumn::Open) } else { word.parse().ok().map(DeclaredColumn::Class) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not to be read by queries; everything else says whose it is.
    const UNSAID: [(&str, &str); 2] = [("checkpoint", "only_row"), ("checkpoint", "fence")];

    #[test]
    fn every_table_and_column_of_the_read_model_is_declared() {
        let declared = Declared::read_model();
        let made: usize = read_model_sql().tables.iter().map(|sql| sql.matches("create table ").count()).sum();
        assert_eq!(declared.tables.len(), made);
        for table in &declared.tables {
            assert!(table.rows.is_some(), "{}: say beside its name whose its rows are", table.name);
            for (column, said) in &table.columns {
                let unsaid = UNSAID.contains(&(table.name, *column));
                assert_eq!(said.is_none(), unsaid, "{}.{column}: say beside it of which class it is", table.name);
            }
            let is_about_people = table.columns.iter().any(|(column, _)| *column == "employee_id");
            let whose = matches!(table.rows, Some(DeclaredRows::Of("employee_id", _)));
            assert_eq!(is_about_people, whose, "{} has the id of a person", table.name);
            if let Some(DeclaredRows::Of(column, _)) = table.rows {
                assert!(table.columns.iter().any(|(name, _)| *name == column), "{} has no {column}", table.name);
            }
        }
        assert_eq!(declared.classes, FieldClass::ALL);
    }

    #[test]
    fn what_says_nothing_is_granted_to_nobody() {
        let grants = |sql: &'static str| Declared::of(&[sql]).tables.iter().filter_map(|table| table.grant("r")).collect::<Vec<_>>();
        assert_eq!(grants("create table a ( -- open\n    x int, -- open: a number\n    y int -- pay\n);"), ["grant select on a to \"r\""]);
        assert_eq!(grants("create table a ( -- open\n    x int, -- open\n    y int -- a number\n);"), ["grant select (x) on a to \"r\""]);
        assert!(grants("create table a ( -- open\n    x int,\n    y int -- opened\n);").is_empty());
        assert!(grants("create table a (\n    x int -- open\n);").is_empty());
        assert!(grants("create table a ( -- of x: secret\n    x int -- open\n);").is_empty());
        assert!(grants("create table a ( -- of x: pay, directory\n    x int -- open\n);").is_empty());
        let of_everyone =
            "create table a ( -- of everyone: directory, pay\n    x int -- pay\n) with (fillfactor = 90);\nalter table a add y int;";
        assert_eq!(grants(of_everyone), ["grant select on a to \"r\""]);
    }
}
