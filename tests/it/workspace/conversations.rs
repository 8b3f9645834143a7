//! Conversations go on, on the same files, with the same agent.

use treefort::nips::Draft;

use super::*;
use crate::jobs::{error, statuses};

fn workspaces(fort: &Fort) -> usize {
    std::fs::read_dir(fort.treefort.home().join("workspaces"))
        .unwrap()
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn they_go_on_in_the_same_copy_after_the_end_and_after_a_restart() {
    let mut fort = Fort::start().await;
    fort.run("echo one > log; claims edit log; says first")
        .await
        .ok();
    let copy = fort.copy().await;
    let said = fort
        .say(&[
            "run",
            "--continue",
            "echo two >> log; claims edit log; says second of $n",
        ])
        .await
        .ok();
    // Another container, with what was said before in front of its prompt.
    assert_eq!(said.out.trim(), "second of 1");
    assert!(fort.journals().contains("What was said before"));
    assert_eq!(
        std::fs::read_to_string(copy.join("log")).unwrap(),
        "one\ntwo\n"
    );
    fort.treefort.terminate();
    fort.treefort.up();
    fort.say(&[
        "run",
        "--continue",
        "echo three >> log; claims edit log; says third",
    ])
    .await
    .ok();
    assert_eq!(
        std::fs::read_to_string(copy.join("log")).unwrap(),
        "one\ntwo\nthree\n"
    );
    assert_eq!(workspaces(&fort), 1);
    assert_eq!(fort.copy().await, copy);
    let sessions = fort.sessions().await;
    assert_eq!(sessions.len(), 3);
    let id = copy
        .parent()
        .unwrap()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap();
    for records in sessions.values() {
        assert_eq!(tag(&records[0], "workspace").unwrap(), id);
        assert_eq!(tag(&records[0], "adapter").unwrap(), "scripted");
        fort.say(&["verify", &records[0].pubkey.to_hex()])
            .await
            .ok();
    }
    // All of it is one way home, and one way back.
    let stat = fort.say(&["diff", "--stat"]).await.ok();
    assert!(stat.out.contains("log  +3"), "{stat:?}");
    fort.say(&["apply", "--yes"]).await.ok();
    assert_eq!(fort.read("log"), "one\ntwo\nthree\n");
    // A new conversation is a new copy, with what came home.
    fort.run("wc -l < log > lines; says fresh").await.ok();
    assert_eq!(workspaces(&fort), 2);
    assert_eq!(
        std::fs::read_to_string(fort.copy().await.join("lines")).unwrap(),
        "3\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn in_an_open_session_the_same_container_goes_on() {
    let fort = Fort::start_with("[sessions]\nidle_s = 60\nwarm = 0\n").await;
    fort.run("echo one > log; claims edit log; says $n")
        .await
        .ok();
    let said = fort
        .say(&[
            "run",
            "--continue",
            "echo two >> log; claims edit log; says $n",
        ])
        .await
        .ok();
    assert_eq!(said.out.trim(), "2");
    assert_eq!(fort.sessions().await.len(), 1);
    assert_eq!(workspaces(&fort), 1);
    let discarding = fort.say(&["discard", "--yes"]).await;
    discarding.fails(1, "an agent still works on this copy");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_of_a_session_that_the_agent_does_not_begin() {
    let mut fort = Fort::start().await;
    fort.write("refuses", "");
    fort.run("says hi").await.fails(1, "not today");
    fort.treefort.wait_for_no_containers().await;
    wait("its copy to go", || workspaces(&fort) == 0).await;
    fort.treefort.terminate();
    let state = treefort::store::state::State::open(&fort.treefort.home().join("state")).unwrap();
    assert!(state.open_sessions().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_session_leaves_for_one_that_goes_on_with_its_files() {
    let fort = Fort::start_with("[sessions]\nidle_s = 60\nwarm = 0\n").await;
    fort.run("echo one > log; claims edit log; says $n")
        .await
        .ok();
    // Another agent cannot go on in the open session, and has the files all the same.
    let said = fort
        .say(&[
            "run",
            "--continue",
            "--agent",
            "shell",
            "echo two >> log; cat log",
        ])
        .await
        .ok();
    assert_eq!(said.out, "one\ntwo\n");
    assert_eq!(workspaces(&fort), 1);
    let discarding = fort.say(&["discard", "--yes"]).await;
    discarding.ok();
    assert_eq!(workspaces(&fort), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_go_on_with_the_same_files_at_once_one_does() {
    let fort = Fort::start().await;
    fort.run("echo one > log; claims edit log; says first")
        .await
        .ok();
    let copy = fort.copy().await;
    let mut client = fort.client().await;
    let result = fort.results(&mut client).await.remove(0);
    let script = "echo more >> log; claims edit log; sleep 8; says done";
    let job = |number: &str| {
        Draft::new(5870)
            .tag(["i", script, "text"])
            .tag(["p", &fort.treefort.coordinator().to_hex()])
            .tag(["e", &result.id.to_hex()])
            .tag(["param", "agent", "scripted"])
            .tag(["param", "number", number])
    };
    let mut other = fort.client().await;
    let (one, two) = (job("1"), job("2"));
    let (one, two) = tokio::join!(client.do_job(&one), other.do_job(&two));
    let (done, refused): (Vec<_>, Vec<_>) = [one.1, two.1]
        .into_iter()
        .partition(|answers| statuses(answers).last().unwrap() == "success");
    assert_eq!((done.len(), refused.len()), (1, 1), "{done:?} {refused:?}");
    let (code, sentence) = error(&refused[0]);
    assert_eq!(code, "workspace");
    assert!(
        sentence.contains("another session works on this copy"),
        "{sentence}"
    );
    // The one that was refused left the files alone.
    assert_eq!(
        std::fs::read_to_string(copy.join("log")).unwrap(),
        "one\nmore\n"
    );
    assert_eq!(workspaces(&fort), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_session_that_changed_nothing_is_passed_over_and_that_is_said() {
    let fort = Fort::embedded(AT_ONCE).await;
    fort.run("echo one > log; says first").await.ok();
    let copy = fort.copy().await;
    let first = copy.parent().unwrap().file_name().unwrap();
    let first = first.to_str().unwrap();
    let alone = fort.say(&["diff", "--stat"]).await.ok();
    assert!(!alone.err.contains("passed over"), "{alone:?}");
    fort.run("says second").await.ok();
    let passed = fort.say(&["diff", "--stat"]).await.ok();
    assert!(passed.out.contains("log  +1"), "{passed:?}");
    assert!(
        passed.err.contains("passed over") && passed.err.contains("1 newer session"),
        "{passed:?}"
    );
    // A session in the place of a checkpoint is that session, from any folder.
    let elsewhere = tempfile::tempdir().unwrap();
    let named = ["diff", "--stat", &first[..8]];
    let named = fort.say_in(elsewhere.path(), &named).await.ok();
    assert!(named.out.contains("log  +1"), "{named:?}");
    assert!(!named.err.contains("passed over"), "{named:?}");
}
