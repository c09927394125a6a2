//! Calendars as other programs subscribe to them (RFC 5545): days and times to text, without any I/O.

use jiff::{Timestamp, ToSpan, civil::Date};

/// One thing in a calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarEntry {
    /// The same for ever, and nobody else's.
    pub uid: String,
    /// How often it was changed.
    pub sequence: u32,
    /// When it was changed last.
    pub changed_at: Timestamp,
    /// Whether it was cancelled. Readers forget an entry only if they are told that it is.
    pub is_cancelled: bool,
    /// What people read.
    pub summary: String,
    /// When it is.
    pub when: When,
}

/// When something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// On whole days, the same ones in every time zone.
    Days {
        /// The first.
        first: Date,
        /// The last.
        last: Date,
    },
    /// From one instant to another.
    Times {
        /// The first.
        from: Timestamp,
        /// The first instant after it.
        to: Timestamp,
    },
}

/// A calendar of that name, as `text/calendar`.
pub fn calendar(name: &str, entries: &[CalendarEntry]) -> String {
    let mut text = String::new();
    for line in ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Tenure//Tenure//EN", "CALSCALE:GREGORIAN", "METHOD:PUBLISH"] {
        fold(&mut text, line);
    }
    fold(&mut text, &format!("X-WR-CALNAME:{}", escaped(name)));
    for entry in entries {
        fold(&mut text, "BEGIN:VEVENT");
        fold(&mut text, &format!("UID:{}", escaped(&entry.uid)));
        fold(&mut text, &format!("DTSTAMP:{}", instant(entry.changed_at)));
        fold(&mut text, &format!("SEQUENCE:{}", entry.sequence));
        fold(&mut text, if entry.is_cancelled { "STATUS:CANCELLED" } else { "STATUS:CONFIRMED" });
        match entry.when {
            When::Days { first, last } => {
                // The end is the first day after it.
                fold(&mut text, &format!("DTSTART;VALUE=DATE:{}", day(first)));
                fold(&mut text, &format!("DTEND;VALUE=DATE:{}", day(last.saturating_add(1.day()))));
            }
            When::Times { from, to } => {
                fold(&mut text, &format!("DTSTART:{}", instant(from)));
                fold(&mut text, &format!("DTEND:{}", instant(to)));
            }
        }
        fold(&mut text, &format!("SUMMARY:{}", escaped(&entry.summary)));
        fold(&mut text, "END:VEVENT");
    }
    fold(&mut text, "END:VCALENDAR");
    text
}

fn day(day: Date) -> String {
    format!("{:04}{:02}{:02}", day.year(), day.month(), day.day())
}

fn instant(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Text as a value (RFC 5545, 3.3.11). Other control characters have no place in it.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            ';' => escaped.push_str("\\;"),
            ',' => escaped.push_str("\\,"),
            '\n' => escaped.push_str("\\n"),
            c if c.is_control() => {}
            c => escaped.push(c),
        }
    }
    escaped
}

/// The most octets of a line, its end not counted (RFC 5545, 3.1).
const MAX_LINE: usize = 75;

/// Appends a line, divided between characters where it is longer than a line may be.
fn fold(text: &mut String, line: &str) {
    let mut length = 0;
    for c in line.chars() {
        if length + c.len_utf8() > MAX_LINE {
            text.push_str("\r\n ");
            length = 1;
        }
        text.push(c);
        length += c.len_utf8();
    }
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn entry(when: When) -> CalendarEntry {
        let changed_at = Timestamp::from_second(1_750_000_000).unwrap();
        CalendarEntry { uid: "u@x".into(), sequence: 2, changed_at, is_cancelled: false, summary: "away".into(), when }
    }
    #[track_caller]
    fn check(entry: &CalendarEntry, lines: &[&str]) {
        let text = calendar("team", std::slice::from_ref(entry));
        for line in lines {
            assert!(text.contains(&format!("\r\n{line}\r\n")), "{line} is missing in\n{text}");
        }
    }

    /// MODULES 11: whole days 2019-03-26 to 04-01; one day.
    #[test]
    fn oracle_11_whole_days_end_on_the_day_after() {
        let days = |first, last| entry(When::Days { first, last });
        check(&days(date(2019, 3, 26), date(2019, 4, 1)), &["DTSTART;VALUE=DATE:20190326", "DTEND;VALUE=DATE:20190402"]);
        check(&days(date(2019, 3, 26), date(2019, 3, 26)), &["DTSTART;VALUE=DATE:20190326", "DTEND;VALUE=DATE:20190327"]);
        check(&days(date(2023, 12, 31), date(2024, 2, 29)), &["DTSTART;VALUE=DATE:20231231", "DTEND;VALUE=DATE:20240301"]);
    }

    /// CASES 59: all day on 2025-06-10, whatever the zone of the server.
    #[test]
    fn case_59_a_day_is_the_same_everywhere() {
        let day = entry(When::Days { first: date(2025, 6, 10), last: date(2025, 6, 10) });
        check(&day, &["DTSTART;VALUE=DATE:20250610", "DTEND;VALUE=DATE:20250611"]);
    }

    #[test]
    fn halves_are_timed_and_what_is_cancelled_says_so() {
        let from = "2025-06-10T06:00:00Z".parse().unwrap();
        let to = "2025-06-10T10:00:00Z".parse().unwrap();
        let cancelled = CalendarEntry { is_cancelled: true, ..entry(When::Times { from, to }) };
        check(
            &cancelled,
            &["DTSTART:20250610T060000Z", "DTEND:20250610T100000Z", "STATUS:CANCELLED", "SEQUENCE:2", "DTSTAMP:20250615T150640Z"],
        );
    }

    #[test]
    fn text_is_escaped_and_lines_are_folded_between_characters() {
        let days = When::Days { first: date(2025, 6, 10), last: date(2025, 6, 10) };
        check(&CalendarEntry { summary: "a;b,c\\d\ne\rf\u{7}".into(), ..entry(days) }, &["SUMMARY:a\\;b\\,c\\\\d\\nef"]);
        let long = "ж王é".repeat(60);
        let text = calendar("team", &[CalendarEntry { summary: long.clone(), ..entry(days) }]);
        assert!(text.split("\r\n").all(|line| line.len() <= 75), "{text}");
        assert!(text.replace("\r\n ", "").contains(&format!("\r\nSUMMARY:{long}\r\n")), "unfolding gives the text back");
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "every line ends with both");
        // A name that looks like a property is text.
        assert!(!calendar("x\r\nBEGIN:VALARM", &[]).contains("\r\nBEGIN:VALARM"));
    }
}
