//! Who may read and write: the owner's keys, and pages of other origins. What NIPs say of it is in `conformance`.

use super::*;

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
