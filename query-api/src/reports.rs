//! How many people, and what they earn a year: by department, job, location or month, as of any day.

use axum::extract::State;
use jiff::{ToSpan as _, civil::Date};
use platform::{Problem, Reader};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    params::{Day, Fresh, invalid, params},
    read::{Answer, Positioned, Reads, amount},
    sight::Sight,
};

/// Headcount and annual pay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Headcount {
    /// The day that the answer is about; by month, the last month's last day.
    #[schema(format = Date)]
    pub as_of: String,
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// Everyone employed on that day, each once.
    pub total: Figures,
    /// The groups: by code, or month by month.
    pub groups: Vec<Group>,
}

/// Figures of a group of people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// How many people are employed.
    pub headcount: i64,
    /// What they earn together in a nominal full-time year, per currency.
    pub annual_pay: Vec<Amount>,
}

/// An exact sum in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    /// ISO 4217 code.
    pub currency: String,
    /// The sum, an exact decimal as text.
    pub amount: String,
}

/// A department, job or location (`id`, `code`, `name`; all null for people without one), or a month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum Group {
    /// By month.
    Month {
        /// The month, `YYYY-MM`.
        month: String,
        /// Its last day, which the figures are about.
        #[schema(format = Date)]
        as_of: String,
        /// How many people are employed.
        headcount: i64,
        /// What they earn together in a year.
        annual_pay: Vec<Amount>,
    },
    /// By department, job or location.
    Unit {
        /// The department, job or location.
        id: Option<Uuid>,
        /// Its code.
        code: Option<String>,
        /// Its name or title on that day.
        name: Option<String>,
        /// How many people are employed.
        headcount: i64,
        /// What they earn together in a year.
        annual_pay: Vec<Amount>,
    },
}

/// What to group by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GroupBy {
    Department,
    Job,
    Location,
    Month,
}

impl std::str::FromStr for GroupBy {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "department" => Ok(Self::Department),
            "job" => Ok(Self::Job),
            "location" => Ok(Self::Location),
            "month" => Ok(Self::Month),
            _ => Err("must be department, job, location or month"),
        }
    }
}

/// A month, `YYYY-MM`; a day stands for its month.
#[derive(Debug, Clone, Copy, ToSchema)]
#[schema(value_type = String, pattern = "^[0-9]{4}-[0-9]{2}(-[0-9]{2})?$")]
pub(crate) struct Month(Date);

impl std::str::FromStr for Month {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let day = if text.len() == 7 { format!("{text}-01") } else { text.to_owned() };
        day.parse::<Day>().map(|day| Self(day.0.first_of_month())).map_err(|_| "must be a month as YYYY-MM, or a day as YYYY-MM-DD")
    }
}

params! {
    /// For the headcount.
    HeadcountParams {
        /// What to group by.
        #[param(required)]
        group_by: GroupBy,
        /// The day to answer for, past or future; today in the tenant's time zone if absent. Not by month.
        as_of: Day,
        /// By month: the first month; eleven before the last if absent.
        from: Month,
        /// By month: the last month, at most 600 in all; this month in the tenant's time zone if absent.
        to: Month,
        /// By department: count each department's people with those of the departments below it. The total still counts
        /// each person once.
        include_subdepartments: bool,
    }
}

/// Headcount and annual pay as of a day.
#[utoipa::path(get, path = "/v1/reports/headcount", tag = "reports", params(HeadcountParams),
    responses((status = 200, description = "The answer", body = Headcount, headers(("Tenure-Position" = String)))))]
pub(crate) async fn headcount(
    State(reads): State<Reads>,
    reader: Reader,
    params: HeadcountParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    let Some(group_by) = params.group_by else {
        return Err(invalid("group_by", "is needed: department, job, location or month"));
    };
    if group_by != GroupBy::Department && params.include_subdepartments.is_some() {
        return Err(invalid("include_subdepartments", "goes with group_by=department"));
    }
    if group_by == GroupBy::Month {
        return by_month(&reads, &reader, fresh, &params).await;
    }
    if params.from.is_some() || params.to.is_some() {
        return Err(invalid(if params.from.is_some() { "from" } else { "to" }, "goes with group_by=month"));
    }
    let as_of = params.as_of.unwrap_or_else(|| Day::today(&reader.0.tenant));
    let rollup = params.include_subdepartments.unwrap_or(false);
    let sql = by_unit(group_by, rollup, Sight::of(&reader.0).counts_everyone());
    let (position, cells) = reads.all(&reader, fresh, sqlx::query_as(&sql).bind(as_of)).await?;
    Answer::json(position, &by_units(as_of, position, cells))
}

/// Some people of a unit or a month: those who are paid in one currency, or who have no pay.
#[derive(Debug, Default, FromRow)]
struct Cell {
    position: i64,
    /// Whether it is of everyone together; null in the only row where there is nobody.
    everyone: Option<bool>,
    #[sqlx(default)]
    id: Option<Uuid>,
    #[sqlx(default)]
    code: Option<String>,
    #[sqlx(default)]
    name: Option<String>,
    #[sqlx(default)]
    month: Option<String>,
    #[sqlx(default)]
    last: Option<Day>,
    heads: Option<i64>,
    currency: Option<String>,
    /// An exact decimal.
    amount: Option<String>,
}
impl Positioned for Cell {
    fn position(&self) -> i64 {
        self.position
    }
}

impl Figures {
    const NOBODY: Self = Self { headcount: 0, annual_pay: Vec::new() };

    /// Adds people; each currency once.
    fn add(&mut self, cell: &mut Cell) {
        self.headcount += cell.heads.unwrap_or(0);
        let paid = cell.currency.take().zip(cell.amount.take());
        self.annual_pay.extend(paid.map(|(currency, sum)| Amount { amount: amount(Some(sum), Some(&currency)), currency }));
    }
}

/// From cells unit by unit, in the order of units and currencies.
fn by_units(as_of: Day, position: i64, cells: Vec<Cell>) -> Headcount {
    let mut total = Figures::NOBODY;
    let mut units: Vec<(Cell, Figures)> = Vec::new();
    for mut cell in cells {
        match cell.everyone {
            None => {}
            Some(true) => total.add(&mut cell),
            Some(false) => match units.last_mut() {
                Some((unit, figures)) if unit.id == cell.id => figures.add(&mut cell),
                _ => {
                    let mut figures = Figures::NOBODY;
                    figures.add(&mut cell);
                    units.push((cell, figures));
                }
            },
        }
    }
    let unit = |(unit, Figures { headcount, annual_pay }): (Cell, Figures)| Group::Unit {
        id: unit.id,
        code: unit.code,
        name: unit.name,
        headcount,
        annual_pay,
    };
    Headcount { as_of: as_of.to_string(), position, total, groups: units.into_iter().map(unit).collect() }
}

/// From cells month by month, in the order of months and currencies.
fn by_months(as_of: Day, position: i64, cells: Vec<Cell>) -> Headcount {
    let mut months: Vec<(String, Day, Figures)> = Vec::new();
    for mut cell in cells {
        let (Some(month), Some(last)) = (cell.month.take(), cell.last) else { continue };
        if months.last().is_none_or(|(before, ..)| *before != month) {
            months.push((month, last, Figures::NOBODY));
        }
        if let Some((_, _, figures)) = months.last_mut() {
            figures.add(&mut cell);
        }
    }
    // The groups end with the month that the answer is about.
    let total = months.last().map_or(Figures::NOBODY, |(_, _, figures)| figures.clone());
    let group = |(month, last, Figures { headcount, annual_pay }): (String, Day, Figures)| Group::Month {
        month,
        as_of: last.to_string(),
        headcount,
        annual_pay,
    };
    Headcount { as_of: as_of.to_string(), position, total, groups: months.into_iter().map(group).collect() }
}

/// People are added up per unit and currency first; what follows works on those few rows.
fn by_unit(group_by: GroupBy, rollup: bool, everyone: bool) -> String {
    let (thing, name, dimension) = match group_by {
        GroupBy::Department | GroupBy::Month => ("department", "name", 1),
        GroupBy::Job => ("job", "title", 2),
        GroupBy::Location => ("location", "name", 3),
    };
    // Who may not see the pay of everyone has those counted one by one that may be seen.
    let cells = if everyone {
        format!(
            "select nullif(unit_id, {NOBODY}) as id, nullif(currency, '') as currency, sum(heads) as heads, sum(annual) as pay from (
                select * from headcount_step where dimension = {dimension} and period = 2 and starts_on < date_trunc('year', $1::timestamp)::date
                union all select * from headcount_step where dimension = {dimension} and period = 1
                    and starts_on >= date_trunc('year', $1::timestamp)::date and starts_on < date_trunc('month', $1::timestamp)::date
                union all select * from headcount_step where dimension = {dimension} and period = 0
                    and starts_on >= date_trunc('month', $1::timestamp)::date and starts_on <= $1
            ) s group by 1, 2 having sum(heads) <> 0"
        )
    } else {
        format!(
            "select a.{thing}_id as id, y.currency, count(*) as heads, sum(y.annual) as pay
            from employment m
            left join assignment_span a on a.employment_id = m.employment_id and a.valid_from <= $1 and $1 < a.valid_to
            left join compensation_span y on y.employment_id = m.employment_id and y.valid_from <= $1 and $1 < y.valid_to
            where m.starts_on <= $1 and $1 < m.ends_on group by 1, 2"
        )
    };
    // Each department with itself and everything below it; `union` ends a ring.
    let (pairs, grouped) = if rollup {
        (
            ", pair (upper, lower) as (
                select distinct id, id from cell
                union select s.parent_id, p.lower from pair p join department_span s on s.department_id = p.upper
                    and s.valid_from <= $1 and $1 < s.valid_to where s.parent_id is not null
            )",
            "select p.upper as id, c.currency, c.heads, c.pay from cell c join pair p on p.lower = c.id",
        )
    } else {
        ("", "select * from cell")
    };
    format!(
        "with recursive cell as materialized ({cells}
        ){pairs}, grouped as (
            select id, currency, sum(heads)::bigint as heads, sum(pay) as pay from ({grouped}) g group by 1, 2
        ), answer as (
            select true as everyone, null::uuid as id, null as code, null as name, sum(heads)::bigint as heads, currency, sum(pay) as pay
            from cell group by currency
            union all select false, g.id, s.code, s.name, g.heads, g.currency, g.pay from grouped g left join lateral (
                select code, {name} as name from {thing}_span s where s.{thing}_id = g.id and s.valid_from <= $1 and s.valid_to > s.valid_from
                order by s.valid_from desc limit 1) s on true
        )
        select c.position, everyone, id, code, name, heads, currency, trim_scale(pay)::text as amount from checkpoint c left join answer on true
        order by everyone desc, code collate \"C\", id, currency",
    )
}

/// How `headcount_step` writes that there is no department, job or location.
const NOBODY: &str = "'00000000-0000-0000-0000-000000000000'";

/// Month after month from the steps of everyone: those before the first month together, then each month's.
const EVERYONE_BY_MONTH: &str = "
    with month as (
        select m::date as month, (m + interval '1 month - 1 day')::date as last from generate_series($1::date::timestamp, $2::date::timestamp, '1 month') m
    ), step as (
        select greatest(starts_on, $1) as month, currency, sum(heads) as heads, sum(annual) as annual from (
            select * from headcount_step where dimension = 0 and period = 2 and starts_on < date_trunc('year', $1::timestamp)::date
            union all select * from headcount_step where dimension = 0 and period = 1 and starts_on >= date_trunc('year', $1::timestamp)::date and starts_on <= $3
        ) s group by 1, 2
    ), cell as (
        select month, last, currency, sum(heads) over w as heads, sum(annual) over w as pay
        from month cross join (select distinct currency from step) c left join step using (month, currency)
        window w as (partition by currency order by month)
    ), figures as (
        select month, last, coalesce(heads, 0)::bigint as heads, case when heads > 0 then nullif(currency, '') end as currency, pay as amount
        from month left join cell using (month, last)
    )";

/// The same for people who are counted one by one.
///
/// What begins counts from its month on, what ends stops counting from its month on; summed up month after month that
/// gives the figures as of each month's last day in one pass, however many months there are.
const BY_MONTH: &str = "
    with month as (
        select m::date as month, (m + interval '1 month - 1 day')::date as last from generate_series($1::date::timestamp, $2::date::timestamp, '1 month') m
    ), head as (
        select greatest(date_trunc('month', day::timestamp), $1)::date as month, sum(step) as step from (
            select starts_on as day, 1 as step from employment where starts_on < ends_on
            union all select ends_on, -1 from employment where starts_on < ends_on and ends_on <> 'infinity'
        ) s where day <= $3 group by 1
    ), paid as (
        select greatest(date_trunc('month', day::timestamp), $1)::date as month, currency, sum(step) as step, sum(count) as count from (
            select valid_from as day, currency, annual as step, 1 as count from compensation_span where valid_from < valid_to
            union all select valid_to, currency, -annual, -1 from compensation_span where valid_from < valid_to and valid_to <> 'infinity'
        ) s where day <= $3 group by 1, 2
    ), headcount as (
        select month, last, coalesce(sum(step) over (order by month), 0)::bigint as heads from month left join head using (month)
    ), pay as (
        select month, currency, sum(step) over w as amount, sum(count) over w as count
        from month cross join (select distinct currency from paid) c left join paid using (month, currency)
        window w as (partition by currency order by month)
    ), figures as (
        select month, last, heads, null::text as currency, null::numeric as amount from headcount
        union all select month, last, 0, currency, amount from pay join month using (month) where count > 0
    )";

const FIGURES_BY_MONTH: &str = "
    select c.position, null::boolean as everyone, to_char(month, 'YYYY-MM') as month, last, heads, currency, trim_scale(amount)::text as amount
    from checkpoint c left join figures on $3::date is not null order by month, currency";

async fn by_month(reads: &Reads, reader: &Reader, fresh: Fresh, params: &HeadcountParams) -> Result<Answer, Problem> {
    if params.as_of.is_some() {
        return Err(invalid("as_of", "does not go with group_by=month; use from and to"));
    }
    let to = params.to.map_or_else(|| Day::today(&reader.0.tenant).0.first_of_month(), |month| month.0);
    let from = match params.from {
        Some(month) => month.0,
        None => Some(to).and_then(|to| to.checked_sub(11.months()).ok()).filter(|from| from.year() > 0).unwrap_or(to),
    };
    if from > to {
        return Err(invalid("from", "must not be after the last month"));
    }
    let months = (i32::from(to.year()) - i32::from(from.year())) * 12 + i32::from(to.month()) - i32::from(from.month()) + 1;
    if months > 600 {
        return Err(invalid("from", "and to must be at most 600 months apart"));
    }
    let months = if Sight::of(&reader.0).counts_everyone() { EVERYONE_BY_MONTH } else { BY_MONTH };
    let sql = [months, FIGURES_BY_MONTH].concat();
    let as_of = Day(to.last_of_month());
    let query = sqlx::query_as(&sql).bind(Day(from)).bind(Day(to)).bind(as_of);
    let (position, cells) = reads.all(reader, fresh, query).await?;
    Answer::json(position, &by_months(as_of, position, cells))
}
