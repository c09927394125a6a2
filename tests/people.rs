//! People as a running system answers for them: lists page by page while others change them, employments that never began, names of
//! any script, and what a request may say.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{access::Company, servers::eventually};

fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

impl Company {
    /// A person of these names in a department; the id.
    async fn joins(&self, department: &str, given: &str, family: &str, on: impl ToString) -> String {
        let body = self.joiner(department, given, family, on);
        self.must(&self.hr, "/v1/employees", &body).await
    }
    fn joiner(&self, department: &str, given: &str, family: &str, on: impl ToString) -> Value {
        json!({"hire_date": on.to_string(), "employee_number": Uuid::now_v7().simple().to_string(),
            "person": {"given_name": given, "family_name": family},
            "assignment": {"department_id": self.departments[department], "job_id": self.job}})
    }
    async fn is_called(&self, id: &str, family: &str, from: impl ToString) {
        let body = json!({"effective_on": from.to_string(), "changes": {"family_name": family}});
        self.must(&self.hr, &format!("/v1/employees/{id}/personal-details"), &body).await;
    }
    async fn ends(&self, id: &str, last_day: Date) {
        let body = json!({"last_day_worked": last_day, "reason": "withdrawn"});
        self.must(&self.hr, &format!("/v1/employees/{id}/termination"), &body).await;
    }
    /// The rows that a token sees of a list, once the read model has what was recorded.
    async fn rows(&self, token: &str, list: &str) -> Vec<Value> {
        let (status, page) = self.get(token, list).await;
        assert_eq!(status, 200, "{list}: {page}");
        page["items"].as_array().unwrap().clone()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Case 33 and its kin: of the people of a list the one at the cursor gets another name, or goes out of sight. Whoever did not change
/// comes exactly once, in each list.
#[tokio::test(flavor = "multi_thread")]
async fn case_33_a_page_follows_the_page_before_whatever_became_of_its_last_row() {
    let company = Company::new("pages").await;
    let hired = |status: &str| if status == "not_yet_hired" { today() + 40.days() } else { Date::constant(2015, 1, 1) };
    for (n, (status, filter, renamed)) in [
        ("active", "&department={works}", "Zulu"),
        ("active", "&department={works}", "Aab"),
        ("active", "", "Zulu"),
        ("active", "&q=page", "Zulu"),
        ("active", "&job={job}&include=", "Aab"),
        ("not_yet_hired", "", "Zulu"),
        ("terminated", "&q=page", "Aab"),
        ("terminated", "&department={works}", "Zulu"),
    ]
    .into_iter()
    .enumerate()
    {
        // Each round has people of its own, told by their given name.
        let given = format!("Page{n}");
        let mut ids = BTreeMap::new();
        for family in ["Adams", "Baker", "Clark", "Davis", "Evans", "Fox"] {
            let id = company.joins("works", &given, family, hired(status)).await;
            if status == "terminated" {
                company.ends(&id, Date::constant(2016, 1, 1)).await;
            }
            ids.insert(family, id);
        }
        company.system.settled(&company.hr).await;
        let filter = filter.replace("{works}", &company.departments["works"]).replace("{job}", &company.job).replace("&include=", "");
        let list = format!("/v1/employees?status={status}{filter}");
        let (mut seen, mut cursor, mut changed) = (Vec::new(), String::new(), false);
        loop {
            let (answered, page) = company.get(&company.hr, &format!("{list}&limit=3{cursor}")).await;
            assert_eq!(answered, 200, "{list}: {page}");
            let rows = page["items"].as_array().unwrap();
            seen.extend(rows.iter().map(|row| text(&row["employee_id"])));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
            let last = rows.last().unwrap();
            if !changed && ids.values().any(|id| *id == text(&last["employee_id"])) && text(&last["given_name"]) == given {
                company.is_called(&text(&last["employee_id"]), renamed, hired(status)).await;
                company.system.settled(&company.hr).await;
                ids.retain(|_, id| *id != text(&last["employee_id"]));
                changed = true;
            }
        }
        assert!(changed, "{list}: no page ended with one of these people");
        for (family, id) in ids {
            assert_eq!(seen.iter().filter(|seen| **seen == id).count(), 1, "{family} of {list} after {renamed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_follows_one_whose_last_row_went_out_of_sight() {
    let company = Company::new("sight").await;
    let owner = company.token(&["owner"], None);
    let read = json!({"action": "read", "class": "directory", "reach": {"department": company.departments["works"]}});
    company.must(&owner, "/v1/roles", &json!({"name": "works-reader", "permissions": [read]})).await;
    let mut ids = Vec::new();
    for family in ["Adams", "Baker", "Clark", "Davis", "Evans", "Fox"] {
        ids.push(company.joins("works", "Page", family, "2015-01-01").await);
    }
    company.system.settled(&company.hr).await;
    let reader = company.token(&["works-reader"], None);
    eventually("the role is known", async || company.get(&reader, "/v1/employees").await.0 == 200).await;
    let (_, page) = company.get(&reader, "/v1/employees?q=page&limit=3").await;
    let moved = json!({"effective_on": "2015-01-01", "changes": {"department_id": company.departments["sales"]}, "reason": "transfer"});
    company.must(&company.hr, &format!("/v1/employees/{}/assignment-changes", ids[2]), &moved).await;
    company.system.settled(&company.hr).await;
    assert_eq!(company.get(&reader, &format!("/v1/employees/{}", ids[2])).await.0, 404, "out of sight");
    let next = format!("/v1/employees?q=page&limit=3&cursor={}", page["next_cursor"].as_str().unwrap());
    let rest: Vec<String> = company.rows(&reader, &next).await.iter().map(|row| text(&row["family_name"])).collect();
    assert_eq!(rest, ["Davis", "Evans", "Fox"]);
}

/// Names as long and as odd as they may be are no trouble for a cursor, and nobody reads them in one.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_holds_any_name_and_shows_none() {
    let company = Company::new("cursor").await;
    let long = "𝒩".repeat(100);
    for (given, family) in
        [(long.as_str(), long.as_str()), ("Zoë", ""), ("Nul", "Qq"), ("Secretive", "Qq"), ("Secretive", "Qq"), ("Ж", "Ж")]
    {
        company.joins("field", given, family, "2015-01-01").await;
    }
    company.system.settled(&company.hr).await;
    let list = format!("/v1/employees?department={}", company.departments["field"]);
    let whole: Vec<String> = company.rows(&company.hr, &list).await.iter().map(|row| text(&row["employee_id"])).collect();
    let (mut seen, mut cursor, mut cursors) = (Vec::new(), String::new(), BTreeSet::new());
    loop {
        let (status, page) = company.get(&company.hr, &format!("{list}&limit=1{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        seen.extend(page["items"].as_array().unwrap().iter().map(|row| text(&row["employee_id"])));
        let Some(next) = page["next_cursor"].as_str() else { break };
        assert_eq!(
            company.get(&company.hr, &format!("{list}&limit=1{cursor}")).await.1["next_cursor"],
            next,
            "the same page, the same cursor"
        );
        let clear = URL_SAFE_NO_PAD.decode(next).unwrap_or_else(|_| next.as_bytes().to_vec());
        for name in ["Qq", "Secretive", "Zoë", "Ж", "𝒩", "Test"] {
            assert!(!clear.windows(name.len()).any(|part| part == name.as_bytes()), "{name} stands in a cursor");
        }
        assert!(cursors.insert(next.to_owned()));
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, whole);
    // What is altered anywhere is refused.
    let good = cursors.last().unwrap();
    for at in (0..good.len()).step_by(7) {
        let mut altered = good.clone().into_bytes();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(altered).unwrap();
        let (status, problem) = company.get(&company.hr, &format!("{list}&limit=1&cursor={altered}")).await;
        assert_eq!((status, problem["error"].as_str()), (400, Some("invalid_cursor")), "{altered}");
    }
}
