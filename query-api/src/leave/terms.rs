//! The kinds of leave and the policies that a tenant has.

use axum::extract::State;
use events::leave::LeavePolicyTerms;
use platform::{Problem, Reader};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    params::{Day, Fresh, NoParams},
    read::{Answer, Positioned, Reads, stored},
};

/// All kinds of leave, by code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveTypes {
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// The kinds.
    pub items: Vec<LeaveTypeItem>,
}

/// A kind of leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveTypeItem {
    /// The kind of leave.
    pub type_id: Uuid,
    /// The tenant's own code.
    pub code: String,
    /// The name.
    pub name: String,
    /// Who may know that an absence is of this kind: `absence`, `personal` or `medical`.
    pub class: String,
}

/// All policies, by code and version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeavePolicies {
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// The policies' versions.
    pub items: Vec<LeavePolicyItem>,
}

/// A version of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeavePolicyItem {
    /// The policy.
    pub policy_id: Uuid,
    /// The tenant's own code.
    pub code: String,
    /// The kind of leave.
    pub type_id: Uuid,
    /// 1, 2, 3, …
    pub version: u32,
    /// The first day of the version.
    #[schema(format = Date)]
    pub valid_from: String,
    /// What it says.
    pub terms: LeavePolicyTerms,
}

#[derive(FromRow)]
struct TypeRow {
    position: i64,
    type_id: Option<Uuid>,
    code: Option<String>,
    name: Option<String>,
    class: Option<String>,
}
impl Positioned for TypeRow {
    fn position(&self) -> i64 {
        self.position
    }
}

#[derive(FromRow)]
struct PolicyRow {
    position: i64,
    policy_id: Option<Uuid>,
    code: Option<String>,
    type_id: Option<Uuid>,
    version: Option<i16>,
    valid_from: Option<Day>,
    terms: Option<String>,
}
impl Positioned for PolicyRow {
    fn position(&self) -> i64 {
        self.position
    }
}

/// All kinds of leave.
#[utoipa::path(get, path = "/v1/leave-types", tag = "leave",
    responses((status = 200, description = "The answer", body = LeaveTypes, headers(("Tenure-Position" = String)))))]
pub(crate) async fn leave_types(State(reads): State<Reads>, reader: Reader, _params: NoParams, fresh: Fresh) -> Result<Answer, Problem> {
    let sql = "select c.position, t.type_id, t.code, t.name, t.class from checkpoint c left join leave_type t on true order by t.code collate \"C\"";
    let (position, rows) = reads.all::<TypeRow>(&reader, fresh, sqlx::query_as(sql)).await?;
    let item = |row: TypeRow| Some(LeaveTypeItem { type_id: row.type_id?, code: row.code?, name: row.name?, class: row.class? });
    Answer::json(position, &LeaveTypes { position, items: rows.into_iter().filter_map(item).collect() })
}

/// All policies, in all their versions.
#[utoipa::path(get, path = "/v1/leave-policies", tag = "leave",
    responses((status = 200, description = "The answer", body = LeavePolicies, headers(("Tenure-Position" = String)))))]
pub(crate) async fn leave_policies(State(reads): State<Reads>, reader: Reader, _params: NoParams, fresh: Fresh) -> Result<Answer, Problem> {
    let sql = "select c.position, p.policy_id, p.code, p.type_id, p.version, p.valid_from, p.terms
         from checkpoint c left join leave_policy p on true order by p.code collate \"C\", p.version";
    let (position, rows) = reads.all::<PolicyRow>(&reader, fresh, sqlx::query_as(sql)).await?;
    let mut items = Vec::with_capacity(rows.len());
    for row in rows {
        let (Some(policy_id), Some(code), Some(type_id), Some(version), Some(valid_from), Some(terms)) =
            (row.policy_id, row.code, row.type_id, row.version, row.valid_from, row.terms)
        else {
            continue;
        };
        let terms = stored(Some(&terms))?;
        let version = u32::from(version.unsigned_abs());
        items.push(LeavePolicyItem { policy_id, code, type_id, version, valid_from: valid_from.to_string(), terms });
    }
    Answer::json(position, &LeavePolicies { position, items })
}
