//! What is still to be recorded: the entries that follow from the facts, less those that are recorded.
//!
//! Posting twice records nothing more; posting late records what is due; posting after something underneath has changed
//! records the opposite of what was wrong and what is right. Nothing that was recorded is changed.

use std::collections::BTreeMap;

use events::leave::{Amount, Cause, Entry, EntryKind, LotKey};
use jiff::civil::Date;
use rust_decimal::Decimal;

/// By what an entry is known: the same key is never recorded twice.
pub type EntryKey = (Date, EntryKind, Cause, Option<LotKey>);

/// The key of an entry.
pub const fn key(entry: &Entry) -> EntryKey {
    (entry.on, entry.kind, entry.cause, entry.lot)
}

/// The sums of entries by key.
pub fn sums<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> BTreeMap<EntryKey, Decimal> {
    let mut sums = BTreeMap::new();
    for entry in entries {
        *sums.entry(key(entry)).or_default() += entry.amount.decimal();
    }
    sums
}

/// What must be recorded so that what is recorded equals what follows from the facts. Reversals come first.
pub fn due(follows: &[Entry], recorded: &[Entry]) -> Vec<Entry> {
    let (wanted, there) = (sums(follows), sums(recorded));
    let mut due: Vec<Entry> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for entry in recorded.iter().chain(follows) {
        let key = key(entry);
        if !seen.insert(key) {
            continue;
        }
        let difference = wanted.get(&key).copied().unwrap_or_default() - there.get(&key).copied().unwrap_or_default();
        if !difference.is_zero() {
            let why = follows.iter().find(|other| self::key(other) == key).map_or(entry.why, |other| other.why);
            due.push(Entry { amount: Amount::computed(difference), why, ..*entry });
        }
    }
    due
}
