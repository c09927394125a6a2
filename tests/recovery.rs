//! Projectors and relays find their way back by themselves: from read models that are gone, set back or damaged while nobody
//! writes, from leases that were lost, from clocks that went back, and from what parked a tenant (I3, I6).

use std::{collections::BTreeMap, time::Duration};

use events::{Position, StreamName, TenantScope};
use platform::{READ_MODEL_VERSION, read_schema};
use projector::{digest::digest, rebuild::rebuild};
use serde_json::{json, value::RawValue};
use sqlx::Executor as _;

use crate::{
    feed::{Feed, PATIENCE, until},
    projection::{World, history, ticket},
    servers::{eventually, own_system, system, tenant_of},
};

/// A tenant beside the world's own, with a few departments.
async fn tenant(feed: &Feed) -> TenantScope {
    let scope = feed.world.database.tenant().await;
    feed.register(scope.tenant()).await;
    for _ in 0..5 {
        feed.append_department(scope).await;
    }
    scope
}

async fn rows(world: &World, scope: TenantScope) -> Option<BTreeMap<String, String>> {
    digest(&world.applier.pool, scope, &read_schema(scope.tenant(), READ_MODEL_VERSION)).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_that_is_gone_or_set_back_is_healed_while_nobody_writes() {
    let feed = Feed::new().await;
    let cases = [
        ("the schema is gone", "drop schema {s} cascade"),
        (
            "all is set back",
            "truncate {s}.department_span, {s}.headcount_step; update {s}.checkpoint set position = 0, event_id = null, recorded_at = null",
        ),
        ("the checkpoint alone is set back", "update {s}.checkpoint set position = 2, event_id = null, recorded_at = null"),
        ("the checkpoint's row is gone", "delete from {s}.checkpoint"),
        ("the checkpoint's table is gone", "drop table {s}.checkpoint"),
        ("a table is gone", "drop table {s}.job_span"),
        ("a key is gone", "alter table {s}.department_span drop constraint department_span_pkey"),
        ("an index is gone", "drop index {s}.person_span_name"),
        ("an index is invalid", "update pg_index set indisvalid = false where indexrelid = '{s}.person_span_name'::regclass"),
        ("nothing was ever written", "drop schema {s} cascade"),
    ];
    let mut tenants = Vec::new();
    for (what, _) in cases {
        let scope = if what == "nothing was ever written" {
            let scope = feed.world.database.tenant().await;
            feed.register(scope.tenant()).await;
            scope
        } else {
            tenant(&feed).await
        };
        tenants.push(scope);
    }
    let projector = feed.projector().await;
    let mut before = Vec::new();
    for scope in &tenants {
        feed.settled(*scope).await;
        before.push(rows(&feed.world, *scope).await);
    }
    assert_eq!(feed.rebuilt().await, [] as [uuid::Uuid; 0], "what is whole is left alone");
    for ((_, sql), scope) in cases.iter().zip(&tenants) {
        feed.execute(&sql.replace("{s}", &read_schema(scope.tenant(), READ_MODEL_VERSION))).await;
    }
    for (((what, _), scope), before) in cases.iter().zip(&tenants).zip(before) {
        let head = feed.world.store.head(*scope).await.unwrap();
        let schema = read_schema(scope.tenant(), READ_MODEL_VERSION);
        let indexes = format!(
            "select count(*) from pg_indexes join pg_class c on c.relname = indexname and c.relnamespace = schemaname::regnamespace join pg_index i on i.indexrelid = c.oid where schemaname = '{schema}' and indisvalid"
        );
        let healed = async || {
            let at = feed.world.applier.checkpoint(*scope).await.ok();
            let count: i64 = sqlx::query_scalar(&indexes).fetch_one(&feed.world.database.owner).await.unwrap_or(0);
            at == Some(head) && rows(&feed.world, *scope).await == before && count == INDEXES
        };
        until(&format!("healed where {what}"), PATIENCE, healed).await;
    }
    feed.stop.cancel();
    projector.await.unwrap();
}

/// Logs as short as they come, so that nobody thinks of a rebuild: what stood at their beginnings would be served for a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_model_that_is_missing_serves_once_it_is_whole() {
    let feed = Feed::new().await;
    let mut tenants = Vec::new();
    for _ in 0..6 {
        let scope = tenant(&feed).await;
        for _ in 0..10 {
            feed.append_department(scope).await;
        }
        let schema = read_schema(scope.tenant(), READ_MODEL_VERSION);
        feed.execute(&format!("drop schema {schema} cascade")).await;
        tenants.push((scope, feed.world.store.head(scope).await.unwrap(), schema));
    }
    let projector = feed.projector().await;
    // The first position that each can be read at.
    let mut first: Vec<Option<i64>> = vec![None; tenants.len()];
    let all_are_there = async || {
        for (first, (_, _, schema)) in first.iter_mut().zip(&tenants) {
            if first.is_none() {
                let sql = format!("select position from {schema}.checkpoint");
                *first = sqlx::query_scalar(&sql).fetch_one(&feed.world.database.owner).await.ok();
            }
        }
        first.iter().all(Option::is_some)
    };
    until("all are there", PATIENCE, all_are_there).await;
    for (first, (scope, head, _)) in first.into_iter().zip(&tenants) {
        assert!(first.unwrap() >= i64::try_from(head.0).unwrap(), "{scope:?} was served up to {first:?} of {head}");
    }
    feed.append_department(tenants[0].0).await;
    feed.settled(tenants[0].0).await;
    feed.end_derived([projector]).await;
}

/// Indexes of a whole read model.
const INDEXES: i64 = 39;

#[tokio::test(flavor = "multi_thread")]
async fn leases_that_were_lost_fence_nobody_for_long() {
    let feed = Feed::new().await;
    feed.world.append(&history(feed.world.scope, 7, 10)).await;
    // The fence of many owners who came and went, of whose leases nothing is left.
    feed.world.applier.catch_up(feed.world.scope, 1_000).await.unwrap();
    feed.append_department(feed.world.scope).await;
    let projector = feed.projector().await;
    feed.settled(feed.world.scope).await;
    feed.execute("delete from platform.partition_lease").await;
    feed.append_department(feed.world.scope).await;
    feed.settled(feed.world.scope).await;
    feed.end_derived([projector]).await;
}

/// As processes left them whose clock ran ahead, or that died before the clock was set back.
#[tokio::test(flavor = "multi_thread")]
async fn leases_of_the_dead_are_taken_over_whatever_the_clocks_say() {
    let feed = Feed::new().await;
    feed.execute(
        "insert into platform.partition_lease (partition, owner, epoch, heartbeat) select p, 'dead', 3, 9 from generate_series(-5, 15) p;
         insert into event_store.lease (name, owner, epoch, heartbeat) values ('relay', 'dead', 3, 9)",
    )
    .await;
    feed.world.append(&history(feed.world.scope, 8, 10)).await;
    let (relay, projector) = (feed.relay().await, feed.projector().await);
    feed.until_published(feed.world.store.head(feed.world.scope).await.unwrap().0).await;
    feed.settled(feed.world.scope).await;
    feed.end_derived([relay, projector]).await;
}

/// Of two tenants that another build has parked, this one can project one.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_is_tried_again_by_another_build() {
    let feed = Feed::new().await;
    let (good, bad) = (tenant(&feed).await, feed.world.scope);
    feed.world.append(&history(bad, 9, 10)).await;
    let head = feed.world.store.head(bad).await.unwrap();
    let poison = RawValue::from_string("{}".into()).unwrap();
    feed.world.append_raw(StreamName::organization(bad), vec![("DepartmentPainted", 1, poison)]).await;
    for scope in [good, bad] {
        let park = "insert into platform.parked (tenant_id, position, reason, build) values ($1, 1, 'test', 'older')";
        sqlx::query(park).bind(scope.tenant().uuid()).execute(&feed.world.database.owner).await.unwrap();
    }
    let projector = feed.projector().await;
    feed.settled(good).await;
    let one = format!(
        "select count(*) = 1 and bool_and(tenant_id = '{}' and tries = 2 and build <> 'older' and reason like '%DepartmentPainted%'
             and position = {}) from platform.parked",
        bad.tenant().uuid(),
        head.0 + 1
    );
    feed.until_answered_with_yes("one is parked again, for the reason of this time", &one).await;
    // As often as it is asked for, and no more.
    feed.execute("update platform.parked set build = ''").await;
    feed.until_answered_with_yes("it is tried once more", &one.replace("tries = 2", "tries = 3")).await;
    assert_eq!(feed.world.applier.checkpoint(bad).await.unwrap(), head);
    feed.stop.cancel();
    projector.await.unwrap();
}

/// The rows may be at fault, so they are made anew once; then it is known that the log is.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_no_rebuild_can_fold_is_parked() {
    let feed = Feed::new().await;
    feed.world.append(&history(feed.world.scope, 10, 10)).await;
    let head = feed.world.store.head(feed.world.scope).await.unwrap();
    feed.execute(&format!(
        "insert into event_store.event select (jsonb_populate_record(e, jsonb_build_object('position', {position}, 'version', e.version + 5,
             'event_id', gen_random_uuid(), 'command_id', gen_random_uuid()))).*
         from event_store.event e where e.tenant_id = '{tenant}' and category = 'employee' order by e.position desc limit 1;
         update event_store.tenant_head set position = {position} where tenant_id = '{tenant}'",
        position = head.0 + 1,
        tenant = feed.world.scope.tenant().uuid()
    ))
    .await;
    let projector = feed.projector().await;
    feed.assert_parked(head.0, "version").await;
    assert_eq!(feed.rebuilt().await, [feed.world.scope.tenant().uuid()], "it was tried once");
    feed.stop.cancel();
    projector.await.unwrap();
}

/// By an operator, before the cause is mended and after.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_is_tried_again_on_an_operators_word() {
    let system = system().await;
    let token = system.tenant("resumed");
    let tenant = tenant_of(&token).uuid();
    let body = json!({"code": "d", "name": "Department", "effective_on": "2000-01-01"});
    let (status, department) = system.post(&token, "/v1/departments", "d", &body).await;
    assert!(status < 300, "{department}");
    let id = department["id"].as_str().unwrap();
    let pool = system.pool().await;
    let execute = async |sql: &str| pool.execute(format!("set session_replication_role = replica; {sql}").as_str()).await.unwrap();
    // An event that only a later build could read, until it is mended.
    execute(&format!(
        "insert into event_store.event select (jsonb_populate_record(e, jsonb_build_object('position', 2, 'version', 2, 'event_type',
             'DepartmentPainted', 'event_id', gen_random_uuid(), 'command_id', gen_random_uuid()))).*
         from event_store.event e where e.tenant_id = '{tenant}' and e.position = 1;
         update event_store.tenant_head set position = 2 where tenant_id = '{tenant}'"
    ))
    .await;
    let parked = format!("select exists (select from platform.parked where tenant_id = '{tenant}')");
    eventually("the tenant is parked", async || sqlx::query_scalar(&parked).fetch_one(&pool).await.unwrap()).await;
    let shown = system.tenure(&["status"]);
    let shown = shown["tenants"].as_array().unwrap().iter().find(|one| one["slug"] == "resumed").unwrap();
    assert_eq!((&shown["parked"]["position"], &shown["parked"]["tries"]), (&json!(2), &json!(1)), "{shown}");
    let again = system.tenure_fails(&["read-model", "resume", "--tenant", "resumed"]);
    assert!(again.contains("parked_again") && again.contains("DepartmentPainted"), "{again}");
    execute(&format!(
        r#"update event_store.event set event_type = 'DepartmentRenamed',
               data = '{{"department_id": "{id}", "effective": {{"on": "2001-01-01", "seq": 0}}, "name": "Renamed"}}'
           where tenant_id = '{tenant}' and position = 2"#
    ))
    .await;
    let resumed = system.tenure(&["read-model", "resume", "--tenant", "resumed"]);
    assert_eq!(resumed["resumed"][0]["outcome"], "projected", "{resumed}");
    assert_eq!(system.settled(&token).await, 2);
    let nobody = system.tenure(&["read-model", "resume", "--tenant", "resumed"]);
    assert_eq!(nobody["resumed"], json!([]));
    pool.close().await;
}

/// A rebuild whose session with the lock was lost goes on, and another one begins.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_without_its_lock_never_cuts_over_to_anothers_schema() {
    let world = World::new().await;
    world.append(&history(world.scope, 21, 60)).await;
    let head = world.applier.catch_up(world.scope, 1).await.unwrap();
    let live = world.digest().await;
    // The first one has all done but the cut-over, and waits for the live read model.
    let mut reader = world.database.owner.begin().await.unwrap();
    sqlx::query(&format!("select from {}.checkpoint for update", world.schema())).execute(&mut *reader).await.unwrap();
    let (applier, scope) = (world.applier.clone(), world.scope);
    let first = tokio::spawn(async move { rebuild(&applier, &ticket(&applier, scope), |_| {}).await });
    let waits = "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())";
    until("it waits to cut over", PATIENCE, async || sqlx::query_scalar(waits).fetch_one(&world.database.owner).await.unwrap()).await;
    let end = "select count(pg_terminate_backend(pid)) from pg_locks l join pg_database d on d.oid = l.database where locktype = 'advisory' and datname = current_database()";
    let ended: i64 = sqlx::query_scalar(end).fetch_one(&world.database.owner).await.unwrap();
    assert_eq!(ended, 1, "the session with the lock");
    // A session ends a moment after it was told to.
    let free = "select not exists (select from pg_locks l join pg_database d on d.oid = l.database where locktype = 'advisory' and datname = current_database())";
    until("the lock is free", PATIENCE, async || sqlx::query_scalar(free).fetch_one(&world.database.owner).await.unwrap()).await;
    // The second one has made its schema, and stands still.
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let (go_on, goes_on) = std::sync::mpsc::channel();
    let (applier, scope) = (world.applier.clone(), world.scope);
    let second = tokio::spawn(async move {
        let mut begun = Some(begun);
        let goes_on = std::sync::Mutex::new(goes_on);
        let begun = std::sync::Mutex::new(begun.take());
        let hold = |_| {
            if let Some(begun) = begun.lock().unwrap().take() {
                begun.send(()).unwrap();
                tokio::task::block_in_place(|| goes_on.lock().unwrap().recv().unwrap());
            }
        };
        rebuild(&applier, &ticket(&applier, scope), hold).await
    });
    has_begun.await.unwrap();
    reader.rollback().await.unwrap();
    let refused = first.await.unwrap();
    assert_eq!(world.digest().await, live, "after {refused:?}");
    assert!(refused.is_err(), "{refused:?}");
    go_on.send(()).unwrap();
    let report = second.await.unwrap().unwrap();
    assert_eq!(Position(report.position), head);
    assert_eq!(world.digest().await, live);
}

/// The session with the lock ends anywhere in a rebuild, and another one begins at once.
#[tokio::test(flavor = "multi_thread")]
async fn rebuilds_that_lose_their_lock_anywhere_leave_a_whole_read_model() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let world = World::new().await;
    world.append(&history(world.scope, 22, 60)).await;
    let head = world.applier.catch_up(world.scope, 1).await.unwrap();
    let live = world.digest().await;
    let end = "select count(pg_terminate_backend(pid)) from pg_locks l join pg_database d on d.oid = l.database where locktype = 'advisory' and datname = current_database()";
    let mut both = 0;
    for _ in 0..15 {
        let one = |after: u64| {
            let (applier, scope) = (world.applier.clone(), world.scope);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_micros(after)).await;
                rebuild(&applier, &ticket(&applier, scope), |_| {}).await
            })
        };
        let at = random.u64(1..150_000);
        let (first, second) = (one(0), one(at + 2_000));
        tokio::time::sleep(Duration::from_micros(at)).await;
        let ended: i64 = sqlx::query_scalar(end).fetch_one(&world.database.owner).await.unwrap();
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        both += i64::from(ended > 0);
        assert_eq!(world.digest().await, live, "after {first:?} and {second:?}");
        assert_eq!(world.applier.catch_up(world.scope, 1).await.unwrap(), head);
        let indexes = format!("select count(*) from pg_indexes where schemaname = '{}'", world.schema());
        assert_eq!(world.number(&indexes).await, INDEXES, "after {first:?} and {second:?}");
    }
    assert!(both > 3, "a lock was lost in {both} rounds");
}

/// What else a relay is asked about is well: its database answers, and so does NATS.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_fails_for_a_minute_is_not_ready_and_its_log_says_why() {
    let system = own_system().await;
    let token = system.tenant("unready");
    let pool = system.pool().await;
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(system.home.join("run/state.json")).unwrap()).unwrap();
    let url = format!("{}/readyz", state["addresses"]["relay"].as_str().unwrap());
    let ready = async || {
        let answer = system.client.get(&url).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<serde_json::Value>().await.unwrap()["checks"].clone())
    };
    let well = json!({"postgres": "ok", "nats": "ok", "relay": "ok", "release": "ok"});
    assert_eq!(ready().await, (200, well.clone()));
    pool.execute("revoke insert, update on event_store.relay_cursor from tenure_relay").await.unwrap();
    let department = json!({"effective_on": "2000-01-01", "code": "d", "name": "D"});
    assert_eq!(system.post(&token, "/v1/departments", "department", &department).await.0, 201);
    let failing = (503, json!({"postgres": "ok", "nats": "ok", "relay": "failing", "release": "ok"}));
    until("the relay is not ready", Duration::from_mins(3), async || ready().await == failing).await;
    let log = std::fs::read_to_string(system.home.join("log/tenure-relay.log")).unwrap();
    let told = log.lines().any(|line| line.contains("not ready") && line.contains("nothing is relayed") && line.contains("relay_cursor"));
    assert!(told, "the log does not say why the relay is not ready");
    pool.execute("grant insert, update on event_store.relay_cursor to tenure_relay").await.unwrap();
    until("the relay is ready again", PATIENCE, async || ready().await == (200, well.clone())).await;
    pool.close().await;
}
