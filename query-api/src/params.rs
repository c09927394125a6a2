//! What a request may ask with: strict query parameters, ids in paths, the day, and how fresh the answer must be.
//!
//! Anything unknown, repeated or malformed is refused with 400 and named; nothing is guessed.

use std::{fmt::Display, str::FromStr, time::Duration};

use axum::extract::{FromRequestParts, Path, Query};
use events::InvalidId;
use http::{StatusCode, header::HeaderMap, request::Parts};
use jiff::civil::Date;
use platform::{Problem, Tenant, TenantClock, history};
use sqlx::{
    Decode, Encode, Postgres, Type,
    encode::IsNull,
    postgres::{PgArgumentBuffer, PgTypeInfo, PgValueRef, types::Oid},
};

/// The query parameters of a route; [`params!`] declares them.
pub(crate) trait Parameters: Default {
    /// Takes one parameter, or says that it is unknown, repeated or malformed.
    fn set(&mut self, name: &str, value: &str) -> Result<(), Problem>;
}

/// Declares a route's query parameters once: the struct, its parsing and its documentation.
macro_rules! params {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default, utoipa::IntoParams)]
        #[into_params(parameter_in = Query)]
        pub(crate) struct $name { $($(#[$field_doc])* #[param(inline)] pub(crate) $field: Option<$kind>,)* }

        impl $crate::params::Parameters for $name {
            fn set(&mut self, name: &str, value: &str) -> Result<(), platform::Problem> {
                let _ = value;
                match name {
                    $(stringify!($field) => $crate::params::take(&mut self.$field, name, value),)*
                    _ => Err($crate::params::unknown(name, &[$(stringify!($field)),*])),
                }
            }
        }
        impl<S: Send + Sync> axum::extract::FromRequestParts<S> for $name {
            type Rejection = platform::Problem;
            async fn from_request_parts(parts: &mut http::request::Parts, _: &S) -> Result<Self, platform::Problem> {
                $crate::params::parse(parts)
            }
        }
    };
}
pub(crate) use params;

/// Parameters that are told to be wrong, at most.
const MOST_ERRORS: usize = 50;

pub(crate) fn parse<P: Parameters>(parts: &Parts) -> Result<P, Problem> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", "the query string is not a list of name=value pairs"))?;
    let mut params = P::default();
    let mut refused: Option<Problem> = None;
    for (name, value) in &pairs.0 {
        let Err(problem) = params.set(name, value) else { continue };
        match &mut refused {
            Some(first) if first.errors.len() < MOST_ERRORS => first.errors.extend(problem.errors),
            Some(_) => {}
            None => refused = Some(problem),
        }
    }
    refused.map_or(Ok(params), Err)
}

pub(crate) fn take<T: FromStr<Err: Display>>(slot: &mut Option<T>, name: &str, value: &str) -> Result<(), Problem> {
    if slot.is_some() {
        return Err(invalid(name, "is given more than once"));
    }
    *slot = Some(value.parse().map_err(|error: T::Err| invalid(name, error))?);
    Ok(())
}

/// 400 `invalid_parameter`, naming it. The value is not repeated: it may be personal.
pub(crate) fn invalid(name: &str, why: impl Display) -> Problem {
    let detail = format!("the parameter {name} {why}");
    Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", detail.clone()).field(format!("/{name}"), "invalid_parameter", detail)
}

pub(crate) fn unknown(name: &str, known: &[&str]) -> Problem {
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "_-.".contains(*c)).take(40).collect();
    let known = if known.is_empty() { "this route takes none".into() } else { format!("this route takes {}", known.join(", ")) };
    let detail = format!("there is no parameter {name:?}; {known}");
    Problem::new(StatusCode::BAD_REQUEST, "unknown_parameter", detail.clone()).field(format!("/{name}"), "unknown_parameter", detail)
}

params! {
    /// A route that takes no parameters.
    NoParams {}
}

/// A civil day, `YYYY-MM-DD`, of the years 0001 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, utoipa::ToSchema)]
#[schema(value_type = String, format = Date)]
pub struct Day(pub Date);

impl Day {
    /// Of a list of what has no day.
    pub(crate) const NONE: Self = Self(Date::constant(2000, 1, 1));

    /// Today in a tenant's time zone, for what is no single person's: lists, reports, and whatever else takes no place of work.
    pub fn today(tenant: &Tenant) -> Self {
        Self(TenantClock::read(tenant).today())
    }
    /// Days since 2000-01-01, PostgreSQL's binary form of a date.
    pub(crate) fn to_days(self) -> i32 {
        Date::constant(2000, 1, 1).until(self.0).map_or(0, |span| span.get_days())
    }
    /// The day that is so many days after 2000-01-01.
    pub(crate) fn from_days(days: i32) -> Option<Self> {
        let day = Date::constant(2000, 1, 1).checked_add(jiff::Span::new().try_days(days).ok()?).ok()?;
        (1..=9999).contains(&day.year()).then_some(Self(day))
    }
}
impl Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
impl FromStr for Day {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape =
            text.len() == 10 && text.bytes().enumerate().all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() });
        let day = shape.then(|| text.parse::<Date>().ok()).flatten().filter(|day| day.year() > 0);
        day.map(Self).ok_or("must be a day that exists, as YYYY-MM-DD")
    }
}
impl Type<Postgres> for Day {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1082))
    }
}
impl Encode<'_, Postgres> for Day {
    fn encode_by_ref(&self, buf: &mut PgArgumentBuffer) -> Result<IsNull, sqlx::error::BoxDynError> {
        <i32 as Encode<Postgres>>::encode(self.to_days(), buf)
    }
}

impl Decode<'_, Postgres> for Day {
    fn decode(value: PgValueRef<'_>) -> Result<Self, sqlx::error::BoxDynError> {
        Ok(Self::from_days(<i32 as Decode<Postgres>>::decode(value)?).ok_or("a day that no answer can name")?)
    }
}
impl serde::Serialize for Day {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How many rows a page holds: 1 to 200.
#[derive(Debug, Clone, Copy, utoipa::ToSchema)]
#[schema(value_type = u16, minimum = 1, maximum = 200, default = 50)]
pub struct Limit(pub i64);

impl Limit {
    /// The longest page.
    pub(crate) const MAX: i64 = 200;
}
impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}
impl FromStr for Limit {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        number(text, 1, Self::MAX).map(Self).ok_or("must be a whole number from 1 to 200")
    }
}

/// Decimal digits only, within bounds.
pub(crate) fn number(text: &str, least: i64, most: i64) -> Option<i64> {
    if text.is_empty() || text.len() > 19 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|n| (least..=most).contains(n))
}

/// An id in the path. Malformed: 400 `invalid_id`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Id<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for Id<T>
where
    T: FromStr<Err: Display>,
    S: Send + Sync,
{
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let invalid =
            |why: &dyn Display| Problem::new(StatusCode::BAD_REQUEST, "invalid_id", format!("the id in the path is malformed: {why}"));
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| invalid(&"it is not UTF-8"))?;
        if is_nil(&text) {
            return Err(invalid(&"the nil id is nobody's"));
        }
        text.parse().map(Self).map_err(|error: T::Err| invalid(&error))
    }
}

/// Whether text is the id that stands for none.
fn is_nil(text: &str) -> bool {
    uuid::Uuid::try_parse(text).is_ok_and(|id| id.is_nil())
}

/// An id as a query parameter.
#[derive(Debug, Clone, Copy, utoipa::ToSchema)]
#[schema(value_type = String, format = Uuid)]
pub(crate) struct IdParam(pub(crate) uuid::Uuid);

impl FromStr for IdParam {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let id = text.parse::<events::EventId>().ok().filter(|_| !is_nil(text));
        id.map(|id| Self(id.uuid())).ok_or(InvalidId { what: "it" })
    }
}

/// How fresh an answer must be: `Tenure-Min-Position: N`, and with `Prefer: wait=S` (RFC 7240) how many seconds to wait
/// for it, at most [`Fresh::MAX_WAIT`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fresh {
    /// The position that the read model must have reached.
    pub position: i64,
    /// How long to wait for it.
    pub wait: Duration,
}

impl Fresh {
    /// The longest wait; a longer one is cut to it.
    pub const MAX_WAIT: Duration = Duration::from_secs(30);

    fn from_headers(headers: &HeaderMap) -> Result<Self, Problem> {
        let malformed = |name, must: &str| Problem::new(StatusCode::BAD_REQUEST, "invalid_header", format!("the header {name} {must}"));
        let mut fresh = Self::default();
        let mut positions = headers.get_all("tenure-min-position").iter();
        if let Some(value) = positions.next() {
            let number = value.to_str().ok().and_then(|text| number(history::split(text.trim()).1, 0, i64::MAX));
            fresh.position = match (number, positions.next()) {
                (Some(number), None) => number,
                _ => return Err(malformed("Tenure-Min-Position", "must be given once and hold a position as Tenure-Position says it")),
            };
        }
        let mut told = false;
        for value in headers.get_all(http::header::HeaderName::from_static("prefer")) {
            let text = value.to_str().map_err(|_| malformed("Prefer", "must be ASCII"))?;
            for preference in text.split(',') {
                let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
                // The first of several counts (RFC 7240, section 2).
                if name.trim().eq_ignore_ascii_case("wait") && !std::mem::replace(&mut told, true) {
                    let value = value.split(';').next().unwrap_or_default().trim();
                    let seconds =
                        number(value, 0, i64::MAX).ok_or_else(|| malformed("Prefer", "must hold wait= and a whole number of seconds"))?;
                    fresh.wait = Self::MAX_WAIT.min(Duration::from_secs(seconds.unsigned_abs()));
                }
            }
        }
        Ok(fresh)
    }
}
impl<S: Send + Sync> FromRequestParts<S> for Fresh {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::from_headers(&parts.headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_one_that_exists_in_one_spelling() {
        for good in ["0001-01-01", "2000-02-29", "9999-12-31"] {
            let day: Day = good.parse().unwrap();
            assert_eq!(day.to_string(), good);
            assert_eq!(Day::from_days(day.to_days()), Some(day));
        }
        for bad in [
            "",
            "2001-02-29",
            "0000-01-01",
            "2000-1-1",
            "20000101",
            "2000-01-01T00:00:00",
            "+2000-01-01",
            "2000-13-01",
            "infinity",
            "today",
        ] {
            assert!(bad.parse::<Day>().is_err(), "{bad}");
        }
        assert_eq!("2000-01-02".parse::<Day>().unwrap().to_days(), 1);
    }

    #[test]
    fn freshness_is_read_strictly() {
        let read = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            Fresh::from_headers(&headers).map(|fresh| (fresh.position, fresh.wait.as_secs())).map_err(|problem| problem.code)
        };
        assert_eq!(read(&[]), Ok((0, 0)));
        assert_eq!(read(&[("tenure-min-position", "17"), ("prefer", "respond-async, Wait=5")]), Ok((17, 5)));
        assert_eq!(read(&[("tenure-min-position", "17"), ("prefer", "handling=strict"), ("prefer", "wait=500")]), Ok((17, 30)));
        assert_eq!(read(&[("prefer", "wait=2, wait=3"), ("prefer", "wait=4")]), Ok((0, 2)));
        assert_eq!(read(&[("tenure-min-position", "2-0123abcd.17")]), Ok((17, 0)));
        for bad in ["", "-1", "+1", "1.0", "abc", "99999999999999999999", "1, 2", "2-0123abcd.", "2-0123abcd.x", "2.17"] {
            assert_eq!(read(&[("tenure-min-position", bad)]), Err("invalid_header"), "{bad}");
        }
        assert_eq!(read(&[("tenure-min-position", "1"), ("tenure-min-position", "2")]), Err("invalid_header"));
        assert_eq!(read(&[("prefer", "wait=soon")]), Err("invalid_header"));
        assert_eq!(read(&[("prefer", "wait")]), Err("invalid_header"));
    }
}
