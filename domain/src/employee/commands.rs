//! What can be asked about a person's employments.

use events::{
    CommandId, DepartmentId, Effective, EmployeeId, EmploymentId, FieldClass, JobId, LocationId, StreamName, TenantScope,
    employee::{Assignment, ChangedFacts, Patch, Pay},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use jiff::civil::Date;

use super::{EMPLOYEE_NUMBER, Employed, MANAGERS, UNIQUES, WORK_EMAIL};
use crate::{
    ClaimOp, ClaimUse, Facts, LockUse, PersonTouched, Question, Standing, Touches, Whose,
    command::{chosen, commands, not_null},
    organization::{DepartmentOn, JobOn, LocationOn},
    text::{Day, EmailAddress, EmployeeNumber, FamilyName, Gender, Name, Phone, Reason},
};

commands! {
    /// A command about a person's employments.
    pub enum Command {
        HireEmployee, RehireEmployee, ChangeAssignment, ChangeCompensation, ChangePersonalDetails, ChangeContactDetails,
        TerminateEmployee; internal AnnounceDue
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
    /// The first day of the new employment; after the last day of the one before. One that never started is none before.
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
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = DepartmentId, required = false)]
    pub department_id: Option<DepartmentId>,
    /// The job from then on.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = JobId, required = false)]
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
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = Name, required = false)]
    pub given_name: Option<Name>,
    /// Family name from then on; empty for none.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = FamilyName, required = false)]
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

/// Record that what was recorded ahead took effect. Sent when its day has begun at the person's place of work, never by a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnnounceDue {
    /// The person.
    pub employee_id: EmployeeId,
    /// What took effect.
    pub fact: DueFact,
}

/// What takes effect on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DueFact {
    /// An employment, on its first day.
    Start {
        /// The employment.
        employment_id: EmploymentId,
        /// Its first day.
        on: Date,
    },
    /// The end of an employment, on the day after its last one.
    End {
        /// The employment.
        employment_id: EmploymentId,
        /// Its last day.
        last_day_worked: Date,
    },
    /// A change, on its day.
    Change {
        /// Of what.
        what: ChangedFacts,
        /// Which one.
        effective: Effective,
    },
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
            Self::AnnounceDue(c) => c.employee_id,
        }
    }

    /// The person's stream.
    pub const fn stream(&self, scope: TenantScope) -> StreamName {
        StreamName::employee(scope, self.employee_id())
    }
    /// The person's id.
    pub fn object_id(&self) -> String {
        self.employee_id().to_string()
    }
    /// Whether it starts a stream.
    pub const fn creates(&self) -> bool {
        matches!(self, Self::HireEmployee(_))
    }

    /// Whom it touches, and which facts.
    pub const fn touches(&self) -> Touches {
        use FieldClass::{Directory, Pay, Personal};
        let classes: &'static [FieldClass] = match self {
            Self::HireEmployee(_) => &[Directory, Personal, Pay],
            Self::RehireEmployee(_) => &[Directory, Pay],
            Self::ChangeAssignment(_) | Self::TerminateEmployee(_) | Self::AnnounceDue(_) => &[Directory],
            Self::ChangeCompensation(_) => &[Pay],
            // The address at work is of the directory.
            Self::ChangeContactDetails(c) if c.changes.work_email.is_keep() => &[Personal],
            Self::ChangePersonalDetails(_) | Self::ChangeContactDetails(_) => &[Directory, Personal],
        };
        let (department, manager) = match self {
            Self::HireEmployee(c) => (Some(c.assignment.department_id), c.assignment.manager_id),
            Self::RehireEmployee(c) => (Some(c.assignment.department_id), c.assignment.manager_id),
            Self::ChangeAssignment(c) => match c.changes.manager_id {
                Patch::Set(manager) => (c.changes.department_id, Some(manager)),
                Patch::Keep | Patch::Clear => (c.changes.department_id, None),
            },
            Self::ChangeCompensation(_)
            | Self::ChangePersonalDetails(_)
            | Self::ChangeContactDetails(_)
            | Self::TerminateEmployee(_)
            | Self::AnnounceDue(_) => (None, None),
        };
        let person = Whose::Named(self.employee_id());
        Touches::Person(PersonTouched { person, is_new: self.creates(), classes, department, manager, by_another: false })
    }

    /// The number and the address that it takes, and whether an address may become free.
    pub fn claims(&self) -> Vec<ClaimUse> {
        match self {
            Self::HireEmployee(c) => {
                let number = ClaimUse::takes(&EMPLOYEE_NUMBER, c.employee_number.as_str(), "/employee_number");
                let email = c.contact.work_email.as_ref();
                let email = email.map(|email| ClaimUse::takes(&WORK_EMAIL, email.as_str(), "/contact/work_email"));
                std::iter::once(number).chain(email).collect()
            }
            Self::ChangeContactDetails(c) => match &c.changes.work_email {
                Patch::Keep => Vec::new(),
                Patch::Clear => vec![ClaimUse::GivesUp(&WORK_EMAIL)],
                Patch::Set(email) => {
                    vec![ClaimUse::GivesUp(&WORK_EMAIL), ClaimUse::takes(&WORK_EMAIL, email.as_str(), "/changes/work_email")]
                }
            },
            // Whoever never started holds neither number nor address.
            Self::TerminateEmployee(_) => UNIQUES.iter().map(|of| ClaimUse::Rarely(of, ClaimOp::Release)).collect(),
            Self::RehireEmployee(_) => UNIQUES.iter().map(|of| ClaimUse::Rarely(of, ClaimOp::Take)).collect(),
            Self::ChangeAssignment(_) | Self::ChangeCompensation(_) | Self::ChangePersonalDetails(_) | Self::AnnounceDue(_) => Vec::new(),
        }
    }

    /// Whoever puts a person who is there already under a manager holds [`MANAGERS`]: two changes that close a ring together
    /// are each right alone. A hire needs it not, because nobody can report to who is not there yet. Taking somebody from under
    /// a manager closes no ring, and may make room for another change.
    pub const fn lock(&self) -> Option<LockUse> {
        match self {
            Self::RehireEmployee(c) if c.assignment.manager_id.is_some() => Some(LockUse::Holds(MANAGERS)),
            Self::ChangeAssignment(c) => match c.changes.manager_id {
                Patch::Set(_) => Some(LockUse::Holds(MANAGERS)),
                Patch::Clear => Some(LockUse::Affects(MANAGERS)),
                Patch::Keep => None,
            },
            Self::TerminateEmployee(_) => Some(LockUse::Affects(MANAGERS)),
            Self::HireEmployee(_)
            | Self::RehireEmployee(_)
            | Self::ChangeCompensation(_)
            | Self::ChangePersonalDetails(_)
            | Self::ChangeContactDetails(_)
            | Self::AnnounceDue(_) => None,
        }
    }

    /// What the command refers to in other aggregates.
    pub(super) fn references(&self) -> Vec<Reference> {
        match self {
            Self::HireEmployee(c) => assignment_references(&c.assignment, c.hire_date),
            Self::RehireEmployee(c) => assignment_references(&c.assignment, c.hire_date),
            Self::ChangeAssignment(c) => change_references(&c.changes, c.effective_on),
            Self::ChangeCompensation(_)
            | Self::ChangePersonalDetails(_)
            | Self::ChangeContactDetails(_)
            | Self::TerminateEmployee(_)
            | Self::AnnounceDue(_) => Vec::new(),
        }
    }
}

/// Something that a command refers to, and the command's field that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reference {
    /// JSON Pointer to the field.
    pub(super) pointer: &'static str,
    /// What is referred to.
    pub(super) to: Referent,
    /// The day on which it must be there.
    pub(super) on: Date,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Referent {
    Department(DepartmentId),
    Job(JobId),
    Location(LocationId),
    Manager(EmployeeId),
}

impl Reference {
    /// How it stands on the day, as a question.
    pub(super) fn question(self) -> Question {
        let on = self.on;
        match self.to {
            Referent::Department(department) => DepartmentOn { department, on }.into(),
            Referent::Job(job) => JobOn { job, on }.into(),
            Referent::Location(location) => LocationOn { location, on }.into(),
            Referent::Manager(employee) => Employed { employee, on }.into(),
        }
    }
    /// How it stands on the day. What was not looked up counts as unknown.
    pub(super) fn standing(self, facts: &Facts) -> Standing {
        let on = self.on;
        let standing = match self.to {
            Referent::Department(department) => facts.get(DepartmentOn { department, on }),
            Referent::Job(job) => facts.get(JobOn { job, on }),
            Referent::Location(location) => facts.get(LocationOn { location, on }),
            Referent::Manager(employee) => facts.get(Employed { employee, on }),
        };
        standing.copied().unwrap_or(Standing::Unknown)
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

/// A sample of each, for tests of all commands.
#[cfg(test)]
pub(crate) fn samples() -> Vec<(&'static str, String)> {
    let day = r#""effective_on":"2020-01-01""#;
    let assignment = r#"{"department_id":"ID","job_id":"ID","location_id":null}"#;
    let hire = r#"{"hire_date":"2020-01-01","employee_number":"1","person":{"given_name":"A","family_name":""},
        "assignment":{"department_id":"ID","job_id":"ID"},"pay":{"rate":{"amount":"1","currency":"USD"},"per":"year"}}"#;
    vec![
        ("HireEmployee", hire.into()),
        ("RehireEmployee", format!(r#"{{"employee_id":"ID","hire_date":"2020-01-01","assignment":{assignment}}}"#)),
        ("ChangeAssignment", format!(r#"{{"employee_id":"ID",{day},"changes":{{"manager_id":null}},"reason":"r"}}"#)),
        (
            "ChangeCompensation",
            format!(r#"{{"employee_id":"ID",{day},"pay":{{"rate":{{"amount":"1","currency":"EUR"}},"per":"hour"}},"reason":"r"}}"#),
        ),
        ("ChangePersonalDetails", format!(r#"{{"employee_id":"ID",{day},"changes":{{"family_name":"King"}}}}"#)),
        ("ChangeContactDetails", format!(r#"{{"employee_id":"ID",{day},"changes":{{"work_email":null,"phone":"+431234567"}}}}"#)),
        ("TerminateEmployee", r#"{"employee_id":"ID","last_day_worked":"2020-01-01","reason":"r"}"#.into()),
    ]
}
