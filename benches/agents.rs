//! The real agents in their containers, each with a model that answers at once: how long a job takes from the request
//! to the result when no container is there (*cold*) and when one waits (*warm*), the container's memory in the middle
//! of the turn, and what the agent tells its model before the first word of a person. Then eight sessions at once, and
//! how soon an event reaches a subscriber beside them, with the same measured on the quiet machine.
//!
//! Run with `cargo bench --bench agents` after `tests/run setup`. Needs Docker Engine; builds the agents' images first,
//! on `TREEFORT_BASE` or the base that the tests make. `TREEFORT_BENCH_AGENTS=codex,goose` measures those.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark reports to a person and fails by panicking"
)]

mod common;

use std::{
    io::{Read as _, Write as _},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use nostr::{JsonUtil as _, Keys};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;
use treefort::{
    coordinator::now,
    model::scripted::{self, Answer, MODEL, Scripted},
    nips::Draft,
};

use self::common::{Customer, Up, report};

const ROUNDS: usize = 3;
const AGENTS: &str = "opencode,claude-code,codex,gemini,goose";
/// Sessions at once.
const EIGHT: usize = 8;
/// Events of the probe, and the pause between two.
const EVENTS: usize = 300;
const PAUSE: Duration = Duration::from_millis(20);
/// What each of the working sessions does: so many calls of a tool, and so long a thought before each.
const CALLS: usize = 20;
const THOUGHT: Duration = Duration::from_millis(500);

/// What the model was asked, and how long it thinks before its last words.
#[derive(Default)]
struct Asked {
    /// Bytes of the first request with tools.
    first: AtomicUsize,
    calls: AtomicUsize,
    thinks_ms: AtomicU64,
    /// Whether every answer takes a thought, and there are many.
    works: AtomicBool,
    /// How many of the working sessions have begun to call tools, and how many are done with it.
    begun: AtomicUsize,
    ended: AtomicUsize,
}

/// A call that writes a file, with whatever the agent has.
fn write(tool: &scripted::Tool, number: usize) -> Option<Answer> {
    // Never the same twice: some agents take that for a loop.
    let (path, text) = ("/workspace/hello.txt", format!("hello {number}\n"));
    let arguments = match tool.name.as_str() {
        "Write" | "write_file" => json!({"file_path": path, "content": text}),
        "write" if tool.fields.contains_key("filePath") => {
            json!({"filePath": path, "content": text})
        }
        "write" => json!({"path": path, "content": text}),
        "exec_command" => json!({"cmd": format!("echo hello {number} > {path}")}),
        _ => return None,
    };
    Some(Answer::call(tool.name.as_str(), arguments))
}

fn answer(said: &scripted::Asked, asked: &Asked) -> Answer {
    asked.calls.fetch_add(1, Ordering::Relaxed);
    let done = Answer::new("It is written.").at_once();
    // Some ask for a title of the conversation beside it.
    let title =
        |message: &scripted::Message| message.role == "user" && message.content.contains("title");
    if said.tools.is_empty() || said.messages.iter().any(title) {
        return done;
    }
    let none = asked.first.load(Ordering::Relaxed) == 0;
    if none {
        asked.first.store(said.bytes, Ordering::Relaxed);
    }
    let called = said
        .messages
        .iter()
        .filter(|message| message.role == "tool");
    let called = called.count();
    if asked.works.load(Ordering::Relaxed) {
        return working(said, asked, called);
    }
    if called > 0 {
        let thinks = asked.thinks_ms.load(Ordering::Relaxed);
        return Answer {
            first: Duration::from_millis(thinks),
            ..done
        };
    }
    said.tools
        .iter()
        .find_map(|tool| write(tool, called))
        .unwrap()
}

/// What the model of a working session says.
fn working(said: &scripted::Asked, asked: &Asked, called: usize) -> Answer {
    let answer = match called {
        CALLS.. => {
            asked.ended.fetch_add(1, Ordering::Relaxed);
            Answer::new("It is written.").at_once()
        }
        _ => said
            .tools
            .iter()
            .find_map(|tool| write(tool, called))
            .unwrap(),
    };
    if called == 0 {
        asked.begun.fetch_add(1, Ordering::Relaxed);
    }
    Answer {
        first: THOUGHT,
        ..answer
    }
}

async fn one(customer: &mut Customer, agent: &str, folder: &std::path::Path) -> Duration {
    let job = customer
        .ask(5870, "write hello.txt")
        .tag(["param", "agent", agent])
        .tag(["param", "workspace", folder.to_str().unwrap()]);
    customer.job(job).await.0
}

/// Memory of the agent's container, as the engine says it.
fn memory(agent: &str) -> Option<String> {
    let output = |arguments: &[&str]| {
        let output = Command::new("docker").args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let filter = format!("label=treefort.agent={agent}");
    let id = output(&["ps", "-q", "--filter", &filter]);
    let id = id.lines().next()?.to_owned();
    let said = output(&["stats", "--no-stream", "--format", "{{.MemUsage}}", &id]);
    Some(said.split('/').next()?.trim().to_owned())
}

/// Eight jobs at once; how long each took.
async fn eight(up: &Up, agents: &[&str], folder: &std::path::Path) -> Vec<Duration> {
    let mut jobs = Vec::new();
    for number in 0..EIGHT {
        let mut customer = Customer::connect(up).await;
        let agent = agents[number % agents.len()];
        jobs.push(async move { one(&mut customer, agent, folder).await });
    }
    futures_util::future::join_all(jobs).await
}

/// Does something again and again beside a future, until that is done.
async fn beside<T>(done: impl Future<Output = T>, mut look: impl AsyncFnMut()) -> T {
    let mut done = std::pin::pin!(done);
    loop {
        tokio::select! {
            done = &mut done => return done,
            () = look() => {}
        }
    }
}

/// The least that a relay can do: what comes goes to the end of a file, and back when it is on the disk.
struct Least(std::net::SocketAddr);

impl Least {
    fn start(home: &std::path::Path) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut file = std::fs::File::create(home.join("least")).unwrap();
        std::thread::spawn(move || {
            while let Ok((mut socket, _)) = listener.accept() {
                socket.set_nodelay(true).unwrap();
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = socket.read(&mut bytes) {
                    file.write_all(&bytes[..count]).unwrap();
                    file.sync_data().unwrap();
                    socket.write_all(&bytes[..count]).unwrap();
                }
            }
        });
        Self(address)
    }
}

/// How soon events reach a subscriber, and how soon they could.
#[derive(Default)]
struct Probe {
    delivered: Vec<Duration>,
    least: Vec<Duration>,
}

impl Probe {
    /// Some events: one is published, the next a moment after it came.
    async fn look(&mut self, up: &Up, least: &Least) {
        let mut reader = Customer::connect(up).await;
        let mut writer = Customer::connect(up).await;
        let mut bare = tokio::net::TcpStream::connect(least.0).await.unwrap();
        bare.set_nodelay(true).unwrap();
        let keys = Keys::generate();
        let filter = json!({"kinds": [1], "authors": [keys.public_key().to_hex()]});
        reader
            .send(json!(["REQ", "probe", filter]).to_string())
            .await;
        for number in 0..20 {
            let note = Draft::new(1)
                .content(format!("{number}"))
                .sign(&keys, now())
                .unwrap();
            let frame = format!("[\"EVENT\",{}]", note.as_json());
            let mut back = vec![0; frame.len()];
            let began = Instant::now();
            bare.write_all(frame.as_bytes()).await.unwrap();
            bare.read_exact(&mut back).await.unwrap();
            self.least.push(began.elapsed());
            tokio::time::sleep(PAUSE / 2).await;
            let began = Instant::now();
            writer.send(frame).await;
            loop {
                let Message::Text(text) = reader.socket.next().await.unwrap().unwrap() else {
                    continue;
                };
                if text.contains(&note.id.to_hex()) {
                    break;
                }
            }
            self.delivered.push(began.elapsed());
            tokio::time::sleep(PAUSE / 2).await;
        }
    }

    fn report(mut self, when: &str) {
        assert!(!self.least.is_empty(), "nothing was measured {when}");
        self.delivered.sort_unstable();
        self.least.sort_unstable();
        let at = |times: &[Duration], share: usize| {
            times[(times.len() * share / 100).min(times.len() - 1)]
        };
        let of = |times: &[Duration]| {
            format!("p50 {:>9.2?}  p99 {:>9.2?}", at(times, 50), at(times, 99))
        };
        let times = |share: usize| {
            at(&self.delivered, share).as_secs_f64() / at(&self.least, share).as_secs_f64()
        };
        println!("{when}, {} events:", self.delivered.len());
        println!("  delivery         {}", of(&self.delivered));
        println!("  the least        {}", of(&self.least));
        println!(
            "  times the least  p50 {:>9.1}  p99 {:>9.1}",
            times(50),
            times(99)
        );
    }
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
    let config = |warm: u32| {
        format!(
            "[sandbox]\nbase = \"{base}\"\n[sessions]\nidle_s = 0\nwarm = {warm}\n[jobs]\nmax_running = {EIGHT}\n"
        )
    };
    let chosen = std::env::var("TREEFORT_BENCH_AGENTS").unwrap_or_else(|_| AGENTS.to_owned());
    let agents: Vec<&str> = chosen.split(',').collect();
    for agent in &agents {
        let up = Up::start(&url, MODEL, &config(0));
        let mut customer = Customer::connect(&up).await;
        // The first one builds the image.
        one(&mut customer, agent, folder.path()).await;
        asked.first.store(0, Ordering::Relaxed);
        asked.calls.store(0, Ordering::Relaxed);
        let mut cold = Vec::new();
        for _ in 0..ROUNDS {
            cold.push(one(&mut customer, agent, folder.path()).await);
        }
        let calls = asked.calls.load(Ordering::Relaxed) / ROUNDS;
        let first = asked.first.load(Ordering::Relaxed);
        asked.thinks_ms.store(6_000, Ordering::Relaxed);
        let looking = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let agent = (*agent).to_owned();
            tokio::task::spawn_blocking(move || memory(&agent))
                .await
                .unwrap()
        };
        let (_, memory) = tokio::join!(one(&mut customer, agent, folder.path()), looking);
        asked.thinks_ms.store(0, Ordering::Relaxed);
        drop((customer, up));

        let up = Up::start(&url, MODEL, &config(1));
        let mut customer = Customer::connect(&up).await;
        let mut warm = Vec::new();
        one(&mut customer, agent, folder.path()).await;
        for round in 1..=ROUNDS {
            // One for conversations, and one of the agent for each job so far.
            up.wait_for_warm(round + 1);
            warm.push(one(&mut customer, agent, folder.path()).await);
        }
        println!(
            "{agent}: {} of memory, {calls} calls of the model a job, {first} bytes (about {} tokens) before the first word",
            memory.unwrap_or_default(),
            first / 4
        );
        report("  cold: job to result", cold);
        report("  warm: job to result", warm);
    }

    let up = Up::start(&url, MODEL, &config(0));
    let least = Least::start(up.home.path());
    let mut idle = Probe::default();
    while idle.delivered.len() < EVENTS {
        idle.look(&up, &least).await;
    }
    idle.report("nothing else at work");

    let mut starting = Probe::default();
    let began = Instant::now();
    let times = beside(eight(&up, &agents, folder.path()), async || {
        starting.look(&up, &least).await;
    })
    .await;
    println!(
        "{EIGHT} sessions at once: all done after {:.1?}",
        began.elapsed()
    );
    report("  each: job to result", times);
    starting.report("while they start");

    asked.works.store(true, Ordering::Relaxed);
    let mut at_work = Probe::default();
    let all = |count: &AtomicUsize| count.load(Ordering::Relaxed) >= EIGHT;
    let times = beside(eight(&up, &agents, folder.path()), async || {
        if all(&asked.begun) && asked.ended.load(Ordering::Relaxed) == 0 {
            at_work.look(&up, &least).await;
        } else {
            tokio::time::sleep(PAUSE).await;
        }
    })
    .await;
    report("  each, with 21 thoughts", times);
    at_work.report("while all of them work");
}
