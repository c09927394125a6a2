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
    async fn begins_again(&self, id: &str, on: Date) -> (u16, Value) {
        let body = json!({"hire_date": on, "assignment": {"department_id": self.departments["works"], "job_id": self.job}});
        self.post(&self.hr, &format!("/v1/employees/{id}/rehire"), &body).await
    }
    /// The rows that a token sees of a list, once the read model has what was recorded.
    async fn rows(&self, token: &str, list: &str) -> Vec<Value> {
        let (status, page) = self.get(token, list).await;
        assert_eq!(status, 200, "{list}: {page}");
        page["items"].as_array().unwrap().clone()
    }
    /// The family names of a list, in its order.
    async fn families(&self, list: &str) -> Vec<String> {
        let name = |row: &Value| row["family_name"].as_str().unwrap_or_default().to_owned();
        self.rows(&self.hr, list).await.iter().map(name).collect()
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

/// An employment as it was recorded: its first day, and its last one where it has one. One whose last day is the eve of its first
/// never began.
type Period = (Date, Option<Date>);

fn began(period: &Period) -> bool {
    period.1.is_none_or(|last| period.0 <= last)
}

/// What docs/queries.md says of where somebody stands on a day.
fn status_on(periods: &[Period], day: Date) -> &'static str {
    let begun: Vec<&Period> = periods.iter().filter(|period| began(period)).collect();
    if begun.iter().any(|(from, last)| *from <= day && last.is_none_or(|last| day <= last)) {
        "active"
    } else if !begun.is_empty() && begun.iter().all(|(from, _)| *from > day) {
        "not_yet_hired"
    } else {
        "terminated"
    }
}

const STATUSES: [&str; 3] = ["active", "not_yet_hired", "terminated"];

#[tokio::test(flavor = "multi_thread")]
async fn who_never_began_has_no_part_in_what_is_and_makes_room() {
    let company = Company::new("never").await;
    let (hr, day) = (company.hr.clone(), today());
    let partner = json!({"name": "works-hr", "permissions": [
        {"action": "read", "class": "directory", "reach": {"department": company.departments["works"]}},
        {"action": "read", "class": "pay", "reach": {"department": company.departments["works"]}},
        {"action": "change", "class": "pay", "reach": {"department": company.departments["works"]}},
        {"action": "change", "class": "directory", "reach": {"department": company.departments["works"]}}]});
    let owner = company.token(&["owner"], None);
    company.must(&owner, "/v1/roles", &partner).await;

    // Withdrawn, and nothing else.
    let gone = company.joins("works", "With", "Drawn", day + 30.days()).await;
    company.ends(&gone, day + 29.days()).await;
    // Put off, and brought forward.
    let put_off = company.joins("works", "Put", "Off", day + 10.days()).await;
    company.ends(&put_off, day + 9.days()).await;
    assert_eq!(company.begins_again(&put_off, day + 60.days()).await.0, 200);
    let forward = company.joins("works", "For", "Ward", day + 60.days()).await;
    company.ends(&forward, day + 59.days()).await;
    let (status, answer) = company.begins_again(&forward, day + 10.days()).await;
    assert_eq!(status, 200, "an offer before the old day: {answer}");
    // Had left, was to come back and did not.
    let back = company.joins("works", "Not", "Back", "2015-01-01").await;
    company.ends(&back, "2018-12-31".parse().unwrap()).await;
    assert_eq!(company.begins_again(&back, day + 30.days()).await.0, 200);
    company.ends(&back, day + 29.days()).await;
    company.system.settled(&hr).await;

    let careers: [(&str, &[Period], [&str; 2]); 4] = [
        (&gone, &[(day + 30.days(), Some(day + 29.days()))], [&(day + 30.days()).to_string(), &(day + 30.days()).to_string()]),
        (
            &put_off,
            &[(day + 10.days(), Some(day + 9.days())), (day + 60.days(), None)],
            [&(day + 60.days()).to_string(), &(day + 60.days()).to_string()],
        ),
        (
            &forward,
            &[(day + 60.days(), Some(day + 59.days())), (day + 10.days(), None)],
            [&(day + 10.days()).to_string(), &(day + 10.days()).to_string()],
        ),
        (
            &back,
            &[("2015-01-01".parse().unwrap(), Some("2018-12-31".parse().unwrap())), (day + 30.days(), Some(day + 29.days()))],
            ["2015-01-01", "2015-01-01"],
        ),
    ];
    let reader = company.token(&["works-hr"], None);
    eventually("the role is known", async || company.get(&reader, "/v1/employees").await.0 == 200).await;
    for (id, periods, [original, starts_on]) in careers {
        for n in [-1, 0, 9, 10, 11, 29, 30, 31, 59, 60, 61] {
            let on = day + n.days();
            let expected = status_on(periods, on);
            for token in [&hr, &reader] {
                let (status, person) = company.get(token, &format!("/v1/employees/{id}?as_of={on}")).await;
                assert_eq!(status, 200, "{id} on {on}: {person}");
                assert_eq!(person["status"], expected, "{id} on {on}");
                assert_eq!(
                    (&person["original_hire_date"], &person["employment"]["starts_on"]),
                    (&json!(original), &json!(starts_on)),
                    "{id} on {on}"
                );
                assert_eq!(person["assignment"].is_object(), expected == "active", "{id} on {on}");
                assert!(person["person"]["family_name"].is_string(), "{id} on {on}");
                for filter in [String::new(), format!("&department={}", company.departments["works"]), format!("&job={}&q=a", company.job)]
                {
                    // The names of all of them hold an "a", but one's.
                    if filter.contains("q=a") && !["Ward", "Drawn", "Back"].contains(&text(&person["person"]["family_name"]).as_str()) {
                        continue;
                    }
                    for status in STATUSES {
                        let list = format!("/v1/employees?as_of={on}&status={status}&limit=200{filter}");
                        let rows = company.rows(token, &list).await;
                        let found: Vec<_> = rows.iter().filter(|row| row["employee_id"] == *id).collect();
                        assert_eq!(found.len(), usize::from(status == expected), "{id} in {list}");
                        if let Some(row) = found.first() {
                            assert_eq!(row["status"], status, "{id} in {list}");
                            assert_eq!(row["department"]["id"], *company.departments["works"], "{id} in {list}");
                        }
                    }
                }
            }
        }
    }
    // Department-scoped HR reaches whom it withdrew.
    let body = json!({"hire_date": day + 50.days(), "assignment": {"department_id": company.departments["works"], "job_id": company.job}});
    let id = company.joins("works", "Again", "Offered", day + 30.days()).await;
    company.ends(&id, day + 29.days()).await;
    let (status, answer) = company.post(&reader, &format!("/v1/employees/{id}/rehire"), &body).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_held_who_never_began_is_free() {
    let company = Company::new("freed").await;
    let (hr, day) = (company.hr.clone(), today());
    let mut offer = company.joiner("works", "With", "Drawn", day + 30.days());
    offer["employee_number"] = json!("N-1");
    offer["contact"] = json!({"work_email": "with@drawn.example"});
    let gone = company.must(&hr, "/v1/employees", &offer).await;
    company.ends(&gone, day + 29.days()).await;
    // Number and address are free for somebody else, and then not for who comes back.
    offer["person"]["family_name"] = json!("Other");
    let (status, other) = company.post(&hr, "/v1/employees", &offer).await;
    assert_eq!(status, 201, "{other}");
    let (status, taken) = company.begins_again(&gone, day + 5.days()).await;
    assert_eq!((status, taken["error"].as_str()), (409, Some("employee_number_taken")), "{taken}");
    // Who did begin keeps both.
    let mut leaver = company.joiner("works", "Did", "Begin", "2015-01-01");
    leaver["employee_number"] = json!("N-2");
    leaver["contact"] = json!({"work_email": "did@begin.example"});
    let begun = company.must(&hr, "/v1/employees", &leaver).await;
    company.ends(&begun, "2018-12-31".parse().unwrap()).await;
    assert_eq!(company.begins_again(&begun, day + 30.days()).await.0, 200);
    company.ends(&begun, day + 29.days()).await;
    leaver["person"]["family_name"] = json!("Other");
    assert_eq!(company.post(&hr, "/v1/employees", &leaver).await.1["error"], "employee_number_taken");
    // Whoever withdraws and is offered again holds them again.
    let mut twice = company.joiner("works", "Twice", "Offered", day + 30.days());
    twice["employee_number"] = json!("N-3");
    let id = company.must(&hr, "/v1/employees", &twice).await;
    company.ends(&id, day + 29.days()).await;
    assert_eq!(company.begins_again(&id, day + 20.days()).await.0, 200);
    twice["person"]["family_name"] = json!("Other");
    assert_eq!(company.post(&hr, "/v1/employees", &twice).await.1["error"], "employee_number_taken");
}

/// Careers at random: each person is on each day in exactly the list that a naive reading of what was accepted says, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn on_every_day_a_person_stands_in_the_list_of_their_status() {
    let company = Company::new("status").await;
    let mut random = fastrand::Rng::with_seed(25);
    let (hr, day) = (company.hr.clone(), today());
    let mut careers: BTreeMap<String, Vec<Period>> = BTreeMap::new();
    for n in 0..25 {
        let first = day + random.i32(-12..12).days();
        let id = company.joins("works", &format!("C{n}"), "Career", first).await;
        let mut periods: Vec<Period> = vec![(first, None)];
        for _ in 0..random.usize(0..7) {
            if periods.last().unwrap().1.is_none() {
                let last = if random.bool() { periods.last().unwrap().0 - 1.day() } else { day + random.i32(-15..15).days() };
                let body = json!({"last_day_worked": last, "reason": "r"});
                if company.post(&hr, &format!("/v1/employees/{id}/termination"), &body).await.0 == 200 {
                    periods.last_mut().unwrap().1 = Some(last);
                }
            } else {
                let from = day + random.i32(-15..15).days();
                let after = periods.iter().filter(|period| began(period)).all(|(_, last)| last.is_some_and(|last| last < from));
                let (status, answer) = company.begins_again(&id, from).await;
                assert_eq!(status == 200, after, "{periods:?} and from {from}: {answer}");
                if status == 200 {
                    periods.push((from, None));
                }
            }
        }
        careers.insert(id, periods);
    }
    company.system.settled(&hr).await;
    for on in (-17..17).map(|n| day + n.days()) {
        let mut listed: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for status in STATUSES {
            for row in company.rows(&hr, &format!("/v1/employees?as_of={on}&status={status}&q=career&limit=200")).await {
                assert_eq!(row["status"], status);
                listed.entry(text(&row["employee_id"])).or_default().push(status);
            }
        }
        for (id, periods) in &careers {
            let expected = status_on(periods, on);
            assert_eq!(listed.get(id).map(Vec::as_slice), Some(&[expected][..]), "{periods:?} on {on}");
            let person = company.get(&hr, &format!("/v1/employees/{id}?as_of={on}")).await.1;
            assert_eq!(person["status"], expected, "{periods:?} on {on}");
            let first = periods.iter().filter(|period| began(period)).map(|(from, _)| *from).min();
            if let Some(first) = first {
                assert_eq!(person["original_hire_date"], first.to_string(), "{periods:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_query_says_is_answered_or_refused_and_never_ignored() {
    let company = Company::new("said").await;
    let (status, problem) = company.get(&company.hr, "/v1/employees?include_subdepartments=false").await;
    assert_eq!(
        (status, &problem["error"], &problem["errors"][0]["pointer"]),
        (400, &json!("invalid_parameter"), &json!("/include_subdepartments"))
    );
    let sales = &company.departments["sales"];
    assert_eq!(company.get(&company.hr, &format!("/v1/employees?department={sales}&include_subdepartments=false")).await.0, 200);
    // Any number of words, in a hundred characters.
    company.joins("works", "a b c d e f g h i", "Manywords", "2015-01-01").await;
    company.system.settled(&company.hr).await;
    assert_eq!(company.families("/v1/employees?q=a+b+c+d+e+f+g+h+i+manywords").await, ["Manywords"]);
    assert!(company.families("/v1/employees?q=a+b+c+d+e+f+g+h+j+z+manywords").await.is_empty());
    // An id is the same in capitals.
    let rep = &company.people["rep"];
    for path in
        ["/v1/employees/{}", "/v1/employees/{}/history", "/v1/employees/{}/events", "/v1/org-chart?root={}", "/v1/employees?manager={}"]
    {
        let (small, capital) = (path.replace("{}", rep), path.replace("{}", &rep.to_uppercase()));
        assert_eq!(company.get(&company.hr, &small).await, company.get(&company.hr, &capital).await, "{path}");
    }
    assert_eq!(company.get(&company.hr, &format!("/v1/employees?department={}", sales.to_uppercase())).await.0, 200);
    let raise = json!({"effective_on": "2020-01-01", "pay": {"rate": {"amount": "1", "currency": "EUR"}, "per": "hour"}, "reason": "r"});
    let (status, answer) = company.post(&company.hr, &format!("/v1/employees/{}/compensation-changes", rep.to_uppercase()), &raise).await;
    assert_eq!((status, &answer["id"]), (200, &json!(rep)), "{answer}");
    let moved = json!({"effective_on": "2020-01-01", "changes": {"department_id": sales.to_uppercase()}, "reason": "r"});
    let (status, answer) = company.post(&company.hr, &format!("/v1/employees/{rep}/assignment-changes"), &moved).await;
    assert_eq!(status, 200, "{answer}");
}

/// Amounts come back with the digits of their currency.
#[tokio::test(flavor = "multi_thread")]
async fn amounts_have_the_digits_of_their_currency() {
    let company = Company::new("amounts").await;
    let rep = &company.people["rep"];
    for (n, (sent, currency, shown)) in [
        ("4200.50", "EUR", "4200.50"),
        ("4200.5", "EUR", "4200.50"),
        ("4200", "EUR", "4200.00"),
        ("0", "EUR", "0.00"),
        ("4200", "JPY", "4200"),
        ("1.234", "KWD", "1.234"),
        ("1.2", "KWD", "1.200"),
    ]
    .into_iter()
    .enumerate()
    {
        let on = format!("20{:02}-01-01", 10 + n);
        let raise = json!({"effective_on": on, "pay": {"rate": {"amount": sent, "currency": currency}, "per": "year"}, "reason": "r"});
        let (status, answer) = company.post(&company.hr, &format!("/v1/employees/{rep}/compensation-changes"), &raise).await;
        assert_eq!(status, 200, "{sent} {currency}: {answer}");
        company.system.settled(&company.hr).await;
        let pay = company.get(&company.hr, &format!("/v1/employees/{rep}?as_of={on}")).await.1["pay"].clone();
        assert_eq!((&pay["rate"], &pay["annual"]), (&json!(shown), &json!(shown)), "{sent} {currency}");
        let history = company.get(&company.hr, &format!("/v1/employees/{rep}/history")).await.1;
        let rows = history["compensations"].as_array().unwrap().iter().filter(|row| row["valid_from"] == *on);
        assert_eq!(rows.map(|row| row["rate"].clone()).collect::<Vec<_>>(), [shown], "{sent} {currency}");
    }
    for bad in ["1_000", "+5", "1,000.00", " 5", "5 ", "1e3", "", ".", "0x1", "-5", "5.", ".5", "٥"] {
        let pay = json!({"rate": {"amount": bad, "currency": "EUR"}, "per": "year"});
        let raise = json!({"effective_on": "2040-01-01", "pay": pay, "reason": "r"});
        let (status, answer) = company.post(&company.hr, &format!("/v1/employees/{rep}/compensation-changes"), &raise).await;
        assert!(status == 422 && text(&answer["errors"][0]["pointer"]).starts_with("/pay/rate"), "{bad:?}: {answer}");
    }
}

/// What two people send under one key are two commands.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_its_senders() {
    let company = Company::new("keys").await;
    let of = |subject: &str| {
        let token = company.system.tenure(&["token", "--tenant", &company.slug, "--subject", subject, "--role", "hr"]);
        token["token"].as_str().unwrap().to_owned()
    };
    let (ann, bob) = (of("ann"), of("bob"));
    let path = format!("/v1/employees/{}/compensation-changes", company.people["rep"]);
    let raise = |amount: &str| json!({"effective_on": "2020-01-01", "pay": {"rate": {"amount": amount, "currency": "EUR"}, "per": "year"}, "reason": "r"});
    let post = async |token: &str, path: &str, body: &Value| company.system.post(token, path, "key", body).await;
    let (status, first) = post(&ann, &path, &raise("1")).await;
    assert_eq!(status, 200, "{first}");
    // Another command, and the same one again, by somebody else.
    let (status, second) = post(&bob, &path, &raise("2")).await;
    assert_eq!((status, second["replayed"].as_bool(), second["events"].as_array().unwrap().len()), (200, Some(false), 1), "{second}");
    for (token, body, answer) in [(&ann, raise("1"), &first), (&bob, raise("2"), &second)] {
        let (status, again) = post(token, &path, &body).await;
        assert_eq!((status, &again["events"], again["replayed"].as_bool()), (200, &answer["events"], Some(true)), "{again}");
    }
    assert_eq!(post(&ann, &path, &raise("2")).await.1["error"], "idempotency_key_reused");
    // Two people who hire under one key hire two.
    let hires = [company.joiner("works", "A", "A", "2015-01-01"), company.joiner("works", "B", "B", "2015-01-01")];
    let ids = [
        company.system.post(&ann, "/v1/employees", "hire", &hires[0]).await.1["id"].clone(),
        company.system.post(&bob, "/v1/employees", "hire", &hires[1]).await.1["id"].clone(),
    ];
    assert_ne!(ids[0], ids[1]);
    // A refusal is its sender's as well.
    let missing = format!("/v1/employees/{}/compensation-changes", Uuid::now_v7());
    assert_eq!(company.system.post(&ann, &missing, "refused", &raise("1")).await.0, 404);
    assert_eq!(company.system.post(&bob, &path, "refused", &raise("3")).await.0, 200);
    // And in a batch.
    let line = |amount: &str| {
        json!({"command": "ChangeCompensation", "key": "line", "data": {"employee_id": company.people["head"],
        "effective_on": "2020-01-01", "pay": raise(amount)["pay"], "reason": "r"}})
    };
    for (token, amount) in [(&ann, "5"), (&bob, "6")] {
        let request = company.system.client.post(format!("{}/v1/batch", company.system.command_api)).bearer_auth(token);
        let request = request.header("content-type", "application/x-ndjson").body(format!("{}\n", line(amount)));
        let result: Value = serde_json::from_str(request.send().await.unwrap().text().await.unwrap().trim()).unwrap();
        assert_eq!((result["status"].as_u64(), result["replayed"].as_bool()), (Some(200), Some(false)), "{result}");
    }
}

/// Cases 25 to 30: names of any script come back as they were sent, and are found however they are typed.
#[tokio::test(flavor = "multi_thread")]
async fn cases_25_to_30_names_are_kept_as_sent_and_found_as_typed() {
    let company = Company::new("names").await;
    for (given, family, found, missed) in [
        ("ශ්\u{200D}රී", "ලංකා", vec!["ශ්\u{200D}රී", "ශ්රී"], vec![]),
        ("علی\u{200C}رضا", "رضایی", vec!["علی\u{200C}رضا", "علیرضا"], vec!["علی رضاا"]),
        ("忍", "葛\u{E0100}城", vec!["葛城", "葛\u{E0100}城", "忍"], vec!["葛木"]),
        ("José", "García", vec!["garcia", "GARCÍA", "JOSE", "josé", "Jose Garcia"], vec!["garza"]),
        ("Bartolo", "DÍAZ", vec!["díaz", "diaz", "DIAZ"], vec![]),
        ("Łukasz", "Søndergård", vec!["lukasz", "sondergard", "ŁUKASZ", "søndergård", "SONDERGARD"], vec!["lucasz"]),
        ("Jürgen", "Weiß", vec!["weiss", "WEISS", "weiß", "WEIẞ", "jurgen", "Ju\u{308}rgen"], vec![]),
        ("Ju\u{308}rgen", "Decomposed", vec!["Jürgen decomposed", "Ju\u{308}rgen decomposed", "jurgen decomposed"], vec![]),
        ("Οδυσσέας", "Παπαδόπουλος", vec!["ΟΔΥΣ", "οδυσσεας", "ΟΔΥΣΣΕΑΣ", "παπαδοπουλος"], vec![]),
        ("İpek", "Yıldız", vec!["ipek", "İPEK", "IPEK", "yildiz", "yıldız", "YILDIZ"], vec![]),
        ("Oksana", "Saienko", vec!["Sai", "Saienko Oksana", "oksana saienko"], vec![]),
        ("Kiran", "Mahale", vec!["Kiran Mahale", "mahale"], vec!["Kiran Mahala"]),
        ("Kiran", "Deshmukh", vec!["Kiran Deshmukh"], vec![]),
        ("Peter K", "Andersson", vec!["Peter Andersson", "andersson k"], vec![]),
        ("Åse", "Ærø-Þór", vec!["ase", "aero", "thor", "ÆRØ", "åse"], vec![]),
        ("Nguyễn", "Đặng", vec!["nguyen", "dang", "NGUYỄN"], vec![]),
        ("ﬁona", "Ｆｕｌｌ", vec!["fiona", "full"], vec![]),
    ] {
        let mut body = company.joiner("works", given, family, "2015-01-01");
        let mail = format!("m{}@work.example", Uuid::now_v7().simple());
        body["contact"] = json!({"work_email": mail});
        let (status, answer) = company.post(&company.hr, "/v1/employees", &body).await;
        assert_eq!(status, 201, "{given} {family}: {answer}");
        let id = text(&answer["id"]);
        company.system.settled(&company.hr).await;
        let person = company.get(&company.hr, &format!("/v1/employees/{id}")).await.1["person"].clone();
        assert_eq!((&person["given_name"], &person["family_name"]), (&json!(given), &json!(family)), "as sent");
        for (queries, expected) in [(found, true), (missed, false), (vec![mail.as_str(), &mail.to_uppercase()], true)] {
            for q in queries {
                let response = company.system.client.get(format!("{}/v1/employees", company.system.query_api)).bearer_auth(&company.hr);
                let page: Value = response.query(&[("q", q), ("limit", "200")]).send().await.unwrap().json().await.unwrap();
                let rows = page["items"].as_array().unwrap_or_else(|| panic!("{q}: {page}"));
                assert_eq!(rows.iter().any(|row| row["employee_id"] == *id), expected, "{q:?} for {given} {family}");
                if expected && q.contains('@') {
                    assert_eq!(rows.len(), 1, "{q}");
                }
            }
        }
    }
    for bad in [
        "a\u{202E}b",
        "a\u{200B}b",
        "\u{200D}ab",
        "ab\u{200C}",
        "a \u{200D}b",
        "\u{E0100}a",
        "a\u{200D}\u{200D}b",
        "葛 \u{E0100}城",
        "\u{2066}ab",
    ] {
        let (status, answer) = company.post(&company.hr, "/v1/employees", &company.joiner("works", bad, "Bad", "2015-01-01")).await;
        assert_eq!((status, &answer["errors"][0]["pointer"]), (422, &json!("/person/given_name")), "{bad:?}: {answer}");
    }
    // By a former name, too; not by what was never in effect.
    let id = company.joins("works", "Maria", "Birthname", "2015-01-01").await;
    company.is_called(&id, "Mistaken", "2018-01-01").await;
    company.is_called(&id, "Marriedname", "2018-01-01").await;
    company.system.settled(&company.hr).await;
    for (q, as_of, expected) in [
        ("birthname", "2016-01-01", &["Birthname"][..]),
        ("birthname", "2020-01-01", &["Marriedname"]),
        ("marriedname", "2020-01-01", &["Marriedname"]),
        ("maria+birthname", "2020-01-01", &["Marriedname"]),
        ("marriedname", "2016-01-01", &[]),
        ("mistaken", "2020-01-01", &[]),
    ] {
        assert_eq!(company.families(&format!("/v1/employees?q={q}&as_of={as_of}")).await, expected, "{q} on {as_of}");
    }
}

/// Case 32: lists are in the order of the root collation, from page to page.
#[tokio::test(flavor = "multi_thread")]
async fn case_32_names_are_in_the_order_of_the_root_collation() {
    let company = Company::new("order").await;
    let ordered =
        ["Bader", "Bär", "Böttcher", "Byland", "de Vries", "Łąk", "O'Hara", "Öz", "ozan", "Ozan", "Zimmer", "Ωμέγα", "Жук", "山田"];
    for (n, family) in ordered.iter().enumerate().rev() {
        // A colleague of the same name comes by given name.
        company.joins("field", &format!("g{n}"), family, "2015-01-01").await;
    }
    company.system.settled(&company.hr).await;
    for filter in [format!("department={}", company.departments["field"]), format!("job={}", company.job), String::new(), "q=g".into()] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let (status, page) = company.get(&company.hr, &format!("/v1/employees?{filter}&limit=4{cursor}")).await;
            assert_eq!(status, 200, "{page}");
            seen.extend(page["items"].as_array().unwrap().iter().map(|row| text(&row["family_name"])));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        seen.retain(|family| ordered.contains(&family.as_str()));
        assert_eq!(seen, ordered, "{filter}");
    }
    let chart = company.get(&company.hr, "/v1/org-chart?depth=0").await.1;
    let mut nodes: Vec<String> = chart["nodes"].as_array().unwrap().iter().map(|node| text(&node["family_name"])).collect();
    nodes.retain(|family| ordered.contains(&family.as_str()));
    assert_eq!(nodes, ordered);
}
