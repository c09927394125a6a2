//! What is owed to people in leave that they have not taken: by kind of leave, in days or hours and in money.

use std::sync::LazyLock;

use axum::extract::State;
use platform::{
    Problem, Reader,
    access::{Action, FieldClass},
};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use utoipa::ToSchema;

use super::{LeaveKind, visible};
use crate::{
    params::{Day, Fresh, invalid, params},
    read::{Answer, Positioned, Reads},
    reports::Amount as MoneyAmount,
};

/// What is owed in leave as of a day, over everybody whose absences and pay the asker sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveLiability {
    /// The day that the answer is about.
    #[schema(format = Date)]
    pub as_of: String,
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// By how many units a year's pay was divided.
    pub units_per_year: i64,
    /// The kinds of leave, by code.
    pub items: Vec<LiabilityItem>,
}

/// What is owed in one kind of leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LiabilityItem {
    /// The kind of leave.
    pub kind: LeaveKind,
    /// How many people have an account.
    pub people: i64,
    /// What is left to them together, in the policy's unit, as text.
    pub left: String,
    /// What that is worth by their pay on the day, per currency. People without pay add nothing.
    pub worth: Vec<MoneyAmount>,
}

params! {
    /// For what is owed.
    LiabilityParams {
        /// The day to answer for, up to today, which it is in the tenant's time zone if absent. What is still to be earned is not owed.
        as_of: Day,
        /// By how many units (days, or hours) of leave a nominal year's pay is divided for what one is worth: 260 if absent.
        units_per_year: Units,
    }
}

/// Units of a year: 1 to 10,000.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(value_type = u16, minimum = 1, maximum = 10000, default = 260)]
pub(crate) struct Units(i64);
impl std::str::FromStr for Units {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        crate::params::number(text, 1, 10_000).map(Self).ok_or("must be a whole number from 1 to 10000")
    }
}

#[derive(Debug, FromRow)]
struct Row {
    position: i64,
    type_id: Option<uuid::Uuid>,
    code: Option<String>,
    name: Option<String>,
    people: Option<i64>,
    total: Option<String>,
    currency: Option<String>,
    worth: Option<String>,
}
impl Positioned for Row {
    fn position(&self) -> i64 {
        self.position
    }
}

/// What was recorded of accounts up to day $1, with a year's pay divided by $2.
static LIABILITY: LazyLock<String> = LazyLock::new(|| {
    let type_id = visible("type_id");
    format!(
        "with account as (
            select {type_id} as type_id, employee_id, sum(amount) as units from leave_entry where day <= $1 group by 1, 2
        ), owed as (
            select a.type_id, a.employee_id, a.units, p.currency, round(a.units * p.annual / $2, 2) as worth from account a
            left join compensation_span p on p.employee_id = a.employee_id and p.valid_from <= $1 and $1 < p.valid_to
            where a.type_id is not null
        ), total as (select type_id, count(distinct employee_id) as people from owed group by type_id),
        units as (select type_id, sum(units) as units from account group by type_id),
        money as (select type_id, currency, sum(worth) as worth from owed where currency is not null group by type_id, currency)
        select c.position, t.type_id, t.code, t.name, total.people, trim_scale(units.units)::text as total, money.currency,
            money.worth::text as worth
        from checkpoint c
        left join total on true left join leave_type t on t.type_id = total.type_id
        left join units on units.type_id = total.type_id left join money on money.type_id = total.type_id
        order by t.code collate \"C\", money.currency collate \"C\""
    )
});

/// What is owed in leave as of a day.
#[utoipa::path(get, path = "/v1/reports/leave-liability", tag = "reports", params(LiabilityParams),
    responses((status = 200, description = "The answer", body = LeaveLiability, headers(("Tenure-Position" = String)))))]
pub(crate) async fn leave_liability(
    State(reads): State<Reads>,
    reader: Reader,
    params: LiabilityParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    reader.0.require_any(Action::Read, FieldClass::Absence)?;
    reader.0.require_any(Action::Read, FieldClass::Pay)?;
    let today = Day::today(&reader.0.tenant);
    let as_of = params.as_of.unwrap_or(today);
    if as_of > today {
        return Err(invalid("as_of", "must not be after today: what is still to be earned is not owed"));
    }
    let units_per_year = params.units_per_year.map_or(260, |units| units.0);
    let (position, rows) = reads.all::<Row>(&reader, fresh, sqlx::query_as(&LIABILITY).bind(as_of).bind(units_per_year)).await?;
    let mut items: Vec<LiabilityItem> = Vec::new();
    for row in rows {
        let (Some(type_id), Some(code), Some(name)) = (row.type_id, row.code, row.name) else { continue };
        let kind = LeaveKind { type_id, code, name };
        if items.last().is_none_or(|last| last.kind != kind) {
            let (people, left) = (row.people.unwrap_or(0), row.total.unwrap_or_default());
            items.push(LiabilityItem { kind, people, left, worth: Vec::new() });
        }
        if let (Some(currency), Some(amount), Some(last)) = (row.currency, row.worth, items.last_mut()) {
            last.worth.push(MoneyAmount { currency, amount });
        }
    }
    Answer::json(position, &LeaveLiability { as_of: as_of.to_string(), position, units_per_year, items })
}
