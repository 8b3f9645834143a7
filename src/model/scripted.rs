//! A scripted model server: real HTTP, Ollama's API, answers from a function. No model runs.
//!
//! `treefort demo` shows the whole way of a job with it on a machine that has no model, and `treefort agent check
//! --live` tries an agent with it; everything it says carries its name, [`MODEL`], so that nobody takes it for one.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

/// The only model of a scripted server.
pub const MODEL: &str = "scripted:demo";
/// The version that it answers with.
pub const VERSION: &str = "0.0.0-scripted";

const BODY_BYTES: usize = 16 * 1024 * 1024;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A turn of the conversation that the script is given.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Message {
    /// system, user, assistant or tool.
    pub role: String,
    /// The text.
    #[serde(default)]
    pub content: String,
}

/// A tool that the model may call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The fields of its arguments, as JSON Schema has them.
    pub fields: Map<String, Value>,
}

/// What the script is asked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Asked {
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// The tools on offer.
    pub tools: Vec<Tool>,
    /// Bytes of the whole request.
    pub bytes: usize,
}

/// What the script says.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Thinking before the answer; empty for none.
    pub thinking: String,
    /// The answer.
    pub text: String,
    /// A call of a tool, with its arguments.
    pub call: Option<(String, Value)>,
    /// The pause before the first piece.
    pub first: Duration,
    /// The pause before each further piece.
    pub piece: Duration,
}

impl Answer {
    /// An answer with the pauses of a small model on a good machine.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            thinking: String::new(),
            text: text.into(),
            call: None,
            first: Duration::from_millis(120),
            piece: Duration::from_millis(15),
        }
    }

    /// Calls a tool, and says nothing.
    #[must_use]
    pub fn call(tool: impl Into<String>, arguments: Value) -> Self {
        Self {
            call: Some((tool.into(), arguments)),
            ..Self::new("")
        }
        .at_once()
    }

    /// The same answer without pauses.
    #[must_use]
    pub fn at_once(mut self) -> Self {
        self.first = Duration::ZERO;
        self.piece = Duration::ZERO;
        self
    }
}

/// From what is asked to the answer.
pub type Script = Arc<dyn Fn(&Asked) -> Answer + Send + Sync>;

/// The server; it ends, with its connections, when this is dropped.
#[derive(Debug)]
pub struct Scripted {
    _serving: AbortOnDropHandle<()>,
}

#[derive(Deserialize)]
struct ChatRequest {
    #[serde(default)]
    model: String,
    #[serde(default)]
    messages: Vec<Message>,
    #[serde(default)]
    tools: Vec<Value>,
    #[serde(default)]
    stream: Option<bool>,
}

#[derive(Deserialize)]
struct ShowRequest {
    #[serde(default, alias = "name")]
    model: String,
}

impl Scripted {
    /// Starts a server on a free port of the loopback interface; returns its base URL.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub async fn start(script: Script) -> io::Result<(String, Self)> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let serving = serve(listener, script).instrument(tracing::debug_span!("scripted_model"));
        let serving = AbortOnDropHandle::new(tokio::spawn(serving));
        Ok((url, Self { _serving: serving }))
    }
}

async fn serve(listener: TcpListener, script: Script) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&script)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, script: Script) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "pieces may be held back");
    }
    let service = service_fn(|request| {
        let script = Arc::clone(&script);
        async move { Ok::<_, Infallible>(answer(request, &script).await) }
    });
    let http = hyper::server::conn::http1::Builder::new();
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn answer(request: Request<Incoming>, script: &Script) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_BYTES).collect().await else {
        return error(StatusCode::BAD_REQUEST, "the body cannot be read");
    };
    let body = body.to_bytes();
    match (head.method, head.uri.path()) {
        (Method::GET, "/api/version") => {
            json_response(StatusCode::OK, &json!({"version": VERSION}))
        }
        (Method::GET, "/api/tags") => json_response(
            StatusCode::OK,
            &json!({"models": [{
                "name": MODEL, "model": MODEL, "modified_at": now(), "size": 0,
                "digest": "0".repeat(64), "details": details(),
            }]}),
        ),
        (Method::POST, "/api/show") => match serde_json::from_slice::<ShowRequest>(&body) {
            Ok(show) if show.model == MODEL => json_response(
                StatusCode::OK,
                &json!({
                    "details": details(), "capabilities": ["completion", "tools"],
                    "model_info": {"general.architecture": "scripted", "scripted.context_length": 65_536},
                }),
            ),
            Ok(show) => not_found(&show.model),
            Err(_) => error(StatusCode::BAD_REQUEST, "the request is not JSON"),
        },
        (Method::POST, "/api/chat") => match serde_json::from_slice::<ChatRequest>(&body) {
            Ok(chat) if chat.model == MODEL => talk(chat, body.len(), script),
            Ok(chat) => not_found(&chat.model),
            Err(_) => error(StatusCode::BAD_REQUEST, "the request is not JSON"),
        },
        _ => error(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

fn details() -> Value {
    json!({"format": "script", "family": "scripted", "parameter_size": "0", "quantization_level": ""})
}

fn talk(chat: ChatRequest, bytes: usize, script: &Script) -> Response<Body> {
    let asked = Asked {
        messages: chat.messages,
        tools: chat.tools.iter().filter_map(tool).collect(),
        bytes,
    };
    let answer = script(&asked);
    let started = Instant::now();
    let read = asked
        .messages
        .iter()
        .map(|message| tokens(&message.content))
        .sum::<usize>();
    let thoughts: Vec<String> = pieces(&answer.thinking);
    let words: Vec<String> = pieces(&answer.text);
    let written = thoughts.len() + words.len();
    let call = answer.call.map(|(name, arguments)| {
        json!({"role": "assistant", "content": "",
            "tool_calls": [{"function": {"name": name, "arguments": arguments}}]})
    });
    let last = move |text: String| {
        let total = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        json!({"model": MODEL, "created_at": now(),
            "message": {"role": "assistant", "content": text},
            "done": true, "done_reason": "stop", "total_duration": total, "load_duration": 0,
            "prompt_eval_count": read, "prompt_eval_duration": 0,
            "eval_count": written, "eval_duration": total})
    };
    if chat.stream == Some(false) {
        let mut whole = last(answer.text);
        if let Some(call) = call {
            whole["message"] = call;
        }
        return json_response(StatusCode::OK, &whole);
    }
    let thoughts = thoughts.into_iter().map(|thought| {
        json!({"role": "assistant", "content": "",
        "thinking": thought})
    });
    let words = words
        .into_iter()
        .map(|word| json!({"role": "assistant", "content": word}));
    let messages: Vec<Value> = thoughts.chain(words).chain(call).collect();
    let pauses = std::iter::once(answer.first).chain(std::iter::repeat(answer.piece));
    let pieces = stream::iter(messages.into_iter().zip(pauses)).then(async |(message, pause)| {
        pause_for(pause).await;
        json!({"model": MODEL, "created_at": now(), "message": message, "done": false})
    });
    let end = stream::once(async move { last(String::new()) });
    let lines = pieces
        .chain(end)
        .map(|line| Ok(Frame::data(Bytes::from(format!("{line}\n")))));
    let body = StreamBody::new(lines).boxed_unsync();
    response(StatusCode::OK, "application/x-ndjson", body)
}

fn tool(given: &Value) -> Option<Tool> {
    let function = given.get("function")?;
    let fields = function.pointer("/parameters/properties");
    Some(Tool {
        name: function.get("name")?.as_str()?.to_owned(),
        fields: fields
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default(),
    })
}

async fn pause_for(pause: Duration) {
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
}

/// Words with the space before them, as tokenizers cut: the pieces join to the text.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for character in text.chars() {
        match pieces.last_mut() {
            Some(piece) if !character.is_whitespace() => piece.push(character),
            _ => pieces.push(character.to_string()),
        }
    }
    pieces
}

fn tokens(text: &str) -> usize {
    text.len().div_ceil(4)
}

fn now() -> String {
    nostr::Timestamp::now().to_human_datetime()
}

fn not_found(model: &str) -> Response<Body> {
    error(StatusCode::NOT_FOUND, &format!("model '{model}' not found"))
}

fn error(status: StatusCode, sentence: &str) -> Response<Body> {
    json_response(status, &json!({"error": sentence}))
}

fn json_response(status: StatusCode, body: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_string())).boxed_unsync();
    response(status, "application/json; charset=utf-8", body)
}

fn response(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::local::{self, Local};
    use crate::model::{Config, ModelName};

    #[test]
    fn pieces_join_to_the_text() {
        let text = "Grüße,  Welt!\n\n- 日本語 ";
        assert_eq!(pieces(text).concat(), text);
        assert!(pieces(text).len() > 4);
        assert!(pieces("").is_empty());
    }

    #[tokio::test]
    async fn it_is_a_model_server_to_the_management_side() {
        let script: Script = Arc::new(|_| Answer::new("x"));
        let (url, server) = Scripted::start(script).await.unwrap();
        let config = Config {
            ollama: url,
            ..Config::default()
        };
        let local = Local::new(&config).unwrap();
        assert_eq!(local.version().await.unwrap(), VERSION);
        let model = local.choose("").await.unwrap();
        assert_eq!(
            (model.name.0.as_str(), model.family.as_str()),
            (MODEL, "scripted")
        );
        assert_eq!(model.digest.len(), 64);
        let shown = local.show(&model.name).await.unwrap();
        assert_eq!(shown.context_length, Some(65_536));
        let missing = local.show(&ModelName::from("x")).await.unwrap_err();
        assert!(matches!(missing, local::Error::Show { .. }));
        let missing = local.choose("llama9").await.unwrap_err();
        assert_eq!(missing.fix(), "Run `ollama pull llama9`.");
        drop(server);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let gone = local.version().await.unwrap_err();
        assert!(matches!(gone, local::Error::Unreachable { .. }), "{gone:?}");
        assert!(!gone.fix().is_empty());
    }
}
