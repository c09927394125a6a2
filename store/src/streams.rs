//! Whole streams of a tenant's log, one after another: for folds that need the events of a stream together, and not the
//! order of the log. Only what a fold needs is read, and it is decoded where it lies.

use std::ops::RangeInclusive;

use events::{Category, Position, StreamName, TenantScope, Version};
use futures::TryStreamExt as _;
use serde_json::value::RawValue;
use sqlx::{Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use crate::{Engine, PgStore, StoreError, postgres::foreign};

/// Samples taken for each range: what a range holds differs from what was asked for by a quarter, mostly.
const SAMPLES: usize = 16;

/// Streams whose ids lie between two, both included.
pub type StreamRange = RangeInclusive<Uuid>;

/// An event as a fold needs it.
#[derive(Debug, Clone, Copy)]
pub struct StreamEvent<'p> {
    /// The aggregate's stream.
    pub stream: StreamName,
    /// Place in the stream.
    pub version: Version,
    /// Place in the tenant's log.
    pub position: Position,
    /// The event's type as stored.
    pub event_type: &'p str,
    /// The schema version as stored.
    pub schema_version: u16,
    /// The event's data as stored.
    pub data: &'p RawValue,
}

/// The place of an event in the order of streams.
#[derive(Debug, Clone, Copy)]
pub struct StreamPlace {
    id: Uuid,
    category: Option<Category>,
    version: Version,
}

impl StreamPlace {
    /// Before every event of the range.
    pub const fn before(range: &StreamRange) -> Self {
        Self { id: *range.start(), category: None, version: Version(0) }
    }
    /// Right after this event.
    pub const fn after(event: &StreamEvent<'_>) -> Self {
        Self { id: event.stream.id(), category: Some(event.stream.category()), version: event.version }
    }
}

impl PgStore {
    /// Parts all streams into ranges of about `events` of the events up to `head` each; a long stream may make one longer.
    pub async fn stream_ranges(&self, scope: TenantScope, head: Position, events: u64) -> Result<Vec<StreamRange>, StoreError> {
        let every = (events / SAMPLES as u64).max(1);
        let sql = "select id from event_store.sample_streams($1, $2, $3) id where id is not null";
        let query = sqlx::query_scalar(sql).bind(scope.tenant().uuid()).bind(every.cast_signed()).bind(head.0.cast_signed());
        let mut samples: Vec<Uuid> = query.fetch_all(self.pool()).await?;
        samples.sort_unstable();
        let mut ends: Vec<Uuid> = samples.chunks_exact(SAMPLES).filter_map(|chunk| chunk.last().copied()).collect();
        ends.push(Uuid::max());
        ends.dedup();
        let mut start = Uuid::nil();
        let range = |end: Uuid| {
            let range = start..=end;
            start = Uuid::from_u128(end.as_u128().saturating_add(1));
            range
        };
        Ok(ends.into_iter().map(range).collect())
    }

    /// A reader with a connection of its own, which goes with it: nobody meets a read that was given up half-way.
    pub async fn stream_reader(&self) -> Result<StreamReader, StoreError> {
        let mut connection = self.pool().acquire().await?.detach();
        // A page may lie all over a disk.
        connection.execute("set statement_timeout = '1min'").await?;
        Ok(StreamReader { connection })
    }
}

/// Reads streams.
#[derive(Debug)]
pub struct StreamReader {
    connection: PgConnection,
}

impl StreamReader {
    /// Events of the range's streams after a place and up to the position `head`, stream by stream, at most `limit`.
    pub async fn read(
        &mut self,
        scope: TenantScope,
        range: &StreamRange,
        after: StreamPlace,
        head: Position,
        limit: usize,
    ) -> Result<StreamPage, StoreError> {
        // COPY takes no parameters; none of these can hold anything but digits, dashes and letters.
        let (tenant, until, category) = (scope.tenant().uuid(), range.end(), after.category.map_or("", Category::name));
        let sql = format!(
            "copy (select * from event_store.read_streams('{tenant}', '{}', '{category}', {}, '{until}', {head}, {limit})) to stdout (format binary)",
            after.id,
            after.version.0,
            head = head.0
        );
        let mut bytes = Vec::with_capacity(limit.saturating_mul(256).min(1 << 22));
        let mut rows = self.connection.copy_out_raw(&sql).await?;
        while let Some(row) = rows.try_next().await? {
            bytes.extend_from_slice(&row);
        }
        Ok(StreamPage { scope, bytes })
    }

    /// Closes the connection.
    pub async fn close(self) -> Result<(), StoreError> {
        Ok(self.connection.close().await?)
    }
}

/// A page of events, as PostgreSQL's binary COPY wrote them.
#[derive(Debug)]
pub struct StreamPage {
    scope: TenantScope,
    bytes: Vec<u8>,
}

/// What a binary COPY begins with: a signature, flags, and the length of an extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const COLUMNS: i16 = 8;

impl StreamPage {
    /// The events, in order.
    pub fn events(&self) -> Result<Vec<StreamEvent<'_>>, StoreError> {
        let broken = || Engine::Postgres.broken("COPY gave something else than events");
        let mut rest = Columns(self.bytes.strip_prefix(HEADER).ok_or_else(broken)?);
        let mut events = Vec::new();
        loop {
            match rest.array().map(i16::from_be_bytes) {
                Some(COLUMNS) => {
                    events.push(self.event(&mut rest).ok_or_else(broken)?);
                    if rest.column() != Some(self.scope.tenant().uuid().as_bytes().as_slice()) {
                        return Err(foreign());
                    }
                }
                // The trailer.
                Some(-1) if rest.0.is_empty() => return Ok(events),
                _ => return Err(broken()),
            }
        }
    }

    fn event<'p>(&self, row: &mut Columns<'p>) -> Option<StreamEvent<'p>> {
        let id = Uuid::from_bytes(row.column()?.try_into().ok()?);
        let category = row.text()?.parse().ok()?;
        Some(StreamEvent {
            stream: StreamName::from_parts(self.scope.tenant(), category, id),
            version: Version(row.number()?),
            position: Position(row.number()?),
            event_type: row.text()?,
            schema_version: u16::from_be_bytes(row.column()?.try_into().ok()?),
            data: serde_json::from_str(row.text()?).ok()?,
        })
    }
}

/// What is left of a page.
struct Columns<'p>(&'p [u8]);

impl<'p> Columns<'p> {
    fn take(&mut self, length: usize) -> Option<&'p [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
    /// None also for null, which no column may be.
    fn column(&mut self) -> Option<&'p [u8]> {
        let length = i32::from_be_bytes(self.array()?);
        self.take(usize::try_from(length).ok()?)
    }
    fn text(&mut self) -> Option<&'p str> {
        std::str::from_utf8(self.column()?).ok()
    }
    fn number(&mut self) -> Option<u64> {
        u64::try_from(i64::from_be_bytes(self.column()?.try_into().ok()?)).ok()
    }
}
