//! What a person reads: the commands' outputs, whole.

use super::*;

/// An output without what differs from run to run.
fn steady(fort: &Fort, text: &str) -> String {
    let text = anstream::adapter::strip_str(text).to_string();
    let text = text.replace(fort.project.path().to_str().unwrap(), "/home/me/shop");
    // When the copy began is another moment each time; that it is named has an assertion of its own.
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("the agent's copy for"));
    let lines = lines.map(|line| {
        let seconds = (1..=99).map(|seconds| format!("{seconds} s ago"));
        let word = seconds
            .chain(["just now".to_owned()])
            .filter(|word| line.contains(word.as_str()))
            .max_by_key(String::len);
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
    let script = "echo four >> a.txt; claims edit a.txt; asks read x; rm src/b.txt; mkdir node_modules; echo d > node_modules/d; \
                  echo run > .envrc; claims execute tidy; says All done.";
    let ran = fort.run(script).await.ok();
    assert_eq!(ran.out, "All done.\n");
    let summary = ran
        .err
        .split_once("\n\n")
        .map_or(ran.err.as_str(), |(_, summary)| summary);
    insta::assert_snapshot!(steady(&fort, summary), @r"
    3 files changed in the agent's copy; your folder is as it was
      new      .envrc  +1 −0
      changed  a.txt  +1 −0
      deleted  src/b.txt  +0 −1
    No checkpoint covers these, so they are neither undone nor applied; they stay in the copy (treefort open):
      node_modules (made again by tools, so not kept)
    look: treefort diff · bring home: treefort apply · undo: treefort undo --last
    ");
    let listed = fort.say(&["checkpoints"]).await.ok();
    insta::assert_snapshot!(steady(&fort, &listed.out), @r"
    1          WHEN              the project as it was
    2          WHEN    1 file    after it edited a.txt
    3          WHEN    2 files   after it ran `tidy`  ← now
    ");
    let stat = fort.say(&["diff", "--stat"]).await.ok();
    insta::assert_snapshot!(steady(&fort, &stat.out), @r"
    new      .envrc  +1 −0
    changed  a.txt  +1 −0
    deleted  src/b.txt  +0 −1
    ");
    let whole = fort.say(&["diff", "1", "2"]).await.ok();
    insta::assert_snapshot!(steady(&fort, &whole.out), @r"
    diff --git a/a.txt b/a.txt
    index 4cb29ea38f70..f384549cbeb4
    --- a/a.txt
    +++ b/a.txt
    @@ -1,3 +1,4 @@
     one
     two
     three
    +four

      changed  a.txt  +1 −0
    ");
    fort.write("a.txt", "mine\n");
    let looked = fort.say(&["apply"]).await;
    insta::assert_snapshot!(steady(&fort, &looked.out), @r"
    Changes for /home/me/shop
      new       .envrc
      conflict  a.txt
      left out  node_modules
      deleted   src/b.txt

    Look at these before you say yes
      .envrc: runs when the folder is entered
      a.txt: you and the agent changed the same lines in one place: both versions will be in the file, between <<<<<<< and >>>>>>>
      node_modules: it stays in the copy: made again by tools, so not kept

    1 in conflict: above is what will be written where.
    ");
    insta::assert_snapshot!(steady(&fort, &looked.err), @r"
    error: nothing was done: it was not confirmed
    hint: to do it without being asked: treefort apply --yes
    ");
    assert!(
        looked.err.starts_with("the agent's copy for “"),
        "{looked:?}"
    );
    let conflict = fort.say(&["apply", "--yes"]).await;
    insta::assert_snapshot!(steady(&fort, &conflict.err), @r"
    error: these files need a look, because your version and the agent's do not fit together: a.txt
    hint: look for <<<<<<< in them, or for the agent's version beside them (.treefort), and keep what you want
    hint: to take all of it back: treefort apply --take-back
    ");
    let taken = fort.say(&["apply", "--take-back"]).await.ok();
    insta::assert_snapshot!(steady(&fort, &taken.out), @r"
    taken back: 3 files are as they were before
    ");
    let undone = fort.say(&["undo", "1"]).await.ok();
    insta::assert_snapshot!(steady(&fort, &format!("{}{}", undone.out, undone.err)), @r"
    checkpoint 1 is back (2 written, 1 removed)
    not covered by checkpoints, so left as they are:
      node_modules (made again by tools, so not kept)
    to undo this: treefort undo 6
    ");
    let listed = fort.say(&["checkpoints"]).await.ok();
    insta::assert_snapshot!(steady(&fort, &listed.out), @r"
    1          WHEN              the project as it was
    2          WHEN    1 file    after it edited a.txt
    3          WHEN    2 files   after it ran `tidy`
    7          WHEN    3 files   undo to checkpoint 1  ← now
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_about_many_long_names_are_cut_and_say_so() {
    let fort = Fort::start().await;
    // Names of 200 characters: 300 of them are more than an event holds.
    let script = "p=$(printf %0200d 0); for i in $(seq 1 300); do echo $i > f$i$p; mkfifo p$i$p; done; \
                  claims execute all; says done";
    fort.run(script).await.ok();
    let copy = fort.copy().await;
    let listed = |answer: &Value, list: &str| answer[list].as_array().unwrap().len();
    let diff = fort.say(&["diff", "--json"]).await.ok().json();
    assert_eq!(
        (&diff["changed"], &diff["cut"]),
        (&json!(300), &json!(true))
    );
    let files = listed(&diff, "files");
    assert!(files > 20 && files < 300, "{files}");
    let shown = fort.say(&["diff", "--stat"]).await.ok();
    let more = format!("and {} more files", 300 - files);
    assert!(shown.out.contains(&more), "{shown:?}");
    // What was done is never answered as an error.
    let undone = fort.say(&["undo", "1", "--json"]).await.ok().json();
    assert_eq!(undone["uncovered_in_all"], 300);
    let uncovered = listed(&undone, "uncovered");
    assert!(uncovered > 20 && uncovered < 300, "{uncovered}");
    let left = files_named(&copy, "f");
    assert_eq!(left, 0);
    let back = undone["before"].to_string();
    let undone = fort.say(&["undo", &back]).await.ok();
    assert!(undone.out.contains("and 290 more"), "{undone:?}");
    assert_eq!(files_named(&copy, "f"), 300);
}

/// How many files of a folder have a name that begins so.
fn files_named(folder: &Path, beginning: &str) -> usize {
    let names = std::fs::read_dir(folder).unwrap().flatten();
    names
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(beginning))
        .count()
}
