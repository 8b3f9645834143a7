//! The built-in shell agent: a command on a copy, with the exit code that the host saw.

use super::*;

async fn shell(fort: &Fort, command: &str) -> Said {
    fort.say(&["run", "--agent", "shell", command]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn both_streams_and_the_exit_code_are_the_answer() {
    let fort = Fort::start().await;
    let said = shell(
        &fort,
        "echo out; echo err >&2; cat a.txt; echo made > made.txt; exit 7",
    )
    .await;
    assert_eq!(said.out, "out\nerr\none\ntwo\nthree\n");
    let said = said.fails(1, "7");
    assert!(
        said.err.contains("made.txt"),
        "what changed is named: {said:?}"
    );
    let mut client = fort.client().await;
    let results = fort.results(&mut client).await;
    assert_eq!(results.len(), 1);
    assert_eq!(tag(&results[0], "exit").unwrap(), "7");
    let records = fort.session().await;
    let command = records
        .iter()
        .find(|record| tag(record, "exit").is_some())
        .expect("the command's record");
    assert_eq!(
        (
            sort(command).as_str(),
            tag(command, "exit").unwrap().as_str()
        ),
        ("command", "7")
    );
    assert!(
        command.content.contains("out\nerr\n"),
        "{}",
        command.content
    );
    let file = records
        .iter()
        .find(|record| tag(record, "path").as_deref() == Some("made.txt"));
    assert_eq!(
        tag(file.expect("the file's record"), "op").unwrap(),
        "create"
    );
    let end = records.last().unwrap();
    assert_eq!(
        (
            tag(end, "l").unwrap().as_str(),
            tag(end, "ending").unwrap().as_str()
        ),
        ("failed", "exit")
    );
    // What it wrote is there once, and it did not stop before its end.
    assert!(records.iter().all(|record| sort(record) != "message"));
    // Nobody asked a model.
    assert!(fort.model.chats().is_empty());
    assert!(!fort.path("made.txt").exists());
    fort.say(&["apply", "--yes"]).await.ok();
    assert_eq!(fort.read("made.txt"), "made\n");
    // A command that succeeds is a success.
    let said = shell(&fort, "grep -c . a.txt").await.ok();
    assert_eq!(said.out, "3\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_output_is_cut_and_counted() {
    let fort = Fort::start().await;
    let said = shell(&fort, "yes | head -c 6000000").await.ok();
    assert!(said.out.len() < 5 << 20, "{}", said.out.len());
    let mut client = fort.client().await;
    let result = fort.results(&mut client).await.remove(0);
    assert!(result.content.len() < 256 << 10);
    assert!(
        result.content.contains("more bytes")
            || result.content.contains("truncated")
            || tag(&result, "truncated").is_some(),
        "{:?}",
        result.tags
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_takes_too_long_or_is_cancelled_ends_with_its_container() {
    let fort = Fort::start().await;
    let began = Instant::now();
    let said = fort
        .say(&[
            "run",
            "--agent",
            "shell",
            "--timeout",
            "10",
            "echo begun > begun; sleep 600",
        ])
        .await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(began.elapsed() < Duration::from_secs(30));
    fort.treefort.wait_for_no_containers().await;
    let records = fort.session().await;
    let end = records.last().unwrap();
    assert_eq!(tag(end, "ending").unwrap(), "cancelled");
    // What it did until then is there, and on the record.
    assert!(
        records
            .iter()
            .any(|record| tag(record, "path").as_deref() == Some("begun"))
    );
    assert_eq!(
        std::fs::read_to_string(fort.copy().await.join("begun")).unwrap(),
        "begun\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owners_limit_of_time_ends_a_command() {
    let fort = Fort::start_with("[sessions]\nidle_s = 0\nwarm = 0\n[jobs]\ntimeout_s = 3\n").await;
    shell(&fort, "echo begun > begun; sleep 600")
        .await
        .fails(1, "longer than it may");
    fort.treefort.wait_for_no_containers().await;
    let records = fort.session().await;
    let errors = of_kind(&records, 4784);
    assert_eq!(tag(errors[0], "code").unwrap(), "timeout");
    assert_eq!(tag(records.last().unwrap(), "ending").unwrap(), "timeout");
}
