//! Many commands through `POST /v1/batch`, in order, until every one has its answer.

use std::{io::ErrorKind, time::Duration};

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use tokio_util::{
    codec::{FramedRead, LinesCodec, LinesCodecError},
    io::StreamReader,
};

use crate::api::{Api, refusal};

/// A command, as its line in a batch.
#[derive(Debug, Clone)]
pub struct Line(String);

impl Line {
    /// The command `name` with these fields. `key` makes a retry harmless.
    pub fn new(name: &str, key: &str, data: &Value) -> Self {
        Self(serde_json::json!({ "command": name, "key": key, "data": data }).to_string())
    }
    /// As it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What became of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its events stand in the log now, or it changed nothing.
    Applied,
    /// They stood there before.
    Replayed,
    /// A rule said no.
    Refused(String),
}

#[derive(Deserialize)]
struct Answer {
    status: u16,
    #[serde(default)]
    replayed: bool,
    #[serde(default)]
    error: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    errors: Value,
}

impl Answer {
    /// The line's fate; none if it has to be sent again.
    fn outcome(self) -> Option<Outcome> {
        match self.status {
            200..300 if self.replayed => Some(Outcome::Replayed),
            200..300 => Some(Outcome::Applied),
            429 | 500..600 => None,
            status => {
                let errors = if self.errors.is_null() { String::new() } else { format!(" {}", self.errors) };
                Some(Outcome::Refused(format!("{} ({status}): {}{errors}", self.error, self.detail)))
            }
        }
    }
}

/// Lines in one request.
pub const REQUEST_LINES: usize = 2_000;
/// How long an answer's next part may take to come.
const SILENCE: Duration = Duration::from_mins(1);
/// How often in a row a request may bring no answer at all, with pauses up to [`LONGEST_PAUSE`]: some five minutes.
const PATIENCE: u32 = 40;
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Bytes of one line of an answer at most; far above what there is.
const LONGEST_RESULT: usize = 1 << 20;
const UNEXPECTED: &str = "the batch endpoint answered with something unexpected";

/// Sends lines in order and tells `answered` of each, by its number from 0. What is interrupted goes on at the first line
/// without an answer.
pub async fn send(api: &Api, lines: &[Line], mut answered: impl FnMut(usize, Outcome)) -> anyhow::Result<()> {
    let (mut next, mut failures) = (0, 0);
    while next < lines.len() {
        let until = lines.len().min(next + REQUEST_LINES);
        let before = next;
        let end = request(api, &lines[next..until], |outcome| {
            answered(next, outcome);
            next += 1;
        })
        .await?;
        if next > before {
            failures = 0;
        }
        let Some(Interrupted { reason, retry_after }) = end else { continue };
        tracing::debug!(reason, "a batch was interrupted; going on");
        failures += 1;
        if failures > PATIENCE {
            bail!("the command API does not take commands: {reason}. Run the same command again to go on; nothing is doubled");
        }
        let pause = (Duration::from_millis(100) * 2_u32.pow(failures.min(8))).min(LONGEST_PAUSE);
        tokio::time::sleep(retry_after.unwrap_or(pause).mul_f64(0.5 + 0.5 * fastrand::f64())).await;
    }
    Ok(())
}

/// Why a request ended before its last line was answered.
struct Interrupted {
    reason: String,
    retry_after: Option<Duration>,
}

impl Interrupted {
    fn by(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), retry_after: None }
    }
}

async fn request(api: &Api, lines: &[Line], mut answered: impl FnMut(Outcome)) -> anyhow::Result<Option<Interrupted>> {
    let body = lines.iter().map(Line::as_str).collect::<Vec<_>>().join("\n");
    let sent = api.command("/v1/batch").header("content-type", "application/x-ndjson").body(body).send();
    let response = match tokio::time::timeout(SILENCE, sent).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Ok(Some(Interrupted::by(format!("{:#}", anyhow::Error::from(error))))),
        Err(_) => return Ok(Some(Interrupted::by("no answer in time"))),
    };
    let status = response.status();
    if !status.is_success() {
        let retry_after =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        let reason = refusal(status, &response.bytes().await.unwrap_or_default());
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            return Ok(Some(Interrupted { reason, retry_after }));
        }
        bail!("{reason}");
    }
    let parts = StreamReader::new(response.bytes_stream().map_err(std::io::Error::other));
    let mut results = FramedRead::new(parts, LinesCodec::new_with_max_length(LONGEST_RESULT));
    loop {
        let line = match tokio::time::timeout(SILENCE, results.next()).await {
            Ok(Some(Ok(line))) => line,
            Ok(Some(Err(LinesCodecError::Io(error)))) if error.kind() != ErrorKind::InvalidData => return Ok(Some(Interrupted::by(error))),
            // The line is not UTF-8, or far too long.
            Ok(Some(Err(error))) => return Err(error).context(UNEXPECTED),
            Ok(None) => return Ok(None),
            Err(_) => return Ok(Some(Interrupted::by("no answer in time"))),
        };
        if line.trim().is_empty() {
            continue;
        }
        let answer: Answer = serde_json::from_str(&line).context(UNEXPECTED)?;
        let reason = format!("{} ({}): {}", answer.error, answer.status, answer.detail);
        match answer.outcome() {
            Some(outcome) => answered(outcome),
            // Later lines may depend on this one, so it and all after it are sent again.
            None => return Ok(Some(Interrupted::by(reason))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_again() {
        for (json, expected) in [
            (r#"{"line":1,"status":200,"stream":"s","version":1,"position":1,"events":[],"replayed":false}"#, Some(Outcome::Applied)),
            (r#"{"line":1,"status":201,"replayed":true}"#, Some(Outcome::Replayed)),
            (r#"{"line":1,"status":503,"error":"database_unavailable","detail":"x"}"#, None),
            (r#"{"line":1,"status":429,"error":"rate_limited"}"#, None),
            (r#"{"line":2,"status":422,"error":"e","detail":"d"}"#, Some(Outcome::Refused("e (422): d".into()))),
        ] {
            assert_eq!(serde_json::from_str::<Answer>(json).unwrap().outcome(), expected, "{json}");
        }
    }
}
