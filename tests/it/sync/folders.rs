//! A folder whose rule names no kind: nothing of what was done on it leaves, whatever way the work takes.

use super::*;
use crate::{harness::client::tag, jobs::AT_ONCE, workspace::Fort};

async fn jobs(fort: &Fort) -> Vec<Value> {
    let said = fort.say(&["jobs", "--json"]).await.ok();
    let lines = said.out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_of_a_folder_that_is_kept_nor_of_work_that_goes_on_from_it() {
    let embedded = format!("{AT_ONCE}[sandbox]\nruntime = \"embedded\"\n");
    let mut fort = Fort::start_in(&embedded, &[]).await;
    let foreign = Foreign::start(Manner::default()).await;
    let secret = fort.project.path().to_owned();
    let elsewhere = tempfile::tempdir().unwrap();
    let open = elsewhere.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::write(open.join("b.txt"), "b\n").unwrap();
    let run = ["run", "--agent", "scripted"];
    fort.say(&[&run[..], &["says in the kept folder"]].concat())
        .await
        .ok();
    let first = jobs(&fort).await[0]["id"].as_str().unwrap().to_owned();
    fort.say_in(&open, &[&run[..], &["says in the open one"]].concat())
        .await
        .ok();
    let on = format!("--continue={first}");
    fort.say_in(&open, &[&run[..], &[&on, "says more of it"]].concat())
        .await
        .ok();
    // The rule names a link to the folder.
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    let sync = format!(
        "[[policy.project]]\npath = {link:?}\nkinds = []\n[[stream]]\nname = \"up\"\ndir = \"up\"\n\
         relays = [{:?}]\n",
        foreign.url()
    );
    let begun = json!({"kinds": [4781]});
    let starts = has(&fort.treefort, begun).await;
    assert_eq!(starts.len(), 3);
    let prompts = [
        ("in the kept", false),
        ("in the open", true),
        ("more of it", false),
    ];
    let jobs = jobs(&fort).await;
    let mut leave = BTreeSet::new();
    for (words, leaves) in prompts {
        let said = |job: &&Value| job["prompt"].as_str().unwrap().contains(words);
        let job = jobs.iter().find(said).unwrap();
        let of = |start: &&Event| tag(start, "E").as_deref() == job["id"].as_str();
        let session = starts.iter().find(of).unwrap().pubkey;
        if leaves {
            leave.insert(session);
        }
    }
    set(&mut fort.treefort, &sync);
    until("what may leaves", &fort.treefort, async || {
        let kept = foreign.kept();
        let kinds: BTreeSet<u16> = kept
            .iter()
            .filter(|(event, _)| leave.contains(&event.pubkey))
            .map(|(event, _)| event.kind.as_u16())
            .collect();
        kinds.is_superset(&BTreeSet::from([0, 4781, 4785]))
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let sessions: BTreeSet<_> = starts.iter().map(|start| start.pubkey).collect();
    for (event, raw) in foreign.kept() {
        let of_another = sessions.contains(&event.pubkey) && !leave.contains(&event.pubkey);
        assert!(!of_another, "{raw}");
    }
}
