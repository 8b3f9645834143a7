//! The demo, started from the page: a treefort of its own, in another process, in a home that is thrown away.
//!
//! It ends with this program, whatever ends that: it reads from a pipe that then closes.

use std::{process::Stdio, time::Duration};

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex,
};

use super::reply::{self, Refusal};
use crate::relay::HttpReply;

/// How long it may take to be there.
const START: Duration = Duration::from_secs(30);
/// No line of it is longer.
const MAX_LINE: u64 = 4096;

/// The demo that was started, if any.
#[derive(Debug, Default)]
pub(super) struct Demo(Mutex<Option<Running>>);

#[derive(Debug)]
struct Running {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// Killed when this is dropped, should it not end with its pipe.
    _child: Child,
}

#[derive(Deserialize)]
struct Said {
    url: String,
}

impl Demo {
    /// A link to the demo, which is started if it does not run.
    pub(super) async fn link(&self) -> Result<HttpReply, Refusal> {
        let mut demo = self.0.lock().await;
        let again = match demo.as_mut() {
            Some(running) => running.ask().await,
            None => None,
        };
        let url = match again {
            Some(url) => url,
            None => {
                *demo = None;
                let mut running = Running::start()?;
                let url = running.hear().await.ok_or_else(not_started)?;
                *demo = Some(running);
                url
            }
        };
        reply::json(&json!({ "url": url }))
    }
}

impl Running {
    fn start() -> Result<Self, Refusal> {
        let program = std::env::current_exe().map_err(|error| Refusal::inside(&error))?;
        let mut child = Command::new(program)
            .args(["demo", "--page", "--json"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Refusal::inside(&error))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(not_started());
        };
        Ok(Self {
            stdin,
            stdout: BufReader::new(stdout),
            _child: child,
        })
    }

    /// Asks for another link; nothing when it has ended.
    async fn ask(&mut self) -> Option<String> {
        self.stdin.write_all(b"\n").await.ok()?;
        self.stdin.flush().await.ok()?;
        self.hear().await
    }

    async fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        let mut limited = (&mut self.stdout).take(MAX_LINE);
        let read = tokio::time::timeout(START, limited.read_line(&mut line)).await;
        read.ok()?.ok()?;
        let said: Said = serde_json::from_str(&line).ok()?;
        said.url
            .starts_with("http://127.0.0.1:")
            .then_some(said.url)
    }
}

fn not_started() -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "demo",
        "The demo did not start. `treefort demo` in a terminal says why.",
    )
}
