//! Access ends with the last day of the employment: at log-in, at refresh and for tokens that are out, at both APIs; and with it what
//! the leaver's line and delegations let others do.

use std::time::Duration;

use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{access::Company, contract::checked, servers::eventually};

const PASSWORD: &str = "correct horse battery staple";

fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

/// When somebody works, and whether they get in today.
struct Case {
    name: &'static str,
    hired: Date,
    last_day: Option<Date>,
    rehired: Option<Date>,
    gets_in: bool,
}

fn cases(day: Date) -> Vec<Case> {
    let (past, long_ago) = (day - 3.years(), day - 2.years());
    let case = |name, hired, last_day, rehired, gets_in| Case { name, hired, last_day, rehired, gets_in };
    vec![
        case("stays", past, None, None, true),
        case("leaves-tomorrow", past, Some(day + 1.day()), None, true),
        case("last-day-today", past, Some(day), None, true),
        case("left-yesterday", past, Some(day - 1.day()), None, false),
        case("left-long-ago", past, Some(long_ago), None, false),
        case("starts-today", day, None, None, true),
        case("starts-later", day + 30.days(), None, None, true),
        case("one-day-today", day, Some(day), None, true),
        case("one-day-long-ago", past, Some(past), None, false),
        case("back-today", past, Some(long_ago), Some(day), true),
        case("back-tomorrow", past, Some(long_ago), Some(day + 1.day()), false),
        case("left-twice", past, Some(long_ago), Some(long_ago + 10.days()), true),
    ]
}

impl Company {
    async fn hires(&mut self, name: &'static str, hired: Date, manager: Option<&str>) {
        let manager = manager.map(|manager| self.people[manager].clone());
        let body = json!({"hire_date": hired, "employee_number": name,
            "person": {"given_name": name, "family_name": "Leaver"},
            "contact": {"work_email": format!("{name}@work.example")},
            "assignment": {"department_id": self.departments["works"], "job_id": self.job, "manager_id": manager},
            "pay": {"rate": {"amount": "1000", "currency": "EUR"}, "per": "month"}});
        let id = self.must(&self.hr, "/v1/employees", &body).await;
        self.people.insert(name, id);
    }
    pub(crate) async fn leaves(&self, name: &str, last_day: Date) {
        let body = json!({"last_day_worked": last_day, "reason": "resignation"});
        self.must(&self.hr, &format!("/v1/employees/{}/termination", self.people[name]), &body).await;
    }
    async fn returns(&self, name: &str, first_day: Date) {
        let assignment = json!({"department_id": self.departments["works"], "job_id": self.job});
        let pay = json!({"rate": {"amount": "1000", "currency": "EUR"}, "per": "month"});
        let body = json!({"hire_date": first_day, "assignment": assignment, "pay": pay});
        self.must(&self.hr, &format!("/v1/employees/{}/rehire", self.people[name]), &body).await;
    }
    /// Without a token, at the tenant's host.
    pub(crate) async fn open(&self, path: &str, body: &Value) -> (u16, Value) {
        let request =
            self.system.client.post(format!("{}{path}", self.system.command_api)).header("host", format!("{}.localhost", self.slug));
        checked(&reqwest::Method::POST, request.json(body).send().await.unwrap()).await
    }
    pub(crate) async fn log_in(&self, name: &str) -> (u16, Value) {
        self.open("/v1/auth/login", &json!({"email": format!("{name}@work.example"), "password": PASSWORD})).await
    }
    /// An active user who is this person; the id.
    pub(crate) async fn user(&self, owner: &str, name: &str, roles: &[&str]) -> String {
        let body = json!({"email": format!("{name}@work.example"), "roles": roles, "employee_id": self.people[name]});
        let (status, invited) = self.post(owner, "/v1/users", &body).await;
        assert_eq!(status, 201, "{invited}");
        assert_eq!(self.open("/v1/auth/activation", &json!({"ticket": invited["ticket"], "password": PASSWORD})).await.0, 204);
        invited["user_id"].as_str().unwrap().to_owned()
    }
    pub(crate) async fn me(&self, token: &str) -> (u16, Value) {
        let request = self.system.client.get(format!("{}/v1/auth/me", self.system.command_api)).bearer_auth(token);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }
    /// The pay of somebody as this token sees it, and whether it may send a command about them.
    async fn reaches(&self, token: &str, name: &str) -> (bool, bool) {
        let (status, person) = self.get(token, &format!("/v1/employees/{}", self.people[name])).await;
        assert_eq!(status, 200, "{person}");
        let path = format!("/v1/employees/{}/assignment-changes", self.people[name]);
        // Refused by a rule, if the person is there for who asks.
        let (status, answer) =
            self.post(token, &path, &json!({"effective_on": "1999-01-01", "changes": {"location_id": null}, "reason": "transfer"})).await;
        assert!(matches!(status, 403 | 404 | 422), "{status} {answer}");
        (!person["pay"].is_null(), status == 422)
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}")).to_owned()
}

/// Case 1: somebody who left gets in no more, and on the last day all works.
#[tokio::test(flavor = "multi_thread")]
async fn access_ends_with_the_last_day_of_the_employment() {
    let day = today();
    let mut company = Company::new("leave").await;
    let owner = company.system.token(&company.slug, "owner");
    for case in cases(day) {
        company.hires(case.name, case.hired, None).await;
        company.user(&owner, case.name, &["employee"]).await;
    }
    let mut tokens = Vec::new();
    for case in cases(day) {
        let (status, answer) = company.log_in(case.name).await;
        assert_eq!(status, 200, "{answer}");
        // Whoever sees everything by the rules sees it as fast as before: it is asked along with what is read.
        let whole = company.token(&["hr"], Some(case.name));
        tokens.push((answer, whole));
    }
    for case in cases(day) {
        if let Some(last_day) = case.last_day {
            company.leaves(case.name, last_day).await;
        }
        if let Some(rehired) = case.rehired {
            company.returns(case.name, rehired).await;
        }
    }
    company.system.settled(&company.hr).await;
    tokio::time::sleep(Duration::from_secs(2)).await; // How old what command-api knows of an employment may be.
    for (case, (log_in, whole)) in cases(day).iter().zip(&tokens) {
        let name = case.name;
        let (own, refresh) = (text(log_in, "access_token"), json!({"refresh_token": log_in["refresh_token"]}));
        let id = &company.people[name];
        for token in [&own, whole] {
            let expected = if case.gets_in { 200 } else { 401 };
            for path in [
                "/v1/departments".to_owned(),
                "/v1/employees".to_owned(),
                format!("/v1/employees/{id}"),
                "/v1/org-chart".to_owned(),
                "/v1/reports/headcount?group_by=month".to_owned(),
                "/v1/reports/headcount?group_by=department".to_owned(),
                "/v1/access/explain?class=directory".to_owned(),
            ] {
                let (status, answer) = company.get(token, &path).await;
                assert_eq!(status, expected, "{name} {path}: {answer}");
                assert!(case.gets_in || answer["error"] == "invalid_token", "{name} {path}: {answer}");
            }
            let (status, answer) = company.get(token, &format!("/v1/employees/{id}/events")).await;
            assert!(if case.gets_in { matches!(status, 200 | 404) } else { status == 401 }, "{name} events: {status} {answer}");
            assert_eq!(company.me(token).await.0, expected, "{name}");
            let (status, answer) = company
                .post(
                    token,
                    &format!("/v1/employees/{id}/contact-details"),
                    &json!({"effective_on": "1999-01-01", "changes": {"phone": "+1 2"}}),
                )
                .await;
            assert_eq!(status == 401, !case.gets_in, "{name}: {status} {answer}");
        }
        let (status, answer) = company.open("/v1/auth/refresh", &refresh).await;
        assert_eq!(
            (status, answer["error"].as_str()),
            if case.gets_in { (200, None) } else { (401, Some("access_ended")) },
            "{name}: {answer}"
        );
        let (status, answer) = company.log_in(name).await;
        assert_eq!(
            (status, answer["error"].as_str()),
            if case.gets_in { (200, None) } else { (401, Some("invalid_credentials")) },
            "{name}: {answer}"
        );
        if today() != day {
            return; // Midnight: what is true is another thing now.
        }
    }
}

/// A line is empty and a delegation ends at once; an owner alone lets somebody in for longer.
#[tokio::test(flavor = "multi_thread")]
async fn who_left_leads_nobody_and_nobody_acts_for_them() {
    let day = today();
    let mut company = Company::new("lead").await;
    let owner = company.system.token(&company.slug, "owner");
    let class = |action: &str, class: &str, reach: &str| json!({"action": action, "class": class, "reach": reach});
    let lead = json!({"name": "lead", "permissions": [class("read", "directory", "all"), class("read", "pay", "line"), class("change", "directory", "line")]});
    assert_eq!(company.post(&owner, "/v1/roles", &lead).await.0, 204);
    let helpdesk = json!({"name": "helpdesk", "permissions": [], "duties": ["manage_users"]});
    assert_eq!(company.post(&owner, "/v1/roles", &helpdesk).await.0, 204);
    for (boss, report) in [("boss-stays", "report-stays"), ("boss-leaves", "report-leaves")] {
        company.hires(boss, day - 3.years(), None).await;
        company.hires(report, day - 2.years(), Some(boss)).await;
    }
    company.system.settled(&company.hr).await;
    tokio::time::sleep(Duration::from_secs(3)).await; // The roles are known everywhere.
    let until = (Timestamp::now() + 10.hours()).to_string();
    let mut tokens = Vec::new();
    for boss in ["boss-stays", "boss-leaves"] {
        let user = company.user(&owner, boss, &["lead"]).await;
        let (status, answer) = company.log_in(boss).await;
        assert_eq!(status, 200, "{answer}");
        let token = text(&answer, "access_token");
        let stand_in = format!("test-{}", if boss == "boss-stays" { "ceo" } else { "smith" });
        let (status, answer) = company.post(&token, "/v1/delegations", &json!({"to": stand_in, "roles": ["lead"], "ends_at": until})).await;
        assert_eq!(status, 201, "{answer}");
        tokens.push((token, user));
    }
    let stand_ins = [company.token(&["employee"], Some("ceo")), company.token(&["employee"], Some("smith"))];
    let all = (true, true);
    for (n, report) in ["report-stays", "report-leaves"].into_iter().enumerate() {
        assert_eq!(company.reaches(&tokens[n].0, report).await, all, "{report}");
        eventually("the delegation is known", async || company.reaches(&stand_ins[n], report).await == all).await;
    }
    company.leaves("boss-leaves", day - 1.day()).await;
    company.system.settled(&company.hr).await;
    eventually("nobody acts for who left", async || company.reaches(&stand_ins[1], "report-leaves").await == (false, false)).await;
    assert_eq!(company.reaches(&stand_ins[0], "report-stays").await, all, "the other delegation stands");
    assert_eq!(company.reaches(&tokens[0].0, "report-stays").await, all);
    let (left, user) = &tokens[1];
    eventually("who left is out", async || company.get(left, "/v1/departments").await.0 == 401 && company.me(left).await.0 == 401).await;
    // Not by oneself, not by who may do less than an owner, not about nobody.
    let path = |user: &str| format!("/v1/users/{user}/access-after-leaving");
    let (keep, end) = (json!({"keeps_access": true}), json!({"keeps_access": false}));
    let helpdesk = company.system.token(&company.slug, "helpdesk");
    for token in [&helpdesk, &company.hr, &tokens[0].0] {
        assert_eq!(company.post(token, &path(user), &keep).await.0, 403);
    }
    assert_eq!(company.post(&owner, &path(&Uuid::now_v7().to_string()), &keep).await.0, 404);
    let (status, answer) = company.post(&owner, &path(user), &keep).await;
    assert_eq!((status, &answer["keeps_access_after_leaving"]), (200, &json!(true)), "{answer}");
    eventually("access goes on", async || company.get(left, "/v1/departments").await.0 == 200 && company.me(left).await.0 == 200).await;
    assert_eq!(company.log_in("boss-leaves").await.0, 200);
    assert_eq!(company.reaches(left, "report-leaves").await, (false, false), "who left leads nobody");
    // And until it is said otherwise, or the user is another person.
    assert_eq!(company.post(&owner, &path(user), &end).await.1["keeps_access_after_leaving"], false);
    eventually("access ends", async || company.get(left, "/v1/departments").await.0 == 401 && company.me(left).await.0 == 401).await;
    assert_eq!(company.post(&owner, &path(user), &keep).await.0, 200);
    let other = json!({"roles": ["lead"], "employee_id": company.people["former"]});
    let (status, answer) = company.post(&owner, &format!("/v1/users/{user}/roles"), &other).await;
    assert_eq!((status, &answer["keeps_access_after_leaving"]), (200, &json!(false)), "{answer}");
    // Other roles alone leave the user who they are; only null says that they are nobody here.
    for (change, person) in [(json!({"roles": []}), company.people["former"].as_str()), (json!({"roles": [], "employee_id": null}), "")] {
        let (status, answer) = company.post(&owner, &format!("/v1/users/{user}/roles"), &change).await;
        assert_eq!((status, answer["employee_id"].as_str().unwrap_or_default()), (200, person), "{answer}");
    }
    let url = format!("{}/v1/identity-audit", company.system.command_api);
    let audit = company.system.client.get(url).bearer_auth(&owner).send().await.unwrap().text().await.unwrap();
    assert!(audit.contains("keep_access_after_leaving") && audit.contains("end_access_with_employment"), "{audit}");
}

/// What somebody delegated before they left stays ended when they are hired again; what they delegate then counts.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_hired_again_has_delegated_nothing_until_they_do_it_again() {
    let day = today();
    let mut company = Company::new("again").await;
    let owner = company.system.token(&company.slug, "owner");
    let class = |action: &str, class: &str| json!({"action": action, "class": class, "reach": "all"});
    let lead = json!({"name": "lead", "permissions": [class("read", "directory"), class("read", "pay"), class("change", "directory")]});
    assert_eq!(company.post(&owner, "/v1/roles", &lead).await.0, 204);
    company.hires("boss", day - 3.years(), None).await;
    company.hires("report", day - 2.years(), None).await;
    company.system.settled(&company.hr).await;
    company.user(&owner, "boss", &["lead"]).await;
    let until = (Timestamp::now() + 10.hours()).to_string();
    let delegates = async |to: &str| {
        let token = text(&company.log_in("boss").await.1, "access_token");
        let body = json!({"to": to, "roles": ["lead"], "ends_at": until});
        eventually("the giver may delegate", async || company.post(&token, "/v1/delegations", &body).await.0 == 201).await;
    };
    delegates("test-ceo").await;
    let stand_ins = [company.token(&["employee"], Some("ceo")), company.token(&["employee"], Some("smith"))];
    eventually("the delegation is known", async || company.reaches(&stand_ins[0], "report").await == (true, true)).await;
    // The delegation is made a month older. The processes read it again once something else of the tenant changes.
    let pool = company.system.pool().await;
    let long_ago = "update platform.delegation set made_at = made_at - interval '30 days', starts_at = starts_at - interval '30 days' where tenant_id = $1";
    sqlx::query(long_ago).bind(crate::servers::tenant_of(&owner).uuid()).execute(&pool).await.unwrap();
    pool.close().await;
    company.leaves("boss", day - 20.days()).await;
    company.returns("boss", day - 10.days()).await;
    company.system.settled(&company.hr).await;
    delegates("test-smith").await;
    eventually("what is delegated now counts", async || company.reaches(&stand_ins[1], "report").await == (true, true)).await;
    eventually("what was delegated before is ended", async || company.reaches(&stand_ins[0], "report").await == (false, false)).await;
}
