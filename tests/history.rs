//! A store that was put back to an earlier state, under running services: what was remembered of the history that is no more is
//! not believed, whoever remembers it.

use std::{path::Path, process::Command, time::Duration};

use events::{StreamName, TenantScope, Version};
use platform::{READ_MODEL_VERSION, read_schema};
use projector::digest::digest;
use serde_json::{Value, json};
use sqlx::{Executor as _, PgPool};

use crate::{
    commands::{in_world, pay},
    servers::{System, eventually, own_system, tenant_of},
};

/// Puts a tenant's events, claims and head back to a position, as a restore of the event store alone would.
pub(crate) async fn go_back(superuser: &PgPool, scope: TenantScope, position: u64) {
    let tenant = scope.tenant().uuid();
    let statements = format!(
        "begin; set local session_replication_role = replica;
         delete from event_store.event where tenant_id = '{tenant}' and position > {position};
         delete from event_store.claim c where tenant_id = '{tenant}'
             and not exists (select from event_store.event e where e.tenant_id = c.tenant_id and e.stream_id = c.stream_id);
         update event_store.tenant_head h set position = {position},
             (event_id, recorded_at) = (select e.event_id, (extract(epoch from e.recorded_at) * 1000000)::bigint
                 from event_store.event e where e.tenant_id = h.tenant_id and e.position = {position})
             where h.tenant_id = '{tenant}'; commit"
    );
    superuser.execute(statements.as_str()).await.unwrap();
}

/// Two services have read what is lost then. Commands that are lost and sent again with their keys are executed anew, and what is
/// decided rests on what the store has, also where others have taken the versions and positions that were lost.
#[test]
fn a_command_is_decided_on_what_the_store_has() {
    in_world(|world| async move {
        let tenant = world.tenant().await;
        let company = world.company(&tenant).await;
        let raise = |amount: &str, day: &str| json!({"effective_on": day, "pay": pay(amount), "reason": "review"});
        let (raises, name) = (company.path("compensation-changes"), format!("/v1/departments/{}/name", company.department));
        let stand = world.head(tenant.scope).await;
        let lost = [
            (raises.as_str(), "raise", raise("1500", "2011-01-01")),
            (name.as_str(), "name", json!({"effective_on": "2001-01-01", "name": "Renamed"})),
            ("/v1/employees", "hire", company.hire("2")),
        ];
        for (path, key, body) in &lost {
            world.on(0, &tenant, path, key, body).await.done();
            // The other service has read it too: it finds nothing to do.
            if *key != "hire" {
                assert_eq!(world.on(1, &tenant, path, "", body).await.done()["events"], json!([]));
            }
        }
        go_back(world.owner(), tenant.scope, stand).await;
        for (n, (path, key, body)) in lost.iter().enumerate() {
            let again = world.on(n % 2, &tenant, path, key, body).await.done();
            assert_eq!((again["replayed"].as_bool(), again["events"].as_array().unwrap().len()), (Some(false), 1), "{key}: {again}");
            assert_eq!(again["position"], stand + 1 + n as u64, "{key}: {again}");
            let twice = world.on(0, &tenant, path, key, body).await.done();
            assert_eq!(
                (&twice["replayed"], &twice["position"]),
                (&json!(true), &again["position"]),
                "{key}: once, however often it is sent"
            );
        }
        assert_eq!(world.head(tenant.scope).await, stand + 3);

        // One service goes on with what the other has read otherwise: at the same version stands another raise.
        for body in [raise("1600", "2012-01-01"), raise("1700", "2013-01-01")] {
            world.on(0, &tenant, &raises, "", &body).await.done();
        }
        go_back(world.owner(), tenant.scope, stand + 4).await;
        world.on(1, &tenant, &raises, "", &raise("9000", "2013-01-01")).await.done();
        let same = world.on(0, &tenant, &raises, "", &raise("1700", "2013-01-01")).await.done();
        assert_eq!(same["events"].as_array().unwrap().len(), 1, "what was lost is not taken for what is there: {same}");
        world.on(0, &tenant, &raises, "", &raise("1800", "2014-01-01")).await.done();
        go_back(world.owner(), tenant.scope, stand + 6).await;
        world.on(1, &tenant, &raises, "", &raise("2000", "2014-01-01")).await.done();
        let next = world.on(0, &tenant, &raises, "", &raise("2000", "2014-01-01")).await.done();
        assert_eq!(next["events"], json!([]), "it was decided on what the other wrote: {next}");
        let stream = StreamName::employee(tenant.scope, company.employee.parse().unwrap());
        let versions: Vec<u64> =
            world.store().read_stream(stream, Version::ZERO, 100).await.unwrap().iter().map(|event| event.version.0).collect();
        assert_eq!(versions, [1, 2, 3, 4, 5, 6]);
    });
}

/// Ends PostgreSQL while its supervisor looks away, does something to its data, and lets the supervisor start it again.
async fn while_postgres_is_down(system: &System, change: impl FnOnce(&Path)) {
    let pool = system.pool().await;
    let data: String = sqlx::query_scalar("show data_directory").fetch_one(&pool).await.unwrap();
    pool.close().await;
    let data = Path::new(&data);
    let signal = |pid: u32, signal: &str| {
        assert!(Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status().unwrap().success());
    };
    let supervisor = system.supervisor();
    signal(supervisor, "STOP");
    signal(system.pid("postgres").unwrap(), "INT");
    eventually("PostgreSQL has ended", async || !data.join("postmaster.pid").exists()).await;
    change(data);
    signal(supervisor, "CONT");
    eventually("PostgreSQL is back", async || PgPool::connect(&system.database_url).await.is_ok()).await;
    // Processes look at their servers once a second, so for that long they may say what was true before.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    system.ready().await;
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// The whole of PostgreSQL is put back under running services. What was lost can be sent again, and what is new is projected. Nothing
/// says otherwise than that all is well but the clients' own positions, which an operator's word makes void.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_database_that_was_put_back() {
    let system = own_system().await;
    let token = system.tenant("history");
    let department = |n: usize| json!({"effective_on": "2000-01-01", "code": format!("D{n}"), "name": format!("Department {n}")});
    let create = async |n: usize| system.post(&token, "/v1/departments", &format!("d{n}"), &department(n)).await;
    for n in 0..3 {
        assert_eq!(create(n).await.0, 201);
    }
    system.settled(&token).await;
    let kept = system.home.join("kept");
    while_postgres_is_down(&system, |data| copy(data, &kept)).await;
    let mut lost = Vec::new();
    for n in 3..9 {
        let (status, answer) = create(n).await;
        assert_eq!(status, 201, "{answer}");
        lost.push(answer);
    }
    let position = system.settled(&token).await;
    let cursor = system.get(&token, "/v1/departments?limit=2").await["next_cursor"].as_str().unwrap().to_owned();
    while_postgres_is_down(&system, |data| copy(&kept, data)).await;
    assert_eq!(system.head(&token).await, position - 6);

    // Lost commands come again, in another order: executed anew, once. What others do meanwhile is projected.
    assert_eq!(create(100).await.0, 201);
    for n in (3..9).rev() {
        let (status, answer) = create(n).await;
        assert_eq!((status, &answer["replayed"]), (201, &json!(false)), "{n}: {answer}");
        let (status, again) = create(n).await;
        assert_eq!((status, &again["replayed"], &again["position"]), (201, &json!(true), &answer["position"]), "{n}: {again}");
    }
    assert_eq!(system.settled(&token).await, position + 1);
    assert_eq!(names(&system, &token).await.len(), 10);
    assert_derived(&system, &token).await;

    let drawn = system.tenure(&["restored", "--yes"]);
    assert_eq!(drawn["epoch"], 2, "{drawn}");
    let tag = drawn["tag"].as_str().unwrap();
    eventually("the read model is made anew", async || {
        let answer = system.client.get(format!("{}/v1/departments", system.query_api)).bearer_auth(&token).send().await.unwrap();
        answer.status().is_success() && answer.json::<Value>().await.unwrap()["items"].as_array().unwrap().len() == 10
    })
    .await;
    system.ready().await;
    assert_derived(&system, &token).await;
    what_was_handed_out_before_is_refused(&system, &token, tag, position, &cursor, &lost[0]).await;
}

/// Positions, versions and cursors of before the restore, each where it is taken: 409. Those that are handed out now are good.
async fn what_was_handed_out_before_is_refused(system: &System, token: &str, tag: &str, position: u64, cursor: &str, lost: &Value) {
    let get = async |path: &str, min_position: &str| {
        let request = system.client.get(format!("{}{path}", system.query_api)).bearer_auth(token);
        let request = request.header("tenure-min-position", min_position).header("prefer", "wait=10");
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body: Value = response.json().await.unwrap();
        let at = headers.get("tenure-position").map(|value| value.to_str().unwrap().to_owned());
        (status, body["error"].as_str().unwrap_or_default().to_owned(), at, body)
    };
    let restored = |status: u16, error: &str| assert_eq!((status, error), (409, "history_restored"));
    let other = format!("9-{}", &tag[2..]);
    for old in [position.to_string(), "1".into(), format!("{other}.1")] {
        for path in ["/v1/departments", "/v1/employees", "/v1/reports/headcount"] {
            let (status, error, ..) = get(path, &old).await;
            restored(status, &error);
        }
    }
    let (status, error, ..) = get(&format!("/v1/departments?limit=2&cursor={cursor}"), "0").await;
    restored(status, &error);
    let rename = |key: &str, if_match: String| {
        let path = format!("{}/v1/departments/{}/name", system.command_api, lost["id"].as_str().unwrap());
        let request = system.client.post(path).bearer_auth(token).header("idempotency-key", key).header("if-match", if_match);
        request.json(&json!({"effective_on": "2001-01-01", "name": "Renamed"}))
    };
    for old in ["\"1\"".to_owned(), format!("\"{}\"", lost["version"]), format!("\"{other}.4\"")] {
        let refused = rename(&old, old.clone()).send().await.unwrap();
        let (status, body) = (refused.status().as_u16(), refused.json::<Value>().await.unwrap());
        restored(status, body["error"].as_str().unwrap_or_default());
    }

    // What is handed out now carries the epoch, and is taken.
    let first = rename("now", "*".into()).send().await.unwrap();
    let etag = first.headers()["etag"].to_str().unwrap().to_owned();
    let at = first.headers()["tenure-position"].to_str().unwrap().to_owned();
    let body: Value = first.json().await.unwrap();
    assert_eq!((at.as_str(), &body["epoch"]), (format!("{tag}.{}", body["position"]).as_str(), &json!(tag)), "{body}");
    assert_eq!(etag, format!("\"{tag}.{}\"", body["version"]));
    let (status, _, seen, page) = get("/v1/departments?limit=2", &at).await;
    assert_eq!((status, seen.as_deref()), (200, Some(at.as_str())), "{page}");
    let next = page["next_cursor"].as_str().unwrap();
    assert!(next.starts_with(&format!("{tag}.")), "{next}");
    assert_eq!(get(&format!("/v1/departments?limit=2&cursor={next}"), "0").await.0, 200);
    let again = rename("again", etag).send().await.unwrap();
    assert_eq!(again.status().as_u16(), 200, "{}", again.text().await.unwrap());
}

/// Only the event store is older: what the read model shows may never have happened, so that nothing is shown, whatever takes the
/// positions by then, until an operator says what holds.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_store_that_is_older_than_its_read_models() {
    let system = own_system().await;
    let (token, other) = (system.tenant("history"), system.tenant("other"));
    let department = |n: usize| json!({"effective_on": "2000-01-01", "code": format!("D{n}"), "name": format!("Department {n}")});
    for n in 0..6 {
        assert_eq!(system.post(&token, "/v1/departments", &format!("d{n}"), &department(n)).await.0, 201);
        assert_eq!(system.post(&other, "/v1/departments", &format!("d{n}"), &department(n)).await.0, 201);
    }
    let head = system.settled(&token).await;
    system.settled(&other).await;
    let scope = TenantScope::checked(tenant_of(&token));
    let pool = system.pool().await;
    let status = async |path: &str| {
        let answer = system.client.get(format!("{}{path}", system.query_api)).bearer_auth(&token).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["error"].as_str().unwrap_or_default().to_owned())
    };
    let refused = (503, "history_diverged".to_owned());
    go_back(&pool, scope, head - 2).await;
    eventually("the tenant is refused", async || status("/v1/departments").await == refused).await;
    let parked = async || {
        let sql = "select count(*) from platform.parked where tenant_id = $1 and code = 'history_diverged'";
        sqlx::query_scalar::<_, i64>(sql).bind(scope.tenant().uuid()).fetch_one(&pool).await.unwrap() == 1
    };
    eventually("the tenant is parked, and that is said", parked).await;
    let command = async |n: usize| system.post(&token, "/v1/departments", &format!("d{n}"), &department(n)).await;
    eventually("commands are refused", async || command(50).await.1["error"] == "history_diverged").await;
    assert_eq!(status("/v1/employees").await, refused);
    assert!(system.tenure(&["status"])["tenants"].to_string().contains("tenure restored"), "an operator is told what to do");
    assert_eq!(names(&system, &other).await.len(), 6, "it is nobody else's matter");

    system.tenure(&["restored", "--yes"]);
    eventually("commands are taken again", async || command(4).await.0 == 201).await;
    eventually("the read model is made anew", async || {
        let answer = system.client.get(format!("{}/v1/departments", system.query_api)).bearer_auth(&token).send().await.unwrap();
        answer.status().is_success() && answer.json::<Value>().await.unwrap()["items"].as_array().unwrap().len() >= 5
    })
    .await;
    assert_derived(&system, &token).await;
    assert_derived(&system, &other).await;
}

/// The names of the departments.
async fn names(system: &System, token: &str) -> Vec<String> {
    let page = system.get(token, "/v1/departments?limit=200").await;
    page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

/// The rows are those that a rebuild makes of the log (I3).
async fn assert_derived(system: &System, token: &str) {
    let (scope, pool) = (TenantScope::checked(tenant_of(token)), system.pool().await);
    let schema = read_schema(scope.tenant(), READ_MODEL_VERSION);
    let head = i64::try_from(system.head(token).await).unwrap();
    let at = format!("select position from {schema}.checkpoint");
    eventually("the read model is at the end of the log", async || {
        sqlx::query_scalar::<_, i64>(&at).fetch_one(&pool).await.ok() == Some(head)
    })
    .await;
    let live = digest(&pool, scope, &schema).await.unwrap();
    let slug: String =
        system.tenure(&["tenant", "list"]).as_array().unwrap().iter().find(|t| t["tenant_id"] == json!(scope.tenant())).unwrap()["slug"]
            .as_str()
            .unwrap()
            .to_owned();
    system.tenure(&["read-model", "rebuild", "--tenant", &slug]);
    assert_eq!(digest(&pool, scope, &schema).await.unwrap(), live);
    pool.close().await;
}
