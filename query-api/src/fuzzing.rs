//! What fuzzing drives; not in any build but that.

use events::{TenantId, TenantScope};

use crate::{
    cursor::{Cursor, Listing, NameKey, text_key},
    params::Day,
};

/// A cursor against a list, and the text as the parameters that lists take.
pub fn parameters(text: &str) {
    let scope = TenantScope::checked(TenantId::PLATFORM);
    let key = platform::cursor_key::CursorKey::new(&[0; 32]);
    let filters = [("q", Some(text.to_owned()))];
    if let Ok(cursor) = text.parse::<Cursor>()
        && let Ok((_, key)) =
            Listing::open(&key, (scope, &platform::history::Epoch::default()), "/v1/x", &filters, (None, Day::NONE), Some(&cursor))
    {
        drop(NameKey::of(key.clone()));
        drop(text_key(key));
    }
    if let Ok(day) = text.parse::<Day>() {
        assert_eq!(Day::from_days(day.to_days()).map(|day| day.to_string()), Some(day.to_string()));
    }
    let uri = format!("http://x/?{text}").parse::<http::Uri>();
    if let Ok(uri) = uri {
        let (parts, ()) = http::Request::builder().uri(uri).body(()).expect("a request").into_parts();
        drop(crate::params::parse::<crate::employee::ListParams>(&parts));
    }
}
