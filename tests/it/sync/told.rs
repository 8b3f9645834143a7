//! What the owner is told: enough to judge what would leave, what has left, and what to do when nothing can.

use super::*;

fn said(output: &std::process::Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// A command that fails, with what it says.
async fn fails(treefort: &Treefort, command: &[&str], code: i32) -> String {
    let output = treefort.command(command).await;
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(code), "{command:?} {out} {err}");
    format!("{out}{err}")
}

/// A command that succeeds, with what it prints.
async fn prints(treefort: &Treefort, command: &[&str]) -> String {
    let output = treefort.command(command).await;
    let (out, err) = said(&output);
    assert!(output.status.success(), "{command:?} {out} {err}");
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_is_judged_by_its_words_named_by_a_prefix_and_listed_afterwards() {
    let model = ModelServer::start().await;
    let foreign = Foreign::start(Manner::default()).await;
    let treefort = treefort(&model, &stream("up", &[foreign.url()])).await;
    let operator = treefort.operator();
    let note = Draft::new(1)
        .tag(["subject", "a tag to judge"])
        .content("the first line\nthe second\u{1b}[2J line")
        .sign(&operator, now())
        .unwrap();
    give(
        &mut treefort.client(&operator).await,
        std::slice::from_ref(&note),
    )
    .await;
    let id = note.id.to_hex();
    let (few, shown) = (&id[..7], &id[..12]);
    assert!(
        fails(&treefort, &["publish", few], 1)
            .await
            .contains("8 digits")
    );
    let nothing = "0123456789ab";
    let unknown = fails(&treefort, &["publish", nothing], 1).await;
    assert!(unknown.contains("nothing called"), "{unknown}");
    let short = fails(&treefort, &["publish", shown], 2).await;
    assert!(short.contains("| the first line\n"), "{short}");
    assert!(!short.contains("the second"), "{short}");
    let long = fails(&treefort, &["publish", shown, "--verbose"], 2).await;
    for part in [
        r#"["subject","a tag to judge"]"#,
        "| the first line\n",
        r"| the second\u{1b}[2J line",
    ] {
        assert!(long.contains(part), "{part}: {long}");
    }
    let json = told(&treefort, &["publish", shown, "--json"]).await;
    assert_eq!(json["goes"][0]["event"]["content"], note.content);

    prints(&treefort, &["publish", &id[..8].to_uppercase(), "--yes"]).await;
    let secret = Draft::new(4780)
        .content("token ghp_16C7e42F292c6912E7710c838347Ae178B4a")
        .sign(&operator, now())
        .unwrap();
    give(
        &mut treefort.client(&operator).await,
        &[recipe(&operator, 1), secret],
    )
    .await;
    until("both arrive", &treefort, async || foreign.count() == 2).await;
    until("that is noted", &treefort, async || {
        let status = told(&treefort, &["sync", "--json"]).await;
        status["relays"][0]["tally"]["sent"] == 2
    })
    .await;
    let status = told(&treefort, &["sync", "--json"]).await;
    let left = status["relays"][0]["left"].as_array().unwrap();
    assert!(
        left.iter()
            .any(|one| one["id"] == id && one["is"] == "sent"),
        "{left:?}"
    );
    let (plain, list) = (
        prints(&treefort, &["sync"]).await,
        prints(&treefort, &["sync", "--list"]).await,
    );
    assert!(!plain.contains(shown), "{plain}");
    let line = list.lines().find(|line| line.contains(shown)).unwrap();
    assert!(line.contains("sent") && line.ends_with("a note"), "{line}");
    // The same numbers in the same words.
    let preview = prints(&treefort, &["sync", "preview"]).await;
    assert!(plain.contains("  2 sent") && preview.contains("until now: 2 sent"));
    assert!(!preview.contains("ghp_"), "{preview}");
    prints(&treefort, &["unpublish", shown, "--yes"]).await;
    until("it is asked back", &treefort, async || foreign.count() == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_shared_stays_visible_whatever_the_settings_say_now() {
    let model = ModelServer::start().await;
    let foreign = Foreign::start(Manner::default()).await;
    let mut treefort = treefort(&model, &stream("up", &[foreign.url()])).await;
    prints(&treefort, &["run", "hello"]).await;
    let start = has(&treefort, json!({"kinds": [4781]})).await.remove(0);
    let jobs = told(&treefort, &["jobs", "--json"]).await;
    let session = start.pubkey.to_hex();
    assert_eq!(jobs["session"], session);
    let look = ["purge", &session, "--json"];
    let before = told(&treefort, &look).await;
    assert_eq!(
        (&before["shared"], &before["relays"]),
        (&json!(0), &json!(0))
    );
    prints(&treefort, &["publish", &session[..8], "--yes"]).await;
    until("it leaves", &treefort, async || foreign.has(&start.id)).await;
    until("that is noted", &treefort, async || {
        told(&treefort, &look).await["shared"].as_u64() > Some(2)
    })
    .await;
    assert_eq!(told(&treefort, &look).await["relays"], 1);
    let preview = fails(&treefort, &["purge", &session[..8]], 2).await;
    let first = format!(
        "`treefort unpublish {}` first asks for them back",
        &session[..8]
    );
    assert!(preview.contains(&first), "{preview}");
    assert!(preview.contains("shared with 1 relay"), "{preview}");

    // The file changes under a running program, which says so.
    let file = treefort.home().join("sync.toml");
    assert_eq!(told(&treefort, &["sync", "--json"]).await["changed"], false);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(told(&treefort, &["sync", "--json"]).await["changed"], true);
    let changed = prints(&treefort, &["sync"]).await;
    assert!(changed.contains("start it again"), "{changed}");
    treefort.terminate();
    treefort.up();
    let off = prints(&treefort, &["sync"]).await;
    let url = foreign.url();
    for part in ["off: nothing leaves", &url, " sent", "unpublish"] {
        assert!(off.contains(part), "{part}: {off}");
    }
    let back = fails(&treefort, &["unpublish", &session, "--yes"], 1).await;
    assert!(back.contains(&url) && back.contains("sync.toml"), "{back}");
    assert!(back.contains("start treefort again"), "{back}");
    std::fs::write(&file, stream("up", std::slice::from_ref(&url))).unwrap();
    for command in [
        &["sync"][..],
        &["publish", &session, "--yes"],
        &["unpublish", &session, "--yes"],
    ] {
        let (out, err) = said(&treefort.command(command).await);
        let both = out + &err;
        assert!(both.contains("changed since treefort started"), "{both}");
        assert!(!both.contains("names no relay"), "{both}");
    }

    // Nobody to share with: what is missing is said.
    set(&mut treefort, &stream("down", &[url]));
    let nobody = fails(&treefort, &["publish", &session], 1).await;
    assert!(
        nobody.contains("no stream in sync.toml goes up") && nobody.contains("dir = \"up\""),
        "{nobody}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_is_said_with_the_reason_and_the_next_step() {
    let model = ModelServer::start().await;
    let foreign = Foreign::start(Manner::default()).await;
    let treefort = treefort(&model, &stream("up", &[foreign.url()])).await;
    let operator = treefort.operator();
    let secret = Draft::new(1)
        .content("token ghp_16C7e42F292c6912E7710c838347Ae178B4a")
        .sign(&operator, now())
        .unwrap();
    give(
        &mut treefort.client(&operator).await,
        std::slice::from_ref(&secret),
    )
    .await;
    let stays = fails(&treefort, &["publish", &secret.id.to_hex(), "--yes"], 1).await;
    for part in [
        "1 event stays: it seems to hold a password or key\n",
        "→ if it is a real password or key, change it",
        "none of it can leave",
    ] {
        assert!(stays.contains(part), "{part}: {stays}");
    }
    assert!(!stays.contains("ghp_"), "{stays}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_the_settings_is_said_in_plain_words_and_with_the_code_that_is_promised() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_in(&model, &[], "", &[NO_DOCKER]);
    treefort.terminate();
    let file = treefort.home().join("sync.toml");
    std::fs::write(&file, "[policy]\nkinds = 1\n").unwrap();
    let wrong = fails(&treefort, &["jobs"], 2).await;
    assert!(
        wrong.contains("line 2")
            && wrong.contains("expected a list")
            && !wrong.contains("sequence"),
        "{wrong}"
    );
    let help = prints(&treefort, &["--help"]).await;
    let code = "the command line, or a settings file, is wrong";
    assert!(help.contains(&format!("2  {code}")), "{help}");
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
    assert!(readme.unwrap().contains(&format!("| 2 | {code} |")));
}
