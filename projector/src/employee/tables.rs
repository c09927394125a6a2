//! The rows of people.

use jiff::civil::Date;
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::binary::Until;

crate::tables! {
    /// A person.
    pub struct Employee in employee, key [employee_id] {
        employee_id: Uuid,
        employee_number: Option<String>,
        original_hire_date: Date,
        stream_version: i64,
    }
    /// One period of employment.
    pub struct Employment in employment, key [employment_id] {
        employment_id: Uuid,
        employee_id: Uuid,
        starts_on: Date,
        ends_on: Until,
        termination_reason: Option<String>,
    }
    /// Personal details from a day on.
    pub struct PersonSpan in person_span, key [employee_id, valid_from, seq] {
        employee_id: Uuid,
        valid_from: Date,
        seq: i16,
        valid_to: Until,
        given_name: Option<String>,
        family_name: Option<String>,
        birth_date: Option<Date>,
        gender: Option<String>,
        sets: i16,
        search: Option<String>,
        grams: Vec<i32>,
    }
    /// Contact details from a day on.
    pub struct ContactSpan in contact_span, key [employee_id, valid_from, seq] {
        employee_id: Uuid,
        valid_from: Date,
        seq: i16,
        valid_to: Until,
        work_email: Option<String>,
        private_email: Option<String>,
        phone: Option<String>,
        sets: i16,
    }
    /// An assignment from a day on.
    pub struct AssignmentSpan in assignment_span, key [employment_id, valid_from, seq] {
        employment_id: Uuid,
        employee_id: Uuid,
        valid_from: Date,
        seq: i16,
        valid_to: Until,
        department_id: Uuid,
        job_id: Uuid,
        location_id: Option<Uuid>,
        manager_id: Option<Uuid>,
        reason: String,
        sets: i16,
    }
    /// Pay from a day on.
    pub struct CompensationSpan in compensation_span, key [employment_id, valid_from, seq] {
        employment_id: Uuid,
        employee_id: Uuid,
        valid_from: Date,
        seq: i16,
        valid_to: Until,
        rate: Decimal,
        currency: String,
        per: String,
        annual: Decimal,
        reason: String,
    }
    /// Days on which somebody stands at the top of the org chart.
    pub struct TopSpan in top_span, key [employee_id, valid_from] {
        employee_id: Uuid,
        valid_from: Date,
        valid_to: Date,
    }
    /// By how much headcount and annual pay change in a period.
    pub struct HeadcountStep in headcount_step, key [dimension, period, starts_on, unit_id, currency] {
        dimension: i16,
        period: i16,
        starts_on: Date,
        unit_id: Uuid,
        currency: String,
        heads: i64,
        annual: Decimal,
    }
    /// How much and by which schedule somebody works from a day on.
    pub struct WorkingTimeRow in working_time, key [employee_id, valid_from] {
        employee_id: Uuid,
        valid_from: Date,
        fraction: Decimal,
        schedule_id: Uuid,
    }
}

crate::rows! {
    /// The rows of a person.
    pub struct PersonRows by [employee_id: Uuid] {
        employee: Employee,
        employment: Employment,
        person_span: PersonSpan,
        contact_span: ContactSpan,
        assignment_span: AssignmentSpan,
        compensation_span: CompensationSpan,
    }
    /// The rows of a person's working time.
    pub struct WorkingTimeRows by [employee_id: Uuid] {
        working_time: WorkingTimeRow,
    }
}
