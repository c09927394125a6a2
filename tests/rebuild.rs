//! Rebuilding read models: the same rows, while the live one serves and moves on; killed anywhere; never two at once.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use events::{
    DepartmentId, Effective, Event, Position, StreamName, TenantId, TenantScope,
    organization::{DepartmentCreated, DepartmentRenamed, OrganizationEvent},
};
use platform::{
    Access, TenantTx,
    job::{Kind, Ticket},
};
use projector::{
    apply::{ApplyError, HEALING_BATCH},
    rebuild::{RebuildError, rebuild},
};
use serde_json::value::RawValue;
use sqlx::Executor as _;
use uuid::Uuid;

use crate::projection::{World, history, number, ticket};

#[tokio::test]
async fn a_rebuild_gives_the_rows_of_the_live_projection() {
    let world = World::new().await;
    let facts = history(world.scope, 11, 80);
    world.append(&facts).await;
    world.applier.catch_up(world.scope, 1).await.unwrap();
    let live = world.digest().await;
    let seen = std::sync::Mutex::new(Vec::new());
    let report =
        rebuild(&world.applier, &ticket(&world.applier, world.scope), |progress| seen.lock().unwrap().push(progress)).await.unwrap();
    assert_eq!(report.events, facts.len() as u64);
    assert_eq!(report.position, facts.len() as u64);
    let mut rows = 0;
    for table in projector::rebuild::table_names::<projector::Capabilities>() {
        rows += world.number(&format!("select count(*) from {table}")).await;
    }
    assert_eq!(report.rows, rows.unsigned_abs());
    assert_eq!(world.digest().await, live);
    assert_eq!(seen.lock().unwrap().last().map(|p| (p.folded, p.of)), Some((facts.len() as u64, facts.len() as u64)));

    // Again, from nothing but the log; and no left-over stays beside it.
    world.database.owner.execute(format!("drop schema {} cascade", world.schema()).as_str()).await.unwrap();
    rebuild(&world.applier, &ticket(&world.applier, world.scope), |_| {}).await.unwrap();
    assert_eq!(world.digest().await, live);
    assert_eq!(schemas(&world).await, [world.schema()]);

    // The indexes, and the reader's right to what it reads.
    let wanted = 8 + 8; // a primary key per table but one, the checkpoint's, and eight more indexes: see below
    let indexes = world.number(&format!("select count(*) from pg_indexes where schemaname = '{}'", world.schema())).await;
    assert!(indexes >= wanted, "{indexes}");
    let mut tx = TenantTx::begin(&world.database.pool("tenure_query", 1), world.scope, &world.schema(), Access::Read).await.unwrap();
    let people: i64 = sqlx::query_scalar("select count(*) from employee").fetch_one(tx.conn()).await.unwrap();
    assert_eq!(people, 80);
}

/// More events in one stream than a page holds.
#[tokio::test]
async fn a_stream_of_several_pages_is_folded_whole() {
    let world = World::new().await;
    let mut facts = history(world.scope, 16, 10);
    let Some((organization, Event::Organization(OrganizationEvent::DepartmentCreated(first)))) = facts.first().cloned() else {
        panic!("a history begins with a department");
    };
    facts.extend((1..=5_200_u16).map(|n| {
        let effective = Effective { on: first.effective.on, seq: n };
        let name = format!("Department, {n} times renamed");
        (organization, OrganizationEvent::from(DepartmentRenamed { department_id: first.department_id, effective, name }).into())
    }));
    world.append(&facts).await;
    world.applier.catch_up(world.scope, 1).await.unwrap();
    let live = world.digest().await;
    let report = rebuild(&world.applier, &ticket(&world.applier, world.scope), |_| {}).await.unwrap();
    assert_eq!(report.events, facts.len() as u64);
    assert_eq!(world.digest().await, live);
}

async fn schemas(world: &World) -> Vec<String> {
    let pattern = format!("t_{}_r%", world.scope.tenant());
    sqlx::query_scalar("select nspname::text from pg_namespace where nspname like $1 order by 1")
        .bind(pattern.replace('_', "\\_"))
        .fetch_all(&world.database.owner)
        .await
        .unwrap()
}

#[tokio::test]
async fn an_empty_log_rebuilds_to_empty_tables_and_the_platform_has_none() {
    let world = World::new().await;
    let report = rebuild(&world.applier, &ticket(&world.applier, world.scope), |_| {}).await.unwrap();
    assert_eq!((report.events, report.rows, report.position), (0, 0, 0));
    let platform = rebuild(&world.applier, &ticket(&world.applier, TenantScope::checked(TenantId::PLATFORM)), |_| {}).await;
    assert!(matches!(platform, Err(RebuildError::NoReadModel)), "{platform:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn projection_and_queries_go_on_while_rebuilds_cut_over() {
    let world = World::new().await;
    let facts = history(world.scope, 12, 60);
    let done = AtomicBool::new(false);
    let project = async {
        for batch in facts.chunks(10) {
            world.append(batch).await;
            // A newcomer to the feed each time: it never knows of a rebuild.
            let head = world.store.head(world.scope).await.unwrap();
            let at = world.applier.catch_up(world.scope, 1).await.unwrap();
            assert!(at >= head, "the projection fell back from {head} to {at}");
        }
        done.store(true, Ordering::SeqCst);
    };
    let rebuilds = async {
        let mut count = 0;
        while !done.load(Ordering::SeqCst) {
            rebuild(&world.applier, &ticket(&world.applier, world.scope), |_| {}).await.unwrap();
            count += 1;
        }
        count
    };
    let read = async {
        let pool = world.database.pool("tenure_query", 2);
        let (mut last, mut reads) = (0, 0);
        while !done.load(Ordering::SeqCst) {
            let mut tx = TenantTx::begin(&pool, world.scope, &world.schema(), Access::Read).await.unwrap();
            // One statement sees one read model: its checkpoint, and rows that go with it.
            let (at, people, employments): (i64, i64, i64) = sqlx::query_as(
                "select position, (select count(*) from employee), (select count(distinct employee_id) from employment) from checkpoint",
            )
            .fetch_one(tx.conn())
            .await
            .unwrap();
            tx.commit().await.unwrap();
            assert!(at >= last, "a reader saw {last} and then {at}");
            assert_eq!(people, employments, "everybody who is there was hired");
            (last, reads) = (at, reads + 1);
        }
        reads
    };
    let ((), rebuilds, reads) = tokio::join!(project, rebuilds, read);
    println!("{rebuilds} rebuilds, {reads} reads");
    assert!(rebuilds > 1 && reads > 10);
    let live = world.digest().await;
    rebuild(&world.applier, &ticket(&world.applier, world.scope), |_| {}).await.unwrap();
    assert_eq!(world.digest().await, live);
    assert_eq!(world.applier.checkpoint(world.scope).await.unwrap(), Position(facts.len() as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_is_ahead_serves_before_it_has_seen_what_an_import_appends_meanwhile() {
    let world = World::new().await;
    world.append(&history(world.scope, 12, 20)).await;
    let head = world.store.head(world.scope).await.unwrap();
    let department = |n| {
        let department_id = DepartmentId::from_uuid(Uuid::from_u128(n));
        let effective = Effective { on: jiff::civil::date(2000, 1, 1), seq: 0 };
        let created = DepartmentCreated { department_id, effective, code: format!("more-{n}"), name: "More".into(), parent_id: None };
        (StreamName::organization(world.scope), Event::from(OrganizationEvent::from(created)))
    };
    let more: Vec<_> = (1..=HEALING_BATCH as u128 + 1).map(department).collect();
    let appended = AtomicBool::new(false);
    let runtime = tokio::runtime::Handle::current();
    let append_once = |_| {
        if !appended.swap(true, Ordering::SeqCst) {
            // On a thread of its own: this one waits for the rebuild, and would lose a wake-up for it while it waits for the append.
            let append = || runtime.block_on(world.append(&more));
            std::thread::scope(|scope| scope.spawn(append).join().unwrap());
        }
    };
    let report = rebuild(&world.applier, &ticket(&world.applier, world.scope), append_once).await.unwrap();
    assert_eq!((report.position, world.applier.checkpoint(world.scope).await.unwrap()), (head.0, head));
    let end = world.applier.catch_up(world.scope, 1).await.unwrap();
    assert_eq!(end.0, head.0 + more.len() as u64);
    let live = world.digest().await;
    rebuild(&world.applier, &ticket(&world.applier, world.scope), |_| {}).await.unwrap();
    assert_eq!(world.digest().await, live);
}

#[tokio::test]
async fn two_rebuilds_of_a_tenant_do_not_run_at_once() {
    let world = World::new().await;
    world.append(&history(world.scope, 13, 30)).await;
    // On a busy machine one may be through before the other begins.
    let mut tries = 0;
    loop {
        let asked = [(); 2].map(|()| ticket(&world.applier, world.scope));
        let both = tokio::join!(rebuild(&world.applier, &asked[0], |_| {}), rebuild(&world.applier, &asked[1], |_| {}));
        match both {
            (Ok(_), Err(RebuildError::Running)) | (Err(RebuildError::Running), Ok(_)) => break,
            (Ok(_), Ok(_)) if tries < 20 => tries += 1,
            both => panic!("{both:?}"),
        }
    }
    rebuild(&world.applier, &ticket(&world.applier, world.scope), |_| {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_killed_anywhere_leaves_the_old_or_the_new() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let world = World::new().await;
    world.append(&history(world.scope, 14, 60)).await;
    let head = world.applier.catch_up(world.scope, 1).await.unwrap();
    let live = world.digest().await;
    let (mut killed, mut finished) = (0, 0);
    for _ in 0..40 {
        let (applier, scope) = (world.applier.clone(), world.scope);
        let task = tokio::spawn(async move { rebuild(&applier, &ticket(&applier, scope), |_| {}).await });
        tokio::time::sleep(Duration::from_micros(random.u64(1..250_000))).await;
        task.abort();
        match task.await {
            Err(_) => killed += 1,
            Ok(Ok(_)) => finished += 1,
            // The server notices a broken connection a moment later; until then its lock is held.
            Ok(Err(RebuildError::Running)) => {}
            Ok(Err(error)) => panic!("{error}"),
        }
        assert_eq!(world.digest().await, live);
        assert_eq!(world.applier.catch_up(world.scope, 1).await.unwrap(), head);
    }
    println!("{killed} killed, {finished} finished");
    assert!(killed > 0);
    let mut tries = 0;
    while let Err(error) = rebuild(&world.applier, &ticket(&world.applier, world.scope), |_| {}).await {
        assert!(matches!(error, RebuildError::Running) && tries < 50, "{error}");
        tries += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.digest().await, live);
    assert_eq!(schemas(&world).await, [world.schema()], "a rebuild removes what others left");
}

#[tokio::test]
async fn a_log_that_cannot_be_folded_leaves_the_live_rows_and_the_parking_alone() {
    let world = World::new().await;
    world.append(&history(world.scope, 15, 10)).await;
    let head = world.applier.catch_up(world.scope, 1).await.unwrap();
    let live = world.digest().await;
    let park = "insert into platform.parked (tenant_id, position, reason) values ($1, 1, 'test')";
    sqlx::query(park).bind(world.scope.tenant().uuid()).execute(&world.applier.pool).await.unwrap();
    let parked =
        async || -> i64 { sqlx::query_scalar("select count(*) from platform.parked").fetch_one(&world.applier.pool).await.unwrap() };

    rebuild(&world.applier, &ticket(&world.applier, world.scope), |_| {}).await.unwrap();
    assert_eq!(parked().await, 0, "a rebuild frees its tenant");

    sqlx::query(park).bind(world.scope.tenant().uuid()).execute(&world.applier.pool).await.unwrap();
    let data = RawValue::from_string("{}".into()).unwrap();
    world.append_raw(StreamName::organization(world.scope), vec![("DepartmentPainted", 1, data)]).await;
    match rebuild(&world.applier, &ticket(&world.applier, world.scope), |_| {}).await {
        Err(RebuildError::Apply(ApplyError::Unprojectable { position, reason })) => {
            assert_eq!(position, head.next());
            assert!(reason.contains("DepartmentPainted"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.digest().await, live);
    assert_eq!(parked().await, 1);
    assert_eq!(number(&world.applier.pool, world.scope, &world.schema(), "select position from checkpoint").await, head.0 as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rebuild_without_a_ticket_for_it() {
    let world = World::new().await;
    let good = ticket(&world.applier, world.scope);
    let elsewhere = World::new().await;
    let mut altered = good.as_str().to_owned().into_bytes();
    altered[30] = if altered[30] == b'A' { b'B' } else { b'A' };
    let unsigned =
        serde_json::json!({"id": Uuid::now_v7(), "tenant": world.scope.tenant(), "asked_by": "me", "good_until": i64::MAX}).to_string();
    for (what, text) in [
        ("nothing", String::new()),
        ("a namespace", world.scope.tenant().namespace()),
        ("text", "ticket".into()),
        ("an altered one", String::from_utf8(altered).unwrap()),
        ("half of one", good.as_str()[..good.as_str().len() / 2].into()),
        ("one that nobody sealed", base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, unsigned)),
        ("one of another system", ticket(&elsewhere.applier, world.scope).as_str().into()),
    ] {
        let refused = rebuild(&world.applier, &Ticket::from_text(text), |_| {}).await;
        assert!(matches!(refused, Err(RebuildError::Refused(_))), "{what}: {refused:?}");
    }
    // It takes its tenant from the ticket and from nowhere else.
    let other = world.database.tenant().await;
    assert_eq!(ticket(&world.applier, other).open(&world.applier.keys, Kind::RebuildReadModel).unwrap().scope().tenant(), other.tenant());
    rebuild(&world.applier, &Ticket::from_text(good.as_str()), |_| {}).await.unwrap();
    // Once, and not of a tenant that nobody made ready.
    let nobody = ticket(&world.applier, TenantScope::checked(TenantId::from_uuid(Uuid::now_v7())));
    for (again, why) in [(good, "used before"), (nobody, "never made ready")] {
        let refused = rebuild(&world.applier, &again, |_| {}).await.unwrap_err();
        assert!(matches!(refused, RebuildError::Refused(_)) && refused.to_string().contains(why), "{refused}");
    }
}
