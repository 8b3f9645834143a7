//! An apply that is cut off, one that is too large to be shown, and people who go on before they take one back.

use super::*;

/// Files that an apply of this test writes.
const FILES: usize = 500;
/// How often it is cut off.
const CUTS: u32 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_is_killed_in_the_middle_can_be_taken_back_and_done_again() {
    let mut fort = Fort::start().await;
    for number in 0..FILES {
        let path = format!("d{}/f{number}", number % 40);
        fort.write(&path, &format!("mine {number}\n"));
    }
    let script = "i=0; for f in d*/*; do i=$((i + 1)); case $((i % 4)) in 0) rm $f;; 1|2) echo theirs > $f;; esac; \
                  done; mkdir new; for i in $(seq 1 300); do echo $i > new/$i; done; chmod 700 a.txt";
    fort.say(&["run", "--agent", "shell", script]).await.ok();
    let mine = files(fort.project.path());
    // How long one takes, so that the moments lie within.
    let began = Instant::now();
    fort.say(&["apply", "--yes"]).await.ok();
    let whole = began.elapsed();
    let theirs = files(fort.project.path());
    fort.say(&["apply", "--take-back"]).await.ok();
    assert_eq!(files(fort.project.path()), mine);
    let mut torn_ones = 0;
    for cut in 0..CUTS {
        let applying = fort.begin(&["apply", "--yes"]);
        // From the first change on, at different depths.
        let deadline = Instant::now() + whole * 4;
        while names(&fort) == FILES && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(whole.mul_f64(0.07 * f64::from(cut))).await;
        fort.treefort.kill();
        let torn = files(fort.project.path());
        let in_the_middle = torn != mine && torn != theirs;
        torn_ones += u32::from(in_the_middle);
        eprintln!("cut {cut} of {whole:?}: in the middle {in_the_middle}");
        let _failed = applying.await.unwrap();
        fort.treefort.up();
        if in_the_middle {
            fort.say(&["discard", "--yes"])
                .await
                .fails(1, "was cut off");
        }
        if cut % 2 == 0 {
            let taken = fort.say(&["apply", "--take-back"]).await.ok();
            assert!(taken.out.contains("taken back"), "{taken:?}");
            assert_eq!(files(fort.project.path()), mine, "cut {cut}");
        } else {
            let looked = fort.say(&["apply", "--json"]).await.ok().json();
            if in_the_middle {
                assert!(looked["settled"].as_u64().is_some(), "{looked}");
                assert_eq!(files(fort.project.path()), mine, "cut {cut}");
            }
            fort.say(&["apply", "--yes"]).await.ok();
            assert_eq!(files(fort.project.path()), theirs, "cut {cut}");
            fort.say(&["apply", "--take-back"]).await.ok();
            assert_eq!(files(fort.project.path()), mine, "cut {cut}");
        }
    }
    assert!(torn_ones > 0, "no moment was in the middle of an apply");
    fort.say(&["apply", "--take-back"])
        .await
        .fails(1, "nothing was applied");
}

/// How many files of the numbered ones there are.
fn names(fort: &Fort) -> usize {
    let folders = (0..40).map(|number| fort.path(&format!("d{number}")));
    folders
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .map(Iterator::count)
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn applies_are_taken_back_one_after_the_other_and_the_persons_edits_stay() {
    let fort = Fort::start().await;
    fort.run("echo four >> a.txt; claims edit a.txt; echo n > n; claims edit n; says ok")
        .await
        .ok();
    let mine = files(fort.project.path());
    fort.say(&["apply", "--yes"]).await.ok();
    let once = files(fort.project.path());
    let copy = fort.copy().await;
    std::fs::write(copy.join("a.txt"), "ONE\ntwo\nthree\nfour\n").unwrap();
    std::fs::write(copy.join("src/b.txt"), "theirs\n").unwrap();
    // In the same second, most times.
    fort.say(&["apply", "--yes"]).await.ok();
    assert_eq!(fort.read("src/b.txt"), "theirs\n");
    let twice = files(fort.project.path());
    let backups = "for s in \"$1\"/projects/*; do git --git-dir \"$s\" for-each-ref refs/treefort-backup; done";
    let listed = Command::new("sh")
        .args(["-c", backups, "sh"])
        .arg(fort.treefort.home())
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.lines().count(), 2, "each has its backup: {listed}");
    let back = fort.say(&["apply", "--take-back"]).await.ok();
    assert!(back.err.contains("the apply before it"), "{back:?}");
    assert_eq!(files(fort.project.path()), once);
    fort.say(&["apply", "--take-back"]).await.ok();
    assert_eq!(files(fort.project.path()), mine);
    // Both come again as one, and the person goes on in what came.
    fort.say(&["apply", "--yes"]).await.ok();
    assert_eq!(files(fort.project.path()), twice);
    fort.write("a.txt", "ONE\ntwo\nthree and a half\nfour\n");
    fort.write("n", "mine now\n");
    let back = fort.say(&["apply", "--take-back"]).await.ok();
    for line in ["n: you changed it since", "a.txt: you changed it since"] {
        assert!(back.out.contains(line), "{line}: {back:?}");
    }
    assert_eq!(fort.read("a.txt"), "ONE\ntwo\nthree and a half\nfour\n");
    assert_eq!(fort.read("n"), "mine now\n");
    assert_eq!(fort.read("src/b.txt"), "b\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_a_preview_holds_is_counted_and_asks_for_more_than_yes() {
    let fort = Fort::start().await;
    let long = "a-long-name-".repeat(15);
    fort.run("echo x > x; claims edit x; says ok").await.ok();
    let copy = fort.copy().await;
    // Harmless ones without end hide nothing that needs a look.
    std::fs::create_dir(copy.join("many")).unwrap();
    for number in 1..=900 {
        std::fs::write(copy.join(format!("many/{long}{number}")), "theirs\n").unwrap();
    }
    std::fs::write(copy.join("zz.mk"), "evil\n").unwrap();
    let looked = fort.say(&["apply", "--json"]).await.ok().json();
    let steps = looked["steps"].as_array().unwrap();
    assert!(steps.len() < 300, "cut by bytes: {}", steps.len());
    assert!(steps.iter().any(|step| step["path"] == "zz.mk"));
    assert_eq!(looked["total"], 902);
    assert!(looked.get("hidden").is_none(), "{looked}");
    fort.say(&["apply", "--yes"]).await.ok();
    // Conflicts and hooks without end are counted.
    std::fs::create_dir(copy.join(".husky")).unwrap();
    for number in 1..=900 {
        std::fs::write(copy.join(format!("many/{long}{number}")), "more\n").unwrap();
        fort.write(&format!("many/{long}{number}"), "mine\n");
        std::fs::write(copy.join(format!(".husky/h{number}")), "evil\n").unwrap();
    }
    let looked = fort.say(&["apply"]).await;
    assert_eq!(looked.code, 2, "{looked:?}");
    assert!(looked.err.contains("apply --yes --flagged"), "{looked:?}");
    for line in [
        "Not shown: 900: git runs it; ",
        ": in conflict",
        "900 in conflict",
    ] {
        assert!(looked.out.contains(line), "{line}: {looked:?}");
    }
    let mine = files(fort.project.path());
    fort.say(&["apply", "--yes"])
        .await
        .fails(2, "apply --yes --flagged");
    assert_eq!(files(fort.project.path()), mine);
    // What was done is answered as done, however long the list.
    let applied = fort
        .say(&["apply", "--yes", "--flagged", "--json"])
        .await
        .json();
    assert_eq!(applied["in_conflict"], 900, "{applied}");
    assert!(applied["conflicts"].as_array().unwrap().len() < 300);
    assert!(fort.path(".husky/h900").exists());
    fort.say(&["apply", "--take-back"]).await.ok();
    assert_eq!(files(fort.project.path()), mine);
}
