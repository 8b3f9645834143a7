//! `treefort discard`, `clean` and `open`: what takes room, and how it goes.

use super::*;

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
}

#[tokio::test(flavor = "multi_thread")]
async fn clean_keeps_what_was_not_applied_unless_told_otherwise() {
    let fort = Fort::start().await;
    fort.run("echo x > x; claims edit x; says first").await.ok();
    fort.say(&["apply", "--yes"]).await.ok();
    let applied = fort.copy().await;
    fort.run("echo y > y; claims edit y; says second")
        .await
        .ok();
    let waiting = fort.copy().await;
    assert_ne!(applied, waiting);

    let listed = fort.say(&["clean"]).await.fails(2, "treefort clean --yes");
    assert!(
        listed.out.contains("has changes that you did not apply"),
        "{listed:?}"
    );
    assert!(applied.exists() && waiting.exists());
    fort.say(&["clean", "--yes"]).await.ok();
    assert!(!applied.exists() && waiting.exists());
    fort.say(&["diff", "--stat"]).await.ok();
    let listed = fort.say(&["clean", "--all"]).await;
    assert!(listed.out.contains('×'), "{listed:?}");
    listed.fails(2, "treefort clean --all --yes");
    fort.say(&["clean", "--all", "--yes"]).await.ok();
    assert_eq!(
        (homes(&fort, "workspaces"), homes(&fort, "projects")),
        (0, 0)
    );
    assert_eq!(fort.read("x"), "x\n");
    // It starts anew.
    fort.run("says $(cat x)").await.ok();
}
