//! Cursors: where a page ended, bound to what was asked.
//!
//! A cursor holds the sort key of the page's last row as the list had it, and the day that was asked about. The next page starts
//! behind that key, whatever has become of the row. Names are part of it and cursors stand in URLs, so both are sealed, beside
//! tenant, route and filters: a cursor that was altered, or is sent with other filters, is refused.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use events::TenantScope;
use http::StatusCode;
use platform::{
    Problem,
    cursor_key::CursorKey,
    history::{self, Epoch},
};
use sha2::{Digest as _, Sha256};

use crate::params::{Day, invalid};

/// The longest cursor in letters: two names of 200 characters with four bytes each, an id, the day, nonce and seal.
const LONGEST: usize = 2_400;

/// A list as it was asked for: whose, which route, which day, which filters. Only its own cursors fit it.
#[derive(Debug)]
pub(crate) struct Listing {
    key: CursorKey,
    /// A digest over tenant, route and filters.
    binding: [u8; 32],
    epoch: Epoch,
    /// The day that the list is about.
    pub(crate) as_of: Day,
}

impl Listing {
    /// The list, and the key after which its next page starts. Without `as_of` a list begins today, and goes on with its cursor's day,
    /// so that midnight does not tear it apart.
    pub(crate) fn open(
        key: &CursorKey,
        (scope, epoch): (TenantScope, &Epoch),
        route: &str,
        filters: &[(&str, Option<String>)],
        (as_of, today): (Option<Day>, Day),
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
        let listing = |as_of| Self { key: key.clone(), binding: hash.finalize().into(), epoch: epoch.clone(), as_of };
        let Some(Cursor(Received { tag, bytes })) = cursor else {
            return Ok((listing(as_of.unwrap_or(today)), None));
        };
        let refused = || {
            let detail = "the cursor does not belong to this list: it was altered, or a parameter differs from the request that it came from; start again without it";
            Problem::new(StatusCode::BAD_REQUEST, "invalid_cursor", detail).field("/cursor", "invalid_cursor", detail)
        };
        let mut listing = listing(today);
        let opened = listing.key.open(&listing.binding, bytes).ok_or_else(refused)?;
        let (days, sort_key) = opened.split_first_chunk::<4>().ok_or_else(refused)?;
        listing.as_of = Day::from_days(i32::from_be_bytes(*days)).ok_or_else(refused)?;
        if as_of.is_some_and(|as_of| as_of != listing.as_of) {
            return Err(refused());
        }
        listing.epoch.admit(tag)?;
        Ok((listing, Some(sort_key.to_vec())))
    }

    /// The cursor of the page that follows the row with this sort key.
    pub(crate) fn after(&self, sort_key: &[u8]) -> String {
        let text = [&self.as_of.to_days().to_be_bytes()[..], sort_key].concat();
        self.epoch.stamp(URL_SAFE_NO_PAD.encode(self.key.seal(&self.binding, &text)))
    }
}

/// A cursor as it came in.
#[derive(Debug, Clone, utoipa::ToSchema)]
#[schema(value_type = String, min_length = 22, max_length = 2430, pattern = "^([0-9]+-[0-9a-f]{8}\\.)?[A-Za-z0-9_-]+$")]
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
        let bytes = if key.len() > LONGEST { Vec::new() } else { URL_SAFE_NO_PAD.decode(key).unwrap_or_default() };
        Ok(Self(Received { tag: tag.to_owned(), bytes }))
    }
}

/// A key that must be text, such as a code.
pub(crate) fn text_key(key: Option<Vec<u8>>) -> Result<Option<String>, Problem> {
    key.map(|bytes| String::from_utf8(bytes).map_err(|_| invalid("cursor", "holds no text"))).transpose()
}

/// The sort key of a person: family name, given name and id, as [`crate::employee`] orders them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameKey {
    pub(crate) family: String,
    pub(crate) given: String,
    pub(crate) id: uuid::Uuid,
}

impl NameKey {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let family = u32::try_from(self.family.len()).unwrap_or(u32::MAX);
        [self.id.as_bytes(), &family.to_be_bytes()[..], self.family.as_bytes(), self.given.as_bytes()].concat()
    }
    /// Of a cursor that was opened; it holds another list's key only if this build is at fault.
    pub(crate) fn of(key: Option<Vec<u8>>) -> Result<Option<Self>, Problem> {
        let read = |bytes: &[u8]| {
            let (id, rest) = bytes.split_first_chunk::<16>()?;
            let (family, rest) = rest.split_first_chunk::<4>()?;
            let (family, given) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*family)).ok()?)?;
            let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
            Some(Self { id: uuid::Uuid::from_bytes(*id), family: text(family)?, given: text(given)? })
        };
        key.map(|bytes| read(&bytes).ok_or_else(|| invalid("cursor", "holds no name"))).transpose()
    }
}

#[cfg(test)]
mod tests {
    use events::TenantId;

    use super::*;

    fn open(scope: TenantScope, q: &str, as_of: Option<&str>, cursor: Option<&str>) -> Result<(Day, Option<Vec<u8>>), &'static str> {
        let cursor = cursor.map(|text| text.parse().unwrap());
        Listing::open(
            &CursorKey::new(&[1; 32]),
            (scope, &Epoch::default()),
            "/v1/things",
            &[("q", Some(q.into()))],
            (as_of.map(|day| day.parse().unwrap()), "2001-02-03".parse().unwrap()),
            cursor.as_ref(),
        )
        .map(|(listing, key)| (listing.as_of, key))
        .map_err(|problem| problem.code)
    }

    #[test]
    fn a_sort_key_comes_back_as_it_was() {
        for (family, given) in [("", ""), ("Müller", "Ann"), ("a\0", "\u{1F600}"), (&"𝒩".repeat(200), &"𝒩".repeat(200))] {
            let key = NameKey { family: family.into(), given: given.into(), id: uuid::Uuid::from_u128(7) };
            assert_eq!(NameKey::of(Some(key.to_bytes())).unwrap(), Some(key));
        }
        assert_eq!(NameKey::of(None).unwrap(), None);
        for bad in [vec![], vec![0; 19], vec![0xff; 40]] {
            assert_eq!(NameKey::of(Some(bad)).unwrap_err().code, "invalid_parameter");
        }
    }

    #[test]
    fn the_longest_names_fit_into_a_cursor() {
        let scope = TenantScope::checked(TenantId::PLATFORM);
        let key = NameKey { family: "𝒩".repeat(200), given: "𝒩".repeat(200), id: uuid::Uuid::nil() }.to_bytes();
        let filters = [("q", Some("a".into()))];
        let day: Day = "2001-02-03".parse().unwrap();
        let (listing, _) =
            Listing::open(&CursorKey::new(&[1; 32]), (scope, &Epoch::default()), "/v1/things", &filters, (Some(day), day), None).unwrap();
        assert_eq!(open(scope, "a", None, Some(&listing.after(&key))), Ok((day, Some(key))));
    }

    #[test]
    fn a_cursor_fits_only_the_list_it_came_from() {
        let scope = TenantScope::checked(TenantId::from_uuid(uuid::Uuid::max()));
        let day: Day = "2000-01-31".parse().unwrap();
        assert_eq!(open(scope, "a", None, None), Ok(("2001-02-03".parse().unwrap(), None)));
        let filters = [("q", Some("a".into()))];
        let (listing, _) =
            Listing::open(&CursorKey::new(&[1; 32]), (scope, &Epoch::default()), "/v1/things", &filters, (Some(day), day), None).unwrap();
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
