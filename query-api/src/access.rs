//! What the asker may see or change, and which rule says so.

use axum::extract::State;
use events::EmployeeId;
use platform::{
    Problem, Reader,
    access::{Action, FieldClass, Reach, Rule},
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    params::{Fresh, IdParam, invalid, params},
    read::{Answer, Positioned as _, Reads, Seen, not_found},
    sight::Sight,
};

/// A decision about access, and what made it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Explanation {
    /// What is to be done.
    pub action: Action,
    /// To which facts.
    pub class: FieldClass,
    /// About whom; null for anybody.
    pub employee_id: Option<Uuid>,
    /// The decision.
    pub allowed: bool,
    /// The widest rule that allows it; null where none does.
    pub because: Option<Because>,
    /// All rules that speak of this, the widest first.
    pub rules: Vec<Because>,
}

/// A rule.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Because {
    /// The role, and the delegation through which it came.
    #[serde(flatten)]
    pub rule: Rule,
    /// About whom it speaks.
    pub reach: Reach,
}

params! {
    /// What to explain.
    ExplainParams {
        /// `read` (if absent) or `change`.
        action: Action,
        /// `directory`, `personal`, `pay` or `medical`.
        #[param(required)]
        class: FieldClass,
        /// About whom; anybody if absent.
        employee: IdParam,
    }
}

/// Whether you may do something, and which of your roles or delegations says so.
#[utoipa::path(get, path = "/v1/access/explain", tag = "access", params(ExplainParams),
    responses((status = 200, description = "The decision", body = Explanation), (status = 404, description = "`not_found`: there is no such object", body = crate::openapi::ProblemDocument, content_type = "application/problem+json")))]
pub(crate) async fn explain(State(reads): State<Reads>, reader: Reader, params: ExplainParams, fresh: Fresh) -> Result<Answer, Problem> {
    let Some(class) = params.class else { return Err(invalid("class", "is needed: directory, personal, pay or medical")) };
    let action = params.action.unwrap_or(Action::Read);
    let employee = params.employee.map(|id| id.0);
    let reaches = async |sight: Sight| {
        let sight = match employee {
            Some(person) => sight.only_of(person),
            None => sight,
        };
        let sql = "select (select position from checkpoint) as position, exists (select from employee e where e.employee_id = $1) as seen";
        let found: Seen = reads.one_as(&reader, &sight, fresh, sqlx::query_as(sql).bind(employee)).await?;
        Ok::<_, Problem>((found.position(), found.seen))
    };
    // Whom the asker does not see is not there; and who has left is told nothing.
    let (mut position, sight) = (0, Sight::of(&reader.0));
    if employee.is_some() || sight.asks_for_leavers() {
        let (at, seen) = reaches(sight).await?;
        if employee.is_some() && !seen {
            return Err(not_found());
        }
        position = at;
    }
    let (mut because, mut rules) = (None, Vec::new());
    for (grant, sight) in reader.0.grants.reasons(action, class) {
        let rule = Because { rule: grant.rule, reach: grant.permission.reach };
        // As command-api has it: what is one's own, nobody changes by standing above or beside oneself.
        let own = action == Action::Change && employee.is_some() && employee == reader.0.employee.map(EmployeeId::uuid);
        let sight = if own && !sight.all { platform::access::Sight { people: sight.people, ..Default::default() } } else { sight };
        if because.is_none() && (sight.all || employee.is_none() || reaches(Sight::only(sight)).await?.1) {
            because = Some(rule.clone());
        }
        rules.push(rule);
    }
    let explanation = Explanation { action, class, employee_id: employee, allowed: because.is_some(), because, rules };
    let json = serde_json::to_string(&explanation).map_err(|error| Problem::internal(&error))?;
    Ok(Answer { position, version: None, json })
}
