//! One query, one round trip, one snapshot: rows and the position they stand at come from a single statement in the
//! tenant's own transaction.

use std::{collections::BTreeSet, sync::Arc};

use axum::response::{IntoResponse, Response};
use events::{Currency, EmployeeId, EventId, EventMark, LogPoint, Position, TenantId, TenantScope};
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use platform::{
    Access, Actor, NotBegun, Problem, Reader, Tenant, TenantClock, TenantPool, TurnTx,
    access::{Departure, Departures},
    auth::Employments,
    cursor_key::CursorKey,
    read_schema,
    today::time_zone,
};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{
    Arguments as _, Execute as _, FromRow, Postgres, Row as _,
    error::BoxDynError,
    postgres::{PgArguments, PgRow},
    query::QueryAs,
};
use store::Store;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    cursor::{Cursor, Listing},
    histories::Histories,
    params::{Day, Fresh},
    progress::Progress,
    restrictions::Restrictions,
    sight::{LEFT, Leaver, Sight, Slots, THERE},
    today::{KnownZones, Todays, UNKNOWN_ZONES, zone_of_person},
};

/// How often a statement runs that was not told of all places of work. Once more is enough, unless another place opens in between.
const ROUNDS: usize = 3;

/// The tenants' read models.
#[derive(Debug, Clone)]
pub struct Reads {
    connections: TenantPool,
    cursors: CursorKey,
    progress: Arc<Progress>,
    histories: Histories,
    zones: KnownZones,
    restrictions: Restrictions,
}

/// A tenant's transaction.
struct Reading {
    tx: TurnTx,
    schema: String,
}

impl Reading {
    /// The statement as one of the tenant's own, which stays planned whomever else the connection serves. For a tenant that rarely
    /// comes it would not be worth keeping.
    fn own(&self, statement: &str) -> String {
        if self.tx.is_well_known() { [statement, "\n-- ", &self.schema].concat() } else { statement.to_owned() }
    }
    /// How far the read model is, and the event there.
    async fn checkpoint(&mut self) -> Result<LogPoint, Problem> {
        let sql = "select position, event_id, recorded_at from checkpoint";
        let (position, id, recorded_at): (i64, Option<Uuid>, Option<i64>) =
            sqlx::query_as(sql).fetch_one(self.tx.conn()).await.map_err(unreadable)?;
        let recorded_at = recorded_at.and_then(|micros| Timestamp::from_microsecond(micros).ok());
        let mark = id.zip(recorded_at).map(|(id, recorded_at)| EventMark { id: EventId::from_uuid(id), recorded_at });
        Ok(LogPoint { position: Position(position.cast_unsigned()), mark })
    }
    /// How far the read model is.
    async fn position(&mut self) -> Result<i64, Problem> {
        let statement = self.own("select position from checkpoint");
        sqlx::query_scalar(&statement).fetch_one(self.tx.conn()).await.map_err(unreadable)
    }
}

/// A row that knows which position of the tenant's log it stands at.
pub trait Positioned: for<'r> FromRow<'r, PgRow> + Send + Unpin {
    /// The checkpoint, read by the same statement as the row; 0 in a row beside the one that has it.
    fn position(&self) -> i64;
}

/// Whether something is there that the reader may see.
#[derive(Debug, FromRow)]
pub(crate) struct Seen {
    position: i64,
    pub(crate) seen: bool,
}
impl Positioned for Seen {
    fn position(&self) -> i64 {
        self.position
    }
}

impl Reads {
    /// On these connections, of read models that are derived from this store; cursors are sealed with this key.
    pub fn new(connections: TenantPool, store: Store, cursors: CursorKey) -> Self {
        Self {
            connections,
            cursors,
            progress: Arc::default(),
            histories: Histories::of(store),
            zones: KnownZones::default(),
            restrictions: Restrictions::default(),
        }
    }

    /// The same read models on a connection of its own: who is looked at again may hold one of the others.
    pub(crate) fn beside(&self) -> Self {
        Self { connections: self.connections.beside(1), progress: Arc::default(), ..self.clone() }
    }

    /// The list that an actor asks for, and the sort key after which its next page starts; see [`Listing::open`].
    pub(crate) fn listing(
        &self,
        actor: &Actor,
        route: &str,
        filters: &[(&str, Option<String>)],
        days: (Option<Day>, Day),
        cursor: Option<&Cursor>,
    ) -> Result<(Listing, Option<Vec<u8>>), Problem> {
        Listing::open(&self.cursors, (actor.scope, &actor.epoch), route, filters, days, cursor)
    }

    /// Runs one statement for a reader once the read model is fresh enough. It sees what the reader may see.
    pub async fn one<R: Positioned>(
        &self,
        reader: &Reader,
        fresh: Fresh,
        query: QueryAs<'_, Postgres, R, PgArguments>,
    ) -> Result<R, Problem> {
        self.one_as(reader, &Sight::of(&reader.0), fresh, query).await
    }

    /// As [`Reads::one`], with another sight than the reader's whole.
    pub(crate) async fn one_as<R: Positioned>(
        &self,
        reader: &Reader,
        sight: &Sight,
        fresh: Fresh,
        query: QueryAs<'_, Postgres, R, PgArguments>,
    ) -> Result<R, Problem> {
        let (_, rows) = self.all_as(reader, sight, fresh, query).await?;
        rows.into_iter().next().ok_or_else(|| Problem::from(sqlx::Error::RowNotFound))
    }

    /// As [`Reads::one`], for a statement of several rows: the position that they stand at, and all of them.
    pub(crate) async fn all<R: Positioned>(
        &self,
        reader: &Reader,
        fresh: Fresh,
        query: QueryAs<'_, Postgres, R, PgArguments>,
    ) -> Result<(i64, Vec<R>), Problem> {
        self.all_as(reader, &Sight::of(&reader.0), fresh, query).await
    }

    /// As [`Reads::all`], with another sight than the reader's whole.
    pub(crate) async fn all_as<R: Positioned>(
        &self,
        reader: &Reader,
        sight: &Sight,
        fresh: Fresh,
        mut query: QueryAs<'_, Postgres, R, PgArguments>,
    ) -> Result<(i64, Vec<R>), Problem> {
        let statement = query.sql().to_owned();
        let arguments = query.take_arguments().map_err(|error| Problem::internal(&error))?.unwrap_or_default();
        let tenant = &reader.0.tenant;
        let schema = read_schema(tenant.id, platform::READ_MODEL_VERSION);
        let mut reading = self.begin_at(reader, &schema, fresh).await?;
        // The turn may have been waited for, too.
        if let Err(problem) = reader.0.after_waiting().await {
            reading.tx.end();
            return Err(problem);
        }
        let rows = if sight.is_whole() {
            sqlx::query_with(&reading.own(&statement), arguments).fetch_all(reading.tx.conn()).await.map_err(unreadable)?
        } else {
            let mut rows = self.restricted(&mut reading, tenant, sight, Leaver::Surely, (&statement, &arguments)).await?;
            if sight.asks_for_leavers() && says(&rows, THERE)? != Some(true) {
                rows = Box::pin(self.restricted(&mut reading, tenant, sight, Leaver::Exactly, (&statement, &arguments))).await?;
                if says(&rows, LEFT)? != Some(false) {
                    reading.tx.end();
                    return Err(reader.0.has_left());
                }
            }
            rows
        };
        reading.tx.end();
        let rows = rows.iter().map(R::from_row).collect::<Result<Vec<_>, _>>()?;
        let position = rows.iter().map(R::position).max().unwrap_or(0);
        // A cut-over since it was looked at may have gone back.
        if position < fresh.position {
            return Err(behind(position, fresh.position));
        }
        Ok((position, rows))
    }

    /// The rows of a statement that shows what may be seen.
    async fn restricted(
        &self,
        reading: &mut Reading,
        tenant: &Tenant,
        sight: &Sight,
        leaver: Leaver,
        (statement, arguments): (&str, &PgArguments),
    ) -> Result<Vec<PgRow>, Problem> {
        let restricted = |reading: &Reading, todays: &Todays| {
            let mut arguments = arguments.clone();
            let made = self.restrictions.restrict(sight, leaver, statement, &mut arguments, tenant.id, todays)?;
            Ok((reading.own(&made.sql), arguments))
        };
        self.rows_of_today(reading, tenant.id, || TenantClock::read(tenant), restricted).await
    }

    /// The rows of a statement that may judge by the day; it runs again where it was not told the day of each of the tenant's places.
    async fn rows_of_today(
        &self,
        reading: &mut Reading,
        tenant: TenantId,
        clock: impl Fn() -> TenantClock,
        statement: impl Fn(&Reading, &Todays) -> Result<(String, PgArguments), BoxDynError>,
    ) -> Result<Vec<PgRow>, Problem> {
        for _ in 0..ROUNDS {
            let todays = self.zones.todays(tenant, &clock());
            let (sql, arguments) = statement(reading, &todays).map_err(|error| Problem::internal(&error))?;
            let rows = sqlx::query_with(&sql, arguments).fetch_all(reading.tx.conn()).await.map_err(unreadable)?;
            let unknown = match rows.first() {
                Some(row) if row.try_column(UNKNOWN_ZONES).is_ok() => row.try_get::<Vec<String>, _>(UNKNOWN_ZONES)?,
                Some(_) | None => Vec::new(),
            };
            if unknown.is_empty() {
                return Ok(rows);
            }
            self.zones.learn(tenant, unknown);
        }
        Err(Problem::unavailable("overloaded", "your organization's locations change while they are read; try again shortly"))
    }

    /// A transaction whose read model is fresh enough.
    async fn begin_at(&self, reader: &Reader, schema: &str, fresh: Fresh) -> Result<Reading, Problem> {
        if !self.histories.is_certain(reader.0.scope.tenant()) {
            Box::pin(self.verify(reader.0.scope, schema)).await?;
        }
        // Where others wait it is not there yet, most likely, and known before long.
        let watched = self.progress.is_watched(reader.0.scope.tenant());
        if fresh.position == 0 || !watched {
            let mut reading = self.begin(reader.0.scope, schema).await?;
            if fresh.position == 0 || reading.position().await? >= fresh.position {
                return Ok(reading);
            }
            reading.tx.end();
        }
        Box::pin(self.wait(reader, schema, fresh, watched)).await?;
        self.begin(reader.0.scope, schema).await
    }

    /// Looks whether the read model is of this store's history.
    async fn verify(&self, scope: TenantScope, schema: &str) -> Result<(), Problem> {
        let mut reading = self.begin(scope, schema).await?;
        let checkpoint = reading.checkpoint().await?;
        reading.tx.end();
        self.histories.verify(scope, checkpoint).await
    }

    /// A transaction, once it is the tenant's turn.
    async fn begin(&self, scope: TenantScope, schema: &str) -> Result<Reading, Problem> {
        let tx = self.connections.begin(scope, schema, Access::Read).await.map_err(|error| match error {
            NotBegun::NoTurn => {
                Problem::unavailable("overloaded", "your organization's reads before this one take too long; try again shortly")
            }
            NotBegun::Database(error) => unreadable(error),
        })?;
        Ok(Reading { tx, schema: schema.to_owned() })
    }

    /// Waits until the read model is fresh enough; looks first where that was not done. Holds no connection, but while it looks.
    async fn wait(&self, reader: &Reader, schema: &str, fresh: Fresh, look_first: bool) -> Result<(), Problem> {
        let deadline = Instant::now() + fresh.wait;
        let look = async || {
            let mut reading = self.begin(reader.0.scope, schema).await?;
            let position = reading.position().await?;
            reading.tx.end();
            Ok::<_, Problem>(position)
        };
        let mut place = None;
        let mut waiting = self.progress.wait(reader.0.scope.tenant());
        // What others saw may be a while ago, and nobody takes a place for what is there.
        if look_first {
            waiting.look(look).await?;
        }
        while waiting.seen() < fresh.position {
            // Who waits no longer sees for themselves, how new anything is that others saw.
            if Instant::now() >= deadline {
                let reached = look().await?;
                return if reached < fresh.position { Err(behind(reached, fresh.position)) } else { Ok(()) };
            }
            if place.is_none() {
                place = Some(reader.0.take_waiting_place()?);
            }
            waiting.pause(deadline).await;
            reader.0.after_waiting().await?;
            waiting.look(look).await?;
        }
        Ok(())
    }
}

impl Employments for Reads {
    /// For who acts for others: their own employment is looked at together with what they read.
    fn departures(
        &self,
        scope: TenantScope,
        clock: TenantClock,
        people: BTreeSet<EmployeeId>,
    ) -> BoxFuture<'_, Result<Departures, Problem>> {
        async move {
            let schema = read_schema(scope.tenant(), platform::READ_MODEL_VERSION);
            let mut reading = self.begin(scope, &schema).await?;
            let ids: Vec<_> = people.iter().map(|id| id.uuid()).collect();
            let statement = |reading: &Reading, todays: &Todays| {
                let mut arguments = PgArguments::default();
                arguments.add(&ids)?;
                let mut slots = Slots::behind(arguments.len());
                let (expressions, unknown) = todays.expressions(&mut slots);
                for bound in slots.bound() {
                    todays.bind(*bound, &mut arguments)?;
                }
                let with = if expressions.is_empty() { String::new() } else { format!("with {} ", expressions.join(", ")) };
                let (there, back) = (todays.is_there("r.id"), todays.back_since("r.id"));
                let zone = zone_of_person("r.id", &todays.of_tenant());
                let sql = format!(
                    "{with}select r.id, not {there} as gone, {back} as back, {zone} as time_zone, {unknown} from unnest($1::uuid[]) as r (id)"
                );
                Ok((reading.own(&sql), arguments))
            };
            let rows = self.rows_of_today(&mut reading, scope.tenant(), || clock.clone(), statement).await?;
            reading.tx.end();
            let mut departures = Departures::new();
            for row in rows {
                let (back, zone): (Option<Day>, Option<String>) = (row.try_get("back")?, row.try_get("time_zone")?);
                let zone = zone.as_deref().and_then(time_zone);
                let back = back.map(|day| Departure::BackSince(clock.start_of(day.0, zone.as_ref())));
                if let Some(departure) = if row.try_get("gone")? { Some(Departure::Left) } else { back } {
                    departures.insert(EmployeeId::from_uuid(row.try_get("id")?), departure);
                }
            }
            Ok(departures)
        }
        .boxed()
    }
    fn at_admission(&self) -> bool {
        false
    }
}

/// What a column beside a statement's rows says.
fn says(rows: &[PgRow], column: &str) -> Result<Option<bool>, sqlx::Error> {
    rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(column)
}

/// 503 `projection_behind`.
pub(crate) fn behind(reached: i64, wanted: i64) -> Problem {
    metrics::counter!("tenure_queries_behind_total").increment(1);
    let lag = wanted - reached;
    Problem::unavailable(
        "projection_behind",
        format!(
            "the read model has reached position {reached}, {lag} behind the position {wanted} that was asked for; try again, or wait longer with Prefer: wait=N"
        ),
    )
}

/// A read model that is not there is a tenant in the making or a cut-over under way, not a breakage.
fn unreadable(error: sqlx::Error) -> Problem {
    // undefined_table, invalid_schema_name, undefined_object (no such role), invalid_parameter_value (SET ROLE)
    if let sqlx::Error::Database(db) = &error
        && db.code().is_some_and(|code| ["42P01", "3F000", "42704", "22023"].contains(&&*code))
    {
        return Problem::unavailable("read_model_not_ready", "the tenant's read model is not ready yet; try again shortly");
    }
    Problem::from(error)
}

/// What a column holds as JSON, which the projector wrote. What this build can't read is a breakage, never the asker's fault.
pub(crate) fn stored<T: DeserializeOwned>(text: Option<&str>) -> Result<T, Problem> {
    serde_json::from_str(text.unwrap_or_default()).map_err(|error| Problem::internal(&error))
}

/// 404 `not_found`: the same bytes for an object that never was and for one of another tenant.
pub(crate) fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such object")
}

/// An amount as people write it in its currency; empty where there is none.
pub(crate) fn amount(number: Option<String>, currency: Option<&str>) -> String {
    let number = number.unwrap_or_default();
    match currency.and_then(|code| code.parse::<Currency>().ok()) {
        Some(currency) => currency.write(&number),
        None => number,
    }
}

/// JSON, the position it stands at, and the stream's version where it is one aggregate's.
#[derive(Debug)]
pub struct Answer {
    pub(crate) position: i64,
    pub(crate) version: Option<i64>,
    pub(crate) json: String,
}

impl Answer {
    /// The answer to a query for a list.
    pub(crate) fn page(as_of: Day, position: i64, items: impl Serialize, next_cursor: Option<String>) -> Result<Self, Problem> {
        #[derive(Serialize)]
        struct Page<T> {
            as_of: Day,
            position: i64,
            items: T,
            next_cursor: Option<String>,
        }
        let page = Page { as_of, position, items, next_cursor };
        Self::json(position, &page)
    }

    /// The answer that a value is.
    pub fn json(position: i64, value: &impl Serialize) -> Result<Self, Problem> {
        Ok(Self { position, version: None, json: serde_json::to_string(value).map_err(|_| broken())? })
    }
}

fn broken() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something broke on our side; the request can be tried again")
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], self.json).into_response();
        response.headers_mut().insert("tenure-position", self.position.into());
        if let Some(etag) = self.version.and_then(|version| HeaderValue::from_str(&format!("\"{version}\"")).ok()) {
            response.headers_mut().insert(header::ETAG, etag);
        }
        response
    }
}
