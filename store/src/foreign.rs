//! Tenants in an event store that were never registered here: another system's, or what a test left. Nobody relays, projects or
//! tries them; their number is said once, and again when it changes.

/// How many there were at the last look.
#[derive(Debug, Default)]
pub struct Foreign(usize);

impl Foreign {
    /// Takes note of how many there are.
    pub fn note(&mut self, number: usize) {
        metrics::gauge!("tenure_foreign_tenants").set(number as f64);
        if number != self.0 {
            tracing::warn!(number, before = self.0, "tenants that are not registered here stand in the event store; they are left alone");
        }
        self.0 = number;
    }
}
