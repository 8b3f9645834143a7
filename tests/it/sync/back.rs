//! What its owner took back stays back: at relays that are away, under other settings, at relays that are named later.

use super::*;

async fn does(treefort: &Treefort, command: &[&str]) {
    let output = treefort.command(command).await;
    assert!(output.status.success(), "{command:?} {output:?}");
}

/// The ids that a relay's requests to delete name.
fn deleted(relay: &Foreign) -> BTreeSet<EventId> {
    let kept = relay.kept();
    let requests = kept.iter().filter(|(event, _)| event.kind.as_u16() == 5);
    requests
        .flat_map(|(event, _)| event.tags.event_ids().copied().collect::<Vec<_>>())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_back_leaves_for_nobody_until_it_is_shared_again() {
    let model = ModelServer::start().await;
    let (first, second) = (
        Foreign::start(Manner::default()).await,
        Foreign::start(Manner::default()).await,
    );
    first.stop();
    let mut treefort = treefort(&model, &stream("up", &[first.url()])).await;
    let operator = treefort.operator();
    let recipes: Vec<Event> = (0..5).map(|n| recipe(&operator, n)).collect();
    let id = |n: usize| recipes[n].id.to_hex();
    give(&mut treefort.client(&operator).await, &recipes[..4]).await;
    waiting(&treefort, 4).await;
    for n in [0, 1] {
        does(&treefort, &["unpublish", &id(n), "--yes"]).await;
    }
    // Other kinds, and another relay.
    let urls = [first.url(), second.url()];
    let other = stream("up", &urls).replace(KINDS, "[1, 4780, 4781]");
    set(&mut treefort, &other);
    until("the others are at the second one", &treefort, async || {
        second.has(&recipes[2].id) && second.has(&recipes[3].id)
    })
    .await;
    let preview = told(&treefort, &["sync", "preview", "--json"]).await;
    for relay in 0..2 {
        let relay = &preview["relays"][relay];
        assert_eq!(relay["stays"]["you took it back"], 2, "{relay}");
        let leaves = relay["leaves"].as_array().unwrap();
        assert!(
            leaves
                .iter()
                .all(|one| one["id"] != id(0) && one["id"] != id(1))
        );
    }
    // One of them is shared again, before the first one heard that it is to be deleted.
    let look = told(&treefort, &["publish", &id(0), "--json"]).await;
    assert_eq!(
        (&look["again"], &look["goes"][0]["id"]),
        (&json!(1), &json!(id(0)))
    );
    does(&treefort, &["publish", &id(0), "--yes"]).await;
    until("it is at the second one", &treefort, async || {
        second.has(&recipes[0].id)
    })
    .await;
    first.back().await;
    give(&mut treefort.client(&operator).await, &recipes[4..]).await;
    until("all is there", &treefort, async || {
        let all = |relay: &Foreign| [0, 2, 3, 4].iter().all(|n| relay.has(&recipes[*n].id));
        all(&first) && all(&second) && deleted(&first).contains(&recipes[1].id)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(deleted(&first), BTreeSet::from([recipes[1].id]));
    assert_eq!(deleted(&second), BTreeSet::new());
    for relay in [&first, &second] {
        assert!(!relay.has(&recipes[1].id));
        assert!(relay.sent().values().all(|count| *count == 1));
    }
}
