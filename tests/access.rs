//! Who sees and changes what, over HTTP: every built-in role, the tenant's own, and what is delegated. And that
//! `/v1/access/explain` says of each what the routes do.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use jiff::ToSpan as _;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    contract::checked,
    servers::{System, eventually, system},
    today::{Days, EAST, WEST},
};

/// A small company: Sales with Field below it, and Works. Ceo above Head (Sales) above Rep (Field) and Former (Field, left);
/// Smith (Works) below Ceo; Novice (Field) starts under Head in years.
pub(crate) struct Company {
    pub(crate) system: &'static System,
    pub(crate) slug: String,
    pub(crate) hr: String,
    pub(crate) people: BTreeMap<&'static str, String>,
    pub(crate) departments: BTreeMap<&'static str, String>,
    pub(crate) job: String,
}

impl Company {
    pub(crate) async fn new(name: &str) -> Self {
        Self::on(system().await, name).await
    }
    pub(crate) async fn on(system: &'static System, name: &str) -> Self {
        let slug = format!("{name}-{}", &Uuid::now_v7().simple().to_string()[20..]);
        let hr = system.tenant(&slug);
        let mut company = Self { system, slug, hr, people: BTreeMap::new(), departments: BTreeMap::new(), job: String::new() };
        for (code, above) in [("sales", None), ("field", Some("sales")), ("works", None)] {
            let parent = above.map(|above| company.departments[above].clone());
            let body = json!({"effective_on": "2000-01-01", "code": code, "name": code, "parent_id": parent});
            let id = company.must(&company.hr, "/v1/departments", &body).await;
            company.departments.insert(code, id);
        }
        company.job = company.must(&company.hr, "/v1/jobs", &json!({"effective_on": "2000-01-01", "code": "j", "title": "J"})).await;
        for (name, department, manager, start) in [
            ("ceo", "works", None, "2005-01-01"),
            ("head", "sales", Some("ceo"), "2006-01-01"),
            ("rep", "field", Some("head"), "2007-01-01"),
            ("former", "field", Some("head"), "2007-01-01"),
            ("smith", "works", Some("ceo"), "2008-01-01"),
            ("novice", "field", Some("head"), "2099-01-01"),
        ] {
            let manager = manager.map(|manager| company.people[manager].clone());
            let body = json!({"hire_date": start, "employee_number": name,
                "person": {"given_name": name, "family_name": "Test", "birth_date": "1980-01-01", "gender": "x"},
                "contact": {"work_email": format!("{name}@work.example"), "private_email": format!("{name}@home.example")},
                "assignment": {"department_id": company.departments[department], "job_id": company.job, "manager_id": manager},
                "pay": {"rate": {"amount": "1000", "currency": "EUR"}, "per": "month"}});
            let id = company.must(&company.hr, "/v1/employees", &body).await;
            company.people.insert(name, id);
        }
        let leaves = json!({"last_day_worked": "2012-12-31", "reason": "resignation"});
        company.must(&company.hr, &format!("/v1/employees/{}/termination", company.people["former"]), &leaves).await;
        system.settled(&company.hr).await;
        company
    }
    pub(crate) async fn post(&self, token: &str, path: &str, body: &Value) -> (u16, Value) {
        self.system.post(token, path, &Uuid::now_v7().to_string(), body).await
    }
    pub(crate) async fn must(&self, token: &str, path: &str, body: &Value) -> String {
        let (status, answer) = self.post(token, path, body).await;
        assert!(status < 300, "{path} {body}: {status} {answer}");
        answer["id"].as_str().unwrap_or_default().to_owned()
    }
    pub(crate) async fn get(&self, token: &str, path: &str) -> (u16, Value) {
        let response = self.system.client.get(format!("{}{path}", self.system.query_api)).bearer_auth(token).send().await.unwrap();
        checked(&reqwest::Method::GET, response).await
    }
    /// A token with these roles; of a person, where it says so.
    pub(crate) fn token(&self, roles: &[&str], person: Option<&str>) -> String {
        let mut arguments = vec!["token", "--tenant", &self.slug, "--subject"];
        let subject = format!("test-{}", person.unwrap_or("nobody"));
        arguments.push(&subject);
        for role in roles {
            arguments.extend(["--role", role]);
        }
        if let Some(person) = person {
            arguments.extend(["--employee", &self.people[person]]);
        }
        self.system.tenure(&arguments)["token"].as_str().unwrap().to_owned()
    }
    /// What a token sees of everybody, by asking each route; they must agree.
    async fn seen(&self, token: &str) -> Seen {
        let mut seen = Seen::default();
        let mut shown = String::new();
        for (name, id) in &self.people {
            let (status, person) = self.get(token, &format!("/v1/employees/{id}")).await;
            let (history_status, history) = self.get(token, &format!("/v1/employees/{id}/history")).await;
            let (events_status, events) = self.get(token, &format!("/v1/employees/{id}/events")).await;
            assert_eq!(status, history_status, "{name}");
            if status == 404 {
                let absent = self.get(token, &format!("/v1/employees/{}", Uuid::now_v7())).await;
                assert_eq!((status, &person), (absent.0, &absent.1), "as if {name} were not there");
                assert_eq!(events_status, 404, "{name} {events}");
                continue;
            }
            assert_eq!(status, 200, "{name} {person}");
            shown.extend([person.to_string(), history.to_string()]);
            seen.directory.insert((*name).into());
            assert_eq!(person["person"]["given_name"], **name);
            assert_eq!(person["contact"]["work_email"], format!("{name}@work.example"));
            let personal = !person["person"]["birth_date"].is_null();
            for field in [
                &person["person"]["gender"],
                &person["contact"]["private_email"],
                &history["personal"][0]["birth_date"],
                &history["contact"][0]["private_email"],
            ] {
                assert_eq!(!field.is_null(), personal, "{name} {person} {history}");
            }
            let pay = history["compensations"].as_array().is_some_and(|rows| !rows.is_empty());
            if !matches!(*name, "former" | "novice") {
                assert_eq!(!person["pay"].is_null(), pay, "{name} {person}");
            }
            if *name == "former" {
                assert_eq!(!history["employments"][0]["termination_reason"].is_null(), personal, "{history}");
            }
            if personal {
                seen.personal.insert((*name).into());
            }
            if pay {
                seen.pay.insert((*name).into());
            }
            assert_eq!(events_status == 200, personal && pay, "{name}: events are for who sees all of it");
        }
        // Lists, search, chart and sums tell the same people and the same pay, and no more.
        let mut listed = BTreeSet::new();
        for status in ["active", "terminated", "not_yet_hired"] {
            let (_, page) = self.get(token, &format!("/v1/employees?status={status}")).await;
            shown += &page.to_string();
            listed.extend(page["items"].as_array().unwrap().iter().map(|item| item["given_name"].as_str().unwrap().to_owned()));
        }
        assert_eq!(listed, seen.directory);
        let (_, found) = self.get(token, "/v1/employees?q=test").await;
        let active: BTreeSet<String> =
            seen.directory.iter().filter(|name| !matches!(name.as_str(), "former" | "novice")).cloned().collect();
        assert_eq!(found["items"].as_array().unwrap().len(), active.len());
        let (_, chart) = self.get(token, "/v1/org-chart").await;
        shown += &chart.to_string();
        let nodes: BTreeSet<String> =
            chart["nodes"].as_array().unwrap().iter().map(|node| node["given_name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(nodes, active);
        for group_by in ["department", "job", "location"] {
            let (_, report) = self.get(token, &format!("/v1/reports/headcount?group_by={group_by}")).await;
            assert_eq!(report["total"]["headcount"], active.len(), "{report}");
            let paid = active.intersection(&seen.pay).count();
            let sum = report["total"]["annual_pay"].as_array().unwrap().first().map(|sum| sum["amount"].as_str().unwrap().to_owned());
            assert_eq!(sum, (paid > 0).then(|| format!("{}.00", paid * 12_000)), "{report}");
        }
        let (_, report) = self.get(token, "/v1/reports/headcount?group_by=month").await;
        assert_eq!(report["total"]["headcount"], active.len(), "{report}");
        // Whom the asker does not see is nobody's manager either.
        for (name, id) in self.people.iter().filter(|(name, _)| !seen.directory.contains(**name)) {
            assert!(!shown.contains(id.as_str()), "{name} is hidden, but named");
            let (_, reports) = self.get(token, &format!("/v1/employees?manager={id}")).await;
            assert_eq!(reports["items"], json!([]), "{name} is hidden, but looked for");
        }
        // And the explanation is what happened.
        for (name, id) in &self.people {
            for (class, people) in [("directory", &seen.directory), ("personal", &seen.personal), ("pay", &seen.pay)] {
                let (status, why) = self.get(token, &format!("/v1/access/explain?class={class}&employee={id}")).await;
                if seen.directory.contains(*name) {
                    assert_eq!((status, why["allowed"].as_bool()), (200, Some(people.contains(*name))), "{name} {class} {why}");
                    assert_eq!(why["because"].is_null(), !people.contains(*name), "{why}");
                } else {
                    assert_eq!(status, 404, "{why}");
                }
            }
        }
        seen
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    directory: BTreeSet<String>,
    personal: BTreeSet<String>,
    pay: BTreeSet<String>,
}

fn names(list: &str) -> BTreeSet<String> {
    list.split_whitespace().map(str::to_owned).collect()
}

const ALL: &str = "ceo former head novice rep smith";

#[tokio::test(flavor = "multi_thread")]
async fn every_role_sees_what_it_is_made_of() {
    let company = Company::new("roles").await;
    for (roles, person, directory, personal, pay) in [
        (&["employee"][..], Some("rep"), ALL, "rep", "rep"),
        (&["employee"], None, ALL, "", ""),
        (&["manager"], Some("head"), ALL, "", "novice rep"),
        (&["manager"], Some("ceo"), ALL, "", "head novice rep smith"),
        (&["manager"], Some("smith"), ALL, "", ""),
        (&["manager", "employee"], Some("head"), ALL, "head", "head novice rep"),
        (&["payroll"], None, ALL, "", ALL),
        (&["hr"], None, ALL, ALL, ALL),
        (&["auditor"], None, ALL, ALL, ALL),
        (&["owner"], None, ALL, ALL, ALL),
        (&["employee", "nobody"], Some("rep"), ALL, "rep", "rep"),
    ] {
        let seen = company.seen(&company.token(roles, person)).await;
        assert_eq!(seen, Seen { directory: names(directory), personal: names(personal), pay: names(pay) }, "{roles:?} {person:?}");
    }
    for roles in [&["nobody"][..], &["operator"]] {
        let (status, answer) = company.get(&company.token(roles, Some("rep")), "/v1/employees").await;
        assert_eq!((status, answer["error"].as_str()), (403, Some("forbidden")), "{roles:?}");
    }
    let explained = company.system.tenure(&[
        "access",
        "explain",
        "--tenant",
        &company.slug,
        "--role",
        "manager",
        "--as-employee",
        &company.people["head"],
        "--class",
        "pay",
        "--employee",
        &company.people["rep"],
    ]);
    assert_eq!(
        (explained["allowed"].as_bool(), explained["because"]["role"].as_str(), explained["because"]["reach"].as_str()),
        (Some(true), Some("manager"), Some("line"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_of_the_tenants_own_reaches_as_far_as_it_says() {
    let company = Company::new("own").await;
    let owner = company.token(&["owner"], None);
    let sales = &company.departments["sales"];
    let read = |class: &str, reach: Value| json!({"action": "read", "class": class, "reach": reach});
    let partner = json!({"name": "sales-partner", "permissions": [
        read("directory", json!({"department": sales})), read("personal", json!({"department": sales})),
        {"action": "change", "class": "directory", "reach": {"department": sales}}, {"action": "change", "class": "personal", "reach": {"department": sales}}]});
    company.must(&owner, "/v1/roles", &partner).await;
    company
        .must(
            &owner,
            "/v1/roles",
            &json!({"name": "lead", "permissions": [read("directory", json!("line")), read("pay", json!("line")),
        {"action": "change", "class": "pay", "reach": "line"}]}),
        )
        .await;
    company
        .must(&owner, "/v1/roles", &json!({"name": "hermit", "permissions": [read("directory", json!("self")), read("pay", json!("all"))]}))
        .await;
    let wait = company.token(&["hermit"], Some("rep"));
    eventually("the role is known", async || company.get(&wait, "/v1/employees").await.0 == 200).await;
    let changes = company.token(&["lead"], Some("head"));
    company.may_change(&changes, "compensation-changes").await;
    for (role, person, directory, personal, pay) in [
        ("sales-partner", None, "former head novice rep", "former head novice rep", ""),
        ("lead", Some("head"), "novice rep", "", "novice rep"),
        ("lead", Some("ceo"), "head novice rep smith", "", "head novice rep smith"),
        // Whose pay one may see, one sees only with whom one may see.
        ("hermit", Some("rep"), "rep", "", "rep"),
    ] {
        let seen = company.seen(&company.token(&[role], person)).await;
        assert_eq!(seen, Seen { directory: names(directory), personal: names(personal), pay: names(pay) }, "{role} {person:?}");
    }

    // Changing obeys the same reach, alone and in a batch.
    let (partner, lead) = (company.token(&["sales-partner"], None), company.token(&["lead"], Some("head")));
    let people = &company.people;
    let pay =
        json!({"effective_on": "2020-01-01", "pay": {"rate": {"amount": "1100", "currency": "EUR"}, "per": "month"}, "reason": "raise"});
    let reach = json!({"effective_on": "2020-01-01", "changes": {"phone": "+4312345"}});
    let to = |department: &str| json!({"effective_on": "2020-01-01", "changes": {"department_id": company.departments[department]}, "reason": "transfer"});
    let hire = |department: &str| {
        json!({"hire_date": "2020-01-01", "employee_number": Uuid::now_v7().to_string(), "person": {"given_name": "N", "family_name": "N"},
            "assignment": {"department_id": company.departments[department], "job_id": Uuid::now_v7()}})
    };
    for (token, person, what, body, status) in [
        (&partner, "rep", "contact-details", reach.clone(), 200),
        (&partner, "smith", "contact-details", reach.clone(), 404),
        (&partner, "rep", "compensation-changes", pay.clone(), 403),
        (&partner, "rep", "assignment-changes", to("sales"), 200),
        (&partner, "rep", "assignment-changes", to("works"), 403),
        (&partner, "smith", "assignment-changes", to("sales"), 404),
        (&lead, "rep", "compensation-changes", pay.clone(), 200),
        (&lead, "smith", "compensation-changes", pay.clone(), 404),
        (&lead, "head", "compensation-changes", pay.clone(), 404),
        (&lead, "former", "compensation-changes", pay.clone(), 404),
        (&lead, "rep", "contact-details", reach.clone(), 403),
    ] {
        let (got, answer) = company.post(token, &format!("/v1/employees/{}/{what}", people[person]), &body).await;
        assert_eq!(got, status, "{person} {what}: {answer}");
        if status == 404 {
            let absent = company.post(token, &format!("/v1/employees/{}/{what}", Uuid::now_v7()), &body).await;
            assert_eq!((got, answer), absent, "as if {person} were not there");
        }
    }
    assert_eq!(company.post(&partner, "/v1/employees", &hire("field")).await.1["error"], "forbidden", "hiring sets pay, too");
    assert_eq!(company.post(&partner, "/v1/departments", &json!({"effective_on": "2000-01-01", "code": "x", "name": "X"})).await.0, 403);
    let employee = company.token(&["employee"], Some("rep"));
    for (person, what, body, status) in [
        ("rep", "contact-details", json!({"effective_on": "2021-01-01", "changes": {"private_email": "new@home.example"}}), 200),
        ("rep", "contact-details", json!({"effective_on": "2021-01-01", "changes": {"work_email": "new@work.example"}}), 403),
        ("head", "contact-details", reach.clone(), 404),
        ("rep", "compensation-changes", pay.clone(), 403),
    ] {
        let (got, answer) = company.post(&employee, &format!("/v1/employees/{}/{what}", people[person]), &body).await;
        assert_eq!(got, status, "{person} {what}: {answer}");
    }
    let line = |person: &str| json!({"command": "ChangeCompensation", "data": {"employee_id": people[person], "effective_on": "2022-01-01", "pay": pay["pay"], "reason": "raise"}});
    let batch = format!("{}\n{}\n", line("rep"), line("smith"));
    let request = company.system.client.post(format!("{}/v1/batch", company.system.command_api)).bearer_auth(&lead);
    let answer = request.header("content-type", "application/x-ndjson").body(batch).send().await.unwrap().text().await.unwrap();
    let statuses: Vec<_> = answer.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 404], "{answer}");

    // Nobody hands out what they don't have, and what is removed is gone within seconds.
    let admin = json!({"name": "role-admin", "permissions": [read("directory", json!("all"))], "duties": ["manage_roles", "manage_users"]});
    company.must(&owner, "/v1/roles", &admin).await;
    let admin = company.token(&["role-admin"], None);
    let listed = async || {
        let url = format!("{}/v1/users", company.system.command_api);
        company.system.client.get(url).bearer_auth(&admin).send().await.unwrap().status().as_u16()
    };
    eventually("the role is known", async || listed().await == 200).await;
    for (path, body) in [
        ("/v1/roles", json!({"name": "more", "permissions": [read("pay", json!("all"))]})),
        ("/v1/roles", json!({"name": "more", "permissions": [], "duties": ["read_audit"]})),
        ("/v1/users", json!({"email": "friend@example.com", "roles": ["owner"]})),
        ("/v1/service-accounts", json!({"name": "friend", "roles": ["hr"]})),
    ] {
        assert_eq!(company.post(&admin, path, &body).await.1["error"], "forbidden", "{path} {body}");
    }
    company.must(&admin, "/v1/roles", &json!({"name": "less", "permissions": [read("directory", json!("line"))]})).await;
    for bad in [
        json!({"name": "hr", "permissions": []}),
        json!({"name": "Big", "permissions": []}),
        json!({"name": "x", "permissions": [], "duties": ["manage_tenants"]}),
        json!({"name": "x", "permissions": [{"action": "read", "class": "pay", "reach": "everything"}]}),
    ] {
        assert_eq!(company.post(&owner, "/v1/roles", &bad).await.0, 422, "{bad}");
    }
    assert_eq!(company.post(&owner, "/v1/roles/removal", &json!({"name": "lead"})).await.0, 204);
    let removed = Instant::now();
    loop {
        // After five seconds a process that has not heard of it lets nobody in.
        let late = removed.elapsed() > Duration::from_secs(5);
        match company.get(&lead, "/v1/employees").await.0 {
            403 => break,
            status => assert!(!late || status == 503, "the removed role still grants: {status}"),
        }
        assert!(removed.elapsed() < Duration::from_secs(30), "nobody hears of the removal");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stands_in_sees_the_others_line_for_as_long_as_it_lasts() {
    let company = Company::new("delegate").await;
    let (head, smith) = (company.token(&["manager"], Some("head")), company.token(&["employee"], Some("smith")));
    let before = company.seen(&smith).await;
    assert_eq!(before.pay, names("smith"));
    let until = |hours: i64| (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours)).to_string();
    for (body, code) in [
        (json!({"to": "test-smith", "roles": ["hr"], "ends_at": until(1)}), "unknown_role"),
        (json!({"to": "test-smith", "roles": [], "ends_at": until(1)}), "unknown_role"),
        (json!({"to": "test-smith", "roles": ["manager"], "ends_at": until(-1)}), "invalid_field"),
        (json!({"to": "test-smith", "roles": ["manager"], "ends_at": until(24 * 800)}), "invalid_field"),
        (json!({"to": "test-head", "roles": ["manager"], "ends_at": until(1)}), "invalid_field"),
        (json!({"to": "test-smith", "roles": ["manager"]}), "missing_field"),
    ] {
        assert_eq!(company.post(&head, "/v1/delegations", &body).await.1["error"], code, "{body}");
    }
    let delegate = async |body: Value| {
        let (status, answer) = company.post(&head, "/v1/delegations", &body).await;
        assert_eq!(status, 201, "{answer}");
        answer["delegation_id"].as_str().unwrap().to_owned()
    };
    // One that begins tomorrow gives nothing today.
    delegate(json!({"to": "test-smith", "roles": ["manager"], "starts_at": until(24), "ends_at": until(48)})).await;
    let id = delegate(json!({"to": "test-smith", "roles": ["manager"], "ends_at": until(1)})).await;
    let sees = async |name: &str| {
        let (_, person) = company.get(&smith, &format!("/v1/employees/{}", company.people[name])).await;
        !person["pay"].is_null()
    };
    eventually("the delegation is known", async || sees("rep").await).await;
    assert_eq!(company.seen(&smith).await.pay, names("novice rep smith"));
    let (_, why) = company.get(&smith, &format!("/v1/access/explain?class=pay&employee={}", company.people["rep"])).await;
    assert_eq!((why["because"]["role"].as_str(), why["because"]["delegation"].as_str()), (Some("manager"), Some(id.as_str())), "{why}");
    // What was delegated can't be delegated on, and only those concerned see and end it.
    let on = json!({"to": "test-rep", "roles": ["manager"], "ends_at": until(1)});
    assert_eq!(company.post(&smith, "/v1/delegations", &on).await.1["error"], "unknown_role");
    let rep = company.token(&["employee"], Some("rep"));
    let path = format!("/v1/delegations/{id}/revocation");
    assert_eq!(company.post(&rep, &path, &json!({})).await.0, 404);
    assert_eq!(company.post(&smith, &path, &json!({})).await.0, 404);
    assert_eq!(company.post(&head, &path, &json!({})).await.0, 204);
    eventually("the delegation grants no more", async || !sees("rep").await).await;
    // One that ends by itself.
    let seconds = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(4);
    delegate(json!({"to": "test-smith", "roles": ["manager"], "ends_at": seconds.to_string()})).await;
    eventually("the delegation is known", async || sees("rep").await).await;
    eventually("the delegation has ended", async || !sees("rep").await).await;
}

impl Company {
    /// Waits until the services know what was decided about a role.
    async fn known(&self, token: &str) {
        let knows = async |base: &str, path: &str| {
            self.system.client.get(format!("{base}{path}")).bearer_auth(token).send().await.unwrap().status() == 200
        };
        eventually("the role is known", async || {
            knows(&self.system.query_api, "/v1/employees").await && knows(&self.system.command_api, "/v1/users").await
        })
        .await;
    }
    /// Waits until the command API lets a token change some people so: of others it says then that they are not there.
    async fn may_change(&self, token: &str, what: &str) {
        let path = format!("/v1/employees/{}/{what}", Uuid::now_v7());
        let body = match what {
            "termination" => json!({"last_day_worked": "2020-06-30", "reason": "resignation"}),
            _ => {
                json!({"effective_on": "2020-01-01", "pay": {"rate": {"amount": "1", "currency": "EUR"}, "per": "month"}, "reason": "raise"})
            }
        };
        eventually("the role is known", async || self.post(token, &path, &body).await.0 == 404).await;
    }
    async fn refused(&self, token: &str, path: &str, body: Value) {
        let (status, answer) = self.post(token, path, &body).await;
        assert_eq!((status, answer["error"].as_str()), (403, Some("forbidden")), "{path} {body} {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_decides_about_others_gets_nothing_by_it() {
    let company = Company::new("admins").await;
    let owner = company.token(&["owner"], None);
    let directory = json!({"action": "read", "class": "directory", "reach": "all"});
    let admin = json!({"name": "admin", "permissions": [directory], "duties": ["manage_roles", "manage_users"]});
    company.must(&owner, "/v1/roles", &admin).await;
    let invite = async |email: &str, roles: &[&str]| {
        let (status, answer) = company.post(&owner, "/v1/users", &json!({"email": email, "roles": roles})).await;
        assert_eq!(status, 201, "{answer}");
        answer["user_id"].as_str().unwrap().to_owned()
    };
    let (boss, clerk, peer) = (
        invite("boss@example.com", &["owner"]).await,
        invite("clerk@example.com", &["payroll"]).await,
        invite("peer@example.com", &["admin"]).await,
    );
    let admin = company.token(&["admin", "employee", "manager"], Some("smith"));
    company.known(&admin).await;

    // A puppet who is said to be somebody else has what the admin has about nobody but themselves.
    for role in ["employee", "manager"] {
        company
            .refused(&admin, "/v1/users", json!({"email": "p@example.com", "roles": [role], "employee_id": company.people["ceo"]}))
            .await;
    }
    for reach in ["self", "line"] {
        let pay = json!({"action": "read", "class": "pay", "reach": reach});
        company.refused(&admin, "/v1/roles", json!({"name": "mine", "permissions": [pay]})).await;
    }
    // A ticket opens an account; so does a role, and an enabling.
    for user in [&boss, &clerk] {
        company.refused(&admin, &format!("/v1/users/{user}/invitation"), json!({})).await;
        company.refused(&admin, &format!("/v1/users/{user}/roles"), json!({"roles": [], "employee_id": null})).await;
        company.refused(&admin, &format!("/v1/users/{user}/enabling"), json!({})).await;
    }
    company.refused(&admin, &format!("/v1/users/{boss}/disabling"), json!({})).await;
    for (path, status) in [(format!("/v1/users/{clerk}/disabling"), 200), (format!("/v1/users/{peer}/invitation"), 201)] {
        assert_eq!(company.post(&admin, &path, &json!({})).await.0, status, "{path}");
    }
    // Nor is anything taken from those above: not what their roles are made of, not their machines.
    let purse = json!({"name": "purse", "permissions": [{"action": "read", "class": "pay", "reach": "all"}]});
    company.must(&owner, "/v1/roles", &purse).await;
    company.refused(&admin, "/v1/roles", json!({"name": "purse", "permissions": []})).await;
    company.refused(&admin, "/v1/roles/removal", json!({"name": "purse"})).await;
    for (role, status) in [("owner", 403), ("payroll", 204)] {
        let (_, machine) = company.post(&owner, "/v1/service-accounts", &json!({"name": "m", "roles": [role]})).await;
        let path = format!("/v1/service-accounts/{}/disabling", machine["account_id"].as_str().unwrap());
        assert_eq!(company.post(&admin, &path, &json!({})).await.0, status, "{role}");
    }
    // A role that is removed is gone from those who had it, whatever is made under its name later.
    let operator = company.system.token("platform", "operator");
    let id = company.system.tenure(&["tenant", "show", &company.slug])["tenant_id"].as_str().unwrap().to_owned();
    let issuer = json!({"issuer": format!("https://{}.example", company.slug), "audience": "a", "jwks_uri": "https://x.example/jwks",
        "roles": {"a": "purse", "b": "hr"}});
    assert_eq!(company.post(&operator, &format!("/v1/tenants/{id}/issuers"), &issuer).await.0, 204);
    assert_eq!(company.post(&owner, "/v1/roles/removal", &json!({"name": "purse"})).await.0, 204);
    let url = format!("{}/v1/issuers", company.system.command_api);
    let issuers: Value = company.system.client.get(url).bearer_auth(&owner).send().await.unwrap().json().await.unwrap();
    assert_eq!(issuers[0]["roles"], json!({"b": "hr"}), "{issuers}");
    assert_eq!(company.post(&owner, "/v1/roles/removal", &json!({"name": "admin"})).await.0, 204);
    let url = format!("{}/v1/users/{peer}", company.system.command_api);
    let shown: Value = company.system.client.get(url).bearer_auth(&owner).send().await.unwrap().json().await.unwrap();
    assert_eq!(shown["roles"], json!([]), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delegation_passes_on_work_only_and_ends_with_its_maker() {
    let company = Company::new("stand-in").await;
    let owner = company.token(&["owner"], None);
    let all = |class: &str| json!({"action": "read", "class": class, "reach": "all"});
    let admin = json!({"name": "admin", "permissions": [all("directory"), all("pay")], "duties": ["manage_users"]});
    company.must(&owner, "/v1/roles", &admin).await;
    let admin = company.token(&["admin"], None);
    company.known(&admin).await;
    let until = |hours: i64| (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours)).to_string();
    let delegate = async |token: &str, roles: &[&str], hours: i64| {
        company.post(token, "/v1/delegations", &json!({"to": "test-rep", "roles": roles, "ends_at": until(hours)})).await
    };
    assert_eq!(delegate(&admin, &["admin"], 1).await.1["error"], "invalid_field", "a say in who gets in");
    let smith = company.token(&["employee", "manager"], Some("smith"));
    assert_eq!(delegate(&smith, &["employee"], 24 * 40).await.1["error"], "invalid_field", "for longer than can be followed");
    assert_eq!(delegate(&smith, &["employee"], 1).await.0, 201);

    // A machine's delegation ends with the machine, although the machine made it for longer.
    let (_, machine) = company.post(&owner, "/v1/service-accounts", &json!({"name": "m", "roles": ["payroll"]})).await;
    let url = format!("{}/v1/auth/service-token", company.system.command_api);
    let request = company.system.client.post(url).json(&json!({"credential": machine["credential"]}));
    let machine_token: Value = request.send().await.unwrap().json().await.unwrap();
    let machine_token = machine_token["access_token"].as_str().unwrap();
    assert_eq!(delegate(machine_token, &["payroll", "payroll"], 24 * 300).await.0, 201);
    let rep = company.token(&["employee"], Some("rep"));
    let until_pay = async |seen: bool| {
        let path = format!("/v1/employees/{}", company.people["smith"]);
        eventually(if seen { "pay is seen" } else { "pay is not seen" }, async || {
            company.get(&rep, &path).await.1["pay"].is_null() != seen
        })
        .await;
    };
    until_pay(true).await;
    // What smith may see of themselves is not passed on, what they see of others is: nothing, but by payroll.
    let (_, person) = company.get(&rep, &format!("/v1/employees/{}", company.people["smith"])).await;
    assert!(person["person"]["birth_date"].is_null(), "{person}");
    let path = format!("/v1/service-accounts/{}/disabling", machine["account_id"].as_str().unwrap());
    assert_eq!(company.post(&owner, &path, &json!({})).await.0, 204);
    let late = delegate(machine_token, &["payroll"], 1).await;
    assert!(matches!(late.0, 401 | 403), "the token may not be known to be void yet, and passes nothing on: {late:?}");
    until_pay(false).await;

    for _ in 1..20 {
        assert_eq!(delegate(&smith, &["employee"], 1).await.0, 201);
    }
    assert_eq!(delegate(&smith, &["employee"], 1).await.1["error"], "too_many_delegations");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_brings_somebody_within_their_own_reach() {
    let company = Company::new("reach").await;
    let owner = company.token(&["owner"], None);
    let works = &company.departments["works"];
    let of = |action: &str, class: &str, reach: Value| json!({"action": action, "class": class, "reach": reach});
    let (see, line) = (of("read", "directory", json!("all")), [of("read", "pay", json!("line")), of("change", "pay", json!("line"))]);
    for role in [
        json!({"name": "mover", "permissions": [see, of("change", "directory", json!("all")), of("read", "pay", json!({"department": works}))]}),
        json!({"name": "lead", "permissions": [see, line[0], line[1]]}),
        json!({"name": "probe", "permissions": [see], "duties": ["manage_users"]}),
    ] {
        company.must(&owner, "/v1/roles", &role).await;
    }
    company.known(&company.token(&["probe"], None)).await;
    let (mover, both) = (company.token(&["mover"], None), company.token(&["mover", "manager"], Some("rep")));
    let change = |changes: Value| json!({"effective_on": "2020-01-01", "changes": changes, "reason": "transfer"});
    let path = |name: &str| format!("/v1/employees/{}/assignment-changes", company.people[name]);
    company.refused(&mover, &path("rep"), change(json!({"department_id": works}))).await;
    company.refused(&both, &path("head"), change(json!({"manager_id": company.people["rep"]}))).await;
    for (token, name, changes) in [
        (&mover, "rep", json!({"department_id": company.departments["sales"]})),
        (&mover, "smith", json!({"location_id": null, "manager_id": company.people["ceo"]})),
        (&both, "head", json!({"manager_id": company.people["smith"]})),
    ] {
        let (status, answer) = company.post(token, &path(name), &change(changes)).await;
        assert_eq!(status, 200, "{name} {answer}");
    }

    // Smith, below the ceo, stands in for the ceo: what is smith's own, smith does not change. And a line ends at a manager
    // who left, for those who read, those who change and those who ask why.
    let leaves = json!({"last_day_worked": "2025-12-31", "reason": "resignation"});
    company.must(&company.hr, &format!("/v1/employees/{}/termination", company.people["head"]), &leaves).await;
    company.system.settled(&company.hr).await;
    let ceo = company.token(&["lead"], Some("ceo"));
    let until = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string();
    let (status, answer) = company.post(&ceo, "/v1/delegations", &json!({"to": "test-smith", "roles": ["lead"], "ends_at": until})).await;
    assert_eq!(status, 201, "{answer}");
    let smith = company.token(&["employee"], Some("smith"));
    let knows = async || {
        let path = format!("/v1/access/explain?class=pay&action=change&employee={}", company.people["smith"]);
        let (_, why) = company.get(&smith, &path).await;
        !why["rules"].as_array().unwrap().is_empty()
    };
    eventually("the delegation is known", async || knows().await).await;
    let pay =
        json!({"effective_on": "2021-01-01", "pay": {"rate": {"amount": "1200", "currency": "EUR"}, "per": "month"}, "reason": "raise"});
    for (who, token, name, reads, changes) in [
        ("ceo", &ceo, "smith", true, true),
        ("ceo", &ceo, "head", false, false),
        ("ceo", &ceo, "rep", false, false),
        ("ceo", &ceo, "ceo", false, false),
        ("smith", &smith, "smith", true, false),
        ("smith", &smith, "ceo", false, false),
    ] {
        let id = &company.people[name];
        let (status, _) = company.post(token, &format!("/v1/employees/{id}/compensation-changes"), &pay).await;
        let (_, history) = company.get(token, &format!("/v1/employees/{id}/history")).await;
        let (_, read) = company.get(token, &format!("/v1/access/explain?class=pay&employee={id}")).await;
        let (_, change) = company.get(token, &format!("/v1/access/explain?class=pay&employee={id}&action=change")).await;
        assert_eq!((status == 200, change["allowed"].as_bool()), (changes, Some(changes)), "{who} {name} {change}");
        assert_eq!((history["compensations"] != json!([]), read["allowed"].as_bool()), (reads, Some(reads)), "{who} {name} {read}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hidden_leaves_no_trace_in_a_history() {
    let company = Company::new("traces").await;
    let id = &company.people["rep"];
    for (what, changes) in [
        ("personal-details", json!({"gender": "y"})),
        ("contact-details", json!({"private_email": "z@home.example"})),
        ("contact-details", json!({"work_email": "z@work.example"})),
    ] {
        let day = if changes["work_email"].is_null() { "2011-03-04" } else { "2012-03-04" };
        let body = json!({"effective_on": day, "changes": changes});
        company.must(&company.hr, &format!("/v1/employees/{id}/{what}"), &body).await;
    }
    company.system.settled(&company.hr).await;
    let path = format!("/v1/employees/{id}/history");
    let rows = |history: &Value, part: &str| -> Vec<String> {
        history[part].as_array().unwrap().iter().map(|row| format!("{} {} {}", row["valid_from"], row["valid_to"], row["sets"])).collect()
    };
    let (_, whole) = company.get(&company.hr, &path).await;
    assert_eq!((rows(&whole, "personal").len(), rows(&whole, "contact").len()), (2, 3), "{whole}");
    assert_eq!(whole["assignments"][0]["reason"], "hire");
    let (_, open) = company.get(&company.token(&["employee"], Some("smith")), &path).await;
    assert_eq!(rows(&open, "personal"), [r#""2007-01-01" null ["given_name","family_name"]"#]);
    let contact = [r#""2007-01-01" "2012-03-04" ["work_email"]"#, r#""2012-03-04" null ["work_email"]"#];
    assert_eq!(rows(&open, "contact"), contact);
    assert!(open["assignments"][0]["reason"].is_null() && open["compensations"] == json!([]), "{open}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_call_things_stays_out_of_the_logs() {
    let company = Company::new("named").await;
    let owner = company.token(&["owner"], None);
    let canary = format!("c{}", &Uuid::new_v4().simple().to_string()[..20]);
    let role = json!({"name": canary, "permissions": [{"action": "read", "class": "directory", "reach": "all"}]});
    company.must(&owner, "/v1/roles", &role).await;
    let until = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string();
    let body = json!({"to": format!("{canary}@example.com"), "roles": ["hr"], "ends_at": until});
    assert_eq!(company.post(&company.hr, "/v1/delegations", &body).await.0, 201);
    assert_eq!(company.post(&owner, "/v1/roles/removal", &json!({"name": canary})).await.0, 204);
    let url = format!("{}/v1/identity-audit", company.system.command_api);
    let entries = company.system.client.get(url).bearer_auth(&owner).send().await.unwrap().text().await.unwrap();
    assert_eq!(entries.matches(canary.as_str()).count(), 3, "the tenant's own audit names them: {entries}");
    let mut decisions = 0;
    for entry in std::fs::read_dir(company.system.home.join("log")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains(&canary), "{:?}", text.lines().find(|line| line.contains(&canary)));
        decisions += text.matches("make_role").count();
    }
    assert!(decisions > 0, "decisions are in the logs");
}

/// A request may wait half a minute for its position; what was taken away meanwhile is not in its answer.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_looked_at_again() {
    let company = Company::new("waits").await;
    let owner = company.token(&["owner"], None);
    let all = |class: &str| json!({"action": "read", "class": class, "reach": "all"});
    for (name, duties) in [("purse", json!([])), ("probe", json!(["manage_users"]))] {
        company.must(&owner, "/v1/roles", &json!({"name": name, "permissions": [all("directory"), all("pay")], "duties": duties})).await;
    }
    company.known(&company.token(&["probe"], None)).await;
    let rep = format!("/v1/employees/{}", company.people["rep"]);
    let (purse, steady) = (company.token(&["purse"], None), company.token(&["payroll"], None));
    let (_, person) = company.get(&purse, &rep).await;
    assert!(!person["pay"].is_null(), "{person}");
    let next = person["position"].as_i64().unwrap() + 1;
    let wait = |token: String| {
        let request = company.system.client.get(format!("{}{rep}", company.system.query_api)).bearer_auth(token);
        let request = request.header("tenure-min-position", next).header("prefer", "wait=25");
        tokio::spawn(async move {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.json::<Value>().await.unwrap())
        })
    };
    let (waits, stays) = (wait(purse.clone()), wait(steady));
    assert_eq!(company.post(&owner, "/v1/roles/removal", &json!({"name": "purse"})).await.0, 204);
    eventually("the removed role grants nothing", async || company.get(&purse, &rep).await.0 == 403).await;
    let (status, answer) = tokio::time::timeout(Duration::from_secs(20), waits).await.expect("an answer at once").unwrap();
    assert_eq!((status, answer["error"].as_str()), (503, Some("rights_changed")), "{answer}");
    company.must(&company.hr, "/v1/departments", &json!({"effective_on": "2000-01-01", "code": "z", "name": "Z"})).await;
    let (status, answer) = stays.await.unwrap();
    assert_eq!((status, answer["pay"].is_null()), (200, false), "{answer}");
}

/// Careers of all kinds (left, back again, yet to come, moved, rings of managers), at places whose dates differ, with changes around
/// today: who may change a person is whom the explanation, which asks the read model, says.
#[tokio::test(flavor = "multi_thread")]
async fn reading_and_changing_reach_the_same_people_whatever_their_careers() {
    let mut company = Company::new("careers").await;
    let owner = company.token(&["owner"], None);
    let of = |action: &str, class: &str, reach: Value| json!({"action": action, "class": class, "reach": reach});
    let all = of("read", "directory", json!("all"));
    let field = json!({"department": company.departments["sales"]});
    for role in [
        json!({"name": "lead", "permissions": [all, of("change", "personal", json!("line"))]}),
        json!({"name": "partner", "permissions": [all, of("change", "personal", field)]}),
        json!({"name": "probe", "permissions": [all], "duties": ["manage_users"]}),
    ] {
        company.must(&owner, "/v1/roles", &role).await;
    }
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let (days, mut places) = (Days::now(), vec![Value::Null]);
    let near = [days.west - 1.day(), days.west, days.west + 1.day(), days.east, days.east + 1.day()].map(|day| day.to_string());
    for (code, zone) in [("east", EAST), ("west", WEST), ("moves", WEST)] {
        let body = json!({"effective_on": "2000-01-01", "code": code, "name": code, "time_zone": zone});
        places.push(company.must(&company.hr, "/v1/locations", &body).await.into());
    }
    let moves = format!("/v1/locations/{}/changes", places[3].as_str().unwrap());
    company.must(&company.hr, &moves, &json!({"effective_on": days.east, "time_zone": EAST})).await;
    let departments: Vec<String> = company.departments.values().cloned().collect();
    let (_, jobs) = company.get(&company.hr, "/v1/jobs").await;
    let job = jobs["items"][0]["job_id"].clone();
    let mut ids: Vec<String> = company.people.values().cloned().collect();
    let hr = company.hr.clone();
    for n in 0..60 {
        let hired = ["2005-01-01", "2010-06-01", "2019-01-01", "2097-01-01", &near[1], &near[3]][random(6)];
        let assignment = json!({"department_id": departments[random(3)], "job_id": job, "manager_id": ids[random(ids.len())],
            "location_id": places[random(4)]});
        let mut hire = json!({"hire_date": hired, "employee_number": format!("c{n}"),
            "person": {"given_name": "C", "family_name": format!("{n}")}, "assignment": assignment});
        let (mut status, mut answer) = company.post(&hr, "/v1/employees", &hire).await;
        if status >= 300 {
            hire["assignment"]["manager_id"] = Value::Null; // not employed by then
            (status, answer) = company.post(&hr, "/v1/employees", &hire).await;
        }
        assert_eq!(status, 201, "{answer}");
        let id = answer["id"].as_str().unwrap().to_owned();
        // What the rules refuse does not happen; that is a career, too.
        for _ in 0..random(4) {
            let (path, body) = match random(4) {
                0 => {
                    let day =
                        ["2004-12-31", "2012-01-01", "2022-01-01", "2096-12-31", "2098-01-01", &near[0], &near[1], &near[2]][random(8)];
                    ("termination", json!({"last_day_worked": day, "reason": "resignation"}))
                }
                1 => {
                    let assignment = json!({"department_id": departments[random(3)], "job_id": job, "manager_id": ids[random(ids.len())],
                        "location_id": places[random(4)]});
                    let day = ["2015-01-01", "2023-01-01", "2099-01-01", &near[2], &near[3]][random(5)];
                    ("rehire", json!({"hire_date": day, "assignment": assignment}))
                }
                _ => {
                    let changes = json!({"department_id": departments[random(3)], "manager_id": ids[random(ids.len())],
                        "location_id": places[random(4)]});
                    let day = ["2011-01-01", "2020-01-01", "2097-06-01", &near[1], &near[2], &near[3], &near[4]][random(7)];
                    ("assignment-changes", json!({"effective_on": day, "changes": changes, "reason": "transfer"}))
                }
            };
            let (status, answer) = company.post(&hr, &format!("/v1/employees/{id}/{path}"), &body).await;
            assert!(matches!(status, 200 | 422), "{path} {answer}");
        }
        ids.push(id);
    }
    // Rings, and managers who come after their people.
    for _ in 0..10 {
        let (who, manager) = (&ids[random(ids.len())], &ids[random(ids.len())]);
        let body = json!({"effective_on": "2025-01-01", "changes": {"manager_id": manager}, "reason": "transfer"});
        company.post(&hr, &format!("/v1/employees/{who}/assignment-changes"), &body).await;
    }
    company.system.settled(&company.hr).await;
    company.known(&company.token(&["probe"], None)).await;
    const ROOTS: [&str; 8] = ["ceo", "head", "smith", "r3", "r4", "r5", "r6", "r7"];
    for root in &ROOTS[3..] {
        let id = ids[random(ids.len())].clone();
        company.people.insert(root, id);
    }
    let (mut reached, mut beyond) = (0, 0);
    for (role, root) in ROOTS.map(|root| ("lead", root)).into_iter().chain([("partner", "ceo")]) {
        let token = company.token(&[role], Some(root));
        for id in &ids {
            let path = format!("/v1/access/explain?class=personal&action=change&employee={id}");
            let (read, why) = company.get(&token, &path).await;
            let body = json!({"effective_on": "2100-01-01", "changes": {"phone": format!("+43{:07}", random(9_999_999))}});
            let (status, answer) = company.post(&token, &format!("/v1/employees/{id}/contact-details"), &body).await;
            let allowed = match status {
                200 => true,
                404 => false,
                // Who has left is let in by neither.
                401 if read == 401 => continue,
                _ => panic!("{read} {why}, {status} {answer}"),
            };
            days.check(&why["allowed"].as_bool(), &Some(allowed), &format!("{role} of {root} and {id}: {why} {answer}"));
            if allowed { reached += 1 } else { beyond += 1 }
        }
    }
    assert!(reached > 30 && beyond > 30, "{reached} reached and {beyond} beyond: the careers are too alike to tell anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_put_somebody_out_of_reach_gets_the_first_answer_again() {
    let company = Company::new("again").await;
    let owner = company.token(&["owner"], None);
    let role = json!({"name": "line-lead", "permissions": [
        {"action": "read", "class": "directory", "reach": "line"}, {"action": "change", "class": "directory", "reach": "line"}]});
    company.must(&owner, "/v1/roles", &role).await;
    let lead = company.token(&["line-lead"], Some("head"));
    company.may_change(&lead, "termination").await;
    let path = format!("/v1/employees/{}/termination", company.people["rep"]);
    let leaves = json!({"last_day_worked": "2020-06-30", "reason": "resignation"});
    let (status, first) = company.system.post(&lead, &path, "leaves", &leaves).await;
    assert_eq!(status, 200, "{first}");
    // Who left is in no line. A line looks at what is a second old at most.
    eventually("who left is out of reach", async || company.system.post(&lead, &path, "other", &leaves).await.0 == 404).await;
    let (status, again) = company.system.post(&lead, &path, "leaves", &leaves).await;
    assert_eq!((status, &again["events"], &again["version"], &again["replayed"]), (200, &first["events"], &first["version"], &json!(true)));
    // Not for another body, nor for anybody else.
    let other = json!({"last_day_worked": "2020-06-29", "reason": "resignation"});
    assert_eq!(company.system.post(&lead, &path, "leaves", &other).await.0, 404);
    let stranger = company.token(&["line-lead"], Some("smith"));
    assert_eq!(company.system.post(&stranger, &path, "leaves", &leaves).await.0, 404);
}
