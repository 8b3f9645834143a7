//! Files that an owner attaches to a job: in the copy, as text, or as a picture that the model sees.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use nostr::Keys;
use treefort::nips::Draft;

use super::*;
use crate::jobs::error;

/// The beginning of a picture is enough.
const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n a picture of a fort";

/// A folder with a text, a picture and something else.
fn papers() -> tempfile::TempDir {
    let papers = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| std::fs::write(papers.path().join(name), bytes).unwrap();
    put("notes.txt", "remember the moat\n".as_bytes());
    put("a.txt", b"another a\n");
    put("fort.png", PICTURE);
    put("plan.bin", b"\0\x01\x02");
    papers
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_files_finds_them_at_the_top_beside_what_was_there() {
    let fort = Fort::embedded(AT_ONCE).await;
    let papers = papers();
    let at = |name: &str| papers.path().join(name).to_str().unwrap().to_owned();
    let script = "cat notes.txt a.txt a-2.txt > seen; says $(ls)";
    let mut arguments = vec!["run", "--agent", "scripted"];
    let files = ["notes.txt", "a.txt", "fort.png", "plan.bin"].map(at);
    for file in &files {
        arguments.extend(["--attach", file.as_str()]);
    }
    arguments.push(script);
    let said = fort.say(&arguments).await.ok();
    assert_eq!(
        said.out,
        "a-2.txt a.txt fort.png notes.txt plan.bin seen src\n"
    );
    let copy = fort.copy().await;
    assert_eq!(
        std::fs::read_to_string(copy.join("seen")).unwrap(),
        "remember the moat\none\ntwo\nthree\nanother a\n"
    );
    assert_eq!(std::fs::read(copy.join("fort.png")).unwrap(), PICTURE);
    assert!(
        fort.journals()
            .contains("Attached, in /workspace: notes.txt, a-2.txt")
    );
    // They are the owner's doing on the record, and a state of its own.
    let records = fort.session().await;
    let of = |name: &str| {
        let mut tags = records.iter().filter_map(|record| tag(record, name));
        tags.any(|value| value == "what its owner attached")
    };
    assert!(of("reason"));
    let named: Vec<String> = records
        .iter()
        .filter_map(|record| tag(record, "path"))
        .collect();
    assert_eq!(named, ["seen"]);
    let start = &records[0];
    let mut client = fort.client().await;
    let inner = client
        .query(json!({"kinds": [5870], "#p": [start.pubkey.to_hex()]}))
        .await
        .remove(0);
    let inputs = inner.tags.iter().map(nostr::Tag::as_slice);
    let inputs: Vec<&[String]> = inputs.filter(|tag| tag[0] == "i").collect();
    assert_eq!((inputs.len(), inputs[0][1].as_str()), (5, script));
    assert_eq!(
        (inputs[3][2].as_str(), inputs[3][4].as_str()),
        ("blob", "fort.png")
    );
    // They go home with the rest.
    fort.say(&["apply", "--yes"]).await.ok();
    assert_eq!(std::fs::read(fort.path("fort.png")).unwrap(), PICTURE);
    assert_eq!(fort.read("a.txt"), "one\ntwo\nthree\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_further_job_of_the_conversation_brings_its_own() {
    let fort = Fort::embedded("[sessions]\nidle_s = 60\nwarm = 0\n").await;
    let papers = papers();
    fort.run("says one").await.ok();
    let notes = papers.path().join("notes.txt");
    let again = [
        "run",
        "--agent",
        "scripted",
        "--continue",
        "--attach",
        notes.to_str().unwrap(),
        "says $n $(cat notes.txt)",
    ];
    let said = fort.say(&again).await.ok();
    // The same session, with a file that was not there before.
    assert_eq!(said.out, "2 remember the moat\n");
    let command = [
        "run",
        "--agent",
        "shell",
        "--attach",
        notes.to_str().unwrap(),
        "cat notes.txt",
    ];
    assert_eq!(fort.say(&command).await.ok().out, "remember the moat\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_without_files_reads_texts_and_sees_pictures_if_its_model_does() {
    let fort = Fort::embedded("[sessions]\nidle_s = 60\nwarm = 0\n").await;
    let papers = papers();
    let at = |name: &str| papers.path().join(name).to_str().unwrap().to_owned();
    let (notes, picture, plan) = (at("notes.txt"), at("fort.png"), at("plan.bin"));
    fort.say(&["run", "--attach", &notes, "what is it about?"])
        .await
        .ok();
    let asked = fort.model.chats().pop().unwrap();
    let question = asked["messages"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(
        question["content"],
        "Attached file notes.txt:\n\nremember the moat\n\n\nwhat is it about?"
    );
    // The record says what was asked, and not what is in the file.
    let mut client = fort.client().await;
    let inner = client.query(json!({"kinds": [5870]})).await.remove(0);
    assert!(!nostr::JsonUtil::as_json(&inner).contains("moat"));

    fort.say(&["run", "--attach", &picture, "what is it?"])
        .await
        .fails(1, "takes no pictures");
    fort.say(&["run", "--attach", &plan, "what is it?"])
        .await
        .fails(1, "only agents that work on files take");
    fort.model.sees();
    // What was answered in one second has no order, and `--continue` shall go on from this one.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    fort.say(&["run", "--attach", &picture, "what is it?"])
        .await
        .ok();
    let seen = |chat: &Value| -> Vec<usize> {
        let messages = chat["messages"].as_array().unwrap();
        let count = |message: &Value| message["images"].as_array().map_or(0, Vec::len);
        messages.iter().map(count).collect()
    };
    let asked = fort.model.chats().pop().unwrap();
    assert_eq!(seen(&asked), [0, 1], "{asked}");
    let image = asked["messages"][1]["images"][0].as_str().unwrap();
    assert_eq!(BASE64_STANDARD.decode(image).unwrap(), PICTURE);
    // It still sees it when the conversation goes on.
    fort.say(&["run", "--continue", "and its colour?"])
        .await
        .ok();
    assert_eq!(seen(&fort.model.chats().pop().unwrap()), [0, 1, 0, 0]);
    let timeline = fort.say(&["timeline"]).await.ok();
    assert!(timeline.out.contains("[fort.png]"), "{timeline:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_not_the_owners_is_refused() {
    let fort = Fort::embedded(AT_ONCE).await;
    fort.say(&["run", "--attach", "nowhere.txt", "x"])
        .await
        .fails(2, "nowhere.txt");
    fort.say(&["run", "--attach", ".", "x"]).await.fails(2, "");
    let hash = "ab".repeat(32);
    let job = |hash: &str| {
        Draft::new(5050)
            .tag(["i", "what is it?", "text"])
            .tag(["i", hash, "blob", "", "x.txt"])
            .tag(["p", &fort.treefort.coordinator().to_hex()])
    };
    let mut client = fort.client().await;
    let (code, sentence) = error(&client.do_job(&job(&hash)).await.1);
    assert_eq!(code, "input");
    assert!(sentence.contains("x.txt is not here"), "{sentence}");
    let (code, _) = error(&client.do_job(&job("../../keys/operator.key")).await.1);
    assert_eq!(code, "input");
    let friend = Keys::generate();
    fort.say(&["allow", &friend.public_key().to_hex()])
        .await
        .ok();
    let mut other = fort.treefort.client(&friend).await;
    assert_eq!(error(&other.do_job(&job(&hash)).await.1).0, "not-admitted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_no_job_names_is_removed_a_day_later_and_one_that_is_named_stays() {
    let mut fort = Fort::embedded(AT_ONCE).await;
    let papers = papers();
    let picture = papers.path().join("fort.png");
    let picture = picture.to_str().unwrap();
    fort.say(&[
        "run",
        "--agent",
        "scripted",
        "--attach",
        picture,
        "says done",
    ])
    .await
    .ok();
    fort.treefort.terminate();
    let blobs = fort.treefort.home().join("blobs");
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(&blobs).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    let named = names();
    assert_eq!(named.len(), 1);
    // As if they had been put on the page and taken out of the field again, today and two days ago.
    let [new, old] = ["0", "1"].map(|digit| digit.repeat(64));
    let days_ago = std::time::SystemTime::now() - Duration::from_secs(2 * 86_400);
    for name in [&named[0], &old, &new] {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(blobs.join(name))
            .unwrap();
        if *name != new {
            file.set_modified(days_ago).unwrap();
        }
    }
    fort.treefort.up();
    let deadline = Instant::now() + PATIENCE;
    while names().contains(&old) {
        assert!(Instant::now() < deadline, "{:?}", names());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut left = vec![named[0].clone(), new];
    left.sort();
    assert_eq!(names(), left);
}
