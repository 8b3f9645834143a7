//! Stands in front of a relay and passes everything on: so a test sees what was said to a relay that is not ours, and a
//! relay keeps its address while it starts anew elsewhere.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use nostr::{Event, EventId, JsonUtil as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};
use tokio_tungstenite::tungstenite::Message;

/// The longest beginning of a request over HTTP.
const HEAD: usize = 8192;

#[derive(Default)]
struct Shared {
    /// `127.0.0.1:port` of the relay behind.
    behind: Mutex<String>,
    /// What is answered when somebody asks over HTTP what the relay is; without it the relay answers itself.
    information: Mutex<Option<String>>,
    /// What was said to the relay.
    said: Mutex<Vec<String>>,
    /// Messages either way.
    frames: AtomicUsize,
    connections: AtomicUsize,
}

/// See the module; dropping it ends it.
pub(crate) struct Tap {
    shared: Arc<Shared>,
    address: String,
    task: AbortHandle,
}

impl Tap {
    /// In front of a relay at `127.0.0.1:port`.
    pub(crate) async fn start(behind: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared::default());
        let tap = Self {
            shared: shared.clone(),
            address,
            task: tokio::spawn(listen(listener, shared)).abort_handle(),
        };
        tap.lead_to(behind);
        tap
    }

    /// The relay is somewhere else now.
    pub(crate) fn lead_to(&self, behind: &str) {
        behind.clone_into(&mut self.shared.behind.lock().unwrap());
    }

    /// The relay says this of itself over HTTP.
    pub(crate) fn introduce(&self, information: &str) {
        *self.shared.information.lock().unwrap() = Some(information.to_owned());
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    /// What was said to the relay, in order.
    pub(crate) fn said(&self) -> Vec<String> {
        self.shared.said.lock().unwrap().clone()
    }

    /// The events that were sent to the relay: their bytes, as often as they were.
    pub(crate) fn events(&self) -> HashMap<EventId, Vec<String>> {
        let mut events: HashMap<EventId, Vec<String>> = HashMap::new();
        for text in self.shared.said.lock().unwrap().iter() {
            let raw = text.strip_prefix("[\"EVENT\",");
            if let Some(raw) = raw.and_then(|rest| rest.strip_suffix(']')) {
                let id = Event::from_json(raw).unwrap().id;
                events.entry(id).or_default().push(raw.to_owned());
            }
        }
        events
    }

    /// How many messages there were either way.
    pub(crate) fn frames(&self) -> usize {
        self.shared.frames.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut all = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = shared.clone();
        // A connection that breaks is one that breaks.
        all.spawn(async move { pass(stream, &shared).await });
    }
}

async fn pass(mut stream: TcpStream, shared: &Shared) -> Option<()> {
    let behind = shared.behind.lock().unwrap().clone();
    let head = head(&stream).await?;
    if !head.to_ascii_lowercase().contains("upgrade: websocket") {
        let information = shared.information.lock().unwrap().clone();
        let Some(information) = information else {
            let mut relay = TcpStream::connect(behind).await.ok()?;
            tokio::io::copy_bidirectional(&mut stream, &mut relay)
                .await
                .ok()?;
            return Some(());
        };
        stream.read_exact(&mut vec![0; head.len()]).await.ok()?;
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/nostr+json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{information}",
            information.len()
        );
        stream.write_all(answer.as_bytes()).await.ok()?;
        return Some(());
    }
    let client = tokio_tungstenite::accept_async(stream).await.ok()?;
    let url = format!("ws://{behind}/");
    let (relay, _) = tokio_tungstenite::connect_async(url).await.ok()?;
    shared.connections.fetch_add(1, Ordering::SeqCst);
    let (mut to_client, mut from_client) = client.split();
    let (mut to_relay, mut from_relay) = relay.split();
    let up = async {
        while let Some(Ok(message)) = from_client.next().await {
            if let Message::Text(text) = &message {
                shared.frames.fetch_add(1, Ordering::SeqCst);
                shared.said.lock().unwrap().push(text.to_string());
            }
            if is_passed_on(&message) && to_relay.send(message).await.is_err() {
                break;
            }
        }
    };
    let down = async {
        while let Some(Ok(message)) = from_relay.next().await {
            if matches!(message, Message::Text(_)) {
                shared.frames.fetch_add(1, Ordering::SeqCst);
            }
            if is_passed_on(&message) && to_client.send(message).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
    Some(())
}

/// Pings are answered on each side of us.
fn is_passed_on(message: &Message) -> bool {
    matches!(
        message,
        Message::Text(_) | Message::Binary(_) | Message::Close(_)
    )
}

/// The beginning of a request, which is left where it is.
async fn head(stream: &TcpStream) -> Option<String> {
    let mut buffer = vec![0; HEAD];
    loop {
        let count = stream.peek(&mut buffer).await.ok()?;
        let text = String::from_utf8_lossy(&buffer[..count]);
        if count == 0 || count == HEAD {
            return None;
        }
        if let Some(end) = text.find("\r\n\r\n") {
            return Some(text[..end + 4].to_owned());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
