//! The bridge: events over plain HTTP, as raw requests and raw answers.

mod access;
mod attacks;
mod publish;
mod read;
mod stream;

use nostr::base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use super::*;

/// An answer over HTTP.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (is, value) = line.split_once(": ")?;
            is.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The word of a refusal.
    fn code(&self) -> String {
        let json = self.json();
        assert!(!json["error"].as_str().unwrap().is_empty());
        json["code"].as_str().unwrap().to_owned()
    }

    fn ids(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{self:?}");
        let json = self.json();
        let ids = json.as_array().unwrap().iter();
        ids.map(|event| event["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl From<Vec<u8>> for Answer {
    fn from(bytes: Vec<u8>) -> Self {
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let body = match head.to_lowercase().contains("transfer-encoding: chunked") {
            true => unchunked(body),
            false => body.to_owned(),
        };
        Self {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body,
        }
    }
}

/// A body without its chunks; it has to have an end.
fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").expect("a chunk");
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return body;
        }
        body.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
}

impl Bus {
    /// One request on a connection of its own; `headers` are lines.
    async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let host = match headers.contains("Host:") {
            true => String::new(),
            false => format!("Host: {}\r\n", self.address),
        };
        let length = match (method, headers.contains("Content-Length:")) {
            ("POST", false) => format!("Content-Length: {}\r\n", body.len()),
            _ => String::new(),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nConnection: close\r\n{host}{length}{headers}\r\n{body}"
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A body that is refused is not read to its end.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(60), read)
            .await
            .expect("an answer");
        answer.into()
    }

    async fn read(&self, query: &str, headers: &str) -> Answer {
        self.ask("GET", &format!("/events{query}"), headers, "")
            .await
    }

    /// Publishes JSON, with further header lines.
    async fn post(&self, body: &str, headers: &str) -> Answer {
        let headers = format!("Content-Type: application/json\r\n{headers}");
        self.ask("POST", "/events", &headers, body).await
    }

    /// The header line of NIP-98 for a request to this relay.
    fn proof(&self, keys: &Keys, method: &str, path: &str, body: Option<&str>) -> String {
        let url = format!("http://{}{path}", self.address);
        proof(keys, method, &url, body, now())
    }

    async fn stream(&self, query: &str, headers: &str) -> Events {
        let request = format!(
            "GET /events/stream{query} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n",
            self.address
        );
        Events::open(self.address, &request).await
    }
}

fn proof(keys: &Keys, method: &str, url: &str, body: Option<&str>, at: u64) -> String {
    let mut draft = Draft::new(27235).tag(["u", url]).tag(["method", method]);
    if let Some(body) = body {
        let hash = hex::encode(Sha256::digest(body));
        draft = draft.tag(["payload", hash.as_str()]);
    }
    let event = draft.sign(keys, at).unwrap();
    format!(
        "Authorization: Nostr {}\r\n",
        STANDARD.encode(event.as_json())
    )
}

/// A server-sent event, field by field.
#[derive(Debug, Default, PartialEq)]
struct Sent {
    id: Option<u64>,
    event: Option<String>,
    data: Option<String>,
}

impl Sent {
    fn json(&self) -> Value {
        serde_json::from_str(self.data.as_ref().expect("data")).unwrap()
    }
}

/// An open stream of server-sent events.
struct Events {
    socket: TcpStream,
    head: String,
    /// Bytes that are not decoded yet, and text that is not parsed yet.
    raw: Vec<u8>,
    text: String,
    ended: bool,
}

impl Events {
    async fn open(address: SocketAddr, request: &str) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut stream = Self {
            socket,
            head: String::new(),
            raw: Vec::new(),
            text: String::new(),
            ended: false,
        };
        let end = loop {
            if let Some(end) = stream.raw.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            assert!(stream.fill().await, "no head");
        };
        stream.head = String::from_utf8(stream.raw[..end].to_vec()).unwrap();
        stream.raw.drain(..end + 4);
        stream
    }

    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    async fn fill(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(30), self.socket.read(&mut bytes));
        let read = read.await.expect("something").unwrap_or_default();
        self.raw.extend_from_slice(&bytes[..read]);
        read > 0
    }

    /// Takes whole chunks out of what came.
    fn decode(&mut self) {
        while let Some(line) = self.raw.windows(2).position(|two| two == b"\r\n") {
            let size = std::str::from_utf8(&self.raw[..line]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            if self.raw.len() < line + 2 + size + 2 {
                return;
            }
            let chunk = self.raw[line + 2..line + 2 + size].to_vec();
            self.raw.drain(..line + 2 + size + 2);
            self.ended |= size == 0;
            self.text.push_str(&String::from_utf8(chunk).unwrap());
        }
    }

    /// The next block, also one without data; nothing at the end.
    async fn block(&mut self) -> Option<Sent> {
        loop {
            self.decode();
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let mut sent = Sent::default();
                for line in block.lines().filter(|line| !line.is_empty()) {
                    match line.split_once(": ").unwrap() {
                        ("id", id) => sent.id = Some(id.parse().unwrap()),
                        ("event", event) => sent.event = Some(event.to_owned()),
                        ("data", data) => sent.data = Some(data.to_owned()),
                        ("" | "retry", _) => {}
                        other => panic!("{other:?}"),
                    }
                }
                return Some(sent);
            }
            if self.ended || !self.fill().await {
                return None;
            }
        }
    }

    /// The next block with data.
    async fn next(&mut self) -> Option<Sent> {
        loop {
            let sent = self.block().await?;
            if sent.data.is_some() {
                return Some(sent);
            }
        }
    }

    /// The next event's id and number.
    async fn event(&mut self) -> (Option<u64>, String) {
        let sent = self.next().await.expect("an event");
        assert_eq!(sent.event, None, "{sent:?}");
        (sent.id, sent.json()["id"].as_str().unwrap().to_owned())
    }
}
