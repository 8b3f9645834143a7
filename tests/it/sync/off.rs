//! Off by default: through a whole day no connection outside of this computer.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{
    harness::{PROGRAM, client::status},
    model_server::Behaviour,
};

/// The calls by which a program reaches others, or asks who has a name.
const CALLS: &str = "trace=connect,sendto,sendmsg,sendmmsg";

/// An address that is nobody's.
const NOBODY: &str = "10.255.255.1";

/// Every address outside of loopback that a trace names.
fn outside(trace: &str) -> Vec<&str> {
    let loopback = ["inet_addr(\"127.", "\"::1\"", "\"::ffff:127."];
    trace
        .lines()
        .filter(|line| line.contains("sa_family=AF_INET"))
        .filter(|line| !loopback.iter().any(|near| line.contains(near)))
        .collect()
}

/// A person's home and project. Whatever runs is traced, with all that it starts: agents in their sandboxes too.
struct Day {
    home: tempfile::TempDir,
    model: ModelServer,
    traces: AtomicUsize,
    running: Option<Child>,
}

impl Day {
    async fn new() -> Self {
        let day = Self {
            home: tempfile::tempdir().unwrap(),
            model: ModelServer::start().await,
            traces: AtomicUsize::new(0),
            running: None,
        };
        std::fs::create_dir(day.path("project")).unwrap();
        std::fs::write(day.path("project/a.txt"), "one\n").unwrap();
        day
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A command line, traced.
    fn traced(&self, arguments: &[&str]) -> Command {
        let number = self.traces.fetch_add(1, Ordering::SeqCst);
        let mut command = Command::new("strace");
        command
            .args(["-f", "-qq", "-e", CALLS, "-o"])
            .arg(self.path(&format!("trace.{number}")))
            .arg(PROGRAM)
            .args(arguments)
            .arg("--home")
            .arg(self.path("home"))
            .current_dir(self.path("project"))
            .env("OLLAMA_HOST", self.model.url())
            .env("HOME", self.home.path())
            .envs([NO_DOCKER])
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    async fn output(&self, arguments: &[&str]) -> Output {
        let mut command = self.traced(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = tokio::process::Command::from(command);
        let output = tokio::time::timeout(PATIENCE, command.kill_on_drop(true).output());
        output.await.expect("the command hangs").unwrap()
    }

    /// What a command prints that succeeds.
    async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// `treefort up`.
    async fn up(&mut self) {
        self.running = Some(
            self.traced(&["up", "--listen", "127.0.0.1:0"])
                .spawn()
                .unwrap(),
        );
        let deadline = Instant::now() + PATIENCE;
        while !self.path("home/run.json").exists() {
            assert!(Instant::now() < deadline, "it does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn run(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path("home/run.json")).unwrap()).unwrap()
    }

    fn address(&self) -> String {
        self.run()["address"].as_str().unwrap().to_owned()
    }

    /// Ends `treefort up` as Ctrl-C does.
    fn down(&mut self) {
        let pid = self.run()["pid"].as_i64().unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        self.running.take().unwrap().wait().unwrap();
    }

    fn keys(&self, name: &str) -> Keys {
        let key = std::fs::read_to_string(self.path(&format!("home/keys/{name}.key"))).unwrap();
        Keys::parse(key.trim()).unwrap()
    }

    async fn client(&self) -> Client {
        Client::connect(&self.address(), self.keys("operator")).await
    }

    /// All that was traced so far.
    fn trace(&self) -> String {
        let of = |number| std::fs::read_to_string(self.path(&format!("trace.{number}")));
        let traces = 0..self.traces.load(Ordering::SeqCst);
        traces.map(|number| of(number).unwrap()).collect()
    }
}

impl Drop for Day {
    fn drop(&mut self) {
        if self.running.is_some() && Path::new(&self.path("home/run.json")).exists() {
            self.down();
        }
    }
}

/// What a browser does that opens the page.
async fn open_the_page(day: &Day) {
    let link = day.ok(&["page", "--print"]).await;
    let (page, code) = link.trim().split_once("#t=").unwrap();
    let browser = reqwest::Client::new();
    for file in ["", "app.js", "app.css", "icon.svg"] {
        let answer = browser.get(format!("{page}{file}")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{file}");
    }
    let entered = browser
        .post(format!("{page}api/enter"))
        .header("content-type", "application/json")
        .body(json!({ "code": code }).to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(entered.status(), 200);
    let mut socket = day.client().await;
    assert!(!socket.query(json!({"limit": 100})).await.is_empty());
}

/// What a browser does that looks at what an agent made.
async fn look_at_the_copy(day: &Day) {
    let shown = ["preview", "--static", "--detach", "--json"];
    let shown: Value = serde_json::from_str(&day.ok(&shown).await).unwrap();
    let url = shown["url"].as_str().unwrap();
    let host = url.split('/').nth(2).unwrap();
    let (name, port) = host.rsplit_once(':').unwrap();
    let here = format!("127.0.0.1:{port}").parse().unwrap();
    let browser = reqwest::Client::builder().resolve(name, here);
    let answer = browser.build().unwrap().get(url).send().await.unwrap();
    assert!(!answer.status().is_server_error(), "{answer:?}");
    day.ok(&["preview", "--end"]).await;
}

/// Events that name places elsewhere: where their author writes and reads, where an answer is wanted, where more is to be
/// found.
async fn hear_of_places(day: &Day) {
    let mut client = day.client().await;
    let elsewhere = [
        format!("wss://{NOBODY}:9"),
        format!("ws://{NOBODY}:9"),
        "wss://relay.treefort-test.example".to_owned(),
    ];
    let us = day.keys("coordinator").public_key();
    let list = elsewhere
        .iter()
        .fold(Draft::new(10002), |list, place| list.tag(["r", place]));
    let profile =
        json!({"picture": elsewhere[2], "website": elsewhere[0], "nip05": "me@x.example"});
    let mut drafts = vec![list, Draft::new(0).content(profile.to_string())];
    for place in &elsewhere {
        let note = Draft::new(1).content(format!("see {place}"));
        drafts.push(note.tag(["t", "share"]).tag(["e", &"ab".repeat(32), place]));
    }
    for draft in &drafts {
        let (_, answer) = client.publish(draft).await;
        assert_eq!(answer[2], true, "{answer}");
    }
    let job = client
        .job(us, "instant")
        .tag(["relays", &elsewhere[0], &elsewhere[2]]);
    let (_, answers) = client.do_job(&job).await;
    assert_eq!(answers.last().map(status).as_deref(), Some("success"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_day_without_sync_connects_to_nobody_outside() {
    let began = Instant::now();
    let mut day = Day::new().await;
    // Before anything runs, a command is its own treefort.
    assert_eq!(
        day.ok(&["run", "Why is the sky blue?"]).await,
        "answer: Why is the sky blue? (turn 1)\n"
    );
    day.up().await;
    let mut watching = day.traced(&["watch"]).spawn().unwrap();
    assert_eq!(
        day.ok(&["run", "--continue", "And red?"]).await,
        "answer: And red? (turn 2)\n"
    );
    day.ok(&["run", "--agent", "shell", "echo dark > dark.css"])
        .await;
    assert!(day.ok(&["diff"]).await.contains("+dark"));
    let undone: Value = serde_json::from_str(&day.ok(&["undo", "--last", "--json"]).await).unwrap();
    assert!(!day.ok(&["diff"]).await.contains("+dark"));
    day.ok(&["undo", &undone["before"].to_string()]).await;
    day.ok(&["apply", "--yes"]).await;
    assert!(day.path("project/dark.css").exists());
    open_the_page(&day).await;
    look_at_the_copy(&day).await;
    hear_of_places(&day).await;
    // One that fails, and one that is broken off.
    day.model.then(Behaviour::Fail(500));
    assert!(!day.output(&["run", "again"]).await.status.success());
    // What is looked at.
    for looked in [
        &["status"][..],
        &["status", "--json"],
        &["jobs"],
        &["timeline"],
        &["agents"],
        &["models"],
        &["checkpoints"],
        &["files"],
        &["verify"],
        &["sync", "preview"],
        &["sync"],
        &["key", "show"],
    ] {
        day.ok(looked).await;
    }
    let _what_is_not_right = day.output(&["doctor"]).await;
    // Nothing can be shared.
    let note = Draft::new(1).content("for me");
    let (note, _) = day.client().await.publish(&note).await;
    let refused = day.output(&["publish", &note.id.to_hex(), "--yes"]).await;
    assert!(!refused.status.success());
    // The night.
    day.down();
    watching.wait().unwrap();
    day.up().await;
    let recipes: Vec<Event> = (0..50).map(|n| recipe(&day.keys("operator"), n)).collect();
    give(&mut day.client().await, &recipes).await;
    assert_eq!(
        day.ok(&["run", "Good morning"]).await,
        "answer: Good morning (turn 1)\n"
    );
    day.down();
    let trace = day.trace();
    let near = trace.matches("inet_addr(\"127.").count();
    eprintln!("{near} calls within this computer, {:?}", began.elapsed());
    assert!(near > 50, "the trace shows what it did: {near}");
    assert_eq!(outside(&trace), Vec::<&str>::new());

    // The same eyes see one that is meant.
    let sync = stream("up", &[format!("ws://{NOBODY}:9/")]);
    std::fs::write(day.path("home/sync.toml"), sync).unwrap();
    day.up().await;
    let deadline = Instant::now() + PATIENCE;
    while outside(&day.trace()).is_empty() {
        assert!(Instant::now() < deadline, "the trace shows nothing");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    day.down();
    assert!(
        outside(&day.trace())
            .iter()
            .all(|line| line.contains(NOBODY))
    );
}
