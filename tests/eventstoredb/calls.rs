//! What the stand-in was asked, and how many records it looked at for each call.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::StandIn;

/// The calls of the protocol, reads of `$all` parted by whether the server filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    ServerFeatures,
    Append,
    ReadStream,
    ReadAll,
    ReadAllFiltered,
    Remove,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) kind: Kind,
    /// The stream's name, or `$all`.
    pub(crate) stream: String,
    /// The rest of what was asked, for people.
    pub(crate) asked: String,
    pub(crate) looked_at: AtomicU64,
    pub(crate) returned: AtomicU64,
    pub(crate) over: AtomicBool,
}

impl Call {
    pub(super) fn new(kind: Kind, stream: &str, asked: String) -> Self {
        let (looked_at, returned, over) = Default::default();
        Self { kind, stream: stream.to_owned(), asked, looked_at, returned, over }
    }
}

/// The calls of a while.
pub(crate) struct Work(Vec<Arc<Call>>);

impl Work {
    /// How many calls there were of a kind.
    pub(crate) fn calls(&self, kind: Kind) -> usize {
        self.0.iter().filter(|call| call.kind == kind).count()
    }
    /// How many calls there were, of any kind.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
    /// Records that were looked at for all of them.
    pub(crate) fn looked_at(&self) -> u64 {
        self.0.iter().map(|call| call.looked_at.load(Ordering::Relaxed)).sum()
    }
}

/// Kind by kind, for a test's message.
impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: BTreeMap<Kind, (u64, u64, u64)> = BTreeMap::new();
        for call in &self.0 {
            let (calls, looked_at, returned) = kinds.entry(call.kind).or_default();
            *calls += 1;
            *looked_at += call.looked_at.load(Ordering::Relaxed);
            *returned += call.returned.load(Ordering::Relaxed);
        }
        for (kind, (calls, looked_at, returned)) in kinds {
            write!(f, "{calls} {kind:?}: {looked_at} looked at, {returned} returned; ")?;
        }
        Ok(())
    }
}

impl StandIn {
    /// Where the calls of a while begin.
    pub(crate) fn mark(&self) -> usize {
        self.server.calls.lock().unwrap().len()
    }

    /// The calls since a mark, once those have ended that the server still works at.
    pub(crate) async fn since(&self, mark: usize) -> Work {
        let calls = self.server.calls.lock().unwrap()[mark..].to_vec();
        let deadline = Instant::now() + Duration::from_secs(20);
        while let Some(call) = calls.iter().find(|call| !call.over.load(Ordering::Relaxed)) {
            assert!(Instant::now() < deadline, "{:?} of {} does not end: {}", call.kind, call.stream, call.asked);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Work(calls)
    }
}
