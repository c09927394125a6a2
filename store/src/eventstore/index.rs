//! The index by tenant of EventStoreDB's `$all`, in PostgreSQL. The relay writes it; it is complete up to a place that it names.

use std::time::Duration;

use events::{Category, EventId, EventMark, LogPoint, Position, StreamName, TenantId};
use jiff::Timestamp;
use sqlx::PgPool;
use uuid::Uuid;

use super::{
    client::unavailable,
    tail::{Entry, EntryStream, Progress},
};
use crate::{
    StoreError, TenantHead,
    postgres::{beside, foreign, mark, options_of, pool_options},
};

/// How long one statement may take, and its answer.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(7);
/// Logs that one statement counts: for each row PostgreSQL looks through the list of those that it may see.
const COUNTED: usize = 500;

/// The index.
#[derive(Debug, Clone)]
pub(super) struct LogIndex(PgPool);

type ProgressRow = (i64, i64, i64, Option<Uuid>, Option<i64>, i64, Option<Uuid>, Option<i64>);

const PROGRESS: &str = "select generation, position, ordinal, record_id, recorded_at, event_position, event_id, event_recorded_at
    from event_store.log_progress";

/// The position, `n`, event and its time at the end of a log.
type HeadRow = (Uuid, i64, i64, Option<Uuid>, Option<i64>);

impl LogIndex {
    /// In a database that was brought up to date before. Connections are made when they are needed.
    pub(super) fn open(url: &str, connections: u32) -> Result<Self, StoreError> {
        let options = options_of(url)?.options([
            ("statement_timeout", STATEMENT_TIMEOUT.as_millis().to_string()),
            ("jit", "off".into()),
            // By the primary key, whatever the statistics say.
            ("enable_seqscan", "off".into()),
            ("application_name", "tenure-log-index".into()),
        ]);
        Ok(Self(pool_options(connections.max(2)).connect_lazy_with(options)))
    }

    pub(super) const fn pool(&self) -> &PgPool {
        &self.0
    }

    /// Up to where the index is complete; nothing where there is none.
    pub(super) async fn progress(&self) -> Result<Option<Progress>, StoreError> {
        progress(&self.0).await
    }

    /// Entries of a log from a position on, up to one that the index has.
    pub(super) async fn entries(
        &self,
        tenant: TenantId,
        generation: i64,
        from: Position,
        until: Position,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let sql = "select position, revision, ordinal, category, stream_id, tenant_id from event_store.read_log_index($1, $2, $3, $4, $5)";
        let query = sqlx::query_as(sql).bind(tenant.uuid()).bind(generation).bind(from.0.cast_signed()).bind(until.0.cast_signed());
        let rows: Vec<(i64, i64, i64, String, Option<Uuid>, Uuid)> =
            within(query.bind(i64::try_from(limit).unwrap_or(i64::MAX)).fetch_all(&self.0)).await?;
        let entry = |(position, revision, ordinal, category, id, whose): (i64, i64, i64, String, Option<Uuid>, Uuid)| {
            if whose != tenant.uuid() {
                return Err(foreign());
            }
            let (position, revision, ordinal) = (Position(position.cast_unsigned()), revision.cast_unsigned(), ordinal.cast_unsigned());
            Ok(Entry { position, stream: stream_of(tenant, category, id), revision, ordinal })
        };
        rows.into_iter().map(entry).collect()
    }

    /// How many events each of these logs has up to a position; none of the positions lies beyond `index`.
    pub(super) async fn counts(&self, index: Progress, logs: &[(TenantId, Position)]) -> Result<Vec<u64>, StoreError> {
        let mut counts = Vec::with_capacity(logs.len());
        for chunk in logs.chunks(COUNTED) {
            let (tenants, positions): (Vec<Uuid>, Vec<i64>) =
                chunk.iter().map(|(tenant, position)| (tenant.uuid(), position.0.cast_signed())).unzip();
            let query = sqlx::query_scalar("select event_store.count_log($1, $2, $3, $4)").bind(tenants).bind(positions);
            let query = query.bind(index.generation).bind(index.record.position.0.cast_signed());
            let counted: Vec<i64> = within(query.fetch_one(&self.0)).await?;
            counts.extend(counted.into_iter().map(i64::cast_unsigned));
        }
        Ok(counts)
    }

    /// The end of a log.
    pub(super) async fn head(&self, tenant: TenantId, generation: i64) -> Result<Position, StoreError> {
        let sql = "select p.generation, h.position from event_store.log_progress p left join event_store.log_head h on h.tenant_id = $1";
        let row: Option<(i64, Option<i64>)> = within(sqlx::query_as(sql).bind(tenant.uuid()).fetch_optional(&self.0)).await?;
        match row {
            Some((current, head)) if current == generation => Ok(Position(head.unwrap_or_default().cast_unsigned())),
            None if generation == 0 => Ok(Position::ZERO),
            Some(_) | None => Err(begun_anew()),
        }
    }

    /// The ends of all logs, as far as they are indexed.
    pub(super) async fn heads(&self, generation: i64) -> Result<Vec<TenantHead>, StoreError> {
        heads(&self.0, generation).await
    }
}

fn stream_of(tenant: TenantId, category: String, id: Option<Uuid>) -> EntryStream {
    match (category.parse::<Category>(), id) {
        (Ok(category), Some(id)) => EntryStream::Known(StreamName::from_parts(tenant, category, id)),
        (Err(_), Some(id)) => EntryStream::Unknown(format!("{category}-{id}").into()),
        (_, None) => EntryStream::Unknown(category.into()),
    }
}

async fn progress(pool: &PgPool) -> Result<Option<Progress>, StoreError> {
    let row: Option<ProgressRow> = within(sqlx::query_as(PROGRESS).fetch_optional(pool)).await?;
    Ok(row.map(|(generation, position, ordinal, record, at, event_position, event, event_at)| {
        let point = |position: i64, id, at| LogPoint { position: Position(position.cast_unsigned()), mark: mark(id, at) };
        let (record, event) = (point(position, record, at), point(event_position, event, event_at));
        Progress { generation, record, ordinal: ordinal.cast_unsigned(), event }
    }))
}

async fn heads(pool: &PgPool, generation: i64) -> Result<Vec<TenantHead>, StoreError> {
    // In one statement, so that heads of an index that is begun anew pass for nobody's.
    let sql = "select h.tenant_id, h.position, h.n, h.event_id, h.recorded_at from event_store.log_head h
               where exists (select from event_store.log_progress p where p.generation = $1)
               union all select '00000000-0000-0000-0000-000000000000', -1, p.generation, null, null from event_store.log_progress p";
    let rows: Vec<HeadRow> = within(sqlx::query_as(sql).bind(generation).fetch_all(pool)).await?;
    let mut heads = Vec::with_capacity(rows.len());
    let mut current = None;
    for (tenant, position, n, id, at) in rows {
        if position < 0 {
            current = Some(n);
            continue;
        }
        let (tenant, position) = (TenantId::from_uuid(tenant), Position(position.cast_unsigned()));
        heads.push(TenantHead { tenant, position, mark: mark(id, at), events: n.cast_unsigned() });
    }
    match current {
        Some(current) if current == generation => Ok(heads),
        None if generation == 0 => Ok(heads),
        Some(_) | None => Err(begun_anew()),
    }
}

fn begun_anew() -> StoreError {
    unavailable("the index of its logs was begun anew")
}

async fn within<T>(statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    let answer = tokio::time::timeout(PATIENCE, statement).await;
    let answer = answer.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
    answer.map_err(|error| beside("where events stand in EventStoreDB", &error))
}

/// An event of a tenant, as the index takes it.
#[derive(Debug, Clone)]
pub(crate) struct Indexed {
    pub(crate) tenant: TenantId,
    /// Its place in the tenant's log: 1, 2, 3, …
    pub(crate) n: u64,
    pub(crate) entry: Entry,
}

/// The right to write the index: the relay's lease.
#[derive(Debug, Clone)]
pub(crate) struct IndexWriter {
    pub(crate) pool: PgPool,
    pub(crate) owner: String,
    pub(crate) epoch: i64,
}

impl IndexWriter {
    /// Where the index ends, and its heads. None where it is lost.
    pub(crate) async fn load(&self) -> Result<Option<(Progress, Vec<TenantHead>)>, StoreError> {
        let Some(progress) = progress(&self.pool).await? else { return Ok(None) };
        Ok(Some((progress, heads(&self.pool, progress.generation).await?)))
    }

    /// Takes what was looked at after `from` into the index, in one transaction. False if another relay holds the lease.
    pub(crate) async fn write(&self, from: Progress, to: Progress, entries: &[Indexed], heads: &[TenantHead]) -> Result<bool, StoreError> {
        let id = |point: LogPoint| point.mark.map(|mark| mark.id.uuid());
        let at = |point: LogPoint| point.mark.map(|mark| mark.recorded_at.as_microsecond());
        let positions = |positions: Vec<u64>| positions.into_iter().map(u64::cast_signed).collect::<Vec<i64>>();
        let category = |entry: &Entry| match &entry.stream {
            EntryStream::Known(stream) => stream.category().name().to_owned(),
            EntryStream::Unknown(name) => name.to_string(),
        };
        let stream = |entry: &Entry| match &entry.stream {
            EntryStream::Known(stream) => Some(stream.id()),
            EntryStream::Unknown(_) => None,
        };
        let sql = "select event_store.index_log($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23)";
        let query = sqlx::query_scalar(sql)
            .bind(&self.owner)
            .bind(self.epoch)
            .bind(from.generation)
            .bind(from.record.position.0.cast_signed())
            .bind(to.record.position.0.cast_signed())
            .bind(to.ordinal.cast_signed())
            .bind(id(to.record))
            .bind(at(to.record))
            .bind(to.event.position.0.cast_signed())
            .bind(id(to.event))
            .bind(at(to.event))
            .bind(entries.iter().map(|one| one.tenant.uuid()).collect::<Vec<_>>())
            .bind(entries.iter().map(|one| stream(&one.entry)).collect::<Vec<_>>())
            .bind(positions(entries.iter().map(|one| one.entry.position.0).collect()))
            .bind(positions(entries.iter().map(|one| one.n).collect()))
            .bind(positions(entries.iter().map(|one| one.entry.revision).collect()))
            .bind(positions(entries.iter().map(|one| one.entry.ordinal).collect()))
            .bind(entries.iter().map(|one| category(&one.entry)).collect::<Vec<_>>())
            .bind(heads.iter().map(|head| head.tenant.uuid()).collect::<Vec<_>>())
            .bind(positions(heads.iter().map(|head| head.position.0).collect()))
            .bind(positions(heads.iter().map(|head| head.events).collect()))
            .bind(heads.iter().map(|head| id(head.point())).collect::<Vec<_>>())
            .bind(heads.iter().map(|head| at(head.point())).collect::<Vec<_>>());
        within(query.fetch_one(&self.pool)).await
    }

    /// Begins the index anew. Where it then stands; none if another relay holds the lease.
    pub(crate) async fn begin(&self) -> Result<Option<Progress>, StoreError> {
        let query = sqlx::query_scalar("select event_store.begin_log_index($1, $2)").bind(&self.owner).bind(self.epoch);
        let generation: Option<i64> = within(query.fetch_one(&self.pool)).await?;
        Ok(generation.map(|generation| Progress { generation, ..Progress::default() }))
    }
}

/// Names a record of `$all`, whoever wrote it.
pub(super) fn record_mark(raw: &eventstore::RecordedEvent, created: Option<Timestamp>) -> EventMark {
    EventMark { id: EventId::from_uuid(raw.id), recorded_at: created.unwrap_or(Timestamp::UNIX_EPOCH) }
}
