//! What the stand-in answers, asked through the vendor's client: the rules that the engine relies on, as the server's sources have
//! them, and each way in which it can go wrong.

use std::time::Duration;

use eventstore::{
    AppendToStreamOptions, Client, DeleteStreamOptions, Error, EventData, Position, ReadAllOptions, ReadStreamOptions, RecordedEvent,
    StreamPosition, StreamState, SubscriptionFilter, WriteResult,
};
use serde_json::json;
use uuid::Uuid;

use super::{Effect, Kind, StandIn, User};
use crate::servers::eventually;

fn client(url: &str) -> Client {
    Client::new(url.parse().unwrap()).unwrap()
}

/// An event of which only the id counts.
fn event(id: u128) -> EventData {
    EventData::json("Tested", &json!({"id": id.to_string()})).unwrap().id(Uuid::from_u128(id))
}

async fn append(client: &Client, stream: &str, expected: StreamState, ids: &[u128]) -> Result<WriteResult, Error> {
    let options = AppendToStreamOptions::default().stream_state(expected).deadline(Duration::from_secs(5));
    let events: Vec<_> = ids.iter().map(|id| event(*id)).collect();
    client.append_to_stream(stream, &options, events).await
}

async fn collect(mut stream: eventstore::ReadStream) -> Result<Vec<RecordedEvent>, Error> {
    let mut events = Vec::new();
    while let Some(event) = stream.next().await? {
        events.extend(event.event);
    }
    Ok(events)
}

async fn read(client: &Client, stream: &str, options: ReadStreamOptions) -> Result<Vec<u128>, Error> {
    let events = collect(client.read_stream(stream, &options).await?).await?;
    Ok(events.iter().map(|event| event.id.as_u128()).collect())
}

/// The streams' names, and revisions, of what a read of `$all` gives.
async fn read_all(client: &Client, options: ReadAllOptions) -> Result<Vec<String>, Error> {
    let events = collect(client.read_all(&options).await?).await?;
    Ok(events.iter().map(|event| format!("{} {}", event.stream_id(), event.revision)).collect())
}

fn at(position: u64) -> StreamPosition<Position> {
    StreamPosition::Position(Position { commit: position, prepare: position })
}

fn of(prefix: &str) -> SubscriptionFilter {
    SubscriptionFilter::on_stream_name().add_prefix(prefix).max(1_000)
}

#[tokio::test]
async fn an_append_is_taken_known_again_or_refused() {
    use StreamState::{Any, NoStream, StreamExists, StreamRevision};
    let server = StandIn::start();
    let client = client(&server.url());
    // The ids of an append to a stream that holds the events 1, 2 and 3, and what comes of it: the stream's last revision, or
    // that the stream stands at revision 2.
    for (n, (expected, ids, answer)) in [
        (Any, [4, 5].as_slice(), Some(4)),
        (StreamExists, &[4, 5], Some(4)),
        (StreamRevision(2), &[4, 5], Some(4)),
        (StreamRevision(2), &[1], Some(3)),
        (NoStream, &[4], None),
        (StreamRevision(1), &[4], None),
        (StreamRevision(3), &[4], None),
        // The same again.
        (NoStream, &[1, 2, 3], Some(2)),
        (NoStream, &[1], Some(0)),
        (StreamRevision(0), &[2, 3], Some(2)),
        (Any, &[2, 3], Some(2)),
        (StreamExists, &[1], Some(0)),
        // Partly the same.
        (NoStream, &[1, 4], None),
        (NoStream, &[1, 2, 3, 4], None),
        (StreamRevision(0), &[2, 4], None),
        (Any, &[3, 4], None),
        // Where the ids are not expected to be.
        (StreamRevision(0), &[3], None),
        (NoStream, &[2], None),
    ]
    .into_iter()
    .enumerate()
    {
        let stream = format!("stream-{n}");
        append(&client, &stream, NoStream, &[1, 2, 3]).await.unwrap();
        let before = server.records();
        let result = append(&client, &stream, expected, ids).await;
        match (result, answer) {
            (Ok(written), Some(revision)) => {
                let events = collect(client.read_stream(stream.as_str(), &ReadStreamOptions::default()).await.unwrap()).await.unwrap();
                let last = &events[usize::try_from(revision).unwrap()];
                assert_eq!((written.next_expected_version, written.position), (revision, last.position), "{n}");
            }
            (Err(Error::WrongExpectedVersion { current, .. }), None) => {
                assert_eq!(current, eventstore::CurrentRevision::Current(2), "{n}");
                assert_eq!(server.records().len(), before.len(), "{n}");
            }
            (other, _) => panic!("{n}: {other:?}"),
        }
    }
    for expected in [StreamExists, StreamRevision(0)] {
        let refused = append(&client, "none", expected, &[1]).await;
        assert!(matches!(refused, Err(Error::WrongExpectedVersion { current: eventstore::CurrentRevision::NoStream, .. })), "{refused:?}");
    }
    // Ids are known at any revision only until the server is started again, and by the stream for ever.
    append(&client, "restarted", NoStream, &[1]).await.unwrap();
    server.kill();
    eventually("the client is back", async || read(&client, "restarted", ReadStreamOptions::default()).await.is_ok()).await;
    assert_eq!(append(&client, "restarted", NoStream, &[1]).await.unwrap().next_expected_version, 0);
    assert_eq!(append(&client, "restarted", Any, &[1]).await.unwrap().next_expected_version, 1);
}

#[tokio::test]
async fn a_stream_is_read_from_both_ends() {
    let server = StandIn::start();
    let client = client(&server.url());
    let ids: Vec<u128> = (1..=100).collect();
    append(&client, "s", StreamState::NoStream, &ids).await.unwrap();
    let options = ReadStreamOptions::default;
    // Each row: the options, the records that come, and how many are looked at. The server reads pages of 32.
    for (options, expected, looked_at) in [
        (options(), ids.clone(), 100),
        (options().position(StreamPosition::Position(90)), (91..=100).collect(), 10),
        (options().position(StreamPosition::Position(90)).max_count(3), vec![91, 92, 93], 3),
        (options().position(StreamPosition::Position(100)), vec![], 0),
        (options().position(StreamPosition::Position(1_000)), vec![], 0),
        (options().max_count(40), (1..=40).collect(), 64),
        (options().backwards().position(StreamPosition::End), (1..=100).rev().collect(), 100),
        (options().backwards().position(StreamPosition::End).max_count(1), vec![100], 1),
        (options().backwards().position(StreamPosition::Position(2)).max_count(9), vec![3, 2, 1], 3),
    ] {
        let mark = server.mark();
        assert_eq!(read(&client, "s", options).await.unwrap(), expected);
        let work = server.since(mark).await;
        assert_eq!((work.calls(Kind::ReadStream), work.looked_at()), (1, looked_at), "{work:?}");
    }
    assert!(matches!(read(&client, "none", options()).await, Err(Error::ResourceNotFound)));
}

#[tokio::test]
async fn all_is_read_from_both_ends_and_filtered() {
    let server = StandIn::start();
    let client = client(&server.url());
    for n in 1..=100 {
        append(&client, if n % 10 == 6 { "rare-1" } else { "often-1" }, StreamState::Any, &[n]).await.unwrap();
    }
    let records = server.records();
    let place = |n: usize| records[n].position;
    let named = |ns: &[usize]| ns.iter().map(|n| format!("{} {}", records[*n].stream, records[*n].revision)).collect::<Vec<_>>();
    let (own, count) = (records.len() - 100, records.len());
    let rare: Vec<usize> = (0..10).map(|n| own + 10 * n + 5).collect();
    let options = ReadAllOptions::default;
    // Each row: the options, the records that come, and how many are looked at. A read looks for one more than was asked for.
    for (n, (asked, expected, looked_at)) in [
        (options().position(StreamPosition::Start), named(&(0..count).collect::<Vec<_>>()), count),
        (options().position(at(place(own))).max_count(1), named(&[own]), 2),
        (options().position(at(place(own))).max_count(40), named(&(own..own + 40).collect::<Vec<_>>()), 64),
        (options().position(at(place(own))).filter(of("rare-")).max_count(1), named(&rare[..1]), 16),
        (options().position(at(place(own))).filter(of("rare-")), named(&rare), 100),
        (options().position(at(place(rare[9]))).filter(of("rare-")).max_count(1), named(&rare[9..]), 5),
        (options().position(at(place(rare[9] + 1))).filter(of("rare-")), vec![], 4),
        (options().position(StreamPosition::End).backwards().max_count(1), named(&[count - 1]), 2),
        (options().position(StreamPosition::End).backwards().filter(of("rare-")).max_count(2), named(&[rare[9], rare[8]]), 35),
        (options().position(at(place(own + 1))).backwards().max_count(1), named(&[own]), 2),
        (options().position(at(place(count - 1) + 1)), vec![], 0),
    ]
    .into_iter()
    .enumerate()
    {
        let mark = server.mark();
        assert_eq!(read_all(&client, asked).await.unwrap(), expected, "{n}");
        assert_eq!(server.since(mark).await.looked_at(), looked_at as u64, "{n}");
    }
    let pattern = SubscriptionFilter::on_stream_name().regex("^[b-d]{3}").max(1_000);
    assert_eq!(read_all(&client, options().filter(pattern)).await.unwrap(), Vec::<String>::new());
    let pattern = SubscriptionFilter::on_stream_name().regex("^r[a-r]{2}e-[0-9]$").max(10);
    assert_eq!(read_all(&client, options().filter(pattern)).await.unwrap(), named(&rare));
    let types = SubscriptionFilter::on_event_type().add_prefix("Test");
    assert_eq!(read_all(&client, options().filter(types).max_count(1)).await.unwrap(), named(&[own]));
    // Within a record there is nothing to read.
    let within = read_all(&client, options().position(at(place(own) + 1))).await;
    assert!(matches!(&within, Err(Error::ServerError(cause)) if cause.contains("InvalidPosition")), "{within:?}");
}

#[tokio::test]
async fn users_do_what_they_may() {
    const ADMIN: User = User { name: "admin", password: "changeit", admin: true };
    const OURS: User = User { name: "tenure", password: "secret", admin: false };
    let server = StandIn::with_users(&[ADMIN, OURS]);
    let (admin, ours) = (client(&server.url_of("admin", "changeit")), client(&server.url_of("tenure", "secret")));
    let all = ReadAllOptions::default;
    append(&ours, "s", StreamState::Any, &[1]).await.unwrap();
    for stranger in [client(&server.url()), client(&server.url_of("tenure", "wrong")), client(&server.url_of("nobody", "secret"))] {
        assert!(matches!(append(&stranger, "s", StreamState::Any, &[2]).await, Err(Error::AccessDenied)));
        assert!(matches!(read(&stranger, "s", ReadStreamOptions::default()).await, Err(Error::AccessDenied)));
    }
    // Without the settings that docs/eventstoredb.md has, `$all` is the admins', and everybody may remove.
    assert!(matches!(read_all(&ours, all()).await, Err(Error::AccessDenied)));
    assert!(read_all(&admin, all()).await.is_ok());
    assert!(!matches!(ours.delete_stream("s", &DeleteStreamOptions::default()).await, Err(Error::AccessDenied)));
    let settings = json!({"$userStreamAcl": {"$r": "tenure", "$w": "tenure", "$d": "$admins", "$mr": "$admins", "$mw": "$admins"},
        "$systemStreamAcl": {"$r": ["$admins", "tenure"], "$w": "$admins", "$d": "$admins", "$mr": "$admins", "$mw": "$admins"}});
    let settings = EventData::json("update-default-acl", &settings).unwrap();
    let any = AppendToStreamOptions::default().stream_state(StreamState::Any);
    assert!(matches!(ours.append_to_stream("$settings", &any, settings.clone()).await, Err(Error::AccessDenied)));
    admin.append_to_stream("$settings", &any, settings).await.unwrap();
    assert!(read_all(&ours, all()).await.is_ok());
    append(&ours, "s", StreamState::Any, &[2]).await.unwrap();
    for metadata in ["$$s", "$settings"] {
        assert!(matches!(append(&ours, metadata, StreamState::Any, &[3]).await, Err(Error::AccessDenied)), "{metadata}");
    }
    assert!(matches!(ours.delete_stream("s", &DeleteStreamOptions::default()).await, Err(Error::AccessDenied)));
}

#[tokio::test]
async fn what_is_held_is_carried_out_when_its_client_has_given_up() {
    let server = StandIn::start();
    let client = client(&server.url());
    let held = server.fault(Effect::Hold, 1, |call| call.kind == Kind::Append && call.stream == "held");
    let options = AppendToStreamOptions::default().stream_state(StreamState::NoStream).deadline(Duration::from_millis(50));
    let given_up = client.append_to_stream("held", &options, event(1)).await;
    assert!(matches!(given_up, Err(Error::DeadlineExceeded)), "{given_up:?}");
    assert_eq!(held.met(), 1);
    append(&client, "other", StreamState::NoStream, &[2]).await.unwrap();
    assert!(matches!(read(&client, "held", ReadStreamOptions::default()).await, Err(Error::ResourceNotFound)));
    drop(held);
    eventually("the append is carried out", async || read(&client, "held", ReadStreamOptions::default()).await.is_ok()).await;
    // What is slow is not begun when its client has given up.
    let slow = server.fault(Effect::Slow(Duration::from_millis(200)), 1, |call| call.kind == Kind::Append);
    let given_up = client.append_to_stream("slow", &options, event(1)).await;
    assert!(matches!(given_up, Err(Error::DeadlineExceeded)), "{given_up:?}");
    assert_eq!(slow.met(), 1);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(matches!(read(&client, "slow", ReadStreamOptions::default()).await, Err(Error::ResourceNotFound)));
}

#[tokio::test]
async fn what_is_not_answered_is_written() {
    let server = StandIn::start();
    let clients = [client(&server.url()), client(&server.url())];
    for (n, effect) in [Effect::Mute, Effect::Cut, Effect::Late(Duration::from_secs(2))].into_iter().enumerate() {
        let stream = format!("s-{n}");
        let fault = server.fault(effect, 1, |call| call.kind == Kind::Append);
        let options = AppendToStreamOptions::default().stream_state(StreamState::NoStream).deadline(Duration::from_secs(1));
        let unknown = clients[0].append_to_stream(stream.as_str(), &options, event(1)).await;
        assert!(unknown.is_err() && !matches!(unknown, Err(Error::WrongExpectedVersion { .. })), "{effect:?}: {unknown:?}");
        assert_eq!(fault.met(), 1, "{effect:?}");
        assert_eq!(read(&clients[1], &stream, ReadStreamOptions::default()).await.unwrap(), [1], "{effect:?}");
        eventually("the client is back", async || append(&clients[0], &stream, StreamState::NoStream, &[1]).await.is_ok()).await;
    }
    let refused = server.fault(Effect::Refuse(tonic::Code::Unavailable, "Server Is Too Busy"), 1, |call| call.kind == Kind::Append);
    assert!(matches!(append(&clients[1], "refused", StreamState::Any, &[1]).await, Err(Error::ServerError(_))));
    assert_eq!(refused.met(), 1);
    assert!(matches!(read(&clients[1], "refused", ReadStreamOptions::default()).await, Err(Error::ResourceNotFound)));
    // A read is cut after its first event.
    let ids: Vec<u128> = (1..=100).collect();
    append(&clients[1], "long", StreamState::NoStream, &ids).await.unwrap();
    let cut = server.fault(Effect::Cut, 1, |call| call.stream == "long");
    assert!(read(&clients[1], "long", ReadStreamOptions::default()).await.is_err());
    drop(cut);
    eventually("the client is back", async || read(&clients[1], "long", ReadStreamOptions::default()).await.is_ok()).await;
}

#[tokio::test]
async fn a_server_goes_away_comes_back_and_is_put_back() {
    let server = StandIn::start();
    let connect = || client(&server.url());
    append(&connect(), "s", StreamState::NoStream, &[1]).await.unwrap();
    let backup = server.backup();
    append(&connect(), "s", StreamState::StreamRevision(0), &[2]).await.unwrap();
    // What was on its way when the server was killed is never carried out.
    let held = server.fault(Effect::Hold, 1, |call| call.kind == Kind::Append);
    let one = connect();
    let waiting = tokio::spawn(async move { append(&one, "s", StreamState::StreamRevision(1), &[3]).await });
    eventually("the append is on its way", async || held.met() == 1).await;
    server.away();
    drop(held);
    assert!(waiting.await.unwrap().is_err());
    assert!(append(&connect(), "s", StreamState::Any, &[3]).await.is_err());
    server.back();
    assert_eq!(read(&connect(), "s", ReadStreamOptions::default()).await.unwrap(), [1, 2]);
    let second = server.records().last().unwrap().position;
    server.put_back(backup);
    assert_eq!(read(&connect(), "s", ReadStreamOptions::default()).await.unwrap(), [1]);
    let written = append(&connect(), "s", StreamState::Any, &[4]).await.unwrap();
    assert_eq!((written.next_expected_version, written.position.commit), (1, second));
    server.cut();
    assert_eq!(read(&connect(), "s", ReadStreamOptions::default()).await.unwrap(), [1, 4]);
}
