//! Validated text and days. Each type can be made only from a value that passed its rule, from JSON or by `parse`.

use std::{fmt, sync::LazyLock};

use jiff::{civil::Date, tz::TimeZoneDatabase};
use serde::{Deserialize, Deserializer, de};
use unicode_normalization::{UnicodeNormalization as _, char::is_combining_mark, is_nfkc};

/// Why a text was refused. Says the rule and never the text, which may be personal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidText(&'static str);

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident($min:tt..=$max:tt) = $check:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, utoipa::ToSchema)]
        #[schema(value_type = String, min_length = $min, max_length = $max)]
        pub struct $name(String);

        impl $name {
            /// The value, if it passes the type's rule.
            pub fn parse(text: &str) -> Result<Self, InvalidText> {
                let check: fn(&str) -> Result<String, InvalidText> = $check;
                check(text).map(Self)
            }
            /// As text.
            pub fn as_str(&self) -> &str { &self.0 }
            /// As text, for an event.
            pub fn to_text(&self) -> String { self.0.clone() }
        }
        /// Prints nothing of the text: it may be personal, and commands are printed in logs.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(concat!(stringify!($name), "(…)")) }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                Self::parse(&text).map_err(de::Error::custom)
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self { value.0 }
        }
    )+};
}

texts! {
    /// A name for people to read: 1 to 200 characters, trimmed, on one line.
    Name(1..=200) = |text| visible(text, 1, 200, "must be 1 to 200 visible characters on one line");
    /// As [`Name`], or empty for people who have none.
    FamilyName(0..=200) = |text| visible(text, 0, 200, "must be at most 200 visible characters on one line; empty for people who have none");
    /// What a person states as gender: 1 to 40 characters.
    Gender(1..=40) = |text| visible(text, 1, 40, "must be 1 to 40 visible characters on one line");
    /// Why something was done, in the tenant's own words or codes: 1 to 200 characters.
    Reason(1..=200) = |text| visible(text, 1, 200, "must be 1 to 200 visible characters on one line");
    /// A short code that a tenant chose: letters, digits, `.`, `_` and `-`.
    Code(1..=40) = |text| token(text, b"._-", "must be 1 to 40 letters, digits, '.', '_' or '-'");
    /// A tenant's own number for a person.
    EmployeeNumber(1..=40) = |text| token(text, b"._-/", "must be 1 to 40 letters, digits, '.', '_', '-' or '/'");
    /// A tenant's name in hosts.
    Slug(1..=40) = slug;
    /// A mail address, in the one form in which addresses are stored and compared: lower case, composed (Unicode NFC), without
    /// what can't be seen, and with the domain as ASCII (IDNA).
    EmailAddress(3..=254) = email;
    /// A telephone number (ITU-T E.164).
    Phone(8..=16) = phone;
    /// An IANA time zone name, in the database's own spelling.
    TimeZoneName(1..=64) = time_zone;
}

fn visible(text: &str, min: usize, max: usize, rule: &'static str) -> Result<String, InvalidText> {
    // No name of 200 characters is longer than this; checked first so that counting is cheap.
    if text.len() > 4 * max + 64 {
        return Err(InvalidText(rule));
    }
    let text = text.trim();
    let count = text.chars().count();
    if count < min || count > max || !is_seen(text) {
        return Err(InvalidText(rule));
    }
    Ok(text.to_owned())
}

/// Whether a text holds nothing that can't be seen, but for what scripts need within words: a joiner or a non-joiner between letters, as
/// in Persian and Sinhala, and the selector of an ideograph's variant behind it, as in Japanese registers.
fn is_seen(text: &str) -> bool {
    let is_of_word = |c: &char| c.is_alphabetic() || is_combining_mark(*c);
    let mut before = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let stands = match c {
            '\u{200c}' | '\u{200d}' => before.as_ref().is_some_and(is_of_word) && rest.peek().is_some_and(is_of_word),
            '\u{e0100}'..='\u{e01ef}' => before.is_some_and(is_ideograph),
            other => !unseen(other),
        };
        if !stands {
            return false;
        }
        before = Some(c);
    }
    true
}

/// A Chinese character; those of plane 2 and 3 are nothing else.
const fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3fffd}')
}

/// Controls, and what changes how text looks or compares without being seen: zero-width characters, direction
/// overrides, line separators, invisible operators, tags, and code points that are not characters.
fn unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{e0000}'..='\u{e0fff}')
}

fn token(text: &str, punctuation: &[u8], rule: &'static str) -> Result<String, InvalidText> {
    let good = (1..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || punctuation.contains(&b));
    if good { Ok(text.to_owned()) } else { Err(InvalidText(rule)) }
}

/// Hosts and paths that the system uses itself.
const RESERVED_SLUGS: [&str; 24] = [
    "platform",
    "www",
    "api",
    "admin",
    "app",
    "auth",
    "login",
    "sso",
    "id",
    "mail",
    "smtp",
    "status",
    "docs",
    "help",
    "support",
    "static",
    "assets",
    "cdn",
    "metrics",
    "internal",
    "system",
    "localhost",
    "public",
    "tenure",
];

fn slug(text: &str) -> Result<String, InvalidText> {
    let shape = (1..=40).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--");
    if !shape {
        return Err(InvalidText("must be 1 to 40 lower-case letters, digits and single inner hyphens"));
    }
    if RESERVED_SLUGS.contains(&text) || text.parse::<events::TenantId>().is_ok() {
        return Err(InvalidText("is a reserved word; choose another slug"));
    }
    Ok(text.to_owned())
}

/// RFC 5321 and 6531, without quoted names and addresses of machines. The name's letters are those of RFC 8264 (PRECIS
/// identifiers), in the form of RFC 8265, section 3.3: full width is made narrow, upper case lower, and all is composed. What
/// has a compatibility form, such as a ligature, is refused: it is another address to the mail server, and none to the eye.
fn email(text: &str) -> Result<String, InvalidText> {
    const BAD: InvalidText =
        InvalidText("must be a mail address such as ada@example.com, at most 254 bytes, without look-alikes of letters");
    if text.is_ascii() {
        return if is_address(text) { Ok(text.to_ascii_lowercase()) } else { Err(BAD) };
    }
    // No address of 254 bytes is longer than this in another form.
    if text.len() > 4 * 254 || text.chars().any(unseen) {
        return Err(BAD);
    }
    let narrow = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        _ => c,
    };
    let composed: String = text.chars().map(narrow).nfc().collect();
    let (local, domain) = composed.rsplit_once('@').ok_or(BAD)?;
    let local: String = local.to_lowercase().nfc().collect();
    let domain = idna::domain_to_ascii_strict(domain).map_err(|_| BAD)?;
    let address = format!("{local}@{domain}");
    if is_nfkc(&local) && is_address(&address) { Ok(address) } else { Err(BAD) }
}

fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let letter = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    let atom = |part: &str| part.starts_with(letter) && part.chars().all(|c| letter(c) || is_combining_mark(c));
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.len() <= 254 && local.len() <= 64 && local.split('.').all(atom) && domain.contains('.') && domain.split('.').all(label)
}

fn phone(text: &str) -> Result<String, InvalidText> {
    let digits = text.strip_prefix('+').unwrap_or_default();
    let good = (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    if good {
        Ok(text.to_owned())
    } else {
        Err(InvalidText("must be an E.164 number: '+', country code and number, 7 to 15 digits, such as +431234567"))
    }
}

fn time_zone(text: &str) -> Result<String, InvalidText> {
    const BAD: InvalidText = InvalidText("must be an IANA time zone name such as Europe/Vienna");
    // Bundled, not the machine's: every replica must take the same names.
    static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
    if text.len() > 64 || text == "Etc/Unknown" {
        return Err(BAD);
    }
    let zone = ZONES.get(text).map_err(|_| BAD)?;
    zone.iana_name().map(str::to_owned).ok_or(BAD)
}

/// A civil day that exists, from 1900 to 2200, written `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, utoipa::ToSchema)]
#[schema(value_type = String, format = Date)]
pub struct Day(Date);

impl Day {
    /// The day, if it passes the rule.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        const BAD: InvalidText = InvalidText("must be a day that exists, from 1900-01-01 to 2200-12-31, written YYYY-MM-DD");
        let bytes = text.as_bytes();
        if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
            return Err(BAD);
        }
        let number = |range: std::ops::Range<usize>| -> Option<i16> {
            bytes[range].iter().try_fold(0_i16, |n, b| b.is_ascii_digit().then(|| n * 10 + i16::from(b - b'0')))
        };
        let (Some(year), Some(month), Some(day)) = (number(0..4), number(5..7), number(8..10)) else { return Err(BAD) };
        let (Ok(month), Ok(day)) = (i8::try_from(month), i8::try_from(day)) else { return Err(BAD) };
        Date::new(year, month, day).map_err(|_| BAD).and_then(Self::try_from)
    }
    /// As a date.
    pub const fn date(self) -> Date {
        self.0
    }
}
impl TryFrom<Date> for Day {
    type Error = InvalidText;
    fn try_from(date: Date) -> Result<Self, InvalidText> {
        if (1900..=2200).contains(&date.year()) { Ok(Self(date)) } else { Err(InvalidText("must be a day from 1900-01-01 to 2200-12-31")) }
    }
}
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Day;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a day written YYYY-MM-DD")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Day, E> {
                Day::parse(text).map_err(E::custom)
            }
        }
        d.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `expected`: the normalised text, or none where it is refused.
    #[track_caller]
    fn check<T>(parse: fn(&str) -> Result<T, InvalidText>, show: fn(&T) -> &str, cases: &[(&str, Option<&str>)]) {
        for (text, expected) in cases {
            let parsed = parse(text);
            assert_eq!(parsed.as_ref().ok().map(show), *expected, "{text:?}");
        }
    }

    #[test]
    fn names_are_visible() {
        let long = "é".repeat(200);
        let cases = [
            ("Ada", Some("Ada")),
            ("  Ada Lovelace ", Some("Ada Lovelace")),
            ("Ægir Þór 王", Some("Ægir Þór 王")),
            (long.as_str(), Some(long.as_str())),
            ("", None),
            ("   ", None),
            ("a\nb", None),
            ("a\0b", None),
            ("a\u{200b}b", None),
            ("\u{202e}evil", None),
            ("a\u{feff}", None),
            ("a\u{e0041}", None),
        ];
        check(Name::parse, Name::as_str, &cases);
        assert!(Name::parse(&"a".repeat(201)).is_err());
        assert!(Name::parse(&" ".repeat(1_000_000)).is_err());
        check(FamilyName::parse, FamilyName::as_str, &[("", Some("")), (" ", Some("")), ("x\ty", None)]);
    }

    #[test]
    fn codes_and_numbers_are_tokens() {
        check(Code::parse, Code::as_str, &[("d001", Some("d001")), ("A.b_c-1", Some("A.b_c-1")), ("", None), ("a b", None), ("ä", None)]);
        assert!(Code::parse(&"a".repeat(41)).is_err());
        check(EmployeeNumber::parse, EmployeeNumber::as_str, &[("2024/0017", Some("2024/0017")), ("*", None), (">", None)]);
    }

    #[test]
    fn slugs_fit_into_hosts_and_are_nobody_elses() {
        let namespace = "a".repeat(26);
        let cases = [
            ("acme", Some("acme")),
            ("acme-2", Some("acme-2")),
            ("a", Some("a")),
            ("Acme", None),
            ("-acme", None),
            ("acme-", None),
            ("xn--acme", None),
            ("acme.example", None),
            ("аcme", None), // Cyrillic а
            ("platform", None),
            ("www", None),
            (namespace.as_str(), None),
            ("", None),
        ];
        check(Slug::parse, Slug::as_str, &cases);
    }

    #[test]
    fn addresses_are_sane() {
        let cases = [
            ("Ada.Lovelace@Example.COM", Some("ada.lovelace@example.com")),
            ("a+b@x-y.co.uk", Some("a+b@x-y.co.uk")),
            ("ada@localhost", None),
            ("ada", None),
            ("@example.com", None),
            ("ada@", None),
            ("a@b@example.com", None),
            (".ada@example.com", None),
            ("a..b@example.com", None),
            ("ada@-example.com", None),
            ("ada@example..com", None),
            ("ada @example.com", None),
            ("ada@example.com\r\nBcc: x@y.z", None),
            // One address, however it is typed.
            ("José@example.com", Some("jos\u{e9}@example.com")),
            ("JOSE\u{301}@example.com", Some("jos\u{e9}@example.com")),
            ("ａｄａ＠ｅｘａｍｐｌｅ．ｃｏｍ", Some("ada@example.com")),
            ("\u{212a}ai@example.com", Some("kai@example.com")),
            ("ada@Bücher.example", Some("ada@xn--bcher-kva.example")),
            ("ada@bu\u{308}cher。example", Some("ada@xn--bcher-kva.example")),
            ("नीरज@example.com", Some("नीरज@example.com")),
            // What nobody can tell from another address.
            ("a\u{200d}da@example.com", None),
            ("a\u{200c}da@example.com", None),
            ("a\u{ad}da@example.com", None),
            ("ada@exam\u{200b}ple.com", None),
            ("\u{feff}ada@example.com", None),
            ("\u{202e}ada@example.com", None),
            ("a\u{fe0f}da@example.com", None),
            ("oﬃce@example.com", None),
            ("ada²@example.com", None),
            ("ａda\u{3000}@example.com", None),
            ("\u{301}ada@example.com", None),
            ("ada@example\u{2488}com", None),
        ];
        check(EmailAddress::parse, EmailAddress::as_str, &cases);
        for (text, form) in cases.iter().filter_map(|(text, form)| form.map(|form| (text, form))) {
            let decomposed: String = text.nfd().collect();
            for same in [form, &form.to_uppercase(), &decomposed] {
                assert_eq!(EmailAddress::parse(same).as_ref().map(EmailAddress::as_str), Ok(form), "{same:?}");
            }
        }
        assert!(EmailAddress::parse(&format!("{}@example.com", "a".repeat(65))).is_err());
        let cases = [
            ("+431234567", Some("+431234567")),
            ("431234567", None),
            ("+0123456789", None),
            ("+43 1 23", None),
            ("+1234567890123456", None),
        ];
        check(Phone::parse, Phone::as_str, &cases);
    }

    #[test]
    fn time_zones_come_from_the_bundled_database() {
        let cases = [
            ("Europe/Vienna", Some("Europe/Vienna")),
            ("europe/vienna", Some("Europe/Vienna")),
            ("UTC", Some("UTC")),
            ("America/Argentina/Buenos_Aires", Some("America/Argentina/Buenos_Aires")),
            ("Europe/Atlantis", None),
            ("Etc/Unknown", None),
            ("+02:00", None),
            ("../../etc/passwd", None),
            ("", None),
        ];
        check(TimeZoneName::parse, TimeZoneName::as_str, &cases);
    }

    #[test]
    fn days_exist() {
        for good in ["1900-01-01", "2024-02-29", "2200-12-31"] {
            assert_eq!(Day::parse(good).unwrap().to_string(), good);
        }
        for bad in [
            "2023-02-29",
            "2024-02-30",
            "2024-13-01",
            "2024-00-10",
            "2024-01-00",
            "1899-12-31",
            "2201-01-01",
            "9999-01-01",
            "2024-1-1",
            "20240101",
            "2024-01-01T00:00",
            "2024/01/01",
            "-024-01-01",
            "+024-01-01",
            "２０２４",
            "",
            "2024-01-0é",
        ] {
            assert!(Day::parse(bad).is_err(), "{bad}");
        }
    }
}
