//! The rules of requests, and properties of any sequence of operations.

#[path = "../../../../calculation/src/leave/tests/fixtures.rs"]
#[allow(dead_code, reason = "the calculations' own tests use more of them")]
mod fixtures;
mod properties;
mod record;
