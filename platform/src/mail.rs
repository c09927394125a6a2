//! Mail that somebody asks the worker for: which template, in which language, to whom. It is the input of a job
//! ([`crate::queue`]), which is inserted in the transaction that the mail tells of.

use std::{collections::BTreeMap, fmt};

use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};

/// What a mail says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MailTemplate {
    /// Somebody has an account, and is to choose its password.
    Invitation,
    /// Somebody is to choose another password.
    PasswordReset,
}

impl MailTemplate {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Invitation, Self::PasswordReset];
    /// As in files' names and in jobs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invitation => "invitation",
            Self::PasswordReset => "password-reset",
        }
    }
}

/// The languages that mails are written in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// English; also for whoever asks for none of these.
    #[default]
    En,
    /// German
    De,
    /// Spanish
    Es,
    /// French
    Fr,
}

/// Entries of an `Accept-Language` that are looked at; browsers send fewer than ten.
const ENTRIES: usize = 32;

impl Language {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::En, Self::De, Self::Es, Self::Fr];
    /// ISO 639-1.
    pub const fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::De => "de",
            Self::Es => "es",
            Self::Fr => "fr",
        }
    }
    /// The language that a request's `Accept-Language` (RFC 9110, section 12.5.4) likes best among these. A region counts as its
    /// language; of two that are liked as much the first is taken.
    pub fn asked_for(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT_LANGUAGE).iter().filter_map(|value| value.to_str().ok());
        let mut best: Option<(Self, f32)> = None;
        for (language, weight) in values.flat_map(|value| value.split(',')).take(ENTRIES).filter_map(weighted) {
            if weight > 0.0 && best.is_none_or(|(_, other)| weight > other) {
                best = Some((language, weight));
            }
        }
        best.map_or_else(Self::default, |(language, _)| language)
    }
}

/// The language and the weight of an entry such as `de-AT;q=0.8`.
fn weighted(entry: &str) -> Option<(Language, f32)> {
    let (range, weight) = entry.split_once(';').map_or((entry, None), |(range, weight)| (range, Some(weight)));
    let primary = range.trim().split('-').next().unwrap_or_default();
    let named = |language: &Language| language.code().eq_ignore_ascii_case(primary);
    let language = if primary == "*" { Language::default() } else { Language::ALL.into_iter().find(named)? };
    let weight = match weight {
        None => 1.0,
        Some(text) => text.trim().strip_prefix("q=")?.parse::<f32>().ok().filter(|weight| (0.0..=1.0).contains(weight))?,
    };
    Some((language, weight))
}

/// A mail that is to be sent. It holds an address and a ticket, so it is kept sealed and not printed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailOrder {
    /// What it says.
    pub template: MailTemplate,
    /// In which language.
    pub language: Language,
    /// The recipient's address.
    pub to: String,
    /// What stands where the template has a field.
    pub fields: BTreeMap<String, String>,
}

impl fmt::Debug for MailOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailOrder").field("template", &self.template).field("language", &self.language).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_what_the_request_likes_best() {
        for (accepted, expected) in [
            (&["de"][..], Language::De),
            (&["de-AT, en;q=0.5"], Language::De),
            (&["en;q=0.5, FR-ca;q=0.9"], Language::Fr),
            (&["es, fr"], Language::Es),
            (&["en;q=0.1", "es;q=0.2"], Language::Es),
            (&["ja, de;q=0.1"], Language::De),
            (&["ja"], Language::En),
            (&["*"], Language::En),
            (&["de;q=0, fr;q=0.001"], Language::Fr),
            (&["de;q=NaN, es;q=inf, fr;q=2, en;q=-1"], Language::En),
            (&["de;level=1"], Language::En),
            (&["deutsch"], Language::En),
            (&["", ",,;,"], Language::En),
            (&[], Language::En),
        ] {
            let mut headers = HeaderMap::new();
            for value in accepted {
                headers.append(header::ACCEPT_LANGUAGE, http::HeaderValue::from_static(value));
            }
            assert_eq!(Language::asked_for(&headers), expected, "{accepted:?}");
        }
        let mut headers = HeaderMap::new();
        headers.append(header::ACCEPT_LANGUAGE, http::HeaderValue::from_bytes(b"d\xe4").unwrap());
        assert_eq!(Language::asked_for(&headers), Language::En);
        let late = format!("{}de", "ja,".repeat(ENTRIES));
        headers.insert(header::ACCEPT_LANGUAGE, late.parse().unwrap());
        assert_eq!(Language::asked_for(&headers), Language::En, "no more than {ENTRIES} are looked at");
    }

    #[test]
    fn an_order_reads_back_and_prints_nobody() {
        let fields = BTreeMap::from([("ticket".to_owned(), "tt_secret".to_owned())]);
        let order = MailOrder { template: MailTemplate::PasswordReset, language: Language::De, to: "ada@example.com".to_owned(), fields };
        let content = serde_json::to_vec(&order).unwrap();
        let read: MailOrder = serde_json::from_slice(&content).unwrap();
        assert_eq!((read.template, read.language, &read.to, &read.fields), (order.template, order.language, &order.to, &order.fields));
        let printed = format!("{read:?}");
        assert!(!printed.contains("ada") && !printed.contains("tt_"), "{printed}");
        for (from, to) in [("password-reset", "newsletter"), ("\"de\"", "\"ja\""), ("\"to\"", "\"cc\""), ("{", "[")] {
            let text = String::from_utf8(content.clone()).unwrap();
            assert!(text.contains(from), "{from} is not in {text}");
            assert!(serde_json::from_str::<MailOrder>(&text.replacen(from, to, 1)).is_err(), "{from}");
        }
    }
}
