//! Connections that mean harm, over real sockets: what each is told, and that nobody else notices.

use std::time::Instant;

use super::*;

/// How long an attack may hold what it took.
const SOON: Duration = Duration::from_secs(8);

fn quick() -> Config {
    Config {
        handshake_timeout_s: 1,
        idle_timeout_s: 2,
        ..Config::default()
    }
}

/// A WebSocket without any library, after its handshake and the relay's first frame.
async fn upgraded(bus: &Bus, headers: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(bus.address).await.unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n",
        bus.address
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

/// A client's frame: masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = announced(first, payload.len() as u64);
    bytes.extend_from_slice(payload);
    bytes
}

/// The head of a frame.
fn announced(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..126 => bytes.push(0x80 | length as u8),
        126..65536 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes
}

/// Reads until the relay hangs up; what it said last.
async fn hung_up(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let mut buffer = [0; 4096];
    let read = async {
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => rest.extend_from_slice(&buffer[..read]),
            }
        }
    };
    tokio::time::timeout(SOON, read)
        .await
        .expect("it is disconnected");
    rest
}

/// The code of the close frame at the end of what was read.
fn close_code(said: &[u8]) -> Option<u16> {
    let at = said
        .windows(2)
        .rposition(|pair| pair[0] == 0x88 && pair[1] < 126)?;
    Some(u16::from_be_bytes([*said.get(at + 2)?, *said.get(at + 3)?]))
}

/// Whether the relay still does what it is for.
async fn serves(bus: &Bus) {
    let event = note(&Keys::generate(), "still here");
    let mut client = bus.client().await;
    assert!(client.publish(&event).await.0);
    let found = client.req("s", &[json!({"ids": [event.id]})]).await;
    assert_eq!(found.len(), 1);
}

/// Bytes of memory of this process, which is the relay's too.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_comes_byte_by_byte_is_cut_off() {
    let bus = Bus::start(quick()).await;
    let began = Instant::now();
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(bus.address).await.unwrap();
        slow.spawn(async move {
            let head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Header: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
            for byte in head.iter().cycle() {
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
        });
    }
    serves(&bus).await;
    let all = async { while slow.join_next().await.is_some() {} };
    tokio::time::timeout(SOON, all)
        .await
        .expect("all are cut off");
    assert!(began.elapsed() >= Duration::from_millis(900));
    serves(&bus).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_comes_byte_by_byte_is_no_sign_of_life() {
    let bus = Bus::start(quick()).await;
    let (stream, _) = upgraded(&bus, "").await;
    let (mut reader, mut writer) = stream.into_split();
    let writing = tokio::spawn(async move {
        let message = frame(0x81, &[b' '; 100_000]);
        for byte in message {
            if writer.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut said = Vec::new();
    let reading = reader.read_to_end(&mut said);
    tokio::time::timeout(SOON, reading)
        .await
        .expect("it is disconnected")
        .ok();
    assert_eq!(close_code(&said), Some(1001));
    assert!(said.windows(15).any(|words| words == b"no sign of life"));
    writing.abort();
    serves(&bus).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_hold_their_places_for_a_moment_only() {
    let bus = Bus::start(Config {
        max_connections: 64,
        ..quick()
    })
    .await;
    let mut flood = Vec::new();
    for _ in 0..200 {
        flood.push(TcpStream::connect(bus.address).await.unwrap());
    }
    let began = Instant::now();
    loop {
        let mut stream = TcpStream::connect(bus.address).await.unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nAccept: application/nostr+json\r\nConnection: close\r\n\r\n",
            bus.address
        );
        stream.write_all(request.as_bytes()).await.ok();
        if hung_up(&mut stream).await.starts_with(b"HTTP/1.1 200") {
            break;
        }
        assert!(began.elapsed() < SOON, "the places are not free again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    serves(&bus).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bomb_of_filters_is_refused_or_answered_in_time() {
    let bus = Bus::start(Config::default()).await;
    let keys = Keys::generate();
    for n in 0..200 {
        bus.relay
            .publish(note(&keys, &n.to_string()))
            .await
            .unwrap();
    }
    let mut client = bus.client().await;
    let many = |count: usize| vec![json!({}); count];
    let values = |count: usize| (0..count).map(|n| format!("{n:064x}")).collect::<Vec<_>>();
    let req = |filters: Vec<Value>| {
        let mut message = vec![json!("REQ"), json!("bomb")];
        message.extend(filters);
        Value::Array(message).to_string()
    };
    let nested = |depth: usize| {
        format!(
            r#"["REQ","bomb",{}{}]"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    let objects = |depth: usize| {
        format!(
            r#"["REQ","bomb",{}1{}]"#,
            r#"{"ids":"#.repeat(depth),
            "}".repeat(depth)
        )
    };
    let wide = (0..52u8).map(|n| {
        let letter = char::from(if n < 26 { b'a' + n } else { b'A' + n - 26 });
        (format!("#{letter}"), json!(values(100)))
    });
    let wide = Value::Object(wide.collect());
    for (bomb, answers) in [
        (req(many(32)), "EOSE"),
        (req(many(33)), "CLOSED"),
        (req(many(100_000)), "CLOSED"),
        (req(vec![json!({"authors": values(7000)})]), "EOSE"),
        (req(vec![json!({"ids": values(7000)})]), "EOSE"),
        (req(vec![json!({"authors": values(9000)})]), "NOTICE"),
        (
            req(vec![json!({"kinds": (0..60_000u32).collect::<Vec<_>>()})]),
            "CLOSED",
        ),
        (req(vec![json!({"#t": ["x".repeat(500_000)]})]), "EOSE"),
        (req(vec![wide]), "EOSE"),
        (req(vec![json!({"limit": u64::MAX})]), "EOSE"),
        (nested(100), "CLOSED"),
        (nested(200_000), "NOTICE"),
        (objects(40_000), "NOTICE"),
        (format!(r#"["REQ",{}"#, r#""x","#.repeat(100_000)), "NOTICE"),
    ] {
        let began = Instant::now();
        client.raw(&bomb).await;
        let answer = loop {
            let answer = client.next().await;
            if answer[0] != "EVENT" {
                break answer;
            }
        };
        let start = &bomb[..bomb.len().min(60)];
        assert!(
            answer[0] == answers || (answers == "NOTICE" && answer[0] == "CLOSED"),
            "{start}: {answer}"
        );
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{start}: {:?}",
            began.elapsed()
        );
    }
    serves(&bus).await;
}

#[tokio::test]
async fn compression_is_not_agreed_to_and_compressed_frames_are_refused() {
    let bus = Bus::start(Config::default()).await;
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let (mut stream, head) = upgraded(&bus, offer).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(
        !head.to_lowercase().contains("sec-websocket-extensions"),
        "{head}"
    );
    // RSV1, the bit of a compressed message: a thousandfold of what it is, if anybody unpacked it.
    stream.write_all(&frame(0xC1, &[0; 1000])).await.unwrap();
    assert_eq!(close_code(&hung_up(&mut stream).await), Some(1002));
    serves(&bus).await;
}

#[tokio::test]
async fn a_length_is_not_believed() {
    let bus = Bus::start(Config::default()).await;
    serves(&bus).await;
    let before = memory();
    let mut open = Vec::new();
    for length in [1 << 62, 1 << 40, (4 << 20) + 1] {
        let (mut stream, _) = upgraded(&bus, "").await;
        stream.write_all(&announced(0x81, length)).await.unwrap();
        assert_eq!(
            close_code(&hung_up(&mut stream).await),
            Some(1009),
            "{length}"
        );
    }
    // The longest that may come, many times, and then nothing comes.
    for _ in 0..200 {
        let (mut stream, _) = upgraded(&bus, "").await;
        stream.write_all(&announced(0x81, 4 << 20)).await.unwrap();
        open.push(stream);
    }
    serves(&bus).await;
    let grown = memory().saturating_sub(before);
    eprintln!("200 announced messages of 4 MiB took {} KiB", grown >> 10);
    assert!(grown < 64 << 20, "{grown} bytes for what never came");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_in_pieces_without_end_is_cut_off() {
    let bus = Bus::start(quick()).await;
    // Pieces without anything in them.
    let (stream, _) = upgraded(&bus, "").await;
    let (mut reader, mut writer) = stream.into_split();
    let flood = tokio::spawn(async move {
        writer.write_all(&frame(0x01, b"")).await.ok();
        let pieces = frame(0x00, b"").repeat(1000);
        while writer.write_all(&pieces).await.is_ok() {}
    });
    let began = Instant::now();
    serves(&bus).await;
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    let mut said = Vec::new();
    let reading = reader.read_to_end(&mut said);
    tokio::time::timeout(SOON, reading)
        .await
        .expect("it is disconnected")
        .ok();
    flood.abort();
    // Pieces that are too much together.
    let (mut stream, _) = upgraded(&bus, "").await;
    stream
        .write_all(&frame(0x01, &[b' '; 1 << 20]))
        .await
        .unwrap();
    for _ in 0..4 {
        stream.write_all(&frame(0x00, &[b' '; 1 << 20])).await.ok();
    }
    assert_eq!(close_code(&hung_up(&mut stream).await), Some(1009));
    serves(&bus).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_pings_from_who_never_reads_is_cut_off() {
    let bus = Bus::start(Config {
        max_outbox_bytes: 256 << 10,
        ..Config::default()
    })
    .await;
    let (mut stream, _) = upgraded(&bus, "").await;
    let pings = frame(0x89, &[7; 125]).repeat(1000);
    let flood = async { while stream.write_all(&pings).await.is_ok() {} };
    let others = async {
        for _ in 0..5 {
            serves(&bus).await;
        }
    };
    let both = async { tokio::join!(flood, others) };
    tokio::time::timeout(Duration::from_secs(30), both)
        .await
        .expect("it is disconnected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_subscriptions_stop_at_the_bound() {
    let bus = Bus::start(Config::default()).await;
    let mut client = bus.client().await;
    let (mut open, mut refused) = (0, 0);
    for n in 0..3000 {
        client
            .send(json!(["REQ", n.to_string(), {"limit": 0}]))
            .await;
    }
    while open + refused < 3000 {
        match client.next().await {
            answer if answer[0] == "EOSE" => open += 1,
            answer => {
                assert!(
                    answer[2].as_str().unwrap().starts_with("rate-limited:"),
                    "{answer}"
                );
                refused += 1;
            }
        }
    }
    assert_eq!((open, refused), (300, 2700));
    // Each of them gets what is live, once.
    let event = note(&Keys::generate(), "live");
    bus.relay.publish(event).await.unwrap();
    for _ in 0..300 {
        assert_eq!(client.next().await[0], "EVENT");
    }
    serves(&bus).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_never_read_take_bounded_memory_and_hold_up_nobody() {
    const READERS: usize = 40;
    let bus = Bus::start(Config {
        max_outbox_bytes: 1 << 20,
        ..Config::default()
    })
    .await;
    let keys = Keys::generate();
    let mut stalled = Vec::new();
    for _ in 0..READERS {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
        let stream = socket.connect(bus.address).await.unwrap();
        let mut reader = bus.client_over(stream, &[]).await;
        reader.req("s", &[json!({"kinds": [1]})]).await;
        stalled.push(reader);
    }
    let mut good = bus.client().await;
    good.req("s", &[json!({"kinds": [1]})]).await;
    let before = memory();
    let mut most = 0;
    for n in 0..150 {
        let text = format!("{n}:{}", "x".repeat(100_000));
        bus.relay.publish(note(&keys, &text)).await.unwrap();
        let answer = good.next().await;
        assert!(
            answer[2]["content"]
                .as_str()
                .unwrap()
                .starts_with(&format!("{n}:"))
        );
        most = most.max(memory().saturating_sub(before));
    }
    // 15 MB for each of 41 would be 615 MB.
    eprintln!(
        "{READERS} readers that never read: {} MiB at most",
        most >> 20
    );
    assert!(most < (READERS + 60) << 20, "{most}");
    for mut reader in stalled {
        // Who does not read for ten seconds more does not hear the reason either.
        if let Some((code, reason)) = reader.end().await {
            assert_eq!(code, 1008);
            assert!(reason.contains("too slow"), "{reason}");
        }
    }
    let closed = async {
        while bus.relay.connections() > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, closed)
        .await
        .expect("all are closed");
    serves(&bus).await;
}

/// Every user of a machine can connect to its loopback.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_another_user_of_this_machine_keeps_the_owners_programs_out_of_nothing() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not looked at: only root can be another user");
        return;
    }
    let bus = Bus::start(Config {
        max_connections: 64,
        ..Config::default()
    })
    .await;
    let before = bus.client().await;
    let flood = format!(
        "for n in $(seq 150); do exec {{socket}}<>/dev/tcp/127.0.0.1/{}; done; echo open; sleep 60",
        bus.address.port()
    );
    let mut other = std::process::Command::new("bash");
    std::os::unix::process::CommandExt::uid(&mut other, 65534);
    let mut other = other
        .args(["-c", &flood])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let out = other.stdout.take().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
    assert_eq!(line, "open\n");
    serves(&bus).await;
    drop(before);
    other.kill().unwrap();
    other.wait().unwrap();
}
