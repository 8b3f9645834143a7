//! OpenCode's turn: a file and a command, with a model that answers at once, through the real program and the
//! real OpenCode in its container. What remains is the time of the agent and of treefort, which the record
//! tells apart from the model's.
//!
//! *cold*: no container is there. *warm*: one waits. Beside them, in turns, a bare `docker run` of the same
//! image that only prints OpenCode's version.
//!
//! Run with `cargo bench --bench opencode_turn` after `tests/run setup`. Needs Docker Engine; builds
//! OpenCode's image first, on `TREEFORT_BASE` or the base that the tests make.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark reports to a person and fails by panicking"
)]

mod common;

use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use nostr::{Event, JsonUtil as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use treefort::model::scripted::{self, Answer, MODEL, Scripted};

use self::common::{Customer, Up, report};

const ROUNDS: usize = 5;

/// What the model was asked.
#[derive(Default)]
struct Asked {
    calls: AtomicUsize,
    /// Bytes of the largest prompt.
    bytes: AtomicUsize,
}

/// What the model says: it writes a file, runs a command, and says that it is done, each at once.
fn answer(said: &scripted::Asked, asked: &Asked) -> Answer {
    asked.calls.fetch_add(1, Ordering::Relaxed);
    asked.bytes.fetch_max(said.bytes, Ordering::Relaxed);
    let tools = said.messages.iter().filter(|said| said.role == "tool");
    match tools.count() {
        0 => Answer::call(
            "write",
            json!({"filePath": "/workspace/hello.txt", "content": "hello\n"}),
        ),
        1 => Answer::call(
            "bash",
            json!({"command": "echo more >> hello.txt", "description": "adds a line"}),
        ),
        _ => Answer::new("It is written.").at_once(),
    }
}

/// A number in a tag of the record of the answer.
fn number(record: &Event, name: &str) -> Duration {
    let tag = record.tags.iter().map(nostr::Tag::as_slice);
    let tag = tag.into_iter().find(|tag| tag[0] == name).unwrap();
    Duration::from_millis(tag[1].parse().unwrap())
}

fn docker_run() -> Duration {
    let list = [
        "images",
        "treefort/opencode",
        "--format",
        "{{.Repository}}:{{.Tag}}",
    ];
    let images = Command::new("docker").args(list).output().unwrap();
    let images = String::from_utf8(images.stdout).unwrap();
    let image = images.lines().next().unwrap();
    let began = Instant::now();
    let status = Command::new("docker")
        .args([
            "run",
            "--rm",
            "--network",
            "none",
            "--tmpfs",
            "/home/agent:uid=1000",
        ])
        .args([
            "--env",
            "HOME=/home/agent",
            "--entrypoint",
            "/usr/local/bin/opencode",
            image,
        ])
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    began.elapsed()
}

#[derive(Default)]
struct Times {
    whole: Vec<Duration>,
    turn: Vec<Duration>,
    overhead: Vec<Duration>,
}

/// What is stored.
async fn query(customer: &mut Customer, filter: Value) -> Vec<Event> {
    customer
        .send(json!(["REQ", "query", filter]).to_string())
        .await;
    let mut found = Vec::new();
    loop {
        let Message::Text(text) = customer.socket.next().await.unwrap().unwrap() else {
            continue;
        };
        let value: Value = serde_json::from_str(&text).unwrap();
        match (value[0].as_str(), value[1].as_str()) {
            (Some("EVENT"), Some("query")) => {
                found.push(Event::from_json(value[2].to_string()).unwrap());
            }
            (Some("EOSE"), Some("query")) => return found,
            _ => {}
        }
    }
}

/// One job on a folder with a few files.
async fn one(customer: &mut Customer, folder: &std::path::Path, times: &mut Times) {
    let job = customer
        .ask(5870, "write hello.txt")
        .tag(["param", "agent", "opencode"])
        .tag(["param", "workspace", folder.to_str().unwrap()]);
    let (whole, result) = customer.job(job).await;
    let root = result.tags.iter().map(nostr::Tag::as_slice);
    let root = root.into_iter().find(|tag| tag[0] == "e").unwrap()[1].clone();
    let records = query(customer, json!({"kinds": [4782], "#E": [root]})).await;
    let message = records
        .iter()
        .find(|record| {
            record
                .tags
                .iter()
                .any(|tag| tag.as_slice()[0] == "overhead_ms")
        })
        .unwrap();
    times.whole.push(whole);
    times.turn.push(number(message, "ms"));
    times.overhead.push(number(message, "overhead_ms"));
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run());
}

async fn run() {
    let asked = Arc::new(Asked::default());
    let shared = asked.clone();
    let script: scripted::Script = Arc::new(move |said| answer(said, &shared));
    let (url, _serving) = Scripted::start(script).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for number in 0..200 {
        std::fs::write(folder.path().join(format!("{number}.txt")), "text\n").unwrap();
    }
    let base = std::env::var("TREEFORT_BASE").unwrap_or_else(|_| "treefort-test-base:1".to_owned());
    let config =
        |warm: u32| format!("[sandbox]\nbase = \"{base}\"\n[sessions]\nidle_s = 0\nwarm = {warm}");

    let up = Up::start(&url, MODEL, &config(0));
    let mut customer = Customer::connect(&up).await;
    let (mut cold, mut bare) = (Times::default(), Vec::new());
    // The first one builds the image.
    one(&mut customer, folder.path(), &mut Times::default()).await;
    let before = asked.calls.load(Ordering::Relaxed);
    for _ in 0..ROUNDS {
        one(&mut customer, folder.path(), &mut cold).await;
        bare.push(docker_run());
    }
    let calls = (asked.calls.load(Ordering::Relaxed) - before) / ROUNDS;
    drop((customer, up));
    report("cold: job to result", cold.whole);
    report("  its turn", cold.turn);
    report("  without the model", cold.overhead);
    report("docker run --version", bare);

    let up = Up::start(&url, MODEL, &config(1));
    let mut customer = Customer::connect(&up).await;
    let mut warm = Times::default();
    one(&mut customer, folder.path(), &mut Times::default()).await;
    for round in 1..=ROUNDS {
        // One for conversations, and one of OpenCode for each job so far.
        up.wait_for_warm(round + 1);
        one(&mut customer, folder.path(), &mut warm).await;
    }
    report("warm: job to result", warm.whole);
    report("  its turn", warm.turn);
    println!(
        "{calls} calls of the model a job, the largest prompt {} bytes",
        asked.bytes.load(Ordering::Relaxed)
    );
}
