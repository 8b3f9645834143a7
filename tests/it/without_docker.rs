//! README's way on a computer without Docker, word for word: as whoever runs the tests, and where that is root as
//! an ordinary user too.

use std::{
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    harness::{NO_DOCKER, PROGRAM},
    model_server::{Behaviour, ModelServer},
    opencode::program::program,
};

/// A user who is nobody on this computer.
const NOBODY: u32 = 54321;

/// Who has just installed treefort, OpenCode and Ollama.
struct Person {
    home: tempfile::TempDir,
    user: Option<u32>,
    model: ModelServer,
}

impl Person {
    async fn new(user: Option<u32>) -> Self {
        let person = Self {
            home: tempfile::tempdir().unwrap(),
            user,
            model: ModelServer::start().await,
        };
        for folder in ["bin", "project", "tmp"] {
            std::fs::create_dir(person.path(folder)).unwrap();
        }
        // Where another user reaches it.
        for (name, from) in [
            ("treefort", PathBuf::from(PROGRAM)),
            ("opencode", program()),
        ] {
            let to = person.path("bin").join(name);
            if std::fs::hard_link(&from, &to).is_err() {
                std::fs::copy(&from, &to).unwrap();
            }
        }
        std::fs::write(person.path("project/a.txt"), "one\n").unwrap();
        if user.is_some() {
            for path in ["", "bin", "project", "project/a.txt", "tmp"] {
                chown(person.path(path), user, user).unwrap();
            }
        }
        std::fs::set_permissions(person.home.path(), PermissionsExt::from_mode(0o755)).unwrap();
        person
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Runs a command line in the project.
    async fn treefort(&self, arguments: &[&str]) -> Output {
        let program = self.path("bin/treefort");
        let mut command = match self.user {
            None => tokio::process::Command::new(program),
            Some(user) => {
                let mut command = tokio::process::Command::new("setpriv");
                let ids = [format!("--reuid={user}"), format!("--regid={user}")];
                command.args(ids).arg("--clear-groups").arg(program);
                command
            }
        };
        let path = std::env::var("PATH").unwrap();
        let (docker, nowhere) = NO_DOCKER;
        command
            .args(arguments)
            .current_dir(self.path("project"))
            .env_clear()
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("HOME", self.home.path())
            .env("TMPDIR", self.path("tmp"))
            .env("OLLAMA_HOST", self.model.url())
            .env(docker, nowhere)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let began = Instant::now();
        let output = tokio::time::timeout(Duration::from_secs(90), command.output());
        let output = output.await.expect("the command hangs").unwrap();
        eprintln!("{:?} {arguments:?}: {:?}", self.user, began.elapsed());
        output
    }

    /// The same, of one that succeeds: what it printed.
    async fn ok(&self, arguments: &[&str]) -> (String, String) {
        let output = self.treefort(arguments).await;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success(),
            "{:?} {arguments:?}: {out}{err}",
            self.user
        );
        (out, err)
    }

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path("project").join(name)).ok()
    }
}

async fn the_first_hour(person: Person) {
    let (out, err) = person.ok(&["demo"]).await;
    let said = format!("{err}{out}");
    assert!(
        said.contains("in a sandbox of its own") && said.contains("thrown away"),
        "{said}"
    );
    assert_eq!(entries(&person.path("tmp")), 0);

    let question = "Why is the sky blue?";
    let (out, _) = person.ok(&["run", question]).await;
    assert_eq!(out, format!("answer: {question} (turn 1)\n"));
    let (out, _) = person.ok(&["run", "--continue", "And red?"]).await;
    assert_eq!(out, "answer: And red? (turn 2)\n");

    let write = json!({"filePath": "/workspace/dark.css", "content": "dark\n"});
    person.model.then(Behaviour::Call("write", write));
    person.model.then(Behaviour::Say("It is dark.".to_owned()));
    let (out, _) = person
        .ok(&["run", "--agent", "opencode", "Add a dark mode"])
        .await;
    assert_eq!(out, "It is dark.\n");
    assert_eq!(person.read("dark.css"), None);
    assert!(person.ok(&["diff"]).await.0.contains("+dark"));
    let (undone, _) = person.ok(&["undo", "--last", "--json"]).await;
    let undone: Value = serde_json::from_str(&undone).unwrap();
    assert!(!person.ok(&["diff"]).await.0.contains("+dark"));
    let before = undone["before"].to_string();
    person.ok(&["undo", &before]).await;
    person.ok(&["apply", "--yes"]).await;
    assert_eq!(person.read("dark.css").as_deref(), Some("dark\n"));
    let (out, _) = person
        .ok(&["run", "--agent", "shell", "cat dark.css; id -u"])
        .await;
    assert_eq!(out, "dark\n1000\n");

    agents_are_what_is_installed(&person).await;
    let (status, _) = person.ok(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["runtime"]["kind"], "embedded", "{status}");
    let (doctor, _) = person.ok(&["doctor", "--verbose"]).await;
    assert!(
        doctor.contains("✓ sandbox    Linux ") && doctor.contains("Ready."),
        "{doctor}"
    );
    let (verified, _) = person.ok(&["verify"]).await;
    assert!(verified.contains("in an unbroken chain"), "{verified}");
}

/// Nobody is told about images, or about Docker before it is the way out.
async fn agents_are_what_is_installed(person: &Person) {
    let program = person.path("bin/opencode").canonicalize().unwrap();
    let program = program.to_str().unwrap();
    let (agents, err) = person.ok(&["agents"]).await;
    for says in [
        program,
        "a part of treefort",
        "the programs of this computer",
    ] {
        assert!(agents.contains(says), "{agents}");
    }
    assert!(!format!("{agents}{err}").contains("built"), "{agents}{err}");
    let (built, _) = person.ok(&["agent", "build", "opencode"]).await;
    assert_eq!(
        built,
        format!("nothing to build: without Docker opencode is {program}\n")
    );

    std::fs::rename(program, person.path("elsewhere")).unwrap();
    let (agents, _) = person.ok(&["agents"]).await;
    let missing = "opencode is not installed on this computer, so the agent opencode cannot run in treefort's own sandbox";
    let install = "Install it (`npm install -g opencode-ai`), or use Docker.";
    for says in [missing, install] {
        assert!(
            agents.replace("\n               ", " ").contains(says),
            "{agents}"
        );
    }
    for command in [
        &["agent", "build", "opencode"][..],
        &["run", "--agent", "opencode", "x"],
    ] {
        let refused = person.treefort(command).await;
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(3), "{said}");
        assert!(said.contains(missing) && said.contains(install), "{said}");
        assert!(!said.contains("Docker Engine"), "{said}");
    }
    std::fs::rename(person.path("elsewhere"), program).unwrap();
    let (json, _) = person.ok(&["agents", "--json"]).await;
    let agents: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let opencode = agents
        .iter()
        .find(|agent| agent["name"] == "opencode")
        .unwrap();
    assert_eq!(opencode["program"], program);
    assert_eq!(
        (&opencode["problem"], &opencode["image_bytes"]),
        (&Value::Null, &Value::Null)
    );
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_hour_of_whoever_runs_the_tests() {
    the_first_hour(Person::new(None).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_hour_of_an_ordinary_user() {
    // Anybody else is one already.
    let root = rustix::process::geteuid().is_root();
    the_first_hour(Person::new(root.then_some(NOBODY)).await).await;
}
