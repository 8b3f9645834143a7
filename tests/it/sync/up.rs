//! What leaves: all that may, once, as it was signed, and nothing else.

use sha2::{Digest as _, Sha256};
use treefort::nips::nip98;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_misbehaves_gets_everything_once_all_the_same() {
    let model = ModelServer::start().await;
    let manners = [
        Manner {
            cut_after: Some(40),
            ..Manner::default()
        },
        Manner {
            limit: Some(60),
            ..Manner::default()
        },
        Manner {
            fails: 3,
            ..Manner::default()
        },
        Manner {
            auth: true,
            ..Manner::default()
        },
        Manner {
            slow: 20,
            ..Manner::default()
        },
    ];
    let mut relays = Vec::new();
    for manner in manners {
        relays.push(Foreign::start(manner).await);
    }
    let urls: Vec<String> = relays.iter().map(Foreign::url).collect();
    let treefort = treefort(&model, &stream("up", &urls)).await;
    let operator = treefort.operator();
    let mut client = treefort.client(&operator).await;
    let recipes: Vec<Event> = (0..120).map(|n| recipe(&operator, n)).collect();
    give(&mut client, &recipes).await;
    for (at, relay) in relays.iter().enumerate() {
        until(&format!("relay {at}"), &treefort, async || {
            relay.count() >= recipes.len()
        })
        .await;
        assert_eq!(
            ids(relay.kept().iter().map(|(event, _)| event)),
            ids(&recipes)
        );
    }
    // What was taken and not answered before the cut is not sent again: it is found first.
    same_bytes(&relays[0], &recipes);
    assert!(relays[0].connections() > 3);
    assert!(relays[1].sent().values().all(|count| *count < 30));
    same_bytes(&relays[3], &recipes);
    same_bytes(&relays[4], &recipes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_offline_leaves_when_the_relay_is_back() {
    let model = ModelServer::start().await;
    let foreign = Foreign::start(Manner::default()).await;
    foreign.stop();
    let mut treefort = treefort(&model, &stream("up", &[foreign.url()])).await;
    let operator = treefort.operator();
    let recipes: Vec<Event> = (0..300).map(|n| recipe(&operator, n)).collect();
    let (first, second) = recipes.split_at(150);
    let mut client = treefort.client(&operator).await;
    give(&mut client, first).await;
    treefort.terminate();
    treefort.up();
    let mut client = treefort.client(&operator).await;
    give(&mut client, second).await;
    // One of them is there already: by another way.
    foreign.publish(&recipes[7]);
    foreign.back().await;
    until("it arrives", &treefort, async || foreign.count() >= 300).await;
    let order: Vec<EventId> = recipes
        .iter()
        .map(|event| event.id)
        .filter(|id| *id != recipes[7].id)
        .collect();
    assert_eq!(foreign.order(), order);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_lies_is_named_and_one_that_shows_nothing_is_sent_to() {
    let model = ModelServer::start().await;
    let lies = Foreign::start(Manner {
        loses: Some(1),
        ..Manner::default()
    })
    .await;
    let closed = Foreign::start(Manner {
        closed: true,
        ..Manner::default()
    })
    .await;
    let treefort = treefort(&model, &stream("up", &[lies.url(), closed.url()])).await;
    let operator = treefort.operator();
    let mut client = treefort.client(&operator).await;
    let recipes: Vec<Event> = (0..5).map(|n| recipe(&operator, n)).collect();
    give(&mut client, &recipes).await;
    until("it is named", &treefort, async || {
        let status = told(&treefort, &["sync", "--json"]).await;
        // In one go or in several.
        status["relays"][0]["problem"]
            .as_str()
            .is_some_and(|problem| {
                problem.starts_with("it said that it took ") && problem.ends_with(" of them")
            })
    })
    .await;
    until("it arrives", &treefort, async || closed.count() == 5).await;
    assert!(lies.sent().values().all(|count| *count == 1));
    same_bytes(&closed, &recipes);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_preview_says_what_leaves_and_one_thing_can_be_shared_and_asked_back() {
    let model = ModelServer::start().await;
    let foreign = Foreign::start(Manner::default()).await;
    let mut treefort = Treefort::start_in(&model, &[], "", &[NO_DOCKER]);
    let operator = treefort.operator();
    let mut client = treefort.client(&operator).await;
    let recipes: Vec<Event> = (0..3).map(|n| recipe(&operator, n)).collect();
    let note = Draft::new(1)
        .content("for me")
        .sign(&operator, now())
        .unwrap();
    let secret = Draft::new(4780)
        .content("token ghp_16C7e42F292c6912E7710c838347Ae178B4a")
        .sign(&operator, now())
        .unwrap();
    give(&mut client, &recipes).await;
    give(&mut client, &[note.clone(), secret.clone()]).await;
    let off = treefort.command(&["sync", "preview"]).await;
    assert!(String::from_utf8_lossy(&off.stdout).starts_with("off: nothing leaves"));
    let off = treefort.command(&["publish", &note.id.to_hex()]).await;
    assert!(String::from_utf8_lossy(&off.stderr).contains("sync.toml names no relay"));
    treefort.terminate();
    std::fs::write(
        treefort.home().join("sync.toml"),
        stream("up", &[foreign.url()]),
    )
    .unwrap();
    // A command's own treefort looks and connects to nobody.
    let preview = told(&treefort, &["sync", "preview", "--json"]).await;
    let relay = &preview["relays"][0];
    let leaves: BTreeSet<String> = relay["leaves"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        leaves,
        recipes.iter().map(|event| event.id.to_hex()).collect()
    );
    assert_eq!(relay["secrets"][0]["id"], secret.id.to_hex());
    assert_eq!(
        relay["stays"]["it is a note that is not marked to be shared"],
        1
    );
    assert_eq!(foreign.connections(), 0);
    let shared = told(
        &treefort,
        &["publish", &note.id.to_hex(), "--yes", "--json"],
    )
    .await;
    assert_eq!(shared["goes"][0]["id"], note.id.to_hex());
    assert_eq!(foreign.connections(), 0);
    treefort.up();
    until("it arrives", &treefort, async || foreign.count() == 4).await;
    let leaving: Vec<Event> = recipes.iter().chain([&note]).cloned().collect();
    same_bytes(&foreign, &leaving);
    settled(&treefort).await;
    // Shared once is shared.
    let again = told(&treefort, &["publish", &note.id.to_hex(), "--json"]).await;
    assert_eq!(again["before"], 1);
    let refused = treefort
        .command(&["publish", &secret.id.to_hex(), "--yes"])
        .await;
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("none of it can leave"));
    let back = treefort
        .command(&["unpublish", &note.id.to_hex(), "--yes"])
        .await;
    let said = String::from_utf8_lossy(&back.stdout).into_owned();
    assert!(
        said.contains("this is a request: nobody can promise"),
        "{said}"
    );
    until("it is asked back", &treefort, async || foreign.count() == 5).await;
    let (deletion, _) = foreign.kept().pop().unwrap();
    assert_eq!(deletion.kind.as_u16(), 5);
    assert_eq!(deletion.pubkey, operator.public_key());
    assert_eq!(
        crate::harness::client::tag(&deletion, "e"),
        Some(note.id.to_hex())
    );
    assert_eq!(
        crate::harness::client::tag(&deletion, "k").as_deref(),
        Some("1")
    );
    // Here it stays.
    let mut client = treefort.client(&operator).await;
    assert_eq!(client.query(json!({"ids": [note.id]})).await.len(), 1);
    settled(&treefort).await;
    let none = told(&treefort, &["sync", "preview", "--json"]).await;
    assert!(none["relays"][0]["leaves"].as_array().unwrap().is_empty());
    // A stranger asks in vain.
    let http = reqwest::Client::new();
    let asked = http
        .post(format!("http://{}/api/sync", treefort.address))
        .body("{\"do\":\"preview\"}")
        .send()
        .await
        .unwrap();
    assert_eq!(asked.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_owner_signed_counts_once_and_not_in_the_next_run() {
    let model = ModelServer::start().await;
    let before = now() - 1;
    let treefort = treefort(&model, "").await;
    let operator = treefort.operator();
    let url = format!("http://{}/api/sync", treefort.address);
    let body = "{\"do\":\"preview\"}";
    let ask = async |signed: &Event| {
        let http = reqwest::Client::new().post(&url);
        let http = http.header("authorization", nip98::header(signed));
        http.body(body).send().await.unwrap().status().as_u16()
    };
    let signed = |at: u64| {
        nip98::draft(&url, "POST")
            .tag(["payload", &hex::encode(Sha256::digest(body))])
            .sign(&operator, at)
            .unwrap()
    };
    let good = signed(now());
    assert_eq!(ask(&good).await, 200);
    assert_eq!(ask(&good).await, 401, "used before");
    // Signed within the minute, as what an earlier run was asked with, or who had its port before.
    assert_eq!(ask(&signed(before)).await, 401, "of an earlier run");
    assert_eq!(ask(&signed(now())).await, 200);
}
