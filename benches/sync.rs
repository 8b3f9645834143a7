//! 10,000 events out to another relay: what waits at a treefort that is started, against nostr-sdk's own send loop.
//!
//! `cargo bench --bench sync` takes about a minute; `-- quick` takes a tenth of the events. Both go to a fresh LocalRelay
//! of `nostr-relay-builder`, in memory, in a process of its own, and take turns. What is counted:
//!
//! - *treefort*: from the start of the program, whose record holds the events, until the relay has all of them. In that are
//!   the start itself, the look through the log, the question what is there already, a last look at each (signature, policy,
//!   secrets), and the outbox: every event has a row on the disk before it leaves, and its answer is kept there, so that
//!   after a `kill -9` at any point nothing is lost and nothing leaves twice.
//! - *nostr-sdk*: one `send_event` after the other, of events in memory, on a connection that is open. It keeps nothing.
//!
//! Everything shares the machine, so the ratio of one run counts, not its figures.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark reports to a person and fails by panicking"
)]

#[path = "common/program.rs"]
mod program;

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{SinkExt as _, StreamExt as _};
use nostr::{Event, Filter, JsonUtil as _, Keys};
use nostr_relay_builder::{
    LocalRelay, RelayBuilder,
    builder::RateLimit,
    prelude::{MemoryDatabase, MemoryDatabaseOptions, NostrDatabase as _},
};
use tokio_tungstenite::tungstenite::Message;
use treefort::nips::Draft;

use self::program::Program;

const PROGRAM: &str = env!("CARGO_BIN_EXE_treefort");
const ROUNDS: usize = 5;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    if let [word, count, ..] = args.as_slice()
        && word == "relay"
    {
        return runtime.block_on(relay(count.parse().unwrap()));
    }
    let count = match args.iter().any(|arg| arg == "quick") {
        true => 1_000,
        false => 10_000,
    };
    runtime.block_on(compare(count));
}

/// LocalRelay; prints its address, and a line when it has all events.
async fn relay(count: usize) {
    let events = Arc::new(MemoryDatabase::with_opts(MemoryDatabaseOptions {
        events: true,
        max_events: None,
    }));
    let builder = RelayBuilder::default()
        .database(Arc::clone(&events))
        .rate_limit(RateLimit {
            max_reqs: 100_000,
            notes_per_minute: u32::MAX,
        });
    let relay = LocalRelay::new(builder);
    relay.run().await.unwrap();
    println!("{}", relay.url().await);
    let filling = async {
        while events.count(Filter::new()).await.unwrap() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!("full");
    };
    let wait = || std::io::stdin().read_to_end(&mut Vec::new());
    let ended = tokio::task::spawn_blocking(wait);
    filling.await;
    ended.await.unwrap().unwrap();
}

/// A LocalRelay in a process of its own.
struct Relay {
    child: Child,
    lines: BufReader<ChildStdout>,
    url: String,
}

impl Relay {
    fn start(count: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["relay", &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut relay = Self {
            child,
            lines,
            url: String::new(),
        };
        relay.url = relay.line();
        relay
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Waits until it has all events.
    fn full(&mut self) {
        assert_eq!(self.line(), "full");
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A treefort that finds no Docker: nothing of it is needed here.
fn up(home: &Path) -> Program {
    Program::up(home, &[("DOCKER_HOST", "unix:///nonexistent.sock")])
}

/// A home whose record holds the events, which may leave.
async fn home(count: usize) -> (tempfile::TempDir, Vec<Event>) {
    let home = tempfile::tempdir().unwrap();
    let running = up(home.path());
    let key = std::fs::read_to_string(home.path().join("keys/operator.key")).unwrap();
    let operator = Keys::parse(key.trim()).unwrap();
    let now = nostr::Timestamp::now().as_secs();
    let events: Vec<Event> = (0..count)
        .map(|n| {
            Draft::new(4780)
                .tag(["d", &format!("bread {n}")])
                .tag(["t", "recipe"])
                .content(format!("version {n} {}", "x".repeat(150)))
                .sign(&operator, now)
                .unwrap()
        })
        .collect();
    let url = format!("ws://{}/", running.address);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    for chunk in events.chunks(500) {
        for event in chunk {
            let frame = format!("[\"EVENT\",{}]", event.as_json());
            socket.send(Message::text(frame)).await.unwrap();
        }
        let mut answered = 0;
        while answered < chunk.len() {
            if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
                answered += usize::from(text.contains(",true,"));
            }
        }
    }
    drop(running);
    (home, events)
}

async fn compare(count: usize) {
    println!("{count} events out to a LocalRelay in memory; seconds, and events a second");
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let (home, events) = home(count).await;
        let (of_treefort, of_sdk) = match round % 2 {
            0 => {
                let theirs = by_sdk(&events).await;
                (by_treefort(home.path(), count), theirs)
            }
            _ => (by_treefort(home.path(), count), by_sdk(&events).await),
        };
        println!("  round {round}: treefort {of_treefort:.2} s, nostr-sdk {of_sdk:.2} s");
        ours.push(of_treefort);
        theirs.push(of_sdk);
        ratios.push(of_sdk / of_treefort);
    }
    let rate = |seconds: f64| count as f64 / seconds;
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "treefort, with its start and a durable outbox: {ours:.2} s, {:.0} events/s",
        rate(ours)
    );
    println!(
        "nostr-sdk, one send_event after the other:     {theirs:.2} s, {:.0} events/s",
        rate(theirs)
    );
    println!("treefort takes them {:.2} times as fast", median(ratios));
}

fn by_treefort(home: &Path, count: usize) -> f64 {
    let mut relay = Relay::start(count);
    let url = &relay.url;
    let sync = format!(
        "[policy]\nkinds = [4780]\n[[stream]]\nname = \"out\"\ndir = \"up\"\nrelays = [\"{url}\"]\n"
    );
    std::fs::write(home.join("sync.toml"), sync).unwrap();
    let began = Instant::now();
    let running = up(home);
    relay.full();
    let took = began.elapsed().as_secs_f64();
    // Each one's answer came, and is kept.
    let deadline = Instant::now() + Duration::from_secs(30);
    while sent(home) != count as u64 {
        assert!(
            Instant::now() < deadline,
            "{} of {count} are noted",
            sent(home)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(running);
    took
}

/// How many a treefort says that it has sent.
fn sent(home: &Path) -> u64 {
    let output = Command::new(PROGRAM)
        .args(["sync", "--json", "--home"])
        .arg(home)
        .output()
        .unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    status["relays"][0]["tally"]["sent"].as_u64().unwrap()
}

async fn by_sdk(events: &[Event]) -> f64 {
    let mut relay = Relay::start(events.len());
    let client = nostr_sdk::Client::default();
    client.add_relay(&relay.url).await.unwrap();
    client.connect().await;
    client.wait_for_connection(Duration::from_secs(10)).await;
    let began = Instant::now();
    for event in events {
        let sent = client.send_event(event).await.unwrap();
        assert!(sent.failed.is_empty());
    }
    relay.full();
    let took = began.elapsed().as_secs_f64();
    client.shutdown().await;
    took
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
