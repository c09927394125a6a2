//! What a reader may see, in SQL and in one place: every statement against a read model goes through [`Sight::restrict`].
//!
//! A reader who may see everything runs the statement as it is. For any other, each table about people of which something
//! is hidden stands behind a common table expression of the same name with only the people, and of these only the fields,
//! that they may see.
//! A statement can't reach around it, because it names tables without a schema; a table that is missing from [`HIDDEN`]
//! fails a test.

use std::{collections::BTreeSet, fmt::Write as _};

use events::EmployeeId;
use platform::{
    Actor,
    access::{self, Action, FieldClass},
};
use uuid::Uuid;

/// What a reader may see of each class of fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sight {
    directory: access::Sight,
    personal: access::Sight,
    pay: access::Sight,
    about: About,
}

/// Whom a statement shows something of, so that nobody else need be looked for.
#[derive(Debug, Clone, Copy, Default)]
enum About {
    #[default]
    Anybody,
    /// Personal facts and pay of this person, and names of others.
    FactsOf(Uuid),
    /// This person.
    Only(Uuid),
}

/// The tables about people: their columns, and those that are personal. `compensation_span` as a whole is pay.
const HIDDEN: &[(&str, &[&str], &[&str])] = &[
    ("employee", &["employee_id", "employee_number", "original_hire_date", "stream_version"], &[]),
    ("employment", &["employment_id", "employee_id", "starts_on", "ends_on"], &["termination_reason"]),
    (
        "person_span",
        &["employee_id", "valid_from", "seq", "valid_to", "given_name", "family_name", "search", "grams"],
        &["birth_date", "gender", "sets"],
    ),
    ("contact_span", &["employee_id", "valid_from", "seq", "valid_to", "work_email"], &["private_email", "phone", "sets"]),
    (
        "assignment_span",
        &["employment_id", "employee_id", "valid_from", "seq", "valid_to", "department_id", "job_id", "location_id", "manager_id", "sets"],
        &["reason"],
    ),
    (
        "compensation_span",
        &["employment_id", "employee_id", "valid_from", "seq", "valid_to", "rate", "currency", "per", "annual", "reason"],
        &[],
    ),
    ("top_span", &["employee_id", "valid_from", "valid_to"], &[]),
];

/// Of `sets`, the bits of the fields that are not personal: where a change set no other, `sets` is null.
const OPEN_SETS: &[(&str, u16)] = &[("person_span", 0b11), ("contact_span", 0b1)];

impl Sight {
    /// What an actor may see.
    pub(crate) fn of(actor: &Actor) -> Self {
        let sight = |class| actor.grants.sight(Action::Read, class);
        Self {
            directory: sight(FieldClass::Directory),
            personal: sight(FieldClass::Personal),
            pay: sight(FieldClass::Pay),
            about: About::Anybody,
        }
    }
    /// For a statement that shows personal facts and pay of this person, and names of others.
    pub(crate) fn facts_of(self, person: Uuid) -> Self {
        Self { about: About::FactsOf(person), ..self }
    }
    /// For a statement about this person alone.
    pub(crate) fn only_of(self, person: Uuid) -> Self {
        Self { about: About::Only(person), ..self }
    }
    /// Only one rule's sight of one class, as if it were the directory: to ask whom it reaches.
    pub(crate) fn only(class: access::Sight) -> Self {
        Self { directory: class, ..Self::default() }
    }
    /// Only those people of whom every class may be seen.
    pub(crate) const WHOLE: &str =
        "e.employee_id in (select employee_id from seen_personal) and e.employee_id in (select employee_id from seen_pay)";

    /// Whether nothing is hidden.
    pub(crate) fn is_whole(&self) -> bool {
        self.directory.all && self.personal.all && self.pay.all
    }
    /// Whether nobody is hidden, nor anybody's pay: `headcount_step` may be read, which names nobody and sums up everyone.
    pub(crate) fn counts_everyone(&self) -> bool {
        self.directory.all && self.pay.all
    }
    /// Whether nobody is hidden.
    pub(crate) fn knows_everyone(&self) -> bool {
        self.directory.all
    }
    /// The statement, which then sees only that. `schema` is the tenant's, checked.
    pub(crate) fn restrict(&self, statement: &str, schema: &str) -> String {
        let mut tables = String::new();
        let lower = statement.to_ascii_lowercase();
        for (table, columns, personal) in HIDDEN {
            // What a statement does not name it can't read, and each expression would be parsed for nothing.
            if !lower.contains(table) {
                continue;
            }
            let (directory, of_person) = (among("seen_directory", &self.directory), among("seen_personal", &self.personal));
            // Who may see the pay of somebody sees it where they see the person, too.
            let pay = if *table == "compensation_span" { among("seen_pay", &self.pay) } else { None };
            let filters: Vec<_> = [directory, pay].into_iter().flatten().collect();
            if filters.is_empty() && (personal.is_empty() || of_person.is_none()) {
                continue; // nothing of it is hidden
            }
            let mut shown: Vec<String> = columns.iter().map(|column| format!("x.{column}")).collect();
            shown.extend(personal.iter().map(|column| {
                let bits = OPEN_SETS.iter().find(|(name, _)| name == table && *column == "sets");
                let otherwise = bits.map(|(_, bits)| format!(" else nullif(x.{column} & {bits}::smallint, 0)")).unwrap_or_default();
                match &of_person {
                    None => format!("x.{column}"),
                    Some(seen) => format!("case when {seen} then x.{column}{otherwise} end as {column}"),
                }
            }));
            let _ = write!(tables, "{table} as not materialized (select {} from \"{schema}\".{table} x", shown.join(", "));
            if !filters.is_empty() {
                let _ = write!(tables, " where {}", filters.join(" and "));
            }
            tables.push_str("), ");
        }
        // Whom nothing asks for need not be looked for.
        let mut sql = String::new();
        for (name, sight) in [("seen_directory", &self.directory), ("seen_personal", &self.personal), ("seen_pay", &self.pay)] {
            if !tables.contains(name) && !lower.contains(name) {
                continue;
            }
            let about = match self.about {
                About::Only(person) => Some(person),
                About::FactsOf(person) if name != "seen_directory" => Some(person),
                About::Anybody | About::FactsOf(_) => None,
            };
            people(&mut sql, name, sight, about, schema);
        }
        sql.push_str(&tables);
        let statement = statement.trim_start();
        if let Some(rest) = statement.strip_prefix("with recursive ").or_else(|| statement.strip_prefix("with ")) {
            format!("with recursive {sql}{rest}")
        } else if let Some(expressions) = sql.strip_suffix(", ") {
            format!("with recursive {expressions} {statement}")
        } else {
            statement.to_owned()
        }
    }
}

/// Of UTC, whatever the server's zone.
const TODAY: &str = "(now() at time zone 'utc')::date";

/// SQL for whether a class of fields may be seen of `x`; none where it may be of everybody. Of people who are named it is a list,
/// which costs the planner less than an expression that gives it.
fn among(name: &str, sight: &access::Sight) -> Option<String> {
    if sight.all {
        None
    } else if sight.lines.is_empty() && sight.departments.is_empty() {
        Some(format!("x.employee_id = any ({})", employees(&sight.people)))
    } else {
        Some(format!("x.employee_id in (select employee_id from {name})"))
    }
}

fn list(ids: impl Iterator<Item = Uuid>) -> String {
    let ids: Vec<_> = ids.map(|id| format!("'{id}'")).collect();
    format!("array[{}]::uuid[]", ids.join(", "))
}

fn employees(ids: &BTreeSet<EmployeeId>) -> String {
    list(ids.iter().map(|id| id.uuid()))
}

/// The people whom a class of fields may be seen of, as of today.
fn people(sql: &mut String, name: &str, sight: &access::Sight, about: Option<Uuid>, schema: &str) {
    let named = format!("select unnest({})", employees(&sight.people));
    let mut sets = vec![if sight.all { format!("select employee_id from \"{schema}\".employee") } else { named }];
    if !sight.lines.is_empty() {
        // Only through people who have not left; `union` ends a ring.
        let roots = employees(&sight.lines);
        let (spans, place) = (format!("\"{schema}\".assignment_span a"), format!("{} and {TODAY} < m.ends_on", place(schema)));
        if let Some(person) = about {
            let _ = write!(
                sql,
                "{name}_above (manager_id) as (
                    select a.manager_id from {spans} {place} where a.employee_id = '{person}'
                    union select a.manager_id from {name}_above u join {spans} on a.employee_id = u.manager_id {place}), "
            );
            sets.push(format!("select '{person}'::uuid where exists (select from {name}_above where manager_id = any ({roots}))"));
        } else {
            let _ = write!(
                sql,
                "{name}_line (employee_id) as (
                    select a.employee_id from {spans} {place} where a.manager_id = any ({roots})
                    union select a.employee_id from {name}_line l join {spans} on a.manager_id = l.employee_id {place}), "
            );
            sets.push(format!("select employee_id from {name}_line"));
        }
    }
    if !sight.departments.is_empty() {
        let roots = list(sight.departments.iter().map(|id| id.uuid()));
        let _ = write!(
            sql,
            "{name}_tree (department_id) as (
                select unnest({roots})
                union select s.department_id from {name}_tree t join \"{schema}\".department_span s on s.parent_id = t.department_id
                    and s.valid_from <= {TODAY} and {TODAY} < s.valid_to), "
        );
        sets.push(format!(
            "select a.employee_id from {name}_tree t join \"{schema}\".assignment_span a on a.department_id = t.department_id {}",
            place(schema)
        ));
    }
    let _ = write!(sql, "{name} (employee_id) as ({}), ", sets.join(" union "));
}

/// Where and for whom somebody works: the assignment `a` of today in the employment `m` of today; else the last one of the
/// employment that ended last, else the first one of the next. The same as `domain::employee::State::place`.
fn place(schema: &str) -> String {
    format!(
        "join \"{schema}\".employment m on m.employment_id = a.employment_id
             and a.valid_from <= greatest(least({TODAY}, m.ends_on - 1), m.starts_on)
             and greatest(least({TODAY}, m.ends_on - 1), m.starts_on) < a.valid_to
             and m.starts_on < m.ends_on
             and (m.starts_on <= {TODAY} and {TODAY} < m.ends_on or not exists (
                 select from \"{schema}\".employment n where n.employee_id = m.employee_id and n.starts_on < n.ends_on
                 and case when m.starts_on <= {TODAY} then m.starts_on < n.starts_on and n.starts_on <= {TODAY}
                          else n.starts_on < m.starts_on end))"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table about people that is not hidden would be seen by everybody.
    #[test]
    fn every_table_about_people_is_hidden_with_all_its_columns() {
        let (tables, _) = platform::provision::read_model_sql();
        let mut about_people = Vec::new();
        let code = |sql: &str| sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
        let sql = tables.iter().map(|sql| code(sql)).collect::<String>();
        for statement in sql.split(';') {
            let Some((_, rest)) = statement.split_once("create table ") else { continue };
            let Some((name, body)) = rest.split_once(" (") else { continue };
            let columns: Vec<&str> = body
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty() && !line.starts_with(')'))
                .filter_map(|line| line.split_whitespace().next())
                .collect();
            if !columns.contains(&"employee_id") {
                continue;
            }
            about_people.push(name);
            let hidden = HIDDEN.iter().find(|(table, ..)| *table == name);
            let (_, open, personal) = hidden.unwrap_or_else(|| panic!("{name} is about people: hide it in sight.rs"));
            for column in &columns {
                assert!(open.contains(column) || personal.contains(column), "{name}.{column}: say in sight.rs of which class it is");
            }
            assert_eq!(open.len() + personal.len(), columns.len(), "{name}");
        }
        assert_eq!(about_people.len(), HIDDEN.len());
    }

    #[test]
    fn a_statement_keeps_its_own_expressions() {
        let sight = Sight::default();
        for (statement, end) in [
            ("select 1", "select 1"),
            ("with a as (select 1) select * from a", "with recursive a as (select 1) select * from a"),
            ("with a as (select 1 from employee) select * from a", ")), a as (select 1 from employee) select * from a"),
            ("  with recursive a as (select 1 from seen_pay) select * from a", "), a as (select 1 from seen_pay) select * from a"),
            ("select 1 from TOP_SPAN", ".top_span x where x.employee_id = any (array[]::uuid[])) select 1 from TOP_SPAN"),
        ] {
            let sql = sight.restrict(statement, "t_x_r1");
            assert!(sql.ends_with(end) && (sql == end || sql.starts_with("with recursive ")), "{sql}");
        }
    }
}
