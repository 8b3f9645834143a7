//! Job overhead (DESIGN.md §6): from a customer's request on the wire to the result on the wire, with a
//! model that answers at once, through the real program, relay, container and agent.
//!
//! *warm*: the container is up, its streams are attached, ACP is initialised, and it was not used yet.
//! *open*: the session of the same conversation is still open. *cold*: no container is there; beside it the
//! time of a bare `docker run` of the same image, in turns, so that both meet the same machine.
//!
//! Run with `cargo bench --bench job_overhead`. Needs Docker Engine.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark reports to a person and fails by panicking"
)]

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{SinkExt as _, StreamExt as _};
use nostr::{Event, JsonUtil as _, Keys};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};
use treefort::{
    coordinator::now,
    model::scripted::{Answer, MODEL, Scripted},
    nips::Draft,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_treefort");
const ROUNDS: usize = 40;
const COLD_ROUNDS: usize = 15;

struct Up {
    child: Child,
    home: tempfile::TempDir,
    address: String,
}

impl Up {
    fn start(model: &str, config: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let config = format!("{config}\n[model]\nollama = \"{model}\"\ndefault = \"{MODEL}\"\n");
        std::fs::write(home.path().join("treefort.toml"), config).unwrap();
        let mut child = Command::new(PROGRAM)
            .args(["up", "--listen", "127.0.0.1:0", "--home"])
            .arg(home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .split("http://")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .to_owned();
        Self {
            child,
            home,
            address,
        }
    }

    fn key(&self, name: &str) -> Keys {
        let path = self.home.path().join(format!("keys/{name}.key"));
        Keys::parse(std::fs::read_to_string(path).unwrap().trim()).unwrap()
    }

    /// Waits until a container that serves no session is ready: its agent has answered `initialize`, so its
    /// journal holds that.
    fn wait_for_warm(&self, used: usize) {
        let ready = || {
            let Ok(entries) = std::fs::read_dir(self.home.path().join("journal")) else {
                return 0;
            };
            entries
                .filter_map(Result::ok)
                .filter(|entry| {
                    std::fs::read_to_string(entry.path())
                        .is_ok_and(|text| text.contains("agentCapabilities"))
                })
                .count()
        };
        while ready() <= used {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

struct Customer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    keys: Keys,
    provider: String,
}

impl Customer {
    async fn connect(up: &Up) -> Self {
        let url = format!("ws://{}/", up.address);
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let provider = up.key("coordinator").public_key().to_hex();
        Self {
            socket,
            keys: up.key("operator"),
            provider,
        }
    }

    /// One job; returns its time from request to result, and the result.
    async fn job(&mut self, number: usize, earlier: Option<&Event>) -> (Duration, Event) {
        let mut draft = Draft::new(5050)
            .tag(["i", &format!("question {number}"), "text"])
            .tag(["p", &self.provider]);
        if let Some(earlier) = earlier {
            draft = draft.tag(["e", &earlier.id.to_hex()]);
        }
        let job = draft.sign(&self.keys, now()).unwrap();
        let filter = json!({"kinds": [6050, 7000], "#e": [job.id.to_hex()]});
        self.send(json!(["REQ", "job", filter]).to_string()).await;
        let frame = format!("[\"EVENT\",{}]", job.as_json());
        let began = Instant::now();
        self.send(frame).await;
        let mut result = None;
        loop {
            let Message::Text(text) = self.socket.next().await.unwrap().unwrap() else {
                continue;
            };
            let value: Value = serde_json::from_str(&text).unwrap();
            if value[0] != "EVENT" {
                continue;
            }
            let event = Event::from_json(value[2].to_string()).unwrap();
            match event.kind.as_u16() {
                6050 => result = Some((began.elapsed(), event)),
                _ if event.content == "done" => return result.unwrap(),
                _ => assert_eq!(event.content, "accepted", "{event:?}"),
            }
        }
    }

    async fn send(&mut self, text: String) {
        self.socket.send(Message::text(text)).await.unwrap();
    }
}

fn report(name: &str, mut times: Vec<Duration>) -> f64 {
    times.sort();
    let ms = |at: usize| times[at.min(times.len() - 1)].as_secs_f64() * 1000.0;
    let p50 = ms(times.len() / 2);
    println!(
        "{name:<28} p50 {p50:7.1} ms   p90 {:7.1} ms   min {:7.1} ms   n {}",
        ms(times.len() * 9 / 10),
        ms(0),
        times.len()
    );
    p50
}

/// A bare `docker run` of the image that the sessions use, to the end of its program.
fn docker_run() -> Duration {
    let images = Command::new("docker")
        .args([
            "images",
            "treefort/chat",
            "--format",
            "{{.Repository}}:{{.Tag}}",
        ])
        .output()
        .unwrap();
    let images = String::from_utf8(images.stdout).unwrap();
    let image = images.lines().next().unwrap();
    let began = Instant::now();
    let status = Command::new("docker")
        .args([
            "run",
            "--rm",
            "--network",
            "none",
            "--entrypoint",
            "/treefort",
            image,
            "--version",
        ])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    began.elapsed()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run());
}

async fn run() {
    let (model, _serving) = Scripted::start(Arc::new(|_| Answer::new("done").at_once()))
        .await
        .unwrap();

    let up = Up::start(&model, "[sessions]\nidle_s = 0\nwarm = 1");
    let mut customer = Customer::connect(&up).await;
    let mut warm = Vec::new();
    for number in 0..ROUNDS {
        up.wait_for_warm(number);
        warm.push(customer.job(number, None).await.0);
    }
    let p50 = report("warm (bar: p50 <= 20 ms)", warm);
    drop((customer, up));

    let up = Up::start(&model, "[sessions]\nidle_s = 60\nwarm = 0");
    let mut customer = Customer::connect(&up).await;
    let (_, mut last) = customer.job(0, None).await;
    let mut open = Vec::new();
    for number in 1..=ROUNDS {
        let (time, result) = customer.job(number, Some(&last)).await;
        last = result;
        open.push(time);
    }
    report("open conversation", open);
    drop((customer, up));

    let up = Up::start(&model, "[sessions]\nidle_s = 0\nwarm = 0");
    let mut customer = Customer::connect(&up).await;
    let (mut cold, mut bare) = (Vec::new(), Vec::new());
    for number in 0..COLD_ROUNDS {
        let time = customer.job(number, None).await.0;
        if number > 0 {
            cold.push(time);
            bare.push(docker_run());
        }
    }
    let cold = report("cold (request to result)", cold);
    let bare = report("bare docker run", bare);
    println!(
        "cold over bare docker run: {:+.0} ms (bar: <= +150 ms)",
        cold - bare
    );
    assert!(p50 <= 20.0, "the warm bar is missed");
}
