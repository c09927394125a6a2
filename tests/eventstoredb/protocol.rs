//! The published protocol files (`protos/`, from the vendor's client kurrentdb 1.2.0, MIT), read by a small parser, and what the
//! stand-in encodes, read by them: every field must stand there under the number, type and name that are meant.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::Message as _;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::messages::*;

const FILES: [&str; 3] =
    [include_str!("protos/streams.proto"), include_str!("protos/shared.proto"), include_str!("protos/serverfeatures.proto")];

/// A field of a message.
#[derive(Debug, Clone)]
struct Field {
    name: String,
    kind: String,
    repeated: bool,
    /// Where a message's own types stand, innermost first.
    scope: String,
}

/// What the files say: messages by their full name, with their fields by number; and enumerations.
#[derive(Debug, Default)]
struct Protocol {
    messages: BTreeMap<String, BTreeMap<u32, Field>>,
    enumerations: BTreeMap<String, BTreeMap<u64, String>>,
    methods: Vec<String>,
}

impl Protocol {
    fn published() -> Self {
        let mut protocol = Self::default();
        for file in FILES {
            let text: String = file.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join(" ");
            let mut spaced = text;
            for mark in ["{", "}", ";", "=", "(", ")", "<", ">", ","] {
                spaced = spaced.replace(mark, &format!(" {mark} "));
            }
            let tokens: Vec<&str> = spaced.split_whitespace().collect();
            let package = tokens.iter().position(|token| *token == "package").map(|at| tokens[at + 1]).unwrap();
            protocol.read(&tokens, &mut 0, package, None);
        }
        protocol
    }

    /// Reads declarations up to the end of a block, `message` being the message that it is of.
    fn read(&mut self, tokens: &[&str], at: &mut usize, scope: &str, message: Option<&str>) {
        while let Some(&token) = tokens.get(*at) {
            match token {
                "}" => return *at += 1,
                "message" | "service" | "enum" => {
                    let name = format!("{scope}.{}", tokens[*at + 1]);
                    *at += 3;
                    match token {
                        "message" => {
                            self.messages.entry(name.clone()).or_default();
                            self.read(tokens, at, &name, Some(&name));
                        }
                        "service" => self.read(tokens, at, &name, None),
                        _ => self.read_enumeration(tokens, at, name),
                    }
                }
                "oneof" => {
                    *at += 3;
                    self.read(tokens, at, scope, message);
                }
                "rpc" => {
                    self.methods.push(format!("{scope}/{}", tokens[*at + 1]));
                    *at += tokens[*at..].iter().position(|token| *token == ";").unwrap() + 1;
                }
                "syntax" | "package" | "import" | "option" | "reserved" => {
                    *at += tokens[*at..].iter().position(|token| *token == ";").unwrap() + 1;
                }
                _ => self.read_field(tokens, at, scope, message.expect("a field stands in a message")),
            }
        }
    }

    fn read_field(&mut self, tokens: &[&str], at: &mut usize, scope: &str, message: &str) {
        let end = *at + tokens[*at..].iter().position(|token| *token == ";").unwrap();
        let declared = &tokens[*at..end];
        *at = end + 1;
        let [.., name, "=", number] = declared else { panic!("{declared:?} is no field") };
        let kind = declared[..declared.len() - 3].iter().filter(|word| !["repeated", "optional"].contains(*word));
        let (kind, repeated) = (kind.copied().collect::<String>(), declared[0] == "repeated");
        let field = Field { name: (*name).to_owned(), kind, repeated, scope: scope.to_owned() };
        let fields = self.messages.get_mut(message).unwrap();
        assert!(fields.insert(number.parse().unwrap(), field).is_none(), "{message} has {number} twice");
    }

    fn read_enumeration(&mut self, tokens: &[&str], at: &mut usize, name: String) {
        let mut values = BTreeMap::new();
        while tokens[*at] != "}" {
            values.insert(tokens[*at + 2].parse().unwrap(), tokens[*at].to_owned());
            *at += 4;
        }
        *at += 1;
        self.enumerations.insert(name, values);
    }

    /// The full name of a type that is named within a scope.
    fn resolve(&self, scope: &str, kind: &str) -> String {
        let known = |name: &str| self.messages.contains_key(name) || self.enumerations.contains_key(name);
        let mut scope = scope;
        loop {
            let name = format!("{scope}.{kind}");
            if known(&name) {
                return name;
            }
            match scope.rsplit_once('.') {
                Some((outer, _)) => scope = outer,
                None => return kind.to_owned(),
            }
        }
    }

    /// What the bytes of a message say.
    fn describe(&self, message: &str, mut bytes: &[u8]) -> Value {
        let fields = self.messages.get(message).unwrap_or_else(|| panic!("no message {message}"));
        let mut told = Map::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let number = u32::try_from(tag >> 3).unwrap();
            let field = fields.get(&number).unwrap_or_else(|| panic!("{message} has no field {number}"));
            let value = self.value(field, tag & 7, &mut bytes);
            if let (Value::Object(entry), true) = (&value, field.kind.starts_with("map<")) {
                let (key, value) = (entry["key"].as_str().unwrap().to_owned(), entry["value"].clone());
                told.entry(&field.name).or_insert_with(|| json!({})).as_object_mut().unwrap().insert(key, value);
            } else if field.repeated {
                told.entry(&field.name).or_insert_with(|| json!([])).as_array_mut().unwrap().push(value);
            } else {
                assert!(told.insert(field.name.clone(), value).is_none(), "{message} has {} twice", field.name);
            }
        }
        Value::Object(told)
    }

    fn value(&self, field: &Field, wire: u64, bytes: &mut &[u8]) -> Value {
        let number = matches!(field.kind.as_str(), "uint64" | "uint32" | "int64" | "bool");
        let kind = self.resolve(&field.scope, &field.kind);
        if let Some(values) = self.enumerations.get(&kind) {
            assert_eq!(wire, 0, "{field:?}");
            return json!(values[&varint(bytes)]);
        }
        if number {
            assert_eq!(wire, 0, "{field:?}");
            let value = varint(bytes);
            return match field.kind.as_str() {
                "bool" => json!(value == 1),
                "int64" => json!(value.cast_signed()),
                _ => json!(value),
            };
        }
        assert_eq!(wire, 2, "{field:?}");
        let length = usize::try_from(varint(bytes)).unwrap();
        let (content, rest) = bytes.split_at(length);
        *bytes = rest;
        match field.kind.as_str() {
            "string" => json!(std::str::from_utf8(content).unwrap()),
            "bytes" => json!(STANDARD.encode(content)),
            "map<string,string>" => {
                let text = |name: &str| Field { name: name.into(), kind: "string".into(), repeated: false, scope: String::new() };
                let entry = BTreeMap::from([(1, text("key")), (2, text("value"))]);
                let of_map = Self { messages: BTreeMap::from([("entry".into(), entry)]), ..Self::default() };
                of_map.describe("entry", content)
            }
            _ => self.describe(&kind, content),
        }
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return value;
        }
    }
    panic!("a number of more than ten bytes")
}

const ID: Uuid = Uuid::from_u128(0x0123_4567_89ab_cdef_8123_4567_89ab_cdef);

fn stream() -> StreamIdentifier {
    StreamIdentifier { stream_name: "s".into() }
}

#[test]
fn what_is_answered_reads_as_the_published_files_say() {
    let protocol = Protocol::published();
    let says = |message: &str, bytes: Vec<u8>, expected: Value| {
        assert_eq!(protocol.describe(&format!("event_store.client.{message}"), &bytes), expected, "{message}");
    };
    let event = WireEvent {
        id: Some(WireUuid::text(ID)),
        stream_identifier: Some(stream()),
        stream_revision: 3,
        prepare_position: 4,
        commit_position: 5,
        metadata: [("type".to_owned(), "T".to_owned()), ("created".to_owned(), "6".to_owned())].into(),
        custom_metadata: "cm".into(),
        data: "d".into(),
    };
    let event = ReadEvent { event: Some(event), position: Some(EventPosition::CommitPosition(7)) };
    let expected = json!({"event": {"commit_position": 7, "event": {
        "id": {"string": ID.to_string()}, "stream_identifier": {"stream_name": STANDARD.encode("s")}, "stream_revision": 3,
        "prepare_position": 4, "commit_position": 5, "metadata": {"type": "T", "created": "6"},
        "custom_metadata": STANDARD.encode("cm"), "data": STANDARD.encode("d")}}});
    let answer = |content| ReadResp { content: Some(content) }.encode_to_vec();
    says("streams.ReadResp", answer(ReadContent::Event(event.clone())), expected);
    let nowhere = ReadEvent { position: Some(EventPosition::NoPosition(())), event: None };
    says("streams.ReadResp", answer(ReadContent::Event(nowhere)), json!({"event": {"no_position": {}}}));
    let not_found = json!({"stream_not_found": {"stream_identifier": {"stream_name": STANDARD.encode("s")}}});
    says("streams.ReadResp", answer(ReadContent::StreamNotFound(StreamNotFound { stream_identifier: Some(stream()) })), not_found);
    says("streams.ReadResp", answer(ReadContent::FirstStreamPosition(1)), json!({"first_stream_position": 1}));
    says("streams.ReadResp", answer(ReadContent::LastStreamPosition(2)), json!({"last_stream_position": 2}));

    let (most, least) = (0x0123_4567_89ab_cdef_i64, 0x8123_4567_89ab_cdef_u64.cast_signed());
    let structured = json!({"structured": {"most_significant_bits": most, "least_significant_bits": least}});
    says("UUID", WireUuid::structured(ID).encode_to_vec(), structured);

    let answer = |result| AppendResp { result: Some(result) }.encode_to_vec();
    let position = Some(WirePosition { commit_position: 9, prepare_position: 8 });
    let success = AppendResult::Success(AppendSuccess { current_revision: Some(0), position });
    let expected = json!({"success": {"current_revision": 0, "position": {"commit_position": 9, "prepare_position": 8}}});
    says("streams.AppendResp", answer(success), expected);
    for (wrong, expected) in [
        (
            (OldCurrent::Revision(1), OldExpected::Revision(2), Current::Revision(3), Expected::Revision(4)),
            json!({"current_revision_20_6_0": 1, "expected_revision_20_6_0": 2, "current_revision": 3, "expected_revision": 4}),
        ),
        (
            (OldCurrent::NoStream(()), OldExpected::Any(()), Current::NoStream(()), Expected::Any(())),
            json!({"no_stream_20_6_0": {}, "any_20_6_0": {}, "current_no_stream": {}, "expected_any": {}}),
        ),
        (
            (OldCurrent::NoStream(()), OldExpected::StreamExists(()), Current::NoStream(()), Expected::StreamExists(())),
            json!({"no_stream_20_6_0": {}, "stream_exists_20_6_0": {}, "current_no_stream": {}, "expected_stream_exists": {}}),
        ),
        (
            (OldCurrent::Revision(1), OldExpected::Revision(2), Current::Revision(3), Expected::NoStream(())),
            json!({"current_revision_20_6_0": 1, "expected_revision_20_6_0": 2, "current_revision": 3, "expected_no_stream": {}}),
        ),
    ] {
        let (old_current, old_expected, current, expected_revision) = wrong;
        let wrong = WrongExpectedVersion {
            old_current: Some(old_current),
            old_expected: Some(old_expected),
            current: Some(current),
            expected: Some(expected_revision),
        };
        says("streams.AppendResp", answer(AppendResult::WrongExpectedVersion(wrong)), json!({"wrong_expected_version": expected}));
    }

    let method = SupportedMethod { method_name: "read".into(), service_name: "s".into(), features: vec!["a".into(), "b".into()] };
    let methods = SupportedMethods { methods: vec![method.clone(), method], event_store_server_version: "1.2.3".into() };
    let method = json!({"method_name": "read", "service_name": "s", "features": ["a", "b"]});
    let expected = json!({"methods": [method, method], "event_store_server_version": "1.2.3"});
    says("server_features.SupportedMethods", methods.encode_to_vec(), expected);
}

/// Encoded by the stand-in's own messages, which take every field where they look for it when they decode.
#[test]
fn what_is_asked_reads_as_the_published_files_say() {
    let protocol = Protocol::published();
    let says = |message: &str, bytes: Vec<u8>, expected: Value| {
        assert_eq!(protocol.describe(&format!("event_store.client.streams.{message}"), &bytes), expected, "{message}");
    };
    let options = |stream_option, count_option, filter_option| ReadOptions {
        stream_option: Some(stream_option),
        read_direction: 1,
        resolve_links: true,
        count_option: Some(count_option),
        filter_option: Some(filter_option),
        uuid_option: Some(UuidOption { content: Some(UuidContent::String(())) }),
        control_option: Some(ControlOption { compatibility: 1 }),
    };
    let read = |options| ReadReq { options: Some(options) }.encode_to_vec();
    let read_stream = |revision| StreamOption::Stream(StreamOptions { stream_identifier: Some(stream()), revision_option: Some(revision) });
    let rest = json!({"read_direction": "Backwards", "resolve_links": true, "uuid_option": {"string": {}},
        "control_option": {"compatibility": 1}});
    let asked = |more: Value| {
        let mut options = rest.clone();
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"options": options})
    };
    let name = json!({"stream_name": STANDARD.encode("s")});
    for (revision, expected) in [
        (RevisionOption::Revision(2), json!({"stream_identifier": name, "revision": 2})),
        (RevisionOption::Start(()), json!({"stream_identifier": name, "start": {}})),
        (RevisionOption::End(()), json!({"stream_identifier": name, "end": {}})),
    ] {
        let bytes = read(options(read_stream(revision), CountOption::Count(5), FilterOption::NoFilter(())));
        says("ReadReq", bytes, asked(json!({"stream": expected, "count": 5, "no_filter": {}})));
    }
    let expression = || Expression { regex: "r".into(), prefix: vec!["a".into(), "b".into()] };
    let position = WirePosition { commit_position: 9, prepare_position: 8 };
    for (all, expected) in [
        (AllOption::Position(position), json!({"position": {"commit_position": 9, "prepare_position": 8}})),
        (AllOption::Start(()), json!({"start": {}})),
        (AllOption::End(()), json!({"end": {}})),
    ] {
        let (by, window) = (FilterBy::StreamIdentifier(expression()), Window::Max(7));
        let filter = FilterOptions { filter: Some(by), window: Some(window), checkpoint_interval_multiplier: 1 };
        let all = StreamOption::All(AllOptions { all_option: Some(all) });
        let filter_expected = json!({"stream_identifier": {"regex": "r", "prefix": ["a", "b"]}, "max": 7,
            "checkpointIntervalMultiplier": 1});
        let bytes = read(options(all, CountOption::Subscription(()), FilterOption::Filter(filter)));
        says("ReadReq", bytes, asked(json!({"all": expected, "subscription": {}, "filter": filter_expected})));
    }
    let by_type = FilterOptions {
        filter: Some(FilterBy::EventType(expression())),
        window: Some(Window::Count(())),
        checkpoint_interval_multiplier: 0,
    };
    says(
        "ReadReq.Options.FilterOptions",
        by_type.encode_to_vec(),
        json!({"event_type": {"regex": "r", "prefix": ["a", "b"]}, "count": {}}),
    );
    let ids = UuidOption { content: Some(UuidContent::Structured(())) };
    says("ReadReq.Options.UUIDOption", ids.encode_to_vec(), json!({"structured": {}}));

    for (expected_revision, expected) in [
        (ExpectedRevision::Revision(0), json!({"revision": 0})),
        (ExpectedRevision::NoStream(()), json!({"no_stream": {}})),
        (ExpectedRevision::Any(()), json!({"any": {}})),
        (ExpectedRevision::StreamExists(()), json!({"stream_exists": {}})),
    ] {
        let options = WriteOptions { stream_identifier: Some(stream()), expected_stream_revision: Some(expected_revision) };
        let mut expected = expected;
        expected["stream_identifier"] = name.clone();
        let expected = json!({"options": expected});
        let append = AppendReq { content: Some(AppendContent::Options(options.clone())) };
        says("AppendReq", append.encode_to_vec(), expected.clone());
        for message in ["DeleteReq", "TombstoneReq"] {
            says(message, RemoveReq { options: Some(options.clone()) }.encode_to_vec(), expected.clone());
        }
    }
    let message = ProposedMessage {
        id: Some(WireUuid::text(ID)),
        metadata: [("type".to_owned(), "T".to_owned())].into(),
        custom_metadata: "cm".into(),
        data: "d".into(),
    };
    let expected = json!({"proposed_message": {"id": {"string": ID.to_string()}, "metadata": {"type": "T"},
        "custom_metadata": STANDARD.encode("cm"), "data": STANDARD.encode("d")}});
    says("AppendReq", AppendReq { content: Some(AppendContent::ProposedMessage(message)) }.encode_to_vec(), expected);
}

#[test]
fn the_calls_are_those_of_the_published_files() {
    let methods = Protocol::published().methods;
    for path in super::service::CALLS {
        assert!(methods.iter().any(|method| path.strip_prefix('/') == Some(method.as_str())), "{path} is not among {methods:?}");
    }
}
