//! A customer with nothing but raw frames.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use nostr::{Event, JsonUtil as _, Keys, PublicKey};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};
use treefort::nips::Draft;

/// How long a step may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to the relay under a key, without any library between.
pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Who speaks.
    pub(crate) keys: Keys,
    /// The relay's challenge (NIP-42), once it came.
    pub(crate) challenge: Option<String>,
    /// Subscriptions of our own naming: what still comes for one that is over is nobody's.
    over: Vec<String>,
}

impl Client {
    pub(crate) async fn connect(address: &str, keys: Keys) -> Self {
        let url = format!("ws://{address}/");
        Self::connect_to(&url, keys).await.unwrap()
    }

    /// The same to any relay, which may refuse.
    pub(crate) async fn connect_to(url: &str, keys: Keys) -> Result<Self, String> {
        let connected = tokio_tungstenite::connect_async(url).await;
        let (socket, _) = connected.map_err(|error| error.to_string())?;
        Ok(Self {
            socket,
            keys,
            challenge: None,
            over: Vec::new(),
        })
    }

    /// Sends a frame as it is.
    pub(crate) async fn raw(&mut self, text: String) {
        self.say(text).await.unwrap();
    }

    /// Sends a frame to a relay that may have gone.
    pub(crate) async fn say(&mut self, text: String) -> Result<(), String> {
        let sent = self.socket.send(Message::text(text)).await;
        sent.map_err(|error| error.to_string())
    }

    /// The next message of the relay, but for the challenge at the beginning.
    pub(crate) async fn next(&mut self) -> Value {
        self.hear(PATIENCE).await.unwrap()
    }

    /// The next message, but for a challenge, or why there is none.
    pub(crate) async fn hear(&mut self, patience: Duration) -> Result<Value, String> {
        loop {
            let value = self.hear_any(patience).await?;
            if value[0] != "AUTH" {
                return Ok(value);
            }
        }
    }

    /// The next message, also when it is a challenge, or why there is none.
    pub(crate) async fn hear_any(&mut self, patience: Duration) -> Result<Value, String> {
        loop {
            let message = tokio::time::timeout(patience, self.socket.next())
                .await
                .map_err(|_| "the relay says nothing".to_owned())?
                .ok_or("the relay closed the connection")?
                .map_err(|error| format!("the connection broke: {error}"))?;
            match message {
                Message::Text(text) => {
                    let value: Value = serde_json::from_str(&text)
                        .map_err(|error| format!("not JSON: {error}"))?;
                    if value[0] == "AUTH" {
                        self.challenge = value[1].as_str().map(str::to_owned);
                    }
                    return Ok(value);
                }
                Message::Close(frame) => return Err(format!("the relay closes: {frame:?}")),
                _ => {}
            }
        }
    }

    /// Signs and publishes, and returns the event with the relay's answer.
    pub(crate) async fn publish(&mut self, draft: &Draft) -> (Event, Value) {
        let event = self.sign(draft);
        let answer = self.send(&event).await;
        (event, answer)
    }

    /// Signs at the present time.
    pub(crate) fn sign(&self, draft: &Draft) -> Event {
        draft
            .sign(&self.keys, treefort::coordinator::now())
            .unwrap()
    }

    /// Publishes an event and waits for its `OK`; events of subscriptions in between are lost.
    pub(crate) async fn send(&mut self, event: &Event) -> Value {
        self.raw(format!("[\"EVENT\",{}]", event.as_json())).await;
        loop {
            let message = self.next().await;
            if message[0] == "OK" && message[1] == event.id.to_hex() {
                return message;
            }
        }
    }

    /// Sends a frame that the relay may take for a reason to hang up; whether it stays.
    pub(crate) async fn try_raw(&mut self, text: String) -> bool {
        if self.socket.send(Message::text(text)).await.is_err() {
            return false;
        }
        // It may say why before it hangs up.
        loop {
            match tokio::time::timeout(PATIENCE, self.socket.next()).await {
                Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) => return false,
                Ok(Some(Ok(_))) => {}
                Err(_) => return true,
            }
        }
    }

    /// Publishes an event to a relay that may go away; whether it promised to keep it.
    pub(crate) async fn try_send(&mut self, event: &Event) -> bool {
        let frame = Message::text(format!("[\"EVENT\",{}]", event.as_json()));
        if self.socket.send(frame).await.is_err() {
            return false;
        }
        while let Some(Ok(message)) = self.socket.next().await {
            let Message::Text(text) = message else {
                continue;
            };
            let value: Value = serde_json::from_str(&text).unwrap();
            if value[0] == "OK" && value[1] == event.id.to_hex() {
                assert_eq!(value[2], true, "{value}");
                return true;
            }
        }
        false
    }

    /// Publishes an event; whether it was taken and the relay's words, or nothing when it hung up.
    pub(crate) async fn outcome(&mut self, event: &Event) -> Option<(bool, String)> {
        let frame = Message::text(format!("[\"EVENT\",{}]", event.as_json()));
        self.socket.send(frame).await.ok()?;
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next());
            let Message::Text(text) = next.await.expect("an answer or an end")?.ok()? else {
                continue;
            };
            let value: Value = serde_json::from_str(&text).unwrap();
            if value[0] == "OK" && value[1] == event.id.to_hex() {
                return Some((value[2] == true, value[3].as_str().unwrap().to_owned()));
            }
        }
    }

    /// Everything stored that matches.
    pub(crate) async fn query(&mut self, filter: Value) -> Vec<Event> {
        let name = self.open(filter).await;
        let mut events = Vec::new();
        loop {
            let message = self.next().await;
            match message[0].as_str() {
                Some("EVENT") if message[1] == name => {
                    let event = Event::from_json(message[2].to_string()).unwrap();
                    event.verify().unwrap();
                    events.push(event);
                }
                Some("EOSE") if message[1] == name => break,
                Some("CLOSED") => panic!("{message}"),
                _ => {}
            }
        }
        self.close(name).await;
        events
    }

    /// Opens a subscription under a name that this connection never had.
    async fn open(&mut self, filter: Value) -> String {
        let name = format!("ours-{}", self.over.len());
        self.subscribe(&name, filter).await;
        name
    }

    /// Events that are under way for it by now are dropped by [`Self::next_event`].
    async fn close(&mut self, name: String) {
        self.raw(json!(["CLOSE", name]).to_string()).await;
        self.over.push(name);
    }

    /// Opens a subscription and leaves its events to [`Self::next_event`].
    pub(crate) async fn subscribe(&mut self, id: &str, filter: Value) {
        self.raw(json!(["REQ", id, filter]).to_string()).await;
    }

    /// The next event of any subscription that is open.
    pub(crate) async fn next_event(&mut self) -> Event {
        loop {
            let message = self.next().await;
            let over = self.over.iter().any(|name| message[1] == *name);
            if message[0] == "EVENT" && !over {
                let event = Event::from_json(message[2].to_string()).unwrap();
                event.verify().unwrap();
                return event;
            }
        }
    }

    /// A plain job of kind 5050 for `provider`.
    pub(crate) fn job(&self, provider: PublicKey, prompt: &str) -> Draft {
        Draft::new(5050)
            .tag(["i", prompt, "text"])
            .tag(["p", &provider.to_hex()])
    }

    /// Publishes a job and returns it with every answer, up to the `success` or `error` that ends it.
    pub(crate) async fn do_job(&mut self, draft: &Draft) -> (Event, Vec<Event>) {
        let job = self.sign(draft);
        let answers = self.do_signed_job(&job).await;
        (job, answers)
    }

    /// The same for a job that is signed already.
    pub(crate) async fn do_signed_job(&mut self, job: &Event) -> Vec<Event> {
        let result = job.kind.as_u16() + 1000;
        let filter = json!({"kinds": [7000, result], "#e": [job.id.to_hex()]});
        let name = self.open(filter).await;
        self.raw(format!("[\"EVENT\",{}]", job.as_json())).await;
        let mut answers = Vec::new();
        loop {
            let event = self.next_event().await;
            let ends = is_end(&event);
            answers.push(event);
            if ends {
                break;
            }
        }
        self.close(name).await;
        answers
    }
}

/// Whether a plain feedback ends its job.
fn is_end(event: &Event) -> bool {
    event.kind.as_u16() == 7000 && matches!(status(event).as_str(), "success" | "error")
}

/// The status word of a plain feedback.
pub(crate) fn status(event: &Event) -> String {
    tag(event, "status").unwrap_or_default()
}

/// The second element of the first tag of this name.
pub(crate) fn tag(event: &Event, name: &str) -> Option<String> {
    event
        .tags
        .iter()
        .map(nostr::Tag::as_slice)
        .find(|tag| tag[0] == name)
        .and_then(|tag| tag.get(1).cloned())
}
