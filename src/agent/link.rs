//! The two tasks under a [`Peer`](super::acp::Peer): one reads the agent's lines, one writes ours.
//!
//! Invariants: a line is in the journal before it has any effect; what waits for a slow reader of
//! claims, or for an agent that does not read, is bounded; when the agent ends, every pending request
//! gets the reason.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::acp::{Closed, Error, Limits, PermissionPolicy, SessionId};
use super::claims::{self, Claim, Permission};
use super::journal::{Direction, Journal};
use super::jsonrpc::{self, Incoming, METHOD_NOT_FOUND, RpcError};
use super::permission::{Request, Stance};
use crate::ndjson::Lines;

/// Lines that wait to be written; an agent that does not read stops being read.
const OUTGOING: usize = 64;
/// A claim from a line over this size waits until the channel is empty, so that a backlog of many
/// claims is never a backlog of many megabytes.
const LARGE: usize = 32 * 1024;
/// Requests for permission that wait for their answers at once; more are answered immediately.
const PERMISSIONS: usize = 16;

#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    outgoing: mpsc::Sender<Vec<u8>>,
    _reader: AbortOnDropHandle<()>,
    _writer: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The conversation is over; the reason is in the state.
    closed: CancellationToken,
    /// Our side closes the agent's input.
    ending: CancellationToken,
    /// How requests for permission are answered.
    stance: watch::Sender<Stance>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<Value, RpcError>>>,
    reason: Option<Closed>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first reason stays. Dropping the senders wakes every pending request.
    fn close(&self, reason: Closed) {
        let mut state = self.state();
        state.reason.get_or_insert(reason);
        state.waiting.clear();
        drop(state);
        self.closed.cancel();
    }

    fn reason(&self) -> Closed {
        self.state().reason.clone().unwrap_or(Closed::Ended)
    }
}

/// Forgets a request whose caller no longer waits.
struct Waiting<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.state().waiting.remove(&self.id);
    }
}

impl Link {
    pub(super) fn start<S>(
        io: S,
        journal: Journal,
        limits: &Limits,
    ) -> (Self, mpsc::Receiver<Claim>)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (read, write) = tokio::io::split(io);
        let (claims_in, claims) = mpsc::channel(limits.backlog.max(1));
        let (outgoing, lines) = mpsc::channel(OUTGOING);
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            closed: CancellationToken::new(),
            ending: CancellationToken::new(),
            stance: watch::Sender::new(Stance {
                policy: limits.permissions,
                ..Stance::default()
            }),
        });
        let reader = Reader {
            shared: Arc::clone(&shared),
            journal: journal.clone(),
            patience: limits.permission_wait,
            waiting: JoinSet::new(),
            claims: claims_in,
            outgoing: outgoing.clone(),
        };
        let reading = reader.run(read, limits.line_bytes);
        let writing = write_lines(write, lines, journal, Arc::clone(&shared));
        let link = Self {
            _reader: spawn(reading.instrument(tracing::debug_span!("acp_reader"))),
            _writer: spawn(writing.instrument(tracing::debug_span!("acp_writer"))),
            shared,
            outgoing,
        };
        (link, claims)
    }

    pub(super) async fn request(
        &self,
        method: &str,
        params: Value,
        after: Duration,
    ) -> Result<Value, Error> {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut state = self.shared.state();
            if let Some(reason) = &state.reason {
                return Err(reason.clone().into());
            }
            state.last_id += 1;
            let id = state.last_id;
            state.waiting.insert(id, sender);
            id
        };
        let _waiting = Waiting {
            shared: &self.shared,
            id,
        };
        let line = jsonrpc::request(id, method, &params);
        let exchange = async {
            self.send(line).await?;
            answer.await.map_err(|_| self.shared.reason())
        };
        match tokio::time::timeout(after, exchange).await {
            Ok(Ok(Ok(result))) => Ok(result),
            Ok(Ok(Err(error))) => Err(Error::Rpc {
                method: method.to_owned(),
                error,
            }),
            Ok(Err(reason)) => Err(reason.into()),
            Err(_) => Err(Error::Timeout {
                method: method.to_owned(),
                after,
            }),
        }
    }

    pub(super) async fn notify(
        &self,
        method: &str,
        params: Value,
        after: Duration,
    ) -> Result<(), Error> {
        let line = jsonrpc::notification(method, &params);
        match tokio::time::timeout(after, self.send(line)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(Error::Timeout {
                method: method.to_owned(),
                after,
            }),
        }
    }

    pub(super) fn set_cancelling(&self, session: &SessionId, cancelling: bool) {
        self.shared.stance.send_modify(|stance| {
            if cancelling {
                stance.cancelling.insert(session.clone());
            } else {
                stance.cancelling.remove(session);
            }
        });
    }

    pub(super) fn set_policy(&self, policy: PermissionPolicy) {
        self.shared
            .stance
            .send_modify(|stance| stance.policy = policy);
    }

    pub(super) fn end(&self) {
        self.shared.ending.cancel();
    }

    pub(super) async fn closed(&self) -> Closed {
        self.shared.closed.cancelled().await;
        self.shared.reason()
    }

    async fn send(&self, line: Vec<u8>) -> Result<(), Closed> {
        tokio::select! {
            () = self.shared.closed.cancelled() => Err(self.shared.reason()),
            sent = self.outgoing.send(line) => match sent {
                Ok(()) => Ok(()),
                Err(_) if self.shared.ending.is_cancelled() => Err(Closed::Ended),
                // The agent no longer reads; the reader is about to learn why.
                Err(_) => Err(self.closed().await),
            },
        }
    }
}

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(task))
}

async fn write_lines(
    mut write: impl AsyncWrite + Unpin,
    mut lines: mpsc::Receiver<Vec<u8>>,
    journal: Journal,
    shared: Arc<Shared>,
) {
    loop {
        let line = tokio::select! {
            biased;
            () = shared.closed.cancelled() => return,
            line = lines.recv() => line,
            () = shared.ending.cancelled() => None,
        };
        let Some(line) = line else { break };
        journal.record(Direction::ToAgent, line.trim_ascii_end());
        let written = async {
            write.write_all(&line).await?;
            write.flush().await
        };
        if let Err(error) = written.await {
            // The agent's last words may still be on their way: the reader says when it is over.
            tracing::debug!(%error, "the agent no longer reads");
            return;
        }
    }
    if let Err(error) = write.shutdown().await {
        tracing::debug!(%error, "the agent's input could not be closed");
    }
}

struct Reader {
    shared: Arc<Shared>,
    journal: Journal,
    /// How long a request for permission waits for its answer.
    patience: Duration,
    /// Requests for permission that wait.
    waiting: JoinSet<()>,
    claims: mpsc::Sender<Claim>,
    outgoing: mpsc::Sender<Vec<u8>>,
}

impl Reader {
    async fn run(mut self, mut read: impl AsyncRead + Unpin, line_bytes: usize) {
        let mut lines = Lines::new(line_bytes);
        let mut buffer = vec![0; 16 * 1024];
        let reason = loop {
            let count = match read.read(&mut buffer).await {
                Ok(0) => break Closed::Exited,
                Ok(count) => count,
                Err(error) => break Closed::Io(Arc::new(error)),
            };
            let pushed = lines.push(&buffer[..count]);
            while let Some(line) = lines.next_line() {
                self.handle(&line).await;
            }
            if let Err(too_long) = pushed {
                break Closed::LineTooLong(too_long.limit);
            }
        };
        if let Some(rest) = lines.finish() {
            self.handle(&rest).await;
        }
        self.shared.close(reason);
    }

    async fn handle(&mut self, line: &[u8]) {
        self.journal.record(Direction::FromAgent, line);
        let message = match serde_json::from_slice(line) {
            Ok(value) => jsonrpc::classify(value),
            Err(_) => return self.not_a_message(line).await,
        };
        match message {
            Incoming::Odd(_) => self.not_a_message(line).await,
            Incoming::Response { id, outcome } => self.complete(id, outcome),
            Incoming::Notification { method, params } => {
                self.claim(notified(method, params), line.len()).await;
            }
            Incoming::Request { id, method, params } => {
                if method == "session/request_permission" {
                    return self.permit(&id, params, line.len()).await;
                }
                let message = format!("treefort does not offer {method}");
                let claim = Claim::Other {
                    kind: method,
                    raw: params,
                };
                self.claim(claim, line.len()).await;
                let answer = Err(RpcError::new(METHOD_NOT_FOUND, message));
                // A closed channel means that the conversation is over.
                let _over = self.outgoing.send(jsonrpc::response(&id, &answer)).await;
            }
        }
    }

    fn complete(&self, id: Option<u64>, outcome: Result<Value, RpcError>) {
        let waiting = id.and_then(|id| self.shared.state().waiting.remove(&id));
        match waiting {
            // The caller may have left meanwhile.
            Some(sender) => drop(sender.send(outcome)),
            None => tracing::debug!(id, "the agent answered what nobody asked"),
        }
    }

    async fn permit(&mut self, id: &Value, params: Value, size: usize) {
        let request = Request::new(&params, self.shared.stance.subscribe());
        while self.waiting.try_join_next().is_some() {}
        let waits = !self.patience.is_zero() && self.waiting.len() < PERMISSIONS;
        let answer = request.handle();
        if !waits {
            answer.give();
        }
        let claim = Claim::Permission(Permission {
            tool: claims::tool(params.get("toolCall").cloned().unwrap_or(Value::Null)),
            answer,
            raw: params,
        });
        // Nobody can answer before the claim is read, so its time begins with that.
        self.claim(claim, size).await;
        let (outgoing, id, patience) = (self.outgoing.clone(), id.clone(), self.patience);
        let answered = async move {
            if waits {
                request.wait(patience).await;
            }
            let line = jsonrpc::response(&id, &Ok(request.result()));
            // A closed channel means that the conversation is over.
            let _over = outgoing.send(line).await;
        };
        if waits {
            let span = tracing::debug_span!("permission");
            self.waiting.spawn(answered.instrument(span));
        } else {
            answered.await;
        }
    }

    async fn not_a_message(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line).into_owned();
        self.claim(Claim::NotJson(text), line.len()).await;
    }

    /// Waits for room. A receiver that is gone means that nobody wants claims; requests go on.
    async fn claim(&self, claim: Claim, size: usize) {
        let slots = if size > LARGE {
            self.claims.max_capacity()
        } else {
            1
        };
        if let Ok(mut room) = self.claims.reserve_many(slots).await
            && let Some(slot) = room.next()
        {
            slot.send(claim);
        }
    }
}

fn notified(method: String, mut params: Value) -> Claim {
    if method == "session/update"
        && let Some(update) = params.get_mut("update")
    {
        return claims::from_update(update.take());
    }
    Claim::Other {
        kind: method,
        raw: params,
    }
}
