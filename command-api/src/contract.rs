//! What the contract says of every command: its headers, and the problems that it may be answered with.

use std::{collections::BTreeMap, sync::LazyLock};

use platform::openapi::problems;
use utoipa::{
    IntoParams, IntoResponses,
    openapi::{RefOr, Response},
};

/// The headers that every command takes.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "documentation; `request::Head` reads them")]
pub(crate) struct CommandHeaders {
    /// Your name for this command, 1 to 200 visible ASCII characters. Sent again with the same key, the command gets its
    /// first answer; another command with the same key is refused.
    #[param(rename = "Idempotency-Key", required = false, max_length = 200)]
    idempotency_key: Option<String>,
    /// The `ETag` of the last answer about the same thing: if it has changed since, the command is refused with 412.
    #[param(rename = "If-Match", required = false, example = "\"7\"")]
    if_match: Option<String>,
}

/// The codes of 409.
static CONFLICTS: LazyLock<String> = LazyLock::new(|| {
    let taken: Vec<_> = domain::uniques().map(|unique| format!("`{}`", unique.code)).collect();
    format!(
        "{}; `conflict`: others were faster, try again; `history_restored`: what `If-Match` holds is of before a restore",
        taken.join(", ")
    )
});

/// What every command may be answered with instead.
pub(crate) struct CommandProblems;

impl IntoResponses for CommandProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems([
            ("400", "`malformed_json`, `invalid_id`, `invalid_idempotency_key`, `invalid_if_match`"),
            ("401", "`missing_token`, `invalid_token`"),
            ("402", "`subscription_expired`"),
            ("403", "`tenant_mismatch`, `tenant_suspended`, `forbidden`"),
            ("404", "`tenant_not_found`; `not_found`: there is no such thing in this tenant"),
            ("409", CONFLICTS.as_str()),
            ("412", "`precondition_failed`: not at the version in `If-Match`"),
            ("413", "`body_too_large`"),
            ("415", "`unsupported_media_type`"),
            ("429", "`rate_limited`: the tenant sends too much; with `Retry-After`"),
            (
                "422",
                "`unknown_field`, `missing_field`, `invalid_field`, `unknown_reference`, `idempotency_key_reused`, or a rule's own code",
            ),
            (
                "503",
                "`overloaded`, `timeout`, `store_unavailable`, `database_unavailable`, `tenant_not_ready`, `rights_changed`, `history_changing`, `history_diverged`: try again with the same key",
            ),
        ])
    }
}
