//! The chat agent as a session runs it: our peer, the agent, the gateway and a model server, each over
//! the connection that it has in a container (stdio; HTTP bridged from a loopback port).

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, Receiver};
use tokio_util::task::AbortOnDropHandle;
use treefort::agent::acp::{Error, Limits, Peer, SessionId, StopReason, TokenUsage, Turn};
use treefort::agent::chat;
use treefort::agent::claims::Claim;
use treefort::agent::journal::Journal;
use treefort::model::gateway::{Gateway, SessionPolicy};
use treefort::model::scripted::{self, Answer, Scripted};
use treefort::model::{Budget, CallStatus, Config, ModelCall, ModelError, ModelOptions};

struct Stage {
    peer: Peer,
    claims: Receiver<Claim>,
    calls: Receiver<ModelCall>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

async fn stage(url: &str, model: &str, token: &str, budget: Budget) -> Stage {
    let (sender, calls) = mpsc::channel(8);
    let gateway = Gateway::new(Config {
        ollama: url.to_owned(),
        ..Config::default()
    })
    .unwrap();
    let gateway = gateway.admit(SessionPolicy {
        token: "t".to_owned(),
        model: model.into(),
        fallback: Vec::new(),
        options: ModelOptions::default(),
        budget,
        calls: sender,
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let bridge = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let gateway = gateway.clone();
            connections.spawn(async move { gateway.serve(stream).await });
        }
    });
    let (near, far) = tokio::io::duplex(4096);
    let (read, write) = tokio::io::split(far);
    let token = token.to_owned();
    let agent = tokio::spawn(async move {
        chat::serve(read, write, &endpoint, &token).await.unwrap();
    });
    let (peer, claims) = Peer::connect(near, Journal::none(), Limits::default());
    let info = peer.initialize().await.unwrap();
    assert_eq!(info.name, "treefort-chat");
    let _tasks = vec![
        AbortOnDropHandle::new(bridge),
        AbortOnDropHandle::new(agent),
    ];
    Stage {
        peer,
        claims,
        calls,
        _tasks,
    }
}

impl Stage {
    async fn ask(&self, session: &SessionId, text: &str) -> Result<Turn, Error> {
        self.peer
            .prompt(session, vec![json!({"type": "text", "text": text})])
            .await
    }

    fn said(&mut self) -> (String, String, usize) {
        let (mut text, mut thought, mut pieces) = (String::new(), String::new(), 0);
        while let Ok(claim) = self.claims.try_recv() {
            pieces += 1;
            match claim {
                Claim::Text(piece) => text.push_str(&piece),
                Claim::Thought(piece) => thought.push_str(&piece),
                claim => panic!("{claim:?}"),
            }
        }
        (text, thought, pieces)
    }
}

type Seen = Arc<Mutex<Vec<Vec<scripted::Message>>>>;

async fn scripted_server(answer: Answer) -> (String, Scripted, Seen) {
    let seen: Seen = Arc::default();
    let log = Arc::clone(&seen);
    let script: scripted::Script = Arc::new(move |asked| {
        log.lock().unwrap().push(asked.messages.to_vec());
        answer.clone()
    });
    let (url, server) = Scripted::start(script).await.unwrap();
    (url, server, seen)
}

#[tokio::test]
async fn talks_with_history_and_streams() {
    let mut answer = Answer::new("Grüße — 日本語 und mehr.").at_once();
    answer.thinking = "let me see".to_owned();
    let (url, _server, seen) = scripted_server(answer).await;
    let mut stage = stage(&url, scripted::MODEL, "t", Budget::default()).await;
    let meta = json!({
        "treefort/history": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        "treefort/system": "Speak like a pirate.",
    });
    let session = stage.peer.new_session("/", meta).await.unwrap();
    let turn = stage.ask(&session, "hello").await.unwrap();
    assert_eq!(turn.stop_reason, StopReason::EndTurn);
    let (text, thought, pieces) = stage.said();
    assert_eq!(
        (text.as_str(), thought.as_str()),
        ("Grüße — 日本語 und mehr.", "let me see")
    );
    assert!(pieces >= 6, "{pieces}");
    let call = stage.calls.recv().await.unwrap();
    assert!(matches!(call.status, CallStatus::Ok));
    let usage = TokenUsage {
        input: call.prompt_tokens,
        output: call.output_tokens,
    };
    assert!(usage.input > 0 && usage.output > 0);
    assert_eq!(turn.usage, Some(usage));

    let blocks = vec![
        json!({"type": "text", "text": "and this?"}),
        json!({"type": "resource_link", "name": "doc", "uri": "https://example.com/d"}),
        json!({"type": "resource", "resource": {"uri": "file:///a", "text": "content"}}),
    ];
    stage.peer.prompt(&session, blocks).await.unwrap();
    let seen = seen.lock().unwrap();
    let roles: Vec<_> = seen[1]
        .iter()
        .map(|message| message.role.as_str())
        .collect();
    assert_eq!(
        roles,
        ["system", "user", "assistant", "user", "assistant", "user"]
    );
    assert!(seen[1][0].content.ends_with("Speak like a pirate."));
    assert_eq!(seen[1][4].content, text);
    assert_eq!(
        seen[1][5].content,
        "and this?\n\n[doc](https://example.com/d)\n\n<attached uri=\"file:///a\">\ncontent\n</attached>"
    );
}

#[tokio::test]
async fn cancelling_ends_the_models_work_at_once() {
    let mut answer = Answer::new("one two three four five six seven eight nine ten");
    answer.piece = Duration::from_secs(5);
    answer.first = Duration::ZERO;
    let (url, _server, _seen) = scripted_server(answer).await;
    let mut stage = stage(&url, scripted::MODEL, "t", Budget::default()).await;
    let session = stage.peer.new_session("/", Value::Null).await.unwrap();
    let started = Instant::now();
    let (peer, id) = (stage.peer.clone(), session.clone());
    let turn = tokio::spawn(async move {
        peer.prompt(&id, vec![json!({"type": "text", "text": "count"})])
            .await
    });
    assert_eq!(
        stage.claims.recv().await,
        Some(Claim::Text("one".to_owned()))
    );
    let busy = stage.ask(&session, "meanwhile").await.unwrap_err();
    assert!(matches!(busy, Error::Rpc { .. }));
    stage.peer.cancel(&session).await.unwrap();
    assert_eq!(
        turn.await.unwrap().unwrap().stop_reason,
        StopReason::Cancelled
    );
    let call = tokio::time::timeout(Duration::from_secs(3), stage.calls.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(
        call.status,
        CallStatus::Failed(ModelError::Cancelled)
    ));
    assert!(started.elapsed() < Duration::from_secs(3));
}

async fn error_of(stage: &Stage) -> (String, Option<String>) {
    let session = stage.peer.new_session("/", Value::Null).await.unwrap();
    match stage.ask(&session, "hello").await {
        Err(Error::Rpc { error, .. }) => (error.message.clone(), error.word().map(str::to_owned)),
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test]
async fn model_errors_reach_the_peer_as_a_sentence_and_a_word() {
    let (url, server, _seen) = scripted_server(Answer::new("a b c d e f g").at_once()).await;
    let unknown = stage(&url, "other", "t", Budget::default()).await;
    assert_eq!(
        error_of(&unknown).await,
        (
            "the model server does not have the model other".to_owned(),
            Some("no-model".to_owned())
        )
    );
    let foreign = stage(&url, scripted::MODEL, "wrong", Budget::default()).await;
    assert_eq!(
        error_of(&foreign).await.0,
        "the token is not this session's"
    );
    let poor = stage(
        &url,
        scripted::MODEL,
        "t",
        Budget {
            tokens: Some(3),
            ..Budget::default()
        },
    )
    .await;
    assert_eq!(
        error_of(&poor).await,
        (
            "the session's budget of 3 tokens is used up".to_owned(),
            Some("quota".to_owned())
        )
    );
    drop(server);
    let alone = stage(&url, scripted::MODEL, "t", Budget::default()).await;
    assert_eq!(
        error_of(&alone).await,
        (
            "no model server answers".to_owned(),
            Some("no-model".to_owned())
        )
    );
}

#[tokio::test]
async fn refuses_what_it_cannot_read() {
    let (url, _server, _seen) = scripted_server(Answer::new("x").at_once()).await;
    let stage = stage(&url, scripted::MODEL, "t", Budget::default()).await;
    let session = stage.peer.new_session("/", Value::Null).await.unwrap();
    let image = vec![json!({"type": "image", "data": "", "mimeType": "image/png"})];
    let Err(Error::Rpc { error, .. }) = stage.peer.prompt(&session, image).await else {
        panic!()
    };
    assert_eq!(error.word(), Some("unsupported"));
    assert!(stage.ask(&SessionId("none".to_owned()), "x").await.is_err());
    assert!(stage.ask(&session, "  ").await.is_err());
    let meta = json!({"treefort/history": [{"role": "system", "content": "x"}]});
    assert!(stage.peer.new_session("/", meta).await.is_err());
    assert!(stage.peer.request("session/load", json!({})).await.is_err());
    stage.peer.end();
    stage.peer.closed().await;
}

/// The agent straight at a server that breaks its answer, as a gateway that dies would.
#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_whatever_was_said() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    let line = "{\"message\":{\"content\":\"hé\"},\"done\":false}\n";
    let inside = line.find('é').unwrap() + 1;
    for (sent, sentence) in [
        (vec![line.as_bytes()], "the model's answer was cut off"),
        (
            vec![line.as_bytes(), &line.as_bytes()[..inside]],
            "the model's answer was cut off",
        ),
        (
            vec![line.as_bytes(), b"{\"error\":\"out of memory\"}\n"],
            "out of memory",
        ),
        (
            vec![b"<html>\n"],
            "the model's answer is not what Ollama's API promises",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 8192];
            let count = stream.read(&mut buffer).await.unwrap();
            let request = String::from_utf8_lossy(&buffer[..count]).to_lowercase();
            assert!(request.contains("authorization: bearer t\r\n"));
            stream.write_all(head.as_bytes()).await.unwrap();
            for bytes in sent {
                stream.write_all(bytes).await.unwrap();
                stream.flush().await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let (near, far) = tokio::io::duplex(4096);
        let (read, write) = tokio::io::split(far);
        let agent = tokio::spawn(async move { chat::serve(read, write, &endpoint, "t").await });
        let _agent = AbortOnDropHandle::new(agent);
        let (peer, _claims) = Peer::connect(near, Journal::none(), Limits::default());
        let session = peer.new_session("/", Value::Null).await.unwrap();
        let prompt = peer.prompt(&session, vec![json!({"type": "text", "text": "x"})]);
        let (outcome, ()) = tokio::join!(prompt, server);
        let Err(Error::Rpc { error, .. }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(
            (error.message.as_str(), error.word()),
            (sentence, Some("model"))
        );
    }
}

#[tokio::test]
async fn opening_many_conversations_forgets_the_oldest() {
    let (url, _server, _seen) = scripted_server(Answer::new("x").at_once()).await;
    let mut stage = stage(&url, scripted::MODEL, "t", Budget::default()).await;
    let first = stage.peer.new_session("/", Value::Null).await.unwrap();
    for _ in 0..64 {
        stage.peer.new_session("/", Value::Null).await.unwrap();
    }
    let last = stage.peer.new_session("/", Value::Null).await.unwrap();
    assert!(stage.ask(&first, "hi").await.is_err());
    assert!(stage.ask(&last, "hi").await.is_ok());
    assert_eq!(stage.said().0, "x");
}
