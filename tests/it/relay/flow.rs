//! Nothing is lost: stored and live, slow readers, the end.

use super::*;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quick_query_does_not_wait_for_those_that_go_through_everything() {
    let bus = Bus::start(Config {
        max_queries: 1,
        ..Config::default()
    })
    .await;
    let keys = Keys::generate();
    let wanted = note(&keys, "wanted");
    bus.relay.publish(wanted.clone()).await.unwrap();
    for n in 0..1500 {
        bus.relay
            .publish(note(&keys, &n.to_string()))
            .await
            .unwrap();
    }
    let answered = Arc::new(AtomicUsize::new(0));
    let mut scans = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut client = bus.client().await;
        for n in 0..10 {
            let name = format!("{n}");
            client.send(json!(["COUNT", name, {"kinds": [1]}])).await;
        }
        let answered = Arc::clone(&answered);
        scans.spawn(async move {
            for _ in 0..10 {
                assert_eq!(client.next().await[2]["count"], 1501);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut quick = bus.client().await;
    while answered.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let before = answered.load(Ordering::Relaxed);
    let found = quick.req("q", &[json!({"ids": [wanted.id]})]).await;
    let meanwhile = answered.load(Ordering::Relaxed) - before;
    assert_eq!(found, [wanted.id.to_hex()]);
    assert!(meanwhile < 10, "it waited for {meanwhile} of 40");
    while let Some(scan) = scans.join_next().await {
        scan.unwrap();
    }
}

#[tokio::test]
async fn ephemeral_events_are_repeated_for_their_time_only() {
    let bus = Bus::start(Config {
        ephemeral_replay_s: 1,
        ..Config::default()
    })
    .await;
    let mut client = bus.client().await;
    let event = Draft::new(24135).sign(&Keys::generate(), now()).unwrap();
    assert!(client.publish(&event).await.0);
    let filter = json!({"kinds": [24135]});
    let id = event.id.to_hex();
    assert_eq!(client.req("a", std::slice::from_ref(&filter)).await, [id]);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(client.req("b", &[filter]).await.is_empty());
}
