//! The HTTP front, and connections that do not behave.

use super::*;

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
        ("/", host.clone(), "404"),
        ("/", evil.to_owned(), "403"),
        (
            "/",
            format!("{evil}Accept: application/nostr+json\r\n"),
            "403",
        ),
        ("/", String::new(), "403"),
        ("/", format!("{nip11}{cross}"), "200"),
        ("/nothing", host.clone(), "404"),
        ("/.well-known/treefort", host.clone(), "400"),
        ("/.well-known/treefort?challenge=AB", host.clone(), "400"),
        (&proof, host.clone(), "200"),
        (&proof, format!("{host}{cross}"), "403"),
        (
            &proof,
            format!("{host}Sec-Fetch-Site: same-site\r\n"),
            "403",
        ),
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
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nAccept: application/nostr+json\r\n\r\n",
        bus.address
    );
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
async fn the_information_document_tells_other_sites_nothing_of_the_owner() {
    let bus = Bus::start(Config::default()).await;
    for (origin, told) in [("", true), ("Origin: https://example.com\r\n", false)] {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nAccept: application/nostr+json\r\nConnection: close\r\n{origin}\r\n",
            bus.address
        );
        let mut stream = TcpStream::connect(bus.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let document: Value =
            serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(document["pubkey"].is_string(), told, "{document}");
        assert_eq!(document["version"].is_string(), told, "{document}");
    }
}

#[tokio::test]
async fn pages_of_other_sites_cannot_take_all_connections() {
    let bus = Bus::start(Config {
        max_foreign_connections: 1,
        ..Config::default()
    })
    .await;
    let foreign = [("Origin", "https://example.com")];
    let first = bus.client_with(&foreign).await;
    let upgrade = "Origin: https://example.com\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n{upgrade}\r\n", bus.address);
    let mut second = TcpStream::connect(bus.address).await.unwrap();
    second.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    second.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 503");
    // Programs of this machine come in as before, and a place that is left is free.
    bus.client().await;
    drop(first);
    tokio::time::timeout(Duration::from_secs(5), async {
        while bus.relay.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    bus.client_with(&foreign).await;
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
