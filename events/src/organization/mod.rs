//! Facts about a tenant's departments, locations and jobs, all effective-dated; and that what was recorded ahead took effect.

pub mod calendar;

use serde::{Deserialize, Serialize};

use crate::{Category, Effective, StreamName, TenantScope, catalog::events, ids::typed_ids};

typed_ids! {
    /// A department, a node in the tenant's tree.
    DepartmentId = "department id";
    /// A place of work.
    LocationId = "location id";
    /// A job: what a person is employed as.
    JobId = "job id";
}

events! {
    /// What happened to a tenant's organization.
    pub enum OrganizationEvent in Category::Organization;
    DepartmentCreated = 1;
    DepartmentRenamed = 1;
    DepartmentMoved = 1;
    DepartmentClosed = 1;
    LocationOpened = 1;
    LocationChanged = 1;
    LocationClosed = 1;
    JobCreated = 1;
    JobRetitled = 1;
    JobRetired = 1;
    UnitChangeTookEffect = 1;
}

impl StreamName {
    /// The stream of the tenant's organization.
    pub const fn organization(scope: TenantScope) -> Self {
        Self::of_tenant(scope, Category::Organization, scope.tenant().uuid())
    }
}

/// A department exists from a day on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepartmentCreated {
    /// The department.
    pub department_id: DepartmentId,
    /// Its first day.
    pub effective: Effective,
    /// The tenant's own short code, unique among its departments, never reused.
    pub code: String,
    /// The name.
    pub name: String,
    /// The department above it; none for a root.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent_id: Option<DepartmentId>,
}

/// A department has another name from a day on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepartmentRenamed {
    /// The department.
    pub department_id: DepartmentId,
    /// From when.
    pub effective: Effective,
    /// The name from then on.
    pub name: String,
}

/// A department stands elsewhere in the tree from a day on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepartmentMoved {
    /// The department.
    pub department_id: DepartmentId,
    /// From when.
    pub effective: Effective,
    /// The department above it from then on; none makes it a root.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent_id: Option<DepartmentId>,
}

/// A department no longer exists from a day on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepartmentClosed {
    /// The department.
    pub department_id: DepartmentId,
    /// The first day without it.
    pub effective: Effective,
}

/// A place of work exists from a day on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocationOpened {
    /// The location.
    pub location_id: LocationId,
    /// Its first day.
    pub effective: Effective,
    /// The tenant's own short code, unique among its locations, never reused.
    pub code: String,
    /// The name.
    pub name: String,
    /// IANA time zone name, such as `Europe/Vienna`.
    pub time_zone: String,
}

/// A location has another name or time zone from a day on. What is absent stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocationChanged {
    /// The location.
    pub location_id: LocationId,
    /// From when.
    pub effective: Effective,
    /// The name from then on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// The IANA time zone from then on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub time_zone: Option<String>,
}

/// A location is closed from a day on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocationClosed {
    /// The location.
    pub location_id: LocationId,
    /// The first day without it.
    pub effective: Effective,
}

/// A job exists from a day on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobCreated {
    /// The job.
    pub job_id: JobId,
    /// Its first day.
    pub effective: Effective,
    /// The tenant's own short code, unique among its jobs, never reused.
    pub code: String,
    /// The title, such as `Senior Engineer`.
    pub title: String,
}

/// A job has another title from a day on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRetitled {
    /// The job.
    pub job_id: JobId,
    /// From when.
    pub effective: Effective,
    /// The title from then on.
    pub title: String,
}

/// A job can't be assigned any more from a day on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRetired {
    /// The job.
    pub job_id: JobId,
    /// The first day without it.
    pub effective: Effective,
}

/// The day of a fact about a department, location or job has begun. Recorded only where the fact was recorded before that day; it
/// changes nothing, and others can act upon it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitChangeTookEffect {
    /// The department, location or job.
    pub unit: UnitId,
    /// What happened to it.
    pub what: UnitChange,
    /// The fact's own day and sequence.
    pub effective: Effective,
}

/// A department, location or job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitId {
    /// A department.
    Department(DepartmentId),
    /// A location.
    Location(LocationId),
    /// A job.
    Job(JobId),
}

impl UnitId {
    /// The id, whatever it is of.
    pub const fn uuid(self) -> uuid::Uuid {
        match self {
            Self::Department(id) => id.uuid(),
            Self::Location(id) => id.uuid(),
            Self::Job(id) => id.uuid(),
        }
    }
}

/// What happens to a department, location or job on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitChange {
    /// The unit opens on that day.
    Opened,
    /// The unit gets another name, title or time zone.
    Changed,
    /// A department gets another parent.
    Moved,
    /// The unit is closed from that day on.
    Closed,
}

/// One event of every type, for golden files and for folds.
#[cfg(test)]
pub(crate) fn samples() -> Vec<Event> {
    let n = uuid::Uuid::from_u128;
    let (department_id, job_id, location_id) = (DepartmentId::from_uuid(n(3)), JobId::from_uuid(n(4)), LocationId::from_uuid(n(5)));
    let effective = Effective { on: jiff::civil::date(2024, 2, 29), seq: 0 };
    vec![
        DepartmentCreated {
            department_id,
            effective,
            code: "d001".into(),
            name: "Marketing".into(),
            parent_id: Some(DepartmentId::from_uuid(n(8))),
        }
        .into(),
        DepartmentRenamed { department_id, effective, name: "Markets".into() }.into(),
        DepartmentMoved { department_id, effective, parent_id: None }.into(),
        DepartmentClosed { department_id, effective }.into(),
        LocationOpened { location_id, effective, code: "vie".into(), name: "Vienna".into(), time_zone: "Europe/Vienna".into() }.into(),
        LocationChanged { location_id, effective, name: Some("Wien".into()), time_zone: None }.into(),
        LocationClosed { location_id, effective }.into(),
        JobCreated { job_id, effective, code: "eng".into(), title: "Engineer".into() }.into(),
        JobRetitled { job_id, effective, title: "Senior Engineer".into() }.into(),
        JobRetired { job_id, effective }.into(),
        UnitChangeTookEffect { unit: UnitId::Department(department_id), what: UnitChange::Moved, effective }.into(),
    ]
}
