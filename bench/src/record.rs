//! A proxy before PostgreSQL that notes which statements pass, and a bare server that answers with the same statements: so
//! that a peer runs exactly the SQL of the query API, and nothing else.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use jiff::{ToSpan as _, civil::Date};
use serde::{
    Serialize, Serializer,
    ser::{Error as _, SerializeMap as _},
};
use sqlx::{
    Column as _, Encode, Executor as _, PgPool, Postgres, Row as _, Type, TypeInfo as _,
    encode::IsNull,
    postgres::{PgArgumentBuffer, PgArguments, PgConnectOptions, PgRow, PgTypeInfo, types::Oid},
    query::Query,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
};
use uuid::Uuid;

/// A statement, and its parameters in PostgreSQL's binary format.
#[derive(Debug, Clone)]
pub struct Statement {
    /// The SQL.
    pub sql: String,
    parameters: Vec<Parameter>,
}

#[derive(Debug, Clone)]
struct Parameter {
    kind: u32,
    value: Option<Vec<u8>>,
}

/// What has passed, in order.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<Statement>>>);

impl Recorder {
    /// Listens before this database; how to reach it through there.
    pub async fn start(&self, database: &PgConnectOptions) -> anyhow::Result<PgConnectOptions> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (recorder, server) = (self.clone(), database.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (recorder, server) = (recorder.clone(), server.clone());
                tokio::spawn(async move {
                    // Either side may hang up; the other then notices.
                    let _ = match server.get_socket() {
                        Some(folder) => match UnixStream::connect(folder.join(format!(".s.PGSQL.{}", server.get_port()))).await {
                            Ok(server) => recorder.pass(client, server).await,
                            Err(error) => Err(error.into()),
                        },
                        None => match TcpStream::connect((server.get_host(), server.get_port())).await {
                            Ok(server) => recorder.pass(client, server).await,
                            Err(error) => Err(error.into()),
                        },
                    };
                });
            }
        });
        let name = database.get_database().context("the URL names no database")?;
        let url = format!("postgres://{}@{address}/{name}?sslmode=disable", database.get_username());
        Ok(url.parse()?)
    }

    /// What has passed since the last call.
    pub fn take(&self) -> Vec<Statement> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn pass(self, client: TcpStream, server: impl AsyncRead + AsyncWrite + Send + 'static) -> anyhow::Result<()> {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = tokio::io::split(server);
        let answers = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        // The first message has no kind.
        let hello = message(&mut from_client).await?;
        to_server.write_all(&hello).await?;
        let mut prepared: HashMap<Vec<u8>, (String, Vec<u32>)> = HashMap::new();
        while let Ok(kind) = from_client.read_u8().await {
            let message = message(&mut from_client).await?;
            let mut rest = Reader(&message[4..]);
            match kind {
                b'P' => {
                    let (name, sql) = (rest.text()?.to_vec(), String::from_utf8(rest.text()?.to_vec())?);
                    let kinds = (0..rest.short()?).map(|_| rest.word()).collect::<Result<_, _>>()?;
                    prepared.insert(name, (sql, kinds));
                }
                b'B' => {
                    rest.text()?;
                    let (sql, kinds) = prepared.get(rest.text()?).context("bound what was not prepared")?.clone();
                    for _ in 0..rest.short()? {
                        rest.short()?;
                    }
                    let count = rest.short()?;
                    let parameters = kinds.into_iter().take(count.into()).map(|kind| Ok(Parameter { kind, value: rest.value()? }));
                    let parameters = parameters.collect::<anyhow::Result<_>>()?;
                    self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Statement { sql, parameters });
                }
                _ => {}
            }
            to_server.write_u8(kind).await?;
            to_server.write_all(&message).await?;
        }
        answers.abort();
        Ok(())
    }
}

/// A message with its length, which counts itself.
async fn message(from: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut message = length.to_be_bytes().to_vec();
    message.resize(usize::try_from(length)?.max(4), 0);
    from.read_exact(&mut message[4..]).await?;
    Ok(message)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> anyhow::Result<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count).context("a message is cut off")?;
        self.0 = rest;
        Ok(bytes)
    }
    fn text(&mut self) -> anyhow::Result<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0).context("a text does not end")?;
        let text = self.bytes(end)?;
        self.bytes(1)?;
        Ok(text)
    }
    fn short(&mut self) -> anyhow::Result<u16> {
        Ok(u16::from_be_bytes(self.bytes(2)?.try_into()?))
    }
    fn word(&mut self) -> anyhow::Result<u32> {
        Ok(u32::from_be_bytes(self.bytes(4)?.try_into()?))
    }
    fn value(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        match self.word()? {
            u32::MAX => Ok(None),
            length => Ok(Some(self.bytes(usize::try_from(length)?)?.to_vec())),
        }
    }
}

impl Type<Postgres> for Parameter {
    fn type_info() -> PgTypeInfo {
        <String as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for Parameter {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, sqlx::error::BoxDynError> {
        let Some(value) = &self.value else { return Ok(IsNull::Yes) };
        buffer.extend_from_slice(value);
        Ok(IsNull::No)
    }
    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(self.kind)))
    }
}

/// A server that answers each path and query with its statement's JSON: axum and sqlx, and no more. Given how a transaction
/// begins, it runs each statement in one. Its base URL.
pub async fn serve(
    database: PgConnectOptions,
    schema: &str,
    connections: u32,
    statements: Arc<BTreeMap<String, Statement>>,
    begin: Option<String>,
) -> anyhow::Result<String> {
    // The planner's settings are the API's, and a connection is not asked whether it is alive.
    let database = database.options([("search_path", schema), ("jit", "off")]);
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(connections).test_before_acquire(false).connect_with(database).await?;
    let routes = Router::new().fallback(answer).with_state(Arc::new(Bare { pool, statements, begin }));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let base = format!("http://{}", listener.local_addr()?);
    tokio::spawn(axum::serve(axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true))), routes).into_future());
    Ok(base)
}

struct Bare {
    pool: PgPool,
    statements: Arc<BTreeMap<String, Statement>>,
    begin: Option<String>,
}

async fn answer(State(bare): State<Arc<Bare>>, uri: Uri) -> Response {
    let Some(statement) = bare.statements.get(uri.path_and_query().map_or("", |path| path.as_str())) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut query = sqlx::query(&statement.sql);
    for parameter in &statement.parameters {
        query = query.bind(parameter.clone());
    }
    let rows = match &bare.begin {
        None => query.fetch_all(&bare.pool).await,
        Some(begin) => in_transaction(&bare.pool, begin, query).await,
    };
    match rows.and_then(|rows| json(&rows)) {
        Ok(json) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}

/// Most of the API's statements answer with the whole JSON in a column; of the others each row becomes an object.
fn json(rows: &[PgRow]) -> Result<String, sqlx::Error> {
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    if let Ok(json) = first.try_get::<String, _>("body").or_else(|_| first.try_get::<String, _>("items")) {
        return Ok(json);
    }
    let rows: Vec<_> = rows.iter().map(Object).collect();
    serde_json::to_string(&rows).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// A row as a JSON object.
struct Object<'a>(&'a PgRow);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = self.0;
        let mut object = serializer.serialize_map(Some(row.columns().len()))?;
        for column in row.columns() {
            let (name, at) = (column.name(), column.ordinal());
            match column.type_info().name() {
                "INT2" => object.serialize_entry(name, &row.try_get::<Option<i16>, _>(at).map_err(S::Error::custom)?),
                "INT4" => object.serialize_entry(name, &row.try_get::<Option<i32>, _>(at).map_err(S::Error::custom)?),
                "INT8" => object.serialize_entry(name, &row.try_get::<Option<i64>, _>(at).map_err(S::Error::custom)?),
                "BOOL" => object.serialize_entry(name, &row.try_get::<Option<bool>, _>(at).map_err(S::Error::custom)?),
                "TEXT[]" => object.serialize_entry(name, &row.try_get::<Option<Vec<String>>, _>(at).map_err(S::Error::custom)?),
                "UUID" => object.serialize_entry(name, &row.try_get::<Option<Uuid>, _>(at).map_err(S::Error::custom)?),
                "DATE" => {
                    let days = row.try_get_unchecked::<Option<i32>, _>(at).map_err(S::Error::custom)?;
                    object.serialize_entry(name, &days.map(day))
                }
                _ => object.serialize_entry(name, &row.try_get::<Option<&str>, _>(at).map_err(S::Error::custom)?),
            }?;
        }
        object.end()
    }
}

/// The day that is so many days after PostgreSQL's first.
fn day(days: i32) -> Date {
    Date::constant(2000, 1, 1).saturating_add(days.days())
}

async fn in_transaction(pool: &PgPool, begin: &str, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<PgRow>, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    connection.execute(begin).await?;
    let rows = query.fetch_all(&mut *connection).await;
    connection.execute("rollback").await?;
    rows
}
