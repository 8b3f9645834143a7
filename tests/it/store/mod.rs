//! The record as a whole: checked, made smaller, written out and taken in, killed, damaged, and out of room.

mod crash;
mod disk;

use std::{
    collections::BTreeSet,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use nostr::{Event, JsonUtil as _, Keys};
use serde_json::{Value, json};
use treefort::{coordinator::now, nips::Draft};

use crate::{
    harness::{NO_DOCKER, PROGRAM, Treefort, random::Random},
    jobs::AT_ONCE,
    model_server::ModelServer,
};

/// `treefort store …` on a home.
fn store(home: &Path, arguments: &[&str]) -> Output {
    store_with(home, arguments, b"")
}

/// The same with something on its stdin.
fn store_with(home: &Path, arguments: &[&str], stdin: &[u8]) -> Output {
    let mut child = command(home, arguments).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let writing = stdin.to_vec();
    let writer = std::thread::spawn(move || {
        // A command that fails closes it.
        let _ = input.write_all(&writing);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn command(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .arg("store")
        .args(arguments)
        .arg("--home")
        .arg(home)
        .envs([NO_DOCKER])
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}{}",
        out(output),
        err(output)
    );
    out(output)
}

#[track_caller]
fn fails(output: &Output, words: &[&str]) {
    let said = err(output);
    assert_eq!(output.status.code(), Some(1), "{}{said}", out(output));
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(said.contains("hint:"), "{said}");
}

/// What `check` found.
fn checked(home: &Path) -> Value {
    serde_json::from_slice(&store(home, &["check", "--json"]).stdout).unwrap()
}

/// Every id that is stored.
fn ids(home: &Path) -> BTreeSet<String> {
    let lines = succeeds(&store(home, &["export", "-"]));
    let id = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        event["id"].as_str().unwrap().to_owned()
    };
    lines.lines().map(id).collect()
}

fn lines(events: &[Event]) -> Vec<u8> {
    let lines: Vec<String> = events.iter().map(nostr::JsonUtil::as_json).collect();
    lines.join("\n").into_bytes()
}

fn note(keys: &Keys, text: &str) -> Event {
    Draft::new(1).content(text).sign(keys, now()).unwrap()
}

fn notes(count: usize, bytes: usize) -> Vec<Event> {
    let keys = Keys::generate();
    let filler = "x".repeat(bytes);
    (0..count)
        .map(|number| note(&keys, &format!("{number} {filler}")))
        .collect()
}

fn deletion(keys: &Keys, event: &Event) -> Event {
    Draft::new(5)
        .tag(["e", &event.id.to_hex()])
        .sign(keys, now())
        .unwrap()
}

fn place() -> (tempfile::TempDir, std::path::PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let home = place.path().join("home");
    (place, home)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_out_and_taken_in_elsewhere_is_the_same() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let keys = treefort.operator();
    let mut client = treefort.client(&keys).await;
    let at = now();
    let signed = |draft: Draft, at| draft.sign(&keys, at).unwrap();
    let (kept, gone) = (note(&keys, "kept \u{e9}\"\\"), note(&keys, "gone"));
    let old = signed(Draft::new(30023).tag(["d", "a"]).content("old"), at - 5);
    let new = signed(Draft::new(30023).tag(["d", "a"]).content("new"), at);
    let wrap = signed(Draft::new(1059).tag(["p", &keys.public_key().to_hex()]), at);
    for event in [&kept, &gone, &old, &new, &wrap, &deletion(&keys, &gone)] {
        assert_eq!(client.send(event).await[2], true);
    }
    let job = client.job(treefort.coordinator(), "instant");
    client.do_job(&job).await;
    treefort.wait_for_no_containers().await;

    // While it runs, it is left alone, and said what to do.
    let file = treefort.home().join("saved.jsonl");
    let name = file.to_str().unwrap();
    for arguments in [
        &["check"][..],
        &["compact"],
        &["export", name],
        &["import", name],
    ] {
        fails(
            &store(treefort.home(), arguments),
            &["running already", "stop it"],
        );
    }
    assert!(!file.exists());
    treefort.terminate();

    let home = treefort.home();
    let said = succeeds(&store(home, &["check"]));
    assert!(said.contains("The record is whole."), "{said}");
    succeeds(&store(home, &["export", name]));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let all = ids(home);
    for (event, there) in [
        (&kept, true),
        (&new, true),
        (&wrap, true),
        (&gone, false),
        (&old, false),
    ] {
        assert_eq!(all.contains(&event.id.to_hex()), there, "{event:?}");
    }
    assert!(
        all.len() > 12,
        "with what treefort says itself: {}",
        all.len()
    );

    let (_place, other) = place();
    let said = succeeds(&store(&other, &["import", name]));
    assert!(
        said.contains(&format!("{} entries taken in", all.len())),
        "{said}"
    );
    assert_eq!(ids(&other), all);
    assert_eq!(checked(&other)["sound"], true);
    // Once more changes nothing, and what was deleted there stays deleted here.
    let said = succeeds(&store(&other, &["import", name]));
    assert!(said.starts_with("0 entries taken in"), "{said}");
    assert!(
        said.contains(&format!("{} entries not taken: there already", all.len())),
        "{said}"
    );
    let said = succeeds(&store_with(&other, &["import", "-"], &lines(&[gone, old])));
    for why in [
        "1 entry not taken: deleted before",
        "1 entry not taken: older than what is there",
    ] {
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(ids(&other), all);

    // The same home, begun anew with what was saved: it goes on, and does no job a second time.
    let asked = model.chats().len();
    std::fs::rename(home.join("events"), home.join("events.old")).unwrap();
    std::fs::remove_dir_all(home.join("state")).unwrap();
    succeeds(&store(home, &["import", name]));
    treefort.up();
    let mut client = treefort.client(&keys).await;
    let stored = client.query(json!({"ids": [kept.id.to_hex()]})).await;
    assert_eq!(stored, [kept]);
    let job = client
        .job(treefort.coordinator(), "instant")
        .tag(["param", "n", "2"]);
    client.do_job(&job).await;
    assert_eq!(model.chats().len(), asked + 1);
    treefort.terminate();
}

#[test]
fn lines_that_are_not_right_are_counted_by_their_reason_and_the_others_taken() {
    let (_place, home) = place();
    let keys = Keys::generate();
    let good = notes(700, 100);
    let forged = |field: &str, value: Value| {
        let mut json: Value = serde_json::from_str(&note(&keys, "x").as_json()).unwrap();
        json[field] = value;
        json.to_string()
    };
    let late = Draft::new(1)
        .tag(["expiration", "1000"])
        .sign(&keys, 900)
        .unwrap();
    let soon = Draft::new(1).sign(&keys, now() + 90_000).unwrap();
    let bad = [
        "nonsense".to_owned(),
        "{}".to_owned(),
        forged("content", json!("another")),
        forged("sig", json!("0".repeat(128))),
        late.as_json(),
        soon.as_json(),
        String::new(),
    ];
    let mut file = lines(&good[..350]);
    file.extend(format!("\n{}\n\u{fffd}\n", bad.join("\n")).into_bytes());
    file.extend(b"\xff\xfe\n");
    file.extend(lines(&good[350..]));
    let output = store_with(&home, &["import", "-"], &file);
    fails(&output, &["7 lines are not right", "line 351"]);
    let said = out(&output);
    for line in [
        "700 entries taken in",
        "4 entries not taken: no entries at all",
        "2 entries not taken: not what was signed",
        "1 entry not taken: expired",
        "1 entry not taken: dated in the future",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    // In their order.
    let exported = succeeds(&store(&home, &["export", "-"]));
    assert_eq!(exported.trim_end().as_bytes(), lines(&good));
    assert_eq!(checked(&home)["sound"], true);
}

#[test]
fn an_import_that_is_killed_has_lost_nothing_and_is_done_again() {
    let (_place, home) = place();
    let events = notes(4000, 300);
    let all = lines(&events);
    let mut whole = 0;
    for share in [0.2, 0.5, 0.9] {
        let mut child = command(&home, &["import", "-"]).spawn().unwrap();
        let part = &all[..(all.len() as f64 * share) as usize];
        child.stdin.as_mut().unwrap().write_all(part).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        child.kill().unwrap();
        child.wait().unwrap();
        let found = checked(&home);
        assert_eq!(found["sound"], true, "{found}");
        let kept = found["entries"].as_u64().unwrap();
        assert!(kept >= whole, "{kept} of {whole}");
        whole = kept;
    }
    assert!(whole > 0, "it was killed before it took anything");
    let said = succeeds(&store_with(&home, &["import", "-"], &all));
    assert!(
        said.contains(&format!("{} entries taken in", 4000 - whole)),
        "{said}"
    );
    assert_eq!(ids(&home).len(), 4000);
}

#[test]
fn what_is_removed_gives_its_room_back() {
    let (_place, home) = place();
    let keys = Keys::generate();
    let mut random = Random::new();
    let removed: Vec<Event> = (0..600)
        .map(|_| {
            // Nothing that could be packed.
            let text: String = (0..1250)
                .map(|_| format!("{:016x}", random.below(u64::MAX)))
                .collect();
            note(&keys, &text)
        })
        .collect();
    let kept = notes(100, 100);
    let deletions: Vec<Event> = removed.iter().map(|event| deletion(&keys, event)).collect();
    for events in [&removed, &kept, &deletions] {
        succeeds(&store_with(&home, &["import", "-"], &lines(events)));
    }
    let before = bytes(&home.join("events"));
    let said = succeeds(&store(&home, &["compact"]));
    let after = bytes(&home.join("events"));
    eprintln!("{before} bytes before, {after} after: {said}");
    // 12 MB were removed.
    assert!(before > 12_000_000 && after < 6_000_000, "{before} {after}");
    assert_eq!(ids(&home).len(), 700);
    assert_eq!(checked(&home)["sound"], true);
}

fn bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap());
    let size = |entry: std::fs::DirEntry| match entry.metadata().unwrap() {
        metadata if metadata.is_dir() => bytes(&entry.path()),
        metadata => std::os::unix::fs::MetadataExt::blocks(&metadata) * 512,
    };
    entries.map(size).sum()
}

#[test]
fn where_there_is_no_record_it_is_said() {
    let (_place, home) = place();
    for arguments in [&["check"][..], &["compact"], &["export", "-"]] {
        fails(&store(&home, arguments), &["there is no record"]);
    }
    let missing = home.join("missing.jsonl");
    let output = store(&home, &["import", missing.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("missing.jsonl"), "{}", err(&output));
}
