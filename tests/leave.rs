//! Leave, as people meet it over HTTP: policies, requests and decisions, balances of any day, who knows what, and what follows when
//! something underneath changes. The arithmetic has its own tests in the crate `calculation`, the rules theirs in `domain`.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    access::Company,
    servers::{eventually, own_static_system_with, system, tenant_of},
};

/// A company whose people have leave: annual leave of 24 days a year, two on the first of each month, of which 5 go into the next year
/// until April; and sick leave without a limit that matters, of a kind that only few may know.
struct Office {
    company: Company,
    annual: String,
    sick: String,
    policy: String,
    calendar: String,
    schedule: String,
}

fn annual_terms() -> Value {
    json!({"unit": "half_days", "counting": {"count": "working_time"},
        "tiers": [{"after_months": 0, "grant": {"kind": "steps", "allowance": {"kind": "fixed", "amount": "24"}, "per": "year",
            "every": {"kind": "months", "count": 1, "from": "01-01"}, "credit": "at_start"}}],
        "change_over": "next_step", "proration": "none", "by_fraction": false,
        "carry_over": {"year_starts": "01-01", "carried": {"carry": "up_to", "amount": "5"}, "ends": {"kind": "on", "day": "04-01"}},
        "leap_day": "february28"})
}

fn sick_terms() -> Value {
    let mut terms = annual_terms();
    terms["tiers"][0]["grant"] = json!({"kind": "nothing"});
    terms["negative_limit"] = json!("400");
    terms
}

/// From Monday to Friday, four hours in the morning and four in the afternoon.
fn full_week() -> Value {
    let half = json!({"hours": "4", "days": "0.5"});
    let day = json!({"morning": half, "afternoon": half});
    json!({"counts_from": "2024-01-01", "days": [day, day, day, day, day, {}, {}]})
}

impl Office {
    async fn new(name: &str) -> Self {
        Self::of(Company::new(name).await).await
    }

    async fn of(company: Company) -> Self {
        let hr = company.hr.clone();
        let post = async |path: &str, body: Value| company.must(&hr, path, &body).await;
        let schedule =
            post("/v1/work-schedules", json!({"effective_on": "2000-01-01", "code": "full", "name": "Full time", "schedule": full_week()}))
                .await;
        let calendar = post("/v1/holiday-calendars", json!({"code": "AT", "name": "Austria"})).await;
        for year in 2024..=2030 {
            let holidays = json!([{"on": format!("{year}-01-01"), "name": "New Year"}, {"on": format!("{year}-12-25"), "name": "Christmas"},
                {"on": format!("{year}-12-24"), "part": "afternoon", "name": "Christmas Eve"}]);
            let body = json!({"year": year, "holidays": holidays, "source": "test"});
            post(&format!("/v1/holiday-calendars/{calendar}/years"), body).await;
        }
        post(&format!("/v1/holiday-calendars/{calendar}/places"), json!({"effective_on": "2000-01-01"})).await;
        let annual = post("/v1/leave-types", json!({"code": "annual", "name": "Annual leave", "class": "absence"})).await;
        let sick = post("/v1/leave-types", json!({"code": "sick", "name": "Sick leave", "class": "medical"})).await;
        let publish = |type_id: &str, code: &str, terms: Value| json!({"type_id": type_id, "code": code, "effective_on": "2000-01-01", "terms": terms});
        let policy = post("/v1/leave-policies", publish(&annual, "standard", annual_terms())).await;
        let sick_policy = post("/v1/leave-policies", publish(&sick, "sick", sick_terms())).await;
        for name in ["rep", "head", "smith"] {
            let person = &company.people[name];
            let works = json!({"effective_on": "2020-01-01", "fraction": "1", "schedule_id": schedule});
            post(&format!("/v1/employees/{person}/working-time"), works).await;
            for policy in [&policy, &sick_policy] {
                let enrol = json!({"policy_id": policy, "effective_on": "2026-01-01"});
                post(&format!("/v1/employees/{person}/leave-enrolments"), enrol).await;
            }
        }
        company.system.settled(&company.hr).await;
        Self { company, annual, sick, policy, calendar, schedule }
    }

    fn path(&self, name: &str, rest: &str) -> String {
        format!("/v1/employees/{}/{rest}", self.company.people[name])
    }

    /// Asks for whole days; status and body.
    async fn ask(&self, token: &str, name: &str, type_id: &str, first: &str, last: &str) -> (u16, Value) {
        let body = json!({"type_id": type_id, "days": [{"on": first, "to": last}], "note": "by the sea"});
        self.company.post(token, &self.path(name, "leave-requests"), &body).await
    }

    /// Sends a decision about a request.
    async fn decide(&self, token: &str, name: &str, request: &str, what: &str, reason: Option<&str>) -> (u16, Value) {
        let mut body = json!({"request_id": request});
        if let Some(reason) = reason {
            body["reason"] = json!(reason);
        }
        self.company.post(token, &self.path(name, &format!("leave-requests/{what}")), &body).await
    }

    /// A query that must succeed, once the read model has all.
    async fn read(&self, token: &str, path: &str) -> Value {
        self.company.system.settled(&self.company.hr).await;
        let (status, answer) = self.company.get(token, path).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// A person's account of annual leave on a day.
    async fn annual_of(&self, token: &str, name: &str, day: &str) -> Value {
        let answer = self.read(token, &self.path(name, &format!("leave?as_of={day}"))).await;
        let accounts = answer["accounts"].as_array().unwrap();
        accounts.iter().find(|account| account["kind"]["code"] == "annual").unwrap_or_else(|| panic!("{answer}")).clone()
    }

    /// A person's requests, as hr sees them.
    async fn requests(&self, name: &str) -> Vec<Value> {
        let answer = self.read(&self.company.hr, &self.path(name, "leave-requests?limit=200")).await;
        answer["items"].as_array().unwrap().clone()
    }

    /// Waits until the worker has done all that follows from what is recorded.
    async fn worked(&self) {
        let (pool, tenant) = (self.company.system.pool().await, tenant_of(&self.company.hr).uuid());
        let done = async || {
            let head = self.company.system.head(&self.company.hr).await;
            let behind: bool = sqlx::query_scalar(
                "select coalesce((select position from worker.cursor where tenant_id = $1), 0) < $2
                     or exists (select from worker.job where tenant_id = $1 and state in ('waiting', 'running'))",
            )
            .bind(tenant)
            .bind(head.cast_signed())
            .fetch_one(&pool)
            .await
            .unwrap();
            !behind && head == self.company.system.head(&self.company.hr).await
        };
        eventually("the worker has done what follows", done).await;
        pool.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_is_asked_for_decided_and_seen_by_whom_it_concerns() {
    let office = Office::new("leave").await;
    let company = &office.company;
    let (rep, head) = (company.token(&["employee"], Some("rep")), company.token(&["employee", "manager"], Some("head")));
    let (smith, hr) = (company.token(&["employee"], Some("smith")), company.hr.clone());

    // 24 December is a Thursday in 2026 with a free afternoon, the 25th is free: Mon, Tue, Wed and half of Thursday.
    let quote =
        office.read(&rep, &office.path("rep", &format!("leave-quote?type_id={}&from=2026-12-21&to=2026-12-27", office.annual))).await;
    assert_eq!((&quote["cost"], &quote["left"], &quote["left_after"]), (&json!("3.5"), &json!("24"), &json!("20.5")), "{quote}");
    let (status, answer) = office.ask(&rep, "rep", &office.annual, "2026-12-21", "2026-12-27").await;
    assert_eq!(status, 200, "{answer}");
    let request = answer["id"].as_str().unwrap().to_owned();

    let account = office.annual_of(&rep, "rep", "2026-12-31").await;
    assert_eq!((&account["left"], &account["pending"], &account["taken"]), (&json!("24"), &json!("3.5"), &json!("0")), "{account}");
    // Whose request it is does not decide it, nor who has no say over them.
    for roles in [&["employee"][..], &["employee", "hr"], &["employee", "owner"]] {
        let own = company.token(roles, Some("rep"));
        let (status, answer) = office.decide(&own, "rep", &request, "approval", None).await;
        assert_eq!((status, &answer["error"]), (403, &json!("own_decision")), "nobody decides their own: {answer}");
    }
    let (status, answer) = office.decide(&smith, "rep", &request, "approval", None).await;
    assert_eq!(status, 404, "nor do colleagues: {answer}");
    let (status, answer) = office.decide(&company.token(&["manager"], Some("smith")), "rep", &request, "approval", None).await;
    assert_eq!(status, 404, "whom one does not lead is not there: {answer}");
    let (status, answer) = office.decide(&head, "rep", &request, "approval", None).await;
    assert_eq!(status, 200, "{answer}");

    let account = office.annual_of(&rep, "rep", "2026-12-31").await;
    assert_eq!((&account["left"], &account["pending"], &account["taken"]), (&json!("20.5"), &json!("0"), &json!("3.5")), "{account}");
    // Five of the rest go into the next year, two are added in January, and what is carried ends in April.
    for (day, left) in [("2027-01-01", "7"), ("2027-03-31", "11"), ("2027-04-01", "8")] {
        assert_eq!(office.annual_of(&rep, "rep", day).await["left"], json!(left), "{day}");
    }

    // A sick note: the manager sees that somebody is away, and not why.
    let (_, answer) = office.ask(&rep, "rep", &office.sick, "2026-12-14", "2026-12-15").await;
    let sick = answer["id"].as_str().unwrap().to_owned();
    assert_eq!(office.decide(&head, "rep", &sick, "approval", None).await.0, 200);
    let away = async |token: &str| {
        let answer = office.read(token, "/v1/absences?from=2026-12-14&to=2026-12-24").await;
        answer["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| (item["day"].clone(), item["part"].clone(), item["kind"]["code"].clone()))
            .collect::<Vec<_>>()
    };
    let seen_by = |annual: Value, sick: Value| {
        vec![
            (json!("2026-12-14"), json!("whole"), sick.clone()),
            (json!("2026-12-15"), json!("whole"), sick),
            (json!("2026-12-21"), json!("whole"), annual.clone()),
            (json!("2026-12-22"), json!("whole"), annual.clone()),
            (json!("2026-12-23"), json!("whole"), annual.clone()),
            (json!("2026-12-24"), json!("morning"), annual),
        ]
    };
    assert_eq!(away(&smith).await, seen_by(Value::Null, Value::Null), "a colleague sees who is away");
    assert_eq!(away(&head).await, seen_by(json!("annual"), Value::Null), "the manager sees the kind that is not medical");
    assert_eq!(away(&hr).await, seen_by(json!("annual"), Value::Null), "so does hr");
    assert_eq!(away(&rep).await, seen_by(json!("annual"), json!("sick")), "and one's own is no secret");
    let owner = company.token(&["owner"], None);
    assert_eq!(away(&owner).await, seen_by(json!("annual"), json!("sick")));
    // What is said about it is as secret as the kind.
    let notes = async |token: &str| {
        let answer = office.read(token, &office.path("rep", "leave-requests")).await;
        answer["items"].as_array().unwrap().iter().map(|item| item["note"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(notes(&head).await, [Value::Null, json!("by the sea")]);
    assert_eq!(notes(&rep).await, [json!("by the sea"), json!("by the sea")]);
    assert_eq!(company.get(&smith, &office.path("rep", "leave")).await.0, 200, "one sees one's own absences only");
    let answer = office.read(&smith, &office.path("rep", "leave")).await;
    assert_eq!(answer["accounts"], json!([]), "and nothing of a colleague's accounts");
    assert_eq!(company.get(&company.token(&["payroll"], None), &office.path("rep", "leave")).await.0, 403);

    // Each entry is explained, and they add up.
    let statement =
        office.read(&rep, &office.path("rep", &format!("leave-statement?type_id={}&from=2026-01-01&to=2027-04-01", office.annual))).await;
    assert_eq!((&statement["opening"], &statement["closing"]), (&json!("0"), &json!("8")));
    let entries = statement["entries"].as_array().unwrap();
    assert!(entries.iter().all(|entry| !entry["why"].as_str().unwrap().is_empty()), "{statement}");
    assert_eq!(entries.last().unwrap()["balance"], json!("8"), "{statement}");
    let csv = company.system.client.get(format!(
        "{}{}",
        company.system.query_api,
        office.path("rep", &format!("leave-statement?type_id={}&to=2026-12-31&format=csv", office.annual))
    ));
    let csv = csv.bearer_auth(&rep).send().await.unwrap().text().await.unwrap();
    assert!(csv.starts_with("on,kind,amount,balance,why,about\r\n2026-01-01,accrued,2,2,"), "{csv}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_is_recorded_once_and_costed_anew_when_something_changes() {
    let office = Office::new("leave-follows").await;
    let company = &office.company;
    let (rep, head, hr) = (company.token(&["employee"], Some("rep")), company.token(&["manager"], Some("head")), company.hr.clone());
    office.worked().await;
    // All that was earned since January is recorded, although the enrolment came late.
    let pool = company.system.pool().await;
    let recorded = async || entries(&pool, &company.hr, &company.people["rep"]).await;
    let earned: Vec<(String, String)> = recorded().await;
    assert!(earned.len() >= 12 && earned.iter().all(|(kind, _)| kind == "accrued"), "{earned:?}");

    let (_, answer) = office.ask(&rep, "rep", &office.annual, "2027-02-01", "2027-02-05").await;
    let request = answer["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    assert_eq!(office.decide(&head, "rep", &request, "approval", None).await.0, 200);
    assert_eq!(office.requests("rep").await[0]["cost"], "5");
    // A holiday is declared within it, and taken back: each time its days cost what they are worth.
    let holiday = json!({"on": "2027-02-03", "name": "Jubilee"});
    company.must(&hr, &format!("/v1/holiday-calendars/{}/holidays", office.calendar), &holiday).await;
    office.worked().await;
    let after = office.requests("rep").await;
    assert_eq!((&after[0]["cost"], &after[0]["sequence"]), (&json!("4"), &json!(3)), "{after:?}");
    assert_eq!(after[0]["days"][2]["morning"], json!({"is": "holiday", "name": "Jubilee"}));
    let revoked = json!({"on": "2027-02-03"});
    company.must(&hr, &format!("/v1/holiday-calendars/{}/revocations", office.calendar), &revoked).await;
    office.worked().await;
    assert_eq!(office.requests("rep").await[0]["cost"], "5");
    // Less work from a day on: Monday to Wednesday.
    let half = json!({"hours": "4", "days": "0.5"});
    let day = json!({"morning": half, "afternoon": half});
    let short = json!({"effective_on": "2027-01-01", "code": "short", "name": "Short week",
        "schedule": {"counts_from": "2024-01-01", "days": [day, day, day, {}, {}, {}, {}]}});
    let short = company.must(&hr, "/v1/work-schedules", &short).await;
    let works = json!({"effective_on": "2027-01-01", "fraction": "0.6", "schedule_id": short});
    company.must(&hr, &office.path("rep", "working-time"), &works).await;
    office.worked().await;
    assert_eq!(office.requests("rep").await[0]["cost"], "3");
    let works = json!({"effective_on": "2027-01-01", "fraction": "1", "schedule_id": office.schedule});
    company.must(&hr, &office.path("rep", "working-time"), &works).await;
    // Whoever leaves before the leave has none: it is cancelled.
    let leaves = json!({"last_day_worked": "2027-01-15", "reason": "resignation"});
    company.must(&hr, &office.path("rep", "termination"), &leaves).await;
    office.worked().await;
    let after = office.requests("rep").await;
    assert_eq!((&after[0]["status"], &after[0]["cost"]), (&json!("cancelled"), &json!("0")), "{after:?}");
    let (status, answer) = office.ask(&hr, "rep", &office.annual, "2027-02-01", "2027-02-01").await;
    assert_eq!((status, &answer["error"]), (422, &json!("not_employed_on_date")), "{answer}");
    // Nothing of what was recorded was recorded twice.
    assert_eq!(recorded().await, earned);
    pool.close().await;
}

/// The entries that are recorded of a person's leave: kind and cause.
async fn entries(pool: &PgPool, token: &str, person: &str) -> Vec<(String, String)> {
    let rows: Vec<String> = sqlx::query_scalar(
        "select data from event_store.event where tenant_id = $1 and stream_id = $2 and category = 'leaverecord' order by version",
    )
    .bind(tenant_of(token).uuid())
    .bind(person.parse::<Uuid>().unwrap())
    .fetch_all(pool)
    .await
    .unwrap();
    let mut all = Vec::new();
    for row in rows {
        let data: Value = serde_json::from_str(&row).unwrap();
        for entry in data["entries"].as_array().into_iter().flatten() {
            all.push((entry["kind"].as_str().unwrap().to_owned(), entry["cause"].to_string()));
        }
    }
    all
}

/// Of two requests for what is left, one is accepted; the other is told what stands in the way.
#[tokio::test(flavor = "multi_thread")]
async fn two_requests_for_one_balance_are_never_both_accepted() {
    let office = Office::new("leave-race").await;
    let company = &office.company;
    let hr = company.hr.clone();
    // 24 are there at the end of 2026; 22 stay when the first two are gone, and so on. Each pair asks for more than half of the rest.
    let mut left = 24;
    for round in 0..10 {
        let (a, b) = (format!("2026-12-{:02}", 7 + 2 * (round % 2)), format!("2026-12-{:02}", 14 + 2 * (round % 2)));
        let take = json!({"type_id": office.annual, "effective_on": "2026-12-31", "amount": format!("-{}", left - 1), "reason": "race"});
        let taken = company.must(&hr, &office.path("rep", "leave-adjustments"), &take).await;
        assert!(!taken.is_empty());
        let (first, second) = tokio::join!(office.ask(&hr, "rep", &office.annual, &a, &a), office.ask(&hr, "rep", &office.annual, &b, &b));
        let mut statuses = [first.0, second.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 422], "{first:?} {second:?}");
        let (won, lost) = if first.0 == 200 { (&first.1, &second.1) } else { (&second.1, &first.1) };
        assert_eq!(lost["error"], "not_enough_leave", "{lost}");
        let id = won["id"].as_str().unwrap();
        assert!(lost["detail"].as_str().unwrap().contains(id), "it says which request stands in the way: {lost}");
        // The next round begins where this one did.
        assert_eq!(office.decide(&hr, "rep", id, "withdrawal", None).await.0, 200);
        let back = json!({"type_id": office.annual, "effective_on": "2026-12-01", "amount": format!("{}", left - 1), "reason": "race"});
        company.must(&hr, &office.path("rep", "leave-adjustments"), &back).await;
        left = 24;
    }
}

/// A decision and a withdrawal, a request and the end of the employment: whichever comes first, the end is right.
#[tokio::test(flavor = "multi_thread")]
async fn what_races_ends_the_same_whichever_comes_first() {
    let office = Office::new("leave-races").await;
    let company = &office.company;
    let (rep, head, hr) = (company.token(&["employee"], Some("rep")), company.token(&["manager"], Some("head")), company.hr.clone());
    for round in 0..10 {
        let day = format!("2027-03-{:02}", 1 + round % 5);
        let (_, answer) = office.ask(&rep, "rep", &office.annual, &day, &day).await;
        let request = answer["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        let (approved, withdrawn) =
            tokio::join!(office.decide(&head, "rep", &request, "approval", None), office.decide(&rep, "rep", &request, "withdrawal", None));
        let mut statuses = [approved.0, withdrawn.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 422], "one of them comes too late: {approved:?} {withdrawn:?}");
        let requests = office.requests("rep").await;
        let status = requests.iter().find(|item| item["request_id"] == json!(request)).unwrap()["status"].clone();
        assert_eq!(status, if approved.0 == 200 { "approved" } else { "withdrawn" });
        if approved.0 == 200 {
            assert_eq!(office.decide(&hr, "rep", &request, "cancellation", None).await.0, 200);
        }
    }
    for (name, day) in [("smith", "2027-05-03"), ("head", "2027-05-04")] {
        let leaves = json!({"last_day_worked": "2027-04-30", "reason": "resignation"});
        let path = office.path(name, "termination");
        let (asked, left) = tokio::join!(office.ask(&hr, name, &office.annual, day, day), company.post(&hr, &path, &leaves));
        assert_eq!(left.0, 200, "{left:?}");
        assert!(matches!(asked.0, 200 | 422), "{asked:?}");
        office.worked().await;
        for request in office.requests(name).await {
            assert_eq!(request["status"], "cancelled", "nobody has leave after the employment: {request}");
        }
    }
}

/// What can't be is refused with a code, the field at fault, and what to do.
#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_name_the_field_and_the_remedy() {
    let office = Office::new("leave-bad").await;
    let company = &office.company;
    let hr = company.hr.clone();
    let days = |days: Value| json!({"type_id": office.annual, "days": days});
    let request = office.path("rep", "leave-requests");
    assert_eq!(company.post(&hr, &request, &days(json!([{"on": "2026-12-09", "part": "morning"}]))).await.0, 200);
    let mut gap = annual_terms();
    gap["tiers"][0]["after_months"] = json!(6);
    let enrol = |from: &str| json!({"policy_id": office.policy, "effective_on": from});
    let bad = [
        (request.clone(), days(json!([{"on": "2026-12-09", "part": "morning"}])), 422, "day_taken", "/days"),
        (request.clone(), days(json!([{"on": "2026-12-09"}])), 422, "day_taken", "/days"),
        (request.clone(), days(json!([{"on": "2026-12-10", "to": "2026-12-09"}])), 422, "invalid_days", "/days"),
        (request.clone(), days(json!([{"on": "2026-12-10", "hours": "2"}])), 422, "finer_than_unit", "/days"),
        (request.clone(), days(json!([{"on": "2026-12-12"}])), 422, "nothing_to_take", "/days"),
        (request.clone(), days(json!([{"on": "2025-06-02"}])), 422, "no_policy", "/days"),
        (request.clone(), days(json!([{"on": "2031-06-02"}])), 422, "unknown_holiday_year", "/days"),
        (request.clone(), days(json!([{"on": "2026-02-30"}])), 422, "invalid_field", "/days/0/on"),
        (request.clone(), json!({"type_id": office.annual}), 422, "missing_field", "/days"),
        (office.path("novice", "leave-requests"), days(json!([{"on": "2099-06-02"}])), 422, "no_policy", "/days"),
        (office.path("rep", "leave-enrolments"), enrol("2027-01-01"), 422, "enrolments_overlap", "/effective_on"),
        (
            office.path("rep", "leave-enrolments"),
            json!({"policy_id": Uuid::now_v7(), "effective_on": "2027-01-01"}),
            422,
            "unknown_reference",
            "/policy_id",
        ),
        (
            "/v1/leave-policies".into(),
            json!({"type_id": office.annual, "code": "gap", "effective_on": "2000-01-01", "terms": gap}),
            422,
            "invalid_policy",
            "/terms/tiers",
        ),
        (
            office.path("rep", "leave-adjustments"),
            json!({"type_id": office.annual, "effective_on": "2026-12-01", "amount": "0", "reason": "r"}),
            422,
            "invalid_amount",
            "/amount",
        ),
        (
            office.path("rep", "leave-adjustments"),
            json!({"type_id": office.annual, "effective_on": "2026-12-01", "amount": "-100", "reason": "r"}),
            422,
            "not_enough_leave",
            "/days",
        ),
        (
            office.path("rep", "working-time"),
            json!({"effective_on": "2026-12-01", "fraction": "0", "schedule_id": office.schedule}),
            422,
            "invalid_field",
            "/fraction",
        ),
        (
            office.path("rep", "working-time"),
            json!({"effective_on": "2026-12-01", "fraction": "1", "schedule_id": Uuid::now_v7()}),
            422,
            "unknown_reference",
            "/schedule_id",
        ),
        (
            format!("/v1/holiday-calendars/{}/holidays", office.calendar),
            json!({"on": "2035-01-01", "name": "n"}),
            422,
            "unknown_holiday_year",
            "/on",
        ),
    ];
    for (path, body, status, code, field) in bad {
        let (got, answer) = company.post(&hr, &path, &body).await;
        assert_eq!((got, &answer["error"]), (status, &json!(code)), "{path} {body}: {answer}");
        assert_eq!(answer["errors"][0]["pointer"], json!(field), "{answer}");
        assert!(answer["detail"].as_str().unwrap().len() > 20, "{answer}");
    }
    let (status, answer) = company.post(&hr, &office.path("novice", "leave-enrolments"), &enrol("2099-01-01")).await;
    assert_eq!(status, 200, "who starts later can be enrolled: {answer}");
    let unknown = format!("/v1/employees/{}/leave-enrolments", Uuid::now_v7());
    assert_eq!(company.post(&hr, &unknown, &enrol("2026-01-01")).await.0, 404);
}

/// A read model that is folded anew answers as the one that was folded as it happened.
#[tokio::test(flavor = "multi_thread")]
async fn leave_reads_the_same_live_and_rebuilt() {
    let office = Office::new("leave-rebuilt").await;
    let company = &office.company;
    let (rep, hr) = (company.token(&["employee"], Some("rep")), company.hr.clone());
    for (day, what) in
        [("2026-12-07", Some("approval")), ("2026-12-09", Some("rejection")), ("2027-01-11", None), ("2027-01-12", Some("approval"))]
    {
        let (_, answer) = office.ask(&rep, "rep", &office.annual, day, day).await;
        let request = answer["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        if let Some(what) = what {
            let reason = (what == "rejection").then_some("too many are away");
            assert_eq!(office.decide(&hr, "rep", &request, what, reason).await.0, 200);
        }
    }
    let adjust =
        json!({"type_id": office.annual, "effective_on": "2026-12-01", "amount": "1.5", "ends_on": "2027-02-01", "reason": "moved"});
    company.must(&hr, &office.path("rep", "leave-adjustments"), &adjust).await;
    office.worked().await;
    let owner = company.token(&["owner"], None);
    let paths = [
        office.path("rep", "leave?as_of=2027-01-31"),
        office.path("rep", "leave-requests"),
        office.path("rep", &format!("leave-statement?type_id={}&from=2026-01-01&to=2027-12-31", office.annual)),
        "/v1/leave-requests?status=pending".into(),
        "/v1/absences?from=2026-12-01&to=2027-02-01".into(),
        "/v1/reports/leave-liability".into(),
        "/v1/leave-types".into(),
        "/v1/leave-policies".into(),
    ];
    let mut live = Vec::new();
    for path in &paths {
        live.push(office.read(&owner, path).await);
    }
    company.system.tenure(&["read-model", "rebuild", "--tenant", &company.slug]);
    for (path, before) in paths.iter().zip(live) {
        assert_eq!(office.read(&owner, path).await, before, "{path}");
    }
}

/// On its day the next step is recorded, once, also where the worker was away and several steps are due.
#[tokio::test(flavor = "multi_thread")]
async fn steps_are_recorded_on_their_day() {
    let office = Office::new("leave-steps").await;
    office.worked().await;
    let (pool, tenant) = (system().await.pool().await, tenant_of(&office.company.hr).uuid());
    let due: Vec<String> = sqlx::query_scalar(
        "select to_char(due_on, 'YYYY-MM-DD') from worker.due where tenant_id = $1 and command::text like '%SettleLeave%'",
    )
    .bind(tenant)
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(!due.is_empty() && due.iter().all(|day| day.ends_with("-01")), "the next step begins with a month: {due:?}");
    let before = entries(&pool, &office.company.hr, &office.company.people["rep"]).await;
    // As if the day had begun: nothing is due yet by the clock, so nothing is recorded, and the row is gone.
    for sql in [
        "update worker.due set due_on = '2020-01-01', recorded_at = 0, look_at = 0 where tenant_id = $1",
        "update worker.agenda set look_at = 0 where tenant_id = $1",
    ] {
        sqlx::query(sql).bind(tenant).execute(&pool).await.unwrap();
    }
    let gone = async || {
        let left: i64 = sqlx::query_scalar("select count(*) from worker.due where tenant_id = $1 and due_on = '2020-01-01'")
            .bind(tenant)
            .fetch_one(&pool)
            .await
            .unwrap();
        left == 0
    };
    eventually("what was due was looked at", gone).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(entries(&pool, &office.company.hr, &office.company.people["rep"]).await, before);
    pool.close().await;
}

/// Whatever is killed while what is due is recorded: each entry is recorded once, and they sum to the balance.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_records_nothing_twice() {
    let (system, _stopped) = own_static_system_with(&[]).await;
    let office = Office::of(Company::on(system, "leave-killed").await).await;
    let company = &office.company;
    let pool = system.pool().await;
    let holiday = |day: u32| json!({"on": format!("2027-02-{day:02}"), "name": "Jubilee"});
    for day in 1..=6 {
        let path = format!("/v1/holiday-calendars/{}/holidays", office.calendar);
        company.must(&company.hr, &path, &holiday(day)).await;
        let amount = json!({"type_id": office.annual, "effective_on": "2026-12-01", "amount": "1", "reason": "r"});
        for name in ["rep", "head", "smith"] {
            company.must(&company.hr, &office.path(name, "leave-adjustments"), &amount).await;
        }
        tokio::time::sleep(Duration::from_millis(u64::from(day) * 40)).await;
        system.signal("tenure-worker", "KILL").await;
    }
    system.ready().await;
    office.worked().await;
    for name in ["rep", "head", "smith"] {
        let recorded = entries(&pool, &company.hr, &company.people[name]).await;
        let mut once = recorded.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), recorded.len(), "an entry was recorded twice: {recorded:?}");
        let added = recorded.iter().filter(|(kind, _)| kind == "adjusted").count();
        assert_eq!(added, 6, "{recorded:?}");
    }
    pool.close().await;
}

/// Balances, requests and holidays come from spreadsheets; run twice they double nothing, and what can't be used is named by its line.
#[tokio::test(flavor = "multi_thread")]
async fn spreadsheets_are_played_in_once() {
    let office = Office::new("leave-sheets").await;
    let (company, slug) = (&office.company, office.company.slug.as_str());
    // The command exits with 2 where it left rows out, and prints its report all the same.
    let import = |arguments: &[&str]| -> Value {
        let mut command = crate::servers::program("tenure");
        let output = command.arg("--home").arg(&company.system.home).args(["--json", "import"]).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text} {}", String::from_utf8_lossy(&output.stderr)))
    };
    let loaded = import(&["holidays", "--tenant", slug, "--calendar", "ZH", "--place", "CH-ZH", "--years", "2027"]);
    assert_eq!((&loaded["years"], &loaded["problems"]), (&json!([2027]), &json!([])), "{loaded}");
    company.system.settled(&company.hr).await;
    let calendars = office.read(&company.hr, "/v1/holiday-calendars").await;
    let codes: Vec<_> = calendars["items"].as_array().unwrap().iter().map(|item| (item["code"].clone(), item["years"].clone())).collect();
    assert_eq!(codes[1], (json!("ZH"), json!([2027])), "{calendars}");
    let content = office.read(&company.hr, &format!("/v1/holiday-calendars/{}", loaded["calendar_id"].as_str().unwrap())).await;
    let easter = json!({"on": "2027-03-29", "part": "whole", "name": "Easter Monday"});
    assert!(content["years"][0]["holidays"].as_array().unwrap().contains(&easter), "{content}");
    let schedules = office.read(&company.hr, "/v1/work-schedules").await;
    assert_eq!(schedules["items"][0]["code"], "full");
    let works = office.read(&company.hr, &office.path("rep", "working-time")).await;
    assert_eq!((&works["items"][0]["fraction"], &works["items"][0]["schedule_id"]), (&json!("1"), &json!(office.schedule)), "{works}");

    let folder = tempfile_folder("leave-sheets");
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let balances = file(
        "balances.csv",
        "employee_number;leave_type;effective_on;amount;reason\r\nrep;annual;2026-12-01;2,5;moved\r\nrep;annual;2026-12-01;2.5;moved\r\nnobody;annual;2026-12-01;1;x\r\nsmith;golf;2026-12-01;1;x\r\n",
    );
    let dry = import(&["leave-balances", "--tenant", slug, "--dry-run", &balances]);
    assert_eq!((&dry["applied"], &dry["skipped"]), (&json!(0), &json!(2)), "{dry}");
    for (applied, replayed) in [(1, 0), (0, 1)] {
        let report = import(&["leave-balances", "--tenant", slug, &balances]);
        assert_eq!(
            (&report["applied"], &report["replayed"], &report["refused"]),
            (&json!(applied), &json!(replayed), &json!(1)),
            "{report}"
        );
        let problems: Vec<&str> = report["problems"].as_array().unwrap().iter().map(|problem| problem.as_str().unwrap()).collect();
        assert!(
            problems[0].starts_with("line 2: ") && problems[1].starts_with("line 4: ") && problems[2].starts_with("line 5: "),
            "{problems:?}"
        );
    }
    let requests = file(
        "requests.csv",
        "employee_number,leave_type,first_day,last_day,status,part,note\nrep,annual,2026-12-07,2026-12-08,approved,,\nrep,annual,2026-12-09,2026-12-09,pending,morning,\"doctor, perhaps\"\nrep,annual,2026-12-08,2026-12-08,approved,,\n",
    );
    for (applied, replayed) in [(3, 0), (0, 3)] {
        let report = import(&["leave-requests", "--tenant", slug, &requests]);
        // The last row asks for a day that is taken, and can't be approved either.
        assert_eq!(
            (&report["applied"], &report["replayed"], &report["refused"]),
            (&json!(applied), &json!(replayed), &json!(2)),
            "{report}"
        );
    }
    let account = office.annual_of(&company.hr, "rep", "2026-12-31").await;
    assert_eq!((&account["left"], &account["pending"]), (&json!("24.5"), &json!("0.5")), "{account}");
}

fn tempfile_folder(name: &str) -> std::path::PathBuf {
    let folder = crate::servers::run_dir().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
