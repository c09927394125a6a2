//! Which history of the event store is served, and what becomes of what was handed out in another one.
//!
//! A position, a version or a cursor means something in one history only. A store that was put back to an earlier state begins
//! another, which an operator declares with `tenure restored`: it draws a new *epoch*. From the second epoch on, whatever is handed
//! out carries the epoch's tag, as `2-3f9a1b2c.17`; what comes back with another tag, or with none, gets 409 `history_restored`.

use std::{collections::HashSet, fmt::Display, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use events::TenantId;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{ETAG, IF_MATCH},
};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{Gate, Problem};

/// The header with the position that an answer stands at.
const POSITION: HeaderName = HeaderName::from_static("tenure-position");
/// The header with the position that an answer must stand at.
const MIN_POSITION: HeaderName = HeaderName::from_static("tenure-min-position");

/// The tag of an epoch; empty for the first, in which numbers are handed out as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch(Arc<str>);

impl Default for Epoch {
    fn default() -> Self {
        Self("".into())
    }
}

/// Parts what was handed out into the tag of its epoch and the rest.
pub fn split(text: &str) -> (&str, &str) {
    let is_tag = |tag: &str| {
        tag.split_once('-').is_some_and(|(number, id)| {
            (1..=19).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit()) && id.len() == 8 && id.bytes().all(is_hex)
        })
    };
    text.split_once('.').filter(|(tag, _)| is_tag(tag)).unwrap_or(("", text))
}

const fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'a'..=b'f')
}

impl Epoch {
    /// The tag; none for the first epoch.
    pub fn tag(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(&*self.0)
    }
    /// The epoch that is served now; none while a new one is being drawn.
    pub async fn current(pool: &PgPool) -> Result<Option<Self>, sqlx::Error> {
        let (tag, changing): (String, bool) = sqlx::query_as("select tag, changing from platform.epoch").fetch_one(pool).await?;
        Ok((!changing).then(|| Self(tag.into())))
    }
    /// Writes what is handed out in this epoch.
    pub fn stamp(&self, what: impl Display) -> String {
        self.tag().map_or_else(|| what.to_string(), |tag| format!("{tag}.{what}"))
    }
    /// Refuses what carries the tag of another epoch.
    pub fn admit(&self, tag: &str) -> Result<(), Problem> {
        if *self.0 == *tag { Ok(()) } else { Err(restored()) }
    }
    /// Refuses a request whose headers carry what was handed out in another epoch. What is malformed is refused by who reads it.
    pub fn admit_headers(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let positions = headers.get_all(MIN_POSITION).iter().filter_map(|value| value.to_str().ok()).map(|text| split(text.trim()));
        let versions = headers.get_all(IF_MATCH).iter().filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
        let versions = versions.filter_map(|text| text.trim().strip_prefix('"')?.strip_suffix('"')).map(split);
        // Nothing is asked for by position 0.
        let mut numbers = positions.filter(|(_, rest)| *rest != "0").chain(versions).filter(|(_, rest)| is_number(rest));
        numbers.try_for_each(|(tag, _)| self.admit(tag))
    }
}

/// 409 `history_restored`.
fn restored() -> Problem {
    metrics::counter!("tenure_history_refused_total", "error" => "history_restored").increment(1);
    let detail = "the event store was restored since you got this position, version or cursor, and what came after the restored state \
                  is not there any more: read again what you act on, and send again what you can't find";
    Problem::new(StatusCode::CONFLICT, "history_restored", detail)
}

/// What is known of the history that is served.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) epoch: Epoch,
    /// A new epoch is being drawn.
    changing: bool,
    /// Tenants whose read models hold events that their logs have not.
    diverged: HashSet<TenantId>,
}

impl History {
    pub(crate) async fn read(conn: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let (tag, changing): (String, bool) = sqlx::query_as("select tag, changing from platform.epoch").fetch_one(&mut *conn).await?;
        let diverged: Vec<Uuid> =
            sqlx::query_scalar("select tenant_id from platform.parked where code = 'history_diverged'").fetch_all(conn).await?;
        metrics::gauge!("tenure_history_diverged_tenants").set(f64::from(u32::try_from(diverged.len()).unwrap_or(u32::MAX)));
        Ok(Self { epoch: Epoch(tag.into()), changing, diverged: diverged.into_iter().map(TenantId::from_uuid).collect() })
    }
    /// Refuses a tenant whose history is not certain.
    pub(crate) fn serves(&self, tenant: TenantId) -> Result<(), Problem> {
        if self.changing {
            return Err(changing());
        }
        if self.diverged.contains(&tenant) { Err(diverged()) } else { Ok(()) }
    }
    pub(crate) const fn is_changing(&self) -> bool {
        self.changing
    }
}

/// 503 `history_changing`.
fn changing() -> Problem {
    metrics::counter!("tenure_history_refused_total", "error" => "history_changing").increment(1);
    let detail = "the event store was restored, and what was derived from what it held before is being dropped; try again shortly";
    Problem::unavailable("history_changing", detail)
}

/// 503 `history_diverged`: what is read may never have happened, and what is decided may be about it.
pub fn diverged() -> Problem {
    metrics::counter!("tenure_history_refused_total", "error" => "history_diverged").increment(1);
    let detail = "the event store does not hold what your organization's data was derived from: it was put back, or is another one. An \
                  operator must put the right store in its place, or run `tenure restored`; nothing is shown or changed until then";
    let mut problem = Problem::unavailable("history_diverged", detail);
    problem.retry_after = Some(30);
    problem
}

/// Stamps the position and the version of an answer with the epoch. A layer around the routes of an API.
pub async fn stamp(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let epoch = gate.epoch();
    let headers = response.headers_mut();
    if epoch.tag().is_none() || !headers.contains_key(POSITION) {
        return response;
    }
    let text = |name: &HeaderName| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let stamped = [
        (POSITION, text(&POSITION).map(|position| epoch.stamp(position))),
        (ETAG, text(&ETAG).map(|tag| format!("\"{}\"", epoch.stamp(tag.trim_matches('"'))))),
    ];
    for (name, value) in stamped {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_out_in_another_epoch_is_refused() {
        let (first, second, third) = (Epoch::default(), Epoch("2-0123abcd".into()), Epoch("2-3f9a1b2c".into()));
        assert_eq!([first.stamp(17), second.stamp(17)], ["17", "2-0123abcd.17"]);
        for (name, first_only, mine) in [
            ("tenure-min-position", "17", "2-0123abcd.17"),
            ("if-match", "\"17\"", "\"2-0123abcd.17\""),
            ("if-match", "\"17\", \"18\"", "\"2-0123abcd.17\", \"2-0123abcd.18\""),
        ] {
            let admitted = |epoch: &Epoch, value: &str| {
                let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
                epoch.admit_headers(&headers).map_err(|problem| (problem.status.as_u16(), problem.code))
            };
            let refused = Err((409, "history_restored"));
            assert_eq!([&first, &second, &third].map(|epoch| admitted(epoch, first_only)), [Ok(()), refused, refused], "{name}");
            assert_eq!([&first, &second, &third].map(|epoch| admitted(epoch, mine)), [refused, Ok(()), refused], "{name}");
            for anything in ["0", "*", "x", "1.0", "", "2-0123abcd.", "\"x\""].iter().filter(|text| **text != "0" || name != "if-match") {
                assert_eq!(admitted(&second, anything), Ok(()), "{anything}: no other epoch's");
            }
        }
        for text in ["17", "1.0", "2-0123abc.17", "-0123abcd.17", "2-0123ABCD.17", "x-0123abcd.17"] {
            assert_eq!(split(text), ("", text));
        }
    }

    #[test]
    fn a_tenant_is_served_while_its_history_is_certain() {
        let [a, b] = [1, 2].map(|n| TenantId::from_uuid(Uuid::from_u128(n)));
        let code = |history: &History, tenant| history.serves(tenant).map_err(|problem| problem.code);
        let diverged = History { diverged: HashSet::from([a]), ..History::default() };
        assert_eq!([code(&diverged, a), code(&diverged, b)], [Err("history_diverged"), Ok(())]);
        let changing = History { changing: true, ..History::default() };
        assert_eq!([code(&changing, a), code(&changing, b)], [Err("history_changing"); 2]);
    }
}
