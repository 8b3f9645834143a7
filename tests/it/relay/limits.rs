//! What the relay lets somebody send, how fast, and what it says to who sends more.

use super::*;

const FOREIGN: [(&str, &str); 1] = [("origin", "https://page.example")];

fn forged(event: &Event) -> String {
    let mut json: Value = serde_json::from_str(&event.as_json()).unwrap();
    json["sig"] = json!("0".repeat(128));
    json!(["EVENT", json]).to_string()
}

#[tokio::test]
async fn who_sends_too_fast_is_told_so_and_nobody_else_is_slowed() {
    let bus = Bus::start(Config {
        max_foreign_rate: 10,
        rate_burst_s: 1,
        ..Config::default()
    })
    .await;
    let mut page = bus.client_with(&FOREIGN).await;
    assert!(page.auth(&bus.operator).await.0);
    let keys = Keys::generate();
    let messages = [
        json!(["COUNT", "c", {"limit": 0}]),
        json!(["REQ", "r", {"limit": 0}]),
        json!(["EVENT", note(&keys, "x")]),
        json!(["NONSENSE"]),
    ];
    for (n, message) in messages.iter().cycle().take(48).enumerate() {
        let mut message = message.clone();
        if message[0] == "REQ" {
            message[1] = json!(n.to_string());
        }
        page.send(message).await;
    }
    let mut told = std::collections::BTreeMap::<String, usize>::new();
    let mut answers = 0;
    while answers < 48 {
        let answer = page.next().await;
        let verb = answer[0].as_str().unwrap().to_owned();
        let words = answer.as_array().unwrap().last().unwrap().to_string();
        // What is live of the one note.
        if verb != "EVENT" {
            answers += 1;
        }
        if words.contains("rate-limited: slow down: at most 10 messages a second") {
            *told.entry(verb).or_default() += 1;
        }
    }
    let refused: usize = told.values().sum();
    eprintln!("{refused} of 48 refused: {told:?}");
    // Ten at once, less the AUTH, and what came while it was not listened to.
    assert!((24..=39).contains(&refused), "{told:?}");
    assert_eq!(
        told.keys().map(String::as_str).collect::<Vec<_>>(),
        ["CLOSED", "NOTICE", "OK"]
    );
    // Programs of this machine are not slowed by it.
    let mut own = bus.client().await;
    for n in 0..200 {
        assert!(own.publish(&note(&keys, &n.to_string())).await.0);
    }
    // Another page of the same address is, for a moment.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let mut other = bus.client_with(&FOREIGN).await;
    assert!(other.auth(&bus.operator).await.0);
    assert!(other.publish(&note(&keys, "later")).await.0);
}

#[tokio::test]
async fn one_author_publishes_so_fast_and_others_are_not_slowed() {
    let bus = Bus::start(Config {
        max_key_rate: 3,
        rate_burst_s: 1,
        ..Config::default()
    })
    .await;
    let mut page = bus.client_with(&FOREIGN).await;
    assert!(page.auth(&bus.operator).await.0);
    let (fast, slow) = (Keys::generate(), Keys::generate());
    let mut refused = Vec::new();
    // In one go: what comes back meanwhile is little.
    for n in 0..6 {
        let event = note(&fast, &n.to_string()).as_json();
        page.raw(&format!(r#"["EVENT",{event}]"#)).await;
    }
    for _ in 0..6 {
        let answer = page.next().await;
        if answer[2] == false {
            refused.push(answer[3].as_str().unwrap().to_owned());
        }
    }
    assert!((2..=3).contains(&refused.len()), "{refused:?}");
    let words = "rate-limited: slow down: at most 3 events a second by one author";
    assert!(refused.iter().all(|said| said == words), "{refused:?}");
    assert!(page.publish(&note(&slow, "x")).await.0);
    let mut own = bus.client().await;
    for n in 10..40 {
        assert!(own.publish(&note(&fast, &n.to_string())).await.0);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(page.publish(&note(&fast, "again")).await.0);
}

#[tokio::test]
async fn a_program_of_this_machine_that_ran_wild_is_slowed_too_where_its_owner_says_so() {
    let bus = Bus::start(Config {
        max_local_rate: 20,
        rate_burst_s: 1,
        ..Config::default()
    })
    .await;
    let mut client = bus.client().await;
    for _ in 0..60 {
        client.send(json!(["COUNT", "c", {"kinds": []}])).await;
    }
    let mut refused = 0;
    for _ in 0..60 {
        refused += usize::from(client.next().await[0] == "CLOSED");
    }
    assert!((20..=40).contains(&refused), "{refused}");
    // It is not read for a while, and then as before.
    let began = std::time::Instant::now();
    client.silent().await;
    assert!(
        began.elapsed() >= Duration::from_millis(700),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn who_sends_wrong_signatures_is_disconnected_with_a_reason() {
    let bus = Bus::start(Config {
        max_wrong_signatures: 5,
        ..Config::default()
    })
    .await;
    let keys = Keys::generate();
    let mut other = bus.client().await;
    let mut client = bus.client().await;
    for n in 0..5 {
        client.raw(&forged(&note(&keys, &n.to_string()))).await;
        let answer = client.next().await;
        assert_eq!(answer[3], "invalid: the signature does not verify");
        assert!(client.publish(&note(&keys, &format!("right {n}"))).await.0);
    }
    client.raw(&forged(&note(&keys, "one too many"))).await;
    let reason = client.end().await;
    assert_eq!(
        reason,
        Some((
            1008,
            "rate-limited: too many events with a wrong signature".into()
        ))
    );
    assert!(other.publish(&note(&keys, "unaffected")).await.0);
}

#[tokio::test]
async fn what_filters_take_is_bounded_over_all_subscriptions() {
    let bus = Bus::start(Config {
        max_filter_bytes: 100_000,
        ..Config::default()
    })
    .await;
    let mut client = bus.client().await;
    let ids = |count: usize| {
        let id = |n| format!("{n:064x}");
        json!({"ids": (0..count).map(id).collect::<Vec<_>>()})
    };
    assert!(client.req("a", &[ids(400)]).await.is_empty());
    assert!(client.req("b", &[ids(400)]).await.is_empty());
    let mut message = json!(["REQ", "c", ids(400)]);
    let words = "rate-limited: the filters of a connection take at most 100000 bytes";
    assert_eq!(client.closed(message.clone()).await, words);
    // What is closed or replaced makes room.
    client.send(json!(["CLOSE", "a"])).await;
    message[1] = json!("b");
    client.send(message.clone()).await;
    assert_eq!(client.next().await[0], "EOSE");
    message[1] = json!("c");
    client.send(message).await;
    assert_eq!(client.next().await[0], "EOSE");
}

#[tokio::test]
async fn nothing_is_taken_while_the_disk_is_almost_full_but_what_makes_room() {
    let (_probe, free) = free_mb();
    let keys = Keys::generate();
    for (min_free_mb, own, others) in [
        (free / 2, true, true),
        (free * 2, true, false),
        (free * 8, false, false),
    ] {
        let bus = Bus::start(Config {
            min_free_mb,
            ..Config::default()
        })
        .await;
        let mut client = bus.client().await;
        client.req("live", &[json!({"kinds": [20000]})]).await;
        let (taken, words) = client.publish(&note(&keys, "x")).await;
        assert_eq!(taken, others, "{words}");
        if !others {
            assert_eq!(
                words,
                "error: the disk is almost full, nothing more is taken until there is room"
            );
        }
        // The program's own last words, and deletions.
        assert_eq!(bus.relay.publish(note(&keys, "own")).await.is_ok(), own);
        let deletion = Draft::new(5)
            .tag(["e", &"0".repeat(64)])
            .sign(&keys, now())
            .unwrap();
        assert_eq!(client.publish(&deletion).await.0, own);
        let vanish = Draft::new(62)
            .tag(["relay", "ALL_RELAYS"])
            .sign(&Keys::generate(), now())
            .unwrap();
        assert_eq!(client.publish(&vanish).await.0, own);
        // What needs no room goes on.
        let brief = Draft::new(20000).sign(&keys, now()).unwrap();
        client
            .raw(&format!(r#"["EVENT",{}]"#, brief.as_json()))
            .await;
        let mut verbs = [client.next().await, client.next().await].map(|answer| answer[0].clone());
        verbs.sort_by_key(Value::to_string);
        assert_eq!(verbs, ["EVENT", "OK"]);
        assert_eq!(
            client.req("q", &[json!({"kinds": [1]})]).await.len(),
            usize::from(own) + usize::from(others)
        );
    }
}

/// MiB that are free where tests have their homes.
fn free_mb() -> (tempfile::TempDir, u64) {
    let place = tempfile::tempdir().unwrap();
    let disk = rustix::fs::statvfs(place.path()).unwrap();
    let free = (disk.f_bavail * disk.f_frsize) >> 20;
    (place, free)
}

#[tokio::test]
async fn the_information_document_tells_the_limits_that_hold() {
    let bus = Bus::start(Config {
        max_message_bytes: 5000,
        max_tags: 3,
        max_content: 50,
        max_future_s: 100,
        max_subscriptions: 2,
        max_limit: 4,
        default_limit: 2,
        ..Config::default()
    })
    .await;
    let headers = format!(
        "Host: {}\r\nAccept: application/nostr+json\r\n",
        bus.address
    );
    let answer = bus.get("/", &headers).await;
    let document: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let limit = |name: &str| document["limitation"][name].as_u64().unwrap() as usize;
    let keys = Keys::generate();
    let mut client = bus.client().await;
    let tagged = |count: usize| {
        let tags = (0..count).map(|n| vec!["x".to_owned(), n.to_string()]);
        Draft::new(1).tags(tags).sign(&keys, now()).unwrap()
    };
    let ahead = |s: usize| Draft::new(1).sign(&keys, now() + s as u64).unwrap();
    let long = |len: usize| note(&keys, &"é".repeat(len));
    for (name, within, beyond) in [
        (
            "max_event_tags",
            tagged(limit("max_event_tags")),
            tagged(limit("max_event_tags") + 1),
        ),
        (
            "max_content_length",
            long(limit("max_content_length")),
            long(limit("max_content_length") + 1),
        ),
        (
            "created_at_upper_limit",
            ahead(limit("created_at_upper_limit") - 5),
            ahead(limit("created_at_upper_limit") + 30),
        ),
    ] {
        assert!(client.publish(&within).await.0, "{name}");
        let (taken, words) = client.publish(&beyond).await;
        assert!(!taken && words.starts_with("invalid:"), "{name}: {words}");
    }
    for n in 0..8 {
        client.publish(&note(&keys, &n.to_string())).await;
    }
    assert_eq!(
        client.req("a", &[json!({"kinds": [1]})]).await.len(),
        limit("default_limit")
    );
    assert_eq!(
        client.req("a", &[json!({"limit": 99})]).await.len(),
        limit("max_limit")
    );
    let name = "s".repeat(limit("max_subid_length"));
    client.req(&name, &[json!({"limit": 0})]).await;
    let words = client.closed(json!(["REQ", "third", {}])).await;
    assert_eq!(
        (
            limit("max_subscriptions"),
            words.starts_with("rate-limited:")
        ),
        (2, true),
        "{words}"
    );
    client.send(json!(["REQ", format!("{name}s"), {}])).await;
    assert_eq!(client.next().await[0], "NOTICE");
    let padded = |bytes: usize| {
        let message = r#"["COUNT","c",{"kinds":[]}"#;
        format!("{message}{}]", " ".repeat(bytes - message.len() - 1))
    };
    client.raw(&padded(limit("max_message_length"))).await;
    assert_eq!(client.next().await[0], "COUNT");
    client.raw(&padded(limit("max_message_length") + 1)).await;
    assert_eq!(client.next().await[0], "NOTICE");
}
