//! `treefort discard`, `clean` and `open`: what takes room, and how it goes.

use treefort::nips::Draft;

use super::*;
use crate::jobs::error;

fn homes(fort: &Fort, name: &str) -> usize {
    std::fs::read_dir(fort.treefort.home().join(name)).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discarded_copy_is_gone_with_its_checkpoints() {
    let fort = Fort::start().await;
    fort.say(&["open"])
        .await
        .fails(1, "no agent has worked on this folder");
    fort.say(&["discard", "--yes"])
        .await
        .fails(1, "no agent has worked on this folder");
    // Rights that keep others out do not keep it from going.
    fort.run("echo x > x; mkdir -p d/e; echo y > d/e/y; chmod 000 d/e; chmod 000 d; claims edit x; says ok").await.ok();
    let copy = fort.copy().await;
    assert!(copy.starts_with(fort.treefort.home().join("workspaces")) && copy.join("x").exists());
    let below = fort.say_in(&fort.path("src"), &["open"]).await.ok();
    assert_eq!(Path::new(below.out.trim_end()), copy);
    fort.say(&["discard"])
        .await
        .fails(2, "treefort discard --yes");
    assert!(copy.exists());
    let mine = tree(fort.project.path());
    fort.say(&["discard", "--yes"]).await.ok();
    assert!(!copy.parent().unwrap().exists());
    assert_eq!(tree(fort.project.path()), mine);
    for arguments in [
        &["open"][..],
        &["diff"],
        &["checkpoints"],
        &["undo", "1"],
        &["apply", "--yes"],
    ] {
        fort.say(arguments)
            .await
            .fails(1, "no agent has worked on this folder");
    }
    // Its record stays.
    let session = fort.session().await.remove(0).pubkey.to_hex();
    fort.say(&["verify", &session]).await.ok();
    // A program hears in a word of its own that it was deleted, or that there never was one.
    let mut client = fort.client().await;
    let strange = nostr::Keys::generate().public_key().to_hex();
    for (session, word) in [(session, "gone"), (strange, "no-copy")] {
        let task = Draft::new(5871)
            .tag(["i", "diff", "text"])
            .tag(["p", &fort.treefort.coordinator().to_hex()])
            .tag(["param", "session", &session]);
        let (_, answers) = client.do_job(&task).await;
        assert_eq!(error(&answers).0, word);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clean_keeps_what_was_not_applied_unless_told_otherwise() {
    let mut fort = Fort::start().await;
    // An image that no other test uses.
    let note = fort.treefort.home_id();
    fort.treefort.terminate();
    agent::install(fort.treefort.home(), &note);
    fort.treefort.up();
    fort.run("echo x > x; claims edit x; says first").await.ok();
    fort.say(&["apply", "--yes"]).await.ok();
    let applied = fort.copy().await;
    fort.run("echo y > y; claims edit y; says second")
        .await
        .ok();
    let waiting = fort.copy().await;
    assert_ne!(applied, waiting);

    let known = entries(&fort);
    fort.run("says only looked").await.ok();
    let mut new = entries(&fort);
    new.retain(|copy| !known.contains(copy));
    let [looked] = new.as_slice() else {
        panic!("{new:?}")
    };
    // What is meant without a name is the last work, and not the last look.
    assert_eq!(fort.copy().await, waiting);

    let listed = fort.say(&["clean"]).await.fails(2, "treefort clean --yes");
    assert_eq!(
        listed.out.matches("has work in it").count(),
        2,
        "{listed:?}"
    );
    assert!(applied.exists() && waiting.exists() && looked.exists());
    fort.say(&["clean", "--yes"]).await.ok();
    // What was applied can still be taken back.
    assert!(applied.exists() && waiting.exists() && !looked.exists());
    fort.say(&["diff", "--stat"]).await.ok();
    let listed = fort.say(&["clean", "--all"]).await;
    assert!(listed.out.contains("treefort/scripted:"), "{listed:?}");
    listed.fails(2, "treefort clean --all --yes");
    fort.say(&["clean", "--all", "--yes"]).await.ok();
    assert_eq!(
        (homes(&fort, "workspaces"), homes(&fort, "projects")),
        (0, 0)
    );
    assert_eq!(fort.read("x"), "x\n");
    let listed = fort.say(&["clean", "--all"]).await.ok();
    assert!(listed.out.contains("there are no copies"), "{listed:?}");
    assert!(!listed.out.contains("treefort/scripted:"), "{listed:?}");
    // It starts anew.
    fort.run("says $(cat x)").await.ok();
}

/// The folders of all copies.
fn entries(fort: &Fort) -> Vec<PathBuf> {
    std::fs::read_dir(fort.treefort.home().join("workspaces"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}
