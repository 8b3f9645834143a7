//! What its owner deletes for good is gone: from the relay, from every list, and from the disk.

use nostr::{JsonUtil as _, Keys};
use treefort::nips::{Draft, session::check_chain};

use super::*;
use crate::{
    harness::{client::status, random::Random},
    jobs::error,
};

/// A session stays open for the next turn of its conversation.
const OPEN: &str = "[sessions]\nidle_s = 600\nwarm = 0\n";

/// Something that is nowhere else.
fn canary() -> String {
    Keys::generate().public_key().to_hex()
}

/// The files of a home in which these bytes are, whatever wrote them.
fn holding(folder: &Path, bytes: &str) -> Vec<PathBuf> {
    let finder =
        |bytes: &[u8], text: &[u8]| text.windows(bytes.len()).any(|window| window == bytes);
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let about = path.symlink_metadata().unwrap();
            if about.is_dir() {
                folders.push(path);
            } else if about.is_file() {
                let mut text = std::fs::read(&path).unwrap();
                // A journal is as long as it may become.
                text.truncate(
                    text.iter()
                        .rposition(|byte| *byte != 0)
                        .map_or(0, |at| at + 1),
                );
                if finder(bytes.as_bytes(), &text) {
                    found.push(path.strip_prefix(folder).unwrap().to_owned());
                }
            }
        }
    }
    found
}

async fn all_events(client: &mut Client) -> Vec<Event> {
    client.query(json!({"limit": 5000})).await
}

/// The sessions that were handed a job, in no order.
async fn handed(client: &mut Client, coordinator: &str) -> Vec<String> {
    let handed = client
        .query(json!({"kinds": [5870], "authors": [coordinator]}))
        .await;
    handed.iter().map(|job| tag(job, "p").unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_deleted_for_good_is_nowhere_any_more() {
    let mut fort = Fort::embedded(OPEN).await;
    let coordinator = fort.treefort.coordinator().to_hex();
    let (gone, stays) = (canary(), canary());
    fort.run(&format!(
        "echo {stays} > mine; claims edit mine; says {stays}"
    ))
    .await
    .ok();
    let mut client = fort.client().await;
    let other = handed(&mut client, &coordinator).await;
    std::fs::write(fort.path("note.txt"), format!("{gone} as a file\n")).unwrap();
    let script = format!("echo {gone} > secret; claims edit secret; says {gone}");
    fort.say(&[
        "run", "--agent", "scripted", "--attach", "note.txt", &script,
    ])
    .await
    .ok();
    std::fs::remove_file(fort.path("note.txt")).unwrap();
    let sessions = handed(&mut client, &coordinator).await;
    let session = sessions
        .iter()
        .find(|key| !other.contains(*key))
        .unwrap()
        .clone();
    // A difference quotes files, in the clear when somebody asks so.
    let diff = Draft::new(5871)
        .tag(["i", "diff", "text"])
        .tag(["param", "session", &session])
        .tag(["p", &coordinator]);
    let (_, answers) = client.do_job(&diff).await;
    assert!(
        answers.iter().any(|answer| answer.content.contains(&gone)),
        "{answers:?}"
    );
    let places = holding(fort.treefort.home(), &gone);
    for place in ["events", "state", "blobs", "journal", "workspaces"] {
        assert!(
            places.iter().any(|path| path.starts_with(place)),
            "{place}: {places:?}"
        );
    }
    let before = all_events(&mut client).await;
    let theirs: Vec<&Event> = before
        .iter()
        .filter(|event| event.as_json().contains(&gone))
        .collect();
    assert!(theirs.len() > 5);
    // Nobody is asked here, so nothing goes; a look says what would.
    fort.say(&["purge", &session]).await.fails(2, "--yes");
    let look = fort.say(&["purge", &session, "--json"]).await.ok().json();
    assert_eq!(
        (&look["done"], &look["copies"], &look["blobs"]),
        (&json!(false), &json!(1), &json!(1))
    );
    assert_eq!(
        all_events(&mut client)
            .await
            .iter()
            .filter(|event| event.as_json().contains(&gone))
            .count(),
        theirs.len()
    );

    client
        .subscribe("told", json!({"kinds": [5], "limit": 0}))
        .await;
    let done = fort
        .say(&["purge", &session, "--yes", "--json"])
        .await
        .ok()
        .json();
    assert_eq!(done["done"], true, "{done}");
    assert_eq!(done["erased"], true, "{done}");
    assert_eq!(done["sessions"], json!([session]));
    let none = Vec::<PathBuf>::new();
    assert_eq!(holding(fort.treefort.home(), &gone), none);
    // Who watches is told, under the owner's key.
    let told = client.next_event().await;
    assert_eq!(
        told.pubkey,
        fort.treefort.operator().public_key(),
        "{told:?}"
    );
    assert!(
        tag(&told, "purged").is_some() || told.as_json().contains("purged"),
        "{told:?}"
    );
    let request = theirs
        .iter()
        .find(|event| event.kind.as_u16() == 5870 && event.pubkey == told.pubkey)
        .unwrap();
    assert_eq!(tag(&told, "e").unwrap(), request.id.to_hex());

    let mut client = fort.client().await;
    let after = all_events(&mut client).await;
    for event in &after {
        assert!(!event.as_json().contains(&gone), "{event:?}");
        assert!(
            event.pubkey.to_hex() != session || event.kind.as_u16() == 5,
            "{event:?}"
        );
    }
    let of_other =
        |event: &&Event| event.as_json().contains(&stays) || event.pubkey.to_hex() == other[0];
    let (kept, was) = (
        after.iter().filter(of_other),
        before.iter().filter(of_other),
    );
    // The open session of the other job may have ended meanwhile.
    assert!(kept.count() >= was.count());
    fort.say(&["verify", &other[0]]).await.ok();
    let jobs = fort.say(&["jobs"]).await.ok();
    assert!(
        jobs.out.contains(&stays[..10]) && !jobs.out.contains(&gone[..10]),
        "{jobs:?}"
    );
    fort.say(&["purge", &session, "--yes"]).await.fails(1, "");
    // Nothing of it is taken in again.
    for event in &theirs {
        assert_eq!(client.send(event).await[2], false, "{event:?}");
    }
    fort.treefort.terminate();
    assert_eq!(holding(fort.treefort.home(), &gone), none);
    fort.treefort.up();
    assert_eq!(holding(fort.treefort.home(), &gone), none);
    assert!(!holding(fort.treefort.home(), &stays).is_empty());
    let mut client = fort.client().await;
    for event in &theirs {
        assert_eq!(client.send(event).await[2], false, "{event:?}");
    }
    fort.say(&["run", "--continue", "says still here"])
        .await
        .ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_go_on_from_stays_with_them_unless_the_conversation_goes() {
    let fort = Fort::embedded(AT_ONCE).await;
    let coordinator = fort.treefort.coordinator().to_hex();
    fort.run("echo one > log; claims edit log; says first")
        .await
        .ok();
    let mut client = fort.client().await;
    let first = handed(&mut client, &coordinator).await.remove(0);
    fort.say(&[
        "run",
        "--continue",
        "echo two >> log; claims edit log; says second",
    ])
    .await
    .ok();
    fort.say(&["apply", "--yes"]).await.ok();
    let copy = fort.copy().await;
    let look = fort.say(&["purge", &first, "--json"]).await.ok().json();
    assert_eq!(
        (&look["copies"], &look["copies_kept"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(look["linked"].as_array().unwrap().len(), 1);
    let done = fort
        .say(&["purge", &first, "--yes", "--json"])
        .await
        .ok()
        .json();
    assert_eq!(done["sessions"], json!([first]));
    assert!(copy.join("log").exists());
    let second = handed(&mut client, &coordinator).await;
    assert_eq!(second.len(), 1);
    fort.say(&["verify", &second[0]]).await.ok();
    fort.say(&["undo", "--yes"]).await;
    let all = fort
        .say(&["purge", &second[0], "--conversation", "--yes"])
        .await
        .ok();
    assert!(
        all.out.contains("deleted for good") && all.out.contains("applied to your folder stays"),
        "{all:?}"
    );
    assert!(!copy.exists());
    assert_eq!(fort.read("log"), "one\ntwo\n");
    let left = client
        .query(json!({"kinds": [1, 5870, 6870, 7000, 4781, 4782, 4783, 4785]}))
        .await;
    let left: Vec<&Event> = left
        .iter()
        .filter(|event| !status(event).is_empty() || event.kind.as_u16() != 7000)
        .collect();
    // What is said of the purge itself is all there is.
    assert!(
        left.iter().all(|event| event.kind.as_u16() == 7000),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_event_goes_alone_and_its_record_says_that_something_is_missing() {
    let fort = Fort::embedded(AT_ONCE).await;
    let secret = canary();
    fort.run(&format!("echo x > f; claims edit f; says {secret}"))
        .await
        .ok();
    let records = fort.session().await;
    let leaked: Vec<String> = records
        .iter()
        .filter(|record| record.as_json().contains(&secret))
        .map(|record| record.id.to_hex())
        .collect();
    assert!(!leaked.is_empty());
    let mut arguments = vec!["purge", "--yes", "--json"];
    for id in &leaked {
        arguments.extend(["--event", id]);
    }
    let done = fort.say(&arguments).await.ok().json();
    assert_eq!(
        (&done["events"], &done["sessions_in_all"]),
        (&json!(leaked.len()), &json!(0))
    );
    assert!(!fort.journals().contains(&secret));
    let mut client = fort.client().await;
    let left = client
        .query(json!({"authors": [records[0].pubkey.to_hex()], "kinds": [4781, 4782, 4783, 4785]}))
        .await;
    assert_eq!(left.len(), records.len() - leaked.len());
    assert!(check_chain(&left).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_deletes_for_good_and_not_under_an_agent_at_work() {
    let fort = Fort::embedded(AT_ONCE).await;
    let running = fort.begin(&[
        "run",
        "--agent",
        "scripted",
        "touch here; sleep 8; says done",
    ]);
    fort.wait_for_copy("here").await;
    let mut client = fort.client().await;
    let coordinator = fort.treefort.coordinator().to_hex();
    let session = handed(&mut client, &coordinator).await.remove(0);
    fort.say(&["purge", &session, "--yes"])
        .await
        .fails(1, "stop it first");
    let purge = Draft::new(5871)
        .tag(["i", "purge", "text"])
        .tag(["param", "target", &session])
        .tag(["p", &coordinator]);
    let friend = Keys::generate();
    fort.say(&["allow", &friend.public_key().to_hex()])
        .await
        .ok();
    for keys in [&friend, &Keys::generate()] {
        let mut client = fort.treefort.client(keys).await;
        let (_, answers) = client.do_job(&purge).await;
        assert_eq!(error(&answers).0, "not-admitted");
    }
    assert_eq!(running.await.unwrap().ok().out.trim(), "done");
    assert!(fort.session().await.len() > 3);
    // In the clear is fine: it names nothing but keys.
    let (_, answers) = client.do_job(&purge).await;
    assert_eq!(status(answers.last().unwrap()), "success", "{answers:?}");
    assert!(fort.sessions().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_middle_leaves_all_of_the_events_or_none_and_the_rest_is_done_later() {
    let mut fort = Fort::embedded(AT_ONCE).await;
    let mut random = Random::new();
    let (mut none, mut all) = (0, 0);
    for round in 0..4 {
        let secret = canary();
        fort.run(&format!("echo {secret} > f; claims edit f; says {secret}"))
            .await
            .ok();
        let session = {
            let sessions = fort.sessions().await;
            let with =
                |records: &&Vec<Event>| records.iter().any(|it| it.as_json().contains(&secret));
            sessions.values().find(with).unwrap()[0].pubkey.to_hex()
        };
        let mut client = fort.client().await;
        let held = |events: &[Event]| {
            events
                .iter()
                .filter(|event| event.as_json().contains(&secret))
                .count()
        };
        let before = held(&all_events(&mut client).await);
        let purging = fort.begin(&["purge", &session, "--yes"]);
        tokio::time::sleep(Duration::from_millis(random.below(100 + 700 * round))).await;
        fort.treefort.kill();
        purging.abort();
        fort.treefort.up();
        let mut client = fort.client().await;
        let after = held(&all_events(&mut client).await);
        assert!(after == 0 || after == before, "{after} of {before}");
        if after == 0 {
            none += 1;
        } else {
            all += 1;
            let done = fort.say(&["purge", &session, "--yes", "--json"]).await.ok();
            assert_eq!(done.json()["erased"], true, "{done:?}");
        }
        // A task that had not begun is done after the restart, while others may ask already.
        wait("the bytes to leave", || {
            holding(fort.treefort.home(), &secret).is_empty()
        })
        .await;
    }
    assert!(none + all == 4, "{none} {all}");
}
