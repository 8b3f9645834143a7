//! `GET /events/stream`: nothing is missed, nothing comes twice, and who is too slow is told.

use super::*;

#[tokio::test]
async fn what_comes_is_sent_with_its_number_and_what_was_stored_before_is_not() {
    let bus = Bus::start(Config::default()).await;
    let keys = Keys::generate();
    bus.relay.publish(note(&keys, "before")).await.unwrap();
    let mut stream = bus.stream("?kinds=1", "").await;
    assert_eq!(stream.status(), 200, "{}", stream.head);
    assert!(stream.head.contains("content-type: text/event-stream"));
    assert_eq!(stream.block().await.unwrap().id, Some(1), "where it begins");
    let event = note(&keys, "after\nwith lines\r\nand a unicode one \u{2028}");
    bus.relay.publish(event.clone()).await.unwrap();
    let sent = stream.next().await.unwrap();
    assert_eq!((sent.id, sent.data), (Some(2), Some(event.as_json())));
    // Another kind does not come; what comes after it does.
    let other = Draft::new(7).sign(&keys, now()).unwrap();
    bus.relay.publish(other).await.unwrap();
    let third = note(&keys, "third");
    bus.relay.publish(third.clone()).await.unwrap();
    assert_eq!(stream.event().await, (Some(4), third.id.to_hex()));
}

#[tokio::test]
async fn who_comes_back_with_any_number_misses_nothing_and_gets_nothing_twice() {
    let bus = Bus::start(Config::default()).await;
    let keys = Keys::generate();
    let mut expected = Vec::new();
    let mut publish = async |kind: u16| {
        let n = expected.len() as u64;
        let event = Draft::new(kind)
            .content(n.to_string())
            .sign(&keys, now())
            .unwrap();
        bus.relay.publish(event.clone()).await.unwrap();
        expected.push((kind, event.id.to_hex()));
    };
    for n in 0..700 {
        publish(if n % 3 == 0 { 7 } else { 1 }).await;
    }
    let wanted = |after: usize| -> Vec<(Option<u64>, String)> {
        let numbered = expected.iter().enumerate().skip(after);
        numbered
            .filter(|(_, (kind, _))| *kind == 1)
            .map(|(n, (_, id))| (Some(n as u64 + 1), id.clone()))
            .collect()
    };
    for after in [0, 1, 255, 256, 257, 512, 698] {
        let mut by_header = bus
            .stream("?kinds=1&after=3", &format!("Last-Event-ID: {after}\r\n"))
            .await;
        let mut by_query = bus.stream(&format!("?kinds=1&after={after}"), "").await;
        for event in wanted(after) {
            assert_eq!(by_header.event().await, event, "after {after}");
            assert_eq!(by_query.event().await, event, "after {after}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_again_and_again_while_events_come_is_whole() {
    const MOST: usize = 3000;
    let bus = Bus::start(Config::default()).await;
    let keys = Keys::generate();
    let relay = bus.relay.clone();
    let publisher = tokio::spawn(async move {
        let mut ids = Vec::new();
        for n in 0..MOST {
            let event = note(&keys, &n.to_string());
            ids.push(event.id.to_hex());
            relay.publish(event).await.unwrap();
        }
        ids
    });
    let (mut last, mut seen, mut connections) = (0, Vec::new(), 0);
    while seen.len() < MOST {
        let mut stream = bus.stream("", &format!("Last-Event-ID: {last}\r\n")).await;
        connections += 1;
        // Some end in the log, some at what comes, some after nothing but their beginning.
        for _ in 0..(connections * 7) % 100 {
            if seen.len() == MOST {
                break;
            }
            let (seq, id) = stream.event().await;
            last = seq.unwrap();
            seen.push(id);
        }
    }
    assert_eq!(seen, publisher.await.unwrap(), "{connections} connections");
}

#[tokio::test]
async fn a_sign_of_life_says_how_far_everything_was_sent() {
    let bus = Bus::start(Config {
        idle_timeout_s: 2,
        ..Config::default()
    })
    .await;
    let keys = Keys::generate();
    let mut stream = bus.stream("?kinds=7", "").await;
    assert_eq!(stream.block().await.unwrap().id, Some(0));
    for n in 0..30 {
        bus.relay
            .publish(note(&keys, &n.to_string()))
            .await
            .unwrap();
    }
    let began = std::time::Instant::now();
    let mut beat = stream.block().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
    // One may come amid them.
    while beat.id != Some(30) {
        assert_eq!(beat.event, None);
        beat = stream.block().await.unwrap();
    }
    assert_eq!(
        beat,
        Sent {
            id: Some(30),
            ..Sent::default()
        }
    );
    // It goes on for longer than a silent connection would.
    for _ in 0..3 {
        assert_eq!(stream.block().await.unwrap().id, Some(30));
    }
}

#[tokio::test]
async fn a_number_that_the_log_has_not_reached_is_refused() {
    let bus = Bus::start(Config::default()).await;
    bus.relay
        .publish(note(&Keys::generate(), "1"))
        .await
        .unwrap();
    assert_eq!(bus.stream("?after=1", "").await.status(), 200);
    for (query, header) in [
        ("?after=2", ""),
        ("", "Last-Event-ID: 2\r\n"),
        ("", "Last-Event-ID: 18446744073709551615\r\n"),
        ("", "Last-Event-ID: 18446744073709551616\r\n"),
        ("", "Last-Event-ID: -1\r\n"),
        ("", "Last-Event-ID: \r\n"),
        ("", "Last-Event-ID: 0\r\nLast-Event-ID: 0\r\n"),
        ("?after=0&after=0", ""),
        ("?after=x", ""),
    ] {
        let path = format!("/events/stream{query}");
        let answer = bus.ask("GET", &path, header, "").await;
        assert_eq!(answer.status, 400, "{query} {header}: {answer:?}");
        assert_eq!(answer.code(), "invalid");
    }
}

#[tokio::test]
async fn ephemeral_events_come_without_a_number_and_once() {
    let bus = Bus::start(Config::default()).await;
    let keys = Keys::generate();
    let piece = |n: u64| {
        Draft::new(20001)
            .content(n.to_string())
            .sign(&keys, now())
            .unwrap()
    };
    let (first, second) = (piece(1), piece(2));
    bus.relay.publish(first.clone()).await.unwrap();
    let mut fresh = bus.stream("", "").await;
    assert_eq!(
        fresh.event().await,
        (None, first.id.to_hex()),
        "it came a moment ago"
    );
    let mut resumed = bus.stream("", "Last-Event-ID: 0\r\n").await;
    assert_eq!(resumed.block().await.unwrap().id, Some(0));
    // Until it is at what comes.
    tokio::time::sleep(Duration::from_secs(2)).await;
    bus.relay.publish(second.clone()).await.unwrap();
    for stream in [&mut fresh, &mut resumed] {
        assert_eq!(stream.event().await, (None, second.id.to_hex()));
    }
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told_so_and_goes_on_after_what_it_has() {
    const EVENTS: usize = 400;
    let bus = Bus::start(Config {
        max_outbox_bytes: 300_000,
        ..Config::default()
    })
    .await;
    let keys = Keys::generate();
    let signed = |n| note(&keys, &format!("{n} {}", "x".repeat(40_000)));
    let events: Vec<Event> = (0..EVENTS).map(signed).collect();
    let ids: Vec<String> = events.iter().map(|event| event.id.to_hex()).collect();
    let mut stream = bus.stream("", "").await;
    assert_eq!(stream.block().await.unwrap().id, Some(0));
    // Fast: who is too slow loses the connection after a while.
    for some in events.chunks(50) {
        let all = some.iter().map(|event| bus.relay.publish(event.clone()));
        let all = futures_util::future::join_all(all).await;
        assert!(all.iter().all(Result::is_ok), "{all:?}");
    }
    // It has not read for sixteen megabytes.
    let mut seen = Vec::new();
    let closed = loop {
        let sent = stream.next().await.expect("to be told");
        if sent.event.is_some() {
            break sent;
        }
        seen.push((
            sent.id.unwrap(),
            sent.json()["id"].as_str().unwrap().to_owned(),
        ));
    };
    assert_eq!(closed.event.as_deref(), Some("closed"));
    assert_eq!(closed.json()["code"], "rate-limited");
    assert_eq!(stream.block().await, None, "and then it ends");
    assert!(seen.len() < EVENTS, "it was not slow enough");
    let last = seen.last().map_or(0, |(seq, _)| *seq);
    eprintln!("closed after {last} of {EVENTS}");
    let mut again = bus.stream("", &format!("Last-Event-ID: {last}\r\n")).await;
    while seen.len() < EVENTS {
        let (seq, id) = again.event().await;
        seen.push((seq.unwrap(), id));
    }
    assert_eq!(seen.into_iter().map(|(_, id)| id).collect::<Vec<_>>(), ids);
}

#[tokio::test]
async fn the_end_of_the_relay_is_told() {
    let bus = Bus::start(Config::default()).await;
    let mut stream = bus.stream("", "").await;
    assert_eq!(stream.block().await.unwrap().id, Some(0));
    let relay = bus.relay.clone();
    let stopped = tokio::spawn(async move { relay.shutdown().await });
    let sent = stream.next().await.unwrap();
    assert_eq!(sent.event.as_deref(), Some("closed"));
    assert_eq!(sent.json()["code"], "error");
    assert_eq!(stream.block().await, None);
    stopped.await.unwrap();
}
