//! What the benchmarks of whole jobs share: the real program, a customer on its WebSocket, a line of figures.

mod program;
mod report;

use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use nostr::{Event, JsonUtil as _, Keys};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};
use treefort::{coordinator::now, nips::Draft};

use self::program::Program;
pub(crate) use self::report::report;

pub(crate) struct Up {
    program: Program,
    pub(crate) home: tempfile::TempDir,
}

impl Up {
    pub(crate) fn start(url: &str, model: &str, config: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let config = format!("{config}\n[model]\nollama = \"{url}\"\ndefault = \"{model}\"\n");
        std::fs::write(home.path().join("treefort.toml"), config).unwrap();
        let program = Program::up(home.path(), &[]);
        Self { program, home }
    }

    pub(crate) fn key(&self, name: &str) -> Keys {
        let path = self.home.path().join(format!("keys/{name}.key"));
        Keys::parse(std::fs::read_to_string(path).unwrap().trim()).unwrap()
    }

    /// Waits until a container that serves no session is ready: its agent has answered `initialize`, so its
    /// journal holds that.
    pub(crate) fn wait_for_warm(&self, used: usize) {
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

pub(crate) struct Customer {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    keys: Keys,
    provider: String,
}

impl Customer {
    pub(crate) async fn connect(up: &Up) -> Self {
        let url = format!("ws://{}/", up.program.address);
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        let provider = up.key("coordinator").public_key().to_hex();
        Self {
            socket,
            keys: up.key("operator"),
            provider,
        }
    }

    /// A job of this kind that asks this.
    pub(crate) fn ask(&self, kind: u16, prompt: &str) -> Draft {
        Draft::new(kind)
            .tag(["i", prompt, "text"])
            .tag(["p", &self.provider])
            // The same question twice in one second is two questions.
            .tag(["moment", &format!("{:?}", Instant::now())])
    }

    /// One job; returns its time from request to result, and the result.
    pub(crate) async fn job(&mut self, draft: Draft) -> (Duration, Event) {
        let job = draft.sign(&self.keys, now()).unwrap();
        let filter = json!({"kinds": [6050, 6870, 7000], "#e": [job.id.to_hex()]});
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
                6050 | 6870 => result = Some((began.elapsed(), event)),
                _ if event.content == "done" => return result.unwrap(),
                _ => {
                    let failed = event
                        .tags
                        .iter()
                        .any(|tag| tag.as_slice().get(1).is_some_and(|s| s == "error"));
                    assert!(!failed, "{event:?}");
                }
            }
        }
    }

    pub(crate) async fn send(&mut self, text: String) {
        self.socket.send(Message::text(text)).await.unwrap();
    }
}
