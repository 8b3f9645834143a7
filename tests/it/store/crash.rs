//! `kill -9` under load, again and again on one store that grows: what was acknowledged is there, and every index fits.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;

use super::*;

/// Events that one connection sends in a round, at most.
const MOST: u64 = 600;

/// How often it is killed; `TREEFORT_KILLS` says otherwise.
fn rounds() -> u64 {
    std::env::var("TREEFORT_KILLS").map_or(10, |rounds| rounds.parse().unwrap())
}

/// Events of every sort that a store treats in its own way: new ones, versions of one address, deletions of older ones.
fn load(random: &mut Random, keys: &Keys, round: u64, count: u64) -> Vec<(Event, bool)> {
    let mut events: Vec<(Event, bool)> = Vec::new();
    for number in 0..count {
        let text = format!(
            "{round} {number} {}",
            "y".repeat(random.below(3000) as usize)
        );
        let sign = |draft: Draft| draft.sign(keys, now()).unwrap();
        let event = match random.below(10) {
            0 => (
                sign(
                    Draft::new(30078)
                        .tag(["d", &random.below(3).to_string()])
                        .content(text),
                ),
                false,
            ),
            1 if number > 3 => {
                let at = random.below(number) as usize;
                let target = &mut events[at];
                target.1 = false;
                let id = target.0.id.to_hex();
                // A deletion itself is nothing that goes.
                (sign(Draft::new(5).tag(["e", &id]).tag(["n", &text])), true)
            }
            2 => {
                let later = (now() + 86_400).to_string();
                (
                    sign(Draft::new(1).tag(["expiration", &later]).content(text)),
                    true,
                )
            }
            _ => (
                sign(
                    Draft::new(1)
                        .tag(["t", "load"])
                        .tag(["t", &text[..3]])
                        .content(text),
                ),
                true,
            ),
        };
        events.push(event);
    }
    events
}

/// Sends events without waiting, and gives the ids of those that were acknowledged before the end.
async fn send(address: String, events: Vec<Event>) -> BTreeSet<String> {
    let Ok((socket, _)) = tokio_tungstenite::connect_async(format!("ws://{address}/")).await else {
        return BTreeSet::new();
    };
    let (mut sink, mut stream) = socket.split();
    let writing = tokio::spawn(async move {
        for event in events {
            let frame = Message::text(format!("[\"EVENT\",{}]", event.as_json()));
            if sink.send(frame).await.is_err() {
                break;
            }
        }
        sink
    });
    let mut acknowledged = BTreeSet::new();
    while let Some(Ok(message)) = stream.next().await {
        let Message::Text(text) = message else {
            continue;
        };
        let answer: Value = serde_json::from_str(&text).unwrap();
        if answer[0] == "OK" && answer[2] == true {
            acknowledged.insert(answer[1].as_str().unwrap().to_owned());
        }
    }
    drop(writing.await.unwrap());
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_it_keeps_what_it_acknowledged_and_every_index_fits() {
    let mut random = Random::new();
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], "[sessions]\nwarm = 0\n");
    let (mut kept, mut acknowledged) = (BTreeSet::new(), 0);
    let mut cut = 0;
    for round in 0..rounds() {
        let connections = if round % 2 == 0 { 1 } else { 8 };
        let mut sending = Vec::new();
        let mut stays = BTreeSet::new();
        for _ in 0..connections {
            let keys = Keys::generate();
            let events = load(&mut random, &keys, round, MOST / connections);
            stays.extend(
                events
                    .iter()
                    .filter(|event| event.1)
                    .map(|event| event.0.id.to_hex()),
            );
            let events = events.into_iter().map(|event| event.0).collect();
            sending.push(tokio::spawn(send(treefort.address.clone(), events)));
        }
        tokio::time::sleep(Duration::from_millis(20 + random.below(400))).await;
        treefort.kill();
        let mut answered = 0;
        for sent in sending {
            let sent = sent.await.unwrap();
            answered += sent.len();
            kept.extend(sent.intersection(&stays).cloned());
        }
        acknowledged += answered;
        cut += usize::from(answered < MOST as usize - 8);
        let found = checked(treefort.home());
        assert_eq!(found["sound"], true, "round {round}: {found}");
        let stored = ids(treefort.home());
        let missing: Vec<_> = kept.difference(&stored).collect();
        assert!(missing.is_empty(), "round {round}: {missing:?}");
        treefort.up();
    }
    eprintln!(
        "{} kills, {cut} of them in the middle: {acknowledged} acknowledged, none missing",
        rounds()
    );
    assert!(cut > 0, "it was never killed in the middle");
    treefort.terminate();
}
