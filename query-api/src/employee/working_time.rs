//! How much and by which schedule a person works, from day to day.

use axum::extract::State;
use events::EmployeeId;
use platform::{
    Problem, Reader,
    access::{Action, FieldClass},
};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    params::{Day, Fresh, Id, NoParams},
    read::{Answer, Positioned, Reads, not_found},
    sight::Sight,
};

/// A person's working time, earliest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkingTime {
    /// The person.
    pub employee_id: Uuid,
    /// The position of the tenant's log that it stands at.
    pub position: i64,
    /// What holds from a day until the next; nothing where it is not the asker's to see.
    pub items: Vec<WorkingTimeItem>,
}

/// What holds from a day until the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkingTimeItem {
    /// From when.
    #[schema(format = Date)]
    pub valid_from: String,
    /// How much of full time, a decimal as text.
    pub fraction: String,
    /// The work schedule.
    pub schedule_id: Uuid,
}

#[derive(FromRow)]
struct Row {
    position: i64,
    employee_id: Option<Uuid>,
    valid_from: Option<Day>,
    fraction: Option<String>,
    schedule_id: Option<Uuid>,
}
impl Positioned for Row {
    fn position(&self) -> i64 {
        self.position
    }
}

/// How much and by which schedule a person works.
#[utoipa::path(get, path = "/v1/employees/{id}/working-time", tag = "employee", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The answer", body = WorkingTime, headers(("Tenure-Position" = String))), (status = 404, description = "`not_found`: there is no such object", body = crate::openapi::ProblemDocument, content_type = "application/problem+json")))]
pub(crate) async fn working_time(
    State(reads): State<Reads>,
    reader: Reader,
    Id(id): Id<EmployeeId>,
    _params: NoParams,
    fresh: Fresh,
) -> Result<Answer, Problem> {
    reader.0.require_any(Action::Read, FieldClass::Absence)?;
    let sql = "select c.position, e.employee_id, w.valid_from, trim_scale(w.fraction)::text as fraction, w.schedule_id
         from checkpoint c left join employee e on e.employee_id = $1 left join working_time w on w.employee_id = $1 order by w.valid_from";
    let sight = Sight::of(&reader.0).facts_of(id.uuid());
    let (position, rows) = reads.all_as::<Row>(&reader, &sight, fresh, sqlx::query_as(sql).bind(id.uuid())).await?;
    if rows.iter().all(|row| row.employee_id.is_none()) {
        return Err(not_found());
    }
    let item = |row: Row| {
        Some(WorkingTimeItem { valid_from: row.valid_from?.to_string(), fraction: row.fraction?, schedule_id: row.schedule_id? })
    };
    Answer::json(position, &WorkingTime { employee_id: id.uuid(), position, items: rows.into_iter().filter_map(item).collect() })
}
