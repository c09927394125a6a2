//! Facts about a tenant's departments, locations and jobs. All effective-dated.

use serde::{Deserialize, Serialize};

use crate::{Category, DepartmentId, Effective, JobId, LocationId, catalog::events};

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
