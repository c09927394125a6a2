//! The rows that a list of people and a chart of them come in: people, and apart from them what many of these share, such as a
//! job's title. That is looked up once and put together here: looked up for each person, and made into JSON by PostgreSQL, a page
//! of fifty took it more than twice as long.

use std::collections::HashMap;

use sqlx::FromRow;
use uuid::Uuid;

use super::{Manager, Named, held_on};
use crate::{params::Day, read::Positioned};

/// What a row is.
pub(super) mod kind {
    pub(crate) const PERSON: i16 = 0;
    pub(crate) const DEPARTMENT: i16 = 1;
    pub(crate) const JOB: i16 = 2;
    pub(crate) const LOCATION: i16 = 3;
    pub(crate) const MANAGER: i16 = 4;
    /// How many report to somebody.
    pub(crate) const REPORTS: i16 = 5;
    /// The person that was asked for is there, whether or not they are employed on the day.
    pub(crate) const ROOT: i16 = 6;
}

/// The order of names of a person_span `p`, that of Unicode's root collation; the same to the letter as the index `person_span_name`.
pub(super) const FAMILY: &str = "coalesce(p.family_name, '') collate \"und-x-icu\"";
pub(super) const GIVEN: &str = "coalesce(p.given_name, '') collate \"und-x-icu\"";

/// A person, or something that people of the page refer to, as of a person's day.
#[derive(Debug, Clone, Default, FromRow)]
pub(super) struct Part {
    pub(super) kind: i16,
    pub(super) position: Option<i64>,
    pub(super) id: Option<Uuid>,
    pub(super) day: Option<Day>,
    /// Or the employee number.
    pub(super) code: Option<String>,
    /// Or the family name.
    pub(super) name: Option<String>,
    pub(super) given_name: Option<String>,
    pub(super) department_id: Option<Uuid>,
    pub(super) job_id: Option<Uuid>,
    pub(super) manager_id: Option<Uuid>,
    #[sqlx(default)]
    pub(super) location_id: Option<Uuid>,
    #[sqlx(default)]
    pub(super) work_email: Option<String>,
    #[sqlx(default)]
    pub(super) starts_on: Option<Day>,
    #[sqlx(default)]
    pub(super) ends_on: Option<Day>,
    /// The person's place in the order of the rows, which come in any.
    pub(super) nth: Option<i64>,
    #[sqlx(default)]
    pub(super) level: Option<i32>,
    #[sqlx(default)]
    pub(super) direct_reports: Option<i64>,
}
impl Positioned for Part {
    fn position(&self) -> i64 {
        self.position.unwrap_or(0)
    }
}

/// SQL from `union all` on, after a statement for the people of `page`: what they refer to by `{thing}_id`, as it was called on their
/// day or last before it. Its columns are those of [`Part`] up to `name`, and so many more that are null.
pub(super) fn referred(kind: i16, thing: &str, name: &str, more: usize) -> String {
    format!(
        "union all select {kind}::smallint, null, asked.id, asked.day, s.code, s.name{nulls}
         from (select distinct {thing}_id as id, day from page) asked cross join lateral (select held.code, held.{name} as name {held}) s ",
        nulls = ", null".repeat(more),
        held = held_on(thing, "asked.id", "asked.day"),
    )
}

/// Rows, sorted out.
pub(super) struct Page {
    /// Each with their day, in order.
    pub(super) people: Vec<(Uuid, Day, Part)>,
    /// Whether others follow.
    pub(super) more: bool,
    pub(super) referred: Referred,
}

impl Page {
    /// Of so many people at most.
    pub(super) fn of(rows: Vec<Part>, most: i64) -> Self {
        let (mut people, mut referred) = (Vec::new(), HashMap::new());
        for row in rows {
            match (row.kind, row.id, row.day) {
                (kind::PERSON, Some(id), Some(day)) => people.push((id, day, row)),
                (other, Some(id), Some(day)) => drop(referred.insert((other, id, day), row)),
                _ => {} // Nobody was found.
            }
        }
        people.sort_by_key(|(_, _, person)| person.nth);
        let most = usize::try_from(most).unwrap_or(0);
        let more = people.len() > most;
        people.truncate(most);
        Self { people, more, referred: Referred(referred) }
    }
}

/// What people refer to, by what it is, its id and the day.
pub(super) struct Referred(HashMap<(i16, Uuid, Day), Part>);

impl Referred {
    pub(super) fn get(&self, kind: i16, id: Uuid, day: Day) -> Option<&Part> {
        self.0.get(&(kind, id, day))
    }
    /// A department, job or location, also before it had a name.
    pub(super) fn named(&self, kind: i16, id: Uuid, day: Day) -> Named {
        let held = self.get(kind, id, day);
        Named { id, code: held.and_then(|held| held.code.clone()), name: held.and_then(|held| held.name.clone()) }
    }
    /// The manager, where the asker may see them.
    pub(super) fn manager(&self, id: Uuid, day: Day) -> Option<Manager> {
        let held = self.get(kind::MANAGER, id, day)?;
        Some(Manager { id, given_name: held.given_name.clone(), family_name: held.name.clone() })
    }
}
