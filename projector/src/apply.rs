//! The edge of the live projection: load the touched keys' rows, fold, write back what changed, move the checkpoint; all
//! in one transaction under the tenant's own role.
//!
//! What keeps a read model right, whoever sends what how often: the checkpoint row is locked first, so appliers of one
//! tenant wait for each other; an event is folded only right after its predecessor; and a fence older than the last
//! writer's is refused.

use std::collections::{BTreeSet, HashMap};

use events::{Category, EmployeeId, Event, PersonKey, Position, RecordedEvent, TenantScope};
use platform::{Access, Keys, READ_MODEL_VERSION, TenantTx, keys::KeyError, read_schema};
use sqlx::{PgConnection, PgPool};
use store::{Store, StoreError};
use uuid::Uuid;

use crate::{
    employee::{Person, PersonRows},
    fold::{Key, Model, employee_key, key},
    organization::{Department, Job, Location},
    rows::{AssignmentSpan, CompensationSpan, ContactSpan, DepartmentSpan, Employee, Employment, JobSpan, LocationSpan, PersonSpan, Table},
};

/// Events folded in one transaction at most.
pub const BATCH: usize = 500;

/// An event with the position of the one before it in its tenant's log.
#[derive(Debug, Clone)]
pub struct Sequenced {
    /// The position before; zero for the first.
    pub previous: Position,
    /// The event.
    pub event: RecordedEvent,
}

/// Gives a page of a log its previous positions.
pub fn sequence(after: Position, events: Vec<RecordedEvent>) -> Vec<Sequenced> {
    let mut previous = after;
    let sequenced = |event: RecordedEvent| {
        let one = Sequenced { previous, event };
        previous = one.event.position;
        one
    };
    events.into_iter().map(sequenced).collect()
}

/// What an application did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The read model stands here now; everything sent is in it.
    At(Position),
    /// Something between this checkpoint and the events is missing: heal from the store.
    Gap(Position),
}

/// Why nothing was applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A newer owner has written: this one must stop.
    #[error("a projector with fence {theirs} has taken over")]
    Fenced {
        /// The newer fence.
        theirs: i64,
    },
    /// The event can't be projected: the tenant is to be parked.
    #[error("the event at {position} can't be projected: {reason}")]
    Unprojectable {
        /// The event's position.
        position: Position,
        /// Why, without personal data.
        reason: String,
    },
    /// PostgreSQL is away or refused.
    #[error("the read model is unavailable: {0}")]
    Database(#[from] sqlx::Error),
    /// The event store is away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key store is away.
    #[error(transparent)]
    Keys(#[from] KeyError),
}

/// Applies events to tenants' read models. Cheap to clone.
#[derive(Clone)]
pub struct Applier {
    /// PostgreSQL, as the projector's role.
    pub pool: PgPool,
    /// The event store, to heal from.
    pub store: Store,
    /// Opens personal fields.
    pub keys: Keys,
}

impl Applier {
    /// Folds events into the tenant's live read model. `events` are in order and without holes; those that are in the
    /// read model already are skipped.
    pub async fn apply(&self, scope: TenantScope, fence: i64, events: &[Sequenced]) -> Result<Applied, ApplyError> {
        self.apply_to(&read_schema(scope.tenant(), READ_MODEL_VERSION), scope, fence, events).await
    }

    /// The same for a schema that is being built beside the live one.
    pub(crate) async fn apply_to(&self, schema: &str, scope: TenantScope, fence: i64, events: &[Sequenced]) -> Result<Applied, ApplyError> {
        let mut opened = Vec::with_capacity(events.len());
        for one in events {
            // The projector's own look at whose event this is, whatever subject or log it came by.
            if one.event.tenant != scope.tenant() || one.event.stream.tenant() != scope.tenant() {
                return Err(unprojectable(&one.event, "it belongs to another tenant"));
            }
            opened.push(decode(&one.event)?);
        }
        open(&self.keys, scope, events.iter().map(|one| &one.event).zip(&mut opened).collect()).await?;

        let mut tx = TenantTx::begin(&self.pool, scope, schema, Access::Write).await?;
        let (checkpoint, theirs) = lock_checkpoint(tx.conn()).await?;
        if theirs > fence {
            tx.rollback().await?;
            return Err(ApplyError::Fenced { theirs });
        }
        let new: Vec<(&Sequenced, &Event)> = events.iter().zip(&opened).filter(|(one, _)| one.event.position > checkpoint).collect();
        let Some((first, _)) = new.first() else {
            tx.rollback().await?;
            return Ok(Applied::At(checkpoint));
        };
        if first.previous != checkpoint {
            tx.rollback().await?;
            return Ok(Applied::Gap(checkpoint));
        }
        let keys: BTreeSet<Key> = new.iter().filter_map(|(_, event)| key(event)).collect();
        let before = load(tx.conn(), &keys).await?;
        let mut after = before.clone();
        for (one, event) in &new {
            after.fold(&one.event, event).map_err(|e| unprojectable(&one.event, &e.0))?;
        }
        let at = new.last().map_or(checkpoint, |(one, _)| one.event.position);
        write(tx.conn(), &before, &after).await?;
        move_checkpoint(tx.conn(), at, fence).await?;
        tx.commit().await?;
        Ok(Applied::At(at))
    }

    /// Applies what the store has and the read model has not. Returns where it stands then.
    pub async fn catch_up(&self, scope: TenantScope, fence: i64) -> Result<Position, ApplyError> {
        let at = self.checkpoint(scope).await?;
        self.catch_up_in(&read_schema(scope.tenant(), READ_MODEL_VERSION), scope, fence, at).await
    }

    pub(crate) async fn catch_up_in(&self, schema: &str, scope: TenantScope, fence: i64, mut at: Position) -> Result<Position, ApplyError> {
        loop {
            let page = self.store.read_log(scope, at, BATCH).await?;
            let full = page.len() == BATCH;
            if page.is_empty() {
                return Ok(at);
            }
            match self.apply_to(schema, scope, fence, &sequence(at, page)).await? {
                Applied::At(position) if !full => return Ok(position),
                Applied::At(position) | Applied::Gap(position) => at = position,
            }
        }
    }

    /// Where the tenant's live read model stands.
    pub async fn checkpoint(&self, scope: TenantScope) -> Result<Position, ApplyError> {
        let schema = read_schema(scope.tenant(), READ_MODEL_VERSION);
        let mut tx = TenantTx::begin(&self.pool, scope, &schema, Access::Write).await?;
        let at: i64 = sqlx::query_scalar("select position from checkpoint").fetch_one(tx.conn()).await?;
        tx.rollback().await?;
        Ok(Position(at.unsigned_abs()))
    }
}

/// Decodes an event, or says why its tenant must be parked.
pub(crate) fn decode(event: &RecordedEvent) -> Result<Event, ApplyError> {
    Event::decode(event).map_err(|e| unprojectable(event, &e.to_string()))
}

pub(crate) fn unprojectable(event: &RecordedEvent, reason: &str) -> ApplyError {
    ApplyError::Unprojectable { position: event.position, reason: reason.to_owned() }
}

/// Opens the personal fields of events; those of people whose key was destroyed become erased.
pub(crate) async fn open(keys: &Keys, scope: TenantScope, events: Vec<(&RecordedEvent, &mut Event)>) -> Result<(), ApplyError> {
    let sealed: Vec<_> = events.into_iter().filter(|(_, event)| event.has_personal()).collect();
    let people: BTreeSet<EmployeeId> = sealed
        .iter()
        .filter(|(r, _)| r.stream.category() == Category::Employee)
        .map(|(r, _)| EmployeeId::from_uuid(r.stream.id()))
        .collect();
    if people.is_empty() {
        return Ok(());
    }
    let people: Vec<EmployeeId> = people.into_iter().collect();
    let known: HashMap<EmployeeId, PersonKey> = keys.people(scope, &people).await?;
    for (recorded, event) in sealed {
        let key = known.get(&EmployeeId::from_uuid(recorded.stream.id()));
        event.open(recorded.stream, key).map_err(|e| unprojectable(recorded, &e.to_string()))?;
    }
    Ok(())
}

pub(crate) async fn lock_checkpoint(conn: &mut PgConnection) -> Result<(Position, i64), sqlx::Error> {
    let (position, fence): (i64, i64) = sqlx::query_as("select position, fence from checkpoint for update").fetch_one(conn).await?;
    Ok((Position(position.unsigned_abs()), fence))
}

pub(crate) async fn move_checkpoint(conn: &mut PgConnection, at: Position, fence: i64) -> Result<(), sqlx::Error> {
    let at = i64::try_from(at.0).map_err(|e| sqlx::Error::Encode(e.into()))?;
    sqlx::query("update checkpoint set position = $1, fence = $2").bind(at).bind(fence).execute(conn).await?;
    Ok(())
}

/// The touched keys' state, from their rows: one statement per kind of key.
async fn load(conn: &mut PgConnection, keys: &BTreeSet<Key>) -> Result<Model, ApplyError> {
    let (mut departments, mut locations, mut jobs, mut people) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for key in keys {
        match key {
            Key::Department(id) => departments.push(*id),
            Key::Location(id) => locations.push(*id),
            Key::Job(id) => jobs.push(*id),
            Key::Person(id) => people.push(*id),
        }
    }
    let mut model = Model::default();
    if !departments.is_empty() {
        let rows = select::<DepartmentSpan>(conn, &departments).await?;
        model.departments =
            grouped(rows, |row| row.department_id).into_iter().map(|(id, rows)| (id, Department::from_rows(rows))).collect();
    }
    if !locations.is_empty() {
        let rows = select::<LocationSpan>(conn, &locations).await?;
        model.locations = grouped(rows, |row| row.location_id).into_iter().map(|(id, rows)| (id, Location::from_rows(rows))).collect();
    }
    if !jobs.is_empty() {
        let rows = select::<JobSpan>(conn, &jobs).await?;
        model.jobs = grouped(rows, |row| row.job_id).into_iter().map(|(id, rows)| (id, Job::from_rows(rows))).collect();
    }
    if !people.is_empty() {
        model.people = load_people(conn, &people).await?;
    }
    Ok(model)
}

async fn load_people(conn: &mut PgConnection, ids: &[Uuid]) -> Result<HashMap<Uuid, Person>, ApplyError> {
    // One round trip for the six tables: each row comes as its table's number and its JSON.
    let sql = format!(
        "{} union all {} union all {} union all {} union all {} union all {}",
        select_sql::<Employee>(0),
        select_sql::<Employment>(1),
        select_sql::<PersonSpan>(2),
        select_sql::<ContactSpan>(3),
        select_sql::<AssignmentSpan>(4),
        select_sql::<CompensationSpan>(5),
    );
    let rows: Vec<(i32, Uuid, String)> = sqlx::query_as(&sql).bind(ids).fetch_all(conn).await?;
    let mut people: HashMap<Uuid, PersonRows> = HashMap::new();
    for (table, id, json) in rows {
        let person = people.entry(id).or_default();
        match table {
            0 => person.employee.push(parse(&json)?),
            1 => person.employment.push(parse(&json)?),
            2 => person.details.push(parse(&json)?),
            3 => person.contact.push(parse(&json)?),
            4 => person.assignments.push(parse(&json)?),
            _ => person.pay.push(parse(&json)?),
        }
    }
    people
        .into_iter()
        .map(|(id, rows)| Person::from_rows(rows).map(|person| (id, person)).map_err(|e| sqlx::Error::Decode(e.into()).into()))
        .collect()
}

fn select_sql<T: Table>(n: usize) -> String {
    let as_text: Vec<String> = T::AS_TEXT.iter().map(|column| format!("'{column}', t.{column}::text")).collect();
    let json =
        if as_text.is_empty() { "to_jsonb(t)".to_owned() } else { format!("to_jsonb(t) || jsonb_build_object({})", as_text.join(", ")) };
    format!("select {n}, t.{key}, ({json})::text from {table} t where t.{key} = any ($1)", key = T::FOLD_KEY, table = T::NAME)
}

async fn select<T: Table>(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<T>, ApplyError> {
    let rows: Vec<(i32, Uuid, String)> = sqlx::query_as(&select_sql::<T>(0)).bind(ids).fetch_all(conn).await?;
    rows.iter().map(|(.., json)| parse(json)).collect()
}

fn parse<T: Table>(json: &str) -> Result<T, ApplyError> {
    serde_json::from_str(json).map_err(|e| sqlx::Error::Decode(format!("{}: {e}", T::NAME).into()).into())
}

fn grouped<T>(rows: Vec<T>, key: impl Fn(&T) -> Uuid) -> HashMap<Uuid, Vec<T>> {
    let mut groups: HashMap<Uuid, Vec<T>> = HashMap::new();
    for row in rows {
        groups.entry(key(&row)).or_default().push(row);
    }
    groups
}

/// Writes the rows that differ: a statement per table that has any. Spans are never taken away, so there is nothing to
/// delete.
async fn write(conn: &mut PgConnection, before: &Model, after: &Model) -> Result<(), ApplyError> {
    fn changed<S, T: Table>(before: &HashMap<Uuid, S>, after: &HashMap<Uuid, S>, rows: impl Fn(Uuid, &S) -> Vec<T>) -> Vec<T> {
        let of = |(id, state): (&Uuid, &S)| {
            let known = before.get(id).map(|old| rows(*id, old)).unwrap_or_default();
            rows(*id, state).into_iter().filter(move |row| !known.contains(row)).collect::<Vec<_>>()
        };
        after.iter().flat_map(of).collect()
    }
    upsert(conn, changed(&before.departments, &after.departments, |id, state| state.rows(id))).await?;
    upsert(conn, changed(&before.locations, &after.locations, |id, state| state.rows(id))).await?;
    upsert(conn, changed(&before.jobs, &after.jobs, |id, state| state.rows(id))).await?;
    let mut new = PersonRows::default();
    for (id, person) in &after.people {
        let known = before.people.get(id).map(|old| old.rows(*id)).unwrap_or_default();
        let rows = person.rows(*id);
        new.employee.extend(rows.employee.into_iter().filter(|row| !known.employee.contains(row)));
        new.employment.extend(rows.employment.into_iter().filter(|row| !known.employment.contains(row)));
        new.details.extend(rows.details.into_iter().filter(|row| !known.details.contains(row)));
        new.contact.extend(rows.contact.into_iter().filter(|row| !known.contact.contains(row)));
        new.assignments.extend(rows.assignments.into_iter().filter(|row| !known.assignments.contains(row)));
        new.pay.extend(rows.pay.into_iter().filter(|row| !known.pay.contains(row)));
    }
    upsert(conn, new.employee).await?;
    upsert(conn, new.employment).await?;
    upsert(conn, new.details).await?;
    upsert(conn, new.contact).await?;
    upsert(conn, new.assignments).await?;
    upsert(conn, new.pay).await
}

async fn upsert<T: Table>(conn: &mut PgConnection, rows: Vec<T>) -> Result<(), ApplyError> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = T::COLUMNS.join(", ");
    let set: Vec<String> = T::COLUMNS.iter().filter(|c| !T::KEY.contains(c)).map(|c| format!("{c} = excluded.{c}")).collect();
    let sql = format!(
        "insert into {table} ({columns}) select {columns} from jsonb_populate_recordset(null::{table}, $1::jsonb) on conflict ({key}) do update set {set}",
        table = T::NAME,
        key = T::KEY.join(", "),
        set = set.join(", "),
    );
    let json = serde_json::to_string(&rows).map_err(|e| sqlx::Error::Encode(e.into()))?;
    sqlx::query(&sql).bind(json).execute(conn).await?;
    Ok(())
}

/// The person of an event, for sharding a rebuild.
pub(crate) fn shard(event: &Event, shards: usize) -> usize {
    match event {
        Event::Employee(e) => (employee_key(e).as_u128() % shards as u128) as usize,
        Event::Organization(_) | Event::Tenancy(_) => 0,
    }
}
