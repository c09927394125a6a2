//! A person's balances on any day, past or future; and what leave would cost before it is asked for.

use axum::extract::State;
use calculation::leave::{balance, costing};
use events::{
    DayPart, EmployeeId,
    leave::{Amount, DayAsked, DayCost, LeaveTypeId},
};
use http::StatusCode;
use platform::{Problem, Reader};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{LeaveKind, facts};
use crate::{
    params::{Day, Fresh, Id, IdParam, invalid, params},
    read::{Answer, Reads},
};

/// A person's accounts as of a day: one for each kind of leave that they were ever enrolled for and that the asker may know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveAccounts {
    /// The person.
    pub employee_id: Uuid,
    /// The day that the answer is about.
    #[schema(format = Date)]
    pub as_of: String,
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// The accounts, by code.
    pub accounts: Vec<LeaveAccount>,
}

/// An account as of a day. Amounts are in the policy's unit, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveAccount {
    /// The kind of leave.
    pub kind: LeaveKind,
    /// `days` or `hours`; null on a day without a policy.
    pub unit: Option<String>,
    /// What was credited up to the day.
    pub earned: Amount,
    /// What was added or taken away by hand.
    pub adjusted: Amount,
    /// What was paid out.
    pub encashed: Amount,
    /// What ended or was not carried over.
    pub lost: Amount,
    /// What was taken up to the day.
    pub taken: Amount,
    /// What is left on the day: all of the above together. For an entitlement that looks back, what its stretch leaves.
    pub left: Amount,
    /// What is approved for later days.
    pub booked: Amount,
    /// What is asked for and not decided, whatever the day.
    pub pending: Amount,
    /// What ends next after the day, and with which day it is gone.
    pub ends_next: Option<LeaveEnds>,
}

/// Leave that ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveEnds {
    /// The first day without it.
    #[schema(format = Date)]
    pub on: String,
    /// How much.
    pub amount: Amount,
}

params! {
    /// For accounts.
    AccountParams {
        /// The day to answer for, past or future; today in the tenant's time zone if absent.
        as_of: Day,
    }
}

/// 422: an account can't be computed, which says what to mend.
fn incomputable(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "no_work_schedule", error.to_string())
}

/// A person's leave as of a day: what is left, booked and pending, of each kind.
#[utoipa::path(get, path = "/v1/employees/{id}/leave", tag = "leave", params(("id" = Uuid, Path), AccountParams),
    responses((status = 200, description = "The answer", body = LeaveAccounts, headers(("Tenure-Position" = String))), (status = 404, description = "`not_found`: there is no such object", body = crate::openapi::ProblemDocument, content_type = "application/problem+json"), (status = 422, description = "`no_work_schedule`: the policy grants weeks, and no work schedule says how long they are", body = crate::openapi::ProblemDocument, content_type = "application/problem+json")))]
pub(crate) async fn leave_accounts(
    State(reads): State<Reads>,
    reader: Reader,
    Id(id): Id<EmployeeId>,
    params: AccountParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    let as_of = params.as_of.unwrap_or_else(|| Day::today(&reader.0.tenant));
    let (position, facts) = facts::read(&reads, &reader, fresh, id.uuid(), false).await?;
    let mut accounts = Vec::new();
    for type_id in facts.types() {
        let Some(kind) = facts.kinds.get(&type_id) else { continue };
        accounts.push(account(kind.clone(), &facts.of(type_id), as_of)?);
    }
    accounts.sort_by(|a, b| a.kind.code.cmp(&b.kind.code));
    let answer = LeaveAccounts { employee_id: id.uuid(), as_of: as_of.to_string(), position, accounts };
    Answer::json(position, &answer)
}

fn account(kind: LeaveKind, of: &facts::AccountFacts<'_>, as_of: Day) -> Result<LeaveAccount, Problem> {
    let balance = balance::on(&of.account(), &of.pending, as_of.0).map_err(|fault| incomputable(&fault))?;
    let version = of.enrolments.iter().find_map(|enrolment| enrolment.version_on(as_of.0));
    let unit = version.map(|version| if version.terms.unit.is_hours() { "hours" } else { "days" }.to_owned());
    let balance::Balance { earned, adjusted, encashed, lost, taken, left, booked, pending, ends_next, .. } = balance;
    let ends_next = ends_next.map(|(on, amount)| LeaveEnds { on: on.to_string(), amount });
    Ok(LeaveAccount { kind, unit, earned, adjusted, encashed, lost, taken, left, booked, pending, ends_next })
}

/// What leave would cost, day by day, and what would be left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveQuote {
    /// The person.
    pub employee_id: Uuid,
    /// The kind of leave.
    pub kind: LeaveKind,
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// What it costs.
    pub cost: Amount,
    /// The days, with what each costs and why.
    pub days: Vec<DayCost>,
    /// What is left on the last day before it is taken, less all that is pending.
    pub left: Amount,
    /// What would be left.
    pub left_after: Amount,
}

params! {
    /// For a quote.
    QuoteParams {
        /// The kind of leave.
        type_id: IdParam,
        /// The first day.
        from: Day,
        /// The last day; the first if absent.
        to: Day,
    }
}

/// What whole days of leave would cost and leave, before they are asked for. Nothing is reserved.
#[utoipa::path(get, path = "/v1/employees/{id}/leave-quote", tag = "leave", params(("id" = Uuid, Path), QuoteParams),
    responses((status = 200, description = "The answer", body = LeaveQuote, headers(("Tenure-Position" = String))), (status = 404, description = "`not_found`: there is no such object", body = crate::openapi::ProblemDocument, content_type = "application/problem+json"), (status = 422, description = "`leave_days`: these days can't be asked for; `no_work_schedule`: no schedule says how long a week is", body = crate::openapi::ProblemDocument, content_type = "application/problem+json")))]
pub(crate) async fn leave_quote(
    State(reads): State<Reads>,
    reader: Reader,
    Id(id): Id<EmployeeId>,
    params: QuoteParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    let type_id = LeaveTypeId::from_uuid(params.type_id.ok_or_else(|| invalid("type_id", "is missing"))?.0);
    let from = params.from.ok_or_else(|| invalid("from", "is missing"))?;
    let to = params.to.unwrap_or(from);
    let refused = |error: costing::CostRefusal| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "leave_days", error.to_string()).field("/from", "leave_days", error.to_string())
    };
    let asked: Vec<DayAsked> = costing::expand(from.0, to.0).map_err(refused)?;
    let asked: Vec<DayAsked> = asked.into_iter().map(|day| DayAsked { part: DayPart::Whole, ..day }).collect();
    let (position, facts) = facts::read(&reads, &reader, fresh, id.uuid(), true).await?;
    let kind = facts.kinds.get(&type_id).ok_or_else(|| invalid("type_id", "names no kind of leave"))?.clone();
    let days = costing::cost(&asked, facts.enrolments(type_id), &facts.work).map_err(refused)?;
    let of = facts.of(type_id);
    let balance = balance::on(&of.account(), &of.pending, to.0).map_err(|fault| incomputable(&fault))?;
    let cost = costing::total(&days);
    let left = Amount::computed(balance.left.decimal() - balance.pending.decimal());
    let left_after = Amount::computed(left.decimal() - cost.decimal());
    Answer::json(position, &LeaveQuote { employee_id: id.uuid(), kind, position, cost, days, left, left_after })
}
