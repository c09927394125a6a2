//! No ring of managers: nobody stands above themselves, on any day.
//!
//! Whether a change closes a ring depends on other people's streams, and two changes that close one together are each right
//! alone. So whoever gives a person a manager takes the tenant's turn, in this process and among all, before looking up
//! the chain. A hire needs none: nobody can report to who is not there yet.

use std::{collections::HashSet, time::Duration};

use domain::{Command, employee};
use events::{EmployeeId, StreamName, TenantId, TenantScope, employee::Patch};
use jiff::civil::Date;
use platform::{Problem, ScopedTx, database};
use sqlx::PgPool;
use tokio::time::Instant;

use crate::{
    aggregates::Aggregates,
    turns::{Turn, Turns},
};

/// Connections on which turns are held, at most. They are apart from those that the holder of a turn asks for meanwhile: on one pool
/// the holders would wait for each other.
const CONNECTIONS: u32 = 4;
/// How long the database may take, waiting for another process included.
const PATIENCE: Duration = Duration::from_secs(5);
/// Stretches of chains that are looked at; far more than any organization has above one person.
const STRETCHES: usize = 4_096;

/// Decides who may change managers, one after the other.
pub(crate) struct Managers {
    pool: PgPool,
    turns: Turns<TenantId>,
}

/// A tenant's turn.
pub(crate) struct ManagersTurn<'t> {
    tx: ScopedTx,
    /// At most one connection of this process waits for a tenant's row.
    _here: Turn<'t, TenantId>,
}

impl ManagersTurn<'_> {
    /// Lets the next one. Dropped instead, the connection is closed, which does the same later.
    pub(crate) async fn end(self) {
        let _ = tokio::time::timeout(PATIENCE, self.tx.rollback()).await;
    }
}

/// Whether the command puts a person who is there already under a manager.
pub(crate) const fn sets_manager(command: &Command) -> bool {
    use employee::Command as E;
    match command {
        Command::Employee(E::ChangeAssignment(c)) => matches!(c.changes.manager_id, Patch::Set(_)),
        Command::Employee(E::RehireEmployee(c)) => c.assignment.manager_id.is_some(),
        Command::Employee(
            E::HireEmployee(_)
            | E::ChangeCompensation(_)
            | E::ChangePersonalDetails(_)
            | E::ChangeContactDetails(_)
            | E::TerminateEmployee(_),
        )
        | Command::Organization(_)
        | Command::Tenancy(_) => false,
    }
}

impl Managers {
    /// On connections of their own to this pool's database.
    pub(crate) fn new(pool: &PgPool) -> Self {
        let pool = database::apart(pool, CONNECTIONS.min(pool.options().get_max_connections()));
        Self { pool, turns: Turns::default() }
    }

    /// Waits for the tenant's turn.
    pub(crate) async fn turn(&self, scope: TenantScope) -> Result<ManagersTurn<'_>, Problem> {
        let here = self.turns.take(scope.tenant()).await;
        let locked = tokio::time::timeout(PATIENCE, async {
            let mut tx = ScopedTx::begin(&self.pool, scope).await?;
            let sql = "insert into platform.turn values ($1, 'managers') on conflict (tenant_id, what) do update set what = excluded.what";
            sqlx::query(sql).bind(scope.tenant().uuid()).execute(tx.conn()).await?;
            Ok(tx)
        });
        let tx = locked.await.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(Problem::from)?;
        Ok(ManagersTurn { tx, _here: here })
    }
}

/// Whether `person` stands above `manager` on a day of `[from, until)`.
pub(crate) async fn stands_above(
    aggregates: &Aggregates,
    scope: TenantScope,
    person: EmployeeId,
    manager: EmployeeId,
    (from, until): (Date, Option<Date>),
) -> Result<bool, Problem> {
    let since = Instant::now();
    let (mut open, mut seen) = (vec![(manager, from, until)], HashSet::new());
    while let Some(stretch @ (at, from, until)) = open.pop() {
        if !seen.insert(stretch) {
            continue;
        }
        if seen.len() > STRETCHES {
            return Ok(true); // What can't be checked is refused (I8).
        }
        let known = aggregates.read_since(scope, StreamName::employee(scope, at), since).await?;
        for (start, end, above) in known.aggregate.managers() {
            let start = start.max(from);
            let end = [end, until].into_iter().flatten().min();
            if end.is_some_and(|end| end <= start) {
                continue;
            }
            if above == person {
                return Ok(true);
            }
            open.push((above, start, end));
        }
    }
    Ok(false)
}
