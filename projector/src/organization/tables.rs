//! The rows of departments, locations and jobs.

use jiff::civil::Date;
use uuid::Uuid;

use crate::binary::Until;

crate::tables! {
    /// A department from a day on.
    pub struct DepartmentSpan in department_span, key [department_id, valid_from, seq] {
        department_id: Uuid,
        valid_from: Date,
        seq: i16,
        valid_to: Until,
        code: String,
        name: String,
        parent_id: Option<Uuid>,
        sets: i16,
    }
    /// A location from a day on.
    pub struct LocationSpan in location_span, key [location_id, valid_from, seq] {
        location_id: Uuid,
        valid_from: Date,
        seq: i16,
        valid_to: Until,
        code: String,
        name: String,
        time_zone: String,
        sets: i16,
    }
    /// A job from a day on.
    pub struct JobSpan in job_span, key [job_id, valid_from, seq] {
        job_id: Uuid,
        valid_from: Date,
        seq: i16,
        valid_to: Until,
        code: String,
        title: String,
        sets: i16,
    }
}

crate::rows! {
    /// The rows of a department.
    pub struct DepartmentRows by [department_id: Uuid] {
        department_span: DepartmentSpan,
    }
    /// The rows of a location.
    pub struct LocationRows by [location_id: Uuid] {
        location_span: LocationSpan,
    }
    /// The rows of a job.
    pub struct JobRows by [job_id: Uuid] {
        job_span: JobSpan,
    }
}
