//! How often one may try, and how often that is written down.
//!
//! What can be guessed (passwords, codes) is counted before it is looked at, so that a thousand at once are a thousand, and given
//! back when it succeeds. What can't be (256 random bits) is looked at first and never held up, whoever else fails from the same
//! address; only what is written down about it is bounded. Nothing is counted by what whoever tries can choose at will:
//!
//! | who tries | is counted | where |
//! |---|---|---|
//! | a stranger | by account and network, by account and wider network (IPv6), by account | `platform.login_attempts` |
//! | | by network, for all accounts of all tenants | this process |
//! | at a tenant that is not there | the same, but accounts and networks share a fixed number of counters | the same |
//! | a device that logged in with the present password | by device, and by account for all of its devices | `platform.login_attempts` |
//! | somebody with a token of the account's | by log-in, and by account | `platform.login_attempts` |
//!
//! One that is refused by one counter does not count in the others, and leaves no row. (OWASP, "Slow Down Online Guessing Attacks with
//! Device Cookies".)

use std::time::Duration;

use events::TenantScope;
use http::StatusCode;
use platform::{Problem, ScopedTx, auth::Origin};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{audit::audit, counters::Limit, state::Identity};

/// From one place, of one device, or with the tokens of one log-in.
const FROM_ONE: Limit = Limit { attempts: 10, seconds: 15 * 60 };
/// From an IPv6 network such as one customer gets: 65,536 of those that one household has.
const FROM_AROUND: Limit = Limit { attempts: 30, seconds: 60 * 60 };
/// From all strange places together; of all known devices together; with all tokens together.
const FROM_ALL: Limit = Limit { attempts: 100, seconds: 60 * 60 };
/// Of each kind of counter, so many are for all tenants that are not there.
const NOWHERE: u16 = 4096;
/// How often what has expired is deleted.
const CLEANING: Duration = Duration::from_secs(15);

/// An attempt that was counted.
pub(crate) struct Attempt {
    scope: TenantScope,
    /// The counters about this account.
    own: Vec<Vec<u8>>,
    source: Option<Origin>,
}

/// By what is counted how often something is written down.
#[derive(Debug, Clone, Copy)]
pub(crate) enum By<'b> {
    /// The subject that it is about.
    Subject(&'b str),
    /// Where it came from, if it is about nobody.
    Place(Option<Origin>),
}

/// Who tries, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trier<'t> {
    /// Somebody from there, if that can be told from elsewhere.
    Stranger(Option<Origin>),
    /// The same at a tenant that is not there: to who asks, it counts as one that is.
    Nowhere(Option<Origin>),
    /// A device that logged in with the present password, of which this is a digest. With another password they begin anew.
    Device {
        /// The device's.
        name: &'t str,
        password: &'t str,
    },
    /// Somebody with a token of the account's, of this log-in.
    Token(Option<Uuid>),
}

impl Trier<'_> {
    /// The names of the counters about an account, and their limits.
    fn counters(self, account: &str) -> Vec<(String, Limit)> {
        match self {
            Self::Stranger(source) | Self::Nowhere(source) => {
                let mut counters = vec![(format!("anywhere\n{account}"), FROM_ALL)];
                // Whoever can't be told from others is not counted together with them: else one would lock all of them out.
                if let Some(origin @ Origin::Address(address)) = source {
                    counters.push((format!("there\n{account}\n{}", origin.network(64)), FROM_ONE));
                    if address.is_ipv6() {
                        counters.push((format!("around\n{account}\n{}", origin.network(48)), FROM_AROUND));
                    }
                }
                counters
            }
            Self::Device { name, password } => {
                vec![(format!("device\n{account}\n{name}"), FROM_ONE), (format!("devices\n{account}\n{password}"), FROM_ALL)]
            }
            Self::Token(session) => {
                let session = session.unwrap_or_default();
                vec![(format!("token\n{account}\n{session}"), FROM_ONE), (format!("tokens\n{account}"), FROM_ALL)]
            }
        }
    }
    /// The network whose attempts at all accounts are counted.
    fn source(self) -> Option<Origin> {
        match self {
            Self::Stranger(Some(origin @ Origin::Address(_))) | Self::Nowhere(Some(origin @ Origin::Address(_))) => {
                Some(origin.network(64))
            }
            Self::Stranger(_) | Self::Nowhere(_) | Self::Device { .. } | Self::Token(_) => None,
        }
    }
}

impl Identity {
    /// Counts an attempt at an account, of which only a digest is kept; 429 `rate_limited` where there were too many.
    pub(crate) async fn count(
        &self,
        scope: TenantScope,
        action: &'static str,
        account: &[u8],
        trier: Trier<'_>,
    ) -> Result<Attempt, Problem> {
        let (nowhere, source) = (matches!(trier, Trier::Nowhere(_)), trier.source());
        if let Some(source) = source
            && let Err((first, wait)) = self.recent.sources.count(source)
        {
            if first && !nowhere {
                self.write_down(scope, action, "rate_limited", None).await?;
            }
            return Err(too_many(wait.as_secs()));
        }
        let (mut keys, mut limits, mut windows) = (Vec::new(), Vec::new(), Vec::new());
        for (name, limit) in trier.counters(&data_encoding::HEXLOWER.encode(account)) {
            // Addresses are personal: only digests are kept.
            let digest = self.keys.claim_digest(scope, "login_attempts", &name).await?;
            keys.push(if nowhere { one_of_few(&name, digest) } else { digest.to_vec() });
            limits.push(limit.attempts.cast_signed());
            windows.push(i64::from(limit.seconds));
        }
        let mut tx = ScopedTx::begin(&self.pool, scope).await?;
        // In one order, so that two attempts can't wait for each other. Where one counter is known to be over, nothing is written.
        let counted: Vec<(Vec<u8>, i32, i64)> = sqlx::query_as(
            "with asked as (
                 select * from unnest($2::bytea[], $3::int[], $4::bigint[]) a (key, most, seconds) order by key),
             used_up as (
                 select l.key, 2 as beyond, l.window_ends from asked a join platform.login_attempts l on l.tenant_id = $1 and l.key = a.key
                 where l.window_ends > now() and l.attempts > a.most),
             counted as (
                 insert into platform.login_attempts as l (tenant_id, key, attempts, window_ends)
                 select $1, key, 1, now() + seconds * interval '1 second' from asked where not exists (select from used_up)
                 on conflict (tenant_id, key) do update set
                     attempts = case when l.window_ends <= now() then 1 else least(l.attempts + 1, 1000000) end,
                     window_ends = case when l.window_ends <= now() then excluded.window_ends else l.window_ends end
                 returning l.key, l.attempts, l.window_ends)
             select key, beyond, ceil(extract(epoch from window_ends - now()))::bigint from (
                 select key, attempts - most as beyond, window_ends from counted join asked using (key) union all table used_up) counter",
        )
        .bind(scope.tenant().uuid())
        .bind(&keys)
        .bind(&limits)
        .bind(&windows)
        .fetch_all(tx.conn())
        .await?;
        let (over, within): (Vec<_>, Vec<_>) = counted.iter().partition(|(_, beyond, _)| *beyond > 0);
        let Some(wait) = over.iter().map(|(_, _, seconds)| *seconds).max() else {
            tx.commit().await?;
            return Ok(Attempt { scope, own: keys, source });
        };
        give_back(&mut tx, scope, within.into_iter().map(|(key, ..)| key.clone()).collect()).await?;
        // Once per window.
        if !nowhere && over.iter().any(|(_, beyond, _)| *beyond == 1) {
            audit(&mut tx, scope, action, "rate_limited", None, None).await?;
        }
        tx.commit().await?;
        if let Some(source) = source {
            self.recent.sources.give_back(&source);
        }
        Err(too_many(wait.unsigned_abs()))
    }
    /// It succeeded: what led to it is forgotten where it was about this account, and given back elsewhere.
    pub(crate) async fn succeeded(&self, tx: &mut ScopedTx, attempt: Attempt) -> Result<(), sqlx::Error> {
        // In the order in which they are counted, so that two can't wait for each other.
        sqlx::query("select from platform.login_attempts where tenant_id = $1 and key = any($2) order by key for update")
            .bind(attempt.scope.tenant().uuid())
            .bind(&attempt.own)
            .execute(tx.conn())
            .await?;
        sqlx::query("delete from platform.login_attempts where tenant_id = $1 and key = any($2)")
            .bind(attempt.scope.tenant().uuid())
            .bind(&attempt.own)
            .execute(tx.conn())
            .await?;
        if let Some(source) = attempt.source {
            self.recent.sources.give_back(&source);
        }
        Ok(())
    }
    /// Takes as long as to write down a refusal, where there is no tenant to whose audit it would belong.
    pub(crate) async fn write_nothing_down(&self, attempt: &Attempt) -> Result<(), Problem> {
        let mut tx = ScopedTx::begin(&self.pool, attempt.scope).await?;
        sqlx::query("update platform.login_attempts set attempts = attempts where tenant_id = $1 and key = any($2)")
            .bind(attempt.scope.tenant().uuid())
            .bind(&attempt.own)
            .execute(tx.conn())
            .await?;
        Ok(tx.commit().await?)
    }
    /// Whether one more of these is to be written down.
    pub(crate) fn is_written_down(&self, scope: TenantScope, action: &'static str, subject: &str) -> bool {
        self.recent.written_down.count((scope.tenant(), action, subject.to_owned())).is_ok()
    }
    /// Writes down a decision that changed nothing and costs nothing to ask for: only so often of one subject, or one place.
    pub(crate) async fn write_down_seldom(
        &self,
        scope: TenantScope,
        action: &'static str,
        outcome: &'static str,
        by: By<'_>,
    ) -> Result<(), Problem> {
        let (subject, key) = match by {
            By::Subject(subject) => (Some(subject), subject.to_owned()),
            By::Place(source) => (None, source.map(|origin| origin.network(64).to_string()).unwrap_or_default()),
        };
        match self.recent.written_down.count((scope.tenant(), action, key)) {
            Ok(()) => self.write_down(scope, action, outcome, subject).await,
            Err((true, _)) => self.write_down(scope, action, "rate_limited", subject).await,
            Err((false, _)) => Ok(()),
        }
    }
}

/// Deletes what has expired, of all tenants: row-level security lets a connection without a tenant delete that and nothing else.
pub(crate) async fn clean(pool: PgPool) {
    loop {
        tokio::time::sleep(CLEANING).await;
        for table in ["login_attempts", "session", "user_ticket"] {
            let sql = format!("delete from platform.{table} where platform.current_tenant() is null");
            if let Err(error) = sqlx::query(&sql).execute(&pool).await {
                tracing::warn!(%error, table, "what has expired can't be deleted");
            }
        }
    }
}

/// One of a fixed number of keys for each kind of counter.
fn one_of_few(name: &str, digest: [u8; 32]) -> Vec<u8> {
    let kind = name.split('\n').next().unwrap_or_default();
    let number = u16::from_be_bytes([digest[0], digest[1]]) % NOWHERE;
    format!("nowhere {kind} {number}").into_bytes()
}

fn too_many(seconds: u64) -> Problem {
    metrics::counter!("login_rate_limited_total").increment(1);
    let detail = "too many attempts; try again after Retry-After seconds, or from a device that you used before";
    let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail);
    problem.retry_after = u32::try_from(seconds.max(1)).ok();
    problem
}

async fn give_back(tx: &mut ScopedTx, scope: TenantScope, keys: Vec<Vec<u8>>) -> Result<(), sqlx::Error> {
    sqlx::query("update platform.login_attempts set attempts = greatest(attempts - 1, 0) where tenant_id = $1 and key = any($2)")
        .bind(scope.tenant().uuid())
        .bind(keys)
        .execute(tx.conn())
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each way to try, and by what it is counted: nothing that who tries can choose, and always by account.
    #[test]
    fn what_is_counted_is_not_for_who_tries_to_choose() {
        let address = |text: &str| Some(Origin::Address(text.parse().unwrap()));
        let behind = Some(Origin::Behind([10, 0, 0, 1].into()));
        let kinds = |trier: Trier<'_>| {
            let counters = trier.counters("account").into_iter().map(|(name, limit)| {
                assert!(name.contains("\naccount"), "{name}");
                format!("{} {}/{}", name.split('\n').next().unwrap(), limit.attempts, limit.seconds)
            });
            (counters.collect::<Vec<_>>().join(", "), trier.source().is_some())
        };
        for (trier, expected) in [
            (Trier::Stranger(address("203.0.113.7")), ("anywhere 100/3600, there 10/900", true)),
            (Trier::Stranger(address("2001:db8::7")), ("anywhere 100/3600, there 10/900, around 30/3600", true)),
            (Trier::Stranger(behind), ("anywhere 100/3600", false)),
            (Trier::Nowhere(address("203.0.113.7")), ("anywhere 100/3600, there 10/900", true)),
            (Trier::Nowhere(behind), ("anywhere 100/3600", false)),
            (Trier::Device { name: "d", password: "p" }, ("device 10/900, devices 100/3600", false)),
            (Trier::Token(Some(Uuid::from_u128(1))), ("token 10/900, tokens 100/3600", false)),
            (Trier::Token(None), ("token 10/900, tokens 100/3600", false)),
        ] {
            assert_eq!(kinds(trier), (expected.0.to_owned(), expected.1), "{trier:?}");
        }
        // All names that nobody has share a fixed number of rows.
        let keys: std::collections::HashSet<_> =
            (0..100_000_u32).map(|n| one_of_few("there\nx", <sha2::Sha256 as sha2::Digest>::digest(n.to_be_bytes()).into())).collect();
        assert!(keys.len() <= NOWHERE.into());
    }
}
