//! The messages of EventStoreDB's protocol that the stand-in takes and gives, with the fields that it knows. Their numbers and
//! types are those of the published files in `protos/`; see [`super::protocol`].

use std::collections::HashMap;

use bytes::Bytes;
use prost::{Message, Oneof};
use uuid::Uuid;

/// `event_store.client.UUID`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WireUuid {
    #[prost(oneof = "UuidValue", tags = "1, 2")]
    pub(super) value: Option<UuidValue>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum UuidValue {
    #[prost(message, tag = "1")]
    Structured(StructuredUuid),
    #[prost(string, tag = "2")]
    String(String),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct StructuredUuid {
    #[prost(int64, tag = "1")]
    pub(super) most_significant_bits: i64,
    #[prost(int64, tag = "2")]
    pub(super) least_significant_bits: i64,
}

impl WireUuid {
    pub(super) fn read(&self) -> Option<Uuid> {
        match self.value.as_ref()? {
            UuidValue::Structured(bits) => {
                Some(Uuid::from_u64_pair(bits.most_significant_bits.cast_unsigned(), bits.least_significant_bits.cast_unsigned()))
            }
            UuidValue::String(text) => text.parse().ok(),
        }
    }
    pub(super) fn text(id: Uuid) -> Self {
        Self { value: Some(UuidValue::String(id.to_string())) }
    }
    pub(super) fn structured(id: Uuid) -> Self {
        let (most, least) = id.as_u64_pair();
        let bits = StructuredUuid { most_significant_bits: most.cast_signed(), least_significant_bits: least.cast_signed() };
        Self { value: Some(UuidValue::Structured(bits)) }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StreamIdentifier {
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) stream_name: Bytes,
}

/// A position in `$all`. The protocol has it under three names, always with these fields.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct WirePosition {
    #[prost(uint64, tag = "1")]
    pub(super) commit_position: u64,
    #[prost(uint64, tag = "2")]
    pub(super) prepare_position: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadReq {
    #[prost(message, optional, tag = "1")]
    pub(super) options: Option<ReadOptions>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadOptions {
    #[prost(oneof = "StreamOption", tags = "1, 2")]
    pub(super) stream_option: Option<StreamOption>,
    /// 0 is forwards, 1 is backwards.
    #[prost(int32, tag = "3")]
    pub(super) read_direction: i32,
    #[prost(bool, tag = "4")]
    pub(super) resolve_links: bool,
    #[prost(oneof = "CountOption", tags = "5, 6")]
    pub(super) count_option: Option<CountOption>,
    #[prost(oneof = "FilterOption", tags = "7, 8")]
    pub(super) filter_option: Option<FilterOption>,
    #[prost(message, optional, tag = "9")]
    pub(super) uuid_option: Option<UuidOption>,
    #[prost(message, optional, tag = "10")]
    pub(super) control_option: Option<ControlOption>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum StreamOption {
    #[prost(message, tag = "1")]
    Stream(StreamOptions),
    #[prost(message, tag = "2")]
    All(AllOptions),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StreamOptions {
    #[prost(message, optional, tag = "1")]
    pub(super) stream_identifier: Option<StreamIdentifier>,
    #[prost(oneof = "RevisionOption", tags = "2, 3, 4")]
    pub(super) revision_option: Option<RevisionOption>,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum RevisionOption {
    #[prost(uint64, tag = "2")]
    Revision(u64),
    #[prost(message, tag = "3")]
    Start(()),
    #[prost(message, tag = "4")]
    End(()),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct AllOptions {
    #[prost(oneof = "AllOption", tags = "1, 2, 3")]
    pub(super) all_option: Option<AllOption>,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum AllOption {
    #[prost(message, tag = "1")]
    Position(WirePosition),
    #[prost(message, tag = "2")]
    Start(()),
    #[prost(message, tag = "3")]
    End(()),
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum CountOption {
    #[prost(uint64, tag = "5")]
    Count(u64),
    #[prost(message, tag = "6")]
    Subscription(()),
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum FilterOption {
    #[prost(message, tag = "7")]
    Filter(FilterOptions),
    #[prost(message, tag = "8")]
    NoFilter(()),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct FilterOptions {
    #[prost(oneof = "FilterBy", tags = "1, 2")]
    pub(super) filter: Option<FilterBy>,
    #[prost(oneof = "Window", tags = "3, 4")]
    pub(super) window: Option<Window>,
    #[prost(uint32, tag = "5")]
    pub(super) checkpoint_interval_multiplier: u32,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum FilterBy {
    #[prost(message, tag = "1")]
    StreamIdentifier(Expression),
    #[prost(message, tag = "2")]
    EventType(Expression),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Expression {
    #[prost(string, tag = "1")]
    pub(super) regex: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) prefix: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum Window {
    #[prost(uint32, tag = "3")]
    Max(u32),
    #[prost(message, tag = "4")]
    Count(()),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct UuidOption {
    #[prost(oneof = "UuidContent", tags = "1, 2")]
    pub(super) content: Option<UuidContent>,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum UuidContent {
    #[prost(message, tag = "1")]
    Structured(()),
    #[prost(message, tag = "2")]
    String(()),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct ControlOption {
    #[prost(uint32, tag = "1")]
    pub(super) compatibility: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadResp {
    #[prost(oneof = "ReadContent", tags = "1, 4, 5, 6")]
    pub(super) content: Option<ReadContent>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum ReadContent {
    #[prost(message, tag = "1")]
    Event(ReadEvent),
    #[prost(message, tag = "4")]
    StreamNotFound(StreamNotFound),
    #[prost(uint64, tag = "5")]
    FirstStreamPosition(u64),
    #[prost(uint64, tag = "6")]
    LastStreamPosition(u64),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadEvent {
    #[prost(message, optional, tag = "1")]
    pub(super) event: Option<WireEvent>,
    #[prost(oneof = "EventPosition", tags = "3, 4")]
    pub(super) position: Option<EventPosition>,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum EventPosition {
    #[prost(uint64, tag = "3")]
    CommitPosition(u64),
    #[prost(message, tag = "4")]
    NoPosition(()),
}

/// `ReadResp.ReadEvent.RecordedEvent`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WireEvent {
    #[prost(message, optional, tag = "1")]
    pub(super) id: Option<WireUuid>,
    #[prost(message, optional, tag = "2")]
    pub(super) stream_identifier: Option<StreamIdentifier>,
    #[prost(uint64, tag = "3")]
    pub(super) stream_revision: u64,
    #[prost(uint64, tag = "4")]
    pub(super) prepare_position: u64,
    #[prost(uint64, tag = "5")]
    pub(super) commit_position: u64,
    #[prost(map = "string, string", tag = "6")]
    pub(super) metadata: HashMap<String, String>,
    #[prost(bytes = "bytes", tag = "7")]
    pub(super) custom_metadata: Bytes,
    #[prost(bytes = "bytes", tag = "8")]
    pub(super) data: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StreamNotFound {
    #[prost(message, optional, tag = "1")]
    pub(super) stream_identifier: Option<StreamIdentifier>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AppendReq {
    #[prost(oneof = "AppendContent", tags = "1, 2")]
    pub(super) content: Option<AppendContent>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum AppendContent {
    #[prost(message, tag = "1")]
    Options(WriteOptions),
    #[prost(message, tag = "2")]
    ProposedMessage(ProposedMessage),
}

/// The options of an append, and those of a delete and a tombstone, which are alike.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WriteOptions {
    #[prost(message, optional, tag = "1")]
    pub(super) stream_identifier: Option<StreamIdentifier>,
    #[prost(oneof = "ExpectedRevision", tags = "2, 3, 4, 5")]
    pub(super) expected_stream_revision: Option<ExpectedRevision>,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum ExpectedRevision {
    #[prost(uint64, tag = "2")]
    Revision(u64),
    #[prost(message, tag = "3")]
    NoStream(()),
    #[prost(message, tag = "4")]
    Any(()),
    #[prost(message, tag = "5")]
    StreamExists(()),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ProposedMessage {
    #[prost(message, optional, tag = "1")]
    pub(super) id: Option<WireUuid>,
    #[prost(map = "string, string", tag = "2")]
    pub(super) metadata: HashMap<String, String>,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) custom_metadata: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) data: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AppendResp {
    #[prost(oneof = "AppendResult", tags = "1, 2")]
    pub(super) result: Option<AppendResult>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum AppendResult {
    #[prost(message, tag = "1")]
    Success(AppendSuccess),
    #[prost(message, tag = "2")]
    WrongExpectedVersion(WrongExpectedVersion),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct AppendSuccess {
    #[prost(uint64, optional, tag = "1")]
    pub(super) current_revision: Option<u64>,
    #[prost(message, optional, tag = "3")]
    pub(super) position: Option<WirePosition>,
}

/// Says everything twice: for clients of before and of after 20.6.1.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct WrongExpectedVersion {
    #[prost(oneof = "OldCurrent", tags = "1, 2")]
    pub(super) old_current: Option<OldCurrent>,
    #[prost(oneof = "OldExpected", tags = "3, 4, 5")]
    pub(super) old_expected: Option<OldExpected>,
    #[prost(oneof = "Current", tags = "6, 7")]
    pub(super) current: Option<Current>,
    #[prost(oneof = "Expected", tags = "8, 9, 10, 11")]
    pub(super) expected: Option<Expected>,
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum OldCurrent {
    #[prost(uint64, tag = "1")]
    Revision(u64),
    #[prost(message, tag = "2")]
    NoStream(()),
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum OldExpected {
    #[prost(uint64, tag = "3")]
    Revision(u64),
    #[prost(message, tag = "4")]
    Any(()),
    #[prost(message, tag = "5")]
    StreamExists(()),
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum Current {
    #[prost(uint64, tag = "6")]
    Revision(u64),
    #[prost(message, tag = "7")]
    NoStream(()),
}

#[derive(Clone, Copy, PartialEq, Oneof)]
pub(super) enum Expected {
    #[prost(uint64, tag = "8")]
    Revision(u64),
    #[prost(message, tag = "9")]
    Any(()),
    #[prost(message, tag = "10")]
    StreamExists(()),
    #[prost(message, tag = "11")]
    NoStream(()),
}

/// `DeleteReq` and `TombstoneReq`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RemoveReq {
    #[prost(message, optional, tag = "1")]
    pub(super) options: Option<WriteOptions>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SupportedMethods {
    #[prost(message, repeated, tag = "1")]
    pub(super) methods: Vec<SupportedMethod>,
    #[prost(string, tag = "2")]
    pub(super) event_store_server_version: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SupportedMethod {
    #[prost(string, tag = "1")]
    pub(super) method_name: String,
    #[prost(string, tag = "2")]
    pub(super) service_name: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) features: Vec<String>,
}
