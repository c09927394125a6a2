//! Facts about a person's employments: hire, changes of assignment, pay and details, termination, rehire; and that what was
//! recorded ahead took effect.

pub mod working_time;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Category, Change, DepartmentId, Effective, JobId, LocationId, Money, PayPeriod, PersonId, Personal, StreamName, TenantScope,
    catalog::events, ids::typed_ids,
};

typed_ids! {
    /// A person who is, was or will be employed. Survives termination and rehire.
    EmployeeId = "employee id";
    /// One period of employment of a person; a rehire starts another.
    EmploymentId = "employment id";
}

events! {
    /// What happened to a person's employments.
    pub enum EmployeeEvent in Category::Employee;
    EmployeeHired = 1, introduces employee_id: [employee_number, person, contact];
    EmployeeRehired = 1;
    AssignmentChanged = 1;
    CompensationChanged = 2, upcast: [compensation_changed_1];
    PersonalDetailsChanged = 1, personal of employee_id: [changes];
    ContactDetailsChanged = 1, personal of employee_id: [changes];
    EmployeeTerminated = 1;
    EmploymentStarted = 1;
    EmploymentEnded = 1;
    ChangeTookEffect = 1;
}

impl StreamName {
    /// The stream of one person.
    pub const fn employee(scope: TenantScope, id: EmployeeId) -> Self {
        Self::of_tenant(scope, Category::Employee, id.uuid())
    }
}

impl From<EmployeeId> for PersonId {
    fn from(id: EmployeeId) -> Self {
        Self::from_uuid(id.uuid())
    }
}

/// Version 1 knew annual pay only and gave no reason: `annual_pay` became `rate` with `per` and `reason`.
fn compensation_changed_1(data: &mut Value) {
    if let Some(object) = data.as_object_mut()
        && let Some(pay) = object.remove("annual_pay")
    {
        object.insert("pay".into(), serde_json::json!({ "rate": pay, "per": "year" }));
        object.insert("reason".into(), "unspecified".into());
    }
}

/// A person was employed for the first time. Sets everything that an employed day needs: the assignment, and the pay
/// where it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmployeeHired {
    /// The person.
    pub employee_id: EmployeeId,
    /// The employment that starts.
    pub employment_id: EmploymentId,
    /// The first day of employment.
    pub effective: Effective,
    /// The start of service for seniority, where it is earlier than the employment.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub original_hire_date: Option<Date>,
    /// The tenant's own number for the person, unique among its people, kept over rehires.
    pub employee_number: Personal<String>,
    /// Names, birth date and the like.
    pub person: Personal<PersonalDetails>,
    /// How to reach the person.
    pub contact: Personal<ContactDetails>,
    /// The first assignment.
    pub assignment: Assignment,
    /// The first pay.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pay: Option<Pay>,
}

/// A person who had left was employed again: a new employment of the same person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmployeeRehired {
    /// The person.
    pub employee_id: EmployeeId,
    /// The employment that starts.
    pub employment_id: EmploymentId,
    /// Its first day; after the last day of the employment before.
    pub effective: Effective,
    /// The first assignment of the new employment.
    pub assignment: Assignment,
    /// The first pay of the new employment.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pay: Option<Pay>,
}

/// From a day on a person works elsewhere, as something else or for someone else. What is absent stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignmentChanged {
    /// The person.
    pub employee_id: EmployeeId,
    /// The employment that the change belongs to.
    pub employment_id: EmploymentId,
    /// From when.
    pub effective: Effective,
    /// What changes.
    pub changes: AssignmentChange,
    /// Why, such as `transfer` or `promotion`.
    pub reason: String,
}

/// From a day on a person is paid differently. Version 1 had `annual_pay` and no `reason`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompensationChanged {
    /// The person.
    pub employee_id: EmployeeId,
    /// The employment that the change belongs to.
    pub employment_id: EmploymentId,
    /// From when.
    pub effective: Effective,
    /// The pay from then on.
    pub pay: Pay,
    /// Why, such as `annual_review`.
    pub reason: String,
}

/// From a day on a person's name or other personal details are different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonalDetailsChanged {
    /// The person.
    pub employee_id: EmployeeId,
    /// From when.
    pub effective: Effective,
    /// What changes.
    pub changes: Personal<PersonalDetailsChange>,
}

/// From a day on a person is reached differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContactDetailsChanged {
    /// The person.
    pub employee_id: EmployeeId,
    /// From when.
    pub effective: Effective,
    /// What changes.
    pub changes: Personal<ContactDetailsChange>,
}

/// An employment ended. Changes dated after its last day have no effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmployeeTerminated {
    /// The person.
    pub employee_id: EmployeeId,
    /// The employment that ended.
    pub employment_id: EmploymentId,
    /// The last day worked; the person is employed on that day.
    pub last_day_worked: Date,
    /// Why, such as `resignation`.
    pub reason: String,
}

/// The first day of an employment has begun. Recorded only where the employment was recorded before that day; it changes nothing, and
/// others can act upon it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmploymentStarted {
    /// The person.
    pub employee_id: EmployeeId,
    /// The employment that started.
    pub employment_id: EmploymentId,
    /// Its first day.
    pub on: Date,
}

/// The last day of an employment is over. Recorded only where the end was recorded before; it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmploymentEnded {
    /// The person.
    pub employee_id: EmployeeId,
    /// The employment that ended.
    pub employment_id: EmploymentId,
    /// Its last day.
    pub last_day_worked: Date,
}

/// The day of a change has begun. Recorded only where the change was recorded before that day; it changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeTookEffect {
    /// The person.
    pub employee_id: EmployeeId,
    /// What was changed.
    pub what: ChangedFacts,
    /// The change's own day and sequence.
    pub effective: Effective,
}

/// What a change of a person is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangedFacts {
    /// Where, as what and for whom they work.
    Assignment,
    /// Their pay.
    Compensation,
    /// Their personal details.
    Personal,
    /// How they are reached.
    Contact,
}

/// Where, as what and for whom a person works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// The department.
    pub department_id: DepartmentId,
    /// The job.
    pub job_id: JobId,
    /// The place of work, where there is a fixed one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub location_id: Option<LocationId>,
    /// The person reported to; none at the top.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub manager_id: Option<EmployeeId>,
}

/// A field that can be left alone, set, or set to nothing: absent, a value, or `null` in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Patch<T> {
    /// Leave as it is.
    #[default]
    Keep,
    /// Set to nothing.
    Clear,
    /// Set to a value.
    Set(T),
}

impl<T> Patch<T> {
    /// Whether the field is left alone.
    pub const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }
    /// This patch, or the earlier one where it leaves the field alone.
    #[must_use]
    pub fn or(self, earlier: Self) -> Self {
        if self.is_keep() { earlier } else { self }
    }
    /// Sets `target` unless the field is left alone.
    pub fn apply_to(&self, target: &mut Option<T>)
    where
        T: Clone,
    {
        match self {
            Self::Keep => {}
            Self::Clear => *target = None,
            Self::Set(value) => *target = Some(value.clone()),
        }
    }
}
impl<T: Serialize> Serialize for Patch<T> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            // Fields carry `skip_serializing_if = "Patch::is_keep"`.
            Self::Keep | Self::Clear => s.serialize_none(),
            Self::Set(value) => value.serialize(s),
        }
    }
}
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Option::<T>::deserialize(d)?.map_or(Self::Clear, Self::Set))
    }
}

/// A change to an [`Assignment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignmentChange {
    /// The department from then on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub department_id: Option<DepartmentId>,
    /// The job from then on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job_id: Option<JobId>,
    /// The place of work from then on; `null` for none.
    #[serde(skip_serializing_if = "Patch::is_keep", default)]
    pub location_id: Patch<LocationId>,
    /// The person reported to from then on; `null` for none.
    #[serde(skip_serializing_if = "Patch::is_keep", default)]
    pub manager_id: Patch<EmployeeId>,
}

impl From<Assignment> for AssignmentChange {
    /// The change that sets every field: what a hire does.
    fn from(a: Assignment) -> Self {
        Self {
            department_id: Some(a.department_id),
            job_id: Some(a.job_id),
            location_id: a.location_id.map_or(Patch::Clear, Patch::Set),
            manager_id: a.manager_id.map_or(Patch::Clear, Patch::Set),
        }
    }
}

impl Change for AssignmentChange {
    type Row = Option<Assignment>;
    fn apply(&self, row: &mut Self::Row) {
        let Some(a) = row else {
            // The first change of an employment is its hire, which sets both.
            if let (Some(department_id), Some(job_id)) = (self.department_id, self.job_id) {
                let mut a = Assignment { department_id, job_id, location_id: None, manager_id: None };
                self.location_id.apply_to(&mut a.location_id);
                self.manager_id.apply_to(&mut a.manager_id);
                *row = Some(a);
            }
            return;
        };
        a.department_id = self.department_id.unwrap_or(a.department_id);
        a.job_id = self.job_id.unwrap_or(a.job_id);
        self.location_id.apply_to(&mut a.location_id);
        self.manager_id.apply_to(&mut a.manager_id);
    }
}

/// A rate of pay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Pay {
    /// The amount for one period.
    pub rate: Money,
    /// The period.
    pub per: PayPeriod,
}

impl Pay {
    /// The pay of a nominal full-time year, in the rate's currency.
    pub fn annual(&self) -> rust_decimal::Decimal {
        self.rate.amount() * rust_decimal::Decimal::from(self.per.per_year())
    }
}

impl Change for Pay {
    type Row = Option<Pay>;
    fn apply(&self, row: &mut Self::Row) {
        *row = Some(*self);
    }
}

/// Who a person is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonalDetails {
    /// Given name or names.
    pub given_name: String,
    /// Family name; empty for people who have none.
    pub family_name: String,
    /// Day of birth.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub birth_date: Option<Date>,
    /// As the person states it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gender: Option<String>,
}

/// A change to [`PersonalDetails`].
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonalDetailsChange {
    /// Given name from then on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub given_name: Option<String>,
    /// Family name from then on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub family_name: Option<String>,
    /// Day of birth, where it was unknown or wrong.
    #[serde(skip_serializing_if = "Patch::is_keep", default)]
    pub birth_date: Patch<Date>,
    /// As the person states it.
    #[serde(skip_serializing_if = "Patch::is_keep", default)]
    pub gender: Patch<String>,
}

impl From<PersonalDetails> for PersonalDetailsChange {
    fn from(p: PersonalDetails) -> Self {
        Self {
            given_name: Some(p.given_name),
            family_name: Some(p.family_name),
            birth_date: p.birth_date.map_or(Patch::Clear, Patch::Set),
            gender: p.gender.map_or(Patch::Clear, Patch::Set),
        }
    }
}

impl Change for PersonalDetailsChange {
    type Row = Option<PersonalDetails>;
    fn apply(&self, row: &mut Self::Row) {
        let p = row.get_or_insert_with(|| PersonalDetails {
            given_name: String::new(),
            family_name: String::new(),
            birth_date: None,
            gender: None,
        });
        if let Some(name) = &self.given_name {
            p.given_name.clone_from(name);
        }
        if let Some(name) = &self.family_name {
            p.family_name.clone_from(name);
        }
        self.birth_date.apply_to(&mut p.birth_date);
        self.gender.apply_to(&mut p.gender);
    }
}

/// How a person is reached.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContactDetails {
    /// Address at work, lower-cased, unique among the tenant's people who have one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub work_email: Option<String>,
    /// Private address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub private_email: Option<String>,
    /// Telephone number, E.164.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub phone: Option<String>,
}

/// A change to [`ContactDetails`].
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContactDetailsChange {
    /// Address at work.
    #[serde(skip_serializing_if = "Patch::is_keep", default)]
    pub work_email: Patch<String>,
    /// Private address.
    #[serde(skip_serializing_if = "Patch::is_keep", default)]
    pub private_email: Patch<String>,
    /// Telephone number.
    #[serde(skip_serializing_if = "Patch::is_keep", default)]
    pub phone: Patch<String>,
}

impl From<ContactDetails> for ContactDetailsChange {
    fn from(c: ContactDetails) -> Self {
        let patch = |v: Option<String>| v.map_or(Patch::Clear, Patch::Set);
        Self { work_email: patch(c.work_email), private_email: patch(c.private_email), phone: patch(c.phone) }
    }
}

impl Change for ContactDetailsChange {
    type Row = Option<ContactDetails>;
    fn apply(&self, row: &mut Self::Row) {
        let c = row.get_or_insert_with(ContactDetails::default);
        self.work_email.apply_to(&mut c.work_email);
        self.private_email.apply_to(&mut c.private_email);
        self.phone.apply_to(&mut c.phone);
    }
}

/// Personal details print as nothing, so that no log line holds them.
macro_rules! opaque_debug {
    ($($name:ident)+) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(concat!(stringify!($name), "(…)")) }
        }
    )+};
}
opaque_debug! { PersonalDetails PersonalDetailsChange ContactDetails ContactDetailsChange }

/// One event of every type, for golden files and for folds.
#[cfg(test)]
pub(crate) fn samples() -> Vec<Event> {
    use jiff::civil::date;

    let n = uuid::Uuid::from_u128;
    let (department_id, job_id, location_id) = (DepartmentId::from_uuid(n(3)), JobId::from_uuid(n(4)), LocationId::from_uuid(n(5)));
    let (employee_id, employment_id) = (EmployeeId::from_uuid(n(2)), EmploymentId::from_uuid(n(6)));
    let effective = Effective { on: date(2024, 2, 29), seq: 0 };
    let pay = Pay { rate: Money::new("60117.5".parse().unwrap(), "USD".parse().unwrap()).unwrap(), per: PayPeriod::Year };
    let assignment = Assignment { department_id, job_id, location_id: Some(location_id), manager_id: Some(EmployeeId::from_uuid(n(7))) };
    vec![
        EmployeeHired {
            employee_id,
            employment_id,
            effective,
            original_hire_date: Some(date(2020, 1, 1)),
            employee_number: Personal::Clear("10001".into()),
            person: Personal::Clear(PersonalDetails {
                given_name: "Ada".into(),
                family_name: "Lovelace".into(),
                birth_date: Some(date(1815, 12, 10)),
                gender: Some("F".into()),
            }),
            contact: Personal::Clear(ContactDetails { work_email: Some("ada@example.com".into()), private_email: None, phone: None }),
            assignment,
            pay: Some(pay),
        }
        .into(),
        EmployeeRehired { employee_id, employment_id, effective, assignment, pay: None }.into(),
        AssignmentChanged {
            employee_id,
            employment_id,
            effective,
            changes: AssignmentChange {
                department_id: Some(department_id),
                job_id: None,
                location_id: Patch::Clear,
                manager_id: Patch::Keep,
            },
            reason: "transfer".into(),
        }
        .into(),
        CompensationChanged { employee_id, employment_id, effective, pay, reason: "unspecified".into() }.into(),
        PersonalDetailsChanged {
            employee_id,
            effective,
            changes: Personal::Clear(PersonalDetailsChange { family_name: Some("King".into()), ..Default::default() }),
        }
        .into(),
        ContactDetailsChanged {
            employee_id,
            effective,
            changes: Personal::Clear(ContactDetailsChange { phone: Patch::Set("+431234567".into()), ..Default::default() }),
        }
        .into(),
        EmployeeTerminated { employee_id, employment_id, last_day_worked: date(2024, 3, 31), reason: "resignation".into() }.into(),
        EmploymentStarted { employee_id, employment_id, on: date(2024, 2, 29) }.into(),
        EmploymentEnded { employee_id, employment_id, last_day_worked: date(2024, 3, 31) }.into(),
        ChangeTookEffect { employee_id, what: ChangedFacts::Compensation, effective }.into(),
    ]
}
