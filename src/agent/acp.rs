//! Our peer for the Agent Client Protocol v1: we are the client, the agent is at the other end of a
//! byte stream (<https://agentclientprotocol.com>).
//!
//! [`Peer::connect`] takes any stream and yields the peer and its claims. Every claim that the agent
//! sent before an answer is in the channel before that answer returns, so **the channel must be
//! drained while a prompt runs**: a full one stops reading, which stops the agent. Nothing is offered
//! to the agent: no files, no terminals, no MCP servers. [`Peer::load_session`] and [`Peer::resume_session`] are for
//! agents whose sessions outlive them, because what they keep in their home is there again.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::claims::Claim;
use super::journal::Journal;
use super::jsonrpc::RpcError;
use super::link::Link;

/// The protocol version that we speak.
pub const PROTOCOL_VERSION: u64 = 1;

/// Bounds of one conversation, and how permission requests are answered.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes in a line; a longer one ends the conversation.
    pub line_bytes: usize,
    /// Claims that wait for their reader; then the agent waits.
    pub backlog: usize,
    /// How long any request but a prompt may take.
    pub request_timeout: Duration,
    /// How long a prompt may take.
    pub prompt_timeout: Duration,
    /// How permission requests are answered, until [`Peer::set_permissions`] says otherwise.
    pub permissions: PermissionPolicy,
    /// How long the answer waits for whoever reads the claims ([`super::claims::Answer`]); zero answers
    /// at once.
    pub permission_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_bytes: 4 * 1024 * 1024,
            backlog: 256,
            request_timeout: Duration::from_secs(60),
            prompt_timeout: Duration::from_secs(30 * 60),
            permissions: PermissionPolicy::Allow,
            permission_wait: Duration::ZERO,
        }
    }
}

/// How permission requests are answered. Options are chosen by their *kind*, never by their order:
/// two of four agents list "always" first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PermissionPolicy {
    /// `allow_once`, else `allow_always`: in a sandbox whose every step can be undone.
    #[default]
    Allow,
    /// `reject_once`, else `reject_always`.
    Reject,
}

impl PermissionPolicy {
    pub(super) fn kinds(self) -> [&'static str; 2] {
        match self {
            Self::Allow => ["allow_once", "allow_always"],
            Self::Reject => ["reject_once", "reject_always"],
        }
    }
}

/// Why the conversation is over.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Closed {
    /// The agent ended its output: it exited.
    #[error("the agent exited")]
    Exited,
    /// Its stream failed.
    #[error("the connection to the agent failed")]
    Io(#[source] Arc<std::io::Error>),
    /// It sent a line over the bound.
    #[error("the agent sent a line longer than {0} bytes")]
    LineTooLong(usize),
    /// We closed its input.
    #[error("the conversation with the agent was ended")]
    Ended,
}

/// Why a request brought no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The conversation is over.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// No answer in time.
    #[error("the agent did not answer {method} within {} s", after.as_secs())]
    Timeout {
        /// The method.
        method: String,
        /// The bound.
        after: Duration,
    },
    /// The agent answered with an error; its sentence is the message.
    #[error("{}", error.message)]
    Rpc {
        /// The method.
        method: String,
        /// The agent's error.
        error: RpcError,
    },
    /// The answer lacks what the protocol asks for.
    #[error("the agent's answer to {method} has no {missing}")]
    Malformed {
        /// The method.
        method: &'static str,
        /// The field.
        missing: &'static str,
    },
    /// The agent speaks another version.
    #[error("the agent speaks version {0} of the protocol, not {PROTOCOL_VERSION}")]
    Version(u64),
}

/// An agent's name for a session. Chosen by the agent: not for file names or logs without care.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionId(pub String);

/// What an agent says about itself when it is initialised.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentInfo {
    /// Its name; empty when it gave none.
    pub name: String,
    /// Its version; empty when it gave none.
    pub version: String,
    /// The ids of its authentication methods.
    pub auth_methods: Vec<String>,
    /// Whether [`Peer::load_session`] works with it.
    pub load_session: bool,
    /// Whether [`Peer::resume_session`] works with it.
    pub resume_session: bool,
    /// Its capabilities as they came.
    pub capabilities: Value,
}

/// Why a turn ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// The agent is done.
    EndTurn,
    /// The model's answer reached its length.
    MaxTokens,
    /// The agent reached its number of model calls.
    MaxTurnRequests,
    /// The agent refuses.
    Refusal,
    /// We cancelled.
    Cancelled,
    /// Another reason.
    Other(String),
}

impl StopReason {
    fn parse(word: &str) -> Self {
        match word {
            "end_turn" => Self::EndTurn,
            "max_tokens" => Self::MaxTokens,
            "max_turn_requests" => Self::MaxTurnRequests,
            "refusal" => Self::Refusal,
            "cancelled" => Self::Cancelled,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// Tokens that the agent says it used (the gateway knows better).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenUsage {
    /// Tokens read.
    pub input: u64,
    /// Tokens written.
    pub output: u64,
}

/// A finished turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Why it ended.
    pub stop_reason: StopReason,
    /// What it used, when the agent says so.
    pub usage: Option<TokenUsage>,
}

/// The conversation with one agent. Clones share it; it ends when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Peer {
    link: Arc<Link>,
    limits: Limits,
}

impl Peer {
    /// Starts the conversation on `io`. The tasks that serve it end with the last clone of the peer.
    #[must_use]
    pub fn connect<S>(io: S, journal: Journal, limits: Limits) -> (Self, mpsc::Receiver<Claim>)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (link, claims) = Link::start(io, journal, &limits);
        let link = Arc::new(link);
        (Self { link, limits }, claims)
    }

    /// `initialize`: agrees on the version and offers nothing.
    ///
    /// # Errors
    ///
    /// [`Error`]; [`Error::Version`] when the agent speaks another version.
    pub async fn initialize(&self) -> Result<AgentInfo, Error> {
        let method = "initialize";
        let params = json!({
            "protocolVersion": PROTOCOL_VERSION,
            "clientCapabilities": {"fs": {"readTextFile": false, "writeTextFile": false}, "terminal": false},
            "clientInfo": {"name": "treefort", "version": env!("CARGO_PKG_VERSION")},
        });
        let mut answer = self.request(method, params).await?;
        let missing = "protocolVersion";
        let version = answer
            .get(missing)
            .and_then(Value::as_u64)
            .ok_or(Error::Malformed { method, missing })?;
        if version != PROTOCOL_VERSION {
            return Err(Error::Version(version));
        }
        let info = |key| {
            let field = answer.get("agentInfo").and_then(|info| info.get(key));
            field.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let methods = answer.get("authMethods").and_then(Value::as_array);
        let loads = answer.pointer("/agentCapabilities/loadSession");
        Ok(AgentInfo {
            name: info("name"),
            version: info("version"),
            auth_methods: methods
                .into_iter()
                .flatten()
                .filter_map(|method| method.get("id")?.as_str().map(str::to_owned))
                .collect(),
            load_session: loads == Some(&Value::Bool(true)),
            resume_session: answer
                .pointer("/agentCapabilities/sessionCapabilities/resume")
                .is_some_and(Value::is_object),
            capabilities: answer
                .get_mut("agentCapabilities")
                .map_or(Value::Null, Value::take),
        })
    }

    /// `authenticate`, for the agents whose manifest names a method.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub async fn authenticate(&self, method_id: &str) -> Result<(), Error> {
        let params = json!({"methodId": method_id});
        self.request("authenticate", params).await.map(drop)
    }

    /// `session/new` in `cwd` (a path inside the container); `meta` becomes `_meta` unless it is null.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub async fn new_session(&self, cwd: &str, meta: Value) -> Result<SessionId, Error> {
        let method = "session/new";
        let mut params = json!({"cwd": cwd, "mcpServers": []});
        if !meta.is_null() {
            params["_meta"] = meta;
        }
        let answer = self.request(method, params).await?;
        let missing = "sessionId";
        match answer.get(missing).and_then(Value::as_str) {
            Some(id) => Ok(SessionId(id.to_owned())),
            None => Err(Error::Malformed { method, missing }),
        }
    }

    /// `session/load`: goes on with a session that the agent has kept, for those that offer it
    /// ([`AgentInfo::load_session`]). Before this returns, the session's history comes again as claims,
    /// which are not news and have to be drained like all others.
    ///
    /// # Errors
    ///
    /// [`Error`]; [`Error::Rpc`] when the agent does not know the session any more.
    pub async fn load_session(&self, session: &SessionId, cwd: &str) -> Result<(), Error> {
        let params = json!({"sessionId": session.0, "cwd": cwd, "mcpServers": []});
        self.request("session/load", params).await.map(drop)
    }

    /// `session/resume`: as [`Peer::load_session`], without the history. A part of the protocol's draft, for those that
    /// offer it ([`AgentInfo::resume_session`]).
    ///
    /// # Errors
    ///
    /// As [`Peer::load_session`].
    pub async fn resume_session(&self, session: &SessionId, cwd: &str) -> Result<(), Error> {
        let params = json!({"sessionId": session.0, "cwd": cwd, "mcpServers": []});
        self.request("session/resume", params).await.map(drop)
    }

    /// `session/set_mode`, for the agents whose manifest names a mode.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub async fn set_mode(&self, session: &SessionId, mode: &str) -> Result<(), Error> {
        let params = json!({"sessionId": session.0, "modeId": mode});
        self.request("session/set_mode", params).await.map(drop)
    }

    /// `session/prompt`: one turn. `blocks` are ACP content blocks. Dropping the future does not end
    /// the turn; [`Peer::cancel`] does.
    ///
    /// # Errors
    ///
    /// [`Error`]; after [`Error::Timeout`] the turn has been cancelled.
    pub async fn prompt(&self, session: &SessionId, blocks: Vec<Value>) -> Result<Turn, Error> {
        let method = "session/prompt";
        let params = json!({"sessionId": session.0, "prompt": blocks});
        self.link.set_cancelling(session, false);
        let after = self.limits.prompt_timeout;
        let answer = self.link.request(method, params, after).await;
        if matches!(answer, Err(Error::Timeout { .. })) {
            // Its answer no longer matters, but the agent must not go on with the turn.
            let _ended = self.cancel(session).await;
        }
        let answer = answer?;
        let missing = "stopReason";
        let stop_reason = answer
            .get(missing)
            .and_then(Value::as_str)
            .map(StopReason::parse)
            .ok_or(Error::Malformed { method, missing })?;
        Ok(Turn {
            stop_reason,
            usage: usage(&answer),
        })
    }

    /// `session/cancel`: asks the agent to end the running turn, which then returns
    /// [`StopReason::Cancelled`]. Permission requests that come after it are answered "cancelled".
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], and [`Error::Timeout`] when the agent does not read its input.
    pub async fn cancel(&self, session: &SessionId) -> Result<(), Error> {
        self.link.set_cancelling(session, true);
        let params = json!({"sessionId": session.0});
        let after = self.limits.request_timeout;
        self.link.notify("session/cancel", params, after).await
    }

    /// How requests for permission are answered from now on where nobody else answers, also those that wait.
    pub fn set_permissions(&self, policy: PermissionPolicy) {
        self.link.set_policy(policy);
    }

    /// Any other request, with the usual bound.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub async fn request(&self, method: &str, params: Value) -> Result<Value, Error> {
        let after = self.limits.request_timeout;
        self.link.request(method, params, after).await
    }

    /// Closes the agent's input, after what was sent has been written: a well-behaved agent exits.
    pub fn end(&self) {
        self.link.end();
    }

    /// Waits for the end of the conversation.
    pub async fn closed(&self) -> Closed {
        self.link.closed().await
    }
}

/// Claude, Codex and OpenCode use the draft's `usage`; Gemini has its own `_meta`.
fn usage(answer: &Value) -> Option<TokenUsage> {
    let read = |at: &Value, input: &str, output: &str| {
        Some(TokenUsage {
            input: at.get(input)?.as_u64()?,
            output: at.get(output)?.as_u64()?,
        })
    };
    let plain = answer.get("usage");
    let quota = answer.pointer("/_meta/quota/token_count");
    plain
        .and_then(|usage| read(usage, "inputTokens", "outputTokens"))
        .or_else(|| quota.and_then(|quota| read(quota, "input_tokens", "output_tokens")))
}
