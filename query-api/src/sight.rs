//! What a reader may see, in SQL and in one place: every statement against a read model goes through [`Sight::restrict`].
//!
//! Of which class each table and column is, and whose, stands in the migrations ([`platform::declared`]). A reader who may see
//! everything runs the statement as it is. For any other, each table of which something is hidden stands behind a common table
//! expression of the same name with only the people, and of these only the fields, that they may see. What is not declared the
//! tenant's role has no right to. [ADR 0012](../../docs/adr/0012-access-by-declaration.md) says what else keeps a statement from
//! reaching around.

use std::{collections::BTreeSet, fmt::Write as _};

use events::{EmployeeId, TenantId};
use platform::{
    Actor,
    access::{self, Action, FieldClass},
    declared::{Declared, DeclaredColumn, DeclaredRows, DeclaredTable},
};
use sqlx::{Arguments as _, error::BoxDynError, postgres::PgArguments};
use uuid::Uuid;

use crate::today::{DaysForm, Todays};

/// What a reader may see of each class of fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sight {
    /// By class, in the order of [`FieldClass::ALL`].
    classes: [access::Sight; FieldClass::COUNT],
    about: About,
    /// The person with whose employment the reader's access ends: a statement says beside its rows whether that is over.
    ends_with: Option<Uuid>,
}

/// Whom a statement shows something of, so that nobody else need be looked for.
#[derive(Debug, Clone, Copy, Default)]
enum About {
    #[default]
    Anybody,
    /// Facts of this person, and what the directory has of others.
    FactsOf(Uuid),
    /// This person.
    Only(Uuid),
}

/// How a statement looks whether the reader, with whose employment their access ends, is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Leaver {
    /// Says in [`THERE`] that they are, whatever day it is at their place of work. Enough for nearly everybody, and for half of what it
    /// costs to look exactly.
    Surely,
    /// Says in [`LEFT`] whether they are not, by the day at their place of work.
    Exactly,
}

/// All that the text of a restricted statement depends on, but the statement.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Form {
    /// Of each class: whether all are seen, lines, departments; and whether the only line is the reader's own.
    classes: [[bool; 4]; FieldClass::COUNT],
    /// Whether it is about a person's facts, or about a person alone.
    about: [bool; 2],
    leaver: Option<Leaver>,
    days: DaysForm,
    /// Arguments of the statement itself.
    taken: usize,
}

/// A statement that shows what a reader may see.
#[derive(Debug)]
pub(crate) struct Restricted {
    pub(crate) sql: String,
    /// What is bound behind the statement's own arguments.
    bound: Vec<Bound>,
    /// The statement as it was, in lower case.
    lower: String,
}

impl Restricted {
    /// Refuses a statement that names this tenant's schema.
    pub(crate) fn refuse_schema_of(&self, tenant: TenantId) -> Result<(), BoxDynError> {
        if self.lower.contains(&tenant.namespace()) { Err(DETOUR.into()) } else { Ok(()) }
    }
}

/// What is bound: of a class, by its place in [`FieldClass::ALL`], or of the statement.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// The people whom the reader may see.
    People(usize),
    /// The managers whose lines the reader may see.
    Lines(usize),
    /// The departments that the reader may see.
    Departments(usize),
    /// The person whom it is about.
    About,
    /// The reader.
    Reader,
    /// The known time zones.
    ZoneNames,
    /// The days there.
    ZoneDays,
}

/// The arguments behind a statement's own.
#[derive(Debug)]
pub(crate) struct Slots {
    taken: usize,
    bound: Vec<Bound>,
}

impl Slots {
    /// Behind so many.
    pub(crate) const fn behind(taken: usize) -> Self {
        Self { taken, bound: Vec::new() }
    }
    /// One more: SQL for it.
    pub(crate) fn add(&mut self, bound: Bound) -> String {
        let kind = match bound {
            Bound::People(_) | Bound::Lines(_) | Bound::Departments(_) => "UUID[]",
            Bound::About | Bound::Reader => "UUID",
            Bound::ZoneNames | Bound::ZoneDays => "TEXT[]",
        };
        self.bound.push(bound);
        format!("${}::{kind}", self.taken + self.bound.len())
    }
    /// Which were added, in order.
    pub(crate) fn bound(&self) -> &[Bound] {
        &self.bound
    }
}

impl Sight {
    /// What an actor may see.
    pub(crate) fn of(actor: &Actor) -> Self {
        let classes = FieldClass::ALL.map(|class| actor.grants.sight(Action::Read, class));
        Self { classes, about: About::Anybody, ends_with: actor.ends_with.map(EmployeeId::uuid) }
    }
    /// For a statement that shows facts of this person, and what the directory has of others.
    pub(crate) fn facts_of(self, person: Uuid) -> Self {
        Self { about: About::FactsOf(person), ..self }
    }
    /// For a statement about this person alone.
    pub(crate) fn only_of(self, person: Uuid) -> Self {
        Self { about: About::Only(person), ..self }
    }
    /// Only one rule's sight of one class, as if it were the directory: to ask whom it reaches.
    pub(crate) fn only(class: access::Sight) -> Self {
        let mut sight = Self::default();
        if let Some(directory) = sight.classes.first_mut() {
            *directory = class;
        }
        sight
    }
    /// SQL for whether all of these classes may be seen of the person `e`, who is there.
    pub(crate) fn sees(classes: &[FieldClass]) -> String {
        let seen = |class: &FieldClass| format!("e.employee_id in (select employee_id from {})", expression_of(*class));
        classes.iter().filter(|class| **class != FieldClass::Directory).map(seen).collect::<Vec<_>>().join(" and ")
    }

    /// Whether nothing is hidden of what there is, and nothing is to be known of the reader's employment: a statement then runs as
    /// it stands.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole_of(&Declared::read_model().classes)
    }
    /// The same, of these classes.
    pub(crate) fn is_whole_of(&self, classes: &[FieldClass]) -> bool {
        self.knows_all(classes) && self.ends_with.is_none()
    }
    /// Whether statements say beside their rows, in [`LEFT`], that the reader's employment is over.
    pub(crate) fn asks_for_leavers(&self) -> bool {
        self.ends_with.is_some()
    }
    /// Whether nobody is hidden, nor anybody's pay: `headcount_step` may be read, which names nobody and sums up everyone.
    pub(crate) fn counts_everyone(&self) -> bool {
        self.knows_all(&[FieldClass::Directory, FieldClass::Pay])
    }
    /// Whether nobody is hidden.
    pub(crate) fn knows_everyone(&self) -> bool {
        self.knows_all(&[FieldClass::Directory])
    }
    fn knows_all(&self, classes: &[FieldClass]) -> bool {
        let seen = FieldClass::ALL.iter().zip(&self.classes);
        seen.filter(|(class, _)| classes.contains(class)).all(|(_, sight)| sight.all)
    }

    /// All that the text of a statement depends on, which has so many arguments of its own.
    pub(crate) fn form(&self, leaver: Leaver, taken: usize, todays: &Todays) -> Form {
        let classes = self
            .classes
            .each_ref()
            .map(|class| [class.all, !class.lines.is_empty(), !class.departments.is_empty(), is_line_of(self.ends_with, class)]);
        let about = [matches!(self.about, About::FactsOf(_) | About::Only(_)), matches!(self.about, About::Only(_))];
        Form { classes, about, leaver: self.ends_with.map(|_| leaver), days: todays.form(), taken }
    }

    /// The statement, which then sees only that. Whom it is for is bound behind its own arguments ([`Sight::bind`]), so that one text,
    /// and in a tenant's schema one plan, serves all who see by rules of the same form.
    pub(crate) fn restrict(
        &self,
        leaver: Leaver,
        statement: &str,
        taken: usize,
        tenant: TenantId,
        todays: &Todays,
    ) -> Result<Restricted, BoxDynError> {
        self.restrict_in(&Declared::read_model().tables, leaver, statement, taken, tenant, todays)
    }

    fn restrict_in(
        &self,
        declared: &[DeclaredTable],
        leaver: Leaver,
        statement: &str,
        taken: usize,
        tenant: TenantId,
        todays: &Todays,
    ) -> Result<Restricted, BoxDynError> {
        let lower = statement.to_ascii_lowercase();
        refuse_detours(&lower, tenant)?;
        let (alone, about) = match self.about {
            About::Anybody => (false, false),
            About::FactsOf(_) => (false, true),
            About::Only(_) => (true, true),
        };
        let mut classes = Vec::with_capacity(FieldClass::COUNT);
        for (at, (class, sight)) in FieldClass::ALL.into_iter().zip(&self.classes).enumerate() {
            let about = if class == FieldClass::Directory { alone } else { about };
            classes.push(Seen { class, at, name: expression_of(class), sight, about, reader: self.ends_with, named: None });
        }
        let mut slots = Slots::behind(taken);
        // A statement reads only tables that it names, so only their expressions are made, which PostgreSQL has to parse.
        let mut tables = Vec::new();
        for table in declared.iter().filter(|table| lower.contains(table.name)) {
            tables.extend(hidden(table, &mut classes, &mut slots)?);
        }
        let (mut expressions, mut also, mut judges_by_day) = (Vec::new(), String::new(), false);
        if self.ends_with.is_some() {
            // Before what hides the reader from themselves.
            let reader = slots.add(Bound::Reader);
            if leaver == Leaver::Surely {
                expressions.push(format!("reader (there) as ({})", todays.is_surely_there(&reader)));
                let _ = write!(also, ", (select there from reader) as {THERE}"); // a String takes all
            } else {
                expressions.push(format!("reader (gone) as (select not {})", todays.is_there(&reader)));
                let _ = write!(also, ", (select gone from reader) as {LEFT}");
                judges_by_day = true;
            }
        }
        for class in &mut classes {
            // Whom nothing asks for need not be looked for.
            if lower.contains(&class.name) || tables.iter().any(|table| table.contains(&class.name)) {
                judges_by_day |= class.is_by_place();
                expressions.push(class.expression(&mut slots, todays));
            }
        }
        expressions.append(&mut tables);
        if expressions.is_empty() {
            return Ok(Restricted { sql: statement.to_owned(), bound: Vec::new(), lower });
        }
        if judges_by_day {
            let (days, unknown) = todays.expressions(&mut slots);
            expressions.splice(..0, days);
            also = format!(", {unknown}{also}");
        }
        // Not `recursive`: up to the end of the expression that hides it, a name stands for the table itself.
        let sql = format!("with {} select *{also} from ({statement}) as answer", expressions.join(", "));
        Ok(Restricted { sql, bound: slots.bound, lower })
    }

    /// Binds what a restricted statement has behind its own arguments.
    pub(crate) fn bind(&self, restricted: &Restricted, arguments: &mut PgArguments, todays: &Todays) -> Result<(), BoxDynError> {
        let of = |at: usize| self.classes.get(at).ok_or("a class is missing from the list");
        for bound in &restricted.bound {
            match *bound {
                Bound::People(at) => arguments.add(employees(&of(at)?.people))?,
                Bound::Lines(at) => arguments.add(employees(&of(at)?.lines))?,
                Bound::Departments(at) => arguments.add(of(at)?.departments.iter().map(|id| id.uuid()).collect::<Vec<_>>())?,
                Bound::About => match self.about {
                    About::FactsOf(person) | About::Only(person) => arguments.add(person)?,
                    About::Anybody => return Err("a statement about anybody is about nobody".into()),
                },
                Bound::Reader => arguments.add(self.ends_with)?,
                Bound::ZoneNames | Bound::ZoneDays => todays.bind(*bound, arguments)?,
            }
        }
        Ok(())
    }
}

const DETOUR: &str = "a statement reaches around what hides; name tables plainly";

/// Refuses what reaches a table by another way than its plain name: with its schema, in escapes, or by PostgreSQL's statistics.
fn refuse_detours(lower: &str, tenant: TenantId) -> Result<(), BoxDynError> {
    let namespace = tenant.namespace();
    match [namespace.as_str(), "u&\"", "u&'", "pg_stat", "information_schema"].iter().find(|detour| lower.contains(**detour)) {
        None => Ok(()),
        Some(_) => Err(DETOUR.into()),
    }
}

/// A common table expression of the table's name that shows what may be seen of it; none where nothing is hidden.
fn hidden(table: &DeclaredTable, classes: &mut [Seen<'_>], slots: &mut Slots) -> Result<Option<String>, BoxDynError> {
    let name = table.name;
    let (whose, of_rows) = match &table.rows {
        // Nobody but the projector has a right to what is not declared.
        None | Some(DeclaredRows::Open) => return Ok(None),
        Some(DeclaredRows::OfEveryone(of)) => {
            if classes.iter().filter(|class| of.contains(&class.class)).all(|class| class.sight.all) {
                return Ok(None);
            }
            let columns: Vec<_> = table.readable().map(|(column, _)| format!("x.{column}")).collect();
            return Ok(Some(format!("{name} as not materialized (select {} from {name} x where false)", columns.join(", "))));
        }
        Some(DeclaredRows::Of(whose, class)) => (*whose, *class),
    };
    let mut filters = Vec::new();
    // Whose pay may be seen, say, is seen where the person may be.
    for class in classes.iter_mut().filter(|class| class.class == FieldClass::Directory || class.class == of_rows) {
        filters.extend(class.among(whose, slots));
    }
    let mut masks: Vec<Option<String>> = Vec::new();
    for (_, column) in table.readable() {
        masks.push(match column {
            DeclaredColumn::Class(own) if own != FieldClass::Directory && own != of_rows => {
                let class = classes.iter_mut().find(|class| class.class == own).ok_or("a class is missing from the list")?;
                class.among(whose, slots)
            }
            DeclaredColumn::Open | DeclaredColumn::Class(_) => None,
        });
    }
    if filters.is_empty() && masks.iter().all(Option::is_none) {
        return Ok(None);
    }
    let mut shown = String::new();
    for ((column, _), mask) in table.readable().zip(&masks) {
        let comma = if shown.is_empty() { "" } else { ", " };
        let _ = match mask {
            None => write!(shown, "{comma}x.{column}"), // a String takes all
            Some(seen) if column == "sets" => {
                let bits = bits_shown(table, &masks);
                write!(shown, "{comma}case when {seen} then x.sets else nullif(x.sets & {bits}::smallint, 0) end as sets")
            }
            Some(seen) => write!(shown, "{comma}case when {seen} then x.{column} end as {column}"),
        };
    }
    let filter = if filters.is_empty() { String::new() } else { format!(" where {}", filters.join(" and ")) };
    Ok(Some(format!("{name} as not materialized (select {shown} from {name} x{filter})")))
}

/// Of the column `sets`, which has a bit for each column between `valid_to` and itself, the bits of columns that are not masked:
/// where a change set no other, `sets` is null.
fn bits_shown(table: &DeclaredTable, masks: &[Option<String>]) -> u16 {
    let fields = table.readable().zip(masks).skip_while(|((column, _), _)| *column != "valid_to").skip(1);
    let fields = fields.take_while(|((column, _), _)| *column != "sets");
    fields.enumerate().filter(|(_, (_, mask))| mask.is_none()).fold(0, |bits, (n, _)| bits | 1 << n)
}

/// The name of the expression with the people of whom a class may be seen.
fn expression_of(class: FieldClass) -> String {
    format!("seen_{}", class.name())
}

/// The column beside a statement's rows that says whether the reader's employment is over.
pub(crate) const LEFT: &str = "reader_left";

/// The column beside a statement's rows that says that the reader is surely employed; else null.
pub(crate) const THERE: &str = "reader_there";

/// The people whom a class of fields may be seen of, in one statement.
struct Seen<'a> {
    class: FieldClass,
    /// In the list of classes.
    at: usize,
    /// Of its expression.
    name: String,
    sight: &'a access::Sight,
    /// Whether only one person is asked about.
    about: bool,
    /// The person with whose employment the reader's access ends.
    reader: Option<Uuid>,
    /// The argument with the people who are named, once there is one.
    named: Option<String>,
}

impl Seen<'_> {
    /// SQL for whether the class may be seen of the person in a column of `x`; none where it may be of everybody. Of people who are named it is a list,
    /// which costs the planner less than an expression that gives it.
    fn among(&mut self, whose: &str, slots: &mut Slots) -> Option<String> {
        if self.sight.all {
            None
        } else if self.is_by_place() {
            Some(format!("x.{whose} in (select employee_id from {})", self.name))
        } else {
            Some(format!("x.{whose} = any ({})", self.named(slots)))
        }
    }
    /// Whether it depends on where people work today.
    fn is_by_place(&self) -> bool {
        !self.sight.lines.is_empty() || !self.sight.departments.is_empty()
    }
    fn named(&mut self, slots: &mut Slots) -> String {
        self.named.get_or_insert_with(|| slots.add(Bound::People(self.at))).clone()
    }
    /// A common table expression of the class's name: the people, as of today.
    fn expression(&mut self, slots: &mut Slots, todays: &Todays) -> String {
        let (name, mut steps) = (self.name.clone(), Vec::new());
        let mut sets = vec![if self.sight.all {
            "select employee_id from employee".to_owned()
        } else {
            format!("select unnest({})", self.named(slots))
        }];
        if !self.sight.lines.is_empty() {
            // Only through people who have not left; `union` ends a ring.
            let mut roots = slots.add(Bound::Lines(self.at));
            // A reader who has left sees no answer at all.
            if !is_line_of(self.reader, self.sight) {
                roots = format!("array(select r.id from unnest({roots}) as r (id) where {})", todays.is_there("r.id"));
            }
            let place = todays.place(true);
            if self.about {
                let person = slots.add(Bound::About);
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
            let roots = slots.add(Bound::Departments(self.at));
            let (today, place) = (todays.of_tenant(), todays.place(false));
            steps.push(format!(
                "tree (department_id) as (
                    select unnest({roots})
                    union select s.department_id from tree t join department_span s on s.parent_id = t.department_id
                        and s.valid_from <= {today} and {today} < s.valid_to)"
            ));
            sets.push(format!("select a.employee_id from tree t join assignment_span a on a.department_id = t.department_id {place}"));
        }
        let steps = if steps.is_empty() { String::new() } else { format!("with recursive {} ", steps.join(", ")) };
        format!("{name} (employee_id) as ({steps}{})", sets.join(" union "))
    }
}

fn employees(ids: &BTreeSet<EmployeeId>) -> Vec<Uuid> {
    ids.iter().map(|id| id.uuid()).collect()
}

/// Whether the only line of managers is that of this reader.
fn is_line_of(reader: Option<Uuid>, sight: &access::Sight) -> bool {
    sight.lines.len() == 1 && sight.lines.first().map(|id| id.uuid()) == reader
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId::PLATFORM;
    const DAY: &str = "2026-11-30";

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
            let restricted = sight.restrict(Leaver::Surely, statement, 0, TENANT, &Todays::one(DAY)).unwrap();
            sight.bind(&restricted, &mut arguments, &Todays::one(DAY)).unwrap();
            let expected = if before.is_empty() { statement.to_owned() } else { format!("{before}select * from ({statement}) as answer") };
            assert_eq!((restricted.sql, arguments.len()), (expected, usize::from(!before.is_empty())));
        }
    }

    /// One statement serves all who see by the same rules; what is bound differs.
    #[test]
    fn no_id_stands_in_a_statement() {
        let sight = |n: u128| {
            let id = EmployeeId::from_uuid(Uuid::from_u128(n));
            let class = access::Sight { people: [id].into(), lines: [id].into(), ..Default::default() };
            Sight {
                classes: FieldClass::ALL.map(|_| class.clone()),
                about: About::FactsOf(Uuid::from_u128(n + 1)),
                ends_with: Some(Uuid::from_u128(n + 2)),
            }
        };
        let statement = "select * from person_span join compensation_span using (employee_id) where employee_id = $1";
        for leaver in [Leaver::Surely, Leaver::Exactly] {
            let texts = [1, 7_000_000].map(|n| sight(n).restrict(leaver, statement, 1, TENANT, &Todays::one(DAY)).unwrap().sql);
            assert_eq!(texts[0], texts[1]);
            assert!(!texts[0].contains("0000"), "{}", texts[0]);
            assert_eq!(sight(1).form(leaver, 1, &Todays::one(DAY)), sight(2).form(leaver, 1, &Todays::one(DAY)));
        }
    }

    #[test]
    fn only_what_is_judged_by_the_day_asks_for_time_zones() {
        let reader = Uuid::from_u128(7);
        let sight = |lines: &[u128]| {
            let lines = lines.iter().map(|n| EmployeeId::from_uuid(Uuid::from_u128(*n))).collect();
            let class = access::Sight { lines, ..Default::default() };
            Sight { classes: FieldClass::ALL.map(|_| class.clone()), about: About::Anybody, ends_with: Some(reader) }
        };
        // Whose lines are seen, how it is looked for the reader: whether zones are asked for, whether it is looked who of these is there.
        for (lines, leaver, zones, managers) in [
            (&[][..], Leaver::Surely, false, false),
            (&[], Leaver::Exactly, true, false),
            (&[7], Leaver::Surely, true, false),
            (&[8], Leaver::Surely, true, true),
            (&[7, 8], Leaver::Surely, true, true),
        ] {
            let sql = sight(lines).restrict(leaver, "select * from employee", 0, TENANT, &Todays::one(DAY)).unwrap().sql;
            assert_eq!((sql.contains("unknown_zones"), sql.contains("as r (id)")), (zones, managers), "{sql}");
            assert_eq!(sql.contains(THERE), leaver == Leaver::Surely, "{sql}");
        }
    }

    /// What `statement` becomes for a reader of these classes of everybody.
    fn restricted(sql: &'static str, seen: &[FieldClass], statement: &str) -> String {
        let all = |class| access::Sight { all: seen.contains(&class), ..Default::default() };
        let sight = Sight { classes: FieldClass::ALL.map(all), ..Sight::default() };
        let declared = Declared::of(&[sql]);
        sight.restrict_in(&declared.tables, Leaver::Surely, statement, 0, TENANT, &Todays::one(DAY)).unwrap().sql
    }

    #[test]
    fn a_class_is_hidden_from_who_may_see_all_others() {
        use FieldClass::{Directory, Medical, Pay, Personal};
        const SICK: &str = "create table sick_note ( -- of employee_id: directory
            employee_id uuid, -- directory
            valid_to date, -- directory
            days int, -- directory
            diagnosis text, -- medical
            sets smallint -- medical
        );
        create table cost ( -- of everyone: directory, medical
            amount numeric -- medical
        );
        create table visit ( -- of patient_id: medical
            patient_id uuid, -- medical
            note text
        );";
        let statement = "select * from sick_note, cost, visit";
        assert_eq!(restricted(SICK, &FieldClass::ALL, statement), statement);
        assert_eq!(
            restricted(SICK, &[Directory, Personal, Pay], statement),
            "with sick_note as not materialized (select x.employee_id, x.valid_to, x.days, \
             case when x.employee_id = any ($1::UUID[]) then x.diagnosis end as diagnosis, \
             case when x.employee_id = any ($1::UUID[]) then x.sets else nullif(x.sets & 1::smallint, 0) end as sets from sick_note x), \
             cost as not materialized (select x.amount from cost x where false), \
             visit as not materialized (select x.patient_id from visit x where x.patient_id = any ($1::UUID[])) \
             select * from (select * from sick_note, cost, visit) as answer"
        );
        assert_eq!(Declared::of(&[SICK]).classes, [Directory, Medical], "so that a reader of the others is not taken for one of all");
    }

    #[test]
    fn what_reaches_around_is_refused() {
        let schema = platform::read_schema(TENANT, 3);
        for statement in [
            format!("select * from {schema}.employee"),
            format!("select * from \"{schema}\".employee"),
            "select * from U&\"\\0065mployee\"".to_owned(),
            "select most_common_vals from pg_stats".to_owned(),
        ] {
            let restricted = Sight::default().restrict(Leaver::Surely, &statement, 0, TENANT, &Todays::one(DAY));
            assert!(restricted.is_err(), "{statement}");
        }
    }
}
