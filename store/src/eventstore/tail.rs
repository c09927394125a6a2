//! What a process remembers of `$all` beyond the index in PostgreSQL: which events came there, of whom, and where they stand.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use events::{EventMark, LogPoint, Position, StreamName, TenantId};

/// Entries that are held beyond the index at most, at about 80 bytes each. The longest logs are dropped first, so that short ones,
/// such as the platform's, are read also while the relay is away.
pub(super) const MOST_ENTRIES: usize = 200_000;

/// How far `$all` was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// Which index it belongs to; zero where there is none.
    pub(crate) generation: i64,
    /// The last record that was looked at; none before the first.
    pub(crate) record: LogPoint,
    /// How many records there were until then.
    pub(crate) ordinal: u64,
    /// The last event of a tenant until then. The server may remove other records, such as its statistics.
    pub(crate) event: LogPoint,
}

/// The stream of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryStream {
    Known(StreamName),
    /// A name within the tenant's namespace that this build can't read: what follows the namespace.
    Unknown(Arc<str>),
}

/// Where an event of a tenant's log stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// In `$all`.
    pub(crate) position: Position,
    /// Its stream.
    pub(crate) stream: EntryStream,
    /// In its stream.
    pub(crate) revision: u64,
    /// Which record of `$all` it is.
    pub(crate) ordinal: u64,
}

/// The end of a log, beyond the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TailHead {
    pub(super) point: LogPoint,
    /// Events beyond a position.
    pub(super) beyond: u64,
}

/// What is known beyond the index.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// Up to here the index is complete.
    pub(super) base: Progress,
    /// Up to here `$all` was looked at.
    pub(super) read_to: Progress,
    /// When the last look that reached the end began.
    pub(super) began: Option<Instant>,
    logs: HashMap<TenantId, Log>,
    entries: usize,
}

#[derive(Debug, Default)]
struct Log {
    entries: VecDeque<Entry>,
    /// The event of the last entry, or of the last one that was dropped.
    head: LogPoint,
    /// Entries that were dropped for want of room.
    dropped: u64,
}

/// Entries of a log were dropped: only the index can have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dropped;

impl Tail {
    /// Takes note of how far the index is complete: what it has need not be held here. An index that was begun anew, or has lost
    /// its last moments, leaves nothing of what was read beyond it.
    pub(super) fn rest_on(&mut self, index: Progress) {
        let before = self.base;
        if index == before {
            return;
        }
        let same = index.generation == before.generation && index.record.position >= before.record.position;
        if !same || index.record.position >= self.read_to.record.position {
            *self = Self { base: index, read_to: index, began: self.began, ..Self::default() };
            return;
        }
        self.base = index;
        let at = index.record.position;
        self.logs.retain(|_, log| {
            let indexed = log.entries.partition_point(|entry| entry.position <= at);
            log.entries.drain(..indexed);
            log.head.position > at
        });
        self.entries = self.logs.values().map(|log| log.entries.len()).sum();
    }

    /// Takes note of what was looked at next.
    pub(super) fn add(&mut self, entries: impl IntoIterator<Item = (TenantId, Entry, Option<EventMark>)>, read_to: Progress, most: usize) {
        for (tenant, entry, mark) in entries {
            let log = self.logs.entry(tenant).or_default();
            log.head = LogPoint { position: entry.position, mark };
            if log.dropped > 0 {
                log.dropped += 1;
                continue;
            }
            log.entries.push_back(entry);
            self.entries += 1;
        }
        self.read_to = read_to;
        while self.entries > most {
            let Some(longest) = self.logs.values_mut().max_by_key(|log| log.entries.len()) else { return };
            self.entries -= longest.entries.len();
            longest.dropped += longest.entries.len() as u64;
            longest.entries = VecDeque::new();
        }
    }

    /// Entries of a log beyond the index from a position on, at most `limit`.
    pub(super) fn entries(&self, tenant: TenantId, from: Position, limit: usize) -> Result<Vec<Entry>, Dropped> {
        let Some(log) = self.logs.get(&tenant) else { return Ok(Vec::new()) };
        if log.dropped > 0 && log.head.position >= from {
            return Err(Dropped);
        }
        let start = log.entries.partition_point(|entry| entry.position < from);
        Ok(log.entries.range(start..).take(limit).cloned().collect())
    }

    /// How many entries of a log lie beyond the index, up to a position.
    pub(super) fn count(&self, tenant: TenantId, until: Position) -> u64 {
        let Some(log) = self.logs.get(&tenant) else { return 0 };
        let held = log.entries.partition_point(|entry| entry.position <= until) as u64;
        if log.head.position <= until { held + log.dropped } else { held }
    }

    /// The end of a log, if it lies beyond the index.
    pub(super) fn head(&self, tenant: TenantId) -> Option<LogPoint> {
        self.logs.get(&tenant).map(|log| log.head)
    }

    /// The ends of all logs that lie beyond `indexed` of each, and how many events do.
    pub(super) fn heads(&self, indexed: impl Fn(TenantId) -> Position) -> impl Iterator<Item = (TenantId, TailHead)> {
        self.logs.iter().filter_map(move |(tenant, log)| {
            let indexed = indexed(*tenant);
            let beyond = log.entries.len() - log.entries.partition_point(|entry| entry.position <= indexed);
            let head = TailHead { point: log.head, beyond: beyond as u64 + log.dropped };
            (log.head.position > indexed).then_some((*tenant, head))
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn tenant(n: u128) -> TenantId {
        TenantId::from_uuid(Uuid::from_u128(n))
    }
    fn progress(generation: i64, position: u64) -> Progress {
        Progress { generation, record: LogPoint { position: Position(position), mark: None }, ordinal: position, ..Progress::default() }
    }
    fn entry(of: u128, position: u64) -> (TenantId, Entry, Option<EventMark>) {
        let stream = EntryStream::Unknown("x".into());
        (tenant(of), Entry { position: Position(position), stream, revision: 0, ordinal: position }, None)
    }
    fn places(tail: &Tail, of: u128, from: u64) -> Result<Vec<u64>, Dropped> {
        Ok(tail.entries(tenant(of), Position(from), 10)?.into_iter().map(|entry| entry.position.0).collect())
    }
    fn with(entries: &[(u128, u64)], most: usize) -> Tail {
        let mut tail = Tail::default();
        tail.rest_on(progress(1, 10));
        let to = entries.last().map_or(10, |(_, position)| *position);
        tail.add(entries.iter().map(|(of, position)| entry(*of, *position)), progress(1, to), most);
        tail
    }

    #[test]
    fn what_the_index_has_is_not_held() {
        let mut tail = with(&[(1, 11), (2, 12), (1, 13), (1, 14)], 100);
        assert_eq!(places(&tail, 1, 12), Ok(vec![13, 14]));
        tail.rest_on(progress(1, 13));
        assert_eq!((places(&tail, 1, 0), places(&tail, 2, 0)), (Ok(vec![14]), Ok(vec![])));
        assert_eq!((tail.head(tenant(2)), tail.entries), (None, 1));
        tail.rest_on(progress(1, 20));
        assert_eq!((places(&tail, 1, 0), tail.read_to.record.position, tail.entries), (Ok(vec![]), Position(20), 0));
    }

    #[test]
    fn an_index_that_went_back_or_began_anew_leaves_nothing() {
        for index in [progress(2, 15), progress(2, 5), progress(1, 9)] {
            let mut tail = with(&[(1, 11), (1, 16)], 100);
            tail.rest_on(index);
            assert_eq!((tail.read_to, tail.base, tail.entries), (index, index, 0));
            assert_eq!(tail.head(tenant(1)), None);
        }
    }

    #[test]
    fn the_longest_log_gives_way_and_is_counted_all_the_same() {
        let mut tail = with(&[(1, 11), (2, 12), (1, 13), (1, 14)], 3);
        tail.add([entry(1, 15), entry(2, 16)], progress(1, 16), 3);
        assert_eq!((places(&tail, 1, 0), places(&tail, 1, 15), places(&tail, 2, 0)), (Err(Dropped), Err(Dropped), Ok(vec![12, 16])));
        assert_eq!(places(&tail, 1, 16), Ok(vec![]), "nothing comes after its end");
        assert_eq!((tail.count(tenant(1), Position(15)), tail.count(tenant(2), Position(15))), (4, 1));
        let heads: HashMap<_, _> = tail.heads(|_| Position(12)).collect();
        let head = |position, beyond| TailHead { point: LogPoint { position: Position(position), mark: None }, beyond };
        assert_eq!(heads, HashMap::from([(tenant(1), head(15, 4)), (tenant(2), head(16, 1))]));
        tail.rest_on(progress(1, 15));
        tail.add([entry(1, 17)], progress(1, 17), 3);
        assert_eq!(places(&tail, 1, 0), Ok(vec![17]), "once it is indexed, it is held again");
    }
}
