//! A model server that speaks OpenAI's chat completions and follows a script: its answers are tool calls
//! and words in a fixed order, by how many tools have answered so far.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use treefort::sandbox::BoxedStream;

/// One step of the script.
#[derive(Debug, Clone)]
pub(super) enum Say {
    /// Calls a tool.
    Tool(&'static str, Value),
    /// Says something, which ends the turn.
    Text(&'static str),
}

/// A request that the agent made.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) at: Instant,
    pub(super) bytes: usize,
    pub(super) authorization: String,
    pub(super) body: Value,
}

impl Call {
    /// What the tools said so far.
    pub(super) fn tool_results(&self) -> Vec<String> {
        let messages = self.body["messages"].as_array().unwrap();
        let tools = messages.iter().filter(|message| message["role"] == "tool");
        tools
            .map(|message| message["content"].to_string())
            .collect()
    }

    /// The names of the tools on offer.
    pub(super) fn tools(&self) -> Vec<&str> {
        let tools = self.body["tools"].as_array().unwrap();
        tools
            .iter()
            .map(|tool| tool["function"]["name"].as_str().unwrap())
            .collect()
    }
}

/// The server; it takes connections as long as it is there.
pub(super) struct Model {
    calls: Arc<Mutex<Vec<Call>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Model {
    /// Serves the connections out of a sandbox.
    pub(super) fn serve(mut connections: mpsc::Receiver<BoxedStream>, script: Vec<Say>) -> Self {
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let script = Arc::new(script);
        let log = Arc::clone(&calls);
        let serving = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Some(stream) = connections.recv().await {
                let (log, script) = (Arc::clone(&log), Arc::clone(&script));
                open.spawn(async move {
                    let service = service_fn(|request| answer(request, &log, &script));
                    let http = hyper::server::conn::http1::Builder::new();
                    // An agent that leaves breaks its connections off.
                    let _left = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self {
            calls,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

async fn answer(
    request: Request<Incoming>,
    log: &Mutex<Vec<Call>>,
    script: &[Say],
) -> Result<Response<Full<Bytes>>, Infallible> {
    let at = Instant::now();
    let (head, body) = request.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    if (head.method, head.uri.path()) != (Method::POST, "/v1/chat/completions") {
        let mut missing = Response::new(Full::default());
        *missing.status_mut() = StatusCode::NOT_FOUND;
        return Ok(missing);
    }
    let header = head.headers.get("authorization");
    let call = Call {
        at,
        bytes: bytes.len(),
        authorization: header
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default(),
        body: serde_json::from_slice(&bytes).unwrap(),
    };
    let step = call.tool_results().len().min(script.len() - 1);
    log.lock().unwrap().push(call);
    let mut response = Response::new(Full::from(stream(&script[step], step)));
    let kind = "text/event-stream".parse().unwrap();
    response.headers_mut().insert("content-type", kind);
    Ok(response)
}

/// The answer as server-sent events, a tool's arguments in pieces.
fn stream(say: &Say, step: usize) -> String {
    let chunk = |delta: Value, reason: Option<&str>| {
        json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "session",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
    };
    let mut chunks = Vec::new();
    match say {
        Say::Tool(name, arguments) => {
            let arguments = arguments.to_string();
            let (first, second) = arguments.split_at(arguments.len() / 2);
            let call = |fields: Value| chunk(json!({"tool_calls": [fields]}), None);
            chunks.push(call(
                json!({"index": 0, "id": format!("call_{step}"), "type": "function",
                "function": {"name": name, "arguments": first}}),
            ));
            chunks.push(call(json!({"index": 0, "function": {"arguments": second}})));
            chunks.push(chunk(json!({}), Some("tool_calls")));
        }
        Say::Text(text) => {
            let (first, second) = text.split_at(text.len() / 2);
            chunks.push(chunk(json!({"role": "assistant", "content": first}), None));
            chunks.push(chunk(json!({"content": second}), None));
            chunks.push(chunk(json!({}), Some("stop")));
        }
    }
    let usage = json!({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110});
    chunks.push(
        json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "session",
        "choices": [], "usage": usage}),
    );
    let mut text: String = chunks
        .iter()
        .map(|chunk| format!("data: {chunk}\n\n"))
        .collect();
    text.push_str("data: [DONE]\n\n");
    text
}
