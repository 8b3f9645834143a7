//! One streamed call to the model server: bounded in time and size, metered, and every way in which it
//! can fail told apart.

use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::chat::Outgoing;
use super::dialect::Dialect;
use super::dialect::answer::{Reader, Said, error_message};
use super::meter::Running;
use super::output::Output;
use super::provider::{Secret, Target};
use super::{Budget, ModelError};

/// What is read of an error's body.
const ERROR_BYTES: usize = 64 * 1024;

/// Where and what to ask.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) client: &'a reqwest::Client,
    pub(super) target: &'a Target,
    pub(super) call: Outgoing,
    /// Whether the answer comes in pieces.
    pub(super) stream: bool,
    /// The session's API.
    pub(super) dialect: Dialect,
}

/// The bounds of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) first_byte: Duration,
    pub(super) idle: Duration,
    pub(super) budget: Budget,
}

/// A failure before the first line: what the session is told. The meter knows already.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    /// Whether another model may be asked in this one's place.
    pub(super) may_fall_back: bool,
}

impl Refused {
    /// In the words of the session's API.
    pub(super) fn new(dialect: Dialect, error: &ModelError) -> Self {
        let status = dialect.status(error);
        Self {
            status,
            body: dialect.refusal(status, &error.to_string(), error.code()),
            may_fall_back: error.may_fall_back(),
        }
    }
}

/// A call whose answer is coming. Dropping it closes the connection, which ends the model's work.
#[derive(Debug)]
pub(super) struct Call {
    response: reqwest::Response,
    reader: Reader,
    output: Output,
    /// The session's API, for errors.
    dialect: Dialect,
    /// What the provider must not say to the session.
    key: Option<Secret>,
    running: Running,
    bounds: Bounds,
    over: bool,
}

impl Call {
    /// Sends the request and waits for the first piece, so that a failure until then has a status.
    pub(super) async fn begin(
        ask: Ask<'_>,
        mut running: Running,
        bounds: Bounds,
    ) -> Result<(Self, Bytes), Refused> {
        let dialect = ask.dialect;
        let refuse = |running: &mut Running, error: ModelError| {
            let refused = Refused::new(dialect, &error);
            running.fail(error);
            refused
        };
        let after = bounds.first_byte;
        let wait = (Instant::now() + after, ModelError::FirstByte { after });
        let totals = running.totals();
        let sent = tokio::select! {
            biased;
            sent = send(&ask, wait.0) => sent,
            error = totals.out_of_time(bounds.budget) => Err(Some(error)),
        };
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Err(refuse(&mut running, error.unwrap_or(wait.1))),
        };
        let mut call = Self {
            response,
            reader: Reader::new(ask.call.dialect, ask.stream),
            output: ask.call.output,
            dialect,
            key: ask.target.provider.key().cloned(),
            running,
            bounds,
            over: false,
        };
        match call.piece(wait).await {
            Ok(piece) => Ok((call, piece)),
            Err(error) => Err(refuse(&mut call.running, error)),
        }
    }

    /// The next piece for the session; a failure is a last piece with the error.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        let after = self.bounds.idle;
        let wait = (Instant::now() + after, ModelError::Idle { after });
        Some(match self.piece(wait).await {
            Ok(piece) => piece,
            Err(error) => {
                self.over = true;
                let piece = self.output.failure(self.dialect, &error);
                self.running.fail(error);
                piece
            }
        })
    }

    /// One piece, or why there is none; `wait` is until when, and the error for then.
    async fn piece(&mut self, wait: (Instant, ModelError)) -> Result<Bytes, ModelError> {
        let (mut until, mut late) = (wait.0, Some(wait.1));
        let totals = self.running.totals();
        loop {
            self.running.check(self.bounds.budget)?;
            let mut frame = loop {
                if let Some(frame) = self.reader.next() {
                    break Some(frame);
                }
                let read = tokio::select! {
                    biased;
                    read = timeout_at(until, self.response.chunk()) => read,
                    error = totals.out_of_time(self.bounds.budget) => return Err(error),
                };
                let Ok(read) = read else {
                    return Err(late.take().unwrap_or(ModelError::Cut(None)));
                };
                match read {
                    Err(error) => return Err(ModelError::Cut(Some(error))),
                    Ok(Some(bytes)) => self.reader.push(&bytes)?,
                    Ok(None) => break self.reader.finish()?,
                }
            };
            if let (Some(key), Some(frame)) = (&self.key, &mut frame) {
                frame.cut(key);
            }
            let said = match &frame {
                Some(frame) => self.reader.read(frame)?,
                None => Said::Done,
            };
            self.running.counted(self.reader.counts());
            match said {
                Said::Done => {
                    self.over = true;
                    self.running.done();
                }
                Said::Piece => {
                    self.running.piece();
                    // The answer goes on, also where the session is told only of whole parts.
                    let after = self.bounds.idle;
                    until = Instant::now() + after;
                    late = Some(ModelError::Idle { after });
                }
                Said::Other => {}
            }
            let piece = self.output.encode(frame, self.over)?;
            if self.over || !piece.is_empty() {
                return Ok(piece);
            }
        }
    }
}

/// The response when it is an answer; `Err(None)` when it is late.
async fn send(ask: &Ask<'_>, until: Instant) -> Result<reqwest::Response, Option<ModelError>> {
    let call = &ask.call;
    let request = ask.client.post(&call.url).headers(call.headers.clone());
    let sending = request.json(&call.body).send();
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
    let message = serde_json::from_slice(&text)
        .ok()
        .and_then(|body| error_message(&body))
        .unwrap_or_else(|| format!("status {status}"));
    let message = match ask.target.provider.key() {
        Some(key) => key.cut(&message),
        None => message,
    };
    Err(Some(ModelError::from_status(
        status.as_u16(),
        &message,
        ask.target,
    )))
}
