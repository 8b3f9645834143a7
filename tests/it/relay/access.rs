//! Who may read and write: NIP-42, 59, 70, and pages of other origins.

use super::*;

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
