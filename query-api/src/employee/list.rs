//! Lists of people with filters, by name, page after page.

use axum::extract::State;
use platform::{Problem, Reader};
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, QueryBuilder};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    EmployeeSummary, Status, nearest,
    part::{FAMILY, GIVEN},
    summary::{shown, summaries},
};
use crate::{
    cursor::{Cursor, NameKey},
    params::{Day, Fresh, IdParam, Limit, invalid, params},
    read::{Answer, Reads},
    today::{last_offer, offered},
};

/// One page of people, by family name, given name and id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EmployeePage {
    /// The day that the answer is about.
    #[schema(format = Date)]
    pub as_of: String,
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// The people.
    pub items: Vec<EmployeeSummary>,
    /// For the next page; null on the last.
    pub next_cursor: Option<String>,
}

/// Words to look for: each must stand in the names, former ones included, in the employee number or in an address at work.
#[derive(Debug, Clone, ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 100)]
pub(crate) struct Words(Vec<String>);

impl std::str::FromStr for Words {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.chars().count() > 100 || text.chars().any(char::is_control) {
            return Err("must be at most 100 characters without control characters");
        }
        let words: Vec<_> = platform::search::fold(text).split_whitespace().map(str::to_owned).collect();
        if words.is_empty() { Err("must hold a word") } else { Ok(Self(words)) }
    }
}

params! {
    /// For a list of people.
    EmployeeListParams {
        /// The day to answer for, past or future; today in the tenant's time zone if absent.
        as_of: Day,
        /// Only those of this department and of the departments below it on that day.
        department: IdParam,
        /// `false`: without the departments below. Only with `department`.
        include_subdepartments: bool,
        /// Only those with this job.
        job: IdParam,
        /// Only those at this location.
        location: IdParam,
        /// Only those who report to this person directly.
        manager: IdParam,
        /// `active` (if absent), `not_yet_hired` or `terminated`; whoever never started is `terminated`.
        status: Status,
        /// Only those in whose names, former names, employee number or address at work each of these words stands, whatever its case
        /// and accents.
        q: Words,
        /// How many rows at most.
        limit: Limit,
        /// `next_cursor` of the page before, with the same parameters.
        cursor: Cursor,
    }
}

/// By [`FAMILY`], [`GIVEN`] and id.
const ORDER: &str =
    "order by coalesce(p.family_name, '') collate \"und-x-icu\", coalesce(p.given_name, '') collate \"und-x-icu\", p.employee_id";

/// Among how many people of a department a page is found as fast by looking each of them up as on the way through the names
/// of everybody, on which one in `people / few` is of it; a step there costs as much as a look-up and a fifth.
const FEW: &str = "select greatest($2 + 1, sqrt(1.2 * ($2 + 1) * case when reltuples < 0 then 10000 else reltuples end))::bigint as people from pg_class where oid = to_regclass('person_span')";

/// The longest page, and one.
const LONGEST: i64 = Limit::MAX + 1;

/// People as of a day, by name.
#[utoipa::path(get, path = "/v1/employees", tag = "employee", params(EmployeeListParams),
    responses((status = 200, description = "The answer", body = EmployeePage, headers(("Tenure-Position" = String)))))]
pub(crate) async fn employees(
    State(reads): State<Reads>,
    reader: Reader,
    params: EmployeeListParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    if params.include_subdepartments.is_some() && params.department.is_none() {
        return Err(invalid("include_subdepartments", "says which people of a department are meant; send department as well"));
    }
    let id = |param: Option<IdParam>| param.map(|id| id.0.to_string());
    let filters = [
        ("department", id(params.department)),
        ("include_subdepartments", params.include_subdepartments.map(|on| on.to_string())),
        ("job", id(params.job)),
        ("location", id(params.location)),
        ("manager", id(params.manager)),
        ("status", params.status.map(|status| status.name().into())),
        ("q", params.q.as_ref().map(|words| words.0.join(" "))),
    ];
    let today = Day::today(&reader.0.tenant);
    let (listing, after) = reads.listing(&reader.0, "/v1/employees", &filters, (params.as_of, today), params.cursor.as_ref())?;
    let limit = params.limit.unwrap_or_default();
    let mut sql = statement(&params, listing.as_of, NameKey::of(after)?.as_ref(), limit.0);
    let (position, parts) = reads.all(&reader, fresh, sql.build_query_as()).await?;
    let (items, more) = summaries(parts, listing.as_of, limit);
    let next = items.last().filter(|_| more).map(|last| {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        let key = NameKey { family: name(&last.family_name), given: name(&last.given_name), id: last.employee_id };
        listing.after(&key.to_bytes())
    });
    Answer::page(listing.as_of, position, items, next)
}

/// Finds the page's people first, and whether more follow, by as few tables as the filters need; then looks up what is shown of
/// them. $1 is the day, $2 the page's length.
fn statement(params: &EmployeeListParams, as_of: Day, after: Option<&NameKey>, limit: i64) -> QueryBuilder<'static, Postgres> {
    let status = params.status.unwrap_or(Status::Active);
    let mut sql = QueryBuilder::new("with recursive day as (select ");
    sql.push_bind(as_of).push(" as day, ").push_bind(limit).push("::bigint as size), ");
    if let (Some(IdParam(department)), true) = (params.department, params.include_subdepartments.unwrap_or(true)) {
        // `union` drops what was already found, so a ring of departments ends.
        sql.push("below (department_id) as (select ").push_bind(department);
        sql.push(
            "::uuid union select s.department_id from below b join department_span s on s.parent_id = b.department_id
              where s.valid_from <= $1 and $1 < s.valid_to), ",
        );
    }
    if let Some(NameKey { family, given, id }) = after {
        sql.push("after as (select ").push_bind(family.clone()).push("::text as family, ").push_bind(given.clone());
        sql.push("::text as given, ").push_bind(*id).push("::uuid as employee_id), ");
    }
    if let (Status::Active, Some(IdParam(department))) = (status, params.department) {
        of_department(&mut sql, params, department, after.is_some());
    } else {
        // A plan that is kept was made for a page of any length, which is taken for a tenth of everybody: too many to be looked up
        // one after the other on the way through the names. Among few that is not the way.
        let any = params.q.is_none() && params.department.is_none() && !is_placed(params);
        sql.push(if any { "found as (select * from (" } else { "found as (" });
        people(&mut sql, params, status, after.is_some());
        sql.push(if any { format!("{ORDER} limit {LONGEST}) longest order by family, given, employee_id ") } else { format!("{ORDER} ") });
        sql.push("limit $2 + 1)");
    }
    sql.push(shown(status));
    sql
}

/// A department's people of a day. The way through the names is long to the few of a small department, so those are looked up
/// and sorted. An assignment lasts no longer than its employment, so it tells alone who is there on that day. Each look-up is
/// by itself (`offset 0`): the plan that is kept was made for any department, and would read whole tables for a small one.
fn of_department(sql: &mut QueryBuilder<'static, Postgres>, params: &EmployeeListParams, department: Uuid, after: bool) {
    let people = |sql: &mut QueryBuilder<'static, Postgres>| {
        if params.include_subdepartments.unwrap_or(true) {
            sql.push("below d ");
        } else {
            sql.push("(select ").push_bind(department).push("::uuid as department_id) d ");
        }
        sql.push("cross join lateral (select a.employee_id from assignment_span a where a.department_id = d.department_id and a.valid_from <= $1 and $1 < a.valid_to ");
        placed(sql, params);
        sql.push("offset 0) a ");
    };
    sql.push(format!(
        "few as materialized ({FEW}), counted as materialized (select count(*) <= (select people from few) as are_few from (select from "
    ));
    people(sql);
    sql.push("limit (select people from few) + 1) a), either as (select * from (");
    let shown = format!("(select p.employee_id, p.given_name, p.family_name, {FAMILY} as family, {GIVEN} as given from ");
    let on_day = "p.valid_from <= $1 and $1 < p.valid_to ";
    sql.push(&shown);
    people(sql);
    sql.push(format!(
        "cross join lateral (select * from person_span p where p.employee_id = a.employee_id and {on_day} offset 0) p
         where (select are_few from counted) "
    ));
    named(sql, params);
    on_page(sql, after);
    sql.push(") union all ").push(&shown);
    sql.push("person_span p cross join lateral (select from assignment_span a where a.employee_id = p.employee_id and a.valid_from <= $1 and $1 < a.valid_to ");
    in_department(sql, params);
    placed(sql, params);
    sql.push(format!("offset 0) a where {on_day} and not (select are_few from counted) "));
    named(sql, params);
    on_page(sql, after);
    sql.push(format!(
        "{ORDER} limit $2 + 1)) two order by family, given, employee_id limit $2 + 1), found as (
            select either.*, e.employee_number, m.employment_id, m.starts_on, m.ends_on, $1 as day
            from either cross join lateral (
                select * from employment m where m.employee_id = either.employee_id and m.starts_on <= $1 and $1 < m.ends_on offset 0
            ) m cross join lateral (select * from employee e where e.employee_id = either.employee_id offset 0) e)"
    ));
}

/// The people of whom a page is made; up to the last of its conditions.
fn people(sql: &mut QueryBuilder<'static, Postgres>, params: &EmployeeListParams, status: Status, after: bool) {
    sql.push(format!(
        "select p.employee_id, p.given_name, p.family_name, e.employee_number, m.employment_id, m.starts_on, m.ends_on,
            {FAMILY} as family, {GIVEN} as given, greatest(least($1, m.ends_on - 1), m.starts_on) as day "
    ));
    match status {
        Status::Active => sql.push(
            "from person_span p join employment m on m.employee_id = p.employee_id and m.starts_on <= $1 and $1 < m.ends_on
                 join employee e on e.employee_id = p.employee_id ",
        ),
        // By the employment that ended last, with no other since; of who never started, by the last that was offered.
        Status::Terminated => sql.push(format!(
            "from person_span p join employment m on m.employee_id = p.employee_id and (m.starts_on < m.ends_on and m.ends_on <= $1 and not exists (
                     select from employment n where n.employee_id = m.employee_id
                         and n.starts_on < n.ends_on and m.starts_on < n.starts_on and n.starts_on <= $1) or {})
                 join employee e on e.employee_id = p.employee_id ",
            last_offer("m"),
        )),
        // By the employment that starts first, under the names known nearest the day.
        Status::NotYetHired => sql.push(format!(
            "from employment m join employee e on e.employee_id = m.employee_id
             join lateral (select * from person_span p where p.employee_id = e.employee_id and {}) p on true ",
            nearest("p", "$1"),
        )),
    };
    if params.department.is_some() || is_placed(params) {
        let or_offered = if status == Status::Terminated { format!("or {}", offered("a", "m")) } else { String::new() };
        sql.push(format!(
            "join assignment_span a on a.employment_id = m.employment_id
               and (a.valid_from <= greatest(least($1, m.ends_on - 1), m.starts_on)
               and greatest(least($1, m.ends_on - 1), m.starts_on) < a.valid_to {or_offered}) "
        ));
    }
    sql.push(match status {
        Status::Active => "where p.valid_from <= $1 and $1 < p.valid_to ",
        // Of who never started, also on days before anything is known of them, by what is known first.
        Status::Terminated => {
            "where (p.valid_from <= $1 and $1 < p.valid_to or m.ends_on <= m.starts_on and $1 < p.valid_from and p.valid_from < p.valid_to
                 and not exists (select from person_span earlier where earlier.employee_id = p.employee_id
                     and earlier.valid_from < p.valid_from and earlier.valid_from < earlier.valid_to)) "
        }
        Status::NotYetHired => {
            "where m.starts_on > $1 and m.starts_on < m.ends_on and not exists (
                 select from employment n where n.employee_id = m.employee_id and n.starts_on < n.ends_on and n.starts_on < m.starts_on) "
        }
    });
    in_department(sql, params);
    placed(sql, params);
    named(sql, params);
    on_page(sql, after);
}

/// Those that come after the page before.
fn on_page(sql: &mut QueryBuilder<'static, Postgres>, after: bool) {
    if after {
        sql.push(format!(
            "and ({FAMILY}, {GIVEN}, p.employee_id) > ((select family from after), (select given from after), (select employee_id from after)) "
        ));
    }
}

fn in_department(sql: &mut QueryBuilder<'static, Postgres>, params: &EmployeeListParams) {
    let Some(IdParam(department)) = params.department else { return };
    if params.include_subdepartments.unwrap_or(true) {
        sql.push("and a.department_id in (select department_id from below) ");
    } else {
        sql.push("and a.department_id = ").push_bind(department).push(" ");
    }
}

fn is_placed(params: &EmployeeListParams) -> bool {
    params.job.is_some() || params.location.is_some() || params.manager.is_some()
}

/// Those in a job, at a location, of a manager.
fn placed(sql: &mut QueryBuilder<'static, Postgres>, params: &EmployeeListParams) {
    for (column, id) in [("a.job_id", params.job), ("a.location_id", params.location), ("a.manager_id", params.manager)] {
        if let Some(IdParam(id)) = id {
            sql.push(format!("and {column} = ")).push_bind(id).push(" ");
        }
    }
    if params.manager.is_some() {
        // Nobody reports to whom the asker may not see.
        sql.push("and exists (select from employee m where m.employee_id = a.manager_id) ");
    }
}

/// Those in whose names or numbers each word stands.
fn named(sql: &mut QueryBuilder<'static, Postgres>, params: &EmployeeListParams) {
    for word in params.q.iter().flat_map(|words| &words.0) {
        let pattern = format!("%{}%", word.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
        sql.push("and p.search like ").push_bind(pattern).push(" ");
        let grams = platform::search::grams(word);
        if !grams.is_empty() {
            sql.push("and p.grams @> ").push_bind(grams).push(" ");
        }
    }
}
