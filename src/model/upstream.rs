//! One streamed call to the model server: bounded in time and size, metered, and every way in which it
//! can fail told apart.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::meter::{Counts, Running, Totals};
use super::{Budget, ModelError};
use crate::ndjson::Lines;

/// A line of an answer; an answer without streaming is one line.
const LINE_BYTES: usize = 16 * 1024 * 1024;
/// What is read of an error's body.
const ERROR_BYTES: usize = 64 * 1024;

/// Where and what to ask.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) client: &'a reqwest::Client,
    pub(super) url: String,
    pub(super) model: &'a str,
    pub(super) body: Value,
}

/// The bounds of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) first_byte: Duration,
    pub(super) idle: Duration,
    /// When the session's time is used up.
    pub(super) deadline: Option<Instant>,
    pub(super) budget: Budget,
}

/// A failure before the first line: what the session is told. The meter knows already.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

/// A call whose answer is coming. Dropping it closes the connection, which ends the model's work.
#[derive(Debug)]
pub(super) struct Call {
    response: reqwest::Response,
    lines: Lines,
    running: Running,
    totals: Arc<Totals>,
    bounds: Bounds,
    over: bool,
}

/// What the gateway looks at in a line; the line itself is passed on as it is.
#[derive(Deserialize)]
struct Chunk {
    error: Option<String>,
    #[serde(default)]
    done: bool,
    // Not flattened: that would buffer every line's whole content.
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
    load_duration: Option<u64>,
}

impl Call {
    /// Sends the request and waits for the first line, so that a failure until then has a status.
    pub(super) async fn begin(
        ask: Ask<'_>,
        mut running: Running,
        totals: Arc<Totals>,
        bounds: Bounds,
    ) -> Result<(Self, Bytes), Refused> {
        let refuse = |running: &mut Running, error: ModelError| {
            let refused = Refused {
                status: error.status(),
                body: error.to_json(),
            };
            running.fail(error);
            refused
        };
        let wait = bounds.wait(bounds.first_byte, |after| ModelError::FirstByte { after });
        let response = match send(&ask, wait.0).await {
            Ok(response) => response,
            Err(error) => return Err(refuse(&mut running, error.unwrap_or(wait.1))),
        };
        let lines = Lines::new(LINE_BYTES);
        let mut call = Self {
            response,
            lines,
            running,
            totals,
            bounds,
            over: false,
        };
        match call.line(wait).await {
            Ok(line) => Ok((call, line)),
            Err(error) => Err(refuse(&mut call.running, error)),
        }
    }

    /// The next line for the session, with its newline; a failure is a last line with the error.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let wait = self
            .bounds
            .wait(self.bounds.idle, |after| ModelError::Idle { after });
        Some(match self.line(wait).await {
            Ok(line) => line,
            Err(error) => {
                self.over = true;
                let line = format!("{}\n", error.to_json());
                self.running.fail(error);
                line.into()
            }
        })
    }

    /// One line, or why there is none; `wait` is until when, and the error for then.
    async fn line(&mut self, wait: (Instant, ModelError)) -> Result<Bytes, ModelError> {
        self.totals.check_tokens(self.bounds.budget)?;
        let (until, late) = wait;
        let mut line = loop {
            if let Some(line) = self.lines.next_line() {
                break line;
            }
            let Ok(read) = timeout_at(until, self.response.chunk()).await else {
                return Err(late);
            };
            match read {
                Err(error) => return Err(ModelError::Cut(Some(error))),
                Ok(Some(bytes)) => self.lines.push(&bytes).map_err(|_| ModelError::Malformed)?,
                Ok(None) => match self.lines.finish() {
                    // The last line needs no newline, but what is no whole JSON was cut off.
                    Some(rest) if serde_json::from_slice::<Chunk>(&rest).is_ok() => break rest,
                    _ => return Err(ModelError::Cut(None)),
                },
            }
        };
        let chunk: Chunk = serde_json::from_slice(&line).map_err(|_| ModelError::Malformed)?;
        if let Some(message) = chunk.error {
            return Err(ModelError::in_stream(&message));
        }
        if chunk.done {
            self.over = true;
            self.running.done(Counts {
                prompt_eval_count: chunk.prompt_eval_count,
                eval_count: chunk.eval_count,
                load_duration: chunk.load_duration,
            });
        } else {
            self.running.piece();
        }
        line.push(b'\n');
        Ok(line.into())
    }
}

impl Bounds {
    /// The earlier of `after` from now and the session's deadline, and the error that it is then.
    fn wait(
        &self,
        after: Duration,
        late: impl FnOnce(Duration) -> ModelError,
    ) -> (Instant, ModelError) {
        let until = Instant::now() + after;
        match self.deadline {
            Some(deadline) if deadline < until => {
                let limit = self.budget.seconds.unwrap_or_default();
                (deadline, ModelError::Seconds { limit })
            }
            _ => (until, late(after)),
        }
    }
}

/// The response when it is an answer; `Err(None)` when it is late.
async fn send(ask: &Ask<'_>, until: Instant) -> Result<reqwest::Response, Option<ModelError>> {
    let sending = ask.client.post(&ask.url).json(&ask.body).send();
    let mut response = match timeout_at(until, sending).await {
        Err(_) => return Err(None),
        Ok(Err(error)) if error.is_connect() => return Err(Some(ModelError::Unreachable(error))),
        Ok(Err(error)) => return Err(Some(ModelError::Cut(Some(error)))),
        Ok(Ok(response)) => response,
    };
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response);
    }
    let mut text = Vec::new();
    while text.len() < ERROR_BYTES
        && let Ok(Ok(Some(part))) = timeout_at(until, response.chunk()).await
    {
        text.extend_from_slice(&part);
    }
    let message = match serde_json::from_slice::<Chunk>(&text) {
        Ok(Chunk {
            error: Some(message),
            ..
        }) => message,
        _ => format!("status {status}"),
    };
    Err(Some(ModelError::from_status(
        status.as_u16(),
        &message,
        ask.model,
    )))
}
