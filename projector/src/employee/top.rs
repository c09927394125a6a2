//! Who stands at the top of the org chart, and when. It hangs on the manager's employment as well, so it is worked out by
//! SQL from rows that are written, not by the fold of one person.

#![deny(clippy::disallowed_methods)]

use std::{collections::BTreeSet, fmt::Write as _};

use uuid::Uuid;

use super::tables::{PersonRows, TopSpan};
use crate::{
    derived::{Derived, Filled, Renewal},
    fold::CannotFold,
    table::{Table as _, TableInfo},
};

/// Of each assignment, the days without a manager, or with one who is not employed: for a read model whose people have all
/// been written.
pub const INSERT: &str = "
    insert into top_span (employee_id, valid_from, valid_to)
    select a.employee_id, lower(day), upper(day)
    from assignment_span a
    left join lateral (
        select range_agg(daterange(m.starts_on, m.ends_on)) as days from employment m where m.employee_id = a.manager_id and m.starts_on < m.ends_on
    ) managed on true
    cross join lateral unnest(datemultirange(daterange(a.valid_from, a.valid_to)) - coalesce(managed.days, '{}')) as day
    where a.valid_from < a.valid_to";

/// The people of whom an employment or an assignment changed.
#[derive(Debug, Default)]
pub struct Top(BTreeSet<Uuid>);

impl Derived for Top {
    type Source = PersonRows;
    const TABLE: TableInfo = TopSpan::INFO;
    const COMPARED: &'static str = "select * from top_span";
    // The managers' employments are looked up by their index.
    const FILLED: Option<Filled> = Some(Filled { after: "employment", sql: INSERT });

    fn note(&mut self, before: &PersonRows, after: &PersonRows) -> Result<(), CannotFold> {
        if before.employment != after.employment || before.assignment_span != after.assignment_span {
            self.0.extend(before.employee.iter().chain(&after.employee).map(|row| row.employee_id));
        }
        Ok(())
    }
    fn merge(&mut self, mut other: Self) -> Result<(), CannotFold> {
        self.0.append(&mut other.0);
        Ok(())
    }
    /// Works it out anew for these people, and for who reports to them.
    fn renewal(&self) -> Result<Renewal, CannotFold> {
        if self.0.is_empty() {
            return Ok(Renewal::Run(String::new()));
        }
        let mut ids = String::new();
        for id in &self.0 {
            let _ = write!(ids, "{}'{id}'", if ids.is_empty() { "" } else { "," }); // a String takes all
        }
        // One message for both statements: the second must see what the first deleted.
        let changed = format!("array[{ids}]::uuid[]");
        let affected = |of: &str| {
            format!(
                "({of}.employee_id = any ({changed}) or {of}.employee_id in (select r.employee_id from assignment_span r where r.manager_id = any ({changed})))"
            )
        };
        Ok(Renewal::Run(format!("delete from top_span t where {}; {INSERT} and {}", affected("t"), affected("a"))))
    }
    fn copy(&self, _: &mut Vec<u8>) -> Result<u64, CannotFold> {
        Ok(0)
    }
}
