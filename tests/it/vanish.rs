//! NIP-62 against the real program: a crash in the middle, and the files of what the owner wrote.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nostr::{Event, JsonUtil as _, Keys};
use serde_json::json;
use treefort::nips::Draft;

use crate::{
    harness::{Client, NO_DOCKER, Treefort, random::Random},
    model_server::ModelServer,
};

/// Notes of one key.
const NOTES: usize = 1500;
/// How often the program is killed.
const CRASHES: u64 = 6;

fn request(client: &Client) -> Event {
    client.sign(&Draft::new(62).tag(["relay", "ALL_RELAYS"]))
}

async fn write_notes(client: &mut Client) {
    let notes: Vec<Event> = (0..NOTES)
        .map(|n| client.sign(&Draft::new(1).content(n.to_string())))
        .collect();
    for note in &notes {
        client.raw(format!("[\"EVENT\",{}]", note.as_json())).await;
    }
    for _ in &notes {
        assert_eq!(client.next().await[2], true);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_all_or_nothing_of_who_vanishes() {
    let mut random = Random::new();
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_in(&model, &[], "", &[NO_DOCKER]);
    let other = Keys::generate();
    let mut client = treefort.client(&other).await;
    let (kept, _) = client.publish(&Draft::new(1).content("stays")).await;
    let (mut cut, mut done) = (0, 0);
    for _ in 0..CRASHES {
        let keys = Keys::generate();
        let mut client = treefort.client(&keys).await;
        write_notes(&mut client).await;
        let request = request(&client);
        client
            .raw(format!("[\"EVENT\",{}]", request.as_json()))
            .await;
        tokio::time::sleep(Duration::from_millis(random.below(400))).await;
        treefort.kill();
        treefort.up();
        let mut client = treefort.client(&keys).await;
        let mine = json!({"authors": [keys.public_key()], "limit": 5000});
        let left = client.query(mine.clone()).await;
        match left.len() {
            // Not begun, or cut off before the request was stored, or done.
            NOTES | 0 => cut += 1,
            1 => {
                assert_eq!(left[0], request);
                done += 1;
            }
            some => panic!("{some} events of {NOTES} are left"),
        }
        assert_eq!(client.send(&request).await[2], true);
        assert_eq!(client.query(mine).await, std::slice::from_ref(&request));
        let late = Draft::new(1).content("0");
        let late = late.sign(&keys, request.created_at.as_secs()).unwrap();
        let refused = client.send(&late).await;
        assert_eq!(refused[2], false, "{refused}");
    }
    eprintln!("{cut} were cut off, {done} were done");
    let mut client = treefort.client(&other).await;
    let all = client.query(json!({"ids": [kept.id]})).await;
    assert_eq!(all, [kept]);
}

/// The files below a folder in which these bytes are.
fn holding(folder: &Path, bytes: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, bytes));
            continue;
        }
        // A socket, or a file that has gone since.
        let text = std::fs::read(&path).unwrap_or_default();
        let bytes = bytes.as_bytes();
        if text.windows(bytes.len()).any(|window| window == bytes) {
            found.push(path);
        }
    }
    found
}

async fn wait_until_gone(treefort: &Treefort, bytes: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let left = holding(treefort.home(), bytes);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "still in {left:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_owner_asks_to_be_forgotten_leaves_the_disk() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_in(&model, &[], "", &[NO_DOCKER]);
    for crash in [false, true] {
        let secret = Keys::generate().public_key().to_hex();
        let mut client = treefort.client(&treefort.operator()).await;
        let before = Draft::new(1).content(&secret);
        let before = before
            .sign(&client.keys, treefort::coordinator::now() - 1)
            .unwrap();
        assert_eq!(client.send(&before).await[2], true);
        assert!(!holding(treefort.home(), &secret).is_empty());
        let relay = format!("ws://{}/", treefort.address);
        let (request, answer) = client.publish(&Draft::new(62).tag(["relay", &relay])).await;
        assert_eq!(answer[2], true, "{answer}");
        if crash {
            treefort.kill();
            assert!(
                !holding(treefort.home(), &secret).is_empty(),
                "the crash came too late to show anything"
            );
            treefort.up();
        }
        wait_until_gone(&treefort, &secret).await;
        // What the next round stores has to be newer than the request.
        while treefort::coordinator::now() < request.created_at.as_secs() + 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
