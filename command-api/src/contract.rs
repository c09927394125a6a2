//! What the contract says of every command: its headers, and the problems that it may be answered with.

use platform::contract::{Shared, Takes, shared};
use utoipa::IntoParams;

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

/// Adds the problems that routes share to each of them.
pub(crate) fn describe(document: &mut utoipa::openapi::OpenApi) {
    let taken = domain::uniques().map(|unique| (unique.code, "")).collect();
    let of_commands = vec![
        shared(Takes::is_command, 400, [("invalid_idempotency_key", ""), ("invalid_if_match", "")]),
        shared(Takes::is_command, 403, [("own_decision", "it is about yourself, and takes another's decision")]),
        shared(Takes::is_command, 404, [("not_found", "")]),
        Shared { of: Takes::is_command, status: 409, codes: taken },
        shared(Takes::is_command, 409, [("conflict", "others were faster, try again")]),
        shared(Takes::is_command, 410, [("person_erased", "the person's key was destroyed")]),
        shared(Takes::is_command, 412, [("precondition_failed", "it is not at the version in `If-Match`")]),
        shared(Takes::is_command, 422, [("idempotency_key_reused", ""), ("unknown_reference", "or another rule's own code")]),
        shared(Takes::is_command, 503, [("store_unavailable", "try again with the same key"), ("superseded", "")]),
        shared(Takes::is_command, 503, [("not_activated", "an operator has to run `tenure release activate`; then the same key")]),
    ];
    let of_all = vec![
        shared(|_| true, 500, [("key_missing", "an operator must restore a key"), ("key_damaged", "an operator must restore a key")]),
        shared(|takes| !takes.is_command() && takes.path != "/v1/batch", 503, [("login_unavailable", "")]),
    ];
    platform::contract::describe(document, of_commands.into_iter().chain(of_all).collect());
}
