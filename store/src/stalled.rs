//! How long tenants that are behind have not moved: says with any engine whether somebody keeps up, where the number of
//! events that wait is not known.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use events::{Position, TenantId};

/// The tenants that were behind at the last look, where they stood, and since when.
#[derive(Debug, Default)]
pub struct Stalled(HashMap<TenantId, (Position, Instant)>);

impl Stalled {
    /// Takes note of who is behind now, and where; how long the one that has stood longest has done so.
    pub fn longest(&mut self, behind: impl IntoIterator<Item = (TenantId, Position)>) -> Duration {
        let now = Instant::now();
        let since = |(tenant, at)| {
            let before = self.0.get(&tenant).filter(|before| before.0 == at);
            (tenant, before.copied().unwrap_or((at, now)))
        };
        self.0 = behind.into_iter().map(since).collect();
        self.0.values().map(|(_, since)| now.duration_since(*since)).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_moves_is_not_stalled_and_who_stands_is() {
        let (a, b) = (TenantId::from_uuid(uuid::Uuid::now_v7()), TenantId::from_uuid(uuid::Uuid::max()));
        let mut stalled = Stalled::default();
        assert_eq!(stalled.longest([(a, Position(1)), (b, Position(1))]), Duration::ZERO);
        std::thread::sleep(Duration::from_millis(5));
        assert!(stalled.longest([(a, Position(2)), (b, Position(1))]) >= Duration::from_millis(5));
        assert_eq!(stalled.longest([(a, Position(3))]), Duration::ZERO);
        assert_eq!(stalled.longest([]), Duration::ZERO);
        assert_eq!(stalled.longest([(b, Position(1))]), Duration::ZERO, "it has moved meanwhile");
    }
}
