//! An earlier state comes back: under an agent at work, while its session waits, and after its end.

use super::*;

/// The session that was an owner's own undo.
async fn of_undo(fort: &Fort) -> Vec<Event> {
    let sessions = fort.sessions().await.into_values();
    let mut undone: Vec<_> = sessions
        .filter(|records| tag(&records[0], "role").as_deref() == Some("undo"))
        .collect();
    assert_eq!(undone.len(), 1);
    undone.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_end_an_undo_and_its_undo_are_byte_for_byte_and_on_record() {
    let fort = Fort::start().await;
    // Rights, links, empty folders, names that no shell likes; what no checkpoint covers stays and is named.
    let script = "printf x > a.txt; rm -r src; mkdir -p empty/deep; ln -s /etc/passwd out; chmod 700 a.txt; \
                  mkfifo pipe; mkdir node_modules; echo dep > node_modules/dep; claims execute all; says done";
    fort.run(script).await.ok();
    let copy = fort.copy().await;
    let worked = files(&copy);
    let mine = files(fort.project.path());
    assert_ne!(worked.get("a.txt"), mine.get("a.txt"));

    let undone = fort.say(&["undo", "1", "--json"]).await.ok().json();
    let kept: Vec<&str> = undone["uncovered"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| path.as_str().unwrap())
        .collect();
    assert!(
        kept.iter().any(|path| path.starts_with("pipe (no file")),
        "{kept:?}"
    );
    assert!(
        kept.iter().any(|path| path.starts_with("node_modules")),
        "{kept:?}"
    );
    let mut back = files(&copy);
    assert_eq!(back.remove("node_modules/dep").unwrap().1, b"dep\n");
    back.remove("node_modules");
    back.remove("pipe");
    assert_eq!(back, mine);

    let records = of_undo(&fort).await;
    let kinds: Vec<u16> = records.iter().map(|record| record.kind.as_u16()).collect();
    // The state before it is on the agent's own record already.
    assert_eq!(kinds, [4781, 4782, 4783, 4785]);
    assert_eq!(sort(&records[1]), "undo");
    assert_eq!(tag(&records[1], "to").unwrap(), "1");
    assert_eq!(tag(&records[1], "tree"), tag(&records[2], "tree"));
    fort.say(&["verify", &records[0].pubkey.to_hex()])
        .await
        .ok();

    let before = undone["before"].to_string();
    fort.say(&["undo", &before]).await.ok();
    assert_eq!(files(&copy), worked, "the undo of the undo");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_change_goes_alone_and_a_state_that_is_none_is_named() {
    let fort = Fort::start().await;
    fort.run(
        "echo 1 > one; claims edit one; asks read x; echo 2 > two; claims edit two; says done",
    )
    .await
    .ok();
    let copy = fort.copy().await;
    fort.say(&["undo", "--last"]).await.ok();
    assert!(copy.join("one").exists() && !copy.join("two").exists());
    // Twice is two steps back, and then there is no further one.
    fort.say(&["undo", "--last"]).await.ok();
    assert!(!copy.join("one").exists() && !copy.join("two").exists());
    fort.say(&["undo", "--last"])
        .await
        .fails(1, "there is nothing to undo");
    fort.say(&["undo", "99"])
        .await
        .fails(1, "there is no checkpoint 99: there are checkpoints 1 to ");
    fort.say(&["undo", "first"])
        .await
        .fails(2, "is no checkpoint");
    fort.say(&["undo"]).await.fails(2, "");
    let nowhere = tempfile::tempdir().unwrap();
    fort.say_in(nowhere.path(), &["undo", "--last"])
        .await
        .fails(1, "no agent has worked on this folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn under_an_agent_at_work_it_stops_is_told_and_goes_on() {
    let fort = Fort::start().await;
    let script = "case $n in 1) echo bad > a.txt; claims edit a.txt; echo at > work; lingers;; \
                  *) cat a.txt > seen; says went on with $n prompts;; esac";
    let working = fort.begin(&["run", "--agent", "scripted", script]);
    let copy = fort.wait_for_copy("work").await;
    let undone = fort.say(&["undo", "1"]).await.ok();
    assert!(undone.out.contains("checkpoint 1 is back"), "{undone:?}");
    let said = working.await.unwrap().ok();
    assert_eq!(said.out.trim(), "went on with 2 prompts");
    // It saw what was brought back, and its own work before is gone.
    assert_eq!(
        std::fs::read_to_string(copy.join("seen")).unwrap(),
        "one\ntwo\nthree\n"
    );
    assert!(!copy.join("work").exists());
    // It was told: first to stop, then what happened.
    let journals = fort.journals();
    let cancel = journals
        .find("\"session/cancel\"")
        .expect("it was told to stop");
    let told = journals
        .find("The owner brought the files in /workspace back")
        .expect("it was told why");
    assert!(cancel < told);

    // One session, one record that verifies, with the undo between its own states; and one result.
    let sessions = fort.sessions().await;
    assert_eq!(sessions.len(), 1);
    let records = fort.session().await;
    let at = records
        .iter()
        .position(|record| sort(record) == "undo")
        .unwrap();
    assert!(!of_kind(&records[..at], 4783).is_empty());
    assert_eq!(records[at + 1].kind.as_u16(), 4783);
    let last = records.last().unwrap();
    assert_eq!(tag(last, "l").unwrap(), "success");
    fort.say(&["verify", &last.pubkey.to_hex()]).await.ok();
    let mut client = fort.client().await;
    assert_eq!(fort.results(&mut client).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_says_much_before_it_stops_goes_on_too() {
    let fort = Fort::start().await;
    // More than waits for a reader.
    let script = "case $n in 1) echo at > work; claims edit work; lingers; long=$(head -c 40000 /dev/zero | tr -c x x); \
                  for i in 1 2 3 4 5 6 7 8; do says $long; done;; *) says went on;; esac";
    let working = fort.begin(&["run", "--agent", "scripted", script]);
    fort.wait_for_copy("work").await;
    fort.say(&["undo", "1"]).await.ok();
    assert_eq!(working.await.unwrap().ok().out.trim(), "went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_not_stop_for_it_is_ended() {
    let fort = Fort::start().await;
    let working = fort.begin(&[
        "run",
        "--agent",
        "scripted",
        "echo bad > a.txt; claims edit a.txt; echo at > work; deaf",
    ]);
    let copy = fort.wait_for_copy("work").await;
    fort.say(&["undo", "1"]).await.ok();
    working
        .await
        .unwrap()
        .fails(1, "went on although its files were brought back");
    assert_eq!(
        std::fs::read_to_string(copy.join("a.txt")).unwrap(),
        "one\ntwo\nthree\n"
    );
    fort.treefort.wait_for_no_containers().await;
    let records = fort.session().await;
    assert_eq!(records.last().unwrap().kind.as_u16(), 4785);
    assert_eq!(tag(records.last().unwrap(), "l").unwrap(), "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_all_the_time_is_brought_back_whole() {
    let fort = Fort::start().await;
    let script = "case $n in 1) touch begun; (while :; do echo more >> a.txt; echo y > f$(date +%s); rm -f src/b.txt; done) & \
                  claims execute x; sleep 1; lingers; kill $!;; *) says calm;; esac";
    let working = fort.begin(&["run", "--agent", "scripted", script]);
    let copy = fort.wait_for_copy("begun").await;
    wait("it to write", || !copy.join("src/b.txt").exists()).await;
    fort.say(&["undo", "1"]).await.ok();
    assert_eq!(working.await.unwrap().ok().out.trim(), "calm");
    // It stood still meanwhile: the state after the undo is the one that was asked for.
    let records = fort.session().await;
    let at = records
        .iter()
        .position(|record| sort(record) == "undo")
        .unwrap();
    let states = of_kind(&records, 4783);
    let (first, before) = (tag(states[0], "tree"), tag(&records[at - 1], "tree"));
    assert_ne!(before, first);
    assert_eq!(tag(&records[at + 1], "tree"), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hears_nothing_goes_with_its_container_when_its_job_is_withdrawn() {
    let fort = Fort::start().await;
    let script = "echo at > work; claims edit work; deaf";
    let said = fort
        .say(&["run", "--agent", "scripted", "--timeout", "15", script])
        .await;
    assert_eq!(said.code, 1, "{said:?}");
    fort.treefort.wait_for_no_containers().await;
    let records = fort.session().await;
    assert_eq!(tag(records.last().unwrap(), "ending").unwrap(), "cancelled");
    let mut client = fort.client().await;
    assert!(fort.results(&mut client).await.is_empty());
    assert!(fort.copy().await.join("work").exists(), "its work is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_its_session_waits_the_agent_is_told_with_its_next_prompt() {
    let fort = Fort::start_with("[sessions]\nidle_s = 60\nwarm = 0\n").await;
    fort.run("echo x > x; claims edit x; says one").await.ok();
    let copy = fort.copy().await;
    fort.say(&["undo", "1"]).await.ok();
    assert!(!copy.join("x").exists());
    let said = fort
        .say(&["run", "--continue", "ls > listed; says prompt $n"])
        .await
        .ok();
    // The same container heard both.
    assert_eq!(said.out.trim(), "prompt 2");
    let listed = std::fs::read_to_string(copy.join("listed")).unwrap();
    assert_eq!(listed, "a.txt\nlisted\nsrc\n");
    let journals = fort.journals();
    assert!(
        journals
            .contains("brought the files in /workspace back to an earlier state (checkpoint 1)")
    );
    // On the session's own record, not on one of its own.
    assert_eq!(fort.sessions().await.len(), 1);
    assert!(
        fort.session()
            .await
            .iter()
            .any(|record| sort(record) == "undo")
    );
}
