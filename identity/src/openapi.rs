//! What the contract says of all routes about identity.

use std::collections::BTreeMap;

use platform::openapi::problems;
use utoipa::{
    IntoResponses,
    openapi::{RefOr, Response},
};

/// What every request about identity may be answered with instead.
pub(crate) struct IdentityProblems;

impl IntoResponses for IdentityProblems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems([
            ("400", "`malformed_json`, `invalid_id`, `invalid_parameter`, `invalid_tenant`"),
            ("401", "`missing_token`, `invalid_token`"),
            ("402", "`subscription_expired`"),
            ("403", "`tenant_mismatch`, `tenant_suspended`, `forbidden`"),
            ("413", "`body_too_large`"),
            ("415", "`unsupported_media_type`"),
            ("429", "`rate_limited`, with `Retry-After`"),
            ("503", "`overloaded`, `timeout`, `login_unavailable`, `database_unavailable`, `tenant_not_ready`, `rights_changed`"),
        ])
    }
}
