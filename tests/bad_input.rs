//! Each bad input gets a problem document that says what to mend, and changes nothing.

use events::{TenantId, tenancy::TenantProvisioned};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::commands::{Company, Tenant, World, in_world, pay, suspended};

const JSON: (&str, &str) = ("content-type", "application/json");

/// Sends a body and checks status, code and (unless empty) the field that the problem points at; and that nothing was
/// appended.
async fn check(world: &World, tenant: &Tenant, path: &str, body: impl Into<String>, expected: (u16, &str), pointer: &str) {
    check_with(world, tenant, path, &[JSON], body, expected, pointer).await;
}

async fn check_with(
    world: &World,
    tenant: &Tenant,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<String>,
    expected: (u16, &str),
    pointer: &str,
) {
    let body = body.into();
    let what = format!("{path} {}", &body[..body.len().min(300)]);
    let before = world.head(tenant.scope).await;
    let reply = world.send(0, &tenant.token, path, headers, body).await;
    assert_eq!(reply.error(), expected, "{what}: {reply:?}");
    let document = &reply.body;
    assert_eq!(document["type"], format!("https://tenure.dev/problems/{}", expected.1), "{what}");
    assert!(document["title"].is_string() && document["detail"].as_str().is_some_and(|d| d.len() > 10), "{what}: {document}");
    assert_eq!(document["errors"][0]["pointer"].as_str().unwrap_or_default(), pointer, "{what}: {document}");
    assert_eq!(world.head(tenant.scope).await, before, "{what}: changed something");
}

/// A hire with one field put or, by `Value::Null` and a `-` before the pointer, taken out.
fn hire_with(c: &Company, pointer: &str, value: Value) -> String {
    let mut hire = c.hire("77");
    hire["contact"] = json!({});
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let object = hire.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}")).as_object_mut().unwrap();
    object.insert(field.into(), value);
    hire.to_string()
}

#[test]
fn json_that_is_none_or_too_much() {
    in_world(|world| async move {
        let tenant = world.tenant().await;
        let path = "/v1/departments";
        for bad in
            ["", "{", "{\"code\": }", "nonsense", "{\"code\": \"A\",}", "{} {}", "{\"a\": 01}", "\u{feff}{}", "{'a': 1}", "{\"a\": NaN}"]
        {
            check(world, &tenant, path, bad, (400, "malformed_json"), "").await;
        }
        let malformed = world.send(0, &tenant.token, path, &[JSON], "{\n  \"code\": \"A\",\n  !}").await;
        assert!(malformed.body["detail"].as_str().unwrap().contains("line 3 column 3"), "{malformed:?}");
        let not_utf8 = world.send(0, &tenant.token, path, &[JSON], vec![b'{', b'"', 0xff, b'"', b':', b'1', b'}']).await;
        assert_eq!(not_utf8.error(), (400, "malformed_json"));
        for no_object in ["[]", "1", "null", "\"x\"", "true"] {
            check(world, &tenant, path, no_object, (422, "invalid_field"), "").await;
            check(world, &tenant, &format!("{path}/{}/name", Uuid::now_v7()), no_object, (422, "invalid_field"), "").await;
        }
        let deep = format!("{{\"name\": {}1{}}}", "[".repeat(20_000), "]".repeat(20_000));
        check(world, &tenant, path, deep, (422, "invalid_field"), "/name").await;
        check(world, &tenant, path, "[".repeat(60_000), (400, "malformed_json"), "").await;
        let long = format!("{{\"name\": \"{}\"}}", "x".repeat(65_536));
        check(world, &tenant, path, long.clone(), (413, "body_too_large"), "").await;
        // Of unknown length, and without a token: size comes first only where it is announced.
        let chunks = reqwest::Body::wrap_stream(futures::stream::iter([Ok::<_, std::io::Error>(long.clone())]));
        assert_eq!(world.send(0, &tenant.token, path, &[JSON], chunks).await.error(), (413, "body_too_large"));
        assert_eq!(world.send(0, "", path, &[JSON], long).await.error(), (413, "body_too_large"));
        let twice = "{\"effective_on\": \"2000-01-01\", \"code\": \"A\", \"code\": \"B\", \"name\": \"N\"}";
        check(world, &tenant, path, twice, (422, "invalid_field"), "/code").await;
        for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "application/jsonx", ""]
        {
            check_with(world, &tenant, path, &[("content-type", content_type)], "{}", (415, "unsupported_media_type"), "").await;
        }
        check_with(world, &tenant, path, &[JSON, ("content-encoding", "gzip")], "{}", (415, "unsupported_media_type"), "").await;
        check_with(world, &tenant, "/v1/batch", &[JSON], "{}", (415, "unsupported_media_type"), "").await;
        check(world, &tenant, "/v1/nothing", "{}", (404, "route_not_found"), "").await;
        check(world, &tenant, "/v1/employees/x/y", "{}", (404, "route_not_found"), "").await;
        for id in [
            "1",
            "hr.*.%3E",
            "%00",
            "%ff",
            "..%2f",
            "$JS",
            "%7B0190a7b2-6c3e-7def-8000-0123456789ab%7D",
            "0190a7b26c3e7def80000123456789ab",
        ] {
            check(world, &tenant, &format!("/v1/employees/{id}/termination"), "{}", (400, "invalid_id"), "").await;
        }
        for key in ["", "two words", &"k".repeat(201)] {
            check_with(world, &tenant, path, &[JSON, ("idempotency-key", key)], "{}", (400, "invalid_idempotency_key"), "").await;
        }
        let twice = [JSON, ("idempotency-key", "a"), ("idempotency-key", "b")];
        check_with(world, &tenant, path, &twice, "{}", (400, "invalid_idempotency_key"), "").await;
        check_with(world, &tenant, path, &[JSON, ("if-match", "7")], "{}", (400, "invalid_if_match"), "").await;
    });
}

#[test]
fn fields_that_are_unknown_missing_or_wrong() {
    in_world(|world| async move {
        let tenant = world.tenant().await;
        let c = world.company(&tenant).await;
        let at = "/v1/employees";
        for (pointer, value) in
            [("/nickname", json!("x")), ("/person/shoe_size", json!(44)), ("/assignment/pay", json!(1)), ("/pay/rate/cents", json!(1))]
        {
            check(world, &tenant, at, hire_with(&c, pointer, value), (422, "unknown_field"), pointer).await;
        }
        check(world, &tenant, at, "{}", (422, "missing_field"), "/hire_date").await;
        let no_name = hire_with(&c, "/person", json!({"family_name": "X"}));
        check(world, &tenant, at, no_name, (422, "missing_field"), "/person/given_name").await;
        let own_id = json!({"employee_id": c.employee, "last_day_worked": "2011-01-01", "reason": "x"});
        check(world, &tenant, &c.path("termination"), own_id.to_string(), (422, "invalid_field"), "/employee_id").await;
        check(
            world,
            &tenant,
            &format!("/v1/departments/{}/parent", c.department),
            "{\"effective_on\": \"2001-01-01\"}",
            (422, "missing_field"),
            "/parent_id",
        )
        .await;
        for (pointer, value) in [
            ("/hire_date", json!("2023-02-29")),
            ("/hire_date", json!("2023-13-01")),
            ("/hire_date", json!("2023-00-10")),
            ("/hire_date", json!("20230101")),
            ("/hire_date", json!("2023-1-1")),
            ("/hire_date", json!("2023-01-01T00:00:00Z")),
            ("/hire_date", json!("1899-12-31")),
            ("/hire_date", json!("9999-01-01")),
            ("/hire_date", json!(20_230_101)),
            ("/hire_date", Value::Null),
            ("/person/birth_date", json!("1990-02-30")),
            ("/person/given_name", json!("")),
            ("/person/given_name", json!("   ")),
            ("/person/given_name", json!("a\u{202e}b")),
            ("/person/given_name", json!("x".repeat(201))),
            ("/person/given_name", json!(7)),
            ("/employee_number", json!("a b")),
            ("/employee_number", json!("a".repeat(41))),
            ("/contact/work_email", json!("not an address")),
            ("/contact/phone", json!("0664 1234567")),
            ("/assignment/department_id", json!("D")),
            ("/assignment/department_id", json!(format!("{{{}}}", c.department))),
            ("/pay/rate", json!({"amount": "-1", "currency": "EUR"})),
            ("/pay/rate", json!({"amount": "1.005", "currency": "EUR"})),
            ("/pay/rate", json!({"amount": "1.5", "currency": "JPY"})),
            ("/pay/rate", json!({"amount": "1", "currency": "ABC"})),
            ("/pay/rate", json!({"amount": "1", "currency": "eur"})),
            ("/pay/rate", json!({"amount": "1e3", "currency": "EUR"})),
            ("/pay/rate", json!({"amount": "1000000000000", "currency": "EUR"})),
            ("/pay/per", json!("fortnight")),
        ] {
            let before = world.head(tenant.scope).await;
            let reply = world.send(0, &tenant.token, at, &[JSON], hire_with(&c, pointer, value.clone())).await;
            assert_eq!(reply.error(), (422, "invalid_field"), "{pointer} {value}: {reply:?}");
            let named = reply.body["errors"][0]["pointer"].as_str().unwrap_or_default();
            assert!(named.starts_with(pointer), "{pointer} {value}: {reply:?}");
            let sent = value.as_str().unwrap_or("absent").trim();
            assert!(sent.len() < 4 || !reply.body["detail"].as_str().unwrap().contains(sent), "repeats what was sent: {reply:?}");
            assert_eq!(world.head(tenant.scope).await, before);
        }
        let number = hire_with(&c, "/pay/rate", json!({"amount": 1000.5, "currency": "EUR"}));
        check(world, &tenant, at, number, (422, "invalid_field"), "/pay/rate/amount").await;
        let zone = json!({"effective_on": "2000-01-01", "code": "L", "name": "L", "time_zone": "Mars/Olympus"});
        check(world, &tenant, "/v1/locations", zone.to_string(), (422, "invalid_field"), "/time_zone").await;
    });
}

#[test]
fn rules_that_say_no() {
    in_world(|world| async move {
        let (tenant, other) = (world.tenant().await, world.tenant().await);
        let (c, foreign) = (world.company(&tenant).await, world.company(&other).await);
        let at = "/v1/employees";
        let absent = Uuid::now_v7().to_string();
        // A reference to another tenant's is as unknown as one to nothing.
        for (department, job, employee) in [(&absent, &absent, &absent), (&foreign.department, &foreign.job, &foreign.employee)] {
            for (pointer, id) in [
                ("/assignment/department_id", department),
                ("/assignment/job_id", job),
                ("/assignment/manager_id", employee),
                ("/assignment/location_id", department),
            ] {
                check(world, &tenant, at, hire_with(&c, pointer, json!(id)), (422, "unknown_reference"), pointer).await;
            }
            let change = json!({"effective_on": "2011-01-01", "reason": "x", "changes": {"manager_id": employee}});
            check(world, &tenant, &c.path("assignment-changes"), change.to_string(), (422, "unknown_reference"), "/changes/manager_id")
                .await;
            let parent = json!({"effective_on": "2000-01-01", "code": "P", "name": "P", "parent_id": department});
            check(world, &tenant, "/v1/departments", parent.to_string(), (422, "unknown_reference"), "/parent_id").await;
        }
        // Another tenant's person is not found, byte for byte like nobody.
        let body = json!({"last_day_worked": "2011-01-01", "reason": "x"}).to_string();
        let replies = [
            world.send(0, &tenant.token, &format!("{at}/{absent}/termination"), &[JSON], body.clone()).await,
            world.send(0, &tenant.token, &foreign.path("termination"), &[JSON], body).await,
        ];
        assert_eq!(replies[0].error(), (404, "not_found"));
        assert_eq!(replies[0].body, replies[1].body);

        // The eve of the first day would say that the employment never started.
        let before_hire = json!({"last_day_worked": "2009-12-30", "reason": "x"}).to_string();
        check(world, &tenant, &c.path("termination"), before_hire, (422, "termination_before_hire"), "/last_day_worked").await;
        let early = json!({"effective_on": "2009-12-31", "pay": pay("1"), "reason": "x"}).to_string();
        check(world, &tenant, &c.path("compensation-changes"), early, (422, "not_employed_on_date"), "/effective_on").await;
        let still = json!({"hire_date": "2011-01-01", "assignment": c.assignment()}).to_string();
        check(world, &tenant, &c.path("rehire"), still, (422, "still_employed"), "").await;
        check(
            world,
            &tenant,
            at,
            hire_with(&c, "/hire_date", json!("1999-12-31")),
            (422, "reference_not_open"),
            "/assignment/department_id",
        )
        .await;
        check(
            world,
            &tenant,
            at,
            hire_with(&c, "/person", json!({"given_name": "A", "family_name": "B", "birth_date": "2010-01-01"})),
            (422, "birth_date_not_before_hire"),
            "/person/birth_date",
        )
        .await;
        check(world, &tenant, at, hire_with(&c, "/employee_number", json!("1")), (409, "employee_number_taken"), "/employee_number").await;
        let code = json!({"effective_on": "2000-01-01", "code": "d", "name": "N"}).to_string();
        check(world, &tenant, "/v1/departments", code, (422, "code_taken"), "/code").await;
        let itself = json!({"effective_on": "2001-01-01", "parent_id": c.department}).to_string();
        check(world, &tenant, &format!("/v1/departments/{}/parent", c.department), itself, (422, "department_cycle"), "/parent_id").await;
        let me = json!({"effective_on": "2011-01-01", "reason": "x", "changes": {"manager_id": c.employee}}).to_string();
        check(world, &tenant, &c.path("assignment-changes"), me, (422, "own_manager"), "/changes/manager_id").await;
        let stale = [JSON, ("if-match", "\"9\"")];
        let change = json!({"effective_on": "2011-01-01", "pay": pay("1"), "reason": "x"}).to_string();
        check_with(world, &tenant, &c.path("compensation-changes"), &stale, change, (412, "precondition_failed"), "").await;
        world
            .on(0, &tenant, &c.path("compensation-changes"), "key", &json!({"effective_on": "2011-01-01", "pay": pay("1"), "reason": "x"}))
            .await
            .done();
        let reused = json!({"effective_on": "2011-01-01", "pay": pay("2"), "reason": "x"}).to_string();
        check_with(
            world,
            &tenant,
            &c.path("compensation-changes"),
            &[JSON, ("idempotency-key", "key")],
            reused,
            (422, "idempotency_key_reused"),
            "",
        )
        .await;
    });
}

#[test]
fn tenants_that_are_not_to_be_served() {
    in_world(|world| async move {
        let job = json!({"effective_on": "2000-01-01", "code": "J", "title": "J"}).to_string();
        let provisioned = |id| vec![TenantProvisioned { tenant_id: id }.into()];
        let cases = [
            (world.tenant_with(None, suspended).await, (403, "tenant_suspended")),
            (world.tenant_with(Some("2020-01-01T00:00:00Z"), provisioned).await, (402, "subscription_expired")),
            (world.tenant_with(None, |_| vec![]).await, (503, "tenant_not_ready")),
        ];
        for (tenant, expected) in &cases {
            check(world, tenant, "/v1/jobs", &job, *expected, "").await;
            check_with(world, tenant, "/v1/batch", &[("content-type", "application/x-ndjson")], "", *expected, "").await;
        }
        // Registered as ready, but its keys are not there: nothing is written without them.
        let half = world.tenant_with(None, provisioned).await;
        let c = world.company(&world.tenant().await).await;
        world
            .send(
                0,
                &half.token,
                "/v1/departments",
                &[JSON],
                json!({"department_id": c.department, "effective_on": "2000-01-01", "code": "D", "name": "D"}).to_string(),
            )
            .await;
        world
            .send(
                0,
                &half.token,
                "/v1/jobs",
                &[JSON],
                json!({"job_id": c.job, "effective_on": "2000-01-01", "code": "J", "title": "J"}).to_string(),
            )
            .await;
        check(world, &half, "/v1/employees", c.hire("1").to_string(), (503, "tenant_not_ready"), "").await;

        let nobody = TenantId::from_uuid(Uuid::now_v7());
        let known = world.tenant().await;
        let with = |token| Tenant { token, scope: known.scope, slug: known.slug.clone() };
        let unknown = with(world.token(nobody, "nobody", "hr"));
        check(world, &unknown, "/v1/jobs", &job, (404, "tenant_not_found"), "").await;
        check(world, &with(String::new()), "/v1/jobs", &job, (401, "missing_token"), "").await;
        check(world, &with("x.y.z".into()), "/v1/jobs", &job, (401, "invalid_token"), "").await;
        let other_slug = with(world.token(known.scope.tenant(), "another", "hr"));
        check(world, &other_slug, "/v1/jobs", &job, (403, "tenant_mismatch"), "").await;
        check_with(world, &known, "/v1/jobs", &[JSON, ("tenure-tenant", &cases[0].0.slug)], &job, (403, "tenant_mismatch"), "").await;
    });
}
