//! The handle, and the relay's own bounds. What NIPs say is in `conformance`.

use super::*;

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
async fn events_beyond_the_bounds_are_refused_with_a_reason() {
    let bus = Bus::start(Config::default()).await;
    let mut client = bus.client().await;
    let keys = Keys::generate();
    let sign = |draft: Draft, at| draft.sign(&keys, at).unwrap();
    let table = [
        (sign(Draft::new(1), now() + 1000), "invalid: created_at"),
        (
            sign(Draft::new(1), u64::from(u32::MAX) + 1),
            "invalid: created_at",
        ),
        (
            sign(Draft::new(1).tags(vec![vec!["t".into()]; 2001]), now()),
            "invalid: an event has at most",
        ),
        (
            sign(Draft::new(1).content("x".repeat(1 << 20)), now()),
            "invalid: a message has at most",
        ),
    ];
    for (event, reason) in table {
        let (accepted, message) = client.publish(&event).await;
        assert!(!accepted && message.starts_with(reason), "{message}");
    }
    assert!(client.publish(&note(&keys, "fine")).await.0);
}

#[tokio::test]
async fn messages_beyond_the_bounds_get_a_notice_and_the_connection_stays() {
    let bus = Bus::start(Config::default()).await;
    let mut client = bus.client().await;
    let long = "x".repeat(600_000);
    let long = format!(r#"["REQ","a",{{"kinds":[1],"x":"{long}"}}]"#);
    for text in [&long, r#"["EVENT",1]"#, r#"["EVENT",{"id":"x"}]"#] {
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
