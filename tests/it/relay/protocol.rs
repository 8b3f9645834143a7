//! What the protocol says: NIP-01, 09, 40, 45 and bad input.

use super::*;

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
        json!({"search": 1}),
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
