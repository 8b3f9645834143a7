//! Who wants too much: floods, slow bodies, many streams, long queries.

use super::*;

#[tokio::test]
async fn who_asks_too_fast_is_told_so_and_nobody_else_is_slowed() {
    let bus = Bus::start(Config {
        max_foreign_rate: 5,
        rate_burst_s: 1,
        ..Config::default()
    })
    .await;
    let began = std::time::Instant::now();
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(bus.read("", "Origin: null\r\n").await);
    }
    let refused: Vec<_> = statuses
        .iter()
        .filter(|answer| answer.status == 429)
        .collect();
    // What comes back while they are asked.
    let back = (began.elapsed().as_secs_f64() * 5.0).ceil() as usize;
    assert!(refused.len() <= 5, "{statuses:?}");
    assert!(refused.len() + back >= 5, "{statuses:?}");
    assert!(!refused.is_empty(), "the machine is too slow for this");
    assert_eq!(refused[0].code(), "rate-limited");
    assert_eq!(refused[0].header("retry-after"), Some("1"));
    assert_eq!(bus.read("", "").await.status, 200);
}

#[tokio::test]
async fn the_events_of_a_request_count_each() {
    let bus = Bus::start(Config {
        max_local_rate: 10,
        rate_burst_s: 1,
        ..Config::default()
    })
    .await;
    let keys = Keys::generate();
    let events: Vec<Event> = (0..30).map(|n| note(&keys, &n.to_string())).collect();
    let answer = bus.post(&json!(events).to_string(), "").await;
    assert_eq!(answer.status, 429);
    let said = answer.json();
    let accepted = said
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["accepted"] == true);
    let accepted = accepted.count();
    assert!((10..=14).contains(&accepted), "{said}");
    assert_eq!(said.as_array().unwrap().len(), 30);
    for (said, event) in said.as_array().unwrap().iter().zip(&events) {
        assert_eq!(said["id"], event.id.to_hex());
    }
    assert_eq!(bus.relay.last_seq(), accepted as u64);
}

#[tokio::test]
async fn wrong_signatures_run_out() {
    let bus = Bus::start(Config {
        max_wrong_signatures: 5,
        ..Config::default()
    })
    .await;
    let mut forged: Value = json!(note(&Keys::generate(), "x"));
    forged["sig"] = json!("0".repeat(128));
    let answer = bus.post(&json!(vec![forged; 20]).to_string(), "").await;
    let said = answer.json();
    let count = |word: &str| {
        let said = said.as_array().unwrap().iter();
        said.filter(|one| one["message"].as_str().unwrap().starts_with(word))
            .count()
    };
    assert_eq!((count("invalid:"), count("rate-limited:")), (5, 15));
}

#[tokio::test]
async fn who_may_not_publish_is_refused_before_the_body() {
    let bus = Bus::start(Config::default()).await;
    let mut stream = TcpStream::connect(bus.address).await.unwrap();
    let head = format!(
        "POST /events HTTP/1.1\r\nHost: {}\r\nOrigin: null\r\nContent-Type: application/json\r\n\
         Content-Length: 1000000\r\n\r\n",
        bus.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let read = stream.read_exact(&mut answer);
    tokio::time::timeout(Duration::from_secs(5), read)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
}

#[tokio::test]
async fn bodies_that_do_not_end_keep_nobody_out() {
    let bus = Bus::start(Config::default()).await;
    let mut slow = Vec::new();
    // As many bytes as there is room for are announced, and few are sent.
    for _ in 0..40 {
        let mut stream = TcpStream::connect(bus.address).await.unwrap();
        let head = format!(
            "POST /events HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: 4000000\r\n\r\n[",
            bus.address
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let event = note(&Keys::generate(), "x");
    assert_eq!(bus.post(&event.as_json(), "").await.status, 200);
}

#[tokio::test]
async fn streams_are_bounded_in_number_and_give_their_places_back() {
    let bus = Bus::start(Config {
        max_streams: 3,
        max_foreign_connections: 2,
        ..Config::default()
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let stream = bus.stream("", "").await;
        assert_eq!(stream.status(), 200);
        open.push(stream);
    }
    let refused = bus.ask("GET", "/events/stream", "", "").await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (429, "rate-limited")
    );
    // Everything else goes on.
    assert_eq!(bus.read("", "").await.status, 200);
    open.clear();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        // The connections are found closed when something is sent to them.
        let one = bus.stream("", "").await;
        if one.status() == 200 {
            break;
        }
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Those of other pages are fewer.
    let mut foreign = Vec::new();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while foreign.len() < 2 && std::time::Instant::now() < deadline {
        let proof = bus.proof(&bus.operator, "GET", "/events/stream", None);
        let stream = bus.stream("", &format!("Origin: null\r\n{proof}")).await;
        match stream.status() {
            200 => foreign.push(stream),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    assert_eq!(foreign.len(), 2);
    let proof = bus.proof(&bus.operator, "GET", "/events", None);
    let full = bus.read("", &format!("Origin: null\r\n{proof}")).await;
    assert_eq!(full.status, 503);
}

#[tokio::test]
async fn who_takes_nothing_of_an_answer_loses_the_connection() {
    let bus = Bus::start(Config {
        idle_timeout_s: 2,
        max_streams: 1,
        ..Config::default()
    })
    .await;
    fill(&bus).await;
    let mut deaf = deaf(&bus).await;
    let request = format!(
        "GET /events/stream?after=0 HTTP/1.1\r\nHost: {}\r\n\r\n",
        bus.address
    );
    deaf.write_all(request.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let refused = bus.ask("GET", "/events/stream", "", "").await;
    assert_eq!(refused.status, 429, "the one place is taken");
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while bus.stream("", "").await.status() != 200 {
        assert!(std::time::Instant::now() < deadline, "it keeps its place");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// More than a connection holds on its way.
async fn fill(bus: &Bus) {
    let keys = Keys::generate();
    for n in 0..60 {
        let text = format!("{n} {}", "x".repeat(400_000));
        bus.relay.publish(note(&keys, &text)).await.unwrap();
    }
}

/// A connection whose other end announces room for little.
async fn deaf(bus: &Bus) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(bus.address).await.unwrap()
}

#[tokio::test]
async fn who_reads_no_answer_of_any_kind_loses_the_connection() {
    let bus = Bus::start(Config {
        idle_timeout_s: 2,
        max_connections: 4,
        max_foreign_connections: 1,
        ..Config::default()
    })
    .await;
    fill(&bus).await;
    let host = bus.address;
    // A long answer; short ones that are asked for without an end; and answers to what was published.
    let list = format!("GET /events HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let described = format!("GET /openapi.json HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let refused = format!("[{}]", vec!["1"; 1000].join(","));
    let posted = format!(
        "POST /events HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{refused}",
        refused.len()
    );
    for (what, request, times) in [
        ("a list", list, 1),
        ("many short ones", described, 2000),
        ("what became of events", posted, 300),
    ] {
        let mut open = Vec::new();
        for _ in 0..4 {
            let socket = deaf(&bus).await;
            let (read, mut write) = socket.into_split();
            let request = request.clone();
            let writing = tokio::spawn(async move {
                for _ in 0..times {
                    if write.write_all(request.as_bytes()).await.is_err() {
                        return;
                    }
                }
                // It stays open.
                std::future::pending::<()>().await;
            });
            open.push((read, writing));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        loop {
            let asked = tokio::time::timeout(Duration::from_secs(5), async {
                let mut stream = TcpStream::connect(host).await.ok()?;
                let request =
                    format!("GET /events?limit=1&kinds=7 HTTP/1.1\r\nHost: {host}\r\n\r\n");
                stream.write_all(request.as_bytes()).await.ok()?;
                let mut answer = [0; 12];
                stream.read_exact(&mut answer).await.ok()?;
                Some(answer)
            });
            if asked.await.ok().flatten() == Some(*b"HTTP/1.1 200") {
                break;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "{what}: they keep their places"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        for (_, writing) in open {
            writing.abort();
        }
    }
}

#[tokio::test]
async fn streams_that_go_through_the_whole_log_leave_room_for_queries() {
    let bus = Bus::start(Config::default()).await;
    let keys = Keys::generate();
    for batch in 0..20 {
        let events: Vec<Event> = (0..500)
            .map(|n| note(&keys, &format!("{batch} {n}")))
            .collect();
        let answer = bus.post(&json!(events).to_string(), "").await;
        assert_eq!(answer.status, 200);
    }
    let mut streams = Vec::new();
    for _ in 0..30 {
        streams.push(bus.stream("?after=0&kinds=7", "").await);
    }
    let began = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(bus.read("?limit=1", "").await.ids().len(), 1);
    }
    let each = began.elapsed() / 20;
    eprintln!("a query beside 30 streams through 10,000 events: {each:?}");
    assert!(each < Duration::from_secs(1), "{each:?}");
}
