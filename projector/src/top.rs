//! Who stands at the top of the org chart, and when. It hangs on the manager's employment as well, so it is worked out by
//! SQL from rows that are written, not by the fold of one person.

use std::{collections::BTreeSet, fmt::Write as _};

use sqlx::{Executor as _, PgConnection};
use uuid::Uuid;

/// Where it stands.
pub(crate) const TABLE: &str = "top_span";
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

/// Works it out anew for these people, whose employments or assignments have changed, and for who reports to them.
pub(crate) async fn renew(conn: &mut PgConnection, people: &BTreeSet<Uuid>) -> Result<(), sqlx::Error> {
    if people.is_empty() {
        return Ok(());
    }
    let mut ids = String::new();
    for id in people {
        let _ = write!(ids, "{}'{id}'", if ids.is_empty() { "" } else { "," }); // a String takes all
    }
    // One message for both statements: the second must see what the first deleted.
    let changed = format!("array[{ids}]::uuid[]");
    let affected = |of: &str| {
        format!(
            "({of}.employee_id = any ({changed}) or {of}.employee_id in (select r.employee_id from assignment_span r where r.manager_id = any ({changed})))"
        )
    };
    let sql = format!("delete from top_span t where {}; {INSERT} and {}", affected("t"), affected("a"));
    conn.execute(sql.as_str()).await?;
    Ok(())
}
