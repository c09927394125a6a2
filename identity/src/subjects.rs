//! How users are named where a subject is meant: in tokens, in the audit, in what was decided about access.

use uuid::Uuid;

pub(crate) fn user_name(user: Uuid) -> String {
    format!("user:{user}")
}
pub(crate) fn user_of(subject: &str) -> Option<Uuid> {
    subject.strip_prefix("user:")?.parse().ok()
}

/// An id, or the subject of a token that we issued or took.
pub(crate) fn is_opaque(text: &str) -> bool {
    let rest = ["user:", "service:", "external:"].iter().find_map(|kind| text.strip_prefix(kind)).unwrap_or(text);
    Uuid::try_parse(rest).is_ok()
}
