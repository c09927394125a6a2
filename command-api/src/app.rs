//! What handlers need of the process.

use axum::extract::FromRef;
use execution::Executor;
use identity::Logins;
use platform::{Gate, Keys, Release};
use sqlx::PgPool;
use store::Store;

use crate::batch::{BatchLimits, Batches};

/// What handlers need; each takes only its part.
#[derive(Clone, FromRef)]
pub struct App {
    pub(crate) gate: Gate,
    executor: Executor,
    batches: Batches,
    pub(crate) logins: Logins,
}

impl App {
    /// The state of a process. `release` says which events may be written, `pool` keeps the answers that no event can give again, and
    /// `limits` are those of a batch.
    pub fn new(gate: Gate, logins: Logins, store: Store, keys: Keys, release: Release, pool: PgPool, limits: BatchLimits) -> Self {
        let executor = Executor::new(store, keys, gate.registry().clone(), release, pool);
        gate.ask_about_leavers(executor.employments());
        Self { gate, executor, batches: Batches::new(limits), logins }
    }
}
