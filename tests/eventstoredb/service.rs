//! The calls of the protocol: what comes in, what goes out, and how it is refused.

#![expect(clippy::result_large_err, reason = "tonic's Status is large, and what a handler of tonic's gives")]

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::Stream;
use hyper::body::Incoming;
use regex::Regex;
use tokio::sync::mpsc;
use tonic::{
    Code, Request, Response, Status, Streaming,
    body::Body,
    codec::ProstCodec,
    metadata::{MetadataMap, MetadataValue},
    server::Grpc,
};

use super::{
    Connection,
    calls::{Call, Kind},
    faults::Effects,
    log::{Filter, Page, Pattern, Proposed, Record, Written},
    messages::*,
    rights::Operation,
};

/// Events in one page of the server, and those that wait for a client that is slow to take them.
const PAGE: usize = 32;
/// Bytes of one append at most.
const MAX_APPEND: usize = 1 << 20;

const READ: &str = "/event_store.client.streams.Streams/Read";
const APPEND: &str = "/event_store.client.streams.Streams/Append";
const DELETE: &str = "/event_store.client.streams.Streams/Delete";
const TOMBSTONE: &str = "/event_store.client.streams.Streams/Tombstone";
const METHODS: &str = "/event_store.client.server_features.ServerFeatures/GetSupportedMethods";
/// The calls that are answered.
pub(super) const CALLS: [&str; 5] = [READ, APPEND, DELETE, TOMBSTONE, METHODS];

/// Answers one request.
pub(super) async fn answer(connection: Arc<Connection>, request: http::Request<Incoming>) -> http::Response<Body> {
    let path = request.uri().path().to_owned();
    let deadline = request.headers().get("grpc-timeout").and_then(|value| timeout(value.to_str().ok()?));
    let answering = async {
        match path.as_str() {
            READ => {
                let read = tower::service_fn(|request| std::future::ready(read(&connection, request)));
                Grpc::new(ProstCodec::<ReadResp, ReadReq>::default()).server_streaming(read, request).await
            }
            APPEND => {
                let append = tower::service_fn(|request| append(Arc::clone(&connection), request));
                Grpc::new(ProstCodec::<AppendResp, AppendReq>::default()).client_streaming(append, request).await
            }
            DELETE | TOMBSTONE => {
                let remove = tower::service_fn(|request| std::future::ready(remove(&connection, request)));
                Grpc::new(ProstCodec::<(), RemoveReq>::default()).unary(remove, request).await
            }
            METHODS => {
                let methods = tower::service_fn(|_: Request<()>| supported_methods(Arc::clone(&connection)));
                Grpc::new(ProstCodec::<SupportedMethods, ()>::default()).unary(methods, request).await
            }
            _ => Status::unimplemented("Service is unimplemented.").into_http(),
        }
    };
    match deadline {
        None => answering.await,
        Some(deadline) => {
            tokio::time::timeout(deadline, answering).await.unwrap_or_else(|_| Status::deadline_exceeded("Deadline Exceeded").into_http())
        }
    }
}

/// `grpc-timeout`: up to eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

async fn supported_methods(connection: Arc<Connection>) -> Result<Response<SupportedMethods>, Status> {
    let call = connection.begin(Kind::ServerFeatures, "", String::new());
    let effects = Effects::of(&connection, &call);
    effects.before().await?;
    effects.on_the_way().await;
    call.over.store(true, Ordering::Relaxed);
    effects.after().await;
    let method = |name: &str, features: &[&str]| SupportedMethod {
        method_name: name.into(),
        service_name: "event_store.client.streams.streams".into(),
        features: features.iter().map(|feature| (*feature).into()).collect(),
    };
    let methods = vec![method("read", &["position", "events"]), method("append", &[]), method("delete", &[]), method("tombstone", &[])];
    Ok(Response::new(SupportedMethods { methods, event_store_server_version: "24.6.0".into() }))
}

/// Who calls: nobody where no name is given.
fn user(connection: &Connection, metadata: &MetadataMap) -> Result<Option<String>, Status> {
    let Some(header) = metadata.get("authorization") else { return Ok(None) };
    let named = header.to_str().ok().and_then(|header| {
        let decoded = String::from_utf8(STANDARD.decode(header.strip_prefix("Basic ")?).ok()?).ok()?;
        decoded.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
    });
    match named {
        Some((user, password)) if connection.server.rights.knows(&user, &password) => Ok(Some(user)),
        Some(_) | None => Err(Status::unauthenticated("Unauthenticated")),
    }
}

fn allowed(connection: &Connection, metadata: &MetadataMap, operation: Operation, stream: &str) -> Result<(), Status> {
    let user = user(connection, metadata)?;
    let log = connection.server.log.lock().unwrap();
    if connection.server.rights.allow(&log, user.as_deref(), operation, stream) {
        return Ok(());
    }
    Err(exception(Code::PermissionDenied, "Access Denied", &[("exception", "access-denied")]))
}

/// A refusal with what the server says of it in trailers.
fn exception(code: Code, message: &str, trailers: &[(&'static str, &str)]) -> Status {
    let mut metadata = MetadataMap::new();
    for (name, value) in trailers {
        if let Ok(value) = MetadataValue::try_from(*value) {
            metadata.insert(*name, value);
        }
    }
    Status::with_metadata(code, message, metadata)
}

fn missing<T>(value: Option<T>, what: &str) -> Result<T, Status> {
    value.ok_or_else(|| Status::invalid_argument(format!("'{what}' is a required argument")))
}

fn name(identifier: Option<&StreamIdentifier>) -> Result<String, Status> {
    let identifier = missing(identifier, "streamIdentifier")?;
    String::from_utf8(identifier.stream_name.to_vec()).map_err(|_| Status::invalid_argument("a stream's name is not UTF-8"))
}

async fn append(connection: Arc<Connection>, request: Request<Streaming<AppendReq>>) -> Result<Response<AppendResp>, Status> {
    let (metadata, _, mut messages) = request.into_parts();
    let Some(AppendReq { content: Some(AppendContent::Options(options)) }) = messages.message().await? else {
        return Err(Status::unknown("Exception was thrown by handler."));
    };
    let stream = name(options.stream_identifier.as_ref())?;
    let expected = missing(options.expected_stream_revision, "expectedStreamRevision")?;
    allowed(&connection, &metadata, Operation::Write, &stream)?;
    let (mut events, mut size) = (Vec::new(), 0);
    while let Some(message) = messages.message().await? {
        let Some(AppendContent::ProposedMessage(message)) = message.content else {
            return Err(Status::unknown("Exception was thrown by handler."));
        };
        events.push(proposed(message, &mut size)?);
    }
    if events.is_empty() {
        return Err(Status::unimplemented("the stand-in takes no append without events"));
    }
    let call = connection.begin(Kind::Append, &stream, format!("{expected:?}"));
    let effects = Effects::of(&connection, &call);
    // A task of its own: what was held is carried out later, also when its client has given up.
    effects.before().await?;
    let carried_out = tokio::spawn(async move {
        effects.on_the_way().await;
        let response = connection.write(&stream, expected, events).map(|written| appended(expected, written));
        call.over.store(true, Ordering::Relaxed);
        effects.after().await;
        response.ok_or_else(|| Status::unavailable("the stand-in was killed"))
    });
    carried_out.await.map_err(|error| Status::unknown(error.to_string()))?.map(Response::new)
}

fn proposed(message: ProposedMessage, size: &mut usize) -> Result<Proposed, Status> {
    let ProposedMessage { id, mut metadata, custom_metadata, data } = message;
    let mut required = |property: &str| {
        metadata.remove(property).ok_or_else(|| {
            let trailers = [("exception", "missing-required-metadata-property"), ("required-metadata-properties", "type,content-type")];
            exception(Code::InvalidArgument, &format!("Required Metadata Property '{property}' is missing"), &trailers)
        })
    };
    let (event_type, content_type) = (required("type")?, required("content-type")?);
    *size += data.len() + custom_metadata.len() + 2 * event_type.len();
    if *size > MAX_APPEND {
        let limit = MAX_APPEND.to_string();
        let trailers = [("exception", "maximum-append-size-exceeded"), ("maximum-append-size", limit.as_str())];
        return Err(exception(Code::InvalidArgument, &format!("Maximum Append Size of {limit} Exceeded."), &trailers));
    }
    let id = missing(id.and_then(|id| id.read()).filter(|id| !id.is_nil()), "id")?;
    Ok(Proposed { id, event_type, json: content_type == "application/json", data, metadata: custom_metadata })
}

fn appended(expected: ExpectedRevision, written: Written) -> AppendResp {
    let result = match written {
        Written::At(revision, position) => AppendResult::Success(AppendSuccess {
            current_revision: Some(revision),
            position: Some(WirePosition { commit_position: position, prepare_position: position }),
        }),
        Written::Wrong(current) => {
            let (old_expected, expected) = match expected {
                ExpectedRevision::Revision(revision) => (OldExpected::Revision(revision), Expected::Revision(revision)),
                ExpectedRevision::NoStream(()) => (OldExpected::Revision(u64::MAX), Expected::NoStream(())),
                ExpectedRevision::Any(()) => (OldExpected::Any(()), Expected::Any(())),
                ExpectedRevision::StreamExists(()) => (OldExpected::StreamExists(()), Expected::StreamExists(())),
            };
            AppendResult::WrongExpectedVersion(WrongExpectedVersion {
                old_current: Some(current.map_or(OldCurrent::NoStream(()), OldCurrent::Revision)),
                old_expected: Some(old_expected),
                current: Some(current.map_or(Current::NoStream(()), Current::Revision)),
                expected: Some(expected),
            })
        }
    };
    AppendResp { result: Some(result) }
}

fn remove(connection: &Connection, request: Request<RemoveReq>) -> Result<Response<()>, Status> {
    let (metadata, _, request) = request.into_parts();
    let stream = name(missing(request.options, "options")?.stream_identifier.as_ref())?;
    let call = connection.begin(Kind::Remove, &stream, String::new());
    call.over.store(true, Ordering::Relaxed);
    allowed(connection, &metadata, Operation::Delete, &stream)?;
    Err(Status::unimplemented("the stand-in removes nothing"))
}

/// What is read.
enum Source {
    Stream { name: String, from: Option<u64> },
    All { at: (u64, u64), filter: Filter, window: u64 },
}

struct Reading {
    source: Source,
    backwards: bool,
    count: u64,
    /// 1 or more: the client wants to know where a stream begins and ends.
    compatibility: u32,
    structured_ids: bool,
}

fn read(
    connection: &Arc<Connection>,
    request: Request<ReadReq>,
) -> Result<Response<impl Stream<Item = Result<ReadResp, Status>> + Send + use<>>, Status> {
    let (metadata, _, request) = request.into_parts();
    let options = missing(request.options, "options")?;
    let described = format!("{options:?}");
    let reading = reading(options)?;
    let (kind, stream) = match &reading.source {
        Source::Stream { name, .. } => (Kind::ReadStream, name.as_str()),
        Source::All { filter: Filter::None, .. } => (Kind::ReadAll, "$all"),
        Source::All { .. } => (Kind::ReadAllFiltered, "$all"),
    };
    allowed(connection, &metadata, Operation::Read, stream)?;
    let call = connection.begin(kind, stream, described);
    let effects = Effects::of(connection, &call);
    let (sender, receiver) = mpsc::channel(PAGE);
    let connection = Arc::clone(connection);
    tokio::spawn(async move {
        if let Err(status) = carry_out(&connection, &reading, &call, &effects, &sender).await {
            let _ = sender.send(Err(status)).await; // Nobody listens any more.
        }
        call.over.store(true, Ordering::Relaxed);
    });
    let messages = futures::stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|message| (message, receiver)));
    Ok(Response::new(messages))
}

fn reading(options: ReadOptions) -> Result<Reading, Status> {
    let filter = missing(options.filter_option, "filterOption")?;
    let source = match (missing(options.stream_option, "streamOption")?, filter) {
        (StreamOption::Stream(stream), FilterOption::NoFilter(())) => Source::Stream {
            name: name(stream.stream_identifier.as_ref())?,
            from: match missing(stream.revision_option, "revisionOption")? {
                RevisionOption::Revision(revision) => Some(revision),
                RevisionOption::Start(()) => Some(0),
                RevisionOption::End(()) => None,
            },
        },
        (StreamOption::Stream(_), FilterOption::Filter(_)) => {
            return Err(Status::invalid_argument("The combination of (Stream, Count, Forwards, Filter) is invalid."));
        }
        (StreamOption::All(all), filter) => {
            let at = match missing(all.all_option, "allOption")? {
                AllOption::Position(position) => (position.commit_position, position.prepare_position),
                AllOption::Start(()) => (0, 0),
                AllOption::End(()) => (u64::MAX, u64::MAX),
            };
            let (filter, window) = match filter {
                FilterOption::NoFilter(()) => (Filter::None, u64::MAX),
                FilterOption::Filter(options) => filtering(options)?,
            };
            Source::All { at, filter, window }
        }
    };
    let Some(CountOption::Count(count)) = options.count_option else {
        return Err(Status::unimplemented("the stand-in has no subscriptions"));
    };
    let ids = missing(options.uuid_option, "uuidOption")?.content;
    Ok(Reading {
        source,
        backwards: options.read_direction == 1,
        count,
        compatibility: options.control_option.map_or(0, |control| control.compatibility),
        structured_ids: !matches!(ids, Some(UuidContent::String(()))),
    })
}

fn filtering(options: FilterOptions) -> Result<(Filter, u64), Status> {
    let pattern = |expression: Expression| {
        if expression.regex.is_empty() {
            return Ok(Pattern::Prefixes(expression.prefix));
        }
        Regex::new(&expression.regex).map(Pattern::Regex).map_err(|error| Status::invalid_argument(error.to_string()))
    };
    let filter = match missing(options.filter, "filter")? {
        FilterBy::StreamIdentifier(expression) => Filter::Streams(pattern(expression)?),
        FilterBy::EventType(expression) => Filter::Types(pattern(expression)?),
    };
    let window = match missing(options.window, "window")? {
        Window::Max(max) => u64::from(max),
        Window::Count(()) => PAGE as u64,
    };
    Ok((filter, window))
}

type Messages = mpsc::Sender<Result<ReadResp, Status>>;

async fn carry_out(connection: &Connection, reading: &Reading, call: &Call, effects: &Effects, to: &Messages) -> Result<(), Status> {
    effects.before().await?;
    effects.on_the_way().await;
    if reading.count == 0 {
        return Err(Status::unknown("Unexpected ReadStreamResult: Error"));
    }
    let page = PAGE.min(usize::try_from(reading.count).unwrap_or(PAGE));
    let (mut given, mut next) = (0, None);
    loop {
        let read = connection.with_log(|log| match &reading.source {
            Source::Stream { name, from } => Ok(log.read_stream(name, next.or(*from), reading.backwards, page)),
            Source::All { at, filter, window } => {
                let at = next.map_or(*at, |next| (next, if reading.backwards { next } else { 0 }));
                log.read_all(at, reading.backwards, page, *window, filter).map(Some)
            }
        });
        let Some(read) = read else { return Err(Status::unavailable("the stand-in was killed")) };
        let result =
            if matches!(reading.source, Source::All { filter: Filter::None, .. }) { "ReadAllResult" } else { "FilteredReadAllResult" };
        let read = read.map_err(|_| Status::unknown(format!("Unexpected {result}: InvalidPosition")))?;
        let Some(Page { records, looked_at, next: following, at_end }) = read else {
            let Source::Stream { name, .. } = &reading.source else { return Ok(()) };
            let not_found = StreamNotFound { stream_identifier: Some(StreamIdentifier { stream_name: Bytes::from(name.clone()) }) };
            return effects.say(to, ReadContent::StreamNotFound(not_found)).await;
        };
        call.looked_at.fetch_add(looked_at, Ordering::Relaxed);
        for record in &records {
            if given >= reading.count {
                return Ok(());
            }
            effects.say(to, event(record, reading.structured_ids)).await?;
            call.returned.fetch_add(1, Ordering::Relaxed);
            given += 1;
        }
        // A read of a stream ends with its last event. One of `$all` ends where one more event is met, or the end: it
        // looks on for that one, however far it is.
        let of_stream = matches!(reading.source, Source::Stream { .. });
        if at_end || of_stream && given >= reading.count {
            if let (Source::Stream { name, .. }, 1..) = (&reading.source, reading.compatibility) {
                let last = connection.with_log(|log| log.stream(name).last().map_or(0, |record| record.revision));
                effects.say(to, ReadContent::LastStreamPosition(last.unwrap_or(0))).await?;
            }
            return Ok(());
        }
        next = Some(following);
    }
}

fn event(record: &Record, structured_ids: bool) -> ReadContent {
    let content_type = if record.json { "application/json" } else { "application/octet-stream" };
    let metadata = HashMap::from([
        ("type".to_owned(), record.event_type.clone()),
        ("created".to_owned(), record.created.to_string()),
        ("content-type".to_owned(), content_type.to_owned()),
    ]);
    ReadContent::Event(ReadEvent {
        event: Some(WireEvent {
            id: Some(if structured_ids { WireUuid::structured(record.id) } else { WireUuid::text(record.id) }),
            stream_identifier: Some(StreamIdentifier { stream_name: Bytes::copy_from_slice(record.stream.as_bytes()) }),
            stream_revision: record.revision,
            prepare_position: record.position,
            commit_position: record.position,
            metadata,
            custom_metadata: record.metadata.clone(),
            data: record.data.clone(),
        }),
        position: Some(EventPosition::CommitPosition(record.position)),
    })
}
