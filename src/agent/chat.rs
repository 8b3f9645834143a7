//! treefort's own agent: a private conversation with the session's model, over ACP on stdio.
//!
//! It is the same binary, run inside the container as `treefort agent-chat`. It has no tools and keeps
//! nothing: the host gives a conversation's earlier turns in `session/new`'s `_meta`
//! (`treefort/history`, `treefort/system`). Its model is at `127.0.0.1:11434` in the container, which
//! is the host's gateway.

mod model;
mod question;

use std::collections::HashMap;
use std::io;
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use self::model::{Failure, Message, Model};
use self::question::{forget_pictures, question};
use super::acp::PROTOCOL_VERSION;
use super::jsonrpc::{
    self, INVALID_PARAMS, INVALID_REQUEST, Incoming, METHOD_NOT_FOUND, RpcError, SERVER_ERROR,
};
use crate::ndjson::Lines;

/// The model's address inside every container.
pub const ENDPOINT: &str = "http://127.0.0.1:11434";
/// The environment variable that holds the session's token for the gateway.
pub const TOKEN: &str = "TREEFORT_TOKEN";
/// What every conversation starts with.
pub const SYSTEM_PROMPT: &str = include_str!("../../agents/chat/system.md");

const LINE_BYTES: usize = 16 * 1024 * 1024;
/// Conversations that are kept; opening one more forgets the oldest that is idle.
const MAX_SESSIONS: usize = 64;
/// Lines that wait for the client to read.
const OUTGOING: usize = 64;

/// Why the agent ended before its input did.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its stdio failed.
    #[error("the connection to treefort failed")]
    Io(#[from] io::Error),
    /// The client for the model could not be made.
    #[error("the model's client cannot start")]
    Client(#[from] reqwest::Error),
    /// A line over the bound.
    #[error(transparent)]
    Line(#[from] crate::ndjson::LineTooLong),
}

/// The hidden subcommand `agent-chat`: serves stdio until it ends.
pub async fn run() -> ExitCode {
    let token = std::env::var(TOKEN).unwrap_or_default();
    match serve(tokio::io::stdin(), tokio::io::stdout(), ENDPOINT, &token).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the chat agent ends");
            ExitCode::FAILURE
        }
    }
}

/// Serves ACP on `reader` and `writer` until `reader` ends; running turns end with it.
///
/// # Errors
///
/// [`Error`].
pub async fn serve<R, W>(mut reader: R, writer: W, endpoint: &str, token: &str) -> Result<(), Error>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    // One owner writes, so that a turn that is cancelled cannot leave half a line behind.
    let (out, outgoing) = mpsc::channel(OUTGOING);
    let mut writing = AbortOnDropHandle::new(tokio::spawn(write_lines(writer, outgoing)));
    let mut agent = Agent {
        model: Model::new(endpoint, token)?,
        out,
        sessions: HashMap::new(),
        opened: 0,
        turns: JoinSet::new(),
    };
    let mut lines = Lines::new(LINE_BYTES);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        tokio::select! {
            Some(ended) = agent.turns.join_next() => match ended {
                Ok(turn) => agent.finish(turn).await,
                Err(error) => tracing::error!(%error, "a turn broke"),
            },
            count = reader.read(&mut buffer) => {
                let count = count?;
                if count == 0 {
                    break;
                }
                lines.push(&buffer[..count])?;
                while let Some(line) = lines.next_line() {
                    agent.handle(&line).await;
                }
            }
            ended = &mut writing => return flatten(ended),
        }
    }
    drop(agent);
    flatten(writing.await)
}

async fn write_lines(
    mut writer: impl AsyncWrite + Unpin,
    mut lines: mpsc::Receiver<Vec<u8>>,
) -> Result<(), Error> {
    while let Some(line) = lines.recv().await {
        writer.write_all(&line).await?;
        writer.flush().await?;
    }
    Ok(())
}

fn flatten(ended: Result<Result<(), Error>, tokio::task::JoinError>) -> Result<(), Error> {
    ended.unwrap_or_else(|error| Err(Error::Io(io::Error::other(error))))
}

struct Session {
    number: u64,
    messages: Vec<Message>,
    /// The running turn's end.
    running: Option<CancellationToken>,
}

struct Agent {
    model: Model,
    out: mpsc::Sender<Vec<u8>>,
    sessions: HashMap<String, Session>,
    opened: u64,
    turns: JoinSet<Turn>,
}

/// A turn that has ended: the answer to its prompt, and what the conversation gains by it.
struct Turn {
    id: Value,
    session: String,
    outcome: Result<Value, RpcError>,
    gained: Vec<Message>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default, rename = "treefort/history")]
    history: Vec<Message>,
    #[serde(default, rename = "treefort/system")]
    system: Option<String>,
}

impl Agent {
    async fn handle(&mut self, line: &[u8]) {
        let Ok(value) = serde_json::from_slice(line) else {
            tracing::warn!("a line is not JSON");
            return;
        };
        match jsonrpc::classify(value) {
            Incoming::Request { id, method, params } => {
                if let Some(outcome) = self.request(&id, &method, params) {
                    send(&self.out, jsonrpc::response(&id, &outcome)).await;
                }
            }
            Incoming::Notification { method, params } if method == "session/cancel" => {
                let session = params.get("sessionId").and_then(Value::as_str);
                let session = session.and_then(|id| self.sessions.get(id));
                if let Some(running) = session.and_then(|session| session.running.as_ref()) {
                    running.cancel();
                }
            }
            _ => tracing::debug!("a message that needs no answer"),
        }
    }

    /// Answers at once, or starts a turn that answers later.
    fn request(
        &mut self,
        id: &Value,
        method: &str,
        params: Value,
    ) -> Option<Result<Value, RpcError>> {
        match method {
            "initialize" => Some(Ok(json!({
                "protocolVersion": PROTOCOL_VERSION,
                "agentCapabilities": {
                    "loadSession": false,
                    "promptCapabilities": {"image": true, "audio": false, "embeddedContext": true},
                    "_meta": {"treefort/history": true},
                },
                "agentInfo": {"name": "treefort-chat", "title": "treefort chat",
                    "version": env!("CARGO_PKG_VERSION")},
                "authMethods": [],
            }))),
            "authenticate" => Some(Ok(json!({}))),
            "session/new" => Some(self.open(params)),
            "session/prompt" => self.prompt(id, &params).err().map(Err),
            _ => Some(Err(RpcError::new(
                METHOD_NOT_FOUND,
                format!("the chat agent does not know {method}"),
            ))),
        }
    }

    fn open(&mut self, mut params: Value) -> Result<Value, RpcError> {
        let meta = match params.get_mut("_meta").map(Value::take) {
            None | Some(Value::Null) => Meta {
                history: Vec::new(),
                system: None,
            },
            Some(meta) => serde_json::from_value(meta)
                .map_err(|error| RpcError::new(INVALID_PARAMS, format!("_meta: {error}")))?,
        };
        let role_is_known = |turn: &Message| matches!(turn.role.as_str(), "user" | "assistant");
        if !meta.history.iter().all(role_is_known) {
            return Err(RpcError::new(
                INVALID_PARAMS,
                "a turn of treefort/history is neither the user's nor the assistant's",
            ));
        }
        let mut system = SYSTEM_PROMPT.trim_end().to_owned();
        if let Some(more) = meta.system.filter(|more| !more.trim().is_empty()) {
            system.push_str("\n\n");
            system.push_str(more.trim());
        }
        let mut messages = vec![message("system", system)];
        messages.extend(meta.history);
        self.make_room()?;
        self.opened += 1;
        let number = self.opened;
        let id = format!("chat-{number}");
        let session = Session {
            number,
            messages,
            running: None,
        };
        self.sessions.insert(id.clone(), session);
        Ok(json!({"sessionId": id}))
    }

    fn make_room(&mut self) -> Result<(), RpcError> {
        if self.sessions.len() < MAX_SESSIONS {
            return Ok(());
        }
        let idle = self
            .sessions
            .iter()
            .filter(|(_, session)| session.running.is_none());
        let oldest = idle.min_by_key(|(_, session)| session.number);
        let Some(id) = oldest.map(|(id, _)| id.clone()) else {
            return Err(RpcError::new(INVALID_REQUEST, "too many conversations run"));
        };
        self.sessions.remove(&id);
        Ok(())
    }

    fn prompt(&mut self, id: &Value, params: &Value) -> Result<(), RpcError> {
        let name = params
            .get("sessionId")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let Some(session) = self.sessions.get_mut(name) else {
            return Err(RpcError::new(INVALID_PARAMS, "there is no such session"));
        };
        if session.running.is_some() {
            return Err(RpcError::new(
                INVALID_REQUEST,
                "a turn of this session is running",
            ));
        }
        let question = question(params)?;
        let cancel = CancellationToken::new();
        session.running = Some(cancel.clone());
        let mut messages = session.messages.clone();
        messages.push(question.clone());
        forget_pictures(&mut messages);
        let (id, name) = (id.clone(), name.to_owned());
        let (model, out) = (self.model.clone(), self.out.clone());
        let turn = async move {
            let mut said = String::new();
            let answered = cancel
                .run_until_cancelled(answer(&model, &messages, &name, &out, &mut said))
                .await;
            let outcome = match answered {
                Some(outcome) => outcome,
                None => Ok(json!({"stopReason": "cancelled"})),
            };
            // A turn that failed leaves no trace; one that was cancelled keeps what was said.
            let gained = if outcome.is_ok() && !said.is_empty() {
                vec![question, message("assistant", said)]
            } else {
                Vec::new()
            };
            Turn {
                id,
                session: name,
                outcome,
                gained,
            }
        };
        self.turns
            .spawn(turn.instrument(tracing::debug_span!("chat_turn")));
        Ok(())
    }

    async fn finish(&mut self, turn: Turn) {
        if let Some(session) = self.sessions.get_mut(&turn.session) {
            session.running = None;
            session.messages.extend(turn.gained);
        }
        send(&self.out, jsonrpc::response(&turn.id, &turn.outcome)).await;
    }
}

/// Streams the model's answer to the client and collects its text.
async fn answer(
    model: &Model,
    messages: &[Message],
    session: &str,
    out: &mpsc::Sender<Vec<u8>>,
    said: &mut String,
) -> Result<Value, RpcError> {
    let mut answer = model.ask(messages).await.map_err(model_error)?;
    loop {
        let step = answer.next().await.map_err(model_error)?;
        if let Some(thought) = step.thought {
            update(out, session, "agent_thought_chunk", &thought).await;
        }
        if let Some(text) = step.text {
            said.push_str(&text);
            update(out, session, "agent_message_chunk", &text).await;
        }
        if let Some(done) = step.done {
            return Ok(json!({
                "stopReason": if done.length { "max_tokens" } else { "end_turn" },
                "usage": {"inputTokens": done.input, "outputTokens": done.output,
                    "totalTokens": done.input + done.output},
            }));
        }
    }
}

async fn update(out: &mpsc::Sender<Vec<u8>>, session: &str, kind: &str, text: &str) {
    let params = json!({"sessionId": session, "update":
        {"sessionUpdate": kind, "content": {"type": "text", "text": text}}});
    send(out, jsonrpc::notification("session/update", &params)).await;
}

/// A closed channel means that the writer has failed, which ends [`serve`].
async fn send(out: &mpsc::Sender<Vec<u8>>, line: Vec<u8>) {
    if out.send(line).await.is_err() {
        tracing::debug!("nobody reads any more");
    }
}

fn message(role: &str, content: impl Into<String>) -> Message {
    Message {
        role: role.to_owned(),
        content: content.into(),
        images: Vec::new(),
    }
}

fn model_error(failure: Failure) -> RpcError {
    RpcError {
        code: SERVER_ERROR,
        message: failure.sentence,
        data: json!({"code": failure.code}),
    }
}
