//! Commands that are run on a result: how they end is a fact on the record, and the agent's copy stays as it was.

use super::*;

/// Both backends run checks.
async fn forts() -> [Fort; 2] {
    [Fort::start().await, Fort::embedded(AT_ONCE).await]
}

fn of_sort<'a>(records: &'a [Event], wanted: &str) -> Vec<&'a Event> {
    let all = records.iter();
    all.filter(|record| sort(record) == wanted).collect()
}

/// The `check` tags of an event: command and how it ended.
fn checks(event: &Event) -> Vec<(String, String)> {
    let tags = event.tags.iter().map(nostr::Tag::as_slice);
    tags.filter(|tag| tag[0] == "check")
        .map(|tag| (tag[1].clone(), tag[2].clone()))
        .collect()
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter()
        .map(|(command, exit)| ((*command).to_owned(), (*exit).to_owned()))
        .collect()
}

/// Waits until a check has written its file.
async fn check_begins(fort: &Fort) {
    let workspaces = fort.treefort.home().join("workspaces");
    let begun = || {
        let all = std::fs::read_dir(&workspaces).into_iter().flatten();
        all.flatten()
            .any(|entry| entry.path().join("check/tree/begun").exists())
    };
    wait("the check", begun).await;
}

/// Has the scripted agent do this, and checks what it leaves.
fn words<'a>(checks: &[&'a str], more: &[&'a str], script: &'a str) -> Vec<&'a str> {
    let mut words = vec!["run", "--agent", "scripted"];
    words.extend(more);
    words.extend(checks.iter().flat_map(|check| ["--check", check]));
    words.push(script);
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_say_how_they_ended_and_leave_the_copy_as_it_was() {
    for fort in forts().await {
        let passes = "test -f new.txt && grep -q kept node_modules/m/x && echo fine; rm a.txt; echo w > wrote.txt; \
                      echo more >> node_modules/m/x";
        // The second one sees what the first one left, as in a script.
        let fails = "cat wrote.txt; test ! -e a.txt || exit 9; echo seen >&2; exit 3";
        let script = "echo n > new.txt; mkdir -p node_modules/m empty; echo kept > node_modules/m/x; says done";
        // The answer is there, and the command says that it is not right.
        let said = fort.say(&words(&[passes, fails], &[], script)).await;
        let said = said.fails(1, "a check did not pass: `cat wrote.txt;");
        assert!(said.err.contains("ended with exit code 3"), "{said:?}");
        assert!(said.out.contains("done"), "{said:?}");
        assert!(
            said.err.contains("✓ test -f new.txt") && said.err.contains("exit 3"),
            "{said:?}"
        );
        // The last lines of the one that failed, and no question about the one that did not.
        assert!(
            said.err.contains("           seen") && !said.err.contains("           fine"),
            "{said:?}"
        );

        let records = fort.session().await;
        let [first, second] = of_sort(&records, "check")[..] else {
            panic!("{records:?}")
        };
        assert_eq!(tag(first, "exit").unwrap(), "0");
        assert_eq!(tag(second, "exit").unwrap(), "3");
        assert!(tag(first, "ms").unwrap().parse::<u64>().is_ok());
        assert_eq!(first.content, format!("$ {passes}\nfine\n"));
        assert_eq!(second.content, format!("$ {fails}\nw\nseen\n"));
        let cmd = |record: &Event| {
            let tags = record.tags.iter().map(nostr::Tag::as_slice);
            tags.filter(|tag| tag[0] == "cmd")
                .map(<[String]>::to_vec)
                .next()
        };
        assert_eq!(cmd(first).unwrap(), ["cmd", "sh", "-c", passes]);
        let last = records.last().unwrap();
        assert_eq!(tag(last, "ending").unwrap(), "completed");

        let mut client = fort.client().await;
        let [result] = &fort.results(&mut client).await[..] else {
            panic!("one result")
        };
        assert_eq!(checks(result), pairs(&[(passes, "0"), (fails, "3")]));
        let inner = client
            .query(json!({"kinds": [6870], "authors": [records[0].pubkey.to_hex()]}))
            .await;
        assert_eq!(checks(&inner[0]), checks(result));

        // Nothing of what the checks did is in the copy, also not in what no checkpoint holds.
        let copy = fort.copy().await;
        let kept = files(&copy);
        assert_eq!(kept["node_modules/m/x"].1, b"kept\n");
        assert!(
            kept.contains_key("a.txt")
                && kept.contains_key("empty")
                && !kept.contains_key("wrote.txt")
        );
        assert!(!copy.parent().unwrap().join("check").exists());
        let diff = fort.say(&["diff"]).await.ok();
        assert!(
            diff.out.contains("new.txt") && !diff.out.contains("wrote.txt"),
            "{diff:?}"
        );
        fort.say(&["apply", "--yes"]).await.ok();
        assert_eq!(fort.read("new.txt"), "n\n");
        assert!(fort.path("a.txt").exists() && !fort.path("wrote.txt").exists());
        let session = records[0].pubkey.to_hex();
        fort.say(&["verify", &session]).await.ok();
        let timeline = fort.say(&["timeline", &session]).await.ok();
        assert!(
            timeline.out.contains("✗") && timeline.out.contains("exit 3"),
            "{timeline:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_has_no_model_and_no_way_out_and_its_secrets_stay_in() {
    let fort = Fort::embedded(AT_ONCE).await;
    let out = "(echo x | nc -w 1 127.0.0.1 11434) 2>&1; (echo x | nc -w 1 1.1.1.1 80) 2>&1; env | grep -c TREEFORT_TOKEN; \
               echo sk-ant-api03-abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz";
    fort.say(&words(&[out], &[], "says done")).await.ok();
    let records = fort.session().await;
    let check = of_sort(&records, "check")[0];
    assert!(
        check.content.contains("[redacted]") && !check.content.contains("api03-abcdef"),
        "{}",
        check.content
    );
    assert!(fort.model.chats().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_takes_too_long_or_fills_the_disk_is_ended() {
    let config = format!("{AT_ONCE}[jobs]\ncheck_s = 3\n");
    let fort = Fort::embedded(&config).await;
    let slow = "echo begun; sleep 600";
    let large = "head -c 6000000000 /dev/zero > big; echo full; sleep 600";
    let said = fort
        .say(&words(&[slow, "true"], &[], "says done"))
        .await
        .fails(1, "`echo begun; sleep 600` took longer");
    assert!(said.err.contains("took longer than it may"), "{said:?}");
    let mut client = fort.client().await;
    let result = fort.results(&mut client).await.remove(0);
    assert_eq!(checks(&result), pairs(&[(slow, "timeout"), ("true", "0")]));
    let records = fort.session().await;
    assert_eq!(
        of_sort(&records, "check")[0].content,
        format!("$ {slow}\nbegun\n")
    );

    let config = format!("{AT_ONCE}[sandbox]\nruntime = \"embedded\"\ndisk_mb = 64\n");
    let fort = Fort::start_with(&config).await;
    fort.say(&words(&[large], &[], "says done"))
        .await
        .fails(1, "a check did not pass");
    let mut client = fort.client().await;
    let result = fort.results(&mut client).await.remove(0);
    assert_eq!(checks(&result), pairs(&[(large, "error")]));
    let records = fort.session().await;
    let check = of_sort(&records, "check")[0];
    assert!(
        check.content.contains("more than its 64 MiB"),
        "{}",
        check.content
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_stands_still_for_its_owner_and_ends_with_the_job() {
    for fort in forts().await {
        let check = "echo begun > begun; sleep 6; echo over";
        let run = fort.begin(&words(&[check], &[], "says done"));
        check_begins(&fort).await;
        fort.say(&["pause"]).await.ok();
        // Longer than it would take.
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert!(!run.is_finished());
        fort.say(&["steer", "do it otherwise"])
            .await
            .fails(1, "checked");
        fort.say(&["resume"]).await.ok();
        let said = run.await.unwrap().ok();
        assert!(said.err.contains("✓ echo begun"), "{said:?}");

        // Withdrawn in the middle of one.
        let run = ["--timeout", "15"];
        let said = fort
            .say(&words(
                &["echo begun; sleep 600"],
                &run,
                "echo kept > kept; says done",
            ))
            .await;
        assert_eq!(said.code, 1, "{said:?}");
        fort.treefort.wait_for_no_containers().await;
        let sessions = fort.sessions().await;
        let ended = |ending: &str| {
            sessions
                .values()
                .any(|records| tag(records.last().unwrap(), "ending").as_deref() == Some(ending))
        };
        assert!(ended("cancelled") && ended("completed"), "{sessions:?}");
        let copy = fort.copy().await;
        assert!(copy.join("kept").exists() && !copy.parent().unwrap().join("check").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_treefort_dies_under_leaves_nothing() {
    let mut fort = Fort::embedded(AT_ONCE).await;
    let run = fort.begin(&words(
        &["echo begun > a.txt; sleep 600"],
        &[],
        "echo kept > kept; says done",
    ));
    let workspaces = fort.treefort.home().join("workspaces");
    let checked = || {
        let all = std::fs::read_dir(&workspaces)
            .into_iter()
            .flatten()
            .flatten();
        all.map(|entry| entry.path().join("check/tree/a.txt"))
            .find(|path| std::fs::read_to_string(path).is_ok_and(|text| text == "begun\n"))
    };
    wait("the check", || checked().is_some()).await;
    let left = checked().unwrap();
    fort.treefort.kill();
    drop(run.await);
    fort.treefort.up();
    wait("what was left", || !left.exists()).await;
    let records = fort.session().await;
    assert_eq!(tag(records.last().unwrap(), "ending").unwrap(), "abandoned");
    let diff = fort.say(&["diff"]).await.ok();
    assert!(
        diff.out.contains("kept") && !diff.out.contains("begun"),
        "{diff:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_comes_back_is_what_is_checked() {
    let fort = Fort::embedded(AT_ONCE).await;
    let check = "cat a.txt; echo begun > begun; test -e new.txt && sleep 600; echo over";
    let run = fort.begin(&words(&[check], &[], "echo n > new.txt; says done"));
    check_begins(&fort).await;
    fort.say(&["undo", "1"]).await.ok();
    let said = run.await.unwrap().ok();
    assert!(said.err.contains("✓ cat a.txt"), "{said:?}");
    let records = fort.session().await;
    let [checked] = of_sort(&records, "check")[..] else {
        panic!("{records:?}")
    };
    assert_eq!(
        checked.content,
        format!("$ {check}\none\ntwo\nthree\nover\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_checked_is_said() {
    let fort = Fort::embedded(AT_ONCE).await;
    let many = vec!["true"; 9];
    fort.say(&words(&many, &[], "says done"))
        .await
        .fails(1, "at most 8 checks");
    fort.say(&words(&[" "], &[], "says done"))
        .await
        .fails(1, "a check is a command");
    fort.say(&["run", "--agent", "shell", "--check", "true", "true"])
        .await
        .fails(1, "no files behind");
    fort.say(&["run", "--check", "true", "hello"])
        .await
        .fails(2, "does not work on files");
    // Nothing began.
    assert!(fort.sessions().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_cannot_run_says_so_and_the_job_is_done() {
    // The shell's image starts from one that is not to be had; the scripted agent's from nothing.
    let base = ("TREEFORT_BASE", "127.0.0.1:1/none:1");
    let fort = Fort::start_in(AT_ONCE, &[base]).await;
    let said = fort
        .say(&words(&["true"], &[], "echo n > new.txt; says done"))
        .await
        .fails(1, "`true` could not be run");
    assert!(said.err.contains("✗ true: could not be run"), "{said:?}");
    let mut client = fort.client().await;
    let result = fort.results(&mut client).await.remove(0);
    assert_eq!(checks(&result), pairs(&[("true", "error")]));
    let records = fort.session().await;
    let why = &of_sort(&records, "check")[0].content;
    assert!(why.starts_with("$ true\n") && why.len() > 20, "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_goes_on_is_checked_too() {
    let config = "[sessions]\nidle_s = 30\nwarm = 0\n";
    let fort = Fort::embedded(config).await;
    fort.say(&words(&["test ! -e two"], &[], "echo 1 > one; says done"))
        .await
        .ok();
    fort.say(&words(
        &["cat one two"],
        &["--continue"],
        "echo 2 > two; says done",
    ))
    .await
    .ok();
    let records = fort.session().await;
    let all = of_sort(&records, "check");
    assert_eq!(all.len(), 2);
    assert_eq!(all[1].content, "$ cat one two\n1\n2\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_private_job_the_record_says_that_it_was_checked_and_no_more() {
    let fort = Fort::embedded(AT_ONCE).await;
    let mut client = fort.client().await;
    let operator = fort.treefort.operator();
    let coordinator = fort.treefort.coordinator();
    let folder = fort.project.path().to_str().unwrap();
    let hidden = json!([
        ["i", "says done", "text"],
        ["param", "agent", "scripted"],
        ["param", "workspace", folder],
        ["param", "check", "echo sesame; exit 4"]
    ]);
    let hidden = treefort::nips::nip90::Scheme::Nip44
        .encrypt(&operator, &coordinator, &hidden.to_string())
        .unwrap();
    let job = treefort::nips::Draft::new(5870)
        .tag(["p", &coordinator.to_hex()])
        .tag(["encrypted"])
        .content(hidden);
    client.publish(&job).await;
    let deadline = Instant::now() + PATIENCE;
    let result = loop {
        let found = fort.results(&mut client).await;
        if let Some(result) = found.into_iter().next() {
            break result;
        }
        assert!(Instant::now() < deadline, "no result");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(checks(&result), pairs(&[("", "4")]));
    let records = fort.session().await;
    let [check] = of_sort(&records, "check")[..] else {
        panic!("{records:?}")
    };
    assert_eq!(tag(check, "exit").unwrap(), "4");
    assert_eq!(tag(check, "withheld").unwrap(), "7");
    let all = client.query(json!({"limit": 500})).await;
    let text = serde_json::to_string(&all).unwrap();
    assert!(!text.contains("sesame"), "{text}");
}
