//! Sync against relays that are not ours, by the real program.

mod back;
mod confirmed;
mod crash;
mod down;
mod far;
mod folders;
mod foreign;
mod hostile;
mod inputs;
mod named;
mod off;
mod others;
mod places;
mod private;
mod tap;
mod there;
mod three;
mod tls;
mod told;
mod two;
mod up;

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use nostr::{Event, EventId, JsonUtil as _, Keys};
use serde_json::{Value, json};
use treefort::nips::Draft;

use self::{
    foreign::{Foreign, Manner, Negentropy},
    tap::Tap,
};
use crate::{
    harness::{Client, NO_DOCKER, Treefort},
    model_server::ModelServer,
};

/// How long a sync may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// A treefort with this `sync.toml`.
async fn treefort(model: &ModelServer, sync: &str) -> Treefort {
    let mut treefort = Treefort::start_in(model, &[], "", &[NO_DOCKER]);
    set(&mut treefort, sync);
    treefort
}

/// Starts it again with another `sync.toml`.
fn set(treefort: &mut Treefort, sync: &str) {
    treefort.terminate();
    std::fs::write(treefort.home().join("sync.toml"), sync).unwrap();
    treefort.up();
}

/// The kinds that the tests share: what treefort writes by itself when it starts is none of them.
const KINDS: &str = "[1, 4780, 4786]";

/// A stream to relays.
fn stream(dir: &str, relays: &[String]) -> String {
    format!(
        "[policy]\nkinds = {KINDS}\n[[stream]]\nname = \"{dir}\"\ndir = \"{dir}\"\nrelays = {relays:?}\n"
    )
}

/// Something that may leave: a version of a recipe, told from others by its number.
fn recipe(keys: &Keys, n: usize) -> Event {
    Draft::new(4780)
        .tag(["d", "bread"])
        .content(format!("version {n} «\u{1f956}» \"quoted\" / \\ \n"))
        .sign(keys, now())
        .unwrap()
}

fn now() -> u64 {
    nostr::Timestamp::now().as_secs()
}

/// Publishes events at a treefort.
async fn give(client: &mut Client, events: &[Event]) {
    for chunk in events.chunks(500) {
        for event in chunk {
            client.raw(format!("[\"EVENT\",{}]", event.as_json())).await;
        }
        for _ in chunk {
            let answer = client.next().await;
            assert_eq!(answer[2], true, "{answer}");
        }
    }
}

/// Waits until something holds.
async fn until(what: &str, treefort: &Treefort, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what}: {}", treefort.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until nothing waits any more for the first relay: what it has may not have been written down yet.
async fn settled(treefort: &Treefort) {
    waiting(treefort, 0).await;
}

/// Waits until so much waits for the first relay.
async fn waiting(treefort: &Treefort, events: usize) {
    until("so much waits", treefort, async || {
        told(treefort, &["sync", "--json"]).await["relays"][0]["tally"]["waiting"] == events
    })
    .await;
}

/// What a treefort has that matches.
async fn has(treefort: &Treefort, filter: Value) -> Vec<Event> {
    let mut client = treefort.client(&treefort.operator()).await;
    client.query(filter).await
}

/// What a command of the program prints as JSON.
async fn told(treefort: &Treefort, command: &[&str]) -> Value {
    let output = treefort.command(command).await;
    assert!(output.status.success(), "{command:?} {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn ids<'a>(events: impl IntoIterator<Item = &'a Event>) -> BTreeSet<EventId> {
    events.into_iter().map(|event| event.id).collect()
}

/// Everything arrived with the bytes that the treefort itself has, each event once.
fn same_bytes(relay: &Foreign, events: &[Event]) {
    let wanted: HashMap<EventId, String> = events
        .iter()
        .map(|event| (event.id, event.as_json()))
        .collect();
    let kept = relay.kept();
    assert_eq!(kept.len(), wanted.len());
    for (event, raw) in kept {
        assert_eq!(Some(&raw), wanted.get(&event.id));
    }
    assert!(
        relay.sent().values().all(|count| *count == 1),
        "one was sent twice"
    );
}
