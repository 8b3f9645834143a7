//! A customer over a real socket, light enough not to be what is measured.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, Utf8Bytes, protocol::WebSocketConfig},
};

use super::events::Made;

/// Events that wait for their OK on one connection.
pub(crate) const WINDOW: usize = 1024;
/// Nothing takes longer than this, or the relay lost something.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Socket {
    inner: WebSocketStream<TcpStream>,
}

impl Socket {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let limits = WebSocketConfig::default()
            .write_buffer_size(64 << 10)
            .max_write_buffer_size(64 << 20);
        let url = format!("ws://{address}/");
        let (inner, _) = tokio_tungstenite::client_async_with_config(url, stream, Some(limits))
            .await
            .unwrap();
        Self { inner }
    }

    /// Says something at once.
    pub(crate) async fn say(&mut self, text: impl Into<Utf8Bytes>) {
        self.inner.send(Message::Text(text.into())).await.unwrap();
    }

    /// The next text; nothing when the relay closed.
    pub(crate) async fn hear(&mut self) -> Option<Utf8Bytes> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.inner.next());
            match next.await.expect("the relay does not answer") {
                Some(Ok(Message::Text(text))) => return Some(text),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next text that begins like this.
    pub(crate) async fn wait_for(&mut self, beginning: &str) -> Option<Utf8Bytes> {
        loop {
            let text = self.hear().await?;
            if text.starts_with(beginning) {
                return Some(text);
            }
        }
    }

    /// Publishes one event and waits for its OK.
    pub(crate) async fn publish(&mut self, event: &Made) {
        self.say(event.frame.as_str()).await;
        let answer = self.wait_for(r#"["OK""#).await.expect("the relay closed");
        assert!(answer.contains("true"), "{answer}");
    }

    /// Publishes events with a window of them under way; returns when each has its OK.
    pub(crate) async fn publish_all(&mut self, events: &[Made]) {
        let (mut sent, mut accepted) = (0, 0);
        while accepted < events.len() {
            while sent < events.len() && sent - accepted < WINDOW {
                // Whole handfuls, so that the sender is not what is measured.
                for event in &events[sent..events.len().min(sent + 32)] {
                    let frame = Utf8Bytes::from(event.frame.as_str());
                    self.inner.feed(Message::Text(frame)).await.unwrap();
                }
                sent = events.len().min(sent + 32);
            }
            self.inner.flush().await.unwrap();
            // All that have come.
            let mut answer = self.wait_for(r#"["OK""#).await;
            loop {
                let text = answer.as_ref().expect("the relay closed");
                assert!(text.contains("true"), "{text}");
                accepted += 1;
                if accepted == events.len() || sent - accepted < WINDOW / 2 {
                    break;
                }
                answer = self.wait_for(r#"["OK""#).await;
            }
        }
    }

    /// Subscribes, and waits until what is stored was sent; says how many events that were.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> usize {
        self.say(format!(r#"["REQ","s",{filter}]"#)).await;
        let mut events = 0;
        loop {
            let text = self.hear().await.expect("the relay closed");
            if text.starts_with(r#"["EOSE""#) {
                return events;
            }
            // LocalRelay closes without a reason what it answered whole, also when the next one is open already.
            let closed = text.starts_with(r#"["CLOSED""#) && !text.ends_with(r#",""]"#);
            assert!(!closed, "{text}");
            events += usize::from(text.starts_with(r#"["EVENT""#));
        }
    }

    /// How long a query took, and what it found.
    pub(crate) async fn query(&mut self, filter: &str) -> (Duration, usize) {
        let began = Instant::now();
        let found = self.subscribe(filter).await;
        let took = began.elapsed();
        self.say(r#"["CLOSE","s"]"#).await;
        (took, found)
    }
}
