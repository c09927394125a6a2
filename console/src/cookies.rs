//! The two cookies, both out of reach of scripts and bound to the very host that set them (`__Host-`).

use http::{HeaderMap, HeaderValue, header};

/// Names the session. It ends with the browser's.
pub(crate) const SESSION: &str = "__Host-tenure-session";
/// Says that somebody logged in on this device before, so that nobody else's failures keep them out.
pub(crate) const DEVICE: &str = "__Host-tenure-device";
/// Seconds that the APIs take a device for known: 90 days.
const DEVICE_LIFETIME: u32 = 90 * 86_400;

/// What a cookie holds. One that is given twice counts as none: whose it is can't be told.
pub(crate) fn read<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut found = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('=')).filter(|(n, _)| *n == name);
    match (found.next(), found.next()) {
        (Some((_, value)), None) if !value.is_empty() => Some(value),
        _ => None,
    }
}

/// `Set-Cookie` of a session.
pub(crate) fn begin(session: &str) -> Option<HeaderValue> {
    cookie(SESSION, session, "")
}

/// `Set-Cookie` that takes the session's away.
pub(crate) fn end() -> Option<HeaderValue> {
    cookie(SESSION, "", "; Max-Age=0")
}

/// `Set-Cookie` of a device.
pub(crate) fn device(device: &str) -> Option<HeaderValue> {
    cookie(DEVICE, device, &format!("; Max-Age={DEVICE_LIFETIME}"))
}

fn cookie(name: &str, value: &str, lifetime: &str) -> Option<HeaderValue> {
    let plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(&byte));
    let text = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Strict{lifetime}");
    let mut header = if plain { HeaderValue::from_str(&text).ok() } else { None };
    if let Some(header) = &mut header {
        header.set_sensitive(true);
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookies: &[&'static str]) -> HeaderMap {
        cookies.iter().map(|text| (header::COOKIE, HeaderValue::from_static(text))).collect()
    }

    #[test]
    fn a_cookie_is_read_if_it_is_there_once() {
        for (cookies, expected) in [
            (&["a=1; __Host-tenure-session=x; b=2"][..], Some("x")),
            (&["a=1", "__Host-tenure-session=x"], Some("x")),
            (&["__Host-tenure-session=x; __Host-tenure-session=y"], None),
            (&["__Host-tenure-session=x", "__Host-tenure-session=x"], None),
            (&["__Host-tenure-session="], None),
            (&["tenure-session=x"], None),
            (&[], None),
        ] {
            assert_eq!(read(&headers(cookies), SESSION), expected, "{cookies:?}");
        }
    }

    #[test]
    fn cookies_can_not_be_read_by_scripts_or_sent_by_other_sites() {
        for header in [begin("x"), end(), device("y")] {
            let text = header.unwrap().to_str().unwrap().to_owned();
            for attribute in ["__Host-", "; Path=/", "; Secure", "; HttpOnly", "; SameSite=Strict"] {
                assert!(text.contains(attribute), "{text}");
            }
            assert!(!text.contains("Domain"), "{text}");
        }
        assert!(begin("x; Domain=evil.example").is_none());
    }
}
