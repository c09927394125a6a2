//! One event of every type, from which a new golden file is written.

use events::{
    Category, DepartmentId, Effective, EmployeeId, EmploymentId, Event, JobId, LocationId, Money, PayPeriod, PersonKey, Personal,
    StreamName, TenantId, TenantScope, employee::*, organization::*, tenancy::*,
};
use jiff::civil::date;
use uuid::Uuid;

pub(crate) fn all() -> Vec<(Category, Event)> {
    let n = Uuid::from_u128;
    let tenant_id = TenantId::from_uuid(n(1));
    let (department_id, job_id, location_id) = (DepartmentId::from_uuid(n(3)), JobId::from_uuid(n(4)), LocationId::from_uuid(n(5)));
    let (employee_id, employment_id) = (EmployeeId::from_uuid(n(2)), EmploymentId::from_uuid(n(6)));
    let effective = Effective { on: date(2024, 2, 29), seq: 0 };
    let subscription = Subscription { plan: "standard".into(), expires_at: Some("2030-01-01T00:00:00Z".parse().unwrap()) };
    let pay = Pay { rate: Money::new("60117.5".parse().unwrap(), "USD".parse().unwrap()).unwrap(), per: PayPeriod::Year };
    let assignment = Assignment { department_id, job_id, location_id: Some(location_id), manager_id: Some(EmployeeId::from_uuid(n(7))) };
    let tenancy: Vec<TenancyEvent> = vec![
        TenantRegistered { tenant_id, slug: "acme".into(), name: "Acme".into(), subscription: subscription.clone() }.into(),
        TenantProvisioned { tenant_id }.into(),
        TenantRenamed { tenant_id, slug: "acme-group".into(), name: "Acme Group".into() }.into(),
        SubscriptionChanged { tenant_id, subscription }.into(),
        TenantSuspended { tenant_id, reason: "payment overdue".into() }.into(),
        TenantResumed { tenant_id }.into(),
        TenantClosed { tenant_id, reason: "contract ended".into() }.into(),
    ];
    let organization: Vec<OrganizationEvent> = vec![
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
    ];
    let employee: Vec<EmployeeEvent> = vec![
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
    ];
    let key = PersonKey::from_bytes([7; 32]);
    let stream = StreamName::employee(TenantScope::checked(tenant_id), employee_id);
    let mut all: Vec<(Category, Event)> = Vec::new();
    all.extend(tenancy.into_iter().map(|e| (Category::Tenancy, e.into())));
    all.extend(organization.into_iter().map(|e| (Category::Organization, e.into())));
    all.extend(employee.into_iter().map(|e| (Category::Employee, e.into())));
    for (_, event) in &mut all {
        event.seal(stream, &key).unwrap();
    }
    all
}
