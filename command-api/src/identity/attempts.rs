//! How often one may try. An attempt is counted before the password is looked at, so that a thousand at once are a
//! thousand, and given back when it succeeds.
//!
//! Three counters: who tries where from; who tries from anywhere unknown; where from, whoever it is. A client that
//! succeeded once holds a proof of it (`device`), has a counter of its own, and is not held up by what strangers do to the
//! second: nobody can lock another out of their own device. (OWASP, "Slow Down Online Guessing Attacks with Device
//! Cookies".)

use std::{fmt::Write as _, net::IpAddr};

use events::TenantScope;
use http::StatusCode;
use platform::{Keys, Problem, ScopedTx};
use sqlx::PgPool;

/// How many attempts within how many seconds.
#[derive(Debug, Clone, Copy)]
struct Limit {
    attempts: i32,
    seconds: i64,
}
const FROM_THERE: Limit = Limit { attempts: 10, seconds: 15 * 60 };
const FROM_ANYWHERE: Limit = Limit { attempts: 100, seconds: 60 * 60 };
const BY_SOURCE: Limit = Limit { attempts: 300, seconds: 15 * 60 };

/// An attempt that was counted.
pub(crate) struct Attempt {
    scope: TenantScope,
    keys: Vec<Vec<u8>>,
}

/// Who tries, as far as it is known.
pub(crate) struct Trier<'t> {
    /// Digest of the account's name.
    pub(crate) account: &'t [u8],
    pub(crate) source: Option<IpAddr>,
    /// A proof of an earlier success, verified.
    pub(crate) device: Option<&'t str>,
}

impl Attempt {
    /// Counts an attempt; 429 `rate_limited` where there were too many.
    pub(crate) async fn count(pool: &PgPool, keys: &Keys, scope: TenantScope, trier: &Trier<'_>) -> Result<Self, Problem> {
        let account = data_encoding::HEXLOWER.encode(trier.account);
        let source = network(trier.source);
        let names = match trier.device {
            Some(device) => vec![(format!("device\n{account}\n{device}"), FROM_THERE), (format!("source\n{source}"), BY_SOURCE)],
            None => vec![
                (format!("there\n{account}\n{source}"), FROM_THERE),
                (format!("anywhere\n{account}"), FROM_ANYWHERE),
                (format!("source\n{source}"), BY_SOURCE),
            ],
        };
        let (mut digests, mut limits, mut windows) = (Vec::new(), Vec::new(), Vec::new());
        for (name, limit) in names {
            // Addresses are personal: only digests are kept.
            digests.push(keys.claim_digest(scope, "login_attempts", &name).await?.to_vec());
            limits.push(limit.attempts);
            windows.push(limit.seconds);
        }
        let mut tx = ScopedTx::begin(pool, scope).await?;
        // In one order, so that two attempts can't wait for each other.
        let wait: Option<i64> = sqlx::query_scalar(
            "with asked as (
                 select * from unnest($2::bytea[], $3::int[], $4::bigint[]) a (key, most, seconds) order by key),
             counted as (
                 insert into platform.login_attempts as l (tenant_id, key, attempts, window_ends)
                 select $1, key, 1, now() + seconds * interval '1 second' from asked
                 on conflict (tenant_id, key) do update set
                     attempts = case when l.window_ends <= now() then 1 else least(l.attempts + 1, 1000000) end,
                     window_ends = case when l.window_ends <= now() then excluded.window_ends else l.window_ends end
                 returning l.key, l.attempts, l.window_ends)
             select max(ceil(extract(epoch from window_ends - now())))::bigint
             from counted join asked using (key) where attempts > most",
        )
        .bind(scope.tenant().uuid())
        .bind(&digests)
        .bind(&limits)
        .bind(&windows)
        .fetch_one(tx.conn())
        .await?;
        tx.commit().await?;
        match wait {
            None => Ok(Self { scope, keys: digests }),
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
        let (last, own) = self.keys.split_last().map_or((&[][..], &[][..]), |(last, own)| (last.as_slice(), own));
        sqlx::query("delete from platform.login_attempts where tenant_id = $1 and key = any($2)")
            .bind(self.scope.tenant().uuid())
            .bind(own)
            .execute(tx.conn())
            .await?;
        sqlx::query("update platform.login_attempts set attempts = greatest(attempts - 1, 0) where tenant_id = $1 and key = $2")
            .bind(self.scope.tenant().uuid())
            .bind(last)
            .execute(tx.conn())
            .await?;
        Ok(())
    }
}

/// Where somebody sits: an IPv4 address, or the 64 bits of an IPv6 network that one household gets.
fn network(source: Option<IpAddr>) -> String {
    match source {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => address.segments()[..4].iter().fold(String::new(), |mut text, part| {
            let _ = write!(text, "{part:x}:");
            text
        }),
    }
}
