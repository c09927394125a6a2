//! `POST /v1/batch`: commands as NDJSON in, one result per line out, in order, while more come in.
//!
//! Lines run side by side in a [`Pipeline`], which sees to it that a line waits for those before it that share something with it: a
//! stream, a value that only one may have, a lock. A line that fails does not stop the others.

use std::{borrow::Cow, pin::pin, sync::Arc, time::Duration};

use axum::{
    body::{Body, BodyDataStream},
    extract::{FromRef, FromRequestParts, Request, State},
    response::{IntoResponse as _, Response},
};
use bytes::{Bytes, BytesMut};
use events::{CorrelationId, TenantId};
use execution::{Answer, Executor, Failure, FairSemaphore, IN_FLIGHT, Pipeline, SentCommand, Started};
use futures::{FutureExt as _, StreamExt as _};
use http::{StatusCode, header, request::Parts};
use platform::{
    Actor, Gate, Problem,
    access::{Action, Duty},
    auth::{Share, Shares, check_parameters},
    request::{MAX_BODY, correlation, malformed, require_media_type, too_large},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_util::{
    codec::{AnyDelimiterCodec, Decoder as _},
    sync::CancellationToken,
    task::AbortOnDropHandle,
};
use tracing::Instrument as _;

use crate::request::{IdempotencyKey, Parsed, sent};

/// Bytes of the lines of one batch that wait or run at most.
const ROOM: usize = 16 * MAX_BODY;
/// Batches at most; more are answered 503 `overloaded`.
const BATCHES: usize = 64;
/// Batches of one tenant at most; more are answered 429 `rate_limited`.
const BATCHES_OF_TENANT: usize = 8;
/// Results that wait for a client who sends before it reads: so many pieces of at most so many bytes.
const PIECES: usize = 64;
const PIECE: usize = 32 * 1024;
/// How often the token and the tenant are checked again while lines come in.
const CHECK_AGAIN: Duration = Duration::from_secs(2);

/// What a batch may take.
#[derive(Debug, Clone)]
pub struct BatchLimits {
    /// For one line.
    pub line: Duration,
    /// Without a line from the client, or without it taking anything.
    pub idle: Duration,
    /// Of all batches, in work at once; [`Self::LINES`], but for tests.
    pub lines: usize,
    /// Cancelled when the process is to stop: no more lines are taken then.
    pub stop: CancellationToken,
}

impl BatchLimits {
    /// Lines of all batches that run at most; fewer than the store's queue takes.
    pub const LINES: usize = 2048;
}

/// The batches of this process.
#[derive(Debug, Clone)]
pub(crate) struct Batches {
    limits: BatchLimits,
    places: Arc<Semaphore>,
    of_tenants: Shares<TenantId>,
    lines: FairSemaphore<TenantId>,
}

impl Batches {
    pub(crate) fn new(limits: BatchLimits) -> Self {
        Self {
            places: Arc::new(Semaphore::new(BATCHES)),
            of_tenants: Shares::new(BATCHES_OF_TENANT),
            lines: FairSemaphore::of(limits.lines),
            limits,
        }
    }
    /// A place among all and one among the tenant's, held until both are dropped.
    fn take(&self, tenant: TenantId) -> Result<(OwnedSemaphorePermit, Share<TenantId>), Problem> {
        let share = self.of_tenants.take(tenant).ok_or_else(|| {
            let detail = format!("{BATCHES_OF_TENANT} batches of your organization are in work; wait for one to end");
            let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail);
            problem.retry_after = Some(1);
            problem
        })?;
        let place = self.places.clone().try_acquire_owned();
        let place = place.map_err(|_| Problem::unavailable("overloaded", "too many batches are in work; try again shortly"))?;
        Ok((place, share))
    }
}

/// Someone who may send commands: of their tenant, or as an operator about tenants. Each line is checked for its own.
pub(crate) struct Author(Actor);

impl<S: Send + Sync> FromRequestParts<S> for Author
where
    Gate: FromRef<S>,
{
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let author = Self::of(Gate::from_ref(state).admit(parts).await?)?;
        check_parameters(parts)?;
        Ok(author)
    }
}

impl Author {
    fn of(actor: Actor) -> Result<Self, Problem> {
        let may = actor.grants.any_of(Action::Change) || actor.grants.has(Duty::ManageTenants);
        if may { Ok(Self(actor)) } else { Err(actor.forbidden()) }
    }
    /// Checks again what may have changed since the batch began.
    async fn check_again(&mut self) -> Result<(), Problem> {
        *self = Self::of(self.0.renewed().await?)?;
        Ok(())
    }
}

/// A line of a batch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'l> {
    #[serde(borrow)]
    command: Cow<'l, str>,
    #[serde(borrow, default)]
    key: Option<Cow<'l, str>>,
    #[serde(borrow)]
    data: &'l RawValue,
}

/// A line of a batch, for the contract.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = BatchLine)]
struct LineSchema {
    /// The command's name, such as `HireEmployee`.
    command: String,
    /// The line's idempotency key.
    key: Option<String>,
    /// The command's fields, its target's id among them.
    data: serde_json::Value,
}

/// Execute many commands. Each line of the body is `{"command": "HireEmployee", "key": "…", "data": {…}}`: the name of a
/// schema below, the line's idempotency key, and the command's fields with the id of what it is about.
///
/// One result per line comes back, in order, as soon as it is there:
/// `{"line": 1, "status": 200, "stream": "…", "id": "…", "version": 3, "position": 17, "events": ["…"], "replayed": false}`
/// or `{"line": 2, "status": 422, "error": "…", "detail": "…", "errors": […]}`. A line sees the effects of those before it
/// that touch the same things. A line that fails changes nothing and does not stop the others. Lines have at most 65,536
/// bytes; there is no bound on their number, so read results while you send. A batch that has to end early says so in a
/// last result whose line was not executed; send the rest again.
#[utoipa::path(post, path = "/v1/batch", tag = "batch",
    request_body(content = LineSchema, content_type = "application/x-ndjson"),
    responses(
        (status = 200, description = "One result per line", body = Answer, content_type = "application/x-ndjson"),
        (status = 415, description = "`unsupported_media_type`"),
        (status = 429, description = "`rate_limited`: eight batches of the tenant are in work already, or it sends too much; with `Retry-After`"),
    ))]
pub(crate) async fn execute_batch(
    State(executor): State<Executor>,
    State(batches): State<Batches>,
    author: Author,
    request: Request,
) -> Result<Response, Problem> {
    require_media_type(request.headers(), &["application/x-ndjson", "application/ndjson", "application/jsonl"])?;
    let place = batches.take(author.0.tenant.id)?;
    let (parts, body) = request.into_parts();
    let (pieces, mut out) = mpsc::channel::<Bytes>(PIECES);
    let reader = Reader {
        pipeline: Pipeline::new(executor, batches.lines, ROOM, batches.limits.line),
        author,
        correlation: correlation(&parts),
        limits: batches.limits.clone(),
    };
    let work = async move {
        let (results, done) = mpsc::channel(IN_FLIGHT);
        let mut write = pin!(write(done, pieces, batches.limits.idle));
        tokio::select! {
            () = &mut write => {} // the client is gone; dropping what is read drops what is in work
            () = reader.read(body.into_data_stream(), results) => write.await,
        }
        drop(place);
    };
    tokio::spawn(work.in_current_span());
    let stream = futures::stream::poll_fn(move |context| out.poll_recv(context)).map(Ok::<_, std::convert::Infallible>);
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(stream)).into_response())
}

type Outcome = Result<Answer, Failure>;
/// A line's number, and what it comes to.
type Pending = (u64, Started);

/// The half that reads lines and starts them.
struct Reader {
    pipeline: Pipeline,
    author: Author,
    correlation: CorrelationId,
    limits: BatchLimits,
}

impl Reader {
    async fn read(mut self, mut body: BodyDataStream, results: mpsc::Sender<Pending>) {
        let mut lines = Lines::default();
        let mut number = 0;
        let (mut checked, mut heard) = (Instant::now(), Instant::now());
        let end = loop {
            while let Some(line) = lines.next() {
                if line.as_ref().is_ok_and(|line| line.iter().all(u8::is_ascii_whitespace)) {
                    continue;
                }
                if checked.elapsed() > CHECK_AGAIN {
                    if let Err(problem) = self.author.check_again().await {
                        return finish(&results, number + 1, problem).await;
                    }
                    checked = Instant::now();
                }
                number += 1;
                let handle = self.start(line).await;
                if results.send((number, handle)).await.is_err() {
                    return;
                }
                heard = Instant::now();
            }
            if lines.ended {
                return;
            }
            let chunk = tokio::select! {
                chunk = timeout_at(heard + self.limits.idle, body.next()) => chunk,
                () = sleep_until(checked + CHECK_AGAIN) => {
                    if let Err(problem) = self.author.check_again().await {
                        break problem;
                    }
                    checked = Instant::now();
                    continue;
                }
                () = self.limits.stop.cancelled() => break Problem::unavailable("stopping", "the service is being restarted; send the rest again"),
            };
            match chunk {
                Ok(Some(Ok(chunk))) => lines.feed(&chunk),
                Ok(Some(Err(_))) => return, // the connection broke
                Ok(None) => lines.end(),
                Err(_) => break Problem::unavailable("timeout", "nothing came for too long; send the rest again"),
            }
        };
        finish(&results, number + 1, end).await;
    }

    /// Starts a line once the batch has room for it.
    async fn start(&mut self, line: Result<Bytes, Problem>) -> Started {
        match line.and_then(|line| Ok((self.command(&line)?, line.len()))) {
            Ok((sent, bytes)) => self.pipeline.start(sent, bytes).await,
            Err(problem) => ended(problem),
        }
    }

    fn command(&self, line: &[u8]) -> Result<SentCommand, Problem> {
        let line: Line<'_> = serde_json::from_slice(line).map_err(|error| {
            if error.is_data() {
                let detail = "a line must be {\"command\": \"…\", \"key\": \"…\", \"data\": {…}} and nothing else; key may be left out";
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_line", detail)
            } else {
                malformed(&error)
            }
        })?;
        let parsed = Parsed::new(&line.command, line.data)?;
        let key = line.key.as_deref().map(str::parse::<IdempotencyKey>).transpose()?;
        Ok(sent(self.author.0.clone(), parsed, key.as_ref(), None, self.correlation))
    }
}

/// Of a line that is not executed.
fn ended(problem: Problem) -> Started {
    AbortOnDropHandle::new(tokio::spawn(async { Err(problem.into()) }))
}

/// A last result, for the first line that was not executed.
async fn finish(results: &mpsc::Sender<Pending>, number: u64, problem: Problem) {
    let _ = results.send((number, ended(problem))).await;
}

/// The half that writes results, in order, what is there at once in one piece.
async fn write(mut results: mpsc::Receiver<Pending>, pieces: mpsc::Sender<Bytes>, idle: Duration) {
    let mut next: Option<Pending> = None;
    loop {
        let first = match next.take() {
            Some(pending) => Some(pending),
            None => results.recv().await,
        };
        let Some((number, handle)) = first else { return };
        let outcome = tokio::select! {
            outcome = handle => outcome,
            () = pieces.closed() => return,
        };
        let mut piece = BytesMut::new();
        put(&mut piece, number, outcome);
        while piece.len() < PIECE
            && let Ok((number, mut handle)) = results.try_recv()
        {
            let Some(outcome) = (&mut handle).now_or_never() else {
                next = Some((number, handle));
                break;
            };
            put(&mut piece, number, outcome);
        }
        if timeout(idle, pieces.send(piece.freeze())).await.is_ok_and(|sent| sent.is_ok()) {
            continue;
        }
        return;
    }
}

fn put(piece: &mut BytesMut, line: u64, outcome: Result<Outcome, tokio::task::JoinError>) {
    let outcome = outcome.unwrap_or_else(|error| Err(Problem::internal(&error).into()));
    let text = match &outcome {
        Ok(answer) => serde_json::to_string(&Done { line, status: 200, answer }).unwrap_or_default(),
        Err(failure) => {
            let document = failure.document();
            let mut result = serde_json::json!({ "line": line, "status": failure.status().as_u16() });
            for field in ["error", "detail", "errors"] {
                if let Some(value) = document.get(field) {
                    result[field] = value.clone();
                }
            }
            result.to_string()
        }
    };
    piece.extend_from_slice(text.as_bytes());
    piece.extend_from_slice(b"\n");
}

#[derive(Serialize)]
struct Done<'a> {
    line: u64,
    status: u16,
    #[serde(flatten)]
    answer: &'a Answer,
}

/// Cuts a body into lines. One that is too long is an error in its place, and is not kept in memory.
#[derive(Debug)]
struct Lines {
    buffer: BytesMut,
    codec: AnyDelimiterCodec,
    ended: bool,
}

impl Default for Lines {
    fn default() -> Self {
        let codec = AnyDelimiterCodec::new_with_max_length(b"\n".to_vec(), b"\n".to_vec(), MAX_BODY);
        Self { buffer: BytesMut::new(), codec, ended: false }
    }
}

impl Lines {
    fn feed(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }
    /// The last line may lack its line break.
    const fn end(&mut self) {
        self.ended = true;
    }
    fn next(&mut self) -> Option<Result<Bytes, Problem>> {
        let line = if self.ended { self.codec.decode_eof(&mut self.buffer) } else { self.codec.decode(&mut self.buffer) };
        // The codec fails only for a line that is too long.
        line.map_err(|_| too_large("the line")).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the text in pieces of each size; the lines must come out the same.
    fn cut(text: &str, expected: &[Option<&str>]) {
        for size in [1, 2, 3, 7, 100_000] {
            let mut lines = Lines::default();
            let mut out = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                lines.feed(piece);
                out.extend(std::iter::from_fn(|| lines.next()));
                assert!(lines.buffer.len() <= MAX_BODY + size, "a line that is too long is not kept");
            }
            lines.end();
            out.extend(std::iter::from_fn(|| lines.next()));
            let out: Vec<_> = out.iter().map(|l| l.as_ref().ok().map(|l| std::str::from_utf8(l).unwrap().trim_end())).collect();
            assert_eq!(out, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_body_is_cut_into_lines_wherever_its_pieces_end() {
        cut("", &[]);
        cut("a", &[Some("a")]);
        cut("a\r\nbc\n\nd", &[Some("a"), Some("bc"), Some(""), Some("d")]);
        let longest = "x".repeat(MAX_BODY);
        cut(&format!("{longest}\nb\n"), &[Some(&longest), Some("b")]);
        cut(&format!("{longest}x\nb\n"), &[None, Some("b")]);
        cut(&format!("a\n{longest}{longest}xyz"), &[Some("a"), None]);
    }
}
