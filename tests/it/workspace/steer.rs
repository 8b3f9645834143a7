//! What an owner says to an agent at work: it stands still and goes on, and is told to do something else.

use treefort::nips::Draft;

use super::*;
use crate::model_server::Behaviour;

/// Writes a line every tenth of a second, fifty times.
const TICKS: &str =
    "i=0; while [ $i -lt 50 ]; do echo $i >> ticks; i=$((i+1)); sleep 0.1; done; says done";

fn lines(copy: &Path) -> usize {
    let ticks = std::fs::read_to_string(copy.join("ticks")).unwrap_or_default();
    ticks.lines().count()
}

/// The labels of the actions that an owner and an agent made with each other, in their order.
fn sorts(records: &[Event]) -> Vec<String> {
    let of = |label: &String| ["pause", "resume", "steer", "message"].contains(&label.as_str());
    records.iter().map(sort).filter(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_agent_stands_still_and_so_does_its_time() {
    let config = format!("{AT_ONCE}[jobs]\ntimeout_s = 14\n");
    let fort = Fort::embedded(&config).await;
    let mut running = fort
        .command(fort.project.path(), &["run", "--agent", "scripted", TICKS])
        .spawn()
        .unwrap();
    let copy = fort.wait_for_copy("ticks").await;
    fort.say(&["pause"]).await.ok();
    // Whoever asked for the job and whoever paused it are gone.
    running.kill().await.unwrap();
    fort.say(&["pause"]).await.ok();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let then = lines(&copy);
    assert!((1..50).contains(&then), "{then}");
    // Longer than the job may take.
    tokio::time::sleep(Duration::from_millis(14_500)).await;
    assert_eq!(lines(&copy), then, "it goes on");
    fort.say(&["resume"]).await.ok();
    let copy_is_done = || lines(&copy) == 50;
    wait("the rest", copy_is_done).await;
    let records = fort.session().await;
    assert_eq!(sorts(&records), ["pause", "resume", "message"]);
    let by = |label: &str| {
        let record = records.iter().find(|record| sort(record) == label);
        tag(record.unwrap(), "by").unwrap()
    };
    assert_eq!(
        (by("pause"), by("resume")),
        ("owner".into(), "owner".into())
    );
    assert_eq!(tag(records.last().unwrap(), "l").unwrap(), "success");
    fort.say(&["resume"]).await.fails(1, "no agent is at work");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_container_stands_still_and_nothing_of_it_stays_after_a_restart() {
    let config = format!("{AT_ONCE}[jobs]\ntimeout_s = 8\n");
    let mut fort = Fort::start_with(&config).await;
    for kill in [true, false] {
        let running = fort.begin(&["run", "--agent", "scripted", TICKS]);
        wait("a container", || !fort.treefort.containers().is_empty()).await;
        let deadline = Instant::now() + PATIENCE;
        while fort.say(&["pause"]).await.code != 0 {
            assert!(Instant::now() < deadline, "it was never at work");
        }
        if kill {
            fort.treefort.kill();
        } else {
            fort.treefort.terminate();
        }
        running.abort();
        fort.treefort.up();
        fort.treefort.wait_for_no_containers().await;
    }
    let running = fort.begin(&[
        "run",
        "--agent",
        "scripted",
        "echo 1 > ticks; sleep 6; says done",
    ]);
    let deadline = Instant::now() + PATIENCE;
    while fort.say(&["pause"]).await.code != 0 {
        assert!(Instant::now() < deadline, "it was never at work");
    }
    fort.say(&["resume"]).await.ok();
    assert_eq!(running.await.unwrap().ok().out, "done\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_job_can_be_taken_back() {
    let fort = Fort::embedded(AT_ONCE).await;
    let mut running = fort
        .command(fort.project.path(), &["run", "--agent", "scripted", TICKS])
        .spawn()
        .unwrap();
    fort.wait_for_copy("ticks").await;
    fort.say(&["pause"]).await.ok();
    let began = Instant::now();
    let pid = rustix::process::Pid::from_raw(running.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    running.wait().await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    let records = fort.session().await;
    assert_eq!(tag(records.last().unwrap(), "ending").unwrap(), "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_undone_while_it_stands_still_it_hears_when_it_goes_on() {
    let fort = Fort::embedded(AT_ONCE).await;
    let script = "case $n in 1) echo bad > a.txt; claims edit a.txt; echo at > work; lingers;; \
                  *) cat a.txt > seen; says went on with $n prompts;; esac";
    let working = fort.begin(&["run", "--agent", "scripted", script]);
    let copy = fort.wait_for_copy("work").await;
    fort.say(&["pause"]).await.ok();
    fort.say(&["undo", "1"]).await.ok();
    // Longer than an agent may take to stop for it.
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(!working.is_finished() && !copy.join("seen").exists());
    fort.say(&["resume"]).await.ok();
    let said = working.await.unwrap().ok();
    assert_eq!(said.out.trim(), "went on with 2 prompts");
    let seen = std::fs::read_to_string(copy.join("seen")).unwrap();
    assert_eq!(seen, "one\ntwo\nthree\n");
}

/// A job that does something, says something, and waits.
const WAITS: &str =
    "case $n in 1) echo half > a.txt; claims edit a.txt; says half; echo at > work; lingers;; esac";

#[tokio::test(flavor = "multi_thread")]
async fn a_steered_agent_keeps_what_it_did_and_goes_on_with_what_it_is_told() {
    let fort = Fort::embedded(AT_ONCE).await;
    let working = fort.begin(&["run", "--agent", "scripted", WAITS]);
    let copy = fort.wait_for_copy("work").await;
    let began = Instant::now();
    fort.say(&["steer", "echo $n > seen; says now $n"])
        .await
        .ok();
    let said = working.await.unwrap().ok();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(said.out, "half\n\nnow 2\n");
    assert_eq!(
        std::fs::read_to_string(copy.join("a.txt")).unwrap(),
        "half\n"
    );
    assert_eq!(std::fs::read_to_string(copy.join("seen")).unwrap(), "2\n");
    let records = fort.session().await;
    assert_eq!(sorts(&records), ["steer", "message", "message"]);
    let at = |wanted: &dyn Fn(&Event) -> bool| records.iter().position(wanted).unwrap();
    let file = at(&|record| tag(record, "path").as_deref() == Some("a.txt"));
    let steer = at(&|record| sort(record) == "steer");
    let seen = at(&|record| tag(record, "path").as_deref() == Some("seen"));
    assert!(file < seen && steer < seen);
    assert_eq!(records[steer].content, "echo $n > seen; says now $n");
    assert_eq!(tag(&records[steer], "by").unwrap(), "owner");
    let said: Vec<&str> = records
        .iter()
        .filter(|record| sort(record) == "message")
        .map(|message| message.content.as_str())
        .collect();
    assert_eq!(said, ["half", "now 2"]);
    // One session, one job, one result.
    let mut client = fort.client().await;
    assert_eq!(fort.results(&mut client).await.len(), 1);
    let timeline = fort.say(&["timeline"]).await.ok();
    assert_eq!(timeline.out.matches("now 2").count(), 1, "{timeline:?}");
    fort.say(&["verify", &records[0].pubkey.to_hex()])
        .await
        .ok();
    fort.say(&["steer", "more"])
        .await
        .fails(1, "ask a follow-up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_in_the_jobs_thread_steers_too_and_one_below_a_job_that_is_over_is_answered() {
    let fort = Fort::embedded(AT_ONCE).await;
    let working = fort.begin(&["run", "--agent", "scripted", WAITS]);
    fort.wait_for_copy("work").await;
    let mut client = fort.client().await;
    let threads = json!({"kinds": [1], "authors": [fort.treefort.coordinator().to_hex()]});
    let root = client.query(threads.clone()).await.remove(0);
    let note = |text: &str| {
        Draft::new(1)
            .tag(["e", &root.id.to_hex(), "", "root"])
            .tag(["p", &root.pubkey.to_hex()])
            .content(text)
    };
    // Somebody else's note is nothing to it.
    let stranger = nostr::Keys::generate();
    let mut other = fort.treefort.client(&stranger).await;
    other.publish(&note("says from a stranger")).await;
    let (note, said_at) = (
        client.publish(&note("says from a note")).await.0,
        Instant::now(),
    );
    let steered = json!({"kinds": [4782], "#l": ["steer"]});
    let steer = loop {
        match client.query(steered.clone()).await.pop() {
            Some(steer) => break steer,
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        assert!(said_at.elapsed() < Duration::from_secs(2));
    };
    assert_eq!(tag(&steer, "note").unwrap(), note.id.to_hex());
    assert_eq!(working.await.unwrap().ok().out, "half\n\nfrom a note\n");

    fort.session().await;
    let late = Draft::new(1)
        .tag(["e", &root.id.to_hex(), "", "root"])
        .content("and now?");
    let late = client.publish(&late).await.0;
    let deadline = Instant::now() + PATIENCE;
    let answer = loop {
        let notes = client.query(threads.clone()).await;
        let quotes = |note: &&Event| tag(note, "q") == Some(late.id.to_hex());
        if let Some(answer) = notes.iter().find(quotes) {
            break answer.clone();
        }
        assert!(Instant::now() < deadline, "it was never answered");
    };
    assert!(answer.content.contains("ask a follow-up"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_withdrawn_and_a_pause_ends_when_the_agent_is_steered() {
    let fort = Fort::embedded(AT_ONCE).await;
    let script = "case $n in 1) asks edit a; echo $told > told;; esac";
    let working = fort.begin(&["run", "--agent", "scripted", "--ask", script]);
    fort.questions(1).await;
    fort.say(&["pause"]).await.ok();
    fort.say(&["steer", "says $(cat told)"]).await.ok();
    assert_eq!(working.await.unwrap().ok().out, "cancelled\n");
    let records = fort.session().await;
    assert_eq!(sorts(&records), ["pause", "resume", "steer", "message"]);
    let answer = records.iter().find(|it| sort(it) == "answer").unwrap();
    assert_eq!(tag(answer, "by").unwrap(), "policy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_stands_still_and_cannot_be_told_anything() {
    let fort = Fort::embedded(AT_ONCE).await;
    let script = "echo 1 > ticks; sleep 6; echo done";
    let working = fort.begin(&["run", "--agent", "shell", script]);
    fort.wait_for_copy("ticks").await;
    fort.say(&["steer", "hurry"])
        .await
        .fails(1, "a command cannot be told anything");
    fort.say(&["pause"]).await.ok();
    fort.say(&["resume"]).await.ok();
    assert_eq!(working.await.unwrap().ok().out, "done\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_steered_in_the_middle_of_an_answer() {
    let fort = Fort::embedded(AT_ONCE).await;
    fort.model
        .then(Behaviour::Slow(600, Duration::from_millis(100)));
    let working = fort.begin(&["run", "count to a thousand"]);
    let deadline = Instant::now() + PATIENCE;
    while fort.say(&["steer", "only to three"]).await.code != 0 {
        assert!(Instant::now() < deadline, "it was never at work");
    }
    let said = working.await.unwrap().ok();
    assert!(said.out.contains("answer: only to three"), "{said:?}");
    let records = fort.session().await;
    assert!(sorts(&records).contains(&"steer".to_owned()));
}
