//! The texts of mails: a file per template and language, compiled in. The first line is the subject and holds no field, so that
//! nothing about a person stands in it and nothing that somebody wrote comes into a header.

use std::collections::{BTreeMap, BTreeSet};

use platform::mail::{Language, MailTemplate};

/// A text that is ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Letter {
    /// What the recipient sees first.
    pub subject: String,
    /// The rest.
    pub body: String,
}

/// Why there is no text. The name of a field is the template's or the job's, its value is never told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRendered {
    /// The template has a field, and the job has not.
    #[error("the job has no field `{0}`, which the template names")]
    MissingField(String),
    /// The job has a field, and the template has not.
    #[error("the job has the field `{0}`, which the template does not name")]
    UnknownField(String),
    /// A value is empty, too long or not of one line.
    #[error("the field `{0}` is not a line of text")]
    BadField(String),
    /// A build with a template that is none; the tests render them all.
    #[error("the template is broken: {0}")]
    Broken(&'static str),
}

/// Bytes of a field at most; names of tenants and links are shorter.
const LONGEST: usize = 2000;

/// The text of a template in a language.
pub fn render(template: MailTemplate, language: Language, fields: &BTreeMap<String, String>) -> Result<Letter, NotRendered> {
    fill(text_of(template, language), fields)
}

fn text_of(template: MailTemplate, language: Language) -> &'static str {
    match (template, language) {
        (MailTemplate::Invitation, Language::En) => include_str!("../../templates/invitation.en.txt"),
        (MailTemplate::Invitation, Language::De) => include_str!("../../templates/invitation.de.txt"),
        (MailTemplate::Invitation, Language::Es) => include_str!("../../templates/invitation.es.txt"),
        (MailTemplate::Invitation, Language::Fr) => include_str!("../../templates/invitation.fr.txt"),
        (MailTemplate::PasswordReset, Language::En) => include_str!("../../templates/password-reset.en.txt"),
        (MailTemplate::PasswordReset, Language::De) => include_str!("../../templates/password-reset.de.txt"),
        (MailTemplate::PasswordReset, Language::Es) => include_str!("../../templates/password-reset.es.txt"),
        (MailTemplate::PasswordReset, Language::Fr) => include_str!("../../templates/password-reset.fr.txt"),
    }
}

fn fill(text: &str, fields: &BTreeMap<String, String>) -> Result<Letter, NotRendered> {
    let (head, text) = text.split_once("\n\n").ok_or(NotRendered::Broken("no empty line after the subject"))?;
    let subject = head.strip_prefix("Subject: ").ok_or(NotRendered::Broken("no subject"))?;
    if subject.contains(['{', '}', '\n', '\r']) {
        return Err(NotRendered::Broken("the subject is more than words"));
    }
    let (mut body, mut rest, mut named) = (String::new(), text, BTreeSet::new());
    // What a field holds is not looked at again: it may hold braces.
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or(NotRendered::Broken("a brace is open"))?;
        let value = fields.get(name).ok_or_else(|| NotRendered::MissingField(name.to_owned()))?;
        if value.is_empty() || value.len() > LONGEST || value.chars().any(breaks_a_line) {
            return Err(NotRendered::BadField(name.to_owned()));
        }
        body.extend([before, value.as_str()]);
        named.insert(name);
        rest = after;
    }
    body.push_str(rest);
    match fields.keys().find(|name| !named.contains(name.as_str())) {
        Some(unknown) => Err(NotRendered::UnknownField(unknown.clone())),
        None => Ok(Letter { subject: subject.to_owned(), body }),
    }
}

/// Control characters, separators of lines and paragraphs, and those that turn the direction of what follows: a name must not
/// be able to look like the mail's own words.
fn breaks_a_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    const ALL: [(&str, &str); 4] =
        [("tenant", "Acme & Söhne"), ("ticket", "tt_1_2"), ("days", "7"), ("link", "https://hr.example.com/activation#ticket=tt_1_2")];

    #[test]
    fn every_template_is_there_in_every_language_and_says_all() {
        let mut subjects = BTreeSet::new();
        for (template, language) in MailTemplate::ALL.into_iter().flat_map(|t| Language::ALL.map(|l| (t, l))) {
            let which = format!("{} in {}", template.name(), language.code());
            let text = text_of(template, language);
            let letter = render(template, language, &fields(&ALL)).unwrap_or_else(|error| panic!("{which}: {error}"));
            for (name, value) in ALL {
                assert!(letter.body.contains(value), "{which} does not say {name}");
                let without: Vec<_> = ALL.into_iter().filter(|(other, _)| *other != name).collect();
                let error = render(template, language, &fields(&without)).err();
                assert_eq!(error, Some(NotRendered::MissingField(name.to_owned())), "{which}");
            }
            assert!(letter.subject.chars().count() <= 60 && !letter.subject.trim().is_empty(), "{which}: {}", letter.subject);
            assert!(!letter.body.contains(['{', '}', '\r', '\t']) && letter.body.ends_with('\n'), "{which}");
            assert!(text.lines().all(|line| line.chars().count() <= 78 && line == line.trim_end()), "{which}: a line is too long");
            assert!(subjects.insert(letter.subject), "{which}: another mail has this subject");
        }
    }

    #[test]
    fn a_template_takes_just_its_fields() {
        let render = |text: &str, pairs: &[(&str, &str)]| fill(text, &fields(pairs)).map(|letter| (letter.subject, letter.body));
        let good = |subject: &str, body: &str| Ok((subject.to_owned(), body.to_owned()));
        assert_eq!(render("Subject: S\n\nA {a}, {b}{a}.\n", &[("a", "1"), ("b", "2")]), good("S", "A 1, 21.\n"));
        assert_eq!(render("Subject: S\n\n{a}\n", &[("a", "{b}")]), good("S", "{b}\n"));
        assert_eq!(render("Subject: S\n\n{a}\n", &[("b", "2")]), Err(NotRendered::MissingField("a".into())));
        assert_eq!(render("Subject: S\n\n{a}\n", &[("a", "1"), ("b", "2")]), Err(NotRendered::UnknownField("b".into())));
        assert_eq!(render("Subject: S\n\nx\n", &[("a", "1")]), Err(NotRendered::UnknownField("a".into())));
        for text in ["Subject: {a}\n\nx\n", "Subject: S\nBcc: y\n\nx\n", "To: y\n\nx\n", "Subject: S\nx\n", "Subject: S\n\n{a\n"] {
            let error = render(text, &[("a", "1")]).unwrap_err();
            assert!(matches!(error, NotRendered::Broken(_)), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_field_is_a_line_of_text() {
        let long = "x".repeat(LONGEST + 1);
        for value in ["", "a\nb", "a\r\nBcc: x@example.com", "a\u{0}", "a\u{2028}b", "a\u{202e}b", "a\u{2066}b", &long] {
            let error = fill("Subject: S\n\n{a}\n", &fields(&[("a", value)])).err();
            assert_eq!(error, Some(NotRendered::BadField("a".into())), "{value:?}");
            assert!(value.is_empty() || !error.unwrap().to_string().contains(value));
        }
    }
}
