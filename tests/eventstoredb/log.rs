//! What the stand-in keeps: the records of `$all` in their order, and the streams as lists of them. What is read and written
//! follows the server's `AllReader`, `IndexReader` and `IndexWriter`; the README says where from.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use regex::Regex;
use uuid::Uuid;

use super::messages::ExpectedRevision;

/// Bytes of ids that the server remembers for appends at any revision, as it counts them.
const REMEMBERED_BYTES: usize = 8 << 20;
/// Where the first record stands: before it is what the server writes of its own.
const FIRST: u64 = 195;

/// A record of `$all`.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) stream: Arc<str>,
    pub(crate) revision: u64,
    pub(crate) id: Uuid,
    pub(crate) event_type: String,
    pub(crate) json: bool,
    pub(crate) data: Bytes,
    pub(crate) metadata: Bytes,
    /// Units of 100 ns since 1970.
    pub(crate) created: i64,
    /// The commit position and the prepare position: they are the same for whatever one append wrote.
    pub(crate) position: u64,
    end: u64,
}

/// An event on its way in.
#[derive(Debug, Clone)]
pub(crate) struct Proposed {
    pub(crate) id: Uuid,
    pub(crate) event_type: String,
    pub(crate) json: bool,
    pub(crate) data: Bytes,
    pub(crate) metadata: Bytes,
}

impl Proposed {
    /// Bytes of the record on the server's disk: `PrepareLogRecord.SizeOnDisk`.
    fn size(&self, stream: &str) -> u64 {
        let text = |text: &str| text.len() + 1 + text.len().checked_ilog2().unwrap_or(0) as usize / 7;
        let fixed = 4 + 4 + 1 + 1 + 8 + 2 + 8 + 4 + 8 + 16 + 16 + 8 + 4 + 4;
        (fixed + text(stream) + text(&self.event_type) + self.data.len() + self.metadata.len()) as u64
    }
}

/// What came of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// The revision and position of its last event, also where the events had been there already.
    At(u64, u64),
    /// The stream has another revision than expected: this one, or no event.
    Wrong(Option<u64>),
}

/// Which records of `$all` a read gives.
#[derive(Debug)]
pub(super) enum Filter {
    None,
    Streams(Pattern),
    Types(Pattern),
}

#[derive(Debug)]
pub(super) enum Pattern {
    Prefixes(Vec<String>),
    Regex(Regex),
}

impl Pattern {
    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Prefixes(prefixes) => prefixes.iter().any(|prefix| text.starts_with(prefix.as_str())),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

impl Filter {
    fn fits(&self, record: &Record) -> bool {
        match self {
            Self::None => true,
            Self::Streams(pattern) => pattern.fits(&record.stream),
            Self::Types(pattern) => pattern.fits(&record.event_type),
        }
    }
}

/// One page of the server's, of which it makes an answer.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) records: Vec<Arc<Record>>,
    /// Records that were looked at for it.
    pub(super) looked_at: u64,
    /// Where the next page begins: a revision, or a position in `$all`.
    pub(super) next: u64,
    /// There is nothing more.
    pub(super) at_end: bool,
}

/// There is no record that begins, or backwards one that ends, at a position.
#[derive(Debug)]
pub(super) struct InvalidPosition;

#[derive(Default)]
pub(super) struct Log {
    records: Vec<Arc<Record>>,
    streams: HashMap<Arc<str>, Vec<Arc<Record>>>,
    remembered: Remembered,
}

/// Ids of events that were written since the server started, the latest of them.
#[derive(Default)]
struct Remembered {
    of: HashMap<Uuid, (Arc<str>, u64)>,
    order: VecDeque<Uuid>,
    bytes: usize,
}

impl Remembered {
    fn cost(stream: &str) -> usize {
        16 + 4 + 8 + 2 * stream.len()
    }
    fn put(&mut self, id: Uuid, stream: &Arc<str>, revision: u64) {
        self.bytes += Self::cost(stream);
        match self.of.insert(id, (Arc::clone(stream), revision)) {
            Some((before, _)) => self.bytes -= Self::cost(&before),
            None => self.order.push_back(id),
        }
        while self.bytes > REMEMBERED_BYTES {
            let Some((stream, _)) = self.order.pop_front().and_then(|id| self.of.remove(&id)) else { break };
            self.bytes -= Self::cost(&stream);
        }
    }
    fn revision(&self, id: Uuid, stream: &str) -> Option<u64> {
        self.of.get(&id).filter(|(of, _)| &**of == stream).map(|(_, revision)| *revision)
    }
}

impl Log {
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Where the next record will stand.
    fn end(&self) -> u64 {
        self.records.last().map_or(FIRST, |record| record.end)
    }

    pub(super) fn stream(&self, stream: &str) -> &[Arc<Record>] {
        self.streams.get(stream).map_or(&[], Vec::as_slice)
    }

    pub(super) fn all(&self) -> &[Arc<Record>] {
        &self.records
    }

    /// The server's `CheckCommit`, and the write.
    pub(super) fn append(&mut self, stream: &str, expected: ExpectedRevision, events: Vec<Proposed>, created: i64) -> Written {
        let there = self.stream(stream);
        let current = there.last().map(|record| record.revision);
        let at_place = |record: &Arc<Record>| Written::At(record.revision, record.position);
        match expected {
            ExpectedRevision::StreamExists(()) if current.is_none() => return Written::Wrong(None),
            ExpectedRevision::Any(()) | ExpectedRevision::StreamExists(()) => {
                let known: Vec<_> = events.iter().map_while(|event| self.remembered.revision(event.id, stream)).collect();
                if known.len() == events.len()
                    && let Some(last) = known.last().and_then(|revision| there.get(usize::try_from(*revision).ok()?))
                {
                    return at_place(last);
                }
                // Some of them were written, and some were not.
                if !known.is_empty() {
                    return Written::Wrong(current);
                }
            }
            ExpectedRevision::NoStream(()) | ExpectedRevision::Revision(_) => {
                let next = if let ExpectedRevision::Revision(revision) = expected { revision + 1 } else { 0 };
                let next = usize::try_from(next).unwrap_or(usize::MAX);
                if next > there.len() {
                    return Written::Wrong(current);
                }
                if next < there.len() {
                    let same = events.len() <= there.len() - next && there[next..].iter().zip(&events).all(|(a, b)| a.id == b.id);
                    let last = there.get(next + events.len() - 1).filter(|_| same);
                    return last.map_or(Written::Wrong(current), at_place);
                }
            }
        }
        self.write(stream, events, created)
    }

    fn write(&mut self, stream: &str, events: Vec<Proposed>, created: i64) -> Written {
        let name = self.streams.get_key_value(stream).map_or_else(|| stream.into(), |(name, _)| Arc::clone(name));
        let mut written = Written::Wrong(None);
        for event in events {
            let (position, revision) = (self.end(), self.stream(stream).len() as u64);
            let end = position + event.size(stream);
            self.remembered.put(event.id, &name, revision);
            let Proposed { id, event_type, json, data, metadata } = event;
            let record = Record { stream: Arc::clone(&name), revision, id, event_type, json, data, metadata, created, position, end };
            let record = Arc::new(record);
            self.records.push(Arc::clone(&record));
            self.streams.entry(Arc::clone(&name)).or_default().push(record);
            written = Written::At(revision, position);
        }
        written
    }

    /// A page of a stream, or none if there is no such stream. `from` is a revision; none is the end.
    pub(super) fn read_stream(&self, stream: &str, from: Option<u64>, backwards: bool, limit: usize) -> Option<Page> {
        let there = self.streams.get(stream)?;
        let from = from.and_then(|from| usize::try_from(from).ok()).unwrap_or(usize::MAX);
        let records: Vec<_> = if backwards {
            let upto = from.saturating_add(1).min(there.len());
            there[..upto].iter().rev().take(limit).cloned().collect()
        } else {
            there.get(from..).unwrap_or_default().iter().take(limit).cloned().collect()
        };
        let last = records.last().map_or(0, |record| record.revision);
        let looked_at = records.len() as u64;
        let (next, at_end) = if backwards {
            (last.saturating_sub(1), records.is_empty() || last == 0)
        } else {
            (last + 1, records.is_empty() || last + 1 == there.len() as u64)
        };
        Some(Page { records, looked_at, next, at_end })
    }

    /// A page of `$all`: at most `limit` records that fit, and no more than `window` looked at.
    pub(super) fn read_all(
        &self,
        at: (u64, u64),
        backwards: bool,
        limit: usize,
        window: u64,
        filter: &Filter,
    ) -> Result<Page, InvalidPosition> {
        let mut page = Page { next: at.0, ..Page::default() };
        let mut place = if backwards { self.ends_at(at.0)? } else { self.begins_at(at.0)? };
        while page.records.len() < limit && page.looked_at < window {
            let next = if backwards { place.checked_sub(1) } else { Some(place) };
            let Some(record) = next.and_then(|next| self.records.get(next)) else {
                page.at_end = true;
                break;
            };
            place = if backwards { place - 1 } else { place + 1 };
            page.next = if backwards { record.position } else { record.end };
            // The server reads such a record and doesn't count it.
            if !backwards && (record.position, record.position) < at {
                continue;
            }
            page.looked_at += 1;
            if filter.fits(record) {
                page.records.push(Arc::clone(record));
            }
        }
        Ok(page)
    }

    /// The place of the record that begins at a position, or of the end.
    fn begins_at(&self, position: u64) -> Result<usize, InvalidPosition> {
        let place = self.records.partition_point(|record| record.position < position);
        match self.records.get(place) {
            Some(record) if position != 0 && record.position != position => Err(InvalidPosition),
            Some(_) | None => Ok(place),
        }
    }

    /// How many records end at a position or before.
    fn ends_at(&self, position: u64) -> Result<usize, InvalidPosition> {
        if position == u64::MAX {
            return Ok(self.records.len());
        }
        let count = self.records.partition_point(|record| record.end <= position);
        let at = if count == 0 { self.records.first().map_or(FIRST, |first| first.position) } else { self.records[count - 1].end };
        if at == position || position == 0 { Ok(count) } else { Err(InvalidPosition) }
    }

    /// What a restart leaves: everything but the ids in memory.
    pub(super) fn restart(&mut self) {
        self.remembered = Remembered::default();
    }

    /// Has only the first `len` records, as after a backup was put back.
    pub(super) fn put_back(&mut self, len: usize) {
        let kept: Vec<_> = self.records.drain(..).take(len).collect();
        self.streams.clear();
        for record in &kept {
            self.streams.entry(Arc::clone(&record.stream)).or_default().push(Arc::clone(record));
        }
        self.records = kept;
        self.restart();
    }
}
