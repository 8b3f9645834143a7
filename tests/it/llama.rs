//! The gateway in front of a real inference server: llama.cpp's, with a tiny model of random weights. What it
//! says means nothing; its protocol is the real one. `tests/run setup` gets the server.

mod gguf;

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use treefort::nips::Draft;

use crate::{
    harness::{
        Treefort,
        client::{status, tag},
    },
    model_server::ModelServer,
};
use treefort::model::{
    Budget, CallStatus, Config, Dialect, ModelCall, ModelError, ModelOptions, ProviderConfig,
    gateway::{Gateway, SessionPolicy},
};

/// The context that the server is started with.
const CONTEXT: u32 = 512;

/// Where `tests/run setup` puts what starts the server: in the target folder.
fn program() -> PathBuf {
    // The folder is `target/debug`, or `target/<platform>/debug`.
    let folders = Path::new(env!("CARGO_BIN_EXE_treefort"))
        .ancestors()
        .skip(2)
        .take(2);
    let mut programs = folders.map(|target| target.join("llama/run"));
    let found = programs.find(|program| program.exists());
    found.expect("no llama-server in the target folder; `tests/run setup` gets it")
}

/// A running llama-server; dropping it ends it.
pub(crate) struct Llama {
    child: Child,
    /// Up to and with `/v1`.
    pub(crate) url: String,
    _folder: tempfile::TempDir,
}

impl Llama {
    pub(crate) async fn start() -> Self {
        Self::start_with(CONTEXT).await
    }

    /// With a context of so many tokens.
    pub(crate) async fn start_with(context: u32) -> Self {
        assert!(context <= gguf::CONTEXT);
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("tiny.gguf");
        std::fs::write(&model, gguf::file()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(program())
            .arg("--model")
            .arg(&model)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args([
                "--ctx-size",
                &context.to_string(),
                "--parallel",
                "1",
                "--threads",
                "1",
            ])
            .args(["--alias", "tiny", "--no-warmup", "--seed", "7"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut llama = Self {
            child,
            url: format!("http://127.0.0.1:{port}/v1"),
            _folder: folder,
        };
        llama.wait().await;
        llama
    }

    async fn wait(&mut self) {
        let health = self.url.replace("/v1", "/health");
        let began = Instant::now();
        loop {
            if let Ok(answer) = reqwest::get(&health).await
                && answer.status() == 200
            {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || began.elapsed() > Duration::from_secs(60) {
                let log = std::fs::read_to_string(self._folder.path().join("log")).unwrap();
                panic!("llama-server does not start ({ended:?}):\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A session whose model is the server's, reached on a port in place of a container's stream.
struct Bench {
    base: String,
    calls: mpsc::Receiver<ModelCall>,
    _serving: AbortOnDropHandle<()>,
}

async fn bench(llama: &Llama, budget: Budget) -> Bench {
    let mut config = Config::default();
    let provider = ProviderConfig {
        dialect: Some(Dialect::OpenAi),
        url: llama.url.clone(),
        ..ProviderConfig::default()
    };
    config.providers.insert("llama".to_owned(), provider);
    let (sender, calls) = mpsc::channel(8);
    let session = Gateway::new(config).unwrap().admit(SessionPolicy {
        token: "secret".to_owned(),
        model: "llama:tiny".into(),
        fallback: Vec::new(),
        options: ModelOptions::default(),
        budget,
        calls: sender,
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let session = session.clone();
            connections.spawn(async move { session.serve(stream).await });
        }
    });
    Bench {
        base,
        calls,
        _serving: AbortOnDropHandle::new(serving),
    }
}

impl Bench {
    async fn post(&self, path: &str, body: &Value) -> (u16, String) {
        let request = reqwest::Client::new().post(format!("{}{path}", self.base));
        let answer = request
            .bearer_auth("secret")
            .json(body)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn call(&mut self) -> ModelCall {
        self.calls.recv().await.unwrap()
    }
}

/// The whole way with nothing scripted: OpenCode in its container, the gateway, a real server. Random weights
/// say nonsense, so what counts is that it is said, metered and signed.
#[tokio::test(flavor = "multi_thread")]
async fn the_real_opencode_talks_to_a_real_server() {
    let llama = Llama::start_with(16_384).await;
    let model = ModelServer::start().await;
    let config = format!(
        "[sandbox]\nbase = \"treefort-test-base:1\"\n[model]\nnum_ctx = 16384\n\
         [model.providers.llama]\ndialect = \"openai\"\nurl = \"{}\"\n",
        llama.url
    );
    let treefort = Treefort::start_with(&model, &[], &config);
    let mut customer = treefort.client(&treefort.operator()).await;
    let job = Draft::new(5870)
        .tag(["i", "Say something.", "text"])
        .tag(["p", &treefort.coordinator().to_hex()])
        .tag(["param", "agent", "opencode"])
        .tag(["param", "model", "llama:tiny"])
        .tag(["param", "max_tokens", "48"]);
    let (job, answers) = customer.do_job(&job).await;
    let said: Vec<String> = answers.iter().map(status).collect();
    assert_eq!(
        said.last().map(String::as_str),
        Some("success"),
        "{answers:?}"
    );
    let records = customer
        .query(json!({"kinds": [4781, 4782], "#E": [job.id.to_hex()]}))
        .await;
    let call = records
        .iter()
        .find(|record| tag(record, "l").as_deref() == Some("model"))
        .unwrap();
    let tokens = call.tags.iter().map(nostr_sdk::Tag::as_slice);
    let tokens = tokens.into_iter().find(|tag| tag[0] == "tokens").unwrap();
    // A token is a byte here: this is OpenCode's own prompt, and not the question alone.
    assert!(tokens[1].parse::<u64>().unwrap() > 500, "{tokens:?}");
    assert!(tokens[2].parse::<u64>().unwrap() <= 48, "{tokens:?}");
    assert_eq!(tag(call, "provider").as_deref(), Some("llama"));
    let start = records.iter().find(|record| record.kind.as_u16() == 4781);
    assert_eq!(tag(start.unwrap(), "tier").as_deref(), Some("local"));
}

fn asks(stream: bool, tokens: u32, text: &str) -> Value {
    json!({"model": "gpt-5.6-luna", "stream": stream, "max_tokens": tokens, "temperature": 0.7,
        "messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": text}]})
}

#[tokio::test]
async fn a_real_server_streams_and_is_metered() {
    let llama = Llama::start().await;
    let mut bench = bench(&llama, Budget::default()).await;
    let mut body = asks(true, 12, "Hello, Zoë!");
    body["stream_options"] = json!({"include_usage": true});
    let (status, answer) = bench.post("/v1/chat/completions", &body).await;
    assert_eq!(status, 200, "{answer}");
    let mut frames: Vec<&str> = answer
        .split("\n\n")
        .filter(|frame| !frame.is_empty())
        .collect();
    assert_eq!(frames.pop(), Some("data: [DONE]"), "{answer}");
    let chunks: Vec<Value> = frames
        .iter()
        .map(|frame| serde_json::from_str(frame.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    let usage = chunks
        .iter()
        .find_map(|chunk| chunk["usage"].as_object())
        .unwrap();
    let reasons: Vec<&str> = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str())
        .collect();
    assert!(reasons == ["length"] || reasons == ["stop"], "{reasons:?}");
    let call = bench.call().await;
    assert!(matches!(call.status, CallStatus::Ok), "{call:?}");
    // A token is a byte: the prompt has at least its own bytes, and the server's counts are the record's.
    assert!(call.prompt_tokens > 20, "{call:?}");
    assert_eq!(Some(call.prompt_tokens), usage["prompt_tokens"].as_u64());
    assert_eq!(
        Some(call.output_tokens),
        usage["completion_tokens"].as_u64()
    );
    assert!((1..=12).contains(&call.output_tokens), "{call:?}");
    assert_eq!((call.cost_microusd, call.local), (Some(0), true));
    assert_eq!(
        (call.model.0.as_str(), call.provider.as_str()),
        ("llama:tiny", "llama")
    );
    assert!(call.latency_first_ms.is_some());
}

#[tokio::test]
async fn a_real_server_answers_as_a_whole_and_to_the_chat_agent() {
    let llama = Llama::start().await;
    let mut bench = bench(&llama, Budget::default()).await;
    let (status, answer) = bench
        .post("/v1/chat/completions", &asks(false, 8, "Hi"))
        .await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        (status, &answer["object"]),
        (200, &json!("chat.completion")),
        "{answer}"
    );
    assert!(answer["choices"][0]["message"]["content"].is_string());
    let call = bench.call().await;
    assert_eq!(
        Some(call.prompt_tokens),
        answer["usage"]["prompt_tokens"].as_u64()
    );
    assert!(matches!(call.status, CallStatus::Ok));

    let chat = json!({"messages": [{"role": "user", "content": "Hi"}], "options": {"num_predict": 1},
        "format": {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}});
    let (status, answer) = bench.post("/api/chat", &chat).await;
    let lines: Vec<Value> = answer
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let last = lines.last().unwrap();
    assert_eq!((status, &last["done"]), (200, &json!(true)), "{answer}");
    let call = bench.call().await;
    assert_eq!(Some(call.prompt_tokens), last["prompt_eval_count"].as_u64());
    assert_eq!(Some(call.output_tokens), last["eval_count"].as_u64());
    // The grammar leaves a random model one way only, so its words are known.
    let said: String = lines
        .iter()
        .filter_map(|line| line["message"]["content"].as_str())
        .collect();
    let said: Value = serde_json::from_str(&said).unwrap();
    assert!(said["a"].is_boolean(), "{said}");
}

#[tokio::test]
async fn a_prompt_over_a_real_servers_context_is_an_error_and_not_silence() {
    let llama = Llama::start().await;
    let mut bench = bench(&llama, Budget::default()).await;
    for stream in [true, false] {
        let long = "too long ".repeat(CONTEXT as usize / 4);
        let (status, answer) = bench
            .post("/v1/chat/completions", &asks(stream, 8, &long))
            .await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!("model")),
            "{answer}"
        );
        let sentence = answer["error"]["message"].as_str().unwrap();
        assert!(sentence.contains("context"), "{sentence}");
        let failed = bench.call().await.status;
        assert!(
            matches!(
                failed,
                CallStatus::Failed(ModelError::Rejected { status: 400, .. })
            ),
            "{failed:?}"
        );
    }
}

#[tokio::test]
async fn a_real_servers_errors_and_paths_are_kept_from_the_session() {
    let llama = Llama::start().await;
    let tokens = Budget {
        tokens: Some(40),
        ..Budget::default()
    };
    let mut bench = bench(&llama, tokens).await;
    for path in [
        "/props",
        "/slots",
        "/completion",
        "/v1/embeddings",
        "/tokenize",
        "/lora-adapters",
    ] {
        assert_eq!(bench.post(path, &json!({})).await.0, 403, "{path}");
    }
    let wrong = json!({"messages": [{"role": "user", "content": "x"}],
        "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "nonsense"}}}});
    let (status, answer) = bench.post("/v1/chat/completions", &wrong).await;
    assert!(
        status == 400 && answer.contains("\"error\""),
        "{status} {answer}"
    );
    assert!(matches!(
        bench.call().await.status,
        CallStatus::Failed(ModelError::Rejected { .. })
    ));
    let (status, answer) = bench
        .post("/v1/chat/completions", &asks(true, 400, "Hi"))
        .await;
    let call = bench.call().await;
    assert_eq!(status, 200, "{answer}");
    if let CallStatus::Failed(error) = &call.status {
        assert!(
            matches!(error, ModelError::Tokens { limit: 40 }),
            "{error:?}"
        );
    }
    // Prompt and answer together are over the budget now.
    let (status, answer) = bench
        .post("/v1/chat/completions", &asks(true, 8, "Hi"))
        .await;
    assert!(
        status == 402 && answer.contains("insufficient_quota"),
        "{status} {answer}"
    );
}

#[tokio::test]
async fn a_session_that_hangs_up_frees_a_real_servers_only_slot() {
    let llama = Llama::start().await;
    let mut bench = bench(&llama, Budget::default()).await;
    let request = reqwest::Client::new().post(format!("{}/v1/chat/completions", bench.base));
    let body = asks(true, 400, "Hi");
    let mut answer = request
        .bearer_auth("secret")
        .json(&body)
        .send()
        .await
        .unwrap();
    assert!(answer.chunk().await.unwrap().is_some());
    drop(answer);
    let hung_up = bench.call().await;
    let whole = matches!(hung_up.status, CallStatus::Ok);
    assert!(
        whole || matches!(hung_up.status, CallStatus::Failed(ModelError::Cancelled)),
        "{hung_up:?}"
    );
    let body = asks(false, 2, "Hi");
    let next = bench.post("/v1/chat/completions", &body);
    let (status, answer) = tokio::time::timeout(Duration::from_secs(20), next)
        .await
        .unwrap();
    assert_eq!(status, 200, "{answer}");
}
