//! What can be asked of a tenant's organization.

use events::{
    CommandId, DepartmentId, Effective, FieldClass, JobId, LocationId, StreamName, TenantScope,
    organization::{UnitChange, UnitId},
};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    ClaimUse, LockUse, Touches,
    command::{chosen, commands, not_null},
    text::{Code, Day, Name, TimeZoneName},
};

commands! {
    /// A command about departments, locations or jobs.
    pub enum Command {
        CreateDepartment, RenameDepartment, MoveDepartment, CloseDepartment,
        OpenLocation, ChangeLocation, CloseLocation,
        CreateJob, RetitleJob, RetireJob; internal AnnounceUnitChange
    }
}

/// Create a department.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateDepartment {
    /// Its id; chosen by the system if absent.
    #[serde(default = "unset_department", deserialize_with = "chosen")]
    pub department_id: DepartmentId,
    /// Its first day.
    pub effective_on: Day,
    /// A short code, unique among the tenant's departments, never reused.
    pub code: Code,
    /// The name.
    pub name: Name,
    /// The department above it; a root if absent.
    #[serde(default)]
    pub parent_id: Option<DepartmentId>,
}

/// Give a department another name from a day on.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenameDepartment {
    /// The department.
    pub department_id: DepartmentId,
    /// From when.
    pub effective_on: Day,
    /// The name from then on.
    pub name: Name,
}

/// Put a department elsewhere in the tree from a day on.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveDepartment {
    /// The department.
    pub department_id: DepartmentId,
    /// From when.
    pub effective_on: Day,
    /// The department above it from then on; `null` makes it a root. Must be there, so that nothing is uprooted by
    /// leaving it out.
    #[serde(deserialize_with = "required")]
    #[schema(required)]
    pub parent_id: Option<DepartmentId>,
}

/// Close a department.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseDepartment {
    /// The department.
    pub department_id: DepartmentId,
    /// The first day without it.
    pub effective_on: Day,
}

/// Open a place of work.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenLocation {
    /// Its id; chosen by the system if absent.
    #[serde(default = "unset_location", deserialize_with = "chosen")]
    pub location_id: LocationId,
    /// Its first day.
    pub effective_on: Day,
    /// A short code, unique among the tenant's locations, never reused.
    pub code: Code,
    /// The name.
    pub name: Name,
    /// The IANA time zone, such as `Europe/Vienna`.
    pub time_zone: TimeZoneName,
}

/// Give a location another name or time zone from a day on. What is absent stays as it is.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeLocation {
    /// The location.
    pub location_id: LocationId,
    /// From when.
    pub effective_on: Day,
    /// The name from then on.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = Name, required = false)]
    pub name: Option<Name>,
    /// The IANA time zone from then on.
    #[serde(default, deserialize_with = "not_null")]
    #[schema(value_type = TimeZoneName, required = false)]
    pub time_zone: Option<TimeZoneName>,
}

/// Close a location.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseLocation {
    /// The location.
    pub location_id: LocationId,
    /// The first day without it.
    pub effective_on: Day,
}

/// Create a job that people can be employed as.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateJob {
    /// Its id; chosen by the system if absent.
    #[serde(default = "unset_job", deserialize_with = "chosen")]
    pub job_id: JobId,
    /// Its first day.
    pub effective_on: Day,
    /// A short code, unique among the tenant's jobs, never reused.
    pub code: Code,
    /// The title, such as `Senior Engineer`.
    pub title: Name,
}

/// Give a job another title from a day on.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetitleJob {
    /// The job.
    pub job_id: JobId,
    /// From when.
    pub effective_on: Day,
    /// The title from then on.
    pub title: Name,
}

/// Retire a job: nobody can be employed as it any more.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetireJob {
    /// The job.
    pub job_id: JobId,
    /// The first day without it.
    pub effective_on: Day,
}

/// Record that what was recorded ahead took effect. Sent when its day has begun, at a location by its own time zone, never by a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnnounceUnitChange {
    /// The department, location or job.
    pub unit: UnitId,
    /// What happens to it.
    pub what: UnitChange,
    /// Which fact it is.
    pub effective: Effective,
}

// The nil id stands for "not chosen" until `Command::fill_ids`.
const fn unset_department() -> DepartmentId {
    DepartmentId::from_uuid(Uuid::nil())
}
const fn unset_location() -> LocationId {
    LocationId::from_uuid(Uuid::nil())
}
const fn unset_job() -> JobId {
    JobId::from_uuid(Uuid::nil())
}

/// An optional value whose field must be there.
fn required<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(d)
}

impl Command {
    /// Gives what is created an id derived from the command's, unless one was chosen.
    pub fn fill_ids(&mut self, command: CommandId) {
        let parent = command.uuid();
        match self {
            Self::CreateDepartment(c) if c.department_id == unset_department() => {
                c.department_id = DepartmentId::derive(parent, "department");
            }
            Self::OpenLocation(c) if c.location_id == unset_location() => c.location_id = LocationId::derive(parent, "location"),
            Self::CreateJob(c) if c.job_id == unset_job() => c.job_id = JobId::derive(parent, "job"),
            Self::CreateDepartment(_)
            | Self::RenameDepartment(_)
            | Self::MoveDepartment(_)
            | Self::CloseDepartment(_)
            | Self::OpenLocation(_)
            | Self::ChangeLocation(_)
            | Self::CloseLocation(_)
            | Self::CreateJob(_)
            | Self::RetitleJob(_)
            | Self::RetireJob(_)
            | Self::AnnounceUnitChange(_) => {}
        }
    }

    /// The stream of the tenant's organization.
    pub const fn stream(&self, scope: TenantScope) -> StreamName {
        StreamName::organization(scope)
    }
    /// The id of the department, location or job.
    pub fn object_id(&self) -> String {
        match self {
            Self::CreateDepartment(c) => c.department_id.to_string(),
            Self::RenameDepartment(c) => c.department_id.to_string(),
            Self::MoveDepartment(c) => c.department_id.to_string(),
            Self::CloseDepartment(c) => c.department_id.to_string(),
            Self::OpenLocation(c) => c.location_id.to_string(),
            Self::ChangeLocation(c) => c.location_id.to_string(),
            Self::CloseLocation(c) => c.location_id.to_string(),
            Self::CreateJob(c) => c.job_id.to_string(),
            Self::RetitleJob(c) => c.job_id.to_string(),
            Self::RetireJob(c) => c.job_id.to_string(),
            Self::AnnounceUnitChange(c) => c.unit.uuid().to_string(),
        }
    }
    /// Whether it starts a stream: none does, the organization has one.
    pub const fn creates(&self) -> bool {
        false
    }
    /// Whom it touches.
    pub const fn touches(&self) -> Touches {
        Touches::Everybody(FieldClass::Directory)
    }
    /// None: one stream holds all codes of a tenant.
    pub const fn claims(&self) -> Vec<ClaimUse> {
        Vec::new()
    }
    /// None: one stream decides.
    pub const fn lock(&self) -> Option<LockUse> {
        None
    }
}

/// A sample of each, for tests of all commands.
#[cfg(test)]
pub(crate) fn samples() -> Vec<(&'static str, String)> {
    let day = r#""effective_on":"2020-01-01""#;
    vec![
        ("CreateDepartment", format!(r#"{{{day},"code":"d1","name":"D"}}"#)),
        ("RenameDepartment", format!(r#"{{"department_id":"ID",{day},"name":"D"}}"#)),
        ("MoveDepartment", format!(r#"{{"department_id":"ID",{day},"parent_id":null}}"#)),
        ("CloseDepartment", format!(r#"{{"department_id":"ID",{day}}}"#)),
        ("OpenLocation", format!(r#"{{{day},"code":"vie","name":"Vienna","time_zone":"Europe/Vienna"}}"#)),
        ("ChangeLocation", format!(r#"{{"location_id":"ID",{day},"time_zone":"Europe/Paris"}}"#)),
        ("CloseLocation", format!(r#"{{"location_id":"ID",{day}}}"#)),
        ("CreateJob", format!(r#"{{{day},"code":"eng","title":"Engineer"}}"#)),
        ("RetitleJob", format!(r#"{{"job_id":"ID",{day},"title":"Engineer"}}"#)),
        ("RetireJob", format!(r#"{{"job_id":"ID",{day}}}"#)),
    ]
}
