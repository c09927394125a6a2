//! How often one may try. An attempt is counted before the password is looked at, so that a thousand at once are a
//! thousand, and given back when it succeeds. One that is refused here counts only where it is one too many: who hammers
//! from one place uses up nobody else's.
//!
//! The counters: who tries where from, and from how wide a network; who tries from anywhere unknown; where from, whoever it
//! is. A client that succeeded once holds a proof of it (`device`) and has a counter of its own instead: nobody can lock
//! another out of their own device. (OWASP, "Slow Down Online Guessing Attacks with Device Cookies".)

use events::TenantScope;
use http::StatusCode;
use platform::{Keys, Problem, ScopedTx, auth::Origin};
use sqlx::PgPool;

use super::audit;

/// How many attempts within how many seconds.
#[derive(Debug, Clone, Copy)]
struct Limit {
    attempts: i32,
    seconds: i64,
}
const FROM_THERE: Limit = Limit { attempts: 10, seconds: 15 * 60 };
/// From an IPv6 network such as one customer gets: 65,536 of those that one household has.
const FROM_AROUND: Limit = Limit { attempts: 30, seconds: 60 * 60 };
const FROM_ANYWHERE: Limit = Limit { attempts: 100, seconds: 60 * 60 };
const BY_SOURCE: Limit = Limit { attempts: 300, seconds: 15 * 60 };

/// An attempt that was counted.
pub(crate) struct Attempt {
    scope: TenantScope,
    /// The counters about this account only, and those that others share.
    own: Vec<Vec<u8>>,
    shared: Vec<Vec<u8>>,
}

/// Who tries, as far as it is known.
pub(crate) struct Trier<'t> {
    /// What is tried, for the audit.
    pub(crate) action: &'static str,
    /// Under which name, where there is no such tenant: to who asks, one that is not there counts as one that is.
    pub(crate) nowhere: Option<&'t str>,
    /// Digest of the account's name.
    pub(crate) account: &'t [u8],
    pub(crate) source: Option<Origin>,
    /// A proof of an earlier success, verified.
    pub(crate) device: Option<&'t str>,
}

impl Attempt {
    /// Counts an attempt; 429 `rate_limited` where there were too many.
    pub(crate) async fn count(pool: &PgPool, keys: &Keys, scope: TenantScope, trier: &Trier<'_>) -> Result<Self, Problem> {
        let account = data_encoding::HEXLOWER.encode(trier.account);
        let (mut own, mut shared) = (Vec::new(), Vec::new());
        if let Some(device) = trier.device {
            own.push((format!("device\n{account}\n{device}"), FROM_THERE));
        } else {
            own.push((format!("anywhere\n{account}"), FROM_ANYWHERE));
            // Who can't be told from others is not counted together with them: else one would lock all of them out.
            if let Some(origin @ Origin::Address(address)) = trier.source {
                let (source, around) = (origin.network(64), origin.network(48));
                own.push((format!("there\n{account}\n{source}"), FROM_THERE));
                if address.is_ipv6() {
                    own.push((format!("around\n{account}\n{around}"), FROM_AROUND));
                }
                shared.push((format!("source\n{}\n{source}", trier.nowhere.unwrap_or_default()), BY_SOURCE));
            }
        }
        let (mut digests, mut limits, mut windows) = (Vec::new(), Vec::new(), Vec::new());
        for (name, limit) in own.iter().chain(&shared) {
            // Addresses are personal: only digests are kept.
            digests.push(keys.claim_digest(scope, "login_attempts", name).await?.to_vec());
            limits.push(limit.attempts);
            windows.push(limit.seconds);
        }
        let mut tx = ScopedTx::begin(pool, scope).await?;
        // In one order, so that two attempts can't wait for each other.
        let counted: Vec<(Vec<u8>, i32, i64)> = sqlx::query_as(
            "with asked as (
                 select * from unnest($2::bytea[], $3::int[], $4::bigint[]) a (key, most, seconds) order by key),
             counted as (
                 insert into platform.login_attempts as l (tenant_id, key, attempts, window_ends)
                 select $1, key, 1, now() + seconds * interval '1 second' from asked
                 on conflict (tenant_id, key) do update set
                     attempts = case when l.window_ends <= now() then 1 else least(l.attempts + 1, 1000000) end,
                     window_ends = case when l.window_ends <= now() then excluded.window_ends else l.window_ends end
                 returning l.key, l.attempts, l.window_ends)
             select key, attempts - most, ceil(extract(epoch from window_ends - now()))::bigint from counted join asked using (key)",
        )
        .bind(scope.tenant().uuid())
        .bind(&digests)
        .bind(&limits)
        .bind(&windows)
        .fetch_all(tx.conn())
        .await?;
        let (over, within): (Vec<_>, Vec<_>) = counted.iter().partition(|(_, over, _)| *over > 0);
        let wait = over.iter().map(|(_, _, seconds)| *seconds).max();
        if wait.is_some() {
            let within = within.into_iter().map(|(key, ..)| key.clone()).collect();
            give_back(&mut tx, scope, within).await?;
        }
        // Once per window.
        if over.iter().any(|(_, over, _)| *over == 1) {
            audit(&mut tx, scope, trier.action, "rate_limited", None, None).await?;
        }
        // What nobody needs any more goes bit by bit.
        sqlx::query(
            "delete from platform.login_attempts where tenant_id = $1 and key in (
                 select key from platform.login_attempts where tenant_id = $1 and window_ends < now() limit 10 for update skip locked)",
        )
        .bind(scope.tenant().uuid())
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        match wait {
            None => {
                let shared = digests.split_off(own.len());
                Ok(Self { scope, own: digests, shared })
            }
            Some(seconds) => {
                metrics::counter!("login_rate_limited_total").increment(1);
                let detail = "too many attempts; try again after Retry-After seconds, or from a device that you used before";
                let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail);
                problem.retry_after = u32::try_from(seconds.max(1)).ok();
                Err(problem)
            }
        }
    }
    /// It succeeded: what led to it is forgotten where it was about this account, and given back elsewhere.
    pub(crate) async fn succeeded(self, tx: &mut ScopedTx) -> Result<(), sqlx::Error> {
        // In the order in which they are counted, so that two can't wait for each other.
        sqlx::query("select from platform.login_attempts where tenant_id = $1 and key = any($2) order by key for update")
            .bind(self.scope.tenant().uuid())
            .bind([self.own.as_slice(), &self.shared].concat())
            .execute(tx.conn())
            .await?;
        sqlx::query("delete from platform.login_attempts where tenant_id = $1 and key = any($2)")
            .bind(self.scope.tenant().uuid())
            .bind(self.own)
            .execute(tx.conn())
            .await?;
        give_back(tx, self.scope, self.shared).await
    }
}

async fn give_back(tx: &mut ScopedTx, scope: TenantScope, keys: Vec<Vec<u8>>) -> Result<(), sqlx::Error> {
    sqlx::query("update platform.login_attempts set attempts = greatest(attempts - 1, 0) where tenant_id = $1 and key = any($2)")
        .bind(scope.tenant().uuid())
        .bind(keys)
        .execute(tx.conn())
        .await?;
    Ok(())
}
