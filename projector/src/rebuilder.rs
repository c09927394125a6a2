//! A read model that is far behind its log is rebuilt instead of caught up with: the whole log is folded, but several times
//! as fast as batch after batch. So it is after a restore without read models, an import, or a long time away. One that is missing is
//! built beside where it will stand, so that nobody reads a part of it. A read model that is damaged is rebuilt, too, a few times; if
//! that does not help, its tenant is to be parked.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use events::{Position, TenantId, TenantScope};
use platform::{
    ScopedTx, database,
    job::{Kind, Ticket},
    read_model::Standing,
};

use crate::{
    apply::{Applier, ApplyError, within},
    rebuild::{Progress, RebuildError, Report, Way, rebuild_by},
};

/// Events that a read model is behind by at least when it is rebuilt. With fewer, a rebuild's own steps take longest.
pub const FAR_BEHIND: u64 = 20_000;
/// And at least this part of its log: a rebuild folds all of it.
const ONE_IN: u64 = 4;
/// A rebuild's own connections for writing; its readers have theirs, too.
const CONNECTIONS: u32 = 4;
/// Rebuilds of a tenant that may begin within an hour, whoever began them: who loses its partition again and again starts
/// over each time, and batches keep what they have done.
const MOST_BEGUN: i64 = 20;
/// How long a tenant is only caught up with after a rebuild of it failed, or was somebody else's.
const AFTER_FAILURE: Duration = Duration::from_mins(5);
/// Rebuilds of a damaged read model that may begin within [`DAMAGES`], and the pause after each.
const MOST_MENDED: usize = 5;
const PAUSE: Duration = Duration::from_secs(10);
const DAMAGES: Duration = Duration::from_hours(1);
/// How often it is asked whether batches are fast enough.
const LOOK_AGAIN: Duration = Duration::from_secs(3);
/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Rebuilds one tenant after the other.
pub struct Rebuilder {
    applier: Applier,
    far_behind: u64,
    one_at_a_time: tokio::sync::Mutex<()>,
    /// Events that each rebuild which is running has folded.
    folded: Mutex<HashMap<TenantId, u64>>,
    failed: Mutex<HashMap<TenantId, Instant>>,
    damaged: Mutex<HashMap<TenantId, Damaged>>,
}

/// A read model that is damaged, or was within [`DAMAGES`].
#[derive(Default)]
struct Damaged {
    /// Why, and at which event, until it is rebuilt.
    why: Option<(Position, String)>,
    /// When it was rebuilt for that, or that was tried.
    begun: Vec<Instant>,
}

impl Damaged {
    /// What becomes of it now; none where it is whole. `can_rebuild` says whether a rebuild may be begun unasked.
    fn due(&self, can_rebuild: bool) -> Option<Due> {
        let (position, reason) = self.why.clone()?;
        let lately = self.begun.iter().filter(|begun| begun.elapsed() < DAMAGES).count();
        Some(if lately >= MOST_MENDED {
            Due::Parking(position, format!("{reason}; {MOST_MENDED} rebuilds within an hour did not help"))
        } else if !can_rebuild {
            Due::Parking(position, format!("{reason}; rebuild it (tenure read-model rebuild)"))
        } else if self.begun.last().is_some_and(|last| last.elapsed() < PAUSE) {
            Due::Waiting
        } else {
            Due::Rebuilding
        })
    }
}

/// What a read model needs, other than to be caught up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// It is missing, and would be served before it is whole.
    Build(Way),
    /// It is far behind its log, or damaged.
    Rebuild,
}

/// What becomes of a damaged read model.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Rebuilding,
    Waiting,
    Parking(Position, String),
}

/// What [`Rebuilder::run`] came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RebuildOutcome {
    /// Whatever is still missing is to be caught up with.
    Done,
    /// Another tenant of this process is being rebuilt, or this one was just now.
    Later,
    /// The read model could not be built. The tenant has none, so the next try comes after a pause.
    Again,
    /// The read model is damaged and can't be rebuilt: the tenant is to be parked at this event, for this reason.
    Park(Position, String),
}

impl Rebuilder {
    /// For read models that are so many events behind.
    pub fn new(applier: Applier, far_behind: u64) -> Self {
        let (folded, failed, damaged) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { applier, far_behind, one_at_a_time: tokio::sync::Mutex::default(), folded, failed, damaged }
    }

    /// Whether a tenant's read model is not to be caught up with, but rebuilt or built.
    pub async fn is_far_behind(&self, scope: TenantScope) -> Result<bool, ApplyError> {
        Ok(self.need(scope).await?.is_some())
    }

    /// What a tenant's read model needs; none where it only has to be caught up with.
    async fn need(&self, scope: TenantScope) -> Result<Option<Need>, ApplyError> {
        let standing = self.applier.standing(scope).await?;
        if standing == Standing::Damaged {
            self.damaged(scope.tenant(), Position::ZERO, "a table, a key, an index or the checkpoint is missing");
            return Ok(Some(Need::Rebuild));
        }
        let head = within(PATIENCE, async { Ok(self.applier.store.head(scope).await?) }).await?;
        let Standing::At(at) = standing else {
            // With EventStoreDB nobody holds all of a read model in memory unasked.
            let at_once = self.applier.store.is_dense() && head.0 >= self.far_behind;
            let way = if at_once { Way::AtOnce } else { Way::InBatches };
            return Ok((head > Position::ZERO).then_some(Need::Build(way)));
        };
        if !self.is_far(at, head) {
            return Ok(None);
        }
        // Whether the log goes on from where the read model stands is no question of how far.
        self.applier.verify(scope).await?;
        Ok(Some(Need::Rebuild))
    }

    /// Whether it is far from one position to the end of a log.
    pub fn is_far(&self, at: Position, head: Position) -> bool {
        let behind = head.0.saturating_sub(at.0);
        // With EventStoreDB a rebuild holds all of its state in memory (see `rebuild`): nobody starts that unasked.
        self.applier.store.is_dense() && behind >= self.far_behind && behind >= head.0 / ONE_IN
    }

    /// Takes note that a read model is damaged.
    pub fn damaged(&self, tenant: TenantId, position: Position, reason: &str) {
        let mut damaged = lock(&self.damaged);
        let one = damaged.entry(tenant).or_default();
        if one.why.is_none() {
            tracing::warn!(target: "audit", %tenant, %position, reason, "a read model is damaged; it is rebuilt");
            one.why = Some((position, reason.to_owned()));
        }
    }

    /// The tenants whose read models are damaged and not rebuilt yet.
    pub fn all_damaged(&self) -> Vec<TenantId> {
        let mut damaged = lock(&self.damaged);
        for one in damaged.values_mut() {
            one.begun.retain(|begun| begun.elapsed() < DAMAGES);
        }
        damaged.retain(|_, one| one.why.is_some() || !one.begun.is_empty());
        damaged.iter().filter(|(_, one)| one.why.is_some()).map(|(tenant, _)| *tenant).collect()
    }

    /// Forgets what was tried with a tenant that is tried again.
    pub fn forgive(&self, tenant: TenantId) {
        lock(&self.damaged).remove(&tenant);
        lock(&self.failed).remove(&tenant);
    }

    /// Rebuilds a tenant's read model if it is missing, damaged or far behind. What fails is logged, and does not keep from catching up
    /// with one that is whole.
    pub async fn run(&self, scope: TenantScope) -> RebuildOutcome {
        let tenant = scope.tenant();
        let need = self.need_now(scope).await.unwrap_or_else(|error| {
            tracing::debug!(%tenant, %error, "how far behind a tenant is is not known");
            None
        });
        // Short logs need not wait for each other.
        if need == Some(Need::Build(Way::InBatches)) {
            return self.build(scope, Way::InBatches).await;
        }
        let due = lock(&self.damaged).get(&tenant).and_then(|one| one.due(self.applier.store.is_dense()));
        let Ok(_one) = self.one_at_a_time.try_lock() else {
            return if due.is_some() || need.is_some() { RebuildOutcome::Later } else { RebuildOutcome::Done };
        };
        match (due, need) {
            (Some(Due::Parking(position, reason)), _) => RebuildOutcome::Park(position, reason),
            (Some(Due::Waiting), _) => RebuildOutcome::Later,
            (Some(Due::Rebuilding), _) => self.mend(scope).await,
            (None, Some(Need::Build(way))) => self.build(scope, way).await,
            (None, Some(Need::Rebuild)) => {
                tracing::info!(%tenant, "a read model is far behind its log; it is rebuilt");
                if let Err(error) = self.rebuild(scope, Way::AtOnce).await {
                    // Somebody else's rebuild is among these, too.
                    tracing::warn!(%tenant, %error, "the read model is not rebuilt; it catches up batch by batch");
                    lock(&self.failed).insert(tenant, Instant::now());
                }
                RebuildOutcome::Done
            }
            (None, None) => RebuildOutcome::Done,
        }
    }

    /// Builds a read model that is missing. It serves once it has all that the log has.
    async fn build(&self, scope: TenantScope, way: Way) -> RebuildOutcome {
        let tenant = scope.tenant();
        tracing::warn!(target: "audit", %tenant, "there is no read model; it is built from the log, and serves once it is whole");
        match self.rebuild(scope, way).await {
            Ok(()) => RebuildOutcome::Done,
            // The log itself can't be folded, or its rows are refused.
            Err(RebuildError::Apply(ApplyError::Unprojectable { position, reason } | ApplyError::Damaged { position, reason })) => {
                RebuildOutcome::Park(position, reason)
            }
            Err(error) => {
                // Somebody else's rebuild is among these, too.
                tracing::warn!(%tenant, %error, "the read model is not built; trying again");
                RebuildOutcome::Again
            }
        }
    }

    /// Rebuilds a read model that is damaged.
    async fn mend(&self, scope: TenantScope) -> RebuildOutcome {
        let tenant = scope.tenant();
        let mended = self.rebuild(scope, Way::AtOnce).await;
        if matches!(mended, Err(RebuildError::Running)) {
            return RebuildOutcome::Later;
        }
        let mut damaged = lock(&self.damaged);
        let one = damaged.entry(tenant).or_default();
        one.begun.push(Instant::now());
        match mended {
            Ok(()) => {
                one.why = None;
                RebuildOutcome::Done
            }
            // The log itself can't be folded.
            Err(RebuildError::Apply(ApplyError::Unprojectable { position, reason })) => {
                one.why = None;
                RebuildOutcome::Park(position, reason)
            }
            Err(error) => {
                tracing::warn!(%tenant, %error, "a damaged read model is not rebuilt; trying again");
                RebuildOutcome::Later
            }
        }
    }

    /// Waits until a read model that is being caught up with is to be rebuilt after all: an import may be faster than batches.
    pub async fn until_far_behind(&self, scope: TenantScope) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            if matches!(self.need_now(scope).await, Ok(Some(_))) {
                return;
            }
        }
    }

    /// What a read model needs that may be begun now.
    async fn need_now(&self, scope: TenantScope) -> Result<Option<Need>, ApplyError> {
        let failed = {
            let mut failed = lock(&self.failed);
            failed.retain(|_, at| at.elapsed() < AFTER_FAILURE);
            failed.contains_key(&scope.tenant())
        };
        if failed {
            return Ok(None);
        }
        let need = self.need(scope).await?;
        Ok(if need.is_some() && self.begun(scope).await? < MOST_BEGUN { need } else { None })
    }

    async fn begun(&self, scope: TenantScope) -> Result<i64, ApplyError> {
        within(PATIENCE, async {
            let mut tx = ScopedTx::begin(&self.applier.pool, scope).await?;
            let sql = "select count(*) from platform.job where tenant_id = $1 and begun_at > now() - interval '1 hour'";
            let begun = sqlx::query_scalar(sql).bind(scope.tenant().uuid()).fetch_one(tx.conn()).await?;
            tx.commit().await?;
            Ok(begun)
        })
        .await
    }

    async fn rebuild(&self, scope: TenantScope, way: Way) -> Result<(), RebuildError> {
        let pool = database::apart(&self.applier.pool, CONNECTIONS);
        let applier = self.applier.over(pool.clone());
        let rebuilt = async {
            // Whoever calls holds the tenant's partition, which is the right to its read model.
            let ticket = Ticket::issue(&applier.keys, scope, Kind::RebuildReadModel, "system:projector")?;
            let _running = Running::start(&self.folded, scope.tenant());
            let tell = |progress: Progress| {
                lock(&self.folded).insert(scope.tenant(), progress.folded);
            };
            rebuild_by(way, &applier, &ticket, tell).await
        };
        let rebuilt = rebuilt.await;
        let _ = tokio::time::timeout(PATIENCE, pool.close()).await; // They end by themselves, a little later.
        let Report { events, seconds, .. } = rebuilt?;
        metrics::counter!("tenure_projector_rebuilds_total").increment(1);
        tracing::info!(tenant = %scope.tenant(), events, seconds, "the read model is rebuilt");
        Ok(())
    }

    /// Events that each rebuild which is running has folded.
    pub fn folded(&self) -> HashMap<TenantId, u64> {
        lock(&self.folded).clone()
    }
}

/// A rebuild that runs until this is dropped, also where it is given up.
struct Running<'f>(&'f Mutex<HashMap<TenantId, u64>>, TenantId);

impl<'f> Running<'f> {
    fn start(folded: &'f Mutex<HashMap<TenantId, u64>>, tenant: TenantId) -> Self {
        lock(folded).insert(tenant, 0);
        Self(folded, tenant)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        lock(self.0).remove(&self.1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five rebuilds within an hour, each with a pause after it; then its tenant is parked, until the hour is over.
    #[test]
    fn what_no_rebuild_mends_is_parked() {
        let ago = |seconds: u64| Instant::now().checked_sub(Duration::from_secs(seconds)).expect("a machine that runs for an hour");
        let parked = |reason: &str| Some(Due::Parking(Position(7), format!("a table is missing; {reason}")));
        let helpless = || parked("5 rebuilds within an hour did not help");
        for (begun, can_rebuild, due) in [
            (&[][..], true, Some(Due::Rebuilding)),
            (&[1], true, Some(Due::Waiting)),
            (&[11], true, Some(Due::Rebuilding)),
            (&[500, 400, 300, 200], true, Some(Due::Rebuilding)),
            (&[500, 400, 300, 1], true, Some(Due::Waiting)),
            (&[500, 400, 300, 200, 100], true, helpless()),
            (&[500, 400, 300, 200, 1], true, helpless()),
            (&[3_601, 400, 300, 200, 100], true, Some(Due::Rebuilding)),
            (&[], false, parked("rebuild it (tenure read-model rebuild)")),
        ] {
            let why = Some((Position(7), "a table is missing".to_owned()));
            let damaged = Damaged { why, begun: begun.iter().map(|seconds| ago(*seconds)).collect() };
            assert_eq!(damaged.due(can_rebuild), due, "{begun:?}");
            assert_eq!(Damaged { why: None, ..damaged }.due(can_rebuild), None, "{begun:?}");
        }
    }
}
