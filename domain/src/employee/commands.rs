//! What can be asked about a person's employments.

use events::{
    CommandId, DepartmentId, EmployeeId, JobId, LocationId,
    employee::{Assignment, Patch, Pay},
};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Reference, Referent,
    command::{chosen, commands},
    text::{Day, EmailAddress, EmployeeNumber, FamilyName, Gender, Name, Phone, Reason},
};

commands! {
    /// A command about a person's employments.
    pub enum Command {
        HireEmployee, RehireEmployee, ChangeAssignment, ChangeCompensation, ChangePersonalDetails, ChangeContactDetails,
        TerminateEmployee
    }
}

/// Employ a person for the first time.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HireEmployee {
    /// The person's id; chosen by the system if absent.
    #[serde(default = "unset", deserialize_with = "chosen")]
    pub employee_id: EmployeeId,
    /// The first day of employment.
    pub hire_date: Day,
    /// The start of service for seniority, where it is earlier.
    #[serde(default)]
    pub original_hire_date: Option<Day>,
    /// The tenant's own number for the person, unique among its people, kept over rehires.
    pub employee_number: EmployeeNumber,
    /// Who the person is.
    pub person: NewPerson,
    /// How the person is reached.
    #[serde(default)]
    pub contact: NewContact,
    /// The first assignment.
    pub assignment: Assignment,
    /// The first pay.
    #[serde(default)]
    pub pay: Option<Pay>,
}

/// Who a person is.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPerson {
    /// Given name or names.
    pub given_name: Name,
    /// Family name; empty for people who have none.
    pub family_name: FamilyName,
    /// Day of birth.
    #[serde(default)]
    pub birth_date: Option<Day>,
    /// As the person states it.
    #[serde(default)]
    pub gender: Option<Gender>,
}

/// How a person is reached.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewContact {
    /// Address at work, unique among the tenant's people.
    #[serde(default)]
    pub work_email: Option<EmailAddress>,
    /// Private address.
    #[serde(default)]
    pub private_email: Option<EmailAddress>,
    /// Telephone number.
    #[serde(default)]
    pub phone: Option<Phone>,
}

/// Employ a person who left again: a new employment of the same person.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RehireEmployee {
    /// The person.
    pub employee_id: EmployeeId,
    /// The first day of the new employment; after the last day of the one before.
    pub hire_date: Day,
    /// The first assignment.
    pub assignment: Assignment,
    /// The first pay.
    #[serde(default)]
    pub pay: Option<Pay>,
}

/// Change department, job, place or manager from a day on, past or future.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeAssignment {
    /// The person.
    pub employee_id: EmployeeId,
    /// From when; a day on which the person is employed.
    pub effective_on: Day,
    /// What changes; the rest stays as it is.
    pub changes: AssignmentChanges,
    /// Why, such as `transfer` or `promotion`.
    pub reason: Reason,
}

/// A change to an assignment: absent fields stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssignmentChanges {
    /// The department from then on.
    #[serde(default)]
    pub department_id: Option<DepartmentId>,
    /// The job from then on.
    #[serde(default)]
    pub job_id: Option<JobId>,
    /// The place of work from then on; `null` for none.
    #[serde(default)]
    #[schema(value_type = Option<LocationId>)]
    pub location_id: Patch<LocationId>,
    /// The person reported to from then on; `null` for none.
    #[serde(default)]
    #[schema(value_type = Option<EmployeeId>)]
    pub manager_id: Patch<EmployeeId>,
}

/// Pay a person differently from a day on, past or future.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeCompensation {
    /// The person.
    pub employee_id: EmployeeId,
    /// From when; a day on which the person is employed.
    pub effective_on: Day,
    /// The pay from then on.
    pub pay: Pay,
    /// Why, such as `annual_review`.
    pub reason: Reason,
}

/// Change a person's name or other personal details from a day on.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePersonalDetails {
    /// The person.
    pub employee_id: EmployeeId,
    /// From when; not before the first hire.
    pub effective_on: Day,
    /// What changes; the rest stays as it is.
    pub changes: PersonalDetailsChanges,
}

/// A change to personal details: absent fields stay as they are.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersonalDetailsChanges {
    /// Given name from then on.
    #[serde(default)]
    pub given_name: Option<Name>,
    /// Family name from then on; empty for none.
    #[serde(default)]
    pub family_name: Option<FamilyName>,
    /// Day of birth, where it was unknown or wrong; `null` for unknown.
    #[serde(default)]
    #[schema(value_type = Option<Day>)]
    pub birth_date: Patch<Day>,
    /// As the person states it; `null` for not stated.
    #[serde(default)]
    #[schema(value_type = Option<Gender>)]
    pub gender: Patch<Gender>,
}

/// Change how a person is reached from a day on.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeContactDetails {
    /// The person.
    pub employee_id: EmployeeId,
    /// From when; not before the first hire.
    pub effective_on: Day,
    /// What changes; the rest stays as it is.
    pub changes: ContactDetailsChanges,
}

/// A change to contact details: absent fields stay as they are.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ContactDetailsChanges {
    /// Address at work, unique among the tenant's people; `null` for none.
    #[serde(default)]
    #[schema(value_type = Option<EmailAddress>)]
    pub work_email: Patch<EmailAddress>,
    /// Private address; `null` for none.
    #[serde(default)]
    #[schema(value_type = Option<EmailAddress>)]
    pub private_email: Patch<EmailAddress>,
    /// Telephone number; `null` for none.
    #[serde(default)]
    #[schema(value_type = Option<Phone>)]
    pub phone: Patch<Phone>,
}

/// End a person's employment.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TerminateEmployee {
    /// The person.
    pub employee_id: EmployeeId,
    /// The last day worked; the person is employed on that day. The eve of the first day says that the person never
    /// started.
    pub last_day_worked: Day,
    /// Why, such as `resignation`.
    pub reason: Reason,
}

/// Stands for "not chosen" until [`Command::fill_ids`].
const fn unset() -> EmployeeId {
    EmployeeId::from_uuid(Uuid::nil())
}

impl Command {
    /// Gives a person to be hired an id derived from the command's, unless one was chosen.
    pub fn fill_ids(&mut self, command: CommandId) {
        if let Self::HireEmployee(c) = self
            && c.employee_id == unset()
        {
            c.employee_id = EmployeeId::derive(command.uuid(), "employee");
        }
    }

    /// The person.
    pub const fn employee_id(&self) -> EmployeeId {
        match self {
            Self::HireEmployee(c) => c.employee_id,
            Self::RehireEmployee(c) => c.employee_id,
            Self::ChangeAssignment(c) => c.employee_id,
            Self::ChangeCompensation(c) => c.employee_id,
            Self::ChangePersonalDetails(c) => c.employee_id,
            Self::ChangeContactDetails(c) => c.employee_id,
            Self::TerminateEmployee(c) => c.employee_id,
        }
    }

    /// What the command refers to in other aggregates; look each up and hand the answers to `decide` as facts.
    pub fn references(&self) -> Vec<Reference> {
        match self {
            Self::HireEmployee(c) => assignment_references(&c.assignment, c.hire_date),
            Self::RehireEmployee(c) => assignment_references(&c.assignment, c.hire_date),
            Self::ChangeAssignment(c) => change_references(&c.changes, c.effective_on),
            Self::ChangeCompensation(_) | Self::ChangePersonalDetails(_) | Self::ChangeContactDetails(_) | Self::TerminateEmployee(_) => {
                Vec::new()
            }
        }
    }
}

fn assignment_references(assignment: &Assignment, on: Day) -> Vec<Reference> {
    let on = on.date();
    [
        Some(("/assignment/department_id", Referent::Department(assignment.department_id))),
        Some(("/assignment/job_id", Referent::Job(assignment.job_id))),
        assignment.location_id.map(|id| ("/assignment/location_id", Referent::Location(id))),
        assignment.manager_id.map(|id| ("/assignment/manager_id", Referent::Manager(id))),
    ]
    .into_iter()
    .flatten()
    .map(|(pointer, to)| Reference { pointer, to, on })
    .collect()
}

fn change_references(changes: &AssignmentChanges, on: Day) -> Vec<Reference> {
    let on = on.date();
    let set = |pointer, to| Some((pointer, to));
    [
        changes.department_id.and_then(|id| set("/changes/department_id", Referent::Department(id))),
        changes.job_id.and_then(|id| set("/changes/job_id", Referent::Job(id))),
        match changes.location_id {
            Patch::Set(id) => set("/changes/location_id", Referent::Location(id)),
            Patch::Keep | Patch::Clear => None,
        },
        match changes.manager_id {
            Patch::Set(id) => set("/changes/manager_id", Referent::Manager(id)),
            Patch::Keep | Patch::Clear => None,
        },
    ]
    .into_iter()
    .flatten()
    .map(|(pointer, to)| Reference { pointer, to, on })
    .collect()
}
