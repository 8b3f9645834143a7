//! The start of an embedded sandbox (DESIGN.md §6): from nothing to an agent that has answered its first ACP
//! message, beside the same program started bare, in turns, so that both meet the same machine.
//!
//! Run with `cargo bench --bench sandbox_start`. Linux only; needs no Docker Engine.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark reports to a person and fails by panicking"
)]

#[path = "common/report.rs"]
mod report;

use std::{
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    process::Command,
};
use treefort::sandbox::{
    Config, Host, Image, Limits, Runtime as _, Spec, embedded::EmbeddedRuntime,
};

use self::report::report;

const PROGRAM: &str = env!("CARGO_BIN_EXE_treefort");
const ROUNDS: usize = 60;
/// Milliseconds that a sandbox may add.
const BAR: f64 = 50.0;
const INITIALIZE: &[u8] =
    b"{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\"protocolVersion\":1}}\n";

/// Asks the agent for its capabilities and waits for the answer.
async fn initialize(mut input: impl AsyncWrite + Unpin, output: impl AsyncRead + Unpin) {
    input.write_all(INITIALIZE).await.unwrap();
    input.flush().await.unwrap();
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).await.unwrap();
    assert!(line.contains("agentCapabilities"), "{line}");
}

async fn bare() -> Duration {
    let began = Instant::now();
    let mut child = Command::new(PROGRAM)
        .arg("agent-chat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    initialize(input, output).await;
    let took = began.elapsed();
    child.kill().await.unwrap();
    took
}

async fn sandboxed(runtime: &EmbeddedRuntime, spec: &Spec, number: usize) -> Duration {
    let mut spec = spec.clone();
    spec.name = format!("bench-{}-{number}", std::process::id());
    let began = Instant::now();
    let mut sandbox = runtime.start(spec).await.unwrap();
    let (output, input) = tokio::io::split(&mut sandbox.agent);
    initialize(input, output).await;
    let took = began.elapsed();
    sandbox.stop(Duration::ZERO).await.unwrap();
    took
}

#[tokio::main]
async fn main() {
    let runtime =
        EmbeddedRuntime::new("bench", Config::default()).with_program(PathBuf::from(PROGRAM));
    let mut missed = false;
    for (name, system) in [("chat", false), ("with the system's programs", true)] {
        let mut image = Image::new("bench", "");
        image.host = Some(Host {
            system,
            ..Host::default()
        });
        let spec = Spec {
            name: String::new(),
            image: runtime.prepare(&image, None).await.unwrap(),
            argv: vec!["/treefort".to_owned(), "agent-chat".to_owned()],
            env: Vec::new(),
            limits: Limits::default(),
            labels: Vec::new(),
            workspace: None,
            state: None,
            private: Vec::new(),
            runtime: None,
        };
        let (mut alone, mut inside) = (Vec::new(), Vec::new());
        for number in 0..ROUNDS {
            alone.push(bare().await);
            inside.push(sandboxed(&runtime, &spec, number).await);
        }
        println!("{name}");
        let alone = report("  bare", alone);
        let inside = report("  in a sandbox", inside);
        let added = inside - alone;
        println!("  added: {added:.1} ms (bar: {BAR} ms)");
        if added > BAR {
            println!("  The sandbox ({name}) adds more than its bar of {BAR} ms.");
            missed = true;
        }
    }
    runtime.shutdown().await;
    if missed {
        std::process::exit(1);
    }
}
