//! `kill -9` while an agent works, and while a state is brought back.

use super::*;
use crate::harness::random::Random;

/// The keys of the home that last, with their bytes.
fn keys(fort: &Fort) -> BTreeMap<String, (u32, Vec<u8>)> {
    tree(&fort.treefort.home().join("keys"))
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle_of_a_turn_nothing_of_the_work_is_lost() {
    let mut fort = Fort::start().await;
    let script = "echo said > said; claims edit said; asks read x; echo unsaid > unsaid; lingers";
    let mut client = fort.client().await;
    let job = treefort::nips::Draft::new(5870)
        .tag(["i", script, "text"])
        .tag(["p", &fort.treefort.coordinator().to_hex()])
        .tag(["param", "agent", "scripted"])
        .tag(["param", "workspace", fort.project.path().to_str().unwrap()]);
    let (job, _) = client.publish(&job).await;
    let copy = fort.wait_for_copy("unsaid").await;
    let (worked, kept) = (files(&copy), keys(&fort));
    assert!(!fort.treefort.containers().is_empty());
    fort.treefort.kill();
    fort.treefort.up();

    // The session has its end, after a last state that holds what the agent had not told of.
    let session = kept_session(&fort).await;
    let end = session.last().unwrap();
    assert_eq!(tag(end, "l").unwrap(), "abandoned");
    let last = &session[session.len() - 2];
    assert_eq!(last.kind.as_u16(), 4783);
    assert_eq!(tag(last, "reason").unwrap(), "when treefort was stopped");
    fort.say(&["verify", &end.pubkey.to_hex()]).await.ok();
    let shown = fort
        .say(&["diff", "--stat", "--session", &end.pubkey.to_hex()])
        .await
        .ok();
    assert!(shown.out.contains("unsaid"), "{shown:?}");
    assert_eq!(files(&copy), worked);
    for (path, key) in &kept {
        assert_eq!(keys(&fort).get(path), Some(key), "{path}");
    }
    // The job goes on or ends, once, and its containers go.
    let mut client = fort.client().await;
    client.publish(&fort.treefort.cancellation(&job)).await;
    let ends = crate::harness::audit::endings(&fort.treefort, &mut client, &[job.id]).await;
    assert_eq!(ends.len(), 1);
    fort.treefort.wait_for_no_containers().await;
    // Its copy is one like any other: it can be stepped back in and brought home.
    let session = end.pubkey.to_hex();
    let undone = fort
        .say(&["undo", "1", "--session", &session, "--json"])
        .await
        .ok();
    let undone: Value = serde_json::from_str(&undone.out).unwrap();
    let before = undone["before"].to_string();
    assert!(!copy.join("unsaid").exists() && !copy.join("said").exists());
    fort.say(&["undo", &before, "--session", &session])
        .await
        .ok();
    fort.say(&["apply", &session, "--yes"]).await.ok();
    assert_eq!(fort.read("unsaid"), "unsaid\n");
}

/// The session that was cut off, once it has its end.
async fn kept_session(fort: &Fort) -> Vec<Event> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let sessions = fort.sessions().await.into_values();
        let ended = |records: &Vec<Event>| {
            let last = records.last().unwrap();
            tag(last, "ending").as_deref() == Some("abandoned")
        };
        if let Some(session) = { sessions }.find(ended) {
            return session;
        }
        assert!(
            Instant::now() < deadline,
            "no session was ended as abandoned"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Files that an undo of this test touches.
const FILES: usize = 3000;
/// How often it is cut off.
const CUTS: u64 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle_of_an_undo_the_files_become_one_state_or_the_other() {
    let mut random = Random::new();
    let mut fort = Fort::start().await;
    // Half of the project's files change, a quarter goes, as many are new.
    for number in 0..FILES {
        fort.write(
            &format!("d{}/f{number}", number % 40),
            &format!("mine {number}\n"),
        );
    }
    let script = "i=0; for f in d*/*; do i=$((i + 1)); case $((i % 4)) in 0) rm $f;; 1|2) echo theirs > $f;; esac; \
                  done; mkdir new; for i in $(seq 1 700); do echo $i > new/$i; done; chmod 700 a.txt";
    fort.say(&["run", "--agent", "shell", script]).await.ok();
    let copy = fort.copy().await;
    let (mine, worked) = (files(fort.project.path()), files(&copy));
    assert_ne!(mine, worked);
    let all = fort.say(&["checkpoints", "--json"]).await.ok().json();
    let last = all["checkpoints"].as_array().unwrap().last().unwrap()["number"].to_string();
    // How long one takes, so that the moments lie within.
    let began = Instant::now();
    fort.say(&["undo", "1"]).await.ok();
    let whole = began.elapsed();
    assert_eq!(files(&copy), mine);
    let mut cut_off = 0;
    for cut in 0..CUTS {
        let to = if cut % 2 == 0 { last.as_str() } else { "1" };
        let undoing = fort.begin(&["undo", to]);
        let moment = whole.mul_f64(0.1 + random.below(900) as f64 / 1000.0);
        tokio::time::sleep(moment).await;
        fort.treefort.kill();
        let journal = copy.parent().unwrap().join("restore.json").exists();
        cut_off += u32::from(journal);
        let torn = files(&copy);
        fort.treefort.up();
        fort.say(&["checkpoints"]).await.ok();
        let now = files(&copy);
        let which = [&mine, &worked].iter().position(|state| **state == now);
        eprintln!(
            "cut {cut} after {moment:?} of {whole:?}: in the middle {journal}, torn {}, state {which:?}",
            torn != mine && torn != worked
        );
        assert!(
            which.is_some(),
            "cut {cut} after {moment:?} left neither state"
        );
        // One that had begun is finished, not taken back.
        assert!(
            !journal || which == Some(usize::from(cut % 2 == 0)),
            "cut {cut}"
        );
        let _failed = undoing.await.unwrap();
        fort.say(&["undo", to]).await.ok();
        assert_eq!(
            files(&copy),
            if cut % 2 == 0 {
                worked.clone()
            } else {
                mine.clone()
            }
        );
    }
    eprintln!("{cut_off} of {CUTS} were cut off in the middle");
    assert!(cut_off > 0, "no moment was in the middle of an undo");
    // Every record of an undo that was written verifies.
    fort.sessions().await;
}
