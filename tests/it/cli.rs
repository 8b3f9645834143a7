//! The command line as a person and a script meet it: exit codes, plain words, JSON, and nothing left behind.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use nostr::{Event, JsonUtil as _, Keys};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::{
    harness::{NO_DOCKER, PROGRAM, Treefort, containers},
    jobs::AT_ONCE,
    model_server::ModelServer,
};

/// What nobody should have to know who only uses the program.
const JARGON: &[&str] = &[
    "relay",
    "event",
    "events",
    "coordinator",
    "key",
    "keys",
    "nip",
    "nips",
    "kind",
    "kinds",
    "nostr",
    "npub",
    "pubkey",
    "signature",
    "signatures",
];

/// No model server listens there.
const NOBODY: &str = "http://127.0.0.1:9";

/// A home on which no treefort runs.
struct Quiet {
    /// Everything, with the home in it.
    place: tempfile::TempDir,
    home: PathBuf,
    model: String,
}

impl Quiet {
    fn new(model: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        Self {
            home: place.path().join("home"),
            place,
            model: model.to_owned(),
        }
    }

    async fn command(&self, arguments: &[&str]) -> Output {
        self.command_with(arguments, &[], "").await
    }

    async fn command_with(
        &self,
        arguments: &[&str],
        environment: &[(&str, &str)],
        stdin: &str,
    ) -> Output {
        let mut child = tokio::process::Command::new(PROGRAM)
            .args(arguments)
            .arg("--home")
            .arg(&self.home)
            .env("OLLAMA_HOST", &self.model)
            .envs(environment.iter().copied())
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        // A command that reads no input closes it.
        let _ = input.write_all(stdin.as_bytes()).await;
        drop(input);
        tokio::time::timeout(Duration::from_secs(60), child.wait_with_output())
            .await
            .unwrap()
            .unwrap()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn ended_with(output: &Output, code: i32) {
    let (out, err) = (stdout(output), stderr(output));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
}

#[track_caller]
fn plain(output: &Output) {
    let text = format!("{}{}", stdout(output), stderr(output));
    let jargon = text
        // The name of an environment variable is one word.
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .find(|word| JARGON.contains(&word.to_lowercase().as_str()));
    assert_eq!(jargon, None, "{text}");
}

fn json_lines(output: &Output) -> Vec<Value> {
    let lines = stdout(output);
    let values = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    values.collect()
}

fn public_key(home: &Path, name: &str) -> String {
    let secret = std::fs::read_to_string(home.join("keys").join(format!("{name}.key"))).unwrap();
    Keys::parse(secret.trim()).unwrap().public_key().to_hex()
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_without_a_running_treefort_share_one_and_leave_nothing() {
    let model = ModelServer::start().await;
    let quiet = Quiet::new(&model.url());
    let secret = format!("hello sk-{}", "a1".repeat(12));
    let (one, other) = (["run", "first question"], ["run", secret.as_str()]);
    let (first, second) = tokio::join!(quiet.command(&one), quiet.command(&other),);
    for output in [&first, &second] {
        ended_with(output, 0);
    }
    plain(&first);
    assert_eq!(stdout(&first), "answer: first question (turn 1)\n");
    assert_eq!(stdout(&second), "answer: hello [redacted] (turn 1)\n");
    assert!(stderr(&second).contains("a password or key in your question was left out"));
    let home_id = public_key(&quiet.home, "relay")[..16].to_owned();
    assert_eq!(containers(&home_id), Vec::<String>::new());

    let status = quiet.command(&["status"]).await;
    ended_with(&status, 0);
    assert!(stdout(&status).contains("not running") && !stdout(&status).contains("127.0.0.1"));
    let status = json_lines(&quiet.command(&["status", "--json"]).await);
    assert_eq!(status.len(), 1);
    assert_eq!(status[0]["running"], false);
    assert_eq!(status[0]["operator"], public_key(&quiet.home, "operator"));
    for name in [
        "version",
        "relay",
        "web",
        "coordinator",
        "relay_self",
        "runtime",
        "models",
        "agents",
        "events",
    ] {
        assert!(status[0].get(name).is_some(), "{name}");
    }

    for command in [
        "status", "jobs", "timeline", "agents", "models", "doctor", "verify",
    ] {
        let output = quiet.command(&[command]).await;
        ended_with(&output, 0);
        plain(&output);
    }
    let jobs = json_lines(&quiet.command(&["jobs", "--json"]).await);
    assert_eq!(jobs.len(), 2);
    assert!(jobs.iter().all(|job| job["state"] == "done"), "{jobs:?}");
    for (words, count) in [("QUESTION first", 1), ("answer", 2), ("first hello", 0)] {
        let found = quiet.command(&["jobs", "--json", "--search", words]).await;
        ended_with(&found, 0);
        assert_eq!(stdout(&found).lines().count(), count, "{words}");
    }
    for command in ["agents", "models", "doctor", "verify"] {
        assert!(!json_lines(&quiet.command(&[command, "--json"]).await).is_empty());
    }

    let timeline = quiet.command(&["timeline", "--json"]).await;
    let export = quiet.command(&["export"]).await;
    for lines in [stdout(&timeline), stdout(&export)] {
        assert!(lines.lines().count() > 5, "{lines}");
        for line in lines.lines() {
            Event::from_json(line).unwrap().verify().unwrap();
        }
    }
    let whole = quiet
        .command_with(&["verify", "-"], &[], &stdout(&export))
        .await;
    ended_with(&whole, 0);
    assert!(
        stdout(&whole).contains("in an unbroken chain; "),
        "{}",
        stdout(&whole)
    );
    let cut = stdout(&export).replace("answer:", "anſwer:");
    let cut = quiet.command_with(&["verify", "-"], &[], &cut).await;
    ended_with(&cut, 1);
    plain(&cut);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_class_of_failure_has_its_exit_code_and_plain_words() {
    let model = ModelServer::start().await;
    let quiet = Quiet::new(&model.url());
    let failed = quiet.command(&["run", "fail-500"]).await;
    ended_with(&failed, 1);
    plain(&failed);
    for arguments in [
        &["run", "why", "is", "this"][..],
        &["run", "-"],
        &["jobs", "-n", "0"],
        &["verify", "nofile"],
    ] {
        let output = quiet.command(arguments).await;
        ended_with(&output, 2);
        plain(&output);
    }
    for (arguments, named) in [
        (
            ["run", "x", "--agent", "nope"],
            "chat, claude-code, codex, gemini, goose, opencode, shell (`treefort agents`)",
        ),
        (["run", "x", "--model", "nope"], "(`treefort models`)"),
    ] {
        let output = quiet.command(&arguments).await;
        assert!(
            !output.status.success() && stderr(&output).contains(named),
            "{}",
            stderr(&output)
        );
        plain(&output);
    }
    let insists = "[sandbox]\nruntime = \"docker\"\n";
    std::fs::write(quiet.home.join("treefort.toml"), insists).unwrap();
    let output = quiet.command_with(&["run", "x"], &[NO_DOCKER], "").await;
    ended_with(&output, 3);
    plain(&output);

    let lonely = Quiet::new(NOBODY);
    let output = lonely.command(&["run", "x", "--json"]).await;
    ended_with(&output, 4);
    let answer = json_lines(&output);
    assert_eq!((answer.len(), &answer[0]["code"]), (1, &json!("no-model")));
    assert!(answer[0]["error"].is_string());
    let output = lonely.command(&["models", "--json"]).await;
    ended_with(&output, 4);
    assert_eq!(stdout(&output), "[]\n");
    let output = lonely.command(&["models"]).await;
    ended_with(&output, 4);
    plain(&output);

    // Something else listens where treefort did.
    let run = json!({"v": 1, "address": model.url().replace("http://", ""), "pid": 1,
        "relay": public_key(&quiet.home, "relay")});
    std::fs::write(quiet.home.join("run.json"), run.to_string()).unwrap();
    let output = quiet.command(&["jobs"]).await;
    ended_with(&output, 6);
    plain(&output);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_goes_to_another_home_and_a_treefort_that_does_not_know_it_says_so() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let other = Quiet::new(&model.url());
    let password = other.place.path().join("password");
    std::fs::write(&password, "correct horse\n").unwrap();
    let (password, file) = (
        password.to_str().unwrap().to_owned(),
        other.place.path().join("mine").to_str().unwrap().to_owned(),
    );
    let output = other
        .command(&[
            "key",
            "export",
            "--out",
            &file,
            "--password-file",
            &password,
        ])
        .await;
    ended_with(&output, 0);
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .starts_with("ncryptsec1")
    );

    let output = treefort
        .command(&["key", "import", &file, "--password-file", &password])
        .await;
    ended_with(&output, 0);
    let operator = public_key(&other.home, "operator");
    assert_eq!(public_key(treefort.home(), "operator"), operator);
    let output = treefort.command(&["run", "who am I?"]).await;
    ended_with(&output, 5);
    plain(&output);
    treefort.terminate();
    assert!(treefort.log().contains("treefort stopped"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_an_answer_hears_that_treefort_stopped() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let mut waiting = tokio::process::Command::new(PROGRAM)
        .args(["run", "hang", "--home"])
        .arg(treefort.home())
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    while model.chats().is_empty() {
        assert_eq!(waiting.try_wait().unwrap(), None);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::task::block_in_place(|| treefort.terminate());
    let output = tokio::time::timeout(Duration::from_secs(10), waiting.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    ended_with(&output, 6);
    let said = stderr(&output);
    assert!(
        said.contains("error: treefort stopped") && !said.contains("hint:"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_leaves_nothing_and_suggests_what_works() {
    let quiet = Quiet::new(NOBODY);
    let temporary = tempfile::tempdir().unwrap();
    let place = [("TMPDIR", temporary.path().to_str().unwrap())];
    let output = quiet.command_with(&["demo"], &place, "").await;
    ended_with(&output, 0);
    plain(&output);
    let said = stdout(&output);
    assert!(
        said.contains("thrown away") && said.contains("ollama pull"),
        "{said}"
    );
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);

    std::fs::write(quiet.home.join("treefort.toml"), "[jobs]\nx = 1\n").unwrap();
    let doctor = quiet.command(&["doctor"]).await;
    ended_with(&doctor, 2);
    let said = stdout(&doctor);
    assert!(
        said.contains("✓ sandbox") && said.contains("✗ models"),
        "{said}"
    );
    let problems = said.lines().filter(|line| line.starts_with('✗')).count();
    assert_eq!(said.matches('→').count(), problems, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_goes_on_in_an_open_session_and_after_treefort_stopped() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start(&model, &[]);
    let said = async |treefort: &Treefort, arguments: &[&str]| {
        let output = treefort.command(arguments).await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(
        said(&treefort, &["run", "one"]).await,
        "answer: one (turn 1)"
    );
    let go_on = ["run", "--continue", "two"];
    assert_eq!(said(&treefort, &go_on).await, "answer: two (turn 2)");
    treefort.terminate();
    let go_on = ["run", "--continue", "three"];
    assert_eq!(said(&treefort, &go_on).await, "answer: three (turn 3)");
}
