//! Leave: kinds and policies, a person's accounts and requests as of any day, who is away, and what is owed.
//!
//! A balance is computed from the facts ([`facts`]) by the same arithmetic as the rules decide on. Of which kind an absence is, is of
//! the class of its kind; where the asker may not see that class, the kind is null, or what would tell it is left out.

pub mod absences;
pub mod accounts;
mod facts;
pub mod liability;
pub mod requests;
pub mod statement;
pub mod terms;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::App;

/// What the contract says of these routes.
pub(crate) const TAG: &str = "Leave";

/// The routes.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(terms::leave_types))
        .routes(routes!(terms::leave_policies))
        .routes(routes!(accounts::leave_accounts))
        .routes(routes!(accounts::leave_quote))
        .routes(routes!(statement::leave_statement))
        .routes(routes!(requests::leave_requests_of_person))
        .routes(routes!(requests::leave_requests))
        .routes(routes!(absences::absences))
        .routes(routes!(absences::leave_conflicts))
        .routes(routes!(liability::leave_liability))
}

/// A kind of leave, as other answers name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveKind {
    /// The kind of leave.
    pub type_id: Uuid,
    /// The tenant's own code.
    pub code: String,
    /// The name.
    pub name: String,
}

impl LeaveKind {
    /// The kind that the columns of a row name; none where the asker may not know it.
    fn named((type_id, code, name): (Option<Uuid>, Option<String>, Option<String>)) -> Option<Self> {
        Some(Self { type_id: type_id?, code: code.unwrap_or_default(), name: name.unwrap_or_default() })
    }
}

/// A column that names a kind of leave, in whichever of its three columns the asker may see it.
fn visible(column: &str) -> String {
    let (alias, name) = column.rsplit_once('.').map_or((String::new(), column), |(alias, name)| (format!("{alias}."), name));
    format!("coalesce({alias}{name}, {alias}personal_{name}, {alias}medical_{name})")
}
