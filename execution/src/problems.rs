//! What did not come of a command, as the client reads it.

use domain::{ClaimOp, ClaimUse, Command};
use events::Version;
use http::StatusCode;
use platform::Problem;
use store::{ClaimKind, StoreError};

/// What a rule said no to: 422, or 404 where there is no such thing.
pub(crate) fn refused(refusal: &domain::Refusal) -> Problem {
    let status = if refusal.code() == "not_found" { StatusCode::NOT_FOUND } else { StatusCode::UNPROCESSABLE_ENTITY };
    let problem = Problem::new(status, refusal.code(), refusal.to_string());
    match refusal.field() {
        Some(pointer) => problem.field(pointer, refusal.code(), refusal.to_string()),
        None => problem,
    }
}

/// 404 for a person whom the actor does not reach, as for one who never was.
pub(crate) fn nobody() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such employee")
}

/// 409: a value that must be unique is somebody else's.
pub(crate) fn taken(kind: ClaimKind, command: &Command) -> Problem {
    let announced = command.claims().into_iter().find_map(|claim| match claim {
        ClaimUse::Takes { of, pointer, .. } if of.name == kind.0 => Some((of.code, pointer, of.detail)),
        ClaimUse::Rarely(of, ClaimOp::Take) if of.name == kind.0 => Some((of.code, "", of.detail)),
        ClaimUse::Takes { .. } | ClaimUse::GivesUp(_) | ClaimUse::Rarely(..) => None,
    });
    let (code, pointer, detail) = announced.unwrap_or(("taken", "", "a value that must be unique is taken; choose another one"));
    Problem::new(StatusCode::CONFLICT, code, detail).field(pointer, code, detail)
}

/// 412.
pub(crate) fn precondition_failed(version: Version) -> Problem {
    let detail = format!("this is at version {version}, not at the one in If-Match; read it again and decide anew");
    Problem::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail)
}

/// 422 `idempotency_key_reused`.
pub(crate) fn key_reused() -> Problem {
    let detail = "the Idempotency-Key was used for another command; use a new key for each command, and the same only to send it again";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail)
}

/// The store is away (503) or broken (500).
pub(crate) fn unavailable(error: &StoreError) -> Problem {
    match error {
        StoreError::Unavailable(reason) => {
            tracing::warn!(reason, "the event store is unavailable");
            Problem::unavailable(
                "store_unavailable",
                "the event store does not answer at the moment; retry the command with the same Idempotency-Key",
            )
        }
        StoreError::Broken(_) | StoreError::Unreadable { .. } => Problem::internal(error),
    }
}
