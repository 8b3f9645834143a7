//! The relay over the wire: raw WebSocket frames and raw HTTP against a relay in this process.

mod access;
mod attacks;
mod bridge;
mod flow;
mod http;
mod limits;
mod protocol;
mod search;
mod sync;

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use nostr::{Event, Filter, JsonUtil, Keys, Timestamp};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};
use treefort::{
    keys::{Admission, Admit},
    nips::Draft,
    relay::{Accepted, Config, Identity, Read, Rejection, Relay},
    store::LogStore,
};

struct Bus {
    relay: Relay,
    address: SocketAddr,
    operator: Keys,
    admission: Arc<Admission>,
    identity: Keys,
    config: Config,
    home: tempfile::TempDir,
    server: tokio_util::task::AbortOnDropHandle<()>,
}

impl Bus {
    async fn start(config: Config) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config).await
    }

    /// With the search of NIP-50.
    async fn searched(config: Config) -> Self {
        let bus = Self::start(config).await;
        bus.relay.offer_search(bus.home().join("search")).unwrap();
        bus
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    /// The same one, with the search, after a restart.
    async fn again(self) -> Self {
        self.again_after(|_| {}).await
    }

    /// As [`Self::again`]; something happens to its home meanwhile.
    async fn again_after(self, happens: impl FnOnce(&Path)) -> Self {
        self.relay.shutdown().await;
        self.server.await.unwrap();
        drop(self.relay);
        happens(self.home.path());
        let bus = Self::start_in(self.home, self.config).await;
        bus.relay.offer_search(bus.home().join("search")).unwrap();
        bus
    }

    async fn start_in(home: tempfile::TempDir, config: Config) -> Self {
        let store = Arc::new(LogStore::open(&home.path().join("events")).unwrap());
        let operator = Keys::generate();
        let identity = Keys::generate();
        let admission = Arc::new(Admission::new(operator.public_key(), Admit::Owner));
        let relay = Relay::start(
            config.clone(),
            store,
            Identity {
                keys: identity.clone(),
                description: "a test".into(),
            },
            Arc::clone(&admission),
        )
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = {
            let relay = relay.clone();
            tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
                relay.run(listener).await;
            }))
        };
        Self {
            relay,
            address,
            operator,
            admission,
            identity,
            config,
            home,
            server,
        }
    }

    async fn client(&self) -> Client {
        self.client_with(&[]).await
    }

    async fn client_with(&self, headers: &[(&'static str, &str)]) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        self.client_over(stream, headers).await
    }

    async fn client_over(&self, stream: TcpStream, headers: &[(&'static str, &str)]) -> Client {
        let mut request = format!("ws://{}/", self.address)
            .into_client_request()
            .unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, _) = tokio_tungstenite::client_async(request, stream)
            .await
            .unwrap();
        let mut client = Client {
            socket,
            challenge: String::new(),
            address: self.address,
        };
        let hello = client.next().await;
        assert_eq!(hello[0], "AUTH");
        client.challenge = hello[1].as_str().unwrap().to_owned();
        client
    }

    async fn http(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        tokio::time::timeout(Duration::from_secs(5), read)
            .await
            .unwrap()
            .unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, path: &str, headers: &str) -> String {
        self.http(&format!(
            "GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n"
        ))
        .await
    }
}

struct Client {
    socket: WebSocketStream<TcpStream>,
    challenge: String,
    address: SocketAddr,
}

impl Client {
    async fn raw(&mut self, text: &str) {
        self.socket
            .send(Message::Text(text.to_owned().into()))
            .await
            .unwrap();
    }

    async fn send(&mut self, message: Value) {
        self.raw(&message.to_string()).await;
    }

    async fn next(&mut self) -> Value {
        loop {
            let frame = tokio::time::timeout(Duration::from_secs(10), self.socket.next())
                .await
                .expect("an answer within 10 s")
                .expect("an open connection")
                .unwrap();
            if let Message::Text(text) = frame {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    async fn publish(&mut self, event: &Event) -> (bool, String) {
        self.raw(&format!(r#"["EVENT",{}]"#, event.as_json())).await;
        let answer = self.next().await;
        assert_eq!(answer[0], "OK", "{answer}");
        assert_eq!(answer[1], event.id.to_hex());
        (
            answer[2].as_bool().unwrap(),
            answer[3].as_str().unwrap().to_owned(),
        )
    }

    /// Stored ids of a subscription, which stays open.
    async fn req(&mut self, name: &str, filters: &[Value]) -> Vec<String> {
        let mut message = vec![json!("REQ"), json!(name)];
        message.extend_from_slice(filters);
        self.send(Value::Array(message)).await;
        let mut ids = Vec::new();
        loop {
            let answer = self.next().await;
            match answer[0].as_str().unwrap() {
                "EVENT" => {
                    assert_eq!(answer[1], name);
                    ids.push(answer[2]["id"].as_str().unwrap().to_owned());
                }
                "EOSE" => {
                    assert_eq!(answer[1], name);
                    return ids;
                }
                _ => panic!("{answer}"),
            }
        }
    }

    /// The reason of a CLOSED that answers a message.
    async fn closed(&mut self, message: Value) -> String {
        self.send(message).await;
        let answer = self.next().await;
        assert_eq!(answer[0], "CLOSED", "{answer}");
        answer[2].as_str().unwrap().to_owned()
    }

    /// Reads on until the relay hangs up; the code and the reason that it gave.
    async fn end(&mut self) -> Option<(u16, String)> {
        loop {
            let frame = tokio::time::timeout(Duration::from_secs(20), self.socket.next());
            match frame.await.expect("an end") {
                Some(Ok(Message::Close(frame))) => {
                    return frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    async fn auth(&mut self, keys: &Keys) -> (bool, String) {
        let relay = format!("ws://{}", self.address);
        let answer = Draft::new(22242)
            .tag(["relay", relay.as_str()])
            .tag(["challenge", self.challenge.as_str()])
            .sign(keys, now())
            .unwrap();
        self.raw(&format!(r#"["AUTH",{}]"#, answer.as_json())).await;
        let ok = self.next().await;
        assert_eq!(ok[0], "OK");
        (ok[2].as_bool().unwrap(), ok[3].as_str().unwrap().to_owned())
    }

    /// Nothing comes but the answer to a query that is sent now.
    async fn silent(&mut self) {
        self.send(json!(["COUNT", "silence", {"limit": 0, "kinds": []}]))
            .await;
        let answer = self.next().await;
        assert_eq!(answer[0], "COUNT", "{answer}");
    }
}

fn now() -> u64 {
    Timestamp::now().as_secs()
}

fn note(keys: &Keys, text: &str) -> Event {
    Draft::new(1).content(text).sign(keys, now()).unwrap()
}
