//! What a person reads: the commands' outputs, whole.

use super::*;

/// An output without what differs from run to run.
fn steady(fort: &Fort, text: &str) -> String {
    let text = anstream::adapter::strip_str(text).to_string();
    let text = text.replace(fort.project.path().to_str().unwrap(), "/home/me/shop");
    let lines = text.lines().map(|line| {
        let words = [
            "just now",
            "1 second ago",
            "2 seconds ago",
            "3 seconds ago",
            "4 seconds ago",
            "5 seconds ago",
            "6 seconds ago",
            "7 seconds ago",
            "8 seconds ago",
            "9 seconds ago",
        ];
        let word = words.into_iter().find(|word| line.contains(word));
        match word {
            Some(word) => line.replace(&format!("{word:>14}"), "        WHEN  "),
            None => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_and_what_comes_after_it_read_well() {
    let fort = Fort::start().await;
    let script = "echo four >> a.txt; claims edit a.txt; sleep 1; rm src/b.txt; mkdir node_modules; echo d > node_modules/d; \
                  echo run > .envrc; claims execute tidy; says All done.";
    let ran = fort.run(script).await.ok();
    assert_eq!(ran.out, "All done.\n");
    let summary = ran
        .err
        .split_once("\n\n")
        .map_or(ran.err.as_str(), |(_, summary)| summary);
    insta::assert_snapshot!(steady(&fort, summary), @"");
    let listed = fort.say(&["checkpoints"]).await.ok();
    insta::assert_snapshot!(steady(&fort, &listed.out), @"");
    let stat = fort.say(&["diff", "--stat"]).await.ok();
    insta::assert_snapshot!(steady(&fort, &stat.out), @"");
    let whole = fort.say(&["diff", "1", "2"]).await.ok();
    insta::assert_snapshot!(steady(&fort, &whole.out), @"");
    fort.write("a.txt", "mine\n");
    let looked = fort.say(&["apply"]).await;
    insta::assert_snapshot!(steady(&fort, &looked.out), @"");
    insta::assert_snapshot!(steady(&fort, &looked.err), @"");
    let conflict = fort.say(&["apply", "--yes"]).await;
    insta::assert_snapshot!(steady(&fort, &conflict.err), @"");
    let taken = fort.say(&["apply", "--take-back"]).await.ok();
    insta::assert_snapshot!(steady(&fort, &taken.out), @"");
    let undone = fort.say(&["undo", "1"]).await.ok();
    insta::assert_snapshot!(steady(&fort, &format!("{}{}", undone.out, undone.err)), @"");
    let listed = fort.say(&["checkpoints"]).await.ok();
    insta::assert_snapshot!(steady(&fort, &listed.out), @"");
}
