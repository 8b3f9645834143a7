//! A model server whose every answer is scripted: Ollama's HTTP on a port of its own.
//!
//! What it does with a chat is the next behaviour of its queue, or else what the last user message asks for:
//! a message that begins with a word of [`Behaviour::asked_for`] gets that behaviour, any other gets
//! `answer: <message> (turn <n>)`. Every request is recorded.

mod wire;

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Frame, Incoming},
    header,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

use self::wire::{line, model, show};

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The model that every server has.
pub(crate) const MODEL: &str = "scripted:1b";

/// What the server does with one chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// `answer: <last user message> (turn <n>)`, a few words a chunk.
    Answer,
    /// This text in one chunk, without any delay.
    Say(String),
    /// Calls this tool with these arguments.
    Call(&'static str, Value),
    /// This text, one character a chunk, with a pause before each.
    Letters(String, Duration),
    /// So many words, one a chunk, with a pause before each.
    Slow(usize, Duration),
    /// An HTTP status with Ollama's error body.
    Fail(u16),
    /// Takes the request and never answers.
    Hang,
    /// A word, and then nothing more.
    Stall,
    /// A complete answer whose chunks split every character that takes more than one byte.
    SplitUtf8,
    /// The connection breaks inside a character.
    CutUtf8,
    /// A word, and then an error line inside the 200.
    ErrorLine,
    /// The stream ends well, but without its last line.
    NoEnd,
    /// A line that is no JSON.
    Garbage,
}

/// The answer of [`Behaviour::SplitUtf8`]: characters of two, three and four bytes.
pub(crate) const UTF8: &str = "Zoë öffnet 学校 🌲🏰";

impl Behaviour {
    /// The behaviour that a message asks for by its first word.
    fn asked_for(message: &str) -> Self {
        match message.split_whitespace().next() {
            Some("instant") => Self::Say("done".to_owned()),
            Some("slow") => Self::Slow(50, Duration::from_millis(100)),
            Some("fail-500") => Self::Fail(500),
            Some("hang") => Self::Hang,
            Some("stall") => Self::Stall,
            Some("split-utf8") => Self::SplitUtf8,
            Some("cut-utf8") => Self::CutUtf8,
            Some("error-line") => Self::ErrorLine,
            Some("no-end") => Self::NoEnd,
            Some("garbage") => Self::Garbage,
            _ => Self::Answer,
        }
    }
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    /// `Null` when there was none.
    pub(crate) body: Value,
}

#[derive(Debug, Default)]
struct State {
    queue: Mutex<VecDeque<Behaviour>>,
    recorded: Mutex<Vec<Recorded>>,
    /// Whether its model takes pictures.
    sees: AtomicBool,
}

/// A running server; dropping it ends it with all of its connections.
#[derive(Debug)]
pub(crate) struct ModelServer {
    address: SocketAddr,
    state: Arc<State>,
    _task: AbortOnDropHandle<()>,
}

impl ModelServer {
    /// Starts a server on a free port of 127.0.0.1.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self {
            address,
            state,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// What `OLLAMA_HOST` has to be.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Appends what is to be done with a further chat.
    pub(crate) fn then(&self, behaviour: Behaviour) {
        lock(&self.state.queue).push_back(behaviour);
    }

    /// Its model takes pictures from here on.
    pub(crate) fn sees(&self) {
        self.state.sees.store(true, Ordering::SeqCst);
    }

    /// Every request so far, in the order of arrival.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        lock(&self.state.recorded).clone()
    }

    /// The bodies of the chats so far.
    pub(crate) fn chats(&self) -> Vec<Value> {
        self.requests()
            .into_iter()
            .filter(|request| request.path == "/api/chat")
            .map(|request| request.body)
            .collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                connections.spawn(serve(stream, Arc::clone(&state)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(answer(request, &state).await) }
    });
    // A client that goes away, and a stream that is cut on purpose, both end here.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(request: Request<Incoming>, state: &State) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let headers = request
        .headers()
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect();
    let bytes = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return error(400, "the body is incomplete"),
    };
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    lock(&state.recorded).push(Recorded {
        path: path.clone(),
        headers,
        body: body.clone(),
    });
    match path.as_str() {
        "/api/version" => object(&json!({"version": "0.12.6"})),
        "/api/tags" => object(&json!({"models": [model()]})),
        // Ollama takes the old `name` in `/api/show` too, and `ollama-rs` sends it.
        "/api/show" if body["name"] == MODEL => object(&show(state.sees.load(Ordering::SeqCst))),
        "/api/show" | "/api/chat" if body["model"] != MODEL => {
            error(404, &format!("model {} not found", body["model"]))
        }
        "/api/show" => object(&show(state.sees.load(Ordering::SeqCst))),
        "/api/chat" => chat(&body, state),
        "/api/pull" => pull(&body),
        _ => error(404, "404 page not found"),
    }
}

fn pull(request: &Value) -> Response<Body> {
    let whole: Vec<u8> = wire::pull(request).iter().flat_map(text).collect();
    let body = http_body_util::Full::new(Bytes::from(whole)).map_err(|never| match never {});
    respond(200, "application/x-ndjson", body)
}

fn chat(request: &Value, state: &State) -> Response<Body> {
    let messages = request["messages"].as_array().cloned().unwrap_or_default();
    let of_user: Vec<&str> = messages
        .iter()
        .filter(|message| message["role"] == "user")
        .filter_map(|message| message["content"].as_str())
        .collect();
    let last = of_user.last().copied().unwrap_or_default();
    let queued = lock(&state.queue).pop_front();
    match queued.unwrap_or_else(|| Behaviour::asked_for(last)) {
        Behaviour::Fail(status) => error(status, "the model runner has unexpectedly stopped"),
        behaviour => {
            let said = format!("answer: {last} (turn {})", of_user.len());
            if request["stream"] == Value::Bool(false) {
                return object(&line(&said, true));
            }
            let (sender, receiver) = mpsc::channel(1);
            tokio::spawn(async move {
                // The reader may go away at any time; then nobody needs the rest.
                let _ = script(behaviour, &said, &sender).await;
            });
            ndjson(receiver)
        }
    }
}

type Chunks = mpsc::Sender<Result<Bytes, io::Error>>;
type Gone = mpsc::error::SendError<Result<Bytes, io::Error>>;

/// Plays one behaviour onto the body of a 200.
async fn script(behaviour: Behaviour, said: &str, body: &Chunks) -> Result<(), Gone> {
    let end = || text(&line("", true));
    match behaviour {
        Behaviour::Answer => {
            for words in said.split_inclusive(' ') {
                body.send(Ok(text(&line(words, false)))).await?;
            }
            body.send(Ok(end())).await
        }
        Behaviour::Say(words) => {
            let whole = [text(&line(&words, false)), end()].concat();
            body.send(Ok(whole.into())).await
        }
        Behaviour::Call(tool, arguments) => {
            let call = wire::call(tool, &arguments);
            body.send(Ok([text(&call), end()].concat().into())).await
        }
        Behaviour::Letters(words, pause) => {
            for letter in words.chars() {
                tokio::time::sleep(pause).await;
                let piece = text(&line(letter.encode_utf8(&mut [0; 4]), false));
                body.send(Ok(piece)).await?;
            }
            body.send(Ok(end())).await
        }
        Behaviour::Slow(words, pause) => {
            for number in 0..words {
                tokio::time::sleep(pause).await;
                let word = format!("word{number} ");
                body.send(Ok(text(&line(&word, false)))).await?;
            }
            body.send(Ok(end())).await
        }
        Behaviour::Stall => {
            body.send(Ok(text(&line("Well, ", false)))).await?;
            body.closed().await;
            Ok(())
        }
        Behaviour::Hang | Behaviour::Fail(_) => {
            body.closed().await;
            Ok(())
        }
        Behaviour::SplitUtf8 => {
            for part in split(&text(&line(UTF8, false))) {
                body.send(Ok(part)).await?;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            body.send(Ok(end())).await
        }
        Behaviour::CutUtf8 => {
            let whole = text(&line("Zoë", false));
            let inside = whole.iter().position(|byte| *byte >= 0x80).unwrap_or(0) + 1;
            body.send(Ok(text(&line("Her name is ", false)))).await?;
            body.send(Ok(whole.slice(..inside))).await?;
            // Time for what was written to leave, so that the break comes inside the character.
            tokio::time::sleep(Duration::from_millis(20)).await;
            body.send(Err(io::ErrorKind::ConnectionReset.into())).await
        }
        Behaviour::ErrorLine => {
            body.send(Ok(text(&line("Well, ", false)))).await?;
            let error = json!({"error": "an error was encountered while running the model"});
            body.send(Ok(text(&error))).await
        }
        Behaviour::NoEnd => body.send(Ok(text(&line("Well, ", false)))).await,
        Behaviour::Garbage => body.send(Ok(Bytes::from_static(b"<html>\n"))).await,
    }
}

/// Splits behind the first byte of every character that has more than one.
fn split(bytes: &Bytes) -> Vec<Bytes> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0xC0 {
            parts.push(bytes.slice(start..=at));
            start = at + 1;
        }
    }
    parts.push(bytes.slice(start..));
    parts
}

fn text(value: &Value) -> Bytes {
    format!("{value}\n").into()
}

fn ndjson(receiver: mpsc::Receiver<Result<Bytes, io::Error>>) -> Response<Body> {
    let chunks = stream::unfold(receiver, |mut receiver| async move {
        let chunk = receiver.recv().await?;
        Some((chunk.map(Frame::data), receiver))
    });
    respond(200, "application/x-ndjson", StreamBody::new(chunks))
}

fn object(value: &Value) -> Response<Body> {
    whole(200, value)
}

fn error(status: u16, message: &str) -> Response<Body> {
    whole(status, &json!({"error": message}))
}

fn whole(status: u16, value: &Value) -> Response<Body> {
    let bytes = Bytes::from(value.to_string());
    let body = http_body_util::Full::new(bytes).map_err(|never| match never {});
    respond(status, "application/json; charset=utf-8", body)
}

fn respond<B>(status: u16, content_type: &'static str, body: B) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes, Error = io::Error> + Send + 'static,
{
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn post(server: &ModelServer, prompt: &str) -> reqwest::Response {
        let body = json!({
            "model": MODEL,
            "messages": [{"role": "user", "content": prompt}],
        });
        reqwest::Client::new()
            .post(format!("{}/api/chat", server.url()))
            .header("authorization", "Bearer token")
            .body(body.to_string())
            .send()
            .await
            .unwrap()
    }

    fn content(body: &str) -> String {
        body.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter_map(|line| line["message"]["content"].as_str().map(str::to_owned))
            .collect()
    }

    #[tokio::test]
    async fn answers_with_the_last_message_and_the_turn() {
        let server = ModelServer::start().await;
        let body = post(&server, "hello there").await.text().await.unwrap();
        assert_eq!(content(&body), "answer: hello there (turn 1)");
        assert!(body.ends_with("}\n") && body.contains("\"eval_count\":11"));
        assert_eq!(server.chats()[0]["messages"][0]["content"], "hello there");
        assert_eq!(
            server.requests()[0].headers["authorization"],
            "Bearer token"
        );
    }

    #[tokio::test]
    async fn queue_comes_before_the_prompt() {
        let server = ModelServer::start().await;
        server.then(Behaviour::Say("queued".to_owned()));
        server.then(Behaviour::Fail(503));
        let first = post(&server, "hang").await.text().await.unwrap();
        assert_eq!(content(&first), "queued");
        assert_eq!(post(&server, "x").await.status(), 503);
        assert_eq!(post(&server, "fail-500").await.status(), 500);
        let slow = Behaviour::Slow(3, Duration::from_millis(1));
        server.then(slow);
        let slow = post(&server, "x").await.text().await.unwrap();
        assert_eq!(content(&slow), "word0 word1 word2 ");
    }

    #[tokio::test]
    async fn splits_and_cuts_characters() {
        let server = ModelServer::start().await;
        let split = post(&server, "split-utf8").await.text().await.unwrap();
        assert_eq!(content(&split), UTF8);
        let mut cut = post(&server, "cut-utf8").await;
        let mut bytes = Vec::new();
        let broken = loop {
            match cut.chunk().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        assert!(broken, "the stream ended as if it were whole");
        assert_eq!(bytes.last(), Some(&"ë".as_bytes()[0]));
    }

    #[tokio::test]
    async fn streams_break_in_every_other_way() {
        let server = ModelServer::start().await;
        let error = post(&server, "error-line").await.text().await.unwrap();
        assert!(error.lines().last().unwrap().starts_with("{\"error\""));
        let no_end = post(&server, "no-end").await.text().await.unwrap();
        assert!(no_end.contains("\"done\":false") && !no_end.contains("\"done\":true"));
        let garbage = post(&server, "garbage").await.text().await.unwrap();
        assert_eq!(garbage, "<html>\n");
        for prompt in ["hang", "stall"] {
            let waiting = async { post(&server, prompt).await.text().await };
            let ended = tokio::time::timeout(Duration::from_millis(200), waiting).await;
            assert!(ended.is_err(), "{prompt} ended");
        }
    }

    #[tokio::test]
    async fn lists_and_shows_its_model() {
        let server = ModelServer::start().await;
        let tags = reqwest::get(format!("{}/api/tags", server.url())).await;
        let tags: Value = tags.unwrap().json().await.unwrap();
        assert_eq!(tags["models"][0]["name"], MODEL);
        let show = |model: &'static str| {
            let client = reqwest::Client::new();
            let url = format!("{}/api/show", server.url());
            async move {
                let request = client.post(url).json(&json!({"model": model}));
                request.send().await.unwrap().status()
            }
        };
        assert_eq!(show(MODEL).await, 200);
        assert_eq!(show("other").await, 404);
        let version = reqwest::get(format!("{}/api/version", server.url())).await;
        assert_eq!(version.unwrap().status(), 200);
    }
}
