//! What a reader may see, in SQL and in one place: every statement against a read model goes through [`Sight::restrict`].
//!
//! A reader who may see everything runs the statement as it is. For any other, each table about people of which something
//! is hidden stands behind a common table expression of the same name with only the people, and of these only the fields,
//! that they may see.
//! A statement can't reach around it, because it names tables without a schema; a table that is missing from [`HIDDEN`]
//! fails a test.

use std::collections::BTreeSet;

use events::EmployeeId;
use platform::{
    Actor,
    access::{self, Action, FieldClass},
};
use sqlx::{Arguments as _, Encode, Postgres, Type, TypeInfo as _, error::BoxDynError, postgres::PgArguments};
use uuid::Uuid;

/// What a reader may see of each class of fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sight {
    directory: access::Sight,
    personal: access::Sight,
    pay: access::Sight,
    about: About,
    /// The person with whose employment the reader's access ends: a statement says beside its rows whether that is over.
    ends_with: Option<Uuid>,
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
            ends_with: actor.ends_with.map(EmployeeId::uuid),
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

    /// Whether nothing is hidden, and nothing is to be known of the reader's employment: a statement then runs as it stands.
    pub(crate) fn is_whole(&self) -> bool {
        self.directory.all && self.personal.all && self.pay.all && self.ends_with.is_none()
    }
    /// Whether statements say beside their rows, in [`LEFT`], that the reader's employment is over.
    pub(crate) fn asks_for_leavers(&self) -> bool {
        self.ends_with.is_some()
    }
    /// Whether nobody is hidden, nor anybody's pay: `headcount_step` may be read, which names nobody and sums up everyone.
    pub(crate) fn counts_everyone(&self) -> bool {
        self.directory.all && self.pay.all
    }
    /// Whether nobody is hidden.
    pub(crate) fn knows_everyone(&self) -> bool {
        self.directory.all
    }
    /// The statement, which then sees only that. Whom it is for is bound behind its own arguments, so that one text, and in a
    /// tenant's schema one plan, serves all who see by rules of the same form.
    pub(crate) fn restrict(&self, statement: &str, arguments: &mut PgArguments) -> Result<String, BoxDynError> {
        let (person, facts_of) = match self.about {
            About::Anybody => (None, None),
            About::FactsOf(person) => (None, Some(person)),
            About::Only(person) => (Some(person), Some(person)),
        };
        let mut directory = Class::new("seen_directory", &self.directory, person);
        let mut personal = Class::new("seen_personal", &self.personal, facts_of);
        let mut pay = Class::new("seen_pay", &self.pay, facts_of);
        let lower = statement.to_ascii_lowercase();
        let mut tables = Vec::new();
        for (table, open, hidden) in HIDDEN {
            // What a statement does not name it can't read, and each expression would be parsed for nothing.
            if !lower.contains(table) {
                continue;
            }
            let filters = [
                directory.among(arguments)?,
                // Who may see the pay of somebody sees it where they see the person, too.
                if *table == "compensation_span" { pay.among(arguments)? } else { None },
            ];
            let filters: Vec<_> = filters.into_iter().flatten().collect();
            let seen = if hidden.is_empty() { None } else { personal.among(arguments)? };
            if filters.is_empty() && seen.is_none() {
                continue; // nothing of it is hidden
            }
            let mut shown: Vec<String> = open.iter().map(|column| format!("x.{column}")).collect();
            shown.extend(hidden.iter().map(|column| {
                let bits = OPEN_SETS.iter().find(|(name, _)| name == table && *column == "sets");
                let otherwise = bits.map(|(_, bits)| format!(" else nullif(x.{column} & {bits}::smallint, 0)")).unwrap_or_default();
                match &seen {
                    None => format!("x.{column}"),
                    Some(seen) => format!("case when {seen} then x.{column}{otherwise} end as {column}"),
                }
            }));
            let filter = if filters.is_empty() { String::new() } else { format!(" where {}", filters.join(" and ")) };
            tables.push(format!("{table} as not materialized (select {} from {table} x{filter})", shown.join(", ")));
        }
        let mut expressions = Vec::new();
        let mut also = "";
        if let Some(reader) = self.ends_with {
            // Before what hides the reader from themselves.
            let reader = bind(arguments, reader)?;
            expressions.push(format!("reader (gone) as (select not {})", is_there(&reader)));
            also = ", (select gone from reader) as reader_left";
        }
        for class in [&mut directory, &mut personal, &mut pay] {
            // Whom nothing asks for need not be looked for.
            if lower.contains(class.name) || tables.iter().any(|table| table.contains(class.name)) {
                expressions.push(class.expression(arguments)?);
            }
        }
        expressions.append(&mut tables);
        if expressions.is_empty() {
            return Ok(statement.to_owned());
        }
        // Not `recursive`: up to the end of the expression that hides it, a name stands for the table itself.
        Ok(format!("with {} select *{also} from ({statement}) as answer", expressions.join(", ")))
    }
}

/// The column beside a statement's rows that says whether the reader's employment is over.
pub(crate) const LEFT: &str = "reader_left";

/// Of UTC, whatever the server's zone.
const TODAY: &str = "(now() at time zone 'utc')::date";

/// The people whom a class of fields may be seen of, in one statement.
struct Class<'a> {
    name: &'static str,
    sight: &'a access::Sight,
    /// The only one who is asked about.
    about: Option<Uuid>,
    /// The argument with the people who are named, once there is one.
    named: Option<String>,
}

impl<'a> Class<'a> {
    fn new(name: &'static str, sight: &'a access::Sight, about: Option<Uuid>) -> Self {
        Self { name, sight, about, named: None }
    }
    /// SQL for whether the class may be seen of `x`; none where it may be of everybody. Of people who are named it is a list,
    /// which costs the planner less than an expression that gives it.
    fn among(&mut self, arguments: &mut PgArguments) -> Result<Option<String>, BoxDynError> {
        Ok(if self.sight.all {
            None
        } else if self.sight.lines.is_empty() && self.sight.departments.is_empty() {
            Some(format!("x.employee_id = any ({})", self.named(arguments)?))
        } else {
            Some(format!("x.employee_id in (select employee_id from {})", self.name))
        })
    }
    fn named(&mut self, arguments: &mut PgArguments) -> Result<String, BoxDynError> {
        if self.named.is_none() {
            self.named = Some(bind(arguments, employees(&self.sight.people))?);
        }
        Ok(self.named.clone().unwrap_or_default())
    }
    /// A common table expression of the class's name: the people, as of today.
    fn expression(&mut self, arguments: &mut PgArguments) -> Result<String, BoxDynError> {
        let (name, place, mut steps) = (self.name, place(), Vec::new());
        let mut sets = vec![if self.sight.all {
            "select employee_id from employee".to_owned()
        } else {
            format!("select unnest({})", self.named(arguments)?)
        }];
        if !self.sight.lines.is_empty() {
            // Only through people who have not left; `union` ends a ring.
            let roots = bind(arguments, employees(&self.sight.lines))?;
            let roots = format!("array(select r.id from unnest({roots}) as r (id) where {})", is_there("r.id"));
            let place = format!("{place} and {TODAY} < m.ends_on");
            if let Some(person) = self.about {
                let person = bind(arguments, person)?;
                steps.push(format!(
                    "above (manager_id) as (
                        select a.manager_id from assignment_span a {place} where a.employee_id = {person}
                        union select a.manager_id from above u join assignment_span a on a.employee_id = u.manager_id {place})"
                ));
                sets.push(format!("select {person} where exists (select from above where manager_id = any ({roots}))"));
            } else {
                steps.push(format!(
                    "line (employee_id) as (
                        select a.employee_id from assignment_span a {place} where a.manager_id = any ({roots})
                        union select a.employee_id from line l join assignment_span a on a.manager_id = l.employee_id {place})"
                ));
                sets.push("select employee_id from line".to_owned());
            }
        }
        if !self.sight.departments.is_empty() {
            let roots = bind(arguments, self.sight.departments.iter().map(|id| id.uuid()).collect::<Vec<_>>())?;
            steps.push(format!(
                "tree (department_id) as (
                    select unnest({roots})
                    union select s.department_id from tree t join department_span s on s.parent_id = t.department_id
                        and s.valid_from <= {TODAY} and {TODAY} < s.valid_to)"
            ));
            sets.push(format!("select a.employee_id from tree t join assignment_span a on a.department_id = t.department_id {place}"));
        }
        let steps = if steps.is_empty() { String::new() } else { format!("with recursive {} ", steps.join(", ")) };
        Ok(format!("{name} (employee_id) as ({steps}{})", sets.join(" union ")))
    }
}

fn employees(ids: &BTreeSet<EmployeeId>) -> Vec<Uuid> {
    ids.iter().map(|id| id.uuid()).collect()
}

/// Adds an argument: SQL for it.
fn bind<'q, T: Encode<'q, Postgres> + Type<Postgres> + 'q>(arguments: &mut PgArguments, value: T) -> Result<String, BoxDynError> {
    arguments.add(value)?;
    Ok(format!("${}::{}", arguments.len(), T::type_info().name()))
}

/// SQL for whether somebody has not left: is employed today, or starts later, or is not known. The same as
/// `domain::employee::Place::left`.
pub(crate) fn is_there(person: &str) -> String {
    format!(
        "coalesce((select max(m.ends_on) > {TODAY} from employment m
             where m.employee_id = {person} and m.starts_on <= {TODAY} and m.starts_on < m.ends_on), true)"
    )
}

/// Where and for whom somebody works: the assignment `a` of today in the employment `m` of today; else the last one of the
/// employment that ended last, else the first one of the next. The same as `domain::employee::State::place`.
fn place() -> String {
    format!(
        "join employment m on m.employment_id = a.employment_id
             and a.valid_from <= greatest(least({TODAY}, m.ends_on - 1), m.starts_on)
             and greatest(least({TODAY}, m.ends_on - 1), m.starts_on) < a.valid_to
             and m.starts_on < m.ends_on
             and (m.starts_on <= {TODAY} and {TODAY} < m.ends_on or not exists (
                 select from employment n where n.employee_id = m.employee_id and n.starts_on < n.ends_on
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
        let tables = platform::provision::read_model_sql().tables;
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
    fn a_statement_is_kept_whole_behind_what_hides() {
        let (named, sight) = ("x.employee_id = any ($1::UUID[])", Sight::default());
        for (statement, before) in [
            ("select 1", String::new()),
            ("with a as (select 1) select * from a", String::new()),
            (
                "select 1 from TOP_SPAN",
                format!(
                    "with top_span as not materialized (select x.employee_id, x.valid_from, x.valid_to from top_span x where {named}) "
                ),
            ),
            (
                "with a as (select 1 from seen_pay) select * from a",
                "with seen_pay (employee_id) as (select unnest($1::UUID[])) ".to_owned(),
            ),
        ] {
            let mut arguments = PgArguments::default();
            let sql = sight.restrict(statement, &mut arguments).unwrap();
            let expected = if before.is_empty() { statement.to_owned() } else { format!("{before}select * from ({statement}) as answer") };
            assert_eq!((sql, arguments.len()), (expected, usize::from(!before.is_empty())));
        }
    }

    /// One statement serves all who see by the same rules; what is bound differs.
    #[test]
    fn no_id_stands_in_a_statement() {
        let sight = |n: u128| {
            let id = EmployeeId::from_uuid(Uuid::from_u128(n));
            let class = access::Sight { people: [id].into(), lines: [id].into(), ..Default::default() };
            Sight {
                directory: class.clone(),
                personal: class.clone(),
                pay: class,
                about: About::FactsOf(Uuid::from_u128(n + 1)),
                ends_with: Some(Uuid::from_u128(n + 2)),
            }
        };
        let texts = [1, 7_000_000].map(|n| {
            let mut arguments = PgArguments::default();
            sight(n)
                .restrict("select * from person_span join compensation_span using (employee_id) where employee_id = $1", &mut arguments)
                .unwrap()
        });
        assert_eq!(texts[0], texts[1]);
        assert!(!texts[0].contains("0000"), "{}", texts[0]);
    }
}
