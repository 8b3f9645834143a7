//! NIP-77 with the client of nostr-sdk, which others sync with, and its bounds.

use nostr_sdk::prelude::{
    Client as Sdk, MemoryDatabase, MemoryDatabaseOptions, NostrDatabase as _, SyncDirection,
    SyncOptions,
};

use super::*;

/// The first message of somebody who has nothing.
const NOTHING: &str = "6100000200";

fn notes(keys: &Keys, text: &str, count: u64) -> Vec<Event> {
    let sign = |n| {
        Draft::new(1)
            .content(format!("{text} {n}"))
            .sign(keys, now() - n % 100)
            .unwrap()
    };
    (0..count).map(sign).collect()
}

/// nostr-sdk with these events, connected to the relay.
async fn sdk(bus: &Bus, events: &[Event]) -> Sdk {
    let database = MemoryDatabase::with_opts(MemoryDatabaseOptions {
        events: true,
        max_events: None,
    });
    for event in events {
        database.save_event(event).await.unwrap();
    }
    let sdk = Sdk::builder().database(database).build();
    sdk.add_relay(format!("ws://{}", bus.address))
        .await
        .unwrap();
    sdk.connect().await;
    sdk
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nostr_sdk_syncs_thousands_of_events_both_ways() {
    let bus = Bus::start(Config::default()).await;
    let keys = Keys::generate();
    let both = notes(&keys, "both", 1500);
    let ours = notes(&keys, "ours", 1200);
    let theirs = notes(&keys, "theirs", 1000);
    for event in both.iter().chain(&ours) {
        bus.relay.publish(event.clone()).await.unwrap();
    }
    let sdk = sdk(&bus, &[both, theirs.clone()].concat()).await;
    let filter = Filter::new().author(keys.public_key());
    let options = SyncOptions::default().direction(SyncDirection::Both);
    let output = sdk.sync(filter.clone(), &options).await.unwrap();
    assert!(output.failed.is_empty(), "{:?}", output.failed);
    assert_eq!(output.local.len(), theirs.len());
    assert_eq!(output.remote.len(), ours.len());
    assert_eq!(output.received.len(), ours.len());
    assert_eq!(output.sent.len(), theirs.len());
    assert_eq!(bus.relay.count(filter.clone()).await.unwrap(), 3700);
    // And now there is nothing left to do.
    let output = sdk.sync(filter, &options).await.unwrap();
    assert!(output.local.is_empty() && output.remote.is_empty());
    sdk.shutdown().await;
}

#[tokio::test]
async fn more_than_the_cap_is_refused_and_as_much_is_not() {
    let bus = Bus::start(Config {
        max_negentropy: 20,
        ..Config::default()
    })
    .await;
    let keys = Keys::generate();
    for event in notes(&keys, "x", 21) {
        bus.relay.publish(event).await.unwrap();
    }
    let sdk = sdk(&bus, &[]).await;
    let all = Filter::new().author(keys.public_key());
    let output = sdk.sync(all.clone(), &SyncOptions::default()).await;
    let failed: Vec<String> = output.unwrap().failed.into_values().collect();
    assert!(
        matches!(&failed[..], [reason] if reason.contains("blocked: more than 20 events match")),
        "{failed:?}"
    );
    // What a filter's own limit leaves is within it.
    let output = sdk.sync(all.limit(20), &SyncOptions::default()).await;
    assert_eq!(output.unwrap().received.len(), 20);
    sdk.shutdown().await;
}

#[tokio::test]
async fn a_connection_has_few_reconciliations_and_gives_them_back() {
    let bus = Bus::start(Config {
        max_negentropy_sessions: 2,
        ..Config::default()
    })
    .await;
    let mut client = bus.client().await;
    let open = |name: &str| json!(["NEG-OPEN", name, {"kinds": [1]}, NOTHING]);
    for name in ["a", "b", "b"] {
        client.send(open(name)).await;
        assert_eq!(client.next().await[0], "NEG-MSG");
    }
    client.send(open("c")).await;
    let refused = client.next().await;
    assert_eq!((&refused[0], &refused[1]), (&json!("NEG-ERR"), &json!("c")));
    let reason = refused[2].as_str().unwrap();
    assert!(reason.starts_with("rate-limited:"), "{reason}");
    // One that failed makes room, and so does one that was closed.
    client.send(json!(["NEG-MSG", "a", "ff"])).await;
    assert_eq!(client.next().await[0], "NEG-ERR");
    client.send(open("c")).await;
    assert_eq!(client.next().await[0], "NEG-MSG");
    client.send(json!(["NEG-CLOSE", "b"])).await;
    client.send(open("d")).await;
    assert_eq!(client.next().await[0], "NEG-MSG");
    client.silent().await;
}

#[tokio::test]
async fn reconciling_asks_for_the_same_rights_as_a_query() {
    let bus = Bus::start(Config::default()).await;
    let mut page = bus.client_with(&[("origin", "null")]).await;
    let open = json!(["NEG-OPEN", "n", {"kinds": [1]}, NOTHING]);
    let error = async |page: &mut Client| {
        page.send(open.clone()).await;
        let answer = page.next().await;
        assert_eq!(answer[0], "NEG-ERR", "{answer}");
        answer[2].as_str().unwrap().to_owned()
    };
    assert!(error(&mut page).await.starts_with("auth-required:"));
    assert!(page.auth(&Keys::generate()).await.0);
    assert!(error(&mut page).await.starts_with("restricted:"));
    assert!(page.auth(&bus.operator).await.0);
    page.send(open.clone()).await;
    assert_eq!(page.next().await[0], "NEG-MSG");
    // Gift wraps alone are for somebody.
    let mut local = bus.client().await;
    local
        .send(json!(["NEG-OPEN", "n", {"kinds": [1059]}, NOTHING]))
        .await;
    let answer = local.next().await;
    let reason = answer[2].as_str().unwrap();
    assert!(reason.starts_with("auth-required:"), "{answer}");
}

#[tokio::test]
async fn all_reconciliations_together_have_a_bound() {
    let bus = Bus::start(Config {
        max_negentropy: 10,
        max_negentropy_sessions: 9,
        ..Config::default()
    })
    .await;
    for event in notes(&Keys::generate(), "x", 10) {
        bus.relay.publish(event).await.unwrap();
    }
    let mut clients = vec![bus.client().await, bus.client().await];
    let mut refused = 0;
    for client in &mut clients {
        for name in ["a", "b", "c"] {
            client
                .send(json!(["NEG-OPEN", name, {"kinds": [1]}, NOTHING]))
                .await;
            let answer = client.next().await;
            if answer[0] == "NEG-ERR" {
                let reason = answer[2].as_str().unwrap();
                assert!(reason.starts_with("rate-limited:"), "{reason}");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 2, "four of the largest have room");
    drop(clients.remove(0));
    tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let open = json!(["NEG-OPEN", "z", {"kinds": [1]}, NOTHING]);
            clients[0].send(open).await;
            if clients[0].next().await[0] == "NEG-MSG" {
                break;
            }
        }
    })
    .await
    .expect("the room of who left is free");
}
