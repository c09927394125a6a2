//! Whether an actor may send a command: looked at before it is decided, for every route and every line of a batch.
//!
//! Most actors may change everybody's facts of a class, or nobody's; for them nothing is read. For the others the person's
//! place of today decides. Whom an actor can't reach is to them as if they were not there.

use domain::{Command, PersonTouched, Touches, Whose};
use events::{EmployeeId, TenantScope};
use platform::{
    Actor, Problem,
    access::{Action, Duty, Sight},
};

use crate::{
    aggregates::Aggregates,
    problems::nobody,
    reach::{Looker, recently},
};

/// 403 `forbidden` if the actor may not change such facts, 404 `not_found` if not those of this person.
pub(crate) async fn check(aggregates: &Aggregates, actor: &Actor, command: &Command) -> Result<(), Problem> {
    match command.touches() {
        Touches::Tenants => actor.require(Duty::ManageTenants),
        Touches::Everybody(class) => {
            if actor.grants.sight(Action::Change, class).all {
                Ok(())
            } else {
                Err(actor.forbidden())
            }
        }
        Touches::Person(touched) => check_person(aggregates, actor, command, &touched).await,
    }
}

async fn check_person(aggregates: &Aggregates, actor: &Actor, command: &Command, touched: &PersonTouched) -> Result<(), Problem> {
    let PersonTouched { is_new, department, manager, by_another, .. } = *touched;
    if by_another
        && let Some(own) = actor.employee
        && Box::pin(whom(aggregates, actor.scope, command, touched.person)).await? == own
    {
        return Err(own_decision());
    }
    let sights: Vec<Sight> = touched.classes.iter().map(|class| actor.grants.sight(Action::Change, *class)).collect();
    if sights.iter().any(Sight::is_empty) {
        return Err(actor.forbidden());
    }
    // A command that makes a person known shows the actor nothing new: all about that person is in the command.
    let moves = !is_new && (department.is_some() || manager.is_some());
    let by_place = if moves { actor.grants.by_place() } else { Vec::new() };
    if sights.iter().all(|sight| sight.all) && by_place.is_empty() {
        return Ok(());
    }
    // Few commands come here, and every command's future would have room for it.
    Box::pin(check_reach(aggregates, actor, command, touched, &sights, &by_place)).await
}

/// The same, for an actor who may change such facts of some people only.
async fn check_reach(
    aggregates: &Aggregates,
    actor: &Actor,
    command: &Command,
    touched: &PersonTouched,
    sights: &[Sight],
    by_place: &[Sight],
) -> Result<(), Problem> {
    let PersonTouched { is_new, department, manager, .. } = *touched;
    let looker = Looker::new(aggregates, actor);
    let person = whom(aggregates, actor.scope, command, touched.person).await?;
    for sight in sights.iter().filter(|sight| !sight.all) {
        if !is_new && !looker.reaches(sight, person).await? {
            return Err(nobody());
        }
        // Nobody can be put where the actor's reach ends.
        if let Some(department) = department
            && !looker.is_within(sight, department).await?
        {
            return Err(actor.forbidden());
        }
    }
    // Nor can anybody be brought within a reach of the actor's that they were not in: who may say who works for whom would
    // else see what they may not.
    for sight in by_place {
        let brought = match (department, manager) {
            (Some(department), _) if looker.is_within(sight, department).await? => true,
            (_, Some(manager)) => looker.leads(sight, manager).await? || looker.is_below(sight, manager).await?,
            _ => false,
        };
        if brought && !looker.reaches(sight, person).await? {
            return Err(actor.forbidden());
        }
    }
    Ok(())
}

/// 403 `own_decision`: nobody decides about themselves, however far their reach is.
fn own_decision() -> Problem {
    let detail = "this is about yourself, and takes another's decision; ask your manager, their delegate or HR";
    Problem::new(http::StatusCode::FORBIDDEN, "own_decision", detail)
}

/// The person whom a command is about.
async fn whom(aggregates: &Aggregates, scope: TenantScope, command: &Command, person: Whose) -> Result<EmployeeId, Problem> {
    match person {
        Whose::Named(person) => Ok(person),
        Whose::OfAggregate => {
            let known = aggregates.read_since(scope, command.stream(scope), recently()).await?;
            known.aggregate.state.person().ok_or_else(nobody)
        }
    }
}
