//! Counters in this process's memory: how often something was tried, or written down, within a time.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use events::TenantId;
use platform::auth::Origin;
use tokio::time::Instant;

/// How many attempts within how many seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) attempts: u32,
    pub(crate) seconds: u32,
}

/// From one place, for all accounts of all tenants.
const BY_SOURCE: Limit = Limit { attempts: 300, seconds: 15 * 60 };
/// What costs nothing to send is written down so often.
const WRITTEN_DOWN: Limit = Limit { attempts: 10, seconds: 15 * 60 };
/// Counters of one kind in this process's memory. Where there are more, those that count least are forgotten.
const MOST: usize = 65_536;

/// The counters in this process's memory.
pub(crate) struct Recent {
    pub(crate) sources: Counters<Origin>,
    pub(crate) written_down: Counters<(TenantId, &'static str, String)>,
}

/// Counts by key within a window that begins with the first.
pub(crate) struct Counters<K> {
    limit: Limit,
    windows: Mutex<HashMap<K, Window>>,
}

pub(crate) struct Window {
    ends: Instant,
    attempts: u32,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self { sources: Counters::new(BY_SOURCE), written_down: Counters::new(WRITTEN_DOWN) }
    }
}

impl<K: Eq + Hash> Counters<K> {
    pub(crate) fn new(limit: Limit) -> Self {
        Self { limit, windows: Mutex::default() }
    }
    /// Counts one. The error is that it is one too many: whether the first such in its window, and how long that lasts.
    pub(crate) fn count(&self, key: K) -> Result<(), (bool, Duration)> {
        let now = Instant::now();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= MOST && !windows.contains_key(&key) {
            windows.retain(|_, window| window.ends > now);
            if windows.len() >= MOST {
                let mut counts: Vec<u32> = windows.values().map(|window| window.attempts).collect();
                let (_, median, _) = counts.select_nth_unstable(MOST / 2);
                let median = *median;
                windows.retain(|_, window| window.attempts > median);
            }
        }
        let ends = now + Duration::from_secs(self.limit.seconds.into());
        let window = windows.entry(key).or_insert(Window { ends, attempts: 0 });
        if window.ends <= now {
            *window = Window { ends, attempts: 0 };
        }
        window.attempts = (window.attempts + 1).min(self.limit.attempts + 2);
        if window.attempts <= self.limit.attempts {
            return Ok(());
        }
        Err((window.attempts == self.limit.attempts + 1, window.ends - now))
    }
    pub(crate) fn give_back(&self, key: &K) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = windows.get_mut(key) {
            window.attempts = window.attempts.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_and_who_tries_most_is_remembered() {
        let counters = Counters::new(Limit { attempts: 10, seconds: 60 });
        for n in 0..11 {
            assert_eq!(counters.count(0).is_ok(), n < 10);
        }
        for key in 1..3 * MOST {
            assert!(counters.count(key).is_ok());
        }
        assert!(counters.windows.lock().unwrap().len() <= MOST);
        assert_eq!(counters.count(0).map_err(|(first, _)| first), Err(false), "still the one that is over");
        counters.give_back(&1);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(counters.count(0).is_ok(), "a new window");
    }
}
