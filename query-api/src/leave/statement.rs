//! A statement of an account: every entry between two days, each explained, with the balance after it. As JSON, or as CSV.

use std::fmt::Write as _;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use calculation::leave::ledger;
use events::{
    EmployeeId,
    leave::{Amount, Cause, Entry, EntryBasis, EntryKind, LeaveTypeId, LotKey, Proration},
};
use http::{HeaderValue, StatusCode, header};
use platform::{Problem, Reader};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{LeaveKind, facts};
use crate::{
    params::{Day, Fresh, Id, IdParam, invalid, params},
    read::{Answer, Reads},
};

/// A statement of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveStatement {
    /// The person.
    pub employee_id: Uuid,
    /// The kind of leave.
    pub kind: LeaveKind,
    /// The first day.
    #[schema(format = Date)]
    pub from: String,
    /// The last day.
    #[schema(format = Date)]
    pub to: String,
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// The balance before the first day.
    pub opening: Amount,
    /// The entries, in the order in which they count.
    pub entries: Vec<StatementEntry>,
    /// The balance on the last day.
    pub closing: Amount,
}

/// An entry of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatementEntry {
    /// The day from which it counts.
    #[schema(format = Date)]
    pub on: String,
    /// What it does, such as `accrued`.
    pub kind: String,
    /// How much, negative where it takes away.
    pub amount: Amount,
    /// The balance after it.
    pub balance: Amount,
    /// Why, in a sentence.
    pub why: String,
    /// The request, adjustment or payment that it is about, where it is about one.
    pub about: Option<Uuid>,
    /// How the amount of a step of accrual came about.
    pub step: Option<StatementStep>,
}

/// A step of accrual.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatementStep {
    /// The first day of the whole step.
    #[schema(format = Date)]
    pub period_from: String,
    /// The first day after it.
    #[schema(format = Date)]
    pub period_to: String,
    /// The first day of it on which the person accrued.
    #[schema(format = Date)]
    pub accrued_from: String,
    /// The first day after those.
    #[schema(format = Date)]
    pub accrued_to: String,
    /// What was earned, before the year's sum was rounded.
    pub exact: Amount,
    /// What the caps held back.
    pub capped: Amount,
    /// The version of the policy.
    pub policy_version: u32,
}

/// How a statement is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Format {
    #[default]
    Json,
    Csv,
}
impl std::str::FromStr for Format {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            _ => Err("must be json or csv"),
        }
    }
}

params! {
    /// For a statement.
    StatementParams {
        /// The kind of leave.
        type_id: IdParam,
        /// The first day; the first of the last day's year if absent.
        from: Day,
        /// The last day, past or future; today in the tenant's time zone if absent.
        to: Day,
        /// `json`, or `csv` for spreadsheets.
        format: Format,
    }
}

/// A statement of an account: each entry between two days, explained.
#[utoipa::path(get, path = "/v1/employees/{id}/leave-statement", tag = "leave", params(("id" = Uuid, Path), StatementParams),
    responses((status = 200, description = "The answer", headers(("Tenure-Position" = String)), content((LeaveStatement = "application/json"), (String = "text/csv"))), (status = 404, description = "`not_found`: there is no such object", body = crate::openapi::ProblemDocument, content_type = "application/problem+json"), (status = 422, description = "`no_work_schedule`: the policy grants weeks, and no work schedule says how long they are", body = crate::openapi::ProblemDocument, content_type = "application/problem+json")))]
pub(crate) async fn leave_statement(
    State(reads): State<Reads>,
    reader: Reader,
    Id(id): Id<EmployeeId>,
    params: StatementParams,
    fresh: Fresh,
) -> Result<Response, Problem> {
    let type_id = LeaveTypeId::from_uuid(params.type_id.ok_or_else(|| invalid("type_id", "is missing"))?.0);
    let to = params.to.unwrap_or_else(|| Day::today(&reader.0.tenant));
    let from = params.from.unwrap_or_else(|| Day(to.0.first_of_year()));
    if from > to {
        return Err(invalid("from", "must not be after to"));
    }
    let (position, facts) = facts::read(&reads, &reader, fresh, id.uuid(), false).await?;
    let kind = facts.kinds.get(&type_id).ok_or_else(|| invalid("type_id", "names no kind of leave"))?.clone();
    let of = facts.of(type_id);
    let fault = |fault: calculation::leave::accrual::PlanFault| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "no_work_schedule", fault.to_string())
    };
    let ledger = ledger::run(&of.account(), to.0).map_err(fault)?;
    let (before, within): (Vec<Entry>, Vec<Entry>) = ledger.entries.into_iter().partition(|entry| entry.on < from.0);
    let mut balance: Decimal = before.iter().map(|entry| entry.amount.decimal()).sum();
    let opening = Amount::computed(balance);
    let mut entries = Vec::with_capacity(within.len());
    for entry in within {
        balance += entry.amount.decimal();
        entries.push(shown(&entry, Amount::computed(balance))?);
    }
    let (from, to, closing) = (from.to_string(), to.to_string(), Amount::computed(balance));
    let statement = LeaveStatement { employee_id: id.uuid(), kind, from, to, position, opening, entries, closing };
    match params.format.unwrap_or_default() {
        Format::Json => Ok(Answer::json(position, &statement)?.into_response()),
        Format::Csv => {
            let mut response =
                ([(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"))], csv(&statement)).into_response();
            response.headers_mut().insert("tenure-position", position.into());
            Ok(response)
        }
    }
}

fn shown(entry: &Entry, balance: Amount) -> Result<StatementEntry, Problem> {
    let about = match entry.cause {
        Cause::Request { id, .. } => Some(id.uuid()),
        Cause::Adjustment { id } | Cause::Encashment { id } => Some(id.uuid()),
        Cause::Step { .. } | Cause::YearEnd { .. } | Cause::LotEnd { .. } => None,
    };
    let step = match entry.why {
        EntryBasis::Plain => None,
        EntryBasis::Step { period_from, period_to, accrued_from, accrued_to, exact, capped, policy_version, .. } => Some(StatementStep {
            period_from: period_from.to_string(),
            period_to: period_to.to_string(),
            accrued_from: accrued_from.to_string(),
            accrued_to: accrued_to.to_string(),
            exact,
            capped,
            policy_version,
        }),
    };
    let Ok(serde_json::Value::String(kind)) = serde_json::to_value(entry.kind) else {
        return Err(Problem::internal(&"a kind of entry has no word"));
    };
    Ok(StatementEntry { on: entry.on.to_string(), kind, amount: entry.amount, balance, why: sentence(entry), about, step })
}

/// Why an entry is there, for people.
fn sentence(entry: &Entry) -> String {
    let amount = Amount::computed(entry.amount.decimal().abs());
    match (entry.kind, entry.cause) {
        (EntryKind::Accrued, _) => match entry.why {
            EntryBasis::Step { accrued_from, accrued_to, exact, capped, policy_version, proration, period_from, period_to } => {
                let last = accrued_to.yesterday().unwrap_or(accrued_to);
                let part = if (accrued_from, accrued_to) == (period_from, period_to) {
                    String::new()
                } else {
                    format!(", a part of {period_from} to {} that counts {}", period_to.yesterday().unwrap_or(period_to), by(proration))
                };
                let capped = if capped.is_zero() { String::new() } else { format!("; a cap held {capped} back") };
                let exact = if exact == entry.amount { String::new() } else { format!("; {exact} before the year's sum was rounded") };
                format!("earned from {accrued_from} to {last}{part}, by version {policy_version} of the policy{exact}{capped}")
            }
            EntryBasis::Plain => "earned".into(),
        },
        (EntryKind::CarriedOut, Cause::YearEnd { into }) => format!("{amount} went into the leave year that begins on {into}"),
        (EntryKind::CarriedIn, Cause::YearEnd { into }) => match entry.lot {
            Some(LotKey::Carried { for_good: true, .. }) => format!("{amount} came from the year before {into}, for good"),
            Some(_) | None => format!("{amount} came from the year before {into}"),
        },
        (EntryKind::Forfeited, _) => format!("{amount} of the old leave year is beyond what the policy carries over"),
        (EntryKind::Expired, _) => format!("{amount} was not used by its end"),
        (EntryKind::Taken, Cause::Request { day, .. }) => format!("leave on {day}"),
        (EntryKind::Returned, Cause::Request { day, .. }) => format!("leave on {day} was cancelled afterwards"),
        (EntryKind::Adjusted, _) => if entry.amount.is_negative() { "taken away by hand" } else { "added by hand" }.into(),
        (EntryKind::Encashed, _) => "paid out".into(),
        (EntryKind::Repaid, _) if entry.lot.is_some() => format!("{amount} pays back what was taken in advance"),
        (EntryKind::Repaid, _) => format!("{amount} that was taken in advance is paid back"),
        (EntryKind::CarriedOut | EntryKind::CarriedIn, _) => "moved between leave years".into(),
        (EntryKind::Taken, _) => "leave".into(),
        (EntryKind::Returned, _) => "came back".into(),
    }
}

const fn by(proration: Proration) -> &'static str {
    match proration {
        Proration::None => "as the whole",
        Proration::Days => "by its days",
        Proration::MonthsBegun => "by the months that it touches",
        Proration::MonthsCompleted => "by the months that it fills",
    }
}

/// The statement for spreadsheets. A cell that a spreadsheet would take for a formula can't occur: none is written by people.
fn csv(statement: &LeaveStatement) -> String {
    let mut text = String::from("on,kind,amount,balance,why,about\r\n");
    for entry in &statement.entries {
        let about = entry.about.map(|id| id.to_string()).unwrap_or_default();
        let why = entry.why.replace('"', "\"\"");
        let StatementEntry { on, kind, amount, balance, .. } = entry;
        // Writing to text can't fail.
        let _ = write!(text, "{on},{kind},{amount},{balance},\"{why}\",{about}\r\n");
    }
    text
}
