//! The relay over the wire: raw WebSocket frames and raw HTTP against a relay in this process.

use std::{net::SocketAddr, sync::Arc, time::Duration};

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
    store::FjallStore,
};

struct Bus {
    relay: Relay,
    address: SocketAddr,
    operator: Keys,
    admission: Arc<Admission>,
    identity: Keys,
    _home: tempfile::TempDir,
    _server: tokio_util::task::AbortOnDropHandle<()>,
}

impl Bus {
    async fn start(config: Config) -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = Arc::new(FjallStore::open(&home.path().join("events")).unwrap());
        let operator = Keys::generate();
        let identity = Keys::generate();
        let admission = Arc::new(Admission::new(operator.public_key(), Admit::Owner));
        let relay = Relay::start(
            config,
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
            _home: home,
            _server: server,
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

#[tokio::test]
async fn stores_serves_and_forwards_an_event() {
    let bus = Bus::start(Config::default()).await;
    let keys = Keys::generate();
    let mut writer = bus.client().await;
    let mut reader = bus.client().await;
    assert!(
        reader
            .req("live", &[json!({"kinds": [1]})])
            .await
            .is_empty()
    );
    let event = note(&keys, "hello");
    assert_eq!(writer.publish(&event).await, (true, String::new()));
    let live = reader.next().await;
    assert_eq!(live[0], "EVENT");
    assert_eq!(live[1], "live");
    assert_eq!(live[2]["id"], event.id.to_hex());
    assert_eq!(
        writer.req("a", &[json!({"ids": [event.id]})]).await,
        [event.id.to_hex()]
    );
    let (accepted, message) = writer.publish(&event).await;
    assert!(accepted && message.starts_with("duplicate:"));
    reader.silent().await;
}

#[tokio::test]
async fn a_handle_publishes_queries_counts_and_follows() {
    let bus = Bus::start(Config::default()).await;
    let keys = Keys::generate();
    let mut feed = bus.relay.feed(0);
    let event = note(&keys, "1");
    assert_eq!(
        bus.relay.publish(event.clone()).await,
        Ok(Accepted::New { seq: 1 })
    );
    assert_eq!(
        bus.relay.publish(event.clone()).await,
        Ok(Accepted::Duplicate)
    );
    assert_eq!(feed.next().await.unwrap()[0].event, event);
    assert_eq!(bus.relay.last_seq(), 1);
    let filter = Filter::new().author(keys.public_key());
    assert_eq!(
        bus.relay.query(filter.clone()).await.unwrap(),
        std::slice::from_ref(&event)
    );
    assert_eq!(bus.relay.count(filter).await.unwrap(), 1);
    assert_eq!(bus.relay.get(event.id).await.unwrap(), Some(event.clone()));
    let mut broken = event;
    broken.content.push('!');
    assert_eq!(bus.relay.publish(broken).await, Err(Rejection::Id));
    let ephemeral = Draft::new(24135).sign(&keys, now()).unwrap();
    assert_eq!(bus.relay.publish(ephemeral).await, Ok(Accepted::Ephemeral));
    bus.relay.shutdown().await;
    assert_eq!(
        bus.relay.publish(note(&keys, "late")).await,
        Err(Rejection::Stopping)
    );
}

#[tokio::test]
async fn bad_events_are_refused_with_a_reason() {
    let bus = Bus::start(Config::default()).await;
    let mut client = bus.client().await;
    let keys = Keys::generate();
    let sign = |draft: Draft, at| draft.sign(&keys, at).unwrap();
    let mut wrong_id = note(&keys, "a");
    wrong_id.content.push('b');
    let mut wrong_signature = note(&keys, "a");
    wrong_signature.sig = note(&keys, "c").sig;
    let table = [
        (wrong_id, "invalid: the id"),
        (wrong_signature, "invalid: the signature"),
        (sign(Draft::new(22242), now()), "invalid: kind 22242"),
        (sign(Draft::new(1), now() + 1000), "invalid: created_at"),
        (
            sign(Draft::new(1), u64::from(u32::MAX) + 1),
            "invalid: created_at",
        ),
        (
            sign(Draft::new(1).tag(["expiration", "100"]), now()),
            "invalid: the event has expired",
        ),
        (
            sign(Draft::new(1).tags(vec![vec!["t".into()]; 2001]), now()),
            "invalid: an event has at most",
        ),
        (
            sign(Draft::new(1).content("x".repeat(1 << 20)), now()),
            "invalid: a message has at most",
        ),
        (sign(Draft::new(1).tag(["-"]), now()), "auth-required:"),
    ];
    for (event, reason) in table {
        let (accepted, message) = client.publish(&event).await;
        assert!(!accepted && message.starts_with(reason), "{message}");
    }
    let id = "a".repeat(64);
    client.send(json!(["EVENT", {"id": id, "kind": "x"}])).await;
    let answer = client.next().await;
    assert_eq!(
        (&answer[0], &answer[1], &answer[2]),
        (&json!("OK"), &json!(id), &json!(false))
    );
    assert!(client.publish(&note(&keys, "fine")).await.0);
}

#[tokio::test]
async fn what_is_no_message_gets_a_notice_and_the_connection_stays() {
    let bus = Bus::start(Config::default()).await;
    let mut client = bus.client().await;
    for text in [
        "nonsense",
        "{}",
        "[]",
        r#"["HELLO"]"#,
        r#"["EVENT"]"#,
        r#"["EVENT",1]"#,
        r#"["EVENT",{"id":"x"}]"#,
        r#"["REQ"]"#,
        r#"["REQ","a"]"#,
        r#"["CLOSE"]"#,
        r#"["AUTH",{}]"#,
        &format!(r#"["REQ","{}",{{}}]"#, "x".repeat(65)),
        &format!(
            r#"["REQ","a",{{"kinds":[1],"x":"{}"}}]"#,
            "x".repeat(600_000)
        ),
    ] {
        client.raw(text).await;
        let answer = client.next().await;
        assert_eq!(answer[0], "NOTICE", "{answer}");
    }
    client
        .socket
        .send(Message::Binary(vec![1, 2].into()))
        .await
        .unwrap();
    assert_eq!(client.next().await[0], "NOTICE");
    client.silent().await;
}

#[tokio::test]
async fn a_frame_beyond_the_hard_limit_is_answered_and_closed() {
    let bus = Bus::start(Config::default()).await;
    let mut client = bus.client().await;
    client
        .socket
        .feed(Message::Text("x".repeat(5 << 20).into()))
        .await
        .unwrap();
    let _ = client.socket.flush().await;
    let answer = client.next().await;
    assert_eq!(answer[0], "NOTICE");
    assert!(answer[1].as_str().unwrap().starts_with("invalid:"));
}

#[tokio::test]
async fn bad_subscriptions_are_closed_with_a_reason() {
    let bus = Bus::start(Config {
        max_subscriptions: 2,
        ..Config::default()
    })
    .await;
    let mut client = bus.client().await;
    for filter in [
        json!({"kinds": ["x"]}),
        json!({"ids": ["abc"]}),
        json!({"#foo": ["x"]}),
        json!({"search": "x"}),
        json!([]),
    ] {
        let reason = client.closed(json!(["REQ", "a", filter])).await;
        assert!(reason.starts_with("invalid:"), "{reason}");
    }
    let many: Vec<Value> = std::iter::repeat_n(json!({}), 33).collect();
    let mut message = vec![json!("REQ"), json!("a")];
    message.extend(many);
    assert!(
        client
            .closed(Value::Array(message))
            .await
            .starts_with("invalid:")
    );
    let private = client.closed(json!(["REQ", "a", {"kinds": [1059]}])).await;
    assert!(private.starts_with("auth-required:"));
    client.req("a", &[json!({})]).await;
    client.req("b", &[json!({})]).await;
    client.req("b", &[json!({})]).await;
    let reason = client.closed(json!(["REQ", "c", {}])).await;
    assert!(reason.starts_with("rate-limited:"), "{reason}");
    client.send(json!(["CLOSE", "a"])).await;
    client.req("c", &[json!({})]).await;
}

#[tokio::test]
async fn filters_are_a_union_newest_first() {
    let bus = Bus::start(Config::default()).await;
    let mut client = bus.client().await;
    let keys = Keys::generate();
    let base = now() - 100;
    let mut ids = Vec::new();
    for at in 0..5 {
        let event = Draft::new(if at % 2 == 0 { 1 } else { 7 })
            .tag(["e", "x"])
            .tag(["E", "y"])
            .sign(&keys, base + at)
            .unwrap();
        assert!(client.publish(&event).await.0);
        ids.insert(0, event.id.to_hex());
    }
    let all: Vec<u16> = (0..1000).collect();
    for (filters, wanted) in [
        (vec![json!({"kinds": all})], &ids[..]),
        (
            vec![json!({"kinds": [1]}), json!({"kinds": [7, 1]})],
            &ids[..],
        ),
        (vec![json!({"limit": 2})], &ids[..2]),
        (vec![json!({"limit": 0})], &[]),
        (vec![json!({"kinds": []})], &[]),
        (vec![json!({"#e": []})], &[]),
        (vec![json!({"#e": ["y"]})], &[]),
        (vec![json!({"#E": ["y"]})], &ids[..]),
        (
            vec![json!({"since": base + 1, "until": base + 3})],
            &ids[1..4],
        ),
    ] {
        assert_eq!(client.req("q", &filters).await, wanted, "{filters:?}");
    }
    client
        .send(json!(["COUNT", "c", {"kinds": [7]}, {"kinds": [1, 7], "limit": 1}]))
        .await;
    assert_eq!(client.next().await, json!(["COUNT", "c", {"count": 5}]));
}

#[tokio::test]
async fn a_replaced_or_closed_subscription_gets_nothing_more() {
    let bus = Bus::start(Config::default()).await;
    let mut reader = bus.client().await;
    let keys = Keys::generate();
    reader.req("a", &[json!({"kinds": [1]})]).await;
    reader.req("a", &[json!({"kinds": [7]})]).await;
    bus.relay.publish(note(&keys, "1")).await.unwrap();
    reader.silent().await;
    let reaction = Draft::new(7).sign(&keys, now()).unwrap();
    bus.relay.publish(reaction).await.unwrap();
    assert_eq!(reader.next().await[0], "EVENT");
    reader.send(json!(["CLOSE", "a"])).await;
    reader.silent().await;
    let reaction = Draft::new(7).content("-").sign(&keys, now()).unwrap();
    bus.relay.publish(reaction).await.unwrap();
    reader.silent().await;
}

#[tokio::test]
async fn ephemeral_events_are_forwarded_and_not_stored() {
    let bus = Bus::start(Config::default()).await;
    let mut reader = bus.client().await;
    let mut writer = bus.client().await;
    let keys = Keys::generate();
    reader.req("e", &[json!({"kinds": [24135]})]).await;
    let event = Draft::new(24135).sign(&keys, now()).unwrap();
    assert_eq!(writer.publish(&event).await, (true, String::new()));
    assert_eq!(reader.next().await[2]["id"], event.id.to_hex());
    assert!(
        writer
            .req("q", &[json!({"kinds": [24135]})])
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn deletions_and_replacements_take_effect() {
    let bus = Bus::start(Config::default()).await;
    let mut client = bus.client().await;
    let keys = Keys::generate();
    let at = now();
    let event = note(&keys, "gone");
    client.publish(&event).await;
    let stranger = Draft::new(5)
        .tag(["e", &event.id.to_hex()])
        .sign(&Keys::generate(), at)
        .unwrap();
    assert!(client.publish(&stranger).await.0);
    assert_eq!(client.req("a", &[json!({"kinds": [1]})]).await.len(), 1);
    let own = Draft::new(5)
        .tag(["e", &event.id.to_hex()])
        .sign(&keys, at)
        .unwrap();
    assert!(client.publish(&own).await.0);
    assert!(client.req("a", &[json!({"kinds": [1]})]).await.is_empty());
    let (accepted, reason) = client.publish(&event).await;
    assert!(!accepted && reason.starts_with("blocked:"), "{reason}");
    let new = Draft::new(0).content("new").sign(&keys, at).unwrap();
    let old = Draft::new(0).content("old").sign(&keys, at - 1).unwrap();
    client.publish(&new).await;
    let (accepted, reason) = client.publish(&old).await;
    assert!(
        !accepted && reason.starts_with("duplicate: have a newer"),
        "{reason}"
    );
}

#[tokio::test]
async fn a_protected_event_comes_from_its_author_only() {
    let bus = Bus::start(Config::default()).await;
    let mut client = bus.client().await;
    let (author, other) = (Keys::generate(), Keys::generate());
    let event = Draft::new(1).tag(["-"]).sign(&author, now()).unwrap();
    assert!(client.publish(&event).await.1.starts_with("auth-required:"));
    assert!(client.auth(&other).await.0);
    assert!(client.publish(&event).await.1.starts_with("restricted:"));
    assert!(client.auth(&author).await.0);
    assert!(client.publish(&event).await.0);
}

#[tokio::test]
async fn an_answer_for_another_relay_or_challenge_does_not_count() {
    let bus = Bus::start(Config::default()).await;
    let mut client = bus.client().await;
    let keys = Keys::generate();
    let own = format!("ws://{}", bus.address);
    let challenge = client.challenge.clone();
    for (relay, challenge, at) in [
        ("wss://relay.example", challenge.as_str(), now()),
        (own.as_str(), "other", now()),
        (own.as_str(), challenge.as_str(), now() - 700),
    ] {
        let answer = Draft::new(22242)
            .tag(["relay", relay])
            .tag(["challenge", challenge])
            .sign(&keys, at)
            .unwrap();
        client.send(json!(["AUTH", answer])).await;
        let ok = client.next().await;
        assert_eq!(ok[2], false);
        assert!(ok[3].as_str().unwrap().starts_with("invalid:"));
    }
}

#[tokio::test]
async fn gift_wraps_reach_their_recipient_only() {
    let bus = Bus::start(Config::default()).await;
    let recipient = Keys::generate();
    let mut stranger = bus.client().await;
    let mut reader = bus.client().await;
    assert!(reader.auth(&Keys::generate()).await.0);
    assert!(reader.auth(&recipient).await.0);
    stranger.req("s", &[json!({})]).await;
    reader.req("s", &[json!({"kinds": [1059]})]).await;
    let wrap = Draft::new(1059)
        .tag(["p", &recipient.public_key().to_hex()])
        .sign(&Keys::generate(), now())
        .unwrap();
    bus.relay.publish(wrap.clone()).await.unwrap();
    assert_eq!(reader.next().await[2]["id"], wrap.id.to_hex());
    assert_eq!(reader.req("q", &[json!({"ids": [wrap.id]})]).await.len(), 1);
    stranger.silent().await;
    assert!(
        stranger
            .req("q", &[json!({"ids": [wrap.id]})])
            .await
            .is_empty()
    );
    stranger
        .send(json!(["COUNT", "c", {"kinds": [1059, 1]}]))
        .await;
    assert_eq!(stranger.next().await[2]["count"], 0);
    reader
        .send(json!(["COUNT", "c", {"kinds": [1059, 1]}]))
        .await;
    assert_eq!(reader.next().await[2]["count"], 1);
}

#[tokio::test]
async fn a_foreign_page_reads_and_writes_only_as_an_admitted_key() {
    let bus = Bus::start(Config::default()).await;
    for origin in ["https://evil.example", "null", "http://localhost:3000"] {
        let mut page = bus.client_with(&[("origin", origin)]).await;
        let event = note(&Keys::generate(), origin);
        let req = json!(["REQ", "a", {}]);
        let count = json!(["COUNT", "a", {}]);
        assert!(page.publish(&event).await.1.starts_with("auth-required:"));
        assert!(page.closed(req.clone()).await.starts_with("auth-required:"));
        assert!(
            page.closed(count.clone())
                .await
                .starts_with("auth-required:")
        );
        assert!(page.auth(&Keys::generate()).await.0);
        assert!(page.publish(&event).await.1.starts_with("restricted:"));
        assert!(page.closed(req).await.starts_with("restricted:"));
        assert!(page.closed(count).await.starts_with("restricted:"));
        assert!(page.auth(&bus.operator).await.0);
        assert!(page.publish(&event).await.0);
        page.req("a", &[json!({"limit": 0})]).await;
    }
    let own = format!("http://{}", bus.address);
    let mut page = bus.client_with(&[("origin", &own)]).await;
    assert!(page.publish(&note(&Keys::generate(), "own")).await.0);
}

#[tokio::test]
async fn a_key_that_is_no_longer_admitted_gets_no_live_events() {
    let bus = Bus::start(Config::default()).await;
    let keys = Keys::generate();
    bus.admission.set_allowed([keys.public_key()]);
    let mut page = bus.client_with(&[("origin", "null")]).await;
    assert!(page.auth(&keys).await.0);
    page.req("a", &[json!({})]).await;
    let mut local = bus.client().await;
    local.req("a", &[json!({})]).await;
    bus.relay.publish(note(&keys, "1")).await.unwrap();
    assert_eq!(page.next().await[0], "EVENT");
    assert_eq!(local.next().await[0], "EVENT");
    bus.admission.set_allowed([]);
    // Two, so that the first is out everywhere when the second arrives.
    bus.relay.publish(note(&keys, "2")).await.unwrap();
    bus.relay.publish(note(&keys, "3")).await.unwrap();
    assert_eq!(local.next().await[0], "EVENT");
    assert_eq!(local.next().await[0], "EVENT");
    assert!(
        page.closed(json!(["COUNT", "c", {}]))
            .await
            .starts_with("restricted:")
    );
}

#[tokio::test]
async fn reading_can_be_closed_to_local_programs() {
    let bus = Bus::start(Config {
        read: Read::Auth,
        ..Config::default()
    })
    .await;
    let mut client = bus.client().await;
    assert!(client.publish(&note(&Keys::generate(), "x")).await.0);
    assert!(
        client
            .closed(json!(["REQ", "a", {}]))
            .await
            .starts_with("auth-required:")
    );
    assert!(client.auth(&bus.operator).await.0);
    assert_eq!(client.req("a", &[json!({})]).await.len(), 1);
}

#[tokio::test]
async fn http_answers_are_as_documented() {
    let bus = Bus::start(Config::default()).await;
    let host = format!("Host: {}\r\n", bus.address);
    let nip11 = format!("{host}Accept: application/nostr+json\r\n");
    let cross = "Sec-Fetch-Site: cross-site\r\n";
    let evil = "Host: evil.example\r\n";
    let challenge = "ab".repeat(32);
    let proof = format!("/.well-known/treefort?challenge={challenge}");
    for (path, headers, status) in [
        ("/", host.clone(), "200"),
        ("/", evil.to_owned(), "403"),
        (
            "/",
            format!("{evil}Accept: application/nostr+json\r\n"),
            "403",
        ),
        ("/", String::new(), "403"),
        ("/", format!("{host}{cross}"), "403"),
        ("/", format!("{nip11}{cross}"), "200"),
        ("/nothing", host.clone(), "404"),
        ("/.well-known/treefort", host.clone(), "400"),
        ("/.well-known/treefort?challenge=AB", host.clone(), "400"),
        (&proof, host.clone(), "200"),
        (&proof, format!("{host}{cross}"), "403"),
        ("/", format!("{host}Upgrade: websocket\r\n"), "400"),
    ] {
        let answer = bus.get(path, &headers).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{path} {headers}: {answer}"
        );
    }
    let answer = bus.get("/", &nip11).await;
    assert!(
        answer.contains("access-control-allow-origin: *"),
        "{answer}"
    );
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["self"], bus.identity.public_key().to_hex());
    assert_eq!(body["limitation"]["max_limit"], 5000);
    assert_eq!(body["limitation"]["auth_required"], false);
    let answer = bus.get("/", &format!("{nip11}Origin: null\r\n")).await;
    assert!(answer.contains(r#""auth_required":true"#), "{answer}");
    let answer = bus
        .http(&format!(
            "OPTIONS / HTTP/1.1\r\nConnection: close\r\n{host}Origin: https://x.example\r\n\r\n"
        ))
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 204") && answer.contains("access-control-allow-headers: *")
    );
    let page = bus.get("/", &host).await;
    assert!(page.contains("content-security-policy: default-src 'none'"));
    assert!(!page.contains("access-control"));
    let answer = bus.get(&proof, &host).await;
    let event = Event::from_json(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    event.verify().unwrap();
    assert_eq!(event.pubkey, bus.identity.public_key());
    assert_eq!(event.kind.as_u16(), 27235);
    assert_eq!(
        event.tags.first().unwrap().as_slice(),
        ["challenge", &challenge]
    );
}

#[tokio::test]
async fn a_request_that_never_ends_is_closed() {
    let bus = Bus::start(Config {
        handshake_timeout_s: 1,
        ..Config::default()
    })
    .await;
    let mut stream = TcpStream::connect(bus.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let mut rest = Vec::new();
    let read = stream.read_to_end(&mut rest);
    tokio::time::timeout(Duration::from_secs(5), read)
        .await
        .expect("closed")
        .ok();
}

#[tokio::test]
async fn an_http_connection_that_idles_is_closed() {
    let bus = Bus::start(Config {
        handshake_timeout_s: 1,
        ..Config::default()
    })
    .await;
    let mut stream = TcpStream::connect(bus.address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", bus.address);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(5), read)
        .await
        .expect("closed")
        .unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_silent_websocket_is_pinged_and_then_closed() {
    let bus = Bus::start(Config {
        idle_timeout_s: 2,
        ..Config::default()
    })
    .await;
    let mut client = bus.client().await;
    let frame = client.socket.next().await.unwrap().unwrap();
    assert!(matches!(frame, Message::Ping(_)), "{frame:?}");
    // Reading on would answer the ping; a dead program does not.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(bus.relay.connections(), 0);
}

#[tokio::test]
async fn connections_beyond_the_bound_are_refused() {
    let bus = Bus::start(Config {
        max_connections: 1,
        ..Config::default()
    })
    .await;
    let _first = bus.client().await;
    let mut second = TcpStream::connect(bus.address).await.unwrap();
    let mut rest = Vec::new();
    second.read_to_end(&mut rest).await.ok();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_close_is_answered() {
    let bus = Bus::start(Config::default()).await;
    let mut client = bus.client().await;
    client.req("a", &[json!({})]).await;
    client.socket.send(Message::Close(None)).await.unwrap();
    let answer = client.socket.next().await.unwrap().unwrap();
    assert!(matches!(answer, Message::Close(_)), "{answer:?}");
    assert!(client.socket.next().await.is_none());
    assert_eq!(bus.relay.connections(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_or_repeated_between_stored_and_live() {
    let bus = Bus::start(Config::default()).await;
    let keys = Keys::generate();
    const COUNT: usize = 600;
    let events: Vec<Event> = (0..COUNT).map(|n| note(&keys, &n.to_string())).collect();
    let mut writer = bus.client().await;
    let pipelined = {
        let events = events.clone();
        tokio::spawn(async move {
            for event in &events {
                writer
                    .raw(&format!(r#"["EVENT",{}]"#, event.as_json()))
                    .await;
            }
            for _ in &events {
                let ok = writer.next().await;
                assert_eq!((&ok[0], &ok[2]), (&json!("OK"), &json!(true)));
            }
        })
    };
    let mut readers = tokio::task::JoinSet::new();
    for delay in 0..12 {
        let mut reader = bus.client().await;
        readers.spawn(async move {
            tokio::time::sleep(Duration::from_millis(delay * 4)).await;
            reader
                .send(json!(["REQ", "s", {"kinds": [1], "limit": 5000}]))
                .await;
            let mut stored = Vec::new();
            let mut live = Vec::new();
            let mut eose = false;
            while stored.len() + live.len() < COUNT || !eose {
                let message = reader.next().await;
                match message[0].as_str().unwrap() {
                    "EVENT" => {
                        let number: usize =
                            message[2]["content"].as_str().unwrap().parse().unwrap();
                        let order = (
                            std::cmp::Reverse(message[2]["created_at"].as_u64()),
                            message[2]["id"].as_str().unwrap().to_owned(),
                        );
                        if eose { &mut live } else { &mut stored }.push((order, number));
                    }
                    "EOSE" => {
                        assert!(!eose);
                        eose = true;
                    }
                    _ => panic!("{message}"),
                }
            }
            // What was there comes before EOSE, what came later after it, in order.
            assert!(stored.is_sorted(), "a live event came before EOSE");
            stored.sort_unstable_by_key(|(_, number)| *number);
            let from = stored.len();
            assert!(stored.into_iter().map(|(_, number)| number).eq(0..from));
            assert!(live.into_iter().map(|(_, number)| number).eq(from..COUNT));
            reader.silent().await;
        });
    }
    pipelined.await.unwrap();
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    let mut feed = bus.relay.feed(0);
    let mut order = Vec::new();
    while order.len() < COUNT {
        order.extend(
            feed.next()
                .await
                .unwrap()
                .into_iter()
                .map(|row| row.event.id),
        );
    }
    let sent: Vec<_> = events.iter().map(|event| event.id).collect();
    assert_eq!(order, sent, "one connection's events keep their order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_reader_gets_everything_or_a_close_that_says_why() {
    for (limit, wanted) in [(64 << 20, true), (64 << 10, false)] {
        let bus = Bus::start(Config {
            max_outbox_bytes: limit,
            ..Config::default()
        })
        .await;
        let keys = Keys::generate();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        let stream = socket.connect(bus.address).await.unwrap();
        let mut reader = bus.client_over(stream, &[]).await;
        reader.req("s", &[json!({"kinds": [1]})]).await;
        let count = 200;
        for n in 0..count {
            let text = format!("{n}:{}", "x".repeat(40_000));
            bus.relay.publish(note(&keys, &text)).await.unwrap();
        }
        let mut seen = 0;
        let closed = loop {
            let frame = tokio::time::timeout(Duration::from_secs(20), reader.socket.next())
                .await
                .unwrap();
            match frame {
                Some(Ok(Message::Text(text))) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    let content = message[2]["content"].as_str().unwrap();
                    assert!(content.starts_with(&format!("{seen}:")), "in order, no gap");
                    seen += 1;
                    if seen == count {
                        break false;
                    }
                }
                Some(Ok(Message::Close(Some(frame)))) => {
                    assert!(frame.reason.contains("too slow"), "{}", frame.reason);
                    break true;
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(closed, !wanted);
    }
}

#[tokio::test]
async fn a_large_answer_waits_for_its_reader() {
    let bus = Bus::start(Config {
        max_outbox_bytes: 1 << 20,
        ..Config::default()
    })
    .await;
    let keys = Keys::generate();
    for n in 0..60 {
        let text = format!("{n}:{}", "x".repeat(100_000));
        bus.relay.publish(note(&keys, &text)).await.unwrap();
    }
    let mut reader = bus.client().await;
    reader.send(json!(["REQ", "s", {}])).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    for _ in 0..60 {
        assert_eq!(reader.next().await[0], "EVENT");
    }
    assert_eq!(reader.next().await[0], "EOSE");
}

#[tokio::test]
async fn stopping_closes_connections_with_a_reason() {
    let bus = Bus::start(Config::default()).await;
    let mut client = bus.client().await;
    assert_eq!(bus.relay.connections(), 1);
    bus.relay.shutdown().await;
    loop {
        match client.socket.next().await {
            Some(Ok(Message::Close(Some(frame)))) => {
                assert_eq!(u16::from(frame.code), 1001);
                break;
            }
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn pings_are_answered() {
    let bus = Bus::start(Config::default()).await;
    let mut client = bus.client().await;
    client
        .socket
        .send(Message::Ping(vec![1, 2, 3].into()))
        .await
        .unwrap();
    loop {
        if let Message::Pong(data) = client.socket.next().await.unwrap().unwrap() {
            assert_eq!(data.as_ref(), [1, 2, 3]);
            break;
        }
    }
}
