//! A model server that speaks everything that agents and clouds speak, and follows a script: Ollama's chat, OpenAI's
//! chat completions and responses, Anthropic's messages and Gemini's `generateContent`.
//!
//! Which step of the script is next follows from how many tools have answered in a request, so that calls that an
//! agent makes beside the conversation (titles, summaries) disturb nothing: they offer no tools, and get a few words.

mod anthropic;
mod gemini;
mod ollama;
mod openai;
mod responses;

pub(crate) use self::ollama::MODEL as OLLAMA;

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE, service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;

/// What every call reads and writes, in tokens.
pub(super) const READ: u64 = 100;
pub(super) const WRITTEN: u64 = 10;

/// One step of the script.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Writes a file of the workspace, with whatever the agent has for that.
    Write(&'static str, &'static str),
    /// Runs a command.
    Run(&'static str),
    /// Says something, which ends the turn.
    Say(&'static str),
}

/// A request of an agent's, or of treefort's.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) bytes: usize,
    pub(crate) body: Value,
    /// Whether it is one of the conversation's, and not for a title or a summary.
    pub(crate) turn: bool,
}

/// What a request says, whatever it is written in.
pub(super) struct Asked {
    /// The tools on offer: names, and the fields of their arguments.
    pub(super) tools: Vec<(String, Value)>,
    /// How many tools have answered.
    pub(super) answered: usize,
    pub(super) stream: bool,
}

/// How requests are read and answers written.
type Spoken = (fn(&Value) -> Asked, fn(&Asked, &Said) -> Vec<u8>);

/// What is answered.
pub(super) enum Said {
    Call(String, Value),
    Text(String),
}

/// The server; it ends when it is dropped.
pub(crate) struct Model {
    address: std::net::SocketAddr,
    script: Arc<Mutex<Vec<Step>>>,
    calls: Arc<Mutex<Vec<Call>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Model {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (script, calls) = (Arc::<Mutex<Vec<Step>>>::default(), Arc::default());
        let (steps, log) = (Arc::clone(&script), Arc::clone(&calls));
        let serving = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (steps, log) = (Arc::clone(&steps), Arc::clone(&log));
                open.spawn(async move {
                    let service = service_fn(|request| answer(request, &steps, &log));
                    let http = hyper::server::conn::http1::Builder::new();
                    // Whoever asks may leave.
                    let _left = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self {
            address,
            script,
            calls,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    /// `http://127.0.0.1:port`
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What is done from now on; forgets the calls so far.
    pub(crate) fn script(&self, steps: &[Step]) {
        *self.script.lock().unwrap() = steps.to_vec();
        self.calls.lock().unwrap().clear();
    }

    /// The calls of a model since then, in order.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

async fn answer(
    request: Request<Incoming>,
    steps: &Mutex<Vec<Step>>,
    log: &Mutex<Vec<Call>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    // One that breaks off is of nobody any more.
    let bytes = body.collect().await.map(|body| body.to_bytes());
    let bytes = bytes.unwrap_or_default();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let path = head.uri.path().to_owned();
    let known: Option<Spoken> = match path.as_str() {
        "/api/chat" => Some((ollama::read, ollama::write)),
        "/v1/chat/completions" => Some((openai::read, openai::write)),
        "/v1/responses" => Some((responses::read, responses::write)),
        "/v1/messages" => Some((anthropic::read, anthropic::write)),
        path if path.starts_with("/v1beta/models/") => Some((gemini::read, gemini::write)),
        _ => None,
    };
    let Some((read, write)) = known else {
        return Ok(match path.as_str() {
            "/api/version" => whole(StatusCode::OK, &json!({"version": "0.12.6"})),
            "/api/tags" => whole(StatusCode::OK, &ollama::tags()),
            "/api/show" => whole(StatusCode::OK, &ollama::show()),
            _ => whole(
                StatusCode::NOT_FOUND,
                &json!({"error": "404 page not found"}),
            ),
        });
    };
    let mut asked = read(&body);
    asked.stream |= path.contains("stream");
    // What has to be an object of its own is a title.
    if body["format"].is_object() || body["text"]["format"]["type"] == "json_schema" {
        asked.tools.clear();
    }
    let said = next(&asked, &steps.lock().unwrap());
    log.lock().unwrap().push(Call {
        path: path.clone(),
        headers: head.headers,
        bytes: bytes.len(),
        body,
        turn: !asked.tools.is_empty(),
    });
    let mut response = Response::new(Full::from(write(&asked, &said)));
    let kind = match (path.as_str(), asked.stream) {
        ("/api/chat", true) => "application/x-ndjson",
        (_, true) => "text/event-stream",
        (_, false) => "application/json",
    };
    response
        .headers_mut()
        .insert(CONTENT_TYPE, kind.parse().unwrap());
    Ok(response)
}

fn whole(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    let kind = "application/json".parse().unwrap();
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// The step that a request is at.
fn next(asked: &Asked, steps: &[Step]) -> Said {
    if asked.tools.is_empty() {
        return Said::Text("A few words".to_owned());
    }
    match steps.get(asked.answered) {
        Some(Step::Write(path, text)) => write_file(asked, path, text),
        Some(Step::Run(command)) => run(asked, command),
        Some(Step::Say(text)) => Said::Text((*text).to_owned()),
        None => Said::Text("There is no such step.".to_owned()),
    }
}

fn write_file(asked: &Asked, path: &str, text: &str) -> Said {
    let path = format!("/workspace/{path}");
    for (tool, fields) in &asked.tools {
        let named = |name: &str| json!({name: path, "content": text});
        let arguments = match tool.as_str() {
            "Write" | "write_file" => named("file_path"),
            "write" if !fields["filePath"].is_null() => named("filePath"),
            "write" => named("path"),
            _ => continue,
        };
        return Said::Call(tool.clone(), arguments);
    }
    run(
        asked,
        &format!("printf '{}' > {path}", text.replace('\n', "\\n")),
    )
}

fn run(asked: &Asked, command: &str) -> Said {
    for (tool, fields) in &asked.tools {
        let arguments = match tool.as_str() {
            "bash" | "Bash" => json!({"command": command, "description": "Runs it"}),
            "exec_command" => json!({"cmd": command}),
            "shell" if fields["command"]["type"] == "array" => {
                json!({"command": ["bash", "-c", command]})
            }
            "shell" | "shell_command" | "run_shell_command" => json!({"command": command}),
            _ => continue,
        };
        return Said::Call(tool.clone(), arguments);
    }
    let names: Vec<&String> = asked.tools.iter().map(|(name, _)| name).collect();
    Said::Text(format!("There is no tool that I know: {names:?}"))
}

/// Server-sent events; a name where there is one.
pub(super) fn events(events: &[Value], named: bool) -> Vec<u8> {
    let mut text = String::new();
    for event in events {
        if named {
            text.push_str(&format!("event: {}\n", event["type"].as_str().unwrap()));
        }
        text.push_str(&format!("data: {event}\n\n"));
    }
    text.into_bytes()
}
