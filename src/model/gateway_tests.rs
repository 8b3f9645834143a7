//! The gateway against a model server that misbehaves, over an in-memory connection.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use serde_json::{Value, json};

use super::*;
use crate::model::CallStatus;
use crate::model::session::BODY_BYTES;
use crate::model::testing::{Act, OK, Upstream, send, upstream};

const LINE: &str = "{\"message\":{\"role\":\"assistant\",\"content\":\"hé\"},\"done\":false}\n";
const DONE: &str = "{\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\
    \"prompt_eval_count\":20,\"eval_count\":5,\"load_duration\":3000000}\n";
const CHAT: &str = "{\"model\":\"evil\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";

pub(super) struct Bench {
    pub(super) session: SessionGateway,
    pub(super) calls: mpsc::Receiver<ModelCall>,
}

pub(super) fn bench(url: &str, budget: Budget, change: impl FnOnce(&mut Config)) -> Bench {
    let mut config = Config {
        ollama: url.to_owned(),
        ..Config::default()
    };
    change(&mut config);
    let options = ModelOptions {
        temperature: Some(0.5),
        ..ModelOptions::default()
    };
    bench_with(config, &|_| None, &["m:1"], options, budget)
}

pub(super) fn bench_with(
    config: Config,
    env: &dyn Fn(&str) -> Option<String>,
    models: &[&str],
    options: ModelOptions,
    budget: Budget,
) -> Bench {
    let (sender, calls) = mpsc::channel(8);
    let gateway = Gateway::with_environment(config, env).unwrap();
    let session = gateway.admit(SessionPolicy {
        token: "secret".to_owned(),
        model: models[0].into(),
        fallback: models[1..].iter().map(|name| (*name).into()).collect(),
        options,
        budget,
        calls: sender,
    });
    Bench { session, calls }
}

impl Bench {
    pub(super) fn connect(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let session = self.session.clone();
        tokio::spawn(async move { session.serve(far).await });
        near
    }

    /// Status and body of one exchange.
    pub(super) async fn exchange(&self, head: &str, body: &str) -> (u16, String) {
        let mut near = self.connect();
        let length = body.len();
        let text = format!(
            "{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        near.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        parse(&answer)
    }

    async fn chat(&self) -> (u16, String) {
        self.exchange(
            "POST /api/chat HTTP/1.1\r\nAuthorization: Bearer secret",
            CHAT,
        )
        .await
    }

    pub(super) async fn call(&mut self) -> ModelCall {
        self.calls.recv().await.unwrap()
    }

    pub(super) async fn failure(&mut self) -> ModelError {
        match self.call().await.status {
            CallStatus::Failed(error) => error,
            CallStatus::Ok => panic!("the call succeeded"),
        }
    }
}

use crate::model::ModelError;

/// Takes the chunked coding off.
fn parse(answer: &[u8]) -> (u16, String) {
    let end = answer.windows(4).position(|at| at == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head[9..12].parse().unwrap();
    let mut rest = &answer[end + 4..];
    if !head.to_lowercase().contains("transfer-encoding: chunked") {
        return (status, String::from_utf8(rest.to_vec()).unwrap());
    }
    let mut body = Vec::new();
    loop {
        let at = rest.windows(2).position(|at| at == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..at]).unwrap(), 16).unwrap();
        if size == 0 {
            return (status, String::from_utf8(body).unwrap());
        }
        body.extend_from_slice(&rest[at + 2..at + 2 + size]);
        rest = &rest[at + 4 + size..];
    }
}

pub(super) async fn plain(acts: Vec<Act>) -> (Bench, Upstream) {
    let upstream = upstream(acts).await;
    (bench(&upstream.url, Budget::default(), |_| {}), upstream)
}

#[tokio::test]
async fn passes_an_answer_on_and_meters_it() {
    let (mut bench, upstream) = plain(vec![send(OK), send(LINE), send(DONE)]).await;
    assert_eq!(bench.chat().await, (200, format!("{LINE}{DONE}")));
    let call = bench.call().await;
    assert!(matches!(call.status, CallStatus::Ok));
    assert_eq!(
        (call.prompt_tokens, call.output_tokens, call.load_ms),
        (20, 5, Some(3))
    );
    assert!(call.latency_first_ms.unwrap() <= call.latency_total_ms && !call.truncated);
    let request = upstream.requests.lock().unwrap().pop().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(!head.to_lowercase().contains("authorization") && !request.contains("secret"));
    assert_eq!(
        serde_json::from_str::<Value>(body).unwrap(),
        json!({
            "model": "m:1", "messages": [{"role": "user", "content": "hi"}], "stream": true,
            "options": {"temperature": 0.5, "num_ctx": 8192}, "keep_alive": "10m",
        })
    );
}

#[tokio::test]
async fn a_line_survives_being_cut_inside_a_character() {
    let at = LINE.find('é').unwrap() + 1;
    let (bench, _upstream) = plain(vec![
        send(OK),
        send(&LINE.as_bytes()[..at]),
        Act::Wait(Duration::from_millis(20)),
        send(&LINE.as_bytes()[at..]),
        send(DONE),
    ])
    .await;
    assert_eq!(bench.chat().await, (200, format!("{LINE}{DONE}")));
}

#[tokio::test]
async fn an_answer_that_ends_inside_a_character_was_cut_off() {
    let at = LINE.find('é').unwrap() + 1;
    let (mut bench, _upstream) =
        plain(vec![send(OK), send(LINE), send(&LINE.as_bytes()[..at])]).await;
    let (status, body) = bench.chat().await;
    let last: Value = serde_json::from_str(body.lines().last().unwrap()).unwrap();
    assert_eq!(
        last,
        json!({"error": "the model's answer was cut off", "code": "model"})
    );
    assert_eq!(status, 200);
    assert!(matches!(bench.failure().await, ModelError::Cut(_)));
}

#[tokio::test]
async fn an_answer_without_its_end_was_cut_off() {
    let (mut bench, _upstream) = plain(vec![send(OK), send(LINE)]).await;
    assert!(
        bench
            .chat()
            .await
            .1
            .contains("the model's answer was cut off")
    );
    let call = bench.call().await;
    assert_eq!(call.output_tokens, 1);
    assert!(matches!(
        call.status,
        CallStatus::Failed(ModelError::Cut(_))
    ));
}

#[tokio::test]
async fn an_error_line_inside_the_answer_is_an_error() {
    let (mut bench, _upstream) = plain(vec![
        send(OK),
        send(LINE),
        send("{\"error\":\"out of\\u0007 memory\"}\n"),
    ])
    .await;
    let (_, body) = bench.chat().await;
    assert!(body.contains("the model failed: out of  memory"), "{body}");
    assert!(matches!(bench.failure().await, ModelError::InStream { .. }));
}

#[tokio::test]
async fn an_error_as_the_first_line_has_a_status() {
    let (bench, _upstream) = plain(vec![send(OK), send("{\"error\":\"x\"}\n")]).await;
    assert_eq!(bench.chat().await.0, 502);
}

#[tokio::test]
async fn the_servers_refusals_are_told_apart() {
    for (status, code, word, got) in [
        ("500 Internal Server Error", 500, "model", 502),
        ("404 Not Found", 404, "no-model", 404),
        ("400 Bad Request", 400, "model", 400),
        (
            "302 Found\r\nLocation: http://127.0.0.1:1/",
            302,
            "model",
            502,
        ),
    ] {
        let body = "{\"error\":\"because\"}";
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (mut bench, _upstream) = plain(vec![send(head)]).await;
        let (status, body) = bench.chat().await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, body["code"].as_str()), (got, Some(word)), "{code}");
        assert_eq!(bench.failure().await.code(), word);
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up() {
    let short = |config: &mut Config| (config.first_byte_s, config.idle_s) = (1, 1);
    let hanging = upstream(vec![Act::Hang]).await;
    let mut early = bench(&hanging.url, Budget::default(), short);
    assert_eq!(early.chat().await.0, 504);
    assert!(matches!(
        early.failure().await,
        ModelError::FirstByte { .. }
    ));
    hanging.is_left().await;
    let standing = upstream(vec![send(OK), send(LINE), Act::Hang]).await;
    let mut late = bench(&standing.url, Budget::default(), short);
    let (status, body) = late.chat().await;
    assert!(
        status == 200 && body.contains("stood still for 1 s"),
        "{body}"
    );
    assert!(matches!(late.failure().await, ModelError::Idle { .. }));
}

#[tokio::test]
async fn no_server_is_no_model_and_names_no_address() {
    let mut bench = bench("127.0.0.1:1", Budget::default(), |_| {});
    let (status, body) = bench.chat().await;
    assert_eq!(
        (status, body.as_str()),
        (
            502,
            "{\"error\":\"no model server answers\",\"code\":\"no-model\"}"
        )
    );
    assert!(matches!(bench.failure().await, ModelError::Unreachable(_)));
}

#[tokio::test]
async fn budgets_end_a_call_and_refuse_the_next() {
    let tokens = Budget {
        tokens: Some(8),
        ..Budget::default()
    };
    let many = upstream(vec![send(OK), send(LINE.repeat(50)), send(DONE)]).await;
    let mut bench = bench(&many.url, tokens, |_| {});
    let (status, body) = bench.chat().await;
    assert_eq!((status, body.lines().count()), (200, 4));
    assert!(body.contains("the session's budget of 8 tokens is used up"));
    assert!(matches!(
        bench.failure().await,
        ModelError::Tokens { limit: 8 }
    ));
    let (status, body) = bench.chat().await;
    assert!(status == 429 && body.contains("quota"), "{body}");
    assert!(matches!(
        bench.failure().await,
        ModelError::Tokens { limit: 8 }
    ));
    assert_eq!(many.requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_budget_of_time_ends_a_call() {
    let seconds = Budget {
        seconds: Some(1),
        ..Budget::default()
    };
    let slow = upstream(vec![send(OK), send(LINE), Act::Hang]).await;
    let mut bench = bench(&slow.url, seconds, |_| {});
    assert!(bench.chat().await.1.contains("1 s of the model's time"));
    assert!(matches!(
        bench.failure().await,
        ModelError::Seconds { limit: 1 }
    ));
    assert_eq!(bench.chat().await.0, 429);
}

#[tokio::test]
async fn a_session_that_hangs_up_ends_the_call() {
    for acts in [vec![Act::Hang], vec![send(OK), send(LINE), Act::Hang]] {
        let (mut bench, upstream) = plain(acts).await;
        let mut near = bench.connect();
        let length = CHAT.len();
        let text = format!(
            "POST /api/chat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nContent-Length: {length}\r\n\r\n{CHAT}"
        );
        near.write_all(text.as_bytes()).await.unwrap();
        while upstream.requests.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
        drop(near);
        let failure = tokio::time::timeout(Duration::from_secs(5), bench.failure())
            .await
            .unwrap();
        assert!(matches!(failure, ModelError::Cancelled));
        upstream.is_left().await;
    }
}

#[tokio::test]
async fn only_the_sessions_token_opens_it() {
    let (bench, upstream) = plain(vec![send(OK), send(DONE)]).await;
    for header in [
        "",
        "\r\nAuthorization: Bearer secret2",
        "\r\nAuthorization: Bearer ",
        "\r\nAuthorization: secret",
        "\r\nAuthorization: Basic secret",
    ] {
        let (status, body) = bench
            .exchange(&format!("POST /api/chat HTTP/1.1{header}"), CHAT)
            .await;
        assert_eq!(status, 401, "{header:?} {body}");
    }
    assert!(upstream.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn nothing_but_the_conversation_passes() {
    let (bench, upstream) = plain(vec![send(OK), send(DONE)]).await;
    for line in [
        "POST /api/pull",
        "DELETE /api/delete",
        "POST /api/create",
        "POST /api/copy",
        "POST /api/push",
        "HEAD /api/blobs/sha256:0",
        "POST /api/generate",
        "POST /api/show",
        "GET /",
        "GET /api/ps",
        "GET /api/chat",
        "POST /api/chat/",
        "POST /api//chat",
        "POST /api/chat/../pull",
        "POST /v1/completions",
        "POST /v1/responses/compact",
        "GET /v1/responses/resp_1",
        "GET /v1/models/a/b",
        "POST /v1/embeddings",
        "POST /v1/files",
        "DELETE /v1/models/m",
        "PUT /api/chat",
    ] {
        let head = format!("{line} HTTP/1.1\r\nAuthorization: Bearer secret");
        let (status, _) = bench.exchange(&head, "{}").await;
        assert_eq!(status, 403, "{line}");
    }
    let tags = bench
        .exchange("GET /api/tags HTTP/1.1\r\nAuthorization: Bearer secret", "")
        .await;
    assert_eq!(
        tags,
        (
            200,
            "{\"models\":[{\"name\":\"m:1\",\"model\":\"m:1\"}]}".to_owned()
        )
    );
    let chat = "POST /api/chat HTTP/1.1\r\nAuthorization: Bearer secret";
    assert_eq!(bench.exchange(chat, "{\"messages\":[]}").await.0, 400);
    assert_eq!(bench.exchange(chat, "nonsense").await.0, 400);
    assert!(upstream.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn requests_over_the_bounds_are_refused() {
    let (bench, _upstream) = plain(vec![]).await;
    let large = format!(
        "{{\"messages\":[{{\"role\":\"user\",\"content\":\"{}\"}}]}}",
        "x".repeat(BODY_BYTES)
    );
    let chat = "POST /api/chat HTTP/1.1\r\nAuthorization: Bearer secret\r\nExpect: 100-continue";
    let mut near = bench.connect();
    let head = format!(
        "{chat}\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        large.len()
    );
    near.write_all(head.as_bytes()).await.unwrap();
    let (mut read, mut write) = tokio::io::split(near);
    let writing = tokio::spawn(async move { write.write_all(large.as_bytes()).await });
    let mut answer = vec![0; 12];
    read.read_exact(&mut answer).await.unwrap();
    assert!(
        answer == b"HTTP/1.1 413" || answer == b"HTTP/1.1 100",
        "{:?}",
        String::from_utf8_lossy(&answer)
    );
    writing.abort();
    let mut near = bench.connect();
    let head = format!(
        "GET /api/tags HTTP/1.1\r\nX: {}\r\n\r\n",
        "x".repeat(HEAD_BYTES * 2)
    );
    // The server may close before it has read everything.
    let _sent = tokio::time::timeout(Duration::from_secs(2), near.write_all(head.as_bytes())).await;
    let mut answer = vec![0; 12];
    near.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 431");
}

#[tokio::test]
async fn a_session_that_is_over_makes_no_calls() {
    let upstream = plain(vec![send(OK), send(DONE)]).await.1;
    let mut unrecorded = bench(&upstream.url, Budget::default(), |_| {});
    unrecorded.calls.close();
    assert_eq!(unrecorded.chat().await.0, 503);
    assert!(upstream.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn no_more_requests_are_read_at_once_than_a_session_may() {
    let (bench, _upstream) = plain(vec![Act::Hang]).await;
    let head = "POST /api/chat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nContent-Length: 9000000\r\n\r\n";
    let mut open = Vec::new();
    for taken in [true, true, false] {
        let mut near = bench.connect();
        near.write_all(head.as_bytes()).await.unwrap();
        let body = vec![b' '; 1 << 20];
        let sending = tokio::time::timeout(Duration::from_millis(500), near.write_all(&body));
        assert_eq!(sending.await.is_ok(), taken);
        open.push(near);
    }
    // One that breaks off makes room.
    drop(open.remove(0));
    let sending = tokio::time::timeout(Duration::from_secs(5), open[1].write_all(&[b' '; 1 << 20]));
    assert!(sending.await.unwrap().is_ok());
}

#[tokio::test]
async fn slow_requests_of_some_sessions_do_not_keep_the_others_waiting() {
    let upstream = upstream(vec![send(OK), send(DONE)]).await;
    let gateway_of = bench(&upstream.url, Budget::default(), |_| {});
    let gateway = gateway_of.session.0.gateway.clone();
    let other = || {
        let (sender, calls) = mpsc::channel(8);
        let session = gateway.admit(SessionPolicy {
            token: "secret".to_owned(),
            model: "m:1".into(),
            fallback: Vec::new(),
            options: ModelOptions::default(),
            budget: Budget::default(),
            calls: sender,
        });
        Bench { session, calls }
    };
    let slow = [other(), other()];
    let head = "POST /api/chat HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nContent-Length: 999\r\n\r\n{";
    let mut held = Vec::new();
    for bench in slow.iter().cycle().take(4) {
        let mut near = bench.connect();
        near.write_all(head.as_bytes()).await.unwrap();
        held.push(near);
    }
    while gateway.reading.available_permits() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let answer = tokio::time::timeout(Duration::from_secs(20), gateway_of.chat()).await;
    assert_eq!(answer.expect("it waits for the slow ones").0, 200);
}
