//! Cursors: where a page ended, bound to what was asked.
//!
//! A cursor holds the key of the last row (an id or a code, nothing personal: cursors stand in URLs), the day that was
//! asked about, and a digest over tenant, route, filters and both. One that was altered, or is sent with other filters,
//! is refused; the digest is no secret, since a cursor lets nobody see more than the same request without it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use events::TenantScope;
use http::StatusCode;
use platform::{
    Problem,
    history::{self, Epoch},
};
use sha2::{Digest as _, Sha256};

use crate::params::{Day, invalid};

const DIGEST: usize = 12;

/// A list as it was asked for: whose, which route, which day, which filters. Only its own cursors fit it.
#[derive(Debug)]
pub(crate) struct Listing {
    binding: Sha256State,
    epoch: Epoch,
    /// The day that the list is about.
    pub(crate) as_of: Day,
}

#[derive(Clone)]
struct Sha256State(Sha256);
impl std::fmt::Debug for Sha256State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256State")
    }
}

impl Listing {
    /// The list, and the key after which its next page starts. Without `as_of` a list begins today, and goes on with its cursor's day,
    /// so that midnight does not tear it apart.
    pub(crate) fn open(
        scope: TenantScope,
        epoch: &Epoch,
        route: &str,
        filters: &[(&str, Option<String>)],
        as_of: Option<Day>,
        today: Day,
        cursor: Option<&Cursor>,
    ) -> Result<(Self, Option<Vec<u8>>), Problem> {
        let mut hash = Sha256::new();
        // Every part is led by its length, so no two lists hash alike.
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        };
        part(&scope.tenant().to_string());
        part(route);
        for (name, value) in filters.iter().filter_map(|(name, value)| value.as_ref().map(|value| (name, value))) {
            part(name);
            part(value);
        }
        let (binding, epoch) = (Sha256State(hash), epoch.clone());
        let Some(Cursor(Received { tag, bytes })) = cursor else {
            return Ok((Self { binding, epoch, as_of: as_of.unwrap_or(today) }, None));
        };
        let refused = || {
            let detail = "the cursor does not belong to this list: it was altered, or a parameter differs from the request that it came from; start again without it";
            Problem::new(StatusCode::BAD_REQUEST, "invalid_cursor", detail).field("/cursor", "invalid_cursor", detail)
        };
        let (digest, rest) = bytes.split_at_checked(DIGEST).ok_or_else(refused)?;
        let (days, key) = rest.split_first_chunk::<4>().ok_or_else(refused)?;
        let day = Day::from_days(i32::from_be_bytes(*days)).ok_or_else(refused)?;
        let listing = Self { binding, epoch, as_of: day };
        if listing.digest(key) != digest || as_of.is_some_and(|as_of| as_of != day) {
            return Err(refused());
        }
        listing.epoch.admit(tag)?;
        Ok((listing, Some(key.to_vec())))
    }

    /// The cursor of the page that follows this key.
    pub(crate) fn after(&self, key: &[u8]) -> String {
        let mut bytes = self.digest(key).to_vec();
        bytes.extend_from_slice(&self.as_of.to_days().to_be_bytes());
        bytes.extend_from_slice(key);
        self.epoch.stamp(URL_SAFE_NO_PAD.encode(bytes))
    }

    fn digest(&self, key: &[u8]) -> [u8; DIGEST] {
        let mut hash = self.binding.0.clone();
        hash.update(self.as_of.to_days().to_be_bytes());
        hash.update(key);
        let mut digest = [0; DIGEST];
        digest.copy_from_slice(&hash.finalize()[..DIGEST]);
        digest
    }
}

/// A cursor as it came in.
#[derive(Debug, Clone, utoipa::ToSchema)]
#[schema(value_type = String, min_length = 22, max_length = 430, pattern = "^([0-9]+-[0-9a-f]{8}\\.)?[A-Za-z0-9_-]+$")]
pub(crate) struct Cursor(Received);

/// The tag of the epoch that a cursor was handed out in, and the rest.
#[derive(Debug, Clone)]
struct Received {
    tag: String,
    bytes: Vec<u8>,
}

impl std::str::FromStr for Cursor {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // What does not decode becomes an empty cursor, which fits no list: one answer for every bad cursor.
        let (tag, key) = history::split(text);
        let bytes = if key.len() > 400 { Vec::new() } else { URL_SAFE_NO_PAD.decode(key).unwrap_or_default() };
        Ok(Self(Received { tag: tag.to_owned(), bytes }))
    }
}

/// A key that must be text, such as a code.
pub(crate) fn text_key(key: Option<Vec<u8>>) -> Result<Option<String>, Problem> {
    key.map(|bytes| String::from_utf8(bytes).map_err(|_| invalid("cursor", "holds no text"))).transpose()
}

/// A key that must be an id.
pub(crate) fn id_key(key: Option<Vec<u8>>) -> Result<Option<uuid::Uuid>, Problem> {
    key.map(|bytes| uuid::Uuid::from_slice(&bytes).map_err(|_| invalid("cursor", "holds no id"))).transpose()
}

#[cfg(test)]
mod tests {
    use events::TenantId;

    use super::*;

    fn open(scope: TenantScope, q: &str, as_of: Option<&str>, cursor: Option<&str>) -> Result<(Day, Option<Vec<u8>>), &'static str> {
        let cursor = cursor.map(|text| text.parse().unwrap());
        Listing::open(
            scope,
            &Epoch::default(),
            "/v1/things",
            &[("q", Some(q.into()))],
            as_of.map(|day| day.parse().unwrap()),
            "2001-02-03".parse().unwrap(),
            cursor.as_ref(),
        )
        .map(|(listing, key)| (listing.as_of, key))
        .map_err(|problem| problem.code)
    }

    #[test]
    fn a_cursor_fits_only_the_list_it_came_from() {
        let scope = TenantScope::checked(TenantId::from_uuid(uuid::Uuid::max()));
        let day: Day = "2000-01-31".parse().unwrap();
        assert_eq!(open(scope, "a", None, None), Ok(("2001-02-03".parse().unwrap(), None)));
        let filters = [("q", Some("a".into()))];
        let (listing, _) = Listing::open(scope, &Epoch::default(), "/v1/things", &filters, Some(day), day, None).unwrap();
        let cursor = listing.after(b"d001");
        assert_eq!(open(scope, "a", Some("2000-01-31"), Some(&cursor)), Ok((day, Some(b"d001".to_vec()))));
        assert_eq!(open(scope, "a", None, Some(&cursor)), Ok((day, Some(b"d001".to_vec()))));
        assert_eq!(open(scope, "b", None, Some(&cursor)), Err("invalid_cursor"));
        assert_eq!(open(scope, "a", Some("2000-02-01"), Some(&cursor)), Err("invalid_cursor"));
        assert_eq!(open(TenantScope::checked(TenantId::PLATFORM), "a", None, Some(&cursor)), Err("invalid_cursor"));
        assert_eq!(open(scope, "a", None, Some(&format!("2-0123abcd.{cursor}"))), Err("history_restored"));
        for (i, _) in cursor.char_indices() {
            let mut altered = cursor.clone();
            let other = if &cursor[i..=i] == "A" { "B" } else { "A" };
            altered.replace_range(i..=i, other);
            assert_eq!(open(scope, "a", None, Some(&altered)), Err("invalid_cursor"), "{altered}");
        }
        for bad in ["", "!", "AAAA", &"A".repeat(1000), &cursor[..20]] {
            assert_eq!(open(scope, "a", None, Some(bad)), Err("invalid_cursor"), "{bad}");
        }
    }
}
