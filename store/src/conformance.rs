//! What every engine must do, as tests that run against any [`Store`]. Each case makes tenants of its own, so they may
//! run against a store that is in use, and at once. A case that fails panics.

use std::{
    collections::BTreeMap,
    fmt::Display,
    future::Future,
    time::{Duration, Instant},
};

use events::{
    CommandHash, CommandId, CorrelationId, EmployeeId, EventId, EventMark, LogPoint, Metadata, NewEvent, Position, RecordedEvent,
    StreamName, StreamPoint, TenantId, TenantScope, Version,
};
use jiff::SignedDuration;
use serde_json::value::RawValue;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{Append, AppendError, Appended, Claim, ClaimDigest, ClaimKind, ClaimOp, Expected, IdScope, Store, StoreError};

/// Every case, one after another, with a line printed for each. `other` is the same store, as another process has it.
pub async fn all(store: &Store, other: &Store) {
    macro_rules! run {
        ($($case:ident $(with $other:ident)?),* $(,)?) => {
            $({
                let started = Instant::now();
                $case(store $(, $other)?).await;
                println!("ok  {:<48} {:>7.1} ms", stringify!($case), started.elapsed().as_secs_f64() * 1000.0);
            })*
        };
    }
    run!(
        an_expected_version_is_the_streams,
        a_place_is_known_by_its_event,
        an_event_comes_back_as_it_went_in,
        the_same_command_again_is_a_replay,
        the_same_command_at_once_is_written_once,
        one_command_in_two_processes_is_written_once with other,
        another_command_under_the_same_id_is_refused,
        a_command_id_is_the_tenants_and_not_a_streams,
        an_id_of_one_stream_is_known_there,
        a_command_is_found,
        several_events_are_written_all_or_not,
        one_version_is_taken_once,
        a_claim_is_taken_and_given_back,
        a_conflict_names_the_claim,
        a_claim_moves_with_its_append,
        a_replay_takes_no_claim_twice,
        a_race_for_a_claim_has_one_winner,
        a_refused_append_leaves_no_claim,
        who_goes_away_leaves_nothing_half_done,
        a_value_that_somebody_lost_wanted_has_one_holder with other,
        a_value_has_one_holder_whoever_writes with other,
        whoever_wants_two_values_gets_both_or_is_refused with other,
        a_stream_is_read_in_pages,
        a_long_stream_is_like_a_short_one with other,
        a_log_is_read_in_pages,
        a_tenant_among_many_has_its_own_log with other,
        an_empty_log_is_empty,
        a_follower_sees_every_event_in_order,
        a_follower_that_is_started_again_goes_on_where_it_was with other,
        sixty_four_writers_on_one_tenant,
        sixty_four_writers_on_fifty_tenants,
        two_tenants_see_only_their_own,
        what_breaks_a_limit_is_refused,
        what_reaches_a_limit_is_taken,
    );
}

/// `Any`, `NoStream` and `Exact` take and refuse what they say.
pub async fn an_expected_version_is_the_streams(store: &Store) {
    let scope = tenant();
    let stream = employee(scope);
    let wrong = |result: Result<Appended, AppendError>, at: u64| match result {
        Err(AppendError::WrongVersion { actual }) => assert_eq!(actual, Version(at)),
        other => panic!("at version {at}: {other:?}"),
    };
    wrong(store.append(an(stream).at(1).build()).await, 0);
    assert_eq!(written(store, an(stream).new_stream()).await.version, Version(1));
    wrong(store.append(an(stream).new_stream().build()).await, 1);
    wrong(store.append(an(stream).at(2).build()).await, 1);
    assert_eq!(written(store, an(stream).at(1).events(2)).await.version, Version(3));
    wrong(store.append(an(stream).at(1).build()).await, 3);
    assert_eq!(written(store, an(stream)).await.version, Version(4));
    assert_eq!(written(store, an(employee(scope)).at(0)).await.version, Version(1));
    assert_eq!(written(store, an(employee(scope))).await.version, Version(1));
    assert_eq!(versions(&stream_of(store, stream).await), [1, 2, 3, 4]);
}

/// Reading on and appending say which event was seen at a place. Another one there, of another id or only recorded at another
/// instant, or none, is another history.
pub async fn a_place_is_known_by_its_event(store: &Store) {
    let scope = tenant();
    let stream = employee(scope);
    let first = written(store, an(stream).events(3)).await;
    written(store, an(employee(scope))).await;
    let log = log_of(store, scope).await;
    let (second, third) = (log[1].mark(), log[2].mark());
    assert_eq!(first.mark(), Some(third));
    let heads = store.heads().await.expect("the heads");
    let head = heads.into_iter().find(|head| head.tenant == scope.tenant()).expect("the tenant's head");
    assert!(head.mark.is_none_or(|mark| mark == log[3].mark()) && head.position == log[3].position, "{head:?}");
    assert_eq!(store.point_at(scope, log[1].position).await.expect("the point"), log[1].log_point());

    let later = EventMark { recorded_at: third.recorded_at + SignedDuration::from_micros(1), ..third };
    let another = EventMark { id: EventId::from_uuid(Uuid::now_v7()), ..third };
    for (mark, there) in [(Some(third), true), (None, true), (Some(second), false), (Some(later), false), (Some(another), false)] {
        let in_log = store.read_log_on(scope, LogPoint { position: log[2].position, mark }, 10).await.expect("the log");
        assert_eq!(in_log, there.then(|| log[3..].to_vec()), "{mark:?}");
        let in_stream = store.read_stream_on(stream, StreamPoint { version: Version(3), mark }, 10).await.expect("the stream");
        assert_eq!(in_stream, there.then(Vec::new), "{mark:?}");
        if !there {
            let append = Append { expected: Expected::At(StreamPoint { version: Version(3), mark }), ..an(stream).build() };
            let refused = store.append(append).await;
            assert!(matches!(refused, Err(AppendError::WrongVersion { actual: Version(3) })), "{mark:?}: {refused:?}");
        }
    }
    let before = store.read_log_on(scope, log[0].log_point(), 2).await.expect("the log");
    assert_eq!(before, Some(log[1..3].to_vec()));
    let beyond = StreamPoint { version: Version(4), mark: Some(third) };
    assert_eq!(store.read_stream_on(stream, beyond, 10).await.expect("the stream"), None);
    let append = Append { expected: Expected::At(StreamPoint { version: Version(3), mark: Some(third) }), ..an(stream).build() };
    assert_eq!(expect_written(store.append(append).await).version, Version(4));
}

/// Nothing of an event is lost or changed, and the answer tells of what is stored.
pub async fn an_event_comes_back_as_it_went_in(store: &Store) {
    let scope = tenant();
    let stream = employee(scope);
    let mut append = an(stream).events(2).build();
    append.metadata.causation_id = Some(EventId::from_uuid(Uuid::now_v7()));
    append.metadata.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    append.metadata.actor = "user:Ægir \"the\" \\ ☃".into();
    append.events[0].data = raw(r#"{"name":"Zoë \"Z\" \\ \u0041 😀","n":[1,2.50,null,true],"big":12345678901234567890}"#);
    append.events[1].schema_version = 7;
    let answer = store.append(append.clone()).await.expect("the first append");
    let stored = stream_of(store, stream).await;
    assert_eq!(log_of(store, scope).await.iter().map(|e| e.id).collect::<Vec<_>>(), answer.event_ids);
    assert_eq!(stored.len(), 2);
    let mut times = vec![answer.recorded_at];
    for _ in 0..4 {
        times.push(written(store, an(employee(scope))).await.recorded_at);
    }
    assert!(times.iter().any(|time| time.subsec_nanosecond() != 0), "times are cut to seconds: {times:?}");
    for (event, sent) in stored.iter().zip(&append.events) {
        assert_eq!((event.id, event.tenant, event.stream), (sent.id, scope.tenant(), stream));
        assert_eq!((event.event_type.as_str(), event.schema_version), (sent.event_type, sent.schema_version));
        let (got, sent): (serde_json::Value, serde_json::Value) = (parsed(&event.data), parsed(&sent.data));
        assert_eq!(got, sent);
        assert_eq!(format!("{:?}", event.metadata), format!("{:?}", append.metadata));
    }
    assert_eq!(answer.event_ids, stored.iter().map(|e| e.id).collect::<Vec<_>>());
    assert_eq!((answer.version, answer.position), (stored[1].version, stored[1].position));
    assert_eq!(answer.mark(), Some(stored[1].mark()));
    assert_eq!(answer.command_hash, append.metadata.command_hash);
    assert!(store.head(scope).await.expect("the head") > answer.position);
}

/// The same command again gives the first answer, however the stream has moved on.
pub async fn the_same_command_again_is_a_replay(store: &Store) {
    let scope = tenant();
    let stream = employee(scope);
    let append = an(stream).new_stream().events(3).build();
    let first = store.append(append.clone()).await.expect("the first append");
    assert!(!first.replayed);
    replays(store, &append, &first).await;
    written(store, an(stream).at(3)).await;
    written(store, an(employee(scope))).await;
    replays(store, &append, &first).await;
    // A retry may have read a newer version since.
    replays(store, &Append { expected: Expected::Exact(Version(4)), ..append.clone() }, &first).await;
    replays(store, &Append { expected: Expected::Any, ..append }, &first).await;
    assert_eq!(versions(&stream_of(store, stream).await), [1, 2, 3, 4]);
    assert_eq!(log_of(store, scope).await.len(), 5);
}

/// Sixteen tries of one command at once write once and all get the same answer.
pub async fn the_same_command_at_once_is_written_once(store: &Store) {
    let scope = tenant();
    let stream = employee(scope);
    let append = an(stream).new_stream().events(2).take("employee_number", 1).build();
    let answers = at_once((0..16).map(|_| append_to(store, append.clone()))).await;
    let answers: Vec<Appended> = answers.into_iter().map(|answer| answer.expect("a try of one command")).collect();
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1, "{answers:?}");
    let as_first = |answer: &Appended| Appended { replayed: false, ..answer.clone() };
    for answer in &answers {
        assert_eq!(as_first(answer), as_first(&answers[0]));
    }
    assert_eq!(versions(&stream_of(store, stream).await), [1, 2]);
    assert_eq!(log_of(store, scope).await.len(), 2);
}

/// Two processes try one command at once, on a stream that both know: one writes, and the other answers with what that has written.
pub async fn one_command_in_two_processes_is_written_once(one: &Store, other: &Store) {
    let scope = tenant();
    let stream = employee(scope);
    written(one, an(stream)).await;
    assert_eq!(stream_of(other, stream).await.len(), 1);
    for round in 1..=8 {
        let append = Append { id_scope: IdScope::Stream, ..an(stream).at(round).build() };
        let answers = at_once([one, other].map(|store| append_to(store, append.clone()))).await;
        let answers: Vec<Appended> = answers.into_iter().map(|answer| answer.expect("a try of one command")).collect();
        assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1, "{answers:?}");
        let as_first = |answer: &Appended| Appended { replayed: false, ..answer.clone() };
        assert_eq!(as_first(&answers[0]), as_first(&answers[1]));
        let stored = stream_of(one, stream).await.pop().expect("an event");
        assert_eq!((answers[0].mark(), answers[0].position), (Some(stored.mark()), stored.position));
    }
}

/// A command id stands for one command.
pub async fn another_command_under_the_same_id_is_refused(store: &Store) {
    let scope = tenant();
    let stream = employee(scope);
    let append = an(stream).new_stream().build();
    let first = store.append(append.clone()).await.expect("the first append");
    for expected in [Expected::NoStream, Expected::Exact(Version(1)), Expected::Any] {
        let mut other = Append { expected, ..append.clone() };
        other.metadata.command_hash = CommandHash(Uuid::now_v7());
        other.events[0].data = raw(r#"{"other":true}"#);
        match store.append(other).await {
            Err(AppendError::CommandReused) => {}
            answer => panic!("{expected:?}: {answer:?}"),
        }
    }
    replays(store, &append, &first).await;
    // At once: one body wins, tries of the other are refused.
    let stream = employee(scope);
    let bodies = [an(stream).build(), an(stream).build()].map(|mut append| {
        under(&mut append, CommandId::from_uuid(Uuid::from_u128(stream.id().as_u128() ^ 1)));
        append
    });
    let answers = at_once((0..16).map(|n| append_to(store, bodies[n % 2].clone()))).await;
    let stored = stream_of(store, stream).await;
    assert_eq!(versions(&stored), [1]);
    for (n, answer) in answers.into_iter().enumerate() {
        let won = stored[0].metadata.command_hash == bodies[n % 2].metadata.command_hash;
        match answer {
            Ok(_) if won => {}
            Err(AppendError::CommandReused) if !won => {}
            other => panic!("the body that won: {won}: {other:?}"),
        }
    }
}

/// Also of another stream: there, too, it is refused, and the same command gets its first answer.
pub async fn a_command_id_is_the_tenants_and_not_a_streams(store: &Store) {
    let scope = tenant();
    let (here, there) = (employee(scope), employee(scope));
    let append = an(here).build();
    let first = store.append(append.clone()).await.expect("the first append");
    let mut other = an(there).take("work_email", 1).build();
    under(&mut other, append.metadata.command_id);
    match store.append(other).await {
        Err(AppendError::CommandReused) => {}
        answer => panic!("{answer:?}"),
    }
    replays(store, &Append { stream: there, ..append.clone() }, &first).await;
    replays(store, &append, &first).await;
    let found = store.find_command(there, append.metadata.command_id).await.expect("looking for it");
    assert_eq!(found, Some(Appended { replayed: true, ..first }));
    assert!(stream_of(store, there).await.is_empty());
    written(store, an(employee(scope)).take("work_email", 1)).await;
    // A refused command has not used its id.
    let refused = an(here).at(9).build();
    assert!(matches!(store.append(refused.clone()).await, Err(AppendError::WrongVersion { .. })));
    let mut other = an(there).build();
    under(&mut other, refused.metadata.command_id);
    expect_written(store.append(other).await);
    // At once: one stream gets it.
    let streams = [employee(scope), employee(scope)];
    let id = CommandId::from_uuid(Uuid::now_v7());
    let bodies = streams.map(|stream| {
        let mut append = an(stream).build();
        under(&mut append, id);
        append
    });
    let answers = at_once((0..16).map(|n| until_known(store, bodies[n % 2].clone()))).await;
    let won = usize::from(stream_of(store, streams[0]).await.is_empty());
    assert_eq!(versions(&stream_of(store, streams[won]).await), [1]);
    assert!(stream_of(store, streams[1 - won]).await.is_empty(), "both streams took one command id");
    for (n, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(_) if n % 2 == won => {}
            Err(AppendError::CommandReused) if n % 2 != won => {}
            other => panic!("of the stream that won: {}: {other:?}", n % 2 == won),
        }
    }
}

/// An id that comes to its stream only makes an append as idempotent there as any other.
pub async fn an_id_of_one_stream_is_known_there(store: &Store) {
    let stream = employee(tenant());
    let append = Append { id_scope: IdScope::Stream, ..an(stream).new_stream().events(2).take("work_email", 1).build() };
    let answers = at_once((0..8).map(|_| append_to(store, append.clone()))).await;
    let answers: Vec<Appended> = answers.into_iter().map(|answer| answer.expect("a try of one command")).collect();
    let first = answers.iter().find(|answer| !answer.replayed).expect("one that has written").clone();
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1, "{answers:?}");
    written(store, an(stream)).await;
    replays(store, &append, &first).await;
    let mut other = append.clone();
    other.metadata.command_hash = CommandHash(Uuid::now_v7());
    assert!(matches!(store.append(other).await, Err(AppendError::CommandReused)));
    let found = store.find_command(stream, append.metadata.command_id).await.expect("looking for it");
    assert_eq!(found, Some(Appended { replayed: true, ..first }));
    assert_eq!(versions(&stream_of(store, stream).await), [1, 2, 3]);
}

/// `find_command` tells what a command did, and of one that did nothing, nothing.
pub async fn a_command_is_found(store: &Store) {
    let stream = employee(tenant());
    let append = an(stream).events(2).build();
    let command = append.metadata.command_id;
    assert!(store.find_command(stream, command).await.expect("looking for it").is_none());
    let first = store.append(append).await.expect("the append");
    written(store, an(stream)).await;
    let found = store.find_command(stream, command).await.expect("looking for it").expect("the command");
    assert_eq!(found, Appended { replayed: true, ..first });
}

/// Events of one append stand together, and none of a refused one does.
pub async fn several_events_are_written_all_or_not(store: &Store) {
    let scope = tenant();
    let streams: Vec<_> = (0..8).map(|_| employee(scope)).collect();
    let appends = (0..64).map(|n| append_to(store, an(streams[n % 8]).events(5).build()));
    let taken = at_once(appends).await.into_iter().flatten().count();
    assert_eq!(taken, 64);
    assert!(store.append(an(streams[0]).at(1).events(5).build()).await.is_err());
    let log = log_of(store, scope).await;
    assert_eq!(log.len(), 64 * 5);
    for stream in streams {
        let events = stream_of(store, stream).await;
        assert_eq!(versions(&events), (1..=40).collect::<Vec<_>>());
        for command in events.chunks(5) {
            assert!(command.iter().all(|e| e.metadata.command_id == command[0].metadata.command_id), "commands are mixed");
        }
    }
}

/// Of writers that expect the same version, one gets it.
pub async fn one_version_is_taken_once(store: &Store) {
    let scope = tenant();
    let stream = employee(scope);
    written(store, an(stream)).await;
    let answers = at_once((0..32).map(|_| append_to(store, an(stream).at(1).build()))).await;
    let mut winners = 0;
    for answer in answers {
        match answer {
            Ok(appended) => {
                assert_eq!((appended.version, appended.replayed), (Version(2), false));
                winners += 1;
            }
            Err(AppendError::WrongVersion { actual: Version(2) }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((winners, versions(&stream_of(store, stream).await)), (1, vec![1, 2]));
}

/// Taken, kept from others, given back, taken by another; a release of what is not held does nothing.
pub async fn a_claim_is_taken_and_given_back(store: &Store) {
    let scope = tenant();
    let (first, second) = (employee(scope), employee(scope));
    written(store, an(first).take("work_email", 1)).await;
    taken(store, an(second).take("work_email", 1), "work_email").await;
    written(store, an(first).take("work_email", 1)).await; // It is its own.
    written(store, an(second).release("work_email", 1)).await; // Not its to give back.
    taken(store, an(second).take("work_email", 1), "work_email").await;
    written(store, an(first).release("work_email", 1)).await;
    written(store, an(second).take("work_email", 1)).await;
    taken(store, an(first).take("work_email", 1), "work_email").await;
    // Neither another value, nor another kind, nor another tenant's is the same claim.
    written(store, an(first).take("work_email", 2).take("employee_number", 1)).await;
    written(store, an(employee(tenant())).take("work_email", 1)).await;
}

/// Of several claims the refusal names the one that is taken.
pub async fn a_conflict_names_the_claim(store: &Store) {
    let scope = tenant();
    written(store, an(employee(scope)).take("work_email", 1)).await;
    written(store, an(employee(scope)).take("employee_number", 1)).await;
    taken(store, an(employee(scope)).take("employee_number", 2).take("work_email", 1), "work_email").await;
    taken(store, an(employee(scope)).take("employee_number", 1).take("work_email", 2), "employee_number").await;
    written(store, an(employee(scope)).take("employee_number", 2).take("work_email", 2)).await;
}

/// One append gives one value back and takes another.
pub async fn a_claim_moves_with_its_append(store: &Store) {
    let scope = tenant();
    let (first, second) = (employee(scope), employee(scope));
    written(store, an(first).take("work_email", 1)).await;
    written(store, an(first).release("work_email", 1).take("work_email", 2)).await;
    written(store, an(second).take("work_email", 1)).await;
    taken(store, an(second).take("work_email", 2), "work_email").await;
}

/// The replay of a take, after the value went to another, takes nothing and is not refused.
pub async fn a_replay_takes_no_claim_twice(store: &Store) {
    let scope = tenant();
    let (first, second) = (employee(scope), employee(scope));
    let take = an(first).take("work_email", 1).build();
    let answer = store.append(take.clone()).await.expect("the first take");
    replays(store, &take, &answer).await;
    let release = an(first).release("work_email", 1).build();
    let released = store.append(release.clone()).await.expect("the release");
    replays(store, &take, &answer).await;
    written(store, an(second).take("work_email", 1)).await;
    replays(store, &take, &answer).await;
    replays(store, &release, &released).await;
    taken(store, an(employee(scope)).take("work_email", 1), "work_email").await;
}

/// Thirty-two streams reach for one value.
pub async fn a_race_for_a_claim_has_one_winner(store: &Store) {
    let scope = tenant();
    let appends = (0..32).map(|_| until_known(store, an(employee(scope)).new_stream().take("work_email", 1).build()));
    let mut winners = 0;
    for answer in at_once(appends).await {
        match answer {
            Ok(_) => winners += 1,
            Err(AppendError::ClaimTaken { kind }) => assert_eq!(kind, ClaimKind("work_email")),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((winners, log_of(store, scope).await.len()), (1, 1));
}

/// Refused for its version, for another claim, or for a reused command id: the value stays free.
pub async fn a_refused_append_leaves_no_claim(store: &Store) {
    let scope = tenant();
    let stream = employee(scope);
    let first = an(stream).take("work_email", 1).build();
    store.append(first.clone()).await.expect("the first append");
    assert!(matches!(
        store.append(an(stream).at(9).take("employee_number", 1).build()).await,
        Err(AppendError::WrongVersion { actual: Version(1) })
    ));
    written(store, an(employee(scope)).take("employee_number", 1)).await;
    taken(store, an(employee(scope)).take("employee_number", 2).take("work_email", 1), "work_email").await;
    written(store, an(employee(scope)).take("employee_number", 2)).await;
    let mut reused = an(stream).take("employee_number", 3).build();
    reused.metadata.command_id = first.metadata.command_id;
    assert!(matches!(store.append(reused).await, Err(AppendError::CommandReused)));
    written(store, an(employee(scope)).take("employee_number", 3)).await;
    // Nor does it free what its own stream holds.
    let own_and_anothers = an(stream).take("work_email", 1).take("employee_number", 3).build();
    assert!(matches!(store.append(own_and_anothers).await, Err(AppendError::ClaimTaken { .. })));
    taken(store, an(employee(scope)).take("work_email", 1), "work_email").await;
    // And a refused release gives nothing back.
    assert!(store.append(an(stream).at(9).release("work_email", 1).build()).await.is_err());
    taken(store, an(employee(scope)).take("work_email", 1), "work_email").await;
}

/// Whose caller stops waiting, at whatever moment, is written whole or not at all, and the value it reached for is soon its
/// or free.
pub async fn who_goes_away_leaves_nothing_half_done(store: &Store) {
    let scope = tenant();
    for n in 0..24 {
        let (first, second) = (employee(scope), employee(scope));
        let leaving = append_to(store, an(first).events(2).take("work_email", n).take("employee_number", n).build());
        let _ = tokio::time::timeout(Duration::from_micros(fastrand::u64(1..20_000)), leaving).await;
        let started = Instant::now();
        let answer = until_known(store, an(second).take("employee_number", n).build()).await;
        assert!(started.elapsed() < Duration::from_secs(10), "who went away was waited for");
        let holders = [stream_of(store, first).await.len(), stream_of(store, second).await.len()];
        match answer {
            Ok(_) => assert_eq!(holders, [0, 1]),
            Err(AppendError::ClaimTaken { .. }) => assert_eq!(holders, [2, 0]),
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// Whoever reaches for a value is lost with its append under way, on which the network may still sit, and somebody in another process
/// wants the value, too: however late the first append arrives, the value has one holder, which both processes know.
pub async fn a_value_that_somebody_lost_wanted_has_one_holder(one: &Store, other: &Store) {
    let scope = tenant();
    let mut pairs = Vec::new();
    for value in 0..24 {
        let (lost, second) = (employee(scope), employee(scope));
        let under_way = tokio::spawn(append_to(one, an(lost).take("work_email", value).build()));
        tokio::time::sleep(Duration::from_micros(fastrand::u64(1..10_000))).await;
        under_way.abort();
        match until_known(other, an(second).take("work_email", value).build()).await {
            Ok(_) | Err(AppendError::ClaimTaken { .. }) => pairs.push((value, [lost, second])),
            Err(other) => panic!("{other:?}"),
        }
    }
    // By now what was late has arrived, if it ever does.
    for (value, pair) in pairs {
        let mut holders = Vec::new();
        for stream in pair {
            if !stream_of(one, stream).await.is_empty() {
                holders.push(stream);
            }
        }
        assert_eq!(holders.len(), 1, "value {value} is held by {holders:?}");
        for store in [one, other] {
            let wanted = until_known(store, an(employee(scope)).take("work_email", value).build()).await;
            assert!(matches!(wanted, Err(AppendError::ClaimTaken { .. })), "value {value}: {wanted:?}");
        }
        expect_written(until_known(other, an(holders[0]).release("work_email", value).build()).await);
    }
}

/// Two processes write the same streams, and take and give back the same values, some in vain: at no point of the log do two
/// streams hold one value.
pub async fn a_value_has_one_holder_whoever_writes(one: &Store, other: &Store) {
    const VALUES: u8 = 4;
    let scope = tenant();
    let streams: Vec<_> = (0..4).map(|_| employee(scope)).collect();
    let mut writers = JoinSet::new();
    for n in 0..16 {
        let (store, streams) = (if n % 2 == 0 { one.clone() } else { other.clone() }, streams.clone());
        writers.spawn(async move {
            for _ in 0..8 {
                let (value, second) = (fastrand::u8(..VALUES), fastrand::u8(..VALUES));
                let takes = fastrand::u8(..3) > 0;
                let mut append = an(streams[fastrand::usize(..streams.len())]).claim(
                    "work_email",
                    value,
                    if takes { ClaimOp::Take } else { ClaimOp::Release },
                );
                if takes && second != value {
                    append = append.take("work_email", second);
                }
                if fastrand::u8(..4) == 0 {
                    append = append.at(fastrand::u64(1..9));
                }
                let mut append = append.build();
                let claims = append.claims.iter().map(|claim| (claim.digest.0[0], claim.op == ClaimOp::Take)).collect::<Vec<_>>();
                append.events[0].data = raw(&serde_json::to_string(&claims).expect("numbers are JSON"));
                match store.append(append).await {
                    Err(
                        AppendError::Invalid(_)
                        | AppendError::CommandReused
                        | AppendError::CommandAnswered
                        | AppendError::Store(StoreError::Broken(_) | StoreError::Unreadable { .. }),
                    ) => {
                        panic!("an append with claims is neither taken nor refused")
                    }
                    Ok(_)
                    | Err(
                        AppendError::WrongVersion { .. } | AppendError::ClaimTaken { .. } | AppendError::Store(StoreError::Unavailable(_)),
                    ) => {}
                }
            }
        });
    }
    finished(writers).await;
    let mut holders: BTreeMap<u8, StreamName> = BTreeMap::new();
    for event in log_of(one, scope).await {
        let claims: Vec<(u8, bool)> = serde_json::from_str(event.data.get()).expect("claims");
        for (value, taken) in claims {
            let holder = holders.get(&value).copied();
            if taken {
                assert!(holder.is_none_or(|holder| holder == event.stream), "{value} is held by {holder:?} and taken by {event:?}");
                holders.insert(value, event.stream);
            } else if holder == Some(event.stream) {
                holders.remove(&value);
            }
        }
    }
    for (value, holder) in holders {
        taken(other, an(employee(scope)).take("work_email", value), "work_email").await;
        written(other, an(holder).release("work_email", value)).await;
    }
}

/// Sixteen streams want the same two values at once, named in either order, in two processes: none waits for ever for one that
/// waits for it, and one of them gets both.
pub async fn whoever_wants_two_values_gets_both_or_is_refused(one: &Store, other: &Store) {
    let scope = tenant();
    let appends = (0..16).map(|n| {
        let wanting = an(employee(scope)).new_stream();
        let wanting =
            if n % 3 == 0 { wanting.take("badge", 1).take("work_email", 1) } else { wanting.take("work_email", 1).take("badge", 1) };
        until_known(if n % 2 == 0 { one } else { other }, wanting.build())
    });
    let mut winners = 0;
    for answer in at_once(appends).await {
        match answer {
            Ok(_) => winners += 1,
            Err(AppendError::ClaimTaken { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!((winners, log_of(one, scope).await.len()), (1, 1));
}

/// Pages of a stream join without gap or overlap, at any size.
pub async fn a_stream_is_read_in_pages(store: &Store) {
    let scope = tenant();
    let stream = employee(scope);
    for _ in 0..5 {
        written(store, an(stream).events(5)).await;
        written(store, an(employee(scope))).await;
    }
    for limit in [1, 7, 25, 26, 1_000] {
        let mut events: Vec<RecordedEvent> = Vec::new();
        loop {
            let after = events.last().map_or(Version::ZERO, |e| e.version);
            let page = store.read_stream(stream, after, limit).await.expect("a page");
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            events.extend(page);
        }
        assert_eq!(versions(&events), (1..=25).collect::<Vec<_>>());
        assert!(events.is_sorted_by(|a, b| a.position < b.position));
    }
    assert!(store.read_stream(employee(scope), Version::ZERO, 10).await.expect("no stream").is_empty());
    assert!(store.read_stream(stream, Version(99), 10).await.expect("beyond the end").is_empty());
}

/// Versions, conflicts, retries and pages at the end of a thousand events are those of a young stream; what one process has written
/// there, another goes on from. What an append costs there is counted where calls can be counted, by the stand-in of the tests.
pub async fn a_long_stream_is_like_a_short_one(one: &Store, other: &Store) {
    const APPENDS: u64 = 10;
    const EVENTS: u64 = 100;
    let scope = tenant();
    let stream = employee(scope);
    let (mut first, mut answers) = (None, Vec::new());
    for n in 0..APPENDS {
        let append = an(stream).at(n * EVENTS).events(100).build();
        answers.push(expect_written(one.append(append.clone()).await));
        first.get_or_insert(append);
    }
    let (first, long) = (first.expect("an append"), APPENDS * EVENTS);
    for (n, store) in [other, one, other, one].into_iter().enumerate() {
        let at = long + n as u64;
        let behind = store.append(an(stream).at(at - 1).build()).await;
        assert!(matches!(behind, Err(AppendError::WrongVersion { actual }) if actual == Version(at)), "at {at}: {behind:?}");
        assert_eq!(written(store, an(stream).at(at)).await.version, Version(at + 1));
        replays(store, &first, &answers[0]).await;
        let found = store.find_command(stream, first.metadata.command_id).await.expect("looking for it");
        assert_eq!(found, Some(Appended { replayed: true, ..answers[0].clone() }));
        let page = store.read_stream(stream, Version(at - 1), 100).await.expect("the last page");
        assert_eq!(versions(&page), [at, at + 1]);
    }
    assert_eq!(versions(&stream_of(other, stream).await), (1..=long + 4).collect::<Vec<_>>());
    ordered(one, &log_of(one, scope).await);
}

/// Pages of a log join without gap or overlap, at any size.
pub async fn a_log_is_read_in_pages(store: &Store) {
    let scope = tenant();
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.extend(written(store, an(employee(scope)).events(1 + n % 4)).await.event_ids);
    }
    for limit in [1, 7, ids.len(), ids.len() + 1, 1_000] {
        let log = log_in_pages(store, scope, limit).await;
        assert_eq!(log.iter().map(|e| e.id).collect::<Vec<_>>(), ids, "in pages of {limit}");
        ordered(store, &log);
    }
    let head = store.head(scope).await.expect("the head");
    assert!(store.read_log(scope, head, 10).await.expect("beyond the end").is_empty());
}

/// A tenant of a hundred events among forty others, whose events stand between its own: its log, its head and its places are its own,
/// in the process that wrote them and in one that did not. Whose the others are, the store does not ask.
pub async fn a_tenant_among_many_has_its_own_log(one: &Store, other: &Store) {
    let (scope, others) = (tenant(), (0..40).map(|_| tenant()).collect::<Vec<_>>());
    let (stream, mut ids, mut of_others) = (employee(scope), Vec::new(), BTreeMap::<_, u64>::new());
    for round in 0..20 {
        for (n, foreign) in others.iter().enumerate().filter(|(n, _)| (n + round) % 5 == 0) {
            let events = 1 + n % 3;
            written(one, an(employee(*foreign)).events(events)).await;
            *of_others.entry(foreign.tenant()).or_default() += events as u64;
        }
        // Its own stream, and new ones.
        ids.extend(written(one, an(stream).events(3)).await.event_ids);
        ids.extend(written(one, an(employee(scope)).events(2)).await.event_ids);
    }
    for store in [one, other] {
        for limit in [1, 7, 100, 1_000] {
            let log = log_in_pages(store, scope, limit).await;
            assert_eq!(log.iter().map(|e| e.id).collect::<Vec<_>>(), ids, "in pages of {limit}");
            ordered(store, &log);
        }
        let log = log_of(store, scope).await;
        assert_eq!(store.head(scope).await.expect("the head"), log[99].position);
        let rest = store.read_log_on(scope, log[41].log_point(), 1_000).await.expect("the log");
        assert_eq!(rest.map(|rest| rest.len()), Some(58));
        assert_eq!(store.point_at(scope, log[41].position).await.expect("the point"), log[41].log_point());
        let heads: BTreeMap<_, _> = store.heads().await.expect("the heads").into_iter().map(|head| (head.tenant, head)).collect();
        assert_eq!((heads[&scope.tenant()].position, heads[&scope.tenant()].events), (log[99].position, 100));
        for (foreign, events) in &of_others {
            let log = log_of(store, TenantScope::checked(*foreign)).await;
            assert!(log.iter().all(|e| e.tenant == *foreign));
            assert_eq!((log.len() as u64, heads[foreign].events), (*events, *events));
            assert_eq!(heads[foreign].position, log[log.len() - 1].position);
        }
    }
}

/// A tenant without events has neither head nor log.
pub async fn an_empty_log_is_empty(store: &Store) {
    let scope = tenant();
    assert_eq!(store.head(scope).await.expect("the head"), Position::ZERO);
    assert!(store.read_log(scope, Position::ZERO, 10).await.expect("the log").is_empty());
    assert!(store.append(an(employee(scope)).at(3).build()).await.is_err());
    assert_eq!(store.head(scope).await.expect("the head"), Position::ZERO);
    assert!(store.heads().await.expect("the heads").iter().all(|head| head.tenant != scope.tenant()));
}

/// Who reads on from where it was sees every event once, in order, while sixteen write: none turns up behind it.
pub async fn a_follower_sees_every_event_in_order(store: &Store) {
    const EVENTS: usize = 16 * 10 * 2;
    let scope = tenant();
    let mut writers = JoinSet::new();
    for _ in 0..16 {
        let store = store.clone();
        writers.spawn(async move {
            let stream = employee(scope);
            for n in 0..10 {
                written(&store, an(stream).at(n * 2).events(2)).await;
            }
        });
    }
    let (mut followed, started) = (Vec::<RecordedEvent>::new(), Instant::now());
    while followed.len() < EVENTS {
        assert!(started.elapsed().as_secs() < 60, "{} of {EVENTS} events seen after a minute", followed.len());
        let at = followed.last().map_or(Position::ZERO, |e| e.position);
        let heads = store.heads().await.expect("the heads");
        let head = heads.iter().find(|head| head.tenant == scope.tenant()).map_or(Position::ZERO, |head| head.position);
        if head == at {
            tokio::task::yield_now().await;
            continue;
        }
        assert!(head > at, "the head went back from {at:?} to {head:?}");
        let page = store.read_log(scope, at, 50).await.expect("a page");
        assert!(!page.is_empty(), "the head is {head:?}, and nothing is after {at:?}");
        followed.extend(page);
    }
    finished(writers).await;
    ordered(store, &followed);
    let ids = |events: &[RecordedEvent]| events.iter().map(|e| e.id).collect::<Vec<_>>();
    assert_eq!(ids(&followed), ids(&log_of(store, scope).await));
}

/// Whoever followed a log and is gone, and whoever takes over from the place that was kept, see every event once between them, while the
/// tenant and others beside it are written to. At rest there is nothing after the last.
pub async fn a_follower_that_is_started_again_goes_on_where_it_was(one: &Store, other: &Store) {
    const EVENTS: usize = 8 * 15;
    let scope = tenant();
    let mut writers = JoinSet::new();
    for n in 0..8 {
        let store = if n % 2 == 0 { one.clone() } else { other.clone() };
        writers.spawn(async move {
            for _ in 0..15 {
                written(&store, an(employee(scope))).await;
                written(&store, an(employee(tenant()))).await;
            }
        });
    }
    let (mut followed, mut lives, started) = (Vec::<RecordedEvent>::new(), 0_usize, Instant::now());
    while followed.len() < EVENTS {
        assert!(started.elapsed().as_secs() < 60, "{} of {EVENTS} events seen after a minute", followed.len());
        // Each life is another process's, and reads a page.
        let at = followed.last().map(RecordedEvent::log_point).unwrap_or_default();
        let store = if lives.is_multiple_of(2) { one } else { other };
        let page = store.read_log_on(scope, at, 13).await.expect("a page").expect("the place is known by its event");
        lives += 1;
        if page.is_empty() {
            tokio::task::yield_now().await;
        }
        followed.extend(page);
    }
    finished(writers).await;
    ordered(one, &followed);
    let ids = |events: &[RecordedEvent]| events.iter().map(|e| e.id).collect::<Vec<_>>();
    assert_eq!(ids(&followed), ids(&log_of(other, scope).await));
    let end = followed[EVENTS - 1].log_point();
    for store in [one, other] {
        assert_eq!(store.read_log_on(scope, end, 13).await.expect("the end"), Some(Vec::new()));
    }
}

/// Order and, where promised, density under concurrent writers on one log.
pub async fn sixty_four_writers_on_one_tenant(store: &Store) {
    writers_on(store, &[tenant()]).await;
}

/// Order and, where promised, density under concurrent writers on many logs.
pub async fn sixty_four_writers_on_fifty_tenants(store: &Store) {
    writers_on(store, &(0..50).map(|_| tenant()).collect::<Vec<_>>()).await;
}

/// Writes of two tenants alternate; each sees its own, even where they share ids and claims.
pub async fn two_tenants_see_only_their_own(store: &Store) {
    let (a, b) = (tenant(), tenant());
    let id = EmployeeId::from_uuid(Uuid::now_v7());
    let (of_a, of_b) = (StreamName::employee(a, id), StreamName::employee(b, id));
    let (mut ids_a, mut ids_b) = (Vec::new(), Vec::new());
    for n in 0..10 {
        let append = an(of_a).at(n).take("work_email", 1).build();
        let mut other = an(of_b).at(n).take("work_email", 1).build();
        other.metadata.command_id = append.metadata.command_id; // Idempotency is a tenant's own affair, too.
        ids_a.extend(store.append(append).await.expect("an append of one").event_ids);
        ids_b.extend(store.append(other).await.expect("an append of the other").event_ids);
    }
    for (scope, stream, ids) in [(a, of_a, ids_a), (b, of_b, ids_b)] {
        for events in [log_of(store, scope).await, stream_of(store, stream).await] {
            assert!(events.iter().all(|e| e.tenant == scope.tenant() && e.stream == stream));
            assert_eq!(events.iter().map(|e| e.id).collect::<Vec<_>>(), ids);
        }
        ordered(store, &log_of(store, scope).await);
    }
}

/// [`Append`]'s limits hold, and what breaks one writes nothing.
pub async fn what_breaks_a_limit_is_refused(store: &Store) {
    let scope = tenant();
    let stream = employee(scope);
    let mut heavy = an(stream).events(2).build();
    heavy.events[0].data = weighing(200 * 1024);
    heavy.events[1].data = weighing(56 * 1024 + 1);
    let broken = [
        ("no events", an(stream).events(0).build()),
        ("101 events", an(stream).events(101).build()),
        ("256 KiB and a byte", heavy),
        ("17 claims", (0..17).fold(an(stream), |an, n| an.take("work_email", n)).build()),
        ("one claim twice", an(stream).take("work_email", 1).release("work_email", 1).build()),
        ("another tenant's stream", Append { stream: employee(tenant()), ..an(stream).build() }),
    ];
    for (what, append) in broken {
        match store.append(append).await {
            Err(AppendError::Invalid(_)) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
    assert_eq!(store.head(scope).await.expect("the head"), Position::ZERO);
}

/// What only reaches the limits is taken.
pub async fn what_reaches_a_limit_is_taken(store: &Store) {
    let scope = tenant();
    let stream = employee(scope);
    written(store, (0..16).fold(an(stream).events(100), |an, n| an.take("work_email", n))).await;
    let mut heavy = an(stream).build();
    heavy.events[0].data = weighing(256 * 1024);
    store.append(heavy).await.expect("256 KiB");
    let events = stream_of(store, stream).await;
    assert_eq!((events.len(), events[100].data.get().len()), (101, 256 * 1024));
}

/// An append in the making.
struct An(Append);

/// An append of one event to a stream, whatever its version, under a new command id.
fn an(stream: StreamName) -> An {
    let command_id = CommandId::from_uuid(Uuid::now_v7());
    let metadata = Metadata {
        actor: "user:conformance".into(),
        command_id,
        command_hash: CommandHash(Uuid::now_v7()),
        correlation_id: CorrelationId::from_uuid(command_id.uuid()),
        causation_id: None,
        traceparent: None,
    };
    let scope = TenantScope::checked(stream.tenant());
    An(Append { scope, stream, expected: Expected::Any, events: Vec::new(), claims: Vec::new(), metadata, id_scope: IdScope::Tenant })
        .events(1)
}

impl An {
    fn at(mut self, version: u64) -> Self {
        self.0.expected = Expected::Exact(Version(version));
        self
    }
    fn new_stream(mut self) -> Self {
        self.0.expected = Expected::NoStream;
        self
    }
    fn events(mut self, count: usize) -> Self {
        let event = |n| NewEvent {
            id: NewEvent::id_for(self.0.metadata.command_id, n),
            event_type: "EmployeeHired",
            schema_version: 1,
            data: raw(&format!(r#"{{"n":{n}}}"#)),
        };
        self.0.events = (0..count).map(event).collect();
        self
    }
    fn take(self, kind: &'static str, value: u8) -> Self {
        self.claim(kind, value, ClaimOp::Take)
    }
    fn release(self, kind: &'static str, value: u8) -> Self {
        self.claim(kind, value, ClaimOp::Release)
    }
    fn claim(mut self, kind: &'static str, value: u8, op: ClaimOp) -> Self {
        self.0.claims.push(Claim { kind: ClaimKind(kind), digest: ClaimDigest([value; 32]), op });
        self
    }
    fn build(self) -> Append {
        self.0
    }
}

/// Gives an append another command id.
fn under(append: &mut Append, id: CommandId) {
    append.metadata.command_id = id;
    for (n, event) in append.events.iter_mut().enumerate() {
        event.id = NewEvent::id_for(id, n);
    }
}

fn tenant() -> TenantScope {
    TenantScope::checked(TenantId::from_uuid(Uuid::now_v7()))
}

fn employee(scope: TenantScope) -> StreamName {
    StreamName::employee(scope, EmployeeId::from_uuid(Uuid::now_v7()))
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("a test's data is JSON")
}

fn parsed(data: &RawValue) -> serde_json::Value {
    serde_json::from_str(data.get()).expect("a raw value is JSON")
}

/// A JSON string of this length.
fn weighing(bytes: usize) -> Box<RawValue> {
    raw(&format!("\"{}\"", "x".repeat(bytes - 2)))
}

#[track_caller]
fn expect_written(result: Result<Appended, AppendError>) -> Appended {
    match result {
        Ok(appended) if !appended.replayed => appended,
        other => panic!("an append that must be taken: {other:?}"),
    }
}

async fn written(store: &Store, an: An) -> Appended {
    expect_written(store.append(an.build()).await)
}

async fn taken(store: &Store, an: An, kind: &'static str) {
    match store.append(an.build()).await {
        Err(AppendError::ClaimTaken { kind: named }) => assert_eq!(named, ClaimKind(kind)),
        other => panic!("a claim that another stream holds: {other:?}"),
    }
}

async fn replays(store: &Store, append: &Append, first: &Appended) {
    let again = store.append(append.clone()).await.expect("a replay");
    assert_eq!(again, Appended { replayed: true, ..first.clone() });
}

async fn stream_of(store: &Store, stream: StreamName) -> Vec<RecordedEvent> {
    store.read_stream(stream, Version::ZERO, 100_000).await.expect("the stream")
}

async fn log_of(store: &Store, scope: TenantScope) -> Vec<RecordedEvent> {
    log_in_pages(store, scope, 1_000).await
}

async fn log_in_pages(store: &Store, scope: TenantScope, limit: usize) -> Vec<RecordedEvent> {
    let mut log: Vec<RecordedEvent> = Vec::new();
    loop {
        let after = log.last().map_or(Position::ZERO, |e| e.position);
        let page = store.read_log(scope, after, limit).await.expect("a page of the log");
        assert!(page.len() <= limit);
        if page.is_empty() {
            return log;
        }
        log.extend(page);
    }
}

fn versions(events: &[RecordedEvent]) -> Vec<u64> {
    events.iter().map(|e| e.version.0).collect()
}

/// A whole log is in order, and dense where the engine says so.
fn ordered(store: &Store, log: &[RecordedEvent]) {
    assert!(log.is_sorted_by(|a, b| a.position < b.position), "the log is out of order");
    if store.is_dense() {
        assert!(log.iter().zip(1..).all(|(e, n)| e.position == Position(n)), "the log has holes");
    }
}

/// As a caller does it: again, as long as the outcome is open.
fn until_known(store: &Store, append: Append) -> impl Future<Output = Result<Appended, AppendError>> + use<> {
    let (store, started) = (store.clone(), Instant::now());
    async move {
        loop {
            match store.append(append.clone()).await {
                Err(AppendError::Store(StoreError::Unavailable(_))) if started.elapsed() < Duration::from_secs(30) => {}
                outcome => return outcome,
            }
        }
    }
}

fn append_to(store: &Store, append: Append) -> impl Future<Output = Result<Appended, AppendError>> + use<> {
    let store = store.clone();
    async move { store.append(append).await }
}

/// Runs them as tasks of their own; their answers in order.
async fn at_once<F>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let tasks: Vec<_> = futures.into_iter().map(tokio::spawn).collect();
    let mut answers = Vec::with_capacity(tasks.len());
    for task in tasks {
        answers.push(unbroken(task.await));
    }
    answers
}

async fn finished(mut tasks: JoinSet<()>) {
    while let Some(task) = tasks.join_next().await {
        unbroken(task);
    }
}

#[track_caller]
fn unbroken<T>(task: Result<T, impl Display>) -> T {
    task.unwrap_or_else(|error| panic!("{error}"))
}

async fn writers_on(store: &Store, scopes: &[TenantScope]) {
    const APPENDS: u64 = 10;
    let (mut writers, mut streams) = (JoinSet::new(), BTreeMap::<_, Vec<StreamName>>::new());
    for n in 0..64 {
        let scope = scopes[n % scopes.len()];
        let stream = employee(scope);
        streams.entry(scope.tenant()).or_default().push(stream);
        let store = store.clone();
        writers.spawn(async move {
            let mut position = Position::ZERO;
            for n in 0..APPENDS {
                let appended = written(&store, an(stream).at(n)).await;
                assert!(appended.position > position, "a later event stands before an earlier one");
                position = appended.position;
            }
        });
    }
    finished(writers).await;
    for scope in scopes {
        let (log, streams) = (log_of(store, *scope).await, &streams[&scope.tenant()]);
        ordered(store, &log);
        assert_eq!(log.len() as u64, streams.len() as u64 * APPENDS);
        assert_eq!(store.head(*scope).await.expect("the head"), log[log.len() - 1].position);
        for stream in streams {
            let of_stream: Vec<_> = log.iter().filter(|e| e.stream == *stream).map(|e| e.version.0).collect();
            assert_eq!(of_stream, (1..=APPENDS).collect::<Vec<_>>());
        }
    }
}
