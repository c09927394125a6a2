//! Whether an actor may send a command: looked at before it is decided, for every route and every line of a batch.
//!
//! Most actors may change everybody's facts of a class, or nobody's; for them nothing is read. For the others the person's
//! place of today decides. Whom an actor can't reach is to them as if they were not there.

use domain::{
    Command,
    employee::{Command as E, Place},
};
use events::{DepartmentId, EmployeeId, StreamName, employee::Patch};
use jiff::civil::Date;
use platform::{
    Actor, Problem,
    access::{Action, Duty, FieldClass, Sight},
};

use crate::{
    aggregates::{Aggregates, recently, today},
    problems::refused,
};

/// Managers above one person that are looked at; no organization has as many levels.
const LEVELS: usize = 64;

/// What an employee command touches.
const fn classes(command: &E) -> &'static [FieldClass] {
    use FieldClass::{Directory, Pay, Personal};
    match command {
        E::HireEmployee(_) => &[Directory, Personal, Pay],
        E::RehireEmployee(_) => &[Directory, Pay],
        E::ChangeAssignment(_) | E::TerminateEmployee(_) => &[Directory],
        E::ChangeCompensation(_) => &[Pay],
        E::ChangePersonalDetails(_) => &[Directory, Personal],
        // The address at work is of the directory.
        E::ChangeContactDetails(c) => {
            if c.changes.work_email.is_keep() {
                &[Personal]
            } else {
                &[Directory, Personal]
            }
        }
    }
}

/// The department that a command puts somebody into, and whom it puts them under.
const fn target(command: &E) -> (Option<DepartmentId>, Option<EmployeeId>) {
    match command {
        E::HireEmployee(c) => (Some(c.assignment.department_id), c.assignment.manager_id),
        E::RehireEmployee(c) => (Some(c.assignment.department_id), c.assignment.manager_id),
        E::ChangeAssignment(c) => match c.changes.manager_id {
            Patch::Set(manager) => (c.changes.department_id, Some(manager)),
            Patch::Keep | Patch::Clear => (c.changes.department_id, None),
        },
        E::ChangeCompensation(_) | E::ChangePersonalDetails(_) | E::ChangeContactDetails(_) | E::TerminateEmployee(_) => (None, None),
    }
}

/// 403 `forbidden` if the actor may not change such facts, 404 `not_found` if not those of this person.
pub(crate) async fn check(aggregates: &Aggregates, actor: &Actor, command: &Command) -> Result<(), Problem> {
    let grants = &actor.grants;
    let command = match command {
        Command::Tenancy(_) => return actor.require(Duty::ManageTenants),
        Command::Organization(_) => {
            let everywhere = grants.sight(Action::Change, FieldClass::Directory).all;
            return if everywhere { Ok(()) } else { Err(actor.forbidden()) };
        }
        Command::Employee(command) => command,
    };
    let sights: Vec<Sight> = classes(command).iter().map(|class| grants.sight(Action::Change, *class)).collect();
    if sights.iter().any(Sight::is_empty) {
        return Err(actor.forbidden());
    }
    let (department, manager) = target(command);
    // Of a person to be hired the actor knows all there is.
    let moves = !matches!(command, E::HireEmployee(_)) && (department.is_some() || manager.is_some());
    let by_place = if moves { grants.by_place() } else { Vec::new() };
    if sights.iter().all(|sight| sight.all) && by_place.is_empty() {
        return Ok(());
    }
    let looker = Looker { aggregates, actor, today: today() };
    let person = command.employee_id();
    for sight in sights.iter().filter(|sight| !sight.all) {
        if !matches!(command, E::HireEmployee(_)) && !looker.reaches(sight, person).await? {
            return Err(absent());
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
    for sight in &by_place {
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

/// As for a person who never was.
fn absent() -> Problem {
    let refusal = domain::Refusal::from(domain::employee::Refusal::NotFound);
    refused(&refusal)
}

struct Looker<'l> {
    aggregates: &'l Aggregates,
    actor: &'l Actor,
    today: Date,
}

impl Looker<'_> {
    async fn reaches(&self, sight: &Sight, person: EmployeeId) -> Result<bool, Problem> {
        if sight.people.contains(&person) {
            return Ok(true);
        }
        // What is one's own, nobody decides by standing above or beside oneself.
        if self.actor.employee == Some(person) {
            return Ok(false);
        }
        let Some(place) = self.place(person).await? else { return Ok(false) };
        Ok(self.is_within(sight, place.department_id).await? || self.is_below(sight, person).await?)
    }
    /// Whether one of the lines is this manager's. Who has left leads nobody any more.
    async fn leads(&self, sight: &Sight, manager: EmployeeId) -> Result<bool, Problem> {
        Ok(sight.lines.contains(&manager) && !self.place(manager).await?.is_some_and(|place| place.left))
    }
    /// Whether the chain of managers, of people who have not left, leads to one of the lines'.
    async fn is_below(&self, sight: &Sight, person: EmployeeId) -> Result<bool, Problem> {
        if sight.lines.is_empty() {
            return Ok(false);
        }
        let mut at = person;
        for _ in 0..LEVELS {
            match self.place(at).await? {
                Some(Place { left: false, manager_id: Some(manager), .. }) if self.leads(sight, manager).await? => return Ok(true),
                Some(Place { left: false, manager_id: Some(manager), .. }) => at = manager,
                Some(_) | None => return Ok(false),
            }
        }
        Ok(false)
    }
    async fn is_within(&self, sight: &Sight, department: DepartmentId) -> Result<bool, Problem> {
        if sight.departments.is_empty() {
            return Ok(false);
        }
        let scope = self.actor.scope;
        let organization = self.aggregates.read_since(scope, StreamName::organization(scope), recently()).await?;
        let chain = organization.aggregate.departments_above(department, self.today);
        Ok(chain.iter().any(|department| sight.departments.contains(department)))
    }
    async fn place(&self, person: EmployeeId) -> Result<Option<Place>, Problem> {
        let scope = self.actor.scope;
        let known = self.aggregates.read_since(scope, StreamName::employee(scope, person), recently()).await?;
        Ok(known.aggregate.place(self.today))
    }
}
