//! The command line on a terminal and in a pipe: watching, the manual, completions.

use std::{
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use crate::{
    harness::{PROGRAM, Treefort},
    model_server::ModelServer,
};

const SANDBOX: &str = "[sandbox]\nruntime = \"embedded\"\n";

/// `treefort watch` of a home, with its standard output in a pipe or, inside `script`, on a terminal.
fn watch(fort: &Treefort, terminal: bool, options: &[&str]) -> tokio::process::Child {
    let home = fort.home().to_str().unwrap();
    let mut command = if terminal {
        let mut script = tokio::process::Command::new("script");
        let line = format!(
            "stty cols 80; {PROGRAM} watch --home {home} {}",
            options.join(" ")
        );
        script.args(["-qfec", &line, "/dev/null"]);
        script
    } else {
        let mut plain = tokio::process::Command::new(PROGRAM);
        plain.args(["watch", "--home", home]).args(options);
        plain
    };
    command
        .env_remove("RUST_LOG")
        .env_remove("NO_COLOR")
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_shows_what_begins_and_what_became_of_it() {
    let model = ModelServer::start().await;
    let fort = Treefort::start_with(&model, &[], SANDBOX);
    let mut watching = watch(&fort, false, &[]);
    let mut said = BufReader::new(watching.stderr.take().unwrap()).lines();
    let said = said.next_line().await.unwrap().unwrap();
    assert!(said.contains("Nothing is at work"), "{said}");
    let answered = fort.command(&["run", "slow question"]).await;
    assert!(answered.status.success(), "{answered:?}");

    let mut shown = String::new();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let reading = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            shown.push_str(&line);
            shown.push('\n');
            if line.contains("said") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading)
        .await
        .expect("nothing was shown");
    for part in ["● ", "slow question", "› asked", "▶ started chat", "» said"] {
        assert_eq!(
            shown.matches(part).count().min(1),
            1,
            "{part} is not in\n{shown}"
        );
    }
    assert!(!shown.contains('\u{1b}'), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_the_last_lines_say_what_is_being_written() {
    let model = ModelServer::start().await;
    let fort = Treefort::start_with(&model, &[], SANDBOX);
    let mut watching = watch(&fort, true, &[]);
    let mut output = watching.stdout.take().unwrap();
    let mut shown = String::new();
    let mut asked = None;
    let began = Instant::now();
    while !(shown.contains("✎ word0") && shown.contains("word48 word49")) {
        assert!(began.elapsed() < Duration::from_secs(40), "{shown}");
        let mut piece = [0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(30), output.read(&mut piece)).await;
        let read = read
            .unwrap_or_else(|_| panic!("the terminal stood still: {shown}"))
            .unwrap();
        assert_ne!(read, 0, "watching ended: {shown}");
        shown.push_str(&String::from_utf8_lossy(&piece[..read]));
        if asked.is_none() && shown.contains("Nothing is at work") {
            asked = Some(fort.command(&["run", "slow"]).await);
        }
    }
    // Drawn in place: up, and erased to the end.
    assert!(
        shown.contains("\u{1b}[3A\u{1b}[J") || shown.contains("A\u{1b}[J"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_yields_signed_steps_for_programs() {
    let model = ModelServer::start().await;
    let fort = Treefort::start_with(&model, &[], SANDBOX);
    assert!(fort.command(&["run", "hello"]).await.status.success());
    let jobs = fort.command(&["jobs", "--json"]).await;
    let job: serde_json::Value = serde_json::from_slice(&jobs.stdout).unwrap();
    let id = job["id"].as_str().unwrap();
    let mut watching = watch(&fort, false, &["--json", &id[..12]]);
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut kinds = Vec::new();
    while kinds.len() < 3 {
        let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await;
        let event: nostr::Event = serde_json::from_str(&line.unwrap().unwrap().unwrap()).unwrap();
        event.verify().unwrap();
        kinds.push(event.kind.as_u16());
    }
    assert_eq!(kinds[..2], [5870, 4781]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manual_and_the_completions_know_every_command() {
    let place = tempfile::tempdir().unwrap();
    let run = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(PROGRAM);
        command.args(arguments).env("HOME", place.path());
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let help = run(&["--help"]).await;
    for group in [
        "Ask and watch:",
        "An agent's copy of your project:",
        "Exit codes:",
    ] {
        assert!(help.contains(group), "{help}");
    }
    assert!(run(&["man"]).await.contains(".TH treefort 1"));
    let pages = place.path().join("man1");
    run(&["man", "--dir", pages.to_str().unwrap()]).await;
    for page in ["treefort.1", "treefort-run.1", "treefort-agent-new.1"] {
        let text = std::fs::read_to_string(pages.join(page)).unwrap();
        assert!(text.contains(".SH NAME"), "{page}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            run(&["completions", shell]).await.contains("watch"),
            "{shell}"
        );
    }
    assert!(!place.path().join(".local").exists(), "a home was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_has_a_page_and_goes_with_whoever_started_it() {
    let place = tempfile::tempdir().unwrap();
    let mut demo = tokio::process::Command::new(PROGRAM)
        .args(["demo", "--page", "--json"])
        .env("HOME", place.path())
        .env("TMPDIR", place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = demo.stdin.take().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut link = async || {
        let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await;
        let line: serde_json::Value =
            serde_json::from_str(&line.unwrap().unwrap().unwrap()).unwrap();
        line["url"].as_str().unwrap().to_owned()
    };
    let first = link().await;
    let (site, code) = first.split_once("/#t=").unwrap();
    let http = reqwest::Client::new();
    let enter = http
        .post(format!("{site}/api/enter"))
        .json(&serde_json::json!({"code": code}));
    assert!(enter.send().await.unwrap().status().is_success());
    stdin.write_all(b"\n").await.unwrap();
    let second = link().await;
    assert!(second.starts_with(site) && second != first);

    // An answer, something built, and a change to it.
    let home = std::fs::read_dir(place.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.join("run.json").exists())
        .unwrap();
    let began = Instant::now();
    loop {
        let mut jobs = tokio::process::Command::new(PROGRAM);
        jobs.args(["jobs", "--json", "--home", home.to_str().unwrap()]);
        let jobs = String::from_utf8(jobs.output().await.unwrap().stdout).unwrap();
        let done = jobs.matches("\"state\":\"done\"").count();
        if done == 3 && jobs.contains("Make it night") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{jobs}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Each line is answered then too, and each of them once.
    for _ in 0..2 {
        stdin.write_all(b"\n").await.unwrap();
        assert!(link().await.starts_with(site));
    }
    drop(stdin);
    let ended = tokio::time::timeout(Duration::from_secs(20), demo.wait()).await;
    assert!(ended.unwrap().unwrap().success());
    assert!(!home.exists(), "the demo's record is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_says_its_link_whether_a_browser_opened_or_not() {
    let place = tempfile::tempdir().unwrap();
    let opener = place.path().join("xdg-open");
    std::fs::write(&opener, "#!/bin/sh\nexit 0\n").unwrap();
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut demo = tokio::process::Command::new(PROGRAM)
        .args(["demo", "--page"])
        .env("HOME", place.path())
        .env("TMPDIR", place.path())
        .env("PATH", place.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await;
    let line = line.unwrap().unwrap().unwrap();
    assert!(
        line.starts_with("http://127.0.0.1:") && line.contains("/#t="),
        "{line}"
    );
    let pid = i32::try_from(demo.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), demo.wait()).await;
    ended.unwrap().unwrap();
}
