//! `treefort apply`: an agent's changes come home beside the person's own, and nothing runs because of them.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_changes_are_merged_and_taken_back() {
    let fort = Fort::start().await;
    fort.run("echo four >> a.txt; claims edit a.txt; rm src/b.txt; claims delete src/b.txt; echo n > n; claims edit n; says ok")
        .await
        .ok();
    // The person went on too.
    fort.write("a.txt", "zero\none\ntwo\nthree\n");
    let mine = files(fort.project.path());
    let looked = fort.say(&["apply"]).await;
    assert_eq!(looked.code, 2, "{looked:?}");
    assert!(looked.err.contains("treefort apply --yes"), "{looked:?}");
    for line in ["merged    a.txt", "deleted   src/b.txt", "new       n"] {
        assert!(looked.out.contains(line), "{line}: {looked:?}");
    }
    assert_eq!(files(fort.project.path()), mine, "looking changes nothing");
    fort.say(&["apply", "--yes"]).await.ok();
    assert_eq!(fort.read("a.txt"), "zero\none\ntwo\nthree\nfour\n");
    assert!(!fort.path("src/b.txt").exists() && fort.path("n").exists());
    let again = fort.say(&["apply"]).await.ok();
    assert!(again.err.contains("nothing to apply"), "{again:?}");
    fort.say(&["apply", "--take-back"]).await.ok();
    assert_eq!(files(fort.project.path()), mine);
    fort.say(&["apply", "--take-back"])
        .await
        .fails(1, "nothing was applied");
    // And it can come again.
    fort.say(&["apply", "--yes"]).await.ok();
    assert!(fort.path("n").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_lines_become_a_conflict_that_a_person_can_read() {
    let fort = Fort::start().await;
    fort.run("echo theirs > a.txt; claims edit a.txt; says ok")
        .await
        .ok();
    fort.write("a.txt", "mine\n");
    let looked = fort.say(&["apply"]).await;
    assert!(looked.out.contains("1 in conflict"), "{looked:?}");
    assert_eq!(fort.read("a.txt"), "mine\n");
    fort.say(&["apply", "--yes"]).await.fails(1, "a.txt");
    let text = fort.read("a.txt");
    let at = |mark: &str| text.find(mark).unwrap_or_else(|| panic!("{mark}: {text}"));
    let order = [
        at("<<<<<<<"),
        at("mine\n"),
        at("=======\n"),
        at("theirs\n"),
        at(">>>>>>>"),
    ];
    assert!(order.is_sorted(), "{text}");
    fort.say(&["apply", "--take-back"]).await.ok();
    assert_eq!(fort.read("a.txt"), "mine\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_changed_since_the_look_is_not_touched() {
    let fort = Fort::start().await;
    fort.run("echo four >> a.txt; claims edit a.txt; says ok")
        .await
        .ok();
    let look = fort.say(&["apply", "--json"]).await;
    let plan = look.json()["plan"].as_str().unwrap().to_owned();
    fort.write("a.txt", "one\nTWO\nthree\n");
    let mine = files(fort.project.path());
    let mut client = fort.client().await;
    let task = |plan: &str| {
        treefort::nips::Draft::new(5871)
            .tag(["i", "apply", "text"])
            .tag(["p", &fort.treefort.coordinator().to_hex()])
            .tag(["param", "project", fort.project.path().to_str().unwrap()])
            .tag(["param", "plan", plan])
    };
    let (_, answers) = client.do_job(&task(&plan)).await;
    let (code, sentence) = crate::jobs::error(&answers);
    assert_eq!(code, "workspace");
    assert!(sentence.contains("changed since you looked"), "{sentence}");
    assert_eq!(files(fort.project.path()), mine);
    // With what is there now it goes.
    let plan = fort.say(&["apply", "--json"]).await.json()["plan"]
        .as_str()
        .unwrap()
        .to_owned();
    let (_, answers) = client.do_job(&task(&plan)).await;
    assert_eq!(crate::jobs::statuses(&answers).last().unwrap(), "success");
    assert_eq!(fort.read("a.txt"), "one\nTWO\nthree\nfour\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_run_later_is_pointed_out() {
    let fort = Fort::start().await;
    fort.write(
        "package.json",
        "{\"name\": \"p\", \"scripts\": {\"test\": \"true\"}}\n",
    );
    fort.git(&["config", "core.hooksPath", ".husky"]);
    let script = "echo evil > .envrc; mkdir -p .husky .vscode .github/workflows; echo evil > .husky/pre-commit; \
                  chmod +x .husky/pre-commit; sed -i s/true/evil/ package.json; echo 1 > .vscode/tasks.json; \
                  echo on > .github/workflows/ci.yml; ln -s ../../outside away; echo x > plain.txt";
    fort.say(&["run", "--agent", "shell", script]).await.ok();
    let planned = fort.say(&["apply", "--json"]).await.json();
    let notes = |path: &str| {
        let steps = planned["steps"].as_array().unwrap();
        let step = steps
            .iter()
            .find(|step| step["path"] == path)
            .unwrap_or_else(|| panic!("{path}: {steps:?}"));
        step["notes"].as_array().map_or(0, Vec::len)
    };
    for path in [
        ".envrc",
        ".husky/pre-commit",
        "package.json",
        ".vscode/tasks.json",
        ".github/workflows/ci.yml",
        "away",
    ] {
        assert!(notes(path) > 0, "{path}: {planned}");
    }
    assert_eq!(notes("plain.txt"), 0);
    let looked = fort.say(&["apply"]).await;
    let (_, warning) = looked
        .out
        .split_once("Look at these before you say yes")
        .unwrap();
    assert!(
        warning.contains(".envrc") && !warning.contains("plain.txt"),
        "{warning}"
    );
    // The link comes as what it is, and nothing is written where it leads.
    fort.say(&["apply", "--yes"]).await.ok();
    assert_eq!(
        std::fs::read_link(fort.path("away")).unwrap(),
        Path::new("../../outside")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_the_repository_configures_runs() {
    let fort = Fort::start().await;
    let canary = tempfile::tempdir().unwrap();
    let mark = canary.path().join("ran");
    let program = canary.path().join("program");
    std::fs::write(
        &program,
        format!("#!/bin/sh\ntouch {}\ncat\n", mark.display()),
    )
    .unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let program = program.to_str().unwrap();
    for hook in [
        "pre-commit",
        "post-checkout",
        "post-index-change",
        "pre-applypatch",
        "post-merge",
    ] {
        std::fs::copy(program, fort.path(".git/hooks").join(hook)).unwrap();
    }
    fort.write(
        ".gitattributes",
        "*.txt filter=canary diff=canary merge=canary\n",
    );
    for name in [
        "core.fsmonitor",
        "core.hooksPath",
        "filter.canary.clean",
        "filter.canary.smudge",
        "filter.canary.process",
        "diff.canary.command",
        "diff.canary.textconv",
        "diff.external",
        "merge.canary.driver",
        "core.pager",
        "core.editor",
        "core.sshCommand",
        "core.askPass",
        "core.gitProxy",
        "credential.helper",
    ] {
        fort.git(&["config", name, program]);
    }
    let git = tree(&fort.path(".git"));
    let script =
        "echo four >> a.txt; mkdir d; echo d > d/x.txt; git status --short; echo; git diff";
    fort.say(&["run", "--agent", "shell", script]).await.ok();
    fort.write("a.txt", "zero\none\ntwo\nthree\n");
    for arguments in [
        &["diff"][..],
        &["checkpoints"],
        &["apply", "--yes"],
        &["undo", "1"],
        &["apply", "--take-back"],
        &["open"],
        &["discard", "--yes"],
    ] {
        fort.say(arguments).await.ok();
    }
    assert!(
        !mark.exists(),
        "something of the repository's configuration ran"
    );
    assert_eq!(tree(&fort.path(".git")), git);
    // It would have: git itself runs it.
    fort.write("src/b.txt", "changed\n");
    let _any = Command::new("git")
        .args(["status"])
        .current_dir(fort.project.path())
        .output()
        .unwrap();
    assert!(mark.exists(), "the canary does not sing");
}
