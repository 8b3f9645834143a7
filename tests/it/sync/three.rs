//! Three relays of others at once: two that are as their makers made them, and one that does everything wrong.

use super::{
    others::{RsRelay, address, local_relay},
    *,
};
use crate::harness::audit;

/// What the relay that misbehaves says about a kind.
const UNWANTED: &str = "blocked: kind 30382 is not for us";

/// The bytes of events as they were signed.
fn bytes<'a>(events: impl IntoIterator<Item = &'a Event>) -> HashMap<EventId, String> {
    events
        .into_iter()
        .map(|event| (event.id, event.as_json()))
        .collect()
}

/// What must not leave, of every sort that there is.
fn staying(operator: &Keys, stranger: &Keys, recipe_of_ours: &Event) -> Vec<Event> {
    let sign = |draft: Draft| draft.sign(operator, now()).unwrap();
    let secret = "sk-proj-aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5bC7dE9fG1hJ3";
    vec![
        sign(Draft::new(1).content("for me")),
        sign(Draft::new(4782).content("an action")),
        sign(Draft::new(4784).content("an error")),
        sign(Draft::new(30078).tag(["d", "x"])),
        sign(
            Draft::new(5050)
                .tag(["i", "a question", "text"])
                .tag(["p", &stranger.public_key().to_hex()]),
        ),
        sign(Draft::new(4786).tag(["e", &recipe_of_ours.id.to_hex()])),
        sign(Draft::new(4780).tag(["encrypted"]).content("hidden")),
        sign(Draft::new(4780).content(secret)),
        recipe(stranger, 1),
    ]
}

/// A relay that others wrote was sent what may leave, each once, and shows it as it was signed.
async fn has_all(tap: &Tap, leaving: &HashMap<EventId, String>) {
    let sent = tap.events();
    for (id, times) in &sent {
        assert_eq!(times.len(), 1, "{id} was sent {} times", times.len());
        assert_eq!(leaving.get(id), times.first(), "{id}");
    }
    assert_eq!(sent.len(), leaving.len());
    let mut reader = Client::connect_to(&tap.url(), Keys::generate()).await;
    let found = reader.as_mut().unwrap().query(json!({"limit": 500})).await;
    assert_eq!(bytes(&found), *leaving);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_may_leave_arrives_at_three_foreign_relays_as_it_was_signed_and_nothing_else() {
    let model = ModelServer::start().await;
    let (local, rs) = (local_relay().await, RsRelay::start().await);
    let at_local = Tap::start(&address(&local).await).await;
    let at_rs = Tap::start(&rs.address).await;
    let bad = Foreign::start(Manner {
        slow: 2,
        cut_after: Some(45),
        limit: Some(20),
        refuses: HashMap::from([(30382, UNWANTED.to_owned())]),
        loses: Some(25),
        fails: 3,
        ..Manner::default()
    })
    .await;
    let sync = stream("both", &[at_local.url(), at_rs.url(), bad.url()]);
    let sync = sync.replace(KINDS, "[1, 4780, 4786, 30382]");
    let mut treefort = treefort(&model, &sync).await;
    let (operator, friend) = (treefort.operator(), Keys::generate());
    let key = friend.public_key().to_hex();
    assert!(treefort.command(&["allow", &key]).await.status.success());
    // One that was asked long ago, and one that is asked now: both come again and again.
    let job = |at: u64| {
        Draft::new(5050)
            .tag(["i", "instant", "text"])
            .tag(["p", &treefort.coordinator().to_hex()])
            .sign(&friend, at)
            .unwrap()
    };
    let (old, fresh) = (job(now() - 90 * 24 * 3600), job(now()));
    bad.behave(|manner| manner.replays = vec![old.clone(), fresh.clone()]);

    let recipes: Vec<Event> = (0..120).map(|n| recipe(&operator, n)).collect();
    let trust = |n: usize| {
        Draft::new(30382)
            .tag(["d", &n.to_string()])
            .sign(&operator, now())
            .unwrap()
    };
    let trusts: Vec<Event> = (0..150).map(trust).collect();
    let note = Draft::new(1).tag(["t", "share"]).content("for all");
    let note = note.sign(&operator, now()).unwrap();
    let leaving: Vec<Event> = recipes
        .iter()
        .chain(&trusts)
        .chain([&note])
        .cloned()
        .collect();
    let staying = staying(&operator, &Keys::generate(), &recipes[0]);
    let mut client = treefort.client(&operator).await;
    give(&mut client, &staying).await;
    give(&mut client, &leaving).await;
    let allowed = bytes(&leaving);
    until("all is taken", &treefort, async || {
        let of_bad = bad.taken();
        let taken = recipes.iter().chain([&note]);
        at_local.events().len() >= leaving.len()
            && at_rs.events().len() >= leaving.len()
            && taken.clone().all(|event| of_bad.contains_key(&event.id))
    })
    .await;
    let answers = json!({"kinds": [7000, 6050], "#e": [fresh.id]});
    let inner = json!({"kinds": [6870], "#E": [fresh.id]});
    until("the job is done", &treefort, async || {
        let mut client = treefort.client(&operator).await;
        let mut said = client.query(answers.clone()).await;
        let has_ended = audit::ending(fresh.id, &said).is_some();
        said.extend(client.query(inner.clone()).await);
        let there = bad.taken();
        has_ended && said.iter().all(|one| there.contains_key(&one.id))
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;

    has_all(&at_local, &allowed).await;
    has_all(&at_rs, &allowed).await;
    // The session's own answer to the coordinator goes with them.
    let mut answers = client.query(answers).await;
    answers.extend(client.query(inner).await);
    at_bad(&bad, &recipes, &note, &answers);
    let status = told(&treefort, &["sync", "status", "--json"]).await;
    for honest in 0..2 {
        let tally = &status["relays"][honest]["tally"];
        assert_eq!((&tally["sent"], &tally["there"]), (&json!(271), &json!(0)));
        // The last look kept one here, and its owner is told.
        let held = &status["relays"][honest]["troubles"][0];
        let why = json!("it seems to hold a password or key");
        assert_eq!((&held["is"], &held["words"]), (&json!("held"), &why));
    }
    let refusing = &status["relays"][2];
    assert_eq!(refusing["refused_kinds"]["30382"], UNWANTED);
    assert_eq!(refusing["tally"]["refused"], 150);
    assert!(bad.connections() > 3 && !bad.lost().is_empty());
    // Who repeats an old job wakes nobody.
    assert!(client.query(json!({"ids": [old.id]})).await.is_empty());

    // And after a restart nothing is sent again.
    let (before, jobs) = (bad.sent(), model.chats().len());
    treefort.terminate();
    treefort.up();
    tokio::time::sleep(Duration::from_secs(3)).await;
    has_all(&at_local, &allowed).await;
    has_all(&at_rs, &allowed).await;
    assert_eq!(bad.sent(), before);
    assert_eq!(model.chats().len(), jobs);
}

/// The relay that misbehaves got all that it takes, once, and the answers to the job that came from it.
fn at_bad(bad: &Foreign, recipes: &[Event], note: &Event, answers: &[Event]) {
    let taken = bad.taken();
    let again: Vec<_> = taken.iter().filter(|(_, times)| **times != 1).collect();
    assert!(
        again.is_empty(),
        "taken, and sent again: {again:?}, lost: {:?}",
        bad.lost()
    );
    let wanted = bytes(recipes.iter().chain([note]).chain(answers));
    let lost = bad.lost();
    let kept: HashMap<EventId, String> = bad
        .kept()
        .into_iter()
        .map(|(event, raw)| (event.id, raw))
        .collect();
    for (id, raw) in &wanted {
        assert!(lost.contains(id) || kept.get(id) == Some(raw), "{id}");
    }
    for id in kept.keys().chain(&lost) {
        assert!(wanted.contains_key(id), "{id}");
    }
    // A kind that is refused is not sent again: only what was under way when it said so.
    let unwanted = bad.sent().len() - wanted.len();
    assert!(unwanted < 100, "{unwanted} of a kind that is refused");
}
