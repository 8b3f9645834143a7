//! Agents at work on copies of a project: what they do, what is recorded of it, and what their owner does with
//! it. The real program, the real engine, a scripted model.

mod access;
mod agent;
mod asks;
mod attach;
mod canary;
mod checks;
mod compare;
mod conversations;
mod copies;
mod crash;
mod disk;
mod facts;
mod files;
mod homecoming;
mod homecoming_torn;
mod network;
mod opencode;
mod outputs;
mod preview;
mod purge;
mod remembers;
mod rooms;
mod shell;
mod steer;
mod uncovered;
mod undo;

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use nostr::Event;
use serde_json::{Value, json};
use treefort::{agent::image::BASE_VARIABLE, nips::session::check_chain};

use crate::{
    harness::{Client, PROGRAM, Treefort, base, client::tag},
    jobs::AT_ONCE,
    model_server::ModelServer,
};

/// How long something may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A treefort, and a project in git.
pub(crate) struct Fort {
    pub(crate) treefort: Treefort,
    model: ModelServer,
    pub(crate) project: tempfile::TempDir,
    /// Whether sessions end with their jobs.
    ends_at_once: bool,
}

/// What a command printed, without colours, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: i32,
}

impl Said {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            out: text(&output.stdout),
            err: text(&output.stderr),
            code: output.status.code().unwrap_or(-1),
        }
    }

    /// Fails the test unless the command succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// Fails the test unless the command failed so and said this.
    #[track_caller]
    fn fails(self, code: i32, sentence: &str) -> Self {
        assert!(
            self.code == code && self.err.contains(sentence),
            "not {code} with {sentence:?}: {self:?}"
        );
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// How long a session may take to write its end after its job's: its container goes before, and a checkpoint is made.
const ENDING: Duration = Duration::from_secs(12);
/// How long the records of one are waited for that stays open.
const OPEN: Duration = Duration::from_secs(3);

/// Agents run in treefort's own sandbox.
const EMBEDDED: &str = "[sandbox]\nruntime = \"embedded\"\n";

impl Fort {
    /// Sessions end with their jobs.
    async fn start() -> Self {
        Self::start_with(AT_ONCE).await
    }

    /// The same without Docker, which is quicker.
    async fn embedded(config: &str) -> Self {
        Self::start_with(&format!("{config}{EMBEDDED}")).await
    }

    async fn start_with(config: &str) -> Self {
        Self::start_in(config, &[]).await
    }

    /// The same, with more in treefort's environment.
    pub(crate) async fn start_in(config: &str, environment: &[(&str, &str)]) -> Self {
        let model = ModelServer::start().await;
        let mut treefort = Treefort::start_in(&model, &[], config, environment);
        // Agents are read at the start.
        treefort.terminate();
        agent::install(treefort.home(), "");
        treefort.up();
        let project = tempfile::tempdir().unwrap();
        std::fs::set_permissions(project.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let fort = Self {
            treefort,
            model,
            project,
            ends_at_once: config.contains("idle_s = 0"),
        };
        fort.write("a.txt", "one\ntwo\nthree\n");
        fort.write("src/b.txt", "b\n");
        fort.git(&["init", "-q", "-b", "main"]);
        fort.git(&["config", "user.email", "me@example.com"]);
        fort.git(&["config", "user.name", "Me"]);
        fort.git(&["add", "-A"]);
        fort.git(&["commit", "-q", "-m", "first"]);
        fort
    }

    fn path(&self, name: &str) -> PathBuf {
        self.project.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[track_caller]
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    #[track_caller]
    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(self.project.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn command(&self, folder: &Path, arguments: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(PROGRAM);
        command
            .args(arguments)
            .arg("--home")
            .arg(self.treefort.home())
            .current_dir(folder)
            .env("OLLAMA_HOST", self.model.url())
            .env(BASE_VARIABLE, base())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs a command of the program in a folder.
    pub(crate) async fn say_in(&self, folder: &Path, arguments: &[&str]) -> Said {
        let output = self.command(folder, arguments).output();
        let output = tokio::time::timeout(PATIENCE * 4, output);
        Said::of(&output.await.expect("the command hangs").unwrap())
    }

    /// Runs a command of the program in the project.
    pub(crate) async fn say(&self, arguments: &[&str]) -> Said {
        self.say_in(self.project.path(), arguments).await
    }

    /// Has the scripted agent do this in a copy of the project.
    async fn run(&self, script: &str) -> Said {
        self.say(&["run", "--agent", "scripted", script]).await
    }

    /// The same, while the test goes on.
    /// A command line of ours as a person types it at a terminal, which is 80 columns wide.
    fn at_a_terminal(&self, line: &str) -> tokio::process::Child {
        let home = self.treefort.home().display().to_string();
        let line = format!("stty cols 80 rows 30; {PROGRAM} --home {home} {line}");
        // `script` is a terminal for what it runs.
        tokio::process::Command::new("script")
            .args(["-qefc", &line, "/dev/null"])
            .current_dir(self.project.path())
            .env("OLLAMA_HOST", self.model.url())
            .env("TERM", "xterm")
            .env_remove("RUST_LOG")
            .env_remove("NO_COLOR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    fn begin(&self, arguments: &[&str]) -> tokio::task::JoinHandle<Said> {
        let mut command = self.command(self.project.path(), arguments);
        tokio::spawn(async move { Said::of(&command.output().await.unwrap()) })
    }

    async fn client(&self) -> Client {
        self.treefort.client(&self.treefort.operator()).await
    }

    /// Where the newest copy of the project is.
    pub(crate) async fn copy(&self) -> PathBuf {
        PathBuf::from(self.say(&["open"]).await.ok().out.trim_end())
    }

    /// The records of each session, in their order.
    pub(crate) async fn sessions(&self) -> BTreeMap<String, Vec<Event>> {
        let kinds = [4781, 4782, 4783, 4784, 4785];
        let filter = json!({"kinds": kinds, "limit": 5000});
        let began = Instant::now();
        let patience = if self.ends_at_once { ENDING } else { OPEN };
        // The end is written when the container has gone; one that is open has none.
        let mut sessions = loop {
            let mut sessions: BTreeMap<String, Vec<Event>> = BTreeMap::new();
            let mut client = self.client().await;
            for record in client.query(filter.clone()).await {
                let session = sessions.entry(record.pubkey.to_hex()).or_default();
                session.push(record);
            }
            let has_ended = |records: &Vec<Event>| !of_kind(records, 4785).is_empty();
            if sessions.values().all(has_ended) || began.elapsed() > patience {
                break sessions;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        for records in sessions.values_mut() {
            records.sort_by_key(|record| tag(record, "seq").unwrap().parse::<u64>().unwrap());
            check_chain(&*records).unwrap();
        }
        sessions
    }

    /// The records of the only session with a container of its own.
    async fn session(&self) -> Vec<Event> {
        let sessions = self.sessions().await;
        let mut agents = sessions
            .into_values()
            .filter(|records| tag(&records[0], "role").as_deref() != Some("undo"));
        let records = agents.next().expect("a session");
        assert!(agents.next().is_none(), "more than one session");
        records
    }

    /// What the agents at work ask their owner right now, as soon as that is so many questions.
    async fn questions(&self, count: usize) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let asked = self.say(&["answer", "--json"]).await.ok().json();
            let asked = asked["questions"].as_array().unwrap().clone();
            if asked.len() == count {
                return asked;
            }
            assert!(
                Instant::now() < deadline,
                "{count} questions, not {asked:?}"
            );
        }
    }

    /// The coordinator's results of agent tasks.
    async fn results(&self, client: &mut Client) -> Vec<Event> {
        let author = self.treefort.coordinator().to_hex();
        client
            .query(json!({"kinds": [6870], "authors": [author]}))
            .await
    }

    /// Waits for the copy of a session that is about to begin.
    async fn wait_for_copy(&self, having: &str) -> PathBuf {
        let root = self.treefort.home().join("workspaces");
        let find = || {
            let entries = std::fs::read_dir(&root).ok()?;
            let mut trees = entries.flatten().map(|entry| entry.path().join("tree"));
            trees.find(|tree| tree.join(having).exists())
        };
        wait(having, || find().is_some()).await;
        find().unwrap()
    }

    /// What the agents of this home were told and said, raw.
    pub(crate) fn journals(&self) -> String {
        let folder = self.treefort.home().join("journal");
        let mut text = String::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            text.push_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap());
        }
        text
    }
}

/// Waits until something holds.
async fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Everything below a folder: each path with what it is, its rights and its bytes.
pub(crate) fn tree(folder: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let about = path.symlink_metadata().unwrap();
            let bytes = if about.is_dir() {
                folders.push(path.clone());
                Vec::new()
            } else if about.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                target.into_os_string().into_encoded_bytes()
            } else if about.is_file() {
                std::fs::read(&path).unwrap()
            } else {
                // A pipe would never end.
                Vec::new()
            };
            let name = path.strip_prefix(folder).unwrap();
            let name = name.to_string_lossy().into_owned();
            all.insert(name, (about.permissions().mode(), bytes));
        }
    }
    all
}

/// The same without git's own.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut all = tree(folder);
    all.retain(|path, _| path != ".git" && !path.starts_with(".git/"));
    all
}

/// The records of one kind.
pub(crate) fn of_kind(records: &[Event], kind: u16) -> Vec<&Event> {
    records
        .iter()
        .filter(|record| record.kind.as_u16() == kind)
        .collect()
}

/// What sort of action a record is.
pub(crate) fn sort(record: &Event) -> String {
    tag(record, "l").unwrap_or_default()
}
